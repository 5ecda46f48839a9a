/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "control/internal.h"

/*
 * The state moves from one form of the store to the other: the one step of growing and shrinking
 * that is not repeated at will.
 *
 * While the phase is `copy`, whoever has the state commits nothing and decides nothing; requests
 * wait, beats and routing go on. The daemon copies and ends with one transaction that makes the
 * other form the truth (the commit point): towards etcd the record `control` in it, towards SQLite
 * the mark `moved_to` in etcd, compared with the whole state that was copied. What was killed in
 * between is asked again: the daemon first looks whether that transaction took place. To give a
 * move up, it makes sure that it never will (`fenced`).
 */
#define RETRY_MS 1000
#define REFUSE_MS 3000    /* what waits for a move that fails for so long is told so */
#define PATIENCE_MS 20000 /* a move that fails for so long is given up, if it can be */
#define SHRINK_SILENCE_MS 20000
#define YIELD_SILENCE_MS 10000 /* who gives way leads again when nobody else does */

static bool goes_to(const struct control *c, const char *node)
{
    const struct ctl_op *op = &c->growth.op;
    return op->kind == CTL_OP_SHRINK && op->nnodes > 0 && strcmp(op->nodes[0], node) == 0;
}

bool ctl_shrinks_here(const struct control *c)
{
    return goes_to(c, c->own_node) && c->growth.op.phase == CTL_PHASE_COPY;
}

bool ctl_yields(const struct control *c)
{
    const struct ctl_op *op = &c->growth.op;
    bool to_other =
        op->kind == CTL_OP_SHRINK && op->phase == CTL_PHASE_COPY && !goes_to(c, c->own_node);
    bool goes = op->kind == CTL_OP_REPLACE && op->phase == CTL_PHASE_REMOVE && op->gone != NULL &&
                strcmp(op->gone, c->own_node) == 0;
    bool lately = c->now_ms - c->leader.seen_ms < YIELD_SILENCE_MS;

    return (to_other || goes) && lately && c->now_ms - c->growth.phase_ms < YIELD_SILENCE_MS;
}

int64_t ctl_silence_ms(const struct control *c)
{
    const struct ctl_op *op = &c->growth.op;

    if (op->kind == CTL_OP_SHRINK && op->phase == CTL_PHASE_COPY && !goes_to(c, c->own_node)) {
        return SHRINK_SILENCE_MS; /* it copies, and commits nothing meanwhile */
    }
    return ctl_yields(c) ? YIELD_SILENCE_MS : CTL_LEADER_SILENCE_MS;
}

static bool moved_away(const struct control *c)
{
    const struct ctl_growth *g = &c->growth;
    return c->roster.etcd && g->moved_to != NULL && g->moved_to[0] != '\0';
}

static bool holds(const struct control *c)
{
    const struct ctl_growth *g = &c->growth;

    if (moved_away(c)) {
        return true;
    }
    return g->op.kind != CTL_OP_NONE && g->op.phase == CTL_PHASE_COPY && !g->fenced &&
           (!c->roster.etcd || (c->leader.leads && goes_to(c, c->own_node)));
}

/* ---- what waits meanwhile ---- */

/* An abort must not wait for what it is to end. */
static void take_aborts(struct control *c)
{
    struct ctl_req **at = &c->queue;

    while (*at != NULL) {
        struct ctl_req *req = *at;
        if (req->kind != CTL_REQ_API || req->api.kind != CONTROL_REQ_ABORT) {
            at = &req->next;
            continue;
        }
        *at = req->next;
        c->growth.abort = true;
        ctl_reply_ok(c, req->id,
                     SK_STR("{\"format\":\"skerry.seats-begun/1\",\"text\":\"it is given up if it "
                            "has not taken place\"}"));
        ctl_req_free(req);
    }
    c->queue_end = at;
}

static void refuse_all(struct control *c, const char *why)
{
    struct sk_err err = {0};

    (void)sk_err_set(&err, SK_ERR_UNAVAILABLE, "the state is being moved: %s", why);
    (void)sk_err_fix(&err, "try again; 'skerry control status' tells how far it is");
    while (c->queue != NULL) {
        struct ctl_req *req = c->queue;
        c->queue = req->next;
        ctl_refuse(c, req, &err);
    }
    c->queue_end = &c->queue;
}

/* ---- the command ---- */

static struct sk_str keep(struct control *c, const struct sk_buf *text)
{
    return sk_arena_str(c->out->arena, sk_buf_str(text));
}

/* To etcd: all that were prepared join; over SQLite: one is left, and the others are to end. */
static void records_make(struct control *c, struct control_command *cmd, const char *attempt)
{
    struct sk_arena *arena = sk_arena_new();
    struct sk_buf out = SK_BUF_INIT;
    struct ctl_draft d;

    ctl_draft_init(c, arena, &d);
    d.attempt = attempt;
    if (!c->roster.etcd) {
        d.etcd = true;
        d.op.phase = CTL_PHASE_JOIN;
        ctl_draft_write(c, &d, &out);
        cmd->u.move.record = keep(c, &out);
    } else {
        d.moved_to = c->own_node;
        ctl_draft_write(c, &d, &out);
        cmd->u.move.mark = keep(c, &out);
        sk_buf_clear(&out);
        d.moved_to = NULL;
        d.etcd = d.external = false;
        d.token = NULL;
        d.nendpoints = 0;
        d.count = 0;
        d.seats[d.count++] = (struct ctl_seat){.node = c->own_node, .state = CTL_SEAT_MEMBER};
        d.op.phase = CTL_PHASE_LEAVE;
        ctl_draft_write(c, &d, &out);
        cmd->u.move.record = keep(c, &out);
    }
    sk_buf_release(&out);
    sk_arena_free(arena);
}

static void endpoints_add(struct control *c, struct control_command *cmd)
{
    struct ctl_growth *g = &c->growth;
    struct sk_str *list = SK_ARENA_ARRAY(c->out->arena, struct sk_str, CONTROL_MEMBERS_MAX + 1);
    size_t n = 0;

    for (size_t i = 0; i < g->nendpoints; i++) {
        list[n++] = sk_arena_str(c->out->arena, sk_str(g->endpoints[i]));
    }
    for (int own = 1; own >= 0 && g->nendpoints == 0; own--) { /* the own one first */
        for (size_t i = 0; i < c->roster.count; i++) {
            bool is_own = strcmp(c->roster.seats[i].node, c->own_node) == 0;
            if (is_own == (own == 1) && c->roster.seats[i].client_url[0]) {
                list[n++] = sk_arena_str(c->out->arena, sk_str(c->roster.seats[i].client_url));
            }
        }
    }
    cmd->u.move.endpoints = list;
    cmd->u.move.nendpoints = n;
}

static void move_ask(struct control *c)
{
    struct ctl_growth *g = &c->growth;
    struct control_command *cmd = ctl_out(c->out, CONTROL_CMD_MOVE);
    bool late = g->failing_ms >= 0 && c->now_ms - g->failing_ms > PATIENCE_MS;
    char attempt[33];

    if (moved_away(c)) {
        (void)snprintf(attempt, sizeof(attempt), "%s", g->attempt);
    } else {
        ctl_id(c, attempt);
    }
    cmd->u.move.id = sk_arena_str(c->out->arena, sk_str(g->op.id));
    cmd->u.move.to_etcd = !c->roster.etcd;
    cmd->u.move.give_up = !moved_away(c) && (g->abort || late);
    cmd->u.move.attempt = sk_arena_str(c->out->arena, sk_str(attempt));
    records_make(c, cmd, attempt);
    endpoints_add(c, cmd);
    g->moving = true;
}

bool ctl_move_step(struct control *c)
{
    struct ctl_growth *g = &c->growth;

    if (!holds(c)) {
        return false;
    }
    if (moved_away(c) && strcmp(g->moved_to, c->own_node) != 0) {
        char why[160];
        (void)snprintf(why, sizeof(why), "it is at node '%s' alone now", g->moved_to);
        refuse_all(c, why);
        return true;
    }
    take_aborts(c);
    if (c->pending == NULL && !g->moving && c->now_ms >= g->next_ms) {
        g->next_ms = INT64_MAX;
        move_ask(c);
    }
    return true;
}

void ctl_moved(struct control *c, const struct control_event *ev)
{
    struct ctl_growth *g = &c->growth;

    if (!g->moving) {
        return; /* of a control that was there before */
    }
    g->moving = false;
    switch (ev->u.moved.result) {
    case CONTROL_MOVE_DONE:
        break;
    case CONTROL_MOVE_OFF:
        g->fenced = true;
        if (g->abort) {
            ctl_set(&g->problem, SK_STR("it was aborted"));
        }
        g->next_ms = c->now_ms;
        return;
    case CONTROL_MOVE_FAILED:
        ctl_set(&g->problem, ev->u.moved.error);
        g->failing_ms = g->failing_ms < 0 ? c->now_ms : g->failing_ms;
        g->next_ms = c->now_ms + RETRY_MS;
        if (c->now_ms - g->failing_ms >= REFUSE_MS) {
            refuse_all(c, g->problem);
        }
        if (!c->roster.etcd) {
            return;
        }
        break; /* somebody else may have written: what is there now */
    }
    (void)ctl_out(c->out, CONTROL_CMD_LOAD);
    c->loading = true;
}
