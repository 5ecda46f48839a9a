/* SPDX-License-Identifier: Apache-2.0 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/json.h"
#include "base/mem.h"
#include "base/scalar.h"
#include "base/units.h"

void sk_jw_init(struct sk_jw *w, struct sk_buf *out)
{
    memset(w, 0, sizeof(*w));
    w->out = out;
    w->first[0] = true;
}

static void before_value(struct sk_jw *w)
{
    if (w->after_key) {
        w->after_key = false;
        return;
    }
    if (!w->first[w->depth]) {
        sk_buf_addc(w->out, ',');
    }
    w->first[w->depth] = false;
}

static void open_level(struct sk_jw *w, char c)
{
    before_value(w);
    SK_ASSERT(w->depth + 1 < SK_JW_DEPTH_MAX);
    w->depth++;
    w->first[w->depth] = true;
    sk_buf_addc(w->out, c);
}

static void close_level(struct sk_jw *w, char c)
{
    SK_ASSERT(w->depth > 0 && !w->after_key);
    w->depth--;
    sk_buf_addc(w->out, c);
}

void sk_jw_obj(struct sk_jw *w)
{
    open_level(w, '{');
}

void sk_jw_obj_end(struct sk_jw *w)
{
    close_level(w, '}');
}

void sk_jw_arr(struct sk_jw *w)
{
    open_level(w, '[');
}

void sk_jw_arr_end(struct sk_jw *w)
{
    close_level(w, ']');
}

static void add_escape(struct sk_buf *out, unsigned char c)
{
    static const char named[] = "\"\\\b\f\n\r\t";
    static const char letter[] = "\"\\bfnrt";
    const char *at = c ? strchr(named, c) : NULL;

    if (at) {
        sk_buf_addc(out, '\\');
        sk_buf_addc(out, letter[at - named]);
    } else {
        sk_buf_printf(out, "\\u%04x", c);
    }
}

/* How much of it, from the start, needs neither an escape nor a look at its encoding. */
static size_t plain_len(struct sk_str s)
{
    size_t i = 0;

    for (; i < s.len; i++) {
        unsigned char c = (unsigned char)s.ptr[i];
        if (c < 0x20 || c >= 0x80 || c == '"' || c == '\\') {
            break;
        }
    }
    return i;
}

/* A JSON string with the escapes that RFC 8785 prescribes; they are the fewest that JSON allows. */
static void add_string(struct sk_buf *out, struct sk_str s)
{
    size_t done = 0;
    size_t plain = plain_len(s);
    bool valid = plain == s.len || sk_str_utf8_valid(s);

    sk_buf_reserve(out, s.len + 2);
    sk_buf_addc(out, '"');
    for (size_t i = plain; i < s.len; i++) {
        unsigned char c = (unsigned char)s.ptr[i];
        bool stray = false;
        if (c >= 0x80 && !valid) {
            size_t len = sk_utf8_len((struct sk_str){s.ptr + i, s.len - i});
            if (len > 0) {
                i += len - 1;
                continue;
            }
            stray = true;
        } else if (c >= 0x20 && c != '"' && c != '\\') {
            continue;
        }
        sk_buf_add(out, s.ptr + done, i - done);
        done = i + 1;
        if (stray) {
            sk_buf_adds(out, "\xef\xbf\xbd");
        } else {
            add_escape(out, c);
        }
    }
    if (done < s.len) {
        sk_buf_add(out, s.ptr + done, s.len - done);
    }
    sk_buf_addc(out, '"');
}

void sk_jw_keystr(struct sk_jw *w, struct sk_str key)
{
    SK_ASSERT(!w->after_key);
    before_value(w);
    add_string(w->out, key);
    sk_buf_addc(w->out, ':');
    w->after_key = true;
}

void sk_jw_key(struct sk_jw *w, const char *key)
{
    sk_jw_keystr(w, sk_str(key));
}

void sk_jw_str(struct sk_jw *w, struct sk_str s)
{
    before_value(w);
    add_string(w->out, s);
}

void sk_jw_cstr(struct sk_jw *w, const char *cstr)
{
    sk_jw_str(w, sk_str(cstr));
}

void sk_jw_int(struct sk_jw *w, int64_t n)
{
    char text[24];
    size_t at = sizeof(text);
    uint64_t left = n < 0 ? 0 - (uint64_t)n : (uint64_t)n;

    before_value(w);
    do {
        text[--at] = (char)('0' + left % 10);
        left /= 10;
    } while (left);
    if (n < 0) {
        text[--at] = '-';
    }
    sk_buf_add(w->out, text + at, sizeof(text) - at);
}

void sk_jw_num(struct sk_jw *w, double n)
{
    char text[SK_NUM_TEXT_MAX];

    if (!isfinite(n)) {
        sk_jw_null(w);
        return;
    }
    before_value(w);
    sk_buf_add(w->out, text, sk_num_text(n, text));
}

void sk_jw_bool(struct sk_jw *w, bool b)
{
    before_value(w);
    sk_buf_adds(w->out, b ? "true" : "false");
}

void sk_jw_null(struct sk_jw *w)
{
    before_value(w);
    sk_buf_adds(w->out, "null");
}

void sk_jw_raw(struct sk_jw *w, struct sk_str json)
{
    before_value(w);
    sk_buf_addstr(w->out, json);
}

/* YAML's other ways to write a number (0x1f, .5, +1) become JSON's; what JSON cannot say (.inf)
 * stays text. */
static void write_number(struct sk_jw *w, struct sk_str text)
{
    double value;

    if (sk_json_number_len(text) == text.len) {
        sk_jw_raw(w, text);
    } else if (sk_core_num(text, &value)) {
        sk_jw_num(w, value);
    } else {
        sk_jw_str(w, text);
    }
}

void sk_jw_node(struct sk_jw *w, const struct sk_node *node)
{
    switch ((enum sk_kind)node->kind) {
    case SK_NULL:
        sk_jw_null(w);
        return;
    case SK_BOOL:
        sk_jw_raw(w, node->u.text);
        return;
    case SK_NUMBER:
        write_number(w, node->u.text);
        return;
    case SK_STRING:
        sk_jw_str(w, node->u.text);
        return;
    case SK_SEQ:
        sk_jw_arr(w);
        for (uint32_t i = 0; i < node->count; i++) {
            sk_jw_node(w, &node->u.items[i]);
        }
        sk_jw_arr_end(w);
        return;
    case SK_MAP:
        sk_jw_obj(w);
        for (uint32_t i = 0; i < node->count; i++) {
            sk_jw_keystr(w, node->u.members[i].key);
            sk_jw_node(w, &node->u.members[i].value);
        }
        sk_jw_obj_end(w);
        return;
    }
}

size_t sk_jw_rest(struct sk_jw *w, const struct sk_node *map, const char *const *known,
                  size_t nknown)
{
    size_t written = 0;

    for (uint32_t i = 0; map != NULL && map->kind == SK_MAP && i < map->count; i++) {
        const struct sk_member *m = &map->u.members[i];
        bool is_known = false;
        for (size_t k = 0; k < nknown && !is_known; k++) {
            is_known = sk_str_is(m->key, known[k]);
        }
        if (!is_known) {
            sk_jw_keystr(w, m->key);
            sk_jw_node(w, &m->value);
            written++;
        }
    }
    return written;
}

void sk_jw_kstr(struct sk_jw *w, const char *key, struct sk_str s)
{
    sk_jw_key(w, key);
    sk_jw_str(w, s);
}

void sk_jw_kcstr(struct sk_jw *w, const char *key, const char *cstr)
{
    sk_jw_key(w, key);
    sk_jw_cstr(w, cstr);
}

void sk_jw_kint(struct sk_jw *w, const char *key, int64_t n)
{
    sk_jw_key(w, key);
    sk_jw_int(w, n);
}

void sk_jw_knum(struct sk_jw *w, const char *key, double n)
{
    sk_jw_key(w, key);
    sk_jw_num(w, n);
}

void sk_jw_kbool(struct sk_jw *w, const char *key, bool b)
{
    sk_jw_key(w, key);
    sk_jw_bool(w, b);
}

void sk_jw_knull(struct sk_jw *w, const char *key)
{
    sk_jw_key(w, key);
    sk_jw_null(w);
}

/* The order of UTF-16 code units is the order of UTF-8 bytes, but for one thing: characters beyond
 * U+FFFF (first byte 0xf0 up) are surrogates there, and come before U+E000-U+FFFF (0xee, 0xef). */
static int utf16_rank(unsigned char c)
{
    return c == 0xee || c == 0xef ? c + 0x100 : c;
}

static int utf16_cmp(struct sk_str a, struct sk_str b)
{
    size_t n = a.len < b.len ? a.len : b.len;

    for (size_t i = 0; i < n; i++) {
        if (a.ptr[i] != b.ptr[i]) {
            return utf16_rank((unsigned char)a.ptr[i]) - utf16_rank((unsigned char)b.ptr[i]);
        }
    }
    return a.len < b.len ? -1 : a.len > b.len;
}

static int by_utf16(const void *a, const void *b)
{
    const struct sk_member *const *left = a;
    const struct sk_member *const *right = b;
    return utf16_cmp((*left)->key, (*right)->key);
}

static int canonical_map(const struct sk_node *node, struct sk_buf *out, struct sk_err *err)
{
    sk_autofree const struct sk_member **sorted = sk_xcalloc(node->count, sizeof(*sorted));

    for (uint32_t i = 0; i < node->count; i++) {
        sorted[i] = &node->u.members[i];
    }
    qsort(sorted, node->count, sizeof(*sorted), by_utf16);
    sk_buf_addc(out, '{');
    for (uint32_t i = 0; i < node->count; i++) {
        int rc;
        if (i > 0) {
            sk_buf_addc(out, ',');
        }
        add_string(out, sorted[i]->key);
        sk_buf_addc(out, ':');
        rc = sk_json_canonical(&sorted[i]->value, out, err);
        if (rc < 0) {
            return rc;
        }
    }
    sk_buf_addc(out, '}');
    return 0;
}

static int canonical_seq(const struct sk_node *node, struct sk_buf *out, struct sk_err *err)
{
    sk_buf_addc(out, '[');
    for (uint32_t i = 0; i < node->count; i++) {
        int rc;
        if (i > 0) {
            sk_buf_addc(out, ',');
        }
        rc = sk_json_canonical(&node->u.items[i], out, err);
        if (rc < 0) {
            return rc;
        }
    }
    sk_buf_addc(out, ']');
    return 0;
}

int sk_json_canonical(const struct sk_node *node, struct sk_buf *out, struct sk_err *err)
{
    char text[SK_NUM_TEXT_MAX];
    double value;

    switch ((enum sk_kind)node->kind) {
    case SK_NULL:
        sk_buf_adds(out, "null");
        return 0;
    case SK_BOOL:
        sk_buf_addstr(out, node->u.text);
        return 0;
    case SK_NUMBER:
        if (!sk_core_num(node->u.text, &value)) {
            return sk_err_set(err, SK_ERR_INPUT, "%u:%u: no double holds the number '%.*s'",
                              node->line, node->col, SK_PRI(node->u.text));
        }
        sk_buf_add(out, text, sk_num_text(value, text));
        return 0;
    case SK_STRING:
        add_string(out, node->u.text);
        return 0;
    case SK_SEQ:
        return canonical_seq(node, out, err);
    case SK_MAP:
        return canonical_map(node, out, err);
    }
    return sk_err_set(err, SK_ERR_INTERNAL, "a value of no kind");
}
