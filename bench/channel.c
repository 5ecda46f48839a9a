/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the channel costs a control node: memory of an idle connection, CPU of a full and of a
 * resumed handshake. The server is a process of its own on loopback; its clients are another;
 * figures are the server's, from its own /proc and clock.
 *
 *     build/bench/channel [CONNECTIONS]         one JSON line
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/units.h"
#include "net/channel.h"
#include "sys/clock.h"
#include "sys/file.h"

#define CONNECTIONS_MAX 10000
#define IDLE_MS 2000
#define PATIENCE_MS 120000

static unsigned wanted, ups, resumed, refused;
static struct net_peer **peers;

static void die(const char *what, const struct sk_err *err)
{
    (void)fprintf(stderr, "channel: %s: %s\n", what, err ? err->msg : "");
    exit(1);
}

static void on_up(void *ctx, struct net_peer *peer)
{
    (void)ctx;
    resumed += net_peer_info(peer)->resumed;
    if (peers && ups < wanted) {
        peers[ups] = peer;
    }
    ups++;
}

static void on_frame(void *ctx, struct net_peer *peer, const struct net_frame *frame)
{
    (void)ctx;
    (void)peer;
    (void)frame;
}

static void on_down(void *ctx, struct net_peer *peer, const struct sk_err *why)
{
    (void)ctx;
    (void)peer;
    (void)why;
}

static void on_refused(void *ctx, const char *address, const struct sk_err *why)
{
    (void)ctx;
    (void)address;
    (void)why;
    refused++;
}

static const struct net_callbacks callbacks = {
    .on_up = on_up, .on_frame = on_frame, .on_down = on_down, .on_refused = on_refused};

static void make_identity(const struct net_ca *ca, enum net_cert_kind kind, const char *node,
                          struct net_identity *ret)
{
    struct net_issue issue = {.kind = kind, .node = node, .wall_ms = sys_wall_ms()};
    struct sk_buf key = SK_BUF_INIT, csr = SK_BUF_INIT, cert = SK_BUF_INIT;
    struct sk_err err = {0};

    if (net_key_new(&key, &err) < 0 || net_csr_new(sk_buf_str(&key), node, &csr, &err) < 0 ||
        net_ca_issue(ca, sk_buf_str(&csr), &issue, &cert, NULL, &err) < 0 ||
        net_identity_make(sk_buf_str(&key), sk_buf_str(&cert), sk_str(net_ca_pem(ca)), ret, &err) <
            0) {
        die("make identity", &err);
    }
    net_pem_wipe(&key);
    sk_buf_release(&csr);
    sk_buf_release(&cert);
}

/* Proportional, so that pages shared with the parent are not counted twice. */
static long memory_kib(void)
{
    struct sk_buf text = SK_BUF_INIT;
    struct sk_err err = {0};
    long kib = -1;
    const char *at;

    if (sys_file_read("/proc/self/smaps_rollup", 65536, &text, &err) < 0) {
        die("read memory", &err);
    }
    at = strstr(text.ptr, "\nPss:");
    if (at) {
        kib = strtol(at + 5, NULL, 10);
    }
    sk_buf_release(&text);
    return kib;
}

static int64_t cpu_us(void)
{
    struct rusage use;

    if (getrusage(RUSAGE_SELF, &use) < 0) {
        die("read CPU time", NULL);
    }
    return (int64_t)(use.ru_utime.tv_sec + use.ru_stime.tv_sec) * 1000000 + use.ru_utime.tv_usec +
           use.ru_stime.tv_usec;
}

static void run_until_ups(uv_loop_t *loop, unsigned count)
{
    int64_t deadline_ms = sys_now_ms() + PATIENCE_MS;

    while (ups < count) {
        if (sys_now_ms() > deadline_ms) {
            die("not all came up", NULL);
        }
        (void)uv_run(loop, UV_RUN_ONCE);
    }
}

static void run_for(uv_loop_t *loop, int64_t ms)
{
    int64_t until_ms = sys_now_ms() + ms;

    while (sys_now_ms() < until_ms) {
        (void)uv_run(loop, UV_RUN_ONCE);
    }
}

static void serve(const struct net_identity *identity, int port_fd)
{
    struct net_channel_cfg cfg = {.identity = identity,
                                  .source_max = CONNECTIONS_MAX * 2,
                                  .strangers_max = CONNECTIONS_MAX * 2,
                                  .peers_max = CONNECTIONS_MAX * 4,
                                  .handshake_ms = 60000};
    struct net_server *server = NULL;
    struct sk_err err = {0};
    uv_loop_t loop;
    uint16_t port;
    long before_kib, after_kib;
    int64_t full_us, idle_us, resumed_us, start_ms, full_ms, resumed_ms;

    peers = sk_xcalloc(wanted, sizeof(struct net_peer *));
    if (uv_loop_init(&loop) < 0 ||
        net_server_new_any(&loop, &cfg, "127.0.0.1", &callbacks, &server, &err) < 0) {
        die("listen", &err);
    }
    port = net_server_port(server);
    before_kib = memory_kib();
    full_us = cpu_us();
    start_ms = sys_now_ms();
    if (write(port_fd, &port, sizeof(port)) != sizeof(port)) {
        die("tell the port", NULL);
    }
    run_until_ups(&loop, wanted);
    full_us = cpu_us() - full_us;
    full_ms = sys_now_ms() - start_ms;
    idle_us = cpu_us();
    run_for(&loop, IDLE_MS);
    idle_us = cpu_us() - idle_us;
    after_kib = memory_kib();
    resumed_us = cpu_us();
    start_ms = sys_now_ms();
    for (unsigned i = 0; i < wanted; i++) {
        net_peer_close(peers[i], NULL);
    }
    run_until_ups(&loop, 2 * wanted);
    resumed_us = cpu_us() - resumed_us;
    resumed_ms = sys_now_ms() - start_ms;
    (void)printf("{\"connections\":%u,\"kib_each\":%.2f,\"full_handshake_us\":%.0f,"
                 "\"resumed_handshake_us\":%.0f,\"resumed\":%u,\"idle_cpu_percent\":%.2f,"
                 "\"full_wall_ms\":%lld,\"resumed_wall_ms\":%lld,\"refused\":%u}\n",
                 wanted, (double)(after_kib - before_kib) / wanted, (double)full_us / wanted,
                 (double)resumed_us / wanted, resumed, (double)idle_us / (10.0 * IDLE_MS),
                 (long long)full_ms, (long long)resumed_ms, refused);
    (void)fflush(stdout);
    _exit(0);
}

static void connect_all(const struct net_ca *ca, uint16_t port)
{
    char address[64];
    const char *addresses[] = {address};
    uv_loop_t loop;
    struct sk_err err = {0};

    (void)snprintf(address, sizeof(address), "127.0.0.1:%u", port);
    if (uv_loop_init(&loop) < 0) {
        die("start loop", NULL);
    }
    for (unsigned i = 0; i < wanted; i++) {
        struct net_identity id = {0};
        struct net_channel_cfg cfg = {.identity = &id, .handshake_ms = 60000};
        struct net_client *client = NULL;
        char node[32];
        (void)snprintf(node, sizeof(node), "n-%u", i);
        make_identity(ca, NET_CERT_NODE, node, &id);
        if (net_client_new(&loop, &cfg, &callbacks, &client, &err) < 0 ||
            net_client_set_addresses(client, addresses, 1, &err) < 0) {
            die("connect", &err);
        }
        net_identity_release(&id);
    }
    (void)uv_run(&loop, UV_RUN_DEFAULT); /* until the parent ends it */
}

int main(int argc, char **argv)
{
    struct net_ca *ca = NULL;
    struct net_identity control = {0};
    struct sk_err err = {0};
    int64_t count = 1000;
    int fds[2], status = 0;
    uint16_t port = 0;
    pid_t server, clients;

    if (argc > 2 ||
        (argc == 2 && sk_parse_int(sk_str(argv[1]), 1, CONNECTIONS_MAX, &count, &err))) {
        die("usage: channel [CONNECTIONS]", &err);
    }
    wanted = (unsigned)count;
    (void)signal(SIGPIPE, SIG_IGN);
    if (net_ca_new("bench", sys_wall_ms(), &ca, &err) < 0 || pipe(fds) < 0) {
        die("set up", &err);
    }
    make_identity(ca, NET_CERT_CONTROL, "hub-1", &control);
    server = fork();
    if (server == 0) {
        serve(&control, fds[1]);
    }
    (void)close(fds[1]);
    if (server < 0 || read(fds[0], &port, sizeof(port)) != sizeof(port)) {
        die("start server", NULL);
    }
    clients = fork();
    if (clients == 0) {
        connect_all(ca, port);
        _exit(0);
    }
    (void)waitpid(server, &status, 0);
    if (clients > 0) {
        (void)kill(clients, SIGKILL);
        (void)waitpid(clients, NULL, 0);
    }
    net_identity_release(&control);
    net_ca_free(ca);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}
