/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AGENT_AGENT_H
#define AGENT_AGENT_H

#include <stdint.h>
#include <sys/types.h>
#include <uv.h>

#include "base/err.h"
#include "base/str.h"

/*
 * The agent: the privileged half of a node. It runs instances by what skerryd hands it over one
 * unix socket, and listens on nothing else.
 *
 * DIR/run/agent.sock, mode 0600, owned by peer_uid; peers other than root, the agent's own user and
 * peer_uid are refused. Frames as on the channel (src/net/frame.h):
 *
 *   in    assign    as in docs/architecture.md; the agent keeps it on disk before it acts on it
 *         node      {node, site, prefix}: what instances are told, and the node's network; kept too
 *         logs      {stream, id, tail, follow}
 *         logs_end  {stream}
 *   out   observe   {obs_rev, assign_rev, full, instances}: full first, then what changed
 *         log       {stream, lines, end, error}
 *         error     {code, text}, then the end of the connection
 *
 * DIR/agent/: assignment.json, node.json, instances/ID/, images/, crun/ (the runtime's own state).
 *
 * Instances outlive the agent: SIGTERM and SIGKILL end it and nothing else; the next one adopts
 * them.
 */
struct agent_config {
    const char *data_dir;
    const char *shim_path; /* NULL: skerry-shim beside this program, else in libexec */
    const char *node, *site;
    const char *prefix;    /* of this node, "10.210.3.0/24"; NULL or "": learnt by `node` */
    uid_t peer_uid;        /* of skerryd */
    int64_t log_bytes_max; /* of one log file; 0 = 4 MiB */
    int64_t log_files_max; /* an instance's, with the current one; 0 = 3 */
    int64_t image_keep_ms; /* of an image that nothing uses any more; 0 = 24 h */
};

/* Runs until SIGTERM or SIGINT, then returns 0. Call it in a process of its own, before it has
 * threads: on a host with hybrid cgroups it moves itself into a mount namespace without the cgroup2
 * mount. */
int agent_main(const struct agent_config *config, struct sk_err *err);

/*
 * A reference as written in a declaration, to the digest of its manifest, by skopeo: at apply,
 * once, so that all nodes run the same bytes. Needs no privilege. The callback runs exactly once,
 * on the loop; on failure digest is "" and err says why in one line ("image 'x' does not exist in
 * ...").
 */
typedef void agent_resolved_fn(void *ctx, const char *digest, const struct sk_err *err);
int agent_resolve_image(uv_loop_t *loop, struct sk_str ref, agent_resolved_fn *done, void *ctx,
                        struct sk_err *err);

#endif
