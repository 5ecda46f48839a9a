/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SK_MODEL_INTERPOLATE_H
#define SK_MODEL_INTERPOLATE_H

#include "model/reader.h"

/*
 * Compose's interpolation of values: $VAR, ${VAR}, ${VAR:-default}, ${VAR-default}, ${VAR:?error},
 * ${VAR?error}, ${VAR:+other}, ${VAR+other}, nested to a bounded depth; $$ is a dollar sign. A
 * plain variable that is not set becomes empty, as in Compose. Values of variables are not expanded
 * again. All that one document expands to is bounded by RD_EXPANDED_MAX.
 */

/* The text itself (not copied) when there is nothing to replace or rd->interpolate is off; else a
 * copy in rd->arena. */
int interpolate(struct rd *rd, const struct spot *at, struct sk_str text, struct sk_str *ret);

/* The same on a plain text (an env_file's value) whose variables `lookup` knows. Messages have no
 * position: the caller wraps. */
typedef bool interpolate_lookup_fn(void *ctx, struct sk_str name, struct sk_str *ret_value);
int interpolate_text(struct rd *rd, struct sk_str text, interpolate_lookup_fn *lookup, void *ctx,
                     struct sk_str *ret);

#endif
