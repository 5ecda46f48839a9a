/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SK_DAEMON_MEMBER_H
#define SK_DAEMON_MEMBER_H

#include <uv.h>

#include "base/err.h"
#include "daemon/config.h"
#include "net/channel.h"
#include "net/frame.h"
#include "net/identity.h"
#include "net/pulse.h"

/*
 * What skerryd does on every node: beats to the control nodes (by channel and by datagram), hands
 * their assignments to the agent and the agent's observations to them, probes the nodes that it was
 * told to watch, drives the site's ingress where this node has it, renews its certificate. Loop
 * thread only.
 *
 * The last assignment is the agent's to keep; here nothing is stored but the identity.
 */
struct member;

struct member_config {
    const struct daemon_config *config;
    const struct net_identity *identity; /* copied */
    struct net_revoked *revoked;
    const char *boot;
    /* the identity was renewed: the control node's server and API need it too */
    void (*renewed)(void *ctx, const struct net_identity *identity);
    /* a frame between control nodes came from one (daemon/keys.h); NULL: left alone */
    void (*control_frame)(void *ctx, struct net_peer *peer, const struct net_frame *frame);
    /* a control node has connected, or sent a frame `control_…`: daemon/role.h */
    void (*up)(void *ctx);
    void (*seat)(void *ctx, const struct net_frame *frame);
    /* Control nodes: a beat by datagram; returns what to answer it with in *ret, or false. NULL on
     * others. */
    bool (*pulse)(void *ctx, const uint8_t *bytes, size_t len, uint8_t ret[NET_PULSE_ANSWER_BYTES]);
    void *ctx;
};

int member_new(uv_loop_t *loop, const struct member_config *config, struct member **ret,
               struct sk_err *err);
/* The node becomes, or ceases to be, a control node, also at its next start; its certificate
 * follows. */
int member_set_control(struct member *member, bool is_control, struct sk_err *err);
void member_free(struct member *member);
/* To the control node of that name, if it is connected; NULL: to every one. */
void member_send(struct member *member, const char *node, struct sk_str frame);

#endif
