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

/* A standby (hub-2) that lives on what it is told: the test is the leader, and the store. */

#define PREFIX "/skerry/v1/"
#define INSTANCE "00000000000000000000000000000001"

struct scene {
    struct control *c;
    int64_t now_ms, wall_ms;
    unsigned loads, txns, events, revokes;
    uint64_t request; /* of the last transaction */
    int64_t expect_number;
    struct sk_buf said; /* bodies of assign frames, values that were put */
};

#define RECORD(k, v, rev)                                                                      \
    {                                                                                          \
        .key = {PREFIX k, sizeof(PREFIX k) - 1}, .value = {v, sizeof(v) - 1}, .mod_rev = (rev) \
    }
#define NODE(site, address)                                                               \
    "{\"v\":1,\"site\":\"" site "\",\"address\":\"" address "\",\"incarnation\":\"inc\"," \
    "\"prefix\":\"10.210.1.0/24\",\"cpus_nano\":1000000000,\"memory_bytes\":1073741824}"
#define LEADER(node, id, term) \
    "{\"v\":1,\"node\":\"" node "\",\"id\":\"" id "\",\"term\":" term ",\"store\":\"one\"}"
#define ROSTER                                                                            \
    "{\"v\":1,\"store\":\"etcd\",\"members\":[{\"node\":\"hub-1\",\"state\":\"member\"}," \
    "{\"node\":\"hub-2\",\"state\":\"member\",\"port\":7500},"                            \
    "{\"node\":\"fra-1\",\"state\":\"joining\"}]}"
#define INST(state_role)                                                                       \
    "{\"v\":1,\"project\":\"shop\",\"service\":\"web\",\"replica\":0,\"generation\":1,"        \
    "\"node\":\"fra-1\",\"driver\":\"exec\",\"spec_hash\":\"sha256:1\",\"role\":\"" state_role \
    "\",\"spec\":{}}"

static const struct control_record records[] = {
    RECORD("cluster", "{\"v\":1,\"cluster\":\"test\"}", 1),
    RECORD("control", ROSTER, 2),
    RECORD("leader", LEADER("hub-1", "other", "7"), 3),
    RECORD("nodes/fra-1", NODE("fra", "192.0.2.3"), 1),
    RECORD("nodes/hub-1", NODE("hub", "192.0.2.1"), 1),
    RECORD("nodes/hub-2", NODE("ams", "192.0.2.2"), 1),
    RECORD("sites/ams", "{\"v\":1}", 1),
    RECORD("sites/fra", "{\"v\":1}", 1),
    RECORD("sites/hub", "{\"v\":1}", 1),
};

static void step(struct scene *s, struct control_event *ev)
{
    struct control_commands out = {0};
    struct sk_err err = {0};

    ev->now_ms = s->now_ms;
    ev->wall_ms = s->wall_ms;
    if (control_step(s->c, ev, &out, &err) < 0) {
        fail_msg("%s", err.msg);
    }
    for (size_t i = 0; i < out.count; i++) {
        const struct control_command *cmd = &out.items[i];
        s->loads += cmd->kind == CONTROL_CMD_LOAD;
        s->events += cmd->kind == CONTROL_CMD_EVENT;
        s->revokes += cmd->kind == CONTROL_CMD_REVOKE;
        if (cmd->kind == CONTROL_CMD_TXN) {
            s->txns++;
            s->request = cmd->u.txn.request;
            s->expect_number = cmd->u.txn.expect_number;
            sk_buf_addstr(&s->said, cmd->u.txn.ops[0].value);
        } else if (cmd->kind == CONTROL_CMD_ASSIGN) {
            sk_buf_addstr(&s->said, cmd->u.assign.body);
        }
    }
    control_commands_release(&out);
}

static void load(struct scene *s, const char *id, int64_t revision)
{
    struct control_event ev = {.kind = CONTROL_EV_LOADED};
    struct control_record now[SK_ARRAY_LEN(records)];

    memcpy(now, records, sizeof(now));
    now[2].mod_rev = revision; /* the leader lives */
    ev.u.loaded.records = now;
    ev.u.loaded.count = SK_ARRAY_LEN(records);
    ev.u.loaded.store_id = sk_str(id);
    ev.u.loaded.revision = revision;
    step(s, &ev);
}

static void tell(struct scene *s, const struct control_change *changes, size_t count,
                 int64_t revision)
{
    struct control_event ev = {.kind = CONTROL_EV_CHANGED};

    ev.u.changed.changes = changes;
    ev.u.changed.count = count;
    ev.u.changed.store_id = SK_STR("one");
    ev.u.changed.revision = revision;
    step(s, &ev);
}

static void tell_lost(struct scene *s, int64_t revision)
{
    struct control_event ev = {.kind = CONTROL_EV_CHANGED};

    ev.u.changed.store_id = SK_STR("one");
    ev.u.changed.revision = revision;
    ev.u.changed.lost = true;
    step(s, &ev);
}

static void bump(struct scene *s, int64_t revision)
{
    const struct control_change ch = {
        .record = RECORD("leader", LEADER("hub-1", "other", "7"), revision)};
    tell(s, &ch, 1, revision);
}

static void tick(struct scene *s)
{
    struct control_event ev = {.kind = CONTROL_EV_TICK};
    step(s, &ev);
}

static void done(struct scene *s, enum control_txn_result result, int64_t revision)
{
    struct control_event ev = {.kind = CONTROL_EV_TXN_DONE};

    ev.u.txn_done.request = s->request;
    ev.u.txn_done.result = result;
    ev.u.txn_done.revision = revision;
    ev.u.txn_done.error = SK_STR("down");
    step(s, &ev);
}

/* Lets time pass as a host does: a step at each deadline. */
static void pass(struct scene *s, int64_t ms)
{
    int64_t end = s->now_ms + ms;

    for (;;) {
        uint64_t at = control_deadline_ms(s->c);
        if (at > (uint64_t)end) {
            break;
        }
        s->now_ms = at > (uint64_t)s->now_ms ? (int64_t)at : s->now_ms + 1;
        tick(s);
    }
    s->now_ms = end;
}

static int begin(void **state)
{
    struct scene *s = sk_xcalloc(1, sizeof(*s));
    struct control_config cfg = {.node = SK_STR("hub-2"), .seed = 1};

    assert_int_equal(control_new(&cfg, &s->c, NULL), 0);
    s->now_ms = 1000;
    s->wall_ms = INT64_C(1700000000000);
    load(s, "one", 3);
    tell(s, NULL, 0, 3);
    s->loads = 0;
    *state = s;
    return 0;
}

static int end(void **state)
{
    struct scene *s = *state;

    control_free(s->c);
    sk_buf_release(&s->said);
    free(s);
    return 0;
}

static bool knows_key(const struct scene *s, const char *hash)
{
    struct sk_str name;
    return control_key_role(s->c, sk_str(hash), &name) != NULL;
}

/* It never reads the whole as long as it is told, and takes over from what it was told. */
static void follows_and_takes_over(void **state)
{
    struct scene *s = *state;
    const struct control_change key = {
        .record = RECORD("keys/abc", "{\"v\":1,\"name\":\"k\",\"role\":\"admin\"}", 20)};

    for (int64_t rev = 4; rev < 20; rev++) {
        pass(s, 250);
        bump(s, rev);
    }
    tell(s, &key, 1, 20);
    assert_true(knows_key(s, "abc"));
    pass(s, 990);
    assert_int_equal(s->loads + s->txns, 0);
    pass(s, 20);
    assert_int_equal(s->txns, 1);
    assert_int_equal(s->expect_number, 20);
    assert_non_null(strstr(s->said.ptr, "\"term\":8"));
    assert_false(control_leads(s->c));
    done(s, CONTROL_TXN_OK, 21);
    assert_true(control_leads(s->c));
    assert_int_equal(control_term(s->c), 8);
    assert_int_equal(s->loads, 0);
}

/* What it is told of while its own transaction is under way may be that transaction. */
static void told_of_its_own_first(void **state)
{
    struct scene *s = *state;

    pass(s, 1010);
    assert_int_equal(s->txns, 1);
    bump(s, 4); /* the leader lives: it was only slow */
    assert_false(control_leads(s->c));
    done(s, CONTROL_TXN_CONFLICT, 0);
    assert_int_equal(s->loads, 1);
    load(s, "one", 4);
    assert_int_equal(s->loads, 1);
    assert_false(control_leads(s->c));
    pass(s, 990);
    assert_int_equal(s->txns, 1);
}

static void a_takeover_that_fails_is_tried_again(void **state)
{
    struct scene *s = *state;

    pass(s, 1010);
    done(s, CONTROL_TXN_FAILED, 0);
    assert_int_equal(s->loads, 0);
    pass(s, 1010);
    assert_int_equal(s->txns, 2);
    bump(s, 4); /* waits until the outcome is known */
    done(s, CONTROL_TXN_FAILED, 0);
    pass(s, 900);
    assert_int_equal(s->txns, 2); /* it knows of the sign of life by then */
}

/* A leader that was deposed and does not know it is told, once, what its heir commits; the reading
 * that it then asks for may have begun before that. */
static void told_while_it_took_itself_for_the_leader(void **state)
{
    struct scene *s = *state;

    pass(s, 1010);
    done(s, CONTROL_TXN_OK, 4);
    assert_true(control_leads(s->c));
    pass(s, 260);
    assert_int_equal(s->txns, 2);
    done(s, CONTROL_TXN_CONFLICT, 0);
    assert_int_equal(s->loads, 1);
    bump(s, 7);
    load(s, "one", 5);
    assert_int_equal(s->loads, 2); /* that was not the whole */
    assert_true(control_leads(s->c));
    load(s, "one", 7);
    assert_int_equal(s->loads, 2);
    assert_false(control_leads(s->c));
}

static void reads_again_when_some_was_lost(void **state)
{
    struct scene *s = *state;

    tell_lost(s, 9);
    assert_int_equal(s->loads, 1);
    bump(s, 10);
    load(s, "one", 8); /* older than what was lost */
    assert_int_equal(s->loads, 2);
    load(s, "one", 9);
    assert_int_equal(s->loads, 2);
    pass(s, 990);
    assert_int_equal(s->txns, 0);
    pass(s, 20);
    assert_int_equal(s->expect_number, 10); /* what was told meanwhile is not forgotten */
}

static void never_goes_back(void **state)
{
    struct scene *s = *state;
    const struct control_change key = {
        .record = RECORD("keys/abc", "{\"v\":1,\"name\":\"k\",\"role\":\"admin\"}", 5)};

    tell(s, &key, 1, 5);
    load(s, "one", 4); /* of before: the key is not in it */
    assert_int_equal(s->loads, 1);
    assert_true(knows_key(s, "abc"));
    tell(s, &key, 1, 5); /* twice is once */
    load(s, "one", 6);
    assert_false(knows_key(s, "abc"));
}

/* In one transaction: a site, its node, what runs there, and all of it gone again, in any order. */
static void takes_a_revision_as_a_whole(void **state)
{
    struct scene *s = *state;
    const struct control_change there[] = {
        {.record = RECORD("events/000000000001", "{\"v\":1,\"seq\":1}", 4)},
        {.record =
             RECORD("instances/" INSTANCE,
                    "{\"v\":1,\"project\":\"shop\",\"service\":\"web\",\"node\":\"par-1\"}", 4)},
        {.record = RECORD("nodes/par-1", NODE("par", "192.0.2.9"), 4)},
        {.record = RECORD("revoked/00112233445566778899aabbccddeeff", "{\"v\":1}", 4)},
        {.record = RECORD("sites/par", "{\"v\":1}", 4)},
    };
    const struct control_change gone[] = {
        {.removed = true, .record = RECORD("sites/par", "", 5)},
        {.removed = true, .record = RECORD("nodes/par-1", "", 5)},
        {.removed = true, .record = RECORD("instances/" INSTANCE, "", 5)},
    };
    struct sk_str site;

    tell(s, there, SK_ARRAY_LEN(there), 4);
    assert_true(control_node_known(s->c, SK_STR("par-1"), &site));
    assert_int_equal(s->events, 1);
    assert_int_equal(s->revokes, 1);
    tell(s, gone, SK_ARRAY_LEN(gone), 5);
    assert_false(control_node_known(s->c, SK_STR("par-1"), &site));
    assert_int_equal(s->loads, 0);
    /* what cannot be is no reason to end, but to look */
    load(s, "one", 5);
    const struct control_change again[] = {
        {.record =
             RECORD("instances/" INSTANCE,
                    "{\"v\":1,\"project\":\"shop\",\"service\":\"web\",\"node\":\"par-1\"}", 6)},
    };
    tell(s, again, 1, 6);
    assert_int_equal(s->loads, 1);
}

static void another_state_is_read(void **state)
{
    struct scene *s = *state;
    struct control_event ev = {.kind = CONTROL_EV_CHANGED};

    ev.u.changed.store_id = SK_STR("two");
    ev.u.changed.revision = 2;
    step(s, &ev);
    assert_int_equal(s->loads, 1);
    load(s, "two", 2); /* a lower number is no older reading */
    assert_int_equal(s->loads, 1);
    pass(s, 1010);
    assert_int_equal(s->expect_number, 2);
    /* terms of the old state may be higher than what this one holds */
    assert_non_null(strstr(s->said.ptr, "\"term\":1700000000,\"store\":\"two\""));
}

/* A node may be faster than the store: it says once that its instance runs. */
static void hears_of_an_instance_before_its_record(void **state)
{
    struct scene *s = *state;
    const struct control_change inst = {.record = RECORD("instances/" INSTANCE, INST("active"), 4)};
    struct control_event hello = {.kind = CONTROL_EV_HELLO};
    struct control_event obs = {.kind = CONTROL_EV_OBSERVE};
    const struct control_observation row = {.id = SK_STR(INSTANCE),
                                            .state = CONTROL_RUNNING,
                                            .healthy = CONTROL_HEALTHY,
                                            .reason = SK_STR("it does")};
    struct sk_buf ps = SK_BUF_INIT;

    hello.u.hello.node = SK_STR("fra-1");
    hello.u.hello.incarnation = SK_STR("inc");
    step(s, &hello);
    obs.u.observe.node = SK_STR("fra-1");
    obs.u.observe.instances = &row;
    obs.u.observe.count = 1;
    step(s, &obs);
    tell(s, &inst, 1, 4);
    control_ps_json(s->c, &ps);
    assert_non_null(strstr(ps.ptr, "\"state\":\"running\""));
    assert_non_null(strstr(ps.ptr, "\"reason\":\"it does\""));
    sk_buf_release(&ps);
}

static void nodes_are_told_the_term_and_where_control_is(void **state)
{
    struct scene *s = *state;
    struct control_event hello = {.kind = CONTROL_EV_HELLO};
    struct control_event beat = {.kind = CONTROL_EV_BEAT};

    hello.u.hello.node = SK_STR("fra-1");
    hello.u.hello.incarnation = SK_STR("inc");
    step(s, &hello);
    beat.u.beat.node = SK_STR("fra-1");
    step(s, &beat);
    assert_int_equal(s->said.len, 0); /* a standby tells nobody anything */
    pass(s, 1010);
    done(s, CONTROL_TXN_OK, 4);
    assert_non_null(strstr(s->said.ptr, "\"type\":\"assign\",\"term\":8,\"controls\":"
                                        "[\"192.0.2.1:7400\",\"192.0.2.2:7500\","));
    /* two leaders in a row give no assignment the same number */
    assert_int_equal(strtoll(strstr(s->said.ptr, "\"rev\":") + 6, NULL, 10) % 16, 8);
    assert_true(control_is_control(s->c, SK_STR("fra-1")));
    assert_true(control_is_control(s->c, SK_STR("hub-2")));
    assert_false(control_is_control(s->c, SK_STR("par-1")));
}

static void says_what_is_to_be_expected(void **state)
{
    struct scene *s = *state;
    const struct control_member_health health[] = {
        {.node = "hub-1", .ok = true, .leads = true, .version = "3.4.23", .alarm = "nospace"},
        {.node = "hub-2", .error = "it is \"away\""},
        {.endpoint = "https://192.0.2.77:2379", .ok = true},
    };
    struct control_member members[CONTROL_MEMBERS_MAX];
    struct sk_arena *arena = sk_arena_new();
    struct sk_buf out = SK_BUF_INIT;
    const struct sk_node *root = NULL;

    assert_int_equal(control_members(s->c, members), 3);
    assert_true(sk_str_is(members[0].address, "192.0.2.1"));
    control_control_json(s->c, health, SK_ARRAY_LEN(health), &(struct control_keys){3, 2}, &out);
    assert_int_equal(sk_json_read(arena, "control", sk_buf_str(&out), NULL, &root, NULL), 0);
    assert_non_null(strstr(out.ptr, "\"leader\":{\"node\":\"hub-1\",\"term\":7"));
    assert_non_null(strstr(out.ptr, "\"alarm\":\"nospace\""));
    assert_non_null(strstr(out.ptr, "\"keys\":{\"form\":\"split\",\"shares\":3,\"needed\":2}"));
    assert_non_null(strstr(out.ptr, "\"endpoint\":\"https://192.0.2.77:2379\""));
    /* no round trip is known: 50 ms heartbeats, 500 ms to elect, 1 s of silence */
    assert_non_null(strstr(out.ptr, "\"heartbeat_ms\":50,\"election_timeout_ms\":500,"));
    assert_non_null(strstr(out.ptr, "\"takeover_ms\":[1020,1270]"));
    assert_non_null(strstr(out.ptr, "\"exclusive_elsewhere_ms\":[2270,3024]"));
    sk_buf_release(&out);
    sk_arena_free(arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(follows_and_takes_over, begin, end),
        cmocka_unit_test_setup_teardown(told_of_its_own_first, begin, end),
        cmocka_unit_test_setup_teardown(a_takeover_that_fails_is_tried_again, begin, end),
        cmocka_unit_test_setup_teardown(told_while_it_took_itself_for_the_leader, begin, end),
        cmocka_unit_test_setup_teardown(reads_again_when_some_was_lost, begin, end),
        cmocka_unit_test_setup_teardown(never_goes_back, begin, end),
        cmocka_unit_test_setup_teardown(takes_a_revision_as_a_whole, begin, end),
        cmocka_unit_test_setup_teardown(another_state_is_read, begin, end),
        cmocka_unit_test_setup_teardown(hears_of_an_instance_before_its_record, begin, end),
        cmocka_unit_test_setup_teardown(nodes_are_told_the_term_and_where_control_is, begin, end),
        cmocka_unit_test_setup_teardown(says_what_is_to_be_expected, begin, end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
