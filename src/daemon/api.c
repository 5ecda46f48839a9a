/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/api.h"

#include <string.h>
#include <time.h>

#include "base/hash.h"
#include "base/json.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/units.h"
#include "daemon/api_body.h"
#include "daemon/backup.h"
#include "daemon/call.h"
#include "sys/clock.h"

#define QUERY_WAIT_MS 10000
#define CHANGE_WAIT_MS 120000
#define PROJECTS_BYTES_MAX (16u * 1024 * 1024)
#define BODY_BYTES_MAX (64u * 1024)
#define SEGMENTS_MAX 5
#define LEADER_WAIT_MS 4000 /* for one to be there, for what changes something */
#define LEADER_LOOK_MS 200
#define FORWARD_MORE_MS 5000 /* than the leader itself waits */

/* Fills the call from the request. `segment` holds the path's parts that stand for '*'. */
typedef int api_fill_fn(struct api_context *api, struct http_exchange *x,
                        const struct sk_str *segment, struct api_call *call, struct sk_err *err);

struct route {
    const char *method;
    const char *path; /* '*' = one segment */
    enum api_role role;
    size_t body_max;
    int64_t wait_ms;
    api_run_fn *run;
    api_fill_fn *fill; /* NULL: nothing to fill */
    bool stream;
};

static int fill_events(struct api_context *api, struct http_exchange *x,
                       const struct sk_str *segment, struct api_call *call, struct sk_err *err)
{
    struct sk_str after = http_query(x, "after");

    (void)api;
    (void)segment;
    call->number = 0;
    return after.ptr ? sk_parse_int(after, 0, INT64_MAX, &call->number, err) : 0;
}

static int fill_name(struct api_context *api, struct http_exchange *x, const struct sk_str *segment,
                     struct api_call *call, struct sk_err *err)
{
    (void)api;
    (void)x;
    (void)err;
    call->arg1 = sk_arena_str(call->arena, segment[0]);
    if (segment[1].ptr) {
        call->arg2 = sk_arena_str(call->arena, segment[1]);
    }
    return 0;
}

static int fill_number(struct api_context *api, struct http_exchange *x,
                       const struct sk_str *segment, struct api_call *call, struct sk_err *err)
{
    (void)api;
    (void)x;
    return sk_parse_int(segment[0], 1, INT64_MAX, &call->number, err);
}

static int fill_logs(struct api_context *api, struct http_exchange *x, const struct sk_str *segment,
                     struct api_call *call, struct sk_err *err)
{
    struct sk_str tail = http_query(x, "tail");
    struct sk_str follow = http_query(x, "follow");

    (void)api;
    (void)segment;
    call->arg1 = sk_arena_str(call->arena, http_query(x, "id"));
    call->arg2 = sk_str_is(follow, "true") ? SK_STR("follow") : SK_STR("");
    call->number = 100;
    if (call->arg1.len == 0) {
        return sk_err_set(err, SK_ERR_INPUT, "logs need ?id=INSTANCE");
    }
    return tail.ptr ? sk_parse_int(tail, 0, 10000, &call->number, err) : 0;
}

static const struct route routes[] = {
    {"GET", "/v1/status", API_VIEWER, 0, QUERY_WAIT_MS, api_run_status, NULL, false},
    {"GET", "/v1/control", API_VIEWER, 0, QUERY_WAIT_MS, api_run_control, NULL, false},
    {"GET", "/v1/ps", API_VIEWER, 0, QUERY_WAIT_MS, api_run_ps, NULL, false},
    {"GET", "/v1/nodes", API_VIEWER, 0, QUERY_WAIT_MS, api_run_nodes, NULL, false},
    {"GET", "/v1/sites", API_VIEWER, 0, QUERY_WAIT_MS, api_run_sites, NULL, false},
    {"GET", "/v1/projects", API_VIEWER, 0, QUERY_WAIT_MS, api_run_projects, NULL, false},
    {"GET", "/v1/projects/*", API_OPERATOR, 0, QUERY_WAIT_MS, api_run_project, fill_name, false},
    {"GET", "/v1/plan", API_VIEWER, 0, QUERY_WAIT_MS, api_run_plan_in_force, NULL, false},
    {"GET", "/v1/inventory", API_VIEWER, 0, QUERY_WAIT_MS, api_run_inventory, NULL, false},
    {"GET", "/v1/tokens", API_ADMIN, 0, QUERY_WAIT_MS, api_run_tokens, NULL, false},
    {"GET", "/v1/keys", API_ADMIN, 0, QUERY_WAIT_MS, api_run_keys, NULL, false},
    {"GET", "/v1/events", API_VIEWER, 0, QUERY_WAIT_MS, api_run_events, fill_events, false},
    {"GET", "/v1/events/stream", API_VIEWER, 0, QUERY_WAIT_MS, api_run_event_stream, fill_events,
     true},
    {"GET", "/v1/logs", API_OPERATOR, 0, QUERY_WAIT_MS, api_run_logs, fill_logs, true},
    {"GET", "/v1/control/backup", API_ADMIN, 0, QUERY_WAIT_MS, api_run_backup, NULL, false},
    {"POST", "/v1/control/recovery", API_ADMIN, BODY_BYTES_MAX, CHANGE_WAIT_MS, api_run_recovery,
     NULL, false},
    {"GET", "/v1/why/*/*", API_VIEWER, 0, QUERY_WAIT_MS, api_run_why, fill_name, false},
    {"GET", "/v1/return", API_VIEWER, 0, QUERY_WAIT_MS, api_run_return, NULL, false},
    {"GET", "/v1/drills", API_VIEWER, 0, QUERY_WAIT_MS, api_run_drills, NULL, false},
    {"GET", "/v1/drills/current", API_VIEWER, 0, QUERY_WAIT_MS, api_run_drill, NULL, false},
    {"GET", "/v1/drills/*", API_VIEWER, 0, QUERY_WAIT_MS, api_run_drill_report, fill_number, false},
    {"POST", "/v1/drills", API_OPERATOR, BODY_BYTES_MAX, CHANGE_WAIT_MS, api_run_request,
     api_fill_drill, false},
    {"DELETE", "/v1/drills/current", API_OPERATOR, 0, CHANGE_WAIT_MS, api_run_request,
     api_fill_drill_abort, false},
    {"GET", "/v1/view/*", API_VIEWER, 0, QUERY_WAIT_MS, api_run_view, fill_name, false},
    {"POST", "/v1/plan", API_VIEWER, PROJECTS_BYTES_MAX, CHANGE_WAIT_MS, api_run_request,
     api_fill_plan, false},
    {"POST", "/v1/apply", API_OPERATOR, PROJECTS_BYTES_MAX, CHANGE_WAIT_MS, api_run_request,
     api_fill_apply, false},
    {"POST", "/v1/rebalance", API_OPERATOR, BODY_BYTES_MAX, CHANGE_WAIT_MS, api_run_request,
     api_fill_rebalance, false},
    {"POST", "/v1/return", API_OPERATOR, BODY_BYTES_MAX, CHANGE_WAIT_MS, api_run_request,
     api_fill_return, false},
    {"DELETE", "/v1/projects/*", API_OPERATOR, 0, CHANGE_WAIT_MS, api_run_request,
     api_fill_project_delete, false},
    {"POST", "/v1/drain", API_OPERATOR, BODY_BYTES_MAX, CHANGE_WAIT_MS, api_run_request,
     api_fill_drain, false},
    {"POST", "/v1/undrain", API_OPERATOR, BODY_BYTES_MAX, CHANGE_WAIT_MS, api_run_request,
     api_fill_undrain, false},
    {"DELETE", "/v1/nodes/*", API_ADMIN, 0, CHANGE_WAIT_MS, api_run_request, api_fill_node_remove,
     false},
    {"DELETE", "/v1/sites/*", API_ADMIN, 0, CHANGE_WAIT_MS, api_run_request, api_fill_site_remove,
     false},
    {"PATCH", "/v1/sites/*", API_OPERATOR, BODY_BYTES_MAX, CHANGE_WAIT_MS, api_run_request,
     api_fill_site_set, false},
    {"PATCH", "/v1/nodes/*", API_OPERATOR, BODY_BYTES_MAX, CHANGE_WAIT_MS, api_run_request,
     api_fill_node_set, false},
    {"PATCH", "/v1/links/*/*", API_OPERATOR, BODY_BYTES_MAX, CHANGE_WAIT_MS, api_run_request,
     api_fill_link_set, false},
    {"POST", "/v1/tokens", API_ADMIN, BODY_BYTES_MAX, CHANGE_WAIT_MS, api_run_request,
     api_fill_token, false},
    {"DELETE", "/v1/tokens/*", API_ADMIN, 0, CHANGE_WAIT_MS, api_run_request, api_fill_token_revoke,
     false},
    {"POST", "/v1/keys", API_ADMIN, BODY_BYTES_MAX, CHANGE_WAIT_MS, api_run_request, api_fill_key,
     false},
    {"GET", "/v1/control/seats", API_VIEWER, 0, QUERY_WAIT_MS, api_run_seats, NULL, false},
    {"POST", "/v1/control/grow", API_ADMIN, BODY_BYTES_MAX, CHANGE_WAIT_MS, api_run_grow,
     api_fill_grow, false},
    {"POST", "/v1/control/shrink", API_ADMIN, BODY_BYTES_MAX, CHANGE_WAIT_MS, api_run_request,
     api_fill_shrink, false},
    {"POST", "/v1/control/replace", API_ADMIN, BODY_BYTES_MAX, CHANGE_WAIT_MS, api_run_request,
     api_fill_replace, false},
    {"POST", "/v1/control/abort", API_ADMIN, BODY_BYTES_MAX, CHANGE_WAIT_MS, api_run_request,
     api_fill_abort, false},
    {"DELETE", "/v1/keys/*", API_ADMIN, 0, CHANGE_WAIT_MS, api_run_request, api_fill_key_revoke,
     false},
};

/* Segment by segment; those that meet '*' are kept in order. */
static bool path_matches(const char *pattern, struct sk_str path,
                         struct sk_str segment[SEGMENTS_MAX])
{
    struct sk_str want = sk_str(pattern);
    size_t n = 0;

    for (;;) {
        struct sk_str w, p, rest_w, rest_p;
        bool more_w = sk_str_cut(want, '/', &w, &rest_w);
        bool more_p = sk_str_cut(path, '/', &p, &rest_p);
        if (sk_str_is(w, "*")) {
            if (p.len == 0 || n == SEGMENTS_MAX) {
                return false;
            }
            segment[n++] = p;
        } else if (!sk_str_eq(w, p)) {
            return false;
        }
        if (more_w != more_p) {
            return false;
        }
        if (!more_w) {
            return true;
        }
        want = rest_w;
        path = rest_p;
    }
}

static const struct route *find_route(struct sk_str method, struct sk_str path,
                                      struct sk_str segment[SEGMENTS_MAX], bool *ret_path_known)
{
    *ret_path_known = false;
    for (size_t i = 0; i < SK_ARRAY_LEN(routes); i++) {
        struct sk_str found[SEGMENTS_MAX] = {{0}};
        if (!path_matches(routes[i].path, path, found)) {
            continue;
        }
        *ret_path_known = true;
        if (sk_str_is(method, routes[i].method)) {
            memcpy(segment, found, sizeof(found));
            return &routes[i];
        }
    }
    return NULL;
}

size_t api_body_max(struct sk_str method, struct sk_str path)
{
    struct sk_str segment[SEGMENTS_MAX];
    bool known;
    const struct route *route = find_route(method, path, segment, &known);

    return route ? route->body_max : 0;
}

/* `details` is JSON with what helps beside the error (a refused plan), or "". */
static void reply_status(struct http_exchange *x, int status, const struct sk_err *err,
                         struct sk_str details)
{
    struct sk_buf buf = SK_BUF_INIT;
    struct sk_jw w;

    sk_jw_init(&w, &buf);
    sk_jw_obj(&w);
    sk_jw_key(&w, "error");
    sk_jw_obj(&w);
    sk_jw_kcstr(&w, "code", sk_code_name(err->code));
    sk_jw_kcstr(&w, "text", err->msg);
    sk_jw_kcstr(&w, "fix", err->fix);
    sk_jw_obj_end(&w);
    if (details.len) {
        sk_jw_key(&w, "details");
        sk_jw_raw(&w, details);
    }
    sk_jw_obj_end(&w);
    sk_buf_addc(&buf, '\n');
    http_reply(x, status, "application/json", sk_buf_str(&buf));
    sk_buf_release(&buf);
}

static void reply_error(struct http_exchange *x, const struct sk_err *err, struct sk_str details)
{
    reply_status(x, sk_code_http(err->code), err, details);
}

struct sk_str api_bearer_hash(struct sk_arena *arena, struct sk_str authorization)
{
    static const struct sk_str prefix = {"Bearer ", 7};
    char hex[SK_SHA256_HEX];

    if (!authorization.ptr || !sk_str_starts(authorization, prefix)) {
        return SK_STR("");
    }
    sk_sha256_hex((struct sk_str){authorization.ptr + prefix.len, authorization.len - prefix.len},
                  hex);
    return sk_arena_str(arena, sk_str(hex));
}

/* The one answer that shows a secret: it is nowhere else, and wiped when it is sent. */
static void reply_secret(struct http_exchange *x, const struct api_context *api,
                         struct api_call *call)
{
    bool is_token = call->request.kind == CONTROL_REQ_TOKEN_CREATE;
    struct sk_buf buf = SK_BUF_INIT;
    struct sk_jw w;

    sk_jw_init(&w, &buf);
    sk_jw_obj(&w);
    sk_jw_kcstr(&w, "format", is_token ? "skerry.token/1" : "skerry.key/1");
    sk_jw_kstr(&w, "token", call->arg1);
    if (is_token) {
        sk_jw_kcstr(&w, "join", api->join_address);
    }
    sk_jw_key(&w, "record");
    sk_jw_raw(&w, sk_buf_str(&call->answer));
    sk_jw_obj_end(&w);
    sk_buf_addc(&buf, '\n');
    http_reply(x, 200, "application/json", sk_buf_str(&buf));
    explicit_bzero(buf.ptr, buf.len);
    sk_buf_release(&buf);
}

/* ---- backup: made on the HTTP thread, while it is sent ---- */

static ssize_t read_backup(void *ctx, char *buf, size_t max)
{
    struct sk_err err = {0};
    ssize_t n = backup_read(ctx, buf, max, &err);

    if (n < 0) {
        sk_log_err(SK_LOG_ERROR, "backup broken off", &err);
        return -2;
    }
    return n ? n : -1;
}

static void release_backup(void *ctx)
{
    backup_free(ctx);
}

static void reply_backup(struct http_exchange *x, const struct api_context *api,
                         const struct api_call *call)
{
    struct backup *backup = NULL;
    struct sk_err err = {0};

    if (backup_new(api->dir, &backup, &err) < 0) {
        reply_error(x, &err, SK_STR(""));
        return;
    }
    sk_log(SK_LOG_INFO, "backup made", "who=\"%.*s\"", SK_PRI(call->who));
    http_reply_stream(x, 200, "application/octet-stream", read_backup, release_backup, backup);
}

static void reply_call(struct http_exchange *x, const struct api_context *api,
                       const struct route *route, struct api_call *call)
{
    if (route->stream) {
        http_reply_stream(
            x, 200, route->run == api_run_logs ? "text/plain; charset=utf-8" : "text/event-stream",
            api_feed_read, api_feed_release, call->stream);
        return;
    }
    if (route->run == api_run_backup) {
        reply_backup(x, api, call);
        return;
    }
    if (call->request.kind == CONTROL_REQ_TOKEN_CREATE ||
        call->request.kind == CONTROL_REQ_KEY_CREATE) {
        reply_secret(x, api, call);
        return;
    }
    sk_buf_addc(&call->answer, '\n');
    http_reply(x, 200, "application/json", sk_buf_str(&call->answer));
    if (route->run == api_run_recovery) {
        explicit_bzero(call->answer.ptr, call->answer.len);
    }
}

/*
 * Asks the loop thread for the caller's role before its body is looked at: reading it costs memory,
 * and resolving its images starts programs and talks to registries. The call itself is checked once
 * more when it runs.
 */
static int check_role(struct api_context *api, struct api_call *asker, struct sk_err *err)
{
    struct api_call *call = api_call_new();
    int r;

    call->is_unix = asker->is_unix;
    call->uid = asker->uid;
    call->bearer_hash = sk_arena_str(call->arena, asker->bearer_hash);
    call->needs = asker->needs;
    call->is_peer = asker->is_peer;
    call->peer_role = asker->peer_role;
    call->peer_who = sk_arena_str(call->arena, asker->peer_who);
    call->may_forward = asker->may_forward;
    r = api_call_wait(call, api->calls, QUERY_WAIT_MS, err);
    if (r != SK_ERR_TIMEOUT) { /* else the loop may still write to it */
        asker->role = call->role;
        asker->who = sk_arena_str(asker->arena, call->who);
        asker->elsewhere = call->elsewhere;
        asker->leader = sk_arena_str(asker->arena, call->leader);
    }
    api_call_unref(call);
    return r;
}

/* ---- the leader is another control node ---- */

/* 0: it was answered, and that is the answer. SK_ERR_UNAVAILABLE: nobody was told of it. */
static int pass_on(const struct api_context *api, struct http_exchange *x,
                   const struct route *route, const struct api_call *call, struct sk_err *err)
{
    struct sk_buf target = SK_BUF_INIT;
    struct forward_answer answer = {0};
    struct forward_request request = {
        .address = call->leader.ptr,
        .port = api->api_port,
        .ca_file = api->ca_file,
        .token = api->peer_token,
        .method = http_method(x),
        .body = http_body(x),
        .role = call->role,
        .who = call->who,
        .timeout_ms = route->wait_ms + FORWARD_MORE_MS,
    };
    int r;

    if (call->leader.len == 0) {
        return sk_err_set(err, SK_ERR_UNAVAILABLE, "no control node leads at the moment");
    }
    http_target(x, &target);
    request.target = sk_buf_str(&target);
    r = forward_call(&request, &answer, err);
    if (r == 0 && answer.status == FORWARD_MISDIRECTED) {
        r = sk_err_set(err, SK_ERR_UNAVAILABLE, "no control node leads at the moment");
    } else if (r == 0) {
        http_reply(x, (int)answer.status, answer.content_type, sk_buf_str(&answer.body));
    }
    if (answer.body.ptr) {
        explicit_bzero(answer.body.ptr, answer.body.len); /* it may show a secret */
    }
    sk_buf_release(&answer.body);
    sk_buf_release(&target);
    return r;
}

/* Who asks. Only what another control node says is believed of a third. */
static struct api_call *new_call(const struct api_context *api, const struct http_exchange *x,
                                 const struct route *route)
{
    struct api_call *call = api_call_new();

    call->is_unix = http_is_unix(x);
    call->uid = call->is_unix ? http_peer_uid(x) : (uid_t)-1;
    call->bearer_hash = api_bearer_hash(call->arena, http_header(x, "Authorization"));
    call->needs = route->role;
    call->run = route->run;
    if (api->peer_token[0] && sk_str_is(call->bearer_hash, api->peer_hash)) {
        call->is_peer = forward_read_behalf(http_header(x, FORWARD_BEHALF), call->arena,
                                            &call->peer_role, &call->peer_who);
    }
    /* what is streamed is served where it is asked; a backup holds this node's keys */
    call->may_forward =
        api->peer_token[0] && !call->is_peer && !route->stream && route->run != api_run_backup;
    if (route->stream) {
        call->stream = api_feed_new();
        api_feed_ref(call->stream); /* the reader's: the loop may run the call when it has left */
    }
    return call;
}

/* Runs the call here. False: it is another one's, and nothing was replied. */
static bool handle_here(struct api_context *api, struct http_exchange *x, const struct route *route,
                        const struct sk_str *segment, struct api_call *call)
{
    struct sk_err err = {0};
    bool later = false;

    if ((route->fill &&
         (check_role(api, call, &err) < 0 || route->fill(api, x, segment, call, &err) < 0)) ||
        api_call_wait(call, api->calls, route->wait_ms, &err) < 0) {
        later = err.code == SK_ERR_TIMEOUT;
        if (call->stream) {
            api_feed_release(call->stream);
        }
        if (!later && call->elsewhere && !call->is_peer) {
            return false;
        }
        reply_status(x, !later && call->elsewhere ? FORWARD_MISDIRECTED : sk_code_http(err.code),
                     &err, later ? SK_STR("") : sk_buf_str(&call->answer));
    } else {
        reply_call(x, api, route, call);
    }
    return true;
}

static void sleep_ms(int64_t ms)
{
    struct timespec ts = {ms / 1000, (ms % 1000) * 1000000};
    (void)nanosleep(&ts, NULL);
}

/* One try. False: nobody was told of it, and nothing was replied. */
static bool handle_once(struct api_context *api, struct http_exchange *x, const struct route *route,
                        const struct sk_str *segment, bool here, struct sk_err *err)
{
    struct api_call *call = new_call(api, x, route);
    bool replied;

    call->may_forward = call->may_forward && !here;
    replied = handle_here(api, x, route, segment, call);
    if (!replied) {
        int r = pass_on(api, x, route, call, err);
        replied = r == 0;
        if (r < 0 && r != SK_ERR_UNAVAILABLE && !sk_str_is(http_method(x), "GET")) {
            reply_error(x, err, SK_STR(""));
            replied = true;
        }
    }
    api_call_unref(call);
    return replied;
}

void api_handle(struct http_exchange *x, void *ctx)
{
    struct api_context *api = ctx;
    struct sk_str segment[SEGMENTS_MAX] = {{0}};
    struct sk_err err = {0};
    const struct route *route;
    bool known, reads;
    int64_t until_ms = sys_now_ms() + LEADER_WAIT_MS;

    route = find_route(http_method(x), http_path(x), segment, &known);
    if (!route) {
        (void)sk_err_set(&err, SK_ERR_NOT_FOUND,
                         known ? "this path does not take '%.*s'" : "no such path: %.*s",
                         SK_PRI(known ? http_method(x) : http_path(x)));
        reply_error(x, &err, SK_STR(""));
        return;
    }
    reads = sk_str_is(http_method(x), "GET");
    while (!handle_once(api, x, route, segment, false, &err)) {
        if (reads) {
            (void)handle_once(api, x, route, segment, true, &err);
            return;
        }
        if (sys_now_ms() >= until_ms) {
            (void)sk_err_fix(&err, "try again; 'skerry control status' says who is there");
            reply_error(x, &err, SK_STR(""));
            return;
        }
        sleep_ms(LEADER_LOOK_MS);
    }
}
