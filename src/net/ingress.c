/* SPDX-License-Identifier: Apache-2.0 */
#include "net/ingress.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "net/ingress_cli.h"
#include "net/ingress_config.h"
#include "net/ingress_slots.h"
#include "sys/file.h"
#include "sys/proc.h"

/*
 * One change at a time: kick() looks at what is wanted and what HAProxy has, and begins one of
 *
 *     VERSION   haproxy -v, once
 *     CHECK     haproxy -c on the new configuration, then start or reload (SIGUSR2 to the master)
 *     WAIT      until the new worker answers on the runtime socket
 *     COMMANDS  endpoints only: commands to the runtime socket, one after the other
 *
 * and is called again at its end, so that everything applied meanwhile is taken in one step. A step
 * that failed is tried again after a pause, by a whole configuration.
 */
#define PATH_BYTES_MAX 128
#define POLL_MS 20
#define READY_MS 5000
#define RETRY_MS 1000
#define RESTART_MIN_MS 100
#define RESTART_MAX_MS 5000
#define STOP_MS 2000
#define RUN_MS 10000

enum phase { PHASE_IDLE, PHASE_VERSION, PHASE_CHECK, PHASE_WAIT, PHASE_COMMANDS, PHASE_STOPPING };

struct ingress {
    uv_loop_t *loop;
    char dir[PATH_BYTES_MAX], program[256], bind_address[64];
    struct ingress_config config;
    ingress_event_fn *event;
    void *ctx;

    enum phase phase;
    bool version_known;
    struct sk_arena *arena; /* of the view that is wanted */
    struct ingress_view view;
    uint64_t wanted, have; /* numbers of views; equal = HAProxy serves the wanted one */
    uint64_t going;        /* the number that the present step will reach */
    bool whole;            /* the next step must be a whole configuration */
    struct ingress_table table;
    struct sk_buf shape;      /* configuration without endpoints that HAProxy runs */
    struct sk_buf next_shape; /* the same while it is being brought in */
    struct sk_buf commands;
    size_t commands_at;

    uv_process_t process;
    bool running, process_open;
    uint64_t started_ms;
    int worker;     /* pid that answers on the runtime socket; 0 = none yet */
    int old_worker; /* the one that a reload replaces */
    uint64_t ready_by_ms, restart_ms;
    pid_t orphan; /* master of a daemon that was killed; 0 = none */
    uv_timer_t timer;
    uv_timer_t drain;
    struct sk_proc *run; /* haproxy -v or -c; counted in open_handles */
    struct ingress_cli *cli;
    uint64_t reloads, changes, deaths;

    ingress_stopped_fn *stopped;
    void *stopped_ctx;
    int open_handles;
};

static void kick(struct ingress *ing);

static void tell(struct ingress *ing, enum ingress_event event, const struct sk_err *err)
{
    static const struct sk_err none;
    if (ing->event != NULL) {
        ing->event(ing->ctx, event, err != NULL ? err : &none);
    }
}

static void path_of(const struct ingress *ing, const char *name, char out[PATH_BYTES_MAX])
{
    (void)snprintf(out, PATH_BYTES_MAX, "%.80s/%.40s", ing->dir, name);
}

static void on_retry(uv_timer_t *timer)
{
    struct ingress *ing = timer->data;
    kick(ing);
}

static void fail_step(struct ingress *ing, const struct sk_err *err)
{
    ing->phase = PHASE_IDLE;
    ing->whole = true;
    (void)uv_timer_start(&ing->timer, on_retry, RETRY_MS, 0);
    tell(ing, INGRESS_FAILED, err);
}

static void end_step(struct ingress *ing, enum ingress_event event)
{
    ing->phase = PHASE_IDLE;
    ing->have = ing->going;
    tell(ing, event, NULL);
    kick(ing);
}

/* ---- endpoints: commands ---- */

static void next_command(struct ingress *ing);

static void on_drain(uv_timer_t *timer)
{
    struct ingress *ing = timer->data;
    kick(ing);
}

static void arm_drain(struct ingress *ing, uint64_t at_ms)
{
    uint64_t now = uv_now(ing->loop);
    if (at_ms == 0) {
        (void)uv_timer_stop(&ing->drain);
    } else {
        (void)uv_timer_start(&ing->drain, on_drain, at_ms > now ? at_ms - now : 1, 0);
    }
}

/* HAProxy answers what it did not like in words; what it did is silent, but for addresses. */
static bool is_refusal(struct sk_str answer)
{
    struct sk_str s = answer;
    while (s.len > 0 && (s.ptr[0] == '\n' || s.ptr[0] == ' ')) {
        s.ptr++;
        s.len--;
    }
    bool changed = s.len > 0 && (memmem(s.ptr, s.len, "changed from", 12) != NULL ||
                                 memmem(s.ptr, s.len, "no need to change", 17) != NULL ||
                                 memmem(s.ptr, s.len, "nothing changed", 15) != NULL);
    return s.len > 0 && !changed;
}

static void on_command(void *ctx, struct sk_str answer, const struct sk_err *err)
{
    struct ingress *ing = ctx;
    ing->cli = NULL;
    if (err->code != 0) {
        fail_step(ing, err);
    } else if (is_refusal(answer)) {
        struct sk_err why = {0};
        struct sk_str words = sk_str_trim(answer);
        (void)sk_err_set(&why, SK_ERR_ENGINE, "haproxy refused a change: %.*s", SK_PRI(words));
        fail_step(ing, &why);
    } else {
        next_command(ing);
    }
}

static void next_command(struct ingress *ing)
{
    struct sk_str rest = {ing->commands.ptr + ing->commands_at,
                          ing->commands.len - ing->commands_at};
    struct sk_str line;
    struct sk_str tail;
    if (rest.len == 0) {
        ing->changes++;
        end_step(ing, INGRESS_CHANGED);
        return;
    }
    (void)sk_str_cut(rest, '\n', &line, &tail);
    ing->commands_at += line.len + 1;
    char path[PATH_BYTES_MAX];
    path_of(ing, "admin.sock", path);
    ing->cli = ingress_cli_ask(ing->loop, path, line, on_command, ing);
}

/* ---- whole configurations ---- */

static int write_text(struct ingress *ing, const char *name, const struct sk_buf *text,
                      struct sk_err *err)
{
    char path[PATH_BYTES_MAX];
    path_of(ing, name, path);
    return sys_file_write(path, sk_buf_str(text), 0600, err);
}

/* The configuration goes under another name until haproxy has checked it. */
static int write_files(struct ingress *ing, struct sk_err *err)
{
    struct sk_buf text = SK_BUF_INIT;
    ingress_config_write(&ing->config, &ing->view, ing->table.items, true, &text);
    int ret = write_text(ing, "haproxy.new", &text, err);
    if (ret == 0) {
        sk_buf_clear(&text);
        ingress_hosts_write(&ing->view, &text);
        ret = write_text(ing, "hosts.map", &text, err);
    }
    if (ret == 0) {
        sk_buf_clear(&text);
        ingress_names_write(&ing->view, &text);
        ret = write_text(ing, "names.map", &text, err);
    }
    sk_buf_release(&text);
    return ret;
}

/* The master that a killed daemon left, if it is still that process. */
static void find_orphan(struct ingress *ing)
{
    char path[PATH_BYTES_MAX];
    char expected[PATH_BYTES_MAX];
    struct sk_buf text = SK_BUF_INIT;
    struct sk_buf line = SK_BUF_INIT;
    long pid = 0;
    path_of(ing, "haproxy.pid", path);
    path_of(ing, "haproxy.cfg", expected);
    if (sys_file_read(path, 64, &text, NULL) == 0 && text.len > 0) {
        pid = strtol(text.ptr, NULL, 10);
    }
    if (pid > 1 && pid < INT32_MAX) {
        /* its command line names our own configuration: nobody else's does */
        (void)snprintf(path, sizeof(path), "/proc/%ld/cmdline", pid);
        bool ours = sys_file_read(path, 4096, &line, NULL) == 0 && line.len > 0 &&
                    memmem(line.ptr, line.len, expected, strlen(expected) + 1) != NULL;
        ing->orphan = ours ? (pid_t)pid : 0;
    }
    sk_buf_release(&text);
    sk_buf_release(&line);
}

static void on_master_exit(uv_process_t *process, int64_t status, int signal);

static int spawn(struct ingress *ing, struct sk_err *err)
{
    char cfg[PATH_BYTES_MAX];
    char log_path[PATH_BYTES_MAX];
    char f_w[] = "-W";
    char f_f[] = "-f";
    char *args[] = {ing->program, f_w, f_f, cfg, NULL};
    path_of(ing, "haproxy.cfg", cfg);
    path_of(ing, "haproxy.log", log_path);
    find_orphan(ing);
    int log = open(log_path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (log < 0) {
        return sk_err_errno(err, errno, "open '%s'", log_path);
    }
    uv_stdio_container_t stdio[3] = {{.flags = UV_IGNORE},
                                     {.flags = UV_INHERIT_FD, .data.fd = log},
                                     {.flags = UV_INHERIT_FD, .data.fd = log}};
    uv_process_options_t options = {.file = ing->program,
                                    .args = args,
                                    .stdio = stdio,
                                    .stdio_count = 3,
                                    .exit_cb = on_master_exit};
    const char *const *env = sk_proc_default_env;
    memcpy(&options.env, &env, sizeof(options.env)); /* libuv only reads it */
    ing->process.data = ing;
    ing->process_open = true;
    ing->open_handles++;
    int code = uv_spawn(ing->loop, &ing->process, &options);
    (void)close(log);
    if (code < 0) {
        on_master_exit(&ing->process, 0, 0); /* closes the handle; nothing ran */
        return sk_err_set(err, SK_ERR_ENGINE, "start '%s': %s", ing->program, uv_strerror(code));
    }
    ing->running = true;
    ing->worker = 0;
    ing->started_ms = uv_now(ing->loop);
    struct sk_buf text = SK_BUF_INIT;
    sk_buf_printf(&text, "%d\n", (int)ing->process.pid);
    int ret = write_text(ing, "haproxy.pid", &text, err);
    sk_buf_release(&text);
    return ret;
}

static void poll_ready(struct ingress *ing);

static void on_poll(uv_timer_t *timer)
{
    struct ingress *ing = timer->data;
    poll_ready(ing);
}

/* "Pid: 123" of `show info`; 0 if there is none. */
static int worker_pid(struct sk_str info)
{
    while (info.len > 0) {
        struct sk_str line;
        (void)sk_str_cut(info, '\n', &line, &info);
        if (line.len > 5 && line.len < 20 && memcmp(line.ptr, "Pid: ", 5) == 0) {
            int pid = 0;
            for (size_t i = 5; i < line.len && line.ptr[i] >= '0' && line.ptr[i] <= '9'; i++) {
                pid = pid * 10 + (line.ptr[i] - '0');
            }
            return pid;
        }
    }
    return 0;
}

static void swap_shape(struct ingress *ing)
{
    struct sk_buf old = ing->shape;
    ing->shape = ing->next_shape;
    ing->next_shape = old;
    sk_buf_clear(&ing->next_shape);
}

static void on_info(void *ctx, struct sk_str answer, const struct sk_err *err)
{
    struct ingress *ing = ctx;
    int pid = err->code == 0 ? worker_pid(answer) : 0;
    ing->cli = NULL;
    if (pid != 0 && pid != ing->old_worker) {
        bool reloaded = ing->old_worker != 0;
        ing->worker = pid;
        swap_shape(ing);
        ing->whole = false;
        if (ing->orphan != 0 && ing->orphan != ing->process.pid) {
            (void)kill(ing->orphan, SIGUSR1); /* it ends what it is doing, then leaves */
        }
        ing->orphan = 0;
        ing->reloads += reloaded;
        end_step(ing, reloaded ? INGRESS_RELOADED : INGRESS_STARTED);
    } else if (uv_now(ing->loop) >= ing->ready_by_ms) {
        struct sk_err why = {0};
        (void)sk_err_set(&why, SK_ERR_TIMEOUT, "haproxy was not ready after %d ms: see '%s/%s'",
                         READY_MS, ing->dir, "haproxy.log");
        fail_step(ing, &why);
    } else {
        (void)uv_timer_start(&ing->timer, on_poll, POLL_MS, 0);
    }
}

static void poll_ready(struct ingress *ing)
{
    char path[PATH_BYTES_MAX];
    path_of(ing, "admin.sock", path);
    ing->cli = ingress_cli_ask(ing->loop, path, SK_STR("show info"), on_info, ing);
}

static int go_live(struct ingress *ing, struct sk_err *err)
{
    char fresh[PATH_BYTES_MAX];
    char live[PATH_BYTES_MAX];
    path_of(ing, "haproxy.new", fresh);
    path_of(ing, "haproxy.cfg", live);
    if (rename(fresh, live) < 0) {
        return sk_err_errno(err, errno, "rename '%s'", fresh);
    }
    ing->old_worker = ing->worker;
    if (!ing->running) {
        if (ing->process_open) {
            return sk_err_set(err, SK_ERR_UNAVAILABLE, "haproxy is still ending");
        }
        ing->old_worker = 0;
        char path[PATH_BYTES_MAX];
        path_of(ing, "admin.sock", path);
        (void)unlink(path); /* of an earlier one: its answer must not be taken for the new one's */
        return spawn(ing, err);
    }
    int code = uv_process_kill(&ing->process, SIGUSR2);
    if (code < 0) {
        return sk_err_set(err, SK_ERR_ENGINE, "reload haproxy: %s", uv_strerror(code));
    }
    return 0;
}

static void end_handle(struct ingress *ing);

/* The line that names file and line: haproxy says more before and after. */
static struct sk_str last_words(struct sk_str text)
{
    struct sk_str found = SK_STR("");
    while (text.len > 0) {
        struct sk_str line;
        (void)sk_str_cut(text, '\n', &line, &text);
        bool alert = line.len > 7 && memmem(line.ptr, line.len, "[ALERT]", 7) != NULL;
        if (alert && (found.len == 0 || memmem(line.ptr, line.len, "parsing", 7) != NULL)) {
            found = line;
        }
    }
    return found;
}

static void on_checked(void *ctx, const struct sk_proc_result *result)
{
    struct ingress *ing = ctx;
    struct sk_err why = result->err;
    end_handle(ing);
    if (result->cancelled) {
        return;
    }
    ing->run = NULL;
    if (why.code != 0) {
        struct sk_str words = last_words(result->error);
        (void)sk_err_set(&why, SK_ERR_ENGINE, "haproxy refuses its configuration: %.*s",
                         SK_PRI(words));
    } else {
        (void)go_live(ing, &why);
    }
    if (why.code != 0) {
        fail_step(ing, &why);
        return;
    }
    ing->phase = PHASE_WAIT;
    ing->ready_by_ms = uv_now(ing->loop) + READY_MS;
    poll_ready(ing);
}

static void start_run(struct ingress *ing, const char *const argv[], sk_proc_done_fn *done,
                      struct sk_err *err)
{
    const struct sk_proc_spec spec = {.argv = argv, .timeout_ms = RUN_MS, .out_max = 4096};
    if (sk_proc_start(ing->loop, &spec, done, ing, &ing->run, err) == 0) {
        ing->open_handles++;
    }
}

static void begin_whole(struct ingress *ing)
{
    struct sk_err err = {0};
    char path[PATH_BYTES_MAX];
    const char *const argv[] = {ing->program, "-c", "-f", path, NULL};
    path_of(ing, "haproxy.new", path);
    ingress_table_fill(&ing->table, &ing->table, &ing->view);
    sk_buf_clear(&ing->next_shape);
    ingress_config_write(&ing->config, &ing->view, ing->table.items, false, &ing->next_shape);
    ing->phase = PHASE_CHECK;
    if (write_files(ing, &err) == 0) {
        start_run(ing, argv, on_checked, &err);
    }
    if (err.code != 0) {
        fail_step(ing, &err);
    }
}

/* "HAProxy version 2.6.12-1 ..." */
static bool version_is_known(struct sk_str text)
{
    unsigned major = 0;
    unsigned minor = 0;
    char head[64] = "";
    memcpy(head, text.ptr, text.len < sizeof(head) - 1 ? text.len : sizeof(head) - 1);
    return sscanf(head, "HAProxy version %3u.%3u", &major, &minor) == 2 &&
           (major > 2 || (major == 2 && minor >= 6));
}

static void on_version(void *ctx, const struct sk_proc_result *result)
{
    struct ingress *ing = ctx;
    struct sk_err why = result->err;
    end_handle(ing);
    if (result->cancelled) {
        return;
    }
    ing->run = NULL;
    if (why.code == 0 && !version_is_known(result->out)) {
        struct sk_str line, rest;
        (void)sk_str_cut(result->out, '\n', &line, &rest);
        (void)sk_err_set(&why, SK_ERR_ENGINE, "haproxy 2.6 or later is needed, found '%.*s'",
                         SK_PRI(line));
    }
    if (why.code != 0) {
        fail_step(ing, &why);
        return;
    }
    ing->version_known = true;
    ing->phase = PHASE_IDLE;
    kick(ing);
}

static void begin_version(struct ingress *ing)
{
    struct sk_err err = {0};
    const char *const argv[] = {ing->program, "-v", NULL};
    ing->phase = PHASE_VERSION;
    start_run(ing, argv, on_version, &err);
    if (err.code != 0) {
        fail_step(ing, &err);
    }
}

/* ---- what to do next ---- */

static bool needs_whole(struct ingress *ing)
{
    if (ing->whole || !ing->running || ing->worker == 0 ||
        !ingress_table_fits(&ing->table, &ing->view)) {
        return true;
    }
    struct sk_buf shape = SK_BUF_INIT;
    ingress_config_write(&ing->config, &ing->view, ing->table.items, false, &shape);
    bool same = sk_str_eq(sk_buf_str(&shape), sk_buf_str(&ing->shape));
    sk_buf_release(&shape);
    return !same;
}

static void kick(struct ingress *ing)
{
    if (ing->phase != PHASE_IDLE || ing->wanted == 0) {
        return;
    }
    if (!ing->version_known) {
        begin_version(ing);
        return;
    }
    bool behind = ing->have != ing->wanted || ing->whole || !ing->running;
    if (behind && uv_is_active((uv_handle_t *)&ing->timer)) {
        return; /* a pause after a failure or a death */
    }
    ing->going = ing->wanted;
    if (behind && needs_whole(ing)) {
        begin_whole(ing);
        return;
    }
    uint64_t now = uv_now(ing->loop);
    sk_buf_clear(&ing->commands);
    ing->commands_at = 0;
    if (behind) {
        ingress_table_move(&ing->table, &ing->view, ing->config.identity, now, &ing->commands);
    }
    arm_drain(ing, ingress_table_expire(&ing->table, now, &ing->commands));
    if (ing->commands.len > 0) {
        ing->phase = PHASE_COMMANDS;
        next_command(ing);
    } else {
        ing->have = ing->going;
    }
}

/* ---- its end ---- */

static void end_handle(struct ingress *ing)
{
    ing->open_handles--;
    if (ing->phase == PHASE_STOPPING && ing->open_handles == 0) {
        ing->stopped(ing->stopped_ctx);
    }
}

static void on_handle_closed(uv_handle_t *handle)
{
    struct ingress *ing = handle->data;
    if (handle == (uv_handle_t *)&ing->process) {
        ing->process_open = false;
    }
    end_handle(ing);
}

static void close_timers(struct ingress *ing)
{
    uv_handle_t *timers[] = {(uv_handle_t *)&ing->timer, (uv_handle_t *)&ing->drain};
    for (size_t i = 0; i < 2; i++) {
        if (!uv_is_closing(timers[i])) {
            uv_close(timers[i], on_handle_closed);
        }
    }
}

static void drop_step(struct ingress *ing)
{
    ingress_cli_cancel(ing->cli);
    if (ing->run != NULL) {
        sk_proc_cancel(ing->run);
    }
    ing->cli = NULL;
    ing->run = NULL;
}

static void on_master_exit(uv_process_t *process, int64_t status, int signal)
{
    struct ingress *ing = process->data;
    bool ran = ing->running;
    ing->running = false;
    ing->worker = 0;
    uv_close((uv_handle_t *)process, on_handle_closed);
    if (ing->phase == PHASE_STOPPING) {
        close_timers(ing);
        return;
    }
    if (!ran) {
        return;
    }
    struct sk_err err = {0};
    (void)sk_err_set(&err, SK_ERR_ENGINE, "haproxy ended with %s %d: see '%s/haproxy.log'",
                     signal != 0 ? "signal" : "status", signal != 0 ? signal : (int)status,
                     ing->dir);
    drop_step(ing);
    ing->phase = PHASE_IDLE;
    ing->whole = true;
    ing->deaths++;
    bool stood = uv_now(ing->loop) - ing->started_ms > RESTART_MAX_MS;
    uint64_t pause = stood || ing->restart_ms == 0 ? RESTART_MIN_MS : ing->restart_ms * 2;
    ing->restart_ms = pause < RESTART_MAX_MS ? pause : RESTART_MAX_MS;
    (void)uv_timer_start(&ing->timer, on_retry, ing->restart_ms, 0);
    tell(ing, INGRESS_DIED, &err);
}

static void on_stop_late(uv_timer_t *timer)
{
    struct ingress *ing = timer->data;
    (void)uv_process_kill(&ing->process, SIGKILL); /* its worker sees the master's end, and ends */
}

void ingress_stop(struct ingress *ing, ingress_stopped_fn *done, void *ctx)
{
    drop_step(ing);
    ing->phase = PHASE_STOPPING;
    ing->stopped = done;
    ing->stopped_ctx = ctx;
    if (ing->running) {
        (void)uv_process_kill(&ing->process, SIGTERM); /* on_master_exit comes, now or at its end */
        (void)uv_timer_start(&ing->timer, on_stop_late, STOP_MS, 0);
    } else {
        close_timers(ing);
    }
}

void ingress_free(struct ingress *ing)
{
    if (ing == NULL) {
        return;
    }
    SK_ASSERT(ing->open_handles == 0); /* ingress_stop() first, and wait for its callback */
    ingress_table_release(&ing->table);
    sk_buf_release(&ing->shape);
    sk_buf_release(&ing->next_shape);
    sk_buf_release(&ing->commands);
    sk_arena_free(ing->arena);
    free(ing);
}

/* ---- what is wanted ---- */

int ingress_new(const struct ingress_options *options, struct ingress **ret, struct sk_err *err)
{
    const char *program = options->program != NULL ? options->program : "haproxy";
    const char *at = options->bind_address != NULL ? options->bind_address : "";
    if (strlen(options->dir) > 80 || strlen(program) > 255 || strlen(at) > 63) {
        return sk_err_set(err, SK_ERR_USAGE, "the path '%s' is too long for an ingress",
                          options->dir);
    }
    for (const char *p = options->dir; *p != '\0'; p++) {
        if (*p <= ' ' || *p > '~' || strchr("\"'\\#$%", *p) != NULL) {
            return sk_err_set(err, SK_ERR_USAGE,
                              "the path '%s' holds bytes that haproxy's files cannot",
                              options->dir);
        }
    }
    int ret_dir = sys_mkdirs(options->dir, 0700, err);
    if (ret_dir < 0) {
        return ret_dir;
    }
    struct ingress *ing = sk_xcalloc(1, sizeof(*ing));
    ing->loop = options->loop;
    (void)snprintf(ing->dir, sizeof(ing->dir), "%s", options->dir);
    (void)snprintf(ing->program, sizeof(ing->program), "%s", program);
    (void)snprintf(ing->bind_address, sizeof(ing->bind_address), "%s", at);
    ing->config = (struct ingress_config){
        .dir = ing->dir,
        .bind_address = ing->bind_address,
        .http_port = options->http_port != 0 ? options->http_port : 80,
        .inter_port = options->inter_port != 0 ? options->inter_port : 7443,
    };
    ing->event = options->event;
    ing->ctx = options->ctx;
    ing->whole = true;
    /* A list that is there stays until a newer one comes: who was revoked is never believed again
     * for want of news. */
    char revoked[PATH_BYTES_MAX];
    path_of(ing, "revoked.lst", revoked);
    int made = access(revoked, F_OK) == 0 ? 0 : ingress_set_revoked(ing, NULL, 0, err);
    if (made < 0) {
        free(ing);
        return made;
    }
    /* neither can fail on Linux: they only fill in the handle */
    (void)uv_timer_init(ing->loop, &ing->timer);
    (void)uv_timer_init(ing->loop, &ing->drain);
    ing->timer.data = ing;
    ing->drain.data = ing;
    ing->open_handles = 2;
    *ret = ing;
    return 0;
}

static void certificates_changed(struct ingress *ing)
{
    ing->config.generation++; /* is in the configuration: so a reload follows */
    if (ing->wanted != 0) {
        ing->wanted++;
        kick(ing);
    }
}

int ingress_set_identity(struct ingress *ing, struct sk_str cert_pem, struct sk_str key_pem,
                         struct sk_str ca_pem, struct sk_err *err)
{
    struct sk_buf pem = SK_BUF_INIT;
    struct sk_buf ca = SK_BUF_INIT;
    sk_buf_addstr(&pem, cert_pem);
    sk_buf_addc(&pem, '\n');
    sk_buf_addstr(&pem, key_pem);
    sk_buf_addstr(&ca, ca_pem);
    int ret = write_text(ing, "node.pem", &pem, err);
    if (ret == 0) {
        ret = write_text(ing, "ca.pem", &ca, err);
    }
    explicit_bzero(pem.ptr, pem.len);
    sk_buf_release(&pem);
    sk_buf_release(&ca);
    if (ret == 0) {
        ing->config.identity = true;
        certificates_changed(ing);
    }
    return ret;
}

int ingress_set_revoked(struct ingress *ing, const struct sk_str *serials, size_t count,
                        struct sk_err *err)
{
    struct sk_buf text = SK_BUF_INIT;
    sk_buf_adds(&text, "none\n"); /* an empty list is refused by haproxy */
    for (size_t i = 0; i < count; i++) {
        for (size_t k = 0; k < serials[i].len; k++) {
            if (strchr("0123456789abcdefABCDEF", serials[i].ptr[k]) == NULL) {
                sk_buf_release(&text);
                return sk_err_set(err, SK_ERR_INPUT, "'%.*s' is not a serial", SK_PRI(serials[i]));
            }
        }
        sk_buf_addstr(&text, serials[i]);
        sk_buf_addc(&text, '\n');
    }
    char path[PATH_BYTES_MAX];
    struct sk_buf old = SK_BUF_INIT;
    path_of(ing, "revoked.lst", path);
    int ret = 0;
    if (sys_file_read(path, 16 << 20, &old, NULL) < 0 ||
        !sk_str_eq(sk_buf_str(&old), sk_buf_str(&text))) {
        ret = sys_file_write(path, sk_buf_str(&text), 0600, err);
        if (ret == 0) {
            certificates_changed(ing);
        }
    }
    sk_buf_release(&old);
    sk_buf_release(&text);
    return ret;
}

int ingress_apply(struct ingress *ing, const struct ingress_view *view, struct sk_err *err)
{
    int ret = ingress_view_check(view, err);
    if (ret < 0) {
        return ret;
    }
    struct sk_arena *arena = sk_arena_new();
    ingress_view_copy(arena, view, &ing->view);
    sk_arena_free(ing->arena);
    ing->arena = arena;
    ing->wanted++;
    kick(ing);
    return 0;
}

struct ingress_status ingress_status(const struct ingress *ing)
{
    return (struct ingress_status){
        .running = ing->running && ing->worker != 0,
        .settled = ing->running && !ing->whole && ing->have == ing->wanted && ing->wanted != 0,
        .pid = ing->running ? (int)ing->process.pid : 0,
        .reloads = ing->reloads,
        .changes = ing->changes,
        .deaths = ing->deaths,
    };
}
