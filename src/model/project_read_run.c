/* SPDX-License-Identifier: Apache-2.0 */
#include "base/buf.h"
#include "base/mem.h"
#include "model/project_draft.h"

/*
 * Commands. A list is taken as it is. A string is split into words as Compose does: single quotes
 * keep everything, a backslash keeps the next character (and \n, \t are a newline and a tab), also
 * in double quotes. There is no shell; Compose silently ends the command at an unquoted ';' or '|',
 * which is refused here.
 */
struct splitter {
    struct sk_buf word;
    bool in_word;
    char quote; /* the open quote, or 0 */
    struct sk_str *items;
    size_t count;
    size_t cap;
};

static void end_word(struct rd *rd, struct splitter *s)
{
    if (s->in_word) {
        SK_GROW(s->items, s->count, s->cap);
        s->items[s->count++] = sk_arena_str(rd->arena, sk_buf_str(&s->word));
        sk_buf_clear(&s->word);
        s->in_word = false;
    }
}

static bool is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static void escaped(struct splitter *s, char c)
{
    sk_buf_addc(&s->word, c == 'n' ? '\n' : c == 't' ? '\t' : c);
    s->in_word = true;
}

/* True if only a shell could make sense of it. */
static bool take(struct rd *rd, struct splitter *s, char c)
{
    if (s->quote) {
        if (c == s->quote) {
            s->quote = 0;
        } else {
            sk_buf_addc(&s->word, c);
        }
        return false;
    }
    if (c == '\'' || c == '"') {
        s->quote = c;
        s->in_word = true;
    } else if (is_space(c)) {
        end_word(rd, s);
    } else if (memchr(";&|<>()`", c, 8)) {
        return true;
    } else {
        sk_buf_addc(&s->word, c);
        s->in_word = true;
    }
    return false;
}

static int split(struct rd *rd, const struct spot *at, struct sk_str text, struct splitter *s)
{
    for (size_t i = 0; i < text.len; i++) {
        char c = text.ptr[i];
        if (c == '\\' && s->quote != '\'') {
            if (++i == text.len) {
                return rd_bad(rd, at, "ends in a backslash");
            }
            escaped(s, text.ptr[i]);
            continue;
        }
        if (take(rd, s, c)) {
            (void)rd_bad(rd, at, "has a '%c' outside quotes, but no shell runs it", c);
            return sk_err_fix(&rd->err, "write [\"sh\", \"-c\", \"...\"], or put it in quotes");
        }
    }
    if (s->quote) {
        return rd_bad(rd, at, "has a quote %c that is never closed", s->quote);
    }
    end_word(rd, s);
    if (s->count > PROJECT_ARGS_MAX) {
        return rd_bad(rd, at, "has more than %d words", PROJECT_ARGS_MAX);
    }
    return 0;
}

static int split_words(struct rd *rd, const struct spot *at, struct sk_str text, struct argv *ret)
{
    struct splitter s = {0};
    int code = split(rd, at, text, &s);

    if (code == 0) {
        struct sk_str *items = SK_ARENA_ARRAY(rd->arena, struct sk_str, s.count);
        if (s.count) {
            memcpy(items, s.items, s.count * sizeof(*items));
        }
        *ret = (struct argv){items, s.count};
    }
    free(s.items);
    sk_buf_release(&s.word);
    return code;
}

static int read_argv(struct rd *rd, const struct spot *at, struct argv *ret)
{
    struct sk_str text;

    if (at->node->kind == SK_SEQ) {
        return rd_strings(rd, at, PROJECT_ARGS_MAX, &ret->items, &ret->count);
    }
    if (at->node->kind == SK_MAP) {
        return rd_bad(rd, at, "must be a string or a list of strings, not a map");
    }
    if (rd_string(rd, at, &text) < 0) {
        return rd->err.code;
    }
    return split_words(rd, at, text, ret);
}

int read_command(struct rd *rd, const struct spot *at, void *into)
{
    struct service_draft *draft = into;
    draft->command_pos = spot_pos(rd, at);
    draft->svc.has_command = true;
    return read_argv(rd, at, &draft->svc.command);
}

int read_entrypoint(struct rd *rd, const struct spot *at, void *into)
{
    struct service_draft *draft = into;
    draft->svc.has_entrypoint = true;
    return read_argv(rd, at, &draft->svc.entrypoint);
}
