/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SK_DAEMON_CLUSTER_H
#define SK_DAEMON_CLUSTER_H

#include <uv.h>

#include "base/err.h"
#include "daemon/config.h"
#include "daemon/host.h"
#include "daemon/keys.h"
#include "net/channel.h"
#include "net/identity.h"
#include "net/pulse.h"

/*
 * The control node's side of the channel: frames of nodes and newcomers become events for control;
 * control's commands become frames. Loop thread only.
 */
struct cluster;

struct cluster_config {
    const struct daemon_config *config;
    const struct net_identity *identity;
    struct net_revoked *revoked; /* shared with the node's own client; changed here */
    const char *control_dir;     /* with the CA's certificate and the state */
    struct keys *keys;           /* of the CA and of the probes */
    const char *boot;
    void (*failed)(void *ctx, const struct sk_err *err);
    void *ctx;
};

/* While the keys are not open it listens, gives shares to other control nodes and asks all others
 * to come again; cluster_open() then makes it whole. */
int cluster_new(uv_loop_t *loop, const struct cluster_config *config, struct cluster **ret,
                struct sk_err *err);
int cluster_open(struct cluster *cluster, struct sk_err *err);
void cluster_free(struct cluster *cluster);
struct host *cluster_host(struct cluster *cluster); /* NULL until it is open */
const struct net_ca *cluster_ca(const struct cluster *cluster);
/* A beat by datagram: false if it is to be ignored, else what to answer. */
bool cluster_take_pulse(struct cluster *cluster, const uint8_t *bytes, size_t len,
                        uint8_t ret_answer[NET_PULSE_ANSWER_BYTES]);
int cluster_set_identity(struct cluster *cluster, const struct net_identity *identity,
                         struct sk_err *err);

#endif
