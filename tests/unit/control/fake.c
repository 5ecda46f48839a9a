/* SPDX-License-Identifier: Apache-2.0 */
#include "fake.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/json.h"
#include "base/mem.h"
#include "fake_internal.h"

/* ---- the trace ---- */

static void hash_bytes(struct fake *f, const void *bytes, size_t len)
{
    const uint8_t *p = bytes;
    for (size_t i = 0; i < len; i++) {
        f->hash = (f->hash ^ p[i]) * UINT64_C(1099511628211);
    }
}

static void hash_str(struct fake *f, struct sk_str s)
{
    hash_bytes(f, s.ptr, s.len);
    hash_bytes(f, "|", 1);
}

void fake_note(struct fake *f, const char *fmt, ...)
{
    char line[2048];
    va_list args;
    va_start(args, fmt);
    (void)vsnprintf(line, sizeof(line), fmt, args);
    va_end(args);
    if (!f->quiet) {
        sk_buf_printf(&f->trace, "%7.3f %s\n", (double)f->now_ms / 1000.0, line);
    }
}

/* ---- the store ---- */

static struct sk_str record_key(const void *item)
{
    return sk_str(((const struct fake_record *)item)->key);
}

static size_t record_at(const struct fake *f, struct sk_str key, bool *ret_there)
{
    return sk_str_search(f->records, f->nrecords, sizeof(*f->records), record_key, key, ret_there);
}

static void record_put(struct fake *f, struct sk_str key, struct sk_str value)
{
    bool there;
    size_t at = record_at(f, key, &there);
    if (!there) {
        SK_GROW(f->records, f->nrecords, f->caprecords);
        memmove(f->records + at + 1, f->records + at, (f->nrecords - at) * sizeof(*f->records));
        f->records[at] = (struct fake_record){sk_xstrndup(key.ptr, key.len), NULL, 0};
        f->nrecords++;
    }
    free(f->records[at].value);
    f->records[at].value = sk_xstrndup(value.ptr, value.len);
    f->records[at].mod_rev = f->revision;
}

static void record_remove(struct fake *f, struct sk_str key)
{
    bool there;
    size_t at = record_at(f, key, &there);
    if (there) {
        free(f->records[at].key);
        free(f->records[at].value);
        f->nrecords--;
        memmove(f->records + at, f->records + at + 1, (f->nrecords - at) * sizeof(*f->records));
    }
}

const char *fake_get(struct fake *f, const char *key)
{
    bool there;
    size_t at = record_at(f, sk_str(key), &there);
    return there ? f->records[at].value : NULL;
}

static enum control_txn_result store_commit(struct fake *f, const struct control_txn *txn)
{
    f->txns++;
    assert_true(txn->nops <= 512);
    if (f->fail_txns > 0) {
        f->fail_txns--;
        return CONTROL_TXN_FAILED;
    }
    if (f->conflict_next) {
        f->conflict_next = false;
        f->revision++; /* somebody else wrote */
        record_put(f, SK_STR("/skerry/v1/elsewhere"), SK_STR("{\"v\":1}"));
    }
    if (f->revision > 0 &&
        (!sk_str_is(txn->expect_id, "store-1") || txn->expect_number != f->revision)) {
        return CONTROL_TXN_CONFLICT;
    }
    if (txn->fence_key.len > 0) {
        bool there;
        size_t at = record_at(f, txn->fence_key, &there);
        assert_true(txn->fence_rev == (there ? f->records[at].mod_rev : 0)); /* no one else leads */
    }
    f->revision++;
    for (size_t i = 0; i < txn->nops; i++) {
        for (size_t k = 0; k < i; k++) {
            assert_false(sk_str_eq(txn->ops[i].key, txn->ops[k].key)); /* each key once */
        }
        if (txn->ops[i].remove) {
            record_remove(f, txn->ops[i].key);
        } else {
            assert_true(txn->ops[i].value.len <= 1024 * 1024);
            record_put(f, txn->ops[i].key, txn->ops[i].value);
        }
    }
    return CONTROL_TXN_OK;
}

void fake_put(struct fake *f, const char *key, struct sk_str value)
{
    f->revision++;
    record_put(f, sk_str(key), value);
}

/* ---- events on their way ---- */

struct fake_pending {
    struct fake_pending *next;
    int64_t at_ms;
    uint64_t seq;
    bool of_control; /* dropped when control restarts */
    struct control_event ev;
    char *text; /* owned bytes that ev points into */
};

static void post(struct fake *f, int64_t delay_ms, const struct control_event *ev, char *text,
                 bool of_control)
{
    struct fake_pending *p = sk_xcalloc(1, sizeof(*p));
    p->at_ms = f->now_ms + delay_ms;
    p->seq = f->seq++;
    p->ev = *ev;
    p->text = text;
    p->of_control = of_control;
    struct fake_pending **at = &f->queue;
    while (*at != NULL && (*at)->at_ms <= p->at_ms) {
        at = &(*at)->next;
    }
    p->next = *at;
    *at = p;
}

static void load(struct fake *f);

/* ---- commands ---- */

static void do_txn(struct fake *f, const struct control_txn *txn)
{
    enum control_txn_result result = store_commit(f, txn);
    struct control_event ev = {.kind = CONTROL_EV_TXN_DONE};
    ev.u.txn_done.request = txn->request;
    ev.u.txn_done.result = result;
    ev.u.txn_done.revision = f->revision;
    ev.u.txn_done.error = SK_STR("no space left");
    for (size_t i = 0; i < txn->nops; i++) {
        hash_str(f, txn->ops[i].key);
        hash_str(f, txn->ops[i].value);
    }
    post(f, f->commit_ms, &ev, NULL, true);
}

static void do_plan(struct fake *f, uint64_t request, const struct control_plan_job *job)
{
    struct plan *plan = NULL;
    bool verified = false;
    struct sk_buf findings = SK_BUF_INIT;
    struct sk_err err = {0};
    int rc = control_plan_run(job, 1, NULL, &plan, &verified, &findings, &err);
    struct control_event ev = {.kind = CONTROL_EV_PLAN_DONE};

    f->plans++;
    if (rc < 0) {
        fake_note(f, "plan failed: %s", err.msg);
    }
    assert_int_equal(rc, 0);
    if (findings.len > 0) {
        fake_note(f, "findings: %s", findings.ptr);
        print_message("findings: %s\n", findings.ptr);
    }
    ev.u.plan_done.request = request;
    ev.u.plan_done.plan = plan;
    ev.u.plan_done.verified = verified;
    char *text = sk_buf_steal(&findings, NULL);
    ev.u.plan_done.findings = sk_str(text ? text : "");
    post(f, f->plan_ms, &ev, text, true);
}

static void do_reply(struct fake *f, const struct control_command *cmd)
{
    struct fake_reply *r = &f->replies[f->nreplies % 256];
    free(r->json);
    r->request = cmd->u.reply.request;
    r->code = cmd->u.reply.err.code;
    memcpy(r->msg, cmd->u.reply.err.msg, sizeof(r->msg));
    memcpy(r->fix, cmd->u.reply.err.fix, sizeof(r->fix));
    r->json = sk_xstrndup(cmd->u.reply.json.ptr, cmd->u.reply.json.len);
    f->nreplies++;
    hash_str(f, cmd->u.reply.json);
    if (r->code != 0) {
        fake_note(f, "reply %s: %s", sk_code_name(r->code), r->msg);
    } else {
        fake_note(f, "reply ok");
    }
}

static void do_event(struct fake *f, const struct control_command *cmd)
{
    struct sk_arena *a = sk_arena_new();
    const struct sk_node *root;
    struct sk_str none = SK_STR("");
    assert_int_equal(sk_json_read(a, "event", cmd->u.event.json, NULL, &root, NULL), 0);
    struct sk_str node = sk_map_str(root, "node", none);
    struct sk_str site = sk_map_str(root, "site", none);
    struct sk_str what = sk_map_str(root, "what", none);
    struct sk_str text = sk_map_str(root, "text", none);
    struct sk_str svc = sk_map_str(root, "service", sk_map_str(root, "project", none));
    fake_note(f, "event %.*s%s%.*s%s%.*s: %.*s", SK_PRI(what), node.len || site.len ? " " : "",
              SK_PRI(node.len ? node : site), svc.len ? " " : "", SK_PRI(svc), SK_PRI(text));
    f->frozen = sk_str_is(what, "frozen") || (f->frozen && !sk_str_is(what, "unfrozen"));
    hash_str(f, cmd->u.event.json);
    sk_arena_free(a);
}

static void agent_new(struct fake *f, const struct control_command *cmd)
{
    struct fake_agent *a = &f->agents[f->nagents];
    assert_true(f->nagents < FAKE_NODES);
    memset(a, 0, sizeof(*a));
    (void)snprintf(a->name, sizeof(a->name), "%.*s", SK_PRI(cmd->u.issue.node));
    (void)snprintf(a->site, sizeof(a->site), "%.*s", SK_PRI(cmd->u.issue.site));
    (void)snprintf(a->prefix, sizeof(a->prefix), "%.*s", SK_PRI(cmd->u.issue.prefix));
    a->there = a->up = true;
    a->phase_ms = (int64_t)(f->nagents * 37 % 250);
    a->next_beat_ms = f->now_ms + 10 + a->phase_ms;
    f->nagents++;
}

static void do_issue(struct fake *f, const struct control_command *cmd)
{
    (void)snprintf(f->issued[f->nissued++ % 64], 33, "%.*s", SK_PRI(cmd->u.issue.serial));
    if (!cmd->u.issue.renewal) {
        agent_new(f, cmd);
    }
    fake_note(f, "issue %s %.*s %.*s", cmd->u.issue.renewal ? "renewal" : "certificate",
              SK_PRI(cmd->u.issue.node), SK_PRI(cmd->u.issue.prefix));
    struct fake_reply *r = &f->replies[f->nreplies++ % 256];
    free(r->json);
    memset(r, 0, sizeof(*r));
    r->request = cmd->u.issue.request;
    r->json = sk_xstrdup("{}");
}

static void do_drill(struct fake *f, const struct control_command *cmd)
{
    struct control_event ev;
    hash_str(f, cmd->u.drill.body);
    if (fake_drill_take(f, cmd->u.drill.node, cmd->u.drill.body, &ev)) {
        post(f, 3, &ev, NULL, true);
    }
}

static void command(struct fake *f, const struct control_command *cmd)
{
    switch (cmd->kind) {
    case CONTROL_CMD_TXN:
        do_txn(f, &cmd->u.txn);
        break;
    case CONTROL_CMD_LOAD:
        fake_note(f, "load");
        load(f);
        break;
    case CONTROL_CMD_PLAN:
        do_plan(f, cmd->u.plan.request, cmd->u.plan.job);
        break;
    case CONTROL_CMD_ASSIGN:
        hash_str(f, cmd->u.assign.body);
        fake_assign(f, cmd->u.assign.node, cmd->u.assign.rev, cmd->u.assign.body);
        break;
    case CONTROL_CMD_LEASED:
        hash_str(f, cmd->u.leased.body);
        f->answers++;
        if (!f->drop_answers) {
            fake_leased(f, cmd->u.leased.node, cmd->u.leased.body);
        }
        break;
    case CONTROL_CMD_DRILL:
        do_drill(f, cmd);
        break;
    case CONTROL_CMD_REPLY:
        do_reply(f, cmd);
        break;
    case CONTROL_CMD_ISSUE_CERT:
        do_issue(f, cmd);
        break;
    case CONTROL_CMD_REVOKE:
        f->revoked++;
        fake_note(f, "revoke a certificate of %.*s", SK_PRI(cmd->u.revoke.node));
        break;
    case CONTROL_CMD_CLOSE:
        f->closed++;
        fake_note(f, "close %.*s: %s", SK_PRI(cmd->u.close.node), cmd->u.close.err.msg);
        break;
    case CONTROL_CMD_EVENT:
        do_event(f, cmd);
        break;
    case CONTROL_CMD_SEAT:
    case CONTROL_CMD_MOVE:
    case CONTROL_CMD_ETCD:
        assert_non_null(f->seats);
        f->seats(f, cmd);
        break;
    case CONTROL_CMD_ETCD_LOOK: /* without a test of it nobody can say */
        f->looks++;
        break;
    case CONTROL_CMD_COUNT:
        fail();
    }
}

void fake_step(struct fake *f, struct control_event *ev)
{
    struct control_commands out = {0};
    struct sk_err err = {0};

    ev->now_ms = f->now_ms;
    ev->wall_ms = f->wall_ms + f->now_ms;
    int rc = control_step(f->c, ev, &out, &err);
    if (rc < 0) {
        print_error("step: %s\n", err.msg);
    }
    assert_int_equal(rc, 0);
    size_t count = out.count;
    for (size_t i = 0; i < count; i++) {
        uint8_t kind = (uint8_t)out.items[i].kind;
        hash_bytes(f, &kind, 1);
        command(f, &out.items[i]);
    }
    control_commands_release(&out);
}

/* The whole state, as the event that control gets. */
static void load(struct fake *f)
{
    struct control_record *records = sk_xcalloc(f->nrecords + 1, sizeof(*records));
    struct sk_buf bytes = SK_BUF_INIT;
    size_t *offsets = sk_xcalloc(2 * f->nrecords + 1, sizeof(*offsets));
    /* a copy of everything: the store goes on while the event is on its way */
    for (size_t i = 0; i < f->nrecords; i++) {
        offsets[2 * i] = bytes.len;
        sk_buf_adds(&bytes, f->records[i].key);
        offsets[2 * i + 1] = bytes.len;
        sk_buf_adds(&bytes, f->records[i].value);
    }
    for (size_t i = 0; i < f->nrecords; i++) {
        records[i].key =
            (struct sk_str){bytes.ptr + offsets[2 * i], offsets[2 * i + 1] - offsets[2 * i]};
        size_t end = i + 1 < f->nrecords ? offsets[2 * i + 2] : bytes.len;
        records[i].value =
            (struct sk_str){bytes.ptr + offsets[2 * i + 1], end - offsets[2 * i + 1]};
        records[i].mod_rev = f->records[i].mod_rev;
    }
    struct control_event ev = {.kind = CONTROL_EV_LOADED};
    ev.u.loaded.records = records;
    ev.u.loaded.count = f->nrecords;
    ev.u.loaded.store_id = SK_STR("store-1");
    ev.u.loaded.revision = f->revision;
    ev.now_ms = f->now_ms;
    ev.wall_ms = f->wall_ms + f->now_ms;
    if (control_is_loaded(f->c)) { /* in answer to a command: not inside that step */
        struct control_commands out = {0};
        struct sk_err err = {0};
        assert_int_equal(control_step(f->c, &ev, &out, &err), 0);
        for (size_t i = 0; i < out.count; i++) {
            command(f, &out.items[i]);
        }
        control_commands_release(&out);
    } else {
        fake_step(f, &ev);
    }
    free(records);
    free(offsets);
    sk_buf_release(&bytes);
}

/* ---- time ---- */

static void control_make(struct fake *f)
{
    struct control_config cfg = {
        .node = sk_str(f->own),
        .seed = f->seed,
        .return_moves = f->return_moves,
        .shared = f->shared,
    };
    struct sk_err err = {0};
    memset(cfg.secret, 7, sizeof(cfg.secret));
    assert_int_equal(control_new(&cfg, &f->c, &err), 0);
}

static bool pop(struct fake *f)
{
    struct fake_pending *p = f->queue;
    if (p == NULL || p->at_ms > f->now_ms) {
        return false;
    }
    f->queue = p->next;
    fake_step(f, &p->ev);
    free(p->text);
    free(p);
    return true;
}

void fake_run(struct fake *f, int64_t ms)
{
    int64_t end = f->now_ms + ms;
    for (;;) {
        while (pop(f)) {
        }
        int64_t next = end;
        uint64_t deadline = control_deadline_ms(f->c);
        if (f->queue != NULL && f->queue->at_ms < next) {
            next = f->queue->at_ms;
        }
        if (deadline < (uint64_t)next) {
            next = (int64_t)deadline;
        }
        int64_t agents = fake_agents_next(f);
        next = agents < next ? agents : next;
        if (next >= end && f->now_ms >= end) {
            return;
        }
        assert_true(next >= f->now_ms);
        f->now_ms = next > f->now_ms ? next : f->now_ms;
        while (pop(f)) {
        }
        fake_agents_step(f);
        fake_drill_step(f);
        if (control_deadline_ms(f->c) <= (uint64_t)f->now_ms) {
            struct control_event tick = {.kind = CONTROL_EV_TICK};
            fake_step(f, &tick);
            assert_true(control_deadline_ms(f->c) > (uint64_t)f->now_ms); /* no busy loop */
        }
        fake_check(f);
        if (f->now_ms >= end) {
            while (pop(f)) {
            }
            return;
        }
    }
}

const struct fake_reply *fake_wait(struct fake *f, uint64_t request)
{
    for (int i = 0; i < 2000; i++) {
        for (size_t k = 0; k < f->nreplies && k < 256; k++) {
            if (f->replies[k].request == request) {
                return &f->replies[k];
            }
        }
        fake_run(f, 10);
    }
    print_error("no reply to request %llu\n%s\n", (unsigned long long)request,
                f->trace.ptr ? f->trace.ptr : "");
    fail();
    return NULL;
}

void fake_restart_control(struct fake *f)
{
    struct fake_pending **at = &f->queue;
    fake_note(f, "-- control restarts");
    while (*at != NULL) {
        struct fake_pending *p = *at;
        if (p->of_control) {
            *at = p->next;
            if (p->ev.kind == CONTROL_EV_PLAN_DONE) {
                plan_free(p->ev.u.plan_done.plan);
            }
            free(p->text);
            free(p);
        } else {
            at = &p->next;
        }
    }
    control_free(f->c);
    f->seed += 1000003;
    control_make(f);
    for (size_t i = 0; i < f->nagents; i++) {
        f->agents[i].connected = false;
        f->agents[i].next_beat_ms = f->now_ms + 100 + f->agents[i].phase_ms;
    }
    load(f);
}

static void init_store(struct fake *f)
{
    struct control_init in = {
        .cluster = SK_STR("test"),
        .lab = true,
        .who = SK_STR("root"),
        .site_role = SK_STR("control"),
        .serial = SK_STR("0123456789abcdef0123456789abcdef"),
        .wall_ms = f->wall_ms,
    };
    struct control_commands out = {0};
    struct sk_err err = {0};
    in.first = (struct control_join){.node = SK_STR("hub-1"),
                                     .site = SK_STR("hub"),
                                     .address = SK_STR("192.0.2.1"),
                                     .machine_id = SK_STR("m"),
                                     .incarnation = SK_STR("inc"),
                                     .cpus_nano = 1000000000,
                                     .memory_bytes = INT64_C(1) << 30};
    assert_int_equal(control_init_txn(&in, &out, &err), 0);
    for (size_t i = 0; i < out.count; i++) {
        if (out.items[i].kind == CONTROL_CMD_TXN) {
            assert_int_equal(store_commit(f, &out.items[i].u.txn), CONTROL_TXN_OK);
        }
    }
    control_commands_release(&out);
}

struct fake *fake_new(uint64_t seed)
{
    struct fake *f = sk_xcalloc(1, sizeof(*f));
    f->seed = seed;
    f->hash = UINT64_C(14695981039346656037);
    f->now_ms = 1000;
    f->wall_ms = INT64_C(1790000000000);
    f->plan_ms = 20;
    f->commit_ms = 4;
    f->next_request = 1;
    (void)snprintf(f->own, sizeof(f->own), "hub-1");
    init_store(f);
    struct control_command hub = {.kind = CONTROL_CMD_ISSUE_CERT};
    hub.u.issue.node = SK_STR("hub-1");
    hub.u.issue.site = SK_STR("hub");
    hub.u.issue.prefix = SK_STR("10.210.1.0/24");
    agent_new(f, &hub);
    control_make(f);
    load(f);
    fake_run(f, 500);
    return f;
}

void fake_free(struct fake *f)
{
    while (f->queue != NULL) {
        struct fake_pending *p = f->queue;
        f->queue = p->next;
        if (p->ev.kind == CONTROL_EV_PLAN_DONE) {
            plan_free(p->ev.u.plan_done.plan);
        }
        free(p->text);
        free(p);
    }
    control_free(f->c);
    for (size_t i = 0; i < f->nrecords; i++) {
        free(f->records[i].key);
        free(f->records[i].value);
    }
    for (size_t i = 0; i < 256; i++) {
        free(f->replies[i].json);
    }
    free(f->records);
    sk_buf_release(&f->trace);
    free(f);
}

void fake_tell(struct fake *f, struct control_event *ev)
{
    fake_step(f, ev);
}
