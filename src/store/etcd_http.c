/* SPDX-License-Identifier: Apache-2.0 */
#include "store/etcd_http.h"

#include <curl/curl.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>

#include "base/mem.h"
#include "sys/clock.h"

#define CONNECTION_LIFE_S 3600L
#define ENDPOINT_BYTES_MAX 256
#define STREAM_BYTES_FIRST 65536

/* One exchange: what its callbacks write to. */
struct sink {
    struct sk_buf *in;
    size_t bytes_max;
    int64_t received;
    bool overflow, paused;
    bool may_pause; /* a stream waits for its reader, an answer that is too large is an error */
};

struct etcd_http {
    CURLM *multi; /* holds the connections */
    CURL *easy;
    struct curl_slist *headers;
    struct sink sink;
    char *endpoints[STORE_ETCD_ENDPOINTS_MAX];
    size_t count, at;
    char *ca_file, *cert_file, *key_file;
    int64_t attempt_ms;
    int stop_fd;
    bool stopped;
    char why[CURL_ERROR_SIZE];
};

struct etcd_stream {
    struct etcd_http *http;
    CURLM *multi;
    CURL *easy;
    struct sink sink;
    struct sk_buf in;
    char *endpoint;
    char why[CURL_ERROR_SIZE];
    bool ended;
};

static void init_curl(void)
{
    SK_ASSERT(curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK); /* only without memory */
}

/* --- options --------------------------------------------------------------------------------- */

/* "https://HOST:PORT" and nothing else: no user, no path, nothing that changes what is asked. */
static int check_endpoint(const char *endpoint, struct sk_err *err)
{
    static const char scheme[] = "https://";
    size_t len = strlen(endpoint);

    if (len > ENDPOINT_BYTES_MAX || strncmp(endpoint, scheme, sizeof(scheme) - 1) != 0 ||
        len == sizeof(scheme) - 1 ||
        strspn(endpoint + sizeof(scheme) - 1, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                              "0123456789.-:[]") != len - (sizeof(scheme) - 1)) {
        return sk_err_set(err, SK_ERR_INPUT, "etcd's address '%.80s' is not https://HOST:PORT",
                          endpoint);
    }
    return 0;
}

static int check_endpoints(const char *const *endpoints, size_t count, struct sk_err *err)
{
    if (count == 0 || count > STORE_ETCD_ENDPOINTS_MAX) {
        return sk_err_set(err, SK_ERR_INPUT, "etcd needs 1 to %d addresses, not %zu",
                          STORE_ETCD_ENDPOINTS_MAX, count);
    }
    for (size_t i = 0; i < count; i++) {
        int rc = check_endpoint(endpoints[i], err);
        if (rc < 0) {
            return rc;
        }
    }
    return 0;
}

static int check_options(const struct store_etcd *options, struct sk_err *err)
{
    int rc = check_endpoints(options->endpoints, options->nendpoints, err);

    if (rc < 0) {
        return rc;
    }
    if (!options->ca_file || !options->cert_file || !options->key_file) {
        return sk_err_set(
            err, SK_ERR_INPUT,
            "etcd needs a CA, a certificate and a key: it is never spoken to in plain");
    }
    if (options->attempt_ms < 0 || options->attempt_ms > 60000) {
        return sk_err_set(err, SK_ERR_INPUT, "no member of etcd is waited for %lld ms",
                          (long long)options->attempt_ms);
    }
    return 0;
}

/* --- exchanges ------------------------------------------------------------------------------- */

static size_t on_bytes(char *bytes, size_t size, size_t count, void *ctx)
{
    struct sink *sink = ctx;
    size_t len = size * count;

    if (sink->in->len + len > sink->bytes_max) {
        if (sink->may_pause && sink->in->len > 0) {
            sink->paused = true;
            return CURL_WRITEFUNC_PAUSE; /* the same bytes come again */
        }
        sink->overflow = true;
        return 0;
    }
    sk_buf_add(sink->in, bytes, len);
    sink->received += (int64_t)len;
    return len;
}

#define SET(easy, option, value) SK_ASSERT(curl_easy_setopt((easy), (option), (value)) == CURLE_OK)

static CURL *make_easy(const struct etcd_http *http, struct sink *sink, char *why)
{
    CURL *easy = curl_easy_init();

    SK_ASSERT(easy);
    SET(easy, CURLOPT_NOSIGNAL, 1L);
    SET(easy, CURLOPT_ERRORBUFFER, why);
    SET(easy, CURLOPT_PROTOCOLS_STR, "https");
    SET(easy, CURLOPT_FOLLOWLOCATION, 0L);
    SET(easy, CURLOPT_PROXY, ""); /* whatever the environment says */
    SET(easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    SET(easy, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_3);
    SET(easy, CURLOPT_SSL_VERIFYPEER, 1L);
    SET(easy, CURLOPT_SSL_VERIFYHOST, 2L);
    SET(easy, CURLOPT_CAINFO, http->ca_file);
    SET(easy, CURLOPT_CAPATH, NULL);         /* else the system's authorities are believed too */
    SET(easy, CURLOPT_CA_CACHE_TIMEOUT, 0L); /* a replaced CA counts from the next connection */
    SET(easy, CURLOPT_SSLCERT, http->cert_file);
    SET(easy, CURLOPT_SSLKEY, http->key_file);
    SET(easy, CURLOPT_MAXLIFETIME_CONN, CONNECTION_LIFE_S);
    SET(easy, CURLOPT_TCP_KEEPALIVE, 1L);
    SET(easy, CURLOPT_POST, 1L);
    SET(easy, CURLOPT_HTTPHEADER, http->headers);
    SET(easy, CURLOPT_WRITEFUNCTION, on_bytes);
    SET(easy, CURLOPT_WRITEDATA, sink);
    return easy;
}

static void set_url(CURL *easy, const char *endpoint, const char *path)
{
    struct sk_buf url = SK_BUF_INIT;
    sk_buf_printf(&url, "%s%s", endpoint, path);
    SET(easy, CURLOPT_URL, url.ptr);
    sk_buf_release(&url);
}

int etcd_http_new(const struct store_etcd *options, struct etcd_http **ret, struct sk_err *err)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    struct etcd_http *http;
    int rc = check_options(options, err);

    if (rc < 0) {
        return rc;
    }
    (void)pthread_once(&once, init_curl); /* fails only for a bad control block */
    http = sk_xcalloc(1, sizeof(*http));
    http->count = options->nendpoints;
    for (size_t i = 0; i < http->count; i++) {
        http->endpoints[i] = sk_xstrdup(options->endpoints[i]);
    }
    http->ca_file = sk_xstrdup(options->ca_file);
    http->cert_file = sk_xstrdup(options->cert_file);
    http->key_file = sk_xstrdup(options->key_file);
    http->attempt_ms = options->attempt_ms ? options->attempt_ms : STORE_ETCD_ATTEMPT_MS;
    http->stop_fd = options->stop_fd;
    /* without "Expect:" a large request would wait a second for a "100 Continue" */
    http->headers = curl_slist_append(NULL, "Content-Type: application/json");
    http->headers = curl_slist_append(http->headers, "Expect:");
    http->multi = curl_multi_init();
    SK_ASSERT(http->multi && http->headers);
    http->easy = make_easy(http, &http->sink, http->why);
    *ret = http;
    return 0;
}

void etcd_http_free(struct etcd_http *http)
{
    if (!http) {
        return;
    }
    curl_easy_cleanup(http->easy);
    (void)curl_multi_cleanup(http->multi);
    curl_slist_free_all(http->headers);
    for (size_t i = 0; i < http->count; i++) {
        free(http->endpoints[i]);
    }
    free(http->ca_file);
    free(http->cert_file);
    free(http->key_file);
    free(http);
}

/* What has gone out and come in; connecting and shaking hands count as nothing. */
static int64_t moved_bytes(CURL *easy, const struct sink *sink)
{
    curl_off_t uploaded = 0;
    long headers = 0;

    (void)curl_easy_getinfo(easy, CURLINFO_SIZE_UPLOAD_T, &uploaded); /* a known name */
    (void)curl_easy_getinfo(easy, CURLINFO_REQUEST_SIZE, &headers);
    return sink->received + uploaded + headers;
}

static bool was_sent(CURL *easy)
{
    long bytes = 0;
    (void)curl_easy_getinfo(easy, CURLINFO_REQUEST_SIZE, &bytes); /* a known name */
    return bytes > 0;
}

static CURLcode result_of(CURLM *multi)
{
    int left;
    CURLMsg *msg = curl_multi_info_read(multi, &left);
    return msg && msg->msg == CURLMSG_DONE ? msg->data.result : CURLE_RECV_ERROR;
}

/* Until something can be done, or this handle is told to end; perform() tells what there is. */
static void wait_for(struct etcd_http *http, CURLM *multi, int64_t left_ms)
{
    struct curl_waitfd stop = {.fd = http->stop_fd, .events = CURL_WAIT_POLLIN};
    int ms = left_ms > INT_MAX ? INT_MAX : (int)left_ms;

    (void)curl_multi_poll(multi, &stop, http->stop_fd > 0, ms, NULL);
    http->stopped = http->stopped || stop.revents != 0;
}

/* Runs the exchange; CURLE_OPERATION_TIMEDOUT is ours. */
static CURLcode run(struct etcd_http *http, int64_t until_ms)
{
    int64_t moved = 0;
    int64_t moved_at = sys_now_ms();
    int running = 1;

    for (;;) {
        int64_t now;
        int64_t left;
        int64_t bytes;
        if (curl_multi_perform(http->multi, &running) != CURLM_OK) {
            return CURLE_RECV_ERROR;
        }
        if (running == 0) {
            return result_of(http->multi);
        }
        now = sys_now_ms();
        bytes = moved_bytes(http->easy, &http->sink);
        if (bytes != moved) {
            moved = bytes;
            moved_at = now;
        }
        left = moved_at + http->attempt_ms < until_ms ? moved_at + http->attempt_ms - now
                                                      : until_ms - now;
        if (left <= 0 || http->stopped) {
            return CURLE_OPERATION_TIMEDOUT;
        }
        wait_for(http, http->multi, left);
    }
}

static void say_why(struct etcd_http *http, CURLcode code, struct sk_err *err)
{
    const char *endpoint = http->endpoints[http->at];

    if (http->sink.overflow) {
        sk_err_set(err, SK_ERR_LIMIT, "'%s' answers with more than %zu bytes", endpoint,
                   http->sink.bytes_max);
    } else if (code == CURLE_OPERATION_TIMEDOUT) {
        sk_err_set(err, SK_ERR_TIMEOUT, "'%s' does not answer", endpoint);
    } else {
        sk_err_set(err, SK_ERR_UNAVAILABLE, "'%s': %.200s", endpoint,
                   http->why[0] ? http->why : curl_easy_strerror(code));
    }
}

enum etcd_sent etcd_http_post(struct etcd_http *http, const char *path, struct sk_str body,
                              int64_t until_ms, size_t answer_max, struct sk_buf *answer,
                              long *ret_status, struct sk_err *err)
{
    enum etcd_sent sent = ETCD_ANSWERED;
    CURLcode code;

    sk_buf_clear(answer);
    http->sink = (struct sink){.in = answer, .bytes_max = answer_max};
    http->why[0] = '\0';
    set_url(http->easy, http->endpoints[http->at], path);
    SET(http->easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)body.len);
    SET(http->easy, CURLOPT_POSTFIELDS, body.ptr);
    SK_ASSERT(curl_multi_add_handle(http->multi, http->easy) == CURLM_OK);
    code = run(http, until_ms);
    if (code != CURLE_OK) {
        sent = was_sent(http->easy) ? ETCD_OPEN : ETCD_NOT_SENT;
        say_why(http, code, err);
    } else {
        (void)curl_easy_getinfo(http->easy, CURLINFO_RESPONSE_CODE, ret_status); /* a known name */
    }
    /* an exchange that is not over takes its connection along */
    SK_ASSERT(curl_multi_remove_handle(http->multi, http->easy) == CURLM_OK);
    return sent;
}

size_t etcd_http_count(const struct etcd_http *http)
{
    return http->count;
}

size_t etcd_http_at(const struct etcd_http *http)
{
    return http->at;
}

void etcd_http_set(struct etcd_http *http, size_t at)
{
    http->at = at % http->count;
}

void etcd_http_next(struct etcd_http *http)
{
    etcd_http_set(http, http->at + 1);
}

const char *etcd_http_endpoint(const struct etcd_http *http, size_t at)
{
    return http->endpoints[at % http->count];
}

int etcd_http_set_endpoints(struct etcd_http *http, const char *const *endpoints, size_t count,
                            struct sk_err *err)
{
    char *before[STORE_ETCD_ENDPOINTS_MAX];
    size_t nbefore = http->count;
    size_t at = 0;
    int rc = check_endpoints(endpoints, count, err);

    if (rc < 0) {
        return rc;
    }
    memcpy(before, http->endpoints, sizeof(before));
    for (size_t i = 0; i < count; i++) {
        http->endpoints[i] = sk_xstrdup(endpoints[i]);
        if (strcmp(endpoints[i], before[http->at]) == 0) {
            at = i;
        }
    }
    http->count = count;
    http->at = at;
    for (size_t i = 0; i < nbefore; i++) {
        free(before[i]);
    }
    return 0;
}

int64_t etcd_http_attempt_ms(const struct etcd_http *http)
{
    return http->attempt_ms;
}

bool etcd_http_stopped(struct etcd_http *http)
{
    struct pollfd stop = {.fd = http->stop_fd, .events = POLLIN};

    if (http->stop_fd > 0 && !http->stopped) {
        http->stopped = poll(&stop, 1, 0) == 1;
    }
    return http->stopped;
}

/* --- streams --------------------------------------------------------------------------------- */

struct etcd_stream *etcd_stream_open(struct etcd_http *http, size_t at, const char *path,
                                     struct sk_str body)
{
    struct etcd_stream *stream = sk_xcalloc(1, sizeof(*stream));

    stream->http = http;
    stream->endpoint = sk_xstrdup(etcd_http_endpoint(http, at));
    stream->sink =
        (struct sink){.in = &stream->in, .bytes_max = STREAM_BYTES_FIRST, .may_pause = true};
    stream->multi = curl_multi_init();
    SK_ASSERT(stream->multi);
    stream->easy = make_easy(http, &stream->sink, stream->why);
    set_url(stream->easy, stream->endpoint, path);
    SET(stream->easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)body.len);
    SET(stream->easy, CURLOPT_COPYPOSTFIELDS, body.ptr);
    SK_ASSERT(curl_multi_add_handle(stream->multi, stream->easy) == CURLM_OK);
    return stream;
}

void etcd_stream_close(struct etcd_stream *stream)
{
    if (!stream) {
        return;
    }
    (void)curl_multi_remove_handle(stream->multi, stream->easy); /* it was added */
    curl_easy_cleanup(stream->easy);
    (void)curl_multi_cleanup(stream->multi);
    sk_buf_release(&stream->in);
    free(stream->endpoint);
    free(stream);
}

static int stream_ended(struct etcd_stream *stream, CURLcode code, struct sk_err *err)
{
    stream->ended = true;
    if (stream->sink.overflow) {
        return sk_err_set(err, SK_ERR_PROTOCOL, "'%s' sends a line of more than %zu bytes",
                          stream->endpoint, stream->sink.bytes_max);
    }
    if (code == CURLE_OK) {
        return sk_err_set(err, SK_ERR_UNAVAILABLE, "'%s' ended the stream", stream->endpoint);
    }
    return sk_err_set(err, SK_ERR_UNAVAILABLE, "'%s': %.200s", stream->endpoint,
                      stream->why[0] ? stream->why : curl_easy_strerror(code));
}

int etcd_stream_wait(struct etcd_stream *stream, int64_t until_ms, size_t bytes_max,
                     struct sk_err *err)
{
    size_t before = stream->in.len;
    int running = 1;

    if (stream->ended) {
        return sk_err_set(err, SK_ERR_UNAVAILABLE, "'%s' ended the stream", stream->endpoint);
    }
    stream->sink.bytes_max = bytes_max;
    if (stream->sink.paused) {
        stream->sink.paused = false;
        (void)curl_easy_pause(stream->easy, CURLPAUSE_CONT); /* what fails shows in perform() */
    }
    for (;;) {
        int64_t left;
        if (curl_multi_perform(stream->multi, &running) != CURLM_OK) {
            return stream_ended(stream, CURLE_RECV_ERROR, err);
        }
        if (stream->in.len > before) {
            return 1; /* and if it ended too, the next call says so */
        }
        if (running == 0) {
            return stream_ended(stream, result_of(stream->multi), err);
        }
        left = until_ms - sys_now_ms();
        if (left <= 0 || stream->sink.paused || stream->http->stopped) {
            return 0;
        }
        wait_for(stream->http, stream->multi, left);
    }
}

struct sk_buf *etcd_stream_in(struct etcd_stream *stream)
{
    return &stream->in;
}

long etcd_stream_status(const struct etcd_stream *stream)
{
    long status = 0;
    (void)curl_easy_getinfo(stream->easy, CURLINFO_RESPONSE_CODE, &status); /* a known name */
    return status;
}
