/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MODEL_LEASE_H
#define MODEL_LEASE_H

#include <stdint.h>

/*
 * The times of leases, for those on both ends of one. Units: milliseconds of the reader's own clock
 * that counts from boot, also while the machine sleeps, and never steps.
 *
 * Guarantee: as long as both clocks run within LEASE_DRIFT_PPM of real time, what may run until
 * lease_holder_until_ms(sent) on the holder's clock has been dead for LEASE_GUARD_MS when
 * lease_free_from_ms(seen) comes on the leader's, for any `seen` that came after `sent`. Proof:
 * docs/leases.md. Source: docs/leases.md, tests/spin/lease.pml.
 */
#define LEASE_MS INT64_C(3000)
#define LEASE_DRIFT_PPM INT64_C(1000)
#define LEASE_GUARD_MS INT64_C(50) /* for the timer to fire late and the KILL to take its time */
#define LEASE_RENEW_MS INT64_C(750)
#define LEASE_RETRY_MS INT64_C(250) /* while the last ask is not answered */

/* sent: when the renewal that was granted was sent off. The work is killed at that time. */
static inline int64_t lease_holder_until_ms(int64_t sent_ms)
{
    return sent_ms + LEASE_MS - LEASE_MS * LEASE_DRIFT_PPM / 1000000 - LEASE_GUARD_MS;
}

/* seen: when the leader first knew the last renewal as committed. 1: both clocks are read in whole
 * milliseconds. */
static inline int64_t lease_free_from_ms(int64_t seen_ms)
{
    return seen_ms + LEASE_MS + LEASE_MS * LEASE_DRIFT_PPM / 1000000 + 1;
}

#endif
