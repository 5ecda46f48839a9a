/* SPDX-License-Identifier: Apache-2.0 */
/* The JSON reader: what it takes, what it refuses, and where it says the fault is. */
#include <stdio.h>

#include "base/json.h"
#include "base/mem.h"
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
    int rc = sk_json_read(arena, "a.json", sk_str(text), NULL, &root, &err);
    if (rc < 0) {
        fail_msg("%s: %s", text, err.msg);
    }
    assert_int_equal(err.code, 0);
    return root;
}

static void read_fails(struct sk_str text, int code, const char *msg)
{
    const struct sk_node *root = NULL;
    struct sk_err err = {0};
    int rc = sk_json_read(arena, "a.json", text, NULL, &root, &err);
    if (rc == 0) {
        fail_msg("accepted: %.*s", SK_PRI(text));
    }
    assert_string_equal(err.msg, msg);
    assert_int_equal(rc, code);
    assert_int_equal(err.code, code);
    assert_null(root);
}

static void bad(const char *text, const char *msg)
{
    read_fails(sk_str(text), SK_ERR_INPUT, msg);
}

static void reads_scalars(void **state)
{
    (void)state;
    assert_int_equal(read_ok(" null ")->kind, SK_NULL);
    assert_str(read_ok("true")->u.text, "true");
    assert_str(read_ok("false")->u.text, "false");
    assert_int_equal(read_ok("\"x\"")->kind, SK_STRING);
    assert_true(read_ok("\"x\"")->quoted);
    assert_str(read_ok("\"\"")->u.text, "");
    assert_str(read_ok("-0.5e+10")->u.text, "-0.5e+10");
    assert_int_equal(read_ok("12")->kind, SK_NUMBER);
    assert_str(read_ok("\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"")->u.text, "\"\\/\b\f\n\r\t");
    assert_str(read_ok("\"\\u0041\\u00e9\\u20AC\\ud83d\\ude00 z\"")->u.text,
               "A\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80 z");
    assert_str(read_ok("\"\xc3\xa9\x7f\"")->u.text, "\xc3\xa9\x7f");
}

static void texts_end_in_nul(void **state)
{
    const struct sk_node *root = read_ok("{\"key\":\"value\",\"n\":12}");
    (void)state;
    assert_string_equal(root->u.members[0].key.ptr, "key");
    assert_string_equal(root->u.members[0].value.u.text.ptr, "value");
    assert_string_equal(root->u.members[1].value.u.text.ptr, "12");
}

static void says_where_everything_stands(void **state)
{
    const struct sk_node *root =
        read_ok("{\n  \"a\": [1, \"\xc3\xa9\", {}],\r\n\t\"b\" :\n null }");
    const struct sk_member *a = &root->u.members[0];
    const struct sk_member *b = &root->u.members[1];
    (void)state;
    assert_int_equal(root->kind, SK_MAP);
    assert_int_equal(root->count, 2);
    assert_int_equal(root->line, 1);
    assert_int_equal(root->col, 1);
    assert_int_equal(a->line, 2);
    assert_int_equal(a->col, 3);
    assert_int_equal(a->value.col, 8);
    assert_int_equal(a->value.count, 3);
    assert_int_equal(a->value.u.items[0].col, 9);
    assert_int_equal(a->value.u.items[1].col, 12);
    assert_int_equal(a->value.u.items[2].col, 18); /* in bytes: the accent has two */
    assert_int_equal(b->line, 3);
    assert_int_equal(b->col, 2);
    assert_int_equal(b->value.line, 4);
    assert_int_equal(b->value.col, 2);
}

static void refuses_what_is_not_json(void **state)
{
    (void)state;
    bad("", "a.json:1:1: expected a value, found the end of the input");
    bad("  \n ", "a.json:2:2: expected a value, found the end of the input");
    bad("{", "a.json:1:2: expected a key in double quotes, found the end of the input");
    bad("[1", "a.json:1:3: expected ',' or ']', found the end of the input");
    bad("[1 2]", "a.json:1:4: expected ',' or ']', found '2'");
    bad("[1,]", "a.json:1:4: a comma before the end");
    bad("{\"a\":1,}", "a.json:1:8: a comma before the end");
    bad("[,1]", "a.json:1:2: expected a value, found ','");
    bad("{\"a\" 1}", "a.json:1:6: expected ':', found '1'");
    bad("{a:1}", "a.json:1:2: expected a key in double quotes, found 'a'");
    bad("{1:1}", "a.json:1:2: expected a key in double quotes, found '1'");
    bad("{} {}", "a.json:1:4: expected the end of the input, found '{'");
    bad("{}\n]", "a.json:2:1: expected the end of the input, found ']'");
    bad("nul", "a.json:1:1: expected a value, found 'n'");
    bad("nulL", "a.json:1:1: expected a value, found 'n'");
    bad("truefalse", "a.json:1:5: expected the end of the input, found 'f'");
    bad("'a'", "a.json:1:1: expected a value, found '''");
    bad("NaN", "a.json:1:1: expected a value, found 'N'");
    bad("// c\n1", "a.json:1:1: expected a value, found '/'");
    bad("\xef\xbb\xbf{}", "a.json:1:1: expected a value, found byte 0xef");
    bad("[1\v]", "a.json:1:3: expected ',' or ']', found byte 0x0b");
    read_fails(SK_STR("1\0"), SK_ERR_INPUT,
               "a.json:1:2: expected the end of the input, found byte 0x00");
}

static void refuses_numbers_that_json_does_not_write(void **state)
{
    static const char *const texts[] = {"01",  "-",  "-a",  "1.",    "1.e1", "1e",
                                        "1e+", "00", "-01", "1.2.3", "1e1e1"};
    (void)state;
    for (size_t i = 0; i < SK_ARRAY_LEN(texts); i++) {
        bad(texts[i], "a.json:1:1: not a number as JSON writes them");
    }
    bad("+1", "a.json:1:1: expected a value, found '+'");
    bad(".5", "a.json:1:1: expected a value, found '.'");
    bad("0x10", "a.json:1:2: expected the end of the input, found 'x'");
}

static void refuses_broken_strings(void **state)
{
    (void)state;
    bad("[\"abc", "a.json:1:2: a string that does not end");
    bad("\"a\nb\"", "a.json:1:3: a control character inside a string");
    bad("\"a\tb\"", "a.json:1:3: a control character inside a string");
    bad("\"\\x\"", "a.json:1:2: no such escape");
    bad("\"\\", "a.json:1:3: expected an escape, found the end of the input");
    bad("\"ab\\u12g4\"", "a.json:1:4: '\\u' needs four hexadecimal digits");
    bad("\"\\u12", "a.json:1:2: '\\u' needs four hexadecimal digits");
    bad("\"a\\u0000\"", "a.json:1:3: the character NUL is not allowed");
    bad("\"\\ud800\"", "a.json:1:2: half of a surrogate pair");
    bad("\"\\ud800\\u0041\"", "a.json:1:2: half of a surrogate pair");
    bad("\"\\udc00\"", "a.json:1:2: half of a surrogate pair");
    bad("\"\xc3\xa9\xff\"", "a.json:1:4: bytes that are not UTF-8");
    bad("\"\xc0\x80\"", "a.json:1:2: bytes that are not UTF-8");
    bad("\"\xed\xa0\x80\"", "a.json:1:2: bytes that are not UTF-8");
    bad("\"\xf4\x90\x80\x80\"", "a.json:1:2: bytes that are not UTF-8");
    bad("\"\xe2\x82\"", "a.json:1:2: bytes that are not UTF-8");
    read_fails(SK_STR("\"a\0\""), SK_ERR_INPUT, "a.json:1:3: a control character inside a string");
}

static void refuses_duplicate_keys(void **state)
{
    (void)state;
    bad("{\"fra\":1,\n \"ams\":2,\n \"fra\":3}",
        "a.json:3:2: duplicate key 'fra'; first at line 1");
    bad("{\"a\":1,\"\\u0061\":2}", "a.json:1:8: duplicate key 'a'; first at line 1");
    /* the same key in different maps is none */
    assert_int_equal(read_ok("[{\"a\":{\"a\":1}},{\"a\":2}]")->count, 2);
}

/* {"k0":0,...}; `extra` is the number of the key that comes again on the next line, -1 for none. */
static char *large_map(int count, int extra)
{
    struct sk_buf buf = SK_BUF_INIT;
    sk_buf_addc(&buf, '{');
    for (int i = 0; i < count; i++) {
        sk_buf_printf(&buf, "%s\"k%d\":%d", i ? "," : "", i, i);
    }
    if (extra >= 0) {
        sk_buf_printf(&buf, ",\n\"k%d\":0", extra);
    }
    sk_buf_addc(&buf, '}');
    return sk_buf_steal(&buf, NULL);
}

static void finds_members_of_large_maps(void **state)
{
    static const int counts[] = {0, 1, 15, 16, 17, 18, 19, 20, 1000, 100000};
    (void)state;
    for (size_t c = 0; c < SK_ARRAY_LEN(counts); c++) {
        sk_autofree char *text = large_map(counts[c], -1);
        const struct sk_node *root = read_ok(text);
        char key[16];
        assert_int_equal(root->count, counts[c]);
        for (int i = 0; i < counts[c]; i++) {
            (void)snprintf(key, sizeof(key), "k%d", i);
            assert_str(root->u.members[i].key, key); /* the order of the file */
            assert_ptr_equal(sk_map_member(root, sk_str(key)), &root->u.members[i]);
        }
        assert_null(sk_map_get(root, SK_STR("k")));
        assert_null(sk_map_get(root, SK_STR("")));
        assert_null(sk_map_get(root, SK_STR("zz")));
    }
}

static void finds_duplicates_in_large_maps(void **state)
{
    sk_autofree char *few = large_map(17, 3);
    sk_autofree char *many = large_map(100000, 77);
    (void)state;
    bad(few, "a.json:2:1: duplicate key 'k3'; first at line 1");
    bad(many, "a.json:2:1: duplicate key 'k77'; first at line 1");
}

static void bounds_depth(void **state)
{
    char text[300];
    const struct sk_node *root;
    struct sk_limits limits = {.depth_max = 3};
    struct sk_err err = {0};
    (void)state;
    memset(text, '[', 64);
    memset(text + 64, ']', 64);
    assert_int_equal(sk_json_read(arena, "a.json", (struct sk_str){text, 128}, NULL, &root, &err),
                     0);
    memset(text, '[', 65);
    memset(text + 65, ']', 65);
    read_fails((struct sk_str){text, 130}, SK_ERR_LIMIT,
               "a.json:1:65: nested deeper than 64 levels");
    assert_int_equal(sk_json_read(arena, "b", SK_STR("[[{}]]"), &limits, &root, &err), 0);
    assert_int_equal(sk_json_read(arena, "b", SK_STR("[[{\"a\":[]}]]"), &limits, &root, &err),
                     SK_ERR_LIMIT);
    assert_string_equal(err.msg, "b:1:8: nested deeper than 3 levels");
    /* depth is what is open, not what was */
    assert_int_equal(sk_json_read(arena, "b", SK_STR("[[[]],[[]],[[]]]"), &limits, &root, &err), 0);
}

static void bounds_size_and_count(void **state)
{
    const struct sk_node *root;
    struct sk_limits limits = {.bytes_max = 8};
    struct sk_err err = {0};
    (void)state;
    assert_int_equal(sk_json_read(arena, "b", SK_STR("[1,2,34]"), &limits, &root, &err), 0);
    assert_int_equal(sk_json_read(arena, "b", SK_STR("[1,2,345]"), &limits, &root, &err),
                     SK_ERR_LIMIT);
    assert_string_equal(err.msg, "b:1:1: larger than 8 bytes");
    limits = (struct sk_limits){.nodes_max = 4};
    assert_int_equal(sk_json_read(arena, "b", SK_STR("[1,2,3]"), &limits, &root, &err), 0);
    assert_int_equal(sk_json_read(arena, "b", SK_STR("[1,2,3,4]"), &limits, &root, &err),
                     SK_ERR_LIMIT);
    assert_string_equal(err.msg, "b:1:8: more than 4 values");
}

static void needs_no_error_object(void **state)
{
    const struct sk_node *root;
    (void)state;
    assert_int_equal(sk_json_read(arena, "b", SK_STR("{\"a\":1,\"a\":2}"), NULL, &root, NULL),
                     SK_ERR_INPUT);
    assert_int_equal(sk_json_read(arena, "b", SK_STR_NULL, NULL, &root, NULL), SK_ERR_INPUT);
}

static void many_placements_stay_small(void **state)
{
    struct sk_buf buf = SK_BUF_INIT;
    struct sk_jw w;
    const struct sk_node *root;
    struct sk_err err = {0};
    (void)state;
    sk_jw_init(&w, &buf);
    sk_jw_arr(&w);
    for (int i = 0; i < 100000; i++) {
        char node[32];
        (void)snprintf(node, sizeof(node), "fra-%d", i % 500);
        sk_jw_obj(&w);
        sk_jw_kcstr(&w, "project", "shop");
        sk_jw_kcstr(&w, "service", "web");
        sk_jw_kint(&w, "replica", i);
        sk_jw_kcstr(&w, "site", "fra");
        sk_jw_kcstr(&w, "node", node);
        sk_jw_obj_end(&w);
    }
    sk_jw_arr_end(&w);
    assert_int_equal(sk_json_read(arena, "p", sk_buf_str(&buf), NULL, &root, &err), 0);
    assert_int_equal(root->count, 100000);
    assert_int_equal(sk_map_int(&root->u.items[77777], "replica", -1), 77777);
    /* 5 members of 56 bytes and one item of 32, texts shared: 100,000 take less than 40 MB */
    assert_true(sk_arena_bytes(arena) < 40u * 1000 * 1000);
    sk_buf_release(&buf);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(reads_scalars, setup, teardown),
        cmocka_unit_test_setup_teardown(texts_end_in_nul, setup, teardown),
        cmocka_unit_test_setup_teardown(says_where_everything_stands, setup, teardown),
        cmocka_unit_test_setup_teardown(refuses_what_is_not_json, setup, teardown),
        cmocka_unit_test_setup_teardown(refuses_numbers_that_json_does_not_write, setup, teardown),
        cmocka_unit_test_setup_teardown(refuses_broken_strings, setup, teardown),
        cmocka_unit_test_setup_teardown(refuses_duplicate_keys, setup, teardown),
        cmocka_unit_test_setup_teardown(finds_members_of_large_maps, setup, teardown),
        cmocka_unit_test_setup_teardown(finds_duplicates_in_large_maps, setup, teardown),
        cmocka_unit_test_setup_teardown(bounds_depth, setup, teardown),
        cmocka_unit_test_setup_teardown(bounds_size_and_count, setup, teardown),
        cmocka_unit_test_setup_teardown(needs_no_error_object, setup, teardown),
        cmocka_unit_test_setup_teardown(many_placements_stay_small, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
