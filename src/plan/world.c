/* SPDX-License-Identifier: Apache-2.0 */
#include "plan/world.h"

#include <math.h>
#include <stdlib.h>

#include "base/mem.h"
#include "plan/shapes.h"

#define SCENS_MAX 20000u
#define EARTH_KM 6371.0

static double radians(double degrees)
{
    return degrees * 3.14159265358979323846 / 180.0;
}

/* The agreed guess where nothing was measured: 1 ms + 0.015 ms a great-circle kilometre. */
static double guess_rtt(double lat1, double lon1, double lat2, double lon2)
{
    double dlat = sin(radians(lat2 - lat1) / 2);
    double dlon = sin(radians(lon2 - lon1) / 2);
    double h = dlat * dlat + cos(radians(lat1)) * cos(radians(lat2)) * dlon * dlon;
    return 1.0 + 0.015 * 2 * EARTH_KM * asin(sqrt(h < 1 ? h : 1));
}

double pl_site_rtt(const struct pl_world *w, uint32_t a, uint32_t b)
{
    if (a == b) {
        return 0;
    }
    uint32_t lo = a < b ? a : b;
    uint32_t hi = a < b ? b : a;
    size_t left = 0;
    size_t right = w->inv->nlinks;
    while (left < right) {
        size_t mid = left + (right - left) / 2;
        const struct link *l = &w->inv->links[mid];
        if (l->a < lo || (l->a == lo && l->b < hi)) {
            left = mid + 1;
        } else {
            right = mid;
        }
    }
    if (left < w->inv->nlinks) {
        const struct link *l = &w->inv->links[left];
        if (l->a == lo && l->b == hi && l->has_rtt) {
            return l->rtt_ms;
        }
    }
    const struct site *sa = &w->inv->sites[lo];
    const struct site *sb = &w->inv->sites[hi];
    if (!sa->has_at || !sb->has_at) {
        return HUGE_VAL;
    }
    return guess_rtt(sa->lat, sa->lon, sb->lat, sb->lon);
}

static double user_rtt(const struct users *u, const struct site *s)
{
    for (size_t i = 0; i < u->nrtt; i++) {
        if (sk_str_eq(u->rtt[i].site, s->name)) {
            return u->rtt[i].rtt_ms;
        }
    }
    if (!u->has_at || !s->has_at) {
        return HUGE_VAL;
    }
    return guess_rtt(u->lat, u->lon, s->lat, s->lon);
}

static struct pl_users *build_users(struct pl_world *w, const struct project *p)
{
    struct pl_users *users = SK_ARENA_NEW(w->arena, struct pl_users);
    double *share = SK_ARENA_ARRAY(w->arena, double, p->nusers + 1);
    double *rtt = SK_ARENA_ARRAY(w->arena, double, p->nusers * w->nsites + 1);
    double sum = 0;
    for (size_t u = 0; u < p->nusers; u++) {
        sum += p->users[u].share;
    }
    for (size_t u = 0; u < p->nusers; u++) {
        /* the reader has normalised already: dividing by a sum that is 1 changes nothing */
        share[u] = sum > 0 ? p->users[u].share / sum : 0;
        for (size_t s = 0; s < w->nsites; s++) {
            rtt[u * w->nsites + s] = user_rtt(&p->users[u], &w->inv->sites[s]);
        }
    }
    users->count = p->nusers;
    users->share = share;
    users->rtt = rtt;
    return users;
}

static void build_nodes(struct pl_world *w)
{
    w->nodes = SK_ARENA_ARRAY(w->arena, struct pl_node, w->nnodes + 1);
    double dearest = 0;
    for (size_t n = 0; n < w->nnodes; n++) {
        const struct node *node = &w->inv->nodes[n];
        if (node->has_price && node->price_hour > dearest) {
            dearest = node->price_hour;
        }
    }
    for (size_t n = 0; n < w->nnodes; n++) {
        const struct node *node = &w->inv->nodes[n];
        struct pl_node *out = &w->nodes[n];
        out->site = node->site;
        out->cap[PL_CPUS] = node->cpus_nano;
        out->cap[PL_MEMORY] = node->memory_bytes;
        out->cap[PL_DISK] = node->disk_bytes;
        out->usable = !node_drained(w->inv, node) && w->inv->sites[node->site].trust == SITE_FULL;
        out->priced = node->has_price;
        out->price = node->has_price ? node->price_hour : dearest;
    }
}

static uint32_t small(int64_t n)
{
    return n < 0 ? 0 : n > INT32_MAX ? (uint32_t)INT32_MAX : (uint32_t)n;
}

static void resolve_survive(struct pl_svc *s)
{
    const struct survive *v = &s->decl->survive;
    bool sites_written = v->sites_written;
    int64_t sites = v->sites;
    if (!sites_written && s->decl->latency.written && s->decl->latency.has_after_loss) {
        /* after_loss_ms implies sites: 1, written */
        sites_written = true;
        sites = 1;
    }
    s->sites = sites_written ? small(sites) : s->shape->nsites >= 2 ? 1 : 0;
    s->ask = sites_written ? s->sites : 0;
    s->nodes = v->nodes_written ? small(v->nodes) : s->shape->nnodes >= 2 ? 1 : 0;
    uint32_t most = s->sites > s->nodes ? s->sites : s->nodes;
    s->keep = v->keep_written ? small(v->keep) : s->replicas / (most + 1);
    s->site_keep_hard = sites_written && v->keep_written;
    s->node_keep_hard = v->nodes_written && v->keep_written;
    s->refit_goal = !sites_written && s->sites == 1;
}

static void build_svc(struct pl_world *w, struct pl_svc *s)
{
    const struct service *d = s->decl;
    s->replicas = small(d->replicas);
    const struct latency_policy *lat = &d->latency;
    /* no replicas: nothing is served, so there is nothing to be far from; its survive still counts
     * as written */
    s->has_ms = lat->written && lat->has_ms && s->replicas > 0;
    s->has_after = lat->written && lat->has_after_loss && s->replicas > 0;
    s->ms = lat->ms;
    s->after_ms = lat->after_loss_ms;
    s->share = lat->written ? lat->share : 0;
    s->has_ceiling = d->has_cost;
    s->ceiling_month = d->cost_month;
    s->gb_hour = d->has_traffic ? d->gb_month / PL_MONTH_HOURS : 0;
    s->replica0 = w->nreplicas;
    w->nreplicas += s->replicas;
    resolve_survive(s);
}

static int build_svcs(struct pl_world *w, struct sk_err *err)
{
    const struct plan_input *in = w->in;
    for (size_t p = 0; p < in->nprojects; p++) {
        w->nsvcs += in->projects[p]->nservices;
    }
    w->svcs = SK_ARENA_ARRAY(w->arena, struct pl_svc, w->nsvcs + 1);
    struct pl_shapes *shapes = pl_shapes_new(w);
    size_t k = 0;
    for (size_t p = 0; p < in->nprojects; p++) {
        const struct pl_users *users = build_users(w, in->projects[p]);
        for (size_t i = 0; i < in->projects[p]->nservices; i++) {
            struct pl_svc *s = &w->svcs[k];
            s->index = (uint32_t)k++;
            s->project = in->projects[p];
            s->decl = &in->projects[p]->services[i];
            s->users = users;
            s->shape = pl_shapes_get(shapes, s->decl);
            build_svc(w, s);
        }
    }
    pl_shapes_kinds(shapes);
    pl_shapes_free(shapes);
    if (w->nreplicas > PROJECT_REPLICAS_MAX) {
        return sk_err_set(err, SK_ERR_LIMIT, "%zu replicas in all projects, at most %d are planned",
                          w->nreplicas, PROJECT_REPLICAS_MAX);
    }
    return 0;
}

static int cmp_placement(const struct plan_placement *a, struct sk_str project,
                         struct sk_str service, int64_t replica)
{
    int c = sk_str_cmp(a->project, project);
    if (c == 0) {
        c = sk_str_cmp(a->service, service);
    }
    return c ? c : a->replica < replica ? -1 : a->replica > replica;
}

/* The current plan is in canonical order, so each service's replicas are found by bisection. */
static uint32_t current_node(const struct pl_world *w, const struct pl_svc *s, uint32_t replica)
{
    const struct plan *cur = w->in->current;
    size_t left = 0;
    size_t right = cur->nplacements;
    while (left < right) {
        size_t mid = left + (right - left) / 2;
        if (cmp_placement(&cur->placements[mid], s->project->name, s->decl->name, replica) < 0) {
            left = mid + 1;
        } else {
            right = mid;
        }
    }
    if (left == cur->nplacements ||
        cmp_placement(&cur->placements[left], s->project->name, s->decl->name, replica) != 0) {
        return PL_NONE;
    }
    int64_t node = inventory_node(w->inv, cur->placements[left].node);
    return node < 0 ? PL_GONE : (uint32_t)node;
}

static void build_current(struct pl_world *w)
{
    if (!w->in->current) {
        return;
    }
    w->has_current = true;
    for (size_t i = 0; i < w->nsvcs; i++) {
        struct pl_svc *s = &w->svcs[i];
        uint32_t *cur = SK_ARENA_ARRAY(w->arena, uint32_t, (size_t)s->replicas + 1);
        for (uint32_t r = 0; r < s->replicas; r++) {
            cur[r] = current_node(w, s, r);
        }
        s->current = cur;
    }
}

static void add_scen(struct pl_world *w, const uint32_t *sites, uint32_t count)
{
    struct pl_scen *scen = &w->scens[w->nscens++];
    uint32_t *list = SK_ARENA_ARRAY(w->arena, uint32_t, (size_t)count + 1);
    bool *lost = SK_ARENA_ARRAY(w->arena, bool, w->nsites + 1);
    for (uint32_t i = 0; i < count; i++) {
        list[i] = sites[i];
        lost[sites[i]] = true;
    }
    scen->sites = list;
    scen->count = count;
    scen->lost = lost;
}

/* Every set of `size` sites in the order of their names. */
static void add_scens_of_size(struct pl_world *w, uint32_t size)
{
    uint32_t n = (uint32_t)w->nsites;
    uint32_t *pick = SK_ARENA_ARRAY(w->arena, uint32_t, (size_t)size + 1);
    for (uint32_t i = 0; i < size; i++) {
        pick[i] = i;
    }
    while (true) {
        add_scen(w, pick, size);
        uint32_t i = size;
        while (i > 0 && pick[i - 1] == n - size + (i - 1)) {
            i--;
        }
        if (i == 0) {
            return;
        }
        pick[i - 1]++;
        for (uint32_t j = i; j < size; j++) {
            pick[j] = pick[j - 1] + 1;
        }
    }
}

static double choose(double n, uint32_t k)
{
    double c = 1;
    for (uint32_t i = 0; i < k; i++) {
        c = c * (n - i) / (i + 1);
    }
    return c;
}

static int build_scens(struct pl_world *w, struct sk_err *err)
{
    uint32_t most = 1;
    for (size_t i = 0; i < w->nsvcs; i++) {
        most = w->svcs[i].ask > most ? w->svcs[i].ask : most;
    }
    most = most > w->nsites ? (uint32_t)w->nsites : most;
    double count = 1;
    for (uint32_t size = 1; size <= most; size++) {
        count += choose((double)w->nsites, size);
    }
    if (count > SCENS_MAX || count * (double)(w->nnodes + w->nsites) > 64e6 ||
        count * (double)w->nreplicas > 256e6) {
        return sk_err_set(err, SK_ERR_LIMIT,
                          "too many losses to look at: %.0f sets of up to %u of %zu sites", count,
                          most, w->nsites);
    }
    w->scens = SK_ARENA_ARRAY(w->arena, struct pl_scen, (size_t)count + 1);
    add_scen(w, NULL, 0);
    for (uint32_t size = 1; size <= most && w->nsites > 0; size++) {
        add_scens_of_size(w, size);
    }
    return 0;
}

int pl_world_init(struct pl_world *w, const struct plan_input *in, struct sk_err *err)
{
    *w = (struct pl_world){.in = in, .inv = in->inv, .arena = sk_arena_new()};
    w->nsites = in->inv->nsites;
    w->nnodes = in->inv->nnodes;
    w->move_share = in->move_price_hours / PL_MONTH_HOURS;
    build_nodes(w);
    int rc = build_svcs(w, err);
    if (rc == 0) {
        build_current(w);
        rc = build_scens(w, err);
    }
    if (rc < 0) {
        pl_world_release(w);
        return rc;
    }
    w->small = w->nnodes <= 64 && w->nreplicas <= 128 && w->nscens <= 64;
    w->pool = SK_ARENA_ARRAY(w->arena, int64_t, w->nsites + 1);
    for (size_t n = 0; n < w->nnodes; n++) {
        if (!node_drained(w->inv, &w->inv->nodes[n])) {
            w->pool[w->nodes[n].site] += w->nodes[n].cap[PL_DISK];
        }
    }
    return 0;
}

void pl_world_release(struct pl_world *w)
{
    sk_arena_free(w->arena);
    w->arena = NULL;
}
