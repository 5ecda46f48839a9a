/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SK_NET_INGRESS_COUNT_H
#define SK_NET_INGRESS_COUNT_H

#include <stdint.h>
#include <uv.h>

#include "base/err.h"
#include "base/str.h"

/*
 * What users asked of an ingress, and what of it failed, by HAProxy's own counters: requests and
 * answers of 5xx at the door for hosts, connections and failed connections at published ports. What
 * other sites and checks ask is not counted.
 *
 * HAProxy's counters begin again with each worker, ours go on: ask at least every second or so, and
 * just before a change that may need a reload. What an old worker answered after the last reading
 * is lost. Loop thread only.
 */
struct ingress_counts {
    uint64_t requests, errors;
};

struct ingress_counter;

/* `dir`: as in ingress_options; at most 80 bytes. */
struct ingress_counter *ingress_counter_new(uv_loop_t *loop, const char *dir);
/* Begins a reading; one that is under way is enough. One that fails changes nothing. */
void ingress_counter_ask(struct ingress_counter *counter);
struct ingress_counts ingress_counter_total(const struct ingress_counter *counter);
void ingress_counter_free(struct ingress_counter *counter); /* NULL allowed */

/* The answer to `show info; show stat -1 3 -1`: the worker's pid, and what it counted.
 * SK_ERR_ENGINE when it is none. */
int ingress_counts_read(struct sk_str answer, int *ret_pid, struct ingress_counts *ret,
                        struct sk_err *err);

#endif
