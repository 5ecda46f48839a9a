/* SPDX-License-Identifier: Apache-2.0 */
#include "../net/fixture.h"
#include "daemon/pulse_in.h"
#include "daemon/pulse_out.h"
#include "net/probe.h"

/*
 * Beats by datagram over a real channel and real sockets: both sides as skerryd wires them, in one
 * loop.
 */
struct pair {
    struct world *w;
    struct net_probe *at_control, *at_node;
    struct pulse_in *in;
    struct pulse_out *out;
    unsigned taken, refused, answers;
    bool deaf;        /* control's port takes nothing */
    size_t json_size; /* of the next beats */
    char last[NET_PULSE_JSON_MAX + 1];
    uint8_t recorded[NET_PULSE_BYTES_MAX];
    size_t recorded_len;
    struct sockaddr_storage from;
};
static struct pair p;

static void server_up(void *ctx, struct net_peer *peer)
{
    (void)ctx;
    pulse_in_up(p.in, peer);
    p.w->s.peer = peer;
    p.w->s.ups++;
}

static void server_down(void *ctx, struct net_peer *peer, const struct sk_err *why)
{
    (void)ctx;
    (void)why;
    pulse_in_down(p.in, peer);
    p.w->s.downs++;
}

static void client_frame(void *ctx, struct net_peer *peer, const struct net_frame *frame)
{
    (void)ctx;
    if (sk_str_is(frame->type, "pulse")) {
        pulse_out_take(p.out, peer, frame);
        p.w->c.frames++;
    }
}

static void client_down(void *ctx, struct net_peer *peer, const struct sk_err *why)
{
    (void)ctx;
    (void)why;
    pulse_out_down(p.out, peer);
    p.w->c.downs++;
}

static void on_control_pulse(void *ctx, const uint8_t *bytes, size_t len,
                             const struct sockaddr *from)
{
    uint8_t answer[NET_PULSE_ANSWER_BYTES];
    struct sk_buf json = SK_BUF_INIT;
    struct net_peer *peer;

    (void)ctx;
    memcpy(p.recorded, bytes, len);
    p.recorded_len = len;
    if (p.deaf) {
        return;
    }
    peer = pulse_in_take(p.in, bytes, len, &json, answer);
    if (peer) {
        assert_ptr_equal(peer, p.w->s.peer);
        (void)snprintf(p.last, sizeof(p.last), "%.*s", (int)json.len, json.ptr);
        p.taken++;
        net_probe_send(p.at_control, answer, sizeof(answer), from);
    } else {
        p.refused++;
    }
    sk_buf_release(&json);
}

static void on_node_pulse(void *ctx, const uint8_t *bytes, size_t len, const struct sockaddr *from)
{
    (void)ctx;
    (void)from;
    p.answers++;
    pulse_out_answer(p.out, bytes, len);
}

static void write_json(void *ctx, bool brief, struct sk_buf *out)
{
    (void)ctx;
    if (brief) {
        sk_buf_adds(out, "{\"brief\":true}");
        return;
    }
    sk_buf_adds(out, "{\"v\":1}");
    while (out->len < p.json_size) {
        sk_buf_addc(out, ' ');
    }
}

static void send_bytes(void *ctx, const uint8_t *bytes, size_t len, const struct sockaddr *to)
{
    (void)ctx;
    net_probe_send(p.at_node, bytes, len, to);
}

static struct net_probe *new_probe(const char *node,
                                   void (*on_pulse)(void *, const uint8_t *, size_t,
                                                    const struct sockaddr *))
{
    struct net_probe_cfg cfg = {
        .node = node, .address = "127.0.0.1", .port_any = true, .on_pulse = on_pulse};
    struct net_probe *probe = NULL;

    assert_int_equal(net_probe_new(&p.w->loop, &cfg, &probe, NULL), 0);
    return probe;
}

static int set_up(void **state)
{
    struct pulse_out_config cfg = {20, write_json, send_bytes, NULL};

    (void)state;
    memset(&p, 0, sizeof(p));
    p.w = fx_new();
    p.at_control = new_probe("fra-1", on_control_pulse);
    p.at_node = new_probe("ams-1", on_node_pulse);
    p.in = pulse_in_new(net_probe_port(p.at_control));
    p.out = pulse_out_new(&p.w->loop, &cfg);
    p.w->scb.on_up = server_up;
    p.w->scb.on_down = server_down;
    p.w->ccb.on_frame = client_frame;
    p.w->ccb.on_down = client_down;
    fx_server(p.w);
    fx_client(p.w, &p.w->node, (struct net_channel_cfg){0});
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    pulse_out_free(p.out);
    net_probe_free(p.at_control);
    net_probe_free(p.at_node);
    fx_free(p.w);
    pulse_in_free(p.in);
    return 0;
}

static void beats_arrive_and_are_answered(void **state)
{
    (void)state;
    fx_until(p.w, &p.taken, 5);
    fx_until(p.w, &p.answers, 5);
    assert_string_equal(p.last, "{\"v\":1}");
    assert_int_equal(p.refused, 0);
    p.json_size = NET_PULSE_JSON_MAX;
    fx_for(p.w, 60);
    assert_int_equal(strlen(p.last), NET_PULSE_JSON_MAX);
    p.json_size++;
    fx_for(p.w, 60);
    assert_string_equal(p.last, "{\"brief\":true}");
}

static void a_recorded_one_is_nothing(void **state)
{
    unsigned taken;

    (void)state;
    fx_until(p.w, &p.taken, 3);
    p.json_size = 0;
    taken = p.taken;
    for (int i = 0; i < 5; i++) {
        on_control_pulse(NULL, p.recorded, p.recorded_len, NULL);
    }
    assert_int_equal(p.taken, taken);
    assert_int_equal(p.refused, 5);
}

static void a_session_ends_with_its_connection(void **state)
{
    uint8_t old[NET_PULSE_BYTES_MAX];
    size_t len;

    (void)state;
    fx_until(p.w, &p.taken, 3);
    p.deaf = true; /* the next one is recorded, and never arrives */
    p.recorded_len = 0;
    while (p.recorded_len == 0) {
        fx_for(p.w, 10);
    }
    len = p.recorded_len;
    memcpy(old, p.recorded, len);
    net_peer_close(p.w->s.peer, NULL);
    fx_until(p.w, &p.w->c.frames, 2); /* it is back, with a new session */
    p.deaf = false;
    fx_until(p.w, &p.taken, 6);
    p.refused = 0;
    on_control_pulse(NULL, old, len, NULL);
    assert_int_equal(p.refused, 1);
}

/* 20 ms apart by itself; so the extra ones are seen by their number only where the beats are rare.
 */
static void unanswered_ones_hurry_for_a_while(void **state)
{
    struct pulse_out_config rare = {400, write_json, send_bytes, NULL};
    unsigned seen;

    (void)state;
    pulse_out_free(p.out);
    p.out = pulse_out_new(&p.w->loop, &rare);
    net_peer_close(p.w->s.peer ? p.w->s.peer : (fx_until(p.w, &p.w->s.ups, 1), p.w->s.peer), NULL);
    fx_until(p.w, &p.answers, 1);
    p.deaf = true;
    p.recorded_len = 0;
    fx_for(p.w, 1050); /* one is missing */
    seen = 0;
    for (int i = 0; i < 50; i++) {
        p.recorded_len = 0;
        fx_for(p.w, 10);
        seen += p.recorded_len > 0;
    }
    assert_in_range(seen, 4, 30); /* each 100 ms */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(beats_arrive_and_are_answered, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_recorded_one_is_nothing, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_session_ends_with_its_connection, set_up, tear_down),
        cmocka_unit_test_setup_teardown(unanswered_ones_hurry_for_a_while, set_up, tear_down),
    };
    return cmocka_run_group_tests_name("daemon pulse", tests, NULL, NULL);
}
