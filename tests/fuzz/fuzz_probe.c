/* SPDX-License-Identifier: Apache-2.0 */
/* Any datagram, as it came and with its MAC made good: what is accepted is written as the same
 * bytes, so there is exactly one form of each. */
#include <sodium.h>
#include <string.h>

#include "base/err.h"
#include "net/probe.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const uint8_t key[NET_PROBE_KEY_BYTES] = {7};

static void check(const uint8_t *bytes, size_t len)
{
    struct net_probe_datagram datagram;
    uint8_t again[NET_PROBE_BYTES];

    if (net_probe_read(bytes, len, key, &datagram)) {
        SK_ASSERT(len == NET_PROBE_BYTES && datagram.counter > 0);
        net_probe_write(&datagram, key, again);
        SK_ASSERT(memcmp(bytes, again, sizeof(again)) == 0);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t bytes[NET_PROBE_BYTES];
    int rc;

    check(data, size);
    if (size >= NET_PROBE_BYTES) {
        memcpy(bytes, data, sizeof(bytes));
        rc = crypto_generichash(bytes + 48, 16, bytes, 48, key, sizeof(key));
        SK_ASSERT(rc == 0);
        check(bytes, sizeof(bytes));
    }
    return 0;
}
