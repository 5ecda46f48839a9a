/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SK_BASE_PRNG_H
#define SK_BASE_PRNG_H

#include <stdint.h>

/* xoshiro256** seeded by splitmix64 (Blackman and Vigna): repeatable choices, never secrets. */
struct sk_prng {
    uint64_t s[4];
};
void sk_prng_seed(struct sk_prng *prng, uint64_t seed);
uint64_t sk_prng_u64(struct sk_prng *prng);
uint64_t sk_prng_below(struct sk_prng *prng,
                       uint64_t bound);    /* 0 .. bound - 1, unbiased; bound > 0 */
double sk_prng_unit(struct sk_prng *prng); /* [0, 1) */

#endif
