/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SK_STORE_ETCD_JSON_H
#define SK_STORE_ETCD_JSON_H

#include "base/json.h"
#include "store/store.h"

/*
 * What the gateway is asked and what it answers, as JSON: bytes in base64, 64-bit numbers as texts.
 * Pure. Answers are hostile until they are read here: shapes, bounds, base64, the order of keys and
 * of revisions are checked. Errors are SK_ERR_PROTOCOL.
 */
#define ETCD_KEY_BYTES_MAX (STORE_KEY_BYTES_MAX + 256)
#define ETCD_ANSWER_BYTES_MAX (32 * 1024 * 1024)

struct etcd_kv {
    struct sk_str key, value; /* decoded, in the arena, NUL-terminated */
    int64_t create_rev, mod_rev, version;
};

struct etcd_range {
    struct etcd_kv *kvs; /* keys ascend */
    size_t count;
    bool more;
};

struct etcd_answer {
    int64_t revision; /* of the header */
    bool succeeded;
    struct etcd_range *ranges; /* one for each response; empty for what is no range */
    size_t nranges;
};

/* An answer of /v3/kv/txn with exactly `expected` responses. */
int etcd_read_txn(struct sk_arena *arena, struct sk_str bytes, size_t expected,
                  struct etcd_answer *ret, struct sk_err *err);
/* An answer of /v3/kv/range: one range. */
int etcd_read_range(struct sk_arena *arena, struct sk_str bytes, struct etcd_answer *ret,
                    struct sk_err *err);

/* Why a request was refused. */
enum etcd_refusal {
    ETCD_AGAIN,     /* another member, or another moment; the request may have had its effect */
    ETCD_TOO_LARGE, /* never with these limits; no effect */
    ETCD_COMPACTED,
    ETCD_FUTURE,
    ETCD_FULL,    /* the members' space is used up; no effect */
    ETCD_DENIED,  /* no effect */
    ETCD_INVALID, /* no effect */
    ETCD_NOT_NOW, /* not in the state that the members are in; no effect */
    ETCD_DAMAGED
};
/* The body of an answer whose status is not 200, or an "error" of a stream. Puts a message in err.
 */
enum etcd_refusal etcd_read_refusal(struct sk_str bytes, long status, struct sk_err *err);

/* One line of a watch. */
struct etcd_event {
    bool deleted;
    struct etcd_kv kv; /* deleted: value empty, create_rev and version 0 */
};
struct etcd_line {
    bool created, canceled;
    int64_t compact_revision; /* > 0: what was asked for is gone */
    struct etcd_event *events;
    size_t count;
};
/* SK_ERR_UNAVAILABLE when the line is an error of the member. */
int etcd_read_line(struct sk_arena *arena, struct sk_str bytes, struct etcd_line *ret,
                   struct sk_err *err);

/* A member of a map in an answer. */
int etcd_int_of(const struct sk_node *map, const char *name, int64_t *ret, struct sk_err *err);
int etcd_bytes_of(struct sk_arena *arena, const struct sk_node *map, const char *name,
                  size_t bytes_max, struct sk_str *ret, struct sk_err *err);

/* Writing. */
void etcd_put_bytes(struct sk_jw *w, const char *name, struct sk_str bytes);
void etcd_put_int(struct sk_jw *w, const char *name, int64_t n);

#endif
