/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>

#include "base/hash.h"
#include "base/json.h"
#include "base/mem.h"
#include "model/exact.h"
#include "model/project_draft.h"

/*
 * The canonical form: the resolved project as a Compose file in JSON, in the order and spelling of
 * RFC 8785. Keys are written in that order by hand, which spares a tree of the whole; all names of
 * keys are ASCII, so that byte order is the order of UTF-16. A test holds it against
 * sk_json_canonical(). What has its default is left out where that says the same.
 */
static const char *const restarts[] = {"always", "no", "on-failure", "unless-stopped"};
static const char *const conditions[] = {"service_started", "service_healthy",
                                         "service_completed_successfully"};

static void write_strs(struct sk_jw *w, const char *key, const struct sk_str *items, size_t count)
{
    sk_jw_key(w, key);
    sk_jw_arr(w);
    for (size_t i = 0; i < count; i++) {
        sk_jw_str(w, items[i]);
    }
    sk_jw_arr_end(w);
}

static void write_kvs(struct sk_jw *w, const char *key, const struct sk_kv *kvs, size_t count)
{
    if (count == 0) {
        return;
    }
    sk_jw_key(w, key);
    sk_jw_obj(w);
    for (size_t i = 0; i < count; i++) {
        sk_jw_keystr(w, kvs[i].key);
        sk_jw_str(w, kvs[i].value);
    }
    sk_jw_obj_end(w);
}

static void write_cpus(struct sk_jw *w, int64_t nano)
{
    char text[EXACT_CPUS_MAX];
    sk_jw_kstr(w, "cpus", exact_cpus(nano, text));
}

static void write_bytes(struct sk_jw *w, const char *key, int64_t bytes)
{
    char text[EXACT_BYTES_MAX];
    sk_jw_kstr(w, key, exact_bytes(bytes, text));
}

static void write_ms(struct sk_jw *w, const char *key, int64_t ms)
{
    char text[32];
    (void)snprintf(text, sizeof(text), "%lldms", (long long)ms);
    sk_jw_kcstr(w, key, text);
}

/* Parts of a service ---------------------------------------------------------------------- */

static void write_depends(struct sk_jw *w, const struct service *svc)
{
    if (svc->ndepends_on == 0) {
        return;
    }
    sk_jw_key(w, "depends_on");
    sk_jw_obj(w);
    for (size_t i = 0; i < svc->ndepends_on; i++) {
        sk_jw_keystr(w, svc->depends_on[i].service);
        sk_jw_obj(w);
        sk_jw_kcstr(w, "condition", conditions[svc->depends_on[i].condition]);
        sk_jw_obj_end(w);
    }
    sk_jw_obj_end(w);
}

static void write_limits(struct sk_jw *w, const struct service *svc)
{
    if (!svc->limit_cpus_nano && !svc->limit_memory_bytes && !svc->limit_pids) {
        return;
    }
    sk_jw_key(w, "limits");
    sk_jw_obj(w);
    if (svc->limit_cpus_nano) {
        write_cpus(w, svc->limit_cpus_nano);
    }
    if (svc->limit_memory_bytes) {
        write_bytes(w, "memory", svc->limit_memory_bytes);
    }
    if (svc->limit_pids) {
        sk_jw_kint(w, "pids", svc->limit_pids);
    }
    sk_jw_obj_end(w);
}

static void write_deploy(struct sk_jw *w, const struct service *svc)
{
    sk_jw_key(w, "deploy");
    sk_jw_obj(w);
    write_kvs(w, "labels", svc->deploy_labels, svc->ndeploy_labels);
    if (svc->nconstraints) {
        sk_jw_key(w, "placement");
        sk_jw_obj(w);
        sk_jw_key(w, "constraints");
        sk_jw_arr(w);
        for (size_t i = 0; i < svc->nconstraints; i++) {
            sk_jw_str(w, svc->constraints[i].text);
        }
        sk_jw_arr_end(w);
        sk_jw_obj_end(w);
    }
    sk_jw_kint(w, "replicas", svc->replicas);
    sk_jw_key(w, "resources");
    sk_jw_obj(w);
    write_limits(w, svc);
    sk_jw_key(w, "reservations");
    sk_jw_obj(w);
    write_cpus(w, svc->cpus_nano);
    write_bytes(w, "memory", svc->memory_bytes);
    sk_jw_obj_end(w);
    sk_jw_obj_end(w);
    sk_jw_obj_end(w);
}

static void write_health(struct sk_jw *w, const struct healthcheck *check)
{
    if (check->kind == CHECK_NONE) {
        return;
    }
    sk_jw_key(w, "healthcheck");
    sk_jw_obj(w);
    write_ms(w, "interval", check->interval_ms);
    sk_jw_kint(w, "retries", check->retries);
    write_ms(w, "start_period", check->start_period_ms);
    if (check->kind != CHECK_HTTP) {
        sk_jw_key(w, "test");
        sk_jw_arr(w);
        sk_jw_cstr(w, check->kind == CHECK_EXEC ? "CMD" : "CMD-SHELL");
        for (size_t i = 0; i < check->test.count; i++) {
            sk_jw_str(w, check->test.items[i]);
        }
        sk_jw_arr_end(w);
    }
    write_ms(w, "timeout", check->timeout_ms);
    sk_jw_obj_end(w);
}

static void write_ports(struct sk_jw *w, const struct service *svc)
{
    if (svc->nports == 0) {
        return;
    }
    sk_jw_key(w, "ports");
    sk_jw_arr(w);
    for (size_t i = 0; i < svc->nports; i++) {
        sk_jw_obj(w);
        sk_jw_kcstr(w, "protocol", svc->ports[i].udp ? "udp" : "tcp");
        if (svc->ports[i].published) {
            sk_jw_kint(w, "published", svc->ports[i].published);
        }
        sk_jw_kint(w, "target", svc->ports[i].target);
        sk_jw_obj_end(w);
    }
    sk_jw_arr_end(w);
}

static void write_expose(struct sk_jw *w, const struct service *svc)
{
    if (svc->nexpose == 0) {
        return;
    }
    sk_jw_key(w, "expose");
    sk_jw_arr(w);
    for (size_t i = 0; i < svc->nexpose; i++) {
        sk_jw_int(w, svc->expose[i]);
    }
    sk_jw_arr_end(w);
}

static void write_restart(struct sk_jw *w, const struct service *svc)
{
    char text[64];

    if (svc->restart_max) {
        (void)snprintf(text, sizeof(text), "%s:%lld", restarts[svc->restart],
                       (long long)svc->restart_max);
        sk_jw_kcstr(w, "restart", text);
    } else {
        sk_jw_kcstr(w, "restart", restarts[svc->restart]);
    }
}

static void write_survive(struct sk_jw *w, const struct survive *survive)
{
    if (!survive->keep_written && !survive->nodes_written && !survive->sites_written) {
        return;
    }
    sk_jw_key(w, "survive");
    sk_jw_obj(w);
    if (survive->keep_written) {
        sk_jw_kint(w, "keep", survive->keep);
    }
    if (survive->nodes_written) {
        sk_jw_kint(w, "nodes", survive->nodes);
    }
    if (survive->sites_written) {
        sk_jw_kint(w, "sites", survive->sites);
    }
    sk_jw_obj_end(w);
}

static void write_latency(struct sk_jw *w, const struct latency_policy *latency)
{
    if (!latency->written) {
        return;
    }
    sk_jw_key(w, "latency");
    sk_jw_obj(w);
    if (latency->has_after_loss) {
        sk_jw_knum(w, "after_loss_ms", latency->after_loss_ms);
    }
    if (latency->has_ms) {
        sk_jw_knum(w, "ms", latency->ms);
    }
    sk_jw_knum(w, "share", latency->share);
    sk_jw_obj_end(w);
}

static void write_traffic(struct sk_jw *w, const struct service *svc)
{
    if (!svc->has_traffic) {
        return;
    }
    sk_jw_key(w, "traffic");
    sk_jw_obj(w);
    sk_jw_knum(w, "gb_month", svc->gb_month);
    if (svc->rps > 0) {
        sk_jw_knum(w, "rps", svc->rps);
    }
    if (svc->rps_per_replica > 0) {
        sk_jw_knum(w, "rps_per_replica", svc->rps_per_replica);
    }
    sk_jw_obj_end(w);
}

static void write_http(struct sk_jw *w, const struct healthcheck *check)
{
    sk_jw_key(w, "check");
    sk_jw_obj(w);
    sk_jw_key(w, "http");
    sk_jw_obj(w);
    sk_jw_kstr(w, "path", check->http_path);
    sk_jw_kint(w, "port", check->http_port);
    sk_jw_obj_end(w);
    sk_jw_obj_end(w);
}

static void write_policy(struct sk_jw *w, const struct service *svc)
{
    if (svc->check.kind == CHECK_HTTP) {
        write_http(w, &svc->check);
    }
    if (svc->has_cost) {
        sk_jw_key(w, "cost");
        sk_jw_obj(w);
        sk_jw_knum(w, "month", svc->cost_month);
        sk_jw_obj_end(w);
    }
    if (svc->disk_bytes) {
        write_bytes(w, "disk", svc->disk_bytes);
    }
    if (svc->exclusive) {
        sk_jw_kbool(w, "exclusive", true);
    }
    write_latency(w, &svc->latency);
    if (svc->nnear) {
        write_strs(w, "near", svc->near, svc->nnear);
    }
    if (svc->nresidency) {
        write_strs(w, "residency", svc->residency, svc->nresidency);
    }
    if (svc->has_route) {
        sk_jw_key(w, "route");
        sk_jw_obj(w);
        sk_jw_kstr(w, "host", svc->route_host);
        sk_jw_kint(w, "port", svc->route_port);
        sk_jw_obj_end(w);
    }
    write_survive(w, &svc->survive);
    write_traffic(w, svc);
}

static void write_service(struct sk_jw *w, const struct service *svc)
{
    sk_jw_obj(w);
    if (svc->has_command) {
        write_strs(w, "command", svc->command.items, svc->command.count);
    }
    write_depends(w, svc);
    write_deploy(w, svc);
    if (svc->has_entrypoint) {
        write_strs(w, "entrypoint", svc->entrypoint.items, svc->entrypoint.count);
    }
    write_kvs(w, "environment", svc->environment, svc->nenvironment);
    write_expose(w, svc);
    write_health(w, &svc->check);
    if (svc->image.len) {
        sk_jw_kstr(w, "image", svc->image);
    }
    write_kvs(w, "labels", svc->labels, svc->nlabels);
    write_ports(w, svc);
    write_restart(w, svc);
    write_ms(w, "stop_grace_period", svc->stop_grace_ms);
    if (svc->stop_signal.len) {
        sk_jw_kstr(w, "stop_signal", svc->stop_signal);
    }
    if (svc->ntmpfs) {
        write_strs(w, "tmpfs", svc->tmpfs, svc->ntmpfs);
    }
    if (svc->user.len) {
        sk_jw_kstr(w, "user", svc->user);
    }
    if (svc->working_dir.len) {
        sk_jw_kstr(w, "working_dir", svc->working_dir);
    }
    sk_jw_key(w, "x-skerry");
    sk_jw_obj(w);
    write_policy(w, svc);
    sk_jw_obj_end(w);
    sk_jw_obj_end(w);
}

/* The top level --------------------------------------------------------------------------- */

static void write_bucket(struct sk_jw *w, const struct bucket *bucket)
{
    char code[64];

    sk_jw_keystr(w, bucket->name);
    sk_jw_obj(w);
    if (bucket->has_code) {
        (void)snprintf(code, sizeof(code), "%lld+%lld", (long long)bucket->data,
                       (long long)bucket->parity);
        sk_jw_kcstr(w, "code", code);
    }
    if (bucket->nresidency) {
        write_strs(w, "residency", bucket->residency, bucket->nresidency);
    }
    if (bucket->size_bytes) {
        write_bytes(w, "size", bucket->size_bytes);
    }
    write_survive(w, &bucket->survive);
    sk_jw_obj_end(w);
}

static void write_users(struct sk_jw *w, const struct users *users)
{
    sk_jw_keystr(w, users->name);
    sk_jw_obj(w);
    if (users->has_at) {
        sk_jw_key(w, "at");
        sk_jw_arr(w);
        sk_jw_num(w, users->lat);
        sk_jw_num(w, users->lon);
        sk_jw_arr_end(w);
    }
    if (users->nrtt) {
        sk_jw_key(w, "rtt_ms");
        sk_jw_obj(w);
        for (size_t i = 0; i < users->nrtt; i++) {
            sk_jw_keystr(w, users->rtt[i].site);
            sk_jw_num(w, users->rtt[i].rtt_ms);
        }
        sk_jw_obj_end(w);
    }
    sk_jw_knum(w, "share", users->share);
    sk_jw_obj_end(w);
}

static void write_world(struct sk_jw *w, const struct project *project)
{
    sk_jw_key(w, "x-skerry");
    sk_jw_obj(w);
    if (project->nbuckets) {
        sk_jw_key(w, "buckets");
        sk_jw_obj(w);
        for (size_t i = 0; i < project->nbuckets; i++) {
            write_bucket(w, &project->buckets[i]);
        }
        sk_jw_obj_end(w);
    }
    if (project->nusers) {
        sk_jw_key(w, "users");
        sk_jw_obj(w);
        for (size_t i = 0; i < project->nusers; i++) {
            write_users(w, &project->users[i]);
        }
        sk_jw_obj_end(w);
    }
    sk_jw_obj_end(w);
}

void project_write_canonical(const struct project *project, struct sk_buf *out)
{
    struct sk_jw w;

    sk_jw_init(&w, out);
    sk_jw_obj(&w);
    sk_jw_kstr(&w, "name", project->name);
    sk_jw_key(&w, "services");
    sk_jw_obj(&w);
    for (size_t i = 0; i < project->nservices; i++) {
        sk_jw_keystr(&w, project->services[i].name);
        write_service(&w, &project->services[i]);
    }
    sk_jw_obj_end(&w);
    write_world(&w, project);
    sk_jw_obj_end(&w);
}

/* What makes a running instance another one: only these fields. */
void service_spec_hash(const struct service *service, char out[72])
{
    struct service run = {
        .image = service->image,
        .has_entrypoint = service->has_entrypoint,
        .has_command = service->has_command,
        .entrypoint = service->entrypoint,
        .command = service->command,
        .environment = service->environment,
        .nenvironment = service->nenvironment,
        .check = service->check,
        .user = service->user,
        .working_dir = service->working_dir,
        .stop_signal = service->stop_signal,
        .stop_grace_ms = service->stop_grace_ms,
        .tmpfs = service->tmpfs,
        .ntmpfs = service->ntmpfs,
        .limit_cpus_nano = service->limit_cpus_nano,
        .limit_memory_bytes = service->limit_memory_bytes,
        .limit_pids = service->limit_pids,
        .exclusive = service->exclusive,
    };
    struct sk_buf buf = SK_BUF_INIT;
    struct sk_jw w;
    char hex[SK_SHA256_HEX];

    sk_jw_init(&w, &buf);
    write_service(&w, &run);
    sk_sha256_hex(sk_buf_str(&buf), hex);
    (void)snprintf(out, 72, "sha256:%s", hex);
    sk_buf_release(&buf);
}
