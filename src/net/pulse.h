/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SK_NET_PULSE_H
#define SK_NET_PULSE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/str.h"

/*
 * Beats by datagram: the `beat` frame of a node, sealed, to the UDP port of a control node's
 * probes. A datagram does not wait for the one before it, as TCP does for up to some seconds after
 * a blackout. The channel stays what it is; where UDP is blocked nothing is lost but time.
 *
 * For each connection of a node, control makes a session: a random id and key, told over the
 * channel (frame `pulse`) and good only as long as that connection is up. So a datagram proves the
 * node of that connection and no other node can make one; one of an earlier connection is nobody's.
 * Each counter is taken once and only upwards: what was recorded, doubled or overtaken is dropped
 * before anything is computed. What names no session costs one look-up. An answer (to each that was
 * taken, so that the node knows whether they arrive) is never larger than the question.
 *
 *     offset  0  4  "skb1" a beat, "ska1" an answer
 *             4  8  session
 *            12  8  counter of the beat, big endian, from 1; in an answer: of the one it answers
 *            20     the frame's JSON (a beat; an answer has none), sealed by ChaCha20-Poly1305
 *                   (RFC 8439) under the session's key, 16 bytes of tag at the end; all before is
 *                   authenticated. Nonce: 0 or 1 (an answer) in four bytes, then the counter
 *
 * Pure but for the session's randomness; a session belongs to one thread.
 */
#define NET_PULSE_BYTES_MAX 1200 /* passes every way that IPv6 may pass */
#define NET_PULSE_HEAD_BYTES 20
#define NET_PULSE_TAG_BYTES 16
#define NET_PULSE_ID_BYTES 8
#define NET_PULSE_KEY_BYTES 32
#define NET_PULSE_ANSWER_BYTES (NET_PULSE_HEAD_BYTES + NET_PULSE_TAG_BYTES)
#define NET_PULSE_JSON_MAX (NET_PULSE_BYTES_MAX - NET_PULSE_ANSWER_BYTES)

/* Extra ones are sent, each NET_PULSE_HURRY_MS, while answers that used to come are missing: from
 * NET_PULSE_MISS_MS after the last until NET_PULSE_GIVE_UP_MS after it. */
#define NET_PULSE_HURRY_MS 100
#define NET_PULSE_MISS_MS 500
#define NET_PULSE_GIVE_UP_MS 5000

/* On a way on which no answer was missing for NET_PULSE_CALM_MS, or none since it is there, the
 * beats by channel are sent each NET_PULSE_CALM_BEATS-th time only, and at once where they say
 * something new of an assignment: a beat by channel costs control as much as one by datagram. With
 * the first answer that is missing all are sent again, so that where anything is lost nothing is
 * saved. */
#define NET_PULSE_CALM_MS 10000
#define NET_PULSE_CALM_BEATS 4

/* Either side's end of a session. */
struct net_pulse {
    uint8_t id[NET_PULSE_ID_BYTES];
    uint8_t key[NET_PULSE_KEY_BYTES];
    uint64_t counter;  /* node: of the last that was sent; control: of the newest that was taken */
    uint64_t answered; /* node: the newest that was answered */
};

enum net_pulse_kind { NET_PULSE_NONE, NET_PULSE_BEAT, NET_PULSE_ANSWER };

/* By its first bytes alone; the session it names. NONE: it is no such datagram. */
enum net_pulse_kind net_pulse_look(const uint8_t *bytes, size_t len,
                                   uint8_t ret_id[NET_PULSE_ID_BYTES]);

/* ---- control ---- */

void net_pulse_new(struct net_pulse *ret); /* random */
/* Appends the JSON to *ret. False, and nothing is changed, for anything but the node's next one. */
bool net_pulse_open(struct net_pulse *pulse, const uint8_t *bytes, size_t len, struct sk_buf *ret);
/* To the one that was taken last. */
void net_pulse_answer(const struct net_pulse *pulse, uint8_t ret[NET_PULSE_ANSWER_BYTES]);
/* The frame `pulse`. */
void net_pulse_write(const struct net_pulse *pulse, uint16_t port, struct sk_buf *out);

/* ---- node ---- */

struct sk_node;
/* SK_ERR_PROTOCOL */
int net_pulse_parse(const struct sk_node *frame, struct net_pulse *ret, uint16_t *ret_port,
                    struct sk_err *err);
/* Returns its length; 0 when the JSON is longer than NET_PULSE_JSON_MAX. */
size_t net_pulse_seal(struct net_pulse *pulse, struct sk_str json,
                      uint8_t ret[NET_PULSE_BYTES_MAX]);
/* True for an answer to a later one than was answered before. */
bool net_pulse_answered(struct net_pulse *pulse, const uint8_t *bytes, size_t len);
/* Whether an extra one is due. `answered_ms` < 0: none was answered yet. */
bool net_pulse_hurry(int64_t now_ms, int64_t answered_ms);
/* Since when none is missing, as of an answer at now_ms: `answered_ms` is when the one before came
 * (< 0: none), `steady_ms` what this returned then. */
int64_t net_pulse_steady(int64_t now_ms, int64_t answered_ms, int64_t steady_ms);
bool net_pulse_calm(int64_t now_ms, int64_t answered_ms, int64_t steady_ms);

void net_pulse_wipe(struct net_pulse *pulse);

#endif
