/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>

#include "base/mem.h"
#include "plan/losses.h"
#include "plan/order.h"
#include "plan/rules.h"

#define WORST_MAX 10u
#define SETS_MAX 1000000000000.0 /* `checked` stops counting here */

/*
 * All sets of g nodes are covered without listing them: the worst one for a service is the g nodes
 * that hold most of it, so each service's own worst set is the only one that can break its keep.
 * Rows are the worst of these sets.
 */
struct node_row {
    uint32_t *nodes; /* ascending */
    uint32_t count;
    double weight; /* hard keeps broken, then goals, then replicas lost */
    bool ok;
};

static uint32_t kept_of(const struct pl_state *st, const struct pl_svc *s,
                        const struct node_row *row, uint32_t *ret_lost)
{
    uint32_t kept = 0;
    *ret_lost = 0;
    for (uint32_t r = 0; r < s->replicas; r++) {
        uint32_t node = st->place[s->replica0 + r];
        bool lost = false;
        for (uint32_t i = 0; i < row->count; i++) {
            lost = lost || row->nodes[i] == node;
        }
        *ret_lost += lost && node != PL_NONE;
        kept += !lost && node != PL_NONE;
    }
    return kept;
}

static void weigh(const struct pl_state *st, struct node_row *row)
{
    row->ok = true;
    row->weight = 0;
    for (size_t i = 0; i < st->w->nsvcs; i++) {
        const struct pl_svc *s = &st->w->svcs[i];
        uint32_t lost;
        uint32_t kept = kept_of(st, s, row, &lost);
        bool asks = s->nodes >= row->count;
        if (asks && kept < s->keep) {
            row->weight += s->node_keep_hard ? 1e12 : 1e6;
            row->ok = row->ok && !s->node_keep_hard;
        }
        row->weight += lost;
    }
}

static void write_row(const struct pl_state *st, const struct node_row *row, struct plan *plan)
{
    const struct pl_world *w = st->w;
    struct plan_loss *out = &plan->node_losses.worst[plan->node_losses.nworst++];
    out->ok = row->ok;
    out->control_kept = true;
    out->lost = SK_ARENA_ARRAY(plan->arena, struct sk_str, (size_t)row->count + 1);
    for (uint32_t i = 0; i < row->count; i++) {
        out->lost[out->nlost++] = sk_arena_str(plan->arena, w->inv->nodes[row->nodes[i]].name);
    }
    out->kept = SK_ARENA_ARRAY(plan->arena, struct plan_kept, w->nsvcs + 1);
    for (size_t i = 0; i < w->nsvcs; i++) {
        uint32_t lost;
        uint32_t kept = kept_of(st, &w->svcs[i], row, &lost);
        if (lost > 0) {
            out->kept[out->nkept++] =
                (struct plan_kept){sk_arena_str(plan->arena, w->svcs[i].project->name),
                                   sk_arena_str(plan->arena, w->svcs[i].decl->name), kept};
        }
    }
}

static int cmp_u32(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a;
    uint32_t y = *(const uint32_t *)b;
    return x < y ? -1 : x > y;
}

/* The nodes that hold most replicas of the service, at most g of them; ties by name. */
static struct node_row worst_set(const struct pl_state *st, const struct pl_svc *s)
{
    uint32_t n = s->replicas;
    struct node_row row = {.nodes = sk_xcalloc((size_t)s->nodes + 1, sizeof(uint32_t))};
    sk_autofree uint32_t *left = sk_xcalloc((size_t)n + 1, sizeof(*left));
    memcpy(left, st->place + s->replica0, n * sizeof(*left));
    qsort(left, n, sizeof(*left), cmp_u32);
    while (row.count < s->nodes) {
        uint32_t best = PL_NONE;
        uint32_t most = 0;
        for (uint32_t i = 0; i < n;) {
            uint32_t j = i;
            while (j < n && left[j] == left[i]) {
                j++;
            }
            bool used = left[i] == PL_NONE;
            for (uint32_t k = 0; k < row.count; k++) {
                used = used || row.nodes[k] == left[i];
            }
            if (!used && j - i > most) {
                most = j - i;
                best = left[i];
            }
            i = j;
        }
        if (best == PL_NONE) {
            break;
        }
        row.nodes[row.count++] = best;
    }
    /* a set has g nodes, whether or not so many hold a replica */
    for (uint32_t other = 0; other < st->w->nnodes && row.count < s->nodes; other++) {
        bool in = node_drained(st->w->inv, &st->w->inv->nodes[other]);
        for (uint32_t k = 0; k < row.count; k++) {
            in = in || row.nodes[k] == other;
        }
        if (!in) {
            row.nodes[row.count++] = other;
        }
    }
    qsort(row.nodes, row.count, sizeof(uint32_t), cmp_u32);
    return row;
}

static bool same_set(const struct node_row *a, const struct node_row *b)
{
    return a->count == b->count && memcmp(a->nodes, b->nodes, a->count * sizeof(*a->nodes)) == 0;
}

/* Every node by itself where single losses matter: rows show the worst ones. */
static struct node_row *gather(const struct pl_state *st, size_t *ret_len)
{
    const struct pl_world *w = st->w;
    struct node_row *rows = NULL;
    size_t len = 0;
    size_t cap = 0;
    sk_autofree double *load = sk_xcalloc(w->nnodes + 1, sizeof(*load));
    bool single = false;
    for (size_t i = 0; i < w->nsvcs; i++) {
        const struct pl_svc *s = &w->svcs[i];
        single = single || s->nodes == 1;
        for (uint32_t r = 0; r < s->replicas; r++) {
            uint32_t node = st->place[s->replica0 + r];
            if (node != PL_NONE) {
                load[node] += 1;
            }
        }
    }
    uint32_t *by_load = pl_order_by(load, w->nnodes);
    for (size_t i = 0; single && i < w->nnodes && i < 4 * WORST_MAX; i++) {
        if (load[by_load[i]] > 0) {
            SK_GROW(rows, len, cap);
            rows[len] = (struct node_row){.nodes = sk_xcalloc(2, sizeof(uint32_t)), .count = 1};
            rows[len++].nodes[0] = by_load[i];
        }
    }
    free(by_load);
    for (size_t i = 0; i < w->nsvcs; i++) {
        const struct pl_svc *s = &w->svcs[i];
        bool broken =
            pl_top_nodes(st->place + s->replica0, s->replicas, s->nodes) + s->keep > s->replicas;
        if (s->nodes == 0 || s->replicas == 0 || (!broken && (s->nodes == 1 || len >= 256))) {
            continue;
        }
        struct node_row row = worst_set(st, s);
        bool known = row.count == 0;
        for (size_t k = 0; k < len && !known && len < 1024; k++) {
            known = same_set(&rows[k], &row);
        }
        if (known || len >= 1024) {
            free(row.nodes);
            continue;
        }
        SK_GROW(rows, len, cap);
        rows[len++] = row;
    }
    *ret_len = len;
    return rows;
}

/* How many sets that covers: for each g in use, the sets of g of the nodes that are not drained. */
static double sets_checked(const struct pl_world *w)
{
    size_t alive = 0;
    for (size_t n = 0; n < w->nnodes; n++) {
        alive += !node_drained(w->inv, &w->inv->nodes[n]);
    }
    uint32_t most = 0;
    for (size_t i = 0; i < w->nsvcs; i++) {
        most = w->svcs[i].nodes > most ? w->svcs[i].nodes : most;
    }
    most = most > 64 ? 64 : most;
    double sum = 0;
    for (uint32_t g = 1; g <= most; g++) {
        bool in_use = false;
        for (size_t i = 0; i < w->nsvcs && !in_use; i++) {
            in_use = w->svcs[i].nodes == g;
        }
        double sets = in_use && alive >= g ? 1 : 0;
        for (uint32_t i = 0; i < g && sets > 0; i++) {
            sets = sets * (double)(alive - i) / (i + 1);
        }
        sum += sets;
    }
    return sum > SETS_MAX ? SETS_MAX : sum;
}

void pl_node_losses(const struct pl_state *st, struct plan *plan)
{
    size_t len = 0;
    struct node_row *rows = gather(st, &len);
    double *weight = sk_xcalloc(len + 1, sizeof(*weight));
    plan->node_losses.checked = (int64_t)(sets_checked(st->w) + 0.5);
    plan->node_losses.ok = true;
    plan->node_losses.worst = SK_ARENA_ARRAY(plan->arena, struct plan_loss, WORST_MAX);
    for (size_t i = 0; i < len; i++) {
        weigh(st, &rows[i]);
        weight[i] = rows[i].weight;
        plan->node_losses.ok = plan->node_losses.ok && rows[i].ok;
    }
    /* a service without any replica in place cannot keep what was written either */
    for (size_t i = 0; i < st->w->nsvcs; i++) {
        const struct pl_svc *s = &st->w->svcs[i];
        uint32_t there = 0;
        for (uint32_t r = 0; r < s->replicas; r++) {
            there += st->place[s->replica0 + r] != PL_NONE;
        }
        if (s->node_keep_hard && there < s->keep) {
            plan->node_losses.ok = false;
        }
    }
    uint32_t *order = pl_order_by(weight, len);
    for (size_t i = 0; i < len && i < WORST_MAX; i++) {
        write_row(st, &rows[order[i]], plan);
    }
    for (size_t i = 0; i < len; i++) {
        free(rows[i].nodes);
    }
    free(order);
    free(weight);
    free(rows);
}
