/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AGENT_SHIMLINK_H
#define AGENT_SHIMLINK_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <uv.h>

#include "base/err.h"

/*
 * The agent's end of a shim's socket, and its status file. A shim is believed because of where its
 * socket is (a folder that only the agent's user can write) and because the kernel says that the
 * peer is the process that the hello names. Its lines are bounded; one that breaks the rules is as
 * if it had died.
 */
struct shim_link;

struct shim_link_calls {
    void (*hello)(void *ctx, int64_t run, pid_t pid); /* once */
    void (*checked)(void *ctx, bool ok, const char *reason);
    void (*gone)(void *ctx); /* the shim ended; the link is closed by then. Once, the last call */
};

/* SK_ERR_UNAVAILABLE: no shim listens there. */
int shim_link_open(uv_loop_t *loop, const char *dir, const struct shim_link_calls *calls, void *ctx,
                   struct shim_link **ret, struct sk_err *err);
void shim_link_stop(struct shim_link *link, int signal, int64_t grace_ms);
/* It may run until then (milliseconds since boot, CLOCK_BOOTTIME); never takes time away. */
void shim_link_lease(struct shim_link *link, int64_t until_ms);
/* what: "tcp ADDR PORT TIMEOUT_MS" or "http ADDR PORT TIMEOUT_MS PATH" */
void shim_link_check(struct shim_link *link, const char *what);
void shim_link_close(struct shim_link *link); /* no more calls. NULL allowed */

struct shim_record {
    int64_t run;
    bool ended, failed, oom, stopped, lease_over;
    bool this_boot;
    pid_t pid;
    unsigned long long start; /* of pid */
    int exit, signal;         /* -1, 0: none */
    char reason[256];
};
/* SK_ERR_NOT_FOUND, SK_ERR_CORRUPT, SK_ERR_IO */
int shim_record_read(const char *dir, struct shim_record *ret, struct sk_err *err);

/* Ends what a killed shim left behind: the processes of the session that its workload led. */
void shim_kill_orphans(const struct shim_record *record);

#endif
