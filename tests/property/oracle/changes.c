/* SPDX-License-Identifier: Apache-2.0 */

/*
 * What a change of a tiny world may do to its plan:
 *
 *   the same world, read from files        the same plan, byte for byte
 *   another node                           an ok declaration stays ok
 *   a node drained, dearer or cheaper      the plan made with the old one as current is a good plan
 *                                          whose moves are true
 *   a bucket that takes disk               the plan is good
 *
 *     test-property-changes [--cases N] [--seed FIRST]
 */
#include <stdio.h>

#include "base/units.h"
#include "plan/planner.h"
#include "plan/verify/verify.h"
#include "tiny_plan.h"

#define SHOWN_MAX 3

struct tally {
    long same, added, replanned, moved, buckets, wrong;
};

static void show(const struct tiny *t, const char *what, const char *text, struct tally *tally)
{
    struct sk_buf inv = SK_BUF_INIT, project = SK_BUF_INIT;

    if (++tally->wrong > SHOWN_MAX) {
        return;
    }
    tiny_write_inventory(t, &inv);
    tiny_write_project(t, &project);
    printf("# seed %llu: %s: %s\n--- inv.yaml\n%s--- compose.yaml\n%s---\n",
           (unsigned long long)t->seed, what, text, inv.ptr, project.ptr);
    sk_buf_release(&inv);
    sk_buf_release(&project);
}

static struct plan *make(const struct inventory *inv, const struct project *const *projects,
                         const struct plan *current)
{
    struct plan_input in;
    struct plan *plan = NULL;

    plan_input_init(&in);
    in.inv = inv;
    in.projects = projects;
    in.nprojects = 1;
    in.current = current;
    return plan_make(&in, &plan, NULL) < 0 ? NULL : plan;
}

/* Plans a changed world and verifies the plan. */
static struct plan *good_plan(const struct tiny *t, const struct plan *current, const char *what,
                              struct tally *tally)
{
    struct sk_arena *arena = sk_arena_new();
    struct tiny_world w;
    struct verify_input in = {.nprojects = 1, .current = current};
    struct plan *plan;
    struct verify_report report = {0};
    struct sk_err err = {0};

    tiny_world(t, &w, arena);
    in.inv = &w.inv;
    in.projects = w.projects;
    in.plan = plan = make(&w.inv, w.projects, current);
    if (!plan) {
        show(t, what, "no plan at all", tally);
    } else if (verify_plan(&in, &report, &err) < 0) {
        show(t, what, err.msg, tally);
    } else if (report.nfindings > 0) {
        struct sk_buf text = SK_BUF_INIT;

        sk_buf_printf(&text, "%.*s: %.*s", SK_PRI(report.findings[0].rule),
                      SK_PRI(report.findings[0].text));
        show(t, what, text.ptr, tally);
        sk_buf_release(&text);
    }
    verify_report_release(&report);
    sk_arena_free(arena);
    return plan;
}

static void read_from_files(const struct tiny *t, const struct plan *plan, struct tally *tally)
{
    struct sk_buf inv_text = SK_BUF_INIT, project_text = SK_BUF_INIT;
    struct project_options options = {0};
    struct inventory *inv = NULL;
    struct project *project = NULL;
    struct plan *again = NULL;
    struct sk_err err = {0};

    tiny_write_inventory(t, &inv_text);
    tiny_write_project(t, &project_text);
    if (inventory_read("inv.yaml", sk_buf_str(&inv_text), &inv, &err) < 0 ||
        project_read("compose.yaml", sk_buf_str(&project_text), &options, &project, &err) < 0) {
        show(t, "read from files", err.msg, tally);
    } else {
        again = make(inv, (const struct project *const *)&project, NULL);
        if (!again || strcmp(again->id, plan->id) != 0) {
            show(t, "read from files", "another plan", tally);
        }
        tally->same++;
    }
    plan_free(again);
    project_free(project);
    inventory_free(inv);
    sk_buf_release(&inv_text);
    sk_buf_release(&project_text);
}

static void add_a_node(const struct tiny *t, struct sk_prng *r, struct tally *tally)
{
    struct tiny more = *t;
    struct plan *plan;

    if (t->nnodes == NODES_MAX) {
        return;
    }
    more.nodes[more.nnodes] = t->nodes[sk_prng_below(r, (uint64_t)t->nnodes)];
    more.nodes[more.nnodes].site = (int)sk_prng_below(r, (uint64_t)t->nsites);
    more.nnodes++;
    plan = good_plan(&more, NULL, "a node more", tally);
    if (plan && plan->verdict != PLAN_OK) {
        show(&more, "a node more", "ok without its last node, refused with it", tally);
    }
    tally->added++;
    plan_free(plan);
}

static void replan(const struct tiny *t, const struct plan *current, struct sk_prng *r,
                   struct tally *tally)
{
    struct tiny changed = *t;
    struct tiny_node *node = &changed.nodes[sk_prng_below(r, (uint64_t)t->nnodes)];
    struct plan *plan;

    switch (sk_prng_below(r, 4)) {
    case 0:
        node->drained = true;
        break;
    case 1:
        node->price = 0.01;
        break;
    case 2:
        node->price = 1;
        break;
    case 3:
        changed.services[0].replicas += changed.services[0].replicas < REPLICAS_MAX;
        break;
    }
    for (int i = 0; i < t->nservices; i++) { /* losing more nodes than there are means nothing */
        changed.services[i].nodes = -1;
    }
    plan = good_plan(&changed, current, "replanned", tally);
    tally->moved += plan && plan->nmoves > 0;
    tally->replanned++;
    plan_free(plan);
}

static void fill_disks(const struct tiny *t, struct sk_prng *r, struct tally *tally)
{
    struct tiny changed = *t;

    changed.bucket.present = true;
    changed.bucket.size = 1 + (int)sk_prng_below(r, 20);
    plan_free(good_plan(&changed, NULL, "a bucket that takes disk", tally));
    tally->buckets++;
}

int main(int argc, char **argv)
{
    int64_t cases = 1000, seed = 1;
    struct tally tally = {0};
    struct sk_prng r;

    for (int i = 1; i + 1 < argc; i += 2) {
        int64_t *out = strcmp(argv[i], "--cases") == 0 ? &cases : &seed;

        if (sk_parse_int(sk_str(argv[i + 1]), 0, INT64_MAX, out, NULL) < 0) {
            return 2;
        }
    }
    sk_prng_seed(&r, (uint64_t)seed);
    for (int64_t n = 0; n < cases; n++) {
        struct tiny t;
        struct plan *plan;

        tiny_make(&t, (uint64_t)(seed + n));
        plan = good_plan(&t, NULL, "a plan", &tally);
        if (plan && n % 4 == 0) {
            read_from_files(&t, plan, &tally);
        }
        if (plan && plan->verdict == PLAN_OK) {
            add_a_node(&t, &r, &tally);
            replan(&t, plan, &r, &tally);
            fill_disks(&t, &r, &tally);
        }
        plan_free(plan);
    }
    printf("# %lld worlds: %ld read from files, %ld with another node, %ld replanned (%ld with "
           "moves), %ld with a bucket; %ld wrong\n",
           (long long)cases, tally.same, tally.added, tally.replanned, tally.moved, tally.buckets,
           tally.wrong);
    printf("%sok 1 - changes do what they may\n1..1\n", tally.wrong ? "not " : "");
    return tally.wrong ? 1 : 0;
}
