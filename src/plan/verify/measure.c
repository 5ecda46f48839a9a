/* SPDX-License-Identifier: Apache-2.0 */
#include "plan/verify/internal.h"

#include <math.h>

int64_t vf_holds(struct vf *v, const struct vf_service *s, const int64_t *at, const bool *lost)
{
    int64_t replicas = 0;

    memset(v->holds, 0, v->inv->nsites * sizeof(*v->holds));
    for (int64_t r = 0; r < s->service->replicas; r++) {
        int64_t node = at[s->first + (size_t)r];

        if (node >= 0 && !(lost && lost[v->inv->nodes[node].site])) {
            v->holds[v->inv->nodes[node].site] = true;
            replicas++;
        }
    }
    return replicas;
}

/* The site that serves users `u`: nearest of those that hold a replica, the first by name of equals
 * (sites are sorted by name). -1: none holds one. */
static int64_t serving(const struct vf *v, const struct vf_service *s, size_t u)
{
    const double *rtt = v->rtt[s->pi] + u * v->inv->nsites;
    int64_t best = -1;

    for (size_t i = 0; i < v->inv->nsites; i++) {
        if (v->holds[i] && (best < 0 || rtt[i] < rtt[best])) {
            best = (int64_t)i;
        }
    }
    return best;
}

static double share_sum(const struct project *project)
{
    double sum = 0;

    for (size_t u = 0; u < project->nusers; u++) {
        sum += project->users[u].share;
    }
    return sum > 0 ? sum : 1;
}

static int nearer(const void *a, const void *b)
{
    const struct vf_demand *x = a, *y = b;

    return (x->rtt > y->rtt) - (x->rtt < y->rtt);
}

/* Smallest distance within which `target` of the demand is; unknown if nobody is known to be. */
static struct plan_maybe percentile(struct vf_demand *demand, size_t users, double target)
{
    double within = 0, farthest = 0;

    qsort(demand, users, sizeof(*demand), nearer);
    for (size_t u = 0; u < users && within < target - VF_TOLERANCE; u++) {
        within += demand[u].share;
        farthest = demand[u].rtt;
    }
    return (struct plan_maybe){isfinite(farthest), isfinite(farthest) ? farthest : 0};
}

struct vf_reach vf_reach(struct vf *v, const struct vf_service *s, double bound)
{
    const struct project *project = s->project;
    struct vf_reach reach = {{false, 0}, 0};
    double sum = share_sum(project);

    for (size_t u = 0; u < project->nusers; u++) {
        int64_t site = serving(v, s, u);

        if (site < 0) {
            return reach;
        }
        v->demand[u].rtt = v->rtt[s->pi][u * v->inv->nsites + (size_t)site];
        v->demand[u].share = project->users[u].share / sum;
        if (v->demand[u].rtt <= bound + VF_TOLERANCE) {
            reach.share += v->demand[u].share;
        }
    }
    reach.ms = percentile(v->demand, project->nusers, s->service->latency.share);
    return reach;
}

/* Per hour and GB-hour of traffic. Unknown where a site that serves has no price. */
static struct plan_maybe egress(struct vf *v, const struct vf_service *s)
{
    const struct project *project = s->project;
    struct plan_maybe price = {true, 0};
    double sum = share_sum(project);

    for (size_t u = 0; u < project->nusers; u++) {
        int64_t site = serving(v, s, u);

        if (site >= 0 && project->users[u].share > 0) {
            price.known = price.known && v->inv->sites[site].has_egress;
            price.value += project->users[u].share / sum * v->inv->sites[site].egress_per_gb;
        }
    }
    for (size_t i = 0; project->nusers == 0 && i < v->inv->nsites; i++) {
        if (v->holds[i]) {
            price.known = price.known && v->inv->sites[i].has_egress;
            price.value = fmax(price.value, v->inv->sites[i].egress_per_gb);
        }
    }
    return price;
}

struct plan_maybe vf_cost(struct vf *v, const struct vf_service *s, const int64_t *at)
{
    const struct service *service = s->service;
    struct plan_maybe cost = {true, 0};

    for (int64_t r = 0; r < service->replicas; r++) {
        int64_t n = at[s->first + (size_t)r];

        if (n >= 0) {
            const struct node *node = &v->inv->nodes[n];
            double cpus = (double)service->cpus_nano / (double)node->cpus_nano;
            double memory = (double)service->memory_bytes / (double)node->memory_bytes;

            cost.known = cost.known && node->has_price;
            cost.value += fmax(cpus, memory) * node->price_hour;
        }
    }
    if (service->has_traffic && service->gb_month > 0 && vf_holds(v, s, at, NULL) > 0) {
        struct plan_maybe price = egress(v, s);

        cost.known = cost.known && price.known;
        cost.value += service->gb_month / VF_HOURS_PER_MONTH * price.value;
    }
    if (!cost.known) {
        cost.value = 0;
    }
    return cost;
}
