/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SK_CONTROL_RETURN_H
#define SK_CONTROL_RETURN_H

#include "control/internal.h"

/* What the files of the return share; return.c tells what it is. */

/* return_record.c: a patch of the record, from return_patch() to return_patch_end(), which puts it
 * into the transaction and releases `out`. The others take members away. */
void return_patch(struct sk_jw *w, struct sk_buf *out);
void return_patch_begun_ends(struct sk_jw *w);
void return_patch_hold_ends(struct sk_jw *w);
void return_patch_go_ends(struct sk_jw *w);
void return_patch_end(struct control *c, struct ctl_txn *t, struct sk_jw *w, struct sk_buf *out);
/* In the name of who let it begin. */
void return_event(struct control *c, struct ctl_txn *t, const char *what, struct sk_str text);

/* return_move.c: what is under way goes on: done ones leave, the next begin. */
void return_advance(struct control *c);

#endif
