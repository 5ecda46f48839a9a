/* SPDX-License-Identifier: Apache-2.0 */
#include "net/probe.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <utlist.h>

#include "base/hash.h"
#include "base/mem.h"
#include "net/address.h"
#include "net/bulk.h"
#include "net/identity.h"
#include "net/pulse.h"
#include "sys/clock.h"
#include "sys/table.h"

#define MAC_BYTES 16
#define RECEIVE_BYTES (4 * 1024 * 1024)
#define MAC_AT (NET_PROBE_BYTES - MAC_BYTES)
#define SAMPLES 16 /* echoes that RTT is taken from */
#define PENDING 16 /* probes whose echo is still waited for: 4 s at 250 ms */
#define WINDOW 64  /* counters behind the newest that are still taken, once */
#define OLD_NONCES 4
#define STANDSTILL_US 500000 /* no tick for so long: this process did not run */

struct target {
    char node[NET_NAME_SIZE];
    struct sockaddr_storage sa;
    uint8_t id[8];
    uint64_t sent_counter[PENDING]; /* 0 = free or answered */
    int64_t sent_us[PENDING];
    int64_t heard_us; /* 0 = never */
    int64_t rtt_us[SAMPLES];
    unsigned nrtts; /* ever taken */
};

/* Whose probes were echoed: the window against replay. */
struct sender {
    uint8_t id[8];
    uint8_t nonce[8];
    uint64_t top;    /* highest counter */
    uint64_t window; /* bit n: top - n was seen */
    uint8_t old[OLD_NONCES][8];
    unsigned nold;
    UT_hash_handle hh;
};

struct net_probe {
    uv_udp_t udp;
    struct net_bulk *bulk;
    uv_timer_t timer, hurry;
    unsigned handles;
    struct net_probe_cfg cfg; /* its callbacks */
    uint16_t port;
    uint8_t id[8], nonce[8];
    uint64_t counter;
    int64_t ticked_us;                    /* the last time that the timer ran; 0 = never */
    uint8_t keys[2][NET_PROBE_KEY_BYTES]; /* now, before */
    unsigned nkeys;
    struct target *targets;
    size_t ntargets;
    struct sender *senders; /* in the order of last use: the first is forgotten first */
    uint8_t bytes[NET_PULSE_BYTES_MAX + 1]; /* one more, to see that it was too long */
};

/* ---- the datagram ---- */

void net_probe_id(struct sk_str node, uint8_t ret[8])
{
    uint8_t hash[SK_SHA256_BYTES];

    sk_sha256(node, hash);
    memcpy(ret, hash, 8);
}

static void make_mac(const uint8_t *bytes, const uint8_t *key, uint8_t mac[MAC_BYTES])
{
    int rc = crypto_generichash(mac, MAC_BYTES, bytes, MAC_AT, key, NET_PROBE_KEY_BYTES);
    SK_ASSERT(rc == 0);
}

void net_probe_write(const struct net_probe_datagram *datagram,
                     const uint8_t key[NET_PROBE_KEY_BYTES], uint8_t ret[NET_PROBE_BYTES])
{
    memset(ret, 0, NET_PROBE_BYTES);
    memcpy(ret, "skp1", 4);
    ret[4] = (uint8_t)datagram->kind;
    memcpy(ret + 8, datagram->nonce, 8);
    for (int i = 0; i < 8; i++) {
        ret[16 + i] = (uint8_t)(datagram->counter >> (8 * (7 - i)));
    }
    memcpy(ret + 24, datagram->from, 8);
    memcpy(ret + 32, datagram->to, 8);
    memcpy(ret + 40, datagram->echo_nonce, 8);
    make_mac(ret, key, ret + MAC_AT);
}

bool net_probe_read(const uint8_t *bytes, size_t len, const uint8_t key[NET_PROBE_KEY_BYTES],
                    struct net_probe_datagram *ret)
{
    struct net_probe_datagram datagram = {0};
    uint8_t mac[MAC_BYTES];

    if (len != NET_PROBE_BYTES || memcmp(bytes, "skp1", 4) != 0 || bytes[5] || bytes[6] ||
        bytes[7] || (bytes[4] != NET_PROBE_ASK && bytes[4] != NET_PROBE_ECHO)) {
        return false;
    }
    make_mac(bytes, key, mac);
    if (sodium_memcmp(mac, bytes + MAC_AT, MAC_BYTES) != 0) {
        return false;
    }
    datagram.kind = (enum net_probe_kind)bytes[4];
    memcpy(datagram.nonce, bytes + 8, 8);
    for (int i = 0; i < 8; i++) {
        datagram.counter = datagram.counter << 8 | bytes[16 + i];
    }
    memcpy(datagram.from, bytes + 24, 8);
    memcpy(datagram.to, bytes + 32, 8);
    memcpy(datagram.echo_nonce, bytes + 40, 8);
    if (datagram.counter == 0) {
        return false;
    }
    *ret = datagram;
    return true;
}

/* ---- replay ---- */

static bool nonce_is_old(const struct sender *sender, const uint8_t nonce[8])
{
    unsigned n = sender->nold < OLD_NONCES ? sender->nold : OLD_NONCES;

    for (unsigned i = 0; i < n; i++) {
        if (memcmp(sender->old[i], nonce, 8) == 0) {
            return true;
        }
    }
    return false;
}

/* True once for each (nonce, counter). */
static bool is_fresh(struct sender *sender, const struct net_probe_datagram *datagram)
{
    uint64_t behind;

    if (memcmp(sender->nonce, datagram->nonce, 8) != 0) {
        if (nonce_is_old(sender, datagram->nonce)) {
            return false;
        }
        memcpy(sender->old[sender->nold++ % OLD_NONCES], sender->nonce, 8);
        memcpy(sender->nonce, datagram->nonce, 8);
        sender->top = datagram->counter;
        sender->window = 1;
        return true;
    }
    if (datagram->counter > sender->top) {
        uint64_t ahead = datagram->counter - sender->top;
        sender->window = ahead >= WINDOW ? 1 : sender->window << ahead | 1;
        sender->top = datagram->counter;
        return true;
    }
    behind = sender->top - datagram->counter;
    if (behind >= WINDOW || (sender->window >> behind & 1)) {
        return false;
    }
    sender->window |= 1ULL << behind;
    return true;
}

static struct sender *get_sender(struct net_probe *probe, const uint8_t id[8])
{
    struct sender *sender = NULL;

    HASH_FIND(hh, probe->senders, id, 8, sender);
    if (sender) {
        HASH_DEL(probe->senders, sender); /* and to the end of the order */
    } else {
        if (HASH_COUNT(probe->senders) >= NET_PROBE_SENDERS_MAX) {
            sender = probe->senders;
            HASH_DEL(probe->senders, sender);
            free(sender);
        }
        sender = sk_xcalloc(1, sizeof(*sender));
        memcpy(sender->id, id, 8);
    }
    HASH_ADD(hh, probe->senders, id, 8, sender);
    return sender;
}

/* ---- datagrams in ---- */

void net_probe_send(struct net_probe *probe, const uint8_t *bytes, size_t len,
                    const struct sockaddr *to)
{
    uv_buf_t buf = uv_buf_init((char *)(uintptr_t)bytes, (unsigned)len);

    /* One that cannot be sent is one that is not heard: the ages tell. */
    if (!net_bulk_answer(probe->bulk, bytes, len, to)) {
        (void)uv_udp_try_send(&probe->udp, &buf, 1, to);
    }
}

static void send_to(struct net_probe *probe, const struct net_probe_datagram *datagram,
                    const struct sockaddr *sa)
{
    uint8_t bytes[NET_PROBE_BYTES];

    net_probe_write(datagram, probe->keys[0], bytes);
    net_probe_send(probe, bytes, sizeof(bytes), sa);
}

static void take_ask(struct net_probe *probe, const struct net_probe_datagram *ask,
                     const struct sockaddr *from)
{
    struct net_probe_datagram echo = *ask;

    if (!is_fresh(get_sender(probe, ask->from), ask)) {
        return;
    }
    echo.kind = NET_PROBE_ECHO;
    memcpy(echo.from, probe->id, 8);
    memcpy(echo.to, ask->from, 8);
    memcpy(echo.echo_nonce, probe->nonce, 8);
    send_to(probe, &echo, from);
}

static bool is_missing(const struct target *target, int64_t now_us)
{
    return target->nrtts > 0 && net_pulse_hurry(now_us / 1000, target->heard_us / 1000);
}

static void take_echo(struct net_probe *probe, const struct net_probe_datagram *echo)
{
    int64_t now_us = sys_now_us();

    if (memcmp(echo->nonce, probe->nonce, 8) != 0) {
        return;
    }
    for (size_t i = 0; i < probe->ntargets; i++) {
        struct target *target = &probe->targets[i];
        size_t slot = echo->counter % PENDING;
        if (memcmp(target->id, echo->from, 8) == 0 && target->sent_counter[slot] == echo->counter) {
            target->sent_counter[slot] = 0;
            target->heard_us = now_us;
            target->rtt_us[target->nrtts++ % SAMPLES] = now_us - target->sent_us[slot];
        }
    }
}

static void on_alloc(uv_handle_t *handle, size_t size, uv_buf_t *ret)
{
    struct net_probe *probe = handle->data;
    (void)size;
    *ret = uv_buf_init((char *)probe->bytes, sizeof(probe->bytes));
}

static void take(void *ctx, const uint8_t *bytes, size_t len, const struct sockaddr *from)
{
    struct net_probe *probe = ctx;
    struct net_probe_datagram datagram;
    uint8_t id[NET_PULSE_ID_BYTES];
    bool good = false;

    if (net_pulse_look(bytes, len, id) != NET_PULSE_NONE) {
        if (probe->cfg.on_pulse) {
            probe->cfg.on_pulse(probe->cfg.ctx, bytes, len, from);
        }
        return;
    }
    for (unsigned i = 0; !good && i < probe->nkeys; i++) {
        good = net_probe_read(bytes, len, probe->keys[i], &datagram);
    }
    if (!good || memcmp(datagram.to, probe->id, 8) != 0) {
        return;
    }
    if (datagram.kind == NET_PROBE_ASK) {
        take_ask(probe, &datagram, from);
    } else {
        take_echo(probe, &datagram);
    }
}

/* The first of them comes by libuv, those behind it in bulk. */
static void on_datagram(uv_udp_t *udp, ssize_t n, const uv_buf_t *buf, const struct sockaddr *from,
                        unsigned flags)
{
    struct net_probe *probe = udp->data;
    uv_os_fd_t fd;

    (void)buf;
    if (n <= 0 || !from || (flags & UV_UDP_PARTIAL)) {
        return;
    }
    take(probe, probe->bytes, (size_t)n, from);
    if (uv_fileno((uv_handle_t *)udp, &fd) == 0) { /* else a callback closed it */
        net_bulk_receive(probe->bulk, fd, take, probe);
    }
}

/* ---- datagrams out ---- */

/* Time in which this process did not run, and could hear nobody, makes nobody silent. */
static void note_tick(struct net_probe *probe)
{
    int64_t now_us = sys_now_us();
    int64_t gap_us = probe->ticked_us ? now_us - probe->ticked_us : 0;

    for (size_t i = 0; i < probe->ntargets && gap_us > STANDSTILL_US; i++) {
        struct target *target = &probe->targets[i];
        target->heard_us += target->nrtts ? gap_us : 0;
        target->heard_us = target->heard_us > now_us ? now_us : target->heard_us;
    }
    probe->ticked_us = now_us;
}

/* Returns whether any echo is missing. */
static bool ask_all(struct net_probe *probe, bool only_missing)
{
    struct net_probe_datagram ask = {.kind = NET_PROBE_ASK};
    int64_t now_us = sys_now_us();
    bool any = false;

    memcpy(ask.nonce, probe->nonce, 8);
    memcpy(ask.from, probe->id, 8);
    ask.counter = ++probe->counter;
    for (size_t i = 0; i < probe->ntargets; i++) {
        struct target *target = &probe->targets[i];
        size_t slot = ask.counter % PENDING;
        bool missing = is_missing(target, now_us);
        any = any || missing;
        if (only_missing && !missing) {
            continue;
        }
        memcpy(ask.to, target->id, 8);
        target->sent_counter[slot] = ask.counter;
        target->sent_us[slot] = sys_now_us();
        send_to(probe, &ask, (const struct sockaddr *)&target->sa);
    }
    return any;
}

static void on_hurry(uv_timer_t *timer)
{
    struct net_probe *probe = timer->data;

    if (!ask_all(probe, true)) {
        (void)uv_timer_stop(timer);
    }
}

static void on_timer(uv_timer_t *timer)
{
    struct net_probe *probe = timer->data;

    note_tick(probe);
    if (probe->nkeys > 0 && ask_all(probe, false) && !uv_is_active((uv_handle_t *)&probe->hurry)) {
        (void)uv_timer_start(&probe->hurry, on_hurry, NET_PULSE_HURRY_MS, NET_PULSE_HURRY_MS);
    }
}

/* ---- targets ---- */

static int read_target(const struct net_probe_target *from, struct target *ret, struct sk_err *err)
{
    *ret = (struct target){0};
    if (!sk_str_is_label(sk_str(from->node))) {
        return sk_err_set(err, SK_ERR_INPUT, "probe target '%.80s' is not a node's name",
                          from->node);
    }
    (void)snprintf(ret->node, sizeof(ret->node), "%s", from->node);
    net_probe_id(sk_str(from->node), ret->id);
    return net_address_parse(sk_str(from->address), NET_PROBE_PORT, &ret->sa, err);
}

int net_probe_set_targets(struct net_probe *probe, const struct net_probe_target *targets,
                          size_t count, struct sk_err *err)
{
    struct target *next;

    if (count > NET_PROBE_TARGETS_MAX) {
        return sk_err_set(err, SK_ERR_LIMIT, "more than %d probe targets", NET_PROBE_TARGETS_MAX);
    }
    next = sk_xcalloc(count, sizeof(*next));
    for (size_t i = 0; i < count; i++) {
        int rc = read_target(&targets[i], &next[i], err);
        if (rc < 0) {
            free(next);
            return rc;
        }
        for (size_t k = 0; k < probe->ntargets; k++) {
            const struct target *old = &probe->targets[k];
            if (strcmp(old->node, next[i].node) == 0 &&
                memcmp(&old->sa, &next[i].sa, sizeof(old->sa)) == 0) {
                next[i] = *old;
            }
        }
    }
    free(probe->targets);
    probe->targets = next;
    probe->ntargets = count;
    return 0;
}

size_t net_probe_count(const struct net_probe *probe)
{
    return probe->ntargets;
}

static int by_value(const void *a, const void *b)
{
    int64_t x, y;

    memcpy(&x, a, sizeof(x));
    memcpy(&y, b, sizeof(y));
    return x < y ? -1 : x > y;
}

void net_probe_heard(const struct net_probe *probe, size_t index, struct net_heard *ret)
{
    const struct target *target;
    int64_t until_us = sys_now_us();
    int64_t sorted[SAMPLES];
    unsigned n;

    SK_ASSERT(index < probe->ntargets);
    target = &probe->targets[index];
    n = target->nrtts < SAMPLES ? target->nrtts : SAMPLES;
    *ret = (struct net_heard){.node = target->node, .age_ms = -1, .rtt_us = -1, .rtt_us_min = -1};
    if (n == 0) {
        return;
    }
    memcpy(sorted, target->rtt_us, n * sizeof(sorted[0]));
    qsort(sorted, n, sizeof(sorted[0]), by_value);
    if (until_us - probe->ticked_us > STANDSTILL_US) {
        until_us = probe->ticked_us + STANDSTILL_US; /* asked before the timer noticed */
    }
    ret->age_ms = until_us > target->heard_us ? (until_us - target->heard_us) / 1000 : 0;
    ret->rtt_us = sorted[(n - 1) / 2];
    ret->rtt_us_min = sorted[0];
}

/* ---- life ---- */

void net_probe_set_key(struct net_probe *probe, const uint8_t key[NET_PROBE_KEY_BYTES])
{
    if (probe->nkeys && sodium_memcmp(probe->keys[0], key, NET_PROBE_KEY_BYTES) == 0) {
        return;
    }
    memcpy(probe->keys[1], probe->keys[0], NET_PROBE_KEY_BYTES);
    memcpy(probe->keys[0], key, NET_PROBE_KEY_BYTES);
    probe->nkeys = probe->nkeys ? 2 : 1;
}

uint16_t net_probe_port(const struct net_probe *probe)
{
    return probe->port;
}

static void on_closed(uv_handle_t *handle)
{
    struct net_probe *probe = handle->data;
    struct sender *sender, *next;

    if (--probe->handles) {
        return;
    }
    HASH_ITER (hh, probe->senders, sender, next) {
        HASH_DEL(probe->senders, sender);
        free(sender);
    }
    free(probe->targets);
    net_bulk_free(probe->bulk);
    sodium_memzero(probe, sizeof(*probe));
    free(probe);
}

void net_probe_free(struct net_probe *probe)
{
    if (probe) {
        uv_close((uv_handle_t *)&probe->udp, on_closed);
        uv_close((uv_handle_t *)&probe->timer, on_closed);
        uv_close((uv_handle_t *)&probe->hurry, on_closed);
    }
}

static int bind_to(struct net_probe *probe, struct sockaddr_storage *sa, bool port_any,
                   struct sk_err *err)
{
    struct sockaddr_in *v4 = (struct sockaddr_in *)(void *)sa;
    struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)(void *)sa;
    bool is_v6 = sa->ss_family == AF_INET6;
    char text[NET_ADDRESS_SIZE];
    int len = sizeof(*sa);
    int rc;

    if (port_any) {
        *(is_v6 ? &v6->sin6_port : &v4->sin_port) = 0;
    }
    net_address_print((struct sockaddr *)sa, text);
    rc = uv_udp_bind(&probe->udp, (struct sockaddr *)sa, 0);
    if (rc == 0) {
        rc = uv_udp_getsockname(&probe->udp, (struct sockaddr *)sa, &len);
    }
    if (rc == 0) {
        int size = RECEIVE_BYTES;
        (void)uv_recv_buffer_size((uv_handle_t *)&probe->udp, &size); /* as much as is allowed */
        rc = uv_udp_recv_start(&probe->udp, on_alloc, on_datagram);
    }
    if (rc < 0) {
        (void)sk_err_set(err, SK_ERR_IO, "listen on %s (UDP): %s", text, uv_strerror(rc));
        if (err) {
            err->errnum = -rc;
        }
        return SK_ERR_IO;
    }
    probe->port = ntohs(is_v6 ? v6->sin6_port : v4->sin_port);
    return 0;
}

int net_probe_new(uv_loop_t *loop, const struct net_probe_cfg *cfg, struct net_probe **ret,
                  struct sk_err *err)
{
    uint64_t interval_ms = (uint64_t)(cfg->interval_ms ? cfg->interval_ms : 250);
    struct sockaddr_storage sa;
    struct net_probe *probe;
    int rc = net_address_parse(sk_str(cfg->address), NET_PROBE_PORT, &sa, err);

    if (rc < 0) {
        return rc;
    }
    probe = sk_xcalloc(1, sizeof(*probe));
    probe->bulk = net_bulk_new();
    net_probe_id(sk_str(cfg->node), probe->id);
    sys_random(probe->nonce, sizeof(probe->nonce));
    rc = uv_udp_init(loop, &probe->udp);
    SK_ASSERT(rc == 0);
    rc = uv_timer_init(loop, &probe->timer);
    SK_ASSERT(rc == 0);
    rc = uv_timer_init(loop, &probe->hurry);
    SK_ASSERT(rc == 0);
    probe->cfg = *cfg;
    probe->cfg.node = probe->cfg.address = NULL; /* the caller's */
    probe->udp.data = probe->timer.data = probe->hurry.data = probe;
    probe->handles = 3;
    rc = bind_to(probe, &sa, cfg->port_any, err);
    if (rc < 0) {
        net_probe_free(probe);
        return rc;
    }
    rc = uv_timer_start(&probe->timer, on_timer, 0, interval_ms);
    SK_ASSERT(rc == 0);
    *ret = probe;
    return 0;
}
