/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "agent/step.h"
#include "base/buf.h"
#include "base/mem.h"

/* A machine, its clock, and what it asked for in the last step, as readable text. */
struct fixture {
    struct agent_state state;
    struct agent_desired desired[4];
    size_t ndesired;
    int64_t now;
    struct sk_buf asked;
};

static int setup(void **state)
{
    struct fixture *f = sk_xcalloc(1, sizeof(*f));
    f->now = 1000;
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    agent_state_release(&f->state);
    sk_buf_release(&f->asked);
    free(f);
    return 0;
}

static struct agent_desired *want(struct fixture *f, const char *id)
{
    struct agent_desired *d = &f->desired[f->ndesired++];
    *d = (struct agent_desired){.want_run = true,
                                .restart = RESTART_ALWAYS,
                                .interval_ms = 1000,
                                .timeout_ms = 1000,
                                .retries = 3,
                                .stop_signal = 15,
                                .stop_grace_ms = 10000};
    (void)snprintf(d->id, sizeof(d->id), "%s", id);
    (void)snprintf(d->hash, sizeof(d->hash), "h1");
    return d;
}

static const char *step(struct fixture *f, struct agent_event e)
{
    static const char *const names[] = {"prepare", "start", "lease", "ask",
                                        "stop",    "check", "clean", "remove"};
    struct agent_commands out = {0};

    e.now_ms = f->now;
    agent_step(&f->state, &e, &out);
    sk_buf_clear(&f->asked);
    sk_buf_adds(&f->asked, "");
    for (size_t i = 0; i < out.count; i++) {
        sk_buf_printf(&f->asked, "%s%s %s %d", i ? ", " : "", names[out.items[i].kind],
                      out.items[i].id, (int)out.items[i].run);
    }
    free(out.items);
    return f->asked.len ? f->asked.ptr : "";
}

static const char *assign(struct fixture *f)
{
    return step(f, (struct agent_event){
                       .kind = AGENT_ASSIGN, .desired = f->desired, .ndesired = f->ndesired});
}

static const char *tick(struct fixture *f, int64_t later_ms)
{
    f->now += later_ms;
    return step(f, (struct agent_event){.kind = AGENT_TICK});
}

static const char *started(struct fixture *f, const char *id, int64_t run, bool ok)
{
    return step(f, (struct agent_event){
                       .kind = AGENT_STARTED, .id = id, .run = run, .ok = ok, .reason = "no"});
}

static const char *exited(struct fixture *f, const char *id, int64_t run, int status)
{
    return step(
        f, (struct agent_event){
               .kind = AGENT_EXITED, .id = id, .run = run, .exit = status, .reason = "exited"});
}

static const char *cleaned(struct fixture *f, const char *id)
{
    return step(f, (struct agent_event){.kind = AGENT_CLEANED, .id = id});
}

static const char *checked(struct fixture *f, const char *id, int64_t run, bool ok)
{
    return step(f, (struct agent_event){
                       .kind = AGENT_CHECKED, .id = id, .run = run, .ok = ok, .reason = "refused"});
}

static const struct agent_instance *instance(struct fixture *f, const char *id)
{
    const struct agent_instance *it = agent_state_find(&f->state, id);
    assert_non_null(it);
    return it;
}

static const char *shown(struct fixture *f, const char *id)
{
    return agent_instance_state(instance(f, id));
}

static void test_life(void **state)
{
    struct fixture *f = *state;

    want(f, "a")->needs_image = true;
    assert_string_equal(assign(f), "prepare a 0");
    assert_string_equal(shown(f, "a"), "pulling");
    assert_string_equal(
        step(f, (struct agent_event){.kind = AGENT_PREPARED, .id = "a", .ok = true}), "start a 1");
    assert_string_equal(shown(f, "a"), "starting");
    assert_string_equal(started(f, "a", 1, true), "");
    assert_string_equal(shown(f, "a"), "running");
    assert_int_equal(instance(f, "a")->healthy, -1);
    assert_int_equal(agent_step_deadline_ms(&f->state), f->now + AGENT_RUNNING_IS_HEALTHY_MS);
    (void)tick(f, AGENT_RUNNING_IS_HEALTHY_MS);
    assert_int_equal(instance(f, "a")->healthy, 1);
    f->desired[0].want_run = false;
    assert_string_equal(assign(f), "stop a 1");
    assert_string_equal(shown(f, "a"), "stopping");
    assert_string_equal(exited(f, "a", 1, 0), "clean a 1");
    assert_string_equal(cleaned(f, "a"), "");
    assert_string_equal(shown(f, "a"), "exited");
    f->desired[0].want_run = true;
    f->desired[0].needs_image = false;
    assert_string_equal(assign(f), "start a 2");
}

static void test_nothing_before_an_assignment(void **state)
{
    struct fixture *f = *state;
    struct agent_event found = {
        .kind = AGENT_FOUND, .id = "a", .hash = "h1", .run = 3, .alive = true, .healthy = true};

    assert_string_equal(step(f, found), "");
    assert_string_equal(tick(f, 60000), "");
    assert_int_equal(instance(f, "a")->healthy, 1);
    (void)want(f, "a");
    assert_string_equal(assign(f), "");
    assert_string_equal(shown(f, "a"), "running");
}

static void test_found_with_another_hash_is_replaced(void **state)
{
    struct fixture *f = *state;

    (void)step(f, (struct agent_event){
                      .kind = AGENT_FOUND, .id = "a", .hash = "old", .run = 1, .alive = true});
    (void)want(f, "a");
    assert_string_equal(assign(f), "stop a 1");
    assert_string_equal(exited(f, "a", 1, 0), "clean a 1");
    assert_string_equal(cleaned(f, "a"), "start a 2");
}

static void test_found_ended_follows_the_policy(void **state)
{
    struct fixture *f = *state;
    struct agent_event found = {.kind = AGENT_FOUND, .id = "a", .hash = "h1", .run = 1, .exit = 7};

    assert_string_equal(step(f, found), "clean a 1");
    want(f, "a")->restart = RESTART_NO;
    assert_string_equal(assign(f), "");
    assert_string_equal(cleaned(f, "a"), "");
    assert_string_equal(shown(f, "a"), "failed");
    assert_int_equal(instance(f, "a")->exit, 7);
}

static void test_backoff(void **state)
{
    struct fixture *f = *state;
    int64_t expect = AGENT_BACKOFF_MIN_MS;

    (void)want(f, "a");
    (void)assign(f);
    for (int64_t run = 1; run <= 12; run++) {
        (void)started(f, "a", run, true);
        (void)exited(f, "a", run, 1);
        assert_string_equal(cleaned(f, "a"), "");
        assert_string_equal(shown(f, "a"), "failed");
        assert_int_equal(agent_step_deadline_ms(&f->state), f->now + expect);
        assert_string_equal(tick(f, expect - 1), "");
        assert_memory_equal(tick(f, 1), "start a", 7);
        expect = expect * 2 < AGENT_BACKOFF_MAX_MS ? expect * 2 : AGENT_BACKOFF_MAX_MS;
    }
    (void)started(f, "a", 13, true);
    (void)tick(f, AGENT_RUNNING_IS_HEALTHY_MS);
    (void)tick(f, AGENT_BACKOFF_RESET_MS);
    (void)exited(f, "a", 13, 1);
    (void)cleaned(f, "a");
    assert_int_equal(agent_step_deadline_ms(&f->state), f->now + AGENT_BACKOFF_MIN_MS);
}

static void test_failed_start_backs_off(void **state)
{
    struct fixture *f = *state;

    (void)want(f, "a");
    assert_string_equal(assign(f), "start a 1");
    assert_string_equal(started(f, "a", 1, false), "clean a 1");
    assert_string_equal(cleaned(f, "a"), "");
    assert_string_equal(shown(f, "a"), "failed");
    assert_string_equal(instance(f, "a")->reason, "no");
    assert_string_equal(tick(f, AGENT_BACKOFF_MIN_MS), "start a 2");
}

static void test_on_failure_counts(void **state)
{
    struct fixture *f = *state;
    struct agent_desired *d = want(f, "a");

    d->restart = RESTART_ON_FAILURE;
    d->restart_max = 1;
    (void)assign(f);
    (void)started(f, "a", 1, true);
    (void)exited(f, "a", 1, 1);
    (void)cleaned(f, "a");
    assert_string_equal(tick(f, AGENT_BACKOFF_MIN_MS), "start a 2");
    (void)started(f, "a", 2, true);
    (void)exited(f, "a", 2, 1);
    (void)cleaned(f, "a");
    assert_string_equal(tick(f, AGENT_BACKOFF_MAX_MS), "");
    assert_string_equal(shown(f, "a"), "failed");
}

static void test_on_failure_is_content_with_zero(void **state)
{
    struct fixture *f = *state;

    want(f, "a")->restart = RESTART_ON_FAILURE;
    (void)assign(f);
    (void)started(f, "a", 1, true);
    (void)exited(f, "a", 1, 0);
    (void)cleaned(f, "a");
    assert_string_equal(tick(f, AGENT_BACKOFF_MAX_MS), "");
    assert_string_equal(shown(f, "a"), "exited");
}

static void test_checks(void **state)
{
    struct fixture *f = *state;

    want(f, "a")->check = AGENT_CHECK_PORT;
    (void)assign(f);
    assert_string_equal(started(f, "a", 1, true), "check a 1"); /* at once */
    assert_string_equal(tick(f, 5000), "");                     /* one at a time */
    assert_string_equal(checked(f, "a", 1, false), "");
    assert_int_equal(agent_step_deadline_ms(&f->state), f->now + AGENT_CHECK_SLOW_MS);
    assert_string_equal(tick(f, AGENT_CHECK_SLOW_MS), "check a 1");
    assert_string_equal(checked(f, "a", 0, true), ""); /* of another run: nobody's business */
    assert_int_equal(instance(f, "a")->healthy, -1);
    assert_string_equal(checked(f, "a", 1, true), "");
    assert_int_equal(instance(f, "a")->healthy, 1);
    assert_int_equal(agent_step_deadline_ms(&f->state), f->now + 1000);
}

static void test_unhealthy_then_restarted(void **state)
{
    struct fixture *f = *state;
    int64_t begin;

    want(f, "a")->check = AGENT_CHECK_EXEC;
    (void)assign(f);
    (void)started(f, "a", 1, true);
    (void)checked(f, "a", 1, true);
    begin = f->now + 1000;
    for (int i = 0; i < 3; i++) {
        assert_int_equal(instance(f, "a")->healthy, 1);
        assert_string_equal(tick(f, 1000), "check a 1");
        (void)checked(f, "a", 1, false);
    }
    assert_int_equal(instance(f, "a")->healthy, 0);
    assert_string_equal(instance(f, "a")->reason, "its check fails: refused");
    while (f->now < begin + AGENT_UNHEALTHY_MS - 1000) {
        assert_string_equal(tick(f, 1000), "check a 1");
        (void)checked(f, "a", 1, false);
    }
    assert_string_equal(tick(f, 1000), "stop a 1");
    (void)exited(f, "a", 1, 0);
    (void)cleaned(f, "a");
    assert_string_equal(shown(f, "a"), "failed");
    assert_string_equal(instance(f, "a")->reason, "its check fails: refused");
    assert_string_equal(tick(f, AGENT_BACKOFF_MIN_MS), "start a 2");
}

static void test_gone_is_kept_then_removed(void **state)
{
    struct fixture *f = *state;

    (void)want(f, "a");
    (void)want(f, "b");
    (void)assign(f);
    (void)started(f, "a", 1, true);
    (void)started(f, "b", 1, true);
    f->ndesired = 1;
    assert_string_equal(assign(f), "stop b 1");
    (void)exited(f, "b", 1, 0);
    (void)cleaned(f, "b");
    assert_true(agent_instance_shown(instance(f, "b"), f->now));
    assert_string_equal(tick(f, AGENT_GONE_SHOWN_MS), "");
    (void)tick(f, AGENT_GONE_SHOWN_MS);
    assert_false(agent_instance_shown(instance(f, "b"), f->now));
    assert_string_equal(tick(f, AGENT_GONE_KEPT_MS), "remove b 1");
    assert_null(agent_state_find(&f->state, "b"));
}

static void test_stop_of_the_unknown(void **state)
{
    struct fixture *f = *state;

    want(f, "a")->want_run = false;
    assert_string_equal(assign(f), "");
    assert_string_equal(shown(f, "a"), "exited");
}

static void test_late_events_are_ignored(void **state)
{
    struct fixture *f = *state;

    (void)want(f, "a");
    (void)assign(f);
    (void)started(f, "a", 1, true);
    assert_string_equal(exited(f, "a", 9, 1), "");
    assert_string_equal(started(f, "a", 1, true), "");
    assert_string_equal(cleaned(f, "a"), "");
    assert_string_equal(exited(f, "zz", 1, 1), "");
    assert_string_equal(shown(f, "a"), "running");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        T(test_life),
        T(test_nothing_before_an_assignment),
        T(test_found_with_another_hash_is_replaced),
        T(test_found_ended_follows_the_policy),
        T(test_backoff),
        T(test_failed_start_backs_off),
        T(test_on_failure_counts),
        T(test_on_failure_is_content_with_zero),
        T(test_checks),
        T(test_unhealthy_then_restarted),
        T(test_gone_is_kept_then_removed),
        T(test_stop_of_the_unknown),
        T(test_late_events_are_ignored),
#undef T
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
