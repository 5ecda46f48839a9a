/* SPDX-License-Identifier: Apache-2.0 */
#include "plan/cand.h"

#include <math.h>
#include <stdlib.h>

#include "base/mem.h"
#include "plan/rules.h"

#define SETS_MAX 4000u /* sets of sites looked at for one service */
#define LIST_MAX 48u   /* patterns kept for one service */
#define SITES_MAX 24u  /* sites combined; beyond that only the cheapest and the nearest */

struct builder {
    struct pl_cands *c;
    const struct pl_world *w;
    const struct pl_svc *s;
    double egress_min; /* no set of sites costs less egress */
    double cost_min;
    struct pl_tmpl *items;
    size_t len, cap;
    uint32_t looked;
    bool complete;
};

void pl_cands_init(struct pl_cands *c, const struct pl_world *w)
{
    *c = (struct pl_cands){.w = w, .arena = sk_arena_new()};
    c->lists = SK_ARENA_ARRAY(c->arena, struct pl_list, w->nsvcs + 1);
}

void pl_cands_release(struct pl_cands *c)
{
    sk_arena_free(c->arena);
    *c = (struct pl_cands){0};
}

static double site_price(const struct builder *b, uint32_t site)
{
    for (size_t i = 0; i < b->s->shape->nsites; i++) {
        if (b->s->shape->sites[i] == site) {
            return b->s->shape->site_cost[i];
        }
    }
    return 0;
}

static double egress_floor(const struct pl_world *w, const struct pl_svc *s)
{
    double least = HUGE_VAL;
    for (size_t i = 0; i < s->shape->nsites; i++) {
        const struct site *site = &w->inv->sites[s->shape->sites[i]];
        double price = site->has_egress ? site->egress_per_gb : 0;
        least = price < least ? price : least;
    }
    return isinf(least) ? 0 : least * s->gb_hour;
}

static void add(struct builder *b, const uint32_t *must, uint32_t nmust, bool only,
                double egress_max)
{
    struct pl_tmpl t = {.nmust = nmust, .only = only, .egress_max = egress_max};
    double sum = 0;
    double least = only ? HUGE_VAL : b->cost_min;
    for (uint32_t i = 0; i < nmust; i++) {
        double price = site_price(b, must[i]);
        sum += price;
        least = price < least ? price : least;
    }
    bool known = true;
    sum += (double)(b->s->replicas - nmust) * (isinf(least) ? 0 : least);
    sum += only ? pl_egress_hour(b->w, b->s, must, nmust, &known) : b->egress_min;
    t.bound = sum;
    t.must = SK_ARENA_ARRAY(b->c->arena, uint32_t, (size_t)nmust + 1);
    for (uint32_t i = 0; i < nmust; i++) {
        t.must[i] = must[i];
    }
    SK_GROW(b->items, b->len, b->cap);
    b->items[b->len++] = t;
}

static bool superset_of_listed(const struct builder *b, const uint32_t *set, uint32_t n)
{
    for (size_t k = 0; k < b->len; k++) {
        const struct pl_tmpl *t = &b->items[k];
        uint32_t hit = 0;
        for (uint32_t i = 0; i < t->nmust; i++) {
            for (uint32_t j = 0; j < n; j++) {
                hit += t->must[i] == set[j];
            }
        }
        if (hit == t->nmust) {
            return true;
        }
    }
    return false;
}

static void consider(struct builder *b, const uint32_t *set, uint32_t n)
{
    const struct pl_svc *s = b->s;
    bool exact = s->has_after || s->gb_hour > 0; /* a further holder may make it worse */
    b->looked++;
    if (!exact && superset_of_listed(b, set, n)) {
        return;
    }
    if (!pl_rules_sites(b->w, s, set, n)) {
        return;
    }
    add(b, set, n, false, HUGE_VAL);
    if (exact) {
        add(b, set, n, true, HUGE_VAL);
    }
}

/* The sites worth combining: all if they are few, else the cheapest and each population's nearest.
 */
static uint32_t pick_sites(struct builder *b, uint32_t *out)
{
    const struct pl_shape *sh = b->s->shape;
    if (sh->nsites <= SITES_MAX) {
        memcpy(out, sh->sites, sh->nsites * sizeof(*out));
        return (uint32_t)sh->nsites;
    }
    sk_autofree bool *in = sk_xcalloc(b->w->nsites + 1, sizeof(*in));
    uint32_t n = 0;
    for (size_t u = 0; u < b->s->users->count && n < SITES_MAX / 2; u++) {
        const double *rtt = b->s->users->rtt + u * b->w->nsites;
        size_t best = 0;
        for (size_t i = 1; i < sh->nsites; i++) {
            best = rtt[sh->sites[i]] < rtt[sh->sites[best]] ? i : best;
        }
        n += !in[sh->sites[best]];
        in[sh->sites[best]] = true;
    }
    while (n < SITES_MAX) {
        size_t best = sh->nsites;
        for (size_t i = 0; i < sh->nsites; i++) {
            if (!in[sh->sites[i]] &&
                (best == sh->nsites || sh->site_cost[i] < sh->site_cost[best])) {
                best = i;
            }
        }
        in[sh->sites[best]] = true;
        n++;
    }
    n = 0;
    for (uint32_t i = 0; i < b->w->nsites; i++) {
        if (in[i]) {
            out[n++] = i;
        }
    }
    return n;
}

/* All sets of `size` of the sites, as long as SETS_MAX allows. */
static void sets_of_size(struct builder *b, const uint32_t *sites, uint32_t n, uint32_t size)
{
    uint32_t pick[SITES_MAX];
    uint32_t set[SITES_MAX];
    for (uint32_t i = 0; i < size; i++) {
        pick[i] = i;
    }
    while (b->looked < SETS_MAX) {
        for (uint32_t i = 0; i < size; i++) {
            set[i] = sites[pick[i]];
        }
        consider(b, set, size);
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

/* Where small sets do not reach: adds the site that brings most demand near, until it is enough. */
static void grow_set(struct builder *b)
{
    const struct pl_svc *s = b->s;
    const struct pl_shape *sh = s->shape;
    sk_autofree uint32_t *set = sk_xcalloc(sh->nsites + 1, sizeof(*set));
    double bound = s->has_ms && (!s->has_after || s->ms < s->after_ms) ? s->ms : s->after_ms;
    uint32_t n = 0;
    while (n < sh->nsites && n < s->replicas) {
        double best = -1;
        uint32_t pick = 0;
        for (size_t i = 0; i < sh->nsites; i++) {
            bool in = false;
            for (uint32_t j = 0; j < n; j++) {
                in = in || set[j] == sh->sites[i];
            }
            set[n] = sh->sites[i];
            double share = in ? -1 : pl_share_within(b->w, s->users, set, (size_t)n + 1, bound);
            if (share > best + PL_EPS) {
                best = share;
                pick = sh->sites[i];
            }
        }
        set[n++] = pick;
        if (pl_rules_sites(b->w, s, set, n)) {
            add(b, set, n, false, HUGE_VAL);
        }
    }
}

static int cmp_tmpl(const void *a, const void *b)
{
    const struct pl_tmpl *x = a;
    const struct pl_tmpl *y = b;
    if (x->bound < y->bound || x->bound > y->bound) {
        return x->bound < y->bound ? -1 : 1;
    }
    if (x->nmust != y->nmust) {
        return x->nmust < y->nmust ? -1 : 1;
    }
    for (uint32_t i = 0; i < x->nmust; i++) {
        if (x->must[i] != y->must[i]) {
            return x->must[i] < y->must[i] ? -1 : 1;
        }
    }
    return x->only != y->only ? (x->only ? -1 : 1) : 0;
}

/* Without users the dearest holder decides the egress: one pattern for each price. */
static void egress_steps(struct builder *b)
{
    const struct pl_shape *sh = b->s->shape;
    double last = -1;
    for (uint32_t step = 0; step < LIST_MAX; step++) {
        double next = HUGE_VAL;
        for (size_t i = 0; i < sh->nsites; i++) {
            const struct site *site = &b->w->inv->sites[sh->sites[i]];
            double price = site->has_egress ? site->egress_per_gb : 0;
            next = price > last && price < next ? price : next;
        }
        if (isinf(next)) {
            return;
        }
        add(b, NULL, 0, false, next);
        last = next;
    }
}

static void build(struct builder *b)
{
    const struct pl_svc *s = b->s;
    const struct pl_shape *sh = s->shape;
    b->egress_min = egress_floor(b->w, s);
    b->cost_min = sh->nnodes > 0 ? sh->cost[sh->by_cost[0]] : 0;
    bool users = s->users->count > 0;
    if (!s->has_ms && !s->has_after && !(users && s->gb_hour > 0)) {
        if (s->gb_hour > 0) {
            egress_steps(b);
        } else {
            add(b, NULL, 0, false, HUGE_VAL);
        }
        return;
    }
    uint32_t sites[SITES_MAX];
    uint32_t n = pick_sites(b, sites);
    uint32_t most = n < s->replicas ? n : s->replicas;
    for (uint32_t size = 1; size <= most && b->looked < SETS_MAX; size++) {
        if (size > 3 && b->len > 0 && !b->w->small) {
            break;
        }
        sets_of_size(b, sites, n, size);
    }
    b->complete = n == sh->nsites && b->looked < SETS_MAX;
    if (b->len == 0 && !b->complete) {
        grow_set(b);
    }
}

static const struct pl_list *make_list(struct pl_cands *c, uint32_t svc, size_t most)
{
    struct pl_list *list = &c->lists[svc];
    struct builder b = {.c = c, .w = c->w, .s = &c->w->svcs[svc]};
    build(&b);
    if (b.len > 1) {
        qsort(b.items, b.len, sizeof(*b.items), cmp_tmpl);
    }
    list->len = b.len < most ? b.len : most;
    list->items = SK_ARENA_ARRAY(c->arena, struct pl_tmpl, list->len + 1);
    for (size_t i = 0; i < list->len; i++) {
        list->items[i] = b.items[i];
    }
    list->ready = true;
    list->deep = list->len == b.len;
    list->complete = b.complete;
    free(b.items);
    return list;
}

const struct pl_list *pl_cands_get(struct pl_cands *c, uint32_t svc)
{
    return c->lists[svc].ready ? &c->lists[svc] : make_list(c, svc, LIST_MAX);
}

const struct pl_list *pl_cands_deep(struct pl_cands *c, uint32_t svc)
{
    const struct pl_list *list = pl_cands_get(c, svc);
    return list->deep ? list : make_list(c, svc, SIZE_MAX);
}
