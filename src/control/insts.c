/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "control/internal.h"

/*
 * Instances and the services that they belong to. A service lives here as long as it is declared or
 * has an instance left. What each replica should be (`want`, `place`) is derived from projects,
 * plan and overlay as a whole, whenever one of them changed.
 */

const char *ctl_role_name(enum ctl_role role)
{
    switch (role) {
    case CTL_ACTIVE:
        return "active";
    case CTL_SUPERSEDED:
        return "superseded";
    case CTL_STOPPING:
        return "stopping";
    }
    return "active";
}

static bool svc_at(const struct control *c, struct sk_str project, struct sk_str name,
                   size_t *ret_at)
{
    size_t low = 0;
    size_t high = c->nsvcs;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        int order = sk_str_cmp(sk_str(c->svcs[mid]->project), project);
        if (order == 0) {
            order = sk_str_cmp(sk_str(c->svcs[mid]->name), name);
        }
        if (order == 0) {
            *ret_at = mid;
            return true;
        }
        if (order < 0) {
            low = mid + 1;
        } else {
            high = mid;
        }
    }
    *ret_at = low;
    return false;
}

struct ctl_svc *ctl_svc(const struct control *c, struct sk_str project, struct sk_str name)
{
    size_t at;
    return svc_at(c, project, name, &at) ? c->svcs[at] : NULL;
}

static struct ctl_svc *svc_make(struct control *c, struct sk_str project, struct sk_str name)
{
    size_t at;
    if (svc_at(c, project, name, &at)) {
        return c->svcs[at];
    }
    struct ctl_svc *s = sk_xcalloc(1, sizeof(*s));
    s->project = ctl_dup(project);
    s->name = ctl_dup(name);
    c->svcs = ctl_insert(c->svcs, &c->nsvcs, &c->capsvcs, at, s);
    return s;
}

/* ---- specs ---- */

static bool says_exclusive(const struct sk_node *spec)
{
    const struct sk_node *own = spec != NULL ? sk_map_get(spec, SK_STR("x-skerry")) : NULL;
    return own != NULL && own->kind == SK_MAP && sk_map_bool(own, "exclusive", false);
}

struct ctl_spec *ctl_spec_get(struct control *c, const char *hash, const struct sk_node *node,
                              struct sk_str json, struct sk_str image, struct sk_str digest,
                              bool exec)
{
    struct ctl_spec *spec = NULL;
    HASH_FIND_STR(c->specs, hash, spec);
    if (spec == NULL) {
        spec = sk_xcalloc(1, sizeof(*spec));
        size_t len = strlen(hash);
        memcpy(spec->hash, hash, len < sizeof(spec->hash) ? len : sizeof(spec->hash) - 1);
        spec->json = ctl_dup(json);
        spec->image = ctl_dup(image);
        spec->digest = ctl_dup(digest);
        spec->exec = exec;
        spec->exclusive = says_exclusive(node);
        HASH_ADD_STR(c->specs, hash, spec);
    }
    spec->refs++;
    return spec;
}

void ctl_spec_unref(struct control *c, struct ctl_spec *spec)
{
    if (spec == NULL || --spec->refs > 0) {
        return;
    }
    HASH_DEL(c->specs, spec);
    free(spec->json);
    free(spec->image);
    free(spec->digest);
    free(spec);
}

/* What the declaration wants to run. A digest is part of it: the same tag may mean another image
 * tomorrow. */
static struct ctl_spec *spec_wanted(struct control *c, const struct ctl_project *p,
                                    const struct service *decl)
{
    char hash[72];
    struct sk_str digest = SK_STR("");
    const struct sk_node *services = sk_map_get(p->tree, SK_STR("services"));
    const struct sk_node *node = services ? sk_map_get(services, decl->name) : NULL;
    struct sk_buf json = SK_BUF_INIT;

    service_spec_hash(decl, hash);
    for (size_t i = 0; i < p->ndigests; i++) {
        if (sk_str_eq(p->digests[i].image, decl->image)) {
            digest = p->digests[i].digest;
        }
    }
    if (digest.len > 0) {
        struct sk_buf both = SK_BUF_INIT;
        char hex[SK_SHA256_HEX];
        sk_buf_printf(&both, "%s@%.*s", hash, SK_PRI(digest));
        sk_sha256_hex(sk_buf_str(&both), hex);
        sk_buf_release(&both);
        (void)snprintf(hash, sizeof(hash), "sha256:%s", hex);
    }
    if (node == NULL || sk_json_canonical(node, &json, NULL) < 0) {
        sk_buf_clear(&json);
        sk_buf_adds(&json, "{}");
    }
    struct ctl_spec *spec =
        ctl_spec_get(c, hash, node, sk_buf_str(&json), decl->image, digest, decl->image.len == 0);
    sk_buf_release(&json);
    return spec;
}

/* ---- instances ---- */

static int inst_order(const struct ctl_inst *a, const struct ctl_inst *b)
{
    if (a->replica != b->replica) {
        return a->replica < b->replica ? -1 : 1;
    }
    if (a->generation != b->generation) {
        return a->generation < b->generation ? -1 : 1;
    }
    return strcmp(a->id, b->id);
}

static void svc_link(struct ctl_svc *s, struct ctl_inst *i)
{
    size_t low = 0;
    size_t high = s->ninsts;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        if (inst_order(s->insts[mid], i) < 0) {
            low = mid + 1;
        } else {
            high = mid;
        }
    }
    s->insts = ctl_insert(s->insts, &s->ninsts, &s->capinsts, low, i);
}

static void unlink_from(struct ctl_inst **list, size_t *count, const struct ctl_inst *i)
{
    for (size_t at = 0; at < *count; at++) {
        if (list[at] == i) {
            ctl_erase(list, count, at);
            return;
        }
    }
}

static const char *const known_members[] = {
    "v",         "project",      "service",    "replica",    "generation", "spec_hash",
    "node",      "driver",       "image",      "address",    "port",       "role",
    "cpus_nano", "memory_bytes", "disk_bytes", "created_ms", "spec",       "id"};

static const char *const image_members[] = {"ref", "digest"};

static enum ctl_role role_from(struct sk_str name)
{
    return sk_str_is(name, "stopping")     ? CTL_STOPPING
           : sk_str_is(name, "superseded") ? CTL_SUPERSEDED
                                           : CTL_ACTIVE;
}

static struct ctl_inst *inst_make(struct control *c, struct sk_str id, struct ctl_node *node,
                                  const struct sk_node *rec)
{
    struct ctl_inst *i = sk_xcalloc(1, sizeof(*i));
    struct sk_str none = SK_STR("");
    const struct sk_node *image = sk_map_get(rec, SK_STR("image"));
    const struct sk_node *spec = sk_map_get(rec, SK_STR("spec"));
    struct sk_str hash = sk_map_str(rec, "spec_hash", none);
    struct sk_buf json = SK_BUF_INIT;

    memcpy(i->id, id.ptr, 32);
    i->svc = svc_make(c, sk_map_str(rec, "project", none), sk_map_str(rec, "service", none));
    i->replica = sk_map_int(rec, "replica", 0);
    i->generation = sk_map_int(rec, "generation", 1);
    i->node = node;
    if (spec == NULL || sk_json_canonical(spec, &json, NULL) < 0) {
        sk_buf_clear(&json);
        sk_buf_adds(&json, "{}");
    }
    char hash_text[72];
    (void)snprintf(hash_text, sizeof(hash_text), "%.*s", SK_PRI(hash));
    i->spec = ctl_spec_get(c, hash_text, spec, sk_buf_str(&json),
                           image ? sk_map_str(image, "ref", none) : none,
                           image ? sk_map_str(image, "digest", none) : none,
                           sk_str_is(sk_map_str(rec, "driver", none), "exec"));
    sk_buf_release(&json);
    i->address = ctl_dup(sk_map_str(rec, "address", none));
    i->port = (uint16_t)ctl_i64_min(65535, ctl_i64_max(0, sk_map_int(rec, "port", 0)));
    i->cpus_nano = ctl_i64_max(0, sk_map_int(rec, "cpus_nano", 0));
    i->memory_bytes = ctl_i64_max(0, sk_map_int(rec, "memory_bytes", 0));
    i->disk_bytes = ctl_i64_max(0, sk_map_int(rec, "disk_bytes", 0));
    i->created_wall_ms = sk_map_int(rec, "created_ms", 0);
    i->extra = ctl_rest(rec, known_members, SK_ARRAY_LEN(known_members));
    i->image_extra = ctl_rest(image, image_members, SK_ARRAY_LEN(image_members));
    i->presumed = !c->loaded;
    i->noted_ms = c->now_ms;
    i->healthy_ms = -1;
    return i;
}

int ctl_inst_apply(struct control *c, struct sk_str id, const struct sk_node *rec, int64_t mod_rev,
                   struct sk_err *err)
{
    struct ctl_inst *i = NULL;
    char key[33] = {0};

    if (!ctl_is_hex(id, 32)) {
        return sk_err_set(err, SK_ERR_CORRUPT, "an instance's id is 32 hex digits");
    }
    memcpy(key, id.ptr, 32);
    HASH_FIND_STR(c->insts, key, i);
    if (i == NULL) {
        struct ctl_node *node = ctl_node(c, sk_map_str(rec, "node", SK_STR("")));
        if (node == NULL) {
            return sk_err_set(err, SK_ERR_CORRUPT, "its node has no record");
        }
        i = inst_make(c, id, node, rec);
        HASH_ADD_STR(c->insts, id, i);
        svc_link(i->svc, i);
        SK_GROW(node->insts, node->ninsts, node->capinsts);
        node->insts[node->ninsts++] = i;
        ctl_early_take(c, i);
    }
    i->role = role_from(sk_map_str(rec, "role", SK_STR("active")));
    i->mod_rev = mod_rev;
    ctl_dirty(c, i->node);
    c->dirty_reconcile = c->dirty_views = true;
    return 0;
}

static void inst_free(struct control *c, struct ctl_inst *i)
{
    ctl_spec_unref(c, i->spec);
    free(i->address);
    free(i->extra);
    free(i->image_extra);
    free(i->reason);
    for (size_t k = 0; k < i->nlog_tail; k++) {
        free(i->log_tail[k]);
    }
    free(i->log_tail);
    free(i);
}

void ctl_inst_remove(struct control *c, struct sk_str id)
{
    struct ctl_inst *i = NULL;
    char key[33] = {0};

    if (id.len != 32) {
        return;
    }
    memcpy(key, id.ptr, 32);
    HASH_FIND_STR(c->insts, key, i);
    if (i == NULL) {
        return;
    }
    HASH_DEL(c->insts, i);
    unlink_from(i->svc->insts, &i->svc->ninsts, i);
    unlink_from(i->node->insts, &i->node->ninsts, i);
    ctl_dirty(c, i->node);
    c->dirty_reconcile = c->dirty_views = true;
    if (i->svc->ninsts == 0 && i->svc->decl == NULL) {
        c->derive_needed = true; /* drops the service */
    }
    inst_free(c, i);
}

void ctl_inst_put(struct control *c, struct ctl_txn *t, const struct ctl_inst *i,
                  enum ctl_role role)
{
    struct sk_buf out = SK_BUF_INIT;
    struct sk_jw w;

    sk_jw_init(&w, &out);
    sk_jw_obj(&w);
    sk_jw_kint(&w, "v", 1);
    sk_jw_kcstr(&w, "id", i->id);
    sk_jw_kcstr(&w, "project", i->svc->project);
    sk_jw_kcstr(&w, "service", i->svc->name);
    sk_jw_kint(&w, "replica", i->replica);
    sk_jw_kint(&w, "generation", i->generation);
    sk_jw_kcstr(&w, "node", i->node->name);
    sk_jw_kcstr(&w, "role", ctl_role_name(role));
    sk_jw_kcstr(&w, "driver", i->spec->exec ? "exec" : "oci");
    sk_jw_key(&w, "image");
    sk_jw_obj(&w);
    sk_jw_kcstr(&w, "ref", i->spec->image);
    sk_jw_kcstr(&w, "digest", i->spec->digest);
    ctl_rest_put(&w, i->image_extra);
    sk_jw_obj_end(&w);
    sk_jw_kcstr(&w, "address", i->address);
    sk_jw_kint(&w, "port", i->port);
    sk_jw_kint(&w, "cpus_nano", i->cpus_nano);
    sk_jw_kint(&w, "memory_bytes", i->memory_bytes);
    sk_jw_kint(&w, "disk_bytes", i->disk_bytes);
    sk_jw_kint(&w, "created_ms", i->created_wall_ms);
    sk_jw_kcstr(&w, "spec_hash", i->spec->hash);
    sk_jw_key(&w, "spec");
    sk_jw_raw(&w, sk_str(i->spec->json));
    ctl_rest_put(&w, i->extra);
    sk_jw_obj_end(&w);
    ctl_txn_put(t, ctl_key_text(t, "instances", sk_str(i->id)), &out);
    sk_buf_release(&out);
}

bool ctl_inst_healthy(const struct ctl_inst *i)
{
    return i->observed && i->state == CONTROL_RUNNING && i->health != CONTROL_UNHEALTHY &&
           i->node->life == CTL_ALIVE;
}

/* Its node does not start it again: it had an end, and a good one. */
bool ctl_inst_completed(const struct ctl_inst *i)
{
    return i->observed && i->role != CTL_STOPPING && i->state == CONTROL_EXITED && i->has_exit &&
           i->exit == 0;
}

/* ---- derivation ---- */

static void svc_reset(struct control *c, struct ctl_svc *s)
{
    ctl_project_unref(s->proj);
    ctl_spec_unref(c, s->want);
    free(s->place);
    s->proj = NULL;
    s->decl = NULL;
    s->want = NULL;
    s->place = NULL;
    s->nplace = 0;
}

static void svc_free(struct control *c, struct ctl_svc *s)
{
    svc_reset(c, s);
    free(s->project);
    free(s->name);
    free(s->insts);
    free(s->blocked);
    free(s);
}

static void derive_wants(struct control *c)
{
    for (size_t p = 0; p < c->nprojects; p++) {
        struct ctl_project *proj = c->projects[p];
        for (size_t k = 0; k < proj->decl->nservices; k++) {
            const struct service *decl = &proj->decl->services[k];
            struct ctl_svc *s = svc_make(c, proj->decl->name, decl->name);
            struct ctl_spec *want = spec_wanted(c, proj, decl);
            svc_reset(c, s);
            proj->refs++;
            s->proj = proj;
            s->decl = decl;
            s->want = want;
            s->nplace = (size_t)decl->replicas;
            s->place = sk_xcalloc(s->nplace + 1, sizeof(*s->place));
        }
    }
}

static void derive_places(struct control *c)
{
    struct ctl_svc *s = NULL;
    size_t count = c->plan ? c->plan->plan->nplacements : 0;

    for (size_t k = 0; k < count; k++) {
        const struct plan_placement *pl = &c->plan->plan->placements[k];
        if (s == NULL || !sk_str_is(pl->service, s->name) || !sk_str_is(pl->project, s->project)) {
            s = ctl_svc(c, pl->project, pl->service);
        }
        if (s != NULL && pl->replica >= 0 && (size_t)pl->replica < s->nplace) {
            s->place[pl->replica].node = ctl_node(c, pl->node);
        }
    }
    for (size_t k = 0; k < c->noverlay; k++) {
        const struct ctl_overlay *o = &c->overlay[k];
        s = ctl_svc(c, sk_str(o->project), sk_str(o->service));
        if (s != NULL && o->replica >= 0 && (size_t)o->replica < s->nplace) {
            s->place[o->replica] = (struct ctl_place){ctl_node(c, sk_str(o->node)), true};
        }
    }
}

void ctl_derive(struct control *c)
{
    c->derive_needed = false;
    for (size_t k = 0; k < c->nsvcs; k++) {
        struct ctl_project *gone = c->svcs[k]->proj;
        if (gone != NULL && ctl_project(c, gone->decl->name) == NULL) {
            svc_reset(c, c->svcs[k]);
        } else if (c->svcs[k]->decl != NULL &&
                   project_service(ctl_project(c, gone->decl->name)->decl,
                                   sk_str(c->svcs[k]->name)) < 0) {
            svc_reset(c, c->svcs[k]);
        }
    }
    derive_wants(c);
    derive_places(c);
    size_t kept = 0;
    for (size_t k = 0; k < c->nsvcs; k++) {
        struct ctl_svc *s = c->svcs[k];
        if (s->decl == NULL && s->ninsts == 0) {
            svc_free(c, s);
        } else {
            s->begun = s->begun && s->decl != NULL;
            c->svcs[kept++] = s;
        }
    }
    c->nsvcs = kept;
    ctl_plan_refresh(c);
    c->stamp++;
    c->dirty_reconcile = c->dirty_views = c->dirty_all = true;
}

void ctl_insts_clear(struct control *c)
{
    struct ctl_inst *i;
    struct ctl_inst *next;
    HASH_ITER (hh, c->insts, i, next) {
        HASH_DEL(c->insts, i);
        inst_free(c, i);
    }
    for (size_t k = 0; k < c->nsvcs; k++) {
        svc_free(c, c->svcs[k]);
    }
    free(c->svcs);
    c->svcs = NULL;
    c->nsvcs = 0;
}
