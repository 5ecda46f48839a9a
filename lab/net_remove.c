/* SPDX-License-Identifier: Apache-2.0 */
#include "lab/net_remove.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/mem.h"
#include "lab/net.h"

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

void lab_remove(const struct lab_net *net)
{
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
    (void)unlink(net->control);
    lab_state_remove(net);
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

int lab_net_clean(struct sk_err *err)
{
    int lock = -1;
    int count = 0;
    int ret = lab_state_lock(&lock, err);
    if (ret < 0) {
        return ret;
    }
    DIR *folder = opendir(LAB_REGISTRY);
    const struct dirent *entry;
    while (folder != NULL && (entry = readdir(folder)) != NULL) {
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
        if (!lab_state_owner_lives(net)) {
            lab_remove(net);
            count++;
        }
        lab_net_free(net);
    }
    if (folder != NULL) {
        (void)closedir(folder);
    }
    (void)close(lock);
    return count;
}
