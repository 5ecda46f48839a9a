/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SK_STORE_ETCD_HTTP_H
#define SK_STORE_ETCD_HTTP_H

#include "base/buf.h"
#include "store/etcd.h"

/*
 * HTTPS to the members of an etcd cluster: one request at a time to the current endpoint, and one
 * stream. TLS 1.3, both sides verified, no redirects, no proxy. What comes in is bounded.
 *
 * A request ends when it is answered, when nothing moved on it for attempt_ms (connecting is no
 * movement), or at its deadline. Nothing is sent twice by this module on purpose, but libcurl sends
 * a request again when a kept connection turns out to be dead: who uses this must bear that.
 */
struct etcd_http;

enum etcd_sent {
    ETCD_NOT_SENT, /* no byte of the request left: it had no effect */
    ETCD_OPEN,     /* it may have arrived, and may still have its effect */
    ETCD_ANSWERED  /* *ret_status and the body are there */
};

/* Copies what it needs of the options. SK_ERR_INPUT. */
int etcd_http_new(const struct store_etcd *options, struct etcd_http **ret, struct sk_err *err);
void etcd_http_free(struct etcd_http *http); /* NULL allowed */

/* Posts `body` to the current endpoint. The answer replaces *answer. SK_ERR_LIMIT in err: the
 * answer was larger than answer_max. */
enum etcd_sent etcd_http_post(struct etcd_http *http, const char *path, struct sk_str body,
                              int64_t until_ms, size_t answer_max, struct sk_buf *answer,
                              long *ret_status, struct sk_err *err);
size_t etcd_http_count(const struct etcd_http *http);
size_t etcd_http_at(const struct etcd_http *http); /* the current endpoint */
void etcd_http_set(struct etcd_http *http, size_t at);
void etcd_http_next(struct etcd_http *http);
const char *etcd_http_endpoint(const struct etcd_http *http, size_t at);
int64_t etcd_http_attempt_ms(const struct etcd_http *http);
bool etcd_http_stopped(struct etcd_http *http); /* by stop_fd: for good */
/* The whole list from the next request on; the current endpoint stays so if it is in it.
 * SK_ERR_INPUT. */
int etcd_http_set_endpoints(struct etcd_http *http, const char *const *endpoints, size_t count,
                            struct sk_err *err);

/* An answer that does not end: a watch, a snapshot. One at a time. */
struct etcd_stream;
struct etcd_stream *etcd_stream_open(struct etcd_http *http, size_t at, const char *path,
                                     struct sk_str body);
void etcd_stream_close(struct etcd_stream *stream); /* NULL allowed */
/* Waits until something came (1), nothing did (0), or the answer ended (SK_ERR_UNAVAILABLE). What
 * came stands in etcd_stream_in(), the caller consumes it; beyond bytes_max nothing is read. */
int etcd_stream_wait(struct etcd_stream *stream, int64_t until_ms, size_t bytes_max,
                     struct sk_err *err);
struct sk_buf *etcd_stream_in(struct etcd_stream *stream);
long etcd_stream_status(const struct etcd_stream *stream);

#endif
