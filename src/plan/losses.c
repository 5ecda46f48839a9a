/* SPDX-License-Identifier: Apache-2.0 */
#include "plan/losses.h"

#include <math.h>
#include <stdlib.h>

#include "base/mem.h"
#include "plan/order.h"
#include "plan/refit.h"
#include "plan/rules.h"

#define REFIT_EFFORT 50000u

/* One row at a time is worked out in a small state of its own: world 1 is the row's. */
struct rows {
    const struct pl_state *st;
    const struct pl_world *w;
    bool whole;
    struct plan *plan;
    struct pl_world row_world;
    struct pl_scen scens[2];
    struct pl_state *rs;
    uint32_t *lost;  /* [nsvcs] replicas lost */
    uint32_t *order; /* services, largest replicas first */
};

static bool tracked_goal(const struct rows *q, const struct pl_svc *s)
{
    return s->refit_goal && q->scens[1].count == 1 && q->st->placed[s->index] &&
           q->st->goals[s->index];
}

static void row_reset(struct rows *q)
{
    const struct pl_world *w = q->w;
    struct pl_state *rs = q->rs;
    size_t cells = w->nnodes * PL_RES_COUNT;
    memcpy(pl_free(rs, 0, 0), pl_free(q->st, 0, 0), cells * sizeof(*rs->free));
    memcpy(pl_free(rs, 1, 0), pl_free(q->st, 0, 0), cells * sizeof(*rs->free));
    if (w->pooled) {
        memcpy(rs->pool, q->st->pool, w->nsites * sizeof(*rs->pool));
        memcpy(rs->pool + w->nsites, q->st->pool, w->nsites * sizeof(*rs->pool));
    }
    memset(rs->minfree, 0, cells * sizeof(*rs->minfree));
    memset(rs->alt, 0xff, 2 * w->nreplicas * sizeof(*rs->alt));
}

/* Everything of the service that fits; returns the number of replicas that did not. */
static uint32_t refit_most(struct rows *q, const struct pl_svc *s, bool by_cost)
{
    uint32_t *alt = q->rs->alt + q->w->nreplicas + s->replica0;
    uint32_t missing = 0;
    for (uint32_t r = 0; r < s->replicas; r++) {
        if (pl_is_lost(q->rs, 1, s->replica0 + r)) {
            alt[r] = pl_refit_pick(q->rs, 1, s, PL_NONE, by_cost);
            missing += alt[r] == PL_NONE;
        }
    }
    return missing;
}

/* As cheaply as it goes; a service that must end up near enough is placed with that in mind. */
static bool refit_asked(struct rows *q, const struct pl_svc *s)
{
    if (pl_refit_far_matters(q->rs, 1, s)) {
        return pl_refit_one(q->rs, 1, s);
    }
    return refit_most(q, s, true) == 0;
}

static bool greedy_asked(struct rows *q, bool goals)
{
    for (size_t i = 0; i < q->w->nsvcs; i++) {
        const struct pl_svc *s = &q->w->svcs[q->order[i]];
        bool asked = s->ask >= q->scens[1].count;
        bool mine = goals ? !asked && tracked_goal(q, s) : asked;
        if (mine && q->lost[s->index] > 0 && !refit_asked(q, s)) {
            return false;
        }
    }
    return true;
}

static void take(struct rows *q, uint32_t node, const int64_t *need)
{
    int64_t *f = pl_free(q->rs, 1, node);
    for (int r = 0; r < PL_RES_COUNT; r++) {
        f[r] -= need[r];
    }
    if (q->w->pooled) {
        q->rs->pool[q->w->nsites + q->w->nodes[node].site] -= need[PL_DISK];
    }
}

/* What the search proved: its own re-placement in this world. */
static void copy_certificate(struct rows *q, size_t scen)
{
    const struct pl_world *w = q->w;
    for (size_t i = 0; i < w->nsvcs; i++) {
        const struct pl_svc *s = &w->svcs[i];
        if (!pl_wants_refit(s, &q->scens[1], tracked_goal(q, s))) {
            continue;
        }
        const uint32_t *alt = q->st->alt + scen * w->nreplicas + s->replica0;
        for (uint32_t r = 0; r < s->replicas; r++) {
            if (alt[r] != PL_NONE) {
                q->rs->alt[w->nreplicas + s->replica0 + r] = alt[r];
                take(q, alt[r], s->shape->need);
            }
        }
    }
}

/* As many of those that asked as fit, in the order of size. */
static void asked_best_effort(struct rows *q)
{
    struct pl_undo undo = {0};
    bool all = pl_refit_all(q->rs, 1, q->w->small ? REFIT_EFFORT : 0, &undo);
    pl_undo_release(&undo);
    if (all) {
        return;
    }
    row_reset(q);
    for (size_t i = 0; i < q->w->nsvcs; i++) {
        const struct pl_svc *s = &q->w->svcs[q->order[i]];
        if (s->ask >= q->scens[1].count && q->lost[s->index] > 0 && !pl_refit_one(q->rs, 1, s)) {
            refit_most(q, s, false);
        }
    }
}

/* scen: index among the worlds of `st`, 0 if this loss is not one of them. */
static void row_refit(struct rows *q, size_t scen)
{
    row_reset(q);
    bool certified = scen > 0 && q->whole;
    bool ok = greedy_asked(q, false);
    bool goals_done = ok && greedy_asked(q, true);
    if (!ok || (!goals_done && certified)) {
        row_reset(q);
        if (certified) {
            copy_certificate(q, scen);
            goals_done = true;
        } else {
            asked_best_effort(q);
        }
    }
    for (size_t i = 0; i < q->w->nsvcs; i++) {
        const struct pl_svc *s = &q->w->svcs[q->order[i]];
        uint32_t *alt = q->rs->alt + q->w->nreplicas + s->replica0;
        if (s->ask >= q->scens[1].count || q->lost[s->index] == 0) {
            continue;
        }
        for (uint32_t r = 0; r < s->replicas; r++) {
            if (alt[r] == PL_NONE && pl_is_lost(q->rs, 1, s->replica0 + r)) {
                alt[r] = pl_refit_pick(q->rs, 1, s, PL_NONE, true);
            }
        }
    }
}

/* Which resource keeps another replica of the service out. */
static const char *short_resource(const struct rows *q, const struct pl_svc *s)
{
    static const char *const names[PL_RES_COUNT] = {"cpus", "memory", "disk"};
    size_t enough[PL_RES_COUNT] = {0};
    size_t left = 0;
    for (size_t j = 0; j < s->shape->nnodes; j++) {
        uint32_t n = s->shape->nodes[j];
        if (q->scens[1].lost[q->w->nodes[n].site]) {
            continue;
        }
        left++;
        const int64_t *f = pl_free(q->rs, 1, n);
        for (int r = 0; r < PL_RES_COUNT; r++) {
            enough[r] += f[r] >= s->shape->need[r];
        }
    }
    if (left == 0) {
        return "node";
    }
    int worst = PL_CPUS;
    for (int r = 0; r < PL_RES_COUNT; r++) {
        worst = enough[r] < enough[worst] ? r : worst;
    }
    if (q->w->pooled && enough[worst] == left && s->shape->need[PL_DISK] > 0) {
        worst = PL_DISK;
    }
    return names[worst];
}

static struct sk_str keep_str(struct plan *plan, struct sk_str s)
{
    return sk_arena_str(plan->arena, s);
}

/* Sites that hold a replica in the row: of those kept, or of all after re-placement. */
static size_t holders(const struct rows *q, const struct pl_svc *s, bool replaced, uint32_t *sites)
{
    size_t n = 0;
    const uint32_t *alt = q->rs->alt + q->w->nreplicas + s->replica0;
    for (uint32_t r = 0; r < s->replicas; r++) {
        uint32_t node = q->rs->place[s->replica0 + r];
        if (node != PL_NONE && q->scens[1].lost[q->w->nodes[node].site]) {
            node = replaced ? alt[r] : PL_NONE;
        }
        if (node == PL_NONE) {
            continue;
        }
        uint32_t site = q->w->nodes[node].site;
        size_t i = 0;
        while (i < n && sites[i] != site) {
            i++;
        }
        if (i == n) {
            sites[n++] = site;
        }
    }
    return n;
}

static struct plan_maybe maybe_ms(double ms)
{
    return (struct plan_maybe){.known = !isinf(ms), .value = isinf(ms) ? 0 : ms};
}

/* The latency row of one service; false if it is too far in a loss that it asked to survive. */
static bool latency_row(struct rows *q, const struct pl_svc *s, struct plan_latency *out)
{
    sk_autofree uint32_t *sites = sk_xcalloc(2 * q->w->nsites + 2, sizeof(*sites));
    uint32_t *after = sites + q->w->nsites + 1;
    size_t nkept = holders(q, s, false, sites);
    size_t nafter = holders(q, s, true, after);
    bool asked = s->ask >= q->scens[1].count;
    out->project = keep_str(q->plan, s->project->name);
    out->service = keep_str(q->plan, s->decl->name);
    out->ms_at_once = maybe_ms(pl_share_ms(q->w, s->users, sites, nkept, s->share));
    out->ms = maybe_ms(pl_share_ms(q->w, s->users, after, nafter, s->share));
    double bound = asked && s->has_after ? s->after_ms : s->has_ms ? s->ms : HUGE_VAL;
    out->share =
        pl_share_within(q->w, s->users, nkept ? sites : after, nkept ? nkept : nafter, bound);
    return !(asked && s->has_after) || out->share >= s->share - PL_EPS;
}

static struct plan_placement placement_of(struct rows *q, const struct pl_svc *s, uint32_t r,
                                          uint32_t node)
{
    const struct inventory *inv = q->w->inv;
    return (struct plan_placement){
        .project = keep_str(q->plan, s->project->name),
        .service = keep_str(q->plan, s->decl->name),
        .replica = r,
        .site = keep_str(q->plan, inv->sites[q->w->nodes[node].site].name),
        .node = keep_str(q->plan, inv->nodes[node].name),
    };
}

/* kept, replaced, short and the change of cost of one service that lost replicas. */
static void service_rows(struct rows *q, const struct pl_svc *s, struct plan_loss *out,
                         double *added, bool *known)
{
    struct plan *plan = q->plan;
    const uint32_t *alt = q->rs->alt + q->w->nreplicas + s->replica0;
    const uint32_t *place = q->rs->place + s->replica0;
    sk_autofree uint32_t *after = sk_xcalloc((size_t)s->replicas + 1, sizeof(*after));
    uint32_t kept = 0;
    uint32_t missing = 0;
    for (uint32_t r = 0; r < s->replicas; r++) {
        bool lost = pl_is_lost(q->rs, 1, s->replica0 + r);
        after[r] = lost ? alt[r] : place[r];
        kept += !lost && place[r] != PL_NONE;
        if (lost && alt[r] != PL_NONE) {
            out->replaced[out->nreplaced++] = placement_of(q, s, r, alt[r]);
        }
        missing += lost && alt[r] == PL_NONE;
    }
    out->kept[out->nkept++] =
        (struct plan_kept){keep_str(plan, s->project->name), keep_str(plan, s->decl->name), kept};
    if (missing > 0) {
        bool asked = s->ask >= q->scens[1].count;
        out->shorts[out->nshorts++] =
            (struct plan_short){keep_str(plan, s->project->name), keep_str(plan, s->decl->name),
                                missing, sk_str(short_resource(q, s)), asked};
        out->ok = out->ok && !asked;
    }
    *added += pl_cost_hour(q->w, s, after, s->replicas, known) -
              pl_cost_hour(q->w, s, place, s->replicas, known);
}

static bool keep_held(const struct rows *q, const struct pl_svc *s)
{
    if (!s->site_keep_hard || s->ask < q->scens[1].count) {
        return true;
    }
    uint32_t kept = 0;
    for (uint32_t r = 0; r < s->replicas; r++) {
        kept += q->rs->place[s->replica0 + r] != PL_NONE && !pl_is_lost(q->rs, 1, s->replica0 + r);
    }
    return kept >= s->keep;
}

static void row_write(struct rows *q, struct plan_loss *out)
{
    const struct pl_world *w = q->w;
    struct plan *plan = q->plan;
    size_t services = 0;
    size_t replicas = 0;
    size_t latencies = 0;
    for (size_t i = 0; i < w->nsvcs; i++) {
        services += q->lost[i] > 0;
        replicas += q->lost[i];
        latencies += w->svcs[i].decl->latency.written;
    }
    out->nlost = q->scens[1].count;
    out->lost = SK_ARENA_ARRAY(plan->arena, struct sk_str, out->nlost + 1);
    for (size_t i = 0; i < out->nlost; i++) {
        out->lost[i] = keep_str(plan, w->inv->sites[q->scens[1].sites[i]].name);
    }
    out->ok = true;
    out->control_kept = true;
    if (w->in->control_kept) {
        out->control_kept = w->in->control_kept(w->in->control_ctx, out->lost, out->nlost);
    }
    out->kept = SK_ARENA_ARRAY(plan->arena, struct plan_kept, services + 1);
    out->shorts = SK_ARENA_ARRAY(plan->arena, struct plan_short, services + 1);
    out->replaced = SK_ARENA_ARRAY(plan->arena, struct plan_placement, replicas + 1);
    out->latency = SK_ARENA_ARRAY(plan->arena, struct plan_latency, latencies + 1);
    double added = 0;
    bool known = true;
    for (size_t i = 0; i < w->nsvcs; i++) {
        const struct pl_svc *s = &w->svcs[i];
        if (q->lost[i] > 0) {
            service_rows(q, s, out, &added, &known);
        }
        if (s->decl->latency.written && !latency_row(q, s, &out->latency[out->nlatency++])) {
            out->ok = false;
        }
        out->ok = out->ok && keep_held(q, s);
    }
    out->added_cost_hour = (struct plan_maybe){.known = known, .value = known ? added : 0};
}

static void row_make(struct rows *q, size_t scen, struct plan_loss *out)
{
    for (size_t i = 0; i < q->w->nsvcs; i++) {
        const struct pl_svc *s = &q->w->svcs[i];
        q->lost[i] = 0;
        for (uint32_t r = 0; r < s->replicas; r++) {
            q->lost[i] += pl_is_lost(q->rs, 1, s->replica0 + r);
        }
    }
    row_refit(q, scen);
    row_write(q, out);
}

/* Services by the size of a replica against all there is, largest first; ties by index. */
static uint32_t *by_size(const struct pl_world *w)
{
    double total[PL_RES_COUNT] = {1, 1, 1};
    for (size_t n = 0; n < w->nnodes; n++) {
        for (int r = 0; r < PL_RES_COUNT; r++) {
            total[r] += (double)w->nodes[n].cap[r];
        }
    }
    double *key = sk_xcalloc(w->nsvcs + 1, sizeof(*key));
    for (size_t i = 0; i < w->nsvcs; i++) {
        for (int r = 0; r < PL_RES_COUNT; r++) {
            double part = (double)w->svcs[i].shape->need[r] / total[r];
            key[i] = part > key[i] ? part : key[i];
        }
    }
    uint32_t *order = pl_order_by(key, w->nsvcs);
    free(key);
    return order;
}

static void pair_rows(struct rows *q)
{
    uint32_t sites[2];
    bool *lost = SK_ARENA_ARRAY(q->w->arena, bool, q->w->nsites + 1);
    for (uint32_t a = 0; a < q->w->nsites; a++) {
        for (uint32_t b = a + 1; b < q->w->nsites; b++) {
            sites[0] = a;
            sites[1] = b;
            lost[a] = true;
            lost[b] = true;
            q->scens[1] = (struct pl_scen){.sites = sites, .count = 2, .lost = lost};
            row_make(q, 0, &q->plan->losses[q->plan->nlosses++]);
            lost[a] = false;
            lost[b] = false;
        }
    }
}

void pl_losses_rows(const struct pl_state *st, bool whole, struct plan *plan)
{
    const struct pl_world *w = st->w;
    struct rows q = {.st = st, .w = w, .whole = whole, .plan = plan, .row_world = *w};
    q.scens[0] = w->scens[0];
    q.scens[1] = w->scens[0];
    q.row_world.scens = q.scens;
    q.row_world.nscens = 2;
    q.rs = pl_state_new(&q.row_world);
    memcpy(q.rs->place, st->place, w->nreplicas * sizeof(*q.rs->place));
    memset(q.rs->placed, true, w->nsvcs);
    q.lost = sk_xcalloc(w->nsvcs + 1, sizeof(*q.lost));
    q.order = by_size(w);
    size_t pairs = w->in->pairs ? w->nsites * (w->nsites - 1) / 2 : 0;
    plan->losses = SK_ARENA_ARRAY(plan->arena, struct plan_loss, w->nscens + pairs + 1);
    bool pairs_done = w->nscens > 1 && w->scens[w->nscens - 1].count >= 2;
    for (size_t k = 1; k < w->nscens; k++) {
        q.scens[1] = w->scens[k];
        row_make(&q, k, &plan->losses[plan->nlosses++]);
    }
    if (w->in->pairs && !pairs_done) {
        pair_rows(&q);
    }
    pl_state_free(q.rs);
    free(q.lost);
    free(q.order);
}

bool pl_losses_broken(const struct plan *plan)
{
    for (size_t i = 0; i < plan->nlosses; i++) {
        if (!plan->losses[i].ok) {
            return true;
        }
    }
    return !plan->node_losses.ok;
}
