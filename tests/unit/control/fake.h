/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TEST_CONTROL_FAKE_H
#define TEST_CONTROL_FAKE_H

#include "base/buf.h"
#include "base/prng.h"
#include "base/tree.h"
#include "control/control.h"

/*
 * A small world around one control: a store in memory, agents that beat, probe and run instances,
 * links that can be cut, plans made at once. Time is simulated; the same calls give the same trace.
 */
#define FAKE_NODES 32
#define FAKE_INSTS 128

struct fake_inst { /* as its agent sees it */
    char id[33];
    char label[96]; /* "shop/web.0" */
    bool want_run, listed, bad, ends;
    int exit;
    enum control_instance_state state;
    bool healthy;
    int64_t next_ms; /* of its next change of state */
    int64_t cpus, memory;
    /* exclusive work: CONTROL_STARTING waits for its lease */
    bool exclusive;
    int64_t epoch, released, until_ms;
};

struct fake_agent {
    char name[32], site[32];
    bool there, up, paused, connected;
    bool held; /* fake_hold(): its beats come by datagram alone */
    int64_t phase_ms, cut_since_ms, next_beat_ms;
    int64_t rev, obs_rev;
    bool changed;
    struct fake_inst insts[FAKE_INSTS];
    size_t ninsts;
    char probe[64][32];
    int64_t heard_ms[64];
    size_t nprobe;
    char view[8192];
    char shown[4096]; /* what the trace last said of its assignment */
    int64_t cpus, memory;
    char prefix[24];
    unsigned assigns;
    /* its ingress: serves a view FAKE_FRONT_MS after it came, or what is set here */
    bool no_front;
    int64_t front_takes_ms;
    int64_t front_view, front_next, front_ms, front_requests, front_errors;
    /* a drill's hard cut */
    bool cannot_cut, mute_drill, has_peers;
    int64_t drill_number, cut_until_ms;
    int64_t next_ask_ms, ask_seq, answered_seq, asked_ms[8]; /* asked_ms: by seq */
};

#define FAKE_FRONT_MS 250

struct fake_record {
    char *key, *value;
    int64_t mod_rev;
};

struct fake_reply {
    uint64_t request;
    int code;
    char msg[SK_ERR_MSG_MAX], fix[SK_ERR_FIX_MAX];
    char *json;
};

struct fake_pending; /* events on their way */

struct fake {
    struct control *c;
    int64_t now_ms, wall_ms;
    uint64_t seed;
    char own[32];
    struct fake_record *records;
    size_t nrecords, caprecords;
    int64_t revision;
    int fail_txns; /* the next so many fail */
    bool conflict_next;
    bool shared; /* from the next start of control on: as if others used the state too */
    struct fake_pending *queue;
    uint64_t seq, next_request;
    struct fake_agent agents[FAKE_NODES];
    size_t nagents;
    bool cut[FAKE_NODES][FAKE_NODES]; /* agents that do not reach each other */
    bool control_cut[FAKE_NODES];     /* agents that control does not reach */
    bool probes_blocked;              /* a firewall lets no probe of anybody through */
    struct fake_reply replies[256];
    size_t nreplies;
    char bad_image[64];  /* instances of it never get healthy */
    char done_image[64]; /* instances of it run for a second and exit with done_exit */
    int done_exit;
    int64_t plan_ms, commit_ms;
    int64_t return_moves; /* of the next control: fake_restart_control(); 0 = as by default */
    bool hold_plans;      /* keep PLAN_DONE back until released */
    bool quiet;           /* no trace text, only its hash */
    struct sk_buf trace;
    uint64_t hash;
    unsigned revoked, closed, plans, txns;
    char issued[64][33]; /* serials */
    size_t nissued;
    /* found by fake_check() */
    char broken[512];
    struct {
        char label[96];
        int64_t since_ms;
    } doubles[64];
    size_t ndoubles;
    int64_t doubles_max_ms; /* while control was not frozen */
    bool frozen;
    int64_t users, users_failed; /* at each ingress, with each beat; of 100 */
    bool drop_answers;           /* what control answers to asks is lost */
    struct {
        char label[96];
        int64_t epoch; /* the highest that ran */
    } epochs[16];
    size_t nepochs;
    unsigned answers;
    unsigned looks; /* at etcd's members */
    /* what changes the control nodes; NULL: no test of it */
    void (*seats)(struct fake *f, const struct control_command *cmd);
};

/* A cluster of one control-only node `hub-1` in site `hub`, loaded and beating. */
struct fake *fake_new(uint64_t seed);
void fake_free(struct fake *f);
void fake_run(struct fake *f, int64_t ms);
/* What node `node` asks for instance `id`, by hand. */
void fake_ask(struct fake *f, const char *node, const char *id, enum control_lease_ask_kind kind,
              int64_t epoch);
/* The only copy that runs, or waits for its lease, on any node; NULL: none. Its node. */
struct fake_inst *fake_exclusive(struct fake *f, const char *label, const char **ret_node);
uint64_t fake_drill(struct fake *f, const char *site, int64_t for_ms, double bound, bool hard);
/* Users ask at every ingress, `failed` of each 100 in vain, until it is called again with 0. */
void fake_users(struct fake *f, int64_t each_beat, int64_t failed);
/* Runs until the reply to `request` is there, at most 20 s. */
const struct fake_reply *fake_wait(struct fake *f, uint64_t request);

/* A token, a join, an agent. Returns the join's reply code (0: joined). */
int fake_join(struct fake *f, const char *node, const char *site, double cpus, int64_t memory_mib);
/* fra, ams, par with `per_site` nodes of 4 cpus and 4 GiB each; prices and places set. */
void fake_three_sites(struct fake *f, int per_site);
uint64_t fake_token(struct fake *f, const char *hash, const char *site, const char *role,
                    int64_t ttl_ms);
uint64_t fake_join_raw(struct fake *f, const struct control_join *join);
uint64_t fake_apply(struct fake *f, const char *project_json, const char *expect, bool dry_run);
uint64_t fake_request(struct fake *f, const struct control_request *r);
uint64_t fake_target(struct fake *f, enum control_request_kind kind, const char *name, bool is_site,
                     bool force);
uint64_t fake_set(struct fake *f, enum control_request_kind kind, const char *name,
                  const char *other, const char *body);
/* Applies and expects success. */
void fake_must_apply(struct fake *f, const char *project_json);

struct fake_agent *fake_agent(struct fake *f, const char *name);
void fake_kill(struct fake *f, const char *node);  /* it and all it runs are gone at once */
void fake_start(struct fake *f, const char *node); /* empty, as after a reboot */
void fake_pause(struct fake *f, const char *node, bool paused);
/* Nothing comes by the node's channel until it is let go, and then all of it. */
void fake_hold(struct fake *f, const char *node, bool held);
void fake_kill_site(struct fake *f, const char *site);
void fake_start_site(struct fake *f, const char *site);
/* Cuts or heals everything between a site (or node) and all others, or two of them. */
void fake_isolate(struct fake *f, const char *site, bool cut);
void fake_link(struct fake *f, const char *site_a, const char *site_b, bool cut);
void fake_control_link(struct fake *f, const char *site, bool cut);
void fake_restart_control(struct fake *f);
/* Control does not run for so long; then its timer comes first, and what waits in sockets after. */
void fake_stall_control(struct fake *f, int64_t ms);

/* Running instances of a service: all, or in one site ("" = all). */
size_t fake_running(struct fake *f, const char *label_prefix, const char *site);
bool fake_converged(struct fake *f); /* every wanted replica healthy, nothing more on the books */
bool fake_event_seen(struct fake *f, const char *what);
size_t fake_event_count(struct fake *f, const char *what);
const char *fake_view(struct fake *f, const char *site); /* JSON */
size_t fake_instances_on_record(struct fake *f);
/* Reads a query's answer. The tree lives until the next call. */
const struct sk_node *fake_query(struct fake *f,
                                 void (*query)(const struct control *, struct sk_buf *));
const char *fake_get(struct fake *f, const char *key); /* the record, NULL if absent */
/* Somebody else writes a record. */
void fake_put(struct fake *f, const char *key, struct sk_str value);
/* One more event for control, now. */
void fake_tell(struct fake *f, struct control_event *ev);
void fake_note(struct fake *f, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#endif
