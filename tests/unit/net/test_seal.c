/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "net/seal.h"

/* ---- secrets at rest ---- */

static void sealed_and_opened(void **state)
{
    static const size_t sizes[] = {0, 1, 15, 16, 241, 4096, SEAL_SECRET_BYTES_MAX};
    uint8_t key[SEAL_KEY_BYTES];
    (void)state;
    seal_key_new(key);
    for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes); i++) {
        struct sk_buf secret = SK_BUF_INIT, text = SK_BUF_INIT, out = SK_BUF_INIT;
        for (size_t k = 0; k < sizes[i]; k++) {
            sk_buf_addc(&secret, (char)(k * 7 + i));
        }
        sk_buf_reserve(&secret, 1);
        seal_put(key, "sea", "ca.key", sk_buf_str(&secret), &text);
        assert_true(text.len <= SEAL_TEXT_BYTES_MAX);
        assert_int_equal(seal_get(key, "sea", "ca.key", sk_buf_str(&text), &out, NULL), 0);
        assert_true(sk_str_eq(sk_buf_str(&secret), sk_buf_str(&out)));
        seal_wipe(&secret);
        seal_wipe(&out);
        sk_buf_release(&text);
    }
}

static void not_seen_in_the_text(void **state)
{
    uint8_t key[SEAL_KEY_BYTES];
    struct sk_buf a = SK_BUF_INIT, b = SK_BUF_INIT;
    (void)state;
    seal_key_new(key);
    seal_put(key, "sea", "ca.key", SK_STR("a secret that nobody sees"), &a);
    seal_put(key, "sea", "ca.key", SK_STR("a secret that nobody sees"), &b);
    assert_null(strstr(a.ptr, "secret"));
    assert_null(strstr(a.ptr, "61207365637265")); /* in hex */
    assert_false(sk_str_eq(sk_buf_str(&a), sk_buf_str(&b)));
    sk_buf_release(&a);
    sk_buf_release(&b);
}

static void opens_nowhere_else(void **state)
{
    uint8_t key[SEAL_KEY_BYTES], other[SEAL_KEY_BYTES];
    struct sk_buf text = SK_BUF_INIT, out = SK_BUF_INIT;
    struct sk_err err = {0};
    (void)state;
    seal_key_new(key);
    seal_key_new(other);
    seal_put(key, "sea", "ca.key", SK_STR("secret"), &text);
    assert_int_equal(seal_get(key, "sea", "ca.key", sk_buf_str(&text), &out, &err), 0);
    sk_buf_clear(&out);
    assert_int_equal(seal_get(other, "sea", "ca.key", sk_buf_str(&text), &out, &err),
                     SK_ERR_CORRUPT);
    assert_int_equal(seal_get(key, "land", "ca.key", sk_buf_str(&text), &out, &err),
                     SK_ERR_CORRUPT);
    assert_int_equal(seal_get(key, "sea", "probe.key", sk_buf_str(&text), &out, &err),
                     SK_ERR_CORRUPT);
    assert_int_equal(seal_get(key, "sea", "ca.key", SK_STR("{\"v\":2}"), &out, &err),
                     SK_ERR_UNSUPPORTED);
    /* every altered byte: none opens to another secret */
    for (size_t i = 0; i < text.len; i++) {
        char kept = text.ptr[i];
        text.ptr[i] = kept == '0' ? '1' : '0';
        sk_buf_clear(&out);
        if (seal_get(key, "sea", "ca.key", sk_buf_str(&text), &out, &err) == 0) {
            assert_true(sk_str_is(sk_buf_str(&out), "secret")); /* a name that nothing rests on */
        }
        text.ptr[i] = kept;
        sk_buf_clear(&out);
        assert_int_not_equal(
            seal_get(key, "sea", "ca.key", (struct sk_str){text.ptr, i}, &out, &err), 0);
    }
    assert_int_equal(out.len, 0);
    sk_buf_release(&text);
    seal_wipe(&out);
}

/* ---- shares ---- */

/* Of every count and threshold: each set of `threshold` opens, each of one less does not. */
static void any_k_of_n(void **state)
{
    struct seal_share shares[SEAL_SHARES_MAX], set[SEAL_SHARES_MAX];
    uint8_t key[SEAL_KEY_BYTES], out[SEAL_KEY_BYTES];
    (void)state;
    for (unsigned n = 2; n <= 7; n++) {
        for (unsigned k = 2; k <= n; k++) {
            seal_key_new(key);
            assert_int_equal(seal_split(key, "sea", n, k, shares, NULL), 0);
            for (unsigned bits = 1; bits < 1U << n; bits++) {
                unsigned have = 0;
                int r;
                for (unsigned i = 0; i < n; i++) {
                    if (bits & (1U << i)) {
                        set[have++] = shares[i];
                    }
                }
                memset(out, 0, sizeof(out));
                r = seal_combine(set, have, out, NULL);
                assert_int_equal(r, have >= k ? 0 : SK_ERR_UNAVAILABLE);
                assert_int_equal(memcmp(out, key, sizeof(key)) == 0, have >= k);
            }
        }
    }
    assert_int_equal(seal_split(key, "sea", 3, 1, shares, NULL), SK_ERR_INPUT);
    assert_int_equal(seal_split(key, "sea", 2, 3, shares, NULL), SK_ERR_INPUT);
    assert_int_equal(seal_split(key, "sea", SEAL_SHARES_MAX + 1, 2, shares, NULL), SK_ERR_INPUT);
    assert_int_equal(seal_split(key, "sea", SEAL_SHARES_MAX, SEAL_SHARES_MAX, shares, NULL), 0);
    assert_int_equal(seal_combine(shares, SEAL_SHARES_MAX, out, NULL), 0);
    assert_memory_equal(out, key, sizeof(key));
}

/* One share beside any guess of the other's bytes gives another key: a share tells nothing. */
static void a_share_is_not_the_key(void **state)
{
    struct seal_share shares[3];
    uint8_t key[SEAL_KEY_BYTES];
    unsigned same = 0;
    (void)state;
    for (unsigned n = 0; n < 64; n++) {
        seal_key_new(key);
        assert_int_equal(seal_split(key, "sea", 3, 2, shares, NULL), 0);
        for (unsigned i = 0; i < 3; i++) {
            for (unsigned k = 0; k < SEAL_KEY_BYTES; k++) {
                same += shares[i].bytes[k] == key[k];
            }
        }
    }
    assert_in_range(same, 0, 80); /* 24 of 6,144 by chance */
}

static void wrong_shares_are_told(void **state)
{
    struct seal_share a[5], b[5], set[5];
    uint8_t key[SEAL_KEY_BYTES], other[SEAL_KEY_BYTES], out[SEAL_KEY_BYTES] = {7};
    struct sk_err err = {0};
    (void)state;
    seal_key_new(key);
    seal_key_new(other);
    assert_int_equal(seal_split(key, "sea", 5, 3, a, NULL), 0);
    assert_int_equal(seal_split(key, "sea", 5, 3, b, NULL), 0); /* the same key, split anew */
    memcpy(set, a, sizeof(set));
    set[2] = b[2];
    assert_int_equal(seal_combine(set, 3, out, &err), SK_ERR_CONFLICT);
    assert_non_null(strstr(err.msg, "another split"));
    memcpy(set[2].generation, a[0].generation, SEAL_ID_SIZE); /* who lies of its split */
    assert_int_equal(seal_combine(set, 3, out, &err), SK_ERR_CONFLICT);
    memcpy(set[2].check, a[0].check, SEAL_ID_SIZE);
    assert_int_equal(seal_combine(set, 3, out, &err), SK_ERR_CORRUPT);
    assert_int_equal(out[0], 7);                          /* never a wrong key */
    assert_int_equal(seal_combine(set, 4, out, &err), 0); /* three right ones are enough */
    assert_memory_equal(out, key, sizeof(key));
    memcpy(set, a, sizeof(set));
    set[1] = set[2] = set[0];
    assert_int_equal(seal_combine(set, 3, out, &err), SK_ERR_UNAVAILABLE);
    set[1].bytes[0] ^= 1; /* twice the same number, with other bytes */
    set[2].bytes[0] ^= 2;
    assert_int_equal(seal_combine(set, 3, out, &err), SK_ERR_CORRUPT);
    assert_int_equal(seal_combine(set, 5, out, &err), 0);
    for (unsigned i = 0; i < 5; i++) { /* facts of the split are under the check */
        set[i] = a[i];
        set[i].threshold = 2;
    }
    assert_int_equal(seal_combine(set, 5, out, &err), SK_ERR_CORRUPT);
}

static void shares_as_texts(void **state)
{
    struct seal_share shares[3], out;
    uint8_t key[SEAL_KEY_BYTES];
    struct sk_err err = {0};
    (void)state;
    seal_key_new(key);
    assert_int_equal(seal_split(key, "sea", 3, 2, shares, NULL), 0);
    for (unsigned n = 0; n < 3; n++) {
        struct sk_buf text = SK_BUF_INIT;
        seal_share_write(&shares[n], &text);
        assert_int_equal(seal_share_read(sk_buf_str(&text), &out, &err), 0);
        assert_memory_equal(&out, &shares[n], sizeof(out));
        for (size_t i = 0; i < text.len; i++) {
            char kept = text.ptr[i];
            text.ptr[i] = kept == '1' ? '2' : '1';
            if (seal_share_read(sk_buf_str(&text), &out, &err) == 0) {
                assert_memory_equal(&out, &shares[n], sizeof(out));
            }
            text.ptr[i] = kept;
            assert_int_not_equal(seal_share_read((struct sk_str){text.ptr, i}, &out, &err), 0);
        }
        seal_wipe(&text);
    }
    assert_int_equal(seal_share_read(SK_STR("[]"), &out, &err), SK_ERR_INPUT);
    assert_int_equal(seal_share_read(SK_STR("{\"v\":2}"), &out, &err), SK_ERR_UNSUPPORTED);
}

/* ---- the recovery code ---- */

static void code_round_trip(void **state)
{
    struct seal_code code, out;
    char text[SEAL_CODE_TEXT_SIZE];
    (void)state;
    for (unsigned n = 0; n < 500; n++) {
        seal_code_new(&code);
        seal_code_print(&code, text);
        assert_int_equal(strlen(text), SEAL_CODE_TEXT_SIZE - 1);
        assert_int_equal(seal_code_read(sk_str(text), &out, NULL), 0);
        assert_memory_equal(&code, &out, sizeof(code));
    }
    memset(&code, 0, sizeof(code)); /* one of which the checks are known: the groups' numbers */
    seal_code_print(&code, text);
    assert_string_equal(text, "00001-00002-00003-00004-00005-00006-00007-00008");
    assert_int_equal(
        seal_code_read(SK_STR("ooooi-oooo2 00003-00004-00005-00006-00007-00008\n"), &out, NULL), 0);
    assert_int_equal(seal_code_read(SK_STR("0000100002000030000400005000060000700008"), &out, NULL),
                     0);
    memset(&code, 0xff, sizeof(code));
    seal_code_print(&code, text);
    assert_int_equal(strncmp(text, "ZZZZ", 4), 0);
}

static void slips_are_told(void **state)
{
    static const char alphabet[] = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";
    struct seal_code code, out = {{7}};
    char text[SEAL_CODE_TEXT_SIZE], group[16];
    struct sk_err err = {0};
    (void)state;
    seal_code_new(&code);
    seal_code_print(&code, text);
    for (size_t i = 0; i < SEAL_CODE_TEXT_SIZE - 1; i++) {
        char kept = text[i];
        for (size_t k = 0; kept != '-' && k < 32; k++) { /* any wrong character */
            if (alphabet[k] != kept) {
                text[i] = alphabet[k];
                assert_int_equal(seal_code_read(sk_str(text), &out, &err), SK_ERR_INPUT);
                (void)snprintf(group, sizeof(group), "group %zu ", i / 6 + 1);
                assert_non_null(strstr(err.msg, group));
                assert_null(strstr(err.msg, text));
            }
        }
        text[i] = kept;
        assert_int_equal(seal_code_read((struct sk_str){text, i}, &out, &err), SK_ERR_INPUT);
        for (size_t j = i / 6 * 6; j < i; j++) { /* any two of a group that changed places */
            if (kept != '-' && text[j] != kept) {
                text[i] = text[j];
                text[j] = kept;
                assert_int_equal(seal_code_read(sk_str(text), &out, &err), SK_ERR_INPUT);
                text[j] = text[i];
                text[i] = kept;
            }
        }
    }
    assert_int_equal(seal_code_read(sk_str(text), &out, &err), 0); /* its positive twin */
    for (size_t a = 0; a < 8; a++) { /* two groups that changed places */
        for (size_t b = 0; b < a; b++) {
            char swapped[SEAL_CODE_TEXT_SIZE];
            memcpy(swapped, text, sizeof(text));
            memcpy(swapped + a * 6, text + b * 6, 5);
            memcpy(swapped + b * 6, text + a * 6, 5);
            assert_int_equal(seal_code_read(sk_str(swapped), &out, &err), SK_ERR_INPUT);
        }
    }
    assert_int_equal(seal_code_read(SK_STR("0-0001-00002"), &out, &err), SK_ERR_INPUT);
    assert_int_equal(seal_code_read(SK_STR_NULL, &out, &err), SK_ERR_INPUT);
}

static void sealed_to_a_code(void **state)
{
    struct seal_code code, other;
    uint8_t public_key[SEAL_PUBLIC_BYTES];
    struct sk_buf box = SK_BUF_INIT, out = SK_BUF_INIT;
    struct sk_err err = {0};
    (void)state;
    seal_code_new(&code);
    seal_code_new(&other);
    seal_code_public(&code, public_key);
    seal_to(public_key, SK_STR("the unseal key"), &box);
    assert_int_equal(box.len, strlen("the unseal key") + SEAL_BOX_EXTRA);
    assert_int_equal(seal_open(&code, sk_buf_str(&box), &out, &err), 0);
    assert_true(sk_str_is(sk_buf_str(&out), "the unseal key"));
    sk_buf_clear(&out);
    assert_int_equal(seal_open(&other, sk_buf_str(&box), &out, &err), SK_ERR_DENIED);
    box.ptr[box.len - 1] ^= 1;
    assert_int_equal(seal_open(&code, sk_buf_str(&box), &out, &err), SK_ERR_DENIED);
    assert_int_equal(seal_open(&code, (struct sk_str){box.ptr, 7}, &out, &err), SK_ERR_INPUT);
    assert_int_equal(out.len, 0);
    sk_buf_release(&box);
    seal_wipe(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sealed_and_opened),      cmocka_unit_test(not_seen_in_the_text),
        cmocka_unit_test(opens_nowhere_else),     cmocka_unit_test(any_k_of_n),
        cmocka_unit_test(a_share_is_not_the_key), cmocka_unit_test(wrong_shares_are_told),
        cmocka_unit_test(shares_as_texts),        cmocka_unit_test(code_round_trip),
        cmocka_unit_test(slips_are_told),         cmocka_unit_test(sealed_to_a_code),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
