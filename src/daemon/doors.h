/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SK_DAEMON_DOORS_H
#define SK_DAEMON_DOORS_H

#include "base/err.h"
#include "daemon/config.h"
#include "net/identity.h"
#include "sys/queue.h"

/*
 * The API's two doors on a control node: the unix socket DIR/run/api.sock, and HTTPS with a
 * certificate of the cluster's CA. Made and freed on the loop thread; what they take in runs on
 * their own threads (daemon/api.h).
 */
struct doors;

/* `peer_token` (daemon/forward.h): "" = calls are neither passed on nor taken from others. */
int doors_open(const struct daemon_config *config, const struct net_ca *ca, struct sys_queue *calls,
               const char *peer_token, struct doors **ret, struct sk_err *err);
/* A fresh certificate for HTTPS. Calls under way are answered under the old one. */
int doors_renew(struct doors *doors, struct sk_err *err);
void doors_close(struct doors *doors);

#endif
