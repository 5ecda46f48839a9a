/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SK_DAEMON_MOVER_H
#define SK_DAEMON_MOVER_H

#include <uv.h>

#include "control/control.h"
#include "daemon/state.h"

/*
 * Carries out for the host what control wants done to the store itself: moves to the other form on
 * the state's worker, changes of etcd's members on one of its own. The answers are control's
 * events. Loop thread only.
 */
struct mover;
struct host;

struct mover *mover_new(uv_loop_t *loop, const char *dir, struct sk_str node, struct state *state,
                        struct host *host);
/* CONTROL_CMD_MOVE; `not_yet`: it fails with that, to be tried again; NULL: it is made. */
void mover_move(struct mover *mover, const struct control_command *cmd, const char *not_yet);
void mover_etcd(struct mover *mover, const struct control_command *cmd); /* CONTROL_CMD_ETCD */
/* Keeps CA, certificate and key of an etcd of the operator's own and tries it, for a grow to it.
 * `done` is called once, later, unless this returns an error; what does not do is removed again. */
typedef void mover_tried_fn(void *ctx, const struct sk_err *err);
int mover_try_etcd(struct mover *mover, const struct sk_str *endpoints, size_t count,
                   const struct sk_str pems[3], mover_tried_fn *done, void *ctx,
                   struct sk_err *err);
/* Takes no other store over any more; before the state is freed. Blocks. */
void mover_end(struct mover *mover);
void mover_free(struct mover *mover); /* after it. NULL allowed */

#endif
