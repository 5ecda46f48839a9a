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
#include "model/lease.h"

/* Exclusive work on one node: what is asked when, and what an answer allows. */

struct fixture {
    struct agent_state state;
    struct agent_desired desired;
    int64_t now;
    struct sk_buf said; /* the commands of the last step */
    int64_t until_ms;   /* of its last start or lease command */
};

static int setup(void **state)
{
    struct fixture *f = sk_xcalloc(1, sizeof(*f));
    f->now = 100000;
    f->desired = (struct agent_desired){.id = "aaaaaaaa",
                                        .hash = "h1",
                                        .want_run = true,
                                        .exclusive = true,
                                        .interval_ms = 1000,
                                        .timeout_ms = 1000,
                                        .retries = 3,
                                        .stop_signal = 15,
                                        .stop_grace_ms = 10000};
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    agent_state_release(&f->state);
    sk_buf_release(&f->said);
    free(f);
    return 0;
}

static const char *step(struct fixture *f, struct agent_event e)
{
    static const char *const kinds[] = {"prepare", "start", "lease", "ask",
                                        "stop",    "check", "clean", "remove"};
    static const char *const asks[] = {"-", "renew", "grant", "release"};
    struct agent_commands out = {0};

    e.now_ms = f->now;
    agent_step(&f->state, &e, &out);
    sk_buf_clear(&f->said);
    for (size_t i = 0; i < out.count; i++) {
        const struct agent_command *c = &out.items[i];
        sk_buf_adds(&f->said, i ? " " : "");
        sk_buf_adds(&f->said, kinds[c->kind]);
        if (c->kind == AGENT_ASK) {
            sk_buf_printf(&f->said, ":%s%lld", asks[c->ask], (long long)c->epoch);
        } else if (c->kind == AGENT_START) {
            sk_buf_printf(&f->said, "%lld", (long long)c->epoch);
        }
        if (c->kind == AGENT_START || c->kind == AGENT_LEASE) {
            f->until_ms = c->until_ms;
        }
    }
    free(out.items);
    return f->said.ptr ? f->said.ptr : "";
}

static const char *assign(struct fixture *f)
{
    return step(f,
                (struct agent_event){.kind = AGENT_ASSIGN, .desired = &f->desired, .ndesired = 1});
}

static const char *about(struct fixture *f, struct agent_event e)
{
    e.id = f->desired.id;
    return step(f, e);
}

static const char *leased(struct fixture *f, int64_t seq, int64_t epoch, bool held)
{
    return about(
        f, (struct agent_event){.kind = AGENT_LEASED, .seq = seq, .epoch = epoch, .ok = held});
}

static const char *tick(struct fixture *f, int64_t ms)
{
    f->now += ms;
    return step(f, (struct agent_event){.kind = AGENT_TICK});
}

/* Assigned, granted epoch 1 by the first ask, started. */
static void run_it(struct fixture *f)
{
    assert_string_equal(assign(f), "ask:grant0");
    assert_string_equal(leased(f, f->state.ask_seq, 1, true), "start1");
    (void)about(f, (struct agent_event){.kind = AGENT_STARTED, .run = 1, .ok = true});
}

static const char *ends(struct fixture *f, int64_t run, bool lease_over)
{
    (void)about(
        f,
        (struct agent_event){
            .kind = AGENT_EXITED, .run = run, .exit = -1, .signal = 9, .lease_over = lease_over});
    return about(f, (struct agent_event){.kind = AGENT_CLEANED});
}

static void counts_from_its_send_time(void **state)
{
    struct fixture *f = *state;
    int64_t sent = f->now;

    assert_string_equal(assign(f), "ask:grant0");
    f->now += 400; /* the answer takes its time */
    assert_string_equal(leased(f, 1, 1, true), "start1");
    assert_true(f->until_ms == lease_holder_until_ms(sent));
    (void)about(f, (struct agent_event){.kind = AGENT_STARTED, .run = 1, .ok = true});
    assert_string_equal(tick(f, 350), "ask:renew1"); /* 750 ms after the answered one */
    sent = f->now;
    f->now += 100;
    assert_string_equal(leased(f, 2, 1, true), "lease");
    assert_true(f->until_ms == lease_holder_until_ms(sent));
}

static void asks_more_often_while_unanswered(void **state)
{
    struct fixture *f = *state;

    run_it(f);
    assert_string_equal(tick(f, LEASE_RENEW_MS - 1), "");
    assert_string_equal(tick(f, 1), "ask:renew1");
    assert_string_equal(tick(f, LEASE_RETRY_MS), "ask:renew1");
    assert_true(agent_step_deadline_ms(&f->state) <= f->now + LEASE_RETRY_MS);
}

static void old_answers_count_for_nothing(void **state)
{
    struct fixture *f = *state;

    run_it(f);
    assert_string_equal(leased(f, 1, 1, true), ""); /* the same again: no time is won */
    assert_string_equal(ends(f, 1, false), "");     /* back-off */
    assert_string_equal(tick(f, AGENT_BACKOFF_MIN_MS), "ask:grant1");
    assert_string_equal(leased(f, 1, 1, true), "");  /* that run is over */
    assert_string_equal(leased(f, 77, 2, true), ""); /* never asked */
    assert_string_equal(leased(f, 2, 2, true), "start2");
    assert_string_equal(leased(f, 2, 2, true), "");
}

static void late_grant_is_not_started(void **state)
{
    struct fixture *f = *state;

    assert_string_equal(assign(f), "ask:grant0");
    f->now += 2700;
    assert_string_equal(leased(f, 1, 1, true), "ask:grant1"); /* nothing ran under it */
    assert_string_equal(leased(f, 2, 2, true), "start2");
}

static void its_end_by_the_lease_is_no_failure(void **state)
{
    struct fixture *f = *state;

    f->desired.restart = RESTART_NO;
    run_it(f);
    assert_string_equal(ends(f, 1, true), "ask:grant1");
    assert_int_equal(f->state.items[0]->streak, 0);
    assert_string_equal(agent_instance_state(f->state.items[0]), "starting");
}

static void given_back_when_stopped(void **state)
{
    struct fixture *f = *state;

    run_it(f);
    f->desired.want_run = false;
    assert_string_equal(assign(f), "stop");
    assert_string_equal(tick(f, LEASE_RENEW_MS), "ask:renew1"); /* it still runs */
    assert_string_equal(ends(f, 1, false), "ask:release1");
    assert_string_equal(tick(f, LEASE_RETRY_MS), "ask:release1");
    assert_string_equal(leased(f, f->state.ask_seq, 1, false), "");
    assert_string_equal(tick(f, 5000), "");
    assert_true(agent_step_deadline_ms(&f->state) > f->now + 5000);
}

static void unwanted_grant_is_given_back(void **state)
{
    struct fixture *f = *state;

    assert_string_equal(assign(f), "ask:grant0");
    f->desired.want_run = false;
    assert_string_equal(assign(f), "");
    assert_string_equal(leased(f, 1, 1, true), "ask:release1");
}

static void adopted_work_is_renewed(void **state)
{
    struct fixture *f = *state;

    assert_string_equal(about(f, (struct agent_event){.kind = AGENT_FOUND,
                                                      .hash = "h1",
                                                      .run = 4,
                                                      .alive = true,
                                                      .healthy = true,
                                                      .epoch = 9}),
                        "ask:renew9");
    assert_string_equal(step(f, (struct agent_event){.kind = AGENT_REACHED}), "ask:renew9");
    assert_string_equal(leased(f, 2, 9, true), "lease");
    assert_string_equal(ends(f, 4, true), "ask:release9"); /* not assigned yet */
    assert_string_equal(assign(f), "ask:grant9");
    assert_string_equal(leased(f, f->state.ask_seq, 9, true), "");
    assert_string_equal(leased(f, f->state.ask_seq, 10, true), "start10");
}

/* The last agent was killed while it began a run: its shim is not heard, and may begin it yet.
 * Until the longest lease is over nothing says that the run is, and nothing else is begun. */
static void what_nobody_knows_of_fades_out(void **state)
{
    struct fixture *f = *state;
    struct agent_instance *it;

    assert_string_equal(
        about(f,
              (struct agent_event){.kind = AGENT_FOUND, .hash = "h1", .unsure = true, .exit = -1}),
        "clean");
    assert_string_equal(assign(f), "");
    it = agent_state_find(&f->state, f->desired.id);
    assert_string_equal(agent_instance_state(it), "stopping");
    assert_string_equal(about(f, (struct agent_event){.kind = AGENT_CLEANED}), "");
    assert_int_equal(agent_step_deadline_ms(&f->state), f->now + LEASE_MS);
    f->desired.want_run = false; /* told to stop it: it is not over for that */
    assert_string_equal(assign(f), "");
    f->now += LEASE_MS - 1;
    assert_string_equal(step(f, (struct agent_event){.kind = AGENT_TICK}), "");
    assert_string_equal(agent_instance_state(it), "stopping");
    f->now++;
    assert_string_equal(step(f, (struct agent_event){.kind = AGENT_TICK}), "clean");
    assert_string_equal(agent_instance_state(it), "stopping");
    assert_string_equal(about(f, (struct agent_event){.kind = AGENT_CLEANED}), "");
    assert_string_equal(agent_instance_state(it), "exited");
    f->desired.want_run = true;
    assert_string_equal(assign(f), "ask:grant0");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(counts_from_its_send_time, setup, teardown),
        cmocka_unit_test_setup_teardown(what_nobody_knows_of_fades_out, setup, teardown),
        cmocka_unit_test_setup_teardown(asks_more_often_while_unanswered, setup, teardown),
        cmocka_unit_test_setup_teardown(old_answers_count_for_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(late_grant_is_not_started, setup, teardown),
        cmocka_unit_test_setup_teardown(its_end_by_the_lease_is_no_failure, setup, teardown),
        cmocka_unit_test_setup_teardown(given_back_when_stopped, setup, teardown),
        cmocka_unit_test_setup_teardown(unwanted_grant_is_given_back, setup, teardown),
        cmocka_unit_test_setup_teardown(adopted_work_is_renewed, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
