/* SPDX-License-Identifier: Apache-2.0 */
#include "net/identity.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "sys/table.h"

/* One of either: a serial (until_ms unused) or a node's name. Keys from other machines are at most
 * NET_NAME_SIZE long; longer ones can match nothing and are dropped. */
struct entry {
    UT_hash_handle hh;
    int64_t until_ms;
    char key[NET_NAME_SIZE];
};

struct net_revoked {
    struct entry *serials;
    struct entry *nodes;
};

struct net_revoked *net_revoked_new(void)
{
    return sk_xcalloc(1, sizeof(struct net_revoked));
}

static void clear(struct entry **head)
{
    struct entry *entry, *next;

    HASH_ITER (hh, *head, entry, next) {
        HASH_DEL(*head, entry);
        free(entry);
    }
}

void net_revoked_clear(struct net_revoked *revoked)
{
    clear(&revoked->serials);
    clear(&revoked->nodes);
}

void net_revoked_free(struct net_revoked *revoked)
{
    if (revoked) {
        net_revoked_clear(revoked);
        free(revoked);
    }
}

static void add(struct entry **head, struct sk_str key, int64_t until_ms)
{
    struct entry *entry = NULL;

    if (key.len == 0 || key.len >= NET_NAME_SIZE) {
        return;
    }
    HASH_FIND(hh, *head, key.ptr, key.len, entry);
    if (!entry) {
        entry = sk_xcalloc(1, sizeof(*entry));
        memcpy(entry->key, key.ptr, key.len);
        HASH_ADD_KEYPTR(hh, *head, entry->key, key.len, entry);
    }
    if (entry->until_ms < until_ms) {
        entry->until_ms = until_ms;
    }
}

void net_revoked_add_serial(struct net_revoked *revoked, struct sk_str serial)
{
    char lower[NET_NAME_SIZE];

    if (serial.len >= sizeof(lower)) {
        return;
    }
    for (size_t i = 0; i < serial.len; i++) {
        char c = serial.ptr[i];
        lower[i] = c >= 'A' && c <= 'F' ? (char)(c - 'A' + 'a') : c;
    }
    add(&revoked->serials, (struct sk_str){lower, serial.len}, 0);
}

void net_revoked_add_node(struct net_revoked *revoked, struct sk_str node, int64_t until_wall_ms)
{
    add(&revoked->nodes, node, until_wall_ms);
}

bool net_revoked_has(const struct net_revoked *revoked, const struct net_cert_info *info)
{
    struct entry *entry = NULL;

    HASH_FIND_STR(revoked->serials, info->serial, entry);
    if (entry) {
        return true;
    }
    HASH_FIND_STR(revoked->nodes, info->node, entry);
    return entry && info->issued_ms <= entry->until_ms;
}

size_t net_revoked_count(const struct net_revoked *revoked)
{
    return HASH_COUNT(revoked->serials) + HASH_COUNT(revoked->nodes);
}
