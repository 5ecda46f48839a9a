/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "base/units.h"
#include "control/internal.h"

/*
 * Requests that write a record and need no plan: facts about sites, nodes and links, join tokens,
 * API keys, undrain. New facts count from the next plan on; nothing moves because of them.
 */

void ctl_merge(struct sk_jw *w, const struct sk_node *old, const struct sk_node *patch)
{
    sk_jw_obj(w);
    for (uint32_t i = 0; old != NULL && i < old->count; i++) {
        const struct sk_member *m = &old->u.members[i];
        if (sk_map_get(patch, m->key) == NULL) {
            sk_jw_keystr(w, m->key);
            sk_jw_node(w, &m->value);
        }
    }
    for (uint32_t i = 0; i < patch->count; i++) {
        const struct sk_member *m = &patch->u.members[i];
        if (m->value.kind != SK_NULL) {
            sk_jw_keystr(w, m->key);
            sk_jw_node(w, &m->value);
        }
    }
    sk_jw_obj_end(w);
}

void ctl_put_merged(struct ctl_txn *t, struct sk_str key, const char *raw, struct sk_str patch)
{
    const struct sk_node *old = NULL;
    const struct sk_node *over = NULL;
    struct sk_buf out = SK_BUF_INIT;
    struct sk_jw w;

    if (raw != NULL) {
        (void)sk_json_read(t->arena, "record", sk_str(raw), NULL, &old, NULL);
    }
    int rc = sk_json_read(t->arena, "patch", patch, NULL, &over, NULL);
    SK_ASSERT(rc == 0);
    sk_jw_init(&w, &out);
    ctl_merge(&w, old, over);
    ctl_txn_put(t, key, &out);
    sk_buf_release(&out);
}

void ctl_put_drained(struct control *c, struct ctl_txn *t, struct sk_str name, bool is_site,
                     bool drained)
{
    const char *raw = is_site ? ctl_site(c, name)->raw : ctl_node(c, name)->raw;
    ctl_put_merged(t, ctl_key_text(t, is_site ? "sites" : "nodes", name), raw,
                   drained ? SK_STR("{\"drained\":true}") : SK_STR("{\"drained\":null}"));
}

void ctl_set_finish(struct control *c, struct ctl_txn *t, const struct ctl_evtext *ev)
{
    struct sk_buf out = SK_BUF_INIT;
    struct sk_jw w;

    ctl_txn_event(c, t, ev);
    sk_jw_init(&w, &out);
    sk_jw_obj(&w);
    sk_jw_kcstr(&w, "format", "skerry.done/1");
    sk_jw_kcstr(&w, "text", ev->text);
    sk_jw_obj_end(&w);
    ctl_txn_reply(t, sk_buf_str(&out));
    sk_buf_release(&out);
    ctl_txn_send(c, t);
}

static const char *who_text(struct ctl_txn *t)
{
    return sk_arena_str(t->arena, t->req->api.who).ptr;
}

/* ---- facts ---- */

enum fact_type { FACT_TEXT, FACT_AMOUNT, FACT_AT, FACT_TRUST, FACT_LABELS, FACT_CPUS, FACT_BYTES };
struct fact {
    const char *name, *record; /* as asked, as recorded */
    enum fact_type type;
    bool may_go; /* null takes it away */
};

static const struct fact site_facts[] = {
    {"region", "region", FACT_TEXT, true},
    {"country", "country", FACT_TEXT, true},
    {"provider", "provider", FACT_TEXT, true},
    {"at", "at", FACT_AT, true},
    {"egress_per_gb", "egress_per_gb", FACT_AMOUNT, true},
    {"price_gb_month", "price_gb_month", FACT_AMOUNT, true},
    {"trust", "trust", FACT_TRUST, false},
};
static const struct fact node_facts[] = {
    {"price_hour", "price_hour", FACT_AMOUNT, true}, {"labels", "labels", FACT_LABELS, false},
    {"cpus", "cpus_nano", FACT_CPUS, false},         {"memory", "memory_bytes", FACT_BYTES, false},
    {"disk", "disk_bytes", FACT_BYTES, false},
};
static const struct fact link_facts[] = {
    {"rtt_ms", "rtt_ms", FACT_AMOUNT, true},
    {"price_per_gb", "price_per_gb", FACT_AMOUNT, true},
};

static bool plain_text(struct sk_str s, size_t max)
{
    if (s.len > max || !sk_str_utf8_valid(s)) {
        return false;
    }
    for (size_t i = 0; i < s.len; i++) {
        if ((unsigned char)s.ptr[i] < 0x20 || s.ptr[i] == 0x7f) {
            return false;
        }
    }
    return true;
}

static int want(const struct fact *f, const char *form, struct sk_err *err)
{
    return sk_err_set(err, SK_ERR_INPUT, "'%s' must be %s", f->name, form);
}

static int fact_labels(struct sk_jw *w, const struct fact *f, const struct sk_node *value,
                       const struct sk_node *old, struct sk_err *err)
{
    static const struct sk_node none = {.kind = SK_MAP};
    if (value->kind != SK_MAP || value->count > 64) {
        return want(f, "a map of at most 64 labels", err);
    }
    for (uint32_t i = 0; i < value->count; i++) {
        const struct sk_member *m = &value->u.members[i];
        if (!plain_text(m->key, 128) || m->key.len == 0 ||
            !(m->value.kind == SK_NULL ||
              (sk_node_is_scalar(&m->value) && plain_text(m->value.u.text, 256)))) {
            return want(f, "short texts by name, null to take one away", err);
        }
    }
    const struct sk_node *had = old ? sk_map_get(old, SK_STR("labels")) : NULL;
    ctl_merge(w, had && had->kind == SK_MAP ? had : &none, value);
    return 0;
}

static int fact_at(struct sk_jw *w, const struct fact *f, const struct sk_node *value,
                   struct sk_err *err)
{
    double lat;
    double lon;
    if (value->kind != SK_SEQ || value->count != 2 || !sk_node_is_scalar(&value->u.items[0]) ||
        !sk_node_is_scalar(&value->u.items[1]) ||
        sk_parse_num(value->u.items[0].u.text, &lat, NULL) < 0 ||
        sk_parse_num(value->u.items[1].u.text, &lon, NULL) < 0 || lat < -90 || lat > 90 ||
        lon < -180 || lon > 180) {
        return want(f, "[latitude, longitude] in degrees", err);
    }
    sk_jw_arr(w);
    sk_jw_num(w, lat);
    sk_jw_num(w, lon);
    sk_jw_arr_end(w);
    return 0;
}

static int fact_number(struct sk_jw *w, const struct fact *f, const struct sk_node *value,
                       struct sk_err *err)
{
    double amount;
    int64_t whole = 0;
    struct sk_str text = sk_node_is_scalar(value) ? value->u.text : SK_STR("");

    if (f->type == FACT_AMOUNT) {
        if (value->kind != SK_NUMBER || sk_parse_num(text, &amount, NULL) < 0 || amount < 0) {
            return want(f, "a number, 0 or more", err);
        }
        sk_jw_num(w, amount);
        return 0;
    }
    int rc =
        f->type == FACT_CPUS ? sk_parse_cpus(text, &whole, err) : sk_parse_bytes(text, &whole, err);
    if (rc < 0) {
        return sk_err_wrap(err, "'%s'", f->name);
    }
    if (whole <= 0 && strcmp(f->name, "disk") != 0) {
        return want(f, "more than 0", err);
    }
    sk_jw_int(w, whole);
    return 0;
}

static int fact_write(struct sk_jw *w, const struct fact *f, const struct sk_node *value,
                      const struct sk_node *old, struct sk_err *err)
{
    if (value->kind == SK_NULL) {
        if (!f->may_go) {
            return want(f, "given", err);
        }
        sk_jw_null(w);
        return 0;
    }
    switch (f->type) {
    case FACT_TEXT:
        if (value->kind != SK_STRING || !plain_text(value->u.text, 128)) {
            return want(f, "a short text", err);
        }
        sk_jw_str(w, value->u.text);
        return 0;
    case FACT_TRUST:
        if (value->kind != SK_STRING ||
            !(sk_str_is(value->u.text, "full") || sk_str_is(value->u.text, "storage") ||
              sk_str_is(value->u.text, "control"))) {
            return want(f, "full, storage or control", err);
        }
        sk_jw_str(w, value->u.text);
        return 0;
    case FACT_AT:
        return fact_at(w, f, value, err);
    case FACT_LABELS:
        return fact_labels(w, f, value, old, err);
    case FACT_AMOUNT:
    case FACT_CPUS:
    case FACT_BYTES:
        return fact_number(w, f, value, err);
    }
    return 0;
}

/* Checks body against the table and writes what goes over the old record. */
static int facts_patch(const struct fact *facts, size_t nfacts, struct sk_arena *arena,
                       struct sk_str body, const char *raw, struct sk_buf *out, struct sk_err *err)
{
    const struct sk_node *root;
    const struct sk_node *old = NULL;
    struct sk_jw w;

    if (sk_json_read(arena, "body", body, NULL, &root, err) < 0) {
        return SK_ERR_INPUT;
    }
    if (root->kind != SK_MAP || root->count == 0) {
        return sk_err_set(err, SK_ERR_INPUT, "the body must be a map of facts");
    }
    if (raw != NULL && sk_json_read(arena, "record", sk_str(raw), NULL, &old, err) < 0) {
        return SK_ERR_CORRUPT;
    }
    sk_jw_init(&w, out);
    sk_jw_obj(&w);
    sk_jw_kint(&w, "v", 1);
    for (uint32_t i = 0; i < root->count; i++) {
        const struct sk_member *m = &root->u.members[i];
        const struct fact *f = NULL;
        for (size_t k = 0; k < nfacts; k++) {
            f = sk_str_is(m->key, facts[k].name) ? &facts[k] : f;
        }
        if (f == NULL) {
            return sk_err_set(err, SK_ERR_INPUT, "'%.*s' is no fact that can be set",
                              SK_PRI(m->key));
        }
        sk_jw_key(&w, f->record);
        int rc = fact_write(&w, f, &m->value, old, err);
        if (rc < 0) {
            return rc;
        }
    }
    sk_jw_obj_end(&w);
    return 0;
}

static void set_run(struct control *c, struct ctl_req *req, const struct fact *facts, size_t nfacts,
                    const char *kind, struct sk_str key, const char *raw)
{
    struct sk_buf patch = SK_BUF_INIT;
    struct sk_err err = {0};

    if (facts_patch(facts, nfacts, req->arena, req->api.u.set.body, raw, &patch, &err) < 0) {
        sk_buf_release(&patch);
        ctl_refuse(c, req, &err);
        return;
    }
    struct ctl_txn *t = ctl_txn_new(req);
    ctl_put_merged(t, ctl_key_text(t, kind, key), raw, sk_buf_str(&patch));
    sk_buf_release(&patch);
    bool is_node = strcmp(kind, "nodes") == 0;
    struct sk_str text = sk_arena_printf(t->arena, "facts of %s '%.*s' set: %.*s",
                                         is_node                      ? "node"
                                         : strcmp(kind, "links") == 0 ? "link"
                                                                      : "site",
                                         SK_PRI(key), SK_PRI(req->api.u.set.body));
    ctl_set_finish(c, t,
                   &(struct ctl_evtext){.what = "set",
                                        .who = who_text(t),
                                        .node = is_node ? key : SK_STR(""),
                                        .site = is_node ? SK_STR("") : key,
                                        .text = text.ptr});
}

static bool missing(struct control *c, struct ctl_req *req, const char *kind, struct sk_str name,
                    bool there)
{
    struct sk_err err = {0};
    if (there) {
        return false;
    }
    (void)sk_err_set(&err, SK_ERR_NOT_FOUND, "there is no %s '%.*s'", kind, SK_PRI(name));
    ctl_refuse(c, req, &err);
    return true;
}

void ctl_req_site_set(struct control *c, struct ctl_req *req)
{
    struct sk_str name = req->api.u.set.name;
    const struct ctl_site *s = ctl_site(c, name);
    if (!missing(c, req, "site", name, s != NULL)) {
        set_run(c, req, site_facts, SK_ARRAY_LEN(site_facts), "sites", name, s->raw);
    }
}

void ctl_req_node_set(struct control *c, struct ctl_req *req)
{
    struct sk_str name = req->api.u.set.name;
    const struct ctl_node *n = ctl_node(c, name);
    if (!missing(c, req, "node", name, n != NULL)) {
        set_run(c, req, node_facts, SK_ARRAY_LEN(node_facts), "nodes", name, n->raw);
    }
}

void ctl_req_link_set(struct control *c, struct ctl_req *req)
{
    struct sk_str a = req->api.u.set.name;
    struct sk_str b = req->api.u.set.other;
    struct sk_err err = {0};

    if (missing(c, req, "site", a, ctl_site(c, a) != NULL) ||
        missing(c, req, "site", b, ctl_site(c, b) != NULL)) {
        return;
    }
    if (sk_str_eq(a, b)) {
        (void)sk_err_set(&err, SK_ERR_INPUT, "a link has two different ends");
        ctl_refuse(c, req, &err);
        return;
    }
    const struct ctl_link *l = ctl_link(c, a, b);
    bool swap = sk_str_cmp(a, b) > 0;
    struct sk_str key =
        sk_arena_printf(req->arena, "%.*s/%.*s", SK_PRI(swap ? b : a), SK_PRI(swap ? a : b));
    set_run(c, req, link_facts, SK_ARRAY_LEN(link_facts), "links", key, l ? l->raw : NULL);
}

void ctl_req_undrain(struct control *c, struct ctl_req *req)
{
    struct sk_str name = req->api.u.target.name;
    bool is_site = req->api.u.target.is_site;

    if (missing(c, req, is_site ? "site" : "node", name,
                is_site ? ctl_site(c, name) != NULL : ctl_node(c, name) != NULL)) {
        return;
    }
    struct ctl_txn *t = ctl_txn_new(req);
    ctl_put_drained(c, t, name, is_site, false);
    struct sk_str text =
        sk_arena_printf(t->arena, "%s '%.*s' takes work again; nothing moves back by itself",
                        is_site ? "site" : "node", SK_PRI(name));
    ctl_set_finish(c, t,
                   &(struct ctl_evtext){.what = "undrain",
                                        .who = who_text(t),
                                        .node = is_site ? SK_STR("") : name,
                                        .site = is_site ? name : SK_STR(""),
                                        .text = text.ptr});
}

/* ---- tokens and keys ---- */

#define TOKENS_MAX 10000
#define KEYS_MAX 1000

static int token_check(const struct control *c, const struct control_request *r, struct sk_err *err)
{
    struct sk_str role = r->u.token.role;
    size_t at;

    if (!ctl_is_hex(r->u.token.hash, 64)) {
        return sk_err_set(err, SK_ERR_INPUT, "a token's hash is 64 lower case hex digits");
    }
    if (!sk_str_is_label(r->u.token.site)) {
        return sk_err_set(err, SK_ERR_INPUT, "'%.*s' is no name for a site",
                          SK_PRI(r->u.token.site));
    }
    if (!sk_str_is(role, "node") && !sk_str_is(role, "storage") && !sk_str_is(role, "control")) {
        return sk_err_set(err, SK_ERR_INPUT, "a token's role is node, storage or control");
    }
    if (r->u.token.ttl_ms <= 0 || r->u.token.ttl_ms > CONTROL_TOKEN_TTL_MAX_MS) {
        return sk_err_set(err, SK_ERR_INPUT, "a token lives more than 0 and at most 1h");
    }
    if (c->ntokens >= TOKENS_MAX) {
        return sk_err_set(err, SK_ERR_LIMIT, "there are %zu join tokens already", c->ntokens);
    }
    if (ctl_find(c->tokens, c->ntokens, r->u.token.hash, &at)) {
        return sk_err_set(err, SK_ERR_CONFLICT, "this token exists already");
    }
    return 0;
}

/* What expired a day ago is of no use to anybody, not even for a clear message. */
static void tokens_prune(struct control *c, struct ctl_txn *t)
{
    int pruned = 0;
    for (size_t i = 0; i < c->ntokens && pruned < 100; i++) {
        if (c->tokens[i]->expires_wall_ms + 24 * CONTROL_TOKEN_TTL_MAX_MS < c->wall_ms) {
            ctl_txn_remove(t, ctl_key_text(t, "tokens", sk_str(c->tokens[i]->hash)));
            pruned++;
        }
    }
}

void ctl_req_token_create(struct control *c, struct ctl_req *req)
{
    struct sk_err err = {0};
    struct sk_buf out = SK_BUF_INIT;
    struct sk_jw w;

    if (token_check(c, &req->api, &err) < 0) {
        ctl_refuse(c, req, &err);
        return;
    }
    struct ctl_txn *t = ctl_txn_new(req);
    tokens_prune(c, t);
    sk_jw_init(&w, &out);
    sk_jw_obj(&w);
    sk_jw_kint(&w, "v", 1);
    sk_jw_kstr(&w, "site", req->api.u.token.site);
    sk_jw_kstr(&w, "role", req->api.u.token.role);
    sk_jw_kint(&w, "expires_ms", c->wall_ms + req->api.u.token.ttl_ms);
    sk_jw_kstr(&w, "who", req->api.who);
    sk_jw_obj_end(&w);
    ctl_txn_put(t, ctl_key_text(t, "tokens", req->api.u.token.hash), &out);
    sk_buf_release(&out);
    struct sk_str text =
        sk_arena_printf(t->arena, "join token made for site '%.*s', role %.*s",
                        SK_PRI(req->api.u.token.site), SK_PRI(req->api.u.token.role));
    ctl_set_finish(c, t,
                   &(struct ctl_evtext){.what = "token_create",
                                        .who = who_text(t),
                                        .site = req->api.u.token.site,
                                        .text = text.ptr});
}

static void revoke_run(struct control *c, struct ctl_req *req, const char *kind, const char *what,
                       const char *text)
{
    struct ctl_txn *t = ctl_txn_new(req);
    ctl_txn_remove(t, ctl_key_text(t, kind, req->api.u.target.name));
    ctl_set_finish(c, t, &(struct ctl_evtext){.what = what, .who = who_text(t), .text = text});
}

void ctl_req_token_revoke(struct control *c, struct ctl_req *req)
{
    size_t at;
    struct sk_str hash = req->api.u.target.name;
    if (!missing(c, req, "join token", hash, ctl_find(c->tokens, c->ntokens, hash, &at))) {
        revoke_run(c, req, "tokens", "token_revoke", "join token revoked");
    }
}

void ctl_req_key_create(struct control *c, struct ctl_req *req)
{
    struct sk_err err = {0};
    struct sk_buf out = SK_BUF_INIT;
    struct sk_jw w;
    struct sk_str role = req->api.u.key.role;
    size_t at;

    if (!ctl_is_hex(req->api.u.key.hash, 64) || !sk_str_is_label(req->api.u.key.name)) {
        (void)sk_err_set(&err, SK_ERR_INPUT,
                         "a key has a name (a label) and a hash of 64 hex digits");
    } else if (!sk_str_is(role, "admin") && !sk_str_is(role, "operator") &&
               !sk_str_is(role, "viewer")) {
        (void)sk_err_set(&err, SK_ERR_INPUT, "a key's role is admin, operator or viewer");
    } else if (ctl_find(c->keys, c->nkeys, req->api.u.key.hash, &at)) {
        (void)sk_err_set(&err, SK_ERR_CONFLICT, "this key exists already");
    } else if (c->nkeys >= KEYS_MAX) {
        (void)sk_err_set(&err, SK_ERR_LIMIT, "there are %zu keys already", c->nkeys);
    }
    if (err.code < 0) {
        ctl_refuse(c, req, &err);
        return;
    }
    struct ctl_txn *t = ctl_txn_new(req);
    sk_jw_init(&w, &out);
    sk_jw_obj(&w);
    sk_jw_kint(&w, "v", 1);
    sk_jw_kstr(&w, "name", req->api.u.key.name);
    sk_jw_kstr(&w, "role", role);
    sk_jw_kstr(&w, "who", req->api.who);
    sk_jw_kint(&w, "wall_ms", c->wall_ms);
    sk_jw_obj_end(&w);
    ctl_txn_put(t, ctl_key_text(t, "keys", req->api.u.key.hash), &out);
    sk_buf_release(&out);
    struct sk_str text = sk_arena_printf(t->arena, "key '%.*s' made, role %.*s",
                                         SK_PRI(req->api.u.key.name), SK_PRI(role));
    ctl_set_finish(
        c, t, &(struct ctl_evtext){.what = "key_create", .who = who_text(t), .text = text.ptr});
}

void ctl_req_key_revoke(struct control *c, struct ctl_req *req)
{
    size_t at;
    struct sk_str hash = req->api.u.target.name;
    if (!missing(c, req, "key", hash, ctl_find(c->keys, c->nkeys, hash, &at))) {
        revoke_run(c, req, "keys", "key_revoke", "key revoked");
    }
}
