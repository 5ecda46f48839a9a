/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "fake.h"
#include "scenes.h"

/*
 * When control believes that an instance is gone: beats by datagram overtake what the channel
 * brings, and what a node says of an assignment counts only in the order of the channel.
 */
#define SHOP WEB("3", "web:1")

static void remove_shop(struct fake *f)
{
    uint64_t request = fake_target(f, CONTROL_REQ_PROJECT_DELETE, "shop", false, false);
    assert_int_equal(fake_wait(f, request)->code, 0);
    fake_run(f, 3000);
}

static void tell_beat(struct fake *f, const char *node, bool datagram, int64_t seq)
{
    struct control_event ev = {.kind = CONTROL_EV_BEAT};
    ev.u.beat.node = sk_str(node);
    ev.u.beat.seq = seq;
    ev.u.beat.assign_rev = fake_agent(f, node)->rev;
    ev.u.beat.brief = true;
    ev.u.beat.datagram = datagram;
    fake_tell(f, &ev);
    fake_run(f, 100);
}

static void tell_observed(struct fake *f, const char *node, bool full)
{
    struct fake_agent *a = fake_agent(f, node);
    struct control_observation obs[4];
    struct control_event ev = {.kind = CONTROL_EV_OBSERVE};

    memset(obs, 0, sizeof(obs));
    assert_true(a->ninsts <= 4);
    for (size_t i = 0; i < a->ninsts; i++) {
        obs[i].id = sk_str(a->insts[i].id);
        obs[i].state = a->insts[i].state;
        obs[i].reason = SK_STR("");
    }
    ev.u.observe.node = sk_str(node);
    ev.u.observe.full = full;
    ev.u.observe.instances = obs;
    ev.u.observe.count = a->ninsts;
    fake_tell(f, &ev);
    fake_run(f, 100);
}

static void tell_connection(struct fake *f, const char *node)
{
    struct control_event bye = {.kind = CONTROL_EV_BYE};
    struct control_event hello = {.kind = CONTROL_EV_HELLO};
    bye.u.bye.node = hello.u.hello.node = sk_str(node);
    hello.u.hello.incarnation = SK_STR("inc");
    hello.u.hello.boot = SK_STR("boot");
    hello.u.hello.version = SK_STR("0.1.0");
    fake_tell(f, &bye);
    fake_tell(f, &hello);
}

/* It began and was told to stop before its node's first word of it came: it is not one that never
 * began, whatever datagrams say meanwhile. */
static void what_was_never_observed_may_run(void **state)
{
    struct fake *f = fake_new(4);
    fake_three_sites(f, 1);
    fake_hold(f, "fra-1", true);
    fake_must_apply(f, SHOP);
    fake_run(f, 1000);
    size_t there = fake_running(f, "shop/web.", "fra");
    assert_true(there > 0);
    remove_shop(f);
    assert_int_equal(fake_instances_on_record(f), there); /* those of other sites are gone */
    fake_hold(f, "fra-1", false);
    fake_run(f, 1000);
    assert_int_equal(fake_instances_on_record(f), 0);
    assert_false(fake_event_seen(f, "node_lost"));
    fake_free(f);
}

static void an_overtaken_beat_of_the_channel_counts(void **state)
{
    struct fake *f = fake_new(4);
    fake_three_sites(f, 1);
    fake_hold(f, "fra-1", true);
    fake_must_apply(f, SHOP);
    fake_run(f, 1000);
    size_t there = fake_running(f, "shop/web.", "fra");
    remove_shop(f);
    tell_observed(f, "fra-1", false);
    tell_beat(f, "fra-1", true, f->now_ms);
    assert_true(there > 0);
    assert_int_equal(fake_instances_on_record(f), there);
    tell_beat(f, "fra-1", false, f->now_ms - 1000); /* datagrams with higher numbers came */
    assert_int_equal(fake_instances_on_record(f), 0);
    fake_free(f);
}

/* What was observed over the connection before may be long ago. */
static void a_new_connection_begins_with_the_whole(void **state)
{
    struct fake *f = fake_new(4);
    fake_three_sites(f, 1);
    (void)snprintf(f->done_image, sizeof(f->done_image), "web:1");
    f->done_exit = 1;
    fake_must_apply(f, SHOP);
    fake_run(f, 3000);
    fake_hold(f, "fra-1", true);
    remove_shop(f);
    size_t there = fake_instances_on_record(f); /* all of them fra's */
    assert_true(there > 0);
    tell_connection(f, "fra-1");
    fake_run(f, 1000);
    tell_beat(f, "fra-1", false, f->now_ms - 500);
    assert_int_equal(fake_instances_on_record(f), there);
    tell_observed(f, "fra-1", true);
    assert_int_equal(fake_instances_on_record(f), 0);
    fake_free(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_never_observed_may_run),
        cmocka_unit_test(an_overtaken_beat_of_the_channel_counts),
        cmocka_unit_test(a_new_connection_begins_with_the_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
