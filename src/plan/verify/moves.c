/* SPDX-License-Identifier: Apache-2.0 */
#include "plan/verify/internal.h"

/* Node names of the current plan, by replica; "" where it has none. */
static struct sk_str *current_nodes(struct vf *v)
{
    struct sk_str *was = SK_ARENA_ARRAY(v->arena, struct sk_str, v->nreplicas + 1);

    for (size_t i = 0; v->in->current && i < v->in->current->nplacements; i++) {
        const struct plan_placement *p = &v->in->current->placements[i];
        const struct vf_service *s = vf_service(v, p->project, p->service);

        if (s && p->replica >= 0 && p->replica < s->service->replicas) {
            was[s->first + (size_t)p->replica] = p->node;
        }
    }
    return was;
}

static void check_move(struct vf *v, const struct plan_move *move, const struct sk_str *was,
                       bool *listed)
{
    const struct vf_service *s = vf_service(v, move->project, move->service);
    size_t replica;

    if (!s || move->replica < 0 || move->replica >= s->service->replicas) {
        vf_find(v, "move", "%.*s/%.*s replica %lld is not declared", SK_PRI(move->project),
                SK_PRI(move->service), (long long)move->replica);
        return;
    }
    replica = s->first + (size_t)move->replica;
    if (listed[replica] || sk_str_eq(move->from, move->to)) {
        vf_find(v, "move", "%.*s/%.*s replica %lld moves %s", SK_PRI(move->project),
                SK_PRI(move->service), (long long)move->replica,
                listed[replica] ? "twice" : "to where it is");
    }
    listed[replica] = true;
    if (v->home[replica] < 0 || !sk_str_eq(v->inv->nodes[v->home[replica]].name, move->to)) {
        vf_find(v, "move", "%.*s/%.*s replica %lld moves to '%.*s' and is placed elsewhere",
                SK_PRI(move->project), SK_PRI(move->service), (long long)move->replica,
                SK_PRI(move->to));
    }
    if (v->in->current && !sk_str_eq(was[replica], move->from)) {
        vf_find(v, "move", "%.*s/%.*s replica %lld moves from '%.*s', it was on '%.*s'",
                SK_PRI(move->project), SK_PRI(move->service), (long long)move->replica,
                SK_PRI(move->from), SK_PRI(was[replica]));
    }
}

void vf_check_moves(struct vf *v)
{
    struct sk_str *was = current_nodes(v);
    bool *listed = SK_ARENA_ARRAY(v->arena, bool, v->nreplicas + 1);

    for (size_t i = 0; i < v->plan->nmoves; i++) {
        check_move(v, &v->plan->moves[i], was, listed);
    }
    for (size_t r = 0; r < v->nreplicas; r++) {
        if (was[r].len > 0 && v->home[r] >= 0 && !listed[r] &&
            !sk_str_eq(was[r], v->inv->nodes[v->home[r]].name)) {
            const struct vf_service *s = &v->services[vf_replica_service(v, r)];

            vf_find(v, "move_missing", "%.*s/%.*s replica %zu went from '%.*s' to '%.*s'",
                    SK_PRI(s->project->name), SK_PRI(s->service->name), r - s->first,
                    SK_PRI(was[r]), SK_PRI(v->inv->nodes[v->home[r]].name));
        }
    }
}
