/* SPDX-License-Identifier: Apache-2.0 */
#include "base/mem.h"
#include "model/compose_keys.h"
#include "model/project_draft.h"

/* Health: Compose's `healthcheck`, and skerry's own HTTP check, which needs no program in the
 * image. The latter takes its timing from the former. */

#define DAY_MS (24 * 3600 * 1000)

static int read_span(struct rd *rd, const struct spot *at, int64_t min, int64_t *ret)
{
    if (rd_duration(rd, at, ret) < 0) {
        return rd->err.code;
    }
    if (*ret < min || *ret > DAY_MS) {
        return rd_bad(rd, at, "must be %sat most a day", min ? "above 0 and " : "");
    }
    return 0;
}

static int read_interval(struct rd *rd, const struct spot *at, void *into)
{
    return read_span(rd, at, 1, &((struct service_draft *)into)->svc.check.interval_ms);
}

static int read_timeout(struct rd *rd, const struct spot *at, void *into)
{
    return read_span(rd, at, 1, &((struct service_draft *)into)->svc.check.timeout_ms);
}

static int read_start_period(struct rd *rd, const struct spot *at, void *into)
{
    return read_span(rd, at, 0, &((struct service_draft *)into)->svc.check.start_period_ms);
}

static int read_retries(struct rd *rd, const struct spot *at, void *into)
{
    return rd_int(rd, at, 1, 1000, &((struct service_draft *)into)->svc.check.retries);
}

static int read_disable(struct rd *rd, const struct spot *at, void *into)
{
    return rd_bool(rd, at, &((struct service_draft *)into)->check_disabled);
}

static int read_test_list(struct rd *rd, const struct spot *at, struct service_draft *draft)
{
    struct healthcheck *check = &draft->svc.check;
    const struct sk_str *items;
    size_t count;

    if (rd_strings(rd, at, PROJECT_ARGS_MAX, &items, &count) < 0) {
        return rd->err.code;
    }
    if (count == 1 && sk_str_is(items[0], "NONE")) {
        draft->check_disabled = true;
        return 0;
    }
    if (count >= 2 && sk_str_is(items[0], "CMD")) {
        check->kind = CHECK_EXEC;
    } else if (count == 2 && sk_str_is(items[0], "CMD-SHELL")) {
        check->kind = CHECK_SHELL;
    } else {
        (void)rd_bad(rd, at, "must start with CMD, CMD-SHELL or NONE");
        return sk_err_fix(&rd->err,
                          "write [\"CMD\", program, argument...] or [\"CMD-SHELL\", \"command\"]");
    }
    check->test = (struct argv){items + 1, count - 1};
    return 0;
}

static int read_test(struct rd *rd, const struct spot *at, void *into)
{
    struct service_draft *draft = into;
    struct sk_str *text;

    draft->test_written = true;
    if (at->node->kind == SK_SEQ) {
        return read_test_list(rd, at, draft);
    }
    text = SK_ARENA_NEW(rd->arena, struct sk_str);
    if (rd_string(rd, at, text) < 0) {
        return rd->err.code;
    }
    if (text->len == 0) {
        return rd_bad(rd, at, "must not be empty");
    }
    draft->svc.check.kind = CHECK_SHELL;
    draft->svc.check.test = (struct argv){text, 1};
    return 0;
}

static const struct rd_key healthcheck_keys[] = {
    {"test", RD_EXECUTED, read_test, "command, [CMD, ...], [CMD-SHELL, command], [NONE]", NULL},
    {"interval", RD_EXECUTED, read_interval, "duration; default 1s", "until healthy every 100 ms"},
    {"timeout", RD_EXECUTED, read_timeout, "duration; default 1s", NULL},
    {"retries", RD_EXECUTED, read_retries, "whole number; default 3", NULL},
    {"start_period", RD_EXECUTED, read_start_period, "duration; default 0s", NULL},
    {"disable", RD_EXECUTED, read_disable, "true or false", NULL},
    {"start_interval", RD_REFUSED, NULL, NULL,
     "remove it: until a replica is healthy it is checked every 100 ms"},
};
const struct rd_object healthcheck_object = {.place = "services.*.healthcheck",
                                             .keys = healthcheck_keys,
                                             .nkeys = SK_ARRAY_LEN(healthcheck_keys),
                                             .known = compose_healthcheck_keys,
                                             .extensions = true};

int read_healthcheck(struct rd *rd, const struct spot *at, void *into)
{
    struct service_draft *draft = into;
    draft->healthcheck_pos = spot_pos(rd, at);
    return rd_object_read(rd, at, &healthcheck_object, into);
}

/* x-skerry.check -------------------------------------------------------------------------- */

static int read_http_path(struct rd *rd, const struct spot *at, void *into)
{
    struct service_draft *draft = into;

    if (rd_filled(rd, at, 1024, &draft->svc.check.http_path) < 0) {
        return rd->err.code;
    }
    if (draft->svc.check.http_path.ptr[0] != '/' ||
        memchr(draft->svc.check.http_path.ptr, ' ', draft->svc.check.http_path.len)) {
        return rd_bad(rd, at, "must be a path like /healthz, not '%.*s'",
                      SK_PRI(draft->svc.check.http_path));
    }
    return 0;
}

static int read_http_port(struct rd *rd, const struct spot *at, void *into)
{
    return rd_port(rd, at, &((struct service_draft *)into)->svc.check.http_port);
}

static const struct rd_key http_keys[] = {
    {"path", RD_EXECUTED, read_http_path, "path; default /", "2xx and 3xx are healthy"},
    {"port", RD_EXECUTED, read_http_port, "port inside the replica; required", NULL},
};
const struct rd_object http_object = {
    .place = "services.*.x-skerry.check.http", .keys = http_keys, .nkeys = SK_ARRAY_LEN(http_keys)};

static int read_http(struct rd *rd, const struct spot *at, void *into)
{
    struct service_draft *draft = into;

    draft->http_written = true;
    draft->svc.check.http_path = SK_STR("/");
    if (rd_object_read(rd, at, &http_object, into) < 0) {
        return rd->err.code;
    }
    return draft->svc.check.http_port ? 0 : rd_bad(rd, at, "lacks 'port'");
}

static const struct rd_key check_keys[] = {
    {"http", RD_EXECUTED, read_http, "{path, port}",
     "a GET inside the replica's network; timing from healthcheck; wins over healthcheck.test"},
};
const struct rd_object check_object = {
    .place = "services.*.x-skerry.check", .keys = check_keys, .nkeys = SK_ARRAY_LEN(check_keys)};

int read_check(struct rd *rd, const struct spot *at, void *into)
{
    struct service_draft *draft = into;

    draft->check_pos = spot_pos(rd, at);
    if (rd_object_read(rd, at, &check_object, into) < 0) {
        return rd->err.code;
    }
    return draft->http_written ? 0 : rd_bad(rd, at, "lacks 'http'");
}
