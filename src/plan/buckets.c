/* SPDX-License-Identifier: Apache-2.0 */
#include "plan/buckets.h"

#include <math.h>
#include <stdlib.h>

#include "base/mem.h"
#include "plan/rules.h"

#define DATA_MAX 8
#define GB 1073741824.0

struct layout {
    const struct pl_world *w;
    const struct pl_bucket *b;
    uint32_t *nodes;  /* [nsites] nodes with disk; 0 where the bucket may not be */
    uint32_t *shards; /* [nsites] */
    uint32_t total, sites;
};

static uint32_t min32(uint32_t a, uint32_t b)
{
    return a < b ? a : b;
}

static int cmp_desc(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a;
    uint32_t y = *(const uint32_t *)b;
    return x > y ? -1 : x < y;
}

/* Most shards that the sites hold if any f of them hold at most m: the f largest share m, each
 * other holds at most the f-th part of it. */
static uint32_t most_shards(const struct layout *l, uint32_t f, uint32_t m)
{
    uint32_t n = (uint32_t)l->w->nsites;
    if (f == 0) {
        return l->total;
    }
    sk_autofree uint32_t *sorted = sk_xcalloc((size_t)n + 1, sizeof(*sorted));
    memcpy(sorted, l->nodes, n * sizeof(*sorted));
    qsort(sorted, n, sizeof(*sorted), cmp_desc);
    uint32_t top = 0;
    for (uint32_t i = 0; i < n && i < f; i++) {
        top += sorted[i];
    }
    uint32_t sum = min32(top, m);
    for (uint32_t i = f; i < n; i++) {
        sum += top <= m ? sorted[i] : min32(sorted[i], m / f);
    }
    return sum;
}

/* Bytes that one more shard takes in its site. */
static int64_t shard_bytes(const struct pl_bucket *b, int64_t count)
{
    return (int64_t)ceil((double)b->decl->size_bytes * (double)count / (double)b->data);
}

static bool disk_ok(const struct layout *l, uint32_t site, uint32_t count)
{
    return shard_bytes(l->b, count) <= l->w->pool[site];
}

/* Best site for the next shard: cheapest disk, then fewest shards, then name. */
static uint32_t next_site(const struct layout *l, uint32_t f, uint32_t m, uint32_t cap, bool disk)
{
    uint32_t best = PL_NONE;
    for (uint32_t s = 0; s < l->w->nsites; s++) {
        if (l->shards[s] >= l->nodes[s] || l->shards[s] >= cap) {
            continue;
        }
        l->shards[s]++;
        bool ok = f == 0 || pl_top_sum(l->shards, l->w->nsites, f) <= m;
        ok = ok && (!disk || disk_ok(l, s, l->shards[s]));
        l->shards[s]--;
        if (!ok) {
            continue;
        }
        double price = l->b->decl->size_bytes > 0 ? l->w->inv->sites[s].price_gb_month : 0;
        double other = best == PL_NONE || l->b->decl->size_bytes == 0
                           ? 0
                           : l->w->inv->sites[best].price_gb_month;
        if (best == PL_NONE || price < other ||
            (price <= other && l->shards[s] < l->shards[best])) {
            best = s;
        }
    }
    return best;
}

/* Spreads `count` shards; false (and none spread) if they do not go. First with every site at no
 * more than its even part of m, then without that cap. */
static bool spread(struct layout *l, uint32_t count, uint32_t f, uint32_t m, bool disk)
{
    for (int round = 0; round < 2; round++) {
        uint32_t cap = f == 0 || round == 1 ? UINT32_MAX : m / f;
        memset(l->shards, 0, l->w->nsites * sizeof(*l->shards));
        uint32_t done = 0;
        for (; done < count; done++) {
            uint32_t s = next_site(l, f, m, cap, disk);
            if (s == PL_NONE && round == 0) {
                /* the last of them may make f sites fuller than even */
                s = next_site(l, f, m, UINT32_MAX, disk);
            }
            if (s == PL_NONE) {
                break;
            }
            l->shards[s]++;
        }
        if (done == count) {
            return true;
        }
    }
    memset(l->shards, 0, l->w->nsites * sizeof(*l->shards));
    return false;
}

/* The least (k+m)/k with k <= 8; of equal ones the larger k. False if there is none. */
static bool auto_code(struct layout *l, struct pl_bucket *b, uint32_t f, bool disk)
{
    bool found = false;
    for (int64_t k = DATA_MAX; k >= 1; k--) {
        for (int64_t m = f == 0 ? 0 : 1; m <= l->total; m++) {
            bool less = !found || (k + m) * b->data < (b->data + b->parity) * k;
            if (!less || k + m > l->total || most_shards(l, f, (uint32_t)m) < k + m) {
                continue;
            }
            int64_t data = b->data;
            int64_t parity = b->parity;
            b->data = k;
            b->parity = m;
            if (spread(l, (uint32_t)(k + m), f, (uint32_t)m, disk)) {
                found = true;
                break;
            }
            b->data = data;
            b->parity = parity;
        }
    }
    return found && spread(l, (uint32_t)(b->data + b->parity), f, (uint32_t)b->parity, disk);
}

static bool choose(struct layout *l, struct pl_bucket *b, uint32_t f, bool disk)
{
    if (!b->decl->has_code) {
        return auto_code(l, b, f, disk);
    }
    b->data = b->decl->data;
    b->parity = b->decl->parity;
    return spread(l, (uint32_t)(b->data + b->parity), f, (uint32_t)b->parity, disk);
}

static void find_sites(struct layout *l)
{
    for (uint32_t n = 0; n < l->w->nnodes; n++) {
        const struct node *node = &l->w->inv->nodes[n];
        const struct site *site = &l->w->inv->sites[node->site];
        if (node->disk_bytes > 0 && !node_drained(l->w->inv, node) && site->trust != SITE_CONTROL &&
            pl_residency_ok(l->b->decl->residency, l->b->decl->nresidency, site)) {
            l->sites += l->nodes[node->site] == 0;
            l->nodes[node->site]++;
            l->total++;
        }
    }
}

/* No layout at all, by the closed form, or less disk in all than the data alone. */
static bool prove(const struct layout *l, const struct pl_bucket *b)
{
    if (b->state == PL_BUCKET_NO_DISK) {
        double room = 0;
        for (uint32_t s = 0; s < l->w->nsites; s++) {
            room += l->nodes[s] > 0 ? (double)l->w->pool[s] : 0;
        }
        return (double)b->decl->size_bytes > room;
    }
    if (b->decl->has_code) {
        return most_shards(l, b->sites, (uint32_t)b->decl->parity) <
               b->decl->data + b->decl->parity;
    }
    for (int64_t k = 1; k <= DATA_MAX; k++) {
        for (int64_t m = 0; m <= l->total; m++) {
            if (most_shards(l, b->sites, (uint32_t)m) >= k + m) {
                return false;
            }
        }
    }
    return true;
}

static void plan_one(struct pl_world *w, struct pl_bucket *b)
{
    struct layout l = {.w = w, .b = b};
    l.nodes = SK_ARENA_ARRAY(w->arena, uint32_t, w->nsites + 1);
    l.shards = SK_ARENA_ARRAY(w->arena, uint32_t, w->nsites + 1);
    b->shards = l.shards;
    find_sites(&l);
    b->sites_written = b->decl->survive.sites_written;
    int64_t written = b->decl->survive.sites;
    b->sites = b->sites_written ? (uint32_t)(written > 1000 ? 1000 : written) : l.sites >= 2;
    if (l.sites == 0) {
        b->state = PL_BUCKET_NO_SITE;
        return;
    }
    for (int disk = 1; disk >= 0; disk--) {
        if (choose(&l, b, b->sites, disk)) {
            b->state = disk ? PL_BUCKET_OK : PL_BUCKET_NO_DISK;
            b->proven = !disk && prove(&l, b);
            return;
        }
        if (!b->sites_written && b->sites > 0 && choose(&l, b, 0, disk)) {
            b->state = disk ? PL_BUCKET_OK : PL_BUCKET_NO_DISK;
            b->goal_unmet = true;
            return;
        }
    }
    b->state = b->decl->has_code && b->decl->data + b->decl->parity > l.total ? PL_BUCKET_NO_NODES
                                                                              : PL_BUCKET_NO_SPREAD;
    b->proven = prove(&l, b);
}

static void settle(struct pl_world *w, struct pl_bucket *b, double *cost)
{
    if (b->state == PL_BUCKET_NO_DISK) {
        for (uint32_t s = 0; s < w->nsites; s++) {
            int64_t over = shard_bytes(b, b->shards[s]) - w->pool[s];
            b->missing += over > 0 ? over : 0;
        }
        memset(b->shards, 0, w->nsites * sizeof(*b->shards));
    }
    if (b->state != PL_BUCKET_OK) {
        return;
    }
    for (uint32_t s = 0; s < w->nsites; s++) {
        if (b->shards[s] > 0) {
            w->pool[s] -= shard_bytes(b, b->shards[s]);
            *cost += (double)b->decl->size_bytes * b->shards[s] / (double)b->data / GB *
                     w->inv->sites[s].price_gb_month / PL_MONTH_HOURS;
        }
    }
}

void pl_buckets_plan(struct pl_world *w, struct pl_buckets *ret)
{
    const struct plan_input *in = w->in;
    *ret = (struct pl_buckets){0};
    for (size_t p = 0; p < in->nprojects; p++) {
        ret->len += in->projects[p]->nbuckets;
    }
    ret->items = SK_ARENA_ARRAY(w->arena, struct pl_bucket, ret->len + 1);
    size_t at = 0;
    bool sized = false;
    for (size_t p = 0; p < in->nprojects; p++) {
        for (size_t i = 0; i < in->projects[p]->nbuckets; i++) {
            struct pl_bucket *b = &ret->items[at++];
            b->project = in->projects[p];
            b->decl = &in->projects[p]->buckets[i];
            plan_one(w, b);
            settle(w, b, &ret->cost_hour);
            sized = sized || b->decl->size_bytes > 0;
        }
    }
    for (size_t i = 0; i < w->nsvcs && sized; i++) {
        w->pooled = w->pooled || w->svcs[i].shape->need[PL_DISK] > 0;
    }
}

void pl_buckets_report(const struct pl_world *w, const struct pl_buckets *buckets,
                       struct plan *plan)
{
    plan->buckets = SK_ARENA_ARRAY(plan->arena, struct plan_bucket, buckets->len + 1);
    for (size_t i = 0; i < buckets->len; i++) {
        const struct pl_bucket *b = &buckets->items[i];
        if (b->state != PL_BUCKET_OK) {
            continue;
        }
        struct plan_bucket *out = &plan->buckets[plan->nbuckets++];
        out->project = sk_arena_str(plan->arena, b->project->name);
        out->bucket = sk_arena_str(plan->arena, b->decl->name);
        out->data = b->data;
        out->parity = b->parity;
        out->shards = SK_ARENA_ARRAY(plan->arena, struct plan_shard_count, w->nsites + 1);
        for (uint32_t s = 0; s < w->nsites; s++) {
            if (b->shards[s] > 0) {
                struct plan_shard_count *c = &out->shards[out->nshards++];
                c->site = sk_arena_str(plan->arena, w->inv->sites[s].name);
                c->count = b->shards[s];
            }
        }
    }
}

bool pl_buckets_broken(const struct pl_buckets *buckets)
{
    for (size_t i = 0; i < buckets->len; i++) {
        if (buckets->items[i].state != PL_BUCKET_OK) {
            return true;
        }
    }
    return false;
}
