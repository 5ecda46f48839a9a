/* SPDX-License-Identifier: Apache-2.0 */
#include "net/seal_file.h"

#include <sodium.h>
#include <stdbool.h>

#include "base/hash.h"
#include "base/mem.h"
#include "sys/clock.h"

#define MAGIC "skerry-sealed/1\n"
#define MAGIC_BYTES 16
#define FAMILY_BYTES 14 /* of the magic: what all versions share */
#define KEY_BYTES crypto_secretstream_xchacha20poly1305_KEYBYTES
#define BOX_BYTES (KEY_BYTES + SEAL_BOX_EXTRA)
#define STREAM_BYTES crypto_secretstream_xchacha20poly1305_HEADERBYTES
#define EXTRA crypto_secretstream_xchacha20poly1305_ABYTES
#define TAG_MORE crypto_secretstream_xchacha20poly1305_TAG_MESSAGE
#define TAG_LAST crypto_secretstream_xchacha20poly1305_TAG_FINAL

_Static_assert(sizeof(MAGIC) == MAGIC_BYTES + 1, "the magic's length");

/* ---- making one ---- */

struct seal_writer {
    crypto_secretstream_xchacha20poly1305_state stream;
    uint8_t bound[SK_SHA256_BYTES];
    struct sk_buf waiting; /* less than a chunk, or just one: the last is known only at the end */
};

struct seal_writer *seal_writer_new(const uint8_t public_key[SEAL_PUBLIC_BYTES],
                                    struct sk_str head_json, struct sk_buf *out)
{
    struct seal_writer *writer = sk_xcalloc(1, sizeof(*writer));
    size_t from = out->len;
    uint8_t key[KEY_BYTES], stream[STREAM_BYTES];
    uint8_t size[4] = {0, 0, (uint8_t)(head_json.len >> 8), (uint8_t)head_json.len};

    SK_ASSERT(head_json.len <= SEAL_HEAD_BYTES_MAX);
    sys_random(key, sizeof(key));
    sk_buf_add(out, MAGIC, MAGIC_BYTES);
    sk_buf_add(out, size, sizeof(size));
    sk_buf_addstr(out, head_json);
    seal_to(public_key, (struct sk_str){(const char *)key, sizeof(key)}, out);
    (void)crypto_secretstream_xchacha20poly1305_init_push(&writer->stream, stream, key);
    sk_buf_add(out, stream, sizeof(stream));
    sk_sha256((struct sk_str){out->ptr + from, out->len - from}, writer->bound);
    sodium_memzero(key, sizeof(key));
    return writer;
}

static void push(struct seal_writer *writer, size_t len, uint8_t tag, struct sk_buf *out)
{
    sk_buf_reserve(out, len + EXTRA + 1);
    (void)crypto_secretstream_xchacha20poly1305_push(
        &writer->stream, (uint8_t *)out->ptr + out->len, NULL, (const uint8_t *)writer->waiting.ptr,
        len, writer->bound, sizeof(writer->bound), tag);
    out->len += len + EXTRA;
    out->ptr[out->len] = '\0';
    sk_buf_consume(&writer->waiting, len);
}

void seal_writer_add(struct seal_writer *writer, struct sk_str bytes, struct sk_buf *out)
{
    while (bytes.len) {
        size_t n = SEAL_CHUNK_BYTES - writer->waiting.len;
        n = n < bytes.len ? n : bytes.len;
        if (n == 0) {
            push(writer, SEAL_CHUNK_BYTES, TAG_MORE, out);
            continue;
        }
        sk_buf_add(&writer->waiting, bytes.ptr, n);
        bytes.ptr += n;
        bytes.len -= n;
    }
}

void seal_writer_end(struct seal_writer *writer, struct sk_buf *out)
{
    sk_buf_reserve(&writer->waiting, 1); /* nothing at all is a file too */
    push(writer, writer->waiting.len, TAG_LAST, out);
}

void seal_writer_free(struct seal_writer *writer)
{
    if (writer) {
        seal_wipe(&writer->waiting);
        sodium_memzero(writer, sizeof(*writer));
        free(writer);
    }
}

/* ---- reading one ---- */

struct seal_reader {
    struct seal_code code;
    crypto_secretstream_xchacha20poly1305_state stream;
    uint8_t bound[SK_SHA256_BYTES];
    struct sk_buf in;
    struct sk_buf head;
    bool opened; /* what stands before the chunks was read */
};

struct seal_reader *seal_reader_new(const struct seal_code *code)
{
    struct seal_reader *reader = sk_xcalloc(1, sizeof(*reader));

    reader->code = *code;
    return reader;
}

struct sk_str seal_reader_head(const struct seal_reader *reader)
{
    return sk_buf_str(&reader->head);
}

void seal_reader_free(struct seal_reader *reader)
{
    if (reader) {
        sk_buf_release(&reader->in);
        sk_buf_release(&reader->head);
        sodium_memzero(reader, sizeof(*reader));
        free(reader);
    }
}

static int check_magic(const struct seal_reader *reader, struct sk_err *err)
{
    struct sk_str in = sk_buf_str(&reader->in);
    size_t n = in.len < MAGIC_BYTES ? in.len : MAGIC_BYTES;
    size_t family = n < FAMILY_BYTES ? n : FAMILY_BYTES;

    if (family && memcmp(in.ptr, MAGIC, family) != 0) {
        return sk_err_set(err, SK_ERR_INPUT, "that is no sealed file of skerry");
    }
    if (n && memcmp(in.ptr, MAGIC, n) != 0) {
        return sk_err_set(err, SK_ERR_UNSUPPORTED,
                          "the sealed file was made by a later version of skerry");
    }
    return 0;
}

/* Opens the file's own key. `before` bytes stand before the chunks. */
static int start_stream(struct seal_reader *reader, size_t before, struct sk_err *err)
{
    const char *at = reader->in.ptr + before - STREAM_BYTES - BOX_BYTES;
    struct sk_buf key = SK_BUF_INIT;
    int r = seal_open(&reader->code, (struct sk_str){at, BOX_BYTES}, &key, err);

    if (r == 0 && crypto_secretstream_xchacha20poly1305_init_pull(&reader->stream,
                                                                  (const uint8_t *)at + BOX_BYTES,
                                                                  (const uint8_t *)key.ptr) != 0) {
        r = sk_err_set(err, SK_ERR_CORRUPT, "the sealed file is altered");
    }
    seal_wipe(&key);
    if (r == 0) {
        sk_sha256((struct sk_str){reader->in.ptr, before}, reader->bound);
        sk_buf_consume(&reader->in, before);
        reader->opened = true;
    }
    return r;
}

static int read_front(struct seal_reader *reader, struct sk_err *err)
{
    const uint8_t *in = (const uint8_t *)reader->in.ptr;
    size_t head, before;

    if (check_magic(reader, err) < 0) {
        return err ? err->code : SK_ERR_INPUT;
    }
    if (reader->in.len < MAGIC_BYTES + 4) {
        return 0;
    }
    in += MAGIC_BYTES;
    head = (size_t)in[0] << 24 | (size_t)in[1] << 16 | (size_t)in[2] << 8 | in[3];
    if (head > SEAL_HEAD_BYTES_MAX) {
        return sk_err_set(err, SK_ERR_CORRUPT, "the sealed file is altered");
    }
    before = MAGIC_BYTES + 4 + head + BOX_BYTES + STREAM_BYTES;
    if (reader->in.len < before) {
        return 0;
    }
    sk_buf_clear(&reader->head);
    sk_buf_add(&reader->head, reader->in.ptr + MAGIC_BYTES + 4, head);
    return start_stream(reader, before, err);
}

static int pull(struct seal_reader *reader, size_t len, uint8_t want, struct sk_buf *out,
                struct sk_err *err)
{
    uint8_t tag = 0;

    sk_buf_reserve(out, len + 1);
    if (len < EXTRA ||
        crypto_secretstream_xchacha20poly1305_pull(&reader->stream, (uint8_t *)out->ptr + out->len,
                                                   NULL, &tag, (const uint8_t *)reader->in.ptr, len,
                                                   reader->bound, sizeof(reader->bound)) != 0) {
        return sk_err_set(err, SK_ERR_CORRUPT, "the sealed file is altered or cut short");
    }
    if (tag != want) {
        return sk_err_set(err, SK_ERR_CORRUPT,
                          want == TAG_LAST ? "the sealed file is cut short"
                                           : "the sealed file goes on after its end");
    }
    out->len += len - EXTRA;
    out->ptr[out->len] = '\0';
    sk_buf_consume(&reader->in, len);
    return 0;
}

int seal_reader_feed(struct seal_reader *reader, struct sk_str bytes, struct sk_buf *out,
                     struct sk_err *err)
{
    int r = 0;

    while (bytes.len && r == 0) {
        /* never more in memory than the front, or a chunk, and the byte that says that more comes
         */
        size_t room = SEAL_CHUNK_BYTES + EXTRA + 1 - reader->in.len;
        size_t n = bytes.len < room ? bytes.len : room;
        sk_buf_add(&reader->in, bytes.ptr, n);
        bytes.ptr += n;
        bytes.len -= n;
        if (!reader->opened) {
            r = read_front(reader, err);
        }
        if (r == 0 && reader->opened && reader->in.len > SEAL_CHUNK_BYTES + EXTRA) {
            r = pull(reader, SEAL_CHUNK_BYTES + EXTRA, TAG_MORE, out, err);
        }
    }
    return r;
}

int seal_reader_end(struct seal_reader *reader, struct sk_buf *out, struct sk_err *err)
{
    if (!reader->opened) {
        return sk_err_set(err, reader->in.len ? SK_ERR_CORRUPT : SK_ERR_INPUT,
                          reader->in.len ? "the sealed file is cut short"
                                         : "that is no sealed file of skerry: it is empty");
    }
    return pull(reader, reader->in.len, TAG_LAST, out, err);
}
