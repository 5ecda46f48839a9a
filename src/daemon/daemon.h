/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SK_DAEMON_DAEMON_H
#define SK_DAEMON_DAEMON_H

#include <stdbool.h>

#include "base/err.h"

/* `skerry daemon`: the supervisor, or one half of a server. Blocks until it is told to stop by
 * SIGTERM or SIGINT. */
struct daemon_options {
    const char *dir;
    const char *role; /* NULL: supervise both halves; "net", "agent" */
    bool verbose;
};
int daemon_run(const struct daemon_options *options, struct sk_err *err);

/* skerryd's half; in netd.c. */
struct daemon_config;
int netd_run(const struct daemon_config *config, struct sk_err *err);

#endif
