/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/assign.h"

#include <arpa/inet.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/units.h"

/* How an instance runs. What else the declaration says of a service (where it goes, what it waits
 * for) is control's business, and names things that are not in an assignment. */
static const char *const run_keys[] = {
    "image",   "command", "entrypoint",  "environment", "ports", "expose",      "healthcheck",
    "restart", "user",    "working_dir", "labels",      "tmpfs", "stop_signal", "stop_grace_period",
};

bool assign_digest_valid(struct sk_str digest)
{
    struct sk_str hex = {digest.ptr + 7, digest.len - 7};

    if (digest.len != 71 || !sk_str_starts(digest, SK_STR("sha256:"))) {
        return false;
    }
    for (size_t i = 0; i < hex.len; i++) {
        char c = hex.ptr[i];
        if (!((c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'))) {
            return false;
        }
    }
    return true;
}

/* "RTMIN", "RTMIN+3", "RTMAX-2": what images of init systems stop on */
static int real_time_signal(struct sk_str name, int base, char sign, int direction)
{
    struct sk_str offset = {name.ptr + 6, name.len - 6};
    int64_t n;

    if (name.len == 5) {
        return base;
    }
    if (name.ptr[5] != sign || sk_parse_int(offset, 0, SIGRTMAX - SIGRTMIN, &n, NULL) < 0) {
        return 0;
    }
    return base + direction * (int)n;
}

int assign_signal(struct sk_str name)
{
    int64_t n;

    if (sk_parse_int(name, 1, 64, &n, NULL) == 0) {
        return (int)n;
    }
    if (sk_str_starts(name, SK_STR("SIG"))) {
        name.ptr += 3;
        name.len -= 3;
    }
    for (int i = 1; i < 32; i++) {
        const char *abbrev = sigabbrev_np(i);
        if (abbrev && sk_str_is(name, abbrev)) {
            return i;
        }
    }
    if (sk_str_is(name, "IO")) {
        return SIGIO; /* libc calls it POLL */
    }
    if (sk_str_starts(name, SK_STR("RTMIN"))) {
        return real_time_signal(name, SIGRTMIN, '+', 1);
    }
    return sk_str_starts(name, SK_STR("RTMAX")) ? real_time_signal(name, SIGRTMAX, '-', -1) : 0;
}

static bool id_valid(struct sk_str id)
{
    if (id.len < 8 || id.len > 64) {
        return false;
    }
    for (size_t i = 0; i < id.len; i++) {
        char c = id.ptr[i];
        if (!((c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'))) {
            return false;
        }
    }
    return true;
}

static bool address_valid(struct sk_str address)
{
    uint8_t bytes[16];
    return address.len < 64 && (inet_pton(AF_INET, address.ptr, bytes) == 1 ||
                                inet_pton(AF_INET6, address.ptr, bytes) == 1);
}

static void write_limits(struct sk_jw *w, const struct sk_node *spec)
{
    const struct sk_node *deploy = sk_map_get(spec, SK_STR("deploy"));
    const struct sk_node *resources = deploy ? sk_map_get(deploy, SK_STR("resources")) : NULL;
    const struct sk_node *policy = deploy ? sk_map_get(deploy, SK_STR("restart_policy")) : NULL;

    if (!resources && !policy) {
        return;
    }
    sk_jw_key(w, "deploy");
    sk_jw_obj(w);
    if (resources) {
        sk_jw_key(w, "resources");
        sk_jw_node(w, resources);
    }
    if (policy) {
        sk_jw_key(w, "restart_policy");
        sk_jw_node(w, policy);
    }
    sk_jw_obj_end(w);
}

/* Of the policies a node needs only what bears on running: where it serves, how it is checked,
 * and whether it needs a lease. */
static void write_policies(struct sk_jw *w, const struct sk_node *spec)
{
    static const char *const keys[] = {"route", "check", "exclusive"};
    const struct sk_node *own = sk_map_get(spec, SK_STR("x-skerry"));

    if (!own || own->kind != SK_MAP) {
        return;
    }
    sk_jw_key(w, "x-skerry");
    sk_jw_obj(w);
    for (size_t i = 0; i < SK_ARRAY_LEN(keys); i++) {
        const struct sk_node *value = sk_map_get(own, sk_str(keys[i]));
        if (value) {
            sk_jw_key(w, keys[i]);
            sk_jw_node(w, value);
        }
    }
    sk_jw_obj_end(w);
}

/* The spec as a project of one service, so that there is one reader of declarations in the house.
 */
static int read_service(struct assignment *a, const struct sk_node *spec, struct sk_err *err)
{
    struct sk_buf buf = SK_BUF_INIT;
    struct sk_jw w;
    int rc;

    sk_jw_init(&w, &buf);
    sk_jw_obj(&w);
    sk_jw_kstr(&w, "name", a->project);
    sk_jw_key(&w, "services");
    sk_jw_obj(&w);
    sk_jw_keystr(&w, a->service_name);
    sk_jw_obj(&w);
    for (size_t i = 0; i < SK_ARRAY_LEN(run_keys); i++) {
        const struct sk_node *value = sk_map_get(spec, sk_str(run_keys[i]));
        if (value) {
            sk_jw_key(&w, run_keys[i]);
            sk_jw_node(&w, value);
        }
    }
    write_limits(&w, spec);
    write_policies(&w, spec);
    sk_jw_obj_end(&w);
    sk_jw_obj_end(&w);
    sk_jw_obj_end(&w);
    rc = project_from_canonical("assignment", sk_buf_str(&buf), &a->holder, err);
    sk_buf_release(&buf);
    if (rc == 0) {
        int64_t at = project_service(a->holder, a->service_name);
        SK_ASSERT(at >= 0);
        a->service = &a->holder->services[at];
    }
    return rc;
}

/* Everything that makes a running instance another one. */
static void hash_assignment(struct assignment *a, struct sk_str spec_hash)
{
    struct sk_buf buf = SK_BUF_INIT;

    sk_buf_printf(&buf, "%.*s %" PRId64 " %d %.*s %.*s %u", SK_PRI(spec_hash), a->generation,
                  (int)a->driver, SK_PRI(a->image.digest), SK_PRI(a->address), a->port);
    sk_sha256_hex(sk_buf_str(&buf), a->hash);
    sk_buf_release(&buf);
}

static int check_names(const struct assignment *a, struct sk_str want, struct sk_str driver,
                       int64_t port, struct sk_err *err)
{
    if (!sk_str_is_label(a->project) || !sk_str_is_label(a->service_name)) {
        return sk_err_set(err, SK_ERR_PROTOCOL, "project and service must be names");
    }
    if (!sk_str_is(want, "run") && !sk_str_is(want, "stop")) {
        return sk_err_set(err, SK_ERR_PROTOCOL, "'want' must be run or stop");
    }
    if (!sk_str_is(driver, "oci") && !sk_str_is(driver, "exec")) {
        return sk_err_set(err, SK_ERR_UNSUPPORTED, "there is no driver '%.*s'", SK_PRI(driver));
    }
    if (port < 0 || port > 65535 || (a->address.len > 0 && !address_valid(a->address))) {
        return sk_err_set(err, SK_ERR_PROTOCOL, "the address is not valid");
    }
    return 0;
}

static int check_image(const struct assignment *a, struct sk_err *err)
{
    if (a->driver != DRIVER_OCI) {
        return 0;
    }
    if (a->image.ref.len == 0 || a->image.ref.len > 1024 || a->image.ref.ptr[0] == '-') {
        return sk_err_set(err, SK_ERR_PROTOCOL, "the image has no valid name");
    }
    if (a->image.digest.len > 0 && !assign_digest_valid(a->image.digest)) {
        return sk_err_set(err, SK_ERR_PROTOCOL, "the image's digest is not valid");
    }
    return 0;
}

static int read_one(struct sk_arena *arena, const struct sk_node *node, struct assignment *a,
                    struct sk_err *err)
{
    const struct sk_node *image = sk_map_get(node, SK_STR("image"));
    const struct sk_node *spec = sk_map_get(node, SK_STR("spec"));
    struct sk_str want = sk_map_str(node, "want", SK_STR("run"));
    struct sk_str driver = sk_map_str(node, "driver", SK_STR(""));
    int64_t port = sk_map_int(node, "port", 0);

    a->project = sk_arena_str(arena, sk_map_str(node, "project", SK_STR("")));
    a->service_name = sk_arena_str(arena, sk_map_str(node, "service", SK_STR("")));
    a->replica = sk_map_int(node, "replica", 0);
    a->generation = sk_map_int(node, "generation", 0);
    a->want_run = !sk_str_is(want, "stop");
    a->driver = sk_str_is(driver, "oci") ? DRIVER_OCI : DRIVER_EXEC;
    a->address = sk_arena_str(arena, sk_map_str(node, "address", SK_STR("")));
    a->port = (uint16_t)port;
    if (image && image->kind == SK_MAP) {
        a->image.ref = sk_arena_str(arena, sk_map_str(image, "ref", SK_STR("")));
        a->image.digest = sk_arena_str(arena, sk_map_str(image, "digest", SK_STR("")));
    }
    hash_assignment(a, sk_map_str(node, "spec_hash", SK_STR("")));
    if (!a->want_run) {
        /* To stop, the id is enough; how politely is in the spec, if that can be read. */
        if (check_names(a, want, driver, port, NULL) == 0 && spec && spec->kind == SK_MAP) {
            (void)read_service(a, spec, NULL);
        }
        return 0;
    }
    if (check_names(a, want, driver, port, err) < 0 || check_image(a, err) < 0) {
        return err->code;
    }
    if (!spec || spec->kind != SK_MAP) {
        return sk_err_set(err, SK_ERR_PROTOCOL, "the assignment has no 'spec'");
    }
    return read_service(a, spec, err);
}

static int compare_ids(const void *a, const void *b)
{
    return strcmp(((const struct assignment *)a)->id, ((const struct assignment *)b)->id);
}

static int read_instances(struct assign_set *set, const struct sk_node *list, struct sk_err *err)
{
    set->items = SK_ARENA_ARRAY(set->arena, struct assignment, list->count ? list->count : 1);
    for (uint32_t i = 0; i < list->count; i++) {
        const struct sk_node *node = &list->u.items[i];
        struct assignment *a = &set->items[set->count];
        struct sk_str id = node->kind == SK_MAP ? sk_map_str(node, "id", SK_STR("")) : SK_STR("");
        struct sk_err why = {0};

        if (!id_valid(id)) {
            return sk_err_set(err, SK_ERR_PROTOCOL, "instance %u has no valid id", i);
        }
        memcpy(a->id, id.ptr, id.len);
        a->id[id.len] = '\0';
        set->count++;
        if (read_one(set->arena, node, a, &why) < 0) {
            (void)snprintf(a->refusal, sizeof(a->refusal), "%.250s", why.msg);
        }
    }
    qsort(set->items, set->count, sizeof(*set->items), compare_ids);
    for (size_t i = 1; i < set->count; i++) {
        if (strcmp(set->items[i - 1].id, set->items[i].id) == 0) {
            return sk_err_set(err, SK_ERR_PROTOCOL, "instance '%s' is listed twice",
                              set->items[i].id);
        }
    }
    return 0;
}

static void read_prefetch(struct assign_set *set, const struct sk_node *list)
{
    set->prefetch = SK_ARENA_ARRAY(set->arena, struct image_name, list->count ? list->count : 1);
    for (uint32_t i = 0; i < list->count && set->nprefetch < ASSIGN_PREFETCH_MAX; i++) {
        const struct sk_node *node = &list->u.items[i];
        struct image_name name;

        if (node->kind != SK_MAP) {
            continue;
        }
        name.ref = sk_arena_str(set->arena, sk_map_str(node, "ref", SK_STR("")));
        name.digest = sk_arena_str(set->arena, sk_map_str(node, "digest", SK_STR("")));
        if (name.ref.len > 0 && name.ref.len <= 1024 && name.ref.ptr[0] != '-' &&
            assign_digest_valid(name.digest)) {
            set->prefetch[set->nprefetch++] = name;
        }
    }
}

static void read_peers(struct assign_set *set, const struct sk_node *list)
{
    uint32_t count = list->count < ASSIGN_PEERS_MAX ? list->count : ASSIGN_PEERS_MAX;

    set->peers = SK_ARENA_ARRAY(set->arena, struct assign_peer, count);
    for (uint32_t i = 0; i < count; i++) {
        const struct sk_node *row = &list->u.items[i];
        struct assign_peer *p = &set->peers[set->npeers];
        if (row->kind != SK_MAP) {
            continue;
        }
        p->node = sk_arena_str(set->arena, sk_map_str(row, "node", SK_STR("")));
        p->site = sk_arena_str(set->arena, sk_map_str(row, "site", SK_STR("")));
        p->address = sk_arena_str(set->arena, sk_map_str(row, "address", SK_STR("")));
        p->prefix = sk_arena_str(set->arena, sk_map_str(row, "prefix", SK_STR("")));
        set->npeers += sk_str_is_label(p->node) && sk_str_is_label(p->site);
    }
}

int assign_parse(const struct sk_node *root, struct assign_set **ret, struct sk_err *err)
{
    const struct sk_node *instances, *prefetch;
    struct assign_set *set;

    if (root->kind != SK_MAP || !(instances = sk_map_seq(root, "instances"))) {
        return sk_err_set(err, SK_ERR_PROTOCOL, "an assign frame needs the list 'instances'");
    }
    if (instances->count > AGENT_INSTANCES_MAX) {
        return sk_err_set(err, SK_ERR_LIMIT, "more than %d instances for one node",
                          AGENT_INSTANCES_MAX);
    }
    set = sk_xcalloc(1, sizeof(*set));
    set->arena = sk_arena_new();
    set->rev = sk_map_int(root, "rev", 0);
    if (read_instances(set, instances, err) < 0) {
        assign_free(set);
        return err ? err->code : SK_ERR_PROTOCOL;
    }
    prefetch = sk_map_seq(root, "prefetch");
    if (prefetch) {
        read_prefetch(set, prefetch);
    }
    if (sk_map_seq(root, "peers")) {
        read_peers(set, sk_map_seq(root, "peers"));
    }
    *ret = set;
    return 0;
}

void assign_free(struct assign_set *set)
{
    if (!set) {
        return;
    }
    for (size_t i = 0; i < set->count; i++) {
        project_free(set->items[i].holder);
    }
    sk_arena_free(set->arena);
    free(set);
}

const struct assignment *assign_find(const struct assign_set *set, const char *id)
{
    struct assignment key;

    if (!set || set->count == 0) {
        return NULL;
    }
    (void)snprintf(key.id, sizeof(key.id), "%s", id);
    return bsearch(&key, set->items, set->count, sizeof(*set->items), compare_ids);
}

static enum agent_check check_of(const struct assignment *a)
{
    switch (a->service->check.kind) {
    case CHECK_EXEC:
    case CHECK_SHELL:
        return AGENT_CHECK_EXEC;
    case CHECK_HTTP:
        return AGENT_CHECK_HTTP;
    case CHECK_NONE:
        break;
    }
    /* every program gets a PORT; only one that says it serves is expected to listen on it */
    const struct service *s = a->service;
    bool serves = s->has_route || s->nexpose;
    for (size_t i = 0; i < s->nports; i++) {
        serves = serves || !s->ports[i].udp;
    }
    return serves && a->port && a->address.len > 0 ? AGENT_CHECK_PORT : AGENT_CHECK_NONE;
}

void assign_desired(const struct assignment *a, struct agent_desired *ret)
{
    const struct service *s = a->service;

    memset(ret, 0, sizeof(*ret));
    memcpy(ret->id, a->id, sizeof(ret->id));
    memcpy(ret->hash, a->hash, sizeof(ret->hash));
    ret->want_run = a->want_run;
    ret->needs_image = a->driver == DRIVER_OCI || a->refusal[0];
    ret->stop_grace_ms = AGENT_GRACE_MS;
    ret->retries = 3;
    ret->interval_ms = ret->timeout_ms = 1000;
    if (!s) {
        return;
    }
    ret->restart = s->restart;
    ret->restart_max = s->restart_max;
    ret->exclusive = s->exclusive;
    ret->check = check_of(a);
    ret->interval_ms = s->check.interval_ms > 0 ? s->check.interval_ms : 1000;
    ret->timeout_ms = s->check.timeout_ms > 0 ? s->check.timeout_ms : 1000;
    ret->start_period_ms = s->check.start_period_ms;
    ret->retries = s->check.retries > 0 ? s->check.retries : 3;
    ret->stop_grace_ms = s->stop_grace_ms;
    if (s->stop_signal.len > 0) {
        ret->stop_signal = assign_signal(s->stop_signal);
    }
}
