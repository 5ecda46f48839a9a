/* SPDX-License-Identifier: Apache-2.0 */
#include <stdarg.h>
#include <string.h>

#include "base/version.h"
#include "control/internal.h"

/*
 * Transactions. One at a time: every decision is made against what is committed, and its effects
 * reach memory only after the commit, by the same code that reads the store. A transaction compares
 * the whole store's revision, so a state that moved under control (another writer, a restore) makes
 * it fail as a whole; control then loads again and decides anew.
 */

struct ctl_txn *ctl_txn_new(struct ctl_req *req)
{
    struct ctl_txn *t = sk_xcalloc(1, sizeof(*t));
    t->arena = sk_arena_new();
    t->req = req;
    return t;
}

void ctl_notes_free(struct ctl_note *notes, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        free(notes[i].what);
        free(notes[i].node);
        free(notes[i].site);
        free(notes[i].project);
        free(notes[i].service);
        free(notes[i].text);
    }
}

void ctl_txn_free(struct ctl_txn *t)
{
    if (t == NULL) {
        return;
    }
    ctl_notes_free(t->notes, t->nnotes);
    free(t->notes);
    free(t->ops);
    control_commands_release(&t->after);
    ctl_req_free(t->req);
    plan_free(t->plan);
    sk_arena_free(t->arena);
    free(t);
}

struct sk_str ctl_key_text(struct ctl_txn *t, const char *kind, struct sk_str name)
{
    return sk_arena_printf(t->arena, CTL_PREFIX "%s%s%.*s", kind, name.len ? "/" : "",
                           SK_PRI(name));
}

void ctl_txn_put(struct ctl_txn *t, struct sk_str key, struct sk_buf *value)
{
    sk_version_extend(value);
    SK_GROW(t->ops, t->nops, t->capops);
    t->ops[t->nops++] = (struct control_op){
        .key = sk_arena_str(t->arena, key),
        .value = sk_arena_str(t->arena, sk_buf_str(value)),
    };
    sk_buf_clear(value);
}

void ctl_txn_remove(struct ctl_txn *t, struct sk_str key)
{
    SK_GROW(t->ops, t->nops, t->capops);
    t->ops[t->nops++] = (struct control_op){.remove = true, .key = sk_arena_str(t->arena, key)};
}

static void doc_head(struct control *c, struct ctl_txn *t, const char *kind, struct sk_str json,
                     struct sk_str who, int64_t chunks)
{
    struct sk_buf out = SK_BUF_INIT;
    struct sk_jw w;

    sk_jw_init(&w, &out);
    sk_jw_obj(&w);
    sk_jw_kint(&w, "v", 1);
    sk_jw_kstr(&w, "who", who);
    sk_jw_kint(&w, "wall_ms", c->wall_ms);
    if (chunks > 0) {
        sk_jw_kint(&w, "chunks", chunks);
    } else {
        sk_jw_key(&w, kind);
        sk_jw_raw(&w, json);
    }
    ctl_rest_put(&w, strcmp(kind, "plan") == 0 ? c->plan_extra : c->overlay_extra);
    sk_jw_obj_end(&w);
    ctl_txn_put(t, ctl_key_text(t, kind, SK_STR("")), &out);
    sk_buf_release(&out);
}

void ctl_txn_doc(struct control *c, struct ctl_txn *t, const char *kind, struct sk_str json,
                 struct sk_str who)
{
    struct sk_buf out = SK_BUF_INIT;
    int64_t chunks = 0;
    char name[24];

    for (size_t at = 0; json.len > CTL_DOC_CHUNK_BYTES && at < json.len; chunks++) {
        size_t end = at + CTL_DOC_CHUNK_BYTES < json.len ? at + CTL_DOC_CHUNK_BYTES : json.len;
        while (end < json.len && ((unsigned char)json.ptr[end] & 0xc0) == 0x80) {
            end--; /* never inside a character */
        }
        struct sk_jw w;
        sk_jw_init(&w, &out);
        sk_jw_obj(&w);
        sk_jw_kint(&w, "v", 1);
        sk_jw_kstr(&w, "text", (struct sk_str){json.ptr + at, end - at});
        sk_jw_obj_end(&w);
        (void)snprintf(name, sizeof(name), "%04lld", (long long)chunks);
        ctl_txn_put(t, ctl_key_text(t, kind, sk_str(name)), &out);
        at = end;
    }
    doc_head(c, t, kind, json, who, chunks);
    for (size_t i = 0; i < c->npieces; i++) { /* chunks that the new one no longer has */
        struct sk_str key = sk_str(c->pieces[i]->key);
        struct sk_str head;
        struct sk_str number;
        int64_t n;
        if (sk_str_cut(key, '/', &head, &number) && sk_str_is(head, kind) &&
            ctl_digits(number, &n) && n >= chunks) {
            ctl_txn_remove(t, ctl_key_text(t, kind, number));
        }
    }
    sk_buf_release(&out);
}

void ctl_txn_event(struct control *c, struct ctl_txn *t, const struct ctl_evtext *ev)
{
    struct sk_buf out = SK_BUF_INIT;
    struct sk_jw w;
    int64_t seq = c->event_seq + 1 + t->nevents++;
    char number[24];

    sk_jw_init(&w, &out);
    sk_jw_obj(&w);
    sk_jw_kint(&w, "v", 1);
    sk_jw_kcstr(&w, "format", "skerry.event/1");
    sk_jw_kint(&w, "seq", seq);
    sk_jw_kint(&w, "wall_ms", c->wall_ms);
    sk_jw_kcstr(&w, "who", ev->who ? ev->who : "control");
    sk_jw_kcstr(&w, "what", ev->what);
    const struct {
        const char *key;
        struct sk_str value;
    } parts[] = {{"node", ev->node},       {"site", ev->site}, {"project", ev->project},
                 {"service", ev->service}, {"plan", ev->plan}, {"text", sk_str(ev->text)}};
    for (size_t i = 0; i < SK_ARRAY_LEN(parts); i++) {
        if (parts[i].value.len > 0) {
            sk_jw_kstr(&w, parts[i].key, parts[i].value);
        }
    }
    sk_jw_obj_end(&w);
    struct control_command *cmd = ctl_out(&t->after, CONTROL_CMD_EVENT);
    cmd->u.event.seq = seq;
    cmd->u.event.json = sk_arena_str(t->after.arena, sk_buf_str(&out));
    (void)snprintf(number, sizeof(number), "%012lld", (long long)seq);
    ctl_txn_put(t, ctl_key_text(t, "events", sk_str(number)), &out);
    sk_buf_release(&out);
    int64_t oldest = c->event_oldest + t->nevents - 1;
    if (c->event_oldest > 0 && seq - oldest >= CONTROL_EVENTS_KEPT) {
        (void)snprintf(number, sizeof(number), "%012lld", (long long)oldest);
        ctl_txn_remove(t, ctl_key_text(t, "events", sk_str(number)));
    }
}

__attribute__((format(printf, 3, 0))) static struct ctl_note *
note_new(struct control *c, const char *what, const char *fmt, va_list args)
{
    char text[1024];
    SK_GROW(c->notes, c->nnotes, c->capnotes);
    struct ctl_note *n = &c->notes[c->nnotes++];
    memset(n, 0, sizeof(*n));
    (void)vsnprintf(text, sizeof(text), fmt, args);
    n->what = sk_xstrdup(what);
    n->text = sk_xstrdup(text);
    return n;
}

#define NOTES_MAX 1000 /* while no commit succeeds: what happened first explains the rest */

void ctl_note(struct control *c, const char *what, struct sk_str node, struct sk_str site,
              const char *fmt, ...)
{
    va_list args;
    if (c->nnotes >= NOTES_MAX) {
        return;
    }
    va_start(args, fmt);
    struct ctl_note *n = note_new(c, what, fmt, args);
    va_end(args);
    n->node = ctl_dup(node);
    n->site = ctl_dup(site);
}

void ctl_note_svc(struct control *c, const char *what, const struct ctl_svc *s, const char *fmt,
                  ...)
{
    va_list args;
    if (c->nnotes >= NOTES_MAX) {
        return;
    }
    va_start(args, fmt);
    struct ctl_note *n = note_new(c, what, fmt, args);
    va_end(args);
    n->project = ctl_dup(sk_str(s->project));
    n->service = ctl_dup(sk_str(s->name));
}

void ctl_notes_flush(struct control *c, struct ctl_txn *t)
{
    size_t taken = 0;
    while (taken < c->nnotes && t->nops + 4 < CONTROL_TXN_OPS_MAX) {
        struct ctl_note *n = &c->notes[taken++];
        ctl_txn_event(c, t,
                      &(struct ctl_evtext){.what = n->what,
                                           .node = sk_str(n->node),
                                           .site = sk_str(n->site),
                                           .project = sk_str(n->project),
                                           .service = sk_str(n->service),
                                           .text = n->text});
        SK_GROW(t->notes, t->nnotes, t->capnotes);
        t->notes[t->nnotes++] = *n;
    }
    if (taken == 0) {
        return;
    }
    c->nnotes -= taken;
    memmove(c->notes, c->notes + taken, c->nnotes * sizeof(*c->notes));
}

/* What was noted is not forgotten with a transaction that failed. */
static void notes_return(struct control *c, struct ctl_txn *t)
{
    for (size_t i = 0; i < t->nnotes; i++) {
        SK_GROW(c->notes, c->nnotes, c->capnotes);
        memmove(c->notes + i + 1, c->notes + i, (c->nnotes - i) * sizeof(*c->notes));
        c->notes[i] = t->notes[i];
        c->nnotes++;
    }
    t->nnotes = 0;
}

void ctl_txn_reply(struct ctl_txn *t, struct sk_str json)
{
    struct control_command *cmd = ctl_out(&t->after, CONTROL_CMD_REPLY);
    cmd->u.reply.request = t->req->id;
    cmd->u.reply.json = ctl_arena_dup(t->after.arena, json);
}

/* Plans are based on the newest revision of their inputs; taking one away must move that too. */
void ctl_touch_cluster(struct control *c, struct ctl_txn *t)
{
    struct sk_buf patch = SK_BUF_INIT;
    struct sk_buf out = SK_BUF_INIT;
    struct sk_jw w;
    const struct sk_node *old = NULL;
    const struct sk_node *over = NULL;

    sk_buf_printf(&patch, "{\"v\":1,\"changed_ms\":%lld}", (long long)c->wall_ms);
    (void)sk_json_read(t->arena, "patch", sk_buf_str(&patch), NULL, &over, NULL);
    if (c->cluster_raw != NULL) {
        (void)sk_json_read(t->arena, "cluster", sk_str(c->cluster_raw), NULL, &old, NULL);
    }
    sk_jw_init(&w, &out);
    ctl_merge(&w, old, over);
    ctl_txn_put(t, SK_STR(CTL_PREFIX "cluster"), &out);
    sk_buf_release(&out);
    sk_buf_release(&patch);
}

void ctl_txn_send(struct control *c, struct ctl_txn *t)
{
    SK_ASSERT(c->pending == NULL);
    if (t->removes_input) {
        ctl_touch_cluster(c, t);
    }
    ctl_notes_flush(c, t);
    if (t->nops == 0) {
        ctl_commands_move(c->out, &t->after);
        ctl_txn_free(t);
        return;
    }
    struct control_txn fence = {0};
    ctl_leader_fence(c, t, &fence);
    t->request = c->next_request++;
    c->pending = t;
    struct control_command *cmd = ctl_out(c->out, CONTROL_CMD_TXN);
    struct sk_arena *a = c->out->arena;
    struct control_op *ops = SK_ARENA_ARRAY(a, struct control_op, t->nops);
    for (size_t i = 0; i < t->nops; i++) {
        ops[i].remove = t->ops[i].remove;
        ops[i].key = sk_arena_str(a, t->ops[i].key);
        ops[i].value = ctl_arena_dup(a, t->ops[i].value);
    }
    cmd->u.txn = (struct control_txn){
        .request = t->request,
        .expect_id = sk_arena_str(a, sk_str(c->store_id)),
        .expect_number = c->revision,
        .fence_key = fence.fence_key,
        .fence_rev = fence.fence_rev,
        .ops = ops,
        .nops = t->nops,
    };
}

static int committed(struct control *c, struct ctl_txn *t, int64_t revision, struct sk_err *err)
{
    c->revision = revision;
    for (size_t i = 0; i < t->nops; i++) {
        const struct control_op *op = &t->ops[i];
        if (op->remove) {
            ctl_record_remove(c, op->key);
        } else if (ctl_record_apply(c, op->key, op->value, revision, err) < 0) {
            return SK_ERR_CORRUPT;
        }
    }
    struct plan *plan = sk_steal(t->plan);
    if (ctl_records_settle(c, plan, err) < 0) {
        return SK_ERR_CORRUPT;
    }
    ctl_commands_move(c->out, &t->after);
    return 0;
}

static void conflicted(struct control *c, struct ctl_txn *t)
{
    struct ctl_req *req = sk_steal(t->req);

    notes_return(c, t);
    (void)ctl_out(c->out, CONTROL_CMD_LOAD);
    c->loading = true;
    if (req == NULL) {
        return;
    }
    if (++req->tries >= CTL_TRIES_MAX) {
        struct sk_err err = {0};
        (void)sk_err_set(&err, SK_ERR_CONFLICT, "the state keeps moving under this request");
        (void)sk_err_fix(&err, "try again");
        ctl_refuse(c, req, &err);
        return;
    }
    req->next = c->queue; /* its turn is now: in front */
    if (c->queue == NULL) {
        c->queue_end = &req->next;
    }
    c->queue = req;
}

static void failed(struct control *c, struct ctl_txn *t, struct sk_str why)
{
    notes_return(c, t);
    c->next_retry_ms = c->now_ms + CTL_RETRY_MS;
    /* the next sign of life lets others pass: they are to hear that the state is away */
    c->leader.next_bump_ms = c->now_ms + CTL_LEADER_BUMP_MS;
    c->dirty_reconcile = true;
    if (ctl_shared(c)) { /* signs of life will tell when it is written again */
        c->unwritten = true;
    }
    if (t->req != NULL) {
        struct sk_err err = {0};
        (void)sk_err_set(&err, SK_ERR_UNAVAILABLE, "the state could not be written: %.*s",
                         SK_PRI(why));
        ctl_refuse(c, sk_steal(t->req), &err);
    }
}

int ctl_txn_done(struct control *c, const struct control_event *ev, struct sk_err *err)
{
    struct ctl_txn *t = c->pending;
    int rc = 0;

    if (t == NULL || t->request != ev->u.txn_done.request) {
        return 0; /* of a control that was there before */
    }
    c->pending = NULL;
    c->unwritten = false;
    switch (ev->u.txn_done.result) {
    case CONTROL_TXN_OK:
        rc = committed(c, t, ev->u.txn_done.revision, err);
        break;
    case CONTROL_TXN_CONFLICT:
        conflicted(c, t);
        break;
    case CONTROL_TXN_FAILED:
        failed(c, t, ev->u.txn_done.error);
        break;
    }
    ctl_txn_free(t);
    return rc;
}
