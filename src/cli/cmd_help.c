/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "base/mem.h"
#include "base/version.h"
#include "cli/commands.h"
#include "model/project.h"

static const struct cli_option help_options[] = {
    {"man", NULL, "print the manual page's source (scdoc)", false},
    {"bash-completion", NULL, "print the completion script for bash", false},
    {"support-matrix", NULL, "print which Compose keys are planned, executed or refused", false},
};

static void help_json(struct sk_buf *out)
{
    struct sk_jw w;

    sk_jw_init(&w, out);
    sk_jw_obj(&w);
    sk_jw_kcstr(&w, "format", "skerry.help/1");
    sk_jw_key(&w, "commands");
    sk_jw_arr(&w);
    for (size_t i = 0; i < cli_ncommands; i++) {
        const struct cli_command *c = cli_commands[i];
        if (!c->group) {
            continue;
        }
        sk_jw_obj(&w);
        sk_jw_kcstr(&w, "name", c->name);
        sk_jw_kcstr(&w, "args", c->args);
        sk_jw_kcstr(&w, "summary", c->summary);
        sk_jw_key(&w, "options");
        sk_jw_arr(&w);
        for (size_t k = 0; k < c->noptions; k++) {
            sk_jw_cstr(&w, c->options[k].name);
        }
        sk_jw_arr_end(&w);
        sk_jw_obj_end(&w);
    }
    sk_jw_arr_end(&w);
    sk_jw_obj_end(&w);
    sk_buf_addc(out, '\n');
}

static int run_help(struct cli *cli, struct sk_err *err)
{
    const struct cli_command *command = NULL;
    struct sk_buf out = SK_BUF_INIT;

    if (cli->nargs) {
        command = cli_find(sk_str(cli->args[0]));
        if (!command) {
            (void)sk_err_set(err, SK_ERR_USAGE, "unknown command '%s'", cli->args[0]);
            return sk_err_fix(err, "'skerry help' lists the commands");
        }
    }
    if (cli_flag(cli, "bash-completion")) {
        cli_completion_bash(&out);
    } else if (cli_flag(cli, "support-matrix")) {
        project_support_matrix(&out);
    } else if (cli_flag(cli, "man")) {
        cli_man(command ? command : &cmd_help, &out);
    } else if (cli->json) {
        help_json(&out);
    } else {
        cli_help(command, &out);
    }
    cli_write(sk_buf_str(&out));
    sk_buf_release(&out);
    return 0;
}

const struct cli_command cmd_help = {
    .name = "help",
    .group = "More",
    .args = "[COMMAND]",
    .summary = "what a command does, with examples",
    .text = "Lists the commands, or says what one does.",
    .examples = "  skerry help plan\n",
    .options = help_options,
    .noptions = SK_ARRAY_LEN(help_options),
    .max_args = 1,
    .run = run_help,
};

static int run_version(struct cli *cli, struct sk_err *err)
{
    struct sk_buf out = SK_BUF_INIT;

    (void)err;
    if (cli->json) {
        struct sk_jw w;
        sk_jw_init(&w, &out);
        sk_jw_obj(&w);
        sk_jw_kcstr(&w, "format", "skerry.version/1");
        sk_jw_kcstr(&w, "version", sk_version());
        sk_jw_kint(&w, "protocol", sk_protocol_max());
        sk_jw_obj_end(&w);
        sk_buf_addc(&out, '\n');
    } else {
        sk_buf_printf(&out, "skerry %s\n", sk_version());
    }
    cli_write(sk_buf_str(&out));
    sk_buf_release(&out);
    return 0;
}

const struct cli_command cmd_version = {
    .name = "version",
    .group = "More",
    .args = "",
    .summary = "the version of this program",
    .text = "Prints the version of this program and of the protocol that it speaks.",
    .examples = "  skerry version --json\n",
    .run = run_version,
};
