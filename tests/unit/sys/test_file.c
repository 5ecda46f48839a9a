/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <dirent.h>
#include <errno.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "sys/file.h"

static char dir[64];

static int make_dir(void **state)
{
    (void)state;
    (void)snprintf(dir, sizeof(dir), "/tmp/skerry-file-XXXXXX");
    return mkdtemp(dir) ? 0 : -1;
}

static const char *at(const char *name)
{
    static char path[256];
    (void)snprintf(path, sizeof(path), "%s/%s", dir, name);
    return path;
}

static unsigned entries(const char *path)
{
    DIR *d = opendir(path);
    unsigned n = 0;
    assert_non_null(d);
    while (readdir(d)) {
        n++;
    }
    (void)closedir(d);
    return n - 2;
}

static void write_then_read(void **state)
{
    struct sk_buf buf = SK_BUF_INIT;
    struct sk_err err = {0};
    struct stat st;
    mode_t old = umask(0077);
    (void)state;
    assert_int_equal(sys_file_write(at("a"), SK_STR("one"), 0644, &err), 0);
    (void)umask(old);
    assert_int_equal(stat(at("a"), &st), 0);
    assert_int_equal(st.st_mode & 07777, 0644); /* exact, whatever the umask */
    sk_buf_adds(&buf, "got:");
    assert_int_equal(sys_file_read(at("a"), 3, &buf, &err), 0);
    assert_string_equal(buf.ptr, "got:one");
    /* replaced as a whole, with the new mode, nothing left beside it */
    assert_int_equal(sys_file_write(at("a"), SK_STR(""), 0600, &err), 0);
    sk_buf_clear(&buf);
    assert_int_equal(sys_file_read(at("a"), 0, &buf, &err), 0);
    assert_int_equal(buf.len, 0);
    assert_int_equal(stat(at("a"), &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    assert_int_equal(entries(dir), 1);
    assert_int_equal(sys_file_remove(at("a"), &err), 0);
    assert_int_equal(sys_file_remove(at("a"), &err), 0);
    assert_int_equal(entries(dir), 0);
    sk_buf_release(&buf);
}

static void too_large_is_a_limit(void **state)
{
    struct sk_buf buf = SK_BUF_INIT;
    struct sk_err err = {0};
    (void)state;
    assert_int_equal(sys_file_write(at("b"), SK_STR("12345"), 0600, &err), 0);
    sk_buf_adds(&buf, "kept");
    assert_int_equal(sys_file_read(at("b"), 4, &buf, &err), SK_ERR_LIMIT);
    assert_string_equal(buf.ptr, "kept");
    assert_int_equal(sys_file_read(at("b"), 5, &buf, &err), 0);
    assert_string_equal(buf.ptr, "kept12345");
    sk_buf_release(&buf);
}

static void what_is_not_a_file(void **state)
{
    struct sk_buf buf = SK_BUF_INIT;
    struct sk_err err = {0};
    (void)state;
    assert_int_equal(sys_file_read(at("none"), 10, &buf, &err), SK_ERR_NOT_FOUND);
    assert_non_null(strstr(err.msg, "/none'"));
    assert_int_equal(err.errnum, ENOENT);
    assert_int_equal(sys_file_read(dir, 10, &buf, &err), SK_ERR_IO);
    assert_int_equal(err.errnum, EISDIR);
    assert_int_equal(mkfifo(at("fifo"), 0600), 0);
    assert_int_equal(sys_file_read(at("fifo"), 10, &buf, &err), SK_ERR_IO); /* and does not hang */
    assert_int_equal(sys_file_write(at("no/such/folder"), SK_STR("x"), 0600, &err),
                     SK_ERR_NOT_FOUND);
    /* a folder in the way: refused, and the temporary file is gone */
    assert_int_equal(sys_mkdirs(at("d"), 0700, &err), 0);
    assert_int_equal(sys_file_write(at("d"), SK_STR("x"), 0600, &err), SK_ERR_IO);
    assert_int_equal(entries(dir), 3); /* b, fifo, d */
    assert_int_equal(sys_file_read("/proc/self/stat", 4096, &buf, &err), 0);
    assert_true(buf.len > 0);
    sk_buf_release(&buf);
}

static void pipes_are_read_to_their_end(void **state)
{
    struct sk_buf buf = SK_BUF_INIT;
    struct sk_err err = {0};
    int fds[2];
    (void)state;
    assert_int_equal(pipe(fds), 0);
    assert_int_equal(write(fds[1], "token\n", 6), 6);
    (void)close(fds[1]);
    assert_int_equal(sys_fd_read(fds[0], "standard input", 100, &buf, &err), 0);
    assert_string_equal(buf.ptr, "token\n");
    (void)close(fds[0]);
    sk_buf_release(&buf);
}

static void folders(void **state)
{
    struct sk_err err = {0};
    struct stat st;
    (void)state;
    assert_int_equal(sys_mkdirs(at("x//y/z/"), 0700, &err), 0);
    assert_int_equal(stat(at("x/y/z"), &st), 0);
    assert_int_equal(st.st_mode & 07777, 0700);
    assert_int_equal(sys_mkdirs(at("x/y/z"), 0755, &err), 0); /* there already: left as it is */
    assert_int_equal(stat(at("x/y/z"), &st), 0);
    assert_int_equal(st.st_mode & 07777, 0700);
    assert_int_equal(sys_file_write(at("x/file"), SK_STR(""), 0600, &err), 0);
    assert_int_equal(sys_mkdirs(at("x/file"), 0700, &err), SK_ERR_IO);
    assert_int_equal(sys_mkdirs(at("x/file/deep"), 0700, &err), SK_ERR_IO);
    assert_int_equal(err.errnum, ENOTDIR);
    assert_int_equal(sys_mkdirs("", 0700, &err), SK_ERR_INPUT);
    assert_int_equal(sys_mkdirs("/", 0700, &err), 0);
}

static int remove_dir(void **state)
{
    (void)state;
    (void)unlink(at("b"));
    (void)unlink(at("fifo"));
    (void)rmdir(at("d"));
    (void)unlink(at("x/file"));
    (void)rmdir(at("x/y/z"));
    (void)rmdir(at("x/y"));
    (void)rmdir(at("x"));
    return rmdir(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(write_then_read),
        cmocka_unit_test(too_large_is_a_limit),
        cmocka_unit_test(what_is_not_a_file),
        cmocka_unit_test(pipes_are_read_to_their_end),
        cmocka_unit_test(folders),
    };
    return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
