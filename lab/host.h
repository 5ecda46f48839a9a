/* SPDX-License-Identifier: Apache-2.0 */
#ifndef LAB_HOST_H
#define LAB_HOST_H

#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"
#include "lab/net.h"

/*
 * One host that runs: the first process of a PID namespace, with the host's network namespace and
 * a /proc of its own. Whatever is started on the host, however often it forks or detaches, ends
 * with this process; and this one ends with its parent, the keeper (keep.h), also after kill -9.
 *
 * It starts `skerry daemon` when it is told to, reaps what is orphaned, and delays the host's disk:
 * a seccomp filter hands each fsync, fdatasync, sync, syncfs, sync_file_range and msync of every
 * process of the host to it, and it lets the kernel do the call `slow_ms` later. That needs no
 * device mapper, and holds for programs that are linked statically too. Writes that are durable by
 * themselves (O_SYNC, O_DSYNC, io_uring) are not delayed.
 *
 * Linux, root. lab_host_begin() is called by the keeper's one thread.
 */
#define LAB_SLOW_MS_MAX 60000

/* In memory that the keeper and its host share. */
struct lab_host_shared {
    _Atomic uint32_t slow_ms;
    _Atomic uint32_t daemons; /* how many were started and have not ended: 0 or 1 */
    _Atomic uint32_t starts;  /* how often one was started */
};

struct lab_host {
    pid_t pid; /* 0 = off */
    int talk;  /* a packet is a command: see lab_host_start() */
    struct lab_host_shared *shared;
};

/* Makes the host's first process. *ret_host: lab_host_forget() once it was reaped. */
int lab_host_begin(const struct lab_node *node, struct lab_host *ret_host, struct sk_err *err);
/* Tells it to start `SKERRY daemon --data DATA`, its output appended to LOG. Paths of at most 1,000
 * bytes together. */
int lab_host_start(const struct lab_host *host, const char *skerry, const char *data,
                   const char *log, struct sk_err *err);
void lab_host_forget(struct lab_host *host); /* does not kill */

#endif
