/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/supervise.h"

#include <errno.h>
#include <grp.h>
#include <limits.h>
#include <linux/capability.h>
#include <poll.h>
#include <pwd.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"
#include "sys/clock.h"

#define RESTART_MS_MIN 200
#define RESTART_MS_MAX 5000
#define STEADY_MS 10000 /* a half that ran this long starts again at once */
#define REFUSALS_MAX 3
#define STOP_MS 10000 /* then SIGKILL */

struct half {
    const char *role;
    pid_t pid; /* 0: not running */
    int64_t started_ms;
    int64_t start_at_ms;
    int64_t backoff_ms;
    unsigned refusals; /* in a row: ended by itself soon after its start */
    bool told;         /* to stop */
    bool drop;
    bool verbose;
};

int daemon_user(const char *user, unsigned *ret_uid, unsigned *ret_gid, struct sk_err *err)
{
    const struct passwd *pw;

    if (geteuid() != 0) {
        *ret_uid = geteuid();
        *ret_gid = getegid();
        return 0;
    }
    pw = getpwnam(user[0] ? user : "skerry");
    if (!pw && !user[0]) {
        pw = getpwnam("nobody");
    }
    if (!pw) {
        (void)sk_err_set(err, SK_ERR_INPUT, "there is no user '%s' for the unprivileged half",
                         user[0] ? user : "nobody");
        return sk_err_fix(err, "adduser --system --group skerry");
    }
    *ret_uid = pw->pw_uid;
    *ret_gid = pw->pw_gid;
    return 0;
}

/* Ports below 1024 for the ingress, and nothing else of root's. */
static int keep_bind_capability(void)
{
    struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct data[2];
    uint32_t bit = 1u << CAP_NET_BIND_SERVICE;

    memset(data, 0, sizeof(data));
    data[0].effective = data[0].permitted = data[0].inheritable = bit;
    if (syscall(SYS_capset, &header, data) != 0) {
        return -1;
    }
    return prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_NET_BIND_SERVICE, 0, 0);
}

static _Noreturn void become(const struct half *half, const char *dir, unsigned uid, unsigned gid,
                             pid_t supervisor)
{
    char *argv[] = {(char[]){"skerry"},
                    (char[]){"daemon"},
                    (char[]){"--role"},
                    sk_xstrdup(half->role),
                    (char[]){"--data"},
                    sk_xstrdup(dir),
                    half->verbose ? (char[]){"--verbose"} : NULL,
                    NULL};
    sigset_t none;

    (void)sigemptyset(&none);
    (void)sigprocmask(SIG_SETMASK, &none, NULL);
    if (half->drop && geteuid() == 0) {
        if (prctl(PR_SET_KEEPCAPS, 1) != 0 || setgroups(0, NULL) != 0 ||
            setresgid(gid, gid, gid) != 0 || setresuid(uid, uid, uid) != 0 ||
            keep_bind_capability() != 0) {
            _exit(126);
        }
    }
    if (half->drop) {
        (void)prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    }
    /* Where the operator stood may be closed to the user the half has become, and to the engines it
     * starts: haproxy refuses to work there. */
    if (chdir("/") != 0) {
        _exit(126);
    }
    /* A half ends with its supervisor, from before its own first line on: after the change of user,
     * which forgets the signal, and asking for the parent itself, whose place any reaper takes. */
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0 || getppid() != supervisor) {
        _exit(126);
    }
    (void)execv("/proc/self/exe", argv);
    _exit(127);
}

static void start(struct half *half, const char *dir, unsigned uid, unsigned gid)
{
    pid_t supervisor = getpid();
    pid_t pid = fork();

    if (pid == 0) {
        become(half, dir, uid, gid, supervisor);
    }
    half->started_ms = sys_now_ms();
    if (pid < 0) {
        half->start_at_ms = half->started_ms + RESTART_MS_MAX;
        sk_log(SK_LOG_ERROR, "half not started", "role=%s error=\"%s\"", half->role,
               strerrordesc_np(errno));
        return;
    }
    half->pid = pid;
}

static void say_ended(const struct half *half, int status, bool stopping)
{
    bool signaled = WIFSIGNALED(status);
    int number = signaled ? WTERMSIG(status) : WEXITSTATUS(status);
    /* one that was still starting dies of the signal itself */
    bool clean = signaled ? number == SIGTERM || number == SIGINT : number == 0;

    if (!stopping) {
        sk_log(SK_LOG_WARN, "half ended", "role=%s %s=%d restart_ms=%lld", half->role,
               signaled ? "signal" : "exit", number, (long long)half->backoff_ms);
    } else if (clean) {
        sk_log(SK_LOG_INFO, "half stopped", "role=%s", half->role);
    } else {
        sk_log(SK_LOG_WARN, "half did not stop cleanly", "role=%s %s=%d", half->role,
               signaled ? "signal" : "exit", number);
    }
}

static void reap(struct half *halves, size_t n, bool stopping)
{
    int status;
    pid_t pid;

    while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
        for (size_t i = 0; i < n; i++) {
            struct half *half = &halves[i];
            int64_t now = sys_now_ms();
            if (half->pid != pid) {
                continue;
            }
            half->pid = 0;
            half->refusals =
                WIFEXITED(status) && now - half->started_ms < STEADY_MS ? half->refusals + 1 : 0;
            half->backoff_ms = now - half->started_ms >= STEADY_MS     ? 0
                               : half->backoff_ms == 0                 ? RESTART_MS_MIN
                               : half->backoff_ms * 2 > RESTART_MS_MAX ? RESTART_MS_MAX
                                                                       : half->backoff_ms * 2;
            half->start_at_ms = now + half->backoff_ms;
            say_ended(half, status, stopping);
        }
    }
}

/* The two halves cannot start at all (a bad folder, a port taken): they say why themselves; then
 * this ends too. One that was killed is no reason: it may well run the next time. */
static bool hopeless(const struct half *halves, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (halves[i].pid || halves[i].refusals < REFUSALS_MAX) {
            return false;
        }
    }
    return true;
}

/*
 * The second half first: what it tells its peers last should not be that its agent is gone. Each is
 * told once. A second signal changes nothing: whoever signals the whole group gives each half one
 * already, and the end is bounded (STOP_MS) anyway.
 */
static void stop_halves(struct half *halves, size_t n, bool late)
{
    for (size_t i = n; i-- > 0;) {
        struct half *half = &halves[i];
        if (!half->pid) {
            continue;
        }
        if (late || !half->told) {
            (void)kill(half->pid, late ? SIGKILL : SIGTERM);
            half->told = true;
        }
        if (!late) {
            return;
        }
    }
}

static int run(struct half *halves, size_t n, int signals, const char *dir, unsigned uid,
               unsigned gid, struct sk_err *err)
{
    int64_t stop_at = 0;

    for (;;) {
        struct pollfd fd = {signals, POLLIN, 0};
        int64_t now = sys_now_ms();
        bool alive = false;
        for (size_t i = 0; i < n; i++) {
            if (!halves[i].pid && !stop_at && halves[i].start_at_ms <= now) {
                start(&halves[i], dir, uid, gid);
            }
            alive = alive || halves[i].pid;
        }
        if (stop_at && !alive) {
            return 0;
        }
        if (stop_at) {
            stop_halves(halves, n, now > stop_at);
        }
        (void)poll(&fd, 1, 100);
        if (fd.revents & POLLIN) {
            struct signalfd_siginfo info;
            if (read(signals, &info, sizeof(info)) == sizeof(info) && info.ssi_signo != SIGCHLD &&
                !stop_at) {
                stop_at = sys_now_ms() + STOP_MS;
            }
        }
        reap(halves, n, stop_at != 0);
        if (!stop_at && hopeless(halves, n)) {
            return sk_err_set(err, SK_ERR_UNAVAILABLE,
                              "neither half of the daemon stays up; their last lines say why");
        }
    }
}

/* Where a node keeps what makes it a control node: it may become one while this runs, and skerryd
 * must not write beside the agent's folder. */
static int make_control_folder(const char *dir, unsigned uid, unsigned gid, struct sk_err *err)
{
    char path[PATH_MAX + 16];

    (void)snprintf(path, sizeof(path), "%s/control", dir);
    if (mkdir(path, 0700) != 0) {
        return errno == EEXIST ? 0 : sk_err_errno(err, errno, "make '%s'", path);
    }
    if (geteuid() == 0 && chown(path, uid, gid) != 0) {
        return sk_err_errno(err, errno, "give '%s' to the daemon's user", path);
    }
    return 0;
}

int daemon_supervise(const char *dir, const char *user, bool verbose, struct sk_err *err)
{
    struct half halves[] = {{.role = "agent", .verbose = verbose},
                            {.role = "net", .drop = true, .verbose = verbose}};
    char whole[PATH_MAX];
    unsigned uid, gid;
    sigset_t mask;
    int signals, r;

    if (!realpath(dir, whole)) {
        return sk_err_errno(err, errno, "open data folder '%s'", dir);
    }
    if (daemon_user(user, &uid, &gid, err) < 0 || make_control_folder(whole, uid, gid, err) < 0) {
        return err ? err->code : SK_ERR_INPUT;
    }
    if (geteuid() == 0 && !user[0] && !getpwnam("skerry")) {
        sk_log(SK_LOG_WARN, "skerryd runs as nobody, like other programs may",
               "fix=\"adduser --system --group skerry, then chown its folders\"");
    }
    (void)sigemptyset(&mask);
    (void)sigaddset(&mask, SIGTERM);
    (void)sigaddset(&mask, SIGINT);
    (void)sigaddset(&mask, SIGCHLD);
    (void)sigprocmask(SIG_BLOCK, &mask, NULL);
    signals = signalfd(-1, &mask, SFD_CLOEXEC | SFD_NONBLOCK);
    if (signals < 0) {
        return sk_err_errno(err, errno, "watch signals");
    }
    r = run(halves, SK_ARRAY_LEN(halves), signals, whole, uid, gid, err);
    (void)close(signals);
    return r;
}
