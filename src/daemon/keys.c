/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/keys.h"

#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/json.h"
#include "base/log.h"
#include "base/mem.h"
#include "sys/clock.h"

#define ASK_MS 500
#define ANSWER_MS 200
#define SAY_MS 10000
#define PEERS_MAX \
    16 /* control nodes: five at most, each with a connection that ends and one that begins */

struct control_peer {
    struct net_peer *peer;
    int64_t answered_ms; /* monotonic; 0 = never */
};

struct keys {
    struct keys_config config;
    char dir[512];
    struct vault *vault;
    struct control_peer peers[PEERS_MAX];
    size_t npeers;
    uv_timer_t timer;
    int64_t said_ms;
};

bool keys_are_open(const struct keys *keys)
{
    return vault_is_open(keys->vault);
}

struct vault *keys_vault(struct keys *keys)
{
    return keys->vault;
}

/* ---- asking ---- */

static void say_waiting(struct keys *keys)
{
    int64_t now = sys_now_ms();
    char waiting[64];

    if (keys->said_ms && now - keys->said_ms < SAY_MS) {
        return;
    }
    keys->said_ms = now;
    vault_waiting(keys->vault, waiting, sizeof(waiting));
    sk_log(SK_LOG_WARN, "keys wait for the shares of other control nodes", "have=\"%s\"", waiting);
}

static void on_timer(uv_timer_t *timer)
{
    struct keys *keys = timer->data;

    say_waiting(keys);
    keys->config.ask(keys->config.ctx, SK_STR("{\"v\":1,\"type\":\"share_ask\"}"));
}

static void take_shares(struct keys *keys, const char *from, const struct sk_node *frame)
{
    const struct sk_node *list = sk_map_seq(frame, "shares");

    for (uint32_t i = 0; list && i < list->count && i < 4 && !keys_are_open(keys); i++) {
        struct sk_err err = {0};
        if (list->u.items[i].kind == SK_STRING &&
            vault_offer(keys->vault, from, list->u.items[i].u.text, &err) < 0) {
            sk_log_err(SK_LOG_WARN, "share refused", &err);
        }
    }
    if (keys_are_open(keys)) {
        (void)uv_timer_stop(&keys->timer);
        sk_log(SK_LOG_INFO, "keys opened by shares", "last_from=%s", from);
        keys->config.opened(keys->config.ctx);
    }
}

static void take_recovery(struct keys *keys, const char *from, const struct sk_node *frame)
{
    struct vault_recovery other = {.made_ms = sk_map_int(frame, "made_ms", 0)}, before, after;
    struct sk_err err = {0};

    if (!keys_are_open(keys) || other.made_ms < 1 ||
        !sk_unhex(sk_map_str(frame, "public", SK_STR("")), other.public_key, SEAL_PUBLIC_BYTES)) {
        return; /* it comes again with the next connection */
    }
    if (vault_recovery(keys->dir, &before, NULL) < 0) {
        before.made_ms = 0;
    }
    if (vault_recovery_take(keys->vault, &other, &err) < 0) {
        sk_log_err(SK_LOG_ERROR, "recovery code not taken over", &err);
    } else if (vault_recovery(keys->dir, &after, NULL) == 0 && after.made_ms > before.made_ms) {
        sk_log(SK_LOG_INFO, "recovery code taken over", "from=%s", from);
    }
}

void keys_on_frame(struct keys *keys, struct net_peer *peer, const struct net_frame *frame)
{
    char from[NET_NAME_SIZE];

    (void)snprintf(from, sizeof(from), "%s", net_peer_info(peer)->cert.node);
    if (sk_str_is(frame->type, "share") && !keys_are_open(keys)) {
        take_shares(keys, from, frame->tree);
    } else if (sk_str_is(frame->type, "recovery")) {
        take_recovery(keys, from, frame->tree);
    }
}

/* ---- giving ---- */

static struct control_peer *find(struct keys *keys, const struct net_peer *peer)
{
    for (size_t i = 0; i < keys->npeers; i++) {
        if (keys->peers[i].peer == peer) {
            return &keys->peers[i];
        }
    }
    return NULL;
}

static bool write_recovery(const struct keys *keys, struct sk_buf *out)
{
    char hex[2 * SEAL_PUBLIC_BYTES + 1];
    struct vault_recovery rec;
    struct sk_jw w;

    if (vault_recovery(keys->dir, &rec, NULL) < 0) {
        return false; /* there is no code yet */
    }
    sk_hex(rec.public_key, sizeof(rec.public_key), hex);
    sk_jw_init(&w, out);
    sk_jw_obj(&w);
    sk_jw_kint(&w, "v", 1);
    sk_jw_kcstr(&w, "type", "recovery");
    sk_jw_kcstr(&w, "public", hex);
    sk_jw_kint(&w, "made_ms", rec.made_ms);
    sk_jw_obj_end(&w);
    return true;
}

static void send_to(struct net_peer *peer, struct sk_str frame)
{
    struct sk_err err = {0};

    if (net_send(peer, frame, &err) < 0) {
        sk_log_err(SK_LOG_WARN, "frame not sent", &err); /* it asks again, or comes again */
    }
}

bool keys_peer_up(struct keys *keys, struct net_peer *peer)
{
    struct sk_buf frame = SK_BUF_INIT;

    if (net_peer_info(peer)->cert.kind != NET_CERT_CONTROL) {
        return false;
    }
    if (keys->npeers < PEERS_MAX) {
        keys->peers[keys->npeers++] = (struct control_peer){peer, 0};
        if (write_recovery(keys, &frame)) {
            send_to(peer, sk_buf_str(&frame));
        }
        sk_buf_release(&frame);
    }
    return true;
}

void keys_peer_down(struct keys *keys, struct net_peer *peer)
{
    struct control_peer *p = find(keys, peer);

    if (p) {
        *p = keys->peers[--keys->npeers];
    }
}

void keys_close_peers(struct keys *keys, const struct sk_err *why)
{
    for (size_t i = 0; i < keys->npeers; i++) {
        net_peer_close(keys->peers[i].peer, why);
    }
}

void keys_on_ask(struct keys *keys, struct net_peer *peer)
{
    struct control_peer *p = find(keys, peer);
    struct sk_buf frame = SK_BUF_INIT;
    struct sk_err err = {0};
    int64_t now = sys_now_ms();

    if (!p) {
        sk_log(SK_LOG_WARN, "a node that is no control node asked for a share", "node=%s",
               net_peer_info(peer)->cert.node);
        return;
    }
    if (p->answered_ms && now - p->answered_ms < ANSWER_MS) {
        return;
    }
    p->answered_ms = now;
    sk_buf_adds(&frame, "{\"v\":1,\"type\":\"share\",\"shares\":");
    if (vault_shares(keys->dir, &frame, &err) < 0) {
        sk_log_err(SK_LOG_ERROR, "share not given", &err);
    } else {
        sk_buf_addc(&frame, '}');
        send_to(peer, sk_buf_str(&frame));
    }
    seal_wipe(&frame);
}

int keys_recovery_new(struct keys *keys, struct seal_code *ret_code, struct sk_err *err)
{
    struct sk_buf frame = SK_BUF_INIT;
    int r = vault_recovery_new(keys->vault, sys_wall_ms(), ret_code, err);

    if (r == 0 && write_recovery(keys, &frame)) {
        for (size_t i = 0; i < keys->npeers; i++) {
            send_to(keys->peers[i].peer, sk_buf_str(&frame));
        }
    }
    sk_buf_release(&frame);
    return r;
}

/* ---- life ---- */

int keys_new(uv_loop_t *loop, const struct keys_config *config, struct keys **ret,
             struct sk_err *err)
{
    struct vault *vault = NULL;
    struct keys *keys;
    int r = vault_load(config->dir, config->cluster, &vault, err);

    if (r < 0) {
        return r;
    }
    keys = sk_xcalloc(1, sizeof(*keys));
    keys->config = *config;
    (void)snprintf(keys->dir, sizeof(keys->dir), "%s", config->dir);
    keys->vault = vault;
    SK_ASSERT(uv_timer_init(loop, &keys->timer) == 0);
    keys->timer.data = keys;
    if (!keys_are_open(keys)) {
        (void)uv_timer_start(&keys->timer, on_timer, ASK_MS, ASK_MS);
    }
    *ret = keys;
    return 0;
}

static void on_closed(uv_handle_t *handle)
{
    free(handle->data);
}

void keys_free(struct keys *keys)
{
    if (keys) {
        vault_free(keys->vault);
        keys->vault = NULL;
        uv_close((uv_handle_t *)&keys->timer, on_closed);
    }
}
