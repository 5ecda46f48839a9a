/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>
#include <utlist.h>

#include "base/mem.h"
#include "base/version.h"
#include "net/conn.h"
#include "sys/clock.h"

#define NOTES_PER_SECOND 20

/* ---- the BIO: TLS reads from the last network read, and writes into the queue ---- */

static int bio_read(BIO *bio, char *ret, int size)
{
    struct net_peer *peer = BIO_get_data(bio);
    size_t n = size < 0 ? 0 : (size_t)size;

    BIO_clear_retry_flags(bio);
    if (peer->in_len == 0) {
        BIO_set_retry_read(bio);
        return -1;
    }
    if (n > peer->in_len) {
        n = peer->in_len;
    }
    memcpy(ret, peer->in, n);
    peer->in += n;
    peer->in_len -= n;
    return (int)n;
}

static int bio_write(BIO *bio, const char *bytes, int len)
{
    struct net_peer *peer = BIO_get_data(bio);

    BIO_clear_retry_flags(bio);
    if (len > 0) {
        sk_buf_add(&peer->out, bytes, (size_t)len);
    }
    return len;
}

static long bio_ctrl(BIO *bio, int cmd, long num, void *ptr)
{
    (void)bio;
    (void)num;
    (void)ptr;
    return cmd == BIO_CTRL_FLUSH ? 1 : 0;
}

static BIO_METHOD *make_bio_method(void)
{
    BIO_METHOD *method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "skerry channel");

    if (method &&
        (BIO_meth_set_read(method, bio_read) != 1 || BIO_meth_set_write(method, bio_write) != 1 ||
         BIO_meth_set_ctrl(method, bio_ctrl) != 1)) {
        BIO_meth_free(method);
        method = NULL;
    }
    return method;
}

/* ---- time ---- */

static void send_ping(struct net_peer *peer)
{
    /* A full queue means that bytes are on their way already: no ping is needed. */
    (void)net_send(peer, SK_STR("{\"v\":1,\"type\":\"ping\"}"), NULL);
}

static void sweep_peer(struct net_peer *peer, int64_t now_ms)
{
    const struct net_channel_cfg *cfg = &peer->ep->cfg;
    struct sk_err err = {0};

    if (peer->state == NET_CLOSED) {
        return;
    }
    if (peer->ep->peer_swept) {
        peer->ep->peer_swept(peer, now_ms);
    }
    if (peer->deadline_ms && now_ms >= peer->deadline_ms) {
        if (peer->state == NET_LINGER) {
            net_conn_end(peer, NULL);
        } else if (peer->state == NET_ANSWER) {
            (void)sk_err_set(&err, SK_ERR_TIMEOUT, "the join was not answered in time");
            net_conn_linger(peer, &err);
        } else {
            bool shaking = peer->state == NET_HANDSHAKE;
            (void)sk_err_set(&err, SK_ERR_TIMEOUT, "no complete %s within %lld ms",
                             shaking                   ? "TLS handshake"
                             : peer->state == NET_JOIN ? "join"
                                                       : "hello",
                             (long long)cfg->handshake_ms);
            if (shaking) {
                net_conn_end(peer, &err); /* there is nobody to tell */
            } else {
                net_conn_linger(peer, &err);
            }
        }
        return;
    }
    if (peer->state != NET_UP) {
        return;
    }
    if (now_ms - peer->heard_ms >= cfg->idle_ms) {
        (void)sk_err_set(&err, SK_ERR_TIMEOUT, "nothing heard from '%s' for %lld ms",
                         peer->info.cert.node, (long long)(now_ms - peer->heard_ms));
        net_conn_end(peer, &err);
    } else if (net_tls_check_info(&peer->info.cert, &peer->judge.want, &err) < 0) {
        net_conn_linger(peer, &err); /* expired while it was connected */
    } else if (now_ms - peer->said_ms >= cfg->idle_ms / 3) {
        send_ping(peer);
    }
}

static void on_sweep(uv_timer_t *timer)
{
    struct net_endpoint *ep = timer->data;
    struct net_peer *peer, *next;
    int64_t now_ms = sys_now_ms();

    DL_FOREACH_SAFE(ep->peers, peer, next)
    {
        sweep_peer(peer, now_ms);
    }
}

void net_endpoint_note(struct net_endpoint *ep, const char *address, const struct sk_err *why)
{
    int64_t second = sys_now_ms() / 1000;

    if (ep->freed || !ep->cb.on_refused) {
        return;
    }
    if (second != ep->notes_second) {
        ep->notes_second = second;
        ep->notes = 0;
    }
    if (ep->notes++ < NOTES_PER_SECOND) {
        ep->cb.on_refused(ep->cb.ctx, address, why);
    }
}

/* ---- life ---- */

static void set_defaults(struct net_channel_cfg *cfg)
{
    cfg->protocol_max = cfg->protocol_max   ? cfg->protocol_max
                        : cfg->protocol_min ? cfg->protocol_min
                                            : sk_protocol_max();
    cfg->protocol_min = cfg->protocol_min ? cfg->protocol_min : sk_protocol_min();
    cfg->idle_ms = cfg->idle_ms ? cfg->idle_ms : 10000;
    cfg->handshake_ms = cfg->handshake_ms ? cfg->handshake_ms : 5000;
    cfg->join_answer_ms = cfg->join_answer_ms ? cfg->join_answer_ms : 15000;
    cfg->queue_bytes_max = cfg->queue_bytes_max ? cfg->queue_bytes_max : 2 * NET_FRAME_BYTES_MAX;
    cfg->peers_max = cfg->peers_max ? cfg->peers_max : 16384;
    cfg->source_max = cfg->source_max ? cfg->source_max : 2048;
    cfg->strangers_max = cfg->strangers_max ? cfg->strangers_max : 64;
    cfg->handshakes_max = cfg->handshakes_max ? cfg->handshakes_max : 128;
    cfg->join_fails_max = cfg->join_fails_max ? cfg->join_fails_max : 5;
}

static void set_hello(struct net_endpoint *ep, const struct net_channel_cfg *cfg)
{
    struct net_hello *hello = &ep->hello;

    (void)snprintf(hello->cluster, sizeof(hello->cluster), "%s", cfg->identity->info.cluster);
    (void)snprintf(hello->node, sizeof(hello->node), "%s", cfg->identity->info.node);
    (void)snprintf(hello->incarnation, sizeof(hello->incarnation), "%s",
                   cfg->incarnation ? cfg->incarnation : "");
    (void)snprintf(hello->boot, sizeof(hello->boot), "%s", cfg->boot ? cfg->boot : "");
    (void)snprintf(hello->version, sizeof(hello->version), "%s", cfg->version ? cfg->version : "");
    hello->protocol_min = ep->cfg.protocol_min;
    hello->protocol_max = ep->cfg.protocol_max;
}

int net_endpoint_init(struct net_endpoint *ep, uv_loop_t *loop, const struct net_channel_cfg *cfg,
                      const struct net_callbacks *callbacks, bool is_server, struct sk_err *err)
{
    int64_t period_ms;
    int rc;

    ep->loop = loop;
    ep->is_server = is_server;
    ep->cfg = *cfg;
    ep->cb = *callbacks;
    set_defaults(&ep->cfg);
    set_hello(ep, cfg);
    rc = net_tls_context(cfg->identity, is_server, &ep->tls, err);
    if (rc < 0) {
        return rc;
    }
    ep->bio = make_bio_method();
    if (!ep->bio) {
        SSL_CTX_free(ep->tls);
        ep->tls = NULL;
        return net_ossl_err(err, SK_ERR_INTERNAL, "set up TLS");
    }
    ep->source = cfg->source ? sk_xstrdup(cfg->source) : NULL;
    /* Only what was copied stays: nobody may look at the caller's pointers later. */
    ep->cfg.identity = NULL;
    ep->cfg.incarnation = ep->cfg.boot = ep->cfg.version = ep->cfg.source = NULL;
    period_ms = ep->cfg.idle_ms < ep->cfg.handshake_ms ? ep->cfg.idle_ms : ep->cfg.handshake_ms;
    period_ms = period_ms / 4 > 500 ? 500 : period_ms / 4 < 20 ? 20 : period_ms / 4;
    rc = uv_timer_init(loop, &ep->sweep);
    SK_ASSERT(rc == 0);
    ep->sweep.data = ep;
    ep->handles++;
    rc = uv_timer_start(&ep->sweep, on_sweep, (uint64_t)period_ms, (uint64_t)period_ms);
    SK_ASSERT(rc == 0);
    return 0;
}

static void on_sweep_closed(uv_handle_t *handle)
{
    net_endpoint_handle_closed(handle->data);
}

void net_endpoint_handle_closed(struct net_endpoint *ep)
{
    SK_ASSERT(ep->handles > 0);
    if (--ep->handles == 0) {
        ep->release(ep);
    }
}

void net_endpoint_end(struct net_endpoint *ep)
{
    struct net_peer *peer, *next;

    ep->freed = true;
    uv_close((uv_handle_t *)&ep->sweep, on_sweep_closed);
    DL_FOREACH_SAFE(ep->peers, peer, next)
    {
        net_conn_end(peer, NULL);
    }
}

void net_endpoint_release(struct net_endpoint *ep)
{
    SSL_CTX_free(ep->tls);
    BIO_meth_free(ep->bio);
    free(ep->source);
}

int net_endpoint_set_identity(struct net_endpoint *ep, const struct net_identity *identity,
                              struct sk_err *err)
{
    SSL_CTX *tls = NULL;
    int rc;

    if (strcmp(identity->info.cluster, ep->hello.cluster) != 0 ||
        strcmp(identity->info.node, ep->hello.node) != 0) {
        return sk_err_set(err, SK_ERR_INPUT, "a renewal changes neither node nor cluster");
    }
    rc = net_tls_context(identity, ep->is_server, &tls, err);
    if (rc == 0) {
        SSL_CTX_free(ep->tls); /* live connections hold their own reference */
        ep->tls = tls;
    }
    return rc;
}

unsigned net_endpoint_recheck(struct net_endpoint *ep)
{
    struct net_peer *peer, *next;
    unsigned ended = 0;

    DL_FOREACH_SAFE(ep->peers, peer, next)
    {
        struct sk_err err = {0};
        if ((peer->state == NET_UP || peer->state == NET_HELLO) &&
            net_tls_check_info(&peer->info.cert, &peer->judge.want, &err) < 0) {
            net_conn_linger(peer, &err);
            ended++;
        }
    }
    return ended;
}
