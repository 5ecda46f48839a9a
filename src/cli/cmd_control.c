/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "base/mem.h"
#include "cli/commands.h"
#include "cli/control_keys.h"
#include "cli/control_seats.h"
#include "cli/control_status.h"

/* `skerry control VERB`: the control nodes themselves. */

static const struct cli_option control_options[] = {
    {"members", "N", "grow: how many control nodes, 3 (default) or 5", false},
    {"etcd", "URL", "grow: over an etcd of your own; may be repeated", true},
    {"etcd-ca", "FILE", "grow: whom to believe there", false},
    {"etcd-cert", "FILE", "grow: this cluster's certificate for it", false},
    {"etcd-key", "FILE", "grow: and its key", false},
    {"to", "NODE", "shrink: who stays (default: who leads)", false},
    {"with", "NODE", "replace: who comes (default: chosen)", false},
    {"no-wait", NULL, "grow, shrink, replace: do not follow it to its end", false},
    {"offline", NULL, "backup: from the folder of --data, without its daemon", false},
    {"code-file", "FILE", "restore, recover: file with the recovery code (default: standard input)",
     false},
    {"address", "HOST", "restore: where other servers reach this one (default: as before)", false},
    {"listen", "IP", "restore: the address that its ports listen on (default: as before)", false},
};

static const struct {
    const char *name;
    size_t args, args_max; /* after the verb */
    const char *usage;
    cli_run_fn *run;
} verbs[] = {
    {"status", 0, 0, "skerry control status", control_status},
    {"grow", 0, 4, "skerry control grow [NODE...] [--members N]", control_grow},
    {"shrink", 0, 0, "skerry control shrink [--to NODE]", control_shrink},
    {"replace", 1, 1, "skerry control replace NODE [--with NODE]", control_replace},
    {"abort", 0, 0, "skerry control abort", control_abort},
    {"seats", 0, 0, "skerry control seats", control_seats},
    {"backup", 1, 1, "skerry control backup FILE", control_backup},
    {"restore", 1, 1, "skerry control restore FILE", control_restore},
    {"recovery", 1, 1, "skerry control recovery new", control_recovery},
    {"recover", 0, 0, "skerry control recover", control_recover},
};

static int run_control(struct cli *cli, struct sk_err *err)
{
    for (size_t i = 0; i < SK_ARRAY_LEN(verbs); i++) {
        if (strcmp(cli->args[0], verbs[i].name) != 0) {
            continue;
        }
        if (cli->nargs - 1 < verbs[i].args || cli->nargs - 1 > verbs[i].args_max) {
            (void)sk_err_set(err, SK_ERR_USAGE, "'skerry control %s' takes %s%zu argument%s",
                             verbs[i].name, verbs[i].args < verbs[i].args_max ? "up to " : "",
                             verbs[i].args_max, verbs[i].args_max == 1 ? "" : "s");
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
    .args = "status | grow [NODE...] | shrink | replace NODE | abort | seats | backup FILE | "
            "restore FILE | recovery new | recover",
    .summary = "the control nodes: who leads, how many and how they are, their state and keys",
    .text =
        "status         who leads, each control node with its member of etcd (version, space, how "
        "far it is behind, alarms),\n"
        "               the round trips between them, and how long what takes when a site is lost, "
        "with the leader in it\n"
        "               and without; any control node answers\n"
        "grow           three (or five) control nodes in different sites in place of one: then the "
        "loss of any one site takes\n"
        "               no control with it. The state moves from SQLite into an etcd that skerry "
        "runs on them; running\n"
        "               work, traffic and beats go on. What is killed in the middle goes on, or is "
        "undone. The command\n"
        "               follows it and may be ended: it goes on\n"
        "shrink         back to one\n"
        "replace NODE   another node in the place of one, also of one that is gone for good\n"
        "abort          gives up what has not taken place yet\n"
        "seats          who the control nodes are, and what is being done to them\n"
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
                "  skerry control grow\n"
                "  skerry control grow ams-1 par-1\n"
                "  skerry control replace par-1 --with par-2\n"
                "  skerry control backup /root/skerry.backup\n"
                "  skerry control restore skerry.backup --address 203.0.113.9 < code\n"
                "  skerry control recover --code-file code\n",
    .options = control_options,
    .noptions = SK_ARRAY_LEN(control_options),
    .min_args = 1,
    .max_args = 5,
    .speaks_api = true,
    .run = run_control,
};
