/* SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <string.h>

#include "base/mem.h"
#include "base/units.h"
#include "cli/client.h"
#include "cli/commands.h"
#include "cli/return_text.h"
#include "cli/table.h"

/* What is, for people: status, ps, nodes, sites, why. With --json each prints the API's own answer
 * (docs/api.md). */

#define QUERY_TIMEOUT_MS 15000
#define VERSION_NODES_SHOWN 3

typedef void draw_fn(const struct cli *cli, const struct sk_node *answer, struct sk_buf *out);

static int show(const struct cli *cli, const char *path, draw_fn *draw, struct sk_err *err)
{
    struct api_client *client = NULL;
    struct sk_arena *arena = sk_arena_new();
    struct sk_buf out = SK_BUF_INIT;
    const struct sk_node *answer = NULL;
    int r = api_client_new(cli, &client, err);

    if (r == 0) {
        r = api_call(client, "GET", path, SK_STR_NULL, QUERY_TIMEOUT_MS, arena, &answer,
                     cli->json ? &out : NULL, err);
    }
    if (r == 0) {
        if (!cli->json) {
            draw(cli, answer, &out);
        }
        cli_write(sk_buf_str(&out));
    }
    sk_buf_release(&out);
    sk_arena_free(arena);
    api_client_free(client);
    return r;
}

static struct sk_str text(const struct sk_node *map, const char *key)
{
    return sk_map_str(map, key, SK_STR(""));
}

static const struct sk_node *child(const struct sk_node *map, const char *key)
{
    static const struct sk_node empty = {.kind = SK_MAP};
    const struct sk_node *node = sk_map_get(map, sk_str(key));
    return node && node->kind == SK_MAP ? node : &empty;
}

/* ---- status ---- */

static void draw_names(const struct sk_node *list, const char *what, struct sk_buf *out)
{
    for (uint32_t i = 0; list && i < list->count; i++) {
        sk_buf_printf(out, "%s%.*s", i ? ", " : what, SK_PRI(list->u.items[i].u.text));
    }
    if (list && list->count) {
        sk_buf_addc(out, '\n');
    }
}

static void draw_services(const struct cli *cli, const struct sk_node *services, struct sk_buf *out)
{
    struct cli_table *table = cli_table_new(cli);

    cli_table_col(table, "SERVICE", 0);
    cli_table_col(table, "HEALTHY", CLI_COL_RIGHT);
    cli_table_col(table, "STATE", 0);
    cli_table_col(table, "WAITING FOR", CLI_COL_WRAP);
    for (uint32_t i = 0; services && i < services->count; i++) {
        const struct sk_node *s = &services->u.items[i];
        bool bad = sk_map_int(s, "healthy", 0) < sk_map_int(s, "replicas", 0);
        cli_table_row(table);
        cli_table_cellf(table, "%.*s/%.*s", SK_PRI(text(s, "project")), SK_PRI(text(s, "service")));
        cli_table_cellf(table, "%" PRId64 " of %" PRId64, sk_map_int(s, "healthy", 0),
                        sk_map_int(s, "replicas", 0));
        cli_table_cell(table, text(s, "state"));
        if (bad) {
            cli_table_bad(table);
        }
        cli_table_cell(table, text(s, "waiting"));
    }
    if (services && services->count) {
        sk_buf_addc(out, '\n');
        cli_table_add_to(table, out);
    }
    cli_table_free(table);
}

static void draw_losses(const struct sk_node *losses, struct sk_buf *out)
{
    for (uint32_t i = 0; losses && i < losses->count; i++) {
        const struct sk_node *l = &losses->u.items[i];
        const struct sk_node *lost = sk_map_seq(l, "lost");
        sk_buf_adds(out, i ? "" : "\n");
        sk_buf_adds(out, "if lost ");
        for (uint32_t k = 0; lost && k < lost->count; k++) {
            sk_buf_printf(out, "%s%.*s", k ? "+" : "", SK_PRI(lost->u.items[k].u.text));
        }
        sk_buf_printf(
            out, ": %s, %" PRId64 " re-placed, %" PRId64 " with no room elsewhere, control %.*s\n",
            sk_map_bool(l, "ok", false) ? "as asked" : "NOT as asked", sk_map_int(l, "replaced", 0),
            sk_map_int(l, "short", 0), SK_PRI(text(l, "control")));
    }
}

static void draw_unheard(const struct sk_node *list, struct sk_buf *out)
{
    for (uint32_t i = 0; list && i < list->count; i++) {
        const struct sk_node *row = &list->u.items[i];
        const struct sk_node *sites = sk_map_seq(row, "sites");
        const struct sk_node *nodes = sk_map_seq(row, "nodes");
        if (!sites || sites->count != 2 || !nodes || nodes->count != 2) {
            continue;
        }
        sk_buf_printf(out,
                      "NO PROBES: %.*s - %.*s, for %" PRId64 " s on %" PRId64 " of %" PRId64
                      " ways, though both beat (%.*s does not hear %.*s)\n",
                      SK_PRI(sites->u.items[0].u.text), SK_PRI(sites->u.items[1].u.text),
                      sk_map_int(row, "silent_ms", 0) / 1000, sk_map_int(row, "silent", 0),
                      sk_map_int(row, "ways", 0), SK_PRI(nodes->u.items[0].u.text),
                      SK_PRI(nodes->u.items[1].u.text));
        sk_buf_printf(out, "  fix: %.*s\n", SK_PRI(text(row, "fix")));
    }
}

/* "all run skerry 0.1.0", or which runs what. */
static void draw_versions(const struct sk_node *list, struct sk_buf *out)
{
    if (list && list->count == 1) {
        sk_buf_printf(out, "all run skerry %.*s\n", SK_PRI(text(&list->u.items[0], "version")));
    }
    for (uint32_t i = 0; list && list->count > 1 && i < list->count; i++) {
        const struct sk_node *row = &list->u.items[i];
        const struct sk_node *nodes = sk_map_seq(row, "nodes");
        sk_buf_printf(out, "%s%.*s on",
                      i ? "; " : "VERSIONS MIXED: ", SK_PRI(text(row, "version")));
        for (uint32_t k = 0; nodes && k < nodes->count && k < VERSION_NODES_SHOWN; k++) {
            sk_buf_printf(out, "%s %.*s", k ? "," : "", SK_PRI(nodes->u.items[k].u.text));
        }
        if (nodes && nodes->count > VERSION_NODES_SHOWN) {
            sk_buf_printf(out, " and %u more", nodes->count - VERSION_NODES_SHOWN);
        }
        sk_buf_adds(out, i + 1 == list->count ? "\n" : "");
    }
}

static void draw_drill(const struct sk_node *d, struct sk_buf *out)
{
    if (d && d->kind == SK_MAP) {
        sk_buf_printf(out,
                      "DRILL %" PRId64 ": site %.*s is taken away (%.*s), phase %.*s, %" PRId64
                      " s left: skerry drill --status\n",
                      sk_map_int(d, "number", 0), SK_PRI(text(d, "site")), SK_PRI(text(d, "mode")),
                      SK_PRI(text(d, "phase")), sk_map_int(d, "left_ms", 0) / 1000);
    }
}

static void draw_status(const struct cli *cli, const struct sk_node *a, struct sk_buf *out)
{
    const struct sk_node *control = child(a, "control");
    const struct sk_node *nodes = child(a, "nodes");
    const struct sk_node *replicas = child(a, "replicas");
    const struct sk_node *plan = sk_map_get(a, SK_STR("plan"));

    sk_buf_printf(out, "cluster %.*s, control on %.*s (site %.*s), as of now\n",
                  SK_PRI(text(a, "cluster")), SK_PRI(text(control, "node")),
                  SK_PRI(text(control, "site")));
    if (sk_map_bool(a, "lab", false)) {
        sk_buf_adds(out, "LAB: nodes may share one machine; a loss of that machine is the loss of "
                         "all of them\n");
    }
    if (sk_map_bool(control, "frozen", false)) {
        sk_buf_adds(out,
                    "FROZEN: control hears only a minority of sites, so nothing is re-placed\n");
    }
    if (text(control, "problem").len) {
        sk_buf_printf(out, "PROBLEM: %.*s\n", SK_PRI(text(control, "problem")));
    }
    sk_buf_printf(out,
                  "%" PRId64 " sites, %" PRId64 " nodes (%" PRId64 " alive); %" PRId64
                  " of %" PRId64 " replicas healthy\n",
                  sk_map_int(a, "sites", 0), sk_map_int(nodes, "total", 0),
                  sk_map_int(nodes, "alive", 0), sk_map_int(replicas, "healthy", 0),
                  sk_map_int(replicas, "wanted", 0));
    draw_names(sk_map_seq(a, "sites_lost"), "LOST SITES: ", out);
    draw_names(sk_map_seq(a, "nodes_lost"), "LOST NODES: ", out);
    draw_unheard(sk_map_seq(a, "probes_unheard"), out);
    draw_drill(sk_map_get(a, SK_STR("drill")), out);
    return_line(sk_map_get(a, SK_STR("return")), out);
    draw_versions(sk_map_seq(a, "versions"), out);
    draw_services(cli, sk_map_seq(a, "services"), out);
    draw_losses(sk_map_seq(a, "losses"), out);
    if (plan && plan->kind == SK_MAP) {
        sk_buf_printf(out, "\nplan %.19s, applied by %.*s\n", text(plan, "id").ptr,
                      SK_PRI(text(plan, "who")));
    } else {
        sk_buf_adds(out, "\nnothing was applied yet: skerry apply compose.yaml\n");
    }
}

static int run_status(struct cli *cli, struct sk_err *err)
{
    return show(cli, "/v1/status", draw_status, err);
}

/* ---- ps ---- */

static bool is_wanted(const struct cli *cli, const struct sk_node *instance)
{
    char name[300];

    if (cli->nargs == 0) {
        return true;
    }
    (void)snprintf(name, sizeof(name), "%.*s/%.*s", SK_PRI(text(instance, "project")),
                   SK_PRI(text(instance, "service")));
    return strcmp(cli->args[0], name) == 0 || sk_str_is(text(instance, "service"), cli->args[0]);
}

static const char *health(const struct sk_node *instance)
{
    const struct sk_node *healthy = sk_map_get(instance, SK_STR("healthy"));

    if (!healthy || healthy->kind != SK_BOOL) {
        return "-";
    }
    return sk_str_is(healthy->u.text, "true") ? "yes" : "NO";
}

static void draw_ps(const struct cli *cli, const struct sk_node *a, struct sk_buf *out)
{
    const struct sk_node *list = sk_map_seq(a, "instances");
    struct cli_table *table = cli_table_new(cli);

    cli_table_col(table, "REPLICA", 0);
    cli_table_col(table, "NODE", 0);
    cli_table_col(table, "STATE", 0);
    cli_table_col(table, "HEALTHY", 0);
    cli_table_col(table, "STARTS", CLI_COL_RIGHT);
    cli_table_col(table, "ADDRESS", 0);
    cli_table_col(table, "INSTANCE", 0);
    cli_table_col(table, "REASON", CLI_COL_WRAP);
    for (uint32_t i = 0; list && i < list->count; i++) {
        const struct sk_node *n = &list->u.items[i];
        if (!is_wanted(cli, n)) {
            continue;
        }
        cli_table_row(table);
        cli_table_cellf(table, "%.*s/%.*s #%" PRId64 "%s", SK_PRI(text(n, "project")),
                        SK_PRI(text(n, "service")), sk_map_int(n, "replica", 0),
                        sk_map_bool(n, "current", true) ? "" : " (old)");
        cli_table_cell(table, text(n, "node"));
        cli_table_cell(table, text(n, "state"));
        cli_table_cellf(table, "%s", health(n));
        if (strcmp(health(n), "NO") == 0) {
            cli_table_bad(table);
        }
        cli_table_cellf(table, "%" PRId64, sk_map_int(n, "restarts", 0) + 1);
        cli_table_cellf(table, "%.*s:%" PRId64, SK_PRI(text(n, "address")),
                        sk_map_int(n, "port", 0));
        cli_table_cellf(table, "%.8s", text(n, "id").ptr);
        cli_table_cell(table, text(n, "reason"));
    }
    cli_table_add_to(table, out);
    cli_table_free(table);
}

static int run_ps(struct cli *cli, struct sk_err *err)
{
    return show(cli, "/v1/ps", draw_ps, err);
}

/* ---- nodes, sites ---- */

static void add_use(struct cli_table *table, const struct sk_node *n, const char *used,
                    const char *total, bool cpus)
{
    struct sk_buf cell = SK_BUF_INIT;

    if (cpus) {
        sk_format_cpus(&cell, sk_map_int(n, used, 0));
        sk_buf_addc(&cell, '/');
        sk_format_cpus(&cell, sk_map_int(n, total, 0));
    } else {
        sk_format_bytes(&cell, sk_map_int(n, used, 0));
        sk_buf_addc(&cell, '/');
        sk_format_bytes(&cell, sk_map_int(n, total, 0));
    }
    cli_table_cell(table, sk_buf_str(&cell));
    sk_buf_release(&cell);
}

static void draw_nodes(const struct cli *cli, const struct sk_node *a, struct sk_buf *out)
{
    const struct sk_node *list = sk_map_seq(a, "nodes");
    struct cli_table *table = cli_table_new(cli);

    cli_table_col(table, "NODE", 0);
    cli_table_col(table, "SITE", 0);
    cli_table_col(table, "STATE", 0);
    cli_table_col(table, "ROLES", 0);
    cli_table_col(table, "INSTANCES", CLI_COL_RIGHT);
    cli_table_col(table, "CPUS", CLI_COL_RIGHT);
    cli_table_col(table, "MEMORY", CLI_COL_RIGHT);
    cli_table_col(table, "PRICE/H", CLI_COL_RIGHT);
    cli_table_col(table, "ADDRESS", 0);
    for (uint32_t i = 0; list && i < list->count; i++) {
        const struct sk_node *n = &list->u.items[i];
        const struct sk_node *price = sk_map_get(n, SK_STR("price_hour"));
        bool alive = sk_str_is(text(n, "state"), "alive");
        cli_table_row(table);
        cli_table_cell(table, text(n, "node"));
        cli_table_cell(table, text(n, "site"));
        cli_table_cellf(table, "%.*s%s", SK_PRI(text(n, "state")),
                        sk_map_bool(n, "drained", false) ? ", drained" : "");
        if (!alive) {
            cli_table_bad(table);
        }
        cli_table_cellf(table, "%s%s", sk_map_bool(n, "control", false) ? "control " : "",
                        sk_map_bool(n, "ingress", false) ? "ingress" : "");
        cli_table_cellf(table, "%" PRId64, sk_map_int(n, "instances", 0));
        add_use(table, n, "cpus_nano_used", "cpus_nano", true);
        add_use(table, n, "memory_bytes_used", "memory_bytes", false);
        if (price && price->kind == SK_NUMBER) {
            cli_table_cell(table, price->u.text);
        } else {
            cli_table_cellf(table, "unknown");
        }
        cli_table_cell(table, text(n, "address"));
    }
    cli_table_add_to(table, out);
    cli_table_free(table);
    sk_buf_addc(out, '\n');
    draw_versions(sk_map_seq(a, "versions"), out);
}

static int run_nodes(struct cli *cli, struct sk_err *err)
{
    return show(cli, "/v1/nodes", draw_nodes, err);
}

static void or_unknown(struct cli_table *table, struct sk_str s)
{
    cli_table_cell(table, s.len ? s : SK_STR("unknown"));
}

/* The line under the table: what is wrong between sites has no place in a row of one. */
static void draw_unheard_sites(const struct sk_node *list, struct sk_buf *out)
{
    for (uint32_t i = 0; list && i < list->count; i++) {
        const struct sk_node *s = &list->u.items[i];
        const struct sk_node *others = sk_map_seq(s, "probes_unheard");
        for (uint32_t k = 0; others && k < others->count; k++) {
            struct sk_str other = others->u.items[k].u.text;
            if (sk_str_cmp(text(s, "site"), other) <= 0) {
                sk_buf_printf(out, "NO PROBES: %.*s - %.*s: open UDP 7401 both ways\n",
                              SK_PRI(text(s, "site")), SK_PRI(other));
            }
        }
    }
}

static void draw_sites(const struct cli *cli, const struct sk_node *a, struct sk_buf *out)
{
    const struct sk_node *list = sk_map_seq(a, "sites");
    struct cli_table *table = cli_table_new(cli);

    cli_table_col(table, "SITE", 0);
    cli_table_col(table, "STATE", 0);
    cli_table_col(table, "NODES UP", CLI_COL_RIGHT);
    cli_table_col(table, "TRUST", 0);
    cli_table_col(table, "REGION", 0);
    cli_table_col(table, "COUNTRY", 0);
    cli_table_col(table, "INGRESS", 0);
    cli_table_col(table, "RTT MS", CLI_COL_WRAP);
    for (uint32_t i = 0; list && i < list->count; i++) {
        const struct sk_node *s = &list->u.items[i];
        const struct sk_node *rtt = child(s, "rtt_ms");
        struct sk_buf cell = SK_BUF_INIT;
        cli_table_row(table);
        cli_table_cell(table, text(s, "site"));
        cli_table_cellf(table, "%.*s%s", SK_PRI(text(s, "state")),
                        sk_map_bool(s, "drained", false) ? ", drained" : "");
        if (!sk_str_is(text(s, "state"), "alive")) {
            cli_table_bad(table);
        }
        cli_table_cellf(table, "%" PRId64 " of %" PRId64, sk_map_int(s, "nodes_up", 0),
                        sk_map_int(s, "nodes", 0));
        cli_table_cell(table, text(s, "trust"));
        or_unknown(table, text(s, "region"));
        or_unknown(table, text(s, "country"));
        cli_table_cell(table, text(s, "ingress"));
        for (uint32_t k = 0; k < rtt->count; k++) {
            sk_buf_printf(&cell, "%s%.*s %.*s", k ? ", " : "", SK_PRI(rtt->u.members[k].key),
                          (int)(rtt->u.members[k].value.u.text.len > 6
                                    ? 6
                                    : rtt->u.members[k].value.u.text.len),
                          rtt->u.members[k].value.u.text.ptr);
        }
        cli_table_cell(table, sk_buf_str(&cell));
        sk_buf_release(&cell);
    }
    cli_table_add_to(table, out);
    draw_unheard_sites(list, out);
    cli_table_free(table);
}

static int run_sites(struct cli *cli, struct sk_err *err)
{
    return show(cli, "/v1/sites", draw_sites, err);
}

/* ---- why ---- */

static void draw_why(const struct cli *cli, const struct sk_node *a, struct sk_buf *out)
{
    const struct sk_node *replicas = sk_map_seq(a, "replicas");
    const struct sk_node *nodes = sk_map_seq(a, "nodes");
    struct cli_table *table = cli_table_new(cli);

    cli_table_col(table, "REPLICA", CLI_COL_RIGHT);
    cli_table_col(table, "NODE", 0);
    cli_table_col(table, "PLANNED", 0);
    cli_table_col(table, "HEALTHY", 0);
    cli_table_col(table, "WHY", CLI_COL_WRAP);
    for (uint32_t i = 0; replicas && i < replicas->count; i++) {
        const struct sk_node *r = &replicas->u.items[i];
        cli_table_row(table);
        cli_table_cellf(table, "%" PRId64, sk_map_int(r, "replica", 0));
        cli_table_cell(table, text(r, "node"));
        cli_table_cell(table, text(r, "planned"));
        cli_table_cellf(table, "%s", health(r));
        cli_table_cell(table, text(r, "why"));
    }
    cli_table_add_to(table, out);
    cli_table_free(table);
    for (uint32_t i = 0; nodes && i < nodes->count; i++) {
        const struct sk_node *n = &nodes->u.items[i];
        if (!sk_map_bool(n, "allowed", true)) {
            sk_buf_printf(out, "not on %.*s: %.*s\n", SK_PRI(text(n, "node")),
                          SK_PRI(text(n, "why")));
        }
    }
}

/* "shop/web", or "web" where only one project is meant: the API takes both parts. */
static int split_service(const struct cli *cli, struct sk_str *project, struct sk_str *service,
                         struct sk_err *err)
{
    if (!sk_str_cut(sk_str(cli->args[0]), '/', project, service)) {
        (void)sk_err_set(err, SK_ERR_USAGE, "'%s' names no project", cli->args[0]);
        return sk_err_fix(err, "skerry %s PROJECT/%s", cli->command->name, cli->args[0]);
    }
    return 0;
}

static int run_why(struct cli *cli, struct sk_err *err)
{
    struct sk_buf path = SK_BUF_INIT;
    struct sk_str project, service;
    int r = split_service(cli, &project, &service, err);

    if (r == 0) {
        sk_buf_adds(&path, "/v1/why/");
        api_escape(&path, project);
        sk_buf_addc(&path, '/');
        api_escape(&path, service);
        r = show(cli, path.ptr, draw_why, err);
    }
    sk_buf_release(&path);
    return r;
}

#define SHOW_COMMAND(var, command_name, command_args, max, runner, sum, txt, ex) \
    const struct cli_command var = {.name = command_name,                        \
                                    .group = "Look",                             \
                                    .args = command_args,                        \
                                    .summary = sum,                              \
                                    .text = txt,                                 \
                                    .examples = ex,                              \
                                    .min_args = 0,                               \
                                    .max_args = max,                             \
                                    .speaks_api = true,                          \
                                    .run = runner}

SHOW_COMMAND(cmd_status, "status", "", 0, run_status, "the cluster at a glance",
             "Where this is, what is lost, how healthy each service is, and what the loss of each "
             "site would do now.",
             "  skerry status\n");
SHOW_COMMAND(
    cmd_ps, "ps", "[SERVICE]", 1, run_ps, "every running copy of every replica",
    "Lists instances with node, state, health, address, and the reason when one is not well.",
    "  skerry ps\n  skerry ps shop/web\n");
SHOW_COMMAND(cmd_nodes, "nodes", "", 0, run_nodes,
             "servers: alive or not, what they hold, what they cost",
             "Lists the servers of the cluster.", "  skerry nodes\n");
SHOW_COMMAND(cmd_sites, "sites", "", 0, run_sites, "sites: alive or not, what is known of them",
             "Lists the sites of the cluster with the measured round trips between them.",
             "  skerry sites\n");
const struct cli_command cmd_why = {.name = "why",
                                    .group = "Look",
                                    .args = "PROJECT/SERVICE",
                                    .summary =
                                        "why a service sits where it sits, and why not elsewhere",
                                    .text = "Shows each replica's place with its reason, and each "
                                            "server that is not allowed, with the\n"
                                            "rule that forbids it.",
                                    .examples = "  skerry why shop/web\n",
                                    .min_args = 1,
                                    .max_args = 1,
                                    .speaks_api = true,
                                    .run = run_why};
