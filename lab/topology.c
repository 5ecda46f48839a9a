/* SPDX-License-Identifier: Apache-2.0 */
#include "lab/topology.h"

#include "base/json.h"
#include "base/tree.h"

static int check_names(const struct lab_topology *t, struct sk_err *err)
{
    size_t nodes = 0;
    for (size_t i = 0; i < t->nsites; i++) {
        const struct lab_site_spec *site = &t->sites[i];
        if (!sk_str_is_label(site->name) || site->nnodes > LAB_SITE_NODES_MAX) {
            return sk_err_set(err, SK_ERR_INPUT,
                              "site '%.*s' is not a label, or has more than %d nodes",
                              SK_PRI(site->name), LAB_SITE_NODES_MAX);
        }
        for (size_t j = 0; j < i; j++) {
            if (sk_str_eq(site->name, t->sites[j].name)) {
                return sk_err_set(err, SK_ERR_INPUT, "site '%.*s' comes twice", SK_PRI(site->name));
            }
        }
        nodes += site->nnodes;
    }
    if (t->nsites == 0 || t->nsites > LAB_SITES_MAX || nodes > LAB_NODES_MAX) {
        return sk_err_set(err, SK_ERR_INPUT, "a lab has 1 to %d sites and at most %d nodes",
                          LAB_SITES_MAX, LAB_NODES_MAX);
    }
    return 0;
}

static bool name_is_taken(const struct lab_topology *t, size_t site, size_t node)
{
    struct sk_str name = t->sites[site].nodes[node];
    for (size_t i = 0; i <= site; i++) {
        size_t count = i == site ? node : t->sites[i].nnodes;
        for (size_t j = 0; j < count; j++) {
            if (sk_str_eq(name, t->sites[i].nodes[j])) {
                return true;
            }
        }
    }
    return false;
}

int lab_topology_check(const struct lab_topology *t, struct sk_err *err)
{
    int ret = check_names(t, err);
    for (size_t i = 0; ret == 0 && i < t->nsites; i++) {
        for (size_t j = 0; j < t->sites[i].nnodes; j++) {
            struct sk_str name = t->sites[i].nodes[j];
            if (!sk_str_is_label(name) || name_is_taken(t, i, j)) {
                return sk_err_set(err, SK_ERR_INPUT, "node '%.*s' is not a label, or comes twice",
                                  SK_PRI(name));
            }
        }
    }
    for (size_t i = 0; ret == 0 && i < t->nlinks; i++) {
        const struct lab_link_spec *l = &t->links[i];
        if (l->a >= t->nsites || l->b >= t->nsites || l->a == l->b || !(l->rtt_ms >= 0) ||
            l->rtt_ms > 10000 || !(l->jitter_ms >= 0) || l->jitter_ms > 10000 ||
            !(l->loss_percent >= 0) || l->loss_percent > 100 || !(l->mbit >= 0) || l->mbit > 1e6) {
            return sk_err_set(err, SK_ERR_INPUT, "link %zu is out of range", i + 1);
        }
    }
    return ret;
}

static int read_site(struct sk_arena *arena, const struct sk_node *node, struct lab_site_spec *site,
                     struct sk_err *err)
{
    const struct sk_node *nodes = sk_map_seq(node, "nodes");
    site->name = sk_arena_str(arena, sk_map_str(node, "name", SK_STR("")));
    if (nodes == NULL) {
        return sk_err_set(err, SK_ERR_INPUT, "site '%.*s' has no list 'nodes'", SK_PRI(site->name));
    }
    struct sk_str *names = SK_ARENA_ARRAY(arena, struct sk_str, nodes->count + 1);
    for (uint32_t i = 0; i < nodes->count; i++) {
        if (nodes->u.items[i].kind != SK_STRING) {
            return sk_err_set(err, SK_ERR_INPUT, "nodes of site '%.*s' are not names",
                              SK_PRI(site->name));
        }
        names[i] = sk_arena_str(arena, nodes->u.items[i].u.text);
    }
    site->nodes = names;
    site->nnodes = nodes->count;
    return 0;
}

static int read_link(const struct lab_topology *t, const struct sk_node *node,
                     struct lab_link_spec *link, struct sk_err *err)
{
    const struct sk_node *between = sk_map_seq(node, "between");
    size_t ends[2] = {t->nsites, t->nsites};
    for (size_t e = 0; between != NULL && between->count == 2 && e < 2; e++) {
        const struct sk_node *name = &between->u.items[e];
        for (size_t i = 0; sk_node_is_scalar(name) && i < t->nsites; i++) {
            if (sk_str_eq(t->sites[i].name, name->u.text)) {
                ends[e] = i;
            }
        }
    }
    if (ends[0] == t->nsites || ends[1] == t->nsites) {
        return sk_err_set(err, SK_ERR_INPUT, "a link needs 'between': two sites of this lab");
    }
    *link = (struct lab_link_spec){.a = ends[0],
                                   .b = ends[1],
                                   .rtt_ms = sk_map_num(node, "rtt_ms", 0),
                                   .jitter_ms = sk_map_num(node, "jitter_ms", 0),
                                   .loss_percent = sk_map_num(node, "loss", 0),
                                   .mbit = sk_map_num(node, "mbit", 0)};
    return 0;
}

int lab_topology_read(struct sk_arena *arena, const char *name, struct sk_str json,
                      struct lab_topology *ret, struct sk_err *err)
{
    const struct sk_node *root = NULL;
    const struct sk_limits limits = {.bytes_max = 1 << 20, .nodes_max = 20000};
    int bad = sk_json_read(arena, name, json, &limits, &root, err);
    if (bad < 0) {
        return bad;
    }
    const struct sk_node *sites = sk_map_seq(root, "sites");
    const struct sk_node *links = sk_map_seq(root, "links");
    if (sites == NULL) {
        return sk_err_set(err, SK_ERR_INPUT, "%s: no list 'sites'", name);
    }
    struct lab_topology t = {0};
    t.nsites = sites->count;
    t.sites = SK_ARENA_ARRAY(arena, struct lab_site_spec, t.nsites + 1);
    for (size_t i = 0; i < t.nsites; i++) {
        bad = read_site(arena, &sites->u.items[i], &t.sites[i], err);
        if (bad < 0) {
            (void)sk_err_wrap(err, "%s", name);
            return bad;
        }
    }
    t.nlinks = links != NULL ? links->count : 0;
    t.links = SK_ARENA_ARRAY(arena, struct lab_link_spec, t.nlinks + 1);
    for (size_t i = 0; i < t.nlinks; i++) {
        bad = read_link(&t, &links->u.items[i], &t.links[i], err);
        if (bad < 0) {
            (void)sk_err_wrap(err, "%s", name);
            return bad;
        }
    }
    bad = lab_topology_check(&t, err);
    if (bad < 0) {
        (void)sk_err_wrap(err, "%s", name);
        return bad;
    }
    *ret = t;
    return 0;
}
