/* SPDX-License-Identifier: Apache-2.0 */
#include <math.h>
#include <stdio.h>

#include "base/scalar.h"
#include "base/units.h"

/* What is printed is digits x 10^(point - count), digits without trailing zeros. */
struct digits {
    char text[24];
    int count;
    int point; /* the decimal point stands behind this many digits; may lie outside them */
};

/* The `precision` digits nearest to n (> 0). The point that printf writes depends on the locale, so
 * only digits and the exponent are taken. */
static void nearest(double n, int precision, struct digits *ret)
{
    char text[64];
    int exponent = 0;
    bool negative = false;
    bool in_exponent = false;

    (void)snprintf(text, sizeof(text), "%.*e", precision - 1, n);
    ret->count = 0;
    for (const char *p = text; *p; p++) {
        if (*p == 'e') {
            in_exponent = true;
        } else if (*p == '-') {
            negative = true;
        } else if (*p >= '0' && *p <= '9') {
            if (in_exponent) {
                exponent = exponent * 10 + (*p - '0');
            } else {
                ret->text[ret->count++] = *p;
            }
        }
    }
    ret->point = (negative ? -exponent : exponent) + 1;
}

static void strip_zeros(struct digits *d)
{
    while (d->count > 1 && d->text[d->count - 1] == '0') {
        d->count--;
    }
}

static void next_up(struct digits *d)
{
    int i = d->count - 1;

    while (i >= 0 && d->text[i] == '9') {
        d->text[i--] = '0';
    }
    if (i >= 0) {
        d->text[i]++;
    } else {
        d->text[0] = '1';
        d->point++;
    }
}

static bool reads_back(const struct digits *d, double n)
{
    char text[64];
    double back;
    int len = snprintf(text, sizeof(text), "%.*se%d", d->count, d->text, d->point - d->count);

    return sk_core_num((struct sk_str){text, (size_t)len}, &back) && back == n;
}

/*
 * The shortest digits that read back as n, and among those the nearest to n. Up to 15 digits
 * survive decimal -> double -> decimal, so for a normal number the 15 nearest without trailing
 * zeros are the answer when they read back at all. Below a power of two doubles are closer together
 * than above it: there the digits nearest to n may fail where their upper neighbour, which is
 * farther off, reads back (2^-44 is 5.684341886080802e-14); so both are tried.
 */
static void shortest(double n, struct digits *ret)
{
    for (int precision = fpclassify(n) == FP_NORMAL ? 15 : 1; precision < 17; precision++) {
        struct digits up;
        nearest(n, precision, ret);
        if (reads_back(ret, n)) {
            strip_zeros(ret);
            return;
        }
        up = *ret;
        next_up(&up);
        if (reads_back(&up, n)) {
            *ret = up;
            strip_zeros(ret);
            return;
        }
    }
    nearest(n, 17, ret);
    strip_zeros(ret);
}

static size_t put_integer(uint64_t n, char *out)
{
    char text[24];
    size_t at = sizeof(text);

    do {
        text[--at] = (char)('0' + n % 10);
        n /= 10;
    } while (n);
    memcpy(out, text + at, sizeof(text) - at);
    return sizeof(text) - at;
}

/* ECMAScript's Number::toString (ECMA-262, section 6.1.6.1.20), steps 6 to 10. */
static size_t put_digits(const struct digits *d, char *out)
{
    size_t len = 0;

    if (d->point > 21 || d->point <= -6) {
        int exponent = d->point - 1;
        out[len++] = d->text[0];
        if (d->count > 1) {
            out[len++] = '.';
            memcpy(out + len, d->text + 1, (size_t)d->count - 1);
            len += (size_t)d->count - 1;
        }
        out[len++] = 'e';
        out[len++] = exponent < 0 ? '-' : '+';
        return len + put_integer((uint64_t)(exponent < 0 ? -exponent : exponent), out + len);
    }
    if (d->point <= 0) {
        out[len++] = '0';
        out[len++] = '.';
        for (int i = d->point; i < 0; i++) {
            out[len++] = '0';
        }
    }
    for (int i = 0; i < d->count || i < d->point; i++) {
        if (i == d->point && i > 0) {
            out[len++] = '.';
        }
        out[len++] = i < d->count ? d->text[i] : '0';
    }
    return len;
}

size_t sk_num_text(double n, char out[SK_NUM_TEXT_MAX])
{
    size_t len = 0;
    struct digits d;

    if (!isfinite(n)) {
        const char *word = isnan(n) ? "NaN" : n < 0 ? "-Infinity" : "Infinity";
        len = strlen(word);
        memcpy(out, word, len + 1);
        return len;
    }
    if (n < 0) {
        out[len++] = '-';
        n = -n;
    }
    if (n < 0x1p53 && n == floor(n)) {
        len += put_integer((uint64_t)n, out + len);
    } else {
        shortest(n, &d);
        len += put_digits(&d, out + len);
    }
    out[len] = '\0';
    return len;
}
