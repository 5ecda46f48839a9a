/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "net/probe.h"
#include "sys/clock.h"

static const uint8_t key[32] = {1, 2, 3}, other_key[32] = {9};
static uv_loop_t loop;
static uv_timer_t tick;
static struct net_probe *a, *b;
static char a_address[64], b_address[64];

static void on_tick(uv_timer_t *timer)
{
    (void)timer;
}

static void run_ms(int64_t ms)
{
    int64_t until = sys_now_ms() + ms;
    while (sys_now_ms() < until) {
        (void)uv_run(&loop, UV_RUN_ONCE);
    }
}

static struct net_probe *new_probe(const char *node, char address[64])
{
    struct net_probe_cfg cfg = {
        .node = node, .address = "127.0.0.1", .port_any = true, .interval_ms = 20};
    struct net_probe *probe = NULL;
    struct sk_err err = {0};
    assert_int_equal(net_probe_new(&loop, &cfg, &probe, &err), 0);
    (void)snprintf(address, 64, "127.0.0.1:%u", net_probe_port(probe));
    return probe;
}

static int set_up(void **state)
{
    (void)state;
    assert_int_equal(uv_loop_init(&loop), 0);
    assert_int_equal(uv_timer_init(&loop, &tick), 0);
    assert_int_equal(uv_timer_start(&tick, on_tick, 5, 5), 0);
    a = new_probe("fra-1", a_address);
    b = new_probe("ams-1", b_address);
    net_probe_set_key(a, key);
    net_probe_set_key(b, key);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    net_probe_free(a);
    net_probe_free(b);
    uv_close((uv_handle_t *)&tick, NULL);
    assert_int_equal(uv_run(&loop, UV_RUN_DEFAULT), 0);
    return uv_loop_close(&loop);
}

static struct net_heard heard(struct net_probe *probe, size_t index)
{
    struct net_heard h;
    net_probe_heard(probe, index, &h);
    return h;
}

/* A machine that was paused did not hear anybody meanwhile: that is not their silence. */
static void a_standstill_makes_nobody_silent(void **state)
{
    struct net_probe_target targets[] = {{"ams-1", b_address}};
    (void)state;
    assert_int_equal(net_probe_set_targets(a, targets, 1, NULL), 0);
    run_ms(200);
    net_probe_free(b);
    b = NULL;
    (void)uv_run(&loop, UV_RUN_ONCE);
    (void)usleep(1500 * 1000);
    assert_in_range(heard(a, 0).age_ms, 0, 900); /* before the loop runs again */
    run_ms(50);
    assert_in_range(heard(a, 0).age_ms, 0, 900); /* and after */
    run_ms(1200);
    assert_true(heard(a, 0).age_ms >= 1000); /* from then on it counts */
}

static void targets_are_heard_until_they_fall_silent(void **state)
{
    struct net_probe_target targets[] = {{"ams-1", b_address}, {"par-1", "127.0.0.1:1"}};
    struct net_heard h;
    (void)state;
    assert_int_equal(net_probe_set_targets(a, targets, 2, NULL), 0);
    assert_int_equal(net_probe_count(a), 2);
    assert_int_equal(heard(a, 0).age_ms, -1);
    assert_int_equal(heard(a, 0).rtt_us, -1);
    run_ms(500);
    h = heard(a, 0);
    assert_string_equal(h.node, "ams-1");
    assert_in_range(h.age_ms, 0, 200);
    assert_in_range(h.rtt_us_min, 1, 100000);
    assert_true(h.rtt_us >= h.rtt_us_min);
    assert_int_equal(heard(a, 1).age_ms, -1); /* nobody is there */
    /* what is known stays when the list changes around it */
    assert_int_equal(net_probe_set_targets(a, targets, 1, NULL), 0);
    assert_true(heard(a, 0).age_ms >= 0);
    net_probe_free(b);
    b = NULL;
    run_ms(250);
    assert_true(heard(a, 0).age_ms >= 200);
    assert_int_equal(net_probe_set_targets(a, NULL, 0, NULL), 0);
    assert_int_equal(net_probe_count(a), 0);
}

static void only_who_has_the_key(void **state)
{
    struct net_probe_target targets[] = {{"ams-1", b_address}};
    (void)state;
    net_probe_set_key(b, other_key);
    net_probe_set_key(b, (const uint8_t[32]){8}); /* both of b's keys are others now */
    assert_int_equal(net_probe_set_targets(a, targets, 1, NULL), 0);
    run_ms(150);
    assert_int_equal(heard(a, 0).age_ms, -1);
    net_probe_set_key(b, key);
    run_ms(300);
    assert_true(heard(a, 0).age_ms >= 0);
}

static void a_change_of_key_loses_nobody(void **state)
{
    struct net_probe_target targets[] = {{"ams-1", b_address}};
    (void)state;
    assert_int_equal(net_probe_set_targets(a, targets, 1, NULL), 0);
    net_probe_set_key(b, other_key); /* b is ahead: it still takes a's key */
    run_ms(100);
    assert_int_equal(heard(a, 0).age_ms, -1); /* but a cannot read its echo yet */
    net_probe_set_key(a, other_key);
    run_ms(300);
    assert_true(heard(a, 0).age_ms >= 0);
}

static void another_node_cannot_answer(void **state)
{
    struct net_probe_target targets[] = {{"par-1", b_address}}; /* b is ams-1 */
    (void)state;
    assert_int_equal(net_probe_set_targets(a, targets, 1, NULL), 0);
    run_ms(200);
    assert_int_equal(heard(a, 0).age_ms, -1);
}

/* ---- a stranger's socket ---- */

static int stranger(struct sockaddr_in *to)
{
    struct sockaddr_in sa = {.sin_family = AF_INET};
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    sa.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    assert_true(fd >= 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
    sa.sin_port = htons(net_probe_port(b));
    *to = sa;
    return fd;
}

/* How many bytes come back. */
static ssize_t ask(int fd, const struct sockaddr_in *to, const uint8_t *bytes, size_t len,
                   uint8_t ret[128])
{
    ssize_t n = -1;
    assert_int_equal(sendto(fd, bytes, len, 0, (const struct sockaddr *)to, sizeof(*to)), len);
    for (int i = 0; n < 0 && i < 12; i++) {
        run_ms(5);
        n = recv(fd, ret, 128, 0);
    }
    return n;
}

static struct net_probe_datagram question(void)
{
    struct net_probe_datagram d = {.kind = NET_PROBE_ASK, .counter = 100};
    net_probe_id(SK_STR("par-1"), d.from);
    net_probe_id(SK_STR("ams-1"), d.to);
    memset(d.nonce, 0x55, 8);
    return d;
}

static void each_probe_is_echoed_once(void **state)
{
    struct net_probe_datagram d = question(), echo;
    struct sockaddr_in to;
    uint8_t bytes[64], reply[128];
    int fd = stranger(&to);
    (void)state;
    net_probe_write(&d, key, bytes);
    assert_int_equal(ask(fd, &to, bytes, 64, reply), 64); /* the positive twin */
    assert_true(net_probe_read(reply, 64, key, &echo));
    assert_int_equal(echo.kind, NET_PROBE_ECHO);
    assert_memory_equal(echo.nonce, d.nonce, 8);
    assert_int_equal(echo.counter, 100);
    assert_memory_equal(echo.from, d.to, 8);
    assert_memory_equal(echo.to, d.from, 8);
    assert_int_equal(ask(fd, &to, bytes, 64, reply), -1); /* replayed */
    /* out of order inside the window: once; behind it: never */
    d.counter = 90;
    net_probe_write(&d, key, bytes);
    assert_int_equal(ask(fd, &to, bytes, 64, reply), 64);
    assert_int_equal(ask(fd, &to, bytes, 64, reply), -1);
    d.counter = 36;
    net_probe_write(&d, key, bytes);
    assert_int_equal(ask(fd, &to, bytes, 64, reply), -1);
    /* a new boot begins anew, and the old one does not come back */
    memset(d.nonce, 0x66, 8);
    d.counter = 1;
    net_probe_write(&d, key, bytes);
    assert_int_equal(ask(fd, &to, bytes, 64, reply), 64);
    memset(d.nonce, 0x55, 8);
    d.counter = 200;
    net_probe_write(&d, key, bytes);
    assert_int_equal(ask(fd, &to, bytes, 64, reply), -1);
    (void)close(fd);
}

static void everything_else_is_silence(void **state)
{
    struct net_probe_datagram d = question(), out;
    struct sockaddr_in to;
    uint8_t bytes[128] = {0}, reply[128];
    int fd = stranger(&to);
    (void)state;
    for (unsigned i = 0; i < 64; i++) { /* one bit anywhere */
        net_probe_write(&d, key, bytes);
        assert_true(net_probe_read(bytes, 64, key, &out));
        bytes[i] ^= (uint8_t)(1U << (i % 8));
        assert_false(net_probe_read(bytes, 64, key, &out));
    }
    net_probe_write(&d, key, bytes);
    bytes[63] ^= 1;
    assert_int_equal(ask(fd, &to, bytes, 64, reply), -1);
    net_probe_write(&d, other_key, bytes);
    assert_int_equal(ask(fd, &to, bytes, 64, reply), -1);
    net_probe_write(&d, key, bytes);
    assert_int_equal(ask(fd, &to, bytes, 63, reply), -1);
    assert_int_equal(ask(fd, &to, bytes, 65, reply), -1);
    assert_int_equal(ask(fd, &to, bytes, 0, reply), -1);
    d.kind = NET_PROBE_ECHO; /* an echo that nobody asked for */
    net_probe_write(&d, key, bytes);
    assert_int_equal(ask(fd, &to, bytes, 64, reply), -1);
    d = question();
    net_probe_id(SK_STR("fra-1"), d.to); /* for another node */
    net_probe_write(&d, key, bytes);
    assert_int_equal(ask(fd, &to, bytes, 64, reply), -1);
    d = question();
    d.counter = 0;
    net_probe_write(&d, key, bytes);
    assert_int_equal(ask(fd, &to, bytes, 64, reply), -1);
    d = question(); /* and after all that it still works */
    net_probe_write(&d, key, bytes);
    assert_int_equal(ask(fd, &to, bytes, 64, reply), 64);
    (void)close(fd);
}

static void a_recorded_echo_is_not_news(void **state)
{
    /* the target is the stranger: it answers, then only plays back what it answered */
    struct net_probe_target targets[1] = {{"par-1", NULL}};
    struct net_probe_datagram d;
    struct sockaddr_in to, own;
    socklen_t len = sizeof(own);
    uint8_t bytes[128], echo[64];
    char address[64];
    int fd = stranger(&to);
    ssize_t n = -1;
    (void)state;
    assert_int_equal(getsockname(fd, (struct sockaddr *)&own, &len), 0);
    (void)snprintf(address, sizeof(address), "127.0.0.1:%u", ntohs(own.sin_port));
    targets[0].address = address;
    assert_int_equal(net_probe_set_targets(b, targets, 1, NULL), 0);
    for (int i = 0; n < 0 && i < 40; i++) {
        run_ms(5);
        n = recv(fd, bytes, sizeof(bytes), 0);
    }
    assert_int_equal(n, 64);
    assert_true(net_probe_read(bytes, 64, key, &d));
    d.kind = NET_PROBE_ECHO;
    memcpy(d.to, d.from, 8);
    net_probe_id(SK_STR("par-1"), d.from);
    net_probe_write(&d, key, echo);
    assert_int_equal(sendto(fd, echo, 64, 0, (struct sockaddr *)&to, sizeof(to)), 64);
    run_ms(30);
    assert_true(heard(b, 0).age_ms >= 0);
    for (int i = 0; i < 10; i++) {
        assert_int_equal(sendto(fd, echo, 64, 0, (struct sockaddr *)&to, sizeof(to)), 64);
        run_ms(10);
    }
    assert_true(heard(b, 0).age_ms >= 90);
    (void)close(fd);
}

static void senders_are_bounded(void **state)
{
    struct net_probe_datagram d = question();
    struct sockaddr_in to;
    uint8_t bytes[64], reply[128];
    int fd = stranger(&to);
    unsigned echoed = 0;
    (void)state;
    for (unsigned i = 0; i < NET_PROBE_SENDERS_MAX + 100; i++) {
        memcpy(d.from, &i, sizeof(i));
        net_probe_write(&d, key, bytes);
        assert_int_equal(sendto(fd, bytes, 64, 0, (struct sockaddr *)&to, sizeof(to)), 64);
        (void)uv_run(&loop, UV_RUN_NOWAIT);
        while (recv(fd, reply, sizeof(reply), 0) == 64) {
            echoed++;
        }
    }
    assert_true(echoed > NET_PROBE_SENDERS_MAX);
    (void)close(fd);
}

static void bad_input(void **state)
{
    struct net_probe_target many[NET_PROBE_TARGETS_MAX + 1];
    struct net_probe_target one = {"ams-1", b_address};
    struct net_probe_cfg cfg = {.node = "x", .address = b_address};
    struct net_probe *second = NULL;
    struct sk_err err = {0};
    (void)state;
    for (size_t i = 0; i <= NET_PROBE_TARGETS_MAX; i++) {
        many[i] = one;
    }
    assert_int_equal(net_probe_set_targets(a, many, NET_PROBE_TARGETS_MAX, &err), 0);
    assert_int_equal(net_probe_set_targets(a, many, NET_PROBE_TARGETS_MAX + 1, &err), SK_ERR_LIMIT);
    one.address = "ams1.example.com";
    assert_int_equal(net_probe_set_targets(a, &one, 1, &err), SK_ERR_INPUT);
    one = (struct net_probe_target){"Ams", b_address};
    assert_int_equal(net_probe_set_targets(a, &one, 1, &err), SK_ERR_INPUT);
    assert_int_equal(net_probe_count(a), NET_PROBE_TARGETS_MAX);
    assert_int_equal(net_probe_new(&loop, &cfg, &second, &err), SK_ERR_IO);
    assert_non_null(strstr(err.msg, "address already in use"));
    assert_null(second);
}

#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(targets_are_heard_until_they_fall_silent),
        T(a_standstill_makes_nobody_silent),
        T(only_who_has_the_key),
        T(a_change_of_key_loses_nobody),
        T(another_node_cannot_answer),
        T(each_probe_is_echoed_once),
        T(everything_else_is_silence),
        T(a_recorded_echo_is_not_news),
        T(senders_are_bounded),
        T(bad_input),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
