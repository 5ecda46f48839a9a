/* SPDX-License-Identifier: Apache-2.0 */
#ifndef LAB_WAN_MATRIX_H
#define LAB_WAN_MATRIX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/prng.h"
#include "base/str.h"

/*
 * What the network between sites does to a packet: per direction a delay, jitter, loss, rate and
 * cut. No clock and no I/O here: the caller says what time it is. wan.c moves the packets.
 *
 * Sites are numbers 1 .. WAN_SITES_MAX - 1. Which site an address of 10.0.0.0/8 belongs to is kept
 * per /24 ("map"). Packets of a direction never overtake each other, also with jitter: a WAN's
 * jitter is queueing, and reordering would make TCP see loss that is not there.
 *
 * Commands, one a line (times in milliseconds, may have decimals):
 *     map 10.99.3.0/24 3                  that /24 lies in site 3 (0 = nowhere: dropped)
 *     set 1 2 DELAY JITTER LOSS% MBIT     one direction; MBIT 0 = no limit; "-" leaves what was
 *     cut 1 2 | heal 1 2                  one direction, silent
 *     links COUNT                         answers with "FROM TO DELAY JITTER LOSS% MBIT CUT", a
 * line for each direction between sites 1 to COUNT stats                               answers with
 * counters as JSON
 */
#define WAN_SITES_MAX 64
#define WAN_DELAY_MS_MAX 10000.0
#define WAN_QUEUE_NS_MAX 200000000ULL /* a rate limit queues at most 200 ms, then drops */

struct wan_link {
    uint64_t delay_ns;
    uint64_t jitter_ns; /* added, uniform in [0, jitter) */
    double loss;        /* 0..1 */
    double bits_per_s;  /* 0 = no limit */
    bool cut;
    uint64_t busy_until_ns; /* the wire is sending until then (rate) */
    uint64_t last_due_ns;   /* no later packet leaves before this */
};

struct wan_matrix {
    struct wan_link link[WAN_SITES_MAX][WAN_SITES_MAX];
    uint8_t site_of[65536]; /* by the second and third byte of 10.x.y.z */
    struct sk_prng prng;
    uint64_t packets, passed, lost, cut, full, unknown;
};

enum wan_fate { WAN_PASS, WAN_LOST, WAN_CUT, WAN_FULL, WAN_UNKNOWN };

void wan_matrix_init(struct wan_matrix *m, uint64_t seed);
/* `ip` is an IP packet of len bytes. WAN_PASS: *ret_due_ns (>= now_ns) is when it leaves. */
enum wan_fate wan_judge(struct wan_matrix *m, const uint8_t *ip, size_t len, uint64_t now_ns,
                        uint64_t *ret_due_ns);
/* One command line; an answer, if the command has one, is appended to reply. */
int wan_command(struct wan_matrix *m, struct sk_str line, struct sk_buf *reply, struct sk_err *err);

#endif
