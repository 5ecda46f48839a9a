/* SPDX-License-Identifier: Apache-2.0 */
/* Several handles at once, and writers that die. */
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/prng.h"
#include "store_suite.h"

#define INCREMENTS 60
#define KILLS 20

static int64_t read_counter(struct store *store, int64_t *ret_mod)
{
    struct sk_arena *arena = sk_arena_new();
    struct store_record record;
    int64_t value = 0;

    *ret_mod = 0;
    if (store_get(store, SK_STR("counter"), arena, &record, NULL) == 0) {
        value = strtoll(record.value.ptr, NULL, 10);
        *ret_mod = record.mod_rev;
    }
    sk_arena_free(arena);
    return value;
}

static void *increment(void *arg)
{
    struct store *store = arg;

    for (int i = 0; i < INCREMENTS;) {
        int64_t mod;
        char text[24];
        (void)snprintf(text, sizeof(text), "%lld", (long long)read_counter(store, &mod) + 1);
        if (put_if(store, "counter", mod, text, NULL) == 0) {
            i++;
        }
    }
    return NULL;
}

/* Compare and swap from two threads: no increment is lost, none counts twice. */
static void two_writers_lose_nothing(void **state)
{
    struct world *w = *state;
    struct store *other = world_open(w);
    pthread_t a;
    pthread_t b;

    assert_int_equal(pthread_create(&a, NULL, increment, w->store), 0);
    assert_int_equal(pthread_create(&b, NULL, increment, other), 0);
    assert_int_equal(pthread_join(a, NULL), 0);
    assert_int_equal(pthread_join(b, NULL), 0);
    assert_int_equal(strtoll(get(w, w->store, "counter"), NULL, 10), 2 * INCREMENTS);
    assert_int_equal(now(w->store).number, 2 * INCREMENTS);
    store_close(other);
}

static void write_pair(struct store *store, const char *text)
{
    struct store_op ops[] = {{STORE_PUT, SK_STR("x/a"), sk_str(text)},
                             {STORE_PUT, SK_STR("x/b"), sk_str(text)}};
    struct store_txn txn = {.expect_number = -1, .ops = ops, .nops = 2};
    ok(store_txn(store, &txn, NULL, &err));
}

static void *write_pairs(void *arg)
{
    struct store *store = arg;

    for (int i = 0; i < 100; i++) {
        char text[16];
        (void)snprintf(text, sizeof(text), "%d", i);
        write_pair(store, text);
    }
    return NULL;
}

/* A list is one revision: two keys that always change together are never seen apart. */
static void a_list_is_not_torn(void **state)
{
    struct world *w = *state;
    struct store *other = world_open(w);
    pthread_t thread;
    int64_t last = 0;

    write_pair(w->store, "first");
    assert_int_equal(pthread_create(&thread, NULL, write_pairs, other), 0);
    while (last < 101) {
        struct store_list list;
        ok(store_list(w->store, SK_STR("x/"), 0, &list, &err));
        assert_int_equal(list.count, 2);
        assert_string_equal(list.records[0].value.ptr, list.records[1].value.ptr);
        assert_int_equal(list.records[0].mod_rev, list.revision.number);
        assert_true(list.revision.number >= last);
        last = list.revision.number;
        store_list_release(&list);
    }
    assert_int_equal(pthread_join(thread, NULL), 0);
    store_close(other);
}

/* Writes pairs for ever; says each number on the pipe once it is acknowledged. */
static void writer_child(struct world *w, int first, int out)
{
    struct store *store = NULL;

    if (w->form->open(w->env, &store, NULL) < 0) {
        _exit(2);
    }
    for (int i = first;; i++) {
        char a[24];
        char b[24];
        char value[24];
        struct store_op ops[] = {{STORE_PUT, SK_STR_NULL, SK_STR_NULL},
                                 {STORE_PUT, SK_STR_NULL, SK_STR_NULL}};
        struct store_txn txn = {.expect_number = -1, .ops = ops, .nops = 2};
        (void)snprintf(a, sizeof(a), "a/%08d", i);
        (void)snprintf(b, sizeof(b), "b/%08d", i);
        (void)snprintf(value, sizeof(value), "%d", i);
        ops[0].key = sk_str(a);
        ops[1].key = sk_str(b);
        ops[0].value = ops[1].value = sk_str(value);
        if (store_txn(store, &txn, NULL, NULL) < 0) {
            _exit(3);
        }
        if (write(out, &i, sizeof(i)) != (ssize_t)sizeof(i)) {
            _exit(4);
        }
    }
}

/* Runs a writer for a moment and kills it; returns the last number that it had acknowledged. */
static int kill_a_writer(struct world *w, int first, useconds_t after_us)
{
    int fds[2];
    int last = first - 1;
    int number;
    int status;
    pid_t pid;

    assert_int_equal(pipe(fds), 0);
    pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        (void)close(fds[0]);
        writer_child(w, first, fds[1]);
    }
    (void)close(fds[1]);
    /* the clock runs from the first ack on: so each kill hits a writer that writes */
    while (read(fds[0], &number, sizeof(number)) == (ssize_t)sizeof(number)) {
        assert_int_equal(number, last + 1);
        if (last == first - 1) {
            (void)usleep(after_us);
            assert_int_equal(kill(pid, SIGKILL), 0);
        }
        last = number;
    }
    (void)close(fds[0]);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    return last;
}

/* Until nothing has changed for as long as a dead process's txn may be under way. */
static void wait_for_the_late(struct world *w, struct store *store)
{
    int64_t before;

    do {
        before = now(store).number;
        (void)usleep((useconds_t)w->form->late_ms * 1000);
    } while (now(store).number != before);
}

static int check_pairs(struct world *w, int acknowledged)
{
    struct store *store = world_open(w);
    struct store_list a;
    struct store_list b;
    int count;

    wait_for_the_late(w, store);
    ok(store_list(store, SK_STR("a/"), 0, &a, &err));
    ok(store_list(store, SK_STR("b/"), 0, &b, &err));
    assert_int_equal(a.count, b.count);
    count = (int)a.count;
    assert_in_range(count, acknowledged, acknowledged + 1); /* the last one may lack only its ack */
    for (int i = 0; i < count; i++) {
        assert_int_equal(strtoll(a.records[i].value.ptr, NULL, 10), i + 1);
        assert_string_equal(a.records[i].value.ptr, b.records[i].value.ptr);
        assert_int_equal(a.records[i].mod_rev, i + 1);
        assert_int_equal(b.records[i].mod_rev, i + 1);
    }
    assert_int_equal(now(store).number, count);
    store_list_release(&a);
    store_list_release(&b);
    store_close(store);
    return count;
}

static void a_killed_writer_loses_nothing(void **state)
{
    struct world *w = *state;
    struct sk_prng prng;
    int count = 0;

    store_close(w->store); /* no handle may cross a fork */
    w->store = NULL;
    sk_prng_seed(&prng, 20);
    for (int i = 0; i < KILLS; i++) {
        int last = kill_a_writer(w, count + 1, (useconds_t)sk_prng_below(&prng, 15000));
        count = check_pairs(w, last);
    }
    assert_true(count >= KILLS);
}

const struct CMUnitTest suite_many[] = {
    SUITE_TEST(two_writers_lose_nothing),
    SUITE_TEST(a_list_is_not_torn),
    SUITE_TEST(a_killed_writer_loses_nothing),
};
const size_t suite_many_count = SK_ARRAY_LEN(suite_many);
