/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_CONFORMANCE_STORE_SUITE_H
#define TESTS_CONFORMANCE_STORE_SUITE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/mem.h"
#include "store/store.h"

/*
 * What every form of the store must do, written against store.h alone. A form gives a table of
 * three functions and calls conformance_run() from its main.
 */
struct conformance_form {
    const char *name;
    int (*make)(void **ret_env, struct sk_err *err); /* an empty store */
    /* A further handle on it. Also called in a child process that was forked after make(). */
    int (*open)(void *env, struct store **ret_store, struct sk_err *err);
    void (*destroy)(void *env);
    /* What a killed process had sent may still take place for so long; 0: it cannot. */
    int late_ms;
};

int conformance_run(const struct conformance_form *form);

/* --- for the files of the suite -------------------------------------------------------------- */

/* One test's world: an empty store and one handle. */
struct world {
    const struct conformance_form *form;
    void *env;
    struct store *store;
    struct sk_arena *arena;
};

extern const struct CMUnitTest suite_txn[];
extern const size_t suite_txn_count;
extern const struct CMUnitTest suite_watch[];
extern const size_t suite_watch_count;
extern const struct CMUnitTest suite_many[];
extern const size_t suite_many_count;

#define SUITE_TEST(name) cmocka_unit_test_setup_teardown(name, world_make, world_destroy)
int world_make(void **state);
int world_destroy(void **state);
struct store *world_open(struct world *w);

/* A call that must succeed; `err` is the name of the error object that it was given. */
#define ok(expr)                                                           \
    do {                                                                   \
        struct sk_err err = {0};                                           \
        if ((expr) < 0) {                                                  \
            fail_msg("%s:%d: %s: %s", __FILE__, __LINE__, #expr, err.msg); \
        }                                                                  \
    } while (0)
#define fails(code_, expr)                   \
    do {                                     \
        struct sk_err err = {0};             \
        assert_int_equal((expr), (code_));   \
        assert_int_equal(err.code, (code_)); \
        assert_true(err.msg[0] != '\0');     \
    } while (0)

/* Writes one key; returns the revision after it. */
int64_t put(struct store *store, const char *key, const char *value);
int64_t del(struct store *store, const char *key);
/* A put under a compare of the same key. */
int put_if(struct store *store, const char *key, int64_t mod_rev, const char *value,
           struct sk_err *err);
struct store_revision now(struct store *store);
/* The value, or NULL when there is no such key; lives until the test ends. */
const char *get(struct world *w, struct store *store, const char *key);

#endif
