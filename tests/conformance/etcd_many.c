/* SPDX-License-Identifier: Apache-2.0 */
/* The etcd form with many records: pages, large values, snapshots that move between the forms, and
 * restores that are cut off. */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <unistd.h>

#include "etcd_members.h"
#include "etcd_proxy.h"
#include "store_suite.h"
#include "sys/clock.h"

#define RECORDS 3000
#define PER_TXN 500
#define LARGE 12
#define CUTS 4

static struct members members;
static struct proxy *proxy;
static char folder[] = "/tmp/skerry-test-XXXXXX";
static char snapshot[64];
static int roots;

static struct store *open_root(const char *root, const char *url)
{
    struct store_etcd options;
    const char *urls[MEMBERS_MAX];
    struct store *store = NULL;

    members_options(&members, 0, urls, &options);
    if (url) {
        urls[0] = url;
    }
    options.root = root;
    options.attempt_ms = url ? 300 : 5000;
    options.deadline_ms = url ? 600 : 10000;
    ok(store_open_etcd(&options, &store, &err));
    return store;
}

static struct store *open_new(char ret_root[16])
{
    (void)snprintf(ret_root, 16, "/m%d", roots++);
    return open_root(ret_root, NULL);
}

static void fill(struct store *store, const char *value)
{
    static char keys[PER_TXN][16];
    struct store_op ops[PER_TXN];
    struct store_txn txn = {.expect_number = -1, .ops = ops, .nops = PER_TXN};

    for (int from = 0; from < RECORDS; from += PER_TXN) {
        for (int i = 0; i < PER_TXN; i++) {
            (void)snprintf(keys[i], sizeof(keys[i]), "k/%06d", from + i);
            ops[i] = (struct store_op){STORE_PUT, sk_str(keys[i]), sk_str(value)};
        }
        ok(store_txn(store, &txn, NULL, &err));
    }
}

/* All records, all alike: which value they have. */
static char value_of_all(struct store *store, struct store_revision *ret_rev)
{
    struct store_list list;
    char value;

    ok(store_list(store, SK_STR("k/"), 0, &list, &err));
    assert_int_equal(list.count, RECORDS);
    value = list.records[0].value.ptr[0];
    for (size_t i = 0; i < list.count; i++) {
        char key[32];
        (void)snprintf(key, sizeof(key), "k/%06zu", i);
        assert_string_equal(list.records[i].key.ptr, key);
        assert_int_equal(list.records[i].value.ptr[0], value);
        assert_in_range(list.records[i].mod_rev, 1, list.revision.number);
    }
    *ret_rev = list.revision;
    store_list_release(&list);
    return value;
}

struct writing {
    struct store *store;
    _Atomic bool stop;
};

/* The first and the last record always change together. */
static void *write_ends(void *arg)
{
    struct writing *w = arg;

    for (int i = 0; !atomic_load(&w->stop); i++) {
        char text[16];
        struct store_op ops[] = {{STORE_PUT, SK_STR("k/000000"), SK_STR_NULL},
                                 {STORE_PUT, SK_STR("k/002999"), SK_STR_NULL}};
        struct store_txn txn = {.expect_number = -1, .ops = ops, .nops = 2};
        (void)snprintf(text, sizeof(text), "%d", i);
        ops[0].value = ops[1].value = sk_str(text);
        ok(store_txn(w->store, &txn, NULL, &err));
    }
    return NULL;
}

static void a_long_list_is_one_revision(void **state)
{
    char root[16];
    struct store *store = open_new(root);
    struct writing w = {.store = open_root(root, NULL)};
    pthread_t thread;
    int64_t first = 0;
    int64_t last = 0;

    fill(store, "1");
    assert_int_equal(pthread_create(&thread, NULL, write_ends, &w), 0);
    for (int i = 0; i < 8; i++) {
        struct store_list list;
        ok(store_list(store, SK_STR("k/"), 0, &list, &err));
        assert_int_equal(list.count, RECORDS);
        assert_string_equal(list.records[0].value.ptr, list.records[RECORDS - 1].value.ptr);
        last = list.revision.number;
        first = first ? first : last;
        store_list_release(&list);
        ok(store_list(store, SK_STR("k/"), 700, &list, &err));
        assert_int_equal(list.count, 700);
        store_list_release(&list);
    }
    assert_true(last > first); /* somebody did write meanwhile */
    atomic_store(&w.stop, true);
    assert_int_equal(pthread_join(thread, NULL), 0);
    store_close(w.store);
    store_close(store);
}

static void large_values_come_in_pages(void **state)
{
    char root[16];
    struct store *store = open_new(root);
    sk_autofree char *value = sk_xmalloc(STORE_VALUE_BYTES_MAX);
    struct store_list list;

    memset(value, 'v', STORE_VALUE_BYTES_MAX);
    for (int i = 0; i < LARGE; i++) {
        char key[16];
        struct store_op op = {STORE_PUT, SK_STR_NULL, {value, STORE_VALUE_BYTES_MAX}};
        struct store_txn txn = {.expect_number = -1, .ops = &op, .nops = 1};
        (void)snprintf(key, sizeof(key), "big/%02d", i);
        op.key = sk_str(key);
        ok(store_txn(store, &txn, NULL, &err));
    }
    ok(store_list(store, SK_STR("big/"), 0, &list, &err));
    assert_int_equal(list.count, LARGE);
    for (size_t i = 0; i < list.count; i++) {
        assert_int_equal(list.records[i].value.len, STORE_VALUE_BYTES_MAX);
        assert_memory_equal(list.records[i].value.ptr, value, STORE_VALUE_BYTES_MAX);
    }
    store_list_release(&list);
    store_close(store);
}

/* What one form wrote, the other restores: how a state moves. */
static void a_snapshot_moves_between_the_forms(void **state)
{
    char root[16];
    struct store *etcd = open_new(root);
    struct store *sqlite = NULL;
    struct store_revision before;
    struct store_revision after;

    ok(store_open_sqlite(folder, &sqlite, &err));
    fill(sqlite, "s");
    before = now(sqlite);
    ok(store_snapshot(sqlite, snapshot, &err));
    (void)put(etcd, "left", "over");
    ok(store_restore(etcd, snapshot, &err));
    assert_int_equal(value_of_all(etcd, &after), 's');
    assert_true(after.number >= before.number); /* it never goes back */
    assert_string_not_equal(after.id, before.id);
    {
        struct store_list list;
        ok(store_list(etcd, SK_STR(""), 0, &list, &err));
        assert_int_equal(list.count, RECORDS);
        store_list_release(&list);
    }
    fill(etcd, "e");
    before = now(etcd);
    ok(store_snapshot(etcd, snapshot, &err));
    ok(store_restore(sqlite, snapshot, &err));
    assert_int_equal(value_of_all(sqlite, &after), 'e');
    assert_true(after.number >= before.number);
    (void)put(sqlite, "k/000000", "f");
    store_close(etcd);
    store_close(sqlite);
}

static void *cut_later(void *arg)
{
    (void)usleep((useconds_t)(30000 + 30000 * *(int *)arg));
    proxy_set(proxy, PROXY_CUT);
    return NULL;
}

/* However far it came: all of the old state or all of the new one. */
static void a_restore_that_is_cut_off_is_whole_or_nothing(void **state)
{
    char url[64];
    char root[16];
    struct store *direct = open_new(root);
    struct store_revision last;
    int failed = 0;

    (void)snprintf(url, sizeof(url), "https://127.0.0.1:%d", proxy_port(proxy));
    fill(direct, "1");
    ok(store_snapshot(direct, snapshot, &err));
    fill(direct, "2");
    (void)value_of_all(direct, &last);
    for (int i = 0; i < CUTS; i++) {
        struct store *store = open_root(root, url);
        struct store_revision rev;
        pthread_t thread;
        char value;
        int rc;
        assert_int_equal(pthread_create(&thread, NULL, cut_later, &i), 0);
        rc = store_restore(store, snapshot, NULL);
        assert_int_equal(pthread_join(thread, NULL), 0);
        (void)usleep(200000); /* what was on its way */
        value = value_of_all(direct, &rev);
        if (rc == 0) {
            assert_int_equal(value, '1');
        } else if (rc == SK_ERR_UNAVAILABLE) {
            assert_string_equal(rev.id, last.id);
        }
        assert_int_equal(strcmp(rev.id, last.id) == 0, value == '2');
        failed += rc < 0;
        proxy_set(proxy, PROXY_PASS);
        store_close(store);
        fill(direct, "2");
        (void)value_of_all(direct, &last);
    }
    assert_true(failed > 0);                   /* else nothing was cut off */
    ok(store_restore(direct, snapshot, &err)); /* over what the others left behind */
    assert_int_equal(value_of_all(direct, &last), '1');
    store_close(direct);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_long_list_is_one_revision),
        cmocka_unit_test(large_values_come_in_pages),
        cmocka_unit_test(a_snapshot_moves_between_the_forms),
        cmocka_unit_test(a_restore_that_is_cut_off_is_whole_or_nothing),
    };
    static const char *const names[] = {"state.db", "state.db-wal", "state.db-shm", "state.db-lock",
                                        "snap"};
    int failed;

    if (!members_can_run()) {
        return 77;
    }
    assert_non_null(mkdtemp(folder));
    (void)snprintf(snapshot, sizeof(snapshot), "%s/snap", folder);
    members_start(&members, 1);
    proxy = proxy_new(members.member[0].client_port);
    failed = cmocka_run_group_tests(tests, NULL, NULL);
    proxy_free(proxy);
    members_stop(&members);
    for (size_t i = 0; i < SK_ARRAY_LEN(names); i++) {
        char path[96];
        (void)snprintf(path, sizeof(path), "%s/%s", folder, names[i]);
        (void)unlink(path);
    }
    (void)rmdir(folder);
    return failed;
}
