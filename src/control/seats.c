/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "control/internal.h"

/*
 * Requests to change the control nodes, and which nodes are taken (docs/control-nodes.md, Which
 * nodes). Everything that can be refused is refused here, before anything is touched.
 */
#define SITES_MAX 24      /* looked at: the nearest to the leader's */
#define UNKNOWN_MS 1000.0 /* between sites that nobody measured yet */

struct candidate {
    struct ctl_node *node;
    double near_ms; /* from the leader's site */
};

struct choice {
    struct control *c;
    struct candidate all[SITES_MAX];
    size_t count;
    size_t want; /* with the leader */
    size_t picked[CONTROL_MEMBERS_MAX], best[CONTROL_MEMBERS_MAX];
    double best_ms;
};

static bool has_seat(struct control *c, const char *node)
{
    return ctl_roster_seat(c, sk_str(node)) != NULL ||
           (c->roster.count == 0 && strcmp(node, c->own_node) == 0);
}

static double rtt(const struct control *c, const struct ctl_node *a, const struct ctl_node *b)
{
    double ms;
    return a->site == b->site ? 0 : ctl_rtt_between(c, a->site, b->site, &ms) ? ms : UNKNOWN_MS;
}

/* Why it cannot be one; NULL: it can. */
static const char *unfit(struct control *c, const struct ctl_node *n)
{
    if (n->life != CTL_ALIVE || !n->connected) {
        return "does not answer";
    }
    if (n->drained || n->site->drained) {
        return "is drained";
    }
    return n->site->trust == SITE_STORAGE ? "stands in a site that is trusted with storage alone"
                                          : NULL;
}

static void site_seated(struct control *c, const struct ctl_site *s, const char *but, bool *ret)
{
    *ret = false;
    for (size_t i = 0; i < c->nnodes; i++) {
        const struct ctl_node *n = c->nodes[i];
        *ret = *ret || (n->site == s && has_seat(c, n->name) && strcmp(n->name, but) != 0);
    }
}

/* One node a site, by name; sites that have a control node already (but `gone`) have none more. */
static void candidates(struct choice *ch, const char *gone)
{
    struct control *c = ch->c;
    const struct ctl_node *own = ctl_node(c, sk_str(c->own_node));

    for (size_t s = 0; s < c->nsites; s++) {
        struct ctl_node *found = NULL;
        bool seated;
        site_seated(c, c->sites[s], gone, &seated);
        for (size_t i = 0; i < c->nnodes && !seated && found == NULL; i++) {
            struct ctl_node *n = c->nodes[i];
            if (n->site == c->sites[s] && unfit(c, n) == NULL && strcmp(n->name, gone) != 0) {
                found = n;
            }
        }
        if (found == NULL) {
            continue;
        }
        struct candidate one = {found, own != NULL ? rtt(c, own, found) : UNKNOWN_MS};
        size_t at = ch->count < SITES_MAX ? ch->count++ : SITES_MAX - 1;
        if (at == SITES_MAX - 1 && ch->all[at].node != NULL && ch->all[at].near_ms <= one.near_ms) {
            continue;
        }
        while (at > 0 && ch->all[at - 1].near_ms > one.near_ms) {
            ch->all[at] = ch->all[at - 1];
            at--;
        }
        ch->all[at] = one;
    }
}

static int by_ms(const void *a, const void *b)
{
    double x = *(const double *)a;
    double y = *(const double *)b;
    return x < y ? -1 : x > y;
}

double ctl_commit_ms(const struct control *c, struct ctl_node *const *nodes, size_t count,
                     const struct ctl_node *leader)
{
    double all[CONTROL_MEMBERS_MAX + 1];
    size_t n = 0;

    for (size_t i = 0; i < count && n < SK_ARRAY_LEN(all); i++) {
        if (nodes[i] != leader) {
            all[n++] = rtt(c, leader, nodes[i]);
        }
    }
    qsort(all, n, sizeof(all[0]), by_ms);
    return count / 2 == 0 || n < count / 2 ? 0 : all[count / 2 - 1];
}

/* The commit of the slowest leader among them. */
static double slowest(struct choice *ch, size_t picked)
{
    struct ctl_node *nodes[CONTROL_MEMBERS_MAX];
    struct control *c = ch->c;
    size_t n = 0;
    double worst = 0;

    for (size_t i = 0; i < c->nnodes && n < CONTROL_MEMBERS_MAX; i++) {
        if (has_seat(c, c->nodes[i]->name)) {
            nodes[n++] = c->nodes[i];
        }
    }
    for (size_t i = 0; i < picked && n < CONTROL_MEMBERS_MAX; i++) {
        nodes[n++] = ch->all[ch->picked[i]].node;
    }
    for (size_t i = 0; i < n; i++) {
        double ms = ctl_commit_ms(c, nodes, n, nodes[i]);
        worst = ms > worst ? ms : worst;
    }
    return worst;
}

static bool before_by_name(const struct choice *ch)
{
    for (size_t i = 0; i < ch->want; i++) {
        int order = strcmp(ch->all[ch->picked[i]].node->name, ch->all[ch->best[i]].node->name);
        if (order != 0) {
            return order < 0;
        }
    }
    return false;
}

static void try_all(struct choice *ch, size_t from, size_t picked)
{
    if (picked == ch->want) {
        double ms = slowest(ch, picked);
        if (ms < ch->best_ms || (ms <= ch->best_ms && before_by_name(ch))) {
            ch->best_ms = ms;
            memcpy(ch->best, ch->picked, sizeof(ch->best));
        }
        return;
    }
    for (size_t i = from; i < ch->count; i++) {
        ch->picked[picked] = i;
        try_all(ch, i + 1, picked + 1);
    }
}

static int too_few(const struct choice *ch, size_t members, struct sk_err *err)
{
    size_t sites = ch->count + (members - ch->want);

    if (sites < 3) {
        (void)sk_err_set(err, SK_ERR_POLICY,
                         "control nodes in %zu site%s cannot outlive the loss of one: neither of "
                         "two can know that the other is gone, and not just cut off",
                         sites, sites == 1 ? "" : "s");
        return sk_err_fix(err, "add a small third server anywhere, as a witness that runs no "
                               "services: skerry token --site NAME --role control, then join");
    }
    (void)sk_err_set(err, SK_ERR_POLICY,
                     "%zu control nodes need as many sites with a node that "
                     "answers; there are %zu",
                     members, sites);
    return sk_err_fix(err, "3 are enough to outlive the loss of any one site");
}

static int choose(struct control *c, struct ctl_req *req, size_t want, const char *gone,
                  struct ctl_draft *d, struct sk_err *err)
{
    struct choice *ch = sk_xcalloc(1, sizeof(*ch));
    size_t members = want + (c->roster.count ? c->roster.count : 1) - (gone[0] ? 1 : 0);
    int rc = 0;

    (void)req;
    ch->c = c;
    ch->want = want;
    ch->best_ms = 1e9;
    candidates(ch, gone);
    if (ch->count < want) {
        rc = too_few(ch, members, err);
    } else {
        try_all(ch, 0, 0);
        for (size_t i = 0; i < want; i++) {
            d->op.nodes[d->op.nnodes++] = ch->all[ch->best[i]].node->name;
        }
    }
    free(ch);
    return rc;
}

/* What the operator named, checked one by one. */
static int take_named(struct control *c, const struct ctl_req *req, const char *gone,
                      struct ctl_draft *d, struct sk_err *err)
{
    for (size_t i = 0; i < req->api.u.seats.nnodes; i++) {
        struct sk_str name = req->api.u.seats.nodes[i];
        struct ctl_node *n = ctl_node(c, name);
        const char *why = n != NULL ? unfit(c, n) : NULL;
        bool seated = false;
        if (n == NULL) {
            return sk_err_set(err, SK_ERR_NOT_FOUND, "there is no node '%.*s'", SK_PRI(name));
        }
        if (has_seat(c, n->name)) {
            if (req->api.kind == CONTROL_REQ_GROW) {
                continue; /* it is one already */
            }
            return sk_err_set(err, SK_ERR_CONFLICT, "node '%s' is a control node already", n->name);
        }
        if (why != NULL) {
            return sk_err_set(err, SK_ERR_CONFLICT, "node '%s' %s", n->name, why);
        }
        site_seated(c, n->site, gone, &seated);
        for (size_t k = 0; k < d->op.nnodes; k++) {
            seated = seated || ctl_node(c, sk_str(d->op.nodes[k]))->site == n->site;
        }
        if (seated) {
            (void)sk_err_set(err, SK_ERR_POLICY,
                             "site '%s' would have two control nodes: its loss "
                             "would take both",
                             n->site->name);
            return sk_err_fix(err, "name nodes of different sites");
        }
        if (d->op.nnodes + 1 >= CONTROL_MEMBERS_MAX) {
            return sk_err_set(err, SK_ERR_LIMIT, "more nodes than there can be control nodes");
        }
        d->op.nodes[d->op.nnodes++] = n->name;
    }
    return 0;
}

/* ---- requests ---- */

static int check_free(const struct control *c, struct sk_err *err)
{
    const struct ctl_op *op = &c->growth.op;

    if (op->kind != CTL_OP_NONE) {
        (void)sk_err_set(err, SK_ERR_CONFLICT, "%s of the control nodes is under way (%s)",
                         ctl_op_name(op->kind), ctl_phase_name(op->phase));
        return sk_err_fix(err, "wait for it, or give it up: skerry control abort");
    }
    return 0;
}

static int grow_check(struct control *c, struct ctl_req *req, struct ctl_draft *d,
                      struct sk_err *err)
{
    size_t have = c->roster.count ? c->roster.count : 1;
    int64_t want = req->api.u.seats.members;

    d->op.kind = CTL_OP_GROW;
    if (take_named(c, req, "", d, err) < 0) {
        return err->code;
    }
    if (want == 0) {
        want = d->op.nnodes > 0 ? (int64_t)(d->op.nnodes + have) : 3;
    }
    if (want != 3 && want != 5) {
        (void)sk_err_set(err, SK_ERR_INPUT, "%lld control nodes: there can be 1, 3 or 5",
                         (long long)want);
        return sk_err_fix(err, "an even number outlives no more losses than one less");
    }
    if ((size_t)want <= have) {
        return sk_err_set(err, SK_ERR_CONFLICT, "there are %zu control nodes already", have);
    }
    if (req->api.u.seats.nendpoints > 0) {
        if (c->roster.etcd) {
            return sk_err_set(err, SK_ERR_CONFLICT, "the state is in an etcd already");
        }
        d->external = true;
        d->endpoints = req->api.u.seats.endpoints;
        d->nendpoints = req->api.u.seats.nendpoints;
    }
    if (d->op.nnodes == 0 && choose(c, req, (size_t)want - have, "", d, err) < 0) {
        return err->code;
    }
    if (d->op.nnodes + have != (size_t)want) {
        return sk_err_set(err, SK_ERR_INPUT,
                          "%zu nodes are named; %lld control nodes need %zu more", d->op.nnodes,
                          (long long)want, (size_t)want - have);
    }
    if (!c->roster.etcd) { /* the present one gets an etcd too */
        memmove(d->op.nodes + 1, d->op.nodes, d->op.nnodes * sizeof(d->op.nodes[0]));
        d->op.nodes[0] = c->own_node;
        d->op.nnodes++;
    }
    return 0;
}

static int shrink_check(struct control *c, const struct ctl_req *req, struct ctl_draft *d,
                        struct sk_err *err)
{
    const struct sk_str *to = req->api.u.seats.nnodes ? &req->api.u.seats.nodes[0] : NULL;
    const struct ctl_seat *m;

    if (!c->roster.etcd) {
        return sk_err_set(err, SK_ERR_CONFLICT, "there is one control node already");
    }
    d->op.kind = CTL_OP_SHRINK;
    d->op.phase = CTL_PHASE_COPY;
    d->op.nodes[0] = c->own_node;
    d->op.nnodes = 1;
    if (to == NULL) {
        return 0;
    }
    for (size_t i = 0; i < c->roster.count; i++) {
        m = &c->roster.seats[i];
        const struct ctl_node *n = ctl_node(c, sk_str(m->node));
        if (sk_str_is(*to, m->node) && n != NULL && unfit(c, n) == NULL) {
            d->op.nodes[0] = m->node;
            return 0;
        }
    }
    return sk_err_set(err, SK_ERR_NOT_FOUND, "'%.*s' is no control node that answers", SK_PRI(*to));
}

static int replace_check(struct control *c, struct ctl_req *req, struct ctl_draft *d,
                         struct sk_err *err)
{
    struct sk_str gone = req->api.u.seats.gone;
    struct ctl_seat *m = NULL;

    for (size_t i = 0; i < c->roster.count; i++) {
        m = sk_str_is(gone, c->roster.seats[i].node) ? &c->roster.seats[i] : m;
    }
    if (m == NULL || !c->roster.etcd) {
        (void)sk_err_set(err, SK_ERR_NOT_FOUND, "'%.*s' is none of several control nodes",
                         SK_PRI(gone));
        return sk_err_fix(err, "skerry control status names them");
    }
    d->op.kind = CTL_OP_REPLACE;
    d->op.gone = m->node;
    d->op.gone_url = m->peer_url;
    if (take_named(c, req, m->node, d, err) < 0 ||
        (d->op.nnodes == 0 && choose(c, req, 1, m->node, d, err) < 0)) {
        return err->code;
    }
    if (d->op.nnodes != 1) {
        return sk_err_set(err, SK_ERR_INPUT, "one node replaces another, not %zu", d->op.nnodes);
    }
    return 0;
}

static int abort_check(const struct control *c, struct sk_err *err)
{
    const struct ctl_op *op = &c->growth.op;

    if (op->kind == CTL_OP_NONE) {
        return sk_err_set(err, SK_ERR_CONFLICT, "nothing is being done to the control nodes");
    }
    switch (op->phase) {
    case CTL_PHASE_PREPARE:
    case CTL_PHASE_MEMBERS:
    case CTL_PHASE_ADD:
    case CTL_PHASE_COPY:
        return 0;
    case CTL_PHASE_JOIN:
    case CTL_PHASE_REMOVE:
    case CTL_PHASE_LEAVE:
        return sk_err_set(err, SK_ERR_CONFLICT, "it has taken place; only its end is waited for");
    case CTL_PHASE_UNDO:
    case CTL_PHASE_COUNT:
        break;
    }
    return sk_err_set(err, SK_ERR_CONFLICT, "it is being undone already");
}

static void begin(struct control *c, struct ctl_req *req, struct ctl_draft *d,
                  struct sk_arena *arena)
{
    struct sk_buf text = SK_BUF_INIT;
    char *who = ctl_dup(req->api.who);

    ctl_id(c, d->op.id);
    d->op.who = who;
    d->op.wall_ms = c->wall_ms;
    d->last = NULL;
    sk_buf_printf(&text, "%s begins:", ctl_op_name(d->op.kind));
    for (size_t i = 0; i < d->op.nnodes; i++) {
        sk_buf_printf(&text, " %s", d->op.nodes[i]);
    }
    if (d->op.gone != NULL) {
        sk_buf_printf(&text, " for %s", d->op.gone);
    }
    ctl_phase_put(c, d, req, sk_arena_str(arena, sk_buf_str(&text)).ptr);
    sk_buf_release(&text);
    free(who);
}

void ctl_req_seats(struct control *c, struct ctl_req *req)
{
    struct sk_arena *arena = sk_arena_new();
    struct ctl_draft d;
    struct sk_err err = {0};
    int rc = 0;

    ctl_draft_init(c, arena, &d);
    if (req->api.kind == CONTROL_REQ_ABORT) {
        rc = abort_check(c, &err);
        if (rc == 0) {
            char *why = ctl_dup(sk_arena_printf(arena, "aborted by %.*s", SK_PRI(req->api.who)));
            d.op.phase = CTL_PHASE_UNDO;
            d.op.error = why;
            ctl_phase_put(c, &d, req, why);
            free(why);
        }
    } else {
        rc = check_free(c, &err);
        memset(&d.op, 0, sizeof(d.op));
        if (rc == 0) {
            rc = req->api.kind == CONTROL_REQ_GROW     ? grow_check(c, req, &d, &err)
                 : req->api.kind == CONTROL_REQ_SHRINK ? shrink_check(c, req, &d, &err)
                                                       : replace_check(c, req, &d, &err);
        }
        if (rc == 0) {
            begin(c, req, &d, arena);
        }
    }
    if (rc < 0) {
        ctl_refuse(c, req, &err);
    }
    sk_arena_free(arena);
}
