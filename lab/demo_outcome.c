/* SPDX-License-Identifier: Apache-2.0 */
#include "lab/demo_outcome.h"

#include <stdio.h>
#include <string.h>

static int row_order(const struct outcome_row *a, const char *service, const char *node)
{
    int by_service = strcmp(a->service, service);
    return by_service != 0 ? by_service : strcmp(a->node, node);
}

bool outcome_add(struct outcome_row *rows, size_t *count, const char *service, const char *node,
                 unsigned n)
{
    size_t at = 0;
    while (at < *count && row_order(&rows[at], service, node) < 0) {
        at++;
    }
    if (at < *count && row_order(&rows[at], service, node) == 0) {
        rows[at].count += n;
        return true;
    }
    if (*count == OUTCOME_ROWS_MAX || strlen(service) >= sizeof(rows[0].service) ||
        strlen(node) >= sizeof(rows[0].node)) {
        return false;
    }
    memmove(&rows[at + 1], &rows[at], (*count - at) * sizeof(rows[0]));
    rows[at] = (struct outcome_row){.count = n};
    memcpy(rows[at].service, service, strlen(service));
    memcpy(rows[at].node, node, strlen(node));
    (*count)++;
    return true;
}

int outcome_predict(const struct plan *plan, const char *site, struct demo_outcome *ret,
                    struct sk_err *err)
{
    struct demo_outcome o = {0};
    const struct plan_loss *loss = NULL;
    for (size_t i = 0; i < plan->nlosses; i++) {
        if (plan->losses[i].nlost == 1 && sk_str_is(plan->losses[i].lost[0], site)) {
            loss = &plan->losses[i];
        }
    }
    if (loss == NULL) {
        return sk_err_set(err, SK_ERR_NOT_FOUND, "the plan says nothing of the loss of '%s'", site);
    }
    bool room = true;
    for (size_t i = 0; i < loss->nkept; i++) {
        room = room && outcome_add(o.kept, &o.nkept, loss->kept[i].service.ptr, "",
                                   (unsigned)loss->kept[i].count);
    }
    for (size_t i = 0; i < loss->nreplaced; i++) {
        room = room && outcome_add(o.replaced, &o.nreplaced, loss->replaced[i].service.ptr,
                                   loss->replaced[i].node.ptr, 1);
    }
    for (size_t i = 0; i < loss->nshorts; i++) {
        o.shorts += (unsigned)loss->shorts[i].replicas;
    }
    if (!room) {
        return sk_err_set(err, SK_ERR_LIMIT, "the plan's row for '%s' is too long", site);
    }
    o.control_kept = loss->control_kept;
    *ret = o;
    return 0;
}

static bool same_rows(const struct outcome_row *a, size_t na, const struct outcome_row *b,
                      size_t nb)
{
    bool same = na == nb;
    for (size_t i = 0; same && i < na; i++) {
        same = row_order(&a[i], b[i].service, b[i].node) == 0 && a[i].count == b[i].count;
    }
    return same;
}

void outcome_text(const struct outcome_row *rows, size_t count, struct sk_buf *out)
{
    for (size_t i = 0; i < count; i++) {
        sk_buf_printf(out, "%s%s %u%s%s", i == 0 ? "" : ", ", rows[i].service, rows[i].count,
                      rows[i].node[0] != '\0' ? " on " : "", rows[i].node);
    }
    if (count == 0) {
        sk_buf_adds(out, "nothing");
    }
}

static size_t compare_rows(const char *what, const struct outcome_row *a, size_t na,
                           const struct outcome_row *b, size_t nb, struct sk_buf *lines)
{
    if (same_rows(a, na, b, nb)) {
        return 0;
    }
    sk_buf_printf(lines, "%s: predicted ", what);
    outcome_text(a, na, lines);
    sk_buf_adds(lines, "; observed ");
    outcome_text(b, nb, lines);
    sk_buf_addc(lines, '\n');
    return 1;
}

size_t outcome_compare(const struct demo_outcome *p, const struct demo_outcome *o,
                       struct sk_buf *lines)
{
    size_t n = compare_rows("kept", p->kept, p->nkept, o->kept, o->nkept, lines);
    n += compare_rows("re-placed", p->replaced, p->nreplaced, o->replaced, o->nreplaced, lines);
    if (p->shorts != o->shorts) {
        sk_buf_printf(lines, "short: predicted %u; observed %u\n", p->shorts, o->shorts);
        n++;
    }
    if (p->control_kept != o->control_kept) {
        sk_buf_printf(lines, "control: predicted %s; observed %s\n",
                      p->control_kept ? "kept" : "lost", o->control_kept ? "kept" : "lost");
        n++;
    }
    return n;
}

void outcome_json(const struct demo_outcome *o, struct sk_jw *w)
{
    sk_jw_obj(w);
    sk_jw_key(w, "kept");
    sk_jw_arr(w);
    for (size_t i = 0; i < o->nkept; i++) {
        sk_jw_obj(w);
        sk_jw_kcstr(w, "service", o->kept[i].service);
        sk_jw_kint(w, "count", o->kept[i].count);
        sk_jw_obj_end(w);
    }
    sk_jw_arr_end(w);
    sk_jw_key(w, "replaced");
    sk_jw_arr(w);
    for (size_t i = 0; i < o->nreplaced; i++) {
        sk_jw_obj(w);
        sk_jw_kcstr(w, "service", o->replaced[i].service);
        sk_jw_kcstr(w, "node", o->replaced[i].node);
        sk_jw_kint(w, "count", o->replaced[i].count);
        sk_jw_obj_end(w);
    }
    sk_jw_arr_end(w);
    sk_jw_kint(w, "short", o->shorts);
    sk_jw_kcstr(w, "control", o->control_kept ? "kept" : "lost");
    sk_jw_obj_end(w);
}
