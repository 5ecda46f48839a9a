/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/hash.h"
#include "base/json.h"
#include "base/mem.h"
#include "fake_internal.h"

uint64_t fake_request(struct fake *f, const struct control_request *r)
{
    struct control_event ev = {.kind = CONTROL_EV_REQUEST};
    ev.u.request = *r;
    ev.u.request.id = f->next_request++;
    ev.u.request.who = r->who.ptr ? r->who : SK_STR("root");
    fake_step(f, &ev);
    return ev.u.request.id;
}

uint64_t fake_token(struct fake *f, const char *hash, const char *site, const char *role,
                    int64_t ttl_ms)
{
    struct control_request r = {.kind = CONTROL_REQ_TOKEN_CREATE};
    r.u.token.hash = sk_str(hash);
    r.u.token.site = sk_str(site);
    r.u.token.role = sk_str(role);
    r.u.token.ttl_ms = ttl_ms;
    return fake_request(f, &r);
}

uint64_t fake_join_raw(struct fake *f, const struct control_join *join)
{
    struct control_event ev = {.kind = CONTROL_EV_JOIN};
    ev.u.join = *join;
    ev.u.join.request = f->next_request++;
    fake_step(f, &ev);
    return ev.u.join.request;
}

int fake_join(struct fake *f, const char *node, const char *site, double cpus, int64_t memory_mib)
{
    char hash[SK_SHA256_HEX];
    char address[64];
    sk_sha256_hex(sk_str(node), hash);
    hash[0] = (char)('a' + (int)(f->next_request % 6)); /* another one each time */
    const struct fake_reply *reply =
        fake_wait(f, fake_token(f, hash, site, "node", CONTROL_TOKEN_TTL_MAX_MS));
    assert_int_equal(reply->code, 0);
    (void)snprintf(address, sizeof(address), "192.0.2.%zu", f->nagents + 1);
    struct control_join j = {
        .token_hash = sk_str(hash),
        .csr = SK_STR("csr"),
        .node = sk_str(node),
        .site = sk_str(site),
        .address = sk_str(address),
        .machine_id = SK_STR("m"),
        .incarnation = SK_STR("inc"),
        .cpus_nano = (int64_t)(cpus * 1e9),
        .memory_bytes = memory_mib << 20,
        .disk_bytes = INT64_C(10) << 30,
    };
    int code = fake_wait(f, fake_join_raw(f, &j))->code;
    struct fake_agent *a = fake_agent(f, node);
    if (code == 0 && a != NULL) {
        a->cpus = j.cpus_nano;
        a->memory = j.memory_bytes;
    }
    return code;
}

uint64_t fake_set(struct fake *f, enum control_request_kind kind, const char *name,
                  const char *other, const char *body)
{
    struct control_request r = {.kind = kind};
    r.u.set.name = sk_str(name);
    r.u.set.other = sk_str(other);
    r.u.set.body = sk_str(body);
    return fake_request(f, &r);
}

void fake_three_sites(struct fake *f, int per_site)
{
    static const char *const sites[] = {"fra", "ams", "par"};
    static const char *const facts[] = {
        "{\"region\":\"eu\",\"country\":\"DE\",\"at\":[50.11,8.68],\"egress_per_gb\":0.001}",
        "{\"region\":\"eu\",\"country\":\"NL\",\"at\":[52.37,4.9],\"egress_per_gb\":0.002}",
        "{\"region\":\"eu\",\"country\":\"FR\",\"at\":[48.86,2.35],\"egress_per_gb\":0.003}"};
    static const char *const prices[] = {"{\"price_hour\":0.05}", "{\"price_hour\":0.06}",
                                         "{\"price_hour\":0.07}"};
    for (int s = 0; s < 3; s++) {
        for (int n = 1; n <= per_site; n++) {
            char name[32];
            (void)snprintf(name, sizeof(name), "%s-%d", sites[s], n);
            assert_int_equal(fake_join(f, name, sites[s], 4, 4096), 0);
            assert_int_equal(
                fake_wait(f, fake_set(f, CONTROL_REQ_NODE_SET, name, "", prices[s]))->code, 0);
        }
        assert_int_equal(
            fake_wait(f, fake_set(f, CONTROL_REQ_SITE_SET, sites[s], "", facts[s]))->code, 0);
    }
    fake_run(f, 3000);
}

uint64_t fake_apply(struct fake *f, const char *project_json, const char *expect, bool dry_run)
{
    struct control_request r = {.kind = CONTROL_REQ_APPLY};
    struct sk_str project = sk_str(project_json);
    r.u.apply.projects = &project;
    r.u.apply.nprojects = 1;
    r.u.apply.expect_plan = sk_str(expect);
    r.u.apply.dry_run = dry_run;
    return fake_request(f, &r);
}

void fake_must_apply(struct fake *f, const char *project_json)
{
    const struct fake_reply *r = fake_wait(f, fake_apply(f, project_json, "", false));
    if (r->code != 0) {
        print_error("apply: %s (%s)\n", r->msg, r->fix);
    }
    assert_int_equal(r->code, 0);
}

uint64_t fake_target(struct fake *f, enum control_request_kind kind, const char *name, bool is_site,
                     bool force)
{
    struct control_request r = {.kind = kind};
    r.u.target.name = sk_str(name);
    r.u.target.is_site = is_site;
    r.u.target.force = force;
    return fake_request(f, &r);
}

/* ---- looking ---- */

static struct sk_arena *query_arena;

static void drop_arena(void)
{
    sk_arena_free(query_arena);
    query_arena = NULL;
}

const struct sk_node *fake_query(struct fake *f,
                                 void (*query)(const struct control *, struct sk_buf *))
{
    struct sk_buf out = SK_BUF_INIT;
    const struct sk_node *root;
    struct sk_err err = {0};
    static bool registered;

    if (!registered) {
        registered = true;
        (void)atexit(drop_arena);
    }
    drop_arena();
    query_arena = sk_arena_new();
    query(f->c, &out);
    if (sk_json_read(query_arena, "query", sk_buf_str(&out), NULL, &root, &err) < 0) {
        print_error("%s\n%s\n", err.msg, out.ptr);
        fail();
    }
    sk_buf_release(&out);
    return root;
}

bool fake_converged(struct fake *f)
{
    const struct sk_node *services = sk_map_seq(fake_query(f, control_status_json), "services");
    for (uint32_t i = 0; i < services->count; i++) {
        if (!sk_str_is(sk_map_str(&services->u.items[i], "state", SK_STR("")), "ok")) {
            return false;
        }
    }
    return true;
}

size_t fake_event_count(struct fake *f, const char *what)
{
    size_t count = 0;
    struct sk_arena *a = sk_arena_new();
    for (size_t i = 0; i < f->nrecords; i++) {
        const struct sk_node *root;
        if (sk_str_starts(sk_str(f->records[i].key), SK_STR("/skerry/v1/events/")) &&
            sk_json_read(a, "event", sk_str(f->records[i].value), NULL, &root, NULL) == 0) {
            count += sk_str_is(sk_map_str(root, "what", SK_STR("")), what);
        }
    }
    sk_arena_free(a);
    return count;
}

bool fake_event_seen(struct fake *f, const char *what)
{
    return fake_event_count(f, what) > 0;
}

size_t fake_instances_on_record(struct fake *f)
{
    size_t count = 0;
    for (size_t i = 0; i < f->nrecords; i++) {
        count += sk_str_starts(sk_str(f->records[i].key), SK_STR("/skerry/v1/instances/"));
    }
    return count;
}

const char *fake_view(struct fake *f, const char *site)
{
    static char text[16384];
    struct sk_buf out = SK_BUF_INIT;
    text[0] = '\0';
    if (control_view_json(f->c, sk_str(site), &out, NULL) == 0) {
        (void)snprintf(text, sizeof(text), "%s", out.ptr);
    }
    sk_buf_release(&out);
    return text;
}

uint64_t fake_drill(struct fake *f, const char *site, int64_t for_ms, double bound, bool hard)
{
    struct control_request r = {.kind = CONTROL_REQ_DRILL};
    r.u.drill.site = sk_str(site);
    r.u.drill.for_ms = for_ms;
    r.u.drill.bound = bound;
    r.u.drill.hard = hard;
    return fake_request(f, &r);
}
