/* SPDX-License-Identifier: Apache-2.0 */
#include "sys/file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"

#define READ_STEP_BYTES 65536

static int errno_of_path(struct sk_err *err, int errnum, const char *what, const char *path)
{
    if (errnum == ENOENT) {
        (void)sk_err_set(err, SK_ERR_NOT_FOUND, "%s '%s': no such file or folder", what, path);
        if (err) {
            err->errnum = errnum;
        }
        return SK_ERR_NOT_FOUND;
    }
    return sk_err_errno(err, errnum, "%s '%s'", what, path);
}

int sys_fd_read(int fd, const char *name, size_t bytes_max, struct sk_buf *buf, struct sk_err *err)
{
    size_t start = buf->len;
    int rc = 0;

    for (;;) {
        ssize_t n;
        sk_buf_reserve(buf, READ_STEP_BYTES);
        n = read(fd, buf->ptr + buf->len, READ_STEP_BYTES);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0) {
            rc = sk_err_errno(err, errno, "read '%s'", name);
            break;
        }
        if (n == 0) {
            break;
        }
        buf->len += (size_t)n;
        if (buf->len - start > bytes_max) {
            rc = sk_err_set(err, SK_ERR_LIMIT, "read '%s': larger than %zu bytes", name, bytes_max);
            break;
        }
    }
    if (rc < 0) {
        buf->len = start;
    }
    buf->ptr[buf->len] = '\0';
    return rc;
}

int sys_file_read(const char *path, size_t bytes_max, struct sk_buf *buf, struct sk_err *err)
{
    struct stat st;
    int rc;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);

    if (fd < 0) {
        return errno_of_path(err, errno, "open", path);
    }
    if (fstat(fd, &st) < 0) {
        rc = sk_err_errno(err, errno, "stat '%s'", path);
    } else if (!S_ISREG(st.st_mode)) {
        rc = sk_err_errno(err, S_ISDIR(st.st_mode) ? EISDIR : EINVAL, "read '%s'", path);
    } else {
        rc = sys_fd_read(fd, path, bytes_max, buf, err);
    }
    (void)close(fd); /* opened for reading: nothing can be lost */
    return rc;
}

static int write_all(int fd, struct sk_str bytes)
{
    while (bytes.len) {
        ssize_t n = write(fd, bytes.ptr, bytes.len);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0) {
            return -1;
        }
        bytes.ptr += n;
        bytes.len -= (size_t)n;
    }
    return 0;
}

/* Makes a rename or an unlink in the folder of `path` durable. */
static int sync_parent(const char *path, struct sk_err *err)
{
    const char *slash = strrchr(path, '/');
    sk_autofree char *dir = NULL;
    int fd, saved;

    if (!slash) {
        dir = sk_xstrdup(".");
    } else {
        dir = sk_xstrndup(path, slash == path ? 1 : (size_t)(slash - path));
    }
    fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) {
        return errno_of_path(err, errno, "open", dir);
    }
    saved = fsync(fd) < 0 ? errno : 0;
    (void)close(fd); /* a folder's descriptor holds no data */
    return saved ? sk_err_errno(err, saved, "sync folder '%s'", dir) : 0;
}

int sys_file_write(const char *path, struct sk_str bytes, mode_t mode, struct sk_err *err)
{
    size_t size = strlen(path) + sizeof(".tmp.XXXXXX");
    sk_autofree char *temp = sk_xmalloc(size);
    const char *what = "write";
    int fd, saved;

    (void)snprintf(temp, size, "%s.tmp.XXXXXX", path);
    fd = mkostemp(temp, O_CLOEXEC);
    if (fd < 0) {
        return errno_of_path(err, errno, "create", path);
    }
    if (fchmod(fd, mode) < 0 || write_all(fd, bytes) < 0 || fsync(fd) < 0) {
        saved = errno;
        (void)close(fd); /* the write has already failed */
        goto fail;
    }
    if (close(fd) < 0) {
        saved = errno;
        goto fail;
    }
    if (rename(temp, path) < 0) {
        saved = errno;
        what = "rename";
        goto fail;
    }
    return sync_parent(path, err);
fail:
    (void)unlink(temp); /* best effort: the first error is the one to tell */
    return errno_of_path(err, saved, what, path);
}

int sys_file_remove(const char *path, struct sk_err *err)
{
    if (unlink(path) < 0) {
        return errno == ENOENT ? 0 : sk_err_errno(err, errno, "remove '%s'", path);
    }
    return sync_parent(path, err);
}

static int make_dir(const char *path, mode_t mode, bool exact, struct sk_err *err)
{
    struct stat st;

    if (mkdir(path, mode) == 0) {
        if (exact && chmod(path, mode) < 0) {
            return sk_err_errno(err, errno, "set mode of '%s'", path);
        }
        return sync_parent(path, err);
    }
    if (errno != EEXIST) {
        return errno_of_path(err, errno, "make folder", path);
    }
    if (stat(path, &st) < 0) {
        return errno_of_path(err, errno, "stat", path);
    }
    if (!S_ISDIR(st.st_mode)) {
        return sk_err_errno(err, ENOTDIR, "make folder '%s'", path);
    }
    return 0;
}

int sys_mkdirs(const char *path, mode_t mode, struct sk_err *err)
{
    sk_autofree char *copy = NULL;
    size_t len = strlen(path);

    if (len == 0 || len >= PATH_MAX) {
        return sk_err_set(err, SK_ERR_INPUT, "make folder '%.64s': not a path", path);
    }
    while (len > 1 && path[len - 1] == '/') {
        len--;
    }
    copy = sk_xstrndup(path, len);
    for (size_t i = 1; i < len; i++) {
        if (copy[i] == '/' && copy[i - 1] != '/') {
            int rc;
            copy[i] = '\0';
            rc = make_dir(copy, 0755, false, err);
            copy[i] = '/';
            if (rc < 0) {
                return rc;
            }
        }
    }
    return make_dir(copy, mode, true, err);
}
