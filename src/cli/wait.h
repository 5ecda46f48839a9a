/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SK_CLI_WAIT_H
#define SK_CLI_WAIT_H

#include "base/err.h"
#include "cli/client.h"
#include "model/plan.h"

/*
 * Waits until every placement of the plan runs and is healthy, and then until the ingress of each
 * site serves that: at most 10 s of it, after which a line names the sites that do not. Says on
 * standard error at least every 2 s what it waits for. A replica that failed is an error that holds
 * its reason and its last log lines; SK_ERR_TIMEOUT names what is not healthy yet.
 */
int wait_healthy(struct api_client *client, const struct plan *plan, int64_t timeout_ms,
                 struct sk_err *err);

/* The same, for as long as --timeout says (5 minutes unless told). */
int wait_as_told(const struct cli *cli, struct api_client *client, const struct plan *plan,
                 struct sk_err *err);

#endif
