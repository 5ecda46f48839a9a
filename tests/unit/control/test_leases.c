/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/json.h"
#include "fake.h"
#include "model/lease.h"
#include "scenes.h"

/* Exclusive work through losses, cuts, pauses, rollouts and restarts: never two at a time (the
 * fake looks at that at every moment, f->broken), and under a higher epoch each time. */

#define WORKER(image)                             \
    PROJECT("jobs", SERVICE("worker", image, "1", \
                            ",\"x-skerry\":{\"exclusive\":true,\"survive\":{\"sites\":1}}"))
#define FREE_WORKER(image) PROJECT("jobs", SERVICE("worker", image, "1", ""))
#define LABEL "jobs/worker.0"

static struct fake *cluster(const char *project)
{
    struct fake *f = fake_new(7);
    fake_three_sites(f, 2);
    fake_must_apply(f, project);
    fake_run(f, 3000);
    return f;
}

static void done(struct fake *f)
{
    if (f->broken[0]) {
        print_error("%s\n%s\n", f->broken, f->trace.ptr);
    }
    assert_string_equal(f->broken, "");
    fake_free(f);
}

static struct fake_inst *running(struct fake *f, const char **ret_node)
{
    struct fake_inst *i = fake_exclusive(f, LABEL, ret_node);
    return i != NULL && i->state == CONTROL_RUNNING ? i : NULL;
}

/* Runs until it runs on another node than `not_on`; the time that took. */
static int64_t until_elsewhere(struct fake *f, const char *not_on, int64_t at_most)
{
    int64_t start = f->now_ms;
    const char *node = "";
    while (f->now_ms - start < at_most) {
        const struct fake_inst *i = running(f, &node);
        if (i != NULL && strcmp(node, not_on) != 0) {
            return f->now_ms - start;
        }
        fake_run(f, 10);
    }
    print_error("%s\n", f->trace.ptr);
    fail_msg("nothing runs elsewhere after %lld ms", (long long)at_most);
    return -1;
}

static int64_t recorded_epoch(struct fake *f)
{
    struct sk_arena *arena = sk_arena_new();
    const struct sk_node *root;
    const char *text = fake_get(f, "/skerry/v1/leases/jobs/worker");
    assert_non_null(text);
    assert_int_equal(sk_json_read(arena, "lease", sk_str(text), NULL, &root, NULL), 0);
    int64_t epoch = sk_map_int(root, "epoch", -1);
    sk_arena_free(arena);
    return epoch;
}

static void renewed_for_long(void **state)
{
    struct fake *f = cluster(WORKER("w:1"));
    const char *node = "";
    assert_non_null(running(f, &node));
    fake_run(f, 60000);
    const struct fake_inst *i = running(f, &node);
    assert_non_null(i);
    assert_true(i != NULL && i->epoch == 1);
    assert_int_equal(fake_event_count(f, "lease_granted"), 1);
    assert_true(fake_converged(f));
    done(f);
}

static void moves_after_a_loss(void **state)
{
    struct fake *f = cluster(WORKER("w:1"));
    const char *node = "";
    char was[32];
    assert_non_null(running(f, &node));
    (void)snprintf(was, sizeof(was), "%s", node);
    fake_kill(f, was);
    int64_t took = until_elsewhere(f, was, 10000);
    /* not before what the dead node might still have run, and soon after */
    assert_true(took >= LEASE_MS - LEASE_RENEW_MS - 10 && took <= 3600);
    assert_int_equal(recorded_epoch(f), 2);
    fake_start(f, was);
    fake_run(f, 20000);
    assert_int_equal(fake_running(f, LABEL, ""), 1);
    done(f);
}

static void cut_site_stops_by_itself(void **state)
{
    struct fake *f = cluster(WORKER("w:1"));
    const char *node = "";
    char was[32], site[32];
    assert_non_null(running(f, &node));
    (void)snprintf(was, sizeof(was), "%s", node);
    (void)snprintf(site, sizeof(site), "%s", fake_agent(f, was)->site);
    fake_isolate(f, site, true);
    assert_true(until_elsewhere(f, was, 10000) <= 3600);
    assert_int_equal(fake_running(f, LABEL, site), 0);
    fake_run(f, 20000);
    fake_isolate(f, site, false);
    fake_run(f, 30000);
    assert_int_equal(fake_running(f, LABEL, ""), 1);
    assert_true(fake_converged(f));
    done(f);
}

static void paused_holder_wakes_to_its_end(void **state)
{
    struct fake *f = cluster(WORKER("w:1"));
    const char *node = "";
    char was[32];
    assert_non_null(running(f, &node));
    (void)snprintf(was, sizeof(was), "%s", node);
    fake_pause(f, was, true);
    (void)until_elsewhere(f, was, 10000);
    fake_pause(f, was, false);
    fake_run(f, 10000);
    assert_int_equal(fake_running(f, LABEL, ""), 1);
    done(f);
}

static void short_cut_costs_nothing(void **state)
{
    struct fake *f = cluster(WORKER("w:1"));
    const char *node = "";
    assert_non_null(running(f, &node));
    const char *site = fake_agent(f, node)->site;
    for (int k = 0; k < 5; k++) {
        fake_isolate(f, site, true);
        fake_run(f, 1500);
        fake_isolate(f, site, false);
        fake_run(f, 4000);
    }
    assert_int_equal(recorded_epoch(f), 1);
    done(f);
}

static void rollout_is_never_start_first(void **state)
{
    struct fake *f = cluster(WORKER("w:1"));
    const char *node = "";
    char id[33];
    const struct fake_inst *old = running(f, &node);
    assert_non_null(old);
    (void)snprintf(id, sizeof(id), "%s", old ? old->id : "");
    fake_must_apply(f, WORKER("w:2"));
    int64_t start = f->now_ms;
    const struct fake_inst *i = running(f, &node);
    while (i == NULL || strcmp(i->id, id) == 0) {
        assert_true(f->now_ms - start < 5000);
        fake_run(f, 10);
        i = running(f, &node);
    }
    assert_true(f->now_ms - start < 2500); /* given back, not waited for */
    assert_int_equal(i->epoch, 2);
    fake_run(f, 3000);
    assert_true(fake_converged(f));
    done(f);
}

static void copies_without_a_lease_come_first(void **state)
{
    struct fake *f = cluster(FREE_WORKER("w:1"));
    const char *node = "";
    assert_int_equal(fake_running(f, LABEL, ""), 1);
    fake_must_apply(f, WORKER("w:1"));
    for (int k = 0; k < 500; k++) {
        fake_run(f, 10);
        assert_true(fake_running(f, LABEL, "") <= 1);
    }
    assert_non_null(running(f, &node));
    done(f);
}

static void restarted_control_waits_for_what_it_reads(void **state)
{
    struct fake *f = cluster(WORKER("w:1"));
    const char *node = "";
    char was[32];
    assert_non_null(running(f, &node));
    fake_restart_control(f);
    fake_run(f, 10000);
    assert_int_equal(recorded_epoch(f), 1); /* the holder went on */
    assert_non_null(running(f, &node));
    (void)snprintf(was, sizeof(was), "%s", node);
    fake_kill(f, was);
    fake_run(f, 1500);
    fake_restart_control(f);
    int64_t loaded = f->now_ms;
    (void)until_elsewhere(f, was, 20000);
    assert_true(f->now_ms - loaded >= LEASE_MS);
    done(f);
}

static void nothing_is_promised_uncommitted(void **state)
{
    struct fake *f = cluster(WORKER("w:1"));
    const char *node = "";
    unsigned before = f->answers;
    f->fail_txns = 1000;
    fake_run(f, 2800);
    assert_int_equal(f->answers, before);
    fake_run(f, 1000);
    assert_null(running(f, &node)); /* it stopped itself */
    f->fail_txns = 0;
    fake_run(f, 8000);
    assert_non_null(running(f, &node));
    assert_true(recorded_epoch(f) >= 2);
    done(f);
}

static void lost_grant_is_not_repeated(void **state)
{
    struct fake *f = fake_new(7);
    const char *node = "";
    fake_three_sites(f, 2);
    f->drop_answers = true;
    fake_must_apply(f, WORKER("w:1"));
    fake_run(f, 1500);
    f->drop_answers = false;
    assert_int_equal(recorded_epoch(f), 1);
    fake_run(f, 1500);
    assert_null(running(f, &node)); /* it might run: control cannot know */
    fake_run(f, 3000);
    assert_non_null(running(f, &node));
    assert_int_equal(recorded_epoch(f), 2);
    done(f);
}

static void only_the_holder_speaks_for_it(void **state)
{
    struct fake *f = cluster(WORKER("w:1"));
    const char *node = "";
    const struct fake_inst *i = running(f, &node);
    char id[33];
    assert_non_null(i);
    (void)snprintf(id, sizeof(id), "%s", i->id);
    const char *other = strcmp(node, "ams-1") == 0 ? "fra-1" : "ams-1";
    fake_ask(f, other, id, CONTROL_ASK_RELEASE, 1); /* another node */
    fake_run(f, 100);
    fake_ask(f, node, id, CONTROL_ASK_RELEASE, 0); /* another run */
    fake_run(f, 100);
    fake_ask(f, other, "00000000000000000000000000000000", CONTROL_ASK_GRANT, 0);
    fake_run(f, 100);
    assert_non_null(strstr(fake_get(f, "/skerry/v1/leases/jobs/worker"), "\"held\":true"));
    assert_int_equal(recorded_epoch(f), 1);
    fake_ask(f, node, id, CONTROL_ASK_RELEASE, 1); /* its own */
    fake_run(f, CONTROL_BEAT_MS);
    assert_non_null(strstr(fake_get(f, "/skerry/v1/leases/jobs/worker"), "\"held\":false"));
    done(f);
}

/* Where commits are slow there is always a renewal to make: everything else has its turn all the
 * same, and nobody loses a lease by it. */
static void renewals_leave_room_for_others(void **state)
{
    static const char *const names[] = {"jobs", "more", "past", "soon", "then", "work"};
    struct fake *f = fake_new(11);

    fake_three_sites(f, 2);
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        char text[400];
        (void)snprintf(text, sizeof(text),
                       "{\"name\":\"%s\",\"services\":{\"worker\":{\"command\":[\"/bin/w\"],"
                       "\"deploy\":{\"resources\":{\"limits\":{\"cpus\":\"3\"}}},"
                       "\"x-skerry\":{\"exclusive\":true}}}}",
                       names[i]);
        fake_must_apply(f, text); /* one on each node */
    }
    f->shared = true;
    fake_restart_control(f);
    fake_run(f, 10000);
    size_t granted = fake_event_count(f, "lease_granted");
    f->commit_ms = 300; /* longer than the leader's signs of life are apart */
    for (int i = 0; i < 5; i++) {
        int64_t asked_ms = f->now_ms;
        uint64_t request = fake_set(f, CONTROL_REQ_NODE_SET, "fra-1", "",
                                    i % 2 ? "{\"price_hour\":1}" : "{\"price_hour\":2}");
        assert_int_equal(fake_wait(f, request)->code, 0);
        assert_true(f->now_ms - asked_ms < 2000);
        fake_run(f, 3000);
    }
    assert_int_equal(fake_event_count(f, "lease_granted"), granted);
    done(f);
}

/* All of etcd stands still: every commit takes its full time-out and fails. Whoever asks hears so
 * soon, however many leases there are to renew; and nothing that was refused comes to pass. */
static void refused_soon_while_nothing_commits(void **state)
{
    struct fake *f = cluster(WORKER("w:1"));

    f->shared = true;
    fake_restart_control(f);
    fake_run(f, 10000);
    f->fail_txns = 1000;
    f->commit_ms = 4000; /* STORE_ETCD_DEADLINE_MS */
    fake_run(f, 1000);
    for (int i = 0; i < 6; i++) {
        int64_t asked_ms = f->now_ms;
        const char *other = "{\"name\":\"other\",\"services\":{\"s\":{\"command\":[\"/bin/w\"]}}}";
        uint64_t request =
            i % 2 ? fake_apply(f, other, "", false)
                  : fake_set(f, CONTROL_REQ_NODE_SET, "fra-1", "", "{\"price_hour\":7}");
        assert_int_equal(fake_wait(f, request)->code, SK_ERR_UNAVAILABLE);
        assert_true(f->now_ms - asked_ms <= 4100); /* what is under way, no more */
        fake_run(f, 700 * i);
    }
    assert_int_equal(fake_wait(f, fake_apply(f, WORKER("w:1"), "", true))->code, 0); /* a plan */
    f->fail_txns = 0;
    f->commit_ms = 4;
    fake_run(f, 10000);
    assert_null(strstr(fake_get(f, "/skerry/v1/nodes/fra-1"), "\"price_hour\":7"));
    assert_null(fake_get(f, "/skerry/v1/projects/other"));
    fake_must_apply(f, "{\"name\":\"other\",\"services\":{\"s\":{\"command\":[\"/bin/w\"]}}}");
    done(f);
}

static void times_leave_the_guard(void **state)
{
    /* the slowest holder and the fastest leader that the drift allows, read in whole milliseconds
     */
    double holder_real = (double)lease_holder_until_ms(0) / (1 - LEASE_DRIFT_PPM / 1e6);
    double leader_real = (double)(lease_free_from_ms(0) - 1) / (1 + LEASE_DRIFT_PPM / 1e6);
    assert_true(leader_real - holder_real >= (double)LEASE_GUARD_MS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(renewed_for_long),
        cmocka_unit_test(moves_after_a_loss),
        cmocka_unit_test(cut_site_stops_by_itself),
        cmocka_unit_test(paused_holder_wakes_to_its_end),
        cmocka_unit_test(short_cut_costs_nothing),
        cmocka_unit_test(rollout_is_never_start_first),
        cmocka_unit_test(copies_without_a_lease_come_first),
        cmocka_unit_test(restarted_control_waits_for_what_it_reads),
        cmocka_unit_test(nothing_is_promised_uncommitted),
        cmocka_unit_test(lost_grant_is_not_repeated),
        cmocka_unit_test(only_the_holder_speaks_for_it),
        cmocka_unit_test(renewals_leave_room_for_others),
        cmocka_unit_test(refused_soon_while_nothing_commits),
        cmocka_unit_test(times_leave_the_guard),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
