/* SPDX-License-Identifier: Apache-2.0 */
#include "plan/verify/internal.h"

#include <math.h>

/*
 * One row of the losses table. The row's re-placements are applied to a copy of the placements
 * (vf.now, use_now, site_disk_now), everything that the row states is compared with that copy, and
 * the copy is put back.
 */
struct row {
    struct vf *v;
    const struct plan_loss *loss;
    const bool *gone;     /* per site */
    const char *name;     /* "fra+ams" */
    struct vf_of_row *of; /* per service */
    bool fails;           /* one that asked is short, under a written keep, or too far */
    bool unclear; /* a service that asked is not placed whole: "all fit again" has no meaning */
};

static bool node_gone(const struct row *row, int64_t node)
{
    return row->gone[row->v->inv->nodes[node].site];
}

static struct vf_service *named(struct row *row, const char *what, struct sk_str project,
                                struct sk_str service)
{
    struct vf_service *s = vf_service(row->v, project, service);

    if (!s) {
        vf_find(row->v, "loss_row_bad", "loss of %s: %s names %.*s/%.*s, which is not declared",
                row->name, what, SK_PRI(project), SK_PRI(service));
    }
    return s;
}

static void count_lost(struct row *row)
{
    struct vf *v = row->v;

    for (size_t site = 0; site < v->inv->nsites; site++) {
        if (!row->gone[site]) {
            continue;
        }
        for (size_t i = v->site_rep_first[site]; i < v->site_rep_first[site + 1]; i++) {
            size_t replica = v->site_rep[i];

            row->of[vf_replica_service(v, replica)].lost++;
            v->now[replica] = -1;
        }
    }
}

static void check_kept(struct row *row)
{
    struct vf *v = row->v;
    const struct vf_service *before = NULL;

    for (size_t i = 0; i < row->loss->nkept; i++) {
        const struct plan_kept *kept = &row->loss->kept[i];
        struct vf_service *s = named(row, "kept", kept->project, kept->service);
        struct vf_of_row *of;

        if (!s) {
            continue;
        }
        of = &row->of[s - v->services];
        if (of->lost == 0 || of->has_kept) {
            vf_find(v, "kept", "loss of %s: %.*s/%.*s is listed %s", row->name,
                    SK_PRI(kept->project), SK_PRI(kept->service),
                    of->has_kept ? "twice" : "and lost no replica");
        } else if (kept->count != s->placed - of->lost) {
            vf_find(v, "kept", "loss of %s: %.*s/%.*s keeps %lld, stated %lld", row->name,
                    SK_PRI(kept->project), SK_PRI(kept->service), (long long)(s->placed - of->lost),
                    (long long)kept->count);
        }
        if (before && s < before) {
            vf_find(v, "order", "loss of %s: kept: %.*s/%.*s comes too late", row->name,
                    SK_PRI(kept->project), SK_PRI(kept->service));
        }
        before = s;
        of->has_kept = true;
    }
    for (size_t i = 0; i < v->nservices; i++) {
        if (row->of[i].lost > 0 && !row->of[i].has_kept) {
            vf_find(v, "kept", "loss of %s: %.*s/%.*s lost %lld and is not listed", row->name,
                    SK_PRI(v->services[i].project->name), SK_PRI(v->services[i].service->name),
                    (long long)row->of[i].lost);
        }
    }
}

/* Why the replica cannot be re-placed there, or NULL. */
static const char *cannot(struct row *row, const struct vf_service *s,
                          const struct plan_placement *p, int64_t n)
{
    struct vf *v = row->v;
    size_t replica = s->first + (size_t)p->replica;

    if (v->home[replica] < 0 || !node_gone(row, v->home[replica])) {
        return "replaced_not_lost";
    }
    if (v->now[replica] >= 0) {
        return "replaced_twice";
    }
    if (node_gone(row, n)) {
        return "replaced_on_lost";
    }
    if (!sk_str_eq(v->inv->sites[v->inv->nodes[n].site].name, p->site)) {
        return "placement_site";
    }
    return vf_forbidden(v, s, &v->inv->nodes[n]) ? "replaced_not_allowed" : NULL;
}

static void check_replaced(struct row *row)
{
    struct vf *v = row->v;
    size_t before = 0;

    for (size_t i = 0; i < row->loss->nreplaced; i++) {
        const struct plan_placement *p = &row->loss->replaced[i];
        struct vf_service *s = named(row, "replaced", p->project, p->service);
        int64_t n = inventory_node(v->inv, p->node);
        const char *why;
        size_t replica;

        if (!s) {
            continue;
        }
        if (n < 0 || p->replica < 0 || p->replica >= s->service->replicas) {
            vf_find(v, "loss_row_bad",
                    "loss of %s: no node '%.*s', or no replica %lld of %.*s/%.*s", row->name,
                    SK_PRI(p->node), (long long)p->replica, SK_PRI(p->project), SK_PRI(p->service));
            continue;
        }
        replica = s->first + (size_t)p->replica;
        if (i > 0 && replica < before) {
            vf_find(v, "order", "loss of %s: replaced: %.*s/%.*s replica %lld comes too late",
                    row->name, SK_PRI(p->project), SK_PRI(p->service), (long long)p->replica);
        }
        before = replica;
        why = cannot(row, s, p, n);
        if (why) {
            vf_find(v, why, "loss of %s: %.*s/%.*s replica %lld on node '%.*s' of site '%.*s'",
                    row->name, SK_PRI(p->project), SK_PRI(p->service), (long long)p->replica,
                    SK_PRI(p->node), SK_PRI(p->site));
            continue;
        }
        v->now[replica] = n;
        v->use_now[n].cpus += s->service->cpus_nano;
        v->use_now[n].memory += s->service->memory_bytes;
        v->use_now[n].disk += s->service->disk_bytes;
        v->site_disk_now[v->inv->nodes[n].site] += s->service->disk_bytes;
        row->of[s - v->services].replaced++;
    }
}

static void check_capacity(struct row *row)
{
    struct vf *v = row->v;

    for (size_t i = 0; i < row->loss->nreplaced; i++) {
        int64_t n = inventory_node(v->inv, row->loss->replaced[i].node);
        const struct node *node;
        const struct vf_use *use;
        const char *over;

        if (n < 0) {
            continue;
        }
        node = &v->inv->nodes[n];
        use = &v->use_now[n];
        over = use->cpus > node->cpus_nano        ? "cpus"
               : use->memory > node->memory_bytes ? "memory"
               : use->disk > node->disk_bytes ||
                       (v->site_shards[node->site] > 0 &&
                        (long double)v->site_disk_now[node->site] + v->site_shards[node->site] >
                            (long double)v->site_disk_cap[node->site] * (1 + 1e-12L))
                   ? "disk"
                   : NULL;
        if (over && !(use->cpus == v->use[n].cpus && use->memory == v->use[n].memory &&
                      use->disk == v->use[n].disk)) {
            vf_find(v, "replaced_capacity",
                    "loss of %s: node '%.*s' has too little %s for what it "
                    "keeps and gets",
                    row->name, SK_PRI(node->name), over);
        }
    }
}

/* Which resource a node (or its site's disk) lacks for one more replica in this row, preferably the
 * one that is `wanted`; NULL if it has room. */
static const char *lacks(const struct vf *v, const struct vf_service *s, size_t n,
                         const char *wanted)
{
    const struct node *node = &v->inv->nodes[n];
    const struct vf_use *use = &v->use_now[n];
    const struct service *service = s->service;
    long double disk = (long double)(v->site_disk_now[node->site] + service->disk_bytes) +
                       v->site_shards[node->site];
    bool cpus = use->cpus + service->cpus_nano > node->cpus_nano;
    bool memory = use->memory + service->memory_bytes > node->memory_bytes;
    bool full = use->disk + service->disk_bytes > node->disk_bytes ||
                (service->disk_bytes > 0 && v->site_shards[node->site] > 0 &&
                 disk > (long double)v->site_disk_cap[node->site]);

    if ((cpus && strcmp(wanted, "cpus") == 0) || (memory && strcmp(wanted, "memory") == 0) ||
        (full && strcmp(wanted, "disk") == 0)) {
        return wanted;
    }
    return cpus ? "cpus" : memory ? "memory" : full ? "disk" : NULL;
}

/* The first allowed node that is left, from `n` on, or -1. */
static int64_t next_left(const struct row *row, const struct vf_service *s, size_t n)
{
    const struct inventory *inv = row->v->inv;

    for (; n < inv->nnodes; n++) {
        if (!row->gone[inv->nodes[n].site] && !vf_forbidden(row->v, s, &inv->nodes[n])) {
            return (int64_t)n;
        }
    }
    return -1;
}

/* A replica is short only where no allowed node that is left has room for it. */
static void check_room(struct row *row, const struct vf_service *s)
{
    struct vf *v = row->v;

    for (int64_t n = next_left(row, s, 0); n >= 0; n = next_left(row, s, (size_t)n + 1)) {
        if (!lacks(v, s, (size_t)n, "")) {
            vf_find(v, vf_asked(s, row->loss->nlost) ? "short_asked_first" : "short_room",
                    "loss of %s: %.*s/%.*s is short and node '%.*s' has room for it", row->name,
                    SK_PRI(s->project->name), SK_PRI(s->service->name),
                    SK_PRI(v->inv->nodes[n].name));
            return;
        }
    }
}

/* Whether the stated resource is lacking on some allowed node that is left; "node": none is left.
 */
static bool for_a_reason(struct row *row, const struct vf_service *s, const struct plan_short *sh)
{
    int64_t n = next_left(row, s, 0);
    char resource[16];

    if (sk_str_is(sh->resource, "rps")) {
        return s->service->rps > 0 && s->service->rps_per_replica > 0;
    }
    if (n < 0 || sk_str_is(sh->resource, "node")) {
        return n < 0 && sk_str_is(sh->resource, "node");
    }
    (void)snprintf(resource, sizeof(resource), "%.*s", SK_PRI(sh->resource));
    for (; n >= 0; n = next_left(row, s, (size_t)n + 1)) {
        const char *lack = lacks(row->v, s, (size_t)n, resource);

        if (lack && strcmp(lack, resource) == 0) {
            return true;
        }
    }
    return false;
}

/* Takes the re-placements of services that did not ask out of use_now and site_disk_now, or (sign
 * +1) puts them back. */
static void others(struct row *row, int sign)
{
    struct vf *v = row->v;

    for (size_t i = 0; i < row->loss->nreplaced; i++) {
        const struct plan_placement *p = &row->loss->replaced[i];
        struct vf_service *s = vf_service(v, p->project, p->service);
        int64_t n = inventory_node(v->inv, p->node);

        if (s && n >= 0 && p->replica >= 0 && p->replica < s->service->replicas &&
            !vf_asked(s, row->loss->nlost) && v->now[s->first + (size_t)p->replica] == n) {
            v->use_now[n].cpus += sign * s->service->cpus_nano;
            v->use_now[n].memory += sign * s->service->memory_bytes;
            v->use_now[n].disk += sign * s->service->disk_bytes;
            v->site_disk_now[v->inv->nodes[n].site] += sign * s->service->disk_bytes;
        }
    }
}

static void short_row(struct row *row, const struct plan_short *sh, const struct vf_service *s)
{
    struct vf *v = row->v;
    bool asked = vf_asked(s, row->loss->nlost), reason;

    if (sh->replicas < 1) {
        vf_find(v, "short_row", "loss of %s: %.*s/%.*s is short of %lld replicas", row->name,
                SK_PRI(sh->project), SK_PRI(sh->service), (long long)sh->replicas);
        return;
    }
    if (sh->asked != asked) {
        vf_find(v, "short_asked", "loss of %s: %.*s/%.*s %s to survive it", row->name,
                SK_PRI(sh->project), SK_PRI(sh->service), asked ? "asked" : "did not ask");
    }
    /* Services that asked come first: what the others got must not count against them. It may be
     * the reason that is stated, though, which is read off a row as it is in the end. */
    reason = for_a_reason(row, s, sh);
    if (asked) {
        others(row, -1);
    }
    check_room(row, s);
    if (!reason && !for_a_reason(row, s, sh)) {
        vf_find(v, "short_resource", "loss of %s: %.*s/%.*s is not short of '%.*s'", row->name,
                SK_PRI(s->project->name), SK_PRI(s->service->name), SK_PRI(sh->resource));
    }
    if (asked) {
        others(row, +1);
    }
}

static void check_short(struct row *row)
{
    struct vf *v = row->v;
    const struct vf_service *before = NULL;

    for (size_t i = 0; i < row->loss->nshorts; i++) {
        const struct plan_short *sh = &row->loss->shorts[i];
        struct vf_service *s = named(row, "short", sh->project, sh->service);

        if (!s) {
            continue;
        }
        if (before && s < before) {
            vf_find(v, "order", "loss of %s: short: %.*s/%.*s comes too late", row->name,
                    SK_PRI(sh->project), SK_PRI(sh->service));
        }
        before = s;
        short_row(row, sh, s);
        row->of[s - v->services].shorts += sh->replicas > 0 ? sh->replicas : 0;
    }
    for (size_t i = 0; i < v->nservices; i++) {
        const struct vf_of_row *of = &row->of[i];
        struct vf_service *s = &v->services[i];

        if (of->lost != of->replaced + of->shorts) {
            vf_find(v, "lost_sum", "loss of %s: %.*s/%.*s lost %lld: %lld replaced, %lld short",
                    row->name, SK_PRI(s->project->name), SK_PRI(s->service->name),
                    (long long)of->lost, (long long)of->replaced, (long long)of->shorts);
        }
        if (of->replaced < of->lost && !s->sites_written && s->sites >= (int64_t)row->loss->nlost) {
            s->goal_short = true;
        }
    }
}

/* The bound in force: what replaces `ms` in a loss that the service asked to survive. */
static double bound_shown(const struct row *row, const struct vf_service *s)
{
    const struct latency_policy *policy = &s->service->latency;

    if (policy->has_after_loss && vf_asked(s, row->loss->nlost)) {
        return policy->after_loss_ms;
    }
    return policy->has_ms ? policy->ms : INFINITY;
}

/* What the row must say of a service with a latency policy; the share is judged on what is kept
 * where anything is. */
static struct plan_latency expected(struct row *row, const struct vf_service *s)
{
    struct vf *v = row->v;
    double bound = bound_shown(row, s);
    struct plan_latency want = {.project = s->project->name, .service = s->service->name};
    struct vf_reach reach;
    int64_t kept = vf_holds(v, s, v->home, row->gone);

    reach = vf_reach(v, s, bound);
    want.ms_at_once = reach.ms;
    want.share = reach.share;
    (void)vf_holds(v, s, v->now, NULL);
    reach = vf_reach(v, s, bound);
    want.ms = reach.ms;
    if (kept == 0) {
        want.share = reach.share;
    }
    return want;
}

static bool ms_eq(struct plan_maybe a, struct plan_maybe b)
{
    return a.known == b.known && (!a.known || fabs(a.value - b.value) <= VF_MS_TOLERANCE);
}

static void compare_latency(struct row *row, const struct vf_service *s,
                            const struct plan_latency *want, const struct plan_latency *got)
{
    char a[VF_NUM_MAX], b[VF_NUM_MAX], c[VF_NUM_MAX], d[VF_NUM_MAX];

    if (s->service->latency.share > VF_TOLERANCE &&
        (!ms_eq(want->ms, got->ms) || !ms_eq(want->ms_at_once, got->ms_at_once))) {
        vf_find(row->v, "loss_latency",
                "loss of %s: %.*s/%.*s: ms_at_once %s and ms %s, stated %s and %s", row->name,
                SK_PRI(want->project), SK_PRI(want->service), vf_num(want->ms_at_once, a),
                vf_num(want->ms, b), vf_num(got->ms_at_once, c), vf_num(got->ms, d));
    }
    if (fabs(want->share - got->share) > VF_TOLERANCE) {
        vf_find(row->v, "loss_latency", "loss of %s: %.*s/%.*s: share is %.12g, stated %.12g",
                row->name, SK_PRI(want->project), SK_PRI(want->service), want->share, got->share);
    }
}

static void check_latency(struct row *row)
{
    struct vf *v = row->v;
    const struct vf_service *before = NULL;

    for (size_t i = 0; i < row->loss->nlatency; i++) {
        const struct plan_latency *got = &row->loss->latency[i];
        struct vf_service *s = named(row, "latency", got->project, got->service);
        struct plan_latency want;

        if (!s) {
            continue;
        }
        if (!s->service->latency.written || row->of[s - v->services].has_latency) {
            vf_find(v, "loss_latency", "loss of %s: a row for %.*s/%.*s, which has none to have",
                    row->name, SK_PRI(got->project), SK_PRI(got->service));
            continue;
        }
        if (before && s < before) {
            vf_find(v, "order", "loss of %s: latency: %.*s/%.*s comes too late", row->name,
                    SK_PRI(got->project), SK_PRI(got->service));
        }
        before = s;
        row->of[s - v->services].has_latency = true;
        want = expected(row, s);
        compare_latency(row, s, &want, got);
    }
    for (size_t i = 0; i < v->nservices; i++) {
        const struct vf_service *s = &v->services[i];

        if (s->service->latency.written && !row->of[i].has_latency) {
            vf_find(v, "loss_latency", "loss of %s: no row for %.*s/%.*s", row->name,
                    SK_PRI(s->project->name), SK_PRI(s->service->name));
        }
    }
}

/* The hard rules of a service that asked to survive this loss. */
static void asked_rules(struct row *row, const struct vf_service *s, const struct vf_of_row *of)
{
    struct vf *v = row->v;
    const struct service *service = s->service;
    int64_t kept = s->placed - of->lost;

    if (s->placed < service->replicas) {
        row->unclear = true;
    }
    if (of->replaced < of->lost) {
        row->fails = true;
        vf_broken(v, "survive_sites", "loss of %s: %.*s/%.*s: %lld of %lld do not fit again",
                  row->name, SK_PRI(s->project->name), SK_PRI(service->name),
                  (long long)(of->lost - of->replaced), (long long)of->lost);
    }
    if (s->keep_hard_sites && kept < s->keep) {
        row->fails = true;
        vf_broken(v, "keep_sites", "loss of %s: %.*s/%.*s keeps %lld, asked %lld", row->name,
                  SK_PRI(s->project->name), SK_PRI(service->name), (long long)kept,
                  (long long)s->keep);
    }
    if (service->has_traffic && service->rps > 0 && service->rps_per_replica > 0 &&
        (double)(kept + of->replaced) * service->rps_per_replica < service->rps - VF_TOLERANCE) {
        row->unclear = true; /* when it is not short: the page leaves the flag open */
        vf_broken(v, "rps", "loss of %s: %.*s/%.*s: %lld replicas are too few for %g a second",
                  row->name, SK_PRI(s->project->name), SK_PRI(service->name),
                  (long long)(kept + of->replaced), service->rps);
    }
    if (service->latency.written && service->latency.has_after_loss && service->replicas > 0) {
        struct plan_latency is = expected(row, s);

        if (is.share < service->latency.share - VF_TOLERANCE) {
            row->fails = true;
            vf_broken(v, "latency_loss",
                      "loss of %s: %.*s/%.*s: %.9g of the demand is within %g ms, asked %.9g",
                      row->name, SK_PRI(s->project->name), SK_PRI(service->name), is.share,
                      service->latency.after_loss_ms, service->latency.share);
        }
    }
}

static void check_ok(struct row *row)
{
    struct vf *v = row->v;

    for (size_t i = 0; i < v->nservices; i++) {
        if (vf_asked(&v->services[i], row->loss->nlost)) {
            asked_rules(row, &v->services[i], &row->of[i]);
        }
    }
    if (row->loss->ok && row->fails) {
        vf_find(v, "loss_ok",
                "loss of %s: stated ok, but one that asked is short, under its keep "
                "or too far",
                row->name);
    }
    if (!row->loss->ok && !row->fails && !row->unclear) {
        vf_find(v, "loss_ok", "loss of %s: stated not ok, and nothing that was asked fails",
                row->name);
    }
    if (!row->loss->control_kept && v->plan->based_on_store.len == 0) {
        vf_find(v, "control", "loss of %s: control is kept in a plan made offline", row->name);
    }
}

/* Cost after less cost before, of the services that lost a replica: nothing else changes. Lost
 * shards are not re-coded in a row; whether their site is still paid is left open. */
static void check_added_cost(struct row *row)
{
    struct vf *v = row->v;
    struct plan_maybe added = {true, 0};
    struct plan_maybe got = row->loss->added_cost_hour;
    double scale = 0, shards = 0;
    char a[VF_NUM_MAX], b[VF_NUM_MAX];

    for (size_t i = 0; i < v->nservices; i++) {
        struct plan_maybe before, after;

        if (row->of[i].lost == 0) {
            continue;
        }
        before = vf_cost(v, &v->services[i], v->home);
        after = vf_cost(v, &v->services[i], v->now);
        added.known = added.known && before.known && after.known;
        added.value += after.value - before.value;
        scale += before.value + after.value;
    }
    for (size_t s = 0; s < v->inv->nsites; s++) {
        if (row->gone[s]) {
            shards += (double)(v->site_shards[s] / VF_BYTES_PER_GB) *
                      v->inv->sites[s].price_gb_month / VF_HOURS_PER_MONTH;
        }
    }
    scale = VF_TOLERANCE * (scale + shards + fabs(v->plan->cost.hour.value)) + 1e-12;
    if (got.known ? added.known && (fabs(got.value - added.value) <= scale ||
                                    fabs(got.value - (added.value - shards)) <= scale)
                  : !added.known || !v->plan->cost.hour.known) {
        return;
    }
    vf_find(v, "added_cost", "loss of %s: added cost is %s an hour, stated %s", row->name,
            vf_num(added, a), vf_num(got, b));
}

static void put_back(struct row *row)
{
    struct vf *v = row->v;

    for (size_t site = 0; site < v->inv->nsites; site++) {
        for (size_t i = v->site_rep_first[site]; row->gone[site] && i < v->site_rep_first[site + 1];
             i++) {
            v->now[v->site_rep[i]] = v->home[v->site_rep[i]];
        }
        v->site_disk_now[site] = v->site_disk[site];
    }
    for (size_t i = 0; i < row->loss->nreplaced; i++) {
        int64_t n = inventory_node(v->inv, row->loss->replaced[i].node);

        if (n >= 0) {
            v->use_now[n] = v->use[n];
        }
    }
}

void vf_check_loss(struct vf *v, const struct plan_loss *loss, const bool *gone)
{
    char name[VF_SET_MAX];
    struct row row = {
        .v = v, .loss = loss, .gone = gone, .name = vf_set(loss->lost, loss->nlost, name)};

    memset(v->row_of, 0, v->nservices * sizeof(*v->row_of));
    row.of = v->row_of;
    count_lost(&row);
    check_kept(&row);
    check_replaced(&row);
    check_capacity(&row);
    check_short(&row);
    check_latency(&row);
    check_ok(&row);
    check_added_cost(&row);
    put_back(&row);
}
