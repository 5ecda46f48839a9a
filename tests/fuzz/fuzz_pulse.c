/* SPDX-License-Identifier: Apache-2.0 */
/* Any datagram to both ends of a session, as it came and with its seal made good: only the next
 * counter is taken, once, and what comes out is what went in. */
#include <string.h>

#include "base/err.h"
#include "net/pulse.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct net_pulse session(void)
{
    struct net_pulse pulse = {.counter = 3};

    memset(pulse.id, 'i', sizeof(pulse.id));
    memset(pulse.key, 'k', sizeof(pulse.key));
    return pulse;
}

static void take(const uint8_t *bytes, size_t len, bool good)
{
    struct net_pulse control = session(), node = session();
    struct sk_buf json = SK_BUF_INIT;
    bool taken = net_pulse_open(&control, bytes, len, &json);

    SK_ASSERT(taken || (json.len == 0 && control.counter == 3));
    SK_ASSERT(!taken || (control.counter > 3 && json.len == len - NET_PULSE_ANSWER_BYTES));
    SK_ASSERT(!good || taken);
    SK_ASSERT(!taken || !net_pulse_open(&control, bytes, len, &json));
    SK_ASSERT(!net_pulse_answered(&node, bytes, len) || node.answered <= node.counter);
    sk_buf_release(&json);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct net_pulse node = session();
    uint8_t bytes[NET_PULSE_BYTES_MAX];
    size_t len;

    take(data, size, false);
    len = net_pulse_seal(&node, (struct sk_str){(const char *)data, size}, bytes);
    SK_ASSERT((len == 0) == (size > NET_PULSE_JSON_MAX));
    if (len > 0) {
        take(bytes, len, true);
    }
    return 0;
}
