/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SK_NET_CONN_H
#define SK_NET_CONN_H

#include <stdbool.h>
#include <stdint.h>

#include <uv.h>

#include "base/buf.h"
#include "net/channel.h"
#include "net/frame.h"
#include "net/tls.h"
#include "sys/table.h"

/*
 * Inside src/net only: what server and client share. An endpoint owns connections; a connection
 * (struct net_peer) is a TCP handle, a TLS engine between two byte queues, a frame reader and a
 * state:
 *
 *     HANDSHAKE -> HELLO -> UP             a peer with a certificate
 *     HANDSHAKE -> JOIN -> ANSWER          a newcomer without
 *     any -> LINGER -> CLOSED              what is queued is sent, then our side is shut, and the
 *                                          peer's bytes are thrown away until it closes too: a
 * plain close() would reset the connection and could destroy the error frame or the TLS alert on
 * its way any -> CLOSED                        at once
 *
 * All times are sys_now_ms(). on_down and on_refused are always called from the loop.
 */
enum net_state { NET_HANDSHAKE, NET_HELLO, NET_UP, NET_JOIN, NET_ANSWER, NET_LINGER, NET_CLOSED };

struct net_source; /* server.c: connections of one address */
struct net_link;   /* client.c: one address to be connected to */

struct net_peer {
    uv_tcp_t tcp;
    struct net_endpoint *ep;
    SSL *ssl;
    struct net_tls_judge judge;
    enum net_state state;
    bool handed_up;      /* on_up or on_join was called, on_down is owed */
    bool reported;       /* on_down or on_refused was called, or is not owed */
    bool was_full;       /* on_drain is owed */
    bool writing;        /* a uv_write is under way */
    bool shut;           /* our side is shut down */
    bool shaking;        /* server: counts among the handshakes at a time */
    int64_t deadline_ms; /* of the state; 0 = none */
    int64_t heard_ms, said_ms;
    const char *in; /* bytes from the network that TLS has not taken yet; only during a read */
    size_t in_len;
    struct sk_buf out; /* TLS records to be written */
    size_t flying;     /* bytes in the uv_write */
    uv_shutdown_t shutdown;
    struct net_frame_reader reader;
    struct sk_err *why; /* why it ended, NULL while it lives or if it simply ended */
    struct net_peer_info info;
    void *data;
    struct net_source *source;
    struct net_link *link;
    struct net_peer *prev, *next; /* of the endpoint */
    UT_hash_handle hh;            /* of the server's peers by node */
};

struct net_endpoint {
    uv_loop_t *loop;
    bool is_server;
    bool freed; /* no more callbacks; gone with the last handle */
    struct net_channel_cfg cfg;
    struct net_hello hello;
    char *source;
    struct net_callbacks cb;
    SSL_CTX *tls;
    BIO_METHOD *bio;
    uv_timer_t sweep;
    unsigned handles; /* not yet closed */
    struct net_peer *peers;
    unsigned npeers;
    int64_t notes_second; /* on_refused: this second, and how many in it */
    unsigned notes;
    char bytes[16384]; /* what a read puts in; taken before it returns */
    char plain[16384];
    /* hooks of server.c and client.c */
    void (*peer_up)(struct net_peer *peer);                            /* before on_up */
    void (*peer_end)(struct net_peer *peer, const struct sk_err *why); /* before on_down */
    void (*peer_swept)(struct net_peer *peer, int64_t now_ms); /* now and then; may be NULL */
    bool (*join_allowed)(struct net_peer *peer, struct sk_err *err);
    void (*release)(struct net_endpoint *ep); /* the last handle has closed */
};

int net_endpoint_init(struct net_endpoint *ep, uv_loop_t *loop, const struct net_channel_cfg *cfg,
                      const struct net_callbacks *callbacks, bool is_server, struct sk_err *err);
/* Ends all connections and the sweep; `release` is called when the last handle is closed. */
void net_endpoint_end(struct net_endpoint *ep);
void net_endpoint_handle_closed(struct net_endpoint *ep); /* one handle less */
void net_endpoint_release(struct net_endpoint *ep);       /* its memory, not the struct */
int net_endpoint_set_identity(struct net_endpoint *ep, const struct net_identity *identity,
                              struct sk_err *err);
unsigned net_endpoint_recheck(struct net_endpoint *ep);
void net_endpoint_note(struct net_endpoint *ep, const char *address, const struct sk_err *why);

/* A connection in state CLOSED with an open tcp handle; not counted until started. */
struct net_peer *net_conn_new(struct net_endpoint *ep);
/* Connected: begins TLS. `session` may be NULL. */
void net_conn_start(struct net_peer *peer, SSL_SESSION *session);
/* Ends it at once. `why` may be NULL. */
void net_conn_end(struct net_peer *peer, const struct sk_err *why);
/* Ends it after what is queued, an error frame for `why` among it where TLS stands. */
void net_conn_linger(struct net_peer *peer, const struct sk_err *why);
/* on_down or on_refused now, if still owed. */
void net_conn_report(struct net_peer *peer, const struct sk_err *why);

#endif
