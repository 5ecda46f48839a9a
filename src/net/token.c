/* SPDX-License-Identifier: Apache-2.0 */
#include "net/token.h"

#include <sodium.h>

#include "sys/clock.h"

#define PREFIX "skt1."
#define PART_LEN 52 /* ceil(256 / 5) */

static const char alphabet[] = "abcdefghijklmnopqrstuvwxyz234567";

/* RFC 4648 base32, lower case, no padding. */
static void encode(const uint8_t bytes[32], char *out)
{
    unsigned bits = 0, have = 0;
    size_t at = 0;

    for (size_t i = 0; i < 32; i++) {
        bits = (bits << 8) | bytes[i];
        have += 8;
        while (have >= 5) {
            have -= 5;
            out[at++] = alphabet[(bits >> have) & 31];
        }
        bits &= (1U << have) - 1;
    }
    out[at++] = alphabet[(bits << (5 - have)) & 31];
    SK_ASSERT(at == PART_LEN);
}

static int decode(const char *text, uint8_t out[32])
{
    unsigned bits = 0, have = 0;
    size_t at = 0;

    for (size_t i = 0; i < PART_LEN; i++) {
        const char *found = text[i] ? memchr(alphabet, text[i], 32) : NULL;
        if (!found) {
            return -1;
        }
        bits = (bits << 5) | (unsigned)(found - alphabet);
        have += 5;
        if (have >= 8) {
            have -= 8;
            out[at++] = (uint8_t)(bits >> have);
            bits &= (1U << have) - 1;
        }
    }
    return bits == 0 ? 0 : -1; /* spare bits set: two spellings of one token */
}

void net_token_new(const uint8_t ca[SK_SHA256_BYTES], struct net_token *ret)
{
    sys_random(ret->secret, sizeof(ret->secret));
    memcpy(ret->ca, ca, sizeof(ret->ca));
}

void net_token_print(const struct net_token *token, char ret_text[NET_TOKEN_TEXT_SIZE])
{
    char *at = ret_text;

    memcpy(at, PREFIX, 5);
    encode(token->secret, at + 5);
    at[5 + PART_LEN] = '.';
    encode(token->ca, at + 5 + PART_LEN + 1);
    at[NET_TOKEN_TEXT_SIZE - 1] = '\0';
}

int net_token_parse(struct sk_str text, struct net_token *ret, struct sk_err *err)
{
    struct net_token token;

    if (text.len && text.ptr[text.len - 1] == '\n') {
        text.len--;
    }
    if (text.len != NET_TOKEN_TEXT_SIZE - 1 || !sk_str_starts(text, SK_STR(PREFIX)) ||
        text.ptr[5 + PART_LEN] != '.' || decode(text.ptr + 5, token.secret) < 0 ||
        decode(text.ptr + 5 + PART_LEN + 1, token.ca) < 0) {
        net_token_wipe(&token);
        (void)sk_err_set(err, SK_ERR_INPUT, "that is not a join token");
        (void)sk_err_fix(err,
                         "a token is one word of %d characters that starts with " PREFIX
                         "; 'skerry token' prints a new one",
                         NET_TOKEN_TEXT_SIZE - 1);
        return SK_ERR_INPUT;
    }
    *ret = token;
    net_token_wipe(&token);
    return 0;
}

void net_token_hash(const struct net_token *token, char ret_hex[SK_SHA256_HEX])
{
    sk_sha256_hex((struct sk_str){(const char *)token->secret, sizeof(token->secret)}, ret_hex);
}

bool net_token_hash_eq(const char a[SK_SHA256_HEX], const char b[SK_SHA256_HEX])
{
    return sodium_memcmp(a, b, SK_SHA256_HEX) == 0;
}

void net_token_wipe(struct net_token *token)
{
    sodium_memzero(token, sizeof(*token));
}
