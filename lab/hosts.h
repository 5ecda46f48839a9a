/* SPDX-License-Identifier: Apache-2.0 */
#ifndef LAB_HOSTS_H
#define LAB_HOSTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"
#include "lab/net.h"

/*
 * What happens to the hosts of a lab: their processes, their disks.
 *
 * A process belongs to a host if it descends from the host's first process (host.h), or if it is in
 * the host's network namespace (what `exec` started there). The users' load generator is in
 * neither: it only makes its sockets there.
 *
 * A host's data folder is DIR/hosts/NAME, the daemon's log DIR/hosts/NAME.log. With `disk` in the
 * topology the folder is a filesystem of its own (tmpfs) of that size; else it is part of the
 * machine's disk. It stays as it is when the host is killed, like a disk.
 *
 * All calls block; needs root. Names that are none of this lab: SK_ERR_NOT_FOUND.
 */
#define LAB_PATH_MAX 400

void lab_host_data(const struct lab_net *net, const struct lab_node *node, char out[LAB_PATH_MAX]);
void lab_host_log(const struct lab_net *net, const struct lab_node *node, char out[LAB_PATH_MAX]);

enum lab_power { LAB_OFF, LAB_RUNNING, LAB_PAUSED };
struct lab_host_info {
    enum lab_power power;
    pid_t pid;          /* its first process; 0 = never started, or killed */
    bool daemon;        /* `skerry daemon` was started and has not ended */
    unsigned starts;    /* of the daemon, since the host was switched on */
    unsigned processes; /* in all */
    unsigned slow_ms;
    bool has_disk;
    int64_t disk_bytes, disk_free;
};
/* All hosts at once, ret[i] of node i. */
int lab_hosts_look(const struct lab_net *net, struct lab_host_info ret[], struct sk_err *err);
const char *lab_power_name(enum lab_power power);

/* Makes DIR/hosts, and mounts the disks that the topology asks for. */
int lab_hosts_mount(const struct lab_net *net, struct sk_err *err);
/* The reverse; what the hosts wrote is gone. Cannot fail: what is left shows in the folder. */
void lab_hosts_unmount(const struct lab_net *net);

/* Every process of the host ends by SIGKILL, as when its power is cut. 0 when none is left. */
int lab_host_kill(const struct lab_net *net, struct sk_str name, struct sk_err *err);
/* SIGSTOP for every process of the host, until none runs any more; SIGCONT. */
int lab_host_pause(const struct lab_net *net, struct sk_str name, bool pause, struct sk_err *err);
/* Each flush of the host's disk takes ms longer; 0 = as fast as it is. See host.h. */
int lab_host_slow(const struct lab_net *net, struct sk_str name, unsigned ms, struct sk_err *err);
/* No byte is free on the host's disk from here on, until it is freed. Needs `disk`. */
int lab_host_fill(const struct lab_net *net, struct sk_str name, bool fill, struct sk_err *err);

/*
 * Starts the host's daemon. The first one to run `init` is the first host of a control site, else
 * the first host of all; the others ask it for a token and join. A host that has joined is only
 * started. Waits until the daemon answers on its local socket, at most 20 s. SK_ERR_CONFLICT if it
 * runs already.
 */
int lab_host_up(const struct lab_net *net, struct sk_str name, const char *skerry,
                struct sk_err *err);
/* All hosts that are not bare, the first one first; one that runs already is left as it is. Then
 * waits until the cluster takes each for alive, at most 30 s. */
int lab_hosts_up(const struct lab_net *net, const char *skerry, struct sk_err *err);
/* The host that runs `init`; NULL if all are bare. */
const struct lab_node *lab_hosts_first(const struct lab_net *net);

#endif
