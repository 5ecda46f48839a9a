/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SK_STORE_ETCD_IMPL_H
#define SK_STORE_ETCD_IMPL_H

#include "store/etcd_feed.h"
#include "store/etcd_http.h"
#include "store/form.h"

/*
 * Inside the etcd form only. Keys in etcd, ROOT being "/skerry" by default:
 *
 *     ROOT/meta          which state this is: {"v":1,"id":"<32 hex digits>","base":N}
 *     ROOT/head          put last by each txn that writes: its mod_revision is the state's revision
 *     ROOT/writer/HANDLE what became of the handle's last txn
 *     ROOT/ID<key>       the records of the state with this id
 *
 * The store's number is etcd's revision - base; base is the revision that made ROOT/meta unless
 * the record says otherwise.
 */
#define ETCD_ROOT_MAX 64 /* of the bytes of a root */
#define ETCD_MARK_MAX 32

struct etcd_meta {
    char id[33];
    int64_t base;
    int64_t mod_rev; /* of ROOT/meta; 0: not read yet */
};

struct etcd_store {
    struct store base;
    uint32_t magic;
    struct etcd_http *http;
    int64_t deadline_ms;
    size_t txn_bytes_max;
    char root[ETCD_ROOT_MAX + 1];
    struct etcd_meta meta; /* as last read; every txn compares it */
    char writer[33];       /* this handle */
    int64_t writer_rev;    /* mod_revision of its mark; 0: there is none yet */
    uint64_t seq;          /* of its txns */
    bool pending;          /* a txn with the mark `seq` may still take place */
    /* the watch that is open */
    struct etcd_stream *stream;
    struct etcd_feed feed;
    size_t stream_at; /* its endpoint */
    size_t scanned;   /* of its input: no end of a line in there */
};

/* --- keys (etcd.c) --------------------------------------------------------------------------- */

void etcd_key(const struct etcd_store *s, const char *name, struct sk_buf *ret); /* ROOT/name */
void etcd_record_key(const struct etcd_store *s, struct sk_str key, struct sk_buf *ret);
void etcd_writer_key(const struct etcd_store *s, struct sk_buf *ret);
/* The end of the range of all keys that begin with `prefix`, which is never empty here. */
void etcd_range_end(struct sk_str prefix, struct sk_buf *ret);

/* --- asking (etcd_ask.c) --------------------------------------------------------------------- */

/* Posts what may be repeated to one member after another until one answers with 200. *ret_refusal
 * (may be NULL) is set when a member refused for good. */
int etcd_ask(struct etcd_store *s, const char *path, struct sk_str body, int64_t until_ms,
             struct sk_buf *answer, enum etcd_refusal *ret_refusal, struct sk_err *err);
/* Waits a moment when every member has just failed, so that nobody spins. */
void etcd_pause(struct etcd_store *s, unsigned *tries, int64_t until_ms);

struct etcd_view {
    struct store_revision revision;
    int64_t etcd_rev; /* at which this was true */
    int64_t head_rev, head_version;
    const struct etcd_range *ranges; /* of the reads asked for */
};
struct etcd_read {
    struct sk_str key;
    bool prefix; /* all records that begin with it */
    bool keys_only;
    size_t limit; /* of a prefix */
};
/* Reads records at one revision, linearizably; settles what is pending first. Keys of records in
 * the answer are the store's own. */
int etcd_view(struct etcd_store *s, const struct etcd_read *reads, size_t count, int64_t until_ms,
              struct sk_arena *arena, struct etcd_view *ret, struct sk_err *err);
/* A further page of a prefix at that revision, from `from` (a record's key) on. */
int etcd_page(struct etcd_store *s, struct sk_str prefix, struct sk_str from, size_t limit,
              int64_t etcd_rev, int64_t until_ms, struct sk_arena *arena, struct etcd_range *ret,
              enum etcd_refusal *ret_refusal, struct sk_err *err);
/* Checks that every key is of the range asked for, and takes the front of it off. */
int etcd_own_keys(const struct etcd_store *s, struct sk_str prefix, struct etcd_range *range,
                  struct sk_err *err);
int etcd_read_meta(const struct etcd_kv *kv, struct etcd_meta *ret, struct sk_err *err);
/* One etcd range request for the head as it was at a revision. SK_ERR_NOT_FOUND: it is gone. */
int etcd_head_at(struct etcd_store *s, int64_t etcd_rev, int64_t until_ms, int64_t *ret_version,
                 struct sk_err *err);

/* --- writing (etcd_commit.c) ----------------------------------------------------------------- */

enum etcd_op_kind { ETCD_PUT, ETCD_DELETE, ETCD_DELETE_RANGE };
struct etcd_op {
    enum etcd_op_kind kind;
    struct sk_str key;   /* etcd's */
    struct sk_str value; /* ETCD_DELETE_RANGE: the first key that stays */
};
struct etcd_compare {
    struct sk_str key;
    int64_t mod_rev;
    bool exists; /* instead: the key must exist */
};
struct etcd_commit {
    const struct etcd_compare *compares;
    size_t ncompares;
    const struct etcd_op *ops;
    size_t nops;
    bool head;   /* it is a revision of the state: puts the head */
    size_t puts; /* records put, for the head */
    bool make;   /* the state itself is made: ROOT/meta must not exist */
};
enum etcd_outcome { ETCD_DONE, ETCD_DIFFERS, ETCD_META_MOVED };
struct etcd_result {
    enum etcd_outcome outcome;
    int64_t etcd_rev; /* ETCD_DONE */
    size_t at;        /* ETCD_DIFFERS: which compare, and what the key's mod_rev is */
    int64_t mod_rev;
};
/* Takes place once or not at all, however often it is sent. ETCD_META_MOVED: nothing was written,
 * s->meta is as it is now. Errors as of store_txn(). */
int etcd_commit(struct etcd_store *s, const struct etcd_commit *commit, int64_t until_ms,
                struct etcd_result *ret, struct sk_err *err);
/* Makes the outcome of the handle's last txn final, if it is open. */
int etcd_settle(struct etcd_store *s, int64_t until_ms, struct sk_err *err);
/* The request that deletes these keys, if none has changed since. */
void etcd_write_removal(const struct etcd_range *range, struct sk_buf *ret_body);

/* --- the form's other files ------------------------------------------------------------------ */

int64_t etcd_until(const struct etcd_store *s); /* now + deadline_ms */
struct etcd_store *etcd_store_of(struct store *store);
int etcd_txn(struct store *store, const struct store_txn *txn, struct store_revision *ret_rev,
             struct sk_err *err);
int etcd_list(struct store *store, struct sk_str prefix, size_t limit, struct store_list *ret,
              struct sk_err *err);
int etcd_watch(struct store *store, struct sk_str prefix, const struct store_revision *after,
               int64_t timeout_ms, struct store_changes *ret, struct sk_err *err);
void etcd_watch_close(struct etcd_store *s);
int etcd_snapshot(struct store *store, const char *path, struct sk_err *err);
int etcd_restore(struct store *store, const char *path, struct sk_err *err);

#endif
