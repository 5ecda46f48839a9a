/* SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <stdio.h>

#include "base/mem.h"
#include "base/units.h"
#include "cli/client.h"
#include "cli/commands.h"
#include "cli/plan_text.h"
#include "cli/remote.h"
#include "cli/wait.h"

#define REBALANCE_TIMEOUT_MS 125000
#define BUDGET_MAX 1000000

static const struct cli_option options[] = {
    {"budget", "N", "move at most N replicas; refuse with status 3 when more would be needed",
     false},
    {"dry-run", NULL, "show the plan and its moves, and change nothing", false},
    {"plan", "ID", "carry out exactly this plan, or refuse when the state has moved since", false},
    {"wait", NULL, "wait until every replica is healthy, and show progress", false},
    {"timeout", "TIME", "with --wait: give up after this long (default 5m)", false},
    {"all", NULL, "show every service and loss, also unchanged ones", false},
};

static int carry_out(const struct cli *cli, struct api_client *client, const struct plan *plan,
                     int64_t budget, struct sk_err *err)
{
    struct sk_arena *arena = sk_arena_new();
    struct sk_buf body = SK_BUF_INIT, text = SK_BUF_INIT;
    struct sk_jw w;
    int r;

    sk_jw_init(&w, &body);
    sk_jw_obj(&w);
    sk_jw_kcstr(&w, "plan", plan->id);
    if (budget >= 0) {
        sk_jw_kint(&w, "max_moves", budget);
    }
    sk_jw_obj_end(&w);
    r = api_call(client, "POST", "/v1/rebalance", sk_buf_str(&body), REBALANCE_TIMEOUT_MS, arena,
                 NULL, &text, err);
    if (r == 0 && cli->json) {
        cli_write(sk_buf_str(&text));
    } else if (r == 0) {
        sk_buf_clear(&text);
        sk_buf_printf(&text, "%zu %s\n", plan->nmoves, plan->nmoves == 1 ? "move" : "moves");
        cli_write(sk_buf_str(&text));
    }
    sk_buf_release(&body);
    sk_buf_release(&text);
    sk_arena_free(arena);
    return r;
}

static int rebalance(struct cli *cli, struct api_client *client, int64_t budget, struct plan *plan,
                     const struct plan *current, struct sk_err *err)
{
    bool dry = cli_flag(cli, "dry-run");
    int r = remote_expect(cli, plan, "look at the new plan with 'skerry rebalance --dry-run'", err);

    if (r < 0) {
        return r;
    }
    if (!cli->json || dry || plan->verdict != PLAN_OK) {
        plan_show(cli, plan, current);
    }
    if (plan->verdict != PLAN_OK) {
        cli->exit_status = 3; /* what is short, and the fix, is printed above */
        return 0;
    }
    if (budget >= 0 && plan->nmoves > (size_t)budget) {
        (void)sk_err_set(err, SK_ERR_POLICY, "%zu moves are needed, %" PRId64 " are allowed",
                         plan->nmoves, budget);
        return sk_err_fix(err, "allow them: --budget %zu", plan->nmoves);
    }
    if (dry) {
        return 0;
    }
    r = carry_out(cli, client, plan, budget, err);
    return r == 0 && cli_flag(cli, "wait") ? wait_as_told(cli, client, plan, err) : r;
}

static int run(struct cli *cli, struct sk_err *err)
{
    const char *text = cli_value(cli, "budget");
    struct api_client *client = NULL;
    struct plan *current = NULL, *plan = NULL;
    int64_t budget = -1;
    int r;

    if (text && sk_parse_int(sk_str(text), 0, BUDGET_MAX, &budget, err) < 0) {
        err->code = SK_ERR_USAGE;
        return sk_err_wrap(err, "--budget");
    }
    r = api_client_new(cli, &client, err);
    r = r < 0 ? r : remote_current(client, &current, err);
    if (r == 0 && !current) {
        (void)sk_err_set(err, SK_ERR_NOT_FOUND,
                         "nothing was applied yet: there is nothing to move");
        r = sk_err_fix(err, "skerry apply FILE");
    }
    r = r < 0 ? r : remote_rebalance(client, &plan, err);
    r = r < 0 ? r : rebalance(cli, client, budget, plan, current, err);
    plan_free(plan);
    plan_free(current);
    api_client_free(client);
    return r;
}

const struct cli_command cmd_rebalance = {
    .name = "rebalance",
    .group = "Plan",
    .args = "",
    .summary = "move what stands better elsewhere: after a return, a new server, a new price",
    .text = "Plans all projects anew from where they run now, shows what changes, and carries "
            "that plan out. A replica moves\n"
            "only where the move pays for itself within a day, or where a policy needs it. "
            "Nothing is moved when more moves\n"
            "than --budget would be needed, or when a policy cannot be met (both: status 3).",
    .examples = "  skerry rebalance --dry-run\n  skerry rebalance --budget 5 --wait\n",
    .options = options,
    .noptions = SK_ARRAY_LEN(options),
    .speaks_api = true,
    .run = run,
};
