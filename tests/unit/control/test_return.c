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
#include "scenes.h"

/* What moves back after a return: shown first, held, let go, few at a time, and never a copy less.
 */

static struct fake *shop(void)
{
    struct fake *f = fake_new(3);
    fake_three_sites(f, 2);
    fake_must_apply(f, WEB_SAFE("web:1"));
    fake_run(f, 3000);
    assert_true(fake_converged(f));
    return f;
}

/* fra was away for a while: everything runs in ams and par. */
static struct fake *returned(void)
{
    struct fake *f = shop();
    fake_isolate(f, "fra", true);
    fake_run(f, 10000);
    fake_isolate(f, "fra", false);
    fake_run(f, 5000);
    assert_true(fake_event_seen(f, "site_returned"));
    assert_int_equal(fake_running(f, "shop/web.", ""), 6);
    assert_int_equal(fake_running(f, "shop/web.", "fra"), 0);
    return f;
}

static const char *state(struct fake *f)
{
    static char text[32];
    struct sk_str s = sk_map_str(fake_query(f, control_return_json), "state", SK_STR("?"));
    (void)snprintf(text, sizeof(text), "%.*s", SK_PRI(s));
    return text;
}

static int64_t number(struct fake *f, const char *key)
{
    return sk_map_int(fake_query(f, control_return_json), key, -99);
}

static size_t moves(struct fake *f, const char *in_state)
{
    const struct sk_node *list = sk_map_seq(fake_query(f, control_return_json), "moves");
    size_t count = 0;
    for (uint32_t i = 0; i < list->count; i++) {
        count += sk_str_is(sk_map_str(&list->u.items[i], "state", SK_STR("")), in_state);
    }
    return count;
}

static int ask(struct fake *f, bool hold, bool go, int64_t max_moves, int automatic,
               int64_t delay_ms)
{
    struct control_request r = {.kind = CONTROL_REQ_RETURN, .who = SK_STR("key:ann")};
    r.u.ret.hold = hold;
    r.u.ret.go = go;
    r.u.ret.max_moves = max_moves;
    r.u.ret.automatic = automatic;
    r.u.ret.delay_ms = delay_ms;
    return fake_wait(f, fake_request(f, &r))->code;
}

static int hold(struct fake *f)
{
    return ask(f, true, false, -1, -1, -1);
}

static int go(struct fake *f, int64_t max_moves)
{
    return ask(f, false, true, max_moves, -1, -1);
}

static void run_until(struct fake *f, const char *what, int64_t at_most)
{
    int64_t end = f->now_ms + at_most;
    while (strcmp(state(f), what) != 0) {
        if (f->now_ms >= end) {
            print_error("state is %s\n%s\n", state(f), f->trace.ptr);
        }
        assert_true(f->now_ms < end);
        fake_run(f, 10);
    }
}

static void is_shown_before_it_begins(void **unused)
{
    struct fake *f = returned();
    run_until(f, "waiting", 3000);
    assert_true(fake_event_seen(f, "return_planned"));
    assert_int_equal(moves(f, "waiting"), 2);
    const struct sk_node *m = &sk_map_seq(fake_query(f, control_return_json), "moves")->u.items[0];
    assert_true(sk_str_is(sk_map_str(m, "to_site", SK_STR("")), "fra"));
    assert_false(sk_str_is(sk_map_str(m, "from_site", SK_STR("")), "fra"));
    assert_true(sk_map_str(m, "why", SK_STR("")).len > 0);
    const struct sk_node *status = sk_map_get(fake_query(f, control_status_json), SK_STR("return"));
    assert_true(sk_map_int(status, "begins_in_ms", -1) > 0);
    assert_int_equal(sk_map_int(status, "left", -1), 2);
    assert_int_equal(fake_running(f, "shop/web.", "fra"), 0);
    run_until(f, "done", 20000);
    assert_int_equal(number(f, "done_moves"), 2);
    assert_int_equal(fake_running(f, "shop/web.", "fra"), 2);
    assert_null(fake_get(f, "/skerry/v1/overlay"));
    assert_true(sk_map_get(fake_query(f, control_status_json), SK_STR("return"))->kind == SK_NULL);
    fake_free(f);
}

static void a_hold_stays_over_restarts(void **unused)
{
    struct fake *f = returned();
    assert_int_equal(hold(f), 0);
    fake_run(f, 30000);
    assert_string_equal(state(f), "held");
    fake_restart_control(f);
    fake_run(f, 60000);
    assert_string_equal(state(f), "held");
    const struct sk_node *root = fake_query(f, control_return_json);
    assert_true(sk_str_is(sk_map_str(root, "held_by", SK_STR("")), "key:ann"));
    assert_true(sk_map_int(root, "held_wall_ms", 0) > 0);
    assert_int_equal(fake_running(f, "shop/web.", "fra"), 0);
    assert_int_equal(go(f, -1), 0);
    run_until(f, "done", 10000);
    assert_int_equal(fake_running(f, "shop/web.", "fra"), 2);
    assert_int_equal(fake_event_count(f, "return_begun"), 1);
    fake_free(f);
}

static void a_hold_in_advance(void **unused)
{
    struct fake *f = shop();
    assert_int_equal(hold(f), 0);
    assert_string_equal(state(f), "none");
    fake_isolate(f, "fra", true);
    fake_run(f, 10000);
    assert_string_equal(state(f), "lost");
    fake_isolate(f, "fra", false);
    fake_run(f, 40000);
    assert_string_equal(state(f), "held");
    assert_int_equal(fake_running(f, "shop/web.", "fra"), 0);
    assert_int_equal(go(f, -1), 0);
    run_until(f, "done", 10000);
    fake_free(f);
}

static void so_many_and_no_more(void **unused)
{
    struct fake *f = returned();
    assert_int_equal(ask(f, false, false, -1, 0, -1), 0);
    fake_run(f, 30000);
    assert_string_equal(state(f), "held");
    assert_int_equal(go(f, 1), 0);
    fake_run(f, 20000);
    assert_string_equal(state(f), "held");
    assert_int_equal(fake_running(f, "shop/web.", "fra"), 1);
    assert_int_equal(moves(f, "waiting"), 1); /* planned anew: what is left */
    assert_true(fake_converged(f));
    fake_restart_control(f);
    fake_run(f, 30000);
    assert_int_equal(fake_running(f, "shop/web.", "fra"), 1);
    assert_int_equal(go(f, 5), 0);
    run_until(f, "done", 20000);
    assert_int_equal(fake_running(f, "shop/web.", "fra"), 2);
    fake_free(f);
}

static void over_the_budget_waits(void **unused)
{
    struct fake *f = shop();
    f->return_moves = 1;
    fake_restart_control(f);
    fake_run(f, 10000);
    fake_isolate(f, "fra", true);
    fake_run(f, 10000);
    fake_isolate(f, "fra", false);
    fake_run(f, 40000);
    assert_string_equal(state(f), "held");
    assert_true(fake_event_seen(f, "return_budget"));
    assert_int_equal(fake_running(f, "shop/web.", "fra"), 0);
    assert_int_equal(go(f, -1), 0);
    run_until(f, "done", 10000);
    assert_int_equal(fake_running(f, "shop/web.", "fra"), 2);
    fake_free(f);
}

static void a_flapping_site_is_not_refilled(void **unused)
{
    struct fake *f = shop();
    for (int i = 0; i < 5; i++) {
        fake_isolate(f, "fra", true);
        fake_run(f, 5000);
        fake_isolate(f, "fra", false);
        fake_run(f, 8000);
    }
    assert_int_equal(fake_event_count(f, "return_begun"), 0);
    assert_int_equal(fake_running(f, "shop/web.", "fra"), 0);
    run_until(f, "done", 20000);
    assert_int_equal(fake_running(f, "shop/web.", "fra"), 2);
    fake_free(f);
}

static void the_delay_is_a_setting(void **unused)
{
    struct fake *f = shop();
    assert_int_equal(ask(f, false, false, -1, 1, 120000), 0);
    fake_isolate(f, "fra", true);
    fake_run(f, 10000);
    fake_isolate(f, "fra", false);
    fake_run(f, 60000);
    assert_string_equal(state(f), "waiting");
    fake_restart_control(f); /* counts anew: what is whole must be seen to be */
    fake_run(f, 60000);
    assert_string_equal(state(f), "waiting");
    run_until(f, "done", 90000);
    fake_free(f);
}

#define MANY        \
    PROJECT("shop", \
            SERVICE("web", "web:1", "12", SURVIVE) "," SERVICE("api", "api:1", "12", SURVIVE2))
#define SURVIVE2 ",\"x-skerry\":{\"survive\":{\"sites\":1,\"keep\":8}}"

static struct fake *many(void)
{
    struct fake *f = fake_new(3);
    fake_three_sites(f, 3);
    fake_must_apply(f, MANY);
    fake_run(f, 8000);
    assert_true(fake_converged(f));
    fake_isolate(f, "fra", true);
    fake_run(f, 10000);
    fake_isolate(f, "fra", false);
    fake_run(f, 7500);
    run_until(f, "waiting", 3000);
    return f;
}

static size_t running(struct fake *f)
{
    return fake_running(f, "shop/web.", "") + fake_running(f, "shop/api.", "");
}

static void few_at_a_time_and_never_one_less(void **unused)
{
    struct fake *f = many();
    size_t all = moves(f, "waiting");
    size_t most = 0;
    assert_true(all >= 8);
    while (strcmp(state(f), "done") != 0) {
        fake_run(f, 20);
        size_t moving = moves(f, "moving");
        most = moving > most ? moving : most;
        assert_true(running(f) >= 24);
        assert_true(moving <= 4);
    }
    assert_true(most >= 2);
    assert_true(fake_converged(f));
    assert_string_equal(f->broken, "");
    fake_free(f);
}

static void a_hold_under_way_ends_at_a_whole_move(void **unused)
{
    struct fake *f = many();
    size_t all = moves(f, "waiting");
    run_until(f, "under_way", 20000);
    fake_run(f, 1000);
    assert_int_equal(hold(f), 0);
    fake_run(f, 10000);
    assert_string_equal(state(f), "held");
    assert_int_equal(moves(f, "moving"), 0);
    assert_true(moves(f, "waiting") > 0);
    assert_int_equal(moves(f, "waiting") + moves(f, "done"), all);
    assert_int_equal(running(f), 24);
    size_t left = moves(f, "waiting");
    fake_restart_control(f);
    fake_run(f, 30000);
    assert_int_equal(moves(f, "waiting"), left);
    assert_int_equal(go(f, -1), 0);
    run_until(f, "done", 60000);
    fake_free(f);
}

static void control_restarts_under_way(void **unused)
{
    struct fake *f = many();
    run_until(f, "under_way", 20000);
    for (int i = 0; i < 3; i++) {
        fake_run(f, 700);
        fake_restart_control(f);
        fake_run(f, 300);
        assert_int_equal(running(f) >= 24, 1);
    }
    run_until(f, "done", 60000);
    assert_int_equal(fake_event_count(f, "return_begun"), 1);
    assert_int_equal(running(f), 24);
    assert_string_equal(f->broken, "");
    fake_free(f);
}

static void a_loss_under_way_ends_it(void **unused)
{
    struct fake *f = many();
    run_until(f, "under_way", 20000);
    fake_run(f, 500);
    fake_kill(f, "ams-1");
    fake_run(f, 5000);
    assert_string_equal(state(f), "lost");
    assert_int_equal(running(f), 24);
    fake_start(f, "ams-1");
    run_until(f, "done", 60000);
    fake_run(f, 5000);
    assert_true(fake_converged(f));
    assert_int_equal(running(f), 24);
    fake_free(f);
}

/* In its old place it works, in the new one it does not: it goes back, and a person is asked. */
static void what_does_not_get_healthy_goes_back(void **unused)
{
    struct fake *f = returned();
    (void)snprintf(f->bad_image, sizeof(f->bad_image), "web:1");
    run_until(f, "under_way", 20000);
    fake_run(f, 100000);
    assert_string_equal(state(f), "held");
    assert_int_equal(fake_event_count(f, "return_stopped"), 1);
    assert_int_equal(fake_running(f, "shop/web.", "fra"), 0);
    assert_int_equal(fake_running(f, "shop/web.", ""), 6);
    assert_true(fake_converged(f));
    f->bad_image[0] = '\0';
    assert_int_equal(go(f, -1), 0);
    run_until(f, "done", 20000);
    assert_int_equal(fake_running(f, "shop/web.", "fra"), 2);
    fake_free(f);
}

static void an_apply_ends_it(void **unused)
{
    struct fake *f = many();
    run_until(f, "under_way", 20000);
    fake_must_apply(f, WEB_SAFE("web:2"));
    fake_run(f, 60000);
    assert_string_equal(state(f), "none");
    assert_null(fake_get(f, "/skerry/v1/overlay"));
    assert_true(fake_converged(f));
    fake_free(f);
}

static void nothing_to_move_is_not_asked_about(void **unused)
{
    struct fake *f = fake_new(3);
    fake_three_sites(f, 2);
    fake_must_apply(f, PROJECT("shop", SERVICE("web", "web:1", "1", "")));
    fake_run(f, 3000);
    const char *site = fake_running(f, "shop/web.", "fra") ? "fra" : "ams";
    assert_int_equal(hold(f), 0); /* it holds moves, and there are none */
    fake_isolate(f, site, true);
    fake_run(f, 10000);
    fake_isolate(f, site, false);
    fake_run(f, 30000);
    assert_int_equal(fake_running(f, "shop/web.", site), 0);
    assert_int_equal(fake_running(f, "shop/web.", ""), 1);
    assert_null(fake_get(f, "/skerry/v1/overlay"));
    assert_false(fake_event_seen(f, "return_begun"));
    fake_free(f);
}

/* Its policy wants it in fra, in a loss it may be anywhere. */
#define NEAR                                                                                       \
    "{\"name\":\"jobs\",\"services\":{" SERVICE("worker", "w:1", "1",                              \
                                                ",\"x-skerry\":{\"exclusive\":true,\"survive\":{"  \
                                                "\"sites\":1},\"latency\":{\"ms\":10}}") "},\"x-"  \
                                                                                         "skerry"  \
                                                                                         "\":{"    \
                                                                                         "\"users" \
                                                                                         "\":{"    \
                                                                                         "\"de\":" \
                                                                                         "{\"shar" \
                                                                                         "e\":1,"  \
                                                                                         "\"rtt_"  \
                                                                                         "ms\":{"  \
                                                                                         "\"fra\"" \
                                                                                         ":1,"     \
                                                                                         "\"ams\"" \
                                                                                         ":50,"    \
                                                                                         "\"par\"" \
                                                                                         ":50,"    \
                                                                                         "\"hub\"" \
                                                                                         ":50}"    \
                                                                                         "}}}}"

static void exclusive_work_goes_back_by_its_lease(void **unused)
{
    struct fake *f = fake_new(3);
    const char *node = "";
    fake_three_sites(f, 2);
    fake_must_apply(f, NEAR);
    fake_run(f, 5000);
    assert_non_null(fake_exclusive(f, "jobs/worker.0", &node));
    assert_memory_equal(node, "fra", 3);
    fake_isolate(f, "fra", true);
    fake_run(f, 15000);
    assert_non_null(fake_exclusive(f, "jobs/worker.0", &node));
    assert_memory_not_equal(node, "fra", 3);
    fake_isolate(f, "fra", false);
    run_until(f, "done", 40000);
    fake_run(f, 5000);
    assert_non_null(fake_exclusive(f, "jobs/worker.0", &node));
    assert_memory_equal(node, "fra", 3);
    assert_true(fake_converged(f));
    assert_string_equal(f->broken, "");
    fake_free(f);
}

static void put_record(struct fake *f, const char *key, const char *value)
{
    size_t at = 0;
    while (at < f->nrecords && strcmp(f->records[at].key, key) < 0) {
        at++;
    }
    SK_GROW(f->records, f->nrecords, f->caprecords);
    memmove(f->records + at + 1, f->records + at, (f->nrecords - at) * sizeof(*f->records));
    f->records[at] = (struct fake_record){sk_xstrdup(key), sk_xstrdup(value), ++f->revision};
    f->nrecords++;
}

/* What took a site away by other means than a loss asks for its return by a member of the record.
 */
static void a_return_that_was_asked_for(void **unused)
{
    struct fake *f = shop();
    put_record(f, "/skerry/v1/return", "{\"v\":1,\"asked\":true,\"later\":{\"a\":1}}");
    fake_restart_control(f);
    fake_run(f, 500);
    assert_string_equal(state(f), "planning");
    fake_run(f, 30000);
    assert_true(fake_event_seen(f, "return_done")); /* no policy needed a move */
    assert_int_equal(fake_running(f, "shop/web.", ""), 6);
    assert_string_equal(state(f), "none");
    assert_string_equal(fake_get(f, "/skerry/v1/return"), "{\"later\":{\"a\":1},\"v\":1}");
    fake_free(f);
}

static void what_makes_no_sense_is_refused(void **unused)
{
    struct fake *f = shop();
    assert_int_equal(ask(f, true, true, -1, -1, -1), SK_ERR_INPUT);
    assert_int_equal(ask(f, false, false, -1, -1, -1), SK_ERR_INPUT);
    assert_int_equal(ask(f, true, false, 3, -1, -1), SK_ERR_INPUT);
    assert_int_equal(ask(f, false, true, 0, -1, -1), SK_ERR_INPUT);
    assert_int_equal(ask(f, false, false, -1, -1, CONTROL_RETURN_DELAY_MAX_MS + 1), SK_ERR_INPUT);
    assert_int_equal(go(f, -1), 0); /* nothing to do is no error */
    assert_string_equal(state(f), "none");
    fake_free(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(is_shown_before_it_begins),
        cmocka_unit_test(a_hold_stays_over_restarts),
        cmocka_unit_test(a_hold_in_advance),
        cmocka_unit_test(so_many_and_no_more),
        cmocka_unit_test(over_the_budget_waits),
        cmocka_unit_test(a_flapping_site_is_not_refilled),
        cmocka_unit_test(the_delay_is_a_setting),
        cmocka_unit_test(few_at_a_time_and_never_one_less),
        cmocka_unit_test(a_hold_under_way_ends_at_a_whole_move),
        cmocka_unit_test(control_restarts_under_way),
        cmocka_unit_test(a_loss_under_way_ends_it),
        cmocka_unit_test(what_does_not_get_healthy_goes_back),
        cmocka_unit_test(an_apply_ends_it),
        cmocka_unit_test(nothing_to_move_is_not_asked_about),
        cmocka_unit_test(exclusive_work_goes_back_by_its_lease),
        cmocka_unit_test(a_return_that_was_asked_for),
        cmocka_unit_test(what_makes_no_sense_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
