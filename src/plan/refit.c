/* SPDX-License-Identifier: Apache-2.0 */
#include "plan/refit.h"

#include <stdlib.h>

#include "base/mem.h"
#include "plan/refit_search.h"
#include "plan/rules.h"

static void save_world(struct pl_state *st, size_t scen, struct pl_undo *undo)
{
    const struct pl_world *w = st->w;
    if (undo->len == undo->made) {
        SK_GROW(undo->saved, undo->made, undo->cap);
        struct pl_undo_item *made = &undo->saved[undo->made++];
        made->free = sk_xcalloc(w->nnodes * PL_RES_COUNT + 1, sizeof(*made->free));
        made->alt = sk_xcalloc(w->nreplicas + 1, sizeof(*made->alt));
        made->pool = sk_xcalloc(w->nsites + 1, sizeof(*made->pool));
    }
    struct pl_undo_item *it = &undo->saved[undo->len++];
    it->scen = scen;
    memcpy(it->free, pl_free(st, scen, 0), w->nnodes * PL_RES_COUNT * sizeof(*it->free));
    memcpy(it->alt, st->alt + scen * w->nreplicas, w->nreplicas * sizeof(*it->alt));
    if (w->pooled) {
        memcpy(it->pool, st->pool + scen * w->nsites, w->nsites * sizeof(*it->pool));
    }
}

static void save_minfree(struct pl_state *st, struct pl_undo *undo)
{
    size_t cells = st->w->nnodes * PL_RES_COUNT;
    if (!undo->has_minfree) {
        if (!undo->minfree) {
            undo->minfree = sk_xcalloc(cells + 1, sizeof(*undo->minfree));
        }
        memcpy(undo->minfree, st->minfree, cells * sizeof(*undo->minfree));
        undo->has_minfree = true;
    }
}

void pl_undo_apply(struct pl_state *st, struct pl_undo *undo)
{
    const struct pl_world *w = st->w;
    for (size_t i = undo->len; i-- > 0;) {
        struct pl_undo_item *it = &undo->saved[i];
        memcpy(pl_free(st, it->scen, 0), it->free, w->nnodes * PL_RES_COUNT * sizeof(*it->free));
        memcpy(st->alt + it->scen * w->nreplicas, it->alt, w->nreplicas * sizeof(*it->alt));
        if (w->pooled) {
            memcpy(st->pool + it->scen * w->nsites, it->pool, w->nsites * sizeof(*it->pool));
        }
    }
    if (undo->has_minfree) {
        memcpy(st->minfree, undo->minfree, w->nnodes * PL_RES_COUNT * sizeof(*undo->minfree));
    }
    if (undo->len > 0) { /* counted as if it were worked out */
        st->work += 3 * w->nscens * w->nnodes;
    }
}

void pl_undo_clear(struct pl_undo *undo)
{
    undo->len = 0;
    undo->has_minfree = false;
}

void pl_undo_release(struct pl_undo *undo)
{
    for (size_t i = 0; i < undo->made; i++) {
        free(undo->saved[i].free);
        free(undo->saved[i].alt);
        free(undo->saved[i].pool);
    }
    free(undo->saved);
    free(undo->minfree);
    free(undo->items);
    *undo = (struct pl_undo){0};
}

static void take_room(struct pl_state *st, size_t scen, uint32_t node, const int64_t *need,
                      int sign)
{
    int64_t *f = pl_free(st, scen, node);
    for (int r = 0; r < PL_RES_COUNT; r++) {
        f[r] -= sign * need[r];
    }
    if (st->w->pooled) {
        st->pool[scen * st->w->nsites + st->w->nodes[node].site] -= sign * need[PL_DISK];
    }
}

static bool has_room(const struct pl_state *st, size_t scen, uint32_t node, const int64_t *need)
{
    const int64_t *f = pl_free(st, scen, node);
    return f[PL_CPUS] >= need[PL_CPUS] && f[PL_MEMORY] >= need[PL_MEMORY] &&
           f[PL_DISK] >= need[PL_DISK] &&
           (!st->w->pooled || need[PL_DISK] == 0 ||
            st->pool[scen * st->w->nsites + st->w->nodes[node].site] >= need[PL_DISK]);
}

/* How much of a node stays free afterwards, as a sum of shares: small is a tight fit. */
static double leftover(const struct pl_world *w, const int64_t *f, uint32_t node,
                       const int64_t *need)
{
    const int64_t *cap = w->nodes[node].cap;
    return (double)(f[PL_CPUS] - need[PL_CPUS]) / (double)cap[PL_CPUS] +
           (double)(f[PL_MEMORY] - need[PL_MEMORY]) / (double)cap[PL_MEMORY];
}

uint32_t pl_refit_pick(struct pl_state *st, size_t scen, const struct pl_svc *s, uint32_t site,
                       bool by_cost)
{
    const struct pl_world *w = st->w;
    const struct pl_shape *sh = s->shape;
    uint32_t best = PL_NONE;
    double best_key = 0;
    bool best_free = false;
    for (size_t i = 0; i < sh->nsites; i++) {
        if (w->scens[scen].lost[sh->sites[i]] || (site != PL_NONE && sh->sites[i] != site)) {
            continue;
        }
        st->work += 3 * (sh->first[i + 1] - sh->first[i]);
        for (size_t j = sh->first[i]; j < sh->first[i + 1]; j++) {
            uint32_t n = sh->nodes[j];
            if (!has_room(st, scen, n, sh->need)) {
                continue;
            }
            const int64_t *f = pl_free(st, scen, n);
            const int64_t *min = st->minfree + (size_t)n * PL_RES_COUNT;
            /* room that another world keeps free anyway costs nobody anything */
            bool shared = by_cost || (f[PL_CPUS] - sh->need[PL_CPUS] >= min[PL_CPUS] &&
                                      f[PL_MEMORY] - sh->need[PL_MEMORY] >= min[PL_MEMORY]);
            if (best_free && !shared) {
                continue;
            }
            double key = by_cost ? sh->cost[j] : leftover(w, f, n, sh->need);
            if (best == PL_NONE || (shared && !best_free) ||
                (shared == best_free && key < best_key)) {
                best = n;
                best_key = key;
                best_free = shared;
            }
        }
    }
    if (best != PL_NONE) {
        take_room(st, scen, best, sh->need, 1);
    }
    return best;
}

bool pl_refit_far_matters(const struct pl_state *st, size_t scen, const struct pl_svc *s)
{
    const struct pl_world *w = st->w;
    if (!s->has_after || s->ask < w->scens[scen].count || s->replicas == 0) {
        return false;
    }
    for (uint32_t r = 0; r < s->replicas; r++) {
        uint32_t node = st->place[s->replica0 + r];
        if (node != PL_NONE && !w->scens[scen].lost[w->nodes[node].site]) {
            return false;
        }
    }
    return true;
}

static double alt_share(const struct pl_state *st, size_t scen, const struct pl_svc *s,
                        uint32_t extra_site)
{
    const struct pl_world *w = st->w;
    struct pl_spread sp;
    size_t room = (s->replicas < w->nsites ? s->replicas : w->nsites) + 2;
    sk_autofree uint32_t *mem = sk_xcalloc(2 * room, sizeof(*mem));
    sp.site = mem;
    sp.count = mem + room;
    pl_spread_of(w, st->alt + scen * w->nreplicas + s->replica0, s->replicas, &sp);
    if (extra_site != PL_NONE) {
        sp.site[sp.len++] = extra_site;
    }
    return pl_share_within(w, s->users, sp.site, sp.len, s->after_ms);
}

bool pl_refit_near_enough(const struct pl_state *st, size_t scen, const struct pl_svc *s)
{
    return alt_share(st, scen, s, PL_NONE) >= s->share - PL_EPS;
}

/* The site that brings most of the demand within reach and has room; PL_NONE if none adds any. */
static uint32_t nearest_gain(struct pl_state *st, size_t scen, const struct pl_svc *s)
{
    const struct pl_world *w = st->w;
    double best = alt_share(st, scen, s, PL_NONE) + PL_EPS;
    uint32_t site = PL_NONE;
    for (size_t i = 0; i < s->shape->nsites; i++) {
        uint32_t at = s->shape->sites[i];
        bool room = false;
        for (size_t j = s->shape->first[i]; j < s->shape->first[i + 1] && !room; j++) {
            room = has_room(st, scen, s->shape->nodes[j], s->shape->need);
        }
        if (w->scens[scen].lost[at] || !room) {
            continue;
        }
        double share = alt_share(st, scen, s, at);
        if (share > best) {
            best = share;
            site = at;
        }
    }
    return site;
}

static void drop_alt(struct pl_state *st, size_t scen, const struct pl_svc *s)
{
    uint32_t *alt = st->alt + scen * st->w->nreplicas + s->replica0;
    for (uint32_t r = 0; r < s->replicas; r++) {
        if (alt[r] != PL_NONE) {
            take_room(st, scen, alt[r], s->shape->need, -1);
            alt[r] = PL_NONE;
        }
    }
}

bool pl_refit_one(struct pl_state *st, size_t scen, const struct pl_svc *s)
{
    const struct pl_world *w = st->w;
    uint32_t *alt = st->alt + scen * w->nreplicas + s->replica0;
    bool far = pl_refit_far_matters(st, scen, s);
    for (uint32_t r = 0; r < s->replicas; r++) {
        if (!pl_is_lost(st, scen, s->replica0 + r)) {
            continue;
        }
        uint32_t site = PL_NONE;
        if (far && !pl_refit_near_enough(st, scen, s)) {
            site = nearest_gain(st, scen, s);
        }
        alt[r] = pl_refit_pick(st, scen, s, site, false);
        if (alt[r] == PL_NONE) {
            drop_alt(st, scen, s);
            return false;
        }
    }
    if (far && !pl_refit_near_enough(st, scen, s)) {
        drop_alt(st, scen, s);
        return false;
    }
    return true;
}

/* Size of a replica against the room that its allowed nodes have left, per order of packing. */
static double item_key(const struct pl_state *st, size_t scen, const struct pl_svc *s, int order)
{
    const struct pl_world *w = st->w;
    double size = 0;
    for (int r = 0; r < 2; r++) {
        int64_t need = s->shape->need[r];
        double room = 0;
        for (size_t j = 0; order > 0 && j < s->shape->nnodes; j++) {
            uint32_t n = s->shape->nodes[j];
            if (!w->scens[scen].lost[w->nodes[n].site]) {
                int64_t f = pl_free(st, scen, n)[r];
                room += order == 2 ? (double)f : need > 0 ? (double)(f / need) : 1;
            }
        }
        double key = order == 0 ? (double)need / (1 + (double)w->nodes[0].cap[r]) : 1 / (1 + room);
        size = key > size ? key : size;
    }
    return size;
}

static void sort_items(struct pl_item *items, size_t n)
{
    for (size_t i = 1; i < n; i++) { /* stable; few items */
        struct pl_item x = items[i];
        size_t j = i;
        while (j > 0 && items[j - 1].key < x.key) {
            items[j] = items[j - 1];
            j--;
        }
        items[j] = x;
    }
}

static int cmp_items(const void *a, const void *b)
{
    const struct pl_item *x = a;
    const struct pl_item *y = b;
    if (x->key != y->key) {
        return x->key > y->key ? -1 : 1;
    }
    return x->s->index < y->s->index ? -1 : x->s->index > y->s->index;
}

static size_t gather(struct pl_state *st, size_t scen, struct pl_undo *undo)
{
    const struct pl_world *w = st->w;
    size_t len = 0;
    for (size_t i = 0; i < w->nsvcs; i++) {
        const struct pl_svc *s = &w->svcs[i];
        if (!st->placed[i] || !pl_wants_refit(s, &w->scens[scen], st->goals[i])) {
            continue;
        }
        uint32_t lost = 0;
        for (uint32_t r = 0; r < s->replicas; r++) {
            lost += pl_is_lost(st, scen, s->replica0 + r);
        }
        if (lost > 0) {
            drop_alt(st, scen, s);
            SK_GROW(undo->items, len, undo->items_cap);
            undo->items[len++] =
                (struct pl_item){.s = s, .lost = lost, .far = pl_refit_far_matters(st, scen, s)};
        }
    }
    st->work += w->nreplicas;
    return len;
}

/* True if they stood in another order before, or for the first time. */
static bool pack_order(const struct pl_state *st, size_t scen, struct pl_item *items, size_t n,
                       int order)
{
    if (n < 2 && order > 0) {
        return false;
    }
    for (size_t i = 0; i < n; i++) {
        items[i].was = i;
        items[i].key = item_key(st, scen, items[i].s, order);
    }
    if (n < 32) {
        sort_items(items, n);
    } else {
        qsort(items, n, sizeof(*items), cmp_items);
    }
    bool moved = order == 0;
    for (size_t i = 0; i < n && !moved; i++) {
        moved = items[i].was != i;
    }
    return moved;
}

static bool pack(struct pl_state *st, size_t scen, const struct pl_item *items, size_t n)
{
    bool fits = true;
    for (size_t i = 0; i < n && fits; i++) {
        fits = pl_refit_one(st, scen, items[i].s);
    }
    for (size_t i = 0; i < n && !fits; i++) {
        drop_alt(st, scen, items[i].s);
    }
    return fits;
}

/* Greedily, in three orders. The same order again would fail again: it counts, and is not tried. */
static bool pack_greedily(struct pl_state *st, size_t scen, struct pl_item *items, size_t n)
{
    uint64_t cost = 0;
    for (int order = 0; order < 3; order++) {
        if (!pack_order(st, scen, items, n, order)) {
            st->work += cost;
            continue;
        }
        uint64_t before = st->work;
        if (pack(st, scen, items, n)) {
            return true;
        }
        cost = st->work - before;
    }
    return false;
}

static bool all_have_room(const struct pl_state *st, size_t scen)
{
    bool ok = true;
    for (size_t i = 0; i < st->w->nnodes && ok; i++) {
        const int64_t *f = pl_free(st, scen, (uint32_t)i);
        ok = f[PL_CPUS] >= 0 && f[PL_MEMORY] >= 0 && f[PL_DISK] >= 0;
    }
    return ok;
}

bool pl_refit_all(struct pl_state *st, size_t scen, uint64_t effort, struct pl_undo *undo)
{
    save_world(st, scen, undo);
    size_t n = gather(st, scen, undo);
    if (!all_have_room(st, scen)) {
        return false;
    }
    bool fits = pack_greedily(st, scen, undo->items, n);
    if (!fits && effort > 0) {
        enum pl_found found = pl_refit_search(st, scen, undo->items, n, effort);
        fits = found == PL_FOUND;
        st->gave_up = st->gave_up || found == PL_GAVE_UP;
    } else if (!fits) {
        st->gave_up = true;
    }
    if (fits) {
        save_minfree(st, undo);
        for (size_t i = 0; i < st->w->nnodes; i++) {
            pl_refresh_minfree(st, (uint32_t)i);
        }
    }
    return fits;
}
