/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SK_NET_ENROL_H
#define SK_NET_ENROL_H

#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "net/channel.h"
#include "net/identity.h"
#include "net/token.h"

/*
 * How a certificate is come by: joining with a token, and renewing over the channel.
 */

/* ---- the newcomer ---- */

struct net_join {
    const char *address;           /* of a control node: HOST or HOST:PORT */
    const struct net_token *token; /* wiped by the caller */
    const char *dir;               /* identity folder, must exist; empty of an identity */
    const char *source;            /* local address to connect from, or NULL */
    int64_t timeout_ms;            /* for everything but the look-up of a name */
    /* what the newcomer says of itself: labels, sizes are checked by control */
    const char *node, *site, *node_address, *machine_id, *incarnation;
    int64_t cpus_nano, memory_bytes, disk_bytes;
    struct sk_str labels; /* a JSON object, or empty */
};

struct net_joined {
    struct net_identity identity; /* net_identity_release() */
    char site[64];
    char prefix[64];
    char control[NET_ADDRESS_SIZE]; /* of the control node that took it in */
};

/*
 * Blocks: for the command line. Connects; believes the server only if it shows the CA of the
 * token's fingerprint and a control node's certificate signed by it, and only then sends the token;
 * takes `joined`, checks that certificate and CA fit, and writes DIR/joined.json (the answer as it
 * came), node.key, ca.pem, node.pem. On failure nothing of an identity is left in the folder. A
 * control node that does not lead names the one that does, which is then asked in the same way.
 *
 * SK_ERR_CONFLICT: DIR holds an identity. SK_ERR_UNAUTHENTICATED: not the token's cluster.
 * SK_ERR_UNAVAILABLE, SK_ERR_TIMEOUT: not reached. Else what the server says (a token that is
 * expired or used up is SK_ERR_DENIED there), with "the other side says: ".
 */
int net_join(const struct net_join *join, struct net_joined *ret, struct sk_err *err);

/* ---- renewal: when net_cert_renew_at_ms() has come ---- */

/* The node's `renew` frame. Appends. */
int net_renew_request(const struct net_identity *identity, struct sk_buf *ret_json,
                      struct sk_err *err);
/* The node's new identity, checked to be its own; then net_identity_save_cert() and
 * net_client_set_identity(). */
int net_renew_finish(const struct net_identity *identity, const struct net_frame *renewed,
                     struct net_identity *ret, struct sk_err *err);

#endif
