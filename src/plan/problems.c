/* SPDX-License-Identifier: Apache-2.0 */
#include "plan/problems.h"

#include <math.h>
#include <stdio.h>

#include "base/mem.h"
#include "plan/fix.h"
#include "plan/rules.h"

#define GIB (INT64_C(1) << 30)

void pl_problem_add(const struct pl_world *w, struct plan *plan, const struct pl_problem *p)
{
    size_t n = plan->nproblems;
    if (n == 0 || (n >= 8 && (n & (n - 1)) == 0)) {
        struct plan_problem *more =
            SK_ARENA_ARRAY(plan->arena, struct plan_problem, n == 0 ? 8 : 2 * n);
        if (n > 0) {
            memcpy(more, plan->problems, n * sizeof(*more));
        }
        plan->problems = more;
    }
    struct plan_problem *out = &plan->problems[plan->nproblems++];
    out->code = sk_arena_str(plan->arena, sk_str(p->code));
    if (p->s) {
        out->project = sk_arena_str(plan->arena, p->s->project->name);
        out->service = sk_arena_str(plan->arena, p->s->decl->name);
    }
    if (p->b) {
        out->project = sk_arena_str(plan->arena, p->b->project->name);
        out->bucket = sk_arena_str(plan->arena, p->b->decl->name);
    }
    struct sk_buf zone = SK_BUF_INIT;
    if (p->s && p->s->decl->nresidency > 0) {
        for (size_t i = 0; i < p->s->decl->nresidency; i++) {
            sk_buf_adds(&zone, i ? "," : "");
            sk_buf_addstr(&zone, p->s->decl->residency[i]);
        }
    } else if (p->zone) {
        for (size_t i = 0; i < p->zone->nsites; i++) {
            sk_buf_adds(&zone, i ? "," : "");
            sk_buf_addstr(&zone, w->inv->sites[p->zone->sites[i]].name);
        }
    }
    out->zone = sk_arena_str(plan->arena, sk_buf_str(&zone));
    sk_buf_release(&zone);
    if (p->scen) {
        out->lost = SK_ARENA_ARRAY(plan->arena, struct sk_str, (size_t)p->scen->count + 1);
        for (uint32_t i = 0; i < p->scen->count; i++) {
            out->lost[out->nlost++] =
                sk_arena_str(plan->arena, w->inv->sites[p->scen->sites[i]].name);
        }
    }
    out->resource = sk_arena_str(plan->arena, sk_str(p->resource ? p->resource : ""));
    out->missing = (struct plan_maybe){!isnan(p->missing), isnan(p->missing) ? 0 : p->missing};
    out->proven = p->proven;
    out->text = sk_arena_str(plan->arena, sk_str(p->text));
    out->fix = sk_arena_str(plan->arena, sk_str(p->fix));
}

static bool rps_short(const struct pl_svc *s)
{
    const struct service *d = s->decl;
    return d->has_traffic && d->rps > 0 && d->rps_per_replica > 0 &&
           !pl_le(d->rps, (double)s->replicas * d->rps_per_replica);
}

bool pl_static_broken(const struct pl_world *w)
{
    for (size_t i = 0; i < w->nsvcs; i++) {
        if (rps_short(&w->svcs[i])) {
            return true;
        }
    }
    return false;
}

static void rps_problem(const struct pl_svc *s, struct pl_problem *p)
{
    const struct service *d = s->decl;
    *p = (struct pl_problem){.code = "rps_short", .s = s, .resource = "rps", .proven = true};
    p->missing = d->rps - (double)s->replicas * d->rps_per_replica;
    (void)snprintf(p->text, sizeof(p->text),
                   "%u replicas of %g requests a second each carry less than %g", s->replicas,
                   d->rps_per_replica, d->rps);
    (void)snprintf(p->fix, sizeof(p->fix), "set 'replicas' to %.0f",
                   ceil(d->rps / d->rps_per_replica - PL_EPS));
}

static void bucket_problem(const struct pl_world *w, const struct pl_bucket *b,
                           struct pl_problem *p)
{
    *p = (struct pl_problem){.b = b, .missing = NAN, .proven = true, .resource = "node"};
    switch (b->state) {
    case PL_BUCKET_OK:
    case PL_BUCKET_NO_SITE:
        p->code = "bucket_no_site";
        (void)snprintf(p->text, sizeof(p->text), "no allowed site has a node with disk");
        (void)snprintf(p->fix, sizeof(p->fix),
                       "give a node of an allowed site 'disk', or widen 'residency'");
        break;
    case PL_BUCKET_NO_SPREAD:
        p->code = "bucket_code_unmet";
        p->proven = b->proven;
        (void)snprintf(p->text, sizeof(p->text),
                       "no code keeps at most its parity in any %u of the sites that have nodes "
                       "with disk",
                       b->sites);
        (void)snprintf(p->fix, sizeof(p->fix),
                       "add nodes with disk in more sites, lower survive.sites%s",
                       b->decl->has_code ? ", or change 'code'" : "");
        break;
    case PL_BUCKET_NO_NODES:
        p->code = "bucket_code_unmet";
        (void)snprintf(p->text, sizeof(p->text),
                       "its code has %lld shards and there are fewer nodes with disk",
                       (long long)(b->decl->data + b->decl->parity));
        (void)snprintf(p->fix, sizeof(p->fix), "add nodes with disk, or use a smaller code");
        break;
    case PL_BUCKET_NO_DISK:
        p->code = "bucket_disk_short";
        p->resource = "disk";
        p->missing = (double)b->missing;
        p->proven = b->proven;
        (void)snprintf(p->text, sizeof(p->text), "its shards do not fit on the disks");
        (void)snprintf(p->fix, sizeof(p->fix), "add nodes with %lldG more of disk",
                       (long long)(b->missing / GIB + (b->missing % GIB > 0)));
        break;
    }
    (void)w;
}

/* What the best effort was short of, for a service that found no place. */
static void search_problem(const struct pl_state *st, const struct pl_svc *s, bool proved_none,
                           const struct plan *plan, struct pl_problem *p)
{
    const struct pl_world *w = st->w;
    *p = (struct pl_problem){.s = s, .zone = s->shape, .missing = NAN, .proven = proved_none};
    p->code = "capacity_short";
    uint32_t there = 0;
    for (uint32_t r = 0; r < s->replicas; r++) {
        there += st->place[s->replica0 + r] != PL_NONE;
    }
    if (there < s->replicas) {
        p->resource = "cpus";
        p->missing = (double)(s->replicas - there) * (double)s->shape->need[PL_CPUS] / 1e9;
        (void)snprintf(p->text, sizeof(p->text), "no room for %u of its %u replicas",
                       s->replicas - there, s->replicas);
        return;
    }
    for (size_t i = 0; i < plan->nlosses; i++) {
        const struct plan_loss *l = &plan->losses[i];
        for (size_t j = 0; j < l->nshorts; j++) {
            const struct plan_short *sh = &l->shorts[j];
            if (!sh->asked || !sk_str_eq(sh->service, s->decl->name) ||
                !sk_str_eq(sh->project, s->project->name)) {
                continue;
            }
            p->scen = &w->scens[i + 1];
            p->resource = sh->resource.ptr;
            int res = sk_str_is(sh->resource, "memory") ? PL_MEMORY
                      : sk_str_is(sh->resource, "disk") ? PL_DISK
                                                        : PL_CPUS;
            double amount = (double)sh->replicas * (double)s->shape->need[res];
            p->missing = res == PL_CPUS ? amount / 1e9 : amount;
            (void)snprintf(p->text, sizeof(p->text),
                           "after this loss %lld of its replicas have no room",
                           (long long)sh->replicas);
            return;
        }
    }
    p->code = "no_placement";
    (void)snprintf(p->text, sizeof(p->text),
                   "no placement %s keeps every rule of it and of the others",
                   proved_none ? "at all" : "that was found");
}

enum plan_verdict pl_problems(const struct pl_state *st, const struct pl_buckets *buckets,
                              bool proved_none, struct plan *plan)
{
    const struct pl_world *w = st->w;
    struct pl_problem p;
    bool proven = false;
    size_t certified = 0;
    for (size_t i = 0; i < w->nsvcs; i++) {
        if (rps_short(&w->svcs[i])) {
            rps_problem(&w->svcs[i], &p);
            pl_problem_add(w, plan, &p);
            proven = true;
        }
        if (!st->placed[i] && pl_cert_service(w, &w->svcs[i], &p)) {
            pl_fix(w, &p);
            pl_problem_add(w, plan, &p);
            proven = proven || p.proven;
            certified++;
        }
    }
    for (size_t i = 0; i < buckets->len; i++) {
        if (buckets->items[i].state != PL_BUCKET_OK) {
            bucket_problem(w, &buckets->items[i], &p);
            pl_problem_add(w, plan, &p);
            proven = proven || p.proven;
        }
    }
    if (certified == 0 && pl_state_score(st).unplaced > 0) {
        if (!w->pooled && pl_cert_zones(w, &p)) {
            pl_fix(w, &p);
            pl_problem_add(w, plan, &p);
            proven = true;
        } else {
            /* a complete search speaks of all services together: the disk of buckets was fixed */
            bool none = proved_none && !w->pooled;
            for (size_t i = 0; i < w->nsvcs; i++) {
                if (!st->placed[i]) {
                    search_problem(st, &w->svcs[i], none, plan, &p);
                    pl_fix(w, &p);
                    pl_problem_add(w, plan, &p);
                    proven = proven || p.proven;
                }
            }
        }
    }
    return proven ? PLAN_IMPOSSIBLE : PLAN_NOT_FOUND;
}
