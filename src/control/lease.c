/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "control/internal.h"
#include "model/lease.h"

/*
 * Leases of exclusive work, the leader's side (docs/leases.md; the model: tests/spin/lease.pml).
 *
 * A node asks in whole states: one frame lists all its instances of exclusive work, each with what
 * it wants. What can be granted, renewed or freed is put into one transaction; the answers are its
 * after-commands, so that nothing is promised that is not committed. An answer names the ask that
 * it answers, because the holder counts from when it sent that one.
 *
 * When a lease is free for somebody else:
 *  - nobody had it yet, or its holder gave it back;
 *  - its holder asks anew under the same epoch: its run is over, by its own word;
 *  - its record has not changed for as long as a holder may run on, counted from when control first
 *    saw it (so a control that has just read the state waits for all of that).
 * Each grant has a higher epoch than any before. A lost answer to a grant is not repeated: whether
 * the run began cannot be known here, so the lease has to run out.
 */

static const char *const ask_names[CONTROL_ASK_COUNT] = {"renew", "grant", "release"};

const char *control_lease_ask_name(enum control_lease_ask_kind kind)
{
    return ask_names[kind];
}

int control_lease_ask_from_name(struct sk_str name)
{
    for (int i = 0; i < CONTROL_ASK_COUNT; i++) {
        if (sk_str_is(name, ask_names[i])) {
            return i;
        }
    }
    return -1;
}

/* ---- records ---- */

static void lease_free(struct ctl_lease *l)
{
    free(l->name);
    free(l->raw);
    free(l->node);
    free(l->store);
    free(l);
}

void ctl_lease_apply(struct control *c, struct sk_str name, const struct sk_node *rec,
                     struct sk_str raw, int64_t mod_rev)
{
    size_t at;
    if (!ctl_find(c->leases, c->nleases, name, &at)) {
        struct ctl_lease *fresh = sk_xcalloc(1, sizeof(*fresh));
        fresh->name = ctl_dup(name);
        fresh->mod_rev = -1;
        c->leases = ctl_insert(c->leases, &c->nleases, &c->capleases, at, fresh);
    }
    struct ctl_lease *l = c->leases[at];
    if (l->mod_rev == mod_rev) {
        return; /* read again: it has been known since seen_ms */
    }
    ctl_set(&l->raw, raw);
    ctl_set(&l->node, sk_map_str(rec, "node", SK_STR("")));
    ctl_set(&l->store, sk_map_str(rec, "store", SK_STR("")));
    (void)snprintf(l->holder, sizeof(l->holder), "%.*s",
                   SK_PRI(sk_map_str(rec, "instance", SK_STR(""))));
    l->epoch = sk_map_int(rec, "epoch", 0);
    l->held = sk_map_bool(rec, "held", true);
    l->mod_rev = mod_rev;
    l->seen_ms = c->now_ms;
}

void ctl_lease_remove(struct control *c, struct sk_str name)
{
    size_t at;
    if (ctl_find(c->leases, c->nleases, name, &at)) {
        lease_free(c->leases[at]);
        ctl_erase(c->leases, &c->nleases, at);
    }
}

void ctl_leases_clear(struct control *c)
{
    for (size_t i = 0; i < c->nleases; i++) {
        lease_free(c->leases[i]);
    }
    free(c->leases);
    c->leases = NULL;
    c->nleases = 0;
}

static struct sk_str lease_name(const struct ctl_svc *s, char out[160])
{
    (void)snprintf(out, 160, "%s/%s", s->project, s->name);
    return sk_str(out);
}

struct ctl_lease *ctl_lease(const struct control *c, const struct ctl_svc *s)
{
    char name[160];
    size_t at;
    return ctl_find(c->leases, c->nleases, lease_name(s, name), &at) ? c->leases[at] : NULL;
}

bool ctl_lease_held_by(const struct control *c, const struct ctl_inst *i)
{
    const struct ctl_lease *l = ctl_lease(c, i->svc);
    return l != NULL && l->held && strcmp(l->holder, i->id) == 0;
}

/* ---- asks ---- */

void ctl_lease_asked(struct control *c, const struct control_event *ev)
{
    struct ctl_node *n = ctl_node(c, ev->u.lease.node);
    size_t count = ev->u.lease.nasks < CONTROL_ASKS_MAX ? ev->u.lease.nasks : CONTROL_ASKS_MAX;

    if (n == NULL || !n->connected) {
        return;
    }
    free(n->asks);
    n->asks = sk_xcalloc(count + 1, sizeof(*n->asks));
    n->nasks = 0;
    (void)snprintf(n->ask_from, sizeof(n->ask_from), "%.*s", SK_PRI(ev->u.lease.from));
    n->ask_seq = ev->u.lease.seq;
    n->ask_ms = c->now_ms;
    for (size_t i = 0; i < count; i++) {
        const struct control_lease_ask *in = &ev->u.lease.asks[i];
        if (in->id.len == 32) {
            struct ctl_ask *ask = &n->asks[n->nasks++];
            memcpy(ask->id, in->id.ptr, 32);
            ask->kind = in->kind;
            ask->epoch = in->epoch;
        }
    }
    c->asked = c->asked || n->nasks > 0;
}

static bool fresh(const struct control *c, const struct ctl_node *n)
{
    return c->now_ms - n->ask_ms <= CTL_ASK_FRESH_MS;
}

/* ---- one pass ---- */

struct answers { /* to the node whose asks are being looked at */
    struct sk_buf json;
    struct sk_jw w;
    size_t count;
};

struct pass {
    struct control *c;
    struct ctl_txn *t;
    struct answers said;
    bool freed;      /* a lease that somebody may wait for */
    bool waits;      /* an ask is left that a later pass may grant */
    int64_t free_ms; /* when the next lease that is waited for runs out */
};

static void say(struct pass *p, const char *id, int64_t epoch, bool held)
{
    struct answers *a = &p->said;
    if (a->count++ == 0) {
        sk_jw_init(&a->w, &a->json);
        sk_jw_arr(&a->w);
    }
    sk_jw_obj(&a->w);
    sk_jw_kcstr(&a->w, "id", id);
    sk_jw_kint(&a->w, "epoch", epoch);
    sk_jw_kbool(&a->w, "held", held);
    sk_jw_obj_end(&a->w);
}

static void say_all(struct pass *p, const struct ctl_node *n)
{
    struct answers *a = &p->said;
    struct sk_buf out = SK_BUF_INIT;
    struct sk_jw w;

    if (a->count == 0) {
        return;
    }
    sk_jw_arr_end(&a->w);
    sk_jw_init(&w, &out);
    sk_jw_obj(&w);
    sk_jw_kint(&w, "v", 1);
    sk_jw_kcstr(&w, "type", "leased");
    sk_jw_kint(&w, "term", p->c->leader.term);
    sk_jw_kcstr(&w, "from", n->ask_from);
    sk_jw_kint(&w, "seq", n->ask_seq);
    sk_jw_key(&w, "answers");
    sk_jw_raw(&w, sk_buf_str(&a->json));
    sk_jw_obj_end(&w);
    struct control_command *cmd = ctl_out(&p->t->after, CONTROL_CMD_LEASED);
    cmd->u.leased.node = sk_arena_str(p->t->after.arena, sk_str(n->name));
    cmd->u.leased.body = sk_arena_str(p->t->after.arena, sk_buf_str(&out));
    sk_buf_release(&out);
    sk_buf_clear(&a->json);
    a->count = 0;
}

struct standing { /* a lease as it will be on record */
    struct sk_str name, instance, node;
    int64_t epoch;
    bool held;
};

/* A renewal changes nothing in the record but its revision. */
static void put(struct pass *p, struct ctl_lease *l, const struct standing *to)
{
    struct sk_buf patch = SK_BUF_INIT;
    struct sk_jw w;

    sk_jw_init(&w, &patch);
    sk_jw_obj(&w);
    sk_jw_kint(&w, "v", 1);
    sk_jw_kint(&w, "epoch", to->epoch);
    sk_jw_kstr(&w, "instance", to->instance);
    sk_jw_kstr(&w, "node", to->node);
    sk_jw_kbool(&w, "held", to->held);
    sk_jw_kcstr(&w, "store", p->c->store_id);
    sk_jw_obj_end(&w);
    ctl_put_merged(p->t, ctl_key_text(p->t, "leases", to->name), l != NULL ? l->raw : NULL,
                   sk_buf_str(&patch));
    sk_buf_release(&patch);
    if (l != NULL) {
        l->touched = true;
    }
}

/* The same again, or given back. */
static void put_again(struct pass *p, struct ctl_lease *l, bool held)
{
    put(p, l,
        &(struct standing){sk_str(l->name), sk_str(l->holder), sk_str(l->node), l->epoch, held});
}

static bool asks_grant(const struct control *c, const struct ctl_inst *i)
{
    for (size_t k = 0; k < i->node->nasks; k++) {
        const struct ctl_ask *ask = &i->node->asks[k];
        if (strcmp(ask->id, i->id) == 0) {
            return ask->kind == CONTROL_ASK_GRANT && fresh(c, i->node);
        }
    }
    return false;
}

/* Copies of the time before the service was exclusive run without a lease: only their node's word
 * that they are gone ends them. */
static bool unleased_copy(const struct ctl_svc *s)
{
    for (size_t k = 0; k < s->ninsts; k++) {
        if (!s->insts[k]->spec->exclusive) {
            return true;
        }
    }
    return false;
}

/* Of several that ask, the one that is meant to run. */
static bool preferred(const struct control *c, const struct ctl_inst *i)
{
    const struct ctl_inst *target = i->svc->decl != NULL ? ctl_target(i->svc, i->replica) : NULL;
    return target == NULL || target == i || !asks_grant(c, target);
}

static bool is_free(struct pass *p, const struct ctl_lease *l, const struct ctl_inst *i,
                    const struct ctl_ask *ask)
{
    if (l == NULL || !l->held || (strcmp(l->holder, i->id) == 0 && l->epoch == ask->epoch)) {
        return true;
    }
    int64_t from = lease_free_from_ms(l->seen_ms);
    if (p->c->now_ms < from) {
        p->free_ms = ctl_i64_min(p->free_ms, from);
        return false;
    }
    return true;
}

/* A holder that names a higher epoch than the record knows better: an older copy of the state was
 * put back. */
static int64_t next_epoch(const struct control *c, const struct ctl_lease *l,
                          const struct ctl_ask *ask)
{
    int64_t last = ask->epoch < CTL_EPOCH_BELIEVED ? ask->epoch : 0;
    if (l == NULL) {
        return last + 1;
    }
    return ctl_i64_max(l->epoch, last) + 1 +
           (strcmp(l->store, c->store_id) == 0 ? 0 : CTL_EPOCH_JUMP);
}

static void grant(struct pass *p, struct ctl_lease *l, const struct ctl_inst *i,
                  struct ctl_ask *ask)
{
    int64_t epoch = next_epoch(p->c, l, ask);
    char name[160];
    struct sk_str text =
        sk_arena_printf(p->t->arena, "the lease is granted, epoch %lld%s", (long long)epoch,
                        l == NULL || !l->held ? "" : "; the one before ended");

    put(p, l,
        &(struct standing){lease_name(i->svc, name), sk_str(i->id), sk_str(i->node->name), epoch,
                           true});
    i->svc->leasing = true;
    ctl_txn_event(p->c, p->t,
                  &(struct ctl_evtext){.what = "lease_granted",
                                       .node = sk_str(i->node->name),
                                       .site = sk_str(i->node->site->name),
                                       .project = sk_str(i->svc->project),
                                       .service = sk_str(i->svc->name),
                                       .text = text.ptr});
    say(p, i->id, epoch, true);
    ask->done = true;
}

static void take_grant(struct pass *p, struct ctl_lease *l, const struct ctl_inst *i,
                       struct ctl_ask *ask)
{
    if (i->role == CTL_STOPPING || !i->spec->exclusive) {
        ask->done = true;
        return;
    }
    p->waits = true;
    if ((l != NULL && l->touched) || i->svc->leasing || unleased_copy(i->svc) ||
        !preferred(p->c, i) || !is_free(p, l, i, ask)) {
        return;
    }
    grant(p, l, i, ask);
}

static struct ctl_lease *lease_of_holder(const struct control *c, const struct ctl_node *n,
                                         const struct ctl_ask *ask)
{
    for (size_t i = 0; i < c->nleases; i++) {
        struct ctl_lease *l = c->leases[i];
        if (l->held && l->epoch == ask->epoch && strcmp(l->holder, ask->id) == 0 &&
            strcmp(l->node, n->name) == 0) {
            return l;
        }
    }
    return NULL;
}

/* What a node says of an instance that is no longer on the books counts too: its word that a run is
 * over may come after its word that the instance is gone. */
static void take_held(struct pass *p, const struct ctl_node *n, struct ctl_ask *ask)
{
    struct ctl_lease *l = lease_of_holder(p->c, n, ask);
    bool release = ask->kind == CONTROL_ASK_RELEASE;

    if (l != NULL && l->touched) {
        p->waits = true;
        return;
    }
    ask->done = true;
    if (l != NULL) {
        put_again(p, l, !release);
        p->freed = p->freed || release;
    }
    if (l != NULL || release) {
        say(p, ask->id, ask->epoch, !release);
    }
}

static void take_ask(struct pass *p, const struct ctl_node *n, struct ctl_ask *ask)
{
    struct ctl_inst *i = NULL;

    if (ask->kind != CONTROL_ASK_GRANT) {
        take_held(p, n, ask);
        return;
    }
    HASH_FIND_STR(p->c->insts, ask->id, i);
    if (i == NULL || i->node != n) {
        ask->done = true;
        return;
    }
    take_grant(p, ctl_lease(p->c, i->svc), i, ask);
}

static void unmark(struct control *c)
{
    for (size_t i = 0; i < c->nleases; i++) {
        c->leases[i]->touched = false;
    }
    for (size_t i = 0; i < c->nsvcs; i++) {
        c->svcs[i]->leasing = false;
    }
}

void ctl_lease_step(struct control *c)
{
    struct pass p = {.c = c, .free_ms = INT64_MAX};

    if (!c->asked || c->pending != NULL ||
        (c->now_ms < c->next_lease_ms && c->now_ms < c->lease_free_ms)) {
        return;
    }
    p.t = ctl_txn_new(NULL);
    unmark(c);
    for (size_t i = 0; i < c->nnodes; i++) {
        struct ctl_node *n = c->nodes[i];
        for (size_t k = 0; k < n->nasks && fresh(c, n); k++) {
            if (n->asks[k].done) {
                continue;
            }
            if (p.t->nops + 8 > CONTROL_TXN_OPS_MAX) {
                p.waits = true;
                p.free_ms = c->now_ms; /* the rest with the next one */
                break;
            }
            take_ask(&p, n, &n->asks[k]);
        }
        say_all(&p, n);
    }
    sk_buf_release(&p.said.json);
    c->asked = p.waits;
    c->lease_free_ms = p.free_ms;
    if (p.t->nops > 0) {
        c->next_lease_ms = c->now_ms + (p.freed ? 0 : CTL_LEASE_TICK_MS);
    }
    ctl_txn_send(c, p.t);
}
