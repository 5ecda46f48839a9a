/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SK_PLAN_NEAR_H
#define SK_PLAN_NEAR_H

#include "plan/place.h"

/*
 * `near`: after the cheapest placement is known, up to 0.1 % of its cost + moves is spent to bring
 * replicas near the services that theirs name: the mean, over those replicas, of the round trip to
 * the nearest site that holds a named service.
 */
void pl_near_improve(struct pl_placer *p, struct pl_state *st);

#endif
