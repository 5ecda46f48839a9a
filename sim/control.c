/* SPDX-License-Identifier: Apache-2.0 */
#include "sim/sim.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/json.h"
#include "base/mem.h"
#include "sim/plant.h"

/*
 * The control host: what src/daemon/host.c and cluster.c do for a control node, on simulated time.
 * Commands are carried out after the step and never step control themselves.
 */
#define TICK_MS_MAX 1000

struct plan_load {
    uint64_t life;
    uint64_t request;
    struct plan *plan;
    bool verified;
    struct sk_buf findings;
    struct sk_err err;
};

void sim_plan_load_free(void *load)
{
    struct plan_load *p = load;
    if (p) {
        plan_free(p->plan);
        sk_buf_release(&p->findings);
        free(p);
    }
}

static void arm(struct sim *s, size_t control)
{
    struct sim_control *k = &s->controls[control];
    const struct sim_node *n = &s->nodes[k->node];
    uint64_t deadline = control_deadline_ms(k->c);
    int64_t latest = sim_local_ms(s, n) + TICK_MS_MAX;
    int64_t at = deadline < (uint64_t)latest ? (int64_t)deadline : latest;
    int64_t at_us = s->now_us + sim_until_local_us(s, n, at);

    at_us = at_us > s->now_us + SIM_MS ? at_us : s->now_us + SIM_MS;
    if (k->armed_us == 0 || at_us < k->armed_us) {
        k->armed_us = at_us;
        sim_post(s, at_us - s->now_us, SIM_EV_TICK, SIM_DAEMON, k->node, control, at_us, NULL);
    }
}

static void run_plan(struct sim *s, size_t control, const struct control_command *cmd)
{
    struct plan_load *p = sk_xcalloc(1, sizeof(*p));

    p->life = s->controls[control].lives;
    p->request = cmd->u.plan.request;
    if (control_plan_run(cmd->u.plan.job, 1, NULL, &p->plan, &p->verified, &p->findings, &p->err) <
        0) {
        sim_fail(s, SIM_BROKEN, "planning for '%s' failed: %s", cmd->u.plan.job->why, p->err.msg);
    } else {
        plant_plan(s, cmd->u.plan.job, p->plan, &p->verified);
        sim_check_plan(s, cmd->u.plan.job, p->plan);
        sim_mix_bytes(s, p->plan->id, strlen(p->plan->id));
        sim_say(s, "planned for %s: %s, %zu placed, %zu moves", cmd->u.plan.job->why,
                plan_verdict_name(p->plan->verdict), p->plan->nplacements, p->plan->nmoves);
    }
    sim_post(s, sim_between(s, 3 * SIM_MS, 60 * SIM_MS), SIM_EV_PLAN, SIM_DAEMON,
             s->controls[control].node, control, 0, p);
}

void sim_on_plan(struct sim *s, struct sim_event *e)
{
    struct plan_load *p = e->load;
    struct control_event ev = {.kind = CONTROL_EV_PLAN_DONE};

    ev.u.plan_done.request = p->request;
    ev.u.plan_done.plan = sk_steal(p->plan);
    ev.u.plan_done.verified = p->verified;
    ev.u.plan_done.findings = sk_buf_str(&p->findings);
    ev.u.plan_done.error = p->err.code ? &p->err : NULL;
    sim_control_step(s, e->b, &ev);
}

static void assign(struct sim *s, size_t control, const struct control_command *cmd)
{
    int node = sim_node_index(s, cmd->u.assign.node);
    struct sim_message *m;

    sim_mix_bytes(s, cmd->u.assign.body.ptr, cmd->u.assign.body.len);
    sim_check_term(s, control, cmd->u.assign.body);
    if (node < 0 || !s->nodes[node].chans[control].control_open) {
        return;
    }
    m = sim_message_new(SIM_ASSIGN, (size_t)node, control, false);
    m->assign_rev = cmd->u.assign.rev;
    sk_buf_addstr(&m->bytes, cmd->u.assign.body);
    sim_send(s, m);
}

static void event(struct sim *s, const struct control_command *cmd)
{
    struct sk_arena *arena = sk_arena_new();
    const struct sk_node *root = NULL;
    struct sk_str none = SK_STR(""), what;

    if (sk_json_read(arena, "event", cmd->u.event.json, NULL, &root, NULL) < 0) {
        sim_fail(s, SIM_BROKEN, "an event is no JSON");
        sk_arena_free(arena);
        return;
    }
    what = sk_map_str(root, "what", none);
    s->verdicts += sk_str_is(what, "site_lost") || sk_str_is(what, "node_lost");
    s->failovers += sk_str_is(what, "failover");
    if (sk_str_is(what, "node_lost")) {
        sim_check_node_lost(s, sim_node_index(s, sk_map_str(root, "node", none)));
    }
    sim_say(s, "control: %.*s %.*s%.*s %.*s: %.*s", SK_PRI(what),
            SK_PRI(sk_map_str(root, "node", none)),
            SK_PRI(sk_map_str(root, "node", none).len ? none : sk_map_str(root, "site", none)),
            SK_PRI(sk_map_str(root, "project", none)), SK_PRI(sk_map_str(root, "text", none)));
    sk_arena_free(arena);
}

static void command(struct sim *s, size_t control, const struct control_command *cmd)
{
    int node;

    switch (cmd->kind) {
    case CONTROL_CMD_TXN:
        sim_check_commit(s, control, &cmd->u.txn);
        sim_store_txn(s, control, &cmd->u.txn);
        break;
    case CONTROL_CMD_LOAD:
        sim_say(s, "control reads the state again");
        sim_store_load(s, control);
        break;
    case CONTROL_CMD_PLAN:
        run_plan(s, control, cmd);
        break;
    case CONTROL_CMD_ASSIGN:
        assign(s, control, cmd);
        break;
    case CONTROL_CMD_REPLY:
        sim_user_reply(s, cmd->u.reply.request, &cmd->u.reply.err);
        break;
    case CONTROL_CMD_ISSUE_CERT:
        sim_user_reply(s, cmd->u.issue.request, &(struct sk_err){0});
        break;
    case CONTROL_CMD_CLOSE:
        node = sim_node_index(s, cmd->u.close.node);
        if (node >= 0) {
            sim_close_control(s, control, (size_t)node);
        }
        break;
    case CONTROL_CMD_EVENT:
        event(s, cmd);
        break;
    case CONTROL_CMD_LEASED:
        sim_leased(s, control, cmd);
        break;
    case CONTROL_CMD_DRILL: /* nobody asks for one */
    case CONTROL_CMD_REVOKE:
    case CONTROL_CMD_SEAT: /* the control nodes of a world stay as they are */
    case CONTROL_CMD_MOVE:
    case CONTROL_CMD_ETCD:
    case CONTROL_CMD_ETCD_LOOK:
    case CONTROL_CMD_COUNT:
        break;
    }
}

void sim_control_step(struct sim *s, size_t control, struct control_event *ev)
{
    struct sim_control *k = &s->controls[control];
    const struct sim_node *n = &s->nodes[k->node];
    struct sk_err err = {0};

    SK_ASSERT(!k->stepping && k->c);
    k->stepping = true;
    ev->now_ms = sim_local_ms(s, n);
    ev->wall_ms = sim_wall_ms(s, n);
    if (control_step(k->c, ev, &k->out, &err) < 0) {
        sim_fail(s, SIM_BROKEN, "control cannot read its state: %s", err.msg);
    }
    sim_check_step(s, control);
    for (size_t i = 0; i < k->out.count && !s->rule[0]; i++) {
        command(s, control, &k->out.items[i]);
    }
    control_commands_clear(&k->out);
    k->stepping = false;
    arm(s, control);
}

void sim_on_tick(struct sim *s, struct sim_event *e)
{
    struct sim_control *k = &s->controls[e->b];
    struct control_event ev = {.kind = CONTROL_EV_TICK};

    if (k->armed_us == e->x) {
        k->armed_us = 0;
        sim_control_step(s, e->b, &ev);
    }
}

/* ---- what comes from nodes ---- */

static void beat_event(struct sim *s, const struct sim_message *m, struct sk_arena *arena,
                       struct control_event *ev)
{
    struct control_heard *rows = SK_ARENA_ARRAY(arena, struct control_heard, m->nheard);

    for (size_t i = 0; i < m->nheard; i++) {
        rows[i] = (struct control_heard){sk_str(s->nodes[m->heard[i].node].name),
                                         m->heard[i].age_ms, m->heard[i].rtt_us};
    }
    ev->kind = CONTROL_EV_BEAT;
    ev->u.beat.node = sk_str(s->nodes[m->node].name);
    ev->u.beat.seq = m->seq;
    ev->u.beat.assign_rev = m->assign_rev;
    ev->u.beat.obs_rev = m->obs_rev;
    ev->u.beat.heard = rows;
    ev->u.beat.nheard = m->nheard;
}

static void observe_event(struct sim *s, const struct sim_message *m, struct sk_arena *arena,
                          struct control_event *ev)
{
    struct control_observation *rows = SK_ARENA_ARRAY(arena, struct control_observation, m->nrows);

    for (size_t i = 0; i < m->nrows; i++) {
        const struct sim_row *r = &m->rows[i];
        rows[i] = (struct control_observation){
            .id = sk_str(r->id),
            .state = (enum control_instance_state)r->state,
            .healthy = (enum control_health)r->health,
            .since_ms = r->since_ms,
            .restarts = r->restarts,
            .has_exit = r->exit >= 0,
            .exit = r->exit >= 0 ? r->exit : 0,
            .has_signal = r->signal > 0,
            .signal = r->signal,
            .reason = sk_str(r->reason),
        };
    }
    ev->kind = CONTROL_EV_OBSERVE;
    ev->u.observe.node = sk_str(s->nodes[m->node].name);
    ev->u.observe.obs_rev = m->obs_rev;
    ev->u.observe.full = m->full;
    ev->u.observe.instances = rows;
    ev->u.observe.count = m->nrows;
}

static void hello(struct sim *s, struct sim_message *m)
{
    struct sim_chan *ch = &s->nodes[m->node].chans[m->control];
    struct control_event ev = {.kind = CONTROL_EV_HELLO};

    if (!control_is_loaded(s->controls[m->control].c)) {
        sim_close_control(s, m->control, m->node); /* it comes again */
        return;
    }
    if (s->encode) {
        struct sk_arena *arena = sk_arena_new();
        if (!sim_wire_decode(s, m, arena, NULL)) {
            sim_fail(s, SIM_BROKEN, "the hello of %s is not readable", s->nodes[m->node].name);
        }
        sk_arena_free(arena);
    }
    ch->greeted = true;
    s->controls[m->control].told[m->node].seq = 0; /* it counts anew after a start */
    ev.u.hello.node = sk_str(s->nodes[m->node].name);
    ev.u.hello.incarnation = SK_STR("inc");
    ev.u.hello.boot = SK_STR("boot");
    ev.u.hello.address = SK_STR("");
    ev.u.hello.version = SK_STR("0.1.0");
    sim_control_step(s, m->control, &ev);
    sim_send(s, sim_message_new(SIM_PULSE, m->node, m->control, false));
}

void sim_control_take(struct sim *s, struct sim_message *m)
{
    struct sk_arena *arena;
    struct control_event ev = {0};

    if (m->kind == SIM_HELLO) {
        hello(s, m);
        return;
    }
    if (!control_is_loaded(s->controls[m->control].c)) {
        return;
    }
    arena = sk_arena_new();
    if (m->kind == SIM_BEAT) {
        sim_check_told(s, m);
        beat_event(s, m, arena, &ev);
    } else if (m->kind == SIM_OBSERVE) {
        observe_event(s, m, arena, &ev);
    }
    if ((s->encode && !sim_wire_decode(s, m, arena, &ev)) ||
        (m->kind == SIM_LEASE && !sim_lease_read(s, m, arena, &ev))) {
        sim_fail(s, SIM_BROKEN, "a frame of %s is not readable", s->nodes[m->node].name);
    } else {
        if (m->kind == SIM_BEAT) {
            ev.u.beat.datagram = m->datagram;
        }
        if (plant_take(s, &ev, arena)) {
            sim_control_step(s, m->control, &ev);
        }
    }
    sk_arena_free(arena);
}

/* ---- life ---- */

void sim_control_start(struct sim *s, size_t control)
{
    struct sim_control *k = &s->controls[control];
    struct control_config cfg = {
        .node = sk_str(s->nodes[k->node].name),
        .seed = sk_prng_u64(&s->prng),
        .return_moves = plant_moves(s),
        .shared = s->ncontrols > 1,
    };
    struct sk_err err = {0};

    for (size_t i = 0; i < sizeof(cfg.secret); i++) {
        cfg.secret[i] = (uint8_t)sim_below(s, 256);
    }
    k->lives++;
    k->armed_us = 0;
    k->revision_seen = 0;
    k->stepping = false;
    k->started_us = s->now_us;
    memset(k->ghost_us, 0, sizeof(k->ghost_us));
    memset(k->told, 0, sizeof(k->told));
    memset(k->lost_before, 0, sizeof(k->lost_before));
    k->busy_us = 0;
    k->watching = k->watch_armed = false;
    if (control_new(&cfg, &k->c, &err) < 0) {
        sim_fail(s, SIM_BROKEN, "control does not start: %s", err.msg);
        return;
    }
    sim_say(s, "control starts on %s", s->nodes[k->node].name);
    sim_store_load(s, control);
    sim_post(s, SIM_S, SIM_EV_HOUSE, SIM_DAEMON, k->node, control, 0, NULL);
}

void sim_control_stop(struct sim *s, size_t control)
{
    struct sim_control *k = &s->controls[control];

    control_free(k->c);
    k->c = NULL;
}
