/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Laws of the planner on random tiny worlds:
 * - the same input gives the same plan, whatever `threads`;
 * - one more node never turns ok into a refusal (with and without the old plan as the current one);
 * - a plan made again with itself as the current one moves nothing and costs no more.
 *
 *     test-plan-laws [--cases N] [--seed N]
 */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "plan/planner.h"
#include "tiny.h"

static struct plan *make(const struct tiny_world *w, const struct plan *current, int threads)
{
    struct plan_input in;
    struct plan *plan = NULL;
    plan_input_init(&in);
    in.inv = &w->inv;
    in.projects = w->projects;
    in.nprojects = 1;
    in.current = current;
    in.threads = threads;
    SK_ASSERT(plan_make(&in, &plan, NULL) == 0);
    return plan;
}

static long complain(uint64_t seed, const char *what)
{
    printf("# seed %llu: %s\n", (unsigned long long)seed, what);
    return 1;
}

/* The world with a copy of one of its nodes, chosen by the seed. */
static bool add_node(const struct tiny *t, struct tiny *ret_more)
{
    if (t->nnodes == 0 || t->nnodes == NODES_MAX) {
        return false;
    }
    *ret_more = *t;
    ret_more->nodes[t->nnodes] = t->nodes[t->seed % (uint64_t)t->nnodes];
    ret_more->nnodes++;
    return true;
}

static long check_case(uint64_t seed, long *ret_ok)
{
    struct tiny t;
    struct tiny more;
    struct tiny_world world;
    long wrong = 0;
    struct sk_arena *arena = sk_arena_new();
    tiny_make(&t, seed);
    tiny_world(&t, &world, arena);
    struct plan *a = make(&world, NULL, 1);
    struct plan *b = make(&world, NULL, 2);
    wrong += strcmp(a->id, b->id) != 0 ? complain(seed, "two runs differ") : 0;
    plan_free(b);
    if (a->verdict == PLAN_OK) {
        ++*ret_ok;
        b = make(&world, a, 1);
        if (b->verdict != PLAN_OK) {
            wrong += complain(seed, "its own plan as the current one is refused");
        } else if (a->cost.gap.known && a->cost.gap.value <= 0 && b->nmoves > 0) {
            wrong += complain(seed, "moves although it was at the bound");
        }
        plan_free(b);
    }
    if (a->verdict == PLAN_OK && add_node(&t, &more)) {
        tiny_world(&more, &world, arena);
        b = make(&world, NULL, 1);
        wrong += b->verdict != PLAN_OK ? complain(seed, "a node more, and it is refused") : 0;
        plan_free(b);
        b = make(&world, a, 1);
        wrong += b->verdict != PLAN_OK
                     ? complain(seed, "a node more than the current plan had, and it is refused")
                     : 0;
        plan_free(b);
    }
    plan_free(a);
    sk_arena_free(arena);
    return wrong;
}

int main(int argc, char **argv)
{
    long cases = 600;
    uint64_t seed = 100001;
    for (int i = 1; i + 1 < argc; i += 2) {
        if (strcmp(argv[i], "--cases") == 0) {
            cases = strtol(argv[i + 1], NULL, 10);
        } else if (strcmp(argv[i], "--seed") == 0) {
            seed = strtoull(argv[i + 1], NULL, 10);
        }
    }
    long wrong = 0;
    long ok = 0;
    for (long i = 0; i < cases; i++) {
        wrong += check_case(seed + (uint64_t)i, &ok);
    }
    printf("# %ld cases, %ld ok, %ld wrong\n", cases, ok, wrong);
    return wrong == 0 ? 0 : 1;
}
