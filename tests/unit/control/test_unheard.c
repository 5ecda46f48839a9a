/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "base/json.h"
#include "fake.h"
#include "scenes.h"

/* Probes that do not pass although both sides beat: told once, after 10 s, and taken back. */

static struct fake *begin(void)
{
    struct fake *f = fake_new(5);
    fake_three_sites(f, 2);
    fake_run(f, 15000); /* everybody was heard */
    assert_int_equal(fake_event_count(f, "probes_unheard"), 0);
    return f;
}

static const struct sk_node *rows(struct fake *f)
{
    return sk_map_seq(fake_query(f, control_status_json), "probes_unheard");
}

static bool names(const struct sk_node *row, const char *key, const char *a, const char *b)
{
    const struct sk_node *pair = sk_map_seq(row, key);
    return pair->count == 2 && sk_str_is(pair->u.items[0].u.text, a) &&
           sk_str_is(pair->u.items[1].u.text, b);
}

/* What the sites' answer says of `site`. */
static uint32_t others_of(struct fake *f, const char *site)
{
    const struct sk_node *list = sk_map_seq(fake_query(f, control_sites_json), "sites");
    for (uint32_t i = 0; i < list->count; i++) {
        if (sk_str_is(sk_map_str(&list->u.items[i], "site", SK_STR("")), site)) {
            return sk_map_seq(&list->u.items[i], "probes_unheard")->count;
        }
    }
    fail_msg("no site '%s'", site);
    return 0;
}

static void a_pair_of_sites(void **state)
{
    struct fake *f = begin();
    (void)state;
    fake_link(f, "fra", "ams", true);
    fake_run(f, 10000);
    assert_int_equal(rows(f)->count, 0);
    assert_int_equal(fake_event_count(f, "probes_unheard"), 0);
    fake_run(f, 4000);
    assert_int_equal(rows(f)->count, 1);
    const struct sk_node *row = &rows(f)->u.items[0];
    assert_true(names(row, "sites", "ams", "fra"));
    assert_int_equal(sk_map_int(row, "silent", 0), sk_map_int(row, "ways", -1));
    assert_true(sk_map_int(row, "silent_ms", 0) >= 10000);
    assert_non_null(
        strstr(sk_map_str(row, "fix", SK_STR("")).ptr, "open UDP 7401 between ams and fra"));
    assert_int_equal(others_of(f, "fra"), 1);
    assert_int_equal(others_of(f, "ams"), 1);
    assert_int_equal(others_of(f, "par"), 0);
    fake_run(f, 60000);
    assert_int_equal(fake_event_count(f, "probes_unheard"), 1);
    assert_int_equal(fake_event_count(f, "site_lost") + fake_event_count(f, "node_lost"), 0);
    fake_link(f, "fra", "ams", false);
    fake_run(f, 2500);
    assert_int_equal(rows(f)->count, 0);
    assert_int_equal(others_of(f, "fra"), 0);
    assert_int_equal(fake_event_count(f, "probes_heard"), 0);
    fake_run(f, 30000);
    assert_int_equal(fake_event_count(f, "probes_heard"), 1);
    fake_link(f, "fra", "ams", true);
    fake_run(f, 14000);
    assert_int_equal(fake_event_count(f, "probes_unheard"), 2);
    fake_free(f);
}

static void one_way_of_several(void **state)
{
    struct fake *f = begin();
    size_t a = 0;
    size_t b = 0;
    (void)state;
    for (size_t i = 0; i < f->nagents; i++) {
        a = strcmp(f->agents[i].name, "par-1") == 0 ? i : a;
        b = strcmp(f->agents[i].name, "par-2") == 0 ? i : b;
    }
    f->cut[a][b] = true;
    fake_run(f, 22000);
    assert_int_equal(rows(f)->count, 1);
    const struct sk_node *row = &rows(f)->u.items[0];
    assert_true(names(row, "sites", "par", "par"));
    assert_true(names(row, "nodes", "par-1", "par-2"));
    assert_int_equal(sk_map_int(row, "silent", 0), 1);
    assert_int_equal(sk_map_int(row, "ways", 0), 2);
    assert_non_null(strstr(sk_map_str(row, "fix", SK_STR("")).ptr, "within par"));
    assert_int_equal(others_of(f, "par"), 1);
    fake_free(f);
}

static void a_bad_link_does_not_flap(void **state)
{
    struct fake *f = begin();
    (void)state;
    for (int i = 0; i < 10; i++) { /* never long enough */
        fake_link(f, "fra", "ams", true);
        fake_run(f, 9000);
        fake_link(f, "fra", "ams", false);
        fake_run(f, 1000);
    }
    assert_int_equal(fake_event_count(f, "probes_unheard"), 0);
    for (int i = 0; i < 10; i++) { /* long enough each time, and told once */
        fake_link(f, "fra", "ams", true);
        fake_run(f, 14000);
        assert_int_equal(rows(f)->count, 1);
        fake_link(f, "fra", "ams", false);
        fake_run(f, 10000);
        assert_int_equal(rows(f)->count, 0);
    }
    assert_int_equal(fake_event_count(f, "probes_unheard"), 1);
    assert_int_equal(fake_event_count(f, "probes_heard"), 0);
    fake_free(f);
}

static void who_is_gone_is_not_unheard(void **state)
{
    struct fake *f = begin();
    (void)state;
    fake_kill_site(f, "par");
    fake_run(f, 40000);
    assert_int_equal(fake_event_count(f, "site_lost"), 1);
    assert_int_equal(fake_event_count(f, "probes_unheard"), 0);
    fake_start_site(f, "par");
    fake_run(f, 20000);
    assert_int_equal(fake_event_count(f, "probes_unheard"), 0);
    /* cut off with its beats: that is a verdict's business */
    fake_isolate(f, "ams", true);
    fake_run(f, 40000);
    assert_int_equal(fake_event_count(f, "probes_unheard"), 0);
    fake_isolate(f, "ams", false);
    fake_run(f, 30000);
    assert_int_equal(fake_event_count(f, "probes_unheard"), 0);
    /* and time in which control did not run is nobody's silence */
    fake_stall_control(f, 30000);
    fake_run(f, 8000);
    assert_int_equal(fake_event_count(f, "probes_unheard"), 0);
    fake_free(f);
}

static void a_site_that_leaves(void **state)
{
    struct fake *f = begin();
    (void)state;
    fake_link(f, "fra", "ams", true);
    fake_run(f, 25000);
    assert_int_equal(rows(f)->count, 1);
    fake_kill_site(f, "ams"); /* nobody can tell any more */
    fake_run(f, 15000);
    assert_int_equal(rows(f)->count, 0);
    assert_int_equal(fake_event_count(f, "probes_heard"), 0);
    fake_restart_control(f);
    fake_run(f, 30000);
    assert_int_equal(rows(f)->count, 0);
    fake_free(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_pair_of_sites),          cmocka_unit_test(one_way_of_several),
        cmocka_unit_test(a_bad_link_does_not_flap), cmocka_unit_test(who_is_gone_is_not_unheard),
        cmocka_unit_test(a_site_that_leaves),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
