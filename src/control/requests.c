/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "control/internal.h"

/*
 * Requests wait in one queue, in the order in which they came, each copied into its own arena. One
 * that changes something holds the queue until its transaction is committed; one that needs a plan
 * leaves the queue while the plan is made, so that joins and renewals go on meanwhile.
 */

void ctl_queue(struct control *c, struct ctl_req *req)
{
    req->next = NULL;
    *c->queue_end = req;
    c->queue_end = &req->next;
}

void ctl_req_free(struct ctl_req *req)
{
    if (req != NULL) {
        sk_arena_free(req->arena);
        free(req);
    }
}

void ctl_refuse(struct control *c, struct ctl_req *req, const struct sk_err *err)
{
    ctl_reply_err(c, req->id, err, SK_STR(""));
    ctl_req_free(req);
}

void ctl_requests_refuse(struct control *c, const char *leader)
{
    if (c->drill_req != NULL) { /* that waits as well */
        ctl_queue(c, sk_steal(c->drill_req));
    }
    while (c->queue != NULL) {
        struct ctl_req *req = c->queue;
        struct sk_err err = {0};
        c->queue = req->next;
        if (c->queue == NULL) {
            c->queue_end = &c->queue;
        }
        (void)sk_err_set(&err, SK_ERR_UNAVAILABLE, "control node '%s' does not lead now; '%s' does",
                         c->own_node, leader);
        (void)sk_err_fix(&err, "ask '%s'", leader);
        ctl_reply_elsewhere(c, req->id, &err);
        ctl_req_free(req);
    }
}

bool ctl_req_only_plans(const struct control_request *r)
{
    return (r->kind == CONTROL_REQ_APPLY && r->u.apply.dry_run) ||
           (r->kind == CONTROL_REQ_REBALANCE && r->u.rebalance.dry_run);
}

/* They would have to wait for what fails anyhow, and that takes its time: each sign of life and
 * each renewal of a lease is tried before it. The first of those that is written ends this. */
void ctl_requests_unwritten(struct control *c)
{
    struct sk_err err = {0};
    struct ctl_req **at = &c->queue;

    if (!c->unwritten || !ctl_shared(c)) {
        return;
    }
    (void)sk_err_set(&err, SK_ERR_UNAVAILABLE,
                     "the state cannot be written at present, so nothing was begun");
    (void)sk_err_fix(&err, "try again; 'skerry control status' says who answers");
    ctl_drill_drop_wait(c, &err);
    while (*at != NULL) {
        struct ctl_req *req = *at;
        bool plans = req->kind == CTL_REQ_API && ctl_req_only_plans(&req->api);
        if (plans && c->jobs[CTL_SLOT_REQUEST] != NULL) {
            at = &req->next;
            continue;
        }
        *at = req->next;
        req->next = NULL;
        if (plans) {
            ctl_request_run(c, req); /* needs no turn: it writes nothing */
        } else {
            ctl_refuse(c, req, &err);
        }
    }
    c->queue_end = at;
    ctl_jobs_unwritten(c, &err);
}

static struct ctl_req *req_new(enum ctl_req_kind kind, uint64_t id)
{
    struct ctl_req *req = sk_xcalloc(1, sizeof(*req));
    req->arena = sk_arena_new();
    req->kind = kind;
    req->id = id;
    return req;
}

struct ctl_req *ctl_req_join(const struct control_join *in)
{
    struct ctl_req *req = req_new(CTL_REQ_JOIN, in->request);
    struct control_join *j = &req->join;
    struct sk_arena *a = req->arena;

    *j = *in;
    j->token_hash = ctl_arena_dup(a, in->token_hash);
    j->csr = ctl_arena_dup(a, in->csr);
    j->node = ctl_arena_dup(a, in->node);
    j->site = ctl_arena_dup(a, in->site);
    j->address = ctl_arena_dup(a, in->address);
    j->machine_id = ctl_arena_dup(a, in->machine_id);
    j->incarnation = ctl_arena_dup(a, in->incarnation);
    struct sk_kv *labels = SK_ARENA_ARRAY(a, struct sk_kv, in->nlabels + 1);
    for (size_t i = 0; i < in->nlabels; i++) {
        labels[i].key = ctl_arena_dup(a, in->labels[i].key);
        labels[i].value = ctl_arena_dup(a, in->labels[i].value);
    }
    j->labels = labels;
    return req;
}

struct ctl_req *ctl_req_renew(const struct control_event *ev)
{
    struct ctl_req *req = req_new(CTL_REQ_RENEW, ev->u.renew.request);
    req->renew_node = ctl_arena_dup(req->arena, ev->u.renew.node);
    req->renew_csr = ctl_arena_dup(req->arena, ev->u.renew.csr);
    return req;
}

static void apply_copy(struct sk_arena *a, struct control_request *to,
                       const struct control_request *in)
{
    struct sk_str *projects = SK_ARENA_ARRAY(a, struct sk_str, in->u.apply.nprojects + 1);
    struct control_digest *digests =
        SK_ARENA_ARRAY(a, struct control_digest, in->u.apply.ndigests + 1);

    for (size_t i = 0; i < in->u.apply.nprojects; i++) {
        projects[i] = ctl_arena_dup(a, in->u.apply.projects[i]);
    }
    for (size_t i = 0; i < in->u.apply.ndigests; i++) {
        digests[i].image = ctl_arena_dup(a, in->u.apply.digests[i].image);
        digests[i].digest = ctl_arena_dup(a, in->u.apply.digests[i].digest);
    }
    to->u.apply.projects = projects;
    to->u.apply.digests = digests;
    to->u.apply.expect_plan = ctl_arena_dup(a, in->u.apply.expect_plan);
}

static const struct sk_str *names_copy(struct sk_arena *a, const struct sk_str *names, size_t count)
{
    struct sk_str *copy = SK_ARENA_ARRAY(a, struct sk_str, count + 1);

    for (size_t i = 0; i < count; i++) {
        copy[i] = ctl_arena_dup(a, names[i]);
    }
    return copy;
}

static void seats_copy(struct sk_arena *a, struct control_request *to,
                       const struct control_request *in)
{
    to->u.seats.nodes = names_copy(a, in->u.seats.nodes, in->u.seats.nnodes);
    to->u.seats.endpoints = names_copy(a, in->u.seats.endpoints, in->u.seats.nendpoints);
    to->u.seats.gone = ctl_arena_dup(a, in->u.seats.gone);
}

struct ctl_req *ctl_req_api(const struct control_request *in)
{
    struct ctl_req *req = req_new(CTL_REQ_API, in->id);
    struct sk_arena *a = req->arena;
    struct control_request *to = &req->api;

    *to = *in;
    to->who = ctl_arena_dup(a, in->who);
    switch (in->kind) {
    case CONTROL_REQ_APPLY:
        apply_copy(a, to, in);
        break;
    case CONTROL_REQ_SITE_SET:
    case CONTROL_REQ_NODE_SET:
    case CONTROL_REQ_LINK_SET:
        to->u.set.name = ctl_arena_dup(a, in->u.set.name);
        to->u.set.other = ctl_arena_dup(a, in->u.set.other);
        to->u.set.body = ctl_arena_dup(a, in->u.set.body);
        break;
    case CONTROL_REQ_TOKEN_CREATE:
        to->u.token.hash = ctl_arena_dup(a, in->u.token.hash);
        to->u.token.site = ctl_arena_dup(a, in->u.token.site);
        to->u.token.role = ctl_arena_dup(a, in->u.token.role);
        break;
    case CONTROL_REQ_KEY_CREATE:
        to->u.key.hash = ctl_arena_dup(a, in->u.key.hash);
        to->u.key.name = ctl_arena_dup(a, in->u.key.name);
        to->u.key.role = ctl_arena_dup(a, in->u.key.role);
        break;
    case CONTROL_REQ_PROJECT_DELETE:
    case CONTROL_REQ_DRAIN:
    case CONTROL_REQ_UNDRAIN:
    case CONTROL_REQ_NODE_REMOVE:
    case CONTROL_REQ_SITE_REMOVE:
    case CONTROL_REQ_TOKEN_REVOKE:
    case CONTROL_REQ_KEY_REVOKE:
        to->u.target.name = ctl_arena_dup(a, in->u.target.name);
        break;
    case CONTROL_REQ_REBALANCE:
        to->u.rebalance.expect_plan = ctl_arena_dup(a, in->u.rebalance.expect_plan);
        break;
    case CONTROL_REQ_DRILL:
        to->u.drill.site = ctl_arena_dup(a, in->u.drill.site);
        break;
    case CONTROL_REQ_GROW:
    case CONTROL_REQ_SHRINK:
    case CONTROL_REQ_REPLACE:
    case CONTROL_REQ_ABORT:
        seats_copy(a, to, in);
        break;
    case CONTROL_REQ_DRILL_ABORT:
    case CONTROL_REQ_RETURN:
    case CONTROL_REQ_COUNT:
        break;
    }
    return req;
}

static void api_run(struct control *c, struct ctl_req *req)
{
    struct sk_err err = {0};

    if (ctl_drill_permits(c, &req->api, &err) < 0) {
        ctl_refuse(c, req, &err);
        return;
    }
    switch (req->api.kind) {
    case CONTROL_REQ_APPLY:
    case CONTROL_REQ_REBALANCE:
    case CONTROL_REQ_PROJECT_DELETE:
    case CONTROL_REQ_DRAIN:
        ctl_req_planned(c, req);
        break;
    case CONTROL_REQ_UNDRAIN:
        ctl_req_undrain(c, req);
        break;
    case CONTROL_REQ_NODE_REMOVE:
        ctl_req_node_remove(c, req);
        break;
    case CONTROL_REQ_SITE_REMOVE:
        ctl_req_site_remove(c, req);
        break;
    case CONTROL_REQ_SITE_SET:
        ctl_req_site_set(c, req);
        break;
    case CONTROL_REQ_NODE_SET:
        ctl_req_node_set(c, req);
        break;
    case CONTROL_REQ_LINK_SET:
        ctl_req_link_set(c, req);
        break;
    case CONTROL_REQ_TOKEN_CREATE:
        ctl_req_token_create(c, req);
        break;
    case CONTROL_REQ_TOKEN_REVOKE:
        ctl_req_token_revoke(c, req);
        break;
    case CONTROL_REQ_KEY_CREATE:
        ctl_req_key_create(c, req);
        break;
    case CONTROL_REQ_KEY_REVOKE:
        ctl_req_key_revoke(c, req);
        break;
    case CONTROL_REQ_RETURN:
        ctl_req_return(c, req);
        break;
    case CONTROL_REQ_DRILL:
        ctl_req_drill(c, req);
        break;
    case CONTROL_REQ_DRILL_ABORT:
        ctl_req_drill_abort(c, req);
        break;
    case CONTROL_REQ_GROW:
    case CONTROL_REQ_SHRINK:
    case CONTROL_REQ_REPLACE:
    case CONTROL_REQ_ABORT:
        ctl_req_seats(c, req);
        break;
    case CONTROL_REQ_COUNT:
        SK_ASSERT(false && "no request");
    }
}

void ctl_request_run(struct control *c, struct ctl_req *req)
{
    switch (req->kind) {
    case CTL_REQ_JOIN:
        ctl_join(c, req);
        break;
    case CTL_REQ_RENEW:
        ctl_renew(c, req);
        break;
    case CTL_REQ_API:
        api_run(c, req);
        break;
    }
}
