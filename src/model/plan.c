/* SPDX-License-Identifier: Apache-2.0 */
#include "model/plan.h"

#include <stdio.h>
#include <string.h>

#include "base/hash.h"
#include "base/mem.h"
#include "model/plan_fields.h"
#include "model/reader.h"

#define PLAN_FORMAT "skerry.plan/1"
/* Whole numbers that every JSON reader keeps exact. */
#define INT_MAX_EXACT ((int64_t)1 << 53)

static const char *const verdict_names[] = {
    [PLAN_OK] = "ok",
    [PLAN_IMPOSSIBLE] = "impossible",
    [PLAN_NOT_FOUND] = "not_found",
};

const char *plan_verdict_name(enum plan_verdict verdict)
{
    return verdict_names[verdict];
}

struct plan *plan_new(void)
{
    struct plan *plan = sk_xcalloc(1, sizeof(*plan));
    plan->arena = sk_arena_new();
    return plan;
}

void plan_free(struct plan *plan)
{
    if (plan) {
        sk_arena_free(plan->arena);
        free(plan);
    }
}

/* Writing --------------------------------------------------------------------------------- */

static void write_object(struct sk_jw *w, const struct layout *layout, const unsigned char *base,
                         bool canonical);

static void *get_ptr(const unsigned char *at)
{
    void *ptr;
    memcpy(&ptr, at, sizeof(ptr));
    return ptr;
}

static size_t get_count(const unsigned char *base, const struct field *f)
{
    size_t count;
    memcpy(&count, base + f->count_at, sizeof(count));
    return count;
}

static void write_maybe(struct sk_jw *w, const struct plan_maybe *maybe)
{
    if (maybe->known) {
        sk_jw_num(w, maybe->value);
    } else {
        sk_jw_null(w);
    }
}

static void write_list(struct sk_jw *w, const struct field *f, const unsigned char *base,
                       bool canonical)
{
    const void *rows = get_ptr(base + f->at);
    size_t count = get_count(base, f);

    if (f->kind == FIELD_SHARDS) {
        const struct plan_shard_count *shards = rows;
        sk_jw_obj(w);
        for (size_t i = 0; i < count; i++) {
            sk_jw_keystr(w, shards[i].site);
            sk_jw_int(w, shards[i].count);
        }
        sk_jw_obj_end(w);
        return;
    }
    sk_jw_arr(w);
    for (size_t i = 0; i < count; i++) {
        if (f->kind == FIELD_STRS) {
            sk_jw_str(w, ((const struct sk_str *)rows)[i]);
        } else {
            write_object(w, f->layout, (const unsigned char *)rows + i * f->size, canonical);
        }
    }
    sk_jw_arr_end(w);
}

static void write_field(struct sk_jw *w, const struct field *f, const unsigned char *base,
                        bool canonical)
{
    const void *at = base + f->at;

    switch (f->kind) {
    case FIELD_FORMAT:
        sk_jw_cstr(w, PLAN_FORMAT);
        break;
    case FIELD_ID:
        sk_jw_cstr(w, at);
        break;
    case FIELD_VERDICT:
        sk_jw_cstr(w, plan_verdict_name(*(const enum plan_verdict *)at));
        break;
    case FIELD_NAME:
        if (((const struct sk_str *)at)->len == 0) {
            sk_jw_null(w);
            break;
        }
        sk_jw_str(w, *(const struct sk_str *)at);
        break;
    case FIELD_STR:
        sk_jw_str(w, *(const struct sk_str *)at);
        break;
    case FIELD_INT:
        sk_jw_int(w, *(const int64_t *)at);
        break;
    case FIELD_NUM:
        sk_jw_num(w, *(const double *)at);
        break;
    case FIELD_MAYBE:
        write_maybe(w, at);
        break;
    case FIELD_BOOL:
        sk_jw_bool(w, *(const bool *)at);
        break;
    case FIELD_CONTROL:
        sk_jw_cstr(w, *(const bool *)at ? "kept" : "lost");
        break;
    case FIELD_STRS:
    case FIELD_SHARDS:
    case FIELD_ROWS:
        write_list(w, f, base, canonical);
        break;
    case FIELD_OBJECT:
        write_object(w, f->layout, base, canonical);
        break;
    }
}

/* canonical: sorted keys, and without what is not under the id. */
static void write_object(struct sk_jw *w, const struct layout *layout, const unsigned char *base,
                         bool canonical)
{
    sk_jw_obj(w);
    for (size_t i = 0; i < layout->count; i++) {
        const struct field *f = &layout->fields[canonical ? layout->sorted[i] : i];
        if (canonical && f->outside) {
            continue;
        }
        if (f->optional && *(const double *)(const void *)(base + f->at) <= 0) {
            continue;
        }
        sk_jw_key(w, f->name);
        write_field(w, f, base, canonical);
    }
    sk_jw_obj_end(w);
}

void plan_write_json(const struct plan *plan, struct sk_jw *w)
{
    write_object(w, &plan_layout, (const unsigned char *)plan, false);
}

static void compute_id(const struct plan *plan, char out[72])
{
    struct sk_buf buf = SK_BUF_INIT;
    struct sk_jw w;
    char hex[SK_SHA256_HEX];

    sk_jw_init(&w, &buf);
    write_object(&w, &plan_layout, (const unsigned char *)plan, true);
    sk_sha256_hex(sk_buf_str(&buf), hex);
    (void)snprintf(out, 72, "sha256:%s", hex);
    sk_buf_release(&buf);
}

void plan_seal(struct plan *plan)
{
    compute_id(plan, plan->id);
}

bool plan_id_matches(const struct plan *plan)
{
    char id[72];
    compute_id(plan, id);
    return strcmp(id, plan->id) == 0;
}

/* Reading --------------------------------------------------------------------------------- */

static int read_object(struct rd *rd, const struct spot *at, const struct layout *layout,
                       unsigned char *base);

static int read_constant(struct rd *rd, const struct spot *at)
{
    struct sk_str text;

    if (rd_string(rd, at, &text) < 0) {
        return rd->err.code;
    }
    if (!sk_str_is(text, PLAN_FORMAT)) {
        return rd_bad(rd, at, "must be \"%s\", not '%.*s'", PLAN_FORMAT, SK_PRI(text));
    }
    return 0;
}

static int read_id(struct rd *rd, const struct spot *at, char *out)
{
    struct sk_str text;
    uint8_t hash[SK_SHA256_BYTES];

    if (rd_string(rd, at, &text) < 0) {
        return rd->err.code;
    }
    if (text.len != 71 || !sk_str_starts(text, SK_STR("sha256:")) ||
        !sk_unhex((struct sk_str){text.ptr + 7, 64}, hash, sizeof(hash))) {
        return rd_bad(rd, at, "must be \"sha256:\" and 64 hexadecimal digits");
    }
    memcpy(out, text.ptr, 71);
    out[71] = '\0';
    return 0;
}

static int read_verdict(struct rd *rd, const struct spot *at, enum plan_verdict *ret)
{
    struct sk_str text;

    if (rd_string(rd, at, &text) < 0) {
        return rd->err.code;
    }
    for (size_t i = 0; i < SK_ARRAY_LEN(verdict_names); i++) {
        if (sk_str_is(text, verdict_names[i])) {
            *ret = (enum plan_verdict)i;
            return 0;
        }
    }
    return rd_bad(rd, at, "must be ok, impossible or not_found, not '%.*s'", SK_PRI(text));
}

static int read_control(struct rd *rd, const struct spot *at, bool *ret_kept)
{
    struct sk_str text;

    if (rd_string(rd, at, &text) < 0) {
        return rd->err.code;
    }
    if (!sk_str_is(text, "kept") && !sk_str_is(text, "lost")) {
        return rd_bad(rd, at, "must be kept or lost, not '%.*s'", SK_PRI(text));
    }
    *ret_kept = sk_str_is(text, "kept");
    return 0;
}

static int read_number(struct rd *rd, const struct spot *at, double *ret)
{
    if (rd_want(rd, at, SK_NUMBER) < 0) {
        return rd->err.code;
    }
    return rd_num(rd, at, -1e300, 1e300, ret);
}

static int read_maybe(struct rd *rd, const struct spot *at, struct plan_maybe *ret)
{
    if (at->node->kind == SK_NULL) {
        *ret = (struct plan_maybe){false, 0};
        return 0;
    }
    ret->known = true;
    return read_number(rd, at, &ret->value);
}

static int read_count(struct rd *rd, const struct spot *at, int64_t *ret)
{
    if (rd_want(rd, at, SK_NUMBER) < 0) {
        return rd->err.code;
    }
    return rd_int(rd, at, 0, INT_MAX_EXACT, ret);
}

static int compare_shards(const void *a, const void *b)
{
    return sk_str_cmp(((const struct plan_shard_count *)a)->site,
                      ((const struct plan_shard_count *)b)->site);
}

static int read_shards(struct rd *rd, const struct spot *at, struct plan_shard_count *shards)
{
    for (uint32_t i = 0; i < at->node->count; i++) {
        struct spot member = spot_member(at, &at->node->u.members[i]);
        shards[i].site = sk_arena_str(rd->arena, member.key);
        if (read_count(rd, &member, &shards[i].count) < 0) {
            return rd->err.code;
        }
    }
    if (at->node->count > 1) { /* the order of members means nothing, that of the id does */
        qsort(shards, at->node->count, sizeof(*shards), compare_shards);
    }
    return 0;
}

static int read_list(struct rd *rd, const struct spot *at, const struct field *f,
                     unsigned char *base)
{
    bool shards = f->kind == FIELD_SHARDS;
    size_t size = shards                  ? sizeof(struct plan_shard_count)
                  : f->kind == FIELD_STRS ? sizeof(struct sk_str)
                                          : f->size;
    size_t count = at->node->count;
    unsigned char *rows;

    if (rd_want(rd, at, shards ? SK_MAP : SK_SEQ) < 0) {
        return rd->err.code;
    }
    rows = sk_arena_calloc(rd->arena, count ? count : 1, size);
    memcpy(base + f->at, &rows, sizeof(rows));
    memcpy(base + f->count_at, &count, sizeof(count));
    if (shards) {
        return read_shards(rd, at, (struct plan_shard_count *)(void *)rows);
    }
    for (uint32_t i = 0; i < count; i++) {
        struct spot item = spot_item(at, i);
        void *row = rows + i * size;
        int code = f->kind == FIELD_STRS ? rd_string(rd, &item, row)
                                         : read_object(rd, &item, f->layout, row);
        if (code < 0) {
            return code;
        }
    }
    return 0;
}

static int read_field(struct rd *rd, const struct spot *at, const struct field *f,
                      unsigned char *base)
{
    void *into = base + f->at;

    switch (f->kind) {
    case FIELD_FORMAT:
        return read_constant(rd, at);
    case FIELD_ID:
        return read_id(rd, at, into);
    case FIELD_VERDICT:
        return read_verdict(rd, at, into);
    case FIELD_NAME:
        if (at->node->kind == SK_NULL) {
            return 0;
        }
        return rd_string(rd, at, into);
    case FIELD_STR:
        return rd_string(rd, at, into);
    case FIELD_INT:
        return read_count(rd, at, into);
    case FIELD_NUM:
        return read_number(rd, at, into);
    case FIELD_MAYBE:
        return read_maybe(rd, at, into);
    case FIELD_BOOL:
        return rd_want(rd, at, SK_BOOL) < 0 ? rd->err.code : rd_bool(rd, at, into);
    case FIELD_CONTROL:
        return read_control(rd, at, into);
    case FIELD_STRS:
    case FIELD_SHARDS:
    case FIELD_ROWS:
        return read_list(rd, at, f, base);
    case FIELD_OBJECT:
        return read_object(rd, at, f->layout, base);
    }
    return 0;
}

/* Rows mostly hold their keys in the order in which they are written: look there first. */
static size_t find_field(const struct layout *layout, struct sk_str name, size_t guess)
{
    if (guess < layout->count && sk_str_is(name, layout->fields[guess].name)) {
        return guess;
    }
    for (size_t i = 0; i < layout->count; i++) {
        if (sk_str_is(name, layout->fields[i].name)) {
            return i;
        }
    }
    return layout->count;
}

static int read_object(struct rd *rd, const struct spot *at, const struct layout *layout,
                       unsigned char *base)
{
    uint32_t seen = 0;

    if (rd_want(rd, at, SK_MAP) < 0) {
        return rd->err.code;
    }
    for (uint32_t i = 0; i < at->node->count; i++) {
        struct spot member = spot_member(at, &at->node->u.members[i]);
        size_t k = find_field(layout, member.key, i);
        if (k == layout->count && rd->tolerant) {
            continue;
        }
        if (k == layout->count) {
            char path[256];
            spot_path(&member, path, sizeof(path));
            return rd_fail(rd, (struct sk_pos){rd->file, member.key_line, member.key_col},
                           SK_ERR_INPUT, "unknown key '%s' in a plan", path);
        }
        seen |= 1u << k;
        if (read_field(rd, &member, &layout->fields[k], base) < 0) {
            return rd->err.code;
        }
    }
    for (size_t k = 0; k < layout->count; k++) {
        if (!(seen & 1u << k) && !layout->fields[k].optional) {
            return rd_bad(rd, at, "lacks the key '%s'", layout->fields[k].name);
        }
    }
    return 0;
}

static int from_tree(const char *name, const struct sk_node *root, bool tolerant,
                     struct plan **ret_plan, struct sk_err *err)
{
    struct plan *plan = plan_new();
    struct spot at = spot_root(root);
    struct rd rd;

    rd_begin(&rd, plan->arena, plan->arena, name);
    rd.tolerant = tolerant;
    if (read_object(&rd, &at, &plan_layout, (unsigned char *)plan) < 0) {
        plan_free(plan);
        return rd_end(&rd, err);
    }
    *ret_plan = plan;
    return 0;
}

int plan_from_tree(const char *name, const struct sk_node *root, struct plan **ret_plan,
                   struct sk_err *err)
{
    return from_tree(name, root, false, ret_plan, err);
}

int plan_from_record(const char *name, const struct sk_node *root, struct plan **ret_plan,
                     struct sk_err *err)
{
    return from_tree(name, root, true, ret_plan, err);
}
