/* SPDX-License-Identifier: Apache-2.0 */
#include "net/address.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>

bool net_is_host_name(struct sk_str name)
{
    struct sk_str label, rest = name;
    bool more = name.len > 0 && name.len <= 253;
    bool good = more;

    while (good && more) {
        more = sk_str_cut(rest, '.', &label, &rest);
        good = sk_str_is_label(label);
    }
    return good;
}

static int bad(struct sk_err *err, struct sk_str text)
{
    (void)sk_err_set(err, SK_ERR_INPUT, "address '%.*s' is not HOST or HOST:PORT",
                     text.len > 200 ? 200 : (int)text.len, text.ptr ? text.ptr : "");
    (void)sk_err_fix(err, "write 203.0.113.7:7400, [2001:db8::1]:7400 or fra1.example.com:7400");
    return SK_ERR_INPUT;
}

static int parse_port(struct sk_str text, uint16_t *ret)
{
    unsigned port = 0;

    if (text.len == 0 || text.len > 5) {
        return -1;
    }
    for (size_t i = 0; i < text.len; i++) {
        if (text.ptr[i] < '0' || text.ptr[i] > '9') {
            return -1;
        }
        port = port * 10 + (unsigned)(text.ptr[i] - '0');
    }
    if (port == 0 || port > 65535) {
        return -1;
    }
    *ret = (uint16_t)port;
    return 0;
}

/* Separates the two texts; the brackets of "[v6]" are taken off. */
static int cut_port(struct sk_str text, struct sk_str *ret_host, struct sk_str *ret_port,
                    bool *ret_v6)
{
    struct sk_str rest;
    const char *colon;

    *ret_v6 = false;
    if (text.len && text.ptr[0] == '[') {
        struct sk_str inner = {text.ptr + 1, text.len - 1};
        if (!sk_str_cut(inner, ']', ret_host, &rest) || (rest.len && rest.ptr[0] != ':')) {
            return -1;
        }
        *ret_v6 = true;
        *ret_port = rest.len ? (struct sk_str){rest.ptr + 1, rest.len - 1} : SK_STR_NULL;
        return rest.len == 1 ? -1 : 0;
    }
    colon = text.len ? memchr(text.ptr, ':', text.len) : NULL;
    if (colon && memchr(colon + 1, ':', text.len - (size_t)(colon - text.ptr) - 1)) {
        *ret_v6 = true; /* two colons and no brackets: an IPv6 address by itself */
        *ret_host = text;
        *ret_port = SK_STR_NULL;
        return 0;
    }
    if (!sk_str_cut(text, ':', ret_host, ret_port)) {
        *ret_port = SK_STR_NULL;
    } else if (ret_port->len == 0) {
        return -1;
    }
    return 0;
}

int net_address_split(struct sk_str text, uint16_t port_dflt, char ret_host[NET_HOST_SIZE],
                      uint16_t *ret_port, struct sk_err *err)
{
    struct sk_str host, port_text;
    char copy[NET_HOST_SIZE];
    unsigned char raw[16];
    uint16_t port = port_dflt;
    bool v6;

    if (cut_port(text, &host, &port_text, &v6) < 0 || host.len == 0 || host.len >= sizeof(copy) ||
        memchr(host.ptr, '\0', host.len) || (port_text.len && parse_port(port_text, &port) < 0)) {
        return bad(err, text);
    }
    memcpy(copy, host.ptr, host.len);
    copy[host.len] = '\0';
    if (v6 ? inet_pton(AF_INET6, copy, raw) != 1
           : inet_pton(AF_INET, copy, raw) != 1 && !net_is_host_name(host)) {
        return bad(err, text);
    }
    memcpy(ret_host, copy, host.len + 1);
    *ret_port = port;
    return 0;
}

int net_address_parse(struct sk_str text, uint16_t port_dflt, struct sockaddr_storage *ret,
                      struct sk_err *err)
{
    char host[NET_HOST_SIZE];
    struct sockaddr_in v4 = {.sin_family = AF_INET};
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6};
    uint16_t port;
    int rc = net_address_split(text, port_dflt, host, &port, err);

    if (rc < 0) {
        return rc;
    }
    if (inet_pton(AF_INET, host, &v4.sin_addr) == 1) {
        v4.sin_port = htons(port);
        memset(ret, 0, sizeof(*ret));
        memcpy(ret, &v4, sizeof(v4));
        return 0;
    }
    if (inet_pton(AF_INET6, host, &v6.sin6_addr) == 1) {
        v6.sin6_port = htons(port);
        memset(ret, 0, sizeof(*ret));
        memcpy(ret, &v6, sizeof(v6));
        return 0;
    }
    return sk_err_set(err, SK_ERR_INPUT, "address '%s' is a name where a number is needed", host);
}

void net_address_host(const struct sockaddr *sa, char ret_text[NET_HOST_SIZE])
{
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;

    ret_text[0] = '?';
    ret_text[1] = '\0';
    if (sa->sa_family == AF_INET) {
        memcpy(&v4, sa, sizeof(v4));
        (void)inet_ntop(AF_INET, &v4.sin_addr, ret_text, NET_HOST_SIZE);
    } else if (sa->sa_family == AF_INET6) {
        memcpy(&v6, sa, sizeof(v6));
        (void)inet_ntop(AF_INET6, &v6.sin6_addr, ret_text, NET_HOST_SIZE);
    }
}

void net_address_print(const struct sockaddr *sa, char ret_text[NET_ADDRESS_SIZE])
{
    char host[NET_HOST_SIZE];
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;

    net_address_host(sa, host);
    if (sa->sa_family == AF_INET) {
        memcpy(&v4, sa, sizeof(v4));
        (void)snprintf(ret_text, NET_ADDRESS_SIZE, "%s:%u", host, ntohs(v4.sin_port));
    } else if (sa->sa_family == AF_INET6) {
        memcpy(&v6, sa, sizeof(v6));
        (void)snprintf(ret_text, NET_ADDRESS_SIZE, "[%s]:%u", host, ntohs(v6.sin6_port));
    } else {
        (void)snprintf(ret_text, NET_ADDRESS_SIZE, "?");
    }
}
