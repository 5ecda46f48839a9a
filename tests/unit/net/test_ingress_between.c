/* SPDX-License-Identifier: Apache-2.0 */
/* The ingress with a real HAProxy on loopback: the port between sites, and who may use it. */
#include <arpa/inet.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/mem.h"
#include "ingress_site.h"
#include "sys/clock.h"
#include "sys/file.h"

/* The certificate of a site's ingress must be of the node that runs it. */
static void a_false_site_gets_nothing(void **state)
{
    static struct site fra, ams;
    struct replica b = start_replica("b");
    const struct replica *const at_ams[] = {&b};
    char text[1024];
    (void)state;
    open_site(&fra, "fra", "127.0.0.1", NULL);
    open_site(&ams, "ams", "127.0.0.2", NULL);
    give_identity(&fra, "fra-1");
    give_identity(&ams, "mallory"); /* a member, but not the one that the view names */
    set_local(&ams, at_ams, 1);
    fra.remote[0] =
        (struct ingress_remote){SK_STR("ams"), SK_STR("ams-1"), SK_STR("127.0.0.2"), 1.5};
    fra.services[0].nremote = 1;
    apply(&fra);
    apply(&ams);
    settle(&fra);
    settle(&ams);
    pump(1200);
    assert_int_equal(ask("127.0.0.1", http_port, "shop.example.com", text, sizeof(text)), 503);
    give_identity(&ams, "ams-1");
    settle(&ams);
    assert_true(comes_to("127.0.0.1", "instance=b\n"));
    close_site(&fra);
    close_site(&ams);
    kill_replica(&b);
}

/* A TLS client at the port between sites; true if it got an answer. */
static bool tls_answer(const struct sk_buf *cert, const struct sk_buf *key)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(inter_port)};
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
    bool answered = false;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct timeval wait = {.tv_sec = 2};
    (void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof(wait));
    assert_int_equal(inet_pton(AF_INET, "127.0.0.1", &a.sin_addr), 1);
    if (cert != NULL) {
        BIO *c = BIO_new_mem_buf(cert->ptr, (int)cert->len);
        BIO *k = BIO_new_mem_buf(key->ptr, (int)key->len);
        X509 *x = PEM_read_bio_X509(c, NULL, NULL, NULL);
        EVP_PKEY *p = PEM_read_bio_PrivateKey(k, NULL, NULL, NULL);
        assert_int_equal(SSL_CTX_use_certificate(ctx, x), 1);
        assert_int_equal(SSL_CTX_use_PrivateKey(ctx, p), 1);
        X509_free(x);
        EVP_PKEY_free(p);
        BIO_free(c);
        BIO_free(k);
    }
    SSL *ssl = SSL_new(ctx);
    static const unsigned char alpn[] = "\x10"
                                        "in.shop.web.http";
    assert_int_equal(SSL_set_alpn_protos(ssl, alpn, sizeof(alpn) - 1), 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&a, sizeof(a)), 0);
    (void)SSL_set_fd(ssl, fd);
    if (SSL_connect(ssl) == 1) {
        static const char request[] =
            "GET /up HTTP/1.1\r\nHost: x\r\nX-Skerry-Check: r.fra\r\nConnection: close\r\n\r\n";
        char text[256];
        (void)SSL_write(ssl, request, (int)sizeof(request) - 1);
        answered = SSL_read(ssl, text, sizeof(text)) > 0;
    }
    SSL_free(ssl);
    SSL_CTX_free(ctx);
    (void)close(fd);
    return answered;
}

static void the_port_between_sites_knows_its_own(void **state)
{
    static struct site fra;
    struct sk_buf key = SK_BUF_INIT, cert = SK_BUF_INIT;
    struct sk_buf foreign_key = SK_BUF_INIT, foreign_cert = SK_BUF_INIT;
    char serial[64];
    char text[256];
    (void)state;
    (void)signal(SIGPIPE, SIG_IGN);
    open_site(&fra, "fra", "127.0.0.1", NULL);
    give_identity(&fra, "fra-1");
    apply(&fra);
    settle(&fra);
    identity_of("ams-1", &key, &cert, serial);
    struct net_ca *own = ca;
    assert_int_equal(net_ca_new("test", sys_wall_ms(), &ca, NULL), 0);
    identity_of("ams-1", &foreign_key, &foreign_cert, NULL);
    net_ca_free(ca);
    ca = own;
    assert_true(tls_answer(&cert, &key));
    assert_false(tls_answer(NULL, NULL));
    assert_false(tls_answer(&foreign_cert, &foreign_key));
    assert_int_equal(ask("127.0.0.1", inter_port, "shop.example.com", text, sizeof(text)), 0);
    struct sk_str revoked = sk_str(serial);
    assert_int_equal(ingress_set_revoked(fra.ing, &revoked, 1, NULL), 0);
    settle(&fra);
    assert_false(tls_answer(&cert, &key));
    /* the next ingress of this folder knows it before it is told */
    static struct site next;
    struct sk_buf list = SK_BUF_INIT;
    struct ingress_options o = {.loop = &loop, .dir = fra.dir};
    assert_int_equal(ingress_new(&o, &next.ing, NULL), 0);
    (void)snprintf(text, sizeof(text), "%s/revoked.lst", fra.dir);
    assert_int_equal(sys_file_read(text, 1024, &list, NULL), 0);
    assert_non_null(strstr(list.ptr, serial));
    ingress_stop(next.ing, on_stopped, &next);
    while (!next.stopped) {
        pump(10);
    }
    ingress_free(next.ing);
    sk_buf_release(&list);
    close_site(&fra);
    sk_buf_release(&key);
    sk_buf_release(&cert);
    sk_buf_release(&foreign_key);
    sk_buf_release(&foreign_cert);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_false_site_gets_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(the_port_between_sites_knows_its_own, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
