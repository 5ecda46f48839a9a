/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SK_CLI_REMOTE_H
#define SK_CLI_REMOTE_H

#include "base/err.h"
#include "cli/client.h"
#include "model/plan.h"
#include "model/project.h"

/* Plans by the cluster: what `plan` without --inventory and `apply` ask for. */

/* Appends {"projects":[...canonical forms...]<extra>}; `extra` is "" or members that start with a
 * comma. */
void remote_body(struct project *const *projects, size_t nprojects, const char *extra,
                 struct sk_buf *out);
/* The plan that these projects would make; nothing is changed. */
int remote_plan(struct api_client *client, struct project *const *projects, size_t nprojects,
                bool pairs, struct plan **ret, struct sk_err *err);
/* What a rebalance would make of it; nothing is changed. */
int remote_rebalance(struct api_client *client, struct plan **ret, struct sk_err *err);
/* SK_ERR_CONFLICT with `fix` where --plan names another plan than this one. */
int remote_expect(const struct cli *cli, const struct plan *plan, const char *fix,
                  struct sk_err *err);
/* The plan in force; *ret NULL when nothing was applied yet. */
int remote_current(struct api_client *client, struct plan **ret, struct sk_err *err);

#endif
