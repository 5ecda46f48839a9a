/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/backups.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"
#include "daemon/backup.h"
#include "sys/clock.h"
#include "sys/file.h"
#include "sys/queue.h"

#define LOOK_MS 60000
#define FIRST_LOOK_MS 5000 /* what begins here is busy with more important things */
#define RETRY_MS (10 * 60000)
#define NAME_FORM "%Y%m%dT%H%M%SZ.backup"
#define NAME_SIZE 32
#define MAKING ".making"
#define LIST_MAX 1024

struct backups {
    char dir[400], folder[440];
    struct sys_worker *worker;
    struct job *job; /* under way */
    uv_timer_t timer;
    int64_t not_before_ms;
    bool ending;    /* written by the loop, read by the worker: never back to false */
    bool told_none; /* that there is no code to seal to was logged */
};

struct job {
    struct sys_job sys;
    struct backups *backups;
    bool made;
    struct sk_err err;
};

/* ---- the folder ---- */

struct found {
    char name[NAME_SIZE];
    int64_t wall_ms, bytes;
};

static int by_age(const void *a, const void *b) /* newest first */
{
    return strcmp(((const struct found *)b)->name, ((const struct found *)a)->name);
}

static bool read_name(const char *name, int64_t *ret_wall_ms)
{
    struct tm tm = {0};
    char again[NAME_SIZE];
    const char *end = strptime(name, NAME_FORM, &tm);
    time_t at;

    if (!end || *end) {
        return false;
    }
    at = timegm(&tm);
    if (!gmtime_r(&at, &tm) || !strftime(again, sizeof(again), NAME_FORM, &tm) ||
        strcmp(again, name) != 0) {
        return false;
    }
    *ret_wall_ms = (int64_t)at * 1000;
    return true;
}

/* Newest first; a folder that is missing is empty. */
static int list(const char *folder, struct found *ret, size_t *ret_count, struct sk_err *err)
{
    DIR *dir = opendir(folder);
    struct dirent *entry;
    size_t count = 0;

    if (!dir && errno != ENOENT) {
        return sk_err_errno(err, errno, "open '%s'", folder);
    }
    while (dir && count < LIST_MAX && (entry = readdir(dir))) {
        struct stat st;
        if (read_name(entry->d_name, &ret[count].wall_ms) &&
            fstatat(dirfd(dir), entry->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
            S_ISREG(st.st_mode)) {
            ret[count].bytes = st.st_size;
            memcpy(ret[count].name, entry->d_name, strlen(entry->d_name) + 1); /* it has the form */
            count++;
        }
    }
    if (dir) {
        (void)closedir(dir);
    }
    qsort(ret, count, sizeof(*ret), by_age);
    *ret_count = count;
    return 0;
}

bool backups_due(const char *folder, int64_t wall_ms)
{
    struct found *found = sk_xcalloc(LIST_MAX, sizeof(*found));
    size_t count = 0;
    bool due = list(folder, found, &count, NULL) == 0;

    for (size_t i = 0; i < count; i++) {
        due = due && (found[i].wall_ms > wall_ms || wall_ms - found[i].wall_ms >= BACKUPS_EVERY_MS);
    }
    free(found);
    return due;
}

int backups_trim(const char *folder, struct sk_err *err)
{
    struct found *found = sk_xcalloc(LIST_MAX, sizeof(*found));
    size_t count = 0;
    int64_t bytes = 0;
    int r = list(folder, found, &count, err);

    for (size_t i = 0; r == 0 && i < count; i++) {
        bytes += found[i].bytes;
        if (i >= BACKUPS_KEPT_MAX || (i >= BACKUPS_KEPT_MIN && bytes > BACKUPS_BYTES_MAX)) {
            char path[512];
            (void)snprintf(path, sizeof(path), "%s/%s", folder, found[i].name);
            r = sys_file_remove(path, err);
        }
    }
    free(found);
    return r;
}

/* ---- one more ---- */

static int room(const char *folder, struct sk_err *err)
{
    struct statvfs fs;

    if (statvfs(folder, &fs) != 0) {
        return sk_err_errno(err, errno, "look at the disk of '%s'", folder);
    }
    return fs.f_bavail < fs.f_blocks / 10
               ? sk_err_set(err, SK_ERR_LIMIT, "less than a tenth of the disk of '%s' is free",
                            folder)
               : 0;
}

static int write_bytes(int fd, const char *bytes, size_t len, struct sk_err *err)
{
    while (len > 0) {
        ssize_t n = write(fd, bytes, len);
        if (n < 0 && errno != EINTR) {
            return sk_err_errno(err, errno, "write a backup");
        }
        bytes += n > 0 ? n : 0;
        len -= n > 0 ? (size_t)n : 0;
    }
    return 0;
}

static int copy(struct backup *backup, int fd, const bool *ending, struct sk_err *err)
{
    char *bytes = sk_xmalloc(1 << 16);
    ssize_t n = 0;
    int r = 0;

    while (r == 0 && (n = backup_read(backup, bytes, 1 << 16, err)) > 0) {
        r = write_bytes(fd, bytes, (size_t)n, err);
        if (r == 0 && ending && __atomic_load_n(ending, __ATOMIC_RELAXED)) {
            r = sk_err_set(err, SK_ERR_CANCELLED, "the daemon ends");
        }
    }
    free(bytes);
    if (n < 0) {
        return (int)n;
    }
    return r < 0 || fsync(fd) == 0 ? r : sk_err_errno(err, errno, "write a backup");
}

static int sync_folder(const char *folder, struct sk_err *err)
{
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int r = fd < 0 || fsync(fd) != 0 ? sk_err_errno(err, errno, "write '%s'", folder) : 0;

    if (fd >= 0) {
        (void)close(fd);
    }
    return r;
}

int backups_make(const char *dir, const char *folder, int64_t wall_ms, const bool *ending,
                 struct sk_err *err)
{
    struct backup *backup = NULL;
    time_t at = (time_t)(wall_ms / 1000);
    char making[512], path[512], name[NAME_SIZE];
    struct tm tm;
    int fd = -1;
    int r = sys_mkdirs(folder, 0700, err);

    (void)gmtime_r(&at, &tm);
    (void)strftime(name, sizeof(name), NAME_FORM, &tm);
    (void)snprintf(path, sizeof(path), "%s/%s", folder, name);
    (void)snprintf(making, sizeof(making), "%s/" MAKING, folder);
    r = r < 0 ? r : room(folder, err);
    r = r < 0 ? r : backup_new(dir, &backup, err);
    if (r == 0) {
        (void)unlink(making);
        fd = open(making, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
        r = fd < 0 ? sk_err_errno(err, errno, "open '%s'", making) : copy(backup, fd, ending, err);
    }
    backup_free(backup);
    if (fd >= 0) {
        (void)close(fd);
    }
    if (r == 0 && rename(making, path) != 0) {
        r = sk_err_errno(err, errno, "rename '%s'", making);
    }
    if (r < 0 && fd >= 0) {
        (void)unlink(making);
    }
    return r < 0 ? r : sync_folder(folder, err);
}

/* ---- by itself ---- */

static void job_run(struct sys_job *sys)
{
    struct job *job = (struct job *)sys;
    struct backups *b = job->backups;
    int64_t wall_ms = sys_wall_ms();

    if (backups_due(b->folder, wall_ms) && !__atomic_load_n(&b->ending, __ATOMIC_RELAXED)) {
        job->made = backups_make(b->dir, b->folder, wall_ms, &b->ending, &job->err) == 0;
        if (job->made) {
            (void)backups_trim(b->folder, &job->err);
        }
    }
}

static void job_done(struct sys_job *sys)
{
    struct job *job = (struct job *)sys;
    struct backups *b = job->backups;
    bool none = job->err.code == SK_ERR_NOT_FOUND; /* no code: a cluster older than codes are */

    b->job = NULL;
    if (job->made) {
        sk_log(SK_LOG_INFO, "backup made", "folder=%s", b->folder);
        b->not_before_ms = sys_now_ms() + BACKUPS_EVERY_MS / 6; /* whatever the wall clock says */
    }
    if (job->err.code < 0 && !b->ending && !(none && b->told_none)) {
        sk_log_err(SK_LOG_WARN, "no backup made", &job->err);
        b->told_none = none;
    }
    if (job->err.code < 0) {
        b->not_before_ms = sys_now_ms() + RETRY_MS;
    }
    free(job);
}

static void on_timer(uv_timer_t *timer)
{
    struct backups *b = timer->data;

    if (b->job || sys_now_ms() < b->not_before_ms) {
        return;
    }
    b->job = sk_xcalloc(1, sizeof(*b->job));
    b->job->sys = (struct sys_job){.run = job_run, .done = job_done};
    b->job->backups = b;
    SK_ASSERT(sys_worker_submit(b->worker, &b->job->sys));
}

struct backups *backups_new(uv_loop_t *loop, const char *dir)
{
    struct backups *b = sk_xcalloc(1, sizeof(*b));

    (void)snprintf(b->dir, sizeof(b->dir), "%s", dir);
    (void)snprintf(b->folder, sizeof(b->folder), "%s/control/backups", dir);
    b->worker = sys_worker_new(loop, "backups", 1);
    (void)uv_timer_init(loop, &b->timer);
    b->timer.data = b;
    (void)uv_timer_start(&b->timer, on_timer, FIRST_LOOK_MS, LOOK_MS);
    return b;
}

static void on_closed(uv_handle_t *handle)
{
    free(handle->data);
}

void backups_free(struct backups *b)
{
    if (b) {
        __atomic_store_n(&b->ending, true, __ATOMIC_RELAXED);
        sys_worker_free(b->worker);
        uv_close((uv_handle_t *)&b->timer, on_closed);
    }
}
