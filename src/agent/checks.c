/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/internal.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/*
 * Health checks. TCP and HTTP ones are made by the shim, which lives in the instance's network;
 * programs are started by the agent, in the container or with a host program's user and
 * environment, a few at a time: a hundred checks at once would starve what they check.
 */
static void next_queued(struct agent *agent)
{
    struct work *work, *next;

    HASH_ITER (hh, agent->works, work, next) {
        if (work->check_queued && agent->exec_checks < AGENT_EXEC_CHECKS_MAX) {
            check_start(work);
        }
    }
}

void check_answer(struct work *work, bool ok, const char *reason)
{
    struct agent_event e = {
        .kind = AGENT_CHECKED, .id = work->id, .run = work->run, .ok = ok, .reason = reason};
    agent_post(work->agent, &e);
}

static void on_exec_done(void *ctx, const struct sk_proc_result *result)
{
    struct work *work = ctx;
    struct agent *agent = work->agent;

    work->checker = NULL;
    agent->exec_checks--;
    if (!result->cancelled) {
        check_answer(work, result->err.code == SK_OK, result->err.msg);
    }
    next_queued(agent);
}

static int start_exec(struct work *work, const struct assignment *a, struct sk_err *err)
{
    const struct service *s = a->service;
    struct launch launch = {0};
    struct sk_proc_spec spec = {.timeout_ms = s->check.timeout_ms};
    int rc = 0;

    if (work->driver == DRIVER_OCI) {
        oci_check_argv(work, a, &launch);
    } else {
        rc = exec_user(s->user, &spec.uid, &spec.gid, &spec.has_user, err);
        spec.has_user = spec.has_user && geteuid() == 0;
        spec.cwd = s->working_dir.len ? s->working_dir.ptr : NULL;
        launch_instance_env(&launch, work->agent, a, work->epoch);
        launch_env(&launch, "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
    }
    if (s->check.kind == CHECK_SHELL) {
        launch_arg(&launch,
                   "/bin/sh"); /* the declaration's own words, run where the service runs */
        launch_arg(&launch, "-c");
    }
    for (size_t i = 0; i < s->check.test.count; i++) {
        launch_arg(&launch, "%s", s->check.test.items[i].ptr);
    }
    spec.argv = (const char *const *)launch.argv;
    spec.env = (const char *const *)launch.env;
    if (rc == 0) {
        rc = sk_proc_start(&work->agent->loop, &spec, on_exec_done, work, &work->checker, err);
    }
    launch_release(&launch);
    return rc;
}

static void start_by_shim(struct work *work, const struct assignment *a)
{
    const struct healthcheck *check = &a->service->check;
    int64_t timeout_ms = check->timeout_ms > 0 ? check->timeout_ms : 1000;
    char what[2600];

    if (check->kind == CHECK_HTTP) {
        (void)snprintf(what, sizeof(what), "http %s %u %" PRId64 " %.2000s", a->address.ptr,
                       check->http_port ? check->http_port : a->port, timeout_ms,
                       check->http_path.len ? check->http_path.ptr : "/");
    } else {
        (void)snprintf(what, sizeof(what), "tcp %s %u %" PRId64, a->address.ptr, a->port,
                       timeout_ms);
    }
    shim_link_check(work->link, what);
}

void check_start(struct work *work)
{
    struct agent *agent = work->agent;
    const struct assignment *a = assign_find(agent->assigned, work->id);
    struct sk_err err = {0};
    bool exec;

    work->check_queued = false;
    if (!a || !a->service || !work->link) {
        check_answer(work, false, "it is not running");
        return;
    }
    exec = a->service->check.kind == CHECK_EXEC || a->service->check.kind == CHECK_SHELL;
    if (!exec) {
        start_by_shim(work, a);
    } else if (agent->exec_checks >= AGENT_EXEC_CHECKS_MAX) {
        work->check_queued = true;
    } else {
        agent->exec_checks++;
        if (start_exec(work, a, &err) < 0) {
            agent->exec_checks--;
            check_answer(work, false, err.msg);
        }
    }
}

void check_drop(struct work *work)
{
    work->check_queued = false;
    if (work->checker) {
        sk_proc_cancel(work->checker);
    }
}
