/* SPDX-License-Identifier: Apache-2.0 */
#ifndef LAB_TOPOLOGY_H
#define LAB_TOPOLOGY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/err.h"
#include "base/str.h"

/*
 * What a lab looks like: sites, their nodes (hosts), and what lies between the sites. docs/lab.md
 * describes the file, YAML or JSON:
 *
 *     sites:
 *       hub: {hosts: 1, control: true}
 *       fra: {hosts: 2, cpus: 4, memory: 8G, disk: 512M}
 *       users: {hosts: [london], bare: true}
 *     default: {rtt_ms: 40}
 *     links:
 *       - {between: [fra, users], rtt_ms: 14.2, jitter_ms: 0.2, loss: 0.1, rate: 100}
 *       - {from: users, to: fra, loss: 5}
 *
 * `between` holds for both directions, half of rtt_ms and jitter_ms each; loss in percent and rate
 * in Mbit/s apply to each direction. `from`/`to` changes one direction, and only what it names.
 * Later entries win. A pair that nothing names has what `default` says, else no delay.
 *
 * Node number N (from 1, in the order written) has the address 10.99.S.(10 + H) for the H-th node
 * of the S-th site, and the prefix 10.210.N.0/24 is routed to it.
 */
#define LAB_SITES_MAX 48
#define LAB_NODES_MAX 200
#define LAB_SITE_NODES_MAX 100
#define LAB_LINKS_MAX 10000

struct lab_site_spec {
    struct sk_str name;
    const struct sk_str *nodes;
    size_t nnodes;
    bool control;         /* its nodes hold control and run no services */
    bool bare;            /* no daemon runs on its nodes: users */
    int64_t cpus_nano;    /* what a node offers; 0 = LAB_CPUS_NANO */
    int64_t memory_bytes; /* 0 = LAB_MEMORY_BYTES */
    int64_t disk_bytes;   /* a filesystem of its own for each data folder; 0 = none */
};
#define LAB_CPUS_NANO 4000000000LL
#define LAB_MEMORY_BYTES (4LL << 30)

struct lab_link_spec {
    size_t a, b;  /* indexes of sites, a != b */
    bool one_way; /* a to b only; values below 0 leave what was */
    double rtt_ms, jitter_ms, loss_percent, mbit;
};

struct lab_topology {
    struct lab_site_spec *sites;
    size_t nsites;
    struct lab_link_spec *links; /* in the order in which they take effect */
    size_t nlinks;
    bool nogso; /* loss per packet */
};

/* Everything of *ret lives in the arena. SK_ERR_INPUT says where in the file, and what is wrong. */
int lab_topology_read(struct sk_arena *arena, const char *name, struct sk_str bytes,
                      struct lab_topology *ret, struct sk_err *err);
/* The same checks for one that was built by hand: names are labels and unique, bounds, ranges. */
int lab_topology_check(const struct lab_topology *topology, struct sk_err *err);

#endif
