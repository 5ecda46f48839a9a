/* SPDX-License-Identifier: Apache-2.0 */
#include "shim/shim.h"

#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

void shim_check_close(struct shim_check *check)
{
    if (check->fd >= 0) {
        (void)close(check->fd);
    }
    check->fd = -1;
}

static int begin_connect(struct shim_check *check, const char *address, unsigned port,
                         struct shim_reason *reason)
{
    struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_port = htons((uint16_t)port)};
    bool is_v4 = inet_pton(AF_INET, address, &v4.sin_addr) == 1;
    int rc;

    if (!is_v4 && inet_pton(AF_INET6, address, &v6.sin6_addr) != 1) {
        return shim_fail(reason, "not an address");
    }
    check->fd = socket(is_v4 ? AF_INET : AF_INET6, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (check->fd < 0) {
        return shim_fail_errno(reason, "make a socket");
    }
    rc = is_v4 ? connect(check->fd, (const struct sockaddr *)&v4, sizeof(v4))
               : connect(check->fd, (const struct sockaddr *)&v6, sizeof(v6));
    if (rc < 0 && errno != EINPROGRESS) {
        (void)shim_fail_errno(reason, "connect to port %u", port);
        shim_check_close(check);
        return -1;
    }
    return 0;
}

int shim_check_start(struct shim_check *check, const char *line, struct shim_reason *reason)
{
    char kind[8], address[64], path[2048] = "/";
    unsigned port, timeout_ms;
    int n = sscanf(line, "%7s %63s %u %u %2047s", kind, address, &port, &timeout_ms, path);
    bool http = n >= 1 && strcmp(kind, "http") == 0;

    shim_check_close(check);
    if (n < 4 || port < 1 || port > 65535 || timeout_ms < 1 || timeout_ms > 3600000 ||
        (!http && strcmp(kind, "tcp") != 0) || path[0] != '/') {
        return shim_fail(reason, "not a check");
    }
    if (begin_connect(check, address, port, reason) < 0) {
        return -1;
    }
    check->http = http;
    check->events = POLLOUT;
    check->sent = check->answered = false;
    check->nread = check->nsent = check->nrequest = 0;
    check->deadline_ms = shim_now_ms() + timeout_ms;
    if (http) {
        bool v6 = strchr(address, ':') != NULL;
        check->nrequest = (size_t)snprintf(
            check->request, sizeof(check->request),
            "GET %s HTTP/1.0\r\nHost: %s%s%s:%u\r\nUser-Agent: skerry-check\r\nAccept: */*\r\n"
            "Connection: close\r\n\r\n",
            path, v6 ? "[" : "", address, v6 ? "]" : "", port);
    }
    return 0;
}

/* "HTTP/1.x NNN": 200 to 399 passes; a redirect is an answer and is never followed. */
static int judge(struct shim_check *check, struct shim_reason *reason)
{
    unsigned major, minor, status;

    check->head[check->nread < sizeof(check->head) ? check->nread : sizeof(check->head) - 1] = '\0';
    if (sscanf(check->head, "HTTP/%1u.%1u %3u", &major, &minor, &status) != 3) {
        return shim_fail(reason, "the answer is not HTTP");
    }
    if (status < 200 || status > 399) {
        return shim_fail(reason, "the answer was HTTP %u", status);
    }
    return 1;
}

static int read_answer(struct shim_check *check, struct shim_reason *reason)
{
    char bytes[4096];
    ssize_t n = read(check->fd, bytes, sizeof(bytes));

    if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
        return 0;
    }
    if (n > 0 && check->nread < sizeof(check->head) - 1) {
        size_t room = sizeof(check->head) - 1 - check->nread;
        memcpy(check->head + check->nread, bytes, (size_t)n < room ? (size_t)n : room);
    }
    if (n > 0) {
        check->nread += (size_t)n;
    }
    if (n < 0 && check->nread < 12) {
        return shim_fail_errno(reason, "read the answer");
    }
    if (n <= 0 || check->nread >= SHIM_CHECK_BYTES_MAX) {
        return judge(check, reason);
    }
    return 0;
}

int shim_check_step(struct shim_check *check, struct shim_reason *reason)
{
    if (!check->sent) {
        int error = 0;
        socklen_t len = sizeof(error);
        (void)getsockopt(check->fd, SOL_SOCKET, SO_ERROR, &error, &len);
        if (error) {
            errno = error;
            return shim_fail_errno(reason, "connect");
        }
        if (!check->http) {
            return 1;
        }
        while (check->nsent < check->nrequest) {
            ssize_t n = send(check->fd, check->request + check->nsent,
                             check->nrequest - check->nsent, MSG_NOSIGNAL);
            if (n < 0 && errno == EAGAIN) {
                return 0;
            }
            if (n < 0) {
                return shim_fail_errno(reason, "send the request");
            }
            check->nsent += (size_t)n;
        }
        check->sent = true;
        check->events = POLLIN;
        return 0;
    }
    return read_answer(check, reason);
}
