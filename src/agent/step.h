/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AGENT_STEP_H
#define AGENT_STEP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "model/project.h"

/*
 * One node's work, as a pure step machine: what should run and what happened come in as events,
 * what to do goes out as commands. No clock, file, process or socket here; src/agent's drivers do
 * the work and answer each command with the event named beside it.
 *
 *     agent_step(state, &event, &commands);  execute commands;  agent_step_deadline_ms(state) ->
 * TICK
 *
 * Guarantees: the same events give the same commands. At most one start is under way for an
 * instance, and none while an earlier run of it is not known to be gone. Nothing is started or
 * stopped before the first ASSIGN (the cached one, usually): a lost cache stops no work.
 * Level-triggered: each step compares what is wanted with what is, whatever was sent before.
 *
 * Order at the start: FOUND for every instance folder, then ASSIGN.
 *
 * Exclusive work (docs/leases.md) starts only under a grant of a higher epoch than any that it was
 * granted before, and counts its lease from when the answered ask went out. Every 750 ms one frame
 * asks for all of it: renew what runs, grant what could start, release what is over. Of a run that
 * the last agent began and whose shim nobody hears, nobody knows whether it will come: it is
 * "stopping" for as long as its lease can last, and whatever of it is found meanwhile is killed.
 *
 * Back-off: 100 ms, doubled by each failure in a row, at most 30 s; forgotten after 10 s of health.
 * Checks: the first at once; then every 100 ms for 5 s, every 500 ms (or `interval`, if less) until
 * it passed once; then every `interval`. `retries` failures in a row make an instance unhealthy;
 * one that stays so for retries x interval, at least 10 s, is restarted, if its policy restarts at
 * all.
 */
#define AGENT_ID_MAX 65 /* with the NUL */
#define AGENT_HASH_MAX 80
#define AGENT_REASON_MAX 256
#define AGENT_INSTANCES_MAX 4096
#define AGENT_BACKOFF_MIN_MS 100
#define AGENT_BACKOFF_MAX_MS 30000
#define AGENT_BACKOFF_RESET_MS 10000
#define AGENT_RUNNING_IS_HEALTHY_MS 500
#define AGENT_CHECK_FAST_MS 100
#define AGENT_CHECK_FAST_FOR_MS 5000
#define AGENT_CHECK_SLOW_MS 500
#define AGENT_UNHEALTHY_MS 10000
#define AGENT_LEASE_LEFT_MS 500 /* with less left of a new lease it is not worth starting */
#define AGENT_GRACE_MS 10000    /* where nothing else is known */
#define AGENT_GONE_SHOWN_MS \
    60000 /* an ended instance that nobody lists is still observed for so long */
#define AGENT_GONE_KEPT_MS 600000 /* ... and its folder (logs) kept for so long */

enum agent_check { AGENT_CHECK_NONE, AGENT_CHECK_PORT, AGENT_CHECK_HTTP, AGENT_CHECK_EXEC };

/* What step needs to know of an assignment. */
struct agent_desired {
    char id[AGENT_ID_MAX];
    char hash[AGENT_HASH_MAX]; /* of everything that makes a running instance another one */
    bool want_run;
    bool needs_image;
    bool exclusive; /* runs under a lease only */
    enum restart_policy restart;
    int64_t restart_max;
    enum agent_check check;
    int64_t interval_ms, timeout_ms, start_period_ms, retries;
    int stop_signal; /* 0: not declared: the image's, else TERM, which the driver knows */
    int64_t stop_grace_ms;
};

enum agent_phase {
    AGENT_IDLE,      /* no process; waits for its turn (due_ms), or is not wanted */
    AGENT_PREPARING, /* PREPARE is under way */
    AGENT_WAITING,   /* for its lease; everything else is there */
    AGENT_STARTING,  /* START is under way */
    AGENT_RUNNING,
    AGENT_STOPPING, /* STOP was sent, EXITED comes */
    AGENT_CLEANING, /* CLEAN is under way */
    AGENT_FADING,   /* found without its shim: what that may have begun ends by due_ms, the longest
                       lease, and is cleaned then */
    AGENT_DONE,     /* ended, and its policy does not start it again */
    AGENT_PHASE_COUNT
};

struct agent_instance {
    struct agent_desired desired;
    bool listed; /* in the last assignment */
    enum agent_phase phase;
    char running_hash[AGENT_HASH_MAX]; /* of what runs, or ran last */
    int64_t run;                       /* number of the last start; restarts = run - 1 */
    int healthy;                       /* 1, 0, -1: not known yet */
    int exit;                          /* of the last run: -1 none */
    int signal;                        /* 0 none */
    bool failed;                       /* the last thing that happened to it was a failure */
    bool asked;                        /* its last run ended because a stop was sent */
    bool unfit;                        /* it is being stopped because its check fails */
    char reason[AGENT_REASON_MAX];
    int64_t since_ms;   /* of the state that is shown */
    int64_t due_ms;     /* IDLE, FADING: not before */
    int64_t streak;     /* failures in a row */
    int64_t started_ms; /* RUNNING */
    int64_t healthy_ms; /* since when healthy; 0 = not */
    int64_t failing_ms; /* since when its checks fail; 0 = they do not */
    bool was_healthy;   /* in this run */
    bool checking;
    int64_t check_due_ms;
    int64_t check_failures;
    int64_t gone_ms;  /* unlisted and ended since; 0 = not */
    int64_t epoch;    /* exclusive: the newest that it was granted; never used twice. 0: none */
    int64_t released; /* the last epoch that control knows to be over */
    int64_t lease_until_ms; /* RUNNING, STARTING, STOPPING: its shim kills it then. 0: no lease */
    uint64_t changed;       /* stamp of the last visible change */
};

#define AGENT_ASKS_KEPT 8 /* send times; an answer to an older ask would be of no use */

struct agent_state {
    struct agent_instance **items; /* sorted by id */
    size_t count, cap;
    bool assigned;
    uint64_t stamp; /* grows with each visible change */
    /* leases */
    int64_t ask_seq, answered_seq, ask_sent_ms[AGENT_ASKS_KEPT];
    int64_t ask_due_ms; /* INT64_MAX: nothing to ask */
    bool ask_now;
};

enum agent_event_kind {
    AGENT_ASSIGN,   /* desired, ndesired: the whole of it */
    AGENT_FOUND,    /* id, hash, run, alive, healthy, ok = it was started; exit, signal, reason */
    AGENT_PREPARED, /* id, ok, reason */
    AGENT_STARTED,  /* id, run, ok, reason */
    AGENT_EXITED,   /* id, run, exit, signal, reason */
    AGENT_CHECKED,  /* id, run, ok, reason */
    AGENT_CLEANED,  /* id */
    AGENT_LEASED,   /* id, seq, epoch, ok = held: what control answered to an ask */
    AGENT_REACHED,  /* somebody new takes asks on: those under way may have been lost */
    AGENT_TICK,
};

struct agent_event {
    enum agent_event_kind kind;
    int64_t now_ms;
    const char *id;
    const char *hash;
    int64_t run;
    bool ok, alive, healthy;
    bool lease_over; /* EXITED, FOUND: its shim ended it because the lease ran out */
    bool unsure;     /* FOUND: exclusive, and nobody says that its last run is over */
    int64_t epoch;   /* LEASED; FOUND: of its last run, 0: not exclusive */
    int64_t seq;     /* LEASED */
    int exit, signal;
    const char *reason; /* may be NULL */
    const struct agent_desired *desired;
    size_t ndesired;
};

enum agent_command_kind {
    AGENT_PREPARE, /* -> PREPARED */
    AGENT_START,   /* run, epoch, until_ms -> STARTED, later EXITED */
    AGENT_LEASE,   /* run, until_ms: its shim may let it run until then; no answer */
    AGENT_ASK,     /* ask, epoch, seq: those of one step are one frame -> LEASED, or never */
    AGENT_STOP,    /* run, signal, grace_ms -> EXITED */
    AGENT_CHECK,   /* run -> CHECKED */
    AGENT_CLEAN,   /* the runtime's leftovers of an ended run -> CLEANED */
    AGENT_REMOVE,  /* the folder; no answer */
};

enum agent_ask { AGENT_ASK_NOTHING, AGENT_ASK_RENEW, AGENT_ASK_GRANT, AGENT_ASK_RELEASE };

struct agent_command {
    enum agent_command_kind kind;
    char id[AGENT_ID_MAX];
    int64_t run;
    int signal; /* STOP: as desired, 0 = not declared */
    int64_t grace_ms;
    enum agent_ask ask;
    int64_t epoch, seq, until_ms;
};

struct agent_commands {
    struct agent_command *items;
    size_t count, cap;
};

void agent_state_release(struct agent_state *state);
/* Appends to *out. */
void agent_step(struct agent_state *state, const struct agent_event *event,
                struct agent_commands *out);
int64_t agent_step_deadline_ms(const struct agent_state *state); /* INT64_MAX: none */
struct agent_instance *agent_state_find(const struct agent_state *state, const char *id);
/* "pending", "pulling", "starting", "running", "stopping", "exited", "failed" */
const char *agent_instance_state(const struct agent_instance *instance);
/* False once an unlisted, ended instance has been shown for long enough. */
bool agent_instance_shown(const struct agent_instance *instance, int64_t now_ms);
int64_t agent_backoff_ms(int64_t streak);

#endif
