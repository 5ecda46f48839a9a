/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/json.h"
#include "fake.h"
#include "scenes.h"

/* Drills: each phase, each refusal, each way to end one early, control starting anew in each. */

#define DRILL "/skerry/v1/drill"
#define BATCH_EXCLUSIVE                                                \
    PROJECT("shop", SERVICE("web", "web:1", "6", SURVIVE) "," SERVICE( \
                        "batch", "batch:1", "1", ",\"x-skerry\":{\"exclusive\":true}"))

static struct fake *shop(void)
{
    struct fake *f = fake_new(3);
    fake_three_sites(f, 2);
    fake_must_apply(f, WEB_SAFE("web:1"));
    fake_run(f, 3000);
    fake_users(f, 50, 0);
    assert_true(fake_converged(f));
    return f;
}

static bool in_phase(struct fake *f, const char *phase)
{
    char text[64];
    const char *rec = fake_get(f, DRILL);
    (void)snprintf(text, sizeof(text), "\"phase\":\"%s\",\"who\"", phase);
    return rec != NULL && strstr(rec, text) != NULL;
}

static void until_phase(struct fake *f, const char *phase, int64_t ms)
{
    int64_t end = f->now_ms + ms;
    while (!in_phase(f, phase) && f->now_ms < end) {
        fake_run(f, 10);
    }
    if (!in_phase(f, phase)) {
        print_error("not in phase %s: %s\n%s\n", phase, fake_get(f, DRILL), f->trace.ptr);
        fail();
    }
}

static void until_over(struct fake *f, int64_t ms)
{
    int64_t end = f->now_ms + ms;
    while (fake_get(f, DRILL) != NULL && f->now_ms < end) {
        fake_run(f, 50);
    }
    if (fake_get(f, DRILL) != NULL) {
        print_error("not over: %s\n%s\n", fake_get(f, DRILL), f->trace.ptr);
        fail();
    }
}

static void begin(struct fake *f, const char *site, int64_t for_ms, bool hard)
{
    const struct fake_reply *r = fake_wait(f, fake_drill(f, site, for_ms, 1.0, hard));
    if (r->code != 0) {
        print_error("refused: %s\n%s\n", r->msg, f->trace.ptr);
    }
    assert_int_equal(r->code, 0);
    assert_non_null(strstr(r->json, "\"format\":\"skerry.drill/1\""));
}

static void expect_result(struct fake *f, int number, const char *result)
{
    char key[64];
    char text[64];
    (void)snprintf(key, sizeof(key), "/skerry/v1/drills/%06d", number);
    (void)snprintf(text, sizeof(text), "\"result\":\"%s\"", result);
    const char *rec = fake_get(f, key);
    assert_non_null(rec);
    if (strstr(rec, text) == NULL) {
        print_error("%s\n%s\n", rec, f->trace.ptr);
    }
    assert_non_null(strstr(rec, text));
}

static void expect_refusal(struct fake *f, uint64_t request, int code, const char *words)
{
    const struct fake_reply *r = fake_wait(f, request);
    if (r->code != code || strstr(r->msg, words) == NULL) {
        print_error("'%s', code %s\n", r->msg, sk_code_name(r->code));
    }
    assert_int_equal(r->code, code);
    assert_non_null(strstr(r->msg, words));
    assert_true(r->fix[0] != '\0' || code == SK_ERR_INPUT || code == SK_ERR_CONFLICT);
    assert_null(fake_get(f, DRILL));
}

static void soft_as_predicted(void **state)
{
    struct fake *f = shop();
    begin(f, "fra", 20000, false);
    assert_true(in_phase(f, "traffic"));
    assert_int_equal(fake_running(f, "shop/web.", "fra"), 2); /* its traffic goes first */
    until_phase(f, "work", 7000);
    assert_null(strstr(fake_view(f, "ams"), "\"site\":\"fra\",\"node\""));
    assert_non_null(strstr(fake_view(f, "fra"), "\"local\":[]"));
    assert_non_null(strstr(fake_view(f, "fra"), "\"site\":\"ams\"")); /* it answers by the others */
    until_phase(f, "hold", 5000);
    assert_int_equal(fake_running(f, "shop/web.", "fra"), 0);
    assert_int_equal(fake_running(f, "shop/web.", ""), 6);
    assert_false(fake_event_seen(f, "site_lost")); /* nobody had to judge */
    fake_run(f, 12000);
    assert_true(in_phase(f, "hold")); /* for the whole time, and nothing settles meanwhile */
    assert_int_equal(fake_running(f, "shop/web.", "fra"), 0);
    until_over(f, 60000);
    assert_int_equal(fake_running(f, "shop/web.", "fra"), 2);
    assert_true(fake_converged(f));
    assert_null(fake_get(f, "/skerry/v1/overlay"));
    expect_result(f, 1, "survived");
    assert_int_equal(f->broken[0], 0);
    fake_free(f);
}

static void again_and_again(void **state)
{
    static const char *const sites[] = {"fra", "ams", "par"};
    struct fake *f = shop();
    f->quiet = true;
    for (int i = 0; i < 54; i++) {
        begin(f, sites[i % 3], 10000, false);
        until_over(f, 60000);
        expect_result(f, i + 1, "survived");
        assert_int_equal(fake_running(f, "shop/web.", ""), 6);
    }
    assert_null(fake_get(f, "/skerry/v1/drills/000004")); /* fifty are kept */
    assert_non_null(fake_get(f, "/skerry/v1/drills/000005"));
    fake_restart_control(f);
    fake_run(f, 8000);
    begin(f, "fra", 10000, false); /* the numbers go on */
    until_over(f, 60000);
    expect_result(f, 55, "survived");
    fake_free(f);
}

static void exclusive_goes_by_its_lease(void **state)
{
    struct fake *f = shop();
    const char *node = NULL;
    fake_must_apply(f, BATCH_EXCLUSIVE);
    fake_run(f, 4000);
    assert_non_null(fake_exclusive(f, "shop/batch.0", &node));
    char site[32];
    (void)snprintf(site, sizeof(site), "%s", fake_agent(f, node)->site);
    begin(f, site, 20000, false);
    until_phase(f, "hold", 10000);
    assert_int_equal(fake_running(f, "shop/batch.", site), 0);
    assert_int_equal(fake_running(f, "shop/batch.", ""), 1);
    until_over(f, 60000);
    expect_result(f, 1, "survived");
    assert_int_equal(f->broken[0], 0); /* never two at a time */
    fake_free(f);
}

static void refusals(void **state)
{
    struct fake *f = fake_new(3);
    fake_three_sites(f, 2);
    fake_run(f, 3000);
    expect_refusal(f, fake_drill(f, "fra", 20000, 1, false), SK_ERR_POLICY, "nothing was applied");
    fake_must_apply(f, WEB_SAFE("web:1"));
    expect_refusal(f, fake_drill(f, "fra", 20000, 1, false), SK_ERR_POLICY, "still starting");
    fake_run(f, 3000);
    expect_refusal(f, fake_drill(f, "nowhere", 20000, 1, false), SK_ERR_INPUT, "no site");
    expect_refusal(f, fake_drill(f, "fra", 9000, 1, false), SK_ERR_INPUT, "10 s to 15 min");
    expect_refusal(f, fake_drill(f, "fra", 901000, 1, false), SK_ERR_INPUT, "10 s to 15 min");
    expect_refusal(f, fake_drill(f, "fra", 20000, 101, false), SK_ERR_INPUT, "0 to 100");
    expect_refusal(f, fake_drill(f, "hub", 20000, 1, false), SK_ERR_POLICY, "runs no services");
    fake_kill(f, "ams-1");
    fake_run(f, 1300);
    expect_refusal(f, fake_drill(f, "fra", 20000, 1, false), SK_ERR_POLICY, "is suspect");
    fake_run(f, 2000);
    expect_refusal(f, fake_drill(f, "fra", 20000, 1, false), SK_ERR_POLICY, "is lost");
    fake_start(f, "ams-1");
    fake_run(f, 4000);
    expect_refusal(f, fake_drill(f, "fra", 20000, 1, false), SK_ERR_POLICY, "has not settled");
    fake_run(f, 15000);
    fake_agent(f, "fra-2")->cannot_cut = true;
    expect_refusal(f, fake_drill(f, "fra", 20000, 1, true), SK_ERR_POLICY,
                   "node 'fra-2' cannot cut its links: nft is not installed");
    fake_agent(f, "fra-2")->cannot_cut = false;
    fake_agent(f, "fra-1")->mute_drill = true;
    expect_refusal(f, fake_drill(f, "fra", 20000, 1, true), SK_ERR_POLICY, "node 'fra-1' does not");
    assert_false(fake_event_seen(f, "drill"));
    struct control_request none = {.kind = CONTROL_REQ_DRILL_ABORT};
    expect_refusal(f, fake_request(f, &none), SK_ERR_CONFLICT, "no drill runs");
    fake_free(f);
}

static void would_not_be_survived(void **state)
{
    struct fake *f = fake_new(3);
    fake_three_sites(f, 1); /* 4 cpus each: 20 halves do not fit on two of them */
    const struct fake_reply *r = fake_wait(
        f, fake_apply(f, PROJECT("shop", SERVICE("web", "web:1", "20", ROUTE)), "", false));
    assert_int_equal(r->code, 0); /* nobody asked to survive it */
    fake_run(f, 5000);
    begin(f, "fra", 15000, false); /* so it may be tried: short as predicted */
    until_over(f, 60000);
    expect_result(f, 1, "survived");
    assert_int_equal(fake_running(f, "shop/web.", ""), 20);
    fake_free(f);
}

static void only_ingress(void **state)
{
    struct fake *f = fake_new(3);
    assert_int_equal(fake_join(f, "fra-1", "fra", 4, 4096), 0);
    fake_run(f, 2000);
    fake_must_apply(f, WEB("2", "web:1"));
    fake_run(f, 3000);
    expect_refusal(f, fake_drill(f, "fra", 20000, 1, false), SK_ERR_POLICY, "only ingress");
    fake_free(f);
}

static void others_wait(void **state)
{
    struct fake *f = shop();
    begin(f, "fra", 20000, false);
    const struct fake_reply *r = fake_wait(f, fake_drill(f, "ams", 20000, 1, false));
    assert_int_equal(r->code, SK_ERR_POLICY);
    assert_non_null(strstr(r->msg, "another drill runs, of site fra"));
    r = fake_wait(f, fake_apply(f, WEB_SAFE("web:2"), "", false));
    assert_int_equal(r->code, SK_ERR_CONFLICT);
    assert_non_null(strstr(r->msg, "a drill of site 'fra' runs"));
    assert_int_equal(fake_wait(f, fake_apply(f, WEB_SAFE("web:2"), "", true))->code, 0);
    r = fake_wait(f, fake_target(f, CONTROL_REQ_DRAIN, "ams-1", false, false));
    assert_int_equal(r->code, SK_ERR_CONFLICT);
    r = fake_wait(f, fake_set(f, CONTROL_REQ_NODE_SET, "ams-1", "", "{\"price_hour\":0.2}"));
    assert_int_equal(r->code, 0);
    until_over(f, 60000);
    expect_result(f, 1, "survived");
    fake_must_apply(f, WEB_SAFE("web:2"));
    fake_free(f);
}

static void aborted_by_hand(void **state)
{
    static const char *const phases[] = {"traffic", "work", "hold"};
    struct control_request none = {.kind = CONTROL_REQ_DRILL_ABORT};
    struct fake *f = shop();
    for (size_t i = 0; i < 3; i++) {
        begin(f, "fra", 60000, false);
        until_phase(f, phases[i], 10000);
        assert_int_equal(fake_wait(f, fake_request(f, &none))->code, 0);
        assert_true(in_phase(f, "return") || i == 0);
        assert_int_equal(fake_wait(f, fake_request(f, &none))->code, SK_ERR_CONFLICT);
        until_over(f, 30000);
        expect_result(f, (int)i + 1, "aborted");
        assert_int_equal(fake_running(f, "shop/web.", "fra"), 2);
        assert_true(fake_converged(f));
    }
    fake_free(f);
}

static void aborted_by_errors(void **state)
{
    struct fake *f = shop();
    begin(f, "fra", 60000, false);
    until_phase(f, "hold", 10000);
    fake_users(f, 100, 1);
    fake_run(f, 6000);
    assert_true(in_phase(f, "hold")); /* not above the bound */
    fake_users(f, 100, 10);
    fake_run(f, 2000);
    assert_true(in_phase(f, "return"));
    assert_non_null(strstr(fake_get(f, DRILL), "requests of the last 5 s failed, over 1 %"));
    until_over(f, 30000);
    expect_result(f, 1, "aborted");
    assert_int_equal(fake_wait(f, fake_drill(f, "fra", 10000, -1, false))->code, 0);
    until_over(f, 60000); /* never: it goes on, and differs */
    expect_result(f, 2, "differs");
    fake_free(f);
}

static void aborted_by_a_real_loss(void **state)
{
    struct fake *f = shop();
    begin(f, "fra", 60000, false);
    until_phase(f, "hold", 10000);
    fake_kill(f, "ams-1");
    fake_run(f, 4000);
    assert_true(in_phase(f, "return"));
    assert_non_null(strstr(fake_get(f, DRILL), "node 'ams-1' of site 'ams' is lost"));
    fake_run(f, 3000);
    assert_int_equal(fake_running(f, "shop/web.", ""), 6); /* the site that is back takes it */
    fake_start(f, "ams-1");
    until_over(f, 60000);
    expect_result(f, 1, "aborted");
    assert_true(fake_converged(f));
    fake_free(f);
}

static void control_starts_anew(void **state)
{
    static const char *const phases[] = {"traffic", "work", "hold", "return"};
    for (size_t i = 0; i < 4; i++) {
        struct fake *f = shop();
        begin(f, "fra", 25000, false);
        int64_t began = f->now_ms;
        until_phase(f, phases[i], 40000);
        fake_restart_control(f);
        fake_run(f, 500);
        assert_non_null(fake_get(f, DRILL));
        if (i < 3) {
            until_phase(f, "return", 40000);
            assert_true(f->now_ms - began < 26000); /* the site comes back in time */
            assert_non_null(strstr(fake_get(f, DRILL), "\"restarts\":1"));
        }
        until_over(f, 60000);
        assert_true(fake_converged(f));
        assert_int_equal(fake_running(f, "shop/web.", ""), 6);
        assert_false(fake_event_seen(f, "site_lost"));
        assert_non_null(fake_get(f, "/skerry/v1/drills/000001"));
        fake_free(f);
    }
}

static void control_is_away_past_the_end(void **state)
{
    struct fake *f = shop();
    begin(f, "fra", 15000, false);
    until_phase(f, "hold", 10000);
    fake_stall_control(f, 30000);
    fake_run(f, 1000);
    assert_true(in_phase(f, "return"));
    until_over(f, 60000);
    assert_true(fake_converged(f));
    fake_free(f);
}

static void store_fails_meanwhile(void **state)
{
    struct fake *f = shop();
    begin(f, "fra", 20000, false);
    f->fail_txns = 2;
    until_phase(f, "hold", 15000);
    f->conflict_next = true;
    f->fail_txns = 1;
    until_over(f, 90000);
    assert_true(fake_converged(f));
    assert_non_null(fake_get(f, "/skerry/v1/drills/000001"));
    fake_free(f);
}

static void hard_by_verdict(void **state)
{
    struct fake *f = shop();
    begin(f, "fra", 20000, true);
    assert_true(in_phase(f, "cut"));
    until_phase(f, "hold", 5000);
    assert_int_equal(fake_event_count(f, "site_lost"), 1);    /* judged like any other */
    assert_int_equal(fake_running(f, "shop/web.", "fra"), 2); /* inside the cut it goes on */
    assert_int_equal(fake_running(f, "shop/web.", ""), 8);
    until_over(f, 60000);
    assert_true(fake_event_seen(f, "site_returned"));
    expect_result(f, 1, "survived");
    assert_true(fake_converged(f));
    assert_int_equal(f->broken[0], 0);
    fake_free(f);
}

static void hard_cut_comes_back_by_itself(void **state)
{
    struct control_request none = {.kind = CONTROL_REQ_DRILL_ABORT};
    struct fake *f = shop();
    begin(f, "fra", 15000, true);
    until_phase(f, "hold", 5000);
    assert_int_equal(fake_wait(f, fake_request(f, &none))->code, 0);
    fake_run(f, 3000);
    assert_false(fake_event_seen(f, "site_returned")); /* nobody can tell it */
    fake_restart_control(f);
    fake_run(f, 12000);
    assert_true(fake_event_seen(f, "site_returned")); /* but its time is over */
    until_over(f, 60000);
    expect_result(f, 1, "aborted");
    assert_true(fake_converged(f));
    fake_free(f);
}

static void hard_cut_of_one_only(void **state)
{
    struct fake *f = shop();
    f->quiet = false;
    uint64_t request = fake_drill(f, "fra", 30000, 1, true);
    fake_run(f, 4);
    assert_int_equal(fake_wait(f, request)->code, 0);
    fake_agent(f, "fra-2")->cannot_cut = true; /* it could when it was asked */
    fake_agent(f, "fra-2")->cut_until_ms = 1;  /* it is open again at once */
    fake_run(f, 6500);
    assert_true(in_phase(f, "return"));
    assert_true(strstr(fake_get(f, DRILL), "did not cut its links") != NULL ||
                strstr(fake_get(f, DRILL), "is not lost 5 s after the cut") != NULL);
    until_over(f, 90000);
    expect_result(f, 1, "aborted");
    assert_true(fake_converged(f));
    fake_free(f);
}

/* What grows with all nodes is told to those alone whom a hard drill concerns. */
static void peers_only_where_cut(void **state)
{
    struct fake *f = shop();
    for (size_t i = 0; i < f->nagents; i++) {
        assert_false(f->agents[i].has_peers);
    }
    begin(f, "fra", 10000, true);
    fake_run(f, 500);
    for (size_t i = 0; i < f->nagents; i++) {
        assert_int_equal(f->agents[i].has_peers, strcmp(f->agents[i].site, "fra") == 0);
    }
    until_over(f, 90000);
    fake_run(f, 2000);
    for (size_t i = 0; i < f->nagents; i++) {
        assert_false(f->agents[i].has_peers);
    }
    fake_free(f);
}

static void queries(void **state)
{
    struct fake *f = shop();
    struct sk_buf out = SK_BUF_INIT;
    struct sk_err err = {0};
    assert_int_equal(control_drill_json(f->c, &out, &err), SK_ERR_NOT_FOUND);
    const struct sk_node *status = fake_query(f, control_status_json);
    assert_int_equal(sk_map_get(status, SK_STR("drill"))->kind, SK_NULL);
    begin(f, "fra", 12000, false);
    status = fake_query(f, control_status_json);
    const struct sk_node *drill = sk_map_get(status, SK_STR("drill"));
    assert_int_equal(drill->kind, SK_MAP);
    assert_true(sk_str_is(sk_map_str(drill, "site", SK_STR("")), "fra"));
    assert_int_equal(control_drill_json(f->c, &out, &err), 0);
    sk_buf_clear(&out);
    assert_int_equal(control_drill_report_json(f->c, 1, &out, &err), 0); /* as far as it is */
    until_over(f, 60000);
    sk_buf_clear(&out);
    assert_int_equal(control_drill_report_json(f->c, 1, &out, &err), 0);
    assert_non_null(strstr(out.ptr, "\"result\":\"survived\""));
    assert_int_equal(control_drill_report_json(f->c, 2, &out, &err), SK_ERR_NOT_FOUND);
    const struct sk_node *list = sk_map_seq(fake_query(f, control_drills_json), "drills");
    assert_int_equal(list->count, 1);
    sk_buf_release(&out);
    fake_free(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(soft_as_predicted),
        cmocka_unit_test(again_and_again),
        cmocka_unit_test(exclusive_goes_by_its_lease),
        cmocka_unit_test(refusals),
        cmocka_unit_test(would_not_be_survived),
        cmocka_unit_test(only_ingress),
        cmocka_unit_test(others_wait),
        cmocka_unit_test(aborted_by_hand),
        cmocka_unit_test(aborted_by_errors),
        cmocka_unit_test(aborted_by_a_real_loss),
        cmocka_unit_test(control_starts_anew),
        cmocka_unit_test(control_is_away_past_the_end),
        cmocka_unit_test(store_fails_meanwhile),
        cmocka_unit_test(hard_by_verdict),
        cmocka_unit_test(hard_cut_comes_back_by_itself),
        cmocka_unit_test(hard_cut_of_one_only),
        cmocka_unit_test(peers_only_where_cut),
        cmocka_unit_test(queries),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
