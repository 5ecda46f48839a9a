/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Snapshots and restores. A snapshot is a file of the SQLite form, so that each form restores what
 * the other wrote. A restore puts the records beside those that are there, under a new id, and then
 * changes ROOT/meta in one txn: until that moment nothing has happened, after it everything has.
 */
#include "base/hash.h"
#include "base/mem.h"
#include "store/etcd_impl.h"
#include "store/sqlite_db.h"
#include "sys/clock.h"

#define BATCH_OPS 100
#define BATCH_BYTES (512 * 1024)

int etcd_snapshot(struct store *store, const char *path, struct sk_err *err)
{
    struct store_list list;
    struct db_state state = {0};
    struct db db;
    int rc = etcd_list(store, SK_STR(""), 0, &list, err);

    if (rc < 0) {
        return rc;
    }
    state.revision = list.revision;
    state.first_kept = list.revision.number + 1; /* records alone, no history */
    rc = db_open_memory(&db, &state, err);
    if (rc == 0) {
        for (size_t i = 0; rc == 0 && i < list.count; i++) {
            rc = db_put_record(&db, &list.records[i], err);
        }
        if (rc == 0) {
            rc = db_snapshot(&db, path, err);
        }
        db_close(&db);
    }
    store_list_release(&list);
    return rc;
}

/* --- restore --------------------------------------------------------------------------------- */

struct restore {
    struct etcd_store *s;
    struct db snapshot;
    struct etcd_meta old;
    char id[33];            /* the new one */
    int64_t base;           /* and its base */
    struct sk_arena *arena; /* of the batch */
    struct etcd_op ops[BATCH_OPS];
    size_t nops, bytes;
};

/* A write of this restore: none of them may go on when the state becomes another one meanwhile. */
static int write_ops(struct restore *r, const struct etcd_op *ops, size_t nops, bool head,
                     struct sk_err *err)
{
    struct etcd_commit commit = {.ops = ops, .nops = nops, .head = head};
    struct etcd_result result;
    int rc = etcd_commit(r->s, &commit, etcd_until(r->s), &result, err);

    if (rc == 0 && result.outcome != ETCD_DONE) {
        rc = sk_err_set(err, SK_ERR_CONFLICT, "the state was restored by another at the same time");
    }
    return rc;
}

static int flush_batch(struct restore *r, struct sk_err *err)
{
    int rc = r->nops ? write_ops(r, r->ops, r->nops, false, err) : 0;

    sk_arena_free(r->arena);
    r->arena = sk_arena_new();
    r->nops = r->bytes = 0;
    return rc;
}

static int restore_record(void *ctx, const struct store_record *record, struct sk_err *err)
{
    struct restore *r = ctx;
    struct etcd_op *op;

    if (r->nops == BATCH_OPS || (r->nops > 0 && r->bytes + record->value.len > BATCH_BYTES)) {
        int rc = flush_batch(r, err);
        if (rc < 0) {
            return rc;
        }
    }
    op = &r->ops[r->nops++];
    op->kind = ETCD_PUT;
    op->key = sk_arena_printf(r->arena, "%s/%s%.*s", r->s->root, r->id, (int)record->key.len,
                              record->key.ptr);
    op->value = sk_arena_str(r->arena, record->value);
    r->bytes += op->key.len + op->value.len;
    return 0;
}

/* What deletes the records of every state but one. */
struct others {
    char from[2][112], to[2][112];
    struct etcd_op ops[2];
};

static void delete_others(const struct etcd_store *s, const char *id, struct others *ret)
{
    (void)snprintf(ret->from[0], sizeof(ret->from[0]), "%s/0", s->root);
    (void)snprintf(ret->to[0], sizeof(ret->to[0]), "%s/%s", s->root, id);
    (void)snprintf(ret->from[1], sizeof(ret->from[1]), "%s/%s", s->root, id);
    ret->from[1][strlen(ret->from[1]) - 1]++;
    (void)snprintf(ret->to[1], sizeof(ret->to[1]), "%s/g", s->root); /* ids are hex */
    for (size_t i = 0; i < SK_ARRAY_LEN(ret->ops); i++) {
        ret->ops[i] = (struct etcd_op){ETCD_DELETE_RANGE, sk_str(ret->from[i]), sk_str(ret->to[i])};
    }
}

/* Of restores that did not come to their end. */
static int remove_remains(struct restore *r, struct sk_err *err)
{
    struct others others;

    delete_others(r->s, r->old.id, &others);
    return write_ops(r, others.ops, SK_ARRAY_LEN(others.ops), false, err);
}

/* The moment: the new state is the state, and the old records go. */
static int turn_over(struct restore *r, struct sk_err *err)
{
    struct sk_buf key = SK_BUF_INIT;
    struct sk_buf meta = SK_BUF_INIT;
    struct others others;
    struct etcd_op ops[3];
    struct sk_jw w;
    int rc;

    sk_jw_init(&w, &meta);
    sk_jw_obj(&w);
    sk_jw_kint(&w, "v", 1);
    sk_jw_kcstr(&w, "id", r->id);
    sk_jw_kint(&w, "base", r->base);
    sk_jw_obj_end(&w);
    etcd_key(r->s, "meta", &key);
    delete_others(r->s, r->id, &others);
    ops[0] = (struct etcd_op){ETCD_PUT, sk_buf_str(&key), sk_buf_str(&meta)};
    ops[1] = others.ops[0];
    ops[2] = others.ops[1];
    rc = write_ops(r, ops, SK_ARRAY_LEN(ops), true, err);
    sk_buf_release(&key);
    sk_buf_release(&meta);
    return rc;
}

/* The number never goes back, neither behind the snapshot's nor behind that of the state before. */
static int prepare(struct restore *r, struct sk_err *err)
{
    struct sk_arena *arena = sk_arena_new();
    struct db_state state;
    struct etcd_view view;
    uint8_t bits[16];
    int rc = db_read_state(&r->snapshot, &state, err);

    if (rc == 0 && (state.revision.number < 0 || state.revision.number > INT64_MAX / 8)) {
        rc = sk_err_set(err, SK_ERR_CORRUPT, "the snapshot's revision cannot be");
    }
    if (rc == 0) {
        rc = etcd_view(r->s, NULL, 0, etcd_until(r->s), arena, &view, err);
    }
    if (rc == 0) {
        r->old = r->s->meta;
        r->base = view.head_rev - state.revision.number;
        r->base = r->base < r->old.base ? r->base : r->old.base;
        sys_random(bits, sizeof(bits));
        sk_hex(bits, sizeof(bits), r->id);
    }
    sk_arena_free(arena);
    return rc;
}

static int restore_all(struct restore *r, struct sk_err *err)
{
    int rc = prepare(r, err);

    if (rc == 0) {
        rc = remove_remains(r, err);
    }
    if (rc == 0) {
        rc = db_each_record(&r->snapshot, restore_record, r, err);
    }
    if (rc == 0) {
        rc = flush_batch(r, err);
    }
    return rc < 0 ? rc : turn_over(r, err);
}

int etcd_restore(struct store *store, const char *path, struct sk_err *err)
{
    struct restore *r = sk_xcalloc(1, sizeof(*r));
    int rc = db_open_to_read(&r->snapshot, path, err);

    if (rc == 0) {
        r->s = etcd_store_of(store);
        r->arena = sk_arena_new();
        rc = restore_all(r, err);
        sk_arena_free(r->arena);
        db_close(&r->snapshot);
    }
    free(r);
    return rc;
}
