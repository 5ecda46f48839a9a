/* SPDX-License-Identifier: Apache-2.0 */
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#include "base/log.h"
#include "base/mem.h"
#include "daemon/backups.h"
#include "daemon/cluster.h"
#include "daemon/daemon.h"
#include "daemon/doors.h"
#include "daemon/forward.h"
#include "daemon/member.h"
#include "daemon/role.h"
#include "sys/clock.h"

/* skerryd: the unprivileged half. One loop thread; what it is made of is in its parts. */
struct netd {
    uv_loop_t loop;
    uv_signal_t on_term, on_int;
    struct net_revoked *revoked;
    struct keys *keys; /* control nodes only, as are cluster and doors */
    struct cluster *cluster;
    struct doors *doors;
    struct member *member;
    struct role *role;
    struct backups *backups;
    struct daemon_config config; /* whether this is a control node may change */
    char boot[64];
    struct sk_err failed;
    bool stopping;
};

/* Their threads wait for answers of the loop, which still runs while they end. */
static void close_doors(struct netd *netd)
{
    struct doors *doors = netd->doors;

    netd->doors = NULL;
    if (netd->cluster && cluster_host(netd->cluster)) {
        host_stop_calls(cluster_host(netd->cluster));
    }
    doors_close(doors);
}

static void stop_control(void *ctx)
{
    struct netd *netd = ctx;

    backups_free(netd->backups);
    netd->backups = NULL;
    close_doors(netd);
    cluster_free(netd->cluster);
    netd->cluster = NULL;
    keys_free(netd->keys);
    netd->keys = NULL;
}

static void stop(struct netd *netd)
{
    if (netd->stopping) {
        return;
    }
    netd->stopping = true;
    backups_free(netd->backups);
    netd->backups = NULL;
    close_doors(netd);
    role_free(netd->role);
    netd->role = NULL;
    member_free(netd->member);
    netd->member = NULL;
    cluster_free(netd->cluster);
    netd->cluster = NULL;
    keys_free(netd->keys);
    netd->keys = NULL;
    /* Not closed yet: a second signal (of the supervisor, beside that of its group) would kill.
     * They hold the loop no longer, which ends with all that was freed above. */
    uv_unref((uv_handle_t *)&netd->on_term);
    uv_unref((uv_handle_t *)&netd->on_int);
}

static void on_signal(uv_signal_t *handle, int number)
{
    (void)number;
    stop(handle->data);
}

static void on_failed(void *ctx, const struct sk_err *err)
{
    struct netd *netd = ctx;

    if (netd->failed.code == 0) {
        netd->failed = *err;
        (void)raise(SIGTERM); /* ends by the usual way, once this callback is over */
    }
}

static void on_renewed(void *ctx, const struct net_identity *identity)
{
    struct netd *netd = ctx;
    struct sk_err err = {0};

    if (netd->cluster && cluster_set_identity(netd->cluster, identity, &err) < 0) {
        sk_log_err(SK_LOG_ERROR, "channel keeps its old certificate", &err);
    }
    if (netd->doors && doors_renew(netd->doors, &err) < 0) {
        on_failed(netd, &err); /* the supervisor starts this half again, with a fresh door */
    }
}

static int open_doors(struct netd *netd, struct sk_err *err)
{
    struct host *host = cluster_host(netd->cluster);
    char token[PEER_TOKEN_SIZE] = "";
    struct sk_err why = {0};
    int r;

    /* where others decide too they have the key, and one of our own would be no use */
    if (peer_token_load(keys_vault(netd->keys), !host_form(host)->etcd, token, &why) < 0) {
        sk_log_err(SK_LOG_WARN, "calls are not passed on to the leader", &why);
    }
    r = doors_open(&netd->config, cluster_ca(netd->cluster), host_calls(host), token, &netd->doors,
                   err);
    explicit_bzero(token, sizeof(token));
    return r;
}

static void on_keys_opened(void *ctx)
{
    struct netd *netd = ctx;
    struct sk_err err = {0};

    if (cluster_open(netd->cluster, &err) < 0 || open_doors(netd, &err) < 0) {
        on_failed(netd, &err);
    }
}

static void on_keys_send(void *ctx, const char *node, struct sk_str frame)
{
    struct netd *netd = ctx;

    if (netd->member) {
        member_send(netd->member, node, frame);
    }
}

static size_t on_keys_members(void *ctx, struct sk_str ret[KEYS_MEMBERS_MAX])
{
    struct netd *netd = ctx;
    struct host *host = netd->cluster ? cluster_host(netd->cluster) : NULL;

    return host ? control_settled(host_control(host), ret, KEYS_MEMBERS_MAX) : 0;
}

static void on_control_frame(void *ctx, struct net_peer *peer, const struct net_frame *frame)
{
    struct netd *netd = ctx;

    if (netd->keys) {
        keys_on_frame(netd->keys, peer, frame);
    }
}

static bool on_pulse(void *ctx, const uint8_t *bytes, size_t len,
                     uint8_t ret[NET_PULSE_ANSWER_BYTES])
{
    struct netd *netd = ctx;

    return netd->cluster && cluster_take_pulse(netd->cluster, bytes, len, ret);
}

static int start_control_as(struct netd *netd, const struct net_identity *identity,
                            struct sk_err *err)
{
    char dir[512];
    struct keys_config keys = {.dir = dir,
                               .cluster = identity->info.cluster,
                               .node = netd->config.node,
                               .members = on_keys_members,
                               .opened = on_keys_opened,
                               .send = on_keys_send,
                               .ctx = netd};
    struct cluster_config cfg = {.config = &netd->config,
                                 .identity = identity,
                                 .revoked = netd->revoked,
                                 .control_dir = dir,
                                 .boot = netd->boot,
                                 .failed = on_failed,
                                 .ctx = netd};

    (void)snprintf(dir, sizeof(dir), "%s/control", netd->config.dir);
    if (keys_new(&netd->loop, &keys, &netd->keys, err) < 0) {
        return err ? err->code : SK_ERR_INTERNAL;
    }
    cfg.keys = netd->keys;
    if (cluster_new(&netd->loop, &cfg, &netd->cluster, err) < 0) {
        return err ? err->code : SK_ERR_INTERNAL;
    }
    netd->backups = backups_new(&netd->loop, netd->config.dir);
    return keys_are_open(netd->keys) ? open_doors(netd, err) : 0;
}

static int load_identity(const struct netd *netd, struct net_identity *ret, struct sk_err *err)
{
    char dir[512];

    (void)snprintf(dir, sizeof(dir), "%s/identity", netd->config.dir);
    return net_identity_load(dir, ret, err);
}

/* ---- the role may change while this runs ---- */

static void say(void *ctx, struct sk_str json)
{
    struct netd *netd = ctx;

    if (netd->member) {
        member_send(netd->member, NULL, json);
    }
}

static struct vault *open_vault(void *ctx)
{
    struct netd *netd = ctx;
    return netd->keys && keys_are_open(netd->keys) ? keys_vault(netd->keys) : NULL;
}

static int set_control(void *ctx, bool is_control, struct sk_err *err)
{
    struct netd *netd = ctx;
    int r = member_set_control(netd->member, is_control, err);

    if (r == 0) {
        netd->config.is_control = is_control;
    }
    return r;
}

static int start_control(void *ctx, struct sk_err *err)
{
    struct netd *netd = ctx;
    struct net_identity identity = {0};
    int r = netd->cluster ? 0 : load_identity(netd, &identity, err);

    if (r == 0 && !netd->cluster) {
        r = start_control_as(netd, &identity, err);
        if (r < 0) {
            stop_control(netd);
        }
    }
    net_identity_release(&identity);
    return r;
}

static void on_control_up(void *ctx)
{
    struct netd *netd = ctx;

    if (netd->role) {
        role_tell(netd->role);
    }
}

static void on_seat(void *ctx, const struct net_frame *frame)
{
    struct netd *netd = ctx;

    if (netd->role) {
        role_frame(netd->role, frame);
    }
}

static int start(struct netd *netd, struct sk_err *err)
{
    struct net_identity identity = {0};
    struct daemon_facts facts;
    struct member_config member = {.config = &netd->config,
                                   .identity = &identity,
                                   .revoked = netd->revoked,
                                   .boot = netd->boot,
                                   .renewed = on_renewed,
                                   .control_frame = on_control_frame,
                                   .up = on_control_up,
                                   .seat = on_seat,
                                   .pulse = on_pulse,
                                   .ctx = netd};
    struct role_config role = {.config = &netd->config,
                               .ctx = netd,
                               .say = say,
                               .set_control = set_control,
                               .start_control = start_control,
                               .stop_control = stop_control,
                               .vault = open_vault};
    int r = load_identity(netd, &identity, err);

    r = r < 0 ? r : daemon_facts_detect(netd->config.dir, &facts, err);
    if (r == 0) {
        (void)snprintf(netd->boot, sizeof(netd->boot), "%s", facts.boot);
        r = role_new(&netd->loop, &role, &netd->role, err); /* etcd first: the state is in it */
    }
    if (r == 0 && netd->config.is_control) {
        r = start_control_as(netd, &identity, err);
    }
    r = r < 0 ? r : member_new(&netd->loop, &member, &netd->member, err);
    net_identity_release(&identity);
    return r;
}

int netd_run(const struct daemon_config *config, struct sk_err *err)
{
    struct netd *netd = sk_xcalloc(1, sizeof(*netd));
    int r;

    (void)signal(SIGPIPE, SIG_IGN);
    SK_ASSERT(uv_loop_init(&netd->loop) == 0);
    netd->revoked = net_revoked_new();
    SK_ASSERT(uv_signal_init(&netd->loop, &netd->on_term) == 0 &&
              uv_signal_init(&netd->loop, &netd->on_int) == 0);
    netd->on_term.data = netd->on_int.data = netd;
    (void)uv_signal_start(&netd->on_term, on_signal, SIGTERM);
    (void)uv_signal_start(&netd->on_int, on_signal, SIGINT);
    netd->config = *config;
    r = start(netd, err);
    if (r == 0) {
        sk_log(SK_LOG_INFO, "started", "node=%s site=%s control=%s", config->node, config->site,
               config->is_control ? "yes" : "no");
    } else {
        stop(netd);
    }
    (void)uv_run(&netd->loop, UV_RUN_DEFAULT);
    uv_close((uv_handle_t *)&netd->on_term, NULL);
    uv_close((uv_handle_t *)&netd->on_int, NULL);
    (void)uv_run(&netd->loop, UV_RUN_DEFAULT);
    SK_ASSERT(uv_loop_close(&netd->loop) == 0);
    net_revoked_free(netd->revoked);
    if (r == 0 && netd->failed.code < 0) {
        r = netd->failed.code;
        *err = netd->failed;
    }
    free(netd);
    return r;
}
