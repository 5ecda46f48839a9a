/* SPDX-License-Identifier: Apache-2.0 */
#include "plan/search.h"

#include <math.h>
#include <stdlib.h>

#include "base/mem.h"
#include "plan/exhaust.h"
#include "plan/improve.h"
#include "plan/order.h"
#include "plan/rules.h"

#define ROUNDS_SMALL 12
#define ROUNDS_LARGE 5
#define WORK_MAX 1500000000u /* about as many nanoseconds */

struct hunt {
    struct pl_placer *p;
    const struct pl_world *w;
    struct pl_state *st;   /* the attempt in hand */
    struct pl_state *best; /* the best so far */
    struct pl_score score; /* of best */
    bool any;
    double bound;
    uint64_t effort;
    bool feasible_only;
    uint32_t *order;
    double *key;
};

/* How large a part of the room on its allowed nodes a service wants. Those that ask to survive
 * losses come first among equals: what nobody must re-place can take what is left. */
static double tightness(const struct pl_world *w, const struct pl_svc *s)
{
    double most = 0;
    for (int r = 0; r < PL_RES_COUNT; r++) {
        double cap = 0;
        for (size_t i = 0; i < s->shape->nnodes; i++) {
            cap += (double)w->nodes[s->shape->nodes[i]].cap[r];
        }
        double want = (double)s->shape->need[r] * s->replicas;
        double part = cap > 0 ? want / cap : want > 0 ? 1e9 : 0;
        most = part > most ? part : most;
    }
    return s->ask > 0 ? most * 2 : most;
}

static void clear(struct pl_state *st)
{
    for (uint32_t i = 0; i < st->w->nsvcs; i++) {
        if (st->placed[i]) {
            pl_state_take(st, i);
        }
    }
}

static void keep_if_better(struct hunt *h)
{
    struct pl_score now = pl_state_score(h->st);
    if (!h->any || pl_score_better(&now, &h->score)) {
        pl_state_copy(h->best, h->st);
        h->score = now;
        h->any = true;
    }
}

static bool complete(const struct hunt *h)
{
    return h->any && h->score.unplaced == 0 && (h->score.unmet == 0 || h->feasible_only);
}

/* One round: everybody in order; then whoever failed, or missed a goal, is moved forward. Returns
 * the number that found no place. */
static size_t round_once(struct hunt *h, enum pl_strategy strategy, bool goals)
{
    size_t failed = 0;
    clear(h->st);
    for (size_t i = 0; i < h->w->nsvcs; i++) {
        uint32_t svc = h->order[i];
        bool ok = goals ? pl_place_any(h->p, h->st, svc, strategy, h->effort)
                        : pl_place(h->p, h->st, svc, false, strategy, h->effort, HUGE_VAL);
        if (!ok) {
            failed++;
            h->key[svc] = h->key[svc] * 4 + 1;
        } else if (goals && !h->st->goals[svc]) {
            h->key[svc] *= 1.5;
        }
    }
    pl_sort_desc(h->order, h->w->nsvcs, h->key);
    return failed;
}

static void polish(struct hunt *h)
{
    if (h->feasible_only) {
        keep_if_better(h);
        return;
    }
    uint64_t until = h->st->work + WORK_MAX;
    pl_improve_single(h->p, h->st, until);
    keep_if_better(h);
    if (h->w->small && h->w->nsvcs <= 40 && h->score.cost > h->bound) {
        pl_improve_pairs(h->p, h->st, h->st->work + 30000000u);
        keep_if_better(h);
    }
}

static void rounds(struct hunt *h, enum pl_strategy strategy, bool goals, int count)
{
    for (int i = 0; i < count && !complete(h); i++) {
        size_t failed = round_once(h, strategy, goals);
        if (failed == 0 || i + 1 == count) {
            polish(h);
        } else {
            keep_if_better(h);
        }
        if (failed == 0 && !goals) {
            return;
        }
    }
}

/* What runs today is where the search starts: services stay where they may. */
static void from_current(struct hunt *h)
{
    clear(h->st);
    for (int goals = 1; goals >= 0; goals--) {
        for (size_t i = 0; i < h->w->nsvcs; i++) {
            uint32_t svc = h->order[i];
            if (!h->st->placed[svc]) {
                (void)pl_place_current(h->p, h->st, svc, goals, h->effort);
            }
        }
    }
    for (size_t i = 0; i < h->w->nsvcs; i++) {
        if (!h->st->placed[h->order[i]]) {
            (void)pl_place_any(h->p, h->st, h->order[i], PL_CHEAPEST, h->effort);
        }
    }
    polish(h);
}

static void hunt_all(struct hunt *h)
{
    int count = h->w->small ? ROUNDS_SMALL : ROUNDS_LARGE;
    if (h->w->has_current) {
        from_current(h);
    }
    /* a fresh start as well: the current plan may be far from the best */
    (void)round_once(h, PL_CHEAPEST, true);
    polish(h);
    rounds(h, PL_CHEAPEST, true, count);
    if (h->score.unplaced > 0) {
        rounds(h, PL_TIGHTEST, false, count);
    }
    if (h->score.unplaced > 0) {
        rounds(h, PL_EMPTIEST, false, count);
    }
    if (!complete(h)) {
        rounds(h, PL_TIGHTEST, true, count / 2);
        rounds(h, PL_EMPTIEST, true, count / 2);
    }
}

void pl_search(struct pl_placer *p, double bound, struct pl_outcome *out)
{
    const struct pl_world *w = p->w;
    struct hunt h = {
        .p = p, .w = w, .best = out->best, .bound = bound, .feasible_only = out->feasible_only};
    h.st = pl_state_new(w);
    h.effort = w->small ? 2000 : 0;
    h.order = sk_xcalloc(w->nsvcs + 1, sizeof(*h.order));
    h.key = sk_xcalloc(w->nsvcs + 1, sizeof(*h.key));
    for (uint32_t i = 0; i < w->nsvcs; i++) {
        h.order[i] = i;
        h.key[i] = tightness(w, &w->svcs[i]);
    }
    pl_sort_desc(h.order, w->nsvcs, h.key);
    hunt_all(&h);
    bool at_bound = complete(&h) && pl_le(h.score.cost, bound);
    if (w->small && !at_bound) {
        pl_exhaust(p, out);
    }
    out->proved_best = out->proved_best || at_bound;
    pl_state_free(h.st);
    free(h.order);
    free(h.key);
}
