/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/doors.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>
#include <uv.h>

#include "agent/agent.h"
#include "base/hash.h"
#include "base/mem.h"
#include "daemon/api.h"
#include "http/server.h"
#include "sys/clock.h"

#define UNIX_CONNECTIONS_MAX 128
#define TLS_CONNECTIONS_MAX 256

struct doors {
    const struct daemon_config *config;
    const struct net_ca *ca;
    struct api_context api;
    struct http_server *local;
    struct http_server *https;
    char socket_path[512];
};

/* ---- images: resolved on the calling HTTP thread, by a loop of its own ---- */

struct resolution {
    struct sk_buf *digest;
    struct sk_err *err;
    int result;
};

static void on_resolved(void *ctx, const char *digest, const struct sk_err *err)
{
    struct resolution *res = ctx;

    if (digest && digest[0]) {
        sk_buf_adds(res->digest, digest);
        res->result = 0;
    } else {
        *res->err = *err;
        res->result = err->code ? err->code : SK_ERR_ENGINE;
    }
}

static int resolve_image(void *ctx, struct sk_str ref, struct sk_buf *ret_digest,
                         struct sk_err *err)
{
    struct resolution res = {ret_digest, err, SK_ERR_ENGINE};
    uv_loop_t loop;
    int r;

    (void)ctx;
    if (uv_loop_init(&loop) != 0) {
        return sk_err_set(err, SK_ERR_UNAVAILABLE, "no event loop could be made");
    }
    r = agent_resolve_image(&loop, ref, on_resolved, &res, err);
    (void)uv_run(&loop, UV_RUN_DEFAULT);
    SK_ASSERT(uv_loop_close(&loop) == 0);
    return r < 0 ? r : res.result;
}

/* ---- the socket ---- */

static int listen_unix(const char *path, struct sk_err *err)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd;

    if (strlen(path) >= sizeof(address.sun_path)) {
        return sk_err_set(err, SK_ERR_INPUT, "'%s' is too long for a unix socket", path);
    }
    (void)snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
    (void)unlink(path); /* of a daemon that was killed; a living one holds the store, which was
                           opened first */
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || bind(fd, (const struct sockaddr *)&address, sizeof(address)) != 0 ||
        chmod(path, 0660) != 0 || listen(fd, 64) != 0) {
        int errnum = errno;
        if (fd >= 0) {
            (void)close(fd);
        }
        return sk_err_errno(err, errnum, "listen on '%s'", path);
    }
    return fd;
}

static int open_local(struct doors *doors, struct sk_err *err)
{
    struct http_config http = {.connections_max = UNIX_CONNECTIONS_MAX,
                               .body_max = api_body_max,
                               .handler = api_handle,
                               .ctx = &doors->api};

    (void)snprintf(doors->socket_path, sizeof(doors->socket_path), "%s/run/api.sock",
                   doors->config->dir);
    http.unix_fd = listen_unix(doors->socket_path, err);
    if (http.unix_fd < 0) {
        return err ? err->code : SK_ERR_IO;
    }
    if (http_server_start(&http, &doors->local, err) < 0) {
        (void)close(http.unix_fd);
        return err ? err->code : SK_ERR_IO;
    }
    return 0;
}

static int issue_certificate(struct doors *doors, struct sk_buf *key, struct sk_buf *cert,
                             struct sk_err *err)
{
    const char *names[] = {doors->config->address, "127.0.0.1", "localhost"};
    struct net_issue issue = {.kind = NET_CERT_API,
                              .node = doors->config->node,
                              .names = names,
                              .nnames = SK_ARRAY_LEN(names),
                              .wall_ms = sys_wall_ms()};
    struct sk_buf csr = SK_BUF_INIT;
    int r = net_key_new(key, err);

    r = r < 0 ? r : net_csr_new(sk_buf_str(key), doors->config->node, &csr, err);
    r = r < 0 ? r : net_ca_issue(doors->ca, sk_buf_str(&csr), &issue, cert, NULL, err);
    sk_buf_release(&csr);
    return r;
}

static int open_https(struct doors *doors, struct sk_err *err)
{
    struct sk_buf key = SK_BUF_INIT, cert = SK_BUF_INIT;
    struct http_config http = {.unix_fd = -1,
                               .address = doors->config->listen,
                               .port = doors->config->api_port,
                               .connections_max = TLS_CONNECTIONS_MAX,
                               .body_max = api_body_max,
                               .handler = api_handle,
                               .ctx = &doors->api};
    int r;

    if (doors->config->api_port == 0) {
        return 0;
    }
    r = issue_certificate(doors, &key, &cert, err);
    if (r == 0) {
        http.cert_pem = cert.ptr;
        http.key_pem = key.ptr;
        r = http_server_start(&http, &doors->https, err);
    }
    net_pem_wipe(&key);
    sk_buf_release(&cert);
    return r;
}

int doors_renew(struct doors *doors, struct sk_err *err)
{
    struct sk_buf key = SK_BUF_INIT, cert = SK_BUF_INIT;
    struct http_server *old = doors->https;
    int r;

    if (!old) {
        return 0;
    }
    r = issue_certificate(doors, &key, &cert, err);
    if (r == 0) {
        doors->https = NULL;
        r = http_server_hand_over(old, cert.ptr, key.ptr, &doors->https, err);
    }
    net_pem_wipe(&key);
    sk_buf_release(&cert);
    return r;
}

static void set_peers(struct api_context *api, const struct daemon_config *config,
                      const char *peer_token)
{
    (void)snprintf(api->peer_token, sizeof(api->peer_token), "%s", peer_token);
    sk_sha256_hex(sk_str(api->peer_token), api->peer_hash);
    (void)snprintf(api->ca_file, sizeof(api->ca_file), "%s/identity/ca.pem", config->dir);
    api->api_port = config->api_port;
}

int doors_open(const struct daemon_config *config, const struct net_ca *ca, struct sys_queue *calls,
               const char *peer_token, struct doors **ret, struct sk_err *err)
{
    struct doors *doors = sk_xcalloc(1, sizeof(*doors));
    uint8_t fingerprint[SK_SHA256_BYTES];

    doors->config = config;
    doors->ca = ca;
    doors->api.calls = sys_queue_ref(calls);
    doors->api.own_uid = geteuid();
    doors->api.resolve_image = resolve_image;
    doors->api.dir = config->dir;
    set_peers(&doors->api, config, config->api_port ? peer_token : "");
    (void)snprintf(doors->api.join_address, sizeof(doors->api.join_address), "%s",
                   config->controls[0]);
    if (net_ca_fingerprint(sk_str(net_ca_pem(ca)), fingerprint, err) < 0 ||
        open_local(doors, err) < 0 || open_https(doors, err) < 0) {
        doors_close(doors);
        return err ? err->code : SK_ERR_INTERNAL;
    }
    sk_hex(fingerprint, sizeof(fingerprint), doors->api.ca_fingerprint);
    *ret = doors;
    return 0;
}

void doors_close(struct doors *doors)
{
    if (!doors) {
        return;
    }
    http_server_stop(doors->https);
    http_server_stop(doors->local);
    if (doors->socket_path[0]) {
        (void)unlink(doors->socket_path);
    }
    sys_queue_unref(doors->api.calls);
    explicit_bzero(doors->api.peer_token, sizeof(doors->api.peer_token));
    free(doors);
}
