/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SK_CLI_CONTROL_STATUS_H
#define SK_CLI_CONTROL_STATUS_H

#include "cli/cli.h"

/* `skerry control status`: skerry.control/1 for people, or as it is with --json. */
int control_status(struct cli *cli, struct sk_err *err);

#endif
