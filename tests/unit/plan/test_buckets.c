/* SPDX-License-Identifier: Apache-2.0 */
/* Buckets: codes, layouts, disk, cost. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "make_world.h"

#define GIB (1LL << 30)

/* `count` sites of `nodes` nodes with 10 GiB of disk each. */
static struct mk *world(int count, int nodes)
{
    struct mk *m = mk_new();
    char site[8];
    char name[16];
    for (int s = 0; s < count; s++) {
        (void)snprintf(site, sizeof(site), "s%d", s);
        mk_site(m, site);
        for (int n = 0; n < nodes; n++) {
            (void)snprintf(name, sizeof(name), "s%d-%d", s, n);
            mk_node(m, name, site, 4, 4096, 0.1)->disk_bytes = 10 * GIB;
        }
    }
    return m;
}

static void expect_code(struct mk *m, int64_t data, int64_t parity, bool warns)
{
    struct plan *plan = mk_plan(m, NULL);
    assert_int_equal(plan->verdict, PLAN_OK);
    assert_int_equal(plan->nbuckets, 1);
    assert_int_equal(plan->buckets[0].data, data);
    assert_int_equal(plan->buckets[0].parity, parity);
    int64_t sum = 0;
    for (size_t i = 0; i < plan->buckets[0].nshards; i++) {
        sum += plan->buckets[0].shards[i].count;
        assert_true(warns || parity == 0 || plan->buckets[0].shards[i].count <= parity);
    }
    assert_int_equal(sum, data + parity);
    assert_int_equal(plan_warns(plan, "goal_unmet", "b"), warns);
    plan_free(plan);
    mk_free(m);
}

static void test_auto_codes(void **state)
{
    (void)state;
    struct mk *m = world(3, 2); /* 4+2, two a site: 1.5; 2+1 is as good and smaller */
    mk_bucket(m, "b", 0);
    expect_code(m, 4, 2, false);
    m = world(3, 1);
    mk_bucket(m, "b", 0);
    expect_code(m, 2, 1, false);
    m = world(10, 1); /* 8+1 over nine sites */
    mk_bucket(m, "b", 0);
    expect_code(m, 8, 1, false);
    m = world(2, 5); /* 5+5 */
    mk_bucket(m, "b", 0);
    expect_code(m, 5, 5, false);
    m = world(1, 3); /* one site: f = 0, nothing to survive, as many as there are nodes */
    mk_bucket(m, "b", 0);
    expect_code(m, 3, 0, false);
    m = world(5, 3);
    mk_bucket(m, "b", 0)->survive = (struct survive){.sites_written = true, .sites = 2};
    expect_code(m, 6, 4, false); /* two in each of five: any two hold four; 8+6 is worse */
}

static void test_written_code(void **state)
{
    (void)state;
    struct mk *m = world(2, 3);
    struct bucket *b = mk_bucket(m, "b", 0);
    b->has_code = true;
    b->data = 4;
    b->parity = 2;
    /* two sites cannot hold it: the default goal is given up, and said */
    expect_code(m, 4, 2, true);
    m = world(2, 3);
    b = mk_bucket(m, "b", 0);
    b->has_code = true;
    b->data = 4;
    b->parity = 2;
    b->survive = (struct survive){.sites_written = true, .sites = 1};
    struct plan *plan = mk_plan(m, NULL);
    assert_int_equal(plan->verdict, PLAN_IMPOSSIBLE);
    assert_true(plan_problem_of(plan, "bucket_code_unmet")->proven);
    plan_free(plan);
    mk_free(m);
}

static void test_disk(void **state)
{
    (void)state;
    struct mk *m = world(3, 1);
    struct bucket *b = mk_bucket(m, "b", 20 * GIB); /* 2+1: 10 GiB in each site, exactly */
    struct plan *plan = mk_plan(m, NULL);
    assert_int_equal(plan->verdict, PLAN_OK);
    plan_free(plan);
    b->size_bytes += 2;
    plan = mk_plan(m, NULL);
    /* nobody wrote that it must survive: it goes on the disks there are, and that is said */
    assert_int_equal(plan->verdict, PLAN_OK);
    assert_true(plan_warns(plan, "goal_unmet", "b"));
    plan_free(plan);
    b->survive = (struct survive){.sites_written = true, .sites = 1};
    plan = mk_plan(m, NULL);
    assert_int_not_equal(plan->verdict, PLAN_OK);
    assert_non_null(plan_problem_of(plan, "bucket_disk_short"));
    plan_free(plan);
    mk_free(m);
}

static void test_storage_sites_and_cost(void **state)
{
    (void)state;
    struct mk *m = world(2, 1);
    struct site *vault = mk_site(m, "vault");
    vault->trust = SITE_STORAGE;
    vault->price_gb_month = 0.73;
    mk_node(m, "vault-1", "vault", 1, 64, 0)->disk_bytes = 10 * GIB;
    mk_bucket(m, "b", 10 * GIB);
    struct plan *plan = mk_plan(m, NULL);
    assert_int_equal(plan->verdict, PLAN_OK);
    assert_int_equal(plan->buckets[0].data, 2);
    assert_int_equal(plan->buckets[0].nshards, 3);
    /* 5 GiB at 0.73 a month */
    assert_true(fabs(plan->cost.hour.value - 5 * 0.73 / 730) < 1e-12);
    assert_true(plan->cost.gap.value <= 1e-9);
    plan_free(plan);
    mk_free(m);
}

static void test_no_site(void **state)
{
    (void)state;
    struct mk *m = mk_new();
    mk_site(m, "ams");
    mk_node(m, "ams-1", "ams", 4, 4096, 0.1);
    mk_bucket(m, "b", 0);
    struct plan *plan = mk_plan(m, NULL);
    assert_int_equal(plan->verdict, PLAN_IMPOSSIBLE);
    const struct plan_problem *p = plan_problem_of(plan, "bucket_no_site");
    assert_non_null(p);
    assert_true(sk_str_is(p->bucket, "b"));
    plan_free(plan);
    mk_free(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_auto_codes), cmocka_unit_test(test_written_code),
        cmocka_unit_test(test_disk),       cmocka_unit_test(test_storage_sites_and_cost),
        cmocka_unit_test(test_no_site),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
