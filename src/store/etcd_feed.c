/* SPDX-License-Identifier: Apache-2.0 */
#include "store/etcd_feed.h"

#include "base/mem.h"
#include "store/form.h"

#define PUTS_MAX 4096

void etcd_feed_init(struct etcd_feed *feed, const char *root, const char *id)
{
    memset(feed, 0, sizeof(*feed));
    (void)snprintf(feed->head, sizeof(feed->head), "%s/head", root);
    (void)snprintf(feed->meta, sizeof(feed->meta), "%s/meta", root);
    (void)snprintf(feed->data, sizeof(feed->data), "%s/%s", root, id);
    (void)snprintf(feed->id, sizeof(feed->id), "%s", id);
    feed->arena = sk_arena_new();
}

void etcd_feed_release(struct etcd_feed *feed)
{
    sk_arena_free(feed->arena);
    free(feed->changes);
    memset(feed, 0, sizeof(*feed));
}

static void forget_revision(struct etcd_feed *feed)
{
    sk_arena_free(feed->arena);
    feed->arena = sk_arena_new();
    feed->count = 0;
    feed->puts = 0;
    feed->revision = 0;
}

void etcd_feed_restart(struct etcd_feed *feed)
{
    forget_revision(feed);
    feed->created = false;
}

/* A record of the state. It stays with the feed until its revision is whole. */
static int take_record(struct etcd_feed *feed, const struct etcd_event *event, struct sk_str key,
                       struct sk_err *err)
{
    struct store_change *change;
    int rc = store_check_key(key, NULL);

    if (rc < 0) {
        return sk_err_set(err, SK_ERR_PROTOCOL, "a watch delivers a key that none may be");
    }
    SK_GROW(feed->changes, feed->count, feed->cap);
    change = &feed->changes[feed->count++];
    *change = (struct store_change){
        .kind = event->deleted ? STORE_DELETED : STORE_CHANGED,
        .record = {.key = sk_arena_str(feed->arena, key),
                   .value = sk_arena_str(feed->arena, event->kv.value),
                   .create_rev = event->deleted ? 0 : event->kv.create_rev - feed->base,
                   .mod_rev = event->kv.mod_rev - feed->base},
    };
    feed->puts += event->deleted ? 0 : 1;
    return 0;
}

/* The number of records that the txn put; -1 for what is none. */
static int64_t puts_of(struct sk_str value)
{
    int64_t n = 0;

    if (value.len == 0 || value.len > 4) {
        return -1;
    }
    for (size_t i = 0; i < value.len; i++) {
        if (value.ptr[i] < '0' || value.ptr[i] > '9') {
            return -1;
        }
        n = n * 10 + (value.ptr[i] - '0');
    }
    return n <= PUTS_MAX ? n : -1;
}

static void hand_over(struct etcd_feed *feed, struct sk_str prefix, struct etcd_changes *out)
{
    for (size_t i = 0; i < feed->count; i++) {
        const struct store_record *from = &feed->changes[i].record;
        struct store_change *to;
        if (!sk_str_starts(from->key, prefix)) {
            continue;
        }
        SK_GROW(out->changes, out->count, out->cap);
        to = &out->changes[out->count++];
        *to = feed->changes[i];
        to->record.key = sk_arena_str(out->arena, from->key);
        to->record.value = sk_arena_str(out->arena, from->value);
        out->bytes += from->key.len + from->value.len;
    }
}

static void take_head(struct etcd_feed *feed, const struct etcd_event *event, struct sk_str prefix,
                      struct etcd_changes *out)
{
    if (event->deleted || event->kv.version != feed->version + 1 ||
        puts_of(event->kv.value) != (int64_t)feed->puts) {
        feed->lost = true;
        return;
    }
    hand_over(feed, prefix, out);
    feed->delivered = event->kv.mod_rev;
    feed->version = event->kv.version;
    forget_revision(feed);
}

static int take_event(struct etcd_feed *feed, const struct etcd_event *event, struct sk_str prefix,
                      struct etcd_changes *out, struct sk_err *err)
{
    struct sk_str key = event->kv.key;
    struct sk_str data = sk_str(feed->data);

    if (event->kv.mod_rev <= feed->delivered) {
        return 0; /* some members repeat what was before the start of a watch */
    }
    if (sk_str_is(key, feed->meta)) {
        feed->lost = true; /* another state */
        return 0;
    }
    if (!sk_str_is(key, feed->head) && !sk_str_starts(key, data)) {
        return 0; /* writers' marks, a restore on its way */
    }
    if (feed->revision != 0 && event->kv.mod_rev != feed->revision) {
        feed->lost = true; /* the one before was never completed */
        return 0;
    }
    feed->revision = event->kv.mod_rev;
    if (sk_str_is(key, feed->head)) {
        take_head(feed, event, prefix, out);
        return 0;
    }
    return take_record(feed, event, (struct sk_str){key.ptr + data.len, key.len - data.len}, err);
}

int etcd_feed_line(struct etcd_feed *feed, struct sk_str line, struct sk_str prefix,
                   struct etcd_changes *out, struct sk_err *err)
{
    struct sk_arena *arena = sk_arena_new();
    struct etcd_line read;
    int rc = etcd_read_line(arena, line, &read, err);

    if (rc == 0 && read.created) {
        feed->created = true;
    }
    if (rc == 0 && read.compact_revision > 0) {
        feed->lost = true;
    } else if (rc == 0 && read.canceled) {
        rc = sk_err_set(err, SK_ERR_UNAVAILABLE, "etcd ends the watch");
    }
    for (size_t i = 0; rc == 0 && i < read.count && !feed->lost; i++) {
        rc = take_event(feed, &read.events[i], prefix, out, err);
    }
    sk_arena_free(arena);
    return rc;
}
