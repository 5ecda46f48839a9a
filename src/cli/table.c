/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/table.h"

#include <libsmartcols.h>
#include <stdarg.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/mem.h"

#define COLUMNS_MAX 16
#define WIDTH_DEFAULT 100
#define WRAP_WIDTH 26 /* of a cell that is broken between words */

struct cli_table {
    struct libscols_table *scols;
    struct libscols_line *line;
    size_t cell;
    size_t ncols;
    bool color;
    bool wraps[COLUMNS_MAX];
};

static size_t terminal_width(void)
{
    struct winsize size;
    if (isatty(STDOUT_FILENO) && ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0) {
        return size.ws_col;
    }
    return WIDTH_DEFAULT;
}

struct cli_table *cli_table_new(const struct cli *cli)
{
    struct cli_table *table = sk_xcalloc(1, sizeof(*table));

    scols_init_debug(0);
    table->scols = scols_new_table();
    SK_ASSERT(table->scols);
    table->color = cli->color;
    (void)scols_table_set_column_separator(table->scols, "  ");
    (void)scols_table_set_termforce(table->scols, SCOLS_TERMFORCE_ALWAYS);
    (void)scols_table_set_termwidth(table->scols, terminal_width());
    (void)scols_table_enable_colors(table->scols, cli->color);
    return table;
}

void cli_table_free(struct cli_table *table)
{
    if (table) {
        scols_unref_table(table->scols);
        free(table);
    }
}

void cli_table_col(struct cli_table *table, const char *heading, unsigned flags)
{
    struct libscols_column *column;
    int f = 0;

    SK_ASSERT(table->ncols < COLUMNS_MAX);
    if (flags & CLI_COL_RIGHT) {
        f |= SCOLS_FL_RIGHT;
    }
    if (flags & CLI_COL_WRAP) {
        f |= SCOLS_FL_WRAP;
    }
    column = scols_table_new_column(table->scols, heading, 0, f);
    SK_ASSERT(column);
    if (flags & CLI_COL_WRAP) {
        (void)scols_column_set_safechars(column, "\n");
        (void)scols_column_set_wrapfunc(column, scols_wrapnl_chunksize, scols_wrapnl_nextchunk,
                                        NULL);
        table->wraps[table->ncols] = true;
    }
    table->ncols++;
}

void cli_table_row(struct cli_table *table)
{
    table->line = scols_table_new_line(table->scols, NULL);
    SK_ASSERT(table->line);
    table->cell = 0;
}

/* Turns spaces into line ends, so that no line is longer than WRAP_WIDTH unless a word is; line
 * ends of the text itself become spaces first: a name cannot draw rows. */
static void wrap_words(char *text)
{
    char *line = text, *space = NULL;

    for (char *p = text; *p; p++) {
        if (*p == '\n' || *p == ' ') {
            *p = ' ';
            space = p;
        }
        if (space && p - line >= WRAP_WIDTH) {
            *space = '\n';
            line = space + 1;
            space = NULL;
        }
    }
}

void cli_table_cell(struct cli_table *table, struct sk_str text)
{
    char *copy = sk_xstrndup(text.ptr ? text.ptr : "", text.len);

    SK_ASSERT(table->cell < table->ncols);
    if (table->wraps[table->cell]) {
        wrap_words(copy);
    }
    SK_ASSERT(scols_line_refer_data(table->line, table->cell, copy) == 0); /* the table frees it */
    table->cell++;
}

void cli_table_cellf(struct cli_table *table, const char *fmt, ...)
{
    char text[512];
    va_list ap;

    va_start(ap, fmt);
    (void)vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    cli_table_cell(table, sk_str(text));
}

void cli_table_bad(struct cli_table *table)
{
    struct libscols_cell *cell = scols_line_get_cell(table->line, table->cell - 1);
    if (table->color && cell) {
        (void)scols_cell_set_color(cell, "red");
    }
}

void cli_table_add_to(struct cli_table *table, struct sk_buf *out)
{
    char *text = NULL;

    if (scols_print_table_to_string(table->scols, &text) == 0 && text) {
        sk_buf_adds(out, text);
        if (out->len && out->ptr[out->len - 1] != '\n') {
            sk_buf_addc(out, '\n');
        }
    }
    free(text);
}
