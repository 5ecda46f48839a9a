/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SK_SYS_TABLE_H
#define SK_SYS_TABLE_H

#include <stddef.h>

#include "base/err.h"
#include "base/mem.h"

/*
 * uthash with a keyed hash: SipHash-2-4 under a key made once a process, so that whoever chooses
 * the keys (peers, users) cannot choose where they fall; memory as in base/table.h. Include this in
 * place of <uthash.h>.
 */
unsigned sys_table_hash(const void *key, size_t len);

#define HASH_FUNCTION(keyptr, keylen, hashv)          \
    do {                                              \
        (hashv) = sys_table_hash((keyptr), (keylen)); \
    } while (0)
#define uthash_malloc(size) sk_xmalloc(size)
#define uthash_fatal(msg) sk_assert_fail((msg), __FILE__, __LINE__, __func__)
#include <uthash.h>

#endif
