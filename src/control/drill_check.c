/* SPDX-License-Identifier: Apache-2.0 */
#include "control/drill.h"

#include <stdarg.h>
#include <string.h>

#include "model/lease.h"

/*
 * Before a drill: whether the site may be taken away now, and what the plan in force says will
 * happen then. Nothing is touched here.
 */

static const struct plan_loss *row_of(const struct control *c, struct sk_str site)
{
    for (size_t k = 0; c->plan != NULL && k < c->plan->plan->nlosses; k++) {
        const struct plan_loss *row = &c->plan->plan->losses[k];
        if (row->nlost == 1 && sk_str_eq(row->lost[0], site)) {
            return row;
        }
    }
    return NULL;
}

__attribute__((format(printf, 3, 4))) static int refuse(struct sk_err *err, const char *fix,
                                                        const char *fmt, ...)
{
    char text[SK_ERR_MSG_MAX];
    va_list args;

    va_start(args, fmt);
    (void)vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    (void)sk_err_set(err, SK_ERR_POLICY, "%s", text);
    return sk_err_fix(err, "%s", fix);
}

static int check_plan(const struct control *c, const struct ctl_site *s, struct sk_err *err)
{
    const struct plan_loss *row = row_of(c, sk_str(s->name));

    if (c->plan == NULL) {
        return refuse(err, "skerry apply FILE", "nothing was applied yet: there is no prediction");
    }
    if (row == NULL) {
        return refuse(err, "skerry rebalance", "the plan in force does not know site '%s'",
                      s->name);
    }
    for (size_t i = 0; i < row->nshorts; i++) {
        const struct plan_short *p = &row->shorts[i];
        if (p->asked) {
            return refuse(err, "add room in another site, then skerry rebalance",
                          "the loss of '%s' would not be survived: %lld replicas of '%.*s/%.*s' "
                          "have no room elsewhere (%.*s)",
                          s->name, (long long)p->replicas, SK_PRI(p->project), SK_PRI(p->service),
                          SK_PRI(p->resource));
        }
    }
    if (!row->ok) {
        return refuse(err, "skerry plan shows which; then skerry rebalance",
                      "the loss of '%s' would not be survived as the policies ask", s->name);
    }
    return 0;
}

static int check_calm(const struct control *c, struct sk_err *err)
{
    const struct ctl_svc *not_ready = NULL;

    if (c->frozen) {
        return refuse(err, "look at skerry sites", "control hears a minority of sites");
    }
    for (size_t i = 0; i < c->nnodes; i++) {
        const struct ctl_node *n = c->nodes[i];
        if (n->life != CTL_ALIVE) {
            return refuse(err, "wait until it is back, or remove it: skerry nodes",
                          "node '%s' of site '%s' is %s", n->name, n->site->name,
                          ctl_life_name(n->life));
        }
    }
    if (c->noverlay > 0) {
        return refuse(err, "wait for it, or skerry rebalance",
                      "what the last loss moved has not settled yet: %zu replicas", c->noverlay);
    }
    if (c->jobs[CTL_SLOT_OWN] != NULL || c->jobs[CTL_SLOT_REQUEST] != NULL) {
        return refuse(err, "try again in a moment", "a change is being planned");
    }
    if (!drill_ready(c, &not_ready)) {
        return refuse(err, "wait until skerry status says ok",
                      "service '%s/%s' is still starting, changing or stopped", not_ready->project,
                      not_ready->name);
    }
    return 0;
}

static int check_ingress(const struct control *c, const struct ctl_site *s, struct sk_err *err)
{
    bool routes = false;
    bool other = false;

    for (size_t i = 0; i < c->nsvcs; i++) {
        routes = routes || (c->svcs[i]->decl != NULL && c->svcs[i]->decl->has_route);
    }
    for (size_t i = 0; i < c->nsites; i++) {
        const struct ctl_site *o = c->sites[i];
        const struct ctl_node *n = o->ingress != NULL ? ctl_node(c, sk_str(o->ingress)) : NULL;
        other = other || (o != s && n != NULL && ctl_node_up(n));
    }
    if (routes && !other) {
        return refuse(err, "add a server in another site",
                      "site '%s' has the only ingress: users would reach nothing", s->name);
    }
    return 0;
}

/* Control must go on without the site: by the majority of its members, or by the only one. */
static int check_quorum(const struct control *c, const struct ctl_site *s, struct sk_err *err)
{
    const struct ctl_node *own = ctl_node(c, sk_str(c->own_node));
    size_t members = 0;
    size_t here = 0;

    for (size_t i = 0; i < c->roster.count; i++) {
        const struct ctl_node *n = ctl_node(c, sk_str(c->roster.seats[i].node));
        if (c->roster.seats[i].state == CTL_SEAT_MEMBER) {
            members++;
            here += n != NULL && n->site == s;
        }
    }
    if (members > 1 && (members - here) * 2 <= members) {
        return refuse(err, "drill it without --hard, or move a member: skerry control replace",
                      "without site '%s' %zu of %zu control nodes are left: no majority", s->name,
                      members - here, members);
    }
    if (members <= 1 && own != NULL && own->site == s) {
        return refuse(err, "drill it without --hard, or skerry control grow first",
                      "site '%s' has the only control node: nobody could judge its loss", s->name);
    }
    return 0;
}

static int check_hard(const struct control *c, const struct ctl_site *s, struct sk_err *err)
{
    if (check_quorum(c, s, err) < 0) {
        return err->code;
    }
    if (c->nnodes > CTL_PEERS_MAX) {
        return refuse(err, "drill it without --hard",
                      "a node can be cut off from %d others, and there are %zu nodes",
                      CTL_PEERS_MAX, c->nnodes);
    }
    for (size_t i = 0; i < c->nunheard; i++) {
        if (c->unheard[i].told && c->unheard[i].silent > 0) {
            return refuse(err, "open UDP 7401 between them: skerry status",
                          "probes do not pass between sites '%s' and '%s': a loss could not be "
                          "judged",
                          c->unheard[i].a, c->unheard[i].b);
        }
    }
    return 0;
}

int drill_check(const struct control *c, const struct control_request *r, struct sk_err *err)
{
    const struct ctl_site *s = ctl_site(c, r->u.drill.site);
    bool nodes = false;

    if (s == NULL) {
        (void)sk_err_set(err, SK_ERR_INPUT, "there is no site '%.*s'", SK_PRI(r->u.drill.site));
        return sk_err_fix(err, "skerry sites lists them");
    }
    if (r->u.drill.for_ms < CONTROL_DRILL_MIN_MS || r->u.drill.for_ms > CONTROL_DRILL_MAX_MS) {
        return sk_err_set(err, SK_ERR_INPUT, "a drill takes 10 s to 15 min, not %lld ms",
                          (long long)r->u.drill.for_ms);
    }
    if (!(r->u.drill.bound <= 100)) { /* nor no number */
        return sk_err_set(err, SK_ERR_INPUT, "the bound of errors is a share of 0 to 100 %%");
    }
    if (c->drill != NULL || c->drill_req != NULL) {
        return refuse(err, "skerry drill --status", "another drill runs%s%s",
                      c->drill != NULL ? ", of site " : "", c->drill != NULL ? c->drill->site : "");
    }
    for (size_t i = 0; i < c->nnodes; i++) {
        nodes = nodes || c->nodes[i]->site == s;
    }
    if (!nodes || s->trust == SITE_CONTROL) {
        return refuse(err, "drill a site that runs services",
                      "site '%s' runs no services: there is nothing to take away", s->name);
    }
    int rc = check_calm(c, err);
    rc = rc < 0 ? rc : check_plan(c, s, err);
    rc = rc < 0 ? rc : check_ingress(c, s, err);
    return rc < 0 || !r->u.drill.hard ? rc : check_hard(c, s, err);
}

/* ---- what is predicted ---- */

struct past { /* the newest reports, newest first */
    struct ctl_drill *items[DRILL_PAST_MAX];
    size_t count;
};

static void past_read(const struct control *c, struct past *p)
{
    struct sk_arena *a = sk_arena_new();

    p->count = 0;
    for (size_t i = c->nreports; i-- > 0 && p->count < DRILL_PAST_MAX;) {
        const struct sk_node *rec;
        if (sk_json_read(a, "report", sk_str(c->reports[i]->json), NULL, &rec, NULL) == 0 &&
            rec->kind == SK_MAP) {
            p->items[p->count++] = drill_read_rows(rec);
        }
    }
    sk_arena_free(a);
}

static void past_release(struct past *p)
{
    for (size_t i = 0; i < p->count; i++) {
        drill_free(p->items[i]);
    }
}

/* From a loss in a drill of this kind until work on the new copy begins. */
static int64_t before_ms(const struct ctl_svc *s, bool hard)
{
    int64_t before = hard ? CONTROL_VERDICT_MS : 0;

    if (hard && s != NULL && s->decl != NULL && s->decl->exclusive) {
        /* the lease's last renewal is half its interval old, as a rule */
        before = ctl_i64_max(before, lease_free_from_ms(0) - LEASE_RENEW_MS / 2);
    }
    return before + DRILL_DECIDE_MS;
}

/* As this control last saw it, else as the last drill did. */
static int64_t start_ms(const struct ctl_svc *s, const struct past *p)
{
    if (s == NULL || s->start_ms > 0) {
        return s == NULL ? DRILL_START_MS : s->start_ms;
    }
    for (size_t i = 0; i < p->count; i++) {
        for (size_t k = 0; k < p->items[i]->nlines; k++) {
            const struct drill_line *l = &p->items[i]->lines[k];
            if (l->ms >= 0 && strcmp(l->project, s->project) == 0 &&
                strcmp(l->service, s->name) == 0) {
                return ctl_i64_max(1, l->ms - before_ms(s, p->items[i]->hard));
            }
        }
    }
    return DRILL_START_MS;
}

/* The median of the last drills: how long ingresses take to serve a view. */
static int64_t traffic_ms(const struct past *p)
{
    int64_t sorted[DRILL_PAST_MAX];
    size_t count = 0;

    for (size_t i = 0; i < p->count; i++) {
        size_t at = count;
        if (p->items[i]->off.ms < 0) {
            continue;
        }
        for (; at > 0 && sorted[at - 1] > p->items[i]->off.ms; at--) {
            sorted[at] = sorted[at - 1];
        }
        sorted[at] = p->items[i]->off.ms;
        count++;
    }
    return count > 0 ? sorted[count / 2] : DRILL_TRAFFIC_MS;
}

static void predict_kept(const struct control *c, const struct plan_loss *row, struct ctl_drill *d)
{
    d->kept = sk_xcalloc(row->nkept + 1, sizeof(*d->kept));
    for (size_t i = 0; i < row->nkept; i++) {
        const struct plan_kept *p = &row->kept[i];
        const struct ctl_svc *s = ctl_svc(c, p->project, p->service);
        const struct survive *survive = s != NULL && s->decl != NULL ? &s->decl->survive : NULL;
        bool asked = survive != NULL && survive->sites_written && survive->sites >= 1;
        d->kept[d->nkept++] = (struct drill_kept){.project = ctl_dup(p->project),
                                                  .service = ctl_dup(p->service),
                                                  .predicted = p->count,
                                                  .least = -1,
                                                  .promise = !asked                  ? -1
                                                             : survive->keep_written ? survive->keep
                                                                                     : p->count};
    }
}

static void predict_lines(const struct control *c, const struct plan_loss *row,
                          const struct past *past, struct ctl_drill *d)
{
    size_t count = row->nreplaced < DRILL_LINES_MAX ? row->nreplaced : DRILL_LINES_MAX;

    d->more = (int64_t)(row->nreplaced - count);
    d->lines = sk_xcalloc(count + 1, sizeof(*d->lines));
    for (size_t i = 0; i < count; i++) {
        const struct plan_placement *p = &row->replaced[i];
        const struct ctl_svc *s = ctl_svc(c, p->project, p->service);
        int64_t ms = before_ms(s, d->hard) + start_ms(s, past);
        d->lines[d->nlines++] = (struct drill_line){.project = ctl_dup(p->project),
                                                    .service = ctl_dup(p->service),
                                                    .replica = p->replica,
                                                    .node = ctl_dup(p->node),
                                                    .site = ctl_dup(p->site),
                                                    .predicted_ms = ms,
                                                    .ms = -1};
        d->replaced.predicted_ms = ctl_i64_max(d->replaced.predicted_ms, ms);
    }
}

static void predict_rest(const struct control *c, const struct plan_loss *row, struct ctl_drill *d)
{
    const struct plan *plan = c->plan->plan;

    d->shorts = sk_xcalloc(row->nshorts + 1, sizeof(*d->shorts));
    for (size_t i = 0; i < row->nshorts; i++) {
        const struct plan_short *p = &row->shorts[i];
        d->shorts[d->nshorts++] = (struct drill_short){ctl_dup(p->project), ctl_dup(p->service),
                                                       p->replicas, -1, p->asked};
    }
    d->latency = sk_xcalloc(row->nlatency + 1, sizeof(*d->latency));
    for (size_t i = 0; i < row->nlatency; i++) {
        const struct plan_latency *p = &row->latency[i];
        struct drill_latency *to = &d->latency[d->nlatency++];
        *to = (struct drill_latency){
            ctl_dup(p->project), ctl_dup(p->service), {false, 0}, p->ms_at_once, p->ms};
        for (size_t k = 0; k < plan->nlatency; k++) {
            if (sk_str_eq(plan->latency[k].project, p->project) &&
                sk_str_eq(plan->latency[k].service, p->service)) {
                to->before = plan->latency[k].ms;
            }
        }
    }
}

struct ctl_drill *drill_new(const struct control *c, const struct control_request *r)
{
    struct ctl_drill *d = sk_xcalloc(1, sizeof(*d));
    const struct plan_loss *row = row_of(c, r->u.drill.site);
    struct past past;
    int64_t last = 0;

    past_read(c, &past);

    for (size_t i = 0; i < c->nreports; i++) {
        int64_t n;
        last = ctl_digits(sk_str(c->reports[i]->key), &n) ? ctl_i64_max(last, n) : last;
    }
    d->number = last + 1;
    d->site = ctl_dup(r->u.drill.site);
    d->who = ctl_dup(r->who);
    d->plan = ctl_dup(sk_str(c->plan->plan->id));
    d->aborted = ctl_dup(SK_STR(""));
    d->life = ctl_dup(sk_str(c->leader.own));
    d->hard = r->u.drill.hard;
    d->for_ms = r->u.drill.for_ms;
    d->bound = r->u.drill.bound;
    d->phase = CTL_DRILL_PHASE_COUNT; /* none yet */
    d->off = d->verdict = d->replaced = (struct drill_time){-1, -1};
    if (d->hard) {
        d->verdict.predicted_ms = CONTROL_VERDICT_MS;
    } else {
        d->off.predicted_ms = traffic_ms(&past);
    }
    d->base_requests = c->front_requests;
    d->base_errors = c->front_errors;
    predict_kept(c, row, d);
    predict_lines(c, row, &past, d);
    predict_rest(c, row, d);
    past_release(&past);
    return d;
}
