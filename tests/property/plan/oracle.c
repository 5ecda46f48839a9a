/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The planner against the brute-force oracle on random tiny worlds: "impossible" never where a plan
 * exists, "not found" rarely, every figure of every plan as the second reading of the rules has it.
 *
 *     test-plan-oracle [--cases N] [--seed N] [--verbose]
 */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/mem.h"
#include "plan/planner.h"
#include "tiny.h"

#define STEPS_MAX 2000000
#define SLOW_MS 300 /* named, not failed: the machine may be busy */

struct tally {
    long cases, feasible, ok, impossible, not_found, missed, undecided, wrong;
    double worst_ms;
};

static double now_ms(void)
{
    struct timespec ts;
    (void)clock_gettime(CLOCK_MONOTONIC, &ts); /* cannot fail for this clock */
    return (double)ts.tv_sec * 1e3 + (double)ts.tv_nsec / 1e6;
}

static void complain(struct tally *tally, uint64_t seed, const char *what)
{
    tally->wrong++;
    printf("# seed %llu: %s\n", (unsigned long long)seed, what);
}

static void run_case(uint64_t seed, struct tally *tally, bool verbose)
{
    struct tiny t;
    struct tiny_world world;
    static struct tiny_answer answer;
    struct sk_arena *arena = sk_arena_new();
    tiny_make(&t, seed);
    tiny_world(&t, &world, arena);
    tiny_solve(&t, STEPS_MAX, &answer);

    struct plan_input in;
    plan_input_init(&in);
    in.inv = &world.inv;
    in.projects = world.projects;
    in.nprojects = 1;
    struct plan *plan = NULL;
    double t0 = now_ms();
    int rc = plan_make(&in, &plan, NULL);
    double took = now_ms() - t0;
    tally->worst_ms = took > tally->worst_ms ? took : tally->worst_ms;
    if (took > SLOW_MS) {
        printf("# seed %llu: %.0f ms\n", (unsigned long long)seed, took);
    }
    SK_ASSERT(rc == 0);
    tally->cases++;
    tally->feasible += answer.decided && answer.feasible;
    tally->undecided += !answer.decided;
    tally->ok += plan->verdict == PLAN_OK;
    tally->impossible += plan->verdict == PLAN_IMPOSSIBLE;
    tally->not_found += plan->verdict == PLAN_NOT_FOUND;
    const char *wrong = plan->verdict == PLAN_OK ? tiny_check(&t, plan) : NULL;
    if (wrong) {
        complain(tally, seed, wrong);
    }
    if (answer.decided && answer.feasible && plan->verdict == PLAN_IMPOSSIBLE) {
        complain(tally, seed, "called impossible, and there is a plan");
    }
    if (answer.decided && !answer.feasible && plan->verdict == PLAN_OK) {
        complain(tally, seed, "called ok, and there is no plan");
    }
    if (answer.decided && answer.feasible && plan->verdict == PLAN_NOT_FOUND) {
        tally->missed++;
        printf("# seed %llu: not found, and there is a plan\n", (unsigned long long)seed);
    }
    if (verbose) {
        struct sk_buf b = SK_BUF_INIT;
        tiny_write_inventory(&t, &b);
        tiny_write_project(&t, &b);
        printf("%s\n%s %.1f ms\n", b.ptr, plan_verdict_name(plan->verdict), took);
        sk_buf_clear(&b);
        struct sk_jw w;
        sk_jw_init(&w, &b);
        plan_write_json(plan, &w);
        printf("%s\n", b.ptr);
        sk_buf_release(&b);
    }
    plan_free(plan);
    sk_arena_free(arena);
}

int main(int argc, char **argv)
{
    long cases = 1500;
    uint64_t seed = 1;
    bool verbose = false;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--cases") == 0 && i + 1 < argc) {
            cases = strtol(argv[++i], NULL, 10);
        } else if (strcmp(argv[i], "--seed") == 0 && i + 1 < argc) {
            seed = strtoull(argv[++i], NULL, 10);
        } else if (strcmp(argv[i], "--verbose") == 0) {
            verbose = true;
        } else {
            fprintf(stderr, "usage: %s [--cases N] [--seed N] [--verbose]\n", argv[0]);
            return 2;
        }
    }
    struct tally tally = {0};
    for (long i = 0; i < cases; i++) {
        run_case(seed + (uint64_t)i, &tally, verbose);
    }
    printf("# %ld cases: %ld feasible, %ld undecided; planner: %ld ok, %ld impossible, %ld not "
           "found, %ld of them feasible; %ld wrong; worst %.1f ms\n",
           tally.cases, tally.feasible, tally.undecided, tally.ok, tally.impossible,
           tally.not_found, tally.missed, tally.wrong, tally.worst_ms);
    bool good = tally.wrong == 0 && tally.missed * 100 <= tally.feasible;
    return good ? 0 : 1;
}
