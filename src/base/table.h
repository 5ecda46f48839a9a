/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SK_BASE_TABLE_H
#define SK_BASE_TABLE_H

#include "base/err.h"
#include "base/mem.h"

/*
 * uthash, with our memory and our end: by default it calls exit() when there is no memory left,
 * which a library never does; and its default hash falls through cases, which clang warns of.
 * Include this, never <uthash.h>. Iteration is in order of insertion.
 */
#define uthash_malloc(size) sk_xmalloc(size)
#define uthash_fatal(msg) sk_assert_fail((msg), __FILE__, __LINE__, __func__)
#define HASH_FUNCTION(key, len, hash) HASH_FNV(key, len, hash)
#include <uthash.h>

#endif
