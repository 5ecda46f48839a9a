/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/control_status.h"

#include <inttypes.h>

#include "base/mem.h"
#include "cli/client.h"
#include "cli/table.h"

#define STATUS_TIMEOUT_MS 20000

static struct sk_str text(const struct sk_node *map, const char *key)
{
    return sk_map_str(map, key, SK_STR(""));
}

static const struct sk_node *child(const struct sk_node *map, const char *key)
{
    const struct sk_node *node = sk_map_get(map, sk_str(key));
    return node != NULL && node->kind == SK_MAP ? node : NULL;
}

static void cell_rtt(struct cli_table *table, const struct sk_node *member)
{
    const struct sk_node *rtt = child(member, "rtt_ms");
    struct sk_buf out = SK_BUF_INIT;

    for (uint32_t i = 0; rtt != NULL && i < rtt->count; i++) {
        sk_buf_printf(&out, "%s%.*s %.*s ms", i ? ", " : "", SK_PRI(rtt->u.members[i].key),
                      SK_PRI(rtt->u.members[i].value.u.text));
    }
    cli_table_cell(table, sk_buf_str(&out));
    sk_buf_release(&out);
}

static void cell_etcd(struct cli_table *table, const struct sk_node *etcd)
{
    if (etcd == NULL) {
        cli_table_cell(table, SK_STR("-"));
    } else if (!sk_map_bool(etcd, "ok", false)) {
        cli_table_cell(table, SK_STR("NO ANSWER"));
        cli_table_bad(table);
    } else {
        struct sk_str alarm = text(etcd, "alarm");
        cli_table_cellf(table, "%.*s%s%s%.*s", SK_PRI(text(etcd, "version")),
                        sk_map_bool(etcd, "leads", false)     ? ", leads"
                        : sk_map_bool(etcd, "learner", false) ? ", learner"
                                                              : "",
                        alarm.len ? ", ALARM: " : "", SK_PRI(alarm));
        if (alarm.len) {
            cli_table_bad(table);
        }
    }
}

static void draw_members(const struct cli *cli, const struct sk_node *members, struct sk_buf *out)
{
    struct cli_table *table = cli_table_new(cli);

    cli_table_col(table, "NODE", 0);
    cli_table_col(table, "SITE", 0);
    cli_table_col(table, "STATE", 0);
    cli_table_col(table, "ETCD", 0);
    cli_table_col(table, "SPACE", CLI_COL_RIGHT);
    cli_table_col(table, "BEHIND", CLI_COL_RIGHT);
    cli_table_col(table, "RTT", CLI_COL_WRAP);
    for (uint32_t i = 0; members != NULL && i < members->count; i++) {
        const struct sk_node *m = &members->u.items[i];
        const struct sk_node *etcd = child(m, "etcd");
        bool ok = etcd != NULL && sk_map_bool(etcd, "ok", false);
        struct sk_str seat = text(m, "seat");
        cli_table_row(table);
        cli_table_cellf(table, "%.*s%s", SK_PRI(text(m, "node")),
                        sk_map_bool(m, "leads", false) ? " (leads)" : "");
        cli_table_cell(table, text(m, "site"));
        cli_table_cellf(table, "%.*s%s%.*s", SK_PRI(text(m, "state")),
                        sk_str_is(seat, "member") ? "" : ", ",
                        sk_str_is(seat, "member") ? 0 : (int)seat.len, seat.ptr);
        if (!sk_str_is(text(m, "state"), "alive")) {
            cli_table_bad(table);
        }
        cell_etcd(table, etcd);
        if (ok) {
            cli_table_cellf(table, "%" PRId64 " KiB", sk_map_int(etcd, "db_bytes", 0) / 1024);
            cli_table_cellf(table, "%" PRId64, sk_map_int(etcd, "behind", 0));
        } else {
            cli_table_cell(table, SK_STR("-"));
            cli_table_cell(table, SK_STR("-"));
        }
        cell_rtt(table, m);
    }
    cli_table_add_to(table, out);
    cli_table_free(table);
}

static void draw_range(const struct sk_node *predicted, const char *key, const char *what,
                       struct sk_buf *out)
{
    const struct sk_node *range = sk_map_seq(predicted, key);

    if (range != NULL && range->count == 2) {
        sk_buf_printf(out, "  %-44s %.*s to %.*s ms\n", what, SK_PRI(range->u.items[0].u.text),
                      SK_PRI(range->u.items[1].u.text));
    }
}

static void draw_predicted(const struct sk_node *p, struct sk_buf *out)
{
    sk_buf_adds(out, "\nwhen a site is lost, after\n");
    draw_range(p, "verdict_ms", "the verdict", out);
    draw_range(p, "work_elsewhere_ms", "its work is begun elsewhere", out);
    draw_range(p, "exclusive_elsewhere_ms", "its exclusive work is", out);
    sk_buf_adds(out, "when it is the leader's site\n");
    draw_range(p, "takeover_ms", "another one leads, and takes applies", out);
    draw_range(p, "work_elsewhere_with_leader_ms", "its work is begun elsewhere", out);
    draw_range(p, "exclusive_elsewhere_with_leader_ms", "its exclusive work is", out);
}

/* How the answering node's key rests: what whoever steals its disk has. */
static void draw_keys(const struct sk_node *a, struct sk_buf *out)
{
    const struct sk_node *keys = child(a, "keys");
    struct sk_str by = text(a, "answered_by");

    if (keys == NULL) {
        return; /* a version before */
    }
    if (sk_str_is(text(keys, "form"), "split")) {
        sk_buf_printf(out,
                      "keys of %.*s: split among %" PRId64 " control nodes, %" PRId64
                      " of them open it\n",
                      SK_PRI(by), sk_map_int(keys, "shares", 0), sk_map_int(keys, "needed", 0));
    } else {
        sk_buf_printf(out, "keys of %.*s: opened by a file on it, which its thief has too\n",
                      SK_PRI(by));
    }
}

static void draw_status(const struct cli *cli, const struct sk_node *a, struct sk_buf *out)
{
    const struct sk_node *leader = child(a, "leader");
    const struct sk_node *members = sk_map_seq(a, "members");
    const struct sk_node *operation = child(a, "operation");
    const struct sk_node *predicted = child(a, "predicted");
    struct sk_str name = leader != NULL ? text(leader, "node") : SK_STR("");

    sk_buf_printf(out, "%u control node%s over %.*s%s, ", members != NULL ? members->count : 0,
                  members != NULL && members->count == 1 ? "" : "s", SK_PRI(text(a, "store")),
                  sk_map_bool(a, "external", false) ? " (not ours)" : "");
    if (name.len > 0) {
        sk_buf_printf(out, "%.*s leads (term %" PRId64 ")\n", SK_PRI(name),
                      sk_map_int(leader, "term", 0));
    } else {
        sk_buf_adds(out, "NONE LEADS\n");
    }
    if (leader != NULL && sk_map_int(leader, "silent_ms", 0) > 2000) {
        sk_buf_printf(out, "its last sign of life is %" PRId64 " s old\n",
                      sk_map_int(leader, "silent_ms", 0) / 1000);
    }
    if (operation != NULL) {
        sk_buf_printf(out, "under way: %.*s, %.*s\n", SK_PRI(text(operation, "kind")),
                      SK_PRI(text(operation, "phase")));
    }
    sk_buf_addc(out, '\n');
    draw_members(cli, members, out);
    sk_buf_printf(out, "\n%" PRId64 " of them may be lost: %.*s\n", sk_map_int(a, "may_be_lost", 0),
                  SK_PRI(text(a, "loss")));
    draw_keys(a, out);
    if (predicted != NULL) {
        draw_predicted(predicted, out);
    }
}

int control_status(struct cli *cli, struct sk_err *err)
{
    struct api_client *client = NULL;
    struct sk_arena *arena = sk_arena_new();
    struct sk_buf out = SK_BUF_INIT;
    const struct sk_node *answer = NULL;
    int r = api_client_new(cli, &client, err);

    if (r == 0) {
        r = api_call(client, "GET", "/v1/control", SK_STR_NULL, STATUS_TIMEOUT_MS, arena, &answer,
                     cli->json ? &out : NULL, err);
    }
    if (r == 0) {
        if (!cli->json) {
            draw_status(cli, answer, &out);
        }
        cli_write(sk_buf_str(&out));
    }
    sk_buf_release(&out);
    sk_arena_free(arena);
    api_client_free(client);
    return r;
}
