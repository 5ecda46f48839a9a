/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/api_body.h"

#include <string.h>

#include "base/hash.h"
#include "base/json.h"
#include "base/mem.h"
#include "model/project.h"
#include "net/token.h"
#include "sys/clock.h"

#define PROJECTS_MAX 1000
#define TOKEN_TTL_DEFAULT_MS (3600 * INT64_C(1000))

struct key_spec {
    const char *name;
    enum sk_kind kind;
    bool required;
};

/* The body must be a map with just these keys, of these kinds. */
static int read_body(struct http_exchange *x, struct sk_arena *arena, const struct key_spec *specs,
                     size_t nspecs, const struct sk_node **ret, struct sk_err *err)
{
    static const struct sk_limits limits = {.depth_max = 48, .nodes_max = 4u << 20};
    const struct sk_node *root;

    if (sk_json_read(arena, "body", http_body(x), &limits, &root, err) < 0) {
        return err->code;
    }
    if (root->kind != SK_MAP) {
        return sk_err_set(err, SK_ERR_INPUT, "body: an object is expected, not a %s",
                          sk_kind_name(root->kind));
    }
    for (uint32_t i = 0; i < root->count; i++) {
        const struct sk_member *m = &root->u.members[i];
        size_t k = 0;
        while (k < nspecs && !sk_str_is(m->key, specs[k].name)) {
            k++;
        }
        if (k == nspecs) {
            return sk_err_set(err, SK_ERR_INPUT, "body:%u:%u: unknown key '%.*s'", m->line, m->col,
                              SK_PRI(m->key));
        }
        if (m->value.kind != specs[k].kind) {
            return sk_err_set(err, SK_ERR_INPUT, "body:%u:%u: '%s' must be a %s", m->line, m->col,
                              specs[k].name, sk_kind_name(specs[k].kind));
        }
    }
    for (size_t k = 0; k < nspecs; k++) {
        if (specs[k].required && !sk_map_get(root, sk_str(specs[k].name))) {
            return sk_err_set(err, SK_ERR_INPUT, "body: '%s' is missing", specs[k].name);
        }
    }
    *ret = root;
    return 0;
}

/* Every image of the projects is resolved to a digest now, so that the same bytes run everywhere
 * from here on. */
static int resolve_images(struct api_context *api, struct api_call *call, struct sk_str canonical,
                          struct control_digest **digests, size_t *count, size_t *cap,
                          struct sk_err *err)
{
    struct project *project = NULL;
    int r = project_from_canonical("body", canonical, &project, err);

    for (size_t i = 0; r == 0 && i < project->nservices; i++) {
        struct sk_str image = project->services[i].image;
        struct sk_buf digest = SK_BUF_INIT;
        bool seen = image.len == 0;
        for (size_t k = 0; k < *count && !seen; k++) {
            seen = sk_str_eq((*digests)[k].image, image);
        }
        if (seen) {
            continue;
        }
        r = api->resolve_image
                ? api->resolve_image(api->resolve_ctx, image, &digest, err)
                : sk_err_set(err, SK_ERR_UNAVAILABLE, "images cannot be resolved on this node");
        if (r < 0) {
            r = sk_err_wrap(err, "image '%.*s' of service '%.*s'", SK_PRI(image),
                            SK_PRI(project->services[i].name));
        } else {
            SK_GROW(*digests, *count, *cap);
            (*digests)[(*count)++] = (struct control_digest){
                sk_arena_str(call->arena, image), sk_arena_str(call->arena, sk_buf_str(&digest))};
        }
        sk_buf_release(&digest);
    }
    project_free(project);
    return r;
}

static int take_projects(struct api_context *api, struct api_call *call, const struct sk_node *list,
                         bool resolve, struct sk_err *err)
{
    struct control_request *req = &call->request;
    struct control_digest *digests = NULL;
    size_t count = 0, cap = 0;
    struct sk_str *projects;
    int r = 0;

    if (list->count > PROJECTS_MAX) {
        return sk_err_set(err, SK_ERR_LIMIT, "more than %d projects in one request", PROJECTS_MAX);
    }
    projects = SK_ARENA_ARRAY(call->arena, struct sk_str, list->count);
    for (uint32_t i = 0; r == 0 && i < list->count; i++) {
        struct sk_buf canonical = SK_BUF_INIT;
        r = sk_json_canonical(&list->u.items[i], &canonical, err);
        if (r == 0) {
            projects[i] = sk_arena_str(call->arena, sk_buf_str(&canonical));
        }
        if (r == 0 && resolve) {
            r = resolve_images(api, call, projects[i], &digests, &count, &cap, err);
        }
        sk_buf_release(&canonical);
    }
    if (r == 0) {
        struct control_digest *kept = SK_ARENA_ARRAY(call->arena, struct control_digest, count);
        if (count) {
            memcpy(kept, digests, count * sizeof(*kept));
        }
        req->u.apply.projects = projects;
        req->u.apply.nprojects = list->count;
        req->u.apply.digests = kept;
        req->u.apply.ndigests = count;
    }
    free(digests);
    return r;
}

API_FILL(api_fill_plan)
{
    static const struct key_spec specs[] = {{"projects", SK_SEQ, true}, {"pairs", SK_BOOL, false}};
    const struct sk_node *body;

    (void)segment;
    if (read_body(x, call->arena, specs, SK_ARRAY_LEN(specs), &body, err) < 0) {
        return err->code;
    }
    call->request.kind = CONTROL_REQ_APPLY;
    call->request.u.apply.dry_run = true;
    call->request.u.apply.pairs = sk_map_bool(body, "pairs", false);
    return take_projects(api, call, sk_map_get(body, SK_STR("projects")), false, err);
}

API_FILL(api_fill_apply)
{
    static const struct key_spec specs[] = {{"projects", SK_SEQ, true}, {"plan", SK_STRING, false}};
    const struct sk_node *body;

    (void)segment;
    if (read_body(x, call->arena, specs, SK_ARRAY_LEN(specs), &body, err) < 0) {
        return err->code;
    }
    call->request.kind = CONTROL_REQ_APPLY;
    call->request.u.apply.expect_plan = sk_map_str(body, "plan", SK_STR(""));
    return take_projects(api, call, sk_map_get(body, SK_STR("projects")), true, err);
}

API_FILL(api_fill_rebalance)
{
    static const struct key_spec specs[] = {
        {"max_moves", SK_NUMBER, false}, {"dry_run", SK_BOOL, false}, {"plan", SK_STRING, false}};
    const struct sk_node *body;

    (void)segment;
    (void)api;
    if (read_body(x, call->arena, specs, SK_ARRAY_LEN(specs), &body, err) < 0) {
        return err->code;
    }
    call->request.kind = CONTROL_REQ_REBALANCE;
    call->request.u.rebalance.max_moves = sk_map_int(body, "max_moves", -1);
    call->request.u.rebalance.dry_run = sk_map_bool(body, "dry_run", false);
    call->request.u.rebalance.expect_plan = sk_map_str(body, "plan", SK_STR(""));
    return 0;
}

/* A whole number, 0 or more; -1 when it is not given. */
static int return_number(const struct sk_node *body, const char *key, int64_t *ret,
                         struct sk_err *err)
{
    int64_t n = sk_map_int(body, key, -1);
    if (n < 0 && sk_map_get(body, sk_str(key)) != NULL) {
        return sk_err_set(err, SK_ERR_INPUT, "'%s' must be a whole number, 0 or more", key);
    }
    *ret = n;
    return 0;
}

API_FILL(api_fill_return)
{
    static const struct key_spec specs[] = {{"hold", SK_BOOL, false},
                                            {"go", SK_BOOL, false},
                                            {"max_moves", SK_NUMBER, false},
                                            {"auto", SK_BOOL, false},
                                            {"delay_ms", SK_NUMBER, false}};
    const struct sk_node *body;

    (void)segment;
    (void)api;
    if (read_body(x, call->arena, specs, SK_ARRAY_LEN(specs), &body, err) < 0) {
        return err->code;
    }
    call->request.kind = CONTROL_REQ_RETURN;
    call->request.u.ret.hold = sk_map_bool(body, "hold", false);
    call->request.u.ret.go = sk_map_bool(body, "go", false);
    if (return_number(body, "max_moves", &call->request.u.ret.max_moves, err) < 0 ||
        return_number(body, "delay_ms", &call->request.u.ret.delay_ms, err) < 0) {
        return err->code;
    }
    call->request.u.ret.automatic =
        sk_map_get(body, SK_STR("auto")) == NULL ? -1 : sk_map_bool(body, "auto", false);
    return 0;
}

static int fill_target(struct api_call *call, enum control_request_kind kind, struct sk_str name,
                       bool is_site)
{
    call->request.kind = kind;
    call->request.u.target.name = sk_arena_str(call->arena, name);
    call->request.u.target.is_site = is_site;
    return 0;
}

API_FILL(api_fill_project_delete)
{
    (void)api;
    (void)x;
    (void)err;
    return fill_target(call, CONTROL_REQ_PROJECT_DELETE, segment[0], false);
}

API_FILL(api_fill_node_remove)
{
    (void)api;
    (void)x;
    (void)err;
    return fill_target(call, CONTROL_REQ_NODE_REMOVE, segment[0], false);
}

API_FILL(api_fill_site_remove)
{
    (void)api;
    (void)x;
    (void)err;
    return fill_target(call, CONTROL_REQ_SITE_REMOVE, segment[0], true);
}

API_FILL(api_fill_token_revoke)
{
    (void)api;
    (void)x;
    (void)err;
    return fill_target(call, CONTROL_REQ_TOKEN_REVOKE, segment[0], false);
}

API_FILL(api_fill_key_revoke)
{
    (void)api;
    (void)x;
    (void)err;
    return fill_target(call, CONTROL_REQ_KEY_REVOKE, segment[0], false);
}

static int fill_drain(struct http_exchange *x, struct api_call *call,
                      enum control_request_kind kind, struct sk_err *err)
{
    static const struct key_spec specs[] = {
        {"site", SK_STRING, false}, {"node", SK_STRING, false}, {"force", SK_BOOL, false}};
    const struct sk_node *body;
    struct sk_str site, node;

    if (read_body(x, call->arena, specs, SK_ARRAY_LEN(specs), &body, err) < 0) {
        return err->code;
    }
    site = sk_map_str(body, "site", SK_STR_NULL);
    node = sk_map_str(body, "node", SK_STR_NULL);
    if (!site.ptr == !node.ptr) {
        return sk_err_set(err, SK_ERR_INPUT, "body: give either 'site' or 'node'");
    }
    (void)fill_target(call, kind, site.ptr ? site : node, site.ptr != NULL);
    call->request.u.target.force = sk_map_bool(body, "force", false);
    return 0;
}

API_FILL(api_fill_drain)
{
    (void)api;
    (void)segment;
    return fill_drain(x, call, CONTROL_REQ_DRAIN, err);
}

API_FILL(api_fill_undrain)
{
    (void)api;
    (void)segment;
    return fill_drain(x, call, CONTROL_REQ_UNDRAIN, err);
}

/* Control checks what is in it; here it only has to be an object. */
static int fill_set(struct http_exchange *x, struct api_call *call, enum control_request_kind kind,
                    const struct sk_str *segment, struct sk_err *err)
{
    const struct sk_node *root;

    if (sk_json_read(call->arena, "body", http_body(x), NULL, &root, err) < 0) {
        return err->code;
    }
    if (root->kind != SK_MAP) {
        return sk_err_set(err, SK_ERR_INPUT, "body: an object is expected, not a %s",
                          sk_kind_name(root->kind));
    }
    call->request.kind = kind;
    call->request.u.set.name = sk_arena_str(call->arena, segment[0]);
    if (segment[1].ptr) {
        call->request.u.set.other = sk_arena_str(call->arena, segment[1]);
    }
    call->request.u.set.body = sk_arena_str(call->arena, http_body(x));
    return 0;
}

API_FILL(api_fill_site_set)
{
    (void)api;
    return fill_set(x, call, CONTROL_REQ_SITE_SET, segment, err);
}

API_FILL(api_fill_node_set)
{
    (void)api;
    return fill_set(x, call, CONTROL_REQ_NODE_SET, segment, err);
}

API_FILL(api_fill_link_set)
{
    (void)api;
    return fill_set(x, call, CONTROL_REQ_LINK_SET, segment, err);
}

/* A random secret's text goes back to the caller once, in call->arg1; only its hash goes to the
 * loop thread's state. */
API_FILL(api_fill_token)
{
    static const struct key_spec specs[] = {
        {"site", SK_STRING, true}, {"role", SK_STRING, false}, {"ttl_ms", SK_NUMBER, false}};
    const struct sk_node *body;
    struct net_token token = {0};
    uint8_t ca[SK_SHA256_BYTES];
    char text[NET_TOKEN_TEXT_SIZE];
    char hash[SK_SHA256_HEX];

    (void)segment;
    if (read_body(x, call->arena, specs, SK_ARRAY_LEN(specs), &body, err) < 0) {
        return err->code;
    }
    SK_ASSERT(sk_unhex(sk_str(api->ca_fingerprint), ca, sizeof(ca)));
    net_token_new(ca, &token);
    net_token_print(&token, text);
    net_token_hash(&token, hash);
    net_token_wipe(&token);
    call->arg1 = sk_arena_str(call->arena, sk_str(text));
    explicit_bzero(text, sizeof(text));
    call->request.kind = CONTROL_REQ_TOKEN_CREATE;
    call->request.u.token.hash = sk_arena_str(call->arena, sk_str(hash));
    call->request.u.token.site = sk_map_str(body, "site", SK_STR(""));
    call->request.u.token.role = sk_map_str(body, "role", SK_STR("node"));
    call->request.u.token.ttl_ms = sk_map_int(body, "ttl_ms", TOKEN_TTL_DEFAULT_MS);
    return 0;
}

API_FILL(api_fill_key)
{
    static const struct key_spec specs[] = {{"name", SK_STRING, true}, {"role", SK_STRING, true}};
    const struct sk_node *body;
    uint8_t secret[32];
    char hex[2 * sizeof(secret) + 1];
    char hash[SK_SHA256_HEX];

    (void)api;
    (void)segment;
    if (read_body(x, call->arena, specs, SK_ARRAY_LEN(specs), &body, err) < 0) {
        return err->code;
    }
    sys_random(secret, sizeof(secret));
    sk_hex(secret, sizeof(secret), hex);
    call->arg1 = sk_arena_printf(call->arena, "ska1.%s", hex);
    sk_sha256_hex(call->arg1, hash);
    explicit_bzero(secret, sizeof(secret));
    explicit_bzero(hex, sizeof(hex));
    call->request.kind = CONTROL_REQ_KEY_CREATE;
    call->request.u.key.hash = sk_arena_str(call->arena, sk_str(hash));
    call->request.u.key.name = sk_map_str(body, "name", SK_STR(""));
    call->request.u.key.role = sk_map_str(body, "role", SK_STR(""));
    return 0;
}

#define DRILL_FOR_DEFAULT_MS 60000
#define DRILL_BOUND_DEFAULT 1.0

API_FILL(api_fill_drill)
{
    static const struct key_spec specs[] = {{"site", SK_STRING, true},
                                            {"for_ms", SK_NUMBER, false},
                                            {"abort_errors_percent", SK_NUMBER, false},
                                            {"hard", SK_BOOL, false}};
    const struct sk_node *body;

    (void)segment;
    (void)api;
    if (read_body(x, call->arena, specs, SK_ARRAY_LEN(specs), &body, err) < 0) {
        return err->code;
    }
    call->request.kind = CONTROL_REQ_DRILL;
    call->request.u.drill.site = sk_map_str(body, "site", SK_STR(""));
    call->request.u.drill.for_ms = sk_map_int(body, "for_ms", DRILL_FOR_DEFAULT_MS);
    call->request.u.drill.bound = sk_map_num(body, "abort_errors_percent", DRILL_BOUND_DEFAULT);
    call->request.u.drill.hard = sk_map_bool(body, "hard", false);
    return 0;
}

API_FILL(api_fill_drill_abort)
{
    (void)segment;
    (void)api;
    (void)x;
    (void)err;
    call->request.kind = CONTROL_REQ_DRILL_ABORT;
    return 0;
}

/* ---- the control nodes ---- */

#define SEATS_MAX 16
#define ENDPOINTS_MAX 9
#define PEM_BYTES_MAX 16384

/* A list of strings; NULL: none. */
static int read_names(const struct sk_node *list, const char *what, size_t max,
                      struct sk_arena *arena, const struct sk_str **ret, size_t *ret_count,
                      struct sk_err *err)
{
    uint32_t n = list ? list->count : 0;
    struct sk_str *names;

    if (n > max) {
        return sk_err_set(err, SK_ERR_LIMIT, "body: more than %zu '%s'", max, what);
    }
    names = SK_ARENA_ARRAY(arena, struct sk_str, n + 1);
    for (uint32_t i = 0; i < n; i++) {
        if (list->u.items[i].kind != SK_STRING) {
            return sk_err_set(err, SK_ERR_INPUT, "body: '%s' must hold strings", what);
        }
        names[i] = list->u.items[i].u.text;
    }
    *ret = names;
    *ret_count = n;
    return 0;
}

/* The operator's own etcd: where it is, and how it is opened. */
static int read_etcd(const struct sk_node *etcd, struct api_call *call, struct sk_err *err)
{
    static const char *const files[] = {"ca", "cert", "key"};
    struct control_request *req = &call->request;

    if (!etcd) {
        return 0;
    }
    if (read_names(sk_map_seq(etcd, "endpoints"), "endpoints", ENDPOINTS_MAX, call->arena,
                   &req->u.seats.endpoints, &req->u.seats.nendpoints, err) < 0) {
        return err->code;
    }
    if (req->u.seats.nendpoints == 0) {
        return sk_err_set(err, SK_ERR_INPUT, "body: 'etcd' needs 'endpoints'");
    }
    for (size_t i = 0; i < req->u.seats.nendpoints; i++) {
        if (!sk_str_starts(req->u.seats.endpoints[i], SK_STR("https://")) ||
            req->u.seats.endpoints[i].len > 200) {
            return sk_err_set(err, SK_ERR_INPUT, "body: an endpoint of etcd is https://HOST:PORT");
        }
    }
    for (size_t i = 0; i < SK_ARRAY_LEN(files); i++) {
        call->pems[i] = sk_map_str(etcd, files[i], SK_STR(""));
        if (call->pems[i].len == 0 || call->pems[i].len > PEM_BYTES_MAX) {
            return sk_err_set(err, SK_ERR_INPUT, "body: 'etcd' needs '%s', a PEM text", files[i]);
        }
    }
    return 0;
}

API_FILL(api_fill_grow)
{
    static const struct key_spec specs[] = {
        {"nodes", SK_SEQ, false}, {"members", SK_NUMBER, false}, {"etcd", SK_MAP, false}};
    struct control_request *req = &call->request;
    const struct sk_node *body;

    (void)api;
    (void)segment;
    if (read_body(x, call->arena, specs, SK_ARRAY_LEN(specs), &body, err) < 0 ||
        read_names(sk_map_seq(body, "nodes"), "nodes", SEATS_MAX, call->arena, &req->u.seats.nodes,
                   &req->u.seats.nnodes, err) < 0 ||
        read_etcd(sk_map_get(body, SK_STR("etcd")), call, err) < 0) {
        return err->code;
    }
    req->kind = CONTROL_REQ_GROW;
    req->u.seats.members = sk_map_int(body, "members", 0);
    return 0;
}

static int fill_one(struct http_exchange *x, struct api_call *call, const char *key,
                    struct sk_err *err)
{
    const struct key_spec specs[] = {{key, SK_STRING, false}, {"node", SK_STRING, false}};
    struct control_request *req = &call->request;
    struct sk_str *name = SK_ARENA_ARRAY(call->arena, struct sk_str, 1);
    const struct sk_node *body;

    if (read_body(x, call->arena, specs, SK_ARRAY_LEN(specs), &body, err) < 0) {
        return err->code;
    }
    *name = sk_map_str(body, key, SK_STR(""));
    req->u.seats.nodes = name;
    req->u.seats.nnodes = name->len > 0;
    req->u.seats.gone = sk_map_str(body, "node", SK_STR(""));
    return 0;
}

API_FILL(api_fill_shrink)
{
    (void)api;
    (void)segment;
    call->request.kind = CONTROL_REQ_SHRINK;
    return fill_one(x, call, "to", err);
}

API_FILL(api_fill_replace)
{
    (void)api;
    (void)segment;
    call->request.kind = CONTROL_REQ_REPLACE;
    return fill_one(x, call, "with", err);
}

API_FILL(api_fill_abort)
{
    (void)api;
    (void)segment;
    call->request.kind = CONTROL_REQ_ABORT;
    return fill_one(x, call, "to", err);
}
