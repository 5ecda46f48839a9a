/* SPDX-License-Identifier: Apache-2.0 */
#include "sim/sim.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "sim/plant.h"

/* The loop: the earliest event, whose it is, what it does. Then the two phases of a run. */

#define CONVERGE_US                                                              \
    (240 * SIM_S) /* back-off 30 s, health gates 60 s, settling 10 s, twice over \
                   */
#define CONVERGED_FOR_US (12 * SIM_S)
#define LOOK_US (1 * SIM_S)

static const char *const rule_names[] = {
#define X(id, name, text) name,
    SIM_RULES(X)
#undef X
};
static const char *const rule_texts[] = {
#define X(id, name, text) text,
    SIM_RULES(X)
#undef X
};
static const char *const fault_names[] = {
#define X(id, name) name,
    SIM_FAULTS(X)
#undef X
};

const char *sim_rule_name(enum sim_rule rule)
{
    return rule_names[rule];
}

const char *sim_rule_text(enum sim_rule rule)
{
    return rule_texts[rule];
}

const char *sim_fault_name(enum sim_fault fault)
{
    return fault_names[fault];
}

/* ---- what everything here uses ---- */

void sim_mix(struct sim *s, uint64_t value)
{
    s->hash = (s->hash ^ value) * UINT64_C(0x9e3779b97f4a7c15);
    s->hash ^= s->hash >> 29;
}

void sim_mix_bytes(struct sim *s, const void *bytes, size_t len)
{
    const uint8_t *p = bytes;
    uint64_t word;

    for (; len >= 8; p += 8, len -= 8) {
        memcpy(&word, p, 8);
        sim_mix(s, word);
    }
    for (word = len; len > 0; len--) {
        word = word << 8 | *p++;
    }
    sim_mix(s, word);
}

uint64_t sim_below(struct sim *s, uint64_t bound)
{
    return sk_prng_below(&s->prng, bound);
}

int64_t sim_between(struct sim *s, int64_t low, int64_t high)
{
    return low + (int64_t)sim_below(s, (uint64_t)(high - low) + 1);
}

bool sim_chance(struct sim *s, double p)
{
    return sk_prng_unit(&s->prng) < p;
}

void sim_say(struct sim *s, const char *fmt, ...)
{
    va_list args;

    if (!s->o.story) {
        return;
    }
    (void)printf("%10.3f  ", (double)s->now_us / 1e6);
    va_start(args, fmt);
    (void)vprintf(fmt, args);
    va_end(args);
    (void)putchar('\n');
}

void sim_fail(struct sim *s, enum sim_rule rule, const char *fmt, ...)
{
    va_list args;

    if (s->rule[0]) {
        return; /* the first one tells */
    }
    va_start(args, fmt);
    (void)vsnprintf(s->broken, sizeof(s->broken), fmt, args);
    va_end(args);
    s->rule = rule_names[rule];
    s->broken_us = s->now_us;
    sim_say(s, "BROKEN %s: %s", s->rule, s->broken);
}

int sim_node_index(const struct sim *s, struct sk_str name)
{
    for (size_t i = 0; i < s->nnodes; i++) {
        if (sk_str_is(name, s->nodes[i].name)) {
            return (int)i;
        }
    }
    return -1;
}

/* ---- events ---- */

static uint32_t life_of(const struct sim *s, enum sim_owner owner, size_t node)
{
    const struct sim_node *n = &s->nodes[node];

    switch (owner) {
    case SIM_DAEMON:
        return n->daemon_gen;
    case SIM_AGENT:
        return n->agent_gen;
    case SIM_MACHINE:
        return n->machine_gen;
    case SIM_WORLD:
        break;
    }
    return 0;
}

void sim_post(struct sim *s, int64_t delay_us, enum sim_kind kind, enum sim_owner owner, size_t a,
              size_t b, int64_t x, void *load)
{
    struct sim_event e = {
        .at_us = s->now_us + (delay_us > 0 ? delay_us : 0),
        .seq = s->seq++,
        .kind = (uint8_t)kind,
        .owner = (uint8_t)owner,
        .a = (uint8_t)a,
        .b = (uint8_t)b,
        .gen = owner == SIM_WORLD ? 0 : life_of(s, owner, a),
        .x = x,
        .load = load,
    };
    sim_heap_push(&s->heap, &e);
}

static void drop(struct sim_event *e)
{
    switch ((enum sim_kind)e->kind) {
    case SIM_EV_ARRIVE:
    case SIM_EV_DATAGRAM:
        sim_message_free(e->load);
        break;
    case SIM_EV_STORE:
        sim_store_answer_free(e->load);
        break;
    case SIM_EV_PLAN:
        sim_plan_load_free(e->load);
        break;
    default:
        free(e->load);
        break;
    }
    e->load = NULL;
}

static bool alive(const struct sim *s, const struct sim_event *e)
{
    const struct sim_node *n = &s->nodes[e->a];

    switch ((enum sim_owner)e->owner) {
    case SIM_DAEMON:
        return n->daemon_up && e->gen == n->daemon_gen;
    case SIM_AGENT:
        return n->agent_up && e->gen == n->agent_gen;
    case SIM_MACHINE:
        return n->machine_up && e->gen == n->machine_gen;
    case SIM_WORLD:
        break;
    }
    return true;
}

static bool timer(enum sim_kind kind)
{
    return kind == SIM_EV_TICK || kind == SIM_EV_BEAT || kind == SIM_EV_PULSE ||
           kind == SIM_EV_PROBE || kind == SIM_EV_HOUSE || kind == SIM_EV_AGENT_TICK ||
           kind == SIM_EV_WRITE;
}

/* What comes while a process stands still waits for it: its timers first, then its sockets. */
static bool waits(struct sim *s, struct sim_event *e)
{
    const struct sim_node *n = &s->nodes[e->a];
    int64_t until = e->owner == SIM_DAEMON  ? n->daemon_pause_us
                    : e->owner == SIM_AGENT ? n->agent_pause_us
                                            : 0;
    if (e->owner != SIM_WORLD && n->sleep_us > until) {
        until = n->sleep_us;
    }
    if (until < s->now_us) {
        return false;
    }
    e->at_us = until + (timer((enum sim_kind)e->kind) ? 1 : 2);
    if (e->kind == SIM_EV_LEASE_DUE) { /* an overdue timer fires before long, not at once */
        e->at_us = until + sim_between(s, 0, SIM_LATE_US);
    }
    e->seq = s->seq++;
    sim_heap_push(&s->heap, e);
    return true;
}

static void on_house(struct sim *s, struct sim_event *e)
{
    sim_chans_house(s, e->b);
    if (e->x == 0) {
        sim_post(s, SIM_S, SIM_EV_HOUSE, SIM_DAEMON, e->a, e->b, 0, NULL);
    }
}

static void on_daemon_up(struct sim *s, struct sim_event *e)
{
    sim_daemon_start(s, &s->nodes[e->a]);
}

static void on_agent_up(struct sim *s, struct sim_event *e)
{
    sim_agent_start(s, &s->nodes[e->a]);
}

static void (*const handlers[SIM_EV_KIND_COUNT])(struct sim *s, struct sim_event *e) = {
    [SIM_EV_TICK] = sim_on_tick,
    [SIM_EV_WATCH] = sim_on_watch,
    [SIM_EV_STORE] = sim_on_store,
    [SIM_EV_PLAN] = sim_on_plan,
    [SIM_EV_HOUSE] = on_house,
    [SIM_EV_DAEMON_UP] = on_daemon_up,
    [SIM_EV_BEAT] = sim_on_beat,
    [SIM_EV_PROBE] = sim_on_probe,
    [SIM_EV_CONNECT] = sim_on_connect,
    [SIM_EV_AGENT_UP] = on_agent_up,
    [SIM_EV_AGENT_TICK] = sim_on_agent_tick,
    [SIM_EV_AGENT_EVENT] = sim_on_agent_event,
    [SIM_EV_AGENT_OBS] = sim_on_agent_obs,
    [SIM_EV_PROC_UP] = sim_on_proc_up,
    [SIM_EV_PROC_END] = sim_on_proc_end,
    [SIM_EV_LEASE_UP] = sim_on_lease_up,
    [SIM_EV_LEASE_DOWN] = sim_on_lease_down,
    [SIM_EV_LEASE_LONGER] = sim_on_lease_longer,
    [SIM_EV_LEASE_DUE] = sim_on_lease_due,
    [SIM_EV_WRITE] = sim_on_write,
    [SIM_EV_WRITTEN] = sim_on_written,
    [SIM_EV_ASK] = sim_on_ask,
    [SIM_EV_ECHO] = sim_on_echo,
    [SIM_EV_PULSE] = sim_on_pulse,
    [SIM_EV_DATAGRAM] = sim_on_datagram,
    [SIM_EV_ANSWER] = sim_on_answer,
    [SIM_EV_ARRIVE] = sim_on_arrive,
    [SIM_EV_RETRY] = sim_on_retry,
    [SIM_EV_BOOT] = sim_on_boot,
    [SIM_EV_FAULT] = sim_on_fault,
    [SIM_EV_HEAL] = sim_on_heal,
    [SIM_EV_USER] = sim_on_user,
};

void sim_until(struct sim *s, int64_t at_us)
{
    while (s->heap.count > 0 && s->heap.items[0].at_us <= at_us && !s->rule[0]) {
        struct sim_event e = sim_heap_pop(&s->heap);
        s->now_us = e.at_us;
        if (!alive(s, &e)) {
            drop(&e);
        } else if (!waits(s, &e)) {
            sim_mix(s, (uint64_t)e.at_us << 16 | (uint64_t)e.kind << 8 | e.a);
            s->events++;
            handlers[e.kind](s, &e);
            drop(&e);
        }
    }
    if (!s->rule[0]) {
        s->now_us = at_us;
    }
}

/* ---- a run ---- */

/* Renewals of leases come and go for ever: a look is taken between two of them. */
static const char *look(struct sim *s)
{
    for (int i = 0; i < 40 && sim_control_busy(s) && !s->rule[0]; i++) {
        sim_until(s, s->now_us + 3 * SIM_MS);
    }
    return sim_not_converged(s);
}

static void converge(struct sim *s)
{
    int64_t end = s->now_us + CONVERGE_US, since = 0;
    const char *why = "";

    while (s->now_us < end && !s->rule[0]) {
        sim_until(s, s->now_us + LOOK_US);
        why = look(s);
        if (why) {
            since = 0;
        } else if (since == 0) {
            since = s->now_us;
        } else if (s->now_us - since >= CONVERGED_FOR_US) {
            return;
        }
    }
    sim_fail(s, SIM_CONVERGE, "%d s after everything healed: %s", (int)(CONVERGE_US / SIM_S),
             why ? why : "it keeps changing");
}

/* For whoever reads a story that ended badly: what control believes. */
static void show_control(struct sim *s)
{
    for (size_t i = 0; s->o.story && s->rule[0] && i < s->ncontrols; i++) {
        struct sk_buf out = SK_BUF_INIT;
        if (s->controls[i].c) {
            control_status_json(s->controls[i].c, &out);
            sk_buf_addc(&out, '\n');
            control_ps_json(s->controls[i].c, &out);
            (void)printf("control on %s:\n%s\n", s->nodes[s->controls[i].node].name, out.ptr);
        }
        sk_buf_release(&out);
    }
}

static void run(struct sim *s)
{
    sim_found(s);
    if (s->rule[0]) {
        return;
    }
    sim_chaos_start(s);
    s->end_us = s->now_us + (int64_t)(s->o.minutes * 60e6);
    sim_until(s, s->end_us);
    sim_check_weather(s);
    if (!s->rule[0]) {
        sim_say(s, "everything heals");
        s->healing = true;
        sim_heal_all(s);
        sim_check_takeover(s);
        sim_until(s, s->now_us + 15 * SIM_S);
    }
    if (!s->rule[0] && sim_apply_final(s)) {
        converge(s);
    }
}

void sim_run(struct sim *s)
{
    run(s);
    show_control(s);
}

struct sim *sim_new(const struct sim_options *options)
{
    struct sim *s = sk_xcalloc(1, sizeof(*s));

    s->o = *options;
    s->rule = "";
    s->hash = UINT64_C(0xcbf29ce484222325);
    sk_prng_seed(&s->prng, options->seed * UINT64_C(0x100000001b3) + 7);
    s->now_us = 5 * SIM_S;
    s->store.lead = -1;
    sim_chaos_choose(s);
    plant_choose(s);
    return s;
}

void sim_free(struct sim *s)
{
    if (!s) {
        return;
    }
    for (size_t i = 0; i < s->nnodes; i++) {
        struct sim_node *n = &s->nodes[i];
        sim_agent_stop(s, n);
        sim_daemon_stop(s, n, true);
        sim_procs_release(n);
        sim_wire_free(n->wire);
        free(n->kept);
        free(n->assign);
    }
    while (s->heap.count > 0) {
        struct sim_event e = sim_heap_pop(&s->heap);
        drop(&e);
    }
    free(s->heap.items);
    for (size_t i = 0; i < s->ncontrols; i++) {
        control_commands_release(&s->controls[i].out);
    }
    sim_store_release(s);
    sim_check_release(s);
    free(s->versions);
    free(s);
}
