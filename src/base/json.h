/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SK_BASE_JSON_H
#define SK_BASE_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/str.h"
#include "base/tree.h"

/*
 * JSON (RFC 8259): a bounded reader with positions and a streaming writer.
 *
 * The reader takes bytes from anywhere: it checks UTF-8, depth, size and count, rejects duplicate
 * keys, trailing bytes, lone surrogates and NUL. Errors are SK_ERR_INPUT (or SK_ERR_LIMIT) with
 * "name:line:col: ". `bytes` may be freed afterwards: the tree copies what it keeps. limits may be
 * NULL.
 */
int sk_json_read(struct sk_arena *arena, const char *name, struct sk_str bytes,
                 const struct sk_limits *limits, const struct sk_node **ret_root,
                 struct sk_err *err);

/*
 * Writer. Commas and escapes are its business; the caller keeps begin and end paired (asserted).
 *
 *     struct sk_jw w;
 *     sk_jw_init(&w, &buf);
 *     sk_jw_obj(&w);
 *     sk_jw_kstr(&w, "name", name);
 *     sk_jw_key(&w, "items"); sk_jw_arr(&w); ... sk_jw_arr_end(&w);
 *     sk_jw_obj_end(&w);
 */
#define SK_JW_DEPTH_MAX 192 /* twice what the readers accept at most */
struct sk_jw {
    struct sk_buf *out;
    unsigned depth;
    bool first[SK_JW_DEPTH_MAX];
    bool after_key;
};

void sk_jw_init(struct sk_jw *w, struct sk_buf *out); /* appends to out */
void sk_jw_obj(struct sk_jw *w);
void sk_jw_obj_end(struct sk_jw *w);
void sk_jw_arr(struct sk_jw *w);
void sk_jw_arr_end(struct sk_jw *w);
void sk_jw_key(struct sk_jw *w, const char *key);
void sk_jw_keystr(struct sk_jw *w, struct sk_str key);
void sk_jw_str(struct sk_jw *w, struct sk_str s); /* bytes that are no UTF-8 become U+FFFD */
void sk_jw_cstr(struct sk_jw *w, const char *cstr);
void sk_jw_int(struct sk_jw *w, int64_t n);
void sk_jw_num(struct sk_jw *w, double n); /* shortest round trip; NaN and infinities become null */
void sk_jw_bool(struct sk_jw *w, bool b);
void sk_jw_null(struct sk_jw *w);
void sk_jw_node(struct sk_jw *w, const struct sk_node *node); /* a whole tree, order kept */
void sk_jw_raw(struct sk_jw *w, struct sk_str json);          /* trusted JSON, as one value */
/* The members of `map` (NULL: none) that are not called as one of `known`: what another version
 * wrote, to be kept on rewrite. The number written. */
size_t sk_jw_rest(struct sk_jw *w, const struct sk_node *map, const char *const *known,
                  size_t nknown);
/* key and value in one */
void sk_jw_kstr(struct sk_jw *w, const char *key, struct sk_str s);
void sk_jw_kcstr(struct sk_jw *w, const char *key, const char *cstr);
void sk_jw_kint(struct sk_jw *w, const char *key, int64_t n);
void sk_jw_knum(struct sk_jw *w, const char *key, double n);
void sk_jw_kbool(struct sk_jw *w, const char *key, bool b);
void sk_jw_knull(struct sk_jw *w, const char *key);

/* RFC 8785 (JCS): members sorted by UTF-16 code units, numbers as ECMAScript prints them. Scalars
 * that were read from YAML as plain numbers are numbers here too. Appends. SK_ERR_INPUT for a
 * number that no double holds. */
int sk_json_canonical(const struct sk_node *node, struct sk_buf *out, struct sk_err *err);

#endif
