/* SPDX-License-Identifier: Apache-2.0 */
/*
 * By hand, for tests: the state of a control node that stands still goes from SQLite into the etcd
 * that its store.json names, with the record `control` that is given.
 *
 *     control_move CONTROL_DIR RECORD
 */
#include <stdio.h>
#include <unistd.h>

#include "daemon/state.h"

static int move(const char *dir, struct sk_str record, struct sk_err *err)
{
    struct state_form form;
    struct store *from = NULL, *to = NULL;
    struct store_op op = {STORE_PUT, SK_STR("/skerry/v1/control"), record};
    struct store_txn txn = {.expect_number = -1, .ops = &op, .nops = 1};
    struct store_revision rev;
    char path[512];
    int rc = state_form_read(dir, &form, err);

    (void)snprintf(path, sizeof(path), "%s/moved.db", dir);
    rc = rc < 0 ? rc : store_open_sqlite(dir, &from, err);
    rc = rc < 0 ? rc : store_snapshot(from, path, err);
    rc = rc < 0 ? rc : state_form_open(dir, &form, 10000, &to, err);
    rc = rc < 0 ? rc : store_restore(to, path, err);
    rc = rc < 0 ? rc : store_txn(to, &txn, &rev, err);
    store_close(from);
    store_close(to);
    (void)unlink(path);
    return rc;
}

int main(int argc, char **argv)
{
    struct sk_err err = {0};

    if (argc != 3) {
        return 2;
    }
    if (move(argv[1], sk_str(argv[2]), &err) < 0) {
        (void)fprintf(stderr, "%s\n", err.msg);
        return 1;
    }
    return 0;
}
