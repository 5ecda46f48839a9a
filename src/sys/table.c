/* SPDX-License-Identifier: Apache-2.0 */
#include "sys/table.h"

#include <pthread.h>
#include <sodium.h>
#include <string.h>

#include "sys/clock.h"

static unsigned char table_key[crypto_shorthash_KEYBYTES];
static pthread_once_t table_key_once = PTHREAD_ONCE_INIT;

static void make_key(void)
{
    sys_random(table_key, sizeof(table_key));
}

unsigned sys_table_hash(const void *key, size_t len)
{
    unsigned char out[crypto_shorthash_BYTES];
    unsigned hash;

    (void)pthread_once(&table_key_once, make_key); /* fails only for a bad argument */
    (void)crypto_shorthash(out, key, len, table_key);
    memcpy(&hash, out, sizeof(hash));
    return hash;
}
