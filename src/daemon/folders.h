/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SK_DAEMON_FOLDERS_H
#define SK_DAEMON_FOLDERS_H

#include <stdbool.h>

#include "base/err.h"
#include "daemon/config.h"

/* The data folder's own folders, as init, join and restore make them. */
struct folders {
    char identity[512], control[512], agent[512], run[512], ingress[512];
};

void folders_name(const char *dir, struct folders *ret);
/* SK_ERR_CONFLICT: the folder holds a server, or one that cannot be read. */
int folders_refuse_server(const char *dir, struct sk_err *err);
/* SK_ERR_CONFLICT: it holds a cluster's state without a node.json. */
int folders_refuse_state(const struct folders *f, struct sk_err *err);
int folders_make(const struct daemon_config *config, const struct folders *f, bool control,
                 struct sk_err *err);
/* What skerryd reads and writes belongs to its own user; the agent's folder stays root's. */
int folders_give(const struct daemon_config *config, const struct folders *f, bool control,
                 struct sk_err *err);

#endif
