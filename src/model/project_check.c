/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>

#include "base/mem.h"
#include "base/units.h"
#include "model/project_draft.h"

/* The rules that look at more than one value of the declaration, and what follows from them. */

#define DEFAULT_CPUS_NANO (SK_NANO / 10)
#define DEFAULT_MEMORY_BYTES ((int64_t)64 << 20)
/* What all replicas of a project need together must fit an int64_t with room for more projects. */
#define TOTAL_MAX (INT64_MAX / 1024)

static int compare_services(const void *a, const void *b)
{
    return sk_str_cmp(((const struct service_draft *)a)->svc.name,
                      ((const struct service_draft *)b)->svc.name);
}

static struct service_draft *find_service(const struct project_draft *draft, struct sk_str name)
{
    struct service_draft key = {.svc = {.name = name}};
    return draft->nservices
               ? bsearch(&key, draft->services, draft->nservices, sizeof(key), compare_services)
               : NULL;
}

static int no_such_service(struct rd *rd, const struct project_draft *draft, struct sk_pos pos,
                           const struct service_draft *from, const char *key, struct sk_str name)
{
    unsigned best = 3;
    struct sk_str found = SK_STR_NULL;

    for (size_t i = 0; i < draft->nservices; i++) {
        unsigned distance = sk_str_distance(name, draft->services[i].svc.name, 2);
        if (distance < best && distance < name.len) {
            best = distance;
            found = draft->services[i].svc.name;
        }
    }
    (void)rd_fail(rd, pos, SK_ERR_INPUT,
                  "'services.%.*s.%s' names the service '%.*s', which is not declared",
                  SK_PRI(from->svc.name), key, SK_PRI(name));
    if (found.ptr) {
        return sk_err_fix(&rd->err, "did you mean '%.*s'?", SK_PRI(found));
    }
    return sk_err_fix(&rd->err, "declare it under 'services', or remove the name");
}

/* Size ------------------------------------------------------------------------------------ */

static int64_t need(bool reserved, int64_t reservation, int64_t limit, int64_t dflt)
{
    return reserved ? reservation : limit ? limit : dflt;
}

static bool add_up(int64_t each, int64_t times, int64_t *total)
{
    int64_t sum;
    return !__builtin_mul_overflow(each, times, &sum) &&
           !__builtin_add_overflow(*total, sum, total) && *total <= TOTAL_MAX;
}

static int size_services(struct rd *rd, struct project_draft *draft)
{
    int64_t replicas = 0, cpus = 0, memory = 0, disk = 0;

    for (size_t i = 0; i < draft->nservices; i++) {
        struct service_draft *d = &draft->services[i];
        struct service *svc = &d->svc;
        svc->cpus_nano =
            need(d->has_need_cpus, d->need_cpus, svc->limit_cpus_nano, DEFAULT_CPUS_NANO);
        svc->memory_bytes =
            need(d->has_need_memory, d->need_memory, svc->limit_memory_bytes, DEFAULT_MEMORY_BYTES);
        replicas += svc->replicas;
        if (replicas > PROJECT_REPLICAS_MAX) {
            return rd_fail(rd, d->replicas_pos.line ? d->replicas_pos : svc->pos, SK_ERR_LIMIT,
                           "more than %d replicas in the project", PROJECT_REPLICAS_MAX);
        }
        if (!add_up(svc->cpus_nano, svc->replicas, &cpus) ||
            !add_up(svc->memory_bytes, svc->replicas, &memory) ||
            !add_up(svc->disk_bytes, svc->replicas, &disk)) {
            return rd_fail(rd, svc->pos, SK_ERR_LIMIT,
                           "the replicas of the project are too large to add up");
        }
    }
    return 0;
}

/* One service ----------------------------------------------------------------------------- */

static void merge_environment(struct rd *rd, struct service_draft *d)
{
    size_t room = d->nenv_file + d->nenv;
    struct sk_kv *kvs;
    size_t n = 0;
    size_t i = 0;
    size_t k = 0;

    if (d->nenv_file == 0) {
        d->svc.environment = d->env;
        d->svc.nenvironment = d->nenv;
        return;
    }
    kvs = SK_ARENA_ARRAY(rd->arena, struct sk_kv, room);
    while (i < d->nenv_file || k < d->nenv) {
        int order = i == d->nenv_file ? 1
                    : k == d->nenv    ? -1
                                      : sk_str_cmp(d->env_file[i].key, d->env[k].key);
        kvs[n++] = order < 0 ? d->env_file[i] : d->env[k];
        i += order <= 0;
        k += order >= 0;
    }
    d->svc.environment = kvs;
    d->svc.nenvironment = n;
}

static int check_health(struct rd *rd, struct service_draft *d)
{
    struct healthcheck *check = &d->svc.check;

    if (d->check_disabled && d->http_written) {
        return rd_fail(rd, d->check_pos, SK_ERR_INPUT,
                       "the health check of '%.*s' is both disabled and written",
                       SK_PRI(d->svc.name));
    }
    if (d->http_written) {
        check->kind = CHECK_HTTP;
        check->test = (struct argv){NULL, 0};
    } else if (d->check_disabled) {
        check->kind = CHECK_NONE;
        check->test = (struct argv){NULL, 0};
    } else if (d->healthcheck_pos.line && !d->test_written) {
        (void)rd_fail(rd, d->healthcheck_pos, SK_ERR_UNSUPPORTED,
                      "the health check of '%.*s' has no 'test', and that of the image is not "
                      "supported by skerry yet",
                      SK_PRI(d->svc.name));
        return sk_err_fix(&rd->err, "write healthcheck.test, or x-skerry.check");
    }
    if (check->kind == CHECK_NONE) { /* timing without a check means nothing: one form of it */
        check->interval_ms = 1000;
        check->timeout_ms = 1000;
        check->retries = 3;
        check->start_period_ms = 0;
    }
    return 0;
}

static int check_program(struct rd *rd, const struct service_draft *d)
{
    const struct service *svc = &d->svc;

    if (svc->image.len == 0 && svc->command.count == 0 && svc->entrypoint.count == 0) {
        (void)rd_fail(rd, svc->pos, SK_ERR_INPUT,
                      "the service '%.*s' has neither image nor command", SK_PRI(svc->name));
        return sk_err_fix(&rd->err, "write 'image:', or 'command:' to run a program of the host");
    }
    return 0;
}

static int check_survive(struct rd *rd, struct service_draft *d)
{
    struct service *svc = &d->svc;

    if (svc->survive.keep_written && svc->survive.keep > svc->replicas) {
        (void)rd_fail(rd, d->keep_pos, SK_ERR_INPUT,
                      "'services.%.*s.x-skerry.survive.keep' is %lld, but there are only %lld "
                      "replicas",
                      SK_PRI(svc->name), (long long)svc->survive.keep, (long long)svc->replicas);
        return sk_err_fix(&rd->err, "lower keep to %lld, or raise deploy.replicas to %lld",
                          (long long)svc->replicas, (long long)svc->survive.keep);
    }
    if (svc->latency.has_after_loss) {
        if (!svc->survive.sites_written) {
            svc->survive.sites_written = svc->survive.sites_implied = true;
            svc->survive.sites = 1;
        }
        if (svc->survive.sites < 1) {
            (void)rd_fail(rd, d->sites_pos, SK_ERR_INPUT,
                          "'services.%.*s.x-skerry.survive.sites' is 0, but latency.after_loss_ms "
                          "asks to survive a site",
                          SK_PRI(svc->name));
            return sk_err_fix(&rd->err, "raise sites to 1, or remove after_loss_ms");
        }
    }
    return 0;
}

static int check_exclusive(struct rd *rd, const struct service_draft *d)
{
    const struct service *svc = &d->svc;

    if (!svc->exclusive) {
        return 0;
    }
    if (svc->replicas != 1) {
        (void)rd_fail(rd, d->exclusive_pos, SK_ERR_INPUT,
                      "the exclusive service '%.*s' must have 1 replica, not %lld",
                      SK_PRI(svc->name), (long long)svc->replicas);
        return sk_err_fix(&rd->err, "set deploy.replicas to 1, or remove exclusive");
    }
    if (svc->survive.keep_written && svc->survive.keep > 0) {
        (void)rd_fail(rd, d->keep_pos, SK_ERR_INPUT,
                      "the exclusive service '%.*s' cannot keep %lld: it pauses when its place is "
                      "lost",
                      SK_PRI(svc->name), (long long)svc->survive.keep);
        return sk_err_fix(&rd->err, "remove keep, or exclusive");
    }
    return 0;
}

static int check_near(struct rd *rd, const struct project_draft *draft, struct service_draft *d)
{
    struct sk_str *near = SK_ARENA_ARRAY(rd->arena, struct sk_str, d->nnear);

    for (size_t i = 0; i < d->nnear; i++) {
        if (sk_str_eq(d->near[i].name, d->svc.name)) {
            return rd_fail(rd, d->near[i].pos, SK_ERR_INPUT,
                           "'services.%.*s.x-skerry.near' names the service itself",
                           SK_PRI(d->svc.name));
        }
        if (!find_service(draft, d->near[i].name)) {
            return no_such_service(rd, draft, d->near[i].pos, d, "x-skerry.near", d->near[i].name);
        }
        size_t k = i;
        for (; k > 0 && sk_str_cmp(near[k - 1], d->near[i].name) > 0; k--) {
            near[k] = near[k - 1];
        }
        near[k] = d->near[i].name;
        if (k > 0 && sk_str_eq(near[k - 1], near[k])) {
            return rd_fail(rd, d->near[i].pos, SK_ERR_INPUT,
                           "'services.%.*s.x-skerry.near' names '%.*s' twice", SK_PRI(d->svc.name),
                           SK_PRI(near[k]));
        }
    }
    d->svc.near = near;
    d->svc.nnear = d->nnear;
    return 0;
}

static int check_users(struct rd *rd, const struct project_draft *draft,
                       const struct service_draft *d)
{
    if (d->svc.latency.written && draft->nusers == 0) {
        (void)rd_fail(rd, d->svc.latency_pos, SK_ERR_INPUT,
                      "'services.%.*s.x-skerry.latency' needs users, and the project has none",
                      SK_PRI(d->svc.name));
        return sk_err_fix(&rd->err, "declare x-skerry.users at the top level");
    }
    return 0;
}

/* depends_on ------------------------------------------------------------------------------ */

static int compare_depends(const void *a, const void *b)
{
    return sk_str_cmp(((const struct depends *)a)->service, ((const struct depends *)b)->service);
}

static int check_dependency(struct rd *rd, const struct project_draft *draft,
                            const struct service_draft *d, size_t i)
{
    const struct depends *depends = &d->depends[i];
    struct service_draft *target = find_service(draft, depends->service);

    if (!target) {
        return no_such_service(rd, draft, d->depends_pos[i], d, "depends_on", depends->service);
    }
    if (depends->condition == DEPENDS_HEALTHY && target->svc.check.kind == CHECK_NONE) {
        (void)rd_fail(rd, d->depends_pos[i], SK_ERR_INPUT,
                      "'services.%.*s.depends_on' waits until '%.*s' is healthy, but that has no "
                      "health check",
                      SK_PRI(d->svc.name), SK_PRI(depends->service));
        return sk_err_fix(&rd->err, "give '%.*s' a healthcheck.test or x-skerry.check",
                          SK_PRI(depends->service));
    }
    if (depends->condition == DEPENDS_COMPLETED && !target->has_restart) {
        target->svc.restart = RESTART_NO; /* else it would never have completed */
    }
    return 0;
}

static int check_depends(struct rd *rd, const struct project_draft *draft, struct service_draft *d)
{
    for (size_t i = 0; i < d->ndepends; i++) {
        if (check_dependency(rd, draft, d, i) < 0) {
            return rd->err.code;
        }
        for (size_t k = 0; k < i; k++) {
            if (sk_str_eq(d->depends[k].service, d->depends[i].service)) {
                return rd_fail(rd, d->depends_pos[i], SK_ERR_INPUT,
                               "'services.%.*s.depends_on' names '%.*s' twice", SK_PRI(d->svc.name),
                               SK_PRI(d->depends[i].service));
            }
        }
    }
    return 0;
}

struct walk {
    uint32_t *stack; /* the way from the start */
    uint32_t *next;  /* which dependency of each is looked at next */
    uint8_t *state;  /* 0 not seen, 1 on the way, 2 done */
    size_t depth;
};

static int report_circle(struct rd *rd, const struct project_draft *draft, const struct walk *w,
                         uint32_t again)
{
    struct sk_buf way = SK_BUF_INIT;
    const struct service_draft *last = &draft->services[w->stack[w->depth - 1]];
    struct sk_pos pos = last->depends_pos[w->next[w->depth - 1] - 1];
    size_t start = w->depth;
    int code;

    while (w->stack[start - 1] != again) {
        start--;
    }
    for (size_t i = start - 1; i < w->depth && way.len < 300; i++) {
        sk_buf_addstr(&way, draft->services[w->stack[i]].svc.name);
        sk_buf_adds(&way, " -> ");
    }
    sk_buf_addstr(&way, draft->services[again].svc.name);
    code = rd_fail(rd, pos, SK_ERR_INPUT, "depends_on goes in a circle: %s", way.ptr);
    (void)sk_err_fix(&rd->err, "remove one of these dependencies");
    sk_buf_release(&way);
    return code;
}

/* Depth first, without recursion: the depth is up to whoever wrote the file. */
static int walk_from(struct rd *rd, const struct project_draft *draft, struct walk *w,
                     uint32_t start)
{
    w->depth = 1;
    w->stack[0] = start;
    w->next[0] = 0;
    w->state[start] = 1;
    while (w->depth > 0) {
        uint32_t at = w->stack[w->depth - 1];
        const struct service_draft *d = &draft->services[at];
        uint32_t to;
        if (w->next[w->depth - 1] == d->ndepends) {
            w->state[at] = 2;
            w->depth--;
            continue;
        }
        to = (uint32_t)(find_service(draft, d->depends[w->next[w->depth - 1]++].service) -
                        draft->services);
        if (w->state[to] == 1) {
            return report_circle(rd, draft, w, to);
        }
        if (w->state[to] == 0) {
            w->state[to] = 1;
            w->stack[w->depth] = to;
            w->next[w->depth++] = 0;
        }
    }
    return 0;
}

static int check_circles(struct rd *rd, const struct project_draft *draft)
{
    struct walk w = {
        .stack = SK_ARENA_ARRAY(rd->scratch, uint32_t, draft->nservices),
        .next = SK_ARENA_ARRAY(rd->scratch, uint32_t, draft->nservices),
        .state = SK_ARENA_ARRAY(rd->scratch, uint8_t, draft->nservices),
    };

    for (uint32_t i = 0; i < draft->nservices; i++) {
        if (w.state[i] == 0 && walk_from(rd, draft, &w, i) < 0) {
            return rd->err.code;
        }
    }
    return 0;
}

static void sort_depends(struct project_draft *draft)
{
    for (size_t i = 0; i < draft->nservices; i++) {
        struct service_draft *d = &draft->services[i];
        if (d->ndepends > 1) {
            qsort(d->depends, d->ndepends, sizeof(*d->depends), compare_depends);
        }
        d->svc.depends_on = d->depends;
        d->svc.ndepends_on = d->ndepends;
    }
}

/* Across services ------------------------------------------------------------------------- */

struct claim {
    struct sk_str what; /* the published port or the host, as text */
    const struct service_draft *by;
    struct sk_pos pos;
};

static int compare_claims(const void *a, const void *b)
{
    const struct claim *x = a;
    const struct claim *y = b;
    int order = sk_str_cmp(x->what, y->what);

    if (order != 0) {
        return order;
    }
    if (x->pos.line != y->pos.line) {
        return x->pos.line < y->pos.line ? -1 : 1;
    }
    return x->pos.col < y->pos.col ? -1 : x->pos.col > y->pos.col;
}

static int check_claims(struct rd *rd, struct claim *claims, size_t count, const char *what)
{
    if (count > 1) {
        qsort(claims, count, sizeof(*claims), compare_claims);
    }
    for (size_t i = 1; i < count; i++) {
        if (sk_str_eq(claims[i - 1].what, claims[i].what)) {
            return rd_fail(rd, claims[i].pos, SK_ERR_INPUT,
                           "%s '%.*s' of '%.*s' is already that of '%.*s'", what,
                           SK_PRI(claims[i].what), SK_PRI(claims[i].by->svc.name),
                           SK_PRI(claims[i - 1].by->svc.name));
        }
    }
    return 0;
}

static int check_shared(struct rd *rd, const struct project_draft *draft)
{
    struct claim *claims;
    size_t nports = 0;
    size_t n = 0;
    int code;

    for (size_t i = 0; i < draft->nservices; i++) {
        nports += draft->services[i].svc.nports;
    }
    claims = sk_xcalloc(nports + draft->nservices, sizeof(*claims));
    for (size_t i = 0; i < draft->nservices; i++) {
        const struct service_draft *d = &draft->services[i];
        for (size_t k = 0; k < d->svc.nports; k++) {
            const struct port *port = &d->svc.ports[k];
            if (port->published) {
                struct sk_str text = sk_arena_printf(rd->scratch, "%u/%s", port->published,
                                                     port->udp ? "udp" : "tcp");
                claims[n++] = (struct claim){text, d, port->pos};
            }
        }
    }
    code = check_claims(rd, claims, n, "the published port");
    n = 0;
    for (size_t i = 0; i < draft->nservices && code == 0; i++) {
        const struct service_draft *d = &draft->services[i];
        if (d->svc.has_route) {
            claims[n++] = (struct claim){d->svc.route_host, d, d->route_pos};
        }
    }
    code = code == 0 ? check_claims(rd, claims, n, "the route") : code;
    free(claims);
    return code;
}

static int check_service(struct rd *rd, const struct project_draft *draft, struct service_draft *d)
{
    merge_environment(rd, d);
    if (check_program(rd, d) < 0 || check_survive(rd, d) < 0 || check_exclusive(rd, d) < 0 ||
        check_users(rd, draft, d) < 0 || check_near(rd, draft, d) < 0) {
        return rd->err.code;
    }
    return check_depends(rd, draft, d);
}

int project_check(struct rd *rd, struct project_draft *draft)
{
    if (draft->nservices == 0 && draft->nbuckets == 0) {
        return rd_fail(rd, draft->pos, SK_ERR_INPUT, "the project has no services");
    }
    if (draft->nservices > 1) {
        qsort(draft->services, draft->nservices, sizeof(*draft->services), compare_services);
    }
    for (size_t i = 0; i < draft->nservices; i++) {
        if (check_health(rd, &draft->services[i]) < 0) {
            return rd->err.code;
        }
    }
    if (size_services(rd, draft) < 0) {
        return rd->err.code;
    }
    for (size_t i = 0; i < draft->nservices; i++) {
        if (check_service(rd, draft, &draft->services[i]) < 0) {
            return rd->err.code;
        }
    }
    if (check_circles(rd, draft) < 0) {
        return rd->err.code;
    }
    sort_depends(draft);
    return check_shared(rd, draft);
}
