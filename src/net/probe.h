/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SK_NET_PROBE_H
#define SK_NET_PROBE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#include "base/err.h"
#include "base/str.h"

/*
 * Witness probes: who hears whom, and how far apart, by small datagrams on UDP 7401.
 *
 * Every interval a node sends one datagram of 64 bytes to each of its targets; the target echoes
 * it. A target counts as heard at the moment when an echo to a datagram of ours comes back for the
 * first time: boot nonce, counter, both names and the cluster's probe key are under one MAC (keyed
 * BLAKE2b), so neither a recorded echo nor another node's can pass for it. A probe is echoed once:
 * its counter must be new in the window of its sender's boot nonce, and a nonce that was replaced
 * does not come back. Anything else is ignored in silence, whatever it is: the port says nothing to
 * who has no key. An answer is never larger than the question.
 *
 *     offset  0  4  "skp1"
 *             4  1  1 probe, 2 echo          5  3  zero
 *             8  8  boot nonce of the prober 16  8  counter of the prober, big endian, from 1
 *            24  8  from                    32  8  to: first bytes of SHA-256 of a node's name
 *            40  8  boot nonce of the echoing side (echo), zero (probe)
 *            48 16  MAC of all before it
 *
 * A target whose echoes are missing is asked more often for a while (net_pulse_hurry()).
 *
 * Bounded: NET_PROBE_TARGETS_MAX targets, NET_PROBE_SENDERS_MAX senders remembered (those not heard
 * longest are forgotten), and one echo a datagram. All on the loop thread. Times: sys_now_us().
 */
#define NET_PROBE_PORT 7401
#define NET_PROBE_BYTES 64
#define NET_PROBE_KEY_BYTES 32
#define NET_PROBE_TARGETS_MAX 64
#define NET_PROBE_SENDERS_MAX 4096

struct net_probe;

struct net_probe_cfg {
    const char *node;    /* own name; copied */
    const char *address; /* to listen on and send from: a numeric address, port 7401 if none */
    bool port_any;       /* a free port instead: net_probe_port() */
    int64_t interval_ms; /* 0 = 250 */
    /* A beat by datagram or an answer to one (net/pulse.h), which share the port. May be NULL. */
    void (*on_pulse)(void *ctx, const uint8_t *bytes, size_t len, const struct sockaddr *from);
    void *ctx;
};

struct net_probe_target {
    const char *node;
    const char *address; /* numeric, with :PORT unless 7401 */
};

/* What is known of a target. */
struct net_heard {
    const char *node;   /* good until the targets change */
    int64_t age_ms;     /* since the last echo; -1 = never heard */
    int64_t rtt_us;     /* median of the last 16 echoes; -1 = none */
    int64_t rtt_us_min; /* least of them */
};

int net_probe_new(uv_loop_t *loop, const struct net_probe_cfg *cfg, struct net_probe **ret,
                  struct sk_err *err);
uint16_t net_probe_port(const struct net_probe *probe);
/* Without a key nothing is sent and nothing believed. The key before the last stays good for what
 * arrives, so that a change of key loses no probe. */
void net_probe_set_key(struct net_probe *probe, const uint8_t key[NET_PROBE_KEY_BYTES]);
/* The whole list; targets that stay keep what is known of them. SK_ERR_INPUT, SK_ERR_LIMIT: then
 * nothing changes. */
int net_probe_set_targets(struct net_probe *probe, const struct net_probe_target *targets,
                          size_t count, struct sk_err *err);
size_t net_probe_count(const struct net_probe *probe); /* of targets */
void net_probe_heard(const struct net_probe *probe, size_t index, struct net_heard *ret);
/* Any datagram from the same port: one that cannot be sent is one that is lost. */
void net_probe_send(struct net_probe *probe, const uint8_t *bytes, size_t len,
                    const struct sockaddr *to);
void net_probe_free(struct net_probe *probe); /* NULL allowed; ends as the loop runs on */

/* ---- the datagram, pure ---- */

enum net_probe_kind { NET_PROBE_ASK = 1, NET_PROBE_ECHO = 2 };

struct net_probe_datagram {
    enum net_probe_kind kind;
    uint8_t nonce[8];
    uint64_t counter;
    uint8_t from[8], to[8];
    uint8_t echo_nonce[8];
};

void net_probe_id(struct sk_str node, uint8_t ret[8]);
void net_probe_write(const struct net_probe_datagram *datagram,
                     const uint8_t key[NET_PROBE_KEY_BYTES], uint8_t ret[NET_PROBE_BYTES]);
/* False for anything that is not exactly one good datagram under the key. */
bool net_probe_read(const uint8_t *bytes, size_t len, const uint8_t key[NET_PROBE_KEY_BYTES],
                    struct net_probe_datagram *ret);

#endif
