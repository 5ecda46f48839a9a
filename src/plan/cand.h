/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SK_PLAN_CAND_H
#define SK_PLAN_CAND_H

#include "plan/world.h"

/*
 * Site patterns: which sites should hold a service. Latency, latency after a loss and egress are a
 * matter of the set of holding sites alone, so sets that keep the rules are listed once a service,
 * cheapest first; how many replicas each site gets is decided when room is known.
 */
struct pl_tmpl {
    uint32_t *must; /* sites that hold at least one replica */
    uint32_t nmust;
    bool only;         /* no other site holds any */
    double egress_max; /* other sites may hold if their price per GB is at most this */
    double bound;      /* the service costs at least this an hour */
};

struct pl_cands {
    const struct pl_world *w;
    struct sk_arena *arena;
    struct pl_list {
        struct pl_tmpl *items;
        size_t len;
        bool ready;
        bool deep;     /* nothing was cut off */
        bool complete; /* every set of sites was looked at: none listed means none is possible */
    } * lists;         /* [nsvcs], made when first asked for */
};

void pl_cands_init(struct pl_cands *c, const struct pl_world *w);
void pl_cands_release(struct pl_cands *c);
const struct pl_list *pl_cands_get(struct pl_cands *c, uint32_t svc);
/* The same list without the cut that keeps it short: for services that found no place. */
const struct pl_list *pl_cands_deep(struct pl_cands *c, uint32_t svc);

#endif
