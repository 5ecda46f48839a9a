/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/json.h"
#include "base/mem.h"
#include "fake.h"

/* Three control nodes; the one under test is hub-1, and its members of etcd are three structs that
 * do as real ones: a cut of history frees what is in use, a defragmentation what is not. */

#define N 3
#define MIB (INT64_C(1) << 20)

static const char *const names[N] = {"hub-1", "fra-1", "ams-1"};

static struct {
    struct control_member_health rows[N];
    int64_t history[N]; /* of what is in use: what a cut of it frees */
    int64_t keeps;      /* what of that the cut to the last 1,000 revisions leaves */
    unsigned looks;     /* answered */
    bool asked, deaf;
    enum control_etcd_kind kind;
    char url[64];
    char did[512]; /* what was done, in order */
    unsigned undone_alarms;
} etcd;

static size_t member_of(const char *url)
{
    for (size_t i = 0; i < N; i++) {
        if (strstr(url, names[i])) {
            return i;
        }
    }
    fail();
    return 0;
}

static void did(const char *what, size_t at)
{
    size_t len = strlen(etcd.did);
    (void)snprintf(etcd.did + len, sizeof(etcd.did) - len, "%s%s %s", len ? "; " : "", what,
                   names[at]);
}

static void cut_history(int64_t keep)
{
    for (size_t i = 0; i < N; i++) {
        int64_t left = keep > 0 ? etcd.keeps : 0;
        etcd.rows[i].db_bytes_used -= etcd.history[i] - left;
        etcd.history[i] = left;
    }
}

static void on_command(struct fake *f, const struct control_command *cmd)
{
    size_t at;

    (void)f;
    if (cmd->kind != CONTROL_CMD_ETCD) {
        return;
    }
    assert_false(etcd.asked); /* one thing at a time */
    (void)snprintf(etcd.url, sizeof(etcd.url), "%.*s", SK_PRI(cmd->u.etcd.url));
    at = member_of(etcd.url);
    etcd.asked = true;
    etcd.kind = cmd->u.etcd.kind;
    switch (etcd.kind) {
    case CONTROL_ETCD_COMPACT:
        did(cmd->u.etcd.keep > 0 ? "cut" : "cut all", at);
        cut_history(cmd->u.etcd.keep);
        break;
    case CONTROL_ETCD_DEFRAGMENT:
        did("give back", at);
        etcd.rows[at].db_bytes = etcd.rows[at].db_bytes_used;
        break;
    case CONTROL_ETCD_DISARM:
        did("disarm", at);
        for (size_t i = 0; i < N && etcd.undone_alarms == 0; i++) {
            etcd.rows[i].alarm[0] = '\0';
        }
        etcd.undone_alarms -= etcd.undone_alarms > 0;
        break;
    case CONTROL_ETCD_LEAD:
        did("lead", at);
        for (size_t i = 0; i < N && !etcd.deaf; i++) {
            etcd.rows[i].leads = i == at;
        }
        break;
    default:
        fail();
    }
}

static void pass(struct fake *f, int64_t ms)
{
    for (int64_t at = 0; at < ms; at += 100) {
        struct control_event seen = {.kind = CONTROL_EV_ETCD_SEEN};
        struct control_event done = {.kind = CONTROL_EV_ETCD_DONE};
        fake_run(f, 100);
        if (f->looks != etcd.looks) {
            etcd.looks = f->looks;
            seen.u.etcd_seen.rows = etcd.rows;
            seen.u.etcd_seen.count = N;
            fake_tell(f, &seen);
        }
        if (etcd.asked) {
            etcd.asked = false;
            done.u.etcd_done.kind = etcd.kind;
            done.u.etcd_done.url = sk_str(etcd.url);
            done.u.etcd_done.ok = true;
            fake_tell(f, &done);
        }
    }
}

static struct fake *world_new(bool external)
{
    struct fake *f = fake_new(1);
    struct sk_buf record = SK_BUF_INIT;

    memset(&etcd, 0, sizeof(etcd));
    f->seats = on_command;
    f->quiet = true;
    fake_three_sites(f, 1);
    sk_buf_printf(&record, "{\"v\":1,\"store\":\"etcd\",\"external\":%s,\"members\":[",
                  external ? "true" : "false");
    for (size_t i = 0; i < N; i++) {
        struct control_member_health *row = &etcd.rows[i];
        sk_buf_printf(&record,
                      "%s{\"node\":\"%s\",\"state\":\"member\",\"peer_url\":\"https://%s:2380\","
                      "\"client_url\":\"https://%s:2379\"}",
                      i ? "," : "", names[i], names[i], names[i]);
        (void)snprintf(row->node, sizeof(row->node), "%s", names[i]);
        row->ok = true;
        row->leads = i == 0;
        row->db_bytes = 10 * MIB;
        row->db_bytes_used = 9 * MIB;
    }
    sk_buf_adds(&record, "]}");
    fake_put(f, "/skerry/v1/control", sk_buf_str(&record));
    sk_buf_release(&record);
    fake_restart_control(f);
    pass(f, 2000);
    assert_true(control_leads(f->c));
    return f;
}

static const char *problem(struct fake *f)
{
    static char text[500];
    const struct sk_node *root = fake_query(f, control_status_json);
    (void)snprintf(text, sizeof(text), "%.*s",
                   SK_PRI(sk_map_str(sk_map_get(root, SK_STR("control")), "problem", SK_STR(""))));
    return text;
}

static void full(size_t at)
{
    for (size_t i = 0; i < N; i++) {
        etcd.rows[i].db_bytes = 100 * MIB;
        etcd.rows[i].db_bytes_used = 99 * MIB;
        etcd.history[i] = 90 * MIB;
    }
    (void)snprintf(etcd.rows[at].alarm, sizeof(etcd.rows[at].alarm), "nospace");
}

static void what_is_well_is_left_alone(void **state)
{
    struct fake *f = world_new(false);

    pass(f, 120000);
    assert_string_equal(etcd.did, "");
    assert_true(etcd.looks >= 11 && etcd.looks <= 14);
    assert_string_equal(problem(f), "");
    fake_free(f);
}

static void space_is_made_without_a_hand(void **state)
{
    struct fake *f = world_new(false);

    full(1);
    pass(f, 20000);
    assert_string_equal(etcd.did, "cut hub-1; give back fra-1; give back ams-1; give back hub-1; "
                                  "disarm hub-1");
    pass(f, 11000);
    assert_string_equal(problem(f), "");
    assert_int_equal(fake_event_count(f, "etcd"), 2); /* that it was full, that it is no longer */
    fake_free(f);
}

/* The last 1,000 revisions are what fills it: none of them is kept then. */
static void large_revisions_are_cut_too(void **state)
{
    struct fake *f = world_new(false);

    full(0);
    etcd.keeps = 89 * MIB;
    pass(f, 30000);
    assert_string_equal(etcd.did, "cut hub-1; give back fra-1; give back ams-1; give back hub-1; "
                                  "cut all hub-1; give back fra-1; give back ams-1; give back "
                                  "hub-1; disarm hub-1");
    fake_free(f);
}

/* What is current fills it: it is tried again and again, a minute apart, and said. */
static void what_cannot_be_mended_is_said(void **state)
{
    struct fake *f = world_new(false);

    full(0);
    memset(etcd.history, 0, sizeof(etcd.history));
    etcd.undone_alarms = 100;
    pass(f, 30000);
    assert_non_null(strstr(etcd.did, "cut all hub-1; give back fra-1; give back ams-1; give back "
                                     "hub-1; disarm hub-1"));
    assert_non_null(strstr(problem(f), "etcd of hub-1 has no space left"));
    etcd.did[0] = '\0';
    pass(f, 35000);
    assert_string_equal(etcd.did, "");
    pass(f, 50000);
    assert_string_equal(etcd.did, "cut all hub-1; give back fra-1; give back ams-1; give back "
                                  "hub-1; disarm hub-1");
    assert_non_null(strstr(problem(f), "was not enough"));
    fake_free(f);
}

/* One that is away holds nothing up; without space the control plane stands still anyway. */
static void a_member_that_is_away_holds_nothing_up(void **state)
{
    struct fake *f = world_new(false);

    full(2);
    etcd.rows[1].ok = false;
    pass(f, 20000);
    assert_string_equal(etcd.did, "cut hub-1; give back ams-1; give back hub-1; disarm hub-1");
    fake_free(f);
}

/* Nobody can write, so nobody can take the leader's key: who stands beside etcd's leader makes
 * space all the same, the others only when their turn has come. */
static void without_a_leader_too(void **state)
{
    for (int beside = 0; beside < 2; beside++) {
        struct fake *f = world_new(false);
        full(1);
        etcd.rows[0].leads = beside == 1;
        etcd.rows[1].leads = beside == 0;
        f->fail_txns = 100000;
        fake_restart_control(f);
        pass(f, 30000);
        assert_false(control_leads(f->c));
        assert_int_equal(etcd.did[0] != '\0', beside);
        pass(f, 60000);
        assert_non_null(strstr(etcd.did, "disarm hub-1"));
        f->fail_txns = 0;
        pass(f, 10000);
        assert_true(control_leads(f->c));
        fake_free(f);
    }
}

static void bloated_files_one_by_one_the_leader_last(void **state)
{
    struct fake *f = world_new(false);

    for (size_t i = 0; i < N; i++) {
        etcd.rows[i].db_bytes = 50 * MIB;
    }
    etcd.rows[0].leads = false;
    etcd.rows[1].leads = true;
    pass(f, 25000);
    assert_string_equal(etcd.did, ""); /* it can wait until all has been well for a while */
    pass(f, 20000);
    assert_memory_equal(etcd.did, "give back hub-1; give back ams-1; give back fra-1", 49);
    assert_true(fake_event_seen(f, "etcd"));
    fake_free(f);
}

static void never_while_another_is_unwell(void **state)
{
    struct fake *f = world_new(false);

    etcd.rows[1].db_bytes = 500 * MIB;
    etcd.rows[2].ok = false;
    pass(f, 100000);
    assert_string_equal(etcd.did, "");
    etcd.rows[2].ok = true;
    etcd.rows[2].behind = 5000;
    pass(f, 100000);
    assert_string_equal(etcd.did, "");
    etcd.rows[2].behind = 0;
    pass(f, 45000);
    assert_string_equal(etcd.did, "give back fra-1");
    fake_free(f);
}

static void little_waste_is_not_worth_it(void **state)
{
    struct fake *f = world_new(false);

    etcd.rows[1].db_bytes = 9 * MIB + 31 * MIB; /* less than 32 MiB */
    etcd.rows[2].db_bytes = 100 * MIB;          /* more than half is in use */
    etcd.rows[2].db_bytes_used = 51 * MIB;
    pass(f, 100000);
    assert_string_equal(etcd.did, "");
    fake_free(f);
}

static void much_history_is_cut(void **state)
{
    struct fake *f = world_new(false);

    etcd.rows[2].db_bytes = 600 * MIB;
    etcd.rows[2].db_bytes_used = 550 * MIB;
    pass(f, 300000);
    assert_string_equal(etcd.did, "cut hub-1"); /* it is all current: not again and again */
    fake_free(f);
}

static void etcds_leader_comes_beside_ours(void **state)
{
    struct fake *f = world_new(false);

    etcd.rows[0].leads = false;
    etcd.rows[1].leads = true;
    pass(f, 20000);
    assert_string_equal(etcd.did, "");
    pass(f, 30000);
    assert_string_equal(etcd.did, "lead hub-1");
    pass(f, 100000);
    assert_string_equal(etcd.did, "lead hub-1");
    etcd.deaf = true;
    etcd.rows[0].leads = false;
    etcd.rows[2].leads = true;
    pass(f, 85000); /* one that does not help is tried again, but not at once */
    assert_string_equal(etcd.did, "lead hub-1; lead hub-1; lead hub-1");
    fake_free(f);
}

static void what_is_not_ours_is_shown_and_left_alone(void **state)
{
    struct fake *f = world_new(true);

    full(1);
    etcd.rows[0].leads = false;
    etcd.rows[2].leads = true;
    for (size_t i = 0; i < N; i++) {
        etcd.rows[i].node[0] = '\0';
        (void)snprintf(etcd.rows[i].endpoint, sizeof(etcd.rows[i].endpoint), "https://e%zu:2379",
                       i);
    }
    pass(f, 150000);
    assert_string_equal(etcd.did, "");
    assert_non_null(strstr(problem(f), "https://e1:2379"));
    fake_free(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_well_is_left_alone),
        cmocka_unit_test(space_is_made_without_a_hand),
        cmocka_unit_test(large_revisions_are_cut_too),
        cmocka_unit_test(what_cannot_be_mended_is_said),
        cmocka_unit_test(a_member_that_is_away_holds_nothing_up),
        cmocka_unit_test(without_a_leader_too),
        cmocka_unit_test(bloated_files_one_by_one_the_leader_last),
        cmocka_unit_test(never_while_another_is_unwell),
        cmocka_unit_test(little_waste_is_not_worth_it),
        cmocka_unit_test(much_history_is_cut),
        cmocka_unit_test(etcds_leader_comes_beside_ours),
        cmocka_unit_test(what_is_not_ours_is_shown_and_left_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
