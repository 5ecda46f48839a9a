/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A member that lies: it has a good certificate and answers as it likes. Nothing of that costs more
 * time or memory than is stated, no answer that contradicts itself is believed, and a txn whose
 * answer is nonsense counts as open. No etcd is needed.
 */
#include <arpa/inet.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "etcd_members.h"
#include "store/etcd_admin.h"
#include "store/etcd_json.h"
#include "store_suite.h"
#include "sys/clock.h"

#define ATTEMPT_MS 300
#define DEADLINE_MS 1000
#define SLACK_MS 1500
#define ID "0123456789abcdef0123456789abcdef"

/* How it answers what is not about finding the state. */
enum manner {
    HONEST,
    GARBAGE,
    ENDLESS,
    TRICKLE,
    REDIRECT,
    FOREIGN_KEY,
    UNSORTED,
    BAD_BASE64,
    SILENT
};

static struct members files;
static int listener, port;
static _Atomic int manner, watch_manner;
static _Atomic(const char *) snapshot; /* what it says of a snapshot */
static _Atomic bool stop;
static _Atomic int strays; /* requests to where a redirect points */

/* --- the server ------------------------------------------------------------------------------ */

#define HEADER "\"header\":{\"revision\":\"12\"}"

static void add_kv(struct sk_jw *w, const char *key, const char *value, int64_t rev)
{
    sk_jw_obj(w);
    etcd_put_bytes(w, "key", sk_str(key));
    etcd_put_bytes(w, "value", sk_str(value));
    etcd_put_int(w, "create_revision", rev < 12 ? rev : 10);
    etcd_put_int(w, "mod_revision", rev);
    etcd_put_int(w, "version", 1);
    sk_jw_obj_end(w);
}

static void add_range(struct sk_jw *w, const char *key, const char *value, int64_t rev,
                      const char *second)
{
    sk_jw_obj(w);
    sk_jw_key(w, "response_range");
    sk_jw_obj(w);
    sk_jw_key(w, "kvs");
    sk_jw_arr(w);
    add_kv(w, key, value, rev);
    if (second) {
        add_kv(w, second, "", rev);
    }
    sk_jw_arr_end(w);
    sk_jw_obj_end(w);
    sk_jw_obj_end(w);
}

/* What a view gets: meta, head, and one record if one was asked for. */
static void write_view(struct sk_buf *out, bool record, int how)
{
    const char *key = how == FOREIGN_KEY ? "/other/key" : "/skerry/" ID "a";
    struct sk_jw w;

    sk_jw_init(&w, out);
    sk_jw_obj(&w);
    sk_jw_key(&w, "header");
    sk_jw_raw(&w, SK_STR("{\"revision\":\"12\"}"));
    sk_jw_kbool(&w, "succeeded", true);
    sk_jw_key(&w, "responses");
    sk_jw_arr(&w);
    add_range(&w, "/skerry/meta", "{\"v\":1,\"id\":\"" ID "\"}", 10, NULL);
    add_range(&w, "/skerry/head", "0", 12, NULL);
    if (record && how == BAD_BASE64) {
        sk_jw_raw(
            &w, SK_STR("{\"response_range\":{\"kvs\":[{\"key\":\"!!\",\"mod_revision\":\"1\"}]}}"));
    } else if (record) {
        add_range(&w, key, "1", 11, how == UNSORTED ? "/skerry/" ID "A" : NULL);
    }
    sk_jw_arr_end(&w);
    sk_jw_obj_end(&w);
}

static void write_meta(struct sk_buf *out)
{
    struct sk_jw w;

    sk_jw_init(&w, out);
    sk_jw_obj(&w);
    sk_jw_key(&w, "header");
    sk_jw_raw(&w, SK_STR("{\"revision\":\"12\"}"));
    sk_jw_key(&w, "kvs");
    sk_jw_arr(&w);
    add_kv(&w, "/skerry/meta", "{\"v\":1,\"id\":\"" ID "\"}", 10);
    sk_jw_arr_end(&w);
    sk_jw_obj_end(&w);
}

static bool say(SSL *ssl, struct sk_str bytes)
{
    return bytes.len == 0 || SSL_write(ssl, bytes.ptr, (int)bytes.len) > 0;
}

static void answer(SSL *ssl, const char *status, struct sk_str body)
{
    struct sk_buf head = SK_BUF_INIT;
    sk_buf_printf(&head, "HTTP/1.1 %s\r\nContent-Length: %zu\r\n\r\n", status, body.len);
    (void)(say(ssl, sk_buf_str(&head)) && say(ssl, body));
    sk_buf_release(&head);
}

static void answer_badly(SSL *ssl, int how)
{
    static char many[16384];
    struct sk_buf head = SK_BUF_INIT;

    switch (how) {
    case GARBAGE:
        answer(ssl, "200 OK",
               SK_STR("{" HEADER ",\"responses\":[{\"response_range\":{\"kvs\":7}}"));
        break;
    case ENDLESS:
        memset(many, 'x', sizeof(many));
        (void)say(ssl, SK_STR("HTTP/1.1 200 OK\r\n\r\n"));
        while (!atomic_load(&stop) && say(ssl, (struct sk_str){many, sizeof(many)})) {
        }
        break;
    case TRICKLE:
        (void)say(ssl, SK_STR("HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n"));
        while (!atomic_load(&stop) && say(ssl, SK_STR("{"))) {
            (void)usleep(50000);
        }
        break;
    case REDIRECT:
        sk_buf_printf(&head,
                      "HTTP/1.1 302 Found\r\nLocation: https://127.0.0.1:%d/stray\r\n"
                      "Content-Length: 0\r\n\r\n",
                      port);
        (void)say(ssl, sk_buf_str(&head));
        sk_buf_release(&head);
        break;
    default: /* SILENT */
        (void)usleep(2 * ATTEMPT_MS * 1000);
        break;
    }
}

static int count(struct sk_str text, const char *part)
{
    const char *at = text.ptr;
    int n = 0;

    while ((at = memmem(at, text.len - (size_t)(at - text.ptr), part, strlen(part)))) {
        at += strlen(part);
        n++;
    }
    return n;
}

static void serve_request(SSL *ssl, struct sk_str request)
{
    struct sk_buf body = SK_BUF_INIT;
    /* a view is a txn that compares nothing; it may ask for one more than meta and head */
    bool view = memmem(request.ptr, request.len, "\"compare\"", 9) == NULL;
    bool record = count(request, "request_range") > 2;
    int how = atomic_load(&manner);

    if (sk_str_starts(request, SK_STR("POST /v3/kv/range"))) {
        write_meta(&body);
        answer(ssl, "200 OK", sk_buf_str(&body));
    } else if (sk_str_starts(request, SK_STR("POST /v3/watch"))) {
        answer_badly(ssl, atomic_load(&watch_manner));
    } else if (sk_str_starts(request, SK_STR("POST /v3/kv/txn"))) {
        if (how == HONEST || how == FOREIGN_KEY || how == UNSORTED || how == BAD_BASE64) {
            write_view(&body, record, how);
            answer(ssl, view ? "200 OK" : "503 Unavailable", sk_buf_str(&body));
        } else {
            answer_badly(ssl, how);
        }
    } else if (sk_str_starts(request, SK_STR("POST /v3/maintenance/snapshot"))) {
        answer(ssl, "200 OK", sk_str(atomic_load(&snapshot)));
    } else {
        atomic_fetch_add(&strays, 1);
        answer(ssl, "404 Not Found", SK_STR(""));
    }
    sk_buf_release(&body);
}

/* One whole request in `in`: its length, or 0. */
static size_t request_len(const struct sk_buf *in)
{
    const char *end = in->len ? memmem(in->ptr, in->len, "\r\n\r\n", 4) : NULL;
    const char *length = in->len ? memmem(in->ptr, in->len, "Content-Length: ", 16) : NULL;
    size_t len;

    if (!end || !length) {
        return 0;
    }
    len = (size_t)(end - in->ptr) + 4 + (size_t)strtoul(length + 16, NULL, 10);
    return len <= in->len ? len : 0;
}

static void serve_connection(SSL *ssl)
{
    struct sk_buf in = SK_BUF_INIT;
    char bytes[8192];
    int n;

    while (!atomic_load(&stop) && (n = SSL_read(ssl, bytes, sizeof(bytes))) > 0) {
        size_t len;
        sk_buf_add(&in, bytes, (size_t)n);
        if ((len = request_len(&in)) > 0) {
            serve_request(ssl, (struct sk_str){in.ptr, len});
            sk_buf_consume(&in, len);
            if (atomic_load(&manner) == ENDLESS || atomic_load(&manner) == TRICKLE) {
                break;
            }
        }
    }
    sk_buf_release(&in);
}

static void *serve_one(void *arg)
{
    SSL *ssl = arg;
    int fd = SSL_get_fd(ssl);

    if (SSL_accept(ssl) == 1) {
        serve_connection(ssl);
    }
    SSL_free(ssl);
    (void)close(fd);
    return NULL;
}

static void *serve(void *arg)
{
    SSL_CTX *ctx = arg;
    pthread_t threads[512];
    size_t count = 0;

    while (!atomic_load(&stop) && count < SK_ARRAY_LEN(threads)) {
        struct pollfd pfd = {listener, POLLIN, 0};
        struct timeval second = {1, 0};
        SSL *ssl;
        int fd;
        if (poll(&pfd, 1, 50) <= 0 || (fd = accept(listener, NULL, NULL)) < 0) {
            continue;
        }
        (void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &second, sizeof(second));
        (void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &second, sizeof(second));
        ssl = SSL_new(ctx);
        (void)SSL_set_fd(ssl, fd);
        assert_int_equal(pthread_create(&threads[count++], NULL, serve_one, ssl), 0);
    }
    for (size_t i = 0; i < count; i++) {
        (void)pthread_join(threads[i], NULL);
    }
    return NULL;
}

/* --- the tests ------------------------------------------------------------------------------- */

static struct store *open_ok(void)
{
    char url[64];
    const char *urls[] = {url};
    struct store_etcd options = {.endpoints = urls,
                                 .nendpoints = 1,
                                 .ca_file = files.ca,
                                 .cert_file = files.cert,
                                 .key_file = files.key,
                                 .attempt_ms = ATTEMPT_MS,
                                 .deadline_ms = DEADLINE_MS};
    struct store *store = NULL;

    atomic_store(&manner, HONEST);
    (void)snprintf(url, sizeof(url), "https://127.0.0.1:%d", port);
    ok(store_open_etcd(&options, &store, &err));
    return store;
}

static int get_from(int how, int64_t *ret_took)
{
    struct store *store = open_ok();
    struct sk_arena *arena = sk_arena_new();
    struct store_record record;
    struct sk_err why = {0};
    int64_t start;
    int rc;

    /* its positive twin first */
    ok(store_get(store, SK_STR("a"), arena, &record, &err));
    assert_string_equal(record.value.ptr, "1");
    assert_int_equal(record.mod_rev, 1);
    atomic_store(&manner, how);
    start = sys_now_ms();
    rc = store_get(store, SK_STR("a"), arena, &record, &why);
    *ret_took = sys_now_ms() - start;
    assert_true(rc == 0 || why.msg[0]);
    sk_arena_free(arena);
    store_close(store);
    return rc;
}

static void lies_are_not_believed(void **state)
{
    int64_t took;

    assert_int_equal(get_from(GARBAGE, &took), SK_ERR_PROTOCOL);
    assert_int_equal(get_from(FOREIGN_KEY, &took), SK_ERR_PROTOCOL);
    assert_int_equal(get_from(UNSORTED, &took), SK_ERR_PROTOCOL);
    assert_int_equal(get_from(BAD_BASE64, &took), SK_ERR_PROTOCOL);
}

static void an_endless_answer_is_bounded(void **state)
{
    struct rusage before;
    struct rusage after;
    int64_t took;
    int rc;

    assert_int_equal(getrusage(RUSAGE_SELF, &before), 0);
    rc = get_from(ENDLESS, &took);
    assert_true(rc == SK_ERR_LIMIT || rc == SK_ERR_UNAVAILABLE);
    assert_in_range(took, 0, DEADLINE_MS + SLACK_MS);
    assert_int_equal(getrusage(RUSAGE_SELF, &after), 0);
    assert_in_range(after.ru_maxrss - before.ru_maxrss, 0, 256 * 1024); /* KiB */
}

static void a_trickle_is_bounded(void **state)
{
    int64_t took;

    assert_int_equal(get_from(TRICKLE, &took), SK_ERR_UNAVAILABLE);
    assert_in_range(took, DEADLINE_MS - 200, DEADLINE_MS + SLACK_MS);
    assert_int_equal(get_from(SILENT, &took), SK_ERR_UNAVAILABLE);
    assert_in_range(took, DEADLINE_MS - 200, DEADLINE_MS + SLACK_MS);
}

static void no_redirect_is_followed(void **state)
{
    int64_t took;

    assert_int_equal(get_from(REDIRECT, &took), SK_ERR_UNAVAILABLE);
    assert_int_equal(atomic_load(&strays), 0);
}

/* Whatever it says of a txn that is no answer leaves the txn open. */
static void nonsense_leaves_a_txn_open(void **state)
{
    struct store *store = open_ok();
    struct store_op op = {STORE_PUT, SK_STR("a"), SK_STR("2")};
    struct store_txn txn = {.expect_number = -1, .ops = &op, .nops = 1};
    struct store_revision rev = {"", 77};

    atomic_store(&manner, GARBAGE);
    fails(SK_ERR_TIMEOUT, store_txn(store, &txn, &rev, &err));
    assert_int_equal(rev.number, 77);
    /* and until it is settled nothing is read */
    atomic_store(&manner, HONEST);
    fails(SK_ERR_UNAVAILABLE, store_revision(store, &rev, &err));
    assert_int_equal(rev.number, 77);
    store_close(store);
}

static void a_watch_that_lies_is_bounded(void **state)
{
    static const int manners[] = {GARBAGE, ENDLESS, TRICKLE, SILENT, REDIRECT};

    for (size_t i = 0; i < SK_ARRAY_LEN(manners); i++) {
        struct store *store = open_ok();
        struct store_revision at = now(store);
        struct store_changes changes;
        int64_t start = sys_now_ms();
        int rc;
        assert_int_equal(at.number, 2);
        atomic_store(&watch_manner, manners[i]);
        rc = store_watch(store, SK_STR(""), &at, 400, &changes, NULL);
        assert_in_range(sys_now_ms() - start, 0, 400 + DEADLINE_MS + SLACK_MS);
        if (rc == 0) { /* nothing new, as the head says too */
            assert_int_equal(changes.count, 0);
            assert_int_equal(changes.revision.number, 2);
            store_changes_release(&changes);
        } else {
            assert_int_equal(rc, SK_ERR_UNAVAILABLE);
        }
        store_close(store);
    }
}

/* No file appears unless the snapshot is whole and has its checksum. */
static void a_snapshot_that_is_not_whole_is_refused(void **state)
{
    static const struct {
        const char *text;
        int code;
    } cases[] = {
        /* 4 bytes and a checksum: theirs, of other bytes, none */
        {"{\"result\":{\"blob\":\"YWJjZIjUJm/U5jONE7hF/PKJV50gnIl4I7kh\"}}\n"
         "{\"result\":{\"blob\":\"faPhYZNvAxWJ\"}}\n",
         0},
        {"{\"result\":{\"blob\":\"YWJjZYjUJm/U5jONE7hF/PKJV50gnIl4I7khfaPhYZNvAxWJ\"}}\n",
         SK_ERR_CORRUPT},
        {"{\"result\":{\"blob\":\"YWJj\"}}\n", SK_ERR_CORRUPT},
        {"", SK_ERR_UNAVAILABLE},
        {"{\"result\":{\"remaining_bytes\":\"7\",\"blob\":\"YWJj\"}}\n", SK_ERR_UNAVAILABLE},
        {"{\"error\":{\"message\":\"no\"}}\n", SK_ERR_UNAVAILABLE},
        {"{\"result\":{\"blob\":\"?\"}}\n", SK_ERR_PROTOCOL},
    };
    char url[64];
    const char *urls[] = {url};
    struct store_etcd options = {.endpoints = urls,
                                 .nendpoints = 1,
                                 .ca_file = files.ca,
                                 .cert_file = files.cert,
                                 .key_file = files.key,
                                 .deadline_ms = DEADLINE_MS};
    struct store_etcd_admin *admin = NULL;
    char path[96];

    (void)snprintf(url, sizeof(url), "https://127.0.0.1:%d", port);
    (void)snprintf(path, sizeof(path), "%s/saved", files.dir);
    ok(store_etcd_admin_new(&options, &admin, &err));
    for (size_t i = 0; i < SK_ARRAY_LEN(cases); i++) {
        atomic_store(&snapshot, cases[i].text);
        assert_int_equal(store_etcd_save(admin, 0, path, NULL), cases[i].code);
        assert_int_equal(access(path, F_OK) == 0, cases[i].code == 0);
        (void)unlink(path);
    }
    store_etcd_admin_free(admin);
}

static SSL_CTX *make_server(void)
{
    struct sockaddr_in addr = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t len = sizeof(addr);
    SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());
    char cert[96];
    char key[96];

    (void)snprintf(cert, sizeof(cert), "%s/m0.pem", files.dir);
    (void)snprintf(key, sizeof(key), "%s/m0.key", files.dir);
    assert_non_null(ctx);
    assert_int_equal(SSL_CTX_use_certificate_file(ctx, cert, SSL_FILETYPE_PEM), 1);
    assert_int_equal(SSL_CTX_use_PrivateKey_file(ctx, key, SSL_FILETYPE_PEM), 1);
    listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(listener >= 0);
    assert_int_equal(bind(listener, (struct sockaddr *)&addr, sizeof(addr)), 0);
    assert_int_equal(getsockname(listener, (struct sockaddr *)&addr, &len), 0);
    assert_int_equal(listen(listener, 64), 0);
    port = ntohs(addr.sin_port);
    return ctx;
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(lies_are_not_believed),
        cmocka_unit_test(an_endless_answer_is_bounded),
        cmocka_unit_test(a_trickle_is_bounded),
        cmocka_unit_test(no_redirect_is_followed),
        cmocka_unit_test(nonsense_leaves_a_txn_open),
        cmocka_unit_test(a_watch_that_lies_is_bounded),
        cmocka_unit_test(a_snapshot_that_is_not_whole_is_refused),
    };
    pthread_t thread;
    SSL_CTX *ctx;
    int failed;

    (void)signal(SIGPIPE, SIG_IGN); /* clients hang up on this server */
    members_prepare(&files, 1);
    ctx = make_server();
    assert_int_equal(pthread_create(&thread, NULL, serve, ctx), 0);
    failed = cmocka_run_group_tests(tests, NULL, NULL);
    atomic_store(&stop, true);
    (void)pthread_join(thread, NULL);
    (void)close(listener);
    SSL_CTX_free(ctx);
    members_stop(&files);
    return failed;
}
