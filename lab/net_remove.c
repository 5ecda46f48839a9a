/* SPDX-License-Identifier: Apache-2.0 */
#include "lab/net_remove.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "base/mem.h"
#include "lab/hosts.h"
#include "lab/net.h"
#include "lab/net_state.h"
#include "lab/spawn.h"

#define KILL_PASSES 100 /* 10 ms apart */

struct inode_set {
    dev_t dev;
    ino_t inodes[LAB_NODES_MAX + 1];
    size_t count;
};

static void add_netns(struct inode_set *set, const char *path, dev_t runtime_dev)
{
    struct stat st;
    /* an empty file without its mount (a crash between the two) is no namespace */
    if (stat(path, &st) == 0 && st.st_dev != runtime_dev) {
        set->dev = st.st_dev;
        set->inodes[set->count++] = st.st_ino;
    }
}

static bool is_member(const struct inode_set *set, const struct stat *st)
{
    for (size_t i = 0; i < set->count; i++) {
        if (st->st_dev == set->dev && st->st_ino == set->inodes[i]) {
            return true;
        }
    }
    return false;
}

/* One look through /proc; how many processes of the namespaces were found (and sent SIGKILL). */
static size_t kill_members(const struct inode_set *set)
{
    size_t found = 0;
    DIR *proc = opendir("/proc");
    if (proc == NULL) {
        return 0;
    }
    const struct dirent *entry;
    while ((entry = readdir(proc)) != NULL) {
        char *end;
        long pid = strtol(entry->d_name, &end, 10);
        char path[64];
        struct stat st;
        if (!isdigit((unsigned char)entry->d_name[0]) || *end != '\0' || pid == getpid()) {
            continue;
        }
        (void)snprintf(path, sizeof(path), "/proc/%ld/ns/net", pid);
        if (stat(path, &st) == 0 && is_member(set, &st)) {
            found++;
            (void)kill((pid_t)pid, SIGKILL); /* ESRCH = it ended meanwhile */
        }
    }
    (void)closedir(proc);
    return found;
}

static void remove_netns(const char *path)
{
    /* what `ip netns del` does; it fails on a file without a mount, which must go as well */
    (void)umount2(path, MNT_DETACH);
    (void)unlink(path);
}

/* ---- the keeper ---- */

#define CHILDREN_MAX (LAB_NODES_MAX + 8)

static pid_t parent_of(pid_t pid)
{
    char path[64], text[512];
    int parent = 0;
    (void)snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd >= 0 ? read(fd, text, sizeof(text) - 1) : -1;
    if (fd >= 0) {
        (void)close(fd);
    }
    text[n > 0 ? n : 0] = '\0';
    const char *after = strrchr(text, ')'); /* the name in brackets may hold anything */
    return after != NULL && sscanf(after + 1, " %*c %d", &parent) == 1 ? parent : 0;
}

static size_t open_children(pid_t of, int fds[CHILDREN_MAX])
{
    size_t count = 0;
    DIR *proc = opendir("/proc");
    const struct dirent *entry;
    while (proc != NULL && count < CHILDREN_MAX && (entry = readdir(proc)) != NULL) {
        pid_t pid = (pid_t)strtol(entry->d_name, NULL, 10);
        if (pid > 0 && parent_of(pid) == of) {
            fds[count] = (int)syscall(SYS_pidfd_open, pid, 0);
            count += fds[count] >= 0;
        }
    }
    if (proc != NULL) {
        (void)closedir(proc);
    }
    return count;
}

static void await_end(int fd)
{
    struct pollfd p = {fd, POLLIN, 0};
    (void)poll(&p, 1, 10000); /* who does not end is found by its namespace, or shows */
    (void)close(fd);
}

/* Its children die with it, by the kernel; they have ended when this returns. */
static void end_keeper(const struct lab_net *net)
{
    int children[CHILDREN_MAX];
    if (net->keeper <= 0 || net->keeper == getpid()) {
        return;
    }
    int keeper = (int)syscall(SYS_pidfd_open, net->keeper, 0);
    if (keeper < 0) {
        return;
    }
    if (lab_start_time(net->keeper) != net->keeper_start) { /* another process by now */
        (void)close(keeper);
        return;
    }
    size_t count = open_children(net->keeper, children);
    (void)syscall(SYS_pidfd_send_signal, keeper, SIGKILL, NULL, 0); /* ESRCH: it ended */
    for (size_t i = 0; i < count; i++) {
        await_end(children[i]);
    }
    await_end(keeper);
}

static void remove_files(const struct lab_net *net)
{
    static const char *const names[] = {"keep.log", "wan.log"};
    struct sockaddr_un address;
    char path[300];
    lab_keep_address(net, &address);
    (void)unlink(address.sun_path);
    (void)unlink(net->control);
    for (size_t i = 0; i < SK_ARRAY_LEN(names); i++) {
        (void)snprintf(path, sizeof(path), "%s/%s", net->dir, names[i]);
        (void)unlink(path);
    }
}

void lab_remove(const struct lab_net *net)
{
    end_keeper(net);
    struct inode_set *set = sk_xcalloc(1, sizeof(*set));
    struct stat run;
    if (stat("/run/netns", &run) == 0) {
        /* /run/netns may be bind mounted on itself: same device as its empty files */
        for (size_t i = 0; i < net->nnodes; i++) {
            add_netns(set, net->nodes[i].netns, run.st_dev);
        }
        add_netns(set, net->router, run.st_dev);
    }
    for (int pass = 0; pass < KILL_PASSES && set->count > 0 && kill_members(set) > 0; pass++) {
        const struct timespec wait = {0, 10000000};
        (void)nanosleep(&wait, NULL); /* woken early: looks again a little sooner */
    }
    free(set);
    for (size_t i = 0; i < net->nnodes; i++) {
        remove_netns(net->nodes[i].netns);
    }
    remove_netns(net->router);
    lab_hosts_unmount(net);
    remove_files(net);
    lab_state_remove(net);
    if (net->own_dir) {
        (void)rmdir(net->dir); /* somebody put a file of his own there: it stays */
    }
}

int lab_net_down(const char *dir, struct sk_err *err)
{
    int cleaned = lab_net_clean(err);
    if (cleaned < 0) {
        return cleaned;
    }
    struct lab_net *net = NULL;
    struct sk_err why = {0};
    int ret = lab_net_open(dir, &net, &why);
    if (ret == SK_ERR_NOT_FOUND) {
        return 0;
    }
    int lock = -1;
    if (ret < 0) {
        return sk_err_set(err, ret, "%s", why.msg);
    }
    ret = lab_state_lock(&lock, err);
    if (ret == 0) {
        lab_remove(net);
        (void)close(lock);
    }
    lab_net_free(net);
    return ret;
}

/* Calls fn for each record in the registry, until it returns false. */
static void each_record(bool (*fn)(const struct lab_net *net, void *ctx), void *ctx)
{
    DIR *folder = opendir(LAB_REGISTRY);
    const struct dirent *entry;
    bool more = true;
    while (more && folder != NULL && (entry = readdir(folder)) != NULL) {
        char path[400];
        struct lab_net *net = NULL;
        size_t len = strlen(entry->d_name);
        if (len < 6 || strcmp(entry->d_name + len - 5, ".json") != 0) {
            continue;
        }
        (void)snprintf(path, sizeof(path), "%s/%s", LAB_REGISTRY, entry->d_name);
        if (lab_state_read(path, &net, NULL) < 0) {
            continue; /* not ours to judge */
        }
        more = fn(net, ctx);
        lab_net_free(net);
    }
    if (folder != NULL) {
        (void)closedir(folder);
    }
}

static bool remove_stale(const struct lab_net *net, void *ctx)
{
    if (!lab_state_owner_lives(net) || !lab_state_is_kept(net)) {
        lab_remove(net);
        ++*(int *)ctx;
    }
    return true;
}

int lab_net_clean(struct sk_err *err)
{
    int lock = -1;
    int count = 0;
    int ret = lab_state_lock(&lock, err);
    if (ret < 0) {
        return ret;
    }
    each_record(remove_stale, &count);
    (void)close(lock);
    return count;
}

struct only {
    char *dir;
    size_t count;
};

static bool take_dir(const struct lab_net *net, void *ctx)
{
    struct only *only = ctx;
    (void)snprintf(only->dir, LAB_DIR_MAX, "%s", net->dir);
    return ++only->count < 2;
}

int lab_net_only(char ret_dir[LAB_DIR_MAX], struct sk_err *err)
{
    char dir[LAB_DIR_MAX];
    struct only only = {.dir = dir};
    each_record(take_dir, &only);
    if (only.count != 1) {
        return sk_err_set(err, SK_ERR_USAGE,
                          only.count == 0 ? "no lab runs here: 'skerry-lab up TOPOLOGY.yaml'"
                                          : "more than one lab runs here: say which by --dir DIR");
    }
    memcpy(ret_dir, dir, sizeof(dir));
    return 0;
}
