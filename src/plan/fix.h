/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SK_PLAN_FIX_H
#define SK_PLAN_FIX_H

#include "plan/problems.h"

/*
 * What would help: fills p->fix if it is empty. Where planning again is cheap the fix was tried and
 * is enough; of those that are enough it is the cheapest.
 */
void pl_fix(const struct pl_world *w, struct pl_problem *p);

#endif
