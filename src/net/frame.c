/* SPDX-License-Identifier: Apache-2.0 */
#include "net/frame.h"

#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "base/version.h"

#define HEAD_BYTES 4
#define TYPE_LEN_MAX 32
#define PROTOCOL_MAX 1000
#define ERROR_TEXT_MAX 300
#define ERROR_FIX_MAX 200

void net_frame_reader_init(struct net_frame_reader *reader, size_t bytes_max)
{
    *reader = (struct net_frame_reader){.bytes_max = bytes_max};
}

void net_frame_reader_release(struct net_frame_reader *reader)
{
    sk_buf_release(&reader->buf);
    reader->at = 0;
}

void net_frame_reader_add(struct net_frame_reader *reader, const void *bytes, size_t len)
{
    if (reader->at) {
        sk_buf_consume(&reader->buf, reader->at);
        reader->at = 0;
    }
    sk_buf_add(&reader->buf, bytes, len);
}

int net_frame_reader_next(struct net_frame_reader *reader, struct sk_str *ret_payload,
                          struct sk_err *err)
{
    size_t have = reader->buf.len - reader->at;
    const unsigned char *head;
    size_t len;

    if (have == 0) {
        net_frame_reader_release(reader); /* an idle connection holds no buffer */
        return 0;
    }
    if (have < HEAD_BYTES) {
        return 0;
    }
    head = (const unsigned char *)reader->buf.ptr + reader->at;
    len = (size_t)head[0] << 24 | (size_t)head[1] << 16 | (size_t)head[2] << 8 | head[3];
    if (len == 0) {
        return sk_err_set(err, SK_ERR_PROTOCOL, "a frame of no bytes");
    }
    if (len > reader->bytes_max) {
        return sk_err_set(err, SK_ERR_LIMIT, "a frame of %zu bytes, where %zu are allowed", len,
                          reader->bytes_max);
    }
    if (have < HEAD_BYTES + len) {
        return 0;
    }
    *ret_payload = (struct sk_str){reader->buf.ptr + reader->at + HEAD_BYTES, len};
    reader->at += HEAD_BYTES + len;
    return 1;
}

int net_frame_parse(struct sk_str payload, struct sk_arena *arena, struct net_frame *ret,
                    struct sk_err *err)
{
    const struct sk_limits limits = {.bytes_max = NET_FRAME_BYTES_MAX,
                                     .depth_max = NET_FRAME_DEPTH_MAX,
                                     .nodes_max = NET_FRAME_NODES_MAX};
    const struct sk_node *tree = NULL;
    struct sk_str type;

    if (sk_json_read(arena, "frame", payload, &limits, &tree, err) < 0) {
        if (err) {
            err->code = SK_ERR_PROTOCOL;
        }
        return SK_ERR_PROTOCOL;
    }
    if (tree->kind != SK_MAP || sk_map_int(tree, "v", 0) < 1) {
        return sk_err_set(err, SK_ERR_PROTOCOL, "a frame that is not an object with \"v\":1");
    }
    type = sk_map_str(tree, "type", SK_STR_NULL);
    if (type.len == 0 || type.len > TYPE_LEN_MAX) {
        return sk_err_set(err, SK_ERR_PROTOCOL, "a frame without a type");
    }
    *ret = (struct net_frame){.type = type, .bytes = payload, .tree = tree};
    return 0;
}

int net_frame_write(struct sk_str json, struct sk_buf *out, struct sk_err *err)
{
    unsigned char head[HEAD_BYTES];

    struct sk_str mark = json.len > 0 ? sk_version_mark(json) : SK_STR("");
    size_t len = json.len + mark.len;

    if (json.len == 0 || len > NET_FRAME_BYTES_MAX) {
        return sk_err_set(err, SK_ERR_LIMIT, "a frame of %zu bytes, where %d are allowed", len,
                          NET_FRAME_BYTES_MAX);
    }
    for (int i = 0; i < HEAD_BYTES; i++) {
        head[i] = (unsigned char)(len >> (8 * (HEAD_BYTES - 1 - i)));
    }
    sk_buf_add(out, head, sizeof(head));
    if (mark.len == 0) {
        sk_buf_addstr(out, json);
        return 0;
    }
    sk_buf_add(out, json.ptr, json.len - 1); /* up to the last brace */
    sk_buf_addstr(out, mark);
    sk_buf_addc(out, '}');
    return 0;
}

/* ---- hello ---- */

void net_hello_write(const struct net_hello *hello, struct sk_buf *out)
{
    struct sk_jw w;

    sk_jw_init(&w, out);
    sk_jw_obj(&w);
    sk_jw_kint(&w, "v", 1);
    sk_jw_kcstr(&w, "type", "hello");
    sk_jw_kcstr(&w, "cluster", hello->cluster);
    sk_jw_kcstr(&w, "node", hello->node);
    sk_jw_kcstr(&w, "incarnation", hello->incarnation);
    sk_jw_kcstr(&w, "boot", hello->boot);
    sk_jw_key(&w, "protocol");
    sk_jw_arr(&w);
    sk_jw_int(&w, hello->protocol_min);
    sk_jw_int(&w, hello->protocol_max);
    sk_jw_arr_end(&w);
    sk_jw_kcstr(&w, "version", hello->version);
    sk_jw_obj_end(&w);
}

static int copy_name(const struct sk_node *tree, const char *key, char ret[64])
{
    struct sk_str name = sk_map_str(tree, key, SK_STR_NULL);

    if (!sk_str_is_label(name)) {
        return -1;
    }
    memcpy(ret, name.ptr, name.len);
    ret[name.len] = '\0';
    return 0;
}

/* Absent is "", anything but visible ASCII is refused: these words end up in logs and tables. */
static int copy_word(const struct sk_node *tree, const char *key, char ret[NET_WORD_SIZE])
{
    struct sk_str word = sk_map_str(tree, key, SK_STR_NULL);

    if (word.len >= NET_WORD_SIZE) {
        return -1;
    }
    for (size_t i = 0; i < word.len; i++) {
        if (word.ptr[i] <= ' ' || word.ptr[i] > '~') {
            return -1;
        }
        ret[i] = word.ptr[i];
    }
    ret[word.len] = '\0';
    return 0;
}

static int copy_version(const struct sk_node *node, int *ret)
{
    int version = 0;

    if (node->kind != SK_NUMBER || node->u.text.len == 0 || node->u.text.len > 4) {
        return -1;
    }
    for (size_t i = 0; i < node->u.text.len; i++) {
        char c = node->u.text.ptr[i];
        if (c < '0' || c > '9') {
            return -1;
        }
        version = version * 10 + (c - '0');
    }
    if (version < 1 || version > PROTOCOL_MAX) {
        return -1;
    }
    *ret = version;
    return 0;
}

int net_hello_parse(const struct net_frame *frame, struct net_hello *ret, struct sk_err *err)
{
    struct net_hello hello = {0};
    const struct sk_node *protocol = sk_map_seq(frame->tree, "protocol");

    if (!sk_str_is(frame->type, "hello")) {
        return sk_err_set(err, SK_ERR_PROTOCOL, "the first frame is '%.*s', not 'hello'",
                          SK_PRI(frame->type));
    }
    if (!protocol || protocol->count != 2 ||
        copy_version(&protocol->u.items[0], &hello.protocol_min) < 0 ||
        copy_version(&protocol->u.items[1], &hello.protocol_max) < 0 ||
        hello.protocol_min > hello.protocol_max) {
        return sk_err_set(err, SK_ERR_PROTOCOL, "hello: 'protocol' is not [min, max]");
    }
    if (copy_name(frame->tree, "cluster", hello.cluster) < 0 ||
        copy_name(frame->tree, "node", hello.node) < 0 ||
        copy_word(frame->tree, "incarnation", hello.incarnation) < 0 ||
        copy_word(frame->tree, "boot", hello.boot) < 0 ||
        copy_word(frame->tree, "version", hello.version) < 0) {
        return sk_err_set(err, SK_ERR_PROTOCOL, "hello: a name is missing or not well formed");
    }
    *ret = hello;
    return 0;
}

int net_hello_agree(const struct net_hello *own, const struct net_hello *peer, int *ret_protocol,
                    struct sk_err *err)
{
    int top = own->protocol_max < peer->protocol_max ? own->protocol_max : peer->protocol_max;

    if (top < own->protocol_min || top < peer->protocol_min) {
        bool peer_older = peer->protocol_max < own->protocol_min;
        (void)sk_err_set(err, SK_ERR_PROTOCOL,
                         "node '%s' speaks protocol %d to %d, node '%s' %d to %d", peer->node,
                         peer->protocol_min, peer->protocol_max, own->node, own->protocol_min,
                         own->protocol_max);
        (void)sk_err_fix(err, "upgrade skerry on '%s'", peer_older ? peer->node : own->node);
        return SK_ERR_PROTOCOL;
    }
    *ret_protocol = top;
    return 0;
}

/* ---- error ---- */

void net_error_write(const struct sk_err *why, struct sk_buf *out)
{
    struct sk_jw w;

    sk_jw_init(&w, out);
    sk_jw_obj(&w);
    sk_jw_kint(&w, "v", 1);
    sk_jw_kcstr(&w, "type", "error");
    sk_jw_kcstr(&w, "code", sk_code_name(why->code));
    sk_jw_kcstr(&w, "text", why->msg);
    if (why->fix[0]) {
        sk_jw_kcstr(&w, "fix", why->fix);
    }
    sk_jw_obj_end(&w);
}

int net_error_parse(const struct net_frame *frame, struct sk_err *err)
{
    struct sk_str code = sk_map_str(frame->tree, "code", SK_STR_NULL);
    struct sk_str text =
        sk_str_head(sk_map_str(frame->tree, "text", SK_STR("no reason given")), ERROR_TEXT_MAX);
    struct sk_str fix = sk_str_head(sk_map_str(frame->tree, "fix", SK_STR_NULL), ERROR_FIX_MAX);
    char name[TYPE_LEN_MAX + 1] = "";
    int number;

    if (code.len < sizeof(name)) {
        memcpy(name, code.ptr ? code.ptr : "", code.len);
        name[code.len] = '\0';
    }
    number = sk_code_from_name(name);
    (void)sk_err_set(err, number, "the other side says: %.*s", (int)text.len, text.ptr);
    if (fix.len) {
        (void)sk_err_fix(err, "%.*s", (int)fix.len, fix.ptr);
    }
    return number;
}
