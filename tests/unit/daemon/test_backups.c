/* SPDX-License-Identifier: Apache-2.0 */
#include <dirent.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "daemon/backups.h"

/* When one is due, and which go; that one is made and can be restored is in tests/e2e/restore.py.
 */
#define NOON 1795521600000LL /* 2026-11-24T12:00:00Z */
#define HOUR 3600000LL

static char folder[64];

static int setup(void **state)
{
    (void)state;
    (void)snprintf(folder, sizeof(folder), "/tmp/skerry-backups-XXXXXX");
    return mkdtemp(folder) ? 0 : -1;
}

static int teardown(void **state)
{
    char path[400];
    DIR *dir = opendir(folder);
    struct dirent *entry;

    (void)state;
    while ((entry = readdir(dir))) {
        (void)snprintf(path, sizeof(path), "%s/%s", folder, entry->d_name);
        (void)unlink(path);
    }
    (void)closedir(dir);
    return rmdir(folder);
}

static void add(const char *name, off_t bytes)
{
    char path[400];
    int fd;

    (void)snprintf(path, sizeof(path), "%s/%s", folder, name);
    fd = open(path, O_WRONLY | O_CREAT | O_EXCL, 0600);
    assert_true(fd >= 0);
    assert_int_equal(ftruncate(fd, bytes), 0); /* holes: it takes no space */
    (void)close(fd);
}

static bool there(const char *name)
{
    char path[400];

    (void)snprintf(path, sizeof(path), "%s/%s", folder, name);
    return access(path, F_OK) == 0;
}

static void due(void **state)
{
    (void)state;
    assert_true(backups_due("/tmp/skerry-no-such-folder", NOON));
    assert_true(backups_due(folder, NOON));
    add("20261124T060000Z.backup", 1); /* six hours ago */
    assert_true(backups_due(folder, NOON));
    assert_false(backups_due(folder, NOON - 1));
    add("20261124T120001Z.backup", 1); /* of a clock that was ahead */
    assert_true(backups_due(folder, NOON));
    add("20261124T110000Z.backup.old", 1);
    add("20261324T110000Z.backup", 1);
    add("2026-11-24.backup", 1);
    assert_true(backups_due(folder, NOON));
    add("20261124T110000Z.backup", 1);
    assert_false(backups_due(folder, NOON));
    assert_true(backups_due(folder, NOON + 7 * HOUR));
}

static void eight_are_kept(void **state)
{
    struct sk_err err = {0};
    char name[40];
    (void)state;
    for (int i = 1; i <= 12; i++) {
        (void)snprintf(name, sizeof(name), "202611%02dT000000Z.backup", i);
        add(name, 100);
    }
    add("20200101T000000Z.backup.mine", 1);
    add(".making", 1);
    assert_int_equal(backups_trim(folder, &err), 0);
    assert_false(there("20261104T000000Z.backup"));
    assert_true(there("20261105T000000Z.backup"));
    assert_true(there("20261112T000000Z.backup"));
    assert_true(there("20200101T000000Z.backup.mine")); /* somebody's own */
    assert_int_equal(backups_trim("/tmp/skerry-no-such-folder", &err), 0);
}

static void large_ones_are_fewer(void **state)
{
    struct sk_err err = {0};
    (void)state;
    add("20261101T000000Z.backup", 1);
    add("20261102T000000Z.backup", BACKUPS_BYTES_MAX / 2);
    add("20261103T000000Z.backup", BACKUPS_BYTES_MAX);
    add("20261104T000000Z.backup", BACKUPS_BYTES_MAX);
    assert_int_equal(backups_trim(folder, &err), 0);
    assert_true(there("20261104T000000Z.backup"));
    assert_true(there("20261103T000000Z.backup")); /* two at least */
    assert_false(there("20261102T000000Z.backup"));
    assert_false(there("20261101T000000Z.backup"));
}

static void not_of_a_server_without_state(void **state)
{
    struct sk_err err = {0};
    char dir[128];
    (void)state;
    (void)snprintf(dir, sizeof(dir), "%s/none", folder);
    assert_true(backups_make(dir, folder, NOON, NULL, &err) < 0);
    assert_false(there(".making"));
    assert_false(there("20261124T120000Z.backup"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(due, setup, teardown),
        cmocka_unit_test_setup_teardown(eight_are_kept, setup, teardown),
        cmocka_unit_test_setup_teardown(large_ones_are_fewer, setup, teardown),
        cmocka_unit_test_setup_teardown(not_of_a_server_without_state, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
