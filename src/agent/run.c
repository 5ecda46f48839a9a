/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/internal.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/json.h"
#include "base/mem.h"
#include "base/units.h"
#include "base/version.h"
#include "sys/file.h"

/* ---- launch: argv and environment being put together ---- */

static char *format_text(const char *fmt, va_list ap) __attribute__((format(printf, 1, 0)));
static char *format_text(const char *fmt, va_list ap)
{
    char *text = NULL;
    SK_ASSERT(vasprintf(&text, fmt, ap) >= 0);
    return text;
}

static void push(char ***list, size_t *count, size_t *cap, char *text)
{
    SK_GROW(*list, *count, *cap);
    (*list)[(*count)++] = text;
    SK_GROW(*list, *count, *cap);
    (*list)[*count] = NULL;
}

void launch_arg(struct launch *launch, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    push(&launch->argv, &launch->argc, &launch->argv_cap, format_text(fmt, ap));
    va_end(ap);
}

void launch_env(struct launch *launch, const char *fmt, ...)
{
    char *text;
    size_t name;
    va_list ap;

    va_start(ap, fmt);
    text = format_text(fmt, ap);
    va_end(ap);
    name = strcspn(text, "=");
    for (size_t i = 0; i < launch->envc; i++) {
        if (strncmp(launch->env[i], text, name + 1) == 0) {
            free(text); /* the first one wins */
            return;
        }
    }
    push(&launch->env, &launch->envc, &launch->env_cap, text);
}

void launch_release(struct launch *launch)
{
    for (size_t i = 0; i < launch->argc; i++) {
        free(launch->argv[i]);
    }
    for (size_t i = 0; i < launch->envc; i++) {
        free(launch->env[i]);
    }
    free(launch->argv);
    free(launch->env);
    memset(launch, 0, sizeof(*launch));
}

void launch_instance_env(struct launch *launch, const struct agent *agent,
                         const struct assignment *a, int64_t epoch)
{
    launch_env(launch, "SKERRY_PROJECT=%.*s", SK_PRI(a->project));
    launch_env(launch, "SKERRY_SERVICE=%.*s", SK_PRI(a->service_name));
    launch_env(launch, "SKERRY_REPLICA=%" PRId64, a->replica);
    launch_env(launch, "SKERRY_INSTANCE=%s", a->id);
    launch_env(launch, "SKERRY_NODE=%s", agent->node);
    launch_env(launch, "SKERRY_SITE=%s", agent->site);
    if (epoch > 0) {
        launch_env(launch, "SKERRY_EPOCH=%" PRId64, epoch);
    }
    for (size_t i = 0; i < a->service->nenvironment; i++) {
        const struct sk_kv *kv = &a->service->environment[i];
        launch_env(launch, "%s=%s", kv->key.ptr, kv->value.ptr);
    }
    if (a->driver == DRIVER_OCI) {
        launch_env(launch, "HOST=0.0.0.0"); /* everything in its network is its own */
    } else if (a->address.len > 0) {
        launch_env(launch, "HOST=%s", a->address.ptr);
    }
    if (a->port) {
        launch_env(launch, "PORT=%u", a->port);
    }
}

int run_write_file(const char *path, struct sk_str bytes, mode_t mode, struct sk_err *err)
{
    char tmp[AGENT_PATH_MAX + 80];
    int fd, saved;
    bool ok;

    (void)snprintf(tmp, sizeof(tmp), "%.1060s.tmp", path);
    fd = open(tmp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, mode);
    if (fd < 0) {
        return sk_err_errno(err, errno, "write '%s'", path);
    }
    ok = write(fd, bytes.ptr, bytes.len) == (ssize_t)bytes.len && rename(tmp, path) == 0;
    saved = errno;
    (void)close(fd);
    return ok ? 0 : sk_err_errno(err, saved ? saved : ENOSPC, "write '%s'", path);
}

/* ---- the instance's own record: what an agent must know that knows nothing else of it ---- */

#define RECORD_BYTES_MAX 16384

static const char *const members[] = {"v",       "id",    "hash",   "driver",       "project",
                                      "service", "run",   "epoch",  "memory_limit", "stop_signal",
                                      "cgroup",  "image", "warning"};

/* What another version wrote of it at an earlier run. */
static void write_rest(const char *path, struct sk_jw *w)
{
    struct sk_arena *arena = sk_arena_new();
    struct sk_buf buf = SK_BUF_INIT;
    const struct sk_node *root = NULL;

    if (sys_file_read(path, RECORD_BYTES_MAX, &buf, NULL) == 0 &&
        sk_json_read(arena, path, sk_buf_str(&buf), NULL, &root, NULL) == 0) {
        (void)sk_jw_rest(w, root, members, SK_ARRAY_LEN(members));
    }
    sk_buf_release(&buf);
    sk_arena_free(arena);
}

static int write_record(const struct work *work, const struct assignment *a, const char *dir,
                        struct sk_err *err)
{
    char path[AGENT_PATH_MAX + 32];
    struct sk_buf buf = SK_BUF_INIT;
    struct sk_jw w;
    int rc;

    sk_jw_init(&w, &buf);
    sk_jw_obj(&w);
    sk_jw_kint(&w, "v", 1);
    sk_jw_kcstr(&w, "id", work->id);
    sk_jw_kcstr(&w, "hash", a->hash);
    sk_jw_kcstr(&w, "driver", work->driver == DRIVER_OCI ? "oci" : "exec");
    sk_jw_kstr(&w, "project", a->project);
    sk_jw_kstr(&w, "service", a->service_name);
    sk_jw_kint(&w, "run", work->run);
    sk_jw_kint(&w, "epoch", work->epoch);
    sk_jw_kint(&w, "memory_limit", work->memory_limit);
    sk_jw_kint(&w, "stop_signal", work->stop_signal);
    sk_jw_kcstr(&w, "cgroup", work->cgroup);
    sk_jw_kcstr(&w, "image", work->image);
    sk_jw_kcstr(&w, "warning", work->warning);
    (void)snprintf(path, sizeof(path), "%s/instance.json", dir);
    write_rest(path, &w);
    sk_jw_obj_end(&w);
    sk_version_extend(&buf);
    rc = run_write_file(path, sk_buf_str(&buf), 0600, err);
    sk_buf_release(&buf);
    return rc;
}

static void read_cgroup(struct work *work, struct sk_str path)
{
    if (path.len == 0) {
        cgroup_path_old(work->id, work->cgroup);
    } else if (sk_str_starts(path, SK_STR("/skerry/")) && sk_str_ends(path, sk_str(work->id))) {
        (void)snprintf(work->cgroup, sizeof(work->cgroup), "%.*s", SK_PRI(path));
    }
}

/* *ret_run: the run that it was written for, which need not have begun. */
static bool read_record(struct work *work, const char *dir, char hash[AGENT_HASH_MAX],
                        int64_t *ret_run)
{
    char path[AGENT_PATH_MAX + 32];
    struct sk_arena *arena = sk_arena_new();
    struct sk_buf buf = SK_BUF_INIT;
    const struct sk_node *root;
    bool ok = false;

    (void)snprintf(path, sizeof(path), "%s/instance.json", dir);
    if (sys_file_read(path, RECORD_BYTES_MAX, &buf, NULL) == 0 &&
        sk_json_read(arena, path, sk_buf_str(&buf), NULL, &root, NULL) == 0 &&
        root->kind == SK_MAP) {
        struct sk_str text = sk_map_str(root, "hash", SK_STR(""));
        struct sk_str warning = sk_map_str(root, "warning", SK_STR(""));
        (void)snprintf(hash, AGENT_HASH_MAX, "%.*s", SK_PRI(text));
        (void)snprintf(work->warning, sizeof(work->warning), "%.*s", SK_PRI(warning));
        work->driver =
            sk_str_is(sk_map_str(root, "driver", SK_STR("")), "oci") ? DRIVER_OCI : DRIVER_EXEC;
        *ret_run = sk_map_int(root, "run", 0);
        work->epoch = sk_map_int(root, "epoch", 0);
        work->memory_limit = sk_map_int(root, "memory_limit", 0);
        work->stop_signal = (int)sk_map_int(root, "stop_signal", 0);
        read_cgroup(work, sk_map_str(root, "cgroup", SK_STR("")));
        text = sk_map_str(root, "image", SK_STR(""));
        (void)snprintf(work->image, sizeof(work->image), "%.*s", SK_PRI(text));
        ok = true;
    }
    sk_buf_release(&buf);
    sk_arena_free(arena);
    return ok;
}

/* ---- how a run ended ---- */

static void describe_end(const struct work *work, const struct shim_record *r, char *out,
                         size_t size)
{
    if (r->oom && r->signal) {
        struct sk_buf limit = SK_BUF_INIT;
        sk_format_bytes(&limit, work->memory_limit);
        (void)snprintf(out, size, "killed: it used more than its memory limit of %s",
                       work->memory_limit ? limit.ptr : "the machine");
        sk_buf_release(&limit);
    } else if (r->failed) {
        (void)snprintf(out, size, "%s", r->reason);
    } else if (!r->ended) {
        (void)snprintf(out, size, "%s",
                       r->this_boot ? "its shim was killed, and it with it"
                                    : "the machine restarted");
    } else if (r->lease_over) {
        (void)snprintf(out, size, "stopped: its lease ran out, control did not renew it in time");
    } else if (r->signal) {
        const char *name = sigabbrev_np(r->signal);
        (void)snprintf(out, size, "killed by signal %s%s", name ? "SIG" : "?", name ? name : "");
    } else {
        (void)snprintf(out, size, "exited with status %d", r->exit);
    }
}

static void post_started(struct work *work, bool ok, const char *reason)
{
    struct agent_event e = {
        .kind = AGENT_STARTED, .id = work->id, .run = work->run, .ok = ok, .reason = reason};

    work->said_started = true;
    agent_post(work->agent, &e);
}

/* The shim is gone: its record says how. */
static void finish_run(struct work *work)
{
    struct agent_event e = {.kind = AGENT_EXITED, .id = work->id, .run = work->run};
    char dir[AGENT_PATH_MAX], reason[AGENT_REASON_MAX];
    struct shim_record record = {0};
    struct sk_err err = {0};
    int rc;

    work->link = NULL;
    check_drop(work);
    agent_instance_dir(work->agent, work->id, dir);
    rc = shim_record_read(dir, &record, &err);
    if (rc < 0 || (record.ended && record.run < work->run)) {
        (void)snprintf(reason, sizeof(reason), "the shim left no record: %.200s",
                       rc < 0 ? err.msg : "it died before it was ready");
        record = (struct shim_record){.exit = -1, .signal = SIGKILL};
    } else {
        describe_end(work, &record, reason, sizeof(reason));
        shim_kill_orphans(&record);
        if (!record.ended) {
            record.exit = -1;
            record.signal = SIGKILL;
        }
    }
    if (!work->said_started) {
        bool ran = record.ended && !record.failed;
        post_started(work, ran, reason);
        if (!ran) {
            return;
        }
    }
    e.exit = record.exit;
    e.signal = record.signal;
    e.lease_over = record.lease_over;
    e.reason = reason;
    agent_post(work->agent, &e);
}

/* ---- the link ---- */

static void on_hello(void *ctx, int64_t run, pid_t pid)
{
    struct work *work = ctx;
    lease_extend(work, 0); /* renewed while it started */
    if (!work->said_started) {
        post_started(work, true, NULL);
    }
}

static void on_checked(void *ctx, bool ok, const char *reason)
{
    check_answer(ctx, ok, reason);
}

static void on_gone(void *ctx)
{
    finish_run(ctx);
}

static const struct shim_link_calls link_calls = {on_hello, on_checked, on_gone};

void run_link_up(struct work *work)
{
    char dir[AGENT_PATH_MAX];

    agent_instance_dir(work->agent, work->id, dir);
    if (shim_link_open(&work->agent->loop, dir, &link_calls, work, &work->link, NULL) < 0) {
        finish_run(work);
    }
}

/* ---- start ---- */

static void start_next(struct agent *agent)
{
    struct work *work, *next;

    HASH_ITER (hh, agent->works, work, next) {
        if (work->start_queued && agent->starting < AGENT_STARTS_MAX) {
            run_start(work);
        }
    }
}

static void on_starter_done(void *ctx, const struct sk_proc_result *result)
{
    struct work *work = ctx;
    struct agent *agent = work->agent;

    work->starter = NULL;
    work->starting = false;
    agent->starting--;
    if (result->cancelled) {
        return;
    }
    if (result->err.code == SK_OK || result->exit == 75) {
        run_link_up(work);
    } else if (result->timed_out) {
        /* The shim itself has left our reach by design: tell it to end what it is starting. */
        run_link_up(work);
        if (work->link) {
            shim_link_stop(work->link, SIGKILL, 0);
        }
    } else {
        const char *colon = strstr(result->err.msg, ": ");
        post_started(work, false, colon ? colon + 2 : result->err.msg);
    }
    start_next(agent);
}

static int prepare_folder(const struct work *work, const char *dir, struct sk_err *err)
{
    char marker[AGENT_PATH_MAX + 16];
    int rc = sys_mkdirs(dir, 0700, err);

    if (rc == 0) {
        (void)snprintf(marker, sizeof(marker), "%s/healthy", dir);
        (void)unlink(marker);
    }
    return rc;
}

static void note_missing_limits(struct work *work, const struct service *s)
{
    const struct cgroup_limits limits = {s->limit_cpus_nano, s->limit_memory_bytes, s->limit_pids,
                                         false};
    char missing[64];

    cgroup_missing(&work->agent->cgroups, &limits, missing, sizeof(missing));
    work->warning[0] = '\0';
    if (missing[0]) {
        (void)snprintf(work->warning, sizeof(work->warning),
                       "limits are not enforced here (%s): no cgroup that the agent can write",
                       missing);
    }
}

static int launch_shim(struct work *work, const struct assignment *a, struct sk_err *err)
{
    struct agent *agent = work->agent;
    char dir[AGENT_PATH_MAX];
    struct launch launch = {0};
    int rc;

    work->driver = a->driver;
    work->memory_limit = a->service->limit_memory_bytes;
    work->stop_signal = 0;
    work->image[0] = '\0';
    cgroup_path(&agent->cgroups, work->id, work->cgroup); /* an adopted one had another, maybe */
    note_missing_limits(work, a->service);
    agent_instance_dir(agent, work->id, dir);
    rc = prepare_folder(work, dir, err);
    if (rc < 0) {
        return rc;
    }
    launch_arg(&launch, "%s", agent->shim);
    launch_arg(&launch, "--dir=%s", dir);
    launch_arg(&launch, "--id=%s", work->id);
    launch_arg(&launch, "--run=%" PRId64, work->run);
    launch_arg(&launch, "--log-bytes=%" PRId64, agent->config.log_bytes_max);
    launch_arg(&launch, "--log-files=%" PRId64, agent->config.log_files_max);
    if (work->epoch > 0) {
        launch_arg(&launch, "--lease-until=%" PRId64, work->lease_until_ms);
    }
    rc = a->driver == DRIVER_OCI ? oci_launch(work, a, &launch, err)
                                 : exec_launch(work, a, &launch, err);
    /* Also of one that cannot be started: its folder is there. */
    if (write_record(work, a, dir, rc < 0 ? NULL : err) < 0 && rc == 0) {
        rc = err->code;
    }
    if (rc == 0) {
        const struct sk_proc_spec spec = {.argv = (const char *const *)launch.argv,
                                          .env = (const char *const *)launch.env,
                                          .timeout_ms = AGENT_START_TIMEOUT_MS};
        rc = sk_proc_start(&agent->loop, &spec, on_starter_done, work, &work->starter, err);
    }
    launch_release(&launch);
    return rc;
}

void run_start(struct work *work)
{
    struct agent *agent = work->agent;
    const struct assignment *a = assign_find(agent->assigned, work->id);
    struct sk_err err = {0};

    if (agent->starting >= AGENT_STARTS_MAX) {
        work->start_queued = true;
        return;
    }
    work->start_queued = false;
    work->said_started = false;
    if (!a || !a->service) {
        post_started(work, false, "it is no longer assigned");
        return;
    }
    agent->starting++;
    work->starting = true;
    if (launch_shim(work, a, &err) < 0) {
        agent->starting--;
        work->starting = false;
        post_started(work, false, err.msg);
        start_next(agent);
    }
}

void run_stop(struct work *work, int signal, int64_t grace_ms)
{
    if (work->link) {
        signal = signal ? signal : work->stop_signal;
        shim_link_stop(work->link, signal ? signal : SIGTERM, grace_ms);
    } else {
        finish_run(work);
    }
}

/* ---- clean, remove ---- */

static bool lives(const struct work *work)
{
    return work->link || work->starting;
}

void run_drop_cgroup(const struct work *work)
{
    const struct work *one, *next;

    cgroup_remove(&work->agent->cgroups, work->cgroup);
    HASH_ITER (hh, work->agent->works, one, next) {
        if (lives(one)) {
            return; /* one that starts may be about to make its group on the level */
        }
    }
    cgroup_level_down(&work->agent->cgroups);
}

static bool has_folder(void *ctx, const char *id)
{
    char dir[AGENT_PATH_MAX];

    agent_instance_dir(ctx, id, dir);
    return access(dir, F_OK) == 0;
}

static bool is_alive(void *ctx, const char *id)
{
    const struct agent *agent = ctx;
    const struct work *work;

    HASH_FIND_STR(agent->works, id, work);
    return work && lives(work);
}

void run_drop_cgroups(struct agent *agent, bool at_end)
{
    cgroup_prune(&agent->cgroups, at_end ? is_alive : has_folder, agent);
    cgroup_level_down(&agent->cgroups);
}

#define CLEAN_AGAIN_MS 20

static void on_cleaner_closed(uv_handle_t *handle)
{
    free(handle);
}

/* A shim that was killed may leave processes that had left their session: the group has them all.
 * A run is over when they are dead. */
static void clean_host(uv_timer_t *timer)
{
    struct work *work = timer->data;
    struct agent_event e = {.kind = AGENT_CLEANED, .id = work->id};

    if (cgroup_kill(&work->agent->cgroups, work->cgroup) > 0) {
        (void)uv_timer_start(timer, clean_host, CLEAN_AGAIN_MS, 0);
        return;
    }
    uv_close((uv_handle_t *)timer, on_cleaner_closed);
    run_drop_cgroup(work);
    agent_post(work->agent, &e);
}

void run_clean(struct work *work)
{
    uv_timer_t *timer;

    if (work->driver == DRIVER_OCI) {
        oci_clean(work);
        return;
    }
    timer = sk_xcalloc(1, sizeof(*timer));
    (void)uv_timer_init(&work->agent->loop, timer);
    timer->data = work;
    clean_host(timer);
}

void run_remove(struct work *work)
{
    struct agent *agent = work->agent;
    char dir[AGENT_PATH_MAX], gone[AGENT_PATH_MAX + 128];
    const char *argv[] = {"rm", "-rf", "--", gone, NULL};
    const struct sk_proc_spec spec = {.argv = argv};

    run_drop_cgroup(work);
    agent_instance_dir(agent, work->id, dir);
    (void)snprintf(gone, sizeof(gone), "%s/instances/.gone-%s", agent->dir, work->id);
    HASH_DEL(agent->works, work);
    free(work);
    /* What cannot be removed now is tried again at the next start. */
    if (rename(dir, gone) == 0) {
        (void)sk_proc_start(&agent->loop, &spec, NULL, NULL, NULL, NULL);
    }
}

/* ---- adoption ---- */

static void adopt_one(struct agent *agent, const char *id)
{
    struct agent_event e = {.kind = AGENT_FOUND, .id = id, .exit = -1};
    char dir[AGENT_PATH_MAX], marker[AGENT_PATH_MAX + 16], hash[AGENT_HASH_MAX] = "";
    char reason[AGENT_REASON_MAX] = "";
    struct work *work = agent_work(agent, id);
    struct shim_record record = {0};
    int64_t begun = 0;
    bool recorded;

    agent_instance_dir(agent, id, dir);
    (void)read_record(work, dir, hash, &begun);
    recorded = shim_record_read(dir, &record, NULL) == 0;
    e.hash = hash;
    e.run = work->run = recorded ? record.run : 0;
    work->said_started = true;
    (void)snprintf(marker, sizeof(marker), "%s/healthy", dir);
    if (shim_link_open(&agent->loop, dir, &link_calls, work, &work->link, NULL) == 0) {
        e.alive = true;
        e.healthy = access(marker, F_OK) == 0;
        e.run = work->run = e.run > 0 ? e.run : 1;
    } else if (recorded) {
        shim_kill_orphans(&record);
        describe_end(work, &record, reason, sizeof(reason));
        e.exit = record.exit;
        e.lease_over = record.lease_over;
        e.signal = record.ended ? record.signal : SIGKILL;
        e.reason = reason;
    }
    /* To name an epoch is to say that its run is over. A shim that the last agent had just started
     * may not be heard yet: only its own last word counts, else the lease has to run out. */
    if (e.alive || (record.ended && record.run >= begun)) {
        e.epoch = work->epoch;
    } else {
        e.unsure = work->epoch > 0;
    }
    agent_post(agent, &e);
}

static void remove_leftover(struct agent *agent, const char *name)
{
    char path[AGENT_PATH_MAX + 300];
    const char *argv[] = {"rm", "-rf", "--", path, NULL};
    const struct sk_proc_spec spec = {.argv = argv};

    (void)snprintf(path, sizeof(path), "%.900s/instances/%.255s", agent->dir, name);
    (void)sk_proc_start(&agent->loop, &spec, NULL, NULL, NULL, NULL);
}

void run_adopt_all(struct agent *agent)
{
    char path[AGENT_PATH_MAX + 16];
    struct dirent *entry;
    DIR *dir;

    (void)snprintf(path, sizeof(path), "%s/instances", agent->dir);
    dir = opendir(path);
    if (!dir) {
        return; /* the first start */
    }
    while ((entry = readdir(dir))) {
        size_t len = strlen(entry->d_name);
        if (strncmp(entry->d_name, ".gone-", 6) == 0) {
            remove_leftover(agent, entry->d_name);
        } else if (len >= 8 && len < AGENT_ID_MAX &&
                   strspn(entry->d_name, "0123456789abcdef") == len) {
            adopt_one(agent, entry->d_name);
        }
    }
    (void)closedir(dir);
}
