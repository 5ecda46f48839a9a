/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/commands.h"

#include "base/mem.h"

const struct cli_command *const cli_commands[] = {
    &cmd_plan,
    &cmd_verify,
    &cmd_help,
    &cmd_version,
};
const size_t cli_ncommands = SK_ARRAY_LEN(cli_commands);
