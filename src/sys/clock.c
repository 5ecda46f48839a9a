/* SPDX-License-Identifier: Apache-2.0 */
#include "sys/clock.h"

#include <errno.h>
#include <sys/random.h>
#include <time.h>

#include "base/err.h"

static int64_t read_us(clockid_t clock)
{
    struct timespec ts = {0};
    int rc = clock_gettime(clock, &ts);
    SK_ASSERT(rc == 0);
    return (int64_t)ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}

int64_t sys_now_us(void)
{
    return read_us(CLOCK_BOOTTIME);
}

int64_t sys_now_ms(void)
{
    return read_us(CLOCK_BOOTTIME) / 1000;
}

int64_t sys_wall_ms(void)
{
    return read_us(CLOCK_REALTIME) / 1000;
}

void sys_random(void *ret_bytes, size_t len)
{
    char *at = ret_bytes;
    while (len) {
        ssize_t n = getrandom(at, len, 0);
        if (n < 0) {
            SK_ASSERT(errno == EINTR);
            continue;
        }
        at += n;
        len -= (size_t)n;
    }
}
