/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "control/internal.h"

/*
 * Requests that need a plan: apply, rebalance, delete a project, drain. Each is planned against the
 * world as it would be, then written in one transaction together with the plan, provided that what
 * the plan was made from has not changed in between. Nodes that are lost at the time count as the
 * servers that they are: a policy is judged on what is declared to be there, failover deals with
 * what is not (failover.c).
 */

static void refuse(struct control *c, struct ctl_req *req, int code, const char *text,
                   const char *fix)
{
    struct sk_err err = {0};
    (void)sk_err_set(&err, code, "%s", text);
    if (fix != NULL) {
        (void)sk_err_fix(&err, "%s", fix);
    }
    ctl_refuse(c, req, &err);
}

/* ---- the declarations of a request ---- */

struct declared {
    struct ctl_project **items; /* referenced; by name */
    size_t count, cap;
};

static void declared_free(struct declared *d)
{
    for (size_t i = 0; i < d->count; i++) {
        ctl_project_unref(d->items[i]);
    }
    free(d->items);
}

static void declared_put(struct declared *d, struct ctl_project *p)
{
    size_t at = 0;
    while (at < d->count && sk_str_cmp(d->items[at]->decl->name, p->decl->name) < 0) {
        at++;
    }
    if (at < d->count && sk_str_eq(d->items[at]->decl->name, p->decl->name)) {
        ctl_project_unref(d->items[at]);
        d->items[at] = p;
        return;
    }
    d->items = ctl_insert(d->items, &d->count, &d->cap, at, p);
}

static int refuse_unready(const struct project *p, struct sk_err *err)
{
    if (p->nbuckets > 0) {
        (void)sk_err_set(err, SK_ERR_UNSUPPORTED,
                         "project '%.*s': buckets are planned, but not executed yet",
                         SK_PRI(p->name));
        return sk_err_fix(err, "take x-skerry.buckets out, or plan offline: skerry plan");
    }
    for (size_t i = 0; i < p->nservices; i++) {
        for (size_t k = 0; k < p->services[i].nports; k++) {
            const struct port *port = &p->services[i].ports[k];
            if (port->udp && port->published != 0) {
                (void)sk_err_set(err, SK_ERR_UNSUPPORTED,
                                 "service '%.*s/%.*s': publishing udp port %u is planned, but not "
                                 "executed yet",
                                 SK_PRI(p->name), SK_PRI(p->services[i].name), port->published);
                return sk_err_fix(err, "publish tcp, or leave the published port out");
            }
        }
    }
    return 0;
}

static int declared_apply(const struct control_request *r, struct declared *d, struct sk_err *err)
{
    for (size_t i = 0; i < r->u.apply.nprojects; i++) {
        struct project *decl = NULL;
        if (project_from_canonical("project", r->u.apply.projects[i], &decl, err) < 0) {
            return err->code;
        }
        if (refuse_unready(decl, err) < 0) {
            project_free(decl);
            return err->code;
        }
        struct ctl_project *p = ctl_project_new(decl, err);
        if (p == NULL) {
            project_free(decl);
            return err->code;
        }
        p->digests = SK_ARENA_ARRAY(p->arena, struct control_digest, r->u.apply.ndigests + 1);
        for (size_t k = 0; k < r->u.apply.ndigests; k++) {
            p->digests[p->ndigests++] =
                (struct control_digest){sk_arena_str(p->arena, r->u.apply.digests[k].image),
                                        sk_arena_str(p->arena, r->u.apply.digests[k].digest)};
        }
        declared_put(d, p);
    }
    return 0;
}

struct door { /* a host name or a published port: one service may have it */
    struct sk_str text;
    const struct project *project;
    const struct service *service;
};

static int door_order(const void *a, const void *b)
{
    return sk_str_cmp(((const struct door *)a)->text, ((const struct door *)b)->text);
}

static int doors_check(const struct declared *d, struct sk_err *err)
{
    struct sk_arena *arena = sk_arena_new();
    struct door *doors = NULL;
    size_t count = 0;
    size_t cap = 0;
    int rc = 0;

    for (size_t p = 0; p < d->count; p++) {
        const struct project *decl = d->items[p]->decl;
        for (size_t i = 0; i < decl->nservices; i++) {
            const struct service *s = &decl->services[i];
            if (s->has_route) {
                SK_GROW(doors, count, cap);
                doors[count++] = (struct door){
                    sk_arena_printf(arena, "route '%.*s'", SK_PRI(s->route_host)), decl, s};
            }
            for (size_t k = 0; k < s->nports; k++) {
                if (s->ports[k].published != 0) {
                    SK_GROW(doors, count, cap);
                    doors[count++] = (struct door){sk_arena_printf(arena, "published port %u/%s",
                                                                   s->ports[k].published,
                                                                   s->ports[k].udp ? "udp" : "tcp"),
                                                   decl, s};
                }
            }
        }
    }
    if (count > 1) {
        qsort(doors, count, sizeof(*doors), door_order);
    }
    for (size_t i = 1; i < count && rc == 0; i++) {
        if (sk_str_eq(doors[i - 1].text, doors[i].text)) {
            rc =
                sk_err_set(err, SK_ERR_CONFLICT, "%.*s is asked for by '%.*s/%.*s' and '%.*s/%.*s'",
                           SK_PRI(doors[i].text), SK_PRI(doors[i - 1].project->name),
                           SK_PRI(doors[i - 1].service->name), SK_PRI(doors[i].project->name),
                           SK_PRI(doors[i].service->name));
        }
    }
    free(doors);
    sk_arena_free(arena);
    return rc;
}

static int world_ok(const struct control *c, const struct declared *d, struct sk_err *err)
{
    struct inventory *inv = control_inventory(c);
    const struct project **decls = sk_xcalloc(d->count + 1, sizeof(const struct project *));
    for (size_t i = 0; i < d->count; i++) {
        decls[i] = d->items[i]->decl;
    }
    int rc = world_check(inv, decls, d->count, err);
    free(decls);
    control_inventory_free(inv);
    return rc;
}

/* What the request makes of the declared projects and of the world. */
static int prepare(struct control *c, const struct control_request *r, struct declared *d,
                   struct ctl_mods *mods, struct sk_err *err)
{
    struct sk_str name = r->u.target.name;

    if (r->kind == CONTROL_REQ_PROJECT_DELETE && ctl_project(c, name) == NULL) {
        return sk_err_set(err, SK_ERR_NOT_FOUND, "there is no project '%.*s'", SK_PRI(name));
    }
    for (size_t i = 0; i < c->nprojects; i++) {
        if (r->kind != CONTROL_REQ_PROJECT_DELETE || c->projects[i] != ctl_project(c, name)) {
            c->projects[i]->refs++;
            declared_put(d, c->projects[i]);
        }
    }
    if (r->kind == CONTROL_REQ_APPLY) {
        if (declared_apply(r, d, err) < 0 || doors_check(d, err) < 0 || world_ok(c, d, err) < 0) {
            return err->code;
        }
    }
    if (r->kind == CONTROL_REQ_DRAIN) {
        const struct ctl_site *s = r->u.target.is_site ? ctl_site(c, name) : NULL;
        const struct ctl_node *n = r->u.target.is_site ? NULL : ctl_node(c, name);
        if (s == NULL && n == NULL) {
            return sk_err_set(err, SK_ERR_NOT_FOUND, "there is no %s '%.*s'",
                              r->u.target.is_site ? "site" : "node", SK_PRI(name));
        }
        mods->drain_site = s ? s->name : NULL;
        mods->drain_node = n ? n->name : NULL;
    }
    return 0;
}

void ctl_req_planned(struct control *c, struct ctl_req *req)
{
    struct declared d = {0};
    struct ctl_mods mods = {0};
    struct sk_err err = {0};

    if (prepare(c, &req->api, &d, &mods, &err) < 0) {
        declared_free(&d);
        ctl_refuse(c, req, &err);
        return;
    }
    struct ctl_job *job = ctl_job_new(c, CTL_JOB_REQUEST, &mods, d.items, d.count, false);
    declared_free(&d);
    job->req = req;
    switch (req->api.kind) {
    case CONTROL_REQ_REBALANCE:
        job->pub.why = "rebalance";
        break;
    case CONTROL_REQ_DRAIN:
        job->pub.why = "drain";
        job->pub.input.move_price_hours = CTL_KEEP_PRICE_HOURS;
        break;
    case CONTROL_REQ_PROJECT_DELETE:
        job->pub.why = "delete";
        job->pub.input.move_price_hours = CTL_KEEP_PRICE_HOURS;
        break;
    default:
        job->pub.why = "apply";
        job->pub.input.pairs = req->api.u.apply.dry_run && req->api.u.apply.pairs;
        break;
    }
    ctl_job_send(c, job, CTL_SLOT_REQUEST);
}

/* ---- when the plan is there ---- */

static void plan_json(const struct plan *plan, struct sk_buf *out)
{
    struct sk_jw w;
    sk_jw_init(&w, out);
    plan_write_json(plan, &w);
}

static void reply_plan_error(struct control *c, struct ctl_req *req, const struct plan *plan,
                             const struct sk_err *err)
{
    struct sk_buf json = SK_BUF_INIT;
    sk_buf_adds(&json, "{\"plan\":");
    plan_json(plan, &json);
    sk_buf_addc(&json, '}');
    ctl_reply_err(c, req->id, err, sk_buf_str(&json));
    sk_buf_release(&json);
    ctl_req_free(req);
}

static void refuse_policy(struct control *c, struct ctl_req *req, const struct plan *plan)
{
    struct sk_err err = {0};
    const struct plan_problem *p = plan->nproblems ? &plan->problems[0] : NULL;

    (void)sk_err_set(&err, SK_ERR_POLICY, "the plan is %s: %.*s",
                     plan->verdict == PLAN_IMPOSSIBLE ? "impossible" : "not found",
                     SK_PRI(p ? p->text : SK_STR("no reason was given")));
    if (p != NULL && p->fix.len > 0) {
        (void)sk_err_fix(&err, "%.*s", SK_PRI(p->fix));
    }
    reply_plan_error(c, req, plan, &err);
}

static void put_project(struct control *c, struct ctl_txn *t, const struct ctl_project *p)
{
    const struct ctl_project *before = ctl_project(c, p->decl->name);
    struct sk_buf out = SK_BUF_INIT;
    struct sk_jw w;

    sk_jw_init(&w, &out);
    sk_jw_obj(&w);
    sk_jw_kint(&w, "v", 1);
    sk_jw_kstr(&w, "who", t->req->api.who);
    sk_jw_kint(&w, "wall_ms", c->wall_ms);
    sk_jw_key(&w, "digests");
    sk_jw_obj(&w);
    for (size_t i = 0; i < p->ndigests; i++) {
        bool again = false; /* the reader refuses a key that comes twice */
        for (size_t k = 0; k < i && !again; k++) {
            again = sk_str_eq(p->digests[k].image, p->digests[i].image);
        }
        if (!again) {
            sk_jw_keystr(&w, p->digests[i].image);
            sk_jw_str(&w, p->digests[i].digest);
        }
    }
    sk_jw_obj_end(&w);
    sk_jw_key(&w, "project");
    sk_jw_raw(&w, p->decl->canonical);
    ctl_rest_put(&w, before != NULL ? before->extra : NULL);
    sk_jw_obj_end(&w);
    ctl_txn_put(t, ctl_key_text(t, "projects", p->decl->name), &out);
    sk_buf_release(&out);
}

void ctl_plan_put(struct control *c, struct ctl_txn *t, struct plan *plan, struct sk_str who)
{
    struct sk_buf json = SK_BUF_INIT;

    plan_json(plan, &json);
    ctl_txn_doc(c, t, "plan", sk_buf_str(&json), who);
    sk_buf_release(&json);
    t->plan = plan;
}

void ctl_overlay_remove(struct control *c, struct ctl_txn *t)
{
    for (size_t i = 0; i < c->npieces; i++) {
        if (sk_str_starts(sk_str(c->pieces[i]->key), SK_STR("overlay"))) {
            ctl_txn_remove(t, ctl_key_text(t, c->pieces[i]->key, SK_STR("")));
        }
    }
}

void ctl_plan_adopt(struct control *c, struct ctl_txn *t, struct plan *plan, struct sk_str who)
{
    ctl_plan_put(c, t, plan, who);
    ctl_overlay_remove(c, t);
    ctl_return_end(c, t, true);
}

static void reply_done(struct ctl_txn *t, const struct plan *plan, bool adopted, const char *text)
{
    struct sk_buf json = SK_BUF_INIT;
    sk_buf_printf(&json, "{\"format\":\"skerry.apply/1\",\"adopted\":%s,\"text\":\"%s\",\"plan\":",
                  adopted ? "true" : "false", text);
    plan_json(plan, &json);
    sk_buf_addc(&json, '}');
    ctl_txn_reply(t, sk_buf_str(&json));
    sk_buf_release(&json);
}

static void put_request(struct control *c, struct ctl_txn *t, const struct ctl_job *job)
{
    const struct control_request *r = &t->req->api;

    if (r->kind == CONTROL_REQ_APPLY) {
        for (size_t i = 0; i < job->nprojects; i++) {
            struct ctl_project *p = job->projects[i];
            if (ctl_project(c, p->decl->name) != p) {
                put_project(c, t, p);
            }
        }
    } else if (r->kind == CONTROL_REQ_PROJECT_DELETE) {
        ctl_txn_remove(t, ctl_key_text(t, "projects", r->u.target.name));
        t->removes_input = true;
    } else if (r->kind == CONTROL_REQ_DRAIN) {
        ctl_put_drained(c, t, r->u.target.name, r->u.target.is_site, true);
    }
}

/* Writes request and plan. `adopt` false: the policies cannot be met, and the request goes ahead
 * all the same (a forced drain, a deletion): the plan in force stays, failover moves what it can.
 */
static void commit_request(struct control *c, struct ctl_job *job, bool adopt)
{
    struct ctl_txn *t = ctl_txn_new(sk_steal(job->req));
    const struct control_request *r = &t->req->api;
    struct plan *plan = sk_steal(job->result);
    bool drain = r->kind == CONTROL_REQ_DRAIN;
    struct sk_str project = SK_STR("");

    put_request(c, t, job);
    if (r->kind == CONTROL_REQ_APPLY && r->u.apply.nprojects == 1) {
        for (size_t i = 0; i < job->nprojects; i++) {
            if (ctl_project(c, job->projects[i]->decl->name) != job->projects[i]) {
                project = job->projects[i]->decl->name;
            }
        }
    } else if (r->kind == CONTROL_REQ_PROJECT_DELETE) {
        project = r->u.target.name;
    }
    struct sk_str text = sk_arena_printf(
        t->arena, "%zu replicas placed, %zu of them on another node than now%s", plan->nplacements,
        plan->nmoves, adopt ? "" : "; policies are unmet, the plan in force stays");
    reply_done(t, plan, adopt, text.ptr);
    ctl_txn_event(
        c, t,
        &(struct ctl_evtext){.what = job->pub.why,
                             .who = sk_arena_str(t->arena, r->who).ptr,
                             .node = drain && !r->u.target.is_site ? r->u.target.name : SK_STR(""),
                             .site = drain && r->u.target.is_site ? r->u.target.name : SK_STR(""),
                             .project = project,
                             .plan = adopt ? sk_str(plan->id) : SK_STR(""),
                             .text = text.ptr});
    if (adopt) {
        ctl_plan_adopt(c, t, plan, r->who);
    } else {
        plan_free(plan);
    }
    ctl_txn_send(c, t);
}

static void again(struct control *c, struct ctl_job *job)
{
    struct ctl_req *req = sk_steal(job->req);
    if (++req->tries >= CTL_TRIES_MAX) {
        refuse(c, req, SK_ERR_CONFLICT, "the state keeps moving under this request", "try again");
    } else {
        ctl_queue(c, req);
    }
}

/* The only plan that this request may bring into force; "" = whichever it is. */
static struct sk_str expected_plan(const struct control_request *r)
{
    switch (r->kind) {
    case CONTROL_REQ_APPLY:
        return r->u.apply.expect_plan;
    case CONTROL_REQ_REBALANCE:
        return r->u.rebalance.expect_plan;
    default:
        return SK_STR("");
    }
}

static void reply_plan(struct control *c, struct ctl_job *job)
{
    struct sk_buf json = SK_BUF_INIT;
    plan_json(job->result, &json);
    ctl_reply_ok(c, job->req->id, sk_buf_str(&json));
    sk_buf_release(&json);
}

static void request_finish(struct control *c, struct ctl_job *job)
{
    const struct control_request *r = &job->req->api;
    const struct plan *plan = job->result;
    bool forced = r->kind == CONTROL_REQ_PROJECT_DELETE ||
                  (r->kind == CONTROL_REQ_DRAIN && r->u.target.force);
    struct sk_err err = {0};

    if (plan == NULL) {
        err = job->error;
        ctl_refuse(c, sk_steal(job->req), &err);
    } else if (plan->verdict == PLAN_OK && !job->verified) {
        (void)sk_err_set(&err, SK_ERR_INTERNAL, "the plan was refused by the verifier: %s",
                         job->findings ? job->findings : "");
        ctl_refuse(c, sk_steal(job->req), &err);
    } else if (ctl_req_only_plans(r)) {
        reply_plan(c, job);
    } else if (ctl_drill_permits(c, r, &err) < 0) {
        ctl_refuse(c, sk_steal(job->req), &err);
    } else if (job->basis != c->basis && expected_plan(r).len > 0) {
        refuse(c, sk_steal(job->req), SK_ERR_CONFLICT, "the state moved while this was planned",
               "plan again");
    } else if (job->basis != c->basis) {
        again(c, job);
    } else if (expected_plan(r).len > 0 && !sk_str_is(expected_plan(r), plan->id)) {
        (void)sk_err_set(&err, SK_ERR_CONFLICT, "the state moved: the plan is now '%s'", plan->id);
        (void)sk_err_fix(&err, "look at the new plan, then apply that one");
        reply_plan_error(c, sk_steal(job->req), plan, &err);
    } else if (plan->verdict != PLAN_OK && !forced) {
        refuse_policy(c, sk_steal(job->req), plan);
    } else if (r->kind == CONTROL_REQ_REBALANCE && r->u.rebalance.max_moves >= 0 &&
               plan->nmoves > (size_t)r->u.rebalance.max_moves) {
        (void)sk_err_set(&err, SK_ERR_POLICY, "%zu moves are needed, %lld are allowed",
                         plan->nmoves, (long long)r->u.rebalance.max_moves);
        (void)sk_err_fix(&err, "allow them: --budget %zu", plan->nmoves);
        reply_plan_error(c, sk_steal(job->req), plan, &err);
    } else {
        commit_request(c, job, plan->verdict == PLAN_OK);
    }
}

/* Keeps the result: it is looked at when no transaction is under way (ctl_jobs_step). */
void ctl_plan_done(struct control *c, const struct control_event *ev)
{
    for (unsigned slot = 0; slot < CTL_SLOT_COUNT; slot++) {
        struct ctl_job *job = c->jobs[slot];
        if (job == NULL || job->finished || job->pub.request != ev->u.plan_done.request) {
            continue;
        }
        job->finished = true;
        job->result = ev->u.plan_done.plan;
        job->verified = ev->u.plan_done.verified;
        job->findings = ctl_dup(ev->u.plan_done.findings);
        if (job->result == NULL) {
            if (ev->u.plan_done.error != NULL && ev->u.plan_done.error->code != 0) {
                job->error = *ev->u.plan_done.error;
            } else {
                (void)sk_err_set(&job->error, SK_ERR_INTERNAL, "planning failed without a reason");
            }
        }
        return;
    }
    plan_free(ev->u.plan_done.plan); /* of a control that was there before */
}

static void finish(struct control *c, unsigned slot)
{
    struct ctl_job *job = c->jobs[slot];

    c->jobs[slot] = NULL;
    switch (job->kind) {
    case CTL_JOB_REQUEST:
        request_finish(c, job);
        break;
    case CTL_JOB_FAILOVER:
        ctl_failover_done(c, job);
        break;
    case CTL_JOB_RETURN:
        ctl_return_planned(c, job);
        break;
    }
    ctl_job_free(job);
}

void ctl_jobs_step(struct control *c)
{
    for (unsigned slot = CTL_SLOT_COUNT; slot-- > 0 && c->pending == NULL;) {
        if (c->jobs[slot] != NULL && c->jobs[slot]->finished) {
            finish(c, slot);
        }
    }
}

void ctl_jobs_unwritten(struct control *c, const struct sk_err *err)
{
    struct ctl_job *job = c->jobs[CTL_SLOT_REQUEST];

    if (job == NULL || !job->finished) {
        return;
    }
    if (!ctl_req_only_plans(&job->req->api)) {
        ctl_refuse(c, sk_steal(job->req), err);
        c->jobs[CTL_SLOT_REQUEST] = NULL;
        ctl_job_free(job);
    } else {
        finish(c, CTL_SLOT_REQUEST);
    }
}
