/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SK_BASE_BUF_H
#define SK_BASE_BUF_H

#include <stddef.h>

#include "base/str.h"

/*
 * A growing byte buffer. `ptr` is never NULL once something was added and always ends in a NUL that
 * `len` does not count. Initialise with SK_BUF_INIT (or zeroes), end with sk_buf_release().
 */
struct sk_buf {
    char *ptr;
    size_t len;
    size_t cap;
};

#define SK_BUF_INIT ((struct sk_buf){NULL, 0, 0})

void sk_buf_release(struct sk_buf *buf); /* frees; the buffer may be used again */
void sk_buf_clear(struct sk_buf *buf);   /* keeps the memory */
void sk_buf_reserve(struct sk_buf *buf, size_t extra);
void sk_buf_add(struct sk_buf *buf, const void *bytes, size_t len);
void sk_buf_adds(struct sk_buf *buf, const char *cstr);
void sk_buf_addstr(struct sk_buf *buf, struct sk_str s);
void sk_buf_addc(struct sk_buf *buf, char c);
void sk_buf_printf(struct sk_buf *buf, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Removes `len` bytes from the front (len <= buf->len). */
void sk_buf_consume(struct sk_buf *buf, size_t len);
/* Hands the NUL-terminated bytes to the caller, who frees them; the buffer is empty afterwards. */
char *sk_buf_steal(struct sk_buf *buf, size_t *ret_len);
static inline struct sk_str sk_buf_str(const struct sk_buf *buf)
{
    return (struct sk_str){buf->ptr, buf->len};
}

#endif
