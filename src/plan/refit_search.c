/* SPDX-License-Identifier: Apache-2.0 */
#include "plan/refit_search.h"

#include <stdlib.h>

#include "base/mem.h"
#include "plan/refit.h"

struct search {
    struct pl_state *st;
    size_t scen;
    const struct pl_item *items;
    size_t n;
    uint64_t steps, effort;
};

static bool room(const struct search *q, uint32_t node, const int64_t *need)
{
    const struct pl_state *st = q->st;
    const int64_t *f = pl_free(st, q->scen, node);
    return f[PL_CPUS] >= need[PL_CPUS] && f[PL_MEMORY] >= need[PL_MEMORY] &&
           f[PL_DISK] >= need[PL_DISK] &&
           (!st->w->pooled || need[PL_DISK] == 0 ||
            st->pool[q->scen * st->w->nsites + st->w->nodes[node].site] >= need[PL_DISK]);
}

static void use(struct search *q, uint32_t node, const int64_t *need, int sign)
{
    int64_t *f = pl_free(q->st, q->scen, node);
    for (int r = 0; r < PL_RES_COUNT; r++) {
        f[r] -= sign * need[r];
    }
    if (q->st->w->pooled) {
        q->st->pool[q->scen * q->st->w->nsites + q->st->w->nodes[node].site] -=
            sign * need[PL_DISK];
    }
}

/* How many replicas of the item fit, if nobody else wanted the room; stops counting at `enough`. */
static int64_t slots(struct search *q, const struct pl_item *it, int64_t enough)
{
    const struct pl_world *w = q->st->w;
    const struct pl_shape *sh = it->s->shape;
    int64_t sum = 0;
    for (size_t j = 0; j < sh->nnodes && sum < enough; j++) {
        uint32_t node = sh->nodes[j];
        if (w->scens[q->scen].lost[w->nodes[node].site]) {
            continue;
        }
        const int64_t *f = pl_free(q->st, q->scen, node);
        int64_t fit = enough;
        for (int r = 0; r < PL_RES_COUNT; r++) {
            int64_t all;
            /* a division only where the room is short of what is asked */
            if (sh->need[r] > 0 && (__builtin_mul_overflow(sh->need[r], fit, &all) || f[r] < all)) {
                fit = f[r] / sh->need[r];
            }
        }
        sum += fit;
    }
    return sum;
}

/* Was an equal node tried before at this depth? Equal: same kind and same room left. */
static bool tried_equal(const struct search *q, const struct pl_shape *sh, size_t from, size_t j)
{
    const struct pl_world *w = q->st->w;
    uint32_t node = sh->nodes[j];
    const int64_t *f = pl_free(q->st, q->scen, node);
    for (size_t i = from; i < j; i++) {
        uint32_t other = sh->nodes[i];
        if (w->nodes[other].kind == w->nodes[node].kind &&
            memcmp(pl_free(q->st, q->scen, other), f, PL_RES_COUNT * sizeof(*f)) == 0) {
            return true;
        }
    }
    return false;
}

static bool dfs(struct search *q, size_t item, uint32_t done, size_t from);

static bool next_item(struct search *q, size_t item)
{
    const struct pl_item *it = &q->items[item];
    if (it->far && !pl_refit_near_enough(q->st, q->scen, it->s)) {
        return false;
    }
    for (size_t i = item + 1; i < q->n; i++) {
        if (slots(q, &q->items[i], q->items[i].lost) < q->items[i].lost) {
            return false;
        }
    }
    return dfs(q, item + 1, 0, 0);
}

/* Which replica of the service is its `nth` lost one. */
static uint32_t lost_replica(const struct search *q, const struct pl_svc *s, uint32_t nth)
{
    uint32_t r = 0;
    for (;; r++) {
        if (pl_is_lost(q->st, q->scen, s->replica0 + r)) {
            if (nth == 0) {
                return r;
            }
            nth--;
        }
    }
}

/* Replicas of an item are alike: their nodes are taken in ascending order. */
static bool dfs(struct search *q, size_t item, uint32_t done, size_t from)
{
    if (item == q->n) {
        return true;
    }
    if (++q->steps > q->effort) {
        return false;
    }
    const struct pl_item *it = &q->items[item];
    if (done == it->lost) {
        return next_item(q, item);
    }
    const struct pl_world *w = q->st->w;
    const struct pl_shape *sh = it->s->shape;
    uint32_t *alt = q->st->alt + q->scen * w->nreplicas + it->s->replica0;
    uint32_t r = lost_replica(q, it->s, done);
    for (size_t j = from; j < sh->nnodes; j++) {
        uint32_t node = sh->nodes[j];
        /* `from` itself holds the replica before, so it is tried even if its room has changed */
        if (w->scens[q->scen].lost[w->nodes[node].site] || !room(q, node, sh->need) ||
            tried_equal(q, sh, from + (done > 0), j)) {
            continue;
        }
        use(q, node, sh->need, 1);
        alt[r] = node;
        if (dfs(q, item, done + 1, j)) {
            return true;
        }
        alt[r] = PL_NONE;
        use(q, node, sh->need, -1);
        if (q->steps > q->effort) {
            return false;
        }
    }
    return false;
}

enum pl_found pl_refit_search(struct pl_state *st, size_t scen, struct pl_item *items, size_t n,
                              uint64_t effort)
{
    struct search q = {.st = st, .scen = scen, .items = items, .n = n, .effort = effort};
    for (size_t i = 0; i < n; i++) {
        int64_t fit = slots(&q, &items[i], (int64_t)items[i].lost * 64);
        if (fit < items[i].lost) {
            return PL_PROVED_NONE;
        }
        items[i].key = (double)items[i].lost / (double)fit;
    }
    for (size_t i = 1; i < n; i++) {
        struct pl_item x = items[i];
        size_t j = i;
        while (j > 0 && items[j - 1].key < x.key) {
            items[j] = items[j - 1];
            j--;
        }
        items[j] = x;
    }
    bool found = dfs(&q, 0, 0, 0);
    st->work += 40 * q.steps;
    return found ? PL_FOUND : q.steps > effort ? PL_GAVE_UP : PL_PROVED_NONE;
}
