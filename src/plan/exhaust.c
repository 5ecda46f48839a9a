/* SPDX-License-Identifier: Apache-2.0 */
#include "plan/exhaust.h"

#include <math.h>
#include <stdlib.h>

#include "base/mem.h"
#include "plan/bound.h"
#include "plan/memo.h"
#include "plan/rules.h"

#define OPTIONS_MAX 20000u      /* placements of one service at one point */
#define REFIT_EFFORT 20000u     /* steps of the search for room in one world */
#define WORK_FEASIBLE 60000000u /* when something is known already: only a better one is sought */
#define WORK_NONE 300000000u    /* when nothing is known */
#define WORK_TRIAL 8000000u     /* when it is only tried whether a fix is enough */

struct option {
    const uint32_t *nodes;
    uint32_t *own; /* NULL where the memo keeps them */
    double cost;
    bool goals;
};

struct options {
    struct option *items;
    size_t len, cap;
};

struct exhaust {
    const struct pl_world *w;
    struct pl_state *st;
    struct pl_outcome *out;
    struct pl_score best;
    uint32_t *order;
    double *rest; /* [nsvcs + 1] what the services from here on cost at least */
    struct pl_memo *memo;
    struct options *levels; /* [nsvcs], whose memory is used again */
    struct option *merged;  /* room to sort in */
    size_t merged_cap;
    uint32_t *scratch;
    uint64_t until;
    bool cut; /* something was left out: no proofs */
};

/* Multisets of nodes for one service. */
struct enumerate {
    struct exhaust *x;
    const struct pl_svc *s;
    struct options *out;
    const uint32_t *alike; /* [nnodes of shape] position of the first node that is like it */
    uint32_t *count;       /* per position */
    uint32_t *nodes;
};

static void add_option(struct enumerate *e)
{
    const struct pl_svc *s = e->s;
    uint32_t n = 0;
    for (size_t i = 0; i < s->shape->nnodes; i++) {
        for (uint32_t c = 0; c < e->count[i]; c++) {
            e->nodes[n++] = s->shape->nodes[i];
        }
    }
    e->x->st->work += 200 + 20 * n;
    struct pl_worth worth = pl_memo_worth(e->x->memo, s, e->nodes);
    if (!worth.hard) {
        return;
    }
    if (e->out->len == OPTIONS_MAX) {
        e->x->cut = true;
        return;
    }
    SK_GROW(e->out->items, e->out->len, e->out->cap);
    struct option *o = &e->out->items[e->out->len++];
    *o = (struct option){.nodes = worth.nodes, .cost = worth.cost, .goals = worth.goals};
    if (!o->nodes) {
        o->own = sk_xcalloc((size_t)n + 1, sizeof(*o->own));
        memcpy(o->own, e->nodes, n * sizeof(*o->own));
        o->nodes = o->own;
    }
}

static void enumerate(struct enumerate *e, size_t pos, uint32_t left)
{
    if (left == 0) {
        add_option(e);
        return;
    }
    if (pos == e->s->shape->nnodes || e->x->st->work > e->x->until) {
        e->x->cut = e->x->cut || e->x->st->work > e->x->until;
        return;
    }
    const int64_t *f = pl_free(e->x->st, 0, e->s->shape->nodes[pos]);
    int64_t fit = left;
    for (int r = 0; r < PL_RES_COUNT; r++) {
        int64_t need = e->s->shape->need[r];
        fit = need > 0 && f[r] / need < fit ? f[r] / need : fit;
    }
    for (size_t i = pos; i-- > 0;) { /* of alike nodes the first ones hold most */
        if (e->alike[i] == e->alike[pos]) {
            fit = e->count[i] < fit ? e->count[i] : fit;
            break;
        }
    }
    e->x->st->work += 10;
    for (int64_t c = fit; c >= 0; c--) {
        e->count[pos] = (uint32_t)c;
        enumerate(e, pos + 1, left - (uint32_t)c);
    }
    e->count[pos] = 0;
}

static uint32_t holds(const struct pl_state *st, const struct pl_svc *s, uint32_t node)
{
    uint32_t n = 0;
    for (uint32_t r = 0; r < s->replicas; r++) {
        n += st->place[s->replica0 + r] == node;
    }
    return n;
}

/* Same kind, and the same replicas of the same services on them so far (and in the current plan).
 */
static bool nodes_alike(const struct exhaust *x, size_t level, uint32_t a, uint32_t b)
{
    if (x->w->nodes[a].kind != x->w->nodes[b].kind || x->w->has_current) {
        return a == b;
    }
    for (size_t i = 0; i < level; i++) {
        const struct pl_svc *s = &x->w->svcs[x->order[i]];
        if (holds(x->st, s, a) != holds(x->st, s, b)) {
            return false;
        }
    }
    return true;
}

static int cmp_option(const void *a, const void *b)
{
    const struct option *x = a;
    const struct option *y = b;
    if (x->goals != y->goals) {
        return x->goals ? -1 : 1;
    }
    return x->cost < y->cost ? -1 : x->cost > y->cost;
}

static void sort_options(struct exhaust *x, struct options *o)
{
    if (x->merged_cap < o->cap) {
        x->merged_cap = o->cap;
        x->merged = sk_xreallocarray(x->merged, o->cap, sizeof(*x->merged));
    }
    struct option *tmp = x->merged;
    for (size_t width = 1; width < o->len; width *= 2) {
        for (size_t lo = 0; lo < o->len; lo += 2 * width) {
            size_t mid = lo + width < o->len ? lo + width : o->len;
            size_t hi = lo + 2 * width < o->len ? lo + 2 * width : o->len;
            size_t i = lo;
            size_t j = mid;
            for (size_t k = lo; k < hi; k++) {
                bool left = j >= hi || (i < mid && cmp_option(&o->items[i], &o->items[j]) <= 0);
                tmp[k] = left ? o->items[i++] : o->items[j++];
            }
        }
        memcpy(o->items, tmp, o->len * sizeof(*tmp));
    }
}

static void options_of(struct exhaust *x, size_t level, struct options *out)
{
    const struct pl_svc *s = &x->w->svcs[x->order[level]];
    size_t n = s->shape->nnodes;
    uint32_t *mem = x->scratch;
    uint32_t *alike = mem;
    memset(mem, 0, (2 * n + s->replicas + 2) * sizeof(*mem));
    for (size_t i = 0; i < n; i++) {
        alike[i] = (uint32_t)i;
        for (size_t j = 0; j < i; j++) {
            if (alike[j] == j && nodes_alike(x, level, s->shape->nodes[j], s->shape->nodes[i])) {
                alike[i] = (uint32_t)j;
                break;
            }
        }
    }
    x->st->work += 20 * n * level;
    struct enumerate e = {.x = x, .s = s, .out = out, .alike = alike};
    e.count = mem + n;
    e.nodes = mem + 2 * n;
    enumerate(&e, 0, s->replicas);
    sort_options(x, out);
}

static bool hopeless(const struct exhaust *x, size_t unmet, double cost)
{
    struct pl_score least = {.unplaced = 0, .unmet = unmet, .cost = cost};
    return !pl_score_better(&least, &x->best);
}

static void dfs(struct exhaust *x, size_t level, size_t unmet, double cost);

static void try_option(struct exhaust *x, size_t level, const struct option *o, bool goals,
                       size_t unmet, double cost)
{
    if (hopeless(x, unmet, cost + o->cost + x->rest[level + 1])) {
        return;
    }
    x->st->work += 300;
    if (pl_state_put(x->st, x->order[level], o->nodes, goals, REFIT_EFFORT)) {
        dfs(x, level + 1, unmet, cost + o->cost);
        pl_state_take(x->st, x->order[level]);
    }
}

static void dfs(struct exhaust *x, size_t level, size_t unmet, double cost)
{
    if (x->st->work > x->until) {
        x->cut = true;
        return;
    }
    if (level == x->w->nsvcs) {
        struct pl_score now = pl_state_score(x->st);
        if (pl_score_better(&now, &x->best)) {
            x->best = now;
            pl_state_copy(x->out->best, x->st);
        }
        return;
    }
    struct options *options = &x->levels[level];
    options->len = 0;
    options_of(x, level, options);
    for (size_t i = 0; i < options->len && !(x->st->work > x->until); i++) {
        if (options->items[i].goals) {
            try_option(x, level, &options->items[i], true, unmet, cost);
        }
    }
    for (size_t i = 0; i < options->len && !(x->st->work > x->until); i++) {
        try_option(x, level, &options->items[i], false, unmet + 1, cost);
    }
    x->cut = x->cut || x->st->work > x->until;
    for (size_t i = 0; i < options->len; i++) {
        free(options->items[i].own);
    }
}

/* The largest replicas and the fewest choices first: a dead end shows early. */
static void sort_services(struct exhaust *x)
{
    const struct pl_world *w = x->w;
    sk_autofree double *key = sk_xcalloc(w->nsvcs + 1, sizeof(*key));
    for (uint32_t i = 0; i < w->nsvcs; i++) {
        const struct pl_svc *s = &w->svcs[i];
        double room = 0;
        for (size_t j = 0; j < s->shape->nnodes; j++) {
            const struct pl_node *n = &w->nodes[s->shape->nodes[j]];
            double cpu = (double)s->shape->need[PL_CPUS] / (double)n->cap[PL_CPUS];
            double mem = (double)s->shape->need[PL_MEMORY] / (double)n->cap[PL_MEMORY];
            double most = cpu > mem ? cpu : mem;
            room += most > 0 ? 1 / most : 1000;
        }
        key[i] = room > 0 ? s->replicas / room : HUGE_VAL;
        uint32_t at = i;
        while (at > 0 && key[x->order[at - 1]] < key[i]) {
            x->order[at] = x->order[at - 1];
            at--;
        }
        x->order[at] = i;
    }
}

static void make_room(struct exhaust *x)
{
    const struct pl_world *w = x->w;
    x->st = pl_state_new(w);
    x->order = sk_xcalloc(w->nsvcs + 1, sizeof(*x->order));
    x->rest = sk_xcalloc(w->nsvcs + 2, sizeof(*x->rest));
    x->levels = sk_xcalloc(w->nsvcs + 1, sizeof(*x->levels));
    x->scratch = sk_xcalloc(2 * w->nnodes + w->nreplicas + 2, sizeof(*x->scratch));
    x->memo = pl_memo_new(w);
}

static void free_room(struct exhaust *x)
{
    for (size_t i = 0; i < x->w->nsvcs; i++) {
        free(x->levels[i].items);
    }
    free(x->levels);
    free(x->merged);
    free(x->scratch);
    pl_memo_free(x->memo);
    pl_state_free(x->st);
    free(x->order);
    free(x->rest);
}

void pl_exhaust(struct pl_placer *p, struct pl_outcome *out)
{
    const struct pl_world *w = p->w;
    struct exhaust x = {.w = w, .out = out, .best = pl_state_score(out->best)};
    make_room(&x);
    sort_services(&x);
    bool possible = true;
    for (size_t i = w->nsvcs; i-- > 0;) {
        double least = pl_bound_svc(w, &w->svcs[x.order[i]], false, false);
        possible = possible && !isinf(least);
        x.rest[i] = x.rest[i + 1] + least;
    }
    bool feasible = x.best.unplaced == 0;
    if (!feasible) {
        /* only complete placements count from here on */
        x.best = (struct pl_score){.unplaced = 0, .unmet = w->nsvcs + 1};
    }
    x.until = out->feasible_only ? WORK_TRIAL : feasible ? WORK_FEASIBLE : WORK_NONE;
    if (possible && !(feasible && out->feasible_only)) {
        dfs(&x, 0, 0, 0);
    }
    bool complete = possible && !x.cut && !x.st->gave_up;
    out->proved_best = complete && pl_state_score(out->best).unplaced == 0;
    out->proved_none = !possible || (complete && pl_state_score(out->best).unplaced > 0);
    free_room(&x);
}
