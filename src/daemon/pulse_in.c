/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/pulse_in.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "sys/table.h"

struct session {
    struct net_pulse pulse;
    struct net_peer *peer;
    UT_hash_handle hh;
};

struct pulse_in {
    uint16_t port;
    struct session *sessions;
};

struct pulse_in *pulse_in_new(uint16_t port)
{
    struct pulse_in *in = sk_xcalloc(1, sizeof(*in));

    in->port = port;
    return in;
}

static void drop(struct pulse_in *in, struct session *session)
{
    HASH_DEL(in->sessions, session);
    net_pulse_wipe(&session->pulse);
    free(session);
}

void pulse_in_up(struct pulse_in *in, struct net_peer *peer)
{
    struct session *session = sk_xcalloc(1, sizeof(*session));
    struct sk_buf frame = SK_BUF_INIT;

    pulse_in_down(in, peer);
    net_pulse_new(&session->pulse);
    session->peer = peer;
    HASH_ADD(hh, in->sessions, pulse.id, NET_PULSE_ID_BYTES, session);
    net_peer_set_data(peer, session);
    net_pulse_write(&session->pulse, in->port, &frame);
    /* one that cannot be sent leaves the node to its channel */
    (void)net_send(peer, sk_buf_str(&frame), NULL);
    explicit_bzero(frame.ptr, frame.len);
    sk_buf_release(&frame);
}

void pulse_in_down(struct pulse_in *in, struct net_peer *peer)
{
    struct session *session = net_peer_data(peer);

    if (session) {
        net_peer_set_data(peer, NULL);
        drop(in, session);
    }
}

struct net_peer *pulse_in_take(struct pulse_in *in, const uint8_t *bytes, size_t len,
                               struct sk_buf *ret_json, uint8_t ret_answer[NET_PULSE_ANSWER_BYTES])
{
    uint8_t id[NET_PULSE_ID_BYTES];
    struct session *session = NULL;

    if (net_pulse_look(bytes, len, id) != NET_PULSE_BEAT) {
        return NULL;
    }
    HASH_FIND(hh, in->sessions, id, sizeof(id), session);
    if (!session || !net_pulse_open(&session->pulse, bytes, len, ret_json)) {
        return NULL;
    }
    net_pulse_answer(&session->pulse, ret_answer);
    return session->peer;
}

void pulse_in_free(struct pulse_in *in)
{
    struct session *session, *next;

    if (!in) {
        return;
    }
    HASH_ITER (hh, in->sessions, session, next) {
        drop(in, session);
    }
    free(in);
}
