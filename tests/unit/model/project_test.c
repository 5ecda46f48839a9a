/* SPDX-License-Identifier: Apache-2.0 */
#include "project_help.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char whole[] =
    "version: '3.9'\n"
    "x-common: &common\n"
    "  restart: unless-stopped\n"
    "  labels: {team: shop}\n"
    "name: shop\n"
    "services:\n"
    "  web:\n"
    "    <<: *common\n"
    "    image: registry.example.com/shop/web:1.4\n"
    "    entrypoint: /bin/sh -c 'echo \"a b\"'\n"
    "    command: [\"/bin/web\", \"-v\"]\n"
    "    environment: {MODE: prod, N: 5, YES: true, EMPTY: '', SET: , NONE: }\n"
    "    ports: [\"8080:80\", \"9000-9001:90-91/udp\", 53, {target: 443, published: \"8443\"}]\n"
    "    expose: [\"3000\", 4000-4001, 5000/tcp]\n"
    "    depends_on: {db: {condition: service_healthy}, job: {condition: "
    "service_completed_successfully}}\n"
    "    healthcheck: {test: [\"CMD\", \"wget\", \"-q\"], interval: 1m30s, timeout: 500ms, "
    "retries: "
    "2, start_period: 3s}\n"
    "    user: \"1000:1000\"\n"
    "    working_dir: /srv\n"
    "    stop_signal: INT\n"
    "    stop_grace_period: 1m\n"
    "    tmpfs: [/run, \"/tmp:size=64m\"]\n"
    "    x-other: {ignored: [1, 2]}\n"
    "    deploy:\n"
    "      replicas: 6\n"
    "      labels: [a=b, c]\n"
    "      resources: {limits: {cpus: \"0.50\", memory: 256M, pids: 100}}\n"
    "      placement: {constraints: [\"node.labels.disk == ssd\", \"site.region!=us\"]}\n"
    "    x-skerry:\n"
    "      survive: {sites: 1, keep: 4}\n"
    "      latency: {ms: 60, share: 95%, after_loss_ms: 120}\n"
    "      residency: [eu, \"country:CH\"]\n"
    "      cost: {month: 300}\n"
    "      traffic: {gb_month: 500, rps: 900, rps_per_replica: 300}\n"
    "      route: {host: shop.example.com, port: 8000}\n"
    "      near: [db]\n"
    "      disk: 10G\n"
    "  db:\n"
    "    image: postgres:16\n"
    "    healthcheck: {test: pg_isready -U app}\n"
    "    deploy: {resources: {limits: {cpus: 2}, reservations: {memory: 1G}}}\n"
    "  job: {image: migrate}\n"
    "  host: {command: /usr/bin/agent --one 'two three', x-skerry: {exclusive: true, check: {http: "
    "{path: /healthz, port: 8000}}}}\n"
    "x-skerry:\n"
    "  users: {london: {at: [51.51, -0.13], share: 40%}, madrid: {at: [40.42, -3.70], share: 0.6, "
    "rtt_ms: {fra: 30}}}\n"
    "  buckets: {photos: {survive: {sites: 1}, residency: [eu], size: 1T, code: 4+2}}\n";

static void assert_argv(const struct argv *argv, size_t count, const char *const *items)
{
    assert_int_equal(argv->count, count);
    for (size_t i = 0; i < count; i++) {
        assert_string_equal(argv->items[i].ptr, items[i]);
    }
}

static const struct service *service_of(const struct project *project, const char *name)
{
    int64_t i = project_service(project, sk_str(name));
    assert_true(i >= 0);
    return &project->services[i];
}

static void reads_how_to_run(void **state)
{
    struct project *project = help_accept(whole);
    const struct service *web = service_of(project, "web");
    const struct service *host = service_of(project, "host");

    assert_true(sk_str_is(project->name, "shop"));
    assert_int_equal(project->nservices, 4);
    assert_true(sk_str_is(project->services[0].name, "db"));
    assert_true(sk_str_is(web->image, "registry.example.com/shop/web:1.4"));
    assert_int_equal(web->pos.line, 7);
    assert_argv(&web->entrypoint, 3, (const char *[]){"/bin/sh", "-c", "echo \"a b\""});
    assert_argv(&web->command, 2, (const char *[]){"/bin/web", "-v"});
    assert_argv(&host->command, 3, (const char *[]){"/usr/bin/agent", "--one", "two three"});
    assert_int_equal(web->nenvironment, 5);
    assert_true(sk_str_is(web->environment[0].key, "EMPTY") && web->environment[0].value.len == 0);
    assert_true(sk_str_is(web->environment[2].value, "5"));
    assert_true(sk_str_is(web->environment[3].value, "value"));
    assert_true(sk_str_is(web->environment[4].value, "true"));
    assert_int_equal(web->nports, 5);
    assert_true(web->ports[0].target == 80 && web->ports[0].published == 8080 &&
                !web->ports[0].udp);
    assert_true(web->ports[2].target == 91 && web->ports[2].published == 9001 && web->ports[2].udp);
    assert_true(web->ports[3].target == 53 && web->ports[3].published == 0);
    assert_true(web->ports[4].target == 443 && web->ports[4].published == 8443);
    assert_int_equal(web->nexpose, 4);
    assert_int_equal(web->expose[2], 4001);
    assert_int_equal(web->ndepends_on, 2);
    assert_int_equal(web->depends_on[0].condition, DEPENDS_HEALTHY);
    assert_int_equal(web->check.kind, CHECK_EXEC);
    assert_argv(&web->check.test, 2, (const char *[]){"wget", "-q"});
    assert_true(web->check.interval_ms == 90000 && web->check.timeout_ms == 500);
    assert_true(web->check.retries == 2 && web->check.start_period_ms == 3000);
    assert_int_equal(service_of(project, "db")->check.kind, CHECK_SHELL);
    assert_argv(&service_of(project, "db")->check.test, 1, (const char *[]){"pg_isready -U app"});
    assert_int_equal(web->restart, RESTART_UNLESS_STOPPED);
    assert_int_equal(service_of(project, "db")->restart, RESTART_ALWAYS);
    assert_int_equal(service_of(project, "job")->restart, RESTART_NO);
    assert_true(sk_str_is(web->user, "1000:1000") && sk_str_is(web->working_dir, "/srv"));
    assert_true(sk_str_is(web->stop_signal, "SIGINT") && web->stop_grace_ms == 60000);
    assert_true(web->nlabels == 1 && web->ndeploy_labels == 2 && web->ntmpfs == 2);
    assert_true(host->check.kind == CHECK_HTTP && host->check.http_port == 8000);
    assert_true(sk_str_is(host->check.http_path, "/healthz"));
    project_free(project);
}

static void reads_size_and_policies(void **state)
{
    struct project *project = help_accept(whole);
    const struct service *web = service_of(project, "web");
    const struct service *db = service_of(project, "db");
    const struct users *madrid = &project->users[1];

    assert_true(web->replicas == 6 && web->cpus_nano == 500000000);
    assert_true(web->memory_bytes == 256 << 20 && web->limit_memory_bytes == 256 << 20);
    assert_true(web->limit_pids == 100 && web->disk_bytes == 10LL << 30);
    assert_true(db->replicas == 1 && db->cpus_nano == 2000000000 && db->memory_bytes == 1 << 30);
    assert_true(db->limit_memory_bytes == 0 && db->disk_bytes == 0);
    assert_true(service_of(project, "job")->cpus_nano == 100000000);
    assert_true(service_of(project, "job")->memory_bytes == 64 << 20);
    assert_int_equal(web->nconstraints, 2);
    assert_true(web->constraints[0].subject == ON_LABEL && web->constraints[0].equal);
    assert_true(sk_str_is(web->constraints[0].label, "disk"));
    assert_true(sk_str_is(web->constraints[0].value, "ssd"));
    assert_true(web->constraints[1].subject == ON_REGION && !web->constraints[1].equal);
    assert_true(web->survive.sites_written && web->survive.sites == 1 && web->survive.keep == 4);
    assert_false(web->survive.nodes_written);
    assert_true(web->latency.written && web->latency.ms == 60 && web->latency.share == 0.95);
    assert_true(web->latency.has_after_loss && web->latency.after_loss_ms == 120);
    assert_true(web->nresidency == 2 && sk_str_is(web->residency[1], "country:CH"));
    assert_true(web->has_cost && web->cost_month == 300);
    assert_true(web->gb_month == 500 && web->rps == 900 && web->rps_per_replica == 300);
    assert_true(web->has_route && web->route_port == 8000);
    assert_true(web->nnear == 1 && sk_str_is(web->near[0], "db"));
    assert_true(service_of(project, "host")->exclusive && !web->exclusive);
    assert_int_equal(project->nusers, 2);
    assert_true(sk_str_is(madrid->name, "madrid") && madrid->share == 0.6 && madrid->nrtt == 1);
    assert_true(madrid->rtt[0].rtt_ms == 30 && madrid->has_at && madrid->lon == -3.7);
    assert_int_equal(project->nbuckets, 1);
    assert_true(project->buckets[0].has_code && project->buckets[0].data == 4);
    assert_true(project->buckets[0].parity == 2 && project->buckets[0].size_bytes == 1LL << 40);
    assert_true(project->buckets[0].survive.sites == 1 && project->buckets[0].nresidency == 1);
    project_free(project);
}

static void shares_are_divided_by_their_sum(void **state)
{
    struct project *project = help_accept("services: {a: {image: x}}\n"
                                          "x-skerry: {users: {a: {at: [0, 0]}, b: {at: [0, 0], "
                                          "share: 3}, c: {rtt_ms: {fra: 5}, share: 4}}}\n");

    assert_true(project->users[0].share == 0.125);
    assert_true(project->users[1].share == 0.375);
    assert_true(project->users[2].share == 0.5);
    project_free(project);
}

static void after_loss_writes_survive(void **state)
{
    struct project *project =
        help_accept("services: {a: {image: x, x-skerry: {latency: {after_loss_ms: 100}}}}\n"
                    "x-skerry: {users: {a: {at: [0, 0]}}}\n");

    assert_true(project->services[0].survive.sites_written);
    assert_int_equal(project->services[0].survive.sites, 1);
    project_free(project);
}

static void folder_gives_the_name(void **state)
{
    const struct project_options options = {.fallback_name = SK_STR("_My App-2")};
    struct project *project = NULL;

    assert_int_equal(
        project_read("c", SK_STR("services: {a: {image: x}}"), &options, &project, NULL), 0);
    assert_string_equal(project->name.ptr, "myapp-2");
    project_free(project);
}

static void env_files_are_merged_under_environment(void **state)
{
    static const char *const want[][2] = {
        {"A", "more"}, {"B", "two words"},    {"C", "lit $SET"}, {"D", "x\ty value $SET"},
        {"E", "env"},  {"F", "1-value-dflt"}, {"G", "a#b"},      {"H", "two\nlines"},
        {"I", ""},     {"SET", "value"},      {"Z", "26"},       {"dotted.key-x", "1"},
    };
    struct project *project = help_accept(
        "services: {a: {image: x, env_file: [app.env, {path: none.env, required: false}, more.env],"
        " environment: [E=env]}}\n");
    const struct service *a = &project->services[0];

    assert_int_equal(a->nenvironment, sizeof(want) / sizeof(want[0]));
    for (size_t i = 0; i < a->nenvironment; i++) {
        assert_string_equal(a->environment[i].key.ptr, want[i][0]);
        assert_string_equal(a->environment[i].value.ptr, want[i][1]);
    }
    project_free(project);
}

static void variables_are_replaced_in_values(void **state)
{
    static const char *const cases[][2] = {
        {"$SET", "value"},
        {"${SET}", "value"},
        {"a${SET}b$SET", "avaluebvalue"},
        {"${NONE}", ""},
        {"$NONE.", "."},
        {"$$SET $${SET}", "$SET ${SET}"},
        {"${NONE:-d}", "d"},
        {"${EMPTY:-d}", "d"},
        {"${EMPTY-d}", ""},
        {"${NONE-d}", "d"},
        {"${SET:-d}", "value"},
        {"${NONE:-${NONE2:-${SET}}}", "value"},
        {"${NONE:-a}b}", "ab}"},
        {"${SET:+r}", "r"},
        {"${EMPTY:+r}", ""},
        {"${EMPTY+r}", "r"},
        {"${NONE+r}", ""},
        {"${SET:?e}", "value"},
        {"${EMPTY?e}", ""},
        {"${DOLLAR}", "${SET}"},
        {"${NONE:-$$}", "$"},
        {"${NONE:-http://x:80/?a=b}", "http://x:80/?a=b"},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct sk_buf text = SK_BUF_INIT;
        struct project *project;
        sk_buf_printf(&text, "services: {a: {image: x, labels: {k: '%s'}}}", cases[i][0]);
        project = help_accept(text.ptr);
        assert_string_equal(project->services[0].labels[0].value.ptr, cases[i][1]);
        project_free(project);
        sk_buf_release(&text);
    }
}

static void variables_take_the_type_of_the_key(void **state)
{
    struct project *project =
        help_accept("services: {a: {image: '${IMG}:${TAG}', deploy: {replicas: \"${N}\"},\n"
                    "  ports: ['${N}000:80'], x-skerry: {exclusive: '${NOPE:-false}'}}}\n");

    assert_true(sk_str_is(project->services[0].image, "nginx:1.25"));
    assert_int_equal(project->services[0].replicas, 3);
    assert_int_equal(project->services[0].ports[0].published, 3000);
    project_free(project);
}

/* Reading the canonical form gives the same bytes, and RFC 8785 changes nothing in them. */
static void assert_canonical(const struct project *project)
{
    struct sk_arena *arena = sk_arena_new();
    const struct sk_node *root = NULL;
    struct project *again = NULL;
    struct sk_err err = {0};
    struct sk_buf jcs = SK_BUF_INIT;

    if (project_from_canonical("canonical", project->canonical, &again, &err) < 0) {
        fail_msg("refused: %s\n%s", err.msg, project->canonical.ptr);
    }
    assert_string_equal(again->canonical.ptr, project->canonical.ptr);
    assert_string_equal(again->id, project->id);
    assert_int_equal(sk_json_read(arena, "canonical", project->canonical, NULL, &root, NULL), 0);
    assert_int_equal(sk_json_canonical(root, &jcs, NULL), 0);
    assert_string_equal(jcs.ptr, project->canonical.ptr);
    sk_buf_release(&jcs);
    project_free(again);
    sk_arena_free(arena);
}

static void canonical_form_is_a_fixed_point(void **state)
{
    struct project *project = help_accept(whole);

    assert_canonical(project);
    project_free(project);
    project = help_accept("services: {a: {image: x, labels: {k: 'a$$b \\ \u00e9 '}}}\n"
                          "x-skerry: {users: {a: {at: [1e-7, 3], share: 1}, b: {at: [0, 0], share: "
                          "0.7}, c: {at: [0, 0], share: 0.1}}}\n");
    assert_canonical(project);
    project_free(project);
}

static void same_meaning_has_the_same_id(void **state)
{
    struct project *a = help_accept(
        "name: n\nservices:\n  a: {image: x, command: a b, ports: ['80:80'], restart: always,\n"
        "      deploy: {resources: {limits: {cpus: '0.50', memory: 1024M}}}}\n");
    struct project *b = help_accept(
        "services: {a: {ports: [{published: 80, target: 80}], command: [a, b], image: x,\n"
        "  deploy: {replicas: 1, resources: {limits: {memory: 1g, cpus: 0.5}, reservations: {cpus: "
        "'0.5'}}}}}\nname: n\n");

    assert_string_equal(a->id, b->id);
    project_free(a);
    project_free(b);
}

static void spec_hash_sees_what_runs_only(void **state)
{
    static const char *const same[] = {
        "services: {a: {image: x, deploy: {replicas: 3}}}",
        "services: {a: {image: x, x-skerry: {survive: {sites: 0}, disk: 5G}}}",
        "services: {b: {image: x, ports: ['80:80'], restart: 'no', labels: [a]}}",
    };
    static const char *const other[] = {
        "services: {a: {image: y}}",
        "services: {a: {image: x, command: a}}",
        "services: {a: {image: x, entrypoint: a}}",
        "services: {a: {image: x, environment: {A: 1}}}",
        "services: {a: {image: x, tmpfs: /run}}",
        "services: {a: {image: x, user: me}}",
        "services: {a: {image: x, working_dir: /x}}",
        "services: {a: {image: x, stop_signal: INT}}",
        "services: {a: {image: x, stop_grace_period: 1s}}",
        "services: {a: {image: x, healthcheck: {test: a}}}",
        "services: {a: {image: x, x-skerry: {check: {http: {port: 80}}}}}",
        "services: {a: {image: x, deploy: {resources: {limits: {memory: 1G}}}}}",
    };
    struct project *project = help_accept("services: {a: {image: x}}");
    char hash[72];
    char got[72];

    service_spec_hash(&project->services[0], hash);
    project_free(project);
    for (size_t i = 0; i < sizeof(same) / sizeof(same[0]); i++) {
        project = help_accept(same[i]);
        service_spec_hash(&project->services[0], got);
        assert_string_equal(got, hash);
        project_free(project);
    }
    for (size_t i = 0; i < sizeof(other) / sizeof(other[0]); i++) {
        project = help_accept(other[i]);
        service_spec_hash(&project->services[0], got);
        assert_string_not_equal(got, hash);
        project_free(project);
    }
}

static void apply_takes_what_is_executed(void **state)
{
    static const struct refusal rows[] = {
        {"services: {a: {image: x}}\nx-skerry: {buckets: {b: {}}}", SK_ERR_UNSUPPORTED,
         "c.yaml:2:12: key 'x-skerry.buckets' can be planned, but not applied by skerry yet",
         "remove the key; docs/declaration.md lists those that work"},
        {"services: {a: {image: x, ports: ['53:53/udp']}}", SK_ERR_UNSUPPORTED,
         "c.yaml:1:34: 'services.a.ports[0]' publishes a udp port, which can be planned, but not "
         "applied by skerry yet",
         "publish tcp, or leave the published port out"},
    };
    struct project *project = NULL;

    HELP_REFUSE(rows, true);
    assert_int_equal(
        help_read("services: {a: {image: x, x-skerry: {exclusive: true}}}", true, &project, NULL),
        0);
    project_free(project);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        project_free(help_accept(rows[i].text));
    }
}

/* Bounds: on entries of a list, on what variables expand to, and none on the depth of depends_on.
 */
static bool lookup_large(void *ctx, struct sk_str name, struct sk_str *ret_value)
{
    *ret_value = *(const struct sk_str *)ctx;
    return true;
}

static void lists_are_bounded(void **state)
{
    struct sk_buf text = SK_BUF_INIT;
    struct project *project = NULL;
    struct sk_err err = {0};

    sk_buf_adds(&text, "services: {a: {image: x, tmpfs: [/a");
    for (int i = 1; i < 64; i++) {
        sk_buf_printf(&text, ", /a%d", i);
    }
    sk_buf_adds(&text, "]}}");
    project_free(help_accept(text.ptr));
    text.len -= 3;
    sk_buf_adds(&text, ", /b]}}");
    assert_int_equal(help_read(text.ptr, false, &project, &err), SK_ERR_LIMIT);
    assert_string_equal(err.msg,
                        "c.yaml:1:33: 'services.a.tmpfs' has 65 entries, at most 64 are allowed");
    sk_buf_release(&text);
}

static void expansion_is_bounded(void **state)
{
    static char large[1 << 20];
    struct sk_str value = {large, sizeof(large)};
    const struct project_env env = {lookup_large, NULL, &value};
    const struct project_options options = {.env = &env, .fallback_name = SK_STR("f")};
    struct sk_buf text = SK_BUF_INIT;
    struct project *project = NULL;
    struct sk_err err = {0};

    memset(large, 'x', sizeof(large));
    sk_buf_adds(&text, "services: {a: {image: x, labels: {k: '");
    for (int i = 0; i < 65; i++) {
        sk_buf_adds(&text, "$A ");
    }
    sk_buf_adds(&text, "'}}}");
    assert_int_equal(project_read("c.yaml", sk_buf_str(&text), &options, &project, &err),
                     SK_ERR_LIMIT);
    assert_string_equal(err.msg,
                        "c.yaml:1:38: 'services.a.labels.k': variables expand to more than "
                        "67108864 bytes in this file");
    sk_buf_release(&text);
}

static void dependencies_may_be_deep(void **state)
{
    struct sk_buf text = SK_BUF_INIT;
    struct project *project = NULL;
    struct sk_err err = {0};

    sk_buf_adds(&text, "{\"services\":{\"s0\":{\"image\":\"x\"}");
    for (int i = 1; i < 20000; i++) {
        sk_buf_printf(&text, ",\"s%d\":{\"image\":\"x\",\"depends_on\":[\"s%d\"]}", i, i - 1);
    }
    sk_buf_adds(&text, "}}");
    project = help_accept(text.ptr);
    assert_int_equal(project->nservices, 20000);
    project_free(project);
    text.len -= 2;
    sk_buf_adds(&text, ",\"s20000\":{\"image\":\"x\",\"depends_on\":[\"s20000\"]}}}");
    assert_int_equal(help_read(text.ptr, false, &project, &err), SK_ERR_INPUT);
    assert_non_null(strstr(err.msg, "depends_on goes in a circle: s20000 -> s20000"));
    sk_buf_release(&text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_how_to_run),
        cmocka_unit_test(reads_size_and_policies),
        cmocka_unit_test(shares_are_divided_by_their_sum),
        cmocka_unit_test(after_loss_writes_survive),
        cmocka_unit_test(folder_gives_the_name),
        cmocka_unit_test(env_files_are_merged_under_environment),
        cmocka_unit_test(variables_are_replaced_in_values),
        cmocka_unit_test(variables_take_the_type_of_the_key),
        cmocka_unit_test(canonical_form_is_a_fixed_point),
        cmocka_unit_test(same_meaning_has_the_same_id),
        cmocka_unit_test(spec_hash_sees_what_runs_only),
        cmocka_unit_test(lists_are_bounded),
        cmocka_unit_test(expansion_is_bounded),
        cmocka_unit_test(dependencies_may_be_deep),
        cmocka_unit_test(apply_takes_what_is_executed),
    };
    return cmocka_run_group_tests_name("project", tests, NULL, NULL);
}
