/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "control/front.h"
#include "control/internal.h"

/*
 * The reconciler: from what each replica should be (want, place) and what there is (instances, what
 * nodes report of them) to the next changes on record. Level-triggered; each pass looks at
 * everything and commits at most one batch.
 *
 * The rules, for one replica with target T (right spec, right node) and others:
 *  - no T: it is made. While a healthy copy with another spec runs, the making is gated (rollout):
 *    site by site in name order, a quarter of the replicas at a time, and not while one that was
 * made so is unhealthy; one that stays so for 60 s stops the rollout.
 *  - T is healthy, and routed to for a moment: the others are told to stop.
 *  - T is not healthy: the best of the others is left alone; others that do not work are stopped.
 *  - a node has no room beside the old copy: that copy is stopped first.
 *  - exclusive work: never start-first. T waits for the lease on its node; as soon as it has all
 * else that it needs, the others are told to stop, also where nobody hears it: their lease ends
 * them.
 *  - depends_on holds back the first start of a service, and a rollout, never a replacement of what
 *    was lost.
 *  - nothing is stopped on a node that does not answer; its copies are marked as superseded when
 *    another is made, and stopped when the node is back, the other one is healthy, and the ingress
 *    of a site that came back leads nobody to the old one (front.c).
 * Books are closed on an instance only when its node said that it is gone: until then it counts
 * against the node's capacity.
 */

struct pass {
    struct control *c;
    struct ctl_txn *t;
    bool full; /* the batch is full: go on after its commit */
    int64_t wake_ms;
    /* the first replica that waits for room which only moves of others can make */
    struct ctl_inst *blocked_old;
    struct ctl_node *blocked_on;
    bool busy; /* something is on its way to change by itself */
};

static bool room(struct pass *p)
{
    if (p->t->nops + 8 < CONTROL_TXN_OPS_MAX) {
        return true;
    }
    p->full = true;
    return false;
}

static void put_role(struct pass *p, struct ctl_inst *i, enum ctl_role role)
{
    if (i->role == role || i->touched || !room(p)) {
        return;
    }
    i->touched = true; /* once in a batch */
    ctl_inst_put(p->c, p->t, i, role);
}

static bool matches(const struct ctl_svc *s, const struct ctl_inst *i)
{
    return i->role != CTL_STOPPING && i->spec == s->want && i->replica < (int64_t)s->nplace &&
           s->place[i->replica].node == i->node;
}

struct group { /* the instances of one replica */
    struct ctl_inst **insts;
    size_t count;
};

static struct group group_of(const struct ctl_svc *s, int64_t replica)
{
    size_t low = 0;
    size_t high = s->ninsts;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        if (s->insts[mid]->replica < replica) {
            low = mid + 1;
        } else {
            high = mid;
        }
    }
    struct group g = {s->insts + low, 0};
    while (low + g.count < s->ninsts && g.insts[g.count]->replica == replica) {
        g.count++;
    }
    return g;
}

static struct ctl_inst *target_in(const struct ctl_svc *s, struct group g)
{
    struct ctl_inst *best = NULL;
    for (size_t k = 0; k < g.count; k++) {
        struct ctl_inst *i = g.insts[k];
        if (matches(s, i) && (best == NULL || (!ctl_inst_healthy(best) && ctl_inst_healthy(i)))) {
            best = i;
        }
    }
    return best;
}

struct ctl_inst *ctl_target(const struct ctl_svc *s, int64_t replica)
{
    return target_in(s, group_of(s, replica));
}

/* Unknown counts as working: what has not been observed since the start must not be judged. */
static bool works(const struct ctl_inst *i)
{
    return i->role != CTL_STOPPING && ctl_node_up(i->node) &&
           (i->presumed || ctl_inst_healthy(i) || !i->observed);
}

static struct ctl_inst *best_other(struct group g, const struct ctl_inst *target)
{
    struct ctl_inst *best = NULL;
    int best_rank = 0;
    for (size_t k = 0; k < g.count; k++) {
        struct ctl_inst *i = g.insts[k];
        int rank = i == target || i->role == CTL_STOPPING ? 0
                   : ctl_inst_healthy(i)                  ? 3
                   : works(i)                             ? 2
                                                          : 1;
        if (rank > 0 && rank >= best_rank) { /* of equals, the newest */
            best = i;
            best_rank = rank;
        }
    }
    return best;
}

/* Its node took the order to stop, and since then (or since the channel opened) it is not there. */
static bool gone(const struct ctl_inst *i)
{
    if (i->role != CTL_STOPPING || i->stop_rev == 0 || i->node->acked_rev < i->stop_rev ||
        !i->node->full_seen) {
        return false;
    }
    return !i->observed || i->state == CONTROL_EXITED || i->state == CONTROL_FAILED;
}

/* ---- stopping ---- */

static bool routed_long_enough(struct pass *p, const struct ctl_inst *i, bool matters)
{
    bool yes = p->c->now_ms - i->healthy_ms >= CTL_ROUTED_HEALTHY_MS;
    if (!yes && matters) {
        p->wake_ms = ctl_i64_min(p->wake_ms, i->healthy_ms + CTL_ROUTED_HEALTHY_MS);
        p->busy = true;
    }
    return yes;
}

/* The target of exclusive work has its image, and waits for the lease that the others have. */
static bool takes_over(const struct ctl_svc *s, const struct ctl_inst *target)
{
    return target != NULL && s->decl->exclusive && target->observed &&
           (target->state == CONTROL_STARTING || target->state == CONTROL_RUNNING);
}

/* Users of a site that is cut off, or was, are led to its copies until its ingress hears better. */
static bool still_led_to(struct pass *p, struct ctl_inst *i)
{
    int64_t until_ms;
    bool lost = i->node->life == CTL_LOST;

    if ((!lost && !works(i)) || !ctl_front_keeps(p->c, i, &until_ms)) {
        return false;
    }
    put_role(p, i, CTL_SUPERSEDED);
    p->wake_ms = ctl_i64_min(p->wake_ms, until_ms);
    p->busy = p->busy || !lost;
    return true;
}

static void group_stops(struct pass *p, const struct ctl_svc *s, struct group g, bool wanted)
{
    struct ctl_inst *target = wanted ? target_in(s, g) : NULL;
    struct ctl_inst *other = best_other(g, target);
    bool settled = false;
    bool other_serves = false;

    if (other != NULL && ctl_inst_healthy(other)) {
        other_serves = routed_long_enough(p, other, g.count > (target != NULL ? 2 : 1));
    }
    if (target != NULL && target->healthy_ms >= 0 && ctl_inst_healthy(target)) {
        settled = routed_long_enough(p, target, g.count > 1);
    }
    settled = settled || (target != NULL && ctl_inst_completed(target)) || takes_over(s, target);
    for (size_t k = 0; k < g.count; k++) {
        struct ctl_inst *i = g.insts[k];
        if (gone(i)) {
            if (room(p)) {
                ctl_txn_remove(p->t, ctl_key_text(p->t, "instances", sk_str(i->id)));
            }
        } else if (i->role == CTL_STOPPING) {
            p->busy = p->busy || ctl_node_up(i->node);
        } else if (i->node->site->away) {
            put_role(p, i, CTL_STOPPING); /* a drill: what would be gone, goes */
        } else if (i == target) {
            put_role(p, i, CTL_ACTIVE);
        } else if (!wanted || settled) {
            if (!wanted || !still_led_to(p, i)) {
                put_role(p, i, CTL_STOPPING);
            }
        } else if (i->node->life == CTL_LOST && target != NULL) {
            /* one copy out of reach is kept for its return, in case the new one fails */
            put_role(p, i, i == other ? CTL_SUPERSEDED : CTL_STOPPING);
        } else if (other != NULL && i != other && i->observed && ctl_node_up(i->node) &&
                   (!works(i) || other_serves)) {
            put_role(p, i, CTL_STOPPING);
        }
    }
}

/* ---- making ---- */

static uint16_t service_port(const struct service *d)
{
    if (d->has_route) {
        return d->route_port;
    }
    for (size_t k = 0; k < d->nports; k++) {
        if (!d->ports[k].udp) { /* its check connects to it */
            return d->ports[k].target;
        }
    }
    return d->nexpose > 0 ? d->expose[0] : 0;
}

static int64_t generation_for(const struct ctl_svc *s)
{
    int64_t last = 0;
    for (size_t k = 0; k < s->ninsts; k++) {
        if (s->insts[k]->spec == s->want) {
            return s->insts[k]->generation;
        }
        last = ctl_i64_max(last, s->insts[k]->generation);
    }
    return last + 1;
}

static void blocked(struct ctl_svc *s, const char *fmt, const char *node)
{
    char text[256];
    (void)snprintf(text, sizeof(text), "waits for room on node '%s'%s", node, fmt);
    ctl_set(&s->blocked, sk_str(text));
}

static bool make_instance(struct pass *p, struct ctl_svc *s, int64_t replica, struct ctl_node *n)
{
    struct control *c = p->c;
    char address[20] = "";
    struct ctl_inst i = {
        .svc = s,
        .replica = replica,
        .generation = generation_for(s),
        .node = n,
        .spec = s->want,
        .cpus_nano = s->decl->cpus_nano,
        .memory_bytes = s->decl->memory_bytes,
        .disk_bytes = s->decl->disk_bytes,
        .created_wall_ms = c->wall_ms,
    };

    if (s->want->exec) {
        if (!ctl_port_pick(c, n, &i.port)) {
            blocked(s, ": no port is left", n->name);
            return false;
        }
        i.address = n->address;
    } else {
        if (!ctl_addr_pick(c, n, address)) {
            blocked(s, ": no address is left", n->name);
            return false;
        }
        i.address = address;
        i.port = service_port(s->decl);
    }
    ctl_id(c, i.id);
    ctl_inst_put(c, p->t, &i, CTL_ACTIVE);
    n->used_cpus += i.cpus_nano;
    n->used_memory += i.memory_bytes;
    n->used_disk += i.disk_bytes;
    p->busy = true;
    return true;
}

/* Whether what is meant to be on the node fits it: if so, waiting and moving will make room. */
static bool meant_fits(const struct control *c, const struct ctl_node *n)
{
    int64_t cpus = 0;
    int64_t memory = 0;
    int64_t disk = 0;
    for (size_t i = 0; i < c->nsvcs; i++) {
        const struct ctl_svc *s = c->svcs[i];
        for (size_t r = 0; r < s->nplace; r++) {
            if (s->place[r].node == n) {
                cpus += s->decl->cpus_nano;
                memory += s->decl->memory_bytes;
                disk += s->decl->disk_bytes;
            }
        }
    }
    return cpus <= n->cpus_nano && memory <= n->memory_bytes && disk <= n->disk_bytes;
}

/* Makes the replica's target, or says what it waits for. */
static void replica_make(struct pass *p, struct ctl_svc *s, int64_t replica, struct group g)
{
    struct ctl_node *n = s->place[replica].node;
    struct ctl_inst *other = best_other(g, NULL);

    if (!room(p)) {
        return;
    }
    if (ctl_fits(n, s->decl->cpus_nano, s->decl->memory_bytes, s->decl->disk_bytes)) {
        if (make_instance(p, s, replica, n)) {
            for (size_t k = 0; k < g.count; k++) {
                if (g.insts[k]->node->life == CTL_LOST && g.insts[k]->role == CTL_ACTIVE) {
                    put_role(p, g.insts[k], CTL_SUPERSEDED);
                }
            }
        }
        return;
    }
    blocked(s, "", n->name);
    if (other != NULL && other->node == n && ctl_node_up(n)) {
        put_role(p, other, CTL_STOPPING); /* no room for two: one after the other */
        p->busy = true;
    } else if (other != NULL && ctl_node_up(other->node) && p->blocked_old == NULL) {
        p->blocked_old = other;
        p->blocked_on = n;
    }
}

/* ---- depends_on ---- */

static bool replica_meets(const struct ctl_inst *i, enum depends_condition condition)
{
    if (i == NULL || !i->observed) {
        return false;
    }
    switch (condition) {
    case DEPENDS_STARTED:
        return i->state == CONTROL_RUNNING || ctl_inst_completed(i);
    case DEPENDS_HEALTHY:
        return ctl_inst_healthy(i);
    case DEPENDS_COMPLETED:
        return ctl_inst_completed(i);
    }
    return false;
}

/* Started and healthy: one replica is enough, so that a server that is away holds nothing up.
 * Completed: all of them, each does a part. Nothing wanted is nothing to wait for. */
static bool dependency_met(const struct ctl_svc *on, enum depends_condition condition)
{
    size_t met = 0;
    for (size_t r = 0; r < on->nplace; r++) {
        met += replica_meets(ctl_target(on, (int64_t)r), condition);
    }
    return on->nplace == 0 || (condition == DEPENDS_COMPLETED ? met == on->nplace : met > 0);
}

/* True while a service may not start, or not be replaced by a new version: it then says what for.
 * What once began is never held back: after a loss everything comes up at once. */
static bool held_back(struct pass *p, struct ctl_svc *s)
{
    static const char *const what[] = {
        [DEPENDS_STARTED] = "to start",
        [DEPENDS_HEALTHY] = "to be healthy",
        [DEPENDS_COMPLETED] = "to complete",
    };
    for (size_t k = 0; k < s->decl->ndepends_on; k++) {
        const struct depends *d = &s->decl->depends_on[k];
        const struct ctl_svc *on = ctl_svc(p->c, sk_str(s->project), d->service);
        if (on != NULL && on->decl != NULL && !dependency_met(on, d->condition)) {
            char text[256];
            (void)snprintf(text, sizeof(text), "waits for '%.*s' %s", SK_PRI(d->service),
                           what[d->condition]);
            ctl_set(&s->blocked, sk_str(text));
            return true;
        }
    }
    return false;
}

/* ---- rollouts ---- */

struct rollout {
    int64_t under_way, batch;
    struct ctl_site *site; /* of those under way, else the first in turn */
    bool halted, replacing;
};

enum need { NEED_NOTHING, NEED_MAKE, NEED_GATED };

static enum need replica_need(struct pass *p, const struct ctl_svc *s, int64_t replica,
                              struct group g)
{
    const struct ctl_node *n = s->place[replica].node;
    const struct ctl_inst *other = best_other(g, NULL);

    if (n == NULL || !ctl_node_up(n) || target_in(s, g) != NULL) {
        return NEED_NOTHING;
    }
    if (n->drained || n->site->drained || n->site->away) {
        return NEED_NOTHING; /* by force, with no room elsewhere: what runs there may go on */
    }
    bool replaces = other != NULL && works(other) && other->spec != s->want;
    return replaces ? NEED_GATED : NEED_MAKE;
}

/* Nothing of the replica is there, and it can be made: a copy was stopped first. One that waits for
 * room which only moves of others can make holds nobody up, or they would wait for each other. */
static bool between(const struct ctl_svc *s, const struct ctl_node *n, struct group g)
{
    const struct service *d = s->decl;
    return n != NULL && ctl_node_up(n) &&
           (g.count > 0 || ctl_fits(n, d->cpus_nano, d->memory_bytes, d->disk_bytes));
}

static void rollout_look(struct pass *p, const struct ctl_svc *s, struct rollout *ro)
{
    struct control *c = p->c;
    memset(ro, 0, sizeof(*ro));
    ro->batch = ctl_i64_max(1, ((int64_t)s->nplace + 3) / 4);
    for (size_t r = 0; r < s->nplace; r++) {
        struct group g = group_of(s, (int64_t)r);
        const struct ctl_inst *target = target_in(s, g);
        const struct ctl_inst *other = best_other(g, target);
        bool replacing = other != NULL && other->spec != s->want && works(other);
        bool stopped_first = target == NULL && other == NULL && between(s, s->place[r].node, g);
        if (target != NULL && !ctl_inst_healthy(target) && (replacing || g.count == 1)) {
            /* alone: either the first of its kind, or the old one was stopped first */
            bool late = c->now_ms - target->noted_ms >= CONTROL_HEALTH_GATE_MS ||
                        target->restarts >= CONTROL_GATE_RESTARTS;
            ro->halted = ro->halted || late;
            ro->replacing = ro->replacing || replacing;
            ro->under_way++;
            ro->site = s->place[r].node ? s->place[r].node->site : ro->site;
            p->busy = p->busy || !late;
            if (!late) {
                p->wake_ms = ctl_i64_min(p->wake_ms, target->noted_ms + CONTROL_HEALTH_GATE_MS);
            }
        } else if (stopped_first) {
            ro->under_way++;
            ro->site = s->place[r].node ? s->place[r].node->site : ro->site;
        }
    }
}

static void rollout_site(struct pass *p, const struct ctl_svc *s, struct rollout *ro)
{
    for (size_t r = 0; r < s->nplace; r++) {
        if (replica_need(p, s, (int64_t)r, group_of(s, (int64_t)r)) == NEED_GATED) {
            struct ctl_site *site = s->place[r].node->site;
            ro->replacing = true;
            if (ro->under_way > 0) {
                continue;
            }
            if (ro->site == NULL || strcmp(site->name, ro->site->name) < 0) {
                ro->site = site;
            }
        }
    }
}

static void rollout_tell(struct control *c, struct ctl_svc *s, bool halted)
{
    bool was = strcmp(s->halted, s->want->hash) == 0;
    if (halted && !was) {
        memcpy(s->halted, s->want->hash, sizeof(s->halted));
        ctl_note_svc(c, "rollout_stopped", s,
                     "a new copy is not healthy after %d s or %d starts: the rollout stops, the "
                     "old copies go on",
                     CONTROL_HEALTH_GATE_MS / 1000, CONTROL_GATE_RESTARTS);
    } else if (!halted && was) {
        s->halted[0] = '\0';
        ctl_note_svc(c, "rollout_resumed", s, "the new copies are healthy: the rollout goes on");
    }
}

static void service_makes(struct pass *p, struct ctl_svc *s)
{
    struct rollout ro;

    rollout_look(p, s, &ro);
    rollout_site(p, s, &ro);
    ro.halted = ro.halted && ro.replacing;
    rollout_tell(p->c, s, ro.halted);
    s->begun = s->nplace > 0 && (s->begun || s->ninsts > 0);
    bool held = s->decl->ndepends_on > 0 && (!s->begun || ro.replacing) && held_back(p, s);
    for (size_t r = 0; r < s->nplace && !p->full; r++) {
        struct group g = group_of(s, (int64_t)r);
        switch (replica_need(p, s, (int64_t)r, g)) {
        case NEED_NOTHING:
            break;
        case NEED_MAKE:
            if (s->begun || !held) {
                replica_make(p, s, (int64_t)r, g);
            }
            break;
        case NEED_GATED:
            if (!held && !ro.halted && ro.under_way < ro.batch &&
                s->place[r].node->site == ro.site) {
                ro.under_way++;
                replica_make(p, s, (int64_t)r, g);
            }
            break;
        }
    }
}

static void service_stops(struct pass *p, struct ctl_svc *s)
{
    for (size_t at = 0; at < s->ninsts;) {
        struct group g = group_of(s, s->insts[at]->replica);
        bool wanted =
            s->decl != NULL && g.insts[0]->replica < (int64_t)s->nplace && g.insts[0]->replica >= 0;
        group_stops(p, s, g, wanted);
        at += g.count;
    }
}

static bool waits_for_room(const struct ctl_svc *s, const struct ctl_node *n)
{
    bool fits = ctl_fits(n, s->decl->cpus_nano, s->decl->memory_bytes, s->decl->disk_bytes);
    for (size_t r = 0; !fits && r < s->nplace; r++) {
        if (s->place[r].node == n && target_in(s, group_of(s, (int64_t)r)) == NULL) {
            return true;
        }
    }
    return false;
}

/* Whether the service is held back, directly or not, by one that waits for room on the node. */
static bool holds_itself_back(const struct control *c, const struct ctl_svc *s,
                              const struct ctl_node *n)
{
    for (size_t k = 0; k < s->decl->ndepends_on; k++) {
        const struct ctl_svc *on = ctl_svc(c, sk_str(s->project), s->decl->depends_on[k].service);
        if (on != NULL && on->decl != NULL &&
            (waits_for_room(on, n) || holds_itself_back(c, on, n))) {
            return true;
        }
    }
    return false;
}

/* An old copy in the way of the very service that its replacement has to wait for. */
static struct ctl_inst *copy_in_the_way(const struct control *c)
{
    for (size_t i = 0; i < c->nsvcs; i++) {
        const struct ctl_svc *s = c->svcs[i];
        for (size_t k = 0; s->decl != NULL && s->decl->ndepends_on > 0 && k < s->ninsts; k++) {
            struct ctl_inst *old = s->insts[k];
            if (old->role != CTL_STOPPING && old->spec != s->want && ctl_node_up(old->node) &&
                holds_itself_back(c, s, old->node) && meant_fits(c, old->node)) {
                return old;
            }
        }
    }
    return NULL;
}

/* What would wait for ever: two full nodes that want each other's replicas, and a rollout that has
 * to wait for a service that has no room beside the old copies. One copy is stopped first. */
static void break_knot(struct pass *p)
{
    struct ctl_inst *old = p->blocked_old;

    if (p->busy || p->full || p->t->nops > 0) {
        return;
    }
    if (old == NULL || !meant_fits(p->c, p->blocked_on)) {
        old = copy_in_the_way(p->c);
    }
    if (old != NULL) {
        put_role(p, old, CTL_STOPPING);
    }
}

void ctl_reconcile_step(struct control *c)
{
    struct pass p = {.c = c, .wake_ms = INT64_MAX};

    if (!c->dirty_reconcile || c->pending != NULL || c->frozen || c->now_ms < c->next_retry_ms) {
        return;
    }
    c->dirty_reconcile = false;
    p.t = ctl_txn_new(NULL);
    ctl_count_used(c);
    for (size_t k = 0; k < c->nnodes; k++) {
        for (size_t m = 0; m < c->nodes[k]->ninsts; m++) {
            c->nodes[k]->insts[m]->touched = false;
        }
    }
    for (size_t i = 0; i < c->nsvcs; i++) {
        struct ctl_svc *s = c->svcs[i];
        service_stops(&p, s);
        free(s->blocked);
        s->blocked = NULL;
        if (s->decl != NULL) {
            service_makes(&p, s);
        }
    }
    break_knot(&p);
    c->next_timer_ms = p.wake_ms;
    c->dirty_reconcile = p.full;
    ctl_txn_send(c, p.t);
}
