/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SK_NET_SEAL_FILE_H
#define SK_NET_SEAL_FILE_H

#include "base/buf.h"
#include "base/err.h"
#include "base/str.h"
#include "net/seal.h"

/*
 * A file of any size that the recovery code alone opens: made from its public half, read with it.
 *
 *     "skerry-sealed/1\n"   4 bytes length (big endian), head: one JSON object, readable by all
 *     80 bytes              the file's own key, sealed to the public half
 *     24 bytes              libsodium's secretstream header (XChaCha20-Poly1305)
 *     chunks                65,536 bytes each and 17 of seal; the last one, marked so, is shorter
 * or as long
 *
 * Every chunk is bound to the SHA-256 of all that stands before the chunks, and to those before it:
 * what is altered, left out, put in, cut off or added is SK_ERR_CORRUPT. Nothing is handed out that
 * was not proved; but only the end proves that nothing is missing, so whoever reads acts on nothing
 * before seal_reader_end() returned 0.
 *
 * Memory is bounded by a chunk. Functions append to their buffers; wipe what a reader gave.
 * Source: libsodium's manual, "Encrypted streams and file encryption".
 */
#define SEAL_HEAD_BYTES_MAX 4096
#define SEAL_CHUNK_BYTES 65536

struct seal_writer;
struct seal_writer *seal_writer_new(const uint8_t public_key[SEAL_PUBLIC_BYTES],
                                    struct sk_str head_json, struct sk_buf *out);
void seal_writer_add(struct seal_writer *writer, struct sk_str bytes, struct sk_buf *out);
void seal_writer_end(struct seal_writer *writer, struct sk_buf *out);
void seal_writer_free(struct seal_writer *writer); /* wipes; NULL allowed */

struct seal_reader;
struct seal_reader *seal_reader_new(const struct seal_code *code);
/* The next bytes of the file, however they are cut. SK_ERR_INPUT: no such file;
 * SK_ERR_UNSUPPORTED: of a later version; SK_ERR_DENIED: not by this code; SK_ERR_CORRUPT. */
int seal_reader_feed(struct seal_reader *reader, struct sk_str bytes, struct sk_buf *out,
                     struct sk_err *err);
/* The file is over: the last chunk. SK_ERR_CORRUPT when its end is missing. */
int seal_reader_end(struct seal_reader *reader, struct sk_buf *out, struct sk_err *err);
/* The JSON; empty before it was read. Proved once the first chunk was handed out. */
struct sk_str seal_reader_head(const struct seal_reader *reader);
void seal_reader_free(struct seal_reader *reader); /* wipes; NULL allowed */

#endif
