/* SPDX-License-Identifier: Apache-2.0 */
#ifndef LAB_LOAD_HTTP_H
#define LAB_LOAD_HTTP_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"
#include "base/str.h"

/*
 * Reads one HTTP/1.x answer as bytes arrive. Bounded: a head of at most 16 KiB, a body of at most
 * 1 MiB of which the first 4 KiB are kept. The answer names who gave it in its headers
 * (X-Skerry-Instance, -Node, -Site) or in lines "instance=...", "node=...", "site=..." of its body.
 */
#define LOAD_HEAD_MAX 16384
#define LOAD_BODY_MAX (1U << 20)
#define LOAD_BODY_KEPT 4096
#define LOAD_NAME_MAX 64

struct load_answer {
    struct sk_buf head; /* until the empty line was seen */
    struct sk_buf body; /* the kept part */
    int status;         /* 0 = not known yet */
    bool in_body, chunked, has_length, reusable;
    size_t length;  /* of the body, when has_length */
    size_t body_at; /* bytes of the body so far */
    int chunk_state;
    size_t chunk_left;
    char instance[LOAD_NAME_MAX], node[LOAD_NAME_MAX], site[LOAD_NAME_MAX];
};

enum load_feed { LOAD_MORE, LOAD_WHOLE, LOAD_BROKEN };

void load_answer_release(struct load_answer *a);
/* eof: the peer closed; len may be 0 then. After LOAD_WHOLE the names are filled in. */
enum load_feed load_answer_feed(struct load_answer *a, const char *bytes, size_t len, bool eof);

#endif
