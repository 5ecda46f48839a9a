/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SK_PLAN_BUCKETS_H
#define SK_PLAN_BUCKETS_H

#include "plan/world.h"

/*
 * Buckets: the code k+m and how many shards of a stripe each site holds. Independent of services
 * but for the disk, which is taken from pl_world.pool.
 */
enum pl_bucket_state {
    PL_BUCKET_OK,
    PL_BUCKET_NO_SITE,   /* no allowed site has a node with disk */
    PL_BUCKET_NO_SPREAD, /* the sites and nodes do not allow the code to survive the loss */
    PL_BUCKET_NO_NODES,  /* fewer nodes with disk than shards */
    PL_BUCKET_NO_DISK    /* the shards do not fit */
};

struct pl_bucket {
    const struct project *project;
    const struct bucket *decl;
    enum pl_bucket_state state;
    bool sites_written;
    uint32_t sites;  /* f, written or default */
    bool proven;     /* that it cannot be had */
    bool goal_unmet; /* the default f = 1 could not be had */
    int64_t data, parity;
    uint32_t *shards; /* [nsites] */
    int64_t missing;  /* bytes short, for PL_BUCKET_NO_DISK */
};

struct pl_buckets {
    struct pl_bucket *items;
    size_t len;
    double cost_hour;
};

/* Plans all buckets and takes their disk from w->pool; sets w->pooled if services compete for it.
 * Before any service is placed. In the world's arena. */
void pl_buckets_plan(struct pl_world *w, struct pl_buckets *ret);
void pl_buckets_report(const struct pl_world *w, const struct pl_buckets *buckets,
                       struct plan *plan);
/* Any bucket without a place? */
bool pl_buckets_broken(const struct pl_buckets *buckets);

#endif
