/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "control/internal.h"

/*
 * Assignments: what one node is told, whole, each time that anything in it changed. Whether it
 * changed is found by writing it and comparing with what was sent last.
 */

void ctl_dirty(struct control *c, struct ctl_node *n)
{
    n->dirty = true;
    if (!n->in_changed) {
        n->in_changed = true;
        SK_GROW(c->changed, c->nchanged, c->capchanged);
        c->changed[c->nchanged++] = n;
    }
}

/* ---- what was sent, and waits for its acknowledgement ---- */

static void sent_keep(struct control *c, struct ctl_node *n)
{
    ctl_sent_forget(c, n);
    n->in_resend = true;
    n->resend_prev = c->resend_end;
    n->resend_next = NULL;
    *(c->resend_end != NULL ? &c->resend_end->resend_next : &c->resend) = n;
    c->resend_end = n;
}

void ctl_sent_forget(struct control *c, struct ctl_node *n)
{
    if (n->in_resend) {
        n->in_resend = false;
        *(n->resend_prev != NULL ? &n->resend_prev->resend_next : &c->resend) = n->resend_next;
        *(n->resend_next != NULL ? &n->resend_next->resend_prev : &c->resend_end) = n->resend_prev;
    }
}

void ctl_assign_forget(struct control *c, struct ctl_node *n)
{
    size_t kept = 0;

    ctl_sent_forget(c, n);
    for (size_t i = 0; i < c->nchanged; i++) {
        if (c->changed[i] != n) {
            c->changed[kept++] = c->changed[i];
        }
    }
    c->nchanged = kept;
}

static int node_sort(const void *a, const void *b)
{
    const struct ctl_node *na = *(struct ctl_node *const *)a;
    const struct ctl_node *nb = *(struct ctl_node *const *)b;
    return strcmp(na->name, nb->name);
}

/* ---- the body ---- */

static int inst_sort(const void *a, const void *b)
{
    const struct ctl_inst *ia = *(struct ctl_inst *const *)a;
    const struct ctl_inst *ib = *(struct ctl_inst *const *)b;
    int order = strcmp(ia->svc->project, ib->svc->project);
    if (order == 0) {
        order = strcmp(ia->svc->name, ib->svc->name);
    }
    if (order == 0 && ia->replica != ib->replica) {
        order = ia->replica < ib->replica ? -1 : 1;
    }
    return order ? order : strcmp(ia->id, ib->id);
}

static void write_instances(struct sk_jw *w, const struct ctl_node *n)
{
    struct ctl_inst **sorted = sk_xcalloc(n->ninsts + 1, sizeof(struct ctl_inst *));

    for (size_t i = 0; i < n->ninsts; i++) {
        sorted[i] = n->insts[i];
    }
    qsort(sorted, n->ninsts, sizeof(struct ctl_inst *), inst_sort);
    sk_jw_key(w, "instances");
    sk_jw_arr(w);
    for (size_t k = 0; k < n->ninsts; k++) {
        const struct ctl_inst *i = sorted[k];
        sk_jw_obj(w);
        sk_jw_kcstr(w, "id", i->id);
        sk_jw_kcstr(w, "project", i->svc->project);
        sk_jw_kcstr(w, "service", i->svc->name);
        sk_jw_kint(w, "replica", i->replica);
        sk_jw_kint(w, "generation", i->generation);
        sk_jw_kcstr(w, "spec_hash", i->spec->hash);
        sk_jw_kcstr(w, "want", i->role == CTL_STOPPING ? "stop" : "run");
        sk_jw_kcstr(w, "driver", i->spec->exec ? "exec" : "oci");
        sk_jw_key(w, "image");
        sk_jw_obj(w);
        sk_jw_kcstr(w, "ref", i->spec->image);
        sk_jw_kcstr(w, "digest", i->spec->digest);
        sk_jw_obj_end(w);
        sk_jw_kcstr(w, "address", i->address);
        sk_jw_kint(w, "port", i->port);
        sk_jw_key(w, "spec");
        sk_jw_raw(w, sk_str(i->spec->json));
        sk_jw_obj_end(w);
    }
    sk_jw_arr_end(w);
    free(sorted);
}

static void write_prefetch(const struct control *c, struct sk_jw *w, const struct ctl_node *n)
{
    size_t low = 0;
    size_t high = c->nprefetch;

    while (low < high) {
        size_t mid = low + (high - low) / 2;
        if (strcmp(c->prefetch[mid].node->name, n->name) < 0) {
            low = mid + 1;
        } else {
            high = mid;
        }
    }
    sk_jw_key(w, "prefetch");
    sk_jw_arr(w);
    for (; low < c->nprefetch && c->prefetch[low].node == n; low++) {
        sk_jw_obj(w);
        sk_jw_kcstr(w, "ref", c->prefetch[low].spec->image);
        sk_jw_kcstr(w, "digest", c->prefetch[low].spec->digest);
        sk_jw_obj_end(w);
    }
    sk_jw_arr_end(w);
}

static void write_others(const struct control *c, struct sk_jw *w, const struct ctl_node *n)
{
    sk_jw_key(w, "probe");
    sk_jw_arr(w);
    for (size_t i = 0; i < n->nprobes; i++) {
        sk_jw_obj(w);
        sk_jw_kcstr(w, "node", n->probes[i].target->name);
        sk_jw_kcstr(w, "address", n->probes[i].target->address);
        sk_jw_obj_end(w);
    }
    sk_jw_arr_end(w);
    if (ctl_drill_tells(c, n)) {
        sk_jw_key(w, "peers");
        sk_jw_raw(w, sk_str(c->peers));
    }
    sk_jw_key(w, "revoked");
    sk_jw_arr(w);
    for (size_t i = 0; i < c->nrevoked; i++) {
        sk_jw_cstr(w, c->revoked[i]->serial);
    }
    sk_jw_arr_end(w);
}

/* Every node with its address, for those whom a hard drill cuts off from the others, and for nobody
 * else: told to all, each node that comes would be a frame to all that grows with all. */
static void peers_make(struct control *c)
{
    struct sk_buf out = SK_BUF_INIT;
    struct sk_jw w;

    free(c->peers);
    c->peers = NULL;
    if (c->drill_site == NULL) {
        return;
    }
    sk_jw_init(&w, &out);
    sk_jw_arr(&w);
    for (size_t i = 0; i < c->nnodes; i++) {
        const struct ctl_node *peer = c->nodes[i];
        sk_jw_obj(&w);
        sk_jw_kcstr(&w, "node", peer->name);
        sk_jw_kcstr(&w, "site", peer->site->name);
        sk_jw_kcstr(&w, "address", peer->address);
        sk_jw_kcstr(&w, "prefix", peer->prefix);
        sk_jw_obj_end(&w);
    }
    sk_jw_arr_end(&w);
    c->peers = sk_buf_steal(&out, NULL);
}

static char *body_make(const struct control *c, const struct ctl_node *n)
{
    struct sk_buf out = SK_BUF_INIT;
    struct sk_jw w;

    sk_jw_init(&w, &out);
    sk_jw_obj(&w);
    sk_jw_kint(&w, "v", 1);
    sk_jw_kcstr(&w, "type", "assign");
    sk_jw_kint(&w, "term", c->leader.term);
    ctl_roster_controls(c, &w);
    write_instances(&w, n);
    write_prefetch(c, &w, n);
    write_others(c, &w, n);
    sk_jw_key(&w, "ingress");
    if (n->site->ingress != NULL && n->site->view != NULL &&
        strcmp(n->site->ingress, n->name) == 0) {
        struct sk_buf view = SK_BUF_INIT;
        sk_buf_printf(&view, "{\"rev\":%lld,", (long long)n->site->view_rev);
        sk_buf_adds(&view, n->site->view + 1);
        sk_jw_raw(&w, sk_buf_str(&view));
        sk_buf_release(&view);
    } else {
        sk_jw_null(&w);
    }
    sk_jw_obj_end(&w);
    return sk_buf_steal(&out, NULL);
}

/* So many leaders in a row give no two assignments the same number: of a deposed one, who does not
 * know yet, a node may have taken something that its successor gives a number at the same time. */
#define REV_TERMS 16

/* Numbers of assignments start from the wall clock, so that they grow over restarts of control. A
 * clock may have gone back meanwhile: then a node has a higher one of a control before this one,
 * which must not pass for having taken what it was never told. It is told again, under a number
 * beyond it. */
void ctl_rev_seen(struct control *c, struct ctl_node *n, int64_t rev)
{
    if (rev <= CTL_REV_SEEN_MAX) {
        c->rev_last = ctl_i64_max(c->rev_last, rev);
    }
    if (n->rev == 0 || rev > n->rev) {
        n->rev = 0;
        ctl_dirty(c, n);
    }
}

static void emit(struct control *c, struct ctl_node *n)
{
    struct control_command *cmd = ctl_out(c->out, CONTROL_CMD_ASSIGN);
    struct sk_buf frame = SK_BUF_INIT;

    sk_buf_printf(&frame, "{\"rev\":%lld,", (long long)n->rev);
    sk_buf_adds(&frame, n->body + 1);
    cmd->u.assign.node = sk_arena_str(c->out->arena, sk_str(n->name));
    cmd->u.assign.rev = n->rev;
    cmd->u.assign.body = sk_arena_str(c->out->arena, sk_buf_str(&frame));
    sk_buf_release(&frame);
    n->sent_ms = c->now_ms;
    sent_keep(c, n);
    c->next_resend_ms = ctl_i64_min(c->next_resend_ms, c->now_ms + CTL_RESEND_MS);
    for (size_t i = 0; i < n->nprobes; i++) {
        if (n->probes[i].asked_rev == 0) {
            n->probes[i].asked_rev = n->rev;
        }
    }
    for (size_t i = 0; i < n->ninsts; i++) {
        if (n->insts[i]->role == CTL_STOPPING && n->insts[i]->stop_rev == 0) {
            n->insts[i]->stop_rev = n->rev;
        }
    }
}

/* The next number of this leader's; they grow over restarts too. */
static int64_t next_rev(const struct control *c)
{
    int64_t rev = ctl_i64_max(c->rev_last + 1, c->wall_ms);
    int64_t off = (c->leader.term - rev) % REV_TERMS;

    return rev + (off < 0 ? off + REV_TERMS : off);
}

static void node_assign(struct control *c, struct ctl_node *n)
{
    char *body = body_make(c, n);

    n->dirty = false;
    if (n->rev != 0 && n->body != NULL && strcmp(n->body, body) == 0) {
        free(body);
        return;
    }
    free(n->body);
    n->body = body;
    n->rev = c->rev_last = next_rev(c);
    emit(c, n);
}

static bool waits(const struct ctl_node *n)
{
    return n->connected && n->rev != 0 && n->acked_rev < n->rev;
}

/* Those who wait stand in the order in which they were told, so nobody else is looked at: where
 * many come at once, there is something due at almost every moment. */
static void resend_step(struct control *c)
{
    struct ctl_node **due = NULL;
    size_t count = 0;
    size_t cap = 0;

    if (c->now_ms < c->next_resend_ms) {
        return;
    }
    while (c->resend != NULL &&
           (!waits(c->resend) || c->now_ms - c->resend->sent_ms >= CTL_RESEND_MS)) {
        struct ctl_node *n = c->resend;
        ctl_sent_forget(c, n);
        if (waits(n)) {
            SK_GROW(due, count, cap);
            due[count++] = n;
        }
    }
    c->next_resend_ms = c->resend != NULL ? c->resend->sent_ms + CTL_RESEND_MS : INT64_MAX;
    if (count > 1) {
        qsort(due, count, sizeof(struct ctl_node *), node_sort);
    }
    for (size_t i = 0; i < count; i++) {
        emit(c, due[i]);
    }
    free(due);
}

static void assign_if_may(struct control *c, struct ctl_node *n)
{
    if (n->connected && n->beat_seen && n->dirty) {
        node_assign(c, n);
    }
}

void ctl_assign_step(struct control *c)
{
    if (c->nchanged > 1) {
        qsort(c->changed, c->nchanged, sizeof(struct ctl_node *), node_sort);
    }
    if (c->dirty_all) {
        peers_make(c);
        for (size_t i = 0; i < c->nnodes; i++) {
            c->nodes[i]->dirty = true;
            assign_if_may(c, c->nodes[i]);
        }
    }
    /* One that is not here now is told when it comes: its first beat brings it in again. */
    for (size_t i = 0; i < c->nchanged; i++) {
        c->changed[i]->in_changed = false;
        assign_if_may(c, c->changed[i]);
    }
    c->nchanged = 0;
    c->dirty_all = false;
    resend_step(c);
}
