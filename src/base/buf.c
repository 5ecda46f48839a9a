/* SPDX-License-Identifier: Apache-2.0 */
#include "base/buf.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "base/err.h"
#include "base/mem.h"

void sk_buf_release(struct sk_buf *buf)
{
    free(buf->ptr);
    *buf = SK_BUF_INIT;
}

void sk_buf_clear(struct sk_buf *buf)
{
    buf->len = 0;
    if (buf->ptr) {
        buf->ptr[0] = '\0';
    }
}

void sk_buf_reserve(struct sk_buf *buf, size_t extra)
{
    size_t need = buf->len + extra + 1;
    size_t cap = buf->cap ? buf->cap : 64;

    SK_ASSERT(extra < SIZE_MAX / 4);
    if (need <= buf->cap) {
        return;
    }
    while (cap < need) {
        cap *= 2;
    }
    buf->ptr = sk_xrealloc(buf->ptr, cap);
    buf->cap = cap;
}

void sk_buf_add(struct sk_buf *buf, const void *bytes, size_t len)
{
    sk_buf_reserve(buf, len);
    if (len) {
        memcpy(buf->ptr + buf->len, bytes, len);
    }
    buf->len += len;
    buf->ptr[buf->len] = '\0';
}

void sk_buf_adds(struct sk_buf *buf, const char *cstr)
{
    sk_buf_add(buf, cstr, strlen(cstr));
}

void sk_buf_addstr(struct sk_buf *buf, struct sk_str s)
{
    sk_buf_add(buf, s.ptr, s.len);
}

void sk_buf_addc(struct sk_buf *buf, char c)
{
    if (buf->len + 1 >= buf->cap) {
        sk_buf_reserve(buf, 1);
    }
    buf->ptr[buf->len++] = c;
    buf->ptr[buf->len] = '\0';
}

void sk_buf_printf(struct sk_buf *buf, const char *fmt, ...)
{
    va_list ap;
    int len;

    va_start(ap, fmt);
    len = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    SK_ASSERT(len >= 0);
    sk_buf_reserve(buf, (size_t)len);
    va_start(ap, fmt);
    (void)vsnprintf(buf->ptr + buf->len, (size_t)len + 1, fmt, ap);
    va_end(ap);
    buf->len += (size_t)len;
}

void sk_buf_consume(struct sk_buf *buf, size_t len)
{
    SK_ASSERT(len <= buf->len);
    if (len == 0) {
        return;
    }
    memmove(buf->ptr, buf->ptr + len, buf->len - len + 1);
    buf->len -= len;
}

char *sk_buf_steal(struct sk_buf *buf, size_t *ret_len)
{
    char *p;

    sk_buf_reserve(buf, 0);
    buf->ptr[buf->len] = '\0';
    if (ret_len) {
        *ret_len = buf->len;
    }
    p = buf->ptr;
    *buf = SK_BUF_INIT;
    return p;
}
