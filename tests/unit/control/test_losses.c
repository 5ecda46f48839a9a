/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include "fake.h"
#include "fake_internal.h"
#include "scenes.h"

static struct fake *shop(int per_site)
{
    struct fake *f = fake_new(3);
    fake_three_sites(f, per_site);
    fake_must_apply(f, WEB_SAFE("web:1"));
    fake_run(f, 3000);
    assert_true(fake_converged(f));
    return f;
}

static void node_lost(void **state)
{
    struct fake *f = shop(2);
    fake_kill(f, "fra-1");
    fake_run(f, 1200); /* under suspicion: out of the routing, nothing moved */
    assert_null(strstr(fake_view(f, "fra"), "10.210.2.2"));
    assert_false(fake_event_seen(f, "node_lost"));
    assert_false(fake_event_seen(f, "failover"));
    fake_run(f, 2000);
    assert_true(fake_event_seen(f, "node_lost"));
    assert_false(fake_event_seen(f, "site_lost"));
    assert_int_equal(fake_running(f, "shop/web.", ""), 6);
    fake_start(f, "fra-1");
    fake_run(f, 4000);
    assert_true(fake_event_seen(f, "node_returned"));
    assert_int_equal(fake_running(f, "shop/web.", ""), 6); /* the old copy does not stay */
    fake_free(f);
}

static void site_lost_as_promised(void **state)
{
    struct fake *f = shop(2);
    const struct plan *plan = control_plan(f->c);
    char promised[8][96];
    size_t count = 0;
    for (size_t k = 0; k < plan->nlosses; k++) {
        if (plan->losses[k].nlost == 1 && sk_str_is(plan->losses[k].lost[0], "fra")) {
            for (size_t i = 0; i < plan->losses[k].nreplaced; i++) {
                const struct plan_placement *p = &plan->losses[k].replaced[i];
                (void)snprintf(promised[count++], 96, "%.*s shop/web.%lld", SK_PRI(p->node),
                               (long long)p->replica);
            }
        }
    }
    assert_true(count > 0);
    unsigned plans = f->plans;
    int64_t cut = f->now_ms;
    fake_kill_site(f, "fra");
    while (fake_running(f, "shop/web.", "") < 6 && f->now_ms < cut + 10000) {
        fake_run(f, 10);
    }
    assert_true(f->now_ms - cut <= 3000);
    assert_int_equal(f->plans, plans); /* the row is followed: nobody had to plan */
    assert_int_equal(fake_event_count(f, "site_lost"), 1);
    assert_int_equal(fake_event_count(f, "node_lost"), 0); /* judged once, as a whole */
    for (size_t i = 0; i < count; i++) {
        char node[32];
        (void)snprintf(node, sizeof(node), "%.*s", (int)strcspn(promised[i], " "), promised[i]);
        const char *label = strchr(promised[i], ' ') + 1;
        const struct fake_agent *a = fake_agent(f, node);
        bool there = false;
        for (size_t k = 0; k < a->ninsts; k++) {
            there = there || strcmp(a->insts[k].label, label) == 0;
        }
        assert_true(there);
    }
    /* nothing of the dead site was deleted from the books */
    assert_true(fake_instances_on_record(f) > 6);
    assert_null(strstr(fake_view(f, "ams"), "\"site\":\"fra\",\"address\""));
    fake_free(f);
}

static void site_lost_and_back(void **state)
{
    struct fake *f = shop(2);
    fake_isolate(f, "fra", true); /* cut off, and working on */
    fake_run(f, 20000);
    assert_int_equal(fake_running(f, "shop/web.", "fra"), 2); /* nobody stopped it */
    assert_int_equal(fake_running(f, "shop/web.", ""), 8);
    fake_isolate(f, "fra", false);
    fake_run(f, 5000);
    assert_true(fake_event_seen(f, "site_returned"));
    assert_int_equal(fake_running(f, "shop/web.", ""), 6);
    assert_int_equal(fake_running(f, "shop/web.", "fra"), 0); /* what runs elsewhere stays */
    fake_run(f, 17000);
    /* keep 4 of 6 needs three sites: it is refilled by itself, within the budget */
    assert_true(fake_event_seen(f, "return_done"));
    assert_int_equal(fake_running(f, "shop/web.", "fra"), 2);
    assert_true(fake_converged(f));
    assert_null(fake_get(f, "/skerry/v1/overlay"));
    fake_free(f);
}

static void cut_link_moves_nothing(void **state)
{
    struct fake *f = shop(2);
    fake_control_link(f, "ams", true); /* only control does not hear ams */
    fake_run(f, 10000);
    assert_false(fake_event_seen(f, "site_lost"));
    assert_true(fake_event_seen(f, "link_lost"));
    assert_non_null(strstr(fake_view(f, "fra"), "\"site\":\"ams\"")); /* still routed to */
    fake_control_link(f, "ams", false);
    fake_link(f, "fra", "ams", true); /* only fra and ams do not hear each other */
    fake_run(f, 10000);
    assert_false(fake_event_seen(f, "site_lost"));
    assert_false(fake_event_seen(f, "failover"));
    assert_int_equal(fake_running(f, "shop/web.", ""), 6);
    fake_free(f);
}

static void minority_freezes(void **state)
{
    struct fake *f = shop(2);
    size_t events = fake_event_count(f, "failover");
    fake_isolate(f, "hub", true);
    fake_run(f, 30000);
    assert_true(fake_event_seen(f, "frozen"));
    assert_false(fake_event_seen(f, "site_lost"));
    assert_int_equal(fake_event_count(f, "failover"), events);
    assert_int_equal(fake_running(f, "shop/web.", ""), 6); /* running work goes on */
    fake_isolate(f, "hub", false);
    fake_run(f, 5000);
    assert_true(fake_event_seen(f, "unfrozen"));
    assert_false(fake_event_seen(f, "site_lost"));
    assert_true(fake_converged(f));
    fake_free(f);
}

static void paused_site_is_lost_too(void **state)
{
    struct fake *f = shop(2);
    fake_pause(f, "par-1", true);
    fake_pause(f, "par-2", true);
    fake_run(f, 4000);
    assert_int_equal(fake_event_count(f, "site_lost"), 1);
    assert_int_equal(fake_running(f, "shop/web.", "fra") + fake_running(f, "shop/web.", "ams"), 6);
    fake_pause(f, "par-1", false);
    fake_pause(f, "par-2", false);
    fake_run(f, 4000);
    assert_int_equal(fake_running(f, "shop/web.", ""), 6);
    fake_free(f);
}

static void second_site_lost(void **state)
{
    struct fake *f = shop(2);
    fake_kill_site(f, "fra");
    fake_run(f, 5000);
    fake_kill_site(f, "ams");
    fake_run(f, 5000);
    assert_int_equal(fake_event_count(f, "site_lost"), 2);
    assert_int_equal(fake_running(f, "shop/web.", "par"), 6); /* no row: planned on the spot */
    fake_free(f);
}

static void one_node_sites(void **state)
{
    struct fake *f = shop(1);
    fake_kill(f, "par-1");
    fake_run(f, 3500);
    assert_int_equal(fake_event_count(f, "site_lost"), 1);
    assert_int_equal(fake_event_count(f, "node_lost"), 0);
    assert_int_equal(fake_running(f, "shop/web.", ""), 6);
    fake_free(f);
}

static void timers_do_not_grow(void **state)
{
    int64_t took[2];
    for (int big = 0; big < 2; big++) {
        struct fake *f = fake_new(3);
        fake_three_sites(f, big ? 8 : 2);
        int64_t cut = f->now_ms;
        f->quiet = true;
        fake_kill_site(f, "fra");
        while (!fake_event_seen(f, "site_lost") && f->now_ms < cut + 10000) {
            fake_run(f, 10);
        }
        took[big] = f->now_ms - cut;
        fake_free(f);
    }
    assert_true(took[0] <= 2300 && took[1] <= 2300);
}

static void probes_are_few_and_cover(void **state)
{
    struct fake *f = fake_new(3);
    fake_three_sites(f, 8);
    for (size_t i = 0; i < f->nagents; i++) {
        assert_true(f->agents[i].nprobe <= 3 + 2 * 4);
        /* each node is watched by its own site's nodes */
        size_t watched = 0;
        for (size_t k = 0; k < f->nagents; k++) {
            for (size_t p = 0; p < f->agents[k].nprobe; p++) {
                watched += strcmp(f->agents[k].probe[p], f->agents[i].name) == 0 &&
                           strcmp(f->agents[k].site, f->agents[i].site) == 0;
            }
        }
        assert_true(watched == 3 || strcmp(f->agents[i].site, "hub") == 0);
    }
    static const char *const sites[] = {"fra", "ams", "par", "hub"};
    for (int a = 0; a < 4; a++) {
        for (int b = 0; b < 4; b++) {
            size_t seen = 0;
            for (size_t k = 0; k < f->nagents; k++) {
                for (size_t p = 0; p < f->agents[k].nprobe; p++) {
                    seen += strcmp(f->agents[k].site, sites[a]) == 0 &&
                            strncmp(f->agents[k].probe[p], sites[b], 3) == 0;
                }
            }
            assert_true(a == b || seen > 0);
        }
    }
    fake_free(f);
}

/* A site that control alone does not hear: the others' silence was never anything else. */
static void never_heard_is_no_evidence(void **state)
{
    struct fake *f = fake_new(3);
    f->probes_blocked = true;
    fake_three_sites(f, 2);
    fake_must_apply(f, WEB_SAFE("web:1"));
    fake_run(f, 3000);
    assert_true(fake_converged(f));
    fake_control_link(f, "ams", true);
    fake_run(f, 10000);
    assert_false(fake_event_seen(f, "site_lost"));
    assert_false(fake_event_seen(f, "node_lost"));
    assert_false(fake_event_seen(f, "failover"));
    fake_control_link(f, "ams", false);
    fake_isolate(f, "ams", true);
    f->control_cut[fake_agent(f, "ams-2") - f->agents] = false; /* only ams-1 is not heard */
    fake_run(f, 10000);
    assert_false(fake_event_seen(f, "node_lost"));
    fake_isolate(f, "ams", false);
    f->probes_blocked = false; /* the firewall is mended: from now on silence counts */
    fake_run(f, 3000);
    fake_kill_site(f, "ams");
    fake_run(f, 3000);
    assert_int_equal(fake_event_count(f, "site_lost"), 1);
    fake_free(f);
}

/* Witnesses that restarted behind a cut never heard what lies beyond it. */
static void fresh_witnesses_accuse_nobody(void **state)
{
    struct fake *f = shop(2);
    fake_link(f, "fra", "ams", true);
    fake_link(f, "par", "ams", true);
    fake_kill_site(f, "fra");
    fake_kill_site(f, "par");
    fake_run(f, 300); /* a restart, too short for a verdict */
    fake_start_site(f, "fra");
    fake_start_site(f, "par");
    fake_run(f, 5000);
    fake_control_link(f, "ams", true);
    fake_run(f, 10000);
    assert_false(fake_event_seen(f, "site_lost"));
    fake_free(f);
}

/* A site dies while its witnesses restart, so that none of them ever heard it: it is found all the
 * same, later; a pair of hosts that a firewall keeps apart accuses nobody. */
static void nobody_is_dead_unjudged_for_ever(void **state)
{
    for (int dies = 0; dies < 2; dies++) {
        struct fake *f = shop(2);
        fake_link(f, "fra", "ams", true);
        fake_link(f, "par", "ams", true);
        fake_kill_site(f, "fra");
        fake_kill_site(f, "par");
        fake_run(f, 300);
        fake_start_site(f, "fra");
        fake_start_site(f, "par");
        if (dies) {
            fake_kill_site(f, "ams");
        }
        fake_run(f, 15000);
        assert_false(fake_event_seen(f, "site_lost"));
        fake_run(f, 10000);
        assert_int_equal(fake_event_count(f, "site_lost"), dies);
        assert_int_equal(fake_event_count(f, "node_lost"), 0);
        fake_free(f);
    }
}

/* Recorded, doubled or late: only a number above the last is a sign of life. */
static void only_a_newer_beat_is_a_sign_of_life(void **state)
{
    for (int newer = 0; newer < 2; newer++) {
        struct fake *f = shop(1);
        int64_t died = f->now_ms;
        fake_kill_site(f, "ams");
        for (int i = 0; i < 16; i++) {
            struct control_event ev = {.kind = CONTROL_EV_BEAT};
            ev.u.beat.node = SK_STR("ams-1");
            ev.u.beat.seq = newer ? f->now_ms : died - 1000;
            ev.u.beat.brief = true;
            fake_step(f, &ev);
            fake_run(f, 250);
        }
        assert_int_equal(fake_event_count(f, "site_lost"), !newer);
        fake_free(f);
    }
}

/* What a witness heard when it sent a beat that a later one overtook says nothing any more. */
static void an_overtaken_beat_is_no_later_word(void **state)
{
    for (int newer = 0; newer < 2; newer++) {
        struct fake *f = shop(1);
        fake_kill_site(f, "ams");
        for (int i = 0; i < 40; i++) {
            struct control_heard heard = {SK_STR("ams-1"), 654, 195000};
            struct control_event ev = {.kind = CONTROL_EV_BEAT};
            ev.u.beat.heard = &heard;
            ev.u.beat.nheard = 1;
            for (size_t k = 0; k < f->nagents; k++) {
                ev.u.beat.node = sk_str(f->agents[k].name);
                ev.u.beat.seq = newer ? f->now_ms + 1000 : f->now_ms - 1000;
                if (strcmp(f->agents[k].site, "ams") != 0) {
                    fake_step(f, &ev);
                }
            }
            fake_run(f, 100);
        }
        assert_int_equal(fake_event_count(f, "site_lost"), !newer);
        fake_free(f);
    }
}

/* A beat that says nothing of what its node hears is one of its own life alone. */
static void a_brief_beat_is_no_witness(void **state)
{
    struct fake *f = shop(1);
    fake_isolate(f, "ams", true);
    fake_run(f, 700);
    for (int i = 0; i < 12; i++) {
        struct control_event ev = {.kind = CONTROL_EV_BEAT};
        ev.u.beat.brief = true;
        ev.u.beat.seq = f->now_ms;
        ev.u.beat.node = SK_STR("fra-1");
        fake_step(f, &ev);
        fake_run(f, 250);
    }
    assert_int_equal(fake_event_count(f, "site_lost"), 1); /* by the beats between them */
    fake_free(f);
}

/* A site is back after 1.5 s of darkness, and at that moment control itself goes dark: what the
 * others last said of the site is no evidence any more. */
static void old_words_accuse_nobody(void **state)
{
    struct fake *f = shop(1);
    fake_isolate(f, "ams", true);
    fake_run(f, 1500);
    fake_isolate(f, "ams", false);
    fake_control_link(f, "ams", true);
    fake_control_link(f, "fra", true);
    fake_control_link(f, "par", true);
    fake_run(f, 1000);
    fake_control_link(f, "ams", false);
    fake_control_link(f, "fra", false);
    fake_control_link(f, "par", false);
    fake_run(f, 5000);
    assert_false(fake_event_seen(f, "site_lost"));
    fake_free(f);
}

/* With two sites nobody contradicts control: its own standstill must not look like their silence.
 */
static void a_slow_control_judges_nobody(void **state)
{
    for (int64_t ms = 600; ms <= 60000; ms = ms * 2 + 100) {
        struct fake *f = fake_new(3);
        assert_int_equal(fake_join(f, "fra-1", "fra", 4, 4096), 0);
        fake_must_apply(f, WEB("2", "web:1"));
        fake_run(f, 3000);
        fake_stall_control(f, ms);
        assert_non_null(strstr(fake_view(f, "fra"), "10.210.")); /* and traffic stays */
        fake_run(f, 4000);
        assert_false(fake_event_seen(f, "site_lost"));
        assert_false(fake_event_seen(f, "frozen"));
        assert_true(fake_converged(f));
        fake_kill_site(f, "fra");
        fake_run(f, 3000);
        assert_int_equal(fake_event_count(f, "site_lost"), 1);
        fake_free(f);
    }
}

/* The number of an assignment is taken from the wall clock, so that it grows over restarts. Where
 * that clock went back meanwhile it must grow all the same: a node that has a higher one would seem
 * to have taken what it was never told. */
static void assignments_grow_over_a_clock_that_goes_back(void **state)
{
    struct fake *f = shop(2);
    int64_t before = fake_agent(f, "ams-1")->rev;
    f->wall_ms -= 3600000;
    fake_restart_control(f);
    fake_run(f, 3000);
    assert_true(fake_agent(f, "ams-1")->rev > before);
    fake_must_apply(f, WEB("0", "web:1"));
    fake_run(f, 5000);
    assert_int_equal(fake_running(f, "shop/web.", ""), 0);
    assert_int_equal(fake_instances_on_record(f), 0);
    fake_free(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(node_lost),
        cmocka_unit_test(site_lost_as_promised),
        cmocka_unit_test(site_lost_and_back),
        cmocka_unit_test(cut_link_moves_nothing),
        cmocka_unit_test(minority_freezes),
        cmocka_unit_test(paused_site_is_lost_too),
        cmocka_unit_test(second_site_lost),
        cmocka_unit_test(one_node_sites),
        cmocka_unit_test(timers_do_not_grow),
        cmocka_unit_test(probes_are_few_and_cover),
        cmocka_unit_test(never_heard_is_no_evidence),
        cmocka_unit_test(fresh_witnesses_accuse_nobody),
        cmocka_unit_test(nobody_is_dead_unjudged_for_ever),
        cmocka_unit_test(only_a_newer_beat_is_a_sign_of_life),
        cmocka_unit_test(an_overtaken_beat_is_no_later_word),
        cmocka_unit_test(a_brief_beat_is_no_witness),
        cmocka_unit_test(old_words_accuse_nobody),
        cmocka_unit_test(a_slow_control_judges_nobody),
        cmocka_unit_test(assignments_grow_over_a_clock_that_goes_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
