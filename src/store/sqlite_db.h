/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SK_STORE_SQLITE_DB_H
#define SK_STORE_SQLITE_DB_H

#include <sqlite3.h>

#include "store/form.h"

/*
 * One connection to a state file: opening with every check, statements, transactions, errors. Of no
 * use outside the SQLite form.
 *
 * The file holds three tables: `state` (one row: store id, revision, oldest change that is kept),
 * `records` (the map) and `changes` (what each revision did, for watches). application_id marks it
 * as ours, user_version is the version of the schema.
 */
enum db_stmt {
    DB_STATE,
    DB_SET_STATE,
    DB_GET,
    DB_LIST,
    DB_PUT,
    DB_DELETE,
    DB_ADD_CHANGE,
    DB_CHANGES,
    DB_DROP_CHANGES,
    DB_STMT__COUNT
};

struct db {
    sqlite3 *conn;
    char *path;
    sqlite3_stmt *stmts[DB_STMT__COUNT];
};

struct db_state {
    struct store_revision revision;
    int64_t first_kept; /* the oldest revision whose changes are still there */
};

/* Creates the file (0600) and its tables if they are not there, else checks that it is ours and
 * whole. */
int db_open(struct db *db, const char *path, struct sk_err *err);
/* An existing file, never written. */
int db_open_to_read(struct db *db, const char *path, struct sk_err *err);
/* One in memory, with this state and no records: what a snapshot is made from. */
int db_open_memory(struct db *db, const struct db_state *state, struct sk_err *err);
void db_close(struct db *db);

/* The error of the last call on the connection, as ours: "<doing> '<path>': <why>". */
int db_fail(struct db *db, const char *doing, struct sk_err *err);
int db_exec(struct db *db, const char *sql, const char *doing, struct sk_err *err);
/* A reset statement without bindings. */
int db_stmt(struct db *db, enum db_stmt which, sqlite3_stmt **ret, struct sk_err *err);
void db_bind_str(sqlite3_stmt *stmt, int at, struct sk_str s); /* not copied */
struct sk_str db_column_str(sqlite3_stmt *stmt, int at);       /* valid until the next step */
/* Runs a statement that returns no rows. */
int db_run(struct db *db, sqlite3_stmt *stmt, const char *doing, struct sk_err *err);

int db_begin_read(struct db *db, struct sk_err *err);
int db_begin_write(struct db *db, struct sk_err *err);
int db_commit(struct db *db, struct sk_err *err);
void db_rollback(struct db *db); /* also ends a read */

int db_read_state(struct db *db, struct db_state *ret, struct sk_err *err);
int db_write_state(struct db *db, const struct db_state *state, struct sk_err *err);
void db_new_id(char ret_id[33]);

/* The keys with a prefix are those from it up to this, exclusive. */
struct sk_str db_prefix_end(struct sk_str prefix, char end[STORE_KEY_BYTES_MAX + 1]);

/* All records by key, each checked by the store's bounds; valid during the call. */
typedef int db_record_fn(void *ctx, const struct store_record *record, struct sk_err *err);
int db_each_record(struct db *db, db_record_fn *fn, void *ctx, struct sk_err *err);
int db_put_record(struct db *db, const struct store_record *record, struct sk_err *err);

/* sqlite_copy.c. A snapshot appears under its name whole and durable, or not at all; a restore
 * happens whole or not at all, and gives the state a new identity and no history. */
int db_snapshot(struct db *db, const char *path, struct sk_err *err);
int db_restore(struct db *db, const char *path, struct sk_err *err);

#endif
