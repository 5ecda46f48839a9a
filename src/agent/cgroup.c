/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/cgroup.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <linux/magic.h>

#define CGROUP_ROOT "/sys/fs/cgroup"
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

static void parent_dir(const struct cgroups *cgroups, enum cgroup_kind kind,
                       char out[CGROUP_DIR_MAX])
{
    if (cgroups->v2) {
        (void)snprintf(out, CGROUP_DIR_MAX, CGROUP_ROOT "/skerry");
    } else {
        (void)snprintf(out, CGROUP_DIR_MAX, CGROUP_ROOT "/%s/skerry", kind_names[kind]);
    }
}

static bool make_dir(const char *dir)
{
    return mkdir(dir, 0755) == 0 || errno == EEXIST;
}

static bool probe_v2(void)
{
    bool ok = make_dir(CGROUP_ROOT "/skerry");

    for (size_t i = 0; ok && i < 2; i++) {
        static const char *const levels[] = {CGROUP_ROOT, CGROUP_ROOT "/skerry"};
        ok = write_value(levels[i], "cgroup.subtree_control", "+cpu +memory +pids", NULL) == 0;
    }
    return ok;
}

void cgroup_probe(struct cgroups *ret)
{
    memset(ret, 0, sizeof(*ret));
    ret->v2 = filesystem(CGROUP_ROOT) == CGROUP2_SUPER_MAGIC;
    if (ret->v2) {
        ret->any = probe_v2();
        for (int kind = 0; kind < CGROUP_KIND_COUNT; kind++) {
            ret->usable[kind] = ret->any;
        }
        return;
    }
    for (int kind = 0; kind < CGROUP_KIND_COUNT; kind++) {
        char dir[CGROUP_DIR_MAX];
        (void)snprintf(dir, sizeof(dir), CGROUP_ROOT "/%s", kind_names[kind]);
        if (filesystem(dir) == CGROUP_SUPER_MAGIC) {
            parent_dir(ret, (enum cgroup_kind)kind, dir);
            ret->usable[kind] = make_dir(dir) && access(dir, W_OK) == 0;
            ret->any = ret->any || ret->usable[kind];
        }
    }
}

void cgroup_path(const char *id, char out[CGROUP_DIR_MAX])
{
    (void)snprintf(out, CGROUP_DIR_MAX, "/skerry/%s", id);
}

bool cgroup_dir(const struct cgroups *cgroups, enum cgroup_kind kind, const char *id,
                char out[CGROUP_DIR_MAX])
{
    size_t len;

    parent_dir(cgroups, kind, out);
    len = strlen(out);
    (void)snprintf(out + len, CGROUP_DIR_MAX - len, "/%s", id);
    return cgroups->usable[kind];
}

bool cgroup_oom_file(const struct cgroups *cgroups, const char *id, char out[CGROUP_DIR_MAX + 32])
{
    char dir[CGROUP_DIR_MAX];
    bool ok = cgroup_dir(cgroups, CGROUP_MEMORY, id, dir);

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

static int make_one(const struct cgroups *cgroups, enum cgroup_kind kind, const char *id,
                    const struct cgroup_limits *limits, struct sk_err *err)
{
    int64_t limit = limit_of(limits, kind);
    char dir[CGROUP_DIR_MAX], value[32];

    if (limit <= 0 || !cgroup_dir(cgroups, kind, id, dir)) {
        return 0;
    }
    if (!make_dir(dir)) {
        return sk_err_errno(err, errno, "make cgroup '%s'", dir);
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

int cgroup_make(const struct cgroups *cgroups, const char *id, const struct cgroup_limits *limits,
                struct sk_err *err)
{
    for (int kind = 0; kind < CGROUP_KIND_COUNT; kind++) {
        int rc = make_one(cgroups, (enum cgroup_kind)kind, id, limits, err);
        if (rc < 0) {
            return rc;
        }
    }
    return 0;
}

/* In every hierarchy there is: a runtime that failed half-way leaves groups in those it had
 * reached. */
void cgroup_remove(const struct cgroups *cgroups, const char *id)
{
    char dir[CGROUP_DIR_MAX + 300];
    struct dirent *entry;
    DIR *root;

    if (cgroups->v2) {
        (void)snprintf(dir, sizeof(dir), CGROUP_ROOT "/skerry/%.64s", id);
        (void)rmdir(dir); /* one that is not there, or not empty yet, is tried again later */
        return;
    }
    root = opendir(CGROUP_ROOT);
    while (root && (entry = readdir(root))) {
        if (entry->d_name[0] != '.') {
            (void)snprintf(dir, sizeof(dir), CGROUP_ROOT "/%.255s/skerry/%.64s", entry->d_name, id);
            (void)rmdir(dir);
        }
    }
    if (root) {
        (void)closedir(root);
    }
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
