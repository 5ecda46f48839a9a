/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/internal.h"

#include <stdlib.h>
#include <string.h>

#include "daemon/frames.h"
#include "daemon/observed.h"
#include "net/frame.h"
#include "net/pulse.h"
#include "sim/agent.h"
#include "sim/sim.h"

/*
 * The real frames, in a world that encodes: what a node says is written by the binary's own code
 * (the agent's and the daemon's), with its length before it, read back by control's side, and only
 * that is stepped in. What control says goes through the frame's reader and writer.
 */
struct sim_wire {
    struct observed observed; /* as skerryd keeps it */
    struct sk_buf last;       /* the agent's last frame, with its length */
    struct {
        uint32_t conn;
        struct net_pulse node, control; /* both ends of its session */
    } pulses[SIM_CONTROLS];
};

struct sim_wire *sim_wire_new(const struct sim_node *n)
{
    (void)n;
    return sk_xcalloc(1, sizeof(struct sim_wire));
}

void sim_wire_free(struct sim_wire *wire)
{
    if (wire) {
        observed_release(&wire->observed);
        sk_buf_release(&wire->last);
        free(wire);
    }
}

void sim_wire_reset(struct sim_wire *wire)
{
    observed_release(&wire->observed);
    wire->observed.known = false;
}

/* The payload of the one frame in `bytes`, as a tree in the arena. */
static bool unframe(const struct sk_buf *bytes, struct sk_arena *arena, struct net_frame *ret)
{
    struct net_frame_reader reader;
    struct sk_str payload;
    bool ok;

    net_frame_reader_init(&reader, NET_FRAME_BYTES_MAX);
    net_frame_reader_add(&reader, bytes->ptr, bytes->len);
    ok = net_frame_reader_next(&reader, &payload, NULL) == 1 &&
         net_frame_parse(sk_arena_str(arena, payload), arena, ret, NULL) == 0;
    net_frame_reader_release(&reader);
    return ok;
}

bool sim_wire_observe(struct sim_node *n, uint64_t since)
{
    struct sk_arena *arena = sk_arena_new();
    struct agent *agent = sk_xcalloc(1, sizeof(*agent));
    struct net_frame frame;
    bool ok;

    agent->state = n->agent->state; /* lent: nothing in here is kept */
    agent->assigned = n->agent->assigned;
    agent->obs_rev = n->agent->obs_rev;
    sk_buf_clear(&n->wire->last);
    (void)frame_write_observe(agent, since, &n->wire->last);
    free(agent);
    ok = unframe(&n->wire->last, arena, &frame);
    if (ok) {
        observed_take(&n->wire->observed, frame.tree);
    }
    sk_arena_free(arena);
    return ok;
}

static void write_beat(const struct sim *s, const struct sim_message *m, struct sk_buf *out)
{
    struct frame_heard heard[SIM_TARGETS];
    struct frame_beat beat = {.seq = m->seq,
                              .assign_rev = m->assign_rev,
                              .obs_rev = m->obs_rev,
                              .heard = heard,
                              .nheard = m->nheard};

    for (size_t i = 0; i < m->nheard; i++) {
        heard[i] = (struct frame_heard){s->nodes[m->heard[i].node].name, m->heard[i].age_ms,
                                        m->heard[i].rtt_us};
    }
    frame_write_beat(&beat, out);
}

/* A session of each connection, without the machine's randomness. */
static void pulse_begin(struct sim_wire *wire, const struct sim_message *m)
{
    struct net_pulse *p = &wire->pulses[m->control].node;

    if (wire->pulses[m->control].conn != m->conn) {
        wire->pulses[m->control].conn = m->conn;
        memset(p, 0, sizeof(*p));
        memcpy(p->id, &m->conn, sizeof(m->conn));
        memcpy(p->key, &m->conn, sizeof(m->conn));
        wire->pulses[m->control].control = *p;
    }
}

static void seal(struct sim *s, struct sim_message *m)
{
    struct sim_wire *wire = s->nodes[m->node].wire;
    struct sk_buf json = SK_BUF_INIT;
    uint8_t bytes[NET_PULSE_BYTES_MAX];
    size_t len;

    pulse_begin(wire, m);
    write_beat(s, m, &json);
    len = net_pulse_seal(&wire->pulses[m->control].node, sk_buf_str(&json), bytes);
    SK_ASSERT(len > 0);
    sk_buf_add(&m->bytes, (const char *)bytes, len);
    sk_buf_release(&json);
}

static bool unseal(struct sim *s, const struct sim_message *m, struct sk_arena *arena,
                   struct net_frame *ret)
{
    struct sim_wire *wire = s->nodes[m->node].wire;
    struct sk_buf json = SK_BUF_INIT;
    uint8_t answer[NET_PULSE_ANSWER_BYTES];
    struct net_pulse *control = &wire->pulses[m->control].control;
    bool ok = net_pulse_open(control, (const uint8_t *)m->bytes.ptr, m->bytes.len, &json) &&
              net_frame_parse(sk_arena_str(arena, sk_buf_str(&json)), arena, ret, NULL) == 0;

    if (ok) {
        net_pulse_answer(control, answer);
        ok = net_pulse_answered(&wire->pulses[m->control].node, answer, sizeof(answer));
    }
    sk_buf_release(&json);
    return ok;
}

static void write_hello(const struct sim_node *n, struct sk_buf *out)
{
    struct net_hello hello = {
        .cluster = "sim", .incarnation = "inc", .boot = "boot", .version = "0.1.0"};

    (void)snprintf(hello.node, sizeof(hello.node), "%s", n->name);
    hello.protocol_min = hello.protocol_max = 1;
    net_hello_write(&hello, out);
}

void sim_wire_encode(struct sim *s, struct sim_message *m)
{
    const struct sim_node *n = &s->nodes[m->node];
    struct sk_buf json = SK_BUF_INIT;
    struct sk_err err = {0};

    if (m->datagram) {
        seal(s, m);
        return;
    }
    switch (m->kind) {
    case SIM_HELLO:
        write_hello(n, &json);
        break;
    case SIM_BEAT:
        write_beat(s, m, &json);
        break;
    case SIM_OBSERVE:
        if (!m->full || m->fresh) {
            sk_buf_addstr(&m->bytes, sk_buf_str(&n->wire->last));
            return;
        }
        observed_write(&n->wire->observed, &json);
        break;
    case SIM_ASSIGN:
    case SIM_LEASE:
    case SIM_LEASED:
        sk_buf_addstr(&json, sk_buf_str(&m->bytes));
        sk_buf_clear(&m->bytes);
        break;
    case SIM_PULSE:
    case SIM_PING:
    case SIM_CLOSE:
        return;
    }
    if (net_frame_write(sk_buf_str(&json), &m->bytes, &err) < 0) {
        sim_fail(s, SIM_BROKEN, "a message of %s is no frame: %s", n->name, err.msg);
    }
    sk_buf_release(&json);
}

static bool decode_hello(const struct net_frame *frame, const struct sim_node *n)
{
    struct net_hello hello;
    return net_hello_parse(frame, &hello, NULL) == 0 && strcmp(hello.node, n->name) == 0;
}

bool sim_wire_decode(struct sim *s, struct sim_message *m, struct sk_arena *arena,
                     struct control_event *ret)
{
    const struct sim_node *n = &s->nodes[m->node];
    struct sk_arena *own = arena ? NULL : sk_arena_new();
    struct net_frame frame = {0};
    bool ok =
        m->datagram ? unseal(s, m, arena, &frame) : unframe(&m->bytes, arena ? arena : own, &frame);

    if (ok && m->kind == SIM_HELLO) {
        ok = decode_hello(&frame, n);
    } else if (ok && (m->kind == SIM_ASSIGN || m->kind == SIM_LEASE || m->kind == SIM_LEASED)) {
        struct sk_buf payload = SK_BUF_INIT;
        sk_buf_addstr(&payload, frame.bytes);
        sk_buf_release(&m->bytes);
        m->bytes = payload;
    } else if (ok && m->kind == SIM_BEAT) {
        ok = frame_read_beat(frame.tree, sk_str(n->name), arena, ret, NULL) == 0;
    } else if (ok && m->kind == SIM_OBSERVE) {
        ok = frame_read_observe(frame.tree, sk_str(n->name), arena, ret, NULL) == 0;
    }
    sk_arena_free(own);
    return ok;
}
