/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SIM_SIM_H
#define SIM_SIM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/prng.h"
#include "control/control.h"

/*
 * The simulator: the step machines of the binary (control, agent) in a world made of one seed.
 *
 *     struct sim_options o = {.seed = 17, .minutes = 10};
 *     struct sim *s = sim_new(&o);
 *     sim_run(s);                       s->rule tells which invariant broke, "" if none
 *     sim_free(s);
 *
 * Guarantees: the same options give the same events, in the same order, and the same hash. Nothing
 * here reads a clock, a file or the machine's randomness; there are no threads; everything is
 * iterated in the order of arrays.
 *
 * Time: `now_us` is the world's; each node has a clock of its own (sim_local_ms()). An event
 * belongs to a process (owner) of one life of it (gen): when that process dies, the event dies with
 * it; while it is paused, the event waits.
 *
 * The design, the modules and how to read a failing seed: docs/simulator.md.
 */
#define SIM_NODES 9
#define SIM_SITES 5
#define SIM_CONTROLS 5
#define SIM_PROJECTS 3
#define SIM_ROWS 96 /* instances of one node */
#define SIM_TARGETS 64
#define SIM_LATE_US                                                              \
    (40 * INT64_C(1000)) /* a shim's timer fires at most so late: docs/leases.md \
                          */
#define SIM_RULES(X)                                                                         \
    X(EXCLUSIVE, "exclusive", "exclusive work never runs twice")                             \
    X(EPOCH, "epoch", "epochs rise, none comes twice, and who runs was granted its own")     \
    X(GRANT, "grant", "a lease is promised only when it is committed")                       \
    X(FENCED, "fenced", "what compares epochs takes no older write after a newer one")       \
    X(LEADER, "leader", "a deposed leader commits nothing; terms rise; one leads in a term") \
    X(TAKEOVER, "takeover", "healed, somebody leads within 2 s")                             \
    X(CAPACITY, "capacity", "no node over its capacity")                                     \
    X(ACKED, "acked", "no acknowledged apply is lost")                                       \
    X(REFUSED, "refused-plan", "a plan that the verifier refuses is never applied")          \
    X(DRAINED, "drained", "nothing new is placed on a drained node")                         \
    X(SPREAD, "spread", "what runs survives the loss that its policy names")                 \
    X(NEEDLESS, "needless-move", "nothing moves while nothing is lost")                      \
    X(FALSE_SITE, "false-site", "no site is judged lost that most other sites hear")         \
    X(DEAD, "dead-alive", "no machine that is off is taken for alive")                       \
    X(BUDGET, "budget", "what returned is moved within its budget")                          \
    X(KEPT, "kept", "what control wants to run where it runs is never stopped")              \
    X(REVISION, "revision", "revisions of one store only grow")                              \
    X(ASSIGNED, "assign-rev", "control takes nothing for told that was not")                 \
    X(RUNS, "run-numbers", "runs of an instance are numbered upwards, one at a time")        \
    X(CONVERGE, "converge", "healed, the world is what the plan says, and control knows it") \
    X(BROKEN, "broken", "control and agents take what they are given")

enum sim_rule {
#define X(id, name, text) SIM_##id,
    SIM_RULES(X)
#undef X
        SIM_RULE_COUNT
};

/* ---- faults: each seed enables some ---- */

#define SIM_FAULTS(X)                    \
    X(LOSS, "loss")                      \
    X(JITTER, "jitter")                  \
    X(DUP, "duplicates")                 \
    X(ONEWAY, "one-way cuts")            \
    X(LINK, "cut links")                 \
    X(ISLAND, "cut-off sites")           \
    X(NODECUT, "cut-off nodes")          \
    X(BLACKOUT, "blackouts")             \
    X(DRIFT, "drifting clocks")          \
    X(STEP, "clock steps")               \
    X(PAUSE, "pauses")                   \
    X(SLEEP, "machines that sleep")      \
    X(LEADER, "leaders in trouble")      \
    X(STORE_SLOW, "slow store")          \
    X(STORE_DOWN, "store unavailable")   \
    X(STORE_DOUBT, "commits in doubt")   \
    X(STORE_FOREIGN, "foreign writes")   \
    X(STORE_STALE, "stale reads")        \
    X(WATCH, "late and lost watches")    \
    X(DISK_FULL, "full disks")           \
    X(DISK_LOSE, "unsynced writes lost") \
    X(CRASH_DAEMON, "daemon crashes")    \
    X(CRASH_AGENT, "agent crashes")      \
    X(CRASH_SHIM, "shim crashes")        \
    X(CRASH_NODE, "node crashes")        \
    X(CRASH_SITE, "site crashes")        \
    X(CRASH_CONTROL, "control crashes")  \
    X(APP, "failing programs")           \
    X(USER, "busy operators")

enum sim_fault {
#define X(id, name) SIM_F_##id,
    SIM_FAULTS(X)
#undef X
        SIM_FAULT_COUNT
};

/* Trials of exclusive work: what is done to a node on which some runs under its lease, or to a
 * control node while some runs anywhere. One cut is one trial, however many nodes it touches. */
#define SIM_TRIALS(X)        \
    X(CUT, "trials_cut")     \
    X(PAUSE, "trials_pause") \
    X(KILL, "trials_kill")   \
    X(BOOT, "trials_boot")   \
    X(STEP, "trials_step")

enum sim_trial {
#define X(id, name) SIM_T_##id,
    SIM_TRIALS(X)
#undef X
        SIM_TRIAL_COUNT
};

/* ---- events ---- */

enum sim_kind {
    SIM_EV_TICK,         /* a control's timer; node */
    SIM_EV_WATCH,        /* changes of the store reach a control */
    SIM_EV_STORE,        /* an answer of the store */
    SIM_EV_PLAN,         /* an answer of the planner */
    SIM_EV_HOUSE,        /* a control looks after its channels */
    SIM_EV_DAEMON_UP,    /* skerryd starts */
    SIM_EV_BEAT,         /* skerryd's 250 ms */
    SIM_EV_PULSE,        /* its beats by datagram */
    SIM_EV_PROBE,        /* its probes */
    SIM_EV_CONNECT,      /* it tries to connect to control b */
    SIM_EV_AGENT_UP,     /* the agent starts */
    SIM_EV_AGENT_TICK,   /* its timer */
    SIM_EV_AGENT_EVENT,  /* something that it waited for */
    SIM_EV_AGENT_OBS,    /* it tells skerryd what changed */
    SIM_EV_PROC_UP,      /* a program runs */
    SIM_EV_PROC_END,     /* a program ends */
    SIM_EV_LEASE_UP,     /* an agent's asks reach skerryd */
    SIM_EV_LEASE_DOWN,   /* an answer reaches the agent */
    SIM_EV_LEASE_LONGER, /* a renewal reaches a shim */
    SIM_EV_LEASE_DUE,    /* a shim's timer */
    SIM_EV_WRITE,        /* exclusive work writes to what it protects */
    SIM_EV_WRITTEN,      /* ... and it arrives there */
    SIM_EV_ASK,          /* a probe from a arrives at b */
    SIM_EV_ECHO,         /* its echo arrives at a from b */
    SIM_EV_DATAGRAM,     /* a beat by datagram arrives */
    SIM_EV_ANSWER,       /* control's answer to one, at a from control b */
    SIM_EV_ARRIVE,       /* a message arrives */
    SIM_EV_RETRY,        /* a channel sends again what was lost */
    SIM_EV_BOOT,         /* a machine boots */
    SIM_EV_FAULT,        /* the next fault */
    SIM_EV_HEAL,         /* the end of one */
    SIM_EV_USER,         /* somebody asks for something */
    SIM_EV_KIND_COUNT
};

enum sim_owner { SIM_WORLD, SIM_DAEMON, SIM_AGENT, SIM_MACHINE };

struct sim_event {
    int64_t at_us;
    uint64_t seq;
    uint8_t kind, owner;
    uint8_t a, b; /* nodes; the owner's node is a, but for ASK and a message upwards: b */
    uint32_t gen; /* of the owner's life */
    int64_t x;
    void *load; /* owned */
};

struct sim_heap {
    struct sim_event *items;
    size_t count, cap;
};

/* ---- the network ---- */

enum sim_message_kind {
    SIM_HELLO,
    SIM_BEAT,
    SIM_OBSERVE,
    SIM_LEASE,
    SIM_ASSIGN,
    SIM_LEASED,
    SIM_PULSE,
    SIM_PING,
    SIM_CLOSE
};

struct sim_heard {
    uint8_t node;
    int64_t age_ms, rtt_us;
};

struct sim_row { /* an instance as its agent last told */
    char id[33];
    int state;
    int health;
    int64_t since_ms, restarts;
    int exit, signal;
    char reason[64];
};

struct sim_message {
    struct sim_message *next;
    enum sim_message_kind kind;
    uint8_t node, control;
    bool up; /* towards control */
    uint32_t conn;
    uint64_t number; /* in its direction of the connection */
    int64_t seq, assign_rev, obs_rev;
    bool datagram;    /* a beat that does not come by the channel */
    bool full, fresh; /* an observation: the whole; as the agent just told it */
    struct sim_heard *heard;
    size_t nheard;
    struct sim_row *rows;
    size_t nrows;
    /* an assignment, asks, answers: the frame; in a world that encodes any, with its length */
    struct sk_buf bytes;
};

struct sim_pipe { /* one direction of a channel: in order, nothing lost while it lives */
    struct sim_message *head, **tail;
    int64_t last_us, rto_us;
    uint64_t sent, got;
    bool waiting;
};

struct sim_chan {
    uint32_t conn; /* grows with each connection */
    bool node_open, control_open;
    bool greeted; /* control was told hello, and so is owed a bye */
    int64_t node_rx_us, control_rx_us, control_tx_us;
    int64_t backoff_us, since_us;
    int64_t answered_us; /* local time of the last answer to a beat by datagram; < 0 none yet */
    int64_t steady_us;   /* local time since when none was missing */
    bool pulse;          /* the node was told its session for datagrams */
    int64_t pulse_seq;   /* of the newest beat by datagram that control took */
    bool connecting;
    struct sim_pipe up, down;
};

/* ---- nodes ---- */

struct sim_clock {
    int64_t base_us, local_us, wall_us;
    double rate;
};

enum sim_proc_state { SIM_PROC_STARTING, SIM_PROC_UP, SIM_PROC_STOPPING, SIM_PROC_DEAD };

struct sim_proc { /* an instance's folder and the program in it: outlives the agent */
    char id[33];
    enum sim_proc_state state;
    bool there;      /* a program (or its shim) holds resources */
    int64_t run;     /* of the last start */
    int64_t run_max; /* in this boot: what the checker remembers */
    char hash[80];
    bool recorded; /* the record is on the disk */
    int64_t recorded_us;
    bool healthy_mark;
    bool bad, sick, stubborn;
    int64_t ready_us;
    int exit, signal;
    int64_t cpus, memory;
    size_t work; /* index of sim.works */
    uint32_t gen;
    /* exclusive work; local times */
    int64_t epoch, until_ms; /* epoch 0: no lease */
    int64_t offered_ms;      /* what its agent last told its shim */
    bool lease_over;         /* its shim ended it for that */
    bool own_end;            /* the record of its end is the shim's own word */
    uint64_t writer;         /* this run, among all of the world */
    struct sim_proc *next;
};

struct sim_target {
    uint8_t node;
    int64_t echo_us; /* local time of the last; < 0 never */
    int64_t rtt_us;
};

struct sim_wire; /* what a node needs where messages are really encoded */

struct sim_node {
    char name[16], address[16];
    uint8_t site;
    int64_t cpus, memory;
    struct sim_clock clock;
    uint32_t machine_gen, daemon_gen, agent_gen;
    bool machine_up, daemon_up, agent_up, joined;
    int64_t daemon_pause_us, agent_pause_us; /* until when; 0 not */
    int64_t sleep_us;                        /* the whole machine; a time gone by: when it woke */
    bool daemon_woke;
    int64_t term;       /* the highest that came with what it was told; kept on its disk */
    int64_t obeyed;     /* the highest that it did something for; the checker's own */
    int64_t off_us;     /* when the machine went off */
    int64_t trouble_us; /* the last moment at which a fault touched it; see check.c */
    int touched;        /* faults under way that touch it */
    int64_t phase_us;
    /* skerryd */
    struct sim_chan chans[SIM_CONTROLS];
    struct sim_target targets[SIM_TARGETS];
    size_t ntargets;
    unsigned beats;                /* by channel, those left out counted too */
    int64_t said_assign, said_obs; /* what control was told by channel */
    bool probe_hurry, pulse_hurry; /* something is missing: extra ones are sent */
    int64_t seq;
    bool known; /* the agent has said what there is */
    struct sim_row rows[SIM_ROWS];
    size_t nrows;
    int64_t told_assign_rev, told_obs_rev;
    char *assign; /* the last assignment, as it came */
    bool link;    /* agent and skerryd are connected */
    /* the agent */
    struct sim_agent *agent;
    struct sim_proc *procs; /* by id */
    char *kept;             /* assignment.json, on disk */
    int64_t kept_us;
    bool disk_full;
    int64_t used_cpus, used_memory; /* of programs that are there */
    struct sim_wire *wire;
    /* checks */
    int64_t assigned_rev; /* of the last assignment that its agent took */
};

/* ---- what was asked for, and what is on record, as the checker sees it ---- */

struct sim_work { /* one replica of a service */
    char project[16], service[16];
    int64_t replica;
    int running;        /* programs that are there, anywhere */
    int64_t epoch;      /* of the last grant that was committed */
    int64_t epoch_run;  /* the highest that a program was started with */
    int64_t door_epoch; /* the highest that what it writes to has seen, and whose */
    uint64_t door_writer;
};

struct sim_record {
    char *key, *value;
    int64_t mod_rev;
};

struct sim_inst { /* an instance on record */
    char id[33];
    uint8_t node;
    bool stopping, gone, bad, exclusive;
    int64_t epoch; /* of its last grant that was committed */
    size_t work;
    int64_t cpus, memory;
    char spec[72];
};

struct sim_change {
    int64_t rev;
    bool removed;
    char *key, *value;
};

struct sim_store {
    struct sim_record *records; /* by key */
    size_t count, cap;
    int64_t revision;
    char id[33];
    /* several control nodes: its members stand where they stand, one of them leads */
    int lead; /* of controls; -1: none */
    int64_t ready_us;
    struct sim_change *log; /* the newest, for watches */
    size_t nlog, caplog;
    int64_t compacted; /* what is older is not told any more */
    /* the record of the leader, as the checker sees it */
    char lead_id[33], lead_node[16];
    int64_t term;
    char (*term_ids)[33]; /* of each term, by number */
    size_t nterms, capterms;
    /* faults */
    int64_t slow_us, down_until_us;
    int doubt, foreign, stale;
};

struct sim_version { /* one apply of a project that was sent */
    uint64_t request;
    int project;
    int64_t number;
    int64_t sent_us, committed_rev; /* 0: not committed */
    bool acked, answered;
};

struct sim_told { /* what the checker knows of a node's last beat that came to a control */
    int64_t seq, at_us;
    struct sim_heard heard[SIM_TARGETS];
    size_t nheard;
};

struct sim_control {
    uint8_t node;
    struct control *c; /* NULL: its process does not run */
    struct control_commands out;
    int64_t armed_us;
    int64_t revision_seen;
    bool stepping;
    uint64_t lives;
    int64_t busy_us; /* its store's worker is at work until then */
    uint64_t calls;  /* of its handle to the store */
    bool watching, watch_armed, watch_idle;
    int64_t watch_rev;
    bool lost_before[SIM_SITES];
    struct sim_told told[SIM_NODES]; /* by each node */
    int64_t started_us;
    int64_t ghost_us[SIM_NODES]; /* since when a machine that is off is taken for alive; 0 not */
};

struct sim_site {
    char name[8];
    bool full; /* trust */
};

struct sim_found { /* a death of a site, how long control did not know of it; -1: it never did */
    int64_t after_us;
};

struct sim_plan_seen {
    char id[72];
    bool good;
};

/* Nothing but: quiet; 5 % loss and 200 ms jitter; the same with blackouts of 1.5 s of links, or of
 * whole sites. */
enum sim_weather { SIM_NO_WEATHER, SIM_CALM, SIM_RAIN, SIM_LINKS, SIM_ISLES, SIM_WEATHER_COUNT };

struct sim_options {
    uint64_t seed;
    double minutes; /* of the safety phase */
    bool story;     /* print what happens */
    enum sim_weather weather;
    bool deaths;       /* in the weather: whole sites lose their power, and are found out in time */
    const char *plant; /* a planted bug; NULL: none */
    size_t controls;   /* 0: as the seed chooses */
};

struct sim {
    struct sim_options o;
    struct sk_prng prng;
    int64_t now_us, end_us;
    uint64_t seq, hash, events;
    struct sim_heap heap;
    bool founding, healing, encode;
    bool exclusive; /* declarations have exclusive work */
    /* the world */
    struct sim_site sites[SIM_SITES];
    size_t nsites;
    struct sim_node nodes[SIM_NODES];
    size_t nnodes;
    struct sim_control controls[SIM_CONTROLS];
    size_t ncontrols;
    int64_t rtt_us[SIM_SITES][SIM_SITES];
    bool fault[SIM_FAULT_COUNT];
    double loss, dup;
    int64_t jitter_us;
    int64_t fault_every_us, fault_long_us;
    bool rough;                    /* the weather alone may look like a loss */
    int cut[SIM_NODES][SIM_NODES]; /* how many faults cut the way from, to */
    struct sim_store store;
    int64_t return_moves;
    /* operators */
    struct sim_version *versions;
    size_t nversions, capversions;
    int64_t version_last;
    uint64_t request_last;
    struct {
        uint64_t request;
        bool done;
        int code;
        char text[200];
    } reply;
    /* checks */
    struct sim_work *works;
    size_t nworks, capworks;
    struct sim_inst *insts; /* by id */
    size_t ninsts, capinsts;
    struct sim_plan_seen *plans;
    size_t nplans, capplans;
    char finding[300]; /* of the verifier, the last */
    struct {
        size_t work;
        int node;
    } places[256]; /* before a return began, or ended */
    size_t nplaces;
    enum { SIM_RET_NONE, SIM_RET_BEGINS, SIM_RET_ENDS } ret_step; /* in the commit under way */
    bool ret_committed, returning;
    size_t ret_control;     /* which control's */
    int64_t returned_moves; /* of the one under way */
    int64_t acked_rev[SIM_PROJECTS], project_gone_rev[SIM_PROJECTS];
    char broken[600];
    const char *rule; /* "" as long as nothing broke */
    int64_t broken_us;
    uint64_t moves, verdicts, failovers, restarts, acks, commits;
    uint64_t leaders;                              /* lives of control that led */
    uint64_t writers, grants, lapses, late_writes; /* leased runs; ended by their shims; refused */
    uint64_t false_sites, false_nodes; /* in the weather: judged lost, and they were there */
    uint64_t trials[SIM_TRIAL_COUNT];
    uint64_t needless;          /* moves off nodes that nobody drained */
    int64_t dead_us[SIM_SITES]; /* when the whole of it lost its power; 0: it did not */
    struct sim_found *found;    /* of each such death */
    size_t nfound, capfound;
};

/* ---- sim.c ---- */
struct sim *sim_new(const struct sim_options *options);
void sim_free(struct sim *s); /* NULL allowed */
/* Founds the world, runs both phases. */
void sim_run(struct sim *s);
const char *sim_rule_name(enum sim_rule rule);
const char *sim_rule_text(enum sim_rule rule);
const char *sim_fault_name(enum sim_fault fault);
/* Handles events until then, or until something broke. */
void sim_until(struct sim *s, int64_t at_us);
void sim_post(struct sim *s, int64_t delay_us, enum sim_kind kind, enum sim_owner owner, size_t a,
              size_t b, int64_t x, void *load);
void sim_fail(struct sim *s, enum sim_rule rule, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* A line of the story; costs nothing where nobody reads. */
void sim_say(struct sim *s, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void sim_mix(struct sim *s, uint64_t value);
void sim_mix_bytes(struct sim *s, const void *bytes, size_t len);
uint64_t sim_below(struct sim *s, uint64_t bound);
int64_t sim_between(struct sim *s, int64_t low, int64_t high);
bool sim_chance(struct sim *s, double p);
int sim_node_index(const struct sim *s, struct sk_str name); /* -1: none */
#define SIM_MS INT64_C(1000)
#define SIM_S INT64_C(1000000)

/* ---- heap.c: by (time, sequence) ---- */
void sim_heap_push(struct sim_heap *heap, const struct sim_event *event);
struct sim_event sim_heap_pop(struct sim_heap *heap); /* count > 0 */

/* ---- clock.c ---- */
int64_t sim_local_us(const struct sim *s, const struct sim_node *n);
int64_t sim_local_ms(const struct sim *s, const struct sim_node *n);
int64_t sim_wall_ms(const struct sim *s, const struct sim_node *n);
/* From now until that local time, of the world's; at least 0. */
int64_t sim_until_local_us(const struct sim *s, const struct sim_node *n, int64_t local_ms);
/* What code of the binary is told that asks the machine for the time. */
void sim_clock_show(const struct sim *s, const struct sim_node *n);

/* ---- net.c ---- */
bool sim_path(const struct sim *s, size_t from, size_t to);
int64_t sim_delay_us(struct sim *s, size_t from, size_t to);
bool sim_lost(struct sim *s, size_t from, size_t to);
void sim_probe(struct sim *s, struct sim_node *n, const struct sim_target *target);
void sim_on_datagram(struct sim *s, struct sim_event *e);
void sim_on_answer(struct sim *s, struct sim_event *e);
/* A beat by datagram; takes the message over. */
void sim_send_datagram(struct sim *s, struct sim_message *m);
void sim_on_ask(struct sim *s, struct sim_event *e);
void sim_on_echo(struct sim *s, struct sim_event *e);
/* Takes the message over. */
void sim_send(struct sim *s, struct sim_message *m);
void sim_on_retry(struct sim *s, struct sim_event *e);
void sim_on_arrive(struct sim *s, struct sim_event *e);
void sim_on_connect(struct sim *s, struct sim_event *e);
void sim_connect_soon(struct sim *s, struct sim_node *n, size_t control, int64_t delay_us);
void sim_close_node(struct sim *s, struct sim_node *n, size_t control);
void sim_close_control(struct sim *s, size_t control, size_t node);
/* Both ends' process is gone; `quiet`: the machine with it, so that nobody is told. */
void sim_chans_daemon_died(struct sim *s, size_t node, bool quiet);
void sim_chans_house(struct sim *s, size_t control);
struct sim_message *sim_message_new(enum sim_message_kind kind, size_t node, size_t control,
                                    bool up);
struct sim_message *sim_message_copy(const struct sim_message *m); /* of a beat */
void sim_message_free(struct sim_message *m);

/* ---- store.c ---- */
struct sim_store_answer {
    enum control_event_kind kind;
    size_t control;
    uint64_t request, life;
    enum control_txn_result result;
    int64_t revision;
    char id[33];
    struct sk_arena *arena;
    struct control_record *records;
    size_t count;
};
void sim_store_txn(struct sim *s, size_t control, const struct control_txn *txn);
void sim_store_load(struct sim *s, size_t control);
/* The first records, before anything runs. */
void sim_store_init(struct sim *s, const struct control_commands *commands);
void sim_store_answer_free(struct sim_store_answer *a);
const char *sim_store_get(const struct sim *s, const char *key); /* NULL: absent */
/* The control that leads, by the store's record, and knows it; -1: none. */
int sim_leader(const struct sim *s);

/* ---- quorum.c: where the store's members stand, whom they reach ---- */
/* Whether the store answers that control just now. One control node: always. */
bool sim_store_ready(struct sim *s, size_t control);
int64_t sim_store_way_us(struct sim *s, size_t control); /* there, or back */
void sim_watch_begin(struct sim *s, size_t control, int64_t revision);
void sim_watch_note(struct sim *s, bool removed, struct sk_str key, struct sk_str value);
void sim_watch_wake(struct sim *s);
void sim_on_watch(struct sim *s, struct sim_event *e);
void sim_watch_release(struct sim *s);
/* As if it had never been written; value NULL: it was not there. For planted bugs. */
void sim_store_undo(struct sim *s, const char *key, const char *value);
void sim_store_release(struct sim *s);

/* ---- control.c: the control host ---- */
void sim_control_start(struct sim *s, size_t control);
void sim_control_stop(struct sim *s, size_t control);
void sim_control_step(struct sim *s, size_t control, struct control_event *ev);
void sim_on_store(struct sim *s, struct sim_event *e);
void sim_on_plan(struct sim *s, struct sim_event *e);
void sim_plan_load_free(void *load);
void sim_on_tick(struct sim *s, struct sim_event *e);
void sim_control_take(struct sim *s, struct sim_message *m);

/* ---- node.c: machines and skerryd ---- */
void sim_daemon_start(struct sim *s, struct sim_node *n);
void sim_daemon_stop(struct sim *s, struct sim_node *n, bool quiet);
void sim_machine_stop(struct sim *s, struct sim_node *n);
void sim_on_boot(struct sim *s, struct sim_event *e);
bool sim_asleep(const struct sim *s, const struct sim_node *n);
bool sim_stalled(const struct sim *s, const struct sim_node *n); /* its skerryd does not run on */
void sim_on_beat(struct sim *s, struct sim_event *e);
void sim_on_probe(struct sim *s, struct sim_event *e);
void sim_on_pulse(struct sim *s, struct sim_event *e);
void sim_member_up(struct sim *s, struct sim_node *n, size_t control);
void sim_member_take(struct sim *s, struct sim_message *m);
void sim_member_observed(struct sim *s, struct sim_node *n, bool full, const struct sim_row *rows,
                         size_t nrows);
size_t sim_index(const struct sim *s, const struct sim_node *n);

/* ---- agent.c ---- */
struct sim_agent;
void sim_agent_start(struct sim *s, struct sim_node *n);
void sim_agent_stop(struct sim *s, struct sim_node *n);
void sim_agent_assign(struct sim *s, struct sim_node *n, const char *body, bool keep);
void sim_agent_link_up(struct sim *s, struct sim_node *n);
void sim_on_agent_tick(struct sim *s, struct sim_event *e);
void sim_on_agent_event(struct sim *s, struct sim_event *e);
void sim_on_agent_obs(struct sim *s, struct sim_event *e);
int64_t sim_agent_assign_rev(const struct sim_node *n);
const struct agent_state *sim_agent_state(const struct sim_node *n); /* NULL: it does not run */

/* ---- proc.c: programs and their folders ---- */
struct sim_proc *sim_proc_find(const struct sim_node *n, const char *id);
struct agent_command;
void sim_proc_start(struct sim *s, struct sim_node *n, const struct agent_command *c, int64_t run,
                    const char *hash);
/* Its agent tells its shim how long it may run. */
void sim_proc_lease(struct sim *s, struct sim_node *n, const char *id, int64_t until_ms);
void sim_on_lease_longer(struct sim *s, struct sim_event *e);
void sim_on_lease_due(struct sim *s, struct sim_event *e);
void sim_proc_signal(struct sim *s, struct sim_node *n, struct sim_proc *p, int64_t grace_ms);
void sim_proc_kill(struct sim *s, struct sim_node *n, struct sim_proc *p, const char *why);
void sim_proc_remove(struct sim_node *n, const char *id);
void sim_on_proc_up(struct sim *s, struct sim_event *e);
void sim_on_proc_end(struct sim *s, struct sim_event *e);
void sim_procs_power_cut(struct sim *s, struct sim_node *n);
void sim_procs_release(struct sim_node *n);

/* ---- lease.c: asks and answers on their way; what exclusive work writes to ---- */
/* The asks of the step that the agent has just done. */
void sim_lease_ask(struct sim *s, struct sim_node *n);
void sim_on_lease_up(struct sim *s, struct sim_event *e);
void sim_on_lease_down(struct sim *s, struct sim_event *e);
bool sim_lease_read(struct sim *s, const struct sim_message *m, struct sk_arena *arena,
                    struct control_event *ret);
void sim_leased(struct sim *s, size_t control, const struct control_command *cmd);
void sim_lease_take(struct sim *s, struct sim_node *n, const struct sim_message *m);
void sim_on_write(struct sim *s, struct sim_event *e);
void sim_on_written(struct sim *s, struct sim_event *e);

/* ---- wire.c: the real frames, in a world that encodes ---- */
struct sim_wire *sim_wire_new(const struct sim_node *n);
void sim_wire_free(struct sim_wire *wire);
void sim_wire_reset(struct sim_wire *wire); /* skerryd started anew */
/* The agent's frame of what changed; skerryd takes it. False: it cannot be read. */
bool sim_wire_observe(struct sim_node *n, uint64_t since);
void sim_wire_encode(struct sim *s, struct sim_message *m);
/* Reads a message of a node back, from its bytes alone, as control's event. False: broken. */
bool sim_wire_decode(struct sim *s, struct sim_message *m, struct sk_arena *arena,
                     struct control_event *ret);

/* ---- user.c ---- */
const char *sim_project_name(int project);
void sim_found(struct sim *s);
void sim_on_user(struct sim *s, struct sim_event *e);
void sim_user_reply(struct sim *s, uint64_t request, const struct sk_err *err);
bool sim_apply_final(struct sim *s);
bool sim_ask(struct sim *s, struct control_request *r); /* and waits for the reply */

/* ---- chaos.c ---- */
void sim_chaos_choose(struct sim *s);
void sim_chaos_start(struct sim *s);
void sim_chaos_asked(struct sim *s, size_t node);    /* an agent asks for a lease */
void sim_chaos_starting(struct sim *s, size_t node); /* an agent starts exclusive work */
void sim_on_fault(struct sim *s, struct sim_event *e);
void sim_on_heal(struct sim *s, struct sim_event *e);
void sim_heal_all(struct sim *s);

/* ---- check.c: invariants at each step; check_end.c: at the end ---- */
void sim_check_commit(struct sim *s, size_t control, const struct control_txn *txn);
/* A transaction takes place: of whom it is (the life of a control), before its operations. */
void sim_check_fence(struct sim *s, const char *own, const struct control_op *ops, size_t nops);
void sim_check_listed(struct sim *s, const struct sim_store_answer *a);
void sim_check_term(struct sim *s, size_t control, struct sk_str body);
/* A node does what it is told for this term. */
void sim_check_obeyed(struct sim *s, struct sim_node *n, int64_t term);
void sim_check_takeover(struct sim *s); /* after everything healed */
void sim_check_op(struct sim *s, const struct control_op *op, int64_t revision);
void sim_check_plan(struct sim *s, const struct control_plan_job *job, const struct plan *plan);
void sim_check_step(struct sim *s, size_t control);
void sim_check_told(struct sim *s, const struct sim_message *m);
void sim_check_start(struct sim *s, struct sim_node *n, struct sim_proc *p, int64_t run);
void sim_check_gone(struct sim *s, struct sim_node *n, struct sim_proc *p);
void sim_check_lease_op(struct sim *s, const struct control_op *op);
void sim_check_granted(struct sim *s, const char *id, int64_t epoch);
void sim_check_leased_start(struct sim *s, struct sim_node *n, struct sim_proc *p);
/* A fault is about to meet this node; true if that was counted as a trial. */
bool sim_check_trial(struct sim *s, enum sim_trial kind, size_t node);
void sim_check_overrun(struct sim *s, const struct sim_node *n, const struct sim_proc *p);
void sim_check_stop(struct sim *s, struct sim_node *n, const char *id, bool unfit, bool replaced);
void sim_check_revision(struct sim *s, size_t control, const struct sim_store_answer *a);
size_t sim_work_of(struct sim *s, struct sk_str project, struct sk_str service, int64_t replica);
struct sim_inst *sim_inst_find(const struct sim *s, const char *id);
bool sim_store_drained(const struct sim *s, size_t node);
void sim_trouble(struct sim *s, size_t node);
bool sim_control_busy(const struct sim *s);
const char *sim_not_converged(struct sim *s); /* NULL: it is; else why not */
void sim_check_death(struct sim *s, size_t site);
/* In the weather: control has judged this node by itself. */
void sim_check_node_lost(struct sim *s, int node);
void sim_check_weather(struct sim *s); /* at the end of it */
void sim_check_release(struct sim *s);

/* ---- peek.c: what control holds, read without asking it ---- */
struct sim_peek {
    const char *project, *service, *node, *spec;
    int64_t replica, cpus, memory;
    bool overlay;
};
const char *sim_peek_own(const struct control *c); /* names this life of it */
bool sim_peek_site_lost(const struct control *c, const char *site);
size_t sim_peek_places(const struct control *c, struct sim_peek *ret, size_t max);
bool sim_peek_place(const struct control *c, const char *project, const char *service,
                    int64_t replica, struct sim_peek *ret);
/* Something moves back after a return; by itself, or because somebody said so. */
bool sim_peek_return(const struct control *c, bool *ret_by_control);
/* It is on its way back, and may be told to go where it came from. */
bool sim_peek_moving(const struct control *c, const char *project, const char *service,
                     int64_t replica);
bool sim_peek_node_lost(const struct control *c, const char *node);
bool sim_peek_knows(const struct control *c, const char *id, int *ret_state, bool *ret_healthy);
/* False: control has not told that node anything, or has no word of it. */
bool sim_peek_acked(const struct control *c, const char *node, int64_t *ret_rev);
/* No transaction but of signs of life and renewals, no plan under way, nothing unread. */
bool sim_peek_settled(const struct control *c, int64_t revision);

struct agent_event;
struct agent_state;

#endif
