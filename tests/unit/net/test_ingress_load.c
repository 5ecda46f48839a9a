/* SPDX-License-Identifier: Apache-2.0 */
/* The ingress with a real HAProxy on loopback: what users lose while replicas die, endpoints change
 * and HAProxy reloads. */
#include "base/mem.h"
#include "ingress_site.h"
#include "ingress_users.h"

static long lose_a_replica(void)
{
    static struct site fra;
    struct replica a = start_replica("a");
    struct replica b = start_replica("b");
    const struct replica *const list[] = {&a, &b};
    open_site(&fra, "fra", "127.0.0.1", NULL);
    set_local(&fra, list, 2);
    apply(&fra);
    settle(&fra);
    struct users u = start_users("127.0.0.1", 300, 1.2, false);
    pump(500);
    kill_replica(&a);
    long failed = end_users(&u);
    close_site(&fra);
    kill_replica(&b);
    return failed;
}

static void a_dead_replica_costs_no_request(void **state)
{
    (void)state;
    nothing_fails(lose_a_replica);
}

static long change_endpoints(void)
{
    static struct site fra;
    struct replica r[3] = {start_replica("a"), start_replica("b"), start_replica("c")};
    open_site(&fra, "fra", "127.0.0.1", NULL);
    give_identity(&fra, "fra-1");
    const struct replica *const first[] = {&r[0], &r[1]};
    set_local(&fra, first, 2);
    apply(&fra);
    settle(&fra);
    struct users u = start_users("127.0.0.1", 300, 1.5, true);
    for (int i = 0; i < 20; i++) {
        const struct replica *const pair[] = {&r[i % 3], &r[(i + 1) % 3]};
        set_local(&fra, pair, 2);
        apply(&fra);
        pump(60);
    }
    long failed = end_users(&u);
    settle(&fra);
    assert_true(ingress_status(fra.ing).changes >= 10);
    assert_int_equal(ingress_status(fra.ing).reloads, 0);
    assert_int_equal(fra.events[INGRESS_FAILED], 0);
    close_site(&fra);
    for (int i = 0; i < 3; i++) {
        kill_replica(&r[i]);
    }
    return failed;
}

static void endpoints_change_under_load_without_errors(void **state)
{
    (void)state;
    nothing_fails(change_endpoints);
}

static long reload(void)
{
    static struct site fra;
    struct replica a = start_replica("a");
    const struct replica *const list[] = {&a};
    long failed = 0;
    open_site(&fra, "fra", "127.0.0.1", NULL);
    set_local(&fra, list, 1);
    apply(&fra);
    settle(&fra);
    for (int keep_alive = 0; keep_alive < 2; keep_alive++) {
        struct users u = start_users("127.0.0.1", 300, 1.2, keep_alive == 1);
        for (int i = 0; i < 6; i++) {
            fra.view.nservices = 2 - (size_t)(i % 2);
            apply(&fra);
            settle(&fra);
            pump(20);
        }
        long now_failed = end_users(&u);
        if (now_failed > 0 || failed == 0) {
            failed = now_failed; /* one that counts outweighs one that does not */
        }
    }
    assert_int_equal(ingress_status(fra.ing).reloads, 12);
    assert_int_equal(fra.events[INGRESS_FAILED], 0);
    close_site(&fra);
    kill_replica(&a);
    return failed;
}

static void reloads_under_load_without_errors(void **state)
{
    (void)state;
    nothing_fails(reload);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_dead_replica_costs_no_request, setup, teardown),
        cmocka_unit_test_setup_teardown(endpoints_change_under_load_without_errors, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(reloads_under_load_without_errors, setup, teardown),
    };
    return program_result(cmocka_run_group_tests(tests, NULL, NULL));
}
