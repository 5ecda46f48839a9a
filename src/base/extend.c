/* SPDX-License-Identifier: Apache-2.0 */
#include "base/json.h"
#include "base/mem.h"
#include "base/version.h"

/* Apart from version.c, which the test build of the next version replaces. */
void sk_version_extend(struct sk_buf *map)
{
    struct sk_str mark = sk_version_mark(sk_buf_str(map));
    size_t end = map->len;

    if (mark.len == 0) {
        return;
    }
    while (end > 0 && map->ptr[end - 1] != '}') {
        end--;
    }
    SK_ASSERT(end > 0);
    struct sk_buf out = SK_BUF_INIT;
    sk_buf_add(&out, map->ptr, end - 1);
    sk_buf_addstr(&out, mark);
    sk_buf_add(&out, map->ptr + end - 1, map->len - end + 1);
    sk_buf_clear(map);
    sk_buf_addstr(map, sk_buf_str(&out));
    sk_buf_release(&out);
}
