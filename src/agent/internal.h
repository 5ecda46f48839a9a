/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AGENT_INTERNAL_H
#define AGENT_INTERNAL_H

#include <limits.h>
#include <stdbool.h>
#include <uv.h>

#include "agent/agent.h"
#include "agent/assign.h"
#include "agent/cgroup.h"
#include "agent/images.h"
#include "agent/shimlink.h"
#include "agent/step.h"
#include "base/buf.h"
#include "sys/proc.h"
#include "sys/table.h"

/*
 * The agent's insides: one loop, one step machine, one `work` an instance that holds what cannot be
 * in a pure state (processes, sockets). Everything runs on the loop thread.
 */
#define AGENT_PATH_MAX 1024
#define AGENT_START_TIMEOUT_MS 60000
#define AGENT_STARTS_MAX 4 /* at a time: more only makes each of them slower */
#define AGENT_EXEC_CHECKS_MAX 4
#define AGENT_BRIDGE "skerry0"

struct agent;

struct work {
    struct agent *agent;
    char id[AGENT_ID_MAX];
    enum driver driver;
    int64_t run;
    int64_t memory_limit;
    char cgroup[CGROUP_PATH_MAX];
    char image[65];  /* what it was started from; "": nothing */
    int stop_signal; /* of its image; 0 = says none */
    bool starting;   /* counted in agent->starting */
    bool start_queued;
    bool said_started;
    struct shim_link *link;
    struct sk_proc *starter; /* the shim until it is ready */
    struct sk_proc *checker;
    bool check_queued;
    int64_t check_timeout_ms;
    int64_t epoch;                  /* of this run; 0: not exclusive */
    int64_t lease_until_ms;         /* as last heard from control; the shim is told */
    char warning[AGENT_REASON_MAX]; /* "" or what is not as declared, for people */
    UT_hash_handle hh;
};

struct peer;
struct queued_event;

struct agent {
    uv_loop_t loop;
    struct agent_config config;
    char dir[AGENT_PATH_MAX]; /* DIR/agent, absolute */
    char socket_path[AGENT_PATH_MAX];
    char shim[AGENT_PATH_MAX];
    char node[64], site[64], prefix[64];
    char gateway[64]; /* of the prefix; "" when there is none */
    int prefix_bits;
    char network_error[AGENT_REASON_MAX]; /* why instances get no network of their own */
    bool root;
    bool hybrid_cgroup;
    struct cgroups cgroups;
    struct images *images;
    struct agent_state state;
    struct assign_set *assigned;
    int64_t term; /* the highest leader's that anything was taken from; kept with `assigned` */
    int64_t term_below; /* the last lower one that was refused, so that it is said once */
    struct work *works;
    struct queued_event *events, *events_last;
    bool pumping;
    char ask_from[33];  /* names this agent's life: an answer to another one counts for nothing */
    struct sk_buf asks; /* of the step under way, a JSON array without its end */
    int64_t ask_seq;    /* of those */
    unsigned starting, exec_checks;
    uv_timer_t timer, observe_timer, collect_timer;
    uv_timer_t drill_timer;     /* active: a cut is in force, or its table is still there */
    struct sk_proc *drill_proc; /* an nft under way */
    int64_t drill_number;       /* of the last cut */
    uv_pipe_t listener;
    uv_signal_t sigterm, sigint;
    struct peer *peers;
    unsigned npeers;
    int64_t obs_rev;
    uint64_t observed; /* stamp of the last change that was sent */
};

/* ---- main.c: events in, commands out ---- */
void agent_post(struct agent *agent,
                const struct agent_event *event);             /* copies; now_ms is set here */
struct work *agent_work(struct agent *agent, const char *id); /* made if it is not there */
void agent_instance_dir(const struct agent *agent, const char *id, char out[AGENT_PATH_MAX]);

/* ---- run.c: an instance's life above its shim ---- */
void run_start(struct work *work);
void run_stop(struct work *work, int signal, int64_t grace_ms);
void run_clean(struct work *work);
void run_remove(struct work *work);
/* Finds what the folders say is, or was, running; posts FOUND. */
void run_adopt_all(struct agent *agent);
/* The group of an ended run, and the agent's own level when nothing is on it. */
void run_drop_cgroup(const struct work *work);
/* Groups of this agent that no instance has any more; at the end also those of ended runs. */
void run_drop_cgroups(struct agent *agent, bool at_end);
/* Replaces a file that is made anew at each start: whole for any reader, but not waited for the
 * disk. */
int run_write_file(const char *path, struct sk_str bytes, mode_t mode, struct sk_err *err);
void run_link_up(struct work *work); /* (re)connects; what it finds is posted */

/* ---- lease.c: asks out, answers in ---- */
void lease_ask_add(struct agent *agent, const struct agent_command *command);
void lease_asks_send(struct agent *agent); /* those of the step that has just been carried out */
void lease_extend(struct work *work, int64_t until_ms);
int frame_take_leased(struct agent *agent, const struct sk_node *tree, struct sk_err *err);
/* The frames themselves, without an agent: one row, all of them (empties `asks`), and back. *ret is
 * the list of answers, NULL where they are for another life of the agent than `from`. */
void lease_ask_write(const struct agent_command *command, struct sk_buf *asks);
void lease_frame_write(const char *from, int64_t seq, struct sk_buf *asks, struct sk_buf *out);
int lease_frame_check(const struct sk_node *tree, const char *from, const struct sk_node **ret,
                      struct sk_err *err);
/* False: it is no answer. `id` keeps what ret->id points to. */
bool lease_answer_read(const struct sk_node *tree, const struct sk_node *row, char id[AGENT_ID_MAX],
                       struct agent_event *ret);

/* ---- exec.c, oci.c: what is particular to a driver ---- */
/* The shim's argv and environment for this start. Vectors of sk_xmalloc'ed strings, NULL at the
 * end. */
struct launch {
    char **argv, **env;
    size_t argc, argv_cap, envc, env_cap;
};
void launch_arg(struct launch *launch, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void launch_env(struct launch *launch, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void launch_release(struct launch *launch);
/* What every instance is told of itself, its epoch (0: none), HOST and PORT. Replaces nothing that
 * is there already. */
void launch_instance_env(struct launch *launch, const struct agent *agent,
                         const struct assignment *a, int64_t epoch);
int exec_launch(struct work *work, const struct assignment *a, struct launch *launch,
                struct sk_err *err);
int oci_launch(struct work *work, const struct assignment *a, struct launch *launch,
               struct sk_err *err);
/* 0, and whom a program of the host runs as. */
int exec_user(struct sk_str user, uid_t *ret_uid, gid_t *ret_gid, bool *ret_has,
              struct sk_err *err);
/* The argv of a check inside the container; env of the caller: a default one. */
void oci_check_argv(const struct work *work, const struct assignment *a, struct launch *launch);
void oci_clean(struct work *work); /* posts CLEANED */
/* Bridge, forwarding; sets network_error. */
void oci_network_up(struct agent *agent);

/* ---- checks.c ---- */
void check_start(struct work *work);
void check_answer(struct work *work, bool ok, const char *reason);
void check_drop(struct work *work); /* its run is over */

/* ---- collect.c: images that nothing uses any more ---- */
void collect_start(struct agent *agent);

/* ---- drill.c: the hard cut of a drill ---- */
void drill_begin(struct agent *agent);
int frame_take_drill(struct agent *agent, const struct sk_node *tree, struct sk_err *err);

/* ---- logs.c ---- */
/* Appends the last `max` lines (text only) as a JSON array to *out. */
void logs_tail_json(const struct agent *agent, const char *id, unsigned max, struct sk_buf *out);
struct log_stream;
typedef void log_lines_fn(void *ctx, struct log_stream *stream, struct sk_str lines_json, bool end);
struct log_stream *log_stream_open(struct agent *agent, const char *id, int64_t number,
                                   int64_t tail, bool follow, log_lines_fn *fn, void *ctx,
                                   struct sk_err *err);
void log_stream_close(struct log_stream *stream); /* NULL allowed */
int64_t log_stream_number(const struct log_stream *stream);
struct log_stream **log_stream_next(struct log_stream *stream);

/* ---- peers.c: the socket ---- */
int peers_listen(struct agent *agent, struct sk_err *err);
void peers_observe_soon(struct agent *agent);
void peers_send_all(struct agent *agent, const struct sk_buf *json);
void peers_close_all(struct agent *agent);
/* ---- frames.c ---- */
/* Whether the frame is of a leader that still counts (model/term.h). */
bool frame_term_counts(struct agent *agent, const struct sk_node *tree);
/* 0, or an error that ends the connection. */
int frame_take_assign(struct agent *agent, const struct sk_node *tree, struct sk_str bytes,
                      bool keep, struct sk_err *err);
int frame_take_node(struct agent *agent, const struct sk_node *tree, struct sk_str bytes, bool keep,
                    struct sk_err *err);
/* "10.210.3.0/24": instances get the addresses of it, the node is .1 on a bridge of its own. */
int frame_take_prefix(struct agent *agent, struct sk_str prefix, struct sk_err *err);
/* Reads what the last agent kept; a cache that cannot be read is as none. */
void frame_load_kept(struct agent *agent);
/* The observe frame of what changed after `since` (0: full). False: nothing did. */
bool frame_write_observe(struct agent *agent, uint64_t since, struct sk_buf *out);

#endif
