/* SPDX-License-Identifier: Apache-2.0 */
#include "shim/shim.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

/*
 * The first process starts the real shim and stays until that one says that the workload runs, or
 * why it does not. The real shim has left its session by then: the agent may die at any moment of
 * this.
 */
static int wait_for_ready(int fd)
{
    char text[SHIM_REASON_MAX + 2];
    size_t len = 0;
    ssize_t n;

    while (len < sizeof(text) - 1 && (n = read(fd, text + len, sizeof(text) - 1 - len)) != 0) {
        if (n < 0 && errno != EINTR) {
            break;
        }
        len += n > 0 ? (size_t)n : 0;
    }
    text[len] = '\0';
    if (text[0] == 'k') {
        return 0;
    }
    if (text[0] == 'b') {
        (void)fprintf(stderr, "another shim holds this instance, or it has had this run\n");
        return SHIM_EXIT_BUSY;
    }
    (void)fprintf(stderr, "%s\n", text[0] == 'f' ? text + 1 : "the shim died before it was ready");
    return 1;
}

static void refuse(int ready_fd, char kind, const char *reason)
{
    (void)!write(ready_fd, &kind, 1);
    (void)!write(ready_fd, reason, strlen(reason));
    _exit(1);
}

static void quiet_stdio(void)
{
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);

    for (int fd = 0; null >= 0 && fd < 3; fd++) {
        (void)dup2(null, fd);
    }
}

static int be_shim(const struct shim_config *config, int ready_fd)
{
    struct shim_reason reason;
    int busy, score;

    (void)setsid();
    (void)prctl(PR_SET_CHILD_SUBREAPER, 1);
    (void)umask(0022);
    if (chdir(config->dir) < 0) {
        (void)shim_fail_errno(&reason, "open instance folder '%s'", config->dir);
        refuse(ready_fd, 'f', reason.text);
    }
    busy = shim_lock(config, &reason);
    if (busy != 0) {
        refuse(ready_fd, busy < 0 ? 'f' : 'b', busy < 0 ? reason.text : "");
    }
    quiet_stdio();
    score = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
    if (score >= 0) {
        (void)!write(score, "-900", 4); /* who holds the exit status goes last; root only */
        (void)close(score);
    }
    return shim_loop(config, ready_fd);
}

int main(int argc, char **argv)
{
    static struct shim_config config;
    struct shim_reason reason;
    int ready[2];
    pid_t pid;

    if (shim_parse_args(argc, argv, &config, &reason) < 0) {
        (void)fprintf(stderr, "%s\n", reason.text);
        return 2;
    }
    (void)close_range(3, ~0U, 0);
    if (pipe2(ready, O_CLOEXEC) < 0 || (pid = fork()) < 0) {
        (void)fprintf(stderr, "cannot start the shim: %s\n", strerrordesc_np(errno));
        return 1;
    }
    if (pid == 0) {
        (void)close(ready[0]);
        return be_shim(&config, ready[1]);
    }
    (void)close(ready[1]);
    return wait_for_ready(ready[0]);
}
