/* SPDX-License-Identifier: Apache-2.0 */
/* Snapshots of the whole state into a file, and back. */
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/mem.h"
#include "store/sqlite_db.h"

static int sync_path(const char *path, int flags, struct sk_err *err)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | flags);
    int rc = 0;

    if (fd < 0) {
        return sk_err_errno(err, errno, "open '%s'", path);
    }
    if (fsync(fd) < 0) {
        rc = sk_err_errno(err, errno, "sync '%s'", path);
    }
    (void)close(fd); /* only read through */
    return rc;
}

/* rename, and the folder's fsync without which it may not survive a power cut */
static int move_into_place(const char *from, const char *path, struct sk_err *err)
{
    sk_autofree char *folder = sk_xstrdup(path);
    char *slash = strrchr(folder, '/');
    int rc = sync_path(from, 0, err);

    if (rc < 0) {
        return rc;
    }
    if (rename(from, path) < 0) {
        return sk_err_errno(err, errno, "rename '%s' to '%s'", from, path);
    }
    if (!slash) {
        return sync_path(".", O_DIRECTORY, err);
    }
    slash[slash == folder ? 1 : 0] = '\0';
    return sync_path(folder, O_DIRECTORY, err);
}

static int write_snapshot(struct db *db, const char *path, struct sk_err *err)
{
    sqlite3_stmt *stmt = NULL;
    int rc = 0;

    if (sqlite3_prepare_v2(db->conn, "VACUUM INTO ?1", -1, &stmt, NULL) != SQLITE_OK) {
        return db_fail(db, "snapshot", err);
    }
    db_bind_str(stmt, 1, sk_str(path));
    if (sqlite3_step(stmt) != SQLITE_DONE) {
        rc = db_fail(db, "snapshot", err);
    }
    (void)sqlite3_finalize(stmt);
    return rc;
}

int db_snapshot(struct db *db, const char *path, struct sk_err *err)
{
    struct sk_buf temp = SK_BUF_INIT;
    int rc;
    int fd;

    sk_buf_printf(&temp, "%s.tmp.XXXXXX", path);
    fd = mkostemp(temp.ptr, O_CLOEXEC); /* 0600, and empty: what VACUUM INTO asks for */
    if (fd < 0) {
        rc = sk_err_errno(err, errno, "create '%s'", temp.ptr);
        sk_buf_release(&temp);
        return rc;
    }
    (void)close(fd); /* empty: nothing to lose */
    rc = write_snapshot(db, temp.ptr, err);
    if (rc == 0) {
        rc = move_into_place(temp.ptr, path, err);
    }
    if (rc < 0) {
        (void)unlink(temp.ptr); /* after a rename there is nothing left to remove */
    }
    sk_buf_release(&temp);
    return rc;
}

int db_put_record(struct db *db, const struct store_record *record, struct sk_err *err)
{
    sqlite3_stmt *put;
    int rc = db_stmt(db, DB_PUT, &put, err);

    if (rc < 0) {
        return rc;
    }
    db_bind_str(put, 1, record->key);
    db_bind_str(put, 2, record->value);
    (void)sqlite3_bind_int64(put, 3, record->create_rev);
    (void)sqlite3_bind_int64(put, 4, record->mod_rev);
    return db_run(db, put, "write", err);
}

int db_each_record(struct db *db, db_record_fn *fn, void *ctx, struct sk_err *err)
{
    sqlite3_stmt *list;
    char end[STORE_KEY_BYTES_MAX + 1];
    int rc = db_stmt(db, DB_LIST, &list, err);

    if (rc < 0) {
        return rc;
    }
    db_bind_str(list, 1, SK_STR(""));
    db_bind_str(list, 2, db_prefix_end(SK_STR_NULL, end));
    (void)sqlite3_bind_int64(list, 3, -1);
    while ((rc = sqlite3_step(list)) == SQLITE_ROW) {
        struct store_record record = {db_column_str(list, 0), db_column_str(list, 1),
                                      sqlite3_column_int64(list, 2), sqlite3_column_int64(list, 3)};
        rc = store_check_key(record.key, err);
        if (rc == 0) {
            rc = store_check_value(record.key, record.value, err);
        }
        if (rc == 0) {
            rc = fn(ctx, &record, err);
        }
        if (rc < 0) {
            return rc;
        }
    }
    return rc == SQLITE_DONE ? 0 : db_fail(db, "read", err);
}

static int copy_record(void *ctx, const struct store_record *record, struct sk_err *err)
{
    return db_put_record(ctx, record, err);
}

/* The records and the revision of the snapshot under a new identity; no history. */
static int replace_all(struct db *db, struct db *snapshot, struct sk_err *err)
{
    struct db_state state;
    int rc = db_read_state(snapshot, &state, err);

    if (rc == 0) {
        rc = db_exec(db, "DELETE FROM records; DELETE FROM changes;", "write", err);
    }
    if (rc == 0) {
        rc = db_each_record(snapshot, copy_record, db, err);
    }
    if (rc < 0) {
        return rc;
    }
    db_new_id(state.revision.id);
    state.first_kept = state.revision.number + 1;
    return db_write_state(db, &state, err);
}

int db_restore(struct db *db, const char *path, struct sk_err *err)
{
    struct db snapshot;
    int rc = db_open_to_read(&snapshot, path, err);

    if (rc < 0) {
        return rc;
    }
    rc = db_begin_write(db, err);
    if (rc == 0) {
        rc = replace_all(db, &snapshot, err);
        if (rc == 0) {
            rc = db_commit(db, err);
        } else {
            db_rollback(db);
        }
    }
    db_close(&snapshot);
    return rc;
}
