/* SPDX-License-Identifier: Apache-2.0 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lab/demo_cluster.h"
#include "sys/clock.h"

/* A socket belongs to the network namespace in which it is made. */
static int socket_in(const char *netns)
{
    int type = SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC;
    if (netns == NULL) {
        return socket(AF_INET, type, 0);
    }
    int fd = -1;
    int home = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
    int there = open(netns, O_RDONLY | O_CLOEXEC);
    if (home >= 0 && there >= 0 && setns(there, CLONE_NEWNET) == 0) {
        fd = socket(AF_INET, type, 0);
        int back = setns(home, CLONE_NEWNET);
        SK_ASSERT(back == 0); /* going on in a foreign namespace would change the wrong network */
    }
    if (home >= 0) {
        (void)close(home);
    }
    if (there >= 0) {
        (void)close(there);
    }
    return fd;
}

static bool wait_for(int fd, short events, int64_t end_ms)
{
    struct pollfd p = {fd, events, 0};
    int64_t left = end_ms - sys_now_ms();
    return left > 0 && poll(&p, 1, (int)left) > 0;
}

static size_t converse(int fd, const char *host, int64_t end_ms, char *out, size_t size)
{
    char request[256];
    int n = snprintf(request, sizeof(request),
                     "GET / HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n", host);
    size_t len = 0;
    if (n < 0 || (size_t)n >= sizeof(request) || !wait_for(fd, POLLOUT, end_ms) ||
        send(fd, request, (size_t)n, MSG_NOSIGNAL) != n) {
        return 0;
    }
    while (len + 1 < size && wait_for(fd, POLLIN, end_ms)) {
        ssize_t got = recv(fd, out + len, size - 1 - len, 0);
        if (got <= 0) {
            break;
        }
        len += (size_t)got;
    }
    return len;
}

bool demo_http(const char *netns, const char *address, uint16_t port, const char *host,
               int timeout_ms, char *out, size_t size)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(port)};
    int64_t end_ms = sys_now_ms() + timeout_ms;
    size_t len = 0;
    int fd = inet_pton(AF_INET, address, &a.sin_addr) == 1 ? socket_in(netns) : -1;
    if (fd < 0) {
        return false;
    }
    if (connect(fd, (const struct sockaddr *)&a, sizeof(a)) == 0 || errno == EINPROGRESS) {
        len = converse(fd, host, end_ms, out, size);
    }
    (void)close(fd);
    out[len] = '\0';
    return len > 0;
}
