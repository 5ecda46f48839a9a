/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/internal.h"

#include <stdio.h>

#include "base/json.h"

/*
 * Leases between the step machine and the world: its asks go to skerryd, which hands them to the
 * control nodes; their answers come back the same way; what a lease now allows goes to the shim.
 */

static const char *const words[] = {
    [AGENT_ASK_RENEW] = "renew", [AGENT_ASK_GRANT] = "grant", [AGENT_ASK_RELEASE] = "release"};

void lease_ask_add(struct agent *agent, const struct agent_command *command)
{
    sk_buf_printf(&agent->asks, "%s{\"id\":\"%s\",\"ask\":\"%s\",\"epoch\":%lld}",
                  agent->asks.len ? "," : "[", command->id, words[command->ask],
                  (long long)command->epoch);
    agent->ask_seq = command->seq;
}

void lease_asks_send(struct agent *agent)
{
    struct sk_buf frame = SK_BUF_INIT;
    struct sk_jw w;

    if (agent->asks.len == 0) {
        return;
    }
    sk_buf_adds(&agent->asks, "]");
    sk_jw_init(&w, &frame);
    sk_jw_obj(&w);
    sk_jw_kint(&w, "v", 1);
    sk_jw_kcstr(&w, "type", "lease");
    sk_jw_kcstr(&w, "from", agent->ask_from);
    sk_jw_kint(&w, "seq", agent->ask_seq);
    sk_jw_key(&w, "asks");
    sk_jw_raw(&w, sk_buf_str(&agent->asks));
    sk_jw_obj_end(&w);
    peers_send_all(agent, &frame);
    sk_buf_release(&frame);
    sk_buf_clear(&agent->asks);
}

void lease_extend(struct work *work, int64_t until_ms)
{
    if (until_ms > work->lease_until_ms) {
        work->lease_until_ms = until_ms;
    }
    if (work->link && work->lease_until_ms > 0) { /* else on_hello() tells it */
        shim_link_lease(work->link, work->lease_until_ms);
    }
}

int frame_take_leased(struct agent *agent, const struct sk_node *tree, struct sk_err *err)
{
    const struct sk_node *list = sk_map_seq(tree, "answers");

    if (!list || list->count > AGENT_INSTANCES_MAX) {
        return sk_err_set(err, SK_ERR_PROTOCOL, "a leased frame needs the list 'answers'");
    }
    if (!sk_str_is(sk_map_str(tree, "from", SK_STR("")), agent->ask_from)) {
        return 0; /* asked by the agent before this one: when, is not known here */
    }
    if (!frame_term_counts(agent, tree)) {
        return 0;
    }
    for (uint32_t i = 0; i < list->count; i++) {
        const struct sk_node *row = &list->u.items[i];
        char id[AGENT_ID_MAX];
        struct agent_event e = {.kind = AGENT_LEASED, .id = id};
        if (row->kind != SK_MAP) {
            continue;
        }
        (void)snprintf(id, sizeof(id), "%.*s", SK_PRI(sk_map_str(row, "id", SK_STR(""))));
        e.epoch = sk_map_int(row, "epoch", 0);
        e.ok = sk_map_bool(row, "held", false);
        e.seq = sk_map_int(tree, "seq", 0);
        agent_post(agent, &e);
    }
    return 0;
}
