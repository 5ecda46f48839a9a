/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SK_CLI_CLIENT_H
#define SK_CLI_CLIENT_H

#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/str.h"
#include "base/tree.h"
#include "cli/cli.h"

/*
 * The API's client: HTTP over the daemon's unix socket (DIR/run/api.sock), or HTTPS with a bearer
 * token (--server). An error answer becomes the same sk_err that the daemon had, fix included.
 * Blocks; not thread safe.
 */
struct api_client;

int api_client_new(const struct cli *cli, struct api_client **ret, struct sk_err *err);
void api_client_free(struct api_client *client);

/* method: "GET", "POST", "PUT", "DELETE". `body` JSON or SK_STR_NULL. The answer is read into
 * `arena`; its text, when wanted, is appended to `text` (may be NULL). timeout_ms bounds the whole
 * call. */
int api_call(struct api_client *client, const char *method, const char *path, struct sk_str body,
             int64_t timeout_ms, struct sk_arena *arena, const struct sk_node **ret_root,
             struct sk_buf *text, struct sk_err *err);

/* A streamed answer, line by line, until the server ends it or on_line returns false. */
typedef bool api_line_fn(struct sk_str line, void *ctx);
int api_stream(struct api_client *client, const char *path, api_line_fn *on_line, void *ctx,
               struct sk_err *err);

/* A streamed answer as the bytes that come, until it ends; false from `take` ends it. SK_ERR_*
 * also when the server breaks off. */
typedef bool api_bytes_fn(struct sk_str bytes, void *ctx);
int api_download(struct api_client *client, const char *path, api_bytes_fn *take, void *ctx,
                 struct sk_err *err);

/* Appends `text` percent-encoded for a query value or a path segment. */
void api_escape(struct sk_buf *out, struct sk_str text);

#endif
