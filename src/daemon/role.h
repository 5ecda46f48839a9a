/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SK_DAEMON_ROLE_H
#define SK_DAEMON_ROLE_H

#include <uv.h>

#include "base/err.h"
#include "base/str.h"
#include "daemon/config.h"
#include "net/frame.h"

/*
 * How a node becomes a control node and ceases to be one (docs/control-nodes.md), at the word of
 * whoever leads: keeps what it is granted, runs its member of etcd as a child, looks into the
 * shared state until it finds itself in it, then has the control half started in the running
 * skerryd. It says how far it is to every control node that connects, and at each change.
 *
 * A word that is based on an older record `control` than the last one that was taken is not heard.
 * Killed anywhere, the next start goes on from DIR/control/etcd/engine.json. Loop thread only; what
 * blocks runs on a worker.
 */
struct role;
struct vault;

struct role_config {
    const struct daemon_config *config;
    void *ctx;
    void (*say)(void *ctx, struct sk_str json); /* to all control nodes */
    /* The node is a control node from now on, or no longer: also at its next start. */
    int (*set_control)(void *ctx, bool is_control, struct sk_err *err);
    int (*start_control)(void *ctx, struct sk_err *err);
    void (*stop_control)(void *ctx);
    struct vault *(*vault)(void *ctx); /* the open one of the control half, or NULL */
};

int role_new(uv_loop_t *loop, const struct role_config *config, struct role **ret,
             struct sk_err *err);
/* A frame `control_…` of a control node. */
void role_frame(struct role *role, const struct net_frame *frame);
/* A control node has connected: it is told where this node stands. */
void role_tell(struct role *role);
/* The member of etcd ends too; ends as the loop runs on. NULL allowed. */
void role_free(struct role *role);

#endif
