/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "base/units.h"
#include "control/internal.h"

/*
 * Committed records -> memory. The same code reads the whole state at LOADED and takes over the
 * operations of a transaction once it is committed, so memory cannot differ from what a restart
 * would read. Fields that are not known are left alone here, and kept on rewrite (`raw`).
 */

struct ctl_site *ctl_site(const struct control *c, struct sk_str name)
{
    size_t at;
    return ctl_find(c->sites, c->nsites, name, &at) ? c->sites[at] : NULL;
}

struct ctl_node *ctl_node(const struct control *c, struct sk_str name)
{
    size_t at;
    return ctl_find(c->nodes, c->nnodes, name, &at) ? c->nodes[at] : NULL;
}

struct ctl_link *ctl_link(const struct control *c, struct sk_str a, struct sk_str b)
{
    bool swap = sk_str_cmp(a, b) > 0;
    for (size_t i = 0; i < c->nlinks; i++) {
        struct ctl_link *l = c->links[i];
        if (sk_str_is(swap ? b : a, l->a) && sk_str_is(swap ? a : b, l->b)) {
            return l;
        }
    }
    return NULL;
}

/* Projects are kept by the name in their declaration; ctl_project starts with counters, hence no
 * ctl_find(). */
static bool project_at(const struct control *c, struct sk_str name, size_t *ret_at)
{
    size_t i = 0;
    for (; i < c->nprojects; i++) {
        int order = sk_str_cmp(c->projects[i]->decl->name, name);
        if (order >= 0) {
            *ret_at = i;
            return order == 0;
        }
    }
    *ret_at = i;
    return false;
}

struct ctl_project *ctl_project(const struct control *c, struct sk_str name)
{
    size_t at;
    return project_at(c, name, &at) ? c->projects[at] : NULL;
}

struct ctl_project *ctl_project_new(struct project *decl, struct sk_err *err)
{
    struct sk_arena *arena = sk_arena_new();
    const struct sk_node *tree;
    if (sk_json_read(arena, "project", decl->canonical, NULL, &tree, err) < 0) {
        sk_arena_free(arena);
        return NULL;
    }
    struct ctl_project *p = sk_xcalloc(1, sizeof(*p));
    p->refs = 1;
    p->decl = decl;
    p->arena = arena;
    p->tree = tree;
    return p;
}

void ctl_project_unref(struct ctl_project *p)
{
    if (p != NULL && --p->refs == 0) {
        project_free(p->decl);
        sk_arena_free(p->arena);
        free(p->who);
        free(p->extra);
        free(p);
    }
}

void ctl_planref_drop(struct ctl_planref *ref)
{
    if (ref != NULL && --ref->refs == 0) {
        plan_free(ref->plan);
        free(ref);
    }
}

static int corrupt(struct sk_err *err, const char *what)
{
    return sk_err_set(err, SK_ERR_CORRUPT, "%s", what);
}

static struct sk_str map_text(const struct sk_node *map, const char *key)
{
    return sk_map_str(map, key, SK_STR(""));
}

/* A finite number >= 0, or absent or null. */
static bool map_amount(const struct sk_node *map, const char *key, double *ret)
{
    double value = sk_map_num(map, key, -1.0);
    *ret = value >= 0 ? value : 0;
    return value >= 0;
}

static bool node_number(const struct sk_node *node, double *ret)
{
    return sk_node_is_scalar(node) && sk_parse_num(node->u.text, ret, NULL) == 0;
}

static int cluster_apply(struct control *c, const struct sk_node *rec, struct sk_str raw,
                         int64_t mod_rev)
{
    ctl_set(&c->cluster_raw, raw);
    ctl_set(&c->cluster, map_text(rec, "cluster"));
    ctl_set(&c->range, sk_map_str(rec, "range", SK_STR("10.210.0.0/16")));
    ctl_set(&c->currency, sk_map_str(rec, "currency", SK_STR("EUR")));
    c->lab = sk_map_bool(rec, "lab", false);
    c->have_cluster = true;
    c->cluster_rev = mod_rev;
    return 0;
}

static int site_apply(struct control *c, struct sk_str name, const struct sk_node *rec,
                      struct sk_str raw, int64_t mod_rev, struct sk_err *err)
{
    struct sk_str trust = sk_map_str(rec, "trust", SK_STR("full"));
    const struct sk_node *at = sk_map_seq(rec, "at");
    size_t pos;

    if (!sk_str_is_label(name)) {
        return corrupt(err, "the site's name is no label");
    }
    if (!ctl_find(c->sites, c->nsites, name, &pos)) {
        struct ctl_site *fresh = sk_xcalloc(1, sizeof(*fresh));
        fresh->light_ms = -1;
        fresh->back_ms = -CTL_BACK_MS;
        fresh->name = ctl_dup(name);
        c->sites = ctl_insert(c->sites, &c->nsites, &c->capsites, pos, fresh);
    }
    struct ctl_site *s = c->sites[pos];
    ctl_set(&s->raw, raw);
    ctl_set(&s->region, map_text(rec, "region"));
    ctl_set(&s->country, map_text(rec, "country"));
    ctl_set(&s->provider, map_text(rec, "provider"));
    s->trust = sk_str_is(trust, "storage")   ? SITE_STORAGE
               : sk_str_is(trust, "control") ? SITE_CONTROL
                                             : SITE_FULL;
    s->has_at = at != NULL && at->count == 2 && node_number(&at->u.items[0], &s->lat) &&
                node_number(&at->u.items[1], &s->lon);
    s->has_egress = map_amount(rec, "egress_per_gb", &s->egress_per_gb);
    (void)map_amount(rec, "price_gb_month", &s->price_gb_month); /* absent: 0 */
    s->drained = sk_map_bool(rec, "drained", false);
    s->mod_rev = mod_rev;
    c->dirty_probes = c->dirty_all = true;
    return 0;
}

static void labels_free(struct ctl_node *n)
{
    for (size_t i = 0; i < n->nlabels; i++) {
        free((void *)(uintptr_t)n->labels[i].key.ptr);
        free((void *)(uintptr_t)n->labels[i].value.ptr);
    }
    free(n->labels);
    n->labels = NULL;
    n->nlabels = 0;
}

static int kv_order(const void *a, const void *b)
{
    return sk_str_cmp(((const struct sk_kv *)a)->key, ((const struct sk_kv *)b)->key);
}

static void labels_apply(struct ctl_node *n, const struct sk_node *map)
{
    labels_free(n);
    if (map == NULL || map->kind != SK_MAP || map->count == 0) {
        return;
    }
    n->labels = sk_xcalloc(map->count, sizeof(*n->labels));
    for (uint32_t i = 0; i < map->count; i++) {
        const struct sk_member *m = &map->u.members[i];
        if (!sk_node_is_scalar(&m->value)) {
            continue;
        }
        struct sk_kv *kv = &n->labels[n->nlabels++];
        kv->key = (struct sk_str){ctl_dup(m->key), m->key.len};
        kv->value = (struct sk_str){ctl_dup(m->value.u.text), m->value.u.text.len};
    }
    qsort(n->labels, n->nlabels, sizeof(*n->labels), kv_order);
}

static struct ctl_node *node_make(struct control *c, struct sk_str name, size_t pos)
{
    struct ctl_node *n = sk_xcalloc(1, sizeof(*n));
    n->name = ctl_dup(name);
    n->last_beat_ms = c->now_ms;
    n->next_host = 2;
    n->next_port = CTL_EXEC_PORT_FIRST;
    c->nodes = ctl_insert(c->nodes, &c->nnodes, &c->capnodes, pos, n);
    return n;
}

static int node_apply(struct control *c, struct sk_str name, const struct sk_node *rec,
                      struct sk_str raw, int64_t mod_rev, struct sk_err *err)
{
    struct ctl_site *site = ctl_site(c, map_text(rec, "site"));
    int64_t cpus = sk_map_int(rec, "cpus_nano", 0);
    int64_t memory = sk_map_int(rec, "memory_bytes", 0);
    size_t pos;

    if (!sk_str_is_label(name) || site == NULL) {
        return corrupt(err, site == NULL ? "its site has no record" : "the name is no label");
    }
    if (cpus <= 0 || memory <= 0) {
        return corrupt(err, "cpus_nano and memory_bytes must be positive");
    }
    struct ctl_node *n =
        ctl_find(c->nodes, c->nnodes, name, &pos) ? c->nodes[pos] : node_make(c, name, pos);
    ctl_set(&n->raw, raw);
    n->site = site;
    ctl_set(&n->address, map_text(rec, "address"));
    ctl_set(&n->machine_id, map_text(rec, "machine_id"));
    ctl_set(&n->incarnation, map_text(rec, "incarnation"));
    ctl_set(&n->prefix, map_text(rec, "prefix"));
    n->cpus_nano = cpus;
    n->memory_bytes = memory;
    n->disk_bytes = ctl_i64_max(0, sk_map_int(rec, "disk_bytes", 0));
    n->has_price = map_amount(rec, "price_hour", &n->price_hour);
    n->drained = sk_map_bool(rec, "drained", false);
    labels_apply(n, sk_map_get(rec, SK_STR("labels")));
    n->mod_rev = mod_rev;
    c->dirty_probes = c->dirty_all = c->dirty_views = true;
    return 0;
}

static int link_apply(struct control *c, struct sk_str name, const struct sk_node *rec,
                      struct sk_str raw, int64_t mod_rev, struct sk_err *err)
{
    struct sk_str a;
    struct sk_str b;
    if (!sk_str_cut(name, '/', &a, &b) || sk_str_cmp(a, b) >= 0) {
        return corrupt(err, "a link's key is links/A/B with A before B");
    }
    struct ctl_link *l = ctl_link(c, a, b);
    if (l == NULL) {
        size_t pos = 0;
        l = sk_xcalloc(1, sizeof(*l));
        l->a = ctl_dup(a);
        l->b = ctl_dup(b);
        while (pos < c->nlinks &&
               (sk_str_cmp(sk_str(c->links[pos]->a), a) < 0 ||
                (sk_str_is(a, c->links[pos]->a) && sk_str_cmp(sk_str(c->links[pos]->b), b) < 0))) {
            pos++;
        }
        c->links = ctl_insert(c->links, &c->nlinks, &c->caplinks, pos, l);
    }
    ctl_set(&l->raw, raw);
    l->has_rtt = map_amount(rec, "rtt_ms", &l->rtt_ms);
    l->has_price = map_amount(rec, "price_per_gb", &l->price_per_gb);
    l->mod_rev = mod_rev;
    return 0;
}

static void digests_apply(struct ctl_project *p, const struct sk_node *map)
{
    if (map == NULL || map->kind != SK_MAP) {
        return;
    }
    p->digests = SK_ARENA_ARRAY(p->arena, struct control_digest, map->count + 1);
    for (uint32_t i = 0; i < map->count; i++) {
        const struct sk_member *m = &map->u.members[i];
        if (m->value.kind == SK_STRING) {
            p->digests[p->ndigests++] = (struct control_digest){
                sk_arena_str(p->arena, m->key), sk_arena_str(p->arena, m->value.u.text)};
        }
    }
}

static const char *const project_members[] = {"v", "who", "wall_ms", "digests", "project"};

static int project_apply(struct control *c, struct sk_str name, const struct sk_node *rec,
                         int64_t mod_rev, struct sk_err *err)
{
    const struct sk_node *body = sk_map_get(rec, SK_STR("project"));
    struct sk_buf text = SK_BUF_INIT;
    struct project *decl = NULL;
    size_t at;

    if (body == NULL || sk_json_canonical(body, &text, err) < 0 ||
        project_from_canonical("project", sk_buf_str(&text), &decl, err) < 0) {
        sk_buf_release(&text);
        return corrupt(err, body == NULL ? "there is no declaration in it" : err ? err->msg : "?");
    }
    sk_buf_release(&text);
    struct ctl_project *p = ctl_project_new(decl, err);
    if (p == NULL) {
        project_free(decl);
        return SK_ERR_CORRUPT;
    }
    digests_apply(p, sk_map_get(rec, SK_STR("digests")));
    p->who = ctl_dup(map_text(rec, "who"));
    p->extra = ctl_rest(rec, project_members, SK_ARRAY_LEN(project_members));
    p->wall_ms = sk_map_int(rec, "wall_ms", 0);
    p->mod_rev = mod_rev;
    if (project_at(c, name, &at)) {
        ctl_project_unref(c->projects[at]);
        c->projects[at] = p;
    } else {
        c->projects = ctl_insert(c->projects, &c->nprojects, &c->capprojects, at, p);
    }
    c->derive_needed = true;
    return 0;
}

static void token_apply(struct control *c, struct sk_str hash, const struct sk_node *rec,
                        struct sk_str raw, int64_t mod_rev)
{
    size_t at;
    if (!ctl_find(c->tokens, c->ntokens, hash, &at)) {
        struct ctl_token *fresh = sk_xcalloc(1, sizeof(*fresh));
        fresh->hash = ctl_dup(hash);
        c->tokens = ctl_insert(c->tokens, &c->ntokens, &c->captokens, at, fresh);
    }
    struct ctl_token *t = c->tokens[at];
    ctl_set(&t->raw, raw);
    ctl_set(&t->site, map_text(rec, "site"));
    ctl_set(&t->role, sk_map_str(rec, "role", SK_STR("node")));
    ctl_set(&t->who, map_text(rec, "who"));
    ctl_set(&t->used_by, map_text(rec, "used_by"));
    t->expires_wall_ms = sk_map_int(rec, "expires_ms", 0);
    t->mod_rev = mod_rev;
}

static void key_apply(struct control *c, struct sk_str hash, const struct sk_node *rec)
{
    size_t at;
    if (!ctl_find(c->keys, c->nkeys, hash, &at)) {
        struct ctl_key *fresh = sk_xcalloc(1, sizeof(*fresh));
        fresh->hash = ctl_dup(hash);
        c->keys = ctl_insert(c->keys, &c->nkeys, &c->capkeys, at, fresh);
    }
    struct ctl_key *k = c->keys[at];
    ctl_set(&k->name, map_text(rec, "name"));
    ctl_set(&k->role, sk_map_str(rec, "role", SK_STR("viewer")));
    ctl_set(&k->who, map_text(rec, "who"));
    k->wall_ms = sk_map_int(rec, "wall_ms", 0);
}

static void certs_free(struct ctl_certs *certs)
{
    for (size_t i = 0; i < certs->count; i++) {
        free(certs->items[i].serial);
        free(certs->items[i].extra);
    }
    free(certs->items);
    free(certs->extra);
    certs->extra = NULL;
    certs->items = NULL;
    certs->count = 0;
}

static const char *const certs_members[] = {"v", "serials"};
static const char *const cert_members[] = {"serial", "not_after_ms"};

static void certs_apply(struct control *c, struct sk_str node, const struct sk_node *rec)
{
    const struct sk_node *list = sk_map_seq(rec, "serials");
    size_t at;
    if (!ctl_find(c->certs, c->ncerts, node, &at)) {
        struct ctl_certs *fresh = sk_xcalloc(1, sizeof(*fresh));
        fresh->node = ctl_dup(node);
        c->certs = ctl_insert(c->certs, &c->ncerts, &c->capcerts, at, fresh);
    }
    struct ctl_certs *k = c->certs[at];
    certs_free(k);
    k->extra = ctl_rest(rec, certs_members, SK_ARRAY_LEN(certs_members));
    if (list == NULL || list->count == 0) {
        return;
    }
    k->items = sk_xcalloc(list->count, sizeof(*k->items));
    for (uint32_t i = 0; i < list->count; i++) {
        k->items[k->count].extra =
            ctl_rest(&list->u.items[i], cert_members, SK_ARRAY_LEN(cert_members));
        k->items[k->count].serial = ctl_dup(map_text(&list->u.items[i], "serial"));
        k->items[k->count++].not_after_ms = sk_map_int(&list->u.items[i], "not_after_ms", 0);
    }
}

static void revoked_apply(struct control *c, struct sk_str serial, const struct sk_node *rec)
{
    size_t at;
    if (!ctl_find(c->revoked, c->nrevoked, serial, &at)) {
        struct ctl_revoked *fresh = sk_xcalloc(1, sizeof(*fresh));
        fresh->serial = ctl_dup(serial);
        c->revoked = ctl_insert(c->revoked, &c->nrevoked, &c->caprevoked, at, fresh);
    }
    ctl_set(&c->revoked[at]->node, map_text(rec, "node"));
    c->revoked[at]->not_after_ms = sk_map_int(rec, "not_after_ms", 0);
    c->dirty_all = true;
}

#define EVENTS_IN_MEMORY 1000

static void event_apply(struct control *c, const struct sk_node *rec, struct sk_str raw)
{
    int64_t seq = sk_map_int(rec, "seq", 0);
    if (c->event_oldest == 0 || seq < c->event_oldest) {
        c->event_oldest = seq;
    }
    if (seq <= c->event_seq) {
        return; /* known already: a reload */
    }
    c->event_seq = seq;
    if (c->nevents == 2 * EVENTS_IN_MEMORY) { /* drop the older half at once: amortised */
        for (size_t i = 0; i < EVENTS_IN_MEMORY; i++) {
            free(c->events[i].json);
        }
        memmove(c->events, c->events + EVENTS_IN_MEMORY, EVENTS_IN_MEMORY * sizeof(*c->events));
        c->nevents = EVENTS_IN_MEMORY;
    }
    SK_GROW(c->events, c->nevents, c->capevents);
    c->events[c->nevents++] = (struct ctl_evrec){seq, ctl_dup(raw)};
}

static void piece_apply(struct control *c, struct sk_str key, struct sk_str raw, int64_t mod_rev)
{
    size_t at;
    if (!ctl_find(c->pieces, c->npieces, key, &at)) {
        struct ctl_piece *fresh = sk_xcalloc(1, sizeof(*fresh));
        fresh->key = ctl_dup(key);
        c->pieces = ctl_insert(c->pieces, &c->npieces, &c->cappieces, at, fresh);
    }
    ctl_set(&c->pieces[at]->text, raw);
    c->pieces[at]->mod_rev = mod_rev;
    if (sk_str_starts(key, SK_STR("plan"))) {
        c->plan_touched = true;
        c->plan_rev = mod_rev;
    } else {
        c->overlay_touched = true;
    }
}

static int dispatch(struct control *c, struct sk_str kind, struct sk_str rest, struct sk_str key,
                    const struct sk_node *rec, const struct control_record *r, struct sk_err *err)
{
    if (sk_str_is(kind, "cluster")) {
        c->basis = ctl_i64_max(c->basis, r->mod_rev);
        return cluster_apply(c, rec, r->value, r->mod_rev);
    }
    if (sk_str_is(kind, "sites") || sk_str_is(kind, "nodes") || sk_str_is(kind, "links") ||
        sk_str_is(kind, "projects") || sk_str_is(kind, "plan")) {
        c->basis = ctl_i64_max(c->basis, r->mod_rev);
        c->derive_needed = true;
        c->stamp++;
    }
    if (sk_str_is(kind, "sites")) {
        return site_apply(c, rest, rec, r->value, r->mod_rev, err);
    }
    if (sk_str_is(kind, "nodes")) {
        return node_apply(c, rest, rec, r->value, r->mod_rev, err);
    }
    if (sk_str_is(kind, "links")) {
        return link_apply(c, rest, rec, r->value, r->mod_rev, err);
    }
    if (sk_str_is(kind, "projects")) {
        return project_apply(c, rest, rec, r->mod_rev, err);
    }
    if (sk_str_is(kind, "instances")) {
        return ctl_inst_apply(c, rest, rec, r->mod_rev, err);
    }
    if (sk_str_is(kind, "leader")) {
        ctl_leader_apply(c, rec, r->value, r->mod_rev);
    } else if (sk_str_is(kind, "control")) {
        ctl_roster_apply(c, rec, r->value, r->mod_rev);
    } else if (sk_str_is(kind, "leases")) {
        ctl_lease_apply(c, rest, rec, r->value, r->mod_rev);
    } else if (sk_str_is(kind, "return")) {
        ctl_return_apply(c, rec, r->value);
    } else if (sk_str_is(kind, "plan") || sk_str_is(kind, "overlay")) {
        piece_apply(c, key, r->value, r->mod_rev);
    } else if (sk_str_is(kind, "tokens")) {
        token_apply(c, rest, rec, r->value, r->mod_rev);
    } else if (sk_str_is(kind, "keys")) {
        key_apply(c, rest, rec);
    } else if (sk_str_is(kind, "certs")) {
        certs_apply(c, rest, rec);
    } else if (sk_str_is(kind, "revoked")) {
        revoked_apply(c, rest, rec);
    } else if (sk_str_is(kind, "events")) {
        event_apply(c, rec, r->value);
    } else if (sk_str_is(kind, "drill")) {
        ctl_drill_apply(c, rec, r->value, r->mod_rev);
    } else if (sk_str_is(kind, "drills")) {
        ctl_report_apply(c, rest, r->value);
    }
    return 0; /* kinds of a later version are not ours to judge */
}

int ctl_record_apply(struct control *c, struct sk_str key, struct sk_str value, int64_t mod_rev,
                     struct sk_err *err)
{
    if (!sk_str_starts(key, SK_STR(CTL_PREFIX))) {
        return 0;
    }
    struct sk_str path = {key.ptr + strlen(CTL_PREFIX), key.len - strlen(CTL_PREFIX)};
    struct sk_str kind;
    struct sk_str rest;
    (void)sk_str_cut(path, '/', &kind, &rest);
    struct sk_arena *arena = sk_arena_new();
    const struct sk_node *rec;
    struct sk_err inner = {0};
    struct control_record r = {key, value, mod_rev};
    int rc = sk_json_read(arena, "record", value, NULL, &rec, &inner);
    if (rc == 0 && rec->kind != SK_MAP) {
        rc = corrupt(&inner, "a record is a map");
    }
    if (rc == 0) {
        rc = dispatch(c, kind, rest, path, rec, &r, &inner);
    }
    sk_arena_free(arena);
    if (rc < 0) {
        return sk_err_set(err, SK_ERR_CORRUPT, "record '%.*s': %s", SK_PRI(key), inner.msg);
    }
    return 0;
}

/* ---- removal ---- */

static void site_free(struct ctl_site *s)
{
    for (size_t i = 0; i < s->nrtt; i++) {
        free(s->rtt[i].to);
    }
    free(s->rtt);
    free(s->name);
    free(s->raw);
    free(s->region);
    free(s->country);
    free(s->provider);
    free(s->ingress);
    free(s->view);
    free(s);
}

static void node_free(struct ctl_node *n)
{
    labels_free(n);
    free(n->name);
    free(n->raw);
    free(n->address);
    free(n->machine_id);
    free(n->incarnation);
    free(n->prefix);
    free(n->new_address);
    free(n->boot);
    free(n->version);
    free(n->heard);
    free(n->probes);
    free(n->asks);
    ctl_early_clear(n);
    free(n->body);
    free(n->insts);
    free(n);
}

static void link_free(struct ctl_link *l)
{
    free(l->a);
    free(l->b);
    free(l->raw);
    free(l);
}

static void token_free(struct ctl_token *t)
{
    free(t->hash);
    free(t->raw);
    free(t->site);
    free(t->role);
    free(t->who);
    free(t->used_by);
    free(t);
}

static void key_free(struct ctl_key *k)
{
    free(k->hash);
    free(k->name);
    free(k->role);
    free(k->who);
    free(k);
}

static void piece_free(struct ctl_piece *p)
{
    free(p->key);
    free(p->text);
    free(p);
}

static void node_remove(struct control *c, size_t at)
{
    struct ctl_node *n = c->nodes[at];
    SK_ASSERT(n->ninsts == 0);
    ctl_forget_node(c, n);
    ctl_assign_forget(c, n);
    ctl_erase(c->nodes, &c->nnodes, at);
    node_free(n);
    c->dirty_probes = c->dirty_all = c->dirty_views = c->derive_needed = true;
    c->stamp++;
}

static void remove_kept(struct control *c, struct sk_str kind, struct sk_str rest,
                        struct sk_str path)
{
    size_t at;
    if (sk_str_is(kind, "tokens") && ctl_find(c->tokens, c->ntokens, rest, &at)) {
        token_free(c->tokens[at]);
        ctl_erase(c->tokens, &c->ntokens, at);
    } else if (sk_str_is(kind, "keys") && ctl_find(c->keys, c->nkeys, rest, &at)) {
        key_free(c->keys[at]);
        ctl_erase(c->keys, &c->nkeys, at);
    } else if (sk_str_is(kind, "certs") && ctl_find(c->certs, c->ncerts, rest, &at)) {
        certs_free(c->certs[at]);
        free(c->certs[at]->node);
        free(c->certs[at]);
        ctl_erase(c->certs, &c->ncerts, at);
    } else if (sk_str_is(kind, "revoked") && ctl_find(c->revoked, c->nrevoked, rest, &at)) {
        free(c->revoked[at]->serial);
        free(c->revoked[at]->node);
        free(c->revoked[at]);
        ctl_erase(c->revoked, &c->nrevoked, at);
        c->dirty_all = true;
    } else if ((sk_str_is(kind, "plan") || sk_str_is(kind, "overlay")) &&
               ctl_find(c->pieces, c->npieces, path, &at)) {
        piece_free(c->pieces[at]);
        ctl_erase(c->pieces, &c->npieces, at);
        if (sk_str_is(kind, "plan")) {
            c->plan_touched = true;
        } else {
            c->overlay_touched = true;
        }
    } else if (sk_str_is(kind, "leases")) {
        ctl_lease_remove(c, rest);
    } else if (sk_str_is(kind, "control")) {
        ctl_roster_clear(c);
    } else if (sk_str_is(kind, "return")) {
        ctl_return_clear(c);
    } else if (sk_str_is(kind, "drill")) {
        ctl_drill_remove(c);
    } else if (sk_str_is(kind, "drills")) {
        ctl_report_remove(c, rest);
    } else if (sk_str_is(kind, "events")) {
        int64_t seq;
        if (ctl_digits(rest, &seq) && seq >= c->event_oldest) {
            c->event_oldest = seq + 1;
        }
    }
}

void ctl_record_remove(struct control *c, struct sk_str key)
{
    if (!sk_str_starts(key, SK_STR(CTL_PREFIX))) {
        return;
    }
    struct sk_str path = {key.ptr + strlen(CTL_PREFIX), key.len - strlen(CTL_PREFIX)};
    struct sk_str kind;
    struct sk_str rest;
    size_t at;
    (void)sk_str_cut(path, '/', &kind, &rest);
    if (sk_str_is(kind, "nodes")) {
        if (ctl_find(c->nodes, c->nnodes, rest, &at)) {
            node_remove(c, at);
        }
    } else if (sk_str_is(kind, "sites")) {
        if (ctl_find(c->sites, c->nsites, rest, &at)) {
            site_free(c->sites[at]);
            ctl_erase(c->sites, &c->nsites, at);
            c->dirty_probes = c->dirty_all = c->dirty_views = true;
        }
    } else if (sk_str_is(kind, "links")) {
        struct sk_str a;
        struct sk_str b;
        (void)sk_str_cut(rest, '/', &a, &b);
        for (size_t i = 0; i < c->nlinks; i++) {
            if (c->links[i] == ctl_link(c, a, b)) {
                link_free(c->links[i]);
                ctl_erase(c->links, &c->nlinks, i);
                break;
            }
        }
    } else if (sk_str_is(kind, "projects")) {
        if (project_at(c, rest, &at)) {
            ctl_project_unref(c->projects[at]);
            ctl_erase(c->projects, &c->nprojects, at);
            c->derive_needed = true;
        }
    } else if (sk_str_is(kind, "instances")) {
        ctl_inst_remove(c, rest);
    } else {
        remove_kept(c, kind, rest, path);
    }
}

void ctl_records_clear(struct control *c)
{
    ctl_insts_clear(c);
    ctl_leases_clear(c);
    ctl_drills_clear(c);
    ctl_leader_clear(c);
    ctl_roster_clear(c);
    ctl_return_clear(c);
    for (size_t i = 0; i < c->nnodes; i++) {
        node_free(c->nodes[i]);
    }
    for (size_t i = 0; i < c->nsites; i++) {
        site_free(c->sites[i]);
    }
    for (size_t i = 0; i < c->nlinks; i++) {
        link_free(c->links[i]);
    }
    for (size_t i = 0; i < c->nprojects; i++) {
        ctl_project_unref(c->projects[i]);
    }
    for (size_t i = 0; i < c->ntokens; i++) {
        token_free(c->tokens[i]);
    }
    for (size_t i = 0; i < c->nkeys; i++) {
        key_free(c->keys[i]);
    }
    for (size_t i = 0; i < c->ncerts; i++) {
        certs_free(c->certs[i]);
        free(c->certs[i]->node);
        free(c->certs[i]);
    }
    for (size_t i = 0; i < c->nrevoked; i++) {
        free(c->revoked[i]->serial);
        free(c->revoked[i]->node);
        free(c->revoked[i]);
    }
    for (size_t i = 0; i < c->npieces; i++) {
        piece_free(c->pieces[i]);
    }
    for (size_t i = 0; i < c->nevents; i++) {
        free(c->events[i].json);
    }
    ctl_overlay_free(c);
    ctl_planref_drop(c->plan);
    free(c->nodes);
    free(c->changed);
    free(c->sites);
    free(c->links);
    free(c->projects);
    free(c->tokens);
    free(c->keys);
    free(c->certs);
    free(c->revoked);
    free(c->pieces);
    free(c->events);
    free(c->cluster_raw);
    free(c->cluster);
    free(c->range);
    free(c->currency);
    free(c->plan_who);
    free(c->plan_extra);
    free(c->overlay_extra);
}
