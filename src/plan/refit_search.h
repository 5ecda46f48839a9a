/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SK_PLAN_REFIT_SEARCH_H
#define SK_PLAN_REFIT_SEARCH_H

#include "plan/state.h"

/* A service whose lost replicas must go somewhere in one world. */
struct pl_item {
    const struct pl_svc *s;
    uint32_t lost;
    bool far; /* all are lost, and where they go must be near enough */
    double key;
    size_t was; /* where it stood in the order before */
};

enum pl_found { PL_FOUND, PL_PROVED_NONE, PL_GAVE_UP };

/* Complete search: every way to put the items' lost replicas on what is left, alike nodes and alike
 * replicas once. Fills st->alt and takes the room when found; leaves the world unchanged otherwise.
 * PL_GAVE_UP after `effort` steps. */
enum pl_found pl_refit_search(struct pl_state *st, size_t scen, struct pl_item *items, size_t n,
                              uint64_t effort);

#endif
