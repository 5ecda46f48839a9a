/* SPDX-License-Identifier: Apache-2.0 */
#include "lab/keep.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/mem.h"
#include "lab/host.h"
#include "lab/hosts.h"
#include "lab/net_remove.h"
#include "lab/net_state.h"
#include "lab/spawn.h"
#include "lab/wan.h"

#define REQUEST_BYTES_MAX 1024
#define ROUTER_TRIES 300 /* 10 ms apart */
#define ASK_MS 10000

struct keeper {
    struct lab_net *net;
    int listening, signals, owner, maker; /* owner, maker: -1 = none (any more) */
    pid_t router;
    bool done;
    struct lab_host hosts[LAB_NODES_MAX]; /* by node */
    uint32_t slow_ms[LAB_NODES_MAX];      /* of its disk, whether it runs or not */
};

/* ---- children ---- */

static int start_router(struct keeper *k, const char *program, bool nogso, struct sk_err *err)
{
    const char *argv[] = {program,     "wan",           "--device", "wan0",
                          "--control", k->net->control, NULL,       NULL};
    if (nogso) {
        argv[6] = "--no-gso";
    }
    struct lab_spawn how = LAB_SPAWN_INIT;
    how.netns = k->net->router;
    how.out = 1;
    how.err = 2;
    how.new_session = true;
    how.die_with_parent = true;
    int ret = lab_spawn(&how, argv, &k->router, err);
    for (int tries = 0; ret == 0; tries++) {
        struct sk_err last = {0};
        if (lab_wan_command(k->net->control, SK_STR("stats"), NULL, &last) == 0) {
            return 0;
        }
        if (lab_wait(k->router, 10, NULL)) {
            k->router = 0;
            ret = sk_err_set(err, SK_ERR_ENGINE, "the delay router ended at once");
        } else if (tries == ROUTER_TRIES) {
            ret = sk_err_set(err, SK_ERR_TIMEOUT, "the delay router does not start: %s", last.msg);
        }
    }
    return ret;
}

static void reap(struct keeper *k)
{
    pid_t pid;
    while ((pid = waitpid(-1, NULL, WNOHANG)) > 0) {
        if (pid == k->router) {
            k->router = 0;
            (void)fprintf(stderr,
                          "skerry-lab: the delay router ended: no packet passes any more\n");
        }
        for (size_t i = 0; i < k->net->nnodes; i++) {
            if (k->hosts[i].pid == pid) {
                lab_host_forget(&k->hosts[i]);
            }
        }
    }
}

/* Each by its pid; they are ours, so no other process can have it before we reaped them. */
static void end_children(struct keeper *k)
{
    for (size_t i = 0; i < k->net->nnodes; i++) {
        if (k->hosts[i].pid > 0) {
            (void)kill(k->hosts[i].pid, SIGKILL);
        }
    }
    for (size_t i = 0; i < k->net->nnodes; i++) {
        if (k->hosts[i].pid > 0) {
            (void)lab_wait(k->hosts[i].pid, 10000, NULL); /* the kernel ends all below it first */
            lab_host_forget(&k->hosts[i]);
        }
    }
    lab_end(k->router, 1000);
    k->router = 0;
}

/* ---- requests ---- */

static const struct lab_node *node_of(const struct keeper *k, const char *name, struct sk_err *err)
{
    const struct lab_node *node = lab_net_find(k->net, sk_str(name));
    if (node == NULL) {
        (void)sk_err_set(err, SK_ERR_NOT_FOUND, "no host '%s' in this lab", name);
    }
    return node;
}

static int on_start(struct keeper *k, char *text, struct sk_err *err)
{
    char *skerry = strchr(text, '\n');
    if (skerry == NULL) {
        return sk_err_set(err, SK_ERR_INPUT, "expected 'start HOST' and a line with the program");
    }
    *skerry++ = '\0';
    const struct lab_node *node = node_of(k, text + 6, err);
    if (node == NULL) {
        return SK_ERR_NOT_FOUND;
    }
    struct lab_host *host = &k->hosts[node->number - 1];
    char data[LAB_PATH_MAX], log[LAB_PATH_MAX];
    int ret = 0;
    reap(k); /* one that was killed just now is off */
    lab_host_data(k->net, node, data);
    lab_host_log(k->net, node, log);
    if (host->pid > 0 && atomic_load(&host->shared->daemons) > 0) {
        return sk_err_set(err, SK_ERR_CONFLICT, "the daemon of host '%s' runs already", node->name);
    }
    if (host->pid == 0) {
        ret = lab_host_begin(node, host, err);
        if (ret == 0) {
            atomic_store(&host->shared->slow_ms, k->slow_ms[node->number - 1]);
        }
    }
    return ret < 0 ? ret : lab_host_start(host, skerry, data, log, err);
}

static int on_slow(struct keeper *k, char *text, struct sk_err *err)
{
    char name[64], tail;
    unsigned ms;
    if (sscanf(text, "slow %63s %u%c", name, &ms, &tail) != 2 || ms > LAB_SLOW_MS_MAX) {
        return sk_err_set(err, SK_ERR_INPUT, "expected 'slow HOST MS', at most %d",
                          LAB_SLOW_MS_MAX);
    }
    const struct lab_node *node = node_of(k, name, err);
    if (node == NULL) {
        return SK_ERR_NOT_FOUND;
    }
    const struct lab_host *host = &k->hosts[node->number - 1];
    k->slow_ms[node->number - 1] = ms;
    if (host->pid > 0) {
        atomic_store(&host->shared->slow_ms, ms);
    }
    return 0;
}

static void on_hosts(struct keeper *k, struct sk_buf *reply)
{
    reap(k);
    for (size_t i = 0; i < k->net->nnodes; i++) {
        const struct lab_host *host = &k->hosts[i];
        bool on = host->pid > 0;
        sk_buf_printf(reply, "%s %d %u %u %u\n", k->net->nodes[i].name, (int)host->pid,
                      on ? atomic_load(&host->shared->daemons) : 0,
                      on ? atomic_load(&host->shared->starts) : 0, k->slow_ms[i]);
    }
}

static void take_request(struct keeper *k)
{
    char text[REQUEST_BYTES_MAX + 1];
    struct sk_buf reply = SK_BUF_INIT;
    struct sk_err err = {0};
    int ret = 0;
    int fd = accept4(k->listening, NULL, NULL, SOCK_CLOEXEC);
    struct pollfd p = {fd, POLLIN, 0};
    /* who connects sends at once: a slow one must not stop the rest */
    ssize_t n = fd >= 0 && poll(&p, 1, 200) == 1 ? recv(fd, text, REQUEST_BYTES_MAX, 0) : -1;
    if (n > 0) {
        text[n] = '\0';
        sk_buf_adds(&reply, "ok\n");
        if (strcmp(text, "hosts") == 0) {
            on_hosts(k, &reply);
        } else if (strncmp(text, "start ", 6) == 0) {
            ret = on_start(k, text, &err);
        } else if (strncmp(text, "slow ", 5) == 0) {
            ret = on_slow(k, text, &err);
        } else if (strcmp(text, "ready") != 0) {
            ret = sk_err_set(&err, SK_ERR_INPUT, "unknown request");
        }
        if (ret < 0) {
            sk_buf_clear(&reply);
            sk_buf_printf(&reply, "error %s\n%s\n%s", sk_code_name(ret), err.msg, err.fix);
        }
        ssize_t sent = send(fd, reply.ptr, reply.len, MSG_NOSIGNAL | MSG_DONTWAIT);
        (void)sent; /* who asked may have gone */
    }
    if (fd >= 0) {
        (void)close(fd);
    }
    sk_buf_release(&reply);
}

/* ---- the loop ---- */

static void take_signal(struct keeper *k)
{
    struct signalfd_siginfo info;
    while (read(k->signals, &info, sizeof(info)) == (ssize_t)sizeof(info)) {
        if (info.ssi_signo == SIGCHLD) {
            reap(k);
        } else {
            k->done = true;
        }
    }
}

/* The maker's word that the lab is complete; without it the lab goes. */
static void hear_maker(struct keeper *k)
{
    char byte;
    k->done = k->done || read(k->maker, &byte, 1) != 1;
    (void)close(k->maker);
    k->maker = -1;
}

static void keep(struct keeper *k)
{
    while (!k->done) {
        struct pollfd fds[] = {{k->listening, POLLIN, 0},
                               {k->signals, POLLIN, 0},
                               {k->owner, POLLIN, 0},
                               {k->maker, POLLIN, 0}};
        if (poll(fds, SK_ARRAY_LEN(fds), -1) < 0) {
            continue; /* EINTR: all its signals are blocked, but a debugger's stop ends it too */
        }
        if (fds[1].revents != 0) {
            take_signal(k);
        }
        if (fds[0].revents != 0) {
            take_request(k);
        }
        if (fds[3].revents != 0) {
            hear_maker(k);
        }
        k->done = k->done || fds[2].revents != 0;
    }
}

static int open_owner(struct keeper *k, struct sk_err *err)
{
    if (k->net->owner == 0) {
        return 0;
    }
    k->owner = (int)syscall(SYS_pidfd_open, k->net->owner, 0);
    if (k->owner < 0 && errno != ESRCH) {
        return sk_err_errno(err, errno, "watch process %d", (int)k->net->owner);
    }
    /* its number may be another's by now: then the owner is dead as well */
    k->done = k->owner < 0 || !lab_state_owner_lives(k->net);
    return 0;
}

static int open_all(struct keeper *k, struct sk_err *err)
{
    sigset_t set;
    (void)sigemptyset(&set);
    (void)sigaddset(&set, SIGCHLD);
    (void)sigaddset(&set, SIGTERM);
    (void)sigaddset(&set, SIGINT);
    (void)sigaddset(&set, SIGHUP);
    k->listening = -1;
    k->signals = sigprocmask(SIG_BLOCK, &set, NULL) == 0
                     ? signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK)
                     : -1;
    if (k->signals < 0) {
        return sk_err_errno(err, errno, "make a signal descriptor");
    }
    struct sockaddr_un address;
    lab_keep_address(k->net, &address);
    k->listening = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    (void)unlink(address.sun_path); /* the lab's name is new: only a crash in between leaves one */
    if (k->listening < 0 || bind(k->listening, (void *)&address, sizeof(address)) < 0 ||
        listen(k->listening, 16) < 0) {
        return sk_err_errno(err, errno, "listen on '%s'", address.sun_path);
    }
    return open_owner(k, err);
}

int lab_keep_run(const char *dir, const char *program, bool nogso, struct sk_err *err)
{
    struct keeper *k = sk_xcalloc(1, sizeof(*k));
    int ret = lab_net_open(dir, &k->net, err);
    if (ret < 0) {
        free(k);
        return ret;
    }
    k->owner = -1;
    k->maker = fcntl(0, F_DUPFD_CLOEXEC, 3);
    ret = start_router(k, program, nogso, err);
    ret = ret < 0 ? ret : open_all(k, err);
    if (ret == 0) {
        keep(k);
        end_children(k);
        /* what is left are names; the lock is held by a maker that still works at them, or by one
         * who takes the lab down, and ends us too */
        int lock = -1;
        ret = lab_state_lock(&lock, err);
        if (ret == 0) {
            lab_remove(k->net);
            (void)close(lock);
        }
    }
    end_children(k);
    lab_net_free(k->net);
    free(k);
    return ret;
}

/* ---- asking ---- */

void lab_keep_address(const struct lab_net *net, struct sockaddr_un *ret)
{
    *ret = (struct sockaddr_un){.sun_family = AF_UNIX};
    (void)snprintf(ret->sun_path, sizeof(ret->sun_path), "%s/%s.keep", LAB_REGISTRY, net->id);
}

static int take_answer(char *text, ssize_t n, struct sk_buf *reply, struct sk_err *err)
{
    text[n] = '\0';
    if (strncmp(text, "ok\n", 3) == 0) {
        if (reply != NULL) {
            sk_buf_adds(reply, text + 3);
        }
        return 0;
    }
    char *words[3] = {text, NULL, NULL};
    for (size_t i = 1; i < 3; i++) {
        char *line = strchr(words[i - 1], '\n');
        if (line == NULL) {
            return sk_err_set(err, SK_ERR_PROTOCOL, "the lab's keeper gave no answer");
        }
        *line = '\0';
        words[i] = line + 1;
    }
    int code = strncmp(text, "error ", 6) == 0 ? sk_code_from_name(text + 6) : SK_ERR_PROTOCOL;
    (void)sk_err_set(err, code, "%s", words[1]);
    if (words[2][0] != '\0') {
        (void)sk_err_fix(err, "%s", words[2]);
    }
    return code;
}

int lab_keep_ask(const struct lab_net *net, struct sk_str request, struct sk_buf *reply,
                 struct sk_err *err)
{
    struct sockaddr_un address;
    const size_t size = (size_t)LAB_NODES_MAX * 128 + 1024;
    sk_autofree char *text = sk_xmalloc(size);
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    struct pollfd p = {fd, POLLIN, 0};
    ssize_t n = -1;
    int ret;
    lab_keep_address(net, &address);
    if (fd < 0 || connect(fd, (void *)&address, sizeof(address)) < 0 ||
        send(fd, request.ptr, request.len, MSG_NOSIGNAL) != (ssize_t)request.len) {
        ret = sk_err_set(err, SK_ERR_UNAVAILABLE, "the lab's keeper does not run: %s",
                         strerror(errno));
        (void)sk_err_fix(err, "skerry-lab down --dir %.150s", net->dir);
    } else if (poll(&p, 1, ASK_MS) != 1 || (n = recv(fd, text, size - 1, 0)) <= 0) {
        ret = sk_err_set(err, SK_ERR_TIMEOUT, "the lab's keeper does not answer");
    } else {
        ret = take_answer(text, n, reply, err);
    }
    if (fd >= 0) {
        (void)close(fd);
    }
    return ret;
}
