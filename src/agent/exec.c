/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/internal.h"

#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/units.h"

/* A program of the host: what the kernel gives without a container. */

static int find_user(struct sk_str name, uid_t *ret_uid, gid_t *ret_gid, struct sk_err *err)
{
    struct passwd *pw;
    char text[128];
    int64_t n;

    (void)snprintf(text, sizeof(text), "%.*s", SK_PRI(name));
    pw = getpwnam(text);
    if (!pw && sk_parse_int(name, 0, INT32_MAX, &n, NULL) == 0) {
        pw = getpwuid((uid_t)n);
        *ret_uid = (uid_t)n;
        *ret_gid = pw ? pw->pw_gid : (gid_t)n;
        return 0;
    }
    if (!pw) {
        return sk_err_set(err, SK_ERR_INPUT, "user '%s' does not exist on this node", text);
    }
    *ret_uid = pw->pw_uid;
    *ret_gid = pw->pw_gid;
    return 0;
}

static int find_group(struct sk_str name, gid_t *ret, struct sk_err *err)
{
    struct group *gr;
    char text[128];
    int64_t n;

    (void)snprintf(text, sizeof(text), "%.*s", SK_PRI(name));
    gr = getgrnam(text);
    if (gr) {
        *ret = gr->gr_gid;
        return 0;
    }
    if (sk_parse_int(name, 0, INT32_MAX, &n, NULL) == 0) {
        *ret = (gid_t)n;
        return 0;
    }
    return sk_err_set(err, SK_ERR_INPUT, "group '%s' does not exist on this node", text);
}

int exec_user(struct sk_str user, uid_t *ret_uid, gid_t *ret_gid, bool *ret_has, struct sk_err *err)
{
    struct sk_str name, group;
    uid_t uid = 0;
    gid_t gid = 0;
    bool has_group;
    int rc;

    *ret_has = false;
    if (user.len == 0) {
        return 0;
    }
    has_group = sk_str_cut(user, ':', &name, &group);
    rc = find_user(name, &uid, &gid, err);
    if (rc == 0 && has_group) {
        rc = find_group(group, &gid, err);
    }
    if (rc < 0) {
        return rc;
    }
    if (geteuid() != 0 && uid != geteuid()) {
        return sk_err_set(err, SK_ERR_DENIED,
                          "user '%.*s' is not possible: the agent does not run as root",
                          SK_PRI(user));
    }
    *ret_uid = uid;
    *ret_gid = gid;
    *ret_has = true;
    return 0;
}

static int add_groups(const struct assignment *a, struct launch *launch, struct sk_err *err)
{
    uid_t uid;
    gid_t gid;
    bool has;
    int rc = exec_user(a->service->user, &uid, &gid, &has, err);

    if (rc == 0 && has) {
        launch_arg(launch, "--uid=%u", (unsigned)uid);
        launch_arg(launch, "--gid=%u", (unsigned)gid);
        if (geteuid() == 0) {
            launch_arg(launch, "--groups=%u", (unsigned)gid);
        }
    }
    return rc;
}

static int add_cgroups(struct work *work, const struct service *s, struct launch *launch,
                       struct sk_err *err)
{
    const struct cgroups *cgroups = &work->agent->cgroups;
    const struct cgroup_limits limits = {s->limit_cpus_nano, s->limit_memory_bytes, s->limit_pids,
                                         s->exclusive};
    const bool wanted[CGROUP_KIND_COUNT] = {[CGROUP_MEMORY] = limits.memory_bytes > 0,
                                            [CGROUP_CPU] = limits.cpus_nano > 0,
                                            [CGROUP_PIDS] = limits.pids > 0 || limits.group};
    char dir[CGROUP_DIR_MAX + 32];
    int rc = cgroup_make(cgroups, work->cgroup, &limits, err);

    for (int kind = 0; rc == 0 && kind < CGROUP_KIND_COUNT; kind++) {
        if (wanted[kind] && cgroup_dir(cgroups, (enum cgroup_kind)kind, work->cgroup, dir)) {
            launch_arg(launch, "--cgroup=%s", dir);
            if (cgroups->v2) {
                break; /* one folder for all */
            }
        }
    }
    if (rc == 0 && limits.memory_bytes > 0 && cgroup_oom_file(cgroups, work->cgroup, dir)) {
        launch_arg(launch, "--oom-file=%s", dir);
    }
    return rc;
}

int exec_launch(struct work *work, const struct assignment *a, struct launch *launch,
                struct sk_err *err)
{
    const struct service *s = a->service;
    int rc;

    if (s->entrypoint.count + s->command.count == 0) {
        return sk_err_set(err, SK_ERR_INPUT, "service '%.*s' has neither image nor command",
                          SK_PRI(s->name));
    }
    if (s->ntmpfs > 0) {
        return sk_err_set(err, SK_ERR_UNSUPPORTED,
                          "'tmpfs' needs an image: a program of the host sees the host's files");
    }
    rc = add_groups(a, launch, err);
    rc = rc < 0 ? rc : add_cgroups(work, s, launch, err);
    if (rc < 0) {
        return rc;
    }
    launch_arg(launch, "--cwd=%s", s->working_dir.len ? s->working_dir.ptr : "/");
    launch_arg(launch, "--");
    for (size_t i = 0; i < s->entrypoint.count; i++) {
        launch_arg(launch, "%s", s->entrypoint.items[i].ptr);
    }
    for (size_t i = 0; i < s->command.count; i++) {
        launch_arg(launch, "%s", s->command.items[i].ptr);
    }
    launch_instance_env(launch, work->agent, a, work->epoch);
    launch_env(launch, "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
    launch_env(launch, "HOME=/");
    return 0;
}
