/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>

#include "base/mem.h"
#include "base/units.h"
#include "model/inventory_draft.h"

/* Bounds of single values; the sums over all nodes are bounded too, so that whoever adds them up in
 * an int64_t need not look. */
#define CPUS_NANO_MAX (1000000 * SK_NANO)
#define BYTES_MAX ((int64_t)1 << 60)
#define TOTAL_MAX (INT64_MAX / 4)
#define LABELS_MAX 256

struct node_draft {
    struct node node;
    struct sk_str site;
    struct spot at_site;
    int64_t count;
    bool has_count;
    bool has_site, has_cpus, has_memory;
};

static int read_node_site(struct rd *rd, const struct spot *at, void *into)
{
    struct node_draft *draft = into;
    draft->has_site = true;
    draft->at_site = *at;
    return rd_string(rd, at, &draft->site);
}

static int positive(struct rd *rd, const struct spot *at, int64_t value, int64_t max,
                    const char *max_text)
{
    if (value <= 0) {
        return rd_bad(rd, at, "must be above 0");
    }
    if (value > max) {
        return rd_bad(rd, at, "must be at most %s", max_text);
    }
    return 0;
}

static int read_cpus(struct rd *rd, const struct spot *at, void *into)
{
    struct node_draft *draft = into;

    draft->has_cpus = true;
    if (rd_cpus(rd, at, &draft->node.cpus_nano) < 0) {
        return rd->err.code;
    }
    return positive(rd, at, draft->node.cpus_nano, CPUS_NANO_MAX, "1000000");
}

static int read_memory(struct rd *rd, const struct spot *at, void *into)
{
    struct node_draft *draft = into;

    draft->has_memory = true;
    if (rd_bytes(rd, at, &draft->node.memory_bytes) < 0) {
        return rd->err.code;
    }
    return positive(rd, at, draft->node.memory_bytes, BYTES_MAX, "1048576T");
}

static int read_disk(struct rd *rd, const struct spot *at, void *into)
{
    struct node_draft *draft = into;

    if (rd_bytes(rd, at, &draft->node.disk_bytes) < 0) {
        return rd->err.code;
    }
    if (draft->node.disk_bytes > BYTES_MAX) {
        return rd_bad(rd, at, "must be at most 1048576T");
    }
    return 0;
}

static int read_price_hour(struct rd *rd, const struct spot *at, void *into)
{
    struct node_draft *draft = into;
    draft->node.has_price = true;
    return rd_num(rd, at, 0, INVENTORY_PRICE_MAX, &draft->node.price_hour);
}

static int read_labels(struct rd *rd, const struct spot *at, void *into)
{
    struct node_draft *draft = into;
    return rd_kvs(rd, at, LABELS_MAX, &draft->node.labels, &draft->node.nlabels);
}

static int read_node_drained(struct rd *rd, const struct spot *at, void *into)
{
    return rd_bool(rd, at, &((struct node_draft *)into)->node.drained);
}

static int read_count(struct rd *rd, const struct spot *at, void *into)
{
    struct node_draft *draft = into;
    draft->has_count = true;
    return rd_int(rd, at, 1, INVENTORY_NODES_MAX, &draft->count);
}

static const struct rd_key node_keys[] = {
    {"site", RD_EXECUTED, read_node_site, "name of its site; required", NULL},
    {"cpus", RD_EXECUTED, read_cpus, "number above 0; required", "all of it is usable"},
    {"memory", RD_EXECUTED, read_memory, "size above 0; required", "all of it is usable"},
    {"disk", RD_EXECUTED, read_disk, "size; default 0", NULL},
    {"price_hour", RD_EXECUTED, read_price_hour, "price of an hour", "unknown: cost is unknown"},
    {"labels", RD_EXECUTED, read_labels, "map, or list of KEY=VALUE", NULL},
    {"drained", RD_EXECUTED, read_node_drained, "true or false", "takes nothing"},
    {"count", RD_EXECUTED, read_count, "whole number N above 0", "makes NAME-1 to NAME-N"},
};
const struct rd_object node_object = {
    .place = "nodes.*", .keys = node_keys, .nkeys = SK_ARRAY_LEN(node_keys), .extensions = true};

static int add_node(struct rd *rd, struct inventory_draft *draft, const struct node *node)
{
    if (draft->nnodes == INVENTORY_NODES_MAX) {
        return rd_fail(rd, node->pos, SK_ERR_LIMIT, "more than %d nodes", INVENTORY_NODES_MAX);
    }
    if (__builtin_add_overflow(draft->total_cpus, node->cpus_nano, &draft->total_cpus) ||
        __builtin_add_overflow(draft->total_memory, node->memory_bytes, &draft->total_memory) ||
        __builtin_add_overflow(draft->total_disk, node->disk_bytes, &draft->total_disk) ||
        draft->total_cpus > TOTAL_MAX || draft->total_memory > TOTAL_MAX ||
        draft->total_disk > TOTAL_MAX) {
        return rd_fail(rd, node->pos, SK_ERR_LIMIT, "the nodes together are too large to add up");
    }
    SK_GROW(draft->nodes, draft->nnodes, draft->nodes_cap);
    draft->nodes[draft->nnodes++] = *node;
    return 0;
}

static int expand_node(struct rd *rd, struct inventory_draft *draft, const struct node_draft *made)
{
    struct node node = made->node;

    if (!made->has_count) {
        return add_node(rd, draft, &node);
    }
    for (int64_t i = 1; i <= made->count; i++) {
        node.name = sk_arena_printf(rd->arena, "%.*s-%lld", SK_PRI(made->node.name), (long long)i);
        if (rd_name(rd, node.pos, "node", node.name) < 0 || add_node(rd, draft, &node) < 0) {
            return rd->err.code;
        }
    }
    return 0;
}

int inventory_read_node(struct rd *rd, const struct spot *at, void *into)
{
    struct inventory_draft *draft = into;
    struct node_draft made = {0};

    made.node.pos = (struct sk_pos){rd->file, at->key_line, at->key_col};
    if (rd_name(rd, made.node.pos, "node", at->key) < 0) {
        return rd->err.code;
    }
    made.node.name = sk_arena_str(rd->arena, at->key);
    if (rd_object_read(rd, at, &node_object, &made) < 0) {
        return rd->err.code;
    }
    if (!made.has_site || !made.has_cpus || !made.has_memory) {
        return rd_fail(rd, made.node.pos, SK_ERR_INPUT, "the node '%.*s' lacks '%s'",
                       SK_PRI(at->key),
                       !made.has_site   ? "site"
                       : !made.has_cpus ? "cpus"
                                        : "memory");
    }
    if (inventory_named_site(rd, draft, &made.at_site, made.site, &made.node.site) < 0) {
        return rd->err.code;
    }
    return expand_node(rd, draft, &made);
}

static int compare_nodes(const void *a, const void *b)
{
    return sk_str_cmp(((const struct node *)a)->name, ((const struct node *)b)->name);
}

int inventory_sort_nodes(struct rd *rd, struct inventory_draft *draft)
{
    if (draft->nnodes > 1) {
        qsort(draft->nodes, draft->nnodes, sizeof(*draft->nodes), compare_nodes);
    }
    for (size_t i = 1; i < draft->nnodes; i++) {
        const struct node *a = &draft->nodes[i - 1];
        const struct node *b = &draft->nodes[i];
        if (sk_str_eq(a->name, b->name)) {
            const struct node *later = a->pos.line > b->pos.line ? a : b;
            const struct node *earlier = later == a ? b : a;
            (void)rd_fail(rd, later->pos, SK_ERR_INPUT,
                          "the node '%.*s' is there twice, first at line %u", SK_PRI(later->name),
                          earlier->pos.line);
            return sk_err_fix(&rd->err, "rename one of them; 'count: N' makes NAME-1 to NAME-N");
        }
    }
    return 0;
}
