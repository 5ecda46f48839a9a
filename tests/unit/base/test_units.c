/* SPDX-License-Identifier: Apache-2.0 */
/* Units: what each parser takes and refuses, exactly; and how values are shown to people. */
#include <math.h>

#include "base/mem.h"
#include "base/units.h"
#include "tap.h"

typedef int parse_fn(struct sk_str s, int64_t *ret, struct sk_err *err);

struct good {
    const char *text;
    int64_t value;
};

static void takes(parse_fn *parse, const struct good *rows, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        struct sk_err err = {0};
        int64_t value = -1;
        if (parse(sk_str(rows[i].text), &value, &err) < 0) {
            fail_msg("'%s': %s", rows[i].text, err.msg);
        }
        if (value != rows[i].value) {
            fail_msg("'%s' became %lld", rows[i].text, (long long)value);
        }
    }
}

static void refuses(parse_fn *parse, const char *const *texts, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        struct sk_err err = {0};
        int64_t value = -77;
        if (parse(sk_str(texts[i]), &value, &err) != SK_ERR_INPUT) {
            fail_msg("'%s' was accepted", texts[i]);
        }
        assert_int_equal(value, -77);
        assert_non_null(strstr(err.msg, texts[i]));
        assert_int_equal(parse(sk_str(texts[i]), &value, NULL), SK_ERR_INPUT);
    }
}

static void cpus(void **state)
{
    static const struct good rows[] = {
        {"0", 0},
        {"1", SK_NANO},
        {"0.5", 500000000},
        {"0.50", 500000000},
        {".25", 250000000},
        {"0.000000001", 1},
        {"12", 12 * SK_NANO},
        {"2.0", 2 * SK_NANO},
        {"0.1", 100000000},
        {"999999.999999999", 999999999999999},
    };
    static const char *const wrong[] = {
        "",      "-1",           "+1",      "1e3",  "0x1",
        " 1",    "1 ",           "1.",      ".",    "half",
        "1,5",   "0.0000000001", "1000000", "500m", "99999999999999999999",
        "1.2.3", "nan"};
    (void)state;
    takes(sk_parse_cpus, rows, SK_ARRAY_LEN(rows));
    refuses(sk_parse_cpus, wrong, SK_ARRAY_LEN(wrong));
    assert_int_equal(sk_parse_cpus(SK_STR("1\0"), &(int64_t){0}, NULL), SK_ERR_INPUT);
    assert_int_equal(sk_parse_cpus(SK_STR_NULL, &(int64_t){0}, NULL), SK_ERR_INPUT);
}

static void bytes(void **state)
{
    static const struct good rows[] = {
        {"0", 0},
        {"10", 10},
        {"12b", 12},
        {"12B", 12},
        {"1k", 1024},
        {"64kb", 65536},
        {"64mb", 64 << 20},
        {"256M", 256 << 20},
        {"1.5g", 1610612736},
        {"2Gi", 2147483648},
        {"2GiB", 2147483648},
        {"1T", 1099511627776},
        {"8P", 9007199254740992},
        {"0.1k", 102},
    };
    static const char *const wrong[] = {"",
                                        "-1M",
                                        "1.5",
                                        "1.5b",
                                        "M",
                                        "1 M",
                                        "1MM",
                                        "1X",
                                        "1bk",
                                        "1ki!",
                                        "1e3",
                                        "9P",
                                        "99999999999999999999",
                                        "1iB",
                                        "1Mi B",
                                        "0x10"};
    (void)state;
    takes(sk_parse_bytes, rows, SK_ARRAY_LEN(rows));
    refuses(sk_parse_bytes, wrong, SK_ARRAY_LEN(wrong));
    assert_int_equal(sk_parse_bytes(SK_STR_NULL, &(int64_t){0}, NULL), SK_ERR_INPUT);
}

static void durations(void **state)
{
    static const struct good rows[] = {
        {"0", 0},         {"0s", 0},      {"500ms", 500},     {"10s", 10000},
        {"1m30s", 90000}, {"1.5s", 1500}, {"2h32m", 9120000}, {"1h1m1s1ms", 3661001},
        {"1000us", 1},    {"0.001s", 1},
    };
    static const char *const wrong[] = {
        "",    "10",    "-1s", "1s1m", "1s1s", "1d",  "1 s",     "s",
        "1us", "0.5ms", "1S",  "1e3s", "10s ", "1sm", "876001h", "99999999999999999999s"};
    struct sk_err err = {0};
    int64_t ms;
    (void)state;
    takes(sk_parse_duration, rows, SK_ARRAY_LEN(rows));
    refuses(sk_parse_duration, wrong, SK_ARRAY_LEN(wrong));
    assert_int_equal(sk_parse_duration(SK_STR_NULL, &ms, NULL), SK_ERR_INPUT);
    assert_int_equal(sk_parse_duration(SK_STR("10"), &ms, &err), SK_ERR_INPUT);
    assert_string_equal(err.fix, "write '10s'");
}

static void shares(void **state)
{
    static const char *const wrong[] = {"",     "101%", "1.01", "-1%", "%",
                                        "95 %", "95%%", "1e-1", "x",   "0.5.5"};
    double share;
    (void)state;
    assert_int_equal(sk_parse_percent(SK_STR("95%"), &share, NULL), 0);
    assert_true(share == 0.95);
    assert_int_equal(sk_parse_percent(SK_STR("99.9%"), &share, NULL), 0);
    assert_true(share == 0.999); /* the same double, not one beside it */
    assert_int_equal(sk_parse_percent(SK_STR("0.95"), &share, NULL), 0);
    assert_true(share == 0.95);
    assert_int_equal(sk_parse_percent(SK_STR("1"), &share, NULL), 0);
    assert_true(share == 1);
    assert_int_equal(sk_parse_percent(SK_STR("100%"), &share, NULL), 0);
    assert_true(share == 1);
    for (size_t i = 0; i < SK_ARRAY_LEN(wrong); i++) {
        struct sk_err err = {0};
        assert_int_equal(sk_parse_percent(sk_str(wrong[i]), &share, &err), SK_ERR_INPUT);
        assert_non_null(strstr(err.msg, wrong[i]));
    }
}

static void whole_numbers(void **state)
{
    static const char *const wrong[] = {"",
                                        "010",
                                        "+1",
                                        "1.0",
                                        "1e2",
                                        " 1",
                                        "0x10",
                                        "1_0",
                                        "--1",
                                        "-",
                                        "6",
                                        "-6",
                                        "9223372036854775808"};
    int64_t n;
    (void)state;
    assert_int_equal(sk_parse_int(SK_STR("5"), -5, 5, &n, NULL), 0);
    assert_int_equal(n, 5);
    assert_int_equal(sk_parse_int(SK_STR("-5"), -5, 5, &n, NULL), 0);
    assert_int_equal(n, -5);
    for (size_t i = 0; i < SK_ARRAY_LEN(wrong); i++) {
        assert_int_equal(sk_parse_int(sk_str(wrong[i]), -5, 5, &n, NULL), SK_ERR_INPUT);
    }
    assert_int_equal(sk_parse_int(SK_STR("-9223372036854775808"), INT64_MIN, INT64_MAX, &n, NULL),
                     0);
    assert_true(n == INT64_MIN);
    assert_int_equal(sk_parse_int(SK_STR("-9223372036854775809"), INT64_MIN, INT64_MAX, &n, NULL),
                     SK_ERR_INPUT);
}

static void numbers(void **state)
{
    static const char *const wrong[] = {"",      "010", "+1",  ".5",  "1.",
                                        "1e400", "nan", "inf", "0x1", "1 "};
    double n;
    (void)state;
    assert_int_equal(sk_parse_num(SK_STR("7.2"), &n, NULL), 0);
    assert_true(n == 7.2);
    assert_int_equal(sk_parse_num(SK_STR("-1.25e-2"), &n, NULL), 0);
    assert_true(n == -0.0125);
    assert_int_equal(sk_parse_num(SK_STR("123456789.12345678"), &n, NULL), 0);
    assert_true(n == 123456789.12345678);
    for (size_t i = 0; i < SK_ARRAY_LEN(wrong); i++) {
        assert_int_equal(sk_parse_num(sk_str(wrong[i]), &n, NULL), SK_ERR_INPUT);
    }
}

typedef void format_fn(struct sk_buf *out, int64_t value);

static void shows(format_fn *format, int64_t value, const char *text)
{
    struct sk_buf buf = SK_BUF_INIT;
    format(&buf, value);
    assert_string_equal(buf.ptr, text);
    sk_buf_release(&buf);
}

static void shows_money(double amount, const char *text)
{
    struct sk_buf buf = SK_BUF_INIT;
    sk_format_money(&buf, amount, SK_STR("EUR"));
    assert_string_equal(buf.ptr, text);
    sk_buf_release(&buf);
}

static void for_people(void **state)
{
    (void)state;
    shows(sk_format_bytes, 0, "0");
    shows(sk_format_bytes, 1023, "1023");
    shows(sk_format_bytes, 1024, "1K");
    shows(sk_format_bytes, 256 << 20, "256M");
    shows(sk_format_bytes, 1610612736, "1.5G");
    shows(sk_format_bytes, -1536, "-1.5K");
    shows(sk_format_bytes, (1 << 20) - 1, "1M");
    shows(sk_format_bytes, INT64_MIN, "-8E");
    shows(sk_format_cpus, 500000000, "0.5");
    shows(sk_format_cpus, 12 * SK_NANO, "12");
    shows(sk_format_cpus, 250000000, "0.25");
    shows(sk_format_cpus, 333333333, "0.333");
    shows(sk_format_duration, 0, "0ms");
    shows(sk_format_duration, 480, "480ms");
    shows(sk_format_duration, 2900, "2.9s");
    shows(sk_format_duration, 10000, "10s");
    shows(sk_format_duration, 59949, "59.9s");
    shows(sk_format_duration, 59950, "1m");
    shows(sk_format_duration, 180000, "3m");
    shows(sk_format_duration, 90000, "1m30s");
    shows(sk_format_duration, 3599600, "1h");
    shows(sk_format_duration, 7500000, "2h5m");
    shows(sk_format_duration, 86400000LL * 3, "3d");
    shows(sk_format_duration, 86400000LL * 3 + 3600000 * 5, "3d5h");
    shows(sk_format_duration, -1500, "-1.5s");
    shows_money(1408.9, "1408.90 EUR");
    shows_money(0, "0.00 EUR");
    shows_money(0.005, "0.01 EUR");
    shows_money(-0.001, "0.00 EUR");
    shows_money(-2.5, "-2.50 EUR");
    shows_money(1e20, "100000000000000000000 EUR");
    shows_money((double)NAN, "unknown");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cpus),       cmocka_unit_test(bytes),         cmocka_unit_test(durations),
        cmocka_unit_test(shares),     cmocka_unit_test(whole_numbers), cmocka_unit_test(numbers),
        cmocka_unit_test(for_people),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
