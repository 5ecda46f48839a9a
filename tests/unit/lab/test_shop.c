/* SPDX-License-Identifier: Apache-2.0 */
/* The example shop: its files say what the demo's story needs, and its two forms say the same. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "model/inventory.h"
#include "model/project.h"
#include "plan/planner.h"
#include "sys/file.h"

static bool no_variable(void *ctx, struct sk_str name, struct sk_str *ret)
{
    return false;
}

static void read_text(const char *name, struct sk_buf *out)
{
    char path[512];
    (void)snprintf(path, sizeof(path), "%s/examples/shop/%s", getenv("SKERRY_SOURCE_ROOT"), name);
    assert_int_equal(sys_file_read(path, 1 << 20, out, NULL), 0);
}

static struct project *read_project(const char *name)
{
    const struct project_env env = {.lookup = no_variable};
    const struct project_options options = {.env = &env, .for_apply = true};
    struct sk_buf text = SK_BUF_INIT;
    struct project *project = NULL;
    struct sk_err err = {0};
    read_text(name, &text);
    if (project_read(name, sk_buf_str(&text), &options, &project, &err) < 0) {
        fail_msg("%s", err.msg);
    }
    sk_buf_release(&text);
    return project;
}

static struct inventory *read_inventory(void)
{
    struct sk_buf text = SK_BUF_INIT;
    struct inventory *inv = NULL;
    struct sk_err err = {0};
    read_text("inventory.yaml", &text);
    if (inventory_read("inventory.yaml", sk_buf_str(&text), &inv, &err) < 0) {
        fail_msg("%s", err.msg);
    }
    sk_buf_release(&text);
    return inv;
}

static void both_forms_have_the_same_policies(void **state)
{
    struct project *image = read_project("compose.yaml");
    struct project *program = read_project("compose-programs.yaml");
    (void)state;
    assert_int_equal(image->nservices, 2);
    assert_int_equal(program->nservices, 2);
    for (size_t i = 0; i < 2; i++) {
        const struct service *a = &image->services[i];
        const struct service *b = &program->services[i];
        assert_true(sk_str_eq(a->name, b->name));
        assert_true(a->image.len > 0 && b->image.len == 0 && b->has_command);
        assert_int_equal(a->replicas, b->replicas);
        assert_int_equal(a->cpus_nano, b->cpus_nano);
        assert_int_equal(a->memory_bytes, b->memory_bytes);
        assert_memory_equal(&a->survive, &b->survive, sizeof(a->survive));
        assert_memory_equal(&a->latency, &b->latency, sizeof(a->latency));
        assert_true(sk_str_eq(a->route_host, b->route_host));
        assert_int_equal(a->nnear, b->nnear);
    }
    assert_int_equal(image->nusers, program->nusers);
    project_free(image);
    project_free(program);
}

static void any_place_may_be_lost(void **state)
{
    struct project *shop = read_project("compose.yaml");
    struct inventory *inv = read_inventory();
    const struct project *projects[] = {shop};
    struct plan_input input;
    struct plan *plan = NULL;
    struct sk_err err = {0};
    (void)state;
    plan_input_init(&input);
    input.inv = inv;
    input.projects = projects;
    input.nprojects = 1;
    if (plan_make(&input, &plan, &err) < 0) {
        fail_msg("%s", err.msg);
    }
    assert_int_equal(plan->verdict, PLAN_OK);
    assert_int_equal(plan->nlosses, 4);
    for (size_t i = 0; i < plan->nlosses; i++) {
        assert_true(plan->losses[i].ok);
        assert_int_equal(plan->losses[i].nshorts, 0);
    }
    plan_free(plan);
    project_free(shop);
    inventory_free(inv);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(both_forms_have_the_same_policies),
        cmocka_unit_test(any_place_may_be_lost),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
