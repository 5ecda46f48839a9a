/* SPDX-License-Identifier: Apache-2.0 */
/* --current: what stays, what moves, what a move costs; `near`. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "make_world.h"

static struct mk *world(struct node **ret_ams)
{
    struct mk *m = mk_new();
    mk_site(m, "ams");
    mk_site(m, "fra");
    *ret_ams = mk_node(m, "ams-1", "ams", 4, 4096, 0.20);
    mk_node(m, "fra-1", "fra", 4, 4096, 0.21);
    return m;
}

static void test_no_current_no_moves(void **state)
{
    (void)state;
    struct node *ams;
    struct mk *m = world(&ams);
    mk_svc(m, "a", 1, 1, 64);
    struct plan *plan = mk_plan(m, NULL);
    assert_int_equal(plan->nmoves, 0);
    assert_int_equal(plan_count(plan, "a", "ams", false), 1);
    plan_free(plan);
    mk_free(m);
}

/* 24 / 730 = 3.3 % of the hourly cost: a saving of 1 % does not pay for a move, one of 50 % does.
 */
static void test_a_move_must_pay(void **state)
{
    (void)state;
    struct node *ams;
    struct mk *m = world(&ams);
    mk_svc(m, "a", 1, 1, 64);
    struct plan *first = mk_plan(m, NULL);
    ams->price_hour = 0.212;
    struct plan *plan = mk_plan(m, first);
    assert_int_equal(plan->nmoves, 0);
    assert_int_equal(plan_count(plan, "a", "ams", false), 1);
    assert_true(plan->cost.gap.value <= 1e-9);
    plan_free(plan);
    mk_free(m);
    m = world(&ams);
    ams->price_hour = 0.42;
    mk_svc(m, "a", 1, 1, 64);
    plan = mk_plan(m, first);
    assert_int_equal(plan->nmoves, 1);
    assert_true(sk_str_is(plan->moves[0].from, "ams-1"));
    assert_true(sk_str_is(plan->moves[0].to, "fra-1"));
    assert_non_null(strstr(plan->moves[0].why.ptr, "saves"));
    plan_free(plan);
    plan_free(first);
    mk_free(m);
}

static void test_drained_node_is_left(void **state)
{
    (void)state;
    struct node *ams;
    struct mk *m = world(&ams);
    mk_svc(m, "a", 2, 1, 64);
    struct plan *first = mk_plan(m, NULL);
    mk_free(m);
    m = world(&ams);
    ams->drained = true;
    mk_svc(m, "a", 2, 1, 64);
    struct plan *plan = mk_plan(m, first);
    assert_int_equal(plan->verdict, PLAN_OK);
    assert_int_equal(plan->nmoves, 1);
    assert_true(sk_str_is(plan->moves[0].from, "ams-1"));
    assert_non_null(strstr(plan->moves[0].why.ptr, "drained"));
    plan_free(plan);
    plan_free(first);
    mk_free(m);
}

/* Replica numbers stay with their nodes; a new replica has no `from`; one that is gone is no move.
 */
static void test_numbers_stay(void **state)
{
    (void)state;
    struct node *ams;
    struct mk *m = world(&ams);
    struct service *s = mk_svc(m, "a", 3, 1, 64);
    struct plan *first = mk_plan(m, NULL);
    s->replicas = 4;
    struct plan *more = mk_plan(m, first);
    assert_int_equal(more->nmoves, 1);
    assert_int_equal(more->moves[0].replica, 3);
    assert_int_equal(more->moves[0].from.len, 0);
    for (size_t i = 0; i < 3; i++) {
        assert_true(sk_str_eq(more->placements[i].node, first->placements[i].node));
    }
    s->replicas = 2;
    struct plan *fewer = mk_plan(m, more);
    for (size_t i = 0; i < fewer->nmoves; i++) {
        assert_true(fewer->moves[i].from.len > 0);
    }
    assert_int_equal(fewer->nplacements, 2);
    plan_free(first);
    plan_free(more);
    plan_free(fewer);
    mk_free(m);
}

static void test_near(void **state)
{
    (void)state;
    struct mk *m = mk_new();
    mk_site(m, "ams");
    mk_site(m, "fra");
    mk_site(m, "par");
    mk_node(m, "ams-1", "ams", 4, 4096, 0.2000);
    mk_node(m, "fra-1", "fra", 4, 4096, 0.2001); /* 0.05 % dearer: within what near may spend */
    mk_node(m, "par-1", "par", 4, 4096, 0.3000);
    mk_link(m, "ams", "fra", 7);
    mk_link(m, "ams", "par", 9);
    mk_link(m, "fra", "par", 8);
    struct service *db = mk_svc(m, "db", 1, 1, 64);
    struct constraint c = {.subject = ON_SITE, .equal = true, .value = SK_STR("fra")};
    db->constraints = &c;
    db->nconstraints = 1;
    mk_near(m, mk_svc(m, "api", 1, 1, 64), "db");
    struct plan *plan = mk_plan(m, NULL);
    assert_int_equal(plan->verdict, PLAN_OK);
    assert_int_equal(plan_count(plan, "api", "fra", false), 1);
    assert_true(plan->cost.gap.value <= 1e-9); /* taken before near */
    plan_free(plan);
    mk_free(m);
}

static void test_near_too_dear(void **state)
{
    (void)state;
    struct mk *m = mk_new();
    mk_site(m, "ams");
    mk_site(m, "fra");
    mk_node(m, "ams-1", "ams", 4, 4096, 0.20);
    mk_node(m, "fra-1", "fra", 4, 4096, 0.21);
    mk_link(m, "ams", "fra", 7);
    struct service *db = mk_svc(m, "db", 1, 1, 64);
    struct constraint c = {.subject = ON_SITE, .equal = true, .value = SK_STR("fra")};
    db->constraints = &c;
    db->nconstraints = 1;
    mk_near(m, mk_svc(m, "api", 1, 1, 64), "db");
    struct plan *plan = mk_plan(m, NULL);
    assert_int_equal(plan_count(plan, "api", "ams", false), 1);
    plan_free(plan);
    mk_free(m);
}

static int64_t ticks;

/* Each look at this clock finds it a millisecond later. */
static int64_t ticking(void)
{
    return ticks += 1000;
}

static void test_time_in_parts(void **state)
{
    (void)state;
    struct node *ams;
    struct mk *m = world(&ams);
    mk_svc(m, "a", 2, 1, 64);
    struct plan *without = mk_plan(m, NULL);
    assert_true(without->timing_ms.total == 0 && without->timing_ms.losses == 0);
    mk_input(m)->now_us = ticking;
    struct plan *with = mk_plan(m, NULL);
    assert_true(with->timing_ms.losses >= 1);
    assert_true(with->timing_ms.plan >= 1);
    assert_true(with->timing_ms.plan + with->timing_ms.losses == with->timing_ms.total);
    assert_true(with->timing_ms.total == (double)(ticks / 1000 - 1));
    assert_string_equal(with->id, without->id);
    plan_free(without);
    plan_free(with);
    mk_free(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_no_current_no_moves),
        cmocka_unit_test(test_a_move_must_pay),
        cmocka_unit_test(test_drained_node_is_left),
        cmocka_unit_test(test_numbers_stay),
        cmocka_unit_test(test_near),
        cmocka_unit_test(test_near_too_dear),
        cmocka_unit_test(test_time_in_parts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
