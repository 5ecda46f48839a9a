/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/json.h"
#include "base/mem.h"
#include "daemon/seat.h"

/* What a control node would read of a node's state with this error text. */
static void read_state(struct sk_arena *arena, struct sk_str error, struct control_event *ret)
{
    struct seat_state state = {
        SK_STR("op-1"), CONTROL_STAGE_NONE, SK_STR(""), SK_STR(""), error, 0};
    struct sk_buf json = SK_BUF_INIT;
    const struct sk_node *root = NULL;
    struct sk_err err = {0};

    seat_write_state(&state, &json);
    assert_int_equal(sk_json_read(arena, "frame", sk_buf_str(&json), NULL, &root, &err), 0);
    assert_int_equal(seat_read_state(root, SK_STR("fra-1"), ret, &err), 0);
    sk_buf_release(&json);
}

static void a_short_reason_is_kept_whole(void **unused)
{
    struct sk_arena *arena = sk_arena_new();
    struct control_event ev = {0};

    (void)unused;
    read_state(arena, SK_STR("cannot bind the port: d\xc3\xa9j\xc3\xa0 pris"), &ev);
    assert_true(sk_str_is(ev.u.seat.node, "fra-1"));
    assert_true(sk_str_is(ev.u.seat.error, "cannot bind the port: d\xc3\xa9j\xc3\xa0 pris"));
    sk_arena_free(arena);
}

/* Found by fuzzing: byte 300 was the first of a character of two, and half a character was kept. */
static void a_long_reason_is_not_cut_within_a_character(void **unused)
{
    struct sk_arena *arena = sk_arena_new();
    struct control_event ev = {0}, again = {0};
    char text[310];

    (void)unused;
    memset(text, 'e', sizeof(text));
    memcpy(text + 299, "\xc3\xa9", 2);
    read_state(arena, (struct sk_str){text, sizeof(text)}, &ev);
    assert_int_equal(ev.u.seat.error.len, 299);
    read_state(arena, ev.u.seat.error, &again);
    assert_true(sk_str_eq(ev.u.seat.error, again.u.seat.error));
    sk_arena_free(arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_short_reason_is_kept_whole),
        cmocka_unit_test(a_long_reason_is_not_cut_within_a_character),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
