/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SK_DAEMON_CONFIG_H
#define SK_DAEMON_CONFIG_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

/*
 * What a server knows about itself: DIR/node.json, written by `skerry init` and `skerry join`, read
 * at each start. Facts of the cluster are not in here: they come from control.
 */
#define DAEMON_CONTROLS_MAX 9
#define DAEMON_ADDRESS_SIZE 320

struct daemon_config {
    char dir[400]; /* the data folder; not in the file */
    char cluster[64];
    char node[64];
    char site[64];
    char prefix[64];      /* "10.210.3.0/24": the node's instance addresses */
    char address[256];    /* where other nodes reach this one */
    char listen[64];      /* numeric address that all ports listen on; default "0.0.0.0" */
    char incarnation[33]; /* new at each init or join */
    char controls[DAEMON_CONTROLS_MAX][DAEMON_ADDRESS_SIZE]; /* "host:7400" */
    unsigned ncontrols;
    bool is_control;
    uint16_t channel_port;     /* 7400 */
    uint16_t probe_port;       /* 7401 */
    uint16_t api_port;         /* 7410; 0 = no HTTPS */
    uint16_t ingress_port;     /* 80 as root, else 8080 */
    uint16_t relay_port;       /* between sites: 7443 */
    uint16_t etcd_peer_port;   /* 2380 */
    uint16_t etcd_client_port; /* 2379 */
    char user[64]; /* whom skerryd becomes when started as root; "" = skerry, else nobody */
};

void daemon_config_init(struct daemon_config *config, const char *dir);
/* SK_ERR_NOT_FOUND with the fix when there is none: this server is in no cluster yet. */
int daemon_config_load(const char *dir, struct daemon_config *ret, struct sk_err *err);
/* Begins anew: what daemon_role_save() kept is forgotten. */
int daemon_config_save(const struct daemon_config *config, struct sk_err *err);
/* What changes while skerryd runs (controls, is_control): kept in DIR/identity/role.json, since
 * node.json is not skerryd's to write; daemon_config_load() reads it over node.json. */
int daemon_role_save(const struct daemon_config *config, struct sk_err *err);

/* Facts of this machine, as join and init report them. Detected nodes keep 0.25 cpus and 512M for
 * the system. */
struct daemon_facts {
    int64_t cpus_nano, memory_bytes, disk_bytes;
    char machine_id[64];
    char hostname[64]; /* as a label, "" if it is none */
    char address[256]; /* the first one that is no loopback; "" if there is none */
    char boot[64];
};
int daemon_facts_detect(const char *dir, struct daemon_facts *ret, struct sk_err *err);

#endif
