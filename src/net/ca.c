/* SPDX-License-Identifier: Apache-2.0 */
#include "net/identity.h"

#include <openssl/bn.h>
#include <openssl/ec.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "net/address.h"
#include "net/x509.h"
#include "sys/clock.h"

struct net_ca {
    X509 *cert;
    EVP_PKEY *key;
    char *pem;
    char cluster[NET_NAME_SIZE];
};

void net_ca_free(struct net_ca *ca)
{
    if (ca) {
        X509_free(ca->cert);
        EVP_PKEY_free(ca->key); /* OpenSSL clears private numbers */
        free(ca->pem);
        free(ca);
    }
}

const char *net_ca_pem(const struct net_ca *ca)
{
    return ca->pem;
}

const char *net_ca_cluster(const struct net_ca *ca)
{
    return ca->cluster;
}

int net_ca_fingerprint(struct sk_str ca_pem, uint8_t ret[SK_SHA256_BYTES], struct sk_err *err)
{
    net_auto(X509_free) X509 *cert = net_x509_parse(ca_pem, "the authority's file", err);
    return cert ? net_x509_fingerprint(cert, ret, err) : SK_ERR_INPUT;
}

/* 127 random bits: unique without a counter that a restored backup would set back. `given` is the
 * owner's own choice of them, 32 hex digits. */
static int set_serial(X509 *cert, const char *given)
{
    net_auto(BN_free) BIGNUM *number = NULL;
    uint8_t bytes[16];

    if (!given) {
        sys_random(bytes, sizeof(bytes));
    } else if (!sk_unhex(sk_str(given), bytes, sizeof(bytes))) {
        return 0;
    }
    bytes[0] = (uint8_t)((bytes[0] & 0x7f) | 0x40); /* positive, and always 16 bytes long */
    number = BN_bin2bn(bytes, sizeof(bytes), NULL);
    return number && BN_to_ASN1_INTEGER(number, X509_get_serialNumber(cert)) ? 1 : 0;
}

static int set_name(X509_NAME *name, const char *cluster, const char *common)
{
    return X509_NAME_add_entry_by_txt(name, "O", MBSTRING_ASC, (const unsigned char *)cluster, -1,
                                      -1, 0) == 1 &&
           X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const unsigned char *)common, -1,
                                      -1, 0) == 1;
}

static int set_times(X509 *cert, int64_t from_ms, int64_t until_ms)
{
    return ASN1_TIME_set(X509_getm_notBefore(cert), (time_t)(from_ms / 1000)) &&
           ASN1_TIME_set(X509_getm_notAfter(cert), (time_t)(until_ms / 1000));
}

/* `value` is always a constant of this file: this syntax must never see anything from outside. */
static int add_ext(X509 *cert, X509 *issuer, int nid, const char *value)
{
    X509V3_CTX ctx;
    X509_EXTENSION *ext;
    int ok;

    X509V3_set_ctx(&ctx, issuer, cert, NULL, NULL, 0);
    ext = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
    ok = ext && X509_add_ext(cert, ext, -1) == 1;
    X509_EXTENSION_free(ext);
    return ok;
}

static X509 *make_ca_cert(EVP_PKEY *key, const char *cluster, int64_t wall_ms)
{
    X509 *cert = X509_new();

    if (cert && X509_set_version(cert, X509_VERSION_3) && set_serial(cert, NULL) &&
        set_name(X509_get_subject_name(cert), cluster, "skerry CA") &&
        X509_set_issuer_name(cert, X509_get_subject_name(cert)) &&
        set_times(cert, wall_ms - 24LL * 3600 * 1000, wall_ms + NET_CA_LIFE_MS) &&
        X509_set_pubkey(cert, key) &&
        add_ext(cert, cert, NID_basic_constraints, "critical,CA:TRUE,pathlen:0") &&
        add_ext(cert, cert, NID_key_usage, "critical,keyCertSign,cRLSign") &&
        add_ext(cert, cert, NID_subject_key_identifier, "hash") &&
        X509_sign(cert, key, EVP_sha256()) > 0) {
        return cert;
    }
    X509_free(cert);
    return NULL;
}

int net_ca_new(const char *cluster, int64_t wall_ms, struct net_ca **ret, struct sk_err *err)
{
    struct net_ca *ca;
    struct sk_buf pem = SK_BUF_INIT;

    if (!sk_str_is_label(sk_str(cluster))) {
        return sk_err_set(err, SK_ERR_INPUT,
                          "cluster name '%.80s' is not of the form [a-z0-9-]{1,63}", cluster);
    }
    ca = sk_xcalloc(1, sizeof(*ca));
    (void)snprintf(ca->cluster, sizeof(ca->cluster), "%s", cluster);
    ca->key = EVP_EC_gen("P-256");
    ca->cert = ca->key ? make_ca_cert(ca->key, cluster, wall_ms) : NULL;
    if (!ca->cert || net_x509_print(ca->cert, &pem, NULL) < 0) {
        sk_buf_release(&pem);
        net_ca_free(ca);
        return net_ossl_err(err, SK_ERR_INTERNAL, "make certificate authority");
    }
    ca->pem = sk_buf_steal(&pem, NULL);
    *ret = ca;
    return 0;
}

int net_ca_key(const struct net_ca *ca, struct sk_buf *ret_key_pem, struct sk_err *err)
{
    return net_key_print(ca->key, ret_key_pem, err);
}

/* The cluster's name is the O of the authority's own name. */
static int read_cluster(X509 *cert, char ret[NET_NAME_SIZE])
{
    char text[NET_NAME_SIZE + 1];
    int len = X509_NAME_get_text_by_NID(X509_get_subject_name(cert), NID_organizationName, text,
                                        sizeof(text));

    if (len < 1 || len >= NET_NAME_SIZE || strlen(text) != (size_t)len ||
        !sk_str_is_label(sk_str(text))) {
        return -1;
    }
    memcpy(ret, text, (size_t)len + 1);
    return 0;
}

int net_ca_read(struct sk_str key_pem, struct sk_str ca_pem, struct net_ca **ret,
                struct sk_err *err)
{
    struct net_ca *ca = sk_xcalloc(1, sizeof(*ca));

    ca->key = net_key_parse(key_pem, NULL);
    ca->cert = net_x509_parse(ca_pem, "the authority's certificate", NULL);
    ca->pem = sk_xstrndup(ca_pem.ptr ? ca_pem.ptr : "", ca_pem.len);
    if (!ca->key || !ca->cert || X509_check_private_key(ca->cert, ca->key) != 1 ||
        X509_check_ca(ca->cert) != 1 || read_cluster(ca->cert, ca->cluster) < 0) {
        net_ca_free(ca);
        return net_ossl_err(err, SK_ERR_CORRUPT,
                            "the authority's key and certificate are damaged, or not of each "
                            "other");
    }
    *ret = ca;
    return 0;
}

/* ---- issue ---- */

static int add_name(GENERAL_NAMES *names, int type, const char *text)
{
    GENERAL_NAME *name = GENERAL_NAME_new();
    ASN1_STRING *value = NULL;

    if (type == GEN_IPADD) {
        value = a2i_IPADDRESS(text);
    } else {
        value = ASN1_IA5STRING_new();
        if (value && ASN1_STRING_set(value, text, -1) != 1) {
            ASN1_STRING_free(value);
            value = NULL;
        }
    }
    if (!name || !value) {
        GENERAL_NAME_free(name);
        ASN1_STRING_free(value);
        return 0;
    }
    GENERAL_NAME_set0_value(name, type, value);
    if (sk_GENERAL_NAME_push(names, name) <= 0) {
        GENERAL_NAME_free(name);
        return 0;
    }
    return 1;
}

static bool is_address(const char *text)
{
    ASN1_OCTET_STRING *raw = a2i_IPADDRESS(text);
    ASN1_OCTET_STRING_free(raw);
    return raw != NULL;
}

static int add_names(X509 *cert, const char *cluster, const struct net_issue *issue)
{
    GENERAL_NAMES *names = sk_GENERAL_NAME_new_null();
    char uri[2 * NET_NAME_SIZE + 32];
    int ok = names != NULL;

    if (ok && issue->kind != NET_CERT_API) {
        (void)snprintf(uri, sizeof(uri), "skerry://%s/node/%s", cluster, issue->node);
        ok = add_name(names, GEN_URI, uri);
    }
    if (ok && issue->kind == NET_CERT_CONTROL) {
        (void)snprintf(uri, sizeof(uri), "skerry://%s/role/control", cluster);
        ok = add_name(names, GEN_URI, uri);
    }
    for (size_t i = 0; ok && i < issue->nnames; i++) {
        ok = add_name(names, is_address(issue->names[i]) ? GEN_IPADD : GEN_DNS, issue->names[i]);
    }
    ok = ok && X509_add1_ext_i2d(cert, NID_subject_alt_name, names, 0, X509V3_ADD_DEFAULT) == 1;
    GENERAL_NAMES_free(names);
    return ok;
}

static X509 *make_cert(const struct net_ca *ca, EVP_PKEY *key, const struct net_issue *issue)
{
    X509 *cert = X509_new();
    bool api = issue->kind == NET_CERT_API;
    int64_t life_ms = issue->life_ms ? issue->life_ms : NET_CERT_LIFE_MS;

    if (cert && X509_set_version(cert, X509_VERSION_3) && set_serial(cert, issue->serial) &&
        set_name(X509_get_subject_name(cert), ca->cluster, issue->node) &&
        X509_set_issuer_name(cert, X509_get_subject_name(ca->cert)) &&
        set_times(cert, issue->wall_ms - NET_CERT_BACKDATE_MS, issue->wall_ms + life_ms) &&
        X509_set_pubkey(cert, key) &&
        add_ext(cert, ca->cert, NID_basic_constraints, "critical,CA:FALSE") &&
        add_ext(cert, ca->cert, NID_key_usage, "critical,digitalSignature") &&
        add_ext(cert, ca->cert, NID_ext_key_usage, api ? "serverAuth" : "serverAuth,clientAuth") &&
        add_ext(cert, ca->cert, NID_subject_key_identifier, "hash") &&
        add_ext(cert, ca->cert, NID_authority_key_identifier, "keyid:always") &&
        add_names(cert, ca->cluster, issue) && X509_sign(cert, ca->key, EVP_sha256()) > 0) {
        return cert;
    }
    X509_free(cert);
    return NULL;
}

static EVP_PKEY *key_of_request(struct sk_str csr_pem, struct sk_err *err)
{
    net_auto(BIO_free_all) BIO *bio = NULL;
    net_auto(X509_REQ_free) X509_REQ *req = NULL;
    EVP_PKEY *key;

    if (csr_pem.len && csr_pem.len <= NET_PEM_BYTES_MAX) {
        bio = BIO_new_mem_buf(csr_pem.ptr, (int)csr_pem.len);
        req = bio ? PEM_read_bio_X509_REQ(bio, NULL, NULL, NULL) : NULL;
    }
    key = req ? X509_REQ_get0_pubkey(req) : NULL;
    if (!key || !net_key_is_p256(key) || X509_REQ_verify(req, key) != 1) {
        (void)net_ossl_err(err, SK_ERR_INPUT,
                           "the certificate request is not one of a P-256 key, signed by it");
        return NULL;
    }
    return EVP_PKEY_up_ref(key) == 1 ? key : NULL;
}

/* What set_serial() would not change: the number in the certificate is the one that was asked for.
 */
static bool serial_is_valid(const char *serial)
{
    uint8_t bytes[16];
    return sk_unhex(sk_str(serial), bytes, sizeof(bytes)) && (bytes[0] & 0xc0) == 0x40;
}

static int check_issue(const struct net_issue *issue, struct sk_err *err)
{
    if (!issue->node || !sk_str_is_label(sk_str(issue->node))) {
        return sk_err_set(err, SK_ERR_INPUT, "node name '%.80s' is not of the form [a-z0-9-]{1,63}",
                          issue->node ? issue->node : "");
    }
    if (issue->serial && !serial_is_valid(issue->serial)) {
        return sk_err_set(err, SK_ERR_INPUT,
                          "serial '%.80s' is not 32 hex digits of which the first is 4 to 7",
                          issue->serial);
    }
    if (issue->kind == NET_CERT_API && issue->nnames == 0) {
        return sk_err_set(err, SK_ERR_INPUT, "a certificate for the API needs a name or address");
    }
    if (issue->nnames > NET_CERT_NAMES_MAX) {
        return sk_err_set(err, SK_ERR_LIMIT, "more than %d names for the certificate of '%s'",
                          NET_CERT_NAMES_MAX, issue->node);
    }
    for (size_t i = 0; i < issue->nnames; i++) {
        if (!net_is_host_name(sk_str(issue->names[i])) && !is_address(issue->names[i])) {
            return sk_err_set(err, SK_ERR_INPUT, "'%.80s' is neither a host name nor an address",
                              issue->names[i]);
        }
    }
    if (issue->life_ms < 0 || issue->life_ms > NET_CERT_LIFE_MS) {
        return sk_err_set(err, SK_ERR_INPUT, "a certificate lives at most 24 hours");
    }
    return 0;
}

int net_ca_issue(const struct net_ca *ca, struct sk_str csr_pem, const struct net_issue *issue,
                 struct sk_buf *ret_cert_pem, struct net_cert_info *ret_info, struct sk_err *err)
{
    net_auto(EVP_PKEY_free) EVP_PKEY *key = NULL;
    net_auto(X509_free) X509 *cert = NULL;
    struct net_cert_info info = {0};
    int rc = check_issue(issue, err);

    if (rc < 0) {
        return rc;
    }
    key = key_of_request(csr_pem, err);
    if (!key) {
        return SK_ERR_INPUT;
    }
    cert = make_cert(ca, key, issue);
    if (!cert) {
        return net_ossl_err(err, SK_ERR_INTERNAL, "sign certificate of '%s'", issue->node);
    }
    rc = net_x509_info(cert, &info, err);
    if (rc == 0) {
        rc = net_x509_print(cert, ret_cert_pem, err);
    }
    if (rc == 0 && ret_info) {
        *ret_info = info;
    }
    return rc;
}
