/* SPDX-License-Identifier: Apache-2.0 */
#include "base/str.h"

int sk_str_cmp(struct sk_str a, struct sk_str b)
{
    size_t n = a.len < b.len ? a.len : b.len;
    int c = n ? memcmp(a.ptr, b.ptr, n) : 0;
    if (c != 0) {
        return c < 0 ? -1 : 1;
    }
    return a.len == b.len ? 0 : a.len < b.len ? -1 : 1;
}

size_t sk_str_search(const void *items, size_t count, size_t size, sk_str_key_fn *key_of,
                     struct sk_str key, bool *ret_there)
{
    size_t low = 0, high = count;

    *ret_there = false;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        int order = sk_str_cmp(key_of((const char *)items + mid * size), key);
        if (order == 0) {
            *ret_there = true;
            return mid;
        }
        if (order < 0) {
            low = mid + 1;
        } else {
            high = mid;
        }
    }
    return low;
}

bool sk_str_starts(struct sk_str s, struct sk_str prefix)
{
    return s.len >= prefix.len && (prefix.len == 0 || memcmp(s.ptr, prefix.ptr, prefix.len) == 0);
}

bool sk_str_ends(struct sk_str s, struct sk_str suffix)
{
    return s.len >= suffix.len &&
           (suffix.len == 0 || memcmp(s.ptr + s.len - suffix.len, suffix.ptr, suffix.len) == 0);
}

bool sk_str_cut(struct sk_str s, char sep, struct sk_str *ret_head, struct sk_str *ret_tail)
{
    const char *at = s.len ? memchr(s.ptr, sep, s.len) : NULL;
    if (!at) {
        *ret_head = s;
        *ret_tail = SK_STR_NULL;
        return false;
    }
    *ret_head = (struct sk_str){s.ptr, (size_t)(at - s.ptr)};
    *ret_tail = (struct sk_str){at + 1, s.len - ret_head->len - 1};
    return true;
}

struct sk_str sk_str_trim(struct sk_str s)
{
    while (s.len && (s.ptr[0] == ' ' || s.ptr[0] == '\t')) {
        s.ptr++;
        s.len--;
    }
    while (s.len && (s.ptr[s.len - 1] == ' ' || s.ptr[s.len - 1] == '\t')) {
        s.len--;
    }
    return s;
}

/* Lengths and lowest values by first byte; overlong forms, surrogates and values beyond U+10FFFF
 * are no characters (RFC 3629). */
size_t sk_utf8_len(struct sk_str s)
{
    static const uint32_t lowest[] = {0, 0, 0x80, 0x800, 0x10000};
    const unsigned char *p = (const unsigned char *)s.ptr;
    size_t len;
    uint32_t point;

    if (s.len == 0) {
        return 0;
    }
    if (p[0] < 0x80) {
        return 1;
    }
    len = p[0] >= 0xf0 ? 4 : p[0] >= 0xe0 ? 3 : 2;
    if (p[0] < 0xc2 || p[0] > 0xf4 || s.len < len) {
        return 0;
    }
    point = p[0] & (0x7fu >> len);
    for (size_t i = 1; i < len; i++) {
        if ((p[i] & 0xc0u) != 0x80u) {
            return 0;
        }
        point = point << 6 | (p[i] & 0x3fu);
    }
    if (point < lowest[len] || point > 0x10ffff || (point >= 0xd800 && point <= 0xdfff)) {
        return 0;
    }
    return len;
}

size_t sk_utf8_prefix(struct sk_str s)
{
    size_t i = 0;

    while (i < s.len) {
        size_t len =
            (unsigned char)s.ptr[i] < 0x80 ? 1 : sk_utf8_len((struct sk_str){s.ptr + i, s.len - i});
        if (len == 0) {
            break;
        }
        i += len;
    }
    return i;
}

struct sk_str sk_str_head(struct sk_str s, size_t max)
{
    if (s.len > max) {
        s.len = sk_utf8_prefix((struct sk_str){s.ptr, max});
    }
    return s;
}

bool sk_str_utf8_valid(struct sk_str s)
{
    return sk_utf8_prefix(s) == s.len;
}

bool sk_str_is_label(struct sk_str s)
{
    if (s.len == 0 || s.len > 63 || s.ptr[0] == '-' || s.ptr[s.len - 1] == '-') {
        return false;
    }
    for (size_t i = 0; i < s.len; i++) {
        char c = s.ptr[i];
        if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-')) {
            return false;
        }
    }
    return true;
}

unsigned sk_str_distance(struct sk_str a, struct sk_str b, unsigned cap)
{
    unsigned row[65];

    if (a.len > 64 || b.len > 64) {
        return cap + 1;
    }
    for (size_t j = 0; j <= b.len; j++) {
        row[j] = (unsigned)j;
    }
    for (size_t i = 1; i <= a.len; i++) {
        unsigned diagonal = row[0];
        row[0] = (unsigned)i;
        for (size_t j = 1; j <= b.len; j++) {
            unsigned best = diagonal + (a.ptr[i - 1] != b.ptr[j - 1]);
            diagonal = row[j];
            if (row[j] + 1 < best) {
                best = row[j] + 1;
            }
            if (row[j - 1] + 1 < best) {
                best = row[j - 1] + 1;
            }
            row[j] = best;
        }
    }
    return row[b.len] > cap ? cap + 1 : row[b.len];
}
