/* SPDX-License-Identifier: Apache-2.0 */
#include "base/mem.h"
#include "cli/commands.h"
#include "cli/offline.h"
#include "plan/verify/verify.h"

static const struct cli_option options[] = {
    {"inventory", "FILE", "the sites, nodes and links that the plan is for", false},
    {"plan", "PLAN", "the plan (JSON) to check", false},
    {"current", "PLAN",
     "the plan (JSON) that was in force when it was made: its moves are checked too", false},
    {"pairs", NULL, "the rows for all pairs of sites must be there too", false},
};

static void print_report(const struct cli *cli, const struct plan *plan,
                         const struct verify_report *report)
{
    struct sk_buf out = SK_BUF_INIT;

    if (cli->json) {
        struct sk_jw w;
        sk_jw_init(&w, &out);
        sk_jw_obj(&w);
        sk_jw_kcstr(&w, "format", "skerry.verify/1");
        sk_jw_kcstr(&w, "plan", plan->id);
        sk_jw_kbool(&w, "ok", report->nfindings == 0);
        sk_jw_key(&w, "findings");
        sk_jw_arr(&w);
        for (size_t i = 0; i < report->nfindings; i++) {
            sk_jw_obj(&w);
            sk_jw_kstr(&w, "rule", report->findings[i].rule);
            sk_jw_kstr(&w, "text", report->findings[i].text);
            sk_jw_obj_end(&w);
        }
        sk_jw_arr_end(&w);
        sk_jw_obj_end(&w);
        sk_buf_addc(&out, '\n');
    } else if (report->nfindings == 0) {
        sk_buf_adds(&out, "ok\n");
    } else {
        for (size_t i = 0; i < report->nfindings; i++) {
            sk_buf_printf(&out, "%.*s: %.*s\n", SK_PRI(report->findings[i].rule),
                          SK_PRI(report->findings[i].text));
        }
    }
    cli_write(sk_buf_str(&out));
    sk_buf_release(&out);
}

static int run(struct cli *cli, struct sk_err *err)
{
    struct offline_world world = {0};
    struct verify_report report = {0};
    struct plan *plan = NULL;
    struct plan *current = NULL;
    int r;

    if (!cli_value(cli, "inventory") || !cli_value(cli, "plan")) {
        (void)sk_err_set(err, SK_ERR_USAGE, "verify needs --inventory and --plan");
        return sk_err_fix(err, "skerry verify --inventory FILE --plan PLAN.json %s", cli->args[0]);
    }
    r = offline_world(cli_value(cli, "inventory"), cli->args, cli->nargs, false, &world, err);
    if (r == 0) {
        r = offline_plan(cli_value(cli, "plan"), &plan, err);
    }
    if (r == 0 && cli_value(cli, "current")) {
        r = offline_plan(cli_value(cli, "current"), &current, err);
    }
    if (r == 0) {
        struct verify_input in = {
            .inv = world.inv,
            .projects = (const struct project *const *)world.projects,
            .nprojects = world.nprojects,
            .plan = plan,
            .current = current,
            .pairs = cli_flag(cli, "pairs"),
        };
        r = verify_plan(&in, &report, err);
    }
    if (r == 0) {
        print_report(cli, plan, &report);
        cli->exit_status = report.nfindings == 0 ? 0 : 3;
    }
    verify_report_release(&report);
    plan_free(plan);
    plan_free(current);
    offline_world_release(&world);
    return r;
}

const struct cli_command cmd_verify = {
    .name = "verify",
    .group = "Plan",
    .args = "FILE...",
    .summary = "check a plan by itself, rule by rule and figure by figure",
    .text = "Checks a plan against the inventory and the declarations by a second program that "
            "shares nothing with the\n"
            "planner. Prints each broken rule, one a line, and exits 3; or prints ok and exits 0.",
    .examples = "  skerry verify --inventory inventory.yaml --plan plan.json compose.yaml\n",
    .options = options,
    .noptions = SK_ARRAY_LEN(options),
    .min_args = 1,
    .max_args = 1000,
    .run = run,
};
