/* SPDX-License-Identifier: Apache-2.0 */
#include "sim/sim.h"

#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/mem.h"
#include "model/term.h"
#include "net/pulse.h"
#include "sim/plant.h"

/*
 * Machines, and skerryd on them: what src/daemon/member.c does. It beats and probes every 250 ms,
 * carries assignments to the agent and observations to control, and keeps the last of both for
 * whoever connects next.
 */
#define IDLE_US (10 * SIM_S)
#define HURRY_US (NET_PULSE_HURRY_MS * SIM_MS)

size_t sim_index(const struct sim *s, const struct sim_node *n)
{
    return (size_t)(n - s->nodes);
}

bool sim_asleep(const struct sim *s, const struct sim_node *n)
{
    return n->sleep_us >= s->now_us;
}

bool sim_stalled(const struct sim *s, const struct sim_node *n)
{
    return n->daemon_pause_us >= s->now_us || sim_asleep(s, n);
}

static int64_t beat_us(const struct sim_node *n)
{
    return (int64_t)((double)(CONTROL_BEAT_MS * SIM_MS) / n->clock.rate);
}

/* ---- up ---- */

static struct sim_message *beat(struct sim *s, struct sim_node *n, size_t control)
{
    struct sim_message *m = sim_message_new(SIM_BEAT, sim_index(s, n), control, true);
    int64_t now = sim_local_us(s, n);

    m->seq = n->seq;
    m->assign_rev = n->told_assign_rev;
    m->obs_rev = n->told_obs_rev;
    m->heard = sk_xcalloc(n->ntargets + 1, sizeof(*m->heard));
    for (size_t i = 0; i < n->ntargets; i++) {
        const struct sim_target *t = &n->targets[i];
        m->heard[m->nheard++] =
            (struct sim_heard){t->node, t->echo_us < 0 ? -1 : (now - t->echo_us) / 1000,
                               t->echo_us < 0 ? -1 : t->rtt_us};
    }
    return m;
}

static void send_beat(struct sim *s, struct sim_node *n, size_t control)
{
    sim_send(s, beat(s, n, control));
}

static void send_rows(struct sim *s, struct sim_node *n, size_t control, bool full, bool fresh,
                      const struct sim_row *rows, size_t nrows)
{
    struct sim_message *m = sim_message_new(SIM_OBSERVE, sim_index(s, n), control, true);

    m->full = full;
    m->fresh = fresh;
    m->obs_rev = n->told_obs_rev;
    m->assign_rev = n->told_assign_rev;
    m->rows = sk_xcalloc(nrows + 1, sizeof(*rows));
    memcpy(m->rows, rows, nrows * sizeof(*rows));
    m->nrows = nrows;
    sim_send(s, m);
}

void sim_member_up(struct sim *s, struct sim_node *n, size_t control)
{
    n->seq++;
    send_beat(s, n, control);
    if (n->known) {
        send_rows(s, n, control, true, false, n->rows, n->nrows);
    }
}

static bool calm(const struct sim *s, const struct sim_node *n, const struct sim_chan *ch)
{
    return ch->pulse &&
           net_pulse_calm(sim_local_ms(s, n), ch->answered_us < 0 ? -1 : ch->answered_us / 1000,
                          ch->steady_us / 1000);
}

void sim_on_beat(struct sim *s, struct sim_event *e)
{
    struct sim_node *n = &s->nodes[e->a];
    bool whole = n->beats++ % NET_PULSE_CALM_BEATS == 0 || n->said_assign != n->told_assign_rev ||
                 n->said_obs != n->told_obs_rev;

    n->said_assign = n->told_assign_rev;
    n->said_obs = n->told_obs_rev;
    n->seq++;
    for (size_t c = 0; c < s->ncontrols; c++) {
        struct sim_chan *ch = &n->chans[c];
        if (ch->node_open && s->now_us - ch->node_rx_us > IDLE_US) {
            sim_close_node(s, n, c);
        }
        if (ch->node_open && (whole || !calm(s, n, ch))) {
            send_beat(s, n, c);
        }
    }
    sim_post(s, beat_us(n), SIM_EV_BEAT, SIM_DAEMON, e->a, 0, 0, NULL);
}

static bool missing(const struct sim *s, const struct sim_node *n, int64_t heard_us)
{
    return net_pulse_hurry(sim_local_ms(s, n), heard_us < 0 ? -1 : heard_us / 1000);
}

void sim_on_probe(struct sim *s, struct sim_event *e)
{
    struct sim_node *n = &s->nodes[e->a];
    bool extra = e->x != 0, any = false;

    for (size_t i = 0; i < n->ntargets; i++) {
        bool miss = missing(s, n, n->targets[i].echo_us);
        any = any || miss;
        if (!extra || miss) {
            sim_probe(s, n, &n->targets[i]);
        }
    }
    if (!extra) {
        sim_post(s, beat_us(n), SIM_EV_PROBE, SIM_DAEMON, e->a, 0, 0, NULL);
    }
    if (any && (extra || !n->probe_hurry)) {
        sim_post(s, HURRY_US, SIM_EV_PROBE, SIM_DAEMON, e->a, 0, 1, NULL);
    }
    n->probe_hurry = extra ? any : n->probe_hurry || any;
}

void sim_on_pulse(struct sim *s, struct sim_event *e)
{
    struct sim_node *n = &s->nodes[e->a];
    bool extra = e->x != 0, any = false;

    n->seq++;
    for (size_t c = 0; c < s->ncontrols; c++) {
        const struct sim_chan *ch = &n->chans[c];
        bool miss = ch->node_open && missing(s, n, ch->answered_us);
        any = any || miss;
        if (ch->node_open && ch->pulse && (!extra || miss)) {
            struct sim_message *m = beat(s, n, c);
            m->datagram = true;
            sim_send_datagram(s, m);
        }
    }
    if (!extra) {
        sim_post(s, beat_us(n), SIM_EV_PULSE, SIM_DAEMON, e->a, 0, 0, NULL);
    }
    if (any && (extra || !n->pulse_hurry)) {
        sim_post(s, HURRY_US, SIM_EV_PULSE, SIM_DAEMON, e->a, 0, 1, NULL);
    }
    n->pulse_hurry = extra ? any : n->pulse_hurry || any;
}

/* ---- what the agent says ---- */

void sim_member_observed(struct sim *s, struct sim_node *n, bool full, const struct sim_row *rows,
                         size_t nrows)
{
    if (full) {
        n->nrows = 0;
        n->known = true;
    }
    for (size_t i = 0; i < nrows; i++) {
        size_t at = 0;
        while (at < n->nrows && strcmp(n->rows[at].id, rows[i].id) != 0) {
            at++;
        }
        if (at == n->nrows) {
            if (n->nrows == SIM_ROWS) { /* the eldest is long gone */
                memmove(n->rows, n->rows + 1, (SIM_ROWS - 1) * sizeof(*rows));
                n->nrows--;
                at--;
            }
            n->nrows++;
        }
        n->rows[at] = rows[i];
    }
    for (size_t c = 0; c < s->ncontrols; c++) {
        if (n->chans[c].node_open) {
            send_rows(s, n, c, full, true, rows, nrows);
        }
    }
}

/* ---- what control says ---- */

static void take_probes(struct sim *s, struct sim_node *n, const struct sk_node *list)
{
    struct sim_target old[SIM_TARGETS];
    size_t nold = n->ntargets;

    memcpy(old, n->targets, sizeof(old));
    n->ntargets = 0;
    for (uint32_t i = 0; list && i < list->count && n->ntargets < SIM_TARGETS; i++) {
        int node = sim_node_index(s, sk_map_str(&list->u.items[i], "node", SK_STR("")));
        struct sim_target *t = &n->targets[n->ntargets];
        if (node < 0) {
            continue;
        }
        *t = (struct sim_target){(uint8_t)node, -1, -1};
        for (size_t k = 0; k < nold; k++) {
            if (old[k].node == node) {
                *t = old[k];
            }
        }
        n->ntargets++;
    }
}

static void take_assign(struct sim *s, struct sim_node *n, const struct sim_message *m,
                        const struct sk_node *root)
{
    take_probes(s, n, sk_map_seq(root, "probe"));
    free(n->assign);
    n->assign = sk_xstrndup(m->bytes.ptr, m->bytes.len);
    if (!plant_mislay(s, n, sk_map_int(root, "rev", 0)) && n->link && n->agent_up) {
        sim_agent_assign(s, n, n->assign, true);
    }
}

void sim_member_take(struct sim *s, struct sim_message *m)
{
    struct sim_node *n = &s->nodes[m->node];
    struct sk_arena *arena;
    const struct sk_node *root = NULL;

    if (m->kind == SIM_PULSE) {
        n->chans[m->control].pulse = true;
    }
    if (m->kind != SIM_ASSIGN && m->kind != SIM_LEASED) {
        return;
    }
    if (s->encode && !sim_wire_decode(s, m, NULL, NULL)) {
        sim_fail(s, SIM_BROKEN, "what control tells %s is no frame", n->name);
        return;
    }
    arena = sk_arena_new();
    if (sk_json_read(arena, "assign", sk_buf_str(&m->bytes), NULL, &root, NULL) < 0) {
        sim_fail(s, SIM_BROKEN, "what control tells %s is no JSON", n->name);
    } else {
        int64_t term = sk_map_int(root, "term", -1);
        if (!term_take(&n->term, term) && !plant_obey(s)) {
            sim_say(s, "%s does not hear control on %s, which is deposed", n->name,
                    s->nodes[s->controls[m->control].node].name);
        } else {
            sim_check_obeyed(s, n, term);
            if (m->kind == SIM_LEASED) {
                sim_lease_take(s, n, m);
            } else {
                take_assign(s, n, m, root);
            }
        }
    }
    sk_arena_free(arena);
}

/* ---- life ---- */

void sim_daemon_start(struct sim *s, struct sim_node *n)
{
    size_t at = sim_index(s, n);

    if (n->daemon_up || !n->machine_up) {
        return;
    }
    n->daemon_gen++;
    n->daemon_up = true;
    n->daemon_pause_us = 0;
    n->known = n->link = n->probe_hurry = n->pulse_hurry = false;
    n->nrows = n->ntargets = 0;
    n->told_assign_rev = n->told_obs_rev = 0;
    n->said_assign = n->said_obs = 0;
    n->beats = 0;
    sim_trouble(s, at);
    sim_say(s, "skerryd starts on %s", n->name);
    if (n->wire) {
        sim_wire_reset(n->wire);
    }
    for (size_t c = 0; c < s->ncontrols; c++) {
        n->chans[c].connecting = false;
        n->chans[c].backoff_us = 0;
        if (s->controls[c].node == at) {
            sim_control_start(s, c);
        }
        sim_connect_soon(s, n, c, 5 * SIM_MS);
    }
    sim_post(s, n->phase_us, SIM_EV_BEAT, SIM_DAEMON, at, 0, 0, NULL);
    sim_post(s, n->phase_us + beat_us(n) / 2, SIM_EV_PULSE, SIM_DAEMON, at, 0, 0, NULL);
    sim_post(s, (n->phase_us * 7) % (250 * SIM_MS), SIM_EV_PROBE, SIM_DAEMON, at, 0, 0, NULL);
    sim_agent_link_up(s, n);
}

void sim_daemon_stop(struct sim *s, struct sim_node *n, bool quiet)
{
    size_t at = sim_index(s, n);

    if (!n->daemon_up) {
        return;
    }
    plant_crash(s, n);
    sim_chans_daemon_died(s, at, quiet);
    n->daemon_up = n->link = false;
    for (size_t c = 0; c < s->ncontrols; c++) {
        if (s->controls[c].node == at) {
            sim_control_stop(s, c);
        }
    }
    free(n->assign);
    n->assign = NULL;
}

/* The power goes: nobody is told, no program survives, what was not synced may be gone. */
void sim_machine_stop(struct sim *s, struct sim_node *n)
{
    if (!n->machine_up) {
        return;
    }
    sim_daemon_stop(s, n, true);
    sim_agent_stop(s, n);
    n->machine_up = false;
    n->off_us = s->now_us;
    sim_procs_power_cut(s, n);
    if (s->fault[SIM_F_DISK_LOSE] && n->kept && s->now_us - n->kept_us < 2 * SIM_S &&
        sim_chance(s, 0.5)) {
        sim_say(s, "the kept assignment of %s is torn", n->name);
        free(n->kept);
        n->kept = NULL;
    }
}

void sim_on_boot(struct sim *s, struct sim_event *e)
{
    struct sim_node *n = &s->nodes[e->a];

    if (n->machine_up) {
        return;
    }
    n->machine_gen++;
    n->machine_up = true;
    n->sleep_us = 0;
    sim_trouble(s, e->a);
    /* CLOCK_BOOTTIME begins anew; the wall clock goes on */
    n->clock.wall_us += sim_local_us(s, n) - SIM_S;
    n->clock.local_us = SIM_S;
    n->clock.base_us = s->now_us;
    sim_say(s, "%s boots", n->name);
    sim_post(s, sim_between(s, 20, 400) * SIM_MS, SIM_EV_AGENT_UP, SIM_MACHINE, e->a, 0, 0, NULL);
    sim_post(s, sim_between(s, 20, 400) * SIM_MS, SIM_EV_DAEMON_UP, SIM_MACHINE, e->a, 0, 0, NULL);
}
