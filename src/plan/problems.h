/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SK_PLAN_PROBLEMS_H
#define SK_PLAN_PROBLEMS_H

#include "plan/buckets.h"
#include "plan/state.h"

/*
 * Why a plan is not ok: certificates first (they make it "impossible"), else what the search was
 * short of.
 */

/* True if a rule fails that no placement can change (rps). Checked for every plan. */
bool pl_static_broken(const struct pl_world *w);

/* Writes plan->problems and returns the verdict, which is never PLAN_OK. `proved_none`: a complete
 * search found nothing. After pl_losses_rows(). */
enum plan_verdict pl_problems(const struct pl_state *st, const struct pl_buckets *buckets,
                              bool proved_none, struct plan *plan);

/* What a problem says; the texts and lists are copied by pl_problem_add(). */
struct pl_problem {
    const char *code;
    const struct pl_svc *s;      /* or NULL */
    const struct pl_bucket *b;   /* or NULL */
    const struct pl_shape *zone; /* the sites it is about, or NULL */
    const struct pl_scen *scen;  /* the loss, or NULL */
    const char *resource;
    double missing; /* NAN: not a number's matter */
    bool proven;
    char text[384];
    char fix[256];
};
void pl_problem_add(const struct pl_world *w, struct plan *plan, const struct pl_problem *p);

/* One service by itself, whatever the others do: true and a proof if it cannot be placed. */
bool pl_cert_service(const struct pl_world *w, const struct pl_svc *s, struct pl_problem *ret);
/* All services that are bound to the same nodes together: the worst shortage over zones, losses and
 * resources; true if there is one. */
bool pl_cert_zones(const struct pl_world *w, struct pl_problem *ret);

#endif
