/* SPDX-License-Identifier: Apache-2.0 */
#include "sim/sim.h"

#include <inttypes.h>
#include <string.h>

#include "base/json.h"

/*
 * The invariants of leases, compared with what the store took and what truly runs.
 *
 * One thing is let pass, as docs/leases.md says: a machine that sleeps past its lease has the
 * program still there when it wakes, until the overdue timer ends it. What that program then writes
 * is refused by whoever compares epochs, which is looked at too (lease.c).
 */
#define LEASES "/skerry/v1/leases/"

void sim_check_lease_op(struct sim *s, const struct control_op *op)
{
    struct sk_str name = {op->key.ptr + strlen(LEASES), op->key.len - strlen(LEASES)};
    struct sk_arena *arena = sk_arena_new();
    const struct sk_node *root = NULL;
    struct sk_str project, service, none = SK_STR("");
    struct sim_inst *inst;
    struct sim_work *w;
    int64_t epoch;

    if (op->remove || !sk_str_cut(name, '/', &project, &service) ||
        sk_json_read(arena, "lease", op->value, NULL, &root, NULL) < 0) {
        sim_fail(s, SIM_EPOCH, "the lease %.*s is taken off the books", SK_PRI(name));
        sk_arena_free(arena);
        return;
    }
    w = &s->works[sim_work_of(s, project, service, 0)];
    epoch = sk_map_int(root, "epoch", 0);
    inst = sim_inst_find(s, sk_map_str(root, "instance", none).ptr);
    if (epoch > w->epoch && inst) {
        s->grants++;
        w->epoch = inst->epoch = epoch;
        sim_say(s, "record: the lease of %s/%s is %.8s's, epoch %" PRId64, w->project, w->service,
                inst->id, epoch);
    } else if (epoch < w->epoch || !inst || inst->epoch != epoch) {
        sim_fail(s, SIM_EPOCH, "the lease of %s/%s has epoch %" PRId64 " after %" PRId64 "%s",
                 w->project, w->service, epoch, w->epoch,
                 epoch == w->epoch ? ", for another instance" : "");
    }
    sk_arena_free(arena);
}

void sim_check_granted(struct sim *s, const char *id, int64_t epoch)
{
    const struct sim_inst *inst = sim_inst_find(s, id);

    if (!inst || epoch > inst->epoch) { /* an older one: said late, by a leader of that time */
        sim_fail(s, SIM_GRANT, "%.8s is told that it has epoch %" PRId64 ", the store has %" PRId64,
                 id, epoch, inst ? inst->epoch : 0);
    }
}

static bool leased_run(const struct sim_node *n)
{
    for (const struct sim_proc *p = n->procs; p; p = p->next) {
        if (p->there && p->epoch > 0) {
            return true;
        }
    }
    return false;
}

bool sim_check_trial(struct sim *s, enum sim_trial kind, size_t node)
{
    bool meets = leased_run(&s->nodes[node]), control = false;

    for (size_t i = 0; i < s->ncontrols; i++) {
        control = control || s->controls[i].node == node;
    }
    for (size_t i = 0; control && !meets && i < s->nnodes; i++) {
        meets = leased_run(&s->nodes[i]);
    }
    s->trials[kind] += meets;
    return meets;
}

/* It slept past its lease, and its overdue timer has not had its time yet. */
static bool slept(const struct sim *s, const struct sim_node *n, const struct sim_proc *p)
{
    return p->epoch > 0 && sim_local_ms(s, n) >= p->until_ms &&
           s->now_us - n->sleep_us <= SIM_LATE_US + SIM_MS;
}

static const struct sim_node *other_run(const struct sim *s, const struct sim_proc *p)
{
    for (size_t i = 0; i < s->nnodes; i++) {
        for (const struct sim_proc *o = s->nodes[i].procs; o; o = o->next) {
            if (o != p && o->there && o->work == p->work && !slept(s, &s->nodes[i], o)) {
                return &s->nodes[i];
            }
        }
    }
    return NULL;
}

void sim_check_leased_start(struct sim *s, struct sim_node *n, struct sim_proc *p)
{
    const struct sim_inst *inst = sim_inst_find(s, p->id);
    struct sim_work *w = &s->works[p->work];
    const struct sim_node *other = w->running > 1 ? other_run(s, p) : NULL;

    if (other) {
        sim_fail(s, SIM_EXCLUSIVE, "%s/%s starts on %s, and runs on %s", w->project, w->service,
                 n->name, other->name);
    } else if (p->epoch <= w->epoch_run || p->epoch != inst->epoch) {
        sim_fail(s, SIM_EPOCH,
                 "%s/%s starts on %s under epoch %" PRId64 "; granted to it was %" PRId64
                 ", the last one run was %" PRId64,
                 w->project, w->service, n->name, p->epoch, inst->epoch, w->epoch_run);
    }
    w->epoch_run = p->epoch > w->epoch_run ? p->epoch : w->epoch_run;
}

void sim_check_overrun(struct sim *s, const struct sim_node *n, const struct sim_proc *p)
{
    int64_t late_us = sim_local_us(s, n) - p->until_ms * 1000;

    if (late_us > SIM_LATE_US + 2 * SIM_MS && !slept(s, n, p)) {
        sim_fail(s, SIM_EXCLUSIVE, "%.8s on %s writes %.3f s after its lease ended", p->id, n->name,
                 (double)late_us / 1e6);
    }
}
