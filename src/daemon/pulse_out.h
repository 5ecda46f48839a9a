/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SK_DAEMON_PULSE_OUT_H
#define SK_DAEMON_PULSE_OUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#include "base/buf.h"
#include "net/channel.h"

/*
 * A node's side of beats by datagram (net/pulse.h): to every control node that it is connected to
 * and that gave it a session, each beat_ms, in the middle between two beats of the channel; and
 * extra ones while answers are missing. Loop thread only.
 */
struct pulse_out;

struct pulse_out_config {
    int64_t beat_ms;
    /* Writes a new beat; `brief`: without what was heard, since with it it was too long. */
    void (*write)(void *ctx, bool brief, struct sk_buf *out);
    void (*send)(void *ctx, const uint8_t *bytes, size_t len, const struct sockaddr *to);
    void *ctx;
};

struct pulse_out *pulse_out_new(uv_loop_t *loop, const struct pulse_out_config *config);
/* The control node's frame `pulse`: a session, the only one from now on. */
void pulse_out_take(struct pulse_out *out, struct net_peer *peer, const struct net_frame *frame);
void pulse_out_down(struct pulse_out *out, const struct net_peer *peer);
/* A datagram that may be an answer. */
void pulse_out_answer(struct pulse_out *out, const uint8_t *bytes, size_t len);
/* The datagrams to it all arrive, whole: net_pulse_calm(). */
bool pulse_out_is_calm(const struct pulse_out *out, const struct net_peer *peer);
void pulse_out_free(struct pulse_out *out); /* NULL allowed; ends as the loop runs on */

#endif
