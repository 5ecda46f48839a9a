/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SK_SYS_FILE_H
#define SK_SYS_FILE_H

#include <stddef.h>
#include <sys/types.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/str.h"

/*
 * Whole files: bounded reads, and writes that are either the old bytes or the new ones.
 *
 * All calls block on the disk: on a worker, or at start-up. Thread safe. A file that is not there
 * is SK_ERR_NOT_FOUND, one that is larger than asked SK_ERR_LIMIT, the rest SK_ERR_IO with errnum.
 */

/* Appends the whole file to *buf. Only regular files (those of /proc and /sys too), so that a pipe
 * or a device in its place cannot hang the caller. On failure *buf is as it was. */
int sys_file_read(const char *path, size_t bytes_max, struct sk_buf *buf, struct sk_err *err);

/* Appends everything up to the end of a descriptor (standard input, a pipe); `name` is for
 * messages. Waits for the other side. On failure *buf is as it was. */
int sys_fd_read(int fd, const char *name, size_t bytes_max, struct sk_buf *buf, struct sk_err *err);

/*
 * Replaces `path` with `bytes`, mode exactly `mode` whatever the umask: a new file beside it
 * (PATH.tmp.XXXXXX, removed on failure), fsync, rename, fsync of the folder. After it returns 0 the
 * bytes survive a power cut. A symbolic link at `path` is replaced, not followed.
 */
int sys_file_write(const char *path, struct sk_str bytes, mode_t mode, struct sk_err *err);

/* Removes a file durably; one that is not there is fine. */
int sys_file_remove(const char *path, struct sk_err *err);

/* mkdir -p: missing parents get 0755 less the umask, the last folder exactly `mode` if it is made
 * here. One that exists is left as it is; anything else in the way is an error. */
int sys_mkdirs(const char *path, mode_t mode, struct sk_err *err);

#endif
