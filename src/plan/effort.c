/* SPDX-License-Identifier: Apache-2.0 */
#include "plan/effort.h"

#include "plan/refit.h"

static bool base_room(const struct pl_state *st, const struct pl_svc *s, uint32_t node)
{
    const struct pl_world *w = st->w;
    const int64_t *f = pl_free(st, 0, node);
    for (int r = 0; r < PL_RES_COUNT; r++) {
        if (f[r] < s->shape->need[r]) {
            return false;
        }
    }
    return !w->pooled || st->pool[w->nodes[node].site] >= s->shape->need[PL_DISK];
}

/* Room that no loss needs first, then the emptiest of its service, then the cheapest. */
static uint32_t pick(const struct pl_state *st, const struct pl_svc *s, const uint32_t *own)
{
    uint32_t best = PL_NONE;
    bool best_spare = false;
    uint32_t best_own = 0;
    for (size_t i = 0; i < s->shape->nnodes; i++) {
        uint32_t node = s->shape->nodes[s->shape->by_cost[i]];
        if (!base_room(st, s, node)) {
            continue;
        }
        bool spare = pl_state_room(st, s->shape->need, node);
        if (best == PL_NONE || (spare && !best_spare) ||
            (spare == best_spare && own[node] < best_own)) {
            best = node;
            best_spare = spare;
            best_own = own[node];
        }
    }
    return best;
}

static void take(struct pl_state *st, const struct pl_svc *s, uint32_t node)
{
    const struct pl_world *w = st->w;
    for (size_t k = 0; k < w->nscens; k++) {
        if (w->scens[k].lost[w->nodes[node].site]) {
            continue;
        }
        int64_t *f = pl_free(st, k, node);
        for (int r = 0; r < PL_RES_COUNT; r++) {
            f[r] -= s->shape->need[r];
        }
        if (w->pooled) {
            st->pool[k * w->nsites + w->nodes[node].site] -= s->shape->need[PL_DISK];
        }
    }
    pl_refresh_minfree(st, node);
}

void pl_place_rest(struct pl_placer *p, struct pl_state *st)
{
    const struct pl_world *w = st->w;
    pl_state_settle(st);
    for (size_t i = 0; i < w->nsvcs; i++) {
        const struct pl_svc *s = &w->svcs[i];
        if (st->placed[i]) {
            continue;
        }
        for (uint32_t r = 0; r < s->replicas; r++) {
            uint32_t node = pick(st, s, p->own);
            if (node == PL_NONE) {
                break;
            }
            st->place[s->replica0 + r] = node;
            p->own[node]++;
            take(st, s, node);
        }
        for (uint32_t r = 0; r < s->replicas; r++) {
            if (st->place[s->replica0 + r] != PL_NONE) {
                p->own[st->place[s->replica0 + r]] = 0;
            }
        }
    }
}
