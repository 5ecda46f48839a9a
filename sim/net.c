/* SPDX-License-Identifier: Apache-2.0 */
#include "sim/sim.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "net/pulse.h"
#include "sim/plant.h"

/*
 * The network. Two ways to talk, as in the binary:
 *
 * - datagrams (witness probes): may be lost, doubled, overtaken;
 * - channels: a connection keeps what is sent in order; what the network loses is sent again after
 *   a time that doubles, and holds up what comes after it. A side that heard nothing for 10 s gives
 *   the connection up; the node then connects anew, and what was under way is gone.
 *
 * A cut has a direction. Nothing tells a side that the other is gone but silence, a reset from a
 * machine that still runs, or a new connection.
 */
#define RTO_MIN_US (200 * SIM_MS)
#define RTO_MAX_US (6 * SIM_S)
#define IDLE_US (10 * SIM_S)
#define PING_US (3300 * SIM_MS)
#define BACKOFF_MIN_US (100 * SIM_MS)
#define BACKOFF_MAX_US (2 * SIM_S)
#define NONCE_SHIFT 44 /* below it the time of sending */

bool sim_path(const struct sim *s, size_t from, size_t to)
{
    return s->nodes[to].machine_up && (from == to || s->cut[from][to] == 0);
}

int64_t sim_delay_us(struct sim *s, size_t from, size_t to)
{
    int64_t base;

    if (from == to) {
        return 60;
    }
    base = s->rtt_us[s->nodes[from].site][s->nodes[to].site] / 2;
    if (s->nodes[from].site == s->nodes[to].site) {
        return base + (int64_t)sim_below(s, 200);
    }
    return base + (int64_t)sim_below(s, (uint64_t)s->jitter_us + 1);
}

bool sim_lost(struct sim *s, size_t from, size_t to)
{
    return s->loss > 0 && s->nodes[from].site != s->nodes[to].site && sim_chance(s, s->loss);
}

/* ---- datagrams ---- */

static void datagram(struct sim *s, enum sim_kind kind, size_t from, size_t to, size_t b, int64_t x)
{
    if (!sim_path(s, from, to) || sim_lost(s, from, to)) {
        return;
    }
    sim_post(s, sim_delay_us(s, from, to), kind, SIM_DAEMON, to, b, x, NULL);
    if (s->dup > 0 && sim_chance(s, s->dup)) {
        sim_post(s, sim_delay_us(s, from, to), kind, SIM_DAEMON, to, b, x, NULL);
    }
}

void sim_probe(struct sim *s, struct sim_node *n, const struct sim_target *target)
{
    size_t from = sim_index(s, n);
    int64_t nonce = (int64_t)n->daemon_gen
                    << NONCE_SHIFT; /* an echo to the one before is ignored */

    datagram(s, SIM_EV_ASK, from, target->node, from, nonce | sim_local_us(s, n));
}

void sim_send_datagram(struct sim *s, struct sim_message *m)
{
    size_t host = s->controls[m->control].node;

    if (!s->nodes[m->node].chans[m->control].node_open || !sim_path(s, m->node, host) ||
        sim_lost(s, m->node, host)) {
        sim_message_free(m);
        return;
    }
    m->conn = s->nodes[m->node].chans[m->control].conn;
    if (s->encode) {
        sim_wire_encode(s, m);
    }
    if (s->dup > 0 && sim_chance(s, s->dup)) {
        sim_post(s, sim_delay_us(s, m->node, host), SIM_EV_DATAGRAM, SIM_DAEMON, host, m->node, 0,
                 sim_message_copy(m));
    }
    sim_post(s, sim_delay_us(s, m->node, host), SIM_EV_DATAGRAM, SIM_DAEMON, host, m->node, 0, m);
}

void sim_on_datagram(struct sim *s, struct sim_event *e)
{
    struct sim_message *m = e->load;
    struct sim_chan *ch = &s->nodes[m->node].chans[m->control];

    plant_replay(s, e);
    if (m->conn != ch->conn || !ch->control_open || m->seq <= ch->pulse_seq) {
        return;
    }
    ch->pulse_seq = m->seq;
    datagram(s, SIM_EV_ANSWER, e->a, m->node, m->control, (int64_t)m->conn);
    sim_control_take(s, m);
}

void sim_on_answer(struct sim *s, struct sim_event *e)
{
    struct sim_node *n = &s->nodes[e->a];
    struct sim_chan *ch = &n->chans[e->b];

    if (ch->node_open && (int64_t)ch->conn == e->x) {
        int64_t now = sim_local_us(s, n);
        ch->steady_us =
            net_pulse_steady(now / 1000, ch->answered_us < 0 ? -1 : ch->answered_us / 1000,
                             ch->steady_us / 1000) *
            1000;
        ch->answered_us = now;
    }
}

void sim_on_ask(struct sim *s, struct sim_event *e)
{
    datagram(s, SIM_EV_ECHO, e->a, e->b, e->a, e->x);
}

void sim_on_echo(struct sim *s, struct sim_event *e)
{
    struct sim_node *n = &s->nodes[e->a];
    int64_t sent_us = e->x & ((INT64_C(1) << NONCE_SHIFT) - 1);

    for (size_t i = 0; e->x >> NONCE_SHIFT == n->daemon_gen && i < n->ntargets; i++) {
        if (n->targets[i].node == e->b) {
            struct sim_target *t = &n->targets[i];
            t->rtt_us = sim_local_us(s, n) - sent_us;
            t->echo_us = sim_local_us(s, n);
        }
    }
}

/* ---- messages ---- */

struct sim_message *sim_message_new(enum sim_message_kind kind, size_t node, size_t control,
                                    bool up)
{
    struct sim_message *m = sk_xcalloc(1, sizeof(*m));
    m->kind = kind;
    m->node = (uint8_t)node;
    m->control = (uint8_t)control;
    m->up = up;
    return m;
}

struct sim_message *sim_message_copy(const struct sim_message *m)
{
    struct sim_message *copy = sk_xcalloc(1, sizeof(*copy));

    *copy = *m;
    copy->next = NULL;
    copy->bytes = (struct sk_buf)SK_BUF_INIT;
    sk_buf_addstr(&copy->bytes, sk_buf_str(&m->bytes));
    copy->heard = sk_xcalloc(m->nheard + 1, sizeof(*m->heard));
    memcpy(copy->heard, m->heard, m->nheard * sizeof(*m->heard));
    copy->rows = NULL;
    copy->nrows = 0;
    return copy;
}

void sim_message_free(struct sim_message *m)
{
    if (m) {
        sk_buf_release(&m->bytes);
        free(m->heard);
        free(m->rows);
        free(m);
    }
}

static void pipe_clear(struct sim_pipe *p)
{
    while (p->head) {
        struct sim_message *m = p->head;
        p->head = m->next;
        sim_message_free(m);
    }
    p->tail = &p->head;
    p->rto_us = 0;
    p->waiting = false;
}

static void pipe_begin(struct sim_pipe *p)
{
    pipe_clear(p);
    p->sent = p->got = 0;
    p->last_us = 0;
}

static void flush(struct sim *s, size_t node, size_t control, bool up)
{
    struct sim_chan *ch = &s->nodes[node].chans[control];
    struct sim_pipe *p = up ? &ch->up : &ch->down;
    size_t host = s->controls[control].node;
    size_t from = up ? node : host, to = up ? host : node;

    while (p->head) {
        struct sim_message *m = p->head;
        int64_t at = s->now_us + sim_delay_us(s, from, to);
        if (!sim_path(s, from, to) || sim_lost(s, from, to)) {
            p->rto_us = p->rto_us ? p->rto_us * 2 : RTO_MIN_US;
            p->rto_us = p->rto_us > RTO_MAX_US ? RTO_MAX_US : p->rto_us;
            p->waiting = true;
            sim_post(s, p->rto_us, SIM_EV_RETRY, SIM_MACHINE, from, node,
                     (int64_t)control * 2 + up + (int64_t)ch->conn * 64, NULL);
            return;
        }
        p->rto_us = 0;
        at = at > p->last_us ? at : p->last_us + 1;
        p->last_us = at;
        p->head = m->next;
        if (!p->head) {
            p->tail = &p->head;
        }
        m->next = NULL;
        m->number = p->sent++;
        sim_post(s, at - s->now_us, SIM_EV_ARRIVE, SIM_DAEMON, to, from, 0, m);
    }
}

void sim_on_retry(struct sim *s, struct sim_event *e)
{
    size_t control = (size_t)(e->x % 64) / 2;
    bool up = e->x % 2;
    struct sim_chan *ch = &s->nodes[e->b].chans[control];

    if ((int64_t)ch->conn == e->x / 64) {
        (up ? &ch->up : &ch->down)->waiting = false;
        flush(s, e->b, control, up);
    }
}

void sim_send(struct sim *s, struct sim_message *m)
{
    struct sim_chan *ch = &s->nodes[m->node].chans[m->control];
    struct sim_pipe *p = m->up ? &ch->up : &ch->down;

    if (m->up ? !ch->node_open : !ch->control_open) {
        sim_message_free(m);
        return;
    }
    m->conn = ch->conn;
    if (!m->up) {
        ch->control_tx_us = s->now_us;
    }
    if (s->encode) {
        sim_wire_encode(s, m);
    }
    *p->tail = m;
    p->tail = &m->next;
    if (!p->waiting) {
        flush(s, m->node, m->control, m->up);
    }
}

static void reset(struct sim *s, size_t node, size_t control, bool up)
{
    size_t host = s->controls[control].node;
    size_t from = up ? node : host, to = up ? host : node;
    struct sim_message *m;

    if (!sim_path(s, from, to)) {
        return;
    }
    m = sim_message_new(SIM_CLOSE, node, control, up);
    m->conn = s->nodes[node].chans[control].conn;
    sim_post(s, sim_delay_us(s, from, to), SIM_EV_ARRIVE, SIM_DAEMON, to, from, 0, m);
}

static int64_t backoff(struct sim *s, struct sim_chan *ch)
{
    int64_t wait = ch->backoff_us ? ch->backoff_us * 2 : BACKOFF_MIN_US;

    ch->backoff_us = wait > BACKOFF_MAX_US ? BACKOFF_MAX_US : wait;
    return ch->backoff_us - (int64_t)sim_below(s, (uint64_t)ch->backoff_us / 2);
}

/* After a loss: at once, unless the connection was turned away as soon as it was made. */
static void again(struct sim *s, struct sim_node *n, size_t control)
{
    struct sim_chan *ch = &n->chans[control];

    if (s->now_us - ch->since_us > SIM_S) {
        ch->backoff_us = 0;
        sim_connect_soon(s, n, control, 0);
    } else {
        sim_connect_soon(s, n, control, backoff(s, ch));
    }
}

void sim_on_arrive(struct sim *s, struct sim_event *e)
{
    struct sim_message *m = e->load;
    struct sim_chan *ch = &s->nodes[m->node].chans[m->control];

    e->load = NULL;
    if (m->conn != ch->conn || !(m->up ? ch->control_open : ch->node_open)) {
        if (m->conn == ch->conn && m->kind != SIM_CLOSE) {
            reset(s, m->node, m->control, !m->up); /* nobody is here any more */
        }
        sim_message_free(m);
        return;
    }
    if (m->kind != SIM_CLOSE && m->number != (m->up ? ch->up.got : ch->down.got)) {
        /* it overtook one that waits for a paused process: perhaps for seconds */
        sim_post(s, SIM_MS, SIM_EV_ARRIVE, SIM_DAEMON, e->a, e->b, 0, m);
        return;
    }
    (m->up ? &ch->up : &ch->down)->got += m->kind != SIM_CLOSE;
    *(m->up ? &ch->control_rx_us : &ch->node_rx_us) = s->now_us;
    if (m->kind == SIM_CLOSE && m->up) {
        sim_close_control(s, m->control, m->node);
    } else if (m->kind == SIM_CLOSE) {
        ch->node_open = false;
        again(s, &s->nodes[m->node], m->control);
    } else if (m->up) {
        sim_control_take(s, m);
    } else {
        sim_member_take(s, m);
    }
    sim_message_free(m);
}

/* ---- connections ---- */

void sim_connect_soon(struct sim *s, struct sim_node *n, size_t control, int64_t delay_us)
{
    if (!n->chans[control].connecting) {
        n->chans[control].connecting = true;
        sim_post(s, delay_us, SIM_EV_CONNECT, SIM_DAEMON, sim_index(s, n), control, 0, NULL);
    }
}

void sim_on_connect(struct sim *s, struct sim_event *e)
{
    struct sim_node *n = &s->nodes[e->a];
    struct sim_chan *ch = &n->chans[e->b];
    size_t host = s->controls[e->b].node;
    const struct sim_node *h = &s->nodes[host];
    bool reached = sim_path(s, e->a, host) && sim_path(s, host, e->a) && !sim_lost(s, e->a, host);

    ch->connecting = false;
    if (ch->node_open) {
        return;
    }
    if (!reached || !h->daemon_up || h->daemon_pause_us >= s->now_us || !s->controls[e->b].c) {
        sim_connect_soon(s, n, e->b, backoff(s, ch));
        return;
    }
    pipe_begin(&ch->up);
    pipe_begin(&ch->down);
    ch->conn++;
    ch->answered_us = -1;
    ch->pulse_seq = 0;
    ch->pulse = false;
    ch->since_us = s->now_us;
    ch->node_open = ch->control_open = true;
    ch->node_rx_us = ch->control_rx_us = ch->control_tx_us = s->now_us;
    /* TCP and TLS: two round trips before the first frame */
    ch->up.last_us = ch->down.last_us = s->now_us + 4 * sim_delay_us(s, e->a, host);
    sim_say(s, "%s is connected to control on %s", n->name, h->name);
    sim_send(s, sim_message_new(SIM_HELLO, e->a, e->b, true));
    sim_member_up(s, n, e->b);
}

void sim_close_node(struct sim *s, struct sim_node *n, size_t control)
{
    struct sim_chan *ch = &n->chans[control];

    if (ch->node_open) {
        ch->node_open = false;
        reset(s, sim_index(s, n), control, true);
        again(s, n, control);
    }
}

void sim_close_control(struct sim *s, size_t control, size_t node)
{
    struct sim_chan *ch = &s->nodes[node].chans[control];

    if (ch->control_open) {
        ch->control_open = false;
        reset(s, node, control, false);
        /* control is told in a step of its own */
        sim_post(s, 0, SIM_EV_HOUSE, SIM_DAEMON, s->controls[control].node, control, 1, NULL);
    }
}

void sim_chans_daemon_died(struct sim *s, size_t node, bool quiet)
{
    for (size_t c = 0; c < s->ncontrols; c++) {
        struct sim_chan *ch = &s->nodes[node].chans[c];
        ch->connecting = false;
        if (ch->node_open && !quiet) {
            reset(s, node, c, true);
        }
        ch->node_open = false;
        pipe_clear(&ch->up);
        for (size_t n = 0; s->controls[c].node == node && n < s->nnodes; n++) {
            struct sim_chan *other = &s->nodes[n].chans[c];
            if (other->control_open && !quiet) {
                reset(s, n, c, false);
            }
            other->control_open = other->greeted = false;
            pipe_clear(&other->down);
        }
    }
}

/* Each second, and when one ended: who said nothing for too long, whom to ping, whom to mourn. */
void sim_chans_house(struct sim *s, size_t control)
{
    for (size_t n = 0; n < s->nnodes; n++) {
        struct sim_chan *ch = &s->nodes[n].chans[control];
        if (ch->control_open && s->now_us - ch->control_rx_us > IDLE_US) {
            ch->control_open = false;
            reset(s, n, control, false);
        }
        if (!ch->control_open && ch->greeted) {
            struct control_event ev = {.kind = CONTROL_EV_BYE};
            ch->greeted = false;
            ev.u.bye.node = sk_str(s->nodes[n].name);
            sim_control_step(s, control, &ev);
        } else if (ch->control_open && s->now_us - ch->control_tx_us > PING_US) {
            sim_send(s, sim_message_new(SIM_PING, n, control, false));
        }
    }
}
