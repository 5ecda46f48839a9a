/* SPDX-License-Identifier: Apache-2.0 */
#include "net/ingress_slots.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"

#define SLOTS_MIN 8 /* and half as many again as there are endpoints */

void ingress_table_release(struct ingress_table *t)
{
    for (size_t i = 0; i < t->count; i++) {
        free(t->items[i].items);
    }
    free(t->items);
    *t = (struct ingress_table){0};
}

static const struct ingress_slots *find(const struct ingress_table *t, const char *name)
{
    for (size_t i = 0; i < t->count; i++) {
        if (strcmp(t->items[i].name, name) == 0) {
            return &t->items[i];
        }
    }
    return NULL;
}

static void copy_text(char *out, size_t size, struct sk_str s)
{
    SK_ASSERT(s.len < size); /* the view was checked */
    memcpy(out, s.ptr, s.len);
    out[s.len] = '\0';
}

static void put(struct ingress_slot *slot, const struct ingress_endpoint *e)
{
    slot->state = SLOT_USED;
    copy_text(slot->id, sizeof(slot->id), e->id);
    copy_text(slot->address, sizeof(slot->address), e->address);
    slot->port = e->port;
    slot->weight = e->weight;
}

void ingress_table_fill(struct ingress_table *t, const struct ingress_table *old,
                        const struct ingress_view *view)
{
    struct ingress_table fresh = {sk_xcalloc(view->nservices + 1, sizeof(*fresh.items)),
                                  view->nservices};
    for (size_t i = 0; i < view->nservices; i++) {
        const struct ingress_service *s = &view->services[i];
        struct ingress_slots *slots = &fresh.items[i];
        ingress_service_name(s, slots->name);
        const struct ingress_slots *had = find(old, slots->name);
        slots->count = SLOTS_MIN;
        while (slots->count < s->nlocal + s->nlocal / 2) {
            slots->count *= 2;
        }
        if (had != NULL && had->count > slots->count) {
            slots->count = had->count;
        }
        slots->items = sk_xcalloc(slots->count, sizeof(*slots->items));
        for (size_t k = 0; k < s->nlocal; k++) {
            put(&slots->items[k], &s->local[k]);
        }
    }
    ingress_table_release(t);
    *t = fresh;
}

bool ingress_table_fits(const struct ingress_table *t, const struct ingress_view *view)
{
    if (t->count != view->nservices) {
        return false;
    }
    for (size_t i = 0; i < t->count; i++) {
        char name[160];
        ingress_service_name(&view->services[i], name);
        if (strcmp(name, t->items[i].name) != 0 || view->services[i].nlocal > t->items[i].count) {
            return false;
        }
    }
    return true;
}

static bool is_same(const struct ingress_slot *slot, const struct ingress_endpoint *e)
{
    return slot->state == SLOT_USED && sk_str_is(e->id, slot->id) &&
           sk_str_is(e->address, slot->address) && e->port == slot->port;
}

/* A free place, else the one that has been draining longest. */
static size_t pick(const struct ingress_slots *slots)
{
    size_t best = slots->count;
    for (size_t i = 0; i < slots->count; i++) {
        const struct ingress_slot *s = &slots->items[i];
        if (s->state == SLOT_FREE) {
            return i;
        }
        if (s->state == SLOT_DRAINING &&
            (best == slots->count || s->since_ms < slots->items[best].since_ms)) {
            best = i;
        }
    }
    SK_ASSERT(best < slots->count); /* ingress_table_fits() said so */
    return best;
}

struct orders {
    struct sk_buf *out;
    const char *name;
    bool inter;
};

static void order_state(const struct orders *o, size_t slot, const char *state)
{
    /* in.NAME follows be.NAME: maintenance and drain as well as health */
    sk_buf_printf(o->out, "set server be.%s/s%zu state %s\n", o->name, slot + 1, state);
}

static void order_weight(const struct orders *o, size_t slot, unsigned weight)
{
    sk_buf_printf(o->out, "set server be.%s/s%zu weight %u\n", o->name, slot + 1, weight);
    if (o->inter) {
        sk_buf_printf(o->out, "set server in.%s/s%zu weight %u\n", o->name, slot + 1, weight);
    }
}

static void order_endpoint(const struct orders *o, size_t slot, const struct ingress_slot *s)
{
    order_state(o, slot, "maint");
    sk_buf_printf(o->out, "set server be.%s/s%zu addr %s port %u\n", o->name, slot + 1, s->address,
                  s->port);
    if (o->inter) {
        sk_buf_printf(o->out, "set server in.%s/s%zu addr %s port %u\n", o->name, slot + 1,
                      s->address, s->port);
    }
    order_weight(o, slot, s->weight);
    order_state(o, slot, "ready");
}

static void move_service(struct ingress_slots *slots, const struct ingress_service *s,
                         const struct orders *o, uint64_t now_ms)
{
    bool *placed = sk_xcalloc(s->nlocal + 1, sizeof(*placed));
    for (size_t i = 0; i < slots->count; i++) {
        struct ingress_slot *slot = &slots->items[i];
        size_t k = 0;
        while (k < s->nlocal && (placed[k] || !is_same(slot, &s->local[k]))) {
            k++;
        }
        if (slot->state != SLOT_USED) {
            continue;
        }
        if (k == s->nlocal) {
            slot->state = SLOT_DRAINING;
            slot->since_ms = now_ms;
            order_state(o, i, "drain");
            continue;
        }
        placed[k] = true;
        if (slot->weight != s->local[k].weight) {
            slot->weight = s->local[k].weight;
            order_weight(o, i, slot->weight);
        }
    }
    for (size_t k = 0; k < s->nlocal; k++) {
        if (!placed[k]) {
            size_t i = pick(slots);
            put(&slots->items[i], &s->local[k]);
            order_endpoint(o, i, &slots->items[i]);
        }
    }
    free(placed);
}

void ingress_table_move(struct ingress_table *t, const struct ingress_view *view, bool inter,
                        uint64_t now_ms, struct sk_buf *commands)
{
    for (size_t i = 0; i < t->count; i++) {
        struct orders o = {commands, t->items[i].name, inter};
        move_service(&t->items[i], &view->services[i], &o, now_ms);
    }
}

uint64_t ingress_table_expire(struct ingress_table *t, uint64_t now_ms, struct sk_buf *commands)
{
    uint64_t next = 0;
    for (size_t i = 0; i < t->count; i++) {
        struct orders o = {commands, t->items[i].name, false};
        for (size_t k = 0; k < t->items[i].count; k++) {
            struct ingress_slot *slot = &t->items[i].items[k];
            if (slot->state != SLOT_DRAINING) {
                continue;
            }
            uint64_t end = slot->since_ms + INGRESS_DRAIN_MS;
            if (end <= now_ms) {
                slot->state = SLOT_FREE;
                order_state(&o, k, "maint");
            } else if (next == 0 || end < next) {
                next = end;
            }
        }
    }
    return next;
}
