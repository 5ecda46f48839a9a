/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/agent_link.h"

#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"

#define RECONNECT_MS 200
#define READ_BYTES 65536
#define QUEUE_BYTES_MAX (8u * 1024 * 1024)

struct agent_link {
    uv_loop_t *loop;
    uv_pipe_t pipe;
    uv_timer_t timer;
    uv_connect_t connect;
    struct agent_link_callbacks callbacks;
    struct net_frame_reader reader;
    char path[108];
    char bytes[READ_BYTES];
    bool open; /* the pipe handle exists */
    bool up;
    bool ending;
    unsigned handles; /* not yet closed */
};

struct write_job {
    uv_write_t req;
    struct sk_buf frame;
};

static void retry_later(struct agent_link *link);

static void free_when_closed(struct agent_link *link)
{
    if (link->ending && link->handles == 0) {
        net_frame_reader_release(&link->reader);
        free(link);
    }
}

static void on_pipe_closed(uv_handle_t *handle)
{
    struct agent_link *link = handle->data;

    link->handles--;
    link->open = false;
    if (link->ending) {
        free_when_closed(link);
    } else {
        retry_later(link);
    }
}

static void drop(struct agent_link *link)
{
    if (link->open && !uv_is_closing((uv_handle_t *)&link->pipe)) {
        bool was_up = link->up;
        link->up = false;
        uv_close((uv_handle_t *)&link->pipe, on_pipe_closed);
        if (was_up && !link->ending) {
            link->callbacks.on_down(link->callbacks.ctx);
        }
    }
}

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
    struct agent_link *link = handle->data;

    (void)suggested;
    *buf = uv_buf_init(link->bytes, READ_BYTES);
}

static bool take_frames(struct agent_link *link)
{
    struct sk_err err = {0};
    struct sk_str payload;
    int r;

    while ((r = net_frame_reader_next(&link->reader, &payload, &err)) == 1) {
        struct sk_arena *arena = sk_arena_new();
        struct net_frame frame;
        r = net_frame_parse(payload, arena, &frame, &err);
        if (r == 0 && !link->ending) {
            link->callbacks.on_frame(link->callbacks.ctx, &frame);
        }
        sk_arena_free(arena);
        if (r < 0 || !link->up) {
            break;
        }
    }
    if (r < 0) {
        sk_log_err(SK_LOG_ERROR, "agent's frame refused", &err);
    }
    return r >= 0;
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
    struct agent_link *link = stream->data;

    if (n > 0) {
        net_frame_reader_add(&link->reader, buf->base, (size_t)n);
    }
    if (n < 0 || !take_frames(link)) {
        drop(link);
    }
}

static void on_connected(uv_connect_t *req, int status)
{
    struct agent_link *link = req->data;

    if (link->ending) {
        return;
    }
    if (status < 0 || uv_read_start((uv_stream_t *)&link->pipe, on_alloc, on_read) < 0) {
        drop(link);
        return;
    }
    net_frame_reader_release(&link->reader);
    net_frame_reader_init(&link->reader, NET_FRAME_BYTES_MAX);
    link->up = true;
    link->callbacks.on_up(link->callbacks.ctx);
}

static void connect_now(uv_timer_t *timer)
{
    struct agent_link *link = timer->data;

    SK_ASSERT(uv_pipe_init(link->loop, &link->pipe, 0) == 0);
    link->pipe.data = link;
    link->open = true;
    link->handles++;
    link->connect.data = link;
    uv_pipe_connect(&link->connect, &link->pipe, link->path, on_connected);
}

static void retry_later(struct agent_link *link)
{
    (void)uv_timer_start(&link->timer, connect_now, RECONNECT_MS, 0);
}

int agent_link_new(uv_loop_t *loop, const char *socket_path,
                   const struct agent_link_callbacks *callbacks, struct agent_link **ret,
                   struct sk_err *err)
{
    struct agent_link *link = sk_xcalloc(1, sizeof(*link));

    if (strlen(socket_path) >= sizeof(link->path)) {
        free(link);
        return sk_err_set(err, SK_ERR_INPUT, "'%s' is too long for a unix socket", socket_path);
    }
    link->loop = loop;
    link->callbacks = *callbacks;
    (void)snprintf(link->path, sizeof(link->path), "%s", socket_path);
    net_frame_reader_init(&link->reader, NET_FRAME_BYTES_MAX);
    SK_ASSERT(uv_timer_init(loop, &link->timer) == 0);
    link->timer.data = link;
    link->handles = 1;
    (void)uv_timer_start(&link->timer, connect_now, 0, 0);
    *ret = link;
    return 0;
}

static void on_written(uv_write_t *req, int status)
{
    struct write_job *job = (struct write_job *)req;

    (void)status; /* a broken pipe shows in the reader */
    sk_buf_release(&job->frame);
    free(job);
}

bool agent_link_send(struct agent_link *link, struct sk_str json)
{
    struct write_job *job;
    uv_buf_t buf;

    if (!link->up || uv_stream_get_write_queue_size((uv_stream_t *)&link->pipe) > QUEUE_BYTES_MAX) {
        return false;
    }
    job = sk_xcalloc(1, sizeof(*job));
    if (net_frame_write(json, &job->frame, NULL) < 0) {
        free(job);
        return false;
    }
    buf = uv_buf_init(job->frame.ptr, (unsigned)job->frame.len);
    if (uv_write(&job->req, (uv_stream_t *)&link->pipe, &buf, 1, on_written) < 0) {
        on_written(&job->req, -1);
        return false;
    }
    return true;
}

bool agent_link_is_up(const struct agent_link *link)
{
    return link->up;
}

static void on_timer_closed(uv_handle_t *handle)
{
    struct agent_link *link = handle->data;

    link->handles--;
    free_when_closed(link);
}

void agent_link_free(struct agent_link *link)
{
    if (!link) {
        return;
    }
    link->ending = true;
    drop(link);
    uv_close((uv_handle_t *)&link->timer, on_timer_closed);
}
