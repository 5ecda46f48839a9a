/* SPDX-License-Identifier: Apache-2.0 */
#include "lab/spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

static int64_t now_ms(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t); /* cannot fail for this clock */
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static void close_fd(int *fd)
{
    if (*fd >= 0) {
        (void)close(*fd); /* nothing was written through it that could be lost */
        *fd = -1;
    }
}

static bool set_stdio(int fd, int to)
{
    int from = fd >= 0 ? fd : open("/dev/null", O_RDWR);
    return from >= 0 && dup2(from, to) >= 0;
}

/* Runs in the child: only async-signal-safe calls until exec. */
static void child_main(const struct lab_spawn *how, const char *const argv[], int ns_fd, int report,
                       pid_t parent)
{
    sigset_t none;
    (void)sigemptyset(&none);
    (void)sigprocmask(SIG_SETMASK, &none, NULL);
    for (int sig = 1; sig < 32; sig++) {
        (void)signal(sig, SIG_DFL); /* SIGKILL and SIGSTOP refuse, which is fine */
    }
    bool ok = !how->new_session || setsid() >= 0;
    if (ok && how->die_with_parent) {
        ok = prctl(PR_SET_PDEATHSIG, SIGKILL) == 0;
        if (getppid() != parent) {
            _exit(127);
        }
    }
    ok = ok && (ns_fd < 0 || setns(ns_fd, CLONE_NEWNET) == 0);
    ok = ok && (how->working_dir == NULL || chdir(how->working_dir) == 0);
    ok = ok && set_stdio(how->in, 0) && set_stdio(how->out, 1) && set_stdio(how->err, 2);
    if (ok) {
        char *const *args;
        memcpy(&args, &argv, sizeof(args)); /* exec's prototype predates const */
        char *const *env = environ;
        if (how->env != NULL) {
            memcpy(&env, &how->env, sizeof(env));
        }
        (void)execvpe(args[0], args, env);
    }
    int code = errno;
    ssize_t written = write(report, &code, sizeof(code));
    _exit(written == (ssize_t)sizeof(code) ? 127 : 126);
}

int lab_spawn(const struct lab_spawn *how, const char *const argv[], pid_t *ret_pid,
              struct sk_err *err)
{
    int ns_fd = -1;
    int report[2] = {-1, -1};
    int ret = 0;
    if (how->netns != NULL) {
        ns_fd = open(how->netns, O_RDONLY | O_CLOEXEC);
        if (ns_fd < 0) {
            return sk_err_errno(err, errno, "open network namespace '%s'", how->netns);
        }
    }
    if (pipe2(report, O_CLOEXEC) < 0) {
        ret = sk_err_errno(err, errno, "make a pipe");
        goto done;
    }
    pid_t parent = getpid();
    pid_t pid = fork();
    if (pid < 0) {
        ret = sk_err_errno(err, errno, "start '%s'", argv[0]);
        goto done;
    }
    if (pid == 0) {
        child_main(how, argv, ns_fd, report[1], parent);
    }
    close_fd(&report[1]);
    int code = 0;
    ssize_t got;
    do {
        got = read(report[0], &code, sizeof(code));
    } while (got < 0 && errno == EINTR);
    if (got == (ssize_t)sizeof(code)) {
        (void)waitpid(pid, NULL, 0); /* it has ended: only its entry is left */
        ret = sk_err_errno(err, code, "start '%s'", argv[0]);
        goto done;
    }
    *ret_pid = pid;
done:
    close_fd(&ns_fd);
    close_fd(&report[0]);
    close_fd(&report[1]);
    return ret;
}

/* What the program said last, for the message; lines that begin with a space belong to others. */
static struct sk_str last_line(const struct sk_buf *said)
{
    struct sk_str rest = sk_buf_str(said);
    struct sk_str found = SK_STR("no reason given");
    while (rest.len > 0) {
        struct sk_str line;
        (void)sk_str_cut(rest, '\n', &line, &rest);
        if (line.len > 0 && line.ptr[0] != ' ') {
            found = line;
        }
    }
    return found;
}

static void keep(struct sk_buf *buf, const char *bytes, size_t len)
{
    if (buf->len < LAB_RUN_OUTPUT_MAX) {
        sk_buf_add(buf, bytes, len);
    }
}

/* Reads what there is; false once the other side is closed. */
static bool drain(int *fd, struct sk_buf *into)
{
    char chunk[4096];
    ssize_t n = read(*fd, chunk, sizeof(chunk));
    if (n > 0) {
        keep(into, chunk, (size_t)n);
    } else if (n == 0) {
        close_fd(fd);
    }
    return n != 0;
}

struct talk {
    int in, out, err; /* our ends */
    struct sk_buf said, complained;
};

/* Feeds and drains the child until it closes its output. False when time ran out. */
static bool converse(struct talk *t, struct sk_str input, int64_t deadline)
{
    size_t sent = 0;
    while (t->out >= 0 || t->err >= 0) {
        if (t->in >= 0 && sent == input.len) {
            close_fd(&t->in);
        }
        struct pollfd fds[3] = {{t->out, POLLIN, 0}, {t->err, POLLIN, 0}, {t->in, POLLOUT, 0}};
        int64_t left = deadline - now_ms();
        if (left <= 0 || (poll(fds, 3, (int)left) < 0 && errno != EINTR)) {
            return false;
        }
        if (t->in >= 0 && fds[2].revents != 0) {
            ssize_t n = write(t->in, input.ptr + sent, input.len - sent);
            if (n > 0) {
                sent += (size_t)n;
            } else if (n < 0 && errno != EAGAIN && errno != EINTR) {
                close_fd(&t->in); /* it stopped reading: its exit status tells why */
            }
        }
        if (fds[0].revents != 0) {
            (void)drain(&t->out, &t->said);
        }
        if (fds[1].revents != 0) {
            (void)drain(&t->err, &t->complained);
        }
    }
    return true;
}

static int judge(const char *name, int status, const struct talk *t, struct sk_err *err)
{
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0) {
        return 0;
    }
    struct sk_str line = last_line(t->complained.len > 0 ? &t->complained : &t->said);
    return sk_err_set(err, SK_ERR_ENGINE, "'%s' failed (%s %d): %.*s", name,
                      WIFEXITED(status) ? "status" : "signal",
                      WIFEXITED(status) ? WEXITSTATUS(status) : WTERMSIG(status), SK_PRI(line));
}

int lab_run(const char *netns, const char *const argv[], struct sk_str input, int timeout_ms,
            struct sk_buf *out, struct sk_err *err)
{
    int pipes[3][2] = {{-1, -1}, {-1, -1}, {-1, -1}};
    struct talk t = {0};
    int ret = 0;
    int status = 0;
    pid_t pid = -1;
    for (size_t i = 0; ret == 0 && i < 3; i++) {
        ret = pipe2(pipes[i], O_CLOEXEC) < 0 ? sk_err_errno(err, errno, "make a pipe") : 0;
    }
    struct lab_spawn how = LAB_SPAWN_INIT;
    how.netns = netns;
    how.in = pipes[0][0];
    how.out = pipes[1][1];
    how.err = pipes[2][1];
    ret = ret < 0 ? ret : lab_spawn(&how, argv, &pid, err);
    close_fd(&pipes[0][0]);
    close_fd(&pipes[1][1]);
    close_fd(&pipes[2][1]);
    t.in = pipes[0][1];
    t.out = pipes[1][0];
    t.err = pipes[2][0];
    if (ret == 0) {
        (void)fcntl(t.in, F_SETFL, O_NONBLOCK); /* a pipe of ours: cannot fail */
        if (converse(&t, input, now_ms() + timeout_ms) && lab_wait(pid, timeout_ms, &status)) {
            ret = judge(argv[0], status, &t, err);
        } else {
            (void)kill(pid, SIGKILL);
            (void)waitpid(pid, NULL, 0);
            ret = sk_err_set(err, SK_ERR_TIMEOUT, "'%s' did not end within %d ms", argv[0],
                             timeout_ms);
        }
    }
    if (ret == 0 && out != NULL && t.said.len > 0) {
        sk_buf_add(out, t.said.ptr, t.said.len);
    }
    close_fd(&t.in);
    close_fd(&t.out);
    close_fd(&t.err);
    sk_buf_release(&t.said);
    sk_buf_release(&t.complained);
    return ret;
}

bool lab_wait(pid_t pid, int timeout_ms, int *ret_status)
{
    int64_t deadline = now_ms() + timeout_ms;
    int fd = (int)syscall(SYS_pidfd_open, pid, 0);
    bool ended = false;
    for (;;) {
        int status = 0;
        pid_t got = waitpid(pid, &status, WNOHANG);
        if (got == pid) {
            if (ret_status != NULL) {
                *ret_status = status;
            }
            ended = true;
            break;
        }
        int64_t left = deadline - now_ms();
        if (left <= 0 || (got < 0 && errno != EINTR)) {
            break;
        }
        struct pollfd p = {fd, POLLIN, 0};
        (void)poll(&p, fd >= 0 ? 1 : 0, (int)(fd >= 0 || left < 10 ? left : 10));
    }
    close_fd(&fd);
    return ended;
}

void lab_end(pid_t pid, int grace_ms)
{
    if (pid <= 0) {
        return;
    }
    (void)kill(pid, SIGTERM); /* ESRCH = it ended already */
    if (!lab_wait(pid, grace_ms, NULL)) {
        (void)kill(pid, SIGKILL);
        (void)waitpid(pid, NULL, 0);
    }
}

unsigned long long lab_start_time(pid_t pid)
{
    char path[64];
    char text[1024];
    (void)snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return 0;
    }
    ssize_t n = read(fd, text, sizeof(text) - 1);
    (void)close(fd);
    if (n <= 0) {
        return 0;
    }
    text[n] = '\0';
    /* the name in brackets may hold anything: fields are counted from the last bracket */
    const char *p = strrchr(text, ')');
    if (p == NULL || strncmp(p, ") Z", 3) == 0 || strncmp(p, ") X", 3) == 0) {
        return 0; /* it ended, and nobody has asked how yet */
    }
    for (int field = 2; p != NULL && field < 22; field++) {
        p = strchr(p + 1, ' ');
    }
    return p != NULL ? strtoull(p + 1, NULL, 10) : 0;
}
