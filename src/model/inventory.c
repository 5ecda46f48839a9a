/* SPDX-License-Identifier: Apache-2.0 */
#include "model/inventory.h"

#include <stdlib.h>

#include "base/mem.h"
#include "base/yaml.h"
#include "model/inventory_draft.h"

static int read_format(struct rd *rd, const struct spot *at, void *into)
{
    struct sk_str text;

    if (rd_string(rd, at, &text) < 0) {
        return rd->err.code;
    }
    if (!sk_str_is(text, "skerry.inventory/1")) {
        return rd_bad(rd, at, "must be skerry.inventory/1, not '%.*s'", SK_PRI(text));
    }
    return 0;
}

static int read_currency(struct rd *rd, const struct spot *at, void *into)
{
    return rd_filled(rd, at, 16, &((struct inventory_draft *)into)->currency);
}

static int keep_sites(struct rd *rd, const struct spot *at, void *into)
{
    ((struct inventory_draft *)into)->at_sites = *at;
    return rd_want(rd, at, SK_MAP);
}

static int keep_nodes(struct rd *rd, const struct spot *at, void *into)
{
    ((struct inventory_draft *)into)->at_nodes = *at;
    return rd_want(rd, at, SK_MAP);
}

static int keep_links(struct rd *rd, const struct spot *at, void *into)
{
    ((struct inventory_draft *)into)->at_links = *at;
    return rd_want(rd, at, SK_SEQ);
}

static const struct rd_key inventory_keys[] = {
    {"format", RD_EXECUTED, read_format, "skerry.inventory/1", "may be left out"},
    {"currency", RD_EXECUTED, read_currency, "text; default EUR", NULL},
    {"sites", RD_EXECUTED, keep_sites, "map of sites by name", NULL},
    {"nodes", RD_EXECUTED, keep_nodes, "map of nodes by name", NULL},
    {"links", RD_EXECUTED, keep_links, "list of links", NULL},
};
const struct rd_object inventory_object = {.place = "the inventory",
                                           .keys = inventory_keys,
                                           .nkeys = SK_ARRAY_LEN(inventory_keys),
                                           .extensions = true};

static int read_parts(struct rd *rd, const struct spot *root, struct inventory_draft *draft)
{
    if (rd_object_read(rd, root, &inventory_object, draft) < 0) {
        return rd->err.code;
    }
    if (!draft->at_sites.node || draft->at_sites.node->count == 0) {
        return rd_fail(rd, spot_pos(rd, root), SK_ERR_INPUT, "the inventory has no sites");
    }
    if (rd_at_most(rd, &draft->at_sites, INVENTORY_SITES_MAX) < 0 ||
        rd_each(rd, &draft->at_sites, inventory_read_site, draft) < 0) {
        return rd->err.code;
    }
    inventory_sort_sites(draft);
    if (draft->at_nodes.node && rd_each(rd, &draft->at_nodes, inventory_read_node, draft) < 0) {
        return rd->err.code;
    }
    if (draft->at_links.node && rd_each(rd, &draft->at_links, inventory_read_link, draft) < 0) {
        return rd->err.code;
    }
    if (inventory_sort_nodes(rd, draft) < 0) {
        return rd->err.code;
    }
    return inventory_sort_links(rd, draft);
}

static void *to_arena(struct sk_arena *arena, const void *rows, size_t count, size_t size)
{
    void *copy = sk_arena_calloc(arena, count ? count : 1, size);
    if (count) {
        memcpy(copy, rows, count * size);
    }
    return copy;
}

static struct inventory *make(struct sk_arena *arena, const struct inventory_draft *draft)
{
    struct inventory *inv = sk_xcalloc(1, sizeof(*inv));

    inv->arena = arena;
    inv->currency = draft->currency;
    inv->sites = to_arena(arena, draft->sites, draft->nsites, sizeof(*draft->sites));
    inv->nsites = draft->nsites;
    inv->nodes = to_arena(arena, draft->nodes, draft->nnodes, sizeof(*draft->nodes));
    inv->nnodes = draft->nnodes;
    inv->links = to_arena(arena, draft->links, draft->nlinks, sizeof(*draft->links));
    inv->nlinks = draft->nlinks;
    return inv;
}

int inventory_from_tree(const char *name, const struct sk_node *root, struct inventory **ret_inv,
                        struct sk_err *err)
{
    struct sk_arena *arena = sk_arena_new();
    struct inventory_draft draft = {.currency = SK_STR("EUR")};
    struct spot at = spot_root(root);
    struct rd rd;
    int code;

    rd_begin(&rd, arena, arena, name);
    code = read_parts(&rd, &at, &draft);
    if (code == 0) {
        *ret_inv = make(arena, &draft);
    } else {
        sk_arena_free(arena);
        code = rd_end(&rd, err);
    }
    free(draft.sites);
    free(draft.nodes);
    free(draft.links);
    return code;
}

int inventory_read(const char *name, struct sk_str bytes, struct inventory **ret_inv,
                   struct sk_err *err)
{
    struct sk_arena *arena = sk_arena_new();
    const struct sk_node *root = NULL;
    int code = sk_tree_read(arena, name, bytes, NULL, &root, err);

    if (code == 0) {
        code = inventory_from_tree(name, root, ret_inv, err);
    }
    sk_arena_free(arena);
    return code;
}

void inventory_free(struct inventory *inv)
{
    if (inv) {
        sk_arena_free(inv->arena);
        free(inv);
    }
}

/* Looking up ------------------------------------------------------------------------------ */

int64_t inventory_site(const struct inventory *inv, struct sk_str name)
{
    return inventory_find_site(inv->sites, inv->nsites, name);
}

int64_t inventory_node(const struct inventory *inv, struct sk_str name)
{
    size_t low = 0;
    size_t high = inv->nnodes;

    while (low < high) {
        size_t mid = low + (high - low) / 2;
        int order = sk_str_cmp(inv->nodes[mid].name, name);
        if (order == 0) {
            return (int64_t)mid;
        }
        if (order < 0) {
            low = mid + 1;
        } else {
            high = mid;
        }
    }
    return -1;
}

struct sk_str node_label(const struct node *node, struct sk_str key)
{
    for (size_t i = 0; i < node->nlabels; i++) {
        if (sk_str_eq(node->labels[i].key, key)) {
            return node->labels[i].value;
        }
    }
    return SK_STR_NULL;
}

bool node_drained(const struct inventory *inv, const struct node *node)
{
    return node->drained || inv->sites[node->site].drained;
}
