/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SK_PLAN_REFIT_H
#define SK_PLAN_REFIT_H

#include "plan/state.h"

/*
 * Room in one world: where the lost replicas of the services that must fit again go. Kept replicas
 * never move; the others may be packed in any way.
 */

/* Worlds as they were, to put back when a later world has no room, and minfree with them. */
struct pl_item;
struct pl_undo {
    struct pl_undo_item {
        size_t scen;
        int64_t *free, *pool;
        uint32_t *alt;
    } * saved;
    size_t len, made, cap; /* saved; ever made, whose memory is used again; room */
    int64_t *minfree;
    bool has_minfree;      /* it was changed since pl_undo_clear() */
    struct pl_item *items; /* of pl_refit_all() alone: used again */
    size_t items_cap;
};
void pl_undo_apply(struct pl_state *st, struct pl_undo *undo);
void pl_undo_clear(struct pl_undo *undo); /* for the next attempt in the same world */
void pl_undo_release(struct pl_undo *undo);

/* Greedily: the lost replicas of one placed service among what others left. False, and nothing
 * changed, if that fails. */
bool pl_refit_one(struct pl_state *st, size_t scen, const struct pl_svc *s);
/* All that must fit again, packed anew: several greedy orders, then a complete search of at most
 * `effort` steps. On false the caller applies `undo`; st->gave_up tells if the bound was met. */
bool pl_refit_all(struct pl_state *st, size_t scen, uint64_t effort, struct pl_undo *undo);

/* True if all replicas of the service are lost in this world and it has a latency to keep there. */
bool pl_refit_far_matters(const struct pl_state *st, size_t scen, const struct pl_svc *s);
/* Is the service near enough where its replaced replicas are? */
bool pl_refit_near_enough(const struct pl_state *st, size_t scen, const struct pl_svc *s);
/* One replica of the service onto the best node with room in this world; PL_NONE if there is none.
 * `by_cost`: the cheapest, else the one that leaves most room for others. Only nodes of `site`
 * unless that is PL_NONE. Takes the room. */
uint32_t pl_refit_pick(struct pl_state *st, size_t scen, const struct pl_svc *s, uint32_t site,
                       bool by_cost);

/* Of state.c: recomputes st->minfree of one node. */
void pl_refresh_minfree(struct pl_state *st, uint32_t node);

#endif
