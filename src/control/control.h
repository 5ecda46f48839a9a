/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SK_CONTROL_CONTROL_H
#define SK_CONTROL_CONTROL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/str.h"
#include "model/inventory.h"
#include "model/plan.h"
#include "model/project.h"
#include "plan/planner.h"

/*
 * Control: the step machine of one control node. Membership, verdicts, plans in force, instances,
 * rollouts, routing views. Pure: time, randomness, the network and the disk come in as events and
 * go out as commands.
 *
 * Calling sequence:
 *
 *     control_new(&cfg, &c, &err);
 *     struct control_commands out = {0};
 *     control_step(c, &event, &out);            // LOADED first; anything before it is ignored
 *     for (i < out.count) execute out.items[i];
 *     control_commands_release(&out);           // or _clear() and use it again
 *     arm a timer for control_deadline_ms(c) and send TICK when it fires
 *
 * Guarantees
 *  - The same cfg and the same events give the same commands, byte for byte.
 *  - What is in memory about decisions is exactly what the store committed: at most one TXN is
 *    under way, its effects are taken over when TXN_DONE says ok. A reply to a request that changes
 *    something comes only after that commit. Liveness is in memory alone.
 *  - Level-triggered: what is sent is computed from the whole state, never from "already sent". A
 *    fresh control that gets LOADED and the nodes' beats and observations reaches the same desired
 *    state, and stops nothing on the way.
 *  - Every step does bounded work (TXN batches of at most CONTROL_TXN_OPS_MAX operations).
 *
 * Ownership: payloads of an event belong to the caller, who may free them after the step (what is
 * kept is copied), but for PLAN_DONE's plan, which control takes over. Payloads of commands live in
 * control_commands until it is cleared or released; a PLAN's job belongs to control and stays valid
 * and unchanged until the PLAN_DONE with its request id was stepped in, so that a worker thread may
 * read it meanwhile. Wait for the workers before control_free().
 *
 * Threads: none; everything is called from the one loop thread, but control_plan_run(), which any
 * thread may call on a job.
 *
 * Records, frames and clocks: docs/architecture.md; what the queries print: docs/api.md.
 */
struct control;

#define CONTROL_TXN_OPS_MAX 400
#define CONTROL_BEAT_MS 250
#define CONTROL_SUSPECT_MS 1000
#define CONTROL_VERDICT_MS 2000
#define CONTROL_HEALTH_GATE_MS 60000
#define CONTROL_GATE_RESTARTS 3 /* a new copy that was started again so often is not waited for */
#define CONTROL_EVENTS_KEPT 10000
#define CONTROL_TOKEN_TTL_MAX_MS (3600 * INT64_C(1000))
#define CONTROL_DRILL_MIN_MS (10 * INT64_C(1000))
#define CONTROL_DRILL_MAX_MS (15 * 60 * INT64_C(1000))
#define CONTROL_CERT_TTL_MS (24 * 3600 * INT64_C(1000))

struct control_config {
    struct sk_str node; /* this control node's own name: its site is where control stands */
    uint64_t seed;      /* of the prng: probe rings, jitter */
    uint8_t secret[32]; /* mixed into ids and serials, so that they cannot be guessed from the seed;
                           from the system's random source at each start */
    bool shared; /* other control nodes use the same state: the leader's key is bumped and watched.
                    Else the record `control` says so (its `store` is etcd) */
    uint16_t ingress_port; /* where every site's ingress listens for routed hosts; 0 = 8080 */
    uint16_t channel_port; /* where control nodes listen for nodes; 0 = 7400 */
    int64_t grace_ms;      /* after LOADED nobody is judged before this passed; 0 = 5000 */
    int64_t return_moves;  /* moves that may begin by themselves when something returned;
                              < 0 = none; 0 = 100 */
};

/* ---- events ---- */

struct control_record {
    struct sk_str key, value;
    int64_t mod_rev;
};

struct control_change {
    bool removed; /* the value is empty, mod_rev that of the removal */
    struct control_record record;
};

/* From `join` of docs/architecture.md, its shape checked, nothing else. */
struct control_join {
    uint64_t request;
    struct sk_str token_hash; /* 64 hex digits: SHA-256 of the token */
    struct sk_str csr;        /* PEM, handed back by ISSUE_CERT */
    struct sk_str node, site, address, machine_id, incarnation;
    int64_t cpus_nano, memory_bytes, disk_bytes; /* what the node offers to services */
    const struct sk_kv *labels;
    size_t nlabels;
};

struct control_heard {
    struct sk_str node;
    int64_t age_ms; /* since its last answer; < 0: never heard */
    int64_t rtt_us; /* < 0: unknown */
};

enum control_instance_state {
    CONTROL_PENDING,
    CONTROL_PULLING,
    CONTROL_STARTING,
    CONTROL_RUNNING,
    CONTROL_STOPPING,
    CONTROL_EXITED,
    CONTROL_FAILED,
    CONTROL_STATE_COUNT
};
const char *control_state_name(enum control_instance_state state);
/* -1 if it is none. */
int control_state_from_name(struct sk_str name);

enum control_health { CONTROL_HEALTH_NONE /* no check */, CONTROL_HEALTHY, CONTROL_UNHEALTHY };

struct control_observation {
    struct sk_str id;
    enum control_instance_state state;
    enum control_health healthy;
    int64_t since_ms;
    int64_t restarts;
    bool has_exit, has_signal;
    int64_t exit, signal;
    struct sk_str reason;
    struct sk_str image_digest;
    const struct sk_str *log_tail;
    size_t nlog_tail;
};

/* What a node asks for an instance of exclusive work (docs/leases.md). */
enum control_lease_ask_kind {
    CONTROL_ASK_RENEW,   /* its run under `epoch` goes on */
    CONTROL_ASK_GRANT,   /* its run under `epoch` is over (0: there was none); it wants a new one */
    CONTROL_ASK_RELEASE, /* its run under `epoch` is over */
    CONTROL_ASK_COUNT
};
const char *control_lease_ask_name(enum control_lease_ask_kind kind);
/* -1 if it is none. */
int control_lease_ask_from_name(struct sk_str name);

struct control_lease_ask {
    struct sk_str id;
    enum control_lease_ask_kind kind;
    int64_t epoch;
};

enum control_request_kind {
    CONTROL_REQ_APPLY,          /* u.apply */
    CONTROL_REQ_REBALANCE,      /* u.rebalance */
    CONTROL_REQ_PROJECT_DELETE, /* u.target.name = project */
    CONTROL_REQ_DRAIN,          /* u.target */
    CONTROL_REQ_UNDRAIN,        /* u.target */
    CONTROL_REQ_NODE_REMOVE,    /* u.target */
    CONTROL_REQ_SITE_REMOVE,    /* u.target */
    CONTROL_REQ_SITE_SET,       /* u.set: name, body {region,country,at,provider,egress_per_gb,
                                   price_gb_month,trust}; null takes a fact away */
    CONTROL_REQ_NODE_SET,     /* u.set: name, body {price_hour,labels{k:v|null},cpus,memory,disk} */
    CONTROL_REQ_LINK_SET,     /* u.set: name and other = sites, body {rtt_ms,price_per_gb} */
    CONTROL_REQ_TOKEN_CREATE, /* u.token */
    CONTROL_REQ_TOKEN_REVOKE, /* u.target.name = hash */
    CONTROL_REQ_KEY_CREATE,   /* u.key */
    CONTROL_REQ_KEY_REVOKE,   /* u.target.name = hash */
    CONTROL_REQ_RETURN,       /* u.ret */
    CONTROL_REQ_DRILL,        /* u.drill; answered once it began, or was refused */
    CONTROL_REQ_DRILL_ABORT,  /* nothing: the one that runs */
    CONTROL_REQ_GROW,         /* u.seats */
    CONTROL_REQ_SHRINK,       /* u.seats.nodes[0] = who stays; none: who leads */
    CONTROL_REQ_REPLACE,      /* u.seats.gone, and nodes[0] or nobody named */
    CONTROL_REQ_ABORT,        /* the operation on the control nodes that is under way */
    CONTROL_REQ_COUNT
};

struct control_digest { /* what a tag was resolved to */
    struct sk_str image, digest;
};

struct control_request {
    enum control_request_kind kind;
    uint64_t id;       /* the caller's; comes back in REPLY */
    struct sk_str who; /* "root", "key:NAME": goes into every record */
    union {
        struct {
            const struct sk_str *projects; /* canonical forms; other projects stay as they are */
            size_t nprojects;
            struct sk_str expect_plan; /* "" or "sha256:..." */
            bool dry_run;              /* plan only: the reply holds the plan, nothing is written */
            bool pairs;                /* dry_run: rows for all pairs of sites */
            const struct control_digest *digests;
            size_t ndigests;
        } apply;
        struct {
            int64_t max_moves;         /* < 0: no bound. More needed: refused, told in the reply */
            struct sk_str expect_plan; /* "" or "sha256:..." */
            bool dry_run;
        } rebalance;
        struct {
            struct sk_str name;
            bool is_site; /* DRAIN, UNDRAIN: a site, else a node */
            bool force;   /* DRAIN: also when a policy is then unmet; PROJECT_DELETE: ignored */
        } target;
        struct {
            struct sk_str name, other;
            struct sk_str body; /* JSON */
        } set;
        struct {
            struct sk_str hash; /* 64 hex digits */
            struct sk_str site; /* must be a label; the site is made when the node joins */
            struct sk_str role; /* "node" | "storage" | "control": trust of a new site */
            int64_t ttl_ms;     /* <= CONTROL_TOKEN_TTL_MAX_MS */
        } token;
        struct {
            struct sk_str hash, name;
            struct sk_str role; /* "admin" | "operator" | "viewer" */
        } key;
        struct { /* at least one of them */
            bool hold, go;
            int64_t max_moves; /* with go; < 0: no bound */
            int automatic;     /* 0 off, 1 on, < 0 as it is */
            int64_t delay_ms;  /* 0 to CONTROL_RETURN_DELAY_MAX_MS; < 0 as it is */
        } ret;
        struct {
            struct sk_str site;
            int64_t for_ms; /* CONTROL_DRILL_MIN_MS to CONTROL_DRILL_MAX_MS */
            double bound;   /* % of errors at which it is ended; < 0: never */
            bool hard;
        } drill;
        struct {
            const struct sk_str *nodes; /* those to take; none: control chooses */
            size_t nnodes;
            int64_t members;                /* GROW: 3 or 5; 0 = 3, or as many as are named */
            struct sk_str gone;             /* REPLACE: who goes */
            const struct sk_str *endpoints; /* GROW: of the operator's own etcd; none: skerry's */
            size_t nendpoints;
        } seats;
    } u;
};
#define CONTROL_RETURN_DELAY_MAX_MS (24 * 3600 * INT64_C(1000))

/* What a node says of a drill's cut (docs/drill.md). */
enum control_drill_op {
    CONTROL_DRILL_CHECK,
    CONTROL_DRILL_CUT,
    CONTROL_DRILL_END,
    CONTROL_DRILL_OPS
};
const char *control_drill_op_name(enum control_drill_op op);
/* -1 if it is none. */
int control_drill_op_from_name(struct sk_str name);

enum control_txn_result { CONTROL_TXN_OK, CONTROL_TXN_CONFLICT, CONTROL_TXN_FAILED };

/* How far a node is on its way to be a control node (docs/control-nodes.md). */
enum control_stage {
    CONTROL_STAGE_NONE,    /* it has nothing of one */
    CONTROL_STAGE_READY,   /* it could be one, at these addresses */
    CONTROL_STAGE_GRANTED, /* it has the secrets; its etcd starts */
    CONTROL_STAGE_RUNNING, /* its etcd runs and knows a leader */
    CONTROL_STAGE_SERVING, /* its control half runs over the shared state */
    CONTROL_STAGE_COUNT
};
const char *control_stage_name(enum control_stage stage);
int control_stage_from_name(struct sk_str name); /* -1 if it is none */

enum control_move_result {
    CONTROL_MOVE_DONE,  /* the other store is the state now: LOAD it */
    CONTROL_MOVE_OFF,   /* `give_up` was asked, and it is certain that it never takes place */
    CONTROL_MOVE_FAILED /* open: only another try can tell */
};

/* The members of etcd themselves; each may be repeated. */
enum control_etcd_kind {
    CONTROL_ETCD_ADD,
    CONTROL_ETCD_PROMOTE,
    CONTROL_ETCD_REMOVE,
    CONTROL_ETCD_COMPACT,    /* end the history but for the last `keep` revisions */
    CONTROL_ETCD_DEFRAGMENT, /* give the space that this member does not use back to the disk */
    CONTROL_ETCD_DISARM,     /* of every member: its file is no longer full */
    CONTROL_ETCD_LEAD        /* this member leads etcd from now on */
};
struct control_member_health;

enum control_event_kind {
    CONTROL_EV_LOADED,
    CONTROL_EV_CHANGED,
    CONTROL_EV_TICK,
    CONTROL_EV_HELLO,
    CONTROL_EV_BYE,
    CONTROL_EV_BEAT,
    CONTROL_EV_OBSERVE,
    CONTROL_EV_JOIN,
    CONTROL_EV_RENEW,
    CONTROL_EV_LEASE,
    CONTROL_EV_DRILLED,
    CONTROL_EV_TXN_DONE,
    CONTROL_EV_PLAN_DONE,
    CONTROL_EV_REQUEST,
    CONTROL_EV_SEAT,
    CONTROL_EV_MOVED,
    CONTROL_EV_ETCD_DONE,
    CONTROL_EV_ETCD_SEEN,
    CONTROL_EV_COUNT
};

struct control_event {
    enum control_event_kind kind;
    int64_t now_ms;  /* monotonic; never goes back */
    int64_t wall_ms; /* since 1970, for records and the expiry of tokens */
    union {
        struct {
            const struct control_record *records; /* everything under /skerry/v1/, by key */
            size_t count;
            struct sk_str store_id;
            int64_t revision;
        } loaded;
        /* What others committed, for those that do not lead (a leader ignores it): every change
         * after the last one that was told, in the order of revisions, whole revisions only. An
         * empty one says that nothing changed up to `revision`. Where it comes at all, it comes for
         * everything after the first LOADED. */
        struct {
            const struct control_change *changes;
            size_t count;
            struct sk_str store_id;
            int64_t revision; /* everything up to it was told */
            bool lost;        /* instead: some changes up to it cannot be told any more */
        } changed;
        struct {
            struct sk_str node, incarnation, boot;
            struct sk_str address; /* where it is reached now; "" = as recorded */
            struct sk_str version;
        } hello;
        struct {
            struct sk_str node;
        } bye;
        struct {
            struct sk_str node;
            int64_t seq, assign_rev, obs_rev;
            const struct control_heard *heard; /* the first CONTROL_HEARD_MAX are read */
            size_t nheard;
            bool has_front;                       /* it runs its site's ingress, and that serves */
            int64_t front_view;                   /* the number of the view that it serves */
            int64_t front_requests, front_errors; /* of users, since some start of its skerryd */
            bool brief;    /* it does not say what it hears: its last word on that stands */
            bool datagram; /* it did not come by the channel, so not in order with OBSERVE */
        } beat; /* its `seq` grows. Of one that was overtaken only `assign_rev` counts, and that
                   only of the channel's: it says that the assignment was taken, and what was
                   observed until then came before it */
        struct {
            struct sk_str node;
            int64_t obs_rev;
            bool full; /* instances not listed are not there; else only what changed is listed */
            const struct control_observation *instances;
            size_t count;
        } observe;
        struct control_join join;
        struct {
            uint64_t request;
            struct sk_str node; /* as its certificate says */
            struct sk_str csr;
        } renew;
        struct {
            struct sk_str node;
            struct sk_str from; /* the asking agent's run; comes back with `seq` in LEASED */
            int64_t seq;
            const struct control_lease_ask *asks; /* all there are; replaces those before */
            size_t nasks;                         /* the first CONTROL_ASKS_MAX are read */
        } lease;
        struct {
            struct sk_str node;
            int64_t number; /* of the drill */
            enum control_drill_op op;
            bool can; /* it is so; else `why` not */
            struct sk_str why;
        } drilled;
        struct {
            uint64_t request; /* of the TXN */
            enum control_txn_result result;
            int64_t revision;    /* CONTROL_TXN_OK: after it */
            struct sk_str error; /* CONTROL_TXN_FAILED */
        } txn_done;
        struct {
            uint64_t request;       /* of the PLAN */
            struct plan *plan;      /* taken over by control, also when it is refused; or NULL */
            bool verified;          /* verify_plan() found nothing (see control_plan_run()) */
            struct sk_str findings; /* what it found, one a line */
            const struct sk_err *error; /* plan NULL: why */
        } plan_done;
        struct control_request request;
        struct {
            struct sk_str node;
            struct sk_str id; /* of the operation that it answers */
            enum control_stage stage;
            struct sk_str peer_url, client_url; /* of its etcd, from READY on */
            int64_t port;                       /* of its channel as a control node */
            struct sk_str error;                /* "": none */
        } seat;
        struct {
            struct sk_str id; /* of the operation */
            enum control_move_result result;
            struct sk_str error;
        } moved;
        struct {
            enum control_etcd_kind kind;
            struct sk_str url; /* of the member, as in the command */
            bool ok;
            struct sk_str error;
        } etcd_done;
        struct { /* how the members of etcd are; count 0: that could not be seen */
            const struct control_member_health *rows;
            size_t count;
        } etcd_seen;
    } u;
};
#define CONTROL_MEMBERS_MAX 9
#define CONTROL_HEARD_MAX 256
#define CONTROL_ASKS_MAX 4096

/* ---- commands ---- */

enum control_command_kind {
    CONTROL_CMD_TXN,        /* commit; answer with TXN_DONE. At most one is under way */
    CONTROL_CMD_LOAD,       /* the state moved under control: list all and answer with LOADED */
    CONTROL_CMD_PLAN,       /* run control_plan_run() on a worker; answer with PLAN_DONE */
    CONTROL_CMD_ASSIGN,     /* send the frame to the node */
    CONTROL_CMD_LEASED,     /* send the frame to the node; what it grants is committed */
    CONTROL_CMD_DRILL,      /* send the frame to the node; answered by DRILLED */
    CONTROL_CMD_REPLY,      /* answer a request, join or renew that ended without a certificate */
    CONTROL_CMD_ISSUE_CERT, /* sign the CSR and answer `joined` or `renewed` */
    CONTROL_CMD_REVOKE,     /* refuse the serial from now on; its channel, if any, is closed */
    CONTROL_CMD_CLOSE,      /* close the node's channel after an `error` frame */
    CONTROL_CMD_EVENT,      /* one more for the event stream; already committed */
    CONTROL_CMD_SEAT,       /* send the frame to the node; `secrets`: the daemon adds them */
    CONTROL_CMD_MOVE,       /* the state into the other form of the store; answer with MOVED */
    CONTROL_CMD_ETCD,       /* change a member of etcd; answer with ETCD_DONE */
    CONTROL_CMD_ETCD_LOOK,  /* ask every member of etcd how it is; answer with ETCD_SEEN */
    CONTROL_CMD_COUNT
};

struct control_op {
    bool remove;
    struct sk_str key, value;
};

/* An ordered whole: all of it or nothing, durable before TXN_DONE. */
struct control_txn {
    uint64_t request;
    struct sk_str expect_id; /* store id and whole-store revision that must still hold */
    int64_t expect_number;
    struct sk_str fence_key; /* the leader's; "": none yet */
    int64_t fence_rev;       /* its revision that must still hold; 0: it must not exist */
    const struct control_op *ops;
    size_t nops;
};

struct control_command {
    enum control_command_kind kind;
    union {
        struct control_txn txn;
        struct {
            uint64_t request;
            const struct control_plan_job *job;
        } plan;
        struct {
            struct sk_str node;
            int64_t rev;
            struct sk_str body; /* the whole `assign` frame, JSON; the daemon adds `probe_key` */
        } assign;
        struct {
            struct sk_str node;
            struct sk_str body; /* the whole `leased` frame, JSON */
        } leased;
        struct {
            struct sk_str node;
            struct sk_str body; /* the whole `drill` frame, JSON */
        } drill;
        struct {
            uint64_t request;
            struct sk_err err;  /* code 0: done */
            struct sk_str json; /* the result; with an error: details ({"plan":...}) or "" */
            bool elsewhere;     /* nothing of it was begun, and another one leads: ask that */
        } reply;
        struct {
            uint64_t request;
            bool renewal;
            struct sk_str node, site, csr;
            struct sk_str serial; /* 32 hex digits: the certificate must carry this number */
            struct sk_str prefix; /* "10.210.3.0/24" */
            struct sk_str cluster;
            int64_t not_after_ms; /* wall clock */
        } issue;
        struct {
            struct sk_str serial, node;
        } revoke;
        struct {
            struct sk_str node;
            struct sk_err err;
        } close;
        struct {
            int64_t seq;
            struct sk_str json; /* the record: docs/api.md, skerry.event/1 */
        } event;
        struct {
            struct sk_str node;
            struct sk_str body; /* a whole frame, JSON */
            bool secrets;
            bool ends; /* it says that the node is to end what it has of a control node */
        } seat;
        /* Nothing is committed between this command and its answer. What is committed in its
         * course is `record`, last, as the record `control` of the new state; on the way to SQLite
         * `mark` before it becomes the truth, as the last record `control` of the old one. */
        struct {
            struct sk_str id; /* of the operation */
            bool to_etcd;
            bool give_up; /* make sure that it never takes place, if it has not */
            struct sk_str record, mark;
            struct sk_str attempt;          /* in both records: 32 hex digits */
            const struct sk_str *endpoints; /* to etcd: of its members, the own one first */
            size_t nendpoints;
        } move;
        struct {
            enum control_etcd_kind kind;
            struct sk_str
                url;      /* the member's: ADD, PROMOTE, REMOVE: for its peers; else for clients */
            int64_t keep; /* COMPACT */
        } etcd;
    } u;
};

struct control_commands {
    struct sk_arena *arena; /* owned */
    struct control_command *items;
    size_t count, cap;
};
void control_commands_clear(struct control_commands *out);
void control_commands_release(struct control_commands *out);

/* ---- the machine ---- */

/* SK_ERR_USAGE for a node name that is no label. */
int control_new(const struct control_config *cfg, struct control **ret, struct sk_err *err);
void control_free(struct control *c); /* NULL allowed */

/* Always 0 but for SK_ERR_CORRUPT: LOADED held a record that control cannot read (its key is in
 * err); control then stays as it was, and the daemon should stop. Commands are appended to *out. */
int control_step(struct control *c, const struct control_event *ev, struct control_commands *out,
                 struct sk_err *err);

/* The now_ms at which a TICK is due if nothing comes before; UINT64_MAX: none. */
uint64_t control_deadline_ms(const struct control *c);

/* ---- planning, off the loop ---- */

struct control_plan_job {
    uint64_t request;
    struct plan_input input; /* everything that it points to lives as long as the job */
    const char *why;         /* for logs: "apply", "failover" ... */
    bool relaxed; /* a failover: verify_plan() would rightly find unmet policies, and control itself
                     checks each placement against allowed nodes and capacity */
};

/* plan_make() and, for jobs that are not relaxed, verify_plan() against the same input. Pure; any
 * thread. *ret_findings is "" when nothing was found. `now_us`: a clock for the plan's timing_ms,
 * or NULL. */
int control_plan_run(const struct control_plan_job *job, int threads, int64_t (*now_us)(void),
                     struct plan **ret_plan, bool *ret_verified, struct sk_buf *ret_findings,
                     struct sk_err *err);

/* ---- the first records ---- */

struct control_init {
    struct sk_str cluster;  /* id, a label */
    struct sk_str range;    /* "10.210.0.0/16"; "" = that */
    struct sk_str currency; /* "" = EUR */
    bool lab;               /* nodes may share a machine-id */
    struct sk_str who;
    struct sk_str site_role;   /* "node" | "storage" | "control" */
    struct control_join first; /* token_hash, csr unused */
    struct sk_str serial;      /* of the certificate that init issued to it */
    struct sk_str key_hash;    /* "" or the first API key's hash (admin) */
    int64_t wall_ms;
};
/* What `skerry init` writes into an empty store, as one TXN (expect_number 0, expect_id ""). */
int control_init_txn(const struct control_init *init, struct control_commands *out,
                     struct sk_err *err);

/* ---- queries: what the API shows; appended to out. Schemas: docs/api.md ---- */

void control_status_json(const struct control *c, struct sk_buf *out);   /* skerry.status/1 */
void control_ps_json(const struct control *c, struct sk_buf *out);       /* skerry.ps/1 */
void control_nodes_json(const struct control *c, struct sk_buf *out);    /* skerry.nodes/1 */
void control_sites_json(const struct control *c, struct sk_buf *out);    /* skerry.sites/1 */
void control_projects_json(const struct control *c, struct sk_buf *out); /* skerry.projects/1 */
void control_seats_json(const struct control *c, struct sk_buf *out);    /* skerry.seats/1 */
void control_tokens_json(const struct control *c, struct sk_buf *out);   /* skerry.tokens/1 */
void control_keys_json(const struct control *c, struct sk_buf *out);     /* skerry.keys/1 */
void control_return_json(const struct control *c, struct sk_buf *out);   /* skerry.return/1 */
/* How a member of etcd is, as it said itself (daemon/health.h). */
struct control_member_health {
    char node[64]; /* "": an endpoint that is no control node's */
    char endpoint[256];
    bool ok; /* it answered: then what follows holds */
    bool leads, learner;
    char version[32];
    int64_t db_bytes, db_bytes_used;
    int64_t behind; /* entries that it has not applied and another one has */
    char alarm[16]; /* "", "nospace", "damaged" */
    char error[256];
};
struct control_member {
    struct sk_str node, address; /* valid until the next step */
    struct sk_str client_url;    /* of its etcd; "": that is not ours */
};
/* How the answering control node's unseal key rests (docs/keys.md). */
struct control_keys {
    unsigned shares, needed; /* 0: not split, a file of this node */
};
/* The members of the record `control`; 0 where there is none. */
size_t control_members(const struct control *c, struct control_member ret[CONTROL_MEMBERS_MAX]);
void control_control_json(const struct control *c, const struct control_member_health *health,
                          size_t count, const struct control_keys *keys,
                          struct sk_buf *out); /* skerry.control/1 */
/* skerry.events/1: those after `after`, oldest first, at most `limit`. */
void control_events_json(const struct control *c, int64_t after, size_t limit, struct sk_buf *out);
/* skerry.why/1. SK_ERR_NOT_FOUND. */
int control_why_json(const struct control *c, struct sk_str project, struct sk_str service,
                     struct sk_buf *out, struct sk_err *err);
/* skerry.view/1: one site's routing view. SK_ERR_NOT_FOUND. */
int control_view_json(const struct control *c, struct sk_str site, struct sk_buf *out,
                      struct sk_err *err);
/* skerry.drill/1 of the drill that runs. SK_ERR_NOT_FOUND. */
int control_drill_json(const struct control *c, struct sk_buf *out, struct sk_err *err);
/* The same of one that is over, or runs. SK_ERR_NOT_FOUND. */
int control_drill_report_json(const struct control *c, int64_t number, struct sk_buf *out,
                              struct sk_err *err);
void control_drills_json(const struct control *c, struct sk_buf *out); /* skerry.drills/1 */
/* A snapshot of the declared world; the caller frees it with control_inventory_free(). Nodes that
 * are lost are in it: it says what is there, not what answers. */
struct inventory *control_inventory(const struct control *c);
void control_inventory_free(struct inventory *inv);
/* The plan in force with what failover changed; NULL if there is none. Valid until the next step.
 */
const struct plan *control_plan(const struct control *c);
/* Number of projects and each in name order; valid until the next step. */
size_t control_project_count(const struct control *c);
const struct project *control_project(const struct control *c, size_t i);

/* What the daemon needs for its own doors. */
bool control_is_loaded(const struct control *c);
/* It decides; else it listens, and refuses requests by the name of the node that leads. */
bool control_leads(const struct control *c);
/* Who leads as far as is known; "" if nobody does yet. Valid until the next step. */
struct sk_str control_leader(const struct control *c);
int64_t control_term(const struct control *c); /* of that leader */
/* The control nodes that are neither joining nor leaving, or this one where all others go, at most
 * `max`; this one where there is no record of several. 0: not loaded yet. Valid until the next
 * step. */
size_t control_settled(const struct control *c, struct sk_str *ret, size_t max);
/* Where the members of etcd that skerry runs are reached, the own one first; 0: there are none, not
 * here, or something is being done to them. Valid until the next step. */
size_t control_endpoints(const struct control *c, struct sk_str ret[CONTROL_MEMBERS_MAX]);
/* The node is one of the control nodes (or becomes one): its certificate says so. */
bool control_is_control(const struct control *c, struct sk_str node);
/* Appends "address:port" of a node's channel as a control node; false: there is no such node. */
bool control_channel_address(const struct control *c, struct sk_str node, struct sk_buf *out);
/* Its address, without a port; valid until the next step. */
bool control_node_address(const struct control *c, struct sk_str node, struct sk_str *ret);
bool control_serial_revoked(const struct control *c, struct sk_str serial);
bool control_node_known(const struct control *c, struct sk_str node, struct sk_str *ret_site);
/* Where instance `id` runs (`skerry logs`); valid until the next step. */
bool control_instance_node(const struct control *c, struct sk_str id, struct sk_str *ret_node);
/* "admin", "operator", "viewer", or NULL for a key that is not there; *ret_name is its name. */
const char *control_key_role(const struct control *c, struct sk_str hash, struct sk_str *ret_name);

#endif
