/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/json.h"
#include "base/mem.h"

/*
 * Reading what shims wrote: the last lines, and what comes after them. A reader looks at the file's
 * name again whenever it is at the end, so rotation loses nothing that was not rotated away twice
 * meanwhile.
 */
#define TAIL_BYTES_MAX (512 * 1024)
#define TAIL_LINES_MAX 10000
#define CHUNK_BYTES (64 * 1024)
#define POLL_MS 200
#define FILES_MAX 100

struct log_stream {
    struct agent *agent;
    struct log_stream *next;
    uv_timer_t timer;
    char path[AGENT_PATH_MAX + 16];
    int64_t number;
    int fd; /* -1: the file is not there yet */
    off_t at;
    bool follow, first;
    int64_t tail;
    struct sk_buf rest; /* a line that is not whole yet */
    log_lines_fn *fn;
    void *ctx;
};

/* "2026-11-23T12:00:00.123Z stdout F text" -> "text" */
static struct sk_str text_of(struct sk_str line)
{
    struct sk_str head;
    struct sk_str rest = line;

    for (int i = 0; i < 3; i++) {
        struct sk_str tail;
        if (!sk_str_cut(rest, ' ', &head, &tail)) {
            return line;
        }
        rest = tail;
    }
    return rest;
}

static void log_path(const struct agent *agent, const char *id, unsigned i,
                     char out[AGENT_PATH_MAX + 32])
{
    char dir[AGENT_PATH_MAX];

    agent_instance_dir(agent, id, dir);
    if (i == 0) {
        (void)snprintf(out, AGENT_PATH_MAX + 32, "%s/log", dir);
    } else {
        (void)snprintf(out, AGENT_PATH_MAX + 32, "%s/log.%u", dir, i);
    }
}

/* Puts the end of a file in front of *buf. Returns how much of the file was left out. */
static off_t prepend_end(const char *path, size_t bytes_max, struct sk_buf *buf, off_t *ret_size)
{
    struct sk_buf joined = SK_BUF_INIT;
    struct stat st;
    off_t from;
    ssize_t n;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);

    *ret_size = 0;
    if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode)) {
        if (fd >= 0) {
            (void)close(fd);
        }
        return 0;
    }
    from = st.st_size > (off_t)bytes_max ? st.st_size - (off_t)bytes_max : 0;
    sk_buf_reserve(&joined, (size_t)(st.st_size - from));
    n = pread(fd, joined.ptr, (size_t)(st.st_size - from), from);
    (void)close(fd);
    joined.len = n > 0 ? (size_t)n : 0;
    *ret_size = from + (off_t)joined.len;
    if (buf->len > 0) {
        sk_buf_add(&joined, buf->ptr, buf->len);
    }
    sk_buf_release(buf);
    *buf = joined;
    return from;
}

static size_t count_lines(const struct sk_buf *buf)
{
    size_t n = 0;
    for (size_t i = 0; i < buf->len; i++) {
        n += buf->ptr[i] == '\n';
    }
    return n;
}

/* The whole lines in `bytes`, the last `max` of them, as a JSON array. */
static void lines_json(struct sk_str bytes, size_t max, struct sk_buf *out)
{
    struct sk_jw w;
    size_t at = bytes.len, lines = 0;

    while (at > 0 && lines <= max) {
        at--;
        if (bytes.ptr[at] == '\n' && ++lines > max) {
            at++;
            break;
        }
    }
    sk_jw_init(&w, out);
    sk_jw_arr(&w);
    while (at < bytes.len) {
        const char *end = memchr(bytes.ptr + at, '\n', bytes.len - at);
        if (!end) {
            break;
        }
        sk_jw_str(&w, text_of((struct sk_str){bytes.ptr + at, (size_t)(end - bytes.ptr) - at}));
        at = (size_t)(end - bytes.ptr) + 1;
    }
    sk_jw_arr_end(&w);
}

/* Lines from the newest files backwards until there are enough. *ret_at: where the newest ends. */
static void read_tail(const struct agent *agent, const char *id, size_t lines, struct sk_buf *buf,
                      off_t *ret_at)
{
    char path[AGENT_PATH_MAX + 32];

    *ret_at = 0;
    for (unsigned i = 0; i < FILES_MAX; i++) {
        off_t size, cut;
        log_path(agent, id, i, path);
        cut = prepend_end(path, TAIL_BYTES_MAX - buf->len, buf, &size);
        if (i == 0) {
            *ret_at = size;
        }
        if (size == 0 || cut > 0 || buf->len >= TAIL_BYTES_MAX || count_lines(buf) > lines) {
            break;
        }
    }
}

void logs_tail_json(const struct agent *agent, const char *id, unsigned max, struct sk_buf *out)
{
    struct sk_buf buf = SK_BUF_INIT;
    off_t at;

    read_tail(agent, id, max, &buf, &at);
    lines_json(sk_buf_str(&buf), max, out);
    sk_buf_release(&buf);
}

static void give(struct log_stream *s, size_t max, bool end)
{
    struct sk_buf json = SK_BUF_INIT;
    size_t whole = s->rest.len;

    while (whole > 0 && s->rest.ptr[whole - 1] != '\n') {
        whole--;
    }
    if (whole > 0 || end) {
        lines_json((struct sk_str){s->rest.ptr, whole}, max, &json);
        sk_buf_consume(&s->rest, whole);
        s->fn(s->ctx, s, sk_buf_str(&json), end);
        sk_buf_release(&json);
    }
}

/* At the end of the open file: has the name moved on to a newer one? */
static bool rotated(const struct log_stream *s)
{
    struct stat open_st, name_st;

    return stat(s->path, &name_st) == 0 &&
           (s->fd < 0 || (fstat(s->fd, &open_st) == 0 &&
                          (open_st.st_ino != name_st.st_ino || open_st.st_dev != name_st.st_dev)));
}

static void reopen(struct log_stream *s)
{
    if (s->fd >= 0) {
        (void)close(s->fd);
    }
    s->fd = open(s->path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    s->at = 0;
}

static void read_more(struct log_stream *s)
{
    char chunk[8192];

    while (s->rest.len < CHUNK_BYTES) {
        ssize_t n = s->fd < 0 ? 0 : pread(s->fd, chunk, sizeof(chunk), s->at);
        if (n > 0) {
            sk_buf_add(&s->rest, chunk, (size_t)n);
            s->at += n;
        } else if (rotated(s)) {
            reopen(s);
            if (s->fd < 0) {
                return;
            }
        } else {
            struct stat st;
            if (s->fd >= 0 && fstat(s->fd, &st) == 0 && st.st_size < s->at) {
                s->at = 0; /* one file only: rotation empties it */
            }
            return;
        }
    }
}

static void on_poll(uv_timer_t *timer)
{
    struct log_stream *s = timer->data;

    if (s->first) {
        s->first = false;
        give(s, (size_t)s->tail, !s->follow);
        return; /* the callback may have closed the stream */
    }
    read_more(s);
    give(s, SIZE_MAX, false);
}

struct log_stream *log_stream_open(struct agent *agent, const char *id, int64_t number,
                                   int64_t tail, bool follow, log_lines_fn *fn, void *ctx,
                                   struct sk_err *err)
{
    struct log_stream *s;
    char dir[AGENT_PATH_MAX];

    agent_instance_dir(agent, id, dir);
    if (!agent_state_find(&agent->state, id) || access(dir, F_OK) < 0) {
        (void)sk_err_set(err, SK_ERR_NOT_FOUND, "there is no instance '%s' on this node", id);
        return NULL;
    }
    s = sk_xcalloc(1, sizeof(*s));
    s->agent = agent;
    s->number = number;
    s->follow = follow;
    s->first = true;
    s->tail = tail < 0 || tail > TAIL_LINES_MAX ? TAIL_LINES_MAX : tail;
    s->fn = fn;
    s->ctx = ctx;
    (void)snprintf(s->path, sizeof(s->path), "%s/log", dir);
    s->fd = open(s->path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    read_tail(agent, id, (size_t)s->tail, &s->rest, &s->at);
    (void)uv_timer_init(&agent->loop, &s->timer);
    s->timer.data = s;
    (void)uv_timer_start(&s->timer, on_poll, 0, POLL_MS);
    return s;
}

static void on_closed(uv_handle_t *handle)
{
    free(handle->data);
}

void log_stream_close(struct log_stream *stream)
{
    if (!stream) {
        return;
    }
    if (stream->fd >= 0) {
        (void)close(stream->fd);
    }
    sk_buf_release(&stream->rest);
    uv_close((uv_handle_t *)&stream->timer, on_closed);
}

int64_t log_stream_number(const struct log_stream *stream)
{
    return stream->number;
}

struct log_stream **log_stream_next(struct log_stream *stream)
{
    return &stream->next;
}
