/* SPDX-License-Identifier: Apache-2.0 */
#include "net/identity.h"

#include <openssl/crypto.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "net/x509.h"
#include "sys/file.h"

void net_pem_wipe(struct sk_buf *pem)
{
    if (pem->ptr) {
        OPENSSL_cleanse(pem->ptr, pem->cap);
    }
    sk_buf_release(pem);
}

int net_csr_new(struct sk_str key_pem, const char *node, struct sk_buf *ret_csr_pem,
                struct sk_err *err)
{
    net_auto(EVP_PKEY_free) EVP_PKEY *key = net_key_parse(key_pem, err);
    net_auto(X509_REQ_free) X509_REQ *req = NULL;
    net_auto(BIO_free_all) BIO *bio = NULL;
    char *text = NULL;
    long len;

    if (!key) {
        return SK_ERR_INPUT;
    }
    req = X509_REQ_new();
    bio = BIO_new(BIO_s_mem());
    if (!req || !bio || X509_REQ_set_version(req, X509_REQ_VERSION_1) != 1 ||
        X509_NAME_add_entry_by_txt(X509_REQ_get_subject_name(req), "CN", MBSTRING_ASC,
                                   (const unsigned char *)node, -1, -1, 0) != 1 ||
        X509_REQ_set_pubkey(req, key) != 1 || X509_REQ_sign(req, key, EVP_sha256()) <= 0 ||
        PEM_write_bio_X509_REQ(bio, req) != 1) {
        return net_ossl_err(err, SK_ERR_INTERNAL, "make certificate request of '%.80s'", node);
    }
    len = BIO_get_mem_data(bio, &text);
    sk_buf_add(ret_csr_pem, text, (size_t)len);
    return 0;
}

int net_cert_read(struct sk_str cert_pem, struct net_cert_info *ret, struct sk_err *err)
{
    net_auto(X509_free) X509 *cert = net_x509_parse(cert_pem, "the text", err);
    return cert ? net_x509_info(cert, ret, err) : SK_ERR_INPUT;
}

int64_t net_cert_renew_at_ms(const struct net_cert_info *info)
{
    int64_t life_ms = info->not_after_ms - info->issued_ms;
    int64_t permille = 0;

    /* A spread that needs no randomness: the serial is random already. */
    for (const char *c = info->serial; *c; c++) {
        permille = (permille * 31 + *c) % 100;
    }
    return info->issued_ms + life_ms / 2 + life_ms / 1000 * permille;
}

int net_identity_make(struct sk_str key_pem, struct sk_str cert_pem, struct sk_str ca_pem,
                      struct net_identity *ret, struct sk_err *err)
{
    net_auto(EVP_PKEY_free) EVP_PKEY *key = NULL;
    net_auto(X509_free) X509 *cert = NULL;
    net_auto(X509_free) X509 *ca = NULL;
    struct net_cert_info info;
    int rc;

    key = net_key_parse(key_pem, err);
    cert = key ? net_x509_parse(cert_pem, "the node's certificate", err) : NULL;
    ca = cert ? net_x509_parse(ca_pem, "the authority's certificate", err) : NULL;
    if (!ca) {
        return SK_ERR_INPUT;
    }
    rc = net_x509_info(cert, &info, err);
    if (rc < 0) {
        return rc;
    }
    if (X509_check_private_key(cert, key) != 1) {
        return net_ossl_err(err, SK_ERR_INPUT, "the certificate is of another key");
    }
    if (X509_check_ca(ca) != 1 || X509_verify(cert, X509_get0_pubkey(ca)) != 1) {
        return net_ossl_err(err, SK_ERR_INPUT, "the certificate is not signed by the authority");
    }
    ret->key_pem = sk_xstrndup(key_pem.ptr, key_pem.len);
    ret->cert_pem = sk_xstrndup(cert_pem.ptr, cert_pem.len);
    ret->ca_pem = sk_xstrndup(ca_pem.ptr, ca_pem.len);
    ret->info = info;
    return 0;
}

void net_identity_release(struct net_identity *id)
{
    if (id->key_pem) {
        OPENSSL_cleanse(id->key_pem, strlen(id->key_pem));
    }
    free(id->key_pem);
    free(id->cert_pem);
    free(id->ca_pem);
    memset(id, 0, sizeof(*id));
}

static int read_part(const char *dir, const char *name, struct sk_buf *buf, struct sk_err *err)
{
    char path[4200];

    (void)snprintf(path, sizeof(path), "%s/%s", dir, name);
    return sys_file_read(path, NET_PEM_BYTES_MAX, buf, err);
}

int net_identity_load(const char *dir, struct net_identity *ret, struct sk_err *err)
{
    struct sk_buf key = SK_BUF_INIT;
    struct sk_buf cert = SK_BUF_INIT;
    struct sk_buf ca = SK_BUF_INIT;
    int rc = read_part(dir, "node.pem", &cert, err);

    if (rc == 0) {
        rc = read_part(dir, "ca.pem", &ca, err);
    }
    if (rc == 0) {
        rc = read_part(dir, "node.key", &key, err);
    }
    if (rc == 0) {
        rc = net_identity_make(sk_buf_str(&key), sk_buf_str(&cert), sk_buf_str(&ca), ret, err);
        if (rc < 0) {
            (void)sk_err_wrap(err, "the identity in '%s' is damaged", dir);
            if (err) {
                err->code = SK_ERR_CORRUPT;
            }
            rc = SK_ERR_CORRUPT;
        }
    }
    net_pem_wipe(&key);
    sk_buf_release(&cert);
    sk_buf_release(&ca);
    return rc;
}

static int write_part(const char *dir, const char *name, const char *text, mode_t mode,
                      struct sk_err *err)
{
    char path[4200];

    (void)snprintf(path, sizeof(path), "%s/%s", dir, name);
    return sys_file_write(path, sk_str(text), mode, err);
}

int net_identity_save_cert(const struct net_identity *id, const char *dir, struct sk_err *err)
{
    return write_part(dir, "node.pem", id->cert_pem, 0644, err);
}

int net_identity_save(const struct net_identity *id, const char *dir, struct sk_err *err)
{
    int rc = write_part(dir, "node.key", id->key_pem, 0600, err);

    if (rc == 0) {
        rc = write_part(dir, "ca.pem", id->ca_pem, 0644, err);
    }
    return rc < 0 ? rc : write_part(dir, "node.pem", id->cert_pem, 0644, err);
}
