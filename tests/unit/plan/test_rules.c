/* SPDX-License-Identifier: Apache-2.0 */
/* Allowed nodes, capacity, keep, latency, ceiling: each rule on a world small enough to do by hand.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "make_world.h"

static struct mk *two_sites(void)
{
    struct mk *m = mk_new();
    mk_site(m, "ams");
    mk_site(m, "fra");
    mk_node(m, "ams-1", "ams", 4, 4096, 0.10);
    mk_node(m, "fra-1", "fra", 4, 4096, 0.20);
    return m;
}

static void expect_verdict(struct mk *m, enum plan_verdict verdict, const char *code)
{
    struct plan *plan = mk_plan(m, NULL);
    assert_int_equal(plan->verdict, verdict);
    if (code) {
        const struct plan_problem *p = plan_problem_of(plan, code);
        assert_non_null(p);
        assert_int_equal(p->proven, verdict == PLAN_IMPOSSIBLE);
        assert_true(p->fix.len > 0 && p->text.len > 0);
    }
    plan_free(plan);
    mk_free(m);
}

static void test_trust_and_drain(void **state)
{
    (void)state;
    struct mk *m = two_sites();
    mk_site(m, "hub")->trust = SITE_CONTROL;
    mk_node(m, "hub-1", "hub", 64, 65536, 0);
    mk_node(m, "ams-0", "ams", 64, 65536, 0)->drained = true;
    mk_svc(m, "a", 1, 1, 64);
    struct plan *plan = mk_plan(m, NULL);
    assert_int_equal(plan->verdict, PLAN_OK);
    assert_int_equal(plan_count(plan, "a", "ams-1", true), 1);
    /* idle: not drained, full trust, no replica */
    assert_int_equal(plan->cost.nidle, 1);
    assert_true(sk_str_is(plan->cost.idle[0], "fra-1"));
    /* nodes that are not drained, in every site */
    assert_int_equal(plan->node_losses.checked, 3);
    assert_int_equal(plan->nlosses, 3);
    plan_free(plan);
    mk_free(m);
}

static void test_residency(void **state)
{
    (void)state;
    struct mk *m = two_sites();
    mk_site(m, "nyc")->region = SK_STR("us");
    struct site *unknown = mk_site(m, "xyz");
    unknown->region = SK_STR("");
    mk_node(m, "nyc-1", "nyc", 4, 4096, 0.05);
    mk_node(m, "xyz-1", "xyz", 4, 4096, 0.01);
    mk_residency(m, mk_svc(m, "a", 1, 1, 64), "us");
    struct plan *plan = mk_plan(m, NULL);
    assert_int_equal(plan->verdict, PLAN_OK);
    assert_int_equal(plan_count(plan, "a", "nyc", false), 1);
    assert_true(plan_warns(plan, "region_unknown", ""));
    plan_free(plan);
    mk_free(m);
}

/* `sites: 0` beside after_loss_ms is bad input: a fix must not say it. */
static void test_fix_beside_after_loss(void **state)
{
    static const char *const fixes[] = {
        "or remove latency.after_loss_ms", /* only after_loss_ms asks for a site */
        "or remove 'latency'",             /* a policy of nothing else */
        "or remove latency.after_loss_ms and set survive.sites to 0",
    };
    (void)state;
    for (int i = 0; i < 3; i++) {
        struct mk *m = mk_new();
        mk_site(m, "ams");
        mk_node(m, "ams-1", "ams", 4, 4096, 0.10);
        mk_rtt(m, mk_users(m, "u", 1), "ams", 10);
        struct service *s = mk_svc(m, "a", 2, 0.5, 64);
        mk_latency(s, i == 1 ? -1 : 20, 20);
        if (i == 2) {
            mk_survive(s, 1, -1, -1);
        }
        struct plan *plan = mk_plan(m, NULL);
        const struct plan_problem *p = plan_problem_of(plan, "survive_sites_unmet");
        assert_non_null(p);
        const char *policy = strstr(p->fix.ptr, "or ");
        assert_non_null(policy);
        assert_string_equal(policy, fixes[i]);
        plan_free(plan);
        mk_free(m);
    }
}

static void test_no_allowed_node(void **state)
{
    (void)state;
    struct mk *m = two_sites();
    mk_residency(m, mk_svc(m, "a", 1, 1, 64), "country:DE");
    expect_verdict(m, PLAN_IMPOSSIBLE, "no_allowed_node");
}

static void test_too_large(void **state)
{
    (void)state;
    struct mk *m = two_sites();
    mk_svc(m, "a", 1, 5, 64);
    expect_verdict(m, PLAN_IMPOSSIBLE, "no_allowed_node");
}

static void test_exactly_full(void **state)
{
    (void)state;
    struct mk *m = two_sites();
    mk_svc(m, "a", 8, 1, 64);
    struct plan *plan = mk_plan(m, NULL);
    assert_int_equal(plan->verdict, PLAN_OK);
    assert_int_equal(plan_count(plan, "a", "ams", false), 4);
    /* nothing fits again after a loss: a goal that is not met, never a refusal */
    assert_true(plan_warns(plan, "goal_unmet", "a"));
    const struct plan_loss *row = plan_row(plan, "ams");
    assert_true(row->ok);
    assert_int_equal(row->nshorts, 1);
    assert_int_equal(row->shorts[0].replicas, 4);
    assert_false(row->shorts[0].asked);
    assert_true(sk_str_is(row->shorts[0].resource, "cpus"));
    plan_free(plan);
    mk_free(m);
}

static void test_one_too_many(void **state)
{
    (void)state;
    struct mk *m = two_sites();
    mk_svc(m, "a", 9, 1, 64);
    expect_verdict(m, PLAN_IMPOSSIBLE, "capacity_short");
}

/* Two services that each fit alone and not together: 5 + 4 cpus of 8. */
static void test_zone_short(void **state)
{
    (void)state;
    struct mk *m = two_sites();
    mk_svc(m, "a", 5, 1, 64);
    mk_svc(m, "b", 4, 1, 64);
    struct plan *plan = mk_plan(m, NULL);
    assert_int_equal(plan->verdict, PLAN_IMPOSSIBLE);
    const struct plan_problem *p = plan_problem_of(plan, "capacity_short");
    assert_non_null(p);
    assert_true(p->proven && sk_str_is(p->resource, "cpus"));
    assert_true(fabs(p->missing.value - 1) < 1e-9);
    /* the best effort places what fits */
    assert_int_equal(plan->nplacements, 8);
    plan_free(plan);
    mk_free(m);
}

/* In the loss of a site: 3 of 4 cpus each, both ask, the other site has 4: two cpus are missing. */
static void test_zone_short_in_a_loss(void **state)
{
    (void)state;
    struct mk *m = two_sites();
    mk_survive(mk_svc(m, "a", 3, 1, 64), 1, -1, -1);
    mk_survive(mk_svc(m, "b", 3, 1, 64), 1, -1, -1);
    struct plan *plan = mk_plan(m, NULL);
    assert_int_equal(plan->verdict, PLAN_IMPOSSIBLE);
    const struct plan_problem *p = plan_problem_of(plan, "capacity_short");
    assert_non_null(p);
    assert_int_equal(p->nlost, 1);
    assert_true(fabs(p->missing.value - 2) < 1e-9);
    /* one node of 4 cpus in either site is not enough: the other site's loss is as bad */
    assert_true(p->fix.len > 0);
    plan_free(plan);
    mk_free(m);
}

static void test_keep_sites(void **state)
{
    (void)state;
    struct mk *m = two_sites();
    mk_survive(mk_svc(m, "a", 3, 0.5, 64), 1, -1, 1);
    struct plan *plan = mk_plan(m, NULL);
    assert_int_equal(plan->verdict, PLAN_OK);
    /* at most 3 - 1 in a site; ams is cheaper */
    assert_int_equal(plan_count(plan, "a", "ams", false), 2);
    assert_int_equal(plan_count(plan, "a", "fra", false), 1);
    plan_free(plan);
    mk_free(m);
}

static void test_keep_cannot_hold(void **state)
{
    (void)state;
    struct mk *m = two_sites();
    mk_survive(mk_svc(m, "a", 3, 0.5, 64), 1, -1, 2);
    struct plan *plan = mk_plan(m, NULL);
    assert_int_equal(plan->verdict, PLAN_IMPOSSIBLE);
    const struct plan_problem *p = plan_problem_of(plan, "survive_sites_unmet");
    assert_non_null(p);
    assert_non_null(strstr(p->fix.ptr, "survive.keep to 1"));
    plan_free(plan);
    mk_free(m);
}

static void test_keep_nodes(void **state)
{
    (void)state;
    struct mk *m = two_sites();
    mk_node(m, "ams-2", "ams", 4, 4096, 0.30);
    struct service *s = mk_svc(m, "a", 4, 0.5, 64);
    mk_survive(s, 0, 1, 3);
    expect_verdict(m, PLAN_IMPOSSIBLE, "survive_nodes_unmet");
    m = two_sites();
    mk_node(m, "ams-2", "ams", 4, 4096, 0.30);
    mk_node(m, "ams-3", "ams", 4, 4096, 0.30);
    mk_survive(mk_svc(m, "a", 4, 0.5, 64), 0, 1, 3);
    struct plan *plan = mk_plan(m, NULL);
    assert_int_equal(plan->verdict, PLAN_OK);
    assert_int_equal(plan_count(plan, "a", "ams-2", true), 1);
    assert_true(plan->node_losses.ok);
    assert_int_equal(plan->node_losses.checked, 4);
    plan_free(plan);
    mk_free(m);
}

static void test_one_allowed_site(void **state)
{
    (void)state;
    struct mk *m = two_sites();
    struct service *s = mk_svc(m, "a", 1, 1, 64);
    mk_survive(s, 1, -1, -1);
    struct constraint c = {.subject = ON_SITE, .equal = true, .value = SK_STR("ams")};
    s->constraints = &c;
    s->nconstraints = 1;
    expect_verdict(m, PLAN_IMPOSSIBLE, "survive_sites_unmet");
}

static void test_latency_picks_the_near_site(void **state)
{
    (void)state;
    struct mk *m = two_sites();
    struct users *u = mk_users(m, "berlin", 1);
    mk_rtt(m, u, "ams", 50);
    mk_rtt(m, u, "fra", 10);
    mk_latency(mk_svc(m, "a", 1, 1, 64), 20, -1);
    struct plan *plan = mk_plan(m, NULL);
    assert_int_equal(plan->verdict, PLAN_OK);
    assert_int_equal(plan_count(plan, "a", "fra", false), 1);
    assert_true(plan->latency[0].ms.known && fabs(plan->latency[0].ms.value - 10) < 1e-9);
    assert_true(fabs(plan->latency[0].share - 1) < 1e-9);
    /* nobody asked to survive: the row says how far it is, and is ok */
    const struct plan_loss *row = plan_row(plan, "fra");
    assert_true(row->ok);
    assert_false(row->latency[0].ms_at_once.known);
    assert_true(fabs(row->latency[0].ms.value - 50) < 1e-9);
    assert_true(row->latency[0].share < 1e-9);
    plan_free(plan);
    mk_free(m);
}

static void test_latency_too_far(void **state)
{
    (void)state;
    struct mk *m = two_sites();
    struct users *u = mk_users(m, "berlin", 1);
    mk_rtt(m, u, "ams", 50);
    mk_rtt(m, u, "fra", 10);
    mk_latency(mk_svc(m, "a", 1, 1, 64), 5, -1);
    struct plan *plan = mk_plan(m, NULL);
    const struct plan_problem *p = plan_problem_of(plan, "latency_unmet");
    assert_non_null(p);
    assert_true(p->proven && fabs(p->missing.value - 5) < 1e-9);
    plan_free(plan);
    mk_free(m);
}

/* after_loss_ms implies sites: 1, written: both sites must be within it, so does each by itself. */
static void test_after_loss(void **state)
{
    (void)state;
    struct mk *m = two_sites();
    struct users *u = mk_users(m, "berlin", 1);
    mk_rtt(m, u, "ams", 50);
    mk_rtt(m, u, "fra", 10);
    mk_latency(mk_svc(m, "a", 1, 1, 64), 20, 60);
    struct plan *plan = mk_plan(m, NULL);
    assert_int_equal(plan->verdict, PLAN_OK);
    const struct plan_loss *row = plan_row(plan, "fra");
    assert_int_equal(row->nreplaced, 1);
    assert_true(sk_str_is(row->replaced[0].node, "ams-1"));
    assert_true(fabs(row->latency[0].share - 1) < 1e-9);
    plan_free(plan);
    mk_free(m);
    m = two_sites();
    u = mk_users(m, "berlin", 1);
    mk_rtt(m, u, "ams", 50);
    mk_rtt(m, u, "fra", 10);
    mk_latency(mk_svc(m, "a", 1, 1, 64), 20, 40);
    expect_verdict(m, PLAN_IMPOSSIBLE, "after_loss_unmet");
}

static void test_great_circle(void **state)
{
    (void)state;
    struct mk *m = mk_new();
    struct site *s = mk_site(m, "fra");
    s->has_at = true;
    s->lat = 50.11;
    s->lon = 8.68;
    mk_node(m, "fra-1", "fra", 4, 4096, 0.2);
    struct users *u = mk_users(m, "london", 1);
    u->has_at = true;
    u->lat = 51.51;
    u->lon = -0.13;
    mk_latency(mk_svc(m, "a", 1, 1, 64), 20, -1);
    struct plan *plan = mk_plan(m, NULL);
    /* 638.6 km: 1 + 0.015 x that */
    assert_true(fabs(plan->latency[0].ms.value - 10.58) < 0.02);
    plan_free(plan);
    mk_free(m);
}

static void test_ceiling(void **state)
{
    (void)state;
    struct mk *m = two_sites();
    struct service *s = mk_svc(m, "a", 1, 1, 64);
    s->has_cost = true;
    s->cost_month = 0.25 * 0.10 * 730; /* exactly what ams costs */
    struct plan *plan = mk_plan(m, NULL);
    assert_int_equal(plan->verdict, PLAN_OK);
    plan_free(plan);
    s->cost_month -= 0.01;
    expect_verdict(m, PLAN_IMPOSSIBLE, "cost_above_ceiling");
}

static void test_many_unknown_prices(void **state)
{
    (void)state;
    struct mk *m = mk_new();
    mk_site(m, "ams");
    for (int i = 0; i < 5; i++) {
        char name[16];
        (void)snprintf(name, sizeof(name), "ams-%d", i);
        mk_node(m, name, "ams", 1, 4096, -1);
    }
    mk_svc(m, "a", 5, 1, 64);
    struct plan *plan = mk_plan(m, NULL);
    size_t count = 0;
    for (size_t i = 0; i < plan->nwarnings; i++) {
        if (sk_str_is(plan->warnings[i].code, "price_unknown")) {
            assert_string_equal(plan->warnings[i].text.ptr,
                                "5 nodes in use have no price: 'ams-0', 'ams-1', 'ams-2', ...");
            count++;
        }
    }
    assert_int_equal(count, 1);
    plan_free(plan);
    mk_free(m);
}

/* Five replicas of 3 cpus have no room. Three nodes of 5 have the 15 cpus, and hold three of them.
 * And a service too large for every node is told what it must come down to. */
static void test_fix_counts_whole_replicas(void **state)
{
    (void)state;
    struct mk *m = mk_new();
    mk_site(m, "ams");
    for (int i = 0; i < 70; i++) { /* too many to try */
        char name[16];
        (void)snprintf(name, sizeof(name), "ams-%02d", i);
        mk_node(m, name, "ams", 5, 4096, 0.1);
    }
    mk_svc(m, "a", 75, 3, 64);
    struct plan *plan = mk_plan(m, NULL);
    const struct plan_problem *p = plan_problem_of(plan, "capacity_short");
    assert_non_null(p);
    assert_non_null(strstr(p->fix.ptr, "add at least 5 nodes with 5 cpus"));
    plan_free(plan);
    mk_free(m);
    m = two_sites();
    mk_svc(m, "a", 1, 6, 64);
    plan = mk_plan(m, NULL);
    p = plan_problem_of(plan, "no_allowed_node");
    assert_non_null(p);
    assert_string_equal(p->fix.ptr, "lower its cpus to 4, or add a larger node");
    assert_true(sk_str_is(p->resource, "cpus") && fabs(p->missing.value - 2) < 1e-9);
    plan_free(plan);
    mk_free(m);
}

static void test_unknown_price(void **state)
{
    (void)state;
    struct mk *m = mk_new();
    mk_site(m, "ams");
    mk_node(m, "ams-1", "ams", 4, 4096, -1);
    struct service *s = mk_svc(m, "a", 1, 1, 64);
    struct plan *plan = mk_plan(m, NULL);
    assert_int_equal(plan->verdict, PLAN_OK);
    assert_false(plan->cost.hour.known);
    assert_false(plan->cost.month.known);
    assert_false(plan->cost.gap.known);
    assert_false(plan->cost.servers_hour.known);
    assert_true(plan_warns(plan, "price_unknown", ""));
    plan_free(plan);
    s->has_cost = true;
    s->cost_month = 1000;
    expect_verdict(m, PLAN_NOT_FOUND, "cost_unknown");
}

/* 100 GB a month to one population, served by the nearer site. */
static void test_egress(void **state)
{
    (void)state;
    struct mk *m = mk_new();
    mk_site(m, "ams")->egress_per_gb = 0.01;
    mk_site(m, "fra")->egress_per_gb = 0.50;
    mk_node(m, "ams-1", "ams", 4, 4096, 0.20);
    mk_node(m, "fra-1", "fra", 4, 4096, 0.10);
    struct users *u = mk_users(m, "berlin", 1);
    mk_rtt(m, u, "ams", 50);
    mk_rtt(m, u, "fra", 10);
    struct service *s = mk_svc(m, "a", 2, 1, 64);
    s->has_traffic = true;
    s->gb_month = 100;
    struct plan *plan = mk_plan(m, NULL);
    /* goals come first: one replica each, so berlin is served from fra, at 0.50 */
    assert_int_equal(plan_count(plan, "a", "fra", false), 1);
    assert_true(fabs(plan->cost.hour.value - (0.25 * 0.2 + 0.25 * 0.1 + 100 * 0.5 / 730)) < 1e-12);
    assert_true(plan->cost.gap.value <= 1e-9);
    plan_free(plan);
    /* without that goal: both in ams, dearer servers and far cheaper traffic */
    mk_survive(s, 0, 0, -1);
    plan = mk_plan(m, NULL);
    assert_int_equal(plan_count(plan, "a", "ams", false), 2);
    assert_true(plan->cost.gap.value <= 1e-9);
    plan_free(plan);
    mk_free(m);
}

static void test_rps(void **state)
{
    (void)state;
    struct mk *m = two_sites();
    struct service *s = mk_svc(m, "a", 3, 0.5, 64);
    s->has_traffic = true;
    s->rps = 900;
    s->rps_per_replica = 300;
    struct plan *plan = mk_plan(m, NULL);
    assert_int_equal(plan->verdict, PLAN_OK);
    plan_free(plan);
    s->rps = 901;
    plan = mk_plan(m, NULL);
    const struct plan_problem *p = plan_problem_of(plan, "rps_short");
    assert_non_null(p);
    assert_true(fabs(p->missing.value - 1) < 1e-9);
    assert_non_null(strstr(p->fix.ptr, "to 4"));
    assert_int_equal(plan->nplacements, 3);
    plan_free(plan);
    mk_free(m);
}

static void test_nothing_at_all(void **state)
{
    (void)state;
    struct mk *m = mk_new();
    struct plan *plan = mk_plan(m, NULL);
    assert_int_equal(plan->verdict, PLAN_OK);
    assert_true(plan->cost.hour.known && plan->cost.gap.value <= 0);
    plan_free(plan);
    mk_svc(m, "a", 1, 1, 64);
    expect_verdict(m, PLAN_IMPOSSIBLE, "no_allowed_node");
    m = two_sites();
    struct service *s = mk_svc(m, "a", 0, 1, 64);
    mk_latency(s, 1, 1);
    mk_users(m, "u", 1);
    plan = mk_plan(m, NULL);
    assert_int_equal(plan->verdict, PLAN_OK);
    assert_false(plan->latency[0].ms.known);
    plan_free(plan);
    mk_free(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_trust_and_drain),
        cmocka_unit_test(test_residency),
        cmocka_unit_test(test_fix_beside_after_loss),
        cmocka_unit_test(test_no_allowed_node),
        cmocka_unit_test(test_too_large),
        cmocka_unit_test(test_exactly_full),
        cmocka_unit_test(test_one_too_many),
        cmocka_unit_test(test_zone_short),
        cmocka_unit_test(test_zone_short_in_a_loss),
        cmocka_unit_test(test_keep_sites),
        cmocka_unit_test(test_keep_cannot_hold),
        cmocka_unit_test(test_keep_nodes),
        cmocka_unit_test(test_one_allowed_site),
        cmocka_unit_test(test_latency_picks_the_near_site),
        cmocka_unit_test(test_latency_too_far),
        cmocka_unit_test(test_after_loss),
        cmocka_unit_test(test_great_circle),
        cmocka_unit_test(test_ceiling),
        cmocka_unit_test(test_unknown_price),
        cmocka_unit_test(test_many_unknown_prices),
        cmocka_unit_test(test_fix_counts_whole_replicas),
        cmocka_unit_test(test_egress),
        cmocka_unit_test(test_rps),
        cmocka_unit_test(test_nothing_at_all),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
