/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/internal.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/json.h"
#include "base/log.h"
#include "base/mem.h"
#include "net/frame.h"

#define PEERS_MAX 8
#define STREAMS_MAX 64
#define QUEUE_BYTES_MAX (8u * 1024 * 1024)
#define OBSERVE_DELAY_MS 5 /* what happens together is told together */

struct peer {
    struct agent *agent;
    struct peer *next;
    uv_pipe_t pipe;
    struct net_frame_reader reader;
    struct log_stream *streams;
    uint64_t observed; /* 0: nothing was sent yet */
    int64_t assign_rev;
    bool closing;
    char chunk[65536];
};

struct frame_write {
    uv_write_t req;
    struct sk_buf buf;
};

static void on_closed(uv_handle_t *handle)
{
    struct peer *peer = handle->data;
    net_frame_reader_release(&peer->reader);
    free(peer);
}

static void close_peer(struct peer *peer)
{
    struct peer **at = &peer->agent->peers;

    if (peer->closing) {
        return;
    }
    peer->closing = true;
    while (*at != peer) {
        at = &(*at)->next;
    }
    *at = peer->next;
    peer->agent->npeers--;
    while (peer->streams) {
        struct log_stream *stream = peer->streams;
        peer->streams = *log_stream_next(stream);
        log_stream_close(stream);
    }
    uv_close((uv_handle_t *)&peer->pipe, on_closed);
}

static void on_written(uv_write_t *req, int status)
{
    struct frame_write *w = req->data;
    sk_buf_release(&w->buf);
    free(w);
}

/* Takes over the bytes of *frames. */
static void send_bytes(struct peer *peer, struct sk_buf *frames)
{
    struct frame_write *w = sk_xcalloc(1, sizeof(*w));
    uv_buf_t buf;

    w->buf = *frames;
    *frames = SK_BUF_INIT;
    w->req.data = w;
    buf = uv_buf_init(w->buf.ptr, (unsigned)w->buf.len);
    if (peer->closing || uv_write(&w->req, (uv_stream_t *)&peer->pipe, &buf, 1, on_written) < 0) {
        sk_buf_release(&w->buf);
        free(w);
    }
}

static void send_json(struct peer *peer, const struct sk_buf *json)
{
    struct sk_buf frame = SK_BUF_INIT;

    if (net_frame_write(sk_buf_str(json), &frame, NULL) == 0) {
        send_bytes(peer, &frame);
    }
    sk_buf_release(&frame);
}

void peers_send_all(struct agent *agent, const struct sk_buf *json)
{
    for (struct peer *peer = agent->peers; peer; peer = peer->next) {
        send_json(peer, json);
    }
}

static void send_error(struct peer *peer, const struct sk_err *why)
{
    struct sk_buf json = SK_BUF_INIT;
    net_error_write(why, &json);
    send_json(peer, &json);
    sk_buf_release(&json);
}

/* ---- observations ---- */

static void observe_peer(struct peer *peer)
{
    struct agent *agent = peer->agent;
    int64_t assign_rev = agent->assigned ? agent->assigned->rev : 0;
    struct sk_buf frame = SK_BUF_INIT;

    /* A reader that is behind gets the newest state when it has caught up, not the history. */
    if (uv_stream_get_write_queue_size((uv_stream_t *)&peer->pipe) > 0 && peer->observed) {
        (void)uv_timer_start(&agent->observe_timer, agent->observe_timer.timer_cb, 50, 0);
        return;
    }
    if (frame_write_observe(agent, peer->observed, &frame) || assign_rev != peer->assign_rev) {
        send_bytes(peer, &frame);
    }
    sk_buf_release(&frame);
    peer->observed = agent->state.stamp ? agent->state.stamp : 1;
    peer->assign_rev = assign_rev;
}

static void on_observe(uv_timer_t *timer)
{
    struct agent *agent = timer->data;

    agent->obs_rev++;
    for (struct peer *peer = agent->peers, *next; peer; peer = next) {
        next = peer->next;
        observe_peer(peer);
    }
}

void peers_observe_soon(struct agent *agent)
{
    if (agent->peers && !uv_is_active((uv_handle_t *)&agent->observe_timer)) {
        (void)uv_timer_start(&agent->observe_timer, on_observe, OBSERVE_DELAY_MS, 0);
    }
}

/* ---- logs ---- */

static void drop_stream(struct peer *peer, struct log_stream *stream)
{
    struct log_stream **at = &peer->streams;

    while (*at && *at != stream) {
        at = log_stream_next(*at);
    }
    if (*at) {
        *at = *log_stream_next(stream);
    }
    log_stream_close(stream);
}

static void send_lines(struct peer *peer, int64_t number, struct sk_str lines, bool end,
                       const char *error)
{
    struct sk_buf json = SK_BUF_INIT;
    struct sk_jw w;

    sk_jw_init(&w, &json);
    sk_jw_obj(&w);
    sk_jw_kint(&w, "v", 1);
    sk_jw_kcstr(&w, "type", "log");
    sk_jw_kint(&w, "stream", number);
    sk_jw_key(&w, "lines");
    sk_jw_raw(&w, lines);
    sk_jw_kbool(&w, "end", end);
    if (error) {
        sk_jw_kcstr(&w, "error", error);
    }
    sk_jw_obj_end(&w);
    send_json(peer, &json);
    sk_buf_release(&json);
}

static void on_lines(void *ctx, struct log_stream *stream, struct sk_str lines, bool end)
{
    struct peer *peer = ctx;

    if (uv_stream_get_write_queue_size((uv_stream_t *)&peer->pipe) > QUEUE_BYTES_MAX) {
        send_lines(peer, log_stream_number(stream), SK_STR("[]"), true, "the reader is too slow");
        end = true;
    } else {
        send_lines(peer, log_stream_number(stream), lines, end, NULL);
    }
    if (end) {
        drop_stream(peer, stream);
    }
}

static void take_logs(struct peer *peer, const struct sk_node *tree)
{
    struct sk_str id = sk_map_str(tree, "id", SK_STR(""));
    int64_t number = sk_map_int(tree, "stream", 0);
    struct log_stream *stream = NULL;
    struct sk_err err = {0};
    unsigned open = 0;

    for (struct log_stream *s = peer->streams; s; s = *log_stream_next(s)) {
        open++;
    }
    if (open >= STREAMS_MAX) {
        (void)sk_err_set(&err, SK_ERR_LIMIT, "%d logs are being read already", STREAMS_MAX);
    } else {
        char text[AGENT_ID_MAX];
        (void)snprintf(text, sizeof(text), "%.*s", SK_PRI(id));
        stream = log_stream_open(peer->agent, text, number, sk_map_int(tree, "tail", 100),
                                 sk_map_bool(tree, "follow", false), on_lines, peer, &err);
    }
    if (!stream) {
        send_lines(peer, number, SK_STR("[]"), true, err.msg);
        return;
    }
    *log_stream_next(stream) = peer->streams;
    peer->streams = stream;
}

static void take_logs_end(struct peer *peer, const struct sk_node *tree)
{
    int64_t number = sk_map_int(tree, "stream", 0);

    for (struct log_stream *s = peer->streams; s; s = *log_stream_next(s)) {
        if (log_stream_number(s) == number) {
            drop_stream(peer, s);
            return;
        }
    }
}

/* ---- frames in ---- */

static int take_frame(struct peer *peer, struct sk_str payload, struct sk_err *err)
{
    struct sk_arena *arena = sk_arena_new();
    struct net_frame frame;
    int rc = net_frame_parse(payload, arena, &frame, err);

    if (rc == 0 && sk_str_is(frame.type, "assign")) {
        rc = frame_take_assign(peer->agent, frame.tree, frame.bytes, true, err);
    } else if (rc == 0 && sk_str_is(frame.type, "node")) {
        rc = frame_take_node(peer->agent, frame.tree, frame.bytes, true, err);
    } else if (rc == 0 && sk_str_is(frame.type, "leased")) {
        rc = frame_take_leased(peer->agent, frame.tree, err);
    } else if (rc == 0 && sk_str_is(frame.type, "drill")) {
        rc = frame_take_drill(peer->agent, frame.tree, err);
    } else if (rc == 0 && sk_str_is(frame.type, "logs")) {
        take_logs(peer, frame.tree);
    } else if (rc == 0 && sk_str_is(frame.type, "logs_end")) {
        take_logs_end(peer, frame.tree);
    } /* a type of a later version is not for us */
    sk_arena_free(arena);
    return rc;
}

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
    struct peer *peer = handle->data;
    *buf = uv_buf_init(peer->chunk, sizeof(peer->chunk));
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
    struct peer *peer = stream->data;
    struct sk_str payload;
    struct sk_err err = {0};
    int rc = 0;

    if (n < 0) {
        close_peer(peer);
        return;
    }
    net_frame_reader_add(&peer->reader, buf->base, (size_t)n);
    while (!peer->closing && (rc = net_frame_reader_next(&peer->reader, &payload, &err)) == 1) {
        rc = take_frame(peer, payload, &err);
        if (rc < 0) {
            break;
        }
    }
    if (rc < 0 && !peer->closing) {
        sk_log_err(SK_LOG_WARN, "frame refused", &err);
        send_error(peer, &err);
        close_peer(peer);
    }
}

/* ---- the listener ---- */

static bool peer_allowed(const struct agent *agent, const struct peer *peer)
{
    struct ucred cred;
    socklen_t len = sizeof(cred);
    uv_os_fd_t fd;

    return uv_fileno((const uv_handle_t *)&peer->pipe, &fd) == 0 &&
           getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) == 0 &&
           (cred.uid == 0 || cred.uid == geteuid() || cred.uid == agent->config.peer_uid);
}

static void on_connection(uv_stream_t *listener, int status)
{
    const struct agent_event reached = {.kind = AGENT_REACHED};
    struct agent *agent = listener->data;
    struct peer *peer;

    if (status < 0) {
        return;
    }
    peer = sk_xcalloc(1, sizeof(*peer));
    peer->agent = agent;
    peer->assign_rev = -1;
    net_frame_reader_init(&peer->reader, NET_FRAME_BYTES_MAX);
    (void)uv_pipe_init(&agent->loop, &peer->pipe, 0);
    peer->pipe.data = peer;
    peer->next = agent->peers;
    agent->peers = peer;
    agent->npeers++;
    if (uv_accept(listener, (uv_stream_t *)&peer->pipe) < 0 || !peer_allowed(agent, peer) ||
        agent->npeers > PEERS_MAX) {
        sk_log(SK_LOG_WARN, "connection refused", "socket=%s", agent->socket_path);
        close_peer(peer);
        return;
    }
    (void)uv_read_start((uv_stream_t *)&peer->pipe, on_alloc, on_read);
    peers_observe_soon(agent);
    agent_post(agent, &reached);
}

int peers_listen(struct agent *agent, struct sk_err *err)
{
    mode_t old;
    int rc;

    (void)uv_timer_init(&agent->loop, &agent->observe_timer);
    agent->observe_timer.data = agent;
    (void)uv_pipe_init(&agent->loop, &agent->listener, 0);
    agent->listener.data = agent;
    (void)unlink(agent->socket_path);
    old = umask(0177);
    rc = uv_pipe_bind(&agent->listener, agent->socket_path);
    (void)umask(old);
    if (rc == 0) {
        rc = uv_listen((uv_stream_t *)&agent->listener, 16, on_connection);
    }
    if (rc < 0) {
        return sk_err_set(err, SK_ERR_IO, "listen on '%s': %s", agent->socket_path,
                          uv_strerror(rc));
    }
    /* lchown: the folder is skerryd's own, which must not make root give away what a link names */
    if (geteuid() == 0 && lchown(agent->socket_path, agent->config.peer_uid, (gid_t)-1) < 0) {
        return sk_err_errno(err, errno, "give '%s' to user %u", agent->socket_path,
                            (unsigned)agent->config.peer_uid);
    }
    return 0;
}

void peers_close_all(struct agent *agent)
{
    while (agent->peers) {
        close_peer(agent->peers);
    }
    uv_close((uv_handle_t *)&agent->listener, NULL);
    uv_close((uv_handle_t *)&agent->observe_timer, NULL);
}
