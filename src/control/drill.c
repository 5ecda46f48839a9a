/* SPDX-License-Identifier: Apache-2.0 */
#include "control/drill.h"
#include "control/front.h"

#include <string.h>

/*
 * The machine of drills (docs/drill.md). Level-triggered: from the phase on record, what the nodes
 * say and the time to the next phase, one transaction each. What a phase means is not done here:
 * the routing views and failover look at the marks of the site (ctl_drill_apply), agents at the
 * frames. So a control that has just read the record goes on as if it had been there.
 */

static const char *const phase_names[CTL_DRILL_PHASE_COUNT] = {
    [CTL_DRILL_TRAFFIC] = "traffic", [CTL_DRILL_WORK] = "work",     [CTL_DRILL_CUT] = "cut",
    [CTL_DRILL_HOLD] = "hold",       [CTL_DRILL_RETURN] = "return",
};

const char *drill_phase_name(enum ctl_drill_phase phase)
{
    return phase < CTL_DRILL_PHASE_COUNT ? phase_names[phase] : "done";
}

int drill_phase_from_name(struct sk_str name)
{
    for (int i = 0; i < CTL_DRILL_PHASE_COUNT; i++) {
        if (sk_str_is(name, phase_names[i])) {
            return i;
        }
    }
    return -1;
}

static const char *const op_names[CONTROL_DRILL_OPS] = {"check", "cut", "end"};

const char *control_drill_op_name(enum control_drill_op op)
{
    return op_names[op];
}

int control_drill_op_from_name(struct sk_str name)
{
    for (int i = 0; i < CONTROL_DRILL_OPS; i++) {
        if (sk_str_is(name, op_names[i])) {
            return i;
        }
    }
    return -1;
}

/* ---- whom a hard drill cuts off from whom ---- */

bool ctl_drill_tells(const struct control *c, const struct ctl_node *n)
{
    return c->drill_site != NULL && strcmp(c->drill_site, n->site->name) == 0;
}

static void tell_site(struct control *c, const char *site)
{
    if (c->drill_site == NULL ? site == NULL : site != NULL && strcmp(c->drill_site, site) == 0) {
        return;
    }
    free(c->drill_site);
    c->drill_site = site != NULL ? sk_xstrdup(site) : NULL;
    c->dirty_all = true;
}

/* ---- records ---- */

static void mark(struct control *c, const struct ctl_drill *d)
{
    for (size_t i = 0; i < c->nsites; i++) {
        struct ctl_site *s = c->sites[i];
        bool it = d != NULL && !d->hard && sk_str_is(sk_str(s->name), d->site);
        s->away = it && (d->phase == CTL_DRILL_WORK || d->phase == CTL_DRILL_HOLD);
        s->off = s->away || (it && d->phase == CTL_DRILL_TRAFFIC);
        s->own_off = s->away || (s->off && s->own_off);
    }
    c->dirty_views = c->dirty_reconcile = c->dirty_all = true;
    c->stamp++;
}

/* How long ago by the record's clock, within reason: clocks step, and may not stop a drill. */
static int64_t age_ms(const struct control *c, int64_t wall_ms)
{
    return ctl_i64_min(ctl_i64_max(0, c->wall_ms - wall_ms), CONTROL_DRILL_MAX_MS);
}

static void take_live(struct control *c, struct ctl_drill *d, const struct ctl_drill *old)
{
    for (int i = 0; i < CTL_DRILL_PHASE_COUNT; i++) {
        d->at_ms[i] = old != NULL && old->wall_ms[i] != 0 ? old->at_ms[i]
                      : d->wall_ms[i] != 0                ? c->now_ms - age_ms(c, d->wall_ms[i])
                                                          : 0;
    }
    d->served_ms = d->less_ms = -1;
    d->base_requests = old != NULL ? old->base_requests : c->front_requests;
    d->base_errors = old != NULL ? old->base_errors : c->front_errors;
    if (old != NULL) {
        memcpy(d->samples, old->samples, sizeof(d->samples));
        d->nsamples = old->nsamples;
        if (d->phase != CTL_DRILL_RETURN || d->hard) {
            d->requests = old->requests;
            d->errors = old->errors;
        }
    }
    if (strcmp(d->life, c->leader.own) != 0) { /* if we go on with it, what that one saw is lost */
        d->restarts++;
    }
    for (size_t i = 0; old != NULL && i < d->nkept && i < old->nkept; i++) {
        if (old->kept[i].least >= 0 && d->phase != CTL_DRILL_RETURN) {
            d->kept[i].least = old->kept[i].least;
        }
    }
}

void ctl_drill_apply(struct control *c, const struct sk_node *rec, struct sk_str raw,
                     int64_t mod_rev)
{
    struct ctl_drill *old = c->drill;

    if (old != NULL && old->mod_rev == mod_rev) {
        return; /* read again */
    }
    struct ctl_drill *d = drill_read(rec);
    if (d == NULL) {
        return; /* of a later version: nothing of it is done here */
    }
    d->raw = ctl_dup(raw);
    d->mod_rev = mod_rev;
    take_live(c, d, old != NULL && old->number == d->number ? old : NULL);
    drill_free(old);
    c->drill = d;
    tell_site(c, d->hard ? d->site : NULL);
    mark(c, d);
}

void ctl_drill_remove(struct control *c)
{
    drill_free(c->drill);
    c->drill = NULL;
    mark(c, NULL);
}

static void report_free(struct ctl_report *r)
{
    free(r->key);
    free(r->json);
    free(r);
}

void ctl_report_apply(struct control *c, struct sk_str key, struct sk_str raw)
{
    size_t at;
    if (!ctl_find(c->reports, c->nreports, key, &at)) {
        struct ctl_report *fresh = sk_xcalloc(1, sizeof(*fresh));
        fresh->key = ctl_dup(key);
        c->reports = ctl_insert(c->reports, &c->nreports, &c->capreports, at, fresh);
    }
    ctl_set(&c->reports[at]->json, raw);
}

void ctl_report_remove(struct control *c, struct sk_str key)
{
    size_t at;
    if (ctl_find(c->reports, c->nreports, key, &at)) {
        report_free(c->reports[at]);
        ctl_erase(c->reports, &c->nreports, at);
    }
}

void ctl_drills_clear(struct control *c)
{
    for (size_t i = 0; i < c->nreports; i++) {
        report_free(c->reports[i]);
    }
    free(c->reports);
    drill_free(c->drill);
    ctl_req_free(c->drill_req);
}

/* ---- what the nodes say ---- */

/* Counters begin again when their skerryd does; one that went back counts from there. */
static int64_t grown(int64_t *last, int64_t now)
{
    int64_t more = now >= *last ? now - *last : now;
    *last = now;
    return more;
}

void ctl_drill_front(struct control *c, struct ctl_node *n, const struct control_event *ev)
{
    bool known = n->has_front || n->front_requests > 0;

    ctl_front_heard(c, n, ev->u.beat.has_front, ev->u.beat.front_view);
    if (!n->has_front) {
        return;
    }
    int64_t requests = grown(&n->front_requests, ctl_i64_max(0, ev->u.beat.front_requests));
    int64_t errors = grown(&n->front_errors, ctl_i64_max(0, ev->u.beat.front_errors));
    if (known) { /* else it is all that was before control knew it */
        c->front_requests += requests;
        c->front_errors += ctl_i64_min(errors, requests);
    }
}

static void drill_frame(struct control *c, const struct ctl_node *n, int64_t number, const char *op,
                        int64_t ms)
{
    struct sk_buf body = SK_BUF_INIT;
    struct sk_jw w;

    sk_jw_init(&w, &body);
    sk_jw_obj(&w);
    sk_jw_kint(&w, "v", 1);
    sk_jw_kcstr(&w, "type", "drill");
    sk_jw_kint(&w, "term", c->leader.term);
    sk_jw_kint(&w, "number", number);
    sk_jw_kcstr(&w, "op", op);
    sk_jw_kint(&w, "ms", ms);
    sk_jw_obj_end(&w);
    struct control_command *cmd = ctl_out(c->out, CONTROL_CMD_DRILL);
    cmd->u.drill.node = sk_arena_str(c->out->arena, sk_str(n->name));
    cmd->u.drill.body = sk_arena_str(c->out->arena, sk_buf_str(&body));
    sk_buf_release(&body);
}

/* To those of the site that are heard. */
static void drill_frames(struct control *c, const struct ctl_site *s, int64_t number,
                         const char *op, int64_t ms)
{
    for (size_t i = 0; i < c->nnodes; i++) {
        const struct ctl_node *n = c->nodes[i];
        if (n->site == s && n->connected && c->now_ms - n->last_beat_ms <= CONTROL_SUSPECT_MS) {
            drill_frame(c, n, number, op, ms);
        }
    }
}

/* A node that has taken the list of those that it would be cut off from is asked whether it can. */
static void check_frames(struct control *c, const struct ctl_req *req)
{
    for (size_t i = 0; i < c->nnodes; i++) {
        struct ctl_node *n = c->nodes[i];
        if (ctl_drill_tells(c, n) && !n->drill_asked && n->connected && !n->dirty &&
            !c->dirty_all && n->rev != 0 && n->acked_rev >= n->rev) {
            n->drill_asked = true;
            drill_frame(c, n, c->drill_number, "check", req->api.u.drill.for_ms);
        }
    }
}

/* ---- looking ---- */

static const struct ctl_site *site_of(const struct control *c, const struct ctl_drill *d)
{
    return ctl_site(c, sk_str(d->site));
}

static const struct ctl_inst *healthy_elsewhere(const struct ctl_svc *s, int64_t replica,
                                                const struct ctl_site *site)
{
    const struct ctl_inst *found = NULL;
    for (size_t k = 0; k < s->ninsts; k++) {
        const struct ctl_inst *i = s->insts[k];
        if (i->replica == replica && i->role != CTL_STOPPING && i->node->site != site &&
            ctl_inst_healthy(i) && (found == NULL || i->healthy_ms < found->healthy_ms)) {
            found = i;
        }
    }
    return found;
}

/* Not reported yet counts as it was: a control that has just started must not end a drill. */
static bool there(const struct control *c, const struct ctl_svc *s, int64_t replica,
                  const struct ctl_site *site)
{
    for (size_t k = 0; k < s->ninsts; k++) {
        const struct ctl_inst *i = s->insts[k];
        if (i->replica == replica && i->role != CTL_STOPPING && i->node->site != site &&
            (ctl_inst_healthy(i) || (i->presumed && !c->grace_over))) {
            return true;
        }
    }
    return false;
}

static void look_kept(struct control *c, struct ctl_drill *d, const struct ctl_site *site,
                      bool *ret_less)
{
    for (size_t k = 0; k < d->nkept; k++) {
        struct drill_kept *row = &d->kept[k];
        const struct ctl_svc *s = ctl_svc(c, sk_str(row->project), sk_str(row->service));
        int64_t kept = 0;
        int64_t all = 0;
        for (size_t r = 0; s != NULL && r < s->nplace; r++) {
            bool is = there(c, s, (int64_t)r, site);
            bool stays =
                !s->place[r].overlay && s->place[r].node != NULL && s->place[r].node->site != site;
            all += is;
            kept += is && stays;
        }
        row->least = row->least < 0 ? kept : ctl_i64_min(row->least, kept);
        *ret_less = *ret_less || (row->promise >= 0 && all < row->promise);
    }
}

/* When the site went, by this control's clock: what was re-placed is timed from there. */
static int64_t gone_ms(const struct ctl_drill *d)
{
    return d->hard ? d->at_ms[CTL_DRILL_CUT] : d->at_ms[CTL_DRILL_WORK];
}

static bool look_lines(struct control *c, struct ctl_drill *d, const struct ctl_site *site)
{
    bool all = true;
    int64_t last = -1;

    for (size_t k = 0; k < d->nlines; k++) {
        struct drill_line *row = &d->lines[k];
        const struct ctl_svc *s = ctl_svc(c, sk_str(row->project), sk_str(row->service));
        const struct ctl_inst *i =
            row->seen_node == NULL && s != NULL ? healthy_elsewhere(s, row->replica, site) : NULL;
        if (i != NULL) {
            ctl_set(&row->seen_node, sk_str(i->node->name));
            ctl_set(&row->seen_site, sk_str(i->node->site->name));
            row->ms = ctl_i64_max(0, i->healthy_ms - gone_ms(d));
        }
        all = all && row->seen_node != NULL;
        last = ctl_i64_max(last, row->ms);
    }
    if (all && d->nlines > 0) {
        d->replaced.ms = last;
    }
    return all;
}

static void look_shorts(const struct control *c, struct ctl_drill *d, const struct ctl_site *site)
{
    for (size_t k = 0; k < d->nshorts; k++) {
        struct drill_short *row = &d->shorts[k];
        const struct ctl_svc *s = ctl_svc(c, sk_str(row->project), sk_str(row->service));
        row->seen = 0;
        for (size_t r = 0; s != NULL && r < s->nplace; r++) {
            row->seen += s->place[r].node != NULL && s->place[r].node->site == site;
        }
    }
}

static bool ingress_serves(const struct control *c, const struct ctl_site *s)
{
    const struct ctl_node *n = s->ingress != NULL ? ctl_node(c, sk_str(s->ingress)) : NULL;
    return n == NULL || !ctl_node_up(n) || !n->has_front || s->view == NULL ||
           n->front_view >= s->view_rev;
}

static bool others_serve(const struct control *c, const struct ctl_site *site)
{
    for (size_t i = 0; i < c->nsites; i++) {
        if (c->sites[i] != site && !ingress_serves(c, c->sites[i])) {
            return false;
        }
    }
    return true;
}

/* ---- ending it ---- */

static void sample(const struct control *c, struct ctl_drill *d)
{
    if (c->now_ms < d->next_sample_ms) {
        return;
    }
    d->next_sample_ms = c->now_ms + DRILL_SAMPLE_MS;
    if (d->nsamples == DRILL_SAMPLES) {
        memmove(d->samples, d->samples + 1, (DRILL_SAMPLES - 1) * sizeof(d->samples[0]));
        d->nsamples--;
    }
    d->samples[d->nsamples++] =
        (struct drill_sample){c->now_ms, c->front_requests, c->front_errors};
}

static bool too_many_errors(const struct control *c, const struct ctl_drill *d,
                            char text[static 160])
{
    const struct drill_sample *from = NULL;

    for (size_t i = 0; i < d->nsamples && from == NULL; i++) {
        if (c->now_ms - d->samples[i].ms <= DRILL_WINDOW_MS) {
            from = &d->samples[i];
        }
    }
    int64_t requests = from != NULL ? c->front_requests - from->requests : 0;
    int64_t errors = from != NULL ? c->front_errors - from->errors : 0;
    if (d->bound < 0 || requests < DRILL_REQUESTS_MIN ||
        (double)errors * 100.0 <= d->bound * (double)requests) {
        return false;
    }
    (void)snprintf(text, 160, "%lld of %lld requests of the last 5 s failed, over %g %%",
                   (long long)errors, (long long)requests, d->bound);
    return true;
}

static bool must_end(const struct control *c, struct ctl_drill *d, const struct ctl_site *site,
                     bool less, char text[static 160])
{
    for (size_t i = 0; i < c->nnodes; i++) {
        const struct ctl_node *n = c->nodes[i];
        if (n->life == CTL_LOST && n->site != site) {
            (void)snprintf(text, 160, "node '%.60s' of site '%.60s' is lost", n->name,
                           n->site->name);
            return true;
        }
    }
    if (c->frozen) {
        (void)snprintf(text, 160, "control hears a minority of sites");
        return true;
    }
    d->less_ms = !less ? -1 : d->less_ms < 0 ? c->now_ms : d->less_ms;
    if (less && c->now_ms - d->less_ms >= DRILL_KEEP_MS && d->phase != CTL_DRILL_TRAFFIC) {
        (void)snprintf(text, 160, "a service has fewer healthy replicas than it was promised");
        return true;
    }
    if (d->phase == CTL_DRILL_CUT && !site->lost &&
        c->now_ms - d->at_ms[CTL_DRILL_CUT] >= DRILL_UNCUT_MS) {
        (void)snprintf(text, 160, "the site is not lost %d s after the cut", DRILL_UNCUT_MS / 1000);
        return true;
    }
    return too_many_errors(c, d, text);
}

/* ---- phases ---- */

struct ctl_txn *drill_txn(struct control *c, const struct ctl_drill *d, struct ctl_req *req,
                          enum ctl_drill_phase phase, const char *aborted, const char *text)
{
    struct ctl_txn *t = ctl_txn_new(req);
    struct sk_buf out = SK_BUF_INIT;

    drill_write(c, d, phase, aborted, NULL, &out);
    ctl_txn_put(t, SK_STR(CTL_PREFIX "drill"), &out);
    sk_buf_release(&out);
    struct sk_str line = sk_arena_printf(t->arena, "drill %lld, %s%s%s", (long long)d->number,
                                         drill_phase_name(phase), text[0] ? ": " : "", text);
    ctl_txn_event(c, t,
                  &(struct ctl_evtext){.what = "drill",
                                       .who = req != NULL ? req->api.who.ptr : "control",
                                       .site = sk_str(d->site),
                                       .plan = sk_str(d->plan),
                                       .text = line.ptr});
    return t;
}

static void go(struct control *c, enum ctl_drill_phase phase, const char *aborted, const char *text)
{
    if (c->pending == NULL && c->now_ms >= c->next_retry_ms) {
        ctl_txn_send(c, drill_txn(c, c->drill, NULL, phase, aborted, text));
    }
}

static void give_back(struct control *c, struct ctl_drill *d, const char *why)
{
    look_shorts(c, d, site_of(c, d));
    go(c, CTL_DRILL_RETURN, why,
       why[0] == '\0' ? "the site is given back"
       : d->hard      ? "the site comes back when its time is over"
                      : "the site is given back early");
}

static void finish(struct control *c, struct ctl_drill *d, const char *text)
{
    struct ctl_txn *t = ctl_txn_new(NULL);
    struct sk_buf out = SK_BUF_INIT;
    bool agrees = drill_agrees(c, d);
    char key[24];

    drill_write(c, d, CTL_DRILL_PHASE_COUNT, d->aborted, text, &out);
    (void)snprintf(key, sizeof(key), "%06lld", (long long)d->number);
    ctl_txn_put(t, ctl_key_text(t, "drills", sk_str(key)), &out);
    ctl_txn_remove(t, SK_STR(CTL_PREFIX "drill"));
    for (size_t i = 0; c->nreports + 1 > DRILL_REPORTS_KEPT + i && t->nops < 16; i++) {
        ctl_txn_remove(t, ctl_key_text(t, "drills", sk_str(c->reports[i]->key)));
    }
    struct sk_str line = sk_arena_printf(t->arena, "drill %lld, done: %s%s%s", (long long)d->number,
                                         d->aborted[0] ? "aborted"
                                         : agrees      ? "survived as predicted"
                                                       : "differs from the plan",
                                         d->aborted[0] ? ": " : "", d->aborted);
    ctl_txn_event(
        c, t,
        &(struct ctl_evtext){
            .what = "drill", .site = sk_str(d->site), .plan = sk_str(d->plan), .text = line.ptr});
    sk_buf_release(&out);
    ctl_txn_send(c, t);
}

static void step_traffic(struct control *c, struct ctl_drill *d, struct ctl_site *site)
{
    int64_t took = c->now_ms - d->at_ms[CTL_DRILL_TRAFFIC];

    if (!d->views_made) {
        d->views_made = true; /* the views without the site are made at the end of this step */
        return;
    }
    if (!site->own_off) {
        if (others_serve(c, site) || took >= DRILL_SERVED_MS) {
            site->own_off = true;
            c->dirty_views = true;
        }
        return;
    }
    if (d->served_ms < 0 && !c->dirty_views && others_serve(c, site) && ingress_serves(c, site)) {
        d->served_ms = c->now_ms;
        d->off.ms = took;
    }
    if (d->served_ms >= 0 && c->now_ms - d->served_ms >= DRILL_DRAIN_MS) {
        go(c, CTL_DRILL_WORK, "", "no request goes there any more");
    } else if (took >= DRILL_OFF_MS) {
        go(c, CTL_DRILL_WORK, "", "not every ingress says that it serves the new view");
    }
}

static bool empty(const struct control *c, const struct ctl_site *site)
{
    for (size_t i = 0; i < c->nnodes; i++) {
        if (c->nodes[i]->site == site && c->nodes[i]->ninsts > 0) {
            return false;
        }
    }
    return true;
}

static void step_cut(struct control *c, struct ctl_drill *d, const struct ctl_site *site,
                     int64_t left)
{
    if (site->lost) {
        if (d->verdict.ms < 0) {
            d->verdict.ms = c->now_ms - d->at_ms[CTL_DRILL_CUT];
        }
        return;
    }
    if (d->phase == CTL_DRILL_CUT && left > 0 && c->now_ms >= d->next_send_ms) {
        d->next_send_ms = c->now_ms + DRILL_RESEND_MS;
        drill_frames(c, site, d->number, "cut", left);
    }
}

bool drill_ready(const struct control *c, const struct ctl_svc **ret_not)
{
    for (size_t i = 0; i < c->nsvcs; i++) {
        const struct ctl_svc *s = c->svcs[i];
        bool ready = s->decl != NULL && s->ninsts == s->nplace;
        for (size_t r = 0; ready && r < s->nplace; r++) {
            const struct ctl_inst *target = ctl_target(s, (int64_t)r);
            ready = target != NULL && (ctl_inst_healthy(target) || ctl_inst_completed(target));
        }
        if (!ready) {
            *ret_not = s;
            return false;
        }
    }
    return true;
}

/* What moves back is known, and nothing will move by itself. */
static bool waits_for_person(const struct control *c)
{
    const struct ctl_return *r = &c->ret;

    if (c->whole_ms < 0 || r->begun_by != NULL || r->go_by != NULL || !r->planned) {
        return false;
    }
    return r->unmet || (r->plan != NULL && r->told && r->plan->nmoves > 0 &&
                        (r->held_by != NULL || r->off || ctl_return_over_budget(c)));
}

static void step_return(struct control *c, struct ctl_drill *d, const struct ctl_site *site)
{
    const struct ctl_svc *not_ready;
    bool back = !site->lost;

    for (size_t i = 0; i < c->nnodes; i++) {
        const struct ctl_node *n = c->nodes[i];
        bool beats = n->life == CTL_ALIVE; /* a hard cut is over when beats pass again */
        beats = beats &&
                (!d->hard || n->last_beat_ms > d->at_ms[CTL_DRILL_RETURN] + CONTROL_SUSPECT_MS);
        back = back && (n->site != site || beats);
    }
    if (d->hard && !back && c->now_ms >= d->next_send_ms) {
        d->next_send_ms = c->now_ms + DRILL_RESEND_MS;
        drill_frames(c, site, d->number, "end", 0);
    }
    if (c->pending != NULL || c->now_ms < c->next_retry_ms) {
        return;
    }
    bool person = c->noverlay > 0 && waits_for_person(c);
    if (back && (c->noverlay == 0 || person) && drill_ready(c, &not_ready)) {
        finish(c, d,
               person ? "what runs elsewhere stays there until a person says so: skerry return"
                      : "settled");
    } else if (c->now_ms - d->at_ms[CTL_DRILL_RETURN] >= DRILL_RETURN_MS) {
        finish(c, d, back ? "not settled within 5 minutes" : "the site did not come back");
    }
}

/* Nodes answer in their own time; then the conditions are looked at once more. */
static void wait_step(struct control *c)
{
    struct ctl_req *req = c->drill_req;
    struct sk_err err = {0};

    if (req == NULL || c->pending != NULL) {
        return;
    }
    const struct ctl_site *s = ctl_site(c, req->api.u.drill.site);
    check_frames(c, req);
    for (size_t i = 0; i < c->nnodes; i++) {
        const struct ctl_node *n = c->nodes[i];
        if (n->site != s || n->drill_can) {
            continue;
        }
        if (c->now_ms >= c->drill_until_ms) {
            (void)sk_err_set(&err, SK_ERR_POLICY,
                             "node '%s' does not say whether it can cut its links", n->name);
            (void)sk_err_fix(&err, "is it of an older version? without --hard it need not");
            ctl_drill_drop_wait(c, &err);
        }
        return;
    }
    c->drill_req = NULL;
    if (drill_check(c, &req->api, &err) < 0) {
        ctl_refuse(c, req, &err);
        return;
    }
    struct ctl_drill *d = drill_new(c, &req->api);
    struct ctl_txn *t = drill_txn(c, d, req, CTL_DRILL_CUT, "", "its links are cut");
    struct sk_buf out = SK_BUF_INIT;
    drill_write(c, d, CTL_DRILL_CUT, "", NULL, &out);
    ctl_txn_reply(t, sk_buf_str(&out));
    sk_buf_release(&out);
    drill_free(d);
    ctl_txn_send(c, t);
}

void ctl_drill_drop_wait(struct control *c, const struct sk_err *err)
{
    if (c->drill_req != NULL) {
        ctl_refuse(c, sk_steal(c->drill_req), err);
    }
}

void ctl_drilled(struct control *c, const struct control_event *ev)
{
    struct ctl_node *n = ctl_node(c, ev->u.drilled.node);
    struct ctl_drill *d = c->drill;
    char text[160];

    if (n == NULL || !n->connected || !c->leader.leads || c->loading) {
        return;
    }
    if (ev->u.drilled.op == CONTROL_DRILL_CHECK && c->drill_req != NULL &&
        sk_str_eq(c->drill_req->api.u.drill.site, sk_str(n->site->name))) {
        struct sk_err err = {0};
        n->drill_can = ev->u.drilled.can;
        if (!n->drill_can) {
            (void)sk_err_set(&err, SK_ERR_POLICY, "node '%s' cannot cut its links: %.*s", n->name,
                             SK_PRI(ev->u.drilled.why));
            (void)sk_err_fix(&err, "mend that, or drill without --hard");
            ctl_drill_drop_wait(c, &err);
        }
    } else if (ev->u.drilled.op == CONTROL_DRILL_CUT && !ev->u.drilled.can && d != NULL &&
               d->number == ev->u.drilled.number && d->phase == CTL_DRILL_CUT) {
        struct sk_str words = ev->u.drilled.why;
        words.len = words.len < 80 ? words.len : 80;
        (void)snprintf(text, sizeof(text), "node '%.40s' did not cut its links: %.*s", n->name,
                       SK_PRI(words));
        give_back(c, d, text);
    }
}

void ctl_drill_step(struct control *c)
{
    struct ctl_drill *d = c->drill;
    struct ctl_site *site = d != NULL ? ctl_site(c, sk_str(d->site)) : NULL;
    char why[160];
    bool less = false;

    wait_step(c);
    if (d != NULL ? !d->hard : c->drill_req == NULL && c->pending == NULL) {
        tell_site(c, NULL);
    }
    if (d == NULL || c->drill != d || site == NULL || c->now_ms < d->next_look_ms) {
        return;
    }
    d->next_look_ms = c->now_ms + DRILL_LOOK_MS;
    if (d->phase == CTL_DRILL_RETURN) {
        step_return(c, d, site);
        return;
    }
    int64_t left = d->at_ms[d->hard ? CTL_DRILL_CUT : CTL_DRILL_TRAFFIC] + d->for_ms - c->now_ms;
    bool all = false;
    sample(c, d);
    look_kept(c, d, site, &less);
    if (d->hard) {
        step_cut(c, d, site, left);
    }
    if (d->phase != CTL_DRILL_TRAFFIC) {
        all = look_lines(c, d, site);
    }
    if (must_end(c, d, site, less, why)) {
        give_back(c, d, why);
    } else if (left <= 0) {
        give_back(c, d, "");
    } else if (d->phase == CTL_DRILL_TRAFFIC) {
        step_traffic(c, d, site);
    } else if (d->phase == CTL_DRILL_WORK && all && empty(c, site)) {
        go(c, CTL_DRILL_HOLD, "", "all of it runs elsewhere");
    } else if (d->phase == CTL_DRILL_CUT && all && site->lost) {
        go(c, CTL_DRILL_HOLD, "", "the site is lost, all of it runs elsewhere");
    }
}

int64_t ctl_drill_deadline(const struct control *c)
{
    int64_t at = c->drill_req != NULL ? c->drill_until_ms : INT64_MAX;
    return c->drill != NULL ? ctl_i64_min(at, c->drill->next_look_ms) : at;
}

/* ---- requests ---- */

void ctl_req_drill(struct control *c, struct ctl_req *req)
{
    const struct control_request *r = &req->api;
    struct sk_err err = {0};

    if (drill_check(c, r, &err) < 0) {
        ctl_refuse(c, req, &err);
        return;
    }
    struct ctl_site *site = ctl_site(c, r->u.drill.site);
    struct ctl_drill *d = drill_new(c, r);
    if (r->u.drill.hard) {
        for (size_t i = 0; i < c->nnodes; i++) {
            c->nodes[i]->drill_can = c->nodes[i]->drill_asked = false;
        }
        tell_site(c, site->name);
        c->drill_number = d->number;
        c->drill_req = req;
        c->drill_until_ms = c->now_ms + DRILL_CHECK_MS;
    } else {
        struct ctl_txn *t =
            drill_txn(c, d, req, CTL_DRILL_TRAFFIC, "", "its traffic goes elsewhere");
        struct sk_buf out = SK_BUF_INIT;
        drill_write(c, d, CTL_DRILL_TRAFFIC, "", NULL, &out);
        ctl_txn_reply(t, sk_buf_str(&out));
        sk_buf_release(&out);
        ctl_txn_send(c, t);
    }
    drill_free(d);
}

void ctl_req_drill_abort(struct control *c, struct ctl_req *req)
{
    struct ctl_drill *d = c->drill;
    struct sk_err err = {0};

    if (d == NULL || d->phase == CTL_DRILL_RETURN) {
        (void)sk_err_set(&err, SK_ERR_CONFLICT,
                         d == NULL ? "no drill runs" : "the site is being given back already");
        ctl_refuse(c, req, &err);
        return;
    }
    struct sk_str why = sk_arena_printf(req->arena, "asked for by %.*s", SK_PRI(req->api.who));
    look_shorts(c, d, site_of(c, d));
    struct ctl_txn *t = drill_txn(c, d, req, CTL_DRILL_RETURN, why.ptr, why.ptr);
    struct sk_buf out = SK_BUF_INIT;
    drill_write(c, d, CTL_DRILL_RETURN, why.ptr, NULL, &out);
    ctl_txn_reply(t, sk_buf_str(&out));
    sk_buf_release(&out);
    ctl_txn_send(c, t);
}

int ctl_drill_permits(const struct control *c, const struct control_request *r, struct sk_err *err)
{
    bool disturbs = false;

    switch (r->kind) {
    case CONTROL_REQ_APPLY:
        disturbs = !r->u.apply.dry_run;
        break;
    case CONTROL_REQ_REBALANCE:
        disturbs = !r->u.rebalance.dry_run;
        break;
    case CONTROL_REQ_PROJECT_DELETE:
    case CONTROL_REQ_DRAIN:
    case CONTROL_REQ_UNDRAIN:
    case CONTROL_REQ_NODE_REMOVE:
    case CONTROL_REQ_SITE_REMOVE:
        disturbs = true;
        break;
    default:
        break;
    }
    if (c->drill == NULL || !disturbs) {
        return 0;
    }
    (void)sk_err_set(err, SK_ERR_CONFLICT, "a drill of site '%s' runs (number %lld, %s)",
                     c->drill->site, (long long)c->drill->number,
                     drill_phase_name(c->drill->phase));
    return sk_err_fix(err, "wait for its end, or end it: skerry drill --abort");
}
