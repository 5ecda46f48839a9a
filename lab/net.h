/* SPDX-License-Identifier: Apache-2.0 */
#ifndef LAB_NET_H
#define LAB_NET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/str.h"
#include "lab/topology.h"

/*
 * A WAN on one machine: a network namespace per node, a bridge per site, and a router namespace
 * between the sites that sends every packet between two sites through the delay router (wan.h).
 * Needs root. Nothing is made in the machine's own network namespace.
 *
 * Names are unique per lab ("skl-ID-..."), so labs run side by side. What a lab is made of is
 * written down in DIR/lab.json and in LAB_REGISTRY before it is made. Its keeper (keep.h) runs the
 * router and the hosts, and takes the lab down when its owner dies; lab_net_down() ends every
 * process that lives in its namespaces and removes them, also after any of these was killed.
 * lab_net_up() and lab_net_down() first clear away labs whose owner or keeper died.
 *
 * Not thread safe. All calls block (each some milliseconds).
 */
#define LAB_REGISTRY "/run/skerry-lab"

struct lab_node {
    char name[64];
    char site[64];
    unsigned site_number; /* 1 .. LAB_SITES_MAX */
    unsigned number;      /* 1 .. LAB_NODES_MAX */
    char address[20];     /* "10.99.1.11" */
    char prefix[24];      /* "10.210.1.0/24" */
    char netns[128];      /* "/run/netns/skl-3fa9c1-fra-1": see lab_spawn.netns */
    bool control, bare;   /* see lab_site_spec; so are the next three, with their defaults */
    int64_t cpus_nano, memory_bytes, disk_bytes;
};

struct lab_net;

struct lab_net_options {
    const char *dir;     /* made if it is missing */
    const char *program; /* path of skerry-lab, which runs the delay router */
    pid_t owner;         /* the lab may be cleared away once this process is dead; 0 = never */
    bool nogso;          /* loss per packet rather than per super-packet; slower */
    bool own_dir;        /* `dir` was made for this lab: it goes with it */
};

/* Makes the lab. On failure everything made so far is removed. *ret_net: lab_net_free(), which does
 * not take the lab down. SK_ERR_DENIED if not root, SK_ERR_CONFLICT if a lab lives in the folder.
 */
int lab_net_up(const struct lab_topology *topology, const struct lab_net_options *options,
               struct lab_net **ret_net, struct sk_err *err);
/* A lab that runs, by its folder. SK_ERR_NOT_FOUND if there is none. */
int lab_net_open(const char *dir, struct lab_net **ret_net, struct sk_err *err);
void lab_net_free(struct lab_net *net); /* NULL allowed */

/* Takes the lab of a folder down. Done is done: 0 also if there is none. */
int lab_net_down(const char *dir, struct sk_err *err);
/* Takes down every lab on this machine whose owner or keeper is dead. Returns how many, or an
 * error. */
int lab_net_clean(struct sk_err *err);

/* The folder of the one lab that runs on this machine. SK_ERR_USAGE if there is none, or more. */
#define LAB_DIR_MAX 256
int lab_net_only(char ret_dir[LAB_DIR_MAX], struct sk_err *err);

size_t lab_net_count(const struct lab_net *net); /* of nodes */
const struct lab_node *lab_net_node(const struct lab_net *net, size_t i);
const struct lab_node *lab_net_find(const struct lab_net *net, struct sk_str name); /* NULL */
const char *lab_net_id(const struct lab_net *net);
const char *lab_net_dir(const struct lab_net *net); /* absolute */
size_t lab_net_sites(const struct lab_net *net);
const char *lab_net_site(const struct lab_net *net, size_t i); /* from 0 */
bool lab_net_has_site(const struct lab_net *net, struct sk_str name);
const char *lab_net_router(const struct lab_net *net); /* path of its network namespace */

/* A site loses every link to the others, silently, both ways; inside it all stays. */
int lab_net_cut(const struct lab_net *net, struct sk_str site, struct sk_err *err);
int lab_net_heal(const struct lab_net *net, struct sk_str site, struct sk_err *err);
/* One node loses every link, also to its own site, and nobody is told: its carrier stays up. */
int lab_net_cut_node(const struct lab_net *net, struct sk_str node, bool cut, struct sk_err *err);
/* Heals all that any of these cut. */
int lab_net_heal_all(const struct lab_net *net, struct sk_err *err);
/* What is cut whole, as nft lists it: the names "br1" of sites and "v1" of nodes, in quotes. */
int lab_net_cuts(const struct lab_net *net, struct sk_buf *out, struct sk_err *err);
/* The wire of one node: it loses its carrier. */
int lab_net_wire(const struct lab_net *net, struct sk_str node, bool up, struct sk_err *err);

/* One direction between two sites, live. Values below 0 leave what was. */
struct lab_direction {
    double delay_ms, jitter_ms, loss_percent, mbit;
};
struct lab_pair {
    const char *from, *to; /* of the net */
    struct lab_direction now;
    bool cut; /* this direction alone; see lab_net_cuts() for the rest */
};
/* Every direction between two sites. *ret_pairs: free(). */
int lab_net_pairs(const struct lab_net *net, struct lab_pair **ret_pairs, size_t *ret_count,
                  struct sk_err *err);
int lab_net_set(const struct lab_net *net, struct sk_str from, struct sk_str to,
                const struct lab_direction *direction, struct sk_err *err);
/* Cuts or heals one direction only. */
int lab_net_cut_one_way(const struct lab_net *net, struct sk_str from, struct sk_str to, bool cut,
                        struct sk_err *err);
/* Routes a prefix of 10.210.0.0/16 (a /24) to a node, taking it from whoever had it. */
int lab_net_route(const struct lab_net *net, struct sk_str node, struct sk_str prefix,
                  struct sk_err *err);

#endif
