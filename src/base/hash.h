/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SK_BASE_HASH_H
#define SK_BASE_HASH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/str.h"

/* SHA-256 (FIPS 180-4, libsodium's): identity of plans, specs, tokens. */
#define SK_SHA256_BYTES 32
#define SK_SHA256_HEX 65 /* with the NUL */
void sk_sha256(struct sk_str bytes, uint8_t out[SK_SHA256_BYTES]);
void sk_sha256_hex(struct sk_str bytes, char out[SK_SHA256_HEX]);
void sk_hex(const uint8_t *bytes, size_t len, char *out); /* out holds 2 * len + 1 */
/* Strict lower or upper case hex of exactly len bytes; false otherwise. */
bool sk_unhex(struct sk_str hex, uint8_t *out, size_t len);

#endif
