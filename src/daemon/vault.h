/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SK_DAEMON_VAULT_H
#define SK_DAEMON_VAULT_H

#include <stdbool.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/str.h"
#include "net/seal.h"

/*
 * The secrets of a control node, in its control folder: sealed under one unseal key, which lies in
 * a file beside them (one control node) or is split among the control nodes (several).
 *
 *     NAME.sealed      a secret: ca.key, etcd-ca.key, peer.key, probe.key, cluster.key
 *     unseal.key       the unseal key, in hex: with one control node alone
 *     share.json       this node's share of it: with several
 *     share.next.json  the same of a split that is under way
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
 * From one to several, and to other members (who drives it writes down where it stands):
 *
 *     vault_split(v, count, threshold, &split)     on the one that drives it; nothing on disk
 *     vault_import() + vault_share_keep()          on each new member, with its text
 *     vault_share_keep()                           on each other member, the driver too
 *     -- all have confirmed: write down that `generation` is being committed --
 *     vault_share_commit(generation)               on each, until all have confirmed
 *
 * Killed before the written word, the driver splits anew: what was kept is replaced. Killed after
 * it, it only repeats the commits. Back to one: vault_join() on the one that stays, then
 * vault_wipe() on the others.
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
    struct sk_buf shares[SEAL_SHARES_MAX]; /* texts; share i is member i's */
};
/* Shares of which more than half open: count / 2 + 1. */
int vault_split(const struct vault *vault, unsigned count, struct vault_split *ret,
                struct sk_err *err);
void vault_split_release(struct vault_split *split); /* wipes */

/* Keeps a share beside the one in force. Repeating it is fine. SK_ERR_INPUT, SK_ERR_CORRUPT;
 * SK_ERR_CONFLICT: of another cluster. */
int vault_share_keep(const char *dir, const char *cluster, struct sk_str text, struct sk_err *err);
/* Puts the share of this generation in force: unseal.key and other shares go. Repeating it is fine.
 * SK_ERR_CONFLICT: there is none of it. */
int vault_share_commit(const char *dir, const char *generation, struct sk_err *err);
/* Gives up a split that was not committed. */
int vault_share_drop(const char *dir, struct sk_err *err);
/* What this node answers to share_ask: appends a JSON list of its shares' texts, at most two. */
int vault_shares(const char *dir, struct sk_buf *ret_json, struct sk_err *err);
/* A share that came from the control node `from`: each counts once for each split. 0 also when
 * more are needed: see vault_is_open(). SK_ERR_CONFLICT: of no split that this node has a share of.
 */
int vault_offer(struct vault *vault, const char *from, struct sk_str text, struct sk_err *err);
/* "1 of 2 shares": what an open one waits for. */
void vault_waiting(const struct vault *vault, char *ret, size_t size);

/* The vault of one control node again: unseal.key is written, then shares go. */
int vault_join(struct vault *vault, struct sk_err *err);

/* The sealed secrets and recovery.json as one JSON object (nothing in it is open), for a new
 * member; and there, into its folder, which must hold no vault or this one's former self. */
int vault_export(const char *dir, struct sk_buf *ret_json, struct sk_err *err);
int vault_import(const char *dir, struct sk_str json, struct sk_err *err);
/* All of it, of a server that ceases to be a control node. */
int vault_wipe(const char *dir, struct sk_err *err);

#endif
