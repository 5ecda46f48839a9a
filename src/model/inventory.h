/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SK_MODEL_INVENTORY_H
#define SK_MODEL_INVENTORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/json.h"
#include "base/tree.h"

/*
 * The inventory: sites, nodes and links, as declared (--inventory) or as exported from a live
 * cluster.
 *
 * Everything here lives in one arena and is immutable once read. Sites and nodes are sorted by name
 * (byte order), so an index is a stable identity within one inventory, and a node's `count` is
 * expanded (NAME-1 ... NAME-N). The cpus of all nodes together, their memory and their disk each
 * fit an int64_t with room to spare, so that whoever adds them up need not look.
 *
 * Errors have "name:line:col: " of the offending value and a fix where there is one: SK_ERR_INPUT,
 * or SK_ERR_LIMIT beyond a bound.
 */

/* A string and where it was written; line 0 if it was not in a file. */
struct sk_pos {
    const char *file; /* NUL-terminated, lives in the arena; NULL if none */
    uint32_t line;
    uint32_t col;
};

struct sk_kv {
    struct sk_str key;
    struct sk_str value;
};

enum site_trust { SITE_FULL, SITE_STORAGE, SITE_CONTROL };

struct site {
    struct sk_str name;
    struct sk_str region;   /* "" unknown: fails residency by name */
    struct sk_str country;  /* "" unknown */
    struct sk_str provider; /* "" unknown */
    bool has_at;
    double lat, lon; /* degrees */
    bool has_egress;
    double egress_per_gb;  /* currency per GB (2^30) */
    double price_gb_month; /* of stored data; default 0 */
    enum site_trust trust;
    bool drained;
    struct sk_pos pos;
};

struct node {
    struct sk_str name;
    uint32_t site; /* index into inventory.sites */
    int64_t cpus_nano;
    int64_t memory_bytes;
    int64_t disk_bytes;
    bool has_price;
    double price_hour;
    const struct sk_kv *labels; /* sorted by key */
    size_t nlabels;
    bool drained; /* the node's own flag; see node_drained() */
    struct sk_pos pos;
};

/* Symmetric, as declared by `between`; a < b. */
struct link {
    uint32_t a, b; /* site indexes */
    bool has_rtt;
    double rtt_ms;
    bool has_price;
    double price_per_gb;
    struct sk_pos pos;
};

struct inventory {
    struct sk_arena *arena; /* owned */
    struct sk_str currency; /* default "EUR" */
    const struct site *sites;
    size_t nsites;
    const struct node *nodes;
    size_t nnodes;
    const struct link *links; /* sorted by (a, b), each pair once */
    size_t nlinks;
};

#define INVENTORY_SITES_MAX 1000
#define INVENTORY_NODES_MAX 200000

/* Reads and validates YAML or JSON bytes. `name` is used in messages ("inv.yaml:3:5: ...").
 * *ret_inv: inventory_free(). */
int inventory_read(const char *name, struct sk_str bytes, struct inventory **ret_inv,
                   struct sk_err *err);
/* The same from a tree already read (an API body, a stored record). The tree is not kept. */
int inventory_from_tree(const char *name, const struct sk_node *root, struct inventory **ret_inv,
                        struct sk_err *err);
void inventory_free(struct inventory *inv); /* NULL allowed */

/* Writes the inventory's declaration form as JSON (reads back equal). Nodes are written one by one,
 * without count. */
void inventory_write_json(const struct inventory *inv, struct sk_jw *w);
/* The same as YAML, for people: what `skerry inventory` prints. */
void inventory_write_yaml(const struct inventory *inv, struct sk_buf *out);

/* The keys of an inventory, generated from the table that the reader uses: Markdown for docs. */
void inventory_reference(struct sk_buf *out);

/* Index by name, or -1. */
int64_t inventory_site(const struct inventory *inv, struct sk_str name);
int64_t inventory_node(const struct inventory *inv, struct sk_str name);
struct sk_str node_label(const struct node *node, struct sk_str key); /* ptr NULL if absent */
/* True if the node or its site is drained. */
bool node_drained(const struct inventory *inv, const struct node *node);

#endif
