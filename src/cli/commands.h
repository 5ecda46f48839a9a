/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SK_CLI_COMMANDS_H
#define SK_CLI_COMMANDS_H

#include "cli/cli.h"

/* One row a command, defined in cmd_<name>.c (or with its siblings). commands.c lists them in the
 * order of help. */
extern const struct cli_command cmd_plan;
extern const struct cli_command cmd_apply;
extern const struct cli_command cmd_rebalance;
extern const struct cli_command cmd_return;
extern const struct cli_command cmd_inventory;
extern const struct cli_command cmd_status;
extern const struct cli_command cmd_control;
extern const struct cli_command cmd_ps;
extern const struct cli_command cmd_nodes;
extern const struct cli_command cmd_sites;
extern const struct cli_command cmd_why;
extern const struct cli_command cmd_events;
extern const struct cli_command cmd_logs;
extern const struct cli_command cmd_init;
extern const struct cli_command cmd_join;
extern const struct cli_command cmd_daemon;
extern const struct cli_command cmd_rejoin;
extern const struct cli_command cmd_control;
extern const struct cli_command cmd_token;
extern const struct cli_command cmd_site;
extern const struct cli_command cmd_node;
extern const struct cli_command cmd_drain;
extern const struct cli_command cmd_undrain;
extern const struct cli_command cmd_remove;
extern const struct cli_command cmd_key;
extern const struct cli_command cmd_verify;
extern const struct cli_command cmd_demo;
extern const struct cli_command cmd_drill;
extern const struct cli_command cmd_help;
extern const struct cli_command cmd_version;

#endif
