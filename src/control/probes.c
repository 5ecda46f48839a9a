/* SPDX-License-Identifier: Apache-2.0 */
#include <math.h>
#include <string.h>

#include "control/internal.h"

/*
 * Who listens to whom. Each node is watched by the three nodes before it in its site's ring; each
 * site by two nodes of every other site, which each probe two of its nodes (one where there are
 * many sites). So a node probes a few others, whatever the size of the cluster, and a verdict on a
 * site never hangs on one witness or one target where there are more.
 */
#define OWN_PROBES 3
#define MANY_SITES 16

struct ring {
    struct ctl_node **nodes; /* those not lost; all of them where none is left */
    size_t count;
};

static void ring_make(struct control *c, const struct ctl_site *s, struct ring *r)
{
    size_t all = 0;
    size_t live = 0;
    for (size_t i = 0; i < c->nnodes; i++) {
        all += c->nodes[i]->site == s;
        live += c->nodes[i]->site == s && c->nodes[i]->life != CTL_LOST;
    }
    r->nodes = sk_xcalloc(all + 1, sizeof(struct ctl_node *));
    r->count = 0;
    for (size_t i = 0; i < c->nnodes; i++) {
        struct ctl_node *n = c->nodes[i];
        if (n->site == s && (live == 0 || n->life != CTL_LOST)) {
            r->nodes[r->count++] = n;
        }
    }
}

struct plist {
    struct ctl_node *targets[CTL_PROBES_MAX];
    size_t count;
};

static void plist_add(struct plist *list, const struct ctl_node *self, struct ctl_node *target)
{
    if (target == self || list->count == CTL_PROBES_MAX) {
        return;
    }
    for (size_t i = 0; i < list->count; i++) {
        if (list->targets[i] == target) {
            return;
        }
    }
    list->targets[list->count++] = target;
}

static void plist_make(const struct control *c, const struct ring *rings, size_t site, size_t at,
                       struct plist *list)
{
    const struct ring *own = &rings[site];
    const struct ctl_node *self = own->nodes[at];
    size_t per_site = c->nsites <= MANY_SITES ? 2 : 1;

    list->count = 0;
    for (size_t k = 1; k <= OWN_PROBES && k < own->count; k++) {
        plist_add(list, self, own->nodes[(at + k) % own->count]);
    }
    for (size_t s = 0; s < c->nsites; s++) {
        const struct ring *other = &rings[s];
        if (s == site || other->count == 0) {
            continue;
        }
        size_t turn = (at + own->count - s % own->count) % own->count;
        if (turn >= 2) {
            continue; /* two others of this site watch that one */
        }
        for (size_t k = 0; k < per_site; k++) {
            plist_add(list, self, other->nodes[(site + turn + k) % other->count]);
        }
    }
}

/* Keeps since when each target was listened to. */
static void plist_take(struct control *c, struct ctl_node *n, const struct plist *list)
{
    bool same = n->nprobes == list->count;
    struct ctl_probe *fresh = sk_xcalloc(list->count + 1, sizeof(*fresh));

    for (size_t i = 0; i < list->count; i++) {
        fresh[i] = (struct ctl_probe){list->targets[i], 0, -1, -1};
        for (size_t k = 0; k < n->nprobes; k++) {
            if (n->probes[k].target == list->targets[i]) {
                fresh[i] = n->probes[k];
            }
        }
        same = same && n->probes[i].target == list->targets[i];
    }
    free(n->probes);
    n->probes = fresh;
    n->nprobes = list->count;
    if (!same) {
        ctl_dirty(c, n);
    }
}

void ctl_probes_step(struct control *c)
{
    if (!c->dirty_probes) {
        return;
    }
    c->dirty_probes = false;
    struct ring *rings = sk_xcalloc(c->nsites + 1, sizeof(*rings));
    for (size_t s = 0; s < c->nsites; s++) {
        ring_make(c, c->sites[s], &rings[s]);
    }
    for (size_t s = 0; s < c->nsites; s++) {
        for (size_t at = 0; at < rings[s].count; at++) {
            struct plist list;
            plist_make(c, rings, s, at, &list);
            plist_take(c, rings[s].nodes[at], &list);
        }
    }
    for (size_t s = 0; s < c->nsites; s++) {
        free(rings[s].nodes);
    }
    free(rings);
}

void ctl_probes_acked(struct control *c, struct ctl_node *n)
{
    for (size_t i = 0; i < n->nprobes; i++) {
        struct ctl_probe *p = &n->probes[i];
        if (p->since_ms < 0 && p->asked_rev > 0 && p->asked_rev <= n->acked_rev) {
            p->since_ms = c->now_ms;
        }
    }
}

static bool reports(const struct ctl_node *n, const struct ctl_node *target)
{
    for (size_t i = 0; i < n->nheard; i++) {
        if (n->heard[i].target == target) {
            return true;
        }
    }
    return false;
}

/* A standby asks nobody to listen, but the leader chooses by the same rule: so when it takes over,
 * it knows since when each witness has been listening. */
void ctl_probes_followed(const struct control *c, struct ctl_node *n)
{
    for (size_t i = 0; i < n->nprobes && !c->leader.leads; i++) {
        struct ctl_probe *p = &n->probes[i];
        if (!reports(n, p->target)) {
            p->since_ms = -1;
        } else if (p->since_ms < 0) {
            p->since_ms = c->now_ms;
        }
    }
}

/* ---- round trips between sites ---- */

static struct ctl_rtt *rtt_to(const struct ctl_site *s, const char *to)
{
    for (size_t i = 0; i < s->nrtt; i++) {
        if (strcmp(s->rtt[i].to, to) == 0) {
            return &s->rtt[i];
        }
    }
    return NULL;
}

static void rtt_add(struct control *c, struct ctl_site *from, const struct ctl_site *to, double ms)
{
    struct ctl_rtt *r = rtt_to(from, to->name);
    if (r == NULL) {
        SK_GROW(from->rtt, from->nrtt, from->caprtt);
        r = &from->rtt[from->nrtt++];
        *r = (struct ctl_rtt){sk_xstrdup(to->name), ms, ms};
        c->dirty_views = true;
        return;
    }
    r->ema += 0.1 * (ms - r->ema);
    double off = fabs(r->ema - r->shown);
    if (off > 1.0 && off > 0.2 * r->shown) {
        r->shown = r->ema;
        c->dirty_views = true;
    }
}

void ctl_rtt_heard(struct control *c, struct ctl_node *n)
{
    for (size_t i = 0; i < n->nheard; i++) {
        const struct ctl_heard *h = &n->heard[i];
        bool usable = h->rtt_us >= 0 && h->rtt_us < INT64_C(60000000) && h->age_ms >= 0 &&
                      h->age_ms < CTL_HEARS_MS;
        if (usable && h->target->site != n->site) {
            rtt_add(c, n->site, h->target->site, (double)h->rtt_us / 1000.0);
        }
    }
}

bool ctl_rtt_between(const struct control *c, const struct ctl_site *a, const struct ctl_site *b,
                     double *ret_ms)
{
    const struct ctl_rtt *there = rtt_to(a, b->name);
    const struct ctl_rtt *back = rtt_to(b, a->name);

    if (there == NULL && back == NULL) {
        return false;
    }
    double ms = there == NULL  ? back->shown
                : back == NULL ? there->shown
                               : (there->shown + back->shown) / 2;
    *ret_ms = round(ms * 10) / 10;
    return true;
}
