/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SK_STORE_STORE_H
#define SK_STORE_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/err.h"
#include "base/str.h"

/*
 * The state: a small ordered map of keys to JSON records, with one revision counter.
 *
 * Guarantees: a txn is atomic, durable before it returns 0, and linearizable with every other call
 * on any handle of the same store. Revisions grow with each txn that wrote: by one in SQLite, in
 * etcd by more where something else was written between (store/etcd.h). A watch delivers
 * every change after a revision once, in revision order, or says that it lost some (then list
 * again). Reads see a whole revision.
 *
 * SK_ERR_CONFLICT, SK_ERR_INPUT and SK_ERR_LIMIT from a txn mean that nothing was written. After
 * SK_ERR_IO or SK_ERR_TIMEOUT the handle's next read tells: the txn took place as a whole or not at
 * all. SK_ERR_UNAVAILABLE means that nothing was written either.
 * A key stands at most once in a txn. Deleting what does not exist writes nothing. History is kept
 * for at least 10,000 revisions unless it is compacted.
 *
 * Calls block (disk, or network in the etcd form): they are made on a worker thread, one handle per
 * thread. The watch descriptor may be polled on the loop thread.
 */
#define STORE_KEY_BYTES_MAX 512
#define STORE_VALUE_BYTES_MAX (1024 * 1024)
#define STORE_TXN_OPS_MAX 512

struct store;

struct store_revision {
    char id[33];    /* hex of 128 random bits, made with the store, changed by a restore */
    int64_t number; /* 0 = empty store */
};

struct store_record {
    struct sk_str key;
    struct sk_str value;
    int64_t create_rev, mod_rev;
};

/* Compare: the key's mod_rev must equal `mod_rev`; 0 = the key must not exist. */
struct store_compare {
    struct sk_str key;
    int64_t mod_rev;
};

enum store_op_kind { STORE_PUT, STORE_DELETE };
struct store_op {
    enum store_op_kind kind;
    struct sk_str key;
    struct sk_str value; /* STORE_PUT */
};

struct store_txn {
    const char *expect_id; /* NULL, or the store id that must still hold: else SK_ERR_CONFLICT */
    int64_t expect_number; /* -1, or the whole store's revision that must still hold */
    const struct store_compare *compares;
    size_t ncompares;
    const struct store_op *ops;
    size_t nops;
};

struct store_list {
    struct sk_arena *arena;       /* owned */
    struct store_record *records; /* sorted by key */
    size_t count;
    struct store_revision revision; /* at which the list was true */
};

enum store_change_kind { STORE_CHANGED, STORE_DELETED, STORE_LOST /* list again */ };
struct store_change {
    enum store_change_kind kind;
    struct store_record record; /* STORE_DELETED: value empty, mod_rev = the deletion's revision */
};
struct store_changes {
    struct sk_arena *arena; /* owned */
    struct store_change *changes;
    size_t count;
    struct store_revision revision; /* everything up to it has been delivered */
};

/* Opens, or creates, the SQLite form. `dir` must exist; the file is dir/state.db, mode 0600. */
int store_open_sqlite(const char *dir, struct store **ret_store, struct sk_err *err);
void store_close(struct store *store); /* NULL allowed */

int store_revision(struct store *store, struct store_revision *ret, struct sk_err *err);
/* SK_ERR_NOT_FOUND if absent. The record lives in `arena`. */
int store_get(struct store *store, struct sk_str key, struct sk_arena *arena,
              struct store_record *ret, struct sk_err *err);
/* All keys that start with `prefix`. store_list_release(). limit 0 = all. */
int store_list(struct store *store, struct sk_str prefix, size_t limit, struct store_list *ret,
               struct sk_err *err);
void store_list_release(struct store_list *list);
/* SK_ERR_CONFLICT when a compare failed: nothing was written. *ret_rev is the revision after it. */
int store_txn(struct store *store, const struct store_txn *txn, struct store_revision *ret_rev,
              struct sk_err *err);
/* Changes under `prefix` after revision `after`, waiting at most timeout_ms (0: at once). An empty
 * result is not an error. */
int store_watch(struct store *store, struct sk_str prefix, const struct store_revision *after,
                int64_t timeout_ms, struct store_changes *ret, struct sk_err *err);
void store_changes_release(struct store_changes *changes);
/* Drops history before `number`: watches from before it get STORE_LOST. */
int store_compact(struct store *store, int64_t number, struct sk_err *err);
/* Writes / replaces the whole state. A restore makes a new store id; the number does not go back.
 * The file is an SQLite database, and each form restores what the other wrote. */
int store_snapshot(struct store *store, const char *path, struct sk_err *err);
int store_restore(struct store *store, const char *path, struct sk_err *err);

#endif
