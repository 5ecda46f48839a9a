/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SK_HTTP_SERVER_H
#define SK_HTTP_SERVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/str.h"

/*
 * The HTTP edge. Hides the library behind it (libmicrohttpd, one thread a connection, all bounded).
 *
 * The handler runs on the connection's own thread, once a request is complete; it may block, must
 * call exactly one http_reply*(), and must not touch what the loop thread owns. Limits hold before
 * any authentication: connections in all and per source address, header bytes, body bytes by route,
 * idle time.
 */
struct http_server;
struct http_exchange;

typedef void http_handler_fn(struct http_exchange *x, void *ctx);
/* How large a body this route takes; 0 = none. */
typedef size_t http_body_max_fn(struct sk_str method, struct sk_str path);

struct http_config {
    int unix_fd;          /* a listening AF_UNIX socket, or -1 */
    const char *address;  /* HTTPS: IP to listen on, NULL with unix_fd */
    uint16_t port;        /* 0 = any: http_server_port() tells */
    const char *cert_pem; /* HTTPS: certificate chain and key; copied */
    const char *key_pem;
    unsigned connections_max;
    http_body_max_fn *body_max;
    http_handler_fn *handler;
    void *ctx;
};

int http_server_start(const struct http_config *config, struct http_server **ret,
                      struct sk_err *err);
void http_server_stop(struct http_server *server); /* waits for handlers; NULL allowed */
/* HTTPS with another certificate on the same socket, without a moment in which nobody listens.
 * `old` takes no more connections, answers those that it has, and belongs to *ret; the call does
 * not wait for that, stopping *ret does. On failure nobody listens any more, and *ret is set all
 * the same: to what is to be stopped. */
int http_server_hand_over(struct http_server *old, const char *cert_pem, const char *key_pem,
                          struct http_server **ret, struct sk_err *err);
uint16_t http_server_port(const struct http_server *server);

struct sk_str http_method(const struct http_exchange *x);
struct sk_str http_path(const struct http_exchange *x); /* decoded, without the query */
struct sk_str http_query(const struct http_exchange *x, const char *name);  /* ptr NULL if absent */
struct sk_str http_header(const struct http_exchange *x, const char *name); /* ptr NULL if absent */
/* Appends path and query, escaped anew, as they may be asked of somebody else. */
void http_target(const struct http_exchange *x, struct sk_buf *out);
struct sk_str http_body(const struct http_exchange *x);
bool http_is_unix(const struct http_exchange *x);
uid_t http_peer_uid(
    const struct http_exchange *x); /* of the process at the other end of a unix socket */

void http_reply(struct http_exchange *x, int status, const char *content_type, struct sk_str body);
/* A body made while it is sent. read() fills at most `max` bytes and returns how many; 0 = nothing
 * yet (it may block for a short time first), -1 = the end, -2 = it cannot go on: the client sees
 * that its end is missing. release() is called once, when the
 * stream is over for any reason. */
typedef ssize_t http_stream_read_fn(void *ctx, char *buf, size_t max);
void http_reply_stream(struct http_exchange *x, int status, const char *content_type,
                       http_stream_read_fn *read, void (*release)(void *ctx), void *ctx);

#endif
