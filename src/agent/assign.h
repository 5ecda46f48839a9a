/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AGENT_ASSIGN_H
#define AGENT_ASSIGN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/step.h"
#include "base/arena.h"
#include "base/err.h"
#include "base/tree.h"
#include "model/project.h"

/*
 * The `assign` frame (docs/architecture.md), checked: what may go on to drivers, and nothing else.
 *
 * One bad assignment does not spoil the others: it is kept with `refusal` set and its instance is
 * reported as failed with that line. A frame that is no assign frame at all is an error. Unknown
 * fields are ignored (the cache on disk keeps the frame as it came).
 */
#define ASSIGN_PREFETCH_MAX 256
#define ASSIGN_PEERS_MAX 4096

enum driver { DRIVER_OCI, DRIVER_EXEC };

struct image_name {
    struct sk_str ref;    /* as declared */
    struct sk_str digest; /* "sha256:<64 hex>", or "" for a local one that was not resolved */
};

struct assignment {
    char id[AGENT_ID_MAX];
    struct sk_str project, service_name;
    int64_t replica, generation;
    bool want_run;
    enum driver driver;
    struct image_name image;
    struct sk_str address; /* IPv4 or IPv6 literal; "" only for exec without a port */
    uint16_t port;         /* 0 = none */
    char hash[AGENT_HASH_MAX];
    struct project *holder; /* owns *service; NULL when refused */
    const struct service *service;
    char refusal[AGENT_REASON_MAX]; /* "" = good */
};

struct assign_peer { /* a server of the cluster; what is no name is left out */
    struct sk_str node, site, address, prefix;
};

struct assign_set {
    struct sk_arena *arena;
    int64_t rev;
    struct assignment *items; /* sorted by id, unique */
    size_t count;
    struct image_name *prefetch;
    size_t nprefetch;
    struct assign_peer *peers;
    size_t npeers;
};

/* root: the frame. The tree may go afterwards. */
int assign_parse(const struct sk_node *root, struct assign_set **ret, struct sk_err *err);
void assign_free(struct assign_set *set); /* NULL allowed */
const struct assignment *assign_find(const struct assign_set *set, const char *id);
/* What step needs of one. A refused one is wanted, and fails at PREPARE with the refusal. */
void assign_desired(const struct assignment *a, struct agent_desired *ret);
/* 15 for "SIGTERM", "TERM", "15"; 37 for "SIGRTMIN+3"; 0 when it is no signal. */
int assign_signal(struct sk_str name);
/* "sha256:" and 64 lower case hex digits */
bool assign_digest_valid(struct sk_str digest);

#endif
