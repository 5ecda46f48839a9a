/* SPDX-License-Identifier: Apache-2.0 */
#include "base/mem.h"
#include "model/compose_keys.h"
#include "model/project_draft.h"

/* How many, how large, and where: `deploy`. */

static int read_replicas(struct rd *rd, const struct spot *at, void *into)
{
    struct service_draft *draft = into;
    draft->replicas_pos = spot_pos(rd, at);
    return rd_int(rd, at, 0, PROJECT_REPLICAS_MAX, &draft->svc.replicas);
}

static int read_deploy_labels(struct rd *rd, const struct spot *at, void *into)
{
    struct service_draft *draft = into;
    return rd_kvs(rd, at, PROJECT_LABELS_MAX, &draft->svc.deploy_labels,
                  &draft->svc.ndeploy_labels);
}

/* Resources ------------------------------------------------------------------------------- */

static int read_limit_cpus(struct rd *rd, const struct spot *at, void *into)
{
    struct service_draft *draft = into;

    if (rd_cpus(rd, at, &draft->svc.limit_cpus_nano) < 0) {
        return rd->err.code;
    }
    return draft->svc.limit_cpus_nano > 0 ? 0 : rd_bad(rd, at, "must be above 0");
}

static int read_limit_memory(struct rd *rd, const struct spot *at, void *into)
{
    struct service_draft *draft = into;

    if (rd_bytes(rd, at, &draft->svc.limit_memory_bytes) < 0) {
        return rd->err.code;
    }
    return draft->svc.limit_memory_bytes > 0 ? 0 : rd_bad(rd, at, "must be above 0");
}

static int read_limit_pids(struct rd *rd, const struct spot *at, void *into)
{
    return rd_int(rd, at, 1, 4194304, &((struct service_draft *)into)->svc.limit_pids);
}

static int read_need_cpus(struct rd *rd, const struct spot *at, void *into)
{
    struct service_draft *draft = into;
    draft->has_need_cpus = true;
    return rd_cpus(rd, at, &draft->need_cpus);
}

static int read_need_memory(struct rd *rd, const struct spot *at, void *into)
{
    struct service_draft *draft = into;
    draft->has_need_memory = true;
    return rd_bytes(rd, at, &draft->need_memory);
}

static const struct rd_key limits_keys[] = {
    {"cpus", RD_EXECUTED, read_limit_cpus, "number above 0", NULL},
    {"memory", RD_EXECUTED, read_limit_memory, "size above 0", NULL},
    {"pids", RD_EXECUTED, read_limit_pids, "whole number above 0", NULL},
};
const struct rd_object limits_object = {.place = "services.*.deploy.resources.limits",
                                        .keys = limits_keys,
                                        .nkeys = SK_ARRAY_LEN(limits_keys),
                                        .known = compose_limits_keys,
                                        .extensions = true};

static const struct rd_key reservations_keys[] = {
    {"cpus", RD_EXECUTED, read_need_cpus, "number; default the limit, else 0.1",
     "what the planner counts"},
    {"memory", RD_EXECUTED, read_need_memory, "size; default the limit, else 64M",
     "what the planner counts"},
};
const struct rd_object reservations_object = {.place = "services.*.deploy.resources.reservations",
                                              .keys = reservations_keys,
                                              .nkeys = SK_ARRAY_LEN(reservations_keys),
                                              .known = compose_reservations_keys,
                                              .extensions = true};

static int read_limits(struct rd *rd, const struct spot *at, void *into)
{
    return rd_object_read(rd, at, &limits_object, into);
}

static int read_reservations(struct rd *rd, const struct spot *at, void *into)
{
    return rd_object_read(rd, at, &reservations_object, into);
}

static const struct rd_key resources_keys[] = {
    {"limits", RD_EXECUTED, read_limits, "map", NULL},
    {"reservations", RD_EXECUTED, read_reservations, "map", NULL},
};
const struct rd_object resources_object = {.place = "services.*.deploy.resources",
                                           .keys = resources_keys,
                                           .nkeys = SK_ARRAY_LEN(resources_keys),
                                           .known = compose_resources_keys,
                                           .extensions = true};

static int read_resources(struct rd *rd, const struct spot *at, void *into)
{
    return rd_object_read(rd, at, &resources_object, into);
}

/* Placement ------------------------------------------------------------------------------- */

static const struct {
    const char *name;
    enum constraint_subject subject;
} subjects[] = {
    {"node.name", ON_NODE},
    {"node.site", ON_SITE},
    {"site.provider", ON_PROVIDER},
    {"site.region", ON_REGION},
};

#define SUBJECTS "use node.labels.KEY, node.name, node.site, site.provider or site.region"

static int read_subject(struct rd *rd, const struct spot *at, struct sk_str name,
                        struct constraint *ret)
{
    for (size_t i = 0; i < SK_ARRAY_LEN(subjects); i++) {
        if (sk_str_is(name, subjects[i].name)) {
            ret->subject = subjects[i].subject;
            return 0;
        }
    }
    if (sk_str_starts(name, SK_STR("node.labels."))) {
        ret->subject = ON_LABEL;
        ret->label = sk_arena_str(rd->arena, (struct sk_str){name.ptr + 12, name.len - 12});
        if (!rd_kv_key_valid(ret->label)) {
            return rd_bad(rd, at, "has no valid label after 'node.labels.'");
        }
        return 0;
    }
    if (sk_str_is(name, "node.id") || sk_str_is(name, "node.hostname") ||
        sk_str_is(name, "node.role") || sk_str_is(name, "node.platform.os") ||
        sk_str_is(name, "node.platform.arch") || sk_str_starts(name, SK_STR("engine.labels."))) {
        (void)rd_bad(rd, at, "constrains '%.*s', which is not supported by skerry yet",
                     SK_PRI(name));
        rd->err.code = SK_ERR_UNSUPPORTED;
    } else {
        (void)rd_bad(rd, at, "constrains '%.*s', which is not known", SK_PRI(name));
    }
    return sk_err_fix(&rd->err, SUBJECTS);
}

static int64_t find_operator(struct sk_str text)
{
    for (size_t i = 0; i + 1 < text.len; i++) {
        if ((text.ptr[i] == '=' || text.ptr[i] == '!') && text.ptr[i + 1] == '=') {
            return (int64_t)i;
        }
    }
    return -1;
}

static int read_constraint(struct rd *rd, const struct spot *at, struct constraint *ret)
{
    struct sk_str text;
    struct sk_str name;
    int64_t op;

    if (rd_filled(rd, at, 512, &text) < 0) {
        return rd->err.code;
    }
    op = find_operator(text);
    if (op < 0) {
        (void)rd_bad(rd, at, "must compare with == or !=, not '%.*s'", SK_PRI(text));
        return sk_err_fix(&rd->err, "write it like \"node.labels.disk == ssd\"");
    }
    name = sk_str_trim((struct sk_str){text.ptr, (size_t)op});
    ret->value = sk_str_trim((struct sk_str){text.ptr + op + 2, text.len - (size_t)op - 2});
    ret->equal = text.ptr[op] == '=';
    if (ret->value.len == 0) {
        return rd_bad(rd, at, "has nothing to compare with");
    }
    if (read_subject(rd, at, name, ret) < 0) {
        return rd->err.code;
    }
    ret->value = sk_arena_str(rd->arena, ret->value);
    ret->text = sk_arena_printf(rd->arena, "%.*s %s %.*s", SK_PRI(name),
                                ret->equal ? "==" : "!=", SK_PRI(ret->value));
    return 0;
}

static int read_constraints(struct rd *rd, const struct spot *at, void *into)
{
    struct service_draft *draft = into;
    struct constraint *constraints;

    if (rd_want(rd, at, SK_SEQ) < 0 || rd_at_most(rd, at, PROJECT_CONSTRAINTS_MAX) < 0) {
        return rd->err.code;
    }
    constraints = SK_ARENA_ARRAY(rd->arena, struct constraint, at->node->count);
    for (uint32_t i = 0; i < at->node->count; i++) {
        struct spot item = spot_item(at, i);
        if (read_constraint(rd, &item, &constraints[i]) < 0) {
            return rd->err.code;
        }
    }
    draft->svc.constraints = constraints;
    draft->svc.nconstraints = at->node->count;
    return 0;
}

static const struct rd_key placement_keys[] = {
    {"constraints", RD_EXECUTED, read_constraints, "list of SUBJECT == VALUE or SUBJECT != VALUE",
     "subjects: node.labels.KEY, node.name, node.site, site.provider, site.region"},
};
const struct rd_object placement_object = {.place = "services.*.deploy.placement",
                                           .keys = placement_keys,
                                           .nkeys = SK_ARRAY_LEN(placement_keys),
                                           .known = compose_placement_keys,
                                           .extensions = true};

static int read_placement(struct rd *rd, const struct spot *at, void *into)
{
    return rd_object_read(rd, at, &placement_object, into);
}

static const struct rd_key deploy_keys[] = {
    {"replicas", RD_EXECUTED, read_replicas, "whole number; default 1", NULL},
    {"resources", RD_EXECUTED, read_resources, "map", NULL},
    {"placement", RD_EXECUTED, read_placement, "map", NULL},
    {"labels", RD_IGNORED, read_deploy_labels, "map, or list of KEY=VALUE",
     "kept with the declaration; nothing acts on them"},
    {"mode", RD_REFUSED, NULL, NULL, "remove it: services are replicated; see 'replicas'"},
    {"restart_policy", RD_REFUSED, NULL, NULL, "write 'restart' in the service"},
    {"update_config", RD_REFUSED, NULL, NULL,
     "remove it for now: a change replaces the replicas of a service"},
    {"rollback_config", RD_REFUSED, NULL, NULL, "remove it for now"},
};
const struct rd_object deploy_object = {.place = "services.*.deploy",
                                        .keys = deploy_keys,
                                        .nkeys = SK_ARRAY_LEN(deploy_keys),
                                        .known = compose_deploy_keys,
                                        .extensions = true};

int read_deploy(struct rd *rd, const struct spot *at, void *into)
{
    return rd_object_read(rd, at, &deploy_object, into);
}
