/* SPDX-License-Identifier: Apache-2.0 */
/* The YAML reader: YAML 1.2 scalars, anchors, merges, positions, and every trap we know of. */
#include <stdio.h>

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
    if (sk_yaml_read(arena, "a.yaml", sk_str(text), NULL, &root, &err) < 0) {
        fail_msg("%s: %s", text, err.msg);
    }
    return root;
}

static void bad_code(const char *text, int code, const char *msg)
{
    const struct sk_node *root = NULL;
    struct sk_err err = {0};
    int rc = sk_yaml_read(arena, "a.yaml", sk_str(text), NULL, &root, &err);
    if (rc == 0) {
        fail_msg("accepted: %s", text);
    }
    assert_string_equal(err.msg, msg);
    assert_int_equal(rc, code);
    assert_null(root);
}

static void bad(const char *text, const char *msg)
{
    bad_code(text, SK_ERR_INPUT, msg);
}

/* What the file means, as JSON in the order of the tree. */
static void means(const char *text, const char *json)
{
    struct sk_buf buf = SK_BUF_INIT;
    struct sk_jw w;
    sk_jw_init(&w, &buf);
    sk_jw_node(&w, read_ok(text));
    assert_string_equal(buf.ptr, json);
    sk_buf_release(&buf);
}

static void plain_scalars_follow_yaml_1_2(void **state)
{
    static const struct {
        const char *text;
        enum sk_kind kind;
    } rows[] = {
        {"yes", SK_STRING},     {"no", SK_STRING},    {"on", SK_STRING},
        {"off", SK_STRING},     {"y", SK_STRING},     {"n", SK_STRING},
        {"NO", SK_STRING},      {"22:22", SK_STRING}, {"1:30:00", SK_STRING},
        {"010", SK_NUMBER},     {"0o17", SK_NUMBER},  {"0x1F", SK_NUMBER},
        {"0b11", SK_STRING},    {"1_000", SK_STRING}, {"1e3", SK_NUMBER},
        {"1.", SK_NUMBER},      {".5", SK_NUMBER},    {"+12", SK_NUMBER},
        {"-1.5e-3", SK_NUMBER}, {".inf", SK_NUMBER},  {"-.INF", SK_NUMBER},
        {".nan", SK_NUMBER},    {"+.nan", SK_STRING}, {"inf", SK_STRING},
        {"1e", SK_STRING},      {"e3", SK_STRING},    {".", SK_STRING},
        {"1.2.3", SK_STRING},   {"0x", SK_STRING},    {"0o8", SK_STRING},
        {"true", SK_BOOL},      {"True", SK_BOOL},    {"FALSE", SK_BOOL},
        {"tRUE", SK_STRING},    {"null", SK_NULL},    {"Null", SK_NULL},
        {"~", SK_NULL},         {"nULL", SK_STRING},  {"2026-11-23", SK_STRING},
        {"1.4", SK_NUMBER},     {"1,5", SK_STRING},   {"256M", SK_STRING},
        {"=", SK_STRING},
    };
    (void)state;
    for (size_t i = 0; i < SK_ARRAY_LEN(rows); i++) {
        char text[64];
        const struct sk_node *value;
        (void)snprintf(text, sizeof(text), "k: %s\n", rows[i].text);
        value = sk_map_get(read_ok(text), SK_STR("k"));
        if (value->kind != rows[i].kind) {
            fail_msg("'%s' is a %s", rows[i].text, sk_kind_name(value->kind));
        }
        assert_false(value->quoted);
        if (value->kind == SK_NUMBER || value->kind == SK_STRING) {
            assert_str(value->u.text, rows[i].text); /* stays what was written */
        }
        /* in quotes it is a string */
        (void)snprintf(text, sizeof(text), "k: '%s'\n", rows[i].text);
        value = sk_map_get(read_ok(text), SK_STR("k"));
        assert_int_equal(value->kind, SK_STRING);
        assert_true(value->quoted);
    }
}

static void booleans_have_one_text(void **state)
{
    const struct sk_node *root = read_ok("[True, FALSE]");
    (void)state;
    assert_str(root->u.items[0].u.text, "true");
    assert_str(root->u.items[1].u.text, "false");
}

static void reads_every_style(void **state)
{
    (void)state;
    means("a: |\n  x\n  y\nb: >-\n  x\n  y\nc: \"\\u00e9\\n\\x41\"\nd: 'it''s'\ne:\n- 1\n- - 2\nf: "
          "{g: [h, i], j: }\n",
          "{\"a\":\"x\\ny\\n\",\"b\":\"x "
          "y\",\"c\":\"\xc3\xa9\\nA\",\"d\":\"it's\",\"e\":[1,[2]],\"f\":{\"g\":"
          "[\"h\",\"i\"],\"j\":null}}");
    means("# nothing\n", "null");
    means("", "null");
    means("---\n...\n", "null");
    means("---\na: 1\n...\n", "{\"a\":1}");
    means("%YAML 1.2\n---\na: 1\n", "{\"a\":1}");
    means("\xef\xbb\xbf"
          "a: 1\n",
          "{\"a\":1}");
    means("a: 1\r\nb: 2\r\n", "{\"a\":1,\"b\":2}");
    means("{a: 1, b: [x, 'y'],}", "{\"a\":1,\"b\":[\"x\",\"y\"]}");
    means("{\"a\":1}", "{\"a\":1}");
    means("ports: [80:80, \"22:22\"]\n1: x\ntrue: y\n",
          "{\"ports\":[\"80:80\",\"22:22\"],\"1\":\"x\",\"true\":\"y\"}");
    means("- a\n-\n- b: c\n  d: e\n", "[\"a\",null,{\"b\":\"c\",\"d\":\"e\"}]");
}

static void at(const struct sk_node *node, unsigned line, unsigned col)
{
    assert_int_equal(node->line, line);
    assert_int_equal(node->col, col);
}

static void says_where_everything_stands(void **state)
{
    const struct sk_node *root =
        read_ok("# \xc3\xa9\n"
                "name: shop\n"
                "\xc3\xa9\xe2\x82\xac: {\xc3\xa9: 'x', list: [a, &q b, *q]}\n"
                "block:\n"
                "  - one\n"
                "  - key: |\n"
                "      text\n"
                "    none:\n"
                "    \"quoted\": \"v\"\n");
    const struct sk_member *flow = &root->u.members[1];
    const struct sk_node *list = sk_map_get(&flow->value, SK_STR("list"));
    const struct sk_node *block = sk_map_get(root, SK_STR("block"));
    const struct sk_member *members = block->u.items[1].u.members;
    (void)state;
    at(root, 2, 1);
    assert_int_equal(root->u.members[0].line, 2);
    at(&root->u.members[0].value, 2, 7);
    assert_int_equal(flow->line, 3);
    assert_int_equal(flow->col, 1);
    at(&flow->value, 3, 8); /* two characters before it, five bytes */
    assert_int_equal(flow->value.u.members[0].col, 9);
    at(&flow->value.u.members[0].value, 3, 13);
    assert_int_equal(flow->value.u.members[1].col, 18);
    at(list, 3, 24);
    at(&list->u.items[1], 3, 28);
    at(&list->u.items[2], 3, 28); /* an alias stands where its anchor stands */
    at(block, 5, 3);
    at(&block->u.items[0], 5, 5);
    at(&block->u.items[1], 6, 5);
    at(&members[0].value, 6, 10);
    assert_int_equal(members[1].line, 8);
    assert_int_equal(members[1].value.kind, SK_NULL);
    assert_int_equal(members[1].value.line, 8);
    assert_int_equal(members[2].line, 9);
    assert_int_equal(members[2].col, 5);
    at(&members[2].value, 9, 15);
}

static void positions_survive_windows_line_ends_and_a_mark(void **state)
{
    const struct sk_node *root = read_ok("\xef\xbb\xbf"
                                         "a: 1\r\n\r\nb: [x,\r\n  y]\r\n");
    const struct sk_node *b = sk_map_get(root, SK_STR("b"));
    (void)state;
    at(root, 1, 1);
    at(b, 3, 4);
    at(&b->u.items[1], 4, 3);
}

static void expands_aliases_and_merges(void **state)
{
    (void)state;
    means("a: &x [1, 2]\nb: *x\n", "{\"a\":[1,2],\"b\":[1,2]}");
    means("&k key: 1\nb: *k\n", "{\"key\":1,\"b\":\"key\"}");
    means("a: &k key\n*k : 1\n", "{\"a\":\"key\",\"key\":1}");
    means("a: &x 1\nb: &x 2\nc: *x\n", "{\"a\":1,\"b\":2,\"c\":2}");
    means("a: &x\nb: *x\n", "{\"a\":null,\"b\":null}");
    /* own keys win, wherever they stand */
    means("a: &a {x: 1, y: 2}\nb:\n  y: 3\n  <<: *a\n  z: 4\n",
          "{\"a\":{\"x\":1,\"y\":2},\"b\":{\"y\":3,\"z\":4,\"x\":1}}");
    /* earlier maps of a list win */
    means("a: &a {x: 1}\nb: &b {x: 2, y: 2}\nc: {<<: [*a, *b], z: 3}\n",
          "{\"a\":{\"x\":1},\"b\":{\"x\":2,\"y\":2},\"c\":{\"z\":3,\"x\":1,\"y\":2}}");
    /* a chain of merges */
    means("a: &a {x: 1}\nb: &b {<<: *a, y: 2}\nc: {<<: *b, x: 9}\n",
          "{\"a\":{\"x\":1},\"b\":{\"y\":2,\"x\":1},\"c\":{\"x\":9,\"y\":2}}");
    means("c: {<<: {x: 1}, <<x: 2}\n", "{\"c\":{\"<<x\":2,\"x\":1}}");
    means("c: {<<: []}\n", "{\"c\":{}}");
    means("c: {\"<<\": 1}\n", "{\"c\":{\"<<\":1}}"); /* in quotes it is a key */
    /* a merge is one level: maps inside are not mixed */
    means("a: &a {e: {p: 1}}\nb: {<<: *a, e: {q: 2}}\n",
          "{\"a\":{\"e\":{\"p\":1}},\"b\":{\"e\":{\"q\":2}}}");
}

static void merges_large_maps(void **state)
{
    struct sk_buf buf = SK_BUF_INIT;
    const struct sk_node *c;
    (void)state;
    sk_buf_adds(&buf, "a: &a\n");
    for (int i = 0; i < 1000; i++) {
        sk_buf_printf(&buf, "  k%d: a\n", i);
    }
    sk_buf_adds(&buf, "b: &b\n");
    for (int i = 500; i < 1500; i++) {
        sk_buf_printf(&buf, "  k%d: b\n", i);
    }
    sk_buf_adds(&buf, "c:\n  k700: own\n  <<: [*b, *a]\n");
    c = sk_map_get(read_ok(buf.ptr), SK_STR("c"));
    assert_int_equal(c->count, 1500);
    assert_str(c->u.members[0].key, "k700");
    assert_str(sk_map_str(c, "k700", SK_STR("")), "own");
    assert_str(sk_map_str(c, "k600", SK_STR("")), "b");
    assert_str(sk_map_str(c, "k1499", SK_STR("")), "b");
    assert_str(sk_map_str(c, "k0", SK_STR("")), "a");
    sk_buf_release(&buf);
}

static void refuses_wrong_merges(void **state)
{
    (void)state;
    bad("c: {<<: 1}", "a.yaml:1:9: '<<' takes a map or a list of maps, found number");
    bad("c: {<<: }", "a.yaml:1:9: '<<' takes a map or a list of maps, found nothing");
    bad("c: {<<: [{a: 1}, 2]}",
        "a.yaml:1:9: '<<' takes a map or a list of maps, found a list of other things");
    bad("a: &a {}\nc:\n  <<: *a\n  <<: *a\n", "a.yaml:4:3: duplicate key '<<'; first at line 3");
    bad("a: &a {x: 1}\nc:\n  y: 1\n  <<: *a\n  y: 2\n",
        "a.yaml:5:3: duplicate key 'y'; first at line 3");
}

static void refuses_duplicate_keys(void **state)
{
    (void)state;
    bad("sites:\n  fra: 1\n  ams: 1\n  fra: 2\n",
        "a.yaml:4:3: duplicate key 'fra'; first at line 2");
    bad("a: 1\n\"a\": 2\n", "a.yaml:2:1: duplicate key 'a'; first at line 1");
    bad("{a: 1, b: {x: 1, x: 2}, a: 2}", "a.yaml:1:18: duplicate key 'x'; first at line 1");
}

static void refuses_recursion_and_unknown_aliases(void **state)
{
    (void)state;
    bad("a: &x [1, *x]\n", "a.yaml:1:11: the alias '*x' stands inside its own anchor");
    bad("a: &x\n  b: *x\n", "a.yaml:2:6: the alias '*x' stands inside its own anchor");
    bad("a: &x {<<: *x}\n", "a.yaml:1:12: the alias '*x' stands inside its own anchor");
    bad("&x {*x : 1}", "a.yaml:1:5: the alias '*x' stands inside its own anchor");
    bad("a: *nowhere\n", "a.yaml:1:4: no anchor '&nowhere' before this alias");
    bad("a: *later\nb: &later 1\n", "a.yaml:1:4: no anchor '&later' before this alias");
}

static void bounds_what_aliases_can_do(void **state)
{
    struct sk_buf buf = SK_BUF_INIT;
    struct sk_limits limits = {.depth_max = 3};
    struct sk_err err = {0};
    const struct sk_node *root;
    (void)state;
    /* a billion laughs */
    sk_buf_adds(&buf, "a0: &a0 [lol,lol,lol,lol,lol,lol,lol,lol,lol]\n");
    for (int i = 1; i < 10; i++) {
        sk_buf_printf(&buf, "a%d: &a%d [*a%d,*a%d,*a%d,*a%d,*a%d,*a%d,*a%d,*a%d,*a%d]\n", i, i,
                      i - 1, i - 1, i - 1, i - 1, i - 1, i - 1, i - 1, i - 1, i - 1);
    }
    bad_code(buf.ptr, SK_ERR_LIMIT, "a.yaml:8:10: more than 8388608 values");
    assert_true(sk_arena_bytes(arena) < 1000000);
    sk_buf_clear(&buf);
    /* the same by merges of maps */
    sk_buf_adds(&buf, "a0: &a0 {x: [1,2,3,4,5,6,7,8,9]}\n");
    for (int i = 1; i < 25; i++) {
        sk_buf_printf(&buf, "a%d: &a%d {<<: *a%d, y: *a%d}\n", i, i, i - 1, i - 1);
    }
    bad_code(buf.ptr, SK_ERR_LIMIT, "a.yaml:20:16: more than 8388608 values");
    sk_buf_clear(&buf);
    sk_buf_adds(&buf, "a: &a 1\nb: [");
    for (int i = 0; i < 1001; i++) {
        sk_buf_adds(&buf, "*a, ");
    }
    sk_buf_adds(&buf, "]\n");
    bad_code(buf.ptr, SK_ERR_LIMIT, "a.yaml:2:4005: more than 1000 aliases");
    sk_buf_clear(&buf);
    for (int i = 0; i < 1001; i++) {
        sk_buf_printf(&buf, "- &a%d 1\n", i);
    }
    bad_code(buf.ptr, SK_ERR_LIMIT, "a.yaml:1001:3: more than 1000 anchors");
    sk_buf_release(&buf);
    /* depth counts what an alias stands for */
    assert_int_equal(sk_yaml_read(arena, "b", SK_STR("[&a [[]], *a]"), &limits, &root, &err), 0);
    assert_int_equal(sk_yaml_read(arena, "b", SK_STR("[&a [[]], [*a]]"), &limits, &root, &err),
                     SK_ERR_LIMIT);
    assert_string_equal(err.msg, "b:1:12: nested deeper than 3 levels");
}

static void bounds_depth_size_and_count(void **state)
{
    struct sk_limits limits = {.bytes_max = 5};
    struct sk_err err = {0};
    const struct sk_node *root;
    char text[201];
    (void)state;
    assert_int_equal(sk_yaml_read(arena, "b", SK_STR("a: 12"), &limits, &root, &err), 0);
    assert_int_equal(sk_yaml_read(arena, "b", SK_STR("a: 123"), &limits, &root, &err),
                     SK_ERR_LIMIT);
    assert_string_equal(err.msg, "b:1:1: larger than 5 bytes");
    limits = (struct sk_limits){.nodes_max = 4};
    /* a map counts itself, its keys and its values */
    assert_int_equal(sk_yaml_read(arena, "b", SK_STR("[1, 2, 3]"), &limits, &root, &err), 0);
    assert_int_equal(sk_yaml_read(arena, "b", SK_STR("[1, 2, 3, 4]"), &limits, &root, &err),
                     SK_ERR_LIMIT);
    assert_string_equal(err.msg, "b:1:11: more than 4 values");
    memset(text, '[', 200);
    text[200] = '\0';
    bad_code(text, SK_ERR_LIMIT, "a.yaml:1:65: nested deeper than 64 levels");
    for (int i = 0; i < 200; i += 2) {
        memcpy(text + i, "- ", 2);
    }
    bad_code(text, SK_ERR_LIMIT, "a.yaml:1:129: nested deeper than 64 levels");
}

static void refuses_what_it_does_not_support(void **state)
{
    (void)state;
    bad("a: 1\n---\nb: 2\n", "a.yaml:2:1: more than one document in one file");
    bad_code("a: !reset null\n", SK_ERR_UNSUPPORTED,
             "a.yaml:1:4: the tag '!reset' is not supported here");
    bad_code("a: !override\n  b: 1\n", SK_ERR_UNSUPPORTED,
             "a.yaml:1:4: the tag '!override' is not supported here");
    bad_code("a: !!binary aGk=\n", SK_ERR_UNSUPPORTED,
             "a.yaml:1:4: the tag '!!binary' is not supported here");
    bad_code("a: !!set {x}\n", SK_ERR_UNSUPPORTED,
             "a.yaml:1:4: the tag '!!set' is not supported here");
    bad_code("a: !!map [x]\n", SK_ERR_UNSUPPORTED,
             "a.yaml:1:4: the tag '!!map' is not supported here");
    bad("? [a, b]\n: 1\n", "a.yaml:1:3: a key must be a plain value, not a list");
    bad("{{ name }}: 1\n", "a.yaml:1:2: a key must be a plain value, not a map");
    bad("?\n: 1\n", "a.yaml:1:2: a ':' without a key");
    bad("a: !!int x\n", "a.yaml:1:4: 'x' is no number");
    bad("a: !!bool yes\n", "a.yaml:1:4: 'yes' is no true or false");
    means("a: !!str 010\nb: ! 1\nc: !!int \"7\"\nd: !!float 1\ne: !!null ~\nf: !!map {}\ng: !!seq "
          "[]\n",
          "{\"a\":\"010\",\"b\":\"1\",\"c\":7,\"d\":1,\"e\":null,\"f\":{},\"g\":[]}");
}

static void refuses_broken_bytes(void **state)
{
    const struct sk_node *root = NULL;
    struct sk_err err = {0};
    (void)state;
    bad("a: 1\nb: \xff\n", "a.yaml:2:4: bytes that are not UTF-8");
    bad("\xc3\xa9: \xed\xa0\x80\n", "a.yaml:1:5: bytes that are not UTF-8");
    bad("a: 1\nb: x\x01y\n", "a.yaml:2:5: a control character is not allowed");
    bad("a: \"\\0\"\n", "a.yaml:1:4: the character NUL is not allowed");
    bad("a: \"\\ud800\"\n", "a.yaml:1:7: found invalid Unicode character escape code");
    assert_int_equal(sk_yaml_read(arena, "z", SK_STR("a: \0b"), NULL, &root, &err), SK_ERR_INPUT);
    assert_null(root);
    /* UTF-16 is not guessed */
    assert_int_equal(sk_yaml_read(arena, "z",
                                  SK_STR("\xff\xfe"
                                         "a\0:\0 \0b\0"),
                                  NULL, &root, &err),
                     SK_ERR_INPUT);
    assert_string_equal(err.msg, "z:1:1: bytes that are not UTF-8");
}

static void names_the_mistake(void **state)
{
    (void)state;
    bad("a:\n\tb: 1\n", "a.yaml:2:1: a tab cannot indent or separate here");
    bad("a: 1\n b: 2\n", "a.yaml:2:3: a ':' where no key can stand");
    bad("a: b: c\n", "a.yaml:1:5: a ':' where no key can stand");
    bad("a:\n  b: 1\n c: 2\n", "a.yaml:3:2: neither a key nor the end of this map");
    bad("a: [1, 2\nb: 3\n", "a.yaml:2:2: expected ',' or ']'");
    bad("a: {x: 1\n", "a.yaml:2:1: expected ',' or '}'");
    bad("a: 1\nb: 'open\n\n\n", "a.yaml:2:4: quotes that do not end");
    bad("a: @home\n", "a.yaml:1:4: no value starts with this character");
    bad("a: %d\n", "a.yaml:1:4: no value starts with this character");
    bad("a: \"C:\\dir\"\n", "a.yaml:1:7: no such escape in double quotes");
    bad("- a\nb: 1\n", "a.yaml:2:1: neither '-' nor the end of this list");
    bad("a: 1\nlonely\nb: 2\n", "a.yaml:3:1: a key without ':'");
    bad("a: [1,\n", "a.yaml:2:1: expected a value");
}

static void chooses_the_format(void **state)
{
    const struct sk_node *root;
    struct sk_err err = {0};
    struct sk_limits limits = {.depth_max = 2};
    (void)state;
    assert_int_equal(sk_tree_read(arena, "a.json", SK_STR("a: 1"), NULL, &root, &err),
                     SK_ERR_INPUT);
    assert_string_equal(err.msg, "a.json:1:1: expected a value, found 'a'");
    assert_int_equal(
        sk_tree_read(arena, "a.yaml", SK_STR(" {\"a\":\"\\ud83d\\ude00\"}"), NULL, &root, &err), 0);
    assert_str(root->u.members[0].value.u.text,
               "\xf0\x9f\x98\x80"); /* only JSON pairs surrogates */
    assert_int_equal(sk_tree_read(arena, "-", SK_STR("{a: 1}"), NULL, &root, &err), 0);
    assert_int_equal(sk_tree_read(arena, "-", SK_STR("\xef\xbb\xbf{\"a\":1}"), NULL, &root, &err),
                     0);
    assert_int_equal(
        sk_tree_read(arena, "a.json", SK_STR("\xef\xbb\xbf{\"a\":1}"), NULL, &root, &err), 0);
    assert_int_equal(sk_tree_read(arena, "-", SK_STR("[[[]]]"), &limits, &root, &err),
                     SK_ERR_LIMIT);
    assert_string_equal(err.msg, "-:1:3: nested deeper than 2 levels");
    assert_int_equal(sk_tree_read(arena, "-", SK_STR_NULL, NULL, &root, &err), 0);
    assert_int_equal(root->kind, SK_NULL);
    assert_int_equal(sk_tree_read(arena, "-", SK_STR("{a: 1"), NULL, &root, NULL), SK_ERR_INPUT);
}

/* One long line must not cost its square. */
static void long_lines_are_not_slow(void **state)
{
    struct sk_buf buf = SK_BUF_INIT;
    (void)state;
    sk_buf_addc(&buf, '[');
    for (int i = 0; i < 100000; i++) {
        sk_buf_adds(&buf, "\xc3\xa9,");
    }
    sk_buf_addc(&buf, ']');
    assert_int_equal(read_ok(buf.ptr)->u.items[99999].col, 2 + 99999 * 3);
    sk_buf_release(&buf);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(plain_scalars_follow_yaml_1_2, setup, teardown),
        cmocka_unit_test_setup_teardown(booleans_have_one_text, setup, teardown),
        cmocka_unit_test_setup_teardown(reads_every_style, setup, teardown),
        cmocka_unit_test_setup_teardown(says_where_everything_stands, setup, teardown),
        cmocka_unit_test_setup_teardown(positions_survive_windows_line_ends_and_a_mark, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(expands_aliases_and_merges, setup, teardown),
        cmocka_unit_test_setup_teardown(merges_large_maps, setup, teardown),
        cmocka_unit_test_setup_teardown(refuses_wrong_merges, setup, teardown),
        cmocka_unit_test_setup_teardown(refuses_duplicate_keys, setup, teardown),
        cmocka_unit_test_setup_teardown(refuses_recursion_and_unknown_aliases, setup, teardown),
        cmocka_unit_test_setup_teardown(bounds_what_aliases_can_do, setup, teardown),
        cmocka_unit_test_setup_teardown(bounds_depth_size_and_count, setup, teardown),
        cmocka_unit_test_setup_teardown(refuses_what_it_does_not_support, setup, teardown),
        cmocka_unit_test_setup_teardown(refuses_broken_bytes, setup, teardown),
        cmocka_unit_test_setup_teardown(names_the_mistake, setup, teardown),
        cmocka_unit_test_setup_teardown(chooses_the_format, setup, teardown),
        cmocka_unit_test_setup_teardown(long_lines_are_not_slow, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
