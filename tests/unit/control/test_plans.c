/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/json.h"
#include "fake.h"
#include "scenes.h"

static void plan_id(const char *json, char out[80])
{
    const char *at = strstr(json, "\"id\":\"sha256:");
    assert_non_null(at);
    (void)snprintf(out, 80, "%.*s", 71, at + 6);
}

static void apply_reaches_the_plan(void **state)
{
    struct fake *f = fake_new(2);
    fake_three_sites(f, 2);
    fake_must_apply(f, WEB_SAFE("web:1"));
    fake_run(f, 1000);
    assert_true(fake_converged(f));
    assert_int_equal(fake_running(f, "shop/web.", ""), 6);
    assert_non_null(fake_get(f, "/skerry/v1/projects/shop"));
    assert_non_null(fake_get(f, "/skerry/v1/plan"));
    assert_non_null(strstr(fake_view(f, "fra"), "shop.example.com"));
    assert_non_null(strstr(fake_view(f, "fra"), "\"remote\":[{\"site\":"));
    assert_string_equal(fake_view(f, "hub"), ""); /* control only: no ingress */
    fake_free(f);
}

static void stale_plan_is_refused(void **state)
{
    struct fake *f = fake_new(2);
    char id[80];
    fake_three_sites(f, 1);
    const struct fake_reply *r = fake_wait(f, fake_apply(f, WEB("3", "web:1"), "", true));
    assert_int_equal(r->code, 0);
    plan_id(r->json, id);
    assert_null(fake_get(f, "/skerry/v1/plan")); /* a dry run writes nothing */
    /* things that no plan is made from do not make it stale */
    assert_int_equal(fake_wait(f, fake_token(f,
                                             "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
                                             "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
                                             "fra", "node", 1000))
                         ->code,
                     0);
    assert_int_equal(
        fake_wait(f, fake_set(f, CONTROL_REQ_NODE_SET, "par-1", "", "{\"price_hour\":0.01}"))->code,
        0);
    r = fake_wait(f, fake_apply(f, WEB("3", "web:1"), id, false));
    assert_int_equal(r->code, SK_ERR_CONFLICT);
    assert_null(fake_get(f, "/skerry/v1/plan"));
    plan_id(r->json, id); /* the reply holds the plan as it is now */
    assert_int_equal(fake_wait(f, fake_apply(f, WEB("3", "web:1"), id, false))->code, 0);
    fake_free(f);
}

static const struct fake_reply *rebalance(struct fake *f, const char *expect, int64_t moves,
                                          bool dry_run)
{
    struct control_request r = {.kind = CONTROL_REQ_REBALANCE};
    r.u.rebalance.max_moves = moves;
    r.u.rebalance.expect_plan = sk_str(expect);
    r.u.rebalance.dry_run = dry_run;
    return fake_wait(f, fake_request(f, &r));
}

static void rebalance_within_a_budget(void **state)
{
    struct fake *f = fake_new(2);
    char old[80];
    char id[80];
    fake_three_sites(f, 2);
    fake_must_apply(f, WEB("3", "web:1"));
    fake_run(f, 1000);
    plan_id(fake_get(f, "/skerry/v1/plan"), old);
    /* where everything runs becomes dear */
    for (size_t i = 0; i < f->nagents; i++) {
        bool used = f->agents[i].ninsts > 0;
        if (strcmp(f->agents[i].name, "hub-1") != 0) {
            const struct fake_reply *set =
                fake_wait(f, fake_set(f, CONTROL_REQ_NODE_SET, f->agents[i].name, "",
                                      used ? "{\"price_hour\":9}" : "{\"price_hour\":0.01}"));
            assert_int_equal(set->code, 0);
        }
    }
    const struct fake_reply *r = rebalance(f, "", -1, true);
    assert_int_equal(r->code, 0);
    plan_id(r->json, id);
    assert_string_not_equal(id, old);
    r = rebalance(f, "", 0, false);
    assert_int_equal(r->code, SK_ERR_POLICY);
    assert_non_null(strstr(r->fix, "--budget "));
    r = rebalance(f, old, -1, false);
    assert_int_equal(r->code, SK_ERR_CONFLICT);
    r = rebalance(f, id, 0, false); /* this plan, but it moves more than that */
    assert_int_equal(r->code, SK_ERR_POLICY);
    assert_non_null(strstr(fake_get(f, "/skerry/v1/plan"), old)); /* nothing has changed so far */
    assert_int_equal(rebalance(f, id, 3, false)->code, 0);
    assert_non_null(strstr(fake_get(f, "/skerry/v1/plan"), id));
    fake_run(f, 30000);
    assert_true(fake_converged(f));
    fake_free(f);
}

static void expected_plan_survives_bookkeeping(void **state)
{
    struct fake *f = fake_new(2);
    char id[80];
    fake_three_sites(f, 1);
    plan_id(fake_wait(f, fake_apply(f, WEB("3", "web:1"), "", true))->json, id);
    assert_int_equal(fake_wait(f, fake_token(f,
                                             "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
                                             "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
                                             "fra", "node", 1000))
                         ->code,
                     0);
    assert_int_equal(fake_wait(f, fake_apply(f, WEB("3", "web:1"), id, false))->code, 0);
    fake_free(f);
}

static void unmet_policy_is_refused(void **state)
{
    struct fake *f = fake_new(2);
    fake_three_sites(f, 1);
    const struct fake_reply *r = fake_wait(
        f, fake_apply(f,
                      PROJECT("big", SERVICE("db", "db:1", "40",
                                             ",\"x-skerry\":{\"survive\":{\"sites\":1}}")),
                      "", false));
    assert_int_equal(r->code, SK_ERR_POLICY);
    assert_non_null(strstr(r->json, "\"plan\":{"));
    assert_null(fake_get(f, "/skerry/v1/projects/big"));
    r = fake_wait(
        f, fake_apply(f, PROJECT("one", SERVICE("x", "x:1", "1", ",\"ports\":[\"53:53/udp\"]")), "",
                      false));
    assert_int_equal(r->code, SK_ERR_UNSUPPORTED);
    assert_non_null(strstr(r->msg, "udp port 53"));
    r = fake_wait(f, fake_apply(f,
                                "{\"name\":\"x\",\"services\":{\"a\":{\"image\":\"i\"}},"
                                "\"x-skerry\":{\"buckets\":{\"b\":{}}}}",
                                "", false));
    assert_int_equal(r->code, SK_ERR_UNSUPPORTED);
    r = fake_wait(f, fake_apply(f, "{\"name\":\"x\",\"servicez\":{}}", "", false));
    assert_int_equal(r->code, SK_ERR_INPUT);
    fake_free(f);
}

static void unverified_plan_is_refused(void **state)
{
    struct fake *f = fake_new(2);
    struct control_commands out = {0};
    struct control_event ev = {.kind = CONTROL_EV_REQUEST};
    struct sk_str project = SK_STR(WEB("3", "web:1"));
    fake_three_sites(f, 1);
    ev.now_ms = f->now_ms;
    ev.wall_ms = f->wall_ms + f->now_ms;
    ev.u.request.kind = CONTROL_REQ_APPLY;
    ev.u.request.id = 77;
    ev.u.request.who = SK_STR("root");
    ev.u.request.u.apply.projects = &project;
    ev.u.request.u.apply.nprojects = 1;
    assert_int_equal(control_step(f->c, &ev, &out, NULL), 0);
    assert_int_equal(out.items[0].kind, CONTROL_CMD_PLAN);
    struct plan *plan = NULL;
    bool verified = false;
    struct sk_buf findings = SK_BUF_INIT;
    assert_int_equal(
        control_plan_run(out.items[0].u.plan.job, 1, NULL, &plan, &verified, &findings, NULL), 0);
    assert_true(verified);
    struct control_event done = {.kind = CONTROL_EV_PLAN_DONE, .now_ms = f->now_ms};
    done.wall_ms = ev.wall_ms;
    done.u.plan_done.request = out.items[0].u.plan.request;
    done.u.plan_done.plan = plan;
    done.u.plan_done.verified = false; /* as if the verifier had found something */
    done.u.plan_done.findings = SK_STR("capacity: node 'fra-1'");
    control_commands_clear(&out);
    assert_int_equal(control_step(f->c, &done, &out, NULL), 0);
    assert_int_equal(out.count, 1);
    assert_int_equal(out.items[0].kind, CONTROL_CMD_REPLY);
    assert_int_equal(out.items[0].u.reply.err.code, SK_ERR_INTERNAL);
    control_commands_release(&out);
    sk_buf_release(&findings);
    fake_free(f);
}

static void two_projects_and_scale_to_zero(void **state)
{
    struct fake *f = fake_new(2);
    fake_three_sites(f, 1);
    fake_must_apply(f, WEB("3", "web:1"));
    fake_must_apply(f, PROJECT("blog", SERVICE("app", "app:1", "2", "")));
    fake_run(f, 3000);
    assert_int_equal(fake_running(f, "shop/web.", ""), 3);
    assert_int_equal(fake_running(f, "blog/app.", ""), 2);
    /* the same host twice is refused */
    const struct fake_reply *r = fake_wait(
        f, fake_apply(f, PROJECT("blog", SERVICE("app", "app:1", "2", ROUTE)), "", false));
    assert_int_equal(r->code, SK_ERR_CONFLICT);
    fake_must_apply(f, WEB("0", "web:1"));
    fake_run(f, 3000);
    assert_int_equal(fake_running(f, "shop/web.", ""), 0);
    assert_int_equal(fake_instances_on_record(f), 2);
    /* a service that left the file is stopped and forgotten */
    fake_must_apply(f, PROJECT("blog", SERVICE("other", "app:1", "1", "")));
    fake_run(f, 3000);
    assert_int_equal(fake_running(f, "blog/app.", ""), 0);
    assert_int_equal(fake_running(f, "blog/other.", ""), 1);
    assert_int_equal(
        fake_wait(f, fake_target(f, CONTROL_REQ_PROJECT_DELETE, "blog", false, false))->code, 0);
    fake_run(f, 3000);
    assert_int_equal(fake_instances_on_record(f), 0);
    assert_null(fake_get(f, "/skerry/v1/projects/blog"));
    assert_true(fake_converged(f));
    fake_free(f);
}

static void drain_moves_off_start_first(void **state)
{
    struct fake *f = fake_new(2);
    fake_three_sites(f, 1);
    fake_must_apply(f, WEB("3", "web:1"));
    fake_run(f, 3000);
    size_t least = 3;
    size_t moved = fake_running(f, "shop/web.", "fra");
    assert_int_equal(fake_wait(f, fake_target(f, CONTROL_REQ_DRAIN, "fra", true, false))->code, 0);
    for (int i = 0; i < 300; i++) {
        fake_run(f, 10);
        size_t now = fake_running(f, "shop/web.", "");
        least = now < least ? now : least;
    }
    assert_true(moved > 0);
    assert_int_equal(least, 3); /* never one less */
    assert_int_equal(fake_running(f, "shop/web.", "fra"), 0);
    assert_true(fake_converged(f));
    assert_int_equal(
        fake_wait(f, fake_target(f, CONTROL_REQ_NODE_REMOVE, "fra-1", false, false))->code, 0);
    assert_int_equal(fake_wait(f, fake_target(f, CONTROL_REQ_UNDRAIN, "fra", true, false))->code,
                     0);
    assert_int_equal(
        fake_wait(f, fake_target(f, CONTROL_REQ_UNDRAIN, "nowhere", true, false))->code,
        SK_ERR_NOT_FOUND);
    fake_free(f);
}

static void drain_that_breaks_a_policy(void **state)
{
    struct fake *f = fake_new(2);
    fake_three_sites(f, 2);
    fake_must_apply(f, WEB_SAFE("web:1"));
    fake_run(f, 3000);
    /* with two sites left, losing one more keeps 3 of 6, not 4 */
    const struct fake_reply *r =
        fake_wait(f, fake_target(f, CONTROL_REQ_DRAIN, "fra", true, false));
    assert_int_equal(r->code, SK_ERR_POLICY);
    fake_run(f, 1000);
    assert_true(fake_running(f, "shop/web.", "fra") > 0);
    assert_int_equal(fake_wait(f, fake_target(f, CONTROL_REQ_DRAIN, "fra", true, true))->code, 0);
    fake_run(f, 5000);
    assert_int_equal(fake_running(f, "shop/web.", "fra"), 0);
    assert_int_equal(fake_running(f, "shop/web.", ""), 6);
    fake_free(f);
}

static void large_plans_are_cut(void **state)
{
    struct fake *f = fake_new(2);
    struct sk_buf text = SK_BUF_INIT;
    fake_three_sites(f, 1);
    sk_buf_adds(&text, "{\"name\":\"many\",\"services\":{");
    for (int i = 0; i < 70; i++) { /* small ones, many: the plan's rows make its size */
        sk_buf_printf(&text,
                      "%s\"service-with-a-name-that-is-rather-long-%03d\":{\"command\":[\"/x\"],"
                      "\"deploy\":{\"replicas\":40,\"resources\":{\"limits\":{\"cpus\":\"0.001\","
                      "\"memory\":\"64K\"}}}}",
                      i ? "," : "", i);
    }
    sk_buf_adds(&text, "}}");
    f->quiet = true;
    memset(f->control_cut, 1, sizeof(f->control_cut)); /* the agents have no part in this */
    const struct fake_reply *r = fake_wait(f, fake_apply(f, text.ptr, "", false));
    assert_int_equal(r->code, 0);
    assert_non_null(fake_get(f, "/skerry/v1/plan/0000"));
    assert_non_null(fake_get(f, "/skerry/v1/plan/0001"));
    assert_non_null(strstr(fake_get(f, "/skerry/v1/plan"), "\"chunks\":"));
    struct control *c = NULL; /* another control reads the same plan back */
    struct control_config cfg = {.node = SK_STR("hub-1")};
    assert_int_equal(control_new(&cfg, &c, NULL), 0);
    struct control_record *records = calloc(f->nrecords, sizeof(*records));
    for (size_t i = 0; i < f->nrecords; i++) {
        records[i] = (struct control_record){sk_str(f->records[i].key), sk_str(f->records[i].value),
                                             f->records[i].mod_rev};
    }
    struct control_event ev = {.kind = CONTROL_EV_LOADED};
    ev.u.loaded.records = records;
    ev.u.loaded.count = f->nrecords;
    ev.u.loaded.store_id = SK_STR("store-1");
    ev.u.loaded.revision = f->revision;
    struct control_commands out = {0};
    assert_int_equal(control_step(c, &ev, &out, NULL), 0);
    assert_string_equal(control_plan(c)->id, control_plan(f->c)->id);
    assert_int_equal(control_plan(c)->nplacements, 2800);
    control_commands_release(&out);
    control_free(c);
    free(records);
    fake_must_apply(f, WEB("1", "web:1"));
    assert_int_equal(
        fake_wait(f, fake_target(f, CONTROL_REQ_PROJECT_DELETE, "many", false, false))->code, 0);
    assert_null(fake_get(f, "/skerry/v1/plan/0001")); /* no chunk is left behind */
    sk_buf_release(&text);
    fake_free(f);
}

static void queries_are_json(void **state)
{
    struct fake *f = fake_new(2);
    fake_three_sites(f, 1);
    fake_must_apply(f, WEB("3", "web:1"));
    fake_run(f, 2000);
    static const struct {
        void (*query)(const struct control *, struct sk_buf *);
        const char *format, *list;
        uint32_t count;
    } all[] = {
        {control_status_json, "skerry.status/1", "services", 1},
        {control_ps_json, "skerry.ps/1", "instances", 3},
        {control_nodes_json, "skerry.nodes/1", "nodes", 4},
        {control_sites_json, "skerry.sites/1", "sites", 4},
        {control_projects_json, "skerry.projects/1", "projects", 1},
        {control_tokens_json, "skerry.tokens/1", "tokens", 3},
        {control_keys_json, "skerry.keys/1", "keys", 0},
    };
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        const struct sk_node *root = fake_query(f, all[i].query);
        assert_true(sk_str_is(sk_map_str(root, "format", SK_STR("")), all[i].format));
        assert_int_equal(sk_map_seq(root, all[i].list)->count, all[i].count);
    }
    struct sk_buf out = SK_BUF_INIT;
    assert_int_equal(control_why_json(f->c, SK_STR("shop"), SK_STR("web"), &out, NULL), 0);
    assert_non_null(strstr(out.ptr, "as planned"));
    assert_non_null(strstr(out.ptr, "its site is not trusted with services")); /* hub-1 */
    sk_buf_clear(&out);
    assert_int_equal(control_why_json(f->c, SK_STR("shop"), SK_STR("nope"), &out, NULL),
                     SK_ERR_NOT_FOUND);
    control_events_json(f->c, 3, 2, &out);
    assert_non_null(strstr(out.ptr, "\"seq\":4"));
    assert_null(strstr(out.ptr, "\"seq\":6"));
    sk_buf_release(&out);
    fake_free(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(apply_reaches_the_plan),
        cmocka_unit_test(stale_plan_is_refused),
        cmocka_unit_test(rebalance_within_a_budget),
        cmocka_unit_test(expected_plan_survives_bookkeeping),
        cmocka_unit_test(unmet_policy_is_refused),
        cmocka_unit_test(unverified_plan_is_refused),
        cmocka_unit_test(two_projects_and_scale_to_zero),
        cmocka_unit_test(drain_moves_off_start_first),
        cmocka_unit_test(drain_that_breaks_a_policy),
        cmocka_unit_test(large_plans_are_cut),
        cmocka_unit_test(queries_are_json),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
