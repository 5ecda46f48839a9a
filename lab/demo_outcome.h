/* SPDX-License-Identifier: Apache-2.0 */
#ifndef LAB_DEMO_OUTCOME_H
#define LAB_DEMO_OUTCOME_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/json.h"
#include "model/plan.h"

/*
 * What the loss of a site means, said by a plan beforehand or found by looking (private to
 * demo*.c). Both sides have this one form, so that they can be held against each other. Pure.
 */
#define OUTCOME_ROWS_MAX 64

struct outcome_row {
    char service[64];
    char node[64]; /* "" of a kept row */
    unsigned count;
};

struct demo_outcome {
    struct outcome_row kept[OUTCOME_ROWS_MAX]; /* of each service that lost a replica; by service */
    size_t nkept;
    struct outcome_row replaced[OUTCOME_ROWS_MAX]; /* by service, node */
    size_t nreplaced;
    unsigned shorts; /* replicas that found no place */
    bool control_kept;
};

/* Adds to the row of (service, node), keeping the order. False when there is no room. */
bool outcome_add(struct outcome_row *rows, size_t *count, const char *service, const char *node,
                 unsigned n);
/* The plan's row for the loss of that one site. SK_ERR_NOT_FOUND if it has none. */
int outcome_predict(const struct plan *plan, const char *site, struct demo_outcome *ret,
                    struct sk_err *err);
/* How many things differ; each is appended to `lines` as a line of its own. */
size_t outcome_compare(const struct demo_outcome *predicted, const struct demo_outcome *observed,
                       struct sk_buf *lines);
void outcome_json(const struct demo_outcome *o, struct sk_jw *w); /* one object */
/* "web 4, api 3" and "web 2 on ams-1, ..."; "nothing" when empty. */
void outcome_text(const struct outcome_row *rows, size_t count, struct sk_buf *out);

#endif
