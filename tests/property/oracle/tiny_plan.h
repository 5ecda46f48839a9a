/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_ORACLE_TINY_PLAN_H
#define TESTS_ORACLE_TINY_PLAN_H

#include "tiny.h"

/* What a plan decides; all else in it follows. -1: nowhere. */
struct tiny_state {
    int home[SERVICES_MAX][REPLICAS_MAX];
    unsigned masks[ROWS_MAX]; /* the sets of sites, in the order of the rows */
    int nrows;
    int back[ROWS_MAX][SERVICES_MAX][REPLICAS_MAX];
};
#define SK_PROJECT SK_STR("p")

int tiny_rows(const struct tiny *t, bool pairs, unsigned *ret_masks);
/* What is free in a row, per node: cpus, memory, disk. Without `all`, re-placements of services
 * that did not ask are left out. */
void tiny_room(const struct tiny *t, const struct tiny_state *st, int row, bool all, int free[][3]);
bool tiny_lacks(const struct tiny *t, int service, const int *free, int resource);
void tiny_greedy(const struct tiny *t, struct tiny_state *st, int row);
bool tiny_goal_unmet(const struct tiny *t, const struct tiny_state *st, int i);
bool tiny_bucket_goal_unmet(const struct tiny *t, const struct plan_bucket *b);
/* The plan that follows, not sealed. */
struct plan *tiny_fill(const struct tiny *t, const struct tiny_state *st);

#endif
