/* SPDX-License-Identifier: Apache-2.0 */
/* The load generator against small scripted servers on loopback: what it must count is known. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/mem.h"
#include "lab/load.h"
#include "lab/spawn.h"

static const uint64_t ms = 1000000;

/* A server that answers at once, except for its connections number [stall_from, stall_to): those
 * wait for ever. Numbers and not times, so that what must fail does not hang on how fast the
 * machine is: one generator opens them in the order of issue, one queue hands them over in that
 * order. */
struct script {
    const char *name;
    int stall_from, stall_to;
    int status;
    bool close_after_answer;
};

struct server {
    pid_t pid;
    uint16_t port;
};

static void answer(int fd, const struct script *s, bool keep)
{
    char body[128];
    char text[512];
    int n = snprintf(body, sizeof(body), "instance=%s-1\nnode=%s-node\nsite=%s\n", s->name, s->name,
                     s->name);
    n = snprintf(text, sizeof(text), "HTTP/1.1 %d X\r\nContent-Length: %d\r\n%s\r\n%s", s->status,
                 n, keep ? "" : "Connection: close\r\n", body);
    (void)!write(fd, text, (size_t)n);
}

static void serve(int listener, const struct script *s)
{
    struct pollfd fds[1024] = {{listener, POLLIN, 0}};
    nfds_t count = 1;
    int number = 0;
    for (;;) {
        (void)poll(fds, count, -1);
        if (fds[0].revents != 0 && count < SK_ARRAY_LEN(fds)) {
            int fd = accept(listener, NULL, NULL);
            bool stall = number >= s->stall_from && number < s->stall_to;
            number++;
            fds[count++] = (struct pollfd){fd, stall ? 0 : POLLIN, 0};
        }
        for (nfds_t i = 1; i < count; i++) {
            char request[4096];
            if (fds[i].revents == 0) {
                continue;
            }
            ssize_t got = read(fds[i].fd, request, sizeof(request) - 1);
            if (got > 0) {
                request[got] = '\0';
                bool keep = strstr(request, "Connection: close") == NULL;
                answer(fds[i].fd, s, keep);
                if (keep && !s->close_after_answer) {
                    continue;
                }
            }
            (void)close(fds[i].fd);
            fds[i--] = fds[--count];
        }
    }
}

static int listen_on_loopback(uint16_t *ret_port)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(a);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof(a)), 0);
    assert_int_equal(listen(fd, 512), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&a, &len), 0);
    *ret_port = ntohs(a.sin_port);
    return fd;
}

static struct server start(struct script s)
{
    struct server server;
    int fd = listen_on_loopback(&server.port);
    server.pid = fork();
    assert_true(server.pid >= 0);
    if (server.pid == 0) {
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL); /* a failed test must not leave it behind */
        serve(fd, &s);
    }
    (void)close(fd);
    return server;
}

static void stop(struct server s)
{
    (void)kill(s.pid, SIGKILL);
    (void)waitpid(s.pid, NULL, 0);
}

static uint16_t closed_port(void)
{
    uint16_t port;
    int fd = listen_on_loopback(&port);
    (void)close(fd);
    return port;
}

static struct load_ingress at_port(const char *site, uint16_t port)
{
    struct load_ingress i = {.site = site};
    i.address.sin_family = AF_INET;
    i.address.sin_port = htons(port);
    i.address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return i;
}

struct outcome {
    struct load_stats *stats;
    char *text;
    size_t len;
};

static struct outcome run(struct load_options *o)
{
    struct outcome out = {.stats = sk_xcalloc(1, sizeof(*out.stats))};
    FILE *live = open_memstream(&out.text, &out.len);
    struct sk_err err = {0};
    o->host = "x.example.com";
    o->path = "/";
    o->next_ms = o->next_ms != 0 ? o->next_ms : 300;
    o->timeout_ms = 1000;
    if (load_run(o, live, out.stats, &err) < 0) {
        fail_msg("%s", err.msg);
    }
    (void)fclose(live);
    return out;
}

static void discard(struct outcome *out)
{
    free(out->stats);
    free(out->text);
}

/* Two good answers in a row are apart by what lies between their issue, and by how long the later
 * one took: whatever the machine does, a longer gap is one that the generator made up. */
static uint64_t gap_max(const struct load_stats *s, double rate)
{
    return (uint64_t)(1e9 / rate) + hist_at(&s->hist, 1) * 1000 + ms;
}

static const struct script quick = {"fra", -1, -1, 200, false};

static void steady_load_is_all_good(void **state)
{
    struct server s = start(quick);
    struct load_population p = {.name = "p", .share = 1, .ningress = 1};
    struct load_options o = {.rate = 300, .seconds = 0.6, .populations = &p, .npopulations = 1};
    (void)state;
    p.ingress[0] = at_port("fra", s.port);
    struct outcome out = run(&o);
    assert_int_equal(out.stats->issued, 180);
    assert_int_equal(out.stats->good, 180);
    assert_int_equal(out.stats->nwho, 1);
    assert_true(out.stats->longest_gap_ns <= gap_max(out.stats, o.rate));
    assert_non_null(strstr(out.text, "\"event\":\"tick\""));
    assert_non_null(strstr(out.text, "\"event\":\"instance\""));
    assert_non_null(strstr(out.text, "\"event\":\"summary\""));
    discard(&out);
    stop(s);
}

static void keep_alive_outlives_closing_servers(void **state)
{
    struct script closing = {"fra", -1, -1, 200, true};
    struct server s[2] = {start(quick), start(closing)};
    (void)state;
    for (size_t i = 0; i < 2; i++) {
        struct load_population p = {.name = "p", .share = 1, .ningress = 1};
        struct load_options o = {
            .rate = 300, .seconds = 0.4, .keep_alive = true, .populations = &p, .npopulations = 1};
        p.ingress[0] = at_port("fra", s[i].port);
        struct outcome out = run(&o);
        assert_int_equal(out.stats->good, 120);
        discard(&out);
        stop(s[i]);
    }
}

/* Of the requests issued every 10 ms those of 500 ms to 890 ms have no answer within a second. */
static void stall_is_counted_exactly(void **state)
{
    struct server s = start((struct script){"fra", 50, 90, 200, false});
    struct load_population p = {.name = "p", .share = 1, .ningress = 1};
    struct load_options o = {.rate = 100, .seconds = 1.2, .populations = &p, .npopulations = 1};
    (void)state;
    p.ingress[0] = at_port("fra", s.port);
    struct outcome out = run(&o);
    const struct load_stats *stats = out.stats;
    assert_int_equal(stats->issued, 120);
    assert_int_equal(stats->failed, 40);
    assert_int_equal(stats->by_outcome[LOAD_TIMEOUT], 40);
    assert_int_equal(stats->good, 80);
    /* issue times are by the plan, not by when the machine came round to it */
    assert_int_equal(stats->last_bad_issued_ns - stats->start_ns, 890 * ms);
    load_stats_cut(out.stats, stats->start_ns + 500 * ms);
    assert_true(load_stats_off_ms(stats) == 390);
    /* 410 ms, less what the answer to the request of 490 ms was late */
    assert_true(stats->longest_gap_ns > 200 * ms);
    discard(&out);
    stop(s);
}

static void silent_ingress_costs_300_ms_not_a_failure(void **state)
{
    struct server dead = start((struct script){"fra", 0, INT_MAX, 200, false});
    struct server live = start((struct script){"ams", -1, -1, 200, false});
    struct load_population p = {.name = "p", .share = 1, .ningress = 2};
    struct load_options o = {.rate = 50, .seconds = 0.4, .populations = &p, .npopulations = 1};
    (void)state;
    p.ingress[0] = at_port("fra", dead.port);
    p.ingress[1] = at_port("ams", live.port);
    struct outcome out = run(&o);
    assert_int_equal(out.stats->good, 20);
    assert_string_equal(out.stats->who[0].site, "ams");
    /* one wait of 300 ms, not two */
    assert_in_range(hist_at(&out.stats->hist, 0.5), 300000, 590000);
    discard(&out);
    stop(dead);
    stop(live);
}

static void refused_ingress_is_passed_at_once(void **state)
{
    struct server live = start((struct script){"ams", -1, -1, 200, false});
    struct load_population p = {.name = "p", .share = 1, .ningress = 2};
    struct load_options o = {.rate = 100, .seconds = 0.3, .populations = &p, .npopulations = 1};
    (void)state;
    p.ingress[0] = at_port("fra", closed_port());
    p.ingress[1] = at_port("ams", live.port);
    struct outcome out = run(&o);
    assert_int_equal(out.stats->good, 30);
    assert_true(hist_at(&out.stats->hist, 0.5) < 300000); /* not after the wait */
    discard(&out);
    p.ningress = 1; /* and with nothing else left it is an error */
    out = run(&o);
    assert_int_equal(out.stats->by_outcome[LOAD_ERROR], 30);
    discard(&out);
    stop(live);
}

static void server_errors_are_failures(void **state)
{
    struct server s = start((struct script){"fra", -1, -1, 503, false});
    struct load_population p = {.name = "p", .share = 1, .ningress = 1};
    struct load_options o = {.rate = 100, .seconds = 0.2, .populations = &p, .npopulations = 1};
    (void)state;
    p.ingress[0] = at_port("fra", s.port);
    struct outcome out = run(&o);
    assert_int_equal(out.stats->by_outcome[LOAD_STATUS], 20);
    assert_int_equal(out.stats->good, 0);
    discard(&out);
    stop(s);
}

static void shares_and_csv(void **state)
{
    struct server s = start(quick);
    struct load_population p[2] = {{.name = "big", .share = 0.8, .ningress = 1},
                                   {.name = "small", .share = 0.2, .ningress = 1}};
    char path[] = "/tmp/skerry-load-XXXXXX";
    int fd = mkstemp(path);
    struct load_options o = {
        .rate = 400, .seconds = 0.5, .seed = 3, .populations = p, .npopulations = 2, .csv = path};
    (void)state;
    assert_true(fd >= 0);
    p[0].ingress[0] = at_port("fra", s.port);
    p[1].ingress[0] = at_port("fra", s.port);
    struct outcome out = run(&o);
    FILE *csv = fopen(path, "re");
    assert_non_null(csv);
    char line[512];
    int lines = 0;
    int small = 0;
    while (fgets(line, sizeof(line), csv) != NULL) {
        lines++;
        small += strstr(line, ",ok,200,small,fra,1,fra-1,fra-node,fra\n") != NULL;
    }
    assert_int_equal(lines, 201);
    assert_in_range(small, 20, 60);
    (void)fclose(csv);
    (void)close(fd);
    (void)unlink(path);
    discard(&out);
    stop(s);
}

static void config_is_read_and_checked(void **state)
{
    static const char *const bad[] = {
        "{}",
        "{\"populations\":[]}",
        "{\"populations\":[{\"name\":\"p\",\"ingress\":[]}]}",
        "{\"populations\":[{\"name\":\"p\",\"ingress\":[{\"site\":\"f\",\"address\":\"x\"}]}]}",
        "{\"populations\":[{\"ingress\":[{\"site\":\"f\",\"address\":\"1.2.3.4\",\"port\":0}]}]}",
        "{\"rate\":0,\"populations\":[{\"ingress\":[{\"site\":\"f\",\"address\":\"1.2.3.4\"}]}]}",
        "{\"path\":\"/ "
        "x\",\"populations\":[{\"ingress\":[{\"site\":\"f\",\"address\":\"1.2.3.4\"}]}]}",
        "{\"host\":\"a\\r\\nb\",\"populations\":[{\"ingress\":[{\"site\":\"f\",\"address\":\"1.2.3."
        "4\"}]}]"
        "}",
    };
    struct sk_arena *arena = sk_arena_new();
    struct load_options o;
    (void)state;
    assert_int_equal(
        load_options_read(
            arena, "c",
            SK_STR("{\"rate\":10,\"seconds\":2,\"host\":\"h\",\"populations\":[{\"name\":"
                   "\"p\",\"share\":2,\"ingress\":[{\"site\":\"fra\",\"address\":"
                   "\"10.99.1.11\",\"port\":81}]}]}"),
            &o, NULL),
        0);
    assert_int_equal(ntohs(o.populations[0].ingress[0].address.sin_port), 81);
    assert_int_equal(o.timeout_ms, 1000);
    for (size_t i = 0; i < SK_ARRAY_LEN(bad); i++) {
        struct sk_err err = {0};
        assert_int_equal(load_options_read(arena, "c", sk_str(bad[i]), &o, &err), SK_ERR_INPUT);
        assert_true(err.msg[0] != '\0');
    }
    sk_arena_free(arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(steady_load_is_all_good),
        cmocka_unit_test(keep_alive_outlives_closing_servers),
        cmocka_unit_test(stall_is_counted_exactly),
        cmocka_unit_test(silent_ingress_costs_300_ms_not_a_failure),
        cmocka_unit_test(refused_ingress_is_passed_at_once),
        cmocka_unit_test(server_errors_are_failures),
        cmocka_unit_test(shares_and_csv),
        cmocka_unit_test(config_is_read_and_checked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
