/* SPDX-License-Identifier: Apache-2.0 */
#include "tiny.h"

#include <math.h>

int tiny_bits(unsigned mask)
{
    return __builtin_popcount(mask);
}

static bool resident(const struct tiny *t, int site, int residency)
{
    const struct tiny_site *s = &t->sites[site];

    if (residency == 0) {
        return true;
    }
    if ((residency & TINY_EU) && s->region == 1) {
        return true;
    }
    if ((residency & TINY_US) && s->region == 2) {
        return true;
    }
    return (residency & TINY_DE) && s->country == 1;
}

bool tiny_allowed(const struct tiny *t, int service, int node)
{
    const struct tiny_service *s = &t->services[service];
    const struct tiny_node *n = &t->nodes[node];
    const struct tiny_site *site = &t->sites[n->site];

    if (site->trust != SITE_FULL || site->drained || n->drained) {
        return false;
    }
    if (!resident(t, n->site, s->residency)) {
        return false;
    }
    if (s->cpus > n->cpus || s->memory > n->memory || s->disk > n->disk) {
        return false;
    }
    switch (s->constraint) {
    case FREE:
        return true;
    case LABEL_SSD:
        return n->label == 1;
    case LABEL_NOT_SSD:
        return n->label != 1;
    case NOT_SITE_0:
        return n->site != 0;
    case REGION_EU:
        return site->region == 1;
    case NOT_ACME:
        return site->provider != 1;
    case NODE_1:
        return node == 1;
    }
    return false;
}

unsigned tiny_holding(const struct tiny *t, const int *count)
{
    unsigned mask = 0;

    for (int n = 0; n < t->nnodes; n++) {
        if (count[n] > 0) {
            mask |= 1u << t->nodes[n].site;
        }
    }
    return mask;
}

int tiny_survive_sites(const struct tiny *t, int service, bool *ret_written)
{
    const struct tiny_service *s = &t->services[service];
    unsigned mask = 0;

    *ret_written = true;
    if (s->sites >= 0 && !(s->sites == 0 && s->latency && s->after >= 0)) {
        return s->sites;
    }
    if (s->latency && s->after >= 0) {
        return 1;
    }
    *ret_written = false;
    for (int n = 0; n < t->nnodes; n++) {
        if (tiny_allowed(t, service, n)) {
            mask |= 1u << t->nodes[n].site;
        }
    }
    return tiny_bits(mask) >= 2 ? 1 : 0;
}

int tiny_survive_nodes(const struct tiny *t, int service)
{
    int allowed = 0;

    if (t->services[service].nodes >= 0) {
        return t->services[service].nodes;
    }
    for (int n = 0; n < t->nnodes; n++) {
        allowed += tiny_allowed(t, service, n);
    }
    return allowed >= 2 ? 1 : 0;
}

int tiny_keep(const struct tiny *t, int service)
{
    bool written;
    int f = tiny_survive_sites(t, service, &written);
    int g = tiny_survive_nodes(t, service);

    if (t->services[service].keep >= 0) {
        return t->services[service].keep;
    }
    return t->services[service].replicas / ((f > g ? f : g) + 1);
}

bool tiny_keep_hard_sites(const struct tiny *t, int service)
{
    bool written;

    (void)tiny_survive_sites(t, service, &written);
    return written && t->services[service].keep >= 0;
}

bool tiny_keep_hard_nodes(const struct tiny *t, int service)
{
    return t->services[service].nodes >= 0 && t->services[service].keep >= 0;
}

bool tiny_asked(const struct tiny *t, int service, unsigned lost)
{
    bool written;
    int f = tiny_survive_sites(t, service, &written);

    return written && f >= tiny_bits(lost);
}

/* The site of `holding` that serves users u; -1 if none. */
static int serves(const struct tiny *t, unsigned holding, int u)
{
    int best = -1;

    for (int s = t->nsites - 1; s >= 0; s--) { /* from the last name: an equal earlier one wins */
        if ((holding >> s & 1) && (best < 0 || t->rtt[u][s] <= t->rtt[u][best])) {
            best = s;
        }
    }
    return best;
}

static double demand_sum(const struct tiny *t)
{
    double sum = 0;

    for (int u = 0; u < t->nusers; u++) {
        sum += t->demand[u];
    }
    return sum;
}

double tiny_share(const struct tiny *t, unsigned holding, double bound)
{
    double sum = 0;

    for (int u = 0; u < t->nusers; u++) {
        int s = serves(t, holding, u);

        if (s >= 0 && t->rtt[u][s] <= bound) {
            sum += t->demand[u];
        }
    }
    return sum / demand_sum(t);
}

double tiny_percentile(const struct tiny *t, unsigned holding, double share)
{
    double best = -1;

    if (holding == 0) {
        return -1;
    }
    /* the answer is the distance of some population: try them all */
    for (int u = 0; u < t->nusers; u++) {
        double l = t->rtt[u][serves(t, holding, u)];

        if (tiny_share(t, holding, l) >= share - 1e-9 && (best < 0 || l < best)) {
            best = l;
        }
    }
    return best;
}

double tiny_cost(const struct tiny *t, int service, const int *count)
{
    const struct tiny_service *s = &t->services[service];
    unsigned holding = tiny_holding(t, count);
    double cost = 0, dearest = 0;

    for (int n = 0; n < t->nnodes; n++) {
        if (count[n] > 0 && t->nodes[n].price < 0) {
            return -1;
        }
        cost += count[n] *
                fmax((double)s->cpus / t->nodes[n].cpus, (double)s->memory / t->nodes[n].memory) *
                t->nodes[n].price;
    }
    if (s->gb <= 0 || holding == 0) {
        return cost;
    }
    for (int u = 0; u < t->nusers; u++) {
        double price = t->sites[serves(t, holding, u)].egress;

        if (price < 0) {
            return -1;
        }
        cost += s->gb / 730 * t->demand[u] / demand_sum(t) * price;
    }
    for (int i = 0; t->nusers == 0 && i < t->nsites; i++) {
        if (holding >> i & 1) {
            if (t->sites[i].egress < 0) {
                return -1;
            }
            dearest = fmax(dearest, t->sites[i].egress);
        }
    }
    return cost + s->gb / 730 * dearest;
}

static int outside(const struct tiny *t, const int *count, unsigned lost)
{
    int kept = 0;

    for (int n = 0; n < t->nnodes; n++) {
        kept += lost >> t->nodes[n].site & 1 ? 0 : count[n];
    }
    return kept;
}

static bool keeps(const struct tiny *t, int service, const int *count)
{
    const struct tiny_service *s = &t->services[service];

    for (unsigned lost = 1; lost < 1u << t->nsites; lost++) {
        int kept = outside(t, count, lost);
        unsigned holding = 0;

        if (!tiny_asked(t, service, lost)) {
            continue;
        }
        if (tiny_keep_hard_sites(t, service) && kept < s->keep) {
            return false;
        }
        holding = tiny_holding(t, count) & ~lost;
        if (s->latency && s->after >= 0 && kept > 0 &&
            tiny_share(t, holding, s->after) < s->share - 1e-9) {
            return false;
        }
    }
    for (unsigned lost = 1; tiny_keep_hard_nodes(t, service) && lost < 1u << t->nnodes; lost++) {
        int kept = 0;

        for (int n = 0; n < t->nnodes; n++) {
            kept += lost >> n & 1 ? 0 : count[n];
        }
        if (tiny_bits(lost) == s->nodes && kept < s->keep) {
            return false;
        }
    }
    return true;
}

bool tiny_alone(const struct tiny *t, int service, const int *count)
{
    const struct tiny_service *s = &t->services[service];

    if (s->latency && s->ms >= 0 && s->replicas > 0 &&
        tiny_share(t, tiny_holding(t, count), s->ms) < s->share - 1e-9) {
        return false;
    }
    if (s->rps > 0 && s->per_replica * s->replicas < s->rps) {
        return false;
    }
    if (s->cost >= 0) {
        double cost = tiny_cost(t, service, count);

        if (cost < 0 || cost * 730 > s->cost * (1 + 1e-9)) {
            return false;
        }
    }
    return keeps(t, service, count);
}

bool tiny_bucket_site(const struct tiny *t, int site)
{
    bool disk = false;

    for (int n = 0; n < t->nnodes; n++) {
        disk = disk || (t->nodes[n].site == site && t->nodes[n].disk > 0 && !t->nodes[n].drained);
    }
    return disk && t->sites[site].trust != SITE_CONTROL && !t->sites[site].drained &&
           resident(t, site, t->bucket.residency);
}

int tiny_bucket_f(const struct tiny *t, bool *ret_written)
{
    int allowed = 0;

    *ret_written = t->bucket.sites >= 0;
    if (*ret_written) {
        return t->bucket.sites;
    }
    for (int s = 0; s < t->nsites; s++) {
        allowed += tiny_bucket_site(t, s);
    }
    return allowed >= 2 ? 1 : 0;
}

static bool spread(const struct tiny *t, int site, int left, int m, int f, int *shards)
{
    int most = 0;

    if (site == t->nsites) {
        for (unsigned lost = 0; lost < 1u << t->nsites && left == 0; lost++) {
            int gone = 0;

            for (int s = 0; s < t->nsites; s++) {
                gone += lost >> s & 1 ? shards[s] : 0;
            }
            if (tiny_bits(lost) <= f && gone > m) {
                return false;
            }
        }
        return left == 0;
    }
    for (int n = 0; n < t->nnodes && tiny_bucket_site(t, site); n++) {
        most += t->nodes[n].site == site && t->nodes[n].disk > 0 && !t->nodes[n].drained;
    }
    for (int take = 0; take <= most && take <= left; take++) {
        shards[site] = take;
        if (spread(t, site + 1, left - take, m, f, shards)) {
            return true;
        }
    }
    shards[site] = 0;
    return false;
}

bool tiny_layout(const struct tiny *t, int k, int m, int f, int *ret_shards)
{
    return spread(t, 0, k + m, m, f, ret_shards);
}

bool tiny_bucket_possible(const struct tiny *t)
{
    int shards[SITES_MAX];
    bool written;
    int f = tiny_bucket_f(t, &written);

    f = written ? f : 0; /* a goal refuses nothing */
    if (t->bucket.data > 0) {
        return tiny_layout(t, t->bucket.data, t->bucket.parity, f, shards);
    }
    for (int k = 1; k <= 8; k++) {
        for (int m = 0; m <= NODES_MAX; m++) {
            if (tiny_layout(t, k, m, f, shards)) {
                return true;
            }
        }
    }
    return false;
}
