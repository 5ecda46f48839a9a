/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "net/frame.h"

static void whatever_way_the_bytes_are_cut(void **state)
{
    static const char *jsons[] = {"{\"v\":1,\"type\":\"a\"}", "{\"v\":2,\"type\":\"b\",\"x\":[]}",
                                  "1"};
    struct sk_buf stream = SK_BUF_INIT;
    (void)state;
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(net_frame_write(sk_str(jsons[i]), &stream, NULL), 0);
    }
    for (size_t step = 1; step <= stream.len; step++) {
        struct net_frame_reader reader;
        struct sk_str payload;
        size_t got = 0;
        net_frame_reader_init(&reader, 100);
        for (size_t at = 0; at < stream.len; at += step) {
            size_t len = stream.len - at < step ? stream.len - at : step;
            net_frame_reader_add(&reader, stream.ptr + at, len);
            while (net_frame_reader_next(&reader, &payload, NULL) == 1) {
                assert_true(got < 3 && sk_str_is(payload, jsons[got]));
                got++;
            }
        }
        assert_int_equal(got, 3);
        assert_null(reader.buf.ptr); /* nothing is held when nothing is pending */
        net_frame_reader_release(&reader);
    }
    sk_buf_release(&stream);
}

static void lengths(void **state)
{
    struct net_frame_reader reader;
    struct sk_str payload;
    struct sk_err err = {0};
    struct sk_buf out = SK_BUF_INIT;
    (void)state;
    net_frame_reader_init(&reader, 3);
    net_frame_reader_add(&reader, "\0\0\0\3abc\0\0\0\4", 11);
    assert_int_equal(net_frame_reader_next(&reader, &payload, &err), 1);
    assert_true(sk_str_is(payload, "abc"));
    /* judged before a byte of it arrived, and for good */
    assert_int_equal(net_frame_reader_next(&reader, &payload, &err), SK_ERR_LIMIT);
    assert_int_equal(net_frame_reader_next(&reader, &payload, &err), SK_ERR_LIMIT);
    net_frame_reader_release(&reader);
    net_frame_reader_init(&reader, 3);
    net_frame_reader_add(&reader, "\0\0\0\0", 4);
    assert_int_equal(net_frame_reader_next(&reader, &payload, &err), SK_ERR_PROTOCOL);
    net_frame_reader_release(&reader);
    assert_int_equal(net_frame_write(SK_STR_NULL, &out, &err), SK_ERR_LIMIT);
    assert_int_equal(net_frame_write((struct sk_str){"", NET_FRAME_BYTES_MAX + 1}, &out, &err),
                     SK_ERR_LIMIT);
    assert_int_equal(out.len, 0);
}

static int parse(struct sk_arena *arena, const char *json, struct net_frame *ret)
{
    struct sk_err err = {0};
    int rc = net_frame_parse(sk_str(json), arena, ret, &err);
    assert_true(rc == 0 || (rc == SK_ERR_PROTOCOL && err.code == rc && err.msg[0]));
    return rc;
}

static void depth_is_bounded(void **state)
{
    struct sk_arena *arena = sk_arena_new();
    char json[256];
    struct net_frame frame;
    (void)state;
    for (unsigned depth = 20; depth < 60; depth += 20) {
        size_t at = (size_t)snprintf(json, sizeof(json), "{\"v\":1,\"type\":\"x\",\"d\":");
        memset(json + at, '[', depth);
        memset(json + at + depth, ']', depth);
        memcpy(json + at + 2 * depth, "}", 2);
        assert_int_equal(parse(arena, json, &frame), depth == 20 ? 0 : SK_ERR_PROTOCOL);
    }
    sk_arena_free(arena);
}

static void hello_round_trip(void **state)
{
    struct net_hello a = {.cluster = "coast",
                          .node = "fra-1",
                          .incarnation = "0123",
                          .boot = "b",
                          .version = "0.1.0",
                          .protocol_min = 1,
                          .protocol_max = 7};
    struct net_hello b;
    struct sk_arena *arena = sk_arena_new();
    struct sk_buf json = SK_BUF_INIT;
    struct net_frame frame;
    (void)state;
    net_hello_write(&a, &json);
    assert_int_equal(parse(arena, json.ptr, &frame), 0);
    assert_int_equal(net_hello_parse(&frame, &b, NULL), 0);
    assert_memory_equal(&a, &b, sizeof(a));
    sk_arena_free(arena);
    sk_buf_release(&json);
}

static void hellos_that_are_refused(void **state)
{
#define HEAD "{\"v\":1,\"type\":\"hello\",\"cluster\":\"c\",\"node\":\"n\",\"protocol\":"
    static const char *rows[] = {
        HEAD "[1,2],\"boot\":\"a b\"}",
        HEAD "[1,2],\"boot\":\"\\u001b[31m\"}",
        HEAD "[0,2]}",
        HEAD "[1.5,2]}",
        HEAD "[1,1001]}",
        HEAD "[-1,1]}",
        HEAD "[\"1\",\"2\"]}",
        HEAD "[1,2,3]}",
        HEAD "{}}",
        HEAD
        "[1,2],\"version\":\"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\"}",
        "{\"v\":1,\"type\":\"hello\",\"cluster\":\"C\",\"node\":\"n\",\"protocol\":[1,1]}",
        "{\"v\":1,\"type\":\"hello\",\"cluster\":\"c\",\"node\":\"n/../m\",\"protocol\":[1,1]}",
        "{\"v\":1,\"type\":\"hello\",\"cluster\":\"c\",\"node\":7,\"protocol\":[1,1]}",
    };
    struct sk_arena *arena = sk_arena_new();
    struct net_frame frame;
    struct net_hello hello;
    (void)state;
    assert_int_equal(parse(arena, HEAD "[1,2],\"boot\":\"ab\"}", &frame), 0);
    assert_int_equal(net_hello_parse(&frame, &hello, NULL), 0);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct sk_err err = {0};
        assert_int_equal(parse(arena, rows[i], &frame), 0);
        assert_int_equal(net_hello_parse(&frame, &hello, &err), SK_ERR_PROTOCOL);
        assert_true(err.msg[0]);
    }
    sk_arena_free(arena);
}

static void the_highest_common_protocol(void **state)
{
    static const struct {
        int a_min, a_max, b_min, b_max, want;
        const char *upgrade;
    } rows[] = {
        {1, 1, 1, 1, 1, ""}, {1, 3, 2, 5, 3, ""},    {2, 5, 1, 3, 3, ""},
        {1, 9, 4, 4, 4, ""}, {3, 4, 1, 2, 0, "'b'"}, {1, 2, 3, 4, 0, "'a'"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct net_hello a = {
            .node = "a", .protocol_min = rows[i].a_min, .protocol_max = rows[i].a_max};
        struct net_hello b = {
            .node = "b", .protocol_min = rows[i].b_min, .protocol_max = rows[i].b_max};
        struct sk_err err = {0};
        int protocol = 0;
        assert_int_equal(net_hello_agree(&a, &b, &protocol, &err),
                         rows[i].want ? 0 : SK_ERR_PROTOCOL);
        assert_int_equal(protocol, rows[i].want);
        assert_true(strstr(err.fix, rows[i].upgrade) != NULL);
    }
}

static void errors_travel(void **state)
{
    struct sk_err why = {0}, got = {0};
    struct sk_arena *arena = sk_arena_new();
    struct sk_buf json = SK_BUF_INIT;
    struct net_frame frame;
    (void)state;
    (void)sk_err_set(&why, SK_ERR_DENIED, "the token '\"' has expired");
    (void)sk_err_fix(&why, "make a new one");
    net_error_write(&why, &json);
    assert_int_equal(parse(arena, json.ptr, &frame), 0);
    assert_int_equal(net_error_parse(&frame, &got), SK_ERR_DENIED);
    assert_string_equal(got.msg, "the other side says: the token '\"' has expired");
    assert_string_equal(got.fix, "make a new one");
    assert_int_equal(parse(arena, "{\"v\":1,\"type\":\"error\",\"code\":\"not\\nknown\"}", &frame),
                     0);
    assert_int_equal(net_error_parse(&frame, &got), SK_ERR_INTERNAL);
    assert_string_equal(got.msg, "the other side says: no reason given");
    assert_string_equal(got.fix, "");
    sk_arena_free(arena);
    sk_buf_release(&json);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whatever_way_the_bytes_are_cut),
        cmocka_unit_test(lengths),
        cmocka_unit_test(depth_is_bounded),
        cmocka_unit_test(hello_round_trip),
        cmocka_unit_test(hellos_that_are_refused),
        cmocka_unit_test(the_highest_common_protocol),
        cmocka_unit_test(errors_travel),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
