/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/json.h"
#include "base/mem.h"
#include "control/control.h"

/* Two control nodes on one state: who leads, who takes over, and that a deposed leader writes
 * nothing. The store is a list of records; an answer comes at the next look. */

#define RECORDS 64
#define STEP_MS 10

struct record {
    char key[128];
    char *value;
    int64_t mod_rev;
};

struct side {
    struct control *c;
    bool paused;
    bool wants_load;
    uint64_t txn; /* whose outcome it waits for; 0: none */
    enum control_txn_result result;
    int64_t revision;
    unsigned committed, refused, replies;
    int code;
    bool elsewhere;
};

struct world {
    struct record records[RECORDS];
    size_t nrecords;
    int64_t revision, now_ms;
    bool down; /* the store */
    struct side sides[2];
};

static struct record *find(struct world *w, struct sk_str key)
{
    for (size_t i = 0; i < w->nrecords; i++) {
        if (sk_str_is(key, w->records[i].key)) {
            return &w->records[i];
        }
    }
    return NULL;
}

static enum control_txn_result commit(struct world *w, const struct control_txn *txn)
{
    const struct record *fence = txn->fence_key.len > 0 ? find(w, txn->fence_key) : NULL;

    if (w->down) {
        return CONTROL_TXN_FAILED;
    }
    if (txn->expect_number != w->revision ||
        (txn->fence_key.len > 0 && txn->fence_rev != (fence ? fence->mod_rev : 0))) {
        return CONTROL_TXN_CONFLICT;
    }
    w->revision++;
    for (size_t i = 0; i < txn->nops; i++) {
        struct record *r = find(w, txn->ops[i].key);
        assert_false(txn->ops[i].remove);
        if (r == NULL) {
            assert_true(w->nrecords < RECORDS);
            r = &w->records[w->nrecords++];
            (void)snprintf(r->key, sizeof(r->key), "%.*s", SK_PRI(txn->ops[i].key));
        }
        free(r->value);
        r->value = sk_xstrndup(txn->ops[i].value.ptr, txn->ops[i].value.len);
        r->mod_rev = w->revision;
    }
    return CONTROL_TXN_OK;
}

static int by_key(const void *a, const void *b)
{
    return sk_str_cmp(((const struct control_record *)a)->key,
                      ((const struct control_record *)b)->key);
}

static void step(struct world *w, struct side *s, struct control_event *ev)
{
    struct control_commands out = {0};
    struct sk_err err = {0};

    ev->now_ms = w->now_ms;
    ev->wall_ms = w->now_ms;
    assert_int_equal(control_step(s->c, ev, &out, &err), 0);
    for (size_t i = 0; i < out.count; i++) {
        const struct control_command *cmd = &out.items[i];
        if (cmd->kind == CONTROL_CMD_TXN) {
            s->txn = cmd->u.txn.request;
            s->result = commit(w, &cmd->u.txn);
            s->revision = w->revision;
            s->committed += s->result == CONTROL_TXN_OK;
            s->refused += s->result == CONTROL_TXN_CONFLICT;
        } else if (cmd->kind == CONTROL_CMD_LOAD) {
            s->wants_load = true;
        } else if (cmd->kind == CONTROL_CMD_REPLY) {
            s->replies++;
            s->code = cmd->u.reply.err.code;
            s->elsewhere = cmd->u.reply.elsewhere;
        }
    }
    control_commands_release(&out);
}

static void load(struct world *w, struct side *s)
{
    struct control_record records[RECORDS];
    struct control_event ev = {.kind = CONTROL_EV_LOADED};

    for (size_t i = 0; i < w->nrecords; i++) {
        records[i] = (struct control_record){sk_str(w->records[i].key), sk_str(w->records[i].value),
                                             w->records[i].mod_rev};
    }
    qsort(records, w->nrecords, sizeof(*records), by_key);
    ev.u.loaded.records = records;
    ev.u.loaded.count = w->nrecords;
    ev.u.loaded.store_id = SK_STR("store-1");
    ev.u.loaded.revision = w->revision;
    s->wants_load = false;
    step(w, s, &ev);
}

static void side_run(struct world *w, struct side *s)
{
    if (s->txn != 0) {
        struct control_event ev = {.kind = CONTROL_EV_TXN_DONE};
        ev.u.txn_done.request = s->txn;
        ev.u.txn_done.result = s->result;
        ev.u.txn_done.revision = s->revision;
        ev.u.txn_done.error = SK_STR("down");
        s->txn = 0;
        step(w, s, &ev);
    }
    if (s->wants_load) {
        load(w, s);
    }
    if (control_deadline_ms(s->c) <= (uint64_t)w->now_ms) {
        struct control_event tick = {.kind = CONTROL_EV_TICK};
        step(w, s, &tick);
    }
}

/* At every moment at most one of those that run, and whose last outcome is known, leads. */
static void run(struct world *w, int64_t ms)
{
    for (int64_t end = w->now_ms + ms; w->now_ms < end; w->now_ms += STEP_MS) {
        for (size_t i = 0; i < 2; i++) {
            if (w->sides[i].c != NULL && !w->sides[i].paused) {
                side_run(w, &w->sides[i]);
            }
        }
    }
}

static void begin(struct world *w, size_t i, bool shared)
{
    struct control_config cfg = {
        .node = i ? SK_STR("hub-2") : SK_STR("hub-1"), .seed = i + 1, .shared = shared};
    assert_int_equal(control_new(&cfg, &w->sides[i].c, NULL), 0);
    load(w, &w->sides[i]);
}

static struct world *world_new(void)
{
    struct world *w = sk_xcalloc(1, sizeof(*w));
    struct control_init in = {.cluster = SK_STR("test"),
                              .who = SK_STR("root"),
                              .site_role = SK_STR("control"),
                              .serial = SK_STR("0123456789abcdef0123456789abcdef")};
    struct control_commands out = {0};

    in.first = (struct control_join){.node = SK_STR("hub-1"),
                                     .site = SK_STR("hub"),
                                     .address = SK_STR("192.0.2.1"),
                                     .machine_id = SK_STR("m"),
                                     .incarnation = SK_STR("inc"),
                                     .cpus_nano = 1000000000,
                                     .memory_bytes = INT64_C(1) << 30};
    assert_int_equal(control_init_txn(&in, &out, NULL), 0);
    assert_int_equal(commit(w, &out.items[0].u.txn), CONTROL_TXN_OK);
    control_commands_release(&out);
    w->now_ms = 1000;
    return w;
}

static void world_free(struct world *w)
{
    for (size_t i = 0; i < w->nrecords; i++) {
        free(w->records[i].value);
    }
    control_free(w->sides[0].c);
    control_free(w->sides[1].c);
    free(w);
}

static bool leads(const struct world *w, size_t i)
{
    return control_leads(w->sides[i].c);
}

static void alone_it_leads_at_once(void **state)
{
    struct world *w = world_new();
    begin(w, 0, false);
    run(w, 50);
    assert_true(leads(w, 0));
    unsigned before = w->sides[0].committed;
    run(w, 5000);
    assert_int_equal(w->sides[0].committed, before); /* nobody to show signs of life to */
    world_free(w);
}

static void second_stands_by(void **state)
{
    struct world *w = world_new();
    struct control_event ev = {.kind = CONTROL_EV_REQUEST};

    begin(w, 0, true);
    run(w, 50);
    begin(w, 1, true);
    run(w, 10000);
    assert_true(leads(w, 0) && !leads(w, 1));
    assert_int_equal(w->sides[1].committed, 0);
    ev.u.request.kind = CONTROL_REQ_KEY_REVOKE;
    ev.u.request.id = 7;
    ev.u.request.who = SK_STR("root");
    step(w, &w->sides[1], &ev);
    run(w, 500);
    assert_int_equal(w->sides[1].replies, 1);
    assert_int_equal(w->sides[1].code, SK_ERR_UNAVAILABLE);
    world_free(w);
}

static void ask_for_token(struct world *w, struct side *s)
{
    struct control_event ev = {.kind = CONTROL_EV_REQUEST};

    ev.u.request.kind = CONTROL_REQ_TOKEN_CREATE;
    ev.u.request.id = 7;
    ev.u.request.who = SK_STR("root");
    ev.u.request.u.token.hash =
        SK_STR("0000000000000000000000000000000000000000000000000000000000000001");
    ev.u.request.u.token.site = SK_STR("fra");
    ev.u.request.u.token.role = SK_STR("node");
    ev.u.request.u.token.ttl_ms = 1000;
    step(w, s, &ev);
}

static void silent_leader_is_deposed(void **state)
{
    struct world *w = world_new();

    begin(w, 0, true);
    begin(w, 1, true);
    run(w, 2000);
    size_t old = leads(w, 0) ? 0 : 1;
    size_t other = 1 - old;
    assert_true(leads(w, old) != leads(w, other));
    w->sides[old].paused = true;
    run(w, 700); /* its last sign of life is at most so much older than that */
    assert_false(leads(w, other));
    run(w, 900);
    assert_true(leads(w, other));

    unsigned before = w->sides[old].committed;
    w->sides[old].paused = false; /* it still believes to lead: nothing of it is committed */
    ask_for_token(w, &w->sides[old]);
    assert_int_equal(w->sides[old].replies, 0);
    run(w, 1000);
    assert_int_equal(w->sides[old].replies,
                     1); /* nothing was begun: whoever asked asks the other */
    assert_int_equal(w->sides[old].code, SK_ERR_UNAVAILABLE);
    assert_true(w->sides[old].elsewhere);
    assert_int_equal(w->sides[old].committed, before);
    assert_true(w->sides[old].refused > 0);
    assert_true(leads(w, other) && !leads(w, old));
    world_free(w);
}

static void store_away_changes_nobody(void **state)
{
    struct world *w = world_new();

    begin(w, 0, true);
    run(w, 1000);
    assert_true(leads(w, 0));
    w->down = true;
    run(w, 2000);
    ask_for_token(w, &w->sides[0]);
    run(w, 3000);
    assert_int_equal(w->sides[0].replies, 1); /* signs of life do not keep it waiting */
    assert_int_equal(w->sides[0].code, SK_ERR_UNAVAILABLE);
    w->down = false;
    run(w, 3000);
    assert_true(leads(w, 0));
    world_free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(alone_it_leads_at_once),
        cmocka_unit_test(second_stands_by),
        cmocka_unit_test(silent_leader_is_deposed),
        cmocka_unit_test(store_away_changes_nobody),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
