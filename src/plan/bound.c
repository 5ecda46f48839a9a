/* SPDX-License-Identifier: Apache-2.0 */
#include "plan/bound.h"

#include <math.h>
#include <stdlib.h>

#include "base/mem.h"
#include "plan/rules.h"

#define SUBSET_SITES_MAX 10u

/* Room for `count` replicas at the same price on one node. */
struct offer {
    double cost;
    uint32_t site; /* position among the shape's sites */
    uint32_t node;
    uint32_t count;
};

struct fill {
    const struct pl_world *w;
    const struct pl_svc *s;
    struct offer *offers; /* by (cost, node) */
    size_t len;
    uint32_t site_cap, node_cap; /* replicas that one site, one node may hold */
    uint32_t *on_site, *left;    /* scratch: per site, per offer */
};

static int cmp_offer(const void *a, const void *b)
{
    const struct offer *x = a;
    const struct offer *y = b;
    if (x->cost < y->cost || x->cost > y->cost) {
        return x->cost < y->cost ? -1 : 1;
    }
    return x->node < y->node ? -1 : x->node > y->node;
}

static uint32_t fit_empty(const struct pl_world *w, const struct pl_svc *s, uint32_t node)
{
    int64_t fit = s->replicas;
    for (int r = 0; r < PL_RES_COUNT; r++) {
        if (s->shape->need[r] > 0 && w->nodes[node].cap[r] / s->shape->need[r] < fit) {
            fit = w->nodes[node].cap[r] / s->shape->need[r];
        }
    }
    return (uint32_t)fit;
}

/* All replicas run already: then each that is not where one runs now is a move. */
static bool all_old(const struct pl_svc *s)
{
    for (uint32_t r = 0; s->current && r < s->replicas; r++) {
        if (s->current[r] == PL_NONE) {
            return false;
        }
    }
    return s->current != NULL;
}

static void add_offers(struct fill *f, size_t k, size_t pos, bool old)
{
    const struct pl_svc *s = f->s;
    uint32_t node = s->shape->nodes[pos];
    uint32_t fit = fit_empty(f->w, s, node);
    fit = fit < f->node_cap ? fit : f->node_cap;
    double cost = s->shape->cost[pos];
    uint32_t here = 0;
    for (uint32_t r = 0; old && r < s->replicas; r++) {
        here += s->current[r] == node;
    }
    here = here < fit ? here : fit;
    if (here > 0) {
        f->offers[f->len++] = (struct offer){cost, (uint32_t)k, node, here};
    }
    if (fit > here) {
        double moved = old ? cost * (1 + f->w->move_share) : cost;
        f->offers[f->len++] = (struct offer){moved, (uint32_t)k, node, fit - here};
    }
}

static void fill_init(struct fill *f, bool goals, bool priced_only)
{
    const struct pl_svc *s = f->s;
    const struct pl_shape *sh = s->shape;
    uint32_t limit = s->replicas > s->keep ? s->replicas - s->keep : 0;
    bool site_cap = s->sites > 0 && (s->site_keep_hard || (goals && s->keep > 0));
    bool node_cap = s->nodes > 0 && (s->node_keep_hard || (goals && s->keep > 0));
    f->site_cap = site_cap ? limit : s->replicas;
    f->node_cap = node_cap ? limit : s->replicas;
    f->offers = sk_xcalloc(2 * sh->nnodes + 1, sizeof(*f->offers));
    f->on_site = sk_xcalloc(sh->nsites + 1, sizeof(*f->on_site));
    bool old = all_old(s);
    for (size_t k = 0; k < sh->nsites; k++) {
        for (size_t j = sh->first[k]; j < sh->first[k + 1]; j++) {
            if (f->w->nodes[sh->nodes[j]].priced || !priced_only) {
                add_offers(f, k, j, old);
            }
        }
    }
    qsort(f->offers, f->len, sizeof(*f->offers), cmp_offer);
    f->left = sk_xcalloc(f->len + 1, sizeof(*f->left));
}

static void fill_release(struct fill *f)
{
    free(f->offers);
    free(f->on_site);
    free(f->left);
}

/* Cheapest way to put all replicas on the sites of `set` (a bit per site of the shape; all if it is
 * 0), at least one in each of them if `each`. Caps nest (node in site), so cheapest first is best.
 */
static double fill_cost(struct fill *f, uint32_t set, bool each)
{
    uint32_t todo = f->s->replicas;
    double sum = 0;
    memset(f->on_site, 0, f->s->shape->nsites * sizeof(*f->on_site));
    for (size_t i = 0; i < f->len; i++) {
        struct offer *o = &f->offers[i];
        bool in = set == 0 || (set >> o->site & 1);
        f->left[i] = in ? o->count : 0;
        if (each && in && f->on_site[o->site] == 0 && todo > 0 && f->site_cap > 0) {
            f->on_site[o->site] = 1;
            f->left[i]--;
            sum += o->cost;
            todo--;
        }
    }
    for (size_t i = 0; i < f->len && todo > 0; i++) {
        struct offer *o = &f->offers[i];
        uint32_t room = f->site_cap - f->on_site[o->site];
        uint32_t take = f->left[i] < room ? f->left[i] : room;
        take = take < todo ? take : todo;
        f->on_site[o->site] += take;
        todo -= take;
        sum += take * o->cost;
    }
    if (todo > 0) {
        return HUGE_VAL;
    }
    for (size_t k = 0; each && k < f->s->shape->nsites; k++) {
        if ((set >> k & 1) && f->on_site[k] == 0) {
            return HUGE_VAL;
        }
    }
    return sum;
}

/* Every set of holding sites: which of them keep the latency, and what each costs at least. */
static double best_subset(struct fill *f)
{
    const struct pl_svc *s = f->s;
    const struct pl_shape *sh = s->shape;
    double best = HUGE_VAL;
    for (uint32_t set = 1; set < 1u << sh->nsites; set++) {
        uint32_t sites[SUBSET_SITES_MAX];
        uint32_t n = 0;
        for (uint32_t k = 0; k < sh->nsites; k++) {
            if (set >> k & 1) {
                sites[n++] = sh->sites[k];
            }
        }
        if (n > s->replicas || !pl_rules_sites(f->w, s, sites, n)) {
            continue;
        }
        bool known = true;
        double cost = pl_egress_hour(f->w, s, sites, n, &known) + fill_cost(f, set, true);
        best = cost < best ? cost : best;
    }
    return best;
}

double pl_bound_egress(const struct pl_world *w, const struct pl_svc *s)
{
    double least = HUGE_VAL;
    for (size_t i = 0; i < s->shape->nsites; i++) {
        const struct site *site = &w->inv->sites[s->shape->sites[i]];
        double price = site->has_egress ? site->egress_per_gb : 0;
        least = price < least ? price : least;
    }
    return isinf(least) ? 0 : least * s->gb_hour;
}

double pl_bound_svc(const struct pl_world *w, const struct pl_svc *s, bool goals, bool priced_only)
{
    if (s->replicas == 0) {
        return 0;
    }
    struct fill f = {.w = w, .s = s};
    fill_init(&f, goals, priced_only);
    double cost;
    bool by_sites = s->has_ms || s->has_after || s->gb_hour > 0;
    if (by_sites && s->shape->nsites <= SUBSET_SITES_MAX) {
        cost = best_subset(&f);
    } else {
        cost = fill_cost(&f, 0, false) + pl_bound_egress(w, s);
        if (s->has_ms && pl_share_within(w, s->users, s->shape->sites, s->shape->nsites, s->ms) <
                             s->share - PL_EPS) {
            cost = HUGE_VAL;
        }
    }
    fill_release(&f);
    return cost;
}

double pl_bound_sum(const struct pl_world *w, bool goals, bool priced_only)
{
    double sum = 0;
    for (size_t i = 0; i < w->nsvcs; i++) {
        sum += pl_bound_svc(w, &w->svcs[i], goals, priced_only);
    }
    return sum;
}
