/* SPDX-License-Identifier: Apache-2.0 */
/* Any text as a token; one that is accepted prints as itself, less a newline at its end. Any text
 * as an address; one that is accepted has a host and a port. */
#include "net/address.h"
#include "net/token.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct sk_str text = {(const char *)data, size};
    char printed[NET_TOKEN_TEXT_SIZE];
    char host[NET_HOST_SIZE];
    struct net_token token;
    struct sk_err err = {0};
    uint16_t port = 0;

    if (net_token_parse(text, &token, &err) == 0) {
        net_token_print(&token, printed);
        SK_ASSERT(size == sizeof(printed) - 1 ||
                  (size == sizeof(printed) && data[size - 1] == '\n'));
        SK_ASSERT(memcmp(printed, data, sizeof(printed) - 1) == 0);
    } else {
        SK_ASSERT(err.code == SK_ERR_INPUT && err.fix[0]);
    }
    if (net_address_split(text, 7400, host, &port, &err) == 0) {
        SK_ASSERT(host[0] && strlen(host) < sizeof(host) && port > 0);
    } else {
        SK_ASSERT(err.code == SK_ERR_INPUT);
    }
    return 0;
}
