/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "control/internal.h"
#include "sim/sim.h"

/*
 * What control holds in memory, read without asking it: its queries write JSON, which is too slow
 * for checks at each step. Nothing here writes.
 */
const char *sim_peek_own(const struct control *c)
{
    return c->leader.own;
}

bool sim_peek_site_lost(const struct control *c, const char *site)
{
    for (size_t i = 0; i < c->nsites; i++) {
        if (strcmp(c->sites[i]->name, site) == 0) {
            return c->sites[i]->lost;
        }
    }
    return false;
}

bool sim_peek_node_lost(const struct control *c, const char *node)
{
    for (size_t i = 0; i < c->nnodes; i++) {
        if (strcmp(c->nodes[i]->name, node) == 0) {
            return c->nodes[i]->life != CTL_ALIVE;
        }
    }
    return true;
}

static struct sim_peek place_of(const struct ctl_svc *v, size_t replica)
{
    const struct ctl_place *p = &v->place[replica];
    return (struct sim_peek){
        .project = v->project,
        .service = v->name,
        .node = p->node ? p->node->name : NULL,
        .spec = v->want ? v->want->hash : "",
        .replica = (int64_t)replica,
        .cpus = v->decl ? v->decl->cpus_nano : 0,
        .memory = v->decl ? v->decl->memory_bytes : 0,
        .overlay = p->overlay,
    };
}

size_t sim_peek_places(const struct control *c, struct sim_peek *ret, size_t max)
{
    size_t count = 0;
    for (size_t i = 0; i < c->nsvcs; i++) {
        for (size_t r = 0; r < c->svcs[i]->nplace && count < max; r++) {
            ret[count++] = place_of(c->svcs[i], r);
        }
    }
    return count;
}

bool sim_peek_place(const struct control *c, const char *project, const char *service,
                    int64_t replica, struct sim_peek *ret)
{
    for (size_t i = 0; i < c->nsvcs; i++) {
        const struct ctl_svc *v = c->svcs[i];
        if (strcmp(v->project, project) == 0 && strcmp(v->name, service) == 0) {
            if (replica < 0 || replica >= (int64_t)v->nplace) {
                return false;
            }
            *ret = place_of(v, (size_t)replica);
            return true;
        }
    }
    return false;
}

bool sim_peek_return(const struct control *c, bool *ret_by_control)
{
    *ret_by_control = c->ret.begun_by != NULL && strcmp(c->ret.begun_by, "control") == 0;
    return c->ret.begun_by != NULL;
}

bool sim_peek_moving(const struct control *c, const char *project, const char *service,
                     int64_t replica)
{
    for (size_t i = 0; i < c->ret.nmoving; i++) {
        const struct ctl_moving *m = &c->ret.moving[i];
        if (m->replica == replica && strcmp(m->project, project) == 0 &&
            strcmp(m->service, service) == 0) {
            return true;
        }
    }
    return false;
}

bool sim_peek_knows(const struct control *c, const char *id, int *ret_state, bool *ret_healthy)
{
    struct ctl_inst *i = NULL;

    HASH_FIND_STR(c->insts, id, i);
    if (i == NULL || !i->observed) {
        return false;
    }
    *ret_state = (int)i->state;
    *ret_healthy = i->health == CONTROL_HEALTHY;
    return true;
}

bool sim_peek_acked(const struct control *c, const char *node, int64_t *ret_rev)
{
    for (size_t i = 0; i < c->nnodes; i++) {
        const struct ctl_node *n = c->nodes[i];
        if (strcmp(n->name, node) == 0) {
            *ret_rev = n->rev;
            return n->connected && n->rev != 0 && n->acked_rev >= n->rev;
        }
    }
    return false;
}

/* Signs of life and renewals come and go for ever: they change nothing else. */
static bool routine(const struct ctl_txn *t)
{
    for (size_t i = 0; i < t->nops; i++) {
        if (!sk_str_is(t->ops[i].key, CTL_PREFIX "leader") &&
            !sk_str_starts(t->ops[i].key, SK_STR(CTL_PREFIX "leases/"))) {
            return false;
        }
    }
    return true;
}

bool sim_peek_settled(const struct control *c, int64_t revision)
{
    return c->revision + (c->pending != NULL) >= revision &&
           (c->pending == NULL || routine(c->pending)) && !c->loading && c->queue == NULL &&
           c->jobs[CTL_SLOT_REQUEST] == NULL && c->jobs[CTL_SLOT_OWN] == NULL;
}
