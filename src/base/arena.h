/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SK_BASE_ARENA_H
#define SK_BASE_ARENA_H

#include <stddef.h>

#include "base/str.h"

/*
 * An arena: allocations that are freed all at once. One per document, request or step. Not thread
 * safe. Memory is zeroed. Never returns NULL (aborts when the machine has none left).
 */
struct sk_arena;

struct sk_arena *sk_arena_new(void);
void sk_arena_free(struct sk_arena *arena); /* NULL allowed */

void *sk_arena_alloc(struct sk_arena *arena, size_t size); /* aligned for any type */
void *sk_arena_calloc(struct sk_arena *arena, size_t count, size_t size);
/* Copies; the copy ends in NUL, one past its length. */
struct sk_str sk_arena_str(struct sk_arena *arena, struct sk_str s);
struct sk_str sk_arena_printf(struct sk_arena *arena, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
size_t sk_arena_bytes(const struct sk_arena *arena); /* what it holds from the system */

#define SK_ARENA_NEW(arena, type) ((type *)sk_arena_alloc((arena), sizeof(type)))
#define SK_ARENA_ARRAY(arena, type, count) ((type *)sk_arena_calloc((arena), (count), sizeof(type)))

#endif
