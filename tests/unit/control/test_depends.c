/* SPDX-License-Identifier: Apache-2.0 */
/* depends_on: what waits for what, and that nothing waits after a loss. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include "fake.h"
#include "scenes.h"

#define ON(service, condition) \
    ",\"depends_on\":{\"" service "\":{\"condition\":\"service_" condition "\"}}"
#define CHECK ",\"healthcheck\":{\"test\":[\"CMD\",\"ok\"]}"
#define DB_WEB(db, web) \
    PROJECT("shop", SERVICE("db", db, "1", CHECK) "," SERVICE("web", web, "2", ON("db", "healthy")))
#define JOB_WEB(job)                                                             \
    PROJECT("shop", SERVICE("job", job, "2", ",\"restart\":\"no\"") "," SERVICE( \
                        "web", "web:1", "2", ON("job", "completed_successfully")))

static struct fake *world(void)
{
    struct fake *f = fake_new(11);
    fake_three_sites(f, 1);
    return f;
}

static size_t made(struct fake *f, const char *service)
{
    const struct sk_node *list = sk_map_seq(fake_query(f, control_ps_json), "instances");
    size_t count = 0;
    for (uint32_t i = 0; i < list->count; i++) {
        count += sk_str_is(sk_map_str(&list->u.items[i], "service", SK_STR("")), service);
    }
    return count;
}

static struct sk_str service_says(struct fake *f, const char *service, const char *what)
{
    const struct sk_node *list = sk_map_seq(fake_query(f, control_status_json), "services");
    for (uint32_t i = 0; i < list->count; i++) {
        const struct sk_node *row = &list->u.items[i];
        if (sk_str_is(sk_map_str(row, "service", SK_STR("")), service)) {
            return sk_map_str(row, what, SK_STR(""));
        }
    }
    return SK_STR("");
}

static void starts_in_order(void **state)
{
    (void)state;
    struct fake *f = world();
    fake_must_apply(f, DB_WEB("db:1", "web:1"));
    for (int i = 0; i < 500 && !fake_converged(f); i++) {
        fake_run(f, 10);
        if (fake_running(f, "shop/db.", "") == 0) {
            assert_int_equal(made(f, "web"), 0);
        }
    }
    assert_true(fake_converged(f));
    assert_int_equal(fake_running(f, "shop/web.", ""), 2);
    fake_free(f);
}

static void waits_and_says_so(void **state)
{
    (void)state;
    struct fake *f = world();
    (void)snprintf(f->bad_image, sizeof(f->bad_image), "db:bad");
    fake_must_apply(f, DB_WEB("db:bad", "web:1"));
    fake_run(f, 10000);
    assert_int_equal(made(f, "web"), 0);
    assert_true(sk_str_is(service_says(f, "web", "waiting"), "waits for 'db' to be healthy"));
    fake_restart_control(f);
    fake_run(f, 10000);
    assert_int_equal(made(f, "web"), 0);
    fake_must_apply(f, DB_WEB("db:2", "web:1"));
    fake_run(f, 10000);
    assert_true(fake_converged(f));
    fake_free(f);
}

static void waits_for_a_job_to_complete(void **state)
{
    (void)state;
    for (int code = 0; code < 2; code++) {
        struct fake *f = world();
        (void)snprintf(f->done_image, sizeof(f->done_image), "job:1");
        f->done_exit = code;
        fake_must_apply(f, JOB_WEB("job:1"));
        fake_run(f, 1000); /* it runs, and has not ended */
        assert_int_equal(fake_running(f, "shop/job.", ""), 2);
        assert_int_equal(made(f, "web"), 0);
        fake_run(f, 5000);
        assert_int_equal(fake_running(f, "shop/job.", ""), 0);
        assert_int_equal(made(f, "job"), 2); /* kept on the books: it is not run again */
        assert_int_equal(fake_running(f, "shop/web.", ""), code == 0 ? 2 : 0);
        if (code == 0) {
            assert_true(sk_str_is(service_says(f, "job", "state"), "ok"));
            (void)snprintf(f->done_image, sizeof(f->done_image), "job:2");
            fake_must_apply(f, JOB_WEB("job:2")); /* a new job runs, the books of the old close */
            fake_run(f, 8000);
            assert_int_equal(made(f, "job"), 2);
            assert_int_equal(fake_running(f, "shop/web.", ""), 2);
        }
        fake_free(f);
    }
}

static void nothing_waits_after_a_loss(void **state)
{
    (void)state;
    struct fake *f = world();
    fake_must_apply(f, DB_WEB("db:1", "web:1"));
    fake_run(f, 5000);
    assert_true(fake_converged(f));
    (void)snprintf(f->bad_image, sizeof(f->bad_image), "db:1"); /* it does not come up again */
    static const char *const sites[] = {"ams", "fra", "par"};
    size_t moved = 0;
    for (size_t i = 0; i < 3; i++) {
        size_t web = fake_running(f, "shop/web.", sites[i]);
        if (fake_running(f, "shop/db.", sites[i]) > 0) {
            assert_true(web > 0); /* placed together, so that both are lost */
            moved = web;
            fake_kill_site(f, sites[i]);
            break;
        }
    }
    assert_true(moved > 0);
    fake_run(f, 20000);
    assert_int_equal(fake_running(f, "shop/web.", ""), 2);
    fake_free(f);
}

static void rollouts_wait_too(void **state)
{
    (void)state;
    struct fake *f = world();
    fake_must_apply(f, DB_WEB("db:1", "web:1"));
    fake_run(f, 5000);
    (void)snprintf(f->bad_image, sizeof(f->bad_image), "db:bad");
    fake_must_apply(f, DB_WEB("db:bad", "web:2"));
    fake_run(f, 20000);
    assert_int_equal(made(f, "web"), 2); /* the old ones serve on */
    assert_int_equal(fake_running(f, "shop/web.", ""), 2);
    fake_must_apply(f, DB_WEB("db:3", "web:2"));
    fake_run(f, 20000);
    assert_true(fake_converged(f));
    assert_int_equal(fake_running(f, "shop/web.", ""), 2);
    fake_free(f);
}

/* web waits for the room that the old api has, and the new api waits for web. */
static void room_goes_before_order(void **state)
{
    struct fake *f = fake_new(3);
    assert_int_equal(fake_join(f, "fra-1", "fra", 4, 4096), 0);
#define SIZED(name, image, replicas, cpus, more)                               \
    "\"" name "\":{\"image\":\"" image "\",\"deploy\":{\"replicas\":" replicas \
    ",\"resources\":{\"limits\":{\"cpus\":\"" cpus "\"}}}" more "}"
    fake_must_apply(f, PROJECT("shop", SIZED("web", "web:1", "1", "1",
                                             "") "," SIZED("api", "api:1", "1", "3", "")));
    fake_run(f, 3000);
    assert_true(fake_converged(f));
    fake_must_apply(f, PROJECT("shop", SIZED("web", "web:2", "2", "1", "") "," SIZED(
                                           "api", "api:2", "1", "1", ",\"depends_on\":[\"web\"]")));
    fake_run(f, 15000);
    assert_true(fake_converged(f));
    assert_int_equal(fake_running(f, "shop/", ""), 3);
    assert_string_equal(f->broken, "");
    fake_free(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(starts_in_order),
        cmocka_unit_test(waits_and_says_so),
        cmocka_unit_test(waits_for_a_job_to_complete),
        cmocka_unit_test(nothing_waits_after_a_loss),
        cmocka_unit_test(rollouts_wait_too),
        cmocka_unit_test(room_goes_before_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
