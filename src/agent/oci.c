/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/internal.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "agent/oci_config.h"
#include "base/log.h"
#include "base/mem.h"
#include "shim/link.h"
#include "sys/file.h"

#define ETC_FILE_MAX (1 << 20)

/* ---- the node's network ---- */

void oci_network_up(struct agent *agent)
{
    char address[80], reason[160];

    if (!agent->root) {
        return;
    }
    (void)snprintf(address, sizeof(address), "%s/%d", agent->gateway, agent->prefix_bits);
    agent->network_error[0] = '\0';
    if (link_bridge_up(AGENT_BRIDGE, address, reason, sizeof(reason)) < 0) {
        (void)snprintf(agent->network_error, sizeof(agent->network_error),
                       "no network for containers: %s", reason);
        sk_log(SK_LOG_ERROR, "no network for containers", "why=%s", reason);
        return;
    }
    {
        int fd = open("/proc/sys/net/ipv4/ip_forward", O_WRONLY | O_CLOEXEC);
        if (fd < 0 || write(fd, "1", 1) != 1) {
            sk_log(SK_LOG_WARN, "containers reach this node only",
                   "why=ip_forward cannot be set: %s", strerrordesc_np(errno));
        }
        if (fd >= 0) {
            (void)close(fd);
        }
    }
}

static int check_address(const struct agent *agent, const struct assignment *a, struct sk_err *err)
{
    struct in_addr ip, gateway;
    uint32_t mask = agent->prefix_bits ? ~0U << (32 - agent->prefix_bits) : 0;

    if (!agent->gateway[0]) {
        return sk_err_set(err, SK_ERR_UNAVAILABLE, "the node's network is not known yet");
    }
    if (inet_pton(AF_INET, a->address.ptr ? a->address.ptr : "", &ip) != 1 ||
        inet_pton(AF_INET, agent->gateway, &gateway) != 1 ||
        (ntohl(ip.s_addr) & mask) != (ntohl(gateway.s_addr) & mask) ||
        ip.s_addr == gateway.s_addr) {
        return sk_err_set(err, SK_ERR_PROTOCOL, "address '%.*s' is not of this node's prefix %s",
                          SK_PRI(a->address), agent->prefix);
    }
    return 0;
}

/* ---- files of the image, read without leaving it ---- */

static void read_in_root(const char *rootfs, const char *path, struct sk_buf *buf)
{
    struct open_how how = {.flags = O_RDONLY | O_CLOEXEC | O_NONBLOCK,
                           .resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS};
    int root = open(rootfs, O_PATH | O_DIRECTORY | O_CLOEXEC);
    long fd = root < 0 ? -1 : syscall(SYS_openat2, root, path, &how, sizeof(how));
    struct stat st;

    if (fd >= 0 && fstat((int)fd, &st) == 0 && S_ISREG(st.st_mode)) {
        (void)sys_fd_read((int)fd, path, ETC_FILE_MAX, buf, NULL); /* too large is as none */
    }
    if (fd >= 0) {
        (void)close((int)fd);
    }
    if (root >= 0) {
        (void)close(root);
    }
}

static int resolve_user(const char *rootfs, struct sk_str user, struct oci_user *ret,
                        struct sk_err *err)
{
    struct sk_buf passwd = SK_BUF_INIT, group = SK_BUF_INIT;
    int rc;

    read_in_root(rootfs, "/etc/passwd", &passwd);
    read_in_root(rootfs, "/etc/group", &group);
    rc = oci_find_user(user, sk_buf_str(&passwd), sk_buf_str(&group), ret, err);
    sk_buf_release(&passwd);
    sk_buf_release(&group);
    return rc;
}

/* Names that every program expects, once, before the container first has a say in its files. */
static int write_etc(const char *dir, const char *hostname, const struct assignment *a,
                     struct sk_err *err)
{
    char path[AGENT_PATH_MAX + 64];
    struct sk_buf hosts = SK_BUF_INIT, resolv = SK_BUF_INIT;
    int rc;

    (void)snprintf(path, sizeof(path), "%s/upper", dir);
    if (access(path, F_OK) == 0) {
        return 0;
    }
    (void)snprintf(path, sizeof(path), "%s/upper/etc", dir);
    rc = sys_mkdirs(path, 0755, err);
    (void)snprintf(path, sizeof(path), "%s/upper", dir);
    if (rc == 0 && chmod(path, 0755) < 0) {
        rc = sk_err_errno(err, errno, "set the mode of '%s'", path);
    }
    sk_buf_printf(&hosts, "127.0.0.1 localhost\n::1 localhost\n%s %s\n", a->address.ptr, hostname);
    (void)snprintf(path, sizeof(path), "%s/upper/etc/hosts", dir);
    rc = rc < 0 ? rc : run_write_file(path, sk_buf_str(&hosts), 0644, err);
    if (rc == 0 && sys_file_read("/etc/resolv.conf", 65536, &resolv, NULL) == 0) {
        (void)snprintf(path, sizeof(path), "%s/upper/etc/resolv.conf", dir);
        rc = run_write_file(path, sk_buf_str(&resolv), 0644, err);
    }
    sk_buf_release(&hosts);
    sk_buf_release(&resolv);
    return rc;
}

/* ---- config.json ---- */

static void add_argv(struct launch *launch, const struct argv *argv)
{
    for (size_t i = 0; i < argv->count; i++) {
        launch_arg(launch, "%s", argv->items[i].ptr);
    }
}

/* Docker's rules: an own entrypoint drops the image's command too; an own command replaces the
 * image's. */
static int program_of(const struct service *s, const struct image_config *image,
                      struct launch *program, struct sk_err *err)
{
    add_argv(program, s->has_entrypoint ? &s->entrypoint : &image->entrypoint);
    if (s->has_command) {
        add_argv(program, &s->command);
    } else if (!s->has_entrypoint) {
        add_argv(program, &image->command);
    }
    if (program->argc == 0) {
        (void)sk_err_set(err, SK_ERR_INPUT, "neither the image nor the service says what to run");
        return sk_err_fix(err, "write 'command:' for service '%.*s'", SK_PRI(s->name));
    }
    return 0;
}

static void environment_of(struct work *work, const struct assignment *a,
                           const struct image_config *image, struct launch *program)
{
    launch_instance_env(program, work->agent, a, work->epoch);
    for (size_t i = 0; i < image->environment.count; i++) {
        if (memchr(image->environment.items[i].ptr, '=', image->environment.items[i].len)) {
            launch_env(program, "%s", image->environment.items[i].ptr);
        }
    }
    launch_env(program, "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
    launch_env(program, "HOME=%s", "/root");
}

static int write_checked(const char *dir, const struct oci_spec *spec, const struct service *s,
                         struct sk_err *err)
{
    char path[AGENT_PATH_MAX + 32];
    struct sk_buf json = SK_BUF_INIT, check = SK_BUF_INIT;
    struct launch test = {0};
    int rc = oci_config_write(spec, &json, err);

    rc = rc < 0 ? rc : oci_lint(sk_buf_str(&json), err);
    (void)snprintf(path, sizeof(path), "%s/config.json", dir);
    rc = rc < 0 ? rc : run_write_file(path, sk_buf_str(&json), 0600, err);
    if (rc == 0 && (s->check.kind == CHECK_EXEC || s->check.kind == CHECK_SHELL)) {
        if (s->check.kind == CHECK_SHELL) {
            launch_arg(&test, "/bin/sh");
            launch_arg(&test, "-c");
        }
        add_argv(&test, &s->check.test);
        oci_process_write(spec, (const char *const *)test.argv, &check);
        (void)snprintf(path, sizeof(path), "%s/check.json", dir);
        rc = run_write_file(path, sk_buf_str(&check), 0600, err);
    }
    launch_release(&test);
    sk_buf_release(&json);
    sk_buf_release(&check);
    return rc;
}

/* What the image itself asks to be stopped with; the declaration's own word comes before it. */
static void note_stop_signal(struct work *work, const struct image_config *image)
{
    struct sk_str name = image->stop_signal;
    size_t len = strlen(work->warning);

    name.len = name.len < 40 ? name.len : 40;
    work->stop_signal = assign_signal(image->stop_signal);
    if (image->stop_signal.len > 0 && !work->stop_signal) {
        (void)snprintf(work->warning + len, sizeof(work->warning) - len,
                       "%sthe image's STOPSIGNAL '%.*s' is no signal: it is stopped with SIGTERM",
                       len ? "; " : "", SK_PRI(name));
    }
}

static int write_config(struct work *work, const struct assignment *a, const char *hex,
                        struct sk_arena *arena, struct sk_err *err)
{
    const struct service *s = a->service;
    struct agent *agent = work->agent;
    char dir[AGENT_PATH_MAX], rootfs[AGENT_PATH_MAX + 128];
    struct image_config image;
    struct launch program = {0};
    struct oci_spec spec = {.tmpfs = s->tmpfs,
                            .ntmpfs = s->ntmpfs,
                            .cgroup_path = agent->cgroups.any ? work->cgroup : ""};
    char hostname[64];
    int rc = images_config(agent->images, hex, arena, &image, err);

    agent_instance_dir(agent, work->id, dir);
    (void)snprintf(rootfs, sizeof(rootfs), "%s/images/%s/rootfs", agent->dir, hex);
    (void)snprintf(hostname, sizeof(hostname), "%.40s-%" PRId64, a->service_name.ptr, a->replica);
    rc = rc < 0 ? rc : resolve_user(rootfs, s->user.len ? s->user : image.user, &spec.user, err);
    rc = rc < 0 ? rc : program_of(s, &image, &program, err);
    if (rc == 0) {
        note_stop_signal(work, &image);
        environment_of(work, a, &image, &program);
        spec.argv = (const char *const *)program.argv;
        spec.env = (const char *const *)program.env;
        spec.cwd = s->working_dir.len      ? s->working_dir.ptr
                   : image.working_dir.len ? image.working_dir.ptr
                                           : "/";
        spec.hostname = hostname;
        spec.limits.memory_bytes = agent->cgroups.usable[CGROUP_MEMORY] ? s->limit_memory_bytes : 0;
        spec.limits.cpus_nano = agent->cgroups.usable[CGROUP_CPU] ? s->limit_cpus_nano : 0;
        spec.limits.pids = agent->cgroups.usable[CGROUP_PIDS] ? s->limit_pids : 0;
        rc = write_checked(dir, &spec, s, err);
    }
    rc = rc < 0 ? rc : write_etc(dir, hostname, a, err);
    rc = rc < 0 ? rc : cgroup_level_up(&agent->cgroups, err);
    launch_release(&program);
    return rc;
}

/* ---- the runtime ---- */

static void runtime_argv(const struct work *work, struct launch *launch)
{
    launch_arg(launch, "crun");
    launch_arg(launch, "--root=%s/crun", work->agent->dir);
    launch_arg(launch, "--cgroup-manager=%s", work->agent->cgroups.any ? "cgroupfs" : "disabled");
}

static void shim_argv(const struct work *work, const struct assignment *a, const char *hex,
                      struct launch *launch)
{
    const struct agent *agent = work->agent;
    char lower[128], oom[CGROUP_DIR_MAX + 32];

    images_rootfs(agent->images, hex, lower, sizeof(lower));
    launch_arg(launch, "--overlay=%s", lower);
    launch_arg(launch, "--bridge=%s", AGENT_BRIDGE);
    launch_arg(launch, "--veth=sk%.10s%02x", work->id, (unsigned)(work->run & 0xff));
    launch_arg(launch, "--address=%s/%d", a->address.ptr, agent->prefix_bits);
    launch_arg(launch, "--gateway=%s", agent->gateway);
    launch_arg(launch, "--runtime-pid=runtime.pid");
    launch_arg(launch, "--runtime-log=runtime.log");
    if (cgroup_oom_file(&agent->cgroups, work->cgroup, oom)) {
        launch_arg(launch, "--oom-file=%s", oom);
    }
    launch_arg(launch, "--");
    runtime_argv(work, launch);
    launch_arg(launch, "--log=runtime.log");
    launch_arg(launch, "run");
    launch_arg(launch, "--detach");
    launch_arg(launch, "--pid-file=runtime.pid");
    launch_arg(launch, "--bundle=.");
    launch_arg(launch, "skerry-%s", work->id);
    launch_env(launch, "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
}

int oci_launch(struct work *work, const struct assignment *a, struct launch *launch,
               struct sk_err *err)
{
    struct sk_arena *arena = sk_arena_new();
    char hex[65], dir[AGENT_PATH_MAX], path[AGENT_PATH_MAX + 32];
    int rc = check_address(work->agent, a, err);

    if (rc == 0 && !images_hex_of(work->agent->images, a->image.ref, a->image.digest, hex)) {
        rc = sk_err_set(err, SK_ERR_INTERNAL, "image '%.*s' is not unpacked", SK_PRI(a->image.ref));
    }
    if (rc == 0) {
        memcpy(work->image, hex, sizeof(work->image));
        rc = write_config(work, a, hex, arena, err);
    }
    if (rc == 0) {
        agent_instance_dir(work->agent, work->id, dir);
        (void)snprintf(path, sizeof(path), "%s/runtime.pid", dir);
        (void)unlink(path);
        (void)snprintf(path, sizeof(path), "%s/runtime.log", dir);
        (void)unlink(path);
        shim_argv(work, a, hex, launch);
    }
    sk_arena_free(arena);
    return rc;
}

void oci_check_argv(const struct work *work, const struct assignment *a, struct launch *launch)
{
    char dir[AGENT_PATH_MAX];

    agent_instance_dir(work->agent, work->id, dir);
    runtime_argv(work, launch);
    launch_arg(launch, "exec");
    launch_arg(launch, "--process=%s/check.json", dir);
    launch_arg(launch, "skerry-%s", work->id);
}

static void on_cleaned(void *ctx, const struct sk_proc_result *result)
{
    struct work *work = ctx;
    struct agent_event e = {.kind = AGENT_CLEANED, .id = work->id};

    run_drop_cgroup(work);
    agent_post(work->agent, &e);
}

void oci_clean(struct work *work)
{
    struct agent_event e = {.kind = AGENT_CLEANED, .id = work->id};
    struct launch launch = {0};
    struct sk_proc_spec spec = {.timeout_ms = 30000};

    runtime_argv(work, &launch);
    launch_arg(&launch, "delete");
    launch_arg(&launch, "--force");
    launch_arg(&launch, "skerry-%s", work->id);
    spec.argv = (const char *const *)launch.argv;
    if (sk_proc_start(&work->agent->loop, &spec, on_cleaned, work, NULL, NULL) < 0) {
        agent_post(work->agent, &e); /* no runtime, no leftovers */
    }
    launch_release(&launch);
}
