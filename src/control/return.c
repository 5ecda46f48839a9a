/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "control/return.h"

/*
 * The return: what failover placed elsewhere goes back, when nothing is lost any more.
 *
 *  1. Whole for CTL_RETURN_LOOK_MS: a plan is made at a price at which only written policies and
 *     goals move anything. Its moves are the diff that people are shown (control_return_json()).
 *  2. After the settle time, unless somebody holds it, it begins: the plan comes into force, with
 * an overlay that keeps every replica where it runs. So nothing has moved yet, and what is still to
 *     move is on record: a control that starts anew goes on from there.
 *  3. A few rows at a time leave the overlay, and the reconciler does the rest: a new copy first,
 *     the old one stopped when the new one is healthy. The next rows leave when those are done, and
 *     only where there is room beside what runs.
 *  4. A copy that does not get healthy goes back to where it was: its row is put back, and the rest
 *     is held for a person.
 * A loss meanwhile ends it (failover.c writes its own rows); the next return plans anew.
 *
 * Record `return`: the settings (auto, delay_ms), the hold (held_*), a permission that waits for
 * the plan (go_*), a return that was asked for although nothing is elsewhere (asked), what is under
 * way (begun_*, total, left, moving), and the last one that ended (done_*). Flat, so that it is
 * rewritten member by member.
 */
#define LOOK_MS 2000 /* whole for so long before it is planned */
#define AGAIN_MS 1000

/* ---- the plan of it ---- */

static int64_t overlay_rev(const struct control *c)
{
    size_t at;
    return ctl_find(c->pieces, c->npieces, SK_STR("overlay"), &at) ? c->pieces[at]->mod_rev : 0;
}

static void forget_plan(struct ctl_return *r)
{
    plan_free(r->plan);
    r->plan = NULL;
    r->planned = r->unmet = r->told = false;
}

static bool is_fresh(const struct control *c)
{
    return c->ret.planned && c->ret.basis == c->basis && c->ret.overlay_rev == overlay_rev(c);
}

static void ask_plan(struct control *c)
{
    struct ctl_mods mods = {0};
    struct ctl_job *job = ctl_job_new(c, CTL_JOB_RETURN, &mods, c->projects, c->nprojects, false);

    job->pub.why = "return";
    job->pub.input.move_price_hours = CTL_KEEP_PRICE_HOURS;
    c->ret.asked_overlay_rev = overlay_rev(c);
    ctl_job_send(c, job, CTL_SLOT_OWN);
}

void ctl_return_planned(struct control *c, struct ctl_job *job)
{
    struct ctl_return *r = &c->ret;

    if (job->basis != c->basis || r->asked_overlay_rev != overlay_rev(c) || job->result == NULL ||
        c->whole_ms < 0) {
        r->next_ms = c->now_ms + AGAIN_MS;
        return;
    }
    forget_plan(r);
    r->planned = true;
    r->basis = job->basis;
    r->overlay_rev = r->asked_overlay_rev;
    r->next_ms = c->now_ms;
    if (job->result->verdict != PLAN_OK || !job->verified) {
        r->unmet = true;
        ctl_note(c, "return_unmet", SK_STR(""), SK_STR(""),
                 "what was lost is back, but no plan meets the policies from here: "
                 "skerry rebalance");
        return;
    }
    r->plan = sk_steal(job->result);
}

int64_t ctl_return_begins_ms(const struct control *c)
{
    return ctl_i64_max(ctl_i64_max(c->whole_ms, c->ret.asked_ms), c->loaded_ms + c->grace_ms) +
           c->ret.delay_ms;
}

bool ctl_return_over_budget(const struct control *c)
{
    return c->ret.plan != NULL && c->ret.plan->nmoves > 0 &&
           (c->return_moves < 0 || c->ret.plan->nmoves > (size_t)c->return_moves);
}

/* "3 replicas move back to ams, fra": the sites that the moves lead to. */
struct sk_str ctl_return_text(const struct control *c, struct sk_arena *arena,
                              const struct plan *plan, bool begun)
{
    struct sk_buf names = SK_BUF_INIT;

    for (size_t s = 0; s < c->nsites; s++) {
        bool any = false;
        for (size_t i = 0; i < plan->nmoves && !any; i++) {
            const struct ctl_node *n = ctl_node(c, plan->moves[i].to);
            any = n != NULL && n->site == c->sites[s];
        }
        if (any) {
            sk_buf_printf(&names, "%s%s", names.len ? ", " : " to ", c->sites[s]->name);
        }
    }
    bool one = plan->nmoves == 1;
    struct sk_str text =
        sk_arena_printf(arena, "%zu replica%s %s back%.*s", plan->nmoves, one ? "" : "s",
                        !begun ? "would move"
                        : one  ? "moves"
                               : "move",
                        SK_PRI(sk_buf_str(&names)));
    sk_buf_release(&names);
    return text;
}

static void tell(struct control *c)
{
    struct ctl_return *r = &c->ret;
    struct sk_arena *arena = sk_arena_new();
    struct sk_str moves = ctl_return_text(c, arena, r->plan, false);

    if (r->go_by != NULL || r->told || r->plan->nmoves == 0) {
        /* nothing to ask anybody */
    } else if (r->held_by != NULL || r->off) {
        ctl_note(c, "return_held", SK_STR(""), SK_STR(""),
                 "%.*s; %s%s: skerry return shows them, skerry return --go makes them",
                 SK_PRI(moves), r->held_by ? "held by " : "the automatic return is off",
                 r->held_by ? r->held_by : "");
    } else if (ctl_return_over_budget(c)) {
        ctl_note(c, "return_budget", SK_STR(""), SK_STR(""),
                 "%.*s, more than the budget: skerry return shows them, skerry return --go makes "
                 "them",
                 SK_PRI(moves));
    } else {
        ctl_note(c, "return_planned", SK_STR(""), SK_STR(""),
                 "%.*s; begins in %lld s: skerry return shows them, skerry return --hold keeps "
                 "them where they are",
                 SK_PRI(moves),
                 (long long)(ctl_i64_max(0, ctl_return_begins_ms(c) - c->now_ms) + 999) / 1000);
    }
    r->told = true;
    sk_arena_free(arena);
}

/* ---- beginning ---- */

static void begin(struct control *c)
{
    struct ctl_return *r = &c->ret;
    struct plan *plan = sk_steal(r->plan);
    struct ctl_txn *t = ctl_txn_new(NULL);
    struct sk_buf out = SK_BUF_INIT;
    struct sk_jw w;
    const char *who = r->go_by ? sk_arena_str(t->arena, sk_str(r->go_by)).ptr : "control";

    ctl_notes_flush(c, t);
    sk_jw_init(&w, &out);
    sk_jw_arr(&w);
    for (size_t i = 0; i < plan->nmoves; i++) {
        const struct plan_move *m = &plan->moves[i];
        if (m->from.len > 0) {
            ctl_overlay_row(c, &w, m->project, m->service, m->replica, m->from);
        }
    }
    sk_jw_arr_end(&w);
    struct sk_str text = ctl_return_text(c, t->arena, plan, true);
    ctl_txn_event(
        c, t,
        &(struct ctl_evtext){
            .what = "return_begun", .who = who, .plan = sk_str(plan->id), .text = text.ptr});
    ctl_plan_put(c, t, plan, sk_str(who));
    ctl_txn_doc(c, t, "overlay", sk_buf_str(&out), sk_str(who));
    sk_buf_clear(&out);
    return_patch(&w, &out);
    sk_jw_kcstr(&w, "begun_by", who);
    sk_jw_kint(&w, "begun_wall_ms", c->wall_ms);
    sk_jw_kint(&w, "total", (int64_t)plan->nmoves);
    sk_jw_kint(&w, "left", r->go_by ? r->go_moves : (int64_t)plan->nmoves);
    sk_jw_knull(&w, "asked");
    return_patch_go_ends(&w);
    return_patch_end(c, t, &w, &out);
    forget_plan(r);
    ctl_txn_send(c, t);
}

/* Nothing has to move: what runs where failover put it stays there, and that is the plan now. */
static void stay(struct control *c)
{
    struct plan *plan = sk_steal(c->ret.plan);
    struct ctl_txn *t = ctl_txn_new(NULL);

    ctl_notes_flush(c, t);
    ctl_txn_event(c, t,
                  &(struct ctl_evtext){.what = "return_done",
                                       .plan = sk_str(plan->id),
                                       .text = "what was lost is back; no policy needs a move, so "
                                               "everything stays where it runs"});
    ctl_plan_adopt(c, t, plan, SK_STR("control"));
    forget_plan(&c->ret);
    ctl_txn_send(c, t);
}

static void interrupt(struct control *c)
{
    struct ctl_txn *t = ctl_txn_new(NULL);

    ctl_notes_flush(c, t);
    return_event(c, t, "return_interrupted",
                 sk_arena_printf(t->arena,
                                 "%zu replicas have not moved back yet: something was lost",
                                 c->noverlay));
    ctl_return_end(c, t, false);
    ctl_txn_send(c, t);
}

static bool may_begin(const struct control *c)
{
    const struct ctl_return *r = &c->ret;
    if (r->go_by != NULL) {
        return true;
    }
    bool due = c->now_ms >= ctl_return_begins_ms(c);
    return due &&
           (r->plan->nmoves == 0 || (!r->off && r->held_by == NULL && !ctl_return_over_budget(c)));
}

static void whole(struct control *c)
{
    struct ctl_return *r = &c->ret;

    if (r->begun_by != NULL) {
        if (c->now_ms >= r->next_ms && c->now_ms >= c->loaded_ms + c->grace_ms) {
            return_advance(c);
        }
        return;
    }
    if (c->noverlay == 0 && !r->asked) {
        if (r->planned) {
            forget_plan(r);
        }
        return;
    }
    if (is_fresh(c)) {
        if (r->plan != NULL && !r->told) {
            tell(c);
        }
        r->next_ms = ctl_return_begins_ms(c);
        if (r->plan != NULL && may_begin(c)) {
            (r->plan->nmoves > 0 ? begin : stay)(c);
        }
        return;
    }
    if (r->planned) { /* the world has changed since */
        forget_plan(r);
        r->next_ms = c->now_ms;
    }
    int64_t look = ctl_i64_max(c->whole_ms, c->loaded_ms + c->grace_ms) + LOOK_MS;
    r->next_ms = ctl_i64_max(r->next_ms, look);
    if (c->jobs[CTL_SLOT_OWN] == NULL && c->now_ms >= r->next_ms) {
        ask_plan(c);
    }
}

void ctl_return_step(struct control *c)
{
    struct ctl_return *r = &c->ret;

    if (c->frozen || ctl_any_lost(c) || ctl_any_away(c)) {
        c->whole_ms = -1;
        forget_plan(r);
        r->next_ms = INT64_MAX;
        if (r->begun_by != NULL && !c->frozen && c->pending == NULL &&
            c->now_ms >= c->next_retry_ms) {
            interrupt(c);
        }
        return;
    }
    if (c->whole_ms < 0) {
        c->whole_ms = r->next_ms = c->now_ms;
    }
    if (r->asked && r->asked_ms == 0) {
        r->asked_ms = r->next_ms = c->now_ms;
    } else if (!r->asked) {
        r->asked_ms = 0;
    }
    if (c->plan != NULL && c->pending == NULL && c->now_ms >= c->next_retry_ms) {
        whole(c);
    }
}
