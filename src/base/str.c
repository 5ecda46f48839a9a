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

bool sk_str_utf8_valid(struct sk_str s)
{
    const unsigned char *p = (const unsigned char *)s.ptr;

    for (size_t i = 0; i < s.len;) {
        unsigned char c = p[i];
        size_t extra;
        uint32_t point;

        if (c < 0x80) {
            i++;
            continue;
        }
        if (c >= 0xc2 && c <= 0xdf) {
            extra = 1;
            point = c & 0x1fu;
        } else if (c >= 0xe0 && c <= 0xef) {
            extra = 2;
            point = c & 0x0fu;
        } else if (c >= 0xf0 && c <= 0xf4) {
            extra = 3;
            point = c & 0x07u;
        } else {
            return false;
        }
        if (s.len - i <= extra) {
            return false;
        }
        for (size_t k = 1; k <= extra; k++) {
            if ((p[i + k] & 0xc0u) != 0x80u) {
                return false;
            }
            point = point << 6 | (p[i + k] & 0x3fu);
        }
        if ((extra == 2 && point < 0x800) ||
            (extra == 3 && (point < 0x10000 || point > 0x10ffff)) ||
            (point >= 0xd800 && point <= 0xdfff)) {
            return false;
        }
        i += extra + 1;
    }
    return true;
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
