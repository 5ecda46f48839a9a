/* SPDX-License-Identifier: Apache-2.0 */
/* Looking things up in a tree, and equality. */
#include "base/json.h"
#include "base/mem.h"
#include "base/yaml.h"
#include "tap.h"

static struct sk_arena *arena;

static int setup(void **state)
{
    (void)state;
    arena = sk_arena_new();
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    sk_arena_free(arena);
    return 0;
}

static const struct sk_node *read_ok(const char *text)
{
    const struct sk_node *root = NULL;
    struct sk_err err = {0};
    if (sk_tree_read(arena, "a", sk_str(text), NULL, &root, &err) < 0) {
        fail_msg("%s", err.msg);
    }
    return root;
}

static void finds_typed_values(void **state)
{
    const struct sk_node *map = read_ok("{s: text, i: 41, n: 0.5, b: true, l: [1], m: {}, q: '7', "
                                        "z: ~, x: 0x10, f: 3.0, h: 1e999, e: 1.5}");
    (void)state;
    assert_str(sk_map_str(map, "s", SK_STR("d")), "text");
    assert_str(sk_map_str(map, "q", SK_STR("d")), "7");
    assert_str(sk_map_str(map, "i", SK_STR("d")), "d"); /* another kind */
    assert_str(sk_map_str(map, "none", SK_STR("d")), "d");
    assert_int_equal(sk_map_int(map, "i", -1), 41);
    assert_int_equal(sk_map_int(map, "x", -1), 16);
    assert_int_equal(sk_map_int(map, "f", -1), 3);
    assert_int_equal(sk_map_int(map, "e", -1), -1);
    assert_int_equal(sk_map_int(map, "q", -1), -1);
    assert_int_equal(sk_map_int(map, "h", -1), -1);
    assert_true(sk_map_num(map, "n", 9) == 0.5);
    assert_true(sk_map_num(map, "h", 9) == 9);
    assert_true(sk_map_num(map, "s", 9) == 9);
    assert_true(sk_map_bool(map, "b", false));
    assert_true(sk_map_bool(map, "s", true));
    assert_non_null(sk_map_seq(map, "l"));
    assert_null(sk_map_seq(map, "m"));
    assert_null(sk_map_seq(map, "none"));
    assert_null(sk_map_get(sk_map_seq(map, "l"), SK_STR("x"))); /* a list has no members */
    assert_null(sk_map_get(NULL, SK_STR("x")));
    assert_int_equal(sk_map_int(NULL, "x", 5), 5);
}

static void large_integers_are_exact(void **state)
{
    const struct sk_node *map =
        read_ok("{\"a\":9223372036854775807,\"b\":-9223372036854775808,"
                "\"c\":9223372036854775808,\"d\":9007199254740993,\"e\":1e15}");
    (void)state;
    assert_true(sk_map_int(map, "a", 0) == INT64_MAX);
    assert_true(sk_map_int(map, "b", 0) == INT64_MIN);
    assert_int_equal(sk_map_int(map, "c", -3), -3);
    assert_true(sk_map_int(map, "d", 0) == 9007199254740993);
    assert_true(sk_map_int(map, "e", 0) == 1000000000000000);
}

static void equality_ignores_order_of_members_only(void **state)
{
    static const struct {
        const char *a;
        const char *b;
        bool equal;
    } rows[] = {
        {"{a: 1, b: [x, y]}", "{b: [x, y], a: 1}", true},
        {"[1, 2]", "[2, 1]", false},
        {"{a: 1}", "{a: 1, b: 2}", false},
        {"{a: 1}", "{b: 1}", false},
        {"[1]", "[1, 1]", false},
        {"[1]", "['1']", false},
        {"[~]", "[null]", true},
        {"[1]", "[1.0]", false},
        {"[true]", "[True]", true},
        {"[]", "{}", false},
    };
    (void)state;
    for (size_t i = 0; i < SK_ARRAY_LEN(rows); i++) {
        assert_int_equal(sk_node_eq(read_ok(rows[i].a), read_ok(rows[i].b)), rows[i].equal);
    }
}

static void kinds_have_names(void **state)
{
    (void)state;
    for (int kind = SK_NULL; kind <= SK_MAP; kind++) {
        assert_string_not_equal(sk_kind_name((enum sk_kind)kind), "unknown");
    }
    assert_true(sk_node_is_scalar(read_ok("x")));
    assert_false(sk_node_is_scalar(read_ok("[x]")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(finds_typed_values, setup, teardown),
        cmocka_unit_test_setup_teardown(large_integers_are_exact, setup, teardown),
        cmocka_unit_test_setup_teardown(equality_ignores_order_of_members_only, setup, teardown),
        cmocka_unit_test_setup_teardown(kinds_have_names, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
