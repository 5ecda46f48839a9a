/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <unistd.h>

#include "base/hash.h"
#include "base/log.h"
#include "base/mem.h"
#include "sys/clock.h"
#include "sys/file.h"

struct queued_event {
    struct queued_event *next;
    struct agent_event event;
    char id[AGENT_ID_MAX];
    char hash[AGENT_HASH_MAX];
    char reason[AGENT_REASON_MAX];
    struct agent_desired *desired;
};

void agent_instance_dir(const struct agent *agent, const char *id, char out[AGENT_PATH_MAX])
{
    (void)snprintf(out, AGENT_PATH_MAX, "%.900s/instances/%.64s", agent->dir, id);
}

struct work *agent_work(struct agent *agent, const char *id)
{
    struct work *work;

    HASH_FIND_STR(agent->works, id, work);
    if (!work) {
        work = sk_xcalloc(1, sizeof(*work));
        work->agent = agent;
        (void)snprintf(work->id, sizeof(work->id), "%s", id);
        cgroup_path(&agent->cgroups, id, work->cgroup);
        HASH_ADD_STR(agent->works, id, work);
    }
    return work;
}

/* ---- commands ---- */

static void on_image(void *ctx, const char *hex, const struct sk_err *err)
{
    struct work *work = ctx;
    struct agent_event e = {
        .kind = AGENT_PREPARED, .id = work->id, .ok = !err, .reason = err ? err->msg : NULL};
    agent_post(work->agent, &e);
}

static void prepare(struct work *work)
{
    struct agent *agent = work->agent;
    const struct assignment *a = assign_find(agent->assigned, work->id);
    struct agent_event e = {.kind = AGENT_PREPARED, .id = work->id};

    if (!a) {
        e.reason = "it is no longer assigned";
    } else if (a->refusal[0]) {
        e.reason = a->refusal;
    } else if (a->driver != DRIVER_OCI) {
        e.ok = true;
    } else if (!agent->root) {
        e.reason = "containers need the agent to run as root";
    } else if (agent->network_error[0]) {
        e.reason = agent->network_error;
    } else {
        images_want(agent->images, a->image.ref, a->image.digest, on_image, work);
        return;
    }
    agent_post(agent, &e);
}

static void execute(struct agent *agent, const struct agent_command *c)
{
    struct work *work = agent_work(agent, c->id);

    switch (c->kind) {
    case AGENT_PREPARE:
        prepare(work);
        break;
    case AGENT_START:
        work->run = c->run;
        work->epoch = c->epoch;
        work->lease_until_ms = c->until_ms;
        run_start(work);
        break;
    case AGENT_LEASE:
        lease_extend(work, c->until_ms);
        break;
    case AGENT_ASK:
        lease_ask_add(agent, c);
        break;
    case AGENT_STOP:
        run_stop(work, c->signal, c->grace_ms);
        break;
    case AGENT_CHECK:
        check_start(work);
        break;
    case AGENT_CLEAN:
        run_clean(work);
        break;
    case AGENT_REMOVE:
        run_remove(work);
        break;
    }
}

/* ---- events ---- */

/* Beside the instance, for the next agent: whether traffic may stay on it while that one finds its
 * feet. */
static void mark_health(struct agent *agent, const char *id, bool was)
{
    const struct agent_instance *it = agent_state_find(&agent->state, id);
    bool is = it && it->phase == AGENT_RUNNING && it->healthy == 1;
    char dir[AGENT_PATH_MAX], path[AGENT_PATH_MAX + 16];
    int fd;

    if (is == was) {
        return;
    }
    agent_instance_dir(agent, id, dir);
    (void)snprintf(path, sizeof(path), "%s/healthy", dir);
    if (!is) {
        (void)unlink(path);
        return;
    }
    fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    if (fd >= 0) {
        (void)close(fd);
    }
}

static void step(struct agent *agent, struct agent_event *event)
{
    struct agent_commands commands = {0};
    const struct agent_instance *it = event->id ? agent_state_find(&agent->state, event->id) : NULL;
    bool healthy = it && it->phase == AGENT_RUNNING && it->healthy == 1;

    event->now_ms = sys_now_ms();
    agent_step(&agent->state, event, &commands);
    if (event->id) {
        mark_health(agent, event->id, healthy);
    }
    for (size_t i = 0; i < commands.count; i++) {
        execute(agent, &commands.items[i]);
    }
    lease_asks_send(agent);
    free(commands.items);
}

static void arm_timer(struct agent *agent);

static void pump(struct agent *agent)
{
    if (agent->pumping) {
        return;
    }
    agent->pumping = true;
    while (agent->events) {
        struct queued_event *q = agent->events;
        agent->events = q->next;
        if (!agent->events) {
            agent->events_last = NULL;
        }
        step(agent, &q->event);
        free(q->desired);
        free(q);
    }
    agent->pumping = false;
    arm_timer(agent);
    if (agent->state.stamp != agent->observed) {
        agent->observed = agent->state.stamp;
        peers_observe_soon(agent);
    }
}

void agent_post(struct agent *agent, const struct agent_event *event)
{
    struct queued_event *q = sk_xcalloc(1, sizeof(*q));

    q->event = *event;
    if (event->id) {
        (void)snprintf(q->id, sizeof(q->id), "%s", event->id);
        q->event.id = q->id;
    }
    (void)snprintf(q->hash, sizeof(q->hash), "%s", event->hash ? event->hash : "");
    (void)snprintf(q->reason, sizeof(q->reason), "%s", event->reason ? event->reason : "");
    q->event.hash = q->hash;
    q->event.reason = q->reason;
    if (event->ndesired > 0) {
        q->desired = sk_xmalloc(event->ndesired * sizeof(*q->desired));
        memcpy(q->desired, event->desired, event->ndesired * sizeof(*q->desired));
        q->event.desired = q->desired;
    }
    if (agent->events_last) {
        agent->events_last->next = q;
    } else {
        agent->events = q;
    }
    agent->events_last = q;
    pump(agent);
}

static void on_tick(uv_timer_t *timer)
{
    struct agent_event e = {.kind = AGENT_TICK};
    agent_post(timer->data, &e);
}

static void arm_timer(struct agent *agent)
{
    int64_t at = agent_step_deadline_ms(&agent->state), now = sys_now_ms();

    if (at == INT64_MAX) {
        (void)uv_timer_stop(&agent->timer);
        return;
    }
    uv_update_time(&agent->loop);
    (void)uv_timer_start(&agent->timer, on_tick, at > now ? (uint64_t)(at - now) : 0, 0);
}

/* ---- start and end ---- */

static void find_shim(struct agent *agent)
{
    char self[AGENT_PATH_MAX] = "";
    ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
    char *slash;

    if (agent->config.shim_path) {
        (void)snprintf(agent->shim, sizeof(agent->shim), "%s", agent->config.shim_path);
        return;
    }
    self[n > 0 ? n : 0] = '\0';
    slash = strrchr(self, '/');
    if (slash) {
        static const char *const places[] = {"skerry-shim", "src/shim/skerry-shim",
                                             "../libexec/skerry/skerry-shim"};
        for (size_t i = 0; i < SK_ARRAY_LEN(places); i++) {
            (void)snprintf(agent->shim, sizeof(agent->shim), "%.*s/%s",
                           (int)(slash - self) < 900 ? (int)(slash - self) : 900, self, places[i]);
            if (access(agent->shim, X_OK) == 0) {
                return;
            }
        }
    }
    (void)snprintf(agent->shim, sizeof(agent->shim), "skerry-shim"); /* in PATH */
}

/* Without the cgroup2 mount in sight crun takes the version 1 hierarchies of a hybrid host. */
static int leave_hybrid_cgroup(struct sk_err *err)
{
    if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_SLAVE | MS_REC, NULL) < 0 ||
        umount2("/sys/fs/cgroup/unified", MNT_DETACH) < 0) {
        return sk_err_errno(err, errno, "hide '/sys/fs/cgroup/unified' from the container runtime");
    }
    return 0;
}

static int set_paths(struct agent *agent, struct sk_err *err)
{
    char data[PATH_MAX], run[PATH_MAX + 16];

    if (sys_mkdirs(agent->config.data_dir, 0755, err) < 0) {
        return err->code;
    }
    if (!realpath(agent->config.data_dir, data) || strlen(data) > AGENT_PATH_MAX - 200) {
        return sk_err_errno(err, errno ? errno : ENAMETOOLONG, "use data folder '%s'",
                            agent->config.data_dir);
    }
    (void)snprintf(agent->dir, sizeof(agent->dir), "%.800s/agent", data);
    (void)snprintf(agent->socket_path, sizeof(agent->socket_path), "%.800s/run/agent.sock", data);
    (void)snprintf(run, sizeof(run), "%s/run", data);
    if (sys_mkdirs(agent->dir, 0700, err) < 0 || sys_mkdirs(run, 0755, err) < 0) {
        return err->code;
    }
    return 0;
}

/* One agent a data folder. The descriptor lives as long as the process. The lock is the process's
 * own and not that of the open file: a child between its fork and its exec, which may outlive a
 * killed agent by a moment, does not hold it, so the next agent begins at once. (Such a lock goes
 * when any descriptor of the file is closed: nothing else opens it.) */
static int take_lock(struct agent *agent, struct sk_err *err)
{
    struct flock whole = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    char path[AGENT_PATH_MAX + 16];
    int fd;

    (void)snprintf(path, sizeof(path), "%s/lock", agent->dir);
    fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0) {
        return sk_err_errno(err, errno, "open '%s'", path);
    }
    if (fcntl(fd, F_SETLK, &whole) < 0) {
        (void)close(fd);
        return sk_err_set(err, SK_ERR_CONFLICT, "another agent works in '%s'", agent->dir);
    }
    return 0;
}

static void on_signal(uv_signal_t *handle, int signum)
{
    uv_stop(&((struct agent *)handle->data)->loop);
}

static void take_config(struct agent *agent, const struct agent_config *config)
{
    uint8_t life[16];

    agent->config = *config;
    agent->config.log_bytes_max = config->log_bytes_max ? config->log_bytes_max : 4 << 20;
    agent->config.log_files_max = config->log_files_max ? config->log_files_max : 3;
    agent->config.image_keep_ms = config->image_keep_ms ? config->image_keep_ms : IMAGE_KEEP_MS;
    (void)snprintf(agent->node, sizeof(agent->node), "%s", config->node ? config->node : "");
    (void)snprintf(agent->site, sizeof(agent->site), "%s", config->site ? config->site : "");
    agent->root = geteuid() == 0;
    sys_random(life, sizeof(life));
    sk_hex(life, sizeof(life), agent->ask_from);
}

static int prepare_host(struct agent *agent, struct sk_err *err)
{
    char images[AGENT_PATH_MAX + 16];

    agent->hybrid_cgroup = agent->root && cgroup_is_hybrid();
    if (agent->hybrid_cgroup && leave_hybrid_cgroup(err) < 0) {
        return err->code;
    }
    cgroup_init(&agent->cgroups, agent->dir);
    cgroup_probe(&agent->cgroups);
    if (agent->root && !agent->cgroups.any) {
        sk_log(SK_LOG_WARN, "limits are not enforced", "why=%s",
               "no cgroup hierarchy that the agent can write");
    }
    (void)snprintf(images, sizeof(images), "%s/images", agent->dir);
    return agent->root ? images_new(&agent->loop, images, &agent->images, err) : 0;
}

static int start(struct agent *agent, struct sk_err *err)
{
    if (set_paths(agent, err) < 0 || take_lock(agent, err) < 0 || prepare_host(agent, err) < 0 ||
        peers_listen(agent, err) < 0) {
        return err->code;
    }
    (void)uv_timer_init(&agent->loop, &agent->timer);
    agent->timer.data = agent;
    (void)uv_signal_init(&agent->loop, &agent->sigterm);
    (void)uv_signal_init(&agent->loop, &agent->sigint);
    agent->sigterm.data = agent->sigint.data = agent;
    (void)uv_signal_start(&agent->sigterm, on_signal, SIGTERM);
    (void)uv_signal_start(&agent->sigint, on_signal, SIGINT);
    if (agent->config.prefix && agent->config.prefix[0] &&
        frame_take_prefix(agent, sk_str(agent->config.prefix), err) < 0) {
        return err->code;
    }
    run_adopt_all(agent);
    run_drop_cgroups(agent, false);
    frame_load_kept(agent);
    drill_begin(agent);
    collect_start(agent);
    return 0;
}

int agent_main(const struct agent_config *config, struct sk_err *err)
{
    /* Lives until the process ends: what is under way then (starts, images) goes on without it or
     * is done again by the next agent. */
    static struct agent agent;
    int rc;

    memset(&agent, 0, sizeof(agent));
    (void)signal(SIGPIPE, SIG_IGN);
    rc = uv_loop_init(&agent.loop);
    if (rc < 0) {
        return sk_err_set(err, SK_ERR_INTERNAL, "make the event loop: %s", uv_strerror(rc));
    }
    take_config(&agent, config);
    find_shim(&agent);
    rc = start(&agent, err);
    if (rc < 0) {
        return rc;
    }
    sk_log(SK_LOG_INFO, "agent ready", "socket=%s instances=%zu", agent.socket_path,
           agent.state.count);
    (void)uv_run(&agent.loop, UV_RUN_DEFAULT);
    peers_close_all(&agent);
    run_drop_cgroups(&agent, true);
    (void)unlink(agent.socket_path);
    return 0;
}
