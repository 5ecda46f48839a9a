/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/host.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/json.h"
#include "base/log.h"
#include "base/mem.h"
#include "daemon/health.h"
#include "daemon/mover.h"
#include "store/store.h"
#include "sys/clock.h"
#include "sys/table.h"

#define CALLS_MAX 256
#define JOBS_MAX 64
#define STREAMS_MAX 64
#define KEY_PREFIX "/skerry/v1/"
#define LOAD_RETRY_MS 500

struct pending {
    uint64_t request;
    struct api_call *call;
    UT_hash_handle hh;
};

struct log_stream {
    int64_t number;
    char node[64];
    struct api_feed *feed;
    UT_hash_handle hh;
};

struct feed_list {
    struct api_feed **items;
    size_t count, cap;
};

struct host {
    uv_loop_t *loop;
    struct control *control;
    struct state *state;
    struct mover *mover;
    struct sys_worker *plan_worker;
    struct sys_queue *calls;
    uv_timer_t timer;
    struct host_hooks hooks;
    struct keys *keys;
    struct pending *pending;
    struct log_stream *streams;
    struct feed_list feeds;
    uint64_t next_request;
    int64_t next_stream;
    char own_node[64];
    struct health *health;
    uid_t own_uid;
    struct control_commands commands;
    int64_t load_due_ms; /* a reading that failed is tried again then; 0: none did */
    bool load_failing;   /* and that was said */
    bool txn_failing;    /* the last transactions did, and that was said */
    bool committing;     /* a transaction is under way */
    bool paused;
    struct store_job *held; /* while paused: the transaction that waits */
    void (*on_paused)(void *ctx);
    void *paused_ctx;
    bool stepping;
    bool ending; /* what is still wanted of the workers is not begun: nobody was promised it */
};

struct store_job {
    struct sys_job job;
    struct host *host;
    struct sk_arena *arena;
    uint64_t request;
    struct store_txn txn; /* in the arena */
    int result;
    struct store_revision revision;
    struct store_list list; /* of a load */
    struct sk_err err;
};

struct plan_job {
    struct sys_job job;
    struct host *host;
    const struct control_plan_job *work;
    struct plan *plan;
    bool verified;
    struct sk_buf findings;
    int result;
    struct sk_err err;
};

static void arm_timer(struct host *host);

void host_set_keys(struct host *host, struct keys *keys)
{
    host->keys = keys;
}

struct keys *host_keys(struct host *host)
{
    return host->keys;
}

struct control *host_control(struct host *host)
{
    return host->control;
}

struct sys_queue *host_calls(struct host *host)
{
    return host->calls;
}

uint64_t host_next_request(struct host *host)
{
    return ++host->next_request;
}

/* ---- the store's worker ---- */

static void store_job_free(struct store_job *job)
{
    store_list_release(&job->list);
    sk_arena_free(job->arena);
    free(job);
}

static void txn_run(struct sys_job *base)
{
    struct store_job *job = (struct store_job *)base;
    struct store *store;

    job->result = state_store(job->host->state, &store, &job->err);
    if (job->result == 0) {
        job->result = store_txn(store, &job->txn, &job->revision, &job->err);
    }
}

static void tell_paused(struct host *host)
{
    void (*paused)(void *ctx) = host->on_paused;

    if (paused != NULL && !host->committing) {
        host->on_paused = NULL;
        paused(host->paused_ctx);
    }
}

/* Once for a time without: a control node that is cut off tries on. */
static void say_written(struct host *host, enum control_txn_result result, const struct sk_err *err)
{
    if (result == CONTROL_TXN_FAILED && !host->txn_failing) {
        sk_log_err(SK_LOG_ERROR, "state not written", err);
    } else if (result == CONTROL_TXN_OK && host->txn_failing) {
        sk_log(SK_LOG_INFO, "state written again", "%s", "");
    }
    host->txn_failing =
        result == CONTROL_TXN_FAILED || (host->txn_failing && result == CONTROL_TXN_CONFLICT);
}

static void txn_done(struct sys_job *base)
{
    struct store_job *job = (struct store_job *)base;
    struct control_event ev = {.kind = CONTROL_EV_TXN_DONE};

    ev.u.txn_done.request = job->request;
    ev.u.txn_done.result = job->result == 0                 ? CONTROL_TXN_OK
                           : job->result == SK_ERR_CONFLICT ? CONTROL_TXN_CONFLICT
                                                            : CONTROL_TXN_FAILED;
    ev.u.txn_done.revision = job->revision.number;
    ev.u.txn_done.error = sk_str(job->err.msg);
    say_written(job->host, ev.u.txn_done.result, &job->err);
    job->host->committing = false;
    host_step(job->host, &ev);
    tell_paused(job->host);
    store_job_free(job);
}

/* control has one under way at most, so the queue cannot be full */
static void commit(struct host *host, struct store_job *job)
{
    host->committing = true;
    SK_ASSERT(state_submit(host->state, &job->job));
}

static void submit_txn(struct host *host, const struct control_txn *txn)
{
    struct store_job *job = sk_xcalloc(1, sizeof(*job));
    struct store_op *ops;

    job->job = (struct sys_job){txn_run, txn_done};
    job->host = host;
    job->arena = sk_arena_new();
    job->request = txn->request;
    ops = SK_ARENA_ARRAY(job->arena, struct store_op, txn->nops);
    for (size_t i = 0; i < txn->nops; i++) {
        ops[i].kind = txn->ops[i].remove ? STORE_DELETE : STORE_PUT;
        ops[i].key = sk_arena_str(job->arena, txn->ops[i].key);
        ops[i].value = sk_arena_str(job->arena, txn->ops[i].value);
    }
    job->txn.expect_id = txn->expect_id.len ? sk_arena_str(job->arena, txn->expect_id).ptr : NULL;
    job->txn.expect_number = txn->expect_number;
    if (txn->fence_key.len) {
        struct store_compare *fence = SK_ARENA_ARRAY(job->arena, struct store_compare, 1);
        fence->key = sk_arena_str(job->arena, txn->fence_key);
        fence->mod_rev = txn->fence_rev;
        job->txn.compares = fence;
        job->txn.ncompares = 1;
    }
    job->txn.ops = ops;
    job->txn.nops = txn->nops;
    if (host->paused) {
        SK_ASSERT(host->held == NULL);
        host->held = job;
    } else {
        commit(host, job);
    }
}

static void load_run(struct sys_job *base)
{
    struct store_job *job = (struct store_job *)base;
    struct store *store;

    job->result = state_store(job->host->state, &store, &job->err);
    if (job->result == 0) {
        job->result = store_list(store, SK_STR(KEY_PREFIX), 0, &job->list, &job->err);
    }
    if (job->result == 0 && job->list.count == 0) {
        job->result = sk_err_set(&job->err, SK_ERR_UNAVAILABLE, "the state is still empty");
    }
}

/* The members of etcd may be away for a while, and come back; a file of this machine does not. */
static void load_failed(struct host *host, const struct sk_err *err)
{
    if (!state_form(host->state)->etcd || err->code == SK_ERR_CORRUPT) {
        host->hooks.failed(host->hooks.ctx, err);
        return;
    }
    if (!host->load_failing) {
        host->load_failing = true;
        sk_log_err(SK_LOG_WARN, "state not read, trying on", err);
    }
    host->load_due_ms = sys_now_ms() + LOAD_RETRY_MS;
    arm_timer(host);
}

static void load_done(struct sys_job *base)
{
    struct store_job *job = (struct store_job *)base;
    struct host *host = job->host;

    if (job->result < 0) {
        load_failed(host, &job->err);
    } else {
        struct control_event ev = {.kind = CONTROL_EV_LOADED};
        struct control_record *records =
            SK_ARENA_ARRAY(job->arena, struct control_record, job->list.count);
        for (size_t i = 0; i < job->list.count; i++) {
            records[i].key = job->list.records[i].key;
            records[i].value = job->list.records[i].value;
            records[i].mod_rev = job->list.records[i].mod_rev;
        }
        ev.u.loaded.records = records;
        ev.u.loaded.count = job->list.count;
        ev.u.loaded.store_id = sk_str(job->list.revision.id);
        ev.u.loaded.revision = job->list.revision.number;
        if (host->load_failing) {
            host->load_failing = false;
            sk_log(SK_LOG_INFO, "state read again", "%s", "");
        }
        host_step(host, &ev);
        if (!host->ending) {
            state_follow(host->state, &job->list.revision);
        }
    }
    store_job_free(job);
}

static void submit_load(struct host *host)
{
    struct store_job *job = sk_xcalloc(1, sizeof(*job));

    job->job = (struct sys_job){load_run, load_done};
    job->host = host;
    job->arena = sk_arena_new();
    SK_ASSERT(state_submit(host->state, &job->job));
}

/* ---- changes that others commit ---- */

static void on_changed(void *ctx, const struct store_changes *changes, bool lost)
{
    struct host *host = ctx;
    struct sk_arena *arena = sk_arena_new();
    struct control_change *list = SK_ARENA_ARRAY(arena, struct control_change, changes->count + 1);
    struct control_event ev = {.kind = CONTROL_EV_CHANGED};

    for (size_t i = 0; i < changes->count && !lost; i++) {
        const struct store_record *r = &changes->changes[i].record;
        list[i].removed = changes->changes[i].kind == STORE_DELETED;
        list[i].record = (struct control_record){r->key, r->value, r->mod_rev};
    }
    ev.u.changed.changes = list;
    ev.u.changed.count = lost ? 0 : changes->count;
    ev.u.changed.store_id = sk_str(changes->revision.id);
    ev.u.changed.revision = changes->revision.number;
    ev.u.changed.lost = lost;
    host_step(host, &ev);
    sk_arena_free(arena);
}

/* ---- another store ---- */

void host_pause(struct host *host, void (*paused)(void *ctx), void *ctx)
{
    host->paused = true;
    host->on_paused = paused;
    host->paused_ctx = ctx;
    tell_paused(host);
}

void host_resume(struct host *host)
{
    struct store_job *held = host->held;

    host->paused = false;
    host->on_paused = NULL;
    host->held = NULL;
    if (held != NULL) {
        commit(host, held);
    }
}

void host_switch_store(struct host *host, const struct state_form *form, struct store *fresh)
{
    bool held = host->held != NULL;

    SK_ASSERT(host->paused && !host->committing);
    state_switch(host->state, form, fresh);
    host_resume(host); /* it names the store before: it fails, and control reads the new one */
    if (!held) {
        submit_load(host);
    }
}

const struct state_form *host_form(const struct host *host)
{
    return state_form(host->state);
}

/* ---- the planner's worker ---- */

static void plan_run(struct sys_job *base)
{
    struct plan_job *job = (struct plan_job *)base;
    job->result = control_plan_run(job->work, 1, sys_now_us, &job->plan, &job->verified,
                                   &job->findings, &job->err);
}

static void plan_done(struct sys_job *base)
{
    struct plan_job *job = (struct plan_job *)base;
    struct control_event ev = {.kind = CONTROL_EV_PLAN_DONE};

    ev.u.plan_done.request = job->work->request;
    ev.u.plan_done.plan = job->plan;
    ev.u.plan_done.verified = job->verified;
    ev.u.plan_done.findings = sk_buf_str(&job->findings);
    ev.u.plan_done.error = job->result < 0 ? &job->err : NULL;
    host_step(job->host, &ev);
    sk_buf_release(&job->findings);
    free(job);
}

static void submit_plan(struct host *host, const struct control_plan_job *work)
{
    struct plan_job *job = sk_xcalloc(1, sizeof(*job));

    job->job = (struct sys_job){plan_run, plan_done};
    job->host = host;
    job->work = work;
    SK_ASSERT(sys_worker_submit(host->plan_worker, &job->job));
}

/* ---- answers, feeds ---- */

void host_await(struct host *host, uint64_t request, struct api_call *call)
{
    struct pending *p = sk_xcalloc(1, sizeof(*p));

    p->request = request;
    p->call = call;
    HASH_ADD(hh, host->pending, request, sizeof(p->request), p);
}

/* Another one leads, or nobody: what only a leader can do is not begun. */
static bool is_elsewhere(const struct host *host, struct api_call *call)
{
    struct sk_str leader = control_leader(host->control);
    struct sk_str address;

    if (!(call->may_forward || call->is_peer) || control_leads(host->control)) {
        return false;
    }
    call->elsewhere = true;
    if (!sk_str_is(leader, host->own_node) &&
        control_node_address(host->control, leader, &address)) {
        call->leader = sk_arena_str(call->arena, address);
    }
    return true;
}

static void answer(struct host *host, uint64_t request, const struct sk_err *err,
                   struct sk_str json, bool elsewhere)
{
    struct pending *p = NULL;

    HASH_FIND(hh, host->pending, &request, sizeof(request), p);
    if (!p) {
        host->hooks.answer(host->hooks.ctx, request, err, json);
        return;
    }
    HASH_DEL(host->pending, p);
    p->call->err = *err;
    if (elsewhere) { /* who led when it was asked does not any more: it is passed on, or refused */
        (void)is_elsewhere(host, p->call);
    }
    sk_buf_addstr(&p->call->answer, json);
    api_call_done(p->call);
    api_call_unref(p->call);
    free(p);
}

struct status_wait {
    struct host *host;
    uint64_t request;
};

static void on_health(void *ctx, const struct control_member_health *rows, size_t count)
{
    struct status_wait *wait = ctx;
    struct sk_buf json = SK_BUF_INIT;
    struct pending *p = NULL;

    HASH_FIND(hh, wait->host->pending, &wait->request, sizeof(wait->request), p);
    if (p != NULL) { /* else the daemon is stopping, and it was told so */
        struct control_keys keys = {0};
        (void)keys_split(wait->host->keys, &keys.shares, &keys.needed); /* not split: none */
        control_control_json(wait->host->control, rows, count, &keys, &json);
        answer(wait->host, wait->request, &(struct sk_err){0}, sk_buf_str(&json), false);
    }
    sk_buf_release(&json);
    free(wait);
}

void host_control_status(struct host *host, struct api_call *call)
{
    struct status_wait *wait = sk_xcalloc(1, sizeof(*wait));
    struct control_member members[CONTROL_MEMBERS_MAX];
    size_t count = control_members(host->control, members);

    *wait = (struct status_wait){host, host_next_request(host)};
    call->request.id = wait->request;
    host_await(host, wait->request, call);
    health_ask(host->health, state_form(host->state), members, count, false, on_health, wait);
}

static void on_etcd_seen(void *ctx, const struct control_member_health *rows, size_t count)
{
    struct host *host = ctx;
    struct control_event ev = {.kind = CONTROL_EV_ETCD_SEEN};

    if (host->ending || host->stepping) {
        return; /* nothing could be asked: control asks again */
    }
    ev.u.etcd_seen.rows = rows;
    ev.u.etcd_seen.count = count;
    host_step(host, &ev);
}

static void look_at_etcd(struct host *host)
{
    struct control_member members[CONTROL_MEMBERS_MAX];
    size_t count = control_members(host->control, members);

    health_ask(host->health, state_form(host->state), members, count, true, on_etcd_seen, host);
}

struct grow_wait {
    struct host *host;
    uint64_t request;
};

static void on_tried(void *ctx, const struct sk_err *err)
{
    struct grow_wait *wait = ctx;
    struct host *host = wait->host;
    struct pending *p = NULL;

    HASH_FIND(hh, host->pending, &wait->request, sizeof(wait->request), p);
    if (p != NULL && err->code != 0) {
        answer(host, wait->request, err, SK_STR(""), false);
    } else if (p != NULL) { /* else the daemon is stopping, and it was told so */
        struct control_event ev = {.kind = CONTROL_EV_REQUEST, .u.request = p->call->request};
        host_step(host, &ev);
    }
    free(wait);
}

void host_grow_to(struct host *host, struct api_call *call)
{
    const struct control_request *req = &call->request;
    struct grow_wait *wait = sk_xcalloc(1, sizeof(*wait));

    *wait = (struct grow_wait){host, host_next_request(host)};
    if (mover_try_etcd(host->mover, req->u.seats.endpoints, req->u.seats.nendpoints, call->pems,
                       on_tried, wait, &call->err) < 0) {
        free(wait);
        return;
    }
    call->request.id = wait->request;
    call->request.who = call->who;
    host_await(host, wait->request, call);
}

/* Readers that left; with no event for long, nothing else would notice. */
static void sweep_feeds(struct host *host)
{
    size_t kept = 0;

    for (size_t i = 0; i < host->feeds.count; i++) {
        if (api_feed_gone(host->feeds.items[i])) {
            api_feed_unref(host->feeds.items[i]);
        } else {
            host->feeds.items[kept++] = host->feeds.items[i];
        }
    }
    host->feeds.count = kept;
}

void host_add_feed(struct host *host, struct api_feed *feed)
{
    sweep_feeds(host);
    SK_GROW(host->feeds.items, host->feeds.count, host->feeds.cap);
    host->feeds.items[host->feeds.count++] = feed;
    api_feed_ref(feed);
}

static void publish(struct host *host, int64_t seq, struct sk_str json)
{
    struct sk_buf line = SK_BUF_INIT;
    size_t kept = 0;

    sk_buf_printf(&line, "id: %" PRId64 "\ndata: ", seq);
    sk_buf_addstr(&line, json);
    sk_buf_adds(&line, "\n\n");
    for (size_t i = 0; i < host->feeds.count; i++) {
        struct api_feed *feed = host->feeds.items[i];
        if (api_feed_push(feed, sk_buf_str(&line))) {
            host->feeds.items[kept++] = feed;
        } else {
            api_feed_unref(feed);
        }
    }
    host->feeds.count = kept;
    sk_buf_release(&line);
}

static void stream_end(struct host *host, struct log_stream *stream)
{
    HASH_DEL(host->streams, stream);
    api_feed_end(stream->feed);
    api_feed_unref(stream->feed);
    free(stream);
}

/* A reader that left is noticed here, at the next tick at the latest. */
static void sweep_streams(struct host *host)
{
    struct log_stream *stream, *next;

    HASH_ITER (hh, host->streams, stream, next) {
        if (api_feed_gone(stream->feed)) {
            struct sk_buf frame = SK_BUF_INIT;
            sk_buf_printf(&frame, "{\"v\":1,\"type\":\"logs_end\",\"stream\":%" PRId64 "}",
                          stream->number);
            (void)host->hooks.send(host->hooks.ctx, sk_str(stream->node), sk_buf_str(&frame));
            sk_buf_release(&frame);
            stream_end(host, stream);
        }
    }
}

int host_logs(struct host *host, struct sk_str node, struct sk_str id, int64_t tail, bool follow,
              struct api_feed *feed, struct sk_err *err)
{
    struct log_stream *stream;
    struct sk_buf frame = SK_BUF_INIT;
    struct sk_jw w;
    bool sent;

    sweep_streams(host);
    if (HASH_COUNT(host->streams) >= STREAMS_MAX) {
        return sk_err_set(err, SK_ERR_UNAVAILABLE, "%d logs are being read already", STREAMS_MAX);
    }
    stream = sk_xcalloc(1, sizeof(*stream));
    stream->number = ++host->next_stream;
    (void)snprintf(stream->node, sizeof(stream->node), "%.*s", SK_PRI(node));
    stream->feed = feed;
    sk_jw_init(&w, &frame);
    sk_jw_obj(&w);
    sk_jw_kint(&w, "v", 1);
    sk_jw_kcstr(&w, "type", "logs");
    sk_jw_kint(&w, "stream", stream->number);
    sk_jw_kstr(&w, "id", id);
    sk_jw_kint(&w, "tail", tail);
    sk_jw_kbool(&w, "follow", follow);
    sk_jw_obj_end(&w);
    sent = host->hooks.send(host->hooks.ctx, node, sk_buf_str(&frame));
    sk_buf_release(&frame);
    if (!sent) {
        free(stream);
        return sk_err_set(err, SK_ERR_UNAVAILABLE, "node '%.*s' is not connected", SK_PRI(node));
    }
    api_feed_ref(feed);
    HASH_ADD(hh, host->streams, number, sizeof(stream->number), stream);
    return 0;
}

void host_on_log(struct host *host, struct sk_str node, const struct sk_node *frame)
{
    int64_t number = sk_map_int(frame, "stream", 0);
    const struct sk_node *lines = sk_map_seq(frame, "lines");
    struct log_stream *stream = NULL;

    HASH_FIND(hh, host->streams, &number, sizeof(number), stream);
    if (!stream || !sk_str_is(node, stream->node)) {
        return;
    }
    for (uint32_t i = 0; lines && i < lines->count; i++) {
        struct sk_buf line = SK_BUF_INIT;
        if (lines->u.items[i].kind == SK_STRING) {
            sk_buf_addstr(&line, lines->u.items[i].u.text);
            sk_buf_addc(&line, '\n');
            (void)api_feed_push(stream->feed, sk_buf_str(&line));
        }
        sk_buf_release(&line);
    }
    if (sk_map_bool(frame, "end", false)) {
        stream_end(host, stream);
    }
}

/* ---- commands ---- */

static void issue(struct host *host, const struct control_command *cmd)
{
    struct sk_buf frame = SK_BUF_INIT;
    struct sk_err err = {0};

    if (host->hooks.issue(host->hooks.ctx, cmd, &frame, &err) < 0) {
        sk_log_err(SK_LOG_ERROR, "certificate not issued", &err);
    }
    host->hooks.answer(host->hooks.ctx, cmd->u.issue.request, &err, sk_buf_str(&frame));
    sk_buf_release(&frame);
}

/* Its key must open without the others before they go. */
static const char *not_yet(const struct host *host, const struct control_command *cmd)
{
    return !cmd->u.move.to_etcd && !cmd->u.move.give_up && host->keys &&
                   vault_is_split(keys_vault(host->keys))
               ? "the key is still split among the control nodes"
               : NULL;
}

static void execute(struct host *host, const struct control_command *cmd)
{
    switch (cmd->kind) {
    case CONTROL_CMD_TXN:
        if (!host->ending) {
            submit_txn(host, &cmd->u.txn);
        }
        break;
    case CONTROL_CMD_LOAD:
        if (!host->ending) {
            submit_load(host);
        }
        break;
    case CONTROL_CMD_PLAN:
        if (!host->ending) {
            submit_plan(host, cmd->u.plan.job);
        }
        break;
    case CONTROL_CMD_ASSIGN:
        /* a node that is gone is told when it says hello: control sends the whole state then */
        (void)host->hooks.assign(host->hooks.ctx, cmd->u.assign.node, cmd->u.assign.body);
        break;
    case CONTROL_CMD_LEASED:
        /* one that does not arrive is like one that was not granted: the node asks again, or waits
         * for the lease to run out */
        (void)host->hooks.send(host->hooks.ctx, cmd->u.leased.node, cmd->u.leased.body);
        break;
    case CONTROL_CMD_DRILL: /* sent again until the node acts on it */
        (void)host->hooks.send(host->hooks.ctx, cmd->u.drill.node, cmd->u.drill.body);
        break;
    case CONTROL_CMD_REPLY:
        answer(host, cmd->u.reply.request, &cmd->u.reply.err, cmd->u.reply.json,
               cmd->u.reply.elsewhere);
        break;
    case CONTROL_CMD_ISSUE_CERT:
        issue(host, cmd);
        break;
    case CONTROL_CMD_REVOKE:
        host->hooks.revoke(host->hooks.ctx, cmd->u.revoke.serial);
        break;
    case CONTROL_CMD_CLOSE:
        host->hooks.close_node(host->hooks.ctx, cmd->u.close.node, &cmd->u.close.err);
        break;
    case CONTROL_CMD_SEAT:
        host->hooks.seat(host->hooks.ctx, cmd);
        break;
    case CONTROL_CMD_MOVE:
        if (!host->ending) {
            SK_ASSERT(!host->committing);
            mover_move(host->mover, cmd, not_yet(host, cmd));
        }
        break;
    case CONTROL_CMD_ETCD:
        if (!host->ending) {
            mover_etcd(host->mover, cmd);
        }
        break;
    case CONTROL_CMD_ETCD_LOOK:
        if (!host->ending) {
            look_at_etcd(host);
        }
        break;
    case CONTROL_CMD_EVENT:
        publish(host, cmd->u.event.seq, cmd->u.event.json);
        break;
    case CONTROL_CMD_COUNT:
        SK_ASSERT(false);
    }
}

/* Where the state is changes with the members of etcd: this node must find it at its next start,
 * and while it runs, whoever of them went. */
static void follow_members(struct host *host, enum control_event_kind kind)
{
    struct sk_str endpoints[CONTROL_MEMBERS_MAX];

    if (!host->ending &&
        (kind == CONTROL_EV_LOADED || kind == CONTROL_EV_CHANGED || kind == CONTROL_EV_TXN_DONE)) {
        state_set_endpoints(host->state, endpoints, control_endpoints(host->control, endpoints));
    }
}

void host_step(struct host *host, struct control_event *event)
{
    struct sk_err err = {0};

    SK_ASSERT(
        !host->stepping); /* commands are carried out after the step, and never step themselves */
    host->stepping = true;
    event->now_ms = sys_now_ms();
    event->wall_ms = sys_wall_ms();
    if (control_step(host->control, event, &host->commands, &err) < 0) {
        host->hooks.failed(host->hooks.ctx, &err);
    }
    for (size_t i = 0; i < host->commands.count; i++) {
        execute(host, &host->commands.items[i]);
    }
    control_commands_clear(&host->commands);
    host->stepping = false;
    follow_members(host, event->kind);
    arm_timer(host);
}

static void on_timer(uv_timer_t *timer)
{
    struct host *host = timer->data;
    struct control_event ev = {.kind = CONTROL_EV_TICK};

    sweep_streams(host);
    if (host->load_due_ms != 0 && sys_now_ms() >= host->load_due_ms) {
        host->load_due_ms = 0;
        submit_load(host);
    }
    host_step(host, &ev);
}

#define TICK_MS_MAX 1000

static void arm_timer(struct host *host)
{
    uint64_t deadline = control_deadline_ms(host->control);
    uint64_t now = (uint64_t)sys_now_ms();
    uint64_t wait = deadline > now ? deadline - now : 0;
    uint64_t load = host->load_due_ms > (int64_t)now ? (uint64_t)host->load_due_ms - now : 0;

    if (host->load_due_ms != 0 && load < wait) {
        wait = load;
    }
    if (wait > TICK_MS_MAX) {
        wait = TICK_MS_MAX;
    }
    uv_update_time(host->loop);
    (void)uv_timer_start(&host->timer, on_timer, wait ? wait : 1, 0);
}

/* ---- calls ---- */

static void find_role(struct host *host, struct api_call *call)
{
    struct sk_str name = SK_STR("");

    if (call->is_peer) {
        call->role = call->peer_role;
        call->who = call->peer_who;
        return;
    }
    if (call->is_unix && (call->uid == 0 || call->uid == host->own_uid)) {
        call->role = API_ADMIN;
        call->who = call->uid == 0 ? SK_STR("root")
                                   : sk_arena_printf(call->arena, "uid:%u", (unsigned)call->uid);
        return;
    }
    if (call->bearer_hash.len) {
        call->role = api_role_from_name(control_key_role(host->control, call->bearer_hash, &name));
        call->who = sk_arena_printf(call->arena, "key:%.*s", SK_PRI(name));
    }
}

static void on_call(void *item, void *ctx)
{
    struct host *host = ctx;
    struct api_call *call = item;

    find_role(host, call);
    if (!control_is_loaded(host->control)) {
        (void)sk_err_set(&call->err, SK_ERR_UNAVAILABLE,
                         host->load_failing ? "etcd does not answer, so there is no state yet"
                                            : "the state is still being read; try again");
    } else if (call->role == API_NOBODY) {
        (void)sk_err_set(&call->err, SK_ERR_UNAUTHENTICATED,
                         call->is_unix ? "this user may not use the socket"
                                       : "no valid bearer token was given");
        (void)sk_err_fix(&call->err,
                         call->is_unix
                             ? "run as root or as the daemon's user"
                             : "make a key with 'skerry key NAME --role ROLE' on a server");
    } else if (call->role < call->needs) {
        (void)sk_err_set(&call->err, SK_ERR_DENIED, "this needs the role '%s'; '%.*s' is '%s'",
                         api_role_name(call->needs), SK_PRI(call->who), api_role_name(call->role));
    } else if (is_elsewhere(host, call)) {
        (void)sk_err_set(&call->err, SK_ERR_UNAVAILABLE, "control node '%s' does not lead now",
                         host->own_node);
    } else if (call->run) { /* else the role was all that was asked */
        bool later;
        api_call_ref(call); /* a REPLY may come, and drop the call, before run() returns */
        call->run(host, call);
        later = call->request.id != 0;
        api_call_unref(call);
        if (later) {
            return; /* host_await() has it */
        }
    }
    api_call_done(call);
    api_call_unref(call);
}

static void drop_call(void *item)
{
    struct api_call *call = item;

    (void)sk_err_set(&call->err, SK_ERR_UNAVAILABLE, "the daemon is stopping");
    api_call_done(call);
    api_call_unref(call);
}

/* ---- life ---- */

int host_new(uv_loop_t *loop, const char *dir, const struct control_config *cfg,
             const struct host_hooks *hooks, struct host **ret, struct sk_err *err)
{
    struct host *host = sk_xcalloc(1, sizeof(*host));

    host->loop = loop;
    host->hooks = *hooks;
    host->own_uid = geteuid();
    (void)snprintf(host->own_node, sizeof(host->own_node), "%.*s", SK_PRI(cfg->node));
    if (control_new(cfg, &host->control, err) < 0 ||
        state_new(loop, dir, on_changed, host, &host->state, err) < 0) {
        control_free(host->control);
        free(host);
        return err ? err->code : SK_ERR_INTERNAL;
    }
    host->mover = mover_new(loop, dir, cfg->node, host->state, host);
    host->plan_worker = sys_worker_new(loop, "plan", JOBS_MAX);
    host->health = health_new(loop, dir);
    host->calls = sys_queue_new(loop, CALLS_MAX, on_call, host);
    (void)uv_timer_init(loop, &host->timer);
    host->timer.data = host;
    sys_random(&host->next_stream, sizeof(host->next_stream));
    host->next_stream &= INT64_C(0xffffffffff); /* apart from those of other control nodes */
    submit_load(host);
    *ret = host;
    return 0;
}

static void on_timer_closed(uv_handle_t *handle)
{
    free(handle->data);
}

void host_stop_calls(struct host *host)
{
    struct pending *p, *next_pending;
    struct log_stream *stream, *next_stream;

    sys_queue_close(host->calls, drop_call);
    host->calls = NULL;
    HASH_ITER (hh, host->pending, p, next_pending) {
        HASH_DEL(host->pending, p);
        drop_call(p->call);
        free(p);
    }
    HASH_ITER (hh, host->streams, stream, next_stream) {
        stream_end(host, stream);
    }
    for (size_t i = 0; i < host->feeds.count; i++) {
        api_feed_end(host->feeds.items[i]);
        api_feed_unref(host->feeds.items[i]);
    }
    host->feeds.count = 0;
}

void host_free(struct host *host)
{
    if (!host) {
        return;
    }
    host->ending = true;
    (void)uv_timer_stop(&host->timer);
    host_stop_calls(host);
    sys_worker_free(host->plan_worker);
    health_free(host->health);
    mover_end(host->mover);
    state_free(host->state);
    mover_free(host->mover);
    if (host->held != NULL) {
        store_job_free(host->held);
    }
    free(host->feeds.items);
    control_commands_release(&host->commands);
    control_free(host->control);
    uv_close((uv_handle_t *)&host->timer, on_timer_closed);
}
