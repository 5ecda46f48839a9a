/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/arena.h"
#include "base/json.h"
#include "net/pulse.h"

/* Both ends of a session, as control made it and the node was told. */
struct ends {
    struct net_pulse control, node;
    uint16_t port;
};

static struct ends begin(void)
{
    struct ends e = {0};
    struct sk_buf frame = SK_BUF_INIT;
    struct sk_arena *arena = sk_arena_new();
    const struct sk_node *tree = NULL;

    net_pulse_new(&e.control);
    net_pulse_write(&e.control, 7401, &frame);
    assert_int_equal(sk_json_read(arena, "pulse", sk_buf_str(&frame), NULL, &tree, NULL), 0);
    assert_int_equal(net_pulse_parse(tree, &e.node, &e.port, NULL), 0);
    sk_arena_free(arena);
    sk_buf_release(&frame);
    return e;
}

static bool takes(struct net_pulse *control, const uint8_t *bytes, size_t len, const char *json)
{
    struct sk_buf got = SK_BUF_INIT;
    bool taken = net_pulse_open(control, bytes, len, &got);

    assert_int_equal(got.len > 0, taken);
    if (taken) {
        assert_true(sk_str_is(sk_buf_str(&got), json));
    }
    sk_buf_release(&got);
    return taken;
}

static void a_beat_goes_over_and_is_answered(void **state)
{
    struct ends e = begin();
    uint8_t bytes[NET_PULSE_BYTES_MAX], answer[NET_PULSE_ANSWER_BYTES];
    size_t len = net_pulse_seal(&e.node, SK_STR("{\"v\":1}"), bytes);

    (void)state;
    assert_int_equal(e.port, 7401);
    assert_int_equal(len, NET_PULSE_ANSWER_BYTES + 7);
    assert_null(memmem(bytes, len, "\"v\"", 3)); /* nobody on the way reads it */
    assert_true(takes(&e.control, bytes, len, "{\"v\":1}"));
    net_pulse_answer(&e.control, answer);
    assert_false(net_pulse_open(&e.control, answer, sizeof(answer), NULL));
    assert_true(net_pulse_answered(&e.node, answer, sizeof(answer)));
    assert_false(net_pulse_answered(&e.node, answer, sizeof(answer))); /* once */
}

static void each_counts_once_and_only_forwards(void **state)
{
    struct ends e = begin();
    uint8_t one[NET_PULSE_BYTES_MAX], two[NET_PULSE_BYTES_MAX];
    size_t len = net_pulse_seal(&e.node, SK_STR("{}"), one);

    (void)state;
    assert_int_equal(net_pulse_seal(&e.node, SK_STR("{}"), two), len);
    assert_true(takes(&e.control, two, len, "{}"));
    assert_false(takes(&e.control, two, len, "{}")); /* again */
    assert_false(takes(&e.control, one, len, "{}")); /* it was overtaken */
}

static void nothing_of_another_session(void **state)
{
    struct ends e = begin(), other = begin();
    uint8_t bytes[NET_PULSE_BYTES_MAX];
    size_t len = net_pulse_seal(&other.node, SK_STR("{}"), bytes);

    (void)state;
    assert_false(takes(&e.control, bytes, len, "{}"));
    memcpy(other.node.id, e.control.id, sizeof(other.node.id)); /* it knows the id, not the key */
    len = net_pulse_seal(&other.node, SK_STR("{}"), bytes);
    assert_false(takes(&e.control, bytes, len, "{}"));
    assert_int_equal(e.control.counter, 0); /* and that cost the session nothing */
}

static void no_byte_may_differ(void **state)
{
    struct ends e = begin();
    uint8_t bytes[NET_PULSE_BYTES_MAX];
    size_t len = net_pulse_seal(&e.node, SK_STR("{\"v\":1}"), bytes);

    (void)state;
    for (size_t i = 0; i < len; i++) {
        bytes[i] ^= 1;
        assert_false(takes(&e.control, bytes, len, ""));
        bytes[i] ^= 1;
    }
    for (size_t cut = 0; cut < len; cut++) {
        assert_false(takes(&e.control, bytes, cut, ""));
    }
    assert_true(takes(&e.control, bytes, len, "{\"v\":1}"));
}

static void an_answer_is_to_what_was_sent(void **state)
{
    struct ends e = begin();
    struct net_pulse ahead = e.control;
    uint8_t answer[NET_PULSE_ANSWER_BYTES];

    (void)state;
    net_pulse_answer(&e.control, answer); /* to none */
    assert_false(net_pulse_answered(&e.node, answer, sizeof(answer)));
    ahead.counter = 5;
    net_pulse_answer(&ahead, answer);
    assert_false(net_pulse_answered(&e.node, answer, sizeof(answer)));
    e.node.counter = 5;
    assert_false(net_pulse_answered(&e.node, answer, sizeof(answer) - 1));
    answer[NET_PULSE_ANSWER_BYTES - 1] ^= 1;
    assert_false(net_pulse_answered(&e.node, answer, sizeof(answer)));
    answer[NET_PULSE_ANSWER_BYTES - 1] ^= 1;
    assert_true(net_pulse_answered(&e.node, answer, sizeof(answer)));
}

static void what_is_too_long_is_not_sent(void **state)
{
    static char text[NET_PULSE_JSON_MAX + 1];
    struct ends e = begin();
    uint8_t bytes[NET_PULSE_BYTES_MAX];

    (void)state;
    memset(text, 'x', sizeof(text));
    assert_int_equal(net_pulse_seal(&e.node, (struct sk_str){text, sizeof(text)}, bytes), 0);
    assert_int_equal(e.node.counter, 0);
    assert_int_equal(net_pulse_seal(&e.node, (struct sk_str){text, sizeof(text) - 1}, bytes),
                     NET_PULSE_BYTES_MAX);
}

static void a_frame_that_lacks_something(void **state)
{
    static const char *const frames[] = {
        "{}", "{\"id\":\"0011223344556677\",\"port\":7401}",
        "{\"id\":\"00112233445566\",\"key\":"
        "\"0000000000000000000000000000000000000000000000000000000000000000\",\"port\":7401}",
        "{\"id\":\"0011223344556677\",\"key\":"
        "\"0000000000000000000000000000000000000000000000000000000000000000\",\"port\":70000}"};
    struct net_pulse pulse;
    uint16_t port;

    (void)state;
    for (size_t i = 0; i < sizeof(frames) / sizeof(frames[0]); i++) {
        struct sk_arena *arena = sk_arena_new();
        const struct sk_node *tree = NULL;
        assert_int_equal(sk_json_read(arena, "pulse", sk_str(frames[i]), NULL, &tree, NULL), 0);
        assert_int_equal(net_pulse_parse(tree, &pulse, &port, NULL), SK_ERR_PROTOCOL);
        sk_arena_free(arena);
    }
}

static void the_hurry_has_an_end(void **state)
{
    (void)state;
    assert_false(net_pulse_hurry(10000, -1)); /* UDP never passed: nothing is gained */
    assert_false(net_pulse_hurry(10000, 9501));
    assert_true(net_pulse_hurry(10000, 9500));
    assert_true(net_pulse_hurry(10000, 5001));
    assert_false(net_pulse_hurry(10000, 5000));
}

static void calm_only_where_nothing_is_missing(void **state)
{
    int64_t answered = -1, steady = 0, now = 1000;

    (void)state;
    assert_false(net_pulse_calm(now, answered, steady));
    steady = net_pulse_steady(now, answered, steady); /* the first answer */
    assert_true(net_pulse_calm(now + 499, now, steady));
    assert_false(net_pulse_calm(now + 500, now, steady));
    answered = now;
    now += 500; /* one was missing */
    for (int64_t end = now + NET_PULSE_CALM_MS; now < end; now += 250) {
        steady = net_pulse_steady(now, answered, steady);
        answered = now;
        assert_false(net_pulse_calm(now, answered, steady));
    }
    steady = net_pulse_steady(now, answered, steady);
    assert_true(net_pulse_calm(now, now, steady));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_beat_goes_over_and_is_answered),
        cmocka_unit_test(each_counts_once_and_only_forwards),
        cmocka_unit_test(nothing_of_another_session),
        cmocka_unit_test(no_byte_may_differ),
        cmocka_unit_test(an_answer_is_to_what_was_sent),
        cmocka_unit_test(what_is_too_long_is_not_sent),
        cmocka_unit_test(a_frame_that_lacks_something),
        cmocka_unit_test(the_hurry_has_an_end),
        cmocka_unit_test(calm_only_where_nothing_is_missing),
    };
    return cmocka_run_group_tests_name("net pulse", tests, NULL, NULL);
}
