/* SPDX-License-Identifier: Apache-2.0 */
#include "shim/shim.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/*
 * Lines are assembled for each stream and written in batches, whole lines only, so that rotation
 * never cuts one. A write that fails (a full disk) loses the batch, never blocks the workload, and
 * is owned up to by a line of its own as soon as there is room again.
 */
#define PREFIX_MAX 64
static struct {
    int fd;
    long size;
    long bytes_max, files_max;
    uint64_t lost;
    char line[SHIM_STREAM_COUNT][SHIM_LOG_LINE_MAX];
    size_t nline[SHIM_STREAM_COUNT];
    char out[16384];
    size_t nout;
} logs = {.fd = -1};

static const char *const stream_names[SHIM_STREAM_COUNT] = {"stdout", "stderr"};

int shim_log_open(const struct shim_config *config, struct shim_reason *reason)
{
    struct stat st;

    logs.bytes_max = config->log_bytes_max;
    logs.files_max = config->log_files_max;
    logs.fd = open("log", O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (logs.fd < 0 || fstat(logs.fd, &st) < 0) {
        return shim_fail_errno(reason, "open '%s/log'", config->dir);
    }
    logs.size = st.st_size;
    return 0;
}

static void name_of(long i, char out[32])
{
    (void)snprintf(out, 32, i ? "log.%ld" : "log", i);
}

static void rotate(void)
{
    char from[32], to[32];
    int fd;

    if (logs.files_max == 1) {
        if (ftruncate(logs.fd, 0) == 0) {
            logs.size = 0;
        }
        return;
    }
    for (long i = logs.files_max - 1; i > 0; i--) {
        name_of(i - 1, from);
        name_of(i, to);
        (void)rename(from, to); /* an older one that does not exist yet is no error */
    }
    fd = open("log", O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd >= 0) {
        (void)close(logs.fd);
        logs.fd = fd;
        logs.size = 0;
    }
}

static bool write_all(const char *bytes, size_t len)
{
    size_t done = 0;

    while (done < len) {
        ssize_t n = write(logs.fd, bytes + done, len - done);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            if (done > 0) {
                (void)!ftruncate(logs.fd, logs.size); /* no half lines */
            }
            return false;
        }
        done += (size_t)n;
    }
    logs.size += (long)len;
    return true;
}

static size_t prefix(char out[PREFIX_MAX], enum shim_stream stream, char flag)
{
    struct timespec ts;
    struct tm tm;
    size_t n;

    (void)clock_gettime(CLOCK_REALTIME, &ts);
    (void)gmtime_r(&ts.tv_sec, &tm);
    n = strftime(out, PREFIX_MAX, "%Y-%m-%dT%H:%M:%S", &tm);
    n += (size_t)snprintf(out + n, PREFIX_MAX - n, ".%03ldZ %s %c ", ts.tv_nsec / 1000000,
                          stream_names[stream], flag);
    return n;
}

void shim_log_flush(void)
{
    if (logs.nout == 0) {
        return;
    }
    if (logs.size > 0 && logs.size + (long)logs.nout > logs.bytes_max) {
        rotate();
    }
    if (logs.lost > 0) {
        char note[PREFIX_MAX + 96];
        size_t n = prefix(note, SHIM_STDERR, 'F');
        n += (size_t)snprintf(note + n, sizeof(note) - n,
                              "skerry: %" PRIu64 " bytes of log were lost: the disk was full\n",
                              logs.lost);
        if (write_all(note, n)) {
            logs.lost = 0;
        }
    }
    if (!write_all(logs.out, logs.nout)) {
        logs.lost += logs.nout;
    }
    logs.nout = 0;
}

static void emit(enum shim_stream stream, char flag)
{
    char head[PREFIX_MAX];
    size_t nhead = prefix(head, stream, flag);
    size_t need = nhead + logs.nline[stream] + 1;

    if (logs.nout + need > sizeof(logs.out)) {
        shim_log_flush();
    }
    memcpy(logs.out + logs.nout, head, nhead);
    memcpy(logs.out + logs.nout + nhead, logs.line[stream], logs.nline[stream]);
    logs.out[logs.nout + need - 1] = '\n';
    logs.nout += need;
    logs.nline[stream] = 0;
}

static void take(enum shim_stream stream, const char *bytes, size_t len)
{
    while (len > 0) {
        const char *end = memchr(bytes, '\n', len);
        size_t part = end ? (size_t)(end - bytes) : len;
        size_t room = SHIM_LOG_LINE_MAX - logs.nline[stream];

        if (part > room) {
            part = room;
            end = NULL;
        }
        memcpy(logs.line[stream] + logs.nline[stream], bytes, part);
        logs.nline[stream] += part;
        bytes += part;
        len -= part;
        if (end) {
            emit(stream, 'F');
            bytes++;
            len--;
        } else if (logs.nline[stream] == SHIM_LOG_LINE_MAX) {
            emit(stream, 'P');
        }
    }
}

bool shim_log_pump(enum shim_stream stream, int fd)
{
    char bytes[8192];
    ssize_t n = read(fd, bytes, sizeof(bytes));

    if (n > 0) {
        take(stream, bytes, (size_t)n);
        return true;
    }
    return n < 0 && (errno == EAGAIN || errno == EINTR);
}

void shim_log_end(enum shim_stream stream)
{
    if (logs.nline[stream] > 0) {
        emit(stream, 'F');
    }
}
