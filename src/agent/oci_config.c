/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/oci_config.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "base/mem.h"
#include "base/units.h"

#define CPU_PERIOD_US 100000

/* What a root process of a container needs to change users, bind ports and manage its own files. */
static const char *const capabilities[] = {
    "CAP_CHOWN",  "CAP_DAC_OVERRIDE", "CAP_FOWNER",  "CAP_FSETID",           "CAP_KILL",
    "CAP_SETGID", "CAP_SETUID",       "CAP_SETPCAP", "CAP_NET_BIND_SERVICE",
};

static const char *const masked_paths[] = {
    "/proc/acpi",
    "/proc/asound",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
};
static const char *const readonly_paths[] = {
    "/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger",
};

/* Calls that reach the kernel's own state or other namespaces, or that have been ways out: refused
 * with EPERM. (Docker's default profile is a list of what is allowed; this is what it leaves out,
 * without the calls that capabilities already guard on every kernel.) */
static const char *const refused_calls[] = {
    "acct",
    "add_key",
    "bpf",
    "clock_adjtime",
    "clock_settime",
    "create_module",
    "delete_module",
    "finit_module",
    "fsconfig",
    "fsmount",
    "fsopen",
    "fspick",
    "get_kernel_syms",
    "init_module",
    "io_uring_enter",
    "io_uring_register",
    "io_uring_setup",
    "ioperm",
    "iopl",
    "kcmp",
    "kexec_file_load",
    "kexec_load",
    "keyctl",
    "lookup_dcookie",
    "mount",
    "mount_setattr",
    "move_mount",
    "move_pages",
    "name_to_handle_at",
    "nfsservctl",
    "open_by_handle_at",
    "open_tree",
    "perf_event_open",
    "pivot_root",
    "process_vm_readv",
    "process_vm_writev",
    "ptrace",
    "query_module",
    "quotactl",
    "reboot",
    "request_key",
    "setns",
    "settimeofday",
    "stime",
    "swapoff",
    "swapon",
    "sysfs",
    "_sysctl",
    "umount",
    "umount2",
    "unshare",
    "uselib",
    "userfaultfd",
    "ustat",
    "vm86",
    "vm86old",
};
/* CLONE_NEWNS | NEWCGROUP | NEWUTS | NEWIPC | NEWUSER | NEWPID | NEWNET */
#define CLONE_NAMESPACES 0x7e020000
#define EPERM_NUMBER 1
#define ENOSYS_NUMBER 38

static void write_strings(struct sk_jw *w, const char *key, const char *const *items, size_t n)
{
    sk_jw_key(w, key);
    sk_jw_arr(w);
    for (size_t i = 0; i < n; i++) {
        sk_jw_cstr(w, items[i]);
    }
    sk_jw_arr_end(w);
}

static size_t count(const char *const *list)
{
    size_t n = 0;
    while (list && list[n]) {
        n++;
    }
    return n;
}

static void write_user(struct sk_jw *w, const struct oci_user *user)
{
    sk_jw_key(w, "user");
    sk_jw_obj(w);
    sk_jw_kint(w, "uid", (int64_t)user->uid);
    sk_jw_kint(w, "gid", (int64_t)user->gid);
    sk_jw_key(w, "additionalGids");
    sk_jw_arr(w);
    for (size_t i = 0; i < user->ngroups; i++) {
        sk_jw_int(w, (int64_t)user->groups[i]);
    }
    sk_jw_arr_end(w);
    sk_jw_obj_end(w);
}

static void write_capabilities(struct sk_jw *w, bool root)
{
    size_t all = SK_ARRAY_LEN(capabilities);

    sk_jw_key(w, "capabilities");
    sk_jw_obj(w);
    write_strings(w, "bounding", capabilities, all);
    write_strings(w, "effective", capabilities, root ? all : 0);
    write_strings(w, "permitted", capabilities, root ? all : 0);
    sk_jw_obj_end(w);
}

static void write_process(struct sk_jw *w, const struct oci_spec *spec, const char *const *argv)
{
    sk_jw_obj(w);
    sk_jw_kbool(w, "terminal", false);
    write_user(w, &spec->user);
    write_strings(w, "args", argv, count(argv));
    write_strings(w, "env", spec->env, count(spec->env));
    sk_jw_kcstr(w, "cwd", spec->cwd);
    write_capabilities(w, spec->user.uid == 0);
    sk_jw_kbool(w, "noNewPrivileges", true);
    sk_jw_obj_end(w);
}

static void write_mount(struct sk_jw *w, const char *at, const char *type, const char *source,
                        const char *options)
{
    struct sk_str rest = sk_str(options), one;

    sk_jw_obj(w);
    sk_jw_kcstr(w, "destination", at);
    sk_jw_kcstr(w, "type", type);
    sk_jw_kcstr(w, "source", source);
    sk_jw_key(w, "options");
    sk_jw_arr(w);
    while (rest.len > 0) {
        (void)sk_str_cut(rest, ',', &one, &rest);
        sk_jw_str(w, one);
    }
    sk_jw_arr_end(w);
    sk_jw_obj_end(w);
}

static bool under(struct sk_str path, const char *dir)
{
    size_t len = strlen(dir);
    return path.len >= len && memcmp(path.ptr, dir, len) == 0 &&
           (path.len == len || path.ptr[len] == '/');
}

static bool tmpfs_place_ok(struct sk_str path)
{
    struct sk_str rest = path, part;

    if (path.len < 2 || path.ptr[0] != '/' || under(path, "/proc") || under(path, "/sys") ||
        under(path, "/dev")) {
        return false;
    }
    while (rest.len > 0) {
        (void)sk_str_cut(rest, '/', &part, &rest);
        if (sk_str_is(part, "..") || sk_str_is(part, ".")) {
            return false;
        }
    }
    return true;
}

/* As mount(8) takes it: octal, with or without a 0 in front. */
static bool is_mode(struct sk_str value)
{
    bool ok = value.len >= 1 && value.len <= 5;

    for (size_t i = 0; ok && i < value.len; i++) {
        ok = value.ptr[i] >= '0' && value.ptr[i] <= '7';
    }
    return ok && (value.len < 5 || value.ptr[0] == '0');
}

/* "size=64m,mode=1777,noexec": only what bounds or forbids. */
static int check_tmpfs_option(struct sk_str option, struct sk_err *err)
{
    struct sk_str key, value;
    int64_t n;

    if (!sk_str_cut(option, '=', &key, &value)) {
        if (sk_str_is(key, "ro") || sk_str_is(key, "rw") || sk_str_is(key, "noexec") ||
            sk_str_is(key, "nosuid") || sk_str_is(key, "nodev") || sk_str_is(key, "exec")) {
            return 0;
        }
    } else if (sk_str_is(key, "size")) {
        return sk_parse_bytes(value, &n, err);
    } else if (sk_str_is(key, "uid") || sk_str_is(key, "gid")) {
        return sk_parse_int(value, 0, INT32_MAX, &n, err);
    } else if (sk_str_is(key, "mode")) {
        return is_mode(value)
                   ? 0
                   : sk_err_set(err, SK_ERR_INPUT, "tmpfs mode '%.*s' is not octal", SK_PRI(value));
    }
    return sk_err_set(err, SK_ERR_INPUT, "tmpfs option '%.*s' is not known", SK_PRI(option));
}

static int write_tmpfs(struct sk_jw *w, struct sk_str entry, struct sk_err *err)
{
    struct sk_str at, options, rest, one;
    struct sk_buf text = SK_BUF_INIT, place = SK_BUF_INIT;
    int rc = 0;

    (void)sk_str_cut(entry, ':', &at, &options);
    if (!tmpfs_place_ok(at)) {
        return sk_err_set(err, SK_ERR_INPUT, "tmpfs '%.*s' is not a place for one", SK_PRI(entry));
    }
    for (rest = options; rest.len > 0 && rc == 0;) {
        (void)sk_str_cut(rest, ',', &one, &rest);
        rc = check_tmpfs_option(one, err);
    }
    if (rc == 0) {
        sk_buf_adds(&text, "nosuid,nodev");
        if (options.len > 0) {
            sk_buf_addc(&text, ',');
            sk_buf_addstr(&text, options);
        }
        sk_buf_addstr(&place, at);
        write_mount(w, place.ptr, "tmpfs", "tmpfs", text.ptr);
    }
    sk_buf_release(&text);
    sk_buf_release(&place);
    return rc;
}

static int write_mounts(struct sk_jw *w, const struct oci_spec *spec, struct sk_err *err)
{
    int rc = 0;

    sk_jw_key(w, "mounts");
    sk_jw_arr(w);
    write_mount(w, "/proc", "proc", "proc", "nosuid,noexec,nodev");
    write_mount(w, "/dev", "tmpfs", "tmpfs", "nosuid,noexec,strictatime,mode=755,size=65536k");
    write_mount(w, "/dev/pts", "devpts", "devpts",
                "nosuid,noexec,newinstance,ptmxmode=0666,mode=0620,gid=5");
    write_mount(w, "/dev/shm", "tmpfs", "shm", "nosuid,noexec,nodev,mode=1777,size=65536k");
    write_mount(w, "/dev/mqueue", "mqueue", "mqueue", "nosuid,noexec,nodev");
    write_mount(w, "/sys", "sysfs", "sysfs", "nosuid,noexec,nodev,ro");
    for (size_t i = 0; i < spec->ntmpfs && rc == 0; i++) {
        rc = write_tmpfs(w, spec->tmpfs[i], err);
    }
    sk_jw_arr_end(w);
    return rc;
}

static void write_limits(struct sk_jw *w, const struct cgroup_limits *limits)
{
    if (limits->memory_bytes > 0) {
        sk_jw_key(w, "memory");
        sk_jw_obj(w);
        sk_jw_kint(w, "limit", limits->memory_bytes);
        sk_jw_obj_end(w);
    }
    if (limits->cpus_nano > 0) {
        int64_t quota = limits->cpus_nano / (SK_NANO / CPU_PERIOD_US);
        sk_jw_key(w, "cpu");
        sk_jw_obj(w);
        sk_jw_kint(w, "quota", quota < 1000 ? 1000 : quota);
        sk_jw_kint(w, "period", CPU_PERIOD_US);
        sk_jw_obj_end(w);
    }
    if (limits->pids > 0) {
        sk_jw_key(w, "pids");
        sk_jw_obj(w);
        sk_jw_kint(w, "limit", limits->pids);
        sk_jw_obj_end(w);
    }
}

static void write_resources(struct sk_jw *w, const struct cgroup_limits *limits)
{
    sk_jw_key(w, "resources");
    sk_jw_obj(w);
    sk_jw_key(w, "devices");
    sk_jw_arr(w);
    sk_jw_obj(w);
    sk_jw_kbool(w, "allow", false);
    sk_jw_kcstr(w, "access", "rwm");
    sk_jw_obj_end(w);
    sk_jw_arr_end(w);
    write_limits(w, limits);
    sk_jw_obj_end(w);
}

static void write_rule(struct sk_jw *w, const char *const *names, size_t n, int errno_value,
                       int64_t clone_mask)
{
    sk_jw_obj(w);
    write_strings(w, "names", names, n);
    sk_jw_kcstr(w, "action", "SCMP_ACT_ERRNO");
    sk_jw_kint(w, "errnoRet", errno_value);
    if (clone_mask) {
        sk_jw_key(w, "args");
        sk_jw_arr(w);
        sk_jw_obj(w);
        sk_jw_kint(w, "index", 0);
        sk_jw_kint(w, "value", clone_mask);
        sk_jw_kint(w, "valueTwo", clone_mask);
        sk_jw_kcstr(w, "op", "SCMP_CMP_MASKED_EQ");
        sk_jw_obj_end(w);
        sk_jw_arr_end(w);
    }
    sk_jw_obj_end(w);
}

static void write_seccomp(struct sk_jw *w)
{
    static const char *const clone3[] = {"clone3"}, *const clone[] = {"clone"};

    sk_jw_key(w, "seccomp");
    sk_jw_obj(w);
    sk_jw_kcstr(w, "defaultAction", "SCMP_ACT_ALLOW");
    sk_jw_key(w, "syscalls");
    sk_jw_arr(w);
    write_rule(w, refused_calls, SK_ARRAY_LEN(refused_calls), EPERM_NUMBER, 0);
    /* clone3 hides its flags from the filter: libc falls back to clone, whose flags can be seen. */
    write_rule(w, clone3, 1, ENOSYS_NUMBER, 0);
    for (int64_t flag = 1; flag <= CLONE_NAMESPACES; flag <<= 1) {
        if (flag & CLONE_NAMESPACES) {
            write_rule(w, clone, 1, EPERM_NUMBER, flag);
        }
    }
    sk_jw_arr_end(w);
    sk_jw_obj_end(w);
}

static void write_linux(struct sk_jw *w, const struct oci_spec *spec)
{
    static const char *const namespaces[] = {"pid", "ipc", "uts", "mount"};

    sk_jw_key(w, "linux");
    sk_jw_obj(w);
    sk_jw_key(w, "namespaces");
    sk_jw_arr(w);
    for (size_t i = 0; i < SK_ARRAY_LEN(namespaces); i++) {
        sk_jw_obj(w);
        sk_jw_kcstr(w, "type", namespaces[i]);
        sk_jw_obj_end(w);
    }
    sk_jw_arr_end(w);
    write_resources(w, &spec->limits);
    if (spec->cgroup_path[0]) {
        sk_jw_kcstr(w, "cgroupsPath", spec->cgroup_path);
    }
    write_seccomp(w);
    sk_jw_kcstr(w, "rootfsPropagation", "private");
    write_strings(w, "maskedPaths", masked_paths, SK_ARRAY_LEN(masked_paths));
    write_strings(w, "readonlyPaths", readonly_paths, SK_ARRAY_LEN(readonly_paths));
    sk_jw_obj_end(w);
}

int oci_config_write(const struct oci_spec *spec, struct sk_buf *out, struct sk_err *err)
{
    struct sk_jw w;
    int rc;

    sk_jw_init(&w, out);
    sk_jw_obj(&w);
    sk_jw_kcstr(&w, "ociVersion", "1.0.2");
    sk_jw_key(&w, "process");
    write_process(&w, spec, spec->argv);
    sk_jw_key(&w, "root");
    sk_jw_obj(&w);
    sk_jw_kcstr(&w, "path", "rootfs");
    sk_jw_kbool(&w, "readonly", false);
    sk_jw_obj_end(&w);
    sk_jw_kcstr(&w, "hostname", spec->hostname);
    rc = write_mounts(&w, spec, err);
    write_linux(&w, spec);
    sk_jw_obj_end(&w);
    return rc;
}

void oci_process_write(const struct oci_spec *spec, const char *const *argv, struct sk_buf *out)
{
    struct sk_jw w;
    sk_jw_init(&w, out);
    write_process(&w, spec, argv);
}
