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
#include "fake.h"

/* One control node becomes three and one again, in a world whose nodes do as they are told, late or
 * not at all; control is killed between any two commands. */

#define NODES 8

struct seat {
    char node[32], id[33];
    enum control_stage stage;
    bool dumb;    /* hears nothing */
    bool no_etcd; /* has none installed */
    bool forgets;
    bool never_up; /* its etcd finds no leader */
};

static struct {
    struct seat seats[NODES];
    size_t count;
    struct control_event answers[64]; /* on their way */
    char texts[64][64];
    size_t nanswers;
    unsigned commands, moves, commits, removed, added, promoted;
    unsigned kill_at;        /* before this command is carried out; 0: never */
    bool killed, kill_after; /* after: its effect takes place, its answer is lost */
    bool move_fails;
} world;

static struct seat *seat(const char *node, size_t len)
{
    for (size_t i = 0; i < world.count; i++) {
        if (strlen(world.seats[i].node) == len && memcmp(world.seats[i].node, node, len) == 0) {
            return &world.seats[i];
        }
    }
    assert_true(world.count < NODES);
    struct seat *s = &world.seats[world.count++];
    memset(s, 0, sizeof(*s));
    (void)snprintf(s->node, sizeof(s->node), "%.*s", (int)len, node);
    return s;
}

static void tell_seat(struct fake *f, const struct seat *s)
{
    char peer[64], client[64];
    struct control_event ev = {.kind = CONTROL_EV_SEAT};

    (void)snprintf(peer, sizeof(peer), "https://%s:2380", s->node);
    (void)snprintf(client, sizeof(client), "https://%s:2379", s->node);
    ev.u.seat.node = sk_str(s->node);
    ev.u.seat.id = sk_str(s->id);
    ev.u.seat.stage = s->stage;
    ev.u.seat.peer_url = sk_str(peer);
    ev.u.seat.client_url = sk_str(client);
    ev.u.seat.error = sk_str(s->no_etcd ? "etcd is not installed" : "");
    fake_tell(f, &ev);
}

static const char *record_text(struct fake *f, const char *key)
{
    static char text[256];
    const char *raw = fake_get(f, "/skerry/v1/control");
    struct sk_arena *arena = sk_arena_new();
    const struct sk_node *root;

    text[0] = '\0';
    if (raw && sk_json_read(arena, "control", sk_str(raw), NULL, &root, NULL) == 0) {
        (void)snprintf(text, sizeof(text), "%.*s", SK_PRI(sk_map_str(root, key, SK_STR(""))));
    }
    sk_arena_free(arena);
    return text;
}

static void do_seat(const struct control_command *cmd)
{
    struct sk_arena *arena = sk_arena_new();
    const struct sk_node *root;
    struct seat *s = seat(cmd->u.seat.node.ptr, cmd->u.seat.node.len);
    struct sk_str type, id;

    assert_int_equal(sk_json_read(arena, "frame", cmd->u.seat.body, NULL, &root, NULL), 0);
    type = sk_map_str(root, "type", SK_STR(""));
    id = sk_map_str(root, "id", SK_STR(""));
    assert_int_equal(cmd->u.seat.secrets, sk_str_is(type, "control_grant"));
    if (!s->dumb && sk_str_is(type, "control_prepare")) {
        (void)snprintf(s->id, sizeof(s->id), "%.*s", SK_PRI(id));
        s->stage = s->stage < CONTROL_STAGE_READY ? CONTROL_STAGE_READY : s->stage;
    } else if (!s->dumb && sk_str_is(type, "control_grant") && s->forgets) {
        s->forgets = false; /* it dies with it, and comes back as if nothing had been said */
        s->stage = CONTROL_STAGE_NONE;
        s->id[0] = '\0';
    } else if (!s->dumb && sk_str_is(type, "control_grant") && sk_str_is(id, s->id)) {
        s->stage = s->never_up ? CONTROL_STAGE_GRANTED : CONTROL_STAGE_RUNNING;
    } else if (!s->dumb && sk_str_is(type, "control_leave")) {
        s->stage = CONTROL_STAGE_NONE;
    }
    sk_arena_free(arena);
}

static void answer(struct control_event ev, struct sk_str id)
{
    assert_true(world.nanswers < 64);
    (void)snprintf(world.texts[world.nanswers], 64, "%.*s", SK_PRI(id));
    world.answers[world.nanswers++] = ev;
}

/* As the daemon does: what took place is found; else it takes place now. */
static void do_move(struct fake *f, const struct control_command *cmd)
{
    struct control_event ev = {.kind = CONTROL_EV_MOVED};
    bool there = cmd->u.move.to_etcd ? strcmp(record_text(f, "store"), "etcd") == 0
                                     : strcmp(record_text(f, "store"), "sqlite") == 0;

    world.moves++;
    if (!there && cmd->u.move.give_up) {
        ev.u.moved.result = CONTROL_MOVE_OFF;
    } else if (!there && world.move_fails) {
        ev.u.moved.result = CONTROL_MOVE_FAILED;
        ev.u.moved.error = SK_STR("etcd does not answer");
    } else {
        if (!there) {
            fake_put(f, "/skerry/v1/control", cmd->u.move.record);
            world.commits++;
        }
        ev.u.moved.result = CONTROL_MOVE_DONE;
    }
    answer(ev, cmd->u.move.id);
}

static void do_etcd(const struct control_command *cmd)
{
    struct control_event ev = {.kind = CONTROL_EV_ETCD_DONE};

    ev.u.etcd_done.kind = cmd->u.etcd.kind;
    ev.u.etcd_done.ok = true;
    world.added += cmd->u.etcd.kind == CONTROL_ETCD_ADD;
    world.promoted += cmd->u.etcd.kind == CONTROL_ETCD_PROMOTE;
    world.removed += cmd->u.etcd.kind == CONTROL_ETCD_REMOVE;
    answer(ev, cmd->u.etcd.url);
}

static void on_command(struct fake *f, const struct control_command *cmd)
{
    bool dies = ++world.commands == world.kill_at;

    if (world.killed) {
        return;
    }
    if (dies && !world.kill_after) {
        world.killed = true;
        return;
    }
    if (cmd->kind == CONTROL_CMD_SEAT) {
        do_seat(cmd);
    } else if (cmd->kind == CONTROL_CMD_MOVE) {
        do_move(f, cmd);
    } else {
        do_etcd(cmd);
    }
    if (dies) {
        world.killed = true;
        world.nanswers = 0;
    }
}

/* Those that stand in the record serve, once it says etcd. */
static void serve(struct fake *f)
{
    const char *raw = fake_get(f, "/skerry/v1/control");
    char name[64];

    for (size_t i = 0; raw && i < world.count; i++) {
        struct seat *s = &world.seats[i];
        (void)snprintf(name, sizeof(name), "\"node\":\"%s\"", s->node);
        if (strcmp(record_text(f, "store"), "etcd") == 0 && strstr(raw, name) &&
            s->stage == CONTROL_STAGE_RUNNING) {
            s->stage = CONTROL_STAGE_SERVING;
        }
    }
}

static void pass(struct fake *f, int64_t ms)
{
    for (int64_t at = 0; at < ms; at += 100) {
        if (world.killed) {
            world.killed = false;
            world.kill_at = 0;
            world.nanswers = 0;
            fake_restart_control(f);
            fake_run(f, 1000);
        }
        fake_run(f, 100);
        serve(f);
        for (size_t i = 0; i < world.nanswers; i++) {
            struct control_event ev = world.answers[i];
            if (ev.kind == CONTROL_EV_MOVED) {
                ev.u.moved.id = sk_str(world.texts[i]);
            } else {
                ev.u.etcd_done.url = sk_str(world.texts[i]);
            }
            fake_tell(f, &ev);
        }
        world.nanswers = 0;
        for (size_t i = 0; i < world.count; i++) {
            const struct fake_agent *a = fake_agent(f, world.seats[i].node);
            if (a && a->up && !world.seats[i].dumb) {
                tell_seat(f, &world.seats[i]);
            }
        }
    }
}

static struct fake *world_new(void)
{
    struct fake *f = fake_new(1);

    memset(&world, 0, sizeof(world));
    f->seats = on_command;
    f->quiet = true;
    fake_three_sites(f, 1);
    return f;
}

static uint64_t ask(struct fake *f, enum control_request_kind kind, const char *node,
                    const char *gone)
{
    struct control_request r = {.kind = kind};
    static struct sk_str names[1];

    names[0] = sk_str(node);
    r.u.seats.nodes = names;
    r.u.seats.nnodes = node[0] != '\0';
    r.u.seats.gone = sk_str(gone);
    return fake_request(f, &r);
}

static bool has(struct fake *f, const char *what)
{
    return strstr(fake_get(f, "/skerry/v1/control"), what) != NULL;
}

static void is_three(struct fake *f)
{
    assert_string_equal(record_text(f, "store"), "etcd");
    assert_false(has(f, "\"operation\""));
    assert_true(has(f, "\"outcome\":\"done\""));
    assert_false(has(f, "joining"));
    assert_non_null(strstr(fake_get(f, "/skerry/v1/control"), "hub-1"));
}

static void grow(struct fake *f)
{
    assert_int_equal(fake_wait(f, ask(f, CONTROL_REQ_GROW, "", ""))->code, 0);
    pass(f, 8000);
    is_three(f);
}

static void one_becomes_three_and_one_again(void **state)
{
    struct fake *f = world_new();

    grow(f);
    assert_int_equal(world.commits, 1);
    assert_int_equal(fake_wait(f, ask(f, CONTROL_REQ_SHRINK, "", ""))->code, 0);
    pass(f, 8000);
    assert_string_equal(record_text(f, "store"), "sqlite");
    assert_false(has(f, "\"operation\""));
    for (size_t i = 0; i < world.count; i++) {
        assert_int_equal(world.seats[i].stage, CONTROL_STAGE_NONE);
    }
    fake_free(f);
}

static void killed_at_each_command_it_goes_on(void **state)
{
    for (unsigned at = 1; at <= 12; at++) {
        for (int after = 0; after < 2; after++) {
            struct fake *f = world_new();
            world.kill_at = at;
            world.kill_after = after;
            assert_int_equal(fake_wait(f, ask(f, CONTROL_REQ_GROW, "", ""))->code, 0);
            pass(f, 15000);
            is_three(f);
            assert_int_equal(world.commits, 1);
            world.kill_at = world.commands + at;
            assert_int_equal(fake_wait(f, ask(f, CONTROL_REQ_SHRINK, "", ""))->code, 0);
            pass(f, 15000);
            assert_string_equal(record_text(f, "store"), "sqlite");
            assert_false(has(f, "\"operation\""));
            assert_int_equal(world.commits, 2);
            fake_free(f);
        }
    }
}

static void a_node_that_died_before_it_was_granted_is_prepared_again(void **state)
{
    struct fake *f = world_new();

    seat("hub-1", 5)->forgets = seat("fra-1", 5)->forgets = seat("ams-1", 5)->forgets = true;
    grow(f);
    fake_free(f);
}

static void what_is_left_of_one_before_goes_first(void **state)
{
    struct fake *f = world_new();
    struct seat *s = seat("ams-1", 5);

    (void)snprintf(s->id, sizeof(s->id), "%032d", 7);
    s->stage = CONTROL_STAGE_SERVING;
    assert_int_equal(fake_wait(f, ask(f, CONTROL_REQ_GROW, "", ""))->code, 0);
    pass(f, 8000);
    is_three(f);
    fake_free(f);
}

static void without_etcd_nothing_is_begun(void **state)
{
    struct fake *f = world_new();

    seat("fra-1", 5)->no_etcd = true;
    assert_int_equal(fake_wait(f, ask(f, CONTROL_REQ_GROW, "fra-1", ""))->code, SK_ERR_INPUT);
    seat("ams-1", 5)->no_etcd = seat("par-1", 5)->no_etcd = true;
    assert_int_equal(fake_wait(f, ask(f, CONTROL_REQ_GROW, "", ""))->code, 0);
    pass(f, 5000);
    assert_true(has(f, "\"outcome\":\"undone\""));
    assert_true(has(f, "etcd is not installed"));
    assert_true(has(f, "\"store\":\"sqlite\""));
    assert_int_equal(world.moves, 0);
    fake_free(f);
}

static void two_sites_are_refused_with_the_remedy(void **state)
{
    struct fake *f = fake_new(1);
    const struct fake_reply *r;

    memset(&world, 0, sizeof(world));
    f->seats = on_command;
    assert_int_equal(fake_join(f, "fra-1", "fra", 4, 4096), 0);
    fake_run(f, 3000);
    r = fake_wait(f, ask(f, CONTROL_REQ_GROW, "", ""));
    assert_int_equal(r->code, SK_ERR_POLICY);
    assert_non_null(strstr(r->msg, "neither of two can know"));
    assert_non_null(strstr(r->fix, "witness"));
    assert_int_equal(world.commands, 0);
    fake_free(f);
}

static void a_lost_node_takes_it_back(void **state)
{
    struct fake *f = world_new();

    seat("ams-1", 5)->never_up = seat("fra-1", 5)->never_up = seat("par-1", 5)->never_up = true;
    assert_int_equal(fake_wait(f, ask(f, CONTROL_REQ_GROW, "", ""))->code, 0);
    pass(f, 3000);
    assert_int_equal(fake_wait(f, ask(f, CONTROL_REQ_GROW, "", ""))->code, SK_ERR_CONFLICT);
    pass(f, 125000);
    assert_true(has(f, "\"outcome\":\"undone\""));
    assert_int_equal(world.moves, 0);
    for (size_t i = 0; i < world.count; i++) {
        assert_true(world.seats[i].stage == CONTROL_STAGE_NONE);
    }
    fake_free(f);
}

static void a_move_that_cannot_be_made_is_given_up(void **state)
{
    struct fake *f = world_new();
    const struct fake_reply *r;
    uint64_t request;

    world.move_fails = true;
    assert_int_equal(fake_wait(f, ask(f, CONTROL_REQ_GROW, "", ""))->code, 0);
    pass(f, 4000);
    request = fake_set(f, CONTROL_REQ_NODE_SET, "ams-1", "", "{\"price_hour\":1}");
    pass(f, 3000);
    r = fake_wait(f, request);
    assert_int_equal(r->code, SK_ERR_UNAVAILABLE); /* it waits for a while, then is told */
    pass(f, 30000);
    assert_true(has(f, "\"outcome\":\"undone\""));
    assert_int_equal(world.commits, 0);
    r = fake_wait(f, fake_set(f, CONTROL_REQ_NODE_SET, "ams-1", "", "{\"price_hour\":1}"));
    assert_int_equal(r->code, 0);
    fake_free(f);
}

static void an_abort_is_heard_at_once(void **state)
{
    struct fake *f = world_new();

    world.move_fails = true;
    assert_int_equal(fake_wait(f, ask(f, CONTROL_REQ_GROW, "", ""))->code, 0);
    pass(f, 3000);
    assert_int_equal(fake_wait(f, ask(f, CONTROL_REQ_ABORT, "", ""))->code, 0);
    pass(f, 5000);
    assert_true(has(f, "it was aborted"));
    assert_int_equal(world.commits, 0);
    fake_free(f);
}

static void a_lost_member_is_replaced(void **state)
{
    struct fake *f = world_new();
    const char *taken = "ams-1";
    const char *spare = "par-1";

    assert_int_equal(fake_wait(f, ask(f, CONTROL_REQ_GROW, "", ""))->code, 0);
    pass(f, 8000);
    is_three(f);
    if (!has(f, "\"node\":\"ams-1\"")) {
        taken = "fra-1";
        spare = "ams-1";
    } else if (has(f, "\"node\":\"par-1\"")) {
        spare = "fra-1";
    }
    fake_kill(f, taken);
    pass(f, 4000);
    assert_int_equal(fake_wait(f, ask(f, CONTROL_REQ_REPLACE, "", taken))->code, 0);
    pass(f, 12000);
    is_three(f);
    assert_true(has(f, spare));
    assert_true(world.removed >= 1 && world.added >= 1 && world.promoted >= 1);
    fake_start(f, taken); /* it still has all of a control node, and is told to end it */
    pass(f, 6000);
    assert_int_equal(seat(taken, strlen(taken))->stage, CONTROL_STAGE_NONE);
    fake_free(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_becomes_three_and_one_again),
        cmocka_unit_test(killed_at_each_command_it_goes_on),
        cmocka_unit_test(a_node_that_died_before_it_was_granted_is_prepared_again),
        cmocka_unit_test(what_is_left_of_one_before_goes_first),
        cmocka_unit_test(without_etcd_nothing_is_begun),
        cmocka_unit_test(two_sites_are_refused_with_the_remedy),
        cmocka_unit_test(a_lost_node_takes_it_back),
        cmocka_unit_test(a_move_that_cannot_be_made_is_given_up),
        cmocka_unit_test(an_abort_is_heard_at_once),
        cmocka_unit_test(a_lost_member_is_replaced),
    };
    return cmocka_run_group_tests_name("grow", tests, NULL, NULL);
}
