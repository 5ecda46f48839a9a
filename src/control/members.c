/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "control/internal.h"

/*
 * Membership: who may join, certificates, channels that open and close, what nodes report, removal.
 * Everything in a join comes from a stranger: it is checked here down to the characters, because it
 * ends in records, in frames to other nodes and in the ingress's configuration.
 */

static bool plain(struct sk_str s, size_t max)
{
    for (size_t i = 0; i < s.len; i++) {
        if ((unsigned char)s.ptr[i] < 0x20 || (unsigned char)s.ptr[i] > 0x7e) {
            return false;
        }
    }
    return s.len <= max;
}

/* An IPv4 or IPv6 address, or a DNS name: nothing that means anything to a configuration file. */
static bool address_ok(struct sk_str s)
{
    for (size_t i = 0; i < s.len; i++) {
        char ch = s.ptr[i];
        if (!((ch >= '0' && ch <= '9') || (ch >= 'a' && ch <= 'z') || ch == '.' || ch == ':' ||
              ch == '-')) {
            return false;
        }
    }
    return s.len > 0 && s.len <= 253;
}

static enum site_trust role_trust(struct sk_str role)
{
    return sk_str_is(role, "control")   ? SITE_CONTROL
           : sk_str_is(role, "storage") ? SITE_STORAGE
                                        : SITE_FULL;
}

static int join_shape(const struct control_join *j, struct sk_err *err)
{
    if (!sk_str_is_label(j->node) || !sk_str_is_label(j->site)) {
        return sk_err_set(err, SK_ERR_INPUT, "names of nodes and sites are DNS labels");
    }
    if (!address_ok(j->address)) {
        return sk_err_set(err, SK_ERR_INPUT, "the node's address is not valid");
    }
    if (!plain(j->machine_id, 128) || !plain(j->incarnation, 128) || j->csr.len == 0) {
        return sk_err_set(err, SK_ERR_INPUT, "machine-id, incarnation or request is not valid");
    }
    if (j->cpus_nano <= 0 || j->memory_bytes <= 0 || j->disk_bytes < 0) {
        return sk_err_set(err, SK_ERR_INPUT, "the node offers no cpus or no memory");
    }
    if (j->nlabels > 64) {
        return sk_err_set(err, SK_ERR_LIMIT, "more than 64 labels");
    }
    for (size_t i = 0; i < j->nlabels; i++) {
        if (!plain(j->labels[i].key, 128) || j->labels[i].key.len == 0 ||
            !plain(j->labels[i].value, 256)) {
            return sk_err_set(err, SK_ERR_INPUT, "a label is not plain text");
        }
        for (size_t k = 0; k < i; k++) {
            if (sk_str_eq(j->labels[k].key, j->labels[i].key)) {
                return sk_err_set(err, SK_ERR_INPUT, "the same label comes twice");
            }
        }
    }
    return 0;
}

static int join_token(const struct control *c, const struct control_join *j, struct ctl_token **ret,
                      struct sk_err *err)
{
    size_t at;
    if (!ctl_find(c->tokens, c->ntokens, j->token_hash, &at)) {
        (void)sk_err_set(err, SK_ERR_DENIED, "the join token is not known here");
        return sk_err_fix(err, "make a new one: skerry token --site %.*s", SK_PRI(j->site));
    }
    struct ctl_token *t = c->tokens[at];
    if (t->used_by[0] != '\0') {
        (void)sk_err_set(err, SK_ERR_DENIED, "the join token was used already, by node '%s'",
                         t->used_by);
        return sk_err_fix(err, "a token is good for one node: make a new one");
    }
    if (c->wall_ms >= t->expires_wall_ms) {
        (void)sk_err_set(err, SK_ERR_DENIED, "the join token has expired");
        return sk_err_fix(err, "make a new one: skerry token --site %.*s", SK_PRI(j->site));
    }
    if (!sk_str_is(j->site, t->site)) {
        (void)sk_err_set(err, SK_ERR_DENIED, "the join token is for site '%s', not '%.*s'", t->site,
                         SK_PRI(j->site));
        return sk_err_fix(err, "join with --site %s", t->site);
    }
    const struct ctl_site *site = ctl_site(c, j->site);
    if (site != NULL && site->trust != role_trust(sk_str(t->role))) {
        return sk_err_set(err, SK_ERR_DENIED,
                          "the join token's role '%s' is not what site '%s' is trusted with",
                          t->role, site->name);
    }
    *ret = t;
    return 0;
}

static int join_place(const struct control *c, const struct control_join *j, struct sk_err *err)
{
    if (ctl_node(c, j->node) != NULL) {
        (void)sk_err_set(err, SK_ERR_CONFLICT, "there is a node '%.*s' already", SK_PRI(j->node));
        return sk_err_fix(err, "choose another name by --node, or first: skerry remove node %.*s",
                          SK_PRI(j->node));
    }
    for (size_t i = 0; i < c->nnodes && !c->lab; i++) {
        if (j->machine_id.len > 0 && sk_str_is(j->machine_id, c->nodes[i]->machine_id)) {
            (void)sk_err_set(err, SK_ERR_CONFLICT,
                             "this machine is a node already: '%s' has the same machine-id",
                             c->nodes[i]->name);
            return sk_err_fix(err, "two nodes on one machine fail together; for tries: "
                                   "skerry init --lab");
        }
    }
    if (c->nnodes >= INVENTORY_NODES_MAX || c->nsites >= INVENTORY_SITES_MAX) {
        return sk_err_set(err, SK_ERR_LIMIT, "the cluster is full");
    }
    return 0;
}

void ctl_node_record(struct sk_jw *w, const struct control_join *j, const char *prefix,
                     int64_t wall_ms)
{
    sk_jw_obj(w);
    sk_jw_kint(w, "v", 1);
    sk_jw_kstr(w, "site", j->site);
    sk_jw_kstr(w, "address", j->address);
    sk_jw_kstr(w, "machine_id", j->machine_id);
    sk_jw_kstr(w, "incarnation", j->incarnation);
    sk_jw_kcstr(w, "prefix", prefix);
    sk_jw_kint(w, "cpus_nano", j->cpus_nano);
    sk_jw_kint(w, "memory_bytes", j->memory_bytes);
    sk_jw_kint(w, "disk_bytes", j->disk_bytes);
    sk_jw_kint(w, "joined_ms", wall_ms);
    sk_jw_key(w, "labels");
    sk_jw_obj(w);
    for (size_t i = 0; i < j->nlabels; i++) {
        sk_jw_keystr(w, j->labels[i].key);
        sk_jw_str(w, j->labels[i].value);
    }
    sk_jw_obj_end(w);
    sk_jw_obj_end(w);
}

void ctl_site_record(struct sk_jw *w, struct sk_str role)
{
    enum site_trust trust = role_trust(role);
    sk_jw_obj(w);
    sk_jw_kint(w, "v", 1);
    sk_jw_kcstr(w, "trust",
                trust == SITE_FULL      ? "full"
                : trust == SITE_STORAGE ? "storage"
                                        : "control");
    sk_jw_obj_end(w);
}

void ctl_certs_put(struct control *c, struct ctl_txn *t, struct sk_str node, struct sk_str serial,
                   int64_t not_after_ms)
{
    struct sk_buf out = SK_BUF_INIT;
    struct sk_jw w;
    size_t at;

    sk_jw_init(&w, &out);
    sk_jw_obj(&w);
    sk_jw_kint(&w, "v", 1);
    sk_jw_key(&w, "serials");
    sk_jw_arr(&w);
    if (ctl_find(c->certs, c->ncerts, node, &at)) {
        for (size_t i = 0; i < c->certs[at]->count; i++) {
            const struct ctl_cert *k = &c->certs[at]->items[i];
            if (k->not_after_ms > c->wall_ms) {
                sk_jw_obj(&w);
                sk_jw_kcstr(&w, "serial", k->serial);
                sk_jw_kint(&w, "not_after_ms", k->not_after_ms);
                ctl_rest_put(&w, k->extra);
                sk_jw_obj_end(&w);
            }
        }
    }
    sk_jw_obj(&w);
    sk_jw_kstr(&w, "serial", serial);
    sk_jw_kint(&w, "not_after_ms", not_after_ms);
    sk_jw_obj_end(&w);
    sk_jw_arr_end(&w);
    if (ctl_find(c->certs, c->ncerts, node, &at)) {
        ctl_rest_put(&w, c->certs[at]->extra);
    }
    sk_jw_obj_end(&w);
    ctl_txn_put(t, ctl_key_text(t, "certs", node), &out);
    sk_buf_release(&out);
}

/* The certificate's number is chosen here and recorded before it is issued: what is not on record
 * could not be revoked. */
static void issue(struct control *c, struct ctl_txn *t, bool renewal, struct sk_str node,
                  struct sk_str site, struct sk_str prefix, struct sk_str csr)
{
    struct control_command *cmd = ctl_out(&t->after, CONTROL_CMD_ISSUE_CERT);
    struct sk_arena *a = t->after.arena;
    char serial[33];

    ctl_id(c, serial);
    cmd->u.issue.request = t->req->id;
    cmd->u.issue.renewal = renewal;
    cmd->u.issue.node = ctl_arena_dup(a, node);
    cmd->u.issue.site = ctl_arena_dup(a, site);
    cmd->u.issue.csr = ctl_arena_dup(a, csr);
    cmd->u.issue.prefix = ctl_arena_dup(a, prefix);
    cmd->u.issue.cluster = ctl_arena_dup(a, sk_str(c->cluster));
    cmd->u.issue.serial = ctl_arena_dup(a, sk_str(serial));
    cmd->u.issue.not_after_ms = c->wall_ms + CONTROL_CERT_TTL_MS;
    ctl_certs_put(c, t, node, sk_str(serial), cmd->u.issue.not_after_ms);
}

static void token_used(struct control *c, struct ctl_txn *t, const struct ctl_token *token,
                       const struct control_join *j)
{
    struct sk_buf out = SK_BUF_INIT;
    struct sk_buf patch = SK_BUF_INIT;
    const struct sk_node *old = NULL;
    const struct sk_node *over = NULL;
    struct sk_jw w;

    sk_buf_printf(&patch, "{\"used_by\":\"%.*s\",\"used_ms\":%lld}", SK_PRI(j->node),
                  (long long)c->wall_ms);
    (void)sk_json_read(t->arena, "token", sk_str(token->raw), NULL, &old, NULL);
    (void)sk_json_read(t->arena, "patch", sk_buf_str(&patch), NULL, &over, NULL);
    sk_jw_init(&w, &out);
    ctl_merge(&w, old, over);
    ctl_txn_put(t, ctl_key_text(t, "tokens", sk_str(token->hash)), &out);
    sk_buf_release(&out);
    sk_buf_release(&patch);
}

void ctl_join(struct control *c, struct ctl_req *req)
{
    const struct control_join *j = &req->join;
    struct ctl_token *token = NULL;
    struct sk_err err = {0};
    struct sk_buf out = SK_BUF_INIT;
    struct sk_jw w;
    char prefix[24];

    if (join_shape(j, &err) < 0 || join_token(c, j, &token, &err) < 0 ||
        join_place(c, j, &err) < 0 || ctl_prefix_pick(c, prefix, &err) < 0) {
        ctl_refuse(c, req, &err);
        return;
    }
    struct ctl_txn *t = ctl_txn_new(req);
    token_used(c, t, token, j);
    if (ctl_site(c, j->site) == NULL) {
        sk_jw_init(&w, &out);
        ctl_site_record(&w, sk_str(token->role));
        ctl_txn_put(t, ctl_key_text(t, "sites", j->site), &out);
    }
    sk_jw_init(&w, &out);
    ctl_node_record(&w, j, prefix, c->wall_ms);
    ctl_txn_put(t, ctl_key_text(t, "nodes", j->node), &out);
    sk_buf_release(&out);
    struct sk_str who = sk_arena_printf(t->arena, "token of %s", token->who);
    ctl_txn_event(c, t,
                  &(struct ctl_evtext){.what = "node_joined",
                                       .who = who.ptr,
                                       .node = j->node,
                                       .site = j->site,
                                       .text = "a node joined"});
    issue(c, t, false, j->node, j->site, sk_str(prefix), j->csr);
    ctl_txn_send(c, t);
}

#define CERTS_VALID_MAX 32

void ctl_renew(struct control *c, struct ctl_req *req)
{
    const struct ctl_node *n = ctl_node(c, req->renew_node);
    struct sk_err err = {0};
    size_t at;
    size_t valid = 0;

    if (n == NULL) {
        (void)sk_err_set(&err, SK_ERR_DENIED, "there is no node '%.*s'", SK_PRI(req->renew_node));
        ctl_refuse(c, req, &err);
        return;
    }
    if (ctl_find(c->certs, c->ncerts, req->renew_node, &at)) {
        for (size_t i = 0; i < c->certs[at]->count; i++) {
            valid += c->certs[at]->items[i].not_after_ms > c->wall_ms;
        }
    }
    if (valid >= CERTS_VALID_MAX) {
        (void)sk_err_set(&err, SK_ERR_LIMIT, "node '%s' has %zu valid certificates already",
                         n->name, valid);
        ctl_refuse(c, req, &err);
        return;
    }
    struct ctl_txn *t = ctl_txn_new(req);
    issue(c, t, true, sk_str(n->name), sk_str(n->site->name), sk_str(n->prefix), req->renew_csr);
    ctl_txn_send(c, t);
}

/* ---- channels ---- */

static void close_channel(struct control *c, struct sk_str node, int code, const char *text)
{
    struct control_command *cmd = ctl_out(c->out, CONTROL_CMD_CLOSE);
    cmd->u.close.node = sk_arena_str(c->out->arena, node);
    (void)sk_err_set(&cmd->u.close.err, code, "%s", text);
}

void ctl_hello(struct control *c, const struct control_event *ev)
{
    struct ctl_node *n = ctl_node(c, ev->u.hello.node);
    if (n == NULL) {
        close_channel(c, ev->u.hello.node, SK_ERR_DENIED, "this node is not in the cluster");
        return;
    }
    if (!sk_str_is(ev->u.hello.incarnation, n->incarnation)) {
        close_channel(c, ev->u.hello.node, SK_ERR_CONFLICT,
                      "this node was installed anew: remove it, then join again");
        return;
    }
    ctl_set(&n->boot, ev->u.hello.boot);
    ctl_set(&n->version, ev->u.hello.version);
    if (ev->u.hello.address.len > 0 && address_ok(ev->u.hello.address) &&
        !sk_str_is(ev->u.hello.address, n->address)) {
        ctl_set(&n->new_address, ev->u.hello.address);
        c->dirty_address = true;
    }
    n->connected = true;
    n->told_rev = 0;
    c->roster.untold = true;
    n->full_seen = n->beat_seen = false;
    n->beat_seq = -1;
    n->acked_rev = 0;
    n->rev = 0; /* whatever was sent before may never have come: send it all again */
    ctl_sent_forget(c, n);
    free(n->body);
    n->body = NULL;
    ctl_dirty(c, n);
    for (size_t i = 0; i < n->nprobes; i++) {
        n->probes[i].since_ms = -1;
        n->probes[i].asked_rev = 0;
    }
    ctl_sign_of_life(c, n);
}

void ctl_bye(struct control *c, const struct control_event *ev)
{
    struct ctl_node *n = ctl_node(c, ev->u.bye.node);
    if (n != NULL) {
        n->connected = false;
    }
}

/* The node took an assignment, and what it observed until then has come before this: else an
 * instance that began and is to stop would look as if it never had been. */
static void acked(struct control *c, struct ctl_node *n, int64_t rev)
{
    if (n->rev == 0 || rev > n->rev || rev == n->acked_rev) {
        return;
    }
    n->acked_rev = rev;
    if (rev == n->rev) {
        ctl_sent_forget(c, n);
    }
    ctl_probes_acked(c, n);
    for (size_t i = 0; i < n->ninsts && !c->dirty_reconcile; i++) {
        c->dirty_reconcile = n->insts[i]->role == CTL_STOPPING;
    }
}

void ctl_beat(struct control *c, const struct control_event *ev)
{
    struct ctl_node *n = ctl_node(c, ev->u.beat.node);
    size_t count = ev->u.beat.nheard < CONTROL_HEARD_MAX ? ev->u.beat.nheard : CONTROL_HEARD_MAX;

    if (n == NULL || !n->connected) {
        return;
    }
    if (!ev->u.beat.datagram) {
        acked(c, n, ev->u.beat.assign_rev); /* also where a datagram overtook it */
    }
    if (ev->u.beat.seq <= n->beat_seq) {
        return; /* an older one, overtaken on its way, says nothing else that is new */
    }
    ctl_sign_of_life(c, n);
    n->beat_seq = ev->u.beat.seq;
    n->beat_seen = true;
    ctl_drill_front(c, n, ev);
    ctl_rev_seen(c, n, ev->u.beat.assign_rev);
    if (ev->u.beat.brief) {
        return;
    }
    n->heard_ms = c->now_ms;
    free(n->heard);
    n->heard = sk_xcalloc(count + 1, sizeof(*n->heard));
    n->nheard = 0;
    for (size_t i = 0; i < count; i++) {
        struct ctl_node *target = ctl_node(c, ev->u.beat.heard[i].node);
        if (target != NULL && target != n) {
            n->heard[n->nheard++] =
                (struct ctl_heard){target, ev->u.beat.heard[i].age_ms, ev->u.beat.heard[i].rtt_us};
        }
    }
    ctl_probes_followed(c, n);
    ctl_rtt_heard(c, n);
}

/* ---- observations ---- */

static void inst_text(struct ctl_inst *i, const struct control_observation *o)
{
    ctl_set(&i->reason, (struct sk_str){o->reason.ptr, o->reason.len < 512 ? o->reason.len : 512});
    for (size_t k = 0; k < i->nlog_tail; k++) {
        free(i->log_tail[k]);
    }
    free(i->log_tail);
    i->nlog_tail = o->nlog_tail < 20 ? o->nlog_tail : 20;
    i->log_tail = i->nlog_tail ? sk_xcalloc(i->nlog_tail, sizeof(*i->log_tail)) : NULL;
    for (size_t k = 0; k < i->nlog_tail; k++) {
        struct sk_str line = o->log_tail[k];
        i->log_tail[k] = ctl_dup((struct sk_str){line.ptr, line.len < 512 ? line.len : 512});
    }
}

static void inst_health(struct control *c, struct ctl_inst *i, bool before)
{
    bool now = ctl_inst_healthy(i);
    if (now && i->healthy_ms < 0) {
        i->healthy_ms = c->now_ms;
    } else if (!now) {
        i->healthy_ms = -1;
    }
    if (now != before) {
        c->dirty_views = true;
    }
    c->dirty_reconcile = true;
}

/* How long a copy took from the first word that its node starts it until it was healthy: what a
 * drill predicts by. What was there before this control is not judged, nor is waiting for a lease.
 */
static void inst_started(const struct control *c, struct ctl_inst *i, bool presumed)
{
    if (presumed || i->restarts > 0 || (i->spec->exclusive && i->svc->ninsts > 1)) {
        i->begun_ms = -1;
    } else if (i->begun_ms == 0 && i->state == CONTROL_STARTING) {
        i->begun_ms = c->now_ms;
    } else if (i->begun_ms == 0 && i->state == CONTROL_RUNNING) {
        i->begun_ms = i->noted_ms;
    }
    if (i->begun_ms > 0 && ctl_inst_healthy(i)) {
        i->svc->start_ms = ctl_i64_max(1, c->now_ms - i->begun_ms);
        i->begun_ms = -1;
    }
}

static void observe_one(struct control *c, struct ctl_node *n, const struct control_observation *o)
{
    struct ctl_inst *i = NULL;
    char key[33] = {0};

    if (o->id.len != 32) {
        return;
    }
    memcpy(key, o->id.ptr, 32);
    HASH_FIND_STR(c->insts, key, i);
    if (i == NULL && !c->leader.leads) {
        ctl_early_keep(c, n, o);
    }
    if (i == NULL || i->node != n) {
        return; /* not on the books: what is not assigned, the node stops by itself */
    }
    i->seen = true;
    ctl_inst_observed(c, i, o);
}

void ctl_inst_observed(struct control *c, struct ctl_inst *i, const struct control_observation *o)
{
    bool before = ctl_inst_healthy(i);
    bool presumed = i->presumed;
    if (i->presumed) {
        i->presumed = false;
        c->dirty_views = true;
    }
    i->observed = true;
    i->state = o->state;
    i->health = o->healthy;
    i->since_ms = o->since_ms;
    i->restarts = o->restarts;
    i->has_exit = o->has_exit;
    i->exit = o->exit;
    i->has_signal = o->has_signal;
    i->signal = o->signal;
    inst_text(i, o);
    inst_health(c, i, before);
    inst_started(c, i, presumed);
}

void ctl_observe(struct control *c, const struct control_event *ev)
{
    struct ctl_node *n = ctl_node(c, ev->u.observe.node);

    if (n == NULL || !n->connected) {
        return;
    }
    ctl_sign_of_life(c, n);
    for (size_t k = 0; k < n->ninsts; k++) {
        n->insts[k]->seen = false;
    }
    for (size_t k = 0; k < ev->u.observe.count; k++) {
        observe_one(c, n, &ev->u.observe.instances[k]);
    }
    if (!ev->u.observe.full) {
        return;
    }
    n->full_seen = true;
    for (size_t k = 0; k < n->ninsts; k++) {
        struct ctl_inst *i = n->insts[k];
        if (!i->seen) {
            bool before = ctl_inst_healthy(i) || i->presumed;
            i->observed = i->presumed = false;
            inst_health(c, i, before);
        }
    }
}

/* ---- removal ---- */

static int node_removable(const struct control *c, const struct ctl_node *n, struct sk_err *err)
{
    if (strcmp(n->name, c->own_node) == 0) {
        return sk_err_set(err, SK_ERR_CONFLICT, "node '%s' is the control node", n->name);
    }
    if (ctl_roster_seat(c, sk_str(n->name)) != NULL) {
        (void)sk_err_set(err, SK_ERR_CONFLICT, "node '%s' is a control node", n->name);
        return sk_err_fix(err, "first: skerry control replace %s", n->name);
    }
    bool drained = n->drained || n->site->drained;
    if (!drained && n->life != CTL_LOST) {
        (void)sk_err_set(err, SK_ERR_CONFLICT, "node '%s' is neither drained nor lost", n->name);
        return sk_err_fix(err, "first: skerry drain %s", n->name);
    }
    for (size_t i = 0; i < c->nsvcs; i++) {
        const struct ctl_svc *s = c->svcs[i];
        for (size_t r = 0; r < s->nplace; r++) {
            if (s->place[r].node == n && n->life != CTL_LOST) {
                return sk_err_set(err, SK_ERR_CONFLICT, "node '%s' is still to run %s/%s", n->name,
                                  s->project, s->name);
            }
        }
    }
    if (n->ninsts > 0 && n->life != CTL_LOST) {
        (void)sk_err_set(err, SK_ERR_CONFLICT, "node '%s' still has %zu instances", n->name,
                         n->ninsts);
        return sk_err_fix(err, "they are moving off: wait, see skerry ps");
    }
    if (n->ninsts > CONTROL_TXN_OPS_MAX - 80) {
        return sk_err_set(err, SK_ERR_LIMIT, "node '%s' has too many instances on the books",
                          n->name);
    }
    return 0;
}

static void node_revoke(struct control *c, struct ctl_txn *t, const struct ctl_node *n)
{
    struct sk_buf out = SK_BUF_INIT;
    size_t at;

    if (!ctl_find(c->certs, c->ncerts, sk_str(n->name), &at)) {
        return;
    }
    for (size_t i = 0; i < c->certs[at]->count; i++) {
        const struct ctl_cert *k = &c->certs[at]->items[i];
        struct sk_jw w;
        if (k->not_after_ms <= c->wall_ms) {
            continue;
        }
        sk_jw_init(&w, &out);
        sk_jw_obj(&w);
        sk_jw_kint(&w, "v", 1);
        sk_jw_kcstr(&w, "node", n->name);
        sk_jw_kint(&w, "not_after_ms", k->not_after_ms);
        sk_jw_kstr(&w, "who", t->req->api.who);
        sk_jw_kint(&w, "wall_ms", c->wall_ms);
        sk_jw_obj_end(&w);
        ctl_txn_put(t, ctl_key_text(t, "revoked", sk_str(k->serial)), &out);
        struct control_command *cmd = ctl_out(&t->after, CONTROL_CMD_REVOKE);
        cmd->u.revoke.serial = ctl_arena_dup(t->after.arena, sk_str(k->serial));
        cmd->u.revoke.node = ctl_arena_dup(t->after.arena, sk_str(n->name));
    }
    sk_buf_release(&out);
    ctl_txn_remove(t, ctl_key_text(t, "certs", sk_str(n->name)));
}

/* Revocations are only needed as long as the certificate would be valid. */
static void revoked_prune(struct control *c, struct ctl_txn *t)
{
    int pruned = 0;
    for (size_t i = 0; i < c->nrevoked && pruned < 40; i++) {
        if (c->revoked[i]->not_after_ms < c->wall_ms) {
            ctl_txn_remove(t, ctl_key_text(t, "revoked", sk_str(c->revoked[i]->serial)));
            pruned++;
        }
    }
}

void ctl_req_node_remove(struct control *c, struct ctl_req *req)
{
    struct sk_str name = req->api.u.target.name;
    const struct ctl_node *n = ctl_node(c, name);
    struct sk_err err = {0};

    if (n == NULL) {
        (void)sk_err_set(&err, SK_ERR_NOT_FOUND, "there is no node '%.*s'", SK_PRI(name));
    }
    if (n == NULL || node_removable(c, n, &err) < 0) {
        ctl_refuse(c, req, &err);
        return;
    }
    struct ctl_txn *t = ctl_txn_new(req);
    for (size_t i = 0; i < n->ninsts; i++) {
        ctl_txn_remove(t, ctl_key_text(t, "instances", sk_str(n->insts[i]->id)));
    }
    node_revoke(c, t, n);
    revoked_prune(c, t);
    ctl_txn_remove(t, ctl_key_text(t, "nodes", name));
    t->removes_input = true;
    ctl_txn_event(c, t,
                  &(struct ctl_evtext){.what = "node_removed",
                                       .who = sk_arena_str(t->arena, req->api.who).ptr,
                                       .node = name,
                                       .site = sk_str(n->site->name),
                                       .text = "a node was removed, its certificates revoked"});
    struct control_command *cmd = ctl_out(&t->after, CONTROL_CMD_CLOSE);
    cmd->u.close.node = ctl_arena_dup(t->after.arena, name);
    (void)sk_err_set(&cmd->u.close.err, SK_ERR_DENIED, "this node was removed from the cluster");
    ctl_txn_reply(t, SK_STR("{\"format\":\"skerry.done/1\",\"text\":\"removed\"}"));
    ctl_txn_send(c, t);
}

void ctl_req_site_remove(struct control *c, struct ctl_req *req)
{
    struct sk_str name = req->api.u.target.name;
    const struct ctl_site *s = ctl_site(c, name);
    struct sk_err err = {0};

    if (s == NULL) {
        (void)sk_err_set(&err, SK_ERR_NOT_FOUND, "there is no site '%.*s'", SK_PRI(name));
    }
    for (size_t i = 0; i < c->nnodes && err.code == 0; i++) {
        if (c->nodes[i]->site == s) {
            (void)sk_err_set(&err, SK_ERR_CONFLICT, "site '%s' still has node '%s'", s->name,
                             c->nodes[i]->name);
            (void)sk_err_fix(&err, "first: skerry remove node %s", c->nodes[i]->name);
        }
    }
    if (err.code != 0) {
        ctl_refuse(c, req, &err);
        return;
    }
    struct ctl_txn *t = ctl_txn_new(req);
    for (size_t i = 0; i < c->nlinks; i++) {
        const struct ctl_link *l = c->links[i];
        if (sk_str_is(name, l->a) || sk_str_is(name, l->b)) {
            struct sk_str key = sk_arena_printf(t->arena, "%s/%s", l->a, l->b);
            ctl_txn_remove(t, ctl_key_text(t, "links", key));
        }
    }
    ctl_txn_remove(t, ctl_key_text(t, "sites", name));
    t->removes_input = true;
    ctl_txn_event(c, t,
                  &(struct ctl_evtext){.what = "site_removed",
                                       .who = sk_arena_str(t->arena, req->api.who).ptr,
                                       .site = name,
                                       .text = "a site was removed"});
    ctl_txn_reply(t, SK_STR("{\"format\":\"skerry.done/1\",\"text\":\"removed\"}"));
    ctl_txn_send(c, t);
}

/* A node that is reached elsewhere than recorded (it got a new address) goes on record. */
void ctl_address_step(struct control *c)
{
    if (!c->dirty_address || c->pending != NULL) {
        return;
    }
    c->dirty_address = false;
    for (size_t i = 0; i < c->nnodes && c->pending == NULL; i++) {
        struct ctl_node *n = c->nodes[i];
        struct sk_buf out = SK_BUF_INIT;
        struct sk_buf patch = SK_BUF_INIT;
        const struct sk_node *old = NULL;
        const struct sk_node *over = NULL;
        struct sk_jw w;
        if (n->new_address == NULL) {
            continue;
        }
        struct ctl_txn *t = ctl_txn_new(NULL);
        sk_buf_printf(&patch, "{\"address\":\"%s\"}", n->new_address);
        (void)sk_json_read(t->arena, "node", sk_str(n->raw), NULL, &old, NULL);
        (void)sk_json_read(t->arena, "patch", sk_buf_str(&patch), NULL, &over, NULL);
        sk_jw_init(&w, &out);
        ctl_merge(&w, old, over);
        ctl_txn_put(t, ctl_key_text(t, "nodes", sk_str(n->name)), &out);
        struct sk_str text = sk_arena_printf(t->arena, "address is now %s", n->new_address);
        ctl_txn_event(c, t,
                      &(struct ctl_evtext){.what = "node_address",
                                           .node = sk_str(n->name),
                                           .site = sk_str(n->site->name),
                                           .text = text.ptr});
        free(n->new_address);
        n->new_address = NULL;
        sk_buf_release(&out);
        sk_buf_release(&patch);
        ctl_txn_send(c, t);
        c->dirty_address = true; /* of others, perhaps */
    }
}
