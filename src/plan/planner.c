/* SPDX-License-Identifier: Apache-2.0 */
#include "plan/planner.h"

#include <math.h>

#include "base/mem.h"
#include "plan/bound.h"
#include "plan/dual.h"
#include "plan/effort.h"
#include "plan/losses.h"
#include "plan/near.h"
#include "plan/problems.h"
#include "plan/report.h"
#include "plan/rules.h"
#include "plan/search.h"
#include "plan/trial.h"

void plan_input_init(struct plan_input *in)
{
    *in = (struct plan_input){.threads = 1, .move_price_hours = 24};
}

static double objective_of(const struct pl_state *st, const struct pl_buckets *buckets)
{
    struct pl_score score = pl_state_score(st);
    return score.cost + buckets->cost_hour;
}

/* The better of two true bounds: each service by itself, and all of them sharing the sites. */
static double best_bound(const struct pl_world *w, bool goals, double upper)
{
    double sum = pl_bound_sum(w, goals, true);
    double dual = pl_le(upper, sum) ? 0 : pl_bound_dual(w, goals, upper);
    return dual > sum ? dual : sum;
}

static int64_t now_us(const struct plan_input *in)
{
    return in->now_us != NULL ? in->now_us() : 0;
}

/* Everything that describes the finished placement, whatever the verdict. */
static void report(const struct plan_input *in, struct pl_state *st,
                   const struct pl_buckets *buckets, bool whole, struct plan *plan)
{
    pl_report_number(st);
    pl_report_placements(st, plan);
    pl_buckets_report(st->w, buckets, plan);
    pl_report_cost(st, buckets, plan);
    pl_report_latency(st, plan);
    pl_report_moves(st, plan);
    int64_t began = now_us(in);
    pl_losses_rows(st, whole, plan);
    pl_node_losses(st, plan);
    plan->timing_ms.losses = (double)(now_us(in) - began) / 1000.0;
    pl_report_warnings(st, buckets, plan);
}

static void make(const struct plan_input *in, struct pl_world *w, struct plan *plan)
{
    struct pl_buckets buckets;
    pl_buckets_plan(w, &buckets);
    struct pl_placer placer;
    pl_placer_init(&placer, w);
    struct pl_outcome out = {.best = pl_state_new(w)};
    double bound = pl_bound_sum(w, true, false);
    pl_search(&placer, bound, &out);
    struct pl_state *st = out.best;
    struct pl_score score = pl_state_score(st);
    bool whole = score.unplaced == 0;
    double objective = objective_of(st, &buckets);
    if (whole) {
        pl_near_improve(&placer, st);
    } else {
        pl_place_rest(&placer, st);
    }
    report(in, st, &buckets, whole, plan);
    bool ok = whole && !pl_buckets_broken(&buckets) && !pl_static_broken(w);
    if (ok) {
        SK_ASSERT(!pl_losses_broken(plan));
        double least = objective - buckets.cost_hour;
        if (!out.proved_best) {
            least = best_bound(w, score.unmet == 0, least);
        }
        pl_report_bound(plan, objective, least + buckets.cost_hour);
    }
    plan->verdict = ok ? PLAN_OK : pl_problems(st, &buckets, out.proved_none, plan);
    pl_state_free(st);
    pl_placer_release(&placer);
}

bool pl_trial_ok(const struct plan_input *in)
{
    struct pl_world w;
    if (pl_world_init(&w, in, NULL) < 0) {
        return false;
    }
    struct pl_buckets buckets;
    pl_buckets_plan(&w, &buckets);
    struct pl_placer placer;
    pl_placer_init(&placer, &w);
    struct pl_outcome out = {.best = pl_state_new(&w), .feasible_only = true};
    pl_search(&placer, HUGE_VAL, &out);
    bool ok = pl_state_score(out.best).unplaced == 0 && !pl_buckets_broken(&buckets) &&
              !pl_static_broken(&w);
    pl_state_free(out.best);
    pl_placer_release(&placer);
    pl_world_release(&w);
    return ok;
}

int plan_make(const struct plan_input *in, struct plan **ret_plan, struct sk_err *err)
{
    struct pl_world w;
    int64_t began = now_us(in);
    int rc = pl_world_init(&w, in, err);
    if (rc < 0) {
        return rc;
    }
    struct plan *plan = plan_new();
    plan->based_on_store = sk_arena_str(plan->arena, in->based_on_store);
    plan->based_on_revision = in->based_on_revision;
    make(in, &w, plan);
    pl_world_release(&w);
    plan_seal(plan);
    plan->timing_ms.total = (double)(now_us(in) - began) / 1000.0;
    plan->timing_ms.plan = plan->timing_ms.total - plan->timing_ms.losses;
    *ret_plan = plan;
    return 0;
}
