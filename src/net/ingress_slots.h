/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SK_NET_INGRESS_SLOTS_H
#define SK_NET_INGRESS_SLOTS_H

#include "base/buf.h"
#include "net/ingress_config.h"

/*
 * Which endpoint sits in which of HAProxy's prepared servers (private to ingress*.c). Pure.
 *
 * An endpoint that left the view is drained: it gets nothing new, and what it is doing it may end.
 * INGRESS_DRAIN_MS later, or when its place is needed, its server goes into maintenance.
 */
#define INGRESS_DRAIN_MS 10000

struct ingress_table {
    struct ingress_slots *items; /* one per service of the view, in its order */
    size_t count;
};

void ingress_table_release(struct ingress_table *t);
/* A table for a whole new configuration. No service gets fewer places than it had in `old`, so that
 * a service that shrank and grows again needs no reload. */
void ingress_table_fill(struct ingress_table *t, const struct ingress_table *old,
                        const struct ingress_view *view);
/* Are there places for all of this view, and the same services? */
bool ingress_table_fits(const struct ingress_table *t, const struct ingress_view *view);
/* Moves the table to the view, which fits, and appends the commands that make HAProxy follow, one a
 * line. inter: the backends for other sites exist as well. */
void ingress_table_move(struct ingress_table *t, const struct ingress_view *view, bool inter,
                        uint64_t now_ms, struct sk_buf *commands);
/* Appends the commands that end what was drained for long enough. Returns when to call again, 0 if
 * nothing is being drained. */
uint64_t ingress_table_expire(struct ingress_table *t, uint64_t now_ms, struct sk_buf *commands);

#endif
