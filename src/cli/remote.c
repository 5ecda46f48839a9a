/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/remote.h"

#include <string.h>

#include "cli/plan_text.h"

#define PLAN_TIMEOUT_MS 125000

void remote_body(struct project *const *projects, size_t nprojects, const char *extra,
                 struct sk_buf *out)
{
    sk_buf_adds(out, "{\"projects\":[");
    for (size_t i = 0; i < nprojects; i++) {
        if (i) {
            sk_buf_addc(out, ',');
        }
        sk_buf_addstr(out, projects[i]->canonical);
    }
    sk_buf_printf(out, "]%s}", extra);
}

static int ask_plan(struct api_client *client, const char *method, const char *path,
                    struct sk_str body, struct plan **ret, struct sk_err *err)
{
    struct sk_arena *arena = sk_arena_new();
    const struct sk_node *root;
    int r = api_call(client, method, path, body, PLAN_TIMEOUT_MS, arena, &root, NULL, err);

    if (r == 0) {
        r = plan_from_record("answer", root, ret, err);
    }
    sk_arena_free(arena);
    return r;
}

int remote_plan(struct api_client *client, struct project *const *projects, size_t nprojects,
                bool pairs, struct plan **ret, struct sk_err *err)
{
    struct sk_buf body = SK_BUF_INIT;
    int r;

    remote_body(projects, nprojects, pairs ? ",\"pairs\":true" : "", &body);
    r = ask_plan(client, "POST", "/v1/plan", sk_buf_str(&body), ret, err);
    sk_buf_release(&body);
    return r;
}

int remote_rebalance(struct api_client *client, struct plan **ret, struct sk_err *err)
{
    return ask_plan(client, "POST", "/v1/rebalance", SK_STR("{\"dry_run\":true}"), ret, err);
}

/* As printed for people, or whole. */
int remote_expect(const struct cli *cli, const struct plan *plan, const char *fix,
                  struct sk_err *err)
{
    const char *want = cli_value(cli, "plan");

    if (!want || (strlen(want) >= PLAN_ID_SHOWN && sk_str_starts(sk_str(plan->id), sk_str(want)))) {
        return 0;
    }
    (void)sk_err_set(err, SK_ERR_CONFLICT,
                     "plan %s is not what the state leads to any more; now it is %s", want,
                     plan->id);
    return sk_err_fix(err, "%s", fix);
}

int remote_current(struct api_client *client, struct plan **ret, struct sk_err *err)
{
    struct sk_err answer = {0};
    int r = ask_plan(client, "GET", "/v1/plan", SK_STR_NULL, ret, &answer);

    if (r == SK_ERR_NOT_FOUND) {
        *ret = NULL;
        return 0;
    }
    if (r < 0 && err) {
        *err = answer;
    }
    return r;
}
