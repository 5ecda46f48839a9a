/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>

#include "base/buf.h"
#include "base/mem.h"
#include "model/interpolate.h"
#include "model/project_draft.h"

/*
 * An env_file, as Compose reads it: KEY=VALUE (or KEY: VALUE) a line, `export` in front allowed,
 * comments from '#' at the start of a line or after a space, a key alone takes the caller's value.
 * 'single quotes' keep everything; "double quotes" know \n, \", \$ and so on; both may span lines.
 * Variables are replaced, but not in single quotes; those set before in the same files come first.
 */
struct parser {
    struct rd *rd;
    struct env_list *list;
    const char *file;
    struct sk_str text;
    size_t at;
    uint32_t line;
    size_t line_start;
};

static struct sk_pos position(const struct parser *p)
{
    return (struct sk_pos){p->file, p->line, (uint32_t)(p->at - p->line_start) + 1};
}

static bool more(const struct parser *p)
{
    return p->at < p->text.len;
}

static char peek(const struct parser *p)
{
    return more(p) ? p->text.ptr[p->at] : '\n';
}

static void advance(struct parser *p)
{
    if (p->text.ptr[p->at++] == '\n') {
        p->line++;
        p->line_start = p->at;
    }
}

static void skip_blanks(struct parser *p)
{
    while (more(p) && (peek(p) == ' ' || peek(p) == '\t' || peek(p) == '\r')) {
        advance(p);
    }
}

static void skip_line(struct parser *p)
{
    while (more(p) && peek(p) != '\n') {
        advance(p);
    }
}

static bool is_key_char(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           c == '.' || c == '-' || c == '[' || c == ']';
}

static bool lookup_before(void *ctx, struct sk_str name, struct sk_str *ret_value)
{
    const struct parser *p = ctx;
    const struct project_env *env = p->rd->env;

    for (size_t i = p->list->count; i-- > 0;) {
        if (sk_str_eq(p->list->vars[i].key, name)) {
            *ret_value = p->list->vars[i].value;
            return true;
        }
    }
    return env && env->lookup && env->lookup(env->ctx, name, ret_value);
}

static int set(struct parser *p, struct sk_pos pos, struct sk_str key, struct sk_str value,
               bool expand)
{
    struct env_list *list = p->list;
    struct sk_str result;

    if (list->count == PROJECT_ENV_MAX) {
        return rd_fail(p->rd, pos, SK_ERR_LIMIT, "more than %d variables", PROJECT_ENV_MAX);
    }
    if (!expand) {
        result = sk_arena_str(p->rd->arena, value);
    } else if (interpolate_text(p->rd, value, lookup_before, p, &result) < 0) {
        return sk_err_wrap(&p->rd->err, "%s:%u:%u", pos.file, pos.line, pos.col);
    }
    SK_GROW(list->vars, list->count, list->cap);
    list->vars[list->count] =
        (struct env_var){sk_arena_str(p->rd->arena, key), result, list->count};
    list->count++;
    return 0;
}

/* The inside of double quotes with its escapes replaced; a dollar sign stays one by doubling. */
static void unescape(struct sk_str inside, struct sk_buf *out)
{
    static const char from[] = "abfnrtv\"\\'";
    static const char to[] = "\a\b\f\n\r\t\v\"\\'";

    for (size_t i = 0; i < inside.len; i++) {
        char c = inside.ptr[i];
        const char *known;
        if (c != '\\' || i + 1 == inside.len) {
            sk_buf_addc(out, c);
            continue;
        }
        c = inside.ptr[++i];
        known = memchr(from, c, sizeof(from) - 1);
        if (c == '$') {
            sk_buf_adds(out, "$$");
        } else if (known) {
            sk_buf_addc(out, to[known - from]);
        } else {
            sk_buf_addc(out, '\\');
            sk_buf_addc(out, c);
        }
    }
}

static int quoted(struct parser *p, struct sk_str key)
{
    struct sk_pos pos = position(p);
    char quote = peek(p);
    struct sk_str inside;
    struct sk_buf text = SK_BUF_INIT;
    int code;

    advance(p);
    inside.ptr = p->text.ptr + p->at;
    while (more(p) && peek(p) != quote) {
        bool escape = peek(p) == '\\' && quote == '"';
        advance(p);
        if (escape && more(p)) {
            advance(p);
        }
    }
    if (!more(p)) {
        return rd_fail(p->rd, pos, SK_ERR_INPUT, "the quote %c is never closed", quote);
    }
    inside.len = (size_t)(p->text.ptr + p->at - inside.ptr);
    advance(p);
    skip_blanks(p);
    if (more(p) && peek(p) != '\n' && peek(p) != '#') {
        return rd_fail(p->rd, position(p), SK_ERR_INPUT, "there is more after the closing quote");
    }
    skip_line(p);
    if (quote == '\'') {
        return set(p, pos, key, inside, false);
    }
    unescape(inside, &text);
    code = set(p, pos, key, sk_buf_str(&text), true);
    sk_buf_release(&text);
    return code;
}

static int plain(struct parser *p, struct sk_str key)
{
    struct sk_pos pos = position(p);
    struct sk_str value = {p->text.ptr + p->at, 0};

    skip_line(p);
    value.len = (size_t)(p->text.ptr + p->at - value.ptr);
    for (size_t i = 0; i < value.len; i++) {
        bool after_space = i == 0 || value.ptr[i - 1] == ' ' || value.ptr[i - 1] == '\t';
        if (value.ptr[i] == '#' && after_space) {
            value.len = i;
        }
    }
    if (value.len && value.ptr[value.len - 1] == '\r') {
        value.len--;
    }
    return set(p, pos, key, sk_str_trim(value), true);
}

static int inherited(struct parser *p, struct sk_pos pos, struct sk_str key)
{
    const struct project_env *env = p->rd->env;
    struct sk_str value;

    if (env && env->lookup && env->lookup(env->ctx, key, &value)) {
        return set(p, pos, key, value, false);
    }
    return 0;
}

static int statement(struct parser *p)
{
    static const char word[] = "export";
    struct sk_str rest = {p->text.ptr + p->at, p->text.len - p->at};
    struct sk_pos pos;
    struct sk_str key;

    if (sk_str_starts(rest, SK_STR("export")) && rest.len > sizeof(word) - 1 &&
        (rest.ptr[sizeof(word) - 1] == ' ' || rest.ptr[sizeof(word) - 1] == '\t')) {
        p->at += sizeof(word) - 1;
        skip_blanks(p);
    }
    pos = position(p);
    key.ptr = p->text.ptr + p->at;
    while (more(p) && is_key_char(peek(p))) {
        advance(p);
    }
    key.len = (size_t)(p->text.ptr + p->at - key.ptr);
    skip_blanks(p);
    if (key.len > 0 && peek(p) == '\n') {
        return inherited(p, pos, key);
    }
    if (key.len == 0 || key.len > 256 || (peek(p) != '=' && peek(p) != ':')) {
        (void)rd_fail(p->rd, position(p), SK_ERR_INPUT, "expected KEY=VALUE");
        return sk_err_fix(&p->rd->err, "names have letters, digits, '_', '.' and '-'");
    }
    advance(p);
    skip_blanks(p);
    return peek(p) == '"' || peek(p) == '\'' ? quoted(p, key) : plain(p, key);
}

int envfile_parse(struct rd *rd, struct sk_str file, struct sk_str bytes, struct env_list *list)
{
    struct parser p = {.rd = rd, .list = list, .text = bytes, .line = 1};

    p.file = sk_arena_str(rd->arena, file).ptr;
    if (!sk_str_utf8_valid(bytes) || (bytes.len && memchr(bytes.ptr, 0, bytes.len))) {
        return rd_fail(rd, (struct sk_pos){p.file, 0, 0}, SK_ERR_INPUT,
                       "holds bytes that are no text");
    }
    while (more(&p)) {
        skip_blanks(&p);
        if (peek(&p) == '#') {
            skip_line(&p);
        }
        if (!more(&p)) {
            break;
        }
        if (peek(&p) == '\n') {
            advance(&p);
        } else if (statement(&p) < 0) {
            return rd->err.code;
        }
    }
    return 0;
}

static int compare_vars(const void *a, const void *b)
{
    const struct env_var *x = a;
    const struct env_var *y = b;
    int order = sk_str_cmp(x->key, y->key);

    if (order != 0) {
        return order;
    }
    return x->order < y->order ? -1 : 1;
}

void env_list_finish(struct rd *rd, struct env_list *list, const struct sk_kv **ret, size_t *count)
{
    struct sk_kv *kvs = SK_ARENA_ARRAY(rd->arena, struct sk_kv, list->count);
    size_t n = 0;

    if (list->count > 1) {
        qsort(list->vars, list->count, sizeof(*list->vars), compare_vars);
    }
    for (size_t i = 0; i < list->count; i++) {
        if (i + 1 == list->count || !sk_str_eq(list->vars[i].key, list->vars[i + 1].key)) {
            kvs[n++] = (struct sk_kv){list->vars[i].key, list->vars[i].value};
        }
    }
    *ret = kvs;
    *count = n;
}

void env_list_release(struct env_list *list)
{
    free(list->vars);
    *list = (struct env_list){0};
}
