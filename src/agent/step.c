/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/step.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/mem.h"
#include "model/lease.h"

static size_t position(const struct agent_state *state, const char *id)
{
    size_t lo = 0, hi = state->count;

    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        if (strcmp(state->items[mid]->desired.id, id) < 0) {
            lo = mid + 1;
        } else {
            hi = mid;
        }
    }
    return lo;
}

struct agent_instance *agent_state_find(const struct agent_state *state, const char *id)
{
    size_t at = position(state, id);
    return at < state->count && strcmp(state->items[at]->desired.id, id) == 0 ? state->items[at]
                                                                              : NULL;
}

static struct agent_instance *add(struct agent_state *state, const char *id)
{
    size_t at = position(state, id);
    struct agent_instance *it = sk_xcalloc(1, sizeof(*it));

    SK_GROW(state->items, state->count, state->cap);
    memmove(state->items + at + 1, state->items + at, (state->count - at) * sizeof(*state->items));
    state->items[at] = it;
    state->count++;
    (void)snprintf(it->desired.id, sizeof(it->desired.id), "%s", id);
    it->healthy = -1;
    it->exit = -1;
    return it;
}

static void drop(struct agent_state *state, size_t at)
{
    free(state->items[at]);
    memmove(state->items + at, state->items + at + 1,
            (state->count - at - 1) * sizeof(*state->items));
    state->count--;
}

void agent_state_release(struct agent_state *state)
{
    for (size_t i = 0; i < state->count; i++) {
        free(state->items[i]);
    }
    free(state->items);
    memset(state, 0, sizeof(*state));
}

int64_t agent_backoff_ms(int64_t streak)
{
    int64_t ms = AGENT_BACKOFF_MIN_MS;

    for (int64_t i = 1; i < streak && ms < AGENT_BACKOFF_MAX_MS; i++) {
        ms *= 2;
    }
    return ms < AGENT_BACKOFF_MAX_MS ? ms : AGENT_BACKOFF_MAX_MS;
}

static struct agent_command *command(struct agent_commands *out, enum agent_command_kind kind,
                                     const struct agent_instance *it)
{
    struct agent_command *c;

    SK_GROW(out->items, out->count, out->cap);
    c = &out->items[out->count++];
    *c = (struct agent_command){.kind = kind, .run = it->run};
    memcpy(c->id, it->desired.id, sizeof(c->id));
    return c;
}

static void set_reason(struct agent_instance *it, const char *reason)
{
    (void)snprintf(it->reason, sizeof(it->reason), "%s", reason ? reason : "");
}

static bool wanted(const struct agent_instance *it)
{
    return it->listed && it->desired.want_run;
}

static bool replaced(const struct agent_instance *it)
{
    return it->listed && it->run > 0 && strcmp(it->running_hash, it->desired.hash) != 0;
}

static void set_phase(struct agent_instance *it, enum agent_phase phase, int64_t now_ms)
{
    it->phase = phase;
    it->since_ms = now_ms;
}

/* A failure: the next try is due after the back-off of this streak. */
static void failed(struct agent_instance *it, int64_t now_ms)
{
    bool well = it->healthy_ms && now_ms - it->healthy_ms >= AGENT_BACKOFF_RESET_MS;

    it->streak = well ? 1 : it->streak + 1;
    it->due_ms = now_ms + agent_backoff_ms(it->streak);
    it->failed = true;
}

static bool policy_restarts(const struct agent_instance *it)
{
    bool bad = it->exit != 0 || it->signal != 0 || it->unfit;

    switch (it->desired.restart) {
    case RESTART_ALWAYS:
    case RESTART_UNLESS_STOPPED:
        return true;
    case RESTART_NO:
        return false;
    case RESTART_ON_FAILURE:
        return bad && (it->desired.restart_max == 0 || it->streak <= it->desired.restart_max);
    }
    return false;
}

static void begin_running(struct agent_instance *it, int64_t now_ms, bool healthy)
{
    set_phase(it, AGENT_RUNNING, now_ms);
    it->started_ms = now_ms;
    it->healthy = healthy ? 1 : -1;
    it->was_healthy = healthy;
    it->healthy_ms = healthy ? now_ms : 0;
    it->failing_ms = 0;
    it->check_failures = 0;
    it->checking = false;
    it->check_due_ms = now_ms;
    it->exit = -1;
    it->signal = 0;
    it->unfit = false;
}

/* The last run is over, however it ended; its leftovers are cleaned before anything else. */
static void ended(struct agent_instance *it, const struct agent_event *e,
                  struct agent_commands *out)
{
    bool asked = (it->phase == AGENT_STOPPING && !it->unfit) || e->lease_over;

    it->exit = e->exit;
    it->signal = e->signal;
    it->asked = asked;
    if (!it->unfit) {
        set_reason(it, e->reason);
    }
    it->failed = false;
    if (!asked) {
        failed(it, e->now_ms);
    }
    it->healthy = -1;
    it->healthy_ms = 0;
    it->checking = false;
    it->lease_until_ms = 0;
    set_phase(it, AGENT_CLEANING, e->now_ms);
    (void)command(out, AGENT_CLEAN, it);
}

static void on_assign(struct agent_state *state, const struct agent_event *e)
{
    state->assigned = true;
    for (size_t i = 0; i < state->count; i++) {
        state->items[i]->listed = false;
    }
    for (size_t i = 0; i < e->ndesired; i++) {
        const struct agent_desired *d = &e->desired[i];
        struct agent_instance *it = agent_state_find(state, d->id);
        if (!it) {
            it = add(state, d->id);
            it->since_ms = e->now_ms;
        }
        if (it->phase == AGENT_IDLE && strcmp(it->desired.hash, d->hash) != 0) {
            it->due_ms = 0; /* another declaration need not wait for the failures of the old one */
            it->streak = 0;
        }
        it->desired = *d;
        it->listed = true;
        it->gone_ms = 0;
    }
}

static void on_found(struct agent_state *state, const struct agent_event *e,
                     struct agent_commands *out)
{
    struct agent_instance *it = agent_state_find(state, e->id);

    if (it) {
        return; /* each folder is found once */
    }
    it = add(state, e->id);
    it->desired.restart = RESTART_ALWAYS; /* until the assignment says */
    it->desired.stop_grace_ms = AGENT_GRACE_MS;
    it->run = e->run;
    it->epoch = e->epoch;
    (void)snprintf(it->running_hash, sizeof(it->running_hash), "%s", e->hash ? e->hash : "");
    if (e->alive) {
        begin_running(it, e->now_ms, e->healthy);
        return;
    }
    if (e->unsure) {
        it->exit = e->exit;
        it->signal = e->signal;
        it->failed = e->exit > 0 || e->signal != 0;
        set_reason(it, e->reason);
        set_phase(it, AGENT_FADING, e->now_ms);
        it->due_ms = e->now_ms + LEASE_MS;
        (void)command(out, AGENT_CLEAN, it); /* what is there already; and all of it then */
        return;
    }
    if (e->run == 0) {
        return; /* it never ran, or is just being started: trying to start it finds out */
    }
    set_phase(it, AGENT_RUNNING, e->now_ms);
    ended(it, e, out);
    it->due_ms = e->now_ms; /* it has waited: the agent was away */
    it->failed = e->exit != 0 || e->signal != 0;
}

static void on_prepared(struct agent_instance *it, const struct agent_event *e)
{
    if (it->phase != AGENT_PREPARING) {
        return;
    }
    if (e->ok) {
        /* The start follows in this same step: reconcile() sees STARTING only after START. */
        it->phase = AGENT_IDLE;
        it->due_ms = e->now_ms;
        it->desired.needs_image = false;
        return;
    }
    set_reason(it, e->reason);
    failed(it, e->now_ms);
    set_phase(it, AGENT_IDLE, e->now_ms);
}

static void on_started(struct agent_instance *it, const struct agent_event *e,
                       struct agent_commands *out)
{
    if (it->phase != AGENT_STARTING || e->run != it->run) {
        return;
    }
    if (e->ok) {
        begin_running(it, e->now_ms, false);
        return;
    }
    set_reason(it, e->reason);
    failed(it, e->now_ms);
    set_phase(it, AGENT_CLEANING, e->now_ms);
    (void)command(out, AGENT_CLEAN, it);
}

static int64_t check_pause_ms(const struct agent_instance *it, int64_t now_ms)
{
    int64_t interval = it->desired.interval_ms;
    int64_t pause = AGENT_CHECK_FAST_MS;

    if (it->was_healthy) {
        return interval > AGENT_CHECK_FAST_MS ? interval : AGENT_CHECK_FAST_MS;
    }
    if (now_ms - it->started_ms >= AGENT_CHECK_FAST_FOR_MS) {
        pause = interval > 0 && interval < AGENT_CHECK_SLOW_MS ? interval : AGENT_CHECK_SLOW_MS;
    }
    return pause;
}

static void became_healthy(struct agent_instance *it, int64_t now_ms)
{
    it->check_failures = 0;
    it->failing_ms = 0;
    if (it->healthy != 1) {
        it->healthy = 1;
        it->healthy_ms = now_ms;
        it->was_healthy = true;
        it->failed = false;
        it->since_ms = now_ms;
        set_reason(it, "");
    }
}

static void on_checked(struct agent_instance *it, const struct agent_event *e)
{
    if (it->phase != AGENT_RUNNING || e->run != it->run) {
        return;
    }
    it->checking = false;
    if (e->ok) {
        became_healthy(it, e->now_ms);
    }
    it->check_due_ms = e->now_ms + check_pause_ms(it, e->now_ms);
    if (e->ok) {
        return;
    }
    it->check_failures++;
    if (!it->failing_ms) {
        it->failing_ms = it->was_healthy ? e->now_ms : it->started_ms + it->desired.start_period_ms;
    }
    if (it->check_failures >= it->desired.retries &&
        (it->was_healthy ||
         e->now_ms - it->failing_ms >= it->desired.retries * it->desired.interval_ms)) {
        if (it->healthy != 0) {
            it->healthy = 0;
            it->healthy_ms = 0;
            it->since_ms = e->now_ms;
        }
        (void)snprintf(it->reason, sizeof(it->reason), "its check fails: %s",
                       e->reason ? e->reason : "no reason given");
    }
}

static int64_t unfit_at_ms(const struct agent_instance *it)
{
    int64_t patience = it->desired.retries * it->desired.interval_ms;

    if (!it->failing_ms || it->healthy != 0 || it->desired.restart == RESTART_NO) {
        return INT64_MAX;
    }
    return it->failing_ms + (patience > AGENT_UNHEALTHY_MS ? patience : AGENT_UNHEALTHY_MS);
}

static void stop(struct agent_instance *it, int64_t now_ms, struct agent_commands *out)
{
    struct agent_command *c = command(out, AGENT_STOP, it);

    c->signal = it->desired.stop_signal;
    c->grace_ms = it->desired.stop_grace_ms;
    set_phase(it, AGENT_STOPPING, now_ms);
}

static void reconcile_running(struct agent_instance *it, int64_t now_ms, struct agent_commands *out)
{
    if (!wanted(it) || replaced(it)) {
        stop(it, now_ms, out);
    } else if (now_ms >= unfit_at_ms(it)) {
        it->unfit = true;
        stop(it, now_ms, out);
    } else if (it->desired.check == AGENT_CHECK_NONE) {
        if (it->healthy != 1 && now_ms - it->started_ms >= AGENT_RUNNING_IS_HEALTHY_MS) {
            became_healthy(it, now_ms);
        }
    } else if (!it->checking && now_ms >= it->check_due_ms) {
        it->checking = true;
        (void)command(out, AGENT_CHECK, it);
    }
}

/* The last run ended by itself, and the policy leaves it at that. */
static bool finished(const struct agent_instance *it)
{
    bool ran = it->exit >= 0 || it->signal != 0;
    return ran && !it->asked && !replaced(it) && !policy_restarts(it);
}

static void begin_start(struct agent_instance *it, int64_t now_ms, struct agent_commands *out)
{
    struct agent_command *c;

    it->run++;
    memcpy(it->running_hash, it->desired.hash, sizeof(it->running_hash));
    set_phase(it, AGENT_STARTING, now_ms);
    c = command(out, AGENT_START, it);
    c->epoch = it->lease_until_ms ? it->epoch : 0;
    c->until_ms = it->lease_until_ms;
}

static void reconcile_idle(struct agent_state *state, struct agent_instance *it, int64_t now_ms,
                           struct agent_commands *out)
{
    if (!wanted(it)) {
        return;
    }
    if (finished(it)) {
        it->phase = AGENT_DONE;
        it->failed = it->exit != 0 || it->signal != 0 || it->unfit;
        return;
    }
    if (now_ms < it->due_ms) {
        return;
    }
    if (it->desired.needs_image) {
        set_phase(it, AGENT_PREPARING, now_ms);
        (void)command(out, AGENT_PREPARE, it);
        return;
    }
    if (it->desired.exclusive) {
        set_phase(it, AGENT_WAITING, now_ms);
        set_reason(it, "waits for its lease");
        state->ask_now = true;
        return;
    }
    it->lease_until_ms = 0;
    begin_start(it, now_ms, out);
}

static void reconcile(struct agent_state *state, struct agent_instance *it, int64_t now_ms,
                      struct agent_commands *out)
{
    switch (it->phase) {
    case AGENT_IDLE:
        reconcile_idle(state, it, now_ms, out);
        break;
    case AGENT_RUNNING:
        reconcile_running(it, now_ms, out);
        break;
    case AGENT_DONE:
        if (wanted(it) && replaced(it)) {
            it->due_ms = 0;
            it->streak = 0;
            set_phase(it, AGENT_IDLE, now_ms);
            reconcile_idle(state, it, now_ms, out);
        }
        break;
    case AGENT_WAITING:
        if (!wanted(it)) {
            set_phase(it, AGENT_IDLE, now_ms);
        }
        break;
    case AGENT_FADING:
        if (now_ms >= it->due_ms) {
            set_phase(it, AGENT_CLEANING, now_ms);
            (void)command(out, AGENT_CLEAN, it);
        }
        break;
    case AGENT_PREPARING:
    case AGENT_STARTING:
    case AGENT_STOPPING:
    case AGENT_CLEANING:
    case AGENT_PHASE_COUNT:
        break; /* something is under way: its event comes */
    }
}

static void on_cleaned(struct agent_state *state, struct agent_instance *it, int64_t now_ms)
{
    if (it->phase != AGENT_CLEANING) {
        return;
    }
    it->phase = AGENT_IDLE;
    state->ask_now = state->ask_now || it->epoch > it->released; /* its run is over */
    if (replaced(it) || it->asked) {
        it->due_ms = now_ms;
    }
}

/* ---- leases ---- */

static bool runs_leased(const struct agent_instance *it)
{
    return it->epoch > 0 && (it->phase == AGENT_RUNNING || it->phase == AGENT_STARTING ||
                             it->phase == AGENT_STOPPING);
}

static enum agent_ask ask_of(const struct agent_instance *it)
{
    if (runs_leased(it)) {
        return AGENT_ASK_RENEW;
    }
    if (it->phase == AGENT_WAITING) {
        return AGENT_ASK_GRANT;
    }
    if (it->epoch > it->released &&
        (it->phase == AGENT_DONE || (it->phase == AGENT_IDLE && !wanted(it)))) {
        return AGENT_ASK_RELEASE;
    }
    return AGENT_ASK_NOTHING;
}

/* All asks of this node are one frame, which replaces the one before. Its send time is now, which
 * is before it is really sent. */
static void ask_all(struct agent_state *state, int64_t now_ms, struct agent_commands *out)
{
    bool any = false;

    if (!state->ask_now && now_ms < state->ask_due_ms && state->ask_due_ms != INT64_MAX) {
        return;
    }
    state->ask_now = false;
    for (size_t i = 0; i < state->count; i++) {
        const struct agent_instance *it = state->items[i];
        enum agent_ask ask = ask_of(it);
        if (ask == AGENT_ASK_NOTHING) {
            continue;
        }
        if (!any) {
            any = true;
            state->ask_seq++;
            state->ask_sent_ms[state->ask_seq % AGENT_ASKS_KEPT] = now_ms;
        }
        struct agent_command *c = command(out, AGENT_ASK, it);
        c->ask = ask;
        c->epoch = it->epoch;
        c->seq = state->ask_seq;
    }
    state->ask_due_ms = any ? now_ms + LEASE_RETRY_MS : INT64_MAX; /* or later, if answered */
}

static bool sent_at(const struct agent_state *state, int64_t seq, int64_t *ret_ms)
{
    if (seq <= 0 || seq > state->ask_seq || seq <= state->ask_seq - AGENT_ASKS_KEPT) {
        return false;
    }
    *ret_ms = state->ask_sent_ms[seq % AGENT_ASKS_KEPT];
    return true;
}

static void on_granted(struct agent_state *state, struct agent_instance *it, int64_t until_ms,
                       const struct agent_event *e, struct agent_commands *out)
{
    it->epoch = e->epoch;
    if (until_ms - e->now_ms < AGENT_LEASE_LEFT_MS) {
        state->ask_now = true; /* nothing ran under it: asking anew says so */
        return;
    }
    it->lease_until_ms = until_ms;
    set_reason(it, "");
    begin_start(it, e->now_ms, out);
}

static void on_leased(struct agent_state *state, struct agent_instance *it,
                      const struct agent_event *e, struct agent_commands *out)
{
    int64_t sent_ms;

    if (e->seq == state->ask_seq && state->answered_seq < e->seq) {
        state->answered_seq = e->seq;
        state->ask_due_ms = state->ask_sent_ms[e->seq % AGENT_ASKS_KEPT] + LEASE_RENEW_MS;
    }
    if (!e->ok) {
        it->released = e->epoch > it->released ? e->epoch : it->released;
        return;
    }
    if (!sent_at(state, e->seq, &sent_ms)) {
        return;
    }
    int64_t until_ms = lease_holder_until_ms(sent_ms);
    if (e->epoch > it->epoch && !runs_leased(it) && it->phase != AGENT_WAITING) {
        it->epoch = e->epoch; /* too late to be wanted: it is given back */
        state->ask_now = true;
    } else if (it->phase == AGENT_WAITING && e->epoch > it->epoch && wanted(it)) {
        on_granted(state, it, until_ms, e, out);
    } else if (runs_leased(it) && e->epoch == it->epoch && until_ms > it->lease_until_ms) {
        it->lease_until_ms = until_ms;
        command(out, AGENT_LEASE, it)->until_ms = until_ms;
    }
}

/* Unlisted and ended: shown for a while, kept for longer, then forgotten. */
static bool forget(struct agent_instance *it, int64_t now_ms, struct agent_commands *out)
{
    bool still = it->phase == AGENT_IDLE || it->phase == AGENT_DONE;

    if (it->listed || !still) {
        return false;
    }
    if (!it->gone_ms) {
        it->gone_ms = now_ms;
    }
    if (now_ms - it->gone_ms < AGENT_GONE_KEPT_MS) {
        return false;
    }
    (void)command(out, AGENT_REMOVE, it);
    return true;
}

static void dispatch(struct agent_state *state, const struct agent_event *e,
                     struct agent_commands *out)
{
    struct agent_instance *it = e->id ? agent_state_find(state, e->id) : NULL;

    if (e->kind == AGENT_ASSIGN) {
        on_assign(state, e);
    } else if (e->kind == AGENT_FOUND) {
        on_found(state, e, out);
    } else if (it && e->kind == AGENT_PREPARED) {
        on_prepared(it, e);
    } else if (it && e->kind == AGENT_STARTED) {
        on_started(it, e, out);
    } else if (it && e->kind == AGENT_EXITED && e->run == it->run &&
               (it->phase == AGENT_RUNNING || it->phase == AGENT_STOPPING)) {
        ended(it, e, out);
    } else if (it && e->kind == AGENT_CHECKED) {
        on_checked(it, e);
    } else if (it && e->kind == AGENT_CLEANED) {
        on_cleaned(state, it, e->now_ms);
    } else if (it && e->kind == AGENT_LEASED) {
        on_leased(state, it, e, out);
    } else if (e->kind == AGENT_REACHED) {
        state->ask_now = true;
    }
}

/* What an observer sees of an instance; compared before and after to know what changed. */
struct view {
    const char *state;
    int healthy, exit, signal;
    int64_t run;
    char reason[AGENT_REASON_MAX];
};

static struct view view_of(const struct agent_instance *it)
{
    struct view v;
    memset(&v, 0, sizeof(v));
    v.state = agent_instance_state(it);
    v.healthy = it->healthy;
    v.exit = it->exit;
    v.signal = it->signal;
    v.run = it->run;
    memcpy(v.reason, it->reason, sizeof(v.reason));
    return v;
}

static bool same_view(const struct view *a, const struct view *b)
{
    return strcmp(a->state, b->state) == 0 && a->healthy == b->healthy && a->exit == b->exit &&
           a->signal == b->signal && a->run == b->run && strcmp(a->reason, b->reason) == 0;
}

static void step_one(struct agent_state *state, struct agent_instance *it, int64_t now_ms,
                     struct agent_commands *out, const struct view *before)
{
    struct view after;

    if (state->assigned) {
        reconcile(state, it, now_ms, out);
    }
    after = view_of(it);
    if (!it->changed || !same_view(before, &after)) {
        it->changed = ++state->stamp;
    }
}

static void step_instances(struct agent_state *state, const struct agent_event *event,
                           struct agent_commands *out)
{
    struct agent_instance *one = NULL;
    struct view before = {0};

    if (event->id && (one = agent_state_find(state, event->id))) {
        before = view_of(one);
    }
    if (event->id) {
        dispatch(state, event, out);
        one = agent_state_find(state, event->id);
        if (one) {
            if (!before.state) {
                before = view_of(one);
            }
            step_one(state, one, event->now_ms, out, &before);
        }
        return;
    }
    dispatch(state, event, out);
    for (size_t i = 0; i < state->count;) {
        struct agent_instance *it = state->items[i];
        before = view_of(it);
        step_one(state, it, event->now_ms, out, &before);
        if (state->assigned && forget(it, event->now_ms, out)) {
            drop(state, i);
        } else {
            i++;
        }
    }
}

void agent_step(struct agent_state *state, const struct agent_event *event,
                struct agent_commands *out)
{
    step_instances(state, event, out);
    ask_all(state, event->now_ms, out);
}

static int64_t instance_deadline_ms(const struct agent_instance *it)
{
    int64_t at = INT64_MAX, unfit;

    if (it->phase == AGENT_FADING || (it->phase == AGENT_IDLE && wanted(it))) {
        at = it->due_ms;
    } else if (it->phase == AGENT_RUNNING && it->desired.check == AGENT_CHECK_NONE) {
        at = it->healthy == 1 ? INT64_MAX : it->started_ms + AGENT_RUNNING_IS_HEALTHY_MS;
    } else if (it->phase == AGENT_RUNNING) {
        at = it->checking ? INT64_MAX : it->check_due_ms;
        unfit = unfit_at_ms(it);
        at = unfit < at ? unfit : at;
    } else if (it->gone_ms) {
        at = it->gone_ms + AGENT_GONE_KEPT_MS;
    }
    if (it->gone_ms && it->phase == AGENT_IDLE) {
        at = it->gone_ms + AGENT_GONE_KEPT_MS;
    }
    return at;
}

int64_t agent_step_deadline_ms(const struct agent_state *state)
{
    int64_t at = state->ask_seq > 0 ? state->ask_due_ms : INT64_MAX;

    if (!state->assigned) {
        return at;
    }
    for (size_t i = 0; i < state->count; i++) {
        int64_t one = instance_deadline_ms(state->items[i]);
        at = one < at ? one : at;
    }
    return at;
}

const char *agent_instance_state(const struct agent_instance *it)
{
    switch (it->phase) {
    case AGENT_PREPARING:
        return "pulling";
    case AGENT_WAITING:
    case AGENT_STARTING:
        return "starting";
    case AGENT_RUNNING:
        return "running";
    case AGENT_STOPPING:
    case AGENT_FADING:
        return "stopping";
    case AGENT_IDLE:
    case AGENT_CLEANING:
        if (!wanted(it)) {
            return it->phase == AGENT_IDLE ? "exited" : "stopping";
        }
        return it->failed ? "failed" : it->run > 0 && it->exit >= 0 ? "exited" : "pending";
    case AGENT_DONE:
        return it->failed ? "failed" : "exited";
    case AGENT_PHASE_COUNT:
        break;
    }
    return "pending";
}

bool agent_instance_shown(const struct agent_instance *it, int64_t now_ms)
{
    return it->listed || !it->gone_ms || now_ms - it->gone_ms < AGENT_GONE_SHOWN_MS;
}
