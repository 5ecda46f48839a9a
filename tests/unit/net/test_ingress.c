/* SPDX-License-Identifier: Apache-2.0 */
/* The ingress with a real HAProxy on loopback: two sites (127.0.0.1 and 127.0.0.2), small HTTP
 * servers as replicas, and the lab's load generator as users. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>
#include <uv.h>

#include "base/mem.h"
#include "net/identity.h"
#include "net/ingress.h"
#include "sys/clock.h"
#include "sys/file.h"

/* ---- replicas ---- */

struct replica {
    pid_t pid;
    uint16_t port;
    char id[16];
};

static int listen_at(const char *address, uint16_t *port)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(*port)};
    socklen_t len = sizeof(a);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(inet_pton(AF_INET, address, &a.sin_addr), 1);
    assert_true(fd >= 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof(a)), 0);
    assert_int_equal(listen(fd, 512), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&a, &len), 0);
    *port = ntohs(a.sin_port);
    return fd;
}

static uint16_t free_port(void)
{
    uint16_t port = 0;
    (void)close(listen_at("0.0.0.0", &port));
    return port;
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

static struct replica start_replica(const char *id)
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

static void kill_replica(struct replica *r)
{
    if (r->pid > 0) {
        (void)kill(r->pid, SIGKILL);
        (void)waitpid(r->pid, NULL, 0);
        r->pid = 0;
    }
}

/* ---- a site ---- */

struct site {
    struct ingress *ing;
    char dir[64];
    const char *name, *address;
    struct ingress_service services[2];
    struct ingress_endpoint local[8];
    struct ingress_remote remote[2];
    struct ingress_view view;
    unsigned events[INGRESS_FAILED + 1];
    char last_error[512];
    bool stopped;
};

static uv_loop_t loop;
static uv_timer_t tick;
static uint16_t http_port, inter_port;
static struct net_ca *ca;

static void on_tick(uv_timer_t *timer)
{
    (void)timer; /* so that a quiet loop looks at its condition */
}

static void pump(int64_t ms)
{
    int64_t end = sys_now_ms() + ms;
    do {
        (void)uv_run(&loop, UV_RUN_ONCE);
    } while (sys_now_ms() < end);
}

static void on_event(void *ctx, enum ingress_event event, const struct sk_err *err)
{
    struct site *s = ctx;
    s->events[event]++;
    if (err->code != 0) {
        (void)snprintf(s->last_error, sizeof(s->last_error), "%s", err->msg);
    }
}

static void on_stopped(void *ctx)
{
    struct site *s = ctx;
    s->stopped = true;
}

static void identity_of(const char *node, struct sk_buf *key, struct sk_buf *cert, char serial[64])
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

/* Those that a failed test left open, for the teardown. */
static struct site *open_sites[2];

static void open_site(struct site *s, const char *name, const char *address, const char *program)
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
    open_sites[open_sites[0] != NULL] = s;
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

static void give_identity(struct site *s, const char *node)
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

static void set_local(struct site *s, const struct replica *const *list, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        s->local[i] =
            (struct ingress_endpoint){sk_str(list[i]->id), SK_STR("127.0.0.1"), list[i]->port, 100};
    }
    s->services[0].nlocal = count;
    s->services[1].nlocal = count;
}

static void apply(struct site *s)
{
    struct sk_err err = {0};
    if (ingress_apply(s->ing, &s->view, &err) < 0) {
        fail_msg("%s", err.msg);
    }
}

static void settle(struct site *s)
{
    int64_t end = sys_now_ms() + 8000;
    while (!ingress_status(s->ing).settled && sys_now_ms() < end) {
        (void)uv_run(&loop, UV_RUN_ONCE);
    }
    if (!ingress_status(s->ing).settled) {
        fail_msg("site %s does not settle: %s", s->name, s->last_error);
    }
}

static void close_site(struct site *s)
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

/* ---- users ---- */

struct users {
    pid_t pid;
    char out[64], config[64];
};

static struct users start_users(const char *address, unsigned rate, double seconds, bool keep_alive)
{
    struct users u = {.out = "/tmp/skerry-users-XXXXXX", .config = "/tmp/skerry-conf-XXXXXX"};
    const char *build = getenv("SKERRY_BUILD_ROOT");
    char program[512];
    struct sk_buf json = SK_BUF_INIT;
    (void)snprintf(program, sizeof(program), "%s/skerry-lab", build != NULL ? build : "build");
    int out = mkstemp(u.out);
    int config = mkstemp(u.config);
    assert_true(out >= 0 && config >= 0);
    sk_buf_printf(&json,
                  "{\"rate\":%u,\"seconds\":%g,\"host\":\"shop.example.com\",\"keep_alive\":%s,"
                  "\"populations\":[{\"name\":\"u\",\"ingress\":[{\"site\":\"fra\",\"address\":"
                  "\"%s\",\"port\":%u}]}]}",
                  rate, seconds, keep_alive ? "true" : "false", address, http_port);
    assert_int_equal(write(config, json.ptr, json.len), (ssize_t)json.len);
    (void)close(config);
    sk_buf_release(&json);
    u.pid = fork();
    assert_true(u.pid >= 0);
    if (u.pid == 0) {
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        (void)dup2(out, 1);
        (void)execl(program, program, "load", u.config, (char *)NULL);
        _exit(127);
    }
    (void)close(out);
    return u;
}

/* The number after `"key":` in the summary. */
static long number_of(const char *summary, const char *key)
{
    char quoted[64];
    (void)snprintf(quoted, sizeof(quoted), "\"%s\":", key);
    const char *at = strstr(summary, quoted);
    assert_non_null(at);
    return strtol(at + strlen(quoted), NULL, 10);
}

static void end_users(struct users *u, long *ret_requests, long *ret_failed)
{
    struct sk_buf text = SK_BUF_INIT;
    int status = 0;
    while (waitpid(u->pid, &status, WNOHANG) == 0) {
        (void)uv_run(&loop, UV_RUN_ONCE);
    }
    assert_int_equal(status, 0);
    assert_int_equal(sys_file_read(u->out, 1 << 20, &text, NULL), 0);
    const char *summary = strstr(text.ptr, "{\"event\":\"summary\"");
    assert_non_null(summary);
    assert_int_equal(number_of(summary, "generator_errors"), 0);
    *ret_requests = number_of(summary, "requests");
    *ret_failed = number_of(summary, "failed");
    if (*ret_failed != 0) {
        (void)fprintf(stderr, "%s\n", summary);
    }
    sk_buf_release(&text);
    (void)unlink(u->out);
    (void)unlink(u->config);
}

/* One request; returns its status, and its whole text in out. */
static int ask_with(const char *address, uint16_t port, const char *host, const char *more,
                    char *out, size_t size)
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

static int ask(const char *address, uint16_t port, const char *host, char *out, size_t size)
{
    return ask_with(address, port, host, "", out, size);
}

/* Asks until an answer holds `want`, at most 3 s. */
static bool comes_to(const char *address, const char *want)
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

/* ---- tests ---- */

static int setup(void **state)
{
    (void)state;
    http_port = free_port();
    inter_port = free_port();
    (void)uv_loop_init(&loop);
    (void)uv_timer_init(&loop, &tick);
    (void)uv_timer_start(&tick, on_tick, 5, 5);
    return net_ca_new("test", sys_wall_ms(), &ca, NULL);
}

static int teardown(void **state)
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

static void routes_by_host_and_says_who(void **state)
{
    static struct site fra;
    struct replica a = start_replica("a");
    const struct replica *const list[] = {&a};
    char text[1024];
    (void)state;
    open_site(&fra, "fra", "127.0.0.1", NULL);
    set_local(&fra, list, 1);
    apply(&fra);
    settle(&fra);
    assert_int_equal(ask("127.0.0.1", http_port, "SHOP.example.com:81", text, sizeof(text)), 200);
    assert_non_null(strstr(text, "instance=a\n"));
    assert_non_null(strstr(text, "x-skerry-ingress: fra"));
    assert_int_equal(ask("127.0.0.1", http_port, "other.example.com", text, sizeof(text)), 404);
    set_local(&fra, list, 0);
    apply(&fra);
    settle(&fra);
    assert_int_equal(ask("127.0.0.1", http_port, "shop.example.com", text, sizeof(text)), 503);
    assert_int_equal(ingress_status(fra.ing).reloads, 0);
    close_site(&fra);
    kill_replica(&a);
}

static void a_dead_replica_costs_no_request(void **state)
{
    static struct site fra;
    struct replica a = start_replica("a");
    struct replica b = start_replica("b");
    const struct replica *const list[] = {&a, &b};
    long requests, failed;
    (void)state;
    open_site(&fra, "fra", "127.0.0.1", NULL);
    set_local(&fra, list, 2);
    apply(&fra);
    settle(&fra);
    struct users u = start_users("127.0.0.1", 300, 1.2, false);
    pump(500);
    kill_replica(&a);
    end_users(&u, &requests, &failed);
    assert_int_equal(requests, 360);
    assert_int_equal(failed, 0);
    close_site(&fra);
    kill_replica(&b);
}

/* Two sites, each the other's remote. */
static void open_pair(struct site *fra, struct site *ams, const struct replica *const *at_fra,
                      size_t nfra, const struct replica *const *at_ams)
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

/* Local first; nothing local: the other site, through its ingress; nothing at all: 503, no loop. */
static void spills_to_the_other_site_and_back(void **state)
{
    static struct site fra, ams;
    struct replica a = start_replica("a");
    struct replica b = start_replica("b");
    const struct replica *const at_fra[] = {&a};
    const struct replica *const at_ams[] = {&b};
    char text[1024];
    (void)state;
    open_pair(&fra, &ams, at_fra, 1, at_ams);
    kill_replica(&a);
    assert_true(comes_to("127.0.0.1", "instance=b\n"));
    kill_replica(&b);
    pump(1500);
    int64_t before = sys_now_ms();
    assert_int_equal(ask("127.0.0.1", http_port, "shop.example.com", text, sizeof(text)), 503);
    assert_true(sys_now_ms() - before < 1500);
    /* a new replica, announced without a reload */
    struct replica c = start_replica("c");
    const struct replica *const again[] = {&c};
    set_local(&fra, again, 1);
    apply(&fra);
    settle(&fra);
    assert_true(comes_to("127.0.0.1", "instance=c\n"));
    assert_true(comes_to("127.0.0.2", "instance=c\n"));
    close_site(&fra);
    close_site(&ams);
    kill_replica(&c);
}

#define SPILL_RATE 300
#define SPILL_SECONDS 1.5
#define PRESSURE 0.8 /* share of the time in which somebody waited for a processor */
#define SPILL_TRIES 3

/* How long somebody has waited for a processor, in microseconds; 0 where the kernel does not say.
 */
static double pressure_us(void)
{
    struct sk_buf text = SK_BUF_INIT;
    const char *at = sys_file_read("/proc/pressure/cpu", 4096, &text, NULL) == 0
                         ? strstr(text.ptr, "total=")
                         : NULL;
    double us = at != NULL ? strtod(at + 6, NULL) : 0;
    sk_buf_release(&text);
    return us;
}

/* Both local replicas die at once under load. Returns how many requests failed, or -1 if the
 * machine did not let users, sites and replicas run: such a run says nothing. */
static long spill_under_load(void)
{
    static struct site fra, ams;
    struct replica a = start_replica("a");
    struct replica a2 = start_replica("a");
    struct replica b = start_replica("b");
    const struct replica *const at_fra[] = {&a, &a2};
    const struct replica *const at_ams[] = {&b};
    long requests, failed;
    (void)snprintf(a2.id, sizeof(a2.id), "a2"); /* another place, the same answer */
    open_pair(&fra, &ams, at_fra, 2, at_ams);
    double before_us = pressure_us();
    int64_t start_ms = sys_now_ms();
    struct users u = start_users("127.0.0.1", SPILL_RATE, SPILL_SECONDS, false);
    pump(500);
    kill_replica(&a);
    kill_replica(&a2);
    end_users(&u, &requests, &failed);
    double share = (pressure_us() - before_us) / 1e3 / (double)(sys_now_ms() - start_ms);
    if (failed > 0 && (share >= PRESSURE || requests < (long)(SPILL_RATE * SPILL_SECONDS))) {
        (void)fprintf(stderr,
                      "invalid run: %ld of %ld requests failed at %d/s, but in %.0f %% of the "
                      "time somebody waited for a processor\n",
                      failed, requests, SPILL_RATE, 100 * share);
        failed = -1;
    } else {
        assert_true(comes_to("127.0.0.1", "instance=b\n"));
    }
    close_site(&fra);
    close_site(&ams);
    kill_replica(&b);
    return failed;
}

static void a_spill_costs_no_request(void **state)
{
    long failed = -1;
    (void)state;
    for (int i = 0; i < SPILL_TRIES && failed < 0; i++) {
        failed = spill_under_load();
    }
    if (failed < 0) {
        skip(); /* never valid: neither passed nor failed */
    }
    assert_int_equal(failed, 0);
}

/* A number of the runtime socket's `show stat`, by proxy, server and column. */
static long stat_of(struct site *s, const char *row, const char *column)
{
    static char text[1 << 20];
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    size_t len = 0;
    ssize_t got;
    (void)snprintf(a.sun_path, sizeof(a.sun_path), "%s/admin.sock", s->dir);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&a, sizeof(a)), 0);
    assert_int_equal(write(fd, "show stat\n", 10), 10);
    while ((got = read(fd, text + len, sizeof(text) - 1 - len)) > 0) {
        len += (size_t)got;
    }
    (void)close(fd);
    text[len] = '\0';
    const char *name = strstr(text, column);
    const char *value = strstr(text, row);
    assert_true(name != NULL && value != NULL);
    for (const char *p = text; p < name; p++) {
        if (*p == ',') {
            value = strchr(value, ',') + 1;
        }
    }
    return strtol(value, NULL, 10);
}

static long handshakes(struct site *s)
{
    return stat_of(s, "fe.sites,FRONTEND", "ssl_sess,") +
           stat_of(s, "fe.sites,FRONTEND", "ssl_reused_sess,");
}

/* Checks go over a kept connection, the one that the first user of a spill will take. */
static void checks_keep_the_way_warm(void **state)
{
    static struct site fra, ams;
    struct replica a = start_replica("a");
    struct replica b = start_replica("b");
    const struct replica *const at_fra[] = {&a};
    const struct replica *const at_ams[] = {&b};
    (void)state;
    open_pair(&fra, &ams, at_fra, 1, at_ams);
    long before = handshakes(&ams);
    long asked = stat_of(&ams, "fe.sites,FRONTEND", "req_tot,");
    assert_true(before >= 1);
    pump(2000);
    assert_true(stat_of(&ams, "fe.sites,FRONTEND", "req_tot,") - asked >= 4);
    /* a check that a busy machine lets time out closes its connection; each used to make one */
    assert_true(handshakes(&ams) - before <= 2);
    assert_true(stat_of(&fra, "be.shop.web.http,r.ams", "reuse,") >= 4);
    /* what the checks may do, users may not: reach a site of their choice */
    char text[1024];
    assert_int_equal(ask_with("127.0.0.1", http_port, "shop.example.com",
                              "X-Skerry-Check: r.ams\r\n", text, sizeof(text)),
                     200);
    assert_non_null(strstr(text, "instance=a\n"));
    close_site(&fra);
    close_site(&ams);
    kill_replica(&a);
    kill_replica(&b);
}

/* The certificate of a site's ingress must be of the node that runs it. */
static void a_false_site_gets_nothing(void **state)
{
    static struct site fra, ams;
    struct replica b = start_replica("b");
    const struct replica *const at_ams[] = {&b};
    char text[1024];
    (void)state;
    open_site(&fra, "fra", "127.0.0.1", NULL);
    open_site(&ams, "ams", "127.0.0.2", NULL);
    give_identity(&fra, "fra-1");
    give_identity(&ams, "mallory"); /* a member, but not the one that the view names */
    set_local(&ams, at_ams, 1);
    fra.remote[0] =
        (struct ingress_remote){SK_STR("ams"), SK_STR("ams-1"), SK_STR("127.0.0.2"), 1.5};
    fra.services[0].nremote = 1;
    apply(&fra);
    apply(&ams);
    settle(&fra);
    settle(&ams);
    pump(1200);
    assert_int_equal(ask("127.0.0.1", http_port, "shop.example.com", text, sizeof(text)), 503);
    give_identity(&ams, "ams-1");
    settle(&ams);
    assert_true(comes_to("127.0.0.1", "instance=b\n"));
    close_site(&fra);
    close_site(&ams);
    kill_replica(&b);
}

static void endpoints_change_under_load_without_errors(void **state)
{
    static struct site fra;
    struct replica r[3] = {start_replica("a"), start_replica("b"), start_replica("c")};
    long requests, failed;
    (void)state;
    open_site(&fra, "fra", "127.0.0.1", NULL);
    give_identity(&fra, "fra-1");
    const struct replica *const first[] = {&r[0], &r[1]};
    set_local(&fra, first, 2);
    apply(&fra);
    settle(&fra);
    struct users u = start_users("127.0.0.1", 300, 1.5, true);
    for (int i = 0; i < 20; i++) {
        const struct replica *const pair[] = {&r[i % 3], &r[(i + 1) % 3]};
        set_local(&fra, pair, 2);
        apply(&fra);
        pump(60);
    }
    end_users(&u, &requests, &failed);
    settle(&fra);
    assert_int_equal(failed, 0);
    assert_true(ingress_status(fra.ing).changes >= 10);
    assert_int_equal(ingress_status(fra.ing).reloads, 0);
    assert_int_equal(fra.events[INGRESS_FAILED], 0);
    close_site(&fra);
    for (int i = 0; i < 3; i++) {
        kill_replica(&r[i]);
    }
}

static void reloads_under_load_without_errors(void **state)
{
    static struct site fra;
    struct replica a = start_replica("a");
    const struct replica *const list[] = {&a};
    (void)state;
    open_site(&fra, "fra", "127.0.0.1", NULL);
    set_local(&fra, list, 1);
    apply(&fra);
    settle(&fra);
    for (int keep_alive = 0; keep_alive < 2; keep_alive++) {
        long requests, failed;
        struct users u = start_users("127.0.0.1", 300, 1.2, keep_alive == 1);
        for (int i = 0; i < 6; i++) {
            fra.view.nservices = 2 - (size_t)(i % 2);
            apply(&fra);
            settle(&fra);
            pump(20);
        }
        end_users(&u, &requests, &failed);
        assert_int_equal(failed, 0);
    }
    assert_int_equal(ingress_status(fra.ing).reloads, 12);
    assert_int_equal(fra.events[INGRESS_FAILED], 0);
    close_site(&fra);
    kill_replica(&a);
}

/* A TLS client at the port between sites; true if it got an answer. */
static bool tls_answer(const struct sk_buf *cert, const struct sk_buf *key)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(inter_port)};
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
    bool answered = false;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct timeval wait = {.tv_sec = 2};
    (void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof(wait));
    assert_int_equal(inet_pton(AF_INET, "127.0.0.1", &a.sin_addr), 1);
    if (cert != NULL) {
        BIO *c = BIO_new_mem_buf(cert->ptr, (int)cert->len);
        BIO *k = BIO_new_mem_buf(key->ptr, (int)key->len);
        X509 *x = PEM_read_bio_X509(c, NULL, NULL, NULL);
        EVP_PKEY *p = PEM_read_bio_PrivateKey(k, NULL, NULL, NULL);
        assert_int_equal(SSL_CTX_use_certificate(ctx, x), 1);
        assert_int_equal(SSL_CTX_use_PrivateKey(ctx, p), 1);
        X509_free(x);
        EVP_PKEY_free(p);
        BIO_free(c);
        BIO_free(k);
    }
    SSL *ssl = SSL_new(ctx);
    static const unsigned char alpn[] = "\x10"
                                        "in.shop.web.http";
    assert_int_equal(SSL_set_alpn_protos(ssl, alpn, sizeof(alpn) - 1), 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&a, sizeof(a)), 0);
    (void)SSL_set_fd(ssl, fd);
    if (SSL_connect(ssl) == 1) {
        static const char request[] =
            "GET /up HTTP/1.1\r\nHost: x\r\nX-Skerry-Check: r.fra\r\nConnection: close\r\n\r\n";
        char text[256];
        (void)SSL_write(ssl, request, (int)sizeof(request) - 1);
        answered = SSL_read(ssl, text, sizeof(text)) > 0;
    }
    SSL_free(ssl);
    SSL_CTX_free(ctx);
    (void)close(fd);
    return answered;
}

static void the_port_between_sites_knows_its_own(void **state)
{
    static struct site fra;
    struct sk_buf key = SK_BUF_INIT, cert = SK_BUF_INIT;
    struct sk_buf foreign_key = SK_BUF_INIT, foreign_cert = SK_BUF_INIT;
    char serial[64];
    char text[256];
    (void)state;
    (void)signal(SIGPIPE, SIG_IGN);
    open_site(&fra, "fra", "127.0.0.1", NULL);
    give_identity(&fra, "fra-1");
    apply(&fra);
    settle(&fra);
    identity_of("ams-1", &key, &cert, serial);
    struct net_ca *own = ca;
    assert_int_equal(net_ca_new("test", sys_wall_ms(), &ca, NULL), 0);
    identity_of("ams-1", &foreign_key, &foreign_cert, NULL);
    net_ca_free(ca);
    ca = own;
    assert_true(tls_answer(&cert, &key));
    assert_false(tls_answer(NULL, NULL));
    assert_false(tls_answer(&foreign_cert, &foreign_key));
    assert_int_equal(ask("127.0.0.1", inter_port, "shop.example.com", text, sizeof(text)), 0);
    struct sk_str revoked = sk_str(serial);
    assert_int_equal(ingress_set_revoked(fra.ing, &revoked, 1, NULL), 0);
    settle(&fra);
    assert_false(tls_answer(&cert, &key));
    /* the next ingress of this folder knows it before it is told */
    static struct site next;
    struct sk_buf list = SK_BUF_INIT;
    struct ingress_options o = {.loop = &loop, .dir = fra.dir};
    assert_int_equal(ingress_new(&o, &next.ing, NULL), 0);
    (void)snprintf(text, sizeof(text), "%s/revoked.lst", fra.dir);
    assert_int_equal(sys_file_read(text, 1024, &list, NULL), 0);
    assert_non_null(strstr(list.ptr, serial));
    ingress_stop(next.ing, on_stopped, &next);
    while (!next.stopped) {
        pump(10);
    }
    ingress_free(next.ing);
    sk_buf_release(&list);
    close_site(&fra);
    sk_buf_release(&key);
    sk_buf_release(&cert);
    sk_buf_release(&foreign_key);
    sk_buf_release(&foreign_cert);
}

static void published_ports_are_tcp(void **state)
{
    static struct site fra;
    struct replica a = start_replica("a");
    const struct replica *const list[] = {&a};
    char text[1024];
    (void)state;
    open_site(&fra, "fra", "127.0.0.1", NULL);
    fra.services[0].host = SK_STR("");
    fra.services[0].check = SK_STR("");
    fra.services[0].port = free_port();
    set_local(&fra, list, 1);
    apply(&fra);
    settle(&fra);
    assert_int_equal(ask("127.0.0.1", fra.services[0].port, "any", text, sizeof(text)), 200);
    assert_non_null(strstr(text, "instance=a\n"));
    close_site(&fra);
    kill_replica(&a);
}

static void many_services_fit(void **state)
{
    static struct site fra;
    static struct ingress_service many[400];
    static char names[400][32], hosts[400][40];
    char text[1024];
    (void)state;
    open_site(&fra, "fra", "127.0.0.1", NULL);
    give_identity(&fra, "fra-1");
    for (size_t i = 0; i < SK_ARRAY_LEN(many); i++) {
        (void)snprintf(names[i], sizeof(names[i]), "service-%zu", i);
        (void)snprintf(hosts[i], sizeof(hosts[i]), "host-%zu.example.com", i);
        many[i] = fra.services[0];
        many[i].service = sk_str(names[i]);
        many[i].host = sk_str(hosts[i]);
    }
    fra.view.services = many;
    fra.view.nservices = SK_ARRAY_LEN(many);
    apply(&fra);
    settle(&fra);
    assert_int_equal(ask("127.0.0.1", http_port, "host-399.example.com", text, sizeof(text)), 503);
    close_site(&fra);
}

static void a_dead_haproxy_is_started_again(void **state)
{
    static struct site fra;
    struct replica a = start_replica("a");
    const struct replica *const list[] = {&a};
    (void)state;
    open_site(&fra, "fra", "127.0.0.1", NULL);
    set_local(&fra, list, 1);
    apply(&fra);
    settle(&fra);
    (void)kill(ingress_status(fra.ing).pid, SIGKILL);
    int64_t end = sys_now_ms() + 5000;
    while (fra.events[INGRESS_STARTED] < 2 && sys_now_ms() < end) {
        (void)uv_run(&loop, UV_RUN_ONCE);
    }
    assert_int_equal(fra.events[INGRESS_STARTED], 2);
    assert_int_equal(fra.events[INGRESS_DIED], 1);
    assert_true(comes_to("127.0.0.1", "instance=a\n"));
    close_site(&fra);
    kill_replica(&a);
}

/* A daemon that was killed leaves its HAProxy serving; the next one takes over without a gap. */
static void an_orphan_is_relieved(void **state)
{
    static struct site fra;
    struct replica a = start_replica("a");
    const struct replica *const list[] = {&a};
    long requests, failed;
    int tell[2];
    struct {
        int pid;
        char dir[64];
    } news;
    (void)state;
    assert_int_equal(pipe(tell), 0);
    pid_t daemon = fork();
    if (daemon == 0) {
        (void)uv_loop_fork(&loop);
        open_site(&fra, "fra", "127.0.0.1", NULL);
        set_local(&fra, list, 1);
        apply(&fra);
        settle(&fra);
        news.pid = ingress_status(fra.ing).pid;
        memcpy(news.dir, fra.dir, sizeof(news.dir));
        (void)!write(tell[1], &news, sizeof(news));
        pump(60000);
        _exit(0);
    }
    assert_int_equal(read(tell[0], &news, sizeof(news)), sizeof(news));
    (void)kill(daemon, SIGKILL);
    (void)waitpid(daemon, NULL, 0);
    assert_true(comes_to("127.0.0.1", "instance=a\n")); /* it serves on */
    struct users u = start_users("127.0.0.1", 200, 1.5, false);
    open_site(&fra, "fra", "127.0.0.1", NULL);
    close_site(&fra);
    struct ingress_options o = {.loop = &loop,
                                .dir = news.dir,
                                .bind_address = "127.0.0.1",
                                .http_port = http_port,
                                .inter_port = inter_port,
                                .event = on_event,
                                .ctx = &fra};
    memcpy(fra.dir, news.dir, sizeof(fra.dir));
    fra.stopped = false;
    assert_int_equal(ingress_new(&o, &fra.ing, NULL), 0);
    open_sites[0] = &fra;
    set_local(&fra, list, 1);
    apply(&fra);
    settle(&fra);
    int64_t end = sys_now_ms() + 5000;
    while (kill(news.pid, 0) == 0 && sys_now_ms() < end) {
        (void)waitpid(news.pid, NULL, WNOHANG);
        pump(20);
    }
    assert_int_equal(kill(news.pid, 0), -1);
    end_users(&u, &requests, &failed);
    assert_int_equal(failed, 0);
    close_site(&fra);
    (void)close(tell[0]);
    (void)close(tell[1]);
    kill_replica(&a);
}

static void a_bad_program_is_named(void **state)
{
    static struct site fra;
    (void)state;
    open_site(&fra, "fra", "127.0.0.1", "/bin/echo");
    apply(&fra);
    pump(300);
    assert_true(fra.events[INGRESS_FAILED] >= 1);
    assert_string_equal(fra.last_error, "haproxy 2.6 or later is needed, found '-v'");
    close_site(&fra);
    open_site(&fra, "fra", "127.0.0.1", "/nonexistent/haproxy");
    apply(&fra);
    pump(100);
    assert_true(fra.events[INGRESS_FAILED] >= 1);
    assert_non_null(strstr(fra.last_error, "haproxy"));
    close_site(&fra);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(routes_by_host_and_says_who, setup, teardown),
        cmocka_unit_test_setup_teardown(a_dead_replica_costs_no_request, setup, teardown),
        cmocka_unit_test_setup_teardown(spills_to_the_other_site_and_back, setup, teardown),
        cmocka_unit_test_setup_teardown(a_spill_costs_no_request, setup, teardown),
        cmocka_unit_test_setup_teardown(checks_keep_the_way_warm, setup, teardown),
        cmocka_unit_test_setup_teardown(a_false_site_gets_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(endpoints_change_under_load_without_errors, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(reloads_under_load_without_errors, setup, teardown),
        cmocka_unit_test_setup_teardown(the_port_between_sites_knows_its_own, setup, teardown),
        cmocka_unit_test_setup_teardown(published_ports_are_tcp, setup, teardown),
        cmocka_unit_test_setup_teardown(many_services_fit, setup, teardown),
        cmocka_unit_test_setup_teardown(a_dead_haproxy_is_started_again, setup, teardown),
        cmocka_unit_test_setup_teardown(an_orphan_is_relieved, setup, teardown),
        cmocka_unit_test_setup_teardown(a_bad_program_is_named, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
