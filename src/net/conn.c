/* SPDX-License-Identifier: Apache-2.0 */
#include "net/conn.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <stdio.h>
#include <string.h>
#include <utlist.h>

#include "base/mem.h"
#include "sys/clock.h"

#define LINGER_MS 2000

struct write {
    uv_write_t req;
    struct sk_buf bytes;
};

static void flush(struct net_peer *peer);

/* ---- the end of a connection ---- */

void net_conn_report(struct net_peer *peer, const struct sk_err *why)
{
    struct net_endpoint *ep = peer->ep;
    const struct sk_err closed = {.code = SK_ERR_UNAVAILABLE, .msg = "the connection was closed"};

    if (peer->reported) {
        return;
    }
    peer->reported = true;
    if (ep->peer_end) {
        ep->peer_end(peer, why);
    }
    if (ep->freed) {
        return;
    }
    if (peer->handed_up) {
        ep->cb.on_down(ep->cb.ctx, peer, why ? why : &closed);
    } else {
        net_endpoint_note(ep, peer->info.address, why ? why : &closed);
    }
}

static void on_closed(uv_handle_t *handle)
{
    struct net_peer *peer = handle->data;
    struct net_endpoint *ep = peer->ep;

    net_conn_report(peer, peer->why);
    DL_DELETE(ep->peers, peer);
    ep->npeers--;
    if (peer->ssl) {
        /* Else OpenSSL takes the lost connection for an attack and makes its ticket worthless. */
        SSL_set_shutdown(peer->ssl, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
    }
    SSL_free(peer->ssl);
    sk_buf_release(&peer->out);
    net_frame_reader_release(&peer->reader);
    free(peer->why);
    free(peer);
    net_endpoint_handle_closed(ep);
}

static void keep_why(struct net_peer *peer, const struct sk_err *why)
{
    if (why && !peer->why) {
        peer->why = sk_xmalloc(sizeof(*why));
        *peer->why = *why;
    }
}

void net_conn_end(struct net_peer *peer, const struct sk_err *why)
{
    keep_why(peer, why);
    peer->state = NET_CLOSED;
    if (!uv_is_closing((uv_handle_t *)&peer->tcp)) {
        uv_close((uv_handle_t *)&peer->tcp, on_closed);
    }
}

static void end_errno(struct net_peer *peer, const char *what, int status)
{
    struct sk_err err = {0};
    (void)sk_err_set(&err, SK_ERR_UNAVAILABLE, "%s: %s", what, uv_strerror(status));
    /* One that lingers has its reason already, or ended well. */
    net_conn_end(peer, peer->state == NET_LINGER ? NULL : &err);
}

static int tls_write(struct net_peer *peer, struct sk_str bytes)
{
    while (bytes.len) {
        int n = SSL_write(peer->ssl, bytes.ptr, bytes.len > 16384 ? 16384 : (int)bytes.len);
        if (n <= 0) {
            ERR_clear_error();
            return -1; /* our BIO takes everything, so TLS itself is broken */
        }
        bytes.ptr += n;
        bytes.len -= (size_t)n;
    }
    return 0;
}

static void say_error(struct net_peer *peer, const struct sk_err *why)
{
    struct sk_buf json = SK_BUF_INIT;
    struct sk_buf frame = SK_BUF_INIT;

    net_error_write(why, &json);
    if (net_frame_write(sk_buf_str(&json), &frame, NULL) == 0) {
        (void)tls_write(peer, sk_buf_str(&frame)); /* the connection ends either way */
    }
    sk_buf_release(&json);
    sk_buf_release(&frame);
}

void net_conn_linger(struct net_peer *peer, const struct sk_err *why)
{
    if (peer->state >= NET_LINGER) {
        return;
    }
    keep_why(peer, why);
    if (peer->state != NET_HANDSHAKE) {
        if (why) {
            say_error(peer, why);
        }
        (void)SSL_shutdown(peer->ssl); /* queues close_notify; its answer is not waited for */
        ERR_clear_error();
    }
    peer->state = NET_LINGER;
    peer->deadline_ms = sys_now_ms() + LINGER_MS;
    net_frame_reader_release(&peer->reader);
    flush(peer);
}

/* ---- bytes out ---- */

static void on_shutdown(uv_shutdown_t *req, int status)
{
    struct net_peer *peer = req->data;
    if (status < 0 && peer->state == NET_LINGER) {
        net_conn_end(peer, NULL); /* nobody is left to hear it */
    }
}

static void on_written(uv_write_t *req, int status)
{
    struct write *write = (struct write *)req;
    struct net_peer *peer = req->data;

    sk_buf_release(&write->bytes);
    free(write);
    peer->writing = false;
    peer->flying = 0;
    if (peer->state == NET_CLOSED) {
        return;
    }
    if (status < 0) {
        end_errno(peer, "send", status);
        return;
    }
    flush(peer);
    if (peer->was_full && peer->state == NET_UP &&
        net_peer_queued(peer) <= peer->ep->cfg.queue_bytes_max / 2) {
        peer->was_full = false;
        if (peer->ep->cb.on_drain && !peer->ep->freed) {
            peer->ep->cb.on_drain(peer->ep->cb.ctx, peer);
        }
    }
}

/* Writes what it can at once and hands the rest to libuv; one write at a time. */
static void flush(struct net_peer *peer)
{
    uv_buf_t buf;
    struct write *write;
    int n;

    if (peer->writing || peer->state == NET_CLOSED) {
        return;
    }
    if (peer->out.len) {
        buf = uv_buf_init(peer->out.ptr, (unsigned)peer->out.len);
        n = uv_try_write((uv_stream_t *)&peer->tcp, &buf, 1);
        if (n < 0 && n != UV_EAGAIN) {
            end_errno(peer, "send", n);
            return;
        }
        if (n > 0) {
            sk_buf_consume(&peer->out, (size_t)n);
        }
    }
    if (peer->out.len == 0) {
        sk_buf_release(&peer->out); /* an idle connection holds no buffer */
        if (peer->state == NET_LINGER && !peer->shut) {
            peer->shut = true;
            peer->shutdown.data = peer;
            if (uv_shutdown(&peer->shutdown, (uv_stream_t *)&peer->tcp, on_shutdown) < 0) {
                net_conn_end(peer, NULL);
            }
        }
        return;
    }
    write = sk_xcalloc(1, sizeof(*write));
    write->bytes = peer->out;
    write->req.data = peer;
    peer->out = SK_BUF_INIT;
    peer->flying = write->bytes.len;
    peer->writing = true;
    buf = uv_buf_init(write->bytes.ptr, (unsigned)write->bytes.len);
    n = uv_write(&write->req, (uv_stream_t *)&peer->tcp, &buf, 1, on_written);
    if (n < 0) {
        sk_buf_release(&write->bytes);
        free(write);
        peer->writing = false;
        end_errno(peer, "send", n);
    }
}

size_t net_peer_queued(const struct net_peer *peer)
{
    return peer->out.len + peer->flying;
}

static int send_frame(struct net_peer *peer, struct sk_str json, struct sk_err *err)
{
    struct sk_buf frame = SK_BUF_INIT;
    int rc = net_frame_write(json, &frame, err);

    if (rc == 0 && tls_write(peer, sk_buf_str(&frame)) < 0) {
        rc = sk_err_set(err, SK_ERR_UNAVAILABLE, "the connection is broken");
    }
    sk_buf_release(&frame);
    if (rc == 0) {
        peer->said_ms = sys_now_ms();
        flush(peer);
    }
    return rc;
}

int net_send(struct net_peer *peer, struct sk_str json, struct sk_err *err)
{
    if (peer->state != NET_UP && peer->state != NET_ANSWER) {
        return sk_err_set(err, SK_ERR_UNAVAILABLE, "the connection to '%s' is closing",
                          peer->info.address);
    }
    if (net_peer_queued(peer) + json.len > peer->ep->cfg.queue_bytes_max) {
        peer->was_full = true;
        return sk_err_set(err, SK_ERR_UNAVAILABLE, "the queue to '%s' is full: %zu bytes",
                          peer->info.address, net_peer_queued(peer));
    }
    return send_frame(peer, json, err);
}

void net_peer_close(struct net_peer *peer, const struct sk_err *why)
{
    net_conn_linger(peer, why);
}

/* ---- states ---- */

static void send_hello(struct net_peer *peer)
{
    struct sk_buf json = SK_BUF_INIT;
    struct sk_err err = {0};

    net_hello_write(&peer->ep->hello, &json);
    if (send_frame(peer, sk_buf_str(&json), &err) < 0) {
        net_conn_end(peer, &err);
    }
    sk_buf_release(&json);
}

static void handshake_done(struct net_peer *peer)
{
    net_auto(X509_free) X509 *cert = SSL_get1_peer_certificate(peer->ssl);
    struct sk_err err = {0};

    peer->info.resumed = SSL_session_reused(peer->ssl) == 1;
    if (!cert) {
        peer->state = NET_JOIN; /* only a server comes here: a client has verified one */
        peer->info.joining = true;
        peer->reader.bytes_max = NET_FRAME_JOIN_BYTES_MAX;
        return;
    }
    peer->state = NET_HELLO;
    /* A resumed session skips the verify callback: judge what may have changed since. */
    if (net_tls_check(cert, &peer->judge.want, &peer->info.cert, &err) < 0) {
        net_conn_linger(peer, &err);
        return;
    }
    send_hello(peer);
}

static void take_hello(struct net_peer *peer, const struct net_frame *frame)
{
    struct net_hello hello;
    struct sk_err err = {0};
    int protocol = 0;

    if (sk_str_is(frame->type, "error")) {
        (void)net_error_parse(frame, &err);
        net_conn_end(peer, &err);
        return;
    }
    if (net_hello_parse(frame, &hello, &err) < 0 ||
        net_hello_agree(&peer->ep->hello, &hello, &protocol, &err) < 0) {
        net_conn_linger(peer, &err);
        return;
    }
    if (strcmp(hello.node, peer->info.cert.node) != 0 ||
        strcmp(hello.cluster, peer->info.cert.cluster) != 0) {
        (void)sk_err_set(&err, SK_ERR_UNAUTHENTICATED,
                         "hello of '%s' in '%s' with the certificate of '%s' in '%s'", hello.node,
                         hello.cluster, peer->info.cert.node, peer->info.cert.cluster);
        net_conn_linger(peer, &err);
        return;
    }
    memcpy(peer->info.incarnation, hello.incarnation, sizeof(hello.incarnation));
    memcpy(peer->info.boot, hello.boot, sizeof(hello.boot));
    memcpy(peer->info.version, hello.version, sizeof(hello.version));
    peer->info.protocol = protocol;
    peer->state = NET_UP;
    peer->deadline_ms = 0;
    peer->ep->peer_up(peer);
    peer->handed_up = true;
    peer->ep->cb.on_up(peer->ep->cb.ctx, peer);
}

static void take_join(struct net_peer *peer, const struct net_frame *frame)
{
    struct net_endpoint *ep = peer->ep;
    struct sk_err err = {0};

    if (!sk_str_is(frame->type, "join")) {
        (void)sk_err_set(&err, SK_ERR_UNAUTHENTICATED,
                         "a peer without certificate may only join, not '%.*s'",
                         SK_PRI(frame->type));
    } else if (!ep->cb.on_join) {
        (void)sk_err_set(&err, SK_ERR_DENIED, "this server takes no joins");
    } else if (ep->join_allowed(peer, &err)) {
        peer->state = NET_ANSWER;
        peer->deadline_ms = sys_now_ms() + ep->cfg.join_answer_ms;
        peer->handed_up = true;
        ep->cb.on_join(ep->cb.ctx, peer, frame);
        return;
    }
    net_conn_linger(peer, &err);
}

static void take_frame(struct net_peer *peer, const struct net_frame *frame)
{
    struct net_endpoint *ep = peer->ep;
    struct sk_err err = {0};

    switch (peer->state) {
    case NET_HELLO:
        take_hello(peer, frame);
        return;
    case NET_JOIN:
        take_join(peer, frame);
        return;
    case NET_UP:
        if (sk_str_is(frame->type, "error")) {
            (void)net_error_parse(frame, &err);
            net_conn_end(peer, &err);
        } else if (!sk_str_is(frame->type, "ping")) {
            ep->cb.on_frame(ep->cb.ctx, peer, frame);
        }
        return;
    case NET_ANSWER:
        (void)sk_err_set(&err, SK_ERR_PROTOCOL, "more than one frame of a newcomer");
        net_conn_linger(peer, &err);
        return;
    case NET_HANDSHAKE:
    case NET_LINGER:
    case NET_CLOSED:
        return;
    }
}

static void take_plain(struct net_peer *peer, const char *bytes, size_t len)
{
    struct sk_str payload;
    struct net_frame frame;
    struct sk_err err = {0};
    int rc;

    net_frame_reader_add(&peer->reader, bytes, len);
    while (peer->state < NET_LINGER) {
        rc = net_frame_reader_next(&peer->reader, &payload, &err);
        if (rc == 1) {
            struct sk_arena *arena = sk_arena_new();
            rc = net_frame_parse(payload, arena, &frame, &err);
            if (rc == 0) {
                take_frame(peer, &frame);
                rc = 1;
            }
            sk_arena_free(arena);
        }
        if (rc < 0) {
            net_conn_linger(peer, &err);
        }
        if (rc != 1 || peer->ep->freed) {
            return;
        }
    }
}

/* ---- bytes in ---- */

static void handshake(struct net_peer *peer)
{
    struct sk_err err = {0};
    int rc = SSL_do_handshake(peer->ssl);

    if (rc == 1) {
        handshake_done(peer);
    } else if (SSL_get_error(peer->ssl, rc) != SSL_ERROR_WANT_READ) {
        (void)net_tls_err(peer->ssl, &peer->judge, &err);
        net_conn_linger(peer, &err); /* its alert is in the queue */
    }
}

/* The other side said that it is done, or its TCP ended. */
static void ended_by_peer(struct net_peer *peer)
{
    struct sk_err err = {0};

    if (peer->state == NET_LINGER) {
        net_conn_end(peer, NULL);
        return;
    }
    if (peer->reader.buf.len > peer->reader.at) {
        (void)sk_err_set(&err, SK_ERR_PROTOCOL, "the stream ended inside a frame");
    } else {
        (void)sk_err_set(&err, SK_ERR_UNAVAILABLE, "%s",
                         peer->state == NET_HANDSHAKE ? "the connection ended in the TLS handshake"
                                                      : "the other side closed the connection");
    }
    net_conn_end(peer, &err);
}

static void pump(struct net_peer *peer)
{
    struct net_endpoint *ep = peer->ep;
    struct sk_err err = {0};

    if (peer->state == NET_HANDSHAKE) {
        handshake(peer);
    }
    while (peer->state != NET_HANDSHAKE && peer->state < NET_LINGER && !ep->freed) {
        int n = SSL_read(peer->ssl, ep->plain, sizeof(ep->plain));
        int code = n > 0 ? 0 : SSL_get_error(peer->ssl, n);
        if (n > 0) {
            take_plain(peer, ep->plain, (size_t)n);
        } else if (code == SSL_ERROR_WANT_READ) {
            break;
        } else if (code == SSL_ERROR_ZERO_RETURN) {
            ended_by_peer(peer);
        } else {
            (void)net_tls_err(peer->ssl, &peer->judge, &err);
            net_conn_linger(peer, &err);
        }
    }
    if (!ep->freed) {
        flush(peer);
    }
}

static void on_alloc(uv_handle_t *handle, size_t size, uv_buf_t *ret)
{
    struct net_peer *peer = handle->data;
    (void)size;
    *ret = uv_buf_init(peer->ep->bytes, sizeof(peer->ep->bytes));
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
    struct net_peer *peer = stream->data;

    if (n == UV_EOF) {
        ended_by_peer(peer);
    } else if (n < 0) {
        end_errno(peer, "receive", (int)n);
    } else if (n > 0 && peer->state < NET_LINGER) {
        peer->heard_ms = sys_now_ms();
        peer->in = buf->base;
        peer->in_len = (size_t)n;
        pump(peer);
        peer->in = NULL;
        peer->in_len = 0;
    }
}

/* ---- start ---- */

struct net_peer *net_conn_new(struct net_endpoint *ep)
{
    struct net_peer *peer = sk_xcalloc(1, sizeof(*peer));
    int rc = uv_tcp_init(ep->loop, &peer->tcp);

    SK_ASSERT(rc == 0); /* it allocates nothing and opens nothing */
    peer->ep = ep;
    peer->tcp.data = peer;
    peer->state = NET_CLOSED;
    net_frame_reader_init(&peer->reader, NET_FRAME_BYTES_MAX);
    (void)snprintf(peer->info.address, sizeof(peer->info.address), "?");
    DL_APPEND(ep->peers, peer);
    ep->npeers++;
    ep->handles++;
    return peer;
}

static int start_tls(struct net_peer *peer, SSL_SESSION *session)
{
    struct net_endpoint *ep = peer->ep;
    BIO *bio = BIO_new(ep->bio);

    peer->ssl = bio ? SSL_new(ep->tls) : NULL;
    if (!peer->ssl) {
        BIO_free(bio);
        return -1;
    }
    BIO_set_data(bio, peer);
    BIO_set_init(bio, 1);
    SSL_set_bio(peer->ssl, bio, bio);
    SSL_set_app_data(peer->ssl, &peer->judge);
    if (ep->is_server) {
        SSL_set_accept_state(peer->ssl);
    } else {
        SSL_set_connect_state(peer->ssl);
        if (session && SSL_set_session(peer->ssl, session) != 1) {
            ERR_clear_error(); /* then a full handshake */
        }
    }
    return 0;
}

void net_conn_start(struct net_peer *peer, SSL_SESSION *session)
{
    struct net_endpoint *ep = peer->ep;
    unsigned user_timeout = (unsigned)ep->cfg.idle_ms;
    int linear = 1;
    struct sk_err err = {0};
    uv_os_fd_t fd;

    peer->judge.want = (struct net_tls_want){
        .cluster = ep->hello.cluster, .control = !ep->is_server, .revoked = ep->cfg.revoked};
    peer->heard_ms = peer->said_ms = sys_now_ms();
    peer->deadline_ms = peer->heard_ms + ep->cfg.handshake_ms;
    (void)uv_tcp_nodelay(&peer->tcp, 1); /* both only make it faster */
    if (uv_fileno((uv_handle_t *)&peer->tcp, &fd) == 0) {
        (void)setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &user_timeout, sizeof(user_timeout));
        /* After a short cut the next try comes at once, not after the doubled pauses of a bulk
         * transfer: a renewal that is late by that costs the work that it is for. */
        (void)setsockopt(fd, IPPROTO_TCP, TCP_THIN_LINEAR_TIMEOUTS, &linear, sizeof(linear));
    }
    if (start_tls(peer, session) < 0) {
        (void)net_ossl_err(&err, SK_ERR_INTERNAL, "start TLS");
        net_conn_end(peer, &err);
        return;
    }
    peer->state = NET_HANDSHAKE;
    if (uv_read_start((uv_stream_t *)&peer->tcp, on_alloc, on_read) < 0) {
        net_conn_end(peer, NULL);
        return;
    }
    if (!ep->is_server) {
        pump(peer);
    }
}

const struct net_peer_info *net_peer_info(const struct net_peer *peer)
{
    return &peer->info;
}

int net_peer_address(const struct net_peer *peer, uint16_t port, struct sockaddr_storage *ret,
                     struct sk_err *err)
{
    struct sockaddr_storage sa = {0};
    int len = (int)sizeof(sa);
    int rc = uv_tcp_getpeername(&peer->tcp, (struct sockaddr *)&sa, &len);

    if (rc < 0) {
        return sk_err_set(err, SK_ERR_UNAVAILABLE, "address of '%s': %s", peer->info.address,
                          uv_strerror(rc));
    }
    if (sa.ss_family == AF_INET6) {
        ((struct sockaddr_in6 *)(void *)&sa)->sin6_port = htons(port);
    } else {
        ((struct sockaddr_in *)(void *)&sa)->sin_port = htons(port);
    }
    *ret = sa;
    return 0;
}

void net_peer_set_data(struct net_peer *peer, void *data)
{
    peer->data = data;
}

void *net_peer_data(const struct net_peer *peer)
{
    return peer->data;
}
