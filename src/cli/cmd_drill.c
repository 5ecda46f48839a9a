/* SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/units.h"
#include "cli/client.h"
#include "cli/commands.h"
#include "cli/table.h"
#include "sys/clock.h"

/* Starts a drill and watches it: control runs it, so that nothing hangs on this command. */

#define CALL_TIMEOUT_MS 15000
#define POLL_MS 250
#define TALK_MS 2000
#define SILENCE_MS 120000 /* of the API, while a drill goes on without us */
#define BOUND_DEFAULT 1.0

static const struct cli_option options[] = {
    {"for", "TIME", "how long the site is away: 10s to 15m (default 60s)", false},
    {"abort-if", "RULE", "errors>N%: give it back when more fails (default errors>1%); or never",
     false},
    {"hard", NULL, "cut the links of the site's servers in their kernels", false},
    {"detach", NULL, "start it and do not wait for its end", false},
    {"status", NULL, "show the drill that runs", false},
    {"abort", NULL, "give the site back now", false},
    {"list", NULL, "list the last 50 drills", false},
    {"show", "N", "show the report of drill N", false},
};

static volatile sig_atomic_t interrupted;

static void on_interrupt(int number)
{
    (void)number;
    interrupted = 1;
}

static struct sk_str text(const struct sk_node *map, const char *key)
{
    return sk_map_str(map, key, SK_STR(""));
}

static const struct sk_node *child(const struct sk_node *map, const char *key)
{
    const struct sk_node *node = sk_map_get(map, sk_str(key));
    return node && node->kind == SK_MAP ? node : NULL;
}

/* ---- the report, for people ---- */

static void agrees_cell(struct cli_table *table, const struct sk_node *row)
{
    const struct sk_node *agrees = sk_map_get(row, SK_STR("agrees"));

    if (!agrees || agrees->kind != SK_BOOL) {
        cli_table_cell(table, SK_STR("-"));
    } else if (sk_str_is(agrees->u.text, "true")) {
        cli_table_cell(table, SK_STR("yes"));
    } else {
        cli_table_cell(table, SK_STR("NO"));
        cli_table_bad(table);
    }
}

static void number_cell(struct cli_table *table, const struct sk_node *row, const char *key,
                        const char *unit)
{
    int64_t n = sk_map_int(row, key, -1);

    if (n < 0) {
        cli_table_cell(table, SK_STR("-"));
    } else {
        cli_table_cellf(table, "%" PRId64 "%s", n, unit);
    }
}

static void count_rows(struct cli_table *table, const struct sk_node *list, const char *what)
{
    for (uint32_t i = 0; list && i < list->count; i++) {
        const struct sk_node *row = &list->u.items[i];
        cli_table_row(table);
        cli_table_cellf(table, "%s %.*s/%.*s", what, SK_PRI(text(row, "project")),
                        SK_PRI(text(row, "service")));
        number_cell(table, row, "predicted", "");
        number_cell(table, row, "observed", "");
        agrees_cell(table, row);
    }
}

static void place_cell(struct cli_table *table, const struct sk_node *place)
{
    if (!place) {
        cli_table_cell(table, SK_STR("-"));
        return;
    }
    cli_table_cellf(table, "%.*s after %" PRId64 " ms", SK_PRI(text(place, "node")),
                    sk_map_int(place, "ms", 0));
}

static void replaced_rows(struct cli_table *table, const struct sk_node *list)
{
    for (uint32_t i = 0; list && i < list->count; i++) {
        const struct sk_node *row = &list->u.items[i];
        cli_table_row(table);
        cli_table_cellf(table, "replaced %.*s/%.*s #%" PRId64, SK_PRI(text(row, "project")),
                        SK_PRI(text(row, "service")), sk_map_int(row, "replica", 0));
        place_cell(table, child(row, "predicted"));
        place_cell(table, child(row, "observed"));
        agrees_cell(table, row);
    }
}

static void time_row(struct cli_table *table, const struct sk_node *report, const char *key,
                     const char *what)
{
    const struct sk_node *row = child(report, key);

    if (row && sk_map_int(row, "predicted_ms", -1) >= 0) {
        cli_table_row(table);
        cli_table_cellf(table, "%s", what);
        number_cell(table, row, "predicted_ms", " ms");
        number_cell(table, row, "observed_ms", " ms");
        agrees_cell(table, row);
    }
}

static void errors_row(struct cli_table *table, const struct sk_node *report)
{
    const struct sk_node *row = child(report, "errors");

    if (row) {
        cli_table_row(table);
        cli_table_cell(table, SK_STR("failed requests"));
        cli_table_cellf(table, "at most %g %%", sk_map_num(row, "bound_percent", BOUND_DEFAULT));
        cli_table_cellf(table, "%" PRId64 " of %" PRId64, sk_map_int(row, "errors", 0),
                        sk_map_int(row, "requests", 0));
        agrees_cell(table, row);
    }
}

static void draw_latency(const struct sk_node *list, struct sk_buf *out)
{
    for (uint32_t i = 0; list && i < list->count; i++) {
        const struct sk_node *row = &list->u.items[i];
        sk_buf_printf(out,
                      "latency of %.*s/%.*s by the plan: %g ms, without the site %g ms at once, "
                      "%g ms after\n",
                      SK_PRI(text(row, "project")), SK_PRI(text(row, "service")),
                      sk_map_num(row, "before_ms", 0), sk_map_num(row, "at_once_ms", 0),
                      sk_map_num(row, "after_ms", 0));
    }
}

static void draw_report(const struct cli *cli, const struct sk_node *report, struct sk_buf *out)
{
    struct cli_table *table = cli_table_new(cli);
    struct sk_str result = text(report, "result");

    sk_buf_printf(out, "drill %" PRId64 " of site %.*s (%.*s), by %.*s\n\n",
                  sk_map_int(report, "number", 0), SK_PRI(text(report, "site")),
                  SK_PRI(text(report, "mode")), SK_PRI(text(report, "who")));
    cli_table_col(table, "WHAT", 0);
    cli_table_col(table, "PREDICTED", 0);
    cli_table_col(table, "OBSERVED", 0);
    cli_table_col(table, "AGREES", 0);
    count_rows(table, sk_map_seq(report, "kept"), "kept");
    replaced_rows(table, sk_map_seq(report, "replaced"));
    count_rows(table, sk_map_seq(report, "short"), "short");
    time_row(table, report, "traffic_off", "traffic off");
    time_row(table, report, "verdict", "judged lost");
    time_row(table, report, "all_replaced", "all replaced");
    errors_row(table, report);
    cli_table_add_to(table, out);
    cli_table_free(table);
    draw_latency(sk_map_seq(report, "latency"), out);
    if (sk_map_int(report, "restarts", 0) > 0) {
        sk_buf_printf(out,
                      "control started anew %" PRId64 " times meanwhile: times are upper bounds\n",
                      sk_map_int(report, "restarts", 0));
    }
    if (text(report, "aborted").len) {
        sk_buf_printf(out, "ABORTED: %.*s\n", SK_PRI(text(report, "aborted")));
    }
    if (result.len) {
        sk_buf_printf(out, "afterwards: %.*s\n", SK_PRI(text(report, "returned")));
        sk_buf_printf(out, "%s\n",
                      sk_str_is(result, "survived")  ? "survived as predicted"
                      : sk_str_is(result, "aborted") ? "aborted; the site was given back"
                                                     : "NOT as predicted");
    } else {
        sk_buf_printf(out, "phase: %.*s\n", SK_PRI(text(report, "phase")));
    }
}

static int show_report(struct cli *cli, const struct sk_node *report, const struct sk_buf *json)
{
    struct sk_buf out = SK_BUF_INIT;
    struct sk_str result = text(report, "result");

    if (!cli->json) {
        draw_report(cli, report, &out);
    }
    cli_write(cli->json ? sk_buf_str(json) : sk_buf_str(&out));
    sk_buf_release(&out);
    cli->exit_status = result.len && !sk_str_is(result, "survived") ? 1 : 0;
    return 0;
}

static int show_path(struct cli *cli, struct api_client *client, const char *path,
                     struct sk_err *err)
{
    struct sk_arena *arena = sk_arena_new();
    struct sk_buf json = SK_BUF_INIT;
    const struct sk_node *report = NULL;
    int r = api_call(client, "GET", path, SK_STR_NULL, CALL_TIMEOUT_MS, arena, &report, &json, err);

    r = r < 0 ? r : show_report(cli, report, &json);
    sk_buf_release(&json);
    sk_arena_free(arena);
    return r;
}

/* ---- watching ---- */

struct watch {
    struct cli *cli;
    struct api_client *client;
    int64_t number;
    char phase[32];
    int64_t talked_ms, heard_ms;
};

static void talk(struct watch *w, const struct sk_node *d)
{
    struct sk_str phase = text(d, "phase");
    const struct sk_node *errors = child(d, "errors");
    int64_t now = sys_now_ms();

    if (sk_str_is(phase, w->phase) && now - w->talked_ms < TALK_MS) {
        return;
    }
    w->talked_ms = now;
    (void)snprintf(w->phase, sizeof(w->phase), "%.*s", SK_PRI(phase));
    (void)fprintf(
        stderr, "drill %" PRId64 " of %.*s: %s%s%.*s; %" PRId64 " of %" PRId64 " requests failed\n",
        w->number, SK_PRI(text(d, "site")), w->phase, text(d, "aborted").len ? ", aborted: " : "",
        SK_PRI(text(d, "aborted")), errors ? sk_map_int(errors, "errors", 0) : 0,
        errors ? sk_map_int(errors, "requests", 0) : 0);
}

/* 1: it is over. 0: look again. Else an error: nobody answers any more. */
static int look(struct watch *w, struct sk_err *err)
{
    struct sk_arena *arena = sk_arena_new();
    const struct sk_node *d = NULL;
    struct sk_err why = {0};
    char path[64];
    int r;

    (void)snprintf(path, sizeof(path), "/v1/drills/%" PRId64, w->number);
    r = api_call(w->client, "GET", path, SK_STR_NULL, CALL_TIMEOUT_MS, arena, &d, NULL, &why);
    if (r == 0) {
        w->heard_ms = sys_now_ms();
        talk(w, d);
        r = text(d, "result").len ? 1 : 0;
    } else if (why.code == SK_ERR_NOT_FOUND || sys_now_ms() - w->heard_ms > SILENCE_MS) {
        *err = why;
    } else {
        if (sys_now_ms() - w->talked_ms >= TALK_MS) {
            w->talked_ms = sys_now_ms();
            (void)fprintf(stderr,
                          "drill %" PRId64 ": control does not answer; the drill goes on "
                          "without it, and the site comes back\n",
                          w->number);
        }
        r = 0;
    }
    sk_arena_free(arena);
    return r;
}

static int watch(struct cli *cli, struct api_client *client, int64_t number, struct sk_err *err)
{
    struct watch w = {cli, client, number, "", 0, sys_now_ms()};
    struct sigaction action = {.sa_handler = on_interrupt};
    char path[64];
    int r = 0;

    (void)sigaction(SIGINT, &action, NULL);
    (void)sigaction(SIGTERM, &action, NULL);
    while (r == 0 && !interrupted) {
        r = look(&w, err);
        if (r == 0) {
            (void)usleep(POLL_MS * 1000);
        }
    }
    if (interrupted) {
        (void)fprintf(stderr,
                      "left; drill %" PRId64 " goes on and gives the site back by itself: skerry "
                      "drill --status, skerry drill --abort\n",
                      number);
        cli->exit_status = 1;
        return 0;
    }
    (void)snprintf(path, sizeof(path), "/v1/drills/%" PRId64, number);
    return r < 0 ? r : show_path(cli, client, path, err);
}

/* ---- starting ---- */

static int read_rule(const char *rule, double *ret, struct sk_err *err)
{
    struct sk_str s = sk_str_trim(sk_str(rule));
    double n;

    if (sk_str_is(s, "never")) {
        *ret = -1;
        return 0;
    }
    if (sk_str_starts(s, SK_STR("errors>")) && s.len > 8 && s.ptr[s.len - 1] == '%') {
        struct sk_str number = sk_str_trim((struct sk_str){s.ptr + 7, s.len - 8});
        if (sk_parse_num(number, &n, NULL) == 0 && n >= 0 && n <= 100) {
            *ret = n;
            return 0;
        }
    }
    (void)sk_err_set(err, SK_ERR_USAGE, "--abort-if: '%s' is no rule", rule);
    return sk_err_fix(err, "--abort-if 'errors>1%%', or --abort-if never");
}

static int start_body(const struct cli *cli, struct sk_buf *body, struct sk_err *err)
{
    const char *time = cli_value(cli, "for");
    const char *rule = cli_value(cli, "abort-if");
    double bound = BOUND_DEFAULT;
    int64_t ms = 0;
    struct sk_jw w;

    if (time && sk_parse_duration(sk_str(time), &ms, err) < 0) {
        err->code = SK_ERR_USAGE;
        return sk_err_wrap(err, "--for");
    }
    if (rule && read_rule(rule, &bound, err) < 0) {
        return err->code;
    }
    sk_jw_init(&w, body);
    sk_jw_obj(&w);
    sk_jw_kcstr(&w, "site", cli->args[0]);
    if (time) {
        sk_jw_kint(&w, "for_ms", ms);
    }
    sk_jw_knum(&w, "abort_errors_percent", bound);
    sk_jw_kbool(&w, "hard", cli_flag(cli, "hard"));
    sk_jw_obj_end(&w);
    return 0;
}

static int start(struct cli *cli, struct api_client *client, struct sk_err *err)
{
    struct sk_arena *arena = sk_arena_new();
    struct sk_buf body = SK_BUF_INIT, json = SK_BUF_INIT;
    const struct sk_node *d = NULL;
    int64_t number = 0;
    int r = start_body(cli, &body, err);

    r = r < 0 ? r
              : api_call(client, "POST", "/v1/drills", sk_buf_str(&body), CALL_TIMEOUT_MS, arena,
                         &d, &json, err);
    if (r == 0) {
        number = sk_map_int(d, "number", 0);
    }
    if (r == 0 && cli_flag(cli, "detach")) {
        (void)show_report(cli, d, &json);
    } else if (r == 0) {
        r = watch(cli, client, number, err);
    }
    sk_buf_release(&body);
    sk_buf_release(&json);
    sk_arena_free(arena);
    return r;
}

/* ---- the rest ---- */

static int abort_it(struct cli *cli, struct api_client *client, struct sk_err *err)
{
    struct sk_arena *arena = sk_arena_new();
    struct sk_buf json = SK_BUF_INIT;
    const struct sk_node *d = NULL;
    int r = api_call(client, "DELETE", "/v1/drills/current", SK_STR_NULL, CALL_TIMEOUT_MS, arena,
                     &d, &json, err);

    if (r == 0 && !cli->json) {
        bool hard = sk_str_is(text(d, "mode"), "hard");
        sk_buf_clear(&json);
        sk_buf_printf(&json, "drill %" PRId64 " is ended: %s\n", sk_map_int(d, "number", 0),
                      hard ? "what is cut comes back when its time is over"
                           : "the site is given back");
    }
    if (r == 0) {
        cli_write(sk_buf_str(&json));
    }
    sk_buf_release(&json);
    sk_arena_free(arena);
    return r;
}

static void draw_list(const struct cli *cli, const struct sk_node *list, struct sk_buf *out)
{
    struct cli_table *table = cli_table_new(cli);

    cli_table_col(table, "DRILL", CLI_COL_RIGHT);
    cli_table_col(table, "SITE", 0);
    cli_table_col(table, "MODE", 0);
    cli_table_col(table, "TOOK", CLI_COL_RIGHT);
    cli_table_col(table, "BY", 0);
    cli_table_col(table, "RESULT", 0);
    cli_table_col(table, "WHY", CLI_COL_WRAP);
    for (uint32_t i = 0; list && i < list->count; i++) {
        const struct sk_node *d = &list->u.items[i];
        int64_t took = sk_map_int(d, "ended_ms", 0) - sk_map_int(d, "started_ms", 0);
        cli_table_row(table);
        cli_table_cellf(table, "%" PRId64, sk_map_int(d, "number", 0));
        cli_table_cell(table, text(d, "site"));
        cli_table_cell(table, text(d, "mode"));
        cli_table_cellf(table, "%" PRId64 " s", took / 1000);
        cli_table_cell(table, text(d, "who"));
        cli_table_cell(table, text(d, "result"));
        if (!sk_str_is(text(d, "result"), "survived")) {
            cli_table_bad(table);
        }
        cli_table_cell(table, text(d, "aborted"));
    }
    cli_table_add_to(table, out);
    cli_table_free(table);
}

static int list_all(struct cli *cli, struct api_client *client, struct sk_err *err)
{
    struct sk_arena *arena = sk_arena_new();
    struct sk_buf out = SK_BUF_INIT;
    const struct sk_node *answer = NULL;
    int r = api_call(client, "GET", "/v1/drills", SK_STR_NULL, CALL_TIMEOUT_MS, arena, &answer,
                     cli->json ? &out : NULL, err);

    if (r == 0) {
        if (!cli->json) {
            draw_list(cli, sk_map_seq(answer, "drills"), &out);
        }
        cli_write(sk_buf_str(&out));
    }
    sk_buf_release(&out);
    sk_arena_free(arena);
    return r;
}

static int run(struct cli *cli, struct sk_err *err)
{
    const char *show = cli_value(cli, "show");
    int asks = cli_flag(cli, "status") + cli_flag(cli, "abort") + cli_flag(cli, "list") +
               (show != NULL) + (cli->nargs > 0);
    struct api_client *client = NULL;
    char path[64];
    int64_t number = 0;
    int r;

    if (asks != 1) {
        (void)sk_err_set(err, SK_ERR_USAGE,
                         "drill: give one of SITE, --status, --abort, --list, "
                         "--show N");
        return sk_err_fix(err, "skerry drill SITE");
    }
    if (show && sk_parse_int(sk_str(show), 1, INT64_MAX, &number, err) < 0) {
        err->code = SK_ERR_USAGE;
        return sk_err_wrap(err, "--show");
    }
    r = api_client_new(cli, &client, err);
    if (r < 0) {
        return r;
    }
    (void)snprintf(path, sizeof(path), "/v1/drills/%" PRId64, number);
    r = cli->nargs > 0            ? start(cli, client, err)
        : cli_flag(cli, "abort")  ? abort_it(cli, client, err)
        : cli_flag(cli, "list")   ? list_all(cli, client, err)
        : cli_flag(cli, "status") ? show_path(cli, client, "/v1/drills/current", err)
                                  : show_path(cli, client, path, err);
    api_client_free(client);
    return r;
}

const struct cli_command cmd_drill = {
    .name = "drill",
    .group = "Plan",
    .args = "[SITE]",
    .summary = "take a site away for real, measure, give it back, compare with the plan",
    .text =
        "Takes the site's traffic away, then its work, for the time of --for, and gives it back. "
        "What was observed stands\n"
        "beside what the plan in force predicted; status 0 when it was survived as predicted, 1 "
        "when it was aborted or differs.\n"
        "Refused with status 3 when it would not be survived, or when something is lost, changing "
        "or starting already.\n"
        "With --hard the servers of the site drop everything to and from other sites instead "
        "(nftables, root): control then\n"
        "learns of it by its verdicts only, and the site comes back when the time is over, not "
        "before.\n"
        "The drill runs in control: it goes on, and ends, without this command.",
    .examples = "  skerry drill fra\n  skerry drill fra --for 30s --abort-if 'errors>0.5%'\n"
                "  skerry drill fra --hard\n  skerry drill --abort\n",
    .options = options,
    .noptions = SK_ARRAY_LEN(options),
    .max_args = 1,
    .speaks_api = true,
    .run = run,
};
