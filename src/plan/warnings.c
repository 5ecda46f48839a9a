/* SPDX-License-Identifier: Apache-2.0 */
#include <math.h>

#include "base/mem.h"
#include "plan/report.h"
#include "plan/rules.h"

/* What of the defaults does not hold, in words; NULL if all does. */
static const char *unmet_goal(const struct pl_state *st, const struct pl_svc *s, bool refit_short)
{
    const struct pl_world *w = st->w;
    const uint32_t *place = st->place + s->replica0;
    sk_autofree uint32_t *mem = sk_xcalloc(2 * w->nsites + 2, sizeof(*mem));
    struct pl_spread sp = {.site = mem, .count = mem + w->nsites + 1};
    pl_spread_of(w, place, s->replicas, &sp);
    uint32_t most = pl_top_sum(sp.count, sp.len, s->sites);
    if (s->keep > 0 && !s->site_keep_hard && most + s->keep > s->replicas) {
        return "too many of its replicas share a site";
    }
    most = pl_top_nodes(place, s->replicas, s->nodes);
    if (s->keep > 0 && !s->node_keep_hard && most + s->keep > s->replicas) {
        return "too many of its replicas share a node";
    }
    return refit_short ? "after the loss of a site not all of its replicas fit again" : NULL;
}

static bool is_short(const struct plan *plan, const struct pl_svc *s, size_t sites,
                     struct sk_str *ret_lost)
{
    for (size_t i = 0; i < plan->nlosses; i++) {
        const struct plan_loss *l = &plan->losses[i];
        for (size_t j = 0; l->nlost == sites && j < l->nshorts; j++) {
            if (sk_str_eq(l->shorts[j].service, s->decl->name) &&
                sk_str_eq(l->shorts[j].project, s->project->name)) {
                *ret_lost = l->lost[0];
                return true;
            }
        }
    }
    return false;
}

static void warn_goals(const struct pl_state *st, struct plan *plan)
{
    for (size_t i = 0; i < st->w->nsvcs; i++) {
        const struct pl_svc *s = &st->w->svcs[i];
        if (!st->placed[i]) {
            continue;
        }
        struct sk_str lost = SK_STR("");
        bool missing = s->refit_goal && is_short(plan, s, 1, &lost);
        const char *text = unmet_goal(st, s, missing);
        if (text) {
            pl_warn(plan, "goal_unmet", s->project->name, s->decl->name, "%s%s%.*s%s", text,
                    missing && lost.len ? " (site '" : "", SK_PRI(lost),
                    missing && lost.len ? "')" : "");
        }
    }
}

static void warn_bucket_goals(const struct pl_buckets *buckets, struct plan *plan)
{
    for (size_t i = 0; i < buckets->len; i++) {
        const struct pl_bucket *b = &buckets->items[i];
        if (b->goal_unmet) {
            pl_warn(plan, "goal_unmet", b->project->name, b->decl->name,
                    "bucket '%.*s' would not survive the loss of a site", SK_PRI(b->decl->name));
        }
    }
}

#define NAMED_MAX 3 /* nodes that a warning names */

/* One warning for all of them: without prices it is often every node there is. */
static void warn_node_prices(const struct pl_state *st, struct plan *plan)
{
    const struct pl_world *w = st->w;
    sk_autofree bool *used = sk_xcalloc(w->nnodes + 1, sizeof(*used));
    struct sk_buf names = SK_BUF_INIT;
    size_t count = 0;
    for (size_t r = 0; r < w->nreplicas; r++) {
        if (st->place[r] != PL_NONE) {
            used[st->place[r]] = true;
        }
    }
    for (size_t n = 0; n < w->nnodes; n++) {
        if (!used[n] || w->nodes[n].priced) {
            continue;
        }
        if (count++ < NAMED_MAX) {
            sk_buf_printf(&names, "%s'%.*s'", count > 1 ? ", " : "", SK_PRI(w->inv->nodes[n].name));
        }
    }
    if (count == 1) {
        pl_warn(plan, "price_unknown", SK_STR(""), SK_STR(""),
                "node %.*s is in use and has no price", SK_PRI(sk_buf_str(&names)));
    } else if (count > 1) {
        pl_warn(plan, "price_unknown", SK_STR(""), SK_STR(""),
                "%zu nodes in use have no price: %.*s%s", count, SK_PRI(sk_buf_str(&names)),
                count > NAMED_MAX ? ", ..." : "");
    }
    sk_buf_release(&names);
}

static void warn_egress_prices(const struct pl_state *st, struct plan *plan)
{
    const struct pl_world *w = st->w;
    sk_autofree uint32_t *mem = sk_xcalloc(2 * w->nsites + 2, sizeof(*mem));
    for (size_t i = 0; i < w->nsvcs; i++) {
        const struct pl_svc *s = &w->svcs[i];
        struct pl_spread sp = {.site = mem, .count = mem + w->nsites + 1};
        pl_spread_of(w, st->place + s->replica0, s->replicas, &sp);
        bool known = true;
        (void)pl_egress_hour(w, s, sp.site, sp.len, &known);
        if (!known) {
            pl_warn(plan, "price_unknown", s->project->name, s->decl->name,
                    "a site that serves it has no egress_per_gb");
        }
    }
}

static void warn_regions(const struct pl_world *w, struct plan *plan)
{
    bool asked_region = false;
    bool asked_country = false;
    for (size_t i = 0; i < w->nsvcs; i++) {
        const struct service *d = w->svcs[i].decl;
        for (size_t k = 0; k < d->nresidency; k++) {
            bool country = sk_str_starts(d->residency[k], SK_STR("country:"));
            asked_country = asked_country || country;
            asked_region = asked_region || !country;
        }
    }
    for (size_t s = 0; s < w->nsites; s++) {
        const struct site *site = &w->inv->sites[s];
        bool no_region = asked_region && site->region.len == 0;
        bool no_country = asked_country && site->country.len == 0;
        if (no_region || no_country) {
            pl_warn(plan, "region_unknown", SK_STR(""), SK_STR(""),
                    "the %s of site '%.*s' is not known, so residency leaves it out",
                    no_region ? "region" : "country", SK_PRI(site->name));
        }
    }
}

static void warn_rtts(const struct pl_world *w, struct plan *plan)
{
    for (size_t i = 0; i < w->nsvcs; i++) {
        const struct pl_svc *s = &w->svcs[i];
        size_t unknown = 0;
        for (size_t u = 0; s->decl->latency.written && u < s->users->count; u++) {
            for (size_t k = 0; k < s->shape->nsites; k++) {
                unknown += isinf(s->users->rtt[u * w->nsites + s->shape->sites[k]]);
            }
        }
        if (unknown > 0) {
            pl_warn(plan, "rtt_unknown", s->project->name, s->decl->name,
                    "%zu distances from users to sites are not known and count as too far: give "
                    "'at' or 'rtt_ms'",
                    unknown);
        }
    }
}

void pl_report_warnings(const struct pl_state *st, const struct pl_buckets *buckets,
                        struct plan *plan)
{
    warn_goals(st, plan);
    warn_bucket_goals(buckets, plan);
    warn_node_prices(st, plan);
    warn_egress_prices(st, plan);
    warn_regions(st->w, plan);
    warn_rtts(st->w, plan);
}
