/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/mover.h"

#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "daemon/host.h"
#include "daemon/move.h"
#include "daemon/seat.h"
#include "daemon/upkeep.h"
#include "sys/queue.h"

#define JOBS_MAX 8

struct mover {
    char dir[450];
    char node[64];
    struct state *state;
    struct host *host;
    struct sys_worker *worker; /* of what concerns etcd's members */
    bool ending;
};

struct move_job {
    struct sys_job job;
    struct mover *mover;
    struct sk_arena *arena;
    struct move move;
    const char *not_yet;
    enum control_move_result result;
    struct state_form form;
    struct store *fresh;
    struct sk_err err;
};

struct etcd_job {
    struct sys_job job;
    struct mover *mover;
    struct state_form form;
    enum control_etcd_kind kind;
    char url[STATE_URL_SIZE];
    int64_t keep;
    int result;
    struct sk_err err;
};

struct aside_job {
    struct sys_job job;
    char dir[450];
    char id[33];
};

/* ---- a move ---- */

static void move_job_run(struct sys_job *base)
{
    struct move_job *job = (struct move_job *)base;
    struct store *from = NULL;

    job->result = CONTROL_MOVE_FAILED;
    if (job->not_yet) {
        (void)sk_err_set(&job->err, SK_ERR_UNAVAILABLE, "%s", job->not_yet);
    } else if (state_store(job->mover->state, &from, &job->err) == 0) {
        job->result = move_run(&job->move, from, &job->form, &job->fresh, &job->err);
    }
}

static void aside_run(struct sys_job *base)
{
    struct aside_job *job = (struct aside_job *)base;
    move_put_aside(job->dir, sk_str(job->id));
}

static void aside_done(struct sys_job *base)
{
    free(base);
}

/* The worker closes the store that was before, then its file goes out of the way. */
static void take_over(struct mover *mover, struct move_job *job)
{
    struct aside_job *aside;

    state_switch(mover->state, &job->form, job->fresh);
    if (!job->move.to_etcd) {
        return;
    }
    aside = sk_xcalloc(1, sizeof(*aside));
    aside->job = (struct sys_job){aside_run, aside_done};
    (void)snprintf(aside->dir, sizeof(aside->dir), "%s", mover->dir);
    (void)snprintf(aside->id, sizeof(aside->id), "%.*s", SK_PRI(job->move.id));
    SK_ASSERT(state_submit(mover->state, &aside->job));
}

static void move_job_done(struct sys_job *base)
{
    struct move_job *job = (struct move_job *)base;
    struct mover *mover = job->mover;
    struct control_event ev = {.kind = CONTROL_EV_MOVED};

    if (job->result == CONTROL_MOVE_DONE && mover->ending) {
        store_close(job->fresh); /* store.json is written: the next start opens it */
    } else if (job->result == CONTROL_MOVE_DONE) {
        sk_log(SK_LOG_INFO, "the state has moved", "to=%s", job->move.to_etcd ? "etcd" : "sqlite");
        take_over(mover, job);
    } else if (job->result == CONTROL_MOVE_FAILED) {
        sk_log_err(SK_LOG_WARN, "state not moved", &job->err);
    }
    ev.u.moved.id = job->move.id;
    ev.u.moved.result = job->result;
    ev.u.moved.error = sk_str(job->err.msg);
    host_step(mover->host, &ev);
    sk_arena_free(job->arena);
    free(job);
}

void mover_move(struct mover *mover, const struct control_command *cmd, const char *not_yet)
{
    struct move_job *job = sk_xcalloc(1, sizeof(*job));
    struct sk_arena *arena = sk_arena_new();
    struct sk_str *endpoints = SK_ARENA_ARRAY(arena, struct sk_str, cmd->u.move.nendpoints + 1);

    job->job = (struct sys_job){move_job_run, move_job_done};
    job->mover = mover;
    job->arena = arena;
    job->not_yet = not_yet;
    for (size_t i = 0; i < cmd->u.move.nendpoints; i++) {
        endpoints[i] = sk_arena_str(arena, cmd->u.move.endpoints[i]);
    }
    job->move = (struct move){.dir = mover->dir,
                              .node = mover->node,
                              .id = sk_arena_str(arena, cmd->u.move.id),
                              .to_etcd = cmd->u.move.to_etcd,
                              .give_up = cmd->u.move.give_up,
                              .record = sk_arena_str(arena, cmd->u.move.record),
                              .mark = sk_arena_str(arena, cmd->u.move.mark),
                              .attempt = sk_arena_str(arena, cmd->u.move.attempt),
                              .endpoints = endpoints,
                              .nendpoints = cmd->u.move.nendpoints};
    SK_ASSERT(state_submit(mover->state, &job->job)); /* control has one under way at most */
}

/* ---- members ---- */

static void etcd_job_run(struct sys_job *base)
{
    struct etcd_job *job = (struct etcd_job *)base;
    const char *dir = job->mover->dir;

    job->result = job->kind > CONTROL_ETCD_REMOVE
                      ? upkeep_run(dir, &job->form, job->kind, job->url, job->keep, &job->err)
                      : move_member(dir, &job->form, job->kind, sk_str(job->url), &job->err);
}

static void etcd_job_done(struct sys_job *base)
{
    struct etcd_job *job = (struct etcd_job *)base;
    struct control_event ev = {.kind = CONTROL_EV_ETCD_DONE};

    if (job->kind > CONTROL_ETCD_REMOVE && job->result < 0) {
        sk_log_err(SK_LOG_WARN, "upkeep of etcd", &job->err);
    } else if (job->kind > CONTROL_ETCD_REMOVE) {
        sk_log(SK_LOG_INFO, "upkeep of etcd", "done=%s member=%s", upkeep_name(job->kind),
               job->url);
    }
    ev.u.etcd_done.kind = job->kind;
    ev.u.etcd_done.url = sk_str(job->url);
    ev.u.etcd_done.ok = job->result == 0;
    ev.u.etcd_done.error = sk_str(job->err.msg);
    host_step(job->mover->host, &ev);
    free(job);
}

void mover_etcd(struct mover *mover, const struct control_command *cmd)
{
    struct etcd_job *job = sk_xcalloc(1, sizeof(*job));

    job->job = (struct sys_job){etcd_job_run, etcd_job_done};
    job->mover = mover;
    job->form = *state_form(mover->state);
    job->kind = cmd->u.etcd.kind;
    job->keep = cmd->u.etcd.keep;
    (void)snprintf(job->url, sizeof(job->url), "%.*s", SK_PRI(cmd->u.etcd.url));
    SK_ASSERT(sys_worker_submit(mover->worker, &job->job)); /* one at a time */
}

struct try_job {
    struct sys_job job;
    char dir[450];
    struct state_form form;
    mover_tried_fn *done;
    void *ctx;
    struct sk_err err;
};

static void try_run(struct sys_job *base)
{
    struct try_job *job = (struct try_job *)base;

    if (move_try(job->dir, &job->form, &job->err) < 0) {
        seat_external_drop(job->dir);
    }
}

static void try_done(struct sys_job *base)
{
    struct try_job *job = (struct try_job *)base;

    job->done(job->ctx, &job->err);
    free(job);
}

int mover_try_etcd(struct mover *mover, const struct sk_str *endpoints, size_t count,
                   const struct sk_str pems[3], mover_tried_fn *done, void *ctx, struct sk_err *err)
{
    struct try_job *job = sk_xcalloc(1, sizeof(*job));
    int rc = seat_external_keep(mover->dir, pems, err);

    job->job = (struct sys_job){try_run, try_done};
    job->form.etcd = true;
    for (size_t i = 0; i < count && i < STORE_ETCD_ENDPOINTS_MAX; i++) {
        (void)snprintf(job->form.endpoints[job->form.nendpoints++], STATE_URL_SIZE, "%.*s",
                       SK_PRI(endpoints[i]));
    }
    (void)snprintf(job->form.root, sizeof(job->form.root), "/skerry");
    (void)snprintf(job->form.ca, sizeof(job->form.ca), "external/ca.pem");
    (void)snprintf(job->form.cert, sizeof(job->form.cert), "external/member.pem");
    (void)snprintf(job->form.key, sizeof(job->form.key), "external/member.key");
    (void)snprintf(job->dir, sizeof(job->dir), "%s", mover->dir);
    job->done = done;
    job->ctx = ctx;
    if (rc == 0 && !sys_worker_submit(mover->worker, &job->job)) {
        rc = sk_err_set(err, SK_ERR_UNAVAILABLE, "too much is under way; try again");
    }
    if (rc < 0) {
        free(job);
    }
    return rc;
}

/* ---- life ---- */

struct mover *mover_new(uv_loop_t *loop, const char *dir, struct sk_str node, struct state *state,
                        struct host *host)
{
    struct mover *mover = sk_xcalloc(1, sizeof(*mover));

    (void)snprintf(mover->dir, sizeof(mover->dir), "%s", dir);
    (void)snprintf(mover->node, sizeof(mover->node), "%.*s", SK_PRI(node));
    mover->state = state;
    mover->host = host;
    mover->worker = sys_worker_new(loop, "members", JOBS_MAX);
    return mover;
}

void mover_end(struct mover *mover)
{
    mover->ending = true;
    sys_worker_free(mover->worker);
    mover->worker = NULL;
}

void mover_free(struct mover *mover)
{
    free(mover);
}
