/* SPDX-License-Identifier: Apache-2.0 */
#include "base/json.h"

#include "base/scalar.h"
#include "base/treebuild.h"

/*
 * Recursive descent over bytes in memory. Lines are counted where white space is skipped (a string
 * cannot hold a line break), columns are the distance from the start of the line. Recursion is
 * bounded by depth_max.
 */
struct reader {
    struct sk_tb tb;
    const char *p;
    const char *end;
    const char *line_start;
    uint32_t line;
    uint32_t depth;
    struct sk_buf scratch; /* of strings with escapes */
};

static int read_value(struct reader *r, struct sk_node *node);

static uint32_t col_of(const struct reader *r, const char *at)
{
    return (uint32_t)(at - r->line_start) + 1;
}

static int fail_at(struct reader *r, const char *at, const char *what)
{
    return sk_tb_fail(&r->tb, SK_ERR_INPUT, r->line, col_of(r, at), "%s", what);
}

static void skip_space(struct reader *r)
{
    for (; r->p < r->end; r->p++) {
        if (*r->p == '\n') {
            r->line++;
            r->line_start = r->p + 1;
        } else if (*r->p != ' ' && *r->p != '\t' && *r->p != '\r') {
            return;
        }
    }
}

/* What stands at r->p, for "expected X, found Y". */
static int unexpected(struct reader *r, const char *expected)
{
    unsigned char c;

    if (r->p == r->end) {
        return sk_tb_fail(&r->tb, SK_ERR_INPUT, r->line, col_of(r, r->p),
                          "expected %s, found the end of the input", expected);
    }
    c = (unsigned char)*r->p;
    if (c <= 0x20 || c >= 0x7f) {
        return sk_tb_fail(&r->tb, SK_ERR_INPUT, r->line, col_of(r, r->p),
                          "expected %s, found byte 0x%02x", expected, c);
    }
    return sk_tb_fail(&r->tb, SK_ERR_INPUT, r->line, col_of(r, r->p), "expected %s, found '%c'",
                      expected, c);
}

static int hex4(const char *p, const char *end, uint32_t *ret)
{
    uint32_t value = 0;

    if (end - p < 4) {
        return -1;
    }
    for (int i = 0; i < 4; i++) {
        char c = p[i];
        uint32_t digit;
        if (c >= '0' && c <= '9') {
            digit = (uint32_t)(c - '0');
        } else if ((c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F')) {
            digit = (uint32_t)((c | 0x20) - 'a') + 10;
        } else {
            return -1;
        }
        value = value << 4 | digit;
    }
    *ret = value;
    return 0;
}

static void add_utf8(struct sk_buf *buf, uint32_t point)
{
    char out[4];
    size_t len = 0;

    if (point < 0x80) {
        out[len++] = (char)point;
    } else if (point < 0x800) {
        out[len++] = (char)(0xc0 | point >> 6);
        out[len++] = (char)(0x80 | (point & 0x3f));
    } else if (point < 0x10000) {
        out[len++] = (char)(0xe0 | point >> 12);
        out[len++] = (char)(0x80 | (point >> 6 & 0x3f));
        out[len++] = (char)(0x80 | (point & 0x3f));
    } else {
        out[len++] = (char)(0xf0 | point >> 18);
        out[len++] = (char)(0x80 | (point >> 12 & 0x3f));
        out[len++] = (char)(0x80 | (point >> 6 & 0x3f));
        out[len++] = (char)(0x80 | (point & 0x3f));
    }
    sk_buf_add(buf, out, len);
}

/* r->p stands behind "\u". */
static int read_unicode_escape(struct reader *r)
{
    const char *at = r->p - 2;
    uint32_t point;
    uint32_t low;

    if (hex4(r->p, r->end, &point) < 0) {
        return fail_at(r, at, "'\\u' needs four hexadecimal digits");
    }
    r->p += 4;
    if (point == 0) {
        return fail_at(r, at, "the character NUL is not allowed");
    }
    if (point >= 0xdc00 && point <= 0xdfff) {
        return fail_at(r, at, "half of a surrogate pair");
    }
    if (point >= 0xd800 && point <= 0xdbff) {
        if (r->end - r->p < 2 || r->p[0] != '\\' || r->p[1] != 'u' ||
            hex4(r->p + 2, r->end, &low) < 0 || low < 0xdc00 || low > 0xdfff) {
            return fail_at(r, at, "half of a surrogate pair");
        }
        r->p += 6;
        point = 0x10000 + ((point - 0xd800) << 10) + (low - 0xdc00);
    }
    add_utf8(&r->scratch, point);
    return 0;
}

static int read_escape(struct reader *r)
{
    static const char from[] = "\"\\/bfnrt";
    static const char to[] = "\"\\/\b\f\n\r\t";
    const char *found;

    r->p++;
    if (r->p == r->end) {
        return unexpected(r, "an escape");
    }
    if (*r->p == 'u') {
        r->p++;
        return read_unicode_escape(r);
    }
    found = *r->p ? strchr(from, *r->p) : NULL;
    if (!found) {
        return fail_at(r, r->p - 1, "no such escape");
    }
    sk_buf_addc(&r->scratch, to[found - from]);
    r->p++;
    return 0;
}

/* Moves to the first byte that is not an ordinary character of a string. */
static int skip_plain(struct reader *r)
{
    const char *start = r->p;
    unsigned char high = 0;

    for (; r->p < r->end; r->p++) {
        unsigned char c = (unsigned char)*r->p;
        if (c < 0x20 || c == '"' || c == '\\') {
            break;
        }
        high |= c;
    }
    if (high & 0x80u) {
        struct sk_str run = {start, (size_t)(r->p - start)};
        if (!sk_str_utf8_valid(run)) {
            return fail_at(r, start + sk_utf8_prefix(run), "bytes that are not UTF-8");
        }
    }
    return 0;
}

/* r->p stands on the opening quote. */
static int read_string(struct reader *r, struct sk_str *ret)
{
    const char *open = r->p++;
    const char *start = r->p;
    bool escaped = false;

    for (;;) {
        const char *run = r->p;
        int rc = skip_plain(r);
        if (rc < 0) {
            return rc;
        }
        if (escaped || (r->p < r->end && *r->p == '\\')) {
            if (!escaped) {
                sk_buf_clear(&r->scratch);
                escaped = true;
            }
            sk_buf_add(&r->scratch, run, (size_t)(r->p - run));
        }
        if (r->p == r->end) {
            return fail_at(r, open, "a string that does not end");
        }
        if (*r->p == '"') {
            break;
        }
        if (*r->p != '\\') {
            return fail_at(r, r->p, "a control character inside a string");
        }
        rc = read_escape(r);
        if (rc < 0) {
            return rc;
        }
    }
    *ret = sk_tb_text(&r->tb, escaped ? sk_buf_str(&r->scratch)
                                      : (struct sk_str){start, (size_t)(r->p - start)});
    r->p++;
    return 0;
}

static int enter(struct reader *r)
{
    if (r->depth >= r->tb.limits.depth_max) {
        return sk_tb_fail(&r->tb, SK_ERR_LIMIT, r->line, col_of(r, r->p),
                          "nested deeper than %u levels", r->tb.limits.depth_max);
    }
    r->depth++;
    r->p++;
    skip_space(r);
    return 0;
}

/* After an item: true when another follows, with r->p on it. */
static int next(struct reader *r, char close, const char *expected, bool *ret_more)
{
    skip_space(r);
    if (r->p < r->end && *r->p == close) {
        *ret_more = false;
        return 0;
    }
    if (r->p == r->end || *r->p != ',') {
        return unexpected(r, expected);
    }
    r->p++;
    skip_space(r);
    if (r->p < r->end && *r->p == close) {
        return fail_at(r, r->p, "a comma before the end");
    }
    *ret_more = true;
    return 0;
}

static int read_seq(struct reader *r, struct sk_node *node)
{
    size_t base = r->tb.nitems;
    bool more;
    int rc = enter(r);

    if (rc < 0) {
        return rc;
    }
    more = r->p == r->end || *r->p != ']';
    while (more) {
        struct sk_node item;
        rc = read_value(r, &item);
        if (rc < 0) {
            return rc;
        }
        sk_tb_push_item(&r->tb, &item);
        rc = next(r, ']', "',' or ']'", &more);
        if (rc < 0) {
            return rc;
        }
    }
    r->p++;
    r->depth--;
    return sk_tb_seq(&r->tb, base, node);
}

static int read_member(struct reader *r, struct sk_member *member)
{
    int rc;

    if (r->p == r->end || *r->p != '"') {
        return unexpected(r, "a key in double quotes");
    }
    member->line = r->line;
    member->col = col_of(r, r->p);
    rc = read_string(r, &member->key);
    if (rc < 0) {
        return rc;
    }
    skip_space(r);
    if (r->p == r->end || *r->p != ':') {
        return unexpected(r, "':'");
    }
    r->p++;
    skip_space(r);
    return read_value(r, &member->value);
}

static int read_map(struct reader *r, struct sk_node *node)
{
    size_t base = r->tb.nmembers;
    bool more;
    int rc = enter(r);

    if (rc < 0) {
        return rc;
    }
    more = r->p == r->end || *r->p != '}';
    while (more) {
        struct sk_member member;
        rc = read_member(r, &member);
        if (rc < 0) {
            return rc;
        }
        sk_tb_push_member(&r->tb, &member);
        rc = next(r, '}', "',' or '}'", &more);
        if (rc < 0) {
            return rc;
        }
    }
    r->p++;
    r->depth--;
    return sk_tb_map(&r->tb, base, r->tb.nmembers - base, node);
}

static bool is_word(const struct reader *r, const char *word, size_t len)
{
    return (size_t)(r->end - r->p) >= len && memcmp(r->p, word, len) == 0;
}

static int read_word(struct reader *r, struct sk_node *node)
{
    if (is_word(r, "true", 4)) {
        node->kind = SK_BOOL;
        node->u.text = SK_STR("true");
    } else if (is_word(r, "false", 5)) {
        node->kind = SK_BOOL;
        node->u.text = SK_STR("false");
    } else if (is_word(r, "null", 4)) {
        node->kind = SK_NULL;
        node->u.text = SK_STR("null");
    } else {
        return unexpected(r, "a value");
    }
    r->p += node->u.text.len;
    return 0;
}

static int read_number(struct reader *r, struct sk_node *node)
{
    size_t len = sk_json_number_len((struct sk_str){r->p, (size_t)(r->end - r->p)});
    const char *after = r->p + len;

    /* 01, 1.x, 1e: the part before would be a number, the whole is none */
    if (len == 0 || (after < r->end && (*after == '.' || *after == 'e' || *after == 'E' ||
                                        (*after >= '0' && *after <= '9')))) {
        return fail_at(r, r->p, "not a number as JSON writes them");
    }
    node->kind = SK_NUMBER;
    node->u.text = sk_tb_text(&r->tb, (struct sk_str){r->p, len});
    r->p = after;
    return 0;
}

static int read_value(struct reader *r, struct sk_node *node)
{
    int rc;

    memset(node, 0, sizeof(*node));
    node->line = r->line;
    node->col = col_of(r, r->p);
    rc = sk_tb_count(&r->tb, 1, node->line, node->col);
    if (rc < 0) {
        return rc;
    }
    switch (r->p < r->end ? *r->p : '\0') {
    case '"':
        node->kind = SK_STRING;
        node->quoted = true;
        return read_string(r, &node->u.text);
    case '{':
        return read_map(r, node);
    case '[':
        return read_seq(r, node);
    case '-':
    case '0':
    case '1':
    case '2':
    case '3':
    case '4':
    case '5':
    case '6':
    case '7':
    case '8':
    case '9':
        return read_number(r, node);
    default:
        return read_word(r, node);
    }
}

static int read_document(struct reader *r, const struct sk_node **ret_root)
{
    struct sk_node *root;
    int rc;

    if ((size_t)(r->end - r->p) > r->tb.limits.bytes_max) {
        return sk_err_set(r->tb.err, SK_ERR_LIMIT, "%s:1:1: larger than %zu bytes", r->tb.name,
                          r->tb.limits.bytes_max);
    }
    root = SK_ARENA_NEW(r->tb.arena, struct sk_node);
    skip_space(r);
    rc = read_value(r, root);
    if (rc < 0) {
        return rc;
    }
    skip_space(r);
    if (r->p < r->end) {
        return unexpected(r, "the end of the input");
    }
    *ret_root = root;
    return 0;
}

int sk_json_read(struct sk_arena *arena, const char *name, struct sk_str bytes,
                 const struct sk_limits *limits, const struct sk_node **ret_root,
                 struct sk_err *err)
{
    const char *start = bytes.ptr ? bytes.ptr : "";
    struct reader r = {
        .p = start,
        .end = start + bytes.len,
        .line_start = start,
        .line = 1,
    };
    int rc;

    sk_tb_init(&r.tb, arena, name, limits, err);
    rc = read_document(&r, ret_root);
    sk_tb_release(&r.tb);
    sk_buf_release(&r.scratch);
    return rc;
}
