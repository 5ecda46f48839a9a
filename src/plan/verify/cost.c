/* SPDX-License-Identifier: Apache-2.0 */
#include "plan/verify/internal.h"

#include <math.h>

#define NEAR_SPENDS 0.001 /* what `near` may add to the objective */

static void ceilings(struct vf *v, struct plan_maybe *total)
{
    for (size_t i = 0; i < v->nservices; i++) {
        const struct vf_service *s = &v->services[i];
        struct plan_maybe hour = vf_cost(v, s, v->home);
        double month = hour.value * VF_HOURS_PER_MONTH;

        total->known = total->known && hour.known;
        total->value += hour.value;
        if (!s->service->has_cost) {
            continue;
        }
        if (!hour.known) {
            vf_broken(v, "cost_ceiling", "%.*s/%.*s: cost is unknown, so it is not within %g",
                      SK_PRI(s->project->name), SK_PRI(s->service->name), s->service->cost_month);
        } else if (month > s->service->cost_month && !vf_money_eq(month, s->service->cost_month)) {
            vf_broken(v, "cost_ceiling", "%.*s/%.*s costs %.12g a month, ceiling %g",
                      SK_PRI(s->project->name), SK_PRI(s->service->name), month,
                      s->service->cost_month);
        }
    }
}

static double shards_hour(const struct vf *v)
{
    long double month = 0;

    for (size_t s = 0; s < v->inv->nsites; s++) {
        month += v->site_shards[s] / VF_BYTES_PER_GB * v->inv->sites[s].price_gb_month;
    }
    return (double)(month / VF_HOURS_PER_MONTH);
}

/* Whole servers: what is in use costs, what could be used and is not is idle. */
static void servers(struct vf *v)
{
    const struct plan_cost *cost = &v->plan->cost;
    struct plan_maybe hour = {true, 0};
    bool *used = SK_ARENA_ARRAY(v->arena, bool, v->inv->nnodes + 1);
    size_t next = 0;
    char want[VF_NUM_MAX], got[VF_NUM_MAX];

    for (size_t r = 0; r < v->nreplicas; r++) {
        if (v->home[r] >= 0) {
            used[v->home[r]] = true;
        }
    }
    for (size_t n = 0; n < v->inv->nnodes; n++) {
        const struct node *node = &v->inv->nodes[n];
        const struct site *site = &v->inv->sites[node->site];

        if (used[n]) {
            hour.known = hour.known && node->has_price;
            hour.value += node->price_hour;
        } else if (!node->drained && !site->drained && site->trust == SITE_FULL) {
            if (next >= cost->nidle || !sk_str_eq(cost->idle[next], node->name)) {
                vf_find(v, "idle", "node '%.*s' is idle and not listed in its place",
                        SK_PRI(node->name));
                return;
            }
            next++;
        }
    }
    if (next < cost->nidle) {
        vf_find(v, "idle", "node '%.*s' is listed as idle and is not", SK_PRI(cost->idle[next]));
    }
    if (!vf_maybe_money_eq(hour, cost->servers_hour)) {
        vf_find(v, "servers_hour", "servers in use cost %s an hour, stated %s", vf_num(hour, want),
                vf_num(cost->servers_hour, got));
    }
}

static bool any_near(const struct vf *v)
{
    for (size_t i = 0; i < v->nservices; i++) {
        if (v->services[i].service->nnear > 0) {
            return true;
        }
    }
    return false;
}

/*
 * gap = (objective - bound) / objective. The objective is cost + moves before `near`. The price of
 * a move is the caller's option and `near` may have spent a little afterwards, so with either the
 * gap gives back an objective that the cost may not exceed by more; without both it is compared
 * exactly.
 */
static void bound(struct vf *v, double hour)
{
    const struct plan_cost *cost = &v->plan->cost;
    double low = cost->lower_bound_hour.value, gap = cost->gap.value;
    bool loose = v->plan->nmoves > 0 || any_near(v);
    double want = hour > 0 ? (hour - low) / hour : 0;

    if (v->plan->nmoves == 0 && low > hour && !vf_money_eq(low, hour)) {
        vf_find(v, "lower_bound", "the bound %.12g is above the cost %.12g", low, hour);
        return;
    }
    if (low < 0 || gap < -VF_TOLERANCE || gap > 1 + VF_TOLERANCE) {
        vf_find(v, "lower_bound", "bound %.12g and gap %.12g are not within their ranges", low,
                gap);
        return;
    }
    if (!loose && fabs(gap - want) > VF_TOLERANCE) {
        vf_find(v, "gap", "gap is %.12g, stated %.12g", want, gap);
    }
    if (loose && gap < 1 - VF_TOLERANCE) {
        double objective = low / (1 - gap);

        if (hour > objective * (1 + NEAR_SPENDS) + VF_TOLERANCE * (1 + hour)) {
            vf_find(v, "gap", "gap %.12g makes the objective %.12g, the cost is %.12g", gap,
                    objective, hour);
        }
    }
}

void vf_check_cost(struct vf *v)
{
    const struct plan_cost *cost = &v->plan->cost;
    struct plan_maybe hour = {true, 0}, month;
    char want[VF_NUM_MAX], got[VF_NUM_MAX];

    ceilings(v, &hour);
    hour.value += shards_hour(v);
    month = (struct plan_maybe){hour.known, hour.value * VF_HOURS_PER_MONTH};
    if (!sk_str_eq(cost->currency, v->inv->currency)) {
        vf_find(v, "currency", "currency is '%.*s', stated '%.*s'", SK_PRI(v->inv->currency),
                SK_PRI(cost->currency));
    }
    if (!vf_maybe_money_eq(hour, cost->hour)) {
        vf_find(v, "cost_hour", "cost is %s an hour, stated %s", vf_num(hour, want),
                vf_num(cost->hour, got));
    }
    if (!vf_maybe_money_eq(month, cost->month)) {
        vf_find(v, "cost_month", "cost is %s a month, stated %s", vf_num(month, want),
                vf_num(cost->month, got));
    }
    servers(v);
    if (cost->lower_bound_hour.known != cost->gap.known) {
        vf_find(v, "gap", "bound is %s and gap is %s: both or none",
                vf_num(cost->lower_bound_hour, want), vf_num(cost->gap, got));
    } else if (v->plan->verdict == PLAN_OK && hour.known) {
        /* a best effort may lack replicas, and then cost less than any plan that is whole */
        if (cost->gap.known) {
            bound(v, hour.value);
        } else {
            vf_find(v, "lower_bound", "an ok plan of known cost states its bound and gap");
        }
    }
}
