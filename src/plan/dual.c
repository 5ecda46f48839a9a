/* SPDX-License-Identifier: Apache-2.0 */
#include "plan/dual.h"

#include <math.h>
#include <stdlib.h>

#include "base/mem.h"
#include "plan/bound.h"

#define STEPS_MAX 120
#define WORK_MAX 20000000.0 /* services x sites x steps */

struct dual {
    const struct pl_world *w;
    bool goals;
    double *cap;   /* [nsites][2], as shares of all there is: cpus, memory */
    double *price; /* [nsites][2] */
    double *use;   /* [nsites][2] at these prices */
    double total[2];
    double *alone;  /* [nsvcs] bound of the service by itself, egress included */
    double *egress; /* [nsvcs] its least egress */
};

/* The cheapest way to spread a service over its sites at the present prices: a site's replicas cost
 * what the cheapest of its nodes would ask, plus the price of room. Adds its use. Returns cost. */
static double cheapest(struct dual *d, const struct pl_svc *s, double *ret_room)
{
    const struct pl_shape *sh = s->shape;
    uint32_t limit = s->replicas > s->keep ? s->replicas - s->keep : 0;
    bool capped = s->sites > 0 && (s->site_keep_hard || (d->goals && s->keep > 0));
    uint32_t most = capped ? limit : s->replicas;
    double need[2] = {(double)s->shape->need[0] / d->total[0],
                      (double)s->shape->need[1] / d->total[1]};
    uint32_t todo = s->replicas;
    double sum = 0;
    double last = -1; /* sites are taken in the order of (cost, position), found by repeated scan */
    size_t last_at = 0;
    *ret_room = 0;
    while (todo > 0) {
        double best = HUGE_VAL;
        size_t at = sh->nsites;
        for (size_t k = 0; k < sh->nsites; k++) {
            const double *p = d->price + 2 * sh->sites[k];
            double c = sh->site_cost[k] + p[0] * need[0] + p[1] * need[1];
            bool after = c > last || (c >= last && k > last_at);
            if ((last < 0 || after) && c < best) {
                best = c;
                at = k;
            }
        }
        if (at == sh->nsites || most == 0) {
            return HUGE_VAL;
        }
        uint32_t take = most < todo ? most : todo;
        double *u = d->use + 2 * sh->sites[at];
        const double *p = d->price + 2 * sh->sites[at];
        u[0] += take * need[0];
        u[1] += take * need[1];
        *ret_room += take * (p[0] * need[0] + p[1] * need[1]);
        sum += take * best;
        todo -= take;
        last = best;
        last_at = at;
    }
    return sum;
}

/* The least that any spread pays for room at these prices. */
static double least_room(const struct dual *d, const struct pl_svc *s)
{
    double least = HUGE_VAL;
    for (size_t k = 0; k < s->shape->nsites; k++) {
        const double *p = d->price + 2 * s->shape->sites[k];
        double c = p[0] * (double)s->shape->need[0] / d->total[0] +
                   p[1] * (double)s->shape->need[1] / d->total[1];
        least = c < least ? c : least;
    }
    return least * s->replicas;
}

static double value(struct dual *d)
{
    const struct pl_world *w = d->w;
    double sum = 0;
    memset(d->use, 0, 2 * w->nsites * sizeof(*d->use));
    for (size_t i = 0; i < w->nsvcs; i++) {
        const struct pl_svc *s = &w->svcs[i];
        if (s->replicas == 0) {
            continue;
        }
        double room;
        double shared = cheapest(d, s, &room) + d->egress[i];
        double alone = d->alone[i] + least_room(d, s);
        sum += shared > alone ? shared : alone;
    }
    for (size_t k = 0; k < 2 * w->nsites; k++) {
        sum -= d->price[k] * d->cap[k];
    }
    return sum;
}

/* One step along what is over- and underused; false when there is nothing to gain. */
static bool step(struct dual *d, double gain)
{
    double norm = 0;
    for (size_t k = 0; k < 2 * d->w->nsites; k++) {
        double g = d->use[k] - d->cap[k];
        if (d->price[k] > 0 || g > 0) {
            norm += g * g;
        }
    }
    if (norm <= 0 || gain <= 0) {
        return false;
    }
    for (size_t k = 0; k < 2 * d->w->nsites; k++) {
        d->price[k] += gain / norm * (d->use[k] - d->cap[k]);
        d->price[k] = d->price[k] > 0 ? d->price[k] : 0;
    }
    return true;
}

static void set_up(struct dual *d)
{
    const struct pl_world *w = d->w;
    for (size_t n = 0; n < w->nnodes; n++) {
        for (int r = 0; r < 2 && w->nodes[n].usable; r++) {
            d->total[r] += (double)w->nodes[n].cap[r];
            d->cap[2 * w->nodes[n].site + (size_t)r] += (double)w->nodes[n].cap[r];
        }
    }
    for (size_t k = 0; k < w->nsites; k++) {
        for (size_t r = 0; r < 2; r++) {
            d->cap[2 * k + r] = d->total[r] > 0 ? d->cap[2 * k + r] / d->total[r] : 0;
        }
    }
    for (size_t i = 0; i < w->nsvcs; i++) {
        struct pl_svc still = w->svcs[i];
        still.current = NULL;
        d->alone[i] = pl_bound_svc(w, &still, d->goals, false);
        d->egress[i] = pl_bound_egress(w, &still);
    }
}

double pl_bound_dual(const struct pl_world *w, bool goals, double upper)
{
    for (size_t n = 0; n < w->nnodes; n++) {
        if (w->nodes[n].usable && !w->nodes[n].priced) {
            return 0;
        }
    }
    double count = WORK_MAX / ((double)w->nsvcs * (double)w->nsites + 1);
    int steps = count < 12 ? 12 : count > STEPS_MAX ? STEPS_MAX : (int)count;
    struct dual d = {.w = w, .goals = goals};
    size_t n = 2 * w->nsites + 1;
    sk_autofree double *mem = sk_xcalloc(4 * n + 2 * w->nsvcs + 2, sizeof(*mem));
    double *best_price = mem + 3 * n;
    d.cap = mem;
    d.price = mem + n;
    d.use = mem + 2 * n;
    d.alone = mem + 4 * n;
    d.egress = d.alone + w->nsvcs + 1;
    set_up(&d);
    double best = 0;
    double pace = 1;
    int stale = 0;
    for (int i = 0; i < steps; i++) {
        double now = value(&d);
        if (now > best || i == 0) {
            best = now > best ? now : best;
            memcpy(best_price, d.price, n * sizeof(*best_price));
            stale = 0;
        } else if (++stale == 4) {
            pace *= 0.6;
            stale = 0;
            memcpy(d.price, best_price, n * sizeof(*best_price));
            now = value(&d);
        }
        if (!step(&d, pace * (upper - now))) {
            break;
        }
    }
    return isinf(best) ? 0 : best;
}
