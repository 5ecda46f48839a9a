/* SPDX-License-Identifier: Apache-2.0 */
/* Reading: one member after another, meta and head with every answer. */
#include <time.h>

#include "base/hash.h"
#include "base/mem.h"
#include "store/etcd_impl.h"
#include "sys/clock.h"

#define PAUSE_MS_MAX 100
#define META_TRIES 5

void etcd_pause(struct etcd_store *s, unsigned *tries, int64_t until_ms)
{
    size_t members = etcd_http_count(s->http);
    int64_t left = until_ms - sys_now_ms();
    int64_t pause = 5LL << (*tries / members < 5 ? *tries / members : 5);

    (*tries)++;
    if (*tries % members != 0 || left <= 0) {
        return; /* the next one may be better */
    }
    pause = pause > PAUSE_MS_MAX ? PAUSE_MS_MAX : pause;
    pause = pause > left ? left : pause;
    struct timespec ts = {0, pause * 1000000};
    (void)nanosleep(&ts, NULL); /* woken early: tries early */
}

int etcd_ask(struct etcd_store *s, const char *path, struct sk_str body, int64_t until_ms,
             struct sk_buf *answer, enum etcd_refusal *ret_refusal, struct sk_err *err)
{
    struct sk_err last = {0};
    unsigned tries = 0;

    do {
        long status = 0;
        enum etcd_sent sent = etcd_http_post(s->http, path, body, until_ms, ETCD_ANSWER_BYTES_MAX,
                                             answer, &status, &last);
        if (sent == ETCD_ANSWERED && status == 200) {
            return 0;
        }
        if (sent != ETCD_ANSWERED && last.code == SK_ERR_LIMIT) {
            if (ret_refusal) {
                *ret_refusal = ETCD_TOO_LARGE;
            }
            return sk_err_set(err, SK_ERR_LIMIT, "%s", last.msg);
        }
        if (sent == ETCD_ANSWERED) {
            enum etcd_refusal refusal = etcd_read_refusal(sk_buf_str(answer), status, &last);
            if (refusal != ETCD_AGAIN) {
                if (ret_refusal) {
                    *ret_refusal = refusal;
                }
                if (err) {
                    *err = last;
                }
                return last.code;
            }
        }
        etcd_http_next(s->http);
        etcd_pause(s, &tries, until_ms);
    } while (sys_now_ms() < until_ms && !etcd_http_stopped(s->http));
    return sk_err_set(err, SK_ERR_UNAVAILABLE, "no member of etcd answers in time: %.300s",
                      last.msg);
}

/* --- what this state is ---------------------------------------------------------------------- */

static int meta_broken(struct sk_err *err)
{
    sk_err_set(err, SK_ERR_CORRUPT, "the state's identity in etcd cannot be read");
    return sk_err_fix(err, "restore a snapshot under another root");
}

int etcd_read_meta(const struct etcd_kv *kv, struct etcd_meta *ret, struct sk_err *err)
{
    struct sk_arena *arena = sk_arena_new();
    struct etcd_meta meta = {.mod_rev = kv->mod_rev};
    const struct sk_node *root = NULL;
    struct sk_str id = SK_STR_NULL;
    uint8_t bits[16];
    int64_t version = 0;
    int rc = 0;

    if (kv->value.len > 4096 || sk_json_read(arena, "meta", kv->value, NULL, &root, NULL) < 0 ||
        root->kind != SK_MAP) {
        rc = meta_broken(err);
    } else {
        id = sk_map_str(root, "id", SK_STR_NULL);
        version = sk_map_int(root, "v", 0);
        meta.base = sk_map_int(root, "base", kv->create_rev);
    }
    if (rc == 0 && version > 1) {
        rc = sk_err_set(err, SK_ERR_UNSUPPORTED,
                        "the state in etcd has version %lld, this skerry reads version 1",
                        (long long)version);
    } else if (rc == 0 && (version < 1 || !sk_unhex(id, bits, sizeof(bits)) ||
                           meta.base > kv->mod_rev || meta.base < INT64_MIN / 4)) {
        rc = meta_broken(err);
    }
    if (rc == 0) {
        memcpy(meta.id, id.ptr, sizeof(meta.id) - 1);
        *ret = meta;
    }
    sk_arena_free(arena);
    return rc;
}

int etcd_own_keys(const struct etcd_store *s, struct sk_str prefix, struct etcd_range *range,
                  struct sk_err *err)
{
    struct sk_buf front = SK_BUF_INIT;
    int rc = 0;

    etcd_record_key(s, SK_STR_NULL, &front);
    for (size_t i = 0; rc == 0 && i < range->count; i++) {
        struct etcd_kv *kv = &range->kvs[i];
        if (!sk_str_starts(kv->key, sk_buf_str(&front))) {
            rc = sk_err_set(err, SK_ERR_PROTOCOL, "etcd answers with a key that was not asked for");
            break;
        }
        kv->key.ptr += front.len;
        kv->key.len -= front.len;
        if (!sk_str_starts(kv->key, prefix) || store_check_key(kv->key, NULL) < 0 ||
            kv->create_rev <= s->meta.base) {
            rc = sk_err_set(err, SK_ERR_PROTOCOL, "etcd answers with a key that was not asked for");
        }
        kv->create_rev -= s->meta.base;
        kv->mod_rev -= s->meta.base;
    }
    sk_buf_release(&front);
    return rc;
}

/* --- one view -------------------------------------------------------------------------------- */

static void put_range(struct sk_jw *w, struct sk_str key, bool prefix, size_t limit, bool keys_only)
{
    struct sk_buf end = SK_BUF_INIT;

    etcd_put_bytes(w, "key", key);
    if (prefix) {
        etcd_range_end(key, &end);
        etcd_put_bytes(w, "range_end", sk_buf_str(&end));
        sk_buf_release(&end);
    }
    if (limit) {
        etcd_put_int(w, "limit", (int64_t)limit);
    }
    if (keys_only) {
        sk_jw_kbool(w, "keys_only", true);
    }
}

static void add_read(struct sk_jw *w, struct sk_str key, const struct etcd_read *read)
{
    sk_jw_obj(w);
    sk_jw_key(w, "request_range");
    sk_jw_obj(w);
    put_range(w, key, read->prefix, read->limit, read->keys_only);
    sk_jw_obj_end(w);
    sk_jw_obj_end(w);
}

static void write_reads(struct etcd_store *s, const struct etcd_read *reads, size_t count,
                        struct sk_buf *body)
{
    static const struct etcd_read whole = {0};
    struct sk_buf key = SK_BUF_INIT;
    struct sk_jw w;

    sk_buf_clear(body);
    sk_jw_init(&w, body);
    sk_jw_obj(&w);
    sk_jw_key(&w, "success");
    sk_jw_arr(&w);
    etcd_key(s, "meta", &key);
    add_read(&w, sk_buf_str(&key), &whole);
    etcd_key(s, "head", &key);
    add_read(&w, sk_buf_str(&key), &whole);
    for (size_t i = 0; i < count; i++) {
        etcd_record_key(s, reads[i].key, &key);
        add_read(&w, sk_buf_str(&key), &reads[i]);
    }
    sk_jw_arr_end(&w);
    sk_jw_obj_end(&w);
    sk_buf_release(&key);
}

/* Exactly this key, which is ROOT/name. */
static bool is_one(const struct etcd_store *s, const struct etcd_range *range, const char *name)
{
    struct sk_buf key = SK_BUF_INIT;
    bool is;

    etcd_key(s, name, &key);
    is = range->count == 1 && sk_str_eq(range->kvs[0].key, sk_buf_str(&key));
    sk_buf_release(&key);
    return is;
}

/* The answer's first two ranges. *ret_again: the state is another one than asked about. */
static int read_front(struct etcd_store *s, const struct etcd_answer *answer, bool *ret_again,
                      struct etcd_view *view, struct sk_err *err)
{
    const struct etcd_range *ranges = answer->ranges;
    struct etcd_meta meta;
    int rc;

    if (!is_one(s, &ranges[0], "meta") || !is_one(s, &ranges[1], "head")) {
        sk_err_set(err, SK_ERR_CORRUPT, "the state's identity in etcd is missing");
        (void)sk_err_fix(err, "restore a snapshot, or start with an empty etcd");
        return SK_ERR_CORRUPT;
    }
    rc = etcd_read_meta(&ranges[0].kvs[0], &meta, err);
    if (rc < 0) {
        return rc;
    }
    *ret_again = meta.mod_rev != s->meta.mod_rev;
    s->meta = meta;
    view->etcd_rev = answer->revision;
    view->head_rev = ranges[1].kvs[0].mod_rev;
    view->head_version = ranges[1].kvs[0].version;
    view->ranges = ranges + 2;
    memcpy(view->revision.id, meta.id, sizeof(meta.id));
    view->revision.number = view->head_rev - meta.base;
    if (view->revision.number < 0) {
        return sk_err_set(err, SK_ERR_CORRUPT, "the state's revision in etcd is before its start");
    }
    return 0;
}

static int view_once(struct etcd_store *s, const struct etcd_read *reads, size_t count,
                     int64_t until_ms, struct sk_arena *arena, bool *ret_again,
                     struct etcd_view *view, struct sk_err *err)
{
    struct sk_buf body = SK_BUF_INIT;
    struct sk_buf bytes = SK_BUF_INIT;
    struct etcd_answer answer;
    int rc;

    write_reads(s, reads, count, &body);
    rc = etcd_ask(s, "/v3/kv/txn", sk_buf_str(&body), until_ms, &bytes, NULL, err);
    if (rc == 0) {
        rc = etcd_read_txn(arena, sk_buf_str(&bytes), count + 2, &answer, err);
    }
    if (rc == 0) {
        rc = read_front(s, &answer, ret_again, view, err);
    }
    for (size_t i = 0; rc == 0 && !*ret_again && i < count; i++) {
        struct etcd_range *range = &answer.ranges[i + 2];
        if (range->count > (reads[i].prefix ? reads[i].limit : 1)) {
            rc = sk_err_set(err, SK_ERR_PROTOCOL, "etcd answers with more than was asked for");
        } else {
            rc = etcd_own_keys(s, reads[i].key, range, err);
        }
    }
    sk_buf_release(&body);
    sk_buf_release(&bytes);
    return rc;
}

int etcd_view(struct etcd_store *s, const struct etcd_read *reads, size_t count, int64_t until_ms,
              struct sk_arena *arena, struct etcd_view *ret, struct sk_err *err)
{
    struct etcd_view view;
    int rc = etcd_settle(s, until_ms, err);

    for (int i = 0; rc == 0 && i < META_TRIES; i++) {
        bool again = false;
        rc = view_once(s, reads, count, until_ms, arena, &again, &view, err);
        if (rc == 0 && !again) {
            *ret = view;
            return 0;
        }
    }
    return rc < 0
               ? rc
               : sk_err_set(err, SK_ERR_UNAVAILABLE, "the state in etcd is restored over and over");
}

/* --- ranges at a revision -------------------------------------------------------------------- */

static int ask_range(struct etcd_store *s, struct sk_str body, int64_t until_ms,
                     struct sk_arena *arena, struct etcd_answer *ret,
                     enum etcd_refusal *ret_refusal, struct sk_err *err)
{
    struct sk_buf bytes = SK_BUF_INIT;
    int rc = etcd_ask(s, "/v3/kv/range", body, until_ms, &bytes, ret_refusal, err);

    if (rc == 0) {
        rc = etcd_read_range(arena, sk_buf_str(&bytes), ret, err);
    }
    sk_buf_release(&bytes);
    return rc;
}

int etcd_page(struct etcd_store *s, struct sk_str prefix, struct sk_str from, size_t limit,
              int64_t etcd_rev, int64_t until_ms, struct sk_arena *arena, struct etcd_range *ret,
              enum etcd_refusal *ret_refusal, struct sk_err *err)
{
    struct sk_buf body = SK_BUF_INIT;
    struct sk_buf key = SK_BUF_INIT;
    struct sk_buf end = SK_BUF_INIT;
    struct etcd_answer answer;
    struct sk_jw w;
    int rc;

    etcd_record_key(s, prefix, &key);
    etcd_range_end(sk_buf_str(&key), &end);
    etcd_record_key(s, from, &key);
    sk_jw_init(&w, &body);
    sk_jw_obj(&w);
    etcd_put_bytes(&w, "key", sk_buf_str(&key));
    etcd_put_bytes(&w, "range_end", sk_buf_str(&end));
    etcd_put_int(&w, "limit", (int64_t)limit);
    etcd_put_int(&w, "revision", etcd_rev);
    sk_jw_obj_end(&w);
    rc = ask_range(s, sk_buf_str(&body), until_ms, arena, &answer, ret_refusal, err);
    if (rc == 0) {
        rc = etcd_own_keys(s, prefix, &answer.ranges[0], err);
    }
    if (rc == 0 &&
        (answer.ranges[0].count > limit ||
         (answer.ranges[0].count > 0 && sk_str_cmp(answer.ranges[0].kvs[0].key, from) < 0))) {
        rc = sk_err_set(err, SK_ERR_PROTOCOL, "etcd answers with more than was asked for");
    }
    if (rc == 0) {
        *ret = answer.ranges[0];
    }
    sk_buf_release(&body);
    sk_buf_release(&key);
    sk_buf_release(&end);
    return rc;
}

int etcd_head_at(struct etcd_store *s, int64_t etcd_rev, int64_t until_ms, int64_t *ret_version,
                 struct sk_err *err)
{
    struct sk_arena *arena = sk_arena_new();
    struct sk_buf body = SK_BUF_INIT;
    struct sk_buf key = SK_BUF_INIT;
    enum etcd_refusal refusal = ETCD_AGAIN;
    struct etcd_answer answer;
    struct sk_jw w;
    int rc;

    etcd_key(s, "head", &key);
    sk_jw_init(&w, &body);
    sk_jw_obj(&w);
    etcd_put_bytes(&w, "key", sk_buf_str(&key));
    etcd_put_int(&w, "revision", etcd_rev);
    sk_jw_obj_end(&w);
    rc = ask_range(s, sk_buf_str(&body), until_ms, arena, &answer, &refusal, err);
    if (rc < 0 && (refusal == ETCD_COMPACTED || refusal == ETCD_FUTURE)) {
        rc = sk_err_set(err, SK_ERR_NOT_FOUND, "etcd no longer knows its revision %lld",
                        (long long)etcd_rev);
    } else if (rc == 0 && !is_one(s, &answer.ranges[0], "head")) {
        rc = sk_err_set(err, SK_ERR_NOT_FOUND, "the state was not there at revision %lld",
                        (long long)etcd_rev);
    } else if (rc == 0) {
        *ret_version = answer.ranges[0].kvs[0].version;
    }
    sk_buf_release(&body);
    sk_buf_release(&key);
    sk_arena_free(arena);
    return rc;
}
