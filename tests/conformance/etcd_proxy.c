/* SPDX-License-Identifier: Apache-2.0 */
#include "etcd_proxy.h"

#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/mem.h"
#include "sys/clock.h"

#define CONNS_MAX 64
#define TICK_MS 5
/* What a client whose bytes are held back sends later than this is its farewell, and is lost: else
 * the server would learn at once that nobody waits for its answer, and drop the request. */
#define FAREWELL_MS 100

enum { CLIENT, SERVER };

struct conn {
    int fd[2];
    struct sk_buf held[2]; /* from CLIENT, from SERVER */
    bool ended[2];
    bool was_held; /* then the client's end is not passed on: what it sent is to have its effect */
    int64_t held_ms; /* since when something of the client's is held back */
};

struct proxy {
    int listener, port, target;
    pthread_t thread;
    _Atomic int mode, mode_done;
    _Atomic bool stop;
    _Atomic int64_t from_clients, to_clients;
    struct conn conns[CONNS_MAX];
    size_t count;
};

static struct sockaddr_in loopback(int port)
{
    return (struct sockaddr_in){
        .sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}, .sin_port = htons(port)};
}

static void reset_conn(int fd)
{
    struct linger linger = {1, 0};
    (void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
    (void)close(fd);
}

static void drop(struct proxy *p, size_t at)
{
    struct conn *c = &p->conns[at];

    for (int side = 0; side < 2; side++) {
        reset_conn(c->fd[side]);
        sk_buf_release(&c->held[side]);
    }
    p->conns[at] = p->conns[--p->count];
}

static void take(struct proxy *p, int mode)
{
    struct sockaddr_in addr = loopback(p->target);
    int client = accept4(p->listener, NULL, NULL, SOCK_CLOEXEC);
    int server;

    if (client < 0) {
        return;
    }
    server = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (mode == PROXY_CUT || p->count == CONNS_MAX || server < 0 ||
        connect(server, (struct sockaddr *)&addr, sizeof(addr)) < 0) {
        reset_conn(client);
        if (server >= 0) {
            (void)close(server);
        }
        return;
    }
    p->conns[p->count++] = (struct conn){.fd = {client, server}};
}

static bool is_held(int mode, int from)
{
    return mode == PROXY_FREEZE || mode == (from == CLIENT ? PROXY_HOLD : PROXY_MUTE);
}

/* false: the connection is over. */
static bool pass_on(struct proxy *p, struct conn *c, int mode, int from)
{
    struct sk_buf *held = &c->held[from];

    if (is_held(mode, from)) {
        if (!c->was_held && held->len > 0) {
            c->was_held = true;
            c->held_ms = sys_now_ms();
        }
        return true;
    }
    while (held->len > 0) {
        ssize_t n = send(c->fd[!from], held->ptr, held->len, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n <= 0) {
            if (errno == EAGAIN) {
                return true;
            }
            if (from == SERVER) { /* the client has gone */
                sk_buf_clear(held);
            }
            return from == SERVER && c->was_held;
        }
        if (from == SERVER) {
            atomic_fetch_add(&p->to_clients, n);
        }
        sk_buf_consume(held, (size_t)n);
    }
    if (c->ended[from]) {
        if (from == SERVER) {
            return false;
        }
        return c->was_held || shutdown(c->fd[SERVER], SHUT_WR) == 0;
    }
    return true;
}

static void read_side(struct proxy *p, struct conn *c, int from)
{
    char bytes[16384];
    ssize_t n = recv(c->fd[from], bytes, sizeof(bytes), MSG_DONTWAIT);

    if (n > 0 && from == CLIENT && c->was_held && sys_now_ms() - c->held_ms > FAREWELL_MS) {
        return;
    }
    if (n > 0) {
        sk_buf_add(&c->held[from], bytes, (size_t)n);
        if (from == CLIENT) {
            atomic_fetch_add(&p->from_clients, n);
        }
    } else if (n == 0 || (errno != EAGAIN && errno != EINTR)) {
        c->ended[from] = true;
    }
}

static void one_round(struct proxy *p, int mode)
{
    struct pollfd fds[1 + 2 * CONNS_MAX];
    size_t count = p->count;

    fds[0] = (struct pollfd){p->listener, POLLIN, 0};
    for (size_t i = 0; i < 2 * count; i++) {
        const struct conn *c = &p->conns[i / 2];
        fds[1 + i] = (struct pollfd){c->ended[i % 2] ? -1 : c->fd[i % 2], POLLIN, 0};
    }
    (void)poll(fds, 1 + 2 * count, TICK_MS);
    for (size_t i = 0; i < 2 * count; i++) {
        if (fds[1 + i].revents) {
            read_side(p, &p->conns[i / 2], (int)(i % 2));
        }
    }
    for (size_t i = count; i-- > 0;) {
        if (mode == PROXY_CUT || !pass_on(p, &p->conns[i], mode, CLIENT) ||
            !pass_on(p, &p->conns[i], mode, SERVER)) {
            drop(p, i);
        }
    }
    if (fds[0].revents) {
        take(p, mode);
    }
}

static void *run(void *arg)
{
    struct proxy *p = arg;

    while (!atomic_load(&p->stop)) {
        int mode = atomic_load(&p->mode);
        one_round(p, mode);
        atomic_store(&p->mode_done, mode);
    }
    while (p->count > 0) {
        drop(p, 0);
    }
    return NULL;
}

struct proxy *proxy_new(int target_port)
{
    struct proxy *p = sk_xcalloc(1, sizeof(*p));
    struct sockaddr_in addr = loopback(0);
    socklen_t len = sizeof(addr);

    p->target = target_port;
    p->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    SK_ASSERT(p->listener >= 0);
    SK_ASSERT(bind(p->listener, (struct sockaddr *)&addr, sizeof(addr)) == 0);
    SK_ASSERT(getsockname(p->listener, (struct sockaddr *)&addr, &len) == 0);
    SK_ASSERT(listen(p->listener, 16) == 0);
    p->port = ntohs(addr.sin_port);
    SK_ASSERT(pthread_create(&p->thread, NULL, run, p) == 0);
    return p;
}

void proxy_free(struct proxy *p)
{
    atomic_store(&p->stop, true);
    (void)pthread_join(p->thread, NULL);
    (void)close(p->listener);
    free(p);
}

int proxy_port(const struct proxy *p)
{
    return p->port;
}

void proxy_set(struct proxy *p, enum proxy_mode mode)
{
    atomic_store(&p->mode, (int)mode);
    atomic_store(&p->mode_done, -1);
    for (int rounds = 0; rounds < 2;) { /* the first may have begun before */
        if (atomic_load(&p->mode_done) == (int)mode) {
            atomic_store(&p->mode_done, -1);
            rounds++;
        }
        (void)usleep(1000);
    }
}

int64_t proxy_from_clients(struct proxy *p)
{
    return atomic_load(&p->from_clients);
}

int64_t proxy_to_clients(struct proxy *p)
{
    return atomic_load(&p->to_clients);
}
