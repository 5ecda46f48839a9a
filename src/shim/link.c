/* SPDX-License-Identifier: Apache-2.0 */
#include "shim/link.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <linux/veth.h>
#include <net/if.h>
#include <sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* One request being built, and its socket. */
struct request {
    union {
        struct nlmsghdr head;
        char bytes[1024];
    } u;
};

static int fail(char *reason, size_t size, const char *what, const char *name)
{
    (void)snprintf(reason, size, "%s '%s': %s", what, name, strerrordesc_np(errno));
    return -1;
}

static void begin(struct request *r, uint16_t type, uint16_t flags, const void *body, size_t len)
{
    memset(r, 0, sizeof(*r));
    r->u.head.nlmsg_len = (uint32_t)NLMSG_LENGTH(len);
    r->u.head.nlmsg_type = type;
    r->u.head.nlmsg_flags = (uint16_t)(NLM_F_REQUEST | NLM_F_ACK | flags);
    memcpy(NLMSG_DATA(&r->u.head), body, len);
}

/* Appends; the messages built here are far smaller than the buffer (asserted by the abort). */
static void *append(struct request *r, const void *body, size_t len)
{
    size_t at = NLMSG_ALIGN(r->u.head.nlmsg_len);

    if (at + NLMSG_ALIGN(len) > sizeof(r->u.bytes)) {
        abort();
    }
    memcpy(r->u.bytes + at, body, len);
    r->u.head.nlmsg_len = (uint32_t)(at + NLMSG_ALIGN(len));
    return r->u.bytes + at;
}

static size_t attribute(struct request *r, uint16_t type, const void *value, size_t len)
{
    struct rtattr attr = {.rta_len = (uint16_t)RTA_LENGTH(len), .rta_type = type};
    size_t at = NLMSG_ALIGN(r->u.head.nlmsg_len);

    (void)append(r, &attr, sizeof(attr));
    if (len > 0) {
        (void)append(r, value, len);
    }
    return at;
}

static void attribute_text(struct request *r, uint16_t type, const char *text)
{
    (void)attribute(r, type, text, strlen(text) + 1);
}

static void close_nest(struct request *r, size_t at)
{
    struct rtattr attr;

    memcpy(&attr, r->u.bytes + at, sizeof(attr));
    attr.rta_len = (uint16_t)(r->u.head.nlmsg_len - at);
    memcpy(r->u.bytes + at, &attr, sizeof(attr));
}

/* Sends one request and waits for its acknowledgement: 0, or -1 with errno. */
static int ask(int fd, struct request *r)
{
    union {
        struct nlmsghdr head;
        char bytes[4096];
    } answer;
    ssize_t n;

    if (send(fd, r->u.bytes, r->u.head.nlmsg_len, 0) < 0) {
        return -1;
    }
    do {
        n = recv(fd, answer.bytes, sizeof(answer.bytes), 0);
    } while (n < 0 && errno == EINTR);
    if (n < (ssize_t)NLMSG_LENGTH(sizeof(struct nlmsgerr)) ||
        answer.head.nlmsg_type != NLMSG_ERROR) {
        errno = n < 0 ? errno : EPROTO;
        return -1;
    }
    errno = -((const struct nlmsgerr *)NLMSG_DATA(&answer.head))->error;
    return errno ? -1 : 0;
}

static int open_socket(void)
{
    return socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
}

static int set_up(int fd, unsigned index)
{
    struct ifinfomsg info = {.ifi_index = (int)index, .ifi_flags = IFF_UP, .ifi_change = IFF_UP};
    struct request r;

    begin(&r, RTM_NEWLINK, 0, &info, sizeof(info));
    return ask(fd, &r);
}

static int parse_cidr(const char *text, struct in_addr *ret_addr, uint8_t *ret_bits)
{
    char copy[64], *slash, *end;
    long bits;

    (void)snprintf(copy, sizeof(copy), "%s", text);
    slash = strchr(copy, '/');
    if (!slash) {
        return -1;
    }
    *slash = '\0';
    bits = strtol(slash + 1, &end, 10);
    if (*end || end == slash + 1 || bits < 1 || bits > 32 ||
        inet_pton(AF_INET, copy, ret_addr) != 1) {
        return -1;
    }
    *ret_bits = (uint8_t)bits;
    return 0;
}

static int add_address(int fd, unsigned index, struct in_addr address, uint8_t bits)
{
    struct ifaddrmsg info = {.ifa_family = AF_INET, .ifa_prefixlen = bits, .ifa_index = index};
    struct request r;

    begin(&r, RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, &info, sizeof(info));
    (void)attribute(&r, IFA_LOCAL, &address, sizeof(address));
    (void)attribute(&r, IFA_ADDRESS, &address, sizeof(address));
    return ask(fd, &r) < 0 && errno != EEXIST ? -1 : 0;
}

static int add_default_route(int fd, unsigned index, struct in_addr gateway)
{
    struct rtmsg info = {.rtm_family = AF_INET,
                         .rtm_table = RT_TABLE_MAIN,
                         .rtm_protocol = RTPROT_BOOT,
                         .rtm_scope = RT_SCOPE_UNIVERSE,
                         .rtm_type = RTN_UNICAST};
    struct request r;

    begin(&r, RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL, &info, sizeof(info));
    (void)attribute(&r, RTA_GATEWAY, &gateway, sizeof(gateway));
    (void)attribute(&r, RTA_OIF, &index, sizeof(index));
    return ask(fd, &r);
}

static int add_veth(int fd, const struct link_instance *link, unsigned bridge, int netns,
                    struct in_addr address)
{
    struct ifinfomsg info = {.ifi_flags = IFF_UP, .ifi_change = IFF_UP}, peer = {0};
    uint32_t ip = ntohl(address.s_addr);
    uint8_t mac[6] = {
        0x02, 0x5c, (uint8_t)(ip >> 24), (uint8_t)(ip >> 16), (uint8_t)(ip >> 8), (uint8_t)ip};
    size_t linkinfo, data, peer_at;
    struct request r;

    begin(&r, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, &info, sizeof(info));
    attribute_text(&r, IFLA_IFNAME, link->veth);
    (void)attribute(&r, IFLA_MASTER, &bridge, sizeof(bridge));
    linkinfo = attribute(&r, IFLA_LINKINFO, NULL, 0);
    attribute_text(&r, IFLA_INFO_KIND, "veth");
    data = attribute(&r, IFLA_INFO_DATA, NULL, 0);
    peer_at = attribute(&r, VETH_INFO_PEER, NULL, 0);
    (void)append(&r, &peer, sizeof(peer));
    attribute_text(&r, IFLA_IFNAME, "eth0");
    (void)attribute(&r, IFLA_ADDRESS, mac, sizeof(mac));
    (void)attribute(&r, IFLA_NET_NS_FD, &netns, sizeof(netns));
    close_nest(&r, peer_at);
    close_nest(&r, data);
    close_nest(&r, linkinfo);
    return ask(fd, &r);
}

static int remove_link(int fd, const char *name)
{
    struct ifinfomsg info = {0};
    struct request r;

    begin(&r, RTM_DELLINK, 0, &info, sizeof(info));
    attribute_text(&r, IFLA_IFNAME, name);
    return ask(fd, &r) < 0 && errno != ENODEV ? -1 : 0;
}

/* All ports of this namespace are the instance's, so its users without privilege may have the low
 * ones. */
static void open_low_ports(void)
{
    int fd = open("/proc/sys/net/ipv4/ip_unprivileged_port_start", O_WRONLY | O_CLOEXEC);

    if (fd >= 0) {
        (void)!write(fd, "0", 1); /* an older kernel: they need the capability, as ever */
        (void)close(fd);
    }
}

/* In the new namespace: lo, eth0, its address, the way out. */
static int configure_inside(struct in_addr address, uint8_t bits, struct in_addr gateway)
{
    unsigned eth0 = if_nametoindex("eth0"), lo = if_nametoindex("lo");
    int fd = open_socket();
    int rc = fd < 0 || !eth0 || set_up(fd, lo) < 0 || add_address(fd, eth0, address, bits) < 0 ||
                     set_up(fd, eth0) < 0 || add_default_route(fd, eth0, gateway) < 0
                 ? -1
                 : 0;
    int saved = errno;

    open_low_ports();
    if (fd >= 0) {
        (void)close(fd);
    }
    errno = saved;
    return rc;
}

int link_instance_up(const struct link_instance *link, char *reason, size_t reason_size)
{
    struct in_addr address, gateway;
    uint8_t bits;
    unsigned bridge = if_nametoindex(link->bridge);
    int outer, netns, rc;

    if (parse_cidr(link->address, &address, &bits) < 0 ||
        inet_pton(AF_INET, link->gateway, &gateway) != 1 || strlen(link->veth) >= IFNAMSIZ) {
        (void)snprintf(reason, reason_size, "'%s' by '%s' is not an address with a gateway",
                       link->address, link->gateway);
        return -1;
    }
    if (!bridge) {
        return fail(reason, reason_size, "find bridge", link->bridge);
    }
    outer = open_socket();
    if (outer < 0 || unshare(CLONE_NEWNET) < 0) {
        return fail(reason, reason_size, "make a network namespace for", link->veth);
    }
    netns = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
    rc = netns < 0 ? -1 : add_veth(outer, link, bridge, netns, address);
    if (rc < 0 && errno == EEXIST && remove_link(outer, link->veth) == 0) {
        rc = add_veth(outer, link, bridge, netns, address);
    }
    if (rc < 0) {
        return fail(reason, reason_size, "make network link", link->veth);
    }
    (void)close(outer);
    (void)close(netns);
    if (configure_inside(address, bits, gateway) < 0) {
        return fail(reason, reason_size, "give the instance address", link->address);
    }
    return 0;
}

static int add_bridge(int fd, const char *name)
{
    struct ifinfomsg info = {0};
    struct request r;
    size_t linkinfo;

    begin(&r, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, &info, sizeof(info));
    attribute_text(&r, IFLA_IFNAME, name);
    linkinfo = attribute(&r, IFLA_LINKINFO, NULL, 0);
    attribute_text(&r, IFLA_INFO_KIND, "bridge");
    close_nest(&r, linkinfo);
    return ask(fd, &r) < 0 && errno != EEXIST ? -1 : 0;
}

int link_bridge_up(const char *name, const char *address, char *reason, size_t reason_size)
{
    struct in_addr ip;
    uint8_t bits;
    int fd, rc, saved;

    if (parse_cidr(address, &ip, &bits) < 0) {
        (void)snprintf(reason, reason_size, "'%s' is not an address with a prefix", address);
        return -1;
    }
    fd = open_socket();
    rc = fd < 0 || add_bridge(fd, name) < 0 ||
                 add_address(fd, if_nametoindex(name), ip, bits) < 0 ||
                 set_up(fd, if_nametoindex(name)) < 0
             ? -1
             : 0;
    saved = errno;
    if (fd >= 0) {
        (void)close(fd);
    }
    errno = saved;
    return rc < 0 ? fail(reason, reason_size, "set up bridge", name) : 0;
}

int link_remove(const char *name, char *reason, size_t reason_size)
{
    int fd = open_socket();
    int rc = fd < 0 ? -1 : remove_link(fd, name);
    int saved = errno;

    if (fd >= 0) {
        (void)close(fd);
    }
    errno = saved;
    return rc < 0 ? fail(reason, reason_size, "remove link", name) : 0;
}
