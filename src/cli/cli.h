/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SK_CLI_CLI_H
#define SK_CLI_CLI_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/json.h"
#include "base/str.h"

/*
 * The command line: one table of commands (commands.c) from which parsing, help, completion and
 * manual pages come.
 *
 * A command's run function gets its parsed options, prints its result on standard output and
 * returns 0, or an enum sk_code with `err` filled: the caller prints that once and turns it into
 * the exit status (0 done, 1 failed, 2 usage or bad input, 3 a policy cannot be met). Talk
 * ("waiting for...") goes to standard error; data goes to standard output.
 */
struct cli_option {
    const char *name; /* long name */
    const char *arg;  /* name of its value, NULL = a flag */
    const char *help;
    bool repeat; /* may be given more than once */
};

struct cli;
typedef int cli_run_fn(struct cli *cli, struct sk_err *err);

struct cli_command {
    const char *name;
    const char *group;    /* heading in `skerry help`; NULL: hidden */
    const char *args;     /* "FILE...", "" */
    const char *summary;  /* one line */
    const char *text;     /* what it does, for help and the manual page */
    const char *examples; /* lines, each a command */
    const struct cli_option *options;
    size_t noptions;
    size_t min_args, max_args;
    bool speaks_api; /* takes --data and --server too */
    cli_run_fn *run;
};

#define CLI_VALUES_MAX 64

struct cli {
    const struct cli_command *command;
    const char *const *args; /* positional */
    size_t nargs;
    struct {
        const char *name;
        const char *value;
    } values[CLI_VALUES_MAX];
    size_t nvalues;
    bool json;
    bool color;      /* standard output is a terminal that shows colour */
    int exit_status; /* set by a command that printed its whole answer itself (verify: 3) */
};

extern const struct cli_command *const cli_commands[];
extern const size_t cli_ncommands;

const struct cli_command *cli_find(struct sk_str name);
bool cli_flag(const struct cli *cli, const char *name);
const char *cli_value(const struct cli *cli, const char *name); /* the last one given, or NULL */
/* The data folder of --data, else of $SKERRY_DATA, else /var/lib/skerry. */
const char *cli_data_dir(const struct cli *cli);
const char *cli_value_at(const struct cli *cli, const char *name, size_t index);

int cli_parse(struct cli *cli, int argc, char **argv, struct sk_err *err);
/* The exit status. Prints everything there is to print. */
int cli_main(int argc, char **argv);

void cli_help(const struct cli_command *command, struct sk_buf *out); /* NULL: the overview */
void cli_man(const struct cli_command *command, struct sk_buf *out);  /* scdoc source */
void cli_completion_bash(struct sk_buf *out);

/* "skerry: <message>" and "  fix: <fix>" on standard error; with json also
 * {"format":"skerry.error/1",...} on standard output. */
void cli_print_error(const struct cli *cli, const struct sk_err *err);
/* Writes all of it to standard output. A reader that went away (head, less) is no error. */
void cli_write(struct sk_str text);

#endif
