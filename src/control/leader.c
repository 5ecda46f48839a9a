/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "control/front.h"
#include "control/internal.h"

/*
 * Who leads: one control node, by a key in the store (docs/leases.md; the model:
 * tests/spin/lease.pml).
 *
 * Every transaction compares the revision of that key, so what a deposed leader decided fails as a
 * whole. Where the state is shared, the leader bumps the key; a standby that has seen no change of
 * it for a while by its own clock takes it over, by comparing the same revision. Until then it
 * listens, follows the state (feed.c), decides nothing and tells the nodes nothing. Where the state
 * is not shared (one control node) nobody else could lead: the key is taken once, at the start, and
 * not bumped.
 *
 * Each takeover has a higher term, which goes with everything that nodes are told: they refuse a
 * lower one than they took. A state that was put back from a backup may hold an older term than
 * nodes have seen meanwhile; so the first leader of another store id begins at the seconds of the
 * wall clock, which terms, counted up by one a takeover, never reach.
 */

static const struct sk_str leader_key = {CTL_PREFIX "leader", sizeof(CTL_PREFIX "leader") - 1};

bool ctl_shared(const struct control *c)
{
    return c->leader.shared || c->roster.etcd;
}

struct sk_str control_leader(const struct control *c)
{
    return sk_str(c->leader.node != NULL ? c->leader.node : "");
}

int64_t control_term(const struct control *c)
{
    return c->leader.term;
}

void ctl_leader_init(struct control *c, const struct control_config *cfg)
{
    struct sk_buf text = SK_BUF_INIT;
    uint8_t digest[SK_SHA256_BYTES];

    /* not from the prng: who leads must not change what else is drawn from it */
    sk_buf_printf(&text, "leader %s %llu ", c->own_node, (unsigned long long)cfg->seed);
    sk_buf_add(&text, (const char *)cfg->secret, sizeof(cfg->secret));
    sk_sha256(sk_buf_str(&text), digest);
    sk_buf_release(&text);
    sk_hex(digest, 16, c->leader.own);
    c->leader.shared = cfg->shared;
    c->leader.next_look_ms = INT64_MAX;
}

void ctl_leader_apply(struct control *c, const struct sk_node *rec, struct sk_str raw,
                      int64_t mod_rev)
{
    struct ctl_leader *l = &c->leader;
    bool led = l->leads;

    if (l->mod_rev == mod_rev) {
        return; /* read again: no sign of life */
    }
    ctl_set(&l->raw, raw);
    ctl_set(&l->node, sk_map_str(rec, "node", SK_STR("")));
    ctl_set(&l->store, sk_map_str(rec, "store", SK_STR("")));
    (void)snprintf(l->holder, sizeof(l->holder), "%.*s", SK_PRI(sk_map_str(rec, "id", SK_STR(""))));
    l->term = sk_map_int(rec, "term", 0);
    l->mod_rev = mod_rev;
    l->seen_ms = c->now_ms;
    l->leads = strcmp(l->holder, l->own) == 0;
    if (l->leads && !led) {
        c->dirty_all = c->dirty_probes = c->dirty_reconcile = true;
        c->stamp++;
        ctl_ingress_forget(c);
    }
    if (!l->leads) { /* it lives: what was to be noted so far, it notes */
        ctl_notes_free(c->notes, c->nnotes);
        c->nnotes = 0;
    }
}

void ctl_leader_clear(struct control *c)
{
    free(c->leader.raw);
    free(c->leader.node);
    free(c->leader.store);
}

static void put(struct control *c, struct ctl_txn *t, int64_t term)
{
    struct sk_buf patch = SK_BUF_INIT;
    struct sk_jw w;

    sk_jw_init(&w, &patch);
    sk_jw_obj(&w);
    sk_jw_kint(&w, "v", 1);
    sk_jw_kcstr(&w, "node", c->own_node);
    sk_jw_kcstr(&w, "id", c->leader.own);
    sk_jw_kint(&w, "term", term);
    sk_jw_kcstr(&w, "store", c->store_id);
    sk_jw_obj_end(&w);
    ctl_put_merged(t, leader_key, c->leader.raw, sk_buf_str(&patch));
    sk_buf_release(&patch);
}

/* Each transaction of a leader is a sign of its life, if one is due. */
void ctl_leader_fence(struct control *c, struct ctl_txn *t, struct control_txn *ret)
{
    struct ctl_leader *l = &c->leader;

    if (l->own[0] == '\0') {
        return; /* the first records of a cluster: nobody leads yet */
    }
    if (l->leads && ctl_shared(c) && c->now_ms >= l->next_bump_ms && t->nops > 0) {
        put(c, t, l->term);
        l->next_bump_ms = c->now_ms + CTL_LEADER_BUMP_MS;
    }
    ret->fence_key = leader_key;
    ret->fence_rev = l->mod_rev;
}

static bool may_take(const struct control *c)
{
    const struct ctl_leader *l = &c->leader;
    return !ctl_shared(c) || l->holder[0] == '\0' || c->now_ms - l->seen_ms >= ctl_silence_ms(c);
}

static void stand_by(struct control *c)
{
    ctl_requests_refuse(c, c->leader.node);
    if (c->feed.seen) {
        c->leader.next_look_ms = INT64_MAX;
        return;
    }
    if (c->now_ms >= c->leader.next_look_ms) {
        (void)ctl_out(c->out, CONTROL_CMD_LOAD);
        c->loading = true;
    }
    if (c->now_ms >= c->leader.next_look_ms || c->leader.next_look_ms == INT64_MAX) {
        c->leader.next_look_ms = c->now_ms + CTL_LEADER_BUMP_MS;
    }
}

static int64_t next_term(const struct control *c)
{
    const struct ctl_leader *l = &c->leader;
    bool same = l->store != NULL && strcmp(l->store, c->store_id) == 0;

    return same ? l->term + 1 : ctl_i64_max(l->term + 1, c->wall_ms / 1000);
}

void ctl_leader_bump(struct control *c)
{
    struct ctl_leader *l = &c->leader;

    if (c->pending == NULL && ctl_shared(c) && c->now_ms >= l->next_bump_ms) {
        struct ctl_txn *t = ctl_txn_new(NULL);
        put(c, t, l->term);
        l->next_bump_ms = c->now_ms + CTL_LEADER_BUMP_MS;
        ctl_txn_send(c, t);
    }
}

bool ctl_leader_step(struct control *c)
{
    struct ctl_leader *l = &c->leader;

    if (c->pending != NULL) {
        return l->leads;
    }
    if (l->leads && ctl_yields(c)) {
        l->leads = false;
    }
    if (l->leads) {
        l->next_look_ms = INT64_MAX;
        return true;
    }
    if (!may_take(c)) {
        stand_by(c);
    } else if (c->now_ms >= c->next_retry_ms) {
        struct ctl_txn *t = ctl_txn_new(NULL);
        put(c, t, next_term(c));
        ctl_txn_send(c, t);
    }
    return false;
}
