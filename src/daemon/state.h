/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SK_DAEMON_STATE_H
#define SK_DAEMON_STATE_H

#include <stdbool.h>
#include <uv.h>

#include "base/err.h"
#include "store/etcd.h"
#include "store/store.h"
#include "sys/queue.h"

/*
 * The state of a control node, in the form that DIR/store.json names, and who touches it: one
 * worker with a handle for reading and writing, and, where others write too (etcd), a second one
 * with a handle of its own that waits for changes. Loop thread, but for what says otherwise.
 */

/* ---- the form: DIR/store.json; no file: SQLite (docs/control-nodes.md) ---- */

#define STATE_URL_SIZE 256
#define STATE_PATH_SIZE 512

struct state_form {
    bool etcd;
    char endpoints[STORE_ETCD_ENDPOINTS_MAX][STATE_URL_SIZE]; /* the preferred one first */
    size_t nendpoints;
    char root[80];
    char ca[STATE_PATH_SIZE], cert[STATE_PATH_SIZE],
        key[STATE_PATH_SIZE]; /* within DIR, or from / */
};

/* SK_ERR_CORRUPT for a file that says neither. */
int state_form_read(const char *dir, struct state_form *ret, struct sk_err *err);
/* Durable when it returns: from then on a start opens this form. */
int state_form_write(const char *dir, const struct state_form *form, struct sk_err *err);
/* The options of an etcd form; they point into `form`, `paths` and `urls`. */
void state_form_options(const char *dir, const struct state_form *form,
                        char paths[3][2 * STATE_PATH_SIZE],
                        const char *urls[STORE_ETCD_ENDPOINTS_MAX], struct store_etcd *ret);
/* A further handle. Blocks: on a worker, for deadline_ms (0: the form's own) at most. */
int state_form_open(const char *dir, const struct state_form *form, int64_t deadline_ms,
                    struct store **ret, struct sk_err *err);

/* ---- at work ---- */

struct state;

/* What others committed, or that some of it was lost (changes->revision is what to read at least).
 * Also called with nothing new, so that its coming shows that there is a feed. */
typedef void state_changed_fn(void *ctx, const struct store_changes *changes, bool lost);

/* SQLite is opened at once; etcd by the first job that finds it. `dir` is copied. */
int state_new(uv_loop_t *loop, const char *dir, state_changed_fn *changed, void *ctx,
              struct state **ret, struct sk_err *err);
/* Ends what is under way, then closes. Blocks as long as a read or commit under way does; a watch
 * is ended at once. NULL allowed. */
void state_free(struct state *state);
const struct state_form *state_form(const struct state *state);
/* To the worker that may use state_store(). */
bool state_submit(struct state *state, struct sys_job *job);
/* On that worker: the handle. Opens it if it is not open: blocks as any call does. */
int state_store(struct state *state, struct store **ret, struct sk_err *err);
/* Changes after `from` are told from now on, if others write this state. Once a form. */
void state_follow(struct state *state, const struct store_revision *from);
/* The members of etcd are others now, the preferred one first: said to the handles that are open,
 * and kept in store.json for the next start. Nothing happens where they are those of before. */
void state_set_endpoints(struct state *state, const struct sk_str *endpoints, size_t count);
/* Another form from the next job on. `fresh` is taken over (NULL: opened when it is needed). */
void state_switch(struct state *state, const struct state_form *form, struct store *fresh);

#endif
