/* SPDX-License-Identifier: Apache-2.0 */
/* A real member as a child: started, killed, left behind, stopped. */
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "etcd_members.h"
#include "store/etcd_engine.h"
#include "store_suite.h"
#include "sys/clock.h"

#define WAIT_MS 20000

static struct members files;
static char client_url[64], peer_url[64], cert[96], key[96];
static struct etcd_engine_peer self = {"m0", peer_url};

struct seen {
    uv_loop_t loop;
    pid_t pid;
    int starts, ends;
    struct sk_err why;
    bool done;
};

static void on_change(void *ctx, pid_t pid, const struct sk_err *why)
{
    struct seen *seen = ctx;

    seen->pid = pid;
    seen->starts += pid > 0;
    seen->ends += pid == 0;
    if (why) {
        seen->why = *why;
    }
}

static void on_done(void *ctx)
{
    struct seen *seen = ctx;
    seen->done = true;
}

static struct etcd_engine_spec spec_of(void)
{
    return (struct etcd_engine_spec){.dir = files.dir,
                                     .name = "m0",
                                     .client_url = client_url,
                                     .peers = &self,
                                     .npeers = 1,
                                     .token = "test",
                                     .ca_file = files.ca,
                                     .cert_file = cert,
                                     .key_file = key,
                                     .rtt_ms = 1};
}

static void on_tick(uv_timer_t *timer)
{
}

/* Runs the loop until the condition holds. */
#define RUN_UNTIL(seen, condition)                                   \
    do {                                                             \
        uv_timer_t tick;                                             \
        int64_t run_end = sys_now_ms() + WAIT_MS;                    \
        assert_int_equal(uv_timer_init(&(seen)->loop, &tick), 0);    \
        assert_int_equal(uv_timer_start(&tick, on_tick, 20, 20), 0); \
        while (!(condition)) {                                       \
            assert_true(sys_now_ms() < run_end);                     \
            (void)uv_run(&(seen)->loop, UV_RUN_ONCE);                \
        }                                                            \
        uv_close((uv_handle_t *)&tick, NULL);                        \
        (void)uv_run(&(seen)->loop, UV_RUN_NOWAIT);                  \
    } while (0)

static struct store *open_store(void)
{
    const char *urls[] = {client_url};
    struct store_etcd options = {.endpoints = urls,
                                 .nendpoints = 1,
                                 .ca_file = files.ca,
                                 .cert_file = files.cert,
                                 .key_file = files.key,
                                 .deadline_ms = WAIT_MS};
    struct store *store = NULL;
    ok(store_open_etcd(&options, &store, &err));
    return store;
}

static struct etcd_engine *start(struct seen *seen)
{
    struct etcd_engine_spec spec = spec_of();
    struct etcd_engine *engine = NULL;

    memset(seen, 0, sizeof(*seen));
    assert_int_equal(uv_loop_init(&seen->loop), 0);
    ok(etcd_engine_start(&seen->loop, &spec, on_change, seen, &engine, &err));
    return engine;
}

static void stop(struct seen *seen, struct etcd_engine *engine)
{
    pid_t pid = etcd_engine_pid(engine);
    char pid_file[96];

    etcd_engine_stop(engine, on_done, seen);
    RUN_UNTIL(seen, seen->done);
    assert_true(pid == 0 || kill(pid, 0) < 0);
    (void)snprintf(pid_file, sizeof(pid_file), "%s/etcd.pid", files.dir);
    assert_int_not_equal(access(pid_file, F_OK), 0);
    assert_int_equal(uv_loop_close(&seen->loop), 0); /* nothing is left on it */
}

static void one_that_dies_comes_again_with_its_data(void **state)
{
    struct seen seen;
    struct etcd_engine *engine = start(&seen);
    struct sk_arena *arena = sk_arena_new();
    struct store_record record;
    struct store *store;
    pid_t first;

    assert_int_equal(etcd_engine_pid(engine), 0); /* nothing happens inside the call */
    RUN_UNTIL(&seen, seen.pid > 0);
    first = etcd_engine_pid(engine);
    assert_int_equal(first, seen.pid);
    store = open_store();
    (void)put(store, "a", "1");
    assert_int_equal(kill(first, SIGKILL), 0);
    RUN_UNTIL(&seen, seen.ends == 1);
    assert_int_equal(seen.why.code, SK_ERR_ENGINE);
    RUN_UNTIL(&seen, seen.starts == 2);
    assert_int_not_equal(seen.pid, first);
    store_close(store);
    store = open_store();
    ok(store_get(store, SK_STR("a"), arena, &record, &err));
    assert_string_equal(record.value.ptr, "1");
    store_close(store);
    sk_arena_free(arena);
    stop(&seen, engine);
}

/* In a process of its own, which is killed: the member goes on alone. */
static pid_t leave_one_behind(void)
{
    int fds[2];
    pid_t member = 0;
    pid_t child;

    assert_int_equal(pipe(fds), 0);
    child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        struct seen seen;
        struct etcd_engine *engine = start(&seen);
        RUN_UNTIL(&seen, seen.pid > 0);
        member = etcd_engine_pid(engine);
        (void)!write(fds[1], &member, sizeof(member));
        (void)pause();
        _exit(1);
    }
    assert_int_equal(read(fds[0], &member, sizeof(member)), sizeof(member));
    assert_int_equal(kill(child, SIGKILL), 0);
    assert_int_equal(waitpid(child, NULL, 0), child);
    (void)close(fds[0]);
    (void)close(fds[1]);
    return member;
}

static void one_that_was_left_behind_is_ended_first(void **state)
{
    pid_t old = leave_one_behind();
    struct etcd_engine *engine;
    struct store *store;
    struct seen seen;

    assert_int_equal(kill(old, 0), 0);
    engine = start(&seen);
    RUN_UNTIL(&seen, seen.pid > 0);
    assert_int_not_equal(seen.pid, old);
    (void)waitpid(old, NULL, WNOHANG); /* ours now, by the subreaper */
    assert_true(kill(old, 0) < 0);
    store = open_store();
    (void)put(store, "b", "1");
    store_close(store);
    stop(&seen, engine);
}

/* The number in the file may belong to somebody else by now. */
static void nobody_else_is_ended(void **state)
{
    struct etcd_engine *engine;
    struct seen seen;
    char path[96];
    FILE *file;
    pid_t other = fork();

    assert_true(other >= 0);
    if (other == 0) {
        (void)pause();
        _exit(0);
    }
    (void)snprintf(path, sizeof(path), "%s/etcd.pid", files.dir);
    file = fopen(path, "w");
    assert_non_null(file);
    assert_true(fprintf(file, "%d\n", (int)other) > 0);
    assert_int_equal(fclose(file), 0);
    engine = start(&seen);
    RUN_UNTIL(&seen, seen.pid > 0);
    assert_int_equal(waitpid(other, NULL, WNOHANG), 0); /* lives */
    assert_int_equal(kill(other, SIGKILL), 0);
    assert_int_equal(waitpid(other, NULL, 0), other);
    stop(&seen, engine);
}

static void what_cannot_be_a_member_is_refused(void **state)
{
    static const char *const names[] = {"", "a,b", "a=b", "a b"};
    struct etcd_engine_peer peer = {"m0", peer_url};
    struct etcd_engine_spec spec = spec_of();
    struct etcd_engine *engine = NULL;
    struct seen seen = {0};

    assert_int_equal(uv_loop_init(&seen.loop), 0);
    spec.peers = &peer;
    for (size_t i = 0; i < SK_ARRAY_LEN(names); i++) {
        peer.name = spec.name = names[i];
        fails(SK_ERR_INPUT, etcd_engine_start(&seen.loop, &spec, on_change, &seen, &engine, &err));
    }
    peer.name = "other"; /* it is not among the members */
    spec.name = "m0";
    fails(SK_ERR_INPUT, etcd_engine_start(&seen.loop, &spec, on_change, &seen, &engine, &err));
    peer.name = "m0";
    peer.peer_url = "http://127.0.0.1:1";
    fails(SK_ERR_INPUT, etcd_engine_start(&seen.loop, &spec, on_change, &seen, &engine, &err));
    peer.peer_url = peer_url;
    spec.cert_file = NULL;
    fails(SK_ERR_INPUT, etcd_engine_start(&seen.loop, &spec, on_change, &seen, &engine, &err));
    spec.cert_file = cert;
    spec.program = "/nonexistent/etcd"; /* only this comes later, as an end */
    ok(etcd_engine_start(&seen.loop, &spec, on_change, &seen, &engine, &err));
    RUN_UNTIL(&seen, seen.ends == 1);
    assert_int_equal(seen.why.code, SK_ERR_ENGINE);
    assert_true(seen.why.fix[0] != '\0');
    stop(&seen, engine);
}

static void timing(double rtt_ms, int heartbeat_ms, int election_ms)
{
    int heartbeat = 0;
    int election = 0;

    etcd_engine_timing(rtt_ms, &heartbeat, &election);
    assert_int_equal(heartbeat, heartbeat_ms);
    assert_int_equal(election, election_ms);
}

static void timing_follows_the_measured_distance(void **state)
{
    timing(0, 50, 500);
    timing(40, 50, 500);
    timing(41, 51, 510);
    timing(100, 125, 1250);
    timing(1000, 500, 5000);
    timing(-5, 50, 500);
    timing(NAN, 50, 500);
    timing(INFINITY, 500, 5000);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(timing_follows_the_measured_distance),
        cmocka_unit_test(what_cannot_be_a_member_is_refused),
        cmocka_unit_test(one_that_dies_comes_again_with_its_data),
        cmocka_unit_test(one_that_was_left_behind_is_ended_first),
        cmocka_unit_test(nobody_else_is_ended),
    };
    int failed;

    if (!members_can_run()) {
        return 77;
    }
    (void)prctl(PR_SET_CHILD_SUBREAPER, 1);
    members_prepare(&files, 1);
    (void)snprintf(client_url, sizeof(client_url), "https://127.0.0.1:%d",
                   files.member[0].client_port);
    (void)snprintf(peer_url, sizeof(peer_url), "https://127.0.0.1:%d", files.member[0].peer_port);
    (void)snprintf(cert, sizeof(cert), "%s/m0.pem", files.dir);
    (void)snprintf(key, sizeof(key), "%s/m0.key", files.dir);
    failed = cmocka_run_group_tests(tests, NULL, NULL);
    members_stop(&files);
    return failed;
}
