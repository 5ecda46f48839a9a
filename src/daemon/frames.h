/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SK_DAEMON_FRAMES_H
#define SK_DAEMON_FRAMES_H

#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/tree.h"
#include "control/control.h"

/*
 * Frames of the channel (docs/architecture.md) to control's events and back. Pure. What comes in is
 * hostile until checked: wrong shapes are SK_ERR_PROTOCOL and end the connection; unknown fields
 * are ignored.
 */
int frame_read_beat(const struct sk_node *tree, struct sk_str node, struct sk_arena *arena,
                    struct control_event *ret, struct sk_err *err);
int frame_read_observe(const struct sk_node *tree, struct sk_str node, struct sk_arena *arena,
                       struct control_event *ret, struct sk_err *err);
int frame_read_lease(const struct sk_node *tree, struct sk_str node, struct sk_arena *arena,
                     struct control_event *ret, struct sk_err *err);
int frame_read_drilled(const struct sk_node *tree, struct sk_str node, struct control_event *ret,
                       struct sk_err *err);
/* Parses the token too: ret->token_hash is that of the stored record. `request` is left to the
 * caller. */
int frame_read_join(const struct sk_node *tree, struct sk_arena *arena, struct control_join *ret,
                    struct sk_err *err);

/* A node's `beat`. */
struct frame_heard {
    const char *node;
    int64_t age_ms, rtt_us;
};
struct frame_front { /* of the ingress that it runs */
    int64_t view, requests, errors;
};
struct frame_beat {
    int64_t seq, assign_rev, obs_rev;
    const struct frame_heard *heard;
    size_t nheard;
    const struct frame_front *front; /* NULL: none */
    bool brief;                      /* says nothing of what is heard: the last word on it stands */
};
void frame_write_beat(const struct frame_beat *beat, struct sk_buf *out);

/* The `joined` or `renewed` frame. */
struct frame_certificate {
    struct sk_str cluster, node, site, prefix, cert, ca;
};
void frame_write_certificate(const struct frame_certificate *certificate, bool renewal,
                             struct sk_buf *out);

#endif
