/* SPDX-License-Identifier: Apache-2.0 */
#include "ingress_site.h"

#include <arpa/inet.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/mem.h"
#include "sys/clock.h"

/* ---- replicas ---- */

/* -1: the address is in use. */
static int try_at(const char *address, uint16_t port)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(port)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(inet_pton(AF_INET, address, &a.sin_addr), 1);
    assert_true(fd >= 0);
    if (bind(fd, (struct sockaddr *)&a, sizeof(a)) < 0) {
        (void)close(fd);
        return -1;
    }
    return fd;
}

static int listen_at(const char *address, uint16_t *port)
{
    struct sockaddr_in a;
    socklen_t len = sizeof(a);
    int fd = try_at(address, *port);
    assert_true(fd >= 0);
    assert_int_equal(listen(fd, 512), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&a, &len), 0);
    *port = ntohs(a.sin_port);
    return fd;
}

/* Below the ports that the kernel gives to whoever connects: until it is bound again, nobody else
 * comes to it by chance. */
uint16_t free_port(void)
{
    for (int i = 0; i < 1000; i++) {
        uint16_t at = 0;
        int fd;
        assert_int_equal(getrandom(&at, sizeof(at), 0), sizeof(at));
        at = (uint16_t)(10000 + at % 10000);
        fd = try_at("0.0.0.0", at);
        if (fd >= 0) {
            (void)close(fd);
            return at;
        }
    }
    fail_msg("no free port");
    return 0;
}

static void serve(int listener, const char *id)
{
    struct pollfd fds[512] = {{listener, POLLIN, 0}};
    nfds_t count = 1;
    char body[64];
    char reply[256];
    int len = snprintf(body, sizeof(body), "instance=%s\nnode=n\nsite=%s\n", id, id);
    (void)signal(SIGPIPE, SIG_IGN); /* a caller that has gone must not end the replica */
    len = snprintf(reply, sizeof(reply), "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len,
                   body);
    for (;;) {
        (void)poll(fds, count, -1);
        if (fds[0].revents != 0 && count < SK_ARRAY_LEN(fds)) {
            int fd = accept(listener, NULL, NULL);
            if (fd >= 0) {
                fds[count++] = (struct pollfd){fd, POLLIN, 0};
            }
        }
        for (nfds_t i = 1; i < count; i++) {
            char request[8192];
            if (fds[i].revents == 0) {
                continue;
            }
            ssize_t n = read(fds[i].fd, request, sizeof(request));
            if (n > 0) {
                (void)!write(fds[i].fd, reply, (size_t)len);
            }
            if (n <= 0 || memmem(request, (size_t)n, "Connection: close", 17) != NULL) {
                (void)close(fds[i].fd);
                fds[i--] = fds[--count];
            }
        }
    }
}

struct replica start_replica(const char *id)
{
    struct replica r = {0};
    int fd = listen_at("127.0.0.1", &r.port);
    (void)snprintf(r.id, sizeof(r.id), "%s", id);
    r.pid = fork();
    assert_true(r.pid >= 0);
    if (r.pid == 0) {
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        serve(fd, id);
    }
    (void)close(fd);
    return r;
}

void kill_replica(struct replica *r)
{
    if (r->pid > 0) {
        (void)kill(r->pid, SIGKILL);
        (void)waitpid(r->pid, NULL, 0);
        r->pid = 0;
    }
}

/* ---- a site ---- */

uv_loop_t loop;
uint16_t http_port, inter_port;
struct net_ca *ca;

static uv_timer_t tick;

/* Those that a failed test left open, for the teardown. */
static struct site *open_sites[2];

static void on_tick(uv_timer_t *timer)
{
    (void)timer; /* so that a quiet loop looks at its condition */
}

void pump(int64_t ms)
{
    int64_t end = sys_now_ms() + ms;
    do {
        (void)uv_run(&loop, UV_RUN_ONCE);
    } while (sys_now_ms() < end);
}

void on_event(void *ctx, enum ingress_event event, const struct sk_err *err)
{
    struct site *s = ctx;
    s->events[event]++;
    if (err->code != 0) {
        (void)snprintf(s->last_error, sizeof(s->last_error), "%s", err->msg);
    }
}

void on_stopped(void *ctx)
{
    struct site *s = ctx;
    s->stopped = true;
}

void identity_of(const char *node, struct sk_buf *key, struct sk_buf *cert, char serial[64])
{
    struct sk_buf csr = SK_BUF_INIT;
    struct net_cert_info info;
    struct net_issue issue = {.kind = NET_CERT_NODE, .node = node, .wall_ms = sys_wall_ms()};
    assert_int_equal(net_key_new(key, NULL), 0);
    assert_int_equal(net_csr_new(sk_buf_str(key), node, &csr, NULL), 0);
    assert_int_equal(net_ca_issue(ca, sk_buf_str(&csr), &issue, cert, &info, NULL), 0);
    if (serial != NULL) {
        (void)snprintf(serial, 64, "%s", info.serial);
    }
    sk_buf_release(&csr);
}

void close_in_teardown(struct site *s)
{
    open_sites[open_sites[0] != NULL] = s;
}

void open_site(struct site *s, const char *name, const char *address, const char *program)
{
    *s = (struct site){.dir = "/tmp/skerry-ingress-XXXXXX", .name = name, .address = address};
    assert_non_null(mkdtemp(s->dir));
    struct ingress_options o = {.loop = &loop,
                                .dir = s->dir,
                                .program = program,
                                .bind_address = address,
                                .http_port = http_port,
                                .inter_port = inter_port,
                                .event = on_event,
                                .ctx = s};
    assert_int_equal(ingress_new(&o, &s->ing, NULL), 0);
    close_in_teardown(s);
    s->services[0] = (struct ingress_service){.project = SK_STR("shop"),
                                              .service = SK_STR("web"),
                                              .host = SK_STR("shop.example.com"),
                                              .check = SK_STR("/healthz"),
                                              .local = s->local,
                                              .remote = s->remote};
    s->services[1] = s->services[0];
    s->services[1].service = SK_STR("extra");
    s->services[1].host = SK_STR("extra.example.com");
    s->view = (struct ingress_view){sk_str(name), s->services, 1};
}

void give_identity(struct site *s, const char *node)
{
    struct sk_buf key = SK_BUF_INIT;
    struct sk_buf cert = SK_BUF_INIT;
    identity_of(node, &key, &cert, NULL);
    assert_int_equal(ingress_set_identity(s->ing, sk_buf_str(&cert), sk_buf_str(&key),
                                          sk_str(net_ca_pem(ca)), NULL),
                     0);
    sk_buf_release(&key);
    sk_buf_release(&cert);
}

void set_local(struct site *s, const struct replica *const *list, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        s->local[i] =
            (struct ingress_endpoint){sk_str(list[i]->id), SK_STR("127.0.0.1"), list[i]->port, 100};
    }
    s->services[0].nlocal = count;
    s->services[1].nlocal = count;
}

void apply(struct site *s)
{
    struct sk_err err = {0};
    if (ingress_apply(s->ing, &s->view, &err) < 0) {
        fail_msg("%s", err.msg);
    }
}

void settle(struct site *s)
{
    int64_t end = sys_now_ms() + 8000;
    while (!ingress_status(s->ing).settled && sys_now_ms() < end) {
        (void)uv_run(&loop, UV_RUN_ONCE);
    }
    if (!ingress_status(s->ing).settled) {
        fail_msg("site %s does not settle: %s", s->name, s->last_error);
    }
}

void close_site(struct site *s)
{
    static const char *const files[] = {"haproxy.cfg", "haproxy.new", "haproxy.pid", "haproxy.log",
                                        "hosts.map",   "names.map",   "node.pem",    "ca.pem",
                                        "revoked.lst", "admin.sock",  "checks.sock"};
    open_sites[open_sites[1] == s] = NULL;
    ingress_stop(s->ing, on_stopped, s);
    while (!s->stopped) {
        (void)uv_run(&loop, UV_RUN_ONCE);
    }
    ingress_free(s->ing);
    for (size_t i = 0; i < SK_ARRAY_LEN(files); i++) {
        char path[128];
        (void)snprintf(path, sizeof(path), "%s/%s", s->dir, files[i]);
        (void)unlink(path);
    }
    assert_int_equal(rmdir(s->dir), 0);
}

/* Two sites, each the other's remote. */
void open_pair(struct site *fra, struct site *ams, const struct replica *const *at_fra, size_t nfra,
               const struct replica *const *at_ams)
{
    open_site(fra, "fra", "127.0.0.1", NULL);
    open_site(ams, "ams", "127.0.0.2", NULL);
    give_identity(fra, "fra-1");
    give_identity(ams, "ams-1");
    set_local(fra, at_fra, nfra);
    set_local(ams, at_ams, 1);
    fra->remote[0] =
        (struct ingress_remote){SK_STR("ams"), SK_STR("ams-1"), SK_STR("127.0.0.2"), 1.5};
    ams->remote[0] =
        (struct ingress_remote){SK_STR("fra"), SK_STR("fra-1"), SK_STR("127.0.0.1"), 1.5};
    fra->services[0].nremote = 1;
    ams->services[0].nremote = 1;
    apply(fra);
    apply(ams);
    settle(fra);
    settle(ams);
    assert_true(comes_to("127.0.0.1", "instance=a\n"));
    assert_true(comes_to("127.0.0.2", "instance=b\n"));
    pump(1000); /* checks of the other site have their first results */
}

/* ---- questions ---- */

/* One request; returns its status, and its whole text in out. */
int ask_with(const char *address, uint16_t port, const char *host, const char *more, char *out,
             size_t size)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(port)};
    char request[256];
    size_t len = 0;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(inet_pton(AF_INET, address, &a.sin_addr), 1);
    out[0] = '\0';
    if (connect(fd, (struct sockaddr *)&a, sizeof(a)) == 0) {
        int n = snprintf(request, sizeof(request),
                         "GET / HTTP/1.1\r\nHost: %s\r\n%sConnection: close\r\n\r\n", host, more);
        (void)!write(fd, request, (size_t)n);
        struct pollfd p = {fd, POLLIN, 0};
        int64_t end = sys_now_ms() + 3000;
        while (sys_now_ms() < end && len + 1 < size) {
            (void)uv_run(&loop, UV_RUN_NOWAIT);
            if (poll(&p, 1, 5) > 0) {
                ssize_t got = read(fd, out + len, size - 1 - len);
                if (got <= 0) {
                    break;
                }
                len += (size_t)got;
            }
        }
        out[len] = '\0';
    }
    (void)close(fd);
    return len > 12 ? (int)strtol(out + 9, NULL, 10) : 0;
}

int ask(const char *address, uint16_t port, const char *host, char *out, size_t size)
{
    return ask_with(address, port, host, "", out, size);
}

/* Asks until an answer holds `want`, at most 3 s. */
bool comes_to(const char *address, const char *want)
{
    char text[1024];
    int64_t end = sys_now_ms() + 3000;
    do {
        (void)ask(address, http_port, "shop.example.com", text, sizeof(text));
        if (strstr(text, want) != NULL) {
            return true;
        }
        pump(20);
    } while (sys_now_ms() < end);
    (void)fprintf(stderr, "never '%s', at last: %s\n", want, text);
    return false;
}

/* ---- every test ---- */

int setup(void **state)
{
    (void)state;
    http_port = free_port();
    inter_port = free_port();
    (void)uv_loop_init(&loop);
    (void)uv_timer_init(&loop, &tick);
    (void)uv_timer_start(&tick, on_tick, 5, 5);
    return net_ca_new("test", sys_wall_ms(), &ca, NULL);
}

int teardown(void **state)
{
    (void)state;
    for (size_t i = 0; i < SK_ARRAY_LEN(open_sites); i++) {
        if (open_sites[i] != NULL) {
            close_site(open_sites[i]);
        }
    }
    uv_close((uv_handle_t *)&tick, NULL);
    (void)uv_run(&loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&loop), 0);
    net_ca_free(ca);
    return 0;
}
