/* SPDX-License-Identifier: Apache-2.0 */
#include "tiny.h"

#include <stdio.h>

static const char *const regions[] = {"", "eu", "us"};
static const char *const countries[] = {"", "DE", "FR"};
static const char *const trusts[] = {"full", "storage", "control"};
static const char *const constraints[] = {
    "",
    "node.labels.disk == ssd",
    "node.labels.disk != ssd",
    "node.site != s0",
    "site.region == eu",
    "site.provider != acme",
    "node.name == n1",
};
static const struct {
    int bit;
    const char *text;
} residencies[] = {{TINY_EU, "eu"}, {TINY_US, "us"}, {TINY_DE, "country:DE"}};

void tiny_site_name(int site, char out[16])
{
    (void)snprintf(out, 16, "s%d", site);
}

void tiny_node_name(int node, char out[16])
{
    (void)snprintf(out, 16, "n%d", node);
}

void tiny_service_name(int service, char out[16])
{
    (void)snprintf(out, 16, "v%d", service);
}

static struct sk_str named(struct sk_arena *arena, char letter, int number)
{
    return sk_arena_printf(arena, "%c%d", letter, number);
}

static void build_inventory(const struct tiny *t, struct inventory *inv, struct sk_arena *arena)
{
    struct site *sites = SK_ARENA_ARRAY(arena, struct site, (size_t)t->nsites);
    struct node *nodes = SK_ARENA_ARRAY(arena, struct node, (size_t)t->nnodes);

    for (int s = 0; s < t->nsites; s++) {
        const struct tiny_site *is = &t->sites[s];

        sites[s] = (struct site){
            .name = named(arena, 's', s),
            .region = sk_str(regions[is->region]),
            .country = sk_str(countries[is->country]),
            .provider = is->provider ? SK_STR("acme") : SK_STR(""),
            .has_egress = is->egress >= 0,
            .egress_per_gb = is->egress >= 0 ? is->egress : 0,
            .trust = is->trust,
            .drained = is->drained,
        };
    }
    for (int n = 0; n < t->nnodes; n++) {
        const struct tiny_node *is = &t->nodes[n];
        struct sk_kv *label = SK_ARENA_NEW(arena, struct sk_kv);

        *label = (struct sk_kv){SK_STR("disk"), is->label == 1 ? SK_STR("ssd") : SK_STR("hdd")};
        nodes[n] = (struct node){
            .name = named(arena, 'n', n),
            .site = (uint32_t)is->site,
            .cpus_nano = is->cpus * TINY_CPUS,
            .memory_bytes = is->memory * TINY_MEMORY,
            .disk_bytes = is->disk * TINY_DISK,
            .has_price = is->price >= 0,
            .price_hour = is->price >= 0 ? is->price : 0,
            .labels = label,
            .nlabels = is->label ? 1 : 0,
            .drained = is->drained,
        };
    }
    *inv = (struct inventory){.currency = SK_STR("EUR"),
                              .sites = sites,
                              .nsites = (size_t)t->nsites,
                              .nodes = nodes,
                              .nnodes = (size_t)t->nnodes};
}

static const struct sk_str *build_residency(int bits, size_t *ret_count, struct sk_arena *arena)
{
    struct sk_str *list = SK_ARENA_ARRAY(arena, struct sk_str, 3);

    *ret_count = 0;
    for (int i = 0; i < 3; i++) {
        if (bits & residencies[i].bit) {
            list[(*ret_count)++] = sk_str(residencies[i].text);
        }
    }
    return list;
}

static struct constraint *build_constraint(enum tiny_constraint is, struct sk_arena *arena)
{
    static const struct constraint all[] = {
        [LABEL_SSD] = {ON_LABEL, SK_STR("disk"), true, SK_STR("ssd"), SK_STR("")},
        [LABEL_NOT_SSD] = {ON_LABEL, SK_STR("disk"), false, SK_STR("ssd"), SK_STR("")},
        [NOT_SITE_0] = {ON_SITE, SK_STR(""), false, SK_STR("s0"), SK_STR("")},
        [REGION_EU] = {ON_REGION, SK_STR(""), true, SK_STR("eu"), SK_STR("")},
        [NOT_ACME] = {ON_PROVIDER, SK_STR(""), false, SK_STR("acme"), SK_STR("")},
        [NODE_1] = {ON_NODE, SK_STR(""), true, SK_STR("n1"), SK_STR("")},
    };
    struct constraint *c = SK_ARENA_NEW(arena, struct constraint);

    *c = all[is];
    c->text = sk_str(constraints[is]);
    return c;
}

static void build_service(const struct tiny *t, int i, struct service *out, struct sk_arena *arena)
{
    const struct tiny_service *s = &t->services[i];

    *out = (struct service){
        .name = named(arena, 'v', i),
        .replicas = s->replicas,
        .cpus_nano = s->cpus * TINY_CPUS,
        .memory_bytes = s->memory * TINY_MEMORY,
        .disk_bytes = s->disk * TINY_DISK,
        .constraints = build_constraint(s->constraint, arena),
        .nconstraints = s->constraint != FREE ? 1 : 0,
        .survive = {.sites_written = s->sites >= 0,
                    .nodes_written = s->nodes >= 0,
                    .keep_written = s->keep >= 0,
                    .sites = s->sites >= 0 ? s->sites : 0,
                    .nodes = s->nodes >= 0 ? s->nodes : 0,
                    .keep = s->keep >= 0 ? s->keep : 0},
        .latency = {.written = s->latency,
                    .has_ms = s->latency && s->ms >= 0,
                    .ms = s->ms,
                    .share = s->latency ? s->share : 0.95,
                    .has_after_loss = s->latency && s->after >= 0,
                    .after_loss_ms = s->after},
        .has_cost = s->cost >= 0,
        .cost_month = s->cost,
        .has_traffic = s->gb > 0 || s->rps > 0,
        .gb_month = s->gb,
        .rps = s->rps,
        .rps_per_replica = s->per_replica,
    };
    if (s->latency && s->after >= 0 && s->sites < 0) { /* implied, as the reader says */
        out->survive.sites_written = true;
        out->survive.sites = 1;
    }
    out->residency = build_residency(s->residency, &out->nresidency, arena);
}

static void build_users(const struct tiny *t, struct project *project, struct sk_arena *arena)
{
    struct users *users = SK_ARENA_ARRAY(arena, struct users, (size_t)t->nusers + 1);
    double sum = 0;

    for (int u = 0; u < t->nusers; u++) {
        sum += t->demand[u];
    }
    for (int u = 0; u < t->nusers; u++) {
        struct user_rtt *rtt = SK_ARENA_ARRAY(arena, struct user_rtt, (size_t)t->nsites);

        for (int s = 0; s < t->nsites; s++) {
            rtt[s] = (struct user_rtt){named(arena, 's', s), t->rtt[u][s]};
        }
        users[u] = (struct users){.name = named(arena, 'u', u),
                                  .share = t->demand[u] / sum,
                                  .rtt = rtt,
                                  .nrtt = (size_t)t->nsites};
    }
    project->users = users;
    project->nusers = (size_t)t->nusers;
}

void tiny_world(const struct tiny *t, struct tiny_world *w, struct sk_arena *arena)
{
    struct service *services = SK_ARENA_ARRAY(arena, struct service, (size_t)t->nservices);

    *w = (struct tiny_world){.project = {.name = SK_STR("p")}};
    build_inventory(t, &w->inv, arena);
    for (int i = 0; i < t->nservices; i++) {
        build_service(t, i, &services[i], arena);
    }
    w->project.services = services;
    w->project.nservices = (size_t)t->nservices;
    build_users(t, &w->project, arena);
    if (t->bucket.present) {
        struct bucket *b = SK_ARENA_NEW(arena, struct bucket);

        *b = (struct bucket){.name = SK_STR("b"),
                             .size_bytes = t->bucket.size * TINY_DISK,
                             .has_code = t->bucket.data > 0,
                             .data = t->bucket.data,
                             .parity = t->bucket.parity,
                             .survive = {.sites_written = t->bucket.sites >= 0,
                                         .sites = t->bucket.sites >= 0 ? t->bucket.sites : 0}};
        b->residency = build_residency(t->bucket.residency, &b->nresidency, arena);
        w->project.buckets = b;
        w->project.nbuckets = 1;
    }
    w->projects[0] = &w->project;
}

void tiny_write_inventory(const struct tiny *t, struct sk_buf *out)
{
    sk_buf_adds(out, "sites:\n");
    for (int s = 0; s < t->nsites; s++) {
        const struct tiny_site *is = &t->sites[s];

        sk_buf_printf(out, "  s%d: {trust: %s, drained: %s", s, trusts[is->trust],
                      is->drained ? "true" : "false");
        if (is->region) {
            sk_buf_printf(out, ", region: %s", regions[is->region]);
        }
        if (is->country) {
            sk_buf_printf(out, ", country: %s", countries[is->country]);
        }
        if (is->provider) {
            sk_buf_adds(out, ", provider: acme");
        }
        if (is->egress >= 0) {
            sk_buf_printf(out, ", egress_per_gb: %.17g", is->egress);
        }
        sk_buf_adds(out, "}\n");
    }
    sk_buf_adds(out, "nodes:\n");
    for (int n = 0; n < t->nnodes; n++) {
        const struct tiny_node *is = &t->nodes[n];

        sk_buf_printf(out, "  n%d: {site: s%d, cpus: %g, memory: %dM, disk: %dG, drained: %s", n,
                      is->site, is->cpus * 0.5, is->memory * 256, is->disk,
                      is->drained ? "true" : "false");
        if (is->price >= 0) {
            sk_buf_printf(out, ", price_hour: %.17g", is->price);
        }
        if (is->label) {
            sk_buf_printf(out, ", labels: {disk: %s}", is->label == 1 ? "ssd" : "hdd");
        }
        sk_buf_adds(out, "}\n");
    }
}

static void write_residency(int bits, struct sk_buf *out)
{
    const char *comma = "";

    sk_buf_adds(out, "[");
    for (int i = 0; i < 3; i++) {
        if (bits & residencies[i].bit) {
            sk_buf_printf(out, "%s\"%s\"", comma, residencies[i].text);
            comma = ", ";
        }
    }
    sk_buf_adds(out, "]");
}

static void write_survive(int sites, int nodes, int keep, struct sk_buf *out)
{
    const char *comma = "";

    if (sites < 0 && nodes < 0 && keep < 0) {
        return;
    }
    sk_buf_adds(out, "      survive: {");
    if (sites >= 0) {
        sk_buf_printf(out, "sites: %d", sites);
        comma = ", ";
    }
    if (nodes >= 0) {
        sk_buf_printf(out, "%snodes: %d", comma, nodes);
        comma = ", ";
    }
    if (keep >= 0) {
        sk_buf_printf(out, "%skeep: %d", comma, keep);
    }
    sk_buf_adds(out, "}\n");
}

static void write_policies(const struct tiny_service *s, struct sk_buf *out)
{
    sk_buf_printf(out, "    x-skerry:\n      disk: %dG\n", s->disk);
    write_survive(s->sites, s->nodes, s->keep, out);
    if (s->residency) {
        sk_buf_adds(out, "      residency: ");
        write_residency(s->residency, out);
        sk_buf_adds(out, "\n");
    }
    if (s->latency) {
        sk_buf_printf(out, "      latency: {share: %g", s->share);
        if (s->ms >= 0) {
            sk_buf_printf(out, ", ms: %g", s->ms);
        }
        if (s->after >= 0) {
            sk_buf_printf(out, ", after_loss_ms: %g", s->after);
        }
        sk_buf_adds(out, "}\n");
    }
    if (s->cost >= 0) {
        sk_buf_printf(out, "      cost: {month: %g}\n", s->cost);
    }
    if (s->gb > 0 || s->rps > 0) {
        sk_buf_printf(out, "      traffic: {gb_month: %g", s->gb);
        if (s->rps > 0) {
            sk_buf_printf(out, ", rps: %g, rps_per_replica: %g", s->rps, s->per_replica);
        }
        sk_buf_adds(out, "}\n");
    }
}

void tiny_write_project(const struct tiny *t, struct sk_buf *out)
{
    sk_buf_adds(out, "name: p\nservices:\n");
    for (int i = 0; i < t->nservices; i++) {
        const struct tiny_service *s = &t->services[i];

        sk_buf_printf(out,
                      "  v%d:\n    command: [\"/bin/true\"]\n    deploy:\n      replicas: %d\n"
                      "      resources: {limits: {cpus: \"%g\", memory: %dM}}\n",
                      i, s->replicas, s->cpus * 0.5, s->memory * 256);
        if (s->constraint != FREE) {
            sk_buf_printf(out, "      placement: {constraints: [\"%s\"]}\n",
                          constraints[s->constraint]);
        }
        write_policies(s, out);
    }
    sk_buf_adds(out, "x-skerry:\n");
    for (int u = 0; u < t->nusers; u++) {
        sk_buf_printf(out, "%s    u%d: {share: %g, rtt_ms: {", u ? "" : "  users:\n", u,
                      t->demand[u]);
        for (int s = 0; s < t->nsites; s++) {
            sk_buf_printf(out, "%ss%d: %g", s ? ", " : "", s, t->rtt[u][s]);
        }
        sk_buf_adds(out, "}}\n");
    }
    if (t->bucket.present) {
        sk_buf_printf(out, "  buckets:\n    b: {size: %dG", t->bucket.size);
        if (t->bucket.residency) {
            sk_buf_adds(out, ", residency: ");
            write_residency(t->bucket.residency, out);
        }
        if (t->bucket.sites >= 0) {
            sk_buf_printf(out, ", survive: {sites: %d}", t->bucket.sites);
        }
        if (t->bucket.data > 0) {
            sk_buf_printf(out, ", code: %d+%d", t->bucket.data, t->bucket.parity);
        }
        sk_buf_adds(out, "}\n");
    }
}
