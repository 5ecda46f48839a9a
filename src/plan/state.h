/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SK_PLAN_STATE_H
#define SK_PLAN_STATE_H

#include "plan/world.h"

/*
 * A placement in the making, in all its worlds at once: the one without a loss, and one for every
 * loss that must be survived (pl_world.scens). In each of these every placed service has its kept
 * replicas where they are and, if it asks for it, its lost ones on nodes that are left. So whatever
 * is placed has proved its room in every loss, and nothing has to be checked afterwards.
 *
 * A service is placed whole or not at all. pl_state_put() either succeeds or changes nothing.
 * `work` counts what was done, in about nanoseconds: the searches are bounded by it instead of by
 * a clock, which keeps plans repeatable.
 */
struct pl_state {
    const struct pl_world *w;
    int64_t *free;    /* [nscens][nnodes][PL_RES_COUNT] */
    int64_t *minfree; /* [nnodes][PL_RES_COUNT]: least over the worlds in which the node lives */
    int64_t *pool;    /* [nscens][nsites] disk left of a site; only if w->pooled */
    uint32_t *place;  /* [nreplicas] node or PL_NONE */
    uint32_t *alt;    /* [nscens][nreplicas] where a lost replica goes, PL_NONE = it is not lost,
                         or nobody asked */
    bool *placed;     /* [nsvcs] */
    bool *goals;      /* [nsvcs] placed so that its goals hold too (its lost replicas fit again) */
    double *cost;     /* [nsvcs] cost + moves an hour of a placed service */
    /* Nodes whose minfree is to be worked out anew: once, however often they were named, by
     * pl_state_settle() before anything reads it or takes room. */
    uint32_t *stale;
    bool *is_stale; /* [nnodes] */
    size_t nstale;
    bool *dirty;          /* [nscens] of pl_state_put() alone */
    struct pl_undo *undo; /* the same */
    uint64_t work;
    bool gave_up; /* a search for room ended at its bound: "no" was not proved */
};

struct pl_state *pl_state_new(const struct pl_world *w);
void pl_state_free(struct pl_state *st);
void pl_state_copy(struct pl_state *to, const struct pl_state *from); /* of the same world */

/* Works out what pl_state_take() and its like left to do: before minfree is read. */
void pl_state_settle(struct pl_state *st);
/* Room for one more replica of this shape on the node, in every world in which the node lives. */
static inline bool pl_state_room(const struct pl_state *st, const int64_t *need, uint32_t node)
{
    const int64_t *f = st->minfree + (size_t)node * PL_RES_COUNT;
    return f[PL_CPUS] >= need[PL_CPUS] && f[PL_MEMORY] >= need[PL_MEMORY] &&
           f[PL_DISK] >= need[PL_DISK];
}
static inline int64_t *pl_free(const struct pl_state *st, size_t scen, uint32_t node)
{
    return st->free + (scen * st->w->nnodes + node) * PL_RES_COUNT;
}

/* Is the replica (index over all replicas) on a node that this world has lost? */
static inline bool pl_is_lost(const struct pl_state *st, size_t scen, size_t replica)
{
    uint32_t node = st->place[replica];
    return node != PL_NONE && st->w->scens[scen].lost[st->w->nodes[node].site];
}

/* Must the lost replicas of the service fit again in this world? */
static inline bool pl_wants_refit(const struct pl_svc *s, const struct pl_scen *scen, bool goals)
{
    return s->ask >= scen->count || (goals && s->refit_goal && scen->count == 1);
}

/* Places all replicas of a service. `goals`: its default survive is held as if it were written. The
 * rules of pl_rules_hard() are the caller's; room is checked here, exactly: false if there is none
 * in some world. `effort`: bound of the search for room in one world (0: greedy only). */
bool pl_state_put(struct pl_state *st, uint32_t svc, const uint32_t *nodes, bool goals,
                  uint64_t effort);
void pl_state_take(struct pl_state *st, uint32_t svc);

/* A service's replicas and where they go in every world, to put back what was just taken. */
struct pl_saved {
    uint32_t *place, *alt;
    bool goals;
    double cost;
};
void pl_state_save(const struct pl_state *st, uint32_t svc, struct pl_saved *ret_saved);
/* Only valid while every other service is as it was when saved. */
void pl_state_restore(struct pl_state *st, uint32_t svc, const struct pl_saved *saved);
void pl_saved_release(struct pl_saved *saved);

/* (services not placed, services with an unmet goal, cost + moves), smaller is better. */
struct pl_score {
    size_t unplaced, unmet;
    double cost;
};
struct pl_score pl_state_score(const struct pl_state *st);
bool pl_score_better(const struct pl_score *a, const struct pl_score *b);

#endif
