/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SK_PLAN_RULES_H
#define SK_PLAN_RULES_H

#include "plan/world.h"

/*
 * What a service's placement must hold by itself, whatever the others do: latency, keep, ceiling,
 * latency after a loss of what is kept. Room (now and in a loss) is the state's business.
 */

/* Holding sites of a placement and how many replicas each has; sites ascending. */
struct pl_spread {
    uint32_t *site;
    uint32_t *count;
    size_t len;
};
/* site and count have room for min(n, nsites) entries. Entries of PL_NONE are left out. */
void pl_spread_of(const struct pl_world *w, const uint32_t *nodes, size_t n,
                  struct pl_spread *spread);

/* Share of the demand whose nearest of the sites is within `bound` ms. 0 without sites or users. */
double pl_share_within(const struct pl_world *w, const struct pl_users *u, const uint32_t *sites,
                       size_t nsites, double bound);
/* Smallest L such that at least `share` of demand is within L of the sites; HUGE_VAL if none. */
double pl_share_ms(const struct pl_world *w, const struct pl_users *u, const uint32_t *sites,
                   size_t nsites, double share);
/* Egress of a service held by these sites; *ret_known false if a price it needs is not known. */
double pl_egress_hour(const struct pl_world *w, const struct pl_svc *s, const uint32_t *sites,
                      size_t nsites, bool *ret_known);
/* Replicas + egress an hour; nodes of PL_NONE cost nothing. */
double pl_cost_hour(const struct pl_world *w, const struct pl_svc *s, const uint32_t *nodes,
                    size_t n, bool *ret_known);
/* Hourly price of the moves from the current placement, and how many they are. */
double pl_move_hour(const struct pl_world *w, const struct pl_svc *s, const uint32_t *nodes,
                    uint32_t *ret_moves);

/* Sum of the `top` largest values. */
uint32_t pl_top_sum(const uint32_t *count, size_t len, uint32_t top);
/* Replicas on the `top` nodes that hold most of them. `nodes` in any order. */
uint32_t pl_top_nodes(const uint32_t *nodes, size_t n, uint32_t top);

enum pl_rule {
    PL_RULE_OK,
    PL_RULE_LATENCY,
    PL_RULE_AFTER_LOSS,
    PL_RULE_KEEP_SITES,
    PL_RULE_KEEP_NODES,
    PL_RULE_CEILING,
    PL_RULE_CEILING_UNKNOWN /* the cost is not known, so the ceiling cannot be promised */
};
/* The hard rules of one service for a complete placement of its replicas. */
enum pl_rule pl_rules_hard(const struct pl_world *w, const struct pl_svc *s, const uint32_t *nodes);
/* Only those that depend on which sites hold a replica (latency now and after a loss). */
bool pl_rules_sites(const struct pl_world *w, const struct pl_svc *s, const uint32_t *sites,
                    size_t nsites);
/* The goals that are a matter of spread: keep in site losses, keep in node losses. */
bool pl_rules_goals(const struct pl_world *w, const struct pl_svc *s, const uint32_t *nodes);
bool pl_le(double a, double b); /* a <= b with the agreed tolerance */

#endif
