/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AGENT_OCI_CONFIG_H
#define AGENT_OCI_CONFIG_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "agent/cgroup.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/str.h"
#include "base/tree.h"

/*
 * The runtime's config.json, by a typed writer, and the lint that stands between it and the
 * runtime. Pure. What is not written here does not exist for a container: no host paths, no devices
 * but the runtime's own few, no terminal, no hooks, no annotations (they change what crun does).
 *
 * The network is the shim's namespace: the file names none, and the lint refuses one that does.
 */
#define OCI_GROUPS_MAX 32

struct oci_user {
    uid_t uid;
    gid_t gid;
    gid_t groups[OCI_GROUPS_MAX];
    size_t ngroups;
};

struct oci_spec {
    const char *const *argv; /* NULL at the end, not empty */
    const char *const *env;
    const char *cwd;
    struct oci_user user;
    const char *hostname;
    const struct sk_str *tmpfs; /* Compose: "/path" or "/path:size=64m,mode=1777" */
    size_t ntmpfs;
    struct cgroup_limits limits;
    const char *cgroup_path; /* "" = the runtime manages no cgroups */
};

/* SK_ERR_INPUT: a tmpfs entry that is not allowed. */
int oci_config_write(const struct oci_spec *spec, struct sk_buf *out, struct sk_err *err);
/* Only the process: what a check inside the container runs as. */
void oci_process_write(const struct oci_spec *spec, const char *const *argv, struct sk_buf *out);

/* 0, or SK_ERR_INTERNAL naming the broken rule. json: a whole config.json. */
int oci_lint(struct sk_str json, struct sk_err *err);

/* The entry of /etc/passwd and /etc/group (bytes of the image, hostile) for "user[:group]" in the
 * forms that Docker takes: names, numbers, both. */
int oci_find_user(struct sk_str user, struct sk_str passwd, struct sk_str group,
                  struct oci_user *ret, struct sk_err *err);

#endif
