/* SPDX-License-Identifier: Apache-2.0 */
#include "sim/sim.h"

#include <stdlib.h>

#include "base/mem.h"
#include "sim/plant.h"

/*
 * Where several control nodes share the store: its members stand on the same machines, one of them
 * leads and reaches a majority; who reaches no such member gets no answer. When that member is lost
 * another one is chosen, which takes time. And the watches: what was committed reaches the controls
 * in whole revisions, in order, late, or not: then they are told that some was lost.
 */
#define ELECTION_MIN_US (500 * SIM_MS)
#define ELECTION_MAX_US (1200 * SIM_MS)
#define WATCH_AGAIN_US (200 * SIM_MS)
#define LOG_MAX 600

static bool up(const struct sim *s, size_t member)
{
    const struct sim_node *n = &s->nodes[s->controls[member].node];
    return n->joined && n->machine_up && !sim_asleep(s, n);
}

static bool both_ways(const struct sim *s, size_t a, size_t b)
{
    size_t from = s->controls[a].node, to = s->controls[b].node;
    return sim_path(s, from, to) && sim_path(s, to, from);
}

static bool may_lead(const struct sim *s, size_t member)
{
    size_t members = 0, reached = 0;

    for (size_t i = 0; i < s->ncontrols; i++) {
        bool joined = s->nodes[s->controls[i].node].joined;
        members += joined;
        reached += joined && up(s, i) && both_ways(s, member, i);
    }
    return up(s, member) && reached * 2 > members;
}

/* The member that leads now; -1: none, or not yet. */
static int leading(struct sim *s)
{
    struct sim_store *st = &s->store;

    if (st->lead >= 0 && may_lead(s, (size_t)st->lead)) {
        return s->now_us >= st->ready_us ? st->lead : -1;
    }
    st->lead = -1;
    for (size_t i = 0, first = sim_below(s, s->ncontrols); i < s->ncontrols && st->lead < 0; i++) {
        size_t member = (first + i) % s->ncontrols;
        if (may_lead(s, member)) {
            st->lead = (int)member;
            st->ready_us = s->founding
                               ? s->now_us
                               : s->now_us + sim_between(s, ELECTION_MIN_US, ELECTION_MAX_US);
            sim_say(s, "the store is led on %s from %.3f on",
                    s->nodes[s->controls[member].node].name, (double)st->ready_us / 1e6);
        }
    }
    return st->lead >= 0 && s->now_us >= st->ready_us ? st->lead : -1;
}

/* Any member passes on what it is asked. */
bool sim_store_ready(struct sim *s, size_t control)
{
    int lead;

    if (s->ncontrols == 1) {
        return true;
    }
    lead = s->now_us < s->store.down_until_us ? -1 : leading(s);
    for (size_t i = 0; lead >= 0 && i < s->ncontrols; i++) {
        if (up(s, i) && both_ways(s, control, i) && both_ways(s, i, (size_t)lead)) {
            return true;
        }
    }
    return false;
}

int64_t sim_store_way_us(struct sim *s, size_t control)
{
    size_t own = s->nodes[s->controls[control].node].site, site;
    int64_t nearest = INT64_MAX;

    if (s->ncontrols == 1) {
        return 0;
    }
    site = s->nodes[s->controls[s->store.lead < 0 ? 0 : s->store.lead].node].site;
    for (size_t i = 0; i < s->ncontrols; i++) { /* its majority: the nearest other one, about */
        size_t other = s->nodes[s->controls[i].node].site;
        if (other != site && s->rtt_us[site][other] < nearest) {
            nearest = s->rtt_us[site][other];
        }
    }
    return (s->rtt_us[own][site] + (nearest == INT64_MAX ? 0 : nearest)) / 2 +
           (int64_t)sim_below(s, (uint64_t)s->jitter_us / 4 + 1);
}

/* ---- watches ---- */

static void wake(struct sim *s, size_t control, int64_t delay_us)
{
    struct sim_control *k = &s->controls[control];

    if (k->watching && !k->watch_armed) {
        k->watch_armed = true;
        sim_post(s, delay_us, SIM_EV_WATCH, SIM_DAEMON, k->node, control, (int64_t)k->lives, NULL);
    }
}

void sim_watch_begin(struct sim *s, size_t control, int64_t revision)
{
    struct sim_control *k = &s->controls[control];

    if (s->ncontrols > 1 && !k->watching && k->c) {
        k->watching = k->watch_idle = true;
        k->watch_rev = revision;
        wake(s, control, sim_between(s, 1, 100) * SIM_MS);
    }
}

static void forget(struct sim_store *st, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        free(st->log[i].key);
        free(st->log[i].value);
    }
    st->nlog -= count;
    if (st->nlog == 0) {
        return; /* there may be no log at all */
    }
    memmove(st->log, st->log + count, st->nlog * sizeof(*st->log));
}

void sim_watch_note(struct sim *s, bool removed, struct sk_str key, struct sk_str value)
{
    struct sim_store *st = &s->store;

    if (s->ncontrols == 1) {
        return;
    }
    if (st->nlog == LOG_MAX) {
        st->compacted = st->log[LOG_MAX / 2 - 1].rev;
        forget(st, LOG_MAX / 2);
    }
    SK_GROW(st->log, st->nlog, st->caplog);
    st->log[st->nlog++] = (struct sim_change){st->revision, removed, sk_xstrndup(key.ptr, key.len),
                                              removed ? NULL : sk_xstrndup(value.ptr, value.len)};
}

void sim_watch_wake(struct sim *s)
{
    for (size_t c = 0; s->ncontrols > 1 && c < s->ncontrols; c++) {
        int64_t late = s->fault[SIM_F_WATCH] && !s->healing && sim_chance(s, 0.02)
                           ? sim_between(s, 100, 4000) * SIM_MS
                           : 0;
        wake(s, c,
             s->controls[c].watching && !s->controls[c].watch_armed
                 ? late + sim_store_way_us(s, c) + sim_between(s, 500, 3000)
                 : 0);
    }
}

static struct control_change *changes_of(const struct sim *s, const struct sim_control *k,
                                         int64_t last, struct sk_arena *arena, size_t *ret_count)
{
    const struct sim_store *st = &s->store;
    struct control_change *list = SK_ARENA_ARRAY(arena, struct control_change, st->nlog + 1);

    *ret_count = 0;
    for (size_t i = 0; i < st->nlog; i++) {
        const struct sim_change *ch = &st->log[i];
        if (ch->rev > k->watch_rev && ch->rev <= last) {
            list[(*ret_count)++] = (struct control_change){
                ch->removed, {sk_str(ch->key), sk_str(ch->value ? ch->value : ""), ch->rev}};
        }
    }
    return list;
}

void sim_on_watch(struct sim *s, struct sim_event *e)
{
    struct sim_control *k = &s->controls[e->b];
    struct sim_store *st = &s->store;
    struct control_event ev = {.kind = CONTROL_EV_CHANGED};
    struct sk_arena *arena;
    int64_t last = st->revision;

    if ((uint64_t)e->x != k->lives) {
        return;
    }
    k->watch_armed = false;
    if (!sim_store_ready(s, e->b)) {
        wake(s, e->b, WATCH_AGAIN_US);
        return;
    }
    if (last == k->watch_rev && !k->watch_idle) {
        return;
    }
    if (s->fault[SIM_F_WATCH] && last > k->watch_rev + 1 && sim_chance(s, 0.3)) {
        last = sim_between(s, k->watch_rev + 1, last);
        wake(s, e->b, sim_between(s, 1, 300) * SIM_MS);
    }
    k->watch_idle = false;
    arena = sk_arena_new();
    ev.u.changed.lost = k->watch_rev < st->compacted ||
                        (s->fault[SIM_F_WATCH] && !s->healing && sim_chance(s, 0.002));
    ev.u.changed.changes = changes_of(s, k, last, arena, &ev.u.changed.count);
    ev.u.changed.count = ev.u.changed.lost ? 0 : ev.u.changed.count;
    ev.u.changed.store_id = sk_str(st->id);
    ev.u.changed.revision = k->watch_rev = last;
    sim_control_step(s, e->b, &ev);
    sk_arena_free(arena);
}

void sim_watch_release(struct sim *s)
{
    forget(&s->store, s->store.nlog);
    free(s->store.log);
    free(s->store.term_ids);
}
