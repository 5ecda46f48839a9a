/* SPDX-License-Identifier: Apache-2.0 */
#ifndef LAB_DEMO_CLUSTER_H
#define LAB_DEMO_CLUSTER_H

#include <stdbool.h>
#include <sys/types.h>

#include "base/buf.h"
#include "base/err.h"
#include "lab/demo_world.h"
#include "lab/net.h"

/*
 * A cluster for the demo, on this machine (private to demo*.c): real daemons, driven by the same
 * commands that a person would type.
 *
 * As root each node is a network namespace of a lab and services are containers; otherwise each is
 * a loopback address and services are programs. Everything lives in one folder, whose file `owner`
 * names the process it belongs to: demo_cluster_clean() ends what dead owners left.
 */
struct demo_cluster {
    struct demo_world world;
    struct lab_net *net; /* NULL on loopback */
    char dir[96];
    const char *skerry, *lab_program, *examples; /* programs and the shop's folder */
    char compose[256];
    uint16_t ingress_port;
    char ingress[DEMO_SITES_MAX]
                [20];               /* what users know of each serving site, in the world's order */
    pid_t children[DEMO_NODES_MAX]; /* the daemons, in the order of the world's nodes */
};

typedef void demo_say_fn(void *ctx, const char *text);

struct demo_cluster_options {
    const char *skerry, *lab_program, *examples;
    demo_say_fn *say; /* what is being done, a line each */
    void *ctx;
};

/* Makes all of it and applies the shop. On failure what was made is taken down. */
int demo_cluster_up(const struct demo_cluster_options *options, struct demo_cluster *ret,
                    struct sk_err *err);
void demo_cluster_down(struct demo_cluster *c);
/* Ends what demos left whose process was killed. */
void demo_cluster_clean(void);

/* Runs a skerry command against the control node; its standard output is appended to out. args end
 * in NULL and follow the program's name. */
int demo_skerry(const struct demo_cluster *c, const char *const args[], int timeout_ms,
                struct sk_buf *out, struct sk_err *err);
/* The address of a site's ingress as the cluster says; SK_ERR_NOT_FOUND while there is none. */
int demo_ingress(const struct demo_cluster *c, struct sk_str site, char ret[20],
                 struct sk_err *err);
/* Writes the load generator's configuration: users hold the addresses of all serving sites, also of
 * one that is lost just now. */
int demo_users_write(const struct demo_cluster *c, double rate, uint64_t seed, const char *path,
                     struct sk_err *err);
/* The network namespace from which users of a population come, NULL on loopback. */
const char *demo_users_netns(const struct demo_cluster *c, struct sk_str population);

/* One small GET from a network namespace (NULL = this one). True with the start of its answer (head
 * and body, NUL-terminated) if there was any within timeout_ms. */
bool demo_http(const char *netns, const char *address, uint16_t port, const char *host,
               int timeout_ms, char *out, size_t size);

#endif
