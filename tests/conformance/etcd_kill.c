/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The etcd form over three real members that are killed and paused while three handles write and
 * read: what was acknowledged is there, what was not written is not, each txn counts once, reads
 * are linearizable. Then a majority stands still, and the bound on every call holds.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <unistd.h>

#include "etcd_members.h"
#include "store_suite.h"
#include "sys/clock.h"

#define N 3
#define ATTEMPT_MS 300
#define DEADLINE_MS 1500
#define SLACK_MS 1500 /* for a busy machine to run us; the bound itself is DEADLINE_MS */
#define FAULTS 4
#define OPS_MAX 20000
#define OPS_MIN 100 /* a run with less says nothing */

static struct members members;

static struct store *open_handle(const char *root, int first)
{
    const char *urls[MEMBERS_MAX];
    struct store_etcd options;
    struct store *store = NULL;

    members_options(&members, first, urls, &options);
    options.root = root;
    options.attempt_ms = ATTEMPT_MS;
    options.deadline_ms = DEADLINE_MS;
    ok(store_open_etcd(&options, &store, &err));
    return store;
}

/* --- writers --------------------------------------------------------------------------------- */

/* What everybody together knows for sure: the counter was at least this. */
static _Atomic int64_t acked;
static _Atomic bool stop;

struct writer {
    int number;
    struct store *store;
    bool done[OPS_MAX]; /* this writer holds that its i-th txn took place */
    int count;
    int timeouts, unavailable, slow;
    int64_t worst_ms;
    const char *broken;
};

static void raise_acked(int64_t value)
{
    int64_t seen = atomic_load(&acked);
    while (seen < value && !atomic_compare_exchange_weak(&acked, &seen, value)) {
    }
}

static void timed(struct writer *w, int64_t start)
{
    int64_t took = sys_now_ms() - start;

    w->worst_ms = took > w->worst_ms ? took : w->worst_ms;
    w->slow += took > ATTEMPT_MS / 2;
}

/* 0 and the counter, or the error. A read that began after an ack must see what was acknowledged.
 */
static int read_counter(struct writer *w, int64_t *ret_value, int64_t *ret_mod)
{
    struct sk_arena *arena = sk_arena_new();
    int64_t at_least = atomic_load(&acked);
    int64_t start = sys_now_ms();
    struct store_record record;
    int rc = store_get(w->store, SK_STR("counter"), arena, &record, NULL);

    timed(w, start);
    *ret_value = *ret_mod = 0;
    if (rc == 0) {
        *ret_value = strtoll(record.value.ptr, NULL, 10);
        *ret_mod = record.mod_rev;
    }
    if (rc == SK_ERR_NOT_FOUND) {
        rc = 0;
    }
    if (rc == 0 && *ret_value < at_least) {
        w->broken = "a read does not see what was acknowledged before it";
    }
    w->unavailable += rc < 0;
    sk_arena_free(arena);
    return rc;
}

static void op_key(const struct writer *w, int i, char ret[32])
{
    (void)snprintf(ret, 32, "op/%d/%06d", w->number, i);
}

/* One increment together with a key that only this txn writes. */
static int increment(struct writer *w, int64_t value, int64_t mod)
{
    struct store_compare compare = {SK_STR("counter"), mod};
    char text[24];
    char key[32];
    struct store_op ops[2];
    struct store_txn txn = {
        .expect_number = -1, .compares = &compare, .ncompares = 1, .ops = ops, .nops = 2};
    int64_t start = sys_now_ms();
    int rc;

    op_key(w, w->count, key);
    (void)snprintf(text, sizeof(text), "%lld", (long long)value + 1);
    ops[0] = (struct store_op){STORE_PUT, SK_STR("counter"), sk_str(text)};
    ops[1] = (struct store_op){STORE_PUT, sk_str(key), sk_str(text)};
    rc = store_txn(w->store, &txn, NULL, NULL);
    timed(w, start);
    if (rc == 0) {
        raise_acked(value + 1);
    }
    return rc;
}

/* The outcome is open: the next read that succeeds tells. */
static void find_out(struct writer *w)
{
    struct sk_arena *arena = sk_arena_new();
    struct store_record record;
    char key[32];
    int rc;

    op_key(w, w->count, key);
    do {
        int64_t start = sys_now_ms();
        rc = store_get(w->store, sk_str(key), arena, &record, NULL);
        timed(w, start);
    } while (rc < 0 && rc != SK_ERR_NOT_FOUND);
    w->done[w->count++] = rc == 0;
    sk_arena_free(arena);
}

static void *write_on(void *arg)
{
    struct writer *w = arg;

    while (!atomic_load(&stop) && w->count < OPS_MAX - 1) {
        int64_t value;
        int64_t mod;
        int rc;
        if (read_counter(w, &value, &mod) < 0) {
            continue;
        }
        rc = increment(w, value, mod);
        if (rc == SK_ERR_TIMEOUT) {
            w->timeouts++;
            find_out(w);
        } else if (rc == 0) {
            w->done[w->count++] = true;
        } else if (rc == SK_ERR_UNAVAILABLE) {
            w->done[w->count++] = false; /* nothing was changed, now or later */
            w->unavailable++;
        } else if (rc != SK_ERR_CONFLICT) {
            w->broken = "a txn fails in a way that it should not";
        }
        (void)usleep(1000);
    }
    return NULL;
}

/* --- the check ------------------------------------------------------------------------------- */

static void check_writers(struct writer *writers)
{
    struct store *store = open_handle("/kill", 0);
    struct sk_arena *arena = sk_arena_new();
    struct store_record record;
    int64_t last = 0;
    size_t total = 0;

    ok(store_get(store, SK_STR("counter"), arena, &record, &err));
    last = strtoll(record.value.ptr, NULL, 10);
    sk_autofree bool *seen = sk_xcalloc((size_t)last + 1, sizeof(*seen));
    for (int n = 0; n < N; n++) {
        struct writer *w = &writers[n];
        if (w->broken) {
            fail_msg("writer %d: %s", n, w->broken);
        }
        for (int i = 0; i < w->count; i++) {
            char key[32];
            int rc;
            op_key(w, i, key);
            rc = store_get(store, sk_str(key), arena, &record, NULL);
            assert_int_equal(rc, w->done[i] ? 0 : SK_ERR_NOT_FOUND);
            if (rc == 0) {
                int64_t value = strtoll(record.value.ptr, NULL, 10);
                assert_in_range(value, 1, last);
                assert_false(seen[value]); /* each number was given out once */
                seen[value] = true;
                total++;
            }
        }
        print_message("# writer %d: %d txns, %d open, %d without effect, %d slow, worst %lld ms\n",
                      n, w->count, w->timeouts, w->unavailable, w->slow, (long long)w->worst_ms);
        assert_in_range(w->worst_ms, 0, DEADLINE_MS + SLACK_MS);
    }
    assert_int_equal(total, last);
    assert_true(total >= OPS_MIN);
    sk_arena_free(arena);
    store_close(store);
}

/* kill -9 and SIGSTOP, each member in its turn, so the leader too. */
static void faults(void)
{
    for (int i = 0; i < FAULTS; i++) {
        (void)usleep(500000);
        if (i % 2) {
            member_pause(&members, i % N);
            (void)usleep(1000000);
            member_resume(&members, i % N);
        } else {
            member_kill(&members, i % N);
            (void)usleep(700000);
            member_start(&members, i % N);
        }
    }
    (void)usleep(500000);
}

static void killed_members_lose_nothing(void **state)
{
    struct writer *writers = sk_xcalloc(N, sizeof(*writers));
    pthread_t threads[N];
    int slow = 0;

    for (int n = 0; n < N; n++) {
        writers[n].number = n;
        writers[n].store = open_handle("/kill", n);
        assert_int_equal(pthread_create(&threads[n], NULL, write_on, &writers[n]), 0);
    }
    faults();
    atomic_store(&stop, true);
    for (int n = 0; n < N; n++) {
        assert_int_equal(pthread_join(threads[n], NULL), 0);
        store_close(writers[n].store);
        slow += writers[n].slow;
    }
    check_writers(writers);
    assert_true(slow >= FAULTS / 2); /* the faults were felt */
    free(writers);
}

/* Two of three stand still: the third says so after 7 s, which nobody waits for. */
static void a_majority_that_stands_still_costs_no_more_time(void **state)
{
    struct store *store = open_handle("/still", 0);
    struct sk_arena *arena = sk_arena_new();
    struct store_record record;
    struct store_op op = {STORE_PUT, SK_STR("a"), SK_STR("2")};
    struct store_txn txn = {.expect_number = -1, .ops = &op, .nops = 1};
    int64_t start;
    int rc;

    (void)put(store, "a", "1");
    member_pause(&members, 1);
    member_pause(&members, 2);
    start = sys_now_ms();
    assert_int_equal(store_get(store, SK_STR("a"), arena, &record, NULL), SK_ERR_UNAVAILABLE);
    assert_in_range(sys_now_ms() - start, DEADLINE_MS - 200, DEADLINE_MS + SLACK_MS);
    start = sys_now_ms();
    rc = store_txn(store, &txn, NULL, NULL);
    assert_int_equal(rc, SK_ERR_TIMEOUT);
    assert_in_range(sys_now_ms() - start, DEADLINE_MS - 200, DEADLINE_MS + SLACK_MS);
    member_resume(&members, 1);
    member_resume(&members, 2);
    start = sys_now_ms();
    while ((rc = store_get(store, SK_STR("a"), arena, &record, NULL)) < 0) {
        assert_int_equal(rc, SK_ERR_UNAVAILABLE);
        assert_in_range(sys_now_ms() - start, 0, 10000);
    }
    /* whichever it was: it stays, and the handle goes on */
    assert_true(sk_str_is(record.value, "1") || sk_str_is(record.value, "2"));
    (void)usleep(300000);
    {
        struct store *other = open_handle("/still", 2);
        struct store_record again;
        ok(store_get(other, SK_STR("a"), arena, &again, &err));
        assert_string_equal(again.value.ptr, record.value.ptr);
        store_close(other);
    }
    (void)put(store, "a", "3");
    sk_arena_free(arena);
    store_close(store);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(killed_members_lose_nothing),
        cmocka_unit_test(a_majority_that_stands_still_costs_no_more_time),
    };
    int failed;

    if (!members_can_run()) {
        return 77;
    }
    members_start(&members, N);
    failed = cmocka_run_group_tests(tests, NULL, NULL);
    members_stop(&members);
    return failed;
}
