/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "control/internal.h"

/*
 * Documents that may be larger than one record: the plan and the overlay, read back from their
 * pieces once all the records of a transaction (or of the whole state) are taken over.
 */

static const struct ctl_piece *piece(const struct control *c, const char *key)
{
    size_t at;
    return ctl_find(c->pieces, c->npieces, sk_str(key), &at) ? c->pieces[at] : NULL;
}

/* Reads document `kind` (its head's member of the same name, or its chunks) into a tree. */
static int doc_read(const struct control *c, struct sk_arena *arena, const char *kind,
                    const struct sk_node **ret_head, const struct sk_node **ret_doc,
                    struct sk_err *err)
{
    const struct ctl_piece *p = piece(c, kind);
    if (p == NULL) {
        *ret_doc = NULL;
        return 0;
    }
    if (sk_json_read(arena, kind, sk_str(p->text), NULL, ret_head, err) < 0) {
        return SK_ERR_CORRUPT;
    }
    const struct sk_node *doc = sk_map_get(*ret_head, sk_str(kind));
    int64_t chunks = sk_map_int(*ret_head, "chunks", 0);
    struct sk_buf text = SK_BUF_INIT;
    for (int64_t i = 0; doc == NULL && i < chunks; i++) {
        const struct sk_node *part;
        struct sk_str key = sk_arena_printf(arena, "%s/%04lld", kind, (long long)i);
        p = piece(c, key.ptr);
        if (p == NULL || sk_json_read(arena, kind, sk_str(p->text), NULL, &part, err) < 0) {
            sk_buf_release(&text);
            return sk_err_set(err, SK_ERR_CORRUPT, "record '%s': not all chunks are there", kind);
        }
        sk_buf_addstr(&text, sk_map_str(part, "text", SK_STR("")));
    }
    int rc = 0;
    if (doc == NULL) {
        rc = sk_json_read(arena, kind, sk_buf_str(&text), NULL, &doc, err);
    }
    sk_buf_release(&text);
    if (rc < 0) {
        return sk_err_set(err, SK_ERR_CORRUPT, "record '%s': it is no JSON", kind);
    }
    *ret_doc = doc;
    return 0;
}

static void pieces_forget_text(struct control *c, const char *kind)
{
    for (size_t i = 0; i < c->npieces; i++) {
        if (sk_str_starts(sk_str(c->pieces[i]->key), sk_str(kind))) {
            ctl_set(&c->pieces[i]->text, SK_STR(""));
        }
    }
}

static const char *const head_members[] = {"v", "who", "wall_ms", "chunks", "plan", "overlay"};
static const char *const row_members[] = {"project", "service", "node", "replica"};

static void plan_set(struct control *c, struct plan *plan)
{
    ctl_planref_drop(c->plan);
    c->plan = NULL;
    if (plan != NULL) {
        c->plan = sk_xcalloc(1, sizeof(*c->plan));
        c->plan->refs = 1;
        c->plan->plan = plan;
    }
    c->derive_needed = true;
    c->stamp++;
}

static int plan_settle(struct control *c, struct plan *plan, struct sk_err *err)
{
    struct sk_arena *arena = sk_arena_new();
    const struct sk_node *head = NULL;
    const struct sk_node *doc = NULL;
    int rc = 0;

    const struct ctl_piece *first = piece(c, "plan");
    if (plan == NULL) {
        rc = doc_read(c, arena, "plan", &head, &doc, err);
        if (rc == 0 && doc != NULL) {
            rc = plan_from_record("plan", doc, &plan, err);
        }
    } else if (first != NULL) { /* just made: only who and when are read back */
        rc = sk_json_read(arena, "plan", sk_str(first->text), NULL, &head, err);
    }
    if (rc == 0) {
        if (head != NULL) {
            ctl_set(&c->plan_who, sk_map_str(head, "who", SK_STR("")));
            c->plan_wall_ms = sk_map_int(head, "wall_ms", 0);
            free(c->plan_extra);
            c->plan_extra = ctl_rest(head, head_members, SK_ARRAY_LEN(head_members));
        }
        plan_set(c, plan);
        pieces_forget_text(c, "plan");
        c->plan_touched = false;
    }
    sk_arena_free(arena);
    return rc < 0 ? SK_ERR_CORRUPT : 0;
}

void ctl_overlay_free(struct control *c)
{
    for (size_t i = 0; i < c->noverlay; i++) {
        free(c->overlay[i].project);
        free(c->overlay[i].service);
        free(c->overlay[i].node);
        free(c->overlay[i].extra);
    }
    free(c->overlay);
    c->overlay = NULL;
    c->noverlay = 0;
}

void ctl_overlay_row(const struct control *c, struct sk_jw *w, struct sk_str project,
                     struct sk_str service, int64_t replica, struct sk_str node)
{
    sk_jw_obj(w);
    sk_jw_kstr(w, "project", project);
    sk_jw_kstr(w, "service", service);
    sk_jw_kint(w, "replica", replica);
    sk_jw_kstr(w, "node", node);
    for (size_t i = 0; i < c->noverlay; i++) {
        const struct ctl_overlay *o = &c->overlay[i];
        if (o->extra != NULL && o->replica == replica && sk_str_is(service, o->service) &&
            sk_str_is(project, o->project)) {
            ctl_rest_put(w, o->extra);
        }
    }
    sk_jw_obj_end(w);
}

static int overlay_settle(struct control *c, struct sk_err *err)
{
    struct sk_arena *arena = sk_arena_new();
    const struct sk_node *head = NULL;
    const struct sk_node *doc = NULL;
    int rc = doc_read(c, arena, "overlay", &head, &doc, err);

    if (rc == 0) {
        ctl_overlay_free(c);
        free(c->overlay_extra);
        c->overlay_extra =
            head != NULL ? ctl_rest(head, head_members, SK_ARRAY_LEN(head_members)) : NULL;
        if (doc != NULL && doc->kind == SK_SEQ && doc->count > 0) {
            c->overlay = sk_xcalloc(doc->count, sizeof(*c->overlay));
            for (uint32_t i = 0; i < doc->count; i++) {
                const struct sk_node *row = &doc->u.items[i];
                c->overlay[c->noverlay++] = (struct ctl_overlay){
                    .project = ctl_dup(sk_map_str(row, "project", SK_STR(""))),
                    .service = ctl_dup(sk_map_str(row, "service", SK_STR(""))),
                    .node = ctl_dup(sk_map_str(row, "node", SK_STR(""))),
                    .extra = ctl_rest(row, row_members, SK_ARRAY_LEN(row_members)),
                    .replica = sk_map_int(row, "replica", 0),
                };
            }
        }
        pieces_forget_text(c, "overlay");
        c->overlay_touched = false;
        c->derive_needed = true;
    }
    sk_arena_free(arena);
    return rc;
}

int ctl_records_settle(struct control *c, struct plan *plan, struct sk_err *err)
{
    if (c->plan_touched && plan_settle(c, plan, err) < 0) {
        return SK_ERR_CORRUPT;
    }
    if (c->overlay_touched && overlay_settle(c, err) < 0) {
        return SK_ERR_CORRUPT;
    }
    if (c->derive_needed) {
        ctl_derive(c);
    }
    c->dirty_reconcile = true;
    return 0;
}
