/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/client.h"

#include <curl/curl.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/mem.h"
#include "sys/file.h"

#define ANSWER_BYTES_MAX (512u * 1024 * 1024)
#define LINE_BYTES_MAX (1024u * 1024)
#define API_PORT 7410

struct api_client {
    CURL *curl;
    char base[512];        /* "http://skerry" or "https://host:port" */
    char socket_path[512]; /* "" with --server */
    char data_dir[400];
    char ca_path[512]; /* of --server */
    struct curl_slist *headers;
    char curl_error[CURL_ERROR_SIZE];
};

static int use_socket(struct api_client *client, const struct cli *cli, struct sk_err *err)
{
    const char *dir = cli_data_dir(cli);

    (void)snprintf(client->data_dir, sizeof(client->data_dir), "%s", dir);
    if ((size_t)snprintf(client->socket_path, sizeof(client->socket_path), "%s/run/api.sock", dir) >
        100) {
        return sk_err_set(err, SK_ERR_USAGE,
                          "the data folder's path '%s' is too long for a unix socket", dir);
    }
    (void)snprintf(client->base, sizeof(client->base), "http://skerry");
    return 0;
}

static int read_token(const struct cli *cli, struct sk_buf *ret, struct sk_err *err)
{
    const char *path = cli_value(cli, "token-file");

    if (!path) {
        path = getenv("SKERRY_TOKEN_FILE");
    }
    if (!path || !*path) {
        (void)sk_err_set(err, SK_ERR_USAGE, "--server needs a bearer token");
        return sk_err_fix(
            err, "make one with 'skerry key NAME --role operator', then give --token-file FILE");
    }
    if (sys_file_read(path, 4096, ret, err) < 0) {
        return err ? err->code : SK_ERR_IO;
    }
    while (ret->len && (ret->ptr[ret->len - 1] == '\n' || ret->ptr[ret->len - 1] == ' ')) {
        ret->ptr[--ret->len] = '\0';
    }
    for (size_t i = 0; i < ret->len; i++) {
        if (ret->ptr[i] <= ' ' || ret->ptr[i] > '~') {
            return sk_err_set(err, SK_ERR_INPUT, "'%s' does not hold one bearer token", path);
        }
    }
    return 0;
}

static int use_server(struct api_client *client, const struct cli *cli, struct sk_err *err)
{
    const char *server = cli_value(cli, "server");
    const char *ca = cli_value(cli, "ca");
    struct sk_buf token = SK_BUF_INIT;
    struct sk_buf header = SK_BUF_INIT;
    const char *colon = strrchr(server, ':');
    const char *bracket = strrchr(server, ']');
    bool has_port = colon && (!bracket || colon > bracket);

    if (has_port) {
        (void)snprintf(client->base, sizeof(client->base), "https://%s", server);
    } else {
        (void)snprintf(client->base, sizeof(client->base), "https://%s:%d", server, API_PORT);
    }
    if (!ca) {
        ca = getenv("SKERRY_CA");
    }
    if (!ca || !*ca) {
        (void)sk_err_set(err, SK_ERR_USAGE, "--server needs the cluster's CA certificate");
        return sk_err_fix(err, "copy DIR/identity/ca.pem of any server and give --ca FILE");
    }
    (void)snprintf(client->ca_path, sizeof(client->ca_path), "%s", ca);
    if (read_token(cli, &token, err) < 0) {
        sk_buf_release(&token);
        return err ? err->code : SK_ERR_INPUT;
    }
    sk_buf_printf(&header, "Authorization: Bearer %s", token.ptr ? token.ptr : "");
    client->headers = curl_slist_append(client->headers, header.ptr);
    sk_buf_release(&token);
    sk_buf_release(&header);
    return 0;
}

int api_client_new(const struct cli *cli, struct api_client **ret, struct sk_err *err)
{
    struct api_client *client = sk_xcalloc(1, sizeof(*client));
    int r;

    (void)curl_global_init(CURL_GLOBAL_DEFAULT);
    client->curl = curl_easy_init();
    SK_ASSERT(client->curl);
    client->headers = curl_slist_append(NULL, "Content-Type: application/json");
    client->headers = curl_slist_append(client->headers, "Expect:");
    r = cli_value(cli, "server") ? use_server(client, cli, err) : use_socket(client, cli, err);
    if (r < 0) {
        api_client_free(client);
        return r;
    }
    *ret = client;
    return 0;
}

void api_client_free(struct api_client *client)
{
    if (client) {
        curl_slist_free_all(client->headers);
        curl_easy_cleanup(client->curl);
        free(client);
    }
}

void api_escape(struct sk_buf *out, struct sk_str text)
{
    for (size_t i = 0; i < text.len; i++) {
        unsigned char c = (unsigned char)text.ptr[i];
        if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
            c == '-' || c == '_' || c == '.') {
            sk_buf_addc(out, (char)c);
        } else {
            sk_buf_printf(out, "%%%02X", c);
        }
    }
}

static size_t on_bytes(char *ptr, size_t size, size_t count, void *ctx)
{
    struct sk_buf *buf = ctx;
    size_t len = size * count;

    if (buf->len + len > ANSWER_BYTES_MAX) {
        return 0;
    }
    sk_buf_add(buf, ptr, len);
    return len;
}

static void prepare(struct api_client *client, const char *path)
{
    char url[2048];
    CURL *curl = client->curl;

    (void)snprintf(url, sizeof(url), "%s%s", client->base, path);
    (void)curl_easy_setopt(curl, CURLOPT_URL, url);
    (void)curl_easy_setopt(curl, CURLOPT_HTTPHEADER, client->headers);
    (void)curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, client->curl_error);
    (void)curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    (void)curl_easy_setopt(curl, CURLOPT_PROXY, "");
    (void)curl_easy_setopt(curl, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_3);
    if (client->socket_path[0]) {
        (void)curl_easy_setopt(curl, CURLOPT_UNIX_SOCKET_PATH, client->socket_path);
    }
    if (client->ca_path[0]) {
        (void)curl_easy_setopt(curl, CURLOPT_CAINFO, client->ca_path);
    }
    client->curl_error[0] = '\0';
}

static int transport_error(const struct api_client *client, CURLcode code, struct sk_err *err)
{
    if (client->socket_path[0] && (code == CURLE_COULDNT_CONNECT || code == CURLE_FAILED_INIT)) {
        (void)sk_err_set(err, SK_ERR_UNAVAILABLE, "no daemon answers at '%s'", client->socket_path);
        return sk_err_fix(
            err, "start it with 'skerry daemon --data %s', or give --data DIR or --server HOST",
            client->data_dir);
    }
    if (code == CURLE_OPERATION_TIMEDOUT) {
        return sk_err_set(err, SK_ERR_TIMEOUT, "the daemon did not answer in time");
    }
    return sk_err_set(err, SK_ERR_UNAVAILABLE, "talk to the daemon: %s",
                      client->curl_error[0] ? client->curl_error : curl_easy_strerror(code));
}

/* The daemon's own error, as it was there. */
static int remote_error(long status, const struct sk_node *root, struct sk_err *err)
{
    const struct sk_node *e =
        root && root->kind == SK_MAP ? sk_map_get(root, SK_STR("error")) : NULL;
    struct sk_str code, text, fix;

    if (!e || e->kind != SK_MAP) {
        return sk_err_set(err, SK_ERR_PROTOCOL, "the daemon answered with status %ld and no reason",
                          status);
    }
    code = sk_map_str(e, "code", SK_STR("internal"));
    text = sk_map_str(e, "text", SK_STR("failed"));
    fix = sk_map_str(e, "fix", SK_STR(""));
    (void)sk_err_set(err, sk_code_from_name(code.ptr), "%.*s", SK_PRI(text));
    if (fix.len) {
        (void)sk_err_fix(err, "%.*s", SK_PRI(fix));
    }
    return err ? err->code : SK_ERR_INTERNAL;
}

int api_call(struct api_client *client, const char *method, const char *path, struct sk_str body,
             int64_t timeout_ms, struct sk_arena *arena, const struct sk_node **ret_root,
             struct sk_buf *text, struct sk_err *err)
{
    struct sk_buf answer = SK_BUF_INIT;
    const struct sk_node *root = NULL;
    CURLcode code;
    long status = 0;
    int r = 0;

    curl_easy_reset(client->curl);
    prepare(client, path);
    (void)curl_easy_setopt(client->curl, CURLOPT_CUSTOMREQUEST, method);
    (void)curl_easy_setopt(client->curl, CURLOPT_TIMEOUT_MS, (long)timeout_ms);
    (void)curl_easy_setopt(client->curl, CURLOPT_WRITEFUNCTION, on_bytes);
    (void)curl_easy_setopt(client->curl, CURLOPT_WRITEDATA, &answer);
    if (body.ptr) {
        (void)curl_easy_setopt(client->curl, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)body.len);
        (void)curl_easy_setopt(client->curl, CURLOPT_POSTFIELDS, body.ptr);
    }
    code = curl_easy_perform(client->curl);
    if (code != CURLE_OK) {
        r = transport_error(client, code, err);
    } else {
        static const struct sk_limits limits = {.bytes_max = ANSWER_BYTES_MAX,
                                                .nodes_max = 32u << 20};
        struct sk_err parse = {0};
        (void)curl_easy_getinfo(client->curl, CURLINFO_RESPONSE_CODE, &status);
        r = sk_json_read(arena, "answer", sk_buf_str(&answer), &limits, &root, &parse);
        if (status >= 400) {
            r = remote_error(status, r == 0 ? root : NULL, err);
        } else if (r < 0) {
            r = sk_err_set(err, SK_ERR_PROTOCOL, "the daemon's answer is no JSON: %s", parse.msg);
        }
    }
    if (r == 0 && text) {
        sk_buf_addstr(text, sk_buf_str(&answer));
    }
    if (r == 0 && ret_root) {
        *ret_root = root;
    }
    sk_buf_release(&answer);
    return r;
}

struct line_reader {
    struct sk_buf buf;
    api_line_fn *on_line;
    void *ctx;
    bool stopped;
    long status;
    CURL *curl;
};

static size_t on_stream(char *ptr, size_t size, size_t count, void *ctx)
{
    struct line_reader *reader = ctx;
    size_t len = size * count;
    char *newline;

    sk_buf_add(&reader->buf, ptr, len);
    (void)curl_easy_getinfo(reader->curl, CURLINFO_RESPONSE_CODE, &reader->status);
    if (reader->status >= 400) {
        return reader->buf.len > LINE_BYTES_MAX ? 0 : len;
    }
    while ((newline = memchr(reader->buf.ptr, '\n', reader->buf.len))) {
        size_t n = (size_t)(newline - reader->buf.ptr);
        if (!reader->on_line((struct sk_str){reader->buf.ptr, n}, reader->ctx)) {
            reader->stopped = true;
            return 0;
        }
        sk_buf_consume(&reader->buf, n + 1);
    }
    return reader->buf.len > LINE_BYTES_MAX ? 0 : len;
}

int api_stream(struct api_client *client, const char *path, api_line_fn *on_line, void *ctx,
               struct sk_err *err)
{
    struct line_reader reader = {.on_line = on_line, .ctx = ctx};
    CURLcode code;
    int r = 0;

    curl_easy_reset(client->curl);
    prepare(client, path);
    reader.curl = client->curl;
    (void)curl_easy_setopt(client->curl, CURLOPT_WRITEFUNCTION, on_stream);
    (void)curl_easy_setopt(client->curl, CURLOPT_WRITEDATA, &reader);
    code = curl_easy_perform(client->curl);
    if (reader.status >= 400) {
        struct sk_arena *arena = sk_arena_new();
        const struct sk_node *root = NULL;
        int parsed = sk_json_read(arena, "answer", sk_buf_str(&reader.buf), NULL, &root, NULL);
        r = remote_error(reader.status, parsed == 0 ? root : NULL, err);
        sk_arena_free(arena);
    } else if (code != CURLE_OK && !reader.stopped) {
        r = transport_error(client, code, err);
    }
    sk_buf_release(&reader.buf);
    return r;
}

struct byte_reader {
    struct sk_buf error; /* an error's answer */
    api_bytes_fn *take;
    void *ctx;
    bool stopped;
    long status;
    CURL *curl;
};

static size_t on_download(char *ptr, size_t size, size_t count, void *ctx)
{
    struct byte_reader *reader = ctx;
    size_t len = size * count;

    (void)curl_easy_getinfo(reader->curl, CURLINFO_RESPONSE_CODE, &reader->status);
    if (reader->status >= 400) {
        sk_buf_add(&reader->error, ptr, len);
        return reader->error.len > LINE_BYTES_MAX ? 0 : len;
    }
    reader->stopped = !reader->take((struct sk_str){ptr, len}, reader->ctx);
    return reader->stopped ? 0 : len;
}

int api_download(struct api_client *client, const char *path, api_bytes_fn *take, void *ctx,
                 struct sk_err *err)
{
    struct byte_reader reader = {.take = take, .ctx = ctx};
    CURLcode code;
    int r = 0;

    curl_easy_reset(client->curl);
    prepare(client, path);
    reader.curl = client->curl;
    (void)curl_easy_setopt(client->curl, CURLOPT_WRITEFUNCTION, on_download);
    (void)curl_easy_setopt(client->curl, CURLOPT_WRITEDATA, &reader);
    code = curl_easy_perform(client->curl);
    (void)curl_easy_getinfo(client->curl, CURLINFO_RESPONSE_CODE, &reader.status);
    if (reader.status >= 400) {
        struct sk_arena *arena = sk_arena_new();
        const struct sk_node *root = NULL;
        int parsed = sk_json_read(arena, "answer", sk_buf_str(&reader.error), NULL, &root, NULL);
        r = remote_error(reader.status, parsed == 0 ? root : NULL, err);
        sk_arena_free(arena);
    } else if (reader.stopped) {
        r = sk_err_set(err, SK_ERR_CANCELLED, "the download was given up");
    } else if (code != CURLE_OK) {
        r = transport_error(client, code, err);
    }
    sk_buf_release(&reader.error);
    return r;
}
