/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/call.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/mem.h"

struct call_box {
    struct api_call call; /* first: the two are the same address */
    pthread_mutex_t lock;
    pthread_cond_t answered;
    unsigned refs;
    bool done;
};

static const char *const role_names[] = {"nobody", "viewer", "operator", "admin"};

const char *api_role_name(enum api_role role)
{
    return role_names[role];
}

enum api_role api_role_from_name(const char *name)
{
    for (size_t i = 1; name && i < SK_ARRAY_LEN(role_names); i++) {
        if (strcmp(name, role_names[i]) == 0) {
            return (enum api_role)i;
        }
    }
    return API_NOBODY;
}

static void cond_init_monotonic(pthread_cond_t *cond)
{
    pthread_condattr_t attr;

    (void)pthread_condattr_init(&attr);
    (void)pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    (void)pthread_cond_init(cond, &attr);
    (void)pthread_condattr_destroy(&attr);
}

static struct timespec deadline_in(int64_t ms)
{
    struct timespec ts;

    (void)clock_gettime(CLOCK_MONOTONIC, &ts);
    ts.tv_sec += ms / 1000;
    ts.tv_nsec += (ms % 1000) * 1000000;
    if (ts.tv_nsec >= 1000000000) {
        ts.tv_sec++;
        ts.tv_nsec -= 1000000000;
    }
    return ts;
}

struct api_call *api_call_new(void)
{
    struct call_box *box = sk_xcalloc(1, sizeof(*box));

    (void)pthread_mutex_init(&box->lock, NULL);
    cond_init_monotonic(&box->answered);
    box->refs = 1;
    box->call.arena = sk_arena_new();
    return &box->call;
}

void api_call_ref(struct api_call *call)
{
    struct call_box *box = (struct call_box *)call;

    (void)pthread_mutex_lock(&box->lock);
    box->refs++;
    (void)pthread_mutex_unlock(&box->lock);
}

void api_call_unref(struct api_call *call)
{
    struct call_box *box = (struct call_box *)call;
    unsigned left;

    if (!call) {
        return;
    }
    (void)pthread_mutex_lock(&box->lock);
    left = --box->refs;
    (void)pthread_mutex_unlock(&box->lock);
    if (left == 0) {
        (void)pthread_cond_destroy(&box->answered);
        (void)pthread_mutex_destroy(&box->lock);
        sk_buf_release(&call->answer);
        api_feed_unref(call->stream);
        sk_arena_free(call->arena);
        free(box);
    }
}

void api_call_done(struct api_call *call)
{
    struct call_box *box = (struct call_box *)call;

    (void)pthread_mutex_lock(&box->lock);
    box->done = true;
    (void)pthread_cond_signal(&box->answered);
    (void)pthread_mutex_unlock(&box->lock);
}

int api_call_wait(struct api_call *call, struct sys_queue *queue, int64_t timeout_ms,
                  struct sk_err *err)
{
    struct call_box *box = (struct call_box *)call;
    struct timespec until = deadline_in(timeout_ms);
    bool done;

    api_call_ref(call); /* the loop thread's */
    if (!sys_queue_push(queue, call)) {
        api_call_unref(call);
        return sk_err_set(err, SK_ERR_UNAVAILABLE,
                          "the daemon has too many calls under way, or is stopping");
    }
    (void)pthread_mutex_lock(&box->lock);
    while (!box->done && pthread_cond_timedwait(&box->answered, &box->lock, &until) != ETIMEDOUT) {
    }
    done = box->done;
    (void)pthread_mutex_unlock(&box->lock);
    if (!done) {
        (void)sk_err_set(err, SK_ERR_TIMEOUT, "no answer within %lld s",
                         (long long)(timeout_ms / 1000));
        return sk_err_fix(err, "it may still be carried out: see 'skerry events'");
    }
    if (call->err.code < 0 && err) {
        *err = call->err;
    }
    return call->err.code;
}

struct api_feed {
    pthread_mutex_t lock;
    pthread_cond_t more;
    struct sk_buf buf;
    unsigned refs;
    bool ended;
    bool gone;
};

struct api_feed *api_feed_new(void)
{
    struct api_feed *feed = sk_xcalloc(1, sizeof(*feed));

    (void)pthread_mutex_init(&feed->lock, NULL);
    cond_init_monotonic(&feed->more);
    feed->refs = 1;
    return feed;
}

void api_feed_ref(struct api_feed *feed)
{
    (void)pthread_mutex_lock(&feed->lock);
    feed->refs++;
    (void)pthread_mutex_unlock(&feed->lock);
}

void api_feed_unref(struct api_feed *feed)
{
    unsigned left;

    if (!feed) {
        return;
    }
    (void)pthread_mutex_lock(&feed->lock);
    left = --feed->refs;
    (void)pthread_mutex_unlock(&feed->lock);
    if (left == 0) {
        (void)pthread_cond_destroy(&feed->more);
        (void)pthread_mutex_destroy(&feed->lock);
        sk_buf_release(&feed->buf);
        free(feed);
    }
}

bool api_feed_push(struct api_feed *feed, struct sk_str bytes)
{
    bool taken = false;

    (void)pthread_mutex_lock(&feed->lock);
    if (!feed->gone && !feed->ended) {
        taken = feed->buf.len + bytes.len <= API_FEED_BYTES_MAX;
        if (taken) {
            sk_buf_addstr(&feed->buf, bytes);
        } else {
            feed->ended = true; /* overrun: what is there still goes out, then the end */
        }
        (void)pthread_cond_signal(&feed->more);
    }
    (void)pthread_mutex_unlock(&feed->lock);
    return taken;
}

void api_feed_end(struct api_feed *feed)
{
    (void)pthread_mutex_lock(&feed->lock);
    feed->ended = true;
    (void)pthread_cond_signal(&feed->more);
    (void)pthread_mutex_unlock(&feed->lock);
}

bool api_feed_gone(struct api_feed *feed)
{
    bool gone;

    (void)pthread_mutex_lock(&feed->lock);
    gone = feed->gone || feed->ended;
    (void)pthread_mutex_unlock(&feed->lock);
    return gone;
}

#define FEED_WAIT_MS 1000

ssize_t api_feed_read(void *ctx, char *buf, size_t max)
{
    struct api_feed *feed = ctx;
    struct timespec until = deadline_in(FEED_WAIT_MS);
    ssize_t n = 0;

    (void)pthread_mutex_lock(&feed->lock);
    while (feed->buf.len == 0 && !feed->ended) {
        if (pthread_cond_timedwait(&feed->more, &feed->lock, &until) == ETIMEDOUT) {
            break;
        }
    }
    if (feed->buf.len) {
        size_t take = feed->buf.len < max ? feed->buf.len : max;
        memcpy(buf, feed->buf.ptr, take);
        sk_buf_consume(&feed->buf, take);
        n = (ssize_t)take;
    } else if (feed->ended) {
        n = -1;
    } else if (max > 0) {
        /* an empty line is nothing to any reader of lines, and shows us that the other side is
         * still there */
        buf[0] = '\n';
        n = 1;
    }
    (void)pthread_mutex_unlock(&feed->lock);
    return n;
}

void api_feed_release(void *ctx)
{
    struct api_feed *feed = ctx;

    (void)pthread_mutex_lock(&feed->lock);
    feed->gone = true;
    (void)pthread_mutex_unlock(&feed->lock);
    api_feed_unref(feed);
}
