/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "control/internal.h"

/*
 * Prefixes of nodes and addresses and ports of instances. A cursor goes round instead of taking the
 * lowest free one: what was just given back may still be in a router's table.
 */

/* "a.b.c.d/len" -> number and length; false if it is none. */
static bool range_parse(const char *text, uint32_t *ret_base, unsigned *ret_len)
{
    struct sk_str rest = sk_str(text);
    struct sk_str part;
    struct sk_str len_text;
    uint32_t base = 0;
    int64_t n;

    if (!sk_str_cut(rest, '/', &rest, &len_text) || !ctl_digits(len_text, &n) || n > 32) {
        return false;
    }
    *ret_len = (unsigned)n;
    for (int i = 0; i < 4; i++) {
        struct sk_str tail = SK_STR("");
        bool more = sk_str_cut(rest, '.', &part, &tail);
        if (more != (i < 3) || !ctl_digits(part, &n) || n > 255) {
            return false;
        }
        base = base << 8 | (uint32_t)n;
        rest = tail;
    }
    *ret_base = base;
    return true;
}

int ctl_prefix_pick(const struct control *c, char out[24], struct sk_err *err)
{
    uint32_t base;
    unsigned len;

    if (!range_parse(c->range, &base, &len) || len > 24 || len < 8) {
        return sk_err_set(err, SK_ERR_CORRUPT, "the cluster's range '%s' is not valid", c->range);
    }
    uint32_t count = UINT32_C(1) << (24 - len);
    for (uint32_t k = 1; k <= count; k++) {
        uint32_t net = (base >> 8) + (k % count); /* .0.0/24 last: it looks like the range itself */
        bool taken = false;
        (void)snprintf(out, 24, "%u.%u.%u.0/24", net >> 16 & 255, net >> 8 & 255, net & 255);
        for (size_t i = 0; i < c->nnodes && !taken; i++) {
            taken = strcmp(c->nodes[i]->prefix, out) == 0;
        }
        if (!taken) {
            return 0;
        }
    }
    return sk_err_set(err, SK_ERR_LIMIT, "no prefix is left in range '%s' for another node",
                      c->range);
}

static bool address_taken(const struct ctl_node *n, const char *address)
{
    for (size_t i = 0; i < n->ninsts; i++) {
        if (strcmp(n->insts[i]->address, address) == 0) {
            return true;
        }
    }
    return false;
}

bool ctl_addr_pick(struct control *c, struct ctl_node *n, char out[20])
{
    uint32_t base;
    unsigned len;

    if (!range_parse(n->prefix, &base, &len) || len != 24) {
        return false;
    }
    for (unsigned k = 0; k < 253; k++) {
        uint32_t host = 2 + (n->next_host - 2 + k) % 253; /* .1 is the node, .255 everybody */
        (void)snprintf(out, 20, "%u.%u.%u.%u", base >> 24, base >> 16 & 255, base >> 8 & 255, host);
        if (!address_taken(n, out)) {
            n->next_host = host == 254 ? 2 : host + 1;
            return true;
        }
    }
    return false;
}

bool ctl_port_pick(struct control *c, struct ctl_node *n, uint16_t *ret)
{
    const unsigned count = CTL_EXEC_PORT_LAST - CTL_EXEC_PORT_FIRST + 1;

    for (unsigned k = 0; k < count; k++) {
        unsigned port =
            CTL_EXEC_PORT_FIRST + (n->next_port - (unsigned)CTL_EXEC_PORT_FIRST + k) % count;
        bool taken = false;
        for (size_t i = 0; i < n->ninsts && !taken; i++) {
            taken = n->insts[i]->spec->exec && n->insts[i]->port == port;
        }
        if (!taken) {
            n->next_port = (uint16_t)(port == CTL_EXEC_PORT_LAST ? CTL_EXEC_PORT_FIRST : port + 1);
            *ret = (uint16_t)port;
            return true;
        }
    }
    return false;
}
