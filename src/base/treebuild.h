/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SK_BASE_TREEBUILD_H
#define SK_BASE_TREEBUILD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/err.h"
#include "base/str.h"
#include "base/tree.h"

/*
 * How the two readers build a tree: children gather on a growing stack and move to the arena as one
 * contiguous array when their parent ends. Texts are packed without padding, and short ones that
 * come again (keys, names) are shared. Of no use outside base.
 *
 * A map of more than SK_MAP_LINEAR_MAX members has, right before its members, their order by key;
 * the members themselves stay in the order of the file.
 */
#define SK_MAP_LINEAR_MAX 16
#define SK_TB_SHARED 256        /* texts remembered, a power of two */
#define SK_TB_DEPTH_HARD_MAX 96 /* a writer must be able to put a tree inside other things */

struct sk_tb {
    struct sk_arena *arena;
    const char *name; /* of the input, for messages */
    struct sk_limits limits;
    struct sk_err *err;
    struct sk_node *items; /* the stack of list items */
    size_t nitems, items_cap;
    struct sk_member *members; /* the stack of members */
    size_t nmembers, members_cap;
    size_t nodes; /* values so far, after aliases are expanded */
    char *pool;   /* free bytes for texts */
    size_t pool_left, pool_next;
    struct sk_str shared[SK_TB_SHARED];
};

/* limits may be NULL. */
void sk_tb_init(struct sk_tb *tb, struct sk_arena *arena, const char *name,
                const struct sk_limits *limits, struct sk_err *err);
void sk_tb_release(struct sk_tb *tb);

/* "name:line:col: ..." */
int sk_tb_fail(struct sk_tb *tb, int code, uint32_t line, uint32_t col, const char *fmt, ...)
    __attribute__((format(printf, 5, 6)));
struct sk_str sk_tb_text(struct sk_tb *tb, struct sk_str text);
/* Room for len bytes and a NUL that the caller fills in. */
char *sk_tb_bytes(struct sk_tb *tb, size_t len);
/* Adds to the count of values; SK_ERR_LIMIT beyond nodes_max. */
int sk_tb_count(struct sk_tb *tb, size_t nodes, uint32_t line, uint32_t col);

void sk_tb_push_item(struct sk_tb *tb, const struct sk_node *item);
void sk_tb_push_member(struct sk_tb *tb, const struct sk_member *member);
/* Takes everything from `base` up off the stack into `node`. */
int sk_tb_seq(struct sk_tb *tb, size_t base, struct sk_node *node);
/* The first `own` of them must have different keys; of the others (merged in) those whose key came
 * before are dropped. */
int sk_tb_map(struct sk_tb *tb, size_t base, size_t own, struct sk_node *node);

/* The order by key of a map with more than SK_MAP_LINEAR_MAX members. */
static inline const uint32_t *sk_map_order(const struct sk_node *map)
{
    return (const uint32_t *)(const void *)map->u.members - ((map->count + 3u) & ~3u);
}

#endif
