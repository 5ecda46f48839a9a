/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "base/mem.h"
#include "cli/commands.h"
#include "cli/control_keys.h"
#include "cli/control_status.h"

/* `skerry control VERB`: the control nodes themselves. */

static const struct cli_option control_options[] = {
    {"offline", NULL, "backup: from the folder of --data, without its daemon", false},
    {"code-file", "FILE", "restore, recover: file with the recovery code (default: standard input)",
     false},
    {"address", "HOST", "restore: where other servers reach this one (default: as before)", false},
    {"listen", "IP", "restore: the address that its ports listen on (default: as before)", false},
};

static const struct {
    const char *name;
    size_t args; /* after the verb */
    const char *usage;
    cli_run_fn *run;
} verbs[] = {
    {"status", 0, "skerry control status", control_status},
    {"backup", 1, "skerry control backup FILE", control_backup},
    {"restore", 1, "skerry control restore FILE", control_restore},
    {"recovery", 1, "skerry control recovery new", control_recovery},
    {"recover", 0, "skerry control recover", control_recover},
};

static int run_control(struct cli *cli, struct sk_err *err)
{
    for (size_t i = 0; i < SK_ARRAY_LEN(verbs); i++) {
        if (strcmp(cli->args[0], verbs[i].name) != 0) {
            continue;
        }
        if (cli->nargs - 1 != verbs[i].args) {
            (void)sk_err_set(err, SK_ERR_USAGE, "'skerry control %s' takes %zu argument%s",
                             verbs[i].name, verbs[i].args, verbs[i].args == 1 ? "" : "s");
            return sk_err_fix(err, "%s", verbs[i].usage);
        }
        return verbs[i].run(cli, err);
    }
    (void)sk_err_set(err, SK_ERR_USAGE, "'skerry control' knows no '%s'", cli->args[0]);
    return sk_err_fix(err, "'skerry help control' shows its use");
}

const struct cli_command cmd_control = {
    .name = "control",
    .group = "Servers",
    .args = "status | backup FILE | restore FILE | recovery new | recover",
    .summary = "the control nodes: who leads, how they are, their state and keys",
    .text =
        "status         who leads, each control node with its member of etcd (version, space, how "
        "far it is behind, alarms),\n"
        "               the round trips between them, and how long what takes when a site is lost, "
        "with the leader in it\n"
        "               and without; any control node answers\n"
        "backup FILE    the state as of one moment and this control node's keys, as one file that "
        "the recovery code alone\n"
        "               opens; what runs on servers is not in it\n"
        "restore FILE   makes this server, whose data folder holds none, the one control node of a "
        "backup. Nodes that reach\n"
        "               it go on; what was applied after the backup is not known any more: apply "
        "it again\n"
        "recovery new   another recovery code; backups of before open by the former one alone\n"
        "recover        opens the keys of this control folder by the code, when the other control "
        "nodes are lost for good,\n"
        "               and makes it the only one; its daemon must not run\n\n"
        "The code is read from standard input or from --code-file, never from the command line, "
        "where every user of this\n"
        "machine could see it.",
    .examples = "  skerry control status\n"
                "  skerry control backup /root/skerry.backup\n"
                "  skerry control restore skerry.backup --address 203.0.113.9 < code\n"
                "  skerry control recover --code-file code\n",
    .options = control_options,
    .noptions = SK_ARRAY_LEN(control_options),
    .min_args = 1,
    .max_args = 2,
    .speaks_api = true,
    .run = run_control,
};
