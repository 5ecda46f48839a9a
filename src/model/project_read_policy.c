/* SPDX-License-Identifier: Apache-2.0 */
#include "base/mem.h"
#include "model/project_draft.h"

/* What a service asks of its places: `x-skerry` in a service. */

#define MS_MAX 1e6
#define MONEY_MAX 1e12
#define RATE_MAX 1e12

/* survive --------------------------------------------------------------------------------- */

int read_survive_count(struct rd *rd, const struct spot *at, int64_t *ret)
{
    return rd_int(rd, at, 0, PROJECT_SURVIVE_MAX, ret);
}

static int read_sites(struct rd *rd, const struct spot *at, void *into)
{
    struct service_draft *draft = into;
    draft->svc.survive.sites_written = true;
    draft->sites_pos = spot_pos(rd, at);
    return read_survive_count(rd, at, &draft->svc.survive.sites);
}

static int read_nodes(struct rd *rd, const struct spot *at, void *into)
{
    struct service_draft *draft = into;
    draft->svc.survive.nodes_written = true;
    return read_survive_count(rd, at, &draft->svc.survive.nodes);
}

static int read_keep(struct rd *rd, const struct spot *at, void *into)
{
    struct service_draft *draft = into;
    draft->svc.survive.keep_written = true;
    draft->keep_pos = spot_pos(rd, at);
    return rd_int(rd, at, 0, PROJECT_REPLICAS_MAX, &draft->svc.survive.keep);
}

static const struct rd_key survive_keys[] = {
    {"sites", RD_EXECUTED, read_sites, "whole number; goal 1 where two sites are allowed",
     "written: hard"},
    {"nodes", RD_EXECUTED, read_nodes, "whole number; goal 1 where two nodes are allowed",
     "written: hard"},
    {"keep", RD_EXECUTED, read_keep, "whole number up to replicas", "written: hard"},
};
const struct rd_object survive_object = {.place = "services.*.x-skerry.survive",
                                         .keys = survive_keys,
                                         .nkeys = SK_ARRAY_LEN(survive_keys)};

static int read_survive(struct rd *rd, const struct spot *at, void *into)
{
    ((struct service_draft *)into)->svc.survive_pos = spot_pos(rd, at);
    return rd_object_read(rd, at, &survive_object, into);
}

/* latency --------------------------------------------------------------------------------- */

static int read_positive(struct rd *rd, const struct spot *at, double max, double *ret)
{
    if (rd_num(rd, at, 0, max, ret) < 0) {
        return rd->err.code;
    }
    return *ret > 0 ? 0 : rd_bad(rd, at, "must be above 0");
}

static int read_ms(struct rd *rd, const struct spot *at, void *into)
{
    struct service_draft *draft = into;
    draft->svc.latency.has_ms = true;
    return read_positive(rd, at, MS_MAX, &draft->svc.latency.ms);
}

static int read_share(struct rd *rd, const struct spot *at, void *into)
{
    struct service_draft *draft = into;

    if (rd_share(rd, at, &draft->svc.latency.share) < 0) {
        return rd->err.code;
    }
    return draft->svc.latency.share > 0 ? 0 : rd_bad(rd, at, "must be above 0");
}

static int read_after_loss(struct rd *rd, const struct spot *at, void *into)
{
    struct service_draft *draft = into;
    draft->svc.latency.has_after_loss = true;
    draft->after_loss_pos = spot_pos(rd, at);
    return read_positive(rd, at, MS_MAX, &draft->svc.latency.after_loss_ms);
}

static const struct rd_key latency_keys[] = {
    {"ms", RD_EXECUTED, read_ms, "milliseconds", NULL},
    {"share", RD_EXECUTED, read_share, "95% or 0.95; default 95%", "of the users' demand"},
    {"after_loss_ms", RD_EXECUTED, read_after_loss, "milliseconds",
     "implies survive.sites: 1, written"},
};
const struct rd_object latency_object = {.place = "services.*.x-skerry.latency",
                                         .keys = latency_keys,
                                         .nkeys = SK_ARRAY_LEN(latency_keys)};

static int read_latency(struct rd *rd, const struct spot *at, void *into)
{
    struct service_draft *draft = into;

    draft->svc.latency_pos = spot_pos(rd, at);
    draft->svc.latency.written = true;
    if (rd_object_read(rd, at, &latency_object, into) < 0) {
        return rd->err.code;
    }
    if (!draft->svc.latency.has_ms && !draft->svc.latency.has_after_loss) {
        return rd_bad(rd, at, "lacks 'ms' or 'after_loss_ms'");
    }
    return 0;
}

/* cost, traffic --------------------------------------------------------------------------- */

static int read_month(struct rd *rd, const struct spot *at, void *into)
{
    struct service_draft *draft = into;
    draft->svc.has_cost = true;
    return rd_num(rd, at, 0, MONEY_MAX, &draft->svc.cost_month);
}

static const struct rd_key cost_keys[] = {
    {"month", RD_EXECUTED, read_month, "ceiling in the inventory's currency; required",
     "a month has 730 hours"},
};
const struct rd_object cost_object = {
    .place = "services.*.x-skerry.cost", .keys = cost_keys, .nkeys = SK_ARRAY_LEN(cost_keys)};

static int read_cost(struct rd *rd, const struct spot *at, void *into)
{
    struct service_draft *draft = into;

    draft->svc.cost_pos = spot_pos(rd, at);
    if (rd_object_read(rd, at, &cost_object, into) < 0) {
        return rd->err.code;
    }
    return draft->svc.has_cost ? 0 : rd_bad(rd, at, "lacks 'month'");
}

static int read_gb_month(struct rd *rd, const struct spot *at, void *into)
{
    return rd_num(rd, at, 0, RATE_MAX, &((struct service_draft *)into)->svc.gb_month);
}

static int read_rps(struct rd *rd, const struct spot *at, void *into)
{
    return rd_num(rd, at, 0, RATE_MAX, &((struct service_draft *)into)->svc.rps);
}

static int read_rps_per_replica(struct rd *rd, const struct spot *at, void *into)
{
    return read_positive(rd, at, RATE_MAX, &((struct service_draft *)into)->svc.rps_per_replica);
}

static const struct rd_key traffic_keys[] = {
    {"gb_month", RD_EXECUTED, read_gb_month, "GB (2^30 bytes) to users a month; default 0", NULL},
    {"rps", RD_EXECUTED, read_rps, "requests a second", NULL},
    {"rps_per_replica", RD_EXECUTED, read_rps_per_replica, "requests a second",
     "replicas x rps_per_replica >= rps, also in losses that the service asked to survive"},
};
const struct rd_object traffic_object = {.place = "services.*.x-skerry.traffic",
                                         .keys = traffic_keys,
                                         .nkeys = SK_ARRAY_LEN(traffic_keys)};

static int read_traffic(struct rd *rd, const struct spot *at, void *into)
{
    ((struct service_draft *)into)->svc.has_traffic = true;
    return rd_object_read(rd, at, &traffic_object, into);
}

/* residency ------------------------------------------------------------------------------- */

static int check_residency(struct rd *rd, const struct spot *at, struct sk_str entry)
{
    if (entry.len == 0 || entry.len > 128) {
        return rd_bad(rd, at, "must hold names of regions, or country:XX");
    }
    if (sk_str_starts(entry, SK_STR("country:"))) {
        const char *code = entry.ptr + 8;
        if (entry.len != 10 || code[0] < 'A' || code[0] > 'Z' || code[1] < 'A' || code[1] > 'Z') {
            (void)rd_bad(rd, at, "must name a country by two capital letters, not '%.*s'",
                         SK_PRI(entry));
            return sk_err_fix(&rd->err, "write it like country:DE");
        }
    }
    return 0;
}

int read_residency_list(struct rd *rd, const struct spot *at, const struct sk_str **ret,
                        size_t *ret_count)
{
    if (rd_strings(rd, at, PROJECT_RESIDENCY_MAX, ret, ret_count) < 0) {
        return rd->err.code;
    }
    if (*ret_count == 0) {
        (void)rd_bad(rd, at, "must not be empty: nowhere would be allowed");
        return sk_err_fix(&rd->err, "name regions or country:XX, or remove the key");
    }
    for (uint32_t i = 0; i < *ret_count; i++) {
        struct spot item = at->node->kind == SK_SEQ ? spot_item(at, i) : *at;
        if (check_residency(rd, &item, (*ret)[i]) < 0) {
            return rd->err.code;
        }
    }
    return 0;
}

static int read_residency(struct rd *rd, const struct spot *at, void *into)
{
    struct service_draft *draft = into;
    draft->svc.residency_pos = spot_pos(rd, at);
    return read_residency_list(rd, at, &draft->svc.residency, &draft->svc.nresidency);
}

/* route, near, exclusive, disk ------------------------------------------------------------ */

static int read_host(struct rd *rd, const struct spot *at, void *into)
{
    struct service_draft *draft = into;
    struct sk_str host;

    if (rd_filled(rd, at, 253, &host) < 0) {
        return rd->err.code;
    }
    for (size_t i = 0; i < host.len; i++) {
        char c = host.ptr[i];
        if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '.')) {
            (void)rd_bad(rd, at, "must be a host name, not '%.*s'", SK_PRI(host));
            return sk_err_fix(&rd->err, "use lower case letters, digits, '-' and '.'");
        }
    }
    draft->svc.route_host = host;
    return 0;
}

static int read_route_port(struct rd *rd, const struct spot *at, void *into)
{
    return rd_port(rd, at, &((struct service_draft *)into)->svc.route_port);
}

static const struct rd_key route_keys[] = {
    {"host", RD_EXECUTED, read_host, "host name; required", NULL},
    {"port", RD_EXECUTED, read_route_port, "port inside the replica; required", NULL},
};
const struct rd_object route_object = {
    .place = "services.*.x-skerry.route", .keys = route_keys, .nkeys = SK_ARRAY_LEN(route_keys)};

static int read_route(struct rd *rd, const struct spot *at, void *into)
{
    struct service_draft *draft = into;

    draft->svc.has_route = true;
    draft->route_pos = spot_pos(rd, at);
    if (rd_object_read(rd, at, &route_object, into) < 0) {
        return rd->err.code;
    }
    if (draft->svc.route_host.len == 0 || draft->svc.route_port == 0) {
        return rd_bad(rd, at, "lacks '%s'", draft->svc.route_port ? "host" : "port");
    }
    return 0;
}

static int read_near_entry(struct rd *rd, const struct spot *at, void *into)
{
    struct service_draft *draft = into;
    struct named *near = &draft->near[draft->nnear++];
    near->pos = spot_pos(rd, at);
    return rd_string(rd, at, &near->name);
}

static int read_near(struct rd *rd, const struct spot *at, void *into)
{
    struct service_draft *draft = into;

    draft->svc.near_pos = spot_pos(rd, at);
    if (rd_want(rd, at, SK_SEQ) < 0 || rd_at_most(rd, at, PROJECT_NEAR_MAX) < 0) {
        return rd->err.code;
    }
    draft->near = SK_ARENA_ARRAY(rd->scratch, struct named, at->node->count);
    return rd_each(rd, at, read_near_entry, draft);
}

static int read_exclusive(struct rd *rd, const struct spot *at, void *into)
{
    struct service_draft *draft = into;
    draft->exclusive_pos = spot_pos(rd, at);
    return rd_bool(rd, at, &draft->svc.exclusive);
}

static int read_disk(struct rd *rd, const struct spot *at, void *into)
{
    return rd_bytes(rd, at, &((struct service_draft *)into)->svc.disk_bytes);
}

static const struct rd_key policy_keys[] = {
    {"survive", RD_EXECUTED, read_survive, "{sites, nodes, keep}", NULL},
    {"latency", RD_EXECUTED, read_latency, "{ms, share, after_loss_ms}", "needs users"},
    {"residency", RD_EXECUTED, read_residency, "list of regions or country:XX",
     "hard, in every loss too"},
    {"cost", RD_EXECUTED, read_cost, "{month}", NULL},
    {"traffic", RD_EXECUTED, read_traffic, "{gb_month, rps, rps_per_replica}", NULL},
    {"route", RD_EXECUTED, read_route, "{host, port}", NULL},
    {"near", RD_EXECUTED, read_near, "list of services of the project", "best effort"},
    {"disk", RD_EXECUTED, read_disk, "size; default 0", "of each replica"},
    {"check", RD_EXECUTED, read_check, "{http: {path, port}}", NULL},
    {"exclusive", RD_EXECUTED, read_exclusive, "true or false", "one replica, never two at a time"},
};
const struct rd_object policy_object = {
    .place = "services.*.x-skerry", .keys = policy_keys, .nkeys = SK_ARRAY_LEN(policy_keys)};

int read_policy(struct rd *rd, const struct spot *at, void *into)
{
    return rd_object_read(rd, at, &policy_object, into);
}
