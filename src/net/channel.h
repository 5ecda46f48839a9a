/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SK_NET_CHANNEL_H
#define SK_NET_CHANNEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#include "base/err.h"
#include "base/str.h"
#include "net/address.h"
#include "net/frame.h"
#include "net/identity.h"

/*
 * The framed channel: nodes (clients) to control nodes (servers), TLS 1.3 with both sides verified,
 * on one libuv loop.
 *
 * Guarantees. A peer that is handed up has proved a certificate of this cluster's CA, valid now,
 * not revoked, and has said a fitting hello; who it is comes from the certificate, never from a
 * frame. A client takes only control nodes for servers. Frames arrive whole, in order, at most
 * once. Memory per peer is bounded: frames by NET_FRAME_BYTES_MAX, the way out by queue_bytes_max.
 * Dead peers are noticed within idle_ms: either side sends `ping` (answered by nothing, seen by
 * nobody above) when it had nothing else to say for a third of it. Never early data.
 *
 * Calling sequence.
 *
 *     struct net_channel_cfg cfg = {.identity = &id, .revoked = revoked, .boot = boot, ...};
 *     net_server_new(loop, &cfg, "0.0.0.0:7400", &callbacks, &server, &err);
 *     net_client_new(loop, &cfg, &callbacks, &client);
 *     net_client_set_addresses(client, addresses, count, &err);
 *     uv_run(loop, UV_RUN_DEFAULT);          callbacks: on_up -> on_frame... -> on_down
 *     net_client_free(client); net_server_free(server); and run the loop until it is empty
 *
 * Ownership. cfg is copied but for `revoked`, which the caller keeps and changes on the loop
 * thread. Peers belong to the channel: a pointer is good from on_up (or on_join) until on_down
 * returns. Frames are good during the callback.
 *
 * The program ignores SIGPIPE, as every program on libuv does.
 *
 * Callbacks run on the loop thread, never from inside a call into this module. Any call of this
 * module is allowed in them. Errors: nothing is logged here; on_refused carries one line per
 * refused peer, at most 20 a second, to be logged by the owner.
 */
#define NET_PORT 7400

struct net_peer;
struct net_server;
struct net_client;

struct net_channel_cfg {
    const struct net_identity *identity;
    const struct net_revoked *revoked; /* may be NULL */
    const char *incarnation;           /* of hello; may be NULL, as all three */
    const char *boot;
    const char *version;
    int protocol_min, protocol_max; /* 0, 0 = what this version speaks: base/version.h */
    /* zero = the default in brackets */
    int64_t idle_ms;        /* silence after which a peer is dead [10,000] */
    int64_t handshake_ms;   /* from accept to hello, or to join [5,000] */
    int64_t join_answer_ms; /* from a join to the owner's answer [15,000] */
    size_t queue_bytes_max; /* waiting to be sent to one peer [2 MiB] */
    const char *source;     /* client: local address to connect from; NULL = any */
    unsigned peers_max;     /* server: connections in all [16,384] */
    unsigned source_max;    /* server: connections from one address [2,048] */
    unsigned strangers_max; /* server: unverified connections from one address [64] */
    unsigned
        handshakes_max; /* server: worked on at a time, the others wait at the listener [128] */
    unsigned join_fails_max; /* server: refused joins from one address in a minute [5] */
};

/* Who the other side is. */
struct net_peer_info {
    struct net_cert_info cert;       /* cluster, node, serial: proved. Empty with `joining` */
    char address[NET_ADDRESS_SIZE];  /* where it is connected from or to */
    char incarnation[NET_WORD_SIZE]; /* from its hello: said, not proved */
    char boot[NET_WORD_SIZE];
    char version[NET_WORD_SIZE];
    int protocol; /* agreed */
    bool joining; /* no certificate: may only join */
    bool resumed; /* the TLS session was resumed */
};

struct net_callbacks {
    void *ctx;
    void (*on_up)(void *ctx, struct net_peer *peer);
    void (*on_frame)(void *ctx, struct net_peer *peer, const struct net_frame *frame);
    /* A newcomer's `join`. Answer within join_answer_ms, now or later, by net_send(`joined`) and
     * net_peer_close(peer, NULL), or by net_peer_close(peer, why). NULL: joins are refused. */
    void (*on_join)(void *ctx, struct net_peer *peer, const struct net_frame *frame);
    /* The queue, once full, is half empty again. May be NULL. */
    void (*on_drain)(void *ctx, struct net_peer *peer);
    /* Once for each on_up and on_join. A newer connection of the same node ends the older one. */
    void (*on_down)(void *ctx, struct net_peer *peer, const struct sk_err *why);
    /* Who was turned away before on_up, or could not be reached. May be NULL. */
    void (*on_refused)(void *ctx, const char *address, const struct sk_err *why);
};

/* ---- peers, either side ---- */

const struct net_peer_info *net_peer_info(const struct net_peer *peer);
/* Where its machine is reached at that port, as the connection has it. SK_ERR_UNAVAILABLE */
int net_peer_address(const struct net_peer *peer, uint16_t port, struct sockaddr_storage *ret,
                     struct sk_err *err);
void net_peer_set_data(struct net_peer *peer, void *data); /* the owner's own pointer */
void *net_peer_data(const struct net_peer *peer);
/* Queues one frame ("json" is a whole object). SK_ERR_UNAVAILABLE when the queue is full or the
 * peer is closing (nothing queued: wait for on_drain), SK_ERR_LIMIT. */
int net_send(struct net_peer *peer, struct sk_str json, struct sk_err *err);
size_t net_peer_queued(const struct net_peer *peer); /* bytes */
/* Sends what is queued, then an `error` frame if `why` is given, then closes; on_down follows. */
void net_peer_close(struct net_peer *peer, const struct sk_err *why);

/* ---- server ---- */

/* Listens. `address` as in address.h; port 0 is not written in text: use port_any. */
int net_server_new(uv_loop_t *loop, const struct net_channel_cfg *cfg, const char *address,
                   const struct net_callbacks *callbacks, struct net_server **ret,
                   struct sk_err *err);
/* The same on a free port of a numeric address: see net_server_port(). */
int net_server_new_any(uv_loop_t *loop, const struct net_channel_cfg *cfg, const char *host,
                       const struct net_callbacks *callbacks, struct net_server **ret,
                       struct sk_err *err);
uint16_t net_server_port(const struct net_server *server);
/* A renewed certificate for handshakes from now on. Session tickets of before it lose their worth:
 * each peer makes one full handshake. */
int net_server_set_identity(struct net_server *server, const struct net_identity *identity,
                            struct sk_err *err);
/* After a change of the revoked set: ends every live connection that it names. Returns how many. */
unsigned net_server_recheck(struct net_server *server);
/* Ends the node's live connection. Returns how many. */
unsigned net_server_close_node(struct net_server *server, struct sk_str node,
                               const struct sk_err *why);
struct net_peer *net_server_find(struct net_server *server, struct sk_str node); /* or NULL */
unsigned net_server_count(const struct net_server *server); /* connections of any state */
/* No callback is called any more; handles end as the loop runs on. NULL allowed. */
void net_server_free(struct net_server *server);

/* ---- client: one connection to each address, kept up ---- */

/* Reconnects at once after the first loss, then after 100 ms, doubling to 2 s, each less a random
 * part of up to a half. */
int net_client_new(uv_loop_t *loop, const struct net_channel_cfg *cfg,
                   const struct net_callbacks *callbacks, struct net_client **ret,
                   struct sk_err *err);
/* The whole list, at most 16; connections to those that stay are left alone. SK_ERR_INPUT. */
int net_client_set_addresses(struct net_client *client, const char *const *addresses, size_t count,
                             struct sk_err *err);
int net_client_set_identity(struct net_client *client, const struct net_identity *identity,
                            struct sk_err *err);
unsigned net_client_recheck(struct net_client *client); /* as net_server_recheck() */
/* Ends every live connection and makes it anew at once: what the certificate says of this node has
 * changed, and the others believe what they saw at the handshake. */
void net_client_reconnect(struct net_client *client, const struct sk_err *why);
/* The same frame to every peer that is up. Returns to how many it was queued. */
unsigned net_client_send_all(struct net_client *client, struct sk_str json);
/* The same, to those that `wants` names. */
unsigned net_client_send_some(struct net_client *client, struct sk_str json,
                              bool (*wants)(void *ctx, const struct net_peer *peer), void *ctx);
/* The same to that node alone. SK_ERR_UNAVAILABLE: it is not connected. */
int net_client_send_to(struct net_client *client, const char *node, struct sk_str json,
                       struct sk_err *err);
unsigned net_client_up(const struct net_client *client); /* how many are up */
void net_client_free(struct net_client *client);

#endif
