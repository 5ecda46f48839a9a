/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SK_STORE_FORM_H
#define SK_STORE_FORM_H

#include "store/store.h"

/*
 * What a form of the store implements. store.c checks bounds and arguments before it calls one of
 * these, so a form sees only keys, values and lists of operations that store.h allows, and each key
 * once in a txn. A form embeds `struct store` as its first field.
 */
struct store_form {
    void (*close)(struct store *store);
    int (*revision)(struct store *store, struct store_revision *ret, struct sk_err *err);
    int (*get)(struct store *store, struct sk_str key, struct sk_arena *arena,
               struct store_record *ret, struct sk_err *err);
    int (*list)(struct store *store, struct sk_str prefix, size_t limit, struct store_list *ret,
                struct sk_err *err);
    int (*txn)(struct store *store, const struct store_txn *txn, struct store_revision *ret_rev,
               struct sk_err *err);
    int (*watch)(struct store *store, struct sk_str prefix, const struct store_revision *after,
                 int64_t timeout_ms, struct store_changes *ret, struct sk_err *err);
    int (*compact)(struct store *store, int64_t number, struct sk_err *err);
    int (*snapshot)(struct store *store, const char *path, struct sk_err *err);
    int (*restore)(struct store *store, const char *path, struct sk_err *err);
};

struct store {
    const struct store_form *form;
};

/* A key that may be stored: 1 to STORE_KEY_BYTES_MAX bytes of UTF-8 without NUL. */
int store_check_key(struct sk_str key, struct sk_err *err);
int store_check_value(struct sk_str key, struct sk_str value, struct sk_err *err);

#endif
