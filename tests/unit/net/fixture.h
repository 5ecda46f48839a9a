/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SK_TESTS_NET_FIXTURE_H
#define SK_TESTS_NET_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <pthread.h>
#include <uv.h>

#include <cmocka.h>

#include "base/mem.h"
#include "net/channel.h"
#include "net/enrol.h"
#include "sys/clock.h"

/* One loop with a CA, and the two ends of a channel whose callbacks count and remember. */
struct side {
    struct world *world;
    unsigned ups, downs, frames, joins, drains, refused;
    struct net_peer *peer; /* the last that came up */
    struct net_peer_info info;
    char type[40];
    char bytes[2048];   /* the last frame */
    struct sk_err why;  /* the last on_down */
    struct sk_err note; /* the last on_refused */
    char note_address[NET_ADDRESS_SIZE];
};

struct world {
    uv_loop_t loop;
    uv_timer_t tick; /* so that a quiet loop looks at its condition */
    struct net_ca *ca;
    struct net_identity control, node;
    struct net_revoked *revoked;
    struct net_channel_cfg cfg; /* of the server; change before fx_server() */
    struct net_server *server;
    struct net_client *client;
    struct side s, c;
    struct net_callbacks scb, ccb;
};

struct world *fx_new(void);
void fx_free(struct world *w);
void fx_server(struct world *w);
void fx_client(struct world *w, const struct net_identity *id, struct net_channel_cfg cfg);
/* Runs the loop until *counter >= want; fails the test after 20 s. */
void fx_until(struct world *w, const unsigned *counter, unsigned want);
void fx_for(struct world *w, int64_t ms);
void fx_identity(const struct net_ca *ca, enum net_cert_kind kind, const char *node,
                 int64_t wall_ms, int64_t life_ms, struct net_identity *ret);

/* A peer that keeps no rules: its own thread, blocking socket, any bytes. */
struct raw {
    uint16_t port;
    bool tls;
    const struct net_identity *id; /* certificate to show, or NULL */
    int tls_max;                   /* 0, or a protocol version */
    const char *bytes;
    size_t len;
    bool half_close;  /* say that this was all, then read to the end */
    bool hang_up;     /* close after sending, else read to the end */
    unsigned wait_ms; /* between connect and the first byte */
    /* results */
    bool shaken;
    char reply[70000];
    size_t reply_len;
    unsigned done;
    pthread_t thread;
};

void fx_raw_start(struct raw *raw);
void fx_raw_end(struct world *w, struct raw *raw); /* runs the loop until it is over */
/* Length and payload, in a static buffer. */
const char *fx_frame(const char *json, size_t *ret_len);

#endif
