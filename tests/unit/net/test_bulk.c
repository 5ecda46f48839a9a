/* SPDX-License-Identifier: Apache-2.0 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "net/bulk.h"

static struct {
    struct net_bulk *bulk;
    int server, client;
    struct sockaddr_in to;
    unsigned taken, sum;
    size_t answer_len;
} b;

static int bound(struct sockaddr_in *ret)
{
    struct sockaddr_in sa = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(*ret);
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    assert_true(fd >= 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)ret, &len), 0);
    return fd;
}

static int set_up(void **state)
{
    struct sockaddr_in from;

    (void)state;
    memset(&b, 0, sizeof(b));
    b.bulk = net_bulk_new();
    b.server = bound(&b.to);
    b.client = bound(&from);
    b.answer_len = 2;
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    net_bulk_free(b.bulk);
    close(b.server);
    close(b.client);
    return 0;
}

static void send_one(const uint8_t *bytes, size_t len)
{
    assert_int_equal(sendto(b.client, bytes, len, 0, (const struct sockaddr *)&b.to, sizeof(b.to)),
                     len);
}

static void take(void *ctx, const uint8_t *bytes, size_t len, const struct sockaddr *from)
{
    uint8_t answer[NET_BULK_ANSWER_MAX + 1] = {bytes[0], 7};

    assert_ptr_equal(ctx, &b);
    b.taken++;
    b.sum += bytes[0];
    assert_in_range(len, 1, NET_BULK_BYTES_MAX);
    assert_int_equal(net_bulk_answer(b.bulk, answer, b.answer_len, from),
                     b.answer_len <= NET_BULK_ANSWER_MAX);
}

static void all_are_taken_and_answered(void **state)
{
    unsigned answers = 0, sum = 0;
    uint8_t byte;

    (void)state;
    for (unsigned i = 0; i < 100; i++) {
        byte = (uint8_t)i;
        send_one(&byte, 1);
    }
    net_bulk_receive(b.bulk, b.server, take, &b);
    assert_int_equal(b.taken, 100);
    assert_int_equal(b.sum, 99 * 100 / 2);
    for (uint8_t answer[3]; recv(b.client, answer, sizeof(answer), 0) == 2; answers++) {
        assert_int_equal(answer[1], 7);
        sum += answer[0];
    }
    assert_int_equal(answers, 100);
    assert_int_equal(sum, b.sum);
    net_bulk_receive(b.bulk, b.server, take, &b); /* nothing waits */
    assert_int_equal(b.taken, 100);
}

static void what_is_too_long_is_dropped(void **state)
{
    static uint8_t bytes[NET_BULK_BYTES_MAX + 1];
    uint8_t answer[3];

    (void)state;
    send_one(bytes, sizeof(bytes));
    send_one(bytes, sizeof(bytes) - 1);
    net_bulk_receive(b.bulk, b.server, take, &b);
    assert_int_equal(b.taken, 1);
    assert_int_equal(recv(b.client, answer, sizeof(answer), 0), 2);
    b.answer_len = NET_BULK_ANSWER_MAX + 1; /* refused: the caller sends it itself */
    send_one(bytes, 1);
    net_bulk_receive(b.bulk, b.server, take, &b);
    assert_int_equal(b.taken, 2);
    assert_true(recv(b.client, answer, sizeof(answer), 0) < 0);
}

static void outside_nothing_is_kept(void **state)
{
    uint8_t byte = 1;

    (void)state;
    assert_false(net_bulk_answer(b.bulk, &byte, 1, (const struct sockaddr *)&b.to));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(all_are_taken_and_answered, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_is_too_long_is_dropped, set_up, tear_down),
        cmocka_unit_test_setup_teardown(outside_nothing_is_kept, set_up, tear_down),
    };
    return cmocka_run_group_tests_name("net bulk", tests, NULL, NULL);
}
