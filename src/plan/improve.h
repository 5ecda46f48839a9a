/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SK_PLAN_IMPROVE_H
#define SK_PLAN_IMPROVE_H

#include "plan/place.h"

/*
 * Local search: never makes a placement worse. Ends when nothing helps or `work_max` is reached
 * (compared with st->work).
 */
/* Each service by itself taken out and placed again. */
void pl_improve_single(struct pl_placer *p, struct pl_state *st, uint64_t work_max);
/* Pairs of services taken out, and placed again in either order. For small worlds. */
void pl_improve_pairs(struct pl_placer *p, struct pl_state *st, uint64_t work_max);

#endif
