/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SK_PLAN_EXHAUST_H
#define SK_PLAN_EXHAUST_H

#include "plan/search.h"

/*
 * Complete search for small worlds: services one after another, each on every multiset of nodes
 * (alike nodes once), with exact room in every loss; branches that cannot beat the best are cut.
 * Improves out->best, and says what was proved if it came to its end within its bound.
 */
void pl_exhaust(struct pl_placer *p, struct pl_outcome *out);

#endif
