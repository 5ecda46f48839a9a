/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SK_CLI_CONTROL_SEATS_H
#define SK_CLI_CONTROL_SEATS_H

#include "cli/cli.h"

/* Of `skerry control`: how many control nodes there are, and which. args[0] is the verb. Each
 * follows what it began to its end; ended before, it goes on all the same. */
int control_grow(struct cli *cli, struct sk_err *err);
int control_shrink(struct cli *cli, struct sk_err *err);
int control_replace(struct cli *cli, struct sk_err *err);
int control_abort(struct cli *cli, struct sk_err *err);
int control_seats(struct cli *cli, struct sk_err *err); /* who they are, and what is under way */

#endif
