/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "control/internal.h"

/*
 * What a standby lives on: the changes that others committed, in the order of their revisions.
 *
 * They wait here while the state is being read or a transaction of our own is under way, since both
 * may already hold them; after that, those that are newer than what is known are taken over, a
 * revision at a time and in the order in which records need each other. If some were lost, or the
 * state became another one, the whole is read again, until the reading is at least as new as what
 * was said to be lost. A leader takes nothing over: what is committed is what it committed, and if
 * it is not, its next transaction fails. It only remembers how far it was told, since a reading
 * that began before that is not the whole: what it was told meanwhile is not told again.
 */
#define WAITING_MAX 20000
#define WAITING_BYTES_MAX (32u * 1024 * 1024)

struct ctl_change {
    bool removed;
    struct sk_str key, value; /* in the feed's arena */
    int64_t mod_rev;
};

void ctl_feed_clear(struct control *c)
{
    struct ctl_feed *f = &c->feed;

    sk_arena_free(f->arena);
    free(f->items);
    f->arena = NULL;
    f->items = NULL;
    f->count = f->cap = f->bytes = 0;
}

static void read_again(struct control *c)
{
    if (!c->loading && c->pending == NULL) {
        (void)ctl_out(c->out, CONTROL_CMD_LOAD);
        c->loading = true;
    }
}

/* What came so far is not the whole: only a reading of `revision` or later is. */
static void lost(struct control *c, int64_t revision)
{
    ctl_feed_clear(c);
    c->feed.need_rev = ctl_i64_max(c->feed.need_rev, revision);
    read_again(c);
}

static void keep(struct ctl_feed *f, const struct control_record *r, bool removed)
{
    if (f->arena == NULL) {
        f->arena = sk_arena_new();
    }
    SK_GROW(f->items, f->count, f->cap);
    f->items[f->count++] = (struct ctl_change){removed, ctl_arena_dup(f->arena, r->key),
                                               ctl_arena_dup(f->arena, r->value), r->mod_rev};
    f->bytes += r->key.len + r->value.len;
}

/* Others depend on sites, then on nodes: they come first and go last. */
static int rank(struct sk_str key)
{
    return sk_str_starts(key, SK_STR(CTL_PREFIX "sites/"))   ? 0
           : sk_str_starts(key, SK_STR(CTL_PREFIX "nodes/")) ? 1
                                                             : 2;
}

/* A node that is still written on instances was not told of as a whole. */
static bool may_go(const struct control *c, struct sk_str key)
{
    static const struct sk_str prefix = {CTL_PREFIX "nodes/", sizeof(CTL_PREFIX "nodes/") - 1};
    const struct ctl_node *n = NULL;

    if (sk_str_starts(key, prefix)) {
        n = ctl_node(c, (struct sk_str){key.ptr + prefix.len, key.len - prefix.len});
    }
    return n == NULL || n->ninsts == 0;
}

/* Who listens here to the stream of events, and whom the door is shut to. */
static void pass_on(struct control *c, const struct ctl_change *ch)
{
    static const struct sk_str events = {CTL_PREFIX "events/", sizeof(CTL_PREFIX "events/") - 1};
    static const struct sk_str gone = {CTL_PREFIX "revoked/", sizeof(CTL_PREFIX "revoked/") - 1};
    int64_t seq;

    if (sk_str_starts(ch->key, events) &&
        ctl_digits((struct sk_str){ch->key.ptr + events.len, ch->key.len - events.len}, &seq)) {
        struct control_command *cmd = ctl_out(c->out, CONTROL_CMD_EVENT);
        cmd->u.event.seq = seq;
        cmd->u.event.json = ctl_arena_dup(c->out->arena, ch->value);
    } else if (sk_str_starts(ch->key, gone)) {
        struct control_command *cmd = ctl_out(c->out, CONTROL_CMD_REVOKE);
        cmd->u.revoke.serial = ctl_arena_dup(
            c->out->arena, (struct sk_str){ch->key.ptr + gone.len, ch->key.len - gone.len});
        cmd->u.revoke.node = SK_STR("");
    }
}

/* All changes of one revision: it was one transaction. */
static int take_revision(struct control *c, const struct ctl_change *ch, size_t count)
{
    for (int pass = 0; pass < 3; pass++) {
        for (size_t i = 0; i < count; i++) {
            if (!ch[i].removed && rank(ch[i].key) == pass) {
                if (ctl_record_apply(c, ch[i].key, ch[i].value, ch[i].mod_rev, NULL) < 0) {
                    return SK_ERR_CORRUPT;
                }
                pass_on(c, &ch[i]);
            }
        }
    }
    for (int pass = 2; pass >= 0; pass--) {
        for (size_t i = 0; i < count; i++) {
            if (ch[i].removed && rank(ch[i].key) == pass) {
                if (!may_go(c, ch[i].key)) {
                    return SK_ERR_CORRUPT;
                }
                ctl_record_remove(c, ch[i].key);
            }
        }
    }
    c->revision = ch[0].mod_rev;
    return 0;
}

void ctl_feed_step(struct control *c)
{
    struct ctl_feed *f = &c->feed;
    int rc = 0;

    if (c->leader.leads) {
        ctl_feed_clear(c);
        return;
    }
    if (c->loading || c->pending != NULL) {
        return;
    }
    if (c->revision < f->need_rev) {
        read_again(c);
        return;
    }
    size_t from = 0;
    while (rc == 0 && from < f->count) {
        size_t to = from;
        while (to < f->count && f->items[to].mod_rev == f->items[from].mod_rev) {
            to++;
        }
        if (f->items[from].mod_rev > c->revision) {
            rc = take_revision(c, f->items + from, to - from);
        }
        from = to;
    }
    if (rc == 0 && f->count > 0) {
        rc = ctl_records_settle(c, NULL, NULL);
    }
    if (rc < 0) { /* it may be the feed: the whole state is the judge */
        lost(c, f->told);
        return;
    }
    ctl_feed_clear(c);
    c->revision = ctl_i64_max(c->revision, f->told);
}

void ctl_changed(struct control *c, const struct control_event *ev)
{
    struct ctl_feed *f = &c->feed;

    f->seen = true;
    if (c->leader.leads) {
        /* Its own, or of somebody who deposed it before it noticed. Nobody tells it again: so only
         * a reading that is as new will do, should it have to read. */
        if (sk_str_is(ev->u.changed.store_id, c->store_id)) {
            f->told = ctl_i64_max(f->told, ev->u.changed.revision);
            f->need_rev = ctl_i64_max(f->need_rev, f->told);
        }
        return;
    }
    if (!sk_str_is(ev->u.changed.store_id, c->store_id)) {
        f->told = f->need_rev = 0; /* another state: its revisions are others */
        lost(c, 0);
        return;
    }
    f->told = ctl_i64_max(f->told, ev->u.changed.revision);
    if (ev->u.changed.lost) {
        lost(c, ev->u.changed.revision);
        return;
    }
    for (size_t i = 0; i < ev->u.changed.count; i++) {
        const struct control_change *ch = &ev->u.changed.changes[i];
        if (ch->record.mod_rev > c->revision) {
            keep(f, &ch->record, ch->removed);
        }
    }
    if (f->count > WAITING_MAX || f->bytes > WAITING_BYTES_MAX) {
        lost(c, f->told);
    }
}
