/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_ORACLE_TINY_H
#define TESTS_ORACLE_TINY_H

#include "base/prng.h"
#include "model/inventory.h"
#include "model/plan.h"
#include "model/project.h"

/*
 * Tiny worlds, and a second reading of docs/exact-meanings.md for them, by brute force: no
 * cleverness, nothing shared with src/plan. A case is a plain struct of small numbers; it is made
 * from a seed, handed to the planner and the verifier as an inventory and a project, and printed as
 * two files when somebody disagrees.
 */
#define SITES_MAX 4
#define NODES_MAX 7
#define SERVICES_MAX 6
#define REPLICAS_MAX 6
#define USERS_MAX 3
#define ROWS_MAX 16 /* sets of sites: 2^4 */

struct tiny_site {
    int region;   /* 0 unknown, 1 eu, 2 us */
    int country;  /* 0 unknown, 1 DE, 2 FR */
    int provider; /* 0 unknown, 1 acme */
    enum site_trust trust;
    bool drained;
    double egress; /* -1 unknown */
};

struct tiny_node {
    int site;
    int cpus, memory, disk; /* units of TINY_CPUS, TINY_MEMORY, TINY_DISK */
    double price;           /* -1 unknown */
    int label;              /* 0 none, 1 disk=ssd, 2 disk=hdd */
    bool drained;
};
#define TINY_CPUS 500000000LL
#define TINY_MEMORY (256LL << 20)
#define TINY_DISK (1LL << 30)

enum tiny_constraint {
    FREE,
    LABEL_SSD,     /* node.labels.disk == ssd */
    LABEL_NOT_SSD, /* node.labels.disk != ssd */
    NOT_SITE_0,    /* node.site != s0 */
    REGION_EU,     /* site.region == eu */
    NOT_ACME,      /* site.provider != acme */
    NODE_1         /* node.name == n1 */
};

#define TINY_EU 1 /* bits of residency */
#define TINY_US 2
#define TINY_DE 4

struct tiny_service {
    int replicas, cpus, memory, disk;
    int residency;
    enum tiny_constraint constraint;
    int sites, nodes, keep;      /* -1: not written */
    bool latency;                /* written; */
    double ms, share, after;     /* ms, after: -1 not written */
    double cost;                 /* month; -1 none */
    double gb, rps, per_replica; /* 0 none */
};

struct tiny_bucket {
    bool present;
    int size;         /* units of TINY_DISK; the oracle knows only 0 */
    int data, parity; /* data 0: auto */
    int sites;        /* -1: not written */
    int residency;
};

struct tiny {
    uint64_t seed;
    int nsites, nnodes, nservices, nusers;
    struct tiny_site sites[SITES_MAX];
    struct tiny_node nodes[NODES_MAX];
    struct tiny_service services[SERVICES_MAX];
    double demand[USERS_MAX];
    double rtt[USERS_MAX][SITES_MAX];
    struct tiny_bucket bucket;
};

/* tiny_make.c */
void tiny_make(struct tiny *t, uint64_t seed);

/* tiny_world.c */
struct tiny_world {
    struct inventory inv;
    struct project project;
    const struct project *projects[1];
};
void tiny_world(const struct tiny *t, struct tiny_world *w, struct sk_arena *arena);
void tiny_write_inventory(const struct tiny *t, struct sk_buf *out); /* YAML */
void tiny_write_project(const struct tiny *t, struct sk_buf *out);
void tiny_site_name(int site, char out[16]);
void tiny_node_name(int node, char out[16]);
void tiny_service_name(int service, char out[16]);

/* tiny_rules.c: a placement is a count per node. Sets of sites are bit masks. */
bool tiny_allowed(const struct tiny *t, int service, int node);
int tiny_survive_sites(const struct tiny *t, int service, bool *ret_written);
int tiny_survive_nodes(const struct tiny *t, int service);
int tiny_keep(const struct tiny *t, int service);
bool tiny_keep_hard_sites(const struct tiny *t, int service);
bool tiny_keep_hard_nodes(const struct tiny *t, int service);
bool tiny_asked(const struct tiny *t, int service, unsigned lost);
/* Share of the demand within `bound` ms when the sites of `holding` hold a replica; 0 if none. */
double tiny_share(const struct tiny *t, unsigned holding, double bound);
/* Smallest distance within which `share` of demand is; -1 if unserved. */
double tiny_percentile(const struct tiny *t, unsigned holding, double share);
/* Per hour; -1 if a price is unknown. */
double tiny_cost(const struct tiny *t, int service, const int *count);
unsigned tiny_holding(const struct tiny *t, const int *count);
int tiny_bits(unsigned mask);
/* Hard rules that concern one service alone (all but capacity and room after a loss). */
bool tiny_alone(const struct tiny *t, int service, const int *count);
bool tiny_bucket_possible(const struct tiny *t);
/* Can the bucket be k+m such that any f sites hold at most m? Fills shards per site. */
bool tiny_layout(const struct tiny *t, int k, int m, int f, int *ret_shards);
bool tiny_bucket_site(const struct tiny *t, int site);
int tiny_bucket_f(const struct tiny *t, bool *ret_written);

/* tiny_feasible.c: the oracle */
struct tiny_answer {
    bool decided; /* false: more steps than allowed */
    bool feasible;
    int count[SERVICES_MAX][NODES_MAX]; /* a placement that obeys every hard rule */
    /* per set of lost sites: what the services that asked get back, by node */
    int back[ROWS_MAX][SERVICES_MAX][NODES_MAX];
};
void tiny_solve(const struct tiny *t, long steps_max, struct tiny_answer *ret);

/* tiny_plan.c: a whole plan around a placement, and the check of one */
struct plan *tiny_plan(const struct tiny *t, const struct tiny_answer *answer);
/* NULL if every rule holds and every figure is true, else what is wrong. */
const char *tiny_check(const struct tiny *t, const struct plan *plan);

#endif
