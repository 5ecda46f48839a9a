/* SPDX-License-Identifier: Apache-2.0 */
#include "verify_test.h"

/*
 * Three sites of one node each, all equal: 4 cpus, 8G, no prices asked (0.1 an hour).
 *   db   2 replicas of 2 cpus, asked to survive a site and keep 1:  a-1, b-1
 *   job  2 replicas of 2 cpus, asked for nothing:                   a-1, c-1
 * Free: b-1 2 cpus, c-1 2 cpus.
 *   a lost   db/0 fits on b-1 or c-1 (say b-1), job/0 on the other
 *   b lost   db/1 takes the last place, c-1
 *   c lost   job/1 takes b-1
 * job's goal is to survive a site and keep 1: met. A replica costs max(2/4, 1/8) x 0.1 = 0.05, all
 * four 0.2; nothing changes when they move.
 */
static const char inventory[] = "sites:\n"
                                "  a: {region: eu}\n"
                                "  b: {region: eu}\n"
                                "  c: {region: us}\n"
                                "nodes:\n"
                                "  a-1: {site: a, cpus: 4, memory: 8G, price_hour: 0.1}\n"
                                "  b-1: {site: b, cpus: 4, memory: 8G, price_hour: 0.1}\n"
                                "  c-1: {site: c, cpus: 4, memory: 8G, price_hour: 0.1}\n";

#define DB "\"project\":\"p\",\"service\":\"db\""
#define JOB "\"project\":\"p\",\"service\":\"job\""
static const char good[] =
    "{\"format\":\"skerry.plan/1\",\"id\":\"" NO_ID "\",\"verdict\":\"ok\","
    "\"based_on\":{\"store\":null,\"revision\":0},"
    "\"placements\":[{" DB ",\"replica\":0,\"site\":\"a\",\"node\":\"a-1\"},"
    "{" DB ",\"replica\":1,\"site\":\"b\",\"node\":\"b-1\"},"
    "{" JOB ",\"replica\":0,\"site\":\"a\",\"node\":\"a-1\"},"
    "{" JOB ",\"replica\":1,\"site\":\"c\",\"node\":\"c-1\"}],\"buckets\":[],"
    "\"cost\":{\"currency\":\"EUR\",\"hour\":0.2,\"month\":146,\"lower_bound_hour\":0.2,"
    "\"gap\":0,\"servers\":{\"hour\":0.3,\"idle\":[]}},\"latency\":[],\"losses\":["
    "{\"lost\":[\"a\"],\"ok\":true,\"control\":\"kept\","
    "\"kept\":[{" DB ",\"count\":1},{" JOB ",\"count\":1}],"
    "\"replaced\":[{" DB ",\"replica\":0,\"site\":\"b\",\"node\":\"b-1\"},"
    "{" JOB ",\"replica\":0,\"site\":\"c\",\"node\":\"c-1\"}],\"short\":[],"
    "\"latency\":[],\"added_cost_hour\":0},"
    "{\"lost\":[\"b\"],\"ok\":true,\"control\":\"kept\",\"kept\":[{" DB ",\"count\":1}],"
    "\"replaced\":[{" DB ",\"replica\":1,\"site\":\"c\",\"node\":\"c-1\"}],\"short\":[],"
    "\"latency\":[],\"added_cost_hour\":0},"
    "{\"lost\":[\"c\"],\"ok\":true,\"control\":\"kept\",\"kept\":[{" JOB ",\"count\":1}],"
    "\"replaced\":[{" JOB ",\"replica\":1,\"site\":\"b\",\"node\":\"b-1\"}],\"short\":[],"
    "\"latency\":[],\"added_cost_hour\":0}],"
    "\"node_losses\":{\"checked\":3,\"ok\":true,\"worst\":[{\"lost\":[\"a-1\"],"
    "\"kept\":[{" DB ",\"count\":1},{" JOB ",\"count\":1}],\"ok\":true}]},"
    "\"moves\":[],\"problems\":[],\"warnings\":[],"
    "\"timing_ms\":{\"read\":0,\"plan\":0,\"losses\":0,\"total\":0}}";

struct world {
    struct fixture f;
    struct service services[2];
};
#define db services[0]
#define job services[1]

static void world(struct world *w)
{
    *w = (struct world){0};
    w->db = (struct service){
        .name = SK_STR("db"),
        .replicas = 2,
        .cpus_nano = 2 * SK_NANO,
        .memory_bytes = 1LL << 30,
        .survive = {.sites_written = true, .keep_written = true, .sites = 1, .keep = 1}};
    w->job = (struct service){
        .name = SK_STR("job"), .replicas = 2, .cpus_nano = 2 * SK_NANO, .memory_bytes = 1LL << 30};
    w->f.inv = read_inventory(inventory);
    w->f.plan = read_plan(good);
    w->f.projects[0] =
        (struct project){.name = SK_STR("p"), .services = w->services, .nservices = 2};
    w->f.list[0] = &w->f.projects[0];
    w->f.nprojects = 1;
}

static void test_good(void **state)
{
    struct world w;

    world(&w);
    expect(&w.f, NULL);
    fixture_release(&w.f);
}

static void test_rows(void **state)
{
    struct world w;

    world(&w);
    w.f.plan->nlosses = 2;
    expect_text(&w.f, "loss_row_missing", "no row for the loss of c");
    w.f.plan->nlosses = 3;
    w.f.pairs = true;
    expect_text(&w.f, "loss_row_missing", "no row for the loss of a+b");
    expect_text(&w.f, "loss_row_missing", "no row for the loss of b+c");
    w.f.pairs = false;
    w.db.survive.sites = 3; /* more than pairs: all three too */
    expect_text(&w.f, "loss_row_missing", "no row for the loss of a+b+c");
    w.db.survive.sites = 1;
    w.f.plan->losses[2].lost[0] = SK_STR("d");
    expect_text(&w.f, "loss_row_bad", "'d' is no site");
    fixture_release(&w.f);
}

static void test_kept(void **state)
{
    struct world w;

    world(&w);
    w.f.plan->losses[0].kept[1].count = 2;
    expect_text(&w.f, "kept", "loss of a: p/job keeps 1, stated 2");
    w.f.plan->losses[0].kept[1].count = 1;
    w.f.plan->losses[0].nkept = 1;
    expect_text(&w.f, "kept", "loss of a: p/job lost 1 and is not listed");
    w.f.plan->losses[0].nkept = 2;
    w.f.plan->losses[1].kept[0].service = SK_STR("job");
    expect_text(&w.f, "kept", "loss of b: p/job is listed and lost no replica");
    fixture_release(&w.f);
}

static void test_replaced(void **state)
{
    static const struct sk_str eu = SK_STR("eu");
    struct world w;
    struct plan_placement *back;

    world(&w);
    back = &w.f.plan->losses[1].replaced[0];
    back->node = SK_STR("a-1");
    back->site = SK_STR("a"); /* full: db/0 and job/0 stay there */
    expect_text(&w.f, "replaced_capacity", "loss of b: node 'a-1' has too little cpus");
    back->node = SK_STR("b-1");
    back->site = SK_STR("b");
    expect_text(&w.f, "replaced_on_lost", "loss of b: p/db replica 1 on node 'b-1'");
    back->node = SK_STR("c-1");
    expect_text(&w.f, "placement_site", "loss of b");
    back->site = SK_STR("c");
    back->replica = 0;
    expect_text(&w.f, "replaced_not_lost", "loss of b: p/db replica 0");
    back->replica = 1;
    w.db.residency = &eu;
    w.db.nresidency = 1;
    expect_text(&w.f, "replaced_not_allowed", "loss of b: p/db replica 1 on node 'c-1'");
    fixture_release(&w.f);
}

/* One that asked goes before one that did not; both only where there is no room. */
static void test_short(void **state)
{
    struct world w;
    struct plan_loss *row;
    struct plan_short short_of = {SK_STR("p"), SK_STR("job"), 1, SK_STR("cpus"), false};

    world(&w);
    row = &w.f.plan->losses[0];
    row->nreplaced = 1;
    expect_text(&w.f, "lost_sum", "loss of a: p/job lost 1: 0 replaced, 0 short");
    row->shorts = &short_of;
    row->nshorts = 1;
    row->added_cost_hour.value = -0.05;
    expect_text(&w.f, "short_room", "loss of a: p/job is short and node 'c-1' has room");
    expect_text(&w.f, "warning_missing", "p/job");
    /* db short instead, job in its place */
    row->nreplaced = 1;
    row->replaced[0].service = SK_STR("job");
    short_of.service = SK_STR("db");
    short_of.asked = true;
    expect_text(&w.f, "short_asked_first", "loss of a: p/db is short and node 'b-1' has room");
    expect_text(&w.f, "survive_sites", "loss of a: p/db: 1 of 1 do not fit again");
    expect_text(&w.f, "loss_ok", "loss of a: stated ok");
    short_of.asked = false;
    expect_text(&w.f, "short_asked", "p/db asked to survive it");
    fixture_release(&w.f);
}

/* The world made smaller so that job cannot fit: c has no room for it, and that is no error. */
static void test_short_for_a_reason(void **state)
{
    struct world w;
    struct plan_loss *row;
    struct plan_short short_of = {SK_STR("p"), SK_STR("job"), 1, SK_STR("cpus"), false};
    struct plan_warning warning = {SK_STR("goal_unmet"), SK_STR("p"), SK_STR("job"),
                                   SK_STR("no room after a loss")};

    world(&w);
    inventory_free(w.f.inv);
    w.f.inv = read_inventory("sites: {a: {}, b: {}, c: {}}\n"
                             "nodes:\n"
                             "  a-1: {site: a, cpus: 4, memory: 8G, price_hour: 0.1}\n"
                             "  b-1: {site: b, cpus: 4, memory: 8G, price_hour: 0.1}\n"
                             "  c-1: {site: c, cpus: 3, memory: 8G, price_hour: 0.075}\n");
    w.f.plan->cost.servers_hour.value = 0.275;
    w.f.plan->losses[1].nreplaced = 0; /* db cannot go to c either: not asked any more */
    w.db.survive = (struct survive){.keep_written = true, .keep = 1};
    w.f.plan->losses[1].shorts =
        &(struct plan_short){SK_STR("p"), SK_STR("db"), 1, SK_STR("cpus"), false};
    w.f.plan->losses[1].nshorts = 1;
    w.f.plan->losses[1].added_cost_hour.value = -0.05;
    row = &w.f.plan->losses[0];
    row->nreplaced = 1;
    row->shorts = &short_of;
    row->nshorts = 1;
    row->added_cost_hour.value = -0.05;
    w.f.plan->warnings = (struct plan_warning[]){warning, warning};
    w.f.plan->warnings[1].service = SK_STR("db");
    w.f.plan->nwarnings = 2;
    expect(&w.f, NULL);
    short_of.resource = SK_STR("memory");
    expect_text(&w.f, "short_resource", "loss of a: p/job is not short of 'memory'");
    short_of.resource = SK_STR("node");
    expect(&w.f, "short_resource");
    short_of.resource = SK_STR("cpus");
    w.f.plan->nwarnings = 1;
    expect_text(&w.f, "warning_missing", "p/db");
    fixture_release(&w.f);
}

static void test_keep(void **state)
{
    struct world w;

    world(&w);
    w.db.survive.keep = 2;
    expect_text(&w.f, "keep_sites", "loss of a: p/db keeps 1, asked 2");
    expect_text(&w.f, "loss_ok", "loss of b: stated ok");
    /* without `sites` the same keep is a goal */
    w.db.survive.sites_written = false;
    expect_text(&w.f, "warning_missing", "p/db does not meet its goal (keep, sites)");
    w.f.plan->warnings = &(struct plan_warning){SK_STR("goal_unmet"), SK_STR("p"), SK_STR("db"),
                                                SK_STR("keeps 1 of 2")};
    w.f.plan->nwarnings = 1;
    expect(&w.f, NULL);
    w.db.survive.keep = 1;
    expect_text(&w.f, "warning_false", "p/db has no unmet goal");
    fixture_release(&w.f);
}

static void test_nodes(void **state)
{
    struct world w;

    world(&w);
    w.f.plan->node_losses.checked = 2;
    expect_text(&w.f, "node_losses_checked", "3 sets of nodes are to examine, stated 2");
    /* two nodes for db, one by default for job: 3 pairs and 3 nodes */
    w.db.survive = (struct survive){.nodes_written = true, .keep_written = true, .nodes = 2};
    w.f.plan->node_losses.checked = 6;
    expect(&w.f, NULL);
    w.db.survive.keep = 1;
    expect_text(&w.f, "keep_nodes", "p/db keeps 0 when it loses 2 nodes, asked 1");
    expect(&w.f, "node_losses_ok");
    w.f.plan->node_losses.ok = false;
    expect_text(&w.f, "node_losses_row", "a written keep fails and no row shows it");
    w.db.survive.keep = 0;
    w.f.plan->node_losses.ok = true;
    /* three nodes: that many nobody has to lose */
    w.f.plan->node_losses.worst[0].lost =
        (struct sk_str[]){SK_STR("a-1"), SK_STR("b-1"), SK_STR("c-1")};
    w.f.plan->node_losses.worst[0].nlost = 3;
    expect_text(&w.f, "node_losses_row", "loss of a-1+b-1+c-1: nobody has 3 nodes to lose");
    w.f.plan->node_losses.worst[0].nlost = 1;
    w.f.plan->node_losses.worst[0].kept[0].count = 2;
    expect_text(&w.f, "node_losses_row", "loss of a-1: p/db keeps 1, stated 2");
    w.f.plan->node_losses.worst[0].kept[0].count = 1;
    w.f.plan->node_losses.worst[0].nkept = 1;
    expect_text(&w.f, "node_losses_row", "loss of a-1: p/job loses 1 and is not listed");
    fixture_release(&w.f);
}

/* A best effort may break hard rules, and must say so; it may not lie or overfill. */
static void test_refusal(void **state)
{
    struct world w;
    struct plan_problem problem = {.code = SK_STR("survive_sites_unmet"),
                                   .project = SK_STR("p"),
                                   .service = SK_STR("db"),
                                   .fix = SK_STR("keep: 1")};

    world(&w);
    w.f.plan->verdict = PLAN_NOT_FOUND;
    w.f.plan->problems = &problem;
    w.f.plan->nproblems = 1;
    expect_text(&w.f, "verdict", "breaks no rule");
    w.db.survive.keep = 2;
    w.f.plan->losses[0].ok = w.f.plan->losses[1].ok = false;
    expect(&w.f, NULL);
    problem.proven = true;
    expect_text(&w.f, "verdict", "not_found with a problem that is proven");
    w.f.plan->verdict = PLAN_IMPOSSIBLE;
    expect(&w.f, NULL);
    problem.proven = false;
    expect_text(&w.f, "verdict", "impossible with no problem that is proven");
    problem.proven = true;
    problem.fix = SK_STR("");
    expect_text(&w.f, "problem", "no code or no fix");
    problem.fix = SK_STR("keep: 1");
    problem.service = SK_STR("dbx");
    expect_text(&w.f, "problem", "names what does not exist");
    problem.service = SK_STR("db");
    w.f.plan->losses[0].kept[0].count = 2;
    expect(&w.f, "kept");
    fixture_release(&w.f);
}

/* Nothing placed at all: what little the plan says is true. */
static void test_nothing_placed(void **state)
{
    static struct sk_str idle[] = {SK_STR("a-1"), SK_STR("b-1"), SK_STR("c-1")};
    struct world w;
    struct plan_problem problem = {
        .code = SK_STR("capacity_short"), .proven = true, .fix = SK_STR("add a node")};

    world(&w);
    w.f.plan->verdict = PLAN_IMPOSSIBLE;
    w.f.plan->problems = &problem;
    w.f.plan->nproblems = 1;
    w.f.plan->nplacements = 0;
    w.f.plan->node_losses.nworst = 0;
    w.f.plan->cost.hour.value = w.f.plan->cost.month.value = 0;
    w.f.plan->cost.servers_hour.value = 0;
    w.f.plan->cost.idle = idle;
    w.f.plan->cost.nidle = 3;
    for (size_t i = 0; i < 3; i++) {
        w.f.plan->losses[i].nkept = w.f.plan->losses[i].nreplaced = 0;
        w.f.plan->losses[i].ok = false; /* db keeps 0 of the 1 it asked for */
    }
    expect(&w.f, NULL);
    w.f.plan->verdict = PLAN_OK;
    expect_text(&w.f, "placement_missing", "p/db: 0 of 2");
    fixture_release(&w.f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_good),    cmocka_unit_test(test_rows),
        cmocka_unit_test(test_kept),    cmocka_unit_test(test_replaced),
        cmocka_unit_test(test_short),   cmocka_unit_test(test_short_for_a_reason),
        cmocka_unit_test(test_keep),    cmocka_unit_test(test_nodes),
        cmocka_unit_test(test_refusal), cmocka_unit_test(test_nothing_placed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
