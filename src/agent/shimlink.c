/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/shimlink.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/json.h"
#include "base/mem.h"
#include "sys/file.h"

#define LINE_MAX_BYTES 4096

struct shim_link {
    uv_pipe_t pipe;
    const struct shim_link_calls *calls;
    void *ctx;
    pid_t peer;
    bool greeted;
    size_t nin;
    char in[LINE_MAX_BYTES];
};

struct line_write {
    uv_write_t req;
    char text[LINE_MAX_BYTES];
};

static void on_freed(uv_handle_t *handle)
{
    free(handle->data);
}

void shim_link_close(struct shim_link *link)
{
    if (link && !uv_is_closing((uv_handle_t *)&link->pipe)) {
        link->calls = NULL;
        uv_close((uv_handle_t *)&link->pipe, on_freed);
    }
}

static void gone(struct shim_link *link)
{
    const struct shim_link_calls *calls = link->calls;
    void *ctx = link->ctx;

    if (calls) {
        shim_link_close(link);
        calls->gone(ctx);
    }
}

static void take_hello(struct shim_link *link, const char *line)
{
    char id[80], state[16];
    long run, shim, pid;

    if (link->greeted) {
        return; /* an answer to `status` says nothing new */
    }
    if (sscanf(line, "hello %79s %ld %15s %ld %ld", id, &run, state, &shim, &pid) != 5 ||
        shim != (long)link->peer) {
        gone(link);
        return;
    }
    if (strcmp(state, "running") == 0) {
        link->greeted = true;
        link->calls->hello(link->ctx, run, (pid_t)pid);
    }
}

static void take_line(struct shim_link *link, const char *line)
{
    if (strncmp(line, "hello ", 6) == 0) {
        take_hello(link, line);
    } else if (strcmp(line, "check ok") == 0) {
        link->calls->checked(link->ctx, true, "");
    } else if (strncmp(line, "check fail ", 11) == 0) {
        link->calls->checked(link->ctx, false, line + 11);
    } /* "ok", "ended": what counts is the end of the stream, and the status file */
}

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
    struct shim_link *link = handle->data;
    *buf = uv_buf_init(link->in + link->nin, (unsigned)(sizeof(link->in) - link->nin));
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
    struct shim_link *link = stream->data;
    char *end;

    if (n < 0 || !link->calls) {
        gone(link);
        return;
    }
    link->nin += (size_t)n;
    while (link->calls && (end = memchr(link->in, '\n', link->nin))) {
        char line[LINE_MAX_BYTES];
        size_t len = (size_t)(end - link->in);
        memcpy(line, link->in, len);
        line[len] = '\0';
        link->nin -= len + 1;
        memmove(link->in, end + 1, link->nin);
        take_line(link, line);
    }
    if (link->calls && link->nin == sizeof(link->in)) {
        gone(link);
    }
}

/* By way of the open folder: the path of a data folder may be longer than a socket's name can be.
 */
static int connect_shim(const char *dir, struct sk_err *err)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    int folder = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
    int fd = -1, rc = -1, saved;

    if (folder >= 0) {
        (void)snprintf(at.sun_path, sizeof(at.sun_path), "/proc/self/fd/%d/shim.sock", folder);
        fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        rc = fd < 0 ? -1 : connect(fd, (const struct sockaddr *)&at, sizeof(at));
    }
    saved = errno;
    if (folder >= 0) {
        (void)close(folder);
    }
    if (rc < 0) {
        if (fd >= 0) {
            (void)close(fd);
        }
        (void)sk_err_errno(err, saved, "connect to the shim in '%s'", dir);
        return -1;
    }
    return fd;
}

int shim_link_open(uv_loop_t *loop, const char *dir, const struct shim_link_calls *calls, void *ctx,
                   struct shim_link **ret, struct sk_err *err)
{
    struct ucred peer;
    socklen_t len = sizeof(peer);
    struct shim_link *link;
    int fd = connect_shim(dir, err);

    if (fd < 0) {
        return SK_ERR_UNAVAILABLE;
    }
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) < 0) {
        (void)sk_err_errno(err, errno, "ask who listens in '%s'", dir);
        (void)close(fd);
        return SK_ERR_UNAVAILABLE;
    }
    link = sk_xcalloc(1, sizeof(*link));
    link->calls = calls;
    link->ctx = ctx;
    link->peer = peer.pid;
    (void)uv_pipe_init(loop, &link->pipe, 0);
    link->pipe.data = link;
    (void)uv_pipe_open(&link->pipe, fd);
    (void)uv_read_start((uv_stream_t *)&link->pipe, on_alloc, on_read);
    *ret = link;
    return 0;
}

static void on_written(uv_write_t *req, int status)
{
    free(req); /* a failed write is followed by the end of the stream */
}

static void say(struct shim_link *link, const char *text)
{
    struct line_write *w = sk_xmalloc(sizeof(*w));
    int n = snprintf(w->text, sizeof(w->text), "%s\n", text);
    uv_buf_t buf = uv_buf_init(w->text, (unsigned)n);

    SK_ASSERT(n > 0 && n < (int)sizeof(w->text));
    if (uv_write(&w->req, (uv_stream_t *)&link->pipe, &buf, 1, on_written) < 0) {
        free(w);
    }
}

void shim_link_stop(struct shim_link *link, int signal, int64_t grace_ms)
{
    char text[64];
    (void)snprintf(text, sizeof(text), "stop %d %" PRId64, signal, grace_ms);
    say(link, text);
}

void shim_link_lease(struct shim_link *link, int64_t until_ms)
{
    char text[64];
    (void)snprintf(text, sizeof(text), "lease %" PRId64, until_ms);
    say(link, text);
}

void shim_link_check(struct shim_link *link, const char *what)
{
    char text[LINE_MAX_BYTES - 8];
    (void)snprintf(text, sizeof(text), "check %s", what);
    say(link, text);
}

static bool is_this_boot(struct sk_str boot)
{
    struct sk_buf buf = SK_BUF_INIT;
    bool same;

    if (sys_file_read("/proc/sys/kernel/random/boot_id", 64, &buf, NULL) < 0) {
        return false;
    }
    same = buf.len >= 36 && boot.len == 36 && memcmp(buf.ptr, boot.ptr, 36) == 0;
    sk_buf_release(&buf);
    return same;
}

static int number_or(const struct sk_node *root, const char *key, int dflt)
{
    const struct sk_node *node = sk_map_get(root, sk_str(key));
    return node && node->kind == SK_NUMBER ? (int)sk_map_int(root, key, dflt) : dflt;
}

static int read_record(const char *path, struct sk_arena *arena, struct shim_record *ret,
                       struct sk_err *err)
{
    struct sk_buf buf = SK_BUF_INIT;
    const struct sk_node *root;
    struct sk_str state, reason;
    int rc = sys_file_read(path, 4096, &buf, err);

    if (rc == 0) {
        rc = sk_json_read(arena, path, sk_buf_str(&buf), NULL, &root, err);
    }
    sk_buf_release(&buf);
    if (rc < 0) {
        return rc;
    }
    if (root->kind != SK_MAP) {
        return sk_err_set(err, SK_ERR_CORRUPT, "'%s' is no status", path);
    }
    memset(ret, 0, sizeof(*ret));
    state = sk_map_str(root, "state", SK_STR(""));
    reason = sk_map_str(root, "reason", SK_STR(""));
    ret->run = sk_map_int(root, "run", 0);
    ret->failed = sk_str_is(state, "failed");
    ret->ended = ret->failed || sk_str_is(state, "exited");
    ret->oom = sk_map_bool(root, "oom", false);
    ret->stopped = sk_map_bool(root, "stopped", false);
    ret->lease_over = sk_map_bool(root, "lease_over", false);
    ret->this_boot = is_this_boot(sk_map_str(root, "boot", SK_STR("")));
    ret->pid = (pid_t)sk_map_int(root, "pid", 0);
    ret->start = (unsigned long long)sk_map_int(root, "start", 0);
    ret->exit = number_or(root, "exit", -1);
    ret->signal = number_or(root, "signal", 0);
    (void)snprintf(ret->reason, sizeof(ret->reason), "%.*s", SK_PRI(reason));
    return 0;
}

int shim_record_read(const char *dir, struct shim_record *ret, struct sk_err *err)
{
    struct sk_arena *arena = sk_arena_new();
    char path[1100];
    int rc;

    (void)snprintf(path, sizeof(path), "%s/status", dir);
    rc = read_record(path, arena, ret, err);
    sk_arena_free(arena);
    return rc;
}

/* Session and start time of a process: fields 6 and 22 of its stat line. */
static bool process_session(const char *pid, long *ret_session, unsigned long long *ret_start)
{
    char path[64];
    struct sk_buf buf = SK_BUF_INIT;
    const char *at;
    bool ok = false;

    (void)snprintf(path, sizeof(path), "/proc/%.16s/stat", pid);
    if (sys_file_read(path, 4096, &buf, NULL) == 0 && (at = strrchr(buf.ptr, ')')) &&
        sscanf(at, ") %*c %*d %*d %ld", ret_session) == 1) {
        for (int field = 2; at && field < 22; field++) {
            at = strchr(at + 1, ' ');
        }
        ok = at && sscanf(at, " %llu", ret_start) == 1;
    }
    sk_buf_release(&buf);
    return ok;
}

void shim_kill_orphans(const struct shim_record *record)
{
    DIR *proc;
    struct dirent *entry;

    if (!record->this_boot || record->pid <= 1 || record->ended || !(proc = opendir("/proc"))) {
        return;
    }
    while ((entry = readdir(proc))) {
        long session = 0;
        unsigned long long start = 0;
        /* A later session of the same number starts with its leader, which is younger than ours
         * was. */
        if (entry->d_name[0] >= '1' && entry->d_name[0] <= '9' &&
            process_session(entry->d_name, &session, &start) && session == (long)record->pid &&
            start >= record->start) {
            (void)kill((pid_t)strtol(entry->d_name, NULL, 10), SIGKILL);
        }
    }
    (void)closedir(proc);
}
