/* SPDX-License-Identifier: Apache-2.0 */
#include "net/channel.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <utlist.h>

#include "base/mem.h"
#include "net/conn.h"
#include "sys/clock.h"

#define SOURCES_MAX 20000
#define FAIL_WINDOW_MS 60000
#define BACKLOG 1024
#define SHAKING_QUIET_MS 500

/* What one address (of IPv6: one /64, which one machine may own whole) has open, and how often a
 * join of it was refused. Kept while there is something to count. */
struct net_source {
    char host[NET_HOST_SIZE];
    unsigned conns, strangers;
    unsigned fails;
    int64_t fails_since_ms;
    UT_hash_handle hh;
};

struct net_server {
    struct net_endpoint ep; /* first: the endpoint's address is the server's */
    uv_tcp_t listener;
    uint16_t port;
    struct net_peer *by_node;
    struct net_source *sources;
    unsigned strangers;
    unsigned shaking; /* strangers whose handshake is being worked on */
    bool has_waiting; /* a connection is left at the listener, and others behind it */
};

static struct net_server *server_of(struct net_endpoint *ep)
{
    return (struct net_server *)ep;
}

/* ---- sources ---- */

static void source_key(const struct sockaddr *sa, char ret[NET_HOST_SIZE])
{
    struct sockaddr_in6 v6;

    if (sa->sa_family == AF_INET6) {
        memcpy(&v6, sa, sizeof(v6));
        if (!IN6_IS_ADDR_V4MAPPED(&v6.sin6_addr)) {
            memset(v6.sin6_addr.s6_addr + 8, 0, 8);
        }
        net_address_host((const struct sockaddr *)&v6, ret);
    } else {
        net_address_host(sa, ret);
    }
}

static bool source_is_idle(const struct net_source *source, int64_t now_ms)
{
    return source->conns == 0 &&
           (source->fails == 0 || now_ms - source->fails_since_ms >= FAIL_WINDOW_MS);
}

static void drop_source(struct net_server *server, struct net_source *source)
{
    HASH_DEL(server->sources, source);
    free(source);
}

static struct net_source *get_source(struct net_server *server, const struct sockaddr *sa)
{
    struct net_source *source = NULL, *next;
    char host[NET_HOST_SIZE];
    int64_t now_ms = sys_now_ms();

    source_key(sa, host);
    HASH_FIND_STR(server->sources, host, source);
    if (source) {
        return source;
    }
    if (HASH_COUNT(server->sources) >= SOURCES_MAX) {
        struct net_source *at;
        HASH_ITER (hh, server->sources, at, next) {
            if (source_is_idle(at, now_ms)) {
                drop_source(server, at);
            }
        }
        if (HASH_COUNT(server->sources) >= SOURCES_MAX) {
            return NULL;
        }
    }
    source = sk_xcalloc(1, sizeof(*source));
    memcpy(source->host, host, sizeof(host));
    HASH_ADD_STR(server->sources, host, source);
    return source;
}

static void leave_source(struct net_peer *peer)
{
    struct net_server *server = server_of(peer->ep);
    struct net_source *source = peer->source;

    if (!source) {
        return;
    }
    peer->source = NULL;
    source->conns--;
    if (peer->info.protocol == 0) { /* it never came up: still a stranger */
        source->strangers--;
        server->strangers--;
    }
    if (source_is_idle(source, sys_now_ms())) {
        drop_source(server, source);
    }
}

static int admit(struct net_server *server, struct net_peer *peer, const struct sockaddr *sa,
                 struct sk_err *err)
{
    const struct net_channel_cfg *cfg = &server->ep.cfg;
    struct net_source *source = get_source(server, sa);

    if (!source || server->ep.npeers > cfg->peers_max ||
        server->strangers >= cfg->peers_max / 2 + 1) {
        return sk_err_set(err, SK_ERR_LIMIT, "more connections than allowed: %u", cfg->peers_max);
    }
    if (source->conns >= cfg->source_max) {
        return sk_err_set(err, SK_ERR_LIMIT, "more connections from one address than allowed: %u",
                          cfg->source_max);
    }
    if (source->strangers >= cfg->strangers_max) {
        return sk_err_set(err, SK_ERR_LIMIT,
                          "more unverified connections from one address than allowed: %u",
                          cfg->strangers_max);
    }
    source->conns++;
    source->strangers++;
    server->strangers++;
    peer->source = source;
    return 0;
}

/* ---- how many handshakes at a time ----
 *
 * When all nodes come at once (control started again) there is work for seconds. Begun all
 * together, all handshakes would end at the end, and those whose time was over by then would begin
 * anew: none would ever be through. So only some are worked on, the kernel keeps the others in
 * line, and who comes out of it is through in a fraction of its time. Who says nothing for a while
 * does not count: strangers that only hold a connection keep nobody out.
 */

static void accept_one(struct net_server *server);

static bool may_begin(const struct net_server *server)
{
    return server->shaking < server->ep.cfg.handshakes_max;
}

static void leave_shaking(struct net_peer *peer)
{
    struct net_server *server = server_of(peer->ep);

    if (!peer->shaking) {
        return;
    }
    peer->shaking = false;
    server->shaking--;
    if (server->has_waiting && !server->ep.freed && may_begin(server)) {
        server->has_waiting = false;
        accept_one(server); /* libuv goes on with those behind it */
    }
}

/* ---- hooks of the endpoint ---- */

static void peer_swept(struct net_peer *peer, int64_t now_ms)
{
    if (now_ms - peer->heard_ms >= SHAKING_QUIET_MS) {
        leave_shaking(peer);
    }
}

static void peer_up(struct net_peer *peer)
{
    struct net_server *server = server_of(peer->ep);
    struct net_peer *older = NULL;
    struct sk_err why = {0};

    peer->source->strangers--;
    server->strangers--;
    HASH_FIND_STR(server->by_node, peer->info.cert.node, older);
    if (older) {
        /* A node that reconnects is faster than the news of its old connection's death. */
        (void)sk_err_set(&why, SK_ERR_CONFLICT, "a newer connection of node '%s' from %s",
                         peer->info.cert.node, peer->info.address);
        net_conn_report(older, &why); /* takes it out of by_node */
        net_conn_linger(older, &why);
    }
    HASH_ADD(hh, server->by_node, info.cert.node, strlen(peer->info.cert.node), peer);
    leave_shaking(peer);
}

static void peer_end(struct net_peer *peer, const struct sk_err *why)
{
    struct net_server *server = server_of(peer->ep);
    struct net_peer *known = NULL;

    if (peer->info.joining && why && peer->source) {
        int64_t now_ms = sys_now_ms();
        if (now_ms - peer->source->fails_since_ms >= FAIL_WINDOW_MS) {
            peer->source->fails = 0;
            peer->source->fails_since_ms = now_ms;
        }
        peer->source->fails++;
    }
    HASH_FIND_STR(server->by_node, peer->info.cert.node, known);
    if (known == peer) {
        HASH_DEL(server->by_node, peer);
    }
    leave_source(peer);
    leave_shaking(peer);
}

static bool join_allowed(struct net_peer *peer, struct sk_err *err)
{
    const struct net_source *source = peer->source;

    if (source->fails >= peer->ep->cfg.join_fails_max &&
        sys_now_ms() - source->fails_since_ms < FAIL_WINDOW_MS) {
        (void)sk_err_set(err, SK_ERR_DENIED, "too many refused joins from %s: wait a minute",
                         source->host);
        return false;
    }
    return true;
}

/* ---- accept ---- */

static void accept_one(struct net_server *server)
{
    struct sockaddr_storage sa = {0};
    struct net_peer *peer = net_conn_new(&server->ep);
    struct sk_err err = {0};
    int len = sizeof(sa);

    if (uv_accept((uv_stream_t *)&server->listener, (uv_stream_t *)&peer->tcp) < 0 ||
        uv_tcp_getpeername(&peer->tcp, (struct sockaddr *)&sa, &len) < 0) {
        peer->reported = true; /* gone before it was anyone */
        net_conn_end(peer, NULL);
        return;
    }
    net_address_print((struct sockaddr *)&sa, peer->info.address);
    if (admit(server, peer, (struct sockaddr *)&sa, &err) < 0) {
        net_conn_end(peer, &err);
        return;
    }
    peer->shaking = true;
    server->shaking++;
    net_conn_start(peer, NULL);
}

static void on_connection(uv_stream_t *stream, int status)
{
    struct net_server *server = stream->data;
    struct sk_err err = {0};

    if (status < 0) {
        (void)sk_err_set(&err, SK_ERR_UNAVAILABLE, "accept: %s", uv_strerror(status));
        net_endpoint_note(&server->ep, "?", &err);
    } else if (may_begin(server)) {
        accept_one(server);
    } else {
        server->has_waiting = true; /* libuv listens no more until it is accepted */
    }
}

/* ---- life ---- */

static void release(struct net_endpoint *ep)
{
    struct net_server *server = server_of(ep);
    struct net_source *source, *next;

    HASH_ITER (hh, server->sources, source, next) {
        drop_source(server, source);
    }
    net_endpoint_release(ep);
    free(server);
}

static void on_listener_closed(uv_handle_t *handle)
{
    struct net_server *server = handle->data;
    net_endpoint_handle_closed(&server->ep);
}

void net_server_free(struct net_server *server)
{
    if (server) {
        net_endpoint_end(&server->ep);
        uv_close((uv_handle_t *)&server->listener, on_listener_closed);
    }
}

static int listen_on(struct net_server *server, const struct sockaddr *sa, struct sk_err *err)
{
    struct sockaddr_storage bound = {0};
    char text[NET_ADDRESS_SIZE];
    int len = sizeof(bound);
    int rc = uv_tcp_bind(&server->listener, sa, 0);

    if (rc == 0) {
        rc = uv_listen((uv_stream_t *)&server->listener, BACKLOG, on_connection);
    }
    if (rc == 0) {
        rc = uv_tcp_getsockname(&server->listener, (struct sockaddr *)&bound, &len);
    }
    if (rc < 0) {
        net_address_print(sa, text);
        (void)sk_err_set(err, SK_ERR_IO, "listen on %s: %s", text, uv_strerror(rc));
        if (rc == UV_EADDRINUSE) {
            (void)sk_err_fix(err, "end what listens there: ss -ltnp shows it");
        }
        if (err) {
            err->errnum = -rc;
        }
        return SK_ERR_IO;
    }
    server->port = bound.ss_family == AF_INET6
                       ? ntohs(((const struct sockaddr_in6 *)(const void *)&bound)->sin6_port)
                       : ntohs(((const struct sockaddr_in *)(const void *)&bound)->sin_port);
    return 0;
}

static int server_new(uv_loop_t *loop, const struct net_channel_cfg *cfg, const struct sockaddr *sa,
                      const struct net_callbacks *callbacks, struct net_server **ret,
                      struct sk_err *err)
{
    struct net_server *server = sk_xcalloc(1, sizeof(*server));
    int rc;

    SK_ASSERT(callbacks->on_up && callbacks->on_frame && callbacks->on_down);
    server->ep.peer_up = peer_up;
    server->ep.peer_end = peer_end;
    server->ep.peer_swept = peer_swept;
    server->ep.join_allowed = join_allowed;
    server->ep.release = release;
    rc = net_endpoint_init(&server->ep, loop, cfg, callbacks, true, err);
    if (rc < 0) {
        free(server);
        return rc;
    }
    rc = uv_tcp_init(loop, &server->listener);
    SK_ASSERT(rc == 0);
    server->listener.data = server;
    server->ep.handles++;
    rc = listen_on(server, sa, err);
    if (rc < 0) {
        net_server_free(server);
        return rc;
    }
    *ret = server;
    return 0;
}

int net_server_new(uv_loop_t *loop, const struct net_channel_cfg *cfg, const char *address,
                   const struct net_callbacks *callbacks, struct net_server **ret,
                   struct sk_err *err)
{
    struct sockaddr_storage sa;
    int rc = net_address_parse(sk_str(address), NET_PORT, &sa, err);

    return rc < 0 ? rc : server_new(loop, cfg, (struct sockaddr *)&sa, callbacks, ret, err);
}

int net_server_new_any(uv_loop_t *loop, const struct net_channel_cfg *cfg, const char *host,
                       const struct net_callbacks *callbacks, struct net_server **ret,
                       struct sk_err *err)
{
    struct sockaddr_storage sa;
    int rc = net_address_parse(sk_str(host), NET_PORT, &sa, err);

    if (rc < 0) {
        return rc;
    }
    if (sa.ss_family == AF_INET6) {
        ((struct sockaddr_in6 *)(void *)&sa)->sin6_port = 0;
    } else {
        ((struct sockaddr_in *)(void *)&sa)->sin_port = 0;
    }
    return server_new(loop, cfg, (struct sockaddr *)&sa, callbacks, ret, err);
}

uint16_t net_server_port(const struct net_server *server)
{
    return server->port;
}

unsigned net_server_count(const struct net_server *server)
{
    return server->ep.npeers;
}

int net_server_set_identity(struct net_server *server, const struct net_identity *identity,
                            struct sk_err *err)
{
    return net_endpoint_set_identity(&server->ep, identity, err);
}

unsigned net_server_recheck(struct net_server *server)
{
    return net_endpoint_recheck(&server->ep);
}

struct net_peer *net_server_find(struct net_server *server, struct sk_str node)
{
    struct net_peer *peer = NULL;

    HASH_FIND(hh, server->by_node, node.ptr, node.len, peer);
    return peer && peer->state == NET_UP ? peer : NULL;
}

unsigned net_server_close_node(struct net_server *server, struct sk_str node,
                               const struct sk_err *why)
{
    struct net_peer *peer = net_server_find(server, node);

    if (!peer) {
        return 0;
    }
    net_conn_linger(peer, why);
    return 1;
}
