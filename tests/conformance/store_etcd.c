/* SPDX-License-Identifier: Apache-2.0 */
/* The conformance suite over the etcd form. usage: conformance_store_etcd MEMBERS */
#include <stdio.h>
#include <stdlib.h>

#include "etcd_members.h"
#include "store_suite.h"

static struct members members;
static int worlds;

struct env {
    char root[32];
    const char *urls[MEMBERS_MAX];
    int opened;
};

/* Each test has a root of its own on the same members. */
static int make(void **ret_env, struct sk_err *err)
{
    struct env *env = sk_xcalloc(1, sizeof(*env));

    (void)snprintf(env->root, sizeof(env->root), "/w%d", worlds++);
    *ret_env = env;
    return 0;
}

/* Each handle prefers another member. */
static int open_handle(void *arg, struct store **ret_store, struct sk_err *err)
{
    struct env *env = arg;
    struct store_etcd options;

    members_options(&members, env->opened++, env->urls, &options);
    options.root = env->root;
    options.deadline_ms = 10000; /* a busy machine is not what is tried here */
    return store_open_etcd(&options, ret_store, err);
}

static void destroy(void *env)
{
    free(env);
}

int main(int argc, char **argv)
{
    static const struct conformance_form form = {"etcd", make, open_handle, destroy, 30};
    int failed;

    if (!members_can_run()) {
        return 77;
    }
    members_start(&members, argc > 1 ? (int)strtol(argv[1], NULL, 10) : 1);
    failed = conformance_run(&form);
    members_stop(&members);
    return failed;
}
