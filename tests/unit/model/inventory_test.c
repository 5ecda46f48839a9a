/* SPDX-License-Identifier: Apache-2.0 */
#include "model_test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "model/inventory.h"

static struct inventory *accept(const char *text)
{
    struct inventory *inv = NULL;
    struct sk_err err = {0};

    if (inventory_read("inv.yaml", sk_str(text), &inv, &err) < 0) {
        fail_msg("refused: %s\n%s", err.msg, text);
    }
    return inv;
}

#define SITES "sites: {fra: {}, ams: {}}\n"

static void reads_every_field(void **state)
{
    struct inventory *inv = accept(
        "currency: USD\n"
        "x-notes: anything\n"
        "sites:\n"
        "  fra: {region: eu, country: DE, at: [50.11, 8.68], provider: hetzner,\n"
        "        egress_per_gb: 0.001, price_gb_month: 0.02, trust: storage, drained: true}\n"
        "  ams:\n"
        "nodes:\n"
        "  n1: {site: fra, cpus: 8, memory: 32G, disk: 500G, price_hour: 0.09,\n"
        "       labels: {disk: ssd, arch: amd64}, drained: false}\n"
        "  n0: {site: ams, cpus: '0.5', memory: 1.5g, drained: true, labels: [b=2, a]}\n"
        "links: [{between: [fra, ams], rtt_ms: 7.2, price_per_gb: 0}]\n");
    const struct site *fra = &inv->sites[1];
    const struct node *n1 = &inv->nodes[1];

    assert_true(sk_str_is(inv->currency, "USD"));
    assert_int_equal(inv->nsites, 2);
    assert_true(sk_str_is(fra->name, "fra") && sk_str_is(fra->region, "eu"));
    assert_true(sk_str_is(fra->country, "DE") && sk_str_is(fra->provider, "hetzner"));
    assert_true(fra->has_at && fra->lat == 50.11 && fra->lon == 8.68);
    assert_true(fra->has_egress && fra->egress_per_gb == 0.001 && fra->price_gb_month == 0.02);
    assert_true(fra->trust == SITE_STORAGE && fra->drained);
    assert_false(inv->sites[0].has_at || inv->sites[0].has_egress || inv->sites[0].drained);
    assert_int_equal(inv->sites[0].region.len, 0);
    assert_int_equal(inv->nnodes, 2);
    assert_true(sk_str_is(n1->name, "n1") && n1->site == 1 && n1->cpus_nano == 8000000000);
    assert_true(n1->memory_bytes == 32LL << 30 && n1->disk_bytes == 500LL << 30);
    assert_true(n1->has_price && n1->price_hour == 0.09 && n1->nlabels == 2);
    assert_true(sk_str_is(node_label(n1, SK_STR("disk")), "ssd"));
    assert_null(node_label(n1, SK_STR("none")).ptr);
    assert_true(node_drained(inv, n1)); /* by its site */
    assert_true(node_drained(inv, &inv->nodes[0]));
    assert_true(inv->nodes[0].cpus_nano == 500000000 && inv->nodes[0].memory_bytes == 3LL << 29);
    assert_false(inv->nodes[0].has_price);
    assert_int_equal(inv->nodes[0].disk_bytes, 0);
    assert_true(sk_str_is(node_label(&inv->nodes[0], SK_STR("b")), "2"));
    assert_int_equal(inv->nlinks, 1);
    assert_true(inv->links[0].a == 0 && inv->links[0].b == 1 && inv->links[0].rtt_ms == 7.2);
    assert_true(inv->links[0].has_price && inv->links[0].price_per_gb == 0);
    assert_int_equal(inventory_site(inv, SK_STR("fra")), 1);
    assert_int_equal(inventory_site(inv, SK_STR("par")), -1);
    assert_int_equal(inventory_node(inv, SK_STR("n1")), 1);
    assert_int_equal(inventory_node(inv, SK_STR("n2")), -1);
    inventory_free(inv);
}

static void defaults_are_those_of_the_page(void **state)
{
    struct inventory *inv = accept("sites: {a: }\n");

    assert_true(sk_str_is(inv->currency, "EUR"));
    assert_int_equal(inv->nnodes, 0);
    assert_int_equal(inv->nlinks, 0);
    assert_int_equal(inv->sites[0].trust, SITE_FULL);
    inventory_free(inv);
}

static void count_always_makes_numbered_names(void **state)
{
    struct inventory *inv = accept(SITES "nodes:\n"
                                         "  a: {site: fra, cpus: 1, memory: 1G, count: 11}\n"
                                         "  b: {site: ams, cpus: 1, memory: 1G, count: 1}\n");

    assert_int_equal(inv->nnodes, 12);
    assert_int_equal(inventory_node(inv, SK_STR("a")), -1);
    assert_int_equal(inventory_node(inv, SK_STR("a-12")), -1);
    assert_true(sk_str_is(inv->nodes[0].name, "a-1"));
    assert_true(sk_str_is(inv->nodes[1].name, "a-10")); /* byte order */
    assert_true(inventory_node(inv, SK_STR("b-1")) == 11);
    assert_int_equal(inv->nodes[3].pos.line, 3);
    inventory_free(inv);
}

#define NODE(rest) SITES "nodes:\n  n: {site: fra, " rest "}\n"

static const struct refusal refusals[] = {
    {"", SK_ERR_INPUT, "inv.yaml:1:1: the document must be a map, not empty", NULL},
    {"[]", SK_ERR_INPUT, "inv.yaml:1:1: the document must be a map, not a list", NULL},
    {"nodes: {}\n", SK_ERR_INPUT, "inv.yaml:1:1: the inventory has no sites", NULL},
    {"sites: {}\n", SK_ERR_INPUT, "inv.yaml:1:1: the inventory has no sites", NULL},
    {SITES "node: {}\n", SK_ERR_INPUT, "inv.yaml:2:1: unknown key 'node'; did you mean 'nodes'?",
     "write 'nodes' for 'node', or remove it"},
    {SITES "colour: red\n", SK_ERR_INPUT, "inv.yaml:2:1: unknown key 'colour'", NULL},
    {SITES "format: skerry.inventory/9\n", SK_ERR_INPUT,
     "inv.yaml:2:9: 'format' must be skerry.inventory/1, not 'skerry.inventory/9'", NULL},
    {SITES "currency: ''\n", SK_ERR_INPUT, "inv.yaml:2:11: 'currency' must not be empty", NULL},
    {SITES "nodes: []\n", SK_ERR_INPUT, "inv.yaml:2:8: 'nodes' must be a map, not a list", NULL},
    {SITES "links: {}\n", SK_ERR_INPUT, "inv.yaml:2:8: 'links' must be a list, not a map", NULL},
    {"sites: {a b: {}}\n", SK_ERR_INPUT, "inv.yaml:1:9: 'a b' is not a name of a site",
     "use 1 to 63 letters, digits, '-', '_' and '.', first a letter or digit"},
    {"sites: {a: {at: [50]}}\n", SK_ERR_INPUT,
     "inv.yaml:1:17: 'sites.a.at' must be a list of latitude and longitude in degrees",
     "write it like [50.11, 8.68]"},
    {"sites: {a: {at: [91, 0]}}\n", SK_ERR_INPUT,
     "inv.yaml:1:18: 'sites.a.at[0]' must be a number of -90 to 90, not '91'", NULL},
    {"sites: {a: {at: [0, -181]}}\n", SK_ERR_INPUT,
     "inv.yaml:1:21: 'sites.a.at[1]' must be a number of -180 to 180, not '-181'", NULL},
    {"sites: {a: {egress_per_gb: -1}}\n", SK_ERR_INPUT,
     "inv.yaml:1:28: 'sites.a.egress_per_gb' must be a number of 0 to 1000000000, not '-1'", NULL},
    {"sites: {a: {trust: none}}\n", SK_ERR_INPUT,
     "inv.yaml:1:20: 'sites.a.trust' must be full, storage or control, not 'none'", NULL},
    {"sites: {a: {drained: yes}}\n", SK_ERR_INPUT,
     "inv.yaml:1:22: 'sites.a.drained' must be true or false, not 'yes'", NULL},
    {"sites: {a: {region: 'country:DE'}}\n", SK_ERR_INPUT,
     "inv.yaml:1:21: 'sites.a.region' must not start with 'country:', which means a country in "
     "residency",
     NULL},
    {"sites: {a: {region: 5}}\n", SK_ERR_INPUT,
     "inv.yaml:1:21: 'sites.a.region' must be a string, not a number", "write it in quotes: \"5\""},
    {"sites: {a: {price_gb_month: cheap}}\n", SK_ERR_INPUT,
     "inv.yaml:1:29: 'sites.a.price_gb_month' must be a number of 0 to 1000000000, not 'cheap'",
     NULL},
    {SITES "nodes: {n: }\n", SK_ERR_INPUT, "inv.yaml:2:12: 'nodes.n' must be a map, not empty",
     NULL},
    {SITES "nodes: {n: {cpus: 1, memory: 1G}}\n", SK_ERR_INPUT,
     "inv.yaml:2:9: the node 'n' lacks 'site'", NULL},
    {NODE("memory: 1G"), SK_ERR_INPUT, "inv.yaml:3:3: the node 'n' lacks 'cpus'", NULL},
    {NODE("cpus: 1"), SK_ERR_INPUT, "inv.yaml:3:3: the node 'n' lacks 'memory'", NULL},
    {NODE("cpus: 0, memory: 1G"), SK_ERR_INPUT, "inv.yaml:3:24: 'nodes.n.cpus' must be above 0",
     NULL},
    {NODE("cpus: -1, memory: 1G"), SK_ERR_INPUT,
     "inv.yaml:3:24: 'nodes.n.cpus' must be a number of cpus like 0.5, not '-1'", NULL},
    {NODE("cpus: 1, memory: 0"), SK_ERR_INPUT, "inv.yaml:3:35: 'nodes.n.memory' must be above 0",
     NULL},
    {NODE("cpus: 1, memory: big"), SK_ERR_INPUT,
     "inv.yaml:3:35: 'nodes.n.memory' must be a size like 256M or 1.5G, not 'big'", NULL},
    {NODE("cpus: 1, memory: 1G, disk: -1"), SK_ERR_INPUT,
     "inv.yaml:3:45: 'nodes.n.disk' must be a size like 256M or 1.5G, not '-1'", NULL},
    {NODE("cpus: 1, memory: 1G, price_hour: free"), SK_ERR_INPUT,
     "inv.yaml:3:51: 'nodes.n.price_hour' must be a number of 0 to 1000000000, not 'free'", NULL},
    {NODE("cpus: 1, memory: 1G, labels: [a=1, a=2]"), SK_ERR_INPUT,
     "inv.yaml:3:47: 'nodes.n.labels' has the key 'a' twice", NULL},
    {NODE("cpus: 1, memory: 1G, count: 0"), SK_ERR_INPUT,
     "inv.yaml:3:46: 'nodes.n.count' must be a whole number of 1 to 200000, not '0'", NULL},
    {NODE("cpus: 1, memory: 1G, prize_hour: 1"), SK_ERR_INPUT,
     "inv.yaml:3:39: unknown key 'nodes.n.prize_hour'; did you mean 'price_hour'?", NULL},
    {SITES "nodes: {n: {site: frc, cpus: 1, memory: 1G}}\n", SK_ERR_INPUT,
     "inv.yaml:2:19: 'nodes.n.site' names the site 'frc', which is not declared",
     "did you mean 'fra'?"},
    {SITES "nodes: {n: {site: tokyo, cpus: 1, memory: 1G}}\n", SK_ERR_INPUT,
     "inv.yaml:2:19: 'nodes.n.site' names the site 'tokyo', which is not declared",
     "declare it under 'sites'"},
    {SITES "nodes:\n"
           "  a-2: {site: fra, cpus: 1, memory: 1G}\n"
           "  a: {site: fra, cpus: 1, memory: 1G, count: 2}\n",
     SK_ERR_INPUT, "inv.yaml:4:3: the node 'a-2' is there twice, first at line 3",
     "rename one of them; 'count: N' makes NAME-1 to NAME-N"},
    {SITES "links: [{between: [fra, fra]}]\n", SK_ERR_INPUT,
     "inv.yaml:2:19: 'links[0].between' must name two different sites", NULL},
    {SITES "links: [{between: [fra, par]}]\n", SK_ERR_INPUT,
     "inv.yaml:2:25: 'links[0].between[1]' names the site 'par', which is not declared", NULL},
    {SITES "links: [{between: [fra]}]\n", SK_ERR_INPUT,
     "inv.yaml:2:19: 'links[0].between' must be a list of two sites", NULL},
    {SITES "links: [{rtt_ms: 1}]\n", SK_ERR_INPUT, "inv.yaml:2:9: 'links[0]' lacks 'between'",
     NULL},
    {SITES "links: [{between: [fra, ams], rtt_ms: -1}]\n", SK_ERR_INPUT,
     "inv.yaml:2:39: 'links[0].rtt_ms' must be a number of 0 to 1000000, not '-1'", NULL},
    {SITES "links:\n- {between: [fra, ams]}\n- {between: [ams, fra]}\n", SK_ERR_INPUT,
     "inv.yaml:4:3: the link between 'ams' and 'fra' is there twice", NULL},
    {SITES "nodes:\n"
           "  a: {site: fra, cpus: 1, memory: 1G, count: 200000}\n"
           "  b: {site: fra, cpus: 1, memory: 1G}\n",
     SK_ERR_LIMIT, "inv.yaml:4:3: more than 200000 nodes", NULL},
    {SITES "nodes: {a: {site: fra, cpus: 1, memory: 4000T, count: 2000}}\n", SK_ERR_LIMIT,
     "inv.yaml:2:9: the nodes together are too large to add up", NULL},
};

static void each_bad_input_has_its_line(void **state)
{
    int wrong = 0;

    for (size_t i = 0; i < sizeof(refusals) / sizeof(refusals[0]); i++) {
        struct inventory *inv = NULL;
        struct sk_err err = {0};
        int code = inventory_read("inv.yaml", sk_str(refusals[i].text), &inv, &err);

        if (code == 0) {
            fail_msg("accepted: %s", refusals[i].text);
        }
        assert_null(inv);
        wrong += differs(err.msg, refusals[i].msg);
        wrong += differs(sk_code_name(code), sk_code_name(refusals[i].code));
        wrong += refusals[i].fix ? differs(err.fix, refusals[i].fix) : 0;
    }
    assert_int_equal(wrong, 0);
}

static void same_when_written_and_read(void **state)
{
    static const char text[] =
        "currency: 'null'\n"
        "sites:\n"
        "  a: {region: 'on', country: '12', at: [-1.5, 1e-7], provider: \"o'x \\u00e9\",\n"
        "      egress_per_gb: 0.1, price_gb_month: 3, trust: control, drained: true}\n"
        "  '1': {region: x y}\n"
        "nodes:\n"
        "  n1: {site: a, cpus: 0.000000001, memory: 1, disk: 3T, price_hour: 0.30000000000000004}\n"
        "  n2: {site: '1', cpus: 3.25, memory: 1536M, labels: {y: 'true', k: ''}, drained: true}\n"
        "links: [{between: [a, '1'], rtt_ms: 0.5}]\n";
    struct inventory *inv = accept(text);
    struct inventory *from_json;
    struct inventory *from_yaml;
    struct sk_buf json = SK_BUF_INIT;
    struct sk_buf yaml = SK_BUF_INIT;
    struct sk_buf again = SK_BUF_INIT;
    struct sk_jw w;

    sk_jw_init(&w, &json);
    inventory_write_json(inv, &w);
    inventory_write_yaml(inv, &yaml);
    from_json = accept(json.ptr);
    from_yaml = accept(yaml.ptr);
    assert_true(from_yaml->nodes[0].cpus_nano == 1 && from_yaml->nodes[0].memory_bytes == 1);
    assert_true(from_yaml->nodes[0].price_hour == 0.30000000000000004);
    assert_true(from_yaml->sites[1].lon == 1e-7);
    sk_jw_init(&w, &again);
    inventory_write_json(from_json, &w);
    assert_string_equal(again.ptr, json.ptr);
    sk_buf_clear(&again);
    sk_jw_init(&w, &again);
    inventory_write_json(from_yaml, &w);
    assert_string_equal(again.ptr, json.ptr);
    inventory_free(inv);
    inventory_free(from_json);
    inventory_free(from_yaml);
    sk_buf_release(&json);
    sk_buf_release(&yaml);
    sk_buf_release(&again);
}

/* A hundred thousand nodes, one by one: the reader must stay linear. Ten times what it needs. */
static void many_nodes_are_read_in_time(void **state)
{
    struct sk_buf text = SK_BUF_INIT;
    struct inventory *inv = NULL;
    struct sk_err err = {0};
    struct timespec a, b;
    double ms;

    sk_buf_adds(&text, "{\"sites\":{");
    for (int i = 0; i < 20; i++) {
        sk_buf_printf(&text, "%s\"s%d\":{\"region\":\"eu\"}", i ? "," : "", i);
    }
    sk_buf_adds(&text, "},\"nodes\":{");
    for (int i = 0; i < 100000; i++) {
        sk_buf_printf(&text,
                      "%s\"n%d\":{\"site\":\"s%d\",\"cpus\":8,\"memory\":\"32G\",\"disk\":\"500G\","
                      "\"price_hour\":0.09,\"labels\":{\"disk\":\"ssd\"}}",
                      i ? "," : "", i, i % 20);
    }
    sk_buf_adds(&text, "}}");
    clock_gettime(CLOCK_MONOTONIC, &a);
    assert_int_equal(inventory_read("inv.json", sk_buf_str(&text), &inv, &err), 0);
    clock_gettime(CLOCK_MONOTONIC, &b);
    ms = (double)(b.tv_sec - a.tv_sec) * 1e3 + (double)(b.tv_nsec - a.tv_nsec) / 1e6;
    assert_int_equal(inv->nnodes, 100000);
    assert_true(sk_str_is(inv->nodes[99999].name, "n99999"));
    print_message("100,000 nodes read in %.0f ms\n", ms);
    assert_true(ms < 3000);
    inventory_free(inv);
    sk_buf_release(&text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_every_field),
        cmocka_unit_test(defaults_are_those_of_the_page),
        cmocka_unit_test(count_always_makes_numbered_names),
        cmocka_unit_test(each_bad_input_has_its_line),
        cmocka_unit_test(same_when_written_and_read),
        cmocka_unit_test(many_nodes_are_read_in_time),
    };
    return cmocka_run_group_tests_name("inventory", tests, NULL, NULL);
}
