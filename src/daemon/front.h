/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SK_DAEMON_FRONT_H
#define SK_DAEMON_FRONT_H

#include <uv.h>

#include "base/err.h"
#include "base/tree.h"
#include "daemon/config.h"
#include "daemon/frames.h"
#include "net/identity.h"

/*
 * The site's ingress on the node that was told to hold it: started with the first routing view,
 * stopped when the assignment names another node. Loop thread only.
 */
struct front;

struct front *front_new(uv_loop_t *loop, const struct daemon_config *config);
/* Copied; at the start and after each renewal. */
void front_set_identity(struct front *front, const struct net_identity *identity);
/* The `assign` frame: its `ingress` (or null) and `revoked`. Problems are logged: the last good
 * view goes on serving. */
void front_take(struct front *front, const struct sk_node *assign);
/* For the beat; begins a reading of the counters now and then. False: no ingress serves here. */
bool front_report(struct front *front, struct frame_front *ret);
void front_free(struct front *front); /* HAProxy is stopped; ends as the loop runs on */

#endif
