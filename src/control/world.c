/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "control/internal.h"

/*
 * What plans are made from: a snapshot of the world that a worker thread can read while control
 * goes on. Everything that may change meanwhile is copied; declarations and the plan in force never
 * change and are only referenced (references are counted on the loop thread alone).
 */

static bool is(const char *name, const char *other)
{
    return other != NULL && strcmp(name, other) == 0;
}

static void world_sites(const struct control *c, const struct ctl_mods *mods, struct inventory *inv)
{
    struct sk_arena *a = inv->arena;
    struct site *sites = SK_ARENA_ARRAY(a, struct site, c->nsites + 1);

    for (size_t i = 0; i < c->nsites; i++) {
        const struct ctl_site *s = c->sites[i];
        if (is(s->name, mods->skip_site)) {
            continue;
        }
        sites[inv->nsites++] = (struct site){
            .name = sk_arena_str(a, sk_str(s->name)),
            .region = sk_arena_str(a, sk_str(s->region)),
            .country = sk_arena_str(a, sk_str(s->country)),
            .provider = sk_arena_str(a, sk_str(s->provider)),
            .has_at = s->has_at,
            .lat = s->lat,
            .lon = s->lon,
            .has_egress = s->has_egress,
            .egress_per_gb = s->egress_per_gb,
            .price_gb_month = s->price_gb_month,
            .trust = s->trust,
            .drained = s->drained || is(s->name, mods->drain_site),
        };
    }
    inv->sites = sites;
}

static void world_nodes(const struct control *c, const struct ctl_mods *mods, struct inventory *inv)
{
    struct sk_arena *a = inv->arena;
    struct node *nodes = SK_ARENA_ARRAY(a, struct node, c->nnodes + 1);

    for (size_t i = 0; i < c->nnodes; i++) {
        const struct ctl_node *n = c->nodes[i];
        int64_t site = inventory_site(inv, sk_str(n->site->name));
        if (is(n->name, mods->skip_node) || site < 0) {
            continue;
        }
        struct sk_kv *labels = SK_ARENA_ARRAY(a, struct sk_kv, n->nlabels + 1);
        for (size_t k = 0; k < n->nlabels; k++) {
            labels[k].key = sk_arena_str(a, n->labels[k].key);
            labels[k].value = sk_arena_str(a, n->labels[k].value);
        }
        nodes[inv->nnodes++] = (struct node){
            .name = sk_arena_str(a, sk_str(n->name)),
            .site = (uint32_t)site,
            .cpus_nano = n->cpus_nano,
            .memory_bytes = n->memory_bytes,
            .disk_bytes = n->disk_bytes,
            .has_price = n->has_price,
            .price_hour = n->price_hour,
            .labels = labels,
            .nlabels = n->nlabels,
            .drained = n->drained || is(n->name, mods->drain_node) ||
                       (mods->lost_drained && (!ctl_node_up(n) || n->site->away)),
        };
    }
    inv->nodes = nodes;
}

/* A declared round trip wins over a measured one: a person may know better. */
static void world_links(const struct control *c, struct inventory *inv)
{
    struct link *links =
        SK_ARENA_ARRAY(inv->arena, struct link, inv->nsites * (inv->nsites + 1) / 2 + 1);

    for (uint32_t a = 0; a < inv->nsites; a++) {
        for (uint32_t b = a + 1; b < inv->nsites; b++) {
            const struct ctl_link *l = ctl_link(c, inv->sites[a].name, inv->sites[b].name);
            const struct ctl_site *sa = ctl_site(c, inv->sites[a].name);
            const struct ctl_site *sb = ctl_site(c, inv->sites[b].name);
            struct link *out = &links[inv->nlinks];
            *out = (struct link){.a = a, .b = b};
            if (l != NULL && l->has_price) {
                out->has_price = true;
                out->price_per_gb = l->price_per_gb;
            }
            if (l != NULL && l->has_rtt) {
                out->has_rtt = true;
                out->rtt_ms = l->rtt_ms;
            } else {
                out->has_rtt = ctl_rtt_between(c, sa, sb, &out->rtt_ms);
            }
            inv->nlinks += out->has_rtt || out->has_price;
        }
    }
    inv->links = links;
}

struct inventory *ctl_world(const struct control *c, const struct ctl_mods *mods)
{
    struct sk_arena *arena = sk_arena_new();
    struct inventory *inv = SK_ARENA_NEW(arena, struct inventory);

    inv->arena = arena;
    inv->currency = sk_arena_str(arena, sk_str(c->currency ? c->currency : "EUR"));
    world_sites(c, mods, inv);
    world_nodes(c, mods, inv);
    world_links(c, inv);
    return inv;
}

struct inventory *control_inventory(const struct control *c)
{
    return ctl_world(c, &(struct ctl_mods){0});
}

void control_inventory_free(struct inventory *inv)
{
    if (inv != NULL) {
        sk_arena_free(inv->arena);
    }
}

/* ---- jobs ---- */

static void control_site(struct ctl_job *job, const struct ctl_node *n)
{
    (void)snprintf(job->control_sites[job->ncontrol_sites++], sizeof(job->control_sites[0]), "%s",
                   n->site->name);
}

static bool job_control_kept(void *ctx, const struct sk_str *lost, size_t nlost)
{
    const struct ctl_job *job = ctx;
    size_t kept = job->ncontrol_sites;

    for (size_t k = 0; k < job->ncontrol_sites; k++) {
        for (size_t i = 0; i < nlost; i++) {
            if (sk_str_is(lost[i], job->control_sites[k])) {
                kept--;
                break;
            }
        }
    }
    return kept * 2 > job->ncontrol_sites; /* a majority: with one control node, its site */
}

/* In a loss, survive, keep and cost do not bind again, and after_loss_ms replaces ms. */
static const struct project *relaxed_copy(struct sk_arena *a, const struct project *in)
{
    struct project *out = SK_ARENA_NEW(a, struct project);
    struct service *services = SK_ARENA_ARRAY(a, struct service, in->nservices + 1);

    *out = *in;
    for (size_t i = 0; i < in->nservices; i++) {
        struct service *s = &services[i];
        *s = in->services[i];
        s->survive = (struct survive){0};
        s->has_cost = false;
        s->latency.has_ms = s->latency.has_after_loss;
        s->latency.ms = s->latency.after_loss_ms;
        s->latency.written = s->latency.written && s->latency.has_after_loss;
        s->latency.has_after_loss = false;
    }
    out->services = services;
    return out;
}

static void job_current(struct control *c, struct ctl_job *job)
{
    struct sk_arena *a = job->arena;
    const struct plan *from = &c->effective;
    struct plan_placement *rows = SK_ARENA_ARRAY(a, struct plan_placement, from->nplacements + 1);
    size_t count = 0;

    job->base = c->plan;
    job->base->refs++;
    job->current = *from;
    for (size_t i = 0; i < from->nplacements; i++) {
        const struct plan_placement *p = &from->placements[i];
        if (inventory_node(job->inv, p->node) >= 0) {
            rows[count++] = (struct plan_placement){
                sk_arena_str(a, p->project), sk_arena_str(a, p->service), p->replica,
                sk_arena_str(a, p->site), sk_arena_str(a, p->node)};
        }
    }
    job->current.placements = rows;
    job->current.nplacements = count;
    job->pub.input.current = &job->current;
}

struct ctl_job *ctl_job_new(struct control *c, enum ctl_job_kind kind, const struct ctl_mods *mods,
                            struct ctl_project *const *projects, size_t nprojects, bool relaxed)
{
    struct ctl_job *job = sk_xcalloc(1, sizeof(*job));
    const struct ctl_node *own = ctl_node(c, sk_str(c->own_node));

    job->kind = kind;
    job->arena = sk_arena_new();
    job->inv = ctl_world(c, mods);
    job->basis = c->basis;
    job->stamp = c->stamp;
    job->pub.relaxed = relaxed;
    for (size_t i = 0; i < c->roster.count; i++) {
        const struct ctl_node *n = ctl_node(c, sk_str(c->roster.seats[i].node));
        if (n != NULL && c->roster.seats[i].state == CTL_SEAT_MEMBER) {
            control_site(job, n);
        }
    }
    if (job->ncontrol_sites == 0 && own != NULL) {
        control_site(job, own);
    }
    plan_input_init(&job->pub.input);
    job->projects = sk_xcalloc(nprojects + 1, sizeof(struct ctl_project *));
    job->nprojects = nprojects;
    job->decls = SK_ARENA_ARRAY(job->arena, const struct project *, nprojects + 1);
    for (size_t i = 0; i < nprojects; i++) {
        job->projects[i] = projects[i];
        projects[i]->refs++;
        job->decls[i] = relaxed ? relaxed_copy(job->arena, projects[i]->decl) : projects[i]->decl;
    }
    job->pub.input.inv = job->inv;
    job->pub.input.projects = job->decls;
    job->pub.input.nprojects = nprojects;
    job->pub.input.threads = 1;
    job->pub.input.based_on_store = sk_arena_str(job->arena, sk_str(c->store_id));
    job->pub.input.based_on_revision = c->basis;
    job->pub.input.control_kept = job_control_kept;
    job->pub.input.control_ctx = job;
    if (c->plan != NULL) {
        job_current(c, job);
    }
    return job;
}

void ctl_job_send(struct control *c, struct ctl_job *job, unsigned slot)
{
    SK_ASSERT(c->jobs[slot] == NULL);
    job->pub.request = c->next_request++;
    c->jobs[slot] = job;
    struct control_command *cmd = ctl_out(c->out, CONTROL_CMD_PLAN);
    cmd->u.plan.request = job->pub.request;
    cmd->u.plan.job = &job->pub;
}

void ctl_job_free(struct ctl_job *job)
{
    if (job == NULL) {
        return;
    }
    for (size_t i = 0; i < job->nprojects; i++) {
        ctl_project_unref(job->projects[i]);
    }
    free(job->projects);
    ctl_planref_drop(job->base);
    control_inventory_free(job->inv);
    ctl_req_free(job->req);
    plan_free(job->result);
    free(job->findings);
    sk_arena_free(job->arena);
    free(job);
}
