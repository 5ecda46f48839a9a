/* SPDX-License-Identifier: Apache-2.0 */
#include "plan/rules.h"

#include <math.h>
#include <stdlib.h>

#include "base/mem.h"

#define SMALL 64u /* replicas and sites up to which no memory is asked for */

/* Room for n words: the caller's own if they are enough, else *ret_heap, which is its to free. */
static uint32_t *words(uint32_t *own, size_t n, uint32_t **ret_heap)
{
    return n <= SMALL ? own : (*ret_heap = sk_xcalloc(n, sizeof(*own)));
}

bool pl_le(double a, double b)
{
    double scale = fabs(b) > 1 ? fabs(b) : 1;
    return a <= b + PL_EPS * scale;
}

void pl_spread_of(const struct pl_world *w, const uint32_t *nodes, size_t n,
                  struct pl_spread *spread)
{
    spread->len = 0;
    for (size_t i = 0; i < n; i++) {
        if (nodes[i] == PL_NONE) {
            continue;
        }
        uint32_t site = w->nodes[nodes[i]].site;
        size_t at = 0;
        while (at < spread->len && spread->site[at] < site) {
            at++;
        }
        if (at < spread->len && spread->site[at] == site) {
            spread->count[at]++;
            continue;
        }
        for (size_t j = spread->len; j > at; j--) {
            spread->site[j] = spread->site[j - 1];
            spread->count[j] = spread->count[j - 1];
        }
        spread->site[at] = site;
        spread->count[at] = 1;
        spread->len++;
    }
}

/* The site that serves a population: nearest, ties by name (= by index). */
static size_t serving(const struct pl_world *w, const struct pl_users *u, size_t user,
                      const uint32_t *sites, size_t nsites)
{
    const double *rtt = u->rtt + user * w->nsites;
    size_t best = 0;
    for (size_t i = 1; i < nsites; i++) {
        double a = rtt[sites[i]];
        double b = rtt[sites[best]];
        if (a < b || (a <= b && sites[i] < sites[best])) {
            best = i;
        }
    }
    return best;
}

double pl_share_within(const struct pl_world *w, const struct pl_users *u, const uint32_t *sites,
                       size_t nsites, double bound)
{
    double sum = 0;
    for (size_t user = 0; user < u->count && nsites > 0; user++) {
        const double *rtt = u->rtt + user * w->nsites;
        for (size_t i = 0; i < nsites; i++) {
            if (rtt[sites[i]] <= bound + PL_EPS) {
                sum += u->share[user];
                break;
            }
        }
    }
    return sum;
}

double pl_share_ms(const struct pl_world *w, const struct pl_users *u, const uint32_t *sites,
                   size_t nsites, double share)
{
    if (nsites == 0 || u->count == 0) {
        return HUGE_VAL;
    }
    double last = -1;
    double sum = 0;
    /* populations are few: walk up through the distinct distances */
    while (true) {
        double next = HUGE_VAL;
        double gain = 0;
        for (size_t user = 0; user < u->count; user++) {
            double ms = u->rtt[user * w->nsites + sites[serving(w, u, user, sites, nsites)]];
            if (ms <= last) {
                continue;
            }
            if (ms < next) {
                next = ms;
                gain = 0;
            }
            if (ms <= next) {
                gain += u->share[user];
            }
        }
        if (isinf(next)) {
            return HUGE_VAL;
        }
        sum += gain;
        if (sum >= share - PL_EPS) {
            return next;
        }
        last = next;
    }
}

double pl_egress_hour(const struct pl_world *w, const struct pl_svc *s, const uint32_t *sites,
                      size_t nsites, bool *ret_known)
{
    if (s->gb_hour <= 0 || nsites == 0) {
        return 0;
    }
    const struct site *all = w->inv->sites;
    double sum = 0;
    if (s->users->count == 0) {
        for (size_t i = 0; i < nsites; i++) {
            if (!all[sites[i]].has_egress) {
                *ret_known = false;
            } else if (all[sites[i]].egress_per_gb > sum) {
                sum = all[sites[i]].egress_per_gb;
            }
        }
        return sum * s->gb_hour;
    }
    for (size_t user = 0; user < s->users->count; user++) {
        uint32_t site = sites[serving(w, s->users, user, sites, nsites)];
        if (s->users->share[user] <= 0) {
            continue;
        }
        if (!all[site].has_egress) {
            *ret_known = false;
        } else {
            sum += s->users->share[user] * all[site].egress_per_gb;
        }
    }
    return sum * s->gb_hour;
}

/* How many sites n replicas can hold, and one to spare. */
static size_t spread_room(const struct pl_world *w, size_t n)
{
    return (n < w->nsites ? n : w->nsites) + 1;
}

double pl_cost_hour(const struct pl_world *w, const struct pl_svc *s, const uint32_t *nodes,
                    size_t n, bool *ret_known)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++) {
        if (nodes[i] == PL_NONE) {
            continue;
        }
        if (!w->nodes[nodes[i]].priced) {
            *ret_known = false;
        }
        sum += pl_replica_cost(w, s->shape, nodes[i]);
    }
    if (s->gb_hour > 0) {
        size_t room = spread_room(w, n);
        uint32_t own[SMALL];
        sk_autofree uint32_t *heap = NULL;
        uint32_t *mem = words(own, 2 * room, &heap);
        struct pl_spread sp = {.site = mem, .count = mem + room};
        pl_spread_of(w, nodes, n, &sp);
        sum += pl_egress_hour(w, s, sp.site, sp.len, ret_known);
    }
    return sum;
}

static int cmp_double(const void *a, const void *b)
{
    double x = *(const double *)a;
    double y = *(const double *)b;
    return x < y ? -1 : x > y;
}

double pl_move_hour(const struct pl_world *w, const struct pl_svc *s, const uint32_t *nodes,
                    uint32_t *ret_moves)
{
    *ret_moves = 0;
    if (!s->current) {
        return 0;
    }
    uint32_t n = s->replicas;
    bool own_taken[SMALL] = {false};
    double own_cost[SMALL];
    sk_autofree bool *heap_taken = NULL;
    sk_autofree double *heap_cost = NULL;
    bool *taken = own_taken;
    double *cost = own_cost;
    if (n > SMALL) {
        taken = heap_taken = sk_xcalloc(n, sizeof(*taken));
        cost = heap_cost = sk_xcalloc(n, sizeof(*cost));
    }
    uint32_t old = 0;
    uint32_t stay = 0;
    for (uint32_t r = 0; r < n; r++) {
        if (s->current[r] == PL_NONE) {
            continue;
        }
        old++;
        for (uint32_t i = 0; i < n; i++) {
            if (!taken[i] && nodes[i] == s->current[r]) {
                taken[i] = true;
                stay++;
                break;
            }
        }
    }
    uint32_t rest = 0;
    for (uint32_t i = 0; i < n; i++) {
        if (!taken[i] && nodes[i] != PL_NONE) {
            cost[rest++] = pl_replica_cost(w, s->shape, nodes[i]);
        }
    }
    /* replicas are alike: the dearest of the new places go to those that are new anyway */
    uint32_t moves = old - stay < rest ? old - stay : rest;
    if (moves > 0) {
        qsort(cost, rest, sizeof(*cost), cmp_double);
    }
    double sum = 0;
    for (uint32_t i = 0; i < moves; i++) {
        sum += cost[i] * w->move_share;
    }
    *ret_moves = moves;
    return sum;
}

uint32_t pl_top_sum(const uint32_t *count, size_t len, uint32_t top)
{
    if (top == 1) {
        uint32_t most = 0;
        for (size_t i = 0; i < len; i++) {
            most = count[i] > most ? count[i] : most;
        }
        return most;
    }
    if (top >= len) {
        uint32_t sum = 0;
        for (size_t i = 0; i < len; i++) {
            sum += count[i];
        }
        return sum;
    }
    sk_autofree bool *used = sk_xcalloc(len + 1, sizeof(*used));
    uint32_t sum = 0;
    for (uint32_t k = 0; k < top; k++) {
        size_t best = len;
        for (size_t i = 0; i < len; i++) {
            if (!used[i] && (best == len || count[i] > count[best])) {
                best = i;
            }
        }
        used[best] = true;
        sum += count[best];
    }
    return sum;
}

static int cmp_u32(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a;
    uint32_t y = *(const uint32_t *)b;
    return x < y ? -1 : x > y;
}

static void sort_few(uint32_t *v, size_t n)
{
    for (size_t i = 1; i < n; i++) {
        uint32_t x = v[i];
        size_t j = i;
        for (; j > 0 && v[j - 1] > x; j--) {
            v[j] = v[j - 1];
        }
        v[j] = x;
    }
}

uint32_t pl_top_nodes(const uint32_t *nodes, size_t n, uint32_t top)
{
    if (n == 0 || top == 0) {
        return 0;
    }
    uint32_t own[SMALL];
    sk_autofree uint32_t *heap = NULL;
    uint32_t *mem = words(own, 2 * n, &heap);
    uint32_t *count = mem + n;
    memcpy(mem, nodes, n * sizeof(*mem));
    if (heap) {
        qsort(mem, n, sizeof(*mem), cmp_u32);
    } else {
        sort_few(mem, n);
    }
    size_t len = 0;
    for (size_t i = 0; i < n; i++) {
        if (mem[i] == PL_NONE) {
            break;
        }
        if (i > 0 && mem[i] == mem[i - 1]) {
            count[len - 1]++;
        } else {
            count[len++] = 1;
        }
    }
    return pl_top_sum(count, len, top);
}

/* Are the kept replicas within after_ms whichever sites are lost, as long as some are kept? More
 * holders never make it worse, so only the largest losses that leave one holder matter. */
static bool after_loss_ok(const struct pl_world *w, const struct pl_svc *s, const uint32_t *sites,
                          size_t nsites)
{
    uint32_t f = s->ask;
    if (!s->has_after || f == 0 || nsites == 0 || w->nsites < 2) {
        return true;
    }
    size_t drop = f < nsites ? f : nsites - 1;
    sk_autofree uint32_t *mem = sk_xcalloc(nsites + drop + 2, sizeof(*mem));
    uint32_t *pick = mem + nsites + 1;
    for (size_t i = 0; i < drop; i++) {
        pick[i] = (uint32_t)i;
    }
    while (true) {
        size_t kept = 0;
        size_t at = 0;
        for (size_t i = 0; i < nsites; i++) {
            if (at < drop && pick[at] == i) {
                at++;
            } else {
                mem[kept++] = sites[i];
            }
        }
        if (pl_share_within(w, s->users, mem, kept, s->after_ms) < s->share - PL_EPS) {
            return false;
        }
        size_t i = drop;
        while (i > 0 && pick[i - 1] == nsites - drop + (i - 1)) {
            i--;
        }
        if (i == 0) {
            return true;
        }
        pick[i - 1]++;
        for (size_t j = i; j < drop; j++) {
            pick[j] = pick[j - 1] + 1;
        }
    }
}

static bool latency_ok(const struct pl_world *w, const struct pl_svc *s, const uint32_t *sites,
                       size_t nsites)
{
    return !s->has_ms || pl_share_within(w, s->users, sites, nsites, s->ms) >= s->share - PL_EPS;
}

bool pl_rules_sites(const struct pl_world *w, const struct pl_svc *s, const uint32_t *sites,
                    size_t nsites)
{
    return latency_ok(w, s, sites, nsites) && after_loss_ok(w, s, sites, nsites);
}

enum pl_rule pl_rules_hard(const struct pl_world *w, const struct pl_svc *s, const uint32_t *nodes)
{
    uint32_t n = s->replicas;
    size_t room = spread_room(w, n);
    uint32_t own[SMALL];
    sk_autofree uint32_t *heap = NULL;
    uint32_t *mem = words(own, 2 * room, &heap);
    struct pl_spread sp = {.site = mem, .count = mem + room};
    pl_spread_of(w, nodes, n, &sp);
    if (!latency_ok(w, s, sp.site, sp.len)) {
        return PL_RULE_LATENCY;
    }
    if (!after_loss_ok(w, s, sp.site, sp.len)) {
        return PL_RULE_AFTER_LOSS;
    }
    if (s->site_keep_hard && pl_top_sum(sp.count, sp.len, s->sites) + s->keep > n) {
        return PL_RULE_KEEP_SITES;
    }
    if (s->node_keep_hard && pl_top_nodes(nodes, n, s->nodes) + s->keep > n) {
        return PL_RULE_KEEP_NODES;
    }
    if (s->has_ceiling) {
        bool known = true;
        if (!pl_le(pl_cost_hour(w, s, nodes, n, &known) * PL_MONTH_HOURS, s->ceiling_month)) {
            return PL_RULE_CEILING;
        }
        if (!known) {
            return PL_RULE_CEILING_UNKNOWN;
        }
    }
    return PL_RULE_OK;
}

bool pl_rules_goals(const struct pl_world *w, const struct pl_svc *s, const uint32_t *nodes)
{
    uint32_t n = s->replicas;
    if (s->keep == 0) {
        return true;
    }
    size_t room = spread_room(w, n);
    uint32_t own[SMALL];
    sk_autofree uint32_t *heap = NULL;
    uint32_t *mem = words(own, 2 * room, &heap);
    struct pl_spread sp = {.site = mem, .count = mem + room};
    pl_spread_of(w, nodes, n, &sp);
    return pl_top_sum(sp.count, sp.len, s->sites) + s->keep <= n &&
           pl_top_nodes(nodes, n, s->nodes) + s->keep <= n;
}
