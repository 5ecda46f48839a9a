/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "net/token.h"

static void round_trip(void **state)
{
    uint8_t ca[32];
    struct net_token a, b;
    char text[NET_TOKEN_TEXT_SIZE + 1], again[NET_TOKEN_TEXT_SIZE];
    (void)state;
    for (unsigned n = 0; n < 200; n++) {
        memset(ca, (int)n, sizeof(ca));
        net_token_new(ca, &a);
        net_token_print(&a, text);
        assert_int_equal(strlen(text), NET_TOKEN_TEXT_SIZE - 1);
        assert_int_equal(net_token_parse(sk_str(text), &b, NULL), 0);
        assert_memory_equal(&a, &b, sizeof(a));
        strncat(text, "\n", 2); /* as `skerry token > file` leaves it */
        assert_int_equal(net_token_parse(sk_str(text), &b, NULL), 0);
        net_token_print(&b, again);
        assert_memory_equal(text, again, NET_TOKEN_TEXT_SIZE - 1);
    }
}

static void known_text(void **state)
{
    /* the base32 of 32 bytes 0x00 and 32 bytes 0xff by RFC 4648 */
    struct net_token token;
    char text[NET_TOKEN_TEXT_SIZE];
    (void)state;
    memset(token.secret, 0, 32);
    memset(token.ca, 0xff, 32);
    net_token_print(&token, text);
    assert_string_equal(text, "skt1.aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa."
                              "777777777777777777777777777777777777777777777777777q");
}

static void anything_else_is_refused(void **state)
{
    uint8_t ca[32] = {1};
    struct net_token token, out = {.secret = {7}};
    char text[NET_TOKEN_TEXT_SIZE];
    struct sk_err err = {0};
    (void)state;
    net_token_new(ca, &token);
    net_token_print(&token, text);
    for (size_t i = 0; i < NET_TOKEN_TEXT_SIZE - 1; i++) {
        static const char wrong[] = {'A', '0', '1', ' ', '\0', '=', (char)0xc3, '-'};
        char kept = text[i];
        for (size_t k = 0; k < sizeof(wrong); k++) {
            if (wrong[k] == kept) {
                continue;
            }
            text[i] = wrong[k];
            assert_int_equal(
                net_token_parse((struct sk_str){text, NET_TOKEN_TEXT_SIZE - 1}, &out, &err),
                SK_ERR_INPUT);
            assert_null(strstr(err.msg, "skt1"));
        }
        text[i] = kept;
        assert_int_equal(net_token_parse((struct sk_str){text, i}, &out, NULL), SK_ERR_INPUT);
    }
    /* a second spelling of the same bits */
    text[56] = 'b';
    assert_int_equal(net_token_parse(sk_str(text), &out, NULL), SK_ERR_INPUT);
    assert_int_equal(net_token_parse(SK_STR_NULL, &out, NULL), SK_ERR_INPUT);
    assert_int_equal(out.secret[0], 7); /* outputs only on success */
}

static void hashes(void **state)
{
    uint8_t ca[32] = {0};
    struct net_token a, b;
    char ha[SK_SHA256_HEX], hb[SK_SHA256_HEX], hc[SK_SHA256_HEX];
    (void)state;
    net_token_new(ca, &a);
    net_token_new(ca, &b);
    net_token_hash(&a, ha);
    net_token_hash(&b, hb);
    net_token_hash(&a, hc);
    assert_true(net_token_hash_eq(ha, hc));
    assert_false(net_token_hash_eq(ha, hb));
    memset(a.secret, 0, 32);
    net_token_hash(&a, ha); /* sha256 of 32 zero bytes */
    assert_string_equal(ha, "66687aadf862bd776c8fc18b8e9f8e20089714856ee233b3902a591d0d5f2925");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(round_trip),
        cmocka_unit_test(known_text),
        cmocka_unit_test(anything_else_is_refused),
        cmocka_unit_test(hashes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
