/* SPDX-License-Identifier: Apache-2.0 */
#include "base/units.h"
#include "cli/plan_text.h"

#define COLUMNS_MAX 100
#define LINES_MAX 10 /* problems, and warnings */

/* Words on lines of at most COLUMNS_MAX: the first line after `start` spaces, the others after
 * `indent`. */
static void add_wrapped(struct sk_str text, int start, int indent, struct sk_buf *out)
{
    size_t column = (size_t)start;
    bool first = true;

    sk_buf_printf(out, "%*s", start, "");
    while (text.len > 0) {
        size_t word = 0;
        while (word < text.len && text.ptr[word] != ' ') {
            word++;
        }
        if (!first && column + 1 + word > COLUMNS_MAX) {
            sk_buf_printf(out, "\n%*s", indent, "");
            column = (size_t)indent;
        } else if (!first) {
            sk_buf_addc(out, ' ');
            column++;
        }
        sk_buf_add(out, text.ptr, word);
        column += word;
        first = false;
        word += word < text.len;
        text.ptr += word;
        text.len -= word;
    }
    sk_buf_addc(out, '\n');
}

static void add_name(struct sk_str project, struct sk_str name, struct sk_buf *line)
{
    if (project.len) {
        sk_buf_printf(line, "%.*s%s%.*s: ", SK_PRI(project), name.len ? "/" : "", SK_PRI(name));
    }
}

static void add_shortfall(const struct plan *plan, const struct plan_problem *p,
                          struct sk_buf *line)
{
    double missing = p->missing.value;

    if (!p->missing.known || missing <= 0) {
        return;
    }
    sk_buf_adds(line, "; short of ");
    if (sk_str_is(p->resource, "memory") || sk_str_is(p->resource, "disk")) {
        sk_format_bytes(line, (int64_t)missing);
        sk_buf_printf(line, " of %.*s", SK_PRI(p->resource));
    } else if (sk_str_is(p->resource, "cost")) {
        sk_format_money(line, missing, plan->cost.currency);
        sk_buf_adds(line, " a month");
    } else if (sk_str_is(p->resource, "rps")) {
        sk_buf_printf(line, "%.6g requests a second", missing);
    } else {
        sk_buf_printf(line, "%.6g %.*s", missing, SK_PRI(p->resource));
    }
}

static void add_problem(const struct plan *plan, const struct plan_problem *p, struct sk_buf *out)
{
    struct sk_buf line = SK_BUF_INIT;

    sk_buf_adds(&line, "problem: ");
    add_name(p->project, p->service.len ? p->service : p->bucket, &line);
    for (size_t i = 0; i < p->nlost; i++) {
        sk_buf_printf(&line, "%s%.*s", i ? "+" : "without ", SK_PRI(p->lost[i]));
    }
    sk_buf_printf(&line, "%s%.*s", p->nlost ? ": " : "", SK_PRI(p->text));
    add_shortfall(plan, p, &line);
    sk_buf_adds(&line, p->proven ? " (proven)" : "");
    add_wrapped(sk_buf_str(&line), 0, 4, out);
    if (p->fix.len) {
        sk_buf_clear(&line);
        sk_buf_printf(&line, "fix: %.*s", SK_PRI(p->fix));
        add_wrapped(sk_buf_str(&line), 4, 9, out);
    }
    sk_buf_release(&line);
}

void plan_text_problems(const struct plan *plan, struct sk_buf *out)
{
    struct sk_buf line = SK_BUF_INIT;

    for (size_t i = 0; i < plan->nwarnings && i < LINES_MAX; i++) {
        const struct plan_warning *w = &plan->warnings[i];
        sk_buf_clear(&line);
        sk_buf_adds(&line, "warning: ");
        add_name(w->project, w->service, &line);
        sk_buf_addstr(&line, w->text);
        add_wrapped(sk_buf_str(&line), 0, 4, out);
    }
    if (plan->nwarnings > LINES_MAX) {
        sk_buf_printf(out, "and %zu more warnings; --json shows all\n",
                      plan->nwarnings - LINES_MAX);
    }
    for (size_t i = 0; i < plan->nproblems && i < LINES_MAX; i++) {
        add_problem(plan, &plan->problems[i], out);
    }
    if (plan->nproblems > LINES_MAX) {
        sk_buf_printf(out, "and %zu more problems; --json shows all\n",
                      plan->nproblems - LINES_MAX);
    }
    sk_buf_release(&line);
}
