/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>

#include "base/mem.h"
#include "cli/client.h"
#include "cli/commands.h"
#include "cli/offline.h"
#include "cli/plan_text.h"
#include "cli/remote.h"
#include "cli/wait.h"

#define APPLY_TIMEOUT_MS 125000

static const struct cli_option options[] = {
    {"plan", "ID", "carry out exactly this plan, or refuse when the state has moved since", false},
    {"wait", NULL, "wait until every replica is healthy, and show progress", false},
    {"timeout", "TIME", "with --wait: give up after this long (default 5m)", false},
    {"all", NULL, "show every service and loss, also unchanged ones", false},
};

struct apply {
    struct api_client *client;
    struct offline_world world;
    struct plan *current;
    struct plan *plan;
};

static int preview(struct cli *cli, struct apply *a, struct sk_err *err)
{
    if (remote_current(a->client, &a->current, err) < 0 ||
        remote_plan(a->client, a->world.projects, a->world.nprojects, false, &a->plan, err) < 0 ||
        remote_expect(cli, a->plan, "look at the new plan with 'skerry plan', then apply that",
                      err) < 0) {
        return err->code;
    }
    if (!cli->json || a->plan->verdict != PLAN_OK) {
        plan_show(cli, a->plan, a->current);
    }
    return 0;
}

static int carry_out(struct cli *cli, struct apply *a, struct sk_err *err)
{
    struct sk_arena *arena = sk_arena_new();
    struct sk_buf body = SK_BUF_INIT, text = SK_BUF_INIT;
    char extra[128];
    int r;

    (void)snprintf(extra, sizeof(extra), ",\"plan\":\"%s\"", a->plan->id);
    remote_body(a->world.projects, a->world.nprojects, extra, &body);
    r = api_call(a->client, "POST", "/v1/apply", sk_buf_str(&body), APPLY_TIMEOUT_MS, arena, NULL,
                 &text, err);
    if (r == 0 && cli->json) {
        cli_write(sk_buf_str(&text));
    } else if (r == 0) {
        cli_write(SK_STR("applied\n"));
    }
    sk_buf_release(&body);
    sk_buf_release(&text);
    sk_arena_free(arena);
    return r;
}

static int run(struct cli *cli, struct sk_err *err)
{
    struct apply a = {0};
    int r = offline_world(NULL, cli->args, cli->nargs, true, &a.world, err);

    r = r < 0 ? r : api_client_new(cli, &a.client, err);
    r = r < 0 ? r : preview(cli, &a, err);
    if (r == 0 && a.plan->verdict != PLAN_OK) {
        cli->exit_status = 3; /* what is short, and the fix, is printed above */
    } else if (r == 0) {
        r = carry_out(cli, &a, err);
        if (r == 0 && cli_flag(cli, "wait")) {
            r = wait_as_told(cli, a.client, a.plan, err);
        }
    }
    plan_free(a.plan);
    plan_free(a.current);
    api_client_free(a.client);
    offline_world_release(&a.world);
    return r;
}

const struct cli_command cmd_apply = {
    .name = "apply",
    .group = "Plan",
    .args = "FILE...",
    .summary = "make it so",
    .text =
        "Plans, shows what changes, and carries that plan out: starts, moves and stops replicas "
        "until the cluster is as declared.\n"
        "Services that left a project's file are stopped. Refuses with status 3 when a policy "
        "cannot be met, and names the\n"
        "cheapest fix; refuses when the state has moved since the plan that was named by --plan.",
    .examples =
        "  skerry apply compose.yaml --wait\n  skerry apply --plan sha256:3f... compose.yaml\n",
    .options = options,
    .noptions = SK_ARRAY_LEN(options),
    .min_args = 1,
    .max_args = 1000,
    .speaks_api = true,
    .run = run,
};
