/* SPDX-License-Identifier: Apache-2.0 */
/* Predicted beside observed: what agrees, what does not, and that a wrong prediction is flagged. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>

#include "base/mem.h"
#include "lab/demo_outcome.h"

static void predict(struct demo_outcome *ret)
{
    struct sk_str fra = SK_STR("fra");
    struct plan_kept kept = {SK_STR("shop"), SK_STR("web"), 4};
    struct plan_placement replaced[] = {
        {SK_STR("shop"), SK_STR("web"), 2, SK_STR("par"), SK_STR("par-2")},
        {SK_STR("shop"), SK_STR("web"), 3, SK_STR("ams"), SK_STR("ams-1")},
        {SK_STR("shop"), SK_STR("api"), 0, SK_STR("ams"), SK_STR("ams-1")},
    };
    struct plan_short shorts = {SK_STR("shop"), SK_STR("job"), 1, SK_STR("cpus"), false};
    struct plan_loss loss = {.lost = &fra,
                             .nlost = 1,
                             .ok = true,
                             .control_kept = true,
                             .kept = &kept,
                             .nkept = 1,
                             .replaced = replaced,
                             .nreplaced = SK_ARRAY_LEN(replaced),
                             .shorts = &shorts,
                             .nshorts = 1};
    const struct plan plan = {.losses = &loss, .nlosses = 1};
    assert_int_equal(outcome_predict(&plan, "fra", ret, NULL), 0);
    assert_int_equal(outcome_predict(&plan, "ams", ret, NULL), SK_ERR_NOT_FOUND);
}

static size_t differ(const struct demo_outcome *p, const struct demo_outcome *o)
{
    struct sk_buf lines = SK_BUF_INIT;
    size_t n = outcome_compare(p, o, &lines);
    size_t newlines = 0;
    for (size_t i = 0; i < lines.len; i++) {
        newlines += lines.ptr[i] == '\n';
    }
    assert_int_equal(n, newlines);
    sk_buf_release(&lines);
    return n;
}

static void a_plan_is_read(void **state)
{
    struct demo_outcome p = {0};
    struct sk_buf text = SK_BUF_INIT;
    (void)state;
    predict(&p);
    outcome_text(p.replaced, p.nreplaced, &text);
    assert_string_equal(text.ptr, "api 1 on ams-1, web 1 on ams-1, web 1 on par-2");
    sk_buf_clear(&text);
    outcome_text(p.kept, p.nkept, &text);
    assert_string_equal(text.ptr, "web 4");
    sk_buf_clear(&text);
    outcome_text(p.kept, 0, &text);
    assert_string_equal(text.ptr, "nothing");
    assert_int_equal(p.shorts, 1);
    assert_true(p.control_kept);
    sk_buf_release(&text);
}

static void every_wrong_prediction_is_flagged(void **state)
{
    struct demo_outcome p = {0};
    struct demo_outcome o;
    (void)state;
    predict(&p);
    o = p;
    assert_int_equal(differ(&p, &o), 0);
    o.kept[0].count = 3;
    assert_int_equal(differ(&p, &o), 1);
    o = p;
    assert_true(outcome_add(o.replaced, &o.nreplaced, "web", "par-2", 1));
    assert_int_equal(differ(&p, &o), 1);
    o = p;
    o.nreplaced = 0; /* the same number elsewhere is not the same */
    assert_true(outcome_add(o.replaced, &o.nreplaced, "web", "ams-1", 2));
    assert_true(outcome_add(o.replaced, &o.nreplaced, "api", "ams-1", 1));
    assert_int_equal(differ(&p, &o), 1);
    o = p;
    o.shorts = 0;
    o.control_kept = false;
    assert_int_equal(differ(&p, &o), 2);
}

static void rows_are_sorted_and_bounded(void **state)
{
    struct outcome_row rows[OUTCOME_ROWS_MAX] = {{.count = 0}};
    size_t n = 0;
    char name[16];
    (void)state;
    for (int i = OUTCOME_ROWS_MAX - 1; i >= 0; i--) {
        (void)snprintf(name, sizeof(name), "s%03d", i);
        assert_true(outcome_add(rows, &n, name, "", 1));
    }
    assert_true(outcome_add(rows, &n, "s000", "", 1));
    assert_int_equal(rows[0].count, 2);
    assert_string_equal(rows[OUTCOME_ROWS_MAX - 1].service, "s063");
    assert_false(outcome_add(rows, &n, "zz", "", 1));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_plan_is_read),
        cmocka_unit_test(every_wrong_prediction_is_flagged),
        cmocka_unit_test(rows_are_sorted_and_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
