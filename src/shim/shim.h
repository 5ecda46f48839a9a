/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SHIM_SHIM_H
#define SHIM_SHIM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/*
 * skerry-shim: the small process above each instance.
 *
 * It is started by the agent, leaves it at once (own session, no parent that matters), and from
 * then on only the workload decides how long it lives. It holds what must not be lost when the
 * agent dies: the ends of the workload's output, the right to reap it, and its exit status.
 *
 * Guarantees: at most one shim an instance folder (a lock held for life); everything that the
 * workload ever forked is dead when the shim ends (it is a subreaper: orphans come to it); the exit
 * status is on disk (fdatasync, rename) before anybody is told of it, in space that was set aside
 * at the start, so a full disk cannot lose it; with a lease, everything is dead within moments of
 * its end, whatever happens to the agent (a timer of the kernel on CLOCK_BOOTTIME, which also
 * counts while the machine sleeps).
 *
 * In the instance's folder: `lock`, `shim.sock`, `status` (one JSON object), `status.next` (the
 * space set aside), `log`, `log.1` ... (CRI's format: time, stream, F or P, text).
 *
 * One thread, libc only, no allocation after the start. What the agent said comes by argv; the
 * environment is the workload's own.
 */

#define SHIM_CGROUPS_MAX 8
#define SHIM_GROUPS_MAX 32
#define SHIM_CLIENTS_MAX 8
#define SHIM_LINE_MAX 4096     /* one request or answer on the socket */
#define SHIM_LOG_LINE_MAX 8192 /* longer lines are cut into partial ones */
#define SHIM_STATUS_BYTES 1024 /* the whole status file */
#define SHIM_EXIT_BUSY 75      /* another shim holds the folder, or this run has been */
#define SHIM_CHECK_BYTES_MAX 65536

struct shim_config {
    const char *dir;
    const char *id;
    long run;
    long log_bytes_max; /* of one file */
    long log_files_max; /* with the current one */
    const char *cwd;
    bool has_user;
    uid_t uid;
    gid_t gid;
    gid_t groups[SHIM_GROUPS_MAX];
    size_t ngroups;
    const char
        *cgroups[SHIM_CGROUPS_MAX]; /* folders of cgroup hierarchies that the workload joins */
    size_t ncgroups;
    long long lease_until_ms; /* CLOCK_BOOTTIME: everything is killed then, unless the agent's
                                 `lease UNTIL_MS` came before. 0: no lease */
    const char *oom_file;     /* has a line "oom_kill N" */
    const char *lower;        /* overlay: the read-only folder; upper, work and rootfs are in dir */
    bool hybrid_cgroup;       /* hide the cgroup2 mount of a hybrid host from the runtime */
    const char *bridge;       /* own network namespace, joined to this bridge by a veth pair */
    const char *veth;
    const char *address; /* "10.210.3.7/24" */
    const char *gateway;
    const char
        *runtime_pid; /* argv is a runtime that detaches and writes the workload's pid here */
    const char *runtime_log; /* where the runtime writes why it failed */
    char *const *argv;
};

/* reason: one line for people; every function below that takes one writes it only on failure (-1).
 */
#define SHIM_REASON_MAX 400
struct shim_reason {
    char text[SHIM_REASON_MAX];
};
int shim_fail(struct shim_reason *reason, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
/* Appends ": " and the text of errno. */
int shim_fail_errno(struct shim_reason *reason, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

int64_t shim_now_ms(void);      /* CLOCK_BOOTTIME */
int64_t shim_realtime_ms(void); /* for records only */

/* args.c: usage errors are a bug of the agent or a person's: one line and -1. */
int shim_parse_args(int argc, char **argv, struct shim_config *ret, struct shim_reason *reason);

/* place.c: the mount and network namespaces of the instance. */
int shim_place(const struct shim_config *config, struct shim_reason *reason);

/* log.c */
enum shim_stream { SHIM_STDOUT, SHIM_STDERR, SHIM_STREAM_COUNT };
int shim_log_open(const struct shim_config *config, struct shim_reason *reason);
/* Reads once from fd into the log. Returns false at its end. */
bool shim_log_pump(enum shim_stream stream, int fd);
void shim_log_end(enum shim_stream stream); /* what is left of an unfinished line */
void shim_log_flush(void);

/* status.c */
enum shim_state { SHIM_STARTING, SHIM_RUNNING, SHIM_EXITED, SHIM_FAILED, SHIM_STATE_COUNT };
struct shim_status {
    enum shim_state state;
    pid_t pid;                /* of the workload's first process; 0 before it exists */
    unsigned long long start; /* its start time in clock ticks since boot (/proc/PID/stat) */
    int exit;                 /* -1 unless it exited by itself */
    int signal;               /* 0 unless a signal ended it */
    bool oom;
    bool stopped;    /* it ended after a stop was asked for */
    bool lease_over; /* ... because its lease had run out */
    int64_t started_ms, ended_ms;
    const char *reason; /* of SHIM_FAILED */
};
extern const char *const shim_state_names[SHIM_STATE_COUNT];
/* Makes this the folder's one shim, until the process ends. 1: another one is, and can be talked
 * to, or the run that was asked for has been. */
int shim_lock(const struct shim_config *config, struct shim_reason *reason);
/* Sets space aside for the last record and writes the first one. */
int shim_status_begin(const struct shim_config *config, const struct shim_status *status,
                      struct shim_reason *reason);
int shim_status_update(const struct shim_config *config, const struct shim_status *status,
                       struct shim_reason *reason);
/* The last record: durable when it returns 0. */
int shim_status_end(const struct shim_config *config, const struct shim_status *status,
                    struct shim_reason *reason);
unsigned long long shim_proc_start(pid_t pid); /* 0 if there is no such process */

/* child.c */
struct shim_child {
    pid_t pid;
    int out, err; /* read ends, not blocking */
};
int shim_child_start(const struct shim_config *config, struct shim_child *ret,
                     struct shim_reason *reason);
/* KILL to every child of ours (orphans come to us). Returns how many there were. */
size_t shim_kill_children(void);
/* KILL to every process of the workload's cgroups, whoever its parent is by now. */
void shim_kill_cgroups(const struct shim_config *config);
bool shim_oom_happened(const char *path);

/* check.c: one TCP or HTTP check at a time, without blocking, in the instance's namespace. */
struct shim_check {
    int fd; /* -1: none */
    short events;
    bool sent, answered;
    int64_t deadline_ms;
    size_t nread, nrequest, nsent;
    char request[SHIM_LINE_MAX];
    char head[64];
    int client; /* slot that waits for the answer */
    bool http;
};
/* line: "tcp ADDR PORT TIMEOUT_MS" or "http ADDR PORT TIMEOUT_MS PATH". Returns 0 (wait for
 * events), or -1 with the reason: the check failed at once. */
int shim_check_start(struct shim_check *check, const char *line, struct shim_reason *reason);
/* 1: passed; 0: go on; -1: failed. */
int shim_check_step(struct shim_check *check, struct shim_reason *reason);
void shim_check_close(struct shim_check *check);

/* loop.c: from the first fork to the last record. ready_fd gets "k", "b" or "f<reason>". */
int shim_loop(const struct shim_config *config, int ready_fd);

#endif
