/* SPDX-License-Identifier: Apache-2.0 */
#include "model/interpolate.h"

#include "base/buf.h"

#define NESTING_MAX 16u

struct expansion {
    struct rd *rd;
    interpolate_lookup_fn *lookup;
    void *ctx;
    struct sk_buf out;
};

static bool is_name_char(char c, bool first)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' ||
           (!first && c >= '0' && c <= '9');
}

static size_t name_length(struct sk_str text)
{
    size_t n = 0;
    while (n < text.len && is_name_char(text.ptr[n], n == 0)) {
        n++;
    }
    return n;
}

static struct sk_str skip(struct sk_str text, size_t n)
{
    return (struct sk_str){text.ptr + n, text.len - n};
}

static int invalid(struct expansion *x, const char *what)
{
    (void)sk_err_set(&x->rd->err, SK_ERR_INPUT, "%s", what);
    return sk_err_fix(&x->rd->err, "write ${NAME} for a variable, $$ for a dollar sign");
}

static int emit(struct expansion *x, struct sk_str text)
{
    if (text.len > RD_EXPANDED_MAX - x->rd->expanded) {
        return sk_err_set(&x->rd->err, SK_ERR_LIMIT,
                          "variables expand to more than %u bytes in this file", RD_EXPANDED_MAX);
    }
    x->rd->expanded += text.len;
    sk_buf_addstr(&x->out, text);
    return 0;
}

static int emit_value(struct expansion *x, struct sk_str name, struct sk_str value)
{
    if (!sk_str_utf8_valid(value) || (value.len && memchr(value.ptr, 0, value.len))) {
        return sk_err_set(&x->rd->err, SK_ERR_INPUT,
                          "the variable '%.*s' holds bytes that are no text", SK_PRI(name));
    }
    return emit(x, value);
}

static int expand(struct expansion *x, struct sk_str text, unsigned depth);

/* ${NAME?message}: the message may itself hold variables. */
static int required(struct expansion *x, struct sk_str name, struct sk_str message, unsigned depth)
{
    struct sk_buf kept = x->out;
    struct sk_buf said;
    int code;

    x->out = SK_BUF_INIT;
    code = expand(x, message, depth + 1);
    said = x->out;
    x->out = kept;
    if (code == 0) {
        if (said.len == 0) {
            sk_buf_adds(&said, "it is required");
        }
        (void)sk_err_set(&x->rd->err, SK_ERR_INPUT, "the variable '%.*s' is not set: %s",
                         SK_PRI(name), said.ptr);
        code = sk_err_fix(&x->rd->err, "set it in the environment: export %.*s=...", SK_PRI(name));
    }
    sk_buf_release(&said);
    return code;
}

/* The inside of ${...}. */
static int braced(struct expansion *x, struct sk_str inside, unsigned depth)
{
    size_t n = name_length(inside);
    struct sk_str name = {inside.ptr, n};
    struct sk_str rest = skip(inside, n);
    struct sk_str value = SK_STR_NULL;
    bool colon = rest.len > 0 && rest.ptr[0] == ':';
    bool set;
    char op;

    if (n == 0) {
        return invalid(x, "a '${' is not followed by a variable's name");
    }
    set = x->lookup(x->ctx, name, &value);
    if (rest.len == 0) {
        return set ? emit_value(x, name, value) : 0;
    }
    if (colon) {
        rest = skip(rest, 1);
        set = set && value.len > 0;
    }
    op = rest.len ? rest.ptr[0] : '\0';
    rest = rest.len ? skip(rest, 1) : rest;
    switch (op) {
    case '-':
        return set ? emit_value(x, name, value) : expand(x, rest, depth + 1);
    case '+':
        return set ? expand(x, rest, depth + 1) : 0;
    case '?':
        return set ? emit_value(x, name, value) : required(x, name, rest, depth);
    default:
        return invalid(x, "a variable in '${...}' is followed by something other than "
                          "'-', '?' or '+'");
    }
}

/* Length up to the brace that closes a "${" before `text`, or -1. */
static int64_t closing(struct sk_str text)
{
    size_t open = 1;

    for (size_t i = 0; i < text.len; i++) {
        if (text.ptr[i] == '$' && i + 1 < text.len &&
            (text.ptr[i + 1] == '{' || text.ptr[i + 1] == '$')) {
            open += text.ptr[i + 1] == '{';
            i++;
        } else if (text.ptr[i] == '}' && --open == 0) {
            return (int64_t)i;
        }
    }
    return -1;
}

/* One "$..." at the start of *text; moves *text behind it. */
static int dollar(struct expansion *x, struct sk_str *text, unsigned depth)
{
    struct sk_str rest = skip(*text, 1);
    struct sk_str value = SK_STR_NULL;
    size_t n;

    if (rest.len > 0 && rest.ptr[0] == '$') {
        *text = skip(rest, 1);
        return emit(x, SK_STR("$"));
    }
    if (rest.len > 0 && rest.ptr[0] == '{') {
        struct sk_str inside = skip(rest, 1);
        int64_t end = closing(inside);
        if (end < 0) {
            return invalid(x, "a '${' is never closed");
        }
        *text = skip(inside, (size_t)end + 1);
        inside.len = (size_t)end;
        return braced(x, inside, depth);
    }
    n = name_length(rest);
    if (n == 0) {
        return invalid(x, "a '$' stands before neither a variable's name nor '{' nor '$'");
    }
    *text = skip(rest, n);
    rest.len = n;
    return x->lookup(x->ctx, rest, &value) ? emit_value(x, rest, value) : 0;
}

static int expand(struct expansion *x, struct sk_str text, unsigned depth)
{
    if (depth > NESTING_MAX) {
        return sk_err_set(&x->rd->err, SK_ERR_LIMIT, "variables are nested more than %u deep",
                          NESTING_MAX);
    }
    while (text.len > 0) {
        const char *at = memchr(text.ptr, '$', text.len);
        struct sk_str plain = {text.ptr, at ? (size_t)(at - text.ptr) : text.len};
        int code = emit(x, plain);
        if (code < 0) {
            return code;
        }
        text = skip(text, plain.len);
        if (at) {
            code = dollar(x, &text, depth);
            if (code < 0) {
                return code;
            }
        }
    }
    return 0;
}

int interpolate_text(struct rd *rd, struct sk_str text, interpolate_lookup_fn *lookup, void *ctx,
                     struct sk_str *ret)
{
    struct expansion x = {.rd = rd, .lookup = lookup, .ctx = ctx};
    int code = expand(&x, text, 0);

    if (code == 0) {
        *ret = sk_arena_str(rd->arena, sk_buf_str(&x.out));
    }
    sk_buf_release(&x.out);
    return code;
}

static bool lookup_env(void *ctx, struct sk_str name, struct sk_str *ret_value)
{
    const struct project_env *env = ctx;
    return env && env->lookup && env->lookup(env->ctx, name, ret_value);
}

int interpolate(struct rd *rd, const struct spot *at, struct sk_str text, struct sk_str *ret)
{
    union {
        const struct project_env *in;
        void *out;
    } ctx = {rd->env};

    if (!rd->interpolate || text.len == 0 || !memchr(text.ptr, '$', text.len)) {
        *ret = text;
        return 0;
    }
    if (interpolate_text(rd, text, lookup_env, ctx.out, ret) < 0) {
        return rd_wrap(rd, at);
    }
    return 0;
}
