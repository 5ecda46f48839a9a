/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "control/front.h"
#include "control/internal.h"

/* What the API shows. Read only; the schemas are in docs/api.md. */

static void begin(struct sk_jw *w, struct sk_buf *out, const char *format)
{
    sk_jw_init(w, out);
    sk_jw_obj(w);
    sk_jw_kcstr(w, "format", format);
}

static const char *trust_name(enum site_trust trust)
{
    return trust == SITE_FULL ? "full" : trust == SITE_STORAGE ? "storage" : "control";
}

static void revision_json(const struct control *c, struct sk_jw *w)
{
    sk_jw_key(w, "revision");
    sk_jw_obj(w);
    sk_jw_kcstr(w, "store", c->store_id);
    sk_jw_kint(w, "number", c->revision);
    sk_jw_obj_end(w);
}

/* ---- status ---- */

struct tally {
    size_t wanted, healthy, moved, displaced, old;
};

static struct tally svc_tally(const struct ctl_svc *s)
{
    struct tally t = {.wanted = s->nplace};
    for (size_t r = 0; r < s->nplace; r++) {
        const struct ctl_inst *target = ctl_target(s, (int64_t)r);
        bool healthy = target != NULL && (ctl_inst_healthy(target) || ctl_inst_completed(target));
        for (size_t k = 0; k < s->ninsts && !healthy; k++) {
            const struct ctl_inst *i = s->insts[k];
            healthy = i->replica == (int64_t)r && i->role != CTL_STOPPING && ctl_inst_healthy(i);
        }
        t.healthy += healthy;
        t.old += target == NULL;
        t.moved += s->place[r].overlay;
        t.displaced += s->place[r].node == NULL || s->place[r].node->life == CTL_LOST;
    }
    return t;
}

static const char *svc_state(const struct ctl_svc *s, const struct tally *t)
{
    if (s->decl == NULL) {
        return "stopping";
    }
    if (s->want != NULL && strcmp(s->halted, s->want->hash) == 0) {
        return "rollout_stopped";
    }
    if (t->displaced > 0) {
        return "short";
    }
    if (t->healthy < t->wanted) {
        return "starting";
    }
    return t->old > 0 || s->ninsts != t->wanted ? "changing" : "ok";
}

static void status_services(const struct control *c, struct sk_jw *w, struct tally *sum)
{
    sk_jw_key(w, "services");
    sk_jw_arr(w);
    for (size_t i = 0; i < c->nsvcs; i++) {
        const struct ctl_svc *s = c->svcs[i];
        struct tally t = svc_tally(s);
        sum->wanted += t.wanted;
        sum->healthy += t.healthy;
        sum->moved += t.moved;
        sum->displaced += t.displaced;
        sk_jw_obj(w);
        sk_jw_kcstr(w, "project", s->project);
        sk_jw_kcstr(w, "service", s->name);
        sk_jw_kint(w, "replicas", (int64_t)t.wanted);
        sk_jw_kint(w, "healthy", (int64_t)t.healthy);
        sk_jw_kint(w, "moved", (int64_t)t.moved);
        sk_jw_kint(w, "short", (int64_t)t.displaced);
        sk_jw_kcstr(w, "state", svc_state(s, &t));
        if (s->blocked != NULL) {
            sk_jw_kcstr(w, "waiting", s->blocked);
        }
        sk_jw_obj_end(w);
    }
    sk_jw_arr_end(w);
}

static void status_names(const struct control *c, struct sk_jw *w)
{
    size_t count[CTL_LIFE_COUNT] = {0};

    sk_jw_key(w, "sites_lost");
    sk_jw_arr(w);
    for (size_t i = 0; i < c->nsites; i++) {
        if (c->sites[i]->lost) {
            sk_jw_cstr(w, c->sites[i]->name);
        }
    }
    sk_jw_arr_end(w);
    sk_jw_key(w, "nodes_lost");
    sk_jw_arr(w);
    for (size_t i = 0; i < c->nnodes; i++) {
        count[c->nodes[i]->life]++;
        if (c->nodes[i]->life == CTL_LOST) {
            sk_jw_cstr(w, c->nodes[i]->name);
        }
    }
    sk_jw_arr_end(w);
    sk_jw_key(w, "nodes");
    sk_jw_obj(w);
    sk_jw_kint(w, "total", (int64_t)c->nnodes);
    for (int i = 0; i < CTL_LIFE_COUNT; i++) {
        sk_jw_kint(w, ctl_life_name((enum ctl_life)i), (int64_t)count[i]);
    }
    sk_jw_obj_end(w);
    sk_jw_kint(w, "sites", (int64_t)c->nsites);
}

static void status_losses(const struct control *c, struct sk_jw *w)
{
    const struct plan *plan = c->plan ? c->plan->plan : NULL;
    sk_jw_key(w, "losses");
    sk_jw_arr(w);
    for (size_t k = 0; plan != NULL && k < plan->nlosses; k++) {
        const struct plan_loss *l = &plan->losses[k];
        int64_t shorts = 0;
        for (size_t i = 0; i < l->nshorts; i++) {
            shorts += l->shorts[i].replicas;
        }
        sk_jw_obj(w);
        sk_jw_key(w, "lost");
        sk_jw_arr(w);
        for (size_t i = 0; i < l->nlost; i++) {
            sk_jw_str(w, l->lost[i]);
        }
        sk_jw_arr_end(w);
        sk_jw_kbool(w, "ok", l->ok);
        sk_jw_kcstr(w, "control", l->control_kept ? "kept" : "lost");
        sk_jw_kint(w, "replaced", (int64_t)l->nreplaced);
        sk_jw_kint(w, "short", shorts);
        sk_jw_obj_end(w);
    }
    sk_jw_arr_end(w);
}

static void status_plan(const struct control *c, struct sk_jw *w)
{
    sk_jw_key(w, "plan");
    if (c->plan == NULL) {
        sk_jw_null(w);
        return;
    }
    const struct plan *plan = c->plan->plan;
    sk_jw_obj(w);
    sk_jw_kcstr(w, "id", plan->id);
    sk_jw_kcstr(w, "verdict", plan_verdict_name(plan->verdict));
    sk_jw_kcstr(w, "who", c->plan_who ? c->plan_who : "");
    sk_jw_kint(w, "wall_ms", c->plan_wall_ms);
    sk_jw_kint(w, "based_on", plan->based_on_revision);
    sk_jw_kint(w, "replicas", (int64_t)plan->nplacements);
    sk_jw_obj_end(w);
}

/* What the nodes run that said so since control began: more than one row while an upgrade is under
 * way. In the order of the first node that runs it. */
static void status_versions(const struct control *c, struct sk_jw *w)
{
    sk_jw_key(w, "versions");
    sk_jw_arr(w);
    for (size_t i = 0; i < c->nnodes; i++) {
        const char *version = c->nodes[i]->version;
        bool again = version == NULL || version[0] == '\0';
        for (size_t k = 0; k < i && !again; k++) {
            again = c->nodes[k]->version != NULL && strcmp(c->nodes[k]->version, version) == 0;
        }
        if (again) {
            continue;
        }
        sk_jw_obj(w);
        sk_jw_kcstr(w, "version", version);
        sk_jw_key(w, "nodes");
        sk_jw_arr(w);
        for (size_t k = i; k < c->nnodes; k++) {
            if (c->nodes[k]->version != NULL && strcmp(c->nodes[k]->version, version) == 0) {
                sk_jw_cstr(w, c->nodes[k]->name);
            }
        }
        sk_jw_arr_end(w);
        sk_jw_obj_end(w);
    }
    sk_jw_arr_end(w);
}

void control_status_json(const struct control *c, struct sk_buf *out)
{
    struct sk_jw w;
    struct tally sum = {0};
    const struct ctl_node *own = ctl_node(c, sk_str(c->own_node));

    begin(&w, out, "skerry.status/1");
    sk_jw_kcstr(&w, "cluster", c->cluster ? c->cluster : "");
    sk_jw_kbool(&w, "lab", c->lab);
    revision_json(c, &w);
    sk_jw_key(&w, "control");
    sk_jw_obj(&w);
    sk_jw_kcstr(&w, "node", c->own_node);
    sk_jw_kcstr(&w, "site", own ? own->site->name : "");
    sk_jw_kbool(&w, "frozen", c->frozen);
    sk_jw_kint(&w, "nodes", c->roster.count > 0 ? (int64_t)c->roster.count : 1);
    sk_jw_kstr(&w, "leader", control_leader(c));
    sk_jw_kbool(&w, "leads", c->leader.leads);
    sk_jw_kcstr(&w, "problem", c->upkeep.problem);
    sk_jw_obj_end(&w);
    status_plan(c, &w);
    status_names(c, &w);
    status_services(c, &w, &sum);
    sk_jw_key(&w, "replicas");
    sk_jw_obj(&w);
    sk_jw_kint(&w, "wanted", (int64_t)sum.wanted);
    sk_jw_kint(&w, "healthy", (int64_t)sum.healthy);
    sk_jw_kint(&w, "moved", (int64_t)sum.moved);
    sk_jw_kint(&w, "short", (int64_t)sum.displaced);
    sk_jw_obj_end(&w);
    status_losses(c, &w);
    ctl_unheard_json(c, &w);
    ctl_return_status_json(c, &w);
    ctl_drill_status(c, &w);
    status_versions(c, &w);
    sk_jw_obj_end(&w);
}

/* ---- instances ---- */

static void health_json(struct sk_jw *w, const struct ctl_inst *i)
{
    if (!i->observed || i->health == CONTROL_HEALTH_NONE) {
        sk_jw_knull(w, "healthy");
    } else {
        sk_jw_kbool(w, "healthy", i->health == CONTROL_HEALTHY);
    }
}

static void inst_json(struct sk_jw *w, const struct ctl_svc *s, const struct ctl_inst *i)
{
    sk_jw_obj(w);
    sk_jw_kcstr(w, "id", i->id);
    sk_jw_kcstr(w, "project", s->project);
    sk_jw_kcstr(w, "service", s->name);
    sk_jw_kint(w, "replica", i->replica);
    sk_jw_kint(w, "generation", i->generation);
    sk_jw_kcstr(w, "site", i->node->site->name);
    sk_jw_kcstr(w, "node", i->node->name);
    sk_jw_kcstr(w, "driver", i->spec->exec ? "exec" : "oci");
    sk_jw_kcstr(w, "image", i->spec->image);
    sk_jw_kcstr(w, "address", i->address);
    sk_jw_kint(w, "port", i->port);
    sk_jw_kcstr(w, "role", ctl_role_name(i->role));
    sk_jw_kbool(w, "current", ctl_target(s, i->replica) == i);
    sk_jw_kcstr(w, "state",
                i->node->life == CTL_LOST ? "unreachable"
                : i->observed             ? control_state_name(i->state)
                                          : "unknown");
    health_json(w, i);
    sk_jw_kint(w, "since_ms", i->since_ms);
    sk_jw_kint(w, "created_ms", i->created_wall_ms);
    sk_jw_kint(w, "restarts", i->restarts);
    if (i->has_exit) {
        sk_jw_kint(w, "exit", i->exit);
    }
    if (i->has_signal) {
        sk_jw_kint(w, "signal", i->signal);
    }
    sk_jw_kcstr(w, "reason", i->reason ? i->reason : "");
    sk_jw_key(w, "log_tail");
    sk_jw_arr(w);
    for (size_t k = 0; k < i->nlog_tail; k++) {
        sk_jw_cstr(w, i->log_tail[k]);
    }
    sk_jw_arr_end(w);
    sk_jw_obj_end(w);
}

void control_ps_json(const struct control *c, struct sk_buf *out)
{
    struct sk_jw w;
    begin(&w, out, "skerry.ps/1");
    sk_jw_key(&w, "instances");
    sk_jw_arr(&w);
    for (size_t i = 0; i < c->nsvcs; i++) {
        for (size_t k = 0; k < c->svcs[i]->ninsts; k++) {
            inst_json(&w, c->svcs[i], c->svcs[i]->insts[k]);
        }
    }
    sk_jw_arr_end(&w);
    sk_jw_obj_end(&w);
}

/* ---- nodes and sites ---- */

static void node_load(const struct control *c, struct sk_jw *w, const struct ctl_node *n)
{
    int64_t cpus = 0;
    int64_t memory = 0;
    int64_t disk = 0;
    for (size_t i = 0; i < n->ninsts; i++) {
        cpus += n->insts[i]->cpus_nano;
        memory += n->insts[i]->memory_bytes;
        disk += n->insts[i]->disk_bytes;
    }
    sk_jw_kint(w, "instances", (int64_t)n->ninsts);
    sk_jw_kint(w, "cpus_nano", n->cpus_nano);
    sk_jw_kint(w, "cpus_nano_used", cpus);
    sk_jw_kint(w, "memory_bytes", n->memory_bytes);
    sk_jw_kint(w, "memory_bytes_used", memory);
    sk_jw_kint(w, "disk_bytes", n->disk_bytes);
    sk_jw_kint(w, "disk_bytes_used", disk);
}

void control_nodes_json(const struct control *c, struct sk_buf *out)
{
    struct sk_jw w;
    begin(&w, out, "skerry.nodes/1");
    sk_jw_key(&w, "nodes");
    sk_jw_arr(&w);
    for (size_t i = 0; i < c->nnodes; i++) {
        const struct ctl_node *n = c->nodes[i];
        sk_jw_obj(&w);
        sk_jw_kcstr(&w, "node", n->name);
        sk_jw_kcstr(&w, "site", n->site->name);
        sk_jw_kcstr(&w, "address", n->address);
        sk_jw_kcstr(&w, "prefix", n->prefix);
        sk_jw_kcstr(&w, "state", ctl_life_name(n->life));
        sk_jw_kbool(&w, "connected", n->connected);
        sk_jw_kbool(&w, "link_lost", n->link);
        sk_jw_kbool(&w, "drained", n->drained || n->site->drained);
        sk_jw_kbool(&w, "ingress", n->site->ingress && strcmp(n->site->ingress, n->name) == 0);
        sk_jw_kbool(&w, "control", control_is_control(c, sk_str(n->name)));
        sk_jw_kint(&w, "silent_ms", n->life == CTL_UNKNOWN ? -1 : c->now_ms - n->last_beat_ms);
        sk_jw_kcstr(&w, "version", n->version ? n->version : "");
        node_load(c, &w, n);
        if (n->has_price) {
            sk_jw_knum(&w, "price_hour", n->price_hour);
        } else {
            sk_jw_knull(&w, "price_hour");
        }
        sk_jw_key(&w, "labels");
        sk_jw_obj(&w);
        for (size_t k = 0; k < n->nlabels; k++) {
            sk_jw_keystr(&w, n->labels[k].key);
            sk_jw_str(&w, n->labels[k].value);
        }
        sk_jw_obj_end(&w);
        sk_jw_obj_end(&w);
    }
    sk_jw_arr_end(&w);
    status_versions(c, &w);
    sk_jw_obj_end(&w);
}

static void site_facts_json(struct sk_jw *w, const struct ctl_site *s)
{
    sk_jw_kcstr(w, "region", s->region);
    sk_jw_kcstr(w, "country", s->country);
    sk_jw_kcstr(w, "provider", s->provider);
    if (s->has_at) {
        sk_jw_key(w, "at");
        sk_jw_arr(w);
        sk_jw_num(w, s->lat);
        sk_jw_num(w, s->lon);
        sk_jw_arr_end(w);
    } else {
        sk_jw_knull(w, "at");
    }
    if (s->has_egress) {
        sk_jw_knum(w, "egress_per_gb", s->egress_per_gb);
    } else {
        sk_jw_knull(w, "egress_per_gb");
    }
    sk_jw_knum(w, "price_gb_month", s->price_gb_month);
}

void control_sites_json(const struct control *c, struct sk_buf *out)
{
    struct sk_jw w;
    begin(&w, out, "skerry.sites/1");
    sk_jw_key(&w, "sites");
    sk_jw_arr(&w);
    for (size_t i = 0; i < c->nsites; i++) {
        const struct ctl_site *s = c->sites[i];
        int64_t nodes = 0;
        int64_t up = 0;
        for (size_t k = 0; k < c->nnodes; k++) {
            nodes += c->nodes[k]->site == s;
            up += c->nodes[k]->site == s && ctl_node_up(c->nodes[k]);
        }
        sk_jw_obj(&w);
        sk_jw_kcstr(&w, "site", s->name);
        sk_jw_kcstr(&w, "state", s->lost ? "lost" : up == nodes ? "alive" : "impaired");
        sk_jw_kcstr(&w, "trust", trust_name(s->trust));
        sk_jw_kbool(&w, "drained", s->drained);
        sk_jw_kint(&w, "nodes", nodes);
        sk_jw_kint(&w, "nodes_up", up);
        site_facts_json(&w, s);
        sk_jw_kcstr(&w, "ingress", s->ingress ? s->ingress : "");
        sk_jw_kbool(&w, "ingress_behind", ctl_ingress_behind(c, s));
        sk_jw_key(&w, "rtt_ms");
        sk_jw_obj(&w);
        for (size_t k = 0; k < c->nsites; k++) {
            double ms;
            if (k != i && ctl_rtt_between(c, s, c->sites[k], &ms)) {
                sk_jw_knum(&w, c->sites[k]->name, ms);
            }
        }
        sk_jw_obj_end(&w);
        ctl_unheard_site_json(c, s, &w);
        sk_jw_obj_end(&w);
    }
    sk_jw_arr_end(&w);
    sk_jw_obj_end(&w);
}

/* ---- the rest ---- */

void control_projects_json(const struct control *c, struct sk_buf *out)
{
    struct sk_jw w;
    begin(&w, out, "skerry.projects/1");
    sk_jw_key(&w, "projects");
    sk_jw_arr(&w);
    for (size_t i = 0; i < c->nprojects; i++) {
        const struct ctl_project *p = c->projects[i];
        sk_jw_obj(&w);
        sk_jw_kstr(&w, "project", p->decl->name);
        sk_jw_kcstr(&w, "id", p->decl->id);
        sk_jw_kcstr(&w, "who", p->who ? p->who : "");
        sk_jw_kint(&w, "wall_ms", p->wall_ms);
        sk_jw_kint(&w, "services", (int64_t)p->decl->nservices);
        sk_jw_key(&w, "declaration");
        sk_jw_raw(&w, p->decl->canonical);
        sk_jw_obj_end(&w);
    }
    sk_jw_arr_end(&w);
    sk_jw_obj_end(&w);
}

void control_tokens_json(const struct control *c, struct sk_buf *out)
{
    struct sk_jw w;
    begin(&w, out, "skerry.tokens/1");
    sk_jw_key(&w, "tokens");
    sk_jw_arr(&w);
    for (size_t i = 0; i < c->ntokens; i++) {
        const struct ctl_token *t = c->tokens[i];
        sk_jw_obj(&w);
        sk_jw_kcstr(&w, "hash", t->hash);
        sk_jw_kcstr(&w, "site", t->site);
        sk_jw_kcstr(&w, "role", t->role);
        sk_jw_kcstr(&w, "who", t->who);
        sk_jw_kint(&w, "expires_ms", t->expires_wall_ms);
        sk_jw_kcstr(&w, "state",
                    t->used_by[0]                      ? "used"
                    : c->wall_ms >= t->expires_wall_ms ? "expired"
                                                       : "open");
        sk_jw_kcstr(&w, "used_by", t->used_by);
        sk_jw_obj_end(&w);
    }
    sk_jw_arr_end(&w);
    sk_jw_obj_end(&w);
}

void control_keys_json(const struct control *c, struct sk_buf *out)
{
    struct sk_jw w;
    begin(&w, out, "skerry.keys/1");
    sk_jw_key(&w, "keys");
    sk_jw_arr(&w);
    for (size_t i = 0; i < c->nkeys; i++) {
        const struct ctl_key *k = c->keys[i];
        sk_jw_obj(&w);
        sk_jw_kcstr(&w, "hash", k->hash);
        sk_jw_kcstr(&w, "name", k->name);
        sk_jw_kcstr(&w, "role", k->role);
        sk_jw_kcstr(&w, "who", k->who);
        sk_jw_kint(&w, "wall_ms", k->wall_ms);
        sk_jw_obj_end(&w);
    }
    sk_jw_arr_end(&w);
    sk_jw_obj_end(&w);
}

void control_events_json(const struct control *c, int64_t after, size_t limit, struct sk_buf *out)
{
    struct sk_jw w;
    size_t given = 0;
    begin(&w, out, "skerry.events/1");
    sk_jw_kint(&w, "last", c->event_seq);
    sk_jw_key(&w, "events");
    sk_jw_arr(&w);
    for (size_t i = 0; i < c->nevents && given < limit; i++) {
        if (c->events[i].seq > after) {
            sk_jw_raw(&w, sk_str(c->events[i].json));
            given++;
        }
    }
    sk_jw_arr_end(&w);
    sk_jw_obj_end(&w);
}

size_t control_project_count(const struct control *c)
{
    return c->nprojects;
}

const struct project *control_project(const struct control *c, size_t i)
{
    return c->projects[i]->decl;
}

bool control_is_loaded(const struct control *c)
{
    return c->loaded;
}

bool control_serial_revoked(const struct control *c, struct sk_str serial)
{
    size_t at;
    return ctl_find(c->revoked, c->nrevoked, serial, &at);
}

bool control_node_known(const struct control *c, struct sk_str node, struct sk_str *ret_site)
{
    const struct ctl_node *n = ctl_node(c, node);
    if (n == NULL) {
        return false;
    }
    *ret_site = sk_str(n->site->name);
    return true;
}

bool control_instance_node(const struct control *c, struct sk_str id, struct sk_str *ret_node)
{
    struct ctl_inst *i = NULL;
    char key[33] = {0};
    if (id.len != 32) {
        return false;
    }
    memcpy(key, id.ptr, 32);
    HASH_FIND_STR(c->insts, key, i);
    if (i == NULL) {
        return false;
    }
    *ret_node = sk_str(i->node->name);
    return true;
}

const char *control_key_role(const struct control *c, struct sk_str hash, struct sk_str *ret_name)
{
    size_t at;
    if (!ctl_find(c->keys, c->nkeys, hash, &at)) {
        return NULL;
    }
    *ret_name = sk_str(c->keys[at]->name);
    return c->keys[at]->role;
}
