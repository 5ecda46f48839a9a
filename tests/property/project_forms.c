/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Random projects, each spelled in two ways that mean the same (short and long forms, lists and
 * maps, defaults written and left out, services and keys in another order): both have the same
 * canonical form, which is RFC 8785 and reads back to itself. usage: project_forms [SEED [COUNT]]
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/prng.h"
#include "model/project.h"

#define FACTS_MAX 32
#define SERVICES_MAX 6

/* A fact of a service, or of a policy, in both spellings: `key: value` in flow style. */
struct facts {
    struct sk_buf one[FACTS_MAX];
    struct sk_buf two[FACTS_MAX];
    size_t count;
};

static unsigned below(struct sk_prng *prng, unsigned n)
{
    return (unsigned)sk_prng_below(prng, n);
}

static bool maybe(struct sk_prng *prng)
{
    return below(prng, 2) == 0;
}

static void fact(struct facts *f, const char *one, const char *two)
{
    SK_ASSERT(f->count < FACTS_MAX);
    f->one[f->count] = SK_BUF_INIT;
    f->two[f->count] = SK_BUF_INIT;
    sk_buf_adds(&f->one[f->count], one);
    sk_buf_adds(&f->two[f->count], two);
    f->count++;
}

static void release(struct facts *f)
{
    for (size_t i = 0; i < f->count; i++) {
        sk_buf_release(&f->one[i]);
        sk_buf_release(&f->two[i]);
    }
    f->count = 0;
}

/* Writes the facts as a flow map: the first spelling in order, the second backwards. */
static void join(const struct facts *f, struct sk_buf *one, struct sk_buf *two)
{
    sk_buf_addc(one, '{');
    sk_buf_addc(two, '{');
    for (size_t i = 0; i < f->count; i++) {
        const struct sk_buf *a = &f->one[i];
        const struct sk_buf *b = &f->two[f->count - 1 - i];
        sk_buf_printf(one, "%s%s", a->len ? (one->ptr[one->len - 1] == '{' ? "" : ", ") : "",
                      a->len ? a->ptr : "");
        sk_buf_printf(two, "%s%s", b->len ? (two->ptr[two->len - 1] == '{' ? "" : ", ") : "",
                      b->len ? b->ptr : "");
    }
    sk_buf_addc(one, '}');
    sk_buf_addc(two, '}');
}

static void fact2(struct facts *f, const char *key, const struct sk_buf *one,
                  const struct sk_buf *two)
{
    struct sk_buf a = SK_BUF_INIT;
    struct sk_buf b = SK_BUF_INIT;

    sk_buf_printf(&a, "%s: %s", key, one->ptr);
    sk_buf_printf(&b, "%s: %s", key, two->ptr);
    fact(f, a.ptr, b.ptr);
    sk_buf_release(&a);
    sk_buf_release(&b);
}

static void nested(struct facts *outer, const char *key, struct facts *inner)
{
    struct sk_buf one = SK_BUF_INIT;
    struct sk_buf two = SK_BUF_INIT;

    join(inner, &one, &two);
    fact2(outer, key, &one, &two);
    sk_buf_release(&one);
    sk_buf_release(&two);
    release(inner);
}

static void pair(struct facts *f, const char *fmt_one, const char *fmt_two, unsigned n)
    __attribute__((nonnull));
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
/* Both spellings with the same number in them, once each. */
static void pair(struct facts *f, const char *fmt_one, const char *fmt_two, unsigned n)
{
    char one[256];
    char two[256];

    (void)snprintf(one, sizeof(one), fmt_one, n, n, n, n);
    (void)snprintf(two, sizeof(two), fmt_two, n, n, n, n);
    fact(f, one, two);
}
#pragma GCC diagnostic pop

static void how_to_run(struct sk_prng *prng, struct facts *f, unsigned index)
{
    pair(f, "image: img:%u", "image: 'img:%u'", below(prng, 100));
    if (maybe(prng)) {
        pair(f, "command: run 'a %u' \"b\\\"%u\" c\\ d", "command: [run, 'a %u', 'b\"%u', c d]",
             below(prng, 9));
    }
    if (maybe(prng)) {
        pair(f, "environment: [A=%u, 'B=x=y \\u00e9', C=]",
             "environment: {C: '', B: \"x=y \\\\u00e9\", A: %u}", below(prng, 9));
    }
    if (maybe(prng)) {
        pair(f, "ports: ['1%03u-1%03u:80-80', '53/udp']",
             "ports: [{target: 80, published: 1%03u, mode: ingress}, {protocol: udp, target: 53}]",
             below(prng, 100) * 8 + index);
    }
    if (maybe(prng)) {
        fact(f, "expose: [80-82]", "expose: ['80', 81/tcp, 82]");
    }
    if (index > 0 && maybe(prng)) {
        pair(f, "depends_on: [s%u]", "depends_on: {s%u: {condition: service_started}}",
             below(prng, index));
    }
    if (maybe(prng)) {
        pair(f, "healthcheck: {test: 'a | b %u', interval: 90s, timeout: 1s}",
             "healthcheck: {interval: 1m30s, test: [CMD-SHELL, 'a | b %u'], retries: 3}",
             below(prng, 9));
    }
    if (maybe(prng)) {
        fact(f, "restart: always", "");
    }
    if (maybe(prng)) {
        fact(f, "stop_grace_period: 10s, stop_signal: TERM", "stop_signal: SIGTERM");
    }
    if (maybe(prng)) {
        fact(f, "labels: [x.y=1, z]", "labels: {z: , x.y: 1}");
    }
    if (maybe(prng)) {
        fact(f, "tmpfs: /run", "tmpfs: [/run]");
    }
}

static void how_large(struct sk_prng *prng, struct facts *f)
{
    struct facts deploy = {0};
    struct facts resources = {0};
    unsigned replicas = below(prng, 9);

    if (replicas == 1) {
        fact(&deploy, "", "replicas: 1");
    } else {
        pair(&deploy, "replicas: %u", "replicas: '%u'", replicas);
    }
    if (maybe(prng)) {
        unsigned mib = 64 + below(prng, 100);
        struct sk_buf one = SK_BUF_INIT;
        struct sk_buf two = SK_BUF_INIT;
        sk_buf_printf(&one, "{cpus: '0.%u0', memory: %uM}", 1 + below(prng, 9), mib);
        sk_buf_printf(&two, "{memory: %u, cpus: %.3s}", mib << 20, one.ptr + 8);
        fact2(&resources, "limits", &one, &two);
        if (maybe(prng)) { /* what is needed is the limit, unless reserved */
            fact(&resources, "", "");
            sk_buf_printf(&resources.two[1], "reservations: {memory: '%uk'}", mib * 1024);
        }
        sk_buf_release(&one);
        sk_buf_release(&two);
    } else {
        fact(&resources, "", "reservations: {cpus: 0.1, memory: 65536K}");
    }
    nested(&deploy, "resources", &resources);
    if (maybe(prng)) {
        pair(&deploy, "placement: {constraints: [node.labels.k == v%u, 'site.region!=x']}",
             "placement: {constraints: [' node.labels.k==v%u', site.region != x]}", below(prng, 9));
    }
    nested(f, "deploy", &deploy);
}

static void policies(struct sk_prng *prng, struct facts *f, bool users)
{
    struct facts policy = {0};

    if (users && maybe(prng)) {
        pair(&policy, "latency: {ms: %u, share: 95%%, after_loss_ms: 90.50}, survive: {sites: 1}",
             "latency: {after_loss_ms: 90.5, ms: %u.0}", 1 + below(prng, 99));
    } else if (maybe(prng)) {
        pair(&policy, "survive: {sites: %u, keep: 0}", "survive: {keep: 0, sites: %u}",
             below(prng, 3));
    }
    if (maybe(prng)) {
        fact(&policy, "residency: eu", "residency: [eu]");
    }
    if (maybe(prng)) {
        pair(&policy, "cost: {month: %u}", "cost: {month: %ue0}", below(prng, 1000));
    }
    if (maybe(prng)) {
        fact(&policy, "traffic: {rps: 0}", "traffic: {gb_month: 0}");
    }
    if (maybe(prng)) {
        pair(&policy, "disk: %uG", "disk: %u.0g", below(prng, 100));
    }
    if (policy.count == 0 && maybe(prng)) {
        return;
    }
    nested(f, "x-skerry", &policy);
}

static void users_of(struct sk_prng *prng, struct sk_buf *one, struct sk_buf *two)
{
    unsigned n = 1 + below(prng, 1000);

    sk_buf_printf(one,
                  "x-skerry: {users: {a: {at: [1, 2.50], share: %u}, b: {rtt_ms: {y: 1, x: 2}, "
                  "share: %u}}}\n",
                  n, n * 3);
    sk_buf_printf(two,
                  "x-skerry: {users: {b: {rtt_ms: {x: 2.0, y: 1}, share: 75%%}, a: {share: 0.25, "
                  "at: [1.0, 2.5]}}}\n");
}

static void make(struct sk_prng *prng, struct sk_buf *one, struct sk_buf *two)
{
    unsigned count = 1 + below(prng, SERVICES_MAX);
    bool users = maybe(prng);
    struct sk_buf body[2][SERVICES_MAX] = {0};

    for (unsigned i = 0; i < count; i++) {
        struct facts f = {0};
        how_to_run(prng, &f, i);
        how_large(prng, &f);
        policies(prng, &f, users);
        join(&f, &body[0][i], &body[1][i]);
        release(&f);
    }
    sk_buf_adds(one, "name: n\nservices:\n");
    sk_buf_adds(two, "x-note: nothing\nservices:\n");
    for (unsigned i = 0; i < count; i++) {
        sk_buf_printf(one, "  s%u: %s\n", i, body[0][i].ptr);
        sk_buf_printf(two, "  s%u: %s\n", count - 1 - i, body[1][count - 1 - i].ptr);
        sk_buf_release(&body[0][i]);
    }
    for (unsigned i = 0; i < count; i++) {
        sk_buf_release(&body[1][i]);
    }
    if (users) {
        users_of(prng, one, two);
    }
    sk_buf_adds(two, "name: n\n");
}

static struct project *read_one(const struct sk_buf *text, uint64_t seed)
{
    const struct project_options options = {0};
    struct project *project = NULL;
    struct sk_err err = {0};

    if (project_read("p", sk_buf_str(text), &options, &project, &err) < 0) {
        printf("seed %llu: %s\n%s", (unsigned long long)seed, err.msg, text->ptr);
        exit(1);
    }
    return project;
}

static bool is_canonical(const struct project *project)
{
    struct sk_arena *arena = sk_arena_new();
    struct sk_buf jcs = SK_BUF_INIT;
    const struct sk_node *root = NULL;
    struct project *again = NULL;
    bool same = project_from_canonical("c", project->canonical, &again, NULL) == 0 &&
                sk_str_eq(again->canonical, project->canonical) &&
                sk_json_read(arena, "c", project->canonical, NULL, &root, NULL) == 0 &&
                sk_json_canonical(root, &jcs, NULL) == 0 &&
                sk_str_eq(sk_buf_str(&jcs), project->canonical);

    project_free(again);
    sk_buf_release(&jcs);
    sk_arena_free(arena);
    return same;
}

static void try_one(uint64_t seed)
{
    struct sk_prng prng;
    struct sk_buf one = SK_BUF_INIT;
    struct sk_buf two = SK_BUF_INIT;
    struct project *a;
    struct project *b;

    sk_prng_seed(&prng, seed);
    make(&prng, &one, &two);
    a = read_one(&one, seed);
    b = read_one(&two, seed);
    if (!sk_str_eq(a->canonical, b->canonical) || strcmp(a->id, b->id) != 0 || !is_canonical(a)) {
        printf("seed %llu: not the same\n%s\n%s\n%s\n%s\n", (unsigned long long)seed, one.ptr,
               two.ptr, a->canonical.ptr, b->canonical.ptr);
        exit(1);
    }
    project_free(a);
    project_free(b);
    sk_buf_release(&one);
    sk_buf_release(&two);
}

int main(int argc, char **argv)
{
    uint64_t seed = argc > 1 ? strtoull(argv[1], NULL, 10) : 1;
    uint64_t count = argc > 2 ? strtoull(argv[2], NULL, 10) : 2000;

    for (uint64_t i = 0; i < count; i++) {
        try_one(seed + i);
    }
    printf("%llu projects in two spellings, all the same\n", (unsigned long long)count);
    return 0;
}
