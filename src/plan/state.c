/* SPDX-License-Identifier: Apache-2.0 */
#include "plan/state.h"

#include <stdlib.h>

#include "base/mem.h"
#include "plan/refit.h"
#include "plan/rules.h"

struct pl_state *pl_state_new(const struct pl_world *w)
{
    struct pl_state *st = sk_xcalloc(1, sizeof(*st));
    st->w = w;
    st->free = sk_xcalloc(w->nscens * w->nnodes * PL_RES_COUNT + 1, sizeof(*st->free));
    st->minfree = sk_xcalloc(w->nnodes * PL_RES_COUNT + 1, sizeof(*st->minfree));
    st->pool = sk_xcalloc(w->pooled ? w->nscens * w->nsites + 1 : 1, sizeof(*st->pool));
    st->place = sk_xcalloc(w->nreplicas + 1, sizeof(*st->place));
    st->alt = sk_xcalloc(w->nscens * w->nreplicas + 1, sizeof(*st->alt));
    st->placed = sk_xcalloc(w->nsvcs + 1, sizeof(*st->placed));
    st->goals = sk_xcalloc(w->nsvcs + 1, sizeof(*st->goals));
    st->cost = sk_xcalloc(w->nsvcs + 1, sizeof(*st->cost));
    st->stale = sk_xcalloc(w->nnodes + 1, sizeof(*st->stale));
    st->is_stale = sk_xcalloc(w->nnodes + 1, sizeof(*st->is_stale));
    st->dirty = sk_xcalloc(w->nscens + 1, sizeof(*st->dirty));
    st->undo = sk_xcalloc(1, sizeof(*st->undo));
    for (size_t n = 0; n < w->nnodes; n++) {
        for (size_t k = 0; k < w->nscens; k++) {
            memcpy(pl_free(st, k, (uint32_t)n), w->nodes[n].cap, sizeof(w->nodes[n].cap));
        }
        memcpy(st->minfree + n * PL_RES_COUNT, w->nodes[n].cap, sizeof(w->nodes[n].cap));
    }
    if (w->pooled) {
        for (size_t k = 0; k < w->nscens; k++) {
            memcpy(st->pool + k * w->nsites, w->pool, w->nsites * sizeof(*w->pool));
        }
    }
    memset(st->place, 0xff, (w->nreplicas + 1) * sizeof(*st->place));
    memset(st->alt, 0xff, (w->nscens * w->nreplicas + 1) * sizeof(*st->alt));
    return st;
}

void pl_state_free(struct pl_state *st)
{
    if (!st) {
        return;
    }
    free(st->free);
    free(st->minfree);
    free(st->pool);
    free(st->place);
    free(st->alt);
    free(st->placed);
    free(st->goals);
    free(st->cost);
    free(st->stale);
    free(st->is_stale);
    free(st->dirty);
    pl_undo_release(st->undo);
    free(st->undo);
    free(st);
}

void pl_state_copy(struct pl_state *to, const struct pl_state *from)
{
    const struct pl_world *w = from->w;
    size_t cells = w->nnodes * PL_RES_COUNT;
    memcpy(to->free, from->free, w->nscens * cells * sizeof(*to->free));
    memcpy(to->minfree, from->minfree, cells * sizeof(*to->minfree));
    if (w->pooled) {
        memcpy(to->pool, from->pool, w->nscens * w->nsites * sizeof(*to->pool));
    }
    memcpy(to->place, from->place, w->nreplicas * sizeof(*to->place));
    memcpy(to->alt, from->alt, w->nscens * w->nreplicas * sizeof(*to->alt));
    memcpy(to->placed, from->placed, w->nsvcs * sizeof(*to->placed));
    memcpy(to->goals, from->goals, w->nsvcs * sizeof(*to->goals));
    memcpy(to->cost, from->cost, w->nsvcs * sizeof(*to->cost));
    memcpy(to->stale, from->stale, from->nstale * sizeof(*to->stale));
    memcpy(to->is_stale, from->is_stale, w->nnodes * sizeof(*to->is_stale));
    to->nstale = from->nstale;
    to->work = from->work;
    to->gave_up = from->gave_up;
}

/* Adds (sign 1: gives room back) or takes (sign -1) so much; false if there is less than none left
 * afterwards. */
static bool use(struct pl_state *st, size_t scen, uint32_t node, const int64_t *need, int64_t sign)
{
    int64_t *f = pl_free(st, scen, node);
    bool ok = true;
    for (int r = 0; r < PL_RES_COUNT; r++) {
        f[r] += sign * need[r];
        ok = ok && f[r] >= 0;
    }
    if (st->w->pooled && need[PL_DISK] > 0) {
        int64_t *p = &st->pool[scen * st->w->nsites + st->w->nodes[node].site];
        *p += sign * need[PL_DISK];
        ok = ok && *p >= 0;
    }
    return ok;
}

static void work_out(struct pl_state *st, uint32_t node)
{
    const struct pl_world *w = st->w;
    int64_t *min = st->minfree + (size_t)node * PL_RES_COUNT;
    memcpy(min, pl_free(st, 0, node), PL_RES_COUNT * sizeof(*min));
    for (size_t k = 1; k < w->nscens; k++) {
        if (w->scens[k].lost[w->nodes[node].site]) {
            continue;
        }
        const int64_t *f = pl_free(st, k, node);
        for (int r = 0; r < PL_RES_COUNT; r++) {
            min[r] = f[r] < min[r] ? f[r] : min[r];
        }
    }
}

void pl_refresh_minfree(struct pl_state *st, uint32_t node)
{
    work_out(st, node);
    st->work += 3 * st->w->nscens;
}

void pl_state_settle(struct pl_state *st)
{
    while (st->nstale > 0) {
        uint32_t node = st->stale[--st->nstale];
        st->is_stale[node] = false;
        work_out(st, node);
    }
}

/* Later, once; what it costs counts each time, so that the searches end where they always did. */
static void refresh_later(struct pl_state *st, uint32_t node)
{
    if (!st->is_stale[node]) {
        st->is_stale[node] = true;
        st->stale[st->nstale++] = node;
    }
    st->work += 3 * st->w->nscens;
}

/* Uses (sign -1) or gives back what the service holds where it is, in every world that has not lost
 * it there. Worlds that are overdrawn get their bit in `dirty` (NULL when giving back): as room
 * only shrinks, those are the same whether replicas of one node are taken together or one by one.
 */
static void apply_kept(struct pl_state *st, const struct pl_svc *s, const uint32_t *nodes, int sign,
                       bool *dirty)
{
    const struct pl_world *w = st->w;
    for (uint32_t r = 0; r < s->replicas;) {
        uint32_t node = nodes[r];
        uint32_t site = w->nodes[node].site;
        int64_t count = 0;
        for (; r < s->replicas && nodes[r] == node; r++) {
            count++;
        }
        for (size_t k = 0; k < w->nscens; k++) {
            if (!w->scens[k].lost[site] && !use(st, k, node, s->shape->need, sign * count) &&
                dirty) {
                dirty[k] = true;
            }
        }
    }
    st->work += 4 * w->nscens * s->replicas;
}

/* The same for where its lost replicas went. */
static void apply_alt(struct pl_state *st, const struct pl_svc *s, const uint32_t *nodes, int sign)
{
    const struct pl_world *w = st->w;
    for (size_t k = 1; k < w->nscens; k++) {
        const uint32_t *alt = st->alt + k * w->nreplicas + s->replica0;
        for (uint32_t r = 0; r < s->replicas; r++) {
            if (alt[r] != PL_NONE && w->scens[k].lost[w->nodes[nodes[r]].site]) {
                (void)use(st, k, alt[r], s->shape->need, sign); /* it had room there */
            }
        }
    }
}

static void refresh_svc(struct pl_state *st, const struct pl_svc *s, const uint32_t *nodes)
{
    const struct pl_world *w = st->w;
    for (uint32_t r = 0; r < s->replicas; r++) {
        if (r == 0 || nodes[r] != nodes[r - 1]) {
            refresh_later(st, nodes[r]);
        }
    }
    for (size_t k = 1; k < w->nscens; k++) {
        const uint32_t *alt = st->alt + k * w->nreplicas + s->replica0;
        for (uint32_t r = 0; r < s->replicas; r++) {
            if (alt[r] != PL_NONE) {
                refresh_later(st, alt[r]);
            }
        }
    }
}

/* What refresh_svc() counts, where minfree is put back as it was. */
static void count_refresh(struct pl_state *st, const struct pl_svc *s, const uint32_t *nodes)
{
    const struct pl_world *w = st->w;
    uint64_t named = 0;
    for (uint32_t r = 0; r < s->replicas; r++) {
        named += r == 0 || nodes[r] != nodes[r - 1];
    }
    for (size_t k = 1; k < w->nscens; k++) {
        const uint32_t *alt = st->alt + k * w->nreplicas + s->replica0;
        for (uint32_t r = 0; r < s->replicas; r++) {
            named += alt[r] != PL_NONE;
        }
    }
    st->work += named * 3 * w->nscens;
}

static void forget(struct pl_state *st, const struct pl_svc *s, const uint32_t *nodes)
{
    const struct pl_world *w = st->w;
    apply_kept(st, s, nodes, 1, NULL);
    apply_alt(st, s, nodes, 1);
    for (size_t k = 0; k < w->nscens; k++) {
        memset(st->alt + k * w->nreplicas + s->replica0, 0xff, s->replicas * sizeof(*st->alt));
    }
    memset(st->place + s->replica0, 0xff, s->replicas * sizeof(*st->place));
    st->placed[s->index] = false;
    st->goals[s->index] = false;
}

/* All is as it was before pl_state_put(): minfree too, which was settled then. */
static void undo_put(struct pl_state *st, const struct pl_svc *s, const uint32_t *nodes)
{
    pl_undo_apply(st, st->undo);
    count_refresh(st, s, nodes);
    forget(st, s, nodes);
}

bool pl_state_put(struct pl_state *st, uint32_t svc, const uint32_t *nodes, bool goals,
                  uint64_t effort)
{
    const struct pl_world *w = st->w;
    const struct pl_svc *s = &w->svcs[svc];
    bool *dirty = st->dirty;
    SK_ASSERT(!st->placed[svc]);
    pl_state_settle(st);
    memset(dirty, 0, w->nscens * sizeof(*dirty));
    memcpy(st->place + s->replica0, nodes, s->replicas * sizeof(*nodes));
    st->placed[svc] = true;
    st->goals[svc] = goals;
    pl_undo_clear(st->undo);
    apply_kept(st, s, nodes, -1, dirty); /* nothing is replaced yet */
    if (dirty[0]) {
        undo_put(st, s, nodes);
        return false;
    }
    bool ok = true;
    for (size_t k = 1; k < w->nscens && ok; k++) {
        if (!dirty[k] && pl_wants_refit(s, &w->scens[k], goals)) {
            dirty[k] = !pl_refit_one(st, k, s);
        }
        if (dirty[k]) {
            ok = pl_refit_all(st, k, effort, st->undo);
        }
    }
    if (!ok) {
        undo_put(st, s, nodes);
    } else {
        refresh_svc(st, s, nodes);
        uint32_t moves;
        bool known = true;
        st->cost[svc] =
            pl_cost_hour(w, s, nodes, s->replicas, &known) + pl_move_hour(w, s, nodes, &moves);
    }
    return ok;
}

void pl_state_take(struct pl_state *st, uint32_t svc)
{
    const struct pl_svc *s = &st->w->svcs[svc];
    SK_ASSERT(st->placed[svc]);
    sk_autofree uint32_t *nodes = sk_xcalloc((size_t)s->replicas + 1, sizeof(*nodes));
    memcpy(nodes, st->place + s->replica0, s->replicas * sizeof(*nodes));
    refresh_svc(st, s, nodes);
    forget(st, s, nodes);
}

void pl_state_save(const struct pl_state *st, uint32_t svc, struct pl_saved *saved)
{
    const struct pl_world *w = st->w;
    const struct pl_svc *s = &w->svcs[svc];
    size_t n = s->replicas;
    saved->place = sk_xcalloc(n + 1, sizeof(uint32_t));
    saved->alt = sk_xcalloc(n * w->nscens + 1, sizeof(uint32_t));
    memcpy(saved->place, st->place + s->replica0, n * sizeof(uint32_t));
    for (size_t k = 0; k < w->nscens; k++) {
        memcpy(saved->alt + k * n, st->alt + k * w->nreplicas + s->replica0, n * sizeof(uint32_t));
    }
    saved->goals = st->goals[svc];
    saved->cost = st->cost[svc];
}

void pl_state_restore(struct pl_state *st, uint32_t svc, const struct pl_saved *saved)
{
    const struct pl_world *w = st->w;
    const struct pl_svc *s = &w->svcs[svc];
    size_t n = s->replicas;
    SK_ASSERT(!st->placed[svc]);
    memcpy(st->place + s->replica0, saved->place, n * sizeof(uint32_t));
    for (size_t k = 0; k < w->nscens; k++) {
        memcpy(st->alt + k * w->nreplicas + s->replica0, saved->alt + k * n, n * sizeof(uint32_t));
    }
    st->placed[svc] = true;
    st->goals[svc] = saved->goals;
    st->cost[svc] = saved->cost;
    apply_kept(st, s, saved->place, -1, NULL);
    apply_alt(st, s, saved->place, -1);
    refresh_svc(st, s, saved->place);
}

void pl_saved_release(struct pl_saved *saved)
{
    free(saved->place);
    free(saved->alt);
    *saved = (struct pl_saved){0};
}

struct pl_score pl_state_score(const struct pl_state *st)
{
    struct pl_score score = {0};
    for (size_t i = 0; i < st->w->nsvcs; i++) {
        if (!st->placed[i]) {
            score.unplaced++;
        } else {
            score.unmet += !st->goals[i];
            score.cost += st->cost[i];
        }
    }
    return score;
}

bool pl_score_better(const struct pl_score *a, const struct pl_score *b)
{
    if (a->unplaced != b->unplaced) {
        return a->unplaced < b->unplaced;
    }
    if (a->unmet != b->unmet) {
        return a->unmet < b->unmet;
    }
    double scale = b->cost > 1 ? b->cost : 1;
    return a->cost < b->cost - 1e-12 * scale;
}
