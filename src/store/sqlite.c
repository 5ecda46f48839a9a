/* SPDX-License-Identifier: Apache-2.0 */
#include <limits.h>
#include <linux/futex.h>
#include <stdatomic.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/mem.h"
#include "store/sqlite_db.h"
#include "sys/clock.h"

/*
 * The SQLite form. Each handle is one connection; the write-ahead log lets watchers and readers go
 * on while one writes. A txn is one immediate transaction: state row, compares, records and the log
 * of changes move together, and COMMIT returns after the log's fsync.
 */

/* A change may be asked for this many revisions later; then a watch is told to list again. */
#define HISTORY_MAX 10000
#define HISTORY_STEP 1000
/* One answer of a watch; a whole revision always fits. */
#define CHANGES_MAX 1000
#define CHANGES_BYTES_MAX (4u * 1024 * 1024)
/* How late a watch sees what another process wrote. */
#define POLL_MS 20
#define MAGIC 0x73716c74u

struct sqlite_store {
    struct store base;
    uint32_t magic;
    struct db db;
};

/* Counts the commits of this process; watchers sleep on it as on a futex. */
static _Atomic uint32_t commits;

static struct db *db_of(struct store *store)
{
    struct sqlite_store *s = (struct sqlite_store *)store;
    SK_ASSERT(s->magic == MAGIC);
    return &s->db;
}

static void announce_commit(void)
{
    (void)atomic_fetch_add(&commits, 1);
    (void)syscall(SYS_futex, &commits, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0);
}

static void wait_for_commit(uint32_t seen, int64_t timeout_ms)
{
    struct timespec ts = {timeout_ms / 1000, (timeout_ms % 1000) * 1000000};
    /* woken, timed out, interrupted or already changed: the caller looks in every case */
    (void)syscall(SYS_futex, &commits, FUTEX_WAIT_PRIVATE, seen, &ts, NULL, 0);
}

static void sqlite_close(struct store *store)
{
    db_close(db_of(store));
    free(store);
}

static int sqlite_revision(struct store *store, struct store_revision *ret, struct sk_err *err)
{
    struct db_state state;
    int rc = db_read_state(db_of(store), &state, err);

    if (rc == 0) {
        *ret = state.revision;
    }
    return rc;
}

/* --- reading --------------------------------------------------------------------------------- */

static void copy_record(sqlite3_stmt *stmt, struct sk_arena *arena, struct store_record *ret)
{
    ret->key = sk_arena_str(arena, db_column_str(stmt, 0));
    ret->value = sk_arena_str(arena, db_column_str(stmt, 1));
    ret->create_rev = sqlite3_column_int64(stmt, 2);
    ret->mod_rev = sqlite3_column_int64(stmt, 3);
}

static int sqlite_get(struct store *store, struct sk_str key, struct sk_arena *arena,
                      struct store_record *ret, struct sk_err *err)
{
    struct db *db = db_of(store);
    sqlite3_stmt *stmt;
    int rc = db_stmt(db, DB_GET, &stmt, err);

    if (rc < 0) {
        return rc;
    }
    db_bind_str(stmt, 1, key);
    rc = sqlite3_step(stmt);
    if (rc == SQLITE_ROW) {
        copy_record(stmt, arena, ret);
        rc = 0;
    } else if (rc == SQLITE_DONE) {
        rc = sk_err_set(err, SK_ERR_NOT_FOUND, "no record '%.*s'", SK_PRI(key));
    } else {
        rc = db_fail(db, "read", err);
    }
    (void)sqlite3_reset(stmt);
    return rc;
}

static int list_records(struct db *db, struct sk_str prefix, size_t limit, struct store_list *list,
                        struct sk_err *err)
{
    char end[STORE_KEY_BYTES_MAX + 1];
    struct store_record *records = NULL;
    size_t count = 0;
    size_t cap = 0;
    sqlite3_stmt *stmt;
    int rc = db_stmt(db, DB_LIST, &stmt, err);

    if (rc < 0) {
        return rc;
    }
    db_bind_str(stmt, 1, prefix);
    db_bind_str(stmt, 2, db_prefix_end(prefix, end));
    (void)sqlite3_bind_int64(stmt, 3, limit == 0 || limit > INT64_MAX ? -1 : (int64_t)limit);
    while ((rc = sqlite3_step(stmt)) == SQLITE_ROW) {
        SK_GROW(records, count, cap);
        copy_record(stmt, list->arena, &records[count++]);
    }
    rc = rc == SQLITE_DONE ? 0 : db_fail(db, "read", err);
    (void)sqlite3_reset(stmt);
    list->records = SK_ARENA_ARRAY(list->arena, struct store_record, count);
    list->count = count;
    if (count) {
        memcpy(list->records, records, count * sizeof(*records));
    }
    free(records);
    return rc;
}

static int sqlite_list(struct store *store, struct sk_str prefix, size_t limit,
                       struct store_list *ret, struct sk_err *err)
{
    struct db *db = db_of(store);
    struct store_list list = {0};
    struct db_state state;
    int rc = db_begin_read(db, err);

    if (rc < 0) {
        return rc;
    }
    list.arena = sk_arena_new();
    rc = db_read_state(db, &state, err);
    if (rc == 0) {
        rc = list_records(db, prefix, limit, &list, err);
    }
    db_rollback(db);
    if (rc < 0) {
        sk_arena_free(list.arena);
        return rc;
    }
    list.revision = state.revision;
    *ret = list;
    return 0;
}

/* --- writing --------------------------------------------------------------------------------- */

/* 0 for a key that does not exist. */
static int read_revisions(struct db *db, struct sk_str key, int64_t *ret_create, int64_t *ret_mod,
                          struct sk_err *err)
{
    sqlite3_stmt *stmt;
    int rc = db_stmt(db, DB_GET, &stmt, err);

    if (rc < 0) {
        return rc;
    }
    db_bind_str(stmt, 1, key);
    rc = sqlite3_step(stmt);
    if (rc != SQLITE_ROW && rc != SQLITE_DONE) {
        return db_fail(db, "read", err);
    }
    *ret_create = rc == SQLITE_ROW ? sqlite3_column_int64(stmt, 2) : 0;
    *ret_mod = rc == SQLITE_ROW ? sqlite3_column_int64(stmt, 3) : 0;
    (void)sqlite3_reset(stmt);
    return 0;
}

static int check_compares(struct db *db, const struct store_txn *txn, const struct db_state *state,
                          struct sk_err *err)
{
    if (txn->expect_id && strcmp(txn->expect_id, state->revision.id) != 0) {
        return sk_err_set(err, SK_ERR_CONFLICT,
                          "the store is another one: it was restored or moved");
    }
    if (txn->expect_number >= 0 && txn->expect_number != state->revision.number) {
        return sk_err_set(err, SK_ERR_CONFLICT, "the state moved from revision %lld to %lld",
                          (long long)txn->expect_number, (long long)state->revision.number);
    }
    for (size_t i = 0; i < txn->ncompares; i++) {
        int64_t create_rev;
        int64_t mod_rev;
        int rc = read_revisions(db, txn->compares[i].key, &create_rev, &mod_rev, err);
        if (rc < 0) {
            return rc;
        }
        if (mod_rev != txn->compares[i].mod_rev) {
            return sk_err_set(err, SK_ERR_CONFLICT, "'%.*s' is at revision %lld, not %lld",
                              SK_PRI(txn->compares[i].key), (long long)mod_rev,
                              (long long)txn->compares[i].mod_rev);
        }
    }
    return 0;
}

static int add_change(struct db *db, int64_t rev, size_t seq, const struct store_op *op,
                      int64_t create_rev, struct sk_err *err)
{
    sqlite3_stmt *stmt;
    int rc = db_stmt(db, DB_ADD_CHANGE, &stmt, err);

    if (rc < 0) {
        return rc;
    }
    (void)sqlite3_bind_int64(stmt, 1, rev);
    (void)sqlite3_bind_int64(stmt, 2, (int64_t)seq);
    (void)sqlite3_bind_int64(stmt, 3, op->kind == STORE_DELETE);
    db_bind_str(stmt, 4, op->key);
    db_bind_str(stmt, 5, op->kind == STORE_PUT ? op->value : SK_STR_NULL);
    (void)sqlite3_bind_int64(stmt, 6, create_rev);
    return db_run(db, stmt, "write", err);
}

static int write_record(struct db *db, int64_t rev, const struct store_op *op, int64_t create_rev,
                        struct sk_err *err)
{
    sqlite3_stmt *stmt;
    int rc = db_stmt(db, op->kind == STORE_PUT ? DB_PUT : DB_DELETE, &stmt, err);

    if (rc < 0) {
        return rc;
    }
    db_bind_str(stmt, 1, op->key);
    if (op->kind == STORE_PUT) {
        db_bind_str(stmt, 2, op->value);
        (void)sqlite3_bind_int64(stmt, 3, create_rev);
        (void)sqlite3_bind_int64(stmt, 4, rev);
    }
    return db_run(db, stmt, "write", err);
}

/* *wrote: false when there was nothing to delete. */
static int apply_op(struct db *db, int64_t rev, size_t seq, const struct store_op *op, bool *wrote,
                    struct sk_err *err)
{
    int64_t create_rev;
    int64_t mod_rev;
    int rc = read_revisions(db, op->key, &create_rev, &mod_rev, err);

    if (rc < 0 || (op->kind == STORE_DELETE && mod_rev == 0)) {
        return rc;
    }
    if (mod_rev == 0) {
        create_rev = rev;
    }
    rc = write_record(db, rev, op, create_rev, err);
    if (rc == 0) {
        rc = add_change(db, rev, seq, op, create_rev, err);
    }
    if (rc == 0) {
        *wrote = true;
    }
    return rc;
}

static int drop_changes(struct db *db, struct db_state *state, int64_t first_kept,
                        struct sk_err *err)
{
    sqlite3_stmt *stmt;
    int rc = db_stmt(db, DB_DROP_CHANGES, &stmt, err);

    if (rc < 0) {
        return rc;
    }
    (void)sqlite3_bind_int64(stmt, 1, first_kept);
    rc = db_run(db, stmt, "write", err);
    if (rc == 0) {
        state->first_kept = first_kept;
    }
    return rc;
}

static int apply_txn(struct db *db, const struct store_txn *txn, struct db_state *state,
                     bool *ret_wrote, struct sk_err *err)
{
    int64_t rev = state->revision.number + 1;
    bool wrote = false;
    int rc = check_compares(db, txn, state, err);

    for (size_t i = 0; rc == 0 && i < txn->nops; i++) {
        rc = apply_op(db, rev, i, &txn->ops[i], &wrote, err);
    }
    if (rc < 0) {
        return rc;
    }
    *ret_wrote = wrote;
    if (!wrote) {
        return 0;
    }
    state->revision.number = rev;
    if (rev % HISTORY_STEP == 0 && rev - HISTORY_MAX > state->first_kept) {
        rc = drop_changes(db, state, rev - HISTORY_MAX, err);
    }
    return rc < 0 ? rc : db_write_state(db, state, err);
}

static int sqlite_txn(struct store *store, const struct store_txn *txn,
                      struct store_revision *ret_rev, struct sk_err *err)
{
    struct db *db = db_of(store);
    struct db_state state;
    bool wrote = false;
    int rc = db_begin_write(db, err);

    if (rc < 0) {
        return rc;
    }
    rc = db_read_state(db, &state, err);
    if (rc == 0) {
        rc = apply_txn(db, txn, &state, &wrote, err);
    }
    if (rc < 0 || !wrote) {
        db_rollback(db);
    } else {
        rc = db_commit(db, err);
    }
    if (rc < 0) {
        return rc;
    }
    if (wrote) {
        announce_commit();
    }
    if (ret_rev) {
        *ret_rev = state.revision;
    }
    return 0;
}

/* --- watching -------------------------------------------------------------------------------- */

static void add_to_changes(struct store_changes *ret, size_t *cap, sqlite3_stmt *stmt, int64_t rev)
{
    struct store_change *change;

    SK_GROW(ret->changes, ret->count, *cap);
    change = &ret->changes[ret->count++];
    *change = (struct store_change){
        .kind = sqlite3_column_int(stmt, 1) ? STORE_DELETED : STORE_CHANGED,
        .record = {.key = sk_arena_str(ret->arena, db_column_str(stmt, 2)),
                   .value = sk_arena_str(ret->arena, db_column_str(stmt, 3)),
                   .create_rev = sqlite3_column_int64(stmt, 4),
                   .mod_rev = rev},
    };
}

/* Changes after `*from`, up to whole revisions within the bounds of one answer; moves *from up to
 * what was looked at. ret->changes is on the heap. */
static int read_changes(struct db *db, struct sk_str prefix, int64_t newest, int64_t *from,
                        struct store_changes *ret, struct sk_err *err)
{
    size_t cap = 0;
    size_t bytes = 0;
    int64_t seen = *from;
    sqlite3_stmt *stmt;
    int rc = db_stmt(db, DB_CHANGES, &stmt, err);

    if (rc < 0) {
        return rc;
    }
    (void)sqlite3_bind_int64(stmt, 1, *from);
    while ((rc = sqlite3_step(stmt)) == SQLITE_ROW) {
        int64_t rev = sqlite3_column_int64(stmt, 0);
        struct sk_str key = db_column_str(stmt, 2);
        if (rev != seen && (ret->count >= CHANGES_MAX || bytes >= CHANGES_BYTES_MAX)) {
            newest = seen; /* the rest comes with the next call */
            break;
        }
        seen = rev;
        if (sk_str_starts(key, prefix)) {
            bytes += key.len + (size_t)sqlite3_column_bytes(stmt, 3);
            add_to_changes(ret, &cap, stmt, rev);
        }
    }
    rc = rc == SQLITE_DONE || rc == SQLITE_ROW ? 0 : db_fail(db, "read", err);
    (void)sqlite3_reset(stmt);
    if (rc == 0) {
        *from = newest;
    }
    return rc;
}

/* One look: changes, or LOST, or nothing. */
static int look(struct db *db, struct sk_str prefix, const char *id, int64_t *from,
                struct store_changes *ret, struct sk_err *err)
{
    struct db_state state;
    int rc = db_begin_read(db, err);

    if (rc < 0) {
        return rc;
    }
    rc = db_read_state(db, &state, err);
    if (rc == 0) {
        ret->revision = state.revision;
        if (strcmp(id, state.revision.id) != 0 || *from > state.revision.number ||
            *from + 1 < state.first_kept) {
            ret->changes = sk_xcalloc(1, sizeof(*ret->changes));
            ret->changes[0].kind = STORE_LOST;
            ret->count = 1;
        } else if (*from < state.revision.number) {
            rc = read_changes(db, prefix, state.revision.number, from, ret, err);
            ret->revision.number = *from;
        }
    }
    db_rollback(db);
    return rc;
}

/* Looks until something is there or the time is over. */
static int look_until(struct db *db, struct sk_str prefix, const struct store_revision *after,
                      int64_t timeout_ms, struct store_changes *ret, struct sk_err *err)
{
    int64_t end = sys_now_ms() + timeout_ms;
    int64_t from = after->number;

    for (;;) {
        uint32_t seen = atomic_load(&commits);
        int rc = look(db, prefix, after->id, &from, ret, err);
        int64_t left = end - sys_now_ms();
        if (rc < 0 || ret->count > 0 || left <= 0) {
            return rc;
        }
        wait_for_commit(seen, left < POLL_MS ? left : POLL_MS);
    }
}

static int sqlite_watch(struct store *store, struct sk_str prefix,
                        const struct store_revision *after, int64_t timeout_ms,
                        struct store_changes *ret, struct sk_err *err)
{
    struct store_changes changes = {.arena = sk_arena_new()};
    struct store_change *gathered;
    int rc = look_until(db_of(store), prefix, after, timeout_ms, &changes, err);

    gathered = changes.changes;
    if (rc == 0) {
        changes.changes = SK_ARENA_ARRAY(changes.arena, struct store_change, changes.count);
        if (changes.count) {
            memcpy(changes.changes, gathered, changes.count * sizeof(*gathered));
        }
        *ret = changes;
    } else {
        sk_arena_free(changes.arena);
    }
    free(gathered);
    return rc;
}

static int sqlite_compact(struct store *store, int64_t number, struct sk_err *err)
{
    struct db *db = db_of(store);
    struct db_state state;
    int rc = db_begin_write(db, err);

    if (rc < 0) {
        return rc;
    }
    rc = db_read_state(db, &state, err);
    if (rc == 0 && number > state.revision.number) {
        rc = sk_err_set(err, SK_ERR_INPUT, "cannot compact to revision %lld: the newest is %lld",
                        (long long)number, (long long)state.revision.number);
    }
    if (rc == 0 && number > state.first_kept) {
        rc = drop_changes(db, &state, number, err);
        if (rc == 0) {
            rc = db_write_state(db, &state, err);
        }
    }
    if (rc < 0) {
        db_rollback(db);
        return rc;
    }
    return db_commit(db, err);
}

/* --- the rest -------------------------------------------------------------------------------- */

static int sqlite_snapshot(struct store *store, const char *path, struct sk_err *err)
{
    return db_snapshot(db_of(store), path, err);
}

static int sqlite_restore(struct store *store, const char *path, struct sk_err *err)
{
    int rc = db_restore(db_of(store), path, err);

    if (rc == 0) {
        announce_commit();
    }
    return rc;
}

static const struct store_form sqlite_form = {
    .close = sqlite_close,
    .revision = sqlite_revision,
    .get = sqlite_get,
    .list = sqlite_list,
    .txn = sqlite_txn,
    .watch = sqlite_watch,
    .compact = sqlite_compact,
    .snapshot = sqlite_snapshot,
    .restore = sqlite_restore,
};

int store_open_sqlite(const char *dir, struct store **ret_store, struct sk_err *err)
{
    struct sk_buf path = SK_BUF_INIT;
    struct sqlite_store *store = sk_xcalloc(1, sizeof(*store));
    int rc;

    store->base.form = &sqlite_form;
    store->magic = MAGIC;
    sk_buf_printf(&path, "%s/state.db", dir);
    rc = db_open(&store->db, path.ptr, err);
    sk_buf_release(&path);
    if (rc < 0) {
        free(store);
        return rc;
    }
    *ret_store = &store->base;
    return 0;
}
