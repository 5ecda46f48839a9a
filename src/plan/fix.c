/* SPDX-License-Identifier: Apache-2.0 */
#include "plan/fix.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "base/units.h"
#include "plan/trial.h"

#define KINDS_MAX 6u /* kinds of nodes to try, cheapest first */
#define EXTRA_MAX 3u /* nodes to add at most */

/* Up to EXTRA_MAX nodes to add, each like one that there is. */
struct offer {
    uint32_t node[EXTRA_MAX];
    uint32_t count;
    double price; /* of all of them; HUGE_VAL if not known */
};

static int cmp_node(const void *a, const void *b)
{
    const struct node *x = a;
    const struct node *y = b;
    return sk_str_cmp(x->name, y->name);
}

/* The input with those nodes added. */
static bool ok_with_nodes(const struct pl_world *w, const struct offer *o)
{
    struct inventory inv = *w->inv;
    size_t n = inv.nnodes;
    struct node *nodes = sk_xcalloc(n + o->count, sizeof(*nodes));
    char names[EXTRA_MAX][64];
    memcpy(nodes, inv.nodes, n * sizeof(*nodes));
    for (uint32_t i = 0; i < o->count; i++) {
        (void)snprintf(names[i], sizeof(names[i]), "~%u", i); /* after every name of a file */
        nodes[n] = inv.nodes[o->node[i]];
        nodes[n++].name = sk_str(names[i]);
    }
    qsort(nodes, n, sizeof(*nodes), cmp_node);
    inv.nodes = nodes;
    inv.nnodes = n;
    struct plan_input in = *w->in;
    in.inv = &inv;
    in.current = NULL;
    bool ok = pl_trial_ok(&in);
    free(nodes);
    return ok;
}

/* The input with one service declared otherwise. */
static bool ok_with_service(const struct pl_world *w, const struct pl_svc *s,
                            const struct service *changed)
{
    struct plan_input in = *w->in;
    const struct project **projects = sk_xcalloc(in.nprojects + 1, sizeof(struct project *));
    struct project copy = *s->project;
    struct service *services = sk_xcalloc(copy.nservices + 1, sizeof(*services));
    memcpy(services, copy.services, copy.nservices * sizeof(*services));
    services[s->decl - copy.services] = *changed;
    copy.services = services;
    for (size_t i = 0; i < in.nprojects; i++) {
        projects[i] = in.projects[i] == s->project ? &copy : in.projects[i];
    }
    in.projects = projects;
    in.current = NULL;
    bool ok = pl_trial_ok(&in);
    free(services);
    free((void *)projects);
    return ok;
}

/* Kinds of nodes that could help, cheapest first: one node of each kind. `but`: not in these sites
 * (NULL: in any). */
static size_t list_kinds(const struct pl_world *w, const struct pl_problem *p,
                         const struct pl_scen *but, struct offer kinds[KINDS_MAX])
{
    size_t len = 0;
    for (uint32_t n = 0; n < w->nnodes; n++) {
        const struct pl_node *node = &w->nodes[n];
        bool allowed = node->usable && !(but && but->lost[node->site]) &&
                       (!p->s || pl_node_allowed(w, p->s->decl, n) == PL_ALLOWED);
        for (size_t i = 0; i < len && allowed; i++) {
            allowed = w->nodes[kinds[i].node[0]].kind != node->kind;
        }
        if (!allowed) {
            continue;
        }
        struct offer o = {.node = {n}, .count = 1, .price = node->priced ? node->price : HUGE_VAL};
        size_t at = len < KINDS_MAX ? len++ : KINDS_MAX;
        while (at > 0 && kinds[at - 1].price > o.price) {
            if (at < KINDS_MAX) {
                kinds[at] = kinds[at - 1];
            }
            at--;
        }
        if (at < KINDS_MAX) {
            kinds[at] = o;
        }
    }
    return len;
}

static void say_one(const struct pl_world *w, struct sk_buf *text, uint32_t node, uint32_t count)
{
    const struct node *like = &w->inv->nodes[node];
    sk_buf_printf(text, "%u node%s with ", count, count == 1 ? "" : "s");
    sk_format_cpus(text, like->cpus_nano);
    sk_buf_adds(text, like->disk_bytes > 0 ? " cpus, " : " cpus and ");
    sk_format_bytes(text, like->memory_bytes);
    if (like->disk_bytes > 0) {
        sk_buf_adds(text, " and ");
        sk_format_bytes(text, like->disk_bytes);
        sk_buf_adds(text, " of disk");
    }
    sk_buf_printf(text, " in site '%.*s' (like '%.*s')", SK_PRI(w->inv->sites[like->site].name),
                  SK_PRI(like->name));
}

static void say_nodes(const struct pl_world *w, const struct offer *o, struct pl_problem *p)
{
    struct sk_buf text = SK_BUF_INIT;
    sk_buf_adds(&text, "add ");
    for (uint32_t i = 0; i < o->count;) {
        uint32_t same = 1;
        while (i + same < o->count && o->node[i + same] == o->node[i]) {
            same++;
        }
        sk_buf_adds(&text, i > 0 ? " and " : "");
        say_one(w, &text, o->node[i], same);
        i += same;
    }
    if (!isinf(o->price)) {
        sk_buf_printf(&text, ", %.4g %.*s an hour", o->price, SK_PRI(w->inv->currency));
    }
    (void)snprintf(p->fix, sizeof(p->fix), "%s", text.ptr);
    sk_buf_release(&text);
}

static struct offer with(const struct offer *o, const struct offer *kind)
{
    struct offer more = *o;
    more.node[more.count++] = kind->node[0];
    more.price += kind->price;
    return more;
}

static void try_offer(const struct pl_world *w, const struct offer *o, struct offer *best,
                      bool *found)
{
    if ((!*found || o->price < best->price) && ok_with_nodes(w, o)) {
        *best = *o;
        *found = true;
    }
}

/* One node, else two, else three of a kind; the cheapest of those that are enough. */
static bool try_nodes(const struct pl_world *w, struct pl_problem *p)
{
    struct offer kinds[KINDS_MAX];
    size_t len = list_kinds(w, p, NULL, kinds);
    struct offer best = {.price = HUGE_VAL};
    bool found = false;
    for (size_t i = 0; i < len; i++) {
        try_offer(w, &kinds[i], &best, &found);
    }
    for (size_t i = 0; i < len && !found; i++) {
        for (size_t j = 0; j <= i; j++) {
            struct offer two = with(&kinds[j], &kinds[i]);
            try_offer(w, &two, &best, &found);
        }
    }
    for (size_t i = 0; i < len && !found; i++) {
        struct offer three = with(&kinds[i], &kinds[i]);
        three = with(&three, &kinds[i]);
        try_offer(w, &three, &best, &found);
    }
    if (found) {
        say_nodes(w, &best, p);
    }
    return found;
}

void pl_fix_fewer_sites(struct service *d, int64_t sites, char *ret_fix, size_t size)
{
    bool drop = sites == 0 && d->latency.written && d->latency.has_after_loss;
    bool written = d->survive.sites_written && !d->survive.sites_implied;

    if (drop) {
        d->latency.has_after_loss = false;
        d->latency.written = d->latency.has_ms; /* a policy of nothing else goes as a whole */
    }
    d->survive.sites_written = written;
    d->survive.sites = sites;
    const char *remove = !drop                ? ""
                         : d->latency.written ? "remove latency.after_loss_ms"
                                              : "remove 'latency'";
    if (drop && !written) {
        (void)snprintf(ret_fix, size, "%s", remove);
    } else {
        (void)snprintf(ret_fix, size, "%s%sset survive.sites to %lld", remove, drop ? " and " : "",
                       (long long)sites);
    }
}

static bool try_policy(const struct pl_world *w, struct pl_problem *p)
{
    const struct pl_svc *s = p->s;
    struct service d = *s->decl;
    for (int64_t keep = (int64_t)s->keep - 1; d.survive.keep_written && keep >= 0; keep--) {
        d.survive.keep = keep;
        if (ok_with_service(w, s, &d)) {
            (void)snprintf(p->fix, sizeof(p->fix), "set survive.keep to %lld", (long long)keep);
            return true;
        }
    }
    for (int64_t sites = (int64_t)s->ask - 1; sites >= 0; sites--) {
        d = *s->decl;
        pl_fix_fewer_sites(&d, sites, p->fix, sizeof(p->fix));
        if (ok_with_service(w, s, &d)) {
            return true;
        }
        p->fix[0] = '\0';
    }
    d = *s->decl;
    for (int64_t n = d.replicas - 1; n >= 1 && n + 8 > d.replicas; n--) {
        struct service fewer = d;
        fewer.replicas = n;
        if (fewer.survive.keep_written && fewer.survive.keep > n) {
            break;
        }
        if (ok_with_service(w, s, &fewer)) {
            (void)snprintf(p->fix, sizeof(p->fix), "set 'replicas' to %lld", (long long)n);
            return true;
        }
    }
    return false;
}

/* How many nodes like that make room for what is missing: for a service in whole replicas, since
 * what is left over beside them is no room. At least 1. */
static double nodes_for(const struct pl_world *w, const struct pl_problem *p, uint32_t node,
                        int res)
{
    const struct pl_node *n = &w->nodes[node];
    double missing = res == PL_CPUS ? p->missing * (double)SK_NANO : p->missing;
    double count = n->cap[res] > 0 ? ceil(missing / (double)n->cap[res]) : 1;
    const int64_t *need = p->s ? p->s->shape->need : NULL;
    if (need && need[res] > 0) {
        double replicas = ceil(missing / (double)need[res] - PL_EPS);
        double fit = replicas;
        for (int r = 0; r < PL_RES_COUNT; r++) {
            fit = need[r] > 0 ? fmin(fit, floor((double)n->cap[r] / (double)need[r])) : fit;
        }
        count = fit > 0 ? fmax(count, ceil(replicas / fit)) : count;
    }
    return fmin(fmax(count, 1), 1e6);
}

/* Where trying is dear: as many nodes of one kind as the shortage itself asks for. */
static void say_shortage(const struct pl_world *w, struct pl_problem *p)
{
    struct offer kinds[KINDS_MAX];
    size_t len = list_kinds(w, p, p->scen, kinds);
    struct sk_str resource = sk_str(p->resource ? p->resource : "");
    int res = sk_str_is(resource, "memory") ? PL_MEMORY
              : sk_str_is(resource, "disk") ? PL_DISK
                                            : PL_CPUS;
    size_t best = 0;
    double best_price = HUGE_VAL;
    uint32_t best_count = 1;
    for (size_t i = 0; i < len && !isnan(p->missing); i++) {
        double count = nodes_for(w, p, kinds[i].node[0], res);
        if (i == 0 || kinds[i].price * count < best_price) {
            best = i;
            best_price = kinds[i].price * count;
            best_count = (uint32_t)count;
        }
    }
    if (len == 0 || isnan(p->missing)) {
        (void)snprintf(p->fix, sizeof(p->fix),
                       "add nodes where it may run, or loosen its survive, latency or residency");
        return;
    }
    struct sk_buf text = SK_BUF_INIT;
    sk_buf_adds(&text, "add at least ");
    say_one(w, &text, kinds[best].node[0], best_count);
    (void)snprintf(p->fix, sizeof(p->fix), "%s", text.ptr);
    sk_buf_release(&text);
}

void pl_fix(const struct pl_world *w, struct pl_problem *p)
{
    if (p->fix[0] != '\0') {
        return;
    }
    bool cheap = w->small && w->nnodes + EXTRA_MAX <= 64;
    if (cheap && (try_nodes(w, p) || (p->s && try_policy(w, p)))) {
        return;
    }
    say_shortage(w, p);
}
