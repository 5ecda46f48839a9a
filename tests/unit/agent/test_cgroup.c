/* SPDX-License-Identifier: Apache-2.0 */
#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "agent/cgroup.h"
#include "sys/file.h"

/* Ordinary folders stand for the hierarchies: one that holds something cannot be removed either. */
struct fixture {
    char root[64];
    struct cgroups mine, other;
};

static const char id_a[] = "aaaaaaaaaaaaaaaa", id_b[] = "bbbbbbbbbbbbbbbb";

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));

    (void)snprintf(f->root, sizeof(f->root), "/tmp/skerry-cgroup-XXXXXX");
    assert_non_null(mkdtemp(f->root));
    cgroup_init(&f->mine, "/var/lib/one/agent");
    cgroup_init(&f->other, "/var/lib/two/agent");
    f->mine.v2 = f->other.v2 = false;
    (void)snprintf(f->mine.root, sizeof(f->mine.root), "%s", f->root);
    (void)snprintf(f->other.root, sizeof(f->other.root), "%s", f->root);
    *state = f;
    return 0;
}

static int remove_entry(const char *path, const struct stat *st, int kind, struct FTW *at)
{
    return remove(path);
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(nftw(f->root, remove_entry, 16, FTW_DEPTH | FTW_PHYS), 0);
    free(f);
    return 0;
}

static void make(const struct fixture *f, const char *hierarchy, const char *path)
{
    char dir[400];

    (void)snprintf(dir, sizeof(dir), "%s%s%s", f->root, hierarchy, path);
    assert_int_equal(sys_mkdirs(dir, 0755, NULL), 0);
}

static bool there(const struct fixture *f, const char *hierarchy, const char *path)
{
    char dir[400];

    (void)snprintf(dir, sizeof(dir), "%s%s%s", f->root, hierarchy, path);
    return access(dir, F_OK) == 0;
}

static void test_level(void **state)
{
    struct fixture *f = *state;
    char path[CGROUP_PATH_MAX], old[CGROUP_PATH_MAX];
    struct cgroups again;

    cgroup_path(&f->mine, id_a, path);
    assert_int_equal(strncmp(path, "/skerry/", 8), 0);
    assert_int_equal(strlen(path), 8 + 12 + 1 + 16);
    assert_string_equal(path + 21, id_a);
    assert_string_not_equal(f->mine.level, f->other.level);
    cgroup_init(&again, "/var/lib/one/agent");
    assert_string_equal(again.level, f->mine.level);
    cgroup_path_old(id_a, old);
    assert_string_equal(old, "/skerry/aaaaaaaaaaaaaaaa");
}

static bool keep_a(void *ctx, const char *id)
{
    (*(int *)ctx)++;
    return strcmp(id, id_a) == 0;
}

static void prune(struct fixture *f, const char *hierarchy)
{
    char a[CGROUP_PATH_MAX], b[CGROUP_PATH_MAX], others[CGROUP_PATH_MAX];
    int asked = 0;

    cgroup_path(&f->mine, id_a, a);
    cgroup_path(&f->mine, id_b, b);
    cgroup_path(&f->other, id_b, others);
    make(f, hierarchy, a);
    make(f, hierarchy, b);
    make(f, hierarchy, others);
    cgroup_prune(&f->mine, keep_a, &asked);
    assert_int_equal(asked, 2);
    assert_true(there(f, hierarchy, a));
    assert_false(there(f, hierarchy, b));
    assert_true(there(f, hierarchy, others));
    cgroup_level_down(&f->mine); /* not while a group is on it */
    assert_true(there(f, hierarchy, f->mine.level));
    cgroup_remove(&f->mine, a);
    assert_false(there(f, hierarchy, a));
    cgroup_level_down(&f->mine);
    assert_false(there(f, hierarchy, f->mine.level));
    assert_true(there(f, hierarchy, others));
}

static void test_prune_v1(void **state)
{
    prune(*state, "/memory");
    prune(*state, "/freezer"); /* also in hierarchies that we set no limits in */
}

static void test_prune_v2(void **state)
{
    struct fixture *f = *state;

    f->mine.v2 = true;
    prune(f, "");
}

static void test_in_use(void **state)
{
    struct fixture *f = *state;
    char a[CGROUP_PATH_MAX], busy[CGROUP_PATH_MAX + 16];

    cgroup_path(&f->mine, id_a, a);
    (void)snprintf(busy, sizeof(busy), "%s/in-it", a);
    make(f, "/pids", busy);
    cgroup_prune(&f->mine, NULL, NULL);
    cgroup_remove(&f->mine, a);
    assert_true(there(f, "/pids", a));
}

static void test_make(void **state)
{
    struct fixture *f = *state;
    struct cgroup_limits none = {0}, pids = {.pids = 5};
    char a[CGROUP_PATH_MAX];
    struct sk_err err = {0};

    cgroup_path(&f->mine, id_a, a);
    make(f, "/pids", "/skerry");
    f->mine.usable[CGROUP_PIDS] = f->mine.any = true;
    assert_int_equal(cgroup_make(&f->mine, a, &none, &err), 0);
    assert_false(there(f, "/pids", f->mine.level));         /* nothing to hold, nothing to leave */
    assert_true(cgroup_make(&f->mine, a, &pids, &err) < 0); /* no kernel made pids.max here */
    assert_non_null(strstr(err.msg, "pids.max"));
    assert_true(there(f, "/pids", a));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_level, setup, teardown),
        cmocka_unit_test_setup_teardown(test_prune_v1, setup, teardown),
        cmocka_unit_test_setup_teardown(test_prune_v2, setup, teardown),
        cmocka_unit_test_setup_teardown(test_in_use, setup, teardown),
        cmocka_unit_test_setup_teardown(test_make, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
