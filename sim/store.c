/* SPDX-License-Identifier: Apache-2.0 */
#include "sim/sim.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "sim/plant.h"

/*
 * The store, in memory, with the promises of store.h: a transaction is whole, durable before it is
 * answered, and compared with the revision of the whole. A job is done in two halves, so that the
 * process that asked may die before it, between its effect and the answer, or after.
 *
 * In doubt: the answer says that it failed, and it did take place. Foreign: somebody else wrote
 * first. Stale: a list is true when it is read, and comes late.
 */
#define GIVE_UP_US (4 * SIM_S) /* of etcd's deadlines */
#define TRY_US (100 * SIM_MS)

enum half { EFFECT, ANSWER, LATE_EFFECT };

struct job {
    struct sim_store_answer answer; /* first: one pointer is both */
    struct control_op *ops;
    size_t nops;
    struct sk_str expect_id, fence_key;
    int64_t expect_number, fence_rev;
    char own[33]; /* the life of control that asks */
    uint64_t call;
    int64_t give_up_us;
};

static struct sk_str key_of(const void *item)
{
    return sk_str(((const struct sim_record *)item)->key);
}

static size_t position(const struct sim_store *st, struct sk_str key, bool *ret_there)
{
    return sk_str_search(st->records, st->count, sizeof(*st->records), key_of, key, ret_there);
}

static void put(struct sim_store *st, struct sk_str key, struct sk_str value)
{
    bool there;
    size_t at = position(st, key, &there);

    if (!there) {
        SK_GROW(st->records, st->count, st->cap);
        memmove(st->records + at + 1, st->records + at, (st->count - at) * sizeof(*st->records));
        st->records[at] = (struct sim_record){sk_xstrndup(key.ptr, key.len), NULL, 0};
        st->count++;
    }
    free(st->records[at].value);
    st->records[at].value = sk_xstrndup(value.ptr, value.len);
    st->records[at].mod_rev = st->revision;
}

static void removed(struct sim_store *st, struct sk_str key)
{
    bool there;
    size_t at = position(st, key, &there);

    if (there) {
        free(st->records[at].key);
        free(st->records[at].value);
        st->count--;
        memmove(st->records + at, st->records + at + 1, (st->count - at) * sizeof(*st->records));
    }
}

const char *sim_store_get(const struct sim *s, const char *key)
{
    bool there;
    size_t at = position(&s->store, sk_str(key), &there);
    return there ? s->store.records[at].value : NULL;
}

void sim_store_undo(struct sim *s, const char *key, const char *value)
{
    bool there;
    size_t at = position(&s->store, sk_str(key), &there);

    if (there && !value) {
        removed(&s->store, sk_str(key));
    } else if (there) {
        free(s->store.records[at].value);
        s->store.records[at].value = sk_xstrdup(value);
        s->store.records[at].mod_rev = 0;
    }
}

void sim_store_release(struct sim *s)
{
    for (size_t i = 0; i < s->store.count; i++) {
        free(s->store.records[i].key);
        free(s->store.records[i].value);
    }
    free(s->store.records);
    sim_watch_release(s);
}

void sim_store_answer_free(struct sim_store_answer *a)
{
    if (a) {
        struct job *job = (struct job *)a;
        sk_arena_free(job->answer.arena);
        free(job);
    }
}

static int64_t latency(struct sim *s, size_t control)
{
    int64_t us = sim_between(s, 500, 3000) + sim_store_way_us(s, control);
    if (s->store.slow_us > 0) {
        us += (int64_t)sim_below(s, (uint64_t)s->store.slow_us + 1);
    }
    return us;
}

/* On the machine itself a job dies with who asked; what was sent to members takes place. */
static enum sim_owner whose(const struct sim *s)
{
    return s->ncontrols == 1 ? SIM_DAEMON : SIM_WORLD;
}

/* One worker: a job begins when the one before it is done. */
static void submit(struct sim *s, struct job *job)
{
    struct sim_control *k = &s->controls[job->answer.control];
    int64_t begin = k->busy_us > s->now_us ? k->busy_us : s->now_us;
    int64_t done = begin + latency(s, job->answer.control);

    k->busy_us = done;
    job->call = ++k->calls;
    job->give_up_us = done + GIVE_UP_US;
    sim_post(s, done - s->now_us, SIM_EV_STORE, whose(s), k->node, job->answer.control, EFFECT,
             job);
}

static struct job *job_new(const struct sim *s, size_t control, enum control_event_kind kind)
{
    struct job *job = sk_xcalloc(1, sizeof(*job));

    job->answer.kind = kind;
    job->answer.control = control;
    job->answer.life = s->controls[control].lives;
    job->answer.arena = sk_arena_new();
    (void)snprintf(job->own, sizeof(job->own), "%s", sim_peek_own(s->controls[control].c));
    return job;
}

void sim_store_txn(struct sim *s, size_t control, const struct control_txn *txn)
{
    struct job *job = job_new(s, control, CONTROL_EV_TXN_DONE);

    job->answer.request = txn->request;
    job->nops = txn->nops;
    job->ops = SK_ARENA_ARRAY(job->answer.arena, struct control_op, txn->nops);
    for (size_t i = 0; i < txn->nops; i++) {
        job->ops[i].remove = txn->ops[i].remove;
        job->ops[i].key = sk_arena_str(job->answer.arena, txn->ops[i].key);
        job->ops[i].value = sk_arena_str(job->answer.arena, txn->ops[i].value);
        sim_mix_bytes(s, txn->ops[i].key.ptr, txn->ops[i].key.len);
        sim_mix_bytes(s, txn->ops[i].value.ptr, txn->ops[i].value.len);
    }
    job->expect_id = sk_arena_str(job->answer.arena, txn->expect_id);
    job->expect_number = txn->expect_number;
    job->fence_key = sk_arena_str(job->answer.arena, txn->fence_key);
    job->fence_rev = txn->fence_rev;
    submit(s, job);
}

void sim_store_load(struct sim *s, size_t control)
{
    submit(s, job_new(s, control, CONTROL_EV_LOADED));
}

static bool compares(const struct sim *s, const struct job *job)
{
    const struct sim_store *st = &s->store;
    bool there;
    size_t at = position(st, job->fence_key, &there);

    return sk_str_is(job->expect_id, st->id) && job->expect_number == st->revision &&
           (job->fence_key.len == 0 || job->fence_rev == (there ? st->records[at].mod_rev : 0));
}

static void commit(struct sim *s, struct job *job)
{
    struct sim_store *st = &s->store;
    struct sim_store_answer *a = &job->answer;
    bool doubt = st->doubt > 0;

    if (st->foreign > 0) {
        st->foreign--;
        st->revision++;
        put(st, SK_STR("/skerry/v1/elsewhere"), SK_STR("{\"v\":1}"));
        sim_watch_note(s, false, SK_STR("/skerry/v1/elsewhere"), SK_STR("{\"v\":1}"));
    }
    if (s->now_us < st->down_until_us) {
        a->result = CONTROL_TXN_FAILED;
        return;
    }
    if ((!compares(s, job) && !plant_compare(s)) || plant_takeover(s, job->own, job->ops[0].key)) {
        a->result = CONTROL_TXN_CONFLICT;
        return;
    }
    if (job->nops > 0 && plant_promise(s, job->ops[0].key)) {
        s->commits++;
        a->revision = st->revision + 1;
        a->result = CONTROL_TXN_OK;
        return;
    }
    st->revision++;
    sim_check_fence(s, job->own, (const struct control_op *)job->ops, job->nops);
    for (size_t i = 0; i < job->nops; i++) {
        struct control_op op = {job->ops[i].remove, job->ops[i].key, job->ops[i].value};
        sim_check_op(s, &op, st->revision);
        sim_watch_note(s, op.remove, op.key, op.value);
        plant_keep(s, op.key);
        if (op.remove) {
            removed(st, op.key);
        } else {
            put(st, op.key, op.value);
        }
    }
    s->commits++;
    sim_watch_wake(s);
    a->revision = st->revision;
    a->result = CONTROL_TXN_OK;
    if (doubt) {
        st->doubt--;
        a->result = CONTROL_TXN_FAILED;
    }
}

void sim_store_init(struct sim *s, const struct control_commands *commands)
{
    s->store.revision = 1;
    for (size_t i = 0; i < commands->count; i++) {
        const struct control_txn *txn = &commands->items[i].u.txn;
        for (size_t k = 0; commands->items[i].kind == CONTROL_CMD_TXN && k < txn->nops; k++) {
            put(&s->store, txn->ops[k].key, txn->ops[k].value);
        }
    }
}

static void list(struct sim *s, struct sim_store_answer *a)
{
    const struct sim_store *st = &s->store;

    a->records = SK_ARENA_ARRAY(a->arena, struct control_record, st->count);
    for (size_t i = 0; i < st->count; i++) {
        a->records[i].key = sk_arena_str(a->arena, sk_str(st->records[i].key));
        a->records[i].value = sk_arena_str(a->arena, sk_str(st->records[i].value));
        a->records[i].mod_rev = st->records[i].mod_rev;
    }
    a->count = st->count;
    a->revision = st->revision;
    memcpy(a->id, st->id, sizeof(a->id));
    plant_list(s, a);
    sim_check_listed(s, a);
}

/* The deadline is over, and a copy may be under way: it may yet take place, until the next call of
 * the same handle puts its fence before it. */
static void give_up(struct sim *s, struct sim_event *e, struct job *job)
{
    const struct sim_control *k = &s->controls[e->b];

    if (k->c && k->lives == job->answer.life) {
        struct job *answer = job_new(s, e->b, CONTROL_EV_TXN_DONE);
        answer->answer.request = job->answer.request;
        answer->answer.result = CONTROL_TXN_FAILED;
        sim_post(s, 0, SIM_EV_STORE, SIM_DAEMON, e->a, e->b, ANSWER, answer);
    }
    sim_post(s, sim_between(s, 10 * SIM_MS, 5 * SIM_S), SIM_EV_STORE, SIM_WORLD, e->a, e->b,
             LATE_EFFECT, job);
}

static bool retry(struct sim *s, struct sim_event *e, struct job *job)
{
    if (sim_store_ready(s, e->b)) {
        return false;
    }
    if (job->answer.kind != CONTROL_EV_TXN_DONE || s->now_us < job->give_up_us) {
        sim_post(s, TRY_US, SIM_EV_STORE, SIM_WORLD, e->a, e->b, EFFECT, job);
    } else {
        give_up(s, e, job);
    }
    return true;
}

/* The effect; then the answer is on its way. */
static void effect(struct sim *s, struct sim_event *e, struct job *job)
{
    int64_t wait = sim_between(s, 50, 500) + sim_store_way_us(s, e->b);

    if (job->answer.kind == CONTROL_EV_TXN_DONE) {
        commit(s, job);
    } else {
        list(s, &job->answer);
        if (s->store.stale > 0) {
            s->store.stale--;
            wait += sim_between(s, 200 * SIM_MS, 3 * SIM_S);
        }
    }
    if (s->controls[e->b].c && s->controls[e->b].lives == job->answer.life) {
        sim_post(s, wait, SIM_EV_STORE, SIM_DAEMON, e->a, e->b, ANSWER, job);
    } else {
        sim_store_answer_free(&job->answer); /* who asked has ended */
    }
}

static void late_effect(struct sim *s, struct sim_event *e, struct job *job)
{
    const struct sim_control *k = &s->controls[e->b];

    if (sim_store_ready(s, e->b) && (k->lives != job->answer.life || k->calls == job->call)) {
        sim_say(s, "a transaction that was given up takes place, if it still may");
        commit(s, job); /* what it is answered nobody hears */
    }
    sim_store_answer_free(&job->answer);
}

void sim_on_store(struct sim *s, struct sim_event *e)
{
    struct sim_store_answer *a = e->load;
    struct control_event ev = {.kind = a->kind};

    if (e->x != ANSWER) {
        e->load = NULL;
        if (e->x == LATE_EFFECT) {
            late_effect(s, e, (struct job *)a);
        } else if (!retry(s, e, (struct job *)a)) {
            effect(s, e, (struct job *)a);
        }
        return;
    }
    plant_answer(s, a);
    sim_check_revision(s, a->control, a);
    if (a->kind == CONTROL_EV_TXN_DONE) {
        ev.u.txn_done.request = a->request;
        ev.u.txn_done.result = a->result;
        ev.u.txn_done.revision = a->revision;
        ev.u.txn_done.error = SK_STR("the store does not answer");
    } else {
        ev.u.loaded.records = a->records;
        ev.u.loaded.count = a->count;
        ev.u.loaded.store_id = sk_str(a->id);
        ev.u.loaded.revision = a->revision;
    }
    sim_control_step(s, a->control, &ev);
    if (a->kind == CONTROL_EV_LOADED) {
        sim_watch_begin(s, a->control, a->revision);
    }
}
