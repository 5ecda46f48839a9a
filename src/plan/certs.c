/* SPDX-License-Identifier: Apache-2.0 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "base/units.h"
#include "plan/bound.h"
#include "plan/cand.h"
#include "plan/fix.h"
#include "plan/problems.h"
#include "plan/rules.h"

#define ZONES_MAX 64u

static const char *const res_names[PL_RES_COUNT] = {"cpus", "memory", "disk"};

static double res_amount(int res, double amount)
{
    return res == PL_CPUS ? amount / (double)SK_NANO : amount;
}

static struct pl_problem problem(const char *code, const struct pl_svc *s)
{
    return (struct pl_problem){.code = code, .s = s, .missing = NAN, .proven = true};
}

/* What the service must be lowered to for the node that lacks the least. */
static void too_small(const struct pl_world *w, const struct pl_svc *s, struct pl_problem *ret)
{
    const struct pl_node *best = NULL;
    double best_lack = HUGE_VAL;
    for (uint32_t n = 0; n < w->nnodes; n++) {
        double lack = 0;
        for (int r = 0; r < PL_RES_COUNT; r++) {
            double need = (double)s->shape->need[r];
            lack += need > 0 ? fmax(0, 1 - (double)w->nodes[n].cap[r] / need) : 0;
        }
        if (pl_node_allowed(w, s->decl, n) == PL_REJECT_SIZE && lack < best_lack) {
            best = &w->nodes[n];
            best_lack = lack;
        }
    }
    struct sk_buf text = SK_BUF_INIT;
    for (int r = 0; best && r < PL_RES_COUNT; r++) {
        int64_t over = s->shape->need[r] - best->cap[r];
        if (over <= 0) {
            continue;
        }
        if (text.len == 0) {
            ret->resource = res_names[r];
            ret->missing = res_amount(r, (double)over);
        }
        sk_buf_printf(&text, "%s%s to ", text.len ? " and " : "lower its ", res_names[r]);
        if (r == PL_CPUS) {
            sk_format_cpus(&text, best->cap[r]);
        } else { /* never rounded up */
            sk_buf_printf(&text, "%lldM", (long long)(best->cap[r] >> 20));
        }
    }
    (void)snprintf(ret->fix, sizeof(ret->fix), "%.*s, or add a larger node",
                   SK_PRI(sk_buf_str(&text)));
    sk_buf_release(&text);
}

static bool no_node(const struct pl_world *w, const struct pl_svc *s, struct pl_problem *ret)
{
    static const char *const why[PL_REJECT_COUNT] = {
        "",
        "sites that run no services",
        "drained",
        "outside the residency",
        "against the placement constraints",
        "too small",
    };
    static const char *const fix[PL_REJECT_COUNT] = {
        "",
        "set trust: full for a site, or add a node in one",
        "undrain a node or a site",
        "widen 'residency', set the region or country of a site, or add a node inside it",
        "change 'placement.constraints' or set the label on a node",
        "", /* too_small() */
    };
    size_t count[PL_REJECT_COUNT] = {0};
    for (uint32_t n = 0; n < w->nnodes; n++) {
        count[pl_node_allowed(w, s->decl, n)]++;
    }
    /* the last test that nodes fail is the nearest to being met */
    int last = PL_REJECT_COUNT - 1;
    while (last > 1 && count[last] == 0) {
        last--;
    }
    *ret = problem("no_allowed_node", s);
    ret->resource = "node";
    size_t len = (size_t)snprintf(ret->text, sizeof(ret->text), "no node may run it:");
    for (int i = 1; i < PL_REJECT_COUNT; i++) {
        if (count[i] > 0 && len < sizeof(ret->text)) {
            len += (size_t)snprintf(ret->text + len, sizeof(ret->text) - len, " %zu %s,", count[i],
                                    why[i]);
        }
    }
    if (len < sizeof(ret->text)) {
        ret->text[len - 1] = '\0'; /* the last comma, or the colon of an empty inventory */
    }
    (void)snprintf(ret->fix, sizeof(ret->fix), "%s",
                   w->nnodes == 0 ? "add nodes to the inventory" : fix[last]);
    if (last == PL_REJECT_SIZE) {
        too_small(w, s, ret);
    }
    return true;
}

static bool latency_cert(const struct pl_world *w, const struct pl_svc *s, struct pl_problem *ret)
{
    const struct pl_shape *sh = s->shape;
    if (!s->has_ms || (s->replicas > 0 && pl_share_within(w, s->users, sh->sites, sh->nsites,
                                                          s->ms) >= s->share - PL_EPS)) {
        return false;
    }
    *ret = problem("latency_unmet", s);
    ret->resource = "ms";
    double ms = pl_share_ms(w, s->users, sh->sites, sh->nsites, s->share);
    (void)snprintf(ret->text, sizeof(ret->text),
                   "even with a replica in every allowed site only %.4g%% of the demand is within "
                   "%g ms",
                   100 * pl_share_within(w, s->users, sh->sites, sh->nsites, s->ms), s->ms);
    if (isinf(ms)) {
        (void)snprintf(ret->fix, sizeof(ret->fix),
                       "give 'at' or 'rtt_ms' to users and sites, or a smaller 'share'");
    } else {
        ret->missing = ms - s->ms;
        (void)snprintf(ret->fix, sizeof(ret->fix),
                       "set latency.ms to %g or more, or add a site nearer to the users", ceil(ms));
    }
    return true;
}

static bool after_cert(const struct pl_world *w, const struct pl_svc *s, struct pl_problem *ret)
{
    sk_autofree uint32_t *left = sk_xcalloc(s->shape->nsites + 1, sizeof(*left));
    for (size_t k = 1; k < w->nscens && s->has_after; k++) {
        const struct pl_scen *scen = &w->scens[k];
        size_t n = 0;
        for (size_t i = 0; i < s->shape->nsites; i++) {
            if (!scen->lost[s->shape->sites[i]]) {
                left[n++] = s->shape->sites[i];
            }
        }
        if (scen->count > s->ask ||
            pl_share_within(w, s->users, left, n, s->after_ms) >= s->share - PL_EPS) {
            continue;
        }
        double ms = pl_share_ms(w, s->users, left, n, s->share);
        *ret = problem("after_loss_unmet", s);
        ret->scen = scen;
        ret->resource = "ms";
        ret->missing = isinf(ms) ? NAN : ms - s->after_ms;
        (void)snprintf(ret->text, sizeof(ret->text),
                       "after this loss the sites that are left cannot bring enough of the demand "
                       "within %g ms",
                       s->after_ms);
        if (isinf(ms)) {
            (void)snprintf(ret->fix, sizeof(ret->fix), "add another site near to the users");
        } else {
            (void)snprintf(ret->fix, sizeof(ret->fix),
                           "set latency.after_loss_ms to %g or more, or add a site nearer",
                           ceil(ms));
        }
        return true;
    }
    return false;
}

/* Replicas that the `top` fullest of `places` hold when they are spread as evenly as can be. */
static uint32_t even_top(uint32_t replicas, size_t places, uint32_t top)
{
    if (top >= places) {
        return replicas;
    }
    uint32_t each = replicas / (uint32_t)places;
    uint32_t rest = replicas % (uint32_t)places;
    return top * each + (rest < top ? rest : top);
}

static bool sites_cert(const struct pl_world *w, const struct pl_svc *s, struct pl_problem *ret)
{
    const struct pl_shape *sh = s->shape;
    uint32_t top = even_top(s->replicas, sh->nsites, s->sites);
    if (s->ask > 0 && s->replicas > 0 && sh->nsites <= s->ask) {
        *ret = problem("survive_sites_unmet", s);
        ret->resource = "node";
        for (size_t k = 1; k < w->nscens; k++) {
            size_t hit = 0;
            for (size_t i = 0; i < sh->nsites; i++) {
                hit += w->scens[k].lost[sh->sites[i]];
            }
            if (hit == sh->nsites && w->scens[k].count == sh->nsites) {
                ret->scen = &w->scens[k];
            }
        }
        (void)snprintf(ret->text, sizeof(ret->text),
                       "it must survive the loss of %u site%s and may run in only %zu", s->ask,
                       s->ask == 1 ? "" : "s", sh->nsites);
        struct service fewer = *s->decl;
        char policy[128];
        pl_fix_fewer_sites(&fewer, (int64_t)sh->nsites - 1, policy, sizeof(policy));
        (void)snprintf(ret->fix, sizeof(ret->fix),
                       "add a node in %zu more site%s where it may run, or %s",
                       s->ask + 1 - sh->nsites, s->ask + 1 - sh->nsites == 1 ? "" : "s", policy);
        return true;
    }
    if (s->site_keep_hard && s->sites > 0 && top + s->keep > s->replicas) {
        *ret = problem("survive_sites_unmet", s);
        ret->resource = "node";
        (void)snprintf(ret->text, sizeof(ret->text),
                       "spread as evenly as can be over %zu sites, the loss of %u leaves %u "
                       "replicas of the %u to keep",
                       sh->nsites, s->sites, s->replicas - top, s->keep);
        (void)snprintf(ret->fix, sizeof(ret->fix),
                       "set survive.keep to %u, or run more replicas or in more sites",
                       s->replicas - top);
        return true;
    }
    top = even_top(s->replicas, sh->nnodes, s->nodes);
    if (s->node_keep_hard && s->nodes > 0 && top + s->keep > s->replicas) {
        *ret = problem("survive_nodes_unmet", s);
        ret->resource = "node";
        (void)snprintf(ret->text, sizeof(ret->text),
                       "spread as evenly as can be over %zu nodes, the loss of %u leaves %u "
                       "replicas of the %u to keep",
                       sh->nnodes, s->nodes, s->replicas - top, s->keep);
        (void)snprintf(ret->fix, sizeof(ret->fix),
                       "set survive.keep to %u, or run more replicas or on more nodes",
                       s->replicas - top);
        return true;
    }
    return false;
}

/* The service alone in the world: do its replicas fit, in each loss it asked to survive? */
static bool slots_cert(const struct pl_world *w, const struct pl_svc *s, struct pl_problem *ret)
{
    const struct pl_shape *sh = s->shape;
    for (size_t k = 0; k < w->nscens; k++) {
        if (w->scens[k].count > s->ask) {
            continue;
        }
        int64_t slots = 0;
        int64_t by_res[PL_RES_COUNT] = {0};
        for (size_t i = 0; i < sh->nnodes && slots < s->replicas; i++) {
            const struct pl_node *n = &w->nodes[sh->nodes[i]];
            int64_t fit = s->replicas;
            for (int r = 0; r < PL_RES_COUNT && !w->scens[k].lost[n->site]; r++) {
                int64_t f = sh->need[r] > 0 ? n->cap[r] / sh->need[r] : s->replicas;
                by_res[r] += f;
                fit = f < fit ? f : fit;
            }
            slots += w->scens[k].lost[n->site] ? 0 : fit;
        }
        if (slots >= s->replicas) {
            continue;
        }
        int res = PL_CPUS;
        for (int r = 0; r < PL_RES_COUNT; r++) {
            res = by_res[r] < by_res[res] ? r : res;
        }
        *ret = problem("capacity_short", s);
        ret->zone = sh;
        ret->scen = k > 0 ? &w->scens[k] : NULL;
        ret->resource = res_names[res];
        ret->missing = res_amount(res, (double)sh->need[res] * (double)(s->replicas - slots));
        (void)snprintf(ret->text, sizeof(ret->text),
                       "its allowed nodes hold %lld of its %u replicas, even with nothing else on "
                       "them",
                       (long long)slots, s->replicas);
        return true;
    }
    return false;
}

static bool ceiling_cert(const struct pl_world *w, const struct pl_svc *s, struct pl_problem *ret)
{
    if (!s->has_ceiling) {
        return false;
    }
    bool known = true;
    for (size_t i = 0; i < s->shape->nnodes; i++) {
        known = known && w->nodes[s->shape->nodes[i]].priced;
    }
    for (size_t i = 0; i < s->shape->nsites; i++) {
        known = known && (s->gb_hour <= 0 || w->inv->sites[s->shape->sites[i]].has_egress);
    }
    /* without the current plan's moves: they are no part of what the ceiling limits */
    struct pl_svc still = *s;
    still.current = NULL;
    double least = pl_bound_svc(w, &still, false, true) * PL_MONTH_HOURS;
    if (pl_le(least, s->ceiling_month)) {
        return false;
    }
    *ret = problem(known ? "cost_above_ceiling" : "cost_unknown", s);
    ret->resource = "cost";
    ret->proven = known;
    if (!isinf(least)) {
        ret->missing = least - s->ceiling_month;
        (void)snprintf(ret->text, sizeof(ret->text),
                       "it costs at least %.2f a month, the ceiling is %.2f", least,
                       s->ceiling_month);
        (void)snprintf(ret->fix, sizeof(ret->fix), "set cost.month to %.2f or more",
                       ceil(least * 100) / 100);
    } else {
        (void)snprintf(ret->text, sizeof(ret->text),
                       "its cost is not known, so the ceiling cannot be promised");
        (void)snprintf(ret->fix, sizeof(ret->fix),
                       "set price_hour (and egress_per_gb) where it may run");
    }
    return true;
}

/* All sets of sites that its replicas can hold were looked at, and none keeps the latency. */
static bool no_sites_near(const struct pl_world *w, const struct pl_svc *s)
{
    struct pl_cands cands;
    pl_cands_init(&cands, w);
    const struct pl_list *list = pl_cands_get(&cands, s->index);
    bool none = list->complete && list->len == 0 && s->replicas > 0;
    pl_cands_release(&cands);
    return none;
}

bool pl_cert_service(const struct pl_world *w, const struct pl_svc *s, struct pl_problem *ret)
{
    if (s->replicas > 0 && s->shape->nnodes == 0) {
        return no_node(w, s, ret);
    }
    if (latency_cert(w, s, ret) || sites_cert(w, s, ret) || slots_cert(w, s, ret) ||
        after_cert(w, s, ret)) {
        return true;
    }
    if (isinf(pl_bound_svc(w, s, false, false)) || no_sites_near(w, s)) {
        *ret = problem("latency_unmet", s);
        ret->resource = "ms";
        (void)snprintf(ret->text, sizeof(ret->text),
                       "no %u of its allowed sites keep its latency, now and in the losses that it "
                       "must survive",
                       s->replicas);
        (void)snprintf(ret->fix, sizeof(ret->fix),
                       "run more replicas, or loosen its latency or survive");
        return true;
    }
    return ceiling_cert(w, s, ret);
}

/* Does every node of `inner` belong to the marked zone? */
static bool inside(const struct pl_shape *inner, const bool *marked)
{
    for (size_t i = 0; i < inner->nnodes; i++) {
        if (!marked[inner->nodes[i]]) {
            return false;
        }
    }
    return inner->nnodes > 0;
}

/* Room and demand of one zone in one loss; true and the worst resource if it is too little. What
 * did not ask may be lost with the sites, but only as much as fits in them. */
static bool zone_short(const struct pl_world *w, const struct pl_shape *zone,
                       const struct pl_scen *scen, const bool *member, struct pl_problem *ret)
{
    double left[PL_RES_COUNT] = {0};
    double gone[PL_RES_COUNT] = {0};
    for (size_t i = 0; i < zone->nnodes; i++) {
        const struct pl_node *n = &w->nodes[zone->nodes[i]];
        for (int r = 0; r < PL_RES_COUNT; r++) {
            *(scen->lost[n->site] ? &gone[r] : &left[r]) += (double)n->cap[r];
        }
    }
    double asked[PL_RES_COUNT] = {0};
    double other[PL_RES_COUNT] = {0};
    for (size_t i = 0; i < w->nsvcs; i++) {
        const struct pl_svc *s = &w->svcs[i];
        for (int r = 0; r < PL_RES_COUNT && member[i]; r++) {
            *(s->ask >= scen->count ? &asked[r] : &other[r]) +=
                (double)s->shape->need[r] * s->replicas;
        }
    }
    double worst = 0;
    for (int r = 0; r < PL_RES_COUNT; r++) {
        double stay = other[r] > gone[r] ? other[r] - gone[r] : 0;
        double want = asked[r] + stay;
        double part = want > left[r] ? (want - left[r]) / (want + 1) : 0;
        if (part > worst && want - left[r] >= 1) {
            worst = part;
            ret->resource = res_names[r];
            ret->missing = res_amount(r, want - left[r]);
        }
    }
    return worst > 0;
}

bool pl_cert_zones(const struct pl_world *w, struct pl_problem *ret)
{
    sk_autofree bool *marked = sk_xcalloc(w->nnodes + 1, sizeof(*marked));
    sk_autofree bool *member = sk_xcalloc(w->nsvcs + 1, sizeof(*member));
    const struct pl_shape *zones[ZONES_MAX];
    size_t nzones = 0;
    for (size_t i = 0; i < w->nsvcs && nzones < ZONES_MAX; i++) {
        bool known = w->svcs[i].shape->nnodes == 0;
        for (size_t k = 0; k < nzones && !known; k++) {
            known = zones[k] == w->svcs[i].shape;
        }
        if (!known) {
            zones[nzones++] = w->svcs[i].shape;
        }
    }
    for (size_t k = 0; k < w->nscens; k++) {
        for (size_t z = 0; z < nzones; z++) {
            memset(marked, 0, w->nnodes);
            for (size_t i = 0; i < zones[z]->nnodes; i++) {
                marked[zones[z]->nodes[i]] = true;
            }
            const struct pl_svc *largest = NULL;
            for (size_t i = 0; i < w->nsvcs; i++) {
                const struct pl_svc *s = &w->svcs[i];
                member[i] = inside(s->shape, marked);
                if (member[i] && s->ask >= w->scens[k].count &&
                    (!largest || s->shape->need[0] > largest->shape->need[0])) {
                    largest = s;
                }
            }
            *ret = problem("capacity_short", largest);
            if (zone_short(w, zones[z], &w->scens[k], member, ret)) {
                ret->zone = zones[z];
                ret->scen = k > 0 ? &w->scens[k] : NULL;
                (void)snprintf(ret->text, sizeof(ret->text),
                               "the services that may only run there need more %s than all its "
                               "nodes have%s",
                               ret->resource, k > 0 ? " after this loss" : "");
                return true;
            }
        }
    }
    return false;
}
