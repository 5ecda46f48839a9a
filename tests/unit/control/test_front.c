/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "fake.h"
#include "scenes.h"

/* Where a site's ingress is, and what users of a site that was cut off get when it is back. */

static struct fake *shop(void)
{
    struct fake *f = fake_new(3);
    fake_three_sites(f, 2);
    fake_must_apply(f, WEB_SAFE("web:1"));
    fake_run(f, 3000);
    assert_true(fake_converged(f));
    assert_int_equal(fake_running(f, "shop/web.", "fra"), 2);
    return f;
}

static const char *ingress_of(struct fake *f, const char *site)
{
    static char name[32];
    const char *at = strstr(fake_view(f, site), "\"node\":");
    name[0] = '\0';
    assert_non_null(at);
    if (at[7] == '"') {
        (void)snprintf(name, sizeof(name), "%.*s", (int)strcspn(at + 8, "\""), at + 8);
    }
    return name;
}

static int64_t view_rev(struct fake *f, const char *site)
{
    const char *at = strstr(fake_view(f, site), "\"rev\":");
    assert_non_null(at);
    return strtoll(at + 6, NULL, 10);
}

static void cut_and_heal(struct fake *f)
{
    fake_isolate(f, "fra", true);
    fake_run(f, 20000);
    assert_int_equal(fake_running(f, "shop/web.", "fra"), 2);
    assert_int_equal(fake_running(f, "shop/web.", ""), 8);
    fake_isolate(f, "fra", false);
}

/* HAProxy needs seconds to reload on a crowded machine: until it serves the view that leads
 * elsewhere, what it leads to stays. */
static void the_old_copies_stay_until_users_are_led_away(void **state)
{
    static const int64_t takes_ms[] = {100, 250, 3000};
    for (size_t k = 0; k < 3; k++) {
        struct fake *f = shop();
        struct fake_agent *a = fake_agent(f, "fra-1");
        a->front_takes_ms = takes_ms[k];
        cut_and_heal(f);
        int64_t end = f->now_ms + 9000;
        int64_t served_ms = -1; /* since when it serves a view without copies of its own */
        while (fake_running(f, "shop/web.", "fra") == 2 && f->now_ms < end) {
            bool elsewhere = strstr(fake_view(f, "fra"), "\"local\":[]") != NULL &&
                             a->front_view == view_rev(f, "fra");
            served_ms = elsewhere ? (served_ms < 0 ? f->now_ms : served_ms) : -1;
            assert_true(a->view[0] == '{'); /* nobody told it to end meanwhile */
            fake_run(f, 10);
        }
        assert_true(f->now_ms < end); /* in the end they go */
        assert_true(served_ms >= 0);
        assert_true(f->now_ms - served_ms >= 300);
        fake_run(f, 20000);
        assert_true(fake_event_seen(f, "return_done"));
        assert_true(fake_converged(f));
        fake_free(f);
    }
}

static void an_ingress_that_never_tells_holds_nothing_up(void **state)
{
    struct fake *f = shop();
    struct control_request keep = {.kind = CONTROL_REQ_RETURN, .who = SK_STR("key:ann")};
    keep.u.ret.hold = true; /* else work comes back meanwhile */
    keep.u.ret.max_moves = keep.u.ret.automatic = keep.u.ret.delay_ms = -1;
    fake_agent(f, "fra-1")->front_takes_ms = 1000000;
    cut_and_heal(f);
    assert_int_equal(fake_wait(f, fake_request(f, &keep))->code, 0);
    fake_run(f, 9000);
    assert_int_equal(fake_running(f, "shop/web.", "fra"), 2);
    fake_run(f, 4000);
    assert_int_equal(fake_running(f, "shop/web.", "fra"), 0);
    assert_int_equal(fake_running(f, "shop/web.", ""), 6);
    fake_free(f);
}

static void a_site_without_an_ingress_holds_nothing_up(void **state)
{
    struct fake *f = shop();
    fake_agent(f, "fra-1")->no_front = fake_agent(f, "fra-2")->no_front = true;
    fake_run(f, 1000);
    cut_and_heal(f);
    fake_run(f, 3000);
    assert_int_equal(fake_running(f, "shop/web.", "fra"), 0);
    fake_free(f);
}

/* A site comes back node by node: the first that is heard does not take the ingress from the one
 * that goes on serving. */
static void a_site_that_comes_back_keeps_its_ingress(void **state)
{
    struct fake *f = shop();
    assert_string_equal(ingress_of(f, "fra"), "fra-1");
    fake_isolate(f, "fra", true);
    fake_run(f, 10000);
    assert_true(fake_agent(f, "fra-1")->view[0] == '{');
    fake_isolate(f, "fra", false);
    f->control_cut[fake_agent(f, "fra-1") - f->agents] = true;
    for (int i = 0; i < 190; i++) {
        fake_run(f, 10);
        assert_string_equal(ingress_of(f, "fra"), "fra-1");
        assert_int_equal(fake_running(f, "shop/web.", "fra"), 2); /* users are led to them still */
    }
    f->control_cut[fake_agent(f, "fra-1") - f->agents] = false;
    fake_run(f, 2000);
    assert_string_equal(ingress_of(f, "fra"), "fra-1");
    fake_free(f);
}

static void one_that_does_not_come_back_is_replaced(void **state)
{
    struct fake *f = shop();
    fake_isolate(f, "fra", true);
    fake_run(f, 10000);
    fake_kill(f, "fra-1");
    fake_isolate(f, "fra", false);
    fake_run(f, 5000);
    assert_string_equal(ingress_of(f, "fra"), "fra-2");
    fake_free(f);
}

static void a_blackout_moves_no_ingress(void **state)
{
    struct fake *f = shop();
    for (int i = 0; i < 8; i++) {
        fake_isolate(f, "fra", true);
        fake_run(f, 1200 + 30 * i);
        fake_isolate(f, "fra", false);
        fake_run(f, 4000 + 70 * i);
        assert_string_equal(ingress_of(f, "fra"), "fra-1");
    }
    assert_false(fake_event_seen(f, "site_lost"));
    fake_free(f);
}

/* Where the ingress is stands in no record: a control that starts hears it from the node. */
static void a_new_control_finds_the_ingress_where_it_is(void **state)
{
    struct fake *f = shop();
    fake_kill(f, "fra-1");
    fake_run(f, 5000);
    fake_start(f, "fra-1");
    fake_run(f, 5000);
    assert_string_equal(ingress_of(f, "fra"), "fra-2");
    fake_restart_control(f);
    fake_run(f, 2000);
    assert_string_equal(ingress_of(f, "fra"), "fra-2");
    assert_string_equal(ingress_of(f, "ams"), "ams-1");
    fake_run(f, 8000);
    assert_string_equal(ingress_of(f, "fra"), "fra-2");
    fake_free(f);
}

static void numbers_of_a_clock_that_was_ahead_are_passed(void **state)
{
    struct fake *f = shop();
    int64_t before = fake_agent(f, "fra-1")->front_view;
    f->wall_ms -= 3600000;
    fake_restart_control(f);
    fake_run(f, 2000);
    assert_true(view_rev(f, "fra") > before);
    assert_true(fake_agent(f, "fra-1")->front_view == view_rev(f, "fra"));
    fake_free(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_old_copies_stay_until_users_are_led_away),
        cmocka_unit_test(an_ingress_that_never_tells_holds_nothing_up),
        cmocka_unit_test(a_site_without_an_ingress_holds_nothing_up),
        cmocka_unit_test(a_site_that_comes_back_keeps_its_ingress),
        cmocka_unit_test(one_that_does_not_come_back_is_replaced),
        cmocka_unit_test(a_blackout_moves_no_ingress),
        cmocka_unit_test(a_new_control_finds_the_ingress_where_it_is),
        cmocka_unit_test(numbers_of_a_clock_that_was_ahead_are_passed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
