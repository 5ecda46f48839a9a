/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Random changes to good plans: whatever the brute-force check says of the changed plan, the
 * verifier must say too, both ways. Prints the seed and both opinions where they differ.
 *
 *     test-property-mutations [--mutations N] [--seed FIRST]
 */
#include <stdio.h>

#include "base/units.h"
#include "plan/verify/verify.h"
#include "tiny_plan.h"

#define STEPS_MAX 200000

static int below(struct sk_prng *r, size_t bound)
{
    return (int)sk_prng_below(r, (uint64_t)bound);
}

/* A random element's index, or -1 of none. */
static int any(struct sk_prng *r, size_t count)
{
    return count == 0 ? -1 : below(r, count);
}

static struct sk_str node_name(struct plan *plan, int n)
{
    return sk_arena_printf(plan->arena, "n%d", n);
}

static struct plan_placement *any_placement(struct plan *plan, struct sk_prng *r)
{
    int k = any(r, plan->nplacements);

    return k < 0 ? NULL : &plan->placements[k];
}

/* There is a site, so there is a row. */
static struct plan_loss *any_loss(struct plan *plan, struct sk_prng *r)
{
    return &plan->losses[below(r, plan->nlosses)];
}

static struct plan_placement *any_replaced(struct plan *plan, struct sk_prng *r)
{
    for (int tries = 0; tries < 10; tries++) {
        struct plan_loss *loss = any_loss(plan, r);
        int k = any(r, loss->nreplaced);

        if (k >= 0) {
            return &loss->replaced[k];
        }
    }
    return NULL;
}

static void put_on(const struct tiny *t, struct plan *plan, struct plan_placement *p, int n)
{
    p->node = node_name(plan, n);
    p->site = sk_arena_printf(plan->arena, "s%d", t->nodes[n].site);
}

static bool move_replica(const struct tiny *t, struct plan *plan, struct sk_prng *r)
{
    struct plan_placement *p = any_placement(plan, r);

    if (p) {
        put_on(t, plan, p, below(r, (size_t)t->nnodes));
    }
    return p;
}

static bool swap_replicas(const struct tiny *t, struct plan *plan, struct sk_prng *r)
{
    struct plan_placement *a = any_placement(plan, r), *b = any_placement(plan, r);

    if (a) {
        struct plan_placement c = *a;

        a->node = b->node;
        a->site = b->site;
        b->node = c.node;
        b->site = c.site;
    }
    return a;
}

static bool drop_replica(const struct tiny *t, struct plan *plan, struct sk_prng *r)
{
    int k = any(r, plan->nplacements);

    if (k >= 0) {
        plan->nplacements--;
        memmove(&plan->placements[k], &plan->placements[k + 1],
                (plan->nplacements - (size_t)k) * sizeof(*plan->placements));
    }
    return k >= 0;
}

static bool double_replica(const struct tiny *t, struct plan *plan, struct sk_prng *r)
{
    int a = any(r, plan->nplacements), b = any(r, plan->nplacements);

    if (a >= 0) {
        plan->placements[b] = plan->placements[a];
    }
    return a >= 0;
}

static bool wrong_site(const struct tiny *t, struct plan *plan, struct sk_prng *r)
{
    struct plan_placement *p = any_placement(plan, r);

    if (p) {
        p->site = sk_arena_printf(plan->arena, "s%d", below(r, (size_t)t->nsites));
    }
    return p;
}

static bool false_kept(const struct tiny *t, struct plan *plan, struct sk_prng *r)
{
    struct plan_loss *loss = any_loss(plan, r);
    int k = any(r, loss->nkept);

    if (k >= 0) {
        loss->kept[k].count += below(r, 3) - 1;
    }
    return k >= 0;
}

static bool drop_kept(const struct tiny *t, struct plan *plan, struct sk_prng *r)
{
    struct plan_loss *loss = any_loss(plan, r);

    if (loss->nkept > 0) {
        loss->kept++;
        loss->nkept--;
    }
    return true;
}

static bool drop_row(const struct tiny *t, struct plan *plan, struct sk_prng *r)
{
    int k = any(r, plan->nlosses);

    plan->nlosses--;
    memmove(&plan->losses[k], &plan->losses[k + 1],
            (plan->nlosses - (size_t)k) * sizeof(*plan->losses));
    return true;
}

static bool flip_ok(const struct tiny *t, struct plan *plan, struct sk_prng *r)
{
    struct plan_loss *loss = any_loss(plan, r);

    loss->ok = !loss->ok;
    return true;
}

static bool flip_control(const struct tiny *t, struct plan *plan, struct sk_prng *r)
{
    any_loss(plan, r)->control_kept = false;
    return true;
}

static bool false_cost(const struct tiny *t, struct plan *plan, struct sk_prng *r)
{
    struct plan_maybe *all[] = {&plan->cost.hour,         &plan->cost.month,
                                &plan->cost.servers_hour, &plan->cost.lower_bound_hour,
                                &plan->cost.gap,          &any_loss(plan, r)->added_cost_hour};
    struct plan_maybe *one = all[below(r, 6)];

    if (below(r, 5) == 0) {
        one->known = !one->known;
        one->value = 0;
    } else {
        one->value = one->value * (1 + 0.01 * (below(r, 3) - 1)) + 0.001 * (below(r, 3) - 1);
    }
    return true;
}

static bool true_bound(const struct tiny *t, struct plan *plan, struct sk_prng *r)
{
    double hour = plan->cost.hour.value, part = sk_prng_unit(r) * 1.2;

    if (plan->cost.hour.known && hour > 0) {
        plan->cost.lower_bound_hour.value = hour * part;
        plan->cost.gap.value = (hour - hour * part) / hour;
    }
    return true;
}

static bool false_idle(const struct tiny *t, struct plan *plan, struct sk_prng *r)
{
    if (below(r, 2) == 0 && plan->cost.nidle > 0) {
        plan->cost.nidle--;
    } else if (plan->cost.nidle < NODES_MAX) {
        plan->cost.idle[plan->cost.nidle++] = node_name(plan, below(r, (size_t)t->nnodes));
    }
    return true;
}

static void change_latency(struct plan_latency *l, struct sk_prng *r)
{
    switch (below(r, 4)) {
    case 0:
        l->ms.value += 5 * (below(r, 3) - 1);
        break;
    case 1:
        l->share += 0.125 * (below(r, 3) - 1);
        break;
    case 2:
        l->ms.known = !l->ms.known;
        l->ms.value = 0;
        break;
    case 3:
        l->ms_at_once.value += l->ms_at_once.known ? 5 * (below(r, 3) - 1) : 0;
        break;
    }
}

static bool false_latency(const struct tiny *t, struct plan *plan, struct sk_prng *r)
{
    struct plan_loss *loss = any_loss(plan, r);
    int k = any(r, plan->nlatency), where = below(r, 4);

    if (k < 0) {
        return false;
    }
    if (where == 0) {
        plan->nlatency--;
    } else if (where == 1) {
        loss->nlatency--;
    } else if (where == 2) {
        change_latency(&loss->latency[k], r);
    } else if (plan->latency[k].ms_at_once.known) {
        return false;
    } else {
        plan->latency[k].share -= 0.25 * below(r, 2);
        plan->latency[k].ms.value += plan->latency[k].ms.known ? 5 * below(r, 2) : 0;
    }
    return true;
}

static bool move_replaced(const struct tiny *t, struct plan *plan, struct sk_prng *r)
{
    struct plan_placement *p = any_replaced(plan, r);

    if (p) {
        put_on(t, plan, p, below(r, (size_t)t->nnodes));
    }
    return p;
}

static bool false_replaced(const struct tiny *t, struct plan *plan, struct sk_prng *r)
{
    struct plan_placement *p = any_replaced(plan, r);

    if (p && below(r, 2)) {
        p->replica = below(r, REPLICAS_MAX);
    } else if (p) {
        p->service = sk_arena_printf(plan->arena, "v%d", below(r, (size_t)t->nservices));
    }
    return p;
}

/* A replica that was re-placed is said to be short, with everything else in order. */
static bool give_up(const struct tiny *t, struct plan *plan, struct sk_prng *r)
{
    static const char *const resources[] = {"cpus", "memory", "disk", "node", "rps"};
    struct plan_loss *loss = any_loss(plan, r);
    int k = any(r, loss->nreplaced);
    size_t at = 0;
    struct plan_short row;

    if (k < 0 || loss->nshorts >= SERVICES_MAX) {
        return false;
    }
    row = (struct plan_short){SK_PROJECT, loss->replaced[k].service, 1,
                              sk_str(resources[below(r, 5)]), below(r, 2)};
    row.asked = tiny_asked(t, row.service.ptr[1] - '0', 1u << (loss->lost[0].ptr[1] - '0'));
    loss->nreplaced--;
    memmove(&loss->replaced[k], &loss->replaced[k + 1],
            (loss->nreplaced - (size_t)k) * sizeof(*loss->replaced));
    while (at < loss->nshorts && sk_str_cmp(loss->shorts[at].service, row.service) < 0) {
        at++;
    }
    if (at < loss->nshorts && sk_str_eq(loss->shorts[at].service, row.service)) {
        loss->shorts[at].replicas++;
        return true;
    }
    memmove(&loss->shorts[at + 1], &loss->shorts[at], (loss->nshorts - at) * sizeof(row));
    loss->shorts[at] = row;
    loss->nshorts++;
    return true;
}

static bool false_short(const struct tiny *t, struct plan *plan, struct sk_prng *r)
{
    static const char *const resources[] = {"cpus", "memory", "disk", "node", "rps", "money"};

    for (int tries = 0; tries < 10; tries++) {
        struct plan_loss *loss = any_loss(plan, r);
        int k = any(r, loss->nshorts);

        if (k < 0) {
            continue;
        }
        switch (below(r, 4)) {
        case 0:
            loss->shorts[k].replicas += below(r, 3) - 1;
            break;
        case 1:
            loss->shorts[k].asked = !loss->shorts[k].asked;
            break;
        case 2:
            loss->shorts[k].resource = sk_str(resources[below(r, 6)]);
            break;
        case 3:
            loss->nshorts--;
            break;
        }
        return true;
    }
    return false;
}

static bool false_nodes(const struct tiny *t, struct plan *plan, struct sk_prng *r)
{
    struct plan_loss *row = NULL;

    if (plan->node_losses.nworst > 0) {
        row = &plan->node_losses.worst[below(r, plan->node_losses.nworst)];
    }
    switch (below(r, 6)) {
    case 0:
        plan->node_losses.checked += below(r, 3) - 1;
        break;
    case 1:
        plan->node_losses.ok = !plan->node_losses.ok;
        break;
    case 2:
        plan->node_losses.nworst -= row ? 1 : 0;
        break;
    case 3:
        if (row) {
            row->ok = !row->ok;
        }
        break;
    case 4:
        if (row && row->nkept > 0) {
            row->kept[0].count += below(r, 3) - 1;
        }
        break;
    case 5:
        if (row) {
            row->lost[0] = node_name(plan, below(r, (size_t)t->nnodes));
        }
        break;
    }
    return true;
}

static bool false_shards(const struct tiny *t, struct plan *plan, struct sk_prng *r)
{
    struct plan_bucket *b = plan->buckets;

    if (plan->nbuckets == 0 || b->nshards == 0) {
        return false;
    }
    switch (below(r, 5)) {
    case 0:
        b->shards[0].count += below(r, 3) - 1;
        break;
    case 1:
        b->shards[0].site = sk_arena_printf(plan->arena, "s%d", below(r, (size_t)t->nsites));
        break;
    case 2:
        b->data += below(r, 3) - 1;
        break;
    case 3:
        b->parity += 1;
        b->shards[below(r, b->nshards)].count += 1;
        break;
    case 4:
        b->shards[below(r, b->nshards)].count += 1;
        b->shards[below(r, b->nshards)].count -= 1;
        break;
    }
    return true;
}

static bool false_warning(const struct tiny *t, struct plan *plan, struct sk_prng *r)
{
    if (below(r, 2) == 0 && plan->nwarnings > 0) {
        plan->nwarnings--;
    } else if (plan->nwarnings <= SERVICES_MAX) {
        plan->warnings[plan->nwarnings++] = (struct plan_warning){
            below(r, 4) ? SK_STR("goal_unmet") : SK_STR("price_unknown"), SK_PROJECT,
            sk_arena_printf(plan->arena, "v%d", below(r, (size_t)t->nservices + 1)), SK_STR("x")};
    }
    return true;
}

static bool false_move(const struct tiny *t, struct plan *plan, struct sk_prng *r)
{
    struct plan_placement *p = any_placement(plan, r);

    if (!p) {
        return false;
    }
    plan->moves = SK_ARENA_NEW(plan->arena, struct plan_move);
    plan->moves[0] = (struct plan_move){
        .project = p->project,
        .service = p->service,
        .replica = below(r, 3) ? p->replica : below(r, REPLICAS_MAX),
        .from = node_name(plan, below(r, (size_t)t->nnodes)),
        .to = below(r, 3) ? p->node : node_name(plan, below(r, (size_t)t->nnodes)),
        .why = SK_STR("because"),
    };
    plan->nmoves = 1;
    return true;
}

static bool false_verdict(const struct tiny *t, struct plan *plan, struct sk_prng *r)
{
    plan->verdict = (enum plan_verdict)below(r, 3);
    if (below(r, 2)) {
        plan->problems = SK_ARENA_NEW(plan->arena, struct plan_problem);
        plan->problems[0] = (struct plan_problem){
            .code = SK_STR("capacity_short"), .fix = SK_STR("add a node"), .proven = below(r, 2)};
        plan->nproblems = 1;
    }
    return true;
}

static const struct {
    const char *name;
    bool (*apply)(const struct tiny *t, struct plan *plan, struct sk_prng *r);
} mutations[] = {
    {"move a replica", move_replica},
    {"swap replicas", swap_replicas},
    {"drop a replica", drop_replica},
    {"double a replica", double_replica},
    {"wrong site", wrong_site},
    {"false kept", false_kept},
    {"drop kept", drop_kept},
    {"drop a row", drop_row},
    {"flip ok", flip_ok},
    {"flip control", flip_control},
    {"false cost", false_cost},
    {"another bound", true_bound},
    {"false idle", false_idle},
    {"false latency", false_latency},
    {"move a re-placed replica", move_replaced},
    {"false re-placed replica", false_replaced},
    {"give up a re-placement", give_up},
    {"false short", false_short},
    {"false node losses", false_nodes},
    {"false shards", false_shards},
    {"false warning", false_warning},
    {"false move", false_move},
    {"false verdict", false_verdict},
};
#define MUTATIONS (sizeof(mutations) / sizeof(mutations[0]))

struct tally {
    long plans, mutations, accepted, refused, differ;
};

static void show(const struct tiny *t, const struct plan *plan, const char *what, const char *brute,
                 const struct verify_report *report)
{
    struct sk_buf text = SK_BUF_INIT;
    struct sk_jw w;

    tiny_write_inventory(t, &text);
    tiny_write_project(t, &text);
    sk_jw_init(&w, &text);
    plan_write_json(plan, &w);
    printf("# seed %llu, %s: brute force says '%s', the verifier %zu findings\n",
           (unsigned long long)t->seed, what, brute ? brute : "good", report->nfindings);
    for (size_t i = 0; i < report->nfindings; i++) {
        printf("#   %.*s: %.*s\n", SK_PRI(report->findings[i].rule),
               SK_PRI(report->findings[i].text));
    }
    printf("%s\n", text.ptr);
    sk_buf_release(&text);
}

static void judge(const struct tiny *t, const struct tiny_world *world, const struct plan *plan,
                  const char *what, struct tally *tally)
{
    struct verify_input in = {
        .inv = &world->inv, .projects = world->projects, .nprojects = 1, .plan = plan};
    struct verify_report report = {0};
    struct sk_err err = {0};
    const char *brute = tiny_check(t, plan);

    if (verify_plan(&in, &report, &err) < 0) {
        printf("# seed %llu: %s\n", (unsigned long long)t->seed, err.msg);
        tally->differ++;
    } else if ((report.nfindings == 0) != (brute == NULL)) {
        tally->differ++;
        if (tally->differ <= 3) {
            show(t, plan, what, brute, &report);
        }
    }
    tally->accepted += !brute;
    tally->refused += brute != NULL;
    verify_report_release(&report);
}

static void mutate(const struct tiny *t, const struct tiny_world *world,
                   const struct tiny_answer *answer, struct sk_prng *r, struct tally *tally)
{
    for (int n = 0; n < 8; n++) {
        struct plan *plan = tiny_plan(t, answer);
        size_t kind = sk_prng_below(r, MUTATIONS);
        const char *what = mutations[kind].name;

        if (mutations[kind].apply(t, plan, r)) {
            if (sk_prng_below(r, 50) > 0) { /* else the id is that of another plan */
                plan_seal(plan);
            }
            judge(t, world, plan, what, tally);
            tally->mutations++;
        }
        plan_free(plan);
    }
}

int main(int argc, char **argv)
{
    struct tally tally = {0};
    int64_t wanted = 1000, seed = 1;
    struct sk_prng r;

    for (int i = 1; i + 1 < argc; i += 2) {
        int64_t *out = strcmp(argv[i], "--mutations") == 0 ? &wanted : &seed;

        if (sk_parse_int(sk_str(argv[i + 1]), 0, INT64_MAX, out, NULL) < 0) {
            return 2;
        }
    }
    sk_prng_seed(&r, (uint64_t)seed);
    for (; tally.mutations < wanted && tally.differ == 0; seed++) {
        struct sk_arena *arena = sk_arena_new();
        struct tiny_world world;
        struct tiny_answer answer;
        struct tiny t;

        tiny_make(&t, (uint64_t)seed);
        tiny_world(&t, &world, arena);
        tiny_solve(&t, STEPS_MAX, &answer);
        if (answer.feasible) {
            struct plan *plan = tiny_plan(&t, &answer);

            judge(&t, &world, plan, "a good plan", &tally);
            if (tiny_check(&t, plan)) {
                printf("# seed %lld: the good plan is not good\n", (long long)seed);
                tally.differ++;
            }
            plan_free(plan);
            tally.plans++;
            mutate(&t, &world, &answer, &r, &tally);
        }
        sk_arena_free(arena);
    }
    printf("# %ld plans, %ld mutations: %ld good, %ld not, %ld judged differently\n", tally.plans,
           tally.mutations, tally.accepted, tally.refused, tally.differ);
    printf("%sok 1 - the verifier and brute force agree\n1..1\n", tally.differ ? "not " : "");
    return tally.differ ? 1 : 0;
}
