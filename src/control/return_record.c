/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "control/return.h"

/* The record of the return (return.c), as it is read and rewritten: member by member. */
static const struct sk_str return_key = {CTL_PREFIX "return", sizeof(CTL_PREFIX "return") - 1};

static void moving_free(struct ctl_return *r)
{
    for (size_t i = 0; i < r->nmoving; i++) {
        free(r->moving[i].project);
        free(r->moving[i].service);
        free(r->moving[i].from);
    }
    free(r->moving);
    r->moving = NULL;
    r->nmoving = 0;
}

/* "PROJECT/SERVICE.REPLICA": where it came from. */
static void moving_apply(struct ctl_return *r, const struct sk_node *map)
{
    moving_free(r);
    if (map == NULL || map->kind != SK_MAP || map->count == 0) {
        return;
    }
    r->moving = sk_xcalloc(map->count, sizeof(*r->moving));
    for (uint32_t i = 0; i < map->count; i++) {
        const struct sk_member *m = &map->u.members[i];
        struct sk_str project;
        struct sk_str rest;
        size_t dot = 0;
        int64_t replica;
        if (!sk_str_cut(m->key, '/', &project, &rest) || m->value.kind != SK_STRING) {
            continue;
        }
        for (size_t k = 0; k < rest.len; k++) {
            dot = rest.ptr[k] == '.' ? k : dot;
        }
        if (dot == 0 ||
            !ctl_digits((struct sk_str){rest.ptr + dot + 1, rest.len - dot - 1}, &replica)) {
            continue;
        }
        r->moving[r->nmoving++] =
            (struct ctl_moving){ctl_dup(project), ctl_dup((struct sk_str){rest.ptr, dot}),
                                ctl_dup(m->value.u.text), replica};
    }
}

static void set_or_free(char **at, struct sk_str text)
{
    free(*at);
    *at = text.len > 0 ? ctl_dup(text) : NULL;
}

void ctl_return_apply(struct control *c, const struct sk_node *rec, struct sk_str raw)
{
    struct ctl_return *r = &c->ret;
    struct sk_str none = SK_STR("");

    ctl_set(&r->raw, raw);
    r->off = !sk_map_bool(rec, "auto", true);
    r->delay_ms = ctl_i64_max(0, sk_map_int(rec, "delay_ms", CTL_SETTLE_MS));
    set_or_free(&r->held_by, sk_map_str(rec, "held_by", none));
    set_or_free(&r->held_why, sk_map_str(rec, "held_why", none));
    r->held_wall_ms = sk_map_int(rec, "held_wall_ms", 0);
    set_or_free(&r->go_by, sk_map_str(rec, "go_by", none));
    r->go_moves = sk_map_int(rec, "go_moves", -1);
    r->asked = sk_map_bool(rec, "asked", false);
    set_or_free(&r->begun_by, sk_map_str(rec, "begun_by", none));
    r->begun_wall_ms = sk_map_int(rec, "begun_wall_ms", 0);
    r->total = sk_map_int(rec, "total", 0);
    r->left = sk_map_int(rec, "left", -1);
    moving_apply(r, sk_map_get(rec, SK_STR("moving")));
    r->done_wall_ms = sk_map_int(rec, "done_wall_ms", 0);
    r->done_moves = sk_map_int(rec, "done_moves", 0);
    r->progress_ms = c->now_ms;
    r->next_ms = c->now_ms;
}

void ctl_return_clear(struct control *c)
{
    struct ctl_return *r = &c->ret;
    moving_free(r);
    free(r->raw);
    free(r->held_by);
    free(r->held_why);
    free(r->go_by);
    free(r->begun_by);
    plan_free(r->plan);
    *r = (struct ctl_return){.delay_ms = CTL_SETTLE_MS, .next_ms = INT64_MAX};
}

static void put(struct control *c, struct ctl_txn *t, const struct sk_buf *patch)
{
    ctl_put_merged(t, return_key, c->ret.raw, sk_buf_str(patch));
}

void return_patch(struct sk_jw *w, struct sk_buf *out)
{
    sk_jw_init(w, out);
    sk_jw_obj(w);
    sk_jw_kint(w, "v", 1);
}

static void patch_null(struct sk_jw *w, const char *const *names, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        sk_jw_knull(w, names[i]);
    }
}

void return_patch_begun_ends(struct sk_jw *w)
{
    static const char *const names[] = {"begun_by", "begun_wall_ms", "total", "left", "moving"};
    patch_null(w, names, SK_ARRAY_LEN(names));
}

void return_patch_hold_ends(struct sk_jw *w)
{
    static const char *const names[] = {"held_by", "held_wall_ms", "held_why"};
    patch_null(w, names, SK_ARRAY_LEN(names));
}

void return_patch_go_ends(struct sk_jw *w)
{
    static const char *const names[] = {"go_by", "go_moves"};
    patch_null(w, names, SK_ARRAY_LEN(names));
}

void return_patch_end(struct control *c, struct ctl_txn *t, struct sk_jw *w, struct sk_buf *out)
{
    sk_jw_obj_end(w);
    put(c, t, out);
    sk_buf_release(out);
}

void ctl_return_end(struct control *c, struct ctl_txn *t, bool over)
{
    const struct ctl_return *r = &c->ret;
    struct sk_buf out = SK_BUF_INIT;
    struct sk_jw w;
    bool by_control = r->held_by != NULL && strcmp(r->held_by, "control") == 0;

    if (r->begun_by == NULL && !(over && (r->go_by != NULL || r->asked || by_control))) {
        return;
    }
    return_patch(&w, &out);
    return_patch_begun_ends(&w);
    if (over) {
        return_patch_go_ends(&w);
        sk_jw_knull(&w, "asked");
        if (by_control) {
            return_patch_hold_ends(&w);
        }
    }
    return_patch_end(c, t, &w, &out);
}

void ctl_return_ask(struct control *c, struct ctl_txn *t, const char *go_by)
{
    struct sk_buf out = SK_BUF_INIT;
    struct sk_jw w;

    return_patch(&w, &out);
    sk_jw_kbool(&w, "asked", true);
    if (go_by != NULL) {
        sk_jw_kcstr(&w, "go_by", go_by);
        sk_jw_kint(&w, "go_moves", -1);
        return_patch_hold_ends(&w);
    }
    return_patch_end(c, t, &w, &out);
}

void return_event(struct control *c, struct ctl_txn *t, const char *what, struct sk_str text)
{
    ctl_txn_event(c, t,
                  &(struct ctl_evtext){.what = what,
                                       .who = sk_arena_str(t->arena, sk_str(c->ret.begun_by)).ptr,
                                       .plan = sk_str(c->plan->plan->id),
                                       .text = text.ptr});
}
