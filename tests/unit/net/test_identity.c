/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "net/identity.h"
#include "sys/clock.h"
#include "sys/file.h"

#define HOUR_MS (3600LL * 1000)

static char dir[64];
static int64_t now;

static const char *at(const char *name)
{
    static char path[256];
    (void)snprintf(path, sizeof(path), "%s/%s", dir, name);
    return path;
}

static int set_up(void **state)
{
    (void)state;
    now = sys_wall_ms();
    (void)snprintf(dir, sizeof(dir), "/tmp/skerry-identity-XXXXXX");
    return mkdtemp(dir) ? 0 : -1;
}

static int clean(void **state)
{
    static const char *names[] = {"ca.pem", "node.key", "node.pem"};
    (void)state;
    for (size_t i = 0; i < 3; i++) {
        (void)unlink(at(names[i]));
    }
    return 0;
}

static int tear_down(void **state)
{
    (void)clean(state);
    return rmdir(dir);
}

static struct net_ca *new_ca(const char *cluster)
{
    struct net_ca *ca = NULL;
    struct sk_err err = {0};
    assert_int_equal(net_ca_new(cluster, now, &ca, &err), 0);
    return ca;
}

/* key and certificate of a node, in full */
static int issue(const struct net_ca *ca, const struct net_issue *what, struct sk_buf *key,
                 struct sk_buf *cert, struct net_cert_info *info, struct sk_err *err)
{
    struct sk_buf csr = SK_BUF_INIT;
    int rc;
    sk_buf_clear(key);
    assert_int_equal(net_key_new(key, err), 0);
    assert_int_equal(net_csr_new(sk_buf_str(key), "whatever", &csr, err), 0);
    rc = net_ca_issue(ca, sk_buf_str(&csr), what, cert, info, err);
    sk_buf_release(&csr);
    return rc;
}

static void authority_comes_back(void **state)
{
    struct net_ca *ca = new_ca("coast"), *again = NULL, *other = new_ca("coast");
    struct sk_buf key = SK_BUF_INIT;
    uint8_t a[32], b[32];
    struct sk_err err = {0};
    (void)state;
    assert_int_equal(net_ca_key(ca, &key, &err), 0);
    assert_int_equal(net_ca_read(sk_buf_str(&key), sk_str(net_ca_pem(ca)), &again, &err), 0);
    assert_string_equal(net_ca_cluster(again), "coast");
    assert_string_equal(net_ca_pem(again), net_ca_pem(ca));
    assert_int_equal(net_ca_fingerprint(sk_str(net_ca_pem(ca)), a, &err), 0);
    assert_int_equal(net_ca_fingerprint(sk_str(net_ca_pem(other)), b, &err), 0);
    assert_memory_not_equal(a, b, 32);
    assert_int_equal(net_ca_fingerprint(SK_STR("junk"), b, &err), SK_ERR_INPUT);
    net_ca_free(again);
    again = NULL;
    /* a key that is not the certificate's */
    assert_int_equal(net_ca_read(sk_buf_str(&key), sk_str(net_ca_pem(other)), &again, &err),
                     SK_ERR_CORRUPT);
    assert_int_equal(net_ca_read(SK_STR("nothing"), sk_str(net_ca_pem(ca)), &again, &err),
                     SK_ERR_CORRUPT);
    assert_int_equal(net_ca_read(sk_buf_str(&key), SK_STR_NULL, &again, &err), SK_ERR_CORRUPT);
    assert_null(again);
    net_pem_wipe(&key);
    net_ca_free(ca);
    net_ca_free(other);
    assert_int_equal(net_ca_new("No Label", now, &again, &err), SK_ERR_INPUT);
    net_ca_free(NULL);
}

static void certificate_says_who(void **state)
{
    static const char *names[] = {"203.0.113.7", "2001:db8::7", "fra1.example.com"};
    struct net_issue what = {.kind = NET_CERT_CONTROL,
                             .node = "fra-1",
                             .names = names,
                             .nnames = 3,
                             .life_ms = 2 * HOUR_MS,
                             .wall_ms = now};
    struct net_ca *ca = new_ca("coast");
    struct sk_buf key = SK_BUF_INIT, cert = SK_BUF_INIT;
    struct net_cert_info info, read;
    struct sk_err err = {0};
    X509 *x509;
    BIO *bio;
    (void)state;
    assert_int_equal(issue(ca, &what, &key, &cert, &info, &err), 0);
    assert_int_equal(net_cert_read(sk_buf_str(&cert), &read, &err), 0);
    assert_memory_equal(&info, &read, sizeof(info));
    assert_string_equal(info.cluster, "coast");
    assert_string_equal(info.node, "fra-1");
    assert_int_equal(info.kind, NET_CERT_CONTROL);
    assert_int_equal(strlen(info.serial), 32);
    assert_true(info.issued_ms <= now && info.issued_ms > now - 1001);
    assert_true(info.not_after_ms <= now + 2 * HOUR_MS);
    assert_true(net_cert_renew_at_ms(&info) >= info.issued_ms + HOUR_MS - 2000);
    assert_true(net_cert_renew_at_ms(&info) <= info.issued_ms + 2 * HOUR_MS * 2 / 3);
    /* judged by OpenSSL's own eyes */
    bio = BIO_new_mem_buf(cert.ptr, (int)cert.len);
    x509 = PEM_read_bio_X509(bio, NULL, NULL, NULL);
    assert_int_equal(X509_check_ip_asc(x509, "203.0.113.7", 0), 1);
    assert_int_equal(X509_check_ip_asc(x509, "2001:db8::7", 0), 1);
    assert_int_equal(X509_check_host(x509, "fra1.example.com", 0, 0, NULL), 1);
    assert_int_equal(X509_check_host(x509, "fra2.example.com", 0, 0, NULL), 0);
    assert_int_equal(X509_check_purpose(x509, X509_PURPOSE_SSL_CLIENT, 0), 1);
    assert_int_equal(X509_check_purpose(x509, X509_PURPOSE_SSL_SERVER, 0), 1);
    assert_int_equal(X509_check_ca(x509), 0);
    X509_free(x509);
    BIO_free(bio);
    net_pem_wipe(&key);
    sk_buf_release(&cert);
    net_ca_free(ca);
}

static void kinds_differ(void **state)
{
    struct net_issue what = {.node = "fra-1", .wall_ms = now};
    struct net_ca *ca = new_ca("coast");
    struct sk_buf key = SK_BUF_INIT, cert = SK_BUF_INIT;
    struct net_cert_info a, b;
    struct sk_err err = {0};
    (void)state;
    assert_int_equal(issue(ca, &what, &key, &cert, &a, &err), 0);
    assert_int_equal(a.kind, NET_CERT_NODE);
    assert_true(a.not_after_ms - a.issued_ms <= NET_CERT_LIFE_MS + 1000);
    sk_buf_clear(&cert);
    what.kind = NET_CERT_API;
    assert_int_equal(issue(ca, &what, &key, &cert, &b, &err), SK_ERR_INPUT); /* good for nothing */
    what.names = (const char *const[]){"127.0.0.1"};
    what.nnames = 1;
    sk_buf_clear(&cert);
    assert_int_equal(issue(ca, &what, &key, &cert, &b, &err), 0);
    assert_int_equal(b.kind, NET_CERT_API);
    assert_string_equal(b.node, "");
    assert_string_not_equal(a.serial, b.serial);
    net_pem_wipe(&key);
    sk_buf_release(&cert);
    net_ca_free(ca);
}

static void requests_that_are_refused(void **state)
{
    static const char *many[NET_CERT_NAMES_MAX + 1];
    static const char *odd[] = {"a.example.com", "URI:skerry://coast/role/control"};
    struct net_issue what = {.node = "fra-1", .wall_ms = now};
    struct net_ca *ca = new_ca("coast");
    struct sk_buf key = SK_BUF_INIT, cert = SK_BUF_INIT, csr = SK_BUF_INIT;
    struct sk_err err = {0};
    char *byte;
    (void)state;
    for (size_t i = 0; i <= NET_CERT_NAMES_MAX; i++) {
        many[i] = "a";
    }
    assert_int_equal(issue(ca, &what, &key, &cert, NULL, &err), 0);
    sk_buf_clear(&cert);
    what.node = "fra-1/role";
    assert_int_equal(issue(ca, &what, &key, &cert, NULL, &err), SK_ERR_INPUT);
    what.node = NULL;
    assert_int_equal(issue(ca, &what, &key, &cert, NULL, &err), SK_ERR_INPUT);
    what.node = "fra-1";
    what.names = odd;
    what.nnames = 2;
    assert_int_equal(issue(ca, &what, &key, &cert, NULL, &err), SK_ERR_INPUT);
    what.names = many;
    what.nnames = NET_CERT_NAMES_MAX + 1;
    assert_int_equal(issue(ca, &what, &key, &cert, NULL, &err), SK_ERR_LIMIT);
    what.nnames = 0;
    what.life_ms = NET_CERT_LIFE_MS + 1;
    assert_int_equal(issue(ca, &what, &key, &cert, NULL, &err), SK_ERR_INPUT);
    what.life_ms = 0;
    /* a request that was changed on its way */
    assert_int_equal(net_csr_new(sk_buf_str(&key), "n", &csr, &err), 0);
    assert_int_equal(net_ca_issue(ca, sk_buf_str(&csr), &what, &cert, NULL, &err), 0);
    sk_buf_clear(&cert);
    byte = strchr(csr.ptr + 40, '\n') + 20;
    *byte = *byte == 'A' ? 'B' : 'A';
    assert_int_equal(net_ca_issue(ca, sk_buf_str(&csr), &what, &cert, NULL, &err), SK_ERR_INPUT);
    assert_int_equal(net_ca_issue(ca, SK_STR("junk"), &what, &cert, NULL, &err), SK_ERR_INPUT);
    assert_int_equal(net_ca_issue(ca, SK_STR_NULL, &what, &cert, NULL, &err), SK_ERR_INPUT);
    assert_int_equal(cert.len, 0);
    net_pem_wipe(&key);
    sk_buf_release(&cert);
    sk_buf_release(&csr);
    net_ca_free(ca);
}

static void weak_keys_are_refused(void **state)
{
    struct net_issue what = {.node = "fra-1", .wall_ms = now};
    struct net_ca *ca = new_ca("coast");
    struct sk_buf cert = SK_BUF_INIT;
    struct sk_err err = {0};
    EVP_PKEY *rsa = EVP_RSA_gen(1024);
    X509_REQ *req = X509_REQ_new();
    BIO *bio = BIO_new(BIO_s_mem());
    char *text = NULL;
    long len;
    (void)state;
    assert_int_equal(X509_REQ_set_pubkey(req, rsa), 1);
    assert_true(X509_REQ_sign(req, rsa, EVP_sha256()) > 0);
    assert_int_equal(PEM_write_bio_X509_REQ(bio, req), 1);
    len = BIO_get_mem_data(bio, &text);
    assert_int_equal(net_ca_issue(ca, (struct sk_str){text, (size_t)len}, &what, &cert, NULL, &err),
                     SK_ERR_INPUT);
    X509_REQ_free(req);
    EVP_PKEY_free(rsa);
    BIO_free(bio);
    sk_buf_release(&cert);
    net_ca_free(ca);
}

static void identity_comes_back_from_disk(void **state)
{
    struct net_issue what = {.node = "fra-1", .wall_ms = now};
    struct net_ca *ca = new_ca("coast"), *other = new_ca("coast");
    struct sk_buf key = SK_BUF_INIT, key2 = SK_BUF_INIT, cert = SK_BUF_INIT, cert2 = SK_BUF_INIT;
    struct net_identity id = {0}, again = {0};
    struct sk_err err = {0};
    struct stat st;
    (void)state;
    (void)clean(NULL);
    assert_int_equal(issue(ca, &what, &key, &cert, NULL, &err), 0);
    assert_int_equal(issue(ca, &what, &key2, &cert2, NULL, &err), 0);
    assert_int_equal(net_identity_load(dir, &again, &err), SK_ERR_NOT_FOUND);
    assert_int_equal(
        net_identity_make(sk_buf_str(&key2), sk_buf_str(&cert), sk_str(net_ca_pem(ca)), &id, &err),
        SK_ERR_INPUT); /* another key */
    assert_int_equal(net_identity_make(sk_buf_str(&key), sk_buf_str(&cert),
                                       sk_str(net_ca_pem(other)), &id, &err),
                     SK_ERR_INPUT); /* another authority */
    assert_null(id.key_pem);
    assert_int_equal(
        net_identity_make(sk_buf_str(&key), sk_buf_str(&cert), sk_str(net_ca_pem(ca)), &id, &err),
        0);
    assert_int_equal(net_identity_save(&id, dir, &err), 0);
    assert_int_equal(stat(at("node.key"), &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    assert_int_equal(net_identity_load(dir, &again, &err), 0);
    assert_string_equal(again.info.node, "fra-1");
    assert_string_equal(again.key_pem, id.key_pem);
    net_identity_release(&again);
    assert_int_equal(sys_file_write(at("node.key"), SK_STR("junk"), 0600, &err), 0);
    assert_int_equal(net_identity_load(dir, &again, &err), SK_ERR_CORRUPT);
    assert_int_equal(err.code, SK_ERR_CORRUPT);
    net_identity_release(&id);
    net_identity_release(&id);
    net_pem_wipe(&key);
    net_pem_wipe(&key2);
    sk_buf_release(&cert);
    sk_buf_release(&cert2);
    net_ca_free(ca);
    net_ca_free(other);
}

static void the_revoked(void **state)
{
    struct net_revoked *revoked = net_revoked_new();
    struct net_cert_info a = {.node = "fra-1", .serial = "40ab", .issued_ms = 5000};
    struct net_cert_info b = {.node = "fra-1", .serial = "40cd", .issued_ms = 9000};
    struct net_cert_info c = {.node = "ams-1", .serial = "40ef", .issued_ms = 5000};
    char longer[100];
    (void)state;
    memset(longer, 'a', sizeof(longer));
    assert_false(net_revoked_has(revoked, &a));
    net_revoked_add_serial(revoked, SK_STR("40AB"));
    assert_true(net_revoked_has(revoked, &a));
    assert_false(net_revoked_has(revoked, &b));
    net_revoked_add_node(revoked, SK_STR("fra-1"), 8000);
    net_revoked_add_node(revoked, SK_STR("fra-1"), 7000); /* never earlier again */
    assert_false(net_revoked_has(revoked, &b));           /* joined anew after it */
    b.issued_ms = 8000;
    assert_true(net_revoked_has(revoked, &b));
    assert_false(net_revoked_has(revoked, &c));
    net_revoked_add_serial(revoked, (struct sk_str){longer, sizeof(longer)});
    net_revoked_add_serial(revoked, SK_STR_NULL);
    assert_int_equal(net_revoked_count(revoked), 2);
    net_revoked_clear(revoked);
    assert_false(net_revoked_has(revoked, &a));
    net_revoked_free(revoked);
    net_revoked_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(authority_comes_back),  cmocka_unit_test(certificate_says_who),
        cmocka_unit_test(kinds_differ),          cmocka_unit_test(requests_that_are_refused),
        cmocka_unit_test(weak_keys_are_refused), cmocka_unit_test(identity_comes_back_from_disk),
        cmocka_unit_test(the_revoked),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
