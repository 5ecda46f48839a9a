/* SPDX-License-Identifier: Apache-2.0 */
#include "sim/sim.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "agent/step.h"
#include "sim/plant.h"

/*
 * The end: everything is healed, and the world must be what the plan says, with control knowing it.
 * Then what runs is judged once more by the policies, from the programs themselves.
 */
static char text[400];

static const char *why(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
static const char *why(const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    (void)vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    return text;
}

static const char *nodes_not_ready(const struct sim *s, const struct control *c)
{
    for (size_t i = 0; i < s->nnodes; i++) {
        const struct sim_node *n = &s->nodes[i];
        if (!n->machine_up || !n->daemon_up || !n->agent_up || !n->link) {
            return why("%s is not up", n->name);
        }
        for (size_t k = 0; k < s->ncontrols; k++) {
            if (!n->chans[k].node_open || !n->chans[k].control_open) {
                return why("%s is not connected", n->name);
            }
        }
        if (sim_peek_node_lost(c, n->name)) {
            return why("control does not take %s for alive", n->name);
        }
    }
    return NULL;
}

/* The one program of a replica, where it should be; NULL: there is none, or another one too. */
static const struct sim_proc *program(const struct sim *s, const struct sim_peek *p,
                                      const struct sim_inst **ret)
{
    const struct sim_proc *found = NULL;

    *ret = NULL;
    for (size_t i = 0; i < s->ninsts; i++) {
        const struct sim_inst *inst = &s->insts[i];
        const struct sim_work *w = &s->works[inst->work];
        if (inst->gone || w->replica != p->replica || strcmp(w->project, p->project) != 0 ||
            strcmp(w->service, p->service) != 0) {
            continue;
        }
        if (*ret || inst->stopping || strcmp(inst->spec, p->spec) != 0 ||
            strcmp(s->nodes[inst->node].name, p->node) != 0) {
            *ret = inst;
            return NULL;
        }
        *ret = inst;
        found = sim_proc_find(&s->nodes[inst->node], inst->id);
    }
    return found;
}

static const char *place_not_met(const struct sim *s, const struct control *c,
                                 const struct sim_peek *p)
{
    const struct sim_inst *inst = NULL;
    const struct sim_proc *proc;
    char name[64];
    int state = -1;
    bool healthy = false;

    (void)snprintf(name, sizeof(name), "%.20s/%.20s.%d", p->project, p->service, (int)p->replica);
    if (!p->node) {
        return why("%s has no place", name);
    }
    proc = program(s, p, &inst);
    if (!proc) {
        return why("the records of %s are not the one copy on %s", name, p->node);
    }
    if (!proc->there || proc->state != SIM_PROC_UP) {
        return why("%s does not run on %s", name, p->node);
    }
    if (inst->exclusive) {
        const struct sim_work *w = &s->works[inst->work];
        if (proc->epoch != w->epoch || w->door_epoch > proc->epoch) {
            return why("%s runs under epoch %" PRId64 ", granted is %" PRId64
                       ", what it writes to has seen %" PRId64,
                       name, proc->epoch, w->epoch, w->door_epoch);
        }
    }
    if (!sim_peek_knows(c, inst->id, &state, &healthy) || state != CONTROL_RUNNING || !healthy) {
        return why("control does not see that %s is well on %s", name, p->node);
    }
    return NULL;
}

static const char *leftovers(const struct sim *s, size_t wanted)
{
    size_t records = 0, programs = 0;

    for (size_t i = 0; i < s->ninsts; i++) {
        records += !s->insts[i].gone;
    }
    for (size_t i = 0; i < s->nnodes; i++) {
        for (const struct sim_proc *p = s->nodes[i].procs; p; p = p->next) {
            programs += p->there;
        }
    }
    if (records != wanted) {
        return why("%" PRId64 " instances more on record than wanted",
                   (int64_t)records - (int64_t)wanted);
    }
    if (programs != wanted) {
        return why("%" PRId64 " programs more than wanted", (int64_t)programs - (int64_t)wanted);
    }
    return NULL;
}

/* What keeps running when a true site is lost, against the keep that the declaration asks. */
static void check_spread(struct sim *s, const struct project *decl, const struct service *v)
{
    size_t twin = plant_misplace(s) ? 1 : 0; /* planted: the last two are one building */

    for (size_t site = 0; v->survive.sites_written && v->survive.sites > 0 &&
                          v->survive.keep_written && site < s->nsites;
         site++) {
        int64_t left = 0;
        for (size_t i = 0; i < s->nnodes; i++) {
            for (const struct sim_proc *p = s->nodes[i].procs; p; p = p->next) {
                const struct sim_work *w = &s->works[p->work];
                bool lost = s->nodes[i].site == site ||
                            (twin && site + 2 >= s->nsites && s->nodes[i].site + 2u >= s->nsites);
                left += p->there && !lost && sk_str_is(decl->name, w->project) &&
                        sk_str_is(v->name, w->service);
            }
        }
        if (left < v->survive.keep) {
            sim_fail(s, SIM_SPREAD,
                     "without site %s %" PRId64 " of %.*s/%.*s are left, %" PRId64 " must",
                     s->sites[site].name, left, SK_PRI(decl->name), SK_PRI(v->name),
                     v->survive.keep);
        }
    }
}

bool sim_control_busy(const struct sim *s)
{
    int leader = sim_leader(s);
    const struct control *c = leader < 0 ? NULL : s->controls[leader].c;

    return !c || !sim_peek_settled(c, s->store.revision);
}

const char *sim_not_converged(struct sim *s)
{
    int leader = sim_leader(s);
    struct control *c = leader < 0 ? NULL : s->controls[leader].c;
    struct sim_peek rows[256];
    const char * not ;
    bool overlay = false;
    size_t count;

    if (sim_control_busy(s)) {
        return "control is at work, or does not know what is in the store";
    }
    not = nodes_not_ready(s, c);
    count = sim_peek_places(c, rows, 256);
    for (size_t i = 0; !not &&i < count; i++) {
        not = place_not_met(s, c, &rows[i]);
        overlay = overlay || rows[i].overlay;
    }
    if (!not ) {
        not = leftovers(s, count);
    }
    for (size_t p = 0; !not &&!overlay && p < control_project_count(c); p++) {
        const struct project *decl = control_project(c, p);
        for (size_t i = 0; i < decl->nservices; i++) {
            check_spread(s, decl, &decl->services[i]);
        }
    }
    return not ;
}
