/* SPDX-License-Identifier: Apache-2.0 */
#include "net/tls.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "sys/clock.h"

#define CERT_LIST_BYTES_MAX 16384
/* A ticket is never worth more than a certificate's remaining life, which is checked anyway. */
#define TICKET_LIFE_S (24 * 3600)

int net_tls_check_info(const struct net_cert_info *info, const struct net_tls_want *want,
                       struct sk_err *err)
{
    int64_t now_ms = sys_wall_ms();

    if (info->kind == NET_CERT_API) {
        return sk_err_set(err, SK_ERR_UNAUTHENTICATED, "the certificate names no node");
    }
    if (strcmp(info->cluster, want->cluster) != 0) {
        return sk_err_set(err, SK_ERR_UNAUTHENTICATED, "node '%s' is of cluster '%s', not of '%s'",
                          info->node, info->cluster, want->cluster);
    }
    if (want->control && info->kind != NET_CERT_CONTROL) {
        return sk_err_set(err, SK_ERR_UNAUTHENTICATED, "node '%s' is not a control node",
                          info->node);
    }
    if (want->revoked && net_revoked_has(want->revoked, info)) {
        return sk_err_set(err, SK_ERR_UNAUTHENTICATED, "the certificate of node '%s' is revoked",
                          info->node);
    }
    if (now_ms >= info->not_after_ms) {
        return sk_err_set(err, SK_ERR_UNAUTHENTICATED, "the certificate of node '%s' has expired",
                          info->node);
    }
    return 0;
}

int net_tls_check(X509 *cert, const struct net_tls_want *want, struct net_cert_info *ret,
                  struct sk_err *err)
{
    struct net_cert_info info;

    if (net_x509_info(cert, &info, err) < 0 || net_tls_check_info(&info, want, err) < 0) {
        return SK_ERR_UNAUTHENTICATED;
    }
    if (sys_wall_ms() < info.issued_ms - NET_CERT_BACKDATE_MS) {
        return sk_err_set(err, SK_ERR_UNAUTHENTICATED,
                          "the certificate of node '%s' is not yet valid", info.node);
    }
    *ret = info;
    return 0;
}

/* Called by OpenSSL for each certificate of the chain; ours is judged after OpenSSL agreed. */
static int judge_cert(int ok, X509_STORE_CTX *store)
{
    SSL *ssl = X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx());
    struct net_tls_judge *judge = ssl ? SSL_get_app_data(ssl) : NULL;
    struct net_cert_info info;
    struct sk_err err = {0};
    X509 *cert = X509_STORE_CTX_get_current_cert(store);

    if (!ok || X509_STORE_CTX_get_error_depth(store) != 0) {
        return ok;
    }
    if (!judge || !cert) {
        X509_STORE_CTX_set_error(store, X509_V_ERR_APPLICATION_VERIFICATION);
        return 0;
    }
    if (net_tls_check(cert, &judge->want, &info, &err) < 0) {
        (void)snprintf(judge->reason, sizeof(judge->reason), "%.*s", (int)sizeof(judge->reason) - 1,
                       err.msg);
        X509_STORE_CTX_set_error(store, strstr(err.msg, "revoked")
                                            ? X509_V_ERR_CERT_REVOKED
                                            : X509_V_ERR_APPLICATION_VERIFICATION);
        return 0;
    }
    return 1;
}

static int use_identity(SSL_CTX *ctx, const struct net_identity *identity, bool server,
                        struct sk_err *err)
{
    net_auto(EVP_PKEY_free) EVP_PKEY *key = net_key_parse(sk_str(identity->key_pem), err);
    net_auto(X509_free) X509 *cert = NULL;
    net_auto(X509_free) X509 *ca = NULL;

    cert = key ? net_x509_parse(sk_str(identity->cert_pem), "the node's certificate", err) : NULL;
    ca = cert ? net_x509_parse(sk_str(identity->ca_pem), "the authority's certificate", err) : NULL;
    if (!ca) {
        return SK_ERR_INPUT;
    }
    /* A server sends the CA along: a newcomer knows it only by its fingerprint. A client does not:
     * its servers have it, and would hold a copy for each connection. */
    if (SSL_CTX_use_certificate(ctx, cert) != 1 || SSL_CTX_use_PrivateKey(ctx, key) != 1 ||
        (server && SSL_CTX_add1_chain_cert(ctx, ca) != 1) ||
        X509_STORE_add_cert(SSL_CTX_get_cert_store(ctx), ca) != 1) {
        return net_ossl_err(err, SK_ERR_INTERNAL, "use identity of '%s'", identity->info.node);
    }
    return 0;
}

static int set_rules(SSL_CTX *ctx)
{
    /* not literals: OpenSSL's macros cast const away */
    static char groups[] = "X25519:P-256";
    static char sigalgs[] = "ECDSA+SHA256";
    X509_VERIFY_PARAM *param = SSL_CTX_get0_param(ctx);

    SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE |
                              SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    (void)SSL_CTX_set_mode(ctx, SSL_MODE_NO_AUTO_CHAIN); /* what is sent is said below */
    SSL_CTX_clear_options(ctx, SSL_OP_ENABLE_MIDDLEBOX_COMPAT);
    SSL_CTX_set_options(ctx, SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION);
    SSL_CTX_set_max_cert_list(ctx, CERT_LIST_BYTES_MAX);
    SSL_CTX_set_verify_depth(ctx, 1);
    SSL_CTX_set_timeout(ctx, TICKET_LIFE_S);
    return SSL_CTX_set_min_proto_version(ctx, TLS1_3_VERSION) == 1 &&
           SSL_CTX_set_max_proto_version(ctx, TLS1_3_VERSION) == 1 &&
           SSL_CTX_set_max_early_data(ctx, 0) == 1 && SSL_CTX_set_num_tickets(ctx, 1) == 1 &&
           SSL_CTX_set_ciphersuites(ctx, "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:"
                                         "TLS_CHACHA20_POLY1305_SHA256") == 1 &&
           SSL_CTX_set1_groups_list(ctx, groups) == 1 &&
           SSL_CTX_set1_sigalgs_list(ctx, sigalgs) == 1 &&
           X509_VERIFY_PARAM_set_flags(param, X509_V_FLAG_X509_STRICT) == 1;
}

int net_tls_context(const struct net_identity *identity, bool server, SSL_CTX **ret,
                    struct sk_err *err)
{
    static const unsigned char session_context[] = "skerry-channel-1";
    SSL_CTX *ctx = SSL_CTX_new(server ? TLS_server_method() : TLS_client_method());
    int rc = 0;

    if (!ctx || !set_rules(ctx)) {
        SSL_CTX_free(ctx);
        return net_ossl_err(err, SK_ERR_INTERNAL, "set up TLS");
    }
    /* A server asks for a certificate and lets a newcomer come without: the connection's state
     * machine gives that one nothing but `join`. */
    SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, judge_cert);
    if (server) {
        SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
        if (SSL_CTX_set_session_id_context(ctx, session_context, sizeof(session_context) - 1) !=
            1) {
            rc = net_ossl_err(err, SK_ERR_INTERNAL, "set up TLS sessions");
        }
    } else {
        SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
    }
    if (rc == 0 && identity) {
        rc = use_identity(ctx, identity, server, err);
    }
    if (rc < 0) {
        SSL_CTX_free(ctx);
        return rc;
    }
    *ret = ctx;
    return 0;
}

int net_tls_err(SSL *ssl, const struct net_tls_judge *judge, struct sk_err *err)
{
    unsigned long code = ERR_peek_last_error();
    long verify = SSL_get_verify_result(ssl);
    const char *reason = code ? ERR_reason_error_string(code) : NULL;

    ERR_clear_error();
    if (judge->reason[0]) {
        return sk_err_set(err, SK_ERR_UNAUTHENTICATED, "%s", judge->reason);
    }
    if (verify != X509_V_OK && !SSL_is_init_finished(ssl)) {
        return sk_err_set(err, SK_ERR_UNAUTHENTICATED, "the certificate is refused: %s",
                          X509_verify_cert_error_string(verify));
    }
    return sk_err_set(err, SK_ERR_PROTOCOL, "TLS 1.3: %s", reason ? reason : "broken stream");
}
