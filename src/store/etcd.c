/* SPDX-License-Identifier: Apache-2.0 */
#include "store/etcd.h"

#include "base/hash.h"
#include "base/mem.h"
#include "store/etcd_impl.h"
#include "sys/clock.h"

/*
 * The etcd form: opening, keys, and the short calls. docs/etcd.md is the design.
 */
#define MAGIC 0x65746364u
#define DEADLINE_MS_MAX 600000
/* A mark that nobody has touched for so long is a dead handle's. */
#define WRITER_AGE_REVISIONS 100000
#define WRITERS_AT_ONCE 64

struct etcd_store *etcd_store_of(struct store *store)
{
    struct etcd_store *s = (struct etcd_store *)store;
    SK_ASSERT(s->magic == MAGIC);
    return s;
}

int64_t etcd_until(const struct etcd_store *s)
{
    return sys_now_ms() + s->deadline_ms;
}

/* --- keys ------------------------------------------------------------------------------------ */

void etcd_key(const struct etcd_store *s, const char *name, struct sk_buf *ret)
{
    sk_buf_clear(ret);
    sk_buf_printf(ret, "%s/%s", s->root, name);
}

void etcd_record_key(const struct etcd_store *s, struct sk_str key, struct sk_buf *ret)
{
    sk_buf_clear(ret);
    sk_buf_printf(ret, "%s/%s", s->root, s->meta.id);
    sk_buf_addstr(ret, key);
}

void etcd_writer_key(const struct etcd_store *s, struct sk_buf *ret)
{
    sk_buf_clear(ret);
    sk_buf_printf(ret, "%s/writer/%s", s->root, s->writer);
}

void etcd_range_end(struct sk_str prefix, struct sk_buf *ret)
{
    sk_buf_clear(ret);
    sk_buf_addstr(ret, prefix);
    ret->ptr[ret->len - 1]++; /* text: never 0xff */
}

/* --- the short calls ------------------------------------------------------------------------- */

static void etcd_close(struct store *store)
{
    struct etcd_store *s = etcd_store_of(store);

    etcd_watch_close(s);
    etcd_http_free(s->http);
    free(s);
}

int store_etcd_set_endpoints(struct store *store, const char *const *endpoints, size_t count,
                             struct sk_err *err)
{
    struct etcd_store *s = etcd_store_of(store);
    int rc = etcd_http_set_endpoints(s->http, endpoints, count, err);

    if (rc == 0) {
        etcd_watch_close(s); /* it may be at one that is gone; the next call opens it again */
    }
    return rc;
}

static int etcd_revision(struct store *store, struct store_revision *ret, struct sk_err *err)
{
    struct etcd_store *s = etcd_store_of(store);
    struct sk_arena *arena = sk_arena_new();
    struct etcd_view view;
    int rc = etcd_view(s, NULL, 0, etcd_until(s), arena, &view, err);

    if (rc == 0) {
        *ret = view.revision;
    }
    sk_arena_free(arena);
    return rc;
}

static int etcd_get(struct store *store, struct sk_str key, struct sk_arena *arena,
                    struct store_record *ret, struct sk_err *err)
{
    struct etcd_store *s = etcd_store_of(store);
    struct etcd_read read = {.key = key};
    struct etcd_view view;
    int rc = etcd_view(s, &read, 1, etcd_until(s), arena, &view, err);

    if (rc < 0) {
        return rc;
    }
    if (view.ranges[0].count == 0) {
        return sk_err_set(err, SK_ERR_NOT_FOUND, "no record '%.*s'", SK_PRI(key));
    }
    *ret = (struct store_record){view.ranges[0].kvs[0].key, view.ranges[0].kvs[0].value,
                                 view.ranges[0].kvs[0].create_rev, view.ranges[0].kvs[0].mod_rev};
    return 0;
}

/* --- compacting ------------------------------------------------------------------------------ */

/* etcd keeps what is newer than the revision given, and of what is older the last of each key. */
static int compact_to(struct etcd_store *s, int64_t etcd_rev, int64_t until_ms, struct sk_err *err)
{
    struct sk_buf body = SK_BUF_INIT;
    struct sk_buf answer = SK_BUF_INIT;
    enum etcd_refusal refusal = ETCD_AGAIN;
    struct sk_err why = {0};
    struct sk_jw w;
    int rc;

    sk_jw_init(&w, &body);
    sk_jw_obj(&w);
    etcd_put_int(&w, "revision", etcd_rev);
    sk_jw_obj_end(&w);
    rc = etcd_ask(s, "/v3/kv/compaction", sk_buf_str(&body), until_ms, &answer, &refusal, &why);
    if (rc < 0 && refusal == ETCD_COMPACTED) {
        rc = 0; /* already there or beyond, maybe by our own first try */
    } else if (rc < 0 && err) {
        *err = why;
    }
    sk_buf_release(&body);
    sk_buf_release(&answer);
    return rc;
}

static int etcd_compact(struct store *store, int64_t number, struct sk_err *err)
{
    struct etcd_store *s = etcd_store_of(store);
    struct sk_arena *arena = sk_arena_new();
    int64_t until_ms = etcd_until(s);
    struct etcd_view view;
    int rc = etcd_view(s, NULL, 0, until_ms, arena, &view, err);

    sk_arena_free(arena);
    if (rc == 0 && number > view.revision.number) {
        rc = sk_err_set(err, SK_ERR_INPUT, "cannot compact to revision %lld: the newest is %lld",
                        (long long)number, (long long)view.revision.number);
    }
    if (rc < 0 || number + s->meta.base - 1 < 1) {
        return rc;
    }
    return compact_to(s, number + s->meta.base - 1, until_ms, err);
}

/* --- opening --------------------------------------------------------------------------------- */

static void write_new_meta(struct etcd_store *s, struct sk_buf *ret)
{
    uint8_t bits[16];
    struct sk_jw w;

    sys_random(bits, sizeof(bits));
    sk_hex(bits, sizeof(bits), s->meta.id);
    sk_jw_init(&w, ret);
    sk_jw_obj(&w);
    sk_jw_kint(&w, "v", 1);
    sk_jw_kcstr(&w, "id", s->meta.id);
    sk_jw_obj_end(&w);
}

/* Makes the state, unless another handle is faster. */
static int make_state(struct etcd_store *s, int64_t until_ms, struct sk_err *err)
{
    struct sk_buf meta_key = SK_BUF_INIT;
    struct sk_buf head_key = SK_BUF_INIT;
    struct sk_buf meta = SK_BUF_INIT;
    struct etcd_compare compare;
    struct etcd_result result;
    struct etcd_op op;
    int rc;

    write_new_meta(s, &meta);
    etcd_key(s, "meta", &meta_key);
    etcd_key(s, "head", &head_key);
    op = (struct etcd_op){ETCD_PUT, sk_buf_str(&meta_key), sk_buf_str(&meta)};
    compare = (struct etcd_compare){sk_buf_str(&head_key), 0, false};
    rc = etcd_commit(s,
                     &(struct etcd_commit){.compares = &compare,
                                           .ncompares = 1,
                                           .ops = &op,
                                           .nops = 1,
                                           .head = true,
                                           .make = true},
                     until_ms, &result, err);
    if (rc == 0 && result.outcome == ETCD_DONE) {
        s->meta.base = s->meta.mod_rev = result.etcd_rev;
    } else if (rc == 0 && result.outcome == ETCD_DIFFERS) {
        rc = sk_err_set(err, SK_ERR_CORRUPT, "the state's identity in etcd is missing");
        (void)sk_err_fix(err, "restore a snapshot, or start with an empty etcd");
    }
    sk_buf_release(&meta_key);
    sk_buf_release(&head_key);
    sk_buf_release(&meta);
    return rc;
}

static bool own_marks(const struct etcd_range *range, struct sk_str prefix)
{
    for (size_t i = 0; i < range->count; i++) {
        if (!sk_str_starts(range->kvs[i].key, prefix)) {
            return false;
        }
    }
    return range->count > 0;
}

/* Marks of handles that are gone; what cannot be removed now is removed another time. */
static void remove_old_writers(struct etcd_store *s, int64_t etcd_rev, int64_t until_ms)
{
    struct sk_arena *arena = sk_arena_new();
    struct sk_buf body = SK_BUF_INIT;
    struct sk_buf bytes = SK_BUF_INIT;
    struct sk_buf prefix = SK_BUF_INIT;
    struct sk_buf end = SK_BUF_INIT;
    struct etcd_answer answer = {0};
    struct sk_jw w;

    etcd_key(s, "writer/", &prefix);
    etcd_range_end(sk_buf_str(&prefix), &end);
    sk_jw_init(&w, &body);
    sk_jw_obj(&w);
    etcd_put_bytes(&w, "key", sk_buf_str(&prefix));
    etcd_put_bytes(&w, "range_end", sk_buf_str(&end));
    etcd_put_int(&w, "max_mod_revision", etcd_rev - WRITER_AGE_REVISIONS);
    etcd_put_int(&w, "limit", WRITERS_AT_ONCE);
    sk_jw_kbool(&w, "keys_only", true);
    sk_jw_obj_end(&w);
    if (etcd_ask(s, "/v3/kv/range", sk_buf_str(&body), until_ms, &bytes, NULL, NULL) == 0 &&
        etcd_read_range(arena, sk_buf_str(&bytes), &answer, NULL) == 0 &&
        own_marks(answer.ranges, sk_buf_str(&prefix))) {
        sk_buf_clear(&body);
        etcd_write_removal(answer.ranges, &body);
        (void)etcd_ask(s, "/v3/kv/txn", sk_buf_str(&body), until_ms, &bytes, NULL, NULL);
    }
    sk_arena_free(arena);
    sk_buf_release(&body);
    sk_buf_release(&bytes);
    sk_buf_release(&prefix);
    sk_buf_release(&end);
}

/* ROOT/meta as it is, or a new one. */
static int find_state(struct etcd_store *s, struct sk_err *err)
{
    struct sk_arena *arena = sk_arena_new();
    struct sk_buf body = SK_BUF_INIT;
    struct sk_buf bytes = SK_BUF_INIT;
    struct sk_buf key = SK_BUF_INIT;
    int64_t until_ms = etcd_until(s);
    struct etcd_answer answer;
    struct sk_jw w;
    int rc;

    etcd_key(s, "meta", &key);
    sk_jw_init(&w, &body);
    sk_jw_obj(&w);
    etcd_put_bytes(&w, "key", sk_buf_str(&key));
    sk_jw_obj_end(&w);
    rc = etcd_ask(s, "/v3/kv/range", sk_buf_str(&body), until_ms, &bytes, NULL, err);
    if (rc == 0) {
        rc = etcd_read_range(arena, sk_buf_str(&bytes), &answer, err);
    }
    if (rc == 0 && answer.ranges[0].count == 0) {
        rc = make_state(s, until_ms, err);
    } else if (rc == 0) {
        rc = etcd_read_meta(&answer.ranges[0].kvs[0], &s->meta, err);
    }
    if (rc == 0 && answer.revision > WRITER_AGE_REVISIONS) {
        remove_old_writers(s, answer.revision, until_ms);
    }
    sk_arena_free(arena);
    sk_buf_release(&body);
    sk_buf_release(&bytes);
    sk_buf_release(&key);
    return rc;
}

static const struct store_form etcd_form = {
    .close = etcd_close,
    .revision = etcd_revision,
    .get = etcd_get,
    .list = etcd_list,
    .txn = etcd_txn,
    .watch = etcd_watch,
    .compact = etcd_compact,
    .snapshot = etcd_snapshot,
    .restore = etcd_restore,
};

static int check_options(const struct store_etcd *options, struct sk_err *err)
{
    const char *root = options->root;

    if (root &&
        (root[0] != '/' || strlen(root) > ETCD_ROOT_MAX || !sk_str_is_label(sk_str(root + 1)))) {
        return sk_err_set(err, SK_ERR_INPUT, "'%.80s' is not '/' and a name", root);
    }
    if (options->deadline_ms < 0 || options->deadline_ms > DEADLINE_MS_MAX) {
        return sk_err_set(err, SK_ERR_INPUT, "no call to etcd takes %lld ms",
                          (long long)options->deadline_ms);
    }
    if (options->txn_bytes_max > STORE_ETCD_TXN_BYTES_MAX) {
        return sk_err_set(err, SK_ERR_INPUT, "etcd takes no transaction of %zu bytes",
                          options->txn_bytes_max);
    }
    return 0;
}

int store_open_etcd(const struct store_etcd *options, struct store **ret_store, struct sk_err *err)
{
    struct etcd_store *s;
    uint8_t bits[16];
    int rc = check_options(options, err);

    if (rc < 0) {
        return rc;
    }
    s = sk_xcalloc(1, sizeof(*s));
    s->base.form = &etcd_form;
    s->magic = MAGIC;
    s->deadline_ms = options->deadline_ms ? options->deadline_ms : STORE_ETCD_DEADLINE_MS;
    s->txn_bytes_max = options->txn_bytes_max ? options->txn_bytes_max : STORE_ETCD_TXN_BYTES;
    (void)snprintf(s->root, sizeof(s->root), "%s", options->root ? options->root : "/skerry");
    sys_random(bits, sizeof(bits));
    sk_hex(bits, sizeof(bits), s->writer);
    rc = etcd_http_new(options, &s->http, err);
    if (rc == 0) {
        rc = find_state(s, err);
    }
    if (rc < 0) {
        etcd_http_free(s->http);
        free(s);
        return rc;
    }
    *ret_store = &s->base;
    return 0;
}
