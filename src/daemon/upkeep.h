/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SK_DAEMON_UPKEEP_H
#define SK_DAEMON_UPKEEP_H

#include "base/err.h"
#include "control/control.h"
#include "daemon/state.h"

/*
 * Carries out what control wants done to a running member of etcd (docs/control-nodes.md, Upkeep):
 * history cut, space given back, alarms disarmed, etcd's leader moved. Each may be repeated.
 * Blocks, for 20 s at most: on a worker.
 */

/* `url`: the member's for clients. SK_ERR_UNAVAILABLE: nothing was changed; SK_ERR_TIMEOUT: it may
 * have been. */
int upkeep_run(const char *dir, const struct state_form *form, enum control_etcd_kind kind,
               const char *url, int64_t keep, struct sk_err *err);
const char *upkeep_name(enum control_etcd_kind kind); /* for logs */

#endif
