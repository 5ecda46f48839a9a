/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Requests to the API: method, path, query and body of every route, up to the call that would go to
 * the loop thread. The HTTP library below is not ours; its place is taken by what the input says.
 *
 * Input: "METHOD PATH\nQUERY\nAUTHORIZATION\nBODY".
 */
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#include "base/err.h"
#include "base/hash.h"
#include "base/mem.h"
#include "daemon/api.h"
#include "http/server.h"

struct http_exchange {
    struct sk_str method, path, query, authorization, body;
    char value[256];
    int replies;
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct sk_str http_method(const struct http_exchange *x)
{
    return x->method;
}

struct sk_str http_path(const struct http_exchange *x)
{
    return x->path;
}

/* "name=value&...", without decoding: what a value may be is the same. */
struct sk_str http_query(const struct http_exchange *x, const char *name)
{
    struct sk_str rest = x->query;

    while (rest.len) {
        struct sk_str part, key, value;
        (void)sk_str_cut(rest, '&', &part, &rest);
        if (sk_str_cut(part, '=', &key, &value) && sk_str_is(key, name)) {
            return value;
        }
    }
    return SK_STR_NULL;
}

struct sk_str http_header(const struct http_exchange *x, const char *name)
{
    return strcmp(name, "Authorization") == 0  ? x->authorization
           : strcmp(name, FORWARD_BEHALF) == 0 ? x->query /* of a control node */
                                               : SK_STR_NULL;
}

/* Nobody is asked: no call gets so far. */
void http_target(const struct http_exchange *x, struct sk_buf *out)
{
    sk_buf_addstr(out, x->path);
}

struct sk_str http_body(const struct http_exchange *x)
{
    return x->body;
}

bool http_is_unix(const struct http_exchange *x)
{
    return x->authorization.len == 0;
}

uid_t http_peer_uid(const struct http_exchange *x)
{
    (void)x;
    return 0;
}

void http_reply(struct http_exchange *x, int status, const char *content_type, struct sk_str body)
{
    SK_ASSERT(status >= 200 && status < 600 && content_type && body.len > 0);
    x->replies++;
}

void http_reply_stream(struct http_exchange *x, int status, const char *content_type,
                       http_stream_read_fn *read, void (*release)(void *ctx), void *ctx)
{
    SK_ASSERT(status == 200 && content_type && read);
    x->replies++;
    release(ctx);
}

static int resolve(void *ctx, struct sk_str ref, struct sk_buf *ret_digest, struct sk_err *err)
{
    (void)ctx;
    if (ref.len % 7 == 0) {
        return sk_err_set(err, SK_ERR_ENGINE, "image '%.*s' is not there", SK_PRI(ref));
    }
    sk_buf_adds(ret_digest,
                "sha256:0000000000000000000000000000000000000000000000000000000000000000");
    return 0;
}

/* A queue that takes nothing: each call that gets so far is answered with "stopping". */
static struct sys_queue *closed_queue(void)
{
    static struct sys_queue *queue;

    if (!queue) {
        uv_loop_t loop;
        SK_ASSERT(uv_loop_init(&loop) == 0);
        queue = sys_queue_ref(sys_queue_new(&loop, 1, NULL, NULL));
        sys_queue_close(queue, NULL);
        (void)uv_run(&loop, UV_RUN_DEFAULT);
        (void)uv_loop_close(&loop);
    }
    return queue;
}

static struct sk_str line(struct sk_str *rest)
{
    struct sk_str head;
    (void)sk_str_cut(*rest, '\n', &head, rest);
    return head;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct http_exchange x = {0};
    struct api_context api = {.calls = closed_queue(), .resolve_image = resolve};
    char *copy =
        sk_xstrndup((const char *)data, size); /* of its exact size: reading past it is seen */
    struct sk_str rest = {copy, size};
    struct sk_str first = line(&rest);

    memset(api.ca_fingerprint, 'a', sizeof(api.ca_fingerprint) - 1);
    (void)snprintf(api.peer_token, sizeof(api.peer_token), "skp1.peer");
    sk_sha256_hex(SK_STR("skp1.peer"), api.peer_hash);
    (void)sk_str_cut(first, ' ', &x.method, &x.path);
    x.query = line(&rest);
    x.authorization = line(&rest);
    x.body = rest;
    if (x.body.len <= api_body_max(x.method, x.path)) {
        api_handle(&x, &api);
        SK_ASSERT(x.replies == 1);
    }
    free(copy);
    return 0;
}
