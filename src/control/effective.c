/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "control/internal.h"

/*
 * The plan as it is really followed: the plan in force with the overlay laid over it. Made anew
 * whenever one of them changed; what a plan is compared with (`current`), what the queries show,
 * and which images are pulled beforehand come from it.
 */

static int prefetch_order(const void *a, const void *b)
{
    const struct ctl_prefetch *pa = a;
    const struct ctl_prefetch *pb = b;
    int order = strcmp(pa->node->name, pb->node->name);
    if (order == 0) {
        order = strcmp(pa->spec->image, pb->spec->image);
    }
    return order ? order : strcmp(pa->spec->digest, pb->spec->digest);
}

static void prefetch_make(struct control *c)
{
    const struct plan *plan = c->plan->plan;
    size_t total = 0;
    size_t count = 0;

    for (size_t k = 0; k < plan->nlosses; k++) {
        total += plan->losses[k].nreplaced;
    }
    struct ctl_prefetch *rows = SK_ARENA_ARRAY(c->effective_arena, struct ctl_prefetch, total + 1);
    for (size_t k = 0; k < plan->nlosses; k++) {
        for (size_t r = 0; r < plan->losses[k].nreplaced; r++) {
            const struct plan_placement *p = &plan->losses[k].replaced[r];
            const struct ctl_svc *s = ctl_svc(c, p->project, p->service);
            const struct ctl_node *n = ctl_node(c, p->node);
            if (s != NULL && s->want != NULL && !s->want->exec && n != NULL) {
                rows[count++] = (struct ctl_prefetch){n, s->want};
            }
        }
    }
    if (count > 1) {
        qsort(rows, count, sizeof(*rows), prefetch_order);
    }
    c->prefetch = rows;
    for (size_t i = 0; i < count; i++) {
        if (i == 0 || prefetch_order(&rows[i], &rows[c->nprefetch - 1]) != 0) {
            rows[c->nprefetch++] = rows[i];
        }
    }
}

void ctl_plan_refresh(struct control *c)
{
    sk_arena_free(c->effective_arena);
    c->effective_arena = sk_arena_new();
    memset(&c->effective, 0, sizeof(c->effective));
    c->prefetch = NULL;
    c->nprefetch = 0;
    if (c->plan == NULL) {
        return;
    }
    const struct plan *plan = c->plan->plan;
    struct sk_arena *a = c->effective_arena;
    struct plan_placement *rows = SK_ARENA_ARRAY(a, struct plan_placement, plan->nplacements + 1);
    size_t count = 0;

    c->effective = *plan;
    for (size_t i = 0; i < plan->nplacements; i++) {
        struct plan_placement p = plan->placements[i];
        const struct ctl_svc *s = ctl_svc(c, p.project, p.service);
        if (s == NULL || s->decl == NULL || p.replica < 0 || (size_t)p.replica >= s->nplace) {
            continue; /* no longer declared */
        }
        const struct ctl_place *place = &s->place[p.replica];
        if (place->overlay && place->node != NULL) {
            p.node = sk_arena_str(a, sk_str(place->node->name));
            p.site = sk_arena_str(a, sk_str(place->node->site->name));
        }
        rows[count++] = p;
    }
    c->effective.placements = rows;
    c->effective.nplacements = count;
    prefetch_make(c);
}

const struct plan *control_plan(const struct control *c)
{
    return c->plan ? &c->effective : NULL;
}
