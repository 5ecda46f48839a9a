/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SK_PLAN_VERIFY_INTERNAL_H
#define SK_PLAN_VERIFY_INTERNAL_H

#include "plan/verify/verify.h"

/*
 * What the verifier's files share: the world as the contract reads it (which nodes a service may
 * use, what it asked for, how far its users are), and the plan turned from names into indexes.
 *
 * Two kinds of findings. vf_find() is for what must be true of every plan: legal, within capacity,
 * figures that describe what is placed. vf_broken() is for the hard rules that a plan may break if
 * its verdict says so: a finding under "ok", and only remembered under any other verdict (a plan
 * that breaks none of them may not be called impossible).
 *
 * Everything lives in the report's arena. Nothing here is thread safe.
 */
#define VF_TOLERANCE 1e-9    /* shares and bounds; money, relative */
#define VF_MS_TOLERANCE 1e-6 /* stated milliseconds: room for another way to compute an arc */
#define VF_HOURS_PER_MONTH 730.0
#define VF_BYTES_PER_GB 1073741824.0
#define VF_ROWS_MAX 1000000 /* loss rows that a world may ask for */

struct vf_use { /* exact, wide enough for any plan */
    __int128 cpus, memory, disk;
};

struct vf_service {
    const struct project *project;
    const struct service *service;
    size_t pi;    /* its project */
    size_t first; /* its first replica in vf.home and vf.now */
    int64_t placed;
    int64_t sites, nodes, keep; /* survive, with the defaults filled in */
    bool sites_written;         /* asked in writing, also by after_loss_ms */
    bool keep_hard_sites, keep_hard_nodes;
    bool goal_short; /* a default survive.sites did not find room in some row */
    bool goal_nodes; /* keep does not hold for nodes, and was not written for them */
};

struct vf_of_row { /* per service, inside one loss row */
    int64_t lost, replaced, shorts;
    bool has_kept, has_latency;
};

struct vf_bucket {
    const struct project *project;
    const struct bucket *bucket;
    const struct plan_bucket *row; /* NULL: none */
    bool goal_unmet;
};

struct vf_demand {
    double rtt, share;
};

struct vf {
    const struct verify_input *in;
    const struct inventory *inv;
    const struct plan *plan;
    struct verify_report *report;
    struct sk_arena *arena;
    size_t findings_cap;
    bool broken; /* some hard rule does not hold */

    struct vf_service *services;
    size_t nservices;
    struct vf_bucket *buckets;
    size_t nbuckets;
    size_t *project_first; /* first service of each project */
    double **rtt;          /* per project: users x sites, INFINITY where nobody knows */

    size_t nreplicas;
    int64_t *home;          /* node of each replica, -1: not placed */
    int64_t *now;           /* the same inside the loss row that is looked at */
    struct vf_use *use;     /* per node, of the placements */
    struct vf_use *use_now; /* per node, inside a loss row */
    __int128 *site_disk;    /* per site: replicas' disk */
    __int128 *site_disk_now;
    __int128 *site_disk_cap;  /* per site: disk of its nodes that are not drained */
    long double *site_shards; /* per site: bytes of shards */
    size_t *site_rep;         /* replicas ordered by site... */
    size_t *site_rep_first;   /* ...and where each site's begin (nsites + 1) */

    struct vf_of_row *row_of; /* per service, inside a loss row */
    bool *holds;              /* scratch, per site */
    int64_t *count;           /* scratch, per node or site, whichever is more */
    struct vf_demand *demand; /* scratch, per user of the largest project */
};

/* findings.c */
void vf_find(struct vf *v, const char *rule, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
void vf_broken(struct vf *v, const char *rule, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
bool vf_money_eq(double a, double b);
bool vf_maybe_money_eq(struct plan_maybe a, struct plan_maybe b);
#define VF_NUM_MAX 40
/* "null" or the number, in one of a few static-free buffers of the caller */
const char *vf_num(struct plan_maybe n, char out[VF_NUM_MAX]);

/* world.c */
int vf_world(struct vf *v, struct sk_err *err);
struct vf_service *vf_service(struct vf *v, struct sk_str project, struct sk_str service);
/* Why the service may not use the node (the rule's name), or NULL if it may. */
const char *vf_forbidden(const struct vf *v, const struct vf_service *s, const struct node *node);
bool vf_resident(const struct site *site, const struct sk_str *residency, size_t nresidency);
bool vf_asked(const struct vf_service *s, size_t lost_sites);
size_t vf_replica_service(const struct vf *v, size_t replica); /* index into v->services */

/* measure.c: figures of a service whose replicas are at `at` (v->home or v->now) */
/* Marks v->holds; `lost` (per site, may be NULL) is left out. Returns how many replicas. */
int64_t vf_holds(struct vf *v, const struct vf_service *s, const int64_t *at, const bool *lost);
struct vf_reach {
    struct plan_maybe ms; /* within which the policy's share of demand is */
    double share;         /* of demand within `bound` */
};
/* By v->holds. */
struct vf_reach vf_reach(struct vf *v, const struct vf_service *s, double bound);
struct plan_maybe vf_cost(struct vf *v, const struct vf_service *s, const int64_t *at);

/* The parts, in the order in which they run. Each assumes those before it. */
void vf_check_placements(struct vf *v); /* placements.c: fills home, use */
void vf_check_capacity(struct vf *v);
void vf_check_buckets(struct vf *v); /* buckets.c: fills site_shards */
void vf_check_latency(struct vf *v);
void vf_check_cost(struct vf *v);                                                /* cost.c */
int vf_check_losses(struct vf *v, struct sk_err *err);                           /* losses.c */
void vf_check_loss(struct vf *v, const struct plan_loss *row, const bool *lost); /* loss_row.c */
void vf_check_node_losses(struct vf *v);                                         /* node_losses.c */
void vf_check_moves(struct vf *v);                                               /* moves.c */
void vf_check_goals(struct vf *v);                                               /* goals.c */
void vf_check_verdict(struct vf *v);

/* Sum of the `n` largest of `count` values; reorders them. */
int64_t vf_top(int64_t *values, size_t count, int64_t n);
/* "fra+ams", escaped, for messages */
#define VF_SET_MAX 200
const char *vf_set(const struct sk_str *names, size_t count, char out[VF_SET_MAX]);

#endif
