/* SPDX-License-Identifier: Apache-2.0 */
/* The store's txn as one of etcd's. */
#include "base/mem.h"
#include "store/etcd_impl.h"

#define TRIES 8
#define OP_OVERHEAD_BYTES 96 /* of an operation beside its key and value, generously */

struct build {
    struct etcd_store *s;
    const struct store_txn *txn;
    struct sk_arena *arena;
    struct etcd_compare *compares;
    struct etcd_op *ops;
    size_t ncompares;
    size_t head_at, exists_at; /* SIZE_MAX: there is none */
    size_t puts;
};

static struct sk_str record_key(struct build *b, struct sk_str key)
{
    struct sk_buf buf = SK_BUF_INIT;
    struct sk_str copy;

    etcd_record_key(b->s, key, &buf);
    copy = sk_arena_str(b->arena, sk_buf_str(&buf));
    sk_buf_release(&buf);
    return copy;
}

/* What no key ever has stays so in etcd's counting: 0 means there that the key must not exist. */
static int64_t etcd_rev_of(const struct etcd_store *s, int64_t mod_rev)
{
    if (mod_rev == 0) {
        return 0;
    }
    return mod_rev < 0 || mod_rev > INT64_MAX / 2 || mod_rev + s->meta.base < 1
               ? INT64_MAX
               : mod_rev + s->meta.base;
}

/* exists: a key that must exist, or NULL. */
static void build(struct build *b, struct etcd_store *s, const struct store_txn *txn,
                  const struct sk_str *exists)
{
    struct sk_buf head = SK_BUF_INIT;

    *b = (struct build){
        .s = s, .txn = txn, .arena = sk_arena_new(), .head_at = SIZE_MAX, .exists_at = SIZE_MAX};
    b->compares = SK_ARENA_ARRAY(b->arena, struct etcd_compare, txn->ncompares + 2);
    b->ops = SK_ARENA_ARRAY(b->arena, struct etcd_op, txn->nops);
    for (size_t i = 0; i < txn->ncompares; i++) {
        b->compares[b->ncompares++] = (struct etcd_compare){
            record_key(b, txn->compares[i].key), etcd_rev_of(s, txn->compares[i].mod_rev), false};
    }
    if (txn->expect_number >= 0) {
        etcd_key(s, "head", &head);
        b->head_at = b->ncompares;
        b->compares[b->ncompares++] = (struct etcd_compare){
            sk_arena_str(b->arena, sk_buf_str(&head)), txn->expect_number + s->meta.base, false};
        sk_buf_release(&head);
    }
    if (exists) {
        b->exists_at = b->ncompares;
        b->compares[b->ncompares++] = (struct etcd_compare){record_key(b, *exists), 0, true};
    }
    for (size_t i = 0; i < txn->nops; i++) {
        const struct store_op *op = &txn->ops[i];
        b->ops[i] = (struct etcd_op){op->kind == STORE_PUT ? ETCD_PUT : ETCD_DELETE,
                                     record_key(b, op->key), op->value};
        b->puts += op->kind == STORE_PUT;
    }
}

static int number_moved(const struct store_txn *txn, int64_t number, struct sk_err *err)
{
    return sk_err_set(err, SK_ERR_CONFLICT, "the state moved from revision %lld to %lld",
                      (long long)txn->expect_number, (long long)number);
}

static int key_moved(const struct store_compare *compare, int64_t mod_rev, struct sk_err *err)
{
    return sk_err_set(err, SK_ERR_CONFLICT, "'%.*s' is at revision %lld, not %lld",
                      SK_PRI(compare->key), (long long)mod_rev, (long long)compare->mod_rev);
}

static int differs(const struct build *b, const struct etcd_result *result, struct sk_err *err)
{
    int64_t mod_rev = result->mod_rev ? result->mod_rev - b->s->meta.base : 0;

    return result->at == b->head_at ? number_moved(b->txn, mod_rev, err)
                                    : key_moved(&b->txn->compares[result->at], mod_rev, err);
}

/* --- txns without a put ---------------------------------------------------------------------- */

static int check_looked(const struct store_txn *txn, const struct etcd_view *view,
                        struct sk_err *err)
{
    if (txn->expect_number >= 0 && txn->expect_number != view->revision.number) {
        return number_moved(txn, view->revision.number, err);
    }
    for (size_t i = 0; i < txn->ncompares; i++) {
        int64_t mod_rev = view->ranges[i].count ? view->ranges[i].kvs[0].mod_rev : 0;
        if (mod_rev != txn->compares[i].mod_rev) {
            return key_moved(&txn->compares[i], mod_rev, err);
        }
    }
    return 0;
}

/* Deleting what does not exist writes nothing, so look first. *ret_exists: which operation has
 * something to delete; txn->nops: none. */
static int look(struct etcd_store *s, const struct store_txn *txn, int64_t until_ms,
                size_t *ret_exists, struct store_revision *ret_rev, struct sk_err *err)
{
    struct sk_arena *arena = sk_arena_new();
    struct etcd_read *reads = SK_ARENA_ARRAY(arena, struct etcd_read, txn->ncompares + txn->nops);
    struct etcd_view view;
    int rc;

    for (size_t i = 0; i < txn->ncompares; i++) {
        reads[i] = (struct etcd_read){.key = txn->compares[i].key, .keys_only = true};
    }
    for (size_t i = 0; i < txn->nops; i++) {
        reads[txn->ncompares + i] = (struct etcd_read){.key = txn->ops[i].key, .keys_only = true};
    }
    rc = etcd_view(s, reads, txn->ncompares + txn->nops, until_ms, arena, &view, err);
    if (rc == 0) {
        rc = check_looked(txn, &view, err);
    }
    if (rc == 0) {
        *ret_exists = 0;
        while (*ret_exists < txn->nops && view.ranges[txn->ncompares + *ret_exists].count == 0) {
            (*ret_exists)++;
        }
        *ret_rev = view.revision;
    }
    sk_arena_free(arena);
    return rc;
}

/* --- the txn --------------------------------------------------------------------------------- */

static int check_size(const struct etcd_store *s, const struct store_txn *txn, struct sk_err *err)
{
    size_t bytes = 0;

    for (size_t i = 0; i < txn->nops; i++) {
        bytes += txn->ops[i].key.len + txn->ops[i].value.len + OP_OVERHEAD_BYTES;
    }
    for (size_t i = 0; i < txn->ncompares; i++) {
        bytes += 2 * (txn->compares[i].key.len + OP_OVERHEAD_BYTES);
    }
    if (bytes > s->txn_bytes_max) {
        return sk_err_set(err, SK_ERR_LIMIT,
                          "a transaction of %zu bytes is larger than etcd is asked to take (%zu)",
                          bytes, s->txn_bytes_max);
    }
    return 0;
}

/* The id that is known may be old: only a fresh look may refuse. */
static int check_id(struct etcd_store *s, const struct store_txn *txn, int64_t until_ms,
                    struct sk_err *err)
{
    struct sk_arena *arena;
    struct etcd_view view;
    int rc;

    if (!txn->expect_id || strcmp(txn->expect_id, s->meta.id) == 0) {
        return 0;
    }
    arena = sk_arena_new();
    rc = etcd_view(s, NULL, 0, until_ms, arena, &view, err);
    sk_arena_free(arena);
    if (rc == 0 && strcmp(txn->expect_id, s->meta.id) != 0) {
        rc = sk_err_set(err, SK_ERR_CONFLICT, "the store is another one: it was restored or moved");
    }
    return rc;
}

/* 1: once more, the state has become another one or nothing is there to delete any more. */
static int try_once(struct etcd_store *s, const struct store_txn *txn, int64_t until_ms, bool puts,
                    struct store_revision *ret_rev, struct sk_err *err)
{
    struct etcd_commit commit;
    struct etcd_result result;
    struct build b;
    size_t exists = 0;
    int rc = check_id(s, txn, until_ms, err);

    if (rc == 0 && !puts) {
        rc = look(s, txn, until_ms, &exists, ret_rev, err);
        if (rc == 0 && exists == txn->nops) {
            return 0;
        }
    }
    if (rc < 0) {
        return rc;
    }
    build(&b, s, txn, puts ? NULL : &txn->ops[exists].key);
    commit = (struct etcd_commit){.compares = b.compares,
                                  .ncompares = b.ncompares,
                                  .ops = b.ops,
                                  .nops = txn->nops,
                                  .head = true,
                                  .puts = b.puts};
    rc = etcd_commit(s, &commit, until_ms, &result, err);
    if (rc == 0 && result.outcome == ETCD_DONE) {
        memcpy(ret_rev->id, s->meta.id, sizeof(ret_rev->id));
        ret_rev->number = result.etcd_rev - s->meta.base;
    } else if (rc == 0) {
        rc = result.outcome == ETCD_META_MOVED || result.at == b.exists_at
                 ? 1
                 : differs(&b, &result, err);
    }
    sk_arena_free(b.arena);
    return rc;
}

int etcd_txn(struct store *store, const struct store_txn *txn, struct store_revision *ret_rev,
             struct sk_err *err)
{
    struct etcd_store *s = etcd_store_of(store);
    struct store_revision rev = {0};
    int64_t until_ms = etcd_until(s);
    bool puts = false;
    int rc = check_size(s, txn, err);

    for (size_t i = 0; i < txn->nops; i++) {
        puts = puts || txn->ops[i].kind == STORE_PUT;
    }
    for (int i = 0; rc == 0 && i < TRIES; i++) {
        rc = try_once(s, txn, until_ms, puts, &rev, err);
        if (rc == 0) {
            if (ret_rev) {
                *ret_rev = rev;
            }
            return 0;
        }
        rc = rc == 1 ? 0 : rc;
    }
    return rc < 0 ? rc
                  : sk_err_set(err, SK_ERR_UNAVAILABLE, "the state in etcd changes over and over");
}
