/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SK_BASE_MEM_H
#define SK_BASE_MEM_H

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

/*
 * Memory. Small control-plane allocations abort when there is none left (one clear line, then
 * abort): a half-working control plane is worse than a restarted one. Anything that users or peers
 * size is checked against a stated *_max before it is allocated.
 */
void *sk_xmalloc(size_t size);
void *sk_xcalloc(size_t count, size_t size); /* zeroed; aborts on overflow */
void *sk_xrealloc(void *ptr, size_t size);
void *sk_xreallocarray(void *ptr, size_t count, size_t size);
_Noreturn void sk_out_of_memory(size_t size); /* the clear line, then abort */
char *sk_xstrdup(const char *cstr);
char *sk_xstrndup(const char *ptr, size_t len); /* exact copy of len bytes, NUL added */

/* Makes room for one more element in a growing array of (ptr, len, cap): amortised doubling. */
#define SK_GROW(ptr, len, cap)                                      \
    do {                                                            \
        if ((len) == (cap)) {                                       \
            (cap) = (cap) ? (cap)*2 : 8;                            \
            (ptr) = sk_xreallocarray((ptr), (cap), sizeof(*(ptr))); \
        }                                                           \
    } while (0)

#define SK_ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))

/* Cleanup of locals: `sk_autofree char *p = NULL;`. sk_steal() hands the value on and disarms it.
 */
static inline void sk_autofree_cleanup(void *ptr)
{
    void *p;
    __builtin_memcpy(&p, ptr, sizeof(p));
    free(p);
}
#define sk_autofree __attribute__((cleanup(sk_autofree_cleanup)))
#define sk_auto(release) __attribute__((cleanup(release)))
#define sk_steal(ptr)                                \
    ({                                               \
        __typeof__(ptr) *sk_steal_at = &(ptr);       \
        __typeof__(ptr) sk_steal_val = *sk_steal_at; \
        *sk_steal_at = NULL;                         \
        sk_steal_val;                                \
    })

#endif
