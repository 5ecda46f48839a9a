/* SPDX-License-Identifier: Apache-2.0 */
#include "lab/load_conn.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/mem.h"

int load_conns_init(struct load_conns *c, const struct load_options *options, struct sk_err *err)
{
    struct sk_buf request = SK_BUF_INIT;
    sk_buf_printf(&request,
                  "GET %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: skerry-lab\r\nAccept: */*\r\n%s\r\n",
                  options->path, options->host, options->keep_alive ? "" : "Connection: close\r\n");
    *c = (struct load_conns){.epoll = -1, .home_ns = -1, .now_ns = -1, .options = options};
    for (size_t i = 0; i < LOAD_POPULATIONS_MAX; i++) {
        c->population_ns[i] = -1;
    }
    c->keep_alive = options->keep_alive;
    c->request = sk_buf_steal(&request, &c->request_len);
    c->idle = sk_xcalloc(options->npopulations * LOAD_INGRESS_MAX, sizeof(*c->idle));
    c->epoll = epoll_create1(EPOLL_CLOEXEC);
    c->home_ns = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
    c->now_ns = c->home_ns;
    if (c->epoll < 0 || c->home_ns < 0) {
        int ret = sk_err_errno(err, errno, "prepare the load generator");
        load_conns_release(c);
        return ret;
    }
    for (size_t i = 0; i < options->npopulations; i++) {
        const char *path = options->populations[i].netns;
        if (path == NULL) {
            continue;
        }
        c->population_ns[i] = open(path, O_RDONLY | O_CLOEXEC);
        if (c->population_ns[i] < 0) {
            int ret = sk_err_errno(err, errno, "open network namespace '%s'", path);
            load_conns_release(c);
            return ret;
        }
    }
    return 0;
}

static void shut(int *fd)
{
    if (*fd >= 0) {
        (void)close(*fd); /* only descriptors of sockets and namespaces: nothing is lost */
        *fd = -1;
    }
}

void load_conns_release(struct load_conns *c)
{
    load_tries_bury(c);
    for (size_t i = 0; c->idle != NULL && i < c->options->npopulations * LOAD_INGRESS_MAX; i++) {
        for (size_t j = 0; j < c->idle[i].count; j++) {
            shut(&c->idle[i].fds[j]);
        }
    }
    if (c->now_ns != c->home_ns) {
        (void)setns(c->home_ns, CLONE_NEWNET); /* only ours: the generator ends anyway */
    }
    for (size_t i = 0; i < LOAD_POPULATIONS_MAX; i++) {
        shut(&c->population_ns[i]);
    }
    shut(&c->home_ns);
    shut(&c->epoll);
    free(c->idle);
    free(c->request);
    c->idle = NULL;
    c->request = NULL;
}

/* A socket belongs to the network namespace in which it is made. */
static int make_socket(struct load_conns *c, size_t population)
{
    int ns = c->population_ns[population] >= 0 ? c->population_ns[population] : c->home_ns;
    if (ns != c->now_ns) {
        if (setns(ns, CLONE_NEWNET) < 0) {
            return -1;
        }
        c->now_ns = ns;
    }
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd >= 0) {
        int one = 1;
        (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)); /* latency only */
    }
    return fd;
}

/* A connection that the server has not closed meanwhile, or -1. */
static int take_idle(struct load_conns *c, size_t population, unsigned ingress)
{
    struct load_idle *idle = &c->idle[population * LOAD_INGRESS_MAX + ingress];
    while (idle->count > 0) {
        int fd = idle->fds[--idle->count];
        char byte;
        if (recv(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) < 0 && errno == EAGAIN) {
            return fd;
        }
        (void)close(fd);
    }
    return -1;
}

struct load_try *load_try_start(struct load_conns *c, size_t population, unsigned ingress,
                                bool may_reuse, struct load_request *request)
{
    int fd = may_reuse ? take_idle(c, population, ingress) : -1;
    bool reused = fd >= 0;
    if (!reused) {
        fd = make_socket(c, population);
    }
    if (fd < 0) {
        return NULL;
    }
    struct load_try *t = sk_xcalloc(1, sizeof(*t));
    t->fd = fd;
    t->reused = reused;
    t->connected = reused;
    t->ingress = ingress;
    t->request = request;
    if (!reused) {
        const struct load_ingress *to = &c->options->populations[population].ingress[ingress];
        int done = connect(fd, (const struct sockaddr *)&to->address, sizeof(to->address));
        t->broken = done < 0 && errno != EINPROGRESS;
    }
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLET, .data.ptr = t};
    if (epoll_ctl(c->epoll, EPOLL_CTL_ADD, fd, &event) < 0) {
        (void)close(fd);
        free(t);
        return NULL;
    }
    return t;
}

/* LOAD_WHOLE = all is sent; LOAD_MORE = the socket is full or not connected yet. */
static enum load_feed send_request(struct load_conns *c, struct load_try *t)
{
    while (t->sent < c->request_len) {
        ssize_t n = send(t->fd, c->request + t->sent, c->request_len - t->sent, MSG_NOSIGNAL);
        if (n < 0) {
            bool later = errno == EAGAIN || errno == EINPROGRESS || errno == ENOTCONN;
            return later && !(errno == ENOTCONN && t->connected) ? LOAD_MORE : LOAD_BROKEN;
        }
        t->connected = true;
        t->sent += (size_t)n;
    }
    return LOAD_WHOLE;
}

enum load_feed load_try_step(struct load_conns *c, struct load_try *t)
{
    if (t->broken) {
        return LOAD_BROKEN;
    }
    if (!t->connected) {
        int code = 0;
        socklen_t len = sizeof(code);
        if (getsockopt(t->fd, SOL_SOCKET, SO_ERROR, &code, &len) < 0 || code != 0) {
            return LOAD_BROKEN;
        }
    }
    enum load_feed sent = send_request(c, t);
    if (sent != LOAD_WHOLE) {
        return sent;
    }
    char chunk[16384];
    for (;;) {
        ssize_t n = recv(t->fd, chunk, sizeof(chunk), 0);
        if (n < 0 && errno == EAGAIN) {
            return LOAD_MORE;
        }
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0) {
            return LOAD_BROKEN;
        }
        enum load_feed fed = load_answer_feed(&t->answer, chunk, (size_t)n, n == 0);
        if (fed != LOAD_MORE) {
            t->answer.reusable = t->answer.reusable && fed == LOAD_WHOLE && n > 0;
            return fed;
        }
    }
}

void load_try_end(struct load_conns *c, struct load_try *t, size_t population)
{
    struct load_idle *idle = &c->idle[population * LOAD_INGRESS_MAX + t->ingress];
    (void)epoll_ctl(c->epoll, EPOLL_CTL_DEL, t->fd, NULL); /* closing would do it as well */
    if (c->keep_alive && t->answer.reusable && idle->count < LOAD_IDLE_MAX) {
        idle->fds[idle->count++] = t->fd;
    } else {
        (void)close(t->fd);
    }
    t->fd = -1;
    t->dead = true;
    t->next_dead = c->dead;
    c->dead = t;
}

void load_tries_bury(struct load_conns *c)
{
    while (c->dead != NULL) {
        struct load_try *t = c->dead;
        c->dead = t->next_dead;
        load_answer_release(&t->answer);
        free(t);
    }
}
