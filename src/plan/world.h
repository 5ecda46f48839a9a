/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SK_PLAN_WORLD_H
#define SK_PLAN_WORLD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "plan/planner.h"

/*
 * The planner's view of its input: everything by index, policies resolved, distances and prices
 * looked up once. Built once a plan and immutable afterwards, apart from the disk that buckets take
 * (pl_world.pool), which is set before any service is placed.
 *
 * Sites and nodes keep the inventory's indexes (sorted by name), so comparing indexes is comparing
 * names. Services of all projects form one array, by project and then by name.
 */
enum pl_res { PL_CPUS, PL_MEMORY, PL_DISK, PL_RES_COUNT };

#define PL_NONE UINT32_MAX
#define PL_EPS 1e-9 /* shares and bounds compare with this tolerance */
#define PL_MONTH_HOURS 730.0

struct pl_node {
    uint32_t site;
    int64_t cap[PL_RES_COUNT];
    bool usable; /* not drained, in a site of full trust */
    bool priced;
    uint32_t kind; /* equal for nodes that no service can tell apart: site, size, price, allowed for
                      the same shapes */
    double price;  /* per hour; of a node without a price the dearest known one, for ranking only */
};

/* A project's user populations, and how far each is from each site. */
struct pl_users {
    size_t count;
    const double *share; /* sums to 1 */
    const double *rtt;   /* [count][nsites] in ms; HUGE_VAL if nothing tells */
};

/* What services with equal size, residency and constraints have in common. */
struct pl_shape {
    int64_t need[PL_RES_COUNT];
    const uint32_t *nodes; /* allowed, by (site, node) */
    size_t nnodes;
    const uint32_t *sites; /* allowed, ascending */
    size_t nsites;
    const size_t *first;     /* [nsites + 1] offsets into nodes */
    const double *cost;      /* of one replica an hour on nodes[i] */
    const uint32_t *by_cost; /* positions in nodes, by (cost, position) */
    const uint32_t *in_site; /* the same within each site: first[k]..first[k + 1] by cost */
    const double *site_cost; /* [nsites] the cheapest of the site's nodes */
};

struct pl_svc {
    const struct project *project;
    const struct service *decl;
    const struct pl_users *users;
    const struct pl_shape *shape;
    uint32_t index;
    size_t replica0; /* of its replicas in arrays over all replicas */
    uint32_t replicas;
    /* survive, resolved: what is written is hard, what is not is a goal */
    uint32_t ask;        /* losses of up to so many sites are asked for; 0: none */
    uint32_t sites;      /* f, written or default */
    uint32_t nodes;      /* g, written or default */
    uint32_t keep;       /* n, written or default */
    bool site_keep_hard; /* keep in site losses is written */
    bool node_keep_hard;
    bool refit_goal; /* f = 1 is a default: fitting again after a site loss is a goal */
    /* latency */
    bool has_ms, has_after;
    double ms, after_ms, share;
    /* money */
    bool has_ceiling;
    double ceiling_month;
    double gb_hour;
    /* --current: node of each replica; PL_NONE = new, PL_GONE = was somewhere that is no more */
    const uint32_t *current; /* [replicas]; NULL without a current plan */
};
#define PL_GONE (UINT32_MAX - 1)

/* A set of sites whose loss the placement must leave room for. */
struct pl_scen {
    const uint32_t *sites; /* ascending */
    uint32_t count;
    const bool *lost; /* [nsites] */
};

struct pl_world {
    struct sk_arena *arena;
    const struct plan_input *in;
    const struct inventory *inv;
    size_t nsites, nnodes, nsvcs, nreplicas;
    struct pl_node *nodes;
    struct pl_svc *svcs;
    bool has_current;
    double move_share; /* cost of a move = this x the replica's hourly cost */
    /* scens[0] is "nothing lost"; then every single site; then the larger sets that are asked for
     */
    struct pl_scen *scens;
    size_t nscens;
    bool small; /* few enough of everything for complete searches */
    /* disk of a site for replicas, after its buckets; used only when pooled */
    bool pooled;
    int64_t *pool; /* [nsites] */
};

/* SK_ERR_LIMIT when the input is beyond what the planner takes. Free with pl_world_release(). */
int pl_world_init(struct pl_world *w, const struct plan_input *in, struct sk_err *err);
void pl_world_release(struct pl_world *w);

/* True if `residency` (a service's or a bucket's list) allows the site. */
bool pl_residency_ok(const struct sk_str *residency, size_t count, const struct site *site);
/* Why a node is not allowed, for messages. */
enum pl_reject {
    PL_ALLOWED,
    PL_REJECT_TRUST,
    PL_REJECT_DRAINED,
    PL_REJECT_RESIDENCY,
    PL_REJECT_CONSTRAINT,
    PL_REJECT_SIZE,
    PL_REJECT_COUNT
};
enum pl_reject pl_node_allowed(const struct pl_world *w, const struct service *decl, uint32_t node);
/* Milliseconds between two sites (0 to itself), HUGE_VAL if nothing tells. */
double pl_site_rtt(const struct pl_world *w, uint32_t a, uint32_t b);
/* Position of a site in shape->sites, or -1. */
int64_t pl_shape_site(const struct pl_shape *shape, uint32_t site);
/* What one replica costs an hour on a node of its shape: position in shape->nodes, or -1. */
int64_t pl_shape_pos(const struct pl_shape *shape, const struct pl_world *w, uint32_t node);
double pl_replica_cost(const struct pl_world *w, const struct pl_shape *shape, uint32_t node);

#endif
