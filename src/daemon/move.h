/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SK_DAEMON_MOVE_H
#define SK_DAEMON_MOVE_H

#include "base/err.h"
#include "base/str.h"
#include "control/control.h"
#include "daemon/state.h"

/*
 * The move of the state from one form of the store to the other (docs/control-nodes.md), and
 * changes of etcd's members. All blocks: on a worker.
 *
 * A move ends with one transaction that makes the other form the truth, and then with store.json.
 * It may be cut off anywhere and asked again: what took place is found, what did not is begun
 * anew, and what could still take place of a try before is made impossible first.
 */
struct move {
    const char *dir;  /* DIR/control */
    const char *node; /* this one */
    struct sk_str id; /* of the operation */
    bool to_etcd, give_up;
    struct sk_str record, mark, attempt; /* control.h: CONTROL_CMD_MOVE */
    const struct sk_str *endpoints;
    size_t nendpoints;
};

/* `from` is the store as it is. With CONTROL_MOVE_DONE `ret_form` and `ret_fresh` are the other;
 * with CONTROL_MOVE_FAILED err says why. Outputs are written only with CONTROL_MOVE_DONE. */
enum control_move_result move_run(const struct move *move, struct store *from,
                                  struct state_form *ret_form, struct store **ret_fresh,
                                  struct sk_err *err);
/* Whether the operator's own etcd can be grown to, before anything is begun: each of the endpoints
 * answers and knows a leader, it may be read, and no other cluster's state lives there. `form` is
 * that etcd's. SK_ERR_INPUT names what is wrong. */
int move_try(const char *dir, const struct state_form *form, struct sk_err *err);
/* What SQLite left behind, once it is closed: renamed, never opened again. */
void move_put_aside(const char *dir, struct sk_str id);

/* Adds, promotes or removes the member of that address; 0 where it is so already. */
int move_member(const char *dir, const struct state_form *form, enum control_etcd_kind kind,
                struct sk_str url, struct sk_err *err);

#endif
