/* SPDX-License-Identifier: Apache-2.0 */
#ifndef LAB_KEEP_H
#define LAB_KEEP_H

#include <stdbool.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/str.h"
#include "lab/net.h"

/*
 * The keeper of a lab: one process, the parent of all that runs in the lab.
 *
 * It runs the delay router and the hosts (host.h) as children that the kernel kills when it ends,
 * however it ends. When the lab's owner dies it takes the lab down by itself, at once. So a lab
 * needs nobody to clean up: kill -9 of the owner lets the keeper remove everything; kill -9 of the
 * keeper leaves no process, only names (of namespaces, mounts and files) that hold nothing and that
 * the next `up`, `down` or `clean` removes.
 *
 * Requests go over a unix socket, one packet each way: "ready"; "start NODE\nSKERRY" (the daemon's
 * program); "slow NODE MS"; "hosts", answered with a line "NODE PID DAEMONS STARTS SLOW_MS" for
 * each host that runs. Nothing it does for a request blocks for longer than a fork.
 */

/* Runs the keeper of the lab in `dir` until it ends. It begins before the lab is complete: whoever
 * makes the lab holds standard input's other end, and writes "g" once all is made; if it goes away
 * before, the keeper removes what there is. `program`: of skerry-lab, which is the router too. */
int lab_keep_run(const char *dir, const char *program, bool nogso, struct sk_err *err);

/* Asks, and waits up to 10 s. The answer is appended to reply (may be NULL). SK_ERR_UNAVAILABLE if
 * there is no keeper; else what it says. */
int lab_keep_ask(const struct lab_net *net, struct sk_str request, struct sk_buf *reply,
                 struct sk_err *err);

#endif
