/* SPDX-License-Identifier: Apache-2.0 */
/* A stream from a peer: the first byte says in which steps it arrives. However it is cut, the same
 * frames come out, each within the limit; a hello that is accepted is written and read as itself.
 */
#include "base/json.h"
#include "net/frame.h"

#define LIMIT 2000

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_hello(const struct net_frame *frame, struct sk_arena *arena)
{
    struct net_hello hello = {0}, again = {0};
    struct sk_buf json = SK_BUF_INIT;
    struct net_frame back;
    struct sk_err err = {0};
    int protocol = 0;

    if (net_hello_parse(frame, &hello, &err) < 0) {
        SK_ASSERT(err.code == SK_ERR_PROTOCOL && err.msg[0]);
        return;
    }
    net_hello_write(&hello, &json);
    SK_ASSERT(net_frame_parse(sk_buf_str(&json), arena, &back, &err) == 0);
    SK_ASSERT(net_hello_parse(&back, &again, &err) == 0);
    SK_ASSERT(memcmp(&hello, &again, sizeof(hello)) == 0);
    SK_ASSERT(net_hello_agree(&hello, &again, &protocol, &err) == 0);
    SK_ASSERT(protocol == hello.protocol_max);
    sk_buf_release(&json);
}

static void take(struct sk_str payload, struct sk_buf *all)
{
    struct sk_arena *arena = sk_arena_new();
    struct net_frame frame;
    struct sk_err err = {0};

    SK_ASSERT(payload.len > 0 && payload.len <= LIMIT);
    sk_buf_addstr(all, payload);
    sk_buf_addc(all, '\n');
    if (net_frame_parse(payload, arena, &frame, &err) < 0) {
        SK_ASSERT(err.code == SK_ERR_PROTOCOL && err.msg[0]);
    } else {
        SK_ASSERT(frame.type.len > 0);
        check_hello(&frame, arena);
        (void)net_error_parse(&frame, &err);
    }
    sk_arena_free(arena);
}

static void run(const uint8_t *data, size_t size, size_t step, struct sk_buf *all)
{
    struct net_frame_reader reader;
    struct sk_str payload;
    int rc = 0;

    net_frame_reader_init(&reader, LIMIT);
    for (size_t at = 0; at < size && rc >= 0; at += step) {
        net_frame_reader_add(&reader, data + at, size - at < step ? size - at : step);
        while ((rc = net_frame_reader_next(&reader, &payload, NULL)) == 1) {
            take(payload, all);
        }
    }
    net_frame_reader_release(&reader);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct sk_buf whole = SK_BUF_INIT;
    struct sk_buf cut = SK_BUF_INIT;

    if (size > 1) {
        run(data + 1, size - 1, size - 1, &whole);
        run(data + 1, size - 1, data[0] ? data[0] : 1, &cut);
        SK_ASSERT(sk_str_eq(sk_buf_str(&whole), sk_buf_str(&cut)));
    }
    sk_buf_release(&whole);
    sk_buf_release(&cut);
    return 0;
}
