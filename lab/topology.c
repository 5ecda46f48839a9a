/* SPDX-License-Identifier: Apache-2.0 */
#include "lab/topology.h"

#include "base/mem.h"
#include "base/yaml.h"
#include "model/reader.h"

#define RTT_MS_MAX 10000
#define MBIT_MAX 1e6
#define UNSET (-1.0)
#define BYTES_MAX (1LL << 50)

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

static bool in_range(const struct lab_link_spec *link, double value, double max)
{
    return (value >= 0 || (link->one_way && value == UNSET)) && value <= max;
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
        if (l->a >= t->nsites || l->b >= t->nsites || l->a == l->b ||
            !in_range(l, l->rtt_ms, RTT_MS_MAX) || !in_range(l, l->jitter_ms, RTT_MS_MAX) ||
            !in_range(l, l->loss_percent, 100) || !in_range(l, l->mbit, MBIT_MAX)) {
            return sk_err_set(err, SK_ERR_INPUT, "link %zu is out of range", i + 1);
        }
    }
    return ret;
}

/* ---- reading ---- */

struct draft {
    struct lab_topology t;
    bool has_default;
    struct lab_link_spec dflt;
    struct spot at_sites, at_links; /* read last: links name sites, the default comes first */
};

struct site_draft {
    struct lab_site_spec spec;
    struct spot at_hosts;
};

static int read_name(struct rd *rd, const struct spot *at, void *into)
{
    struct site_draft *site = into;
    struct sk_str name;
    if (rd_string(rd, at, &name) < 0) {
        return rd->err.code;
    }
    site->spec.name = sk_arena_str(rd->arena, name);
    return 0;
}

static int keep_hosts(struct rd *rd, const struct spot *at, void *into)
{
    ((struct site_draft *)into)->at_hosts = *at;
    return 0;
}

static int read_control(struct rd *rd, const struct spot *at, void *into)
{
    return rd_bool(rd, at, &((struct site_draft *)into)->spec.control);
}

static int read_bare(struct rd *rd, const struct spot *at, void *into)
{
    return rd_bool(rd, at, &((struct site_draft *)into)->spec.bare);
}

static int read_cpus(struct rd *rd, const struct spot *at, void *into)
{
    struct site_draft *site = into;
    if (rd_cpus(rd, at, &site->spec.cpus_nano) < 0) {
        return rd->err.code;
    }
    return site->spec.cpus_nano <= 0 ? rd_bad(rd, at, "must be above 0") : 0;
}

static int read_size(struct rd *rd, const struct spot *at, int64_t *ret)
{
    int64_t bytes;
    if (rd_bytes(rd, at, &bytes) < 0) {
        return rd->err.code;
    }
    if (bytes < (1 << 20) || bytes > BYTES_MAX) {
        return rd_bad(rd, at, "must be 1M to 1024T");
    }
    *ret = bytes;
    return 0;
}

static int read_memory(struct rd *rd, const struct spot *at, void *into)
{
    return read_size(rd, at, &((struct site_draft *)into)->spec.memory_bytes);
}

static int read_disk(struct rd *rd, const struct spot *at, void *into)
{
    return read_size(rd, at, &((struct site_draft *)into)->spec.disk_bytes);
}

static const struct rd_key site_keys[] = {
    {"name", RD_EXECUTED, read_name, NULL, NULL},
    {"hosts", RD_EXECUTED, keep_hosts, NULL, NULL},
    {"nodes", RD_EXECUTED, keep_hosts, NULL, NULL}, /* the same, as it was called at first */
    {"control", RD_EXECUTED, read_control, NULL, NULL},
    {"bare", RD_EXECUTED, read_bare, NULL, NULL},
    {"cpus", RD_EXECUTED, read_cpus, NULL, NULL},
    {"memory", RD_EXECUTED, read_memory, NULL, NULL},
    {"disk", RD_EXECUTED, read_disk, NULL, NULL},
};
static const struct rd_object site_object = {
    .place = "sites.*", .keys = site_keys, .nkeys = SK_ARRAY_LEN(site_keys)};

/* A list of names, or N: NAME-1 to NAME-N. */
static int read_hosts(struct rd *rd, struct site_draft *site, const struct spot *at)
{
    int64_t count = 0;
    bool listed = at->node->kind == SK_SEQ;
    if (listed) {
        count = at->node->count;
    } else if (rd_int(rd, at, 0, LAB_SITE_NODES_MAX, &count) < 0) {
        return rd->err.code;
    }
    if (count > LAB_SITE_NODES_MAX) {
        return rd_bad(rd, at, "must be at most %d names", LAB_SITE_NODES_MAX);
    }
    struct sk_str *names = SK_ARENA_ARRAY(rd->arena, struct sk_str, (size_t)count + 1);
    for (size_t i = 0; i < (size_t)count; i++) {
        if (!listed) {
            names[i] = sk_arena_printf(rd->arena, "%.*s-%zu", SK_PRI(site->spec.name), i + 1);
            continue;
        }
        struct spot item = spot_item(at, (uint32_t)i);
        struct sk_str name;
        if (rd_string(rd, &item, &name) < 0) {
            return rd->err.code;
        }
        if (!sk_str_is_label(name)) {
            return rd_bad(rd, &item, "must be a label of [a-z0-9-], not '%.*s'", SK_PRI(name));
        }
        names[i] = sk_arena_str(rd->arena, name);
    }
    site->spec.nodes = names;
    site->spec.nnodes = (size_t)count;
    return 0;
}

/* A member of the map of sites, or an item of the list, which has its name inside. */
static int read_site(struct rd *rd, const struct spot *at, void *into)
{
    struct draft *d = into;
    struct site_draft site = {0};
    site.spec.name = sk_arena_str(rd->arena, at->key.ptr != NULL ? at->key : SK_STR(""));
    if (d->t.nsites == LAB_SITES_MAX) {
        return rd_bad(rd, at, "is one more than the %d sites that a lab may have", LAB_SITES_MAX);
    }
    if (at->node->kind != SK_NULL && rd_object_read(rd, at, &site_object, &site) < 0) {
        return rd->err.code;
    }
    if (!sk_str_is_label(site.spec.name)) {
        return rd_bad(rd, at, "needs a name that is a label of [a-z0-9-], not '%.*s'",
                      SK_PRI(site.spec.name));
    }
    if (site.at_hosts.node == NULL) {
        return rd_bad(rd, at, "needs 'hosts': how many, or a list of names");
    }
    if (read_hosts(rd, &site, &site.at_hosts) < 0) {
        return rd->err.code;
    }
    d->t.sites[d->t.nsites++] = site.spec;
    return 0;
}

static int read_rtt(struct rd *rd, const struct spot *at, void *into)
{
    return rd_num(rd, at, 0, RTT_MS_MAX, &((struct lab_link_spec *)into)->rtt_ms);
}

static int read_jitter(struct rd *rd, const struct spot *at, void *into)
{
    return rd_num(rd, at, 0, RTT_MS_MAX, &((struct lab_link_spec *)into)->jitter_ms);
}

static int read_loss(struct rd *rd, const struct spot *at, void *into)
{
    return rd_num(rd, at, 0, 100, &((struct lab_link_spec *)into)->loss_percent);
}

static int read_rate(struct rd *rd, const struct spot *at, void *into)
{
    return rd_num(rd, at, 0, MBIT_MAX, &((struct lab_link_spec *)into)->mbit);
}

struct link_draft {
    struct lab_link_spec spec; /* first: the readers above take it */
    struct spot between, from, to;
};

static int keep_between(struct rd *rd, const struct spot *at, void *into)
{
    ((struct link_draft *)into)->between = *at;
    return rd_want(rd, at, SK_SEQ);
}

static int keep_from(struct rd *rd, const struct spot *at, void *into)
{
    ((struct link_draft *)into)->from = *at;
    return 0;
}

static int keep_to(struct rd *rd, const struct spot *at, void *into)
{
    ((struct link_draft *)into)->to = *at;
    return 0;
}

#define LINK_VALUES                                          \
    {"rtt_ms", RD_EXECUTED, read_rtt, NULL, NULL},           \
        {"jitter_ms", RD_EXECUTED, read_jitter, NULL, NULL}, \
        {"loss", RD_EXECUTED, read_loss, NULL, NULL},        \
        {"rate", RD_EXECUTED, read_rate, NULL, NULL},        \
    {                                                        \
        "mbit", RD_EXECUTED, read_rate, NULL, NULL           \
    }
static const struct rd_key link_keys[] = {
    {"between", RD_EXECUTED, keep_between, NULL, NULL},
    {"from", RD_EXECUTED, keep_from, NULL, NULL},
    {"to", RD_EXECUTED, keep_to, NULL, NULL},
    LINK_VALUES,
};
static const struct rd_object link_object = {
    .place = "links.*", .keys = link_keys, .nkeys = SK_ARRAY_LEN(link_keys)};
static const struct rd_key default_keys[] = {LINK_VALUES};
static const struct rd_object default_object = {
    .place = "default", .keys = default_keys, .nkeys = SK_ARRAY_LEN(default_keys)};

static int read_end(struct rd *rd, const struct lab_topology *t, const struct spot *at, size_t *ret)
{
    struct sk_str name;
    if (rd_scalar(rd, at, &name) < 0) {
        return rd->err.code;
    }
    for (size_t i = 0; i < t->nsites; i++) {
        if (sk_str_eq(t->sites[i].name, name)) {
            *ret = i;
            return 0;
        }
    }
    return rd_bad(rd, at, "must be a site of this lab, not '%.*s'", SK_PRI(name));
}

static int read_link(struct rd *rd, const struct spot *at, void *into)
{
    struct draft *d = into;
    struct link_draft link = {
        .spec = {.rtt_ms = UNSET, .jitter_ms = UNSET, .loss_percent = UNSET, .mbit = UNSET}};
    if (rd_object_read(rd, at, &link_object, &link) < 0) {
        return rd->err.code;
    }
    link.spec.one_way = link.between.node == NULL;
    if (link.spec.one_way
            ? link.from.node == NULL || link.to.node == NULL
            : link.from.node != NULL || link.to.node != NULL || link.between.node->count != 2) {
        return rd_bad(rd, at, "needs either 'between', two sites, or 'from' and 'to'");
    }
    struct spot ends[2] = {link.from, link.to};
    for (uint32_t i = 0; !link.spec.one_way && i < 2; i++) {
        ends[i] = spot_item(&link.between, i);
    }
    if (read_end(rd, &d->t, &ends[0], &link.spec.a) < 0 ||
        read_end(rd, &d->t, &ends[1], &link.spec.b) < 0) {
        return rd->err.code;
    }
    if (link.spec.a == link.spec.b) {
        return rd_bad(rd, at, "must be between two different sites");
    }
    if (!link.spec.one_way) { /* what a pair does not say is as the default, else nothing */
        const struct lab_link_spec *dflt = &d->dflt;
        struct lab_link_spec *s = &link.spec;
        s->rtt_ms = s->rtt_ms < 0 ? dflt->rtt_ms : s->rtt_ms;
        s->jitter_ms = s->jitter_ms < 0 ? dflt->jitter_ms : s->jitter_ms;
        s->loss_percent = s->loss_percent < 0 ? dflt->loss_percent : s->loss_percent;
        s->mbit = s->mbit < 0 ? dflt->mbit : s->mbit;
    }
    d->t.links[d->t.nlinks++] = link.spec;
    return 0;
}

static int read_default(struct rd *rd, const struct spot *at, void *into)
{
    struct draft *d = into;
    d->has_default = true;
    return rd_object_read(rd, at, &default_object, &d->dflt);
}

static int read_gso(struct rd *rd, const struct spot *at, void *into)
{
    bool gso;
    if (rd_bool(rd, at, &gso) < 0) {
        return rd->err.code;
    }
    ((struct draft *)into)->t.nogso = !gso;
    return 0;
}

static int keep_sites(struct rd *rd, const struct spot *at, void *into)
{
    ((struct draft *)into)->at_sites = *at;
    return at->node->kind == SK_SEQ ? 0 : rd_want(rd, at, SK_MAP);
}

static int keep_links(struct rd *rd, const struct spot *at, void *into)
{
    ((struct draft *)into)->at_links = *at;
    return rd_want(rd, at, SK_SEQ);
}

static const struct rd_key topology_keys[] = {
    {"sites", RD_EXECUTED, keep_sites, NULL, NULL},
    {"links", RD_EXECUTED, keep_links, NULL, NULL},
    {"default", RD_EXECUTED, read_default, NULL, NULL},
    {"gso", RD_EXECUTED, read_gso, NULL, NULL},
};
static const struct rd_object topology_object = {.place = "the topology",
                                                 .keys = topology_keys,
                                                 .nkeys = SK_ARRAY_LEN(topology_keys),
                                                 .extensions = true};

static int read_all(struct rd *rd, const struct spot *root, struct draft *d)
{
    if (rd_object_read(rd, root, &topology_object, d) < 0) {
        return rd->err.code;
    }
    if (d->at_sites.node == NULL) {
        return rd_bad(rd, root, "needs 'sites'");
    }
    d->t.sites = SK_ARENA_ARRAY(rd->arena, struct lab_site_spec, LAB_SITES_MAX);
    if (rd_each(rd, &d->at_sites, read_site, d) < 0) {
        return rd->err.code;
    }
    size_t n = d->t.nsites;
    size_t written = d->at_links.node != NULL ? d->at_links.node->count : 0;
    if (written > LAB_LINKS_MAX) {
        return rd_bad(rd, &d->at_links, "has more than %d entries", LAB_LINKS_MAX);
    }
    d->t.links = SK_ARENA_ARRAY(rd->arena, struct lab_link_spec, n * n + written + 1);
    for (size_t a = 0; d->has_default && a < n; a++) {
        for (size_t b = a + 1; b < n; b++) {
            struct lab_link_spec link = d->dflt;
            link.a = a;
            link.b = b;
            d->t.links[d->t.nlinks++] = link;
        }
    }
    return d->at_links.node != NULL ? rd_each(rd, &d->at_links, read_link, d) : 0;
}

int lab_topology_read(struct sk_arena *arena, const char *name, struct sk_str bytes,
                      struct lab_topology *ret, struct sk_err *err)
{
    const struct sk_node *node = NULL;
    const struct sk_limits limits = {.bytes_max = 1 << 20, .nodes_max = 100000};
    struct sk_err own = {0};
    struct draft d = {0};
    struct rd rd = {0};
    int code = sk_tree_read(arena, name, bytes, &limits, &node, &own);
    if (code == 0) {
        struct spot root = spot_root(node);
        rd_begin(&rd, arena, arena, name);
        if (read_all(&rd, &root, &d) < 0) {
            code = rd_end(&rd, &own);
            if (strstr(own.fix, "docs/declaration.md") != NULL) {
                (void)sk_err_fix(&own, "docs/lab.md lists the keys of a topology");
            }
        } else if ((code = lab_topology_check(&d.t, &own)) < 0) {
            (void)sk_err_wrap(&own, "%s", name);
        }
    }
    if (code < 0) {
        if (err != NULL) {
            *err = own;
        }
        return code;
    }
    *ret = d.t;
    return 0;
}
