/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SK_DAEMON_HEALTH_H
#define SK_DAEMON_HEALTH_H

#include <uv.h>

#include "control/control.h"
#include "daemon/state.h"

/*
 * How the members of etcd are, each asked itself: on a thread of its own, never on the loop, for
 * 700 ms a member at most; an answer is good for 5 s. Loop thread.
 */
struct health;

#define HEALTH_ROWS_MAX STORE_ETCD_ENDPOINTS_MAX

/* `rows` are good until the next call; count 0: the state is in SQLite. */
typedef void health_fn(void *ctx, const struct control_member_health *rows, size_t count);

struct health *health_new(uv_loop_t *loop, const char *dir);
/* Waits for what is under way; who still waits is told of no rows. NULL allowed. */
void health_free(struct health *health);
/* `done` comes once: now where an answer is still good (unless it is to be `fresh`), or nothing can
 * be asked; else later. Whom: the members' own etcd where they have one, else what `form` names.
 * Who is named what: `members`, by address. */
void health_ask(struct health *health, const struct state_form *form,
                const struct control_member *members, size_t count, bool fresh, health_fn *done,
                void *ctx);

#endif
