/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SK_DAEMON_FORWARD_H
#define SK_DAEMON_FORWARD_H

#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/str.h"
#include "daemon/call.h"
#include "daemon/vault.h"

/*
 * API calls that a standby passes on to the leader: over HTTPS, the server judged by the cluster's
 * CA, with a bearer token that control nodes alone have, and in whose name it is.
 *
 * The leader believes the name of whoever has that token, and of nobody else: who holds it is
 * admin. A call that was passed on is never passed on again.
 *
 * Any thread, one call each; blocks for the given time at most. Nothing is logged.
 */
#define PEER_KEY_BYTES 32
#define PEER_TOKEN_SIZE (5 + 2 * PEER_KEY_BYTES + 1) /* "skp1." and hex */
#define FORWARD_ANSWER_BYTES_MAX (64u * 1024 * 1024)
#define FORWARD_BEHALF "Skerry-On-Behalf"
#define FORWARD_MISDIRECTED 421 /* HTTP: the one that was asked does not lead */

#define VAULT_PEER_KEY "peer.key"
/* The key of the vault as a bearer token. `make`: where there is none, a new one is put there; else
 * SK_ERR_NOT_FOUND. Wipe it. */
int peer_token_load(struct vault *vault, bool make, char ret[PEER_TOKEN_SIZE], struct sk_err *err);

/* "ROLE WHO", with what is no plain character of WHO escaped. */
void forward_write_behalf(enum api_role role, struct sk_str who, struct sk_buf *out);
/* false: it is no such text. *ret_who is in `arena`. */
bool forward_read_behalf(struct sk_str text, struct sk_arena *arena, enum api_role *ret_role,
                         struct sk_str *ret_who);

struct forward_request {
    const char *address; /* of the leader: an IP address */
    uint16_t port;
    const char *ca_file;
    const char *token; /* peer_token_load() */
    struct sk_str method, target, body;
    enum api_role role;
    struct sk_str who;
    int64_t timeout_ms;
};
struct forward_answer {
    long status;
    char content_type[128];
    struct sk_buf body; /* release it, also after an error */
};

/* SK_ERR_UNAVAILABLE: it was not told of anything. SK_ERR_TIMEOUT: it may have been. */
int forward_call(const struct forward_request *request, struct forward_answer *ret,
                 struct sk_err *err);

#endif
