/* SPDX-License-Identifier: Apache-2.0 */
#include "base/mem.h"
#include "base/units.h"
#include "cli/client.h"
#include "cli/commands.h"
#include "cli/offline.h"
#include "cli/plan_text.h"
#include "cli/remote.h"
#include "plan/planner.h"
#include "sys/clock.h"

static const struct cli_option options[] = {
    {"inventory", "FILE", "plan for these sites, nodes and links; no cluster is asked", false},
    {"current", "PLAN", "a plan in force (JSON): what runs stays unless a move pays for itself",
     false},
    {"pairs", NULL, "show the loss of every pair of sites too", false},
    {"threads", "N", "how many threads may plan; the plan is the same with any number", false},
    {"move-price", "HOURS", "what moving a replica costs, in hours of its own cost (default 24)",
     false},
    {"all", NULL, "show every service and loss, also unchanged ones", false},
};

static int read_settings(const struct cli *cli, struct plan_input *in, struct sk_err *err)
{
    const char *threads = cli_value(cli, "threads");
    const char *price = cli_value(cli, "move-price");
    int64_t n = 1;

    if (threads && sk_parse_int(sk_str(threads), 1, 256, &n, err) < 0) {
        err->code = SK_ERR_USAGE;
        return sk_err_wrap(err, "--threads");
    }
    in->threads = (int)n;
    if (price) {
        double hours;
        if (sk_parse_num(sk_str(price), &hours, err) < 0) {
            err->code = SK_ERR_USAGE;
            return sk_err_wrap(err, "--move-price");
        }
        if (hours < 0) {
            return sk_err_set(err, SK_ERR_USAGE, "--move-price: '%s' is negative", price);
        }
        in->move_price_hours = hours;
    }
    in->pairs = cli_flag(cli, "pairs");
    return 0;
}

/* With --inventory: no cluster is asked, nothing but these files counts. */
static int plan_offline(struct cli *cli, struct plan_input *in, struct plan **current,
                        struct plan **plan, struct sk_err *err)
{
    struct offline_world world = {0};
    int r = offline_world(cli_value(cli, "inventory"), cli->args, cli->nargs, false, &world, err);

    if (r == 0 && cli_value(cli, "current")) {
        r = offline_plan(cli_value(cli, "current"), current, err);
    }
    if (r == 0) {
        in->inv = world.inv;
        in->projects = (const struct project *const *)world.projects;
        in->nprojects = world.nprojects;
        in->current = *current;
        in->now_us = sys_now_us;
        r = plan_make(in, plan, err);
    }
    if (r == 0) {
        (*plan)->timing_ms.read = world.read_ms;
        (*plan)->timing_ms.total += world.read_ms;
    }
    offline_world_release(&world);
    return r;
}

/* Without: by the cluster's own inventory and what runs there now. */
static int plan_online(struct cli *cli, bool pairs, struct plan **current, struct plan **plan,
                       struct sk_err *err)
{
    static const char *const offline_only[] = {"current", "threads", "move-price"};
    struct offline_world world = {0};
    struct api_client *client = NULL;
    int r = 0;

    for (size_t i = 0; i < SK_ARRAY_LEN(offline_only); i++) {
        if (cli_value(cli, offline_only[i])) {
            return sk_err_set(err, SK_ERR_USAGE,
                              "--%s goes with --inventory: a cluster has its own", offline_only[i]);
        }
    }
    r = offline_world(NULL, cli->args, cli->nargs, false, &world, err);
    r = r < 0 ? r : api_client_new(cli, &client, err);
    r = r < 0 ? r : remote_current(client, current, err);
    r = r < 0 ? r : remote_plan(client, world.projects, world.nprojects, pairs, plan, err);
    if (r == SK_ERR_UNAVAILABLE && !cli_value(cli, "data") && !cli_value(cli, "server")) {
        (void)sk_err_fix(err, "to plan without a cluster: skerry plan --inventory FILE %s",
                         cli->args[0]);
    }
    api_client_free(client);
    offline_world_release(&world);
    return r;
}

static int run(struct cli *cli, struct sk_err *err)
{
    struct plan *current = NULL;
    struct plan *plan = NULL;
    struct plan_input in;
    int r;

    plan_input_init(&in);
    r = read_settings(cli, &in, err);
    if (r == 0 && cli_value(cli, "inventory")) {
        r = plan_offline(cli, &in, &current, &plan, err);
    } else if (r == 0) {
        r = plan_online(cli, in.pairs, &current, &plan, err);
    }
    if (r == 0) {
        plan_show(cli, plan, current);
        cli->exit_status = plan->verdict == PLAN_OK ? 0 : 3;
    }
    plan_free(plan);
    plan_free(current);
    return r;
}

const struct cli_command cmd_plan = {
    .name = "plan",
    .group = "Plan",
    .args = "FILE...",
    .summary = "where everything goes, what each loss does, what it costs",
    .text = "Reads Compose files with x-skerry policies, places every replica and shard, and shows "
            "for each site what its\n"
            "loss would do. Changes nothing. A policy that cannot be met is named with its "
            "cheapest fix; then the exit\n"
            "status is 3 and what is shown is the best effort.",
    .examples = "  skerry plan --inventory inventory.yaml compose.yaml\n"
                "  skerry plan --inventory inventory.yaml --json compose.yaml > plan.json\n"
                "  skerry plan --inventory inventory.yaml --current plan.json compose.yaml\n",
    .options = options,
    .noptions = SK_ARRAY_LEN(options),
    .min_args = 1,
    .max_args = 1000,
    .speaks_api = true,
    .run = run,
};
