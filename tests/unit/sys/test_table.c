/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "sys/table.h"

struct item {
    char name[16];
    UT_hash_handle hh;
};

static void finds_what_was_added(void **state)
{
    static struct item items[500];
    struct item *table = NULL, *found, *next;
    char name[16];
    unsigned n = 0;
    (void)state;
    for (size_t i = 0; i < 500; i++) {
        (void)snprintf(items[i].name, sizeof(items[i].name), "n-%zu", i);
        HASH_ADD_STR(table, name, &items[i]);
    }
    for (size_t i = 0; i < 500; i++) {
        (void)snprintf(name, sizeof(name), "n-%zu", i);
        HASH_FIND_STR(table, name, found);
        assert_ptr_equal(found, &items[i]);
    }
    HASH_FIND_STR(table, "n-500", found);
    assert_null(found);
    HASH_ITER (hh, table, found, next) {
        assert_ptr_equal(found, &items[n++]); /* in the order of adding, whatever the key */
        HASH_DEL(table, found);
    }
    assert_int_equal(n, 500);
}

static void each_process_hashes_its_own_way(void **state)
{
    unsigned other = 0, own;
    int fds[2], status;
    pid_t pid;
    (void)state;
    assert_int_equal(pipe(fds), 0);
    pid = fork(); /* before the first hash here: the child makes its own key */
    assert_true(pid >= 0);
    if (pid == 0) {
        unsigned hash = sys_table_hash("fra-1", 5);
        _exit(write(fds[1], &hash, sizeof(hash)) == sizeof(hash) ? 0 : 1);
    }
    assert_int_equal(read(fds[0], &other, sizeof(other)), sizeof(other));
    assert_int_equal(waitpid(pid, &status, 0), pid);
    own = sys_table_hash("fra-1", 5);
    assert_int_not_equal(own, other);
    assert_int_equal(own, sys_table_hash("fra-1", 5));
    (void)close(fds[0]);
    (void)close(fds[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_process_hashes_its_own_way),
        cmocka_unit_test(finds_what_was_added),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
