/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SK_CONTROL_INTERNAL_H
#define SK_CONTROL_INTERNAL_H

#include "base/hash.h"
#include "base/json.h"
#include "base/prng.h"
#include "base/table.h"
#include "base/tree.h"
#include "control/control.h"

/*
 * The insides of the step machine, shared by the files of src/control.
 *
 * Two kinds of state live side by side in these structs and must not be mixed up: what the store
 * committed (set only by ctl_record_apply(), at LOADED and after a TXN), and what is only known
 * here and now (liveness, observations, what was sent; each block is marked "live"). Everything is
 * iterated in name order, or in the order of a sorted array.
 */
#define CTL_PREFIX "/skerry/v1/"
#define CTL_ROUTED_HEALTHY_MS 500 /* a new copy serves this long before the old one is stopped */
#define CTL_HEARS_MS 1000         /* a witness that heard less than this ago hears */
#define CTL_VOICE_MS 500          /* an older word of a witness is none against its target */
#define CTL_HEARS_SUSPECT_MS 750  /* the same, when only traffic is at stake */
#define CTL_NEVER_HEARD_MS 20000  /* nobody ever heard it: from then on that tells too */
/* of the numbers of assignments and views: more than any wall clock; what is above is no number */
#define CTL_REV_SEEN_MAX (INT64_C(1) << 60)
#define CTL_LATE_MS 500    /* a look that comes later than this: control itself did not run */
#define CTL_RETURN_MS 1000 /* beats for this long before something lost is back */
/* an ingress that does not tell what it serves keeps the copies of a site that is back no longer */
#define CTL_BACK_MS 10000
#define CTL_SETTLE_MS                                                                           \
    10000                  /* unless told: whole again for this long before anything moves back \
                            */
#define CTL_RETRY_MS 1000  /* after a failed commit or plan */
#define CTL_RESEND_MS 2000 /* an assignment that was not acknowledged */
#define CTL_UNHEARD_MS \
    10000 /* probes do not pass for this long, though both sides beat: it is told */
#define CTL_DOC_CHUNK_BYTES 393216 /* of a long document in one record, before escaping */
#define CTL_KEEP_PRICE_HOURS 1e6   /* a move price at which only hard rules and goals move things */
#define CTL_TRIES_MAX 5            /* a request that keeps meeting a moved state */
#define CTL_LEADER_BUMP_MS 250
#define CTL_LEADER_SILENCE_MS 1000 /* its key has not changed for so long: it may be taken over */
#define CTL_LEASE_TICK_MS 100      /* renewals of so long are committed together */
#define CTL_ASK_FRESH_MS 1500      /* an older ask is of a node that asks no more */
#define CTL_EPOCH_JUMP (INT64_C(1) << 20) /* after a restore: past all that were granted since */
#define CTL_EPOCH_BELIEVED (INT64_C(1) << 52) /* of what a node names; JSON's numbers end there */
#define CTL_EXEC_PORT_FIRST 20000
#define CTL_EXEC_PORT_LAST 29999
#define CTL_PROBES_MAX 64
#define CTL_PEERS_MAX 4096 /* of a hard drill: what an agent takes, and what a frame holds */

struct ctl_node;

enum ctl_life { CTL_UNKNOWN, CTL_ALIVE, CTL_SUSPECT, CTL_LOST, CTL_LIFE_COUNT };
const char *ctl_life_name(enum ctl_life life);

struct ctl_rtt {
    char *to;     /* site name */
    double ema;   /* ms */
    double shown; /* moves only when ema left it by a fifth and 1 ms */
};

struct ctl_site {
    char *name;
    char *raw; /* the record */
    int64_t mod_rev;
    char *region, *country, *provider;
    bool has_at, has_egress, drained;
    double lat, lon, egress_per_gb, price_gb_month;
    enum site_trust trust;
    /* live */
    bool lost, link; /* verdicts */
    size_t at;       /* scratch: its index */
    /* scratch of a verdict pass, of its nodes: how many, of them lost, of them witnesses; any that
     * is heard or may not have come yet; none that is not silent for long enough */
    size_t tally, tally_lost, tally_witnesses;
    bool tally_heard, tally_silent;
    struct ctl_rtt *rtt; /* by site name */
    size_t nrtt, caprtt;
    char *ingress; /* node name, NULL if there is none */
    char *view;    /* JSON without rev; NULL until first made */
    int64_t view_rev;
    bool routes; /* the view leads users somewhere */
    /* nobody of it was up, until its ingress is picked again; since when somebody is; when the
     * ingress was picked; when the site came back after a verdict */
    bool dark;
    int64_t light_ms, picked_ms, back_ms;
    /* of a drill: the others' views leave it out, its own leaves its replicas out, failover counts
     * it as lost */
    bool off, own_off, away;
};

struct ctl_heard {
    struct ctl_node *target;
    int64_t age_ms, rtt_us;
};

struct ctl_probe {
    struct ctl_node *target;
    int64_t asked_rev; /* the assignment that first held it */
    int64_t since_ms;  /* when that was acknowledged; < 0: not yet */
    int64_t
        silent_ms; /* since when control sees that it is not heard; < 0: it is, or nobody knows */
};

struct ctl_ask {
    char id[33];
    enum control_lease_ask_kind kind;
    int64_t epoch;
    bool done; /* answered, or nothing to answer */
};

/* The right to run an exclusive service: who has it, under which epoch. Never forgotten, so that no
 * epoch comes twice. */
struct ctl_lease {
    char *name; /* "PROJECT/SERVICE" */
    char *raw;
    char *node, *store;
    char holder[33];
    int64_t epoch;
    bool held;
    int64_t mod_rev;
    /* live */
    int64_t seen_ms; /* when control first knew this revision of it as committed */
    bool touched;    /* scratch: in the transaction being made */
};

struct ctl_early; /* an observation that came before its record: early.c */

struct ctl_node {
    char *name;
    char *raw;
    int64_t mod_rev;
    struct ctl_site *site;
    char *address, *machine_id, *incarnation, *prefix;
    int64_t cpus_nano, memory_bytes, disk_bytes;
    bool has_price, drained;
    double price_hour;
    struct sk_kv *labels; /* owned strings, by key */
    size_t nlabels;
    /* live */
    bool connected, link;
    enum ctl_life life;
    int64_t last_beat_ms, up_since_ms;
    int64_t beat_seq, heard_ms; /* of the newest beat: its number, and when it came */
    int64_t acked_rev, full_obs_rev;
    char *new_address; /* seen at a hello, not yet on record */
    bool full_seen;    /* a full observation came since the channel opened */
    int64_t told_rev;  /* of the record `control`, by ctl_roster_tell() */
    bool beat_seen;    /* a beat did: the number of its last assignment is known */
    char *boot, *version;
    struct ctl_heard *heard;
    size_t nheard;
    struct ctl_probe *probes;
    size_t nprobes;
    struct ctl_ask *asks; /* of its last `lease` frame */
    size_t nasks;
    char ask_from[33];
    int64_t ask_seq, ask_ms;
    struct ctl_early *early;
    size_t nearly, capearly;
    /* what was sent */
    bool dirty;
    char *body; /* without rev */
    int64_t rev, sent_ms;
    bool in_changed, in_resend; /* it is in c->changed, in c->resend */
    struct ctl_node *resend_prev, *resend_next;
    /* allocation */
    uint32_t next_host;
    uint16_t next_port;
    struct ctl_inst **insts;
    size_t ninsts, capinsts;
    int64_t used_cpus, used_memory, used_disk; /* scratch of a reconcile pass */
    int64_t mark_age, mark_own_age;            /* scratch of a verdict pass */
    bool mark_own_asked;
    /* of the ingress that it runs, by its beats */
    bool has_front;
    int64_t front_view, front_requests, front_errors;
    int64_t front_ms; /* since when it says that it serves that view */
    bool drill_asked; /* whether it can cut its links, for the drill that is asked for */
    bool drill_can;   /* its answer */
};

/* Two sites (or one with itself) between which probes do not pass though nodes beat: unheard.c. */
struct ctl_unheard {
    char *a, *b;            /* sites, a <= b */
    char *witness, *target; /* one such way, by its nodes */
    size_t silent, ways;    /* ways that are silent now (0: none any more), of how many */
    int64_t since_ms;
    int64_t silent_ms; /* when it was last so */
    bool told;
    bool over, gone; /* scratch: probes pass again; the row goes */
};

struct ctl_link {
    char *a, *b; /* site names, a < b */
    char *raw;
    int64_t mod_rev;
    bool has_rtt, has_price;
    double rtt_ms, price_per_gb;
};

/* A declaration in force, shared with plan jobs; references change on the loop thread only. */
struct ctl_project {
    unsigned refs;
    struct project *decl;
    struct sk_arena *arena;
    const struct sk_node *tree;     /* of the canonical form; in arena */
    struct control_digest *digests; /* by image; in arena */
    size_t ndigests;
    char *who, *extra;
    int64_t wall_ms, mod_rev;
};

struct ctl_planref {
    unsigned refs;
    struct plan *plan;
};

struct ctl_spec { /* one way to run a service; shared by its instances */
    char hash[72];
    char *json, *image;
    char *digest;
    bool exec, exclusive;
    unsigned refs;
    UT_hash_handle hh;
};

enum ctl_role { CTL_ACTIVE, CTL_SUPERSEDED, CTL_STOPPING };

struct ctl_svc;
struct ctl_inst {
    char id[33];
    struct ctl_svc *svc;
    int64_t replica, generation;
    struct ctl_node *node;
    struct ctl_spec *spec;
    char *address;
    uint16_t port;
    enum ctl_role role;
    int64_t cpus_nano, memory_bytes, disk_bytes;
    int64_t created_wall_ms, mod_rev;
    char *extra, *image_extra; /* members of the record, and of its image, that are not known here:
                                  ctl_rest() */
    UT_hash_handle hh;
    /* live */
    bool presumed; /* read back at start and not yet observed: routed to for the time being */
    bool observed, seen, touched; /* seen, touched: scratch of one observation, of one pass */
    enum control_instance_state state;
    enum control_health health;
    int64_t since_ms, restarts, exit, signal;
    bool has_exit, has_signal;
    char *reason;
    char **log_tail;
    size_t nlog_tail;
    int64_t noted_ms;   /* when control first knew it: the health gate counts from here */
    int64_t healthy_ms; /* since when it is healthy; < 0: it is not */
    int64_t begun_ms;   /* when its node was first seen to start it; 0: not seen, or over */
    int64_t stop_rev;   /* the assignment that first said stop; 0: none yet */
};

struct ctl_place {
    struct ctl_node *node; /* NULL: no place, or a node that is gone */
    bool overlay;
};

struct ctl_svc {
    char *project, *name;
    struct ctl_inst **insts; /* by (replica, generation, id) */
    size_t ninsts, capinsts;
    /* derived from projects, plan and overlay by ctl_derive() */
    struct ctl_project *proj; /* NULL: no longer declared */
    const struct service *decl;
    struct ctl_spec *want;
    struct ctl_place *place; /* decl->replicas of them */
    size_t nplace;
    /* live */
    bool begun;       /* it had an instance since it was declared: depends_on let it start */
    bool leasing;     /* scratch of a lease pass: its first lease is in the transaction */
    char halted[72];  /* spec hash whose rollout was stopped */
    char *blocked;    /* why the reconciler waits, for people; NULL: it does not */
    int64_t start_ms; /* how long a copy of it last took to start; 0: not seen */
};

struct ctl_overlay { /* a placement that failover changed */
    char *project, *service, *node;
    char *extra; /* ctl_rest() */
    int64_t replica;
};

struct ctl_token {
    char *hash, *raw, *site, *role, *who, *used_by;
    int64_t expires_wall_ms, mod_rev;
};

struct ctl_key {
    char *hash, *name, *role, *who;
    int64_t wall_ms;
};

struct ctl_cert {
    char *serial, *extra;
    int64_t not_after_ms;
};
struct ctl_certs { /* of one node */
    char *node, *extra;
    struct ctl_cert *items;
    size_t count;
};

struct ctl_revoked {
    char *serial, *node;
    int64_t not_after_ms;
};

struct ctl_evrec {
    int64_t seq;
    char *json;
};

struct ctl_piece { /* of a document kept in several records */
    char *key, *text;
    int64_t mod_rev;
};

/* A request that waits its turn, copied into its own arena. */
enum ctl_req_kind { CTL_REQ_JOIN, CTL_REQ_RENEW, CTL_REQ_API };
struct ctl_req {
    struct ctl_req *next;
    struct sk_arena *arena;
    enum ctl_req_kind kind;
    uint64_t id;
    unsigned tries;
    struct sk_str renew_node, renew_csr;
    struct control_join join;
    struct control_request api;
};

struct ctl_prefetch { /* a node that a losses row names for an image */
    const struct ctl_node *node;
    const struct ctl_spec *spec;
};

struct ctl_note { /* an event that waits for the next transaction */
    char *what, *node, *site, *project, *service, *text;
};

/* A transaction being built or under way. */
struct ctl_txn {
    struct sk_arena *arena;
    struct control_op *ops;
    size_t nops, capops;
    struct control_commands after; /* given out once it is committed */
    struct ctl_req *req;           /* owned; NULL: control's own */
    struct plan *plan;             /* owned; adopted with it, so that it is not read back */
    uint64_t request;
    bool removes_input; /* of plans: their basis must move all the same */
    int64_t nevents;
    struct ctl_note *notes; /* that it carries; they go back to control if it fails */
    size_t nnotes, capnotes;
};

enum ctl_job_kind { CTL_JOB_REQUEST, CTL_JOB_FAILOVER, CTL_JOB_RETURN };
struct ctl_job {
    struct control_plan_job pub;
    enum ctl_job_kind kind;
    struct sk_arena *arena;
    struct inventory *inv;
    struct ctl_project **projects; /* referenced */
    size_t nprojects;
    struct ctl_planref *base; /* referenced: strings of current */
    struct plan current;
    struct ctl_req *req; /* owned */
    int64_t basis;
    uint64_t stamp; /* c->stamp when it was made */
    const struct project **decls;
    /* the answer */
    bool finished, verified;
    struct plan *result; /* owned */
    char *findings;
    struct sk_err error;
    /* of its making */
    char control_sites[CONTROL_MEMBERS_MAX][64]; /* of each control node */
    size_t ncontrol_sites;
};
enum { CTL_SLOT_REQUEST, CTL_SLOT_OWN, CTL_SLOT_COUNT };

struct ctl_mods { /* how the world of a plan job differs from the committed one */
    const char *drain_node, *drain_site, *skip_node, *skip_site;
    bool lost_drained; /* nodes that do not answer take nothing */
};

struct ctl_leader {
    char own[33]; /* of this control's life: a restart is another one */
    bool shared;  /* by configuration; else the roster says it: ctl_shared() */
    /* committed */
    char *raw, *node, *store;
    char holder[33];
    int64_t term, mod_rev;
    /* live */
    bool leads; /* as of what is known to be committed */
    int64_t seen_ms, next_bump_ms, next_look_ms;
};

enum ctl_seat_state { CTL_SEAT_JOINING, CTL_SEAT_MEMBER, CTL_SEAT_LEAVING };
struct ctl_seat {
    char *node;
    enum ctl_seat_state state;
    int64_t port;                /* of its channel; 0: as ours */
    char *peer_url, *client_url; /* of its etcd; "": it has none */
    /* live: what its member of etcd was seen to be, by this leader */
    bool added, promoted, removed;
};

struct ctl_roster { /* the record `control` */
    char *raw;      /* NULL: there is none */
    bool etcd, external;
    struct ctl_seat seats[CONTROL_MEMBERS_MAX];
    size_t count;
    char *operation; /* JSON, NULL: none */
    int64_t mod_rev;
    bool untold; /* to some node that is connected */
};

struct ctl_change;
struct ctl_feed {
    bool seen; /* there is one: the state need not be read to be followed */
    struct sk_arena *arena;
    struct ctl_change *items; /* that wait, in the order of their revisions */
    size_t count, cap, bytes;
    int64_t told;     /* everything up to it was told */
    int64_t need_rev; /* some of it was lost: only a reading of this revision is the whole */
};

struct ctl_moving {                 /* a replica on its way back */
    char *project, *service, *from; /* from: a node */
    int64_t replica;
};

/* What goes back after a return: return.c. */
struct ctl_return {
    /* committed */
    char *raw; /* NULL: no record, all as by default */
    bool off;  /* nothing begins by itself */
    int64_t delay_ms;
    char *held_by, *held_why; /* held_by NULL: not held */
    int64_t held_wall_ms;
    char *go_by; /* NULL: nobody said so */
    int64_t go_moves;
    bool asked;     /* also when nothing is elsewhere */
    char *begun_by; /* NULL: none is under way */
    int64_t begun_wall_ms, total;
    int64_t left; /* moves that may still begin; < 0: no bound */
    struct ctl_moving *moving;
    size_t nmoving;
    int64_t done_wall_ms, done_moves;
    /* live */
    struct plan *plan; /* with its moves; NULL: none, or (planned) none that meets the policies */
    bool planned, unmet, told;
    int64_t basis, overlay_rev; /* of plan */
    int64_t asked_overlay_rev;  /* of the job under way */
    int64_t asked_ms, progress_ms, next_ms;
};

enum ctl_drill_phase {
    CTL_DRILL_TRAFFIC,
    CTL_DRILL_WORK,
    CTL_DRILL_CUT,
    CTL_DRILL_HOLD,
    CTL_DRILL_RETURN,
    CTL_DRILL_PHASE_COUNT
};

struct ctl_report { /* of a drill that is over */
    char *key;      /* its number, six digits at least */
    char *json;
};

struct ctl_drill;

enum ctl_op_kind { CTL_OP_NONE, CTL_OP_GROW, CTL_OP_SHRINK, CTL_OP_REPLACE, CTL_OP_COUNT };
enum ctl_phase {
    CTL_PHASE_PREPARE, /* can the nodes be control nodes, and at which addresses */
    CTL_PHASE_MEMBERS, /* etcd starts on all of them */
    CTL_PHASE_COPY,    /* the state moves; nothing else is committed */
    CTL_PHASE_JOIN,    /* over etcd: the others begin to serve */
    CTL_PHASE_ADD,     /* over etcd: one more member, one at a time */
    CTL_PHASE_REMOVE,  /* over etcd: the one that goes */
    CTL_PHASE_LEAVE,   /* over SQLite again: the others end */
    CTL_PHASE_UNDO,    /* it is given up: what was begun is taken back */
    CTL_PHASE_COUNT
};

struct ctl_standing { /* what a node said of itself last */
    char *name;
    char id[33];
    enum control_stage stage;
    char *peer_url, *client_url, *error;
    int64_t port;
};

struct ctl_op {
    enum ctl_op_kind kind;
    enum ctl_phase phase;
    char id[33];
    char *who, *error;
    char *nodes[CONTROL_MEMBERS_MAX]; /* GROW, REPLACE: to be taken; SHRINK: [0] stays */
    size_t nnodes;
    char *gone, *gone_url; /* REPLACE */
    int64_t wall_ms;
};

/* The rest of the record `control`: the operation on it; growth.c, grow.c. */
struct ctl_growth {
    char *token, *last; /* last: JSON, how the last operation ended */
    char *moved_to, *attempt;
    char *endpoints[CONTROL_MEMBERS_MAX]; /* external */
    size_t nendpoints;
    struct ctl_op op;
    /* live */
    struct ctl_standing **standings; /* by node */
    size_t nstandings, capstandings;
    int64_t next_ms, phase_ms,
        failing_ms; /* failing_ms: since when moving fails; < 0: it does not */
    bool moving, fenced, abort, etcd_busy, gone_removed;
    char *problem; /* what it waits for, for people */
};

/* What is done about the members of etcd: upkeep.c. All of it live. */
struct ctl_upkeep {
    int64_t next_ms, busy_until_ms;
    int64_t steady_ms;   /* since when all are well; < 0: they are not */
    int64_t apart_ms;    /* since when another node's member leads etcd; < 0: this one's does */
    int64_t full_ms;     /* since when space is used up; < 0: it is not */
    int64_t round_ms;    /* space is not made again before */
    int64_t history_ms;  /* history is not cut again before */
    int64_t cut_ms;      /* when it was, in the present round; < 0: not yet */
    unsigned rounds;     /* of making space, lately */
    bool cut_all;        /* with nothing of it left */
    int64_t cut_bytes;   /* the largest file then */
    uint32_t given_back; /* members that were defragmented in the present round, by seat */
    char problem[400];   /* "": none */
};

struct control {
    char *own_node;
    struct ctl_growth growth;
    struct ctl_upkeep upkeep;
    struct ctl_leader leader;
    struct ctl_roster roster;
    struct ctl_feed feed;
    uint16_t ingress_port, channel_port;
    int64_t grace_ms, return_moves;
    struct sk_prng prng;
    uint8_t secret[32];
    uint64_t id_counter, next_request;

    bool loaded, loading; /* loading: CONTROL_CMD_LOAD was given out */
    int64_t now_ms, wall_ms, loaded_ms;
    char store_id[64];
    int64_t revision;
    int64_t basis; /* the newest revision of anything that a plan is made from */

    /* the cluster's record */
    char *cluster_raw, *cluster, *range, *currency;
    bool lab, have_cluster;
    int64_t cluster_rev;

    struct ctl_site **sites;
    size_t nsites, capsites;
    struct ctl_node **nodes;
    size_t nnodes, capnodes;
    struct ctl_link **links;
    size_t nlinks, caplinks;
    struct ctl_project **projects; /* by name */
    size_t nprojects, capprojects;
    struct ctl_svc **svcs;
    size_t nsvcs, capsvcs;
    struct ctl_inst *insts; /* hash by id */
    struct ctl_spec *specs; /* hash by hash */
    struct ctl_token **tokens;
    size_t ntokens, captokens;
    struct ctl_key **keys;
    size_t nkeys, capkeys;
    struct ctl_certs **certs;
    size_t ncerts, capcerts;
    struct ctl_revoked **revoked;
    size_t nrevoked, caprevoked;
    struct ctl_lease **leases;
    size_t nleases, capleases;
    struct ctl_piece **pieces; /* plan, plan/0000..., overlay, overlay/0000... */
    size_t npieces, cappieces;
    struct ctl_evrec *events; /* ring of the newest, oldest first */
    size_t nevents, capevents;
    int64_t event_seq, event_oldest;
    struct ctl_drill *drill;     /* NULL: none runs */
    struct ctl_report **reports; /* by number */
    size_t nreports, capreports;

    struct ctl_planref *plan;                    /* NULL: none yet */
    char *plan_who, *plan_extra, *overlay_extra; /* of the heads: ctl_rest() */
    int64_t plan_rev, plan_wall_ms;
    struct ctl_overlay *overlay; /* by (project, service, replica) */
    size_t noverlay;
    bool plan_touched, overlay_touched, derive_needed;
    struct plan effective; /* the plan with the overlay laid over it: control_plan() */
    struct sk_arena *effective_arena;
    struct ctl_prefetch *prefetch; /* by node, image; in effective_arena */
    size_t nprefetch;

    /* live */
    bool frozen, grace_over;
    int64_t judge_after_ms;
    uint64_t stamp;         /* changes whenever failover might find something new */
    uint64_t failover_done; /* the stamp at which failover had nothing more to do */
    int64_t whole_ms;       /* since when nothing is lost; < 0: something is */
    size_t short_told;
    struct ctl_return ret;
    int64_t rev_last;
    char *drill_site; /* that a hard drill cuts off, or is to; or NULL */
    char *peers;      /* the list of all nodes for its nodes, or NULL */
    int64_t next_life_ms, next_retry_ms, next_timer_ms;
    bool dirty_reconcile, dirty_views, dirty_all, dirty_probes, dirty_address;
    size_t nlost;              /* nodes */
    bool requests_first;       /* requests and the reconciler take turns */
    struct ctl_node **changed; /* those that are dirty since the last step: it looks at no others */
    size_t nchanged, capchanged;
    struct ctl_node *resend, *resend_end; /* to whom was sent what they did not acknowledge yet,
                                             oldest first */
    int64_t next_resend_ms;
    int64_t next_pick_ms; /* an ingress that waits to be picked */
    struct ctl_unheard *unheard;
    size_t nunheard, capunheard;
    int64_t next_unheard_ms;
    bool leased_last;                     /* the last transaction was of leases: others' turn */
    bool asked;                           /* some node's asks are not all answered */
    int64_t next_lease_ms;                /* no renewals are committed before */
    int64_t lease_free_ms;                /* when the next lease that somebody waits for is free */
    int64_t front_requests, front_errors; /* at all ingresses, since this control's start */
    struct ctl_req *drill_req;            /* waits for its nodes' word that they can */
    int64_t drill_until_ms, drill_number; /* of the drill that is asked for */

    struct ctl_req *queue, **queue_end;
    struct ctl_txn *pending;
    bool unwritten; /* shared: the last transaction failed, so the state is not written to */
    struct ctl_job *jobs[CTL_SLOT_COUNT];
    struct ctl_note *notes;
    size_t nnotes, capnotes;
    struct control_commands *out; /* of the running step */
};

/* util.c */
char *ctl_dup(struct sk_str s);
void ctl_set(char **at, struct sk_str s); /* replaces an owned string */
struct sk_str ctl_arena_dup(struct sk_arena *arena, struct sk_str s);
bool ctl_is_hex(struct sk_str s, size_t len);
/* Digits only, leading zeros allowed (the keys of events and chunks). */
bool ctl_digits(struct sk_str s, int64_t *ret);
void ctl_id(struct control *c, char out[33]); /* 128 unguessable bits; top bit 0, never all zero */
struct control_command *ctl_out(struct control_commands *out, enum control_command_kind kind);
void ctl_commands_move(struct control_commands *to, const struct control_commands *from);
void ctl_reply_ok(struct control *c, uint64_t request, struct sk_str json);
void ctl_reply_err(struct control *c, uint64_t request, const struct sk_err *err,
                   struct sk_str json);
void ctl_reply_elsewhere(struct control *c, uint64_t request, const struct sk_err *err);
int64_t ctl_i64_max(int64_t a, int64_t b);
int64_t ctl_i64_min(int64_t a, int64_t b);
/* The members of a record's map that are not known here, as a JSON map; NULL: none. Owned. */
char *ctl_rest(const struct sk_node *map, const char *const *known, size_t nknown);
/* Writes them (NULL: none) into the map that is being written. */
void ctl_rest_put(struct sk_jw *w, const char *rest);
/* The position of `name` in a sorted array of pointers to structs that start with a char *name, or
 * where it belongs. */
bool ctl_find(const void *array, size_t count, struct sk_str name, size_t *ret_at);
void *ctl_insert(void *array, size_t *count, size_t *cap, size_t at, void *item);
void ctl_erase(void *array, size_t *count, size_t at);

/* records.c: what is committed -> memory */
int ctl_record_apply(struct control *c, struct sk_str key, struct sk_str value, int64_t mod_rev,
                     struct sk_err *err);
void ctl_record_remove(struct control *c, struct sk_str key);
/* docs.c: after a batch of the above. Takes over plan, which is what the records hold; NULL: read
 * it.
 */
int ctl_records_settle(struct control *c, struct plan *plan, struct sk_err *err);
void ctl_overlay_free(struct control *c);
/* A row of the overlay's document; what another version wrote about that replica is kept. */
void ctl_overlay_row(const struct control *c, struct sk_jw *w, struct sk_str project,
                     struct sk_str service, int64_t replica, struct sk_str node);
void ctl_records_clear(struct control *c);
struct ctl_site *ctl_site(const struct control *c, struct sk_str name);
struct ctl_node *ctl_node(const struct control *c, struct sk_str name);
struct ctl_link *ctl_link(const struct control *c, struct sk_str a, struct sk_str b);
struct ctl_project *ctl_project(const struct control *c, struct sk_str name);
struct ctl_project *ctl_project_new(struct project *decl, struct sk_err *err);
void ctl_project_unref(struct ctl_project *p);
void ctl_planref_drop(struct ctl_planref *ref);

/* insts.c: instances, services, specs; ctl_derive() */
struct ctl_svc *ctl_svc(const struct control *c, struct sk_str project, struct sk_str name);
int ctl_inst_apply(struct control *c, struct sk_str id, const struct sk_node *rec, int64_t mod_rev,
                   struct sk_err *err);
void ctl_inst_remove(struct control *c, struct sk_str id);
void ctl_insts_clear(struct control *c);
void ctl_inst_put(struct control *c, struct ctl_txn *t, const struct ctl_inst *i,
                  enum ctl_role role);
/* `json` is the canonical form of `node`, a map. */
struct ctl_spec *ctl_spec_get(struct control *c, const char *hash, const struct sk_node *node,
                              struct sk_str json, struct sk_str image, struct sk_str digest,
                              bool exec);
void ctl_spec_unref(struct control *c, struct ctl_spec *spec);
void ctl_derive(struct control *c);
bool ctl_inst_healthy(const struct ctl_inst *i);
bool ctl_inst_completed(const struct ctl_inst *i);
const char *ctl_role_name(enum ctl_role role);

/* txn.c */
struct ctl_txn *ctl_txn_new(struct ctl_req *req);
void ctl_txn_free(struct ctl_txn *t);
struct sk_str ctl_key_text(struct ctl_txn *t, const char *kind, struct sk_str name);
void ctl_txn_put(struct ctl_txn *t, struct sk_str key, struct sk_buf *value); /* empties value */
void ctl_txn_remove(struct ctl_txn *t, struct sk_str key);
void ctl_txn_doc(struct control *c, struct ctl_txn *t, const char *kind, struct sk_str json,
                 struct sk_str who);
struct ctl_evtext {
    const char *what, *who;
    struct sk_str node, site, project, service, plan;
    const char *text;
};
void ctl_txn_event(struct control *c, struct ctl_txn *t, const struct ctl_evtext *ev);
void ctl_note(struct control *c, const char *what, struct sk_str node, struct sk_str site,
              const char *fmt, ...) __attribute__((format(printf, 5, 6)));
void ctl_note_svc(struct control *c, const char *what, const struct ctl_svc *s, const char *fmt,
                  ...) __attribute__((format(printf, 4, 5)));
/* Turns what was noted into events of this transaction. */
void ctl_notes_flush(struct control *c, struct ctl_txn *t);
void ctl_notes_free(struct ctl_note *notes, size_t count);
void ctl_txn_reply(struct ctl_txn *t, struct sk_str json);
/* Takes over t: sends it, or drops it when it is empty (its after-commands are given out then). */
void ctl_txn_send(struct control *c, struct ctl_txn *t);
int ctl_txn_done(struct control *c, const struct control_event *ev, struct sk_err *err);
void ctl_touch_cluster(struct control *c, struct ctl_txn *t);

/* requests.c */
void ctl_queue(struct control *c, struct ctl_req *req);
void ctl_req_free(struct ctl_req *req);
struct ctl_req *ctl_req_join(const struct control_join *join);
struct ctl_req *ctl_req_renew(const struct control_event *ev);
struct ctl_req *ctl_req_api(const struct control_request *in);
void ctl_requests_refuse(struct control *c, const char *leader); /* all that wait */
/* While nothing can be written: all that wait and would write are refused, plans go on. */
void ctl_requests_unwritten(struct control *c);
/* It changes nothing: only a plan is asked for. */
bool ctl_req_only_plans(const struct control_request *r);
void ctl_request_run(struct control *c, struct ctl_req *req); /* takes req over */
void ctl_refuse(struct control *c, struct ctl_req *req, const struct sk_err *err);

/* set.c: site set, node set, link set, tokens, keys */
void ctl_req_site_set(struct control *c, struct ctl_req *req);
void ctl_req_node_set(struct control *c, struct ctl_req *req);
void ctl_req_link_set(struct control *c, struct ctl_req *req);
void ctl_req_token_create(struct control *c, struct ctl_req *req);
void ctl_req_token_revoke(struct control *c, struct ctl_req *req);
void ctl_req_key_create(struct control *c, struct ctl_req *req);
void ctl_req_key_revoke(struct control *c, struct ctl_req *req);
void ctl_req_undrain(struct control *c, struct ctl_req *req);
void ctl_put_drained(struct control *c, struct ctl_txn *t, struct sk_str name, bool is_site,
                     bool drained);
/* Adds the event, answers skerry.done/1 with its text, and sends. */
void ctl_set_finish(struct control *c, struct ctl_txn *t, const struct ctl_evtext *ev);
/* Puts `raw` (NULL: nothing) with `patch` over it. Both are JSON made or checked here. */
void ctl_put_merged(struct ctl_txn *t, struct sk_str key, const char *raw, struct sk_str patch);
/* Writes `old` with the members of `patch` over it (null removes); both are maps or NULL. */
void ctl_merge(struct sk_jw *w, const struct sk_node *old, const struct sk_node *patch);

/* members.c */
void ctl_join(struct control *c, struct ctl_req *req);
void ctl_renew(struct control *c, struct ctl_req *req);
void ctl_address_step(struct control *c);
void ctl_hello(struct control *c, const struct control_event *ev);
void ctl_bye(struct control *c, const struct control_event *ev);
void ctl_beat(struct control *c, const struct control_event *ev);
void ctl_observe(struct control *c, const struct control_event *ev);
void ctl_inst_observed(struct control *c, struct ctl_inst *i, const struct control_observation *o);
void ctl_req_node_remove(struct control *c, struct ctl_req *req);
void ctl_req_site_remove(struct control *c, struct ctl_req *req);
void ctl_node_record(struct sk_jw *w, const struct control_join *j, const char *prefix,
                     int64_t wall_ms);
void ctl_site_record(struct sk_jw *w, struct sk_str role);
void ctl_certs_put(struct control *c, struct ctl_txn *t, struct sk_str node, struct sk_str serial,
                   int64_t not_after_ms);

/* verdict.c, probes.c */
void ctl_life_step(struct control *c);
/* At the start of a step, `since_ms` being the time of the one before: if control itself was late
 * (its loop was busy, its machine paused), that time counts as nobody's silence. */
void ctl_life_late(struct control *c, int64_t since_ms);
void ctl_sign_of_life(struct control *c, struct ctl_node *n);
bool ctl_node_up(const struct ctl_node *n); /* may be given work: not suspect, not lost */
bool ctl_any_lost(const struct control *c);
bool ctl_any_away(const struct control *c); /* a site, by a drill */
void ctl_probes_step(struct control *c);
void ctl_probes_acked(struct control *c, struct ctl_node *n);
/* A beat came to a standby: what the leader asked the node to listen to shows in it. */
void ctl_probes_followed(const struct control *c, struct ctl_node *n);
void ctl_rtt_heard(struct control *c, struct ctl_node *n);
bool ctl_rtt_between(const struct control *c, const struct ctl_site *a, const struct ctl_site *b,
                     double *ret_ms);
void ctl_forget_node(struct control *c, const struct ctl_node *n);

/* unheard.c */
void ctl_unheard_step(struct control *c);
void ctl_unheard_free(struct control *c);
void ctl_unheard_json(const struct control *c, struct sk_jw *w);
void ctl_unheard_site_json(const struct control *c, const struct ctl_site *s, struct sk_jw *w);

/* world.c */
struct ctl_job *ctl_job_new(struct control *c, enum ctl_job_kind kind, const struct ctl_mods *mods,
                            struct ctl_project *const *projects, size_t nprojects, bool relaxed);
void ctl_job_send(struct control *c, struct ctl_job *job, unsigned slot);
void ctl_job_free(struct ctl_job *job);
struct inventory *ctl_world(const struct control *c, const struct ctl_mods *mods);

/* plans.c: requests that need a plan */
void ctl_req_planned(struct control *c, struct ctl_req *req);
void ctl_plan_done(struct control *c, const struct control_event *ev);
void ctl_jobs_step(struct control *c);
/* A request whose plan is there, and that would write it, is refused. */
void ctl_jobs_unwritten(struct control *c, const struct sk_err *err);
/* The plan becomes the one in force, with nothing laid over it. Takes it over. */
void ctl_plan_adopt(struct control *c, struct ctl_txn *t, struct plan *plan, struct sk_str who);
/* The same, and the overlay stays what it is, or what the transaction makes of it. */
void ctl_plan_put(struct control *c, struct ctl_txn *t, struct plan *plan, struct sk_str who);
void ctl_overlay_remove(struct control *c, struct ctl_txn *t);

/* failover.c */
void ctl_failover_step(struct control *c);
void ctl_failover_done(struct control *c, struct ctl_job *job);
bool ctl_fits(const struct ctl_node *n, int64_t cpus, int64_t memory, int64_t disk);
void ctl_count_used(struct control *c);

/* return.c, return_api.c */
void ctl_return_apply(struct control *c, const struct sk_node *rec, struct sk_str raw);
void ctl_return_clear(struct control *c);
void ctl_return_step(struct control *c);
void ctl_return_planned(struct control *c, struct ctl_job *job);
/* With this transaction what is under way ends; `over`: so does whatever waited to begin. */
void ctl_return_end(struct control *c, struct ctl_txn *t, bool over);
/* "A site returned", for whoever took it away by other means than a loss (an overlay is not
 * needed): once the transaction is committed and nothing is lost, what policies and goals want to
 * move is planned, shown and, after the delay, moved. `go_by` not NULL: at once, whatever held it,
 * in that name. */
void ctl_return_ask(struct control *c, struct ctl_txn *t, const char *go_by);
int64_t ctl_return_begins_ms(const struct control *c);
bool ctl_return_over_budget(const struct control *c);
struct sk_str ctl_return_text(const struct control *c, struct sk_arena *arena,
                              const struct plan *plan, bool begun);
void ctl_return_status_json(const struct control *c, struct sk_jw *w);
void ctl_req_return(struct control *c, struct ctl_req *req);

/* reconcile.c */
void ctl_reconcile_step(struct control *c);
/* The instance that a replica should have, or NULL. */
struct ctl_inst *ctl_target(const struct ctl_svc *s, int64_t replica);

/* feed.c */
void ctl_changed(struct control *c, const struct control_event *ev);
/* Takes over what waits, if it may be by now. */
void ctl_feed_step(struct control *c);
void ctl_feed_clear(struct control *c);

/* early.c */
void ctl_early_keep(struct control *c, struct ctl_node *n, const struct control_observation *o);
void ctl_early_take(struct control *c, struct ctl_inst *i); /* its record has come */
void ctl_early_clear(struct ctl_node *n);

/* roster.c */
void ctl_roster_apply(struct control *c, const struct sk_node *rec, struct sk_str raw,
                      int64_t mod_rev);
void ctl_roster_clear(struct control *c);
const struct ctl_seat *ctl_roster_seat(const struct control *c, struct sk_str node); /* or NULL */
const char *ctl_seat_name(enum ctl_seat_state state);
void ctl_roster_controls(const struct control *c, struct sk_jw *w); /* `controls` of `assign` */
void ctl_roster_tell(struct control *c); /* a standby: who they are, to who connects */
/* growth.c: the record `control` */
void ctl_growth_apply(struct control *c, const struct sk_node *rec);
void ctl_growth_clear(struct control *c);
void ctl_growth_free(struct control *c);
struct ctl_standing *ctl_standing(const struct control *c, const char *node);
bool ctl_op_has(const struct control *c, const char *node);
const char *ctl_op_name(enum ctl_op_kind kind);
const char *ctl_phase_name(enum ctl_phase phase);
/* What the record is to say next: filled from what it says now, changed, written. */
struct ctl_draft {
    bool etcd, external;
    const char *token, *moved_to, *attempt, *last;
    struct ctl_seat seats[CONTROL_MEMBERS_MAX];
    size_t count;
    struct ctl_op op;
    const struct sk_str *endpoints;
    size_t nendpoints;
};
void ctl_draft_init(const struct control *c, struct sk_arena *arena, struct ctl_draft *ret);
void ctl_draft_drop(struct ctl_draft *d, const char *node);
void ctl_draft_write(const struct control *c, const struct ctl_draft *d, struct sk_buf *out);

/* grow.c: what is done about it */
void ctl_seat_heard(struct control *c, const struct control_event *ev);
void ctl_etcd_done(struct control *c, const struct control_event *ev);
void ctl_grow_step(struct control *c);
void ctl_phase_put(struct control *c, struct ctl_draft *d, struct ctl_req *req, const char *text);
void ctl_undo(struct control *c, const char *why);
double ctl_seats_rtt(const struct control *c);
/* upkeep.c */
void ctl_upkeep_init(struct control *c);
void ctl_upkeep_step(struct control *c);
void ctl_upkeep_seen(struct control *c, const struct control_event *ev);
void ctl_upkeep_done(struct control *c, const struct control_event *ev);
int64_t ctl_upkeep_deadline(const struct control *c);
/* move.c: true: the state is being moved, nothing else may be decided */
bool ctl_move_step(struct control *c);
void ctl_moved(struct control *c, const struct control_event *ev);
/* seats.c: requests, and who is taken */
void ctl_req_seats(struct control *c, struct ctl_req *req);
/* What a majority's commit takes on the way when `leader` leads these. */
double ctl_commit_ms(const struct control *c, struct ctl_node *const *nodes, size_t count,
                     const struct ctl_node *leader);

bool ctl_yields(const struct control *c);        /* another control node is to lead */
bool ctl_shrinks_here(const struct control *c);  /* the state is to move to this node alone */
int64_t ctl_silence_ms(const struct control *c); /* of a leader that may be taken for dead */

/* leader.c */
bool ctl_shared(const struct control *c); /* others use the same state */
void ctl_leader_init(struct control *c, const struct control_config *cfg);
void ctl_leader_apply(struct control *c, const struct sk_node *rec, struct sk_str raw,
                      int64_t mod_rev);
void ctl_leader_clear(struct control *c);
/* Adds what a transaction compares, and a sign of life that is due. */
void ctl_leader_fence(struct control *c, struct ctl_txn *t, struct control_txn *ret);
/* Whether this control may decide. Takes the key over when it can. */
bool ctl_leader_step(struct control *c);
/* A sign of life by itself, where one is due and nothing that was decided carries it. */
void ctl_leader_bump(struct control *c);

/* lease.c */
void ctl_lease_asked(struct control *c, const struct control_event *ev);
void ctl_lease_step(struct control *c);
void ctl_lease_apply(struct control *c, struct sk_str name, const struct sk_node *rec,
                     struct sk_str raw, int64_t mod_rev);
void ctl_lease_remove(struct control *c, struct sk_str name);
void ctl_leases_clear(struct control *c);
struct ctl_lease *ctl_lease(const struct control *c, const struct ctl_svc *s);
/* The instance holds its service's lease as far as control knows. */
bool ctl_lease_held_by(const struct control *c, const struct ctl_inst *i);

/* drill.c */
void ctl_req_drill(struct control *c, struct ctl_req *req);
void ctl_req_drill_abort(struct control *c, struct ctl_req *req);
/* SK_ERR_CONFLICT while a drill runs that the request would disturb. */
int ctl_drill_permits(const struct control *c, const struct control_request *r, struct sk_err *err);
void ctl_drill_step(struct control *c);
/* The node is told of all others: a hard drill cuts it off from them, or asks whether it can. */
bool ctl_drill_tells(const struct control *c, const struct ctl_node *n);
void ctl_drill_drop_wait(struct control *c, const struct sk_err *err);
void ctl_drilled(struct control *c, const struct control_event *ev);
void ctl_drill_front(struct control *c, struct ctl_node *n, const struct control_event *ev);
int64_t ctl_drill_deadline(const struct control *c); /* INT64_MAX: none */
void ctl_drill_apply(struct control *c, const struct sk_node *rec, struct sk_str raw,
                     int64_t mod_rev);
void ctl_drill_remove(struct control *c);
void ctl_report_apply(struct control *c, struct sk_str key, struct sk_str raw);
void ctl_report_remove(struct control *c, struct sk_str key);
void ctl_drills_clear(struct control *c);
void ctl_drill_status(const struct control *c, struct sk_jw *w);

/* addr.c */
bool ctl_addr_pick(struct control *c, struct ctl_node *n, char out[20]);
bool ctl_port_pick(struct control *c, struct ctl_node *n, uint16_t *ret);
int ctl_prefix_pick(const struct control *c, char out[24], struct sk_err *err);

/* view.c, assign.c; front.c has its own header */
void ctl_dirty(struct control *c, struct ctl_node *n); /* its assignment may differ now */
void ctl_views_step(struct control *c);
void ctl_assign_step(struct control *c);
void ctl_sent_forget(struct control *c, struct ctl_node *n);   /* nothing is to be sent again */
void ctl_assign_forget(struct control *c, struct ctl_node *n); /* the node is going */
void ctl_rev_seen(struct control *c, struct ctl_node *n, int64_t rev);

/* effective.c */
void ctl_plan_refresh(struct control *c); /* c->effective from plan and overlay */

#endif
