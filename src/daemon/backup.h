/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SK_DAEMON_BACKUP_H
#define SK_DAEMON_BACKUP_H

#include <sys/types.h>

#include "base/err.h"
#include "daemon/config.h"
#include "net/seal.h"

/*
 * A control node's backup: one sealed file (net/seal_file.h) with the state as of one revision and
 * what a control node cannot be without. It is made without the recovery code, from the folder of a
 * running daemon or of one that stands still, in either form of the store; it is read with the code
 * alone.
 *
 * Inside: entries, each a line of JSON {"name","size","mode"} and its bytes, in the order of their
 * restoring; then {"end":true}. The head tells people what it is: {"v","what":"backup","cluster",
 * "node","wall_ms","version","store","revision"}.
 */
struct backup;

/* Takes the snapshot; it lies in the control folder until the backup is freed (it has no name by
 * then). SK_ERR_INPUT where there is no state; SK_ERR_NOT_FOUND where there is no recovery code to
 * seal it to. Blocks. */
int backup_new(const char *dir, struct backup **ret, struct sk_err *err);
/* The next bytes of the file: how many, 0 at the end, or an error (then the file is worthless). */
ssize_t backup_read(struct backup *backup, char *buf, size_t max, struct sk_err *err);
/* The head's JSON. */
struct sk_str backup_head(const struct backup *backup);
void backup_free(struct backup *backup); /* NULL allowed */

struct restore {
    const char *dir;  /* holds no server; what else is in it (agent/) stays */
    const char *file; /* the backup */
    const struct seal_code *code;
    const char *address;       /* where the others reach this server now; NULL = as before */
    const char *listen;        /* NULL = as before */
    struct daemon_config node; /* out: the server that it is now */
};
/*
 * Makes `dir` the one control node, over SQLite and under a new store id, that the backup was taken
 * of. All of the file is read and proved first: one that is altered, cut short or of another code
 * leaves nothing behind. node.json comes last.
 */
int backup_restore(struct restore *restore, struct sk_err *err);

#endif
