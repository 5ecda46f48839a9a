/* SPDX-License-Identifier: Apache-2.0 */
#include <stdarg.h>
#include <string.h>

#include "control/internal.h"

/*
 * What is done to have one, three or five control nodes (docs/control-nodes.md).
 *
 * The operation stands in the record `control` with its phase. Whoever leads looks at it twice a
 * second: what the phase needs and nodes have not said to be done is said to them again; what all
 * have said moves the phase on, by a transaction. So it does not matter who began it, which frame
 * was lost, or when control or a node died. The one step that is not of this kind, the move of the
 * state from one form to the other, is move.c.
 *
 * A node that says that it is (becoming) a control node and is none by the record is told to end
 * it: what an operation that was given up left behind goes away that way too, whenever it returns.
 */
#define LOOK_MS 500
#define LOST_MS 60000 /* a node that does not answer for so long: the operation is given up */
#define STUCK_MS 120000
#define SERVE_MS 60000 /* waited for a member to serve; then it counts as one all the same */

static struct ctl_growth *g_of(struct control *c)
{
    return &c->growth;
}

static struct ctl_seat *seat_of(struct control *c, const char *node)
{
    for (size_t i = 0; i < c->roster.count; i++) {
        if (strcmp(c->roster.seats[i].node, node) == 0) {
            return &c->roster.seats[i];
        }
    }
    return NULL;
}

/* ---- what nodes say ---- */

void ctl_seat_heard(struct control *c, const struct control_event *ev)
{
    struct ctl_growth *g = g_of(c);
    struct ctl_standing *r;
    size_t at;

    if (ctl_node(c, ev->u.seat.node) == NULL) {
        return;
    }
    if (!ctl_find(g->standings, g->nstandings, ev->u.seat.node, &at)) {
        if (ev->u.seat.stage == CONTROL_STAGE_NONE && ev->u.seat.id.len == 0) {
            return; /* most nodes are no control nodes */
        }
        r = sk_xcalloc(1, sizeof(*r));
        r->name = ctl_dup(ev->u.seat.node);
        g->standings = ctl_insert(g->standings, &g->nstandings, &g->capstandings, at, r);
    }
    r = g->standings[at];
    (void)snprintf(r->id, sizeof(r->id), "%.*s", SK_PRI(ev->u.seat.id));
    r->stage = ev->u.seat.stage;
    r->port = ev->u.seat.port;
    ctl_set(&r->peer_url, ev->u.seat.peer_url);
    ctl_set(&r->client_url, ev->u.seat.client_url);
    ctl_set(&r->error, ev->u.seat.error);
    g->next_ms = c->now_ms;
}

void ctl_etcd_done(struct control *c, const struct control_event *ev)
{
    struct ctl_growth *g = g_of(c);

    if (ev->u.etcd_done.kind > CONTROL_ETCD_REMOVE) {
        ctl_upkeep_done(c, ev);
        return;
    }
    g->etcd_busy = false;
    if (!ev->u.etcd_done.ok) {
        ctl_set(&g->problem, ev->u.etcd_done.error);
        return;
    }
    for (size_t i = 0; i < c->roster.count; i++) {
        if (sk_str_is(ev->u.etcd_done.url, c->roster.seats[i].peer_url)) {
            c->roster.seats[i].added = ev->u.etcd_done.kind != CONTROL_ETCD_REMOVE;
            c->roster.seats[i].promoted = ev->u.etcd_done.kind == CONTROL_ETCD_PROMOTE;
            c->roster.seats[i].removed = ev->u.etcd_done.kind == CONTROL_ETCD_REMOVE;
        }
    }
    if (ev->u.etcd_done.kind == CONTROL_ETCD_REMOVE && g->op.gone_url != NULL &&
        sk_str_is(ev->u.etcd_done.url, g->op.gone_url)) {
        g->gone_removed = true;
    }
    g->next_ms = c->now_ms;
}

/* ---- what is said to nodes ---- */

static struct control_command *seat_frame(struct control *c, const char *node,
                                          const struct sk_buf *body, bool secrets)
{
    struct control_command *cmd = ctl_out(c->out, CONTROL_CMD_SEAT);

    cmd->u.seat.node = sk_arena_str(c->out->arena, sk_str(node));
    cmd->u.seat.body = sk_arena_str(c->out->arena, sk_buf_str(body));
    cmd->u.seat.secrets = secrets;
    return cmd;
}

static void frame_begin(const struct control *c, struct sk_jw *w, struct sk_buf *out,
                        const char *type)
{
    sk_jw_init(w, out);
    sk_jw_obj(w);
    sk_jw_kint(w, "v", 1);
    sk_jw_kcstr(w, "type", type);
    sk_jw_kint(w, "rev", c->roster.mod_rev);
}

static void say_plain(struct control *c, const char *node, const char *type, const char *id)
{
    struct sk_buf out = SK_BUF_INIT;
    struct sk_jw w;

    frame_begin(c, &w, &out, type);
    sk_jw_kcstr(&w, "id", id);
    sk_jw_kbool(&w, "external", c->roster.external);
    sk_jw_obj_end(&w);
    seat_frame(c, node, &out, false)->u.seat.ends = strcmp(type, "control_leave") == 0;
    sk_buf_release(&out);
}

double ctl_seats_rtt(const struct control *c)
{
    double most = 1;

    for (size_t i = 0; i < c->roster.count; i++) {
        const struct ctl_node *a = ctl_node(c, sk_str(c->roster.seats[i].node));
        for (size_t k = 0; k < i; k++) {
            const struct ctl_node *b = ctl_node(c, sk_str(c->roster.seats[k].node));
            double ms;
            if (a != NULL && b != NULL && ctl_rtt_between(c, a->site, b->site, &ms) && ms > most) {
                most = ms;
            }
        }
    }
    return most;
}

/* The secrets, who the members of etcd are, and how they are reached. `join`: the members exist. */
static void say_grant(struct control *c, const struct ctl_seat *to, bool join)
{
    const struct ctl_growth *g = &c->growth;
    struct sk_buf out = SK_BUF_INIT;
    struct sk_jw w;

    frame_begin(c, &w, &out, "control_grant");
    sk_jw_kcstr(&w, "id", g->op.id);
    sk_jw_kcstr(&w, "token", g->token != NULL ? g->token : "");
    sk_jw_kbool(&w, "external", c->roster.external);
    sk_jw_kbool(&w, "join", join);
    sk_jw_knum(&w, "rtt_ms", ctl_seats_rtt(c));
    sk_jw_key(&w, "peers");
    sk_jw_arr(&w);
    for (size_t i = 0; i < c->roster.count && !c->roster.external; i++) {
        sk_jw_obj(&w);
        sk_jw_kcstr(&w, "name", c->roster.seats[i].node);
        sk_jw_kcstr(&w, "peer_url", c->roster.seats[i].peer_url);
        sk_jw_kcstr(&w, "client_url", c->roster.seats[i].client_url);
        sk_jw_obj_end(&w);
    }
    sk_jw_arr_end(&w);
    sk_jw_key(&w, "endpoints");
    sk_jw_arr(&w);
    for (size_t i = 0; i < g->nendpoints; i++) {
        sk_jw_cstr(&w, g->endpoints[i]);
    }
    sk_jw_arr_end(&w);
    sk_jw_obj_end(&w);
    (void)seat_frame(c, to->node, &out, true);
    sk_buf_release(&out);
}

static bool etcd_ask(struct control *c, enum control_etcd_kind kind, const char *url)
{
    struct control_command *cmd;

    if (c->growth.etcd_busy || url == NULL || url[0] == '\0') {
        return false;
    }
    c->growth.etcd_busy = true;
    cmd = ctl_out(c->out, CONTROL_CMD_ETCD);
    cmd->u.etcd.kind = kind;
    cmd->u.etcd.url = sk_arena_str(c->out->arena, sk_str(url));
    return true;
}

/* ---- phases ---- */

void ctl_phase_put(struct control *c, struct ctl_draft *d, struct ctl_req *req, const char *text)
{
    struct ctl_txn *t = ctl_txn_new(req);
    struct sk_buf out = SK_BUF_INIT;

    ctl_draft_write(c, d, &out);
    ctl_txn_put(t, ctl_key_text(t, "control", SK_STR("")), &out);
    ctl_txn_event(c, t,
                  &(struct ctl_evtext){.what = "control_nodes",
                                       .who = d->op.who != NULL && d->op.who[0] ? d->op.who : NULL,
                                       .text = text});
    sk_buf_release(&out);
    if (req != NULL) {
        struct sk_jw w;
        sk_jw_init(&w, &out);
        sk_jw_obj(&w);
        sk_jw_kcstr(&w, "format", "skerry.seats-begun/1");
        sk_jw_kcstr(&w, "id", d->op.id);
        sk_jw_kcstr(&w, "kind", ctl_op_name(d->op.kind));
        sk_jw_key(&w, "nodes");
        sk_jw_arr(&w);
        for (size_t i = 0; i < d->op.nnodes; i++) {
            sk_jw_cstr(&w, d->op.nodes[i]);
        }
        sk_jw_arr_end(&w);
        sk_jw_kcstr(&w, "text", text);
        sk_jw_obj_end(&w);
        ctl_txn_reply(t, sk_buf_str(&out));
        sk_buf_release(&out);
    }
    ctl_txn_send(c, t);
}

static void phase_to(struct control *c, struct sk_arena *arena, enum ctl_phase phase,
                     struct ctl_draft *d)
{
    const struct ctl_op *op = &c->growth.op;
    struct sk_str text =
        sk_arena_printf(arena, "%s: %s", ctl_op_name(op->kind), ctl_phase_name(phase));

    d->op.phase = phase;
    ctl_phase_put(c, d, NULL, text.ptr);
}

/* The operation ends: what it came to stays in the record until the next one. */
static void finish(struct control *c, struct ctl_draft *d, struct sk_arena *arena)
{
    const struct ctl_op *op = &c->growth.op;
    const char *error = op->error != NULL ? op->error : "";
    struct sk_buf last = SK_BUF_INIT;
    struct sk_str text;
    struct sk_jw w;

    sk_jw_init(&w, &last);
    sk_jw_obj(&w);
    sk_jw_kcstr(&w, "id", op->id);
    sk_jw_kcstr(&w, "kind", ctl_op_name(op->kind));
    sk_jw_kcstr(&w, "outcome", op->phase == CTL_PHASE_UNDO ? "undone" : "done");
    sk_jw_kcstr(&w, "error", error);
    sk_jw_kint(&w, "wall_ms", c->wall_ms);
    sk_jw_obj_end(&w);
    text = op->phase == CTL_PHASE_UNDO
               ? sk_arena_printf(arena, "%s was undone: %s", ctl_op_name(op->kind), error)
               : sk_arena_printf(arena, "%s is done: %zu control node%s", ctl_op_name(op->kind),
                                 d->count, d->count == 1 ? "" : "s");
    d->last = last.ptr;
    memset(&d->op, 0, sizeof(d->op));
    ctl_phase_put(c, d, NULL, text.ptr);
    sk_buf_release(&last);
}

void ctl_undo(struct control *c, const char *why)
{
    struct sk_arena *arena = sk_arena_new();
    struct ctl_draft d;

    ctl_draft_init(c, arena, &d);
    char *error = sk_xstrdup(why);
    d.op.error = error;
    phase_to(c, arena, CTL_PHASE_UNDO, &d);
    free(error);
    sk_arena_free(arena);
}

/* Nobody waits for a node that is lost: what it still has, it is told to end when it returns. One
 * that has just connected is there, whatever the verdict on it still says: what it said of itself
 * may come only once. */
static bool lost(const struct control *c, const char *node)
{
    const struct ctl_node *n = ctl_node(c, sk_str(node));
    return n == NULL || (n->life == CTL_LOST && !n->connected);
}

static bool away(const struct control *c, const char *node)
{
    return lost(c, node) || !ctl_node(c, sk_str(node))->connected;
}

static void __attribute__((format(printf, 2, 3))) waits(struct control *c, const char *fmt, ...)
{
    char text[512];
    va_list args;

    va_start(args, fmt);
    (void)vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    ctl_set(&c->growth.problem, sk_str(text));
}

/* It takes too long, or a node said that it cannot. */
static bool hopeless(struct control *c, const char *node, const struct ctl_standing *r)
{
    struct ctl_growth *g = g_of(c);
    int64_t waited = c->now_ms - g->phase_ms;
    char why[600];

    if (r != NULL && r->error[0] && strcmp(r->id, g->op.id) == 0 &&
        g->op.phase == CTL_PHASE_PREPARE) {
        (void)snprintf(why, sizeof(why), "node '%s': %s", node, r->error);
    } else if (away(c, node) && waited > LOST_MS) {
        (void)snprintf(why, sizeof(why), "node '%s' does not answer", node);
    } else if (waited > STUCK_MS) {
        (void)snprintf(why, sizeof(why), "node '%s' is not ready after %d s%s%s", node,
                       STUCK_MS / 1000, r != NULL && r->error[0] ? ": " : "",
                       r != NULL ? r->error : "");
    } else {
        waits(c, "node '%s'%s%s", node, r != NULL && r->error[0] ? ": " : "",
              r != NULL ? r->error : "");
        return false;
    }
    ctl_undo(c, why);
    return true;
}

static bool at_least(const struct control *c, const struct ctl_standing *r,
                     enum control_stage stage)
{
    return r != NULL && strcmp(r->id, c->growth.op.id) == 0 && r->stage >= stage;
}

/* How many of the operation's nodes are not so far; those are told, and waited for. */
static size_t prepare_missing(struct control *c)
{
    const struct ctl_op *op = &c->growth.op;
    size_t missing = 0;

    for (size_t i = 0; i < op->nnodes; i++) {
        const struct ctl_standing *r = ctl_standing(c, op->nodes[i]);
        if (at_least(c, r, CONTROL_STAGE_READY) && r->error[0] == '\0') {
            continue;
        }
        if (hopeless(c, op->nodes[i], r)) {
            return SIZE_MAX;
        }
        say_plain(c, op->nodes[i], "control_prepare", op->id);
        missing++;
    }
    return missing;
}

static void seat_fill(struct ctl_seat *m, const struct ctl_standing *r)
{
    m->node = r->name;
    m->peer_url = r->peer_url;
    m->client_url = r->client_url;
    m->port = r->port;
    m->state = CTL_SEAT_JOINING;
}

static void prepare_step(struct control *c)
{
    struct ctl_growth *g = g_of(c);
    struct sk_arena *arena;
    struct ctl_draft d;

    if (prepare_missing(c) != 0) {
        return;
    }
    arena = sk_arena_new();
    ctl_draft_init(c, arena, &d);
    if (!c->roster.etcd) {
        d.count = 0;
        d.token = g->op.id;
        for (size_t i = 0; i < g->op.nnodes; i++) {
            seat_fill(&d.seats[d.count++], ctl_standing(c, g->op.nodes[i]));
            if (strcmp(g->op.nodes[i], c->own_node) == 0) {
                d.seats[d.count - 1].state = CTL_SEAT_MEMBER;
            }
        }
        phase_to(c, arena, CTL_PHASE_MEMBERS, &d);
    } else {
        bool first = g->op.kind == CTL_OP_REPLACE && away(c, g->op.gone);
        phase_to(c, arena, first ? CTL_PHASE_REMOVE : CTL_PHASE_ADD, &d);
    }
    sk_arena_free(arena);
}

/* One that died between the two has forgotten that it was prepared: it is again. */
static void say_next(struct control *c, const struct ctl_seat *m, const struct ctl_standing *r,
                     bool join)
{
    if (!at_least(c, r, CONTROL_STAGE_READY)) {
        say_plain(c, m->node, "control_prepare", c->growth.op.id);
    } else if (!at_least(c, r, CONTROL_STAGE_GRANTED)) {
        say_grant(c, m, join);
    }
}

static void members_step(struct control *c)
{
    size_t missing = 0;

    for (size_t i = 0; i < c->roster.count; i++) {
        const struct ctl_standing *r = ctl_standing(c, c->roster.seats[i].node);
        if (at_least(c, r, CONTROL_STAGE_RUNNING)) {
            continue;
        }
        if (hopeless(c, c->roster.seats[i].node, r)) {
            return;
        }
        say_next(c, &c->roster.seats[i], r, false);
        missing++;
    }
    if (missing == 0) {
        struct sk_arena *arena = sk_arena_new();
        struct ctl_draft d;
        ctl_draft_init(c, arena, &d);
        phase_to(c, arena, CTL_PHASE_COPY, &d);
        sk_arena_free(arena);
    }
}

/* A member of etcd is one with its vote, whether its control half has begun or not. */
static bool served(const struct control *c, const struct ctl_seat *m)
{
    return at_least(c, ctl_standing(c, m->node), CONTROL_STAGE_SERVING) ||
           strcmp(m->node, c->own_node) == 0 || c->now_ms - c->growth.phase_ms > SERVE_MS;
}

static void join_step(struct control *c)
{
    struct sk_arena *arena = sk_arena_new();
    bool missing = false;
    struct ctl_draft d;

    ctl_draft_init(c, arena, &d);
    for (size_t i = 0; i < c->roster.count; i++) {
        if (!served(c, &c->roster.seats[i])) {
            waits(c, "node '%s' to serve", c->roster.seats[i].node);
            missing = true;
        }
        d.seats[i].state = CTL_SEAT_MEMBER;
    }
    if (!missing) {
        finish(c, &d, arena);
    }
    sk_arena_free(arena);
}

/* ---- over etcd: one more, one less ---- */

static const char *next_new(struct control *c)
{
    const struct ctl_op *op = &c->growth.op;

    for (size_t i = 0; i < op->nnodes; i++) {
        const struct ctl_seat *m = seat_of(c, op->nodes[i]);
        if (m == NULL || m->state == CTL_SEAT_JOINING) {
            return op->nodes[i];
        }
    }
    return NULL;
}

/* Added as a learner, started, promoted, serving: in this order, each until it is so. */
static void add_one(struct control *c, struct ctl_seat *m)
{
    const struct ctl_standing *r = ctl_standing(c, m->node);
    struct sk_arena *arena;
    struct ctl_draft d;

    if (!at_least(c, r, CONTROL_STAGE_SERVING) && hopeless(c, m->node, r)) {
        return;
    }
    if (!m->added && !c->roster.external) {
        (void)etcd_ask(c, CONTROL_ETCD_ADD, m->peer_url);
    } else if (!at_least(c, r, CONTROL_STAGE_GRANTED)) {
        say_next(c, m, r, true);
    } else if (!m->promoted && !c->roster.external) {
        (void)etcd_ask(c, CONTROL_ETCD_PROMOTE, m->peer_url);
    } else if (at_least(c, r, CONTROL_STAGE_SERVING)) {
        arena = sk_arena_new();
        ctl_draft_init(c, arena, &d);
        for (size_t i = 0; i < d.count; i++) {
            if (strcmp(d.seats[i].node, m->node) == 0) {
                d.seats[i].state = CTL_SEAT_MEMBER;
            }
        }
        phase_to(c, arena, CTL_PHASE_ADD, &d);
        sk_arena_free(arena);
    }
}

static void add_step(struct control *c)
{
    struct ctl_growth *g = g_of(c);
    const char *node = next_new(c);
    struct ctl_seat *m = node != NULL ? seat_of(c, node) : NULL;
    struct sk_arena *arena;
    struct ctl_draft d;

    if (m != NULL) {
        add_one(c, m);
        return;
    }
    arena = sk_arena_new();
    ctl_draft_init(c, arena, &d);
    if (node != NULL) {
        const struct ctl_standing *r = ctl_standing(c, node);
        if (r == NULL || r->stage < CONTROL_STAGE_READY) {
            if (!hopeless(c, node, r)) {
                say_plain(c, node, "control_prepare", g->op.id);
            }
        } else if (d.count < CONTROL_MEMBERS_MAX) {
            seat_fill(&d.seats[d.count++], r);
            phase_to(c, arena, CTL_PHASE_ADD, &d);
        }
    } else if (g->op.kind == CTL_OP_REPLACE && seat_of(c, g->op.gone) != NULL) {
        phase_to(c, arena, CTL_PHASE_REMOVE, &d);
    } else {
        finish(c, &d, arena);
    }
    sk_arena_free(arena);
}

/* First from the record, so that nobody counts on it; then from etcd. */
static void remove_step(struct control *c)
{
    struct ctl_growth *g = g_of(c);
    const struct ctl_seat *m = seat_of(c, g->op.gone);
    struct sk_arena *arena = sk_arena_new();
    struct ctl_draft d;

    ctl_draft_init(c, arena, &d);
    if (m != NULL) {
        d.op.gone_url = m->peer_url;
        ctl_draft_drop(&d, m->node);
        phase_to(c, arena, CTL_PHASE_REMOVE, &d);
    } else if (!g->gone_removed && !c->roster.external && g->op.gone_url != NULL &&
               g->op.gone_url[0]) {
        (void)etcd_ask(c, CONTROL_ETCD_REMOVE, g->op.gone_url);
    } else if (next_new(c) != NULL) {
        phase_to(c, arena, CTL_PHASE_ADD, &d);
    } else {
        finish(c, &d, arena);
    }
    sk_arena_free(arena);
}

/* ---- the end of it ---- */

/* What nodes have of control nodes that they are not to be; how many are still at it. */
static size_t leave_all(struct control *c)
{
    const struct ctl_growth *g = &c->growth;
    size_t missing = 0;

    for (size_t i = 0; i < g->nstandings; i++) {
        const struct ctl_standing *r = g->standings[i];
        const struct ctl_seat *m = seat_of(c, r->name);
        bool keeps = c->roster.etcd && m != NULL && m->state != CTL_SEAT_JOINING;
        bool older = strcmp(r->id, g->op.id) != 0 && r->stage >= CONTROL_STAGE_GRANTED;
        bool wanted = (g->op.kind != CTL_OP_NONE && g->op.phase != CTL_PHASE_UNDO &&
                       g->op.phase != CTL_PHASE_LEAVE && ctl_op_has(c, r->name)) ||
                      (g->op.phase == CTL_PHASE_JOIN && m != NULL);
        /* what one still has of an operation before must go before it can take part in this one */
        if (r->stage == CONTROL_STAGE_NONE || keeps || (wanted && !older) || lost(c, r->name)) {
            continue;
        }
        say_plain(c, r->name, "control_leave", r->id);
        waits(c, "node '%s' to leave", r->name);
        missing++;
    }
    return missing;
}

static void leave_step(struct control *c, size_t missing)
{
    struct sk_arena *arena;
    struct ctl_draft d;

    if (missing > 0) {
        return;
    }
    arena = sk_arena_new();
    ctl_draft_init(c, arena, &d);
    finish(c, &d, arena);
    sk_arena_free(arena);
}

static void undo_step(struct control *c, size_t missing)
{
    struct sk_arena *arena = sk_arena_new();
    struct ctl_draft d;

    ctl_draft_init(c, arena, &d);
    if (!c->roster.etcd) {
        if (missing == 0) {
            d.count = 0;
            d.seats[d.count++] = (struct ctl_seat){.node = c->own_node, .state = CTL_SEAT_MEMBER};
            d.token = NULL;
            d.external = false;
            d.nendpoints = 0;
            finish(c, &d, arena);
        }
        sk_arena_free(arena);
        return;
    }
    for (size_t i = 0; i < c->roster.count; i++) { /* not yet counted on */
        const struct ctl_seat *m = &c->roster.seats[i];
        if (m->state != CTL_SEAT_JOINING) {
            continue;
        }
        if (c->roster.external || m->removed) {
            ctl_draft_drop(&d, m->node);
            phase_to(c, arena, CTL_PHASE_UNDO, &d);
        } else {
            (void)etcd_ask(c, CONTROL_ETCD_REMOVE, m->peer_url);
        }
        sk_arena_free(arena);
        return;
    }
    if (missing == 0) {
        finish(c, &d, arena);
    }
    sk_arena_free(arena);
}

void ctl_grow_step(struct control *c)
{
    struct ctl_growth *g = g_of(c);
    size_t missing;

    if (c->pending != NULL || c->loading || c->now_ms < g->next_ms ||
        c->now_ms < c->next_retry_ms) {
        return;
    }
    missing = leave_all(c);
    g->next_ms = missing > 0 || g->op.kind != CTL_OP_NONE ? c->now_ms + LOOK_MS : INT64_MAX;
    if (g->op.kind == CTL_OP_NONE) {
        return;
    }
    if (g->fenced) {
        ctl_undo(c, g->problem != NULL && g->problem[0] ? g->problem : "it was given up");
        return;
    }
    switch (g->op.phase) {
    case CTL_PHASE_PREPARE:
        prepare_step(c);
        break;
    case CTL_PHASE_MEMBERS:
        members_step(c);
        break;
    case CTL_PHASE_COPY: /* move.c */
        break;
    case CTL_PHASE_JOIN:
        join_step(c);
        break;
    case CTL_PHASE_ADD:
        add_step(c);
        break;
    case CTL_PHASE_REMOVE:
        remove_step(c);
        break;
    case CTL_PHASE_LEAVE:
        leave_step(c, missing);
        break;
    case CTL_PHASE_UNDO:
        undo_step(c, missing);
        break;
    case CTL_PHASE_COUNT:
        SK_ASSERT(false && "no phase");
    }
}
