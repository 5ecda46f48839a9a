/* SPDX-License-Identifier: Apache-2.0 */
/* Any payload as each frame between control and node that grants or tells something: `control_*`,
 * beats, observations, asks for leases, drills, joins. What is taken is within its bounds; a grant
 * and a state that are taken are written and read as themselves. */
#include <string.h>

#include "base/json.h"
#include "daemon/frames.h"
#include "daemon/seat.h"
#include "net/frame.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void refused(const struct sk_err *err)
{
    SK_ASSERT(err->code == SK_ERR_PROTOCOL && err->msg[0] != '\0');
}

static const struct sk_node *read_again(struct sk_arena *arena, const struct sk_buf *json)
{
    const struct sk_node *tree = NULL;

    SK_ASSERT(sk_json_read(arena, "again", sk_buf_str(json), NULL, &tree, NULL) == 0);
    return tree;
}

static void check_grant(const struct sk_node *tree, struct sk_arena *arena)
{
    struct seat_spec plain, spec, again;
    struct sk_buf json = SK_BUF_INIT, same = SK_BUF_INIT;
    struct sk_err err = {0};

    if (seat_read_grant(tree, &spec, &err) < 0) {
        refused(&err);
        return;
    }
    SK_ASSERT(seat_read_plain(tree, &plain, &err) == 0 && strcmp(plain.id, spec.id) == 0 &&
              plain.rev == spec.rev);
    SK_ASSERT(spec.npeers <= CONTROL_MEMBERS_MAX && spec.nendpoints <= CONTROL_MEMBERS_MAX);
    SK_ASSERT(spec.external ? spec.nendpoints > 0 : spec.npeers > 0);
    seat_write_spec(&spec, &json);
    SK_ASSERT(seat_read_grant(read_again(arena, &json), &again, &err) == 0);
    seat_write_spec(&again, &same);
    SK_ASSERT(sk_str_eq(sk_buf_str(&json), sk_buf_str(&same)));
    sk_buf_release(&json);
    sk_buf_release(&same);
}

static void check_state(const struct sk_node *tree, struct sk_arena *arena)
{
    struct control_event ev, again;
    struct sk_buf json = SK_BUF_INIT;
    struct sk_err err = {0};

    if (seat_read_state(tree, SK_STR("n1"), &ev, &err) < 0) {
        refused(&err);
        return;
    }
    SK_ASSERT(ev.u.seat.port >= 0 && ev.u.seat.port <= 65535);
    SK_ASSERT(ev.u.seat.peer_url.len < SEAT_URL_SIZE || ev.u.seat.stage == CONTROL_STAGE_NONE);
    seat_write_state(&(struct seat_state){ev.u.seat.id, ev.u.seat.stage, ev.u.seat.peer_url,
                                          ev.u.seat.client_url, ev.u.seat.error, ev.u.seat.port},
                     &json);
    SK_ASSERT(seat_read_state(read_again(arena, &json), SK_STR("n1"), &again, &err) == 0);
    SK_ASSERT(again.u.seat.stage == ev.u.seat.stage &&
              sk_str_eq(again.u.seat.error, ev.u.seat.error));
    sk_buf_release(&json);
}

static void check_rest(const struct sk_node *tree, struct sk_arena *arena)
{
    struct sk_str node = SK_STR("n1");
    struct control_event ev;
    struct control_join join;
    struct sk_err err = {0};

    if (frame_read_beat(tree, node, arena, &ev, &err) < 0) {
        refused(&err);
    } else {
        SK_ASSERT(ev.u.beat.nheard <= CONTROL_HEARD_MAX);
    }
    if (frame_read_lease(tree, node, arena, &ev, &err) < 0) {
        refused(&err);
    } else {
        SK_ASSERT(ev.u.lease.nasks <= CONTROL_ASKS_MAX);
    }
    if (frame_read_observe(tree, node, arena, &ev, &err) < 0) {
        refused(&err);
    }
    if (frame_read_drilled(tree, node, &ev, &err) < 0) {
        refused(&err);
    } else {
        SK_ASSERT(ev.u.drilled.op < CONTROL_DRILL_OPS);
    }
    if (frame_read_join(tree, arena, &join, &err) < 0) {
        SK_ASSERT(err.msg[0] != '\0');
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct sk_arena *arena = sk_arena_new();
    struct net_frame frame;
    struct seat_spec plain;
    struct sk_err err = {0};

    if (net_frame_parse((struct sk_str){(const char *)data, size}, arena, &frame, &err) == 0) {
        if (seat_read_plain(frame.tree, &plain, &err) < 0) {
            refused(&err);
        }
        check_grant(frame.tree, arena);
        check_state(frame.tree, arena);
        check_rest(frame.tree, arena);
    }
    sk_arena_free(arena);
    return 0;
}
