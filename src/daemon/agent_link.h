/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SK_DAEMON_AGENT_LINK_H
#define SK_DAEMON_AGENT_LINK_H

#include <uv.h>

#include "base/err.h"
#include "base/str.h"
#include "net/frame.h"

/*
 * skerryd's end of the agent's unix socket: frames of net/frame.h, both ways. Connects, and
 * connects again 200 ms after each loss; what could not be sent is dropped, since every frame that
 * matters is a whole state and is sent again on on_up. Loop thread only.
 */
struct agent_link;

struct agent_link_callbacks {
    void *ctx;
    void (*on_up)(void *ctx);
    void (*on_frame)(void *ctx, const struct net_frame *frame);
    void (*on_down)(void *ctx);
};

int agent_link_new(uv_loop_t *loop, const char *socket_path,
                   const struct agent_link_callbacks *callbacks, struct agent_link **ret,
                   struct sk_err *err);
/* false: not connected, or 8 MiB are waiting already. */
bool agent_link_send(struct agent_link *link, struct sk_str json);
bool agent_link_is_up(const struct agent_link *link);
void agent_link_free(struct agent_link *link); /* handles end as the loop runs on */

#endif
