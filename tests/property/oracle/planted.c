/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Bugs that a planner may have, planted one by one into a good plan: each must be caught by the
 * verifier, under the rule that was broken.
 */
#include <stdio.h>

#include "plan/verify/verify.h"
#include "tiny_plan.h"

/*
 * Four sites, seven nodes:      v0  4 replicas in eu, survives a site and keeps 2, near its users
 *   s0 eu DE  n0 n1             v1  3 replicas, survives a site, keeps 2 of a node's loss, ceiling
 *   s1 eu FR  n2 n3             v2  3 replicas, asks for nothing: short when room ends
 *   s2 eu DE  n4 n5             v3  1 replica, bound to n1: nowhere to go when s0 is lost
 *   s3 us     n6 (a small one)  b   a bucket with a code of the planner's choice
 */
static void world(struct tiny *t)
{
    static const int site_of[NODES_MAX] = {0, 0, 1, 1, 2, 2, 3};

    *t = (struct tiny){.nsites = 4, .nnodes = 7, .nservices = 4, .nusers = 2};
    for (int s = 0; s < 4; s++) {
        t->sites[s] =
            (struct tiny_site){s < 3 ? 1 : 2, s == 1 ? 2 : 1, 1, SITE_FULL, false, 0.01 * (s + 1)};
        t->rtt[0][s] = 20 + 15 * s;
        t->rtt[1][s] = 70 - 15 * s;
    }
    for (int n = 0; n < 7; n++) {
        t->nodes[n] = (struct tiny_node){site_of[n],      n < 6 ? 6 : 1, n < 6 ? 8 : 1, 4,
                                         0.05 + 0.01 * n, 1 + n % 2,     false};
    }
    t->demand[0] = 3;
    t->demand[1] = 2;
    t->services[0] = (struct tiny_service){.replicas = 4,
                                           .cpus = 3,
                                           .memory = 2,
                                           .residency = TINY_EU,
                                           .sites = 1,
                                           .nodes = -1,
                                           .keep = 2,
                                           .latency = true,
                                           .ms = 48,
                                           .share = 0.95,
                                           .after = 100,
                                           .cost = -1,
                                           .gb = 730};
    t->services[1] = (struct tiny_service){.replicas = 3,
                                           .cpus = 1,
                                           .memory = 3,
                                           .sites = 1,
                                           .nodes = 1,
                                           .keep = 2,
                                           .ms = -1,
                                           .after = -1,
                                           .cost = 200};
    t->services[2] = (struct tiny_service){
        .replicas = 3, .cpus = 3, .memory = 1, .sites = -1, .nodes = -1, .keep = -1, .cost = -1};
    t->services[3] = (struct tiny_service){.replicas = 1,
                                           .cpus = 1,
                                           .memory = 1,
                                           .constraint = NODE_1,
                                           .sites = -1,
                                           .nodes = -1,
                                           .keep = -1,
                                           .cost = -1};
    t->bucket = (struct tiny_bucket){.present = true, .sites = -1};
}

static void put_on(struct plan *plan, struct plan_placement *p, const char *node, const char *site)
{
    p->node = sk_str(node);
    p->site = sk_str(site);
}

/* The service's first placement. */
static struct plan_placement *of(struct plan *plan, const char *service)
{
    for (size_t i = 0; i < plan->nplacements; i++) {
        if (sk_str_is(plan->placements[i].service, service)) {
            return &plan->placements[i];
        }
    }
    return NULL;
}

/* The row of a single site. */
static struct plan_loss *lost(struct plan *plan, const char *site)
{
    for (size_t i = 0; i < plan->nlosses; i++) {
        if (plan->losses[i].nlost == 1 && sk_str_is(plan->losses[i].lost[0], site)) {
            return &plan->losses[i];
        }
    }
    return NULL;
}

/* A row in which the service was re-placed, and where in it. */
static struct plan_placement *back(struct plan *plan, const char *service, struct plan_loss **row)
{
    for (size_t i = 0; i < plan->nlosses; i++) {
        for (size_t k = 0; k < plan->losses[i].nreplaced; k++) {
            if (sk_str_is(plan->losses[i].replaced[k].service, service)) {
                *row = &plan->losses[i];
                return &plan->losses[i].replaced[k];
            }
        }
    }
    return NULL;
}

static void moved_to_us(struct plan *p)
{
    put_on(p, of(p, "v0"), "n6", "s3");
}

static void moved_off_its_node(struct plan *p)
{
    put_on(p, of(p, "v3"), "n2", "s1");
}

static void dropped(struct plan *p)
{
    p->nplacements--;
}

static void doubled(struct plan *p)
{
    p->placements[1] = p->placements[0];
}

static void invented(struct plan *p)
{
    p->placements[p->nplacements++] =
        (struct plan_placement){SK_STR("p"), SK_STR("v3"), 1, SK_STR("s0"), SK_STR("n1")};
}

static void on_no_node(struct plan *p)
{
    of(p, "v0")->node = SK_STR("n9");
}

static void in_the_wrong_site(struct plan *p)
{
    struct plan_placement *one = of(p, "v1");

    one->site = sk_str_is(one->site, "s0") ? SK_STR("s1") : SK_STR("s0");
}

static void overfilled(struct plan *p)
{
    for (size_t i = 0; i < p->nplacements; i++) {
        if (!sk_str_is(p->placements[i].service, "v3")) {
            put_on(p, &p->placements[i], "n2", "s1");
        }
    }
}

static void two_in_order_of_luck(struct plan *p)
{
    struct plan_placement first = p->placements[0];

    p->placements[0] = p->placements[1];
    p->placements[1] = first;
}

static void all_in_one_site(struct plan *p)
{
    for (size_t i = 0; i < 4; i++) {
        put_on(p, &p->placements[i], i < 2 ? "n4" : "n5", "s2");
    }
}

static void all_on_one_node(struct plan *p)
{
    for (size_t i = 4; i < 7; i++) {
        put_on(p, &p->placements[i], "n3", "s1");
    }
}

static void false_kept(struct plan *p)
{
    lost(p, "s0")->kept[0].count++;
}

static void kept_left_out(struct plan *p)
{
    lost(p, "s0")->nkept--;
}

static void no_row(struct plan *p)
{
    p->losses++;
    p->nlosses--;
}

static void a_row_too_many(struct plan *p)
{
    struct plan_loss *row = &p->losses[p->nlosses++];

    *row = p->losses[0];
    row->lost = SK_ARENA_ARRAY(p->arena, struct sk_str, 3);
    row->nlost = 3;
    row->lost[0] = SK_STR("s0");
    row->lost[1] = SK_STR("s1");
    row->lost[2] = SK_STR("s2");
}

static void one_pair_only(struct plan *p)
{
    struct plan_loss *row = &p->losses[p->nlosses++];

    *row = p->losses[0];
    row->lost = SK_ARENA_ARRAY(p->arena, struct sk_str, 2);
    row->nlost = 2;
    row->lost[0] = SK_STR("s0");
    row->lost[1] = SK_STR("s1");
}

static void false_ok(struct plan *p)
{
    struct plan_loss *row = NULL;

    /* the re-placement of one that asked is lost on the way; the flag stays */
    (void)back(p, "v0", &row);
    row->nreplaced--;
    memmove(&row->replaced[0], &row->replaced[1], row->nreplaced * sizeof(*row->replaced));
}

static void false_alarm(struct plan *p)
{
    lost(p, "s3")->ok = false;
}

static void cheaper_than_it_is(struct plan *p)
{
    p->cost.hour.value *= 0.9;
}

static void cost_of_an_unknown(struct plan *p)
{
    p->cost.month.known = false;
}

static void false_servers(struct plan *p)
{
    p->cost.servers_hour.value += 0.01;
}

static void nobody_idle(struct plan *p)
{
    p->cost.nidle = 0;
}

static void everybody_idle(struct plan *p)
{
    p->cost.idle[p->cost.nidle++] = SK_STR("n6");
}

static void false_gap(struct plan *p)
{
    p->cost.gap.value = 0;
}

static void bound_too_high(struct plan *p)
{
    p->cost.lower_bound_hour.value = p->cost.hour.value * 1.01;
    p->cost.gap.value = -0.01;
}

static void false_latency(struct plan *p)
{
    p->latency[0].ms.value -= 5;
}

static void false_share(struct plan *p)
{
    p->latency[0].share = 0.97;
}

static void no_latency(struct plan *p)
{
    p->nlatency = 0;
}

static void false_latency_later(struct plan *p)
{
    lost(p, "s1")->latency[0].ms_at_once.value += 5;
}

static void replaced_onto_the_lost(struct plan *p)
{
    struct plan_loss *row = NULL;
    struct plan_placement *one = back(p, "v1", &row);

    one->site = row->lost[0];
    one->node = sk_str_is(one->site, "s0")   ? SK_STR("n0")
                : sk_str_is(one->site, "s1") ? SK_STR("n2")
                : sk_str_is(one->site, "s2") ? SK_STR("n4")
                                             : SK_STR("n6");
}

static void replaced_onto_the_full(struct plan *p)
{
    struct plan_loss *row = NULL;

    (void)back(p, "v0", &row);
    for (size_t i = 0; i < row->nreplaced; i++) {
        bool s2 = sk_str_is(row->lost[0], "s2");

        put_on(p, &row->replaced[i], s2 ? "n2" : "n4", s2 ? "s1" : "s2");
    }
}

static void replaced_abroad(struct plan *p)
{
    struct plan_loss *row = NULL;

    put_on(p, back(p, "v0", &row), "n6", "s3");
}

static void replaced_what_stays(struct plan *p)
{
    struct plan_loss *row = NULL;
    struct plan_placement *one = back(p, "v0", &row);

    for (size_t i = 0; i < 4; i++) {
        if (!sk_str_eq(p->placements[i].site, row->lost[0])) {
            one->replica = p->placements[i].replica;
            return;
        }
    }
}

static void short_without_reason(struct plan *p)
{
    struct plan_loss *row = lost(p, "s0");

    row->shorts[row->nshorts - 1].resource = SK_STR("memory"); /* v3 has no node at all */
}

static void short_not_asked(struct plan *p)
{
    struct plan_loss *row = lost(p, "s0");

    row->shorts[row->nshorts - 1].asked = true;
}

static void short_in_the_sum(struct plan *p)
{
    struct plan_loss *row = lost(p, "s0");

    row->shorts[row->nshorts - 1].replicas = 2;
}

static void false_added_cost(struct plan *p)
{
    lost(p, "s0")->added_cost_hour.value += 0.001;
}

static void control_lost(struct plan *p)
{
    lost(p, "s0")->control_kept = false;
}

static void nodes_not_counted(struct plan *p)
{
    p->node_losses.checked--;
}

static void nodes_not_ok(struct plan *p)
{
    p->node_losses.ok = false;
}

static void node_row_false(struct plan *p)
{
    for (size_t i = 0; i < p->node_losses.nworst; i++) {
        if (p->node_losses.worst[i].nkept > 0) {
            p->node_losses.worst[i].kept[0].count--;
            return;
        }
    }
}

static void shards_together(struct plan *p)
{
    p->buckets[0].data += 2;
    p->buckets[0].shards[0].count += 2;
}

static void shards_missing(struct plan *p)
{
    p->buckets[0].nshards--;
}

static void shards_nowhere(struct plan *p)
{
    p->buckets[0].shards[p->buckets[0].nshards - 1].site = SK_STR("s9");
}

static void code_too_dear(struct plan *p)
{
    static struct plan_shard_count shards[] = {{SK_STR("s0"), 1}, {SK_STR("s1"), 1}};

    p->buckets[0].data = p->buckets[0].parity = 1;
    p->buckets[0].shards = shards;
    p->buckets[0].nshards = 2;
}

static void bucket_forgotten(struct plan *p)
{
    p->nbuckets = 0;
}

static void move_from_nowhere(struct plan *p)
{
    static struct plan_move move = {SK_STR("p"),  SK_STR("v3"), 0,
                                    SK_STR("n0"), SK_STR("n5"), SK_STR("cheaper")};

    p->moves = &move;
    p->nmoves = 1;
}

static void refused_for_nothing(struct plan *p)
{
    static struct plan_problem problem = {.code = SK_STR("capacity_short"),
                                          .project = SK_STR("p"),
                                          .proven = true,
                                          .fix = SK_STR("add a node")};

    p->verdict = PLAN_IMPOSSIBLE;
    p->problems = &problem;
    p->nproblems = 1;
}

static void refused_in_silence(struct plan *p)
{
    p->verdict = PLAN_NOT_FOUND;
}

static void goal_not_mentioned(struct plan *p)
{
    p->nwarnings = 0;
}

static void goal_invented(struct plan *p)
{
    p->warnings[p->nwarnings++] = (struct plan_warning){SK_STR("goal_unmet"), SK_STR("p"),
                                                        SK_STR("v1"), SK_STR("too few are kept")};
}

static void another_plan(struct plan *p)
{
    p->id[10] = p->id[10] == '0' ? '1' : '0';
}

static const struct {
    const char *bug;
    void (*plant)(struct plan *plan);
    const char *rule;
    bool after_seal;
} bugs[] = {
    {"a replica leaves its residency", moved_to_us, "residency"},
    {"a replica breaks its constraint", moved_off_its_node, "constraint"},
    {"a replica is dropped", dropped, "placement_missing"},
    {"a replica is placed twice", doubled, "placement_twice"},
    {"a replica is invented", invented, "placement_unknown"},
    {"a node is invented", on_no_node, "placement_unknown"},
    {"a node is said to be in another site", in_the_wrong_site, "placement_site"},
    {"a node is overfilled", overfilled, "capacity"},
    {"rows depend on luck", two_in_order_of_luck, "order"},
    {"all eggs in one site", all_in_one_site, "keep_sites"},
    {"all eggs on one node", all_on_one_node, "keep_nodes"},
    {"latency is missed", all_in_one_site, "latency"},
    {"kept is false", false_kept, "kept"},
    {"kept leaves one out", kept_left_out, "kept"},
    {"a losses row is missing", no_row, "loss_row_missing"},
    {"a losses row is made up", a_row_too_many, "loss_row_extra"},
    {"pairs are begun and not finished", one_pair_only, "loss_row_missing"},
    {"ok is false", false_ok, "loss_ok"},
    {"one that asked does not fit again", false_ok, "survive_sites"},
    {"lost is not replaced + short", false_ok, "lost_sum"},
    {"not ok is false", false_alarm, "loss_ok"},
    {"cost is false", cheaper_than_it_is, "cost_hour"},
    {"cost is hidden", cost_of_an_unknown, "cost_month"},
    {"servers are false", false_servers, "servers_hour"},
    {"an idle node is hidden", nobody_idle, "idle"},
    {"a node is idle twice", everybody_idle, "idle"},
    {"gap is false", false_gap, "gap"},
    {"the bound is above the cost", bound_too_high, "lower_bound"},
    {"latency is false", false_latency, "latency_row"},
    {"the share is false", false_share, "latency_row"},
    {"a latency row is missing", no_latency, "latency_row"},
    {"latency after a loss is false", false_latency_later, "loss_latency"},
    {"re-placed onto the lost site", replaced_onto_the_lost, "replaced_on_lost"},
    {"re-placed onto a full node", replaced_onto_the_full, "replaced_capacity"},
    {"re-placed out of residency", replaced_abroad, "replaced_not_allowed"},
    {"a kept replica moves in a row", replaced_what_stays, "replaced_not_lost"},
    {"short of what there is", short_without_reason, "short_resource"},
    {"short, asked by nobody", short_not_asked, "short_asked"},
    {"more short than lost", short_in_the_sum, "lost_sum"},
    {"added cost is false", false_added_cost, "added_cost"},
    {"control is lost offline", control_lost, "control"},
    {"node sets are not counted", nodes_not_counted, "node_losses_checked"},
    {"node losses are not ok", nodes_not_ok, "node_losses_ok"},
    {"a node row is false", node_row_false, "node_losses_row"},
    {"more shards than nodes", shards_together, "bucket_nodes"},
    {"shards are missing", shards_missing, "bucket_shards"},
    {"shards are nowhere", shards_nowhere, "bucket_site"},
    {"a code costs more than it must", code_too_dear, "bucket_code"},
    {"a bucket is forgotten", bucket_forgotten, "bucket_missing"},
    {"a move is made up", move_from_nowhere, "move"},
    {"refused for nothing", refused_for_nothing, "verdict"},
    {"refused in silence", refused_in_silence, "verdict"},
    {"an unmet goal is not mentioned", goal_not_mentioned, "warning_missing"},
    {"an unmet goal is invented", goal_invented, "warning_false"},
    {"the id is of another plan", another_plan, "id", true},
};

static bool found(const struct verify_report *report, const char *rule)
{
    for (size_t i = 0; i < report->nfindings; i++) {
        if (sk_str_is(report->findings[i].rule, rule)) {
            return true;
        }
    }
    return false;
}

static bool verify(const struct tiny *t, const struct plan *plan, const char *rule)
{
    struct sk_arena *arena = sk_arena_new();
    struct tiny_world w;
    struct verify_input in = {.plan = plan, .nprojects = 1};
    struct verify_report report = {0};
    struct sk_err err = {0};
    bool good;

    tiny_world(t, &w, arena);
    in.inv = &w.inv;
    in.projects = w.projects;
    good = verify_plan(&in, &report, &err) == 0 &&
           (rule ? found(&report, rule) : report.nfindings == 0);
    for (size_t i = 0; i < report.nfindings && !good; i++) {
        printf("#   %.*s: %.*s\n", SK_PRI(report.findings[i].rule),
               SK_PRI(report.findings[i].text));
    }
    verify_report_release(&report);
    sk_arena_free(arena);
    return good;
}

int main(void)
{
    size_t count = sizeof(bugs) / sizeof(bugs[0]);
    struct tiny_answer answer;
    struct tiny t;
    struct plan *good;
    int missed = 0;

    world(&t);
    tiny_solve(&t, 10000000, &answer);
    good = tiny_plan(&t, &answer);
    missed += !answer.feasible || !verify(&t, good, NULL);
    printf("%sok 1 - the good plan is accepted\n", missed ? "not " : "");
    plan_free(good);
    for (size_t i = 0; i < count; i++) {
        struct plan *plan = tiny_plan(&t, &answer);
        bool caught;

        bugs[i].plant(plan);
        if (!bugs[i].after_seal) {
            plan_seal(plan);
        }
        caught = verify(&t, plan, bugs[i].rule);
        missed += !caught;
        printf("%sok %zu - %s: %s\n", caught ? "" : "not ", i + 2, bugs[i].bug, bugs[i].rule);
        plan_free(plan);
    }
    printf("1..%zu\n", count + 1);
    return missed ? 1 : 0;
}
