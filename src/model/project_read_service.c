/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>

#include "base/mem.h"
#include "base/units.h"
#include "model/compose_keys.h"
#include "model/project_draft.h"

/* How to run it: the plain keys of a service. */

static int read_image(struct rd *rd, const struct spot *at, void *into)
{
    struct service_draft *draft = into;

    if (rd_filled(rd, at, 1024, &draft->svc.image) < 0) {
        return rd->err.code;
    }
    if (memchr(draft->svc.image.ptr, ' ', draft->svc.image.len)) {
        return rd_bad(rd, at, "must not hold spaces");
    }
    return 0;
}

static int read_user(struct rd *rd, const struct spot *at, void *into)
{
    return rd_filled(rd, at, 256, &((struct service_draft *)into)->svc.user);
}

static int read_working_dir(struct rd *rd, const struct spot *at, void *into)
{
    struct service_draft *draft = into;

    if (rd_filled(rd, at, PROJECT_TEXT_MAX, &draft->svc.working_dir) < 0) {
        return rd->err.code;
    }
    if (draft->svc.working_dir.ptr[0] != '/') {
        return rd_bad(rd, at, "must be an absolute path, not '%.*s'",
                      SK_PRI(draft->svc.working_dir));
    }
    return 0;
}

static bool is_signal_name(struct sk_str name)
{
    static const char *const names[] = {
        "HUP",  "INT",  "QUIT", "ILL",  "TRAP", "ABRT", "BUS",    "FPE",  "KILL",  "USR1",   "SEGV",
        "USR2", "PIPE", "ALRM", "TERM", "CHLD", "CONT", "STOP",   "TSTP", "TTIN",  "TTOU",   "URG",
        "XCPU", "XFSZ", "PROF", "IO",   "PWR",  "SYS",  "STKFLT", "POLL", "WINCH", "VTALRM",
    };
    int64_t n = 0;

    for (size_t i = 0; i < SK_ARRAY_LEN(names); i++) {
        if (sk_str_is(name, names[i])) {
            return true;
        }
    }
    return sk_str_is(name, "RTMIN") || sk_str_is(name, "RTMAX") ||
           ((sk_str_starts(name, SK_STR("RTMIN+")) || sk_str_starts(name, SK_STR("RTMAX-"))) &&
            sk_parse_int((struct sk_str){name.ptr + 6, name.len - 6}, 1, 15, &n, NULL) == 0);
}

/* Kept as "SIGTERM", or as a number. */
static int read_stop_signal(struct rd *rd, const struct spot *at, void *into)
{
    struct service_draft *draft = into;
    struct sk_str text;
    struct sk_str name;
    int64_t number = 0;

    if (rd_scalar(rd, at, &text) < 0) {
        return rd->err.code;
    }
    if (sk_parse_int(text, 1, 64, &number, NULL) == 0) {
        draft->svc.stop_signal = text;
        return 0;
    }
    name = text;
    if (sk_str_starts(text, SK_STR("SIG"))) {
        name = (struct sk_str){text.ptr + 3, text.len - 3};
    }
    if (!is_signal_name(name)) {
        return rd_bad(rd, at, "must be a signal like SIGTERM, not '%.*s'", SK_PRI(text));
    }
    draft->svc.stop_signal = sk_arena_printf(rd->arena, "SIG%.*s", SK_PRI(name));
    return 0;
}

static int read_stop_grace_period(struct rd *rd, const struct spot *at, void *into)
{
    return rd_duration(rd, at, &((struct service_draft *)into)->svc.stop_grace_ms);
}

static int read_restart(struct rd *rd, const struct spot *at, void *into)
{
    struct service_draft *draft = into;
    struct sk_str text;
    struct sk_str head;
    struct sk_str tail;

    if (rd_string(rd, at, &text) < 0) {
        return rd->err.code;
    }
    draft->has_restart = true;
    if (sk_str_is(text, "always")) {
        draft->svc.restart = RESTART_ALWAYS;
    } else if (sk_str_is(text, "no")) {
        draft->svc.restart = RESTART_NO;
    } else if (sk_str_is(text, "unless-stopped")) {
        draft->svc.restart = RESTART_UNLESS_STOPPED;
    } else {
        bool max = sk_str_cut(text, ':', &head, &tail);
        draft->svc.restart = RESTART_ON_FAILURE;
        if (!sk_str_is(head, "on-failure") ||
            (max && sk_parse_int(tail, 1, 1000000, &draft->svc.restart_max, NULL) < 0)) {
            return rd_bad(rd, at,
                          "must be \"no\", always, unless-stopped, on-failure or on-failure:N, not "
                          "'%.*s'",
                          SK_PRI(text));
        }
    }
    return 0;
}

static int read_labels(struct rd *rd, const struct spot *at, void *into)
{
    struct service_draft *draft = into;
    return rd_kvs(rd, at, PROJECT_LABELS_MAX, &draft->svc.labels, &draft->svc.nlabels);
}

static int read_tmpfs(struct rd *rd, const struct spot *at, void *into)
{
    struct service_draft *draft = into;

    if (rd_strings(rd, at, PROJECT_TMPFS_MAX, &draft->svc.tmpfs, &draft->svc.ntmpfs) < 0) {
        return rd->err.code;
    }
    for (size_t i = 0; i < draft->svc.ntmpfs; i++) {
        struct sk_str path = draft->svc.tmpfs[i];
        if (path.len == 0 || path.ptr[0] != '/' || path.len > PROJECT_TEXT_MAX) {
            return rd_bad(rd, at, "must hold absolute paths, not '%.*s'", SK_PRI(path));
        }
    }
    return 0;
}

/* depends_on ------------------------------------------------------------------------------ */

static const char *const conditions[] = {
    [DEPENDS_STARTED] = "service_started",
    [DEPENDS_HEALTHY] = "service_healthy",
    [DEPENDS_COMPLETED] = "service_completed_successfully",
};

static int read_condition(struct rd *rd, const struct spot *at, void *into)
{
    struct sk_str text;

    if (rd_string(rd, at, &text) < 0) {
        return rd->err.code;
    }
    for (size_t i = 0; i < SK_ARRAY_LEN(conditions); i++) {
        if (sk_str_is(text, conditions[i])) {
            ((struct depends *)into)->condition = (enum depends_condition)i;
            return 0;
        }
    }
    return rd_bad(rd, at,
                  "must be service_started, service_healthy or service_completed_successfully, not "
                  "'%.*s'",
                  SK_PRI(text));
}

static const struct rd_key depends_keys[] = {
    {"condition", RD_EXECUTED, read_condition,
     "service_started, service_healthy, service_completed_successfully", NULL},
    {"required", RD_REFUSED, NULL, NULL, "remove it: a dependency is always required"},
    {"restart", RD_REFUSED, NULL, NULL,
     "remove it: a service is not restarted because another one is"},
};
const struct rd_object depends_object = {.place = "services.*.depends_on.*",
                                         .keys = depends_keys,
                                         .nkeys = SK_ARRAY_LEN(depends_keys),
                                         .known = compose_depends_keys,
                                         .extensions = true};

static int read_depends_entry(struct rd *rd, const struct spot *at, void *into)
{
    struct service_draft *draft = into;
    struct depends *depends = &draft->depends[draft->ndepends];

    draft->depends_pos[draft->ndepends] = spot_pos(rd, at);
    if (at->key.ptr) {
        draft->depends_pos[draft->ndepends] = (struct sk_pos){rd->file, at->key_line, at->key_col};
        depends->service = sk_arena_str(rd->arena, at->key);
        if (at->node->kind != SK_NULL && rd_object_read(rd, at, &depends_object, depends) < 0) {
            return rd->err.code;
        }
    } else if (rd_string(rd, at, &depends->service) < 0) {
        return rd->err.code;
    }
    draft->ndepends++;
    return 0;
}

static int read_depends_on(struct rd *rd, const struct spot *at, void *into)
{
    struct service_draft *draft = into;
    size_t count = at->node->count;

    if (at->node->kind != SK_SEQ && at->node->kind != SK_MAP) {
        return rd_bad(rd, at, "must be a list of services, or a map with conditions");
    }
    if (rd_at_most(rd, at, PROJECT_DEPENDS_MAX) < 0) {
        return rd->err.code;
    }
    draft->depends = SK_ARENA_ARRAY(rd->arena, struct depends, count);
    draft->depends_pos = SK_ARENA_ARRAY(rd->scratch, struct sk_pos, count);
    return rd_each(rd, at, read_depends_entry, draft);
}

/* The service ----------------------------------------------------------------------------- */

static const struct rd_key service_keys[] = {
    {"image", RD_EXECUTED, read_image, "reference of an image",
     "none: `command` runs a program of the host"},
    {"command", RD_EXECUTED, read_command, "list, or a string that is split into words", NULL},
    {"entrypoint", RD_EXECUTED, read_entrypoint, "list, or a string that is split into words",
     NULL},
    {"environment", RD_EXECUTED, read_environment, "map, or list of KEY=VALUE",
     "a key without value takes that of the caller's environment"},
    {"env_file", RD_EXECUTED, read_env_file, "path, or list of paths or {path, required}", NULL},
    {"ports", RD_EXECUTED, read_ports, "list of [PUBLISHED:]TARGET[/PROTOCOL] or maps; ranges",
     "no host address but 0.0.0.0"},
    {"expose", RD_EXECUTED, read_expose, "list of ports; ranges", NULL},
    {"depends_on", RD_EXECUTED, read_depends_on, "list of services, or map with conditions", NULL},
    {"healthcheck", RD_EXECUTED, read_healthcheck, "map", NULL},
    {"restart", RD_EXECUTED, read_restart,
     "\"no\", always, unless-stopped, on-failure, on-failure:N",
     "default always; \"no\" for a service that another one waits for to complete"},
    {"user", RD_EXECUTED, read_user, "user, uid, user:group or uid:gid", NULL},
    {"working_dir", RD_EXECUTED, read_working_dir, "absolute path", NULL},
    {"stop_signal", RD_EXECUTED, read_stop_signal,
     "name or number; default the image's, else SIGTERM", NULL},
    {"stop_grace_period", RD_EXECUTED, read_stop_grace_period, "duration; default 10s", NULL},
    {"labels", RD_IGNORED, read_labels, "map, or list of KEY=VALUE",
     "kept with the declaration; nothing acts on them"},
    {"tmpfs", RD_EXECUTED, read_tmpfs, "path, or list of paths; PATH:OPTIONS", NULL},
    {"deploy", RD_EXECUTED, read_deploy, "map", NULL},
    {"x-skerry", RD_EXECUTED, read_policy, "map", "policies; see below"},
    {"build", RD_REFUSED, NULL, NULL,
     "build and push the image beforehand, and name it in 'image'"},
    {"container_name", RD_REFUSED, NULL, NULL, "remove it: skerry names the instances itself"},
    {"cpus", RD_REFUSED, NULL, NULL, "write deploy.resources.limits.cpus"},
    {"mem_limit", RD_REFUSED, NULL, NULL, "write deploy.resources.limits.memory"},
    {"mem_reservation", RD_REFUSED, NULL, NULL, "write deploy.resources.reservations.memory"},
    {"pids_limit", RD_REFUSED, NULL, NULL, "write deploy.resources.limits.pids"},
    {"scale", RD_REFUSED, NULL, NULL, "write deploy.replicas"},
    {"links", RD_REFUSED, NULL, NULL, "remove it; depends_on gives the order"},
    {"networks", RD_REFUSED, NULL, NULL, "remove it: a project has no networks of its own yet"},
    {"volumes", RD_REFUSED, NULL, NULL,
     "keep the data outside for now; 'tmpfs' gives scratch space"},
    {"secrets", RD_REFUSED, NULL, NULL, "use 'environment' or 'env_file' for now"},
    {"configs", RD_REFUSED, NULL, NULL, "put the file into the image for now"},
    {"profiles", RD_REFUSED, NULL, NULL, "put the service into a file of its own"},
    {"extends", RD_REFUSED, NULL, NULL, "use a YAML anchor and '<<'"},
};
const struct rd_object service_object = {.place = "services.*",
                                         .keys = service_keys,
                                         .nkeys = SK_ARRAY_LEN(service_keys),
                                         .known = compose_service_keys,
                                         .extensions = true};

int read_service(struct rd *rd, const struct spot *at, struct service_draft *draft)
{
    struct service *svc = &draft->svc;

    svc->pos = (struct sk_pos){rd->file, at->key_line, at->key_col};
    if (rd_compose_name(rd, svc->pos, "service", at->key) < 0) {
        return rd->err.code;
    }
    svc->name = sk_arena_str(rd->arena, at->key);
    svc->image = svc->user = svc->working_dir = svc->stop_signal = svc->route_host = SK_STR("");
    svc->check.http_path = SK_STR("");
    svc->check.interval_ms = 1000;
    svc->check.timeout_ms = 1000;
    svc->check.retries = 3;
    svc->stop_grace_ms = 10000;
    svc->replicas = 1;
    svc->latency.share = 0.95;
    return rd_object_read(rd, at, &service_object, draft);
}
