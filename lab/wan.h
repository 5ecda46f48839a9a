/* SPDX-License-Identifier: Apache-2.0 */
#ifndef LAB_WAN_H
#define LAB_WAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"

/*
 * The delay router: a TUN device in the current network namespace; every packet that is routed into
 * it comes back out when wan_matrix.h says so. Kernels without netem need it, and it changes live.
 *
 * Runs until SIGTERM or SIGINT (which it blocks for the calling thread) and then removes the device
 * and its control socket. One thread. Takes SCHED_FIFO when it may: the timing stays true beside a
 * busy machine. A super-packet (GSO) is one packet to loss and rate: start with gso = false where
 * loss is what is measured.
 */
struct lab_wan_options {
    const char *device;       /* "wan0" */
    const char *control_path; /* unix datagram socket; a stale one is replaced */
    bool gso;
    uint64_t seed;
};
int lab_wan_run(const struct lab_wan_options *options, struct sk_err *err);

/*
 * Sends command lines (wan_matrix.h) to a running router and waits for its answer, at most 2 s. All
 * lines of one call are taken in order; the first that is wrong stops it: SK_ERR_INPUT with the
 * router's words. The answer of `stats` is appended to reply (may be NULL).
 */
int lab_wan_command(const char *control_path, struct sk_str lines, struct sk_buf *reply,
                    struct sk_err *err);

#endif
