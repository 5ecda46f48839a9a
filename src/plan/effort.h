/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SK_PLAN_EFFORT_H
#define SK_PLAN_EFFORT_H

#include "plan/place.h"

/*
 * The best effort of a plan that is not ok: replicas of services that found no place as a whole go
 * wherever an allowed node still has room, as many as fit. Nothing is overcommitted; room that
 * losses need is used only where none else is left. Sets st->place, not st->placed.
 */
void pl_place_rest(struct pl_placer *p, struct pl_state *st);

#endif
