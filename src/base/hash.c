/* SPDX-License-Identifier: Apache-2.0 */
#include "base/hash.h"

#include <sodium.h>

static const char hex_digits[] = "0123456789abcdef";

void sk_sha256(struct sk_str bytes, uint8_t out[SK_SHA256_BYTES])
{
    (void)crypto_hash_sha256(out, (const unsigned char *)bytes.ptr, bytes.len);
}

void sk_sha256_hex(struct sk_str bytes, char out[SK_SHA256_HEX])
{
    uint8_t digest[SK_SHA256_BYTES];
    sk_sha256(bytes, digest);
    sk_hex(digest, sizeof(digest), out);
}

void sk_hex(const uint8_t *bytes, size_t len, char *out)
{
    for (size_t i = 0; i < len; i++) {
        out[2 * i] = hex_digits[bytes[i] >> 4];
        out[2 * i + 1] = hex_digits[bytes[i] & 15];
    }
    out[2 * len] = '\0';
}

static int nibble(char c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    if (c >= 'a' && c <= 'f') {
        return c - 'a' + 10;
    }
    if (c >= 'A' && c <= 'F') {
        return c - 'A' + 10;
    }
    return -1;
}

bool sk_unhex(struct sk_str hex, uint8_t *out, size_t len)
{
    if (hex.len != 2 * len) {
        return false;
    }
    for (size_t i = 0; i < len; i++) {
        int high = nibble(hex.ptr[2 * i]);
        int low = nibble(hex.ptr[2 * i + 1]);
        if (high < 0 || low < 0) {
            return false;
        }
        out[i] = (uint8_t)(high << 4 | low);
    }
    return true;
}
