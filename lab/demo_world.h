/* SPDX-License-Identifier: Apache-2.0 */
#ifndef LAB_DEMO_WORLD_H
#define LAB_DEMO_WORLD_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"
#include "model/inventory.h"
#include "model/project.h"

/*
 * What the demo is made of (private to demo*.c): the example's inventory and declaration, read, and
 * where each node of it lives on this machine.
 */
#define DEMO_SITES_MAX 16
#define DEMO_NODES_MAX 32
#define DEMO_NAME_MAX 64

struct demo_node {
    char name[DEMO_NAME_MAX], site[DEMO_NAME_MAX];
    char address[20];
    char data[128];  /* its data folder, which also names its processes */
    char netns[128]; /* "" without namespaces */
    bool control;    /* the control node: runs no services */
};

struct demo_world {
    struct inventory *inv; /* owned */
    struct project *shop;  /* owned */
    struct demo_node nodes[DEMO_NODES_MAX];
    size_t nnodes;
};

/* Reads FOLDER/inventory.yaml and the declaration. One site must be control-only with one node. */
int demo_world_read(const char *folder, const char *declaration, struct demo_world *ret,
                    struct sk_err *err);
void demo_world_release(struct demo_world *w);
const struct site *demo_world_site(const struct demo_world *w, struct sk_str name); /* NULL */
const struct demo_node *demo_world_control(const struct demo_world *w);
/* Is this a site of which users can be sent to? (not control-only) */
bool demo_site_serves(const struct site *site);
/* Between two sites, or from a population to a site: milliseconds, -1 if the files do not say. */
double demo_rtt(const struct demo_world *w, struct sk_str a, struct sk_str b);

#endif
