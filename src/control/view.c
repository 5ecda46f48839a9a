/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "control/front.h"
#include "control/internal.h"

/*
 * Routing views: for each site, what its ingress sends where. Of each replica one copy serves: its
 * target once that is healthy, until then any other that is. Copies on nodes under suspicion are
 * out at once: that costs nothing and is taken back as easily. After a start of control, copies
 * that nobody has reported yet are presumed to serve until their node spoke or the grace is over,
 * because a view that was emptied for want of news would be an outage of our own making.
 */

static bool serves(const struct control *c, const struct ctl_inst *i)
{
    if (i->role == CTL_STOPPING) {
        return false;
    }
    return ctl_inst_healthy(i) || (i->presumed && !c->grace_over && ctl_node_up(i->node));
}

struct endpoints {
    const struct ctl_inst **items; /* by replica */
    size_t count, cap;
};

static void endpoints_of(const struct control *c, const struct ctl_svc *s, struct endpoints *e)
{
    e->count = 0;
    for (size_t r = 0; r < s->nplace; r++) {
        const struct ctl_inst *target = ctl_target(s, (int64_t)r);
        bool only = target != NULL && ctl_inst_healthy(target);
        for (size_t k = 0; k < s->ninsts; k++) {
            const struct ctl_inst *i = s->insts[k];
            if (i->replica == (int64_t)r && (only ? i == target : serves(c, i))) {
                SK_GROW(e->items, e->count, e->cap);
                e->items[e->count++] = i;
            }
        }
    }
}

struct neighbour {
    struct ctl_site *site;
    double rtt;
    bool known;
};

static int neighbour_order(const void *a, const void *b)
{
    const struct neighbour *na = a;
    const struct neighbour *nb = b;
    if (na->known != nb->known) {
        return na->known ? -1 : 1;
    }
    if (na->known && na->rtt != nb->rtt) {
        return na->rtt < nb->rtt ? -1 : 1;
    }
    return strcmp(na->site->name, nb->site->name);
}

/* The other sites, nearest first. */
static struct neighbour *neighbours(struct control *c, struct ctl_site *s, size_t *ret_count)
{
    struct neighbour *list = sk_xcalloc(c->nsites + 1, sizeof(*list));
    *ret_count = 0;
    for (size_t i = 0; i < c->nsites; i++) {
        struct ctl_site *other = c->sites[i];
        if (other == s) {
            continue;
        }
        struct neighbour *n = &list[(*ret_count)++];
        n->site = other;
        n->known = ctl_rtt_between(c, s, other, &n->rtt);
        const struct ctl_link *l = ctl_link(c, sk_str(s->name), sk_str(other->name));
        if (!n->known && l != NULL && l->has_rtt) {
            n->known = true;
            n->rtt = l->rtt_ms;
        }
    }
    qsort(list, *ret_count, sizeof(*list), neighbour_order);
    return list;
}

struct scene { /* one site's view in the making */
    struct control *c;
    struct ctl_site *site;
    const struct neighbour *near;
    size_t nnear;
    struct sk_jw *w;
};

static void write_ends(const struct scene *v, const struct endpoints *e, uint16_t port,
                       uint16_t remote_port)
{
    sk_jw_key(v->w, "local");
    sk_jw_arr(v->w);
    for (size_t k = 0; k < e->count; k++) {
        const struct ctl_inst *i = e->items[k];
        if (i->node->site == v->site && !v->site->own_off) {
            sk_jw_obj(v->w);
            sk_jw_kcstr(v->w, "id", i->id);
            sk_jw_kcstr(v->w, "address", i->address);
            sk_jw_kint(v->w, "port", i->spec->exec ? i->port : port);
            sk_jw_obj_end(v->w);
        }
    }
    sk_jw_arr_end(v->w);
    sk_jw_key(v->w, "remote");
    sk_jw_arr(v->w);
    for (size_t n = 0; n < v->nnear; n++) {
        const struct ctl_site *other = v->near[n].site;
        bool any = false;
        for (size_t k = 0; k < e->count && !any; k++) {
            any = e->items[k]->node->site == other;
        }
        if (!any || other->ingress == NULL || other->off) {
            continue;
        }
        sk_jw_obj(v->w);
        sk_jw_kcstr(v->w, "site", other->name);
        sk_jw_kcstr(v->w, "node", other->ingress);
        sk_jw_kcstr(v->w, "address", ctl_node(v->c, sk_str(other->ingress))->address);
        sk_jw_kint(v->w, "port", remote_port);
        if (v->near[n].known) {
            sk_jw_knum(v->w, "rtt_ms", v->near[n].rtt);
        } else {
            sk_jw_knull(v->w, "rtt_ms");
        }
        sk_jw_obj_end(v->w);
    }
    sk_jw_arr_end(v->w);
}

bool ctl_leads_somewhere(const struct ctl_svc *s)
{
    bool published = false;

    for (size_t p = 0; s->decl != NULL && p < s->decl->nports && !published; p++) {
        published = s->decl->ports[p].published != 0;
    }
    return published || (s->decl != NULL && s->decl->has_route);
}

static void write_routes(const struct scene *v, struct endpoints *ends)
{
    sk_jw_key(v->w, "routes");
    sk_jw_arr(v->w);
    for (size_t k = 0; k < v->c->nsvcs; k++) {
        const struct ctl_svc *s = v->c->svcs[k];
        if (s->decl == NULL || !s->decl->has_route) {
            continue;
        }
        sk_jw_obj(v->w);
        sk_jw_kstr(v->w, "host", s->decl->route_host);
        sk_jw_kcstr(v->w, "project", s->project);
        sk_jw_kcstr(v->w, "service", s->name);
        if (s->decl->check.kind == CHECK_HTTP) {
            sk_jw_kstr(v->w, "check", s->decl->check.http_path);
        }
        write_ends(v, &ends[k], s->decl->route_port, v->c->ingress_port);
        sk_jw_obj_end(v->w);
    }
    sk_jw_arr_end(v->w);
}

static void write_published(const struct scene *v, struct endpoints *ends)
{
    sk_jw_key(v->w, "published");
    sk_jw_arr(v->w);
    for (size_t k = 0; k < v->c->nsvcs; k++) {
        const struct ctl_svc *s = v->c->svcs[k];
        for (size_t p = 0; s->decl != NULL && p < s->decl->nports; p++) {
            const struct port *port = &s->decl->ports[p];
            if (port->published == 0) {
                continue;
            }
            sk_jw_obj(v->w);
            sk_jw_kint(v->w, "port", port->published);
            sk_jw_kbool(v->w, "udp", port->udp);
            sk_jw_kcstr(v->w, "project", s->project);
            sk_jw_kcstr(v->w, "service", s->name);
            write_ends(v, &ends[k], port->target, port->published);
            sk_jw_obj_end(v->w);
        }
    }
    sk_jw_arr_end(v->w);
}

static void view_make(struct control *c, struct ctl_site *s, struct endpoints *ends)
{
    struct sk_buf out = SK_BUF_INIT;
    struct sk_jw w;
    size_t count;
    struct neighbour *near = neighbours(c, s, &count);
    struct scene v = {c, s, near, count, &w};

    sk_jw_init(&w, &out);
    sk_jw_obj(&w);
    sk_jw_kcstr(&w, "site", s->name);
    if (s->ingress != NULL) {
        sk_jw_kcstr(&w, "node", s->ingress);
    } else {
        sk_jw_knull(&w, "node");
    }
    write_routes(&v, ends);
    write_published(&v, ends);
    sk_jw_obj_end(&w);
    free(near);
    if (s->view != NULL && sk_str_is(sk_buf_str(&out), s->view)) {
        sk_buf_release(&out);
        return;
    }
    s->routes = false;
    for (size_t k = 0; k < c->nsvcs && !s->routes; k++) {
        s->routes = ctl_leads_somewhere(c->svcs[k]);
    }
    free(s->view);
    s->view = sk_buf_steal(&out, NULL);
    s->view_rev = ctl_i64_max(s->view_rev + 1, c->wall_ms); /* grows over restarts too */
    if (s->ingress != NULL) {
        ctl_dirty(c, ctl_node(c, sk_str(s->ingress)));
    }
}

void ctl_views_step(struct control *c)
{
    if (!c->dirty_views && c->now_ms < c->next_pick_ms) {
        return;
    }
    c->dirty_views = false;
    c->next_pick_ms = INT64_MAX;
    for (size_t i = 0; i < c->nsites; i++) {
        ctl_ingress_pick(c, c->sites[i]);
    }
    struct endpoints *ends = sk_xcalloc(c->nsvcs + 1, sizeof(*ends));
    for (size_t k = 0; k < c->nsvcs; k++) {
        if (c->svcs[k]->decl != NULL) {
            endpoints_of(c, c->svcs[k], &ends[k]);
        }
    }
    for (size_t i = 0; i < c->nsites; i++) {
        if (c->sites[i]->trust != SITE_CONTROL) {
            view_make(c, c->sites[i], ends);
        }
    }
    for (size_t k = 0; k < c->nsvcs; k++) {
        free(ends[k].items);
    }
    free(ends);
}

int control_view_json(const struct control *c, struct sk_str site, struct sk_buf *out,
                      struct sk_err *err)
{
    const struct ctl_site *s = ctl_site(c, site);
    if (s == NULL || s->view == NULL) {
        return sk_err_set(err, SK_ERR_NOT_FOUND, "there is no routing view of site '%.*s'",
                          SK_PRI(site));
    }
    sk_buf_printf(out, "{\"format\":\"skerry.view/1\",\"rev\":%lld,%s", (long long)s->view_rev,
                  s->view + 1);
    return 0;
}
