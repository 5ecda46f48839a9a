/* SPDX-License-Identifier: Apache-2.0 */
#include "sim/sim.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/mem.h"
#include "sim/plant.h"

/*
 * Operators: they found the cluster, let servers join, apply declarations, drain, rebalance. Each
 * declaration carries its number, so that the checker knows which one is on record.
 */
static const char *const project_names[SIM_PROJECTS] = {"shop", "blog", "mail"};
static const char *const service_names[] = {"web", "api", "solo"};

const char *sim_project_name(int project)
{
    return project_names[project];
}

/* ---- asking ---- */

void sim_user_reply(struct sim *s, uint64_t request, const struct sk_err *err)
{
    if (s->reply.request == request) {
        s->reply.done = true;
        s->reply.code = err->code;
        (void)snprintf(s->reply.text, sizeof(s->reply.text), "%.190s", err->msg);
    }
    for (size_t i = s->nversions; i-- > 0;) {
        struct sim_version *v = &s->versions[i];
        if (v->request != request) {
            continue;
        }
        v->answered = true;
        v->acked = err->code == 0;
        sim_say(s, "apply %" PRId64 " of %s is %s%s", v->number, project_names[v->project],
                v->acked ? "acknowledged" : "refused: ", err->msg);
        if (!v->acked) {
            return;
        }
        s->acks++;
        if (v->committed_rev == 0) {
            sim_fail(s, SIM_ACKED, "apply %" PRId64 " is acknowledged, and not in the store",
                     v->number);
        }
        s->acked_rev[v->project] = v->committed_rev > s->acked_rev[v->project]
                                       ? v->committed_rev
                                       : s->acked_rev[v->project];
        return;
    }
}

/* Whom a request comes to: who takes itself for the leader, the newest of them most often; -1:
 * nobody does. */
static int door(struct sim *s)
{
    int found = -1;

    for (size_t i = 0; i < s->ncontrols; i++) {
        const struct control *c = s->controls[i].c;
        bool up = c && control_is_loaded(c) && !sim_stalled(s, &s->nodes[s->controls[i].node]);
        if (up && control_leads(c) && (found < 0 || sim_chance(s, 0.5))) {
            found = (int)i;
        }
    }
    return found;
}

static bool reachable(const struct sim *s)
{
    int leader = sim_leader(s);
    return leader >= 0 && !sim_stalled(s, &s->nodes[s->controls[leader].node]);
}

static void send(struct sim *s, struct control_request *r)
{
    struct control_event ev = {.kind = CONTROL_EV_REQUEST};
    int control = door(s);

    r->id = ++s->request_last;
    r->who = SK_STR("root");
    ev.u.request = *r;
    if (control >= 0) {
        sim_control_step(s, (size_t)control, &ev);
    }
}

static bool wait_for(struct sim *s)
{
    for (int i = 0; i < 3000 && !s->reply.done && !s->rule[0]; i++) {
        sim_until(s, s->now_us + 10 * SIM_MS);
    }
    return s->reply.done && !s->rule[0];
}

bool sim_ask(struct sim *s, struct control_request *r)
{
    for (int i = 0; i < 1000 && !reachable(s) && !s->rule[0]; i++) {
        sim_until(s, s->now_us + 20 * SIM_MS);
    }
    if (!reachable(s)) {
        return false;
    }
    s->reply.done = false;
    s->reply.request = s->request_last + 1;
    send(s, r);
    return wait_for(s);
}

static void must(struct sim *s, struct control_request *r, const char *what)
{
    if (!sim_ask(s, r) || s->reply.code != 0) {
        sim_fail(s, SIM_BROKEN, "founding, %s: %s", what,
                 s->reply.done ? s->reply.text : "no answer");
    }
}

/* ---- declarations ---- */

struct shape {
    int services;
    bool bad, policy, modest, exclusive;
};

static void declare(struct sim *s, int project, const struct shape *shape, int64_t number,
                    struct sk_buf *out)
{
    sk_buf_printf(out, "{\"name\":\"%s\",\"services\":{", project_names[project]);
    for (int i = 0; i < shape->services; i++) {
        bool solo = i == 2;
        int64_t replicas = solo ? 1 : shape->modest ? 2 : sim_between(s, 0, 6);
        bool bad = shape->bad && i == 0;
        bool exec = (!solo || shape->exclusive) && sim_chance(s, 0.3);
        double cpus = shape->modest ? 0.25 : 0.25 * (double)sim_between(s, 1, 6);
        int64_t mib = shape->modest ? 64 : 64 * sim_between(s, 1, 8);
        sk_buf_printf(out, "%s\"%s\":{", i ? "," : "", service_names[i]);
        if (exec && !bad) {
            sk_buf_adds(out, "\"command\":[\"/bin/serve\"]");
        } else {
            sk_buf_printf(out, "\"image\":\"%s:1\"", bad ? "bad" : service_names[i]);
        }
        sk_buf_printf(out,
                      ",\"environment\":{\"VER\":\"%" PRId64 "\"},\"deploy\":{\"replicas\":%" PRId64
                      ",\"resources\":{\"limits\":{\"cpus\":\"%.2f\",\"memory\":\"%" PRId64
                      "M\"}}}",
                      number, replicas, cpus, mib);
        if (i == 0) {
            sk_buf_printf(out,
                          ",\"x-skerry\":{\"route\":{\"host\":\"%s.example.com\",\"port\":8000}",
                          project_names[project]);
            if (shape->policy && replicas > 1) {
                sk_buf_printf(out, ",\"survive\":{\"sites\":1,\"keep\":%" PRId64 "}", replicas / 2);
            }
            sk_buf_adds(out, "}");
        }
        if (solo && shape->exclusive) {
            sk_buf_adds(out, ",\"x-skerry\":{\"exclusive\":true}");
        }
        if (i == 1 && shape->modest) {
            sk_buf_printf(out, ",\"depends_on\":[\"web\"]");
        }
        sk_buf_adds(out, "}");
    }
    sk_buf_adds(out, "}}");
}

static struct sim_version *version_new(struct sim *s, int project)
{
    struct sim_version *v;

    SK_GROW(s->versions, s->nversions, s->capversions);
    v = &s->versions[s->nversions++];
    *v = (struct sim_version){.request = s->request_last + 1,
                              .project = project,
                              .number = (int64_t)s->nversions,
                              .sent_us = s->now_us};
    return v;
}

static void apply_request(struct control_request *r, struct sk_str *text)
{
    *r = (struct control_request){.kind = CONTROL_REQ_APPLY};
    r->u.apply.projects = text;
    r->u.apply.nprojects = 1;
    r->u.apply.expect_plan = SK_STR("");
}

static void random_apply(struct sim *s)
{
    int project = (int)sim_below(s, SIM_PROJECTS);
    struct shape shape = {(int)sim_between(s, 1, 3), s->fault[SIM_F_APP] && sim_chance(s, 0.2),
                          sim_chance(s, 0.5), false, s->exclusive && sim_chance(s, 0.9)};
    struct sim_version *v = version_new(s, project);
    struct sk_buf text = SK_BUF_INIT;
    struct control_request r;
    struct sk_str str;

    shape.services = shape.exclusive && sim_chance(s, 0.7) ? 3 : shape.services;
    declare(s, project, &shape, v->number, &text);
    str = sk_buf_str(&text);
    apply_request(&r, &str);
    sim_say(s, "somebody applies %" PRId64 ": %s", v->number, text.ptr);
    send(s, &r);
    sk_buf_release(&text);
}

static void random_target(struct sim *s, enum control_request_kind kind)
{
    struct control_request r = {.kind = kind};
    size_t node = sim_below(s, s->nnodes);

    r.u.target.is_site = sim_chance(s, 0.2);
    r.u.target.name =
        sk_str(r.u.target.is_site ? s->sites[s->nodes[node].site].name : s->nodes[node].name);
    r.u.target.force = sim_chance(s, 0.3);
    sim_say(s, "somebody %s %.*s", kind == CONTROL_REQ_DRAIN ? "drains" : "undrains",
            SK_PRI(r.u.target.name));
    send(s, &r);
}

static void random_return(struct sim *s)
{
    struct control_request r = {.kind = CONTROL_REQ_RETURN};

    r.u.ret.hold = sim_below(s, 3) == 0;
    r.u.ret.go = !r.u.ret.hold;
    r.u.ret.max_moves = r.u.ret.go && sim_below(s, 2) == 0 ? sim_between(s, 1, 3) : -1;
    r.u.ret.automatic = (int)sim_below(s, 4) - 2;
    r.u.ret.delay_ms = sim_below(s, 3) == 0 ? sim_between(s, 0, 20000) : -1;
    sim_say(s, "somebody says of a return: %s", r.u.ret.hold ? "hold" : "go");
    send(s, &r);
}

void sim_on_user(struct sim *s, struct sim_event *e)
{
    struct control_request r = {0};

    if (s->healing) {
        return;
    }
    sim_post(s,
             s->fault[SIM_F_USER] ? sim_between(s, 500, 10000) * SIM_MS
                                  : sim_between(s, 10000, 90000) * SIM_MS,
             SIM_EV_USER, SIM_WORLD, 0, 0, 0, NULL);
    if (!reachable(s)) {
        return;
    }
    switch (sim_below(s, 13)) {
    case 0:
        random_target(s, CONTROL_REQ_DRAIN);
        break;
    case 1:
    case 2:
        random_target(s, CONTROL_REQ_UNDRAIN);
        break;
    case 3:
        r.kind = CONTROL_REQ_REBALANCE;
        r.u.rebalance.max_moves = sim_between(s, -1, 5);
        sim_say(s, "somebody rebalances");
        send(s, &r);
        break;
    case 4:
        r.kind = CONTROL_REQ_PROJECT_DELETE;
        r.u.target.name = sk_str(project_names[sim_below(s, SIM_PROJECTS)]);
        sim_say(s, "somebody deletes %.*s", SK_PRI(r.u.target.name));
        send(s, &r);
        break;
    case 5:
        random_return(s);
        break;
    default:
        random_apply(s);
        break;
    }
}

/* ---- the end ---- */

static bool ask_delete(struct sim *s, int project)
{
    struct control_request r = {.kind = CONTROL_REQ_PROJECT_DELETE};

    r.u.target.name = sk_str(project_names[project]);
    return sim_ask(s, &r);
}

static bool final_project(struct sim *s, int project)
{
    for (int i = 0; i < 6 && !s->rule[0]; i++) {
        struct shape shape = {s->exclusive ? 3 : 2 + project % 2, false, i < 3, true, s->exclusive};
        struct sim_version *v = version_new(s, project);
        struct sk_buf text = SK_BUF_INIT;
        struct control_request r;
        struct sk_str str;
        bool done;

        declare(s, project, &shape, v->number, &text);
        str = sk_buf_str(&text);
        apply_request(&r, &str);
        sim_say(s, "the last apply of %s: %s", project_names[project], text.ptr);
        done = sim_ask(s, &r) && s->reply.code == 0;
        sk_buf_release(&text);
        if (done) {
            return true;
        }
        for (int p = project + 1; i == 2 && p < SIM_PROJECTS; p++) {
            (void)ask_delete(s, p); /* they fill the place: their last word comes after this one */
        }
        sim_until(s, s->now_us + 2 * SIM_S);
    }
    sim_fail(s, SIM_CONVERGE, "a modest apply of %s is refused when all is well: %s",
             project_names[project], s->reply.done ? s->reply.text : "no answer");
    return false;
}

bool sim_apply_final(struct sim *s)
{
    for (size_t i = 0; i < s->nnodes + s->nsites && !s->rule[0]; i++) {
        struct control_request r = {.kind = CONTROL_REQ_UNDRAIN};
        r.u.target.is_site = i >= s->nnodes;
        r.u.target.name = sk_str(i < s->nnodes ? s->nodes[i].name : s->sites[i - s->nnodes].name);
        (void)sim_ask(s, &r);
    }
    /* what was asked for in the wild may fill the place: the last word is a modest one */
    for (int p = 0; p < SIM_PROJECTS && !s->rule[0]; p++) {
        (void)(sim_chance(s, 0.5) && ask_delete(s, p));
    }
    for (int p = 0; p < SIM_PROJECTS && !s->rule[0]; p++) {
        if (!final_project(s, p)) {
            return false;
        }
    }
    return !s->rule[0];
}

/* ---- founding ---- */

static struct control_join join_of(struct sim *s, size_t node, const char *hash)
{
    struct sim_node *n = &s->nodes[node];
    return (struct control_join){
        .token_hash = sk_str(hash),
        .csr = SK_STR("csr"),
        .node = sk_str(n->name),
        .site = sk_str(s->sites[n->site].name),
        .address = sk_str(n->address),
        .machine_id = sk_str(n->name),
        .incarnation = SK_STR("inc"),
        .cpus_nano = plant_cpus(s, n->cpus),
        .memory_bytes = n->memory,
        .disk_bytes = INT64_C(10) << 30,
    };
}

static void machine_on(struct sim *s, size_t node)
{
    struct sim_node *n = &s->nodes[node];

    n->machine_up = n->joined = true;
    n->machine_gen++;
    sim_agent_start(s, n);
    sim_daemon_start(s, n);
}

static void first_node(struct sim *s)
{
    struct control_commands out = {0};
    struct sk_err err = {0};
    struct control_init in = {
        .cluster = SK_STR("sim"),
        .who = SK_STR("root"),
        .site_role = s->sites[0].full ? SK_STR("node") : SK_STR("control"),
        .first = join_of(s, 0, ""),
        .serial = SK_STR("0123456789abcdef0123456789abcdef"),
        .wall_ms = sim_wall_ms(s, &s->nodes[0]),
    };

    (void)snprintf(s->store.id, sizeof(s->store.id), "%016" PRIx64 "%016" PRIx64,
                   sk_prng_u64(&s->prng), sk_prng_u64(&s->prng));
    if (control_init_txn(&in, &out, &err) < 0) {
        sim_fail(s, SIM_BROKEN, "init: %s", err.msg);
    }
    sim_store_init(s, &out);
    control_commands_release(&out);
    machine_on(s, 0);
}

static void join_node(struct sim *s, size_t node)
{
    struct sim_node *n = &s->nodes[node];
    struct control_request token = {.kind = CONTROL_REQ_TOKEN_CREATE};
    struct control_event ev = {.kind = CONTROL_EV_JOIN};
    char hash[SK_SHA256_HEX];

    sk_sha256_hex(sk_str(n->name), hash);
    token.u.token.hash = sk_str(hash);
    token.u.token.site = sk_str(s->sites[n->site].name);
    token.u.token.role = s->sites[n->site].full ? SK_STR("node") : SK_STR("control");
    token.u.token.ttl_ms = CONTROL_TOKEN_TTL_MAX_MS;
    must(s, &token, "a token");
    if (s->rule[0]) {
        return;
    }
    ev.u.join = join_of(s, node, hash);
    ev.u.join.request = ++s->request_last;
    s->reply.done = false;
    s->reply.request = ev.u.join.request;
    sim_control_step(s, (size_t)sim_leader(s), &ev);
    if (!wait_for(s) || s->reply.code != 0) {
        sim_fail(s, SIM_BROKEN, "join: %s", s->reply.text);
        return;
    }
    machine_on(s, node);
}

static void set_facts(struct sim *s)
{
    for (size_t i = 0; i < s->nnodes && !s->rule[0]; i++) {
        struct control_request r = {.kind = CONTROL_REQ_NODE_SET};
        char body[64];
        (void)snprintf(body, sizeof(body), "{\"price_hour\":0.%02d}", (int)sim_between(s, 1, 20));
        r.u.set.name = sk_str(s->nodes[i].name);
        r.u.set.other = SK_STR("");
        r.u.set.body = sk_str(body);
        must(s, &r, "a price");
    }
}

void sim_found(struct sim *s)
{
    s->founding = true;
    first_node(s);
    sim_until(s, s->now_us + SIM_S);
    for (size_t i = 1; i < s->nnodes && !s->rule[0]; i++) {
        join_node(s, i);
    }
    set_facts(s);
    sim_until(s, s->now_us + 8 * SIM_S);
    s->founding = false;
}
