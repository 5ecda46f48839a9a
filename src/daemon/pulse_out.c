/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/pulse_out.h"

#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "net/pulse.h"
#include "sys/clock.h"

#define SESSIONS_MAX 16 /* as many as a client has connections */

struct session {
    const struct net_peer *peer;
    struct net_pulse pulse;
    struct sockaddr_storage to;
    int64_t answered_ms; /* -1: never */
    int64_t steady_ms;   /* since when no answer was missing */
};

struct pulse_out {
    struct pulse_out_config config;
    uv_timer_t timer, hurry;
    unsigned handles;
    struct session sessions[SESSIONS_MAX];
    size_t count;
    bool is_brief; /* the last beat was too long to go whole */
};

static void send_to(struct pulse_out *out, struct session *session, struct sk_str json)
{
    uint8_t bytes[NET_PULSE_BYTES_MAX];
    size_t len = net_pulse_seal(&session->pulse, json, bytes);

    if (len > 0) {
        out->config.send(out->config.ctx, bytes, len, (const struct sockaddr *)&session->to);
    }
}

static bool is_missing(const struct session *session)
{
    return net_pulse_hurry(sys_now_ms(), session->answered_ms);
}

/* Returns whether any answer is missing. */
static bool send_all(struct pulse_out *out, bool only_missing)
{
    struct sk_buf json = SK_BUF_INIT;
    bool any = false;

    for (size_t i = 0; i < out->count; i++) {
        bool missing = is_missing(&out->sessions[i]);
        any = any || missing;
        if (only_missing && !missing) {
            continue;
        }
        if (json.len == 0) {
            out->config.write(out->config.ctx, false, &json);
            out->is_brief = json.len > NET_PULSE_JSON_MAX;
        }
        if (json.len > NET_PULSE_JSON_MAX) {
            sk_buf_clear(&json);
            out->config.write(out->config.ctx, true, &json);
        }
        send_to(out, &out->sessions[i], sk_buf_str(&json));
    }
    sk_buf_release(&json);
    return any;
}

static void on_hurry(uv_timer_t *timer)
{
    if (!send_all(timer->data, true)) {
        (void)uv_timer_stop(timer);
    }
}

static void on_timer(uv_timer_t *timer)
{
    struct pulse_out *out = timer->data;

    if (send_all(out, false) && !uv_is_active((uv_handle_t *)&out->hurry)) {
        (void)uv_timer_start(&out->hurry, on_hurry, NET_PULSE_HURRY_MS, NET_PULSE_HURRY_MS);
    }
}

struct pulse_out *pulse_out_new(uv_loop_t *loop, const struct pulse_out_config *config)
{
    struct pulse_out *out = sk_xcalloc(1, sizeof(*out));
    uint64_t beat_ms = (uint64_t)config->beat_ms;
    int rc = uv_timer_init(loop, &out->timer);

    SK_ASSERT(rc == 0);
    rc = uv_timer_init(loop, &out->hurry);
    SK_ASSERT(rc == 0);
    out->config = *config;
    out->timer.data = out->hurry.data = out;
    out->handles = 2;
    rc = uv_timer_start(&out->timer, on_timer, beat_ms + beat_ms / 2, beat_ms);
    SK_ASSERT(rc == 0);
    return out;
}

void pulse_out_take(struct pulse_out *out, struct net_peer *peer, const struct net_frame *frame)
{
    struct session session = {.peer = peer, .answered_ms = -1};
    struct sk_err err = {0};
    uint16_t port;

    pulse_out_down(out, peer);
    if (out->count == SESSIONS_MAX) {
        return;
    }
    if (net_pulse_parse(frame->tree, &session.pulse, &port, &err) < 0 ||
        net_peer_address(peer, port, &session.to, &err) < 0) {
        sk_log_err(SK_LOG_WARN, "no beats by datagram", &err);
        return;
    }
    out->sessions[out->count++] = session;
    net_pulse_wipe(&session.pulse);
}

void pulse_out_down(struct pulse_out *out, const struct net_peer *peer)
{
    for (size_t i = 0; i < out->count; i++) {
        if (out->sessions[i].peer == peer) {
            out->sessions[i] = out->sessions[--out->count];
            net_pulse_wipe(&out->sessions[out->count].pulse);
            return;
        }
    }
}

void pulse_out_answer(struct pulse_out *out, const uint8_t *bytes, size_t len)
{
    for (size_t i = 0; i < out->count; i++) {
        struct session *session = &out->sessions[i];
        if (net_pulse_answered(&session->pulse, bytes, len)) {
            if (session->answered_ms < 0) {
                sk_log(SK_LOG_INFO, "beats by datagram pass", "address=%s",
                       net_peer_info(session->peer)->address);
            }
            int64_t now_ms = sys_now_ms();
            session->steady_ms = net_pulse_steady(now_ms, session->answered_ms, session->steady_ms);
            session->answered_ms = now_ms;
            return;
        }
    }
}

bool pulse_out_is_calm(const struct pulse_out *out, const struct net_peer *peer)
{
    for (size_t i = 0; i < out->count && !out->is_brief; i++) {
        const struct session *session = &out->sessions[i];
        if (session->peer == peer) {
            return net_pulse_calm(sys_now_ms(), session->answered_ms, session->steady_ms);
        }
    }
    return false;
}

static void on_closed(uv_handle_t *handle)
{
    struct pulse_out *out = handle->data;

    if (--out->handles == 0) {
        explicit_bzero(out, sizeof(*out));
        free(out);
    }
}

void pulse_out_free(struct pulse_out *out)
{
    if (out) {
        out->count = 0;
        uv_close((uv_handle_t *)&out->timer, on_closed);
        uv_close((uv_handle_t *)&out->hurry, on_closed);
    }
}
