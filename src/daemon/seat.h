/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SK_DAEMON_SEAT_H
#define SK_DAEMON_SEAT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/tree.h"
#include "control/control.h"
#include "daemon/config.h"
#include "daemon/vault.h"
#include "net/identity.h"

/*
 * The frames by which a node becomes, and ceases to be, a control node (docs/architecture.md), and
 * what it keeps of that in DIR/control. Reading is strict: what does not fit is SK_ERR_PROTOCOL.
 */
#define SEAT_ID_SIZE 33
#define SEAT_URL_SIZE 256

struct seat_peer {
    char name[NET_NAME_SIZE];
    char peer_url[SEAT_URL_SIZE], client_url[SEAT_URL_SIZE];
};

/* What it takes to be a control node, but for the secrets: also DIR/control/etcd/engine.json. */
struct seat_spec {
    char id[SEAT_ID_SIZE]; /* of the operation that granted it */
    int64_t rev;           /* of the record `control` that it was granted by */
    char token[SEAT_ID_SIZE];
    bool external, join;
    double rtt_ms;
    int64_t quota_bytes; /* of its member's file; 0: etcd's own default */
    struct seat_peer peers[CONTROL_MEMBERS_MAX];
    size_t npeers;
    char endpoints[CONTROL_MEMBERS_MAX][SEAT_URL_SIZE]; /* external */
    size_t nendpoints;
};

/* `control_prepare`, `control_leave`: id and revision. */
int seat_read_plain(const struct sk_node *tree, struct seat_spec *ret, struct sk_err *err);
/* `control_grant`, or the file that was kept of one. */
int seat_read_grant(const struct sk_node *tree, struct seat_spec *ret, struct sk_err *err);
void seat_write_spec(const struct seat_spec *spec, struct sk_buf *out);

/* A node's `control_state`. */
struct seat_state {
    struct sk_str id;
    enum control_stage stage;
    struct sk_str peer_url, client_url, error;
    int64_t port;
};
void seat_write_state(const struct seat_state *state, struct sk_buf *out);
int seat_read_state(const struct sk_node *tree, struct sk_str node, struct control_event *ret,
                    struct sk_err *err);

/* ---- the folder ---- */

/* The secrets that a grant carries, as a JSON object: the vault as it is sealed, what opens it, and
 * the certificates beside it. What the cluster lacks of them (etcd's authority, the control nodes'
 * key among themselves) is made. `vault` is open. The caller wipes it. */
int seat_secrets_write(struct vault *vault, const char *control_dir, const char *cluster,
                       bool external, struct sk_buf *out, struct sk_err *err);
/* Keeps them, where the folder holds no vault yet; nothing but the known names is taken. */
int seat_secrets_take(const char *control_dir, const struct sk_node *frame, bool external,
                      struct sk_err *err);
/* CA, certificate and key of an operator's own etcd, until they are granted. */
int seat_external_keep(const char *control_dir, const struct sk_str pems[3], struct sk_err *err);
void seat_external_drop(const char *control_dir);
/* etcd's certificate of this node: a new one when the present one is half over. `vault`: an open
 * one, or NULL: that of the folder is opened. */
int seat_certificate(const struct vault *vault, const char *control_dir,
                     const struct daemon_config *config, struct sk_err *err);
/* Everything that a control node has. The rest of an etcd alone, if `control` stays. */
int seat_wipe(const char *control_dir, bool control_stays, struct sk_err *err);

#endif
