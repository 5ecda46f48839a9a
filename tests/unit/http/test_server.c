/* SPDX-License-Identifier: Apache-2.0 */
#include <pthread.h>
#include <semaphore.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>
#include <curl/curl.h>

#include "base/buf.h"
#include "http/server.h"
#include "net/identity.h"
#include "sys/clock.h"
#include "sys/file.h"

#define BODY_MAX 1000

static sem_t entered, leave;
static atomic_int left; /* slow calls that ended */

static size_t body_max(struct sk_str method, struct sk_str path)
{
    (void)path;
    return sk_str_is(method, "POST") ? BODY_MAX : 0;
}

struct numbers {
    int next;
};

static ssize_t read_numbers(void *ctx, char *buf, size_t max)
{
    struct numbers *n = ctx;

    (void)max;
    if (n->next == 3) {
        return -1;
    }
    return snprintf(buf, 8, "n%d\n", n->next++);
}

static void handler(struct http_exchange *x, void *ctx)
{
    struct sk_buf out = SK_BUF_INIT;

    (void)ctx;
    if (sk_str_is(http_path(x), "/slow")) {
        (void)sem_post(&entered);
        (void)sem_wait(&leave);
        (void)usleep(100 * 1000);
        atomic_fetch_add(&left, 1);
    }
    if (sk_str_is(http_path(x), "/stream")) {
        http_reply_stream(x, 200, "text/plain", read_numbers, free,
                          calloc(1, sizeof(struct numbers)));
        return;
    }
    sk_buf_printf(&out, "%.*s %.*s q=%.*s h=%.*s body=%zu %s", SK_PRI(http_method(x)),
                  SK_PRI(http_path(x)), SK_PRI(http_query(x, "q")),
                  SK_PRI(http_header(x, "X-Test")), http_body(x).len,
                  http_is_unix(x) && http_peer_uid(x) == geteuid() ? "own" : "other");
    http_reply(x, 200, "text/plain", sk_buf_str(&out));
    sk_buf_release(&out);
}

static size_t collect(char *ptr, size_t size, size_t count, void *ctx)
{
    sk_buf_add(ctx, ptr, size * count);
    return size * count;
}

struct request {
    const char *url, *socket_path, *ca_path;
    const char *post;
    long status;
    CURLcode code;
    struct sk_buf answer;
};

static void *perform(void *arg)
{
    struct request *r = arg;
    CURL *curl = curl_easy_init();
    struct curl_slist *headers = curl_slist_append(NULL, "X-Test: yes");

    (void)curl_easy_setopt(curl, CURLOPT_URL, r->url);
    (void)curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
    (void)curl_easy_setopt(curl, CURLOPT_PROXY, "");
    (void)curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    (void)curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, 20000L);
    (void)curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, collect);
    (void)curl_easy_setopt(curl, CURLOPT_WRITEDATA, &r->answer);
    if (r->socket_path) {
        (void)curl_easy_setopt(curl, CURLOPT_UNIX_SOCKET_PATH, r->socket_path);
    }
    if (r->ca_path) {
        (void)curl_easy_setopt(curl, CURLOPT_CAINFO, r->ca_path);
    }
    if (r->post) {
        (void)curl_easy_setopt(curl, CURLOPT_POSTFIELDS, r->post);
    }
    r->code = curl_easy_perform(curl);
    (void)curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &r->status);
    curl_slist_free_all(headers);
    curl_easy_cleanup(curl);
    return NULL;
}

static void over_unix(void **state)
{
    char path[] = "/tmp/skerry-http-XXXXXX";
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    struct http_config config = {.connections_max = 8, .body_max = body_max, .handler = handler};
    struct http_server *server;
    char big[2 * BODY_MAX + 1];
    struct sk_err err = {0};

    (void)state;
    assert_non_null(mkdtemp(path));
    (void)snprintf(address.sun_path, sizeof(address.sun_path), "%s/s", path);
    config.unix_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(config.unix_fd, (const struct sockaddr *)&address, sizeof(address)), 0);
    assert_int_equal(listen(config.unix_fd, 8), 0);
    assert_int_equal(http_server_start(&config, &server, &err), 0);
    {
        struct request r = {.url = "http://x/a%20b?q=1", .socket_path = address.sun_path};
        (void)perform(&r);
        assert_int_equal(r.status, 200);
        assert_string_equal(r.answer.ptr, "GET /a b q=1 h=yes body=0 own");
        sk_buf_release(&r.answer);
    }
    {
        struct request r = {
            .url = "http://x/p", .socket_path = address.sun_path, .post = "0123456789"};
        (void)perform(&r);
        assert_string_equal(r.answer.ptr, "POST /p q= h=yes body=10 own");
        sk_buf_release(&r.answer);
    }
    {
        struct request r = {.url = "http://x/p", .socket_path = address.sun_path, .post = big};
        memset(big, 'x', sizeof(big) - 1);
        big[sizeof(big) - 1] = '\0';
        (void)perform(&r);
        assert_int_equal(r.status, 413);
        sk_buf_release(&r.answer);
    }
    {
        struct request r = {.url = "http://x/stream", .socket_path = address.sun_path};
        (void)perform(&r);
        assert_string_equal(r.answer.ptr, "n0\nn1\nn2\n");
        sk_buf_release(&r.answer);
    }
    http_server_stop(server);
    (void)unlink(address.sun_path);
    (void)rmdir(path);
}

static void issue(const struct net_ca *ca, struct sk_buf *key, struct sk_buf *cert)
{
    const char *names[] = {"127.0.0.1"};
    struct net_issue what = {
        .kind = NET_CERT_API, .node = "n1", .names = names, .nnames = 1, .wall_ms = sys_wall_ms()};
    struct sk_buf csr = SK_BUF_INIT;
    struct sk_err err = {0};

    sk_buf_clear(key);
    sk_buf_clear(cert);
    assert_int_equal(net_key_new(key, &err), 0);
    assert_int_equal(net_csr_new(sk_buf_str(key), "n1", &csr, &err), 0);
    assert_int_equal(net_ca_issue(ca, sk_buf_str(&csr), &what, cert, NULL, &err), 0);
    sk_buf_release(&csr);
}

/* A call that is under way while the certificate is renewed is answered, and new ones are served
 * meanwhile: the thread that renews is the one that handlers wait for, so it must not wait for
 * them. */
static void hand_over(void **state)
{
    char dir[] = "/tmp/skerry-https-XXXXXX";
    char ca_path[64], slow_url[64], url[64];
    struct sk_buf key = SK_BUF_INIT, cert = SK_BUF_INIT;
    struct http_config config = {.unix_fd = -1,
                                 .address = "127.0.0.1",
                                 .connections_max = 8,
                                 .body_max = body_max,
                                 .handler = handler};
    struct http_server *server, *fresh;
    struct net_ca *ca;
    struct sk_err err = {0};
    pthread_t thread;

    (void)state;
    assert_non_null(mkdtemp(dir));
    assert_int_equal(net_ca_new("test", sys_wall_ms(), &ca, &err), 0);
    (void)snprintf(ca_path, sizeof(ca_path), "%s/ca.pem", dir);
    assert_int_equal(sys_file_write(ca_path, sk_str(net_ca_pem(ca)), 0644, &err), 0);
    issue(ca, &key, &cert);
    config.cert_pem = cert.ptr;
    config.key_pem = key.ptr;
    assert_int_equal(http_server_start(&config, &server, &err), 0);
    (void)snprintf(slow_url, sizeof(slow_url), "https://127.0.0.1:%u/slow",
                   http_server_port(server));
    (void)snprintf(url, sizeof(url), "https://127.0.0.1:%u/now", http_server_port(server));
    struct request slow = {.url = slow_url, .ca_path = ca_path};
    struct request now = {.url = url, .ca_path = ca_path};
    assert_int_equal(pthread_create(&thread, NULL, perform, &slow), 0);
    (void)sem_wait(&entered);
    issue(ca, &key, &cert);
    assert_int_equal(http_server_hand_over(server, cert.ptr, key.ptr, &fresh, &err), 0);
    (void)perform(&now);
    assert_int_equal(now.code, CURLE_OK);
    assert_string_equal(now.answer.ptr, "GET /now q= h=yes body=0 other");
    (void)sem_post(&leave);
    (void)pthread_join(thread, NULL);
    assert_int_equal(slow.code, CURLE_OK);
    assert_string_equal(slow.answer.ptr, "GET /slow q= h=yes body=0 other");
    /* whoever stops the new one may free what handlers of the old one still use */
    sk_buf_clear(&slow.answer);
    assert_int_equal(pthread_create(&thread, NULL, perform, &slow), 0);
    (void)sem_wait(&entered);
    assert_int_equal(http_server_hand_over(fresh, cert.ptr, key.ptr, &server, &err), 0);
    (void)sem_post(&leave);
    http_server_stop(server);
    assert_int_equal(atomic_load(&left), 2);
    (void)pthread_join(thread, NULL);
    sk_buf_release(&slow.answer);
    sk_buf_release(&now.answer);
    net_pem_wipe(&key);
    sk_buf_release(&cert);
    net_ca_free(ca);
    (void)unlink(ca_path);
    (void)rmdir(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(over_unix), cmocka_unit_test(hand_over)};

    (void)signal(SIGPIPE, SIG_IGN);
    (void)curl_global_init(CURL_GLOBAL_DEFAULT);
    (void)sem_init(&entered, 0, 0);
    (void)sem_init(&leave, 0, 0);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
