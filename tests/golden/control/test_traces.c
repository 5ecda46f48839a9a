/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "fake.h"
#include "scenes.h"

/*
 * Whole stories, told by the trace: what control said, decided and assigned, and when. A change of
 * behaviour shows as a difference to the files beside this one. After a wanted change:
 *
 *     UPDATE_GOLDEN=1 meson test -C build 'control traces'      and read the diff
 */
static char *read_all(const char *path)
{
    FILE *file = fopen(path, "r");
    struct sk_buf text = SK_BUF_INIT;
    char chunk[4096];
    size_t got;
    if (file == NULL) {
        return NULL;
    }
    while ((got = fread(chunk, 1, sizeof(chunk), file)) > 0) {
        sk_buf_add(&text, chunk, got);
    }
    (void)fclose(file);
    return sk_buf_steal(&text, NULL);
}

static void compare(const char *name, const char *trace)
{
    const char *root = getenv("SKERRY_SOURCE_ROOT");
    char path[512];
    (void)snprintf(path, sizeof(path), "%s/tests/golden/control/%s.trace", root ? root : ".", name);
    if (getenv("UPDATE_GOLDEN") != NULL) {
        FILE *file = fopen(path, "w");
        assert_non_null(file);
        assert_true(fputs(trace, file) >= 0);
        assert_int_equal(fclose(file), 0);
        return;
    }
    char *expected = read_all(path);
    assert_non_null(expected);
    if (strcmp(expected, trace) != 0) {
        print_error("the story '%s' is told differently now:\n%s\n", name, trace);
    }
    assert_string_equal(trace, expected);
    free(expected);
}

static struct fake *begin(void)
{
    struct fake *f = fake_new(5);
    fake_three_sites(f, 1);
    f->trace.len = 0;
    return f;
}

static void finish(struct fake *f, const char *name)
{
    compare(name, f->trace.ptr);
    fake_free(f);
}

static void first_day(void **state)
{
    struct fake *f = fake_new(5);
    fake_three_sites(f, 1);
    fake_must_apply(f, WEB("3", "web:1"));
    fake_run(f, 2000);
    fake_must_apply(f, WEB("3", "web:2"));
    fake_run(f, 6000);
    fake_must_apply(f, WEB("0", "web:2"));
    fake_run(f, 2000);
    finish(f, "first-day");
}

static void site_dies_and_comes_back(void **state)
{
    struct fake *f = begin();
    fake_must_apply(f, WEB("3", "web:1"));
    fake_run(f, 2000);
    fake_kill_site(f, "fra");
    fake_run(f, 5000);
    fake_start_site(f, "fra");
    fake_run(f, 20000);
    finish(f, "site-dies-and-comes-back");
}

static void a_drill(void **state)
{
    struct control_request none = {.kind = CONTROL_REQ_DRILL_ABORT};
    struct fake *f = begin();
    fake_must_apply(f, WEB("3", "web:1"));
    fake_users(f, 50, 0);
    fake_run(f, 3000);
    (void)fake_wait(f, fake_drill(f, "fra", 12000, 1.0, false));
    fake_run(f, 30000);
    (void)fake_wait(f, fake_drill(f, "ams", 12000, 1.0, true));
    fake_run(f, 30000);
    (void)fake_wait(f, fake_drill(f, "par", 60000, 1.0, false));
    fake_run(f, 4000);
    (void)fake_wait(f, fake_request(f, &none));
    fake_run(f, 15000);
    finish(f, "a-drill");
}

static void control_is_cut_off(void **state)
{
    struct fake *f = begin();
    fake_must_apply(f, WEB("3", "web:1"));
    fake_run(f, 2000);
    fake_isolate(f, "hub", true);
    fake_run(f, 10000);
    fake_isolate(f, "hub", false);
    fake_run(f, 5000);
    finish(f, "control-is-cut-off");
}

static void a_link_is_cut(void **state)
{
    struct fake *f = begin();
    fake_must_apply(f, WEB("3", "web:1"));
    fake_run(f, 2000);
    fake_control_link(f, "par", true);
    fake_run(f, 5000);
    fake_control_link(f, "par", false);
    fake_run(f, 3000);
    finish(f, "a-link-is-cut");
}

static void probes_are_blocked(void **state)
{
    struct fake *f = fake_new(5);
    f->probes_blocked = true;
    fake_three_sites(f, 1);
    f->trace.len = 0;
    fake_must_apply(f, WEB("3", "web:1"));
    fake_run(f, 2000);
    fake_control_link(f, "par", true);
    fake_run(f, 5000);
    fake_control_link(f, "par", false);
    fake_run(f, 15000);
    f->probes_blocked = false;
    fake_run(f, 35000);
    finish(f, "probes-are-blocked");
}

static void control_stands_still(void **state)
{
    struct fake *f = begin();
    fake_must_apply(f, WEB("3", "web:1"));
    fake_run(f, 2000);
    fake_stall_control(f, 4000);
    fake_run(f, 5000);
    fake_kill_site(f, "par");
    fake_run(f, 5000);
    finish(f, "control-stands-still");
}

static void a_bad_release(void **state)
{
    struct fake *f = begin();
    (void)snprintf(f->bad_image, sizeof(f->bad_image), "web:bad");
    fake_must_apply(f, WEB("3", "web:1"));
    fake_run(f, 2000);
    fake_must_apply(f, WEB("3", "web:bad"));
    fake_run(f, 65000);
    fake_must_apply(f, WEB("3", "web:1"));
    fake_run(f, 3000);
    finish(f, "a-bad-release");
}

static void drain_and_undrain(void **state)
{
    struct fake *f = begin();
    fake_must_apply(f, WEB("3", "web:1"));
    fake_run(f, 2000);
    (void)fake_wait(f, fake_target(f, CONTROL_REQ_DRAIN, "fra-1", false, false));
    fake_run(f, 3000);
    (void)fake_wait(f, fake_target(f, CONTROL_REQ_UNDRAIN, "fra-1", false, false));
    fake_run(f, 3000);
    struct control_request r = {.kind = CONTROL_REQ_REBALANCE};
    r.u.rebalance.max_moves = -1;
    (void)fake_wait(f, fake_request(f, &r));
    fake_run(f, 3000);
    finish(f, "drain-and-undrain");
}

static void restart_amid_a_rollout(void **state)
{
    struct fake *f = begin();
    fake_must_apply(f, WEB("3", "web:1"));
    fake_run(f, 2000);
    fake_must_apply(f, WEB("3", "web:2"));
    fake_run(f, 600);
    fake_restart_control(f);
    fake_run(f, 8000);
    finish(f, "restart-amid-a-rollout");
}

/* Its node's site is cut off: it ends there by itself, then starts elsewhere; a new image; the
 * holder pauses and wakes; it is removed. */
static void exclusive_work(void **state)
{
    static const char one[] =
        PROJECT("jobs", SERVICE("worker", "w:1", "1", ",\"x-skerry\":{\"exclusive\":true}"));
    static const char two[] =
        PROJECT("jobs", SERVICE("worker", "w:2", "1", ",\"x-skerry\":{\"exclusive\":true}"));
    struct fake *f = begin();
    const char *node = "";
    fake_must_apply(f, one);
    fake_run(f, 3000);
    assert_non_null(fake_exclusive(f, "jobs/worker.0", &node));
    const char *site = fake_agent(f, node)->site;
    fake_isolate(f, site, true);
    fake_run(f, 8000);
    fake_isolate(f, site, false);
    fake_run(f, 5000);
    fake_must_apply(f, two);
    fake_run(f, 3000);
    assert_non_null(fake_exclusive(f, "jobs/worker.0", &node));
    fake_pause(f, node, true);
    fake_run(f, 8000);
    fake_pause(f, node, false);
    fake_run(f, 3000);
    (void)fake_wait(f, fake_target(f, CONTROL_REQ_PROJECT_DELETE, "jobs", false, false));
    fake_run(f, 2000);
    finish(f, "exclusive-work");
}

static void clock_goes_back_over_a_restart(void **state)
{
    struct fake *f = begin();
    fake_must_apply(f, WEB("3", "web:1"));
    fake_run(f, 2000);
    fake_note(f, "-- the wall clock goes back by an hour");
    f->wall_ms -= 3600000;
    fake_restart_control(f);
    fake_run(f, 1000);
    fake_must_apply(f, WEB("0", "web:1"));
    fake_run(f, 3000);
    finish(f, "clock-goes-back-over-a-restart");
}

#define SIZED(name, image, replicas, cpus, more)                               \
    "\"" name "\":{\"image\":\"" image "\",\"deploy\":{\"replicas\":" replicas \
    ",\"resources\":{\"limits\":{\"cpus\":\"" cpus "\"}}}" more "}"

static void forced_drain_amid_a_rollout(void **state)
{
    struct fake *f = begin();
    fake_must_apply(f, PROJECT("big", SIZED("db", "db:1", "3", "4", "")));
    fake_run(f, 2000);
    fake_must_apply(f, PROJECT("big", SIZED("db", "db:2", "3", "4", "")));
    (void)fake_wait(f, fake_target(f, CONTROL_REQ_DRAIN, "fra-1", false, true));
    fake_run(f, 6000);
    (void)fake_wait(f, fake_target(f, CONTROL_REQ_UNDRAIN, "fra-1", false, false));
    fake_run(f, 6000);
    finish(f, "forced-drain-amid-a-rollout");
}

static void room_goes_before_order(void **state)
{
    struct fake *f = fake_new(5);
    assert_int_equal(fake_join(f, "fra-1", "fra", 4, 4096), 0);
    f->trace.len = 0;
    fake_must_apply(f, PROJECT("shop", SIZED("web", "web:1", "1", "1",
                                             "") "," SIZED("api", "api:1", "1", "3", "")));
    fake_run(f, 2000);
    fake_must_apply(f, PROJECT("shop", SIZED("web", "web:2", "2", "1", "") "," SIZED(
                                           "api", "api:2", "1", "1", ",\"depends_on\":[\"web\"]")));
    fake_run(f, 5000);
    finish(f, "room-goes-before-order");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(first_day),
        cmocka_unit_test(site_dies_and_comes_back),
        cmocka_unit_test(a_drill),
        cmocka_unit_test(control_is_cut_off),
        cmocka_unit_test(a_link_is_cut),
        cmocka_unit_test(probes_are_blocked),
        cmocka_unit_test(control_stands_still),
        cmocka_unit_test(a_bad_release),
        cmocka_unit_test(drain_and_undrain),
        cmocka_unit_test(restart_amid_a_rollout),
        cmocka_unit_test(exclusive_work),
        cmocka_unit_test(clock_goes_back_over_a_restart),
        cmocka_unit_test(forced_drain_amid_a_rollout),
        cmocka_unit_test(room_goes_before_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
