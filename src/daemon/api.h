/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SK_DAEMON_API_H
#define SK_DAEMON_API_H

#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/str.h"
#include "daemon/forward.h"
#include "http/server.h"
#include "sys/queue.h"

/*
 * The API, from HTTP to calls: one table of routes, each with the role that it needs; what is not
 * in the table does not exist. Runs on HTTP threads and reaches the loop thread only by `calls`.
 * Schemas: docs/api.md.
 *
 * What the leader has to answer is passed on to it by a control node that does not lead
 * (daemon/forward.h). If no leader is reached, what shows something is answered from this node's
 * own memory, and what changes something is tried for 4 s, then refused.
 *
 * On the unix socket root and the daemon's own user are admin. Over HTTPS a bearer token names a
 * key.
 */
struct api_context {
    struct sys_queue *calls; /* receives struct api_call *, on the loop thread */
    uid_t own_uid;
    char ca_fingerprint[65]; /* of the cluster's CA: goes into join tokens */
    char join_address[320];  /* "host:7400", shown with a new token */
    const char *dir;         /* the data folder, of which backups are made */
    /* ref -> digest, on the calling thread; NULL: images cannot be resolved here */
    int (*resolve_image)(void *ctx, struct sk_str ref, struct sk_buf *ret_digest,
                         struct sk_err *err);
    void *resolve_ctx;
    /* calls are passed on to the leader, and taken from other control nodes */
    char peer_token[PEER_TOKEN_SIZE]; /* "" = neither */
    char peer_hash[65];
    char ca_file[512];
    uint16_t api_port; /* of every control node */
};

void api_handle(struct http_exchange *x, void *ctx /* struct api_context */);
size_t api_body_max(struct sk_str method, struct sk_str path);

/* "Bearer TOKEN" -> 64 hex digits in `arena`; SK_STR("") if there is none. */
struct sk_str api_bearer_hash(struct sk_arena *arena, struct sk_str authorization);

/* Loop thread: what calls do; in api_run.c. */
struct api_call;
struct host;
void api_run_status(struct host *host, struct api_call *call);
void api_run_control(struct host *host, struct api_call *call);
void api_run_ps(struct host *host, struct api_call *call);
void api_run_nodes(struct host *host, struct api_call *call);
void api_run_sites(struct host *host, struct api_call *call);
void api_run_projects(struct host *host, struct api_call *call);
void api_run_project(struct host *host, struct api_call *call);
void api_run_plan_in_force(struct host *host, struct api_call *call);
void api_run_inventory(struct host *host, struct api_call *call);
void api_run_tokens(struct host *host, struct api_call *call);
void api_run_keys(struct host *host, struct api_call *call);
void api_run_events(struct host *host, struct api_call *call);
void api_run_event_stream(struct host *host, struct api_call *call);
void api_run_logs(struct host *host, struct api_call *call);
void api_run_why(struct host *host, struct api_call *call);
void api_run_return(struct host *host, struct api_call *call);
void api_run_view(struct host *host, struct api_call *call);
void api_run_backup(struct host *host, struct api_call *call); /* the HTTP thread makes it */
void api_run_recovery(struct host *host, struct api_call *call);
void api_run_drills(struct host *host, struct api_call *call);
void api_run_drill(struct host *host, struct api_call *call);
void api_run_drill_report(struct host *host, struct api_call *call);
void api_run_seats(struct host *host, struct api_call *call);
void api_run_grow(struct host *host, struct api_call *call); /* keeps call->pems first */
void api_run_request(struct host *host,
                     struct api_call *call); /* call->request; answered by a later REPLY */

#endif
