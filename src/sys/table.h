/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SK_SYS_TABLE_H
#define SK_SYS_TABLE_H

#include <stddef.h>

/*
 * uthash with a keyed hash: SipHash-2-4 under a key made once a process, so that whoever chooses
 * the keys (peers, users) cannot choose where they fall. Include this in place of <uthash.h>.
 */
unsigned sys_table_hash(const void *key, size_t len);

#define HASH_FUNCTION(keyptr, keylen, hashv)          \
    do {                                              \
        (hashv) = sys_table_hash((keyptr), (keylen)); \
    } while (0)
#include <uthash.h>

#endif
