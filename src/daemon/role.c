/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/role.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/json.h"
#include "base/log.h"
#include "base/mem.h"
#include "daemon/seat.h"
#include "daemon/state.h"
#include "store/etcd_admin.h"
#include "store/etcd_engine.h"
#include "sys/file.h"
#include "sys/queue.h"

#define LOOK_MS 300
#define CERTIFICATE_MS 60000
#define LOOK_DEADLINE_MS 2000
#define SPEC_BYTES_MAX 65536
#define RECORD "/skerry/v1/control"

struct role {
    uv_loop_t *loop;
    struct role_config config;
    char dir[450]; /* DIR/control */
    char peer_url[300], client_url[300];
    char id[SEAT_ID_SIZE]; /* of the operation that was answered last; "": none */
    int64_t rev;           /* of the newest record that anything was taken from */
    enum control_stage stage;
    char error[256];
    struct seat_spec spec; /* what was granted, if has_spec */
    bool has_spec;
    bool serves; /* the control half runs over etcd */
    bool leaving, ending;
    struct etcd_engine *engine;
    struct sys_worker *worker;
    bool looking;
    uv_timer_t timer;
    uint64_t certificate_at;
};

/* One look at etcd, on the worker. */
struct look {
    struct sys_job job;
    struct role *role;
    struct state_form form;
    char dir[450], node[64], id[SEAT_ID_SIZE];
    bool external, wants_record;
    bool alive; /* the member knows a leader */
    bool seated;
    struct sk_err err;
};

static void tick_now(struct role *role, uint64_t after_ms);
static void end(struct role *role);

/* ---- saying ---- */

void role_tell(struct role *role)
{
    struct seat_state state = {.id = sk_str(role->id),
                               .stage = role->stage,
                               .peer_url = sk_str(role->peer_url),
                               .client_url = sk_str(role->client_url),
                               .error = sk_str(role->error),
                               .port = role->config.config->channel_port};
    struct sk_buf frame = SK_BUF_INIT;

    seat_write_state(&state, &frame);
    role->config.say(role->config.ctx, sk_buf_str(&frame));
    sk_buf_release(&frame);
}

static void now_at(struct role *role, enum control_stage stage, const struct sk_err *why)
{
    char before[sizeof(role->error)];
    bool same = role->stage == stage;

    memcpy(before, role->error, sizeof(before));
    role->stage = stage;
    (void)snprintf(role->error, sizeof(role->error), "%.160s%s%.80s", why ? why->msg : "",
                   why && why->fix[0] ? ": " : "", why ? why->fix : "");
    if (!same || strcmp(before, role->error) != 0) {
        sk_log(SK_LOG_INFO, "control node", "stage=%s id=%s%s%s", control_stage_name(stage),
               role->id, why ? " error=" : "", why ? why->msg : "");
    }
    role_tell(role);
}

/* ---- the kept grant ---- */

static void spec_path(const struct role *role, char *out, size_t size)
{
    (void)snprintf(out, size, "%s/etcd/engine.json", role->dir);
}

static int spec_save(struct role *role, struct sk_err *err)
{
    struct sk_buf text = SK_BUF_INIT;
    char path[600];
    int r;

    seat_write_spec(&role->spec, &text);
    (void)snprintf(path, sizeof(path), "%s/etcd", role->dir);
    r = sys_mkdirs(path, 0700, err);
    spec_path(role, path, sizeof(path));
    r = r < 0 ? r : sys_file_write(path, sk_buf_str(&text), 0600, err);
    sk_buf_release(&text);
    return r;
}

/* 0 and has_spec false where there is none. */
static int spec_load(struct role *role, struct sk_err *err)
{
    struct sk_buf text = SK_BUF_INIT;
    struct sk_arena *arena = sk_arena_new();
    const struct sk_node *root = NULL;
    struct sk_err why = {0};
    char path[600];
    int r;

    spec_path(role, path, sizeof(path));
    r = sys_file_read(path, SPEC_BYTES_MAX, &text, &why);
    if (r == 0) {
        r = sk_json_read(arena, path, sk_buf_str(&text), NULL, &root, &why);
        r = r < 0 ? r : seat_read_grant(root, &role->spec, &why);
        role->has_spec = r == 0;
    } else if (r == SK_ERR_NOT_FOUND) {
        r = 0;
    }
    if (r < 0) {
        r = sk_err_set(err, SK_ERR_CORRUPT, "'%s': %s", path, why.msg);
    }
    sk_arena_free(arena);
    sk_buf_release(&text);
    return r;
}

/* Where the state is: its own member first. */
static void form_make(const struct role *role, struct state_form *ret)
{
    const struct seat_spec *spec = &role->spec;
    const char *own = role->config.config->node;

    memset(ret, 0, sizeof(*ret));
    ret->etcd = true;
    for (size_t i = 0; i < spec->nendpoints; i++) {
        (void)snprintf(ret->endpoints[ret->nendpoints++], STATE_URL_SIZE, "%s", spec->endpoints[i]);
    }
    for (int first = 1; first >= 0 && spec->nendpoints == 0; first--) {
        for (size_t i = 0; i < spec->npeers; i++) {
            if ((strcmp(spec->peers[i].name, own) == 0) == (first == 1)) {
                (void)snprintf(ret->endpoints[ret->nendpoints++], STATE_URL_SIZE, "%s",
                               spec->peers[i].client_url);
            }
        }
    }
    (void)snprintf(ret->root, sizeof(ret->root), "/skerry");
    (void)snprintf(ret->ca, sizeof(ret->ca), "etcd/ca.pem");
    (void)snprintf(ret->cert, sizeof(ret->cert), "etcd/member.pem");
    (void)snprintf(ret->key, sizeof(ret->key), "etcd/member.key");
}

/* ---- the member of etcd ---- */

static bool etcd_found(void)
{
    static const char *const places[] = {"/usr/bin/etcd", "/bin/etcd", "/usr/local/bin/etcd"};

    for (size_t i = 0; i < SK_ARRAY_LEN(places); i++) {
        if (access(places[i], X_OK) == 0) {
            return true;
        }
    }
    return false;
}

static void on_engine(void *ctx, pid_t pid, const struct sk_err *why)
{
    struct role *role = ctx;

    if (role->leaving || role->ending) {
        return; /* it ends because it is to */
    }
    if (why) {
        sk_log_err(SK_LOG_WARN, "member of etcd", why);
    } else {
        sk_log(SK_LOG_INFO, "member of etcd", "pid=%d", (int)pid);
    }
    if (why && role->stage == CONTROL_STAGE_GRANTED) {
        now_at(role, CONTROL_STAGE_GRANTED, why);
    }
}

static int engine_start(struct role *role, struct sk_err *err)
{
    struct etcd_engine_peer peers[CONTROL_MEMBERS_MAX];
    char dir[500], ca[560], cert[560], key[560];
    struct etcd_engine_spec spec = {.dir = dir,
                                    .name = role->config.config->node,
                                    .client_url = role->client_url,
                                    .peers = peers,
                                    .npeers = role->spec.npeers,
                                    .token = role->spec.token,
                                    .join = role->spec.join,
                                    .ca_file = ca,
                                    .cert_file = cert,
                                    .key_file = key,
                                    .quota_bytes = role->spec.quota_bytes,
                                    .rtt_ms = role->spec.rtt_ms};

    if (role->spec.external || role->engine) {
        return 0;
    }
    for (size_t i = 0; i < role->spec.npeers; i++) {
        peers[i] =
            (struct etcd_engine_peer){role->spec.peers[i].name, role->spec.peers[i].peer_url};
    }
    (void)snprintf(dir, sizeof(dir), "%s/etcd", role->dir);
    (void)snprintf(ca, sizeof(ca), "%s/ca.pem", dir);
    (void)snprintf(cert, sizeof(cert), "%s/member.pem", dir);
    (void)snprintf(key, sizeof(key), "%s/member.key", dir);
    return etcd_engine_start(role->loop, &spec, on_engine, role, &role->engine, err);
}

static void renew_certificate(struct role *role)
{
    struct sk_err err = {0};

    if (role->spec.external || uv_now(role->loop) < role->certificate_at) {
        return;
    }
    role->certificate_at = uv_now(role->loop) + CERTIFICATE_MS;
    if (seat_certificate(role->config.vault(role->config.ctx), role->dir, role->config.config,
                         &err) < 0) {
        sk_log_err(SK_LOG_ERROR, "certificate of etcd not renewed", &err);
    }
}

/* ---- looking ---- */

/* The record says that the state is here, and that this node is one of those that have it. */
static bool names_us(const struct look *look, struct sk_str text)
{
    struct sk_arena *arena = sk_arena_new();
    const struct sk_node *root = NULL;
    const struct sk_node *list = NULL;
    bool found = false;

    if (sk_json_read(arena, "control", text, NULL, &root, NULL) == 0 && root->kind == SK_MAP &&
        sk_str_is(sk_map_str(root, "store", SK_STR("")), "etcd") &&
        sk_map_str(root, "moved_to", SK_STR("")).len == 0) {
        list = sk_map_seq(root, "members");
    }
    for (uint32_t i = 0; list && i < list->count; i++) {
        found = found || (list->u.items[i].kind == SK_MAP &&
                          sk_str_is(sk_map_str(&list->u.items[i], "node", SK_STR("")), look->node));
    }
    sk_arena_free(arena);
    return found;
}

static void look_run(struct sys_job *job)
{
    struct look *look = (struct look *)job;
    char paths[3][2 * STATE_PATH_SIZE];
    const char *urls[STORE_ETCD_ENDPOINTS_MAX];
    struct store_etcd_admin *admin = NULL;
    struct store_etcd_status status;
    struct store_record record;
    struct store_etcd options;
    struct store *store = NULL;
    struct sk_arena *arena;

    state_form_options(look->dir, &look->form, paths, urls, &options);
    options.deadline_ms = LOOK_DEADLINE_MS;
    look->alive = look->external;
    if (!look->external && store_etcd_admin_new(&options, &admin, &look->err) == 0 &&
        store_etcd_status(admin, 0, &status, &look->err) == 0) {
        look->alive = status.leader[0] != '\0';
    }
    store_etcd_admin_free(admin);
    if (!look->alive || !look->wants_record) {
        return;
    }
    arena = sk_arena_new();
    if (state_form_open(look->dir, &look->form, LOOK_DEADLINE_MS, &store, &look->err) == 0 &&
        store_get(store, SK_STR(RECORD), arena, &record, &look->err) == 0) {
        look->seated = names_us(look, record.value);
    }
    store_close(store);
    sk_arena_free(arena);
}

/* It is one of those that have the state: from now on it serves, and does so at each start. */
static void begin_serving(struct role *role, const struct state_form *form)
{
    struct sk_err err = {0};

    if (state_form_write(role->dir, form, &err) < 0 ||
        role->config.set_control(role->config.ctx, true, &err) < 0 ||
        role->config.start_control(role->config.ctx, &err) < 0) {
        sk_log_err(SK_LOG_ERROR, "control half not started", &err);
        now_at(role, role->stage, &err);
        return;
    }
    role->serves = true;
    now_at(role, CONTROL_STAGE_SERVING, NULL);
}

/* The node whose state it was: its host went over to etcd by itself. */
static bool moved_here(struct role *role)
{
    struct state_form form;
    return state_form_read(role->dir, &form, NULL) == 0 && form.etcd;
}

static void look_done(struct sys_job *job)
{
    struct look *look = (struct look *)job;
    struct role *role = look->role;
    bool ours = role->has_spec && !role->leaving && strcmp(look->id, role->spec.id) == 0;

    role->looking = false;
    if (ours && !role->serves) {
        bool is_control = role->config.config->is_control;
        if (look->alive && role->stage < CONTROL_STAGE_RUNNING) {
            now_at(role, CONTROL_STAGE_RUNNING, NULL);
        }
        if (is_control && moved_here(role)) {
            role->serves = true;
            now_at(role, CONTROL_STAGE_SERVING, NULL);
        } else if (!is_control && look->seated) {
            begin_serving(role, &look->form);
        }
    }
    free(look);
    if (!role->ending) {
        tick_now(role, LOOK_MS);
    }
}

static void on_timer(uv_timer_t *timer)
{
    struct role *role = timer->data;
    struct look *look;

    if (!role->has_spec || role->leaving || role->looking) {
        return;
    }
    renew_certificate(role);
    if (role->serves) {
        tick_now(role, CERTIFICATE_MS);
        return;
    }
    look = sk_xcalloc(1, sizeof(*look));
    look->job = (struct sys_job){look_run, look_done};
    look->role = role;
    form_make(role, &look->form);
    (void)snprintf(look->dir, sizeof(look->dir), "%s", role->dir);
    (void)snprintf(look->node, sizeof(look->node), "%s", role->config.config->node);
    (void)snprintf(look->id, sizeof(look->id), "%s", role->spec.id);
    look->external = role->spec.external;
    look->wants_record = !role->config.config->is_control;
    role->looking = true;
    SK_ASSERT(sys_worker_submit(role->worker, &look->job));
}

static void tick_now(struct role *role, uint64_t after_ms)
{
    (void)uv_timer_start(&role->timer, on_timer, after_ms, 0);
}

/* ---- leaving ---- */

static void wiped(struct role *role)
{
    struct state_form form;
    struct sk_err err = {0};
    bool stays = role->config.config->is_control;
    char path[600];

    if (stays && (state_form_read(role->dir, &form, &err) < 0 || form.etcd)) {
        stays = false;
    }
    /* the grant first, but not before its etcd has ended: the next start looks for what it names */
    spec_path(role, path, sizeof(path));
    if (sys_file_remove(path, &err) < 0 || seat_wipe(role->dir, stays, &err) < 0) {
        sk_log_err(SK_LOG_ERROR, "what a control node had is not removed", &err);
        now_at(role, role->stage, &err);
        role->leaving = false; /* the next word tries again */
        return;
    }
    role->leaving = role->has_spec = role->serves = false;
    role->certificate_at = 0;
    now_at(role, CONTROL_STAGE_NONE, NULL);
}

static void on_engine_done(void *ctx)
{
    struct role *role = ctx;

    role->engine = NULL;
    wiped(role);
    if (role->ending) {
        end(role);
    }
}

/* First what makes it one at the next start, then the control half, then its member of etcd, and
 * its files last: cut off anywhere, the next word goes on. */
static void leave(struct role *role)
{
    bool was_control = role->config.config->is_control;
    struct sk_err err = {0};

    if (role->leaving) {
        return;
    }
    if (was_control && moved_here(role)) {
        if (role->config.set_control(role->config.ctx, false, &err) < 0) {
            sk_log_err(SK_LOG_ERROR, "control half not ended", &err);
            return;
        }
        role->config.stop_control(role->config.ctx);
    }
    role->leaving = true;
    if (role->engine) {
        etcd_engine_stop(role->engine, on_engine_done, role);
    } else {
        wiped(role);
    }
}

/* ---- what control says ---- */

static void take_prepare(struct role *role, const struct seat_spec *said)
{
    struct sk_err err = {0};

    if (role->has_spec && !role->serves && strcmp(role->spec.id, said->id) != 0) {
        leave(role); /* of an operation that came to nothing; the word comes again */
        return;
    }
    if (role->serves || role->leaving || (role->has_spec && role->stage > CONTROL_STAGE_READY)) {
        role_tell(role);
        return;
    }
    (void)snprintf(role->id, sizeof(role->id), "%s", said->id);
    if (!said->external && !etcd_found()) {
        (void)sk_err_set(&err, SK_ERR_ENGINE, "etcd is not installed");
        (void)sk_err_fix(&err, "apt-get install etcd-server");
    }
    now_at(role, CONTROL_STAGE_READY, err.code ? &err : NULL);
}

static void take_grant(struct role *role, const struct net_frame *frame)
{
    struct seat_spec spec;
    struct sk_err err = {0};

    if (seat_read_grant(frame->tree, &spec, &err) < 0) {
        sk_log_err(SK_LOG_ERROR, "grant refused", &err);
        return;
    }
    if (role->leaving || strcmp(role->id, spec.id) != 0) {
        return; /* it was not prepared for: the word for that comes first */
    }
    if (role->has_spec) {
        role_tell(role);
        return;
    }
    if (seat_secrets_take(role->dir, frame->tree, spec.external, &err) == 0 &&
        (spec.external || seat_certificate(role->config.vault(role->config.ctx), role->dir,
                                           role->config.config, &err) == 0)) {
        role->spec = spec;
        if (spec_save(role, &err) == 0 && engine_start(role, &err) == 0) {
            role->has_spec = true;
            now_at(role, CONTROL_STAGE_GRANTED, NULL);
            tick_now(role, LOOK_MS);
            return;
        }
    }
    sk_log_err(SK_LOG_ERROR, "grant not kept", &err);
    now_at(role, CONTROL_STAGE_READY, &err);
}

void role_frame(struct role *role, const struct net_frame *frame)
{
    struct seat_spec said;
    struct sk_err err = {0};

    if (seat_read_plain(frame->tree, &said, &err) < 0) {
        sk_log_err(SK_LOG_ERROR, "control frame refused", &err);
        return;
    }
    if (said.rev < role->rev) {
        return; /* of a leader that was deposed */
    }
    role->rev = said.rev;
    if (sk_str_is(frame->type, "control_prepare")) {
        take_prepare(role, &said);
    } else if (sk_str_is(frame->type, "control_grant")) {
        take_grant(role, frame);
    } else if (sk_str_is(frame->type, "control_leave")) {
        leave(role);
    }
}

/* ---- life ---- */

static void urls_make(struct role *role)
{
    const struct daemon_config *c = role->config.config;
    bool v6 = strchr(c->address, ':') != NULL;

    (void)snprintf(role->peer_url, sizeof(role->peer_url), "https://%s%s%s:%u", v6 ? "[" : "",
                   c->address, v6 ? "]" : "", c->etcd_peer_port);
    (void)snprintf(role->client_url, sizeof(role->client_url), "https://%s%s%s:%u", v6 ? "[" : "",
                   c->address, v6 ? "]" : "", c->etcd_client_port);
}

/* What the last life left: a member that is to run, a control half that runs, or remains. */
static int resume(struct role *role, struct sk_err *err)
{
    const struct daemon_config *c = role->config.config;

    if (spec_load(role, err) < 0) {
        return err->code;
    }
    if (!role->has_spec && access(role->dir, F_OK) == 0 && !(c->is_control && moved_here(role))) {
        return seat_wipe(role->dir, c->is_control,
                         err); /* remains of a grant that came to its end */
    }
    if (!role->has_spec) {
        return 0;
    }
    (void)snprintf(role->id, sizeof(role->id), "%s", role->spec.id);
    role->rev = role->spec.rev;
    role->stage = CONTROL_STAGE_GRANTED;
    renew_certificate(role);
    if (engine_start(role, err) < 0) {
        return err->code;
    }
    if (c->is_control && moved_here(role)) {
        role->serves = true;
        role->stage = CONTROL_STAGE_SERVING;
    }
    tick_now(role, LOOK_MS);
    return 0;
}

int role_new(uv_loop_t *loop, const struct role_config *config, struct role **ret,
             struct sk_err *err)
{
    struct role *role = sk_xcalloc(1, sizeof(*role));

    role->loop = loop;
    role->config = *config;
    (void)snprintf(role->dir, sizeof(role->dir), "%s/control", config->config->dir);
    urls_make(role);
    (void)uv_timer_init(loop, &role->timer);
    role->timer.data = role;
    role->worker = sys_worker_new(loop, "role", 4);
    if (resume(role, err) < 0) {
        role_free(role);
        return err ? err->code : SK_ERR_INTERNAL;
    }
    *ret = role;
    return 0;
}

static void on_timer_closed(uv_handle_t *handle)
{
    free(handle->data);
}

static void end(struct role *role)
{
    uv_close((uv_handle_t *)&role->timer, on_timer_closed);
}

static void on_engine_ended(void *ctx)
{
    end(ctx);
}

void role_free(struct role *role)
{
    if (!role) {
        return;
    }
    role->ending = true;
    sys_worker_free(role->worker);
    (void)uv_timer_stop(&role->timer);
    if (role->engine && !role->leaving) {
        etcd_engine_stop(role->engine, on_engine_ended, role);
    } else if (!role->engine) {
        end(role);
    } /* else on_engine_done() ends it */
}
