/* SPDX-License-Identifier: Apache-2.0 */
#include "plan/shapes.h"

#include <stdlib.h>

#include "base/mem.h"

struct entry {
    uint64_t hash;
    const struct service *like; /* the first service of this shape */
    struct pl_shape *shape;
};

struct pl_shapes {
    struct pl_world *w;
    struct entry *entries;
    size_t len, cap;
    uint32_t *slots; /* open addressing; index + 1 into entries */
    size_t nslots;
};

struct pl_shapes *pl_shapes_new(struct pl_world *w)
{
    struct pl_shapes *s = sk_xcalloc(1, sizeof(*s));
    s->w = w;
    s->nslots = 64;
    while (s->nslots < 2 * w->nsvcs) {
        s->nslots *= 2;
    }
    s->slots = sk_xcalloc(s->nslots, sizeof(*s->slots));
    return s;
}

void pl_shapes_free(struct pl_shapes *shapes)
{
    if (shapes) {
        free(shapes->entries);
        free(shapes->slots);
        free(shapes);
    }
}

static uint64_t mix(uint64_t h, const void *bytes, size_t len)
{
    const unsigned char *p = bytes;
    for (size_t i = 0; i < len; i++) {
        h = (h ^ p[i]) * 1099511628211u;
    }
    return (h ^ 0xff) * 1099511628211u;
}

static uint64_t shape_hash(const struct service *d)
{
    uint64_t h = 14695981039346656037u;
    h = mix(h, &d->cpus_nano, sizeof(d->cpus_nano));
    h = mix(h, &d->memory_bytes, sizeof(d->memory_bytes));
    h = mix(h, &d->disk_bytes, sizeof(d->disk_bytes));
    for (size_t i = 0; i < d->nresidency; i++) {
        h = mix(h, d->residency[i].ptr, d->residency[i].len);
    }
    for (size_t i = 0; i < d->nconstraints; i++) {
        const struct constraint *c = &d->constraints[i];
        h = mix(h, c->label.ptr, c->label.len);
        h = mix(h, c->value.ptr, c->value.len);
        h = mix(h, &c->subject, sizeof(c->subject));
    }
    return h;
}

static bool shape_eq(const struct service *a, const struct service *b)
{
    if (a->cpus_nano != b->cpus_nano || a->memory_bytes != b->memory_bytes ||
        a->disk_bytes != b->disk_bytes || a->nresidency != b->nresidency ||
        a->nconstraints != b->nconstraints) {
        return false;
    }
    for (size_t i = 0; i < a->nresidency; i++) {
        if (!sk_str_eq(a->residency[i], b->residency[i])) {
            return false;
        }
    }
    for (size_t i = 0; i < a->nconstraints; i++) {
        const struct constraint *x = &a->constraints[i];
        const struct constraint *y = &b->constraints[i];
        if (x->subject != y->subject || x->equal != y->equal || !sk_str_eq(x->label, y->label) ||
            !sk_str_eq(x->value, y->value)) {
            return false;
        }
    }
    return true;
}

bool pl_residency_ok(const struct sk_str *residency, size_t count, const struct site *site)
{
    if (count == 0) {
        return true;
    }
    for (size_t i = 0; i < count; i++) {
        struct sk_str want = residency[i];
        struct sk_str have = site->region;
        if (sk_str_starts(want, SK_STR("country:"))) {
            want = (struct sk_str){want.ptr + 8, want.len - 8};
            have = site->country;
        }
        /* an unknown region or country matches nothing */
        if (have.len > 0 && sk_str_eq(want, have)) {
            return true;
        }
    }
    return false;
}

static bool constraint_ok(const struct constraint *c, const struct node *node,
                          const struct site *site)
{
    struct sk_str have = SK_STR_NULL;
    bool known = true;
    switch (c->subject) {
    case ON_LABEL:
        have = node_label(node, c->label);
        known = have.ptr != NULL;
        break;
    case ON_NODE:
        have = node->name;
        break;
    case ON_SITE:
        have = site->name;
        break;
    case ON_PROVIDER:
        have = site->provider;
        known = have.len > 0;
        break;
    case ON_REGION:
        have = site->region;
        known = have.len > 0;
        break;
    }
    /* what is absent is unequal to everything */
    return (known && sk_str_eq(have, c->value)) == c->equal;
}

enum pl_reject pl_node_allowed(const struct pl_world *w, const struct service *d, uint32_t node)
{
    const struct node *n = &w->inv->nodes[node];
    const struct site *site = &w->inv->sites[n->site];
    if (site->trust != SITE_FULL) {
        return PL_REJECT_TRUST;
    }
    if (node_drained(w->inv, n)) {
        return PL_REJECT_DRAINED;
    }
    if (!pl_residency_ok(d->residency, d->nresidency, site)) {
        return PL_REJECT_RESIDENCY;
    }
    for (size_t i = 0; i < d->nconstraints; i++) {
        if (!constraint_ok(&d->constraints[i], n, site)) {
            return PL_REJECT_CONSTRAINT;
        }
    }
    if (d->cpus_nano > n->cpus_nano || d->memory_bytes > n->memory_bytes ||
        d->disk_bytes > n->disk_bytes) {
        return PL_REJECT_SIZE;
    }
    return PL_ALLOWED;
}

static double cost_on(const struct pl_node *n, const int64_t need[PL_RES_COUNT])
{
    double cpu = (double)need[PL_CPUS] / (double)n->cap[PL_CPUS];
    double mem = (double)need[PL_MEMORY] / (double)n->cap[PL_MEMORY];
    return (cpu > mem ? cpu : mem) * n->price;
}

/* Positions 0..n-1 by (cost, position): a bottom-up merge sort, stable, so order never depends on
 * the library's sort. */
static void sort_by_cost(uint32_t *pos, size_t n, const double *cost)
{
    uint32_t *tmp = sk_xcalloc(n + 1, sizeof(*tmp));
    for (size_t width = 1; width < n; width *= 2) {
        for (size_t lo = 0; lo < n; lo += 2 * width) {
            size_t mid = lo + width < n ? lo + width : n;
            size_t hi = lo + 2 * width < n ? lo + 2 * width : n;
            size_t i = lo;
            size_t j = mid;
            for (size_t k = lo; k < hi; k++) {
                bool left = j >= hi || (i < mid && cost[pos[i]] <= cost[pos[j]]);
                tmp[k] = left ? pos[i++] : pos[j++];
            }
        }
        memcpy(pos, tmp, n * sizeof(*pos));
    }
    free(tmp);
}

static void shape_costs(struct pl_world *w, struct pl_shape *sh)
{
    double *cost = SK_ARENA_ARRAY(w->arena, double, sh->nnodes + 1);
    uint32_t *by_cost = SK_ARENA_ARRAY(w->arena, uint32_t, sh->nnodes + 1);
    double *site_cost = SK_ARENA_ARRAY(w->arena, double, sh->nsites + 1);
    for (size_t i = 0; i < sh->nnodes; i++) {
        cost[i] = cost_on(&w->nodes[sh->nodes[i]], sh->need);
        by_cost[i] = (uint32_t)i;
    }
    uint32_t *in_site = SK_ARENA_ARRAY(w->arena, uint32_t, sh->nnodes + 1);
    memcpy(in_site, by_cost, sh->nnodes * sizeof(*in_site));
    for (size_t k = 0; k < sh->nsites; k++) {
        sort_by_cost(in_site + sh->first[k], sh->first[k + 1] - sh->first[k], cost);
        site_cost[k] = cost[in_site[sh->first[k]]];
    }
    sort_by_cost(by_cost, sh->nnodes, cost);
    sh->in_site = in_site;
    sh->cost = cost;
    sh->by_cost = by_cost;
    sh->site_cost = site_cost;
}

static struct pl_shape *build_shape(struct pl_world *w, const struct service *d)
{
    struct pl_shape *sh = SK_ARENA_NEW(w->arena, struct pl_shape);
    sh->need[PL_CPUS] = d->cpus_nano;
    sh->need[PL_MEMORY] = d->memory_bytes;
    sh->need[PL_DISK] = d->disk_bytes;
    size_t *count = sk_xcalloc(w->nsites + 1, sizeof(*count));
    uint8_t *ok = sk_xcalloc(w->nnodes + 1, sizeof(*ok));
    for (uint32_t n = 0; n < w->nnodes; n++) {
        if (pl_node_allowed(w, d, n) == PL_ALLOWED) {
            ok[n] = 1;
            count[w->nodes[n].site]++;
            sh->nnodes++;
        }
    }
    uint32_t *nodes = SK_ARENA_ARRAY(w->arena, uint32_t, sh->nnodes + 1);
    uint32_t *sites = SK_ARENA_ARRAY(w->arena, uint32_t, w->nsites + 1);
    size_t *first = SK_ARENA_ARRAY(w->arena, size_t, w->nsites + 2);
    size_t at = 0;
    for (uint32_t s = 0; s < w->nsites; s++) {
        if (count[s] > 0) {
            sites[sh->nsites] = s;
            first[sh->nsites++] = at;
            at += count[s];
            count[s] = at - count[s]; /* from here on: where its next node goes */
        }
    }
    first[sh->nsites] = at;
    for (uint32_t n = 0; n < w->nnodes; n++) {
        if (ok[n]) {
            nodes[count[w->nodes[n].site]++] = n;
        }
    }
    free(count);
    free(ok);
    sh->nodes = nodes;
    sh->sites = sites;
    sh->first = first;
    shape_costs(w, sh);
    return sh;
}

const struct pl_shape *pl_shapes_get(struct pl_shapes *shapes, const struct service *decl)
{
    uint64_t hash = shape_hash(decl);
    size_t at = (size_t)hash & (shapes->nslots - 1);
    while (shapes->slots[at]) {
        const struct entry *e = &shapes->entries[shapes->slots[at] - 1];
        if (e->hash == hash && shape_eq(e->like, decl)) {
            return e->shape;
        }
        at = (at + 1) & (shapes->nslots - 1);
    }
    SK_GROW(shapes->entries, shapes->len, shapes->cap);
    shapes->entries[shapes->len] = (struct entry){hash, decl, build_shape(shapes->w, decl)};
    shapes->slots[at] = (uint32_t)++shapes->len;
    return shapes->entries[shapes->len - 1].shape;
}

int64_t pl_shape_site(const struct pl_shape *shape, uint32_t site)
{
    size_t lo = 0;
    size_t hi = shape->nsites;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        if (shape->sites[mid] < site) {
            lo = mid + 1;
        } else {
            hi = mid;
        }
    }
    return lo < shape->nsites && shape->sites[lo] == site ? (int64_t)lo : -1;
}

int64_t pl_shape_pos(const struct pl_shape *shape, const struct pl_world *w, uint32_t node)
{
    int64_t k = node < w->nnodes ? pl_shape_site(shape, w->nodes[node].site) : -1;
    if (k < 0) {
        return -1;
    }
    size_t left = shape->first[k];
    size_t end = shape->first[k + 1];
    size_t right = end;
    while (left < right) {
        size_t mid = left + (right - left) / 2;
        if (shape->nodes[mid] < node) {
            left = mid + 1;
        } else {
            right = mid;
        }
    }
    return left < end && shape->nodes[left] == node ? (int64_t)left : -1;
}

double pl_replica_cost(const struct pl_world *w, const struct pl_shape *shape, uint32_t node)
{
    return cost_on(&w->nodes[node], shape->need);
}

static bool alike(const struct pl_node *a, const struct pl_node *b)
{
    return a->site == b->site && a->usable == b->usable && a->priced == b->priced &&
           a->price >= b->price && a->price <= b->price &&
           memcmp(a->cap, b->cap, sizeof(a->cap)) == 0;
}

/* Splits each kind into the nodes that the shape allows and those that it does not. */
static uint32_t split_kinds(struct pl_world *w, const struct pl_shape *sh, uint32_t nkinds)
{
    sk_autofree uint32_t *total = sk_xcalloc(2 * (size_t)nkinds + 1, sizeof(*total));
    uint32_t *in = total + nkinds;
    for (size_t n = 0; n < w->nnodes; n++) {
        total[w->nodes[n].kind]++;
    }
    for (size_t i = 0; i < sh->nnodes; i++) {
        in[w->nodes[sh->nodes[i]].kind]++;
    }
    sk_autofree uint32_t *split = sk_xcalloc((size_t)nkinds + 1, sizeof(*split));
    uint32_t next = nkinds;
    for (uint32_t k = 0; k < nkinds; k++) {
        split[k] = in[k] > 0 && in[k] < total[k] ? next++ : k;
    }
    for (size_t i = 0; i < sh->nnodes; i++) {
        struct pl_node *node = &w->nodes[sh->nodes[i]];
        node->kind = split[node->kind];
    }
    return next;
}

void pl_shapes_kinds(struct pl_shapes *shapes)
{
    struct pl_world *w = shapes->w;
    uint32_t nkinds = 0;
    bool few = w->nnodes <= 256; /* kinds only serve complete searches, which larger worlds lack */
    for (size_t n = 0; n < w->nnodes; n++) {
        w->nodes[n].kind = nkinds;
        for (size_t m = 0; m < n && few; m++) {
            if (alike(&w->nodes[m], &w->nodes[n])) {
                w->nodes[n].kind = w->nodes[m].kind;
                break;
            }
        }
        nkinds += w->nodes[n].kind == nkinds;
    }
    for (size_t i = 0; i < shapes->len && few; i++) {
        nkinds = split_kinds(w, shapes->entries[i].shape, nkinds);
    }
}
