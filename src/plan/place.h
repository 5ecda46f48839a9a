/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SK_PLAN_PLACE_H
#define SK_PLAN_PLACE_H

#include "plan/cand.h"
#include "plan/state.h"

/*
 * Finding a place for one service in a given state: site patterns in the order of what they cost
 * at least, nodes within them by a strategy.
 */
enum pl_strategy {
    PL_CHEAPEST, /* least cost, then even spread, then the tightest fit */
    PL_EMPTIEST, /* where most room is left: spreads the load */
    PL_TIGHTEST, /* where least room is left: keeps large holes for large replicas */
    PL_STRATEGY_COUNT
};

struct pl_placer {
    const struct pl_world *w;
    struct pl_cands cands;
    uint32_t *own;     /* [nnodes] replicas of the service in hand */
    uint32_t *sitecnt; /* [nsites] the same */
    uint32_t *curleft; /* [nnodes] of its current replicas there, not yet matched */
};

void pl_placer_init(struct pl_placer *p, const struct pl_world *w);
void pl_placer_release(struct pl_placer *p);

/* Places the service at least cost among what the strategy finds; false, and nothing changed, if it
 * finds nothing that costs less than `below` (HUGE_VAL: whatever it costs). `goals` as in
 * pl_state_put(). */
bool pl_place(struct pl_placer *p, struct pl_state *st, uint32_t svc, bool goals,
              enum pl_strategy strategy, uint64_t effort, double below);
/* With goals if that works, else without. */
bool pl_place_any(struct pl_placer *p, struct pl_state *st, uint32_t svc, enum pl_strategy strategy,
                  uint64_t effort);
/* Exactly on its current nodes; false if that breaks a rule or there is no room. */
bool pl_place_current(struct pl_placer *p, struct pl_state *st, uint32_t svc, bool goals,
                      uint64_t effort);

#endif
