/* SPDX-License-Identifier: Apache-2.0 */
#include "lab/load_http.h"

#include <string.h>
#include <strings.h>

enum { CHUNK_SIZE, CHUNK_EXTENSION, CHUNK_DATA, CHUNK_DATA_END, CHUNK_TRAILER, CHUNK_TRAILER_LINE };

void load_answer_release(struct load_answer *a)
{
    sk_buf_release(&a->head);
    sk_buf_release(&a->body);
}

static void set_name(char out[LOAD_NAME_MAX], struct sk_str value)
{
    value = sk_str_trim(value);
    if (value.len == 0 || value.len >= LOAD_NAME_MAX) {
        return;
    }
    for (size_t i = 0; i < value.len; i++) {
        char c = value.ptr[i];
        /* names go into a log and onto a terminal: nothing but harmless bytes */
        out[i] = c > ' ' && c < 127 && c != ',' && c != '"' ? c : '?';
    }
    out[value.len] = '\0';
}

static bool is_key(struct sk_str key, const char *name)
{
    return key.len == strlen(name) && strncasecmp(key.ptr, name, key.len) == 0;
}

static void take_names(struct load_answer *a, struct sk_str key, struct sk_str value)
{
    if (is_key(key, "instance")) {
        set_name(a->instance, value);
    } else if (is_key(key, "node")) {
        set_name(a->node, value);
    } else if (is_key(key, "site")) {
        set_name(a->site, value);
    }
}

static bool take_header(struct load_answer *a, struct sk_str line)
{
    struct sk_str key, value;
    if (!sk_str_cut(line, ':', &key, &value)) {
        return false;
    }
    value = sk_str_trim(value);
    if (is_key(key, "content-length")) {
        a->length = 0;
        for (size_t i = 0; i < value.len; i++) {
            if (value.ptr[i] < '0' || value.ptr[i] > '9' || a->length > LOAD_BODY_MAX) {
                return false;
            }
            a->length = a->length * 10 + (size_t)(value.ptr[i] - '0');
        }
        a->has_length = value.len > 0 && a->length <= LOAD_BODY_MAX;
        return a->has_length;
    }
    if (is_key(key, "transfer-encoding")) {
        a->chunked = is_key(value, "chunked");
        return a->chunked;
    }
    if (is_key(key, "connection") && is_key(value, "close")) {
        a->reusable = false;
    } else if (key.len > 9 && strncasecmp(key.ptr, "x-skerry-", 9) == 0) {
        take_names(a, (struct sk_str){key.ptr + 9, key.len - 9}, value);
    }
    return true;
}

/* "HTTP/1.1 200 OK" and the headers; false if this is no HTTP. */
static bool take_head(struct load_answer *a, size_t head_len)
{
    struct sk_str rest = {a->head.ptr, head_len};
    struct sk_str line;
    (void)sk_str_cut(rest, '\n', &line, &rest);
    if (line.len < 12 || memcmp(line.ptr, "HTTP/1.", 7) != 0 || line.ptr[8] != ' ') {
        return false;
    }
    for (size_t i = 9; i < 12; i++) {
        if (line.ptr[i] < '0' || line.ptr[i] > '9') {
            return false;
        }
    }
    a->status = (line.ptr[9] - '0') * 100 + (line.ptr[10] - '0') * 10 + (line.ptr[11] - '0');
    a->reusable = line.ptr[7] == '1';
    while (rest.len > 0) {
        (void)sk_str_cut(rest, '\n', &line, &rest);
        if (line.len > 0 && line.ptr[line.len - 1] == '\r') {
            line.len--;
        }
        if (line.len > 0 && !take_header(a, line)) {
            return false;
        }
    }
    return a->status >= 200;
}

static void keep_body(struct load_answer *a, const char *bytes, size_t len)
{
    size_t room = LOAD_BODY_KEPT - a->body.len;
    sk_buf_add(&a->body, bytes, len < room ? len : room);
    a->body_at += len;
}

static enum load_feed whole(struct load_answer *a)
{
    struct sk_str rest = sk_buf_str(&a->body);
    while (rest.len > 0) {
        struct sk_str line, key, value;
        (void)sk_str_cut(rest, '\n', &line, &rest);
        if (sk_str_cut(line, '=', &key, &value)) {
            if (value.len > 0 && value.ptr[value.len - 1] == '\r') {
                value.len--;
            }
            take_names(a, sk_str_trim(key), value);
        }
    }
    return LOAD_WHOLE;
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    c = (char)(c | 0x20);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* The bytes of a chunk's frame, one at a time; LOAD_WHOLE at the end of the trailer. */
static enum load_feed chunk_byte(struct load_answer *a, char c)
{
    int digit = hex_digit(c);
    switch (a->chunk_state) {
    case CHUNK_SIZE:
        if (digit >= 0) {
            a->chunk_left = a->chunk_left * 16 + (size_t)digit;
            return a->chunk_left > LOAD_BODY_MAX ? LOAD_BROKEN : LOAD_MORE;
        }
        a->chunk_state = CHUNK_EXTENSION;
        __attribute__((fallthrough));
    case CHUNK_EXTENSION:
        if (c == '\n') {
            a->chunk_state = a->chunk_left > 0 ? CHUNK_DATA : CHUNK_TRAILER;
        }
        return LOAD_MORE;
    case CHUNK_DATA_END:
        a->chunk_state = c == '\n' ? CHUNK_SIZE : CHUNK_DATA_END;
        return c == '\n' || c == '\r' ? LOAD_MORE : LOAD_BROKEN;
    case CHUNK_TRAILER:
        if (c == '\n') {
            return LOAD_WHOLE;
        }
        a->chunk_state = c == '\r' ? CHUNK_TRAILER : CHUNK_TRAILER_LINE;
        return LOAD_MORE;
    default: /* CHUNK_TRAILER_LINE */
        a->chunk_state = c == '\n' ? CHUNK_TRAILER : CHUNK_TRAILER_LINE;
        return LOAD_MORE;
    }
}

static enum load_feed feed_chunks(struct load_answer *a, const char *bytes, size_t len)
{
    while (len > 0) {
        if (a->chunk_state == CHUNK_DATA) {
            size_t n = len < a->chunk_left ? len : a->chunk_left;
            keep_body(a, bytes, n);
            a->chunk_left -= n;
            bytes += n;
            len -= n;
            if (a->chunk_left == 0) {
                a->chunk_state = CHUNK_DATA_END;
            }
            if (a->body_at > LOAD_BODY_MAX) {
                return LOAD_BROKEN;
            }
            continue;
        }
        enum load_feed fed = chunk_byte(a, *bytes);
        bytes++;
        len--;
        if (fed != LOAD_MORE) {
            return fed == LOAD_WHOLE ? whole(a) : fed;
        }
    }
    return LOAD_MORE;
}

static enum load_feed feed_body(struct load_answer *a, const char *bytes, size_t len, bool eof)
{
    if (a->chunked) {
        enum load_feed fed = feed_chunks(a, bytes, len);
        return fed == LOAD_MORE && eof ? LOAD_BROKEN : fed;
    }
    keep_body(a, bytes, len);
    if (a->body_at > LOAD_BODY_MAX) {
        return LOAD_BROKEN;
    }
    if (a->status == 204 || a->status == 304 || (a->has_length && a->body_at >= a->length)) {
        return whole(a);
    }
    if (eof) {
        return a->has_length ? LOAD_BROKEN : whole(a);
    }
    return LOAD_MORE;
}

enum load_feed load_answer_feed(struct load_answer *a, const char *bytes, size_t len, bool eof)
{
    if (a->in_body) {
        return feed_body(a, bytes, len, eof);
    }
    if (a->head.len + len > LOAD_HEAD_MAX + LOAD_BODY_MAX) {
        return LOAD_BROKEN;
    }
    sk_buf_add(&a->head, bytes, len);
    const char *end = a->head.len >= 4 ? memmem(a->head.ptr, a->head.len, "\r\n\r\n", 4) : NULL;
    if (end == NULL) {
        return eof || a->head.len > LOAD_HEAD_MAX ? LOAD_BROKEN : LOAD_MORE;
    }
    size_t head_len = (size_t)(end - a->head.ptr);
    if (!take_head(a, head_len)) {
        return LOAD_BROKEN;
    }
    a->in_body = true;
    bool until_close = !a->has_length && !a->chunked && a->status != 204 && a->status != 304;
    a->reusable = a->reusable && !until_close;
    return feed_body(a, a->head.ptr + head_len + 4, a->head.len - head_len - 4, eof);
}
