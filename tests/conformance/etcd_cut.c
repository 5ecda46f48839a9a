/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The etcd form over a network that is cut, mute or late, by proxies in front of three real
 * members: nothing takes place twice, nothing late takes place at all, no call overruns its time,
 * and a watch goes on without a gap or says that there is one.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <unistd.h>

#include "etcd_members.h"
#include "etcd_proxy.h"
#include "store_suite.h"
#include "sys/clock.h"

#define ATTEMPT_MS 300
#define DEADLINE_MS 1000
#define SLACK_MS 1500 /* for a busy machine to run us; the bound itself is DEADLINE_MS */
#define N 3

static struct members members;
static struct proxy *proxies[N];
static char urls[N][64];
static int roots;

struct net {
    char root[16];
    const char *near_urls[N]; /* of each handle's options; by proxies */
    const char *far_urls[MEMBERS_MAX];
    struct store *direct; /* a handle that no proxy disturbs */
    struct sk_arena *arena;
};

static void all(enum proxy_mode mode)
{
    for (int i = 0; i < N; i++) {
        proxy_set(proxies[i], mode);
    }
}

static struct store *open_by(struct net *net, int first, int count)
{
    struct store_etcd options;
    struct store *store = NULL;
    const char *list[N];

    members_options(&members, 0, net->far_urls, &options);
    for (int i = 0; i < count; i++) {
        list[i] = urls[(first + i) % N];
    }
    options.endpoints = list;
    options.nendpoints = (size_t)count;
    options.root = net->root;
    options.attempt_ms = ATTEMPT_MS;
    options.deadline_ms = DEADLINE_MS;
    ok(store_open_etcd(&options, &store, &err));
    return store;
}

static int setup(void **state)
{
    struct net *net = sk_xcalloc(1, sizeof(*net));
    struct store_etcd options;

    all(PROXY_PASS);
    (void)snprintf(net->root, sizeof(net->root), "/c%d", roots++);
    members_options(&members, 0, net->far_urls, &options);
    options.root = net->root;
    options.deadline_ms = 10000;
    ok(store_open_etcd(&options, &net->direct, &err));
    net->arena = sk_arena_new();
    *state = net;
    return 0;
}

static int teardown(void **state)
{
    struct net *net = *state;

    store_close(net->direct);
    sk_arena_free(net->arena);
    free(net);
    return 0;
}

static const char *value_of(struct net *net, struct store *store, const char *key)
{
    struct store_record record;
    struct sk_err err = {0};
    int rc = store_get(store, sk_str(key), net->arena, &record, &err);

    if (rc < 0 && rc != SK_ERR_NOT_FOUND) {
        fail_msg("get '%s': %s", key, err.msg);
    }
    return rc < 0 ? "" : record.value.ptr;
}

static int try_put(struct store *store, const char *key, const char *value,
                   struct store_revision *ret)
{
    struct store_op op = {STORE_PUT, sk_str(key), sk_str(value)};
    struct store_txn txn = {.expect_number = -1, .ops = &op, .nops = 1};
    return store_txn(store, &txn, ret, NULL);
}

static void wait_for_answers(int i, int64_t before)
{
    int64_t end = sys_now_ms() + 5000;

    while (proxy_to_clients(proxies[i]) <= before) {
        assert_true(sys_now_ms() < end);
        (void)usleep(5000);
    }
    (void)usleep(50000);
}

/* --- txns ------------------------------------------------------------------------------------ */

/* The txn takes place, its answer is lost: another member tells, and it is not done again. */
static void a_lost_answer_is_found(void **state)
{
    struct net *net = *state;
    struct store *store = open_by(net, 0, N);
    struct store_revision rev = {0};
    struct store_record record;
    int64_t before;
    int64_t sent;

    (void)put(store, "warm", "1");
    before = now(net->direct).number;
    sent = proxy_from_clients(proxies[0]);
    proxy_set(proxies[0], PROXY_MUTE);
    assert_int_equal(try_put(store, "x", "1", &rev), 0);
    assert_true(proxy_from_clients(proxies[0]) > sent);
    assert_int_equal(now(net->direct).number, before + 1);
    assert_int_equal(rev.number, before + 1);
    ok(store_get(net->direct, SK_STR("x"), net->arena, &record, &err));
    assert_int_equal(record.mod_rev, rev.number);
    assert_int_equal(record.create_rev, rev.number);
    store_close(store);
}

/* The first copy comes late, after the second was acknowledged and another has written since. */
static void a_late_copy_has_no_effect(void **state)
{
    struct net *net = *state;
    struct store *store = open_by(net, 0, N);
    int64_t number;
    int64_t answered;

    (void)put(store, "x", "0");
    proxy_set(proxies[0], PROXY_HOLD);
    assert_int_equal(try_put(store, "x", "1", NULL), 0);
    (void)put(net->direct, "x", "2");
    number = now(net->direct).number;
    answered = proxy_to_clients(proxies[0]);
    proxy_set(proxies[0], PROXY_PASS);
    wait_for_answers(0, answered); /* it arrived, and was answered to nobody */
    assert_string_equal(value_of(net, net->direct, "x"), "2");
    assert_int_equal(now(net->direct).number, number);
    store_close(store);
}

/* No copy was answered; the next read settles it, and what it says stays so. */
static void what_the_next_read_tells_stays_true(void **state)
{
    struct net *net = *state;
    struct store *store = open_by(net, 0, 2);
    int64_t start;
    int64_t answered;

    (void)put(store, "warm", "1");
    proxy_set(proxies[1], PROXY_CUT);
    proxy_set(proxies[0], PROXY_HOLD);
    start = sys_now_ms();
    assert_int_equal(try_put(store, "y", "late", NULL), SK_ERR_TIMEOUT);
    assert_in_range(sys_now_ms() - start, ATTEMPT_MS, DEADLINE_MS + SLACK_MS);
    /* while nothing can be known, a read says no either */
    {
        struct store_record record;
        fails(SK_ERR_UNAVAILABLE, store_get(store, SK_STR("y"), net->arena, &record, &err));
    }
    proxy_set(proxies[1], PROXY_PASS);
    assert_string_equal(value_of(net, store, "y"), "");
    answered = proxy_to_clients(proxies[0]);
    proxy_set(proxies[0], PROXY_PASS);
    wait_for_answers(0, answered);
    assert_string_equal(value_of(net, net->direct, "y"), "");
    assert_string_equal(value_of(net, store, "y"), "");
    (void)put(store, "y", "now");
    assert_string_equal(value_of(net, net->direct, "y"), "now");
    store_close(store);
}

/* The same, but it had taken place. */
static void the_next_read_finds_what_was_done(void **state)
{
    struct net *net = *state;
    struct store *store = open_by(net, 0, 2);
    int64_t number;

    (void)put(store, "warm", "1");
    number = now(net->direct).number;
    proxy_set(proxies[1], PROXY_CUT);
    proxy_set(proxies[0], PROXY_MUTE);
    assert_int_equal(try_put(store, "y", "done", NULL), SK_ERR_TIMEOUT);
    all(PROXY_PASS);
    assert_string_equal(value_of(net, store, "y"), "done");
    assert_int_equal(now(net->direct).number, number + 1);
    (void)put(store, "y", "again");
    assert_string_equal(value_of(net, net->direct, "y"), "again");
    store_close(store);
}

/* A refusal is final too: the late copy would find its compare true again. */
static void a_conflict_stays_one(void **state)
{
    struct net *net = *state;
    struct store *store = open_by(net, 0, N);
    int64_t answered;

    (void)put(store, "warm", "1");
    (void)put(net->direct, "z", "theirs");
    proxy_set(proxies[0], PROXY_HOLD);
    assert_int_equal(put_if(store, "z", 0, "ours", NULL), SK_ERR_CONFLICT);
    (void)del(net->direct, "z");
    answered = proxy_to_clients(proxies[0]);
    proxy_set(proxies[0], PROXY_PASS);
    wait_for_answers(0, answered);
    assert_string_equal(value_of(net, net->direct, "z"), "");
    store_close(store);
}

/* --- time ------------------------------------------------------------------------------------ */

static void in_time(struct net *net, struct store *store)
{
    struct store_revision rev = {0};
    struct store_record record;
    struct store_changes changes;
    struct store_list list;
    int64_t start = sys_now_ms();

    assert_true(store_get(store, SK_STR("a"), net->arena, &record, NULL) < 0);
    assert_in_range(sys_now_ms() - start, 0, DEADLINE_MS + SLACK_MS);
    start = sys_now_ms();
    assert_true(store_list(store, SK_STR(""), 0, &list, NULL) < 0);
    assert_in_range(sys_now_ms() - start, 0, DEADLINE_MS + SLACK_MS);
    rev = now(net->direct);
    start = sys_now_ms();
    assert_true(store_watch(store, SK_STR(""), &rev, 200, &changes, NULL) < 0);
    assert_in_range(sys_now_ms() - start, 0, 200 + DEADLINE_MS + SLACK_MS);
    start = sys_now_ms();
    assert_true(try_put(store, "a", "1", NULL) < 0);
    assert_in_range(sys_now_ms() - start, 0, DEADLINE_MS + SLACK_MS);
}

static void no_call_overruns_its_time(void **state)
{
    struct net *net = *state;
    struct store *store = open_by(net, 0, N);

    (void)put(store, "a", "1");
    all(PROXY_FREEZE);
    in_time(net, store);
    all(PROXY_PASS);
    assert_string_equal(value_of(net, store, "a"), "1");
    store_close(store);
}

/* A member that is cut off from the others answers after 7 s that it cannot; nobody waits for it.
 */
static void a_minority_is_left(void **state)
{
    struct net *net = *state;
    struct store *store = open_by(net, 0, N);
    int64_t start;
    int64_t sent;

    (void)put(store, "a", "1");
    proxy_set(proxies[0], PROXY_FREEZE);
    start = sys_now_ms();
    assert_string_equal(value_of(net, store, "a"), "1");
    assert_in_range(sys_now_ms() - start, ATTEMPT_MS, DEADLINE_MS + SLACK_MS);
    (void)usleep(100000); /* its farewell to the silent one */
    sent = proxy_from_clients(proxies[0]);
    assert_string_equal(value_of(net, store, "a"), "1"); /* stays with the member that answers */
    assert_int_equal(proxy_from_clients(proxies[0]), sent);
    store_close(store);
}

/* --- watches --------------------------------------------------------------------------------- */

/* Takes changes until `last` has come; they must be exactly those after *at, in order. */
static void follow_to(struct store *store, struct store_revision *at, int64_t last,
                      int64_t bound_ms)
{
    int64_t end = sys_now_ms() + bound_ms;
    int64_t next = at->number + 1;

    while (at->number < last) {
        struct store_changes changes;
        if (store_watch(store, SK_STR(""), at, 300, &changes, NULL) < 0) {
            assert_true(sys_now_ms() < end);
            continue;
        }
        for (size_t i = 0; i < changes.count; i++) {
            assert_int_equal(changes.changes[i].kind, STORE_CHANGED);
            assert_int_equal(changes.changes[i].record.mod_rev, next);
            next++;
        }
        *at = changes.revision;
        assert_int_equal(at->number, next - 1);
        store_changes_release(&changes);
        assert_true(sys_now_ms() < end);
    }
}

static void a_watch_leaves_a_silent_member(void **state)
{
    struct net *net = *state;
    struct store *store = open_by(net, 0, N);
    struct store_revision at = now(store);

    (void)put(net->direct, "a", "0");
    follow_to(store, &at, 1, 5000);
    proxy_set(proxies[0], PROXY_FREEZE);
    for (int i = 0; i < 20; i++) {
        (void)put(net->direct, "a", "1");
    }
    follow_to(store, &at, 21, 1000 + 3 * ATTEMPT_MS + DEADLINE_MS + SLACK_MS);
    store_close(store);
}

struct writing {
    struct store *store;
    _Atomic bool stop;
    int64_t written;
};

static void *write_on(void *arg)
{
    struct writing *w = arg;

    while (!atomic_load(&w->stop)) {
        w->written = put(w->store, "a", "v");
        (void)usleep(2000);
    }
    return NULL;
}

/* The connection dies again and again in the middle of the stream. */
static void a_watch_goes_on_without_a_gap(void **state)
{
    struct net *net = *state;
    struct store *store = open_by(net, 0, N);
    struct store_revision at = now(store);
    struct writing w = {.store = net->direct};
    pthread_t thread;
    int64_t start = at.number;

    assert_int_equal(pthread_create(&thread, NULL, write_on, &w), 0);
    for (int i = 0; i < 6; i++) {
        follow_to(store, &at, at.number + 5, 10000);
        proxy_set(proxies[i % N], i % 2 ? PROXY_CUT : PROXY_FREEZE);
        follow_to(store, &at, at.number + 5, 10000);
        proxy_set(proxies[i % N], PROXY_PASS);
    }
    atomic_store(&w.stop, true);
    assert_int_equal(pthread_join(thread, NULL), 0);
    follow_to(store, &at, w.written, 10000);
    assert_int_equal(at.number, w.written);
    assert_true(at.number - start >= 60);
    store_close(store);
}

static void a_watch_says_what_it_missed(void **state)
{
    struct net *net = *state;
    struct store *store = open_by(net, 0, N);
    struct store_revision at = now(store);
    struct store_changes changes;
    struct store_list list;

    (void)put(net->direct, "a", "0");
    follow_to(store, &at, 1, 5000);
    all(PROXY_CUT);
    for (int i = 0; i < 10; i++) {
        (void)put(net->direct, "a", "1");
    }
    ok(store_compact(net->direct, 10, &err));
    all(PROXY_PASS);
    ok(store_watch(store, SK_STR(""), &at, 1000, &changes, &err));
    assert_int_equal(changes.count, 1);
    assert_int_equal(changes.changes[0].kind, STORE_LOST);
    store_changes_release(&changes);
    ok(store_list(store, SK_STR(""), 0, &list, &err));
    at = list.revision;
    assert_int_equal(at.number, 11);
    store_list_release(&list);
    (void)put(net->direct, "a", "2");
    follow_to(store, &at, 12, 5000);
    store_close(store);
}

/* --- who may --------------------------------------------------------------------------------- */

static void strangers_are_refused_both_ways(void **state)
{
    struct net *net = *state;
    struct store_etcd options;
    struct store *store = NULL;
    const char *plain = "http://127.0.0.1:2379";
    const char *list[MEMBERS_MAX];

    members_options(&members, 0, list, &options);
    options.root = net->root;
    options.attempt_ms = ATTEMPT_MS;
    options.deadline_ms = DEADLINE_MS;
    ok(store_open_etcd(&options, &store, &err));
    store_close(store);
    options.ca_file = members.stranger_ca; /* the members are not whom we believe */
    fails(SK_ERR_UNAVAILABLE, store_open_etcd(&options, &store, &err));
    options.ca_file = members.ca;
    options.cert_file = members.stranger_cert; /* they do not believe us */
    options.key_file = members.stranger_key;
    fails(SK_ERR_UNAVAILABLE, store_open_etcd(&options, &store, &err));
    options.cert_file = members.cert;
    options.key_file = members.key;
    list[0] = plain;
    fails(SK_ERR_INPUT, store_open_etcd(&options, &store, &err));
    members_options(&members, 0, list, &options);
    options.cert_file = NULL;
    fails(SK_ERR_INPUT, store_open_etcd(&options, &store, &err));
}

#define CUT_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    static const struct CMUnitTest tests[] = {
        CUT_TEST(a_lost_answer_is_found),
        CUT_TEST(a_late_copy_has_no_effect),
        CUT_TEST(what_the_next_read_tells_stays_true),
        CUT_TEST(the_next_read_finds_what_was_done),
        CUT_TEST(a_conflict_stays_one),
        CUT_TEST(no_call_overruns_its_time),
        CUT_TEST(a_minority_is_left),
        CUT_TEST(a_watch_leaves_a_silent_member),
        CUT_TEST(a_watch_goes_on_without_a_gap),
        CUT_TEST(a_watch_says_what_it_missed),
        CUT_TEST(strangers_are_refused_both_ways),
    };
    int failed;

    if (!members_can_run()) {
        return 77;
    }
    members_start(&members, N);
    for (int i = 0; i < N; i++) {
        proxies[i] = proxy_new(members.member[i].client_port);
        (void)snprintf(urls[i], sizeof(urls[i]), "https://127.0.0.1:%d", proxy_port(proxies[i]));
    }
    failed = cmocka_run_group_tests(tests, NULL, NULL);
    for (int i = 0; i < N; i++) {
        proxy_free(proxies[i]);
    }
    members_stop(&members);
    return failed;
}
