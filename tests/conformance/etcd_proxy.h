/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_CONFORMANCE_ETCD_PROXY_H
#define TESTS_CONFORMANCE_ETCD_PROXY_H

#include <stdint.h>

/*
 * A TCP proxy on loopback whose network can be spoiled while it runs. What is held back is kept by
 * the proxy and goes on its way when it passes again, even if who sent it has hung up meanwhile.
 */
enum proxy_mode {
    PROXY_PASS,
    PROXY_CUT,   /* resets every connection, and each new one */
    PROXY_HOLD,  /* what clients send is held back */
    PROXY_MUTE,  /* what the server sends is held back */
    PROXY_FREEZE /* both */
};

struct proxy;
struct proxy *proxy_new(int target_port);
void proxy_free(struct proxy *proxy);
int proxy_port(const struct proxy *proxy);
void proxy_set(struct proxy *proxy, enum proxy_mode mode); /* in force when it returns */
/* Bytes that came from clients, and bytes that were passed on to them. */
int64_t proxy_from_clients(struct proxy *proxy);
int64_t proxy_to_clients(struct proxy *proxy);

#endif
