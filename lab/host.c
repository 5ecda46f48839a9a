/* SPDX-License-Identifier: Apache-2.0 */
#include "lab/host.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/mem.h"

#if defined(__x86_64__)
#define NATIVE_ARCH AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define NATIVE_ARCH AUDIT_ARCH_AARCH64
#else
#error "the number of this architecture in seccomp filters is not known here"
#endif

#define COMMAND_BYTES_MAX 1100
#define LISTENERS_MAX 16 /* a host whose daemon was started again and again: each has one */
#define HELD_MAX 1024    /* calls that wait at once; more are let through at once */

struct held {
    uint64_t due_ns, id;
    int listener;
};

struct first {
    int talk, signals;
    struct lab_host_shared *shared;
    pid_t daemon;
    int listeners[LISTENERS_MAX];
    size_t nlisteners;
    struct held held[HELD_MAX];
    size_t nheld;
};

static uint64_t now_ns(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t); /* cannot fail for this clock */
    return (uint64_t)t.tv_sec * 1000000000ULL + (uint64_t)t.tv_nsec;
}

/* ---- the daemon ---- */

/* From here on every call that flushes a disk, of this process and all below it, is asked about. */
static int install_filter(void)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, NATIVE_ARCH, 0, 7),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_fsync, 6, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_fdatasync, 5, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_sync, 4, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_syncfs, 3, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_sync_file_range, 2, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_msync, 1, 0),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF),
    };
    struct sock_fprog program = {SK_ARRAY_LEN(code), code};
    return (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER,
                        &program);
}

/* In the child, which does not come back: one thread, nothing of the parent's is in use. */
static void become_daemon(const char *const words[3], int ready, int go)
{
    const char *argv[] = {words[0], "daemon", "--data", words[1], NULL};
    char byte;
    sigset_t none;
    int log = open(words[2], O_WRONLY | O_CREAT | O_APPEND, 0644);
    int null = open("/dev/null", O_RDONLY);
    (void)sigemptyset(&none);
    (void)sigprocmask(SIG_SETMASK, &none, NULL);
    bool ok = log >= 0 && null >= 0 && setsid() >= 0 && dup2(null, 0) >= 0 && dup2(log, 1) >= 0 &&
              dup2(log, 2) >= 0;
    int listener = ok ? install_filter() : -1;
    if (listener < 0) {
        (void)dprintf(2, "skerry-lab: host: cannot prepare the daemon: %s\n", strerror(errno));
        _exit(127);
    }
    /* the parent copies the descriptor; then it is closed by exec */
    if (write(ready, &listener, sizeof(listener)) != (ssize_t)sizeof(listener) ||
        read(go, &byte, 1) != 1 || close_range(3, ~0U, 0) < 0) {
        _exit(127);
    }
    char *const *args;
    const char *const *from = argv;
    memcpy(&args, &from, sizeof(args)); /* exec's prototype predates const */
    (void)execv(args[0], args);
    (void)dprintf(2, "skerry-lab: host: start '%s': %s\n", words[0], strerror(errno));
    _exit(127);
}

/* The child's listener, copied; -1 if the child ended before it had one. */
static int take_listener(pid_t child, int ready)
{
    int number = -1;
    int fd = -1;
    int pidfd = (int)syscall(SYS_pidfd_open, child, 0);
    if (pidfd >= 0 && read(ready, &number, sizeof(number)) == (ssize_t)sizeof(number)) {
        fd = (int)syscall(SYS_pidfd_getfd, pidfd, number, 0);
    }
    if (pidfd >= 0) {
        (void)close(pidfd);
    }
    return fd;
}

static void start_daemon(struct first *f, char *command, size_t len)
{
    const char *words[3] = {command, NULL, NULL};
    int ready[2], go[2];
    command[len] = '\0';
    for (size_t i = 1; i < 3; i++) {
        char *line = strchr(words[i - 1], '\n');
        if (line == NULL) {
            return; /* the keeper sends three */
        }
        *line = '\0';
        words[i] = line + 1;
    }
    if (f->daemon > 0 || f->nlisteners == LISTENERS_MAX) {
        return; /* the keeper looked before it asked; full only after many crashes of a daemon */
    }
    if (pipe2(ready, O_CLOEXEC) < 0) {
        return;
    }
    if (pipe2(go, O_CLOEXEC) < 0) {
        (void)close(ready[0]);
        (void)close(ready[1]);
        return;
    }
    pid_t pid = fork();
    if (pid == 0) {
        become_daemon(words, ready[1], go[0]);
    }
    (void)close(ready[1]);
    (void)close(go[0]);
    int listener = pid > 0 ? take_listener(pid, ready[0]) : -1;
    if (listener >= 0) {
        f->listeners[f->nlisteners++] = listener;
        f->daemon = pid;
        atomic_store(&f->shared->daemons, 1);
        ssize_t told = write(go[1], "g", 1);
        (void)told; /* it ended meanwhile: reaped below */
    }
    atomic_fetch_add(&f->shared->starts, 1);
    (void)close(ready[0]);
    (void)close(go[1]);
}

static void reap(struct first *f)
{
    struct signalfd_siginfo info;
    ssize_t n = read(f->signals, &info, sizeof(info)); /* only empties it: who ended, wait says */
    (void)n;
    pid_t pid;
    while ((pid = waitpid(-1, NULL, WNOHANG)) > 0) {
        if (pid == f->daemon) {
            f->daemon = 0;
            atomic_store(&f->shared->daemons, 0);
        }
    }
}

/* ---- the disk ---- */

static void let_through(int listener, uint64_t id)
{
    struct seccomp_notif_resp answer = {.id = id, .flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE};
    (void)ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, &answer); /* ENOENT: it was killed meanwhile */
}

static void take_call(struct first *f, int listener)
{
    struct seccomp_notif call = {0};
    if (ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, &call) < 0) {
        return; /* it was killed meanwhile */
    }
    uint32_t slow_ms = atomic_load(&f->shared->slow_ms);
    if (slow_ms == 0 || f->nheld == HELD_MAX) {
        let_through(listener, call.id);
        return;
    }
    f->held[f->nheld++] = (struct held){now_ns() + slow_ms * 1000000ULL, call.id, listener};
}

/* Lets through what is due. Returns when to look again, 0 if nothing waits. */
static uint64_t give_calls(struct first *f)
{
    uint64_t now = now_ns();
    uint64_t next = 0;
    for (size_t i = 0; i < f->nheld;) {
        struct held *h = &f->held[i];
        if (h->due_ns <= now) {
            let_through(h->listener, h->id);
            *h = f->held[--f->nheld];
        } else {
            next = next == 0 || h->due_ns < next ? h->due_ns : next;
            i++;
        }
    }
    return next;
}

static void drop_listener(struct first *f, size_t i)
{
    int fd = f->listeners[i];
    for (size_t k = 0; k < f->nheld;) {
        if (f->held[k].listener == fd) {
            f->held[k] = f->held[--f->nheld];
        } else {
            k++;
        }
    }
    (void)close(fd);
    f->listeners[i] = f->listeners[--f->nlisteners];
}

/* ---- the first process ---- */

static void look_once(struct first *f, uint64_t next)
{
    struct pollfd fds[2 + LISTENERS_MAX] = {{f->talk, POLLIN, 0}, {f->signals, POLLIN, 0}};
    size_t count = 2;
    for (size_t i = 0; i < f->nlisteners; i++) {
        fds[count++] = (struct pollfd){f->listeners[i], POLLIN, 0};
    }
    uint64_t now = now_ns();
    uint64_t left = next > now ? next - now : 0;
    struct timespec wait = {(time_t)(left / 1000000000ULL), (long)(left % 1000000000ULL)};
    if (ppoll(fds, count, next != 0 ? &wait : NULL, NULL) <= 0) {
        return;
    }
    for (size_t i = count; i-- > 2;) { /* backwards: dropping one moves the last into its place */
        if ((fds[i].revents & POLLIN) != 0) {
            take_call(f, fds[i].fd);
        } else if (fds[i].revents != 0) {
            drop_listener(f, i - 2); /* the last process under it is gone */
        }
    }
    if (fds[1].revents != 0) {
        reap(f);
    }
    if (fds[0].revents != 0) {
        char command[COMMAND_BYTES_MAX + 1];
        ssize_t n = recv(f->talk, command, COMMAND_BYTES_MAX, MSG_DONTWAIT);
        if (n == 0) {
            _exit(0); /* the keeper is gone */
        }
        if (n > 0) {
            start_daemon(f, command, (size_t)n);
        }
    }
}

static bool enter(const struct lab_node *node)
{
    int net = open(node->netns, O_RDONLY | O_CLOEXEC);
    bool ok = net >= 0 && setns(net, CLONE_NEWNET) == 0 &&
              mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL) == 0 &&
              mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL) == 0;
    if (net >= 0) {
        (void)close(net);
    }
    return ok;
}

static _Noreturn void first_main(const struct lab_node *node, int talk,
                                 struct lab_host_shared *shared)
{
    char byte;
    sigset_t set;
    /* the keeper speaks first: had it died before the next line, nothing would come */
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || recv(talk, &byte, 1, 0) != 1 || dup2(talk, 3) < 0 ||
        close_range(4, ~0U, 0) < 0) {
        _exit(1);
    }
    char name[16];
    (void)snprintf(name, sizeof(name), "skl:%.11s", node->name);
    (void)prctl(PR_SET_NAME, name); /* for people who look at a list of processes */
    struct sched_param fifo = {.sched_priority = 5};
    /* not allowed: calls are let through a little later */
    (void)sched_setscheduler(0, SCHED_FIFO | SCHED_RESET_ON_FORK, &fifo);
    (void)sigemptyset(&set);
    (void)sigaddset(&set, SIGCHLD);
    (void)sigprocmask(SIG_SETMASK, &set, NULL);
    struct first *f = sk_xcalloc(1, sizeof(*f));
    f->talk = 3;
    f->shared = shared;
    if (!enter(node) || (f->signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK)) < 0) {
        (void)dprintf(2, "skerry-lab: host '%s': cannot enter its namespaces: %s\n", node->name,
                      strerror(errno));
        _exit(1);
    }
    (void)fcntl(f->talk, F_SETFD, FD_CLOEXEC); /* our own descriptor: cannot fail */
    ssize_t told = send(f->talk, "r", 1, MSG_NOSIGNAL);
    (void)told; /* the keeper is gone: the loop sees it */
    for (;;) {
        look_once(f, give_calls(f));
    }
}

int lab_host_begin(const struct lab_node *node, struct lab_host *ret_host, struct sk_err *err)
{
    int talk[2];
    struct lab_host_shared *shared =
        mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED) {
        return sk_err_errno(err, errno, "share memory with host '%s'", node->name);
    }
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, talk) < 0) {
        int code = errno;
        (void)munmap(shared, sizeof(*shared));
        return sk_err_errno(err, code, "make a socket for host '%s'", node->name);
    }
    pid_t pid = (pid_t)syscall(SYS_clone, CLONE_NEWPID | CLONE_NEWNS | SIGCHLD, 0, 0, 0, 0);
    if (pid == 0) {
        first_main(node, talk[1], shared);
    }
    int code = errno;
    (void)close(talk[1]);
    char byte;
    struct pollfd p = {talk[0], POLLIN, 0};
    bool up = pid > 0 && send(talk[0], "g", 1, MSG_NOSIGNAL) == 1 && poll(&p, 1, 5000) == 1 &&
              recv(talk[0], &byte, 1, 0) == 1;
    if (!up) {
        if (pid > 0) {
            (void)kill(pid, SIGKILL); /* reaped by the caller's loop */
        }
        (void)close(talk[0]);
        (void)munmap(shared, sizeof(*shared));
        return pid < 0 ? sk_err_errno(err, code, "start host '%s'", node->name)
                       : sk_err_set(err, SK_ERR_ENGINE, "host '%s' does not start: see keep.log",
                                    node->name);
    }
    *ret_host = (struct lab_host){pid, talk[0], shared};
    return 0;
}

int lab_host_start(const struct lab_host *host, const char *skerry, const char *data,
                   const char *log, struct sk_err *err)
{
    char command[COMMAND_BYTES_MAX];
    int n = snprintf(command, sizeof(command), "%s\n%s\n%s", skerry, data, log);
    if (n >= (int)sizeof(command)) {
        return sk_err_set(err, SK_ERR_LIMIT, "the paths of a host's daemon are too long");
    }
    if (send(host->talk, command, (size_t)n, MSG_NOSIGNAL | MSG_DONTWAIT) != n) {
        return sk_err_errno(err, errno, "tell the host to start its daemon");
    }
    return 0;
}

void lab_host_forget(struct lab_host *host)
{
    if (host->pid != 0) {
        (void)close(host->talk);
        (void)munmap(host->shared, sizeof(*host->shared));
        *host = (struct lab_host){0};
    }
}
