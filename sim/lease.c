/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/internal.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/mem.h"
#include "daemon/frames.h"
#include "sim/agent.h"
#include "sim/plant.h"

/*
 * Asks and answers on their way between an agent and the control nodes, through skerryd, which
 * hands both on and keeps neither: always as the binary's own frames. And what exclusive work
 * writes to: a door that compares epochs. Each run writes from time to time; what it wrote may
 * arrive late, also after its end, or after its machine slept past its lease.
 */
#define WRITE_US (700 * SIM_MS)

/* ---- up ---- */

void sim_agent_ask(struct sim *s, struct sim_node *n, const struct agent_command *c)
{
    struct agent_command ask = *c;

    ask.ask = (enum agent_ask)plant_ask(c->ask);
    lease_ask_write(&ask, &n->agent->asks);
    n->agent->ask_seq = c->seq;
    if (c->ask == AGENT_ASK_GRANT) {
        sim_chaos_asked(s, sim_index(s, n));
    }
}

void sim_lease_ask(struct sim *s, struct sim_node *n)
{
    struct sim_agent *a = n->agent;
    struct sk_buf frame = SK_BUF_INIT;

    if (a->asks.len == 0) {
        return;
    }
    lease_frame_write(a->ask_from, a->ask_seq, &a->asks, &frame);
    if (n->link && n->daemon_up) {
        sim_post(s, sim_between(s, 50, 400), SIM_EV_LEASE_UP, SIM_DAEMON, sim_index(s, n), 0, 0,
                 sk_xstrndup(frame.ptr, frame.len));
    }
    sk_buf_release(&frame);
}

void sim_on_lease_up(struct sim *s, struct sim_event *e)
{
    struct sim_node *n = &s->nodes[e->a];

    for (size_t c = 0; c < s->ncontrols; c++) {
        if (n->chans[c].node_open) {
            struct sim_message *m = sim_message_new(SIM_LEASE, e->a, c, true);
            sk_buf_adds(&m->bytes, e->load);
            sim_send(s, m);
        }
    }
}

bool sim_lease_read(struct sim *s, const struct sim_message *m, struct sk_arena *arena,
                    struct control_event *ret)
{
    const struct sk_node *root = NULL;

    return sk_json_read(arena, "lease", sk_buf_str(&m->bytes), NULL, &root, NULL) == 0 &&
           frame_read_lease(root, sk_str(s->nodes[m->node].name), arena, ret, NULL) == 0;
}

/* ---- down ---- */

static void check_answers(struct sim *s, const struct sk_node *list)
{
    for (uint32_t i = 0; list && i < list->count; i++) {
        const struct sk_node *row = &list->u.items[i];
        if (sk_map_bool(row, "held", false)) {
            sim_check_granted(s, sk_map_str(row, "id", SK_STR("")).ptr,
                              sk_map_int(row, "epoch", 0));
        }
    }
}

void sim_leased(struct sim *s, size_t control, const struct control_command *cmd)
{
    int node = sim_node_index(s, cmd->u.leased.node);
    struct sk_arena *arena = sk_arena_new();
    const struct sk_node *root = NULL;
    struct sim_message *m;

    sim_mix_bytes(s, cmd->u.leased.body.ptr, cmd->u.leased.body.len);
    if (sk_json_read(arena, "leased", cmd->u.leased.body, NULL, &root, NULL) < 0) {
        sim_fail(s, SIM_BROKEN, "control answers with no JSON");
    } else {
        check_answers(s, sk_map_seq(root, "answers"));
    }
    sk_arena_free(arena);
    if (node >= 0 && s->nodes[node].chans[control].control_open) {
        m = sim_message_new(SIM_LEASED, (size_t)node, control, false);
        sk_buf_addstr(&m->bytes, cmd->u.leased.body);
        sim_send(s, m);
    }
}

void sim_lease_take(struct sim *s, struct sim_node *n, const struct sim_message *m)
{
    if (n->link && n->agent_up) {
        sim_post(s, sim_between(s, 50, 400), SIM_EV_LEASE_DOWN, SIM_AGENT, sim_index(s, n), 0, 0,
                 sk_xstrndup(m->bytes.ptr, m->bytes.len));
    }
}

void sim_on_lease_down(struct sim *s, struct sim_event *e)
{
    struct sim_node *n = &s->nodes[e->a];
    struct sk_arena *arena = sk_arena_new();
    const struct sk_node *root = NULL, *list = NULL;

    if (sk_json_read(arena, "leased", sk_str(e->load), NULL, &root, NULL) < 0 ||
        lease_frame_check(root, n->agent->ask_from, &list, NULL) < 0) {
        sim_fail(s, SIM_BROKEN, "%s cannot read control's answer", n->name);
    }
    for (uint32_t i = 0; list && i < list->count && !s->rule[0]; i++) {
        char id[AGENT_ID_MAX];
        struct agent_event answer;
        if (lease_answer_read(root, &list->u.items[i], id, &answer)) {
            plant_receipt(s, n, &n->agent->state);
            sim_agent_step(s, n, &answer);
        }
    }
    sk_arena_free(arena);
}

/* ---- what the work writes to ---- */

struct written {
    size_t work;
    int64_t epoch;
    uint64_t writer;
};

void sim_on_write(struct sim *s, struct sim_event *e)
{
    struct sim_node *n = &s->nodes[e->a];
    struct sim_proc *p = n->procs;
    struct written *w;

    while (p && (int64_t)p->gen != e->x) {
        p = p->next;
    }
    if (!p || !p->there || p->epoch == 0) {
        return;
    }
    sim_check_overrun(s, n, p);
    w = sk_xmalloc(sizeof(*w));
    *w = (struct written){p->work, p->epoch, p->writer};
    sim_post(
        s, sim_chance(s, 0.2) ? sim_between(s, 50, 6000) * SIM_MS : sim_between(s, 1, 40) * SIM_MS,
        SIM_EV_WRITTEN, SIM_WORLD, 0, 0, 0, w);
    sim_post(s, sim_between(s, WRITE_US / 2, WRITE_US * 2), SIM_EV_WRITE, SIM_MACHINE, e->a, 0,
             e->x, NULL);
}

void sim_on_written(struct sim *s, struct sim_event *e)
{
    const struct written *in = e->load;
    struct sim_work *w = &s->works[in->work];

    if (in->epoch < w->door_epoch && !plant_door(s)) {
        s->late_writes++;
        return;
    }
    if (in->epoch < w->door_epoch || (in->epoch == w->door_epoch && in->writer != w->door_writer)) {
        sim_fail(s, SIM_FENCED,
                 "%s/%s: run %" PRIu64 " writes under epoch %" PRId64 ", after run %" PRIu64
                 " wrote under %" PRId64,
                 w->project, w->service, in->writer, in->epoch, w->door_writer, w->door_epoch);
    }
    w->door_epoch = in->epoch;
    w->door_writer = in->writer;
}
