/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SK_CLI_RETURN_TEXT_H
#define SK_CLI_RETURN_TEXT_H

#include "base/buf.h"
#include "base/tree.h"

/* Appends the line that says where a return stands (`return` of skerry.status/1, or a
 * skerry.return/1); nothing while there is none to speak of. */
void return_line(const struct sk_node *ret, struct sk_buf *out);

#endif
