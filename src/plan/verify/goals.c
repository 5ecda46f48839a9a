/* SPDX-License-Identifier: Apache-2.0 */
#include "plan/verify/internal.h"

/*
 * Goals are what nobody wrote: an unmet one is a warning, never a refusal. And the verdict, last,
 * since it speaks of everything before it.
 */

/* Replicas left when the `f` sites that hold most are gone. */
static int64_t kept_of_worst_sites(struct vf *v, const struct vf_service *s)
{
    memset(v->count, 0, v->inv->nsites * sizeof(*v->count));
    for (int64_t r = 0; r < s->service->replicas; r++) {
        int64_t n = v->home[s->first + (size_t)r];

        if (n >= 0) {
            v->count[v->inv->nodes[n].site]++;
        }
    }
    return s->placed - vf_top(v->count, v->inv->nsites, s->sites);
}

static bool warned(const struct vf *v, struct sk_str project, struct sk_str service)
{
    for (size_t i = 0; i < v->plan->nwarnings; i++) {
        const struct plan_warning *w = &v->plan->warnings[i];

        if (sk_str_is(w->code, "goal_unmet") && sk_str_eq(w->project, project) &&
            sk_str_eq(w->service, service)) {
            return true;
        }
    }
    return false;
}

static bool any_bucket_unmet(const struct vf *v, struct sk_str project, struct sk_str bucket)
{
    for (size_t i = 0; i < v->nbuckets; i++) {
        if (v->buckets[i].goal_unmet && sk_str_eq(v->buckets[i].project->name, project) &&
            (bucket.len == 0 || sk_str_eq(v->buckets[i].bucket->name, bucket))) {
            return true;
        }
    }
    return false;
}

/* Warnings that a goal is unmet name a declared thing whose goal is unmet. */
static void check_warnings(struct vf *v, const bool *unmet)
{
    for (size_t i = 0; i < v->plan->nwarnings; i++) {
        const struct plan_warning *w = &v->plan->warnings[i];
        const struct vf_service *s;

        if (w->code.len == 0 || w->text.len == 0) {
            vf_find(v, "warning", "warning %zu has no code or no text", i);
        }
        if (!sk_str_is(w->code, "goal_unmet") || v->plan->verdict != PLAN_OK) {
            continue;
        }
        s = vf_service(v, w->project, w->service);
        if (!(s && unmet[s - v->services]) && !any_bucket_unmet(v, w->project, w->service)) {
            vf_find(v, "warning_false", "%.*s/%.*s has no unmet goal", SK_PRI(w->project),
                    SK_PRI(w->service));
        }
    }
}

void vf_check_goals(struct vf *v)
{
    bool *unmet = SK_ARENA_ARRAY(v->arena, bool, v->nservices + 1);

    for (size_t i = 0; i < v->nservices; i++) {
        const struct vf_service *s = &v->services[i];
        bool sites = s->sites > 0 && !s->keep_hard_sites && kept_of_worst_sites(v, s) < s->keep;

        unmet[i] = sites || s->goal_short || s->goal_nodes;
        if (unmet[i] && v->plan->verdict == PLAN_OK &&
            !warned(v, s->project->name, s->service->name)) {
            vf_find(v, "warning_missing",
                    "%.*s/%.*s does not meet its goal (%s) and no warning "
                    "says so",
                    SK_PRI(s->project->name), SK_PRI(s->service->name),
                    sites           ? "keep, sites"
                    : s->goal_short ? "room after a site's loss"
                                    : "keep, nodes");
        }
    }
    for (size_t i = 0; i < v->nbuckets; i++) {
        const struct vf_bucket *b = &v->buckets[i];

        if (b->goal_unmet && v->plan->verdict == PLAN_OK &&
            !warned(v, b->project->name, b->bucket->name) &&
            !warned(v, b->project->name, SK_STR(""))) {
            vf_find(v, "warning_missing",
                    "bucket %.*s/%.*s does not survive a site and no warning "
                    "says so",
                    SK_PRI(b->project->name), SK_PRI(b->bucket->name));
        }
    }
    check_warnings(v, unmet);
}

static bool names_exist(struct vf *v, const struct plan_problem *p)
{
    bool project = p->project.len == 0, bucket = p->bucket.len == 0;

    for (size_t i = 0; i < v->in->nprojects; i++) {
        project = project || sk_str_eq(v->in->projects[i]->name, p->project);
    }
    for (size_t i = 0; i < v->nbuckets; i++) {
        bucket = bucket || (sk_str_eq(v->buckets[i].project->name, p->project) &&
                            sk_str_eq(v->buckets[i].bucket->name, p->bucket));
    }
    for (size_t i = 0; i < p->nlost; i++) {
        if (inventory_site(v->inv, p->lost[i]) < 0 && inventory_node(v->inv, p->lost[i]) < 0) {
            return false;
        }
    }
    return project && bucket && (p->service.len == 0 || vf_service(v, p->project, p->service));
}

void vf_check_verdict(struct vf *v)
{
    const struct plan *plan = v->plan;
    bool proven = false;

    for (size_t i = 0; i < plan->nproblems; i++) {
        const struct plan_problem *p = &plan->problems[i];

        proven = proven || p->proven;
        if (p->code.len == 0 || p->fix.len == 0) {
            vf_find(v, "problem", "problem %zu ('%.*s') has no code or no fix", i, SK_PRI(p->code));
        }
        if (!names_exist(v, p)) {
            vf_find(v, "problem", "problem %zu ('%.*s') names what does not exist", i,
                    SK_PRI(p->code));
        }
    }
    switch (plan->verdict) {
    case PLAN_OK:
        if (plan->nproblems > 0) {
            vf_find(v, "verdict", "ok with %zu problems", plan->nproblems);
        }
        break;
    case PLAN_IMPOSSIBLE:
    case PLAN_NOT_FOUND:
        if (plan->nproblems == 0) {
            vf_find(v, "verdict", "not ok, and no problem says why");
        }
        if (plan->nproblems > 0 && proven != (plan->verdict == PLAN_IMPOSSIBLE)) {
            vf_find(v, "verdict", "%s with %s problem that is proven",
                    proven ? "not_found" : "impossible", proven ? "a" : "no");
        }
        if (!v->broken && v->report->nfindings == 0) {
            vf_find(v, "verdict", "not ok, but the plan breaks no rule");
        }
        break;
    }
}
