/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SK_PLAN_REPORT_H
#define SK_PLAN_REPORT_H

#include "plan/buckets.h"
#include "plan/state.h"

/*
 * From indexes to the plan's rows.
 */

/* Gives places their replica numbers: who runs already keeps its place where it can. Changes the
 * order of place[] and alt[] within each service, nothing else. */
void pl_report_number(struct pl_state *st);

void pl_report_placements(const struct pl_state *st, struct plan *plan);
void pl_report_latency(const struct pl_state *st, struct plan *plan);
void pl_report_moves(const struct pl_state *st, struct plan *plan);
/* cost.hour, month, servers, idle; bound and gap are set by pl_report_bound(). */
void pl_report_cost(const struct pl_state *st, const struct pl_buckets *buckets, struct plan *plan);
/* `objective`: cost + moves before `near`; `bound`: HUGE_VAL when there is none. */
void pl_report_bound(struct plan *plan, double objective, double bound);
/* Adds a warning; text is a printf format. */
void pl_warn(struct plan *plan, const char *code, struct sk_str project, struct sk_str service,
             const char *fmt, ...) __attribute__((format(printf, 5, 6)));
/* goal_unmet, price_unknown, region_unknown, rtt_unknown... for what was found. */
void pl_report_warnings(const struct pl_state *st, const struct pl_buckets *buckets,
                        struct plan *plan);

#endif
