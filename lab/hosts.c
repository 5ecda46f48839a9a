/* SPDX-License-Identifier: Apache-2.0 */
#include "lab/hosts.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "agent/cgroup.h"
#include "base/mem.h"
#include "lab/keep.h"
#include "lab/net_state.h"
#include "sys/file.h"

#define FILL_NAME ".lab-fill"
#define PASSES 300 /* 10 ms apart */
#define GROUPS_TRIES 50

void lab_host_data(const struct lab_net *net, const struct lab_node *node, char out[LAB_PATH_MAX])
{
    (void)snprintf(out, LAB_PATH_MAX, "%s/hosts/%s", net->dir, node->name);
}

void lab_host_log(const struct lab_net *net, const struct lab_node *node, char out[LAB_PATH_MAX])
{
    (void)snprintf(out, LAB_PATH_MAX, "%s/hosts/%s.log", net->dir, node->name);
}

const char *lab_power_name(enum lab_power power)
{
    static const char *const names[] = {"off", "running", "paused"};
    return names[power];
}

static int need_host(const struct lab_net *net, struct sk_str name, const struct lab_node **ret,
                     struct sk_err *err)
{
    *ret = lab_net_find(net, name);
    if (*ret == NULL) {
        return sk_err_set(err, SK_ERR_NOT_FOUND, "no host '%.*s' in this lab", SK_PRI(name));
    }
    return 0;
}

/* ---- processes ---- */

struct process {
    pid_t pid, parent;
    ino_t netns;
    char state;
    int host; /* index of its node; -1 = none of ours */
};

struct scan {
    struct process *list;
    size_t count, cap;
};

/* False if it is gone, or a zombie. */
static bool read_process(pid_t pid, struct process *ret)
{
    char path[64], text[512];
    struct stat st;
    int parent;
    (void)snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd >= 0 ? read(fd, text, sizeof(text) - 1) : -1;
    if (fd >= 0) {
        (void)close(fd);
    }
    if (n <= 0) {
        return false;
    }
    text[n] = '\0';
    /* the name in brackets may hold anything */
    const char *after = strrchr(text, ')');
    *ret = (struct process){.pid = pid, .host = -1};
    if (after == NULL || sscanf(after + 1, " %c %d", &ret->state, &parent) != 2 ||
        ret->state == 'Z' || ret->state == 'X') {
        return false;
    }
    ret->parent = parent;
    (void)snprintf(path, sizeof(path), "/proc/%d/ns/net", (int)pid);
    ret->netns = stat(path, &st) == 0 ? st.st_ino : 0;
    return true;
}

/* What the parent belongs to, its child does too. */
static void inherit(struct scan *s)
{
    for (bool changed = true; changed;) {
        changed = false;
        for (size_t i = 0; i < s->count; i++) {
            for (size_t k = 0; s->list[i].host < 0 && k < s->count; k++) {
                if (s->list[k].pid == s->list[i].parent && s->list[k].host >= 0) {
                    s->list[i].host = s->list[k].host;
                    changed = true;
                }
            }
        }
    }
}

static void scan_release(struct scan *s)
{
    free(s->list);
    *s = (struct scan){0};
}

/* `info` tells the hosts' first processes. */
static void scan_all(const struct lab_net *net, const struct lab_host_info *info, struct scan *ret)
{
    struct scan s = {0};
    ino_t netns[LAB_NODES_MAX] = {0};
    DIR *proc = opendir("/proc");
    const struct dirent *entry;
    for (size_t i = 0; i < net->nnodes; i++) {
        struct stat st;
        netns[i] = stat(net->nodes[i].netns, &st) == 0 ? st.st_ino : 0;
    }
    while (proc != NULL && (entry = readdir(proc)) != NULL) {
        struct process p;
        pid_t pid = (pid_t)strtol(entry->d_name, NULL, 10);
        if (!isdigit((unsigned char)entry->d_name[0]) || pid == getpid() ||
            !read_process(pid, &p)) {
            continue;
        }
        for (size_t i = 0; p.host < 0 && i < net->nnodes; i++) {
            if (p.pid == info[i].pid || (p.netns != 0 && p.netns == netns[i])) {
                p.host = (int)i;
            }
        }
        SK_GROW(s.list, s.count, s.cap);
        s.list[s.count++] = p;
    }
    if (proc != NULL) {
        (void)closedir(proc);
    }
    inherit(&s);
    *ret = s;
}

static int ask_hosts(const struct lab_net *net, struct lab_host_info ret[], struct sk_err *err)
{
    struct sk_buf text = SK_BUF_INIT;
    int code = lab_keep_ask(net, SK_STR("hosts"), &text, err);
    struct sk_str rest = sk_buf_str(&text);
    memset(ret, 0, net->nnodes * sizeof(*ret));
    while (code == 0 && rest.len > 0) {
        char name[64], line_text[160];
        int pid;
        unsigned daemons, starts, slow_ms;
        struct sk_str line;
        (void)sk_str_cut(rest, '\n', &line, &rest);
        (void)snprintf(line_text, sizeof(line_text), "%.*s", SK_PRI(line));
        if (sscanf(line_text, "%63s %d %u %u %u", name, &pid, &daemons, &starts, &slow_ms) != 5) {
            continue;
        }
        const struct lab_node *node = lab_net_find(net, sk_str(name));
        if (node != NULL) {
            struct lab_host_info *info = &ret[node->number - 1];
            info->pid = pid;
            info->daemon = daemons > 0;
            info->starts = starts;
            info->slow_ms = slow_ms;
        }
    }
    sk_buf_release(&text);
    return code;
}

int lab_hosts_look(const struct lab_net *net, struct lab_host_info ret[], struct sk_err *err)
{
    struct scan s;
    unsigned awake[LAB_NODES_MAX] = {0};
    int code = ask_hosts(net, ret, err);
    if (code < 0) {
        return code;
    }
    scan_all(net, ret, &s);
    for (size_t i = 0; i < s.count; i++) {
        if (s.list[i].host >= 0) {
            ret[s.list[i].host].processes++;
            awake[s.list[i].host] += s.list[i].state != 'T';
        }
    }
    scan_release(&s);
    for (size_t i = 0; i < net->nnodes; i++) {
        char data[LAB_PATH_MAX];
        struct statvfs fs;
        struct lab_host_info *info = &ret[i];
        info->power = info->processes == 0 ? LAB_OFF : awake[i] == 0 ? LAB_PAUSED : LAB_RUNNING;
        info->has_disk = net->nodes[i].disk_bytes > 0;
        lab_host_data(net, &net->nodes[i], data);
        if (info->has_disk && statvfs(data, &fs) == 0) {
            info->disk_bytes = (int64_t)fs.f_blocks * (int64_t)fs.f_frsize;
            info->disk_free = (int64_t)fs.f_bavail * (int64_t)fs.f_frsize;
        }
    }
    return 0;
}

/* Sends the signal to the host's processes that `wanted` names. By pid descriptor: a number that is
 * another's by now gets nothing. Returns how many were wanted. */
static size_t signal_once(const struct lab_net *net, const struct lab_host_info *info,
                          const struct lab_node *node, int sig, bool (*wanted)(char state))
{
    struct scan s;
    size_t found = 0;
    scan_all(net, info, &s);
    for (size_t i = 0; i < s.count; i++) {
        struct process again;
        const struct process *p = &s.list[i];
        if (p->host != (int)node->number - 1 || !wanted(p->state)) {
            continue;
        }
        found++;
        int fd = (int)syscall(SYS_pidfd_open, p->pid, 0);
        if (fd >= 0) {
            if (read_process(p->pid, &again) && again.netns == p->netns &&
                again.parent == p->parent) {
                (void)syscall(SYS_pidfd_send_signal, fd, sig, NULL, 0); /* ESRCH: it ended */
            }
            (void)close(fd);
        }
    }
    scan_release(&s);
    return found;
}

static bool any_state(char state)
{
    return true;
}

static bool is_awake(char state)
{
    return state != 'T';
}

static bool is_stopped(char state)
{
    return state == 'T';
}

static int signal_until_none(const struct lab_net *net, const struct lab_host_info *info,
                             const struct lab_node *node, int sig, bool (*wanted)(char state),
                             struct sk_err *err)
{
    for (int pass = 0; pass < PASSES; pass++) {
        const struct timespec wait = {0, 10000000};
        if (signal_once(net, info, node, sig, wanted) == 0) {
            return 0;
        }
        (void)nanosleep(&wait, NULL); /* woken early: looks again a little sooner */
    }
    return sk_err_set(err, SK_ERR_TIMEOUT, "host '%s' has processes that signal %d does not reach",
                      node->name, sig);
}

int lab_host_kill(const struct lab_net *net, struct sk_str name, struct sk_err *err)
{
    const struct lab_node *node;
    int ret = need_host(net, name, &node, err);
    sk_autofree struct lab_host_info *info = sk_xcalloc(net->nnodes, sizeof(*info));
    ret = ret < 0 ? ret : ask_hosts(net, info, err);
    if (ret < 0) {
        return ret;
    }
    pid_t pid = info[node->number - 1].pid;
    int fd = pid > 0 ? (int)syscall(SYS_pidfd_open, pid, 0) : -1;
    if (fd >= 0) {
        /* the first process: with it the kernel ends all below it, and it ends last */
        struct pollfd p = {fd, POLLIN, 0};
        (void)syscall(SYS_pidfd_send_signal, fd, SIGKILL, NULL, 0); /* ESRCH: it ended */
        ret = poll(&p, 1, 10000) == 1
                  ? 0
                  : sk_err_set(err, SK_ERR_TIMEOUT, "host '%s' does not end", node->name);
        (void)close(fd);
    }
    return ret < 0 ? ret : signal_until_none(net, info, node, SIGKILL, any_state, err);
}

int lab_host_pause(const struct lab_net *net, struct sk_str name, bool pause, struct sk_err *err)
{
    const struct lab_node *node;
    int ret = need_host(net, name, &node, err);
    sk_autofree struct lab_host_info *info = sk_xcalloc(net->nnodes, sizeof(*info));
    ret = ret < 0 ? ret : ask_hosts(net, info, err);
    return ret < 0 ? ret
                   : signal_until_none(net, info, node, pause ? SIGSTOP : SIGCONT,
                                       pause ? is_awake : is_stopped, err);
}

/* ---- disks ---- */

int lab_host_slow(const struct lab_net *net, struct sk_str name, unsigned ms, struct sk_err *err)
{
    const struct lab_node *node;
    char request[128];
    int ret = need_host(net, name, &node, err);
    if (ret == 0) {
        (void)snprintf(request, sizeof(request), "slow %s %u", node->name, ms);
        ret = lab_keep_ask(net, sk_str(request), NULL, err);
    }
    return ret;
}

/* Takes what is free, in ever smaller pieces. */
static int take_all(int fd, const char *data, struct sk_err *err)
{
    off_t size = 0;
    off_t piece = 1 << 30;
    struct statvfs fs;
    while (piece >= 4096) {
        if (fallocate(fd, 0, size, piece) == 0) {
            size += piece;
        } else if (errno == ENOSPC || errno == EFBIG) {
            piece /= 2;
        } else if (errno != EINTR) {
            return sk_err_errno(err, errno, "fill the disk at '%s'", data);
        }
    }
    if (fstatvfs(fd, &fs) < 0) {
        return sk_err_errno(err, errno, "look at the disk at '%s'", data);
    }
    return 0;
}

int lab_host_fill(const struct lab_net *net, struct sk_str name, bool fill, struct sk_err *err)
{
    const struct lab_node *node;
    char data[LAB_PATH_MAX], path[LAB_PATH_MAX + 16];
    int ret = need_host(net, name, &node, err);
    if (ret < 0) {
        return ret;
    }
    if (node->disk_bytes == 0) {
        (void)sk_err_set(err, SK_ERR_UNSUPPORTED, "host '%s' has no disk of its own", node->name);
        (void)sk_err_fix(err, "'disk: 256M' for site '%s' in the topology", node->site);
        return SK_ERR_UNSUPPORTED;
    }
    lab_host_data(net, node, data);
    (void)snprintf(path, sizeof(path), "%s/" FILL_NAME, data);
    if (!fill) {
        return unlink(path) == 0 || errno == ENOENT ? 0
                                                    : sk_err_errno(err, errno, "free '%s'", path);
    }
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0) {
        return sk_err_errno(err, errno, "open '%s'", path);
    }
    ret = take_all(fd, data, err);
    (void)close(fd);
    return ret;
}

static int mount_disk(const char *data, int64_t bytes, struct sk_err *err)
{
    char options[64];
    (void)snprintf(options, sizeof(options), "size=%lld,mode=0755", (long long)bytes);
    if (mount("skerry-lab", data, "tmpfs", MS_NOSUID | MS_NODEV, options) < 0) {
        return sk_err_errno(err, errno, "mount a disk at '%s'", data);
    }
    return 0;
}

int lab_hosts_mount(const struct lab_net *net, struct sk_err *err)
{
    char path[LAB_PATH_MAX];
    int ret = 0;
    for (size_t i = 0; ret == 0 && i < net->nnodes; i++) {
        const struct lab_node *node = &net->nodes[i];
        if (node->disk_bytes == 0) {
            continue; /* its folder is made by the daemon's init or join */
        }
        lab_host_data(net, node, path);
        ret = sys_mkdirs(path, 0755, err);
        ret = ret < 0 ? ret : mount_disk(path, node->disk_bytes, err);
    }
    return ret;
}

static int remove_entry(const char *path, const struct stat *st, int kind, struct FTW *at)
{
    (void)remove(path); /* what cannot go stays: the folder's own removal will show it */
    return 0;
}

void lab_hosts_unmount(const struct lab_net *net)
{
    char path[LAB_PATH_MAX];
    for (size_t i = 0; i < net->nnodes; i++) {
        const struct timespec pause = {.tv_nsec = 20000000};
        struct stat st;
        lab_host_data(net, &net->nodes[i], path);
        if (stat(path, &st) < 0) {
            continue;
        }
        /* those who were killed leave their control group a moment later */
        for (int k = 0; k < GROUPS_TRIES && !cgroup_forget(path); k++) {
            (void)nanosleep(&pause, NULL);
        }
        if (net->nodes[i].disk_bytes > 0) {
            (void)umount2(path, MNT_DETACH); /* not mounted: the lab was never complete */
        }
    }
    (void)snprintf(path, sizeof(path), "%s/hosts", net->dir);
    (void)nftw(path, remove_entry, 32, FTW_DEPTH | FTW_PHYS | FTW_MOUNT);
}
