/* SPDX-License-Identifier: Apache-2.0 */
#include "control/control.h"
#include "plan/verify/verify.h"

/* On a worker thread: reads the job, which nobody changes, and touches nothing else. */
int control_plan_run(const struct control_plan_job *job, int threads, int64_t (*now_us)(void),
                     struct plan **ret_plan, bool *ret_verified, struct sk_buf *ret_findings,
                     struct sk_err *err)
{
    struct plan_input in = job->input;
    struct plan *plan = NULL;
    struct verify_report report = {0};
    bool verified = true;

    in.threads = threads < 1 ? 1 : threads;
    in.now_us = now_us;
    int rc = plan_make(&in, &plan, err);
    if (rc < 0) {
        return sk_err_wrap(err, "plan");
    }
    if (!job->relaxed && plan->verdict == PLAN_OK) {
        struct verify_input check = {
            .inv = in.inv,
            .projects = in.projects,
            .nprojects = in.nprojects,
            .plan = plan,
            .current = in.current,
            .pairs = in.pairs,
        };
        rc = verify_plan(&check, &report, err);
        for (size_t i = 0; rc == 0 && i < report.nfindings; i++) {
            verified = false;
            sk_buf_printf(ret_findings, "%.*s: %.*s\n", SK_PRI(report.findings[i].rule),
                          SK_PRI(report.findings[i].text));
        }
        verify_report_release(&report);
        if (rc < 0) {
            plan_free(plan);
            return sk_err_wrap(err, "verify the plan");
        }
    }
    *ret_plan = plan;
    *ret_verified = verified;
    return 0;
}
