/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SK_PLAN_VERIFY_H
#define SK_PLAN_VERIFY_H

#include "base/arena.h"
#include "base/err.h"
#include "model/inventory.h"
#include "model/plan.h"
#include "model/project.h"

/*
 * The verifier: checks a plan against the world, written from the "Exact meanings" alone. It shares
 * nothing with the planner beyond the model, so that one misunderstanding cannot hide in both.
 */
struct verify_input {
    const struct inventory *inv;
    const struct project *const *projects;
    size_t nprojects;
    const struct plan *plan;
    const struct plan *current; /* NULL: moves are not checked against anything, only for shape */
    bool pairs;                 /* rows for all pairs must be there too */
};

struct verify_finding {
    struct sk_str rule; /* stable name: "capacity", "residency", "loss_row_missing" ... */
    struct sk_str text; /* one line: what, where, expected and found */
};

struct verify_report {
    struct sk_arena *arena; /* owned */
    struct verify_finding *findings;
    size_t nfindings;
};

#define VERIFY_FINDINGS_MAX 1000
/* 0 with ret_report->nfindings == 0: every rule holds and every stated figure is true.
 * verify_report_release() always. */
int verify_plan(const struct verify_input *in, struct verify_report *ret_report,
                struct sk_err *err);
void verify_report_release(struct verify_report *report);

#endif
