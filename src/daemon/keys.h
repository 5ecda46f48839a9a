/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SK_DAEMON_KEYS_H
#define SK_DAEMON_KEYS_H

#include <stdbool.h>
#include <uv.h>

#include "base/err.h"
#include "daemon/vault.h"
#include "net/channel.h"

/*
 * The vault at work on a control node: where its key is split, it asks the other control nodes for
 * their shares, twice a second, until the vault opens; it gives them this node's, always; and the
 * newest recovery code's public half reaches every one of them.
 *
 * Frames, between certificates of role control alone: `share_ask` {} goes from the asking node's
 * client to the servers of the others; `share` {shares: [text]} is the answer, at most five a
 * second to a node; `recovery` {public, made_ms} goes to each control node that connects, and to
 * all when there is a new one. Loop thread only.
 */
struct keys;

struct keys_config {
    const char *dir; /* the control folder */
    const char *cluster;
    void (*opened)(void *ctx); /* the vault has opened by shares: once, never from keys_new() */
    /* to every control node that this node is connected to */
    void (*ask)(void *ctx, struct sk_str frame);
    void *ctx;
};

int keys_new(uv_loop_t *loop, const struct keys_config *config, struct keys **ret,
             struct sk_err *err);
void keys_free(struct keys *keys); /* NULL allowed */
bool keys_are_open(const struct keys *keys);
struct vault *keys_vault(struct keys *keys);

/* This node's server: connections of nodes come and go. True: it is a control node's. */
bool keys_peer_up(struct keys *keys, struct net_peer *peer);
void keys_peer_down(struct keys *keys, struct net_peer *peer);
/* Ends the connections that came while there was no key: they come again as nodes. */
void keys_close_peers(struct keys *keys, const struct sk_err *why);
/* A frame `share_ask` from a node. */
void keys_on_ask(struct keys *keys, struct net_peer *peer);
/* This node's client: a frame of a control node; others than ours are left alone. */
void keys_on_frame(struct keys *keys, struct net_peer *peer, const struct net_frame *frame);

/* Another recovery code, here and on every control node that is connected now or later. */
int keys_recovery_new(struct keys *keys, struct seal_code *ret_code, struct sk_err *err);

#endif
