/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SK_DAEMON_RECOVER_H
#define SK_DAEMON_RECOVER_H

#include "base/err.h"
#include "base/str.h"
#include "daemon/config.h"
#include "net/seal.h"

/*
 * What the command line does to the folder of a server whose daemon does not run.
 */

/* The keys of a control node whose other control nodes are lost for good, by the recovery code: its
 * unseal key is a file again, its shares are gone. SK_ERR_DENIED: not its code; SK_ERR_CONFLICT:
 * its daemon runs. */
int daemon_recover(const char *dir, const struct seal_code *code, struct daemon_config *ret,
                   struct sk_err *err);

/*
 * Control has another address ("HOST:7400"): this server's node.json names it from now on. Connects
 * first, with the server's own identity, and believes only a control node of its cluster.
 */
int daemon_rejoin(const char *dir, const char *control, struct daemon_config *ret,
                  struct sk_err *err);

#endif
