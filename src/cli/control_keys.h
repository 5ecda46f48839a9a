/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SK_CLI_CONTROL_KEYS_H
#define SK_CLI_CONTROL_KEYS_H

#include "cli/cli.h"

/* Of `skerry control`: what has to do with keys and backups. args[0] is the verb. */
int control_backup(struct cli *cli, struct sk_err *err);
int control_restore(struct cli *cli, struct sk_err *err);
int control_recover(struct cli *cli, struct sk_err *err);
int control_recovery(struct cli *cli, struct sk_err *err); /* "new" */

#endif
