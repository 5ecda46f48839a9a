/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SK_NET_FRAME_H
#define SK_NET_FRAME_H

#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/str.h"
#include "base/tree.h"

/*
 * Frames of the channel: four bytes of length, big endian, then one JSON object with "v":1 and
 * "type". Pure: bytes in, frames out. A length is judged before its bytes arrive, and memory grows
 * only with bytes that did arrive.
 */
#define NET_FRAME_BYTES_MAX (1024 * 1024)
#define NET_FRAME_JOIN_BYTES_MAX (16 * 1024) /* of a peer without certificate */
#define NET_FRAME_DEPTH_MAX 32
#define NET_FRAME_NODES_MAX 200000
#define NET_WORD_SIZE 65 /* incarnation, boot id, version with the NUL */

struct net_frame {
    struct sk_str type;         /* of `tree` */
    struct sk_str bytes;        /* as received: unknown fields are in here, and in the tree */
    const struct sk_node *tree; /* a map */
};

/* ---- bytes to frames ---- */

struct net_frame_reader {
    struct sk_buf buf;
    size_t at; /* bytes of buf already handed out */
    size_t bytes_max;
};

void net_frame_reader_init(struct net_frame_reader *reader, size_t bytes_max);
void net_frame_reader_release(struct net_frame_reader *reader);
void net_frame_reader_add(struct net_frame_reader *reader, const void *bytes, size_t len);
/* 1 and the payload of the next frame (a view, good until the next call on the reader); 0: more
 * bytes are needed; SK_ERR_LIMIT or SK_ERR_PROTOCOL: the stream is lost. Call until it is not 1. */
int net_frame_reader_next(struct net_frame_reader *reader, struct sk_str *ret_payload,
                          struct sk_err *err);

/* The payload as a frame; the tree lives in `arena`, `bytes` in the payload. SK_ERR_PROTOCOL. */
int net_frame_parse(struct sk_str payload, struct sk_arena *arena, struct net_frame *ret,
                    struct sk_err *err);
/* Length and payload. SK_ERR_LIMIT. Appends. */
int net_frame_write(struct sk_str json, struct sk_buf *out, struct sk_err *err);

/* ---- hello and error, the frames that the channel itself speaks ---- */

struct net_hello {
    char cluster[64];
    char node[64];
    char incarnation[NET_WORD_SIZE];
    char boot[NET_WORD_SIZE];
    char version[NET_WORD_SIZE];
    int protocol_min, protocol_max;
};

void net_hello_write(const struct net_hello *hello, struct sk_buf *out); /* JSON, appends */
int net_hello_parse(const struct net_frame *frame, struct net_hello *ret, struct sk_err *err);
/* The highest version that both speak. SK_ERR_PROTOCOL, with who must be upgraded. */
int net_hello_agree(const struct net_hello *own, const struct net_hello *peer, int *ret_protocol,
                    struct sk_err *err);

void net_error_write(const struct sk_err *why, struct sk_buf *out); /* JSON, appends */
/* What the peer's `error` frame says: always an error. Returns its code. */
int net_error_parse(const struct net_frame *frame, struct sk_err *err);

#endif
