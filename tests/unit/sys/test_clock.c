/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "sys/clock.h"

static void now_moves_forward_by_what_was_slept(void **state)
{
    struct timespec nap = {0, 20 * 1000 * 1000};
    int64_t us = sys_now_us();
    int64_t ms = sys_now_ms();
    (void)state;
    assert_int_equal(nanosleep(&nap, NULL), 0);
    assert_true(sys_now_us() - us >= 20000);
    assert_true(sys_now_ms() - ms >= 19);
    assert_true(sys_now_ms() - ms < 10000);
}

static void wall_agrees_with_time(void **state)
{
    int64_t before = (int64_t)time(NULL) * 1000;
    int64_t wall = sys_wall_ms();
    (void)state;
    assert_true(wall >= before - 1000 && wall <= before + 10000);
}

static void random_differs_and_fills(void **state)
{
    uint8_t a[600] = {0}, b[600] = {0};
    unsigned zeros = 0;
    (void)state;
    sys_random(a, sizeof(a)); /* over 256: getrandom may return less than asked */
    sys_random(b, sizeof(b));
    assert_memory_not_equal(a, b, sizeof(a));
    for (size_t i = 0; i < sizeof(a); i++) {
        zeros += a[i] == 0;
    }
    assert_true(zeros < 60);
    sys_random(a, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(now_moves_forward_by_what_was_slept),
        cmocka_unit_test(wall_agrees_with_time),
        cmocka_unit_test(random_differs_and_fills),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
