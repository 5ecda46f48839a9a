/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AGENT_CGROUP_H
#define AGENT_CGROUP_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

/*
 * Control groups: what this host has, and one group an instance where limits are to hold. Version 1
 * (each controller by itself), version 2, and the hybrid of both, which is used as version 1.
 *
 * Each agent keeps its instances' groups on a level of its own, /skerry/KEY/ID, where KEY is made
 * of the path of its folder: several agents of one machine do not touch each other's groups, and
 * what a killed one left is found again. A group with processes in it is never removed: the kernel
 * refuses it.
 *
 *     cgroup_init(&c, dir); cgroup_probe(&c);     at the start
 *     cgroup_path(&c, id, path);                  kept with the instance: it may change later
 */
#define CGROUP_DIR_MAX 320
#define CGROUP_PATH_MAX 128
#define CGROUP_LEVEL_MAX 32

enum cgroup_kind { CGROUP_MEMORY, CGROUP_CPU, CGROUP_PIDS, CGROUP_KIND_COUNT };

struct cgroups {
    char root[128];               /* "/sys/fs/cgroup"; another one in tests */
    char level[CGROUP_LEVEL_MAX]; /* "/skerry/KEY" */
    bool v2;
    bool usable[CGROUP_KIND_COUNT]; /* there, and writable by us */
    bool any;
};

struct cgroup_limits {
    int64_t cpus_nano, memory_bytes, pids; /* 0 = none */
    bool group; /* one group (of CGROUP_PIDS) in any case, so that every process can be found */
};

/* dir: the agent's folder, absolute, without links. Makes nothing. */
void cgroup_init(struct cgroups *ret, const char *dir);
void cgroup_probe(struct cgroups *cgroups);
/* On a hybrid host crun refuses to work while it sees the cgroup2 mount beside the controllers. */
bool cgroup_is_hybrid(void);
/* "/skerry/KEY/ID", as the runtime takes it. */
void cgroup_path(const struct cgroups *cgroups, const char *id, char out[CGROUP_PATH_MAX]);
/* What instances had that were started before agents had levels of their own: "/skerry/ID". */
void cgroup_path_old(const char *id, char out[CGROUP_PATH_MAX]);
/* The level itself, for a runtime that makes the rest. */
int cgroup_level_up(const struct cgroups *cgroups, struct sk_err *err);
/* Does nothing while there are groups on it. */
void cgroup_level_down(const struct cgroups *cgroups);
/* Removes the groups of the level that `keep` does not want (NULL: all of them). */
typedef bool cgroup_keep_fn(void *ctx, const char *id);
void cgroup_prune(const struct cgroups *cgroups, cgroup_keep_fn *keep, void *ctx);
/* All that the agent of a data folder, which has ended, left. False: something is still in use. */
bool cgroup_forget(const char *data_dir);

/* path: of cgroup_path(). The folder of the group for one controller; false where it is not usable.
 */
bool cgroup_dir(const struct cgroups *cgroups, enum cgroup_kind kind, const char *path,
                char out[CGROUP_DIR_MAX]);
/* The file that counts OOM kills. */
bool cgroup_oom_file(const struct cgroups *cgroups, const char *path,
                     char out[CGROUP_DIR_MAX + 32]);
/* Makes the groups that the limits need, with the level above them, and sets them. */
int cgroup_make(const struct cgroups *cgroups, const char *path, const struct cgroup_limits *limits,
                struct sk_err *err);
/* KILL to whatever is left in the instance's groups. How many processes were there. */
unsigned cgroup_kill(const struct cgroups *cgroups, const char *path);
void cgroup_remove(const struct cgroups *cgroups, const char *path);
/* Names of the limits that are asked for and cannot be enforced: "memory, cpus"; "" if none. */
void cgroup_missing(const struct cgroups *cgroups, const struct cgroup_limits *limits, char *out,
                    size_t size);

#endif
