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
#define SAY_MS 10000
#define PEERS_MAX \
    16 /* control nodes: five at most, each with a connection that ends and one that begins */

struct control_peer {
    struct net_peer *peer;
    int64_t answered_ms, kept_ms; /* monotonic; 0 = never */
};

/* A split that is under way: unseal.key, or the split before, is in force until all have said that
 * they keep their share. */
struct plan {
    bool active, committed;
    struct vault_split split;
    char names[KEYS_MEMBERS_MAX][NET_NAME_SIZE]; /* the own one first; sorted behind it */
    const char *members[KEYS_MEMBERS_MAX];
    bool kept[KEYS_MEMBERS_MAX];
    size_t count;
};

struct keys {
    struct keys_config config;
    char dir[512], cluster[NET_NAME_SIZE], node[NET_NAME_SIZE];
    struct vault *vault;
    struct control_peer peers[PEERS_MAX];
    size_t npeers;
    struct plan plan;
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

/* ---- splitting: this node's own key ---- */

static void drop_plan(struct keys *keys)
{
    vault_split_release(&keys->plan.split);
    memset(&keys->plan, 0, sizeof(keys->plan));
}

static int by_name(const void *a, const void *b)
{
    return strcmp(a, b);
}

/* The own name first, the others in order. False: this node is none of them, or they are too many.
 */
static bool take_members(const struct keys *keys, const struct sk_str *names, size_t count,
                         struct plan *plan)
{
    bool own = false;

    if (count > KEYS_MEMBERS_MAX) {
        return false;
    }
    for (size_t i = 0; i < count; i++) {
        if (sk_str_is(names[i], keys->node)) {
            own = true;
            continue;
        }
        if (plan->count == KEYS_MEMBERS_MAX - 1) {
            return false;
        }
        plan->count++;
        (void)snprintf(plan->names[plan->count], sizeof(plan->names[0]), "%.*s", SK_PRI(names[i]));
    }
    (void)snprintf(plan->names[0], sizeof(plan->names[0]), "%s", keys->node);
    qsort(plan->names[1], plan->count, sizeof(plan->names[0]), by_name);
    plan->count++;
    return own;
}

static void point_at_names(struct plan *plan)
{
    for (size_t i = 0; i < plan->count; i++) {
        plan->members[i] = plan->names[i];
    }
}

static void begin_split(struct keys *keys, const struct plan *wanted)
{
    struct sk_err err = {0};

    drop_plan(keys);
    keys->plan = *wanted;
    point_at_names(&keys->plan);
    if (vault_split(keys->vault, (unsigned)wanted->count, &keys->plan.split, &err) < 0) {
        sk_log_err(SK_LOG_ERROR, "key not split", &err);
        return;
    }
    keys->plan.active = keys->plan.kept[0] = true;
}

static void join(struct keys *keys)
{
    struct sk_err err = {0};

    drop_plan(keys);
    if (!vault_is_split(keys->vault)) {
        return;
    }
    if (vault_join(keys->vault, &err) < 0) {
        sk_log_err(SK_LOG_ERROR, "key not joined", &err);
    } else {
        sk_log(SK_LOG_INFO, "key is a file again: one control node", "%s", "");
    }
}

/* Level-triggered: what is, beside what is wanted. */
static void look_at_members(struct keys *keys)
{
    struct sk_str names[KEYS_MEMBERS_MAX];
    size_t count = keys->config.members(keys->config.ctx, names);
    struct plan wanted = {0};

    if (count == 0 || !take_members(keys, names, count, &wanted)) {
        return;
    }
    point_at_names(&wanted);
    if (count == 1) {
        join(keys);
    } else if (count >= 3 && !vault_is_split_among(keys->vault, wanted.members, wanted.count) &&
               (!keys->plan.active || keys->plan.count != wanted.count ||
                memcmp(keys->plan.names, wanted.names, sizeof(wanted.names)) != 0)) {
        begin_split(keys, &wanted);
    }
}

static void commit_if_kept(struct keys *keys)
{
    struct plan *plan = &keys->plan;
    struct sk_err err = {0};

    for (size_t i = 0; i < plan->count; i++) {
        if (!plan->kept[i]) {
            return;
        }
    }
    if (vault_split_commit(keys->vault, &plan->split, plan->members, &err) < 0) {
        sk_log_err(SK_LOG_ERROR, "share not put in force", &err);
        return;
    }
    sk_log(SK_LOG_INFO, "key is split", "among=%zu", plan->count);
    plan->committed = true; /* what is still to be said: that the split before went */
    memset(plan->kept, 0, sizeof(plan->kept));
    plan->kept[0] = true;
}

/* To this control node, when it has connected to us as well: each gets its own share alone. */
static void send_keep(struct keys *keys, size_t member)
{
    char in_force[SEAL_ID_SIZE];
    struct sk_buf frame = SK_BUF_INIT;
    struct sk_jw w;

    vault_generation(keys->dir, in_force);
    sk_jw_init(&w, &frame);
    sk_jw_obj(&w);
    sk_jw_kint(&w, "v", 1);
    sk_jw_kcstr(&w, "type", "share_keep");
    sk_jw_kstr(&w, "share", sk_buf_str(&keys->plan.split.shares[member]));
    sk_jw_kcstr(&w, "in_force", in_force);
    sk_jw_obj_end(&w);
    keys->config.send(keys->config.ctx, keys->plan.names[member], sk_buf_str(&frame));
    seal_wipe(&frame);
}

static void on_timer(uv_timer_t *timer)
{
    struct keys *keys = timer->data;
    struct plan *plan = &keys->plan;
    size_t kept = 0;

    if (!keys_are_open(keys)) {
        say_waiting(keys);
        keys->config.send(keys->config.ctx, NULL, SK_STR("{\"v\":1,\"type\":\"share_ask\"}"));
        return;
    }
    look_at_members(keys);
    if (!plan->active) {
        return;
    }
    for (size_t i = 0; i < plan->count; i++) {
        kept += plan->kept[i];
        if (!plan->kept[i]) {
            send_keep(keys, i);
        }
    }
    if (plan->committed && kept == plan->count) {
        drop_plan(keys); /* everybody knows */
    }
}

static void take_kept(struct keys *keys, const char *from, const struct sk_node *frame)
{
    struct plan *plan = &keys->plan;
    char in_force[SEAL_ID_SIZE];
    bool known;

    vault_generation(keys->dir, in_force);
    known = sk_str_is(sk_map_str(frame, "in_force", SK_STR("")), in_force);
    if (!plan->active || !known ||
        !sk_str_is(sk_map_str(frame, "generation", SK_STR("")), plan->split.generation)) {
        return;
    }
    for (size_t i = 1; i < plan->count; i++) {
        if (strcmp(plan->names[i], from) == 0) {
            plan->kept[i] = true;
        }
    }
    if (!plan->committed) {
        commit_if_kept(keys);
    }
}

bool keys_split(const struct keys *keys, unsigned *ret_shares, unsigned *ret_needed)
{
    return vault_split_counts(keys->vault, ret_shares, ret_needed);
}

void keys_on_frame(struct keys *keys, struct net_peer *peer, const struct net_frame *frame)
{
    char from[NET_NAME_SIZE];

    (void)snprintf(from, sizeof(from), "%s", net_peer_info(peer)->cert.node);
    if (sk_str_is(frame->type, "share") && !keys_are_open(keys)) {
        take_shares(keys, from, frame->tree);
    } else if (sk_str_is(frame->type, "share_kept")) {
        take_kept(keys, from, frame->tree);
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
        keys->peers[keys->npeers++] = (struct control_peer){peer, 0, 0};
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

/* At most so often to one node: asked again, it is answered again. */
static bool too_soon(const struct keys *keys, int64_t *at)
{
    int64_t now = sys_now_ms();

    if (*at && now - *at < keys->config.ask_ms * 2 / 5) {
        return true;
    }
    *at = now;
    return false;
}

static void give_shares(struct keys *keys, struct control_peer *p)
{
    const char *owner = net_peer_info(p->peer)->cert.node;
    struct sk_buf frame = SK_BUF_INIT;
    struct sk_err err = {0};

    sk_buf_adds(&frame, "{\"v\":1,\"type\":\"share\",\"shares\":");
    if (vault_held_get(keys->dir, owner, &frame, &err) < 0) {
        sk_log_err(SK_LOG_ERROR, "share not given", &err);
    } else {
        sk_buf_addc(&frame, '}');
        send_to(p->peer, sk_buf_str(&frame));
    }
    seal_wipe(&frame);
}

static void keep_share(struct keys *keys, struct control_peer *p, const struct sk_node *frame)
{
    const char *owner = net_peer_info(p->peer)->cert.node;
    struct sk_str text = sk_map_str(frame, "share", SK_STR(""));
    struct sk_buf answer = SK_BUF_INIT;
    struct seal_share share = {0};
    struct sk_err err = {0};
    char in_force[SEAL_ID_SIZE];
    struct sk_jw w;

    (void)snprintf(in_force, sizeof(in_force), "%.*s",
                   SK_PRI(sk_map_str(frame, "in_force", SK_STR(""))));
    if (vault_held_put(keys->dir, keys->cluster, owner, text, in_force, &err) < 0 ||
        seal_share_read(text, &share, &err) < 0) {
        sk_log_err(SK_LOG_ERROR, "share not kept", &err);
        return;
    }
    sk_jw_init(&w, &answer);
    sk_jw_obj(&w);
    sk_jw_kint(&w, "v", 1);
    sk_jw_kcstr(&w, "type", "share_kept");
    sk_jw_kcstr(&w, "generation", share.generation);
    sk_jw_kcstr(&w, "in_force", in_force);
    sk_jw_obj_end(&w);
    send_to(p->peer, sk_buf_str(&answer));
    sk_buf_release(&answer);
    explicit_bzero(&share, sizeof(share));
}

bool keys_on_request(struct keys *keys, struct net_peer *peer, const struct net_frame *frame)
{
    bool asks = sk_str_is(frame->type, "share_ask");
    struct control_peer *p = find(keys, peer);

    if (!asks && !sk_str_is(frame->type, "share_keep")) {
        return false;
    }
    if (!p) {
        sk_log(SK_LOG_WARN, "a node that is no control node asked for shares", "node=%s",
               net_peer_info(peer)->cert.node);
    } else if (asks && !too_soon(keys, &p->answered_ms)) {
        give_shares(keys, p);
    } else if (!asks && !too_soon(keys, &p->kept_ms)) {
        keep_share(keys, p, frame->tree);
    }
    return true;
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
    keys->config.dir = keys->dir; /* the caller's are good during this call alone */
    keys->config.cluster = keys->config.node = NULL;
    (void)snprintf(keys->cluster, sizeof(keys->cluster), "%s", config->cluster);
    (void)snprintf(keys->node, sizeof(keys->node), "%s", config->node);
    keys->vault = vault;
    SK_ASSERT(uv_timer_init(loop, &keys->timer) == 0);
    keys->timer.data = keys;
    keys->config.ask_ms = config->ask_ms ? config->ask_ms : ASK_MS;
    (void)uv_timer_start(&keys->timer, on_timer, (uint64_t)keys->config.ask_ms,
                         (uint64_t)keys->config.ask_ms);
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
        drop_plan(keys);
        vault_free(keys->vault);
        keys->vault = NULL;
        uv_close((uv_handle_t *)&keys->timer, on_closed);
    }
}
