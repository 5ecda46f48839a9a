/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SK_PLAN_SHAPES_H
#define SK_PLAN_SHAPES_H

#include "plan/world.h"

/*
 * Shapes: services of the same size, residency and constraints share one list of allowed nodes, so
 * that ten thousand alike services cost one look at the inventory. Shapes live in the world's
 * arena; the table that finds equal ones is freed after building.
 */
struct pl_shapes;

struct pl_shapes *pl_shapes_new(struct pl_world *w);
void pl_shapes_free(struct pl_shapes *shapes);
const struct pl_shape *pl_shapes_get(struct pl_shapes *shapes, const struct service *decl);
/* Sets pl_node.kind, once all shapes are known. */
void pl_shapes_kinds(struct pl_shapes *shapes);

#endif
