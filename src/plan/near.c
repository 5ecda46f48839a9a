/* SPDX-License-Identifier: Apache-2.0 */
#include "plan/near.h"

#include <math.h>
#include <stdlib.h>

#include "base/mem.h"
#include "plan/rules.h"

#define BUDGET 0.001 /* of cost + moves */
#define FAR_MS 1e6   /* a distance that nothing tells */

struct near {
    struct pl_state *st;
    const struct pl_world *w;
    double *rtt; /* [nsites][nsites] */
    double limit;
    double cost;
};

static double site_rtt(const struct near *q, uint32_t a, uint32_t b)
{
    return q->rtt[(size_t)a * q->w->nsites + b];
}

static bool named(const struct pl_svc *s, const struct pl_svc *other)
{
    if (s->project != other->project) {
        return false;
    }
    for (size_t i = 0; i < s->decl->nnear; i++) {
        if (sk_str_eq(s->decl->near[i], other->decl->name)) {
            return true;
        }
    }
    return false;
}

/* For each site: the round trip to the nearest site that holds a service named by s. */
static void distances(const struct near *q, const struct pl_svc *s, double *ms)
{
    const struct pl_world *w = q->w;
    for (size_t site = 0; site < w->nsites; site++) {
        ms[site] = FAR_MS;
    }
    for (size_t i = 0; i < w->nsvcs; i++) {
        const struct pl_svc *o = &w->svcs[i];
        if (o->project != s->project || !named(s, o)) {
            continue;
        }
        for (uint32_t r = 0; r < o->replicas; r++) {
            uint32_t node = q->st->place[o->replica0 + r];
            for (uint32_t site = 0; node != PL_NONE && site < w->nsites; site++) {
                double d = site_rtt(q, site, w->nodes[node].site);
                ms[site] = d < ms[site] ? d : ms[site];
            }
        }
    }
}

static double svc_sum(const struct near *q, const struct pl_svc *s, double *ms)
{
    double sum = 0;
    distances(q, s, ms);
    for (uint32_t r = 0; r < s->replicas; r++) {
        uint32_t node = q->st->place[s->replica0 + r];
        sum += node == PL_NONE ? FAR_MS : ms[q->w->nodes[node].site];
    }
    return sum;
}

/* Sum over all replicas that name somebody; dividing by their number changes no comparison. */
static double total(const struct near *q)
{
    double sum = 0;
    sk_autofree double *ms = sk_xcalloc(q->w->nsites + 1, sizeof(*ms));
    for (size_t i = 0; i < q->w->nsvcs; i++) {
        if (q->w->svcs[i].decl->nnear > 0) {
            sum += svc_sum(q, &q->w->svcs[i], ms);
        }
    }
    return sum;
}

/* Puts replica r of a service on another node if that keeps the rules, the goals and the budget and
 * brings services nearer. */
static bool try_move(struct near *q, const struct pl_svc *s, uint32_t r, uint32_t node,
                     double before)
{
    struct pl_saved old;
    struct pl_state *st = q->st;
    pl_state_save(st, s->index, &old);
    sk_autofree uint32_t *nodes = sk_xcalloc((size_t)s->replicas + 1, sizeof(*nodes));
    memcpy(nodes, old.place, s->replicas * sizeof(*nodes));
    nodes[r] = node;
    bool ok = pl_rules_hard(q->w, s, nodes) == PL_RULE_OK &&
              (!old.goals || pl_rules_goals(q->w, s, nodes));
    bool known = true;
    uint32_t moves;
    double cost =
        pl_cost_hour(q->w, s, nodes, s->replicas, &known) + pl_move_hour(q->w, s, nodes, &moves);
    ok = ok && q->cost - old.cost + cost <= q->limit;
    if (ok) {
        uint32_t *place = st->place + s->replica0;
        memcpy(place, nodes, s->replicas * sizeof(*nodes));
        ok = total(q) < before - PL_EPS;
        memcpy(place, old.place, s->replicas * sizeof(*nodes));
    }
    if (ok) {
        pl_state_take(st, s->index);
        ok = pl_state_put(st, s->index, nodes, old.goals, 0);
        if (ok) {
            q->cost = q->cost - old.cost + cost;
        } else {
            pl_state_restore(st, s->index, &old);
        }
    }
    pl_saved_release(&old);
    return ok;
}

static bool involved(const struct pl_world *w, const struct pl_svc *s)
{
    bool yes = s->decl->nnear > 0;
    for (size_t i = 0; i < w->nsvcs && !yes; i++) {
        yes = w->svcs[i].decl->nnear > 0 && named(&w->svcs[i], s);
    }
    return yes;
}

static bool improve_svc(struct near *q, const struct pl_svc *s)
{
    bool any = false;
    for (uint32_t r = 0; r < s->replicas; r++) {
        double now = total(q);
        uint32_t best = PL_NONE;
        for (size_t k = 0; k < s->shape->nsites && now > PL_EPS; k++) {
            uint32_t site = s->shape->sites[k];
            if (site == q->w->nodes[q->st->place[s->replica0 + r]].site) {
                continue;
            }
            /* of a site only its cheapest node with room: within a site all are equally near */
            best = PL_NONE;
            pl_state_settle(q->st);
            for (size_t j = s->shape->first[k]; j < s->shape->first[k + 1]; j++) {
                if (pl_state_room(q->st, s->shape->need, s->shape->nodes[j]) &&
                    (best == PL_NONE ||
                     s->shape->cost[j] < pl_replica_cost(q->w, s->shape, best))) {
                    best = s->shape->nodes[j];
                }
            }
            if (best != PL_NONE && try_move(q, s, r, best, now)) {
                any = true;
                now = total(q);
            }
        }
    }
    return any;
}

void pl_near_improve(struct pl_placer *p, struct pl_state *st)
{
    const struct pl_world *w = p->w;
    bool any = false;
    size_t asked = 0;
    for (size_t i = 0; i < w->nsvcs; i++) {
        asked += w->svcs[i].decl->nnear > 0;
    }
    if (asked == 0 || w->nsites > 256) {
        return;
    }
    struct near q = {.st = st, .w = w, .cost = pl_state_score(st).cost};
    q.limit = q.cost * (1 + BUDGET) + 1e-15;
    q.rtt = sk_xcalloc(w->nsites * w->nsites + 1, sizeof(*q.rtt));
    for (uint32_t a = 0; a < w->nsites; a++) {
        for (uint32_t b = 0; b < w->nsites; b++) {
            double ms = pl_site_rtt(w, a, b);
            q.rtt[(size_t)a * w->nsites + b] = isinf(ms) ? FAR_MS : ms;
        }
    }
    int passes = asked > 200 ? 1 : 4;
    do {
        any = false;
        for (size_t i = 0; i < w->nsvcs && st->work < UINT64_MAX / 2; i++) {
            if (involved(w, &w->svcs[i])) {
                any = improve_svc(&q, &w->svcs[i]) || any;
            }
        }
    } while (any && --passes > 0);
    free(q.rtt);
}
