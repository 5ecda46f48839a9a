/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SK_STORE_ETCD_H
#define SK_STORE_ETCD_H

#include "store/store.h"

/*
 * The etcd form of the store: the state on the members of an etcd cluster (3.4 or newer), through
 * its JSON gateway. docs/etcd.md says how and why.
 *
 * Time: a call is over after `deadline_ms`, whatever the members do, and a member that is silent
 * for `attempt_ms` is given up for the next one. A list, a snapshot and a restore have that time
 * for each page or batch. A watch has it beyond its own time-out. The bound may be overrun by what
 * the operating system takes to run the thread, not by the network.
 *
 * After SK_ERR_TIMEOUT from a txn its outcome is open. The next call on the same handle settles it
 * before it does anything else, or fails: so the next read tells, for good. SK_ERR_UNAVAILABLE
 * means that nothing was changed.
 *
 * Revisions skip a number when a txn of unknown outcome was made final, when a restore was
 * prepared, and when others write to the same etcd. A compaction concerns the whole etcd.
 *
 * Names of hosts are looked up by the operating system; give addresses where the bound must hold.
 * Certificates and keys are read again for each new connection, so replaced files are taken up.
 */
#define STORE_ETCD_ENDPOINTS_MAX 9
#define STORE_ETCD_ATTEMPT_MS 1000
#define STORE_ETCD_DEADLINE_MS 4000
/* etcd's own default for the size of one request; members started by skerry take more. */
#define STORE_ETCD_TXN_BYTES 1500000
#define STORE_ETCD_TXN_BYTES_MAX (10 * 1024 * 1024)

struct store_etcd {
    const char *const *endpoints; /* "https://ADDRESS:PORT", the preferred one first */
    size_t nendpoints;
    const char *root;      /* '/' and a label, the place of the state; NULL: "/skerry" */
    const char *ca_file;   /* whom to believe: nothing else is */
    const char *cert_file; /* our own */
    const char *key_file;
    int64_t attempt_ms, deadline_ms; /* 0: the defaults above */
    size_t txn_bytes_max;            /* keys and values of one txn; 0: STORE_ETCD_TXN_BYTES */
    /* Once it is readable (an eventfd, never read here), the call under way and all later ones end
     * at once, as if their time were over; 0: there is none. For a thread that is waited for. */
    int stop_fd;
};

/* Finds the state under its root, or makes an empty one. Blocks for deadline_ms at most.
 * SK_ERR_UNAVAILABLE when no member answers; SK_ERR_INPUT for options; SK_ERR_CORRUPT. */
int store_open_etcd(const struct store_etcd *options, struct store **ret_store, struct sk_err *err);
/* The members are others now: the whole list, the preferred one first. What the handle knows of its
 * last txn, it keeps; a watch goes on from where it was. `store` was opened by store_open_etcd().
 * SK_ERR_INPUT: an address is none, or there are too many; nothing was changed. */
int store_etcd_set_endpoints(struct store *store, const char *const *endpoints, size_t count,
                             struct sk_err *err);

#endif
