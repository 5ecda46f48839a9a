/* SPDX-License-Identifier: Apache-2.0 */
#include "sim/sim.h"

#include <stdio.h>
#include <string.h>

#include "base/mem.h"

/*
 * The world of a seed and what is done to it. A seed enables a random subset of the faults (swarm
 * testing: a mix of everything hides what one fault alone brings out), their pace and how long they
 * last.
 */
#define LIGHT_US (1 * SIM_S) /* in the weather, at least so long between two blackouts */

static const char *const site_names[SIM_SITES] = {"fra", "ams", "par", "lon", "mad"};

/* ---- the world ---- */

static void choose_sites(struct sim *s)
{
    s->nsites = (size_t)sim_between(s, 3, SIM_SITES);
    s->nnodes = (size_t)sim_between(s, (int64_t)s->nsites, SIM_NODES);
    for (size_t i = 0; i < s->nsites; i++) {
        (void)snprintf(s->sites[i].name, sizeof(s->sites[i].name), "%s", site_names[i]);
        s->sites[i].full = i > 0 || s->nsites < 4 || sim_chance(s, 0.6);
        s->rtt_us[i][i] = 300;
        for (size_t k = 0; k < i; k++) {
            s->rtt_us[i][k] = s->rtt_us[k][i] = sim_between(s, 4, 110) * SIM_MS;
        }
    }
}

static void choose_nodes(struct sim *s)
{
    int count[SIM_SITES] = {0};

    for (size_t i = 0; i < s->nnodes; i++) {
        struct sim_node *n = &s->nodes[i];
        n->site = (uint8_t)(i < s->nsites ? i : sim_below(s, s->nsites));
        (void)snprintf(n->name, sizeof(n->name), "%s-%d", s->sites[n->site].name, ++count[n->site]);
        (void)snprintf(n->address, sizeof(n->address), "192.0.2.%d", (int)i + 1);
        n->cpus = sim_between(s, 2, 8) * INT64_C(1000000000);
        n->memory = sim_between(s, 2, 8) << 30;
        n->phase_us = sim_between(s, 0, 249) * SIM_MS + 1;
        n->clock.rate = s->fault[SIM_F_DRIFT] ? 1 + 1e-6 * (double)sim_between(s, -1000, 1000) : 1;
        n->clock.base_us = s->now_us;
        n->clock.local_us = sim_between(s, 1, 100000) * SIM_S;
        n->clock.wall_us =
            INT64_C(1790000000) * SIM_S - n->clock.local_us + sim_between(s, -2000, 2000) * SIM_MS;
        n->wire = s->encode ? sim_wire_new(n) : NULL;
    }
}

/* Control nodes stand in different sites: the first node of each. */
static void choose_controls(struct sim *s)
{
    uint64_t kind = sim_below(s, 10);

    s->ncontrols = kind < 3 ? 1 : kind == 9 && s->nsites == 5 ? 5 : 3;
    s->ncontrols = s->o.controls > 0 ? s->o.controls : s->ncontrols;
    for (size_t i = 0; i < s->ncontrols; i++) {
        s->controls[i].node = (uint8_t)i;
    }
}

static void choose_weather(struct sim *s)
{
    bool heavy = sim_chance(s, 0.3);

    s->loss = !s->fault[SIM_F_LOSS] ? 0 : 0.01 * (double)sim_between(s, 1, heavy ? 30 : 5);
    s->jitter_us =
        !s->fault[SIM_F_JITTER] ? 2 * SIM_MS : sim_between(s, 10, heavy ? 600 : 200) * SIM_MS;
    s->dup = s->fault[SIM_F_DUP] ? 0.05 : 0;
    if (s->o.weather) {
        s->loss = s->o.weather == SIM_CALM ? 0 : 0.05;
        s->jitter_us = (s->o.weather == SIM_CALM ? 2 : 200) * SIM_MS;
    }
    s->rough = s->loss > 0.05 || s->jitter_us > 200 * SIM_MS;
}

void sim_chaos_choose(struct sim *s)
{
    static const int64_t budgets[] = {-1, 1, 2, 5, 100};
    double share = 0.1 + 0.5 * sk_prng_unit(&s->prng);

    for (int f = 0; f < SIM_FAULT_COUNT; f++) {
        s->fault[f] = sim_chance(s, share);
        if (s->o.weather) {
            s->fault[f] = f == SIM_F_LOSS || f == SIM_F_JITTER ||
                          (f == SIM_F_BLACKOUT && s->o.weather >= SIM_LINKS) ||
                          (f == SIM_F_CRASH_SITE && s->o.deaths);
        }
    }
    s->encode = s->o.seed % 50 == 7;
    s->exclusive = sim_chance(s, 0.6);
    s->return_moves = budgets[sim_below(s, SK_ARRAY_LEN(budgets))];
    s->fault_every_us = sim_between(s, 1, 30) * SIM_S;
    s->fault_long_us = sim_between(s, 1, 40) * SIM_S;
    if (s->o.weather) {
        s->fault_every_us = (s->o.deaths ? 90 : 20) * SIM_S;
    }
    choose_sites(s);
    choose_nodes(s);
    choose_controls(s);
    choose_weather(s);
    sim_say(s, "%zu nodes in %zu sites, control on %zu of them, first on %s (%s)%s%s", s->nnodes,
            s->nsites, s->ncontrols, s->nodes[0].name, s->sites[0].full ? "full" : "control only",
            s->exclusive ? ", with exclusive work" : "",
            s->encode ? ", every message is encoded" : "");
    for (int f = 0; f < SIM_FAULT_COUNT; f++) {
        if (s->fault[f]) {
            sim_say(s, "fault: %s", sim_fault_name((enum sim_fault)f));
        }
    }
}

void sim_chaos_start(struct sim *s)
{
    sim_post(s, sim_between(s, 100, 3000) * SIM_MS, SIM_EV_USER, SIM_WORLD, 0, 0, 0, NULL);
    sim_post(s, 10 * SIM_S, SIM_EV_FAULT, SIM_WORLD, 0, 0, 0, NULL);
}

/* ---- faults ---- */

/* A cut: which ways it closes. */
struct cut {
    bool way[SIM_NODES][SIM_NODES];
};

static void cut_apply(struct sim *s, const struct cut *cut, int by)
{
    bool counted = by < 0;

    for (size_t i = 0; i < s->nnodes; i++) {
        bool touches = false;
        for (size_t k = 0; k < s->nnodes; k++) {
            s->cut[i][k] += cut->way[i][k] ? by : 0;
            touches = touches || cut->way[i][k] || cut->way[k][i];
        }
        if (touches) {
            counted = counted || sim_check_trial(s, SIM_T_CUT, i);
            s->nodes[i].touched += by;
            sim_trouble(s, i);
        }
    }
}

static int64_t how_long(struct sim *s)
{
    return (int64_t)((double)s->fault_long_us * 2 * sk_prng_unit(&s->prng)) + 100 * SIM_MS;
}

static void cut_for(struct sim *s, const struct cut *cut, int64_t us)
{
    struct cut *copy = sk_xmalloc(sizeof(*copy));

    *copy = *cut;
    cut_apply(s, cut, 1);
    sim_post(s, us, SIM_EV_HEAL, SIM_WORLD, 0, 0, 0, copy);
}

static void cut_sites(struct sim *s, bool oneway, int64_t us)
{
    size_t a = sim_below(s, s->nsites), b = sim_below(s, s->nsites);
    struct cut cut = {0};

    for (size_t i = 0; a != b && i < s->nnodes; i++) {
        for (size_t k = 0; k < s->nnodes; k++) {
            bool way = s->nodes[i].site == a && s->nodes[k].site == b;
            bool back = s->nodes[i].site == b && s->nodes[k].site == a;
            cut.way[i][k] = way || (back && !oneway);
        }
    }
    if (a != b) {
        sim_say(s, "-- the way %s %s %s is cut", s->sites[a].name, oneway ? "to" : "and back from",
                s->sites[b].name);
        cut_for(s, &cut, us);
    }
}

static void cut_off(struct sim *s, bool whole_site, int64_t us)
{
    size_t one = sim_below(s, s->nnodes);
    struct cut cut = {0};

    for (size_t i = 0; i < s->nnodes; i++) {
        for (size_t k = 0; k < s->nnodes; k++) {
            bool in = whole_site ? s->nodes[i].site == s->nodes[one].site : i == one;
            bool in2 = whole_site ? s->nodes[k].site == s->nodes[one].site : k == one;
            cut.way[i][k] = in != in2;
        }
    }
    sim_say(s, "-- %s is cut off for %.1f s",
            whole_site ? s->sites[s->nodes[one].site].name : s->nodes[one].name, (double)us / 1e6);
    cut_for(s, &cut, us);
}

static void crash_daemon(struct sim *s, size_t node)
{
    struct sim_node *n = &s->nodes[node];

    if (n->daemon_up && !sim_asleep(s, n)) {
        sim_say(s, "-- skerryd of %s is killed", n->name);
        (void)sim_check_trial(s, SIM_T_KILL, node);
        sim_trouble(s, node);
        s->restarts++;
        sim_daemon_stop(s, n, false);
        sim_post(s, sim_between(s, 50, sim_chance(s, 0.3) ? 15000 : 1000) * SIM_MS,
                 SIM_EV_DAEMON_UP, SIM_MACHINE, node, 0, 0, NULL);
    }
}

static void crash_agent(struct sim *s, size_t node, int64_t away_ms)
{
    struct sim_node *n = &s->nodes[node];

    if (n->agent_up && !sim_asleep(s, n)) {
        sim_say(s, "-- the agent of %s is killed", n->name);
        (void)sim_check_trial(s, SIM_T_KILL, node);
        s->restarts++;
        sim_agent_stop(s, n);
        sim_post(s, away_ms * SIM_MS, SIM_EV_AGENT_UP, SIM_MACHINE, node, 0, 0, NULL);
    }
}

static void crash_shim(struct sim *s)
{
    struct sim_node *n = &s->nodes[sim_below(s, s->nnodes)];
    struct sim_proc *p = n->procs;

    for (uint64_t skip = sim_below(s, 8); p && p->next && skip > 0; skip--) {
        p = p->next;
    }
    if (p && n->machine_up && !sim_asleep(s, n)) {
        (void)sim_check_trial(s, SIM_T_KILL, sim_index(s, n));
        sim_proc_kill(s, n, p, "the shim");
    }
}

static void crash_machine(struct sim *s, size_t node, int64_t us)
{
    struct sim_node *n = &s->nodes[node];

    if (n->machine_up) {
        sim_say(s, "-- %s loses its power for %.1f s", n->name, (double)us / 1e6);
        (void)sim_check_trial(s, SIM_T_BOOT, node);
        sim_trouble(s, node);
        sim_machine_stop(s, n);
        sim_post(s, us, SIM_EV_BOOT, SIM_WORLD, node, 0, 0, NULL);
    }
}

static void crash_site(struct sim *s)
{
    size_t site = sim_below(s, s->nsites);
    int64_t us = 2 * SIM_S + how_long(s);

    if (s->o.deaths) { /* one at a time, and control outlives it */
        for (size_t i = 0; i < s->nnodes; i++) {
            if (s->nodes[s->controls[0].node].site == site || s->nodes[i].touched > 0 ||
                (s->nfound > 0 && s->now_us - s->nodes[i].trouble_us < 30 * SIM_S)) {
                return;
            }
        }
        us = 15 * SIM_S;
        sim_check_death(s, site);
    }
    for (size_t i = 0; i < s->nnodes; i++) {
        if (s->nodes[i].site == site) {
            crash_machine(s, i, us + (int64_t)sim_below(s, 2 * SIM_S));
        }
    }
}

static void pause_something(struct sim *s)
{
    struct sim_node *n = &s->nodes[sim_below(s, s->nnodes)];
    int64_t until = s->now_us + sim_between(s, 100, sim_chance(s, 0.3) ? 20000 : 3000) * SIM_MS;
    uint64_t what = sim_below(s, 3);

    sim_say(s, "-- %s of %s stand still until %.3f",
            what == 0   ? "skerryd"
            : what == 1 ? "the agent"
                        : "both processes",
            n->name, (double)until / 1e6);
    (void)sim_check_trial(s, SIM_T_PAUSE, sim_index(s, n));
    n->trouble_us = until > n->trouble_us ? until : n->trouble_us; /* it lasts until then */
    if (what != 1 && n->daemon_up && until > n->daemon_pause_us) {
        n->daemon_pause_us = until;
    }
    if (what != 0 && n->agent_up && until > n->agent_pause_us) {
        n->agent_pause_us = until;
    }
}

/* The machine itself: nothing of it runs, its clock counts on, what it is sent waits. */
static void sleep_machine(struct sim *s, size_t node, int64_t us)
{
    struct sim_node *n = &s->nodes[node];

    if (n->machine_up && !sim_asleep(s, n)) {
        (void)sim_check_trial(s, SIM_T_PAUSE, node);
        n->sleep_us = n->trouble_us = s->now_us + us;
        sim_say(s, "-- %s sleeps until %.3f", n->name, (double)n->sleep_us / 1e6);
    }
}

static void step_clock(struct sim *s)
{
    struct sim_node *n = &s->nodes[sim_chance(s, 0.5) ? 0 : sim_below(s, s->nnodes)];
    int64_t by = sim_between(s, 1, sim_chance(s, 0.2) ? 3600 : 30) * SIM_S;

    by = sim_chance(s, 0.5) ? by : -by;
    sim_say(s, "-- the wall clock of %s steps by %.0f s", n->name, (double)by / 1e6);
    (void)sim_check_trial(s, SIM_T_STEP, sim_index(s, n));
    n->clock.wall_us += by;
}

static void fill_disk(struct sim *s)
{
    struct sim_node *n = &s->nodes[sim_below(s, s->nnodes)];

    sim_say(s, "-- the disk of %s is full", n->name);
    n->disk_full = true;
    sim_post(s, how_long(s), SIM_EV_HEAL, SIM_WORLD, sim_index(s, n), SIM_F_DISK_FULL, 0, NULL);
}

static void sicken(struct sim *s)
{
    struct sim_node *n = &s->nodes[sim_below(s, s->nnodes)];

    for (struct sim_proc *p = n->procs; p; p = p->next) {
        p->sick = sim_chance(s, 0.4);
    }
    sim_say(s, "-- programs of %s fail their checks", n->name);
    sim_post(s, how_long(s), SIM_EV_HEAL, SIM_WORLD, sim_index(s, n), SIM_F_APP, 0, NULL);
}

static void trouble_store(struct sim *s, enum sim_fault f)
{
    struct sim_store *st = &s->store;

    sim_say(s, "-- %s", sim_fault_name(f));
    switch (f) {
    case SIM_F_STORE_SLOW:
        st->slow_us = sim_between(s, 20, 3000) * SIM_MS;
        sim_post(s, how_long(s), SIM_EV_HEAL, SIM_WORLD, 0, SIM_F_STORE_SLOW, 0, NULL);
        break;
    case SIM_F_STORE_DOWN:
        st->down_until_us = s->now_us + how_long(s) / 2;
        break;
    case SIM_F_STORE_DOUBT:
        st->doubt = (int)sim_between(s, 1, 2);
        break;
    case SIM_F_STORE_FOREIGN:
        st->foreign = (int)sim_between(s, 1, 2);
        break;
    default:
        st->stale = (int)sim_between(s, 1, 2);
        break;
    }
}

static void blackout(struct sim *s)
{
    for (size_t i = 0; s->o.weather && i < s->nnodes; i++) {
        if (s->nodes[i].touched > 0 || s->now_us - s->nodes[i].trouble_us < LIGHT_US) {
            return; /* two of 1.5 s without light between them are one of 3 s */
        }
    }
    switch (s->o.weather) {
    case SIM_LINKS:
        cut_sites(s, false, 1500 * SIM_MS);
        break;
    case SIM_ISLES:
        cut_off(s, true, 1500 * SIM_MS);
        break;
    default:
        cut_off(s, sim_chance(s, 0.5), sim_between(s, 100, 1500) * SIM_MS);
        break;
    }
}

/* Mostly the one that leads. */
static size_t some_control(struct sim *s)
{
    int leader = sim_leader(s);
    bool any = leader < 0 || sim_chance(s, 0.3);

    return s->controls[any ? sim_below(s, s->ncontrols) : (size_t)leader].node;
}

/* Its machine cut off from those of the other control nodes, or one of its ways, not from nodes. */
static void cut_control(struct sim *s, size_t node, int64_t us)
{
    struct cut cut = {0};
    uint64_t ways = sim_below(s, 3);

    for (size_t i = 0; i < s->ncontrols; i++) {
        size_t other = s->controls[i].node;
        cut.way[node][other] = other != node && ways != 1;
        cut.way[other][node] = other != node && ways != 2;
    }
    sim_say(s, "-- %s is cut off from the other control nodes for %.1f s", s->nodes[node].name,
            (double)us / 1e6);
    cut_for(s, &cut, us);
}

static void trouble_leader(struct sim *s)
{
    size_t node = some_control(s);
    int64_t us = sim_between(s, 500, sim_chance(s, 0.3) ? 20000 : 5000) * SIM_MS;
    struct sim_node *n = &s->nodes[node];

    switch (sim_below(s, 4)) {
    case 0:
        cut_control(s, node, us);
        break;
    case 1:
        sleep_machine(s, node, us);
        break;
    case 2:
        crash_machine(s, node, us);
        break;
    default:
        if (n->daemon_up && n->daemon_pause_us < s->now_us + us) {
            (void)sim_check_trial(s, SIM_T_PAUSE, node);
            n->daemon_pause_us = n->trouble_us = s->now_us + us;
            sim_say(s, "-- skerryd of %s stands still until %.3f", n->name,
                    (double)n->daemon_pause_us / 1e6);
        }
        break;
    }
}

static void inflict(struct sim *s, enum sim_fault f)
{
    size_t node = sim_below(s, s->nnodes);

    switch (f) {
    case SIM_F_ONEWAY:
    case SIM_F_LINK:
        cut_sites(s, f == SIM_F_ONEWAY, how_long(s));
        break;
    case SIM_F_ISLAND:
    case SIM_F_NODECUT:
        cut_off(s, f == SIM_F_ISLAND, how_long(s));
        break;
    case SIM_F_BLACKOUT:
        blackout(s);
        break;
    case SIM_F_STEP:
        step_clock(s);
        break;
    case SIM_F_PAUSE:
        pause_something(s);
        break;
    case SIM_F_SLEEP:
        sleep_machine(s, node, sim_between(s, 500, sim_chance(s, 0.5) ? 20000 : 5000) * SIM_MS);
        break;
    case SIM_F_DISK_FULL:
        fill_disk(s);
        break;
    case SIM_F_CRASH_DAEMON:
        crash_daemon(s, node);
        break;
    case SIM_F_CRASH_AGENT:
        crash_agent(s, node, sim_between(s, 50, 3000));
        break;
    case SIM_F_CRASH_SHIM:
        crash_shim(s);
        break;
    case SIM_F_CRASH_NODE:
        crash_machine(s, node, 2 * SIM_S + how_long(s));
        break;
    case SIM_F_CRASH_SITE:
        crash_site(s);
        break;
    case SIM_F_CRASH_CONTROL:
        crash_daemon(s, some_control(s));
        break;
    case SIM_F_LEADER:
        trouble_leader(s);
        break;
    case SIM_F_APP:
        sicken(s);
        break;
    default:
        trouble_store(s, f);
        break;
    }
}

/* Not inflicted at a moment, but there all the time. */
static bool ambient(enum sim_fault f)
{
    return f == SIM_F_LOSS || f == SIM_F_JITTER || f == SIM_F_DUP || f == SIM_F_DRIFT ||
           f == SIM_F_DISK_LOSE || f == SIM_F_USER || f == SIM_F_WATCH;
}

/* Half way between its decision and its shim's first word is where an agent knows least. */
void sim_chaos_starting(struct sim *s, size_t node)
{
    if (s->fault[SIM_F_CRASH_AGENT] && !s->healing && sim_chance(s, 0.05)) {
        sim_post(s, sim_between(s, 0, 20) * SIM_MS, SIM_EV_FAULT, SIM_WORLD, node, 0,
                 sim_between(s, 1, 60), NULL);
    }
}

/* Asleep between an ask and its answer: the successor has the lease when it wakes. */
void sim_chaos_asked(struct sim *s, size_t node)
{
    if (s->fault[SIM_F_SLEEP] && !s->healing && sim_chance(s, 0.03)) {
        sim_post(s, sim_between(s, 1, 300) * SIM_MS, SIM_EV_FAULT, SIM_WORLD, node, 0,
                 -sim_between(s, 3500, 9000), NULL);
    }
}

void sim_on_fault(struct sim *s, struct sim_event *e)
{
    enum sim_fault list[SIM_FAULT_COUNT];
    size_t count = 0;

    if (s->healing) {
        return;
    }
    if (e->x > 0) {
        crash_agent(s, e->a, e->x);
        return;
    }
    if (e->x < 0) {
        sleep_machine(s, e->a, -e->x * SIM_MS);
        return;
    }
    for (int f = 0; f < SIM_FAULT_COUNT; f++) {
        if (s->fault[f] && !ambient((enum sim_fault)f)) {
            list[count++] = (enum sim_fault)f;
        }
    }
    if (count > 0) {
        inflict(s, list[sim_below(s, count)]);
    }
    sim_post(s, (int64_t)((double)s->fault_every_us * 2 * sk_prng_unit(&s->prng)) + 10 * SIM_MS,
             SIM_EV_FAULT, SIM_WORLD, 0, 0, 0, NULL);
}

void sim_on_heal(struct sim *s, struct sim_event *e)
{
    if (s->healing) {
        return; /* everything is, at once */
    }
    if (e->load) {
        cut_apply(s, e->load, -1);
        sim_say(s, "-- a way is open again");
    } else if (e->b == SIM_F_DISK_FULL) {
        s->nodes[e->a].disk_full = false;
    } else if (e->b == SIM_F_STORE_SLOW) {
        s->store.slow_us = 0;
    } else {
        for (struct sim_proc *p = s->nodes[e->a].procs; p; p = p->next) {
            p->sick = false;
        }
    }
}

/* Pauses and sleep end by themselves, after 20 s at most: what waits for their end is in line. */
void sim_heal_all(struct sim *s)
{
    memset(s->cut, 0, sizeof(s->cut));
    s->loss = s->dup = 0;
    s->jitter_us = 2 * SIM_MS;
    s->store.slow_us = s->store.down_until_us = 0;
    s->store.doubt = s->store.foreign = s->store.stale = 0;
    for (size_t i = 0; i < s->nnodes; i++) {
        struct sim_node *n = &s->nodes[i];
        n->touched = 0;
        n->trouble_us = s->now_us;
        n->disk_full = false;
        for (struct sim_proc *p = n->procs; p; p = p->next) {
            p->sick = p->stubborn = false;
        }
        if (!n->machine_up) {
            sim_post(s, SIM_MS, SIM_EV_BOOT, SIM_WORLD, i, 0, 0, NULL);
        } else {
            sim_post(s, SIM_MS, SIM_EV_DAEMON_UP, SIM_MACHINE, i, 0, 0, NULL);
            sim_post(s, SIM_MS, SIM_EV_AGENT_UP, SIM_MACHINE, i, 0, 0, NULL);
        }
    }
}
