/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SK_NET_TLS_H
#define SK_NET_TLS_H

#include <openssl/ssl.h>
#include <stdbool.h>

#include "base/err.h"
#include "net/identity.h"
#include "net/x509.h"

/*
 * Inside src/net only: how the channel uses OpenSSL. TLS 1.3 alone, P-256 and X25519, no early
 * data, no session cache on the server (its tickets hold the state), one ticket a handshake.
 */

/* What a peer's certificate must be, beyond signed by the CA and valid now. */
struct net_tls_want {
    const char *cluster;
    bool control;                      /* and a control node */
    const struct net_revoked *revoked; /* or NULL */
};

/* `identity` NULL makes a context without certificate and without trust: for the newcomer. */
int net_tls_context(const struct net_identity *identity, bool server, SSL_CTX **ret,
                    struct sk_err *err);

/* The verify callback: SSL_get_app_data() is the connection's `struct net_tls_judge`. */
struct net_tls_judge {
    struct net_tls_want want;
    char reason[160]; /* why a certificate was refused, "" if OpenSSL knows better */
};

/* Everything of the certificate that can change after its first handshake, for resumed sessions:
 * time, revocation; and who it is. */
int net_tls_check(X509 *cert, const struct net_tls_want *want, struct net_cert_info *ret,
                  struct sk_err *err);
/* The same for a live connection, whose certificate was valid once: a clock that is set back does
 * not make it invalid again. */
int net_tls_check_info(const struct net_cert_info *info, const struct net_tls_want *want,
                       struct sk_err *err);

/* The reason of a failed SSL call, in one line; empties OpenSSL's error queue. */
int net_tls_err(SSL *ssl, const struct net_tls_judge *judge, struct sk_err *err);

#endif
