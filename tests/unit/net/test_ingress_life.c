/* SPDX-License-Identifier: Apache-2.0 */
/* The ingress with a real HAProxy on loopback: the life of that process. */
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/mem.h"
#include "ingress_site.h"
#include "ingress_users.h"
#include "sys/clock.h"

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
static long relieve_an_orphan(void)
{
    static struct site fra;
    struct replica a = start_replica("a");
    const struct replica *const list[] = {&a};
    int tell[2];
    struct {
        int pid;
        char dir[64];
    } news;
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
    close_in_teardown(&fra);
    set_local(&fra, list, 1);
    apply(&fra);
    settle(&fra);
    int64_t end = sys_now_ms() + 5000;
    while (kill(news.pid, 0) == 0 && sys_now_ms() < end) {
        (void)waitpid(news.pid, NULL, WNOHANG);
        pump(20);
    }
    assert_int_equal(kill(news.pid, 0), -1);
    long failed = end_users(&u);
    close_site(&fra);
    (void)close(tell[0]);
    (void)close(tell[1]);
    kill_replica(&a);
    return failed;
}

static void an_orphan_is_relieved(void **state)
{
    (void)state;
    nothing_fails(relieve_an_orphan);
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
        cmocka_unit_test_setup_teardown(a_dead_haproxy_is_started_again, setup, teardown),
        cmocka_unit_test_setup_teardown(an_orphan_is_relieved, setup, teardown),
        cmocka_unit_test_setup_teardown(a_bad_program_is_named, setup, teardown),
    };
    return program_result(cmocka_run_group_tests(tests, NULL, NULL));
}
