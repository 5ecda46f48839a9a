/* SPDX-License-Identifier: Apache-2.0 */
#include "lab/demo_view.h"

#include <string.h>

#define TICKS_A_LINE 4 /* without a terminal: one line a second */
#define COLUMN 34

static const char *const bold = "\x1b[1m";
static const char *const red = "\x1b[31m";
static const char *const green = "\x1b[32m";
static const char *const dim = "\x1b[2m";
static const char *const plain = "\x1b[0m";

static const char *style(const struct demo_view *v, const char *code)
{
    return v->color ? code : "";
}

static double seconds(const struct demo_watch *w, uint64_t at_ns)
{
    return at_ns > w->start_ns ? (double)(at_ns - w->start_ns) / 1e9 : 0;
}

void view_say(void *ctx, const char *text)
{
    struct demo_view *v = ctx;
    if (v->out != NULL) {
        (void)fprintf(v->out, "%s\n", text);
        (void)fflush(v->out);
    }
}

static double answers(const struct demo_watch *w, const char *site)
{
    for (size_t i = 0; i < w->live.nsites; i++) {
        if (strcmp(w->live.sites[i].site, site) == 0) {
            return w->live.sites[i].per_second;
        }
    }
    return 0;
}

static void replicas(const struct demo_watch *w, const char *site, struct sk_buf *out)
{
    const struct project *shop = w->cluster->world.shop;
    for (size_t i = 0; i < shop->nservices; i++) {
        sk_buf_printf(out, "%s%s %u", i == 0 ? "" : "  ", shop->services[i].name.ptr,
                      watch_count(w, shop->services[i].name.ptr, site));
    }
}

static void draw_sites(struct demo_view *v, const struct demo_watch *w, const char *state)
{
    const struct inventory *inv = w->cluster->world.inv;
    (void)fprintf(v->out, "%s%-10s %-12s %-18s %s%s\x1b[K\n", style(v, bold), "site", "state",
                  "replicas", "answers/s", style(v, plain));
    v->lines++;
    for (size_t i = 0; i < inv->nsites; i++) {
        const char *name = inv->sites[i].name.ptr;
        bool lost = strcmp(name, w->site) == 0 && state[0] != '\0';
        struct sk_buf text = SK_BUF_INIT;
        replicas(w, name, &text);
        if (demo_site_serves(&inv->sites[i])) {
            (void)fprintf(v->out, "%-10s %s%-12s%s %-18s %8.0f\x1b[K\n", name,
                          style(v, lost ? red : green), lost ? state : "up", style(v, plain),
                          text.ptr, answers(w, name));
        } else {
            (void)fprintf(v->out, "%-10s %s%-12s%s control only\x1b[K\n", name,
                          style(v, lost ? red : green), lost ? state : "up", style(v, plain));
        }
        v->lines++;
        sk_buf_release(&text);
    }
}

static void draw(struct demo_view *v, const struct demo_watch *w, const char *state)
{
    if (v->lines > 0) {
        (void)fprintf(v->out, "\x1b[%dA", v->lines);
    }
    v->lines = 0;
    (void)fprintf(v->out, "\x1b[K\n");
    v->lines++;
    draw_sites(v, w, state);
    (void)fprintf(
        v->out,
        "\x1b[K\n%6.1f s   requests %.0f/s   %serrors %.0f/s%s   p50 %.0f ms   p95 %.0f ms"
        "   failed %lld of %lld\x1b[K\n\x1b[K\n",
        w->live.t_ms / 1000, w->live.per_second,
        style(v, w->live.failed_per_second > 0 ? red : plain), w->live.failed_per_second,
        style(v, plain), w->live.p50_ms, w->live.p95_ms, (long long)w->live.failed,
        (long long)w->live.issued);
    v->lines += 3;
    for (size_t i = 0; i < w->nnotes; i++) {
        (void)fprintf(v->out, "%s%6.1f s%s   %s\x1b[K\n", style(v, dim),
                      seconds(w, w->notes[i].at_ns), style(v, plain), w->notes[i].text);
        v->lines++;
    }
    (void)fprintf(v->out, "\x1b[J");
    (void)fflush(v->out);
}

static void print_line(struct demo_view *v, const struct demo_watch *w)
{
    for (; v->noted < w->nnotes; v->noted++) {
        (void)fprintf(v->out, "%6.1f s   %s\n", seconds(w, w->notes[v->noted].at_ns),
                      w->notes[v->noted].text);
    }
    if (v->tick++ % TICKS_A_LINE == 0) {
        (void)fprintf(v->out, "%6.1f s   %.0f/s", w->live.t_ms / 1000, w->live.per_second);
        for (size_t i = 0; i < w->live.nsites; i++) {
            (void)fprintf(v->out, "  %s %.0f", w->live.sites[i].site, w->live.sites[i].per_second);
        }
        (void)fprintf(v->out, "   errors %.0f/s   p95 %.0f ms\n", w->live.failed_per_second,
                      w->live.p95_ms);
    }
    (void)fflush(v->out);
}

void view_tick(struct demo_view *v, const struct demo_watch *w, const char *state)
{
    if (v->out == NULL) {
        return;
    }
    if (v->terminal) {
        draw(v, w, state);
    } else {
        print_line(v, w);
    }
}

void view_hold(struct demo_view *v)
{
    v->lines = 0;
}

static void table_row(struct demo_view *v, const char *what, const char *predicted,
                      const char *observed, bool agrees)
{
    const char *mark = agrees ? "as predicted" : "DIFFERS";
    const char *tint = style(v, agrees ? green : red);
    if (strlen(predicted) <= COLUMN && strlen(observed) <= COLUMN) {
        (void)fprintf(v->out, "%-12s %-*s %-*s %s%s%s\n", what, COLUMN, predicted, COLUMN, observed,
                      tint, mark, style(v, plain));
    } else {
        (void)fprintf(v->out, "%-12s predicted: %s\n%-12s observed:  %s   %s%s%s\n", what,
                      predicted, "", observed, tint, mark, style(v, plain));
    }
}

static void rows_row(struct demo_view *v, const char *what, const struct outcome_row *p, size_t np,
                     const struct outcome_row *o, size_t no)
{
    struct sk_buf predicted = SK_BUF_INIT;
    struct sk_buf observed = SK_BUF_INIT;
    outcome_text(p, np, &predicted);
    outcome_text(o, no, &observed);
    table_row(v, what, predicted.ptr, observed.ptr, strcmp(predicted.ptr, observed.ptr) == 0);
    sk_buf_release(&predicted);
    sk_buf_release(&observed);
}

static void since_cut(const struct demo_watch *w, uint64_t at_ns, char out[32])
{
    if (at_ns == 0) {
        (void)snprintf(out, 32, "-");
    } else {
        (void)snprintf(out, 32, "%.2f s",
                       at_ns > w->cut_ns ? (double)(at_ns - w->cut_ns) / 1e9 : 0.0);
    }
}

static void draw_times(struct demo_view *v, const struct demo_watch *w)
{
    char detected[32], replaced[32], off[32];
    since_cut(w, w->detected_ns, detected);
    since_cut(w, w->replaced_ns, replaced);
    (void)snprintf(off, sizeof(off), "%.2f s", w->sum.traffic_off_ms / 1000);
    (void)fprintf(v->out, "\n%s%-44s %-14s %s%s\n", style(v, bold), "from the cut", "observed",
                  "goal", style(v, plain));
    (void)fprintf(v->out, "%-44s %-14s %s\n", "the last request that failed was made after", off,
                  "1.50 s");
    (void)fprintf(v->out, "%-44s %-14s %s\n", "the loss was detected after", detected, "");
    (void)fprintf(v->out, "%-44s %-14s %s\n", "all lost replicas answered elsewhere after",
                  replaced, "3.00 s");
    (void)fprintf(
        v->out,
        "\n%lld requests, %lld failed; the longest time without an answer was %.0f ms; p50 "
        "%.0f ms, p95 %.0f ms\n",
        (long long)w->sum.requests, (long long)w->sum.failed, w->sum.longest_gap_ms, w->sum.p50_ms,
        w->sum.p95_ms);
}

void view_table(struct demo_view *v, const struct demo_watch *w, const char *how,
                const struct demo_outcome *p, const struct demo_outcome *o,
                const struct sk_buf *differences)
{
    char ps[16], os[16];
    if (v->out == NULL) {
        return;
    }
    (void)fprintf(v->out, "\n%ssite %s was %s%s\n\n", style(v, bold), w->site, how,
                  style(v, plain));
    (void)fprintf(v->out, "%s%-12s %-*s %s%s\n", style(v, bold), "", COLUMN, "predicted",
                  "observed", style(v, plain));
    rows_row(v, "kept", p->kept, p->nkept, o->kept, o->nkept);
    rows_row(v, "re-placed", p->replaced, p->nreplaced, o->replaced, o->nreplaced);
    (void)snprintf(ps, sizeof(ps), "%u", p->shorts);
    (void)snprintf(os, sizeof(os), "%u", o->shorts);
    table_row(v, "short", ps, os, p->shorts == o->shorts);
    table_row(v, "control", p->control_kept ? "kept" : "lost", o->control_kept ? "kept" : "lost",
              p->control_kept == o->control_kept);
    draw_times(v, w);
    if (differences->len > 0) {
        (void)fprintf(v->out, "\n%sthe prediction was wrong:%s\n%s", style(v, red), style(v, plain),
                      differences->ptr);
    }
    (void)fflush(v->out);
}
