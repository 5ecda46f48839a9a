/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "base/json.h"
#include "base/log.h"
#include "daemon/api.h"
#include "daemon/call.h"
#include "daemon/host.h"
#include "model/inventory.h"

#define EVENTS_PAGE_MAX 1000

void api_run_status(struct host *host, struct api_call *call)
{
    control_status_json(host_control(host), &call->answer);
}

void api_run_control(struct host *host, struct api_call *call)
{
    host_control_status(host, call);
}

void api_run_ps(struct host *host, struct api_call *call)
{
    control_ps_json(host_control(host), &call->answer);
}

void api_run_nodes(struct host *host, struct api_call *call)
{
    control_nodes_json(host_control(host), &call->answer);
}

void api_run_sites(struct host *host, struct api_call *call)
{
    control_sites_json(host_control(host), &call->answer);
}

void api_run_return(struct host *host, struct api_call *call)
{
    control_return_json(host_control(host), &call->answer);
}

void api_run_projects(struct host *host, struct api_call *call)
{
    control_projects_json(host_control(host), &call->answer);
}

void api_run_tokens(struct host *host, struct api_call *call)
{
    control_tokens_json(host_control(host), &call->answer);
}

void api_run_keys(struct host *host, struct api_call *call)
{
    control_keys_json(host_control(host), &call->answer);
}

void api_run_events(struct host *host, struct api_call *call)
{
    control_events_json(host_control(host), call->number, EVENTS_PAGE_MAX, &call->answer);
}

/* Those after `number` first, then what comes: nothing falls between a list and its continuation.
 */
void api_run_event_stream(struct host *host, struct api_call *call)
{
    struct sk_arena *arena = sk_arena_new();
    struct sk_buf past = SK_BUF_INIT;
    const struct sk_node *root = NULL;
    const struct sk_node *list = NULL;

    control_events_json(host_control(host), call->number, EVENTS_PAGE_MAX, &past);
    if (sk_json_read(arena, "events", sk_buf_str(&past), NULL, &root, NULL) == 0) {
        list = sk_map_seq(root, "events");
    }
    for (uint32_t i = 0; list && i < list->count; i++) {
        struct sk_buf line = SK_BUF_INIT;
        struct sk_jw w;
        sk_buf_printf(&line,
                      "id: %lld\ndata: ", (long long)sk_map_int(&list->u.items[i], "seq", 0));
        sk_jw_init(&w, &line);
        sk_jw_node(&w, &list->u.items[i]);
        sk_buf_adds(&line, "\n\n");
        (void)api_feed_push(call->stream, sk_buf_str(&line));
        sk_buf_release(&line);
    }
    sk_buf_release(&past);
    sk_arena_free(arena);
    host_add_feed(host, call->stream);
}

void api_run_drills(struct host *host, struct api_call *call)
{
    control_drills_json(host_control(host), &call->answer);
}

void api_run_drill(struct host *host, struct api_call *call)
{
    (void)control_drill_json(host_control(host), &call->answer, &call->err);
}

void api_run_drill_report(struct host *host, struct api_call *call)
{
    (void)control_drill_report_json(host_control(host), call->number, &call->answer, &call->err);
}

void api_run_why(struct host *host, struct api_call *call)
{
    (void)control_why_json(host_control(host), call->arg1, call->arg2, &call->answer, &call->err);
}

void api_run_view(struct host *host, struct api_call *call)
{
    (void)control_view_json(host_control(host), call->arg1, &call->answer, &call->err);
}

void api_run_project(struct host *host, struct api_call *call)
{
    struct control *control = host_control(host);

    for (size_t i = 0; i < control_project_count(control); i++) {
        const struct project *project = control_project(control, i);
        if (sk_str_eq(project->name, call->arg1)) {
            sk_buf_addstr(&call->answer, project->canonical);
            return;
        }
    }
    (void)sk_err_set(&call->err, SK_ERR_NOT_FOUND, "there is no project '%.*s'",
                     SK_PRI(call->arg1));
}

void api_run_plan_in_force(struct host *host, struct api_call *call)
{
    const struct plan *plan = control_plan(host_control(host));
    struct sk_jw w;

    if (!plan) {
        (void)sk_err_set(&call->err, SK_ERR_NOT_FOUND,
                         "nothing was applied yet, so no plan is in force");
        return;
    }
    sk_jw_init(&w, &call->answer);
    plan_write_json(plan, &w);
}

void api_run_inventory(struct host *host, struct api_call *call)
{
    struct inventory *inv = control_inventory(host_control(host));
    struct sk_jw w;

    sk_jw_init(&w, &call->answer);
    inventory_write_json(inv, &w);
    control_inventory_free(inv);
}

void api_run_logs(struct host *host, struct api_call *call)
{
    struct sk_str node;

    if (!control_instance_node(host_control(host), call->arg1, &node)) {
        (void)sk_err_set(&call->err, SK_ERR_NOT_FOUND, "there is no instance '%.*s'",
                         SK_PRI(call->arg1));
        (void)sk_err_fix(&call->err, "'skerry ps' lists the instances");
        return;
    }
    (void)host_logs(host, node, call->arg1, call->number, sk_str_is(call->arg2, "follow"),
                    call->stream, &call->err);
}

void api_run_seats(struct host *host, struct api_call *call)
{
    control_seats_json(host_control(host), &call->answer);
}

void api_run_grow(struct host *host, struct api_call *call)
{
    if (call->pems[0].len > 0 && !host_form(host)->etcd) {
        host_grow_to(host, call);
    } else {
        api_run_request(host, call); /* over an etcd already: refused there */
    }
}

void api_run_request(struct host *host, struct api_call *call)
{
    struct control_event ev = {.kind = CONTROL_EV_REQUEST};

    call->request.id = host_next_request(host);
    call->request.who = call->who;
    ev.u.request = call->request;
    host_await(host, call->request.id, call);
    host_step(host, &ev);
}

/* Any control node can make one, and does it off the loop thread (api.c): here only the role was
 * checked. */
void api_run_backup(struct host *host, struct api_call *call)
{
    (void)host;
    (void)call;
}

/* The one answer that shows the code: it is nowhere else. */
void api_run_recovery(struct host *host, struct api_call *call)
{
    char text[SEAL_CODE_TEXT_SIZE];
    struct seal_code code;
    struct sk_jw w;

    if (keys_recovery_new(host_keys(host), &code, &call->err) < 0) {
        return;
    }
    sk_log(SK_LOG_WARN, "another recovery code was made", "who=\"%.*s\"", SK_PRI(call->who));
    seal_code_print(&code, text);
    sk_jw_init(&w, &call->answer);
    sk_jw_obj(&w);
    sk_jw_kcstr(&w, "format", "skerry.recovery/1");
    sk_jw_kcstr(&w, "recovery_code", text);
    sk_jw_obj_end(&w);
    explicit_bzero(text, sizeof(text));
    explicit_bzero(&code, sizeof(code));
}
