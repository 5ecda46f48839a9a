/* SPDX-License-Identifier: Apache-2.0 */
#ifndef LAB_HIST_H
#define LAB_HIST_H

#include <stdint.h>

/*
 * A histogram of durations: 1 us to 70 s in steps of at most 1.6 % (64 steps an octave), in
 * constant memory. Longer ones count as the longest.
 */
#define HIST_OCTAVES 27
#define HIST_STEPS 64

struct hist {
    uint64_t count;
    uint32_t bucket[HIST_OCTAVES * HIST_STEPS];
};

void hist_add(struct hist *h, uint64_t us);
void hist_merge(struct hist *into, const struct hist *from);
/* The smallest duration (its step's upper end) that at least `share` of all are within; 0 if the
 * histogram is empty. share is 0..1. */
uint64_t hist_at(const struct hist *h, double share);

#endif
