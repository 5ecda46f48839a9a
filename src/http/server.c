/* SPDX-License-Identifier: Apache-2.0 */
#include "http/server.h"

#include <arpa/inet.h>
#include <errno.h>
#include <microhttpd.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/mem.h"

#define HEADER_BYTES_MAX (32u * 1024)
#define IDLE_S 30u
#define PER_SOURCE_MAX 32u
#define DRAIN_MS 150000 /* longer than the longest answer takes */
#define THREAD_STACK_BYTES (256u * 1024)

struct http_server {
    struct MHD_Daemon *daemon;
    struct http_config config;
    struct http_server *before; /* what this one took over from, while it still answers */
    pthread_t drain;            /* of one that was taken over: its thread, until joined */
    atomic_bool hurry;
};

struct http_exchange {
    struct http_server *server;
    struct MHD_Connection *connection;
    struct sk_str method;
    struct sk_str path;
    struct sk_buf body;
    size_t body_max;
    bool too_large;
    bool replied;
    enum MHD_Result result;
};

struct stream {
    http_stream_read_fn *read;
    void (*release)(void *ctx);
    void *ctx;
};

struct sk_str http_method(const struct http_exchange *x)
{
    return x->method;
}

struct sk_str http_path(const struct http_exchange *x)
{
    return x->path;
}

struct sk_str http_query(const struct http_exchange *x, const char *name)
{
    const char *value = MHD_lookup_connection_value(x->connection, MHD_GET_ARGUMENT_KIND, name);
    return value ? sk_str(value) : SK_STR_NULL;
}

struct sk_str http_header(const struct http_exchange *x, const char *name)
{
    const char *value = MHD_lookup_connection_value(x->connection, MHD_HEADER_KIND, name);
    return value ? sk_str(value) : SK_STR_NULL;
}

static void escape(struct sk_buf *out, const char *text, const char *also)
{
    for (const char *p = text; p && *p; p++) {
        unsigned char c = (unsigned char)*p;
        if ((c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
            strchr("-._~", c) || strchr(also, c)) {
            sk_buf_addc(out, *p);
        } else {
            sk_buf_printf(out, "%%%02X", c);
        }
    }
}

static enum MHD_Result add_argument(void *cls, enum MHD_ValueKind kind, const char *key,
                                    const char *value)
{
    struct sk_buf *query = cls;

    (void)kind;
    sk_buf_addc(query, query->len ? '&' : '?');
    escape(query, key, "");
    if (value) {
        sk_buf_addc(query, '=');
        escape(query, value, "");
    }
    return MHD_YES;
}

void http_target(const struct http_exchange *x, struct sk_buf *out)
{
    struct sk_buf query = SK_BUF_INIT;

    escape(out, x->path.ptr, "/");
    (void)MHD_get_connection_values(x->connection, MHD_GET_ARGUMENT_KIND, add_argument, &query);
    sk_buf_addstr(out, sk_buf_str(&query));
    sk_buf_release(&query);
}

struct sk_str http_body(const struct http_exchange *x)
{
    return sk_buf_str(&x->body);
}

bool http_is_unix(const struct http_exchange *x)
{
    return x->server->config.unix_fd >= 0;
}

uid_t http_peer_uid(const struct http_exchange *x)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(x->connection, MHD_CONNECTION_INFO_CONNECTION_FD);
    struct ucred cred;
    socklen_t len = sizeof(cred);

    if (!info || getsockopt(info->connect_fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) != 0) {
        return (uid_t)-1;
    }
    return cred.uid;
}

static void send_response(struct http_exchange *x, int status, const char *content_type,
                          struct MHD_Response *response)
{
    SK_ASSERT(response && !x->replied);
    x->replied = true;
    (void)MHD_add_response_header(response, "Content-Type", content_type);
    (void)MHD_add_response_header(response, "X-Content-Type-Options", "nosniff");
    (void)MHD_add_response_header(response, "Cache-Control", "no-store");
    x->result = MHD_queue_response(x->connection, (unsigned)status, response);
    MHD_destroy_response(response);
}

void http_reply(struct http_exchange *x, int status, const char *content_type, struct sk_str body)
{
    char *copy = sk_xstrndup(body.ptr ? body.ptr : "", body.len);
    send_response(x, status, content_type,
                  MHD_create_response_from_buffer(body.len, copy, MHD_RESPMEM_MUST_FREE));
}

static ssize_t stream_read(void *cls, uint64_t pos, char *buf, size_t max)
{
    struct stream *stream = cls;
    ssize_t n;

    (void)pos;
    n = stream->read(stream->ctx, buf, max);
    return n == -1 ? MHD_CONTENT_READER_END_OF_STREAM
           : n < 0 ? MHD_CONTENT_READER_END_WITH_ERROR
                   : n;
}

static void stream_free(void *cls)
{
    struct stream *stream = cls;
    stream->release(stream->ctx);
    free(stream);
}

void http_reply_stream(struct http_exchange *x, int status, const char *content_type,
                       http_stream_read_fn *read, void (*release)(void *ctx), void *ctx)
{
    struct stream *stream = sk_xcalloc(1, sizeof(*stream));

    *stream = (struct stream){read, release, ctx};
    send_response(x, status, content_type,
                  MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, 16384, stream_read, stream,
                                                    stream_free));
}

static struct http_exchange *exchange_new(struct http_server *server,
                                          struct MHD_Connection *connection, const char *url,
                                          const char *method)
{
    struct http_exchange *x = sk_xcalloc(1, sizeof(*x));

    x->server = server;
    x->connection = connection;
    x->method = sk_str(method);
    x->path = sk_str(url);
    x->body_max = server->config.body_max(x->method, x->path);
    return x;
}

static enum MHD_Result on_request(void *cls, struct MHD_Connection *connection, const char *url,
                                  const char *method, const char *version, const char *upload,
                                  size_t *upload_size, void **request)
{
    struct http_exchange *x = *request;

    (void)version;
    if (!x) {
        *request = exchange_new(cls, connection, url, method);
        return MHD_YES;
    }
    x->method = sk_str(method); /* the library's strings may move between calls */
    x->path = sk_str(url);
    if (*upload_size) {
        if (x->body.len + *upload_size > x->body_max) {
            x->too_large = true; /* read on and forget: the answer needs a request that is over */
        } else {
            sk_buf_add(&x->body, upload, *upload_size);
        }
        *upload_size = 0;
        return MHD_YES;
    }
    x->result = MHD_NO;
    if (x->too_large) {
        http_reply(x, 413, "application/json",
                   SK_STR("{\"error\":{\"code\":\"limit\",\"text\":\"the body is larger than this "
                          "route takes\"}}\n"));
    } else {
        x->server->config.handler(x, x->server->config.ctx);
    }
    SK_ASSERT(x->replied);
    return x->result;
}

static void on_completed(void *cls, struct MHD_Connection *connection, void **request,
                         enum MHD_RequestTerminationCode code)
{
    struct http_exchange *x = *request;

    (void)cls;
    (void)connection;
    (void)code;
    if (x) {
        sk_buf_release(&x->body);
        free(x);
        *request = NULL;
    }
}

static struct MHD_Daemon *start_unix(struct http_server *server)
{
    unsigned flags = MHD_USE_INTERNAL_POLLING_THREAD | MHD_USE_THREAD_PER_CONNECTION |
                     MHD_USE_POLL | MHD_USE_ITC;
    return MHD_start_daemon(flags, 0, NULL, NULL, on_request, server, MHD_OPTION_LISTEN_SOCKET,
                            server->config.unix_fd, MHD_OPTION_NOTIFY_COMPLETED, on_completed, NULL,
                            MHD_OPTION_CONNECTION_LIMIT, server->config.connections_max,
                            MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)HEADER_BYTES_MAX,
                            MHD_OPTION_THREAD_STACK_SIZE, (size_t)THREAD_STACK_BYTES,
                            MHD_OPTION_STRICT_FOR_CLIENT, 1, MHD_OPTION_END);
}

/* On `address`, or on the listening socket `fd` when that is not -1. */
static struct MHD_Daemon *start_tls(struct http_server *server, const struct sockaddr *address,
                                    int fd)
{
    unsigned flags = MHD_USE_INTERNAL_POLLING_THREAD | MHD_USE_THREAD_PER_CONNECTION |
                     MHD_USE_POLL | MHD_USE_ITC | MHD_USE_TLS;
    struct MHD_OptionItem where[] = {
        {MHD_OPTION_LISTEN_SOCKET, fd, NULL},
        {MHD_OPTION_END, 0, NULL},
    };

    if (fd < 0) {
        where[0] = (struct MHD_OptionItem){MHD_OPTION_SOCK_ADDR, 0, (void *)(uintptr_t)address};
    }
    if (address && address->sa_family == AF_INET6) {
        flags |= MHD_USE_IPv6;
    }
    return MHD_start_daemon(
        flags, 0, NULL, NULL, on_request, server, MHD_OPTION_ARRAY, where,
        MHD_OPTION_HTTPS_MEM_CERT, server->config.cert_pem, MHD_OPTION_HTTPS_MEM_KEY,
        server->config.key_pem, MHD_OPTION_HTTPS_PRIORITIES, "SECURE128:-VERS-ALL:+VERS-TLS1.3",
        MHD_OPTION_NOTIFY_COMPLETED, on_completed, NULL, MHD_OPTION_CONNECTION_LIMIT,
        server->config.connections_max, MHD_OPTION_PER_IP_CONNECTION_LIMIT, PER_SOURCE_MAX,
        MHD_OPTION_CONNECTION_TIMEOUT, IDLE_S, MHD_OPTION_CONNECTION_MEMORY_LIMIT,
        (size_t)HEADER_BYTES_MAX, MHD_OPTION_THREAD_STACK_SIZE, (size_t)THREAD_STACK_BYTES,
        MHD_OPTION_STRICT_FOR_CLIENT, 1, MHD_OPTION_END);
}

static int parse_address(const struct http_config *config, struct sockaddr_storage *ret,
                         struct sk_err *err)
{
    struct sockaddr_in *v4 = (struct sockaddr_in *)ret;
    struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)ret;

    memset(ret, 0, sizeof(*ret));
    if (inet_pton(AF_INET, config->address, &v4->sin_addr) == 1) {
        v4->sin_family = AF_INET;
        v4->sin_port = htons(config->port);
        return 0;
    }
    if (inet_pton(AF_INET6, config->address, &v6->sin6_addr) == 1) {
        v6->sin6_family = AF_INET6;
        v6->sin6_port = htons(config->port);
        return 0;
    }
    return sk_err_set(err, SK_ERR_INPUT, "'%s' is no IP address to listen on", config->address);
}

int http_server_start(const struct http_config *config, struct http_server **ret,
                      struct sk_err *err)
{
    struct http_server *server = sk_xcalloc(1, sizeof(*server));
    struct sockaddr_storage address;

    server->config = *config;
    if (config->unix_fd >= 0) {
        server->daemon = start_unix(server);
    } else {
        if (parse_address(config, &address, err) < 0) {
            free(server);
            return err ? err->code : SK_ERR_INPUT;
        }
        server->daemon = start_tls(server, (const struct sockaddr *)&address, -1);
    }
    if (!server->daemon) {
        int errnum = errno;
        free(server);
        if (config->unix_fd >= 0) {
            return sk_err_errno(err, errnum, "serve the API on its unix socket");
        }
        return sk_err_errno(err, errnum, "serve HTTPS on %s port %u", config->address,
                            config->port);
    }
    server->config.cert_pem = server->config.key_pem = NULL; /* parsed; the caller's to free */
    *ret = server;
    return 0;
}

/* Waits for the one before, which a thread of its own stops. */
static void join_before(struct http_server *server)
{
    if (server->before) {
        atomic_store(&server->before->hurry, true);
        (void)pthread_join(server->before->drain, NULL);
        free(server->before);
        server->before = NULL;
    }
}

/* Stopping cuts connections off: what is under way is answered first, within a bound. */
static void *stop_in_peace(void *arg)
{
    struct http_server *server = arg;

    for (int waited_ms = 0; waited_ms < DRAIN_MS && !atomic_load(&server->hurry); waited_ms += 50) {
        const union MHD_DaemonInfo *info =
            MHD_get_daemon_info(server->daemon, MHD_DAEMON_INFO_CURRENT_CONNECTIONS);
        if (!info || info->num_connections == 0) {
            break;
        }
        (void)usleep(50 * 1000);
    }
    join_before(server);
    MHD_stop_daemon(server->daemon);
    return NULL;
}

int http_server_hand_over(struct http_server *old, const char *cert_pem, const char *key_pem,
                          struct http_server **ret, struct sk_err *err)
{
    struct http_server *server = sk_xcalloc(1, sizeof(*server));
    int fd = MHD_quiesce_daemon(old->daemon);
    int r = 0;

    server->config = old->config;
    server->config.cert_pem = cert_pem;
    server->config.key_pem = key_pem;
    server->daemon = fd >= 0 ? start_tls(server, NULL, fd) : NULL;
    if (!server->daemon) {
        r = sk_err_errno(err, errno, "serve HTTPS with the renewed certificate");
        if (fd >= 0) {
            (void)close(fd);
        }
    }
    server->config.cert_pem = server->config.key_pem = NULL;
    server->before = old;
    /* its handlers may wait for the thread that calls this: it ends on a thread of its own */
    SK_ASSERT(pthread_create(&old->drain, NULL, stop_in_peace, old) == 0);
    *ret = server;
    return r;
}

void http_server_stop(struct http_server *server)
{
    if (server) {
        join_before(server);
        if (server->daemon) {
            MHD_stop_daemon(server->daemon);
        }
        free(server);
    }
}

uint16_t http_server_port(const struct http_server *server)
{
    const union MHD_DaemonInfo *info =
        MHD_get_daemon_info(server->daemon, MHD_DAEMON_INFO_BIND_PORT);
    return info ? info->port : 0;
}
