/* SPDX-License-Identifier: Apache-2.0 */
/* Watches: order, resuming, waiting, history that is gone. */
#include <pthread.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "store_suite.h"

static int64_t clock_ms(void)
{
    struct timespec ts;
    (void)clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

static void changes_come_in_order(void **state)
{
    struct world *w = *state;
    struct store_revision start = now(w->store);
    struct store_changes changes;
    struct store_op ops[] = {{STORE_PUT, SK_STR("p/c"), SK_STR("3")},
                             {STORE_DELETE, SK_STR("p/a"), SK_STR_NULL}};
    struct store_txn txn = {.expect_number = -1, .ops = ops, .nops = 2};

    (void)put(w->store, "p/a", "1");
    (void)put(w->store, "other", "x");
    (void)put(w->store, "p/a", "2");
    ok(store_txn(w->store, &txn, NULL, &err));
    ok(store_watch(w->store, SK_STR("p/"), &start, 0, &changes, &err));
    assert_int_equal(changes.count, 4);
    assert_int_equal(changes.revision.number, 4);
    assert_int_equal(changes.changes[0].kind, STORE_CHANGED);
    assert_string_equal(changes.changes[0].record.key.ptr, "p/a");
    assert_string_equal(changes.changes[0].record.value.ptr, "1"); /* what it was then */
    assert_int_equal(changes.changes[0].record.mod_rev, 1);
    assert_string_equal(changes.changes[1].record.value.ptr, "2");
    assert_int_equal(changes.changes[1].record.create_rev, 1);
    assert_int_equal(changes.changes[1].record.mod_rev, 3);
    assert_string_equal(changes.changes[2].record.key.ptr, "p/c");
    assert_int_equal(changes.changes[2].record.mod_rev, 4);
    assert_int_equal(changes.changes[3].kind, STORE_DELETED);
    assert_string_equal(changes.changes[3].record.key.ptr, "p/a");
    assert_int_equal(changes.changes[3].record.mod_rev, 4);
    assert_int_equal(changes.changes[3].record.value.len, 0);
    store_changes_release(&changes);
}

static void a_watch_resumes(void **state)
{
    struct world *w = *state;
    struct store_revision at = now(w->store);
    struct store_changes changes;

    ok(store_watch(w->store, SK_STR(""), &at, 0, &changes, &err));
    assert_int_equal(changes.count, 0);
    assert_int_equal(changes.revision.number, 0);
    store_changes_release(&changes);
    for (int i = 1; i <= 20; i++) {
        char value[16];
        (void)snprintf(value, sizeof(value), "%d", i);
        (void)put(w->store, i % 2 ? "odd" : "even", value);
        ok(store_watch(w->store, SK_STR("odd"), &at, 0, &changes, &err));
        assert_int_equal(changes.count, i % 2);
        assert_int_equal(changes.revision.number, i); /* what was looked at, changed or not */
        at = changes.revision;
        store_changes_release(&changes);
    }
    ok(store_watch(w->store, SK_STR(""), &at, 0, &changes, &err));
    assert_int_equal(changes.count, 0);
    store_changes_release(&changes);
}

/* However an answer is cut, every change comes once and no revision is torn. */
static void many_changes_come_in_pieces(void **state)
{
    struct world *w = *state;
    struct store_revision at = now(w->store);
    int64_t last = 0;
    size_t total = 0;
    char keys[20][8];
    struct store_op ops[20];
    struct store_txn txn = {.expect_number = -1, .ops = ops, .nops = 20};

    for (size_t i = 0; i < 20; i++) {
        (void)snprintf(keys[i], sizeof(keys[i]), "k%02zu", i);
        ops[i] = (struct store_op){STORE_PUT, sk_str(keys[i]), SK_STR("v")};
    }
    for (int i = 0; i < 150; i++) {
        ok(store_txn(w->store, &txn, NULL, &err));
    }
    while (at.number < 150) {
        struct store_changes changes;
        ok(store_watch(w->store, SK_STR(""), &at, 0, &changes, &err));
        assert_true(changes.count > 0);
        assert_int_equal(changes.count % 20, 0);
        for (size_t i = 0; i < changes.count; i++) {
            int64_t rev = changes.changes[i].record.mod_rev;
            assert_int_equal(rev, last + (i % 20 == 0));
            assert_string_equal(changes.changes[i].record.key.ptr, keys[i % 20]);
            last = rev;
        }
        total += changes.count;
        assert_int_equal(changes.revision.number, last);
        at = changes.revision;
        store_changes_release(&changes);
    }
    assert_int_equal(total, 3000);
}

static void is_lost(struct store *store, const struct store_revision *at, bool lost)
{
    struct store_changes changes;
    struct store_revision newest = now(store);

    ok(store_watch(store, SK_STR(""), at, 0, &changes, &err));
    if (lost) {
        assert_int_equal(changes.count, 1);
        assert_int_equal(changes.changes[0].kind, STORE_LOST);
    } else {
        for (size_t i = 0; i < changes.count; i++) {
            assert_int_not_equal(changes.changes[i].kind, STORE_LOST);
        }
        assert_int_equal(changes.count, newest.number - at->number);
    }
    assert_string_equal(changes.revision.id, newest.id);
    assert_int_equal(changes.revision.number, newest.number);
    store_changes_release(&changes);
}

static void compacted_history_is_lost(void **state)
{
    struct world *w = *state;
    struct store_revision at = now(w->store);

    for (int i = 0; i < 10; i++) {
        (void)put(w->store, "a", "v");
    }
    is_lost(w->store, &at, false);
    ok(store_compact(w->store, 5, &err));
    is_lost(w->store, &at, true);
    at.number = 3;
    is_lost(w->store, &at, true);
    at.number = 4; /* needs revision 5 and later: they are kept */
    is_lost(w->store, &at, false);
    at.number = 10;
    is_lost(w->store, &at, false);
    ok(store_compact(w->store, 2, &err)); /* backwards: nothing to do */
    at.number = 4;
    is_lost(w->store, &at, false);
    fails(SK_ERR_INPUT, store_compact(w->store, 11, &err));
    assert_string_equal(get(w, w->store, "a"), "v"); /* the records stay */
    ok(store_compact(w->store, 10, &err));
    at.number = 9;
    is_lost(w->store, &at, false);
}

static void another_store_is_lost(void **state)
{
    struct world *w = *state;
    struct store_revision at = now(w->store);
    char folder[] = "/tmp/skerry-test-XXXXXX";
    char path[64];

    (void)put(w->store, "a", "1");
    at.number = 2; /* from the future */
    is_lost(w->store, &at, true);
    at.number = 1;
    is_lost(w->store, &at, false);
    memcpy(at.id, "00000000000000000000000000000000", 33);
    is_lost(w->store, &at, true);
    at = now(w->store);
    assert_non_null(mkdtemp(folder));
    (void)snprintf(path, sizeof(path), "%s/snap", folder);
    ok(store_snapshot(w->store, path, &err));
    ok(store_restore(w->store, path, &err));
    is_lost(w->store, &at, true);
    at = now(w->store);
    is_lost(w->store, &at, false);
    (void)unlink(path);
    (void)rmdir(folder);
}

static void waits_as_long_as_asked(void **state)
{
    struct world *w = *state;
    struct store_revision at = now(w->store);
    struct store_changes changes;
    int64_t start = clock_ms();
    int64_t took;

    ok(store_watch(w->store, SK_STR(""), &at, 120, &changes, &err));
    took = clock_ms() - start;
    assert_int_equal(changes.count, 0);
    assert_in_range(took, 110, 5000);
    store_changes_release(&changes);
}

struct writer {
    struct store *store;
    int64_t wrote_at;
};

static void *write_later(void *arg)
{
    struct writer *writer = arg;

    (void)usleep(50000);
    (void)put(writer->store, "other", "x"); /* does not end the watch */
    (void)usleep(50000);
    writer->wrote_at = clock_ms();
    (void)put(writer->store, "p/a", "1");
    return NULL;
}

static void wakes_when_something_comes(void **state)
{
    struct world *w = *state;
    struct writer writer = {.store = world_open(w)};
    struct store_revision at = now(w->store);
    struct store_changes changes;
    pthread_t thread;
    int64_t woke_at;

    assert_int_equal(pthread_create(&thread, NULL, write_later, &writer), 0);
    ok(store_watch(w->store, SK_STR("p/"), &at, 10000, &changes, &err));
    woke_at = clock_ms();
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(changes.count, 1);
    assert_string_equal(changes.changes[0].record.key.ptr, "p/a");
    assert_int_equal(changes.revision.number, 2);
    assert_in_range(woke_at - writer.wrote_at, 0, 2000);
    store_changes_release(&changes);
    store_close(writer.store);
}

const struct CMUnitTest suite_watch[] = {
    SUITE_TEST(changes_come_in_order),       SUITE_TEST(a_watch_resumes),
    SUITE_TEST(many_changes_come_in_pieces), SUITE_TEST(compacted_history_is_lost),
    SUITE_TEST(another_store_is_lost),       SUITE_TEST(waits_as_long_as_asked),
    SUITE_TEST(wakes_when_something_comes),
};
const size_t suite_watch_count = SK_ARRAY_LEN(suite_watch);
