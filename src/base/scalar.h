/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SK_BASE_SCALAR_H
#define SK_BASE_SCALAR_H

#include <stdbool.h>
#include <stddef.h>

#include "base/str.h"
#include "base/tree.h"

/*
 * What a scalar's text means. Shared by the readers, the writers and the unit parsers; of no use
 * outside base.
 */

/* The length of the JSON number (RFC 8259) at the front of s; 0 if there is none. */
size_t sk_json_number_len(struct sk_str s);

/* The kind of a plain scalar under the YAML 1.2 core schema: SK_NULL, SK_BOOL, SK_NUMBER or
 * SK_STRING. */
enum sk_kind sk_core_kind(struct sk_str text);

/* The double nearest to a number that sk_core_kind() calls SK_NUMBER (JSON numbers are among them),
 * whatever the locale. False when the text is no number, or no finite double holds it. */
bool sk_core_num(struct sk_str text, double *ret);

/* The integer, when the number is one and fits. */
bool sk_core_int(struct sk_str text, int64_t *ret);

#endif
