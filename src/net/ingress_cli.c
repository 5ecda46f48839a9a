/* SPDX-License-Identifier: Apache-2.0 */
#include "net/ingress_cli.h"

#include <stdlib.h>

#include "base/buf.h"
#include "base/mem.h"

#define ANSWER_BYTES_MAX (256 << 10)
#define ANSWER_MS 2000

struct ingress_cli {
    uv_pipe_t pipe;
    uv_timer_t timer;
    uv_connect_t connect;
    uv_write_t write;
    struct sk_buf command, answer;
    char chunk[4096];
    ingress_cli_fn *fn; /* NULL once it was called, or cancelled */
    void *ctx;
    int open_handles;
};

static void on_close(uv_handle_t *handle)
{
    struct ingress_cli *cli = handle->data;
    if (--cli->open_handles == 0) {
        sk_buf_release(&cli->command);
        sk_buf_release(&cli->answer);
        free(cli);
    }
}

static void end(struct ingress_cli *cli)
{
    if (!uv_is_closing((uv_handle_t *)&cli->pipe)) {
        uv_close((uv_handle_t *)&cli->pipe, on_close);
        uv_close((uv_handle_t *)&cli->timer, on_close);
    }
}

/* `code` is libuv's, 0 for a whole answer. */
static void finish(struct ingress_cli *cli, int code)
{
    ingress_cli_fn *fn = cli->fn;
    struct sk_err err = {0};
    cli->fn = NULL;
    end(cli);
    if (fn != NULL) {
        if (code == UV_ETIMEDOUT) {
            (void)sk_err_set(&err, SK_ERR_TIMEOUT, "haproxy's socket does not answer");
        } else if (code < 0) {
            (void)sk_err_set(&err, SK_ERR_ENGINE, "haproxy's socket: %s", uv_strerror(code));
        }
        struct sk_str answer = code < 0 ? SK_STR("") : sk_buf_str(&cli->answer);
        fn(cli->ctx, answer, &err);
    }
}

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *ret)
{
    struct ingress_cli *cli = handle->data;
    *ret = uv_buf_init(cli->chunk, sizeof(cli->chunk));
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *chunk)
{
    struct ingress_cli *cli = stream->data;
    if (n == UV_EOF) {
        finish(cli, 0);
    } else if (n < 0) {
        finish(cli, (int)n);
    } else if (cli->answer.len + (size_t)n > ANSWER_BYTES_MAX) {
        finish(cli, UV_EMSGSIZE);
    } else {
        sk_buf_add(&cli->answer, chunk->base, (size_t)n);
    }
}

static void on_write(uv_write_t *req, int status)
{
    struct ingress_cli *cli = req->data;
    if (status < 0 && status != UV_ECANCELED) {
        finish(cli, status);
    }
}

static void on_connect(uv_connect_t *req, int status)
{
    struct ingress_cli *cli = req->data;
    if (status == UV_ECANCELED) {
        return; /* being closed */
    }
    uv_buf_t bytes = uv_buf_init(cli->command.ptr, (unsigned)cli->command.len);
    if (status == 0) {
        status = uv_read_start((uv_stream_t *)&cli->pipe, on_alloc, on_read);
    }
    if (status == 0) {
        cli->write.data = cli;
        status = uv_write(&cli->write, (uv_stream_t *)&cli->pipe, &bytes, 1, on_write);
    }
    if (status < 0) {
        finish(cli, status);
    }
}

static void on_timer(uv_timer_t *timer)
{
    finish(timer->data, UV_ETIMEDOUT);
}

struct ingress_cli *ingress_cli_ask(uv_loop_t *loop, const char *path, struct sk_str command,
                                    ingress_cli_fn *fn, void *ctx)
{
    struct ingress_cli *cli = sk_xcalloc(1, sizeof(*cli));
    cli->fn = fn;
    cli->ctx = ctx;
    cli->open_handles = 2;
    sk_buf_addstr(&cli->command, command);
    sk_buf_addc(&cli->command, '\n');
    /* neither can fail on Linux: they only fill in the handle */
    (void)uv_pipe_init(loop, &cli->pipe, 0);
    (void)uv_timer_init(loop, &cli->timer);
    cli->pipe.data = cli;
    cli->timer.data = cli;
    cli->connect.data = cli;
    (void)uv_timer_start(&cli->timer, on_timer, ANSWER_MS, 0);
    uv_pipe_connect(&cli->connect, &cli->pipe, path, on_connect);
    return cli;
}

void ingress_cli_cancel(struct ingress_cli *cli)
{
    if (cli != NULL) {
        cli->fn = NULL;
        end(cli);
    }
}
