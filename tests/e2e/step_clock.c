/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A wall clock for one node of a test, on a machine that has one for all (time namespaces know
 * monotonic clocks only). Preloaded into all of a node's processes; the file that SKERRY_TEST_CLOCK
 * names holds, as text, by how many seconds their wall clock is ahead, and is read at each look at
 * it. Other clocks are as they are. libfaketime was tried: its timed waits broke the command
 * line's, and it leaves shared memory behind when a process is killed.
 */
#include <fcntl.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static long ahead(void)
{
    const char *path = getenv("SKERRY_TEST_CLOCK");
    char text[24] = "";
    long n = 0;
    int fd;

    fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (fd >= 0) {
        n = read(fd, text, sizeof(text) - 1);
        (void)close(fd);
    }
    return n > 0 ? strtol(text, NULL, 10) : 0;
}

int clock_gettime(clockid_t id, struct timespec *ret)
{
    long rc = syscall(SYS_clock_gettime, id, ret);

    if (rc == 0 && (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE)) {
        ret->tv_sec += ahead();
    }
    return (int)rc;
}

int gettimeofday(struct timeval *restrict ret, void *restrict zone)
{
    struct timespec now;

    (void)zone;
    (void)clock_gettime(CLOCK_REALTIME, &now);
    *ret = (struct timeval){now.tv_sec, now.tv_nsec / 1000};
    return 0;
}

time_t time(time_t *ret)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_REALTIME, &now);
    if (ret) {
        *ret = now.tv_sec;
    }
    return now.tv_sec;
}
