/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SK_PLAN_PLANNER_H
#define SK_PLAN_PLANNER_H

#include "base/err.h"
#include "model/inventory.h"
#include "model/plan.h"
#include "model/project.h"

/*
 * The planner: a pure function. Same input, same bytes out, at any number of threads.
 * The meaning of every field is in docs/architecture.md, "Exact meanings"; plan/verify holds the
 * independent check.
 */
struct plan_input {
    const struct inventory *inv;
    const struct project *const
        *projects; /* all of them, sorted by name; checked with world_check() */
    size_t nprojects;
    const struct plan *current; /* NULL: a first plan, no moves */
    bool pairs;                 /* losses rows for all pairs of sites too */
    int threads;                /* >= 1 */
    double move_price_hours;    /* default 24 (set by plan_input_init) */
    struct sk_str based_on_store;
    int64_t based_on_revision;
    /* How the loss of a site bears on control. NULL: offline, every row says "kept". */
    bool (*control_kept)(void *ctx, const struct sk_str *lost, size_t nlost);
    void *control_ctx;
    /* The caller's clock, for timing_ms alone: nothing else of a plan depends on it. NULL: zeros.
     */
    int64_t (*now_us)(void);
};
void plan_input_init(struct plan_input *in);

/* Always makes a plan (its verdict tells); fails only on input beyond its bounds (SK_ERR_LIMIT).
 * Sealed. plan_free(). With a clock, timing_ms.losses is what the tables of losses took and
 * timing_ms.plan the rest; total is their sum until the caller adds its own parts. */
int plan_make(const struct plan_input *in, struct plan **ret_plan, struct sk_err *err);

#endif
