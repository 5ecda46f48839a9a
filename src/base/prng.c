/* SPDX-License-Identifier: Apache-2.0 */
#include "base/prng.h"

#include "base/err.h"

static uint64_t rotl(uint64_t x, int k)
{
    return x << k | x >> (64 - k);
}

void sk_prng_seed(struct sk_prng *prng, uint64_t seed)
{
    for (int i = 0; i < 4; i++) {
        uint64_t z = (seed += 0x9e3779b97f4a7c15ull);
        z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
        z = (z ^ z >> 27) * 0x94d049bb133111ebull;
        prng->s[i] = z ^ z >> 31;
    }
}

uint64_t sk_prng_u64(struct sk_prng *prng)
{
    uint64_t *s = prng->s;
    uint64_t result = rotl(s[1] * 5, 7) * 9;
    uint64_t t = s[1] << 17;

    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = rotl(s[3], 45);
    return result;
}

uint64_t sk_prng_below(struct sk_prng *prng, uint64_t bound)
{
    uint64_t limit;
    uint64_t x;

    SK_ASSERT(bound > 0);
    limit = UINT64_MAX - UINT64_MAX % bound;
    do {
        x = sk_prng_u64(prng);
    } while (x >= limit);
    return x % bound;
}

double sk_prng_unit(struct sk_prng *prng)
{
    return (double)(sk_prng_u64(prng) >> 11) * 0x1.0p-53;
}
