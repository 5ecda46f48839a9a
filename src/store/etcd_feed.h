/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SK_STORE_ETCD_FEED_H
#define SK_STORE_ETCD_FEED_H

#include "base/buf.h"
#include "store/etcd_json.h"

/*
 * What a watch on everything under the root delivers, made into whole revisions. Pure.
 *
 * Every writing txn ends in a put of the head. So a revision is complete when its head has come;
 * the head's version, which etcd counts up by one with each put, shows a revision that is missing,
 * and its value, the number of records that the txn put, one that is torn. Both, a change of the
 * state's identity, and history that is gone, make the feed `lost` for good: list again.
 *
 * Revisions here are etcd's own.
 */
struct etcd_feed {
    char head[80], meta[80]; /* keys */
    char data[112];          /* what the keys of records begin with */
    char id[33];             /* of the state */
    int64_t base;            /* etcd's revision - base = the store's number */
    int64_t delivered;       /* whole revisions up to this one have come */
    int64_t version;         /* of the head at that revision */
    bool created;            /* the member has said that the watch stands */
    bool lost;
    /* the revision that is on its way */
    struct sk_arena *arena;
    struct store_change *changes;
    size_t count, cap;
    size_t puts;
    int64_t revision; /* 0: none */
};

struct etcd_changes { /* what a call gathers */
    struct sk_arena *arena;
    struct store_change *changes; /* on the heap */
    size_t count, cap, bytes;
};

/* base, delivered and version are set by the caller. */
void etcd_feed_init(struct etcd_feed *feed, const char *root, const char *id);
/* A new stream goes on after `delivered`. */
void etcd_feed_restart(struct etcd_feed *feed);
void etcd_feed_release(struct etcd_feed *feed);
/* One line, without its newline. Whole revisions that it completes add those of their changes whose
 * key has the prefix. SK_ERR_PROTOCOL, SK_ERR_UNAVAILABLE: this stream is of no more use. */
int etcd_feed_line(struct etcd_feed *feed, struct sk_str line, struct sk_str prefix,
                   struct etcd_changes *out, struct sk_err *err);

#endif
