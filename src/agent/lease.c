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

void lease_ask_write(const struct agent_command *command, struct sk_buf *asks)
{
    sk_buf_printf(asks, "%s{\"id\":\"%s\",\"ask\":\"%s\",\"epoch\":%lld}", asks->len ? "," : "[",
                  command->id, words[command->ask], (long long)command->epoch);
}

void lease_frame_write(const char *from, int64_t seq, struct sk_buf *asks, struct sk_buf *out)
{
    struct sk_jw w;

    sk_buf_adds(asks, "]");
    sk_jw_init(&w, out);
    sk_jw_obj(&w);
    sk_jw_kint(&w, "v", 1);
    sk_jw_kcstr(&w, "type", "lease");
    sk_jw_kcstr(&w, "from", from);
    sk_jw_kint(&w, "seq", seq);
    sk_jw_key(&w, "asks");
    sk_jw_raw(&w, sk_buf_str(asks));
    sk_jw_obj_end(&w);
    sk_buf_clear(asks);
}

void lease_ask_add(struct agent *agent, const struct agent_command *command)
{
    lease_ask_write(command, &agent->asks);
    agent->ask_seq = command->seq;
}

void lease_asks_send(struct agent *agent)
{
    struct sk_buf frame = SK_BUF_INIT;

    if (agent->asks.len == 0) {
        return;
    }
    lease_frame_write(agent->ask_from, agent->ask_seq, &agent->asks, &frame);
    peers_send_all(agent, &frame);
    sk_buf_release(&frame);
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

int lease_frame_check(const struct sk_node *tree, const char *from, const struct sk_node **ret,
                      struct sk_err *err)
{
    const struct sk_node *list = sk_map_seq(tree, "answers");

    if (!list || list->count > AGENT_INSTANCES_MAX) {
        return sk_err_set(err, SK_ERR_PROTOCOL, "a leased frame needs the list 'answers'");
    }
    /* else asked by the agent before this one: when, is not known here */
    *ret = sk_str_is(sk_map_str(tree, "from", SK_STR("")), from) ? list : NULL;
    return 0;
}

bool lease_answer_read(const struct sk_node *tree, const struct sk_node *row, char id[AGENT_ID_MAX],
                       struct agent_event *ret)
{
    if (row->kind != SK_MAP) {
        return false;
    }
    (void)snprintf(id, AGENT_ID_MAX, "%.*s", SK_PRI(sk_map_str(row, "id", SK_STR(""))));
    *ret = (struct agent_event){
        .kind = AGENT_LEASED,
        .id = id,
        .epoch = sk_map_int(row, "epoch", 0),
        .ok = sk_map_bool(row, "held", false),
        .seq = sk_map_int(tree, "seq", 0),
    };
    return true;
}

int frame_take_leased(struct agent *agent, const struct sk_node *tree, struct sk_err *err)
{
    const struct sk_node *list = NULL;

    if (lease_frame_check(tree, agent->ask_from, &list, err) < 0) {
        return SK_ERR_PROTOCOL;
    }
    if (list && !frame_term_counts(agent, tree)) {
        return 0;
    }
    for (uint32_t i = 0; list && i < list->count; i++) {
        char id[AGENT_ID_MAX];
        struct agent_event e;
        if (lease_answer_read(tree, &list->u.items[i], id, &e)) {
            agent_post(agent, &e);
        }
    }
    return 0;
}
