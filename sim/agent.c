/* SPDX-License-Identifier: Apache-2.0 */
#include "sim/sim.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/assign.h"
#include "agent/step.h"
#include "base/json.h"
#include "base/mem.h"
#include "sim/agent.h"
#include "sim/plant.h"

/*
 * The agent's host: what src/agent/main.c and run.c do for the step machine, on simulated time and
 * programs. Assignments go through the binary's own reader (assign.c).
 */
#define OBSERVE_US (5 * SIM_MS)

struct posted {
    struct agent_event event;
    char id[AGENT_ID_MAX];
    char reason[64];
};

static void post(struct sim *s, const struct sim_node *n, int64_t delay_us,
                 const struct agent_event *event)
{
    struct posted *p = sk_xcalloc(1, sizeof(*p));

    p->event = *event;
    (void)snprintf(p->id, sizeof(p->id), "%s", event->id);
    (void)snprintf(p->reason, sizeof(p->reason), "%s", event->reason ? event->reason : "");
    sim_post(s, delay_us, SIM_EV_AGENT_EVENT, SIM_AGENT, sim_index(s, n), 0, 0, p);
}

void sim_agent_tell(struct sim *s, struct sim_node *n, const struct agent_event *event)
{
    if (n->agent_up) {
        post(s, n, 1 * SIM_MS, event);
    }
}

/* ---- commands ---- */

static void prepare(struct sim *s, struct sim_node *n, const struct agent_command *c)
{
    const struct assignment *a = assign_find(n->agent->assigned, c->id);
    struct agent_event e = {.kind = AGENT_PREPARED, .id = c->id};

    if (!a) {
        e.reason = "it is no longer assigned";
    } else if (a->refusal[0]) {
        sim_fail(s, SIM_BROKEN, "%s refuses its assignment: %s", n->name, a->refusal);
    } else {
        e.ok = !(s->fault[SIM_F_APP] && !s->healing && sim_chance(s, 0.05));
        e.reason = e.ok ? NULL : "the registry does not answer";
    }
    post(s, n, a && a->driver == DRIVER_OCI ? sim_between(s, 1, 150) * SIM_MS : SIM_MS, &e);
}

static void check(struct sim *s, struct sim_node *n, const struct agent_command *c)
{
    const struct sim_proc *p = sim_proc_find(n, c->id);
    struct agent_event e = {.kind = AGENT_CHECKED, .id = c->id, .run = c->run};

    e.ok = p && p->there && p->state == SIM_PROC_UP && !p->bad && !p->sick;
    e.reason = e.ok ? NULL : "connection refused";
    post(s, n, sim_between(s, 300, 3000), &e);
}

static void start(struct sim *s, struct sim_node *n, const struct agent_command *c)
{
    const struct assignment *a = assign_find(n->agent->assigned, c->id);

    if (a && a->service) {
        sim_proc_start(s, n, c, plant_run(s, c->run), a->hash);
    } else {
        struct agent_event e = {.kind = AGENT_STARTED, .id = c->id, .run = c->run};
        e.reason = "it is no longer assigned";
        post(s, n, SIM_MS, &e);
    }
}

static void stop(struct sim *s, struct sim_node *n, const struct agent_command *c)
{
    const struct agent_instance *it = agent_state_find(&n->agent->state, c->id);
    struct sim_proc *p = sim_proc_find(n, c->id);

    sim_check_stop(s, n, c->id, it && it->unfit,
                   it && it->listed && strcmp(it->running_hash, it->desired.hash) != 0);
    if (p && p->there) {
        sim_proc_signal(s, n, p, c->grace_ms);
    } else {
        struct agent_event e = {.kind = AGENT_EXITED, .id = c->id, .run = c->run};
        e.exit = p ? p->exit : -1;
        e.signal = p ? p->signal : SIGKILL;
        post(s, n, SIM_MS, &e);
    }
}

static void execute(struct sim *s, struct sim_node *n, const struct agent_command *c)
{
    struct agent_event cleaned = {.kind = AGENT_CLEANED, .id = c->id};

    switch (c->kind) {
    case AGENT_PREPARE:
        prepare(s, n, c);
        break;
    case AGENT_START:
        start(s, n, c);
        break;
    case AGENT_STOP:
        stop(s, n, c);
        break;
    case AGENT_CHECK:
        check(s, n, c);
        break;
    case AGENT_CLEAN:
        post(s, n, 2 * SIM_MS, &cleaned);
        break;
    case AGENT_REMOVE:
        sim_proc_remove(n, c->id);
        break;
    case AGENT_LEASE:
        sim_proc_lease(s, n, c->id, c->until_ms);
        break;
    case AGENT_ASK:
        sim_agent_ask(s, n, c);
        break;
    }
}

/* ---- events ---- */

static void mark_health(struct sim_node *n, const char *id)
{
    const struct agent_instance *it = agent_state_find(&n->agent->state, id);
    struct sim_proc *p = sim_proc_find(n, id);

    if (p) {
        p->healthy_mark = it && it->phase == AGENT_RUNNING && it->healthy == 1;
    }
}

static void observe_soon(struct sim *s, struct sim_node *n)
{
    if (!n->agent->telling) {
        n->agent->telling = true;
        sim_post(s, OBSERVE_US, SIM_EV_AGENT_OBS, SIM_AGENT, sim_index(s, n), 0, 0, NULL);
    }
}

static void arm(struct sim *s, struct sim_node *n)
{
    struct sim_agent *a = n->agent;
    int64_t at = agent_step_deadline_ms(&a->state), at_us;

    if (at == INT64_MAX) {
        return;
    }
    at_us = s->now_us + sim_until_local_us(s, n, at);
    if (a->armed_us == 0 || at_us < a->armed_us) {
        a->armed_us = at_us;
        sim_post(s, at_us - s->now_us, SIM_EV_AGENT_TICK, SIM_AGENT, sim_index(s, n), 0, at_us,
                 NULL);
    }
}

void sim_agent_step(struct sim *s, struct sim_node *n, struct agent_event *event)
{
    struct sim_agent *a = n->agent;
    struct agent_commands commands = {0};

    event->now_ms = sim_local_ms(s, n);
    agent_step(&a->state, event, &commands);
    if (event->id) {
        mark_health(n, event->id);
    }
    for (size_t i = 0; i < commands.count && !s->rule[0]; i++) {
        sim_mix(s, (uint64_t)commands.items[i].kind << 32 | (uint64_t)commands.items[i].run);
        execute(s, n, &commands.items[i]);
    }
    free(commands.items);
    sim_lease_ask(s, n);
    arm(s, n);
    if (a->state.stamp != a->observed) {
        a->observed = a->state.stamp;
        observe_soon(s, n);
    }
}

void sim_on_agent_tick(struct sim *s, struct sim_event *e)
{
    struct sim_node *n = &s->nodes[e->a];
    struct agent_event tick = {.kind = AGENT_TICK};

    if (n->agent->armed_us == e->x) {
        n->agent->armed_us = 0;
        if (agent_step_deadline_ms(&n->agent->state) > sim_local_ms(s, n)) {
            arm(s, n); /* what it was armed for is no longer due */
        } else {
            sim_agent_step(s, n, &tick);
        }
    }
}

void sim_on_agent_event(struct sim *s, struct sim_event *e)
{
    struct posted *p = e->load;

    p->event.id = p->id;
    p->event.reason = p->reason;
    sim_agent_step(s, &s->nodes[e->a], &p->event);
}

/* ---- assignments ---- */

void sim_agent_assign(struct sim *s, struct sim_node *n, const char *body, bool keep)
{
    struct sk_arena *arena = sk_arena_new();
    struct assign_set *set = NULL;
    const struct sk_node *root = NULL;
    struct sk_err err = {0};
    struct agent_desired *desired;
    struct agent_event e = {.kind = AGENT_ASSIGN};
    char *spoilt = plant_assign(s, n, body);

    if (sk_json_read(arena, "assign", sk_str(spoilt ? spoilt : body), NULL, &root, &err) < 0 ||
        assign_parse(root, &set, &err) < 0) {
        sim_fail(s, SIM_BROKEN, "%s cannot read its assignment: %s", n->name, err.msg);
        sk_arena_free(arena);
        free(spoilt);
        return;
    }
    sk_arena_free(arena);
    free(spoilt);
    if (keep && n->disk_full) {
        sim_say(s, "%s cannot keep its assignment", n->name);
        free(n->kept);
        n->kept = NULL;
    } else if (keep) {
        char *fresh = sk_xstrdup(body);
        free(n->kept);
        n->kept = fresh;
        n->kept_us = s->now_us;
    }
    assign_free(n->agent->assigned);
    n->agent->assigned = set;
    n->assigned_rev = set->rev;
    desired = sk_xcalloc(set->count + 1, sizeof(*desired));
    for (size_t i = 0; i < set->count; i++) {
        assign_desired(&set->items[i], &desired[i]);
        desired[i].exclusive = plant_exclusive(s, desired[i].exclusive);
    }
    e.desired = desired;
    e.ndesired = set->count;
    sim_agent_step(s, n, &e);
    free(desired);
    observe_soon(s, n);
}

int64_t sim_agent_assign_rev(const struct sim_node *n)
{
    return n->agent && n->agent->assigned ? n->agent->assigned->rev : 0;
}

/* ---- what it tells ---- */

static struct sim_row row_of(const struct sim *s, const struct sim_node *n,
                             const struct agent_instance *it)
{
    const char *state = agent_instance_state(it);
    struct sim_row r = {
        .state = control_state_from_name(sk_str(state)),
        .health = it->phase != AGENT_RUNNING ? CONTROL_HEALTH_NONE
                  : it->healthy == 1         ? CONTROL_HEALTHY
                                             : CONTROL_UNHEALTHY,
        .since_ms = sim_wall_ms(s, n) - (sim_local_ms(s, n) - it->since_ms),
        .restarts = it->run > 1 ? it->run - 1 : 0,
        .exit = it->exit,
        .signal = it->signal,
    };
    (void)snprintf(r.id, sizeof(r.id), "%.32s", it->desired.id);
    (void)snprintf(r.reason, sizeof(r.reason), "%.63s", it->reason);
    return r;
}

void sim_on_agent_obs(struct sim *s, struct sim_event *e)
{
    struct sim_node *n = &s->nodes[e->a];
    struct sim_agent *a = n->agent;
    struct sim_row rows[SIM_ROWS];
    uint64_t since;
    size_t count = 0;

    if (e->x == 0) {
        a->telling = false;
    } else if (n->daemon_up) { /* the two are connected now: the whole of it, both ways */
        struct agent_event reached = {.kind = AGENT_REACHED};
        n->link = true;
        a->told = 0;
        sim_agent_step(s, n, &reached);
    }
    if (!n->link || !n->daemon_up || sim_stalled(s, n)) {
        if (n->link && n->daemon_up) {
            sim_post(s, 50 * SIM_MS, SIM_EV_AGENT_OBS, SIM_AGENT, e->a, 0, e->x, NULL);
        }
        return;
    }
    since = a->told;
    for (size_t i = 0; i < a->state.count && count < SIM_ROWS; i++) {
        const struct agent_instance *it = a->state.items[i];
        if (it->changed > since && agent_instance_shown(it, sim_local_ms(s, n))) {
            rows[count++] = row_of(s, n, it);
        }
    }
    a->told = a->state.stamp;
    a->obs_rev++;
    n->told_obs_rev = a->obs_rev;
    n->told_assign_rev = sim_agent_assign_rev(n);
    sim_clock_show(s, n);
    if (n->wire && !sim_wire_observe(n, since)) {
        sim_fail(s, SIM_BROKEN, "%s's observations are no frame", n->name);
    }
    if (count > 0 || since == 0 || e->x == 1) {
        sim_member_observed(s, n, since == 0, rows, count);
    }
    if (e->x == 1 && n->assign) {
        sim_agent_assign(s, n, n->assign, true);
    }
}

void sim_agent_link_up(struct sim *s, struct sim_node *n)
{
    if (n->agent_up && n->daemon_up) {
        sim_post(s, sim_between(s, 1, 100) * SIM_MS, SIM_EV_AGENT_OBS, SIM_AGENT, sim_index(s, n),
                 0, 1, NULL);
    }
}

/* ---- life ---- */

static void find_all(struct sim *s, struct sim_node *n)
{
    for (const struct sim_proc *p = n->procs; p; p = p->next) {
        struct agent_event e = {
            .kind = AGENT_FOUND,
            .id = p->id,
            .hash = p->recorded ? p->hash : "",
            .run = p->recorded ? p->run : 0,
            .exit = p->exit,
            .signal = p->signal,
            .lease_over = p->recorded && p->lease_over,
            .reason = "found",
        };
        /* a shim that was only just started is not heard yet: what becomes of it is not known */
        bool heard = p->there && (p->epoch == 0 || p->state != SIM_PROC_STARTING);
        if (heard) {
            e.alive = true;
            e.healthy = p->healthy_mark;
            e.run = e.run > 0 ? e.run : 1;
        }
        if (heard || (p->recorded && (p->own_end || plant_adopt(s)))) {
            e.epoch = p->epoch; /* to name it is to say that the run is over */
        } else {
            e.unsure = p->epoch > 0;
        }
        sim_agent_step(s, n, &e);
    }
}

void sim_agent_start(struct sim *s, struct sim_node *n)
{
    if (n->agent_up || !n->machine_up) {
        return;
    }
    n->agent_gen++;
    n->agent_up = true;
    n->agent_pause_us = 0;
    n->agent = sk_xcalloc(1, sizeof(*n->agent));
    (void)snprintf(n->agent->ask_from, sizeof(n->agent->ask_from), "%s life %u", n->name,
                   n->agent_gen);
    sim_say(s, "the agent starts on %s", n->name);
    find_all(s, n);
    if (n->kept) {
        char *kept = sk_xstrdup(n->kept);
        sim_agent_assign(s, n, kept, false);
        free(kept);
    }
    sim_agent_link_up(s, n);
}

void sim_agent_stop(struct sim *s, struct sim_node *n)
{
    (void)s;
    if (!n->agent_up) {
        return;
    }
    n->agent_up = n->link = false;
    agent_state_release(&n->agent->state);
    assign_free(n->agent->assigned);
    sk_buf_release(&n->agent->asks);
    free(n->agent);
    n->agent = NULL;
    for (struct sim_proc *p = n->procs; p; p = p->next) {
        p->offered_ms = 0; /* what no shim had heard yet is forgotten with it */
    }
}

const struct agent_state *sim_agent_state(const struct sim_node *n)
{
    return n->agent ? &n->agent->state : NULL;
}
