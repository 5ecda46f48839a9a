/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "model/project.h"

/* Checks that need the inventory, or several projects at once. */

struct owned {
    struct sk_str name;
    const struct project *project;
    struct sk_pos pos;
};

static int compare_owned(const void *a, const void *b)
{
    const struct owned *x = a;
    const struct owned *y = b;
    int order = sk_str_cmp(x->name, y->name);

    return order ? order : sk_str_cmp(x->project->name, y->project->name);
}

static int fail(struct sk_err *err, struct sk_pos pos, const char *text)
{
    if (pos.line) {
        return sk_err_set(err, SK_ERR_INPUT, "%s:%u:%u: %s", pos.file ? pos.file : "?", pos.line,
                          pos.col, text);
    }
    return sk_err_set(err, SK_ERR_INPUT, "%s", text);
}

static int check_unique(struct owned *rows, size_t count, const char *what, struct sk_err *err)
{
    char text[SK_ERR_MSG_MAX];

    if (count > 1) {
        qsort(rows, count, sizeof(*rows), compare_owned);
    }
    for (size_t i = 1; i < count; i++) {
        if (sk_str_eq(rows[i - 1].name, rows[i].name)) {
            (void)snprintf(text, sizeof(text), "the %s '%.*s' is there twice, also in %s", what,
                           SK_PRI(rows[i].name),
                           rows[i - 1].pos.file ? rows[i - 1].pos.file : "another file");
            (void)fail(err, rows[i].pos, text);
            (void)sk_err_fix(err, "rename one of them");
            return SK_ERR_INPUT;
        }
    }
    return 0;
}

static int check_names(const struct project *const *projects, size_t nprojects, struct sk_err *err)
{
    size_t nbuckets = 0;
    size_t n = 0;
    struct owned *rows;
    int code;

    for (size_t i = 0; i < nprojects; i++) {
        nbuckets += projects[i]->nbuckets;
    }
    rows = sk_xcalloc(nprojects + nbuckets + 1, sizeof(*rows));
    for (size_t i = 0; i < nprojects; i++) {
        rows[i] = (struct owned){projects[i]->name, projects[i], projects[i]->pos};
    }
    code = check_unique(rows, nprojects, "project", err);
    for (size_t i = 0; i < nprojects; i++) {
        for (size_t k = 0; k < projects[i]->nbuckets; k++) {
            const struct bucket *bucket = &projects[i]->buckets[k];
            rows[n++] = (struct owned){bucket->name, projects[i], bucket->pos};
        }
    }
    code = code == 0 ? check_unique(rows, n, "bucket", err) : code;
    free(rows);
    return code;
}

static int check_users(const struct inventory *inv, const struct users *users, struct sk_err *err)
{
    char text[SK_ERR_MSG_MAX];

    for (size_t i = 0; i < users->nrtt; i++) {
        if (inventory_site(inv, users->rtt[i].site) < 0) {
            (void)snprintf(text, sizeof(text),
                           "'x-skerry.users.%.*s.rtt_ms' names the site '%.*s', which is not in "
                           "the inventory",
                           SK_PRI(users->name), SK_PRI(users->rtt[i].site));
            (void)fail(err, users->pos, text);
            (void)sk_err_fix(err, "add the site, or remove it from rtt_ms");
            return SK_ERR_INPUT;
        }
    }
    return 0;
}

int world_check(const struct inventory *inv, const struct project *const *projects,
                size_t nprojects, struct sk_err *err)
{
    int code = check_names(projects, nprojects, err);

    for (size_t i = 0; i < nprojects && code == 0; i++) {
        for (size_t k = 0; k < projects[i]->nusers && code == 0; k++) {
            code = check_users(inv, &projects[i]->users[k], err);
        }
    }
    return code;
}
