/* SPDX-License-Identifier: Apache-2.0 */
#include "shim/shim.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

/* After the workload's end its pipes get this long to be emptied; nobody is left to fill them. */
#define DRAIN_MS 500
#define REAPED_MAX 32

struct client {
    int fd; /* -1: free */
    size_t nin;
    char in[SHIM_LINE_MAX];
};

struct reaped {
    pid_t pid;
    int status;
};

static struct {
    const struct shim_config *config;
    struct shim_status status;
    int ready_fd;
    int signals, listener, pipes[SHIM_STREAM_COUNT];
    struct client clients[SHIM_CLIENTS_MAX];
    struct shim_check check;
    pid_t runtime;      /* while it starts the workload */
    int64_t kill_at_ms; /* a stop was asked for: KILL then; 0 = none */
    int64_t drain_until_ms;
    int lease_timer; /* -1: no lease */
    int64_t lease_until_ms;
    bool main_gone;
    bool childless; /* as of the last reap() */
    /* Orphans that ended while the runtime had not yet said which pid is the workload's. */
    struct reaped reaped[REAPED_MAX];
    size_t nreaped;
} shim;

static void ready(char kind, const char *reason)
{
    if (shim.ready_fd >= 0) {
        (void)!write(shim.ready_fd, &kind, 1);
        (void)!write(shim.ready_fd, reason, strlen(reason));
        (void)close(shim.ready_fd);
        shim.ready_fd = -1;
    }
}

static void drop_client(struct client *client)
{
    (void)close(client->fd);
    client->fd = -1;
    client->nin = 0;
}

/* The answers are shorter than a socket's buffer; a peer that does not read them is dropped. */
static void tell(struct client *client, const char *line)
{
    size_t len = strlen(line);
    if (client->fd >= 0 &&
        send(client->fd, line, len, MSG_NOSIGNAL | MSG_DONTWAIT) != (ssize_t)len) {
        drop_client(client);
    }
}

static void hello_line(char out[SHIM_LINE_MAX])
{
    (void)snprintf(out, SHIM_LINE_MAX, "hello %s %ld %s %ld %ld %llu\n", shim.config->id,
                   shim.config->run, shim_state_names[shim.status.state], (long)getpid(),
                   (long)shim.status.pid, shim.status.start);
}

static void answer_check(int rc, const struct shim_reason *reason)
{
    char line[SHIM_LINE_MAX];

    (void)snprintf(line, sizeof(line), rc > 0 ? "check ok\n" : "check fail %s\n", reason->text);
    tell(&shim.clients[shim.check.client], line);
    shim_check_close(&shim.check);
}

static void signal_workload(int signum)
{
    if (shim.runtime > 0) {
        (void)kill(-shim.runtime, SIGKILL); /* still starting: there is nobody to be polite to */
        (void)shim_kill_children();
    } else if (shim.status.pid > 0 && !shim.main_gone) {
        /* A container's first process ends its whole pid namespace; a program of the host leads its
         * own session and group. */
        (void)kill(shim.config->runtime_pid ? shim.status.pid : -shim.status.pid, signum);
        if (signum == SIGKILL) {
            (void)kill(shim.status.pid, SIGKILL);
        }
    }
}

static void stop(int signum, int64_t grace_ms)
{
    int64_t kill_at = shim_now_ms() + grace_ms;

    shim.status.stopped = true;
    if (shim.kill_at_ms == 0 || kill_at < shim.kill_at_ms) {
        shim.kill_at_ms = kill_at;
    }
    signal_workload(grace_ms == 0 ? SIGKILL : signum);
}

/* ---- the lease ---- */

static int arm_lease(int64_t until_ms)
{
    struct itimerspec at = {
        .it_value = {.tv_sec = until_ms / 1000, .tv_nsec = until_ms % 1000 * 1000000}};

    shim.lease_until_ms = until_ms;
    return timerfd_settime(shim.lease_timer, TFD_TIMER_ABSTIME, &at, NULL);
}

static int lease_overdue(struct shim_reason *reason)
{
    int64_t until_ms = shim.config->lease_until_ms;
    bool over = until_ms > 0 && shim_now_ms() >= until_ms;
    return over ? shim_fail(reason, "its lease ran out before it could start") : 0;
}

static int begin_lease(struct shim_reason *reason)
{
    int64_t until_ms = shim.config->lease_until_ms;

    if (until_ms == 0) {
        return 0;
    }
    if (lease_overdue(reason) < 0) {
        return -1;
    }
    shim.lease_timer = timerfd_create(CLOCK_BOOTTIME, TFD_CLOEXEC | TFD_NONBLOCK);
    if (shim.lease_timer < 0 || arm_lease(until_ms) < 0) {
        return shim_fail_errno(reason, "arm the lease's timer");
    }
    return 0;
}

/* An overdue lease is over, whoever comes first: a renewal that was read after it is too late. */
static void extend_lease(int64_t until_ms)
{
    if (shim.lease_timer >= 0 && !shim.status.lease_over && until_ms > shim.lease_until_ms &&
        shim_now_ms() < shim.lease_until_ms && arm_lease(until_ms) < 0) {
        (void)arm_lease(1); /* cannot happen; at once is the safe side */
    }
}

static void kill_everything(void)
{
    signal_workload(SIGKILL);
    shim_kill_cgroups(shim.config);
    (void)shim_kill_children();
}

static void take_lease(void)
{
    if (shim.lease_timer >= 0 && !shim.main_gone && shim_now_ms() >= shim.lease_until_ms) {
        shim.status.lease_over = true;
        shim.status.stopped = true;
        shim.kill_at_ms = shim_now_ms() + 100; /* again, should something of it still be there */
        kill_everything();
        (void)arm_lease(shim_now_ms() + 60000); /* disarmed, in effect */
    }
}

static void take_request(struct client *client, const char *line)
{
    struct shim_reason reason = {""};
    char text[SHIM_LINE_MAX];
    long long grace_ms, until_ms;
    int signum;

    if (strcmp(line, "status") == 0) {
        hello_line(text);
        tell(client, text);
    } else if (sscanf(line, "stop %d %lld", &signum, &grace_ms) == 2 && signum > 0 && signum < 65 &&
               grace_ms >= 0 && grace_ms <= 86400000) {
        stop(signum, grace_ms);
        tell(client, "ok\n");
    } else if (sscanf(line, "lease %lld", &until_ms) == 1) {
        extend_lease(until_ms);
        tell(client, "ok\n");
    } else if (strncmp(line, "check ", 6) == 0) {
        shim.check.client = (int)(client - shim.clients);
        if (shim_check_start(&shim.check, line + 6, &reason) < 0) {
            answer_check(-1, &reason);
        }
    } else {
        tell(client, "error not a request\n");
    }
}

static void read_client(struct client *client)
{
    ssize_t n =
        recv(client->fd, client->in + client->nin, sizeof(client->in) - client->nin, MSG_DONTWAIT);
    char *end;

    if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR)) {
        drop_client(client);
        return;
    }
    client->nin += n > 0 ? (size_t)n : 0;
    while (client->fd >= 0 && (end = memchr(client->in, '\n', client->nin))) {
        char line[SHIM_LINE_MAX];
        size_t len = (size_t)(end - client->in);
        memcpy(line, client->in, len);
        line[len] = '\0';
        client->nin -= len + 1;
        memmove(client->in, end + 1, client->nin);
        take_request(client, line);
    }
    if (client->fd >= 0 && client->nin == sizeof(client->in)) {
        drop_client(client); /* a line without end */
    }
}

static void accept_client(void)
{
    struct ucred peer;
    socklen_t len = sizeof(peer);
    char line[SHIM_LINE_MAX];
    int fd = accept4(shim.listener, NULL, NULL, SOCK_CLOEXEC);

    if (fd < 0) {
        return;
    }
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) < 0 ||
        (peer.uid != 0 && peer.uid != geteuid())) {
        (void)close(fd);
        return;
    }
    for (size_t i = 0; i < SHIM_CLIENTS_MAX; i++) {
        if (shim.clients[i].fd < 0) {
            shim.clients[i].fd = fd;
            hello_line(line);
            tell(&shim.clients[i], line);
            return;
        }
    }
    (void)close(fd);
}

static void main_ended(int status)
{
    shim.main_gone = true;
    shim.status.exit = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
    shim.status.signal = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
    shim.drain_until_ms = shim_now_ms() + DRAIN_MS;
    (void)shim_kill_children();
}

/* The last line that the runtime wrote about itself says best why it failed. */
static void runtime_reason(const char *path, struct shim_reason *reason)
{
    char text[2048];
    ssize_t n = 0;
    char *line;
    int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;

    if (fd >= 0) {
        off_t size = lseek(fd, 0, SEEK_END);
        n = pread(fd, text, sizeof(text) - 1, size > 2047 ? size - 2047 : 0);
        (void)close(fd);
    }
    text[n > 0 ? n : 0] = '\0';
    while (n > 0 && (text[n - 1] == '\n' || text[n - 1] == ' ')) {
        text[--n] = '\0';
    }
    line = strrchr(text, '\n');
    line = line ? line + 1 : text;
    (void)shim_fail(reason, "%s",
                    *line ? line : "the container runtime failed and did not say why");
}

static void running(pid_t pid)
{
    struct shim_reason reason;

    shim.status.pid = pid;
    shim.status.start = shim_proc_start(pid);
    shim.status.state = SHIM_RUNNING;
    shim.status.started_ms = shim_realtime_ms();
    if (shim_status_update(shim.config, &shim.status, &reason) < 0) {
        /* Unrecorded work could not be adopted: better none. */
        stop(SIGKILL, 0);
        ready('f', reason.text);
        return;
    }
    ready('k', "");
}

static long read_pid(const char *path)
{
    char text[32];
    ssize_t n = 0;
    int fd = open(path, O_RDONLY | O_CLOEXEC);

    if (fd >= 0) {
        n = read(fd, text, sizeof(text) - 1);
        (void)close(fd);
    }
    text[n > 0 ? n : 0] = '\0';
    return strtol(text, NULL, 10);
}

static void runtime_ended(int status)
{
    static struct shim_reason reason; /* the status keeps pointing at it */
    long pid = 0;

    shim.runtime = 0;
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0) {
        pid = read_pid(shim.config->runtime_pid);
    }
    if (pid <= 0) {
        runtime_reason(shim.config->runtime_log, &reason);
        shim.status.state = SHIM_FAILED;
        shim.status.reason = reason.text;
        main_ended(status);
        return;
    }
    running((pid_t)pid);
    for (size_t i = 0; i < shim.nreaped; i++) {
        if (shim.reaped[i].pid == (pid_t)pid) {
            main_ended(shim.reaped[i].status);
        }
    }
}

static void reap(void)
{
    int status;
    pid_t pid;

    while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
        if (pid == shim.runtime) {
            runtime_ended(status);
        } else if (pid == shim.status.pid && !shim.main_gone) {
            main_ended(status);
        } else if (shim.runtime > 0 && shim.nreaped < REAPED_MAX) {
            shim.reaped[shim.nreaped++] = (struct reaped){pid, status};
        }
    }
    shim.childless = pid < 0 && errno == ECHILD;
    if (shim.main_gone && pid == 0) {
        (void)shim_kill_children();
    }
}

static void take_signals(void)
{
    struct signalfd_siginfo info;

    while (read(shim.signals, &info, sizeof(info)) == (ssize_t)sizeof(info)) {
        if (info.ssi_signo != SIGCHLD) {
            stop(SIGTERM, 10000); /* somebody ended the shim by hand: end the workload in order */
        }
    }
    reap();
}

static int timeout_ms(void)
{
    int64_t at = 0, now = shim_now_ms();

    if (shim.kill_at_ms && !shim.main_gone) {
        at = shim.kill_at_ms;
    }
    if (shim.main_gone) {
        at = now + 10; /* the last children and bytes: a short wait, bounded by DRAIN_MS */
    }
    if (shim.check.fd >= 0 && (!at || shim.check.deadline_ms < at)) {
        at = shim.check.deadline_ms;
    }
    return !at ? -1 : at <= now ? 0 : at - now > 60000 ? 60000 : (int)(at - now);
}

static void take_timers(void)
{
    int64_t now = shim_now_ms();
    struct shim_reason reason;

    if (shim.kill_at_ms && now >= shim.kill_at_ms && !shim.main_gone) {
        if (shim.status.lease_over) {
            kill_everything();
        } else {
            signal_workload(SIGKILL);
        }
        shim.kill_at_ms =
            now + (shim.status.lease_over ? 100 : 1000); /* again, should it still be there */
    }
    if (shim.check.fd >= 0 && now >= shim.check.deadline_ms) {
        (void)shim_fail(&reason, "no answer in time");
        answer_check(-1, &reason);
    }
}

static void take_pipes(const struct pollfd *polled)
{
    for (size_t i = 0; i < SHIM_STREAM_COUNT; i++) {
        if (polled[i].revents && !shim_log_pump((enum shim_stream)i, shim.pipes[i])) {
            shim_log_end((enum shim_stream)i);
            (void)close(shim.pipes[i]);
            shim.pipes[i] = -1;
        }
    }
    shim_log_flush();
}

static void take_check(short revents)
{
    struct shim_reason reason = {""};
    int rc;

    if (revents && shim.check.fd >= 0) {
        rc = shim_check_step(&shim.check, &reason);
        if (rc != 0) {
            answer_check(rc, &reason);
        }
    }
}

/* Everything that belonged to the workload is gone, and its output is in the log. */
static bool finished(void)
{
    bool drained = shim.pipes[SHIM_STDOUT] < 0 && shim.pipes[SHIM_STDERR] < 0;

    return shim.main_gone && shim.childless && (drained || shim_now_ms() >= shim.drain_until_ms);
}

static void wait_once(void)
{
    enum {
        AT_SIGNALS,
        AT_LISTENER,
        AT_LEASE,
        AT_PIPES,
        AT_CHECK = AT_PIPES + SHIM_STREAM_COUNT,
        AT_CLIENTS
    };
    struct pollfd polled[AT_CLIENTS + SHIM_CLIENTS_MAX];

    polled[AT_SIGNALS] = (struct pollfd){shim.signals, POLLIN, 0};
    polled[AT_LISTENER] = (struct pollfd){shim.listener, POLLIN, 0};
    polled[AT_LEASE] = (struct pollfd){shim.lease_timer, POLLIN, 0};
    for (size_t i = 0; i < SHIM_STREAM_COUNT; i++) {
        polled[AT_PIPES + i] = (struct pollfd){shim.pipes[i], POLLIN, 0};
    }
    polled[AT_CHECK] = (struct pollfd){shim.check.fd, shim.check.events, 0};
    for (size_t i = 0; i < SHIM_CLIENTS_MAX; i++) {
        polled[AT_CLIENTS + i] = (struct pollfd){shim.clients[i].fd, POLLIN, 0};
    }
    if (poll(polled, AT_CLIENTS + SHIM_CLIENTS_MAX, timeout_ms()) < 0) {
        return; /* EINTR; everything is looked at again */
    }
    take_lease(); /* before anything else that this round brings */
    take_pipes(polled + AT_PIPES);
    if (polled[AT_SIGNALS].revents) {
        take_signals();
    }
    take_check(polled[AT_CHECK].revents);
    for (size_t i = 0; i < SHIM_CLIENTS_MAX; i++) {
        if (polled[AT_CLIENTS + i].revents && shim.clients[i].fd >= 0) {
            read_client(&shim.clients[i]);
        }
    }
    if (polled[AT_LISTENER].revents) {
        accept_client();
    }
    take_timers();
    if (shim.main_gone) {
        reap();
    }
}

static int open_socket(struct shim_reason *reason)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX, .sun_path = "shim.sock"};

    (void)unlink("shim.sock"); /* the lock is ours, so it can only be a dead shim's */
    shim.listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (shim.listener < 0 || bind(shim.listener, (const struct sockaddr *)&at, sizeof(at)) < 0 ||
        listen(shim.listener, 16) < 0) {
        return shim_fail_errno(reason, "listen on '%s/shim.sock'", shim.config->dir);
    }
    return 0;
}

static int begin(struct shim_reason *reason)
{
    struct shim_child child;
    sigset_t set;

    (void)sigemptyset(&set);
    (void)sigaddset(&set, SIGCHLD);
    (void)sigaddset(&set, SIGTERM);
    (void)sigaddset(&set, SIGINT);
    (void)sigaddset(&set, SIGHUP);
    (void)sigprocmask(SIG_BLOCK, &set, NULL);
    (void)signal(SIGPIPE, SIG_IGN);
    shim.signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    if (shim.signals < 0) {
        return shim_fail_errno(reason, "watch for signals");
    }
    if (begin_lease(reason) < 0 || shim_log_open(shim.config, reason) < 0 ||
        shim_status_begin(shim.config, &shim.status, reason) < 0 || open_socket(reason) < 0 ||
        shim_place(shim.config, reason) < 0 || lease_overdue(reason) < 0 ||
        shim_child_start(shim.config, &child, reason) < 0) {
        return -1;
    }
    shim.pipes[SHIM_STDOUT] = child.out;
    shim.pipes[SHIM_STDERR] = child.err;
    if (shim.config->runtime_pid) {
        shim.runtime = child.pid;
    } else {
        running(child.pid);
    }
    return 0;
}

static void end(void)
{
    struct shim_reason reason;
    char line[SHIM_LINE_MAX];

    for (size_t i = 0; i < SHIM_STREAM_COUNT; i++) {
        shim_log_end((enum shim_stream)i);
    }
    shim_log_flush();
    if (shim.status.state != SHIM_FAILED) {
        shim.status.state = SHIM_EXITED;
    }
    shim.status.oom = shim_oom_happened(shim.config->oom_file);
    shim.status.ended_ms = shim_realtime_ms();
    (void)shim_status_end(shim.config, &shim.status,
                          &reason); /* who asks next reads what is there */
    (void)unlink("shim.sock");
    (void)snprintf(line, sizeof(line), "ended\n");
    for (size_t i = 0; i < SHIM_CLIENTS_MAX; i++) {
        tell(&shim.clients[i], line);
    }
    ready('f', shim.status.reason ? shim.status.reason : "the workload was stopped at once");
}

int shim_loop(const struct shim_config *config, int ready_fd)
{
    struct shim_reason reason;

    shim.config = config;
    shim.status = (struct shim_status){.state = SHIM_STARTING, .exit = -1};
    shim.ready_fd = ready_fd;
    shim.check.fd = shim.lease_timer = -1;
    shim.pipes[SHIM_STDOUT] = shim.pipes[SHIM_STDERR] = -1;
    for (size_t i = 0; i < SHIM_CLIENTS_MAX; i++) {
        shim.clients[i].fd = -1;
    }
    if (begin(&reason) < 0) {
        shim.status.state = SHIM_FAILED;
        shim.status.reason = reason.text;
        end();
        return 1;
    }
    while (!finished()) {
        wait_once();
    }
    end();
    return 0;
}
