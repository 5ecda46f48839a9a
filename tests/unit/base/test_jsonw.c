/* SPDX-License-Identifier: Apache-2.0 */
/* The JSON writer, the canonical form (RFC 8785) and the text of numbers. */
#include <float.h>
#include <locale.h>
#include <math.h>
#include <stdlib.h>

#include "base/json.h"
#include "base/mem.h"
#include "base/prng.h"
#include "base/units.h"
#include "base/yaml.h"
#include "tap.h"

static double from_bits(uint64_t bits)
{
    double n;
    memcpy(&n, &bits, sizeof(n));
    return n;
}

static void prints_numbers_as_rfc_8785_does(void **state)
{
    /* RFC 8785, appendix B */
    static const struct {
        uint64_t bits;
        const char *text;
    } rows[] = {
        {0x0000000000000000, "0"},
        {0x8000000000000000, "0"},
        {0x0000000000000001, "5e-324"},
        {0x8000000000000001, "-5e-324"},
        {0x7fefffffffffffff, "1.7976931348623157e+308"},
        {0xffefffffffffffff, "-1.7976931348623157e+308"},
        {0x4340000000000000, "9007199254740992"},
        {0xc340000000000000, "-9007199254740992"},
        {0x4430000000000000, "295147905179352830000"},
        {0x7fffffffffffffff, "NaN"},
        {0x7ff0000000000000, "Infinity"},
        {0x44b52d02c7e14af5, "9.999999999999997e+22"},
        {0x44b52d02c7e14af6, "1e+23"},
        {0x44b52d02c7e14af7, "1.0000000000000001e+23"},
        {0x444b1ae4d6e2ef4e, "999999999999999700000"},
        {0x444b1ae4d6e2ef4f, "999999999999999900000"},
        {0x444b1ae4d6e2ef50, "1e+21"},
        {0x3eb0c6f7a0b5ed8c, "9.999999999999997e-7"},
        {0x3eb0c6f7a0b5ed8d, "0.000001"},
        {0x41b3de4355555553, "333333333.3333332"},
        {0x41b3de4355555554, "333333333.33333325"},
        {0x41b3de4355555555, "333333333.3333333"},
        {0x41b3de4355555556, "333333333.3333334"},
        {0x41b3de4355555557, "333333333.33333343"},
        {0xbecbf647612f3696, "-0.0000033333333333333333"},
        {0x43143ff3c1cb0959, "1424953923781206.2"},
        /* below a power of two, where the nearest digits do not read back */
        {0x3d30000000000000, "5.684341886080802e-14"},
        {0x0010000000000000, "2.2250738585072014e-308"},
        {0x000fffffffffffff, "2.225073858507201e-308"},
    };
    char text[SK_NUM_TEXT_MAX];
    (void)state;
    for (size_t i = 0; i < SK_ARRAY_LEN(rows); i++) {
        assert_int_equal(sk_num_text(from_bits(rows[i].bits), text), strlen(rows[i].text));
        assert_string_equal(text, rows[i].text);
    }
}

static void every_number_reads_back(void **state)
{
    struct sk_prng prng;
    (void)state;
    sk_prng_seed(&prng, 8785);
    for (int i = 0; i < 100000; i++) {
        double n =
            i % 2 ? from_bits(sk_prng_u64(&prng)) : (double)(sk_prng_below(&prng, 1000000)) / 1000;
        char text[SK_NUM_TEXT_MAX];
        double back;
        if (!isfinite(n)) {
            continue;
        }
        (void)sk_num_text(n, text);
        assert_int_equal(sk_parse_num(sk_str(text), &back, NULL), 0);
        assert_true(back == n);
        assert_true(strtod(text, NULL) == n);
    }
}

static void the_locale_does_not_matter(void **state)
{
    static const char *const names[] = {"de_DE.UTF-8", "de_DE.utf8", "fr_FR.UTF-8"};
    char text[SK_NUM_TEXT_MAX];
    double back;
    bool found = false;
    (void)state;
    for (size_t i = 0; i < SK_ARRAY_LEN(names) && !found; i++) {
        found = setlocale(LC_NUMERIC, names[i]) != NULL;
    }
    if (!found) {
        print_message("no locale with a decimal comma on this machine\n");
        skip();
    }
    (void)sk_num_text(0.1 + 0.2, text);
    assert_string_equal(text, "0.30000000000000004");
    assert_int_equal(sk_parse_num(SK_STR("3.00000000000000044408"), &back, NULL), 0);
    assert_true(back == 3.0000000000000004);
    (void)setlocale(LC_NUMERIC, "C");
}

static void writes_what_it_is_told(void **state)
{
    struct sk_buf buf = SK_BUF_INIT;
    struct sk_jw w;
    (void)state;
    sk_jw_init(&w, &buf);
    sk_jw_obj(&w);
    sk_jw_kcstr(&w, "name", "a\"\\\b\f\n\r\t\x01/\x7f");
    sk_jw_key(&w, "list");
    sk_jw_arr(&w);
    sk_jw_int(&w, INT64_MIN);
    sk_jw_int(&w, INT64_MAX);
    sk_jw_num(&w, 0.1);
    sk_jw_num(&w, (double)NAN);
    sk_jw_num(&w, (double)INFINITY);
    sk_jw_obj(&w);
    sk_jw_obj_end(&w);
    sk_jw_arr(&w);
    sk_jw_arr_end(&w);
    sk_jw_arr_end(&w);
    sk_jw_kbool(&w, "t", true);
    sk_jw_kbool(&w, "f", false);
    sk_jw_knull(&w, "n");
    sk_jw_kint(&w, "i", 0);
    sk_jw_knum(&w, "d", 1e21);
    sk_jw_kstr(&w, "\xc3\xa9", SK_STR("\xe2\x82\xac"));
    sk_jw_key(&w, "raw");
    sk_jw_raw(&w, SK_STR("[1]"));
    sk_jw_keystr(&w, SK_STR(""));
    sk_jw_str(&w, SK_STR_NULL);
    sk_jw_obj_end(&w);
    assert_string_equal(
        buf.ptr,
        "{\"name\":\"a\\\"\\\\\\b\\f\\n\\r\\t\\u0001/\x7f\",\"list\":[-9223372036854775808,"
        "9223372036854775807,0.1,null,null,{},[]],\"t\":true,\"f\":false,\"n\":null,\"i\":0,"
        "\"d\":1e+21,\"\xc3\xa9\":\"\xe2\x82\xac\",\"raw\":[1],\"\":\"\"}");
    sk_buf_release(&buf);
}

static void replaces_bytes_that_are_not_utf8(void **state)
{
    struct sk_buf buf = SK_BUF_INIT;
    struct sk_jw w;
    (void)state;
    sk_jw_init(&w, &buf);
    sk_jw_str(&w, SK_STR("a\xff\xc3\xa9\xe2\x82z\xed\xa0\x80"));
    assert_string_equal(buf.ptr, "\"a\xef\xbf\xbd\xc3\xa9\xef\xbf\xbd\xef\xbf\xbdz"
                                 "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\"");
    sk_buf_release(&buf);
}

static void check_canonical(const char *name, const char *text, const char *expected)
{
    struct sk_arena *arena = sk_arena_new();
    struct sk_buf out = SK_BUF_INIT;
    struct sk_err err = {0};
    const struct sk_node *root;
    int rc = sk_tree_read(arena, name, sk_str(text), NULL, &root, &err);
    if (rc < 0) {
        fail_msg("%s", err.msg);
    }
    assert_int_equal(sk_json_canonical(root, &out, &err), 0);
    assert_string_equal(out.ptr, expected);
    sk_buf_release(&out);
    sk_arena_free(arena);
}

static void canonical_form_is_that_of_rfc_8785(void **state)
{
    (void)state;
    /* section 3.2.2 and 3.2.3 */
    check_canonical(
        "a.json",
        "{\"numbers\": [333333333.33333329, 1E30, 4.50, 2e-3, 0.000000000000000000000000001],"
        "\"string\": \"\\u20ac$\\u000F\\u000aA'\\u0042\\u0022\\u005c\\\\\\\"\\/\","
        "\"literals\": [null, true, false]}",
        "{\"literals\":[null,true,false],\"numbers\":[333333333.3333333,1e+30,4.5,0.002,1e-27],"
        "\"string\":\"\xe2\x82\xac$\\u000f\\nA'B\\\"\\\\\\\\\\\"/\"}");
    check_canonical("a.json",
                    "{\"\\u20ac\":\"Euro Sign\",\"\\r\":\"Carriage Return\",\"\\ufb33\":\"Hebrew "
                    "Letter Dalet With "
                    "Dagesh\",\"1\":\"One\",\"\\ud83d\\ude00\":\"Emoji: Grinning "
                    "Face\",\"\\u0080\":\"Control\","
                    "\"\\u00f6\":\"Latin Small Letter O With Diaeresis\"}",
                    "{\"\\r\":\"Carriage "
                    "Return\",\"1\":\"One\",\"\xc2\x80\":\"Control\",\"\xc3\xb6\":\"Latin Small "
                    "Letter O With Diaeresis\",\"\xe2\x82\xac\":\"Euro "
                    "Sign\",\"\xf0\x9f\x98\x80\":\"Emoji: Grinning "
                    "Face\",\"\xef\xac\xb3\":\"Hebrew Letter Dalet With Dagesh\"}");
    check_canonical("a.json",
                    "{\"b\":{\"z\":1,\"a\":2},\"a\":[{\"d\":1,\"c\":-0}],\"\":0,\"aa\":1}",
                    "{\"\":0,\"a\":[{\"c\":0,\"d\":1}],\"aa\":1,\"b\":{\"a\":2,\"z\":1}}");
}

static void yaml_numbers_are_numbers_in_the_canonical_form(void **state)
{
    (void)state;
    check_canonical(
        "a.yaml", "{c: 0x1F, a: 010, b: .5, d: +1, e: 1., f: 0o17, g: \"1\", h: 22:22, i: 1_000}",
        "{\"a\":10,\"b\":0.5,\"c\":31,\"d\":1,\"e\":1,\"f\":15,\"g\":\"1\",\"h\":\"22:22\","
        "\"i\":\"1_000\"}");
}

static void canonical_form_refuses_what_no_double_holds(void **state)
{
    static const char *const texts[] = {"[1,\n 1e400]", "[1,\n -1e999]", "[1,\n .inf]",
                                        "[1,\n .nan]", "[1,\n 0xfffffffffffffff]"};
    struct sk_arena *arena = sk_arena_new();
    (void)state;
    for (size_t i = 0; i < SK_ARRAY_LEN(texts); i++) {
        struct sk_buf out = SK_BUF_INIT;
        struct sk_err err = {0};
        const struct sk_node *root;
        assert_int_equal(sk_yaml_read(arena, "a", sk_str(texts[i]), NULL, &root, &err), 0);
        assert_int_equal(sk_json_canonical(root, &out, &err), SK_ERR_INPUT);
        assert_true(sk_str_starts(sk_str(err.msg), SK_STR("2:2: no double holds the number '")));
        sk_buf_release(&out);
    }
    sk_arena_free(arena);
}

/* A tree as deep as the readers take goes through the writer, inside other things too. */
static void writes_the_deepest_tree(void **state)
{
    struct sk_arena *arena = sk_arena_new();
    struct sk_limits limits = {.depth_max = 100000};
    struct sk_buf buf = SK_BUF_INIT;
    struct sk_err err = {0};
    struct sk_jw w;
    char text[192];
    const struct sk_node *root;
    (void)state;
    memset(text, '[', 96);
    memset(text + 96, ']', 96);
    assert_int_equal(sk_json_read(arena, "a", (struct sk_str){text, 192}, &limits, &root, &err), 0);
    sk_jw_init(&w, &buf);
    for (int i = 0; i < 64; i++) {
        sk_jw_arr(&w);
    }
    sk_jw_node(&w, root);
    for (int i = 0; i < 64; i++) {
        sk_jw_arr_end(&w);
    }
    assert_int_equal(buf.len, 320);
    sk_buf_release(&buf);
    sk_arena_free(arena);
}

static void rewrites_a_tree_in_its_order(void **state)
{
    static const char text[] = "{\"z\":[1.50,1e5,-0],\"a\":{\"k\":\"v\",\"b\":null},\"t\":true}";
    struct sk_arena *arena = sk_arena_new();
    struct sk_buf buf = SK_BUF_INIT;
    struct sk_err err = {0};
    struct sk_jw w;
    const struct sk_node *root;
    (void)state;
    assert_int_equal(sk_json_read(arena, "a", sk_str(text), NULL, &root, &err), 0);
    sk_jw_init(&w, &buf);
    sk_jw_node(&w, root);
    assert_string_equal(buf.ptr, text);
    sk_buf_clear(&buf);
    assert_int_equal(
        sk_yaml_read(arena, "a", SK_STR("[.inf, 0x10, ~, True, no]"), NULL, &root, &err), 0);
    sk_jw_init(&w, &buf);
    sk_jw_node(&w, root);
    assert_string_equal(buf.ptr, "[\".inf\",16,null,true,\"no\"]");
    sk_buf_release(&buf);
    sk_arena_free(arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(prints_numbers_as_rfc_8785_does),
        cmocka_unit_test(every_number_reads_back),
        cmocka_unit_test(the_locale_does_not_matter),
        cmocka_unit_test(writes_what_it_is_told),
        cmocka_unit_test(replaces_bytes_that_are_not_utf8),
        cmocka_unit_test(canonical_form_is_that_of_rfc_8785),
        cmocka_unit_test(yaml_numbers_are_numbers_in_the_canonical_form),
        cmocka_unit_test(canonical_form_refuses_what_no_double_holds),
        cmocka_unit_test(writes_the_deepest_tree),
        cmocka_unit_test(rewrites_a_tree_in_its_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
