/* SPDX-License-Identifier: Apache-2.0 */
#include "base/units.h"

#include <string.h>

#include "base/mem.h"
#include "base/scalar.h"

#define CPUS_MAX 1000000LL
#define BYTES_MAX (1LL << 53) /* exact in a double, and so in JSON */
#define DURATION_MAX_MS (100LL * 365 * 24 * 3600 * 1000)
#define FRACTION_DIGITS_MAX 9

/* A decimal without sign or exponent: whole + nano/10^9, exactly. */
struct decimal {
    int64_t whole;
    int64_t nano;
};

static int bad(struct sk_err *err, struct sk_str s, const char *what, const char *form)
{
    return sk_err_set(err, SK_ERR_INPUT, "'%.*s' is not %s; expected a value such as %s", SK_PRI(s),
                      what, form);
}

static int too_large(struct sk_err *err, struct sk_str s)
{
    return sk_err_set(err, SK_ERR_INPUT, "'%.*s' is too large", SK_PRI(s));
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* Reads digits[.digits] at the front of s; returns its length, 0 if there is none or it does not
 * fit. */
static size_t take_decimal(struct sk_str s, struct decimal *ret)
{
    struct decimal d = {0, 0};
    int64_t unit = SK_NANO;
    size_t i = 0;
    size_t point;

    for (; i < s.len && is_digit(s.ptr[i]); i++) {
        if (__builtin_mul_overflow(d.whole, 10, &d.whole) ||
            __builtin_add_overflow(d.whole, s.ptr[i] - '0', &d.whole)) {
            return 0;
        }
    }
    if (i == s.len || s.ptr[i] != '.') {
        *ret = d;
        return i;
    }
    point = i++;
    for (; i < s.len && is_digit(s.ptr[i]); i++) {
        if (i - point > FRACTION_DIGITS_MAX) {
            return 0;
        }
        unit /= 10;
        d.nano += unit * (s.ptr[i] - '0');
    }
    if (i == point + 1) {
        return 0;
    }
    *ret = d;
    return i;
}

int sk_parse_cpus(struct sk_str s, int64_t *ret_nano, struct sk_err *err)
{
    struct decimal d;
    size_t len = take_decimal(s, &d);

    if (len == 0 || len != s.len) {
        return bad(err, s, "a number of cpus", "0.5 or 2");
    }
    if (d.whole >= CPUS_MAX) {
        return too_large(err, s);
    }
    *ret_nano = d.whole * SK_NANO + d.nano;
    return 0;
}

/* "", "b", "k", "kb", "kib" and so on, in either case: the power of two, or -1. */
static int byte_unit(struct sk_str unit)
{
    static const char letters[] = "kmgtp";
    struct sk_str rest;
    const char *at;

    if (unit.len == 0) {
        return 0;
    }
    if (unit.len == 1 && (unit.ptr[0] | 0x20) == 'b') {
        return 0;
    }
    at = memchr(letters, unit.ptr[0] | 0x20, sizeof(letters) - 1);
    rest = (struct sk_str){unit.ptr + 1, unit.len - 1};
    if (rest.len && (rest.ptr[0] | 0x20) == 'i') {
        rest = (struct sk_str){rest.ptr + 1, rest.len - 1};
    }
    if (!at || rest.len > 1 || (rest.len == 1 && (rest.ptr[0] | 0x20) != 'b')) {
        return -1;
    }
    return 10 * (int)(at - letters + 1);
}

int sk_parse_bytes(struct sk_str s, int64_t *ret_bytes, struct sk_err *err)
{
    struct decimal d;
    size_t len = take_decimal(s, &d);
    int shift = byte_unit((struct sk_str){s.ptr + len, s.len - len});
    __int128 bytes;

    if (len == 0 || shift < 0 || (shift == 0 && memchr(s.ptr, '.', len))) {
        return bad(err, s, "a size", "256M, 1.5g or 1024");
    }
    /* a fraction of a byte is dropped, as Compose does */
    bytes = ((__int128)d.whole << shift) + (((__int128)d.nano << shift) / SK_NANO);
    if (bytes > BYTES_MAX) {
        return too_large(err, s);
    }
    *ret_bytes = (int64_t)bytes;
    return 0;
}

/* Units from large to small; each at most once. */
static const struct {
    const char *name;
    int64_t micros;
} duration_units[] = {
    {"h", 3600000000LL}, {"m", 60000000LL}, {"s", 1000000LL}, {"ms", 1000LL}, {"us", 1LL},
};

static size_t unit_len(struct sk_str s)
{
    size_t i = 0;
    while (i < s.len && !is_digit(s.ptr[i]) && s.ptr[i] != '.') {
        i++;
    }
    return i;
}

int sk_parse_duration(struct sk_str s, int64_t *ret_ms, struct sk_err *err)
{
    struct sk_str rest = s;
    size_t unit = 0;
    __int128 nanos = 0; /* of a microsecond: exact for every decimal */

    if (sk_str_is(s, "0")) {
        *ret_ms = 0;
        return 0;
    }
    do {
        struct decimal d;
        size_t len = take_decimal(rest, &d);
        struct sk_str name = {rest.ptr + len, rest.len - len};
        name.len = unit_len(name);
        while (unit < SK_ARRAY_LEN(duration_units) && !sk_str_is(name, duration_units[unit].name)) {
            unit++;
        }
        if (len == 0 || unit == SK_ARRAY_LEN(duration_units)) {
            bad(err, s, "a duration", "500ms, 10s or 1m30s");
            if (len != 0 && len == s.len) {
                (void)sk_err_fix(err, "write '%.*ss'", SK_PRI(s));
            }
            return SK_ERR_INPUT;
        }
        nanos += ((__int128)d.whole * SK_NANO + d.nano) * duration_units[unit].micros;
        unit++;
        rest = (struct sk_str){name.ptr + name.len, rest.len - len - name.len};
    } while (rest.len);
    if (nanos > (__int128)DURATION_MAX_MS * 1000 * SK_NANO) {
        return too_large(err, s);
    }
    if (nanos % ((__int128)1000 * SK_NANO) != 0) {
        return sk_err_set(err, SK_ERR_INPUT, "'%.*s' is not a whole number of milliseconds",
                          SK_PRI(s));
    }
    *ret_ms = (int64_t)(nanos / ((__int128)1000 * SK_NANO));
    return 0;
}

int sk_parse_percent(struct sk_str s, double *ret_share, struct sk_err *err)
{
    char text[40];
    struct decimal d;
    size_t len = take_decimal(s, &d);
    bool percent = len != 0 && s.len == len + 1 && s.ptr[len] == '%';
    double share;

    if (len == 0 || (len != s.len && !percent) || len + 3 > sizeof(text)) {
        return bad(err, s, "a share", "95% or 0.95");
    }
    /* as a decimal exponent, so that 99.9% is the very double that 0.999 is */
    memcpy(text, s.ptr, len);
    memcpy(text + len, "e-2", 3);
    if (!sk_core_num((struct sk_str){text, percent ? len + 3 : len}, &share) || share > 1) {
        return sk_err_set(err, SK_ERR_INPUT, "'%.*s' is more than the whole", SK_PRI(s));
    }
    *ret_share = share;
    return 0;
}

int sk_parse_int(struct sk_str s, int64_t min, int64_t max, int64_t *ret, struct sk_err *err)
{
    size_t len = sk_json_number_len(s);
    int64_t value;

    if (len == 0 || len != s.len || memchr(s.ptr, '.', len) || memchr(s.ptr, 'e', len) ||
        memchr(s.ptr, 'E', len)) {
        return sk_err_set(err, SK_ERR_INPUT, "'%.*s' is not a whole number", SK_PRI(s));
    }
    if (!sk_core_int(s, &value) || value < min || value > max) {
        return sk_err_set(err, SK_ERR_INPUT, "'%.*s' is not between %lld and %lld", SK_PRI(s),
                          (long long)min, (long long)max);
    }
    *ret = value;
    return 0;
}

int sk_parse_num(struct sk_str s, double *ret, struct sk_err *err)
{
    size_t len = sk_json_number_len(s);

    if (len == 0 || len != s.len) {
        return sk_err_set(err, SK_ERR_INPUT, "'%.*s' is not a number", SK_PRI(s));
    }
    if (!sk_core_num(s, ret)) {
        return too_large(err, s);
    }
    return 0;
}
