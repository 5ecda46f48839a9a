/* SPDX-License-Identifier: Apache-2.0 */
#include "sim/sim.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/mem.h"
#include "plan/verify/verify.h"
#include "sim/plant.h"

/*
 * The invariants, each looked at where something happens that may break it: when control decides
 * (a transaction is sent), when the store takes it, when a program starts or is stopped, when a
 * node is told something. What they compare with is the world's truth, never control's opinion.
 */
#define PREFIX "/skerry/v1/"
#define TROUBLE_US (20 * SIM_S) /* so long after a fault it may still be the reason of a move */
#define DEAD_US (5 * SIM_S)     /* off for so long, and control awake */
#define GHOST_US (2500 * SIM_MS)
#define HEARS_MS 1000 /* as docs/architecture.md says of witnesses */

void sim_check_release(struct sim *s)
{
    free(s->works);
    free(s->insts);
    free(s->plans);
    free(s->found);
}

void sim_trouble(struct sim *s, size_t node)
{
    s->nodes[node].trouble_us = s->now_us;
}

/* ---- what is on record ---- */

size_t sim_work_of(struct sim *s, struct sk_str project, struct sk_str service, int64_t replica)
{
    struct sim_work *w;

    for (size_t i = 0; i < s->nworks; i++) {
        w = &s->works[i];
        if (w->replica == replica && sk_str_is(project, w->project) &&
            sk_str_is(service, w->service)) {
            return i;
        }
    }
    SK_GROW(s->works, s->nworks, s->capworks);
    w = &s->works[s->nworks];
    memset(w, 0, sizeof(*w));
    (void)snprintf(w->project, sizeof(w->project), "%.*s", SK_PRI(project));
    (void)snprintf(w->service, sizeof(w->service), "%.*s", SK_PRI(service));
    w->replica = replica;
    return s->nworks++;
}

static struct sk_str inst_key(const void *item)
{
    return sk_str(((const struct sim_inst *)item)->id);
}

static size_t inst_position(const struct sim *s, struct sk_str id, bool *ret_there)
{
    return sk_str_search(s->insts, s->ninsts, sizeof(*s->insts), inst_key, id, ret_there);
}

struct sim_inst *sim_inst_find(const struct sim *s, const char *id)
{
    bool there;
    size_t at = inst_position(s, sk_str(id), &there);
    return there ? &s->insts[at] : NULL;
}

/* Drained itself, or by its site; as the store has it. */
bool sim_store_drained(const struct sim *s, size_t node)
{
    char key[64];
    const char *record;

    (void)snprintf(key, sizeof(key), PREFIX "nodes/%s", s->nodes[node].name);
    record = sim_store_get(s, key);
    if (record && strstr(record, "\"drained\":true")) {
        return true;
    }
    (void)snprintf(key, sizeof(key), PREFIX "sites/%s", s->sites[s->nodes[node].site].name);
    record = sim_store_get(s, key);
    return record && strstr(record, "\"drained\":true");
}

static void read_inst(struct sim *s, struct sk_str id, struct sk_str value, struct sim_inst *ret)
{
    struct sk_arena *arena = sk_arena_new();
    const struct sk_node *root = NULL, *image;
    struct sk_str none = SK_STR("");
    int node;

    memset(ret, 0, sizeof(*ret));
    if (sk_json_read(arena, "instance", value, NULL, &root, NULL) < 0) {
        sim_fail(s, SIM_BROKEN, "instance %.*s is no JSON", SK_PRI(id));
        sk_arena_free(arena);
        return;
    }
    node = sim_node_index(s, sk_map_str(root, "node", none));
    image = sk_map_get(root, SK_STR("image"));
    (void)snprintf(ret->id, sizeof(ret->id), "%.*s", SK_PRI(id));
    (void)snprintf(ret->spec, sizeof(ret->spec), "%.*s",
                   SK_PRI(sk_map_str(root, "spec_hash", none)));
    ret->node = (uint8_t)(node < 0 ? 0 : node);
    ret->stopping = sk_str_is(sk_map_str(root, "role", none), "stopping");
    ret->cpus = sk_map_int(root, "cpus_nano", 0);
    ret->memory = sk_map_int(root, "memory_bytes", 0);
    ret->bad = image && sk_str_is(sk_map_str(image, "ref", none), "bad:1");
    ret->exclusive = memmem(value.ptr, value.len, "\"exclusive\":true", 16) != NULL;
    ret->work = sim_work_of(s, sk_map_str(root, "project", none), sk_map_str(root, "service", none),
                            sk_map_int(root, "replica", 0));
    sk_arena_free(arena);
}

static void inst_put(struct sim *s, struct sk_str id, struct sk_str value)
{
    struct sim_inst inst;
    bool there;
    size_t at = inst_position(s, id, &there);

    read_inst(s, id, value, &inst);
    if (!there) {
        if (sim_store_drained(s, inst.node) || !s->sites[s->nodes[inst.node].site].full) {
            sim_fail(s, SIM_DRAINED, "%s/%s.%" PRId64 " gets a copy on %s, which takes nothing",
                     s->works[inst.work].project, s->works[inst.work].service,
                     s->works[inst.work].replica, s->nodes[inst.node].name);
        }
        SK_GROW(s->insts, s->ninsts, s->capinsts);
        memmove(s->insts + at + 1, s->insts + at, (s->ninsts - at) * sizeof(*s->insts));
        s->ninsts++;
        sim_say(s, "record: %s/%s.%" PRId64 " on %s is %.8s", s->works[inst.work].project,
                s->works[inst.work].service, s->works[inst.work].replica, s->nodes[inst.node].name,
                inst.id);
    } else if (inst.stopping && !s->insts[at].stopping) {
        sim_say(s, "record: %.8s on %s is to stop", inst.id, s->nodes[inst.node].name);
    }
    inst.epoch = there ? s->insts[at].epoch : 0;
    s->insts[at] = inst;
}

/* ---- the store takes a transaction ---- */

static void project_put(struct sim *s, struct sk_str name, struct sk_str value, int64_t revision)
{
    const char *at = memmem(value.ptr, value.len, "\"VER\":\"", 7);
    int64_t number = at ? strtoll(at + 7, NULL, 10) : 0;

    (void)name;
    if (number > 0 && number <= (int64_t)s->nversions) {
        s->versions[number - 1].committed_rev = revision;
    }
}

static void plan_put(struct sim *s, struct sk_str value)
{
    const char *at = memmem(value.ptr, value.len, "\"id\":\"sha256:", 13);

    for (size_t i = 0; at && i < s->nplans; i++) {
        if (strncmp(at + 6, s->plans[i].id, 71) == 0) {
            if (!s->plans[i].good) {
                sim_fail(s, SIM_REFUSED, "plan %.20s is in force, and the verifier refuses it: %s",
                         s->plans[i].id, s->finding);
            }
            return;
        }
    }
    if (at) {
        sim_fail(s, SIM_REFUSED, "plan %.20s is in force, and nobody made it", at + 6);
    }
}

static struct sk_str after(struct sk_str s, const char *prefix)
{
    size_t len = strlen(prefix);
    return (struct sk_str){s.ptr + len, s.len - len};
}

void sim_check_op(struct sim *s, const struct control_op *op, int64_t revision)
{
    if (sk_str_starts(op->key, SK_STR(PREFIX "instances/"))) {
        struct sk_str id = after(op->key, PREFIX "instances/");
        bool there;
        size_t at = inst_position(s, id, &there);
        if (!op->remove) {
            inst_put(s, id, op->value);
        } else if (there) {
            s->insts[at].gone = true;
            sim_say(s, "record: %.8s on %s is off the books", s->insts[at].id,
                    s->nodes[s->insts[at].node].name);
        }
    } else if (sk_str_starts(op->key, SK_STR(PREFIX "projects/"))) {
        struct sk_str name = after(op->key, PREFIX "projects/");
        for (int p = 0; p < SIM_PROJECTS; p++) {
            if (sk_str_is(name, sim_project_name(p))) {
                s->project_gone_rev[p] = op->remove ? revision : s->project_gone_rev[p];
            }
        }
        if (!op->remove) {
            project_put(s, name, op->value, revision);
        }
    } else if (sk_str_starts(op->key, SK_STR(PREFIX "leases/"))) {
        sim_check_lease_op(s, op);
    } else if (sk_str_is(op->key, PREFIX "plan") && !op->remove) {
        plan_put(s, op->value);
    }
}

/* ---- plans ---- */

void sim_check_plan(struct sim *s, const struct control_plan_job *job, const struct plan *plan)
{
    struct verify_input in = {
        .inv = job->input.inv,
        .projects = job->input.projects,
        .nprojects = job->input.nprojects,
        .plan = plan,
        .current = job->input.current,
        .pairs = job->input.pairs,
    };
    struct verify_report report = {0};
    struct sim_plan_seen *seen;
    struct sk_err err = {0};
    bool good;

    if (job->relaxed) {
        return; /* never in force as a plan: of its answer control takes places one by one */
    }
    good =
        plan->verdict == PLAN_OK && verify_plan(&in, &report, &err) == 0 && report.nfindings == 0;
    if (report.nfindings > 0) {
        (void)snprintf(s->finding, sizeof(s->finding), "%.*s: %.*s",
                       SK_PRI(report.findings[0].rule), SK_PRI(report.findings[0].text));
    }
    verify_report_release(&report);
    SK_GROW(s->plans, s->nplans, s->capplans);
    seen = &s->plans[s->nplans++];
    (void)snprintf(seen->id, sizeof(seen->id), "%s", plan->id);
    seen->good = good;
}

/* ---- control decides ---- */

static bool troubled(const struct sim *s, size_t node)
{
    const struct sim_node *n = &s->nodes[node];

    return n->touched > 0 || !n->machine_up || !n->daemon_up || sim_stalled(s, n) ||
           s->now_us - n->trouble_us < TROUBLE_US;
}

static bool reason_to_move(const struct sim *s, size_t control, int node)
{
    return node < 0 || s->rough || troubled(s, (size_t)node) ||
           troubled(s, s->controls[control].node) || sim_store_drained(s, (size_t)node);
}

/* Rows of the overlay that name another node than now: somebody must have been lost. */
static void check_overlay(struct sim *s, size_t control, struct sk_str value)
{
    struct sk_arena *arena = sk_arena_new();
    const struct sk_node *root = NULL, *rows;
    struct sk_str none = SK_STR("");

    if (sk_json_read(arena, "overlay", value, NULL, &root, NULL) == 0 &&
        (rows = sk_map_seq(root, "overlay")) != NULL) {
        for (uint32_t i = 0; i < rows->count; i++) {
            const struct sk_node *row = &rows->u.items[i];
            struct sk_str to = sk_map_str(row, "node", none);
            struct sim_peek now;
            if (!sim_peek_place(s->controls[control].c, sk_map_str(row, "project", none).ptr,
                                sk_map_str(row, "service", none).ptr, sk_map_int(row, "replica", 0),
                                &now) ||
                !now.node || sk_str_is(to, now.node)) {
                continue;
            }
            s->moves++;
            bool called =
                sim_peek_moving(s->controls[control].c, now.project, now.service, now.replica);
            s->needless +=
                !called && !sim_store_drained(s, (size_t)sim_node_index(s, sk_str(now.node)));
            if (!called && !reason_to_move(s, control, sim_node_index(s, sk_str(now.node)))) {
                sim_fail(s, SIM_NEEDLESS,
                         "%s/%s.%" PRId64 " moves from %s to %.*s, and nothing ails %s",
                         now.project, now.service, now.replica, now.node, SK_PRI(to), now.node);
            }
        }
    }
    sk_arena_free(arena);
}

/* What is where it should be, as it should be, and alone there, is never told to stop. */
static void check_told_to_stop(struct sim *s, size_t control, struct sk_str id, struct sk_str value)
{
    struct sim_inst inst;
    const struct sim_inst *old = sim_inst_find(s, id.ptr);
    struct sim_peek place;
    const struct sim_work *w;

    if (!old || old->stopping || !memmem(value.ptr, value.len, "\"role\":\"stopping\"", 17)) {
        return;
    }
    read_inst(s, id, value, &inst);
    w = &s->works[inst.work];
    if (!sim_peek_place(s->controls[control].c, w->project, w->service, w->replica, &place) ||
        !place.node || strcmp(place.node, s->nodes[inst.node].name) != 0 ||
        strcmp(place.spec, inst.spec) != 0) {
        return;
    }
    for (size_t i = 0; i < s->ninsts; i++) {
        const struct sim_inst *o = &s->insts[i];
        if (!o->gone && !o->stopping && o->work == inst.work && o->node == inst.node &&
            strcmp(o->spec, inst.spec) == 0 && strcmp(o->id, inst.id) != 0) {
            return;
        }
    }
    sim_fail(s, SIM_KEPT, "%s/%s.%" PRId64 " on %s is where it should be, and is told to stop",
             w->project, w->service, w->replica, place.node);
}

static void remember_places(struct sim *s, size_t control)
{
    struct sim_peek rows[256];

    s->nplaces = sim_peek_places(s->controls[control].c, rows, SK_ARRAY_LEN(rows));
    for (size_t i = 0; i < s->nplaces; i++) {
        s->places[i].work =
            sim_work_of(s, sk_str(rows[i].project), sk_str(rows[i].service), rows[i].replica);
        s->places[i].node = rows[i].node ? sim_node_index(s, sk_str(rows[i].node)) : -1;
    }
}

static bool says(struct sk_str value, const char *what)
{
    return memmem(value.ptr, value.len, what, strlen(what)) != NULL;
}

/* What a deposed leader that does not know it decides never comes into force: check_leader.c. */
void sim_check_commit(struct sim *s, size_t control, const struct control_txn *txn)
{
    if (sim_leader(s) != (int)control) {
        return;
    }
    s->ret_step = SIM_RET_NONE;
    s->ret_control = control;
    for (size_t i = 0; i < txn->nops; i++) {
        const struct control_op *op = &txn->ops[i];
        if (op->remove) {
            continue;
        }
        if (sk_str_is(op->key, PREFIX "overlay")) {
            check_overlay(s, control, op->value);
        } else if (sk_str_starts(op->key, SK_STR(PREFIX "instances/"))) {
            check_told_to_stop(s, control, after(op->key, PREFIX "instances/"), op->value);
        } else if (sk_str_starts(op->key, SK_STR(PREFIX "events/"))) {
            bool begins = says(op->value, "\"what\":\"return_begun\"");
            if (begins || says(op->value, "\"what\":\"return_done\"")) {
                remember_places(s, control);
                s->ret_step = begins ? SIM_RET_BEGINS : SIM_RET_ENDS;
            }
        }
    }
}

/* ---- after each step ---- */

static void check_site(struct sim *s, size_t control, size_t site)
{
    const struct sim_control *k = &s->controls[control];
    int others = 0, hear = 0;

    for (size_t o = 0; o < s->nsites; o++) {
        bool any = false, hears = false;
        for (size_t w = 0; o != site && w < s->nnodes; w++) {
            int64_t since = (s->now_us - k->told[w].at_us) / 1000 + 10;
            if (s->nodes[w].site != o || !s->nodes[w].joined) {
                continue;
            }
            any = true;
            for (size_t i = 0; k->told[w].at_us && since < HEARS_MS && i < k->told[w].nheard; i++) {
                const struct sim_heard *h = &k->told[w].heard[i];
                hears = hears || (s->nodes[h->node].site == site && h->age_ms >= 0 &&
                                  h->age_ms + since < HEARS_MS - 10);
            }
        }
        others += any;
        hear += hears;
    }
    if (hear * 2 > others) {
        sim_fail(s, SIM_FALSE_SITE, "site %s is judged lost, and %d of %d other sites hear it",
                 s->sites[site].name, hear, others);
    }
}

static int64_t places_changed(struct sim *s, size_t control)
{
    int64_t moved = 0;

    for (size_t i = 0; i < s->nplaces; i++) {
        const struct sim_work *w = &s->works[s->places[i].work];
        struct sim_peek now;
        if (sim_peek_place(s->controls[control].c, w->project, w->service, w->replica, &now)) {
            moved += (now.node ? sim_node_index(s, sk_str(now.node)) : -1) != s->places[i].node;
        }
    }
    return moved;
}

/* Neither its begin nor its end moves anything; what moves between them, unless a person said so,
 * is within the budget. */
static void check_return(struct sim *s, size_t control)
{
    bool by_control = false;
    bool under_way = sim_peek_return(s->controls[control].c, &by_control);

    if (s->ret_committed && s->ret_step != SIM_RET_NONE) {
        int64_t moved = places_changed(s, control);
        if (moved > 0) {
            sim_fail(s, SIM_BUDGET, "%" PRId64 " replicas move at the %s of a return", moved,
                     s->ret_step == SIM_RET_BEGINS ? "begin" : "end");
        }
        s->returning = s->ret_step == SIM_RET_BEGINS;
        s->ret_step = SIM_RET_NONE;
    }
    s->ret_committed = false;
    s->returning = s->returning && under_way && by_control;
    if (s->returning) {
        s->returned_moves = places_changed(s, control);
        if (s->returned_moves > (s->return_moves < 0 ? 0 : s->return_moves)) {
            sim_fail(s, SIM_BUDGET, "%" PRId64 " replicas move by themselves, %" PRId64 " may",
                     s->returned_moves, s->return_moves);
        }
    }
}

/* ---- in the weather: everything is counted, and told at the end ---- */

void sim_check_death(struct sim *s, size_t site)
{
    SK_GROW(s->found, s->nfound, s->capfound);
    s->found[s->nfound++].after_us = -1;
    s->dead_us[site] = s->now_us;
}

static bool anybody_there(const struct sim *s, size_t site)
{
    for (size_t i = 0; i < s->nnodes; i++) {
        if (s->nodes[i].site == site && s->nodes[i].machine_up) {
            return true;
        }
    }
    return false;
}

static void site_found(struct sim *s, size_t site)
{
    if (!s->o.weather) {
        return;
    }
    if (anybody_there(s, site)) {
        s->false_sites++;
        sim_say(s, "FALSE: site %s is judged lost, and it was only the weather",
                s->sites[site].name);
    } else if (s->nfound > 0 && s->found[s->nfound - 1].after_us < 0) {
        s->found[s->nfound - 1].after_us = s->now_us - s->dead_us[site];
    }
}

void sim_check_node_lost(struct sim *s, int node)
{
    if (s->o.weather && !s->healing && node >= 0 && s->nodes[node].machine_up) {
        s->false_nodes++;
        sim_say(s, "FALSE: node %s is judged lost, and it was only the weather",
                s->nodes[node].name);
    }
}

void sim_check_weather(struct sim *s)
{
    if (s->false_sites + s->false_nodes > 0) {
        sim_fail(s, SIM_FALSE_SITE,
                 "%" PRIu64 " sites and %" PRIu64
                 " single nodes were judged lost, and it was only the weather",
                 s->false_sites, s->false_nodes);
    } else if (s->o.weather && !s->o.deaths && s->needless > 0) {
        sim_fail(s, SIM_NEEDLESS, "%" PRIu64 " moves, and nothing was lost", s->needless);
    }
}

/* A machine that has been off for a while is suspect or lost; word that was late on its way may say
 * otherwise for a moment, nothing may keep it alive. */
static void check_dead(struct sim *s, size_t control, size_t node)
{
    struct sim_control *k = &s->controls[control];
    const struct sim_node *n = &s->nodes[node];
    bool ghost = !n->machine_up && n->joined && s->now_us - n->off_us > DEAD_US &&
                 s->now_us - k->started_us > DEAD_US &&
                 s->nodes[k->node].daemon_pause_us < s->now_us - DEAD_US &&
                 s->nodes[k->node].sleep_us < s->now_us - DEAD_US &&
                 !sim_peek_node_lost(k->c, n->name);

    if (!ghost) {
        k->ghost_us[node] = 0;
    } else if (k->ghost_us[node] == 0) {
        k->ghost_us[node] = s->now_us;
    } else if (s->now_us - k->ghost_us[node] > GHOST_US) {
        sim_fail(s, SIM_DEAD, "%s is off for %.1f s, and taken for alive", n->name,
                 (double)(s->now_us - n->off_us) / 1e6);
    }
}

void sim_check_step(struct sim *s, size_t control)
{
    struct sim_control *k = &s->controls[control];
    bool leads = sim_leader(s) == (int)control;

    if (!control_is_loaded(k->c)) {
        return;
    }
    for (size_t i = 0; i < s->nsites; i++) {
        bool lost = sim_peek_site_lost(k->c, s->sites[i].name);
        if (lost && !k->lost_before[i]) { /* a standby judges too: it may lead next */
            s->verdicts += leads;
            check_site(s, control, i);
            site_found(s, i);
        }
        k->lost_before[i] = lost;
    }
    for (size_t i = 0; i < s->nnodes; i++) {
        int64_t rev;
        check_dead(s, control, i);
        if (leads && sim_peek_acked(k->c, s->nodes[i].name, &rev) &&
            rev != s->nodes[i].assigned_rev) {
            sim_fail(s, SIM_ASSIGNED,
                     "control takes assignment %" PRId64 " of %s for told, it has %" PRId64, rev,
                     s->nodes[i].name, s->nodes[i].assigned_rev);
        }
    }
    if (leads && s->ret_control == control) {
        check_return(s, control);
    }
}

/* The last beat is the one with the highest number: one that a later one overtook on its way, since
 * it waited in the channel, says nothing that still holds. */
void sim_check_told(struct sim *s, const struct sim_message *m)
{
    struct sim_told *t = &s->controls[m->control].told[m->node];

    if (m->seq <= t->seq) {
        return;
    }
    t->seq = m->seq;
    t->at_us = s->now_us;
    t->nheard = m->nheard;
    memcpy(t->heard, m->heard, m->nheard * sizeof(*m->heard));
}

void sim_check_revision(struct sim *s, size_t control, const struct sim_store_answer *a)
{
    struct sim_control *k = &s->controls[control];
    bool loaded = a->kind == CONTROL_EV_LOADED;

    if (s->ret_control == control) {
        s->ret_committed = s->ret_step != SIM_RET_NONE && (loaded || a->result == CONTROL_TXN_OK);
        s->ret_step = s->ret_committed ? s->ret_step : SIM_RET_NONE;
    }
    if (!loaded && a->result != CONTROL_TXN_OK) {
        return;
    }
    if (loaded ? a->revision < k->revision_seen : a->revision <= k->revision_seen) {
        sim_fail(s, SIM_REVISION, "revision %" PRId64 " comes after %" PRId64, a->revision,
                 k->revision_seen);
    }
    k->revision_seen = a->revision;
}

void sim_check_listed(struct sim *s, const struct sim_store_answer *a)
{
    for (int p = 0; p < SIM_PROJECTS; p++) {
        char key[64];
        int64_t found = 0;
        (void)snprintf(key, sizeof(key), PREFIX "projects/%s", sim_project_name(p));
        for (size_t i = 0; i < a->count; i++) {
            found = sk_str_is(a->records[i].key, key) ? a->records[i].mod_rev : found;
        }
        if (found < s->acked_rev[p] && s->project_gone_rev[p] < s->acked_rev[p]) {
            sim_fail(s, SIM_ACKED,
                     "project %s was applied at revision %" PRId64 ", now it is of %" PRId64,
                     sim_project_name(p), s->acked_rev[p], found);
        }
    }
}

/* ---- nodes ---- */

static void check_capacity(struct sim *s, const struct sim_node *n)
{
    if (n->used_cpus > n->cpus || n->used_memory > n->memory) {
        sim_fail(s, SIM_CAPACITY, "%s runs %.2f of %.2f cpus, %" PRId64 " of %" PRId64 " MiB",
                 n->name, (double)n->used_cpus / 1e9, (double)n->cpus / 1e9, n->used_memory >> 20,
                 n->memory >> 20);
    }
}

void sim_check_start(struct sim *s, struct sim_node *n, struct sim_proc *p, int64_t run)
{
    const struct sim_inst *inst = sim_inst_find(s, p->id);
    struct sim_work *w;

    if (p->there) {
        sim_fail(s, SIM_RUNS, "%.8s on %s is started while it runs", p->id, n->name);
    } else if (run <= p->run_max) {
        sim_fail(s, SIM_RUNS, "%.8s on %s has run %" PRId64 " after %" PRId64, p->id, n->name, run,
                 p->run_max);
    } else if (!inst) {
        sim_fail(s, SIM_BROKEN, "%.8s on %s was never on record", p->id, n->name);
    }
    if (s->rule[0] || !inst) {
        return;
    }
    p->cpus = inst->cpus;
    p->memory = inst->memory;
    p->work = inst->work;
    p->bad = inst->bad;
    w = &s->works[p->work];
    w->running++;
    if (inst->exclusive || p->epoch > 0) {
        sim_check_leased_start(s, n, p);
    }
    n->used_cpus += p->cpus;
    n->used_memory += p->memory;
    sim_say(s, "%s starts %s/%s.%" PRId64 " (%.8s, run %" PRId64 ")", n->name, w->project,
            w->service, w->replica, p->id, run);
    check_capacity(s, n);
}

void sim_check_gone(struct sim *s, struct sim_node *n, struct sim_proc *p)
{
    struct sim_work *w = &s->works[p->work];

    w->running--;
    n->used_cpus -= p->cpus;
    n->used_memory -= p->memory;
    sim_say(s, "%s: %s/%s.%" PRId64 " (%.8s) has ended", n->name, w->project, w->service,
            w->replica, p->id);
}

void sim_check_stop(struct sim *s, struct sim_node *n, const char *id, bool unfit, bool replaced)
{
    const struct sim_inst *inst = sim_inst_find(s, id);

    sim_say(s, "%s stops %.8s%s", n->name, id, unfit ? ", whose check fails" : "");
    if (inst && !inst->gone && !inst->stopping && !unfit && !replaced) {
        sim_fail(s, SIM_KEPT, "%s stops %.8s, which is to run there", n->name, id);
    }
}
