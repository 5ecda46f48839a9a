/* SPDX-License-Identifier: Apache-2.0 */
#include "lab/hist.h"

/* Durations below 64 us have a bucket each; above, the top seven bits name the bucket. */
static unsigned bucket_of(uint64_t us)
{
    unsigned shift = 0;
    while (us >> shift >= 2 * HIST_STEPS) {
        shift++;
    }
    uint64_t bucket =
        us < HIST_STEPS ? us : (uint64_t)(shift + 1) * HIST_STEPS + (us >> shift) - HIST_STEPS;
    return bucket < HIST_OCTAVES * HIST_STEPS ? (unsigned)bucket : HIST_OCTAVES * HIST_STEPS - 1;
}

static uint64_t upper_end(unsigned bucket)
{
    if (bucket < HIST_STEPS) {
        return bucket;
    }
    unsigned shift = bucket / HIST_STEPS - 1;
    uint64_t mantissa = bucket % HIST_STEPS + HIST_STEPS;
    return ((mantissa + 1) << shift) - 1;
}

void hist_add(struct hist *h, uint64_t us)
{
    h->bucket[bucket_of(us)]++;
    h->count++;
}

void hist_merge(struct hist *into, const struct hist *from)
{
    for (unsigned i = 0; i < HIST_OCTAVES * HIST_STEPS; i++) {
        into->bucket[i] += from->bucket[i];
    }
    into->count += from->count;
}

uint64_t hist_at(const struct hist *h, double share)
{
    uint64_t seen = 0;
    for (unsigned i = 0; h->count > 0 && i < HIST_OCTAVES * HIST_STEPS; i++) {
        seen += h->bucket[i];
        if (seen > 0 && (double)seen >= share * (double)h->count) {
            return upper_end(i);
        }
    }
    return 0;
}
