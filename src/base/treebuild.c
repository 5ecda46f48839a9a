/* SPDX-License-Identifier: Apache-2.0 */
#include "base/treebuild.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"

#define BYTES_MAX_DEFAULT (64u * 1024 * 1024)
#define DEPTH_MAX_DEFAULT 64u
#define NODES_MAX_DEFAULT (8u * 1024 * 1024)
#define ALIASES_MAX_DEFAULT 1000u
#define POOL_FIRST 256u
#define POOL_MAX (64u * 1024)
#define SHARED_LEN_MAX 32u
/* Positions and counts are 32 bits. */
#define BYTES_HARD_MAX (UINT32_MAX - 1u)

void sk_tb_init(struct sk_tb *tb, struct sk_arena *arena, const char *name,
                const struct sk_limits *limits, struct sk_err *err)
{
    memset(tb, 0, sizeof(*tb));
    tb->arena = arena;
    tb->name = name;
    tb->err = err;
    tb->pool_next = POOL_FIRST;
    if (limits) {
        tb->limits = *limits;
    }
    if (!tb->limits.bytes_max) {
        tb->limits.bytes_max = BYTES_MAX_DEFAULT;
    } else if (tb->limits.bytes_max > BYTES_HARD_MAX) {
        tb->limits.bytes_max = BYTES_HARD_MAX;
    }
    if (!tb->limits.depth_max) {
        tb->limits.depth_max = DEPTH_MAX_DEFAULT;
    } else if (tb->limits.depth_max > SK_TB_DEPTH_HARD_MAX) {
        tb->limits.depth_max = SK_TB_DEPTH_HARD_MAX;
    }
    if (!tb->limits.nodes_max) {
        tb->limits.nodes_max = NODES_MAX_DEFAULT;
    } else if (tb->limits.nodes_max > BYTES_HARD_MAX) {
        tb->limits.nodes_max = BYTES_HARD_MAX;
    }
    if (!tb->limits.aliases_max) {
        tb->limits.aliases_max = ALIASES_MAX_DEFAULT;
    }
}

void sk_tb_release(struct sk_tb *tb)
{
    free(tb->items);
    free(tb->members);
    tb->items = NULL;
    tb->members = NULL;
}

int sk_tb_fail(struct sk_tb *tb, int code, uint32_t line, uint32_t col, const char *fmt, ...)
{
    char text[SK_ERR_MSG_MAX];
    va_list ap;

    va_start(ap, fmt);
    (void)vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    return sk_err_set(tb->err, code, "%s:%u:%u: %s", tb->name, line, col, text);
}

char *sk_tb_bytes(struct sk_tb *tb, size_t len)
{
    char *p;

    if (len >= tb->pool_left) {
        if (len >= tb->pool_next / 4) {
            return sk_arena_alloc(tb->arena, len + 1);
        }
        tb->pool = sk_arena_alloc(tb->arena, tb->pool_next);
        tb->pool_left = tb->pool_next;
        if (tb->pool_next < POOL_MAX) {
            tb->pool_next *= 2;
        }
    }
    p = tb->pool;
    tb->pool += len + 1;
    tb->pool_left -= len + 1;
    return p;
}

static uint32_t short_hash(struct sk_str s)
{
    uint64_t h = s.len;
    for (size_t i = 0; i < s.len; i++) {
        h = (h ^ (unsigned char)s.ptr[i]) * 0x100000001b3ull;
    }
    return (uint32_t)(h >> 32 ^ h) & (SK_TB_SHARED - 1);
}

struct sk_str sk_tb_text(struct sk_tb *tb, struct sk_str text)
{
    struct sk_str *slot = NULL;
    char *copy;

    if (text.len <= SHARED_LEN_MAX) {
        slot = &tb->shared[short_hash(text)];
        if (slot->ptr && sk_str_eq(*slot, text)) {
            return *slot;
        }
    }
    copy = sk_tb_bytes(tb, text.len);
    if (text.len) {
        memcpy(copy, text.ptr, text.len);
    }
    copy[text.len] = '\0';
    if (slot) {
        *slot = (struct sk_str){copy, text.len};
    }
    return (struct sk_str){copy, text.len};
}

int sk_tb_count(struct sk_tb *tb, size_t nodes, uint32_t line, uint32_t col)
{
    if (nodes > tb->limits.nodes_max - tb->nodes) {
        return sk_tb_fail(tb, SK_ERR_LIMIT, line, col, "more than %zu values",
                          tb->limits.nodes_max);
    }
    tb->nodes += nodes;
    return 0;
}

void sk_tb_push_item(struct sk_tb *tb, const struct sk_node *item)
{
    SK_GROW(tb->items, tb->nitems, tb->items_cap);
    tb->items[tb->nitems++] = *item;
}

void sk_tb_push_member(struct sk_tb *tb, const struct sk_member *member)
{
    SK_GROW(tb->members, tb->nmembers, tb->members_cap);
    tb->members[tb->nmembers++] = *member;
}

int sk_tb_seq(struct sk_tb *tb, size_t base, struct sk_node *node)
{
    size_t count = tb->nitems - base;
    struct sk_node *items = sk_arena_calloc(tb->arena, count, sizeof(*items));

    if (count) {
        memcpy(items, tb->items + base, count * sizeof(*items));
    }
    tb->nitems = base;
    node->kind = SK_SEQ;
    node->count = (uint32_t)count;
    node->u.items = items;
    return 0;
}

static int duplicate(struct sk_tb *tb, const struct sk_member *first,
                     const struct sk_member *second)
{
    sk_tb_fail(tb, SK_ERR_INPUT, second->line, second->col,
               "duplicate key '%.*s'; first at line %u", SK_PRI(second->key), first->line);
    (void)sk_err_fix(tb->err, "remove one of the two, or rename it");
    return SK_ERR_INPUT;
}

/* Of two equal keys the one that came first stands first. */
static int by_key(const void *a, const void *b, void *ctx)
{
    const struct sk_member *members = ctx;
    uint32_t left = *(const uint32_t *)a;
    uint32_t right = *(const uint32_t *)b;
    int c = sk_str_cmp(members[left].key, members[right].key);

    if (c != 0) {
        return c;
    }
    return left < right ? -1 : left > right;
}

/* The few members of an ordinary map: compared with each other. */
static int small_map(struct sk_tb *tb, size_t base, struct sk_node *node)
{
    /* nothing is allocated yet when the first map is an empty one */
    const struct sk_member *from = tb->members ? tb->members + base : NULL;
    size_t count = tb->nmembers - base;
    struct sk_member *members;

    for (size_t i = 1; i < count; i++) {
        for (size_t j = 0; j < i; j++) {
            if (sk_str_eq(from[i].key, from[j].key)) {
                return duplicate(tb, &from[j], &from[i]);
            }
        }
    }
    members = sk_arena_calloc(tb->arena, count, sizeof(*members));
    if (count) {
        memcpy(members, from, count * sizeof(*members));
    }
    node->count = (uint32_t)count;
    node->u.members = members;
    return 0;
}

/* The error that stands first in the file, whatever the order of keys. */
static int first_duplicate(struct sk_tb *tb, const struct sk_member *from, const uint32_t *order,
                           size_t count, size_t own)
{
    size_t first = 0;
    size_t second = SIZE_MAX;

    for (size_t i = 1; i < count; i++) {
        if (order[i] < own && order[i] < second &&
            sk_str_eq(from[order[i - 1]].key, from[order[i]].key)) {
            first = order[i - 1];
            second = order[i];
        }
    }
    return second == SIZE_MAX ? 0 : duplicate(tb, &from[first], &from[second]);
}

static int sorted_map(struct sk_tb *tb, size_t base, size_t own, struct sk_node *node)
{
    struct sk_member *from = tb->members + base;
    size_t count = tb->nmembers - base;
    sk_autofree uint32_t *order = sk_xreallocarray(NULL, count, sizeof(*order));
    sk_autofree uint32_t *place = sk_xcalloc(count, sizeof(*place)); /* where it goes, plus one */
    size_t kept = 0;
    size_t at = 0;
    uint32_t *kept_order;
    struct sk_member *members;
    int rc;

    for (size_t i = 0; i < count; i++) {
        order[i] = (uint32_t)i;
    }
    qsort_r(order, count, sizeof(*order), by_key, from);
    rc = first_duplicate(tb, from, order, count, own);
    if (rc < 0) {
        return rc;
    }
    for (size_t i = 0; i < count; i++) {
        if (i == 0 || !sk_str_eq(from[order[i - 1]].key, from[order[i]].key)) {
            place[order[i]] = 1;
            kept++;
        }
    }
    at = kept > SK_MAP_LINEAR_MAX ? (kept + 3u) & ~(size_t)3u : 0;
    kept_order = sk_arena_alloc(tb->arena, at * sizeof(*kept_order) + kept * sizeof(*members));
    members = (struct sk_member *)(void *)(kept_order + at);
    for (size_t i = 0, n = 0; i < count; i++) {
        if (place[i]) {
            members[n++] = from[i];
            place[i] = (uint32_t)n;
        }
    }
    for (size_t i = 0, n = 0; at > 0 && i < count; i++) {
        if (place[order[i]]) {
            kept_order[n++] = place[order[i]] - 1;
        }
    }
    node->count = (uint32_t)kept;
    node->u.members = members;
    return 0;
}

int sk_tb_map(struct sk_tb *tb, size_t base, size_t own, struct sk_node *node)
{
    size_t count = tb->nmembers - base;
    int rc = own == count && count <= SK_MAP_LINEAR_MAX ? small_map(tb, base, node)
                                                        : sorted_map(tb, base, own, node);
    if (rc < 0) {
        return rc;
    }
    tb->nmembers = base;
    node->kind = SK_MAP;
    return 0;
}
