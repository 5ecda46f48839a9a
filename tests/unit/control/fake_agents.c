/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/json.h"
#include "base/mem.h"
#include "fake_internal.h"
#include "model/lease.h"

#define START_MS 300 /* from assigned to healthy */
#define STOP_MS 150

struct fake_agent *fake_agent(struct fake *f, const char *name)
{
    for (size_t i = 0; i < f->nagents; i++) {
        if (f->agents[i].there && sk_str_is(sk_str(name), f->agents[i].name)) {
            return &f->agents[i];
        }
    }
    return NULL;
}

static size_t index_of(const struct fake *f, const struct fake_agent *a)
{
    return (size_t)(a - f->agents);
}

static bool alive(const struct fake_agent *a)
{
    return a->there && a->up && !a->paused;
}

static bool reaches_control(const struct fake *f, const struct fake_agent *a)
{
    return alive(a) && !f->control_cut[index_of(f, a)];
}

/* ---- what is assigned ---- */

static struct fake_inst *inst_of(struct fake_agent *a, struct sk_str id)
{
    for (size_t i = 0; i < a->ninsts; i++) {
        if (sk_str_is(id, a->insts[i].id)) {
            return &a->insts[i];
        }
    }
    return NULL;
}

static int64_t need_of(const struct sk_node *spec, const char *what)
{
    /* tests write limits; cpus "1" or "0.5", memory in plain bytes after canonicalisation */
    const struct sk_node *deploy = sk_map_get(spec, SK_STR("deploy"));
    const struct sk_node *res = deploy ? sk_map_get(deploy, SK_STR("resources")) : NULL;
    const struct sk_node *lim = res ? sk_map_get(res, SK_STR("limits")) : NULL;
    struct sk_str text = SK_STR("");
    const struct sk_node *value = lim ? sk_map_get(lim, sk_str(what)) : NULL;
    if (value != NULL && sk_node_is_scalar(value)) {
        text = value->u.text;
    }
    if (sk_str_is(sk_str(what), "cpus")) {
        return text.len ? (int64_t)(strtod(text.ptr, NULL) * 1e9) : 100000000;
    }
    return 0;
}

static bool says_exclusive(const struct sk_node *spec)
{
    const struct sk_node *own = spec ? sk_map_get(spec, SK_STR("x-skerry")) : NULL;
    return own != NULL && sk_map_bool(own, "exclusive", false);
}

static void inst_take(struct fake *f, struct fake_agent *a, const struct sk_node *row)
{
    struct sk_str none = SK_STR("");
    struct sk_str id = sk_map_str(row, "id", none);
    bool run = sk_str_is(sk_map_str(row, "want", none), "run");
    struct fake_inst *i = inst_of(a, id);

    if (i == NULL) {
        assert_true(a->ninsts < FAKE_INSTS);
        i = &a->insts[a->ninsts++];
        memset(i, 0, sizeof(*i));
        (void)snprintf(i->id, sizeof(i->id), "%.*s", SK_PRI(id));
        (void)snprintf(
            i->label, sizeof(i->label), "%.*s/%.*s.%lld", SK_PRI(sk_map_str(row, "project", none)),
            SK_PRI(sk_map_str(row, "service", none)), (long long)sk_map_int(row, "replica", 0));
        const struct sk_node *image = sk_map_get(row, SK_STR("image"));
        struct sk_str ref = image ? sk_map_str(image, "ref", none) : none;
        i->bad = f->bad_image[0] != '\0' && sk_str_is(ref, f->bad_image);
        i->ends = f->done_image[0] != '\0' && sk_str_is(ref, f->done_image);
        i->state = run ? CONTROL_PENDING : CONTROL_EXITED;
        i->next_ms = f->now_ms + START_MS;
        i->exclusive = says_exclusive(sk_map_get(row, SK_STR("spec")));
        i->cpus = need_of(sk_map_get(row, SK_STR("spec")), "cpus");
        a->changed = true;
    }
    if (i->want_run != run) {
        i->want_run = run;
        if (!run && i->exclusive && i->state == CONTROL_STARTING) {
            i->state = CONTROL_EXITED; /* it waits for its lease: nothing runs */
            a->next_ask_ms = f->now_ms;
        } else if (!run && i->state != CONTROL_EXITED) {
            i->state = CONTROL_STOPPING;
            i->healthy = false;
            i->next_ms = f->now_ms + STOP_MS;
        }
        a->changed = true;
    }
    i->listed = true;
}

static void show_assignment(struct fake *f, struct fake_agent *a, const struct sk_node *list)
{
    struct sk_buf text = SK_BUF_INIT;
    for (uint32_t k = 0; k < list->count; k++) {
        const struct sk_node *row = &list->u.items[k];
        struct sk_str none = SK_STR("");
        sk_buf_printf(
            &text, "%s%.*s/%.*s.%lld g%lld%s", k ? ", " : "",
            SK_PRI(sk_map_str(row, "project", none)), SK_PRI(sk_map_str(row, "service", none)),
            (long long)sk_map_int(row, "replica", 0), (long long)sk_map_int(row, "generation", 0),
            sk_str_is(sk_map_str(row, "want", none), "run") ? "" : " stop");
    }
    const char *now = text.ptr ? text.ptr : "";
    if (!sk_str_is(sk_str(now), a->shown)) {
        fake_note(f, "assign %s: %s", a->name, now[0] ? now : "nothing");
        (void)snprintf(a->shown, sizeof(a->shown), "%s", now);
    }
    sk_buf_release(&text);
}

static void take_probes(struct fake *f, struct fake_agent *a, const struct sk_node *list)
{
    char old[64][32];
    int64_t old_ms[64];
    size_t nold = a->nprobe;

    memcpy(old, a->probe, sizeof(old));
    memcpy(old_ms, a->heard_ms, sizeof(old_ms));
    a->nprobe = 0;
    for (uint32_t k = 0; k < list->count && a->nprobe < 64; k++) {
        struct sk_str name = sk_map_str(&list->u.items[k], "node", SK_STR(""));
        (void)snprintf(a->probe[a->nprobe], 32, "%.*s", SK_PRI(name));
        a->heard_ms[a->nprobe] = -1;
        for (size_t o = 0; o < nold; o++) {
            if (sk_str_is(name, old[o])) {
                a->heard_ms[a->nprobe] = old_ms[o];
            }
        }
        a->nprobe++;
    }
}

void fake_assign(struct fake *f, struct sk_str node, int64_t rev, struct sk_str body)
{
    struct sk_arena *arena = sk_arena_new();
    const struct sk_node *root;
    char name[32];
    (void)snprintf(name, sizeof(name), "%.*s", SK_PRI(node));
    struct fake_agent *a = fake_agent(f, name);

    assert_int_equal(sk_json_read(arena, "assign", body, NULL, &root, NULL), 0);
    if (a == NULL || !reaches_control(f, a) || !a->connected) {
        sk_arena_free(arena);
        return; /* on its way into nowhere */
    }
    assert_true(rev >= a->rev);
    a->rev = rev;
    a->assigns++;
    a->has_peers = memmem(body.ptr, body.len, "\"peers\":", 8) != NULL;
    const struct sk_node *list = sk_map_seq(root, "instances");
    for (size_t i = 0; i < a->ninsts; i++) {
        a->insts[i].listed = false;
    }
    for (uint32_t k = 0; k < list->count; k++) {
        inst_take(f, a, &list->u.items[k]);
    }
    size_t kept = 0;
    for (size_t i = 0; i < a->ninsts; i++) {
        if (a->insts[i].listed) {
            a->insts[kept++] = a->insts[i];
        }
    }
    a->ninsts = kept;
    show_assignment(f, a, list);
    take_probes(f, a, sk_map_seq(root, "probe"));
    const struct sk_node *view = sk_map_get(root, SK_STR("ingress"));
    struct sk_buf text = SK_BUF_INIT;
    struct sk_jw w;
    sk_jw_init(&w, &text);
    sk_jw_node(&w, view);
    (void)snprintf(a->view, sizeof(a->view), "%s", text.ptr);
    if (view != NULL && view->kind == SK_MAP) {
        int64_t view_rev = sk_map_int(view, "rev", 0);
        int64_t takes_ms = a->front_takes_ms > 0 ? a->front_takes_ms : FAKE_FRONT_MS;
        a->front_ms = view_rev != a->front_next ? f->now_ms + takes_ms : a->front_ms;
        a->front_next = view_rev;
    }
    sk_buf_release(&text);
    sk_arena_free(arena);
}

/* ---- what it reports ---- */

static void send_hello(struct fake *f, struct fake_agent *a)
{
    struct control_event ev = {.kind = CONTROL_EV_HELLO};
    ev.u.hello.node = sk_str(a->name);
    ev.u.hello.incarnation = SK_STR("inc");
    ev.u.hello.boot = SK_STR("boot");
    ev.u.hello.version = SK_STR("0.1.0");
    a->connected = true;
    fake_step(f, &ev);
}

static void send_observe(struct fake *f, struct fake_agent *a, bool full)
{
    struct control_observation obs[FAKE_INSTS];
    struct control_event ev = {.kind = CONTROL_EV_OBSERVE};

    memset(obs, 0, sizeof(obs));
    for (size_t i = 0; i < a->ninsts; i++) {
        obs[i].id = sk_str(a->insts[i].id);
        obs[i].state = a->insts[i].state;
        obs[i].healthy = a->insts[i].healthy ? CONTROL_HEALTHY : CONTROL_UNHEALTHY;
        obs[i].reason = SK_STR("");
        obs[i].has_exit = a->insts[i].ends && a->insts[i].state == CONTROL_EXITED;
        obs[i].exit = a->insts[i].exit;
    }
    a->obs_rev++;
    a->changed = false;
    ev.u.observe.node = sk_str(a->name);
    ev.u.observe.obs_rev = a->obs_rev;
    ev.u.observe.full = full;
    ev.u.observe.instances = obs;
    ev.u.observe.count = a->ninsts;
    fake_step(f, &ev);
}

static void send_beat(struct fake *f, struct fake_agent *a)
{
    struct control_heard heard[64];
    struct control_event ev = {.kind = CONTROL_EV_BEAT};
    for (size_t k = 0; k < a->nprobe; k++) {
        struct fake_agent *t = fake_agent(f, a->probe[k]);
        int64_t rtt = t == NULL ? 0 : (int64_t)(4000 + 1500 * (index_of(f, t) % 5));
        heard[k] = (struct control_heard){sk_str(a->probe[k]),
                                          a->heard_ms[k] < 0 ? -1 : f->now_ms - a->heard_ms[k],
                                          a->heard_ms[k] < 0 ? -1 : rtt};
    }
    ev.u.beat.node = sk_str(a->name);
    ev.u.beat.seq = f->now_ms;
    ev.u.beat.assign_rev = a->rev;
    ev.u.beat.obs_rev = a->obs_rev;
    ev.u.beat.heard = heard;
    ev.u.beat.nheard = a->nprobe;
    ev.u.beat.datagram = a->held;
    if (a->view[0] == '{' && !a->no_front) {
        a->front_view = f->now_ms >= a->front_ms ? a->front_next : a->front_view;
        a->front_requests += f->users;
        a->front_errors += f->users * f->users_failed / 100;
        ev.u.beat.has_front = true;
        ev.u.beat.front_view = a->front_view;
        ev.u.beat.front_requests = a->front_requests;
        ev.u.beat.front_errors = a->front_errors;
    }
    fake_step(f, &ev);
}

static void probe_all(struct fake *f, struct fake_agent *a)
{
    for (size_t k = 0; k < a->nprobe; k++) {
        struct fake_agent *t = fake_agent(f, a->probe[k]);
        if (!f->probes_blocked && t != NULL && alive(t) &&
            !f->cut[index_of(f, a)][index_of(f, t)]) {
            a->heard_ms[k] = f->now_ms;
        }
    }
}

/* ---- leases ---- */

/* No epoch runs twice, and none that is older than one that ran. */
static void note_epoch(struct fake *f, const struct fake_inst *i)
{
    for (size_t k = 0; k < f->nepochs; k++) {
        if (sk_str_is(sk_str(i->label), f->epochs[k].label)) {
            if (i->epoch <= f->epochs[k].epoch && f->broken[0] == '\0') {
                (void)snprintf(f->broken, sizeof(f->broken), "%s: epoch %lld after %lld", i->label,
                               (long long)i->epoch, (long long)f->epochs[k].epoch);
            }
            f->epochs[k].epoch = i->epoch;
            return;
        }
    }
    assert_true(f->nepochs < 16);
    (void)snprintf(f->epochs[f->nepochs].label, 96, "%s", i->label);
    f->epochs[f->nepochs++].epoch = i->epoch;
}

static void inst_leased(struct fake *f, struct fake_agent *a, struct fake_inst *i, int64_t epoch,
                        bool held, int64_t until_ms)
{
    if (!held) {
        i->released = epoch;
    } else if (i->state == CONTROL_STARTING && epoch > i->epoch) {
        i->epoch = epoch;
        if (until_ms <= f->now_ms) {
            return;
        }
        i->until_ms = until_ms;
        i->state = CONTROL_RUNNING;
        i->healthy = !i->bad;
        a->changed = true;
        note_epoch(f, i);
        fake_note(f, "%s starts on %s, epoch %lld", i->label, a->name, (long long)epoch);
    } else if ((i->state == CONTROL_RUNNING || i->state == CONTROL_STOPPING) && epoch == i->epoch &&
               until_ms > i->until_ms) {
        i->until_ms = until_ms;
    }
}

void fake_leased(struct fake *f, struct sk_str node, struct sk_str body)
{
    struct sk_arena *arena = sk_arena_new();
    const struct sk_node *root;
    char name[32];
    (void)snprintf(name, sizeof(name), "%.*s", SK_PRI(node));
    struct fake_agent *a = fake_agent(f, name);

    assert_int_equal(sk_json_read(arena, "leased", body, NULL, &root, NULL), 0);
    int64_t seq = sk_map_int(root, "seq", -1);
    if (a != NULL && reaches_control(f, a) && seq > a->answered_seq) {
        a->answered_seq = seq;
        a->next_ask_ms = a->asked_ms[seq % 8] + LEASE_RENEW_MS;
    }
    const struct sk_node *list = sk_map_seq(root, "answers");
    for (uint32_t k = 0; a != NULL && reaches_control(f, a) && k < list->count; k++) {
        const struct sk_node *row = &list->u.items[k];
        struct fake_inst *i = inst_of(a, sk_map_str(row, "id", SK_STR("")));
        if (i != NULL && seq > a->ask_seq - 8 && seq <= a->ask_seq) {
            inst_leased(f, a, i, sk_map_int(row, "epoch", 0), sk_map_bool(row, "held", false),
                        lease_holder_until_ms(a->asked_ms[seq % 8]));
        }
    }
    sk_arena_free(arena);
}

static void post_asks(struct fake *f, struct fake_agent *a, const struct control_lease_ask *asks,
                      size_t nasks)
{
    struct control_event ev = {.kind = CONTROL_EV_LEASE};
    a->ask_seq++;
    a->asked_ms[a->ask_seq % 8] = f->now_ms;
    ev.u.lease.node = sk_str(a->name);
    ev.u.lease.from = SK_STR("life");
    ev.u.lease.seq = a->ask_seq;
    ev.u.lease.asks = asks;
    ev.u.lease.nasks = nasks;
    if (a->connected && reaches_control(f, a)) {
        fake_step(f, &ev);
    }
}

void fake_ask(struct fake *f, const char *node, const char *id, enum control_lease_ask_kind kind,
              int64_t epoch)
{
    struct control_lease_ask ask = {sk_str(id), kind, epoch};
    post_asks(f, fake_agent(f, node), &ask, 1);
}

static void send_asks(struct fake *f, struct fake_agent *a)
{
    struct control_lease_ask asks[FAKE_INSTS];
    size_t n = 0;

    a->next_ask_ms = INT64_MAX;
    for (size_t k = 0; k < a->ninsts; k++) {
        const struct fake_inst *i = &a->insts[k];
        bool runs = i->state == CONTROL_RUNNING || i->state == CONTROL_STOPPING;
        bool over = i->state == CONTROL_EXITED && i->epoch > i->released;
        if (i->exclusive && (runs || over || i->state == CONTROL_STARTING)) {
            asks[n++] = (struct control_lease_ask){sk_str(i->id),
                                                   runs   ? CONTROL_ASK_RENEW
                                                   : over ? CONTROL_ASK_RELEASE
                                                          : CONTROL_ASK_GRANT,
                                                   i->epoch};
        }
    }
    if (n > 0) {
        bool answered = a->answered_seq >= a->ask_seq;
        a->next_ask_ms = f->now_ms + (answered ? LEASE_RENEW_MS : LEASE_RETRY_MS);
        post_asks(f, a, asks, n);
    }
}

/* What the shim does, whatever else there is. */
static void lease_step(struct fake *f, struct fake_agent *a, struct fake_inst *i)
{
    bool runs = i->state == CONTROL_RUNNING || i->state == CONTROL_STOPPING;
    if (i->exclusive && runs && f->now_ms >= i->until_ms) {
        fake_note(f, "the lease of %s on %s ran out", i->label, a->name);
        i->state = i->want_run ? CONTROL_STARTING : CONTROL_EXITED;
        i->healthy = false;
        a->changed = true;
        a->next_ask_ms = f->now_ms;
    }
}

struct fake_inst *fake_exclusive(struct fake *f, const char *label, const char **ret_node)
{
    struct fake_inst *found = NULL;
    for (size_t i = 0; i < f->nagents; i++) {
        struct fake_agent *a = &f->agents[i];
        for (size_t k = 0; a->there && a->up && k < a->ninsts; k++) {
            struct fake_inst *it = &a->insts[k];
            if (sk_str_is(sk_str(label), it->label) && it->exclusive &&
                (found == NULL || it->state == CONTROL_RUNNING)) {
                found = it;
                *ret_node = a->name;
            }
        }
    }
    return found;
}

static void insts_step(struct fake *f, struct fake_agent *a)
{
    for (size_t k = 0; k < a->ninsts; k++) {
        struct fake_inst *i = &a->insts[k];
        lease_step(f, a, i);
        if (f->now_ms < i->next_ms) {
            continue;
        }
        if (i->state == CONTROL_PENDING && i->want_run && i->exclusive) {
            i->state = CONTROL_STARTING;
            a->next_ask_ms = f->now_ms;
            a->changed = true;
        } else if (i->state == CONTROL_PENDING && i->want_run) {
            i->state = CONTROL_RUNNING;
            i->healthy = !i->bad;
            i->next_ms = i->ends ? f->now_ms + 1000 : i->next_ms;
            a->changed = true;
        } else if (i->state == CONTROL_RUNNING && i->ends) {
            i->state = CONTROL_EXITED;
            i->healthy = false;
            i->exit = f->done_exit;
            a->changed = true;
        } else if (i->state == CONTROL_STOPPING) {
            i->state = CONTROL_EXITED;
            a->next_ask_ms = i->exclusive ? f->now_ms : a->next_ask_ms;
            a->changed = true;
        }
    }
}

static void agent_beat(struct fake *f, struct fake_agent *a)
{
    a->next_beat_ms = f->now_ms + CONTROL_BEAT_MS;
    probe_all(f, a);
    if (!reaches_control(f, a)) {
        if (a->cut_since_ms == 0) {
            a->cut_since_ms = f->now_ms;
        }
        if (f->now_ms - a->cut_since_ms >= 1000) {
            a->connected = false;
        }
        return;
    }
    a->cut_since_ms = 0;
    if (!a->connected) {
        send_hello(f, a);
        send_observe(f, a, true);
    }
    send_beat(f, a);
}

int64_t fake_agents_next(const struct fake *f)
{
    int64_t next = INT64_MAX;
    for (size_t i = 0; i < f->nagents; i++) {
        const struct fake_agent *a = &f->agents[i];
        if (!alive(a)) {
            continue;
        }
        next = a->next_beat_ms < next ? a->next_beat_ms : next;
        next = a->ask_seq > 0 && a->next_ask_ms < next ? a->next_ask_ms : next;
        for (size_t k = 0; k < a->ninsts; k++) {
            const struct fake_inst *inst = &a->insts[k];
            if ((inst->state == CONTROL_PENDING || inst->state == CONTROL_STOPPING ||
                 (inst->state == CONTROL_RUNNING && inst->ends)) &&
                inst->next_ms < next) {
                next = inst->next_ms > f->now_ms ? inst->next_ms : f->now_ms + 1;
            }
            if (inst->exclusive && inst->state == CONTROL_RUNNING && inst->until_ms < next) {
                next = inst->until_ms;
            }
        }
    }
    return next > f->now_ms ? next : f->now_ms + 1;
}

void fake_agents_step(struct fake *f)
{
    for (size_t i = 0; i < f->nagents; i++) {
        struct fake_agent *a = &f->agents[i];
        if (!alive(a)) {
            continue;
        }
        insts_step(f, a);
        if (f->now_ms >= a->next_beat_ms) {
            agent_beat(f, a);
        }
        if (a->next_ask_ms <= f->now_ms) {
            send_asks(f, a);
        }
        if (a->changed && a->connected && !a->held && reaches_control(f, a)) {
            send_observe(f, a, false);
        }
    }
}

/* ---- faults ---- */

void fake_kill(struct fake *f, const char *node)
{
    struct fake_agent *a = fake_agent(f, node);
    fake_note(f, "-- %s dies", node);
    a->up = a->connected = false;
    a->ninsts = 0;
    a->rev = 0;
    a->nprobe = 0;
    a->view[0] = '\0'; /* its ingress goes with it */
    a->front_view = a->front_next = 0;
}

void fake_start(struct fake *f, const char *node)
{
    struct fake_agent *a = fake_agent(f, node);
    fake_note(f, "-- %s starts", node);
    a->up = true;
    a->shown[0] = '\0';
    a->next_beat_ms = f->now_ms + 50 + a->phase_ms;
}

void fake_pause(struct fake *f, const char *node, bool paused)
{
    struct fake_agent *a = fake_agent(f, node);
    fake_note(f, "-- %s %s", node, paused ? "is paused" : "goes on");
    a->paused = paused;
    a->next_beat_ms = f->now_ms + 1;
}

void fake_hold(struct fake *f, const char *node, bool held)
{
    struct fake_agent *a = fake_agent(f, node);
    fake_note(f, "-- the channel of %s %s", node, held ? "is held up" : "goes on");
    a->held = held;
    if (!held && a->changed) {
        send_observe(f, a, false);
    }
}

void fake_stall_control(struct fake *f, int64_t ms)
{
    struct control_event tick = {.kind = CONTROL_EV_TICK};

    fake_note(f, "-- control stands still for %lld ms", (long long)ms);
    f->now_ms += ms;
    fake_step(f, &tick);
}

static void each_of(struct fake *f, const char *site, void (*what)(struct fake *, const char *))
{
    for (size_t i = 0; i < f->nagents; i++) {
        if (f->agents[i].there && sk_str_is(sk_str(site), f->agents[i].site)) {
            what(f, f->agents[i].name);
        }
    }
}

void fake_kill_site(struct fake *f, const char *site)
{
    each_of(f, site, fake_kill);
}

void fake_start_site(struct fake *f, const char *site)
{
    each_of(f, site, fake_start);
}

static bool in(const struct fake_agent *a, const char *site)
{
    return sk_str_is(sk_str(site), a->site);
}

void fake_link(struct fake *f, const char *site_a, const char *site_b, bool cut)
{
    fake_note(f, "-- link %s %s %s", site_a, site_b, cut ? "cut" : "healed");
    for (size_t i = 0; i < f->nagents; i++) {
        for (size_t k = 0; k < f->nagents; k++) {
            if ((in(&f->agents[i], site_a) && in(&f->agents[k], site_b)) ||
                (in(&f->agents[i], site_b) && in(&f->agents[k], site_a))) {
                f->cut[i][k] = cut;
            }
        }
    }
}

void fake_control_link(struct fake *f, const char *site, bool cut)
{
    fake_note(f, "-- link control %s %s", site, cut ? "cut" : "healed");
    for (size_t i = 0; i < f->nagents; i++) {
        if (in(&f->agents[i], site)) {
            f->control_cut[i] = cut;
        }
    }
}

void fake_isolate(struct fake *f, const char *site, bool cut)
{
    fake_note(f, "-- site %s %s", site, cut ? "cut off" : "healed");
    for (size_t i = 0; i < f->nagents; i++) {
        for (size_t k = 0; k < f->nagents; k++) {
            if (in(&f->agents[i], site) != in(&f->agents[k], site)) {
                f->cut[i][k] = cut;
            }
        }
        bool hub = sk_str_is(sk_str(site), "hub");
        if (in(&f->agents[i], site) != hub) {
            f->control_cut[i] = cut;
        }
    }
}

/* ---- looking ---- */

size_t fake_running(struct fake *f, const char *label_prefix, const char *site)
{
    size_t count = 0;
    for (size_t i = 0; i < f->nagents; i++) {
        const struct fake_agent *a = &f->agents[i];
        if (!a->there || !a->up || (site[0] && !in(a, site))) {
            continue;
        }
        for (size_t k = 0; k < a->ninsts; k++) {
            count += a->insts[k].state == CONTROL_RUNNING &&
                     sk_str_starts(sk_str(a->insts[k].label), sk_str(label_prefix));
        }
    }
    return count;
}

static void check_capacity(struct fake *f, const struct fake_agent *a)
{
    int64_t cpus = 0;
    for (size_t k = 0; k < a->ninsts; k++) {
        cpus += a->insts[k].state == CONTROL_EXITED ? 0 : a->insts[k].cpus;
    }
    if (a->cpus > 0 && cpus > a->cpus && f->broken[0] == '\0') {
        (void)snprintf(f->broken, sizeof(f->broken), "%lld: node %s over capacity: %lld of %lld",
                       (long long)f->now_ms, a->name, (long long)cpus, (long long)a->cpus);
    }
}

static bool still_double(struct fake *f, const char *label)
{
    size_t count = 0;
    for (size_t i = 0; i < f->nagents; i++) {
        const struct fake_agent *a = &f->agents[i];
        if (!alive(a) || f->control_cut[i] || !a->connected) {
            continue; /* a copy on a cut-off node is allowed: it is superseded */
        }
        for (size_t k = 0; k < a->ninsts; k++) {
            count += a->insts[k].state == CONTROL_RUNNING && a->insts[k].healthy &&
                     sk_str_is(sk_str(label), a->insts[k].label);
        }
    }
    return count > 1;
}

/* Two healthy reachable copies of one replica: since when. */
static void check_doubles(struct fake *f)
{
    size_t kept = 0;
    for (size_t i = 0; i < f->ndoubles; i++) {
        if (!f->frozen && still_double(f, f->doubles[i].label)) {
            int64_t age = f->now_ms - f->doubles[i].since_ms;
            f->doubles_max_ms = age > f->doubles_max_ms ? age : f->doubles_max_ms;
            f->doubles[kept++] = f->doubles[i];
        }
    }
    f->ndoubles = kept;
    for (size_t i = 0; i < f->nagents; i++) {
        for (size_t k = 0; k < f->agents[i].ninsts && f->ndoubles < 64; k++) {
            const char *label = f->agents[i].insts[k].label;
            bool known = false;
            for (size_t d = 0; d < f->ndoubles && !known; d++) {
                known = sk_str_is(sk_str(label), f->doubles[d].label);
            }
            if (!known && still_double(f, label)) {
                (void)snprintf(f->doubles[f->ndoubles].label, 96, "%s", label);
                f->doubles[f->ndoubles++].since_ms = f->now_ms;
            }
        }
    }
}

/* Cut-off nodes count: that is what leases are for. Paused ones run nothing. */
static void check_exclusive(struct fake *f)
{
    for (size_t i = 0; i < f->nagents; i++) {
        for (size_t k = 0; alive(&f->agents[i]) && k < f->agents[i].ninsts; k++) {
            const struct fake_inst *one = &f->agents[i].insts[k];
            size_t count = 0;
            for (size_t j = 0; one->exclusive && j < f->nagents; j++) {
                for (size_t m = 0; alive(&f->agents[j]) && m < f->agents[j].ninsts; m++) {
                    const struct fake_inst *other = &f->agents[j].insts[m];
                    count += sk_str_is(sk_str(one->label), other->label) &&
                             (other->state == CONTROL_RUNNING || other->state == CONTROL_STOPPING);
                }
            }
            if (count > 1 && f->broken[0] == '\0') {
                (void)snprintf(f->broken, sizeof(f->broken), "%lld: %s runs %zu times",
                               (long long)f->now_ms, one->label, count);
            }
        }
    }
}

void fake_check(struct fake *f)
{
    check_exclusive(f);
    for (size_t i = 0; i < f->nagents; i++) {
        if (f->agents[i].there) {
            check_capacity(f, &f->agents[i]);
        }
    }
    check_doubles(f);
}

/* ---- drills ---- */

static void cut_one(struct fake *f, struct fake_agent *a, bool cut)
{
    size_t i = index_of(f, a);
    for (size_t k = 0; k < f->nagents; k++) {
        if (!in(&f->agents[k], a->site)) {
            f->cut[i][k] = f->cut[k][i] = cut;
        }
    }
    f->control_cut[i] = cut;
}

bool fake_drill_take(struct fake *f, struct sk_str node, struct sk_str body,
                     struct control_event *ret)
{
    struct sk_arena *arena = sk_arena_new();
    const struct sk_node *root;
    char name[32];
    (void)snprintf(name, sizeof(name), "%.*s", SK_PRI(node));
    struct fake_agent *a = fake_agent(f, name);

    assert_int_equal(sk_json_read(arena, "drill", body, NULL, &root, NULL), 0);
    int64_t number = sk_map_int(root, "number", 0);
    int64_t ms = sk_map_int(root, "ms", -1);
    int op = control_drill_op_from_name(sk_map_str(root, "op", SK_STR("")));
    assert_int_equal(sk_map_int(root, "term", -1), control_term(f->c));
    sk_arena_free(arena);
    assert_true(op >= 0 && ms >= 0 && ms <= CONTROL_DRILL_MAX_MS && number > 0);
    if (a == NULL || a->mute_drill || !reaches_control(f, a)) {
        return false;
    }
    fake_note(f, "drill %s %s %lld ms", a->name, control_drill_op_name((enum control_drill_op)op),
              (long long)ms);
    *ret = (struct control_event){.kind = CONTROL_EV_DRILLED};
    ret->u.drilled.node = sk_str(a->name);
    ret->u.drilled.number = number;
    ret->u.drilled.op = (enum control_drill_op)op;
    ret->u.drilled.can = !a->cannot_cut && a->has_peers;
    ret->u.drilled.why = a->cannot_cut   ? SK_STR("nft is not installed")
                         : !a->has_peers ? SK_STR("it knows no server of another site")
                                         : SK_STR("");
    if (op == CONTROL_DRILL_CUT && !a->cannot_cut && a->drill_number != number) {
        a->drill_number = number;
        a->cut_until_ms = f->now_ms + ms;
        cut_one(f, a, true);
        return false; /* its answer does not get out any more */
    }
    if (op == CONTROL_DRILL_END && a->cut_until_ms > 0) {
        a->cut_until_ms = 0;
        cut_one(f, a, false);
    }
    return true;
}

void fake_drill_step(struct fake *f)
{
    for (size_t i = 0; i < f->nagents; i++) {
        struct fake_agent *a = &f->agents[i];
        if (a->cut_until_ms > 0 && f->now_ms >= a->cut_until_ms) {
            a->cut_until_ms = 0;
            cut_one(f, a, false);
            fake_note(f, "-- %s is not cut any more", a->name);
        }
    }
}

void fake_users(struct fake *f, int64_t each_beat, int64_t failed)
{
    f->users = each_beat;
    f->users_failed = failed;
}
