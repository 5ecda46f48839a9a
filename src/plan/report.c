/* SPDX-License-Identifier: Apache-2.0 */
#include "plan/report.h"

#include <math.h>
#include <stdarg.h>
#include <stdlib.h>

#include "base/mem.h"
#include "plan/rules.h"

static struct sk_str dup_str(struct plan *plan, struct sk_str s)
{
    return sk_arena_str(plan->arena, s);
}

/* The position among from..n-1 of a place on `node`, or n. */
static uint32_t find_place(const uint32_t *place, uint32_t from, uint32_t n, uint32_t node)
{
    for (uint32_t i = from; i < n; i++) {
        if (place[i] == node) {
            return i;
        }
    }
    return n;
}

static void swap_places(struct pl_state *st, const struct pl_svc *s, uint32_t a, uint32_t b)
{
    const struct pl_world *w = st->w;
    uint32_t *place = st->place + s->replica0;
    uint32_t node = place[a];
    place[a] = place[b];
    place[b] = node;
    for (size_t k = 0; k < w->nscens; k++) {
        uint32_t *alt = st->alt + k * w->nreplicas + s->replica0;
        node = alt[a];
        alt[a] = alt[b];
        alt[b] = node;
    }
}

/* Among those that are neither kept nor settled the cheapest places go to replicas that run already
 * (their move is paid for), the dearest to new ones. */
static void number_rest(struct pl_state *st, const struct pl_svc *s, const bool *settled)
{
    const struct pl_world *w = st->w;
    uint32_t *place = st->place + s->replica0;
    for (uint32_t r = 0; r < s->replicas; r++) {
        if (settled[r] || s->current[r] == PL_NONE) {
            continue;
        }
        uint32_t best = r;
        for (uint32_t i = 0; i < s->replicas; i++) {
            bool open = !settled[i] && (i > r || s->current[i] == PL_NONE);
            if (open && place[i] != PL_NONE &&
                (place[best] == PL_NONE || pl_replica_cost(w, s->shape, place[i]) <
                                               pl_replica_cost(w, s->shape, place[best]))) {
                best = i;
            }
        }
        if (best != r) {
            swap_places(st, s, r, best);
        }
    }
}

void pl_report_number(struct pl_state *st)
{
    const struct pl_world *w = st->w;
    for (size_t i = 0; i < w->nsvcs; i++) {
        const struct pl_svc *s = &w->svcs[i];
        if (!s->current) {
            continue;
        }
        uint32_t *place = st->place + s->replica0;
        sk_autofree bool *settled = sk_xcalloc((size_t)s->replicas + 1, sizeof(*settled));
        for (uint32_t r = 0; r < s->replicas; r++) {
            if (s->current[r] >= PL_GONE) {
                continue;
            }
            uint32_t at = place[r] == s->current[r] ? r : s->replicas;
            for (uint32_t from = 0; at == s->replicas && from < s->replicas;) {
                uint32_t hit = find_place(place, from, s->replicas, s->current[r]);
                if (hit < s->replicas && (settled[hit] || s->current[hit] == place[hit])) {
                    from = hit + 1; /* that one stays with its own replica */
                    continue;
                }
                at = hit;
                break;
            }
            if (at < s->replicas) {
                if (at != r) {
                    swap_places(st, s, r, at);
                }
                settled[r] = true;
            }
        }
        number_rest(st, s, settled);
    }
}

void pl_report_placements(const struct pl_state *st, struct plan *plan)
{
    const struct pl_world *w = st->w;
    plan->placements = SK_ARENA_ARRAY(plan->arena, struct plan_placement, w->nreplicas + 1);
    for (size_t i = 0; i < w->nsvcs; i++) {
        const struct pl_svc *s = &w->svcs[i];
        for (uint32_t r = 0; r < s->replicas; r++) {
            uint32_t node = st->place[s->replica0 + r];
            if (node == PL_NONE) {
                continue;
            }
            plan->placements[plan->nplacements++] = (struct plan_placement){
                .project = dup_str(plan, s->project->name),
                .service = dup_str(plan, s->decl->name),
                .replica = r,
                .site = dup_str(plan, w->inv->sites[w->nodes[node].site].name),
                .node = dup_str(plan, w->inv->nodes[node].name),
            };
        }
    }
}

void pl_report_latency(const struct pl_state *st, struct plan *plan)
{
    const struct pl_world *w = st->w;
    plan->latency = SK_ARENA_ARRAY(plan->arena, struct plan_latency, w->nsvcs + 1);
    sk_autofree uint32_t *mem = sk_xcalloc(2 * w->nsites + 2, sizeof(*mem));
    for (size_t i = 0; i < w->nsvcs; i++) {
        const struct pl_svc *s = &w->svcs[i];
        if (!s->decl->latency.written) {
            continue;
        }
        struct pl_spread sp = {.site = mem, .count = mem + w->nsites + 1};
        pl_spread_of(w, st->place + s->replica0, s->replicas, &sp);
        double ms = pl_share_ms(w, s->users, sp.site, sp.len, s->share);
        struct plan_latency *out = &plan->latency[plan->nlatency++];
        out->project = dup_str(plan, s->project->name);
        out->service = dup_str(plan, s->decl->name);
        out->ms = (struct plan_maybe){!isinf(ms), isinf(ms) ? 0 : ms};
        out->share = pl_share_within(w, s->users, sp.site, sp.len, s->has_ms ? s->ms : HUGE_VAL);
    }
}

/* Why replica r of s goes from its current node to another. */
static struct sk_str why_moved(const struct pl_state *st, const struct pl_svc *s, uint32_t r,
                               struct plan *plan)
{
    const struct pl_world *w = st->w;
    uint32_t from = s->current[r];
    if (from == PL_NONE) {
        return SK_STR("a new replica");
    }
    if (from == PL_GONE) {
        return SK_STR("its node is not in the inventory any more");
    }
    switch (pl_node_allowed(w, s->decl, from)) {
    case PL_REJECT_DRAINED:
        return SK_STR("its node is drained");
    case PL_REJECT_TRUST:
        return SK_STR("its site runs no services");
    case PL_REJECT_RESIDENCY:
        return SK_STR("its site is outside the residency");
    case PL_REJECT_CONSTRAINT:
        return SK_STR("its node does not meet the placement constraints");
    case PL_REJECT_SIZE:
        return SK_STR("its node is too small");
    case PL_ALLOWED:
    case PL_REJECT_COUNT:
        break;
    }
    double saved = pl_replica_cost(w, s->shape, from) -
                   pl_replica_cost(w, s->shape, st->place[s->replica0 + r]);
    if (saved > 1e-12) {
        return sk_arena_printf(plan->arena, "saves %.4f an hour", saved);
    }
    return SK_STR("makes room, so that every rule holds");
}

static struct sk_str current_name(const struct pl_world *w, const struct pl_svc *s, uint32_t r)
{
    const struct plan *cur = w->in->current;
    for (size_t i = 0; i < cur->nplacements; i++) {
        const struct plan_placement *p = &cur->placements[i];
        if (p->replica == r && sk_str_eq(p->service, s->decl->name) &&
            sk_str_eq(p->project, s->project->name)) {
            return p->node;
        }
    }
    return SK_STR("");
}

void pl_report_moves(const struct pl_state *st, struct plan *plan)
{
    const struct pl_world *w = st->w;
    plan->moves = SK_ARENA_ARRAY(plan->arena, struct plan_move, w->nreplicas + 1);
    for (size_t i = 0; i < w->nsvcs && w->has_current; i++) {
        const struct pl_svc *s = &w->svcs[i];
        for (uint32_t r = 0; r < s->replicas; r++) {
            uint32_t to = st->place[s->replica0 + r];
            uint32_t from = s->current[r];
            if (to == PL_NONE || to == from) {
                continue;
            }
            struct sk_str name = SK_STR("");
            if (from == PL_GONE) {
                name = current_name(w, s, r);
            } else if (from != PL_NONE) {
                name = w->inv->nodes[from].name;
            }
            plan->moves[plan->nmoves++] = (struct plan_move){
                .project = dup_str(plan, s->project->name),
                .service = dup_str(plan, s->decl->name),
                .replica = r,
                .from = dup_str(plan, name),
                .to = dup_str(plan, w->inv->nodes[to].name),
                .why = why_moved(st, s, r, plan),
            };
        }
    }
}

static void report_servers(const struct pl_state *st, struct plan *plan)
{
    const struct pl_world *w = st->w;
    sk_autofree bool *used = sk_xcalloc(w->nnodes + 1, sizeof(*used));
    for (size_t r = 0; r < w->nreplicas; r++) {
        if (st->place[r] != PL_NONE) {
            used[st->place[r]] = true;
        }
    }
    double sum = 0;
    bool known = true;
    plan->cost.idle = SK_ARENA_ARRAY(plan->arena, struct sk_str, w->nnodes + 1);
    for (size_t n = 0; n < w->nnodes; n++) {
        if (used[n]) {
            known = known && w->nodes[n].priced;
            sum += w->nodes[n].price;
        } else if (w->nodes[n].usable) {
            plan->cost.idle[plan->cost.nidle++] = dup_str(plan, w->inv->nodes[n].name);
        }
    }
    plan->cost.servers_hour = (struct plan_maybe){known, known ? sum : 0};
}

void pl_report_cost(const struct pl_state *st, const struct pl_buckets *buckets, struct plan *plan)
{
    const struct pl_world *w = st->w;
    bool known = true;
    double sum = 0;
    for (size_t i = 0; i < w->nsvcs; i++) {
        const struct pl_svc *s = &w->svcs[i];
        sum += pl_cost_hour(w, s, st->place + s->replica0, s->replicas, &known);
    }
    sum += buckets->cost_hour;
    plan->cost.currency = dup_str(plan, w->inv->currency);
    plan->cost.hour = (struct plan_maybe){known, known ? sum : 0};
    plan->cost.month = (struct plan_maybe){known, known ? sum * PL_MONTH_HOURS : 0};
    report_servers(st, plan);
}

void pl_report_bound(struct plan *plan, double objective, double bound)
{
    if (isinf(bound) || !plan->cost.hour.known) {
        return;
    }
    bound = bound < objective ? bound : objective; /* rounding only */
    double gap = objective > 0 ? (objective - bound) / objective : 0;
    plan->cost.lower_bound_hour = (struct plan_maybe){true, bound};
    plan->cost.gap = (struct plan_maybe){true, gap > 1e-12 ? gap : 0};
}

void pl_warn(struct plan *plan, const char *code, struct sk_str project, struct sk_str service,
             const char *fmt, ...)
{
    char text[512];
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(text, sizeof(text), fmt, ap); /* a long name shortens the text, no more */
    va_end(ap);
    /* grown by doubling inside the arena: warnings are few */
    size_t n = plan->nwarnings;
    if (n == 0 || (n >= 8 && (n & (n - 1)) == 0)) {
        struct plan_warning *more =
            SK_ARENA_ARRAY(plan->arena, struct plan_warning, n == 0 ? 8 : 2 * n);
        if (n > 0) {
            memcpy(more, plan->warnings, n * sizeof(*more));
        }
        plan->warnings = more;
    }
    plan->warnings[plan->nwarnings++] = (struct plan_warning){
        .code = sk_arena_str(plan->arena, sk_str(code)),
        .project = dup_str(plan, project),
        .service = dup_str(plan, service),
        .text = sk_arena_str(plan->arena, sk_str(text)),
    };
}
