/* SPDX-License-Identifier: Apache-2.0 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "make_world.h"

static struct mk *three_sites(void)
{
    struct mk *m = mk_new();
    const char *const sites[] = {"ams", "fra", "par"};
    char name[16];
    for (int s = 0; s < 3; s++) {
        mk_site(m, sites[s]);
        for (int n = 1; n <= 2; n++) {
            (void)snprintf(name, sizeof(name), "%s-%d", sites[s], n);
            mk_node(m, name, sites[s], 4, 8192, 0.1 + 0.01 * s);
        }
    }
    return m;
}

/* cost = sum of max(cpu share, memory share) x price: 6 x max(0.5/4, 256/8192) x price */
static void test_cheapest_within_goals(void **state)
{
    (void)state;
    struct mk *m = three_sites();
    mk_svc(m, "web", 6, 0.5, 256);
    struct plan *plan = mk_plan(m, NULL);
    assert_int_equal(plan->verdict, PLAN_OK);
    /* f = g = 1 by default: keep floor(6/2) = 3, so ams (cheapest) holds 3 and fra the rest */
    assert_int_equal(plan_count(plan, "web", "ams", false), 3);
    assert_int_equal(plan_count(plan, "web", "fra", false), 3);
    assert_true(plan->cost.hour.known);
    assert_true(fabs(plan->cost.hour.value - (3 * 0.125 * 0.10 + 3 * 0.125 * 0.11)) < 1e-12);
    assert_true(plan->cost.gap.known && plan->cost.gap.value <= 1e-9);
    assert_int_equal(plan->nlosses, 3);
    assert_int_equal(plan->nwarnings, 0);
    assert_int_equal(plan->node_losses.checked, 6);
    plan_free(plan);
    mk_free(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cheapest_within_goals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
