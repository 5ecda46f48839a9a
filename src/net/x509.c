/* SPDX-License-Identifier: Apache-2.0 */
#include "net/x509.h"

#include <openssl/bio.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/mem.h"

int net_ossl_err(struct sk_err *err, int code, const char *fmt, ...)
{
    char text[SK_ERR_MSG_MAX];
    const char *reason = ERR_reason_error_string(ERR_peek_last_error());
    va_list ap;

    va_start(ap, fmt);
    if (vsnprintf(text, sizeof(text), fmt, ap) < 0) {
        text[0] = '\0';
    }
    va_end(ap);
    ERR_clear_error();
    return sk_err_set(err, code, reason ? "%s: %s" : "%s", text, reason);
}

/* Never asks a terminal: an encrypted PEM is simply not ours. */
static int no_passphrase(char *buf, int size, int rwflag, void *ctx)
{
    (void)buf;
    (void)size;
    (void)rwflag;
    (void)ctx;
    return -1;
}

static BIO *bio_of(struct sk_str pem)
{
    return pem.len && pem.len <= NET_PEM_BYTES_MAX ? BIO_new_mem_buf(pem.ptr, (int)pem.len) : NULL;
}

X509 *net_x509_parse(struct sk_str pem, const char *what, struct sk_err *err)
{
    net_auto(BIO_free_all) BIO *bio = bio_of(pem);
    X509 *cert = bio ? PEM_read_bio_X509(bio, NULL, no_passphrase, NULL) : NULL;

    if (!cert) {
        (void)net_ossl_err(err, SK_ERR_INPUT, "%s is not a certificate in PEM form", what);
    }
    return cert;
}

EVP_PKEY *net_key_parse(struct sk_str pem, struct sk_err *err)
{
    net_auto(BIO_free_all) BIO *bio = bio_of(pem);
    EVP_PKEY *key = bio ? PEM_read_bio_PrivateKey(bio, NULL, no_passphrase, NULL) : NULL;

    if (key && !net_key_is_p256(key)) {
        EVP_PKEY_free(key);
        key = NULL;
    }
    if (!key) {
        (void)net_ossl_err(err, SK_ERR_INPUT, "not a P-256 private key in PEM form");
    }
    return key;
}

bool net_key_is_p256(EVP_PKEY *key)
{
    char group[32] = "";
    size_t len = 0;

    return EVP_PKEY_is_a(key, "EC") &&
           EVP_PKEY_get_group_name(key, group, sizeof(group), &len) == 1 &&
           strcmp(group, "prime256v1") == 0;
}

int net_key_print(EVP_PKEY *key, struct sk_buf *pem, struct sk_err *err)
{
    net_auto(BIO_free_all) BIO *bio = BIO_new(BIO_s_secmem());
    char *text = NULL;
    long len;

    if (!bio || PEM_write_bio_PKCS8PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL) != 1) {
        return net_ossl_err(err, SK_ERR_INTERNAL, "write private key");
    }
    len = BIO_get_mem_data(bio, &text);
    sk_buf_add(pem, text, (size_t)len);
    return 0;
}

int net_key_new(struct sk_buf *ret_key_pem, struct sk_err *err)
{
    net_auto(EVP_PKEY_free) EVP_PKEY *key = EVP_EC_gen("P-256");
    return key ? net_key_print(key, ret_key_pem, err)
               : net_ossl_err(err, SK_ERR_INTERNAL, "make private key");
}

int net_x509_print(X509 *cert, struct sk_buf *ret_pem, struct sk_err *err)
{
    net_auto(BIO_free_all) BIO *bio = BIO_new(BIO_s_mem());
    char *text = NULL;
    long len;

    if (!bio || PEM_write_bio_X509(bio, cert) != 1) {
        return net_ossl_err(err, SK_ERR_INTERNAL, "write certificate");
    }
    len = BIO_get_mem_data(bio, &text);
    sk_buf_add(ret_pem, text, (size_t)len);
    return 0;
}

int net_x509_fingerprint(X509 *cert, uint8_t ret[SK_SHA256_BYTES], struct sk_err *err)
{
    unsigned len = SK_SHA256_BYTES;

    if (X509_digest(cert, EVP_sha256(), ret, &len) != 1 || len != SK_SHA256_BYTES) {
        return net_ossl_err(err, SK_ERR_INTERNAL, "hash certificate");
    }
    return 0;
}

static int time_ms(const ASN1_TIME *at, int64_t *ret)
{
    struct tm tm = {0};

    if (ASN1_TIME_to_tm(at, &tm) != 1) {
        return -1;
    }
    *ret = (int64_t)timegm(&tm) * 1000;
    return 0;
}

static int serial_text(X509 *cert, char ret[NET_SERIAL_SIZE])
{
    const ASN1_INTEGER *serial = X509_get0_serialNumber(cert);
    int len = ASN1_STRING_length(serial);

    if (len < 1 || len > 20 || ASN1_STRING_type(serial) != V_ASN1_INTEGER) {
        return -1;
    }
    sk_hex(ASN1_STRING_get0_data(serial), (size_t)len, ret);
    return 0;
}

static int copy_label(struct sk_str label, char ret[NET_NAME_SIZE])
{
    if (!sk_str_is_label(label)) {
        return -1;
    }
    memcpy(ret, label.ptr, label.len);
    ret[label.len] = '\0';
    return 0;
}

/* "skerry://CLUSTER/node/NAME" or "skerry://CLUSTER/role/control", anything else is refused. */
static int read_uri(struct sk_str uri, struct net_cert_info *info, unsigned *nodes)
{
    struct sk_str scheme = SK_STR("skerry://");
    struct sk_str cluster, rest, word, name;
    char label[NET_NAME_SIZE];

    if (!sk_str_starts(uri, scheme)) {
        return -1;
    }
    uri.ptr += scheme.len;
    uri.len -= scheme.len;
    if (!sk_str_cut(uri, '/', &cluster, &rest) || !sk_str_cut(rest, '/', &word, &name) ||
        copy_label(cluster, label) < 0 || (info->cluster[0] && strcmp(info->cluster, label) != 0)) {
        return -1;
    }
    memcpy(info->cluster, label, sizeof(label));
    if (sk_str_is(word, "node")) {
        (*nodes)++;
        return copy_label(name, info->node);
    }
    if (sk_str_is(word, "role") && sk_str_is(name, "control")) {
        info->kind = NET_CERT_CONTROL;
        return 0;
    }
    return -1;
}

static int read_names(X509 *cert, struct net_cert_info *info)
{
    GENERAL_NAMES *names = X509_get_ext_d2i(cert, NID_subject_alt_name, NULL, NULL);
    unsigned nodes = 0, uris = 0;
    int rc = names ? 0 : -1;

    for (int i = 0; rc == 0 && i < sk_GENERAL_NAME_num(names); i++) {
        const GENERAL_NAME *name = sk_GENERAL_NAME_value(names, i);
        if (name->type == GEN_URI) {
            const ASN1_IA5STRING *text = name->d.uniformResourceIdentifier;
            struct sk_str uri = {(const char *)ASN1_STRING_get0_data(text),
                                 (size_t)ASN1_STRING_length(text)};
            uris++;
            rc = read_uri(uri, info, &nodes);
        }
    }
    GENERAL_NAMES_free(names);
    if (rc == 0 && uris == 0) {
        info->kind = NET_CERT_API;
    } else if (nodes != 1) {
        rc = -1;
    }
    return rc;
}

int net_x509_info(X509 *cert, struct net_cert_info *ret, struct sk_err *err)
{
    struct net_cert_info info = {.kind = NET_CERT_NODE};
    int64_t not_before_ms;

    if (time_ms(X509_get0_notBefore(cert), &not_before_ms) < 0 ||
        time_ms(X509_get0_notAfter(cert), &info.not_after_ms) < 0 ||
        serial_text(cert, info.serial) < 0 || read_names(cert, &info) < 0) {
        return net_ossl_err(err, SK_ERR_INPUT, "the certificate does not name a node of a cluster");
    }
    info.issued_ms = not_before_ms + NET_CERT_BACKDATE_MS;
    *ret = info;
    return 0;
}
