/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SK_DAEMON_PULSE_IN_H
#define SK_DAEMON_PULSE_IN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "net/channel.h"
#include "net/pulse.h"

/*
 * A control node's side of beats by datagram (net/pulse.h): one session for each connection of a
 * node, found by its id. The peer's data (net_peer_set_data) is this module's. Loop thread only.
 */
struct pulse_in;

struct pulse_in *pulse_in_new(uint16_t port); /* where this control node's probes arrive */
/* The connection is up: it gets a session, and is told. */
void pulse_in_up(struct pulse_in *in, struct net_peer *peer);
void pulse_in_down(struct pulse_in *in, struct net_peer *peer);
/* The node's connection, its JSON appended, and what to answer; NULL: to be ignored. */
struct net_peer *pulse_in_take(struct pulse_in *in, const uint8_t *bytes, size_t len,
                               struct sk_buf *ret_json, uint8_t ret_answer[NET_PULSE_ANSWER_BYTES]);
void pulse_in_free(struct pulse_in *in); /* NULL allowed */

#endif
