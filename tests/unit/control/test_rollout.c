/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include "fake.h"
#include "scenes.h"

static struct fake *shop(void)
{
    struct fake *f = fake_new(4);
    fake_three_sites(f, 2);
    fake_must_apply(f, WEB_SAFE("web:1"));
    fake_run(f, 3000);
    return f;
}

static size_t of_generation(struct fake *f, const char *site, const char *generation)
{
    const struct sk_node *list = sk_map_seq(fake_query(f, control_ps_json), "instances");
    size_t count = 0;
    for (uint32_t i = 0; i < list->count; i++) {
        const struct sk_node *row = &list->u.items[i];
        char text[24];
        (void)snprintf(text, sizeof(text), "%lld", (long long)sk_map_int(row, "generation", 0));
        count += strcmp(text, generation) == 0 &&
                 (!site[0] || sk_str_is(sk_map_str(row, "site", SK_STR("")), site));
    }
    return count;
}

static int ingresses_behind(struct fake *f)
{
    const struct sk_node *list = sk_map_seq(fake_query(f, control_sites_json), "sites");
    int count = 0;
    for (uint32_t i = 0; i < list->count; i++) {
        count += sk_map_bool(&list->u.items[i], "ingress_behind", true);
    }
    return count;
}

/* From the moment that a copy is healthy until each site's ingress says that it serves it. */
static void ingresses_come_after(void **state)
{
    struct fake *f = fake_new(4);
    fake_three_sites(f, 2);
    assert_int_equal(ingresses_behind(f), 0); /* nothing leads anywhere */
    fake_must_apply(f, WEB_SAFE("web:1"));
    assert_int_equal(ingresses_behind(f), 3);
    for (int i = 0; i < 1000 && !fake_converged(f); i++) {
        fake_run(f, 10);
    }
    assert_int_equal(ingresses_behind(f), 3);
    fake_run(f, 2 * FAKE_FRONT_MS + 300);
    assert_int_equal(ingresses_behind(f), 0);
    fake_kill_site(f, "ams"); /* its ingress is behind nothing: it is away */
    fake_run(f, 5000);
    assert_int_equal(ingresses_behind(f), 0);
    fake_free(f);
}

static void rollout_goes_site_by_site(void **state)
{
    struct fake *f = shop();
    size_t least = 6;
    fake_must_apply(f, WEB_SAFE("web:2"));
    for (int i = 0; i < 1000 && !fake_converged(f); i++) {
        fake_run(f, 10);
        size_t now = fake_running(f, "shop/web.", "");
        least = now < least ? now : least;
        /* par, the last in turn, only when the others are done */
        if (of_generation(f, "par", "2") > 0) {
            assert_int_equal(of_generation(f, "ams", "2"), 2);
            assert_int_equal(of_generation(f, "fra", "2"), 2);
        }
    }
    assert_true(fake_converged(f));
    assert_int_equal(least, 6); /* start first */
    assert_int_equal(of_generation(f, "", "1"), 0);
    assert_int_equal(of_generation(f, "", "2"), 6);
    fake_free(f);
}

static void failing_health_stops_it(void **state)
{
    struct fake *f = shop();
    (void)snprintf(f->bad_image, sizeof(f->bad_image), "web:bad");
    fake_must_apply(f, WEB_SAFE("web:bad"));
    fake_run(f, 59000);
    assert_false(fake_event_seen(f, "rollout_stopped"));
    fake_run(f, 5000);
    assert_int_equal(fake_event_count(f, "rollout_stopped"), 1);
    fake_run(f, 60000);
    assert_int_equal(fake_event_count(f, "rollout_stopped"), 1); /* said once */
    assert_int_equal(of_generation(f, "", "1"), 6);              /* all the old ones work on */
    assert_true(of_generation(f, "", "2") <= 2);                 /* never all at once */
    assert_non_null(strstr(fake_view(f, "ams"), "10.210.4.2"));
    fake_must_apply(f, WEB_SAFE("web:3")); /* the cure goes out */
    fake_run(f, 20000);
    assert_true(fake_converged(f));
    assert_int_equal(of_generation(f, "", "3"), 6);
    fake_free(f);
}

static void rollback_by_applying_the_old_file(void **state)
{
    struct fake *f = shop();
    (void)snprintf(f->bad_image, sizeof(f->bad_image), "web:bad");
    fake_must_apply(f, WEB_SAFE("web:bad"));
    fake_run(f, 5000);
    fake_must_apply(f, WEB_SAFE("web:1"));
    fake_run(f, 3000);
    assert_true(fake_converged(f));
    assert_int_equal(of_generation(f, "", "1"), 6); /* those that never stopped */
    fake_free(f);
}

static void restart_in_the_middle(void **state)
{
    for (int at = 0; at < 3000; at += 200) { /* of a rollout, at many moments */
        struct fake *f = shop();
        size_t least = 6;
        fake_must_apply(f, WEB_SAFE("web:2"));
        fake_run(f, at);
        char before[16384];
        (void)snprintf(before, sizeof(before), "%s", fake_view(f, "fra"));
        fake_restart_control(f);
        for (int i = 0; i < 2000 && (i < 600 || !fake_converged(f)); i++) {
            fake_run(f, 10);
            size_t now = fake_running(f, "shop/web.", "");
            least = now < least ? now : least;
            assert_non_null(strstr(fake_view(f, "fra"), "\"local\":[{"));
        }
        assert_true(fake_converged(f));
        assert_int_equal(least, 6);
        assert_int_equal(of_generation(f, "", "2"), 6);
        fake_free(f);
    }
}

static void restart_while_a_site_is_lost(void **state)
{
    struct fake *f = shop();
    fake_kill_site(f, "fra");
    fake_run(f, 5000);
    fake_restart_control(f);
    fake_run(f, 12000);
    assert_int_equal(fake_running(f, "shop/web.", ""), 6);
    assert_int_equal(fake_event_count(f, "failover"), 1); /* its work is on record */
    fake_free(f);
}

static void full_nodes_are_rolled_too(void **state)
{
    struct fake *f = fake_new(4);
    fake_three_sites(f, 1);
#define FULL(image)                                                                       \
    "{\"name\":\"big\",\"services\":{\"db\":{\"image\":\"" image                          \
    "\",\"deploy\":{\"replicas\":3,\"resources\":{\"limits\":{\"cpus\":\"4\",\"memory\":" \
    "\"1G\"}}}}}}"
    fake_must_apply(f, FULL("db:1"));
    fake_run(f, 3000);
    assert_int_equal(fake_running(f, "big/db.", ""), 3);
    fake_must_apply(f, FULL("db:2"));
    size_t least = 3;
    for (int i = 0; i < 1500; i++) {
        fake_run(f, 10);
        size_t now = fake_running(f, "big/db.", "");
        least = now < least ? now : least;
    }
    assert_true(fake_converged(f));
    assert_int_equal(least, 2); /* no room for two: one after the other, one at a time */
    assert_string_equal(f->broken, "");
    fake_free(f);
}

/* Drained by force with no room elsewhere: what runs there goes on, and nothing new comes. */
static void a_drained_node_takes_no_new_version(void **state)
{
    struct fake *f = fake_new(4);
    fake_three_sites(f, 1);
    fake_must_apply(f, FULL("db:1"));
    fake_run(f, 3000);
    fake_must_apply(f, FULL("db:2"));
    assert_int_equal(fake_wait(f, fake_target(f, CONTROL_REQ_DRAIN, "fra-1", false, true))->code,
                     0);
    fake_run(f, 15000);
    assert_int_equal(fake_running(f, "big/db.", "fra"), 1);
    assert_int_equal(of_generation(f, "fra", "1"), 1);
    assert_int_equal(of_generation(f, "fra", "2"), 0);
    assert_int_equal(fake_wait(f, fake_target(f, CONTROL_REQ_UNDRAIN, "fra-1", false, false))->code,
                     0);
    fake_run(f, 15000);
    assert_true(fake_converged(f));
    assert_int_equal(of_generation(f, "", "2"), 3);
    fake_free(f);
}

static void addresses_and_ports(void **state)
{
    struct fake *f = fake_new(4);
    fake_three_sites(f, 1);
    fake_must_apply(f, "{\"name\":\"mix\",\"services\":{"
                       "\"a\":{\"image\":\"a:1\",\"deploy\":{\"replicas\":3},\"x-skerry\":{"
                       "\"route\":{\"host\":\"a.example.com\",\"port\":8123}}},"
                       "\"b\":{\"command\":[\"/bin/b\"],\"deploy\":{\"replicas\":6}}}}");
    fake_run(f, 3000);
    const struct sk_node *list = sk_map_seq(fake_query(f, control_ps_json), "instances");
    assert_int_equal(list->count, 9);
    for (uint32_t i = 0; i < list->count; i++) {
        const struct sk_node *row = &list->u.items[i];
        struct sk_str address = sk_map_str(row, "address", SK_STR(""));
        int64_t port = sk_map_int(row, "port", 0);
        if (sk_str_is(sk_map_str(row, "service", SK_STR("")), "a")) {
            assert_true(sk_str_starts(address, SK_STR("10.210.")));
            assert_int_equal(port, 8123);
        } else {
            assert_true(sk_str_starts(address, SK_STR("192.0.2.")));
            assert_true(port >= 20000 && port <= 29999);
        }
        for (uint32_t k = 0; k < i; k++) {
            const struct sk_node *other = &list->u.items[k];
            assert_false(sk_str_eq(address, sk_map_str(other, "address", SK_STR(""))) &&
                         port == sk_map_int(other, "port", 0));
        }
    }
    fake_free(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ingresses_come_after),
        cmocka_unit_test(rollout_goes_site_by_site),
        cmocka_unit_test(failing_health_stops_it),
        cmocka_unit_test(rollback_by_applying_the_old_file),
        cmocka_unit_test(restart_in_the_middle),
        cmocka_unit_test(restart_while_a_site_is_lost),
        cmocka_unit_test(full_nodes_are_rolled_too),
        cmocka_unit_test(a_drained_node_takes_no_new_version),
        cmocka_unit_test(addresses_and_ports),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
