/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "control/internal.h"

/*
 * The record `control`: which form the state has, who the control nodes are, and the operation on
 * them that is under way (docs/control-nodes.md). Read at each change, written whole by a draft;
 * members of it that are not known here are kept.
 */

static const char *const op_names[CTL_OP_COUNT] = {"", "grow", "shrink", "replace"};
static const char *const phase_names[CTL_PHASE_COUNT] = {"prepare", "members", "copy",  "join",
                                                         "add",     "remove",  "leave", "undo"};
static const char *const stage_names[CONTROL_STAGE_COUNT] = {"none", "ready", "granted", "running",
                                                             "serving"};

static int name_index(const char *const *names, int count, struct sk_str name)
{
    for (int i = 0; i < count; i++) {
        if (sk_str_is(name, names[i])) {
            return i;
        }
    }
    return -1;
}

const char *control_stage_name(enum control_stage stage)
{
    return stage_names[stage];
}

int control_stage_from_name(struct sk_str name)
{
    return name_index(stage_names, CONTROL_STAGE_COUNT, name);
}

const char *ctl_op_name(enum ctl_op_kind kind)
{
    return op_names[kind];
}

const char *ctl_phase_name(enum ctl_phase phase)
{
    return phase_names[phase];
}

/* ---- looking ---- */

struct ctl_standing *ctl_standing(const struct control *c, const char *node)
{
    size_t at;
    return ctl_find(c->growth.standings, c->growth.nstandings, sk_str(node), &at)
               ? c->growth.standings[at]
               : NULL;
}

bool ctl_op_has(const struct control *c, const char *node)
{
    const struct ctl_op *op = &c->growth.op;

    for (size_t i = 0; i < op->nnodes && op->kind != CTL_OP_NONE; i++) {
        if (strcmp(op->nodes[i], node) == 0) {
            return true;
        }
    }
    return false;
}

/* ---- reading ---- */

static void op_clear(struct ctl_op *op)
{
    for (size_t i = 0; i < op->nnodes; i++) {
        free(op->nodes[i]);
    }
    free(op->who);
    free(op->error);
    free(op->gone);
    free(op->gone_url);
    memset(op, 0, sizeof(*op));
}

void ctl_growth_clear(struct control *c)
{
    struct ctl_growth *g = &c->growth;

    for (size_t i = 0; i < g->nendpoints; i++) {
        free(g->endpoints[i]);
    }
    g->nendpoints = 0;
    op_clear(&g->op);
    free(g->token);
    free(g->last);
    free(g->moved_to);
    free(g->attempt);
    g->token = g->last = g->moved_to = g->attempt = NULL;
    g->next_ms = c->now_ms;
    g->phase_ms = c->now_ms;
    g->failing_ms = -1;
    g->fenced = g->abort = g->gone_removed = false;
    ctl_set(&g->problem, SK_STR(""));
}

void ctl_growth_free(struct control *c)
{
    struct ctl_growth *g = &c->growth;

    ctl_growth_clear(c);
    for (size_t i = 0; i < g->nstandings; i++) {
        free(g->standings[i]->name);
        free(g->standings[i]->peer_url);
        free(g->standings[i]->client_url);
        free(g->standings[i]->error);
        free(g->standings[i]);
    }
    free(g->standings);
    free(g->problem);
}

static struct sk_str text_of(const struct sk_node *map, const char *key)
{
    return sk_map_str(map, key, SK_STR(""));
}

static void op_read(struct ctl_op *op, const struct sk_node *rec)
{
    const struct sk_node *map = sk_map_get(rec, SK_STR("operation"));
    const struct sk_node *nodes;
    int kind;
    int phase;

    if (map == NULL || map->kind != SK_MAP) {
        return;
    }
    kind = name_index(op_names, CTL_OP_COUNT, text_of(map, "kind"));
    phase = name_index(phase_names, CTL_PHASE_COUNT, text_of(map, "phase"));
    if (kind <= 0 || phase < 0) {
        return; /* of a later version: not ours to drive */
    }
    op->kind = (enum ctl_op_kind)kind;
    op->phase = (enum ctl_phase)phase;
    (void)snprintf(op->id, sizeof(op->id), "%.*s", SK_PRI(text_of(map, "id")));
    op->who = ctl_dup(text_of(map, "who"));
    op->error = ctl_dup(text_of(map, "error"));
    op->gone = ctl_dup(text_of(map, "gone"));
    op->gone_url = ctl_dup(text_of(map, "gone_url"));
    op->wall_ms = sk_map_int(map, "wall_ms", 0);
    nodes = sk_map_seq(map, "nodes");
    for (uint32_t i = 0; nodes != NULL && i < nodes->count && op->nnodes < CONTROL_MEMBERS_MAX;
         i++) {
        if (nodes->u.items[i].kind == SK_STRING) {
            op->nodes[op->nnodes++] = ctl_dup(nodes->u.items[i].u.text);
        }
    }
}

static void endpoints_read(struct ctl_growth *g, const struct sk_node *rec)
{
    const struct sk_node *list = sk_map_seq(rec, "endpoints");

    for (uint32_t i = 0; list != NULL && i < list->count && g->nendpoints < CONTROL_MEMBERS_MAX;
         i++) {
        if (list->u.items[i].kind == SK_STRING) {
            g->endpoints[g->nendpoints++] = ctl_dup(list->u.items[i].u.text);
        }
    }
}

void ctl_growth_apply(struct control *c, const struct sk_node *rec)
{
    struct ctl_growth *g = &c->growth;
    const struct sk_node *last = sk_map_get(rec, SK_STR("last"));

    g->token = ctl_dup(text_of(rec, "token"));
    g->moved_to = ctl_dup(text_of(rec, "moved_to"));
    g->attempt = ctl_dup(text_of(rec, "attempt"));
    if (last != NULL && last->kind == SK_MAP) {
        struct sk_buf out = SK_BUF_INIT;
        struct sk_jw w;
        sk_jw_init(&w, &out);
        sk_jw_node(&w, last);
        g->last = sk_buf_steal(&out, NULL);
    }
    endpoints_read(g, rec);
    op_read(&g->op, rec);
}

/* ---- writing ---- */

void ctl_draft_init(const struct control *c, struct sk_arena *arena, struct ctl_draft *ret)
{
    const struct ctl_growth *g = &c->growth;
    struct sk_str *endpoints = SK_ARENA_ARRAY(arena, struct sk_str, g->nendpoints + 1);

    memset(ret, 0, sizeof(*ret));
    ret->etcd = c->roster.etcd;
    ret->external = c->roster.external;
    ret->token = g->token;
    ret->last = g->last;
    ret->op = g->op;
    memcpy(ret->seats, c->roster.seats, sizeof(ret->seats));
    ret->count = c->roster.count;
    for (size_t i = 0; i < g->nendpoints; i++) {
        endpoints[i] = sk_str(g->endpoints[i]);
    }
    ret->endpoints = endpoints;
    ret->nendpoints = g->nendpoints;
    if (ret->count == 0) { /* as `init` made it: one control node, and no record */
        ret->seats[ret->count++] = (struct ctl_seat){.node = c->own_node, .state = CTL_SEAT_MEMBER};
    }
}

void ctl_draft_drop(struct ctl_draft *d, const char *node)
{
    size_t kept = 0;

    for (size_t i = 0; i < d->count; i++) {
        if (strcmp(d->seats[i].node, node) != 0) {
            d->seats[kept++] = d->seats[i];
        }
    }
    d->count = kept;
}

static void text(struct sk_jw *w, const char *key, const char *value)
{
    sk_jw_kcstr(w, key, value != NULL ? value : "");
}

static void seats_write(struct sk_jw *w, const struct ctl_draft *d)
{
    sk_jw_key(w, "members");
    sk_jw_arr(w);
    for (size_t i = 0; i < d->count; i++) {
        const struct ctl_seat *m = &d->seats[i];
        sk_jw_obj(w);
        sk_jw_kcstr(w, "node", m->node);
        sk_jw_kcstr(w, "state", ctl_seat_name(m->state));
        sk_jw_kint(w, "port", m->port);
        text(w, "peer_url", m->peer_url);
        text(w, "client_url", m->client_url);
        sk_jw_obj_end(w);
    }
    sk_jw_arr_end(w);
}

static void op_write(struct sk_jw *w, const struct ctl_op *op)
{
    sk_jw_key(w, "operation");
    if (op->kind == CTL_OP_NONE) {
        sk_jw_null(w);
        return;
    }
    sk_jw_obj(w);
    sk_jw_kcstr(w, "kind", op_names[op->kind]);
    sk_jw_kcstr(w, "id", op->id);
    text(w, "who", op->who);
    sk_jw_kint(w, "wall_ms", op->wall_ms);
    sk_jw_kcstr(w, "phase", phase_names[op->phase]);
    sk_jw_key(w, "nodes");
    sk_jw_arr(w);
    for (size_t i = 0; i < op->nnodes; i++) {
        sk_jw_cstr(w, op->nodes[i]);
    }
    sk_jw_arr_end(w);
    text(w, "gone", op->gone);
    text(w, "gone_url", op->gone_url);
    text(w, "error", op->error);
    sk_jw_obj_end(w);
}

void ctl_draft_write(const struct control *c, const struct ctl_draft *d, struct sk_buf *out)
{
    struct sk_arena *arena = sk_arena_new();
    struct sk_buf patch = SK_BUF_INIT;
    const struct sk_node *old = NULL;
    const struct sk_node *over = NULL;
    struct sk_jw w;

    sk_jw_init(&w, &patch);
    sk_jw_obj(&w);
    sk_jw_kint(&w, "v", 1);
    sk_jw_kcstr(&w, "store", d->etcd ? "etcd" : "sqlite");
    sk_jw_kbool(&w, "external", d->external);
    text(&w, "token", d->token);
    text(&w, "moved_to", d->moved_to);
    text(&w, "attempt", d->attempt);
    sk_jw_key(&w, "endpoints");
    sk_jw_arr(&w);
    for (size_t i = 0; i < d->nendpoints; i++) {
        sk_jw_str(&w, d->endpoints[i]);
    }
    sk_jw_arr_end(&w);
    seats_write(&w, d);
    op_write(&w, &d->op);
    sk_jw_key(&w, "last");
    if (d->last != NULL) {
        sk_jw_raw(&w, sk_str(d->last));
    } else {
        sk_jw_null(&w);
    }
    sk_jw_obj_end(&w);
    if (c->roster.raw != NULL) {
        (void)sk_json_read(arena, "control", sk_str(c->roster.raw), NULL, &old, NULL);
    }
    SK_ASSERT(sk_json_read(arena, "patch", sk_buf_str(&patch), NULL, &over, NULL) == 0);
    sk_jw_init(&w, out);
    ctl_merge(&w, old, over);
    sk_buf_release(&patch);
    sk_arena_free(arena);
}

/* ---- telling ---- */

static void report_json(const struct control *c, struct sk_jw *w, const char *node)
{
    const struct ctl_standing *r = ctl_standing(c, node);

    sk_jw_obj(w);
    sk_jw_kcstr(w, "node", node);
    sk_jw_kcstr(w, "stage", r != NULL ? stage_names[r->stage] : "none");
    text(w, "error", r != NULL ? r->error : NULL);
    sk_jw_obj_end(w);
}

void control_seats_json(const struct control *c, struct sk_buf *out)
{
    const struct ctl_growth *g = &c->growth;
    struct sk_jw w;

    sk_jw_init(&w, out);
    sk_jw_obj(&w);
    sk_jw_kcstr(&w, "format", "skerry.seats/1");
    sk_jw_kcstr(&w, "store", c->roster.etcd ? "etcd" : "sqlite");
    sk_jw_kbool(&w, "external", c->roster.external);
    sk_jw_key(&w, "members");
    sk_jw_arr(&w);
    if (c->roster.count == 0) {
        sk_jw_cstr(&w, c->own_node);
    }
    for (size_t i = 0; i < c->roster.count; i++) {
        sk_jw_cstr(&w, c->roster.seats[i].node);
    }
    sk_jw_arr_end(&w);
    op_write(&w, &g->op);
    text(&w, "waits_for", g->problem);
    sk_jw_key(&w, "nodes");
    sk_jw_arr(&w);
    for (size_t i = 0; i < g->op.nnodes; i++) {
        report_json(c, &w, g->op.nodes[i]);
    }
    sk_jw_arr_end(&w);
    sk_jw_key(&w, "last");
    if (g->last != NULL) {
        sk_jw_raw(&w, sk_str(g->last));
    } else {
        sk_jw_null(&w);
    }
    sk_jw_obj_end(&w);
}
