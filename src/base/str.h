/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SK_BASE_STR_H
#define SK_BASE_STR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/*
 * A view of bytes: pointer and length. Never owns. May hold NUL bytes and need not end in one,
 * unless a function says so (strings that come out of an arena by sk_arena_str() always do, one
 * past the end).
 */
struct sk_str {
    const char *ptr;
    size_t len;
};

#define SK_STR(literal) ((struct sk_str){(literal), sizeof(literal) - 1})
#define SK_STR_NULL ((struct sk_str){NULL, 0})
/* printf("%.*s", SK_PRI(s)) */
#define SK_PRI(s) (int)((s).len > 4096 ? 4096 : (s).len), (s).ptr ? (s).ptr : ""

static inline struct sk_str sk_str(const char *cstr)
{
    return (struct sk_str){cstr, cstr ? strlen(cstr) : 0};
}

static inline bool sk_str_eq(struct sk_str a, struct sk_str b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.ptr, b.ptr, a.len) == 0);
}

static inline bool sk_str_is(struct sk_str a, const char *cstr)
{
    return sk_str_eq(a, sk_str(cstr));
}

/* Byte order, shorter first on a common prefix: the order of every sorted output. */
int sk_str_cmp(struct sk_str a, struct sk_str b);
typedef struct sk_str sk_str_key_fn(const void *item);
/* Where `key` is, or belongs, among `count` items of `size` bytes that are sorted by key_of(). */
size_t sk_str_search(const void *items, size_t count, size_t size, sk_str_key_fn *key_of,
                     struct sk_str key, bool *ret_there);
bool sk_str_starts(struct sk_str s, struct sk_str prefix);
bool sk_str_ends(struct sk_str s, struct sk_str suffix);
/* Splits at the first `sep`: true and head/tail set, or false and head = s, tail empty. */
bool sk_str_cut(struct sk_str s, char sep, struct sk_str *ret_head, struct sk_str *ret_tail);
struct sk_str sk_str_trim(struct sk_str s); /* spaces and tabs at both ends */
bool sk_str_utf8_valid(struct sk_str s);
/* The length of the UTF-8 character at the front of s, 0 if there is none. */
size_t sk_utf8_len(struct sk_str s);
/* How many bytes at the front of s are whole UTF-8 characters. */
size_t sk_utf8_prefix(struct sk_str s);
/* The front of s, `max` bytes at most, not cut within a UTF-8 character. */
struct sk_str sk_str_head(struct sk_str s, size_t max);
/* A DNS label: [a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?, the form of every name that skerry makes. */
bool sk_str_is_label(struct sk_str s);
/* Levenshtein distance with a cap, for "did you mean": cap + 1 if it is larger. */
unsigned sk_str_distance(struct sk_str a, struct sk_str b, unsigned cap);

#endif
