/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SK_DAEMON_HOST_H
#define SK_DAEMON_HOST_H

#include <stdint.h>
#include <uv.h>

#include "base/err.h"
#include "control/control.h"
#include "daemon/call.h"
#include "daemon/config.h"
#include "daemon/keys.h"
#include "daemon/state.h"

/*
 * The control host: carries out what src/control decides. One per control node, on the loop thread.
 *
 * Events go in by host_step(); each command that comes out is a job for the store's worker, a job
 * for the planner's worker, a frame on the channel, an answer to an API call, or a line for the
 * event feeds. Nothing here decides.
 */
struct host;

struct host_hooks {
    /* Sends a frame to a connected node; false: it is not connected (it will be told when it is).
     */
    bool (*send)(void *ctx, struct sk_str node, struct sk_str json);
    /* The same for an `assign` frame: the key of the witness probes is added to it. */
    bool (*assign)(void *ctx, struct sk_str node, struct sk_str json);
    /* Answers a join (peer by request number) or a renewal. err->code 0: `json` is the frame. */
    void (*answer)(void *ctx, uint64_t request, const struct sk_err *err, struct sk_str json);
    void (*close_node)(void *ctx, struct sk_str node, const struct sk_err *err);
    void (*revoke)(void *ctx, struct sk_str serial);
    /* The authority's part of a join or renewal: appends the frame's "cert" and "ca" values. */
    int (*issue)(void *ctx, const struct control_command *cmd, struct sk_buf *ret_frame,
                 struct sk_err *err);
    /* Sends what CONTROL_CMD_SEAT says, with the cluster's secrets where it asks for them. */
    void (*seat)(void *ctx, const struct control_command *cmd);
    /* Something fatal: the state cannot be read. The daemon should stop. */
    void (*failed)(void *ctx, const struct sk_err *err);
    void *ctx;
};

/* `dir`: the control folder (daemon/state.h says in which form the state is there). The first
 * LOADED is under way when it returns; an etcd that does not answer is waited for. */
int host_new(uv_loop_t *loop, const char *dir, const struct control_config *cfg,
             const struct host_hooks *hooks, struct host **ret, struct sk_err *err);
/* Ends the calls, feeds and log streams under way, and takes no more: before the doors close, whose
 * threads wait for them. */
void host_stop_calls(struct host *host);
/* Finishes the jobs under way; calls not answered get SK_ERR_UNAVAILABLE. */
void host_free(struct host *host);

/*
 * Another store under a running cluster: host_pause(); when it says so nothing is committed any
 * more and nothing is under way, all else goes on; then host_switch_store(), or host_resume() to go
 * on with the store as it was. Who was waiting for a commit meanwhile decides anew. A pause of more
 * than a second ends exclusive work.
 */
void host_pause(struct host *host, void (*paused)(void *ctx), void *ctx);
void host_resume(struct host *host);
/* Ends the pause. `fresh` is an open handle, taken over, or NULL: opened when it is needed. */
void host_switch_store(struct host *host, const struct state_form *form, struct store *fresh);
const struct state_form *host_form(const struct host *host);

/* For the API; they outlive the host. */
void host_set_keys(struct host *host, struct keys *keys);
struct keys *host_keys(struct host *host);
struct control *host_control(struct host *host);
struct sys_queue *host_calls(struct host *host); /* what api_handle() posts to */
uint64_t host_next_request(struct host *host);
/* Fills in the clocks, steps control, carries out the commands. */
void host_step(struct host *host, struct control_event *event);

/* Answers GET /v1/control, when the members of etcd were asked how they are. */
void host_control_status(struct host *host, struct api_call *call);
/* A grow to an etcd of the operator's own: keeps its CA, certificate and key, tries it, and asks
 * control only if it does. Answers the call. */
void host_grow_to(struct host *host, struct api_call *call);

/* Keeps a call until its REPLY comes; takes over the caller's reference. */
void host_await(struct host *host, uint64_t request, struct api_call *call);
/* Adds a reader of the event stream (takes a reference). */
void host_add_feed(struct host *host, struct api_feed *feed);
/* Asks `node` for the log of instance `id`; lines go to `feed` (takes a reference). */
int host_logs(struct host *host, struct sk_str node, struct sk_str id, int64_t tail, bool follow,
              struct api_feed *feed, struct sk_err *err);
/* A `log` frame came from a node. */
void host_on_log(struct host *host, struct sk_str node, const struct sk_node *frame);

#endif
