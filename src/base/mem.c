/* SPDX-License-Identifier: Apache-2.0 */
#include "base/mem.h"

#include <stdio.h>
#include <string.h>

_Noreturn void sk_out_of_memory(size_t size)
{
    (void)fprintf(stderr, "skerry: no memory left for %zu bytes\n", size);
    abort();
}

void *sk_xmalloc(size_t size)
{
    void *p = malloc(size ? size : 1);
    if (!p) {
        sk_out_of_memory(size);
    }
    return p;
}

void *sk_xcalloc(size_t count, size_t size)
{
    void *p = calloc(count ? count : 1, size ? size : 1);
    if (!p) {
        sk_out_of_memory(size);
    }
    return p;
}

void *sk_xrealloc(void *ptr, size_t size)
{
    void *p = realloc(ptr, size ? size : 1);
    if (!p) {
        sk_out_of_memory(size);
    }
    return p;
}

void *sk_xreallocarray(void *ptr, size_t count, size_t size)
{
    size_t bytes;
    if (__builtin_mul_overflow(count, size, &bytes)) {
        sk_out_of_memory(SIZE_MAX);
    }
    return sk_xrealloc(ptr, bytes);
}

char *sk_xstrdup(const char *cstr)
{
    return sk_xstrndup(cstr, strlen(cstr));
}

char *sk_xstrndup(const char *ptr, size_t len)
{
    char *p = sk_xmalloc(len + 1);
    if (len) {
        memcpy(p, ptr, len);
    }
    p[len] = '\0';
    return p;
}
