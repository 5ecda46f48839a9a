/* SPDX-License-Identifier: Apache-2.0 */
#include "verify_test.h"

/* Where replicas may be, shards, moves, several projects, and plans from hostile hands. */
#define PLAN(placements, buckets, hour, month, servers, idle, kept, rest)                         \
    "{\"format\":\"skerry.plan/1\",\"id\":\"" NO_ID "\",\"verdict\":\"ok\","                      \
    "\"based_on\":{\"store\":null,\"revision\":0},\"placements\":[" placements "],"               \
    "\"buckets\":[" buckets "],\"cost\":{\"currency\":\"EUR\",\"hour\":" hour ",\"month\":" month \
    ",\"lower_bound_hour\":" hour ",\"gap\":0,\"servers\":{\"hour\":" servers ",\"idle\":[" idle  \
    "]}},\"latency\":[],\"losses\":[" kept "]," rest                                              \
    ",\"moves\":[],\"problems\":[],\"warnings\":[],"                                              \
    "\"timing_ms\":{\"read\":0,\"plan\":0,\"losses\":0,\"total\":0}}"
#define ROW(site, what, cost)                                                            \
    "{\"lost\":[\"" site "\"],\"ok\":true,\"control\":\"kept\"," what ",\"latency\":[]," \
    "\"added_cost_hour\":" cost "}"
#define NOTHING "\"kept\":[],\"replaced\":[],\"short\":[]"
#define NODES(n) "\"node_losses\":{\"checked\":" #n ",\"ok\":true,\"worst\":[]}"

/* One service of one replica on x-1; x-1 is the only node that every rule below allows or forbids.
 */
static const char places[] =
    "sites:\n"
    "  x: {region: eu, country: DE, provider: acme}\n"
    "  y: {region: us}\n"
    "nodes:\n"
    "  x-1: {site: x, cpus: 2, memory: 2G, disk: 2G, price_hour: 0.1, labels: {disk: ssd}}\n"
    "  y-1: {site: y, cpus: 1, memory: 1G, price_hour: 0.1}\n";
#define ONE "\"project\":\"p\",\"service\":\"one\""
static const char placed_one[] = PLAN(
    "{" ONE ",\"replica\":0,\"site\":\"x\",\"node\":\"x-1\"}", "", "0.1", "73", "0.1", "\"y-1\"",
    ROW("x",
        "\"kept\":[{" ONE ",\"count\":0}],\"replaced\":[],"
        "\"short\":[{" ONE ",\"replicas\":1,\"resource\":\"node\",\"asked\":false}]",
        "-0.1") "," ROW("y", NOTHING, "0"),
    NODES(0));

static void one_service(struct fixture *f, struct service *one, const char *inv)
{
    *f = (struct fixture){.inv = read_inventory(inv), .plan = read_plan(placed_one)};
    *one = (struct service){.name = SK_STR("one"),
                            .replicas = 1,
                            .cpus_nano = 2 * SK_NANO,
                            .memory_bytes = 2LL << 30,
                            .disk_bytes = 2LL << 30};
    f->projects[0] = (struct project){.name = SK_STR("p"), .services = one, .nservices = 1};
    f->list[0] = &f->projects[0];
    f->nprojects = 1;
}

static void test_constraints(void **state)
{
    static const struct {
        struct constraint c;
        bool holds;
    } cases[] = {
        {{ON_LABEL, SK_STR("disk"), true, SK_STR("ssd")}, true},
        {{ON_LABEL, SK_STR("disk"), true, SK_STR("SSD")}, false},
        {{ON_LABEL, SK_STR("disk"), false, SK_STR("ssd")}, false},
        {{ON_LABEL, SK_STR("rack"), true, SK_STR("")}, false}, /* absent: unequal to everything */
        {{ON_LABEL, SK_STR("rack"), false, SK_STR("")}, true},
        {{ON_NODE, SK_STR(""), true, SK_STR("x-1")}, true},
        {{ON_NODE, SK_STR(""), false, SK_STR("x-1")}, false},
        {{ON_SITE, SK_STR(""), true, SK_STR("x")}, true},
        {{ON_SITE, SK_STR(""), true, SK_STR("y")}, false},
        {{ON_PROVIDER, SK_STR(""), true, SK_STR("acme")}, true},
        {{ON_PROVIDER, SK_STR(""), false, SK_STR("acme")}, false},
        {{ON_REGION, SK_STR(""), true, SK_STR("us")}, false},
        {{ON_REGION, SK_STR(""), false, SK_STR("us")}, true},
    };
    struct fixture f;
    struct service one;

    one_service(&f, &one, places);
    for (size_t i = 0; i < SK_ARRAY_LEN(cases); i++) {
        one.constraints = &cases[i].c;
        one.nconstraints = 1;
        expect(&f, cases[i].holds ? NULL : "constraint");
    }
    fixture_release(&f);
}

static void test_residency(void **state)
{
    static const struct sk_str zones[] = {SK_STR("us"), SK_STR("country:FR"), SK_STR("country:DE"),
                                          SK_STR("eu")};
    struct fixture f;
    struct service one;

    one_service(&f, &one, places);
    one.residency = zones;
    one.nresidency = 2;
    expect_text(&f, "residency", "p/one replica 0 may not be on node 'x-1' of site 'x'");
    one.nresidency = 3; /* any one entry is enough */
    expect(&f, NULL);
    one.residency = &zones[3];
    one.nresidency = 1;
    expect(&f, NULL);
    fixture_release(&f);
    /* a region that nobody knows is none */
    one_service(&f, &one,
                "sites: {x: {}, y: {}}\n"
                "nodes:\n"
                "  x-1: {site: x, cpus: 2, memory: 2G, disk: 2G, price_hour: 0.1}\n"
                "  y-1: {site: y, cpus: 1, memory: 1G, price_hour: 0.1}\n");
    one.residency = &zones[3];
    one.nresidency = 1;
    expect(&f, "residency");
    fixture_release(&f);
}

static void test_not_allowed(void **state)
{
    static const struct {
        const char *site, *node, *rule;
    } cases[] = {
        {"trust: storage", "drained: false", "trust"},
        {"trust: control", "drained: false", "trust"},
        {"drained: true", "drained: false", "drained"},
        {"drained: false", "drained: true", "drained"},
        {"drained: false", "cpus: 1", "size"},
        {"drained: false", "memory: 1G", "size"},
        {"drained: false", "disk: 1G", "size"},
    };

    for (size_t i = 0; i < SK_ARRAY_LEN(cases); i++) {
        struct sk_buf text = SK_BUF_INIT;
        struct fixture f;
        struct service one;

        sk_buf_printf(&text, "sites: {x: {%s}, y: {}}\nnodes:\n  x-1: {site: x, %s%s%s%s}\n",
                      cases[i].site, cases[i].node,
                      strstr(cases[i].node, "cpus") ? "" : ", cpus: 2",
                      strstr(cases[i].node, "memory") ? "" : ", memory: 2G",
                      strstr(cases[i].node, "disk") ? "" : ", disk: 2G");
        one_service(&f, &one, text.ptr);
        expect_text(&f, cases[i].rule, "may not be on node 'x-1'");
        fixture_release(&f);
        sk_buf_release(&text);
    }
}

static void test_capacity_is_exact(void **state)
{
    struct fixture f;
    struct service one;

    one_service(&f, &one, places);
    one.cpus_nano++;
    expect(&f, "size");
    expect_text(&f, "capacity", "node 'x-1' has 2000000000 nano-cpus, 2000000001 are placed");
    fixture_release(&f);
}

/*
 * Two projects have a service of the same name, which are two services: each needs half of x-1.
 */
static void test_two_projects(void **state)
{
    static const char plan[] = PLAN(
        "{" ONE ",\"replica\":0,\"site\":\"x\",\"node\":\"x-1\"},"
        "{\"project\":\"q\",\"service\":\"one\",\"replica\":0,\"site\":\"x\",\"node\":\"x-1\"}",
        "", "0.1", "73", "0.1", "\"y-1\"",
        ROW("x",
            "\"kept\":[{" ONE ",\"count\":0},"
            "{\"project\":\"q\",\"service\":\"one\",\"count\":0}],\"replaced\":["
            "{\"project\":\"p\",\"service\":\"one\",\"replica\":0,\"site\":\"y\",\"node\":\"y-1\"}]"
            ","
            "\"short\":[{\"project\":\"q\",\"service\":\"one\",\"replicas\":1,"
            "\"resource\":\"cpus\",\"asked\":false}]",
            "0") "," ROW("y", NOTHING, "0"),
        NODES(2));
    struct fixture f;
    struct service one;

    one_service(&f, &one, places);
    plan_free(f.plan);
    f.plan = read_plan(plan);
    one.cpus_nano = SK_NANO;
    one.memory_bytes = 1LL << 30;
    one.disk_bytes = 0;
    f.projects[1] = (struct project){.name = SK_STR("q"), .services = &one, .nservices = 1};
    f.list[1] = &f.projects[1];
    f.nprojects = 2;
    f.plan->warnings = &(struct plan_warning){SK_STR("goal_unmet"), SK_STR("q"), SK_STR("one"),
                                              SK_STR("no room after a loss")};
    f.plan->nwarnings = 1;
    expect(&f, NULL);
    f.plan->losses[0].shorts[0].project = SK_STR("p");
    expect_text(&f, "lost_sum", "q/one lost 1: 0 replaced, 0 short");
    f.plan->losses[0].shorts[0].project = SK_STR("q");
    f.plan->placements[1].project = SK_STR("r");
    expect_text(&f, "placement_unknown", "r/one replica 0 is not declared");
    fixture_release(&f);
}

/*
 * Three sites with two disks each. With one site lost, 4+2 (two shards in each) is the least
 * overhead: 2+1 has the same, and the larger k is taken. 12G at 4+2 are 3G a shard, 6G in each
 * site; with 0.00219 a GB-month in b only, 6 x 0.00219 / 730 = 0.000018 an hour.
 */
static const char storage[] = "sites:\n"
                              "  a: {region: eu, trust: storage}\n"
                              "  b: {region: eu, price_gb_month: 0.00219}\n"
                              "  c: {region: us}\n"
                              "  d: {region: us, trust: control}\n"
                              "nodes:\n"
                              "  a-1: {site: a, cpus: 1, memory: 1G, disk: 4G, price_hour: 1}\n"
                              "  a-2: {site: a, cpus: 1, memory: 1G, disk: 4G, price_hour: 1}\n"
                              "  b-1: {site: b, cpus: 1, memory: 1G, disk: 4G, price_hour: 1}\n"
                              "  b-2: {site: b, cpus: 1, memory: 1G, disk: 4G, price_hour: 1}\n"
                              "  c-1: {site: c, cpus: 1, memory: 1G, disk: 4G, price_hour: 1}\n"
                              "  c-2: {site: c, cpus: 1, memory: 1G, disk: 4G, price_hour: 1}\n"
                              "  d-1: {site: d, cpus: 1, memory: 1G, disk: 4G, price_hour: 1}\n";

static void test_buckets(void **state)
{
    static const char plan[] =
        PLAN("",
             "{\"project\":\"p\",\"bucket\":\"photos\",\"data\":4,\"parity\":2,"
             "\"shards\":{\"a\":2,\"b\":2,\"c\":2}}",
             "0.000018", "0.01314", "0", "\"b-1\",\"b-2\",\"c-1\",\"c-2\"",
             ROW("a", NOTHING, "0") "," ROW("b", NOTHING, "0") "," ROW("c", NOTHING, "0") "," ROW(
                 "d", NOTHING, "0"),
             NODES(0));
    static const struct sk_str eu = SK_STR("eu");
    struct bucket photos = {.name = SK_STR("photos"), .size_bytes = 12LL << 30};
    struct fixture f = {.inv = read_inventory(storage), .plan = read_plan(plan), .nprojects = 1};
    struct plan_bucket *row = &f.plan->buckets[0];

    f.projects[0] = (struct project){.name = SK_STR("p"), .buckets = &photos, .nbuckets = 1};
    f.list[0] = &f.projects[0];
    expect(&f, NULL);

    photos.size_bytes = 17LL << 30; /* 8.5G in each site of 8G */
    expect_text(&f, "bucket_disk", "site 'a'");
    photos.size_bytes = 12LL << 30;
    photos.residency = &eu;
    photos.nresidency = 1;
    expect_text(&f, "bucket_site", "2 shards in 'c', where none may be");
    photos.nresidency = 0;
    row->shards[2].site = SK_STR("d");
    expect_text(&f, "bucket_site", "2 shards in 'd'");
    row->shards[2].site = SK_STR("c");

    row->data = 2;
    row->parity = 1;
    expect_text(&f, "bucket_shards", "6 shards, 2+1 asked");
    row->shards[0].count = row->shards[1].count = row->shards[2].count = 1;
    expect_text(&f, "bucket_code", "4+2 is possible, stated 2+1");
    photos.has_code = true;
    photos.data = 2;
    photos.parity = 1;
    expect(&f, NULL);

    row->shards[0].count = 3; /* more than nodes, and all of what parity can lose */
    row->nshards = 1;
    expect_text(&f, "bucket_nodes", "3 shards in 'a', which has 2 nodes");
    row->shards[0].count = 2;
    row->nshards = 2;
    expect_text(&f, "warning_missing", "bucket p/photos");
    photos.survive.sites_written = true;
    photos.survive.sites = 1;
    expect_text(&f, "bucket_survive", "1 sites hold 2 shards, parity is 1");
    f.plan->nbuckets = 0;
    expect(&f, "bucket_missing");
    fixture_release(&f);
}

/* A code that more room would allow is not asked for where the disks are full. */
static void test_bucket_beside_replicas(void **state)
{
    static const char inv[] = "sites: {a: {}, b: {}, c: {}}\n"
                              "nodes:\n"
                              "  a-1: {site: a, cpus: 1, memory: 1G, disk: 4G, price_hour: 0}\n"
                              "  b-1: {site: b, cpus: 1, memory: 1G, disk: 4G, price_hour: 0}\n"
                              "  c-1: {site: c, cpus: 1, memory: 1G, disk: 1G, price_hour: 0}\n";
    static const char plan[] = PLAN(
        "",
        "{\"project\":\"p\",\"bucket\":\"photos\",\"data\":1,\"parity\":1,"
        "\"shards\":{\"a\":1,\"b\":1}}",
        "0", "0", "0", "\"a-1\",\"b-1\",\"c-1\"",
        ROW("a", NOTHING, "0") "," ROW("b", NOTHING, "0") "," ROW("c", NOTHING, "0"), NODES(0));
    struct bucket photos = {.name = SK_STR("photos"), .size_bytes = 4LL << 30};
    struct fixture f = {.inv = read_inventory(inv), .plan = read_plan(plan), .nprojects = 1};

    f.projects[0] = (struct project){.name = SK_STR("p"), .buckets = &photos, .nbuckets = 1};
    f.list[0] = &f.projects[0];
    expect(&f, NULL); /* 2+1 needs 2G in c */
    photos.size_bytes = 2LL << 30;
    expect_text(&f, "bucket_code", "2+1 is possible, stated 1+1");
    fixture_release(&f);
}

static void test_moves(void **state)
{
    struct fixture f;
    struct service one;
    struct plan_move move = {SK_STR("p"),   SK_STR("one"), 0,
                             SK_STR("y-1"), SK_STR("x-1"), SK_STR("room")};

    one_service(&f, &one, places);
    f.current = read_plan(placed_one);
    expect(&f, NULL);
    f.current->placements[0].node = SK_STR("y-1");
    f.current->placements[0].site = SK_STR("y");
    expect_text(&f, "move_missing", "p/one replica 0 went from 'y-1' to 'x-1'");
    f.plan->moves = &move;
    f.plan->nmoves = 1;
    expect(&f, NULL);
    move.from = SK_STR("z-1");
    expect_text(&f, "move", "moves from 'z-1', it was on 'y-1'");
    move.from = SK_STR("y-1");
    move.to = SK_STR("y-1");
    expect_text(&f, "move", "to where it is");
    move.replica = 1;
    expect_text(&f, "move", "p/one replica 1 is not declared");
    fixture_release(&f);
}

/* Findings are bounded, and stay one line each whatever a plan puts into a name. */
static void test_hostile(void **state)
{
    struct fixture f;
    struct service one;
    struct verify_input in;
    struct verify_report report = {0};
    struct plan_placement row = {SK_STR("p\n\x1b[31m"), SK_STR("one"), -7, SK_STR("x"),
                                 SK_STR("x-1")};

    one_service(&f, &one, places);
    f.plan->placements = sk_arena_calloc(f.plan->arena, 5000, sizeof(row));
    for (size_t i = 0; i < 5000; i++) {
        f.plan->placements[i] = row;
    }
    f.plan->nplacements = 5000;
    f.plan->losses[0].replaced = f.plan->placements;
    f.plan->losses[0].nreplaced = 5000;
    in = (struct verify_input){.inv = f.inv, .projects = f.list, .nprojects = 1, .plan = f.plan};
    assert_int_equal(verify_plan(&in, &report, NULL), 0);
    assert_int_equal(report.nfindings, VERIFY_FINDINGS_MAX);
    for (size_t i = 0; i < report.nfindings; i++) {
        for (size_t k = 0; k < report.findings[i].text.len; k++) {
            assert_true((unsigned char)report.findings[i].text.ptr[k] >= 0x20);
        }
    }
    verify_report_release(&report);
    fixture_release(&f);
}

/* A survive.sites that asks for more rows than anybody can make is refused, not begun. */
static void test_too_many_rows(void **state)
{
    struct sk_buf text = SK_BUF_INIT;
    struct fixture f;
    struct service one;
    struct verify_input in;
    struct verify_report report = {0};
    struct sk_err err = {0};

    sk_buf_adds(&text, "sites: {x: {}, y: {}");
    for (int i = 0; i < 60; i++) {
        sk_buf_printf(&text, ", z%d: {}", i);
    }
    sk_buf_adds(&text, "}\nnodes: {x-1: {site: x, cpus: 2, memory: 2G, disk: 2G}}\n");
    one_service(&f, &one, text.ptr);
    one.survive = (struct survive){.sites_written = true, .sites = 31};
    in = (struct verify_input){.inv = f.inv, .projects = f.list, .nprojects = 1, .plan = f.plan};
    assert_int_equal(verify_plan(&in, &report, &err), SK_ERR_LIMIT);
    verify_report_release(&report);
    fixture_release(&f);
    sk_buf_release(&text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_constraints),
        cmocka_unit_test(test_residency),
        cmocka_unit_test(test_not_allowed),
        cmocka_unit_test(test_capacity_is_exact),
        cmocka_unit_test(test_two_projects),
        cmocka_unit_test(test_buckets),
        cmocka_unit_test(test_bucket_beside_replicas),
        cmocka_unit_test(test_moves),
        cmocka_unit_test(test_hostile),
        cmocka_unit_test(test_too_many_rows),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
