/* SPDX-License-Identifier: Apache-2.0 */
/* Health, space, alarms, membership and snapshots of real members. */
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "etcd_members.h"
#include "store/etcd_admin.h"
#include "store_suite.h"
#include "sys/clock.h"

#define N 3

static struct members members;
static struct store_etcd_admin *admin;

static void every_member_says_how_it_is(void **state)
{
    struct store_etcd_status status[N];

    for (size_t i = 0; i < N; i++) {
        ok(store_etcd_status(admin, i, &status[i], &err));
        assert_true(status[i].member[0] && status[i].leader[0]);
        assert_string_equal(status[i].leader, status[0].leader);
        assert_true(status[i].db_bytes >= status[i].db_bytes_used && status[i].db_bytes > 0);
        assert_true(status[i].raft_term > 0 && status[i].raft_index >= status[i].raft_applied);
        assert_true(status[i].version[0] == '3' && !status[i].learner);
    }
    assert_string_not_equal(status[0].member, status[1].member);
}

static void unused_space_is_given_back(void **state)
{
    const char *urls[MEMBERS_MAX];
    struct store_etcd_status before;
    struct store_etcd_status after;
    struct store_etcd options;
    struct store *store = NULL;
    sk_autofree char *value = sk_xmalloc(500000);

    memset(value, 'v', 500000);
    members_options(&members, 0, urls, &options);
    ok(store_open_etcd(&options, &store, &err));
    for (int i = 0; i < 10; i++) {
        struct store_op op = {STORE_PUT, SK_STR("a"), {value, 500000}};
        struct store_txn txn = {.expect_number = -1, .ops = &op, .nops = 1};
        ok(store_txn(store, &txn, NULL, &err));
    }
    ok(store_compact(store, 10, &err));
    store_close(store);
    (void)usleep(500000); /* compaction goes on in the background */
    ok(store_etcd_status(admin, 0, &before, &err));
    ok(store_etcd_defragment(admin, 0, &err));
    ok(store_etcd_status(admin, 0, &after, &err));
    assert_true(after.db_bytes < before.db_bytes);
}

static void history_ends_where_it_is_told_to(void **state)
{
    const char *urls[MEMBERS_MAX];
    struct store_etcd_status before;
    struct store_etcd_status after;
    struct store_changes changes = {0};
    struct store_revision old;
    struct store_etcd options;
    struct store *store = NULL;
    sk_autofree char *value = sk_xmalloc(500000);
    int64_t end = sys_now_ms() + 10000;

    memset(value, 'w', 500000);
    members_options(&members, 0, urls, &options);
    ok(store_open_etcd(&options, &store, &err));
    ok(store_revision(store, &old, &err));
    for (int i = 0; i < 10; i++) {
        struct store_op op = {STORE_PUT, SK_STR("a"), {value, 500000}};
        struct store_txn txn = {.expect_number = -1, .ops = &op, .nops = 1};
        ok(store_txn(store, &txn, NULL, &err));
    }
    ok(store_etcd_status(admin, 1, &before, &err));
    ok(store_etcd_compact(admin, 1, 2, &err));
    ok(store_etcd_compact(admin, 1, 2, &err)); /* it is so already */
    ok(store_etcd_compact(admin, 1, 1000000, &err));
    do { /* what is free is counted with later writes */
        struct store_op op = {STORE_PUT, SK_STR("b"), SK_STR("x")};
        struct store_txn txn = {.expect_number = -1, .ops = &op, .nops = 1};
        assert_true(sys_now_ms() < end);
        ok(store_txn(store, &txn, NULL, &err));
        (void)usleep(100000);
        ok(store_etcd_status(admin, 1, &after, &err));
    } while (after.db_bytes_used > before.db_bytes_used - 3000000);
    assert_true(before.revision >= 10 && after.revision > before.revision);
    /* who followed from before has to read again */
    ok(store_watch(store, SK_STR(""), &old, 2000, &changes, &err));
    assert_true(changes.count > 0 && changes.changes[changes.count - 1].kind == STORE_LOST);
    store_changes_release(&changes);
    store_close(store);
}

static void the_leader_is_handed_on(void **state)
{
    struct store_etcd_status status[N];
    size_t from = 0;
    size_t to;
    int64_t end = sys_now_ms() + 5000;

    for (size_t i = 0; i < N; i++) {
        ok(store_etcd_status(admin, i, &status[i], &err));
        from = strcmp(status[i].leader, status[i].member) == 0 ? i : from;
    }
    to = (from + 1) % N;
    /* only the one that leads can do it */
    assert_true(store_etcd_lead(admin, to, status[to].member, NULL) < 0);
    ok(store_etcd_lead(admin, from, status[to].member, &err));
    do {
        ok(store_etcd_status(admin, to, &status[from], &err));
        assert_true(sys_now_ms() < end);
    } while (strcmp(status[from].leader, status[to].member) != 0);
}

static void alarms_are_listed_and_disarmed(void **state)
{
    struct store_etcd_alarm alarms[STORE_ETCD_ALARMS_MAX];
    struct store_etcd_status status;
    size_t count = 7;

    ok(store_etcd_alarms(admin, alarms, &count, &err));
    assert_int_equal(count, 0);
    /* one that is not there may be disarmed too */
    ok(store_etcd_status(admin, 0, &status, &err));
    alarms[0].kind = STORE_ETCD_NOSPACE;
    memcpy(alarms[0].member, status.member, sizeof(status.member));
    ok(store_etcd_disarm(admin, &alarms[0], &err));
}

static void members_come_as_learners_and_go(void **state)
{
    struct store_etcd_member list[STORE_ETCD_MEMBERS_MAX];
    char id[STORE_ETCD_ID_SIZE];
    size_t count = 0;
    size_t learners = 0;
    int64_t end = sys_now_ms() + 15000;
    struct sk_err why = {0};
    int rc;

    ok(store_etcd_members(admin, list, &count, &err));
    assert_int_equal(count, N);
    for (size_t i = 0; i < count; i++) {
        assert_true(list[i].name[0] == 'm' && !list[i].learner);
        assert_int_equal(strncmp(list[i].client_url, "https://127.0.0.1:", 18), 0);
    }
    /* refused, and said to be, until all have been connected for a while */
    while ((rc = store_etcd_add_learner(admin, "https://127.0.0.1:1", id, &why)) < 0) {
        assert_int_equal(rc, SK_ERR_UNAVAILABLE);
        assert_true(sys_now_ms() < end);
        (void)usleep(200000);
    }
    ok(store_etcd_members(admin, list, &count, &err));
    assert_int_equal(count, N + 1);
    for (size_t i = 0; i < count; i++) {
        learners += list[i].learner && strcmp(list[i].id, id) == 0 && list[i].name[0] == '\0';
    }
    assert_int_equal(learners, 1);
    /* it has caught up with nothing */
    fails(SK_ERR_UNAVAILABLE, store_etcd_promote(admin, id, &err));
    ok(store_etcd_remove(admin, id, &err));
    ok(store_etcd_members(admin, list, &count, &err));
    assert_int_equal(count, N);
}

static void a_snapshot_is_whole(void **state)
{
    char path[96];
    char wrong[96];
    struct stat st;

    (void)snprintf(path, sizeof(path), "%s/saved.db", members.dir);
    (void)snprintf(wrong, sizeof(wrong), "%s/none/saved.db", members.dir);
    ok(store_etcd_save(admin, 1, path, &err));
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_true(st.st_size > 16384 && st.st_size % 512 == 32); /* pages, and the checksum */
    fails(SK_ERR_IO, store_etcd_save(admin, 1, wrong, &err));
}

static void a_dead_member_is_told_from_the_others(void **state)
{
    struct store_etcd_member list[STORE_ETCD_MEMBERS_MAX];
    struct store_etcd_status status;
    char path[96];
    size_t count = 0;

    member_kill(&members, 2);
    fails(SK_ERR_UNAVAILABLE, store_etcd_status(admin, 2, &status, &err));
    (void)snprintf(path, sizeof(path), "%s/unsaved.db", members.dir);
    fails(SK_ERR_UNAVAILABLE, store_etcd_save(admin, 2, path, &err));
    assert_int_not_equal(access(path, F_OK), 0);
    ok(store_etcd_status(admin, 0, &status, &err));
    ok(store_etcd_members(admin, list, &count, &err));
    assert_int_equal(count, N);
    member_start(&members, 2);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_member_says_how_it_is),
        cmocka_unit_test(unused_space_is_given_back),
        cmocka_unit_test(history_ends_where_it_is_told_to),
        cmocka_unit_test(the_leader_is_handed_on),
        cmocka_unit_test(alarms_are_listed_and_disarmed),
        cmocka_unit_test(a_snapshot_is_whole),
        cmocka_unit_test(members_come_as_learners_and_go),
        cmocka_unit_test(a_dead_member_is_told_from_the_others),
    };
    const char *urls[MEMBERS_MAX];
    struct store_etcd options;
    int failed;

    if (!members_can_run()) {
        return 77;
    }
    members_start(&members, N);
    members_options(&members, 0, urls, &options);
    options.deadline_ms = 10000;
    ok(store_etcd_admin_new(&options, &admin, &err));
    failed = cmocka_run_group_tests(tests, NULL, NULL);
    store_etcd_admin_free(admin);
    members_stop(&members);
    return failed;
}
