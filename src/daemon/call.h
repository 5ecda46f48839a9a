/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SK_DAEMON_CALL_H
#define SK_DAEMON_CALL_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/str.h"
#include "control/control.h"
#include "sys/queue.h"

/*
 * One API call on its way from an HTTP thread to the loop thread and back.
 *
 * The HTTP thread makes it, posts it and waits; the loop thread answers it once. Both hold a
 * reference, so a caller that gave up waiting leaves nothing dangling.
 */
enum api_role { API_NOBODY, API_VIEWER, API_OPERATOR, API_ADMIN };
const char *api_role_name(enum api_role role);
enum api_role api_role_from_name(const char *name); /* API_NOBODY for an unknown or NULL name */

struct api_call;
struct host;
typedef void api_run_fn(struct host *host, struct api_call *call);

struct api_call {
    struct sk_arena *arena; /* owned: the request's strings */
    /* who asks: filled by the HTTP thread */
    bool is_unix;
    uid_t uid;
    struct sk_str bearer_hash; /* "" = none given */
    enum api_role needs;
    bool is_peer; /* another control node asks, in the name of `peer_who` */
    enum api_role peer_role;
    struct sk_str peer_who;
    bool
        may_forward; /* the leader's to answer: if that is another one, `elsewhere` is the answer */
    /* what is asked */
    api_run_fn *run; /* on the loop thread, once the role was checked; NULL: check only that */
    struct control_request request; /* for api_run_request() */
    struct sk_str arg1, arg2;       /* for queries */
    struct sk_str pems[3];          /* of an operator's own etcd: CA, certificate, key */
    int64_t number;
    struct api_feed *stream; /* of a streaming route; the call has a reference of its own */
    /* who it is: filled by the loop thread */
    enum api_role role;
    struct sk_str who;
    /* the answer */
    bool elsewhere;       /* nothing was done: this control node does not lead */
    struct sk_str leader; /* the address of the one that does, as far as is known; "" */
    struct sk_err err;
    struct sk_buf answer;
};

struct api_call *api_call_new(void);
void api_call_ref(struct api_call *call);
void api_call_unref(struct api_call *call);

/* Loop thread: the answer stands (call->err, call->answer); wakes the waiting thread. */
void api_call_done(struct api_call *call);
/* HTTP thread: posts and waits. SK_ERR_TIMEOUT, SK_ERR_UNAVAILABLE (queue full, shutting down), or
 * call->err.code. */
int api_call_wait(struct api_call *call, struct sys_queue *queue, int64_t timeout_ms,
                  struct sk_err *err);

/*
 * A feed: lines that the loop thread appends and an HTTP thread streams out. Bounded: a reader that
 * is too slow loses the connection, never the daemon's memory.
 */
struct api_feed;
#define API_FEED_BYTES_MAX (1024u * 1024)
struct api_feed *api_feed_new(void);
void api_feed_ref(struct api_feed *feed);
void api_feed_unref(struct api_feed *feed);
bool api_feed_push(struct api_feed *feed, struct sk_str bytes); /* false: closed or overrun */
void api_feed_end(struct api_feed *feed);  /* by the writer: after what is in it, the end */
bool api_feed_gone(struct api_feed *feed); /* the reader has left */
ssize_t api_feed_read(void *feed, char *buf, size_t max); /* http_stream_read_fn */
void api_feed_release(void *feed); /* the reader leaves; drops its reference */

#endif
