/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SK_PLAN_TRIAL_H
#define SK_PLAN_TRIAL_H

#include "plan/planner.h"

/* True if plan_make() would say ok for this input; no report is made. Fixes are tried with it. */
bool pl_trial_ok(const struct plan_input *in);

#endif
