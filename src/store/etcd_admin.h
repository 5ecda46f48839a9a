/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SK_STORE_ETCD_ADMIN_H
#define SK_STORE_ETCD_ADMIN_H

#include "store/etcd.h"

/*
 * The members of an etcd cluster themselves: health, space, alarms, membership, snapshots.
 *
 * Calls block, for options.deadline_ms at most, a snapshot as long as bytes come; on a worker, one
 * admin per thread. `at` is the place of a member in options.endpoints: what concerns one member is
 * asked of that one, the rest of whichever answers. Ids are etcd's, as decimal text.
 *
 * SK_ERR_UNAVAILABLE: nothing was changed; also when etcd holds that the change would endanger the
 * majority (all members must have been connected for 5 s). SK_ERR_TIMEOUT from what changes
 * something: it may have been, or may still be; list the members to see. What a member answers is
 * checked and bounded.
 */
#define STORE_ETCD_MEMBERS_MAX 16
#define STORE_ETCD_ALARMS_MAX 32
#define STORE_ETCD_ID_SIZE 21
#define STORE_ETCD_URL_SIZE 256

struct store_etcd_admin;

struct store_etcd_status {
    char member[STORE_ETCD_ID_SIZE];
    char leader[STORE_ETCD_ID_SIZE]; /* "" = it knows none: no majority */
    char version[32];
    int64_t db_bytes, db_bytes_used; /* the file, and what of it a defragmentation would leave */
    int64_t raft_index, raft_applied, raft_term;
    int64_t revision; /* etcd's own, the newest that this member has applied */
    bool learner;
};

struct store_etcd_member {
    char id[STORE_ETCD_ID_SIZE];
    char name[64];                        /* "" until it has started for the first time */
    char peer_url[STORE_ETCD_URL_SIZE];   /* the first of them */
    char client_url[STORE_ETCD_URL_SIZE]; /* "" until it has started */
    bool learner;
};

enum store_etcd_alarm_kind { STORE_ETCD_NOSPACE, STORE_ETCD_DAMAGED };
struct store_etcd_alarm {
    char member[STORE_ETCD_ID_SIZE];
    enum store_etcd_alarm_kind kind;
};

/* root, attempt_ms and txn_bytes_max of the options are not used. Asks nobody yet. */
int store_etcd_admin_new(const struct store_etcd *options, struct store_etcd_admin **ret,
                         struct sk_err *err);
void store_etcd_admin_free(struct store_etcd_admin *admin); /* NULL allowed */

int store_etcd_status(struct store_etcd_admin *admin, size_t at, struct store_etcd_status *ret,
                      struct sk_err *err);
/* Gives unused space back to the disk; the member answers nothing else meanwhile: one at a time. */
int store_etcd_defragment(struct store_etcd_admin *admin, size_t at, struct sk_err *err);
/* Ends the history but for the last `keep` revisions, and waits until that member's file shows it;
 * 0 also where it is so already. What is current stays. Concerns all users of this etcd. */
int store_etcd_compact(struct store_etcd_admin *admin, size_t at, int64_t keep, struct sk_err *err);
/* The member whose id is `to` leads from now on. Asked of the one that leads now, `at`. */
int store_etcd_lead(struct store_etcd_admin *admin, size_t at, const char *to, struct sk_err *err);
/* The member's whole database in etcd's own format (`etcdctl snapshot restore` reads it), checked
 * by its SHA-256. It appears under `path` whole and durable, mode 0600, or not at all. */
int store_etcd_save(struct store_etcd_admin *admin, size_t at, const char *path,
                    struct sk_err *err);

int store_etcd_alarms(struct store_etcd_admin *admin,
                      struct store_etcd_alarm ret[STORE_ETCD_ALARMS_MAX], size_t *ret_count,
                      struct sk_err *err);
int store_etcd_disarm(struct store_etcd_admin *admin, const struct store_etcd_alarm *alarm,
                      struct sk_err *err);

int store_etcd_members(struct store_etcd_admin *admin,
                       struct store_etcd_member ret[STORE_ETCD_MEMBERS_MAX], size_t *ret_count,
                       struct sk_err *err);
/* A learner has no vote until it is promoted, which is refused (SK_ERR_UNAVAILABLE) until it has
 * caught up: how a member is added without weakening the majority. */
int store_etcd_add_learner(struct store_etcd_admin *admin, const char *peer_url,
                           char ret_id[STORE_ETCD_ID_SIZE], struct sk_err *err);
int store_etcd_promote(struct store_etcd_admin *admin, const char *id, struct sk_err *err);
int store_etcd_remove(struct store_etcd_admin *admin, const char *id, struct sk_err *err);

#endif
