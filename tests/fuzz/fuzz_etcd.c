/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a member of etcd answers. The first byte says as what the rest is read: a range, a txn, a
 * refusal, or the lines of a watch. Whatever is accepted keeps the promises of etcd_json.h and
 * etcd_feed.h.
 */
#include "base/mem.h"
#include "store/etcd_feed.h"
#include "store/form.h"

#define ID "0123456789abcdef0123456789abcdef"
#define BASE 10

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_range(const struct etcd_range *range, int64_t revision)
{
    for (size_t i = 0; i < range->count; i++) {
        const struct etcd_kv *kv = &range->kvs[i];
        SK_ASSERT(kv->key.len > 0 && kv->key.len <= ETCD_KEY_BYTES_MAX);
        SK_ASSERT(kv->value.len <= STORE_VALUE_BYTES_MAX && kv->value.ptr[kv->value.len] == '\0');
        SK_ASSERT(kv->create_rev >= 1 && kv->create_rev <= kv->mod_rev && kv->mod_rev <= revision);
        SK_ASSERT(i == 0 || sk_str_cmp(range->kvs[i - 1].key, kv->key) < 0);
    }
}

static void check_answer(const struct etcd_answer *answer)
{
    SK_ASSERT(answer->revision >= 1);
    for (size_t i = 0; i < answer->nranges; i++) {
        check_range(&answer->ranges[i], answer->revision);
    }
}

static void read_answer(struct sk_str bytes, int kind, struct sk_arena *arena)
{
    struct etcd_answer answer;
    struct sk_err err = {0};
    int rc = kind == 0 ? etcd_read_range(arena, bytes, &answer, &err)
                       : etcd_read_txn(arena, bytes, (size_t)kind, &answer, &err);

    if (rc == 0) {
        check_answer(&answer);
    } else {
        SK_ASSERT(err.code == SK_ERR_PROTOCOL && err.msg[0]);
    }
}

static void check_changes(const struct etcd_changes *out, size_t from, int64_t before,
                          const struct etcd_feed *feed)
{
    int64_t last = before;

    for (size_t i = from; i < out->count; i++) {
        const struct store_record *record = &out->changes[i].record;
        SK_ASSERT(record->mod_rev > before - BASE && record->mod_rev <= feed->delivered - BASE);
        SK_ASSERT(record->mod_rev >= last - BASE);
        SK_ASSERT(store_check_key(record->key, NULL) == 0 &&
                  sk_str_starts(record->key, SK_STR("/")));
        last = record->mod_rev + BASE;
    }
    SK_ASSERT(feed->delivered >= before);
}

static void watch(struct sk_str bytes, struct sk_arena *arena)
{
    struct etcd_changes out = {.arena = arena};
    struct etcd_feed feed;
    struct sk_err err = {0};
    struct sk_str line;
    int rc = 0;

    etcd_feed_init(&feed, "/skerry", ID);
    feed.base = BASE;
    feed.delivered = BASE + 1;
    feed.version = 2;
    while (rc == 0 && !feed.lost && bytes.len > 0) {
        int64_t before = feed.delivered;
        size_t count = out.count;
        (void)sk_str_cut(bytes, '\n', &line, &bytes);
        rc = etcd_feed_line(&feed, line, SK_STR("/"), &out, &err);
        check_changes(&out, count, before, &feed);
    }
    SK_ASSERT(rc == 0 || err.code == SK_ERR_PROTOCOL || err.code == SK_ERR_UNAVAILABLE);
    etcd_feed_release(&feed);
    free(out.changes);
}

static void refuse(struct sk_str bytes)
{
    struct sk_err err = {0};
    (void)etcd_read_refusal(bytes, 400, &err);
    SK_ASSERT(err.code < 0 && err.msg[0]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct sk_arena *arena = sk_arena_new();

    if (size > 1) {
        struct sk_str bytes = {(const char *)data + 1, size - 1};
        switch (data[0]) {
        case 'w':
            watch(bytes, arena);
            break;
        case 'e':
            refuse(bytes);
            break;
        case 'r':
            read_answer(bytes, 0, arena);
            break;
        default:
            read_answer(bytes, 1 + data[0] % 4, arena);
            break;
        }
    }
    sk_arena_free(arena);
    return 0;
}
