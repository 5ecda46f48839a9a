/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SK_DAEMON_KEYS_H
#define SK_DAEMON_KEYS_H

#include <stdbool.h>
#include <uv.h>

#include "base/err.h"
#include "daemon/vault.h"
#include "net/channel.h"

/*
 * The vault at work on a control node. Where there are several, each splits its own unseal key
 * among all of them, by itself: sends every other one its share, waits until all have said that
 * they keep it, and only then removes the key's file. A starting node asks the others for the
 * shares of its own key, twice a second, until its vault opens; whoever is asked gives them, also
 * while it waits itself, and gives nobody the shares of another. Other members, or one alone: the
 * same again.
 *
 * Frames, between certificates of role control alone; the name in the certificate says whose key is
 * meant. From the owner's client to the servers of the others: `share_keep` {share, in_force},
 * `share_ask` {}. Back: `share_kept` {generation}, `share` {shares: [text]}; each at most five a
 * second to a node. `recovery` {public, made_ms} goes to each control node that connects, and to
 * all when there is a new code. Loop thread only.
 */
struct keys;

#define KEYS_MEMBERS_MAX 9

struct keys_config {
    const char *dir; /* the control folder */
    const char *cluster, *node;
    /* Who the control nodes are now, this one too; 0: not known. With one the key is a file; with
     * three or more it is split; with two all stays as it is: they are only passed through. */
    size_t (*members)(void *ctx, struct sk_str ret[KEYS_MEMBERS_MAX]);
    void (*opened)(void *ctx); /* the vault has opened by shares: once, never from keys_new() */
    /* to the control node of that name if this node is connected to it, NULL: to every one */
    void (*send)(void *ctx, const char *node, struct sk_str frame);
    void *ctx;
    int64_t ask_ms; /* between asks; 0: 500 */
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
/* This node's server: a frame of a node. True: it was one of ours. */
bool keys_on_request(struct keys *keys, struct net_peer *peer, const struct net_frame *frame);
/* This node's client: a frame of a control node; others than ours are left alone. */
void keys_on_frame(struct keys *keys, struct net_peer *peer, const struct net_frame *frame);

/* How this node's key rests, for status. True: it is split into so many shares, and so many of them
 * open it; else it is a file. */
bool keys_split(const struct keys *keys, unsigned *ret_shares, unsigned *ret_needed);

/* Another recovery code, here and on every control node that is connected now or later. */
int keys_recovery_new(struct keys *keys, struct seal_code *ret_code, struct sk_err *err);

#endif
