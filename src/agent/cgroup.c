/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/cgroup.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <linux/magic.h>

#include "base/hash.h"

#define CGROUP_ROOT "/sys/fs/cgroup"
#define TOP "/skerry"
#define CPU_PERIOD_US 100000

static const char *const kind_names[CGROUP_KIND_COUNT] = {"memory", "cpu", "pids"};

static long filesystem(const char *path)
{
    struct statfs fs;
    return statfs(path, &fs) < 0 ? 0 : (long)fs.f_type;
}

bool cgroup_is_hybrid(void)
{
    return filesystem(CGROUP_ROOT) != CGROUP2_SUPER_MAGIC &&
           filesystem(CGROUP_ROOT "/unified") == CGROUP2_SUPER_MAGIC;
}

static int write_value(const char *dir, const char *file, const char *value, struct sk_err *err)
{
    char path[CGROUP_DIR_MAX + 64];
    ssize_t n;
    int fd, saved;

    (void)snprintf(path, sizeof(path), "%s/%s", dir, file);
    fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0) {
        return sk_err_errno(err, errno, "open '%s'", path);
    }
    n = write(fd, value, strlen(value));
    saved = errno;
    (void)close(fd);
    return n < 0 ? sk_err_errno(err, saved, "write '%s' to '%s'", value, path) : 0;
}

/* One group, or level, in the hierarchy of a controller; version 2 has one hierarchy. */
static void folder(const struct cgroups *cgroups, enum cgroup_kind kind, const char *path,
                   char out[CGROUP_DIR_MAX])
{
    if (cgroups->v2) {
        (void)snprintf(out, CGROUP_DIR_MAX, "%s%s", cgroups->root, path);
    } else {
        (void)snprintf(out, CGROUP_DIR_MAX, "%s/%s%s", cgroups->root, kind_names[kind], path);
    }
}

static bool make_dir(const char *dir)
{
    return mkdir(dir, 0755) == 0 || errno == EEXIST;
}

static int hand_down(const char *dir, struct sk_err *err)
{
    return write_value(dir, "cgroup.subtree_control", "+cpu +memory +pids", err);
}

static bool probe_v2(const struct cgroups *cgroups)
{
    char dir[CGROUP_DIR_MAX];

    folder(cgroups, CGROUP_CPU, TOP, dir);
    return make_dir(dir) && hand_down(cgroups->root, NULL) == 0 && hand_down(dir, NULL) == 0;
}

void cgroup_init(struct cgroups *ret, const char *dir)
{
    char key[SK_SHA256_HEX];

    memset(ret, 0, sizeof(*ret));
    (void)snprintf(ret->root, sizeof(ret->root), "%s", CGROUP_ROOT);
    sk_sha256_hex(sk_str(dir), key);
    (void)snprintf(ret->level, sizeof(ret->level), TOP "/%.12s", key);
    ret->v2 = filesystem(CGROUP_ROOT) == CGROUP2_SUPER_MAGIC;
}

void cgroup_probe(struct cgroups *cgroups)
{
    if (cgroups->v2) {
        cgroups->any = probe_v2(cgroups);
        for (int kind = 0; kind < CGROUP_KIND_COUNT; kind++) {
            cgroups->usable[kind] = cgroups->any;
        }
        return;
    }
    for (int kind = 0; kind < CGROUP_KIND_COUNT; kind++) {
        char dir[CGROUP_DIR_MAX];
        folder(cgroups, (enum cgroup_kind)kind, "", dir);
        if (filesystem(dir) == CGROUP_SUPER_MAGIC) {
            folder(cgroups, (enum cgroup_kind)kind, TOP, dir);
            cgroups->usable[kind] = make_dir(dir) && access(dir, W_OK) == 0;
            cgroups->any = cgroups->any || cgroups->usable[kind];
        }
    }
}

void cgroup_path(const struct cgroups *cgroups, const char *id, char out[CGROUP_PATH_MAX])
{
    (void)snprintf(out, CGROUP_PATH_MAX, "%s/%.64s", cgroups->level, id);
}

void cgroup_path_old(const char *id, char out[CGROUP_PATH_MAX])
{
    (void)snprintf(out, CGROUP_PATH_MAX, TOP "/%.64s", id);
}

int cgroup_level_up(const struct cgroups *cgroups, struct sk_err *err)
{
    for (int kind = 0; kind < CGROUP_KIND_COUNT; kind++) {
        char dir[CGROUP_DIR_MAX];
        folder(cgroups, (enum cgroup_kind)kind, cgroups->level, dir);
        if (cgroups->usable[kind] && !make_dir(dir)) {
            return sk_err_errno(err, errno, "make cgroup '%s'", dir);
        }
        if (cgroups->usable[kind] && cgroups->v2) {
            return hand_down(dir, err); /* one folder for all */
        }
    }
    return 0;
}

bool cgroup_dir(const struct cgroups *cgroups, enum cgroup_kind kind, const char *path,
                char out[CGROUP_DIR_MAX])
{
    folder(cgroups, kind, path, out);
    return cgroups->usable[kind];
}

bool cgroup_oom_file(const struct cgroups *cgroups, const char *path, char out[CGROUP_DIR_MAX + 32])
{
    char dir[CGROUP_DIR_MAX];
    bool ok = cgroup_dir(cgroups, CGROUP_MEMORY, path, dir);

    (void)snprintf(out, CGROUP_DIR_MAX + 32, "%s/%s", dir,
                   cgroups->v2 ? "memory.events" : "memory.oom_control");
    return ok;
}

static int set_memory(const struct cgroups *cgroups, const char *dir, int64_t bytes,
                      struct sk_err *err)
{
    char value[32];

    (void)snprintf(value, sizeof(value), "%" PRId64, bytes);
    if (cgroups->v2) {
        return write_value(dir, "memory.max", value, err);
    }
    return write_value(dir, "memory.limit_in_bytes", value, err);
}

static int set_cpu(const struct cgroups *cgroups, const char *dir, int64_t nano, struct sk_err *err)
{
    int64_t quota = nano / (1000000000 / CPU_PERIOD_US);
    char value[64];
    int rc;

    quota = quota < 1000 ? 1000 : quota; /* the kernel's least */
    if (cgroups->v2) {
        (void)snprintf(value, sizeof(value), "%" PRId64 " %d", quota, CPU_PERIOD_US);
        return write_value(dir, "cpu.max", value, err);
    }
    (void)snprintf(value, sizeof(value), "%d", CPU_PERIOD_US);
    rc = write_value(dir, "cpu.cfs_period_us", value, err);
    (void)snprintf(value, sizeof(value), "%" PRId64, quota);
    return rc < 0 ? rc : write_value(dir, "cpu.cfs_quota_us", value, err);
}

static int64_t limit_of(const struct cgroup_limits *limits, enum cgroup_kind kind)
{
    switch (kind) {
    case CGROUP_MEMORY:
        return limits->memory_bytes;
    case CGROUP_CPU:
        return limits->cpus_nano;
    case CGROUP_PIDS:
        return limits->pids;
    case CGROUP_KIND_COUNT:
        break;
    }
    return 0;
}

static int make_one(const struct cgroups *cgroups, enum cgroup_kind kind, const char *path,
                    const struct cgroup_limits *limits, struct sk_err *err)
{
    int64_t limit = limit_of(limits, kind);
    char dir[CGROUP_DIR_MAX], value[32];

    bool bare = limit <= 0 && limits->group && kind == CGROUP_PIDS;

    if ((limit <= 0 && !bare) || !cgroup_dir(cgroups, kind, path, dir)) {
        return 0;
    }
    if (!make_dir(dir)) {
        return sk_err_errno(err, errno, "make cgroup '%s'", dir);
    }
    if (bare) {
        return 0;
    }
    if (kind == CGROUP_MEMORY) {
        return set_memory(cgroups, dir, limit, err);
    }
    if (kind == CGROUP_CPU) {
        return set_cpu(cgroups, dir, limit, err);
    }
    (void)snprintf(value, sizeof(value), "%" PRId64, limit);
    return write_value(dir, "pids.max", value, err);
}

int cgroup_make(const struct cgroups *cgroups, const char *path, const struct cgroup_limits *limits,
                struct sk_err *err)
{
    int rc;

    if (limits->memory_bytes <= 0 && limits->cpus_nano <= 0 && limits->pids <= 0 &&
        !limits->group) {
        return 0;
    }
    rc = cgroup_level_up(cgroups, err);
    for (int kind = 0; rc == 0 && kind < CGROUP_KIND_COUNT; kind++) {
        rc = make_one(cgroups, (enum cgroup_kind)kind, path, limits, err);
    }
    return rc;
}

static unsigned kill_listed(const char *dir)
{
    char path[CGROUP_DIR_MAX + 32], line[32];
    unsigned found = 0;
    FILE *list;

    (void)snprintf(path, sizeof(path), "%s/cgroup.procs", dir);
    list = fopen(path, "re");
    while (list && fgets(line, sizeof(line), list)) {
        long pid = strtol(line, NULL, 10);
        if (pid > 1) {
            (void)kill((pid_t)pid, SIGKILL);
            found++;
        }
    }
    if (list) {
        (void)fclose(list);
    }
    return found;
}

unsigned cgroup_kill(const struct cgroups *cgroups, const char *path)
{
    char dir[CGROUP_DIR_MAX];
    unsigned found = 0;

    if (strncmp(path, TOP "/", strlen(TOP "/")) != 0) {
        return 0; /* no path is the root of all: everybody's */
    }
    for (int kind = 0; kind < CGROUP_KIND_COUNT; kind++) {
        if (cgroup_dir(cgroups, (enum cgroup_kind)kind, path, dir)) {
            found += kill_listed(dir);
        }
    }
    return found;
}

typedef bool each_fn(void *ctx, const char *hierarchy);

/* Every hierarchy there is: a runtime that failed half-way leaves groups in those it had reached.
 */
static bool each_hierarchy(const struct cgroups *cgroups, each_fn *fn, void *ctx)
{
    char dir[CGROUP_DIR_MAX + 300];
    struct dirent *entry;
    bool all = true;
    DIR *root;

    if (cgroups->v2) {
        return fn(ctx, cgroups->root);
    }
    root = opendir(cgroups->root);
    while (root && (entry = readdir(root))) {
        if (entry->d_name[0] != '.') {
            (void)snprintf(dir, sizeof(dir), "%s/%.255s", cgroups->root, entry->d_name);
            all = fn(ctx, dir) && all;
        }
    }
    if (root) {
        (void)closedir(root);
    }
    return all;
}

/* True when it is gone, or never was: nothing can have been made where nothing can be written. */
static bool remove_dir(const char *dir)
{
    return rmdir(dir) == 0 || errno == ENOENT || errno == ENOTDIR || errno == EROFS;
}

static bool remove_in(void *ctx, const char *hierarchy)
{
    char dir[CGROUP_DIR_MAX + 500];

    (void)snprintf(dir, sizeof(dir), "%s%s", hierarchy, (const char *)ctx);
    return remove_dir(dir);
}

void cgroup_remove(const struct cgroups *cgroups, const char *path)
{
    char copy[CGROUP_PATH_MAX];

    (void)snprintf(copy, sizeof(copy), "%s", path);
    (void)each_hierarchy(cgroups, remove_in, copy); /* one in use is tried again later */
}

void cgroup_level_down(const struct cgroups *cgroups)
{
    cgroup_remove(cgroups, cgroups->level);
}

struct pruning {
    const char *level;
    cgroup_keep_fn *keep;
    void *ctx;
};

static bool prune_in(void *ctx, const char *hierarchy)
{
    const struct pruning *p = ctx;
    char dir[CGROUP_DIR_MAX + 400], group[CGROUP_DIR_MAX + 700];
    struct dirent *entry;
    bool all = true;
    DIR *level;

    (void)snprintf(dir, sizeof(dir), "%s%s", hierarchy, p->level);
    level = opendir(dir);
    while (level && (entry = readdir(level))) {
        if (entry->d_type == DT_DIR && entry->d_name[0] != '.' &&
            !(p->keep && p->keep(p->ctx, entry->d_name))) {
            (void)snprintf(group, sizeof(group), "%s/%.255s", dir, entry->d_name);
            all = remove_dir(group) && all;
        }
    }
    if (level) {
        (void)closedir(level);
    }
    return all;
}

void cgroup_prune(const struct cgroups *cgroups, cgroup_keep_fn *keep, void *ctx)
{
    struct pruning p = {cgroups->level, keep, ctx};

    (void)each_hierarchy(cgroups, prune_in, &p);
}

bool cgroup_forget(const char *data_dir)
{
    char real[PATH_MAX], dir[PATH_MAX + 16];
    struct pruning p = {0};
    struct cgroups all;

    if (!realpath(data_dir, real)) {
        return true; /* no folder, no agent */
    }
    (void)snprintf(dir, sizeof(dir), "%s/agent", real);
    cgroup_init(&all, dir);
    p.level = all.level;
    return each_hierarchy(&all, prune_in, &p) && each_hierarchy(&all, remove_in, all.level);
}

void cgroup_missing(const struct cgroups *cgroups, const struct cgroup_limits *limits, char *out,
                    size_t size)
{
    static const char *const words[CGROUP_KIND_COUNT] = {"memory", "cpus", "pids"};
    size_t len = 0;

    out[0] = '\0';
    for (int kind = 0; kind < CGROUP_KIND_COUNT; kind++) {
        if (limit_of(limits, (enum cgroup_kind)kind) > 0 && !cgroups->usable[kind] && len < size) {
            len += (size_t)snprintf(out + len, size - len, "%s%s", len ? ", " : "", words[kind]);
        }
    }
}
