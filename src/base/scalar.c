/* SPDX-License-Identifier: Apache-2.0 */
#include "base/scalar.h"

#include <locale.h>
#include <math.h>
#include <stdlib.h>

#include "base/mem.h"

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static size_t digits(struct sk_str s, size_t i)
{
    while (i < s.len && is_digit(s.ptr[i])) {
        i++;
    }
    return i;
}

/* The end of an exponent that starts at i, or i when there is none. */
static size_t exponent(struct sk_str s, size_t i)
{
    size_t at = i;
    size_t end;

    if (at == s.len || (s.ptr[at] != 'e' && s.ptr[at] != 'E')) {
        return i;
    }
    at++;
    if (at < s.len && (s.ptr[at] == '+' || s.ptr[at] == '-')) {
        at++;
    }
    end = digits(s, at);
    return end == at ? i : end;
}

size_t sk_json_number_len(struct sk_str s)
{
    size_t i = s.len && s.ptr[0] == '-' ? 1 : 0;
    size_t end;

    if (i == s.len || !is_digit(s.ptr[i])) {
        return 0;
    }
    i = s.ptr[i] == '0' ? i + 1 : digits(s, i);
    if (i < s.len && s.ptr[i] == '.') {
        end = digits(s, i + 1);
        if (end > i + 1) {
            i = end;
        }
    }
    return exponent(s, i);
}

static bool is_one_of(struct sk_str text, const char *const *words, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (sk_str_is(text, words[i])) {
            return true;
        }
    }
    return false;
}

static bool is_radix(struct sk_str text, char letter, const char *set)
{
    if (text.len < 3 || text.ptr[0] != '0' || text.ptr[1] != letter) {
        return false;
    }
    for (size_t i = 2; i < text.len; i++) {
        if (text.ptr[i] == '\0' || !strchr(set, text.ptr[i])) {
            return false;
        }
    }
    return true;
}

static bool is_octal(struct sk_str text)
{
    return is_radix(text, 'o', "01234567");
}

static bool is_hex(struct sk_str text)
{
    return is_radix(text, 'x', "0123456789abcdefABCDEF");
}

/* [-+]? ( \.[0-9]+ | [0-9]+ (\.[0-9]*)? ) ([eE][-+]?[0-9]+)? */
static bool is_decimal(struct sk_str s)
{
    size_t i = s.len && (s.ptr[0] == '-' || s.ptr[0] == '+') ? 1 : 0;
    size_t whole = digits(s, i);
    bool any = whole > i;

    i = whole;
    if (i < s.len && s.ptr[i] == '.') {
        size_t end = digits(s, i + 1);
        any = any || end > i + 1;
        i = end;
    }
    return any && exponent(s, i) == s.len;
}

static bool is_special(struct sk_str s)
{
    static const char *const nans[] = {".nan", ".NaN", ".NAN"};
    static const char *const infs[] = {".inf", ".Inf", ".INF"};

    if (is_one_of(s, nans, SK_ARRAY_LEN(nans))) {
        return true;
    }
    if (s.len && (s.ptr[0] == '-' || s.ptr[0] == '+')) {
        s = (struct sk_str){s.ptr + 1, s.len - 1};
    }
    return is_one_of(s, infs, SK_ARRAY_LEN(infs));
}

enum sk_kind sk_core_kind(struct sk_str text)
{
    static const char *const nulls[] = {"", "~", "null", "Null", "NULL"};
    static const char *const bools[] = {"true", "True", "TRUE", "false", "False", "FALSE"};

    if (is_one_of(text, nulls, SK_ARRAY_LEN(nulls))) {
        return SK_NULL;
    }
    if (is_one_of(text, bools, SK_ARRAY_LEN(bools))) {
        return SK_BOOL;
    }
    if (is_decimal(text) || is_octal(text) || is_hex(text) || is_special(text)) {
        return SK_NUMBER;
    }
    return SK_STRING;
}

/* Small decimals are exact in one double operation (Clinger 1990); true when this was one. */
static bool fast_decimal(struct sk_str s, double *ret)
{
    static const double tens[] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,
                                  1e8,  1e9,  1e10, 1e11, 1e12, 1e13, 1e14, 1e15,
                                  1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};
    bool negative = s.len && s.ptr[0] == '-';
    uint64_t mantissa = 0;
    size_t scale = 0;
    bool point = false;
    double value;

    if (s.len > 16) {
        return false;
    }
    for (size_t i = negative || (s.len && s.ptr[0] == '+') ? 1 : 0; i < s.len; i++) {
        if (s.ptr[i] == '.') {
            point = true;
        } else if (is_digit(s.ptr[i])) {
            mantissa = mantissa * 10 + (uint64_t)(s.ptr[i] - '0');
            scale += point;
        } else {
            return false;
        }
    }
    if (mantissa > 1ull << 53) {
        return false;
    }
    value = (double)mantissa / tens[scale];
    *ret = negative ? -value : value;
    return true;
}

static bool slow_decimal(struct sk_str s, double *ret)
{
    /* glibc hands out its static "C" locale here: nothing is allocated, and a program's own
     * LC_NUMERIC does not matter */
    locale_t c_locale = newlocale(LC_ALL_MASK, "C", (locale_t)0);
    char small[64];
    sk_autofree char *large = NULL;
    char *text = small;
    double value;

    if (s.len >= sizeof(small)) {
        text = large = sk_xmalloc(s.len + 1);
    }
    memcpy(text, s.ptr, s.len);
    text[s.len] = '\0';
    value = strtod_l(text, NULL, c_locale);
    if (!isfinite(value)) {
        return false;
    }
    *ret = value;
    return true;
}

bool sk_core_num(struct sk_str text, double *ret)
{
    unsigned shift = 0;
    double value = 0;

    if (is_decimal(text)) {
        return fast_decimal(text, ret) || slow_decimal(text, ret);
    }
    if (is_octal(text)) {
        shift = 3;
    } else if (is_hex(text)) {
        shift = 4;
    } else {
        return false;
    }
    for (size_t i = 2; i < text.len; i++) {
        char c = text.ptr[i];
        int digit = is_digit(c) ? c - '0' : (c | 0x20) - 'a' + 10;
        value = value * (double)(1u << shift) + digit;
        /* beyond this a double rounds: such a number has no place in a declaration */
        if (value > 0x1p53) {
            return false;
        }
    }
    *ret = value;
    return true;
}

bool sk_core_int(struct sk_str text, int64_t *ret)
{
    bool negative = text.len && text.ptr[0] == '-';
    size_t i = negative || (text.len && text.ptr[0] == '+') ? 1 : 0;
    int64_t value = 0;
    double num;

    if (i < text.len && digits(text, i) == text.len) {
        for (; i < text.len; i++) {
            int digit = text.ptr[i] - '0';
            if (__builtin_mul_overflow(value, 10, &value) ||
                __builtin_add_overflow(value, negative ? -digit : digit, &value)) {
                return false;
            }
        }
        *ret = value;
        return true;
    }
    if (!sk_core_num(text, &num) || num != floor(num) || fabs(num) > 0x1p53) {
        return false;
    }
    *ret = (int64_t)num;
    return true;
}
