/* SPDX-License-Identifier: Apache-2.0 */
#include "verify_test.h"

/*
 * Two sites a quarter of the earth apart, each with users beside it. A quarter is
 * 6371 km x pi/2 = 10007.543398 km, so the far users are at 1 + 0.015 x that = 151.113150970154 ms.
 *
 * web, two replicas of 1 cpu and 1G on nodes of 4 cpus and 8G: a quarter of a node's price each.
 *   placed   0.25 x 0.10 + 0.25 x 0.40 = 0.125, traffic 1 GB/h: 0.7 x 0.02 + 0.3 x 0.01 = 0.017
 *   ams lost 0.25 x 0.40 + 0.25 x 0.30 = 0.175, traffic 0.01: 0.185, 0.043 more
 *   fra lost 0.25 x 0.10 + 0.25 x 0.20 = 0.075, traffic 0.02: 0.095, 0.047 less
 * 70 % of the demand is enough for the share of 60 %, 30 % is not.
 */
static const char inventory[] =
    "sites:\n"
    "  ams: {region: eu, country: NL, at: [0, 0], egress_per_gb: 0.02}\n"
    "  fra: {region: eu, country: DE, at: [0, 90], egress_per_gb: 0.01}\n"
    "nodes:\n"
    "  ams-1: {site: ams, cpus: 4, memory: 8G, price_hour: 0.1}\n"
    "  ams-2: {site: ams, cpus: 4, memory: 8G, price_hour: 0.2}\n"
    "  fra-1: {site: fra, cpus: 4, memory: 8G, price_hour: 0.4}\n"
    "  fra-2: {site: fra, cpus: 4, memory: 8G, price_hour: 0.3}\n";

#define WEB "\"project\":\"shop\",\"service\":\"web\""
static const char good[] =
    "{\"format\":\"skerry.plan/1\",\"id\":\"" NO_ID "\",\"verdict\":\"ok\","
    "\"based_on\":{\"store\":null,\"revision\":0},"
    "\"placements\":[{" WEB ",\"replica\":0,\"site\":\"ams\",\"node\":\"ams-1\"},"
    "{" WEB ",\"replica\":1,\"site\":\"fra\",\"node\":\"fra-1\"}],\"buckets\":[],"
    "\"cost\":{\"currency\":\"EUR\",\"hour\":0.142,\"month\":103.66,\"lower_bound_hour\":0.142,"
    "\"gap\":0,\"servers\":{\"hour\":0.5,\"idle\":[\"ams-2\",\"fra-2\"]}},"
    "\"latency\":[{" WEB ",\"ms\":1,\"share\":1}],\"losses\":["
    "{\"lost\":[\"ams\"],\"ok\":true,\"control\":\"kept\",\"kept\":[{" WEB ",\"count\":1}],"
    "\"replaced\":[{" WEB ",\"replica\":0,\"site\":\"fra\",\"node\":\"fra-2\"}],\"short\":[],"
    "\"latency\":[{" WEB ",\"ms_at_once\":151.11315097015,\"ms\":151.11315097015,\"share\":1}],"
    "\"added_cost_hour\":0.043},"
    "{\"lost\":[\"fra\"],\"ok\":true,\"control\":\"kept\",\"kept\":[{" WEB ",\"count\":1}],"
    "\"replaced\":[{" WEB ",\"replica\":1,\"site\":\"ams\",\"node\":\"ams-2\"}],\"short\":[],"
    "\"latency\":[{" WEB ",\"ms_at_once\":1,\"ms\":1,\"share\":1}],"
    "\"added_cost_hour\":-0.047}],"
    "\"node_losses\":{\"checked\":4,\"ok\":true,\"worst\":[]},"
    "\"moves\":[],\"problems\":[],\"warnings\":[],"
    "\"timing_ms\":{\"read\":0,\"plan\":0,\"losses\":0,\"total\":0}}";

static struct users users[2] = {
    {.name = SK_STR("east"), .has_at = true, .lat = 0, .lon = 90, .share = 0.3},
    {.name = SK_STR("west"), .has_at = true, .lat = 0, .lon = 0, .share = 0.7},
};

struct world {
    struct fixture f;
    struct service web;
};

static void world(struct world *w)
{
    *w = (struct world){
        .web = {.name = SK_STR("web"),
                .replicas = 2,
                .cpus_nano = SK_NANO,
                .memory_bytes = 1LL << 30,
                .survive = {.sites_written = true, .keep_written = true, .sites = 1, .keep = 1},
                .latency = {.written = true,
                            .has_ms = true,
                            .ms = 100,
                            .share = 0.6,
                            .has_after_loss = true,
                            .after_loss_ms = 200},
                .has_cost = true,
                .cost_month = 104,
                .has_traffic = true,
                .gb_month = 730,
                .rps = 100,
                .rps_per_replica = 50},
    };
    w->f.inv = read_inventory(inventory);
    w->f.plan = read_plan(good);
    w->f.projects[0] = (struct project){
        .name = SK_STR("shop"), .services = &w->web, .nservices = 1, .users = users, .nusers = 2};
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

static void test_cost(void **state)
{
    struct world w;

    world(&w);
    w.f.plan->cost.hour.value = 0.1420001;
    expect_text(&w.f, "cost_hour", "0.142 an hour, stated 0.1420001");
    w.f.plan->cost.hour.value = 0.142;
    w.f.plan->cost.month.value = 104;
    expect(&w.f, "cost_month");
    w.f.plan->cost.month.value = 103.66;
    w.f.plan->cost.servers_hour.value = 1.0;
    expect_text(&w.f, "servers_hour", "0.5 an hour, stated 1");
    w.f.plan->cost.servers_hour.value = 0.5;
    w.f.plan->losses[0].added_cost_hour.value = 0.047;
    expect_text(&w.f, "added_cost", "loss of ams: added cost is 0.043");
    w.f.plan->losses[0].added_cost_hour.value = 0.043;
    w.f.plan->cost.currency = SK_STR("USD");
    expect(&w.f, "currency");
    w.f.plan->cost.currency = SK_STR("EUR");
    w.web.cost_month = 103.65;
    expect_text(&w.f, "cost_ceiling", "shop/web costs 103.66 a month, ceiling 103.65");
    w.web.cost_month = 103.66;
    expect(&w.f, NULL);
    fixture_release(&w.f);
}

/* Without users the dearest site that holds a replica serves: 0.125 + 0.02. */
static void test_no_users(void **state)
{
    struct world w;

    world(&w);
    w.f.projects[0].nusers = 0;
    w.web.latency = (struct latency_policy){.share = 0.95};
    w.f.plan->nlatency = 0;
    w.f.plan->losses[0].nlatency = w.f.plan->losses[1].nlatency = 0;
    expect_text(&w.f, "cost_hour", "0.145");
    w.f.plan->cost.hour.value = w.f.plan->cost.lower_bound_hour.value = 0.145;
    w.f.plan->cost.month.value = 0.145 * 730;
    w.f.plan->losses[0].added_cost_hour.value = 0.185 - 0.145;
    w.f.plan->losses[1].added_cost_hour.value = 0.095 - 0.145;
    w.web.has_cost = false;
    expect(&w.f, NULL);
    fixture_release(&w.f);
}

/* A price that nobody knows makes the cost unknown, never 0; and an unknown cost has no ceiling. */
static void test_unknown_price(void **state)
{
    struct world w;

    world(&w);
    inventory_free(w.f.inv);
    w.f.inv = read_inventory("sites:\n"
                             "  ams: {region: eu, at: [0, 0], egress_per_gb: 0.02}\n"
                             "  fra: {region: eu, at: [0, 90], egress_per_gb: 0.01}\n"
                             "nodes:\n"
                             "  ams-1: {site: ams, cpus: 4, memory: 8G}\n"
                             "  ams-2: {site: ams, cpus: 4, memory: 8G, price_hour: 0.2}\n"
                             "  fra-1: {site: fra, cpus: 4, memory: 8G, price_hour: 0.4}\n"
                             "  fra-2: {site: fra, cpus: 4, memory: 8G, price_hour: 0.3}\n");
    expect_text(&w.f, "cost_hour", "cost is null an hour, stated 0.142");
    expect_text(&w.f, "cost_ceiling", "cost is unknown");
    w.web.has_cost = false;
    w.f.plan->cost.hour.known = w.f.plan->cost.month.known = false;
    w.f.plan->cost.servers_hour.known = false;
    w.f.plan->cost.lower_bound_hour.known = w.f.plan->cost.gap.known = false;
    expect_text(&w.f, "added_cost", "added cost is null");
    w.f.plan->losses[0].added_cost_hour.known = false;
    w.f.plan->losses[1].added_cost_hour.known = false;
    expect(&w.f, NULL);
    fixture_release(&w.f);
}

static void test_bound(void **state)
{
    struct world w;
    struct sk_str near[] = {SK_STR("db")};

    world(&w);
    w.f.plan->cost.lower_bound_hour.value = 0.071;
    expect_text(&w.f, "gap", "gap is 0.5, stated 0");
    w.f.plan->cost.gap.value = 0.5;
    expect(&w.f, NULL);
    /* near spent 0.1 % after the gap was taken: 0.142 / 1.001 = 0.14185814... */
    w.web.near = near;
    w.web.nnear = 1;
    w.f.plan->cost.gap.value = 1 - 0.071 / (0.142 / 1.0009);
    expect(&w.f, NULL);
    w.f.plan->cost.gap.value = 1 - 0.071 / (0.142 / 1.002);
    expect(&w.f, "gap");
    w.web.nnear = 0;
    w.f.plan->cost.lower_bound_hour.value = 0.15;
    w.f.plan->cost.gap.value = 0;
    expect(&w.f, "lower_bound");
    w.f.plan->cost.gap.known = w.f.plan->cost.lower_bound_hour.known = false;
    expect(&w.f, "lower_bound");
    fixture_release(&w.f);
}

static void test_latency(void **state)
{
    struct world w;

    world(&w);
    w.f.plan->losses[0].latency[0].ms.value = 151.2;
    expect_text(&w.f, "loss_latency", "151.11315097");
    w.f.plan->losses[0].latency[0].ms.value = 151.11315097015;
    w.f.plan->latency[0].share = 0.7;
    expect_text(&w.f, "latency_row", "share is 1, stated 0.7");
    w.f.plan->latency[0].share = 1;
    /* all within 150 ms after a loss: with ams gone only the users in the east are */
    w.web.latency.after_loss_ms = 150;
    expect_text(&w.f, "latency_loss", "0.3 of the demand is within 150 ms");
    expect_text(&w.f, "loss_ok", "loss of ams");
    w.web.latency.after_loss_ms = 151.113150971;
    expect(&w.f, NULL);
    w.web.latency.ms = 0.9;
    expect_text(&w.f, "latency", "0 of the demand is within 0.9 ms, asked 0.6");
    fixture_release(&w.f);
}

/* after_loss_ms asks to survive one site, in writing. */
static void test_after_loss_implies_sites(void **state)
{
    struct world w;

    world(&w);
    w.web.survive = (struct survive){0};
    expect(&w.f, NULL);
    w.f.plan->losses[0].nreplaced = 0;
    expect(&w.f, "survive_sites");
    w.web.latency.has_after_loss = false;
    expect(&w.f, "lost_sum");
    fixture_release(&w.f);
}

/* A measured or written distance is stronger than the coordinates. */
static void test_written_rtt(void **state)
{
    static const struct user_rtt rtt[] = {{SK_STR("fra"), 30}};
    struct users far[2] = {users[0], users[1]};
    struct world w;

    world(&w);
    far[1].rtt = rtt;
    far[1].nrtt = 1;
    w.f.projects[0].users = far;
    expect(&w.f, "loss_latency");
    w.f.plan->losses[0].latency[0].ms.value = 30;
    w.f.plan->losses[0].latency[0].ms_at_once.value = 30;
    expect(&w.f, NULL);
    fixture_release(&w.f);
}

static void test_rps(void **state)
{
    struct world w;

    world(&w);
    w.web.rps = 101;
    expect_text(&w.f, "rps", "2 replicas of 50 a second are below 101");
    fixture_release(&w.f);
}

static void test_idle(void **state)
{
    struct world w;

    world(&w);
    w.f.plan->cost.nidle = 1;
    expect_text(&w.f, "idle", "fra-2");
    w.f.plan->cost.nidle = 2;
    w.f.plan->cost.idle[0] = SK_STR("ams-1");
    expect_text(&w.f, "idle", "ams-2");
    fixture_release(&w.f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_good),
        cmocka_unit_test(test_cost),
        cmocka_unit_test(test_no_users),
        cmocka_unit_test(test_unknown_price),
        cmocka_unit_test(test_bound),
        cmocka_unit_test(test_latency),
        cmocka_unit_test(test_after_loss_implies_sites),
        cmocka_unit_test(test_written_rtt),
        cmocka_unit_test(test_rps),
        cmocka_unit_test(test_idle),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
