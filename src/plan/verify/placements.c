/* SPDX-License-Identifier: Apache-2.0 */
#include "plan/verify/internal.h"

#include <math.h>

static void place(struct vf *v, const struct plan_placement *p)
{
    struct vf_service *s = vf_service(v, p->project, p->service);
    int64_t n = inventory_node(v->inv, p->node);
    const struct node *node;
    const char *forbidden;
    int64_t *home;

    if (!s || p->replica < 0 || p->replica >= s->service->replicas) {
        vf_find(v, "placement_unknown", "%.*s/%.*s replica %lld is not declared",
                SK_PRI(p->project), SK_PRI(p->service), (long long)p->replica);
        return;
    }
    if (n < 0) {
        vf_find(v, "placement_unknown", "%.*s/%.*s replica %lld is on '%.*s', which is no node",
                SK_PRI(p->project), SK_PRI(p->service), (long long)p->replica, SK_PRI(p->node));
        return;
    }
    node = &v->inv->nodes[n];
    home = &v->home[s->first + (size_t)p->replica];
    if (*home >= 0) {
        vf_find(v, "placement_twice", "%.*s/%.*s replica %lld is on '%.*s' and on '%.*s'",
                SK_PRI(p->project), SK_PRI(p->service), (long long)p->replica,
                SK_PRI(v->inv->nodes[*home].name), SK_PRI(p->node));
        return;
    }
    if (!sk_str_eq(v->inv->sites[node->site].name, p->site)) {
        vf_find(v, "placement_site", "%.*s/%.*s replica %lld: node '%.*s' is in '%.*s', not '%.*s'",
                SK_PRI(p->project), SK_PRI(p->service), (long long)p->replica, SK_PRI(p->node),
                SK_PRI(v->inv->sites[node->site].name), SK_PRI(p->site));
    }
    forbidden = vf_forbidden(v, s, node);
    if (forbidden) {
        vf_find(v, forbidden, "%.*s/%.*s replica %lld may not be on node '%.*s' of site '%.*s'",
                SK_PRI(p->project), SK_PRI(p->service), (long long)p->replica, SK_PRI(p->node),
                SK_PRI(v->inv->sites[node->site].name));
    }
    *home = n;
    s->placed++;
    v->use[n].cpus += s->service->cpus_nano;
    v->use[n].memory += s->service->memory_bytes;
    v->use[n].disk += s->service->disk_bytes;
    v->site_disk[node->site] += s->service->disk_bytes;
}

/* Lists the placed replicas by site, so that a loss row looks only at what it loses. */
static void index_sites(struct vf *v)
{
    size_t *first = v->site_rep_first;
    size_t *next = SK_ARENA_ARRAY(v->arena, size_t, v->inv->nsites + 1);

    for (size_t r = 0; r < v->nreplicas; r++) {
        if (v->home[r] >= 0) {
            first[v->inv->nodes[v->home[r]].site + 1]++;
        }
    }
    for (size_t s = 0; s < v->inv->nsites; s++) {
        first[s + 1] += first[s];
        next[s] = first[s];
    }
    for (size_t r = 0; r < v->nreplicas; r++) {
        if (v->home[r] >= 0) {
            v->site_rep[next[v->inv->nodes[v->home[r]].site]++] = r;
        }
    }
}

static int placement_order(const struct plan_placement *a, const struct plan_placement *b)
{
    int order = sk_str_cmp(a->project, b->project);

    order = order ? order : sk_str_cmp(a->service, b->service);
    return order ? order : (a->replica > b->replica) - (a->replica < b->replica);
}

void vf_check_placements(struct vf *v)
{
    const struct plan *plan = v->plan;

    for (size_t i = 0; i < plan->nplacements; i++) {
        if (i > 0 && placement_order(&plan->placements[i - 1], &plan->placements[i]) > 0) {
            vf_find(v, "order", "placements: %.*s/%.*s replica %lld comes too late",
                    SK_PRI(plan->placements[i].project), SK_PRI(plan->placements[i].service),
                    (long long)plan->placements[i].replica);
        }
        place(v, &plan->placements[i]);
    }
    for (size_t i = 0; i < v->nservices; i++) {
        const struct vf_service *s = &v->services[i];

        if (s->placed < s->service->replicas) {
            vf_broken(v, "placement_missing", "%.*s/%.*s: %lld of %lld replicas are placed",
                      SK_PRI(s->project->name), SK_PRI(s->service->name), (long long)s->placed,
                      (long long)s->service->replicas);
        }
        if (s->service->has_traffic && s->service->rps > 0 && s->service->rps_per_replica > 0 &&
            (double)s->placed * s->service->rps_per_replica < s->service->rps - VF_TOLERANCE) {
            vf_broken(v, "rps", "%.*s/%.*s: %lld replicas of %g a second are below %g",
                      SK_PRI(s->project->name), SK_PRI(s->service->name), (long long)s->placed,
                      s->service->rps_per_replica, s->service->rps);
        }
    }
    index_sites(v);
    memcpy(v->now, v->home, v->nreplicas * sizeof(*v->now));
    memcpy(v->use_now, v->use, v->inv->nnodes * sizeof(*v->use_now));
    memcpy(v->site_disk_now, v->site_disk, v->inv->nsites * sizeof(*v->site_disk_now));
}

void vf_check_capacity(struct vf *v)
{
    for (size_t n = 0; n < v->inv->nnodes; n++) {
        const struct node *node = &v->inv->nodes[n];
        const struct vf_use *use = &v->use[n];

        if (use->cpus > node->cpus_nano) {
            vf_find(v, "capacity", "node '%.*s' has %lld nano-cpus, %.0Lf are placed on it",
                    SK_PRI(node->name), (long long)node->cpus_nano, (long double)use->cpus);
        }
        if (use->memory > node->memory_bytes) {
            vf_find(v, "capacity", "node '%.*s' has %lld bytes of memory, %.0Lf are placed on it",
                    SK_PRI(node->name), (long long)node->memory_bytes, (long double)use->memory);
        }
        if (use->disk > node->disk_bytes) {
            vf_find(v, "capacity", "node '%.*s' has %lld bytes of disk, %.0Lf are placed on it",
                    SK_PRI(node->name), (long long)node->disk_bytes, (long double)use->disk);
        }
    }
}

/* One latency row without a loss. */
static void latency_row(struct vf *v, const struct vf_service *s, const struct plan_latency *row)
{
    const struct latency_policy *policy = &s->service->latency;
    struct vf_reach reach;
    char want[VF_NUM_MAX], got[VF_NUM_MAX];

    (void)vf_holds(v, s, v->home, NULL);
    reach = vf_reach(v, s, policy->has_ms ? policy->ms : INFINITY);
    if (policy->share > VF_TOLERANCE && (row->ms.known != reach.ms.known ||
                                         fabs(row->ms.value - reach.ms.value) > VF_MS_TOLERANCE)) {
        vf_find(v, "latency_row", "%.*s/%.*s: ms is %s, stated %s", SK_PRI(s->project->name),
                SK_PRI(s->service->name), vf_num(reach.ms, want), vf_num(row->ms, got));
    }
    if (fabs(row->share - reach.share) > VF_TOLERANCE) {
        vf_find(v, "latency_row", "%.*s/%.*s: share is %.12g, stated %.12g",
                SK_PRI(s->project->name), SK_PRI(s->service->name), reach.share, row->share);
    }
}

static void latency_rule(struct vf *v, const struct vf_service *s)
{
    const struct latency_policy *policy = &s->service->latency;
    struct vf_reach reach;

    (void)vf_holds(v, s, v->home, NULL);
    reach = vf_reach(v, s, policy->ms);
    if (reach.share < policy->share - VF_TOLERANCE) {
        vf_broken(v, "latency", "%.*s/%.*s: %.9g of the demand is within %g ms, asked %.9g",
                  SK_PRI(s->project->name), SK_PRI(s->service->name), reach.share, policy->ms,
                  policy->share);
    }
}

void vf_check_latency(struct vf *v)
{
    const struct plan *plan = v->plan;
    bool *seen = SK_ARENA_ARRAY(v->arena, bool, v->nservices + 1);
    const struct vf_service *before = NULL;

    for (size_t i = 0; i < plan->nlatency; i++) {
        const struct plan_latency *row = &plan->latency[i];
        struct vf_service *s = vf_service(v, row->project, row->service);

        if (!s || !s->service->latency.written || seen[s - v->services]) {
            vf_find(v, "latency_row", "a row for %.*s/%.*s, which has no latency policy or has one",
                    SK_PRI(row->project), SK_PRI(row->service));
            continue;
        }
        if (before && s < before) {
            vf_find(v, "order", "latency: %.*s/%.*s comes too late", SK_PRI(row->project),
                    SK_PRI(row->service));
        }
        before = s;
        seen[s - v->services] = true;
        latency_row(v, s, row);
    }
    for (size_t i = 0; i < v->nservices; i++) {
        const struct vf_service *s = &v->services[i];

        if (!s->service->latency.written) {
            continue;
        }
        if (!seen[i]) {
            vf_find(v, "latency_row", "%.*s/%.*s has a latency policy and no row",
                    SK_PRI(s->project->name), SK_PRI(s->service->name));
        }
        if (s->service->latency.has_ms && s->service->replicas > 0) {
            latency_rule(v, s);
        }
    }
}
