/* SPDX-License-Identifier: Apache-2.0 */
#include "sim/sim.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "sim/agent.h"
#include "sim/plant.h"

/*
 * Programs, each under its shim, and their folders. They outlive the agent; they die with their
 * shim and with the machine. A program holds its resources from the start command on until it is
 * gone.
 */
#define UNSYNCED_US (5 * SIM_S)

struct sim_proc *sim_proc_find(const struct sim_node *n, const char *id)
{
    struct sim_proc *p = n->procs;

    while (p && strcmp(p->id, id) != 0) {
        p = p->next;
    }
    return p;
}

static struct sim_proc *folder(struct sim_node *n, const char *id)
{
    struct sim_proc **at = &n->procs, *p;

    while (*at && strcmp((*at)->id, id) < 0) {
        at = &(*at)->next;
    }
    if (*at && strcmp((*at)->id, id) == 0) {
        return *at;
    }
    p = sk_xcalloc(1, sizeof(*p));
    (void)snprintf(p->id, sizeof(p->id), "%.32s", id);
    p->exit = -1;
    p->next = *at;
    *at = p;
    return p;
}

/* Programs are told apart by their number on the node, which also outlives a restart of it. */
static struct sim_proc *by_gen(const struct sim_node *n, int64_t gen)
{
    struct sim_proc *p = n->procs;

    while (p && (int64_t)p->gen != gen) {
        p = p->next;
    }
    return p;
}

static uint32_t next_gen(const struct sim_node *n)
{
    uint32_t last = 0;
    for (const struct sim_proc *p = n->procs; p; p = p->next) {
        last = p->gen > last ? p->gen : last;
    }
    return last + 1;
}

/* The lease of a run begins; its shim's timer, and what the work writes from then on. */
static void begin_lease(struct sim *s, struct sim_node *n, struct sim_proc *p)
{
    size_t node = sim_index(s, n);
    int64_t due_us = sim_until_local_us(s, n, p->until_ms);

    p->writer = ++s->writers;
    sim_post(s, due_us + sim_between(s, 0, SIM_LATE_US), SIM_EV_LEASE_DUE, SIM_MACHINE, node, 0,
             p->gen, NULL);
    sim_post(s, sim_between(s, 10, 120) * SIM_MS, SIM_EV_WRITE, SIM_MACHINE, node, 0, p->gen, NULL);
}

void sim_proc_start(struct sim *s, struct sim_node *n, const struct agent_command *c, int64_t run,
                    const char *hash)
{
    struct sim_proc *p = folder(n, c->id);

    if (!p->there) {
        p->epoch = c->epoch;
        p->until_ms = c->until_ms;
    }
    sim_check_start(s, n, p, run);
    if (s->rule[0]) {
        return;
    }
    p->offered_ms = 0;
    p->lease_over = p->own_end = false;
    p->run = p->run_max = run;
    (void)snprintf(p->hash, sizeof(p->hash), "%s", hash);
    p->recorded = true;
    p->recorded_us = s->now_us;
    p->there = true;
    p->healthy_mark = p->sick = false;
    p->state = SIM_PROC_STARTING;
    p->exit = -1;
    p->signal = 0;
    p->gen = next_gen(n);
    p->stubborn = s->fault[SIM_F_APP] && sim_chance(s, 0.1);
    if (p->epoch > 0) {
        begin_lease(s, n, p);
        sim_chaos_starting(s, sim_index(s, n));
    }
    sim_post(s, sim_between(s, 10, 120) * SIM_MS, SIM_EV_PROC_UP, SIM_MACHINE, sim_index(s, n), 0,
             p->gen, NULL);
}

/* What the agent learns: that the start failed, if it waits for that; that the run is over. */
static void tell_exit(struct sim *s, struct sim_node *n, struct sim_proc *p)
{
    struct agent_event failed = {.kind = AGENT_STARTED, .id = p->id, .run = p->run};
    struct agent_event e = {.kind = AGENT_EXITED, .id = p->id, .run = p->run};

    failed.reason = "it ended before it was ready";
    e.exit = p->exit;
    e.signal = p->signal;
    e.lease_over = p->lease_over;
    e.reason = "ended";
    sim_agent_tell(s, n, &failed);
    sim_agent_tell(s, n, &e);
}

static void ended(struct sim *s, struct sim_node *n, struct sim_proc *p)
{
    p->there = false;
    p->own_end = true;
    p->state = SIM_PROC_DEAD;
    p->recorded_us = s->now_us;
    sim_check_gone(s, n, p);
}

/* ---- leases: what a shim does ---- */

static bool overdue(const struct sim *s, const struct sim_node *n, const struct sim_proc *p)
{
    return p->epoch > 0 && sim_local_ms(s, n) >= p->until_ms;
}

/* An overdue lease is over, whoever comes first: a renewal that is read after it is too late. */
static void extend(struct sim *s, struct sim_node *n, struct sim_proc *p)
{
    if (p->there && p->epoch > 0 && p->offered_ms > p->until_ms && !overdue(s, n, p)) {
        p->until_ms = p->offered_ms;
    }
}

void sim_proc_lease(struct sim *s, struct sim_node *n, const char *id, int64_t until_ms)
{
    struct sim_proc *p = sim_proc_find(n, id);

    if (!p || !p->there) {
        return;
    }
    p->offered_ms = until_ms > p->offered_ms ? until_ms : p->offered_ms;
    if (p->state != SIM_PROC_STARTING) { /* else it is told when it is up */
        sim_post(s, sim_between(s, 50, 500), SIM_EV_LEASE_LONGER, SIM_MACHINE, sim_index(s, n), 0,
                 p->gen, NULL);
    }
}

void sim_on_lease_longer(struct sim *s, struct sim_event *e)
{
    struct sim_node *n = &s->nodes[e->a];
    struct sim_proc *p = by_gen(n, e->x);

    if (p) {
        extend(s, n, p);
    }
}

void sim_on_lease_due(struct sim *s, struct sim_event *e)
{
    struct sim_node *n = &s->nodes[e->a];
    struct sim_proc *p = by_gen(n, e->x);

    if (!p || !p->there) {
        return;
    }
    if (!overdue(s, n, p)) {
        int64_t due_us = sim_until_local_us(s, n, p->until_ms);
        sim_post(s, due_us + sim_between(s, 0, SIM_LATE_US), SIM_EV_LEASE_DUE, SIM_MACHINE, e->a, 0,
                 e->x, NULL);
        return;
    }
    if (plant_deadline(s)) {
        return;
    }
    sim_say(s, "%s: the lease of %.8s ran out", n->name, p->id);
    s->lapses++;
    p->exit = -1;
    p->signal = SIGKILL;
    p->lease_over = true;
    ended(s, n, p);
    tell_exit(s, n, p);
}

void sim_on_proc_up(struct sim *s, struct sim_event *e)
{
    struct sim_node *n = &s->nodes[e->a];
    struct sim_proc *p = by_gen(n, e->x);
    struct agent_event started = {.kind = AGENT_STARTED};

    if (!p || !p->there) {
        return;
    }
    started.id = p->id;
    started.run = p->run;
    started.ok = p->state == SIM_PROC_STARTING;
    extend(s, n, p); /* renewed while it started */
    if (s->fault[SIM_F_APP] && !s->healing && sim_chance(s, 0.05)) {
        p->exit = 127;
        ended(s, n, p);
        tell_exit(s, n, p);
        return;
    } else if (p->state == SIM_PROC_STARTING) {
        p->state = SIM_PROC_UP;
        if (s->fault[SIM_F_APP] && !s->healing && sim_chance(s, 0.2)) {
            sim_post(s, sim_between(s, 100, 60000) * SIM_MS, SIM_EV_PROC_END, SIM_MACHINE, e->a, 0,
                     e->x, NULL);
        }
    } else {
        return;
    }
    sim_agent_tell(s, n, &started);
}

/* x: which program; b: 1 = it was told to stop. */
void sim_on_proc_end(struct sim *s, struct sim_event *e)
{
    struct sim_node *n = &s->nodes[e->a];
    struct sim_proc *p = by_gen(n, e->x);

    if (!p || !p->there || (e->b == 0 && p->state == SIM_PROC_STOPPING)) {
        return;
    }
    p->exit = e->b ? 0 : 1;
    ended(s, n, p);
    tell_exit(s, n, p);
}

void sim_proc_signal(struct sim *s, struct sim_node *n, struct sim_proc *p, int64_t grace_ms)
{
    int64_t ms = p->stubborn ? grace_ms : sim_between(s, 5, grace_ms < 300 ? grace_ms + 5 : 300);

    p->state = SIM_PROC_STOPPING;
    sim_post(s, ms * SIM_MS, SIM_EV_PROC_END, SIM_MACHINE, sim_index(s, n), 1, p->gen, NULL);
}

void sim_proc_kill(struct sim *s, struct sim_node *n, struct sim_proc *p, const char *why)
{
    if (p->there) {
        sim_say(s, "%s: %s of %.8s dies", n->name, why, p->id);
        p->exit = -1;
        p->signal = SIGKILL;
        ended(s, n, p);
        p->own_end = false; /* its shim could not write it down */
        tell_exit(s, n, p);
    }
}

void sim_proc_remove(struct sim_node *n, const char *id)
{
    for (struct sim_proc **at = &n->procs; *at; at = &(*at)->next) {
        if (strcmp((*at)->id, id) == 0) {
            struct sim_proc *p = *at;
            *at = p->next;
            free(p);
            return;
        }
    }
}

void sim_procs_power_cut(struct sim *s, struct sim_node *n)
{
    for (struct sim_proc *p = n->procs; p; p = p->next) {
        bool fresh = s->now_us - p->recorded_us < UNSYNCED_US;
        if (p->there) {
            p->exit = -1;
            p->signal = SIGKILL;
            p->there = p->own_end = false;
            p->state = SIM_PROC_DEAD;
            sim_check_gone(s, n, p);
        }
        if (s->fault[SIM_F_DISK_LOSE] && fresh && sim_chance(s, 0.5)) {
            p->recorded = false;
        }
        p->run_max = 0;
        p->healthy_mark = false;
    }
}

void sim_procs_release(struct sim_node *n)
{
    while (n->procs) {
        sim_proc_remove(n, n->procs->id);
    }
}
