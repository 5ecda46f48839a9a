/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Golden scenarios: each NAME.yaml holds an inventory and a project, NAME.txt the plan as a short
 * trace. With SKERRY_GOLDEN_UPDATE set the traces are written instead of compared; read the diff.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/mem.h"
#include "base/units.h"
#include "base/yaml.h"
#include "plan/planner.h"

static char *read_file(const char *path, size_t *ret_len)
{
    FILE *f = fopen(path, "rb");
    if (!f) {
        return NULL;
    }
    struct sk_buf b = SK_BUF_INIT;
    char chunk[4096];
    size_t n;
    while ((n = fread(chunk, 1, sizeof(chunk), f)) > 0) {
        sk_buf_add(&b, chunk, n);
    }
    (void)fclose(f); /* was only read */
    return sk_buf_steal(&b, ret_len);
}

static bool no_variable(void *ctx, struct sk_str name, struct sk_str *ret_value)
{
    return false;
}

static int no_file(void *ctx, struct sk_str path, struct sk_str *ret_bytes, struct sk_err *err)
{
    return sk_err_set(err, SK_ERR_INPUT, "no files here");
}

static void num(struct sk_buf *out, const char *name, struct plan_maybe n)
{
    sk_buf_printf(out, n.known ? " %s=%.6g" : " %s=?", name, n.value);
}

static void trace_loss(const struct plan_loss *l, struct sk_buf *out)
{
    sk_buf_adds(out, "lost");
    for (size_t i = 0; i < l->nlost; i++) {
        sk_buf_printf(out, " %.*s", SK_PRI(l->lost[i]));
    }
    sk_buf_printf(out, ": %s", l->ok ? "ok" : "NOT OK");
    num(out, "added", l->added_cost_hour);
    sk_buf_addc(out, '\n');
    for (size_t i = 0; i < l->nkept; i++) {
        sk_buf_printf(out, "  kept %.*s %lld\n", SK_PRI(l->kept[i].service),
                      (long long)l->kept[i].count);
    }
    for (size_t i = 0; i < l->nreplaced; i++) {
        sk_buf_printf(out, "  replaced %.*s/%lld on %.*s\n", SK_PRI(l->replaced[i].service),
                      (long long)l->replaced[i].replica, SK_PRI(l->replaced[i].node));
    }
    for (size_t i = 0; i < l->nshorts; i++) {
        sk_buf_printf(out, "  short %.*s %lld %.*s%s\n", SK_PRI(l->shorts[i].service),
                      (long long)l->shorts[i].replicas, SK_PRI(l->shorts[i].resource),
                      l->shorts[i].asked ? " asked" : "");
    }
    for (size_t i = 0; i < l->nlatency; i++) {
        sk_buf_printf(out, "  latency %.*s", SK_PRI(l->latency[i].service));
        num(out, "at_once", l->latency[i].ms_at_once);
        num(out, "after", l->latency[i].ms);
        sk_buf_printf(out, " share=%.6g\n", l->latency[i].share);
    }
}

static void trace(const struct plan *p, struct sk_buf *out)
{
    sk_buf_printf(out, "verdict %s\n", plan_verdict_name(p->verdict));
    for (size_t i = 0; i < p->nplacements; i++) {
        sk_buf_printf(out, "place %.*s/%lld on %.*s\n", SK_PRI(p->placements[i].service),
                      (long long)p->placements[i].replica, SK_PRI(p->placements[i].node));
    }
    for (size_t i = 0; i < p->nbuckets; i++) {
        sk_buf_printf(out, "bucket %.*s %lld+%lld", SK_PRI(p->buckets[i].bucket),
                      (long long)p->buckets[i].data, (long long)p->buckets[i].parity);
        for (size_t k = 0; k < p->buckets[i].nshards; k++) {
            sk_buf_printf(out, " %.*s:%lld", SK_PRI(p->buckets[i].shards[k].site),
                          (long long)p->buckets[i].shards[k].count);
        }
        sk_buf_addc(out, '\n');
    }
    sk_buf_adds(out, "cost");
    num(out, "hour", p->cost.hour);
    num(out, "bound", p->cost.lower_bound_hour);
    num(out, "gap", p->cost.gap);
    num(out, "servers", p->cost.servers_hour);
    sk_buf_printf(out, " idle=%zu\n", p->cost.nidle);
    for (size_t i = 0; i < p->nlatency; i++) {
        sk_buf_printf(out, "latency %.*s", SK_PRI(p->latency[i].service));
        num(out, "ms", p->latency[i].ms);
        sk_buf_printf(out, " share=%.6g\n", p->latency[i].share);
    }
    for (size_t i = 0; i < p->nlosses; i++) {
        trace_loss(&p->losses[i], out);
    }
    sk_buf_printf(out, "node losses %lld %s\n", (long long)p->node_losses.checked,
                  p->node_losses.ok ? "ok" : "NOT OK");
    for (size_t i = 0; i < p->nproblems; i++) {
        const struct plan_problem *q = &p->problems[i];
        sk_buf_printf(out, "problem %.*s %.*s%.*s %s", SK_PRI(q->code), SK_PRI(q->service),
                      SK_PRI(q->bucket), q->proven ? "proven" : "unproven");
        num(out, q->resource.ptr, q->missing);
        for (size_t k = 0; k < q->nlost; k++) {
            sk_buf_printf(out, "%s%.*s", k ? "," : " lost=", SK_PRI(q->lost[k]));
        }
        sk_buf_printf(out, "\n  %.*s\n  fix: %.*s\n", SK_PRI(q->text), SK_PRI(q->fix));
    }
    for (size_t i = 0; i < p->nwarnings; i++) {
        sk_buf_printf(out, "warning %.*s %.*s: %.*s\n", SK_PRI(p->warnings[i].code),
                      SK_PRI(p->warnings[i].service), SK_PRI(p->warnings[i].text));
    }
}

static struct plan *plan_scenario(const char *name, struct sk_str bytes)
{
    struct sk_err err = {0};
    struct sk_arena *arena = sk_arena_new();
    const struct sk_node *root = NULL;
    struct inventory *inv = NULL;
    struct project *project = NULL;
    struct plan *plan = NULL;
    if (sk_yaml_read(arena, name, bytes, NULL, &root, &err) < 0) {
        fail_msg("%s", err.msg);
    }
    const struct sk_node *inv_node = sk_map_get(root, SK_STR("inventory"));
    const struct sk_node *project_node = sk_map_get(root, SK_STR("project"));
    assert_true(inv_node && project_node);
    if (inventory_from_tree(name, inv_node, &inv, &err) < 0) {
        fail_msg("%s", err.msg);
    }
    /* the project reader takes bytes: JSON is YAML */
    struct sk_buf json = SK_BUF_INIT;
    struct sk_jw w;
    sk_jw_init(&w, &json);
    sk_jw_node(&w, project_node);
    struct project_env env = {no_variable, no_file, NULL};
    struct project_options options = {.env = &env};
    if (project_read(name, sk_buf_str(&json), &options, &project, &err) < 0) {
        fail_msg("%s", err.msg);
    }
    const struct project *projects[] = {project};
    struct plan_input in;
    plan_input_init(&in);
    in.inv = inv;
    in.projects = projects;
    in.nprojects = 1;
    assert_int_equal(plan_make(&in, &plan, &err), 0);
    sk_buf_release(&json);
    project_free(project);
    inventory_free(inv);
    sk_arena_free(arena);
    return plan;
}

static void check_scenario(const char *name)
{
    char path[1024];
    const char *root = getenv("SKERRY_SOURCE_ROOT");
    size_t len = 0;
    (void)snprintf(path, sizeof(path), "%s/tests/golden/plan/%s.yaml", root ? root : ".", name);
    sk_autofree char *bytes = read_file(path, &len);
    assert_non_null(bytes);
    struct plan *plan = plan_scenario(name, (struct sk_str){bytes, len});
    struct sk_buf got = SK_BUF_INIT;
    trace(plan, &got);
    (void)snprintf(path, sizeof(path), "%s/tests/golden/plan/%s.txt", root ? root : ".", name);
    if (getenv("SKERRY_GOLDEN_UPDATE")) {
        FILE *f = fopen(path, "wb");
        assert_non_null(f);
        assert_int_equal(fwrite(got.ptr, 1, got.len, f), got.len);
        assert_int_equal(fclose(f), 0);
    } else {
        sk_autofree char *want = read_file(path, &len);
        assert_non_null(want);
        assert_string_equal(got.ptr, want);
    }
    sk_buf_release(&got);
    plan_free(plan);
}

static void test_scenarios(void **state)
{
    (void)state;
    static const char *const names[] = {"buckets", "defaults-unmet", "three-sites",
                                        "too-small-after-loss", "wrong-region"};
    for (size_t i = 0; i < SK_ARRAY_LEN(names); i++) {
        check_scenario(names[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_scenarios)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
