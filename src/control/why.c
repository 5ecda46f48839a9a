/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "control/internal.h"

/* Why a service runs where it runs: each replica's place, and what speaks against each node. */

static struct sk_str label_of(const struct ctl_node *n, struct sk_str key)
{
    for (size_t i = 0; i < n->nlabels; i++) {
        if (sk_str_eq(n->labels[i].key, key)) {
            return n->labels[i].value;
        }
    }
    return SK_STR_NULL;
}

static bool constraint_holds(const struct ctl_node *n, const struct constraint *k)
{
    struct sk_str value = SK_STR_NULL;
    switch (k->subject) {
    case ON_LABEL:
        value = label_of(n, k->label);
        if (value.ptr == NULL) {
            return !k->equal; /* an absent label is unequal to everything */
        }
        break;
    case ON_NODE:
        value = sk_str(n->name);
        break;
    case ON_SITE:
        value = sk_str(n->site->name);
        break;
    case ON_PROVIDER:
        value = sk_str(n->site->provider);
        break;
    case ON_REGION:
        value = sk_str(n->site->region);
        break;
    }
    return sk_str_eq(value, k->value) == k->equal;
}

static bool residency_holds(const struct ctl_site *s, const struct service *d)
{
    struct sk_str country = SK_STR("country:");
    for (size_t i = 0; i < d->nresidency; i++) {
        struct sk_str entry = d->residency[i];
        if (sk_str_starts(entry, country)) {
            entry.ptr += country.len;
            entry.len -= country.len;
            if (entry.len > 0 && sk_str_is(entry, s->country)) {
                return true;
            }
        } else if (sk_str_is(entry, s->region)) {
            return true;
        }
    }
    return d->nresidency == 0;
}

/* The first thing that speaks against the node; NULL: nothing. */
static const char *against(const struct ctl_node *n, const struct service *d, struct sk_buf *text)
{
    sk_buf_clear(text);
    if (n->site->trust != SITE_FULL) {
        return "its site is not trusted with services";
    }
    if (n->drained || n->site->drained) {
        return "it is drained";
    }
    if (!residency_holds(n->site, d)) {
        sk_buf_printf(text, "residency: its site is in region '%s', country '%s'", n->site->region,
                      n->site->country);
        return text->ptr;
    }
    for (size_t i = 0; i < d->nconstraints; i++) {
        if (!constraint_holds(n, &d->constraints[i])) {
            sk_buf_printf(text, "constraint: %.*s", SK_PRI(d->constraints[i].text));
            return text->ptr;
        }
    }
    if (d->cpus_nano > n->cpus_nano || d->memory_bytes > n->memory_bytes ||
        d->disk_bytes > n->disk_bytes) {
        return "it is too small for one replica";
    }
    if (n->life == CTL_LOST) {
        return "it is lost";
    }
    return NULL;
}

static struct sk_str planned_node(const struct control *c, const struct ctl_svc *s, size_t replica)
{
    const struct plan *plan = c->plan ? c->plan->plan : NULL;
    for (size_t i = 0; plan != NULL && i < plan->nplacements; i++) {
        const struct plan_placement *p = &plan->placements[i];
        if (p->replica == (int64_t)replica && sk_str_is(p->service, s->name) &&
            sk_str_is(p->project, s->project)) {
            return p->node;
        }
    }
    return SK_STR("");
}

static const char *place_reason(const struct ctl_svc *s, size_t r, const struct ctl_inst *target)
{
    const struct ctl_node *n = s->place[r].node;
    if (n == NULL) {
        return "the plan has no place for it";
    }
    if (n->life == CTL_LOST) {
        return "its node is lost, and there is no room for it elsewhere";
    }
    if (s->place[r].overlay) {
        return "its planned node was lost: it was re-placed";
    }
    if (target == NULL) {
        return s->blocked ? s->blocked : "it waits for its turn in the rollout";
    }
    return ctl_inst_healthy(target)     ? "as planned"
           : ctl_inst_completed(target) ? "as planned, completed"
                                        : "as planned, not healthy yet";
}

static void replicas_json(const struct control *c, struct sk_jw *w, const struct ctl_svc *s)
{
    sk_jw_key(w, "replicas");
    sk_jw_arr(w);
    for (size_t r = 0; r < s->nplace; r++) {
        const struct ctl_inst *target = ctl_target(s, (int64_t)r);
        sk_jw_obj(w);
        sk_jw_kint(w, "replica", (int64_t)r);
        sk_jw_kcstr(w, "site", s->place[r].node ? s->place[r].node->site->name : "");
        sk_jw_kcstr(w, "node", s->place[r].node ? s->place[r].node->name : "");
        sk_jw_kstr(w, "planned", planned_node(c, s, r));
        sk_jw_kcstr(w, "instance", target ? target->id : "");
        sk_jw_kbool(w, "healthy", target != NULL && ctl_inst_healthy(target));
        sk_jw_kcstr(w, "why", place_reason(s, r, target));
        sk_jw_obj_end(w);
    }
    sk_jw_arr_end(w);
}

static void nodes_json(const struct control *c, struct sk_jw *w, const struct ctl_svc *s)
{
    struct sk_buf text = SK_BUF_INIT;

    sk_jw_key(w, "nodes");
    sk_jw_arr(w);
    for (size_t i = 0; i < c->nnodes; i++) {
        const char *why = against(c->nodes[i], s->decl, &text);
        sk_jw_obj(w);
        sk_jw_kcstr(w, "node", c->nodes[i]->name);
        sk_jw_kcstr(w, "site", c->nodes[i]->site->name);
        sk_jw_kbool(w, "allowed", why == NULL);
        sk_jw_kcstr(w, "why", why ? why : "");
        sk_jw_obj_end(w);
    }
    sk_jw_arr_end(w);
    sk_buf_release(&text);
}

int control_why_json(const struct control *c, struct sk_str project, struct sk_str service,
                     struct sk_buf *out, struct sk_err *err)
{
    const struct ctl_svc *s = ctl_svc(c, project, service);
    struct sk_jw w;

    if (s == NULL || s->decl == NULL) {
        return sk_err_set(err, SK_ERR_NOT_FOUND, "there is no service '%.*s/%.*s'", SK_PRI(project),
                          SK_PRI(service));
    }
    sk_jw_init(&w, out);
    sk_jw_obj(&w);
    sk_jw_kcstr(&w, "format", "skerry.why/1");
    sk_jw_kcstr(&w, "project", s->project);
    sk_jw_kcstr(&w, "service", s->name);
    sk_jw_kcstr(&w, "plan", c->plan ? c->plan->plan->id : "");
    sk_jw_kcstr(&w, "spec_hash", s->want->hash);
    sk_jw_kbool(&w, "rollout_stopped", strcmp(s->halted, s->want->hash) == 0);
    replicas_json(c, &w, s);
    nodes_json(c, &w, s);
    sk_jw_obj_end(&w);
    return 0;
}
