/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SK_SYS_PROC_H
#define SK_SYS_PROC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <uv.h>

#include "base/err.h"
#include "base/str.h"

/*
 * Child programs on the event loop: argv in, bounded output and one clear verdict out.
 *
 * A child leads its own process group, which is killed as a whole when its time is over or it is
 * cancelled; nothing is ever passed to a shell. Output beyond `out_max` is read and dropped, so
 * that a talkative child neither blocks nor fills memory. The callback runs exactly once, on the
 * loop, never inside sk_proc_start().
 *
 * Ownership: argv, env and input are copied or used only during sk_proc_start(). The process object
 * belongs to this module; a pointer to it is valid until the callback returns. Loop thread only.
 */
#define SK_PROC_ERR_MAX 4096 /* of standard error, its last bytes are kept */

/* What a program that we start gets of an environment, NULL at the end: PATH with the folders of an
 * administrator's programs, which an ordinary user's own does not have; HOME=/ and LC_ALL=C. */
extern const char *const sk_proc_default_env[];

struct sk_proc;

struct sk_proc_spec {
    const char *const *argv; /* NULL at the end; argv[0] is looked up in PATH */
    const char *const *env;  /* "K=V", NULL at the end; NULL: sk_proc_default_env */
    const char *cwd;         /* NULL: as the caller */
    struct sk_str input;     /* standard input; empty: /dev/null */
    int64_t timeout_ms;      /* 0: none */
    size_t out_max;          /* of standard output; 0: dropped */
    bool has_user;
    uid_t uid;
    gid_t gid;
};

struct sk_proc_result {
    int exit;   /* status, or -1 when a signal or the start ended it */
    int signal; /* 0 */
    bool timed_out, cancelled, out_cut;
    struct sk_str out;   /* standard output, NUL-terminated */
    struct sk_str error; /* the end of standard error, NUL-terminated */
    /* SK_OK when it exited with 0. Else one line: "'crun' exited with 1: <last line of its standard
     * error>", "'crun' did not end within 5000 ms", "'crun' was killed by signal 9". */
    struct sk_err err;
};

/* The result and what it points to are valid during the call. */
typedef void sk_proc_done_fn(void *ctx, const struct sk_proc_result *result);

/* SK_ERR_ENGINE when the program cannot be started ("program 'crun' is not installed"; fix names
 * the remedy); then the callback never runs. ret may be NULL. */
int sk_proc_start(uv_loop_t *loop, const struct sk_proc_spec *spec, sk_proc_done_fn *done,
                  void *ctx, struct sk_proc **ret, struct sk_err *err);
/* KILL for the whole group; the callback comes with `cancelled`. */
void sk_proc_cancel(struct sk_proc *proc);
pid_t sk_proc_pid(const struct sk_proc *proc);

#endif
