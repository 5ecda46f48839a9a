/* SPDX-License-Identifier: Apache-2.0 */
#ifndef LAB_SPAWN_H
#define LAB_SPAWN_H

#include <stdbool.h>
#include <sys/types.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/str.h"

/*
 * Child programs of the lab: argv arrays only, never a shell, optionally in a network namespace.
 *
 * Only the network namespace is entered (setns), never a new mount of /sys as `ip netns exec` does:
 * container runtimes need the host's cgroup mounts. A program that cannot be started is reported by
 * lab_spawn() itself (the child sends errno through a close-on-exec pipe), not by its exit status.
 */
struct lab_spawn {
    const char *netns;       /* path of a network namespace, NULL = the caller's */
    int in, out, err;        /* descriptors of the child; -1 = /dev/null */
    bool new_session;        /* setsid(): its own process group, no terminal */
    bool die_with_parent;    /* SIGKILL when the calling thread ends */
    const char *const *env;  /* "NAME=value" list, NULL = the caller's */
    const char *working_dir; /* NULL = the caller's */
};
#define LAB_SPAWN_INIT ((struct lab_spawn){.in = -1, .out = -1, .err = -1})

/* argv ends in NULL; argv[0] is looked up in PATH. */
int lab_spawn(const struct lab_spawn *how, const char *const argv[], pid_t *ret_pid,
              struct sk_err *err);

/*
 * Runs argv to its end with `input` on standard input. Its standard output is appended to `out`
 * when it ended with 0 (at most LAB_RUN_OUTPUT_MAX are kept; NULL = dropped). SK_ERR_ENGINE with
 * the last line of its standard error for another exit status, SK_ERR_TIMEOUT (the child was
 * killed) after timeout_ms.
 */
#define LAB_RUN_OUTPUT_MAX 65536
int lab_run(const char *netns, const char *const argv[], struct sk_str input, int timeout_ms,
            struct sk_buf *out, struct sk_err *err);

/* Waits up to timeout_ms for a child to end; true and its wait status, or false. */
bool lab_wait(pid_t pid, int timeout_ms, int *ret_status);

/* SIGTERM, up to grace_ms, then SIGKILL; reaps. pid <= 0 is ignored. */
void lab_end(pid_t pid, int grace_ms);

/* Field 22 of /proc/PID/stat: with the pid it names one process for good. 0 if there is none, or it
 * has ended. */
unsigned long long lab_start_time(pid_t pid);

#endif
