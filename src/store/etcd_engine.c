/* SPDX-License-Identifier: Apache-2.0 */
#include "store/etcd_engine.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/mem.h"
#include "sys/file.h"

#define ARGS_MAX 40
#define TEXT_MAX 512
#define PAUSE_MS_MIN 200
#define PAUSE_MS_MAX 5000
#define STEADY_MS 10000 /* one that ran so long starts again after the shortest pause */
#define TERM_MS 5000    /* then KILL */
#define LOOK_MS 50
#define LOG_BYTES_MAX (1024 * 1024)

struct etcd_engine {
    uv_loop_t *loop;
    uv_process_t process;
    uv_timer_t timer; /* the next start, or the end of patience */
    char *dir, *program;
    char *argv[ARGS_MAX + 1];
    size_t argc;
    etcd_engine_fn *on_change;
    void *ctx;
    void (*on_done)(void *ctx);
    void *done_ctx;
    uint64_t started_ms, pause_ms;
    pid_t orphan; /* of an earlier daemon, being ended */
    uint64_t orphan_since_ms;
    bool running, open; /* open: the process handle is not closed yet */
    bool stopping;
    int handles;
};

void etcd_engine_timing(double rtt_ms, int *ret_heartbeat_ms, int *ret_election_ms)
{
    double beat = rtt_ms * 1.25;

    beat = beat < 50 ? 50 : beat > 500 ? 500 : beat; /* what is no number too */
    *ret_heartbeat_ms = beat >= 50 ? (int)(beat + 0.5) : 50;
    *ret_election_ms = 10 * *ret_heartbeat_ms;
}

/* --- arguments ------------------------------------------------------------------------------- */

static void add(struct etcd_engine *e, const char *flag, const char *value)
{
    struct sk_buf text = SK_BUF_INIT;

    SK_ASSERT(e->argc < ARGS_MAX);
    sk_buf_printf(&text, "%s%s", flag, value);
    e->argv[e->argc++] = sk_buf_steal(&text, NULL);
}

static void add_int(struct etcd_engine *e, const char *flag, int value)
{
    char text[16];
    (void)snprintf(text, sizeof(text), "%d", value);
    add(e, flag, text);
}

/* Lists in etcd's flags are cut at ',' and '=': nothing that holds one may get into them. */
static int check_text(const char *text, const char *what, struct sk_err *err)
{
    if (!text || text[0] == '\0' || strlen(text) > TEXT_MAX || strpbrk(text, ",=\n \"'")) {
        return sk_err_set(err, SK_ERR_INPUT, "'%.80s' is no %s of a member of etcd",
                          text ? text : "", what);
    }
    return 0;
}

static int check_url(const char *url, struct sk_err *err)
{
    int rc = check_text(url, "address", err);

    if (rc == 0 && strncmp(url, "https://", 8) != 0) {
        rc = sk_err_set(err, SK_ERR_INPUT, "'%.80s' is not https://ADDRESS:PORT", url);
    }
    return rc;
}

static int check_spec(const struct etcd_engine_spec *spec, struct sk_err *err)
{
    bool own = false;
    int rc = check_url(spec->client_url, err);

    if (rc == 0 && (spec->npeers == 0 || spec->npeers > ETCD_ENGINE_MEMBERS_MAX)) {
        rc = sk_err_set(err, SK_ERR_INPUT, "etcd has 1 to %d members, not %zu",
                        ETCD_ENGINE_MEMBERS_MAX, spec->npeers);
    }
    if (rc == 0) {
        rc = check_text(spec->token, "token", err);
    }
    for (size_t i = 0; rc == 0 && i < spec->npeers; i++) {
        rc = check_text(spec->peers[i].name, "name", err);
        if (rc == 0) {
            rc = check_url(spec->peers[i].peer_url, err);
        }
        own = own || (rc == 0 && strcmp(spec->peers[i].name, spec->name) == 0);
    }
    if (rc == 0 && !own) {
        rc = sk_err_set(err, SK_ERR_INPUT, "member '%.80s' of etcd is not among the members",
                        spec->name);
    }
    if (rc == 0 && (!spec->ca_file || !spec->cert_file || !spec->key_file)) {
        rc = sk_err_set(err, SK_ERR_INPUT, "a member of etcd needs a CA, a certificate and a key");
    }
    return rc;
}

static void add_urls(struct etcd_engine *e, const struct etcd_engine_spec *spec)
{
    struct sk_buf all = SK_BUF_INIT;
    const char *own = NULL;

    for (size_t i = 0; i < spec->npeers; i++) {
        sk_buf_printf(&all, "%s%s=%s", i ? "," : "", spec->peers[i].name, spec->peers[i].peer_url);
        if (strcmp(spec->peers[i].name, spec->name) == 0) {
            own = spec->peers[i].peer_url;
        }
    }
    add(e, "--listen-client-urls=", spec->client_url);
    add(e, "--advertise-client-urls=", spec->client_url);
    add(e, "--listen-peer-urls=", own);
    add(e, "--initial-advertise-peer-urls=", own);
    add(e, "--initial-cluster=", all.ptr);
    add(e, "--initial-cluster-token=", spec->token);
    add(e, "--initial-cluster-state=", spec->join ? "existing" : "new");
    sk_buf_release(&all);
}

static void add_certificates(struct etcd_engine *e, const struct etcd_engine_spec *spec)
{
    add(e, "--client-cert-auth", "");
    add(e, "--trusted-ca-file=", spec->ca_file);
    add(e, "--cert-file=", spec->cert_file);
    add(e, "--key-file=", spec->key_file);
    add(e, "--peer-client-cert-auth", "");
    add(e, "--peer-trusted-ca-file=", spec->ca_file);
    add(e, "--peer-cert-file=", spec->cert_file);
    add(e, "--peer-key-file=", spec->key_file);
}

static void add_all(struct etcd_engine *e, const struct etcd_engine_spec *spec)
{
    struct sk_buf data = SK_BUF_INIT;
    int heartbeat_ms;
    int election_ms;

    etcd_engine_timing(spec->rtt_ms, &heartbeat_ms, &election_ms);
    sk_buf_printf(&data, "%s/data", spec->dir);
    add(e, "etcd", "");
    add(e, "--name=", spec->name);
    add(e, "--data-dir=", data.ptr);
    add_urls(e, spec);
    add_certificates(e, spec);
    add_int(e, "--heartbeat-interval=", heartbeat_ms);
    add_int(e, "--election-timeout=", election_ms);
    /* what the store asks of its members: docs/etcd.md */
    add(e, "--max-txn-ops=", "2048");
    add(e, "--max-request-bytes=", "10485760");
    add(e, "--auto-compaction-mode=", "revision");
    add(e, "--auto-compaction-retention=", "20000");
    if (spec->quota_bytes > 0) {
        char text[24];
        (void)snprintf(text, sizeof(text), "%lld", (long long)spec->quota_bytes);
        add(e, "--quota-backend-bytes=", text);
    }
    add(e, "--logger=", "zap");
    add(e, "--log-level=", "warn");
    sk_buf_release(&data);
}

/* --- one that was left behind ---------------------------------------------------------------- */

static void path_of(const struct etcd_engine *e, const char *name, struct sk_buf *ret)
{
    sk_buf_clear(ret);
    sk_buf_printf(ret, "%s/%s", e->dir, name);
}

/* The process of etcd.pid, if it is still our member: a number may have gone to another since. */
static pid_t find_orphan(const struct etcd_engine *e)
{
    struct sk_buf path = SK_BUF_INIT;
    struct sk_buf text = SK_BUF_INIT;
    struct sk_buf line = SK_BUF_INIT;
    pid_t pid = 0;

    path_of(e, "etcd.pid", &path);
    if (sys_file_read(path.ptr, 32, &text, NULL) == 0 && text.len > 0) {
        pid = (pid_t)strtol(text.ptr, NULL, 10);
        sk_buf_clear(&path);
        sk_buf_printf(&path, "/proc/%d/cmdline", (int)pid);
        if (pid <= 1 || sys_file_read(path.ptr, 65536, &line, NULL) < 0 || line.len == 0 ||
            !memmem(line.ptr, line.len, e->argv[2], strlen(e->argv[2]) + 1)) { /* --data-dir=… */
            pid = 0;
        }
    }
    sk_buf_release(&path);
    sk_buf_release(&text);
    sk_buf_release(&line);
    return pid;
}

/* --- the process ----------------------------------------------------------------------------- */

static void on_timer(uv_timer_t *timer);

static void finish_if_closed(struct etcd_engine *e)
{
    if (e->handles > 0) {
        return;
    }
    if (e->on_done) {
        e->on_done(e->done_ctx);
    }
    for (size_t i = 0; i < e->argc; i++) {
        free(e->argv[i]);
    }
    free(e->dir);
    free(e->program);
    free(e);
}

static void on_timer_closed(uv_handle_t *handle)
{
    struct etcd_engine *e = handle->data;
    e->handles--;
    finish_if_closed(e);
}

static void close_timer(struct etcd_engine *e)
{
    if (!uv_is_closing((uv_handle_t *)&e->timer)) {
        uv_close((uv_handle_t *)&e->timer, on_timer_closed);
    }
}

static void on_process_closed(uv_handle_t *handle)
{
    struct etcd_engine *e = handle->data;

    e->open = false;
    e->handles--;
    if (e->stopping) {
        close_timer(e);
        finish_if_closed(e);
    } else {
        (void)uv_timer_start(&e->timer, on_timer, e->pause_ms, 0);
    }
}

static void remove_pid_file(const struct etcd_engine *e)
{
    struct sk_buf path = SK_BUF_INIT;
    path_of(e, "etcd.pid", &path);
    (void)unlink(path.ptr); /* a stale one is checked before it is believed */
    sk_buf_release(&path);
}

static void on_exit_of(uv_process_t *process, int64_t status, int signal)
{
    struct etcd_engine *e = process->data;
    struct sk_err why = {0};
    bool steady = uv_now(e->loop) - e->started_ms >= STEADY_MS;

    e->running = false;
    remove_pid_file(e);
    e->pause_ms = steady || e->pause_ms == 0       ? PAUSE_MS_MIN
                  : e->pause_ms * 2 > PAUSE_MS_MAX ? PAUSE_MS_MAX
                                                   : e->pause_ms * 2;
    if (signal) {
        sk_err_set(&why, SK_ERR_ENGINE, "etcd was killed by signal %d", signal);
    } else {
        sk_err_set(&why, SK_ERR_ENGINE, "etcd ended with %lld: see '%s/etcd.log'",
                   (long long)status, e->dir);
    }
    uv_close((uv_handle_t *)process, on_process_closed);
    e->on_change(e->ctx, 0, &why);
}

static int open_log(const struct etcd_engine *e, struct sk_err *err)
{
    struct sk_buf path = SK_BUF_INIT;
    struct stat st;
    int fd;

    path_of(e, "etcd.log", &path);
    fd = open(path.ptr, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0) {
        (void)sk_err_errno(err, errno, "open '%s'", path.ptr);
    } else if (fstat(fd, &st) < 0 || (st.st_size > LOG_BYTES_MAX && ftruncate(fd, 0) < 0)) {
        (void)sk_err_errno(err, errno, "empty '%s'", path.ptr);
        (void)close(fd); /* nothing was written */
        fd = -1;
    }
    sk_buf_release(&path);
    return fd;
}

static int write_pid(const struct etcd_engine *e, struct sk_err *err)
{
    struct sk_buf path = SK_BUF_INIT;
    char text[16];
    int rc;

    (void)snprintf(text, sizeof(text), "%d\n", e->process.pid);
    path_of(e, "etcd.pid", &path);
    rc = sys_file_write(path.ptr, sk_str(text), 0600, err);
    sk_buf_release(&path);
    return rc;
}

/* Starts it; what goes wrong is an end like any other, and comes again after a pause. */
static int spawn(struct etcd_engine *e, struct sk_err *err)
{
    static char path[] = "PATH=/usr/bin:/bin:/usr/local/bin";
    char *env[] = {path, NULL}; /* ETCD_* of the environment would count as flags */
    int log = open_log(e, err);
    uv_stdio_container_t stdio[3] = {{.flags = UV_IGNORE},
                                     {.flags = UV_INHERIT_FD, .data.fd = log},
                                     {.flags = UV_INHERIT_FD, .data.fd = log}};
    uv_process_options_t options = {.file = e->program,
                                    .args = e->argv,
                                    .env = env,
                                    .stdio = stdio,
                                    .stdio_count = 3,
                                    .exit_cb = on_exit_of};
    int code;

    if (log < 0) {
        return SK_ERR_IO;
    }
    e->process.data = e;
    e->open = true;
    e->handles++;
    e->started_ms = uv_now(e->loop);
    code = uv_spawn(e->loop, &e->process, &options);
    (void)close(log);
    if (code < 0) {
        e->pause_ms = PAUSE_MS_MAX;
        uv_close((uv_handle_t *)&e->process, on_process_closed);
        sk_err_set(err, SK_ERR_ENGINE, "start '%s': %s", e->program, uv_strerror(code));
        (void)sk_err_fix(err, "apt-get install etcd-server");
        return SK_ERR_ENGINE;
    }
    e->running = true;
    /* without its file it would only not be found after a kill of this process */
    return write_pid(e, err);
}

static void start_now(struct etcd_engine *e)
{
    struct sk_err why = {0};
    int rc = spawn(e, &why);

    if (e->running) {
        e->on_change(e->ctx, e->process.pid, rc < 0 ? &why : NULL);
    } else {
        if (!e->open) {
            (void)uv_timer_start(&e->timer, on_timer, PAUSE_MS_MAX, 0);
        }
        e->on_change(e->ctx, 0, &why);
    }
}

/* The one that was left behind has to be gone before: both would want the data. */
static void end_orphan(struct etcd_engine *e)
{
    uint64_t waited = uv_now(e->loop) - e->orphan_since_ms;

    if (find_orphan(e) != e->orphan) {
        e->orphan = 0;
        start_now(e);
        return;
    }
    (void)kill(e->orphan, waited > TERM_MS ? SIGKILL : SIGTERM); /* gone is what is wanted */
    (void)uv_timer_start(&e->timer, on_timer, LOOK_MS, 0);
}

static void on_timer(uv_timer_t *timer)
{
    struct etcd_engine *e = timer->data;

    if (e->stopping) {
        if (e->running) { /* its patience is over */
            (void)uv_process_kill(&e->process, SIGKILL);
        }
    } else if (e->orphan) {
        end_orphan(e);
    } else if (!e->open) {
        start_now(e);
    }
}

/* --- from outside ---------------------------------------------------------------------------- */

int etcd_engine_start(uv_loop_t *loop, const struct etcd_engine_spec *spec,
                      etcd_engine_fn *on_change, void *ctx, struct etcd_engine **ret,
                      struct sk_err *err)
{
    struct etcd_engine *e;
    int rc = check_spec(spec, err);

    if (rc < 0) {
        return rc;
    }
    e = sk_xcalloc(1, sizeof(*e));
    e->loop = loop;
    e->on_change = on_change;
    e->ctx = ctx;
    e->dir = sk_xstrdup(spec->dir);
    e->program = sk_xstrdup(spec->program ? spec->program : "etcd");
    add_all(e, spec);
    e->timer.data = e;
    SK_ASSERT(uv_timer_init(loop, &e->timer) == 0);
    e->handles = 1;
    e->orphan = find_orphan(e);
    e->orphan_since_ms = uv_now(loop);
    (void)uv_timer_start(&e->timer, on_timer, 0, 0); /* on_change never comes in here */
    *ret = e;
    return 0;
}

void etcd_engine_stop(struct etcd_engine *e, void (*done)(void *ctx), void *ctx)
{
    SK_ASSERT(!e->stopping);
    e->stopping = true;
    e->on_done = done;
    e->done_ctx = ctx;
    if (e->running) {
        (void)uv_process_kill(&e->process, SIGTERM); /* one that has just ended is on its way out */
        (void)uv_timer_start(&e->timer, on_timer, TERM_MS, 0);
    } else if (!e->open) {
        close_timer(e);
    }
}

pid_t etcd_engine_pid(const struct etcd_engine *e)
{
    return e->running ? e->process.pid : 0;
}
