/* SPDX-License-Identifier: Apache-2.0 */
/* The suite's world and its runner. */
#include "store_suite.h"

#include <stdio.h>

static const struct conformance_form *the_form;

int world_make(void **state)
{
    struct world *w = sk_xcalloc(1, sizeof(*w));

    w->form = the_form;
    w->arena = sk_arena_new();
    ok(w->form->make(&w->env, &err));
    w->store = world_open(w);
    *state = w;
    return 0;
}

int world_destroy(void **state)
{
    struct world *w = *state;

    store_close(w->store);
    w->form->destroy(w->env);
    sk_arena_free(w->arena);
    free(w);
    return 0;
}

struct store *world_open(struct world *w)
{
    struct store *store = NULL;
    ok(w->form->open(w->env, &store, &err));
    return store;
}

int64_t put(struct store *store, const char *key, const char *value)
{
    struct store_op op = {STORE_PUT, sk_str(key), sk_str(value)};
    struct store_txn txn = {.expect_number = -1, .ops = &op, .nops = 1};
    struct store_revision rev = {0};
    ok(store_txn(store, &txn, &rev, &err));
    return rev.number;
}

int64_t del(struct store *store, const char *key)
{
    struct store_op op = {STORE_DELETE, sk_str(key), SK_STR_NULL};
    struct store_txn txn = {.expect_number = -1, .ops = &op, .nops = 1};
    struct store_revision rev = {0};
    ok(store_txn(store, &txn, &rev, &err));
    return rev.number;
}

int put_if(struct store *store, const char *key, int64_t mod_rev, const char *value,
           struct sk_err *err)
{
    struct store_compare compare = {sk_str(key), mod_rev};
    struct store_op op = {STORE_PUT, sk_str(key), sk_str(value)};
    struct store_txn txn = {
        .expect_number = -1, .compares = &compare, .ncompares = 1, .ops = &op, .nops = 1};
    return store_txn(store, &txn, NULL, err);
}

struct store_revision now(struct store *store)
{
    struct store_revision rev = {0};
    ok(store_revision(store, &rev, &err));
    return rev;
}

const char *get(struct world *w, struct store *store, const char *key)
{
    struct store_record record;
    struct sk_err err = {0};
    int rc = store_get(store, sk_str(key), w->arena, &record, &err);

    if (rc == SK_ERR_NOT_FOUND) {
        return NULL;
    }
    if (rc < 0) {
        fail_msg("get '%s': %s", key, err.msg);
    }
    return record.value.ptr;
}

int conformance_run(const struct conformance_form *form)
{
    int failed;

    the_form = form;
    print_message("# the store as %s\n", form->name);
    failed = _cmocka_run_group_tests("txn", suite_txn, suite_txn_count, NULL, NULL);
    failed += _cmocka_run_group_tests("watch", suite_watch, suite_watch_count, NULL, NULL);
    failed += _cmocka_run_group_tests("many", suite_many, suite_many_count, NULL, NULL);
    return failed;
}
