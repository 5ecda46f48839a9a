/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "control/internal.h"

/* What people see of a return, and what they ask for (return.c does it). */

enum state {
    STATE_NONE,
    STATE_LOST,     /* something is still lost */
    STATE_PLANNING, /* not known yet what would move */
    STATE_WAITING,  /* begins by itself */
    STATE_HELD,     /* waits for a person */
    STATE_UNMET,    /* no plan meets the policies */
    STATE_UNDER_WAY,
    STATE_DONE
};
static const char *const state_names[] = {"none", "lost",  "planning",  "waiting",
                                          "held", "unmet", "under_way", "done"};

static enum state state_of(const struct control *c)
{
    const struct ctl_return *r = &c->ret;

    if (r->begun_by != NULL) {
        return r->held_by != NULL ? STATE_HELD : STATE_UNDER_WAY;
    }
    if (c->noverlay == 0 && !r->asked) {
        return r->done_wall_ms > 0 ? STATE_DONE : STATE_NONE;
    }
    if (c->frozen || ctl_any_lost(c) || ctl_any_away(c)) {
        return STATE_LOST;
    }
    if (r->unmet) {
        return STATE_UNMET;
    }
    if (r->plan == NULL) {
        return STATE_PLANNING;
    }
    bool waits = r->go_by != NULL || r->plan->nmoves == 0 ||
                 (!r->off && r->held_by == NULL && !ctl_return_over_budget(c));
    return waits ? STATE_WAITING : STATE_HELD;
}

/* Why a person is needed; NULL: none is. */
static const char *held_why(const struct control *c, enum state state)
{
    const struct ctl_return *r = &c->ret;
    if (state != STATE_HELD) {
        return NULL;
    }
    if (r->held_by != NULL) {
        return r->held_why ? r->held_why : "held by hand";
    }
    return r->off ? "the automatic return is off" : "more moves than the budget";
}

static bool is_moving(const struct ctl_return *r, const struct plan_move *m)
{
    for (size_t i = 0; i < r->nmoving; i++) {
        if (r->moving[i].replica == m->replica && sk_str_is(m->service, r->moving[i].service) &&
            sk_str_is(m->project, r->moving[i].project)) {
            return true;
        }
    }
    return false;
}

static bool in_overlay(const struct control *c, const struct plan_move *m)
{
    for (size_t i = 0; i < c->noverlay; i++) {
        if (c->overlay[i].replica == m->replica && sk_str_is(m->service, c->overlay[i].service) &&
            sk_str_is(m->project, c->overlay[i].project)) {
            return true;
        }
    }
    return false;
}

/* The moves that are shown: of the plan that waits, or of the one that is being carried out. */
static const struct plan *shown_plan(const struct control *c)
{
    return c->ret.begun_by != NULL ? c->plan->plan : c->ret.plan;
}

static void end_json(const struct control *c, struct sk_jw *w, const char *node_key,
                     const char *site_key, struct sk_str node)
{
    const struct ctl_node *n = ctl_node(c, node);
    sk_jw_kstr(w, node_key, node);
    sk_jw_kcstr(w, site_key, n ? n->site->name : "");
}

static void moves_json(const struct control *c, struct sk_jw *w)
{
    const struct plan *plan = shown_plan(c);

    sk_jw_key(w, "moves");
    sk_jw_arr(w);
    for (size_t i = 0; plan != NULL && i < plan->nmoves; i++) {
        const struct plan_move *m = &plan->moves[i];
        bool begun = c->ret.begun_by != NULL;
        sk_jw_obj(w);
        sk_jw_kstr(w, "project", m->project);
        sk_jw_kstr(w, "service", m->service);
        sk_jw_kint(w, "replica", m->replica);
        end_json(c, w, "from", "from_site", m->from);
        end_json(c, w, "to", "to_site", m->to);
        sk_jw_kstr(w, "why", m->why);
        sk_jw_kcstr(w, "state",
                    begun && is_moving(&c->ret, m)                     ? "moving"
                    : begun && (m->from.len == 0 || !in_overlay(c, m)) ? "done"
                                                                       : "waiting");
        sk_jw_obj_end(w);
    }
    sk_jw_arr_end(w);
}

static void state_json(const struct control *c, struct sk_jw *w)
{
    const struct ctl_return *r = &c->ret;
    enum state state = state_of(c);
    const char *why = held_why(c, state);
    const struct plan *plan = shown_plan(c);

    sk_jw_kcstr(w, "state", state_names[state]);
    if (state == STATE_WAITING) {
        int64_t in_ms = r->go_by != NULL ? 0 : ctl_return_begins_ms(c) - c->now_ms;
        sk_jw_kint(w, "begins_in_ms", ctl_i64_max(0, in_ms));
    } else {
        sk_jw_knull(w, "begins_in_ms");
    }
    if (why != NULL) {
        sk_jw_kcstr(w, "held_why", why);
    } else {
        sk_jw_knull(w, "held_why");
    }
    sk_jw_kcstr(w, "held_by", r->held_by ? r->held_by : "");
    if (plan != NULL) {
        struct sk_arena *arena = sk_arena_new();
        sk_jw_kint(w, "total", (int64_t)plan->nmoves);
        sk_jw_kint(w, "moving", (int64_t)r->nmoving);
        sk_jw_kint(w, "left", r->begun_by ? (int64_t)c->noverlay : (int64_t)plan->nmoves);
        sk_jw_kstr(w, "text", ctl_return_text(c, arena, plan, r->begun_by != NULL));
        sk_arena_free(arena);
    }
}

void ctl_return_status_json(const struct control *c, struct sk_jw *w)
{
    enum state state = state_of(c);

    sk_jw_key(w, "return");
    if (state == STATE_NONE || state == STATE_DONE) {
        sk_jw_null(w);
        return;
    }
    sk_jw_obj(w);
    state_json(c, w);
    sk_jw_obj_end(w);
}

void control_return_json(const struct control *c, struct sk_buf *out)
{
    const struct ctl_return *r = &c->ret;
    struct sk_jw w;

    sk_jw_init(&w, out);
    sk_jw_obj(&w);
    sk_jw_kcstr(&w, "format", "skerry.return/1");
    state_json(c, &w);
    sk_jw_kint(&w, "held_wall_ms", r->held_wall_ms);
    sk_jw_kcstr(&w, "begun_by", r->begun_by ? r->begun_by : "");
    sk_jw_kint(&w, "begun_wall_ms", r->begun_wall_ms);
    sk_jw_kint(&w, "may_begin", r->begun_by ? r->left : -1);
    sk_jw_kint(&w, "done_wall_ms", r->done_wall_ms);
    sk_jw_kint(&w, "done_moves", r->done_moves);
    sk_jw_kbool(&w, "auto", !r->off);
    sk_jw_kint(&w, "delay_ms", r->delay_ms);
    sk_jw_kint(&w, "budget", ctl_i64_max(0, c->return_moves));
    moves_json(c, &w);
    sk_jw_obj_end(&w);
}

/* ---- requests ---- */

static int check(const struct control_request *q, struct sk_err *err)
{
    if (q->u.ret.hold && q->u.ret.go) {
        return sk_err_set(err, SK_ERR_INPUT, "hold and go exclude each other");
    }
    if (!q->u.ret.hold && !q->u.ret.go && q->u.ret.automatic < 0 && q->u.ret.delay_ms < 0) {
        return sk_err_set(err, SK_ERR_INPUT, "nothing is asked for: hold, go, auto or delay_ms");
    }
    if (q->u.ret.max_moves >= 0 && !q->u.ret.go) {
        return sk_err_set(err, SK_ERR_INPUT, "max_moves belongs to go");
    }
    if (q->u.ret.max_moves == 0) {
        return sk_err_set(err, SK_ERR_INPUT, "max_moves must be 1 or more");
    }
    if (q->u.ret.delay_ms > CONTROL_RETURN_DELAY_MAX_MS) {
        return sk_err_set(err, SK_ERR_INPUT, "the delay is at most 24h");
    }
    return 0;
}

static void go_patch(const struct control *c, const struct control_request *q, struct sk_jw *w)
{
    const struct ctl_return *r = &c->ret;

    sk_jw_knull(w, "held_by");
    sk_jw_knull(w, "held_wall_ms");
    sk_jw_knull(w, "held_why");
    if (r->begun_by != NULL) {
        sk_jw_kint(w, "left", q->u.ret.max_moves);
    } else if (c->noverlay > 0 || r->asked) {
        sk_jw_kstr(w, "go_by", q->who);
        sk_jw_kint(w, "go_moves", q->u.ret.max_moves);
    }
}

static const char *go_text(const struct control *c)
{
    switch (state_of(c)) {
    case STATE_NONE:
    case STATE_DONE:
        return "nothing is held any more; there is nothing to move back";
    case STATE_LOST:
        return "begins as soon as nothing is lost";
    case STATE_UNMET:
        return "no plan meets the policies from here: skerry rebalance";
    case STATE_PLANNING:
    case STATE_WAITING:
    case STATE_HELD:
    case STATE_UNDER_WAY:
        break;
    }
    return "begins now";
}

void ctl_req_return(struct control *c, struct ctl_req *req)
{
    const struct control_request *q = &req->api;
    struct sk_buf patch = SK_BUF_INIT, text = SK_BUF_INIT;
    struct sk_err err = {0};
    struct sk_jw w;

    if (check(q, &err) < 0) {
        ctl_refuse(c, req, &err);
        return;
    }
    struct ctl_txn *t = ctl_txn_new(req);
    sk_jw_init(&w, &patch);
    sk_jw_obj(&w);
    sk_jw_kint(&w, "v", 1);
    if (q->u.ret.automatic >= 0) {
        sk_jw_kbool(&w, "auto", q->u.ret.automatic > 0);
        sk_buf_printf(&text, "the automatic return is %s", q->u.ret.automatic > 0 ? "on" : "off");
    }
    if (q->u.ret.delay_ms >= 0) {
        sk_jw_kint(&w, "delay_ms", q->u.ret.delay_ms);
        sk_buf_printf(&text, "%sa return begins after %lld ms", text.len ? "; " : "",
                      (long long)q->u.ret.delay_ms);
    }
    if (q->u.ret.hold) {
        sk_jw_kstr(&w, "held_by", q->who);
        sk_jw_kint(&w, "held_wall_ms", c->wall_ms);
        sk_jw_knull(&w, "held_why");
        sk_jw_knull(&w, "go_by");
        sk_jw_knull(&w, "go_moves");
        sk_buf_printf(&text, "%sheld: nothing moves back until skerry return --go%s",
                      text.len ? "; " : "",
                      c->ret.nmoving ? "; what is moving now gets there" : "");
    }
    if (q->u.ret.go) {
        go_patch(c, q, &w);
        sk_buf_printf(&text, "%s%s", text.len ? "; " : "", go_text(c));
    }
    sk_jw_obj_end(&w);
    ctl_put_merged(t, SK_STR(CTL_PREFIX "return"), c->ret.raw, sk_buf_str(&patch));
    ctl_set_finish(c, t,
                   &(struct ctl_evtext){.what = q->u.ret.hold ? "return_hold"
                                                : q->u.ret.go ? "return_go"
                                                              : "return_set",
                                        .who = sk_arena_str(t->arena, q->who).ptr,
                                        .text = text.ptr});
    sk_buf_release(&patch);
    sk_buf_release(&text);
}
