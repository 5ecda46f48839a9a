/* SPDX-License-Identifier: Apache-2.0 */
#include "sim/plant.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/step.h"
#include "base/mem.h"

/* clang-format off */
#define PLANTS(X)                                                                                \
    X(EARLY_GRANT, "early-grant", "exclusive")   /* a renewal is taken for a release */          \
    X(RECEIPT, "from-receipt", "exclusive")      /* a lease is counted from its answer */        \
    X(NO_DEADLINE, "no-deadline", "exclusive")   /* a shim's timer never fires */                \
    X(HASTY_ADOPT, "hasty-adopt", "run-numbers")   /* a run not heard yet counts as over */        \
    X(NO_LEASE, "no-lease", "epoch")             /* exclusive work starts without a lease */     \
    X(REUSED, "reused-epoch", "epoch")           /* control reads an older epoch at its start */ \
    X(GRANT, "unkept-grant", "grant")            /* the store says that it took a grant */       \
    X(FENCED, "open-door", "fenced")             /* who is written to compares no epochs */      \
    X(DEAD_RENEWAL, "dead-renewal", "converge")  /* the lease of an ended run is renewed */      \
    X(NO_FENCE, "no-fence", "leader")            /* the store compares nothing */                \
    X(OBEY, "old-term", "leader")                /* a node takes what a deposed leader says */   \
    X(NO_HEIR, "no-heir", "takeover")            /* nobody can take the leader's key over */     \
    X(CAPACITY, "big-nodes", "capacity")         /* nodes say they have twice what they have */  \
    X(ACKED, "early-ack", "acked")               /* the store answers before it is durable */    \
    X(REFUSED, "blind-verifier", "refused-plan") /* a spoilt plan passes as verified */          \
    X(DRAINED, "forgotten-drain", "drained")     /* a restart forgets what is drained */         \
    X(SPREAD, "one-building", "spread")          /* two sites are one, in truth */               \
    X(NEEDLESS, "deaf-control", "needless-move") /* control hears nothing of one node */         \
    X(FALSE_SITE, "deaf-majority", "false-site") /* control does not take witnesses' word */     \
    X(DEAD, "replayed-beat", "dead-alive")       /* a recorded datagram passes for a new one */  \
    X(BUDGET, "big-spender", "budget")           /* control is given another budget */           \
    X(KEPT, "short-list", "kept")                /* an assignment lacks its last row */          \
    X(REVISION, "rewound-store", "revision")     /* the store gives a revision twice */          \
    X(ASSIGNED, "hasty-agent", "assign-rev")     /* skerryd acknowledges for its agent */        \
    X(RUNS, "forgetful-agent", "run-numbers")    /* every start is the first one      */        \
    X(CONVERGE, "mislaid", "converge")           /* the agent never gets one assignment */       \
    X(BROKEN, "torn-record", "broken")           /* a record of the store is cut in half */
/* clang-format on */

enum plant {
#define X(id, name, rule) PLANT_##id,
    PLANTS(X)
#undef X
        PLANT_COUNT
};

static const char *const names[] = {
#define X(id, name, rule) name,
    PLANTS(X)
#undef X
};
static const char *const rules[] = {
#define X(id, name, rule) rule,
    PLANTS(X)
#undef X
};

/* One simulation a process: what a plant remembers can live here. */
static enum plant chosen;
static bool planted;
static struct {
    char *key, *value;
    int64_t mod_rev;
} undo[1];
static size_t nundo;

static bool is(enum plant plant)
{
    return planted && chosen == plant;
}

const char *plant_name(size_t i, const char **ret_rule)
{
    if (i >= PLANT_COUNT) {
        return NULL;
    }
    *ret_rule = rules[i];
    return names[i];
}

static int position(const char *name)
{
    for (int i = 0; i < PLANT_COUNT; i++) {
        if (strcmp(names[i], name) == 0) {
            return i;
        }
    }
    return -1;
}

bool plant_known(const char *name)
{
    return position(name) >= 0;
}

void plant_choose(struct sim *s)
{
    planted = s->o.plant != NULL;
    if (planted) {
        chosen = (enum plant)position(s->o.plant);
    }
}

/* ---- leases ---- */

bool plant_exclusive(const struct sim *s, bool exclusive)
{
    (void)s;
    return exclusive && !is(PLANT_NO_LEASE);
}

void plant_receipt(const struct sim *s, const struct sim_node *n, struct agent_state *state)
{
    for (size_t i = 0; is(PLANT_RECEIPT) && i < AGENT_ASKS_KEPT; i++) {
        state->ask_sent_ms[i] = sim_local_ms(s, n);
    }
}

int plant_ask(int ask)
{
    return is(PLANT_DEAD_RENEWAL) && ask == AGENT_ASK_RELEASE ? AGENT_ASK_RENEW : ask;
}

bool plant_adopt(const struct sim *s)
{
    (void)s;
    return is(PLANT_HASTY_ADOPT);
}

bool plant_deadline(const struct sim *s)
{
    (void)s;
    return is(PLANT_NO_DEADLINE);
}

bool plant_door(const struct sim *s)
{
    (void)s;
    return is(PLANT_FENCED);
}

bool plant_promise(const struct sim *s, struct sk_str key)
{
    return is(PLANT_GRANT) && s->commits % 7 == 3 &&
           sk_str_starts(key, SK_STR("/skerry/v1/leases/"));
}

int64_t plant_cpus(const struct sim *s, int64_t cpus)
{
    (void)s;
    return is(PLANT_CAPACITY) ? 2 * cpus : cpus;
}

bool plant_misplace(const struct sim *s)
{
    (void)s;
    return is(PLANT_SPREAD);
}

int64_t plant_moves(const struct sim *s)
{
    return is(PLANT_BUDGET) ? 100 : s->return_moves;
}

/* ---- the planner ---- */

void plant_plan(struct sim *s, const struct control_plan_job *job, struct plan *plan,
                bool *verified)
{
    (void)s;
    if (is(PLANT_REFUSED) && !job->relaxed && plan->verdict == PLAN_OK && plan->nplacements > 1) {
        plan->placements[0].node = plan->placements[plan->nplacements - 1].node;
        plan->placements[0].site = plan->placements[plan->nplacements - 1].site;
        plan_seal(plan);
        *verified = true;
    }
}

/* ---- what control is told ---- */

bool plant_take(struct sim *s, struct control_event *ev, struct sk_arena *arena)
{
    bool deaf = s->now_us / (40 * SIM_S) % 3 == 1 && s->now_us % (40 * SIM_S) < 10 * SIM_S;
    const char *site = s->sites[s->nsites - 1].name;

    (void)arena;
    for (size_t i = 0;
         is(PLANT_EARLY_GRANT) && ev->kind == CONTROL_EV_LEASE && i < ev->u.lease.nasks; i++) {
        struct control_lease_ask *ask = (struct control_lease_ask *)(uintptr_t)&ev->u.lease.asks[i];
        if (ask->kind == CONTROL_ASK_RENEW && sim_chance(s, 0.2)) {
            ask->kind = CONTROL_ASK_RELEASE;
        }
    }
    if (ev->kind != CONTROL_EV_BEAT || !deaf || !(is(PLANT_NEEDLESS) || is(PLANT_FALSE_SITE))) {
        return true;
    }
    for (size_t i = 0; i < ev->u.beat.nheard; i++) {
        struct control_heard *h = (struct control_heard *)(uintptr_t)&ev->u.beat.heard[i];
        if (is(PLANT_NEEDLESS) ? sk_str_is(h->node, s->nodes[s->nnodes - 1].name)
                               : sk_str_starts(h->node, sk_str(site))) {
            h->age_ms = h->age_ms < 0 ? h->age_ms : h->age_ms + 5000;
        }
    }
    return is(PLANT_NEEDLESS) ? !sk_str_is(ev->u.beat.node, s->nodes[s->nnodes - 1].name)
                              : !sk_str_starts(ev->u.beat.node, sk_str(site));
}

/* ---- the store ---- */

bool plant_compare(const struct sim *s)
{
    (void)s;
    return is(PLANT_NO_FENCE);
}

bool plant_obey(const struct sim *s)
{
    (void)s;
    return is(PLANT_OBEY);
}

bool plant_takeover(const struct sim *s, const char *own, struct sk_str key)
{
    return is(PLANT_NO_HEIR) && sk_str_is(key, "/skerry/v1/leader") && s->store.lead_id[0] &&
           strcmp(own, s->store.lead_id) != 0;
}

static void forget_undo(void)
{
    while (nundo > 0) {
        free(undo[--nundo].key);
        free(undo[nundo].value);
    }
}

void plant_keep(struct sim *s, struct sk_str key)
{
    char *name = sk_xstrndup(key.ptr, key.len);
    const char *value = sim_store_get(s, name);

    if (!is(PLANT_ACKED) || !strstr(name, "/projects/")) {
        free(name);
        return;
    }
    forget_undo(); /* the last declaration that was written is the one that is lost */
    undo[nundo].key = name;
    undo[nundo].value = value ? sk_xstrdup(value) : NULL;
    nundo++;
}

void plant_crash(struct sim *s, const struct sim_node *n)
{
    int leader = sim_leader(s);

    if (is(PLANT_ACKED) && leader >= 0 && sim_index(s, n) == s->controls[leader].node) {
        for (size_t i = 0; i < nundo; i++) {
            sim_store_undo(s, undo[i].key, undo[i].value);
        }
        forget_undo();
    }
}

static void spoil_lease(struct sk_str value)
{
    char *at = memmem(value.ptr, value.len, "\"epoch\":", 8);

    if (at && is(PLANT_REUSED) && at[8] > '1' && at[9] == ',') {
        at[8]--;
    }
}

void plant_list(struct sim *s, struct sim_store_answer *a)
{
    static const char prefix[] = "/skerry/v1/nodes/";

    for (size_t i = 0; i < a->count; i++) {
        struct sk_str value = a->records[i].value;
        char *at = memmem(value.ptr, value.len, "\"drained\":true", 14);
        if (sk_str_starts(a->records[i].key, SK_STR("/skerry/v1/leases/"))) {
            if (s->controls[a->control].lives > 1) {
                spoil_lease(value);
            }
        }
        if (!sk_str_starts(a->records[i].key, sk_str(prefix))) {
            continue;
        }
        if (is(PLANT_DRAINED) && at) {
            memcpy(at, "\"drained\":null", 14);
        }
        if (is(PLANT_BROKEN) && s->controls[a->control].lives > 1) {
            a->records[i].value.len /= 2;
        }
    }
}

void plant_answer(struct sim *s, struct sim_store_answer *a)
{
    if (is(PLANT_REVISION) && a->kind == CONTROL_EV_TXN_DONE && a->result == CONTROL_TXN_OK &&
        s->commits % 50 == 49) {
        a->revision--;
    }
}

/* ---- nodes ---- */

bool plant_mislay(struct sim *s, struct sim_node *n, int64_t rev)
{
    if (is(PLANT_ASSIGNED)) {
        n->told_assign_rev = rev;
    }
    return is(PLANT_CONVERGE) && s->healing && n == &s->nodes[s->nnodes - 1];
}

int64_t plant_run(const struct sim *s, int64_t run)
{
    (void)s;
    return is(PLANT_RUNS) ? 1 : run;
}

/* The last row of the list is left out, now and then. */
char *plant_assign(struct sim *s, const struct sim_node *n, const char *body)
{
    char *copy, *list, *end, *last = NULL;

    (void)n;
    if (!is(PLANT_KEPT) || !sim_chance(s, 0.02) || !(list = strstr(body, "\"instances\":["))) {
        return NULL;
    }
    copy = sk_xstrdup(body);
    list = copy + (list - body);
    end = strstr(list, "],\"prefetch\"");
    for (char *at = list; end && (at = strstr(at, ",{\"id\":\"")) != NULL && at < end; at++) {
        last = at;
    }
    if (!last) {
        free(copy);
        return NULL;
    }
    memmove(last, end, strlen(end) + 1);
    return copy;
}

/* Somebody on the way sends each beat by datagram again and again, and it counts each time. */
void plant_replay(struct sim *s, struct sim_event *e)
{
    struct sim_message *m = e->load;
    struct sim_message *again;

    if (!is(PLANT_DEAD)) {
        return;
    }
    m->seq = s->nodes[m->node].chans[m->control].pulse_seq + 1;
    again = sim_message_copy(m);
    sim_post(s, SIM_S, SIM_EV_DATAGRAM, SIM_DAEMON, e->a, e->b, 0, again);
}
