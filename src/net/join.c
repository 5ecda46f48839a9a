/* SPDX-License-Identifier: Apache-2.0 */
#include "net/enrol.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <openssl/err.h>
#include <poll.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/json.h"
#include "base/mem.h"
#include "net/frame.h"
#include "net/tls.h"
#include "sys/clock.h"
#include "sys/file.h"

#define ANSWER_BYTES_MAX 65536
#define PATH_SIZE 4200

struct joiner {
    const struct net_join *join;
    char address[NET_ADDRESS_SIZE]; /* of who is asked now */
    char leader[NET_ADDRESS_SIZE];  /* whom that one named instead; "" */
    int64_t deadline_ms;
    int fd;
    SSL_CTX *ctx;
    SSL *ssl;
    struct net_tls_judge judge;  /* .reason */
    char cluster[NET_NAME_SIZE]; /* of the server's certificate */
};

/* ---- whom do we talk to ---- */

static X509 *find_ca(STACK_OF(X509) * chain, const uint8_t fingerprint[SK_SHA256_BYTES])
{
    uint8_t have[SK_SHA256_BYTES];

    for (int i = 0; chain && i < sk_X509_num(chain); i++) {
        X509 *cert = sk_X509_value(chain, i);
        if (net_x509_fingerprint(cert, have, NULL) == 0 &&
            sodium_memcmp(have, fingerprint, sizeof(have)) == 0) {
            return cert;
        }
    }
    return NULL;
}

static int chain_is_good(X509 *leaf, X509 *ca)
{
    net_auto(X509_STORE_free) X509_STORE *store = X509_STORE_new();
    net_auto(X509_STORE_CTX_free) X509_STORE_CTX *check = X509_STORE_CTX_new();

    if (!store || !check || X509_STORE_add_cert(store, ca) != 1 ||
        X509_STORE_CTX_init(check, store, leaf, NULL) != 1 ||
        X509_STORE_CTX_set_default(check, "ssl_server") != 1) {
        return X509_V_ERR_OUT_OF_MEM;
    }
    X509_STORE_CTX_set_flags(check, X509_V_FLAG_X509_STRICT);
    return X509_verify_cert(check) == 1 ? X509_V_OK : X509_STORE_CTX_get_error(check);
}

/* Takes the place of OpenSSL's own verification: the only trust is the token's fingerprint. */
static int judge_chain(X509_STORE_CTX *store, void *ctx)
{
    struct joiner *joiner = ctx;
    char *reason = joiner->judge.reason;
    size_t size = sizeof(joiner->judge.reason);
    X509 *leaf = X509_STORE_CTX_get0_cert(store);
    X509 *ca = find_ca(X509_STORE_CTX_get0_untrusted(store), joiner->join->token->ca);
    struct net_cert_info info;
    int rc = X509_V_ERR_APPLICATION_VERIFICATION;

    if (!leaf || !ca) {
        (void)snprintf(reason, size, "the token is of another cluster than the server");
    } else if ((rc = chain_is_good(leaf, ca)) != X509_V_OK) {
        (void)snprintf(reason, size, "the server's certificate is refused: %s",
                       X509_verify_cert_error_string(rc));
    } else if (net_x509_info(leaf, &info, NULL) < 0 || info.kind != NET_CERT_CONTROL) {
        rc = X509_V_ERR_APPLICATION_VERIFICATION;
        (void)snprintf(reason, size, "the server is not a control node");
    } else {
        memcpy(joiner->cluster, info.cluster, sizeof(info.cluster));
        return 1;
    }
    X509_STORE_CTX_set_error(store, rc);
    return 0;
}

/* ---- waiting ---- */

static int wait_for(struct joiner *joiner, short events, struct sk_err *err)
{
    struct pollfd pfd = {.fd = joiner->fd, .events = events};

    for (;;) {
        int64_t left_ms = joiner->deadline_ms - sys_now_ms();
        int n = left_ms > 0 ? poll(&pfd, 1, left_ms > 60000 ? 60000 : (int)left_ms) : 0;
        if (n > 0) {
            return 0;
        }
        if (n < 0 && errno != EINTR) {
            return sk_err_errno(err, errno, "wait for '%s'", joiner->address);
        }
        if (joiner->deadline_ms <= sys_now_ms()) {
            return sk_err_set(err, SK_ERR_TIMEOUT, "'%s' did not answer within %lld ms",
                              joiner->address, (long long)joiner->join->timeout_ms);
        }
    }
}

/* After a TLS call that returned `rc`: 0 = call again, else the error. */
static int tls_again(struct joiner *joiner, int rc, struct sk_err *err)
{
    int code = SSL_get_error(joiner->ssl, rc);

    if (code == SSL_ERROR_WANT_READ) {
        return wait_for(joiner, POLLIN, err);
    }
    if (code == SSL_ERROR_WANT_WRITE) {
        return wait_for(joiner, POLLOUT, err);
    }
    if (code == SSL_ERROR_ZERO_RETURN || (code == SSL_ERROR_SYSCALL && !ERR_peek_error())) {
        return sk_err_set(err, SK_ERR_UNAVAILABLE, "'%s' closed the connection", joiner->address);
    }
    return net_tls_err(joiner->ssl, &joiner->judge, err);
}

/* ---- connect ---- */

static int bind_source(int fd, const char *source)
{
    struct sockaddr_storage sa;

    if (!source) {
        return 0;
    }
    if (net_address_parse(sk_str(source), 1, &sa, NULL) < 0) {
        errno = EINVAL;
        return -1;
    }
    if (sa.ss_family == AF_INET6) {
        ((struct sockaddr_in6 *)(void *)&sa)->sin6_port = 0;
        return bind(fd, (struct sockaddr *)&sa, sizeof(struct sockaddr_in6));
    }
    ((struct sockaddr_in *)(void *)&sa)->sin_port = 0;
    return bind(fd, (struct sockaddr *)&sa, sizeof(struct sockaddr_in));
}

static int connect_one(struct joiner *joiner, const struct addrinfo *to, struct sk_err *err)
{
    int fd = socket(to->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    socklen_t len = sizeof(int);
    int failed = 0, rc;

    if (fd < 0) {
        return sk_err_errno(err, errno, "open socket");
    }
    joiner->fd = fd;
    if (bind_source(fd, joiner->join->source) == 0 &&
        (connect(fd, to->ai_addr, to->ai_addrlen) == 0 || errno == EINPROGRESS)) {
        rc = wait_for(joiner, POLLOUT, err);
        if (rc == 0 && getsockopt(fd, SOL_SOCKET, SO_ERROR, &failed, &len) < 0) {
            failed = errno;
        }
    } else {
        failed = errno;
        rc = 0;
    }
    if (failed) {
        rc = sk_err_set(err, SK_ERR_UNAVAILABLE, "connect to '%s': %s", joiner->address,
                        strerrordesc_np(failed));
        (void)sk_err_fix(err, "check that skerry runs there and that TCP port %d is open",
                         NET_PORT);
    }
    if (rc < 0) {
        (void)close(fd);
        joiner->fd = -1;
    }
    return rc;
}

static int connect_any(struct joiner *joiner, struct sk_err *err)
{
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV};
    struct addrinfo *found = NULL;
    char host[NET_HOST_SIZE], port[8];
    uint16_t number;
    int rc = net_address_split(sk_str(joiner->address), NET_PORT, host, &number, err);

    if (rc < 0) {
        return rc;
    }
    (void)snprintf(port, sizeof(port), "%u", number);
    rc = getaddrinfo(host, port, &hints, &found);
    if (rc != 0) {
        return sk_err_set(err, SK_ERR_UNAVAILABLE, "look up '%s': %s", host, gai_strerror(rc));
    }
    rc = SK_ERR_UNAVAILABLE;
    for (const struct addrinfo *at = found; at; at = at->ai_next) {
        rc = connect_one(joiner, at, err);
        if (rc == 0) {
            break;
        }
    }
    freeaddrinfo(found);
    return rc;
}

static int shake_hands(struct joiner *joiner, struct sk_err *err)
{
    int rc = net_tls_context(NULL, false, &joiner->ctx, err);

    if (rc < 0) {
        return rc;
    }
    SSL_CTX_set_cert_verify_callback(joiner->ctx, judge_chain, joiner);
    joiner->ssl = SSL_new(joiner->ctx);
    if (!joiner->ssl || SSL_set_fd(joiner->ssl, joiner->fd) != 1) {
        return net_ossl_err(err, SK_ERR_INTERNAL, "start TLS");
    }
    while ((rc = SSL_connect(joiner->ssl)) != 1) {
        rc = tls_again(joiner, rc, err);
        if (rc < 0) {
            return rc;
        }
    }
    return 0;
}

/* ---- ask and be answered ---- */

static int write_join(const struct net_join *join, struct sk_str csr, struct sk_buf *out)
{
    char token[NET_TOKEN_TEXT_SIZE];
    struct sk_jw w;

    net_token_print(join->token, token);
    sk_jw_init(&w, out);
    sk_jw_obj(&w);
    sk_jw_kint(&w, "v", 1);
    sk_jw_kcstr(&w, "type", "join");
    sk_jw_kcstr(&w, "token", token);
    sk_jw_kstr(&w, "csr", csr);
    sk_jw_kcstr(&w, "node", join->node);
    sk_jw_kcstr(&w, "site", join->site);
    sk_jw_kcstr(&w, "address", join->node_address);
    sk_jw_kcstr(&w, "machine_id", join->machine_id ? join->machine_id : "");
    sk_jw_kcstr(&w, "incarnation", join->incarnation ? join->incarnation : "");
    sk_jw_kint(&w, "cpus_nano", join->cpus_nano);
    sk_jw_kint(&w, "memory_bytes", join->memory_bytes);
    sk_jw_kint(&w, "disk_bytes", join->disk_bytes);
    sk_jw_key(&w, "labels");
    sk_jw_raw(&w, join->labels.len ? join->labels : SK_STR("{}"));
    sk_jw_obj_end(&w);
    sodium_memzero(token, sizeof(token));
    return 0;
}

static int send_join(struct joiner *joiner, struct sk_str key_pem, struct sk_err *err)
{
    struct sk_buf csr = SK_BUF_INIT;
    struct sk_buf json = SK_BUF_INIT;
    struct sk_buf frame = SK_BUF_INIT;
    size_t at = 0;
    int rc = net_csr_new(key_pem, joiner->join->node, &csr, err);

    if (rc == 0) {
        (void)write_join(joiner->join, sk_buf_str(&csr), &json);
        rc = net_frame_write(sk_buf_str(&json), &frame, err);
    }
    while (rc == 0 && at < frame.len) {
        int n = SSL_write(joiner->ssl, frame.ptr + at, (int)(frame.len - at));
        if (n > 0) {
            at += (size_t)n;
        } else {
            rc = tls_again(joiner, n, err);
        }
    }
    net_pem_wipe(&json); /* both hold the token */
    net_pem_wipe(&frame);
    sk_buf_release(&csr);
    return rc;
}

static int read_answer(struct joiner *joiner, struct sk_arena *arena, struct net_frame *ret,
                       struct sk_err *err)
{
    struct net_frame_reader reader;
    struct sk_str payload = SK_STR_NULL;
    char bytes[4096];
    int rc = 0;

    net_frame_reader_init(&reader, ANSWER_BYTES_MAX);
    while (rc == 0) {
        int n = SSL_read(joiner->ssl, bytes, sizeof(bytes));
        if (n > 0) {
            net_frame_reader_add(&reader, bytes, (size_t)n);
            rc = net_frame_reader_next(&reader, &payload, err);
        } else {
            rc = tls_again(joiner, n, err);
        }
    }
    if (rc == 1) {
        rc = net_frame_parse(sk_arena_str(arena, payload), arena, ret, err);
    }
    net_frame_reader_release(&reader);
    if (rc == 0 && sk_str_is(ret->type, "error")) {
        (void)snprintf(joiner->leader, sizeof(joiner->leader), "%.*s",
                       SK_PRI(sk_map_str(ret->tree, "leader", SK_STR(""))));
        return net_error_parse(ret, err);
    }
    if (rc == 0 && !sk_str_is(ret->type, "joined")) {
        return sk_err_set(err, SK_ERR_PROTOCOL, "the answer is '%.*s', not 'joined'",
                          SK_PRI(ret->type));
    }
    return rc;
}

static int copy_text(const struct sk_node *tree, const char *key, char ret[64], struct sk_err *err)
{
    struct sk_str text = sk_map_str(tree, key, SK_STR_NULL);

    if (text.len >= 64 || memchr(text.ptr ? text.ptr : "", '\0', text.len)) {
        return sk_err_set(err, SK_ERR_PROTOCOL, "joined: '%s' is not well formed", key);
    }
    memcpy(ret, text.ptr ? text.ptr : "", text.len);
    ret[text.len] = '\0';
    return 0;
}

static int take_joined(struct joiner *joiner, struct sk_str key_pem, const struct net_frame *frame,
                       struct net_joined *ret, struct sk_err *err)
{
    struct sk_str ca = sk_map_str(frame->tree, "ca", SK_STR_NULL);
    uint8_t fingerprint[SK_SHA256_BYTES];
    int rc = net_ca_fingerprint(ca, fingerprint, err);

    if (rc == 0 && sodium_memcmp(fingerprint, joiner->join->token->ca, sizeof(fingerprint)) != 0) {
        rc = sk_err_set(err, SK_ERR_PROTOCOL, "joined: the authority is not the token's");
    }
    if (rc == 0) {
        rc = net_identity_make(key_pem, sk_map_str(frame->tree, "cert", SK_STR_NULL), ca,
                               &ret->identity, err);
    }
    if (rc == 0 && (strcmp(ret->identity.info.cluster, joiner->cluster) != 0 ||
                    strcmp(ret->identity.info.node, joiner->join->node) != 0)) {
        rc = sk_err_set(err, SK_ERR_PROTOCOL, "joined: the certificate is for node '%s' of '%s'",
                        ret->identity.info.node, ret->identity.info.cluster);
    }
    if (rc == 0) {
        rc = copy_text(frame->tree, "site", ret->site, err);
    }
    if (rc == 0) {
        rc = copy_text(frame->tree, "prefix", ret->prefix, err);
    }
    return rc;
}

static int store(const struct net_join *join, const struct net_joined *joined,
                 const struct net_frame *frame, struct sk_err *err)
{
    char path[PATH_SIZE];
    int rc;

    (void)snprintf(path, sizeof(path), "%s/joined.json", join->dir);
    rc = sys_file_write(path, frame->bytes, 0600, err);
    return rc < 0 ? rc : net_identity_save(&joined->identity, join->dir, err);
}

static int is_new_here(const struct net_join *join, struct sk_err *err)
{
    struct net_identity old = {0};
    struct sk_err why = {0};
    int rc = net_identity_load(join->dir, &old, &why);

    if (rc == 0) {
        (void)sk_err_set(err, SK_ERR_CONFLICT, "this server is node '%s' of cluster '%s' already",
                         old.info.node, old.info.cluster);
        (void)sk_err_fix(err, "to start anew, remove it there and empty '%s'", join->dir);
        net_identity_release(&old);
        return SK_ERR_CONFLICT;
    }
    if (rc != SK_ERR_NOT_FOUND && err) {
        *err = why;
    }
    return rc == SK_ERR_NOT_FOUND ? 0 : rc;
}

#define HOPS_MAX 4

static void hang_up(struct joiner *joiner)
{
    SSL_free(joiner->ssl);
    SSL_CTX_free(joiner->ctx);
    if (joiner->fd >= 0) {
        (void)close(joiner->fd); /* all that matters was read */
    }
    joiner->ssl = NULL;
    joiner->ctx = NULL;
    joiner->fd = -1;
}

/* Asks one control node. It is believed by the token alone, as any other that it names. */
static int ask(struct joiner *joiner, struct sk_str key, struct sk_arena *arena,
               struct net_frame *ret_frame, struct net_joined *ret, struct sk_err *err)
{
    int rc = connect_any(joiner, err);

    joiner->leader[0] = '\0';
    if (rc == 0) {
        rc = shake_hands(joiner, err);
    }
    if (rc == 0) {
        rc = send_join(joiner, key, err);
    }
    if (rc == 0) {
        rc = read_answer(joiner, arena, ret_frame, err);
    }
    if (rc == 0) {
        rc = take_joined(joiner, key, ret_frame, ret, err);
    }
    hang_up(joiner);
    return rc;
}

int net_join(const struct net_join *join, struct net_joined *ret, struct sk_err *err)
{
    struct joiner joiner = {.join = join, .deadline_ms = sys_now_ms() + join->timeout_ms, .fd = -1};
    struct net_joined joined = {0};
    struct net_frame frame = {0};
    struct sk_buf key = SK_BUF_INIT;
    struct sk_arena *arena = sk_arena_new();
    int rc = is_new_here(join, err);

    (void)snprintf(joiner.address, sizeof(joiner.address), "%s", join->address);
    if (rc == 0) {
        rc = net_key_new(&key, err);
    }
    for (int hop = 0; rc == 0 && hop < HOPS_MAX; hop++) {
        rc = ask(&joiner, sk_buf_str(&key), arena, &frame, &joined, err);
        if (rc == 0 || joiner.leader[0] == '\0' || hop + 1 == HOPS_MAX) {
            break;
        }
        memcpy(joiner.address, joiner.leader, sizeof(joiner.address));
        rc = 0;
    }
    if (rc == 0) {
        rc = store(join, &joined, &frame, err);
    }
    if (rc == 0) {
        (void)snprintf(joined.control, sizeof(joined.control), "%s", joiner.address);
        *ret = joined;
    } else {
        net_identity_release(&joined.identity);
    }
    net_pem_wipe(&key);
    sk_arena_free(arena);
    return rc;
}
