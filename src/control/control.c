/* SPDX-License-Identifier: Apache-2.0 */
#include "control/control.h"

#include <string.h>

#include "control/internal.h"

/*
 * One step: take in the event, look at who is there, then decide (at most one transaction), then
 * tell the nodes. The order of the decisions is the order of their urgency: renewals of leases,
 * what was planned before, failover, then requests and the reconciler in turns, then housekeeping.
 */

int control_new(const struct control_config *cfg, struct control **ret, struct sk_err *err)
{
    if (!sk_str_is_label(cfg->node)) {
        return sk_err_set(err, SK_ERR_USAGE, "'%.*s' is no name for a node", SK_PRI(cfg->node));
    }
    struct control *c = sk_xcalloc(1, sizeof(*c));
    c->own_node = ctl_dup(cfg->node);
    c->ingress_port = cfg->ingress_port ? cfg->ingress_port : 8080;
    c->channel_port = cfg->channel_port ? cfg->channel_port : 7400;
    c->grace_ms = cfg->grace_ms > 0 ? cfg->grace_ms : 5000;
    c->return_moves = cfg->return_moves ? cfg->return_moves : 100;
    sk_prng_seed(&c->prng, cfg->seed);
    memcpy(c->secret, cfg->secret, sizeof(c->secret));
    ctl_leader_init(c, cfg);
    ctl_upkeep_init(c);
    c->next_request = 1;
    c->queue_end = &c->queue;
    c->whole_ms = -1;
    c->stamp = 1;
    ctl_return_clear(c);
    c->growth.next_ms = INT64_MAX;
    c->growth.failing_ms = -1;
    c->next_timer_ms = c->next_resend_ms = c->lease_free_ms = INT64_MAX;
    c->next_pick_ms = INT64_MAX;
    ctl_plan_refresh(c);
    *ret = c;
    return 0;
}

void control_free(struct control *c)
{
    if (c == NULL) {
        return;
    }
    while (c->queue != NULL) {
        struct ctl_req *req = c->queue;
        c->queue = req->next;
        ctl_req_free(req);
    }
    for (unsigned i = 0; i < CTL_SLOT_COUNT; i++) {
        ctl_job_free(c->jobs[i]);
    }
    ctl_txn_free(c->pending);
    ctl_notes_free(c->notes, c->nnotes);
    free(c->notes);
    ctl_unheard_free(c);
    ctl_feed_clear(c);
    ctl_records_clear(c);
    ctl_growth_free(c);
    sk_arena_free(c->effective_arena);
    free(c->peers);
    free(c->drill_site);
    free(c->own_node);
    free(c);
}

/* ---- loading ---- */

bool control_leads(const struct control *c)
{
    return c->leader.leads;
}

static bool listed(const struct control_event *ev, struct sk_str key)
{
    size_t low = 0;
    size_t high = ev->u.loaded.count;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        int order = sk_str_cmp(ev->u.loaded.records[mid].key, key);
        if (order == 0) {
            return true;
        }
        if (order < 0) {
            low = mid + 1;
        } else {
            high = mid;
        }
    }
    return false;
}

struct keys {
    struct sk_arena *arena;
    struct sk_str *items;
    size_t count, cap;
};

static void keys_add(struct keys *k, const char *kind, const char *name)
{
    SK_GROW(k->items, k->count, k->cap);
    k->items[k->count++] = sk_arena_printf(k->arena, CTL_PREFIX "%s/%s", kind, name);
}

/* Everything on the books, those that others depend on last. */
static void keys_known(const struct control *c, struct keys *k)
{
    for (size_t i = 0; i < c->nsvcs; i++) {
        for (size_t n = 0; n < c->svcs[i]->ninsts; n++) {
            keys_add(k, "instances", c->svcs[i]->insts[n]->id);
        }
    }
    for (size_t i = 0; i < c->nleases; i++) {
        keys_add(k, "leases", c->leases[i]->name);
    }
    for (size_t i = 0; i < c->nprojects; i++) {
        keys_add(k, "projects", c->projects[i]->decl->name.ptr);
    }
    for (size_t i = 0; i < c->ntokens; i++) {
        keys_add(k, "tokens", c->tokens[i]->hash);
    }
    for (size_t i = 0; i < c->nkeys; i++) {
        keys_add(k, "keys", c->keys[i]->hash);
    }
    for (size_t i = 0; i < c->ncerts; i++) {
        keys_add(k, "certs", c->certs[i]->node);
    }
    for (size_t i = 0; i < c->nrevoked; i++) {
        keys_add(k, "revoked", c->revoked[i]->serial);
    }
    for (size_t i = 0; i < c->npieces; i++) {
        SK_GROW(k->items, k->count, k->cap);
        k->items[k->count++] = sk_arena_printf(k->arena, CTL_PREFIX "%s", c->pieces[i]->key);
    }
    if (c->ret.raw != NULL) {
        SK_GROW(k->items, k->count, k->cap);
        k->items[k->count++] = SK_STR(CTL_PREFIX "return");
    }
    if (c->drill != NULL) {
        SK_GROW(k->items, k->count, k->cap);
        k->items[k->count++] = SK_STR(CTL_PREFIX "drill");
    }
    for (size_t i = 0; i < c->nreports; i++) {
        keys_add(k, "drills", c->reports[i]->key);
    }
    for (size_t i = 0; i < c->nlinks; i++) {
        SK_GROW(k->items, k->count, k->cap);
        k->items[k->count++] =
            sk_arena_printf(k->arena, CTL_PREFIX "links/%s/%s", c->links[i]->a, c->links[i]->b);
    }
    for (size_t i = 0; i < c->nnodes; i++) {
        keys_add(k, "nodes", c->nodes[i]->name);
    }
    for (size_t i = 0; i < c->nsites; i++) {
        keys_add(k, "sites", c->sites[i]->name);
    }
    if (c->roster.raw != NULL) {
        SK_GROW(k->items, k->count, k->cap);
        k->items[k->count++] = SK_STR(CTL_PREFIX "control");
    }
}

static int drop_unlisted(struct control *c, const struct control_event *ev, struct sk_err *err)
{
    struct keys k = {.arena = sk_arena_new()};
    int rc = 0;

    keys_known(c, &k);
    for (size_t i = 0; i < k.count && rc == 0; i++) {
        if (listed(ev, k.items[i])) {
            continue;
        }
        struct sk_str prefix = SK_STR(CTL_PREFIX "nodes/");
        if (sk_str_starts(k.items[i], prefix)) {
            const struct ctl_node *n = ctl_node(
                c, (struct sk_str){k.items[i].ptr + prefix.len, k.items[i].len - prefix.len});
            if (n != NULL && n->ninsts > 0) {
                rc = sk_err_set(err, SK_ERR_CORRUPT, "node '%s' is gone, its instances are not",
                                n->name);
                continue;
            }
        }
        ctl_record_remove(c, k.items[i]);
    }
    free(k.items);
    sk_arena_free(k.arena);
    return rc;
}

/* Sites before nodes before what runs on them: the order of the keys does not give that. */
static int kind_pass(struct sk_str key)
{
    return sk_str_starts(key, SK_STR(CTL_PREFIX "sites/"))   ? 0
           : sk_str_starts(key, SK_STR(CTL_PREFIX "nodes/")) ? 1
                                                             : 2;
}

/* Its revisions say nothing about those of the state before. What is in memory of records that it
 * holds too is compared by them, and must not be taken for the same. */
static void other_state(struct control *c)
{
    c->leader.mod_rev = -1;
    for (size_t i = 0; i < c->nleases; i++) {
        c->leases[i]->mod_rev = -1;
    }
    c->basis = 0;
    ctl_feed_clear(c);
    c->feed.told = c->feed.need_rev = 0;
}

static int take_loaded(struct control *c, const struct control_event *ev, struct sk_err *err)
{
    bool first = !c->loaded;

    if (!first && !sk_str_is(ev->u.loaded.store_id, c->store_id)) {
        other_state(c);
    } else if (!first && ev->u.loaded.revision < ctl_i64_max(c->revision, c->feed.need_rev)) {
        (void)ctl_out(c->out, CONTROL_CMD_LOAD); /* it is older than what is known */
        c->loading = true;
        return 0;
    }
    if (!first && drop_unlisted(c, ev, err) < 0) {
        return SK_ERR_CORRUPT;
    }
    for (int pass = 0; pass < 3; pass++) {
        for (size_t i = 0; i < ev->u.loaded.count; i++) {
            const struct control_record *r = &ev->u.loaded.records[i];
            if (kind_pass(r->key) == pass &&
                ctl_record_apply(c, r->key, r->value, r->mod_rev, err) < 0) {
                return SK_ERR_CORRUPT;
            }
        }
    }
    (void)snprintf(c->store_id, sizeof(c->store_id), "%.*s", SK_PRI(ev->u.loaded.store_id));
    c->revision = ev->u.loaded.revision;
    c->derive_needed = true;
    if (ctl_records_settle(c, NULL, err) < 0) {
        return SK_ERR_CORRUPT;
    }
    if (first) {
        c->loaded_ms = c->now_ms;
        c->loaded = true;
    }
    c->loading = false;
    c->feed.need_rev = 0;
    c->next_life_ms = c->now_ms;
    c->dirty_all = c->dirty_views = c->dirty_probes = c->dirty_reconcile = true;
    return 0;
}

/* ---- deciding ---- */

/* The first request in line; those that need a plan wait while another is being planned. */
static struct ctl_req *queue_next(struct control *c)
{
    for (struct ctl_req **at = &c->queue; *at != NULL; at = &(*at)->next) {
        struct ctl_req *req = *at;
        bool plans =
            req->kind == CTL_REQ_API &&
            (req->api.kind == CONTROL_REQ_APPLY || req->api.kind == CONTROL_REQ_DRAIN ||
             req->api.kind == CONTROL_REQ_REBALANCE || req->api.kind == CONTROL_REQ_PROJECT_DELETE);
        if (plans && c->jobs[CTL_SLOT_REQUEST] != NULL) {
            continue;
        }
        *at = req->next;
        if (*at == NULL) {
            c->queue_end = at;
        }
        req->next = NULL;
        return req;
    }
    return NULL;
}

static void requests_step(struct control *c)
{
    struct ctl_req *req;
    while (c->pending == NULL && (req = queue_next(c)) != NULL) {
        ctl_request_run(c, req);
    }
}

static void notes_step(struct control *c)
{
    if (c->nnotes > 0 && c->pending == NULL && c->now_ms >= c->next_retry_ms) {
        ctl_txn_send(c, ctl_txn_new(NULL));
    }
}

static void decide(struct control *c)
{
    bool turn = c->pending == NULL;
    bool leases_first = turn && !c->leased_last;

    ctl_requests_unwritten(c);
    if (ctl_move_step(c) || !ctl_leader_step(c)) {
        return; /* the state is being moved, or another one decides */
    }
    /* A renewal that comes late kills. But where commits are slow there is always one to make: so
     * leases and everything else take turns. */
    if (leases_first) {
        ctl_lease_step(c);
    }
    c->leased_last = turn ? c->pending != NULL : c->leased_last;
    ctl_jobs_step(c);
    ctl_drill_step(c);
    ctl_failover_step(c);
    c->requests_first = !c->requests_first;
    if (c->requests_first) {
        requests_step(c);
    }
    if (c->now_ms >= c->next_timer_ms) {
        c->dirty_reconcile = true;
    }
    ctl_reconcile_step(c);
    requests_step(c);
    ctl_return_step(c);
    ctl_grow_step(c);
    ctl_address_step(c);
    notes_step(c);
    if (turn && !leases_first) {
        ctl_lease_step(c);
    }
    ctl_leader_bump(c);
}

static int take_event(struct control *c, const struct control_event *ev, struct sk_err *err)
{
    switch (ev->kind) {
    case CONTROL_EV_LOADED:
        return take_loaded(c, ev, err);
    case CONTROL_EV_CHANGED:
        ctl_changed(c, ev);
        return 0;
    case CONTROL_EV_TXN_DONE:
        return ctl_txn_done(c, ev, err);
    case CONTROL_EV_PLAN_DONE:
        ctl_plan_done(c, ev);
        return 0;
    case CONTROL_EV_HELLO:
        ctl_hello(c, ev);
        return 0;
    case CONTROL_EV_BYE:
        ctl_bye(c, ev);
        return 0;
    case CONTROL_EV_BEAT:
        ctl_beat(c, ev);
        return 0;
    case CONTROL_EV_OBSERVE:
        ctl_observe(c, ev);
        return 0;
    case CONTROL_EV_JOIN:
        ctl_queue(c, ctl_req_join(&ev->u.join));
        return 0;
    case CONTROL_EV_RENEW:
        ctl_queue(c, ctl_req_renew(ev));
        return 0;
    case CONTROL_EV_LEASE:
        ctl_lease_asked(c, ev);
        return 0;
    case CONTROL_EV_DRILLED:
        ctl_drilled(c, ev);
        return 0;
    case CONTROL_EV_REQUEST:
        ctl_queue(c, ctl_req_api(&ev->u.request));
        return 0;
    case CONTROL_EV_SEAT:
        ctl_seat_heard(c, ev);
        return 0;
    case CONTROL_EV_MOVED:
        ctl_moved(c, ev);
        return 0;
    case CONTROL_EV_ETCD_DONE:
        ctl_etcd_done(c, ev);
        return 0;
    case CONTROL_EV_ETCD_SEEN:
        ctl_upkeep_seen(c, ev);
        return 0;
    case CONTROL_EV_TICK:
    case CONTROL_EV_COUNT:
        return 0;
    }
    return 0;
}

int control_step(struct control *c, const struct control_event *ev, struct control_commands *out,
                 struct sk_err *err)
{
    if (!c->loaded && ev->kind != CONTROL_EV_LOADED) {
        if (ev->kind == CONTROL_EV_PLAN_DONE) {
            plan_free(ev->u.plan_done.plan);
        }
        return 0;
    }
    int64_t before_ms = c->now_ms;
    c->out = out;
    c->now_ms = ctl_i64_max(c->now_ms, ev->now_ms);
    c->wall_ms = ev->wall_ms;
    if (c->loaded) {
        ctl_life_late(c, before_ms);
    }
    int rc = take_event(c, ev, err);
    if (rc == 0 && c->loaded) {
        ctl_feed_step(c);
        ctl_life_step(c);
        ctl_unheard_step(c);
        if (!c->loading) {
            decide(c);
        }
        ctl_upkeep_step(c);
        ctl_probes_step(c);
        ctl_roster_tell(c);
        if (c->leader.leads) {
            ctl_views_step(c);
            ctl_assign_step(c);
        }
    }
    c->out = NULL;
    return rc;
}

/* What was due in this step was tried in it; if it could not be, an answer will come and be a step
 * of its own. So only what lies ahead counts. */
static void sooner(const struct control *c, int64_t at, int64_t *best)
{
    if (at > c->now_ms && at < *best) {
        *best = at;
    }
}

uint64_t control_deadline_ms(const struct control *c)
{
    int64_t best = INT64_MAX;

    if (!c->loaded) {
        return UINT64_MAX;
    }
    sooner(c, c->next_life_ms, &best);
    sooner(c, c->next_timer_ms, &best);
    sooner(c, c->next_resend_ms, &best);
    if (c->leader.leads) {
        sooner(c, c->next_pick_ms, &best);
    }
    sooner(c, c->next_retry_ms, &best);
    sooner(c, c->growth.next_ms, &best);
    sooner(c, ctl_upkeep_deadline(c), &best);
    if (ctl_shared(c)) {
        sooner(c, c->leader.leads ? c->leader.next_bump_ms : c->leader.next_look_ms, &best);
        sooner(c, c->leader.seen_ms + ctl_silence_ms(c), &best);
    }
    sooner(c, ctl_drill_deadline(c), &best);
    if (c->asked) {
        sooner(c, c->next_lease_ms, &best);
        sooner(c, c->lease_free_ms, &best);
    }
    sooner(c, c->ret.next_ms, &best);
    return best == INT64_MAX ? UINT64_MAX : (uint64_t)best;
}
