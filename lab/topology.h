/* SPDX-License-Identifier: Apache-2.0 */
#ifndef LAB_TOPOLOGY_H
#define LAB_TOPOLOGY_H

#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/err.h"
#include "base/str.h"

/*
 * What a lab looks like: sites, their nodes, and what lies between the sites.
 *
 *     {"sites":[{"name":"fra","nodes":["fra-1","fra-2"]},{"name":"london","nodes":["london"]}],
 *      "links":[{"between":["fra","london"],"rtt_ms":14.2,"jitter_ms":0.2,"loss":0,"mbit":0}]}
 *
 * A link holds for both directions, half of rtt_ms and jitter_ms each; loss in percent and mbit
 * apply to each direction. A pair without a link has no delay. Users are sites too: a site with one
 * node on which nothing but the load generator runs.
 *
 * Node number N (from 1, in the order written) has the address 10.99.S.(10 + H) for the H-th node
 * of the S-th site, and the prefix 10.210.N.0/24 is routed to it.
 */
#define LAB_SITES_MAX 48
#define LAB_NODES_MAX 200
#define LAB_SITE_NODES_MAX 100

struct lab_site_spec {
    struct sk_str name;
    const struct sk_str *nodes;
    size_t nnodes;
};

struct lab_link_spec {
    size_t a, b; /* indexes of sites, a != b */
    double rtt_ms, jitter_ms, loss_percent, mbit;
};

struct lab_topology {
    struct lab_site_spec *sites;
    size_t nsites;
    struct lab_link_spec *links;
    size_t nlinks;
};

/* Everything of *ret lives in the arena. SK_ERR_INPUT names what is wrong. */
int lab_topology_read(struct sk_arena *arena, const char *name, struct sk_str json,
                      struct lab_topology *ret, struct sk_err *err);
/* The same checks for one that was built by hand: names are labels and unique, bounds, ranges. */
int lab_topology_check(const struct lab_topology *topology, struct sk_err *err);

#endif
