/* SPDX-License-Identifier: Apache-2.0 */
/* The file that describes a lab: what it means, and that each mistake is named with its place. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "base/mem.h"
#include "lab/topology.h"

static struct sk_arena *arena;

static struct lab_topology read_good(const char *text)
{
    struct lab_topology t;
    struct sk_err err = {0};
    if (lab_topology_read(arena, "t.yaml", sk_str(text), &t, &err) != 0) {
        fail_msg("%s", err.msg);
    }
    return t;
}

static void yaml_says_it_shortly(void **state)
{
    struct lab_topology t = read_good("sites:\n"
                                      "  hub: {hosts: 1, control: true}\n"
                                      "  fra: {hosts: 2, cpus: 0.5, memory: 2G, disk: 64M}\n"
                                      "  users: {hosts: [london, paris], bare: true}\n"
                                      "default: {rtt_ms: 40, jitter_ms: 2}\n"
                                      "links:\n"
                                      "  - {between: [fra, users], rtt_ms: 14.5, rate: 100}\n"
                                      "  - {from: users, to: fra, loss: 5}\n"
                                      "gso: false\n");
    (void)state;
    assert_int_equal(t.nsites, 3);
    assert_true(t.nogso);
    assert_true(t.sites[0].control && !t.sites[0].bare && t.sites[2].bare);
    assert_int_equal(t.sites[1].nnodes, 2);
    assert_true(sk_str_is(t.sites[1].nodes[1], "fra-2"));
    assert_true(sk_str_is(t.sites[2].nodes[0], "london"));
    assert_true(t.sites[1].cpus_nano == 500000000 && t.sites[1].memory_bytes == 2LL << 30 &&
                t.sites[1].disk_bytes == 64 << 20);
    /* the default for all three pairs, then what is written, in its order */
    assert_int_equal(t.nlinks, 5);
    assert_true(t.links[2].a == 1 && t.links[2].b == 2 && t.links[2].rtt_ms == 40);
    const struct lab_link_spec *pair = &t.links[3];
    assert_true(!pair->one_way && pair->rtt_ms == 14.5 && pair->jitter_ms == 2 &&
                pair->loss_percent == 0 && pair->mbit == 100);
    const struct lab_link_spec *way = &t.links[4];
    assert_true(way->one_way && way->a == 2 && way->b == 1 && way->loss_percent == 5 &&
                way->rtt_ms < 0 && way->mbit < 0);
}

static void json_of_before_still_means_the_same(void **state)
{
    struct lab_topology t =
        read_good("{\"sites\": [{\"name\": \"fra\", \"nodes\": [\"fra-1\", \"fra-2\"]},"
                  "{\"name\": \"berlin\", \"nodes\": [\"berlin\"]}],"
                  "\"links\": [{\"between\": [\"fra\", \"berlin\"], \"rtt_ms\": 9, \"loss\": 1, "
                  "\"mbit\": 8}]}");
    (void)state;
    assert_int_equal(t.nsites, 2);
    assert_true(sk_str_is(t.sites[0].name, "fra") && t.sites[0].nnodes == 2);
    assert_int_equal(t.nlinks, 1);
    assert_true(t.links[0].rtt_ms == 9 && t.links[0].loss_percent == 1 && t.links[0].mbit == 8);
}

static void mistakes_are_named_with_their_place(void **state)
{
    static const struct {
        const char *text, *says;
    } bad[] = {
        {"a: 1\n", "t.yaml:1:1: unknown key 'a'"},
        {"{}\n", "t.yaml:1:1: "},
        {"sites: {}\n", "a lab has 1 to 48 sites"},
        {"sites:\n  fra: {host: 2}\n",
         "t.yaml:2:9: unknown key 'sites.fra.host'; did you mean 'hosts'?"},
        {"sites:\n  fra: {}\n", "t.yaml:2:8: 'sites.fra' needs 'hosts'"},
        {"sites:\n  fra:\n", "'sites.fra' needs 'hosts'"},
        {"sites:\n  FRA: {hosts: 1}\n", "label"},
        {"sites:\n  fra: {hosts: 101}\n", "t.yaml:2:16: 'sites.fra.hosts'"},
        {"sites:\n  fra: {hosts: [../x]}\n", "t.yaml:2:17: "},
        {"sites:\n  fra: {hosts: 1, disk: 12}\n", "must be 1M to 1024T"},
        {"sites:\n  fra: {hosts: 1, cpus: 0}\n", "must be above 0"},
        {"sites:\n  a: {hosts: [n]}\n  b: {hosts: [n]}\n",
         "node 'n' is not a label, or comes twice"},
        {"sites: [{name: a, hosts: 1}, {name: a, hosts: 0}]\n", "site 'a' comes twice"},
        {"sites: {a: {hosts: 1}, a: {hosts: 1}}\n", "t.yaml:1:"},
        {"sites: {a: {hosts: 1}, b: {hosts: 1}}\nlinks: [{between: [a, c]}]\n",
         "t.yaml:2:23: 'links[0].between[1]' must be a site of this lab, not 'c'"},
        {"sites: {a: {hosts: 1}, b: {hosts: 1}}\nlinks: [{between: [a, b], rtt_ms: -1}]\n",
         "t.yaml:2:35: "},
        {"sites: {a: {hosts: 1}, b: {hosts: 1}}\nlinks: [{between: [a, b], loss: 101}]\n",
         "t.yaml:2:33: "},
        {"sites: {a: {hosts: 1}, b: {hosts: 1}}\nlinks: [{from: a, rtt_ms: 1}]\n",
         "'from' and 'to'"},
        {"sites: {a: {hosts: 1}, b: {hosts: 1}}\nlinks: [{from: a, to: a}]\n",
         "two different sites"},
        {"sites: {a: {hosts: 1}, b: {hosts: 1}}\nlinks: [{between: [a, b], from: a, to: b}]\n",
         "either 'between'"},
        {"sites: {a: {hosts: 1}}\ndefault: {latency: 3}\n", "unknown key 'default.latency'"},
        {"sites: {a: {hosts: 1}}\ngso: 3\n", "t.yaml:2:6: "},
    };
    (void)state;
    for (size_t i = 0; i < SK_ARRAY_LEN(bad); i++) {
        struct lab_topology t;
        struct sk_err err = {0};
        int code = lab_topology_read(arena, "t.yaml", sk_str(bad[i].text), &t, &err);
        if (code >= 0 || sk_code_exit(code) != 2 || strstr(err.msg, bad[i].says) == NULL ||
            strstr(err.fix, "declaration.md") != NULL) {
            fail_msg("%s gives %d '%s', wanted '%s'", bad[i].text, code, err.msg, bad[i].says);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(yaml_says_it_shortly),
        cmocka_unit_test(json_of_before_still_means_the_same),
        cmocka_unit_test(mistakes_are_named_with_their_place),
    };
    arena = sk_arena_new();
    int failed = cmocka_run_group_tests_name("lab topology", tests, NULL, NULL);
    sk_arena_free(arena);
    return failed;
}
