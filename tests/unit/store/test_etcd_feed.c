/* SPDX-License-Identifier: Apache-2.0 */
/* What a watch on etcd delivers: whole revisions once, and every way in which some may be missing.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/mem.h"
#include "store/etcd_feed.h"

#define ID "0123456789abcdef0123456789abcdef"
#define RECORD "/skerry/" ID

struct world {
    struct etcd_feed feed;
    struct etcd_changes out;
    struct sk_buf line;
    struct sk_jw w;
};

static int setup(void **state)
{
    struct world *x = sk_xcalloc(1, sizeof(*x));

    etcd_feed_init(&x->feed, "/skerry", ID);
    x->feed.base = 10;
    x->feed.delivered = 12;
    x->feed.version = 3;
    x->out.arena = sk_arena_new();
    *state = x;
    return 0;
}

static int teardown(void **state)
{
    struct world *x = *state;

    etcd_feed_release(&x->feed);
    sk_arena_free(x->out.arena);
    free(x->out.changes);
    sk_buf_release(&x->line);
    free(x);
    return 0;
}

static void begin(struct world *x)
{
    sk_buf_clear(&x->line);
    sk_jw_init(&x->w, &x->line);
    sk_jw_obj(&x->w);
    sk_jw_key(&x->w, "result");
    sk_jw_obj(&x->w);
    sk_jw_key(&x->w, "events");
    sk_jw_arr(&x->w);
}

static void event(struct world *x, const char *key, const char *value, int64_t rev, int64_t version)
{
    sk_jw_obj(&x->w);
    if (!value) {
        sk_jw_kcstr(&x->w, "type", "DELETE");
    }
    sk_jw_key(&x->w, "kv");
    sk_jw_obj(&x->w);
    etcd_put_bytes(&x->w, "key", sk_str(key));
    if (value) {
        etcd_put_bytes(&x->w, "value", sk_str(value));
        etcd_put_int(&x->w, "create_revision", 11);
        etcd_put_int(&x->w, "version", version);
    }
    etcd_put_int(&x->w, "mod_revision", rev);
    sk_jw_obj_end(&x->w);
    sk_jw_obj_end(&x->w);
}

static int end(struct world *x, const char *prefix)
{
    sk_jw_arr_end(&x->w);
    sk_jw_obj_end(&x->w);
    sk_jw_obj_end(&x->w);
    return etcd_feed_line(&x->feed, sk_buf_str(&x->line), sk_str(prefix), &x->out, NULL);
}

static int say(struct world *x, const char *line)
{
    return etcd_feed_line(&x->feed, sk_str(line), SK_STR(""), &x->out, NULL);
}

static void revisions_come_whole(void **state)
{
    struct world *x = *state;

    assert_int_equal(say(x, "{\"result\":{\"created\":true}}"), 0);
    assert_true(x->feed.created);
    begin(x);
    event(x, "/skerry/writer/" ID, "1", 13, 1);
    event(x, RECORD "/a", "1", 13, 1);
    assert_int_equal(end(x, ""), 0);
    assert_int_equal(x->out.count, 0); /* its end has not come */
    assert_int_equal(x->feed.delivered, 12);
    begin(x);
    event(x, RECORD "/b", NULL, 13, 0);
    event(x, "/skerry/head", "1", 13, 4);
    event(x, RECORD "/c", "3", 15, 1); /* 14 was a fence, or another root's */
    event(x, "/skerry/head", "1", 15, 5);
    assert_int_equal(end(x, ""), 0);
    assert_false(x->feed.lost);
    assert_int_equal(x->feed.delivered, 15);
    assert_int_equal(x->out.count, 3);
    assert_string_equal(x->out.changes[0].record.key.ptr, "/a");
    assert_string_equal(x->out.changes[0].record.value.ptr, "1");
    assert_int_equal(x->out.changes[0].record.mod_rev, 3);
    assert_int_equal(x->out.changes[0].record.create_rev, 1);
    assert_int_equal(x->out.changes[1].kind, STORE_DELETED);
    assert_int_equal(x->out.changes[1].record.mod_rev, 3);
    assert_int_equal(x->out.changes[2].record.mod_rev, 5);
}

static void other_prefixes_move_it_on(void **state)
{
    struct world *x = *state;

    begin(x);
    event(x, RECORD "/a", "1", 13, 1);
    event(x, "/skerry/head", "1", 13, 4);
    event(x, RECORD "/p/a", "1", 14, 1);
    event(x, "/skerry/head", "1", 14, 5);
    event(x, "/skerry/fedcba9876543210fedcba9876543210/p/a", "1", 15, 1); /* a restore's */
    assert_int_equal(end(x, "/p/"), 0);
    assert_int_equal(x->out.count, 1);
    assert_int_equal(x->feed.delivered, 14);
    assert_false(x->feed.lost);
}

static void what_was_before_is_not_repeated(void **state)
{
    struct world *x = *state;

    begin(x);
    event(x, RECORD "/a", "1", 12, 1);
    event(x, "/skerry/head", "1", 12, 3);
    event(x, RECORD "/a", "2", 13, 2);
    event(x, "/skerry/head", "1", 13, 4);
    assert_int_equal(end(x, ""), 0);
    assert_int_equal(x->out.count, 1);
    assert_string_equal(x->out.changes[0].record.value.ptr, "2");
    assert_false(x->feed.lost);
}

static void a_missing_revision_is_seen(void **state)
{
    struct world *x = *state;

    begin(x);
    event(x, RECORD "/a", "1", 14, 1);
    event(x, "/skerry/head", "1", 14, 5); /* version 4 never came */
    assert_int_equal(end(x, ""), 0);
    assert_true(x->feed.lost);
    assert_int_equal(x->out.count, 0);
}

static void a_missing_put_is_seen(void **state)
{
    struct world *x = *state;

    begin(x);
    event(x, RECORD "/a", "1", 13, 1);
    event(x, "/skerry/head", "2", 13, 4);
    assert_int_equal(end(x, ""), 0);
    assert_true(x->feed.lost);
    assert_int_equal(x->out.count, 0);
}

static void a_missing_head_is_seen(void **state)
{
    struct world *x = *state;

    begin(x);
    event(x, RECORD "/a", "1", 13, 1);
    event(x, RECORD "/a", "1", 14, 1);
    event(x, "/skerry/head", "1", 14, 4);
    assert_int_equal(end(x, ""), 0);
    assert_true(x->feed.lost);
}

static void another_state_is_seen(void **state)
{
    struct world *x = *state;

    begin(x);
    event(x, "/skerry/meta", "{}", 13, 2);
    event(x, "/skerry/head", "0", 13, 4);
    assert_int_equal(end(x, ""), 0);
    assert_true(x->feed.lost);
}

static void a_head_that_is_none_is_seen(void **state)
{
    static const char *const values[] = {"", "x", "-1", "99999", "1 "};

    for (size_t i = 0; i < SK_ARRAY_LEN(values); i++) {
        struct world *x;
        assert_int_equal(setup((void **)&x), 0);
        begin(x);
        event(x, "/skerry/head", values[i], 13, 4);
        assert_int_equal(end(x, ""), 0);
        assert_true(x->feed.lost);
        assert_int_equal(teardown((void **)&x), 0);
    }
}

static void history_that_is_gone_is_seen(void **state)
{
    struct world *x = *state;

    assert_int_equal(say(x, "{\"result\":{\"canceled\":true,\"compact_revision\":\"20\"}}"), 0);
    assert_true(x->feed.lost);
}

static void an_end_is_no_loss(void **state)
{
    struct world *x = *state;

    assert_int_equal(say(x, "{\"result\":{\"canceled\":true}}"), SK_ERR_UNAVAILABLE);
    assert_int_equal(say(x, "{\"error\":{\"grpc_code\":14,\"message\":\"no leader\"}}"),
                     SK_ERR_UNAVAILABLE);
    assert_int_equal(say(x, "{\"result\":{\"events\":{}}}"), SK_ERR_PROTOCOL);
    assert_int_equal(say(x, "<html>"), SK_ERR_PROTOCOL);
    assert_false(x->feed.lost);
    assert_int_equal(x->feed.delivered, 12);
}

/* A stream that ended in the middle of a revision: the next one delivers it again, once. */
static void a_new_stream_starts_the_revision_again(void **state)
{
    struct world *x = *state;

    begin(x);
    event(x, RECORD "/a", "1", 13, 1);
    assert_int_equal(end(x, ""), 0);
    etcd_feed_restart(&x->feed);
    begin(x);
    event(x, RECORD "/a", "1", 13, 1);
    event(x, "/skerry/head", "1", 13, 4);
    assert_int_equal(end(x, ""), 0);
    assert_int_equal(x->out.count, 1);
    assert_false(x->feed.lost);
}

static void refused(const char *body, long status, enum etcd_refusal refusal, int code)
{
    struct sk_err err = {0};
    assert_int_equal(etcd_read_refusal(sk_str(body), status, &err), refusal);
    assert_int_equal(err.code, code);
}

static void refusals_are_told_apart(void **state)
{
    refused("{\"error\":\"etcdserver: request is too large\",\"code\":3}", 400, ETCD_TOO_LARGE,
            SK_ERR_LIMIT);
    refused("{\"error\":\"etcdserver: too many operations in txn request\",\"code\":3}", 400,
            ETCD_TOO_LARGE, SK_ERR_LIMIT);
    refused("{\"error\":\"etcdserver: duplicate key given in txn request\",\"code\":3}", 400,
            ETCD_INVALID, SK_ERR_PROTOCOL);
    refused("{\"error\":\"etcdserver: mvcc: database space exceeded\",\"code\":8}", 429, ETCD_FULL,
            SK_ERR_UNAVAILABLE);
    refused("{\"error\":\"etcdserver: too many requests\",\"code\":8}", 429, ETCD_AGAIN,
            SK_ERR_UNAVAILABLE);
    refused("{\"error\":\"etcdserver: request timed out\",\"code\":14}", 503, ETCD_AGAIN,
            SK_ERR_UNAVAILABLE);
    refused("{\"error\":\"context deadline exceeded\",\"code\":4}", 504, ETCD_AGAIN,
            SK_ERR_UNAVAILABLE);
    refused("{\"error\":\"x\",\"message\":\"required revision has been compacted\",\"code\":11}",
            400, ETCD_COMPACTED, SK_ERR_UNAVAILABLE);
    refused("{\"error\":\"required revision is a future revision\",\"code\":11}", 400, ETCD_FUTURE,
            SK_ERR_UNAVAILABLE);
    refused("{\"error\":\"permission denied\",\"code\":7}", 403, ETCD_DENIED, SK_ERR_DENIED);
    refused("{\"error\":\"corrupt\",\"code\":15}", 500, ETCD_DAMAGED, SK_ERR_CORRUPT);
    refused("{\"error\":\"etcdserver: unhealthy cluster\",\"code\":14}", 503, ETCD_NOT_NOW,
            SK_ERR_UNAVAILABLE);
    refused("404 page not found\n", 404, ETCD_AGAIN, SK_ERR_UNAVAILABLE);
}

#define FEED_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    static const struct CMUnitTest tests[] = {
        FEED_TEST(revisions_come_whole),
        FEED_TEST(other_prefixes_move_it_on),
        FEED_TEST(what_was_before_is_not_repeated),
        FEED_TEST(a_missing_revision_is_seen),
        FEED_TEST(a_missing_put_is_seen),
        FEED_TEST(a_missing_head_is_seen),
        FEED_TEST(another_state_is_seen),
        cmocka_unit_test(a_head_that_is_none_is_seen),
        FEED_TEST(history_that_is_gone_is_seen),
        FEED_TEST(an_end_is_no_loss),
        FEED_TEST(a_new_stream_starts_the_revision_again),
        cmocka_unit_test(refusals_are_told_apart),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
