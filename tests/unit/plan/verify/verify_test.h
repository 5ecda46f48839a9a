/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_VERIFY_TEST_H
#define TESTS_VERIFY_TEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "base/units.h"
#include "base/yaml.h"
#include "plan/verify/verify.h"

/*
 * A world and a plan for it, both written and worked out by hand. Tests change one thing and name
 * the rule that must find it; expect(f, NULL) is for plans that are good.
 */
#define NO_ID "sha256:0000000000000000000000000000000000000000000000000000000000000000"

struct fixture {
    struct inventory *inv;
    struct project projects[2];
    const struct project *list[2];
    size_t nprojects;
    struct plan *plan;
    struct plan *current;
    bool pairs;
};

static inline struct inventory *read_inventory(const char *yaml)
{
    struct inventory *inv = NULL;
    struct sk_err err = {0};

    if (inventory_read("inv.yaml", sk_str(yaml), &inv, &err) < 0) {
        fail_msg("%s", err.msg);
    }
    return inv;
}

static inline struct plan *read_plan(const char *json)
{
    struct sk_arena *arena = sk_arena_new();
    const struct sk_node *root = NULL;
    struct plan *plan = NULL;
    struct sk_err err = {0};

    if (sk_json_read(arena, "plan.json", sk_str(json), NULL, &root, &err) < 0 ||
        plan_from_tree("plan.json", root, &plan, &err) < 0) {
        fail_msg("%s", err.msg);
    }
    sk_arena_free(arena);
    plan_seal(plan);
    return plan;
}

static inline void fixture_release(struct fixture *f)
{
    inventory_free(f->inv);
    plan_free(f->plan);
    plan_free(f->current);
}

/* Verifies; NULL: no finding. Else a finding of that rule is there, and its text holds `text`. */
static inline void expect_text(struct fixture *f, const char *rule, const char *text)
{
    struct verify_input in = {.inv = f->inv,
                              .projects = f->list,
                              .nprojects = f->nprojects,
                              .plan = f->plan,
                              .current = f->current,
                              .pairs = f->pairs};
    struct verify_report report = {0};
    struct sk_err err = {0};
    bool found = false;

    plan_seal(f->plan);
    if (verify_plan(&in, &report, &err) < 0) {
        fail_msg("%s", err.msg);
    }
    for (size_t i = 0; i < report.nfindings; i++) {
        struct sk_buf line = SK_BUF_INIT;

        sk_buf_addstr(&line, report.findings[i].text);
        found = found || (rule && sk_str_is(report.findings[i].rule, rule) &&
                          strstr(line.ptr, text) != NULL);
        sk_buf_release(&line);
    }
    if (rule ? !found : report.nfindings > 0) {
        for (size_t i = 0; i < report.nfindings; i++) {
            print_error("%.*s: %.*s\n", SK_PRI(report.findings[i].rule),
                        SK_PRI(report.findings[i].text));
        }
        fail_msg("expected %s '%s'", rule ? rule : "no finding", text);
    }
    verify_report_release(&report);
}

static inline void expect(struct fixture *f, const char *rule)
{
    expect_text(f, rule, "");
}

#endif
