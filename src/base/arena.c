/* SPDX-License-Identifier: Apache-2.0 */
#include "base/arena.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "base/err.h"
#include "base/mem.h"

/* Blocks double from BLOCK_MIN to BLOCK_MAX; an allocation larger than a quarter of the next block
 * gets its own. */
#define BLOCK_MIN 1024u
#define BLOCK_MAX (16u * 1024u * 1024u)
/* From here up a block is mapped and asks for huge pages: without them reading a large document
 * spends more than half its time in page faults. */
#define BLOCK_MAPPED (4u * 1024u * 1024u)
#define ALIGN 16u

struct block {
    struct block *next;
    size_t used;
    size_t size;
    _Alignas(ALIGN) unsigned char bytes[];
};

struct sk_arena {
    struct block *blocks; /* the first one is the one being filled */
    size_t next_size;
    size_t total;
};

struct sk_arena *sk_arena_new(void)
{
    struct sk_arena *arena = sk_xcalloc(1, sizeof(*arena));
    arena->next_size = BLOCK_MIN;
    return arena;
}

void sk_arena_free(struct sk_arena *arena)
{
    if (!arena) {
        return;
    }
    for (struct block *b = arena->blocks; b;) {
        struct block *next = b->next;
        if (sizeof(*b) + b->size >= BLOCK_MAPPED) {
            (void)munmap(b, sizeof(*b) + b->size); /* fails on nothing that was mapped */
        } else {
            free(b);
        }
        b = next;
    }
    free(arena);
}

/* Zeroed memory; a large block comes from the system as zero pages. */
static struct block *get_block(size_t bytes)
{
    void *p;

    if (bytes < BLOCK_MAPPED) {
        return sk_xcalloc(1, bytes);
    }
    p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED) {
        sk_out_of_memory(bytes);
    }
    (void)madvise(p, bytes, MADV_HUGEPAGE); /* a wish: a kernel without them is as right */
    return p;
}

static struct block *add_block(struct sk_arena *arena, size_t size, bool to_fill)
{
    struct block *b = get_block(sizeof(*b) + size);
    b->size = size;
    arena->total += sizeof(*b) + size;
    if (to_fill || !arena->blocks) {
        b->next = arena->blocks;
        arena->blocks = b;
    } else {
        b->next = arena->blocks->next;
        arena->blocks->next = b;
    }
    return b;
}

void *sk_arena_alloc(struct sk_arena *arena, size_t size)
{
    struct block *b = arena->blocks;
    size_t rounded;
    void *p;

    SK_ASSERT(size < SIZE_MAX / 2);
    rounded = (size + ALIGN - 1) & ~(size_t)(ALIGN - 1);
    if (!b || b->size - b->used < rounded) {
        if (rounded > arena->next_size / 4) {
            b = add_block(arena, rounded, false);
            b->used = rounded;
            return b->bytes;
        }
        b = add_block(arena, arena->next_size, true);
        if (arena->next_size < BLOCK_MAX) {
            arena->next_size *= 2;
        }
    }
    p = b->bytes + b->used;
    b->used += rounded;
    return p;
}

void *sk_arena_calloc(struct sk_arena *arena, size_t count, size_t size)
{
    size_t bytes;
    SK_ASSERT(!__builtin_mul_overflow(count, size, &bytes));
    return sk_arena_alloc(arena, bytes);
}

struct sk_str sk_arena_str(struct sk_arena *arena, struct sk_str s)
{
    char *p = sk_arena_alloc(arena, s.len + 1);
    if (s.len) {
        memcpy(p, s.ptr, s.len);
    }
    return (struct sk_str){p, s.len};
}

struct sk_str sk_arena_printf(struct sk_arena *arena, const char *fmt, ...)
{
    va_list ap;
    int len;
    char *p;

    va_start(ap, fmt);
    len = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    SK_ASSERT(len >= 0);
    p = sk_arena_alloc(arena, (size_t)len + 1);
    va_start(ap, fmt);
    (void)vsnprintf(p, (size_t)len + 1, fmt, ap);
    va_end(ap);
    return (struct sk_str){p, (size_t)len};
}

size_t sk_arena_bytes(const struct sk_arena *arena)
{
    return arena->total;
}
