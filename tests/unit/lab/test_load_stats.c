/* SPDX-License-Identifier: Apache-2.0 */
/* The arithmetic of what users saw, and the reader of HTTP answers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "lab/load_stats.h"

static const uint64_t ms = 1000000;

static int setup(void **state)
{
    *state = sk_xcalloc(1, sizeof(struct load_stats));
    return 0;
}

static int teardown(void **state)
{
    free(*state);
    return 0;
}

static bool done(struct load_stats *s, uint64_t issued_ms, uint64_t took_ms, enum load_outcome how,
                 const char *instance, const char *site)
{
    struct load_record r = {.issued_ns = issued_ms * ms,
                            .done_ns = (issued_ms + took_ms) * ms,
                            .outcome = how,
                            .population = "p",
                            .ingress = "fra",
                            .instance = instance,
                            .node = "n",
                            .site = site};
    load_stats_issue(s);
    return load_stats_done(s, &r);
}

static void off_is_from_cut_to_last_bad_issued(void **state)
{
    struct load_stats *s = *state;
    load_stats_start(s, 1000 * ms);
    (void)done(s, 1000, 10, LOAD_OK, "a", "fra");
    load_stats_cut(s, 2000 * ms);
    (void)done(s, 1900, 1000, LOAD_TIMEOUT, "", ""); /* in flight at the cut: issued before it */
    assert_true(load_stats_off_ms(s) < 0.001);
    (void)done(s, 2300, 1000, LOAD_TIMEOUT, "", "");
    (void)done(s, 2250, 5, LOAD_ERROR, "", "");
    (void)done(s, 2600, 10, LOAD_OK, "a", "fra");
    assert_true(load_stats_off_ms(s) > 299.9 && load_stats_off_ms(s) < 300.1);
    assert_int_equal(s->failed, 3);
    assert_int_equal(s->failed_after_cut, 3);
    assert_int_equal(s->good, 2);
}

static void without_a_cut_nothing_is_off(void **state)
{
    struct load_stats *s = *state;
    load_stats_start(s, 0);
    (void)done(s, 5, 1000, LOAD_TIMEOUT, "", "");
    assert_true(load_stats_off_ms(s) < 0.001);
}

static void gap_counts_start_middle_and_end(void **state)
{
    struct load_stats *s = *state;
    load_stats_start(s, 1000 * ms);
    (void)done(s, 1000, 40, LOAD_OK, "a", "fra");
    assert_int_equal(s->longest_gap_ns, 40 * ms);
    (void)done(s, 1100, 10, LOAD_OK, "a", "fra"); /* 70 ms later */
    (void)done(s, 1105, 10, LOAD_STATUS, "", ""); /* not good: the gap goes on */
    (void)done(s, 1250, 10, LOAD_OK, "a", "fra");
    assert_int_equal(s->longest_gap_ns, 150 * ms);
    assert_int_equal(s->longest_gap_at_ns, 1110 * ms);
    load_stats_end(s, 2000 * ms);
    assert_int_equal(s->longest_gap_ns, 740 * ms);
}

static void instances_are_told_once(void **state)
{
    struct load_stats *s = *state;
    load_stats_start(s, 0);
    assert_true(done(s, 1, 1, LOAD_OK, "a", "fra"));
    assert_false(done(s, 2, 1, LOAD_OK, "a", "fra"));
    assert_true(done(s, 3, 1, LOAD_OK, "b", "ams"));
    assert_false(done(s, 4, 1, LOAD_STATUS, "c", "ams"));
    assert_false(done(s, 5, 1, LOAD_OK, "", ""));
    assert_int_equal(s->nwho, 2);
    assert_int_equal(s->who[0].count, 2);
    assert_string_equal(s->who[1].site, "ams");
}

static void percentiles_are_within_two_percent(void **state)
{
    struct hist *h = sk_xcalloc(1, sizeof(*h));
    (void)state;
    assert_int_equal(hist_at(h, 0.5), 0);
    for (uint64_t us = 1; us <= 100000; us++) {
        hist_add(h, us);
    }
    const double shares[] = {0.001, 0.5, 0.95, 0.99, 1.0};
    for (size_t i = 0; i < SK_ARRAY_LEN(shares); i++) {
        double exact = shares[i] * 100000;
        double got = (double)hist_at(h, shares[i]);
        assert_true(got >= exact * 0.999 && got <= exact * 1.02 + 1);
    }
    hist_add(h, UINT64_MAX); /* longer than the longest: counted, not lost */
    assert_int_equal(h->count, 100001);
    free(h);
}

static void live_window_forgets(void **state)
{
    struct load_stats *s = *state;
    struct sk_buf out = SK_BUF_INIT;
    struct sk_jw w;
    load_stats_start(s, 0);
    (void)done(s, 1, 4, LOAD_OK, "a", "fra");
    (void)done(s, 1, 4, LOAD_ERROR, "", "");
    sk_jw_init(&w, &out);
    sk_jw_obj(&w);
    load_stats_live(s, 0.25, &w);
    sk_jw_obj_end(&w);
    assert_non_null(strstr(out.ptr, "\"per_second\":1,\"failed_per_second\":1"));
    assert_non_null(strstr(out.ptr, "\"sites\":{\"fra\":1}"));
    for (int i = 0; i < STATS_WINDOWS; i++) {
        load_stats_turn(s);
    }
    sk_buf_clear(&out);
    sk_jw_init(&w, &out);
    sk_jw_obj(&w);
    load_stats_live(s, 0.25, &w);
    sk_jw_obj_end(&w);
    assert_non_null(strstr(out.ptr, "\"good\":1,\"failed\":1,\"per_second\":0"));
    sk_buf_release(&out);
}

/* Feeds an answer in pieces of every size; all must agree. */
static enum load_feed read_answer(const char *text, struct load_answer *a, size_t piece)
{
    enum load_feed fed = LOAD_MORE;
    size_t len = strlen(text);
    memset(a, 0, sizeof(*a));
    for (size_t at = 0; at < len && fed == LOAD_MORE; at += piece) {
        fed = load_answer_feed(a, text + at, len - at < piece ? len - at : piece, false);
    }
    return fed == LOAD_MORE ? load_answer_feed(a, "", 0, true) : fed;
}

static void answers_are_read(void **state)
{
    static const struct {
        const char *text;
        enum load_feed want;
        int status;
        bool reusable;
        const char *instance, *site;
    } cases[] = {
        {"HTTP/1.1 200 OK\r\nContent-Length: 24\r\n\r\ninstance=ab12\nsite=fra-1\n", LOAD_WHOLE,
         200, true, "ab12", "fra-1"},
        {"HTTP/1.0 200 OK\r\nX-Skerry-Instance: i9\r\nx-skerry-site: ams\r\n\r\nhello", LOAD_WHOLE,
         200, false, "i9", "ams"},
        {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9;x=y\r\ninstance=\r\n3\r\nzz\n\r\n"
         "0\r\nT: r\r\n\r\n",
         LOAD_WHOLE, 200, true, "zz", ""},
        {"HTTP/1.1 503 Busy\r\nConnection: close\r\nContent-Length: 0\r\n\r\n", LOAD_WHOLE, 503,
         false, "", ""},
        {"HTTP/1.1 204 None\r\n\r\n", LOAD_WHOLE, 204, true, "", ""},
        {"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nshort", LOAD_BROKEN, 200, true, "", ""},
        {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab", LOAD_BROKEN, 200, true, "",
         ""},
        {"SSH-2.0-x\r\n\r\n", LOAD_BROKEN, 0, false, "", ""},
        {"HTTP/1.1 2x0 OK\r\n\r\n", LOAD_BROKEN, 0, false, "", ""},
        {"HTTP/1.1 200 OK\r\nContent-Length: 9999999999\r\n\r\n", LOAD_BROKEN, 200, true, "", ""},
        {"HTTP/1.1 200 OK\r\nno colon\r\n\r\n", LOAD_BROKEN, 200, true, "", ""},
        {"", LOAD_BROKEN, 0, false, "", ""},
    };
    (void)state;
    for (size_t i = 0; i < SK_ARRAY_LEN(cases); i++) {
        size_t len = strlen(cases[i].text);
        for (size_t piece = 1; piece <= len + 1; piece++) {
            struct load_answer a;
            enum load_feed fed = read_answer(cases[i].text, &a, piece);
            assert_int_equal(fed, cases[i].want);
            assert_int_equal(a.status, cases[i].status);
            assert_int_equal(a.reusable, cases[i].reusable);
            if (fed == LOAD_WHOLE) {
                assert_string_equal(a.instance, cases[i].instance);
                assert_string_equal(a.site, cases[i].site);
            }
            load_answer_release(&a);
        }
    }
}

static void names_are_made_harmless(void **state)
{
    struct load_answer a;
    (void)state;
    assert_int_equal(
        read_answer("HTTP/1.1 200 OK\r\nContent-Length: 16\r\n\r\nsite=a\x1b[31m,\"b\"\n", &a, 100),
        LOAD_WHOLE);
    assert_string_equal(a.site, "a?[31m??b?");
    load_answer_release(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(off_is_from_cut_to_last_bad_issued, setup, teardown),
        cmocka_unit_test_setup_teardown(without_a_cut_nothing_is_off, setup, teardown),
        cmocka_unit_test_setup_teardown(gap_counts_start_middle_and_end, setup, teardown),
        cmocka_unit_test_setup_teardown(instances_are_told_once, setup, teardown),
        cmocka_unit_test(percentiles_are_within_two_percent),
        cmocka_unit_test_setup_teardown(live_window_forgets, setup, teardown),
        cmocka_unit_test(answers_are_read),
        cmocka_unit_test(names_are_made_harmless),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
