/* SPDX-License-Identifier: Apache-2.0 */
#include "sim/sim.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/mem.h"

/*
 * The invariants of leading, compared with the store's own record of who leads: what commits is the
 * leader's, or takes its key; terms rise with each life that leads, and in each there is one; what
 * nodes are told comes from whoever has the term that it names, and no node goes back to one.
 */
#define LEADER "/skerry/v1/leader"
#define LEADS_WITHIN_US (2 * SIM_S)
#define WHOLE_WITHIN_US (30 * SIM_S) /* pauses and sleep end, machines boot */

int sim_leader(const struct sim *s)
{
    for (size_t i = 0; i < s->ncontrols; i++) {
        const struct control *c = s->controls[i].c;
        if (c && control_is_loaded(c) && control_leads(c) &&
            strcmp(sim_peek_own(c), s->store.lead_id) == 0) {
            return (int)i;
        }
    }
    return -1;
}

static void takes_key(struct sim *s, const char *own, struct sk_str value)
{
    struct sim_store *st = &s->store;
    struct sk_arena *arena = sk_arena_new();
    const struct sk_node *root = NULL;
    struct sk_str none = SK_STR("");
    int64_t term;

    if (sk_json_read(arena, "leader", value, NULL, &root, NULL) < 0 ||
        !sk_str_is(sk_map_str(root, "id", none), own)) {
        sim_fail(s, SIM_LEADER, "the leader's record is made for somebody else");
        sk_arena_free(arena);
        return;
    }
    term = sk_map_int(root, "term", 0);
    if (strcmp(st->lead_id, own) == 0 ? term != st->term : term <= st->term) {
        sim_fail(s, SIM_LEADER, "term %" PRId64 " comes after %" PRId64, term, st->term);
    } else if (strcmp(st->lead_id, own) != 0) {
        (void)snprintf(st->lead_id, sizeof(st->lead_id), "%s", own);
        (void)snprintf(st->lead_node, sizeof(st->lead_node), "%.*s",
                       SK_PRI(sk_map_str(root, "node", none)));
        st->term = term;
        SK_GROW(st->term_ids, st->nterms, st->capterms);
        (void)snprintf(st->term_ids[st->nterms++], sizeof(*st->term_ids), "%s", own);
        s->leaders++;
        sim_say(s, "record: control on %s leads, term %" PRId64, st->lead_node, term);
    }
    sk_arena_free(arena);
}

void sim_check_fence(struct sim *s, const char *own, const struct control_op *ops, size_t nops)
{
    bool takes = false;

    for (size_t i = 0; i < nops; i++) {
        if (sk_str_is(ops[i].key, LEADER)) {
            takes = true;
            takes_key(s, own, ops[i].remove ? SK_STR("") : ops[i].value);
        }
    }
    if (!takes && strcmp(s->store.lead_id, own) != 0) {
        sim_fail(s, SIM_LEADER, "somebody commits who does not lead: that is control on %s",
                 s->store.lead_node);
    }
}

/* A term that was never committed, or is another's. */
void sim_check_term(struct sim *s, size_t control, struct sk_str body)
{
    const char *at = memmem(body.ptr, body.len, "\"term\":", 7);
    const char *own = sim_peek_own(s->controls[control].c);
    int64_t term = at ? strtoll(at + 7, NULL, 10) : 0;
    size_t from = (size_t)(s->store.term - (int64_t)s->store.nterms);
    size_t number = (size_t)term - from; /* terms begin anywhere, and are counted up by one */

    if (term > s->store.term || number < 1 || number > s->store.nterms ||
        strcmp(s->store.term_ids[number - 1], own) != 0) {
        sim_fail(s, SIM_LEADER,
                 "control on %s tells nodes something for term %" PRId64 ", which is not its own",
                 s->nodes[s->controls[control].node].name, term);
    }
}

void sim_check_obeyed(struct sim *s, struct sim_node *n, int64_t term)
{
    if (term < n->obeyed) {
        sim_fail(s, SIM_LEADER,
                 "%s does what a leader of term %" PRId64 " tells it, after one of term %" PRId64,
                 n->name, term, n->obeyed);
    }
    n->obeyed = term;
}

/* Every control node runs, and the store answers it. */
static bool all_there(struct sim *s)
{
    for (size_t i = 0; i < s->ncontrols; i++) {
        const struct sim_node *n = &s->nodes[s->controls[i].node];
        if (!n->machine_up || !n->daemon_up || sim_stalled(s, n) || !s->controls[i].c ||
            !sim_store_ready(s, i)) {
            return false;
        }
    }
    return true;
}

void sim_check_takeover(struct sim *s)
{
    int64_t end = s->now_us + WHOLE_WITHIN_US;

    while (!all_there(s) && s->now_us < end && !s->rule[0]) {
        sim_until(s, s->now_us + 20 * SIM_MS);
    }
    for (end = s->now_us + LEADS_WITHIN_US; sim_leader(s) < 0 && !s->rule[0];) {
        if (s->now_us >= end) {
            sim_fail(s, SIM_TAKEOVER, "nobody leads 2 s after everything healed");
        }
        sim_until(s, s->now_us + 20 * SIM_MS);
    }
}
