/* SPDX-License-Identifier: Apache-2.0 */
#include "model/inventory.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "base/units.h"
#include "base/yaml.h"
#include "model/reader.h"

/* Bounds of single values; the sums over all nodes are bounded too, so that whoever adds them up in
 * an int64_t need not look. */
#define CPUS_NANO_MAX (1000000 * SK_NANO)
#define BYTES_MAX ((int64_t)1 << 60)
#define TOTAL_MAX (INT64_MAX / 4)
#define PRICE_MAX 1e9
#define RTT_MS_MAX 1e6
#define TEXT_MAX 128
#define LABELS_MAX 256

struct draft {
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

struct node_draft {
    struct node node;
    struct sk_str site;
    struct spot at_site;
    int64_t count;
    bool has_count;
    bool has_site, has_cpus, has_memory;
};

struct link_draft {
    struct link link;
    const struct draft *draft;
    bool has_between;
};

static int read_text(struct rd *rd, const struct spot *at, struct sk_str *ret)
{
    struct sk_str text;

    if (at->node->kind == SK_STRING && at->node->u.text.len == 0) {
        *ret = SK_STR("");
        return 0;
    }
    if (rd_filled(rd, at, TEXT_MAX, &text) < 0) {
        return rd->err.code;
    }
    *ret = text;
    return 0;
}

/* Sites -----------------------------------------------------------------------------------------
 */

static int read_region(struct rd *rd, const struct spot *at, void *into)
{
    struct site *site = into;

    if (read_text(rd, at, &site->region) < 0) {
        return rd->err.code;
    }
    if (sk_str_starts(site->region, SK_STR("country:"))) {
        return rd_bad(rd, at, "must not start with 'country:', which means a country in residency");
    }
    return 0;
}

static int read_country(struct rd *rd, const struct spot *at, void *into)
{
    return read_text(rd, at, &((struct site *)into)->country);
}

static int read_provider(struct rd *rd, const struct spot *at, void *into)
{
    return read_text(rd, at, &((struct site *)into)->provider);
}

static int read_at(struct rd *rd, const struct spot *at, void *into)
{
    struct site *site = into;
    site->has_at = true;
    return rd_point(rd, at, &site->lat, &site->lon);
}

static int read_egress(struct rd *rd, const struct spot *at, void *into)
{
    struct site *site = into;
    site->has_egress = true;
    return rd_num(rd, at, 0, PRICE_MAX, &site->egress_per_gb);
}

static int read_price_gb_month(struct rd *rd, const struct spot *at, void *into)
{
    return rd_num(rd, at, 0, PRICE_MAX, &((struct site *)into)->price_gb_month);
}

static const char *const trust_names[] = {"full", "storage", "control"};

static int read_trust(struct rd *rd, const struct spot *at, void *into)
{
    struct sk_str text;

    if (rd_string(rd, at, &text) < 0) {
        return rd->err.code;
    }
    for (size_t i = 0; i < SK_ARRAY_LEN(trust_names); i++) {
        if (sk_str_is(text, trust_names[i])) {
            ((struct site *)into)->trust = (enum site_trust)i;
            return 0;
        }
    }
    return rd_bad(rd, at, "must be full, storage or control, not '%.*s'", SK_PRI(text));
}

static int read_site_drained(struct rd *rd, const struct spot *at, void *into)
{
    return rd_bool(rd, at, &((struct site *)into)->drained);
}

static const struct rd_key site_keys[] = {
    {"region", RD_EXECUTED, read_region, "text", "unknown: residency fails by name"},
    {"country", RD_EXECUTED, read_country, "text, like DE", NULL},
    {"at", RD_EXECUTED, read_at, "[latitude, longitude] in degrees", NULL},
    {"provider", RD_EXECUTED, read_provider, "text", NULL},
    {"egress_per_gb", RD_EXECUTED, read_egress, "price of a GB (2^30 bytes) that leaves to users",
     "unknown: cost is unknown where traffic is declared"},
    {"price_gb_month", RD_EXECUTED, read_price_gb_month, "price of a stored GB a month; default 0",
     NULL},
    {"trust", RD_EXECUTED, read_trust, "full (default), storage, control", NULL},
    {"drained", RD_EXECUTED, read_site_drained, "true or false", "takes nothing"},
};
static const struct rd_object site_object = {
    .place = "sites.*", .keys = site_keys, .nkeys = SK_ARRAY_LEN(site_keys), .extensions = true};

static int read_site(struct rd *rd, const struct spot *at, void *into)
{
    struct draft *draft = into;
    struct site site = {0};

    site.pos = (struct sk_pos){rd->file, at->key_line, at->key_col};
    if (rd_name(rd, site.pos, "site", at->key) < 0) {
        return rd->err.code;
    }
    site.name = sk_arena_str(rd->arena, at->key);
    site.region = site.country = site.provider = SK_STR("");
    if (at->node->kind != SK_NULL && rd_object_read(rd, at, &site_object, &site) < 0) {
        return rd->err.code;
    }
    SK_GROW(draft->sites, draft->nsites, draft->sites_cap);
    draft->sites[draft->nsites++] = site;
    return 0;
}

static int compare_sites(const void *a, const void *b)
{
    return sk_str_cmp(((const struct site *)a)->name, ((const struct site *)b)->name);
}

static int64_t find_site(const struct site *sites, size_t nsites, struct sk_str name)
{
    size_t low = 0;
    size_t high = nsites;

    while (low < high) {
        size_t mid = low + (high - low) / 2;
        int order = sk_str_cmp(sites[mid].name, name);
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

static int unknown_site(struct rd *rd, const struct draft *draft, const struct spot *at,
                        struct sk_str name)
{
    unsigned best = 3;
    const struct site *found = NULL;
    int code = rd_bad(rd, at, "names the site '%.*s', which is not declared", SK_PRI(name));

    for (size_t i = 0; i < draft->nsites; i++) {
        unsigned distance = sk_str_distance(name, draft->sites[i].name, 2);
        if (distance < best && distance < name.len) {
            best = distance;
            found = &draft->sites[i];
        }
    }
    if (found) {
        (void)sk_err_fix(&rd->err, "did you mean '%.*s'?", SK_PRI(found->name));
    } else {
        (void)sk_err_fix(&rd->err, "declare it under 'sites'");
    }
    return code;
}

/* Nodes -----------------------------------------------------------------------------------------
 */

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
    return rd_num(rd, at, 0, PRICE_MAX, &draft->node.price_hour);
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
static const struct rd_object node_object = {
    .place = "nodes.*", .keys = node_keys, .nkeys = SK_ARRAY_LEN(node_keys), .extensions = true};

static int add_node(struct rd *rd, struct draft *draft, const struct node *node)
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

static int expand_node(struct rd *rd, struct draft *draft, const struct node_draft *made)
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

static int read_node(struct rd *rd, const struct spot *at, void *into)
{
    struct draft *draft = into;
    struct node_draft made = {0};
    int64_t site;

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
    site = find_site(draft->sites, draft->nsites, made.site);
    if (site < 0) {
        return unknown_site(rd, draft, &made.at_site, made.site);
    }
    made.node.site = (uint32_t)site;
    return expand_node(rd, draft, &made);
}

static int compare_nodes(const void *a, const void *b)
{
    return sk_str_cmp(((const struct node *)a)->name, ((const struct node *)b)->name);
}

static int sort_nodes(struct rd *rd, struct draft *draft)
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

/* Links -----------------------------------------------------------------------------------------
 */

static int read_between(struct rd *rd, const struct spot *at, void *into)
{
    struct link_draft *made = into;
    uint32_t ends[2];

    made->has_between = true;
    if (at->node->kind != SK_SEQ || at->node->count != 2) {
        return rd_bad(rd, at, "must be a list of two sites");
    }
    for (uint32_t i = 0; i < 2; i++) {
        struct spot item = spot_item(at, i);
        struct sk_str name;
        int64_t site;
        if (rd_string(rd, &item, &name) < 0) {
            return rd->err.code;
        }
        site = find_site(made->draft->sites, made->draft->nsites, name);
        if (site < 0) {
            return unknown_site(rd, made->draft, &item, name);
        }
        ends[i] = (uint32_t)site;
    }
    if (ends[0] == ends[1]) {
        return rd_bad(rd, at, "must name two different sites");
    }
    made->link.a = ends[0] < ends[1] ? ends[0] : ends[1];
    made->link.b = ends[0] < ends[1] ? ends[1] : ends[0];
    return 0;
}

static int read_rtt(struct rd *rd, const struct spot *at, void *into)
{
    struct link_draft *made = into;
    made->link.has_rtt = true;
    return rd_num(rd, at, 0, RTT_MS_MAX, &made->link.rtt_ms);
}

static int read_link_price(struct rd *rd, const struct spot *at, void *into)
{
    struct link_draft *made = into;
    made->link.has_price = true;
    return rd_num(rd, at, 0, PRICE_MAX, &made->link.price_per_gb);
}

static const struct rd_key link_keys[] = {
    {"between", RD_EXECUTED, read_between, "[site, site]; required", "holds both ways"},
    {"rtt_ms", RD_EXECUTED, read_rtt, "milliseconds", "else from the coordinates"},
    {"price_per_gb", RD_EXECUTED, read_link_price, "price of a GB (2^30 bytes)", NULL},
};
static const struct rd_object link_object = {
    .place = "links[]", .keys = link_keys, .nkeys = SK_ARRAY_LEN(link_keys), .extensions = true};

static int read_link(struct rd *rd, const struct spot *at, void *into)
{
    struct draft *draft = into;
    struct link_draft made = {.draft = draft};

    made.link.pos = spot_pos(rd, at);
    if (rd_object_read(rd, at, &link_object, &made) < 0) {
        return rd->err.code;
    }
    if (!made.has_between) {
        return rd_bad(rd, at, "lacks 'between'");
    }
    SK_GROW(draft->links, draft->nlinks, draft->links_cap);
    draft->links[draft->nlinks++] = made.link;
    return 0;
}

static int compare_links(const void *a, const void *b)
{
    const struct link *x = a;
    const struct link *y = b;

    if (x->a != y->a) {
        return x->a < y->a ? -1 : 1;
    }
    return x->b == y->b ? 0 : x->b < y->b ? -1 : 1;
}

static int sort_links(struct rd *rd, struct draft *draft)
{
    if (draft->nlinks > 1) {
        qsort(draft->links, draft->nlinks, sizeof(*draft->links), compare_links);
    }
    for (size_t i = 1; i < draft->nlinks; i++) {
        const struct link *x = &draft->links[i - 1];
        const struct link *y = &draft->links[i];
        if (compare_links(x, y) == 0) {
            bool y_later = y->pos.line > x->pos.line ||
                           (y->pos.line == x->pos.line && y->pos.col > x->pos.col);
            return rd_fail(rd, y_later ? y->pos : x->pos, SK_ERR_INPUT,
                           "the link between '%.*s' and '%.*s' is there twice",
                           SK_PRI(draft->sites[x->a].name), SK_PRI(draft->sites[x->b].name));
        }
    }
    return 0;
}

/* The whole -------------------------------------------------------------------------------------
 */

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
    return rd_filled(rd, at, 16, &((struct draft *)into)->currency);
}

static int keep_sites(struct rd *rd, const struct spot *at, void *into)
{
    ((struct draft *)into)->at_sites = *at;
    return rd_want(rd, at, SK_MAP);
}

static int keep_nodes(struct rd *rd, const struct spot *at, void *into)
{
    ((struct draft *)into)->at_nodes = *at;
    return rd_want(rd, at, SK_MAP);
}

static int keep_links(struct rd *rd, const struct spot *at, void *into)
{
    ((struct draft *)into)->at_links = *at;
    return rd_want(rd, at, SK_SEQ);
}

static const struct rd_key inventory_keys[] = {
    {"format", RD_EXECUTED, read_format, "skerry.inventory/1", "may be left out"},
    {"currency", RD_EXECUTED, read_currency, "text; default EUR", NULL},
    {"sites", RD_EXECUTED, keep_sites, "map of sites by name", NULL},
    {"nodes", RD_EXECUTED, keep_nodes, "map of nodes by name", NULL},
    {"links", RD_EXECUTED, keep_links, "list of links", NULL},
};
static const struct rd_object inventory_object = {.place = "the inventory",
                                                  .keys = inventory_keys,
                                                  .nkeys = SK_ARRAY_LEN(inventory_keys),
                                                  .extensions = true};

static int read_parts(struct rd *rd, const struct spot *root, struct draft *draft)
{
    if (rd_object_read(rd, root, &inventory_object, draft) < 0) {
        return rd->err.code;
    }
    if (!draft->at_sites.node || draft->at_sites.node->count == 0) {
        return rd_fail(rd, spot_pos(rd, root), SK_ERR_INPUT, "the inventory has no sites");
    }
    if (rd_at_most(rd, &draft->at_sites, INVENTORY_SITES_MAX) < 0 ||
        rd_each(rd, &draft->at_sites, read_site, draft) < 0) {
        return rd->err.code;
    }
    qsort(draft->sites, draft->nsites, sizeof(*draft->sites), compare_sites);
    if (draft->at_nodes.node && rd_each(rd, &draft->at_nodes, read_node, draft) < 0) {
        return rd->err.code;
    }
    if (draft->at_links.node && rd_each(rd, &draft->at_links, read_link, draft) < 0) {
        return rd->err.code;
    }
    if (sort_nodes(rd, draft) < 0) {
        return rd->err.code;
    }
    return sort_links(rd, draft);
}

static void *to_arena(struct sk_arena *arena, const void *rows, size_t count, size_t size)
{
    void *copy = sk_arena_calloc(arena, count ? count : 1, size);
    if (count) {
        memcpy(copy, rows, count * size);
    }
    return copy;
}

static struct inventory *make(struct sk_arena *arena, const struct draft *draft)
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
    struct draft draft = {.currency = SK_STR("EUR")};
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

/* Looking up ------------------------------------------------------------------------------------
 */

int64_t inventory_site(const struct inventory *inv, struct sk_str name)
{
    return find_site(inv->sites, inv->nsites, name);
}

int64_t inventory_node(const struct inventory *inv, struct sk_str name)
{
    struct node key = {.name = name};
    const struct node *found =
        inv->nnodes ? bsearch(&key, inv->nodes, inv->nnodes, sizeof(key), compare_nodes) : NULL;
    return found ? found - inv->nodes : -1;
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
