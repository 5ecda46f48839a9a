/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Watching. One stream stays open between calls as long as each goes on where the last one ended.
 * It is a hint: what it delivers is checked by the feed, and that it delivers at all by reading the
 * head, so that a member that is cut off or stands still is noticed and left.
 */
#include "base/mem.h"
#include "store/etcd_impl.h"
#include "sys/clock.h"

#define CHANGES_MAX 1000
#define CHANGES_BYTES_MAX (4u * 1024 * 1024)
/* So long a stream may be silent before the head is read to see whether it should be. */
#define SILENCE_MS 1000

struct watching {
    struct etcd_store *s;
    struct sk_str prefix;
    const struct store_revision *after;
    int64_t end_ms;       /* the caller's time */
    int64_t limit_ms;     /* and then the call is over */
    int64_t newest;       /* the head's revision that is known to exist */
    int64_t head_version; /* at that revision */
    int64_t checked_ms;   /* when it was read; 0: not yet */
    int64_t progress_ms;  /* when the stream was opened, or said something */
    struct etcd_changes out;
    struct store_revision revision; /* as read */
    bool lost;
    unsigned tries;    /* streams left since one said something */
    struct sk_err why; /* of the last stream that ended */
};

void etcd_watch_close(struct etcd_store *s)
{
    etcd_stream_close(s->stream);
    s->stream = NULL;
    if (s->feed.arena) {
        etcd_feed_release(&s->feed);
    }
}

static int64_t after_rev(const struct watching *x)
{
    return x->after->number + x->s->meta.base;
}

/* Reads the head: how far the stream should be, and whether this is still the same state. */
static int check_head(struct watching *x, struct sk_err *err)
{
    struct sk_arena *arena = sk_arena_new();
    struct etcd_view view;
    int64_t until_ms = etcd_until(x->s);
    int rc = etcd_view(x->s, NULL, 0, until_ms < x->limit_ms ? until_ms : x->limit_ms, arena, &view,
                       err);

    sk_arena_free(arena);
    if (rc < 0) {
        return rc;
    }
    x->revision = view.revision;
    x->newest = view.head_rev;
    x->head_version = view.head_version;
    x->checked_ms = sys_now_ms();
    if (strcmp(x->after->id, view.revision.id) != 0 || x->after->number > view.revision.number) {
        x->lost = true;
    }
    return 0;
}

/* --- the stream ------------------------------------------------------------------------------ */

static bool goes_on(const struct watching *x)
{
    const struct etcd_feed *feed = &x->s->feed;
    return feed->arena && !feed->lost && strcmp(feed->id, x->after->id) == 0 &&
           feed->delivered - feed->base == x->after->number;
}

static void open_stream(struct watching *x)
{
    struct etcd_store *s = x->s;
    struct sk_buf body = SK_BUF_INIT;
    struct sk_buf key = SK_BUF_INIT;
    struct sk_buf end = SK_BUF_INIT;
    struct sk_jw w;

    etcd_key(s, "", &key); /* everything of the state and around it */
    etcd_range_end(sk_buf_str(&key), &end);
    sk_jw_init(&w, &body);
    sk_jw_obj(&w);
    sk_jw_key(&w, "create_request");
    sk_jw_obj(&w);
    etcd_put_bytes(&w, "key", sk_buf_str(&key));
    etcd_put_bytes(&w, "range_end", sk_buf_str(&end));
    etcd_put_int(&w, "start_revision", s->feed.delivered + 1);
    sk_jw_kbool(&w, "fragment", true);
    sk_jw_obj_end(&w);
    sk_jw_obj_end(&w);
    s->stream = etcd_stream_open(s->http, s->stream_at, "/v3/watch", sk_buf_str(&body));
    s->scanned = 0;
    etcd_feed_restart(&s->feed);
    x->progress_ms = sys_now_ms();
    sk_buf_release(&body);
    sk_buf_release(&key);
    sk_buf_release(&end);
}

/* The stream is of no more use: go on at another member from what was delivered. */
static void leave_stream(struct watching *x)
{
    etcd_stream_close(x->s->stream);
    x->s->stream = NULL;
    x->s->stream_at = (x->s->stream_at + 1) % etcd_http_count(x->s->http);
    etcd_pause(x->s, &x->tries, x->limit_ms);
}

/* A feed from `after` on; *lost when that is too long ago. */
static int start_feed(struct watching *x, struct sk_err *err)
{
    struct etcd_store *s = x->s;
    int64_t version = x->head_version;
    int rc = 0;

    etcd_watch_close(s);
    if (after_rev(x) != x->newest) {
        rc = after_rev(x) < 1 ? SK_ERR_NOT_FOUND
                              : etcd_head_at(s, after_rev(x), x->limit_ms, &version, err);
    }
    if (rc == SK_ERR_NOT_FOUND) {
        x->lost = true;
        return 0;
    }
    if (rc == 0) {
        etcd_feed_init(&s->feed, s->root, s->meta.id);
        s->feed.base = s->meta.base;
        s->feed.delivered = after_rev(x);
        s->feed.version = version;
        s->stream_at = etcd_http_at(s->http);
    }
    return rc;
}

static bool is_full(const struct watching *x)
{
    return x->out.count >= CHANGES_MAX || x->out.bytes >= CHANGES_BYTES_MAX;
}

/* Takes the whole lines that are there. What is wrong with them is wrong with this stream only. */
static int take_lines(struct watching *x)
{
    struct etcd_store *s = x->s;
    struct sk_buf *in = etcd_stream_in(s->stream);
    size_t from = 0;
    int rc = 0;

    while (rc == 0 && !is_full(x) && !s->feed.lost) {
        char *end =
            in->len > s->scanned ? memchr(in->ptr + s->scanned, '\n', in->len - s->scanned) : NULL;
        struct sk_str line;
        if (!end) {
            s->scanned = in->len;
            break;
        }
        line = (struct sk_str){in->ptr + from, (size_t)(end - in->ptr) - from};
        from = s->scanned = (size_t)(end - in->ptr) + 1;
        x->progress_ms = sys_now_ms();
        rc = line.len ? etcd_feed_line(&s->feed, line, x->prefix, &x->out, &x->why) : 0;
        x->tries = rc == 0 ? 0 : x->tries;
    }
    sk_buf_consume(in, from);
    s->scanned -= from;
    if (rc == 0 && etcd_stream_status(s->stream) > 200) {
        rc = sk_err_set(&x->why, SK_ERR_UNAVAILABLE, "etcd refuses a watch with status %ld",
                        etcd_stream_status(s->stream));
    }
    if (rc == 0 && s->scanned + 65536 > ETCD_ANSWER_BYTES_MAX) {
        rc = sk_err_set(&x->why, SK_ERR_PROTOCOL, "a line of a watch is too long");
    }
    return rc;
}

/* --- the wait -------------------------------------------------------------------------------- */

/* Whether the head must be read now: at the end of the caller's time, and after a silence. */
static bool must_check(const struct watching *x, int64_t now)
{
    int64_t since = x->checked_ms > x->progress_ms ? x->checked_ms : x->progress_ms;
    return (now >= x->end_ms && x->checked_ms < x->end_ms) || now - since >= SILENCE_MS;
}

static bool is_behind(const struct watching *x)
{
    return x->s->feed.delivered < x->newest;
}

static bool is_done(const struct watching *x, int64_t now)
{
    if (is_full(x)) {
        return true;
    }
    return !is_behind(x) && (x->out.count > 0 || (now >= x->end_ms && x->checked_ms >= x->end_ms));
}

/* Waits for the stream, at most until something else must be looked at. */
static void wait_for_stream(struct watching *x, int64_t now)
{
    int64_t stall_ms = x->progress_ms + etcd_http_attempt_ms(x->s->http);
    int64_t since = x->checked_ms > x->progress_ms ? x->checked_ms : x->progress_ms;
    int64_t until = since + SILENCE_MS;
    int rc;

    if ((is_behind(x) || !x->s->feed.created) && stall_ms < until) {
        until = stall_ms;
    }
    if (x->end_ms > now && x->end_ms < until) {
        until = x->end_ms;
    }
    until = x->limit_ms < until ? x->limit_ms : until;
    rc = etcd_stream_wait(x->s->stream, until, ETCD_ANSWER_BYTES_MAX, &x->why);
    now = sys_now_ms();
    if (rc < 0) {
        leave_stream(x);
    } else if (rc == 0 && (is_behind(x) || !x->s->feed.created) &&
               now - x->progress_ms >= etcd_http_attempt_ms(x->s->http)) {
        sk_err_set(&x->why, SK_ERR_TIMEOUT, "a watch stands still");
        leave_stream(x);
    }
}

/* Until something was delivered, or is lost, or the time is over. */
static int follow(struct watching *x, struct sk_err *err)
{
    for (;;) {
        int64_t now = sys_now_ms();
        if (!x->s->stream) {
            open_stream(x);
        } else if (take_lines(x) < 0) {
            leave_stream(x);
            continue;
        }
        if (x->s->feed.lost) {
            x->lost = true;
        }
        if (x->lost || is_done(x, now)) {
            return 0;
        }
        if (now >= x->limit_ms || etcd_http_stopped(x->s->http)) {
            return x->out.count > 0
                       ? 0
                       : sk_err_set(err, SK_ERR_UNAVAILABLE,
                                    "etcd does not deliver changes: %.300s", x->why.msg);
        }
        if (must_check(x, now)) {
            int rc = check_head(x, err);
            if (rc < 0) {
                return x->out.count > 0 ? 0 : rc;
            }
            continue;
        }
        wait_for_stream(x, now);
    }
}

static int watch(struct watching *x, int64_t timeout_ms, struct sk_err *err)
{
    bool again = goes_on(x);
    int rc = again && timeout_ms > 0 ? 0 : check_head(x, err);

    if (rc == 0 && !x->lost && !again) {
        rc = start_feed(x, err);
    }
    if (rc < 0 || x->lost || (timeout_ms == 0 && !is_behind(x))) {
        return rc;
    }
    return follow(x, err);
}

static int say_lost(struct watching *x, struct store_changes *ret, struct sk_err *err)
{
    int rc;

    etcd_watch_close(x->s);
    rc = check_head(x, err); /* the list that comes next will be at least this new */
    if (rc == 0) {
        ret->changes = SK_ARENA_NEW(ret->arena, struct store_change);
        ret->changes[0].kind = STORE_LOST;
        ret->count = 1;
        ret->revision = x->revision;
    }
    return rc;
}

int etcd_watch(struct store *store, struct sk_str prefix, const struct store_revision *after,
               int64_t timeout_ms, struct store_changes *ret, struct sk_err *err)
{
    struct etcd_store *s = etcd_store_of(store);
    int64_t now = sys_now_ms();
    struct store_changes changes = {.arena = sk_arena_new()};
    struct watching x = {.s = s,
                         .prefix = prefix,
                         .after = after,
                         .end_ms = now + timeout_ms,
                         .limit_ms = now + timeout_ms + s->deadline_ms,
                         .progress_ms = now,
                         .out = {.arena = changes.arena}};
    int rc = watch(&x, timeout_ms, err);

    if (rc == 0 && x.lost) {
        rc = say_lost(&x, &changes, err);
    } else if (rc == 0) {
        changes.changes = SK_ARENA_ARRAY(changes.arena, struct store_change, x.out.count);
        changes.count = x.out.count;
        if (x.out.count) {
            memcpy(changes.changes, x.out.changes, x.out.count * sizeof(*x.out.changes));
        }
        memcpy(changes.revision.id, s->feed.id, sizeof(changes.revision.id));
        changes.revision.number = s->feed.delivered - s->feed.base;
    }
    free(x.out.changes);
    if (rc < 0) {
        sk_arena_free(changes.arena);
        return rc;
    }
    *ret = changes;
    return 0;
}
