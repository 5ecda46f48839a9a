/* SPDX-License-Identifier: Apache-2.0 */
#include "tiny.h"

static int below(struct sk_prng *r, int bound)
{
    return (int)sk_prng_below(r, (uint64_t)bound);
}

static bool chance(struct sk_prng *r, int percent)
{
    return below(r, 100) < percent;
}

static void make_sites(struct tiny *t, struct sk_prng *r)
{
    t->nsites = chance(r, 8) ? 1 : 2 + below(r, SITES_MAX - 1);
    for (int s = 0; s < t->nsites; s++) {
        struct tiny_site *site = &t->sites[s];

        site->region = chance(r, 10) ? 0 : chance(r, 70) ? 1 : 2;
        site->country = site->region == 0 ? 0 : 1 + below(r, 2);
        site->provider = below(r, 2);
        site->trust = chance(r, 92) ? SITE_FULL : chance(r, 50) ? SITE_STORAGE : SITE_CONTROL;
        site->drained = chance(r, 5);
        site->egress = chance(r, 3) ? -1 : 0.01 * below(r, 10);
    }
}

static void make_nodes(struct tiny *t, struct sk_prng *r)
{
    int size = 3 + below(r, 7); /* of this world's nodes, about */
    bool equal = chance(r, 40);

    t->nnodes = t->nsites + below(r, NODES_MAX - t->nsites + 1);
    for (int n = 0; n < t->nnodes; n++) {
        struct tiny_node *node = &t->nodes[n];

        node->site = n < t->nsites ? n : below(r, t->nsites);
        node->cpus = equal ? size : 1 + below(r, size * 2);
        node->memory = equal ? size : 1 + below(r, size * 2);
        node->disk = chance(r, 25) ? 0 : 1 + below(r, 8);
        node->price = chance(r, 3) ? -1 : 0.01 * (1 + below(r, 20));
        node->label = below(r, 3);
        node->drained = chance(r, 5);
    }
}

static void make_users(struct tiny *t, struct sk_prng *r)
{
    t->nusers = below(r, USERS_MAX + 1);
    for (int u = 0; u < t->nusers; u++) {
        t->demand[u] = 1 + below(r, 4);
        for (int s = 0; s < t->nsites; s++) {
            t->rtt[u][s] = 5 * (1 + below(r, 20));
        }
    }
}

static void make_latency(struct tiny_service *s, struct sk_prng *r)
{
    static const double shares[] = {0.5, 0.75, 0.95, 1.0};

    s->latency = true;
    s->share = shares[below(r, 4)];
    s->ms = chance(r, 90) ? 40 + 5 * below(r, 14) : -1;
    s->after = s->ms < 0 || chance(r, 35) ? 60 + 5 * below(r, 14) : -1;
}

static int usable_nodes(const struct tiny *t)
{
    int usable = 0;

    for (int n = 0; n < t->nnodes; n++) {
        usable += !t->nodes[n].drained && !t->sites[t->nodes[n].site].drained;
    }
    return usable;
}

/* What must be survived, from nothing to the impossible. */
static void make_survive(struct tiny *t, struct tiny_service *s, struct sk_prng *r, int strict)
{
    if (chance(r, 20 + strict)) {
        s->sites = below(r, 12) == 0 ? 2 : 1;
    }
    if (chance(r, 20)) { /* losing more nodes than there are means nothing: not asked here */
        s->nodes = usable_nodes(t) > 1 ? 1 + below(r, 2) : usable_nodes(t) > 0 ? 1 : -1;
    }
    if (chance(r, 40)) {
        s->keep = below(r, s->replicas + 1);
        s->keep -= s->keep == s->replicas && s->keep > 0 && chance(r, 90);
    }
}

/* `strict`: per cent; worlds differ in how much is asked, so that all verdicts are common. */
static void make_service(struct tiny *t, struct tiny_service *s, struct sk_prng *r, int strict)
{
    *s = (struct tiny_service){.sites = -1, .nodes = -1, .keep = -1, .ms = -1, .after = -1};
    s->cost = -1;
    s->replicas = chance(r, 4) ? 0 : 1 + below(r, chance(r, 30) ? REPLICAS_MAX : 3);
    s->cpus = 1 + below(r, 3);
    s->memory = 1 + below(r, 3);
    s->disk = chance(r, 15) ? 1 + below(r, 3) : 0;
    s->residency = chance(r, strict / 2) ? 1 + below(r, 7) : 0;
    s->constraint = chance(r, strict / 2) ? (enum tiny_constraint)below(r, NODE_1 + 1) : FREE;
    make_survive(t, s, r, strict);
    if (t->nusers > 0 && chance(r, strict)) {
        make_latency(s, r);
    }
    if (chance(r, strict / 3)) {
        s->cost = 10 * (1 + below(r, 40));
    }
    if (chance(r, 25)) {
        s->gb = 73 * (1 + below(r, 10));
    }
    if (chance(r, strict / 4)) {
        s->rps = 100;
        s->per_replica = 25 * (1 + below(r, 5));
    }
}

/* Small and tight on purpose: most of what can go wrong needs a place where things barely fit. */
void tiny_make(struct tiny *t, uint64_t seed)
{
    struct sk_prng r;
    int most, strict;

    memset(t, 0, sizeof(*t));
    t->seed = seed;
    sk_prng_seed(&r, seed);
    make_sites(t, &r);
    make_nodes(t, &r);
    make_users(t, &r);
    strict = below(&r, 60);
    most = chance(&r, 50) ? 2 : chance(&r, 60) ? 4 : SERVICES_MAX;
    t->nservices = 1 + below(&r, most);
    for (int i = 0; i < t->nservices; i++) {
        make_service(t, &t->services[i], &r, strict);
    }
    if (chance(&r, 15)) {
        t->bucket.present = true;
        t->bucket.data = chance(&r, 50) ? 0 : 1 + below(&r, 3);
        t->bucket.parity = below(&r, 3);
        t->bucket.sites = chance(&r, 50) ? 1 + below(&r, 2) : -1;
        t->bucket.residency = chance(&r, 25) ? 1 + below(&r, 7) : 0;
    }
}
