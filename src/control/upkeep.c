/* SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <string.h>

#include "control/internal.h"

/*
 * Upkeep of etcd's members (docs/control-nodes.md, Upkeep).
 *
 * Every 10 s the leader asks all members how they are, and what it hears alone decides: at most one
 * thing is done, then it looks again. So whatever was lost, or whoever led before, the next look
 * goes on with it.
 *
 * Where space is used up nobody can write, so nobody can take the key of the leader either. Then
 * each control node that hears no leader looks too, and the one beside etcd's leader, which all see
 * to be the same, makes space, whether it leads or not; if it does not, the others do after their
 * turn's time.
 *
 * An etcd that is not ours is looked at and never touched.
 */
#define LOOK_MS 10000
#define AGAIN_MS 1000   /* after something was done */
#define ANSWER_MS 60000 /* then it is taken for lost */
#define SILENT_MS 5000  /* a leader that was not heard for so long cannot write, or is away */
#define STEADY_MS 30000 /* all were well for so long before anything is done that could wait */
#define BEHIND_MAX 1000 /* entries */
#define HISTORY_KEEP 1000
#define HISTORY_BYTES (INT64_C(512) << 20) /* a quarter of what etcd allows itself */
#define HISTORY_AGAIN_MS 600000
#define WASTE_BYTES (INT64_C(32) << 20)
#define CUT_MS 2000    /* until every member has followed a cut of history */
#define ROUND_MS 60000 /* between two tries to make space; each time so much longer */
#define ROUNDS_MAX 10
#define TURN_MS 60000        /* until the next one tries who could */
#define CALM_MS (10 * 60000) /* then tries before are forgotten */

typedef const struct control_member_health *rows_by_seat[CONTROL_MEMBERS_MAX];

static void look_at(struct ctl_upkeep *u, int64_t at_ms)
{
    u->next_ms = at_ms;
    u->busy_until_ms = 0;
}

void ctl_upkeep_init(struct control *c)
{
    c->upkeep = (struct ctl_upkeep){.steady_ms = -1, .apart_ms = -1, .full_ms = -1, .cut_ms = -1};
}

static void act(struct control *c, enum control_etcd_kind kind, size_t seat, int64_t keep)
{
    struct control_command *cmd = ctl_out(c->out, CONTROL_CMD_ETCD);

    c->upkeep.busy_until_ms = c->now_ms + ANSWER_MS;
    cmd->u.etcd.kind = kind;
    cmd->u.etcd.keep = keep;
    cmd->u.etcd.url = ctl_arena_dup(c->out->arena, sk_str(c->roster.seats[seat].client_url));
}

/* ---- what was seen ---- */

static void sort_rows(const struct control *c, const struct control_event *ev, rows_by_seat rows)
{
    for (size_t i = 0; i < c->roster.count; i++) {
        rows[i] = NULL;
        for (size_t k = 0; k < ev->u.etcd_seen.count; k++) {
            if (strcmp(ev->u.etcd_seen.rows[k].node, c->roster.seats[i].node) == 0) {
                rows[i] = &ev->u.etcd_seen.rows[k];
            }
        }
    }
}

static size_t own_seat(const struct control *c)
{
    size_t i = 0;
    while (i < c->roster.count && strcmp(c->roster.seats[i].node, c->own_node) != 0) {
        i++;
    }
    return i;
}

/* The seat whose member leads etcd; the count of seats: none that is known, or two say so. */
static size_t leading(const struct control *c, const rows_by_seat rows)
{
    size_t found = c->roster.count;

    for (size_t i = 0; i < c->roster.count; i++) {
        if (rows[i] != NULL && rows[i]->ok && rows[i]->leads) {
            if (found < c->roster.count) {
                return c->roster.count;
            }
            found = i;
        }
    }
    return found;
}

static bool all_well(const struct control *c, const rows_by_seat rows)
{
    for (size_t i = 0; i < c->roster.count; i++) {
        const struct control_member_health *h = rows[i];
        if (h == NULL || !h->ok || h->learner || h->alarm[0] || h->behind > BEHIND_MAX ||
            c->roster.seats[i].state != CTL_SEAT_MEMBER) {
            return false;
        }
    }
    return leading(c, rows) < c->roster.count;
}

/* Every row counts, also of endpoints that are no control node's. */
static size_t alarmed(const struct control_event *ev, const char *alarm, struct sk_buf *names)
{
    size_t count = 0;

    for (size_t i = 0; i < ev->u.etcd_seen.count; i++) {
        const struct control_member_health *h = &ev->u.etcd_seen.rows[i];
        if (strcmp(h->alarm, alarm) == 0) {
            sk_buf_printf(names, "%s%s", count++ ? ", " : "", h->node[0] ? h->node : h->endpoint);
        }
    }
    return count;
}

/* What status shows; its beginning and its end are events. */
static void tell(struct control *c, const struct control_event *ev)
{
    struct ctl_upkeep *u = &c->upkeep;
    struct sk_buf names = SK_BUF_INIT;
    char text[sizeof(u->problem)] = "";

    if (alarmed(ev, "damaged", &names)) {
        (void)snprintf(text, sizeof(text),
                       "etcd of %.120s holds its data for damaged: skerry control replace",
                       names.ptr);
    } else if (alarmed(ev, "nospace", &names)) {
        (void)snprintf(text, sizeof(text),
                       "etcd of %.120s has no space left, so nothing can be written; %s", names.ptr,
                       c->roster.external ? "compact and defragment its members, disarm the alarm"
                       : u->rounds > 1    ? "what could be freed was not enough: see Upkeep in "
                                            "docs/control-nodes.md"
                                          : "space is being made");
    }
    sk_buf_release(&names);
    if (text[0] && u->problem[0] == '\0') {
        ctl_note(c, "etcd", SK_STR(""), SK_STR(""), "%s", text);
    } else if (text[0] == '\0' && u->problem[0]) {
        ctl_note(c, "etcd", SK_STR(""), SK_STR(""), "etcd takes writes again, without an alarm");
    }
    memcpy(u->problem, text, sizeof(text));
}

/* ---- what is done ---- */

static int64_t waste(const struct control_member_health *h)
{
    return h->db_bytes - h->db_bytes_used;
}

/* A member whose file is much larger than what is in it, or whatever (`any`) is in it; etcd's
 * leader last. */
static size_t bloated(const struct control *c, const rows_by_seat rows, bool any, uint32_t but)
{
    size_t leader = leading(c, rows);
    size_t found = c->roster.count;

    for (size_t i = 0; i < c->roster.count; i++) {
        const struct control_member_health *h = rows[i];
        bool wasted =
            any || (h != NULL && waste(h) >= WASTE_BYTES && h->db_bytes_used * 2 < h->db_bytes);
        if (h != NULL && h->ok && !(but & (1U << i)) && wasted &&
            (found == c->roster.count || found == leader)) {
            found = i;
        }
    }
    return found;
}

static int64_t largest(const struct control *c, const rows_by_seat rows)
{
    int64_t most = 0;
    for (size_t i = 0; i < c->roster.count; i++) {
        most = rows[i] != NULL && rows[i]->ok ? ctl_i64_max(most, rows[i]->db_bytes) : most;
    }
    return most;
}

static void cut(struct control *c, const rows_by_seat rows, bool all)
{
    struct ctl_upkeep *u = &c->upkeep;

    u->cut_ms = c->now_ms;
    u->cut_all = all;
    u->cut_bytes = largest(c, rows);
    u->given_back = 0;
    act(c, CONTROL_ETCD_COMPACT, own_seat(c), all ? 0 : HISTORY_KEEP);
}

/* Space is used up: history is cut, what that freed is given back by one member after the other,
 * then writes are allowed again. Whether it freed anything shows only afterwards: etcd counts it as
 * free two writes later, and there are none. If it was too little the rest of history goes too. A
 * member that is away is not waited for: without space the control plane stands still anyway. */
static void make_space(struct control *c, const rows_by_seat rows)
{
    struct ctl_upkeep *u = &c->upkeep;
    size_t own = own_seat(c);
    size_t leader = leading(c, rows);
    size_t seat;

    if (u->full_ms < 0) {
        u->full_ms = c->now_ms;
    }
    if (c->now_ms < u->round_ms || own == c->roster.count || rows[own] == NULL || !rows[own]->ok ||
        (leader != own && c->now_ms - u->full_ms < TURN_MS * (int64_t)(1 + own))) {
        return;
    }
    seat = u->cut_ms < 0 ? own : bloated(c, rows, true, u->given_back);
    if (u->cut_ms < 0) {
        cut(c, rows, u->rounds++ > 0);
    } else if (c->now_ms - u->cut_ms < CUT_MS) {
        look_at(u, c->now_ms + AGAIN_MS);
    } else if (seat < c->roster.count) {
        u->given_back |= 1U << seat;
        act(c, CONTROL_ETCD_DEFRAGMENT, seat, 0);
    } else if (largest(c, rows) > u->cut_bytes / 2 && !u->cut_all) {
        cut(c, rows, true);
    } else {
        u->cut_ms = -1;
        u->round_ms = c->now_ms + ROUND_MS * (u->rounds < ROUNDS_MAX ? u->rounds : ROUNDS_MAX);
        act(c, CONTROL_ETCD_DISARM, own, 0);
    }
}

static bool much_history(const struct control *c, const rows_by_seat rows)
{
    for (size_t i = 0; i < c->roster.count; i++) {
        if (rows[i]->db_bytes_used > HISTORY_BYTES) {
            return c->now_ms >= c->upkeep.history_ms;
        }
    }
    return false;
}

/* What can wait, waits until all has been well for a while. */
static void keep_up(struct control *c, const rows_by_seat rows)
{
    struct ctl_upkeep *u = &c->upkeep;
    size_t own = own_seat(c);
    size_t seat = bloated(c, rows, false, 0);

    if (c->now_ms - u->steady_ms > CALM_MS) {
        u->rounds = 0;
    }
    if (!c->leader.leads || own == c->roster.count || c->now_ms - u->steady_ms < STEADY_MS) {
        return;
    }
    if (much_history(c, rows)) {
        u->history_ms = c->now_ms + HISTORY_AGAIN_MS;
        act(c, CONTROL_ETCD_COMPACT, own, HISTORY_KEEP);
    } else if (seat < c->roster.count) {
        ctl_note(c, "etcd", sk_str(c->roster.seats[seat].node), SK_STR(""),
                 "etcd of %s uses %" PRId64 " of %" PRId64 " MiB: it gives the rest back",
                 c->roster.seats[seat].node, rows[seat]->db_bytes_used >> 20,
                 rows[seat]->db_bytes >> 20);
        act(c, CONTROL_ETCD_DEFRAGMENT, seat, 0);
    } else if (u->apart_ms >= 0 && c->now_ms - u->apart_ms >= STEADY_MS) {
        u->apart_ms = c->now_ms; /* tried again after the same time */
        act(c, CONTROL_ETCD_LEAD, own, 0);
    }
}

void ctl_upkeep_seen(struct control *c, const struct control_event *ev)
{
    struct ctl_upkeep *u = &c->upkeep;
    rows_by_seat rows;
    bool full = false;

    look_at(u, c->now_ms + LOOK_MS);
    if (!c->roster.etcd || ev->u.etcd_seen.count == 0) {
        u->steady_ms = -1;
        return;
    }
    for (size_t i = 0; i < ev->u.etcd_seen.count; i++) {
        full = full || strcmp(ev->u.etcd_seen.rows[i].alarm, "nospace") == 0;
    }
    sort_rows(c, ev, rows);
    tell(c, ev);
    if (c->roster.external) {
        return;
    }
    if (!all_well(c, rows) || c->drill != NULL || c->growth.op.kind != CTL_OP_NONE) {
        u->steady_ms = -1;
    } else if (u->steady_ms < 0) {
        u->steady_ms = c->now_ms;
    }
    if (leading(c, rows) == own_seat(c) || !c->leader.leads) {
        u->apart_ms = -1;
    } else if (u->apart_ms < 0) {
        u->apart_ms = c->now_ms;
    }
    if (full) {
        make_space(c, rows);
        return;
    }
    u->full_ms = u->cut_ms = -1;
    if (u->steady_ms >= 0) {
        keep_up(c, rows);
    }
}

void ctl_upkeep_done(struct control *c, const struct control_event *ev)
{
    (void)ev; /* how it went shows in the next look */
    look_at(&c->upkeep, c->now_ms + AGAIN_MS);
}

/* ---- looking ---- */

static bool looks(const struct control *c)
{
    return c->roster.etcd && c->roster.count > 0;
}

void ctl_upkeep_step(struct control *c)
{
    struct ctl_upkeep *u = &c->upkeep;
    int64_t silent_from_ms = c->leader.seen_ms + SILENT_MS;

    if (!looks(c) || c->now_ms < u->next_ms || c->now_ms < u->busy_until_ms) {
        return;
    }
    if (!c->leader.leads && c->now_ms < silent_from_ms) {
        u->next_ms = silent_from_ms;
        u->steady_ms = u->apart_ms = u->full_ms = u->cut_ms = -1;
        u->problem[0] = '\0'; /* the leader can write */
        return;
    }
    u->busy_until_ms = c->now_ms + ANSWER_MS;
    (void)ctl_out(c->out, CONTROL_CMD_ETCD_LOOK);
}

int64_t ctl_upkeep_deadline(const struct control *c)
{
    return !looks(c) ? INT64_MAX : ctl_i64_max(c->upkeep.next_ms, c->upkeep.busy_until_ms);
}
