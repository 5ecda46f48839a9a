/* SPDX-License-Identifier: Apache-2.0 */
#include <getopt.h>
#include <string.h>

#include "base/mem.h"
#include "cli/cli.h"

static const struct cli_option common_options[] = {
    {"json", NULL, "print JSON for programs", false},
    {"help", NULL, "say what this command does", false},
};
static const struct cli_option api_options[] = {
    {"data", "DIR",
     "the data folder of the local daemon (default $SKERRY_DATA, else /var/lib/skerry)", false},
    {"server", "HOST[:PORT]", "talk to this server's API by HTTPS instead of the local socket",
     false},
    {"ca", "FILE", "the cluster CA certificate for --server (default $SKERRY_CA)", false},
    {"token-file", "FILE", "file with the bearer token for --server (default $SKERRY_TOKEN_FILE)",
     false},
};

#define OPTIONS_MAX 48

/* All options of a command, own ones first. Returns how many. */
static size_t all_options(const struct cli_command *command,
                          const struct cli_option *out[OPTIONS_MAX])
{
    size_t n = 0;

    for (size_t i = 0; i < command->noptions; i++) {
        out[n++] = &command->options[i];
    }
    for (size_t i = 0; command->speaks_api && i < SK_ARRAY_LEN(api_options); i++) {
        out[n++] = &api_options[i];
    }
    for (size_t i = 0; i < SK_ARRAY_LEN(common_options); i++) {
        out[n++] = &common_options[i];
    }
    SK_ASSERT(n <= OPTIONS_MAX);
    return n;
}

const struct cli_command *cli_find(struct sk_str name)
{
    for (size_t i = 0; i < cli_ncommands; i++) {
        if (sk_str_is(name, cli_commands[i]->name)) {
            return cli_commands[i];
        }
    }
    return NULL;
}

const char *cli_value_at(const struct cli *cli, const char *name, size_t index)
{
    for (size_t i = 0; i < cli->nvalues; i++) {
        if (strcmp(cli->values[i].name, name) == 0 && index-- == 0) {
            return cli->values[i].value;
        }
    }
    return NULL;
}

const char *cli_value(const struct cli *cli, const char *name)
{
    const char *found = NULL;
    for (size_t i = 0; i < cli->nvalues; i++) {
        if (strcmp(cli->values[i].name, name) == 0) {
            found = cli->values[i].value;
        }
    }
    return found;
}

const char *cli_data_dir(const struct cli *cli)
{
    const char *dir = cli_value(cli, "data");

    if (!dir) {
        dir = getenv("SKERRY_DATA");
    }
    return dir && *dir ? dir : "/var/lib/skerry";
}

bool cli_flag(const struct cli *cli, const char *name)
{
    return cli_value(cli, name) != NULL;
}

static int unknown_command(const char *name, struct sk_err *err)
{
    const char *nearest = NULL;
    unsigned best = 3;

    for (size_t i = 0; i < cli_ncommands; i++) {
        unsigned d = sk_str_distance(sk_str(name), sk_str(cli_commands[i]->name), 2);
        if (cli_commands[i]->group && d < best) {
            best = d;
            nearest = cli_commands[i]->name;
        }
    }
    (void)sk_err_set(err, SK_ERR_USAGE, "unknown command '%s'", name);
    if (nearest) {
        return sk_err_fix(err, "did you mean 'skerry %s'?", nearest);
    }
    return sk_err_fix(err, "'skerry help' lists the commands");
}

static int unknown_option(const struct cli *cli, const char *given, struct sk_err *err)
{
    const struct cli_option *options[OPTIONS_MAX];
    size_t n = all_options(cli->command, options);
    struct sk_str name, rest;
    const char *nearest = NULL;
    unsigned best = 4;

    (void)sk_str_cut(sk_str(given), '=', &name, &rest);
    while (name.len && name.ptr[0] == '-') {
        name.ptr++;
        name.len--;
    }
    for (size_t i = 0; i < n; i++) {
        unsigned d = sk_str_distance(name, sk_str(options[i]->name), 3);
        if (d < best) {
            best = d;
            nearest = options[i]->name;
        }
    }
    (void)sk_err_set(err, SK_ERR_USAGE, "'skerry %s' has no option '%s'", cli->command->name,
                     given);
    if (nearest) {
        return sk_err_fix(err, "did you mean '--%s'?", nearest);
    }
    return sk_err_fix(err, "'skerry help %s' lists its options", cli->command->name);
}

static int take_option(struct cli *cli, const struct cli_option *option, const char *value,
                       struct sk_err *err)
{
    if (!option->repeat && cli_value(cli, option->name)) {
        return sk_err_set(err, SK_ERR_USAGE, "option '--%s' is given twice", option->name);
    }
    if (cli->nvalues == CLI_VALUES_MAX) {
        return sk_err_set(err, SK_ERR_USAGE, "more than %d options", CLI_VALUES_MAX);
    }
    cli->values[cli->nvalues].name = option->name;
    cli->values[cli->nvalues].value = value ? value : "";
    cli->nvalues++;
    return 0;
}

static int check_args(const struct cli *cli, struct sk_err *err)
{
    const struct cli_command *command = cli->command;

    if (cli->nargs < command->min_args) {
        (void)sk_err_set(err, SK_ERR_USAGE, "'skerry %s' needs %s", command->name, command->args);
        return sk_err_fix(err, "skerry %s %s", command->name, command->args);
    }
    if (cli->nargs > command->max_args) {
        (void)sk_err_set(err, SK_ERR_USAGE, "'skerry %s' takes no argument '%s'", command->name,
                         cli->args[command->max_args]);
        return sk_err_fix(err, "'skerry help %s' shows its use", command->name);
    }
    return 0;
}

/* argv[0] is the command's name. getopt moves the positional arguments to the end of `argv`, hence
 * not const. */
static int parse_command(struct cli *cli, int argc, char **argv, struct sk_err *err)
{
    const struct cli_option *options[OPTIONS_MAX];
    struct option longopts[OPTIONS_MAX + 1];
    size_t n = all_options(cli->command, options);

    memset(longopts, 0, sizeof(longopts));
    for (size_t i = 0; i < n; i++) {
        longopts[i].name = options[i]->name;
        longopts[i].has_arg = options[i]->arg ? required_argument : no_argument;
        longopts[i].val = 0;
    }
    opterr = 0;
    optind = 0; /* glibc: start over */
    for (;;) {
        int index = -1;
        int at = optind ? optind : 1;
        int c = getopt_long(argc, argv, ":", longopts, &index);
        if (c == -1) {
            break;
        }
        if (c == ':') {
            return sk_err_set(err, SK_ERR_USAGE, "option '%s' needs a value", argv[optind - 1]);
        }
        if (c == '?' || index < 0) {
            const char *given = argv[optind - 1];
            return unknown_option(cli, given[0] == '-' ? given : argv[at], err);
        }
        if (take_option(cli, options[index], optarg, err) < 0) {
            return err->code;
        }
    }
    cli->args = (const char *const *)(argv + optind);
    cli->nargs = (size_t)(argc - optind);
    cli->json = cli_flag(cli, "json");
    return cli_flag(cli, "help") ? 0 : check_args(cli, err);
}

int cli_parse(struct cli *cli, int argc, char **argv, struct sk_err *err)
{
    if (argc < 2) {
        cli->command = cli_find(SK_STR("help"));
        return 0;
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) {
        cli->command = cli_find(SK_STR("help"));
        return 0;
    }
    if (strcmp(argv[1], "--version") == 0) {
        cli->command = cli_find(SK_STR("version"));
        return 0;
    }
    cli->command = cli_find(sk_str(argv[1]));
    if (!cli->command) {
        return unknown_command(argv[1], err);
    }
    return parse_command(cli, argc - 1, argv + 1, err);
}

static void help_options(const struct cli_command *command, struct sk_buf *out)
{
    const struct cli_option *options[OPTIONS_MAX];
    size_t n = all_options(command, options);

    sk_buf_adds(out, "\nOptions\n");
    for (size_t i = 0; i < n; i++) {
        char left[64];
        (void)snprintf(left, sizeof(left), "--%s%s%s", options[i]->name, options[i]->arg ? " " : "",
                       options[i]->arg ? options[i]->arg : "");
        sk_buf_printf(out, "  %-26s %s\n", left, options[i]->help);
    }
}

static void help_overview(struct sk_buf *out)
{
    const char *group = NULL;

    sk_buf_adds(out, "skerry: servers in several places as one dependable infrastructure\n\n"
                     "usage: skerry COMMAND [OPTION...] [ARGUMENT...]\n");
    for (size_t i = 0; i < cli_ncommands; i++) {
        const struct cli_command *c = cli_commands[i];
        if (!c->group) {
            continue;
        }
        if (!group || strcmp(group, c->group) != 0) {
            group = c->group;
            sk_buf_printf(out, "\n%s\n", group);
        }
        sk_buf_printf(out, "  %-11s %s\n", c->name, c->summary);
    }
    sk_buf_adds(out,
                "\n'skerry help COMMAND' says more. Every command that prints also takes --json.\n"
                "Exit status: 0 done, 1 failed, 2 usage or bad input, 3 a policy cannot be met.\n");
}

void cli_help(const struct cli_command *command, struct sk_buf *out)
{
    if (!command) {
        help_overview(out);
        return;
    }
    sk_buf_printf(out, "skerry %s: %s\n\nusage: skerry %s [OPTION...] %s\n\n%s\n", command->name,
                  command->summary, command->name, command->args, command->text);
    help_options(command, out);
    if (command->examples && *command->examples) {
        sk_buf_printf(out, "\nExamples\n%s", command->examples);
    }
}

/* Text that is set in columns stays as it is; else no line may pass for one of scdoc's own. */
static void man_text(const char *text, struct sk_buf *out)
{
    if (strstr(text, "\n ")) {
        sk_buf_printf(out, "```\n%s\n```", text);
        return;
    }
    for (const char *line = text; *line;) {
        size_t len = strcspn(line, "\n");
        if (strchr("-.#|[", *line)) {
            sk_buf_addc(out, '\\');
        }
        sk_buf_add(out, line, len);
        line += len;
        while (*line == '\n') {
            sk_buf_addc(out, *line++);
        }
    }
}

void cli_man(const struct cli_command *command, struct sk_buf *out)
{
    const struct cli_option *options[OPTIONS_MAX];
    size_t n = all_options(command, options);

    sk_buf_printf(out, "skerry-%s(1) \"\" \"Skerry\"\n\n# NAME\n\nskerry-%s - %s\n\n# SYNOPSIS\n\n",
                  command->name, command->name, command->summary);
    sk_buf_printf(out, "*skerry %s* [_OPTION_...]", command->name);
    if (*command->args) {
        sk_buf_printf(out, " _%s_", command->args);
    }
    sk_buf_adds(out, "\n\n# DESCRIPTION\n\n");
    man_text(command->text, out);
    sk_buf_adds(out, "\n\n# OPTIONS\n\n");
    for (size_t i = 0; i < n; i++) {
        sk_buf_printf(out, "*--%s*", options[i]->name);
        if (options[i]->arg) {
            sk_buf_printf(out, " _%s_", options[i]->arg);
        }
        sk_buf_printf(out, "\n\t%s\n\n", options[i]->help);
    }
    if (command->examples && *command->examples) {
        sk_buf_printf(out, "# EXAMPLES\n\n```\n%s```\n\n", command->examples);
    }
    sk_buf_adds(
        out,
        "# EXIT STATUS\n\n0 done, 1 failed, 2 usage or bad input, 3 a policy cannot be met.\n\n"
        "# SEE ALSO\n\n*skerry*(1)\n");
}

void cli_completion_bash(struct sk_buf *out)
{
    sk_buf_adds(out, "# bash completion for skerry; source it or put it in "
                     "/usr/share/bash-completion/completions\n"
                     "_skerry() {\n    local cur=${COMP_WORDS[COMP_CWORD]}\n    if [ "
                     "\"$COMP_CWORD\" = 1 ]; then\n"
                     "        COMPREPLY=($(compgen -W \"");
    for (size_t i = 0; i < cli_ncommands; i++) {
        if (cli_commands[i]->group) {
            sk_buf_printf(out, "%s ", cli_commands[i]->name);
        }
    }
    sk_buf_adds(out,
                "\" -- \"$cur\"))\n        return\n    fi\n    case \"${COMP_WORDS[1]}\" in\n");
    for (size_t i = 0; i < cli_ncommands; i++) {
        const struct cli_option *options[OPTIONS_MAX];
        size_t n = all_options(cli_commands[i], options);
        if (!cli_commands[i]->group) {
            continue;
        }
        sk_buf_printf(out, "    %s) words=\"", cli_commands[i]->name);
        for (size_t k = 0; k < n; k++) {
            sk_buf_printf(out, "--%s ", options[k]->name);
        }
        sk_buf_adds(out, "\" ;;\n");
    }
    sk_buf_adds(out, "    *) words=\"\" ;;\n    esac\n    if [[ $cur == -* ]]; then\n"
                     "        COMPREPLY=($(compgen -W \"$words\" -- \"$cur\"))\n    else\n"
                     "        COMPREPLY=($(compgen -f -- \"$cur\"))\n    fi\n}\n"
                     "complete -o filenames -F _skerry skerry\n");
}
