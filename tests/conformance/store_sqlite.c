/* SPDX-License-Identifier: Apache-2.0 */
/* The conformance suite over the SQLite form. */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "store_suite.h"

static int make(void **ret_env, struct sk_err *err)
{
    char *folder = sk_xstrdup("/tmp/skerry-test-XXXXXX");

    if (!mkdtemp(folder)) {
        free(folder);
        return sk_err_set(err, SK_ERR_IO, "no folder for the test");
    }
    *ret_env = folder;
    return 0;
}

static int open_handle(void *env, struct store **ret_store, struct sk_err *err)
{
    return store_open_sqlite(env, ret_store, err);
}

static void destroy(void *env)
{
    static const char *const names[] = {"state.db", "state.db-wal", "state.db-shm",
                                        "state.db-lock"};
    char path[128];

    for (size_t i = 0; i < SK_ARRAY_LEN(names); i++) {
        (void)snprintf(path, sizeof(path), "%s/%s", (const char *)env, names[i]);
        (void)unlink(path);
    }
    assert_int_equal(rmdir(env), 0);
    free(env);
}

int main(void)
{
    static const struct conformance_form form = {"sqlite", make, open_handle, destroy, 0};
    return conformance_run(&form);
}
