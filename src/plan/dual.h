/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SK_PLAN_DUAL_H
#define SK_PLAN_DUAL_H

#include "plan/world.h"

/*
 * A lower bound that knows that services share the sites' room: prices on each site's cpus and
 * memory (Lagrange multipliers, found by subgradient steps). Whatever the prices, the sum over
 * services of their cheapest placement at these prices, less what all the room would cost, is a
 * true bound; good prices make it tight.
 *
 * `upper`: what a known placement costs. `goals`: of placements that meet all goals. 0 when prices
 * are not all known (the bound by pl_bound_sum() then stands alone).
 */
double pl_bound_dual(const struct pl_world *w, bool goals, double upper);

#endif
