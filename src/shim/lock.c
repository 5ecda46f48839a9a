/* SPDX-License-Identifier: Apache-2.0 */
#include "shim/shim.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

/*
 * One shim a folder, one run once. An agent that was killed while its shim started does not know of
 * it and starts the same run again. So who finds the lock taken waits until the holder can be
 * talked to, or is gone; and whoever gets the lock looks whether its run has been already.
 */
#define LOCK_WAIT_MS 5000
#define LOCK_LOOK_MS 5

static bool somebody_listens(void)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX, .sun_path = "shim.sock"};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    bool there = fd >= 0 && connect(fd, (const struct sockaddr *)&at, sizeof(at)) == 0;

    if (fd >= 0) {
        (void)close(fd);
    }
    return there;
}

/* The run of the record that is there; 0 if there is none. */
static long recorded_run(void)
{
    char text[SHIM_STATUS_BYTES + 1];
    int fd = open("status", O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
    const char *at;
    long run = 0;

    if (fd >= 0) {
        (void)close(fd);
    }
    if (n <= 0) {
        return 0;
    }
    text[n] = '\0';
    at = strstr(text, "\"run\":");
    return at && sscanf(at, "\"run\":%ld", &run) == 1 ? run : 0;
}

int shim_lock(const struct shim_config *config, struct shim_reason *reason)
{
    struct flock whole = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    const struct timespec pause = {0, LOCK_LOOK_MS * 1000000L};
    int64_t until = shim_now_ms() + LOCK_WAIT_MS;
    int lock = open("lock", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);

    if (lock < 0) {
        return shim_fail_errno(reason, "lock '%s'", config->dir);
    }
    while (fcntl(lock, F_OFD_SETLK, &whole) < 0) {
        /* The shim of an earlier run may still be on its way out, after its record. */
        if ((recorded_run() >= config->run && somebody_listens()) || shim_now_ms() >= until) {
            (void)close(lock);
            return 1;
        }
        (void)nanosleep(&pause, NULL); /* woken early: looks again a little sooner */
    }
    return recorded_run() >= config->run ? 1 : 0; /* the lock is held until this process ends */
}
