/* SPDX-License-Identifier: Apache-2.0 */
#include "shim/shim.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

const char *const shim_state_names[SHIM_STATE_COUNT] = {"starting", "running", "exited", "failed"};

#ifdef SHIM_NEXT /* the test build of the next version: base/version.h */
#define SHIM_MARK ",\"next_version\":{\"by\":\"0.2.0-next\"}"
#else
#define SHIM_MARK ""
#endif

static int next_fd = -1; /* `status.next`: space that the last record will need */

/* JSON string of a reason: what cannot stand as it is becomes '?'. */
static void plain(const char *text, char out[SHIM_REASON_MAX])
{
    size_t n = 0;
    for (; text && *text && n + 1 < SHIM_REASON_MAX; text++) {
        unsigned char c = (unsigned char)*text;
        out[n++] = c < 0x20 || c >= 0x7f || c == '"' || c == '\\' ? '?' : *text;
    }
    out[n] = '\0';
}

static void boot_id(char out[40])
{
    int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? 0 : read(fd, out, 36);

    if (fd >= 0) {
        (void)close(fd);
    }
    out[n > 0 ? n : 0] = '\0';
}

static size_t format_status(const struct shim_config *config, const struct shim_status *s,
                            char out[SHIM_STATUS_BYTES])
{
    char reason[SHIM_REASON_MAX], boot[40], exit_text[16] = "null", signal_text[16] = "null";
    int n;

    plain(s->reason, reason);
    boot_id(boot);
    if (s->exit >= 0) {
        (void)snprintf(exit_text, sizeof(exit_text), "%d", s->exit);
    }
    if (s->signal > 0) {
        (void)snprintf(signal_text, sizeof(signal_text), "%d", s->signal);
    }
    memset(out, ' ', SHIM_STATUS_BYTES);
    n = snprintf(out, SHIM_STATUS_BYTES - 1,
                 "{\"v\":1,\"id\":\"%s\",\"run\":%ld,\"state\":\"%s\",\"boot\":\"%s\","
                 "\"shim_pid\":%ld,\"pid\":%ld,\"start\":%llu,\"exit\":%s,\"signal\":%s,"
                 "\"oom\":%s,\"stopped\":%s,\"lease_over\":%s,\"started_ms\":%" PRId64
                 ",\"ended_ms\":%" PRId64 ",\"reason\":\"%s\"" SHIM_MARK "}",
                 config->id, config->run, shim_state_names[s->state], boot, (long)getpid(),
                 (long)s->pid, s->start, exit_text, signal_text, s->oom ? "true" : "false",
                 s->stopped ? "true" : "false", s->lease_over ? "true" : "false", s->started_ms,
                 s->ended_ms, reason);
    if (n < 0 || n >= SHIM_STATUS_BYTES - 1) {
        n = SHIM_STATUS_BYTES - 2; /* cannot happen: every part is bounded well below */
    }
    out[n] = '\n';
    return (size_t)n + 1;
}

/* Every record fills the same block, so the one set aside is always large enough. */
static int write_block(int fd, const char *bytes, size_t len)
{
    char block[SHIM_STATUS_BYTES];

    memset(block, ' ', sizeof(block));
    memcpy(block, bytes, len);
    block[sizeof(block) - 1] = '\n';
    if (block[len - 1] == '\n' && len < sizeof(block)) {
        block[len - 1] = ' ';
    }
    return pwrite(fd, block, sizeof(block), 0) == (ssize_t)sizeof(block) ? 0 : -1;
}

static int set_aside(const struct shim_config *config, struct shim_reason *reason)
{
    next_fd = open("status.next", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (next_fd < 0 || write_block(next_fd, " ", 1) < 0 || fdatasync(next_fd) < 0) {
        return shim_fail_errno(reason, "write '%s/status.next'", config->dir);
    }
    return 0;
}

int shim_status_update(const struct shim_config *config, const struct shim_status *status,
                       struct shim_reason *reason)
{
    char bytes[SHIM_STATUS_BYTES];
    size_t len = format_status(config, status, bytes);
    int fd = open("status.tmp", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    int bad;

    if (fd < 0) {
        return shim_fail_errno(reason, "write '%s/status.tmp'", config->dir);
    }
    bad = write_block(fd, bytes, len) < 0;
    if (bad || rename("status.tmp", "status") < 0) {
        (void)shim_fail_errno(reason, "write '%s/status'", config->dir);
        (void)close(fd);
        return -1;
    }
    (void)close(fd);
    return 0;
}

int shim_status_begin(const struct shim_config *config, const struct shim_status *status,
                      struct shim_reason *reason)
{
    if (set_aside(config, reason) < 0) {
        return -1;
    }
    return shim_status_update(config, status, reason);
}

int shim_status_end(const struct shim_config *config, const struct shim_status *status,
                    struct shim_reason *reason)
{
    char bytes[SHIM_STATUS_BYTES];
    size_t len = format_status(config, status, bytes);
    int dir;

    if (next_fd < 0 || write_block(next_fd, bytes, len) < 0 || fdatasync(next_fd) < 0 ||
        rename("status.next", "status") < 0) {
        return shim_fail_errno(reason, "write '%s/status'", config->dir);
    }
    dir = open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dir >= 0) {
        (void)fsync(dir); /* the record itself is safe; a crash now shows the one before it */
        (void)close(dir);
    }
    return 0;
}

unsigned long long shim_proc_start(pid_t pid)
{
    char path[64], text[1024];
    const char *at;
    unsigned long long start = 0;
    ssize_t n;
    int fd;

    (void)snprintf(path, sizeof(path), "/proc/%ld/stat", (long)pid);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return 0;
    }
    n = read(fd, text, sizeof(text) - 1);
    (void)close(fd);
    text[n > 0 ? n : 0] = '\0';
    at = strrchr(text, ')'); /* the name may hold anything, also spaces and brackets */
    for (int field = 2; at && field < 22; field++) {
        at = strchr(at + 1, ' ');
    }
    if (at && sscanf(at, " %llu", &start) != 1) {
        start = 0;
    }
    return start;
}
