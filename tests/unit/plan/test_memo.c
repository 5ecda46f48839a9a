/* SPDX-License-Identifier: Apache-2.0 */
/* The memo of the complete search: it must say what the rules say, once or many times, within its
 * bound. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/mem.h"
#include "make_world.h"
#include "plan/memo.h"
#include "plan/rules.h"

#define BYTES_MAX (8u * 1024u * 1024u) /* as memo.h says */
#define MANY 1000                      /* replicas of the service that fills it */

enum { NEAR, PLAIN, WIDE }; /* by name */

struct memo_world {
    struct mk *m;
    struct pl_world w;
    struct pl_memo *memo;
};

/* near: two replicas, one of them in ams at least; plain: the same without a rule; wide: many. */
static void setup(struct memo_world *t)
{
    t->m = mk_new();
    mk_site(t->m, "ams");
    mk_site(t->m, "fra");
    mk_node(t->m, "ams-1", "ams", 4000, 4096e3, 0.10);
    mk_node(t->m, "ams-2", "ams", 4000, 4096e3, 0.15);
    mk_node(t->m, "fra-1", "fra", 4000, 4096e3, 0.20);
    mk_latency(mk_svc(t->m, "near", 2, 1, 64), 20, -1);
    mk_svc(t->m, "plain", 2, 2, 64);
    mk_svc(t->m, "wide", MANY, 1, 64);
    struct users *u = mk_users(t->m, "all", 1);
    mk_rtt(t->m, u, "ams", 10);
    mk_rtt(t->m, u, "fra", 50);
    assert_int_equal(pl_world_init(&t->w, mk_input(t->m), NULL), 0);
    t->memo = pl_memo_new(&t->w);
}

static void teardown(struct memo_world *t)
{
    pl_memo_free(t->memo);
    pl_world_release(&t->w);
    mk_free(t->m);
}

static void expect_rules(const struct memo_world *t, const struct pl_svc *s, const uint32_t *nodes,
                         const struct pl_worth *v)
{
    bool hard = pl_rules_hard(&t->w, s, nodes) == PL_RULE_OK;
    assert_int_equal(v->hard, hard);
    if (hard) {
        bool known = true;
        uint32_t moves;
        double cost = pl_cost_hour(&t->w, s, nodes, s->replicas, &known) +
                      pl_move_hour(&t->w, s, nodes, &moves);
        assert_true(v->cost >= cost && v->cost <= cost); /* to the last bit */
        assert_int_equal(v->goals, pl_rules_goals(&t->w, s, nodes));
    } else {
        assert_true(v->cost >= 0 && v->cost <= 0 && !v->goals);
    }
    if (v->nodes) {
        assert_memory_equal(v->nodes, nodes, s->replicas * sizeof(*nodes));
    }
}

/* Every placement of every small service, asked for three times. */
static void it_says_what_the_rules_say(void **state)
{
    (void)state;
    struct memo_world t;
    setup(&t);
    size_t hard = 0;
    for (int round = 0; round < 3; round++) {
        for (uint32_t svc = NEAR; svc <= PLAIN; svc++) {
            for (uint32_t i = 0; i < 9; i++) {
                uint32_t nodes[2] = {i / 3, i % 3};
                struct pl_worth v = pl_memo_worth(t.memo, &t.w.svcs[svc], nodes);
                expect_rules(&t, &t.w.svcs[svc], nodes, &v);
                hard += v.hard;
            }
        }
    }
    assert_int_equal(hard, 3 * (8 + 9)); /* near must not be in fra alone */
    teardown(&t);
}

/* What is kept is not worked out again: a rule that changes under it, which none does while a plan
 * is made, is not seen. That of another service, or of another memo, is. */
static void what_was_asked_is_kept(void **state)
{
    (void)state;
    struct memo_world t;
    setup(&t);
    uint32_t nodes[2] = {0, 2};
    struct pl_worth first = pl_memo_worth(t.memo, &t.w.svcs[NEAR], nodes);
    assert_true(first.hard && first.nodes != NULL && first.nodes != nodes);
    for (uint32_t svc = NEAR; svc <= PLAIN; svc++) {
        t.w.svcs[svc].has_ceiling = true; /* and nothing may cost anything */
        t.w.svcs[svc].ceiling_month = 0;
    }
    struct pl_worth again = pl_memo_worth(t.memo, &t.w.svcs[NEAR], nodes);
    assert_true(again.hard && again.nodes == first.nodes);
    assert_false(pl_memo_worth(t.memo, &t.w.svcs[PLAIN], nodes).hard);
    uint32_t other[2] = {0, 1};
    assert_false(pl_memo_worth(t.memo, &t.w.svcs[NEAR], other).hard);
    struct pl_memo *fresh = pl_memo_new(&t.w);
    assert_false(pl_memo_worth(fresh, &t.w.svcs[NEAR], nodes).hard);
    pl_memo_free(fresh);
    teardown(&t);
}

/* The caller's array is the caller's: the search writes the next placement into it. */
static void it_keeps_a_copy(void **state)
{
    (void)state;
    struct memo_world t;
    setup(&t);
    uint32_t nodes[2] = {0, 2};
    struct pl_worth good = pl_memo_worth(t.memo, &t.w.svcs[NEAR], nodes);
    nodes[0] = 2;
    struct pl_worth bad = pl_memo_worth(t.memo, &t.w.svcs[NEAR], nodes);
    assert_true(good.hard && !bad.hard);
    assert_int_equal(good.nodes[0], 0);
    assert_int_equal(good.nodes[1], 2);
    assert_int_equal(bad.nodes[0], 2);
    assert_ptr_not_equal(good.nodes, bad.nodes);
    teardown(&t);
}

static void wide_placement(uint32_t *nodes, uint32_t a, uint32_t b)
{
    for (uint32_t r = 0; r < MANY; r++) { /* a of them on the first node, b on the second */
        nodes[r] = r < a ? 0 : r < a + b ? 1 : 2;
    }
}

/* Kept until it is full; what comes later is as right, and everybody's copy stays where it is. */
static void it_is_bounded(void **state)
{
    (void)state;
    struct memo_world t;
    setup(&t);
    const struct pl_svc *s = &t.w.svcs[WIDE];
    uint32_t *nodes = sk_xcalloc(MANY, sizeof(*nodes));
    enum { ASKED = 3000 };
    const uint32_t **kept = sk_xcalloc(ASKED, sizeof(const uint32_t *));
    size_t count = 0;
    for (uint32_t i = 0; i < ASKED; i++) {
        wide_placement(nodes, i % 100, i / 100);
        struct pl_worth v = pl_memo_worth(t.memo, s, nodes);
        if (v.nodes) {
            assert_int_equal(count, i); /* once full, full */
            kept[count++] = v.nodes;
        }
        if (i % 500 == 0 || i == ASKED - 1) {
            expect_rules(&t, s, nodes, &v);
        }
    }
    size_t bytes = MANY * sizeof(*nodes);
    assert_true(count < ASKED && count * bytes <= BYTES_MAX && count * bytes > BYTES_MAX * 9 / 10);
    for (uint32_t i = 0; i < count; i += 37) {
        wide_placement(nodes, i % 100, i / 100);
        assert_ptr_equal(pl_memo_worth(t.memo, s, nodes).nodes, kept[i]);
    }
    free(kept);
    free(nodes);
    teardown(&t);
}

/* Far more than the slots that it begins with: all are found again. */
static void it_grows(void **state)
{
    (void)state;
    struct memo_world t;
    setup(&t);
    t.w.svcs[WIDE].replicas = 200; /* short, so that many fit */
    const struct pl_svc *s = &t.w.svcs[WIDE];
    uint32_t nodes[MANY];
    enum { ASKED = 8000 };
    const uint32_t **kept = sk_xcalloc(ASKED, sizeof(const uint32_t *));
    for (int round = 0; round < 2; round++) {
        for (uint32_t i = 0; i < ASKED; i++) {
            wide_placement(nodes, i % 100, i / 100);
            struct pl_worth v = pl_memo_worth(t.memo, s, nodes);
            assert_non_null(v.nodes);
            assert_true(round == 0 || v.nodes == kept[i]);
            kept[i] = v.nodes;
        }
    }
    free(kept);
    teardown(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_says_what_the_rules_say),
        cmocka_unit_test(what_was_asked_is_kept),
        cmocka_unit_test(it_keeps_a_copy),
        cmocka_unit_test(it_is_bounded),
        cmocka_unit_test(it_grows),
    };
    pl_memo_free(NULL);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
