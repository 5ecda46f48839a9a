/* SPDX-License-Identifier: Apache-2.0 */
#include "sys/proc.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/mem.h"

/* A killed child's pipes can be held open by a descendant that left the group: not for longer. */
#define LINGER_MS 1000

struct sk_proc {
    uv_process_t process;
    uv_timer_t timer;
    uv_pipe_t in, out, err;
    uv_write_t write;
    char *name;
    char *input;
    int64_t timeout_ms;
    size_t out_max;
    struct sk_buf out_bytes, err_bytes;
    bool out_cut, timed_out, cancelled, exited;
    int64_t exit;
    int signal;
    unsigned open_pipes;   /* out and err that have not ended */
    unsigned open_handles; /* what uv_close() has still to confirm */
    bool closing;
    sk_proc_done_fn *done;
    void *ctx;
    char chunk[8192];
};

const char *const sk_proc_default_env[] = {
    "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/", "LC_ALL=C",
    NULL};

static struct sk_str last_line(const struct sk_buf *buf)
{
    struct sk_str s = sk_buf_str(buf);

    while (s.len > 0 &&
           (s.ptr[s.len - 1] == '\n' || s.ptr[s.len - 1] == '\r' || s.ptr[s.len - 1] == ' ')) {
        s.len--;
    }
    for (size_t i = s.len; i > 0; i--) {
        if (s.ptr[i - 1] == '\n') {
            return (struct sk_str){s.ptr + i, s.len - i};
        }
    }
    return s;
}

static void judge(struct sk_proc *p, struct sk_err *err)
{
    struct sk_str line = last_line(&p->err_bytes);

    if (p->cancelled) {
        (void)sk_err_set(err, SK_ERR_CANCELLED, "'%s' was cancelled", p->name);
    } else if (p->timed_out) {
        (void)sk_err_set(err, SK_ERR_TIMEOUT, "'%s' did not end within %" PRId64 " ms", p->name,
                         p->timeout_ms);
    } else if (p->signal) {
        (void)sk_err_set(err, SK_ERR_ENGINE, "'%s' was killed by signal %d", p->name, p->signal);
    } else if (p->exit != 0 && line.len > 0) {
        (void)sk_err_set(err, SK_ERR_ENGINE, "'%s' exited with %d: %.*s", p->name, (int)p->exit,
                         SK_PRI(line));
    } else if (p->exit != 0) {
        (void)sk_err_set(err, SK_ERR_ENGINE, "'%s' exited with %d", p->name, (int)p->exit);
    }
}

static void report_and_free(struct sk_proc *p)
{
    struct sk_proc_result result = {.exit = p->signal ? -1 : (int)p->exit,
                                    .signal = p->signal,
                                    .timed_out = p->timed_out,
                                    .cancelled = p->cancelled,
                                    .out_cut = p->out_cut};

    sk_buf_reserve(&p->out_bytes, 1);
    sk_buf_reserve(&p->err_bytes, 1);
    p->out_bytes.ptr[p->out_bytes.len] = '\0';
    p->err_bytes.ptr[p->err_bytes.len] = '\0';
    result.out = sk_buf_str(&p->out_bytes);
    result.error = sk_buf_str(&p->err_bytes);
    judge(p, &result.err);
    if (p->done) {
        p->done(p->ctx, &result);
    }
    sk_buf_release(&p->out_bytes);
    sk_buf_release(&p->err_bytes);
    free(p->input);
    free(p->name);
    free(p);
}

static void on_closed(uv_handle_t *handle)
{
    struct sk_proc *p = handle->data;
    if (--p->open_handles == 0 && p->closing) {
        report_and_free(p);
    }
}

static void close_handle(struct sk_proc *p, uv_handle_t *handle)
{
    if (!uv_is_closing(handle)) {
        p->open_handles++;
        uv_close(handle, on_closed);
    }
}

static void close_all(struct sk_proc *p)
{
    if (p->closing) {
        return;
    }
    p->closing = true;
    close_handle(p, (uv_handle_t *)&p->process);
    close_handle(p, (uv_handle_t *)&p->timer);
    close_handle(p, (uv_handle_t *)&p->in);
    close_handle(p, (uv_handle_t *)&p->out);
    close_handle(p, (uv_handle_t *)&p->err);
}

static void on_linger(uv_timer_t *timer)
{
    close_all(timer->data);
}

static void maybe_finish(struct sk_proc *p)
{
    if (p->exited && p->open_pipes == 0) {
        close_all(p);
    }
}

static void on_exit_status(uv_process_t *process, int64_t status, int term_signal)
{
    struct sk_proc *p = process->data;

    p->exited = true;
    p->exit = status;
    p->signal = term_signal;
    (void)uv_timer_start(&p->timer, on_linger, LINGER_MS, 0);
    maybe_finish(p);
}

static void on_timeout(uv_timer_t *timer)
{
    struct sk_proc *p = timer->data;

    p->timed_out = true;
    (void)kill(-p->process.pid, SIGKILL);
}

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
    struct sk_proc *p = handle->data;
    *buf = uv_buf_init(p->chunk, sizeof(p->chunk));
}

static void keep_tail(struct sk_buf *buf, const char *bytes, size_t len)
{
    sk_buf_add(buf, bytes, len);
    if (buf->len > SK_PROC_ERR_MAX) {
        sk_buf_consume(buf, buf->len - SK_PROC_ERR_MAX);
    }
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
    struct sk_proc *p = stream->data;

    if (n < 0) {
        (void)uv_read_stop(stream);
        p->open_pipes--;
        maybe_finish(p);
    } else if (stream == (uv_stream_t *)&p->err) {
        keep_tail(&p->err_bytes, buf->base, (size_t)n);
    } else {
        size_t room = p->out_max - p->out_bytes.len;
        size_t take = (size_t)n < room ? (size_t)n : room;
        sk_buf_add(&p->out_bytes, buf->base, take);
        p->out_cut = p->out_cut || take < (size_t)n;
    }
}

static void on_written(uv_write_t *req, int status)
{
    struct sk_proc *p = req->data; /* a child that does not read its input is no error here */
    if (!p->closing) {
        close_handle(p, (uv_handle_t *)&p->in);
    }
}

static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

static int spawn(uv_loop_t *loop, struct sk_proc *p, const struct sk_proc_spec *spec)
{
    const char *const *env = spec->env ? spec->env : sk_proc_default_env;
    uv_stdio_container_t stdio[3];
    uv_process_options_t options = {0};

    stdio[0].flags = spec->input.len ? UV_CREATE_PIPE | UV_READABLE_PIPE : UV_IGNORE;
    stdio[0].data.stream = (uv_stream_t *)&p->in;
    stdio[1].flags = UV_CREATE_PIPE | UV_WRITABLE_PIPE;
    stdio[1].data.stream = (uv_stream_t *)&p->out;
    stdio[2].flags = UV_CREATE_PIPE | UV_WRITABLE_PIPE;
    stdio[2].data.stream = (uv_stream_t *)&p->err;
    options.exit_cb = on_exit_status;
    options.file = spec->argv[0];
    /* libuv takes these without const and does not write to them */
    memcpy(&options.args, &spec->argv, sizeof(options.args));
    memcpy(&options.env, &env, sizeof(options.env));
    options.cwd = spec->cwd;
    options.stdio_count = 3;
    options.stdio = stdio;
    options.flags = UV_PROCESS_DETACHED;
    if (spec->has_user) {
        options.flags |= UV_PROCESS_SETUID | UV_PROCESS_SETGID;
        options.uid = spec->uid;
        options.gid = spec->gid;
    }
    return uv_spawn(loop, &p->process, &options);
}

static void init_handles(uv_loop_t *loop, struct sk_proc *p)
{
    (void)uv_timer_init(loop, &p->timer);
    (void)uv_pipe_init(loop, &p->in, 0);
    (void)uv_pipe_init(loop, &p->out, 0);
    (void)uv_pipe_init(loop, &p->err, 0);
    p->process.data = p->timer.data = p->in.data = p->out.data = p->err.data = p;
}

static int start_failed(struct sk_proc *p, int rc, const struct sk_proc_spec *spec,
                        struct sk_err *err)
{
    const char *name = base_name(spec->argv[0]);

    if (rc == UV_ENOENT && !spec->cwd) {
        (void)sk_err_set(err, SK_ERR_ENGINE, "program '%s' is not installed", name);
        (void)sk_err_fix(err, "install '%s', or put it in PATH", name);
    } else {
        (void)sk_err_set(err, SK_ERR_ENGINE, "cannot start '%s': %s", name, uv_strerror(rc));
    }
    p->done = NULL; /* closing is asynchronous, the news is not */
    close_all(p);
    return SK_ERR_ENGINE;
}

int sk_proc_start(uv_loop_t *loop, const struct sk_proc_spec *spec, sk_proc_done_fn *done,
                  void *ctx, struct sk_proc **ret, struct sk_err *err)
{
    struct sk_proc *p = sk_xcalloc(1, sizeof(*p));
    int rc;

    p->name = sk_xstrdup(base_name(spec->argv[0]));
    p->timeout_ms = spec->timeout_ms;
    p->out_max = spec->out_max;
    p->done = done;
    p->ctx = ctx;
    init_handles(loop, p);
    rc = spawn(loop, p, spec);
    if (rc < 0) {
        return start_failed(p, rc, spec, err);
    }
    p->open_pipes = 2;
    (void)uv_read_start((uv_stream_t *)&p->out, on_alloc, on_read);
    (void)uv_read_start((uv_stream_t *)&p->err, on_alloc, on_read);
    if (spec->input.len) {
        uv_buf_t buf;
        p->input = sk_xstrndup(spec->input.ptr, spec->input.len);
        buf = uv_buf_init(p->input, (unsigned)spec->input.len);
        p->write.data = p;
        (void)uv_write(&p->write, (uv_stream_t *)&p->in, &buf, 1, on_written);
    }
    if (spec->timeout_ms > 0) {
        (void)uv_timer_start(&p->timer, on_timeout, (uint64_t)spec->timeout_ms, 0);
    }
    if (ret) {
        *ret = p;
    }
    return 0;
}

void sk_proc_cancel(struct sk_proc *proc)
{
    if (!proc->exited) {
        proc->cancelled = true;
        (void)kill(-proc->process.pid, SIGKILL);
    }
}

pid_t sk_proc_pid(const struct sk_proc *proc)
{
    return proc->process.pid;
}
