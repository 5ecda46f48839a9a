/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SK_NET_INGRESS_H
#define SK_NET_INGRESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/str.h"
#include "base/tree.h"

/*
 * The ingress of a site: one HAProxy, driven from a routing view (docs/ingress.md).
 *
 * A request goes to the replicas of its own site; when none of them is up, to the nearest other
 * site that has one, through that site's ingress (TLS, certificates of the cluster on both sides),
 * which hands it to its own replicas and to nobody else: no loops. Endpoints change through
 * HAProxy's runtime socket; routes, sites and certificates by a checked reload that breaks no
 * connection.
 *
 * Calling sequence: ingress_new(); ingress_set_identity() once there is one; ingress_apply() with
 * each view, as often as it changes (the last one wins, what lies between is skipped);
 * ingress_stop(), and ingress_free() once its callback was called.
 *
 * Asynchronous on the loop of the options; everything is called from its thread. HAProxy is a
 * child: when it dies it is started again, with growing pauses. One that a killed daemon left
 * behind goes on serving until the new one is ready, and is then asked to leave.
 */

/* ---- the view ---- */

#define INGRESS_SERVICES_MAX 2000
#define INGRESS_ENDPOINTS_MAX 1000 /* of one service in this site */
#define INGRESS_REMOTES_MAX 100

struct ingress_endpoint {
    struct sk_str id; /* of the instance: an endpoint keeps its place under the same id */
    struct sk_str address;
    uint16_t port;
    uint16_t weight; /* 1..256, default 100 */
};

struct ingress_remote {
    struct sk_str site;
    struct sk_str node; /* that runs its ingress: its certificate must say so */
    struct sk_str address;
    double rtt_ms; /* < 0 = not known */
};

/* A route (host, HTTP) or a published port (TCP). */
struct ingress_service {
    struct sk_str project, service;
    struct sk_str host;  /* "" for a published port */
    struct sk_str check; /* path of its HTTP check, "" = a TCP connection is the check */
    uint16_t port;       /* published; 0 for a route */
    const struct ingress_endpoint *local;
    size_t nlocal;
    const struct ingress_remote *remote; /* nearest first */
    size_t nremote;
};

struct ingress_view {
    struct sk_str site;
    struct ingress_service *services;
    size_t nservices;
    size_t left_out;   /* services that could not be routed: say so, once */
    struct sk_err why; /* the first of them */
};

/*
 * From the JSON of an `assign` frame (docs/architecture.md); optional there: `check` of a route and
 * `weight` of an endpoint. Everything of *ret lives in the arena, which must outlive it; the tree
 * need not. Every name is checked, for it ends in a configuration; a service that does not pass is
 * left out, so that it cannot stop the others' changes. Of two services with one host or port the
 * first counts, and UDP ports are passed over: HAProxy has none. SK_ERR_INPUT, SK_ERR_LIMIT for
 * the view itself.
 */
int ingress_view_read(struct sk_arena *arena, const struct sk_node *node, struct ingress_view *ret,
                      struct sk_err *err);

/* ---- the process ---- */

struct ingress;

enum ingress_event {
    INGRESS_STARTED,  /* HAProxy serves the view */
    INGRESS_RELOADED, /* the same after a change that needed a reload */
    INGRESS_CHANGED,  /* the same after a change of endpoints, without a reload */
    INGRESS_DIED,     /* it will be started again; err says how it ended */
    INGRESS_FAILED    /* a change could not be made, it will be tried again; err says why */
};
typedef void ingress_event_fn(void *ctx, enum ingress_event event, const struct sk_err *err);
typedef void ingress_stopped_fn(void *ctx);

struct ingress_options {
    uv_loop_t *loop;
    const char *dir;          /* for its files; made if missing; at most 80 bytes */
    const char *program;      /* NULL = "haproxy" in PATH; 2.6 or later */
    const char *bind_address; /* NULL or "" = all addresses */
    uint16_t http_port;       /* 0 = 80 */
    uint16_t inter_port;      /* 0 = 7443; the same in every site */
    ingress_event_fn *event;  /* NULL = nobody wants to know */
    void *ctx;
};

int ingress_new(const struct ingress_options *options, struct ingress **ret, struct sk_err *err);

/* Certificate, key and CA of this node, and the serials (hex) that are no longer believed: until
 * these are told, those that an earlier ingress in the same folder was told. Without
 * an identity there is no way between sites: remote sites are left out and 7443 is not opened. */
int ingress_set_identity(struct ingress *ing, struct sk_str cert_pem, struct sk_str key_pem,
                         struct sk_str ca_pem, struct sk_err *err);
int ingress_set_revoked(struct ingress *ing, const struct sk_str *serials, size_t count,
                        struct sk_err *err);

/* Takes a copy. SK_ERR_INPUT for a view that cannot be written down; then nothing changes. */
int ingress_apply(struct ingress *ing, const struct ingress_view *view, struct sk_err *err);

void ingress_stop(struct ingress *ing, ingress_stopped_fn *done, void *ctx);
void ingress_free(struct ingress *ing); /* stopped, or never applied; NULL allowed */

struct ingress_status {
    bool running, settled; /* settled: HAProxy serves the last view that was applied */
    int pid;               /* of HAProxy's master process */
    uint64_t reloads, changes, deaths;
};
struct ingress_status ingress_status(const struct ingress *ing);

#endif
