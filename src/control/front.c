/* SPDX-License-Identifier: Apache-2.0 */
#include "control/front.h"

#include <string.h>

/*
 * Which node of a site holds its ingress, and what that says of the views that it serves.
 *
 * A change of ingress breaks users' connections, and what still points at the old node's address
 * finds nobody there. Where it is stands in no record: after a takeover, and when a cut site comes
 * back node by node, control would pick another than the one that goes on serving there. So the
 * word of a node that serves counts: it is in its beats, and a standby hears those too.
 */
#define WAIT_MS                                                                      \
    3000 /* the first picks of a site that had none: for the word of one that serves \
          */

static bool may_hold(const struct ctl_node *n)
{
    return !n->drained && !n->site->drained && n->site->trust != SITE_CONTROL;
}

static const struct ctl_node *picked(const struct control *c, const struct ctl_site *s)
{
    return s->ingress != NULL ? ctl_node(c, sk_str(s->ingress)) : NULL;
}

/* Of the nodes of a site that may hold its ingress: the one that says that it does, and the first;
 * `away`: one that said so and is not up now. */
struct choice {
    const struct ctl_node *serving, *first, *away;
};

static struct choice look(const struct control *c, const struct ctl_site *s)
{
    struct choice it = {0};
    for (size_t i = 0; i < c->nnodes; i++) {
        const struct ctl_node *n = c->nodes[i];
        if (n->site != s || !may_hold(n)) {
            continue;
        }
        if (!ctl_node_up(n)) {
            it.away = it.away == NULL && n->has_front ? n : it.away;
            continue;
        }
        it.first = it.first == NULL ? n : it.first;
        it.serving = it.serving == NULL && n->has_front ? n : it.serving;
    }
    return it;
}

/* Numbers of views start from the leader's wall clock. A node that serves a higher one has it of a
 * leader whose clock is ahead; it must not pass for serving what it was never told. */
static void number_seen(struct control *c, const struct ctl_node *n)
{
    struct ctl_site *s = n->site;
    if (picked(c, s) == n && n->front_view > s->view_rev && n->front_view <= CTL_REV_SEEN_MAX) {
        s->view_rev = n->front_view + 1;
        ctl_dirty(c, ctl_node(c, sk_str(n->name)));
    }
}

static void put_ingress(struct control *c, struct ctl_site *s, const struct ctl_node *next)
{
    struct ctl_node *before = s->ingress != NULL ? ctl_node(c, sk_str(s->ingress)) : NULL;
    struct ctl_node *after = next != NULL ? ctl_node(c, sk_str(next->name)) : NULL;

    if (before == after && (s->ingress == NULL) == (after == NULL)) {
        return;
    }
    if (before != NULL) {
        ctl_dirty(c, before);
    }
    if (after != NULL) {
        ctl_dirty(c, after);
    }
    free(s->ingress);
    s->ingress = after != NULL ? sk_xstrdup(after->name) : NULL;
    s->picked_ms = c->now_ms;
    if (after != NULL && after->has_front) {
        number_seen(c, after);
    }
}

/* Nobody there is up. What serves goes on, and its node is not told otherwise when it is back. */
static void stay_dark(struct control *c, struct ctl_site *s, const struct choice *it)
{
    const struct ctl_node *now = picked(c, s);
    bool keep = now != NULL && now->site == s && may_hold(now);

    s->dark = true;
    s->light_ms = -1;
    put_ingress(c, s, it->away != NULL && !(keep && now->has_front) ? it->away : keep ? now : NULL);
}

/* The site comes back node by node, and the one that goes on serving may be next. */
static bool waits(struct control *c, struct ctl_site *s, const struct choice *it)
{
    if (!s->dark || it->serving != NULL || it->away == NULL) {
        return false;
    }
    s->light_ms = s->light_ms < 0 ? c->now_ms : s->light_ms;
    int64_t end = s->light_ms + WAIT_MS;
    if (c->now_ms >= end) {
        return false;
    }
    c->next_pick_ms = ctl_i64_min(c->next_pick_ms, end);
    return true;
}

/* Stays where it is as long as it can. */
void ctl_ingress_pick(struct control *c, struct ctl_site *s)
{
    const struct ctl_node *now = picked(c, s);
    struct choice it = look(c, s);
    bool can = now != NULL && now->site == s && may_hold(now) && ctl_node_up(now);
    /* picked before all could be heard, and does not serve yet */
    bool guessed =
        can && !now->has_front && it.serving != NULL && c->now_ms - s->picked_ms < WAIT_MS;

    if (it.first == NULL) {
        stay_dark(c, s, &it);
    } else if (!can && waits(c, s, &it)) {
        put_ingress(c, s, it.away);
    } else {
        s->dark = false;
        if (!can || guessed) {
            put_ingress(c, s, it.serving != NULL ? it.serving : it.first);
        }
    }
}

/* What another leader made of it while this one did not lead is not known: it is picked anew. */
void ctl_ingress_forget(struct control *c)
{
    for (size_t i = 0; i < c->nsites; i++) {
        struct ctl_site *s = c->sites[i];
        free(s->ingress);
        s->ingress = NULL;
        s->dark = false;
        s->light_ms = -1;
    }
    c->dirty_views = true;
}

void ctl_front_heard(struct control *c, struct ctl_node *n, bool has_front, int64_t view)
{
    bool news = has_front != n->has_front || (has_front && view != n->front_view);

    n->has_front = has_front;
    if (!news) {
        return;
    }
    n->front_ms = c->now_ms;
    if (has_front) {
        n->front_view = view;
        number_seen(c, n);
    }
    if (picked(c, n->site) != n) {
        c->dirty_views = true;
    }
    /* copies that users were still led to may go */
    c->dirty_reconcile =
        c->dirty_reconcile || n->site->lost || c->now_ms - n->site->back_ms < CTL_BACK_MS;
}

bool ctl_ingress_behind(const struct control *c, const struct ctl_site *s)
{
    const struct ctl_node *n = picked(c, s);

    return n != NULL && ctl_node_up(n) && s->routes && !s->off &&
           (c->dirty_views || !n->has_front || n->front_view < s->view_rev);
}

/* When the ingress of the copy's site will have served a view without it for a moment, as far as is
 * known now. */
static int64_t led_away_ms(const struct control *c, const struct ctl_site *s)
{
    const struct ctl_node *n = picked(c, s);

    if (n == NULL || c->dirty_views || !n->has_front || n->front_view < s->view_rev) {
        return s->back_ms + CTL_BACK_MS;
    }
    return ctl_i64_min(s->back_ms + CTL_BACK_MS, n->front_ms + CTL_ROUTED_HEALTHY_MS);
}

bool ctl_front_keeps(const struct control *c, const struct ctl_inst *i, int64_t *ret_until_ms)
{
    const struct ctl_site *s = i->node->site;
    bool serving = false;

    if (i->svc->decl == NULL || i->svc->decl->exclusive || s->away ||
        !ctl_leads_somewhere(i->svc)) {
        return false;
    }
    for (size_t k = 0; k < c->nnodes; k++) {
        serving = serving || (c->nodes[k]->site == s && c->nodes[k]->has_front);
    }
    int64_t until_ms = s->lost ? INT64_MAX : led_away_ms(c, s);
    if (!serving || until_ms <= c->now_ms) {
        return false;
    }
    *ret_until_ms = until_ms;
    return true;
}
