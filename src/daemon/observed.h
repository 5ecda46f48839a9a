/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SK_DAEMON_OBSERVED_H
#define SK_DAEMON_OBSERVED_H

#include "base/buf.h"
#include "base/tree.h"

/*
 * The agent's observations as last told, so that a control node that (re)connects gets all of them
 * at once. Pure; order of ids.
 */
struct observed {
    struct observed_row *rows;
    int64_t obs_rev, assign_rev;
    int64_t term; /* of the leader that its assignment is of, which it keeps on disk */
    bool known;   /* a full one came since the agent connected */
};

/* Takes over an `observe` frame of the agent: a full one replaces everything. */
void observed_take(struct observed *observed, const struct sk_node *frame);
/* Appends a full `observe` frame. */
void observed_write(const struct observed *observed, struct sk_buf *out);
void observed_release(struct observed *observed);

#endif
