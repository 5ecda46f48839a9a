/* SPDX-License-Identifier: Apache-2.0 */
#include "plan/verify/verify.h"

#include "plan/verify/internal.h"

int verify_plan(const struct verify_input *in, struct verify_report *ret_report, struct sk_err *err)
{
    struct verify_report report = {.arena = sk_arena_new()};
    struct vf v = {
        .in = in,
        .inv = in->inv,
        .plan = in->plan,
        .report = &report,
        .arena = report.arena,
    };
    int r;

    r = vf_world(&v, err);
    if (r < 0) {
        goto fail;
    }
    if (!plan_id_matches(in->plan)) {
        vf_find(&v, "id", "the id '%s' is not that of the plan's content", in->plan->id);
    }
    vf_check_placements(&v);
    vf_check_capacity(&v);
    vf_check_buckets(&v);
    vf_check_latency(&v);
    vf_check_cost(&v);
    r = vf_check_losses(&v, err);
    if (r < 0) {
        goto fail;
    }
    vf_check_node_losses(&v);
    vf_check_moves(&v);
    vf_check_goals(&v);
    vf_check_verdict(&v);
    *ret_report = report;
    return 0;

fail:
    sk_arena_free(report.arena);
    return r;
}

void verify_report_release(struct verify_report *report)
{
    sk_arena_free(report->arena);
    *report = (struct verify_report){0};
}
