/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SK_NET_TOKEN_H
#define SK_NET_TOKEN_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/hash.h"
#include "base/str.h"

/*
 * Join tokens: 256 random bits and the SHA-256 of the cluster's CA certificate, as one word:
 *
 *     skt1.<52 characters base32>.<52 characters base32>
 *
 * The fingerprint lets a newcomer check whom it talks to before it says the secret. The cluster
 * stores only net_token_hash() (a hash of 256 random bits needs no salt); expiry, single use and
 * what a token allows are the record's, under that hash. Tokens are secrets: read from standard
 * input or a file, never from argv; wiped after use; never logged.
 */
#define NET_TOKEN_BYTES 32
#define NET_TOKEN_TEXT_SIZE (5 + 52 + 1 + 52 + 1)

struct net_token {
    uint8_t secret[NET_TOKEN_BYTES];
    uint8_t ca[SK_SHA256_BYTES]; /* net_ca_fingerprint() */
};

void net_token_new(const uint8_t ca[SK_SHA256_BYTES], struct net_token *ret);
void net_token_print(const struct net_token *token, char ret_text[NET_TOKEN_TEXT_SIZE]);
/* Strict: exactly one token, lower case, no spaces around it but one newline at the end. The
 * message never quotes the input. SK_ERR_INPUT. */
int net_token_parse(struct sk_str text, struct net_token *ret, struct sk_err *err);
/* Under what a token is stored: SHA-256 of its secret, hex. */
void net_token_hash(const struct net_token *token, char ret_hex[SK_SHA256_HEX]);
/* Compares in a time that does not tell where they differ. */
bool net_token_hash_eq(const char a[SK_SHA256_HEX], const char b[SK_SHA256_HEX]);
void net_token_wipe(struct net_token *token);

#endif
