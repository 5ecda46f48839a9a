/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "control/internal.h"

/*
 * Observations that came too early: a standby may hear from a node about an instance before the
 * store tells it that there is one, and a node says what changed only once. They are kept for a
 * short time, and taken over with the record.
 */
#define EARLY_MS 10000
#define EARLY_MAX 1024 /* of one node */

struct ctl_early {
    char id[33];
    int64_t came_ms;
    struct control_observation o; /* its texts are owned by `arena` */
    struct sk_arena *arena;
};

static void drop(struct ctl_node *n, size_t at)
{
    sk_arena_free(n->early[at].arena);
    n->early[at] = n->early[--n->nearly];
}

void ctl_early_clear(struct ctl_node *n)
{
    while (n->nearly > 0) {
        drop(n, n->nearly - 1);
    }
    free(n->early);
    n->early = NULL;
    n->capearly = 0;
}

void ctl_early_keep(struct control *c, struct ctl_node *n, const struct control_observation *o)
{
    for (size_t i = n->nearly; i-- > 0;) {
        if (sk_str_is(o->id, n->early[i].id) || c->now_ms - n->early[i].came_ms > EARLY_MS) {
            drop(n, i);
        }
    }
    if (n->nearly >= EARLY_MAX) {
        return; /* told again with the next full observation */
    }
    SK_GROW(n->early, n->nearly, n->capearly);
    struct ctl_early *e = &n->early[n->nearly++];
    *e = (struct ctl_early){.came_ms = c->now_ms, .o = *o, .arena = sk_arena_new()};
    memcpy(e->id, o->id.ptr, 32);
    e->o.id = sk_str(e->id);
    e->o.reason = ctl_arena_dup(e->arena, o->reason);
    e->o.image_digest = ctl_arena_dup(e->arena, o->image_digest);
    struct sk_str *tail = SK_ARENA_ARRAY(e->arena, struct sk_str, o->nlog_tail + 1);
    for (size_t i = 0; i < o->nlog_tail; i++) {
        tail[i] = ctl_arena_dup(e->arena, o->log_tail[i]);
    }
    e->o.log_tail = tail;
}

void ctl_early_take(struct control *c, struct ctl_inst *i)
{
    struct ctl_node *n = i->node;

    for (size_t k = 0; k < n->nearly; k++) {
        if (strcmp(n->early[k].id, i->id) == 0) {
            if (c->now_ms - n->early[k].came_ms <= EARLY_MS) {
                ctl_inst_observed(c, i, &n->early[k].o);
            }
            drop(n, k);
            return;
        }
    }
}
