/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SK_PLAN_LOSSES_H
#define SK_PLAN_LOSSES_H

#include "plan/state.h"

/*
 * The losses tables of a finished placement: what is kept, where the rest goes, what is short.
 *
 * `st` may hold services that are placed only in part (placed[] false, some place[] set): the best
 * effort of a plan that is not ok; `whole` says that there are none, so that the worlds of `st` are
 * certificates for its rows. Rows are written into `plan`.
 */
void pl_losses_rows(const struct pl_state *st, bool whole, struct plan *plan);
void pl_node_losses(const struct pl_state *st, struct plan *plan);

/* True if a row that was asked for is not ok, or a node loss that must be survived is not. */
bool pl_losses_broken(const struct plan *plan);

#endif
