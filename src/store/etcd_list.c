/* SPDX-License-Identifier: Apache-2.0 */
/* Lists in pages, all of one revision. */
#include "base/mem.h"
#include "store/etcd_impl.h"

#define LIST_PAGE_FIRST 128
#define LIST_PAGE_MAX 2000
#define LIST_PAGE_BYTES (1024 * 1024) /* aimed at */
#define LIST_BYTES_MAX (512u * 1024 * 1024)
#define LIST_TRIES 3

struct listing {
    struct etcd_store *s;
    struct sk_str prefix;
    size_t limit; /* 0: all */
    struct store_list list;
    struct store_record *records; /* on the heap while it grows */
    size_t cap;
    size_t bytes;
    size_t page;
    int64_t etcd_rev;
    bool more;
};

static size_t page_size(const struct listing *l)
{
    size_t left = l->limit ? l->limit - l->list.count : SIZE_MAX;
    return left < l->page ? left : l->page;
}

static int take_page(struct listing *l, const struct etcd_range *range, size_t asked,
                     struct sk_err *err)
{
    for (size_t i = 0; i < range->count; i++) {
        const struct etcd_kv *kv = &range->kvs[i];
        l->bytes += kv->key.len + kv->value.len + sizeof(struct store_record);
        if (l->bytes > LIST_BYTES_MAX) {
            return sk_err_set(err, SK_ERR_LIMIT, "a list of more than %u bytes", LIST_BYTES_MAX);
        }
        SK_GROW(l->records, l->list.count, l->cap);
        l->records[l->list.count++] =
            (struct store_record){kv->key, kv->value, kv->create_rev, kv->mod_rev};
    }
    l->more = range->count == asked && range->more && (!l->limit || l->list.count < l->limit);
    if (l->list.count > 0) {
        size_t each = l->bytes / l->list.count + 1;
        size_t fit = LIST_PAGE_BYTES / each;
        l->page = fit < 1 ? 1 : fit > LIST_PAGE_MAX ? LIST_PAGE_MAX : fit;
    }
    return 0;
}

/* The first page says what the revision is; an answer that is too large is asked for in less. */
static int first_page(struct listing *l, struct sk_err *err)
{
    struct etcd_view view;
    size_t asked;
    int rc;

    do {
        asked = page_size(l);
        struct etcd_read read = {.key = l->prefix, .prefix = true, .limit = asked};
        rc = etcd_view(l->s, &read, 1, etcd_until(l->s), l->list.arena, &view, err);
        l->page = asked > 4 ? asked / 4 : 1;
    } while (rc == SK_ERR_LIMIT && asked > 1);
    if (rc < 0) {
        return rc;
    }
    l->list.revision = view.revision;
    l->etcd_rev = view.etcd_rev;
    return take_page(l, &view.ranges[0], asked, err);
}

static int next_page(struct listing *l, enum etcd_refusal *refusal, struct sk_err *err)
{
    struct sk_buf from = SK_BUF_INIT;
    struct etcd_range range;
    size_t asked;
    int rc;

    sk_buf_addstr(&from, l->records[l->list.count - 1].key);
    sk_buf_addc(&from, '\0'); /* the first key after it */
    do {
        asked = page_size(l);
        rc = etcd_page(l->s, l->prefix, sk_buf_str(&from), asked, l->etcd_rev, etcd_until(l->s),
                       l->list.arena, &range, refusal, err);
        l->page = asked > 4 ? asked / 4 : 1;
    } while (rc == SK_ERR_LIMIT && asked > 1);
    sk_buf_release(&from);
    return rc < 0 ? rc : take_page(l, &range, asked, err);
}

/* *ret_again: history was compacted between two pages. */
static int list_once(struct listing *l, bool *ret_again, struct sk_err *err)
{
    enum etcd_refusal refusal = ETCD_AGAIN;
    int rc = first_page(l, err);

    while (rc == 0 && l->more) {
        rc = next_page(l, &refusal, err);
    }
    *ret_again = rc < 0 && refusal == ETCD_COMPACTED;
    if (rc == 0) {
        l->list.records = SK_ARENA_ARRAY(l->list.arena, struct store_record, l->list.count);
        if (l->list.count) {
            memcpy(l->list.records, l->records, l->list.count * sizeof(*l->records));
        }
    }
    free(l->records);
    return rc;
}

int etcd_list(struct store *store, struct sk_str prefix, size_t limit, struct store_list *ret,
              struct sk_err *err)
{
    bool again = true;
    int rc = SK_ERR_UNAVAILABLE;

    for (int i = 0; again && i < LIST_TRIES; i++) {
        struct listing l = {.s = etcd_store_of(store),
                            .prefix = prefix,
                            .limit = limit,
                            .page = LIST_PAGE_FIRST,
                            .list = {.arena = sk_arena_new()}};
        rc = list_once(&l, &again, err);
        if (rc == 0) {
            *ret = l.list;
        } else {
            sk_arena_free(l.list.arena);
        }
    }
    return rc;
}
