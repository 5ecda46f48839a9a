/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SK_STORE_ETCD_ENGINE_H
#define SK_STORE_ETCD_ENGINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <uv.h>

#include "base/err.h"

/*
 * One member of etcd as a child on this machine.
 *
 * It is started, started again with growing pauses (200 ms to 5 s) when it dies, and ended by TERM,
 * then KILL. One that a killed daemon left behind is found by DIR/etcd.pid and ended first: two
 * cannot have the same data. What it writes goes to DIR/etcd.log, which starts anew with each start
 * once it is larger than 1 MiB.
 *
 * Who may connect is decided by certificates alone, of clients and of members, both from ca_file:
 * an authority that serves for nothing else. etcd reads certificate and key anew for each
 * connection, so they may be replaced while it runs; a new CA needs a restart.
 *
 * Asynchronous on the loop; everything is called from its thread. The texts are copied.
 * Sources: etcd's configuration flags and tuning guide, 3.4.
 */
#define ETCD_ENGINE_MEMBERS_MAX 9

struct etcd_engine;

struct etcd_engine_peer {
    const char *name;
    const char *peer_url; /* "https://ADDRESS:PORT" */
};

struct etcd_engine_spec {
    const char *program; /* NULL: "etcd", looked up in PATH */
    const char *dir;     /* exists; data in DIR/data */
    const char *name;    /* of this member; must be among the peers */
    const char *client_url;
    const struct etcd_engine_peer *peers; /* all members at the start, this one too */
    size_t npeers;
    const char *token; /* of the cluster: members of another one are refused */
    bool join;         /* the cluster exists; this member was added to it */
    const char *ca_file, *cert_file, *key_file;
    int64_t quota_bytes; /* of its file; 0: etcd's own default, 2 GB */
    double rtt_ms;       /* the largest between two members, a slow figure */
};

/* One of these each time it starts (pid > 0) or ends (pid 0, and why). */
typedef void etcd_engine_fn(void *ctx, pid_t pid, const struct sk_err *why);

/*
 * heartbeat = 1.25 x RTT within 50 to 500 ms; election = 10 heartbeats, so 12.5 RTT or more: etcd
 * asks for at least 10, measured at 40 ms RTT: 50 / 500 ms elect a leader 1.1 s after the last one
 * died. All members must have the same. A predicted loss of writes: 1 to 2 election times.
 */
void etcd_engine_timing(double rtt_ms, int *ret_heartbeat_ms, int *ret_election_ms);

/* SK_ERR_INPUT for what can be no member; a program that is not there comes by on_change
 * (SK_ERR_ENGINE). */
int etcd_engine_start(uv_loop_t *loop, const struct etcd_engine_spec *spec,
                      etcd_engine_fn *on_change, void *ctx, struct etcd_engine **ret,
                      struct sk_err *err);
/* Ends the member; `done` comes once it has ended, then the engine is gone. Once. */
void etcd_engine_stop(struct etcd_engine *engine, void (*done)(void *ctx), void *ctx);
pid_t etcd_engine_pid(const struct etcd_engine *engine); /* 0: not running */

#endif
