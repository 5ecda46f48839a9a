/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SK_DAEMON_API_BODY_H
#define SK_DAEMON_API_BODY_H

#include "daemon/api.h"
#include "daemon/call.h"
#include "http/server.h"

/*
 * Request bodies into control requests. Strict: a key that the route does not know is an error that
 * names it. Runs on the HTTP thread; everything that the call keeps lives in call->arena.
 */
#define API_FILL(name)                                                                       \
    int name(struct api_context *api, struct http_exchange *x, const struct sk_str *segment, \
             struct api_call *call, struct sk_err *err)

API_FILL(api_fill_plan);
API_FILL(api_fill_apply);
API_FILL(api_fill_rebalance);
API_FILL(api_fill_return);
API_FILL(api_fill_project_delete);
API_FILL(api_fill_drain);
API_FILL(api_fill_undrain);
API_FILL(api_fill_node_remove);
API_FILL(api_fill_site_remove);
API_FILL(api_fill_site_set);
API_FILL(api_fill_node_set);
API_FILL(api_fill_link_set);
API_FILL(api_fill_token);
API_FILL(api_fill_token_revoke);
API_FILL(api_fill_key);
API_FILL(api_fill_key_revoke);
API_FILL(api_fill_drill);
API_FILL(api_fill_drill_abort);
API_FILL(api_fill_grow);
API_FILL(api_fill_shrink);
API_FILL(api_fill_replace);
API_FILL(api_fill_abort);

#endif
