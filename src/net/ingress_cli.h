/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SK_NET_INGRESS_CLI_H
#define SK_NET_INGRESS_CLI_H

#include <uv.h>

#include "base/err.h"
#include "base/str.h"

/*
 * One command to HAProxy's runtime socket and its whole answer (private to ingress*.c). The
 * callback is called once, from the loop, also on failure (err->code != 0; the answer is empty
 * then). At most 256 KiB of answer and 2 s.
 */
struct ingress_cli;
typedef void ingress_cli_fn(void *ctx, struct sk_str answer, const struct sk_err *err);

struct ingress_cli *ingress_cli_ask(uv_loop_t *loop, const char *path, struct sk_str command,
                                    ingress_cli_fn *fn, void *ctx);
/* The callback will not be called any more. */
void ingress_cli_cancel(struct ingress_cli *cli);

#endif
