/* SPDX-License-Identifier: Apache-2.0 */
#include "net/ingress_count.h"

#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "base/units.h"
#include "net/ingress_cli.h"

struct ingress_counter {
    uv_loop_t *loop;
    char path[128];
    struct ingress_cli *cli; /* NULL: none under way */
    int pid;                 /* of the worker that counted `last`; 0: none yet */
    struct ingress_counts last, total;
};

/* ---- reading ---- */

enum column {
    COL_PROXY,
    COL_NAME,
    COL_SESSIONS,
    COL_5XX,
    COL_REQUESTS,
    COL_FAILED,
    COL_MODE,
    COLS
};

static const char *const column_names[COLS] = {"pxname",  "svname", "stot", "hrsp_5xx",
                                               "req_tot", "econ",   "mode"};

struct columns {
    int at[COLS]; /* -1: not there */
};

static bool columns_read(struct sk_str line, struct columns *ret)
{
    int at = 0;

    for (int i = 0; i < COLS; i++) {
        ret->at[i] = -1;
    }
    line.ptr += 2; /* "# " */
    line.len -= 2;
    while (line.len > 0) {
        struct sk_str name;
        (void)sk_str_cut(line, ',', &name, &line);
        for (int i = 0; i < COLS; i++) {
            ret->at[i] = sk_str_is(name, column_names[i]) ? at : ret->at[i];
        }
        at++;
    }
    for (int i = 0; i < COLS; i++) {
        if (ret->at[i] < 0) {
            return false;
        }
    }
    return true;
}

static uint64_t number(struct sk_str text)
{
    int64_t n;
    return sk_parse_int(text, 0, INT64_MAX / 2, &n, NULL) == 0 ? (uint64_t)n : 0;
}

static void row_add(struct sk_str line, const struct columns *columns, struct ingress_counts *to)
{
    struct sk_str cells[COLS] = {{0}};

    for (int at = 0; line.len > 0; at++) {
        struct sk_str cell;
        (void)sk_str_cut(line, ',', &cell, &line);
        for (int i = 0; i < COLS; i++) {
            cells[i] = columns->at[i] == at ? cell : cells[i];
        }
    }
    bool front = sk_str_is(cells[COL_NAME], "FRONTEND");
    bool tcp = sk_str_is(cells[COL_MODE], "tcp");
    if (front && sk_str_is(cells[COL_PROXY], "fe.http")) {
        to->requests += number(cells[COL_REQUESTS]);
        to->errors += number(cells[COL_5XX]);
    } else if (front && sk_str_starts(cells[COL_PROXY], SK_STR("fe.p"))) {
        to->requests += number(cells[COL_SESSIONS]);
    } else if (sk_str_is(cells[COL_NAME], "BACKEND") && tcp &&
               sk_str_starts(cells[COL_PROXY], SK_STR("be."))) {
        to->errors += number(cells[COL_FAILED]);
    }
}

int ingress_counts_read(struct sk_str answer, int *ret_pid, struct ingress_counts *ret,
                        struct sk_err *err)
{
    struct ingress_counts counts = {0};
    struct columns columns;
    bool rows = false;
    int64_t pid = 0;

    while (answer.len > 0) {
        struct sk_str line;
        (void)sk_str_cut(answer, '\n', &line, &answer);
        if (rows) {
            row_add(line, &columns, &counts);
        } else if (sk_str_starts(line, SK_STR("Pid: "))) {
            struct sk_str text = {line.ptr + 5, line.len - 5};
            (void)sk_parse_int(sk_str_trim(text), 1, INT32_MAX, &pid, NULL);
        } else if (sk_str_starts(line, SK_STR("# pxname,"))) {
            rows = columns_read(line, &columns);
        }
    }
    if (!rows || pid == 0) {
        return sk_err_set(err, SK_ERR_ENGINE, "haproxy's counters are not as expected");
    }
    *ret_pid = (int)pid;
    *ret = counts;
    return 0;
}

/* ---- asking ---- */

static uint64_t grown(uint64_t last, uint64_t now)
{
    return now >= last ? now - last : 0;
}

static void on_answer(void *ctx, struct sk_str answer, const struct sk_err *err)
{
    struct ingress_counter *counter = ctx;
    struct ingress_counts now;
    int pid;

    counter->cli = NULL;
    if (err->code != 0 || ingress_counts_read(answer, &pid, &now, NULL) < 0) {
        return; /* it is starting, or ending: the next reading tells */
    }
    if (pid != counter->pid) {
        counter->last = (struct ingress_counts){0};
        counter->pid = pid;
    }
    counter->total.requests += grown(counter->last.requests, now.requests);
    counter->total.errors += grown(counter->last.errors, now.errors);
    counter->last = now;
}

struct ingress_counter *ingress_counter_new(uv_loop_t *loop, const char *dir)
{
    struct ingress_counter *counter = sk_xcalloc(1, sizeof(*counter));

    counter->loop = loop;
    (void)snprintf(counter->path, sizeof(counter->path), "%.80s/admin.sock", dir);
    return counter;
}

void ingress_counter_ask(struct ingress_counter *counter)
{
    if (counter->cli == NULL) {
        counter->cli = ingress_cli_ask(counter->loop, counter->path,
                                       SK_STR("show info; show stat -1 3 -1"), on_answer, counter);
    }
}

struct ingress_counts ingress_counter_total(const struct ingress_counter *counter)
{
    return counter->total;
}

void ingress_counter_free(struct ingress_counter *counter)
{
    if (counter != NULL) {
        ingress_cli_cancel(counter->cli);
        free(counter);
    }
}
