/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SK_PLAN_SEARCH_H
#define SK_PLAN_SEARCH_H

#include "plan/place.h"

/*
 * The search for a placement of all services: construct (most constrained first; who fails comes
 * first in the next round), improve (one service, then pairs, taken out and placed again), and in
 * small worlds a complete search. Bounded by counted work, never by a clock.
 */
struct pl_outcome {
    struct pl_state *best; /* the caller's, from pl_state_new() */
    bool feasible_only;    /* set by the caller: any placement that keeps the rules will do */
    bool proved_none;      /* complete search: no placement keeps the hard rules */
    bool proved_best;      /* complete search: none is better than `best` */
};

/* `bound`: no placement that meets all goals costs less; a placement that reaches it ends the
 * search. */
void pl_search(struct pl_placer *p, double bound, struct pl_outcome *out);

#endif
