/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SK_PLAN_MEMO_H
#define SK_PLAN_MEMO_H

#include "plan/world.h"

/*
 * What a placement of one service is worth by itself: whether its own rules hold, its cost with its
 * moves, whether its goals hold. Nothing of that depends on the others, and the complete search
 * asks for the same placements again under every choice of the services before: so it is worked out
 * once. Bounded by MEMO_BYTES_MAX; what comes later is worked out each time.
 *
 *     struct pl_memo *m = pl_memo_new(w);
 *     struct pl_worth v = pl_memo_worth(m, s, nodes);     v.nodes is the memo's, or NULL: not kept
 *     pl_memo_free(m);
 */
struct pl_memo;

struct pl_worth {
    const uint32_t *nodes; /* a copy of the placement that lives as long as the memo, or NULL */
    double cost;
    bool hard, goals; /* cost and goals are told only where the hard rules hold */
};

struct pl_memo *pl_memo_new(const struct pl_world *w);
void pl_memo_free(struct pl_memo *m); /* NULL allowed */
/* `nodes`: s->replicas of them, in the order of the shape's nodes. */
struct pl_worth pl_memo_worth(struct pl_memo *m, const struct pl_svc *s, const uint32_t *nodes);

#endif
