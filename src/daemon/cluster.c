/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/cluster.h"

#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/json.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/version.h"
#include "daemon/frames.h"
#include "daemon/pulse_in.h"
#include "daemon/seat.h"
#include "net/token.h"
#include "sys/clock.h"
#include "sys/file.h"
#include "sys/table.h"

#define PROBE_KEY_BYTES 32

/* Who waits for an answer with this request number: a newcomer's connection, or a node by its name.
 */
struct waiting {
    uint64_t request;
    struct net_peer *joiner; /* NULL: a renewal */
    char node[NET_NAME_SIZE];
    char address[NET_HOST_SIZE];
    UT_hash_handle hh;
};

struct cluster {
    uv_loop_t *loop;
    struct cluster_config cfg; /* its control_dir is ours */
    char control_dir[512];
    struct host *host; /* NULL until the keys are open */
    struct net_server *server;
    struct net_ca *ca;
    struct net_revoked *revoked;
    struct pulse_in *pulse;
    struct waiting *waiting;
    char own_node[NET_NAME_SIZE];
    char probe_key[2 * PROBE_KEY_BYTES + 1];
};

struct host *cluster_host(struct cluster *cluster)
{
    return cluster->host;
}

const struct net_ca *cluster_ca(const struct cluster *cluster)
{
    return cluster->ca;
}

int cluster_set_identity(struct cluster *cluster, const struct net_identity *identity,
                         struct sk_err *err)
{
    return net_server_set_identity(cluster->server, identity, err);
}

/* ---- what control says ---- */

/* An `assign` frame goes out with the key of the witness probes, which no record and no API holds.
 */
static void add_probe_key(const struct cluster *cluster, struct sk_str json, struct sk_buf *out)
{
    SK_ASSERT(json.len >= 2 && json.ptr[json.len - 1] == '}');
    sk_buf_add(out, json.ptr, json.len - 1);
    sk_buf_printf(out, ",\"probe_key\":\"%s\"}", cluster->probe_key);
}

static bool hook_send(void *ctx, struct sk_str node, struct sk_str json)
{
    struct cluster *cluster = ctx;
    struct net_peer *peer = net_server_find(cluster->server, node);
    struct sk_err err = {0};
    int r;

    if (!peer) {
        return false;
    }
    r = net_send(peer, json, &err);
    if (r < 0) {
        sk_log_err(SK_LOG_WARN, "frame not sent", &err);
        /* it missed one: a fresh connection brings the whole state again */
        net_peer_close(peer, &err);
    }
    return r == 0;
}

static bool hook_assign(void *ctx, struct sk_str node, struct sk_str json)
{
    struct sk_buf frame = SK_BUF_INIT;
    bool sent;

    add_probe_key(ctx, json, &frame);
    sent = hook_send(ctx, node, sk_buf_str(&frame));
    sk_buf_release(&frame);
    return sent;
}

/* A node that is to be a control node gets what the others have. Nothing of it is ever logged. */
static void hook_seat(void *ctx, const struct control_command *cmd)
{
    struct cluster *cluster = ctx;
    struct sk_str body = cmd->u.seat.body;
    struct sk_buf frame = SK_BUF_INIT;
    struct sk_str alone[2];
    struct sk_err err = {0};
    bool external;

    SK_ASSERT(body.len >= 2 && body.ptr[body.len - 1] == '}');
    if (cmd->u.seat.ends && vault_is_split(keys_vault(cluster->cfg.keys)) &&
        control_settled(host_control(cluster->host), alone, 2) == 1) {
        return; /* it keeps a share of ours; it is told again, once the key is a file here */
    }
    if (!cmd->u.seat.secrets) {
        (void)hook_send(cluster, cmd->u.seat.node, body);
        return;
    }
    external = memmem(body.ptr, body.len, "\"external\":true", 15) != NULL;
    sk_buf_add(&frame, body.ptr, body.len - 1);
    sk_buf_adds(&frame, ",\"secrets\":");
    if (seat_secrets_write(keys_vault(cluster->cfg.keys), cluster->control_dir,
                           net_ca_cluster(cluster->ca), external, &frame, &err) == 0) {
        sk_buf_addc(&frame, '}');
        (void)hook_send(cluster, cmd->u.seat.node, sk_buf_str(&frame));
    } else {
        sk_log_err(SK_LOG_ERROR, "secrets of the control nodes not sent", &err);
    }
    explicit_bzero(frame.ptr, frame.cap);
    sk_buf_release(&frame);
}

/* A newcomer that came to a standby is told where to go. */
static bool sent_on(const struct cluster *cluster, struct waiting *w, const struct sk_err *err)
{
    const struct control *control = host_control(cluster->host);
    struct sk_str leader = control_leader(control);
    struct sk_buf address = SK_BUF_INIT;
    struct sk_buf frame = SK_BUF_INIT;
    struct sk_jw jw;
    bool sent = false;

    if (err->code == SK_ERR_UNAVAILABLE && !control_leads(control) &&
        !sk_str_is(leader, cluster->own_node) &&
        control_channel_address(control, leader, &address)) {
        sk_jw_init(&jw, &frame);
        sk_jw_obj(&jw);
        sk_jw_kint(&jw, "v", 1);
        sk_jw_kcstr(&jw, "type", "error");
        sk_jw_kcstr(&jw, "code", sk_code_name(err->code));
        sk_jw_kcstr(&jw, "text", err->msg);
        sk_jw_kcstr(&jw, "fix", err->fix);
        sk_jw_kstr(&jw, "leader", sk_buf_str(&address));
        sk_jw_obj_end(&jw);
        sent = net_send(w->joiner, sk_buf_str(&frame), NULL) == 0;
    }
    sk_buf_release(&address);
    sk_buf_release(&frame);
    if (sent) {
        net_peer_close(w->joiner, NULL);
    }
    return sent;
}

static void answer_joiner(const struct cluster *cluster, struct waiting *w,
                          const struct sk_err *err, struct sk_str json)
{
    struct sk_err send = {0};

    if (sent_on(cluster, w, err)) {
        return;
    }
    if (err->code == 0 && net_send(w->joiner, json, &send) == 0) {
        net_peer_close(w->joiner, NULL);
    } else {
        net_peer_close(w->joiner, err->code ? err : &send);
    }
}

static void hook_answer(void *ctx, uint64_t request, const struct sk_err *err, struct sk_str json)
{
    struct cluster *cluster = ctx;
    struct waiting *w = NULL;

    HASH_FIND(hh, cluster->waiting, &request, sizeof(request), w);
    if (!w) {
        return; /* the newcomer hung up before the answer came; its node record stays, and can be
                   removed */
    }
    HASH_DEL(cluster->waiting, w);
    if (w->joiner) {
        answer_joiner(cluster, w, err, json);
    } else if (err->code == 0) {
        (void)hook_send(cluster, sk_str(w->node), json);
    } else if (err->code != SK_ERR_UNAVAILABLE || control_leads(host_control(cluster->host))) {
        /* else the leader was asked too */
        sk_log_err(SK_LOG_WARN, "certificate not renewed", err);
    }
    free(w);
}

static void hook_close(void *ctx, struct sk_str node, const struct sk_err *err)
{
    struct cluster *cluster = ctx;
    (void)net_server_close_node(cluster->server, node, err);
}

static void hook_revoke(void *ctx, struct sk_str serial)
{
    struct cluster *cluster = ctx;
    net_revoked_add_serial(cluster->revoked, serial);
    if (cluster->server) {
        (void)net_server_recheck(cluster->server);
    }
}

static int hook_issue(void *ctx, const struct control_command *cmd, struct sk_buf *ret_frame,
                      struct sk_err *err)
{
    struct cluster *cluster = ctx;
    uint64_t request = cmd->u.issue.request;
    struct waiting *w = NULL;
    struct sk_buf cert = SK_BUF_INIT;
    const char *names[2];
    char node[NET_NAME_SIZE], serial[NET_SERIAL_SIZE];
    struct net_issue issue = {
        .kind = NET_CERT_NODE, .node = node, .names = names, .serial = serial};
    int r;

    HASH_FIND(hh, cluster->waiting, &request, sizeof(request), w);
    (void)snprintf(node, sizeof(node), "%.*s", SK_PRI(cmd->u.issue.node));
    (void)snprintf(serial, sizeof(serial), "%.*s", SK_PRI(cmd->u.issue.serial));
    if (w && w->address[0]) {
        names[issue.nnames++] = w->address;
    }
    issue.wall_ms = sys_wall_ms();
    issue.life_ms = cmd->u.issue.not_after_ms - issue.wall_ms;
    if (cmd->u.issue.renewal &&
        control_is_control(host_control(cluster->host), cmd->u.issue.node)) {
        issue.kind = NET_CERT_CONTROL;
    }
    r = net_ca_issue(cluster->ca, cmd->u.issue.csr, &issue, &cert, NULL, err);
    if (r == 0) {
        struct frame_certificate c = {cmd->u.issue.cluster, cmd->u.issue.node,
                                      cmd->u.issue.site,    cmd->u.issue.prefix,
                                      sk_buf_str(&cert),    sk_str(net_ca_pem(cluster->ca))};
        frame_write_certificate(&c, cmd->u.issue.renewal, ret_frame);
    }
    sk_buf_release(&cert);
    return r;
}

/* ---- what nodes say ---- */

static uint64_t wait_for(struct cluster *cluster, struct net_peer *joiner,
                         const struct net_peer_info *info)
{
    struct waiting *w = sk_xcalloc(1, sizeof(*w));

    w->request = host_next_request(cluster->host);
    w->joiner = joiner;
    (void)snprintf(w->node, sizeof(w->node), "%s", info->cert.node);
    HASH_ADD(hh, cluster->waiting, request, sizeof(w->request), w);
    return w->request;
}

/* What control cannot take yet it would forget, and a node's hello comes once: so the peer is asked
 * to come again, which it does within a second. */
static bool too_early(struct cluster *cluster, struct net_peer *peer)
{
    struct sk_err err = {0};

    if (control_is_loaded(host_control(cluster->host))) {
        return false;
    }
    (void)sk_err_set(&err, SK_ERR_UNAVAILABLE, "the state is still being read; try again");
    net_peer_close(peer, &err);
    return true;
}

/* Nobody but control nodes has business here before the keys are open. */
static void come_again(struct net_peer *peer)
{
    struct sk_err err = {0};

    (void)sk_err_set(&err, SK_ERR_UNAVAILABLE,
                     "the keys wait for the shares of other control nodes; try again");
    net_peer_close(peer, &err);
}

static void on_up(void *ctx, struct net_peer *peer)
{
    struct cluster *cluster = ctx;
    const struct net_peer_info *info = net_peer_info(peer);
    struct control_event ev = {.kind = CONTROL_EV_HELLO};
    bool is_control = keys_peer_up(cluster->cfg.keys, peer);

    if (!cluster->host) {
        if (!is_control) {
            come_again(peer);
        }
        return;
    }
    if (too_early(cluster, peer)) {
        return;
    }
    ev.u.hello.node = sk_str(info->cert.node);
    ev.u.hello.incarnation = sk_str(info->incarnation);
    ev.u.hello.boot = sk_str(info->boot);
    ev.u.hello.address = SK_STR("");
    ev.u.hello.version = sk_str(info->version);
    host_step(cluster->host, &ev);
    pulse_in_up(cluster->pulse, peer);
}

static void on_down(void *ctx, struct net_peer *peer, const struct sk_err *why)
{
    struct cluster *cluster = ctx;
    const struct net_peer_info *info = net_peer_info(peer);
    struct waiting *w, *next;

    keys_peer_down(cluster->cfg.keys, peer);
    pulse_in_down(cluster->pulse, peer);
    HASH_ITER (hh, cluster->waiting, w, next) {
        if (w->joiner == peer) {
            HASH_DEL(cluster->waiting, w);
            free(w);
        }
    }
    if (!info->joining && cluster->host) {
        struct control_event ev = {.kind = CONTROL_EV_BYE};
        sk_log(SK_LOG_INFO, "node disconnected", "node=%s why=\"%s\"", info->cert.node,
               why ? why->msg : "");
        if (net_server_find(cluster->server, sk_str(info->cert.node)) == NULL) {
            ev.u.bye.node = sk_str(info->cert.node);
            host_step(cluster->host, &ev);
        }
    }
}

static void on_renew(struct cluster *cluster, struct net_peer *peer, const struct net_frame *frame)
{
    const struct net_peer_info *info = net_peer_info(peer);
    struct control_event ev = {.kind = CONTROL_EV_RENEW};

    ev.u.renew.csr = sk_map_str(frame->tree, "csr", SK_STR(""));
    ev.u.renew.node = sk_str(info->cert.node);
    ev.u.renew.request = wait_for(cluster, NULL, info);
    host_step(cluster->host, &ev);
}

static void take_frame(struct cluster *cluster, struct net_peer *peer,
                       const struct net_frame *frame, bool datagram)
{
    struct sk_str node = sk_str(net_peer_info(peer)->cert.node);
    struct sk_arena *arena = sk_arena_new();
    struct control_event ev = {0};
    struct sk_err err = {0};
    int r = 0;

    if (keys_on_request(cluster->cfg.keys, peer, frame)) {
        /* done */
    } else if (!cluster->host) {
        /* a control node that waits for us, or we for it: it comes again once the keys are open */
    } else if (sk_str_is(frame->type, "beat")) {
        r = frame_read_beat(frame->tree, node, arena, &ev, &err);
        ev.u.beat.datagram = datagram;
    } else if (sk_str_is(frame->type, "observe")) {
        r = frame_read_observe(frame->tree, node, arena, &ev, &err);
    } else if (sk_str_is(frame->type, "lease")) {
        r = frame_read_lease(frame->tree, node, arena, &ev, &err);
    } else if (sk_str_is(frame->type, "drilled")) {
        r = frame_read_drilled(frame->tree, node, &ev, &err);
    } else if (sk_str_is(frame->type, "control_state")) {
        r = seat_read_state(frame->tree, node, &ev, &err);
    } else if (sk_str_is(frame->type, "renew")) {
        on_renew(cluster, peer, frame);
    } else if (sk_str_is(frame->type, "log")) {
        host_on_log(cluster->host, node, frame->tree);
    } else { /* of a later version: nothing here depends on it */
        bool known = sk_version_knows(frame->type);
        sk_log(known ? SK_LOG_INFO : SK_LOG_DEBUG, known ? "frame known" : "frame not known",
               "node=%.*s type=%.*s", SK_PRI(node), SK_PRI(frame->type));
    }
    if (r < 0) {
        net_peer_close(peer, &err);
    } else if (ev.kind == CONTROL_EV_BEAT || ev.kind == CONTROL_EV_OBSERVE ||
               ev.kind == CONTROL_EV_LEASE || ev.kind == CONTROL_EV_DRILLED ||
               ev.kind == CONTROL_EV_SEAT) {
        host_step(cluster->host, &ev);
    }
    sk_arena_free(arena);
}

static void on_frame(void *ctx, struct net_peer *peer, const struct net_frame *frame)
{
    take_frame(ctx, peer, frame, false);
}

bool cluster_take_pulse(struct cluster *cluster, const uint8_t *bytes, size_t len,
                        uint8_t ret_answer[NET_PULSE_ANSWER_BYTES])
{
    struct sk_buf json = SK_BUF_INIT;
    struct net_peer *peer = pulse_in_take(cluster->pulse, bytes, len, &json, ret_answer);
    struct sk_arena *arena = sk_arena_new();
    struct net_frame frame;
    bool good = peer && net_frame_parse(sk_buf_str(&json), arena, &frame, NULL) == 0 &&
                sk_str_is(frame.type, "beat");

    if (good) {
        take_frame(cluster, peer, &frame, true);
    }
    sk_arena_free(arena);
    sk_buf_release(&json);
    return good;
}

static void on_join(void *ctx, struct net_peer *peer, const struct net_frame *frame)
{
    struct cluster *cluster = ctx;
    struct sk_arena *arena = sk_arena_new();
    struct control_event ev = {.kind = CONTROL_EV_JOIN};
    struct sk_err err = {0};
    struct waiting *w = NULL;

    if (!cluster->host || too_early(cluster, peer)) {
        if (!cluster->host) {
            come_again(peer);
        }
        sk_arena_free(arena);
        return;
    }
    if (frame_read_join(frame->tree, arena, &ev.u.join, &err) < 0) {
        net_peer_close(peer, &err);
    } else {
        ev.u.join.request = wait_for(cluster, peer, net_peer_info(peer));
        HASH_FIND(hh, cluster->waiting, &ev.u.join.request, sizeof(ev.u.join.request), w);
        (void)snprintf(w->address, sizeof(w->address), "%.*s", SK_PRI(ev.u.join.address));
        host_step(cluster->host, &ev);
    }
    sk_arena_free(arena);
}

static void on_refused(void *ctx, const char *address, const struct sk_err *why)
{
    (void)ctx;
    sk_log(SK_LOG_WARN, "peer refused", "address=%s code=%s error=\"%s\"%s%s%s", address,
           sk_code_name(why->code), why->msg, why->fix[0] ? " fix=\"" : "", why->fix,
           why->fix[0] ? "\"" : "");
}

/* ---- life ---- */

static int load_probe_key(struct cluster *cluster, struct sk_err *err)
{
    struct sk_buf buf = SK_BUF_INIT;
    uint8_t key[PROBE_KEY_BYTES];
    int r = vault_get(keys_vault(cluster->cfg.keys), VAULT_PROBE_KEY, &buf, err);

    if (r == 0 && !sk_unhex(sk_buf_str(&buf), key, sizeof(key))) {
        r = sk_err_set(err, SK_ERR_CORRUPT, "the sealed '" VAULT_PROBE_KEY "' is no key");
    }
    if (r == 0) {
        sk_hex(key, sizeof(key), cluster->probe_key);
    }
    explicit_bzero(key, sizeof(key));
    seal_wipe(&buf);
    return r;
}

static int load_ca(struct cluster *cluster, struct sk_err *err)
{
    struct sk_buf key = SK_BUF_INIT, pem = SK_BUF_INIT;
    char path[640];
    int r;

    (void)snprintf(path, sizeof(path), "%s/ca.pem", cluster->control_dir);
    r = vault_get(keys_vault(cluster->cfg.keys), VAULT_CA_KEY, &key, err);
    r = r < 0 ? r : sys_file_read(path, NET_PEM_BYTES_MAX, &pem, err);
    if (r == 0) {
        r = net_ca_read(sk_buf_str(&key), sk_buf_str(&pem), &cluster->ca, err);
        if (r < 0) {
            (void)sk_err_wrap(err, "'%s'", cluster->control_dir);
        }
    }
    seal_wipe(&key);
    sk_buf_release(&pem);
    return r;
}

static int start_host(struct cluster *cluster, struct sk_err *err)
{
    const struct cluster_config *config = &cluster->cfg;
    struct host_hooks hooks = {hook_send,  hook_assign, hook_answer,    hook_close, hook_revoke,
                               hook_issue, hook_seat,   config->failed, cluster};
    struct control_config cfg = {.node = sk_str(config->config->node),
                                 .ingress_port = config->config->ingress_port,
                                 .channel_port = config->config->channel_port};

    sys_random(&cfg.seed, sizeof(cfg.seed));
    sys_random(cfg.secret, sizeof(cfg.secret));
    if (host_new(cluster->loop, cluster->control_dir, &cfg, &hooks, &cluster->host, err) < 0) {
        return err ? err->code : SK_ERR_INTERNAL;
    }
    host_set_keys(cluster->host, config->keys);
    return 0;
}

static int listen_channel(struct cluster *cluster, uv_loop_t *loop,
                          const struct cluster_config *config, struct sk_err *err)
{
    struct net_callbacks callbacks = {cluster, on_up, on_frame, on_join, NULL, on_down, on_refused};
    struct net_channel_cfg cfg = {
        .identity = config->identity,
        .revoked = config->revoked,
        .incarnation = config->config->incarnation,
        .boot = config->boot,
        .version = sk_version(),
    };
    char address[NET_ADDRESS_SIZE];

    (void)snprintf(address, sizeof(address), "%s:%u", config->config->listen,
                   config->config->channel_port);
    return net_server_new(loop, &cfg, address, &callbacks, &cluster->server, err);
}

int cluster_open(struct cluster *cluster, struct sk_err *err)
{
    struct sk_err again = {0};

    SK_ASSERT(!cluster->host && keys_are_open(cluster->cfg.keys));
    if (load_ca(cluster, err) < 0 || load_probe_key(cluster, err) < 0 ||
        start_host(cluster, err) < 0) {
        return err ? err->code : SK_ERR_INTERNAL;
    }
    (void)sk_err_set(&again, SK_ERR_UNAVAILABLE, "the keys have just opened; try again");
    keys_close_peers(cluster->cfg.keys, &again);
    return 0;
}

int cluster_new(uv_loop_t *loop, const struct cluster_config *config, struct cluster **ret,
                struct sk_err *err)
{
    struct cluster *cluster = sk_xcalloc(1, sizeof(*cluster));

    cluster->loop = loop;
    cluster->cfg = *config;
    (void)snprintf(cluster->control_dir, sizeof(cluster->control_dir), "%s", config->control_dir);
    cluster->cfg.control_dir = cluster->control_dir;
    cluster->cfg.identity = NULL; /* good during this call alone */
    cluster->cfg.boot = NULL;
    cluster->revoked = config->revoked;
    cluster->pulse = pulse_in_new(config->config->probe_port);
    (void)snprintf(cluster->own_node, sizeof(cluster->own_node), "%s", config->config->node);
    if ((keys_are_open(config->keys) && cluster_open(cluster, err) < 0) ||
        listen_channel(cluster, loop, config, err) < 0) {
        cluster_free(cluster);
        return err ? err->code : SK_ERR_INTERNAL;
    }
    *ret = cluster;
    return 0;
}

void cluster_free(struct cluster *cluster)
{
    struct waiting *w, *next;

    if (!cluster) {
        return;
    }
    host_free(cluster->host); /* its last jobs may still answer newcomers: before the server goes */
    net_server_free(cluster->server);
    pulse_in_free(cluster->pulse);
    HASH_ITER (hh, cluster->waiting, w, next) {
        HASH_DEL(cluster->waiting, w);
        free(w);
    }
    net_ca_free(cluster->ca);
    explicit_bzero(cluster->probe_key, sizeof(cluster->probe_key));
    free(cluster);
}
