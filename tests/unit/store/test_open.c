/* SPDX-License-Identifier: Apache-2.0 */
/* Opening the SQLite form: modes, files of others, files that are damaged. */
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>
#include <sqlite3.h>

#include "base/mem.h"
#include "store/store.h"

static char folder[] = "/tmp/skerry-test-XXXXXX";
static char path[64];

static int setup(void **state)
{
    (void)state;
    (void)memcpy(folder + strlen(folder) - 6, "XXXXXX", 6);
    assert_non_null(mkdtemp(folder));
    (void)snprintf(path, sizeof(path), "%s/state.db", folder);
    return 0;
}

static int teardown(void **state)
{
    static const char *const names[] = {"state.db", "state.db-wal", "state.db-shm", "state.db-lock",
                                        "state.db-journal"};
    (void)state;
    for (size_t i = 0; i < SK_ARRAY_LEN(names); i++) {
        char file[96];
        (void)snprintf(file, sizeof(file), "%s/%s", folder, names[i]);
        (void)unlink(file);
    }
    assert_int_equal(rmdir(folder), 0);
    return 0;
}

static struct store *open_ok(void)
{
    struct store *store = NULL;
    struct sk_err err = {0};
    if (store_open_sqlite(folder, &store, &err) < 0) {
        fail_msg("%s", err.msg);
    }
    return store;
}

static void open_fails(int code, const char *part)
{
    struct store *store = NULL;
    struct sk_err err = {0};
    assert_int_equal(store_open_sqlite(folder, &store, &err), code);
    assert_null(store);
    if (!strstr(err.msg, part)) {
        fail_msg("'%s' is not in '%s'", part, err.msg);
    }
    assert_int_equal(store_open_sqlite(folder, &store, NULL), code);
}

static void put(struct store *store, int i)
{
    char key[16];
    struct store_op op = {STORE_PUT, SK_STR_NULL, SK_STR("value value value value value value")};
    struct store_txn txn = {.expect_number = -1, .ops = &op, .nops = 1};
    (void)snprintf(key, sizeof(key), "k%d", i);
    op.key = sk_str(key);
    assert_int_equal(store_txn(store, &txn, NULL, NULL), 0);
}

static void sql(const char *text)
{
    sqlite3 *conn;
    assert_int_equal(sqlite3_open(path, &conn), SQLITE_OK);
    assert_int_equal(sqlite3_exec(conn, text, NULL, NULL, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_close(conn), SQLITE_OK);
}

static void files_are_for_their_owner_alone(void **state)
{
    struct store *store;
    mode_t umask_before = umask(0);
    struct stat st;
    char file[96];
    (void)state;
    store = open_ok();
    put(store, 1);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    (void)snprintf(file, sizeof(file), "%s-wal", path);
    assert_int_equal(stat(file, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    (void)umask(umask_before);
    store_close(store);
}

static void stays_the_same_store(void **state)
{
    struct store *store = open_ok();
    struct store_revision a;
    struct store_revision b;
    (void)state;
    put(store, 1);
    assert_int_equal(store_revision(store, &a, NULL), 0);
    store_close(store);
    store = open_ok();
    assert_int_equal(store_revision(store, &b, NULL), 0);
    assert_string_equal(a.id, b.id);
    assert_int_equal(b.number, 1);
    store_close(store);
}

static void is_readable_with_sqlite3(void **state)
{
    struct store *store = open_ok();
    sqlite3 *conn;
    sqlite3_stmt *stmt;
    (void)state;
    put(store, 1);
    assert_int_equal(sqlite3_open(path, &conn), SQLITE_OK);
    assert_int_equal(sqlite3_prepare_v2(conn, "SELECT key, value FROM records", -1, &stmt, NULL),
                     SQLITE_OK);
    assert_int_equal(sqlite3_step(stmt), SQLITE_ROW);
    assert_string_equal((const char *)sqlite3_column_text(stmt, 0), "k1");
    (void)sqlite3_finalize(stmt);
    (void)sqlite3_close(conn);
    store_close(store);
}

static void needs_the_folder(void **state)
{
    struct store *store = NULL;
    struct sk_err err = {0};
    (void)state;
    assert_int_equal(store_open_sqlite("/nonexistent/folder", &store, &err), SK_ERR_IO);
    assert_string_equal(err.msg,
                        "lock '/nonexistent/folder/state.db-lock': No such file or directory");
}

static void refuses_files_of_others(void **state)
{
    char before[4096] = {0};
    char after[4096] = {0};
    int fd;
    (void)state;
    sql("CREATE TABLE t (x); INSERT INTO t VALUES (1);");
    fd = open(path, O_RDONLY);
    assert_true(read(fd, before, sizeof(before)) > 0);
    open_fails(SK_ERR_CORRUPT, "another program's database");
    assert_true(pread(fd, after, sizeof(after), 0) > 0);
    assert_memory_equal(before, after, sizeof(before)); /* and leaves them as they are */
    (void)close(fd);
}

static void refuses_a_newer_version(void **state)
{
    (void)state;
    store_close(open_ok());
    sql("PRAGMA user_version=2");
    open_fails(SK_ERR_UNSUPPORTED, "the state has version 2");
}

static void refuses_what_is_no_database(void **state)
{
    FILE *file;
    (void)state;
    file = fopen(path, "w");
    assert_non_null(file);
    for (int i = 0; i < 1000; i++) {
        (void)fputs("not a database, just text\n", file);
    }
    (void)fclose(file);
    open_fails(SK_ERR_CORRUPT, "file is not a database");
}

static void refuses_a_state_without_identity(void **state)
{
    (void)state;
    store_close(open_ok());
    sql("DELETE FROM state");
    open_fails(SK_ERR_CORRUPT, "the store's identity is missing");
}

static void refuses_damaged_pages(void **state)
{
    struct store *store = open_ok();
    char junk[2000];
    struct stat st;
    int fd;
    (void)state;
    for (int i = 0; i < 500; i++) {
        put(store, i);
    }
    store_close(store); /* everything is in the main file now */
    memset(junk, 0xa5, sizeof(junk));
    fd = open(path, O_RDWR);
    assert_int_equal(fstat(fd, &st), 0);
    for (off_t at = 4096 + 100; at + (off_t)sizeof(junk) < st.st_size; at += 8192) {
        assert_int_equal(pwrite(fd, junk, sizeof(junk), at), sizeof(junk));
    }
    (void)close(fd);
    open_fails(SK_ERR_CORRUPT, path);
}

static void refuses_a_truncated_file(void **state)
{
    struct store *store = open_ok();
    (void)state;
    for (int i = 0; i < 500; i++) {
        put(store, i);
    }
    store_close(store);
    assert_int_equal(truncate(path, 4096 * 3 + 17), 0);
    open_fails(SK_ERR_CORRUPT, path);
}

static void another_writer_is_waited_for_not_hung_on(void **state)
{
    struct store *store = open_ok();
    sqlite3 *conn;
    struct sk_err err = {0};
    struct store_op op = {STORE_PUT, SK_STR("a"), SK_STR("1")};
    struct store_txn txn = {.expect_number = -1, .ops = &op, .nops = 1};
    struct store_revision rev;
    (void)state;
    assert_int_equal(sqlite3_open(path, &conn), SQLITE_OK);
    assert_int_equal(sqlite3_exec(conn, "BEGIN IMMEDIATE", NULL, NULL, NULL), SQLITE_OK);
    assert_int_equal(store_txn(store, &txn, NULL, &err), SK_ERR_UNAVAILABLE);
    assert_non_null(strstr(err.msg, "locked"));
    assert_int_equal(store_revision(store, &rev, NULL), 0); /* reading goes on */
    assert_int_equal(sqlite3_exec(conn, "ROLLBACK", NULL, NULL, NULL), SQLITE_OK);
    assert_int_equal(store_txn(store, &txn, NULL, &err), 0);
    (void)sqlite3_close(conn);
    store_close(store);
}

static void *open_and_close(void *arg)
{
    struct store *store = NULL;
    struct sk_err *err = arg;
    if (store_open_sqlite(folder, &store, err) == 0) {
        store_close(store);
    }
    return NULL;
}

static void many_may_create_it_at_once(void **state)
{
    for (int round = 0; round < 25; round++) {
        pthread_t threads[4];
        struct sk_err errs[4] = {0};
        for (size_t i = 0; i < 4; i++) {
            assert_int_equal(pthread_create(&threads[i], NULL, open_and_close, &errs[i]), 0);
        }
        for (size_t i = 0; i < 4; i++) {
            assert_int_equal(pthread_join(threads[i], NULL), 0);
            assert_string_equal(errs[i].msg, "");
        }
        (void)teardown(state);
        (void)setup(state);
    }
}

static void history_has_an_end(void **state)
{
    struct store *store = open_ok();
    struct store_revision at;
    struct store_changes changes;
    (void)state;
    sql("PRAGMA synchronous=OFF");
    assert_int_equal(store_revision(store, &at, NULL), 0);
    sql("UPDATE state SET revision = 12998, first_kept = 1;"
        "INSERT INTO changes SELECT 1, 0, 0, 'old', '', 1;");
    put(store, 1);
    assert_int_equal(store_watch(store, SK_STR("old"), &at, 0, &changes, NULL), 0);
    assert_int_equal(changes.changes[0].kind, STORE_CHANGED); /* still there */
    store_changes_release(&changes);
    put(store, 2); /* revision 13,000: what is older than 10,000 revisions goes */
    assert_int_equal(store_watch(store, SK_STR("old"), &at, 0, &changes, NULL), 0);
    assert_int_equal(changes.changes[0].kind, STORE_LOST);
    store_changes_release(&changes);
    at.number = 2999;
    assert_int_equal(store_watch(store, SK_STR(""), &at, 0, &changes, NULL), 0);
    assert_int_equal(changes.count, 2);
    store_changes_release(&changes);
    store_close(store);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(files_are_for_their_owner_alone, setup, teardown),
        cmocka_unit_test_setup_teardown(stays_the_same_store, setup, teardown),
        cmocka_unit_test_setup_teardown(is_readable_with_sqlite3, setup, teardown),
        cmocka_unit_test_setup_teardown(needs_the_folder, setup, teardown),
        cmocka_unit_test_setup_teardown(refuses_files_of_others, setup, teardown),
        cmocka_unit_test_setup_teardown(refuses_a_newer_version, setup, teardown),
        cmocka_unit_test_setup_teardown(refuses_what_is_no_database, setup, teardown),
        cmocka_unit_test_setup_teardown(refuses_a_state_without_identity, setup, teardown),
        cmocka_unit_test_setup_teardown(refuses_damaged_pages, setup, teardown),
        cmocka_unit_test_setup_teardown(refuses_a_truncated_file, setup, teardown),
        cmocka_unit_test_setup_teardown(another_writer_is_waited_for_not_hung_on, setup, teardown),
        cmocka_unit_test_setup_teardown(many_may_create_it_at_once, setup, teardown),
        cmocka_unit_test_setup_teardown(history_has_an_end, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
