/* SPDX-License-Identifier: Apache-2.0 */
/* Strings, buffers, arenas, errors, hashes, random numbers, log lines. */
#include <errno.h>
#include <stdlib.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/prng.h"
#include "tap.h"

static struct sk_str text_of(const void *item)
{
    return sk_str(*(const char *const *)item);
}

static void search(void **state)
{
    static const char *const items[] = {"b", "d", "da", "f"};
    static const struct {
        const char *key;
        size_t at;
        bool there;
    } cases[] = {{"a", 0, false}, {"b", 0, true},  {"c", 1, false}, {"d", 1, true},
                 {"da", 2, true}, {"e", 3, false}, {"f", 3, true},  {"g", 4, false}};
    bool there = true;

    (void)state;
    for (size_t i = 0; i < SK_ARRAY_LEN(cases); i++) {
        assert_int_equal(
            sk_str_search(items, 4, sizeof(items[0]), text_of, sk_str(cases[i].key), &there),
            cases[i].at);
        assert_int_equal(there, cases[i].there);
    }
    assert_int_equal(sk_str_search(NULL, 0, 1, text_of, SK_STR("a"), &there), 0);
    assert_false(there);
}

static void strings(void **state)
{
    struct sk_str head;
    struct sk_str tail;
    (void)state;
    assert_int_equal(sk_str_cmp(SK_STR("a"), SK_STR("b")), -1);
    assert_int_equal(sk_str_cmp(SK_STR("b"), SK_STR("a")), 1);
    assert_int_equal(sk_str_cmp(SK_STR("a"), SK_STR("ab")), -1);
    assert_int_equal(sk_str_cmp(SK_STR("\xff"), SK_STR("a")), 1); /* bytes are unsigned */
    assert_int_equal(sk_str_cmp(SK_STR_NULL, SK_STR("")), 0);
    assert_true(sk_str_starts(SK_STR("abc"), SK_STR("ab")));
    assert_true(sk_str_starts(SK_STR_NULL, SK_STR("")));
    assert_false(sk_str_starts(SK_STR("a"), SK_STR("ab")));
    assert_true(sk_str_ends(SK_STR("abc"), SK_STR("bc")));
    assert_false(sk_str_ends(SK_STR("c"), SK_STR("bc")));
    assert_true(sk_str_cut(SK_STR("a=b=c"), '=', &head, &tail));
    assert_str(head, "a");
    assert_str(tail, "b=c");
    assert_true(sk_str_cut(SK_STR("a="), '=', &head, &tail));
    assert_int_equal(tail.len, 0);
    assert_false(sk_str_cut(SK_STR("abc"), '=', &head, &tail));
    assert_str(head, "abc");
    assert_int_equal(tail.len, 0);
    assert_false(sk_str_cut(SK_STR_NULL, '=', &head, &tail));
    assert_str(sk_str_trim(SK_STR(" \tx y \t")), "x y");
    assert_int_equal(sk_str_trim(SK_STR(" \t")).len, 0);
}

static void utf8(void **state)
{
    static const struct {
        struct sk_str s;
        size_t prefix;
    } rows[] = {
        {SK_STR("abc"), 3},
        {SK_STR("\xc2\x80\xdf\xbf"), 4},
        {SK_STR("\xe0\xa0\x80\xef\xbf\xbf"), 6},
        {SK_STR("\xf0\x90\x80\x80\xf4\x8f\xbf\xbf"), 8},
        {SK_STR("\xed\x9f\xbf\xee\x80\x80"), 6},
        {SK_STR("a\xc1\xbf"), 1},         /* overlong */
        {SK_STR("a\xe0\x9f\xbf"), 1},     /* overlong */
        {SK_STR("a\xf0\x8f\xbf\xbf"), 1}, /* overlong */
        {SK_STR("a\xed\xa0\x80"), 1},     /* a surrogate */
        {SK_STR("a\xf4\x90\x80\x80"), 1}, /* beyond U+10FFFF */
        {SK_STR("a\x80"), 1},
        {SK_STR("a\xe2\x82"), 1},
        {SK_STR("a\xe2z\x82"), 1},
        {SK_STR("a\xf8\x88\x80\x80\x80"), 1},
    };
    (void)state;
    for (size_t i = 0; i < SK_ARRAY_LEN(rows); i++) {
        assert_int_equal(sk_utf8_prefix(rows[i].s), rows[i].prefix);
        assert_int_equal(sk_str_utf8_valid(rows[i].s), rows[i].prefix == rows[i].s.len);
    }
    assert_true(sk_str_utf8_valid(SK_STR_NULL));
}

static void heads(void **state)
{
    struct sk_str s = SK_STR("a\xc3\xa9z");
    static const size_t kept[] = {0, 1, 1, 3, 4, 4};

    (void)state;
    for (size_t max = 0; max < SK_ARRAY_LEN(kept); max++) {
        assert_int_equal(sk_str_head(s, max).len, kept[max]);
        assert_ptr_equal(sk_str_head(s, max).ptr, s.ptr);
    }
    assert_int_equal(sk_str_head(SK_STR_NULL, 5).len, 0);
}

static void names(void **state)
{
    char text[80];
    (void)state;
    memset(text, 'a', sizeof(text));
    assert_true(sk_str_is_label(SK_STR("fra-1")));
    assert_true(sk_str_is_label(SK_STR("a")));
    assert_true(sk_str_is_label((struct sk_str){text, 63}));
    assert_false(sk_str_is_label((struct sk_str){text, 64}));
    assert_false(sk_str_is_label(SK_STR("")));
    assert_false(sk_str_is_label(SK_STR("-a")));
    assert_false(sk_str_is_label(SK_STR("a-")));
    assert_false(sk_str_is_label(SK_STR("A")));
    assert_false(sk_str_is_label(SK_STR("a.b")));
    assert_false(sk_str_is_label(SK_STR("a\0")));
    assert_int_equal(sk_str_distance(SK_STR("replica"), SK_STR("replicas"), 3), 1);
    assert_int_equal(sk_str_distance(SK_STR("kitten"), SK_STR("sitting"), 3), 3);
    assert_int_equal(sk_str_distance(SK_STR("kitten"), SK_STR("sitting"), 2), 3); /* capped */
    assert_int_equal(sk_str_distance(SK_STR(""), SK_STR("ab"), 5), 2);
    assert_int_equal(sk_str_distance(SK_STR("a"), (struct sk_str){text, 65}, 3), 4);
}

static void buffers(void **state)
{
    struct sk_buf buf = SK_BUF_INIT;
    char *stolen;
    size_t len;
    (void)state;
    sk_buf_adds(&buf, "hello");
    sk_buf_addc(&buf, ' ');
    sk_buf_printf(&buf, "%0200d", 7);
    assert_int_equal(buf.len, 206);
    assert_int_equal(buf.ptr[206], '\0');
    sk_buf_consume(&buf, 205);
    assert_string_equal(buf.ptr, "7");
    sk_buf_consume(&buf, 0);
    sk_buf_clear(&buf);
    assert_string_equal(buf.ptr, "");
    sk_buf_add(&buf, NULL, 0);
    for (int i = 0; i < 10000; i++) {
        sk_buf_addc(&buf, 'x');
    }
    stolen = sk_buf_steal(&buf, &len);
    assert_int_equal(len, 10000);
    assert_int_equal(strlen(stolen), 10000);
    free(stolen);
    assert_null(buf.ptr);
    stolen = sk_buf_steal(&buf, NULL); /* of nothing: an empty string */
    assert_string_equal(stolen, "");
    free(stolen);
    sk_buf_release(&buf);
}

static void arenas(void **state)
{
    struct sk_arena *arena = sk_arena_new();
    unsigned char *seen[200];
    (void)state;
    for (size_t i = 0; i < SK_ARRAY_LEN(seen); i++) {
        size_t size = i * i * 7;
        seen[i] = sk_arena_alloc(arena, size);
        assert_int_equal((uintptr_t)seen[i] % 16, 0);
        for (size_t k = 0; k < size; k++) {
            assert_int_equal(seen[i][k], 0);
        }
        if (size) {
            memset(seen[i], (int)i, size);
        }
    }
    for (size_t i = 1; i < SK_ARRAY_LEN(seen); i++) { /* none overlaps another */
        assert_int_equal(seen[i][0], (unsigned char)i);
        assert_int_equal(seen[i][i * i * 7 - 1], (unsigned char)i);
    }
    assert_str(sk_arena_str(arena, SK_STR("abc")), "abc");
    assert_string_equal(sk_arena_str(arena, (struct sk_str){"abcdef", 3}).ptr, "abc");
    assert_string_equal(sk_arena_str(arena, SK_STR_NULL).ptr, "");
    assert_str(sk_arena_printf(arena, "%d-%s", 7, "x"), "7-x");
    sk_arena_free(arena);
    sk_arena_free(NULL);
}

static void arenas_of_many_megabytes(void **state)
{
    struct sk_arena *arena = sk_arena_new();
    unsigned char *large;
    unsigned char *next;
    (void)state;
    for (int i = 0; i < 400; i++) { /* enough that blocks are mapped */
        unsigned char *p = sk_arena_alloc(arena, 100000);
        assert_int_equal(p[0] | p[99999], 0);
        memset(p, 1, 100000);
    }
    large = sk_arena_alloc(arena, 9u << 20);
    assert_int_equal(large[0] | large[(9u << 20) - 1], 0);
    memset(large, 2, 9u << 20);
    next = sk_arena_alloc(arena, 1);
    *next = 3;
    assert_int_equal(large[(9u << 20) - 1], 2);
    assert_true(sk_arena_bytes(arena) >= 40000000 + (9u << 20));
    sk_arena_free(arena);
}

static void errors(void **state)
{
    struct sk_err err = {0};
    char long_text[2000];
    (void)state;
    memset(long_text, 'x', sizeof(long_text) - 1);
    long_text[sizeof(long_text) - 1] = '\0';
    assert_int_equal(sk_err_set(&err, SK_ERR_INPUT, "bad '%s'", "a\x1b[31m\nb"), SK_ERR_INPUT);
    assert_string_equal(err.msg, "bad 'a?[31m b'"); /* nothing that a terminal obeys */
    assert_int_equal(sk_err_fix(&err, "write '%d'", 7), SK_ERR_INPUT);
    assert_int_equal(sk_err_wrap(&err, "load node '%s'", "a3"), SK_ERR_INPUT);
    assert_string_equal(err.msg, "load node 'a3': bad 'a?[31m b'");
    assert_string_equal(err.fix, "write '7'");
    assert_int_equal(sk_err_errno(&err, ENOENT, "open '/x'"), SK_ERR_IO);
    assert_string_equal(err.msg, "open '/x': No such file or directory");
    assert_int_equal(err.errnum, ENOENT);
    assert_string_equal(err.fix, "");
    sk_err_errno(&err, 99999, "open '/x'");
    assert_string_equal(err.msg, "open '/x': error 99999");
    sk_err_set(&err, SK_ERR_LIMIT, "%s", long_text);
    assert_int_equal(strlen(err.msg), SK_ERR_MSG_MAX - 1);
    sk_err_wrap(&err, "outer");
    assert_true(sk_str_starts(sk_str(err.msg), SK_STR("outer: xxx")));
    assert_int_equal(strlen(err.msg), SK_ERR_MSG_MAX - 1);
    assert_int_equal(sk_err_set(NULL, SK_ERR_INPUT, "x"), SK_ERR_INPUT);
    assert_int_equal(sk_err_errno(NULL, ENOENT, "x"), SK_ERR_IO);
    sk_err_clear(&err);
    sk_err_clear(NULL);
    assert_int_equal(err.code, 0);
}

static void error_codes(void **state)
{
    (void)state;
    assert_string_equal(sk_code_name(SK_ERR_POLICY), "policy");
    assert_int_equal(sk_code_exit(SK_ERR_POLICY), 3);
    assert_int_equal(sk_code_exit(SK_ERR_INPUT), 2);
    assert_int_equal(sk_code_exit(SK_OK), 0);
    assert_int_equal(sk_code_exit(12345), 1);
    assert_int_equal(sk_code_http(SK_ERR_CONFLICT), 409);
    assert_int_equal(sk_code_http(12345), 500);
    assert_string_equal(sk_code_name(12345), "internal");
    assert_int_equal(sk_code_from_name("nonsense"), SK_ERR_INTERNAL);
    for (int code = SK_ERR__FIRST + 1; code < SK_ERR__LAST; code++) {
        assert_true(code < 0);
        assert_int_equal(sk_code_from_name(sk_code_name(code)), code);
    }
}

static void hashes(void **state)
{
    char hex[SK_SHA256_HEX];
    uint8_t raw[4];
    (void)state;
    sk_sha256_hex(SK_STR("abc"), hex); /* FIPS 180-4 */
    assert_string_equal(hex, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    sk_sha256_hex(SK_STR_NULL, hex);
    assert_string_equal(hex, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    assert_true(sk_unhex(SK_STR("00fFA9b1"), raw, 4));
    assert_int_equal(raw[1], 0xff);
    assert_int_equal(raw[3], 0xb1);
    assert_false(sk_unhex(SK_STR("00ff"), raw, 4));
    assert_false(sk_unhex(SK_STR("00fg0000"), raw, 4));
}

static void random_numbers(void **state)
{
    struct sk_prng a;
    struct sk_prng b;
    uint64_t counts[7] = {0};
    (void)state;
    sk_prng_seed(&a, 42);
    sk_prng_seed(&b, 42);
    for (int i = 0; i < 100; i++) {
        assert_true(sk_prng_u64(&a) == sk_prng_u64(&b));
    }
    for (int i = 0; i < 70000; i++) {
        double unit = sk_prng_unit(&a);
        assert_true(unit >= 0 && unit < 1);
        counts[sk_prng_below(&a, 7)]++;
    }
    for (int i = 0; i < 7; i++) {
        assert_in_range(counts[i], 9500, 10500);
    }
    assert_int_equal(sk_prng_below(&a, 1), 0);
    (void)sk_prng_below(&a, UINT64_MAX);
}

static char last_line[2048];

static void keep_line(enum sk_log_level level, const char *line, void *ctx)
{
    (void)level;
    (void)ctx;
    (void)snprintf(last_line, sizeof(last_line), "%s", line);
}

static void log_lines(void **state)
{
    struct sk_err err = {0};
    (void)state;
    assert_false(sk_log_on(SK_LOG_ERROR)); /* no sink, no log */
    sk_log_set_sink(keep_line, NULL);
    sk_log(SK_LOG_INFO, "node joined", "node=%s", "a\nb\x1b");
    assert_string_equal(last_line, "event=\"node joined\" node=a?b?");
    last_line[0] = '\0';
    sk_log(SK_LOG_DEBUG, "quiet", NULL);
    assert_string_equal(last_line, "");
    sk_log_set_level(SK_LOG_DEBUG);
    sk_log(SK_LOG_DEBUG, "loud", NULL);
    assert_string_equal(last_line, "event=\"loud\"");
    sk_log(SK_LOG_DEBUG, "long", "%02000d", 1);
    assert_true(strlen(last_line) < 1024);
    sk_err_set(&err, SK_ERR_IO, "open 'x'");
    sk_err_fix(&err, "create it");
    sk_log_err(SK_LOG_WARN, "failed", &err);
    assert_string_equal(last_line, "event=\"failed\" code=io error=\"open 'x'\" fix=\"create it\"");
    sk_log_set_sink(NULL, NULL);
}

static void memory_helpers(void **state)
{
    sk_autofree char *copy = sk_xstrndup("abcdef", 3);
    int *grown = NULL;
    size_t len = 0;
    size_t cap = 0;
    char *taken;
    (void)state;
    assert_string_equal(copy, "abc");
    taken = sk_steal(copy);
    assert_null(copy);
    free(taken);
    for (int i = 0; i < 1000; i++) {
        SK_GROW(grown, len, cap);
        grown[len++] = i;
    }
    assert_int_equal(grown[999], 999);
    free(grown);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(strings),   cmocka_unit_test(utf8),
        cmocka_unit_test(heads),     cmocka_unit_test(names),
        cmocka_unit_test(search),    cmocka_unit_test(buffers),
        cmocka_unit_test(arenas),    cmocka_unit_test(arenas_of_many_megabytes),
        cmocka_unit_test(errors),    cmocka_unit_test(error_codes),
        cmocka_unit_test(hashes),    cmocka_unit_test(random_numbers),
        cmocka_unit_test(log_lines), cmocka_unit_test(memory_helpers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
