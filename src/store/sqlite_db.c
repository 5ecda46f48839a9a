/* SPDX-License-Identifier: Apache-2.0 */
#include "store/sqlite_db.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/hash.h"
#include "base/mem.h"
#include "sys/clock.h"

#define APPLICATION_ID 0x534b5259 /* "SKRY" */
#define SCHEMA_VERSION 1
#define BUSY_MS 2000

/* FULL: the log is synced at each commit, so that what was acknowledged survives a power cut. */
static const char pragmas[] = "PRAGMA journal_mode=WAL;"
                              "PRAGMA synchronous=FULL;"
                              "PRAGMA temp_store=MEMORY;"
                              "PRAGMA trusted_schema=OFF;"
                              "PRAGMA cell_size_check=ON;"
                              "PRAGMA journal_size_limit=67108864;";

static const char schema[] =
    "CREATE TABLE state (one INTEGER PRIMARY KEY CHECK (one = 1), id TEXT NOT NULL,"
    " revision INTEGER NOT NULL, first_kept INTEGER NOT NULL);"
    "CREATE TABLE records (key TEXT PRIMARY KEY, value TEXT NOT NULL, create_rev INTEGER NOT NULL,"
    " mod_rev INTEGER NOT NULL) WITHOUT ROWID;"
    "CREATE TABLE changes (rev INTEGER NOT NULL, seq INTEGER NOT NULL, deleted INTEGER NOT NULL,"
    " key TEXT NOT NULL, value TEXT NOT NULL, create_rev INTEGER NOT NULL,"
    " PRIMARY KEY (rev, seq)) WITHOUT ROWID;"
    "PRAGMA application_id=0x534b5259;"
    "PRAGMA user_version=1;";

static const char *const stmt_sql[DB_STMT__COUNT] = {
    [DB_STATE] = "SELECT id, revision, first_kept FROM state",
    [DB_SET_STATE] = "INSERT OR REPLACE INTO state (one, id, revision, first_kept)"
                     " VALUES (1, ?1, ?2, ?3)",
    [DB_GET] = "SELECT key, value, create_rev, mod_rev FROM records WHERE key = ?1",
    [DB_LIST] = "SELECT key, value, create_rev, mod_rev FROM records WHERE key >= ?1 AND key < ?2"
                " ORDER BY key LIMIT ?3",
    [DB_PUT] = "INSERT OR REPLACE INTO records (key, value, create_rev, mod_rev)"
               " VALUES (?1, ?2, ?3, ?4)",
    [DB_DELETE] = "DELETE FROM records WHERE key = ?1",
    [DB_ADD_CHANGE] = "INSERT INTO changes (rev, seq, deleted, key, value, create_rev)"
                      " VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
    [DB_CHANGES] = "SELECT rev, deleted, key, value, create_rev FROM changes WHERE rev > ?1"
                   " ORDER BY rev, seq",
    [DB_DROP_CHANGES] = "DELETE FROM changes WHERE rev < ?1",
};

/* SQLite's reason as one of our codes. */
static int code_of(int sqlite_code)
{
    switch (sqlite_code & 0xff) {
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        return SK_ERR_UNAVAILABLE;
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
        return SK_ERR_CORRUPT;
    case SQLITE_FULL:
    case SQLITE_IOERR:
    case SQLITE_READONLY:
    case SQLITE_CANTOPEN:
    case SQLITE_PERM:
    case SQLITE_AUTH:
        return SK_ERR_IO;
    default:
        return SK_ERR_INTERNAL;
    }
}

int db_fail(struct db *db, const char *doing, struct sk_err *err)
{
    int sqlite_code = sqlite3_extended_errcode(db->conn);
    int errnum = sqlite3_system_errno(db->conn);
    int code = code_of(sqlite_code);

    sk_err_set(err, code, "%s '%s': %s", doing, db->path, sqlite3_errmsg(db->conn));
    if (err && code == SK_ERR_IO) {
        err->errnum = (sqlite_code & 0xff) == SQLITE_FULL ? ENOSPC : errnum ? errnum : EIO;
    }
    if ((sqlite_code & 0xff) == SQLITE_FULL) {
        (void)sk_err_fix(err, "free some space on this disk; nothing that was stored is lost");
    } else if (code == SK_ERR_CORRUPT) {
        (void)sk_err_fix(err, "restore a snapshot, or move the file away");
    }
    return code;
}

int db_exec(struct db *db, const char *sql, const char *doing, struct sk_err *err)
{
    return sqlite3_exec(db->conn, sql, NULL, NULL, NULL) == SQLITE_OK ? 0 : db_fail(db, doing, err);
}

int db_stmt(struct db *db, enum db_stmt which, sqlite3_stmt **ret, struct sk_err *err)
{
    sqlite3_stmt **stmt = &db->stmts[which];

    if (!*stmt && sqlite3_prepare_v3(db->conn, stmt_sql[which], -1, SQLITE_PREPARE_PERSISTENT, stmt,
                                     NULL) != SQLITE_OK) {
        return db_fail(db, "read", err);
    }
    (void)sqlite3_reset(*stmt); /* repeats the error of the last run, which was reported then */
    (void)sqlite3_clear_bindings(*stmt);
    *ret = *stmt;
    return 0;
}

void db_bind_str(sqlite3_stmt *stmt, int at, struct sk_str s)
{
    int rc = sqlite3_bind_text64(stmt, at, s.ptr ? s.ptr : "", s.len, SQLITE_STATIC, SQLITE_UTF8);
    SK_ASSERT(rc == SQLITE_OK); /* bounds were checked: only a wrong index is left */
}

struct sk_str db_column_str(sqlite3_stmt *stmt, int at)
{
    const char *ptr = (const char *)sqlite3_column_text(stmt, at);
    return (struct sk_str){ptr, ptr ? (size_t)sqlite3_column_bytes(stmt, at) : 0};
}

int db_run(struct db *db, sqlite3_stmt *stmt, const char *doing, struct sk_err *err)
{
    int rc = sqlite3_step(stmt);
    int ret = rc == SQLITE_DONE ? 0 : db_fail(db, doing, err);
    (void)sqlite3_reset(stmt);
    return ret;
}

int db_begin_read(struct db *db, struct sk_err *err)
{
    return db_exec(db, "BEGIN", "read", err);
}

int db_begin_write(struct db *db, struct sk_err *err)
{
    return db_exec(db, "BEGIN IMMEDIATE", "write", err);
}

int db_commit(struct db *db, struct sk_err *err)
{
    int rc = db_exec(db, "COMMIT", "write", err);
    if (rc < 0) {
        db_rollback(db);
    }
    return rc;
}

void db_rollback(struct db *db)
{
    for (int i = 0; i < DB_STMT__COUNT; i++) {
        if (db->stmts[i]) {
            (void)sqlite3_reset(db->stmts[i]);
        }
    }
    /* SQLite has rolled back by itself after some errors */
    if (!sqlite3_get_autocommit(db->conn)) {
        (void)sqlite3_exec(db->conn, "ROLLBACK", NULL, NULL, NULL);
    }
}

int db_read_state(struct db *db, struct db_state *ret, struct sk_err *err)
{
    struct db_state state = {0};
    sqlite3_stmt *stmt;
    struct sk_str id;
    int rc = db_stmt(db, DB_STATE, &stmt, err);

    if (rc < 0) {
        return rc;
    }
    rc = sqlite3_step(stmt);
    if (rc != SQLITE_ROW && rc != SQLITE_DONE) {
        return db_fail(db, "read", err);
    }
    id = rc == SQLITE_ROW ? db_column_str(stmt, 0) : SK_STR_NULL;
    if (id.len != sizeof(state.revision.id) - 1) {
        (void)sqlite3_reset(stmt);
        return sk_err_set(err, SK_ERR_CORRUPT, "read '%s': the store's identity is missing",
                          db->path);
    }
    memcpy(state.revision.id, id.ptr, id.len);
    state.revision.number = sqlite3_column_int64(stmt, 1);
    state.first_kept = sqlite3_column_int64(stmt, 2);
    (void)sqlite3_reset(stmt);
    *ret = state;
    return 0;
}

int db_write_state(struct db *db, const struct db_state *state, struct sk_err *err)
{
    sqlite3_stmt *stmt;
    int rc = db_stmt(db, DB_SET_STATE, &stmt, err);

    if (rc < 0) {
        return rc;
    }
    db_bind_str(stmt, 1, sk_str(state->revision.id));
    (void)sqlite3_bind_int64(stmt, 2, state->revision.number);
    (void)sqlite3_bind_int64(stmt, 3, state->first_kept);
    return db_run(db, stmt, "write", err);
}

void db_new_id(char ret_id[33])
{
    uint8_t bytes[16];
    sys_random(bytes, sizeof(bytes));
    sk_hex(bytes, sizeof(bytes), ret_id);
}

struct sk_str db_prefix_end(struct sk_str prefix, char end[STORE_KEY_BYTES_MAX + 1])
{
    if (prefix.len == 0) {
        memset(end, 0xff, STORE_KEY_BYTES_MAX + 1); /* no key starts with this byte */
        return (struct sk_str){end, STORE_KEY_BYTES_MAX + 1};
    }
    /* valid UTF-8 holds no 0xff: the last byte can go up */
    memcpy(end, prefix.ptr, prefix.len);
    end[prefix.len - 1]++;
    return (struct sk_str){end, prefix.len};
}

/* --- opening --------------------------------------------------------------------------------- */

static int read_pragma(struct db *db, const char *sql, int64_t *ret, struct sk_err *err)
{
    sqlite3_stmt *stmt = NULL;
    int rc = 0;

    if (sqlite3_prepare_v2(db->conn, sql, -1, &stmt, NULL) != SQLITE_OK ||
        sqlite3_step(stmt) != SQLITE_ROW) {
        rc = db_fail(db, "open", err);
    } else {
        *ret = sqlite3_column_int64(stmt, 0);
    }
    (void)sqlite3_finalize(stmt);
    return rc;
}

/* Every page of the file is looked at: a state that is damaged is refused at the door, not met in
 * the middle of a decision. */
static int check_whole(struct db *db, struct sk_err *err)
{
    sqlite3_stmt *stmt = NULL;
    struct sk_str verdict;
    int rc = 0;

    if (sqlite3_prepare_v2(db->conn, "PRAGMA quick_check(1)", -1, &stmt, NULL) != SQLITE_OK ||
        sqlite3_step(stmt) != SQLITE_ROW) {
        rc = db_fail(db, "open", err);
    } else {
        verdict = db_column_str(stmt, 0);
        if (!sk_str_is(verdict, "ok")) {
            rc = sk_err_set(err, SK_ERR_CORRUPT, "open '%s': the state is damaged: %.*s", db->path,
                            SK_PRI(verdict));
            (void)sk_err_fix(err, "restore a snapshot, or move the file away");
        }
    }
    (void)sqlite3_finalize(stmt);
    return rc;
}

/* *ret_empty: a database without any table, which may become ours. */
static int check_ours(struct db *db, bool *ret_empty, struct sk_err *err)
{
    int64_t application;
    int64_t version;
    int64_t tables;
    int rc = read_pragma(db, "PRAGMA application_id", &application, err);

    if (rc == 0) {
        rc = read_pragma(db, "PRAGMA user_version", &version, err);
    }
    if (rc == 0) {
        rc = read_pragma(db, "SELECT count(*) FROM sqlite_schema", &tables, err);
    }
    if (rc < 0) {
        return rc;
    }
    *ret_empty = application == 0 && version == 0 && tables == 0;
    if (*ret_empty) {
        return 0;
    }
    if (application != APPLICATION_ID) {
        rc = sk_err_set(err, SK_ERR_CORRUPT, "open '%s': this is another program's database",
                        db->path);
        (void)sk_err_fix(err, "give another folder, or move the file away");
        return rc;
    }
    if (version != SCHEMA_VERSION) {
        rc = sk_err_set(err, SK_ERR_UNSUPPORTED,
                        "open '%s': the state has version %lld, this skerry "
                        "reads version %d",
                        db->path, (long long)version, SCHEMA_VERSION);
        (void)sk_err_fix(err, "use the newer skerry that wrote it");
        return rc;
    }
    return check_whole(db, err);
}

/* All of them or none: who dies in between leaves an empty file, which the next one fills. */
static int create_tables(struct db *db, const struct db_state *state, struct sk_err *err)
{
    int rc = db_begin_write(db, err);

    if (rc < 0) {
        return rc;
    }
    rc = db_exec(db, schema, "create", err);
    if (rc == 0) {
        rc = db_write_state(db, state, err);
    }
    if (rc < 0) {
        db_rollback(db);
        return rc;
    }
    return db_commit(db, err);
}

/* SQLite would create the file with the umask's mode; made beforehand it and its log are 0600. */
static int create_file(const char *path, struct sk_err *err)
{
    int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

    if (fd < 0) {
        return errno == EEXIST ? 0 : sk_err_errno(err, errno, "create '%s'", path);
    }
    (void)close(fd); /* empty: nothing to lose */
    return 0;
}

static int connect_file(struct db *db, const char *path, int flags, struct sk_err *err)
{
    int rc;

    memset(db, 0, sizeof(*db));
    db->path = sk_xstrdup(path);
    rc = sqlite3_open_v2(
        path, &db->conn,
        flags | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_PRIVATECACHE | SQLITE_OPEN_EXRESCODE, NULL);
    if (!db->conn) {
        rc = sk_err_set(err, SK_ERR_INTERNAL, "open '%s': no memory left", path);
    } else if (rc != SQLITE_OK) {
        rc = db_fail(db, "open", err);
    } else {
        (void)sqlite3_busy_timeout(db->conn, BUSY_MS);
        (void)sqlite3_db_config(db->conn, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
        return 0;
    }
    db_close(db);
    return rc;
}

/* SQLite says no error when it cannot use the write-ahead log; it just keeps another mode. */
static int check_log(struct db *db, struct sk_err *err)
{
    sqlite3_stmt *stmt = NULL;
    int rc = 0;

    if (sqlite3_prepare_v2(db->conn, "PRAGMA journal_mode", -1, &stmt, NULL) != SQLITE_OK ||
        sqlite3_step(stmt) != SQLITE_ROW) {
        rc = db_fail(db, "open", err);
    } else if (!sk_str_is(db_column_str(stmt, 0), "wal")) {
        rc = sk_err_set(err, SK_ERR_IO, "open '%s': this file system cannot hold a write-ahead log",
                        db->path);
        (void)sk_err_fix(err, "put the data folder on a local disk");
    }
    (void)sqlite3_finalize(stmt);
    return rc;
}

static int open_locked(struct db *db, const char *path, struct sk_err *err)
{
    struct db_state state = {.first_kept = 1};
    bool empty;
    int rc = create_file(path, err);

    if (rc == 0) {
        rc = connect_file(db, path, SQLITE_OPEN_READWRITE, err);
    }
    if (rc < 0) {
        return rc;
    }
    rc = check_ours(db, &empty, err); /* before anything is written: it may be somebody else's */
    if (rc == 0) {
        rc = db_exec(db, pragmas, "open", err);
    }
    if (rc == 0) {
        rc = check_log(db, err);
    }
    if (rc == 0 && empty) {
        db_new_id(state.revision.id);
        rc = create_tables(db, &state, err);
    }
    if (rc == 0) {
        rc = db_read_state(db, &state, err);
    }
    if (rc < 0) {
        db_close(db);
    }
    return rc;
}

/* One opens at a time, in whatever thread or process: SQLite does not wait for another's switch to
 * the write-ahead log, and closing a second descriptor of the file, as create_file() does, would
 * take away the locks that another thread has on it by then. */
int db_open(struct db *db, const char *path, struct sk_err *err)
{
    struct sk_buf lock = SK_BUF_INIT;
    struct flock whole = {.l_type = F_WRLCK, .l_whence = SEEK_SET}; /* of this descriptor alone */
    int fd;
    int rc = 0;

    sk_buf_printf(&lock, "%s-lock", path);
    fd = open(lock.ptr, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0 || fcntl(fd, F_OFD_SETLKW, &whole) < 0) {
        rc = sk_err_errno(err, errno, "lock '%s'", lock.ptr);
    } else {
        rc = open_locked(db, path, err);
    }
    if (fd >= 0) {
        (void)close(fd); /* unlocks; nothing was written to it */
    }
    sk_buf_release(&lock);
    return rc;
}

int db_open_to_read(struct db *db, const char *path, struct sk_err *err)
{
    struct stat st;
    bool empty = false;
    int rc;

    if (stat(path, &st) < 0) {
        return errno == ENOENT ? sk_err_set(err, SK_ERR_NOT_FOUND, "no file '%s'", path)
                               : sk_err_errno(err, errno, "open '%s'", path);
    }
    if (!S_ISREG(st.st_mode)) {
        return sk_err_set(err, SK_ERR_INPUT, "'%s' is not a file", path);
    }
    rc = connect_file(db, path, SQLITE_OPEN_READONLY, err);
    if (rc < 0) {
        return rc;
    }
    rc = check_ours(db, &empty, err);
    if (rc == 0 && empty) {
        rc = sk_err_set(err, SK_ERR_CORRUPT, "open '%s': the file is empty", path);
    }
    if (rc < 0) {
        db_close(db);
    }
    return rc;
}

int db_open_memory(struct db *db, const struct db_state *state, struct sk_err *err)
{
    /* by its name, not by a flag: VACUUM INTO takes over the flags, and would write to memory */
    int rc = connect_file(db, ":memory:", SQLITE_OPEN_READWRITE, err);

    if (rc < 0) {
        return rc;
    }
    rc = create_tables(db, state, err);
    if (rc < 0) {
        db_close(db);
    }
    return rc;
}

void db_close(struct db *db)
{
    for (int i = 0; i < DB_STMT__COUNT; i++) {
        (void)sqlite3_finalize(db->stmts[i]);
    }
    (void)sqlite3_close(db->conn); /* every statement is final: it cannot be busy */
    free(db->path);
    memset(db, 0, sizeof(*db));
}
