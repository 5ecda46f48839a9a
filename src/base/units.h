/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SK_BASE_UNITS_H
#define SK_BASE_UNITS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/str.h"

/*
 * Units, exact and strict: the whole string must be one value. Messages name the form that is
 * expected. Errors: SK_ERR_INPUT, without a position (the caller knows it and wraps).
 */
#define SK_NANO 1000000000LL

int sk_parse_cpus(struct sk_str s, int64_t *ret_nano,
                  struct sk_err *err); /* "0.5" -> 500000000; >= 0 */
int sk_parse_bytes(struct sk_str s, int64_t *ret_bytes,
                   struct sk_err *err); /* "256M", "1.5g", "64mb", "12b", "10": powers of 1024 */
int sk_parse_duration(struct sk_str s, int64_t *ret_ms,
                      struct sk_err *err); /* Compose: "1m30s", "500ms"; >= 0 */
int sk_parse_percent(struct sk_str s, double *ret_share,
                     struct sk_err *err); /* "95%" -> 0.95, "0.95" -> 0.95; 0..1 */
int sk_parse_int(struct sk_str s, int64_t min, int64_t max, int64_t *ret, struct sk_err *err);
int sk_parse_num(struct sk_str s, double *ret, struct sk_err *err); /* a JSON number, finite */

/* Shortest decimal that reads back as the same double, in ECMAScript's form. Returns the length. */
#define SK_NUM_TEXT_MAX 32
size_t sk_num_text(double n, char out[SK_NUM_TEXT_MAX]);

/* For people. */
void sk_format_bytes(struct sk_buf *out, int64_t bytes); /* "256M", "1.5G" */
void sk_format_cpus(struct sk_buf *out, int64_t nano);   /* "0.5", "12" */
void sk_format_duration(struct sk_buf *out, int64_t ms); /* "480ms", "2.9s", "3m", "2h5m" */
void sk_format_money(struct sk_buf *out, double amount, struct sk_str currency); /* "1408.90 EUR" */

#endif
