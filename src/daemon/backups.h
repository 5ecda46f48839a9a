/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SK_DAEMON_BACKUPS_H
#define SK_DAEMON_BACKUPS_H

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "base/err.h"

/*
 * The backups that a control node makes by itself, each as `skerry control backup` makes it (sealed
 * to the recovery code), in DIR/control/backups/YYYYMMDDTHHMMSSZ.backup: one when there is none of
 * the last six hours, the newest eight are kept, fewer where they are large. Every control node
 * makes its own, so they lie in as many sites. They help against a mistake and a damaged state;
 * against the loss of all control nodes helps only a copy elsewhere.
 *
 * What goes wrong is logged, and tried again after ten minutes. Loop thread, but for what blocks.
 */
struct backups;

#define BACKUPS_EVERY_MS (6 * 3600 * 1000LL)
#define BACKUPS_KEPT_MAX 8
#define BACKUPS_KEPT_MIN 2
#define BACKUPS_BYTES_MAX (1LL << 30)

struct backups *backups_new(uv_loop_t *loop, const char *dir);
/* Breaks off what is under way and waits for that. NULL allowed. */
void backups_free(struct backups *backups);

/* ---- what it does, blocking ---- */

/* Whether `folder` (which may be missing) has none of the last six hours. One that seems to come
 * from the future counts for nothing: the clock was wrong. */
bool backups_due(const char *folder, int64_t wall_ms);
/* Adds one of the daemon in `dir`, named by the time. `ending` is looked at on the way; NULL: it
 * goes on. Leaves nothing half: not on a failure, and what a crash left goes at the next.
 * SK_ERR_LIMIT where less than a tenth of the disk is free. */
int backups_make(const char *dir, const char *folder, int64_t wall_ms, const bool *ending,
                 struct sk_err *err);
/* Removes the oldest beyond what is kept. Other files are left alone. */
int backups_trim(const char *folder, struct sk_err *err);

#endif
