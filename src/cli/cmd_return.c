/* SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <stdio.h>
#include <time.h>

#include "base/mem.h"
#include "base/units.h"
#include "cli/client.h"
#include "cli/commands.h"
#include "cli/return_text.h"
#include "cli/table.h"

#define RETURN_TIMEOUT_MS 30000
#define MOVES_MAX 1000000

static const struct cli_option options[] = {
    {"hold", NULL, "keep everything where it runs until --go", false},
    {"go", NULL, "make the moves now, and end the hold", false},
    {"max-moves", "N", "with --go: make at most N of them; the rest is held", false},
    {"auto", "on|off", "whether a return begins by itself (default on)", false},
    {"delay", "TIME", "how long everything is whole again before it begins (default 10s)", false},
};

static struct sk_str text(const struct sk_node *map, const char *key)
{
    return sk_map_str(map, key, SK_STR(""));
}

static void when(int64_t wall_ms, struct sk_buf *out)
{
    time_t seconds = (time_t)(wall_ms / 1000);
    struct tm tm;
    char form[32] = "?";

    if (gmtime_r(&seconds, &tm) != NULL) {
        (void)strftime(form, sizeof(form), "%Y-%m-%d %H:%M:%SZ", &tm);
    }
    sk_buf_adds(out, form);
}

void return_line(const struct sk_node *ret, struct sk_buf *out)
{
    struct sk_str state = ret && ret->kind == SK_MAP ? text(ret, "state") : SK_STR("");
    struct sk_str moves = ret && ret->kind == SK_MAP ? text(ret, "text") : SK_STR("");

    if (sk_str_is(state, "waiting")) {
        sk_buf_printf(out, "RETURN: %.*s; begins in %" PRId64 " s (skerry return --hold)\n",
                      SK_PRI(moves), (sk_map_int(ret, "begins_in_ms", 0) + 999) / 1000);
    } else if (sk_str_is(state, "held")) {
        struct sk_str by = text(ret, "held_by");
        sk_buf_printf(out, "RETURN HELD: %.*s; %.*s%s%.*s%s (skerry return --go)\n", SK_PRI(moves),
                      SK_PRI(text(ret, "held_why")), by.len ? " (" : "", SK_PRI(by),
                      by.len ? ")" : "");
    } else if (sk_str_is(state, "under_way")) {
        int64_t total = sk_map_int(ret, "total", 0);
        int64_t moving = sk_map_int(ret, "moving", 0);
        int64_t left = sk_map_int(ret, "left", 0);
        sk_buf_printf(out,
                      "RETURN: %.*s: %" PRId64 " done, %" PRId64 " moving, %" PRId64 " to go\n",
                      SK_PRI(moves), total - moving - left, moving, left);
    } else if (sk_str_is(state, "planning")) {
        sk_buf_adds(out, "RETURN: what was lost is back; what moves back is being planned\n");
    } else if (sk_str_is(state, "unmet")) {
        sk_buf_adds(out, "RETURN: no plan meets the policies from here (skerry rebalance)\n");
    }
}

static void draw_moves(const struct cli *cli, const struct sk_node *moves, struct sk_buf *out)
{
    struct cli_table *table = cli_table_new(cli);

    cli_table_col(table, "REPLICA", 0);
    cli_table_col(table, "FROM", 0);
    cli_table_col(table, "TO", 0);
    cli_table_col(table, "STATE", 0);
    cli_table_col(table, "WHY", CLI_COL_WRAP);
    for (uint32_t i = 0; moves && i < moves->count; i++) {
        const struct sk_node *m = &moves->u.items[i];
        struct sk_str from = text(m, "from");
        cli_table_row(table);
        cli_table_cellf(table, "%.*s/%.*s.%" PRId64, SK_PRI(text(m, "project")),
                        SK_PRI(text(m, "service")), sk_map_int(m, "replica", 0));
        if (from.len > 0) {
            cli_table_cellf(table, "%.*s (%.*s)", SK_PRI(from), SK_PRI(text(m, "from_site")));
        } else {
            cli_table_cell(table, SK_STR("(none)"));
        }
        cli_table_cellf(table, "%.*s (%.*s)", SK_PRI(text(m, "to")), SK_PRI(text(m, "to_site")));
        cli_table_cell(table, text(m, "state"));
        cli_table_cell(table, text(m, "why"));
    }
    if (moves && moves->count) {
        sk_buf_addc(out, '\n');
        cli_table_add_to(table, out);
        sk_buf_addc(out, '\n');
    }
    cli_table_free(table);
}

static void draw(const struct cli *cli, const struct sk_node *a, struct sk_buf *out)
{
    struct sk_str state = text(a, "state");
    struct sk_str held_by = text(a, "held_by");

    return_line(a, out);
    draw_moves(cli, sk_map_seq(a, "moves"), out);
    if (sk_str_is(state, "lost")) {
        sk_buf_adds(out, "something is still lost: what moves back is planned when it returned\n");
    } else if (sk_str_is(state, "none")) {
        sk_buf_adds(out, "nothing waits to move back\n");
    } else if (sk_str_is(state, "done")) {
        sk_buf_printf(out,
                      "nothing waits to move back; the last return ended with %" PRId64 " moves, ",
                      sk_map_int(a, "done_moves", 0));
        when(sk_map_int(a, "done_wall_ms", 0), out);
        sk_buf_addc(out, '\n');
    }
    if (held_by.len > 0) {
        sk_buf_printf(out, "held by %.*s since ", SK_PRI(held_by));
        when(sk_map_int(a, "held_wall_ms", 0), out);
        sk_buf_addc(out, '\n');
    }
    sk_buf_printf(out,
                  "a return begins by itself: %s; when everything is whole for %" PRId64
                  " ms; with at most %" PRId64 " moves\n",
                  sk_map_bool(a, "auto", true) ? "yes" : "no (skerry return --auto on)",
                  sk_map_int(a, "delay_ms", 0), sk_map_int(a, "budget", 0));
}

static int show(const struct cli *cli, struct api_client *client, struct sk_err *err)
{
    struct sk_arena *arena = sk_arena_new();
    struct sk_buf out = SK_BUF_INIT;
    const struct sk_node *answer = NULL;
    int r = api_call(client, "GET", "/v1/return", SK_STR_NULL, RETURN_TIMEOUT_MS, arena, &answer,
                     cli->json ? &out : NULL, err);

    if (r == 0) {
        if (!cli->json) {
            draw(cli, answer, &out);
        }
        cli_write(sk_buf_str(&out));
    }
    sk_buf_release(&out);
    sk_arena_free(arena);
    return r;
}

static int ask(const struct cli *cli, struct api_client *client, struct sk_str body,
               struct sk_err *err)
{
    struct sk_arena *arena = sk_arena_new();
    struct sk_buf out = SK_BUF_INIT;
    const struct sk_node *answer = NULL;
    int r = api_call(client, "POST", "/v1/return", body, RETURN_TIMEOUT_MS, arena, &answer,
                     cli->json ? &out : NULL, err);

    if (r == 0) {
        if (!cli->json) {
            sk_buf_printf(&out, "%.*s\n", SK_PRI(text(answer, "text")));
        }
        cli_write(sk_buf_str(&out));
    }
    sk_buf_release(&out);
    sk_arena_free(arena);
    return r;
}

static int usage(struct sk_err *err, const char *what)
{
    return sk_err_set(err, SK_ERR_USAGE, "%s", what);
}

/* The body of what is asked for; "" when nothing is. */
static int read_options(const struct cli *cli, struct sk_buf *body, struct sk_err *err)
{
    const char *max = cli_value(cli, "max-moves");
    const char *automatic = cli_value(cli, "auto");
    const char *delay = cli_value(cli, "delay");
    bool hold = cli_flag(cli, "hold"), go = cli_flag(cli, "go");
    struct sk_jw w;
    int64_t n = 0;

    if (hold && go) {
        return usage(err, "--hold and --go exclude each other");
    }
    if (max && !go) {
        return usage(err, "--max-moves belongs to --go");
    }
    if (automatic && !sk_str_is(sk_str(automatic), "on") && !sk_str_is(sk_str(automatic), "off")) {
        return usage(err, "--auto is on or off");
    }
    if (!hold && !go && !automatic && !delay) {
        return 0;
    }
    sk_jw_init(&w, body);
    sk_jw_obj(&w);
    if (hold || go) {
        sk_jw_kbool(&w, hold ? "hold" : "go", true);
    }
    if (max) {
        if (sk_parse_int(sk_str(max), 1, MOVES_MAX, &n, err) < 0) {
            err->code = SK_ERR_USAGE;
            return sk_err_wrap(err, "--max-moves");
        }
        sk_jw_kint(&w, "max_moves", n);
    }
    if (automatic) {
        sk_jw_kbool(&w, "auto", sk_str_is(sk_str(automatic), "on"));
    }
    if (delay) {
        if (sk_parse_duration(sk_str(delay), &n, err) < 0) {
            err->code = SK_ERR_USAGE;
            return sk_err_wrap(err, "--delay");
        }
        sk_jw_kint(&w, "delay_ms", n);
    }
    sk_jw_obj_end(&w);
    return 0;
}

static int run(struct cli *cli, struct sk_err *err)
{
    struct api_client *client = NULL;
    struct sk_buf body = SK_BUF_INIT;
    int r = read_options(cli, &body, err);

    r = r < 0 ? r : api_client_new(cli, &client, err);
    if (r == 0) {
        r = body.len > 0 ? ask(cli, client, sk_buf_str(&body), err) : show(cli, client, err);
    }
    api_client_free(client);
    sk_buf_release(&body);
    return r;
}

const struct cli_command cmd_return = {
    .name = "return",
    .group = "Plan",
    .args = "",
    .summary = "what moves back after a node or site returned: show it, hold it, let it go",
    .text = "After everything that was lost is back, skerry plans which replicas must move for "
            "the policies to hold again, shows them\n"
            "here, and begins after the delay: a few at a time, a new copy first, the old one "
            "stopped when the new one is healthy.\n"
            "--hold keeps everything where it runs, also over restarts of control; more moves "
            "than the budget wait for --go.",
    .examples = "  skerry return\n  skerry return --hold\n  skerry return --go --max-moves 5\n"
                "  skerry return --auto off\n  skerry return --delay 5m\n",
    .options = options,
    .noptions = SK_ARRAY_LEN(options),
    .speaks_api = true,
    .run = run,
};
