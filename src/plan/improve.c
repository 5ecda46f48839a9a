/* SPDX-License-Identifier: Apache-2.0 */
#include "plan/improve.h"

#include <math.h>

#include "base/mem.h"

static uint64_t effort_of(const struct pl_world *w)
{
    return w->small ? 2000 : 0;
}

/* True if the service got a better place; else nothing has changed. */
static bool replace_one(struct pl_placer *p, struct pl_state *st, uint32_t svc)
{
    struct pl_saved old;
    uint64_t effort = effort_of(st->w);
    pl_state_save(st, svc, &old);
    pl_state_take(st, svc);
    double below = old.cost - 1e-12 * (old.cost + 1e-3);
    bool better = !old.goals && pl_place(p, st, svc, true, PL_CHEAPEST, effort, HUGE_VAL);
    better = better || pl_place(p, st, svc, old.goals, PL_CHEAPEST, effort, below);
    if (!better) {
        pl_state_restore(st, svc, &old);
    }
    pl_saved_release(&old);
    return better;
}

void pl_improve_single(struct pl_placer *p, struct pl_state *st, uint64_t work_max)
{
    bool again = true;
    for (int pass = 0; pass < 6 && again; pass++) {
        again = false;
        for (uint32_t i = 0; i < st->w->nsvcs && st->work < work_max; i++) {
            if (st->placed[i]) {
                again = replace_one(p, st, i) || again;
            } else {
                again = pl_place_any(p, st, i, PL_CHEAPEST, effort_of(st->w)) || again;
            }
        }
    }
}

static bool try_pair(struct pl_placer *p, struct pl_state *st, uint32_t first, uint32_t second)
{
    struct pl_score before = pl_state_score(st);
    uint64_t effort = effort_of(st->w);
    if (st->placed[first]) {
        pl_state_take(st, first);
    }
    if (st->placed[second]) {
        pl_state_take(st, second);
    }
    (void)(pl_place_any(p, st, first, PL_CHEAPEST, effort) &&
           pl_place_any(p, st, second, PL_CHEAPEST, effort)); /* the score tells */
    struct pl_score after = pl_state_score(st);
    return pl_score_better(&after, &before);
}

void pl_improve_pairs(struct pl_placer *p, struct pl_state *st, uint64_t work_max)
{
    struct pl_state *old = pl_state_new(st->w);
    bool again = true;
    for (int pass = 0; pass < 4 && again; pass++) {
        again = false;
        for (uint32_t i = 0; i < st->w->nsvcs; i++) {
            for (uint32_t j = 0; j < st->w->nsvcs && st->work < work_max; j++) {
                if (i == j) {
                    continue;
                }
                pl_state_copy(old, st);
                if (try_pair(p, st, i, j)) {
                    again = true;
                } else {
                    old->work = st->work;
                    old->gave_up = st->gave_up;
                    pl_state_copy(st, old);
                }
            }
        }
    }
    pl_state_free(old);
}
