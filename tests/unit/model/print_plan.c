/* SPDX-License-Identifier: Apache-2.0 */
/* Prints a plan with one row of every kind, and an empty one's keys where there can be none. */
#include <stdio.h>

#include "base/json.h"
#include "model/plan.h"

#define S(text) SK_STR(text)

static void fill(struct plan *plan)
{
    static struct plan_placement placement = {S("p"), S("s"), 1, S("a"), S("n")};
    static struct plan_shard_count shards[] = {{S("a"), 2}, {S("b"), 1}};
    static struct plan_bucket bucket = {S("p"), S("b"), 2, 1, shards, 2};
    static struct plan_latency latency = {S("p"), S("s"), {true, 1.5}, {false, 0}, 0.5};
    static struct plan_kept kept = {S("p"), S("s"), 3};
    static struct plan_short shorts = {S("p"), S("s"), 1, S("cpus"), true};
    static struct sk_str names[] = {S("a"), S("b")};
    static struct plan_loss loss = {names,   2, false,    true, &kept,        1, &placement, 1,
                                    &shorts, 1, &latency, 1,    {true, -0.25}};
    static struct plan_move move = {S("p"), S("s"), 0, S(""), S("n"), S("new")};
    static struct plan_problem problem = {
        .code = S("capacity_short"), .lost = names, .nlost = 1, .text = S("t"), .fix = S("f")};
    static struct plan_warning warning = {S("goal_unmet"), S("p"), S(""), S("t")};

    plan->verdict = PLAN_NOT_FOUND;
    plan->placements = &placement;
    plan->buckets = &bucket;
    plan->latency = &latency;
    plan->losses = &loss;
    plan->node_losses.worst = &loss;
    plan->moves = &move;
    plan->problems = &problem;
    plan->warnings = &warning;
    plan->nplacements = plan->nbuckets = plan->nlatency = plan->nlosses = 1;
    plan->node_losses.nworst = plan->nmoves = plan->nproblems = plan->nwarnings = 1;
    plan->cost.currency = S("EUR");
    plan->cost.hour = (struct plan_maybe){true, 0.1};
    plan->cost.idle = names;
    plan->cost.nidle = 2;
    plan->timing_ms.print = 1;
}

int main(void)
{
    struct plan *plan = plan_new();
    struct sk_buf buf = SK_BUF_INIT;
    struct sk_jw w;

    fill(plan);
    plan_seal(plan);
    sk_jw_init(&w, &buf);
    plan_write_json(plan, &w);
    puts(buf.ptr);
    sk_buf_release(&buf);
    plan_free(plan);
    return 0;
}
