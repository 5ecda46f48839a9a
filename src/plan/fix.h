/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SK_PLAN_FIX_H
#define SK_PLAN_FIX_H

#include "plan/problems.h"

/*
 * What would help: fills p->fix if it is empty. Where planning again is cheap the fix was tried and
 * is enough; of those that are enough it is the cheapest.
 */
void pl_fix(const struct pl_world *w, struct pl_problem *p);

/* Asks to survive the loss of fewer sites, and says how that is written: `after_loss_ms` asks for
 * one site by itself, so that `sites: 0` is bad input beside it. */
void pl_fix_fewer_sites(struct service *d, int64_t sites, char *ret_fix, size_t size);

#endif
