/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SK_CLI_COMMANDS_H
#define SK_CLI_COMMANDS_H

#include "cli/cli.h"

/* One row a command, defined in cmd_<name>.c (or with its siblings). commands.c lists them in the
 * order of help. */
extern const struct cli_command cmd_plan;
extern const struct cli_command cmd_verify;
extern const struct cli_command cmd_help;
extern const struct cli_command cmd_version;

#endif
