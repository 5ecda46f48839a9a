/* SPDX-License-Identifier: Apache-2.0 */
/* The pure half of the delay router: what happens to a packet, and what its commands mean. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>

#include "base/mem.h"
#include "lab/wan_matrix.h"

static const uint64_t ms = 1000000;

static int setup(void **state)
{
    struct wan_matrix *m = sk_xmalloc(sizeof(*m));
    wan_matrix_init(m, 7);
    *state = m;
    return 0;
}

static int teardown(void **state)
{
    free(*state);
    return 0;
}

static int order(struct wan_matrix *m, const char *line)
{
    struct sk_buf reply = SK_BUF_INIT;
    int ret = wan_command(m, sk_str(line), &reply, NULL);
    sk_buf_release(&reply);
    return ret;
}

/* A packet of 10.99.FROM.11 to 10.99.TO.11. */
static enum wan_fate send_len(struct wan_matrix *m, unsigned from, unsigned to, size_t len,
                              uint64_t now, uint64_t *due)
{
    uint8_t ip[1500] = {0x45};
    const uint8_t ends[8] = {10, 99, (uint8_t)from, 11, 10, 99, (uint8_t)to, 11};
    memcpy(ip + 12, ends, sizeof(ends));
    return wan_judge(m, ip, len, now, due);
}

static enum wan_fate send(struct wan_matrix *m, unsigned from, unsigned to, uint64_t now,
                          uint64_t *due)
{
    return send_len(m, from, to, 100, now, due);
}

static void map_three(struct wan_matrix *m)
{
    assert_int_equal(order(m, "map 10.99.1.0/24 1"), 0);
    assert_int_equal(order(m, "map 10.99.2.0/24 2"), 0);
    assert_int_equal(order(m, "map 10.99.3.0/24 3"), 0);
}

static void delay_is_per_direction(void **state)
{
    struct wan_matrix *m = *state;
    uint64_t due = 0;
    map_three(m);
    assert_int_equal(order(m, "set 1 2 20.5 0 0 0"), 0);
    assert_int_equal(send(m, 1, 2, 1000, &due), WAN_PASS);
    assert_int_equal(due, 1000 + 20 * ms + ms / 2);
    assert_int_equal(send(m, 2, 1, 1000, &due), WAN_PASS);
    assert_int_equal(due, 1000);
}

static void unknown_addresses_are_dropped(void **state)
{
    struct wan_matrix *m = *state;
    uint64_t due = 42;
    assert_int_equal(send(m, 1, 2, 0, &due), WAN_UNKNOWN);
    map_three(m);
    assert_int_equal(send(m, 1, 9, 0, &due), WAN_UNKNOWN);
    uint8_t short_packet[19] = {0x45};
    assert_int_equal(wan_judge(m, short_packet, sizeof(short_packet), 0, &due), WAN_UNKNOWN);
    uint8_t six[40] = {0x60};
    assert_int_equal(wan_judge(m, six, sizeof(six), 0, &due), WAN_UNKNOWN);
    assert_int_equal(due, 42);
    assert_int_equal(m->unknown, 4);
}

static void cut_is_one_way_and_heals(void **state)
{
    struct wan_matrix *m = *state;
    uint64_t due;
    map_three(m);
    assert_int_equal(order(m, "cut 1 2"), 0);
    assert_int_equal(send(m, 1, 2, 0, &due), WAN_CUT);
    assert_int_equal(send(m, 2, 1, 0, &due), WAN_PASS);
    assert_int_equal(order(m, "heal 1 2"), 0);
    assert_int_equal(send(m, 1, 2, 0, &due), WAN_PASS);
}

static void loss_is_about_what_was_asked(void **state)
{
    struct wan_matrix *m = *state;
    uint64_t due;
    int lost = 0;
    map_three(m);
    assert_int_equal(order(m, "set 1 3 0 0 10 0"), 0);
    for (int i = 0; i < 10000; i++) {
        lost += send(m, 1, 3, 0, &due) == WAN_LOST;
    }
    assert_in_range(lost, 850, 1150);
}

static void jitter_never_reorders(void **state)
{
    struct wan_matrix *m = *state;
    uint64_t due = 0;
    uint64_t last = 0;
    bool spread = false;
    map_three(m);
    assert_int_equal(order(m, "set 1 2 5 10 0 0"), 0);
    for (uint64_t now = 0; now < 2000 * ms; now += ms) {
        assert_int_equal(send(m, 1, 2, now, &due), WAN_PASS);
        assert_true(due >= last && due >= now + 5 * ms && due <= now + 15 * ms);
        spread = spread || due > now + 10 * ms;
        last = due;
    }
    assert_true(spread);
}

static void rate_spaces_and_bounds_the_queue(void **state)
{
    struct wan_matrix *m = *state;
    uint64_t due = 0;
    map_three(m);
    /* 1000 bytes at 8 Mbit/s take 1 ms each */
    assert_int_equal(order(m, "set 1 2 0 0 0 8"), 0);
    int passed = 0;
    for (uint64_t i = 0; i < 300; i++) {
        if (send_len(m, 1, 2, 1000, 0, &due) == WAN_PASS) {
            passed++;
            assert_int_equal(due, (i + 1) * ms);
        }
    }
    assert_in_range(passed, 199, 203); /* 200 ms of queue, then dropped */
    assert_int_equal(m->full, 300 - (uint64_t)passed);
}

static void shorter_delay_takes_effect_at_once(void **state)
{
    struct wan_matrix *m = *state;
    uint64_t due = 0;
    map_three(m);
    assert_int_equal(order(m, "set 1 2 500 0 0 0"), 0);
    assert_int_equal(send(m, 1, 2, 0, &due), WAN_PASS);
    assert_int_equal(order(m, "set 1 2 1 0 0 0"), 0);
    assert_int_equal(send(m, 1, 2, 0, &due), WAN_PASS);
    assert_int_equal(due, ms);
}

static void bad_commands_are_refused(void **state)
{
    static const char *const bad[] = {
        "",
        "map",
        "map 11.99.1.0/24 1",
        "map 10.256.1.0/24 1",
        "map 10.99.1.0/24 64",
        "map 10.99.1.0/24 1 x",
        "set 1 2",
        "set 64 2 0 0 0 0",
        "set 1 64 0 0 0 0",
        "set 1 2 -1 0 0 0",
        "set 1 2 10001 0 0 0",
        "set 1 2 0 nan 0 0",
        "set 1 2 0 0 101 0",
        "set 1 2 0 0 0 -1",
        "set 1 2 0 0 0 0 0",
        "cut 1",
        "cut 1 64",
        "heal x 1",
        "statistics",
        "set 1 2 0 0 0 "
        "00000000000000000000000000000000000000000000000000000000000000000000000000000000000000000"
        "00000000000000000000000000000000000000000000000000000000000000000000000000000000000000000",
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        if (order(*state, bad[i]) != SK_ERR_INPUT) {
            fail_msg("accepted: '%s'", bad[i]);
        }
    }
}

static void a_dash_leaves_what_was(void **state)
{
    struct wan_matrix *m = *state;
    struct sk_buf reply = SK_BUF_INIT;
    assert_int_equal(order(m, "set 1 2 20.5 4 1.5 8"), 0);
    assert_int_equal(order(m, "set 1 2 - - 3 -"), 0);
    assert_int_equal(order(m, "cut 2 1"), 0);
    assert_int_equal(wan_command(m, SK_STR("links 2"), &reply, NULL), 0);
    assert_string_equal(reply.ptr, "1 2 20.500000 4.000000 3.000000 8.000000 0\n"
                                   "2 1 0.000000 0.000000 0.000000 0.000000 1\n");
    assert_int_equal(order(m, "links 64"), SK_ERR_INPUT);
    assert_int_equal(order(m, "links"), SK_ERR_INPUT);
    sk_buf_release(&reply);
}

static void stats_count(void **state)
{
    struct wan_matrix *m = *state;
    struct sk_buf reply = SK_BUF_INIT;
    uint64_t due;
    map_three(m);
    (void)send(m, 1, 2, 0, &due);
    (void)send(m, 1, 9, 0, &due);
    assert_int_equal(wan_command(m, SK_STR("stats"), &reply, NULL), 0);
    assert_string_equal(reply.ptr, "{\"packets\":2,\"passed\":1,\"lost\":0,\"cut\":0,\"full\":0,"
                                   "\"unknown\":1}\n");
    sk_buf_release(&reply);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(delay_is_per_direction, setup, teardown),
        cmocka_unit_test_setup_teardown(unknown_addresses_are_dropped, setup, teardown),
        cmocka_unit_test_setup_teardown(cut_is_one_way_and_heals, setup, teardown),
        cmocka_unit_test_setup_teardown(loss_is_about_what_was_asked, setup, teardown),
        cmocka_unit_test_setup_teardown(jitter_never_reorders, setup, teardown),
        cmocka_unit_test_setup_teardown(rate_spaces_and_bounds_the_queue, setup, teardown),
        cmocka_unit_test_setup_teardown(shorter_delay_takes_effect_at_once, setup, teardown),
        cmocka_unit_test_setup_teardown(bad_commands_are_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(a_dash_leaves_what_was, setup, teardown),
        cmocka_unit_test_setup_teardown(stats_count, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
