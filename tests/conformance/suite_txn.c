/* SPDX-License-Identifier: Apache-2.0 */
/* Transactions, compares, revisions, lists, bounds, snapshots. */
#include <stdio.h>
#include <unistd.h>

#include "store_suite.h"

static void starts_empty(void **state)
{
    struct world *w = *state;
    struct store_revision rev = now(w->store);
    struct store_list list;

    assert_int_equal(rev.number, 0);
    assert_int_equal(strlen(rev.id), 32);
    assert_null(get(w, w->store, "a"));
    ok(store_list(w->store, SK_STR(""), 0, &list, &err));
    assert_int_equal(list.count, 0);
    assert_int_equal(list.revision.number, 0);
    store_list_release(&list);
}

static void keeps_what_was_put(void **state)
{
    struct world *w = *state;
    struct store_record record;

    assert_int_equal(put(w->store, "a", "{\"v\":1}"), 1);
    assert_int_equal(put(w->store, "a", "{\"v\":2}"), 2);
    assert_int_equal(put(w->store, "b", ""), 3);
    ok(store_get(w->store, SK_STR("a"), w->arena, &record, &err));
    assert_string_equal(record.key.ptr, "a");
    assert_string_equal(record.value.ptr, "{\"v\":2}");
    assert_int_equal(record.create_rev, 1);
    assert_int_equal(record.mod_rev, 2);
    ok(store_get(w->store, SK_STR("b"), w->arena, &record, &err));
    assert_int_equal(record.value.len, 0);
    /* the same value again is a write too */
    assert_int_equal(put(w->store, "b", ""), 4);
    assert_int_equal(now(w->store).number, 4);
}

static void deletes_and_makes_anew(void **state)
{
    struct world *w = *state;
    struct store_record record;

    (void)put(w->store, "a", "1");
    assert_int_equal(del(w->store, "a"), 2);
    assert_null(get(w, w->store, "a"));
    assert_int_equal(del(w->store, "a"), 2); /* nothing to delete, nothing written */
    assert_int_equal(now(w->store).number, 2);
    (void)put(w->store, "a", "2");
    ok(store_get(w->store, SK_STR("a"), w->arena, &record, &err));
    assert_int_equal(record.create_rev, 3);
}

static void a_txn_is_one_revision(void **state)
{
    struct world *w = *state;
    struct store_revision rev;
    struct store_op ops[] = {{STORE_PUT, SK_STR("a"), SK_STR("1")},
                             {STORE_PUT, SK_STR("b"), SK_STR("2")},
                             {STORE_DELETE, SK_STR("c"), SK_STR_NULL}};
    struct store_txn txn = {.expect_number = -1, .ops = ops, .nops = 3};
    struct store_record record;

    (void)put(w->store, "c", "0");
    ok(store_txn(w->store, &txn, &rev, &err));
    assert_int_equal(rev.number, 2);
    assert_string_equal(rev.id, now(w->store).id);
    ok(store_get(w->store, SK_STR("a"), w->arena, &record, &err));
    assert_int_equal(record.mod_rev, 2);
    ok(store_get(w->store, SK_STR("b"), w->arena, &record, &err));
    assert_int_equal(record.mod_rev, 2);
    assert_null(get(w, w->store, "c"));
    /* one without operations writes nothing and says where it is */
    txn.nops = 0;
    ok(store_txn(w->store, &txn, &rev, &err));
    assert_int_equal(rev.number, 2);
}

static void compares_decide(void **state)
{
    struct world *w = *state;

    ok(put_if(w->store, "a", 0, "1", &err)); /* must not exist */
    fails(SK_ERR_CONFLICT, put_if(w->store, "a", 0, "2", &err));
    ok(put_if(w->store, "a", 1, "2", &err));
    fails(SK_ERR_CONFLICT, put_if(w->store, "a", 1, "3", &err));
    fails(SK_ERR_CONFLICT, put_if(w->store, "none", 7, "3", &err));
    assert_string_equal(get(w, w->store, "a"), "2");
    assert_int_equal(now(w->store).number, 2);
    assert_int_equal(put_if(w->store, "a", 1, "3", NULL), SK_ERR_CONFLICT);
}

static void a_conflict_writes_nothing(void **state)
{
    struct world *w = *state;
    struct store_op ops[] = {{STORE_PUT, SK_STR("x"), SK_STR("1")},
                             {STORE_DELETE, SK_STR("a"), SK_STR_NULL}};
    struct store_compare compares[] = {{SK_STR("a"), 1}, {SK_STR("b"), 99}};
    struct store_txn txn = {
        .expect_number = -1, .compares = compares, .ncompares = 2, .ops = ops, .nops = 2};
    struct store_revision rev = {"untouched", 77};

    (void)put(w->store, "a", "1");
    (void)put(w->store, "b", "1");
    fails(SK_ERR_CONFLICT, store_txn(w->store, &txn, &rev, &err));
    assert_int_equal(rev.number, 77);
    assert_null(get(w, w->store, "x"));
    assert_string_equal(get(w, w->store, "a"), "1");
    assert_int_equal(now(w->store).number, 2);
    compares[1].mod_rev = 2;
    ok(store_txn(w->store, &txn, &rev, &err));
    assert_int_equal(rev.number, 3);
}

static void a_txn_may_expect_the_whole_state(void **state)
{
    struct world *w = *state;
    struct store_op op = {STORE_PUT, SK_STR("a"), SK_STR("1")};
    struct store_revision rev = now(w->store);
    struct store_txn txn = {.expect_id = rev.id, .expect_number = 0, .ops = &op, .nops = 1};

    ok(store_txn(w->store, &txn, NULL, &err));
    fails(SK_ERR_CONFLICT, store_txn(w->store, &txn, NULL, &err)); /* the number moved on */
    txn.expect_number = 1;
    ok(store_txn(w->store, &txn, NULL, &err));
    txn.expect_number = -1;
    txn.expect_id = "00000000000000000000000000000000";
    fails(SK_ERR_CONFLICT, store_txn(w->store, &txn, NULL, &err));
    assert_int_equal(now(w->store).number, 2);
}

static void lists_in_order_of_bytes(void **state)
{
    static const char *const keys[] = {"p/b",        "p/", "p",   "q",   "p/a/1",
                                       "p/\xc3\xa9", "p0", "p/B", "o/z", "p/a"};
    static const char *const sorted[] = {"p/", "p/B", "p/a", "p/a/1", "p/b", "p/\xc3\xa9"};
    struct world *w = *state;
    struct store_list list;

    for (size_t i = 0; i < SK_ARRAY_LEN(keys); i++) {
        (void)put(w->store, keys[i], keys[i]);
    }
    ok(store_list(w->store, SK_STR("p/"), 0, &list, &err));
    assert_int_equal(list.count, SK_ARRAY_LEN(sorted));
    assert_int_equal(list.revision.number, SK_ARRAY_LEN(keys));
    for (size_t i = 0; i < list.count; i++) {
        assert_string_equal(list.records[i].key.ptr, sorted[i]);
        assert_string_equal(list.records[i].value.ptr, sorted[i]);
        assert_int_equal(list.records[i].create_rev, list.records[i].mod_rev);
    }
    store_list_release(&list);
    ok(store_list(w->store, SK_STR("p/"), 2, &list, &err));
    assert_int_equal(list.count, 2);
    assert_string_equal(list.records[1].key.ptr, "p/B");
    store_list_release(&list);
    ok(store_list(w->store, SK_STR(""), 0, &list, &err));
    assert_int_equal(list.count, SK_ARRAY_LEN(keys));
    store_list_release(&list);
    ok(store_list(w->store, SK_STR("zzz"), 0, &list, &err));
    assert_int_equal(list.count, 0);
    store_list_release(&list);
    ok(store_list(w->store,
                  SK_STR("p/\xc3"
                         "\xa9"),
                  0, &list, &err));
    assert_int_equal(list.count, 1);
    store_list_release(&list);
}

static void put_sized(struct world *w, size_t key_len, size_t value_len, int expected)
{
    sk_autofree char *key = sk_xmalloc(key_len + 1);
    sk_autofree char *value = sk_xmalloc(value_len + 1);
    struct store_op op = {STORE_PUT, {key, key_len}, {value, value_len}};
    struct store_txn txn = {.expect_number = -1, .ops = &op, .nops = 1};
    struct store_record record;

    memset(key, 'k', key_len);
    memset(value, 'v', value_len);
    if (expected < 0) {
        fails(expected, store_txn(w->store, &txn, NULL, &err));
        return;
    }
    ok(store_txn(w->store, &txn, NULL, &err));
    ok(store_get(w->store, op.key, w->arena, &record, &err));
    assert_int_equal(record.value.len, value_len);
    assert_memory_equal(record.value.ptr, value, value_len);
}

static void bounds_hold(void **state)
{
    struct world *w = *state;
    struct store_record record;
    struct store_list list;

    put_sized(w, STORE_KEY_BYTES_MAX, STORE_VALUE_BYTES_MAX, 0);
    put_sized(w, STORE_KEY_BYTES_MAX + 1, 1, SK_ERR_LIMIT);
    put_sized(w, 1, STORE_VALUE_BYTES_MAX + 1, SK_ERR_LIMIT);
    put_sized(w, 0, 1, SK_ERR_INPUT);
    assert_int_equal(now(w->store).number, 1);
    fails(SK_ERR_INPUT, store_get(w->store, SK_STR("a\0b"), w->arena, &record, &err));
    fails(SK_ERR_INPUT, store_get(w->store, SK_STR("\xff"), w->arena, &record, &err));
    fails(SK_ERR_INPUT, store_get(w->store, SK_STR(""), w->arena, &record, &err));
    fails(SK_ERR_INPUT, store_list(w->store, SK_STR("\xff"), 0, &list, &err));
}

static void bounds_of_a_txn_hold(void **state)
{
    struct world *w = *state;
    struct store_op ops[STORE_TXN_OPS_MAX + 1];
    struct store_compare compares[STORE_TXN_OPS_MAX];
    struct store_txn txn = {.expect_number = -1,
                            .compares = compares,
                            .ncompares = STORE_TXN_OPS_MAX,
                            .ops = ops,
                            .nops = STORE_TXN_OPS_MAX};
    char keys[STORE_TXN_OPS_MAX + 1][16];

    for (size_t i = 0; i < SK_ARRAY_LEN(ops); i++) {
        (void)snprintf(keys[i], sizeof(keys[i]), "k%zu", i);
        ops[i] = (struct store_op){STORE_PUT, sk_str(keys[i]), SK_STR("v")};
        if (i < SK_ARRAY_LEN(compares)) {
            compares[i] = (struct store_compare){sk_str(keys[i]), 0};
        }
    }
    ok(store_txn(w->store, &txn, NULL, &err));
    txn.ncompares = 0;
    txn.nops++;
    fails(SK_ERR_LIMIT, store_txn(w->store, &txn, NULL, &err));
    /* the same key twice has no one meaning */
    txn.nops = 2;
    ops[1].key = ops[0].key;
    fails(SK_ERR_INPUT, store_txn(w->store, &txn, NULL, &err));
    ops[1].kind = STORE_DELETE;
    fails(SK_ERR_INPUT, store_txn(w->store, &txn, NULL, &err));
    assert_int_equal(now(w->store).number, 1);
}

static void values_are_any_text(void **state)
{
    struct world *w = *state;
    struct store_record record;
    static const char text[] =
        "{\"quote\":\"'\\\"\",\"\xe2\x82\xac\":\"\xf0\x9f\x98\x80\",\"n\":null}\n\t%s ?1";

    (void)put(w->store, "'; DROP TABLE records; --", text);
    ok(store_get(w->store, SK_STR("'; DROP TABLE records; --"), w->arena, &record, &err));
    assert_string_equal(record.value.ptr, text);
}

static void snapshot_and_restore(void **state)
{
    struct world *w = *state;
    struct store_revision before;
    struct store_revision after;
    char folder[] = "/tmp/skerry-test-XXXXXX";
    char path[64];

    assert_non_null(mkdtemp(folder));
    (void)snprintf(path, sizeof(path), "%s/snap", folder);
    (void)put(w->store, "a", "1");
    (void)put(w->store, "b", "1");
    ok(store_snapshot(w->store, path, &err));
    before = now(w->store);
    (void)put(w->store, "a", "2");
    (void)del(w->store, "b");
    (void)put(w->store, "c", "3");
    ok(store_restore(w->store, path, &err));
    after = now(w->store);
    assert_string_not_equal(after.id, before.id);
    assert_true(after.number >= before.number);
    assert_string_equal(get(w, w->store, "a"), "1");
    assert_string_equal(get(w, w->store, "b"), "1");
    assert_null(get(w, w->store, "c"));
    (void)put(w->store, "c", "4");
    assert_int_equal(now(w->store).number, after.number + 1);
    /* a snapshot replaces the older one */
    ok(store_snapshot(w->store, path, &err));
    (void)del(w->store, "c");
    ok(store_restore(w->store, path, &err));
    assert_string_equal(get(w, w->store, "c"), "4");
    assert_int_equal(unlink(path), 0);
    fails(SK_ERR_NOT_FOUND, store_restore(w->store, path, &err));
    assert_string_equal(get(w, w->store, "c"), "4");
    assert_int_equal(rmdir(folder), 0); /* nothing half made is left */
}

static void a_snapshot_needs_a_place(void **state)
{
    struct world *w = *state;
    fails(SK_ERR_IO, store_snapshot(w->store, "/nonexistent/folder/snap", &err));
    fails(SK_ERR_INPUT, store_restore(w->store, "/tmp", &err));
}

static void a_second_handle_sees_the_same(void **state)
{
    struct world *w = *state;
    struct store *other = world_open(w);

    (void)put(w->store, "a", "1");
    assert_string_equal(get(w, other, "a"), "1");
    assert_string_equal(now(other).id, now(w->store).id);
    ok(put_if(other, "a", 1, "2", &err));
    assert_string_equal(get(w, w->store, "a"), "2");
    fails(SK_ERR_CONFLICT, put_if(w->store, "a", 1, "3", &err));
    store_close(other);
    store_close(NULL);
    (void)put(w->store, "a", "4");
}

const struct CMUnitTest suite_txn[] = {
    SUITE_TEST(starts_empty),
    SUITE_TEST(keeps_what_was_put),
    SUITE_TEST(deletes_and_makes_anew),
    SUITE_TEST(a_txn_is_one_revision),
    SUITE_TEST(compares_decide),
    SUITE_TEST(a_conflict_writes_nothing),
    SUITE_TEST(a_txn_may_expect_the_whole_state),
    SUITE_TEST(lists_in_order_of_bytes),
    SUITE_TEST(bounds_hold),
    SUITE_TEST(bounds_of_a_txn_hold),
    SUITE_TEST(values_are_any_text),
    SUITE_TEST(snapshot_and_restore),
    SUITE_TEST(a_snapshot_needs_a_place),
    SUITE_TEST(a_second_handle_sees_the_same),
};
const size_t suite_txn_count = SK_ARRAY_LEN(suite_txn);
