/* SPDX-License-Identifier: Apache-2.0 */
#include "base/yaml.h"

#include <stdlib.h>
#include <yaml.h>

#include "base/json.h"
#include "base/mem.h"
#include "base/scalar.h"
#include "base/treebuild.h"

#define CORE_TAG "tag:yaml.org,2002:"

/* A value that a name stands for: whole once it ended; until then an alias to it would recurse. */
struct anchor {
    struct sk_str name;
    struct sk_node node;
    size_t weight;   /* values in it, itself included */
    uint32_t height; /* levels of nesting in it */
    bool whole;
};

/* One open list or map. */
struct frame {
    struct sk_node node;      /* its position and kind */
    size_t base;              /* where its children start on the builder's stack */
    size_t weight_before;     /* values before it */
    size_t anchor;            /* its number + 1, 0 for none */
    uint32_t height;          /* of the highest child so far */
    bool has_key;             /* a map: the key is read, its value comes next */
    bool has_merge;           /* a map: merge below is set */
    bool merging;             /* a map: the pending key is a plain `<<` */
    struct sk_member pending; /* a map: the pending key */
    struct sk_node merge;     /* a map: the value of `<<` */
    uint32_t merge_line;
};

/* libyaml counts columns in characters, we count in bytes: the cursor walks along. */
struct cursor {
    size_t at;     /* offset in bytes */
    size_t line;   /* 0-based, as libyaml counts lines */
    size_t column; /* 0-based, in characters */
    size_t line_start;
};

struct reader {
    struct sk_tb tb;
    yaml_parser_t parser;
    struct sk_str bytes;
    struct cursor cursor;
    struct frame *frames;
    size_t nframes, frames_cap;
    struct anchor *anchors;
    size_t nanchors, anchors_cap;
    size_t naliases;
    unsigned documents;
    struct sk_node root;
    bool has_root;
};

struct place {
    uint32_t line;
    uint32_t col;
};

/* The length of a line break at the front of s: those of YAML 1.1, because libyaml counts them. */
static size_t break_len(const unsigned char *p, size_t left)
{
    if (p[0] == '\r') {
        return left > 1 && p[1] == '\n' ? 2 : 1;
    }
    if (p[0] == '\n') {
        return 1;
    }
    if (left > 1 && p[0] == 0xc2 && p[1] == 0x85) {
        return 2;
    }
    if (left > 2 && p[0] == 0xe2 && p[1] == 0x80 && (p[2] == 0xa8 || p[2] == 0xa9)) {
        return 3;
    }
    return 0;
}

static void step(struct cursor *c, struct sk_str bytes)
{
    const unsigned char *p = (const unsigned char *)bytes.ptr + c->at;
    size_t left = bytes.len - c->at;
    size_t len = break_len(p, left);

    if (len) {
        c->at += len;
        c->line++;
        c->column = 0;
        c->line_start = c->at;
        return;
    }
    len = sk_utf8_len((struct sk_str){bytes.ptr + c->at, left});
    c->at += len ? len : 1;
    c->column++;
}

static struct place place_of(const struct cursor *c)
{
    return (struct place){(uint32_t)c->line + 1, (uint32_t)(c->at - c->line_start) + 1};
}

static struct place place_at_mark(struct reader *r, const yaml_mark_t *mark)
{
    struct cursor *c = &r->cursor;

    if (mark->line < c->line || (mark->line == c->line && mark->column < c->column)) {
        *c = (struct cursor){0};
    }
    while (c->at < r->bytes.len &&
           (c->line < mark->line || (c->line == mark->line && c->column < mark->column))) {
        struct cursor before = *c;
        step(c, r->bytes);
        if (c->line > mark->line) {
            *c = before; /* a mark behind the end of its line */
            break;
        }
    }
    return place_of(c);
}

static struct place place_at_offset(struct reader *r, size_t offset)
{
    struct cursor c = {0};
    while (c.at < r->bytes.len && c.at < offset) {
        step(&c, r->bytes);
    }
    return place_of(&c);
}

static int fail(struct reader *r, struct place at, const char *what)
{
    return sk_tb_fail(&r->tb, SK_ERR_INPUT, at.line, at.col, "%s", what);
}

/* --- what the parser complains of ------------------------------------------------------------ */

/* libyaml's texts name its grammar; these say what people did. */
static const struct {
    const char *problem;
    const char *text;
    const char *fix;
} problems[] = {
    {"mapping values are not allowed in this context", "a ':' where no key can stand",
     "put the value in quotes, or check the indentation"},
    {"did not find expected key", "neither a key nor the end of this map",
     "indent the keys of a map alike; put values with special characters in quotes"},
    {"could not find expected ':'", "a key without ':'", "write 'key: value'"},
    {"did not find expected '-' indicator", "neither '-' nor the end of this list",
     "indent the items of a list alike"},
    {"did not find expected ',' or ']'", "expected ',' or ']'", ""},
    {"did not find expected ',' or '}'", "expected ',' or '}'", ""},
    {"found unexpected end of stream", "quotes that do not end", "close the quotes"},
    {"did not find expected node content", "expected a value", ""},
    {"found character that cannot start any token", "no value starts with this character",
     "put the value in quotes"},
    {"found undefined tag handle", "an unknown tag", "remove the tag"},
    {"found unknown escape character", "no such escape in double quotes",
     "write the backslash twice, or use single quotes"},
};

static bool is_byte_at(const struct reader *r, char byte)
{
    return r->cursor.at < r->bytes.len && r->bytes.ptr[r->cursor.at] == byte;
}

static int parser_problem(struct reader *r)
{
    const char *problem = r->parser.problem ? r->parser.problem : "not YAML";
    struct place at;

    if (r->parser.error == YAML_MEMORY_ERROR) {
        return sk_err_set(r->tb.err, SK_ERR_LIMIT, "%s: no memory left to read it", r->tb.name);
    }
    if (r->parser.error == YAML_READER_ERROR) {
        at = place_at_offset(r, r->parser.problem_offset);
        return fail(r, at, "a control character is not allowed");
    }
    if (strcmp(problem, "found unexpected end of stream") == 0) {
        /* where the quotes open helps more than where the file ends */
        at = place_at_mark(r, &r->parser.context_mark);
    } else {
        at = place_at_mark(r, &r->parser.problem_mark);
    }
    if (is_byte_at(r, '\t')) {
        fail(r, at, "a tab cannot indent or separate here");
        (void)sk_err_fix(r->tb.err, "use spaces");
        return SK_ERR_INPUT;
    }
    for (size_t i = 0; i < SK_ARRAY_LEN(problems); i++) {
        if (strcmp(problem, problems[i].problem) == 0) {
            fail(r, at, problems[i].text);
            (void)sk_err_fix(r->tb.err, "%s", problems[i].fix);
            return SK_ERR_INPUT;
        }
    }
    return fail(r, at, problem);
}

/* --- scalars --------------------------------------------------------------------------------- */

static bool is_tag(const yaml_char_t *tag, const char *name)
{
    const char *text = (const char *)tag;
    size_t len = sizeof(CORE_TAG) - 1;
    return strncmp(text, CORE_TAG, len) == 0 && strcmp(text + len, name) == 0;
}

static int refuse_tag(struct reader *r, struct place at, const yaml_char_t *tag)
{
    const char *text = (const char *)tag;
    size_t len = sizeof(CORE_TAG) - 1;
    bool core = strncmp(text, CORE_TAG, len) == 0;

    sk_tb_fail(&r->tb, SK_ERR_UNSUPPORTED, at.line, at.col, "the tag '%s%s' is not supported here",
               core ? "!!" : "", core ? text + len : text);
    (void)sk_err_fix(r->tb.err, "remove the tag");
    return SK_ERR_UNSUPPORTED;
}

/* A tag decides the kind, and the text must be of that kind. */
static int tagged_kind(struct reader *r, struct place at, const yaml_char_t *tag,
                       struct sk_str text, enum sk_kind *ret)
{
    static const struct {
        const char *name;
        enum sk_kind kind;
    } tags[] = {{"null", SK_NULL}, {"bool", SK_BOOL}, {"int", SK_NUMBER}, {"float", SK_NUMBER}};

    if (is_tag(tag, "str") || strcmp((const char *)tag, "!") == 0) {
        *ret = SK_STRING;
        return 0;
    }
    for (size_t i = 0; i < SK_ARRAY_LEN(tags); i++) {
        if (is_tag(tag, tags[i].name)) {
            if (sk_core_kind(text) != tags[i].kind) {
                return sk_tb_fail(&r->tb, SK_ERR_INPUT, at.line, at.col, "'%.*s' is no %s",
                                  SK_PRI(text), sk_kind_name(tags[i].kind));
            }
            *ret = tags[i].kind;
            return 0;
        }
    }
    return refuse_tag(r, at, tag);
}

static int read_scalar(struct reader *r, const yaml_event_t *event, struct sk_node *node)
{
    struct place at = {node->line, node->col};
    struct sk_str text = {(const char *)event->data.scalar.value, event->data.scalar.length};
    const yaml_char_t *tag = event->data.scalar.tag;
    bool plain = event->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
    enum sk_kind kind = SK_STRING;

    if (memchr(text.ptr, '\0', text.len)) {
        return fail(r, at, "the character NUL is not allowed");
    }
    if (tag) {
        int rc = tagged_kind(r, at, tag, text, &kind);
        if (rc < 0) {
            return rc;
        }
    } else if (plain) {
        kind = sk_core_kind(text);
    }
    node->kind = (uint8_t)kind;
    node->quoted = !plain || (tag && kind == SK_STRING);
    if (kind == SK_BOOL) {
        node->u.text = (text.ptr[0] | 0x20) == 't' ? SK_STR("true") : SK_STR("false");
    } else {
        node->u.text = sk_tb_text(&r->tb, text);
    }
    return 0;
}

/* --- where a finished value goes ------------------------------------------------------------- */

static int take_key(struct reader *r, struct frame *top, const struct sk_node *node)
{
    struct place at = {node->line, node->col};

    if (!sk_node_is_scalar(node)) {
        sk_tb_fail(&r->tb, SK_ERR_INPUT, at.line, at.col, "a key must be a plain value, not a %s",
                   sk_kind_name(node->kind));
        (void)sk_err_fix(r->tb.err, "put the key in quotes if it contains special characters");
        return SK_ERR_INPUT;
    }
    if (node->u.text.len == 0 && !node->quoted) {
        return fail(r, at, "a ':' without a key");
    }
    top->pending = (struct sk_member){.key = node->u.text, .line = at.line, .col = at.col};
    top->merging = !node->quoted && sk_str_is(node->u.text, "<<");
    top->has_key = true;
    return 0;
}

static int take_merge(struct reader *r, struct frame *top, const struct sk_node *node)
{
    struct place at = {node->line, node->col};
    bool fits = node->kind == SK_MAP;

    if (node->kind == SK_SEQ) {
        fits = true;
        for (uint32_t i = 0; i < node->count; i++) {
            fits = fits && node->u.items[i].kind == SK_MAP;
        }
    }
    if (top->has_merge) {
        sk_tb_fail(&r->tb, SK_ERR_INPUT, top->pending.line, top->pending.col,
                   "duplicate key '<<'; first at line %u", top->merge_line);
        (void)sk_err_fix(r->tb.err, "write one list: <<: [*a, *b]");
        return SK_ERR_INPUT;
    }
    if (!fits) {
        sk_tb_fail(&r->tb, SK_ERR_INPUT, at.line, at.col,
                   "'<<' takes a map or a list of maps, found %s",
                   node->kind == SK_SEQ ? "a list of other things" : sk_kind_name(node->kind));
        (void)sk_err_fix(r->tb.err, "write '<<: *name' with the anchor of a map");
        return SK_ERR_INPUT;
    }
    top->has_merge = true;
    top->merge = *node;
    top->merge_line = top->pending.line;
    return 0;
}

/* Hands a whole value to what holds it. `height` counts its levels: 0 for a scalar. */
static int deliver(struct reader *r, const struct sk_node *node, uint32_t height)
{
    struct frame *top;

    if (r->nframes == 0) {
        r->root = *node;
        r->has_root = true;
        return 0;
    }
    top = &r->frames[r->nframes - 1];
    if (height > top->height) {
        top->height = height;
    }
    if (top->node.kind == SK_SEQ) {
        sk_tb_push_item(&r->tb, node);
        return 0;
    }
    if (!top->has_key) {
        return take_key(r, top, node);
    }
    top->has_key = false;
    if (top->merging) {
        return take_merge(r, top, node);
    }
    top->pending.value = *node;
    sk_tb_push_member(&r->tb, &top->pending);
    return 0;
}

/* --- anchors and aliases --------------------------------------------------------------------- */

static int add_anchor(struct reader *r, struct place at, const yaml_char_t *name, size_t *ret)
{
    struct anchor *anchor;

    if (!name) {
        *ret = 0;
        return 0;
    }
    if (r->nanchors >= r->tb.limits.aliases_max) {
        return sk_tb_fail(&r->tb, SK_ERR_LIMIT, at.line, at.col, "more than %u anchors",
                          r->tb.limits.aliases_max);
    }
    SK_GROW(r->anchors, r->nanchors, r->anchors_cap);
    anchor = &r->anchors[r->nanchors++];
    memset(anchor, 0, sizeof(*anchor));
    anchor->name = sk_tb_text(&r->tb, sk_str((const char *)name));
    *ret = r->nanchors;
    return 0;
}

static void end_anchor(struct reader *r, size_t number, const struct sk_node *node, size_t weight,
                       uint32_t height)
{
    if (number) {
        struct anchor *anchor = &r->anchors[number - 1];
        anchor->node = *node;
        anchor->weight = weight;
        anchor->height = height;
        anchor->whole = true;
    }
}

static int on_alias(struct reader *r, const yaml_event_t *event, struct place at)
{
    struct sk_str name = sk_str((const char *)event->data.alias.anchor);
    const struct anchor *anchor = NULL;
    int rc;

    if (r->naliases >= r->tb.limits.aliases_max) {
        return sk_tb_fail(&r->tb, SK_ERR_LIMIT, at.line, at.col, "more than %u aliases",
                          r->tb.limits.aliases_max);
    }
    r->naliases++;
    /* a name may be given again: the last one counts */
    for (size_t i = r->nanchors; i > 0 && !anchor; i--) {
        if (sk_str_eq(r->anchors[i - 1].name, name)) {
            anchor = &r->anchors[i - 1];
        }
    }
    if (!anchor) {
        sk_tb_fail(&r->tb, SK_ERR_INPUT, at.line, at.col, "no anchor '&%.*s' before this alias",
                   SK_PRI(name));
        (void)sk_err_fix(r->tb.err, "define it further up, or put the value in quotes");
        return SK_ERR_INPUT;
    }
    if (!anchor->whole) {
        return sk_tb_fail(&r->tb, SK_ERR_INPUT, at.line, at.col,
                          "the alias '*%.*s' stands inside its own anchor", SK_PRI(name));
    }
    rc = sk_tb_count(&r->tb, anchor->weight, at.line, at.col);
    if (rc < 0) {
        return rc;
    }
    if (r->nframes + anchor->height > r->tb.limits.depth_max) {
        return sk_tb_fail(&r->tb, SK_ERR_LIMIT, at.line, at.col, "nested deeper than %u levels",
                          r->tb.limits.depth_max);
    }
    return deliver(r, &anchor->node, anchor->height);
}

/* --- events ---------------------------------------------------------------------------------- */

static int on_scalar(struct reader *r, const yaml_event_t *event, struct place at)
{
    struct sk_node node = {.line = at.line, .col = at.col};
    size_t anchor;
    int rc = sk_tb_count(&r->tb, 1, at.line, at.col);

    if (rc == 0) {
        rc = add_anchor(r, at, event->data.scalar.anchor, &anchor);
    }
    if (rc == 0) {
        rc = read_scalar(r, event, &node);
    }
    if (rc < 0) {
        return rc;
    }
    end_anchor(r, anchor, &node, 1, 0);
    return deliver(r, &node, 0);
}

static int on_open(struct reader *r, struct place at, enum sk_kind kind, const yaml_char_t *anchor,
                   const yaml_char_t *tag)
{
    struct frame frame = {.node = {.kind = (uint8_t)kind, .line = at.line, .col = at.col}};
    int rc;

    if (tag && !is_tag(tag, kind == SK_MAP ? "map" : "seq")) {
        return refuse_tag(r, at, tag);
    }
    if (r->nframes >= r->tb.limits.depth_max) {
        return sk_tb_fail(&r->tb, SK_ERR_LIMIT, at.line, at.col, "nested deeper than %u levels",
                          r->tb.limits.depth_max);
    }
    frame.weight_before = r->tb.nodes;
    rc = sk_tb_count(&r->tb, 1, at.line, at.col);
    if (rc == 0) {
        rc = add_anchor(r, at, anchor, &frame.anchor);
    }
    if (rc < 0) {
        return rc;
    }
    frame.base = kind == SK_MAP ? r->tb.nmembers : r->tb.nitems;
    SK_GROW(r->frames, r->nframes, r->frames_cap);
    r->frames[r->nframes++] = frame;
    return 0;
}

static void push_merged(struct reader *r, const struct sk_node *map)
{
    for (uint32_t i = 0; i < map->count; i++) {
        sk_tb_push_member(&r->tb, &map->u.members[i]);
    }
}

static int close_map(struct reader *r, struct frame *frame)
{
    size_t own = r->tb.nmembers - frame->base;

    if (frame->has_merge && frame->merge.kind == SK_MAP) {
        push_merged(r, &frame->merge);
    } else if (frame->has_merge) {
        for (uint32_t i = 0; i < frame->merge.count; i++) {
            push_merged(r, &frame->merge.u.items[i]);
        }
    }
    return sk_tb_map(&r->tb, frame->base, own, &frame->node);
}

static int on_close(struct reader *r)
{
    struct frame frame = r->frames[r->nframes - 1];
    int rc = frame.node.kind == SK_MAP ? close_map(r, &frame)
                                       : sk_tb_seq(&r->tb, frame.base, &frame.node);

    if (rc < 0) {
        return rc;
    }
    r->nframes--;
    end_anchor(r, frame.anchor, &frame.node, r->tb.nodes - frame.weight_before, frame.height + 1);
    return deliver(r, &frame.node, frame.height + 1);
}

static int on_event(struct reader *r, const yaml_event_t *event)
{
    struct place at = place_at_mark(r, &event->start_mark);

    switch (event->type) {
    case YAML_DOCUMENT_START_EVENT:
        if (r->documents++ > 0) {
            fail(r, at, "more than one document in one file");
            (void)sk_err_fix(r->tb.err, "split the file at '---'");
            return SK_ERR_INPUT;
        }
        return 0;
    case YAML_ALIAS_EVENT:
        return on_alias(r, event, at);
    case YAML_SCALAR_EVENT:
        return on_scalar(r, event, at);
    case YAML_SEQUENCE_START_EVENT:
        return on_open(r, at, SK_SEQ, event->data.sequence_start.anchor,
                       event->data.sequence_start.tag);
    case YAML_MAPPING_START_EVENT:
        return on_open(r, at, SK_MAP, event->data.mapping_start.anchor,
                       event->data.mapping_start.tag);
    case YAML_SEQUENCE_END_EVENT:
    case YAML_MAPPING_END_EVENT:
        return on_close(r);
    case YAML_NO_EVENT:
    case YAML_STREAM_START_EVENT:
    case YAML_STREAM_END_EVENT:
    case YAML_DOCUMENT_END_EVENT:
        return 0;
    }
    return 0;
}

static int read_events(struct reader *r)
{
    yaml_event_type_t type;

    do {
        yaml_event_t event;
        int rc;
        if (!yaml_parser_parse(&r->parser, &event)) {
            return parser_problem(r);
        }
        type = event.type;
        rc = on_event(r, &event);
        yaml_event_delete(&event);
        if (rc < 0) {
            return rc;
        }
    } while (type != YAML_STREAM_END_EVENT);
    return 0;
}

static int check_bytes(struct reader *r)
{
    size_t valid;

    if (r->bytes.len > r->tb.limits.bytes_max) {
        return sk_err_set(r->tb.err, SK_ERR_LIMIT, "%s:1:1: larger than %zu bytes", r->tb.name,
                          r->tb.limits.bytes_max);
    }
    valid = sk_utf8_prefix(r->bytes);
    if (valid < r->bytes.len) {
        return fail(r, place_at_offset(r, valid), "bytes that are not UTF-8");
    }
    return 0;
}

static int read_document(struct reader *r, const struct sk_node **ret_root)
{
    struct sk_node *root;
    int rc = check_bytes(r);

    if (rc == 0) {
        rc = read_events(r);
    }
    if (rc < 0) {
        return rc;
    }
    root = SK_ARENA_NEW(r->tb.arena, struct sk_node);
    if (r->has_root) {
        *root = r->root;
    } else {
        *root = (struct sk_node){.kind = SK_NULL, .line = 1, .col = 1, .u.text = SK_STR("")};
    }
    *ret_root = root;
    return 0;
}

/* Some editors put a byte order mark in front. */
static struct sk_str without_mark(struct sk_str bytes)
{
    if (sk_str_starts(bytes, SK_STR("\xef\xbb\xbf"))) {
        return (struct sk_str){bytes.ptr + 3, bytes.len - 3};
    }
    return bytes;
}

int sk_yaml_read(struct sk_arena *arena, const char *name, struct sk_str bytes,
                 const struct sk_limits *limits, const struct sk_node **ret_root,
                 struct sk_err *err)
{
    struct reader r = {.bytes = bytes.ptr ? without_mark(bytes) : SK_STR("")};
    int rc;

    sk_tb_init(&r.tb, arena, name, limits, err);
    if (!yaml_parser_initialize(&r.parser)) {
        return sk_err_set(err, SK_ERR_LIMIT, "%s: no memory left to read it", name);
    }
    yaml_parser_set_encoding(&r.parser, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(&r.parser, (const unsigned char *)r.bytes.ptr, r.bytes.len);
    rc = read_document(&r, ret_root);
    yaml_parser_delete(&r.parser);
    sk_tb_release(&r.tb);
    free(r.frames);
    free(r.anchors);
    return rc;
}

int sk_tree_read(struct sk_arena *arena, const char *name, struct sk_str bytes,
                 const struct sk_limits *limits, const struct sk_node **ret_root,
                 struct sk_err *err)
{
    struct sk_str text = without_mark(bytes);
    size_t i = 0;

    if (sk_str_ends(sk_str(name), SK_STR(".json"))) {
        return sk_json_read(arena, name, text, limits, ret_root, err);
    }
    while (i < text.len && text.ptr[i] != '\0' && strchr(" \t\r\n", text.ptr[i])) {
        i++;
    }
    if (i < text.len && (text.ptr[i] == '{' || text.ptr[i] == '[')) {
        struct sk_err json_err = {0};
        int rc = sk_json_read(arena, name, text, limits, ret_root, &json_err);
        if (rc == 0 || rc == SK_ERR_LIMIT) {
            if (rc < 0 && err) {
                *err = json_err;
            }
            return rc;
        }
    }
    return sk_yaml_read(arena, name, bytes, limits, ret_root, err);
}
