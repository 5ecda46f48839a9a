/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SK_MODEL_INVENTORY_DRAFT_H
#define SK_MODEL_INVENTORY_DRAFT_H

#include "model/inventory.h"
#include "model/reader.h"

/* An inventory while it is being read. Internal to model. */

#define INVENTORY_PRICE_MAX 1e9
#define INVENTORY_RTT_MS_MAX 1e6

struct inventory_draft {
    struct sk_str currency;
    struct site *sites;
    size_t nsites, sites_cap;
    struct node *nodes;
    size_t nnodes, nodes_cap;
    struct link *links;
    size_t nlinks, links_cap;
    /* the maps of the document: nodes and links name sites, so they are read after them */
    struct spot at_sites, at_nodes, at_links;
    int64_t total_cpus, total_memory, total_disk;
};

/* One member of `sites` or `nodes`, one item of `links`; into: the draft. */
rd_fn inventory_read_site, inventory_read_node, inventory_read_link;
/* Sorted by name; two of a name are refused. Sites are sorted before nodes and links are read. */
void inventory_sort_sites(struct inventory_draft *draft);
int inventory_sort_nodes(struct rd *rd, struct inventory_draft *draft);
int inventory_sort_links(struct rd *rd, struct inventory_draft *draft);

/* Index of a site among sorted ones, or -1. */
int64_t inventory_find_site(const struct site *sites, size_t nsites, struct sk_str name);
/* The site that a value names; refuses one that is not declared, with the nearest name. */
int inventory_named_site(struct rd *rd, const struct inventory_draft *draft, const struct spot *at,
                         struct sk_str name, uint32_t *ret);

extern const struct rd_object inventory_object, site_object, node_object, link_object;

#endif
