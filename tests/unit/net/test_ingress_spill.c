/* SPDX-License-Identifier: Apache-2.0 */
/* The ingress with a real HAProxy on loopback: the spill to another site, what it costs users, and
 * how the way there is kept warm. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/mem.h"
#include "ingress_site.h"
#include "ingress_users.h"
#include "sys/clock.h"

/* Local first; nothing local: the other site, through its ingress; nothing at all: 503, no loop. */
static long spill_and_return(void)
{
    static struct site fra, ams;
    struct replica a = start_replica("a");
    struct replica b = start_replica("b");
    const struct replica *const at_fra[] = {&a};
    const struct replica *const at_ams[] = {&b};
    char text[1024];
    long failed = 0;
    open_pair(&fra, &ams, at_fra, 1, at_ams);
    struct stretch stretch = stretch_begin();
    kill_replica(&a);
    failed += !comes_to("127.0.0.1", "instance=b\n");
    kill_replica(&b);
    pump(1500);
    int64_t before = sys_now_ms();
    int status = ask("127.0.0.1", http_port, "shop.example.com", text, sizeof(text));
    int64_t took_ms = sys_now_ms() - before;
    if (status != 503 || took_ms >= 1500) {
        (void)fprintf(stderr, "no replica: not 503 in 1500 ms but %d in %lld: %s\n", status,
                      (long long)took_ms, text);
        failed++;
    }
    /* a new replica, announced without a reload */
    struct replica c = start_replica("c");
    const struct replica *const again[] = {&c};
    set_local(&fra, again, 1);
    apply(&fra);
    settle(&fra);
    failed += !comes_to("127.0.0.1", "instance=c\n");
    failed += !comes_to("127.0.0.2", "instance=c\n");
    failed = stretch_end(&stretch, 0, 4, failed);
    close_site(&fra);
    close_site(&ams);
    kill_replica(&c);
    return failed;
}

static void spills_to_the_other_site_and_back(void **state)
{
    (void)state;
    nothing_fails(spill_and_return);
}

/* What a replica was answering when it was killed cannot be had again: one request each. */
#define IN_FLIGHT 2

/* Both local replicas die at once. */
static long spill_under_load(void)
{
    static struct site fra, ams;
    struct replica a = start_replica("a");
    struct replica a2 = start_replica("a");
    struct replica b = start_replica("b");
    const struct replica *const at_fra[] = {&a, &a2};
    const struct replica *const at_ams[] = {&b};
    (void)snprintf(a2.id, sizeof(a2.id), "a2"); /* another place, the same answer */
    open_pair(&fra, &ams, at_fra, 2, at_ams);
    struct users u = start_users("127.0.0.1", 300, 1.5, false);
    pump(500);
    kill_replica(&a);
    kill_replica(&a2);
    long failed = end_users(&u);
    if (failed != RUN_INVALID) {
        assert_true(comes_to("127.0.0.1", "instance=b\n"));
    }
    close_site(&fra);
    close_site(&ams);
    kill_replica(&b);
    return failed >= 0 && failed <= IN_FLIGHT ? 0 : failed;
}

static void a_spill_costs_no_more_than_was_in_flight(void **state)
{
    (void)state;
    nothing_fails(spill_under_load);
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(spills_to_the_other_site_and_back, setup, teardown),
        cmocka_unit_test_setup_teardown(a_spill_costs_no_more_than_was_in_flight, setup, teardown),
        cmocka_unit_test_setup_teardown(checks_keep_the_way_warm, setup, teardown),
    };
    return program_result(cmocka_run_group_tests(tests, NULL, NULL));
}
