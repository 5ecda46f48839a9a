/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SK_CLI_OFFLINE_H
#define SK_CLI_OFFLINE_H

#include "base/err.h"
#include "model/inventory.h"
#include "model/plan.h"
#include "model/project.h"

/*
 * What a command reads from files: declarations (with the caller's environment, a .env beside the
 * file, env_file), an inventory, a plan. "-" is standard input. Every message names file, line and
 * column.
 */
struct offline_world {
    struct inventory *inv;     /* NULL when no --inventory was given */
    struct project **projects; /* sorted by name */
    size_t nprojects;
    double read_ms;
};

int offline_project(const char *path, bool for_apply, struct project **ret, struct sk_err *err);
int offline_world(const char *inventory_path, const char *const *paths, size_t npaths,
                  bool for_apply, struct offline_world *ret, struct sk_err *err);
void offline_world_release(struct offline_world *world);
int offline_plan(const char *path, struct plan **ret, struct sk_err *err);

#endif
