/* SPDX-License-Identifier: Apache-2.0 */
#include "plan/verify/internal.h"

#define AUTO_DATA_MAX 8

struct layout { /* of one bucket */
    const struct project *project;
    const struct bucket *bucket;
    bool *allowed;  /* per site */
    int64_t *disks; /* per site: nodes with disk that are not drained */
    int64_t sites;  /* f */
    bool sites_written;
};

static void layout_init(struct vf *v, struct layout *l, const struct project *project,
                        const struct bucket *bucket)
{
    size_t allowed = 0;

    *l = (struct layout){.project = project, .bucket = bucket};
    l->allowed = SK_ARENA_ARRAY(v->arena, bool, v->inv->nsites + 1);
    l->disks = SK_ARENA_ARRAY(v->arena, int64_t, v->inv->nsites + 1);
    for (size_t n = 0; n < v->inv->nnodes; n++) {
        const struct node *node = &v->inv->nodes[n];

        l->disks[node->site] += node->disk_bytes > 0 && !node_drained(v->inv, node);
    }
    for (size_t s = 0; s < v->inv->nsites; s++) {
        const struct site *site = &v->inv->sites[s];

        l->allowed[s] = site->trust != SITE_CONTROL && !site->drained && l->disks[s] > 0 &&
                        vf_resident(site, bucket->residency, bucket->nresidency);
        allowed += l->allowed[s];
    }
    l->sites_written = bucket->survive.sites_written;
    l->sites = l->sites_written ? bucket->survive.sites : allowed >= 2 ? 1 : 0;
}

/*
 * How many shards fit when site s takes at most cap[s] (sorted, largest first) and any f sites hold
 * at most `parity`. If v is what the f-th fullest site holds, every site holds up to v, and only
 * the f largest may go beyond it until they hold `parity` together; f * v <= parity, so all v are
 * tried.
 */
static int64_t most_shards(const int64_t *cap, size_t count, int64_t f, int64_t parity)
{
    int64_t best = 0;

    for (int64_t v = 0; v * f <= parity; v++) {
        int64_t all = 0, top = 0, beyond = 0, more;

        for (size_t s = 0; s < count; s++) {
            int64_t level = cap[s] < v ? cap[s] : v;

            all += level;
            top += (int64_t)s < f ? level : 0;
            beyond += (int64_t)s < f ? cap[s] - level : 0;
        }
        more = parity - top < beyond ? parity - top : beyond;
        best = all + more > best ? all + more : best;
        if (count == 0 || v >= cap[0]) {
            break;
        }
    }
    return best;
}

/* What a bucket's row puts into a site. */
static long double shard_bytes(const struct vf *v, const struct vf_bucket *b, size_t site)
{
    long double bytes = 0;

    for (size_t i = 0; b->row && i < b->row->nshards; i++) {
        if (b->row->shards[i].count > 0 &&
            sk_str_eq(b->row->shards[i].site, v->inv->sites[site].name)) {
            bytes += (long double)b->bucket->size_bytes * (long double)b->row->shards[i].count /
                     (long double)b->row->data;
        }
    }
    return bytes;
}

/* Room for shards of size / data bytes in each allowed site, beside replicas and other buckets. */
static void room(const struct vf *v, const struct layout *l, int64_t data, int64_t *ret_cap)
{
    long double size = (long double)l->bucket->size_bytes;

    for (size_t s = 0; s < v->inv->nsites; s++) {
        long double left = (long double)(v->site_disk_cap[s] - v->site_disk[s]);
        long double fit;

        ret_cap[s] = l->allowed[s] ? l->disks[s] : 0;
        for (size_t i = 0; i < v->nbuckets; i++) {
            if (v->buckets[i].bucket != l->bucket) {
                left -= shard_bytes(v, &v->buckets[i], s);
            }
        }
        fit = size > 0 ? left * (long double)data / size : (long double)INT32_MAX;
        if (fit < (long double)ret_cap[s]) {
            ret_cap[s] = fit > 0 ? (int64_t)fit : 0;
        }
    }
}

/* The least (k+m)/k with k <= 8, the larger k of equals. With f sites lost, k shards must be
 * outside the f fullest, and those need no more than k each: m <= f * k covers every case. */
static bool best_code(struct vf *v, const struct layout *l, int64_t *ret_data, int64_t *ret_parity)
{
    int64_t *cap = SK_ARENA_ARRAY(v->arena, int64_t, v->inv->nsites + 1);
    bool found = false;

    for (int64_t k = AUTO_DATA_MAX; k >= 1; k--) {
        room(v, l, k, cap);
        (void)vf_top(cap, v->inv->nsites, 0); /* sorts, largest first */
        for (int64_t m = 0; m <= l->sites * k; m++) {
            int64_t shards = 0;

            for (size_t s = 0; s < v->inv->nsites; s++) {
                shards += cap[s];
            }
            if (l->sites > 0) {
                shards = most_shards(cap, v->inv->nsites, l->sites, m);
            }
            if (shards >= k + m) {
                if (!found || m * *ret_data < *ret_parity * k) {
                    *ret_data = k;
                    *ret_parity = m;
                    found = true;
                }
                break;
            }
        }
    }
    return found;
}

static void check_code(struct vf *v, const struct layout *l, const struct plan_bucket *row)
{
    const struct bucket *b = l->bucket;
    int64_t data = 0, parity = 0;

    if (b->has_code) {
        if (row->data != b->data || row->parity != b->parity) {
            vf_find(v, "bucket_code", "%.*s/%.*s: code is %lld+%lld, stated %lld+%lld",
                    SK_PRI(row->project), SK_PRI(row->bucket), (long long)b->data,
                    (long long)b->parity, (long long)row->data, (long long)row->parity);
        }
        return;
    }
    if (row->data > AUTO_DATA_MAX) {
        vf_find(v, "bucket_code", "%.*s/%.*s: data is %lld, at most %d", SK_PRI(row->project),
                SK_PRI(row->bucket), (long long)row->data, AUTO_DATA_MAX);
    } else if (v->plan->verdict == PLAN_OK && best_code(v, l, &data, &parity) &&
               (parity * row->data < row->parity * data ||
                (parity * row->data == row->parity * data && row->data < data))) {
        vf_find(v, "bucket_code", "%.*s/%.*s: %lld+%lld is possible, stated %lld+%lld",
                SK_PRI(row->project), SK_PRI(row->bucket), (long long)data, (long long)parity,
                (long long)row->data, (long long)row->parity);
    }
}

/* Shards by site: only where they may be, no more than nodes to keep them apart. */
static void check_shards(struct vf *v, struct vf_bucket *state, const struct layout *l,
                         const struct plan_bucket *row)
{
    int64_t *counts = SK_ARENA_ARRAY(v->arena, int64_t, row->nshards + 1);
    int64_t sum = 0, top;

    for (size_t i = 0; i < row->nshards; i++) {
        const struct plan_shard_count *sh = &row->shards[i];
        int64_t s = inventory_site(v->inv, sh->site);

        if (i > 0 && sk_str_cmp(row->shards[i - 1].site, sh->site) >= 0) {
            vf_find(v, "order", "bucket %.*s/%.*s: site '%.*s' comes twice or too late",
                    SK_PRI(row->project), SK_PRI(row->bucket), SK_PRI(sh->site));
        }
        if (s < 0 || !l->allowed[s] || sh->count < 1) {
            vf_find(v, "bucket_site", "%.*s/%.*s: %lld shards in '%.*s', where none may be",
                    SK_PRI(row->project), SK_PRI(row->bucket), (long long)sh->count,
                    SK_PRI(sh->site));
            continue;
        }
        if (sh->count > l->disks[s]) {
            vf_find(v, "bucket_nodes",
                    "%.*s/%.*s: %lld shards in '%.*s', which has %lld nodes "
                    "with disk",
                    SK_PRI(row->project), SK_PRI(row->bucket), (long long)sh->count,
                    SK_PRI(sh->site), (long long)l->disks[s]);
        }
        counts[i] = sh->count;
        sum += sh->count;
    }
    if (sum != row->data + row->parity) {
        vf_broken(v, "bucket_shards", "%.*s/%.*s: %lld shards, %lld+%lld asked",
                  SK_PRI(row->project), SK_PRI(row->bucket), (long long)sum, (long long)row->data,
                  (long long)row->parity);
    }
    top = vf_top(counts, row->nshards, l->sites);
    if (top > row->parity && l->sites_written) {
        vf_broken(v, "bucket_survive", "%.*s/%.*s: %lld sites hold %lld shards, parity is %lld",
                  SK_PRI(row->project), SK_PRI(row->bucket), (long long)l->sites, (long long)top,
                  (long long)row->parity);
    }
    state->goal_unmet = top > row->parity && !l->sites_written;
}

static struct vf_bucket *vf_bucket(struct vf *v, const struct plan_bucket *row)
{
    for (size_t i = 0; i < v->nbuckets; i++) {
        if (sk_str_eq(v->buckets[i].project->name, row->project) &&
            sk_str_eq(v->buckets[i].bucket->name, row->bucket)) {
            return &v->buckets[i];
        }
    }
    return NULL;
}

static void buckets_init(struct vf *v)
{
    size_t count = 0;

    for (size_t p = 0; p < v->in->nprojects; p++) {
        count += v->in->projects[p]->nbuckets;
    }
    v->buckets = SK_ARENA_ARRAY(v->arena, struct vf_bucket, count + 1);
    for (size_t p = 0; p < v->in->nprojects; p++) {
        for (size_t b = 0; b < v->in->projects[p]->nbuckets; b++) {
            v->buckets[v->nbuckets].project = v->in->projects[p];
            v->buckets[v->nbuckets++].bucket = &v->in->projects[p]->buckets[b];
        }
    }
}

/* Bytes of every row first: how much room a code has depends on all of them. */
static void claim(struct vf *v)
{
    for (size_t i = 0; i < v->plan->nbuckets; i++) {
        const struct plan_bucket *row = &v->plan->buckets[i];
        struct vf_bucket *state = vf_bucket(v, row);

        if (!state || state->row || row->data < 1 || row->parity < 0) {
            vf_find(v, "bucket_unknown", "%.*s/%.*s is not declared, comes twice or has no code",
                    SK_PRI(row->project), SK_PRI(row->bucket));
            continue;
        }
        if (i > 0 && sk_str_cmp(v->plan->buckets[i - 1].project, row->project) >= 0 &&
            (!sk_str_eq(v->plan->buckets[i - 1].project, row->project) ||
             sk_str_cmp(v->plan->buckets[i - 1].bucket, row->bucket) >= 0)) {
            vf_find(v, "order", "buckets: %.*s/%.*s comes too late", SK_PRI(row->project),
                    SK_PRI(row->bucket));
        }
        state->row = row;
        for (size_t k = 0; k < row->nshards; k++) {
            int64_t s = inventory_site(v->inv, row->shards[k].site);

            if (s >= 0 && row->shards[k].count > 0) {
                v->site_shards[s] +=
                    (long double)state->bucket->size_bytes * row->shards[k].count / row->data;
            }
        }
    }
}

void vf_check_buckets(struct vf *v)
{
    buckets_init(v);
    claim(v);
    for (size_t i = 0; i < v->nbuckets; i++) {
        struct vf_bucket *state = &v->buckets[i];
        struct layout l;

        layout_init(v, &l, state->project, state->bucket);
        if (!state->row) {
            vf_broken(v, "bucket_missing", "bucket %.*s/%.*s has no row",
                      SK_PRI(state->project->name), SK_PRI(state->bucket->name));
            continue;
        }
        check_code(v, &l, state->row);
        check_shards(v, state, &l, state->row);
    }
    for (size_t s = 0; s < v->inv->nsites; s++) {
        long double all = (long double)v->site_disk[s] + v->site_shards[s];

        if (v->site_shards[s] > 0 && all > (long double)v->site_disk_cap[s] * (1 + 1e-12L)) {
            vf_find(v, "bucket_disk", "site '%.*s' has %.0Lf bytes of disk, %.0Lf are planned",
                    SK_PRI(v->inv->sites[s].name), (long double)v->site_disk_cap[s], all);
        }
    }
}
