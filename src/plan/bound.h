/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SK_PLAN_BOUND_H
#define SK_PLAN_BOUND_H

#include "plan/world.h"

/*
 * Lower bounds: what no placement can undercut. Each service by itself, on an otherwise empty
 * world, under its own rules; what services take from each other only makes them dearer.
 */

/* Least cost + moves an hour of a service by itself. `goals`: of placements that meet its goals.
 * `priced_only`: of placements whose cost is known. HUGE_VAL: not even by itself can it be placed,
 * which is a proof. */
double pl_bound_svc(const struct pl_world *w, const struct pl_svc *s, bool goals, bool priced_only);
/* The least egress of a service, wherever it is. */
double pl_bound_egress(const struct pl_world *w, const struct pl_svc *s);
/* The sum over all services; HUGE_VAL if one of them cannot be placed. */
double pl_bound_sum(const struct pl_world *w, bool goals, bool priced_only);

#endif
