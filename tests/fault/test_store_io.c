/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The state on a disk whose Nth write or sync fails, for every N until a run meets no fault: what
 * was acknowledged is there afterwards, no transaction is half there, every error is clear, and a
 * fault that passes does not stop the store.
 *
 * The disk is SQLite's own file layer behind a thin one of ours that counts and fails.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <unistd.h>

#include <cmocka.h>
#include <sqlite3.h>

#include "base/mem.h"
#include "store/store.h"

#define TXNS 4

enum fault { FAULT_WRITE, FAULT_TORN_WRITE, FAULT_FULL, FAULT_SYNC };

static struct {
    enum fault fault;
    bool stays; /* every call after the Nth fails as well */
    int countdown;
    bool met;
} disk;

struct faulty_file {
    sqlite3_file base;
    sqlite3_file *real;
};

static sqlite3_file *real_of(sqlite3_file *file)
{
    return ((struct faulty_file *)file)->real;
}

static bool fails_now(bool is_sync)
{
    if (disk.countdown < 0 || is_sync != (disk.fault == FAULT_SYNC)) {
        return false;
    }
    if (disk.countdown > 0) {
        disk.countdown--;
        return false;
    }
    disk.met = true;
    if (!disk.stays) {
        disk.countdown = -1;
    }
    return true;
}

static int f_close(sqlite3_file *file)
{
    return real_of(file)->pMethods->xClose(real_of(file));
}

static int f_read(sqlite3_file *file, void *to, int len, sqlite3_int64 at)
{
    return real_of(file)->pMethods->xRead(real_of(file), to, len, at);
}

static int f_write(sqlite3_file *file, const void *from, int len, sqlite3_int64 at)
{
    if (fails_now(false)) {
        if (disk.fault == FAULT_TORN_WRITE) {
            (void)real_of(file)->pMethods->xWrite(real_of(file), from, len / 2, at);
        }
        return disk.fault == FAULT_FULL ? SQLITE_FULL : SQLITE_IOERR_WRITE;
    }
    return real_of(file)->pMethods->xWrite(real_of(file), from, len, at);
}

static int f_truncate(sqlite3_file *file, sqlite3_int64 size)
{
    return fails_now(false) ? SQLITE_IOERR_TRUNCATE
                            : real_of(file)->pMethods->xTruncate(real_of(file), size);
}

/* No power is cut here: what a real sync would add is only its time, thousands of times over. */
static int f_sync(sqlite3_file *file, int flags)
{
    (void)file;
    (void)flags;
    return fails_now(true) ? SQLITE_IOERR_FSYNC : SQLITE_OK;
}

static int f_size(sqlite3_file *file, sqlite3_int64 *ret)
{
    return real_of(file)->pMethods->xFileSize(real_of(file), ret);
}

static int f_lock(sqlite3_file *file, int lock)
{
    return real_of(file)->pMethods->xLock(real_of(file), lock);
}

static int f_unlock(sqlite3_file *file, int lock)
{
    return real_of(file)->pMethods->xUnlock(real_of(file), lock);
}

static int f_check_lock(sqlite3_file *file, int *ret)
{
    return real_of(file)->pMethods->xCheckReservedLock(real_of(file), ret);
}

static int f_control(sqlite3_file *file, int op, void *arg)
{
    return real_of(file)->pMethods->xFileControl(real_of(file), op, arg);
}

static int f_sector(sqlite3_file *file)
{
    return real_of(file)->pMethods->xSectorSize(real_of(file));
}

static int f_characteristics(sqlite3_file *file)
{
    return real_of(file)->pMethods->xDeviceCharacteristics(real_of(file));
}

static int f_shm_map(sqlite3_file *file, int page, int size, int extend, void volatile **ret)
{
    return real_of(file)->pMethods->xShmMap(real_of(file), page, size, extend, ret);
}

static int f_shm_lock(sqlite3_file *file, int offset, int n, int flags)
{
    return real_of(file)->pMethods->xShmLock(real_of(file), offset, n, flags);
}

static void f_shm_barrier(sqlite3_file *file)
{
    real_of(file)->pMethods->xShmBarrier(real_of(file));
}

static int f_shm_unmap(sqlite3_file *file, int del)
{
    return real_of(file)->pMethods->xShmUnmap(real_of(file), del);
}

static const sqlite3_io_methods methods = {
    .iVersion = 2,
    .xClose = f_close,
    .xRead = f_read,
    .xWrite = f_write,
    .xTruncate = f_truncate,
    .xSync = f_sync,
    .xFileSize = f_size,
    .xLock = f_lock,
    .xUnlock = f_unlock,
    .xCheckReservedLock = f_check_lock,
    .xFileControl = f_control,
    .xSectorSize = f_sector,
    .xDeviceCharacteristics = f_characteristics,
    .xShmMap = f_shm_map,
    .xShmLock = f_shm_lock,
    .xShmBarrier = f_shm_barrier,
    .xShmUnmap = f_shm_unmap,
};

static sqlite3_vfs *real_vfs;

static int v_open(sqlite3_vfs *vfs, const char *name, sqlite3_file *file, int flags, int *ret_flags)
{
    struct faulty_file *f = (struct faulty_file *)file;
    int rc;

    (void)vfs;
    f->real = (sqlite3_file *)(f + 1);
    rc = real_vfs->xOpen(real_vfs, name, f->real, flags, ret_flags);
    f->base.pMethods = f->real->pMethods ? &methods : NULL;
    return rc;
}

static void install_disk(void)
{
    static sqlite3_vfs vfs;

    real_vfs = sqlite3_vfs_find(NULL);
    vfs = *real_vfs;
    vfs.zName = "faulty";
    vfs.szOsFile = (int)sizeof(struct faulty_file) + real_vfs->szOsFile;
    vfs.xOpen = v_open;
    assert_int_equal(sqlite3_vfs_register(&vfs, 1), SQLITE_OK);
}

/* --- the load ------------------------------------------------------------------------------- */

struct load {
    char folder[32];
    bool acknowledged[TXNS];
    int errors;
};

static void is_clear(const struct sk_err *err)
{
    if (err->code != SK_ERR_IO) {
        fail_msg("code %s: %s", sk_code_name(err->code), err->msg);
    }
    assert_true(err->errnum != 0);
    assert_non_null(strstr(err->msg, "state.db': "));
}

/* Txn i writes a/i and b/i (several pages), and takes c/(i-1) away for c/i. */
static int run_txn(struct store *store, int i, struct sk_err *err)
{
    static char large[9000];
    char a[8];
    char b[8];
    char c[8];
    char old[8];
    struct store_op ops[] = {{STORE_PUT, SK_STR_NULL, {large, sizeof(large)}},
                             {STORE_PUT, SK_STR_NULL, SK_STR("small")},
                             {STORE_PUT, SK_STR_NULL, SK_STR("moves")},
                             {STORE_DELETE, SK_STR_NULL, SK_STR_NULL}};
    struct store_txn txn = {.expect_number = -1, .ops = ops, .nops = 4};

    memset(large, 'x', sizeof(large));
    (void)snprintf(a, sizeof(a), "a/%d", i);
    (void)snprintf(b, sizeof(b), "b/%d", i);
    (void)snprintf(c, sizeof(c), "c/%d", i);
    (void)snprintf(old, sizeof(old), "c/%d", i - 1);
    ops[0].key = sk_str(a);
    ops[1].key = sk_str(b);
    ops[2].key = sk_str(c);
    ops[3].key = sk_str(old);
    return store_txn(store, &txn, NULL, err);
}

static void run_load(struct load *load)
{
    struct store *store = NULL;
    struct sk_err err = {0};

    if (store_open_sqlite(load->folder, &store, &err) < 0) {
        is_clear(&err);
        load->errors++;
        return;
    }
    for (int i = 0; i < TXNS; i++) {
        sk_err_clear(&err);
        load->acknowledged[i] = run_txn(store, i, &err) == 0;
        if (!load->acknowledged[i]) {
            is_clear(&err);
            load->errors++;
        }
        if (i == TXNS / 2 && load->acknowledged[i] && store_compact(store, 1, &err) < 0) {
            is_clear(&err);
            load->errors++;
        }
    }
    store_close(store);
}

static bool has(struct store *store, char letter, int i)
{
    struct sk_arena *arena = sk_arena_new();
    struct store_record record;
    char key[8];
    int rc;

    (void)snprintf(key, sizeof(key), "%c/%d", letter, i);
    rc = store_get(store, sk_str(key), arena, &record, NULL);
    assert_true(rc == 0 || rc == SK_ERR_NOT_FOUND);
    sk_arena_free(arena);
    return rc == 0;
}

/* On a healthy disk again. */
static void check_load(const struct load *load)
{
    struct store *store = NULL;
    struct sk_err err = {0};
    struct store_revision rev;
    int done = 0;

    if (store_open_sqlite(load->folder, &store, &err) < 0) {
        fail_msg("%s", err.msg);
    }
    for (int i = 0; i < TXNS; i++) {
        bool there = has(store, 'a', i);
        assert_int_equal(there, has(store, 'b', i));
        if (load->acknowledged[i]) {
            assert_true(there);
        }
        done += there;
        if (has(store, 'c', i)) { /* taken away by the next one that took place */
            assert_true(there);
            assert_true(i + 1 == TXNS || !has(store, 'a', i + 1));
        }
    }
    assert_int_equal(store_revision(store, &rev, NULL), 0);
    assert_int_equal(rev.number, done);
    assert_int_equal(run_txn(store, TXNS, NULL), 0);
    store_close(store);
}

static void remove_load(const struct load *load)
{
    static const char *const names[] = {"state.db", "state.db-wal", "state.db-shm", "state.db-lock",
                                        "state.db-journal"};

    for (size_t i = 0; i < SK_ARRAY_LEN(names); i++) {
        char path[64];
        (void)snprintf(path, sizeof(path), "%s/%s", load->folder, names[i]);
        (void)unlink(path);
    }
    assert_int_equal(rmdir(load->folder), 0);
}

/* Returns false when the run met no fault: N was beyond its last write. */
static bool one_run(enum fault fault, bool stays, int n)
{
    struct load load = {.folder = "/tmp/skerry-test-XXXXXX"};

    assert_non_null(mkdtemp(load.folder));
    disk.fault = fault;
    disk.stays = stays;
    disk.countdown = n;
    disk.met = false;
    run_load(&load);
    disk.countdown = -1;
    if (!disk.met) {
        assert_int_equal(load.errors, 0);
        for (int i = 0; i < TXNS; i++) {
            assert_true(load.acknowledged[i]);
        }
    }
    if (disk.met && !stays) {
        assert_true(load.errors <= 1); /* what passes stops one call at most */
    }
    check_load(&load);
    remove_load(&load);
    return disk.met;
}

static void every_fault(void **state)
{
    static const struct {
        const char *name;
        enum fault fault;
        bool stays;
    } modes[] = {
        {"a write fails once", FAULT_WRITE, false},
        {"a write is torn once", FAULT_TORN_WRITE, false},
        {"the disk stays full", FAULT_FULL, true},
        {"a sync fails once", FAULT_SYNC, false},
        {"syncs fail from then on", FAULT_SYNC, true},
    };
    (void)state;
    install_disk();
    for (size_t i = 0; i < SK_ARRAY_LEN(modes); i++) {
        int n = 0;
        while (one_run(modes[i].fault, modes[i].stays, n)) {
            n++;
            assert_true(n < 2000);
        }
        print_message("# %s: %d places\n", modes[i].name, n);
        assert_true(n > TXNS);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_fault)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
