/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/commands.h"

#include "base/mem.h"

const struct cli_command *const cli_commands[] = {
    &cmd_plan,    &cmd_apply,     &cmd_rebalance, &cmd_return, &cmd_verify,  &cmd_demo,
    &cmd_drill,   &cmd_inventory, &cmd_status,    &cmd_ps,     &cmd_why,     &cmd_sites,
    &cmd_nodes,   &cmd_events,    &cmd_logs,      &cmd_init,   &cmd_join,    &cmd_token,
    &cmd_daemon,  &cmd_rejoin,    &cmd_control,   &cmd_site,   &cmd_node,    &cmd_drain,
    &cmd_undrain, &cmd_remove,    &cmd_key,       &cmd_help,   &cmd_version,
};
const size_t cli_ncommands = SK_ARRAY_LEN(cli_commands);
