/* SPDX-License-Identifier: Apache-2.0 */
#include "plan/verify/internal.h"

#include "base/mem.h"

/*
 * Which rows the losses table must have: every single site; every set of up to f sites that some
 * service asked to survive; all pairs when asked for. A plan made with --pairs may be checked
 * without: then the further pairs are judged like any row, and must be all there.
 */
struct rows {
    struct vf *v;
    size_t deepest; /* f of the service that asked for most */
    bool pairs;
    size_t *set; /* site indexes of the set that is looked for */
    bool *used;  /* rows that were asked for */
};

static int set_order(const struct plan_loss *row, const struct vf *v, const size_t *set,
                     size_t count)
{
    if (row->nlost != count) {
        return row->nlost < count ? -1 : 1;
    }
    for (size_t i = 0; i < count; i++) {
        int order = sk_str_cmp(row->lost[i], v->inv->sites[set[i]].name);

        if (order) {
            return order;
        }
    }
    return 0;
}

static int64_t find_row(const struct vf *v, const size_t *set, size_t count)
{
    size_t lo = 0, hi = v->plan->nlosses;

    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        int order = set_order(&v->plan->losses[mid], v, set, count);

        if (order == 0) {
            return (int64_t)mid;
        }
        if (order < 0) {
            lo = mid + 1;
        } else {
            hi = mid;
        }
    }
    return -1;
}

/* Next combination of `count` of `n`, in order; false after the last. */
static bool next_set(size_t *set, size_t count, size_t n)
{
    size_t i = count;

    while (i > 0 && set[i - 1] == n - count + i - 1) {
        i--;
    }
    if (i == 0) {
        return false;
    }
    set[i - 1]++;
    for (; i < count; i++) {
        set[i] = set[i - 1] + 1;
    }
    return true;
}

static void require_size(struct rows *rows, size_t count)
{
    struct vf *v = rows->v;
    struct sk_str names[8];
    char text[VF_SET_MAX];

    for (size_t i = 0; i < count; i++) {
        rows->set[i] = i;
    }
    do {
        int64_t row = find_row(v, rows->set, count);

        if (row >= 0) {
            rows->used[row] = true;
            continue;
        }
        for (size_t i = 0; i < count && i < SK_ARRAY_LEN(names); i++) {
            names[i] = v->inv->sites[rows->set[i]].name;
        }
        vf_find(v, "loss_row_missing", "no row for the loss of %s",
                vf_set(names, count < SK_ARRAY_LEN(names) ? count : SK_ARRAY_LEN(names), text));
    } while (next_set(rows->set, count, v->inv->nsites));
}

/* Rows that can be looked at: known sites, sorted, each once. Also checks the rows' order. */
static bool row_shape(struct vf *v, size_t at, bool *lost)
{
    const struct plan_loss *row = &v->plan->losses[at];
    char text[VF_SET_MAX];

    memset(lost, 0, v->inv->nsites * sizeof(*lost));
    if (row->nlost == 0) {
        vf_find(v, "loss_row_bad", "row %zu names no site", at);
        return false;
    }
    for (size_t i = 0; i < row->nlost; i++) {
        int64_t s = inventory_site(v->inv, row->lost[i]);

        if (s < 0 || (i > 0 && sk_str_cmp(row->lost[i - 1], row->lost[i]) >= 0)) {
            vf_find(v, "loss_row_bad", "loss of %s: '%.*s' is no site, or out of order",
                    vf_set(row->lost, row->nlost, text), SK_PRI(row->lost[i]));
            return false;
        }
        lost[s] = true;
    }
    return true;
}

static bool rows_ordered(struct vf *v)
{
    char text[VF_SET_MAX];

    for (size_t i = 1; i < v->plan->nlosses; i++) {
        const struct plan_loss *a = &v->plan->losses[i - 1], *b = &v->plan->losses[i];
        int order = (a->nlost > b->nlost) - (a->nlost < b->nlost);

        for (size_t k = 0; order == 0 && k < a->nlost; k++) {
            order = sk_str_cmp(a->lost[k], b->lost[k]);
        }
        if (order >= 0) {
            vf_find(v, "order", "losses: the row of %s comes twice or too late",
                    vf_set(b->lost, b->nlost, text));
            return false;
        }
    }
    return true;
}

/* How many sets there are; bounded, since f comes from a file. */
static int bound_sets(const struct rows *rows, struct sk_err *err)
{
    size_t n = rows->v->inv->nsites;
    double sets = 1, all = 0;

    for (size_t k = 1; k <= rows->deepest || (rows->pairs && k <= 2); k++) {
        sets = k <= n ? sets * (double)(n - k + 1) / (double)k : 0;
        all += sets;
        if (all > VF_ROWS_MAX) {
            return sk_err_set(err, SK_ERR_LIMIT,
                              "losing any %zu of %zu sites makes more than %d loss rows",
                              rows->deepest, n, VF_ROWS_MAX);
        }
    }
    return 0;
}

static void deepest(struct rows *rows)
{
    struct vf *v = rows->v;

    rows->deepest = v->inv->nsites > 0 ? 1 : 0;
    for (size_t i = 0; i < v->nservices; i++) {
        const struct vf_service *s = &v->services[i];

        if (s->sites_written && s->sites > (int64_t)rows->deepest) {
            rows->deepest = (size_t)s->sites;
        }
    }
    if (rows->deepest > v->inv->nsites) {
        rows->deepest = v->inv->nsites;
    }
    rows->pairs = v->in->pairs;
    for (size_t i = 0; i < v->plan->nlosses; i++) {
        rows->pairs = rows->pairs || v->plan->losses[i].nlost == 2;
    }
    rows->pairs = rows->pairs && v->inv->nsites >= 2;
}

int vf_check_losses(struct vf *v, struct sk_err *err)
{
    struct rows rows = {.v = v};
    bool *lost = SK_ARENA_ARRAY(v->arena, bool, v->inv->nsites + 1);
    char text[VF_SET_MAX];
    int r;

    deepest(&rows);
    r = bound_sets(&rows, err);
    if (r < 0) {
        return r;
    }
    if (!rows_ordered(v)) {
        return 0; /* the search below needs the order, and one finding is enough */
    }
    rows.set = SK_ARENA_ARRAY(v->arena, size_t, v->inv->nsites + 1);
    rows.used = SK_ARENA_ARRAY(v->arena, bool, v->plan->nlosses + 1);
    for (size_t k = 1; k <= rows.deepest; k++) {
        require_size(&rows, k);
    }
    if (rows.pairs && rows.deepest < 2) {
        require_size(&rows, 2);
    }
    for (size_t i = 0; i < v->plan->nlosses; i++) {
        const struct plan_loss *row = &v->plan->losses[i];

        if (!row_shape(v, i, lost)) {
            continue;
        }
        if (!rows.used[i]) {
            vf_find(v, "loss_row_extra", "nobody asked for the loss of %s",
                    vf_set(row->lost, row->nlost, text));
        }
        vf_check_loss(v, row, lost);
    }
    return 0;
}
