/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AGENT_CGROUP_H
#define AGENT_CGROUP_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

/*
 * Control groups: what this host has, and one group an instance where limits are to hold. Version 1
 * (each controller by itself), version 2, and the hybrid of both, which is used as version 1.
 */
#define CGROUP_DIR_MAX 256

enum cgroup_kind { CGROUP_MEMORY, CGROUP_CPU, CGROUP_PIDS, CGROUP_KIND_COUNT };

struct cgroups {
    bool v2;
    bool usable[CGROUP_KIND_COUNT]; /* there, and writable by us */
    bool any;
};

struct cgroup_limits {
    int64_t cpus_nano, memory_bytes, pids; /* 0 = none */
};

void cgroup_probe(struct cgroups *ret);
/* On a hybrid host crun refuses to work while it sees the cgroup2 mount beside the controllers. */
bool cgroup_is_hybrid(void);
/* "/skerry/ID", as the runtime takes it */
void cgroup_path(const char *id, char out[CGROUP_DIR_MAX]);
/* The folder of the instance's group for one controller; false where it is not usable. */
bool cgroup_dir(const struct cgroups *cgroups, enum cgroup_kind kind, const char *id,
                char out[CGROUP_DIR_MAX]);
/* The file that counts OOM kills. */
bool cgroup_oom_file(const struct cgroups *cgroups, const char *id, char out[CGROUP_DIR_MAX + 32]);
/* Makes the groups that the limits need and sets them. */
int cgroup_make(const struct cgroups *cgroups, const char *id, const struct cgroup_limits *limits,
                struct sk_err *err);
void cgroup_remove(const struct cgroups *cgroups, const char *id);
/* Names of the limits that are asked for and cannot be enforced: "memory, cpus"; "" if none. */
void cgroup_missing(const struct cgroups *cgroups, const struct cgroup_limits *limits, char *out,
                    size_t size);

#endif
