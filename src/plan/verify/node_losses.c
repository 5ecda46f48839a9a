/* SPDX-License-Identifier: Apache-2.0 */
#include "plan/verify/internal.h"

/* Sets of `k` of `n`, held at the largest number that the field can state. */
static int64_t combinations(int64_t n, int64_t k)
{
    __int128 sets = 1;

    if (k > n) {
        return 0;
    }
    k = k < n - k ? k : n - k;
    for (int64_t i = 1; i <= k; i++) {
        sets = sets * (n - k + i) / i;
        if (sets > INT64_MAX) {
            return INT64_MAX;
        }
    }
    return (int64_t)sets;
}

static bool size_asked(const struct vf *v, int64_t g)
{
    for (size_t i = 0; i < v->nservices; i++) {
        if (v->services[i].nodes == g) {
            return true;
        }
    }
    return false;
}

/* The most nodes that some service has to lose. */
static int64_t size_max(const struct vf *v)
{
    int64_t most = 0;

    for (size_t i = 0; i < v->nservices; i++) {
        most = v->services[i].nodes > most ? v->services[i].nodes : most;
    }
    return most;
}

static int64_t usable_nodes(const struct vf *v)
{
    int64_t usable = 0;

    for (size_t n = 0; n < v->inv->nnodes; n++) {
        usable += !node_drained(v->inv, &v->inv->nodes[n]);
    }
    return usable;
}

static int64_t sets_examined(struct vf *v, int64_t usable)
{
    int64_t most = size_max(v), sum = 0;

    most = most < usable ? most : usable;
    for (int64_t g = 1; g <= most; g++) {
        if (size_asked(v, g)) {
            int64_t sets = combinations(usable, g);

            sum = sum > INT64_MAX - sets ? INT64_MAX : sum + sets;
        }
    }
    return sum;
}

/* What the service keeps when the `g` nodes that hold most of it are gone. Its own replicas only:
 * nodes are few, so a count per node is gathered in v->count by walking its replicas. */
static int64_t kept_of_worst(struct vf *v, const struct vf_service *s)
{
    int64_t *counts = v->count;
    size_t used = 0;
    int64_t left = s->placed, lost;
    int64_t *sorted;

    for (int64_t r = 0; r < s->service->replicas; r++) {
        int64_t n = v->home[s->first + (size_t)r];

        if (n >= 0) {
            used += counts[n] == 0;
            counts[n]++;
        }
    }
    sorted = SK_ARENA_ARRAY(v->arena, int64_t, used + 1);
    used = 0;
    for (int64_t r = 0; r < s->service->replicas; r++) {
        int64_t n = v->home[s->first + (size_t)r];

        if (n >= 0 && counts[n] > 0) {
            sorted[used++] = counts[n];
            counts[n] = 0;
        }
    }
    lost = vf_top(sorted, used, s->nodes);
    return left - lost;
}

static void check_row_kept(struct vf *v, const struct plan_loss *row, const bool *gone,
                           const char *name)
{
    bool *listed = SK_ARENA_ARRAY(v->arena, bool, v->nservices + 1);
    bool fails = false;

    for (size_t i = 0; i < row->nkept; i++) {
        const struct vf_service *s = vf_service(v, row->kept[i].project, row->kept[i].service);

        if (!s || listed[s - v->services]) {
            vf_find(v, "node_losses_row", "loss of %s: %.*s/%.*s is listed twice or not declared",
                    name, SK_PRI(row->kept[i].project), SK_PRI(row->kept[i].service));
            return;
        }
        listed[s - v->services] = true;
    }
    for (size_t i = 0, at = 0; i < v->nservices; i++) {
        const struct vf_service *s = &v->services[i];
        int64_t kept = s->placed;

        for (int64_t r = 0; r < s->service->replicas; r++) {
            int64_t n = v->home[s->first + (size_t)r];

            kept -= n >= 0 && gone[n];
        }
        fails = fails || (s->keep_hard_nodes && s->nodes >= (int64_t)row->nlost && kept < s->keep);
        if ((kept < s->placed) != listed[i]) {
            vf_find(v, "node_losses_row", "loss of %s: %.*s/%.*s loses %lld and is %slisted", name,
                    SK_PRI(s->project->name), SK_PRI(s->service->name),
                    (long long)(s->placed - kept), listed[i] ? "" : "not ");
            return;
        }
        if (listed[i]) {
            while (!sk_str_eq(row->kept[at].service, s->service->name) ||
                   !sk_str_eq(row->kept[at].project, s->project->name)) {
                at = (at + 1) % row->nkept;
            }
            if (row->kept[at].count != kept) {
                vf_find(v, "node_losses_row", "loss of %s: %.*s/%.*s keeps %lld, stated %lld", name,
                        SK_PRI(s->project->name), SK_PRI(s->service->name), (long long)kept,
                        (long long)row->kept[at].count);
            }
        }
    }
    if (row->ok == fails) {
        vf_find(v, "node_losses_row", "loss of %s: stated %s", name, row->ok ? "ok" : "not ok");
    }
}

/* Whether the row loses every node in use, since some service has more to lose than there are. */
static bool all_nodes(const struct vf *v, const struct plan_loss *row)
{
    return (int64_t)row->nlost == usable_nodes(v) && (int64_t)row->nlost < size_max(v);
}

static void check_row(struct vf *v, const struct plan_loss *row)
{
    bool *gone = SK_ARENA_ARRAY(v->arena, bool, v->inv->nnodes + 1);
    char name[VF_SET_MAX];

    (void)vf_set(row->lost, row->nlost, name);
    if (row->nlost == 0 || !(size_asked(v, (int64_t)row->nlost) || all_nodes(v, row))) {
        vf_find(v, "node_losses_row", "loss of %s: nobody has %zu nodes to lose", name, row->nlost);
        return;
    }
    for (size_t i = 0; i < row->nlost; i++) {
        int64_t n = inventory_node(v->inv, row->lost[i]);

        if (n < 0 || node_drained(v->inv, &v->inv->nodes[n]) ||
            (i > 0 && sk_str_cmp(row->lost[i - 1], row->lost[i]) >= 0)) {
            vf_find(v, "node_losses_row", "loss of %s: '%.*s' is no node in use, or out of order",
                    name, SK_PRI(row->lost[i]));
            return;
        }
        gone[n] = true;
    }
    check_row_kept(v, row, gone, name);
}

/* Written keeps that fail are broken rules, others unmet goals. Returns whether a written one does,
 * and whether by losing something: where nothing is placed no row can show it. Where fewer than g
 * nodes are in use there is no set to lose. */
static bool keeps_fail(struct vf *v, int64_t usable, bool *ret_by_loss)
{
    bool fails = false;

    *ret_by_loss = false;
    memset(v->count, 0, v->inv->nnodes * sizeof(*v->count));
    for (size_t i = 0; i < v->nservices; i++) {
        struct vf_service *s = &v->services[i];
        int64_t kept;

        if (s->nodes < 1 || s->nodes > usable) {
            continue;
        }
        kept = kept_of_worst(v, s);
        if (kept >= s->keep) {
            continue;
        }
        if (!s->keep_hard_nodes) {
            s->goal_nodes = true;
            continue;
        }
        fails = true;
        *ret_by_loss = *ret_by_loss || kept < s->placed;
        vf_broken(v, "keep_nodes", "%.*s/%.*s keeps %lld when it loses %lld nodes, asked %lld",
                  SK_PRI(s->project->name), SK_PRI(s->service->name), (long long)kept,
                  (long long)s->nodes, (long long)s->keep);
    }
    return fails;
}

void vf_check_node_losses(struct vf *v)
{
    const struct plan *plan = v->plan;
    int64_t usable = usable_nodes(v);
    int64_t checked = sets_examined(v, usable);
    bool by_loss, fails = keeps_fail(v, usable, &by_loss), shown = false;

    if (plan->node_losses.checked != checked) {
        vf_find(v, "node_losses_checked", "%lld sets of nodes are to examine, stated %lld",
                (long long)checked, (long long)plan->node_losses.checked);
    }
    if (plan->node_losses.ok == fails) {
        vf_find(v, "node_losses_ok", "node losses are %s, stated %s", fails ? "not ok" : "ok",
                plan->node_losses.ok ? "ok" : "not ok");
    }
    if (plan->node_losses.nworst > 10) {
        vf_find(v, "node_losses_row", "%zu worst rows, at most 10", plan->node_losses.nworst);
    }
    for (size_t i = 0; i < plan->node_losses.nworst && i < 10; i++) {
        shown = shown || !plan->node_losses.worst[i].ok;
        check_row(v, &plan->node_losses.worst[i]);
    }
    if (by_loss && !shown) {
        vf_find(v, "node_losses_row", "a written keep fails and no row shows it");
    }
}
