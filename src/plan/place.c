/* SPDX-License-Identifier: Apache-2.0 */
#include "plan/place.h"

#include <math.h>
#include <stdlib.h>

#include "base/mem.h"
#include "plan/rules.h"

#define PENDING_MAX 16u

void pl_placer_init(struct pl_placer *p, const struct pl_world *w)
{
    *p = (struct pl_placer){.w = w};
    pl_cands_init(&p->cands, w);
    p->own = sk_xcalloc(w->nnodes + 1, sizeof(*p->own));
    p->sitecnt = sk_xcalloc(w->nsites + 1, sizeof(*p->sitecnt));
    p->curleft = sk_xcalloc(w->nnodes + 1, sizeof(*p->curleft));
}

void pl_placer_release(struct pl_placer *p)
{
    pl_cands_release(&p->cands);
    free(p->own);
    free(p->sitecnt);
    free(p->curleft);
    *p = (struct pl_placer){0};
}

/* One attempt to give every replica a node. */
struct attempt {
    struct pl_placer *p;
    struct pl_state *st;
    const struct pl_svc *s;
    const struct pl_tmpl *t;
    enum pl_strategy strategy;
    bool cap_sites, cap_nodes; /* keep must hold, as a rule or as a goal that is aimed at */
    uint32_t limit;            /* replicas that the largest losses may take */
    uint32_t *nodes;
    uint32_t count;
};

static bool keeps_sites(const struct attempt *a, uint32_t site)
{
    if (!a->cap_sites || a->s->sites == 0) {
        return true;
    }
    uint32_t f = a->s->sites;
    uint32_t mine = a->p->sitecnt[site] + 1;
    if (mine > (a->limit + f - 1) / f) {
        return false;
    }
    if (f == 1) {
        return true;
    }
    /* the f fullest sites, this one with the new replica */
    a->p->sitecnt[site]++;
    uint32_t top = pl_top_sum(a->p->sitecnt, a->p->w->nsites, f);
    a->p->sitecnt[site]--;
    return top <= a->limit;
}

static bool keeps_nodes(struct attempt *a, uint32_t node)
{
    uint32_t g = a->s->nodes;
    if (!a->cap_nodes || g == 0) {
        return true;
    }
    if (a->p->own[node] + 1 > (a->limit + g - 1) / g) {
        return false;
    }
    if (g == 1) {
        return true;
    }
    a->nodes[a->count] = node;
    return pl_top_nodes(a->nodes, (size_t)a->count + 1, g) <= a->limit;
}

static bool fits(const struct attempt *a, uint32_t node)
{
    const int64_t *f = a->st->minfree + (size_t)node * PL_RES_COUNT;
    const int64_t *need = a->s->shape->need;
    int64_t times = (int64_t)a->p->own[node] + 1;
    return f[PL_CPUS] >= need[PL_CPUS] * times && f[PL_MEMORY] >= need[PL_MEMORY] * times &&
           f[PL_DISK] >= need[PL_DISK] * times;
}

static bool may_hold(const struct attempt *a, uint32_t site)
{
    const struct site *decl = &a->p->w->inv->sites[site];
    if (!isinf(a->t->egress_max) && decl->has_egress && decl->egress_per_gb > a->t->egress_max) {
        return false;
    }
    if (!a->t->only) {
        return true;
    }
    for (uint32_t i = 0; i < a->t->nmust; i++) {
        if (a->t->must[i] == site) {
            return true;
        }
    }
    return false;
}

/* Smaller is better; compared in this order. */
struct key {
    double cost;
    uint32_t on_site, on_node;
    double left;
};

static bool key_less(const struct key *a, const struct key *b)
{
    double eps = 1e-12 * (fabs(b->cost) + 1e-3);
    if (a->cost < b->cost - eps || a->cost > b->cost + eps) {
        return a->cost < b->cost;
    }
    if (a->on_site != b->on_site) {
        return a->on_site < b->on_site;
    }
    if (a->on_node != b->on_node) {
        return a->on_node < b->on_node;
    }
    return a->left < b->left - 1e-12;
}

static struct key key_of(const struct attempt *a, uint32_t pos)
{
    const struct pl_world *w = a->p->w;
    uint32_t node = a->s->shape->nodes[pos];
    const int64_t *f = a->st->minfree + (size_t)node * PL_RES_COUNT;
    const int64_t *cap = w->nodes[node].cap;
    struct key k = {.on_site = a->p->sitecnt[w->nodes[node].site], .on_node = a->p->own[node]};
    k.left =
        (double)f[PL_CPUS] / (double)cap[PL_CPUS] + (double)f[PL_MEMORY] / (double)cap[PL_MEMORY];
    k.cost = a->s->shape->cost[pos];
    if (w->has_current && a->p->curleft[node] == 0) {
        k.cost += k.cost * w->move_share;
    }
    if (a->strategy == PL_EMPTIEST) {
        k.cost = -k.left;
    } else if (a->strategy == PL_TIGHTEST) {
        k.cost = k.left;
    }
    return k;
}

static bool node_ok(struct attempt *a, uint32_t node)
{
    uint32_t site = a->p->w->nodes[node].site;
    if (!fits(a, node) || !may_hold(a, site)) {
        return false;
    }
    if (a->s->has_ceiling && !a->p->w->nodes[node].priced) {
        return false;
    }
    return keeps_sites(a, site) && keeps_nodes(a, node);
}

static void take_node(struct attempt *a, uint32_t node)
{
    a->nodes[a->count++] = node;
    a->p->own[node]++;
    a->p->sitecnt[a->p->w->nodes[node].site]++;
    if (a->p->curleft[node] > 0) {
        a->p->curleft[node]--;
    }
}

/* The best so far of a choice between nodes. */
struct choice {
    uint32_t node; /* PL_NONE: none yet */
    struct key key;
};

/* Looks through positions that are ordered by cost. */
static void look(struct attempt *a, const uint32_t *by_cost, size_t n, struct choice *best)
{
    const struct pl_shape *sh = a->s->shape;
    /* in the order of cost a dearer node ends the walk, unless what is current counts as cheaper */
    bool stop_early = a->strategy == PL_CHEAPEST && !a->p->w->has_current;
    size_t i = 0;
    for (; i < n; i++) {
        uint32_t node = sh->nodes[by_cost[i]];
        if (best->node != PL_NONE && stop_early &&
            sh->cost[by_cost[i]] > best->key.cost + 1e-12 * (best->key.cost + 1e-3)) {
            break;
        }
        if (!node_ok(a, node)) {
            continue;
        }
        struct key k = key_of(a, by_cost[i]);
        if (best->node == PL_NONE || key_less(&k, &best->key)) {
            best->node = node;
            best->key = k;
        }
    }
    a->st->work += 3 * i;
}

static void look_in_site(struct attempt *a, uint32_t site, struct choice *best)
{
    const struct pl_shape *sh = a->s->shape;
    int64_t k = pl_shape_site(sh, site);
    if (k >= 0) {
        look(a, sh->in_site + sh->first[k], sh->first[k + 1] - sh->first[k], best);
    }
}

/* The best node of one site (PL_NONE: of all that may hold). */
static uint32_t pick(struct attempt *a, uint32_t site)
{
    struct choice best = {.node = PL_NONE};
    if (site != PL_NONE) {
        look_in_site(a, site, &best);
    } else if (a->t->only) {
        for (uint32_t i = 0; i < a->t->nmust; i++) {
            look_in_site(a, a->t->must[i], &best);
        }
    } else {
        look(a, a->s->shape->by_cost, a->s->shape->nnodes, &best);
    }
    return best.node;
}

static void begin(struct attempt *a)
{
    const struct pl_svc *s = a->s;
    a->count = 0;
    pl_state_settle(a->st);
    for (uint32_t r = 0; s->current && r < s->replicas; r++) {
        if (s->current[r] < a->p->w->nnodes) {
            a->p->curleft[s->current[r]]++;
        }
    }
}

static void end(struct attempt *a)
{
    for (uint32_t i = 0; i < a->count; i++) {
        a->p->own[a->nodes[i]] = 0;
        a->p->sitecnt[a->p->w->nodes[a->nodes[i]].site] = 0;
    }
    for (uint32_t r = 0; a->s->current && r < a->s->replicas; r++) {
        if (a->s->current[r] < a->p->w->nnodes) {
            a->p->curleft[a->s->current[r]] = 0;
        }
    }
}

static bool rules_hold(const struct attempt *a, bool goals)
{
    const struct pl_world *w = a->p->w;
    return pl_rules_hard(w, a->s, a->nodes) == PL_RULE_OK &&
           (!goals || pl_rules_goals(w, a->s, a->nodes));
}

static int cmp_u32(const void *x, const void *y)
{
    uint32_t a = *(const uint32_t *)x;
    uint32_t b = *(const uint32_t *)y;
    return a < b ? -1 : a > b;
}

static bool realise(struct attempt *a, bool goals)
{
    begin(a);
    bool ok = true;
    for (uint32_t i = 0; i < a->t->nmust && ok; i++) {
        if (a->p->sitecnt[a->t->must[i]] == 0) {
            uint32_t node = pick(a, a->t->must[i]);
            ok = node != PL_NONE;
            if (ok) {
                take_node(a, node);
            }
        }
    }
    while (ok && a->count < a->s->replicas) {
        uint32_t node = pick(a, PL_NONE);
        ok = node != PL_NONE;
        if (ok) {
            take_node(a, node);
        }
    }
    end(a);
    if (!ok || !rules_hold(a, goals)) {
        return false;
    }
    qsort(a->nodes, a->s->replicas, sizeof(*a->nodes), cmp_u32);
    return true;
}

static struct attempt attempt_of(struct pl_placer *p, struct pl_state *st, const struct pl_svc *s,
                                 bool goals, enum pl_strategy strategy)
{
    struct attempt a = {.p = p, .st = st, .s = s, .strategy = strategy};
    a.cap_sites = s->site_keep_hard || (goals && s->keep > 0);
    a.cap_nodes = s->node_keep_hard || (goals && s->keep > 0);
    a.limit = s->replicas > s->keep ? s->replicas - s->keep : 0;
    return a;
}

/* Placements that were worked out but not yet put, cheapest first. */
struct pending {
    uint32_t *nodes[PENDING_MAX];
    double cost[PENDING_MAX];
    uint32_t len;
};

static void pending_add(struct pending *q, const uint32_t *nodes, uint32_t n, double cost)
{
    if (q->len == PENDING_MAX) {
        if (cost >= q->cost[q->len - 1]) {
            return;
        }
        free(q->nodes[--q->len]);
    }
    uint32_t at = q->len++;
    while (at > 0 && q->cost[at - 1] > cost) {
        q->cost[at] = q->cost[at - 1];
        q->nodes[at] = q->nodes[at - 1];
        at--;
    }
    q->cost[at] = cost;
    q->nodes[at] = sk_xcalloc((size_t)n + 1, sizeof(**q->nodes));
    memcpy(q->nodes[at], nodes, n * sizeof(*nodes));
}

static bool pending_put(struct pending *q, struct pl_state *st, uint32_t svc, double limit,
                        bool goals, uint64_t effort)
{
    bool done = false;
    uint32_t used = 0;
    while (used < q->len && !done && q->cost[used] <= limit) {
        done = pl_state_put(st, svc, q->nodes[used], goals, effort);
        free(q->nodes[used++]);
    }
    for (uint32_t i = used; i < q->len; i++) {
        q->nodes[i - used] = q->nodes[i];
        q->cost[i - used] = q->cost[i];
    }
    q->len -= used;
    return done;
}

/* Tries the patterns from `from` on, in the order of what they cost at least. */
static bool place_from(struct attempt *a, const struct pl_list *list, size_t from, bool goals,
                       uint64_t effort, double below)
{
    const struct pl_svc *s = a->s;
    struct pending q = {.len = 0};
    bool done = false;
    for (size_t i = from; i < list->len && !done && list->items[i].bound < below; i++) {
        double slack = 1e-12 * (list->items[i].bound + 1e-3);
        done = pending_put(&q, a->st, s->index, list->items[i].bound + slack, goals, effort);
        a->t = &list->items[i];
        if (!done && realise(a, goals)) {
            uint32_t moves;
            bool known = true;
            double cost = pl_cost_hour(a->p->w, s, a->nodes, s->replicas, &known) +
                          pl_move_hour(a->p->w, s, a->nodes, &moves);
            if (cost < below) {
                pending_add(&q, a->nodes, s->replicas, cost);
            }
        }
    }
    done = done || pending_put(&q, a->st, s->index, HUGE_VAL, goals, effort);
    for (uint32_t i = 0; i < q.len; i++) {
        free(q.nodes[i]);
    }
    return done;
}

bool pl_place(struct pl_placer *p, struct pl_state *st, uint32_t svc, bool goals,
              enum pl_strategy strategy, uint64_t effort, double below)
{
    const struct pl_svc *s = &p->w->svcs[svc];
    const struct pl_list *list = pl_cands_get(&p->cands, svc);
    struct attempt a = attempt_of(p, st, s, goals, strategy);
    sk_autofree uint32_t *nodes = sk_xcalloc((size_t)s->replicas + 1, sizeof(*nodes));
    a.nodes = nodes;
    if (place_from(&a, list, 0, goals, effort, below)) {
        return true;
    }
    if (list->deep || !isinf(below)) {
        return false;
    }
    size_t tried = list->len;
    return place_from(&a, pl_cands_deep(&p->cands, svc), tried, goals, effort, below);
}

bool pl_place_any(struct pl_placer *p, struct pl_state *st, uint32_t svc, enum pl_strategy strategy,
                  uint64_t effort)
{
    return pl_place(p, st, svc, true, strategy, effort, HUGE_VAL) ||
           pl_place(p, st, svc, false, strategy, effort, HUGE_VAL);
}

bool pl_place_current(struct pl_placer *p, struct pl_state *st, uint32_t svc, bool goals,
                      uint64_t effort)
{
    const struct pl_world *w = p->w;
    const struct pl_svc *s = &w->svcs[svc];
    if (!s->current) {
        return false;
    }
    sk_autofree uint32_t *nodes = sk_xcalloc((size_t)s->replicas + 1, sizeof(*nodes));
    for (uint32_t r = 0; r < s->replicas; r++) {
        if (pl_shape_pos(s->shape, w, s->current[r]) < 0) {
            return false;
        }
        nodes[r] = s->current[r];
    }
    qsort(nodes, s->replicas, sizeof(*nodes), cmp_u32);
    return pl_rules_hard(w, s, nodes) == PL_RULE_OK && (!goals || pl_rules_goals(w, s, nodes)) &&
           pl_state_put(st, svc, nodes, goals, effort);
}
