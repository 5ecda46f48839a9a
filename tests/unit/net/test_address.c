/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "net/address.h"

static void good_ones(void **state)
{
    static const struct {
        const char *text, *host;
        unsigned port;
    } rows[] = {
        {"203.0.113.7", "203.0.113.7", 7400},
        {"203.0.113.7:1", "203.0.113.7", 1},
        {"[2001:db8::1]:65535", "2001:db8::1", 65535},
        {"[::1]", "::1", 7400},
        {"2001:db8::1", "2001:db8::1", 7400},
        {"fra1.example.com:7401", "fra1.example.com", 7401},
        {"localhost", "localhost", 7400},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        char host[NET_HOST_SIZE];
        uint16_t port = 0;
        struct sk_err err = {0};
        assert_int_equal(net_address_split(sk_str(rows[i].text), 7400, host, &port, &err), 0);
        assert_string_equal(host, rows[i].host);
        assert_int_equal(port, rows[i].port);
    }
}

static void bad_ones(void **state)
{
    static const char *rows[] = {"",     ":",        ":7400",    "a:",       "a:0",    "a:65536",
                                 "a:7x", "[::1",     "[::1]x",   "[::1]:",   "[a]:1",  "a b",
                                 "-a",   "a..b",     ".a",       "Fra.com",  "::1::2", "[::1]:+1",
                                 "a:-1", "1.2.3.4/", "a:00001x", "a:999999", "[]:1",   "a:1:"};
    char host[NET_HOST_SIZE] = "kept";
    uint16_t port = 9;
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct sk_err err = {0};
        assert_int_equal(net_address_split(sk_str(rows[i]), 7400, host, &port, &err), SK_ERR_INPUT);
        assert_true(err.fix[0]);
    }
    assert_int_equal(net_address_split((struct sk_str){"1.2.3.4\0x", 9}, 1, host, &port, NULL),
                     SK_ERR_INPUT);
    assert_string_equal(host, "kept");
    assert_int_equal(port, 9);
}

static void numbers_print_as_they_were(void **state)
{
    static const char *rows[] = {"203.0.113.7:7400", "[2001:db8::1]:7401"};
    struct sockaddr_storage sa;
    char text[NET_ADDRESS_SIZE], host[NET_HOST_SIZE];
    (void)state;
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(net_address_parse(sk_str(rows[i]), 1, &sa, NULL), 0);
        net_address_print((struct sockaddr *)&sa, text);
        assert_string_equal(text, rows[i]);
    }
    net_address_host((struct sockaddr *)&sa, host);
    assert_string_equal(host, "2001:db8::1");
    assert_int_equal(net_address_parse(SK_STR("localhost"), 1, &sa, NULL), SK_ERR_INPUT);
    sa.ss_family = AF_UNIX;
    net_address_print((struct sockaddr *)&sa, text);
    assert_string_equal(text, "?");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(good_ones),
        cmocka_unit_test(bad_ones),
        cmocka_unit_test(numbers_print_as_they_were),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
