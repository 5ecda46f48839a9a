/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SK_DAEMON_VAULT_H
#define SK_DAEMON_VAULT_H

#include <stdbool.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/str.h"
#include "net/seal.h"

/*
 * The secrets of a control node, in its control folder: sealed under an unseal key of its own,
 * which lies in a file beside them (one control node) or is split among the control nodes
 * (several): each of them keeps a share of each other's.
 *
 *     NAME.sealed      a secret: ca.key, etcd-ca.key, peer.key, probe.key, cluster.key
 *     unseal.key       the unseal key, in hex: with one control node alone
 *     share.json       this node's own share of it, and among whom it is split: with several
 *     held/NODE.json   shares of the unseal keys of other control nodes
 *     recovery.json    the public half of the recovery code's key pair, and the unseal key sealed
 *                      to it: what `skerry control recover` opens when shares are lost
 *
 * All are files of skerryd's user, mode 0600: skerryd runs without privilege and must read them.
 * Each is written whole and durably, in an order that leaves a vault that opens, wherever a crash
 * falls.
 *
 * Starting: vault_load(); where vault_is_open() is false then, the others' shares are needed:
 * vault_offer() each that comes, until it is open.
 *
 * From one to several, and to other members: vault_split(), nothing on disk; each other member does
 * vault_held_put() and confirms; once all have, vault_split_commit() puts the own share in force
 * and removes unseal.key. Killed before, it splits anew. Others keep the share in force beside the
 * newest until they hear that it went. Back to one: vault_join(). Each node does so for its own
 * vault, by itself (daemon/keys.h); no two of them have to agree on anything.
 *
 * The key in memory is in guarded pages that are not swapped (sodium_malloc). One thread. Blocks on
 * the disk, for short: at start-up, and for operations that are rare.
 */
struct vault;

#define VAULT_CLUSTER_KEY "cluster.key" /* 32 bytes in hex: what secrets and storage seal with */
#define VAULT_CA_KEY "ca.key"           /* PEM */
#define VAULT_PROBE_KEY "probe.key"     /* hex */

/* A new one, open, its key in unseal.key. SK_ERR_CONFLICT: the folder holds one. `ret_code`: to be
 * shown once and wiped. */
int vault_create(const char *dir, const char *cluster, struct seal_code *ret_code,
                 struct vault **ret, struct sk_err *err);
/* The one of the folder: open where unseal.key is there, else waiting for shares. A folder of
 * before there were vaults (ca.key lies open in it) is taken over; it has no recovery code then.
 * SK_ERR_NOT_FOUND: neither key nor share; SK_ERR_CORRUPT. */
int vault_load(const char *dir, const char *cluster, struct vault **ret, struct sk_err *err);
/* By the recovery code, whatever else is lost. SK_ERR_DENIED: not its code. Nothing is written:
 * vault_join() makes it the vault of one control node. */
int vault_recover(const char *dir, const char *cluster, const struct seal_code *code,
                  struct vault **ret, struct sk_err *err);
void vault_free(struct vault *vault); /* wipes; NULL allowed */
bool vault_is_open(const struct vault *vault);

/* ---- secrets: of an open vault ---- */

/* Appends it; the caller wipes it (seal_wipe). SK_ERR_NOT_FOUND, SK_ERR_CORRUPT; SK_ERR_UNAVAILABLE
 * while the vault is not open. */
int vault_get(const struct vault *vault, const char *name, struct sk_buf *ret, struct sk_err *err);
/* Durably, in place of the one before. */
int vault_put(struct vault *vault, const char *name, struct sk_str secret, struct sk_err *err);

/* ---- the recovery code ---- */

/* Another one: only it opens what is sealed from now on. */
int vault_recovery_new(struct vault *vault, int64_t wall_ms, struct seal_code *ret_code,
                       struct sk_err *err);
struct vault_recovery {
    int64_t made_ms; /* wall clock; the newest code is the cluster's */
    uint8_t public_key[SEAL_PUBLIC_BYTES];
};
/* SK_ERR_NOT_FOUND: there is no code yet. Needs no open vault. */
int vault_recovery(const char *dir, struct vault_recovery *ret, struct sk_err *err);
/* What another control node says; an older one changes nothing. */
int vault_recovery_take(struct vault *vault, const struct vault_recovery *other,
                        struct sk_err *err);

/* ---- shares ---- */

struct vault_split {
    char generation[SEAL_ID_SIZE];
    unsigned count;
    struct sk_buf shares[SEAL_SHARES_MAX]; /* texts; the first is the own one */
};
/* Shares of which more than half open: count / 2 + 1. */
int vault_split(const struct vault *vault, unsigned count, struct vault_split *ret,
                struct sk_err *err);
/* All others have theirs: the own share in force, then unseal.key goes. `members`: their names, the
 * own one too. */
int vault_split_commit(struct vault *vault, const struct vault_split *split,
                       const char *const *members, struct sk_err *err);
void vault_split_release(struct vault_split *split); /* wipes */
/* The split in force is among exactly these. */
bool vault_is_split_among(const struct vault *vault, const char *const *members, size_t count);
bool vault_is_split(const struct vault *vault);
/* True: it is, into so many shares, and so many of them open it. */
bool vault_split_counts(const struct vault *vault, unsigned *ret_shares, unsigned *ret_needed);
/* Of the split in force; "" if there is none. */
void vault_generation(const char *dir, char ret[SEAL_ID_SIZE]);
/* The vault of one control node again: unseal.key is written, then the share goes. */
int vault_join(struct vault *vault, struct sk_err *err);

/* A share that came from the control node `from`: each counts once for each split. 0 also when
 * more are needed: see vault_is_open(). SK_ERR_CONFLICT: not of the split in force. */
int vault_offer(struct vault *vault, const char *from, struct sk_str text, struct sk_err *err);
/* "1 of 2 shares": what one that is not open waits for. */
void vault_waiting(const struct vault *vault, char *ret, size_t size);

/* Keeps `owner`'s share, and of those before it the one of `in_force` ("": none). Repeating it is
 * fine. SK_ERR_INPUT, SK_ERR_CORRUPT; SK_ERR_CONFLICT: of another cluster. */
int vault_held_put(const char *dir, const char *cluster, const char *owner, struct sk_str text,
                   const char *in_force, struct sk_err *err);
/* What is kept for `owner`: appends a JSON list of texts, at most two. */
int vault_held_get(const char *dir, const char *owner, struct sk_buf *ret_json, struct sk_err *err);

/* The sealed secrets and recovery.json as one JSON object (nothing in it is open), for a new
 * control node; and there, into its folder, which holds no vault. Its unseal.key comes by
 * vault_key(), and is written last. */
int vault_export(const char *dir, struct sk_buf *ret_json, struct sk_err *err);
int vault_import(const char *dir, struct sk_str json, struct sk_err *err);
/* What unseal.key holds; appends, the caller wipes it. For a control node that is being made, over
 * the channel, and nobody else: it splits it by itself once it is one. */
int vault_key(const struct vault *vault, struct sk_buf *ret_hex, struct sk_err *err);

/* All of it, of a server that ceases to be a control node. */
int vault_wipe(const char *dir, struct sk_err *err);

#endif
