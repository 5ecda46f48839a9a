/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/plan_text.h"

#include <math.h>

#include "base/mem.h"
#include "base/units.h"
#include "cli/table.h"

#define ROWS_MAX 10
#define MOVES_MAX 4

/* One service's placements are neighbours in plan->placements: [from, to). */
struct group {
    size_t from, to;
};

static struct group group_at(const struct plan *plan, size_t from)
{
    size_t to = from + 1;
    while (to < plan->nplacements &&
           sk_str_eq(plan->placements[to].project, plan->placements[from].project) &&
           sk_str_eq(plan->placements[to].service, plan->placements[from].service)) {
        to++;
    }
    return (struct group){from, to};
}

static int64_t replicas_of(const struct plan *plan, struct sk_str project, struct sk_str service)
{
    int64_t n = 0;
    for (size_t i = 0; i < plan->nplacements; i++) {
        if (sk_str_eq(plan->placements[i].project, project) &&
            sk_str_eq(plan->placements[i].service, service)) {
            n++;
        }
    }
    return n;
}

/* "fra 2, ams 2, par 2", sites in order of their names. */
static void add_sites(const struct plan_placement *rows, size_t n, struct sk_buf *out)
{
    bool *done = sk_xcalloc(n, sizeof(*done));

    for (;;) {
        size_t first = n;
        int64_t count = 0;
        for (size_t i = 0; i < n; i++) {
            if (!done[i] && (first == n || sk_str_cmp(rows[i].site, rows[first].site) < 0)) {
                first = i;
            }
        }
        if (first == n) {
            break;
        }
        for (size_t i = 0; i < n; i++) {
            if (sk_str_eq(rows[i].site, rows[first].site)) {
                done[i] = true;
                count++;
            }
        }
        sk_buf_printf(out, "%s%.*s %lld", out->len ? ", " : "", SK_PRI(rows[first].site),
                      (long long)count);
    }
    free(done);
}

static const struct plan_placement *placed(const struct plan *plan,
                                           const struct plan_placement *row)
{
    size_t lo = 0, hi = plan ? plan->nplacements : 0;

    while (lo < hi) {
        size_t mid = (lo + hi) / 2;
        const struct plan_placement *p = &plan->placements[mid];
        int c = sk_str_cmp(p->project, row->project);
        c = c ? c : sk_str_cmp(p->service, row->service);
        c = c ? c : (p->replica > row->replica) - (p->replica < row->replica);
        if (c == 0) {
            return p;
        }
        if (c < 0) {
            lo = mid + 1;
        } else {
            hi = mid;
        }
    }
    return NULL;
}

static void format_change(const struct plan *plan, const struct plan *current, struct group g,
                          struct sk_buf *out)
{
    int64_t added = 0, moved = 0;

    for (size_t i = g.from; i < g.to; i++) {
        const struct plan_placement *before = placed(current, &plan->placements[i]);
        if (!before) {
            added++;
        } else if (!sk_str_eq(before->node, plan->placements[i].node)) {
            moved++;
        }
    }
    if (added) {
        sk_buf_printf(out, "+%lld", (long long)added);
    }
    if (moved) {
        sk_buf_printf(out, "%s~%lld moved", added ? ", " : "", (long long)moved);
    }
    if (!added && !moved) {
        sk_buf_adds(out, "=");
    }
}

static const struct plan_latency *latency_of(const struct plan_latency *rows, size_t n,
                                             struct sk_str project, struct sk_str service)
{
    for (size_t i = 0; i < n; i++) {
        if (sk_str_eq(rows[i].project, project) && sk_str_eq(rows[i].service, service)) {
            return &rows[i];
        }
    }
    return NULL;
}

static void text_services(const struct cli *cli, const struct plan *plan,
                          const struct plan *current, bool all, struct sk_buf *out)
{
    struct cli_table *table = cli_table_new(cli);
    struct sk_buf cell = SK_BUF_INIT;
    size_t rows = 0, skipped = 0;

    cli_table_col(table, "SERVICE", 0);
    cli_table_col(table, "REPLICAS", CLI_COL_RIGHT);
    cli_table_col(table, "CHANGE", 0);
    cli_table_col(table, "USERS WITHIN", CLI_COL_RIGHT);
    cli_table_col(table, "SITES", CLI_COL_WRAP);
    for (size_t i = 0; i < plan->nplacements;) {
        struct group g = group_at(plan, i);
        const struct plan_placement *p = &plan->placements[i];
        const struct plan_latency *l =
            latency_of(plan->latency, plan->nlatency, p->project, p->service);
        i = g.to;
        sk_buf_clear(&cell);
        format_change(plan, current, g, &cell);
        if (!all && (rows >= ROWS_MAX || (current && sk_str_is(sk_buf_str(&cell), "=")))) {
            skipped++;
            continue;
        }
        rows++;
        cli_table_row(table);
        cli_table_cellf(table, "%.*s/%.*s", SK_PRI(p->project), SK_PRI(p->service));
        cli_table_cellf(table, "%zu", g.to - g.from);
        cli_table_cell(table, sk_buf_str(&cell));
        if (l && l->ms.known) {
            cli_table_cellf(table, "%.4g ms", l->ms.value);
        } else {
            cli_table_cellf(table, "%s", l ? "unserved" : "-");
        }
        sk_buf_clear(&cell);
        add_sites(&plan->placements[g.from], g.to - g.from, &cell);
        cli_table_cell(table, sk_buf_str(&cell));
    }
    if (rows) {
        cli_table_add_to(table, out);
    }
    if (skipped) {
        sk_buf_printf(out, "%zu more services%s; --all shows them\n", skipped,
                      current ? " (unchanged, or beyond this list)" : "");
    }
    sk_buf_release(&cell);
    cli_table_free(table);
}

static void text_gone(const struct plan *plan, const struct plan *current, struct sk_buf *out)
{
    size_t shown = 0, gone = 0;

    for (size_t i = 0; current && i < current->nplacements; i++) {
        const struct plan_placement *p = &current->placements[i];
        if (placed(plan, p)) {
            continue;
        }
        if (shown++ < MOVES_MAX) {
            sk_buf_printf(out, "- %.*s/%.*s #%lld is removed from %.*s\n", SK_PRI(p->project),
                          SK_PRI(p->service), (long long)p->replica, SK_PRI(p->node));
        }
        gone++;
    }
    if (gone > MOVES_MAX) {
        sk_buf_printf(out, "- and %zu more are removed\n", gone - MOVES_MAX);
    }
    for (size_t i = 0; i < plan->nmoves && i < MOVES_MAX; i++) {
        const struct plan_move *m = &plan->moves[i];
        sk_buf_printf(out, "~ %.*s/%.*s #%lld moves %.*s -> %.*s%s%.*s\n", SK_PRI(m->project),
                      SK_PRI(m->service), (long long)m->replica, SK_PRI(m->from), SK_PRI(m->to),
                      m->why.len ? ": " : "", SK_PRI(m->why));
    }
    if (plan->nmoves > MOVES_MAX) {
        sk_buf_printf(out, "~ and %zu more moves\n", plan->nmoves - MOVES_MAX);
    }
}

static void join(const struct sk_str *names, size_t n, struct sk_buf *out)
{
    for (size_t i = 0; i < n; i++) {
        sk_buf_printf(out, "%s%.*s", i ? "+" : "", SK_PRI(names[i]));
    }
}

#define IN_CELL_MAX 3 /* services or sites that a cell names */

static void cell_kept(const struct plan *plan, const struct plan_loss *loss, struct sk_buf *cell)
{
    bool many = loss->nkept > IN_CELL_MAX;

    if (many) {
        sk_buf_printf(cell, "%zu hit, as ", loss->nkept);
    }
    for (size_t i = 0; i < (many ? 1 : loss->nkept); i++) {
        sk_buf_printf(cell, "%s%.*s %lld of %lld", i ? ", " : "", SK_PRI(loss->kept[i].service),
                      (long long)loss->kept[i].count,
                      (long long)replicas_of(plan, loss->kept[i].project, loss->kept[i].service));
    }
    if (loss->nkept == 0) {
        sk_buf_adds(cell, "all");
    }
}

static size_t sites_in(const struct plan_placement *rows, size_t n)
{
    size_t sites = 0;

    for (size_t i = 0; i < n && sites <= IN_CELL_MAX; i++) {
        bool seen = false;
        for (size_t k = 0; k < i && !seen; k++) {
            seen = sk_str_eq(rows[k].site, rows[i].site);
        }
        sites += !seen;
    }
    return sites;
}

static bool cell_replaced(const struct plan_loss *loss, struct sk_buf *cell)
{
    if (sites_in(loss->replaced, loss->nreplaced) > IN_CELL_MAX) {
        sk_buf_printf(cell, "%zu over other sites", loss->nreplaced);
    } else {
        add_sites(loss->replaced, loss->nreplaced, cell);
    }
    for (size_t i = 0; i < loss->nshorts && i < IN_CELL_MAX; i++) {
        const struct plan_short *s = &loss->shorts[i];
        sk_buf_printf(cell, "%s%lld of %.*s SHORT (%.*s)", cell->len ? ", " : "",
                      (long long)s->replicas, SK_PRI(s->service), SK_PRI(s->resource));
    }
    if (loss->nshorts > IN_CELL_MAX) {
        sk_buf_printf(cell, " and %zu more services SHORT", loss->nshorts - IN_CELL_MAX);
    }
    if (cell->len == 0) {
        sk_buf_adds(cell, "nothing to re-place");
    }
    return loss->nshorts > 0;
}

static void cell_latency(const struct plan_loss *loss, struct sk_buf *cell)
{
    double at_once = -1, after = -1;

    for (size_t i = 0; i < loss->nlatency; i++) {
        if (loss->latency[i].ms_at_once.known) {
            at_once = fmax(at_once, loss->latency[i].ms_at_once.value);
        }
        if (loss->latency[i].ms.known) {
            after = fmax(after, loss->latency[i].ms.value);
        }
    }
    if (loss->nlatency == 0) {
        sk_buf_adds(cell, "-");
        return;
    }
    if (at_once >= 0 && at_once == after) {
        sk_buf_printf(cell, "%.4g ms", after);
        return;
    }
    if (at_once < 0) {
        sk_buf_adds(cell, "none, then ");
    } else {
        sk_buf_printf(cell, "%.4g, then ", at_once);
    }
    if (after < 0) {
        sk_buf_adds(cell, "none");
    } else {
        sk_buf_printf(cell, "%.4g ms", after);
    }
}

static void text_losses(const struct cli *cli, const struct plan *plan, bool all,
                        struct sk_buf *out)
{
    struct cli_table *table = cli_table_new(cli);
    struct sk_buf cell = SK_BUF_INIT;
    size_t shown = 0;

    cli_table_col(table, "IF LOST", 0);
    cli_table_col(table, "OK", 0);
    cli_table_col(table, "KEPT AT ONCE", CLI_COL_WRAP);
    cli_table_col(table, "RE-PLACED", CLI_COL_WRAP);
    cli_table_col(table, "USERS WITHIN", 0);
    cli_table_col(table, "COST/H", CLI_COL_RIGHT);
    cli_table_col(table, "CONTROL", 0);
    for (size_t i = 0; i < plan->nlosses; i++) {
        const struct plan_loss *loss = &plan->losses[i];
        bool is_short;
        if (!all && loss->ok && shown >= ROWS_MAX) {
            continue;
        }
        shown++;
        cli_table_row(table);
        sk_buf_clear(&cell);
        join(loss->lost, loss->nlost, &cell);
        cli_table_cell(table, sk_buf_str(&cell));
        cli_table_cellf(table, "%s", loss->ok ? "yes" : "NO");
        if (!loss->ok) {
            cli_table_bad(table);
        }
        sk_buf_clear(&cell);
        cell_kept(plan, loss, &cell);
        cli_table_cell(table, sk_buf_str(&cell));
        sk_buf_clear(&cell);
        is_short = cell_replaced(loss, &cell);
        cli_table_cell(table, sk_buf_str(&cell));
        if (is_short) {
            cli_table_bad(table);
        }
        sk_buf_clear(&cell);
        cell_latency(loss, &cell);
        cli_table_cell(table, sk_buf_str(&cell));
        if (loss->added_cost_hour.known) {
            cli_table_cellf(table, "%+.4f", loss->added_cost_hour.value);
        } else {
            cli_table_cellf(table, "?");
        }
        cli_table_cellf(table, "%s", loss->control_kept ? "kept" : "lost");
    }
    sk_buf_addc(out, '\n');
    cli_table_add_to(table, out);
    if (shown < plan->nlosses) {
        sk_buf_printf(out, "%zu more losses, all survived; --all shows them\n",
                      plan->nlosses - shown);
    }
    sk_buf_release(&cell);
    cli_table_free(table);
}

static void text_buckets(const struct cli *cli, const struct plan *plan, struct sk_buf *out)
{
    struct cli_table *table;
    struct sk_buf cell = SK_BUF_INIT;

    if (plan->nbuckets == 0) {
        return;
    }
    table = cli_table_new(cli);
    cli_table_col(table, "BUCKET", 0);
    cli_table_col(table, "CODE", 0);
    cli_table_col(table, "SHARDS", CLI_COL_WRAP);
    for (size_t i = 0; i < plan->nbuckets; i++) {
        const struct plan_bucket *b = &plan->buckets[i];
        sk_buf_clear(&cell);
        for (size_t k = 0; k < b->nshards; k++) {
            sk_buf_printf(&cell, "%s%.*s %lld", k ? ", " : "", SK_PRI(b->shards[k].site),
                          (long long)b->shards[k].count);
        }
        cli_table_row(table);
        cli_table_cellf(table, "%.*s/%.*s", SK_PRI(b->project), SK_PRI(b->bucket));
        cli_table_cellf(table, "%lld+%lld", (long long)b->data, (long long)b->parity);
        cli_table_cell(table, sk_buf_str(&cell));
    }
    sk_buf_addc(out, '\n');
    cli_table_add_to(table, out);
    sk_buf_release(&cell);
    cli_table_free(table);
}

static void text_cost(const struct plan *plan, struct sk_buf *out)
{
    const struct plan_cost *c = &plan->cost;

    sk_buf_adds(out, "\ncost: ");
    if (c->month.known) {
        sk_format_money(out, c->month.value, c->currency);
        sk_buf_adds(out, " a month (allocated)");
        if (c->gap.known) {
            sk_buf_adds(out, ", ");
            if (c->gap.value >= 0.00005) {
                sk_buf_printf(out, "at most %.2f %% above ", c->gap.value * 100);
            }
            sk_buf_adds(out, "the cheapest possible");
        }
    } else {
        sk_buf_adds(out, "unknown (a price is missing)");
    }
    if (c->servers_hour.known) {
        sk_buf_adds(out, "\nservers: ");
        sk_format_money(out, c->servers_hour.value * 730, c->currency);
        sk_buf_adds(out, " a month for the whole servers in use");
    }
    if (c->nidle) {
        sk_buf_printf(out, "; %zu idle (%.*s%s)", c->nidle, SK_PRI(c->idle[0]),
                      c->nidle > 1 ? ", ..." : "");
    }
    sk_buf_addc(out, '\n');
}

static void text_verdict(const struct plan *plan, struct sk_buf *out)
{
    size_t survived = 0;

    for (size_t i = 0; i < plan->nlosses; i++) {
        survived += plan->losses[i].nshorts == 0 && plan->losses[i].ok;
    }
    sk_buf_printf(out, "plan %.*s: ", PLAN_ID_SHOWN, plan->id);
    switch (plan->verdict) {
    case PLAN_OK:
        sk_buf_printf(out, "ok, %zu of %zu losses leave nothing short\n", survived, plan->nlosses);
        break;
    case PLAN_IMPOSSIBLE:
        sk_buf_adds(out, "IMPOSSIBLE, proven; what is shown is the best effort\n");
        break;
    case PLAN_NOT_FOUND:
        sk_buf_adds(out,
                    "NOT FOUND, and not proven impossible; what is shown is the best effort\n");
        break;
    }
}

void plan_text(const struct cli *cli, const struct plan *plan, const struct plan *current, bool all,
               struct sk_buf *out)
{
    text_services(cli, plan, current, all, out);
    text_gone(plan, current, out);
    text_buckets(cli, plan, out);
    if (plan->nlosses) {
        text_losses(cli, plan, all, out);
    }
    text_cost(plan, out);
    plan_text_problems(plan, out);
    text_verdict(plan, out);
}

void plan_show(const struct cli *cli, const struct plan *plan, const struct plan *current)
{
    struct sk_buf out = SK_BUF_INIT;

    if (cli->json) {
        struct sk_jw w;
        sk_jw_init(&w, &out);
        plan_write_json(plan, &w);
        sk_buf_addc(&out, '\n');
    } else {
        plan_text(cli, plan, current, cli_flag(cli, "all"), &out);
    }
    cli_write(sk_buf_str(&out));
    sk_buf_release(&out);
}
