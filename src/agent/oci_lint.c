/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/oci_config.h"

#include <string.h>

#include "base/arena.h"
#include "base/json.h"
#include "base/mem.h"

/*
 * The last look at a config.json before a runtime with all privileges acts on it. It reads the
 * bytes afresh and shares no table with the writer, so that a slip there is caught here. Unknown
 * keys are refused: what this page does not know, it cannot judge.
 */
#define BROKEN(...) sk_err_set(err, SK_ERR_INTERNAL, "refused to start: " __VA_ARGS__)

static bool in_list(struct sk_str s, const char *const *list)
{
    for (; *list; list++) {
        if (sk_str_is(s, *list)) {
            return true;
        }
    }
    return false;
}

static int only_keys(const struct sk_node *map, const char *where, const char *const *keys,
                     struct sk_err *err)
{
    if (!map || map->kind != SK_MAP) {
        return BROKEN("'%s' is missing in the container's configuration", where);
    }
    for (uint32_t i = 0; i < map->count; i++) {
        if (!in_list(map->u.members[i].key, keys)) {
            return BROKEN("'%s' in '%s' of the container's configuration",
                          map->u.members[i].key.ptr, where);
        }
    }
    return 0;
}

static int lint_capabilities(const struct sk_node *process, struct sk_err *err)
{
    static const char *const keys[] = {"bounding", "effective", "permitted", NULL};
    static const char *const allowed[] = {
        "CAP_CHOWN",  "CAP_DAC_OVERRIDE", "CAP_FOWNER",  "CAP_FSETID",           "CAP_KILL",
        "CAP_SETGID", "CAP_SETUID",       "CAP_SETPCAP", "CAP_NET_BIND_SERVICE", NULL};
    const struct sk_node *sets = sk_map_get(process, SK_STR("capabilities"));

    if (only_keys(sets, "capabilities", keys, err) < 0) {
        return SK_ERR_INTERNAL;
    }
    for (size_t i = 0; keys[i]; i++) {
        const struct sk_node *set = sk_map_seq(sets, keys[i]);
        if (!set) {
            return BROKEN("the '%s' capabilities are not bounded", keys[i]);
        }
        for (uint32_t j = 0; j < set->count; j++) {
            if (!in_list(set->u.items[j].u.text, allowed)) {
                return BROKEN("capability '%s'", set->u.items[j].u.text.ptr);
            }
        }
    }
    return 0;
}

static int lint_process(const struct sk_node *root, struct sk_err *err)
{
    static const char *const keys[] = {
        "terminal", "user", "args", "env", "cwd", "capabilities", "noNewPrivileges", NULL};
    const struct sk_node *process = sk_map_get(root, SK_STR("process")), *args;

    if (only_keys(process, "process", keys, err) < 0) {
        return SK_ERR_INTERNAL;
    }
    args = sk_map_seq(process, "args");
    if (sk_map_bool(process, "terminal", true)) {
        return BROKEN("the container would get a terminal");
    }
    if (!sk_map_bool(process, "noNewPrivileges", false)) {
        return BROKEN("the container could gain new privileges");
    }
    if (!args || args->count == 0) {
        return BROKEN("the container has no program");
    }
    if (!sk_str_starts(sk_map_str(process, "cwd", SK_STR("")), SK_STR("/"))) {
        return BROKEN("the working folder is not absolute");
    }
    return lint_capabilities(process, err);
}

static bool path_clean(struct sk_str path)
{
    struct sk_str rest = path, part;

    if (path.len < 2 || path.ptr[0] != '/') {
        return false;
    }
    while (rest.len > 0) {
        (void)sk_str_cut(rest, '/', &part, &rest);
        if (sk_str_is(part, "..")) {
            return false;
        }
    }
    return true;
}

static int lint_mount(const struct sk_node *mount, bool *dev, struct sk_err *err)
{
    static const char *const keys[] = {"destination", "type", "source", "options", NULL};
    static const char *const types[] = {"proc", "tmpfs", "devpts", "mqueue", "sysfs", NULL};
    const struct sk_node *options;
    struct sk_str at, type;

    if (only_keys(mount, "mounts", keys, err) < 0) {
        return SK_ERR_INTERNAL;
    }
    at = sk_map_str(mount, "destination", SK_STR(""));
    type = sk_map_str(mount, "type", SK_STR(""));
    options = sk_map_seq(mount, "options");
    if (!path_clean(at)) {
        return BROKEN("a mount on '%.*s'", SK_PRI(at));
    }
    if (!in_list(type, types)) {
        return BROKEN("a mount of type '%.*s' on '%.*s'", SK_PRI(type), SK_PRI(at));
    }
    for (uint32_t i = 0; options && i < options->count; i++) {
        struct sk_str option = options->u.items[i].u.text;
        if (sk_str_is(option, "bind") || sk_str_is(option, "rbind")) {
            return BROKEN("a host path on '%.*s'", SK_PRI(at));
        }
    }
    if (sk_str_is(at, "/proc") != sk_str_is(type, "proc") ||
        sk_str_is(at, "/sys") != sk_str_is(type, "sysfs")) {
        return BROKEN("a mount of type '%.*s' on '%.*s'", SK_PRI(type), SK_PRI(at));
    }
    *dev = *dev || (sk_str_is(at, "/dev") && sk_str_is(type, "tmpfs"));
    return 0;
}

static int lint_mounts(const struct sk_node *root, struct sk_err *err)
{
    const struct sk_node *mounts = sk_map_seq(root, "mounts");
    bool dev = false;

    for (uint32_t i = 0; mounts && i < mounts->count; i++) {
        if (lint_mount(&mounts->u.items[i], &dev, err) < 0) {
            return SK_ERR_INTERNAL;
        }
    }
    return dev ? 0 : BROKEN("'/dev' is not a tmpfs of the container's own");
}

static int lint_namespaces(const struct sk_node *linux_part, struct sk_err *err)
{
    static const char *const needed[] = {"pid", "ipc", "uts", "mount", NULL};
    const struct sk_node *list = sk_map_seq(linux_part, "namespaces");
    size_t found = 0;

    for (uint32_t i = 0; list && i < list->count; i++) {
        const struct sk_node *one = &list->u.items[i];
        static const char *const keys[] = {"type", NULL};
        if (only_keys(one, "namespaces", keys, err) < 0) {
            return SK_ERR_INTERNAL;
        }
        found += in_list(sk_map_str(one, "type", SK_STR("")), needed);
    }
    if (!list || list->count != 4 || found != 4) {
        return BROKEN("the container does not have exactly its own pid, ipc, uts and mount "
                      "namespaces");
    }
    return 0;
}

static int needs_path(const struct sk_node *linux_part, const char *key, const char *path,
                      struct sk_err *err)
{
    const struct sk_node *list = sk_map_seq(linux_part, key);

    for (uint32_t i = 0; list && i < list->count; i++) {
        if (sk_str_is(list->u.items[i].u.text, path)) {
            return 0;
        }
    }
    return BROKEN("'%s' is not in '%s'", path, key);
}

static int lint_seccomp(const struct sk_node *linux_part, struct sk_err *err)
{
    static const char *const must[] = {"mount", "bpf", "kexec_load", "unshare", "setns", NULL};
    const struct sk_node *seccomp = sk_map_get(linux_part, SK_STR("seccomp"));
    const struct sk_node *rules =
        seccomp && seccomp->kind == SK_MAP ? sk_map_seq(seccomp, "syscalls") : NULL;
    const struct sk_node *first = rules && rules->count > 0 ? &rules->u.items[0] : NULL;
    const struct sk_node *names =
        first && first->kind == SK_MAP ? sk_map_seq(first, "names") : NULL;

    for (size_t m = 0; must[m]; m++) {
        bool found = false;
        for (uint32_t i = 0; names && i < names->count; i++) {
            found = found || sk_str_is(names->u.items[i].u.text, must[m]);
        }
        if (!found) {
            return BROKEN("the system call filter does not refuse '%s'", must[m]);
        }
    }
    return 0;
}

static int lint_linux(const struct sk_node *root, struct sk_err *err)
{
    static const char *const keys[] = {
        "namespaces",        "resources",   "cgroupsPath",   "seccomp",
        "rootfsPropagation", "maskedPaths", "readonlyPaths", NULL};
    const struct sk_node *part = sk_map_get(root, SK_STR("linux"));
    struct sk_str cgroup;

    if (only_keys(part, "linux", keys, err) < 0 || lint_namespaces(part, err) < 0 ||
        needs_path(part, "maskedPaths", "/proc/kcore", err) < 0 ||
        needs_path(part, "maskedPaths", "/sys/firmware", err) < 0 ||
        needs_path(part, "readonlyPaths", "/proc/sys", err) < 0 ||
        needs_path(part, "readonlyPaths", "/proc/sysrq-trigger", err) < 0 ||
        lint_seccomp(part, err) < 0) {
        return SK_ERR_INTERNAL;
    }
    cgroup = sk_map_str(part, "cgroupsPath", SK_STR("/skerry/"));
    if (!sk_str_starts(cgroup, SK_STR("/skerry/")) || !path_clean(cgroup)) {
        return BROKEN("the cgroup '%.*s'", SK_PRI(cgroup));
    }
    return 0;
}

int oci_lint(struct sk_str json, struct sk_err *err)
{
    static const char *const keys[] = {"ociVersion", "process", "root", "hostname",
                                       "mounts",     "linux",   NULL};
    static const char *const root_keys[] = {"path", "readonly", NULL};
    struct sk_arena *arena = sk_arena_new();
    const struct sk_node *root, *rootfs;
    int rc = sk_json_read(arena, "config.json", json, NULL, &root, err);

    rc = rc < 0 ? rc : only_keys(root, "config.json", keys, err);
    if (rc == 0) {
        rootfs = sk_map_get(root, SK_STR("root"));
        rc = only_keys(rootfs, "root", root_keys, err);
        if (rc == 0 && !sk_str_is(sk_map_str(rootfs, "path", SK_STR("")), "rootfs")) {
            rc = BROKEN("its files are not the instance's own");
        }
    }
    rc = rc < 0 ? rc : lint_process(root, err);
    rc = rc < 0 ? rc : lint_mounts(root, err);
    rc = rc < 0 ? rc : lint_linux(root, err);
    sk_arena_free(arena);
    return rc;
}
