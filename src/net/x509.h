/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SK_NET_X509_H
#define SK_NET_X509_H

#include <openssl/evp.h>
#include <openssl/x509.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/str.h"
#include "net/identity.h"

/* Inside src/net only: OpenSSL's objects for the texts of identity.h. */

/* Sets `code` and the message, followed by OpenSSL's own reason; empties OpenSSL's error queue. */
int net_ossl_err(struct sk_err *err, int code, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

X509 *net_x509_parse(struct sk_str pem, const char *what, struct sk_err *err); /* NULL on failure */
EVP_PKEY *net_key_parse(struct sk_str pem, struct sk_err *err);
int net_x509_print(X509 *cert, struct sk_buf *ret_pem, struct sk_err *err); /* appends */
int net_x509_fingerprint(X509 *cert, uint8_t ret[SK_SHA256_BYTES], struct sk_err *err);
int net_x509_info(X509 *cert, struct net_cert_info *ret, struct sk_err *err);
int net_key_print(EVP_PKEY *key, struct sk_buf *pem, struct sk_err *err); /* appends; wipe it */
bool net_key_is_p256(EVP_PKEY *key);

/* Free with the object's own function at the end of a scope. */
#define NET_AUTO(type, name)                      \
    static inline void net_auto_##name(type **at) \
    {                                             \
        name(*at);                                \
    }
NET_AUTO(X509, X509_free)
NET_AUTO(X509_REQ, X509_REQ_free)
NET_AUTO(EVP_PKEY, EVP_PKEY_free)
NET_AUTO(BIO, BIO_free_all)
NET_AUTO(X509_NAME, X509_NAME_free)
NET_AUTO(X509_STORE, X509_STORE_free)
NET_AUTO(X509_STORE_CTX, X509_STORE_CTX_free)
NET_AUTO(BIGNUM, BN_free)
#define net_auto(free_fn) sk_auto(net_auto_##free_fn)

#endif
