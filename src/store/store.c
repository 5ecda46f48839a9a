/* SPDX-License-Identifier: Apache-2.0 */
#include "store/store.h"

#include "store/form.h"

int store_check_key(struct sk_str key, struct sk_err *err)
{
    if (key.len == 0) {
        return sk_err_set(err, SK_ERR_INPUT, "a key of the state is empty");
    }
    if (key.len > STORE_KEY_BYTES_MAX) {
        return sk_err_set(err, SK_ERR_LIMIT, "key '%.40s...' is longer than %d bytes", key.ptr,
                          STORE_KEY_BYTES_MAX);
    }
    if (memchr(key.ptr, '\0', key.len) || !sk_str_utf8_valid(key)) {
        return sk_err_set(err, SK_ERR_INPUT, "key '%.*s' is not UTF-8 text", SK_PRI(key));
    }
    return 0;
}

int store_check_value(struct sk_str key, struct sk_str value, struct sk_err *err)
{
    if (value.len > STORE_VALUE_BYTES_MAX) {
        return sk_err_set(err, SK_ERR_LIMIT, "the value of '%.*s' is larger than %d bytes",
                          SK_PRI(key), STORE_VALUE_BYTES_MAX);
    }
    return 0;
}

static int check_prefix(struct sk_str prefix, struct sk_err *err)
{
    return prefix.len == 0 ? 0 : store_check_key(prefix, err);
}

/* Each key once: what a second operation on it should mean differs between engines. */
static int check_ops(const struct store_txn *txn, struct sk_err *err)
{
    for (size_t i = 0; i < txn->nops; i++) {
        const struct store_op *op = &txn->ops[i];
        int rc = store_check_key(op->key, err);
        if (rc == 0 && op->kind == STORE_PUT) {
            rc = store_check_value(op->key, op->value, err);
        }
        if (rc < 0) {
            return rc;
        }
        for (size_t j = 0; j < i; j++) {
            if (sk_str_eq(txn->ops[j].key, op->key)) {
                return sk_err_set(err, SK_ERR_INPUT, "key '%.*s' twice in one transaction",
                                  SK_PRI(op->key));
            }
        }
    }
    return 0;
}

static int check_txn(const struct store_txn *txn, struct sk_err *err)
{
    if (txn->nops > STORE_TXN_OPS_MAX || txn->ncompares > STORE_TXN_OPS_MAX) {
        return sk_err_set(err, SK_ERR_LIMIT, "more than %d operations in one transaction",
                          STORE_TXN_OPS_MAX);
    }
    for (size_t i = 0; i < txn->ncompares; i++) {
        int rc = store_check_key(txn->compares[i].key, err);
        if (rc < 0) {
            return rc;
        }
    }
    return check_ops(txn, err);
}

void store_close(struct store *store)
{
    if (store) {
        store->form->close(store);
    }
}

int store_revision(struct store *store, struct store_revision *ret, struct sk_err *err)
{
    return store->form->revision(store, ret, err);
}

int store_get(struct store *store, struct sk_str key, struct sk_arena *arena,
              struct store_record *ret, struct sk_err *err)
{
    int rc = store_check_key(key, err);
    return rc < 0 ? rc : store->form->get(store, key, arena, ret, err);
}

int store_list(struct store *store, struct sk_str prefix, size_t limit, struct store_list *ret,
               struct sk_err *err)
{
    int rc = check_prefix(prefix, err);
    return rc < 0 ? rc : store->form->list(store, prefix, limit, ret, err);
}

void store_list_release(struct store_list *list)
{
    sk_arena_free(list->arena);
    *list = (struct store_list){0};
}

int store_txn(struct store *store, const struct store_txn *txn, struct store_revision *ret_rev,
              struct sk_err *err)
{
    int rc = check_txn(txn, err);
    return rc < 0 ? rc : store->form->txn(store, txn, ret_rev, err);
}

int store_watch(struct store *store, struct sk_str prefix, const struct store_revision *after,
                int64_t timeout_ms, struct store_changes *ret, struct sk_err *err)
{
    int rc = check_prefix(prefix, err);
    return rc < 0 ? rc : store->form->watch(store, prefix, after, timeout_ms, ret, err);
}

void store_changes_release(struct store_changes *changes)
{
    sk_arena_free(changes->arena);
    *changes = (struct store_changes){0};
}

int store_compact(struct store *store, int64_t number, struct sk_err *err)
{
    return store->form->compact(store, number, err);
}

int store_snapshot(struct store *store, const char *path, struct sk_err *err)
{
    return store->form->snapshot(store, path, err);
}

int store_restore(struct store *store, const char *path, struct sk_err *err)
{
    return store->form->restore(store, path, err);
}
