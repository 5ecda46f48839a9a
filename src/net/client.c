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

#define LINKS_MAX 16
#define BACKOFF_MIN_MS 100
#define BACKOFF_MAX_MS 2000
/* Up for less than this counts as one more failure, or a server that accepts and drops would be
 * called without pause. */
#define STEADY_MS 5000

struct net_link {
    struct net_client *client;
    char host[NET_HOST_SIZE];
    char address[NET_ADDRESS_SIZE];
    uint16_t port;
    bool gone;      /* taken from the list: freed when its timer is closed and no request is out */
    bool resolving; /* a name look-up is under way */
    unsigned failures;
    int64_t up_since_ms; /* 0 = not up */
    uv_timer_t retry;
    bool retry_closed;
    uv_getaddrinfo_t lookup;
    SSL_SESSION *session; /* the newest ticket */
    struct net_peer *peer;
    struct net_link *prev, *next;
};

struct connect {
    uv_connect_t req;
    struct net_peer *peer;
};

struct net_client {
    struct net_endpoint ep; /* first: the endpoint's address is the client's */
    struct net_link *links;
    unsigned nlinks;
};

static void connect_link(struct net_link *link);

static struct net_client *client_of(struct net_endpoint *ep)
{
    return (struct net_client *)ep;
}

/* ---- when to try again ---- */

static void on_retry(uv_timer_t *timer)
{
    connect_link(timer->data);
}

static void schedule(struct net_link *link)
{
    int64_t delay_ms = 0;
    uint32_t dice;
    int rc;

    if (link->gone) {
        return;
    }
    if (link->failures) {
        unsigned doublings = link->failures - 1 > 5 ? 5 : link->failures - 1;
        delay_ms = (int64_t)BACKOFF_MIN_MS << doublings;
        delay_ms = delay_ms > BACKOFF_MAX_MS ? BACKOFF_MAX_MS : delay_ms;
        sys_random(&dice, sizeof(dice));
        delay_ms -= dice % (delay_ms / 2 + 1);
    }
    rc = uv_timer_start(&link->retry, on_retry, (uint64_t)delay_ms, 0);
    SK_ASSERT(rc == 0);
}

static void failed(struct net_link *link, const char *what, int status)
{
    struct sk_err err = {0};

    link->failures++;
    (void)sk_err_set(&err, SK_ERR_UNAVAILABLE, "%s: %s", what, uv_strerror(status));
    if (!link->gone) {
        net_endpoint_note(&link->client->ep, link->address, &err);
    }
    schedule(link);
}

/* ---- hooks of the endpoint ---- */

static void peer_up(struct net_peer *peer)
{
    peer->link->up_since_ms = sys_now_ms();
}

static void peer_end(struct net_peer *peer, const struct sk_err *why)
{
    struct net_link *link = peer->link;
    bool steady;

    (void)why;
    if (!link) {
        return;
    }
    steady = link->up_since_ms && sys_now_ms() - link->up_since_ms >= STEADY_MS;
    link->failures = steady ? 0 : link->failures + 1;
    link->up_since_ms = 0;
    link->peer = NULL;
    peer->link = NULL;
    schedule(link);
}

static int on_session(SSL *ssl, SSL_SESSION *session)
{
    struct net_peer *peer = BIO_get_data(SSL_get_rbio(ssl));

    if (!peer->link) {
        return 0;
    }
    SSL_SESSION_free(peer->link->session);
    peer->link->session = session;
    return 1; /* the reference is ours now */
}

/* ---- connect ---- */

static void on_connected(uv_connect_t *req, int status)
{
    struct connect *connect = (struct connect *)req;
    struct net_peer *peer = connect->peer;
    struct net_link *link = peer->link;
    SSL_SESSION *session;
    struct sk_err err = {0};

    free(connect);
    if (uv_is_closing((uv_handle_t *)&peer->tcp)) {
        return;
    }
    if (status < 0) {
        (void)sk_err_set(&err, SK_ERR_UNAVAILABLE, "connect: %s", uv_strerror(status));
        net_conn_end(peer, &err);
        return;
    }
    session = sk_steal(link->session); /* a ticket is used once (RFC 8446, C.4) */
    net_conn_start(peer, session);
    SSL_SESSION_free(session);
}

static int bind_source(struct net_client *client, struct net_peer *peer)
{
    struct sockaddr_storage sa;

    if (!client->ep.source) {
        return 0;
    }
    if (net_address_parse(sk_str(client->ep.source), 1, &sa, NULL) < 0) {
        return UV_EINVAL;
    }
    if (sa.ss_family == AF_INET6) {
        ((struct sockaddr_in6 *)(void *)&sa)->sin6_port = 0;
    } else {
        ((struct sockaddr_in *)(void *)&sa)->sin_port = 0;
    }
    return uv_tcp_bind(&peer->tcp, (struct sockaddr *)&sa, 0);
}

static void connect_to(struct net_link *link, const struct sockaddr *sa)
{
    struct net_client *client = link->client;
    struct net_peer *peer = net_conn_new(&client->ep);
    struct connect *connect = sk_xcalloc(1, sizeof(*connect));
    struct sk_err err = {0};
    int rc;

    (void)snprintf(peer->info.address, sizeof(peer->info.address), "%s", link->address);
    peer->link = link;
    link->peer = peer;
    connect->peer = peer;
    /* The handshake's time begins with the first packet: a peer that never answers is given up. */
    peer->deadline_ms = sys_now_ms() + client->ep.cfg.handshake_ms;
    peer->state = NET_HANDSHAKE;
    rc = bind_source(client, peer);
    if (rc == 0) {
        rc = uv_tcp_connect(&connect->req, &peer->tcp, sa, on_connected);
    }
    if (rc < 0) {
        free(connect);
        (void)sk_err_set(&err, SK_ERR_UNAVAILABLE, "connect: %s", uv_strerror(rc));
        net_conn_end(peer, &err);
    }
}

static void free_link_when_done(struct net_link *link)
{
    struct net_client *client = link->client;

    if (!link->gone || !link->retry_closed || link->resolving) {
        return;
    }
    SSL_SESSION_free(link->session);
    free(link);
    net_endpoint_handle_closed(&client->ep);
}

static void on_resolved(uv_getaddrinfo_t *req, int status, struct addrinfo *found)
{
    struct net_link *link = req->data;

    link->resolving = false;
    if (link->gone) {
        uv_freeaddrinfo(found);
        free_link_when_done(link);
        return;
    }
    if (status < 0 || !found) {
        failed(link, "look up name", status < 0 ? status : UV_EAI_NONAME);
    } else {
        connect_to(link, found->ai_addr);
    }
    uv_freeaddrinfo(found);
}

static void connect_link(struct net_link *link)
{
    const struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
    struct sockaddr_storage sa;
    char port[8];
    int rc;

    if (net_address_parse(sk_str(link->address), NET_PORT, &sa, NULL) == 0) {
        connect_to(link, (struct sockaddr *)&sa);
        return;
    }
    (void)snprintf(port, sizeof(port), "%u", link->port);
    link->lookup.data = link;
    rc =
        uv_getaddrinfo(link->client->ep.loop, &link->lookup, on_resolved, link->host, port, &hints);
    if (rc < 0) {
        failed(link, "look up name", rc);
    } else {
        link->resolving = true;
    }
}

/* ---- the list ---- */

static void on_retry_closed(uv_handle_t *handle)
{
    struct net_link *link = handle->data;

    link->retry_closed = true;
    free_link_when_done(link);
}

static void drop_link(struct net_link *link)
{
    struct net_client *client = link->client;

    DL_DELETE(client->links, link);
    client->nlinks--;
    link->gone = true;
    if (link->peer) {
        link->peer->link = NULL;
        if (link->peer->state == NET_UP) {
            net_conn_linger(link->peer, NULL);
        } else {
            link->peer->reported = true; /* nobody waits for it any more */
            net_conn_end(link->peer, NULL);
        }
        link->peer = NULL;
    }
    if (link->resolving) {
        (void)uv_cancel((uv_req_t *)&link->lookup); /* else its answer is thrown away */
    }
    uv_close((uv_handle_t *)&link->retry, on_retry_closed);
}

static void add_link(struct net_client *client, const char *host, uint16_t port)
{
    struct net_link *link = sk_xcalloc(1, sizeof(*link));
    bool v6 = strchr(host, ':') != NULL;
    int rc = uv_timer_init(client->ep.loop, &link->retry);

    SK_ASSERT(rc == 0);
    link->client = client;
    link->port = port;
    (void)snprintf(link->host, sizeof(link->host), "%s", host);
    (void)snprintf(link->address, sizeof(link->address), v6 ? "[%s]:%u" : "%s:%u", host, port);
    link->retry.data = link;
    DL_APPEND(client->links, link);
    client->nlinks++;
    client->ep.handles++;
    schedule(link); /* never from inside the caller's call */
}

int net_client_set_addresses(struct net_client *client, const char *const *addresses, size_t count,
                             struct sk_err *err)
{
    char hosts[LINKS_MAX][NET_HOST_SIZE];
    uint16_t ports[LINKS_MAX];
    bool known[LINKS_MAX] = {false};
    struct net_link *link, *next;

    if (count > LINKS_MAX) {
        return sk_err_set(err, SK_ERR_LIMIT, "more than %d control nodes", LINKS_MAX);
    }
    for (size_t i = 0; i < count; i++) {
        int rc = net_address_split(sk_str(addresses[i]), NET_PORT, hosts[i], &ports[i], err);
        if (rc < 0) {
            return rc;
        }
        for (size_t k = 0; k < i; k++) {
            known[i] = known[i] || (ports[k] == ports[i] && strcmp(hosts[k], hosts[i]) == 0);
        }
    }
    DL_FOREACH_SAFE(client->links, link, next)
    {
        bool stays = false;
        for (size_t i = 0; i < count; i++) {
            if (ports[i] == link->port && strcmp(hosts[i], link->host) == 0) {
                stays = known[i] = true;
            }
        }
        if (!stays) {
            drop_link(link);
        }
    }
    for (size_t i = 0; i < count; i++) {
        if (!known[i]) {
            add_link(client, hosts[i], ports[i]);
        }
    }
    return 0;
}

/* ---- life ---- */

static void release(struct net_endpoint *ep)
{
    net_endpoint_release(ep);
    free(client_of(ep));
}

int net_client_new(uv_loop_t *loop, const struct net_channel_cfg *cfg,
                   const struct net_callbacks *callbacks, struct net_client **ret,
                   struct sk_err *err)
{
    struct net_client *client = sk_xcalloc(1, sizeof(*client));
    int rc;

    SK_ASSERT(callbacks->on_up && callbacks->on_frame && callbacks->on_down);
    client->ep.peer_up = peer_up;
    client->ep.peer_end = peer_end;
    client->ep.release = release;
    rc = net_endpoint_init(&client->ep, loop, cfg, callbacks, false, err);
    if (rc < 0) {
        free(client);
        return rc;
    }
    SSL_CTX_sess_set_new_cb(client->ep.tls, on_session);
    *ret = client;
    return 0;
}

void net_client_free(struct net_client *client)
{
    struct net_link *link, *next;

    if (!client) {
        return;
    }
    net_endpoint_end(&client->ep);
    DL_FOREACH_SAFE(client->links, link, next)
    {
        drop_link(link);
    }
}

int net_client_set_identity(struct net_client *client, const struct net_identity *identity,
                            struct sk_err *err)
{
    struct net_link *link;
    int rc = net_endpoint_set_identity(&client->ep, identity, err);

    if (rc < 0) {
        return rc;
    }
    SSL_CTX_sess_set_new_cb(client->ep.tls, on_session);
    DL_FOREACH (client->links, link) {
        SSL_SESSION_free(link->session); /* its ticket speaks of the old certificate */
        link->session = NULL;
    }
    return 0;
}

unsigned net_client_recheck(struct net_client *client)
{
    return net_endpoint_recheck(&client->ep);
}

void net_client_reconnect(struct net_client *client, const struct sk_err *why)
{
    struct net_peer *peer, *next;

    DL_FOREACH_SAFE(client->ep.peers, peer, next)
    {
        if (peer->state == NET_UP || peer->state == NET_HELLO) {
            net_peer_close(peer, why);
        }
    }
}

unsigned net_client_send_all(struct net_client *client, struct sk_str json)
{
    return net_client_send_some(client, json, NULL, NULL);
}

unsigned net_client_send_some(struct net_client *client, struct sk_str json,
                              bool (*wants)(void *ctx, const struct net_peer *peer), void *ctx)
{
    struct net_peer *peer, *next;
    unsigned sent = 0;

    DL_FOREACH_SAFE(client->ep.peers, peer, next)
    {
        if (peer->state == NET_UP && (!wants || wants(ctx, peer)) &&
            net_send(peer, json, NULL) == 0) {
            sent++;
        }
    }
    return sent;
}

int net_client_send_to(struct net_client *client, const char *node, struct sk_str json,
                       struct sk_err *err)
{
    struct net_peer *peer;

    DL_FOREACH (client->ep.peers, peer) {
        if (peer->state == NET_UP && strcmp(net_peer_info(peer)->cert.node, node) == 0) {
            return net_send(peer, json, err);
        }
    }
    return sk_err_set(err, SK_ERR_UNAVAILABLE, "'%s' is not connected", node);
}

unsigned net_client_up(const struct net_client *client)
{
    const struct net_peer *peer;
    unsigned up = 0;

    DL_FOREACH (client->ep.peers, peer) {
        up += peer->state == NET_UP;
    }
    return up;
}
