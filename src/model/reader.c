/* SPDX-License-Identifier: Apache-2.0 */
#include "model/reader.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/buf.h"
#include "base/units.h"
#include "model/interpolate.h"

struct spot spot_root(const struct sk_node *root)
{
    return (struct spot){.node = root};
}

struct spot spot_member(const struct spot *map, const struct sk_member *member)
{
    return (struct spot){.node = &member->value,
                         .up = map,
                         .key = member->key,
                         .key_line = member->line,
                         .key_col = member->col};
}

struct spot spot_item(const struct spot *seq, uint32_t index)
{
    return (struct spot){.node = &seq->node->u.items[index], .up = seq, .index = index};
}

struct sk_pos spot_pos(const struct rd *rd, const struct spot *at)
{
    return (struct sk_pos){rd->file, at->node->line, at->node->col};
}

void rd_begin(struct rd *rd, struct sk_arena *arena, struct sk_arena *scratch, const char *name)
{
    *rd = (struct rd){.arena = arena, .scratch = scratch};
    rd->file = sk_arena_str(arena, sk_str(name)).ptr;
}

int rd_end(const struct rd *rd, struct sk_err *err)
{
    if (err) {
        *err = rd->err;
    }
    return rd->err.code;
}

static size_t path_append(const struct spot *at, char *out, size_t size)
{
    size_t len = 0;
    int n;

    out[0] = '\0';
    if (!at->up) {
        return 0;
    }
    len = path_append(at->up, out, size);
    if (at->key.ptr) {
        n = snprintf(out + len, size - len, "%s%.*s", len ? "." : "", SK_PRI(at->key));
    } else {
        n = snprintf(out + len, size - len, "[%u]", at->index);
    }
    if (n < 0) {
        return len;
    }
    return (size_t)n >= size - len ? size - 1 : len + (size_t)n;
}

void spot_path(const struct spot *at, char *out, size_t size)
{
    (void)path_append(at, out, size);
}

int rd_fail(struct rd *rd, struct sk_pos pos, int code, const char *fmt, ...)
{
    char text[SK_ERR_MSG_MAX];
    va_list ap;

    va_start(ap, fmt);
    (void)vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    if (pos.line == 0) {
        return sk_err_set(&rd->err, code, "%s: %s", pos.file ? pos.file : rd->file, text);
    }
    return sk_err_set(&rd->err, code, "%s:%u:%u: %s", pos.file ? pos.file : rd->file, pos.line,
                      pos.col, text);
}

int rd_bad(struct rd *rd, const struct spot *at, const char *fmt, ...)
{
    char text[SK_ERR_MSG_MAX];
    char path[256];
    va_list ap;

    va_start(ap, fmt);
    (void)vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    spot_path(at, path, sizeof(path));
    if (path[0] == '\0') {
        return rd_fail(rd, spot_pos(rd, at), SK_ERR_INPUT, "the document %s", text);
    }
    return rd_fail(rd, spot_pos(rd, at), SK_ERR_INPUT, "'%s' %s", path, text);
}

int rd_wrap(struct rd *rd, const struct spot *at)
{
    char path[256];

    spot_path(at, path, sizeof(path));
    return sk_err_wrap(&rd->err, "%s:%u:%u: '%s'", rd->file, at->node->line, at->node->col, path);
}

static const char *const kind_names[] = {
    [SK_NULL] = "empty",      [SK_BOOL] = "a boolean", [SK_NUMBER] = "a number",
    [SK_STRING] = "a string", [SK_SEQ] = "a list",     [SK_MAP] = "a map",
};

static const char *kind_text(const struct spot *at)
{
    return kind_names[at->node->kind];
}

/* Scalars --------------------------------------------------------------------------------- */

/* The text of a scalar after interpolation; not copied when nothing was replaced. */
static int peek(struct rd *rd, const struct spot *at, struct sk_str *ret)
{
    if (at->node->kind == SK_NULL) {
        return rd_bad(rd, at, "is empty, expected a value");
    }
    if (!sk_node_is_scalar(at->node)) {
        return rd_bad(rd, at, "must be one value, not %s", kind_text(at));
    }
    return interpolate(rd, at, at->node->u.text, ret);
}

static struct sk_str keep(struct rd *rd, const struct spot *at, struct sk_str text)
{
    return text.ptr == at->node->u.text.ptr ? sk_arena_str(rd->arena, text) : text;
}

int rd_scalar(struct rd *rd, const struct spot *at, struct sk_str *ret)
{
    struct sk_str text;

    if (peek(rd, at, &text) < 0) {
        return rd->err.code;
    }
    *ret = keep(rd, at, text);
    return 0;
}

int rd_string(struct rd *rd, const struct spot *at, struct sk_str *ret)
{
    struct sk_str text;

    if (at->node->kind != SK_STRING) {
        int code = rd_bad(rd, at, "must be a string, not %s", kind_text(at));
        if (sk_node_is_scalar(at->node) && at->node->kind != SK_NULL) {
            (void)sk_err_fix(&rd->err, "write it in quotes: \"%.*s\"", SK_PRI(at->node->u.text));
        }
        return code;
    }
    if (peek(rd, at, &text) < 0) {
        return rd->err.code;
    }
    *ret = keep(rd, at, text);
    return 0;
}

int rd_filled(struct rd *rd, const struct spot *at, size_t max, struct sk_str *ret)
{
    struct sk_str text;

    if (rd_string(rd, at, &text) < 0) {
        return rd->err.code;
    }
    if (text.len == 0) {
        return rd_bad(rd, at, "must not be empty");
    }
    if (text.len > max) {
        return rd_bad(rd, at, "has %zu bytes, at most %zu are allowed", text.len, max);
    }
    for (size_t i = 0; i < text.len; i++) {
        unsigned char c = (unsigned char)text.ptr[i];
        if (c < 0x20 || c == 0x7f) {
            return rd_bad(rd, at, "must not hold control characters");
        }
    }
    *ret = text;
    return 0;
}

int rd_bool(struct rd *rd, const struct spot *at, bool *ret)
{
    struct sk_str text;

    if (peek(rd, at, &text) < 0) {
        return rd->err.code;
    }
    if (at->node->kind == SK_NUMBER || (!sk_str_is(text, "true") && !sk_str_is(text, "false"))) {
        return rd_bad(rd, at, "must be true or false, not '%.*s'", SK_PRI(text));
    }
    *ret = text.len == 4;
    return 0;
}

int rd_int(struct rd *rd, const struct spot *at, int64_t min, int64_t max, int64_t *ret)
{
    struct sk_str text;

    if (peek(rd, at, &text) < 0) {
        return rd->err.code;
    }
    if (at->node->kind == SK_BOOL || sk_parse_int(text, min, max, ret, NULL) < 0) {
        return rd_bad(rd, at, "must be a whole number of %lld to %lld, not '%.*s'", (long long)min,
                      (long long)max, SK_PRI(text));
    }
    return 0;
}

int rd_num(struct rd *rd, const struct spot *at, double min, double max, double *ret)
{
    struct sk_str text;
    double n = 0;
    char low[SK_NUM_TEXT_MAX];
    char high[SK_NUM_TEXT_MAX];

    if (peek(rd, at, &text) < 0) {
        return rd->err.code;
    }
    if (at->node->kind == SK_BOOL || sk_parse_num(text, &n, NULL) < 0 || n < min || n > max) {
        (void)sk_num_text(min, low);
        (void)sk_num_text(max, high);
        return rd_bad(rd, at, "must be a number of %s to %s, not '%.*s'", low, high, SK_PRI(text));
    }
    *ret = n;
    return 0;
}

int rd_share(struct rd *rd, const struct spot *at, double *ret)
{
    struct sk_str text;

    if (peek(rd, at, &text) < 0) {
        return rd->err.code;
    }
    if (at->node->kind == SK_BOOL || sk_parse_percent(text, ret, NULL) < 0) {
        return rd_bad(rd, at, "must be a share like 95%% or 0.95, not '%.*s'", SK_PRI(text));
    }
    return 0;
}

int rd_cpus(struct rd *rd, const struct spot *at, int64_t *ret_nano)
{
    struct sk_str text;

    if (peek(rd, at, &text) < 0) {
        return rd->err.code;
    }
    if (at->node->kind == SK_BOOL || sk_parse_cpus(text, ret_nano, NULL) < 0) {
        return rd_bad(rd, at, "must be a number of cpus like 0.5, not '%.*s'", SK_PRI(text));
    }
    return 0;
}

int rd_bytes(struct rd *rd, const struct spot *at, int64_t *ret_bytes)
{
    struct sk_str text;

    if (peek(rd, at, &text) < 0) {
        return rd->err.code;
    }
    if (at->node->kind == SK_BOOL || sk_parse_bytes(text, ret_bytes, NULL) < 0) {
        return rd_bad(rd, at, "must be a size like 256M or 1.5G, not '%.*s'", SK_PRI(text));
    }
    return 0;
}

int rd_duration(struct rd *rd, const struct spot *at, int64_t *ret_ms)
{
    struct sk_str text;

    if (rd_scalar(rd, at, &text) < 0) {
        return rd->err.code;
    }
    if (at->node->kind == SK_BOOL || sk_parse_duration(text, ret_ms, NULL) < 0) {
        return rd_bad(rd, at, "must be a duration like 500ms or 1m30s, not '%.*s'", SK_PRI(text));
    }
    return 0;
}

int rd_point(struct rd *rd, const struct spot *at, double *ret_lat, double *ret_lon)
{
    double lat = 0;
    double lon = 0;
    struct spot item;

    if (at->node->kind != SK_SEQ || at->node->count != 2) {
        int code = rd_bad(rd, at, "must be a list of latitude and longitude in degrees");
        (void)sk_err_fix(&rd->err, "write it like [50.11, 8.68]");
        return code;
    }
    item = spot_item(at, 0);
    if (rd_num(rd, &item, -90, 90, &lat) < 0) {
        return rd->err.code;
    }
    item = spot_item(at, 1);
    if (rd_num(rd, &item, -180, 180, &lon) < 0) {
        return rd->err.code;
    }
    *ret_lat = lat;
    *ret_lon = lon;
    return 0;
}

int rd_port(struct rd *rd, const struct spot *at, uint16_t *ret)
{
    int64_t port = 0;

    if (rd_int(rd, at, 1, 65535, &port) < 0) {
        return rd->err.code;
    }
    *ret = (uint16_t)port;
    return 0;
}

/* Containers ------------------------------------------------------------------------------ */

int rd_want(struct rd *rd, const struct spot *at, enum sk_kind kind)
{
    if (at->node->kind != kind) {
        return rd_bad(rd, at, "must be %s, not %s", kind_names[kind], kind_text(at));
    }
    return 0;
}

int rd_at_most(struct rd *rd, const struct spot *at, uint32_t max)
{
    if (at->node->count > max) {
        (void)rd_bad(rd, at, "has %u entries, at most %u are allowed", at->node->count, max);
        rd->err.code = SK_ERR_LIMIT;
        return SK_ERR_LIMIT;
    }
    return 0;
}

int rd_each(struct rd *rd, const struct spot *at, rd_fn *fn, void *into)
{
    const struct sk_node *node = at->node;

    for (uint32_t i = 0; i < node->count; i++) {
        struct spot inner =
            node->kind == SK_MAP ? spot_member(at, &node->u.members[i]) : spot_item(at, i);
        int code = fn(rd, &inner, into);
        if (code < 0) {
            return code;
        }
    }
    return 0;
}

int rd_strings(struct rd *rd, const struct spot *at, uint32_t max, const struct sk_str **ret,
               size_t *ret_count)
{
    const struct sk_node *node = at->node;
    struct sk_str *items;

    if (node->kind == SK_STRING) {
        items = SK_ARENA_NEW(rd->arena, struct sk_str);
        if (rd_string(rd, at, items) < 0) {
            return rd->err.code;
        }
        *ret = items;
        *ret_count = 1;
        return 0;
    }
    if (node->kind != SK_SEQ) {
        return rd_bad(rd, at, "must be a string or a list of strings, not %s", kind_text(at));
    }
    if (rd_at_most(rd, at, max) < 0) {
        return rd->err.code;
    }
    items = SK_ARENA_ARRAY(rd->arena, struct sk_str, node->count);
    for (uint32_t i = 0; i < node->count; i++) {
        struct spot item = spot_item(at, i);
        if (rd_string(rd, &item, &items[i]) < 0) {
            return rd->err.code;
        }
    }
    *ret = items;
    *ret_count = node->count;
    return 0;
}

static int compare_kvs(const void *a, const void *b)
{
    return sk_str_cmp(((const struct sk_kv *)a)->key, ((const struct sk_kv *)b)->key);
}

bool rd_sort_kvs(struct sk_kv *kvs, size_t count, struct sk_str *ret_dup)
{
    if (count > 1) {
        qsort(kvs, count, sizeof(*kvs), compare_kvs);
    }
    for (size_t i = 1; i < count; i++) {
        if (sk_str_eq(kvs[i - 1].key, kvs[i].key)) {
            *ret_dup = kvs[i].key;
            return false;
        }
    }
    return true;
}

bool rd_cut_kv(struct sk_str text, struct sk_str *ret_key, struct sk_str *ret_value)
{
    return sk_str_cut(text, '=', ret_key, ret_value);
}

static int read_kv(struct rd *rd, const struct spot *item, struct sk_kv *kv)
{
    struct sk_str text;

    if (item->key.ptr) {
        kv->key = sk_arena_str(rd->arena, item->key);
        kv->value = SK_STR("");
        if (item->node->kind != SK_NULL && rd_scalar(rd, item, &kv->value) < 0) {
            return rd->err.code;
        }
    } else {
        if (rd_scalar(rd, item, &text) < 0) {
            return rd->err.code;
        }
        if (!rd_cut_kv(text, &kv->key, &kv->value)) {
            kv->value = SK_STR("");
        }
        kv->key = sk_arena_str(rd->arena, kv->key);
    }
    if (!rd_kv_key_valid(kv->key)) {
        return rd_bad(rd, item, "has a key that is empty or not of printable ASCII");
    }
    return 0;
}

int rd_kvs(struct rd *rd, const struct spot *at, uint32_t max, const struct sk_kv **ret,
           size_t *ret_count)
{
    const struct sk_node *node = at->node;
    struct sk_kv *kvs;
    struct sk_str dup;

    if (node->kind != SK_MAP && node->kind != SK_SEQ) {
        return rd_bad(rd, at, "must be a map or a list of KEY=VALUE, not %s", kind_text(at));
    }
    if (rd_at_most(rd, at, max) < 0) {
        return rd->err.code;
    }
    kvs = SK_ARENA_ARRAY(rd->arena, struct sk_kv, node->count);
    for (uint32_t i = 0; i < node->count; i++) {
        struct spot item =
            node->kind == SK_MAP ? spot_member(at, &node->u.members[i]) : spot_item(at, i);
        if (read_kv(rd, &item, &kvs[i]) < 0) {
            return rd->err.code;
        }
    }
    if (!rd_sort_kvs(kvs, node->count, &dup)) {
        return rd_bad(rd, at, "has the key '%.*s' twice", SK_PRI(dup));
    }
    *ret = kvs;
    *ret_count = node->count;
    return 0;
}

/* Names ----------------------------------------------------------------------------------- */

static bool is_alnum(char c, bool upper)
{
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || (upper && c >= 'A' && c <= 'Z');
}

static bool name_of(struct sk_str name, bool upper_and_dots)
{
    if (name.len == 0 || name.len > RD_NAME_MAX || !is_alnum(name.ptr[0], upper_and_dots)) {
        return false;
    }
    for (size_t i = 1; i < name.len; i++) {
        char c = name.ptr[i];
        if (!is_alnum(c, upper_and_dots) && c != '-' && c != '_' && !(upper_and_dots && c == '.')) {
            return false;
        }
    }
    return true;
}

bool rd_name_valid(struct sk_str name)
{
    return name_of(name, true);
}

bool rd_compose_name_valid(struct sk_str name)
{
    return name_of(name, false);
}

int rd_name(struct rd *rd, struct sk_pos pos, const char *what, struct sk_str name)
{
    if (rd_name_valid(name)) {
        return 0;
    }
    (void)rd_fail(rd, pos, SK_ERR_INPUT, "'%.*s' is not a name of a %s", SK_PRI(name), what);
    return sk_err_fix(&rd->err,
                      "use 1 to %d letters, digits, '-', '_' and '.', first a letter or digit",
                      RD_NAME_MAX);
}

int rd_compose_name(struct rd *rd, struct sk_pos pos, const char *what, struct sk_str name)
{
    if (rd_compose_name_valid(name)) {
        return 0;
    }
    (void)rd_fail(rd, pos, SK_ERR_INPUT, "'%.*s' is not a name of a %s", SK_PRI(name), what);
    return sk_err_fix(
        &rd->err, "use 1 to %d lower case letters, digits, '-' and '_', first a letter or digit",
        RD_NAME_MAX);
}

bool rd_kv_key_valid(struct sk_str key)
{
    if (key.len == 0 || key.len > 256) {
        return false;
    }
    for (size_t i = 0; i < key.len; i++) {
        if (key.ptr[i] <= ' ' || key.ptr[i] > '~' || key.ptr[i] == '=') {
            return false;
        }
    }
    return true;
}
