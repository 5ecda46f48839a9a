/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SK_DAEMON_SUPERVISE_H
#define SK_DAEMON_SUPERVISE_H

#include <stdbool.h>

#include "base/err.h"

/*
 * `skerry daemon`: starts the two halves of a server (skerryd without privilege, the agent with it)
 * as children of this process, starts either again when it ends by itself, and stops both on
 * SIGTERM or SIGINT. Blocks until both have ended.
 *
 * Started as root, skerryd becomes `user` ("" = skerry if there is one, else nobody) and keeps one
 * capability, to listen on ports below 1024.
 */
int daemon_supervise(const char *dir, const char *user, bool verbose, struct sk_err *err);

/* skerryd's user id; the own one when not root. SK_ERR_INPUT for a name that is not there. */
int daemon_user(const char *user, unsigned *ret_uid, unsigned *ret_gid, struct sk_err *err);

#endif
