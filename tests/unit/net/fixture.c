/* SPDX-License-Identifier: Apache-2.0 */
#include "fixture.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

/* Only ends a test that would hang: no right outcome depends on it, however loaded the machine. */
#define PATIENCE_MS 20000

static void on_up(void *ctx, struct net_peer *peer)
{
    struct side *side = ctx;
    side->ups++;
    side->peer = peer;
    side->info = *net_peer_info(peer);
}

static void on_frame(void *ctx, struct net_peer *peer, const struct net_frame *frame)
{
    struct side *side = ctx;
    size_t len =
        frame->bytes.len < sizeof(side->bytes) ? frame->bytes.len : sizeof(side->bytes) - 1;
    (void)peer;
    side->frames++;
    (void)snprintf(side->type, sizeof(side->type), "%.*s", SK_PRI(frame->type));
    memcpy(side->bytes, frame->bytes.ptr, len);
    side->bytes[len] = '\0';
}

static void on_join(void *ctx, struct net_peer *peer, const struct net_frame *frame)
{
    struct side *side = ctx;
    on_frame(ctx, peer, frame);
    side->frames--;
    side->joins++;
    side->peer = peer;
    side->info = *net_peer_info(peer);
}

static void on_drain(void *ctx, struct net_peer *peer)
{
    struct side *side = ctx;
    (void)peer;
    side->drains++;
}

static void on_down(void *ctx, struct net_peer *peer, const struct sk_err *why)
{
    struct side *side = ctx;
    side->downs++;
    side->why = *why;
    if (side->peer == peer) {
        side->peer = NULL;
    }
}

static void on_refused(void *ctx, const char *address, const struct sk_err *why)
{
    struct side *side = ctx;
    side->refused++;
    side->note = *why;
    (void)snprintf(side->note_address, sizeof(side->note_address), "%s", address);
    /* the line that an owner would log: never empty, never more than one */
    assert_true(why->msg[0] && !strchr(why->msg, '\n'));
}

static void on_tick(uv_timer_t *timer)
{
    (void)timer;
}

void fx_identity(const struct net_ca *ca, enum net_cert_kind kind, const char *node,
                 int64_t wall_ms, int64_t life_ms, struct net_identity *ret)
{
    static const char *names[] = {"127.0.0.1"};
    struct net_issue issue = {.kind = kind,
                              .node = node,
                              .names = names,
                              .nnames = 1,
                              .wall_ms = wall_ms,
                              .life_ms = life_ms};
    struct sk_buf key = SK_BUF_INIT, csr = SK_BUF_INIT, cert = SK_BUF_INIT;
    struct sk_err err = {0};
    assert_int_equal(net_key_new(&key, &err), 0);
    assert_int_equal(net_csr_new(sk_buf_str(&key), node, &csr, &err), 0);
    assert_int_equal(net_ca_issue(ca, sk_buf_str(&csr), &issue, &cert, NULL, &err), 0);
    assert_int_equal(
        net_identity_make(sk_buf_str(&key), sk_buf_str(&cert), sk_str(net_ca_pem(ca)), ret, &err),
        0);
    net_pem_wipe(&key);
    sk_buf_release(&csr);
    sk_buf_release(&cert);
}

struct world *fx_new(void)
{
    struct world *w = sk_xcalloc(1, sizeof(*w));
    struct sk_err err = {0};
    (void)signal(SIGPIPE, SIG_IGN);
    assert_int_equal(uv_loop_init(&w->loop), 0);
    assert_int_equal(uv_timer_init(&w->loop, &w->tick), 0);
    assert_int_equal(uv_timer_start(&w->tick, on_tick, 5, 5), 0);
    assert_int_equal(net_ca_new("coast", sys_wall_ms(), &w->ca, &err), 0);
    fx_identity(w->ca, NET_CERT_CONTROL, "hub-1", sys_wall_ms(), 0, &w->control);
    fx_identity(w->ca, NET_CERT_NODE, "fra-1", sys_wall_ms(), 0, &w->node);
    w->revoked = net_revoked_new();
    w->s.world = w->c.world = w;
    w->scb = (struct net_callbacks){&w->s, on_up, on_frame, on_join, on_drain, on_down, on_refused};
    w->ccb = (struct net_callbacks){&w->c, on_up, on_frame, NULL, on_drain, on_down, on_refused};
    w->cfg = (struct net_channel_cfg){.identity = &w->control,
                                      .revoked = w->revoked,
                                      .incarnation = "i-1",
                                      .boot = "b-1",
                                      .version = "0.1.0"};
    return w;
}

void fx_server(struct world *w)
{
    struct sk_err err = {0};
    assert_int_equal(net_server_new_any(&w->loop, &w->cfg, "127.0.0.1", &w->scb, &w->server, &err),
                     0);
    assert_true(net_server_port(w->server) > 0);
}

void fx_client(struct world *w, const struct net_identity *id, struct net_channel_cfg cfg)
{
    char address[64];
    const char *addresses[] = {address};
    struct sk_err err = {0};
    cfg.identity = id;
    (void)snprintf(address, sizeof(address), "127.0.0.1:%u", net_server_port(w->server));
    assert_int_equal(net_client_new(&w->loop, &cfg, &w->ccb, &w->client, &err), 0);
    assert_int_equal(net_client_set_addresses(w->client, addresses, 1, &err), 0);
}

void fx_free(struct world *w)
{
    net_client_free(w->client);
    net_server_free(w->server);
    uv_close((uv_handle_t *)&w->tick, NULL);
    assert_int_equal(uv_run(&w->loop, UV_RUN_DEFAULT), 0);
    assert_int_equal(uv_loop_close(&w->loop), 0);
    net_identity_release(&w->control);
    net_identity_release(&w->node);
    net_revoked_free(w->revoked);
    net_ca_free(w->ca);
    free(w);
}

void fx_until(struct world *w, const unsigned *counter, unsigned want)
{
    int64_t deadline = sys_now_ms() + PATIENCE_MS;
    while (__atomic_load_n(counter, __ATOMIC_ACQUIRE) < want) {
        if (sys_now_ms() > deadline) {
            print_message("# server: up %u down %u refused %u '%s' '%s'\n# client: up %u down %u "
                          "refused %u '%s' '%s'\n",
                          w->s.ups, w->s.downs, w->s.refused, w->s.note.msg, w->s.why.msg, w->c.ups,
                          w->c.downs, w->c.refused, w->c.note.msg, w->c.why.msg);
            fail_msg("waited in vain for %u", want);
        }
        (void)uv_run(&w->loop, UV_RUN_ONCE);
    }
}

void fx_for(struct world *w, int64_t ms)
{
    int64_t deadline = sys_now_ms() + ms;
    while (sys_now_ms() < deadline) {
        (void)uv_run(&w->loop, UV_RUN_ONCE);
    }
}

/* ---- raw peers ---- */

static SSL *raw_tls(const struct raw *raw, int fd, SSL_CTX **ret_ctx)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
    SSL *ssl;
    if (raw->tls_max) {
        (void)SSL_CTX_set_max_proto_version(ctx, raw->tls_max);
    }
    if (raw->id) {
        BIO *bio = BIO_new_mem_buf(raw->id->cert_pem, -1);
        X509 *cert = PEM_read_bio_X509(bio, NULL, NULL, NULL);
        EVP_PKEY *key;
        BIO_free(bio);
        bio = BIO_new_mem_buf(raw->id->key_pem, -1);
        key = PEM_read_bio_PrivateKey(bio, NULL, NULL, NULL);
        BIO_free(bio);
        (void)SSL_CTX_use_certificate(ctx, cert);
        (void)SSL_CTX_use_PrivateKey(ctx, key);
        X509_free(cert);
        EVP_PKEY_free(key);
    }
    ssl = SSL_new(ctx);
    (void)SSL_set_fd(ssl, fd);
    *ret_ctx = ctx;
    return ssl;
}

static void raw_talk(struct raw *raw, int fd)
{
    SSL_CTX *ctx = NULL;
    SSL *ssl = raw->tls ? raw_tls(raw, fd, &ctx) : NULL;
    ssize_t n = 1;
    raw->shaken = ssl && SSL_connect(ssl) == 1;
    if (raw->len && (!ssl || raw->shaken)) {
        n = ssl ? SSL_write(ssl, raw->bytes, (int)raw->len) : write(fd, raw->bytes, raw->len);
    }
    if (raw->half_close && ssl) {
        (void)SSL_shutdown(ssl);
    }
    while (n > 0 && !raw->hang_up && (!ssl || raw->shaken)) {
        size_t room = sizeof(raw->reply) - 1 - raw->reply_len;
        char *at = raw->reply + raw->reply_len;
        n = ssl ? SSL_read(ssl, at, (int)room) : read(fd, at, room);
        raw->reply_len += n > 0 ? (size_t)n : 0;
    }
    SSL_free(ssl);
    SSL_CTX_free(ctx);
}

static void *raw_main(void *ctx)
{
    struct raw *raw = ctx;
    struct sockaddr_in sa = {.sin_family = AF_INET, .sin_port = htons(raw->port)};
    struct timeval patience = {.tv_sec = PATIENCE_MS / 1000};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sa.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    (void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
    if (fd >= 0 && connect(fd, (struct sockaddr *)&sa, sizeof(sa)) == 0) {
        if (raw->wait_ms) {
            (void)usleep(raw->wait_ms * 1000);
        }
        raw_talk(raw, fd);
    }
    (void)close(fd);
    __atomic_store_n(&raw->done, 1, __ATOMIC_RELEASE);
    return NULL;
}

void fx_raw_start(struct raw *raw)
{
    raw->done = 0;
    raw->reply_len = 0;
    memset(raw->reply, 0, sizeof(raw->reply));
    assert_int_equal(pthread_create(&raw->thread, NULL, raw_main, raw), 0);
}

void fx_raw_end(struct world *w, struct raw *raw)
{
    fx_until(w, &raw->done, 1);
    assert_int_equal(pthread_join(raw->thread, NULL), 0);
}

const char *fx_frame(const char *json, size_t *ret_len)
{
    static char frame[4096];
    size_t len = strlen(json);
    assert_true(len + 4 <= sizeof(frame));
    frame[0] = frame[1] = 0;
    frame[2] = (char)(len >> 8);
    frame[3] = (char)len;
    memcpy(frame + 4, json, len);
    *ret_len = len + 4;
    return frame;
}
