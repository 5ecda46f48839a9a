/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SK_CLI_TABLE_H
#define SK_CLI_TABLE_H

#include "base/buf.h"
#include "base/str.h"
#include "cli/cli.h"

/*
 * Tables for people, on libsmartcols: widths by UTF-8, control bytes escaped (a service's name
 * cannot write to the terminal), wrapped to the terminal's width, 100 columns when standard output
 * is no terminal.
 */
struct cli_table;

/* CLI_COL_WRAP: breaks between words when the row would be wider than the terminal. */
enum cli_col_flags { CLI_COL_RIGHT = 1, CLI_COL_WRAP = 2 };

struct cli_table *cli_table_new(const struct cli *cli);
void cli_table_col(struct cli_table *table, const char *heading, unsigned flags);
void cli_table_row(struct cli_table *table);                      /* begins a row */
void cli_table_cell(struct cli_table *table, struct sk_str text); /* the next cell; copied */
void cli_table_cellf(struct cli_table *table, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
void cli_table_bad(
    struct cli_table *table); /* colours the last cell as a problem (on a terminal only) */
void cli_table_add_to(struct cli_table *table, struct sk_buf *out); /* appends the drawn table */
void cli_table_free(struct cli_table *table);

#endif
