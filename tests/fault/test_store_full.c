/* SPDX-License-Identifier: Apache-2.0 */
/* The state on a real file system that fills up (a small tmpfs in a mount namespace of its own):
 * clear errors, nothing lost, and on it goes once there is room. Needs root; else exit 77. */
#include <errno.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/mount.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/mem.h"
#include "store/store.h"

static char folder[] = "/tmp/skerry-test-XXXXXX";
static char value[8000];

static int put(struct store *store, int i, struct sk_err *err)
{
    char key[16];
    struct store_op op = {STORE_PUT, SK_STR_NULL, {value, sizeof(value)}};
    struct store_txn txn = {.expect_number = -1, .ops = &op, .nops = 1};
    (void)snprintf(key, sizeof(key), "k%06d", i);
    op.key = sk_str(key);
    return store_txn(store, &txn, NULL, err);
}

static void all_there(struct store *store, int count)
{
    struct store_list list;
    assert_int_equal(store_list(store, SK_STR("k"), 0, &list, NULL), 0);
    assert_int_equal(list.count, count);
    for (size_t i = 0; i < list.count; i++) {
        assert_int_equal(list.records[i].value.len, sizeof(value));
        assert_memory_equal(list.records[i].value.ptr, value, sizeof(value));
    }
    store_list_release(&list);
}

static void a_full_disk_loses_nothing(void **state)
{
    struct store *store = NULL;
    struct sk_err err = {0};
    int count = 0;
    (void)state;
    memset(value, 'v', sizeof(value));
    assert_int_equal(store_open_sqlite(folder, &store, NULL), 0);
    while (put(store, count, &err) == 0) {
        count++;
        assert_true(count < 10000);
    }
    assert_true(count > 10);
    assert_int_equal(err.code, SK_ERR_IO);
    assert_int_equal(err.errnum, ENOSPC);
    assert_non_null(strstr(err.fix, "free some space"));
    all_there(store, count);
    for (int i = 0; i < 5; i++) { /* it says so again, and stays readable */
        assert_int_equal(put(store, count, &err), SK_ERR_IO);
        all_there(store, count);
    }
    store_close(store);
    assert_int_equal(mount("none", folder, "tmpfs", MS_REMOUNT, "size=16m"), 0);
    assert_int_equal(store_open_sqlite(folder, &store, NULL), 0);
    all_there(store, count);
    assert_int_equal(put(store, count, &err), 0);
    all_there(store, count + 1);
    store_close(store);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(a_full_disk_loses_nothing)};
    int failed;

    if (geteuid() != 0 || unshare(CLONE_NEWNS) < 0 ||
        mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0) {
        printf("skipped: needs root to mount a small file system\n");
        return 77;
    }
    if (!mkdtemp(folder) || mount("none", folder, "tmpfs", 0, "size=1m,mode=700") < 0) {
        printf("skipped: cannot mount a tmpfs here: %s\n", strerror(errno));
        return 77;
    }
    failed = cmocka_run_group_tests(tests, NULL, NULL);
    (void)umount(folder);
    (void)rmdir(folder);
    return failed;
}
