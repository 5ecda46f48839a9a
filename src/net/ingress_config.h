/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SK_NET_INGRESS_CONFIG_H
#define SK_NET_INGRESS_CONFIG_H

#include "base/buf.h"
#include "net/ingress.h"

/*
 * HAProxy's configuration from a view and its slots (private to ingress*.c). Pure. The names that
 * go in were checked by ingress_view_check(); they are written nowhere else.
 */

/* The places of a service's endpoints: servers s1 ... sN that exist from the start, so that an
 * endpoint can come and go without a reload. */
enum ingress_slot_state { SLOT_FREE, SLOT_USED, SLOT_DRAINING };
struct ingress_slot {
    enum ingress_slot_state state;
    char id[65];
    char address[46];
    uint16_t port, weight;
    uint64_t since_ms; /* SLOT_DRAINING: from when */
};

struct ingress_slots {
    char name[160]; /* "PROJECT.SERVICE.http" or "PROJECT.SERVICE.p5432" */
    struct ingress_slot *items;
    size_t count;
};

struct ingress_config {
    const char *dir;
    const char *bind_address;
    uint16_t http_port, inter_port;
    bool identity;       /* DIR/node.pem and DIR/ca.pem are there */
    unsigned generation; /* of certificates and revocations: a change means a reload */
};

/* "PROJECT.SERVICE.http": the part of every name that HAProxy knows a service by. */
void ingress_service_name(const struct ingress_service *s, char out[160]);
/* Every name, address and path, and the bounds. */
int ingress_view_check(const struct ingress_view *view, struct sk_err *err);
/* Deep copy into the arena. */
void ingress_view_copy(struct sk_arena *arena, const struct ingress_view *view,
                       struct ingress_view *ret);

/* The whole configuration. slots[i] belongs to view->services[i]; with_endpoints = false leaves
 * them all empty: what stays the same under it needs no reload. */
void ingress_config_write(const struct ingress_config *config, const struct ingress_view *view,
                          const struct ingress_slots *slots, bool with_endpoints,
                          struct sk_buf *out);
/* DIR/hosts.map and DIR/names.map. */
void ingress_hosts_write(const struct ingress_view *view, struct sk_buf *out);
void ingress_names_write(const struct ingress_view *view, struct sk_buf *out);

#endif
