/* SPDX-License-Identifier: Apache-2.0 */
/* A middle-sized world: every rule kept, a bound that is near, the same bytes twice; and the codes
 * that plans may use are those of docs/plan-codes.md. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/mem.h"
#include "base/prng.h"
#include "make_world.h"
#include "plan/codes.h"

static struct mk *middle(void)
{
    struct mk *m = mk_new();
    struct sk_prng prng;
    char name[32];
    char site[16];
    sk_prng_seed(&prng, 42);
    double total = 0;
    for (int s = 0; s < 6; s++) {
        (void)snprintf(site, sizeof(site), "s%d", s);
        mk_site(m, site);
        for (int n = 0; n < 10; n++) {
            double cpus = (double)(8u << sk_prng_below(&prng, 3));
            (void)snprintf(name, sizeof(name), "s%d-%02d", s, n);
            mk_node(m, name, site, cpus, cpus * 4096, cpus * (0.02 + 0.003 * s));
            total += cpus;
        }
    }
    for (int i = 0; i < 150; i++) {
        (void)snprintf(name, sizeof(name), "v%03d", i);
        double cpus = total * 0.6 / 150 / 3 * (0.5 + sk_prng_unit(&prng));
        struct service *v = mk_svc(m, name, 3, cpus, cpus * 1024 * (1 + (double)(i % 5)));
        if (i % 2 == 0) {
            mk_survive(v, 1, -1, 2);
        }
    }
    return m;
}

static void test_middle(void **state)
{
    (void)state;
    struct mk *m = middle();
    struct plan *a = mk_plan(m, NULL);
    struct plan *b = mk_plan(m, NULL);
    assert_int_equal(a->verdict, PLAN_OK);
    assert_string_equal(a->id, b->id);
    assert_int_equal(a->nwarnings, 0);
    for (size_t i = 0; i < a->nlosses; i++) {
        assert_true(a->losses[i].ok);
        assert_int_equal(a->losses[i].nshorts, 0);
    }
    assert_true(a->cost.gap.known && a->cost.gap.value < 0.08);
    plan_free(a);
    plan_free(b);
    mk_free(m);
}

static void test_codes_are_documented(void **state)
{
    (void)state;
    static const char *const rows[][2] = {
#define X(code, text) {code, text},
        PL_PROBLEM_TABLE(X) PL_WARNING_TABLE(X)
#undef X
    };
    const char *root = getenv("SKERRY_SOURCE_ROOT");
    char path[1024];
    char text[16384];
    (void)snprintf(path, sizeof(path), "%s/docs/plan-codes.md", root ? root : ".");
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    size_t n = fread(text, 1, sizeof(text) - 1, f);
    (void)fclose(f); /* was only read */
    text[n] = '\0';
    size_t listed = 0;
    for (const char *p = text; (p = strstr(p, "\n| `")) != NULL; p++) {
        listed++;
    }
    assert_int_equal(listed, SK_ARRAY_LEN(rows));
    for (size_t i = 0; i < SK_ARRAY_LEN(rows); i++) {
        char row[256];
        (void)snprintf(row, sizeof(row), "| `%s` | %s |", rows[i][0], rows[i][1]);
        assert_non_null(strstr(text, row));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_middle),
        cmocka_unit_test(test_codes_are_documented),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
