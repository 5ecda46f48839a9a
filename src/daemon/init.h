/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SK_DAEMON_INIT_H
#define SK_DAEMON_INIT_H

#include "base/err.h"
#include "base/str.h"
#include "daemon/config.h"
#include "net/seal.h"

/*
 * How a server gets its identity: as the first of a cluster (init), or from a cluster that it
 * joins. Both write the data folder from the outside in and node.json last: a run that was cut
 * short leaves no server, and can be repeated.
 */
struct daemon_setup {
    struct daemon_config
        config;           /* dir, node, site, address, listen, ports, user; the rest is filled in */
    const char *cluster;  /* init: the cluster's name (a label) */
    const char *currency; /* init: "" = EUR */
    const char *range;    /* init: "" = 10.210.0.0/16 */
    const char *role;     /* init: trust of the first site: "node" or "control" */
    bool lab;             /* init: nodes may share a machine (recorded, shown in every status) */
    int64_t cpus_nano, memory_bytes, disk_bytes; /* 0 = detected */
    const char *control;                         /* join: "host:7400" */
    struct sk_str token;                         /* join */
    struct seal_code code; /* init: out; the recovery code, to be shown once and wiped */
};

/* SK_ERR_CONFLICT when the folder holds a server already. Fills setup->config. */
int daemon_init(struct daemon_setup *setup, struct sk_err *err);
int daemon_join(struct daemon_setup *setup, struct sk_err *err);

#endif
