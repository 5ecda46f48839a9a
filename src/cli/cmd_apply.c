/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "base/mem.h"
#include "base/units.h"
#include "cli/client.h"
#include "cli/commands.h"
#include "cli/offline.h"
#include "cli/plan_text.h"
#include "cli/remote.h"
#include "cli/wait.h"

#define APPLY_TIMEOUT_MS 125000
#define WAIT_DEFAULT_MS 300000

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
    const char *want = cli_value(cli, "plan");
    struct sk_buf out = SK_BUF_INIT;

    if (remote_current(a->client, &a->current, err) < 0 ||
        remote_plan(a->client, a->world.projects, a->world.nprojects, false, &a->plan, err) < 0) {
        return err->code;
    }
    /* as printed for people, or whole */
    if (want &&
        (strlen(want) < PLAN_ID_SHOWN || !sk_str_starts(sk_str(a->plan->id), sk_str(want)))) {
        (void)sk_err_set(err, SK_ERR_CONFLICT,
                         "plan %s is not what the state leads to any more; now it is %s", want,
                         a->plan->id);
        return sk_err_fix(err, "look at the new plan with 'skerry plan', then apply that");
    }
    if (!cli->json || a->plan->verdict != PLAN_OK) {
        if (cli->json) {
            struct sk_jw w;
            sk_jw_init(&w, &out);
            plan_write_json(a->plan, &w);
            sk_buf_addc(&out, '\n');
        } else {
            plan_text(cli, a->plan, a->current, cli_flag(cli, "all"), &out);
        }
        cli_write(sk_buf_str(&out));
    }
    sk_buf_release(&out);
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

static int wait_for_it(struct cli *cli, struct apply *a, struct sk_err *err)
{
    const char *timeout = cli_value(cli, "timeout");
    int64_t ms = WAIT_DEFAULT_MS;

    if (timeout && sk_parse_duration(sk_str(timeout), &ms, err) < 0) {
        err->code = SK_ERR_USAGE;
        return sk_err_wrap(err, "--timeout");
    }
    return wait_healthy(a->client, a->plan, ms, err);
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
            r = wait_for_it(cli, &a, err);
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
