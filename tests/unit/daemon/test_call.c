/* SPDX-License-Identifier: Apache-2.0 */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "daemon/api.h"
#include "daemon/call.h"
#include "http/server.h"

/* A loop thread that answers calls, or does not. */
struct desk {
    uv_loop_t loop;
    struct sys_queue *queue;
    struct api_call *held; /* kept unanswered */
    bool hold;
};

static void on_call(void *item, void *ctx)
{
    struct desk *desk = ctx;
    struct api_call *call = item;

    if (desk->hold) {
        desk->held = call;
        uv_stop(&desk->loop);
        return;
    }
    if (call->number == 7) {
        (void)sk_err_set(&call->err, SK_ERR_NOT_FOUND, "there is no seven");
    } else {
        sk_buf_printf(&call->answer, "%lld", (long long)call->number * 2);
    }
    api_call_done(call);
    api_call_unref(call);
    uv_stop(&desk->loop);
}

static void *run_loop(void *arg)
{
    struct desk *desk = arg;
    (void)uv_run(&desk->loop, UV_RUN_DEFAULT);
    return NULL;
}

static void desk_open(struct desk *desk, bool hold)
{
    assert_int_equal(uv_loop_init(&desk->loop), 0);
    desk->hold = hold;
    desk->held = NULL;
    desk->queue = sys_queue_new(&desk->loop, 4, on_call, desk);
}

static void desk_close(struct desk *desk)
{
    sys_queue_close(desk->queue, NULL);
    (void)uv_run(&desk->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&desk->loop), 0);
}

static int ask(struct desk *desk, int64_t number, int64_t timeout_ms, struct sk_buf *answer,
               struct sk_err *err)
{
    struct api_call *call = api_call_new();
    pthread_t thread;
    int r;

    call->number = number;
    assert_int_equal(pthread_create(&thread, NULL, run_loop, desk), 0);
    r = api_call_wait(call, desk->queue, timeout_ms, err);
    (void)pthread_join(thread, NULL);
    sk_buf_addstr(answer, sk_buf_str(&call->answer));
    api_call_unref(call);
    return r;
}

static void answered(void **state)
{
    struct sk_buf answer = SK_BUF_INIT;
    struct sk_err err = {0};
    struct desk desk;

    (void)state;
    desk_open(&desk, false);
    assert_int_equal(ask(&desk, 21, 10000, &answer, &err), 0);
    assert_string_equal(answer.ptr, "42");
    assert_int_equal(ask(&desk, 7, 10000, &answer, &err), SK_ERR_NOT_FOUND);
    assert_string_equal(err.msg, "there is no seven");
    desk_close(&desk);
    sk_buf_release(&answer);
}

/* Who gave up waiting leaves nothing dangling: the late answer goes to a call that is still there.
 */
static void given_up(void **state)
{
    struct sk_buf answer = SK_BUF_INIT;
    struct sk_err err = {0};
    struct desk desk;

    (void)state;
    desk_open(&desk, true);
    assert_int_equal(ask(&desk, 1, 20, &answer, &err), SK_ERR_TIMEOUT);
    assert_non_null(desk.held);
    sk_buf_adds(&desk.held->answer, "late");
    api_call_done(desk.held);
    api_call_unref(desk.held);
    desk_close(&desk);
    sk_buf_release(&answer);
}

/* The same of a stream: its reader may have left before the loop gets to open it. */
static void given_up_stream(void **state)
{
    struct sk_err err = {0};
    struct desk desk;
    struct api_call *call = api_call_new();
    pthread_t thread;

    (void)state;
    desk_open(&desk, true);
    call->stream = api_feed_new();
    api_feed_ref(call->stream);
    assert_int_equal(pthread_create(&thread, NULL, run_loop, &desk), 0);
    assert_int_equal(api_call_wait(call, desk.queue, 20, &err), SK_ERR_TIMEOUT);
    (void)pthread_join(thread, NULL);
    api_feed_release(call->stream);
    api_call_unref(call);
    assert_ptr_equal(desk.held, call);
    assert_false(api_feed_push(desk.held->stream, SK_STR("late")));
    api_call_done(desk.held);
    api_call_unref(desk.held);
    desk_close(&desk);
}

static void closed(void **state)
{
    struct sk_err err = {0};
    struct desk desk;
    struct api_call *call = api_call_new();
    struct sys_queue *queue;

    (void)state;
    desk_open(&desk, false);
    queue = sys_queue_ref(desk.queue);
    desk_close(&desk);
    assert_int_equal(api_call_wait(call, queue, 1000, &err), SK_ERR_UNAVAILABLE);
    sys_queue_unref(queue);
    api_call_unref(call);
}

static void feeds_are_bounded(void **state)
{
    struct api_feed *feed = api_feed_new();
    struct sk_buf big = SK_BUF_INIT;
    static char out[65536];

    (void)state;
    api_feed_ref(feed);
    assert_true(api_feed_push(feed, SK_STR("abc")));
    assert_int_equal(api_feed_read(feed, out, 2), 2);
    assert_int_equal(api_feed_read(feed, out, sizeof(out)), 1);
    sk_buf_reserve(&big, API_FEED_BYTES_MAX);
    while (big.len < API_FEED_BYTES_MAX) {
        sk_buf_addc(&big, 'x');
    }
    assert_true(api_feed_push(feed, sk_buf_str(&big)));
    assert_false(api_feed_push(
        feed, SK_STR("y"))); /* overrun: the reader gets what is there, then the end */
    assert_true(api_feed_gone(feed));
    for (size_t got = 0; got < API_FEED_BYTES_MAX;) {
        ssize_t n = api_feed_read(feed, out, sizeof(out));
        assert_true(n > 0);
        got += (size_t)n;
    }
    assert_int_equal(api_feed_read(feed, out, sizeof(out)), -1);
    api_feed_release(feed);
    assert_true(api_feed_gone(feed));
    api_feed_unref(feed);
    sk_buf_release(&big);
}

static void bearer(void **state)
{
    struct sk_arena *arena = sk_arena_new();

    (void)state;
    assert_int_equal(api_bearer_hash(arena, SK_STR("Bearer abc")).len, 64);
    assert_int_equal(api_bearer_hash(arena, SK_STR("Basic abc")).len, 0);
    assert_int_equal(api_bearer_hash(arena, SK_STR_NULL).len, 0);
    sk_arena_free(arena);
}

static void bodies_by_route(void **state)
{
    (void)state;
    assert_int_equal(api_body_max(SK_STR("POST"), SK_STR("/v1/apply")), 16 * 1024 * 1024);
    assert_int_equal(api_body_max(SK_STR("POST"), SK_STR("/v1/drain")), 64 * 1024);
    assert_int_equal(api_body_max(SK_STR("GET"), SK_STR("/v1/status")), 0);
    assert_int_equal(api_body_max(SK_STR("POST"), SK_STR("/v1/nothing")), 0);
    assert_int_equal(api_body_max(SK_STR("PATCH"), SK_STR("/v1/sites/fra")), 64 * 1024);
    assert_int_equal(api_body_max(SK_STR("PATCH"), SK_STR("/v1/sites/")), 0);
    assert_int_equal(api_body_max(SK_STR("PATCH"), SK_STR("/v1/sites/fra/x")), 0);
}

static void roles(void **state)
{
    (void)state;
    assert_int_equal(api_role_from_name("admin"), API_ADMIN);
    assert_int_equal(api_role_from_name("nobody"), API_NOBODY);
    assert_int_equal(api_role_from_name("root"), API_NOBODY);
    assert_int_equal(api_role_from_name(NULL), API_NOBODY);
    assert_true(API_VIEWER < API_OPERATOR && API_OPERATOR < API_ADMIN);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(answered),        cmocka_unit_test(given_up),
        cmocka_unit_test(given_up_stream), cmocka_unit_test(closed),
        cmocka_unit_test(bearer),          cmocka_unit_test(feeds_are_bounded),
        cmocka_unit_test(bodies_by_route), cmocka_unit_test(roles),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
