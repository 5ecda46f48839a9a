/* SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/mem.h"
#include "base/units.h"
#include "cli/client.h"
#include "cli/commands.h"
#include "cli/plan_text.h"
#include "model/inventory.h"

/* Events, logs, and the inventory as a file. */

#define QUERY_TIMEOUT_MS 15000

/* ---- events ---- */

static void draw_event(const struct sk_node *e, struct sk_buf *out)
{
    int64_t wall = sk_map_int(e, "wall_ms", 0);
    time_t seconds = (time_t)(wall / 1000);
    struct tm tm;
    char when[32] = "";
    struct sk_str plan = sk_map_str(e, "plan", SK_STR(""));

    if (gmtime_r(&seconds, &tm)) {
        (void)strftime(when, sizeof(when), "%Y-%m-%dT%H:%M:%S", &tm);
    }
    sk_buf_printf(out, "%s.%03dZ  %-16.*s %.*s", when, (int)(wall % 1000),
                  SK_PRI(sk_map_str(e, "what", SK_STR(""))),
                  SK_PRI(sk_map_str(e, "text", SK_STR(""))));
    sk_buf_printf(out, "  (%.*s", SK_PRI(sk_map_str(e, "who", SK_STR(""))));
    if (plan.len) {
        sk_buf_printf(out, ", plan %.*s",
                      (int)(plan.len < PLAN_ID_SHOWN ? plan.len : PLAN_ID_SHOWN), plan.ptr);
    }
    sk_buf_adds(out, ")\n");
}

struct event_reader {
    const struct cli *cli;
};

/* Lines of text/event-stream: only "data: {...}" matters here. */
static bool on_event_line(struct sk_str line, void *ctx)
{
    struct event_reader *reader = ctx;
    struct sk_arena *arena;
    struct sk_buf out = SK_BUF_INIT;
    const struct sk_node *event;

    if (!sk_str_starts(line, SK_STR("data: "))) {
        return true;
    }
    line.ptr += 6;
    line.len -= 6;
    arena = sk_arena_new();
    if (reader->cli->json) {
        sk_buf_addstr(&out, line);
        sk_buf_addc(&out, '\n');
    } else if (sk_json_read(arena, "event", line, NULL, &event, NULL) == 0) {
        draw_event(event, &out);
    }
    cli_write(sk_buf_str(&out));
    sk_buf_release(&out);
    sk_arena_free(arena);
    return true;
}

static int run_events(struct cli *cli, struct sk_err *err)
{
    struct api_client *client = NULL;
    struct sk_arena *arena = sk_arena_new();
    struct sk_buf out = SK_BUF_INIT;
    const struct sk_node *answer = NULL;
    struct event_reader reader = {cli};
    char path[128];
    int64_t after = 0;
    int r = 0;

    if (cli_value(cli, "after")) {
        r = sk_parse_int(sk_str(cli_value(cli, "after")), 0, INT64_MAX, &after, err);
        if (r < 0) {
            err->code = SK_ERR_USAGE;
            r = sk_err_wrap(err, "--after");
        }
    }
    (void)snprintf(path, sizeof(path), "/v1/events?after=%" PRId64, after);
    r = r < 0 ? r : api_client_new(cli, &client, err);
    r = r < 0 ? r
              : api_call(client, "GET", path, SK_STR_NULL, QUERY_TIMEOUT_MS, arena, &answer, NULL,
                         err);
    if (r == 0 && cli->json && !cli_flag(cli, "follow")) {
        struct sk_jw w;
        sk_jw_init(&w, &out);
        sk_jw_node(&w, answer);
        sk_buf_addc(&out, '\n');
    } else if (r == 0 && !cli->json) {
        const struct sk_node *list = sk_map_seq(answer, "events");
        for (uint32_t i = 0; list && i < list->count; i++) {
            draw_event(&list->u.items[i], &out);
        }
    }
    cli_write(sk_buf_str(&out));
    if (r == 0 && cli_flag(cli, "follow")) {
        (void)snprintf(path, sizeof(path), "/v1/events/stream?after=%" PRId64,
                       sk_map_int(answer, "last", after));
        r = api_stream(client, path, on_event_line, &reader, err);
    }
    sk_buf_release(&out);
    sk_arena_free(arena);
    api_client_free(client);
    return r;
}

static const struct cli_option event_options[] = {
    {"follow", NULL, "go on with what happens from now on", false},
    {"after", "N", "only events after this number", false},
};

const struct cli_command cmd_events = {
    .name = "events",
    .group = "Look",
    .args = "",
    .summary = "what happened: verdicts, plans, changes, and who made them",
    .text = "Lists the latest events, oldest first.",
    .examples = "  skerry events\n  skerry events --follow\n",
    .options = event_options,
    .noptions = SK_ARRAY_LEN(event_options),
    .speaks_api = true,
    .run = run_events};

/* ---- logs ---- */

static const struct cli_option log_options[] = {
    {"follow", NULL, "go on with what is written from now on", false},
    {"tail", "N", "how many lines of each replica to begin with (default 100)", false},
    {"replica", "N", "only this replica", false},
};

static bool on_log_line(struct sk_str line, void *ctx)
{
    const char *label = ctx;
    struct sk_buf out = SK_BUF_INIT;

    if (line.len == 0) {
        return true; /* the server's sign of life */
    }
    sk_buf_printf(&out, "%s | ", label);
    for (size_t i = 0; i < line.len; i++) {
        unsigned char c = (unsigned char)line.ptr[i];
        if (c < 0x20 && c != '\t') {
            sk_buf_printf(&out, "\\x%02x", c); /* a log must not drive the terminal */
        } else {
            sk_buf_addc(&out, (char)c);
        }
    }
    sk_buf_addc(&out, '\n');
    cli_write(sk_buf_str(&out));
    sk_buf_release(&out);
    return true;
}

static int read_log(struct api_client *client, const struct cli *cli,
                    const struct sk_node *instance, int64_t tail, struct sk_err *err)
{
    struct sk_buf path = SK_BUF_INIT;
    char label[200];
    int r;

    (void)snprintf(label, sizeof(label), "%.*s #%" PRId64 " %.*s",
                   SK_PRI(sk_map_str(instance, "service", SK_STR(""))),
                   sk_map_int(instance, "replica", 0),
                   SK_PRI(sk_map_str(instance, "node", SK_STR(""))));
    sk_buf_adds(&path, "/v1/logs?id=");
    api_escape(&path, sk_map_str(instance, "id", SK_STR("")));
    sk_buf_printf(&path, "&tail=%" PRId64 "&follow=%s", tail,
                  cli_flag(cli, "follow") ? "true" : "false");
    r = api_stream(client, path.ptr, on_log_line, label, err);
    sk_buf_release(&path);
    return r;
}

static bool log_is_wanted(const struct cli *cli, const struct sk_node *instance, int64_t replica)
{
    char name[300];

    (void)snprintf(name, sizeof(name), "%.*s/%.*s",
                   SK_PRI(sk_map_str(instance, "project", SK_STR(""))),
                   SK_PRI(sk_map_str(instance, "service", SK_STR(""))));
    return (strcmp(cli->args[0], name) == 0 ||
            sk_str_is(sk_map_str(instance, "service", SK_STR("")), cli->args[0]) ||
            sk_str_starts(sk_map_str(instance, "id", SK_STR("")), sk_str(cli->args[0]))) &&
           (replica < 0 || replica == sk_map_int(instance, "replica", -1));
}

static int read_numbers(const struct cli *cli, int64_t *tail, int64_t *replica, struct sk_err *err)
{
    if (cli_value(cli, "tail") &&
        sk_parse_int(sk_str(cli_value(cli, "tail")), 0, 10000, tail, err) < 0) {
        err->code = SK_ERR_USAGE;
        return sk_err_wrap(err, "--tail");
    }
    if (cli_value(cli, "replica") &&
        sk_parse_int(sk_str(cli_value(cli, "replica")), 0, INT64_MAX, replica, err) < 0) {
        err->code = SK_ERR_USAGE;
        return sk_err_wrap(err, "--replica");
    }
    return 0;
}

static int run_logs(struct cli *cli, struct sk_err *err)
{
    struct api_client *client = NULL;
    struct sk_arena *arena = sk_arena_new();
    const struct sk_node *answer = NULL, *list = NULL;
    int64_t tail = 100, replica = -1;
    uint32_t found = 0;
    int r = read_numbers(cli, &tail, &replica, err);

    r = r < 0 ? r : api_client_new(cli, &client, err);
    r = r < 0 ? r
              : api_call(client, "GET", "/v1/ps", SK_STR_NULL, QUERY_TIMEOUT_MS, arena, &answer,
                         NULL, err);
    list = r == 0 ? sk_map_seq(answer, "instances") : NULL;
    for (uint32_t i = 0; list && i < list->count; i++) {
        found += log_is_wanted(cli, &list->u.items[i], replica);
    }
    if (r == 0 && found == 0) {
        r = sk_err_set(err, SK_ERR_NOT_FOUND, "nothing runs that is called '%s'", cli->args[0]);
        (void)sk_err_fix(err, "'skerry ps' lists what runs");
    } else if (r == 0 && found > 1 && cli_flag(cli, "follow")) {
        r = sk_err_set(err, SK_ERR_USAGE, "--follow reads one replica, and '%s' has %u",
                       cli->args[0], found);
        (void)sk_err_fix(err, "add --replica N, or name an instance");
    }
    for (uint32_t i = 0; r == 0 && i < list->count; i++) {
        if (log_is_wanted(cli, &list->u.items[i], replica)) {
            r = read_log(client, cli, &list->u.items[i], tail, err);
        }
    }
    sk_arena_free(arena);
    api_client_free(client);
    return r;
}

const struct cli_command cmd_logs = {
    .name = "logs",
    .group = "Look",
    .args = "SERVICE|INSTANCE",
    .summary = "what a service writes, over all sites",
    .text = "Prints the last lines of each replica's output, from the servers where they run.",
    .examples = "  skerry logs shop/web\n  skerry logs shop/web --replica 0 --follow\n",
    .options = log_options,
    .noptions = SK_ARRAY_LEN(log_options),
    .min_args = 1,
    .max_args = 1,
    .speaks_api = true,
    .run = run_logs};

/* ---- inventory ---- */

static int run_inventory(struct cli *cli, struct sk_err *err)
{
    struct api_client *client = NULL;
    struct sk_arena *arena = sk_arena_new();
    struct sk_buf out = SK_BUF_INIT;
    struct inventory *inv = NULL;
    const struct sk_node *answer = NULL;
    int r = api_client_new(cli, &client, err);

    r = r < 0 ? r
              : api_call(client, "GET", "/v1/inventory", SK_STR_NULL, QUERY_TIMEOUT_MS, arena,
                         &answer, cli->json ? &out : NULL, err);
    if (r == 0 && !cli->json) {
        r = inventory_from_tree("answer", answer, &inv, err);
    }
    if (r == 0 && !cli->json) {
        inventory_write_yaml(inv, &out);
    }
    cli_write(sk_buf_str(&out));
    inventory_free(inv);
    sk_buf_release(&out);
    sk_arena_free(arena);
    api_client_free(client);
    return r;
}

const struct cli_command cmd_inventory = {
    .name = "inventory",
    .group = "Plan",
    .args = "",
    .summary = "the cluster's sites, nodes and links as a file to plan with",
    .text =
        "Prints the inventory in the form that --inventory reads: for planning beside the cluster.",
    .examples = "  skerry inventory > inventory.yaml\n",
    .speaks_api = true,
    .run = run_inventory};
