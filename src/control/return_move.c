/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "control/return.h"

/* A return that is under way (return.c): which rows leave the overlay, and which come back. */
#define BATCH_MIN 4
#define BATCH_MAX 50

enum moved { MOVED_DONE, MOVED_UNDER_WAY, MOVED_FAILED };

static enum moved look_at(const struct control *c, const struct ctl_moving *m)
{
    const struct ctl_svc *s = ctl_svc(c, sk_str(m->project), sk_str(m->service));
    size_t copies = 0;

    if (s == NULL || s->decl == NULL || (size_t)m->replica >= s->nplace) {
        return MOVED_DONE; /* no longer declared */
    }
    const struct ctl_inst *target = ctl_target(s, m->replica);
    for (size_t i = 0; i < s->ninsts; i++) {
        copies += s->insts[i]->replica == m->replica;
    }
    bool works = target != NULL && (ctl_inst_healthy(target) || ctl_inst_completed(target));
    if (works && copies == 1) {
        return MOVED_DONE;
    }
    bool late = c->now_ms - c->ret.progress_ms >= CONTROL_HEALTH_GATE_MS ||
                (target != NULL && target->restarts >= CONTROL_GATE_RESTARTS);
    return !works && late ? MOVED_FAILED : MOVED_UNDER_WAY;
}

/* One turn of a return that is under way: which rows leave the overlay, which come back. */
struct turn {
    bool *gone;        /* by row of the overlay */
    enum moved *moved; /* by c->ret.moving */
    size_t begun, under_way, failed, done;
    size_t nblocked; /* rows that find no room, or whose node is not up */
};

static struct ctl_node *planned_node(const struct control *c, const struct ctl_overlay *o)
{
    const struct plan *plan = c->plan->plan;
    for (size_t i = 0; i < plan->nmoves; i++) {
        const struct plan_move *m = &plan->moves[i];
        if (m->replica == o->replica && sk_str_is(m->service, o->service) &&
            sk_str_is(m->project, o->project)) {
            return ctl_node(c, m->to);
        }
    }
    return NULL;
}

static size_t batch_size(const struct ctl_return *r)
{
    return (size_t)ctl_i64_min(BATCH_MAX, ctl_i64_max(BATCH_MIN, (r->total + 9) / 10));
}

/* A quarter of a service at a time, as in a rollout. */
static bool service_may(const struct control *c, const struct turn *turn, const struct ctl_svc *s)
{
    size_t now = 0;
    for (size_t i = 0; i < c->ret.nmoving; i++) {
        now += turn->moved[i] != MOVED_DONE && strcmp(c->ret.moving[i].service, s->name) == 0 &&
               strcmp(c->ret.moving[i].project, s->project) == 0;
    }
    for (size_t i = 0; i < c->noverlay; i++) {
        now += turn->gone[i] && strcmp(c->overlay[i].service, s->name) == 0 &&
               strcmp(c->overlay[i].project, s->project) == 0;
    }
    return now < (s->nplace + 3) / 4;
}

static void choose(struct control *c, struct turn *turn)
{
    const struct ctl_return *r = &c->ret;
    size_t room = batch_size(r);

    ctl_count_used(c);
    for (size_t i = 0; i < c->noverlay; i++) {
        const struct ctl_overlay *o = &c->overlay[i];
        struct ctl_svc *s = ctl_svc(c, sk_str(o->project), sk_str(o->service));
        struct ctl_node *to = planned_node(c, o);
        if (s == NULL || s->decl == NULL || (size_t)o->replica >= s->nplace || to == NULL ||
            strcmp(to->name, o->node) == 0) {
            turn->gone[i] = true; /* there is nothing to move */
            continue;
        }
        if (turn->under_way + turn->begun >= room || !service_may(c, turn, s) ||
            (r->left >= 0 && turn->begun >= (size_t)r->left)) {
            continue;
        }
        const struct service *d = s->decl;
        if (!ctl_node_up(to) || !ctl_fits(to, d->cpus_nano, d->memory_bytes, d->disk_bytes)) {
            turn->nblocked++;
            continue;
        }
        to->used_cpus += d->cpus_nano;
        to->used_memory += d->memory_bytes;
        to->used_disk += d->disk_bytes;
        turn->gone[i] = true;
        turn->begun++;
    }
}

static void moving_member(struct sk_jw *w, const char *project, const char *service,
                          int64_t replica, const char *from)
{
    char key[300];
    (void)snprintf(key, sizeof(key), "%s/%s.%lld", project, service, (long long)replica);
    sk_jw_kcstr(w, key, from);
}

/* Where each row of a turn goes: into `moving`, out of it, or back. */
static size_t put_rows(struct control *c, struct ctl_txn *t, const struct turn *turn)
{
    struct sk_buf out = SK_BUF_INIT;
    struct sk_jw w;
    size_t rows = 0;

    sk_jw_init(&w, &out);
    sk_jw_arr(&w);
    for (size_t i = 0; i < c->noverlay; i++) {
        const struct ctl_overlay *o = &c->overlay[i];
        if (!turn->gone[i]) {
            ctl_overlay_row(c, &w, sk_str(o->project), sk_str(o->service), o->replica,
                            sk_str(o->node));
            rows++;
        }
    }
    for (size_t i = 0; i < c->ret.nmoving; i++) {
        const struct ctl_moving *m = &c->ret.moving[i];
        const struct ctl_node *n = ctl_node(c, sk_str(m->from));
        if (turn->moved[i] == MOVED_FAILED && n != NULL && ctl_node_up(n)) {
            ctl_overlay_row(c, &w, sk_str(m->project), sk_str(m->service), m->replica,
                            sk_str(m->from));
            rows++;
        }
    }
    sk_jw_arr_end(&w);
    if (rows > 0) {
        ctl_txn_doc(c, t, "overlay", sk_buf_str(&out), sk_str(c->ret.begun_by));
    } else {
        ctl_overlay_remove(c, t);
    }
    sk_buf_release(&out);
    return rows;
}

static void put_moving(struct control *c, struct sk_jw *w, const struct turn *turn)
{
    sk_jw_key(w, "moving");
    sk_jw_obj(w);
    for (size_t i = 0; i < c->ret.nmoving; i++) {
        const struct ctl_moving *m = &c->ret.moving[i];
        if (turn->moved[i] == MOVED_UNDER_WAY) {
            moving_member(w, m->project, m->service, m->replica, m->from);
        }
    }
    for (size_t i = 0; i < c->noverlay; i++) {
        const struct ctl_overlay *o = &c->overlay[i];
        const struct ctl_node *to = turn->gone[i] ? planned_node(c, o) : NULL;
        if (to != NULL && strcmp(to->name, o->node) != 0) {
            moving_member(w, o->project, o->service, o->replica, o->node);
        }
    }
    sk_jw_obj_end(w);
}

static void patch_hold(struct control *c, struct sk_jw *w, struct sk_str who, const char *why)
{
    sk_jw_kstr(w, "held_by", who);
    sk_jw_kint(w, "held_wall_ms", c->wall_ms);
    if (why != NULL) {
        sk_jw_kcstr(w, "held_why", why);
    } else {
        sk_jw_knull(w, "held_why");
    }
}

/* It ends here, the rest waits for a person: some copies fail, or it may not go on. */
static void stop_here(struct control *c, struct ctl_txn *t, struct sk_jw *w,
                      const struct turn *turn, size_t rows)
{
    const struct ctl_return *r = &c->ret;
    const char *why = turn->failed > 0 ? "copies did not get healthy in their new place"
                      : r->left == 0   ? "as many moves as were allowed are made"
                                       : "there is no room to start a copy beside what runs";
    bool person = turn->failed == 0 && r->left == 0;

    return_patch_begun_ends(w);
    patch_hold(c, w, person ? sk_str(r->begun_by) : SK_STR("control"), why);
    return_event(c, t, person ? "return_held" : "return_stopped",
                 sk_arena_printf(t->arena, "%zu replicas stay where they run: %s (skerry return)",
                                 rows, why));
}

static void finish(struct control *c, struct ctl_txn *t, struct sk_jw *w)
{
    return_patch_begun_ends(w);
    sk_jw_kint(w, "done_wall_ms", c->wall_ms);
    sk_jw_kint(w, "done_moves", c->ret.total);
    return_event(c, t, "return_done",
                 sk_arena_printf(t->arena, "%lld replica%s moved back", (long long)c->ret.total,
                                 c->ret.total == 1 ? "" : "s"));
}

static void commit_turn(struct control *c, const struct turn *turn, bool stuck)
{
    const struct ctl_return *r = &c->ret;
    struct ctl_txn *t = ctl_txn_new(NULL);
    struct sk_buf out = SK_BUF_INIT;
    struct sk_jw w;

    ctl_notes_flush(c, t);
    size_t rows = put_rows(c, t, turn);
    bool waits = turn->under_way + turn->begun > 0;
    return_patch(&w, &out);
    if (turn->failed > 0 || stuck || (!waits && rows > 0 && r->left == 0)) {
        stop_here(c, t, &w, turn, rows);
    } else if (!waits && rows == 0) {
        finish(c, t, &w);
    } else {
        if (r->left >= 0) {
            sk_jw_kint(&w, "left", r->left - (int64_t)turn->begun);
        }
        put_moving(c, &w, turn);
    }
    return_patch_end(c, t, &w, &out);
    ctl_txn_send(c, t);
}

/* What is under way goes on: done ones leave, the next begin. */
void return_advance(struct control *c)
{
    struct ctl_return *r = &c->ret;
    struct turn turn = {
        .gone = sk_xcalloc(c->noverlay + 1, sizeof(bool)),
        .moved = sk_xcalloc(r->nmoving + 1, sizeof(enum moved)),
    };

    r->next_ms = c->now_ms + CTL_ROUTED_HEALTHY_MS;
    for (size_t i = 0; i < r->nmoving; i++) {
        turn.moved[i] = look_at(c, &r->moving[i]);
        turn.done += turn.moved[i] == MOVED_DONE;
        turn.under_way += turn.moved[i] == MOVED_UNDER_WAY;
        turn.failed += turn.moved[i] == MOVED_FAILED;
    }
    if (turn.failed == 0 && r->held_by == NULL) {
        choose(c, &turn);
    }
    bool stuck = turn.nblocked > 0 && turn.under_way + turn.begun == 0 &&
                 c->now_ms - r->progress_ms >= CONTROL_HEALTH_GATE_MS;
    bool ends = turn.under_way + turn.begun == 0 && r->held_by == NULL &&
                (c->noverlay == 0 || r->left == 0);
    for (size_t i = 0; i < c->noverlay; i++) {
        ends = ends || turn.gone[i];
    }
    if (turn.done > 0 || turn.failed > 0 || stuck || ends) {
        commit_turn(c, &turn, stuck);
    }
    free(turn.gone);
    free(turn.moved);
}
