/* SPDX-License-Identifier: Apache-2.0 */
#include "plan/verify/internal.h"

#include <math.h>

#define EARTH_RADIUS_KM 6371.0
#define RTT_BASE_MS 1.0
#define RTT_MS_PER_KM 0.015

static double great_circle_km(double lat_a, double lon_a, double lat_b, double lon_b)
{
    const double rad = M_PI / 180.0;
    double dlat = sin((lat_b - lat_a) * rad / 2);
    double dlon = sin((lon_b - lon_a) * rad / 2);
    double h = dlat * dlat + cos(lat_a * rad) * cos(lat_b * rad) * dlon * dlon;

    return 2 * EARTH_RADIUS_KM * asin(sqrt(fmin(1.0, h)));
}

static double rtt(const struct users *users, const struct site *site)
{
    for (size_t i = 0; i < users->nrtt; i++) {
        if (sk_str_eq(users->rtt[i].site, site->name)) {
            return users->rtt[i].rtt_ms;
        }
    }
    if (!users->has_at || !site->has_at) {
        return INFINITY;
    }
    return RTT_BASE_MS +
           RTT_MS_PER_KM * great_circle_km(users->lat, users->lon, site->lat, site->lon);
}

static void distances(struct vf *v)
{
    size_t users_max = 0;

    v->rtt = SK_ARENA_ARRAY(v->arena, double *, v->in->nprojects + 1);
    for (size_t p = 0; p < v->in->nprojects; p++) {
        const struct project *project = v->in->projects[p];

        users_max = project->nusers > users_max ? project->nusers : users_max;
        v->rtt[p] = SK_ARENA_ARRAY(v->arena, double, project->nusers * v->inv->nsites + 1);
        for (size_t u = 0; u < project->nusers; u++) {
            for (size_t s = 0; s < v->inv->nsites; s++) {
                v->rtt[p][u * v->inv->nsites + s] = rtt(&project->users[u], &v->inv->sites[s]);
            }
        }
    }
    v->demand = SK_ARENA_ARRAY(v->arena, struct vf_demand, users_max + 1);
}

bool vf_resident(const struct site *site, const struct sk_str *residency, size_t nresidency)
{
    const struct sk_str country = SK_STR("country:");

    for (size_t i = 0; i < nresidency; i++) {
        struct sk_str want = residency[i];

        if (want.len > country.len && memcmp(want.ptr, country.ptr, country.len) == 0) {
            want.ptr += country.len;
            want.len -= country.len;
            if (site->country.len > 0 && sk_str_eq(site->country, want)) {
                return true;
            }
        } else if (site->region.len > 0 && sk_str_eq(site->region, want)) {
            return true;
        }
    }
    return nresidency == 0;
}

/* What nobody declared is unequal to everything. */
static bool constraint_holds(const struct constraint *c, const struct site *site,
                             const struct node *node)
{
    struct sk_str is = SK_STR_NULL;
    bool present;

    switch (c->subject) {
    case ON_LABEL:
        is = node_label(node, c->label);
        break;
    case ON_NODE:
        is = node->name;
        break;
    case ON_SITE:
        is = site->name;
        break;
    case ON_PROVIDER:
        is = site->provider;
        break;
    case ON_REGION:
        is = site->region;
        break;
    }
    present = c->subject == ON_LABEL ? is.ptr != NULL : is.len > 0;
    return (present && sk_str_eq(is, c->value)) == c->equal;
}

const char *vf_forbidden(const struct vf *v, const struct vf_service *s, const struct node *node)
{
    const struct site *site = &v->inv->sites[node->site];
    const struct service *service = s->service;

    if (site->trust != SITE_FULL) {
        return "trust";
    }
    if (site->drained || node->drained) {
        return "drained";
    }
    if (!vf_resident(site, service->residency, service->nresidency)) {
        return "residency";
    }
    for (size_t i = 0; i < service->nconstraints; i++) {
        if (!constraint_holds(&service->constraints[i], site, node)) {
            return "constraint";
        }
    }
    if (service->cpus_nano > node->cpus_nano || service->memory_bytes > node->memory_bytes ||
        service->disk_bytes > node->disk_bytes) {
        return "size";
    }
    return NULL;
}

/* Whether two sites and two nodes are allowed: all that the defaults of survive depend on. */
static void two_allowed(const struct vf *v, const struct vf_service *s, bool *ret_sites,
                        bool *ret_nodes)
{
    const struct node *seen = NULL;

    *ret_sites = *ret_nodes = false;
    for (size_t n = 0; n < v->inv->nnodes && !*ret_sites; n++) {
        const struct node *node = &v->inv->nodes[n];

        if (seen && node->site == seen->site && *ret_nodes) {
            continue;
        }
        if (vf_forbidden(v, s, node)) {
            continue;
        }
        if (!seen) {
            seen = node;
            continue;
        }
        *ret_nodes = true;
        *ret_sites = node->site != seen->site;
    }
}

static void defaults(const struct vf *v, struct vf_service *s)
{
    const struct survive *asked = &s->service->survive;
    const struct latency_policy *latency = &s->service->latency;
    bool two_sites, two_nodes;
    int64_t most;

    two_allowed(v, s, &two_sites, &two_nodes);
    s->sites_written = asked->sites_written;
    s->sites = asked->sites_written ? asked->sites : two_sites ? 1 : 0;
    if (latency->written && latency->has_after_loss && (!s->sites_written || s->sites < 1)) {
        s->sites_written = true;
        s->sites = 1;
    }
    s->nodes = asked->nodes_written ? asked->nodes : two_nodes ? 1 : 0;
    most = s->sites > s->nodes ? s->sites : s->nodes;
    s->keep = asked->keep_written ? asked->keep : s->service->replicas / (most + 1);
    s->keep_hard_sites = asked->keep_written && s->sites_written;
    s->keep_hard_nodes = asked->keep_written && asked->nodes_written;
}

bool vf_asked(const struct vf_service *s, size_t lost_sites)
{
    return s->sites_written && s->sites >= (int64_t)lost_sites;
}

static void services(struct vf *v)
{
    size_t count = 0;

    for (size_t p = 0; p < v->in->nprojects; p++) {
        count += v->in->projects[p]->nservices;
    }
    v->services = SK_ARENA_ARRAY(v->arena, struct vf_service, count + 1);
    v->project_first = SK_ARENA_ARRAY(v->arena, size_t, v->in->nprojects + 1);
    for (size_t p = 0; p < v->in->nprojects; p++) {
        const struct project *project = v->in->projects[p];

        v->project_first[p] = v->nservices;
        for (size_t i = 0; i < project->nservices; i++) {
            struct vf_service *s = &v->services[v->nservices++];

            s->project = project;
            s->service = &project->services[i];
            s->pi = p;
            s->first = v->nreplicas;
            v->nreplicas += (size_t)s->service->replicas;
            defaults(v, s);
        }
    }
}

/* Both lists are sorted by name. */
static const struct service *service_named(const struct project *project, struct sk_str name)
{
    for (size_t lo = 0, hi = project->nservices; lo < hi;) {
        size_t mid = lo + (hi - lo) / 2;
        int order = sk_str_cmp(name, project->services[mid].name);

        if (order == 0) {
            return &project->services[mid];
        }
        if (order < 0) {
            hi = mid;
        } else {
            lo = mid + 1;
        }
    }
    return NULL;
}

struct vf_service *vf_service(struct vf *v, struct sk_str project, struct sk_str service)
{
    for (size_t lo = 0, hi = v->in->nprojects; lo < hi;) {
        size_t mid = lo + (hi - lo) / 2;
        const struct project *at = v->in->projects[mid];
        int order = sk_str_cmp(project, at->name);

        if (order == 0) {
            const struct service *found = service_named(at, service);

            return found ? &v->services[v->project_first[mid] + (size_t)(found - at->services)]
                         : NULL;
        }
        if (order < 0) {
            hi = mid;
        } else {
            lo = mid + 1;
        }
    }
    return NULL;
}

size_t vf_replica_service(const struct vf *v, size_t replica)
{
    size_t lo = 0, hi = v->nservices;

    while (hi - lo > 1) {
        size_t mid = lo + (hi - lo) / 2;

        if (v->services[mid].first <= replica) {
            lo = mid;
        } else {
            hi = mid;
        }
    }
    return lo;
}

int vf_world(struct vf *v, struct sk_err *err)
{
    const struct inventory *inv = v->inv;
    size_t most = inv->nnodes > inv->nsites ? inv->nnodes : inv->nsites;

    for (size_t p = 1; p < v->in->nprojects; p++) {
        if (sk_str_cmp(v->in->projects[p - 1]->name, v->in->projects[p]->name) >= 0) {
            return sk_err_set(err, SK_ERR_INPUT, "project '%.*s' comes twice or out of order",
                              SK_PRI(v->in->projects[p]->name));
        }
    }
    services(v);
    distances(v);
    v->home = SK_ARENA_ARRAY(v->arena, int64_t, v->nreplicas + 1);
    v->now = SK_ARENA_ARRAY(v->arena, int64_t, v->nreplicas + 1);
    memset(v->home, 0xff, (v->nreplicas + 1) * sizeof(*v->home)); /* -1: not placed */
    v->use = SK_ARENA_ARRAY(v->arena, struct vf_use, inv->nnodes + 1);
    v->use_now = SK_ARENA_ARRAY(v->arena, struct vf_use, inv->nnodes + 1);
    v->site_disk = SK_ARENA_ARRAY(v->arena, __int128, inv->nsites + 1);
    v->site_disk_now = SK_ARENA_ARRAY(v->arena, __int128, inv->nsites + 1);
    v->site_disk_cap = SK_ARENA_ARRAY(v->arena, __int128, inv->nsites + 1);
    v->site_shards = SK_ARENA_ARRAY(v->arena, long double, inv->nsites + 1);
    v->site_rep = SK_ARENA_ARRAY(v->arena, size_t, v->nreplicas + 1);
    v->site_rep_first = SK_ARENA_ARRAY(v->arena, size_t, inv->nsites + 2);
    v->row_of = SK_ARENA_ARRAY(v->arena, struct vf_of_row, v->nservices + 1);
    v->holds = SK_ARENA_ARRAY(v->arena, bool, inv->nsites + 1);
    v->count = SK_ARENA_ARRAY(v->arena, int64_t, most + 1);
    for (size_t n = 0; n < inv->nnodes; n++) {
        if (!inv->nodes[n].drained && !inv->sites[inv->nodes[n].site].drained) {
            v->site_disk_cap[inv->nodes[n].site] += inv->nodes[n].disk_bytes;
        }
    }
    return 0;
}
