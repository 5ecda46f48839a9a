/* SPDX-License-Identifier: Apache-2.0 */
#include "make_world.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "base/mem.h"
#include "plan/codes.h"

#define MAX 4096

struct mk {
    struct sk_arena *arena;
    struct site *sites;
    struct node *nodes;
    const char **node_site;
    struct service *svcs;
    struct users *users;
    struct bucket *buckets;
    struct link *links;
    size_t nsites, nnodes, nsvcs, nusers, nbuckets, nlinks;
    const char **link_a, **link_b;
    struct inventory inv;
    struct project project;
    const struct project *projects[1];
    struct plan_input in;
};

struct mk *mk_new(void)
{
    struct mk *m = sk_xcalloc(1, sizeof(*m));
    m->arena = sk_arena_new();
    m->sites = SK_ARENA_ARRAY(m->arena, struct site, 256);
    m->nodes = SK_ARENA_ARRAY(m->arena, struct node, MAX);
    m->node_site = SK_ARENA_ARRAY(m->arena, const char *, MAX);
    m->svcs = SK_ARENA_ARRAY(m->arena, struct service, MAX);
    m->users = SK_ARENA_ARRAY(m->arena, struct users, 256);
    m->buckets = SK_ARENA_ARRAY(m->arena, struct bucket, 256);
    m->links = SK_ARENA_ARRAY(m->arena, struct link, MAX);
    m->link_a = SK_ARENA_ARRAY(m->arena, const char *, MAX);
    m->link_b = SK_ARENA_ARRAY(m->arena, const char *, MAX);
    plan_input_init(&m->in);
    return m;
}

void mk_free(struct mk *m)
{
    if (m) {
        sk_arena_free(m->arena);
        free(m);
    }
}

static struct sk_str str(struct mk *m, const char *s)
{
    return sk_arena_str(m->arena, sk_str(s));
}

struct site *mk_site(struct mk *m, const char *name)
{
    struct site *s = &m->sites[m->nsites++];
    s->name = str(m, name);
    s->region = SK_STR("eu");
    s->has_egress = true;
    return s;
}

struct node *mk_node(struct mk *m, const char *name, const char *site, double cpus, double mib,
                     double price)
{
    m->node_site[m->nnodes] = str(m, site).ptr;
    struct node *n = &m->nodes[m->nnodes++];
    n->name = str(m, name);
    n->cpus_nano = (int64_t)(cpus * 1e9);
    n->memory_bytes = (int64_t)(mib * 1048576);
    n->has_price = price >= 0;
    n->price_hour = price >= 0 ? price : 0;
    return n;
}

struct service *mk_svc(struct mk *m, const char *name, int64_t replicas, double cpus, double mib)
{
    struct service *s = &m->svcs[m->nsvcs++];
    s->name = str(m, name);
    s->replicas = replicas;
    s->cpus_nano = (int64_t)(cpus * 1e9);
    s->memory_bytes = (int64_t)(mib * 1048576);
    s->latency.share = 0.95;
    return s;
}

void mk_survive(struct service *s, int64_t sites, int64_t nodes, int64_t keep)
{
    s->survive = (struct survive){sites >= 0, nodes >= 0, keep >= 0, sites, nodes, keep};
}

void mk_latency(struct service *s, double ms, double after_loss_ms)
{
    s->latency.written = true;
    s->latency.has_ms = ms >= 0;
    s->latency.ms = ms;
    s->latency.has_after_loss = after_loss_ms >= 0;
    s->latency.after_loss_ms = after_loss_ms;
}

void mk_residency(struct mk *m, struct service *s, const char *entry)
{
    struct sk_str *list = SK_ARENA_ARRAY(m->arena, struct sk_str, s->nresidency + 1);
    for (size_t i = 0; i < s->nresidency; i++) {
        list[i] = s->residency[i];
    }
    list[s->nresidency++] = str(m, entry);
    s->residency = list;
}

void mk_near(struct mk *m, struct service *s, const char *other)
{
    struct sk_str *list = SK_ARENA_ARRAY(m->arena, struct sk_str, 1);
    list[0] = str(m, other);
    s->near = list;
    s->nnear = 1;
}

struct users *mk_users(struct mk *m, const char *name, double share)
{
    struct users *u = &m->users[m->nusers++];
    u->name = str(m, name);
    u->share = share;
    u->rtt = SK_ARENA_ARRAY(m->arena, struct user_rtt, 256);
    return u;
}

void mk_rtt(struct mk *m, struct users *u, const char *site, double ms)
{
    struct user_rtt *list = SK_ARENA_ARRAY(m->arena, struct user_rtt, u->nrtt + 1);
    memcpy(list, u->rtt, u->nrtt * sizeof(*list));
    list[u->nrtt++] = (struct user_rtt){str(m, site), ms};
    u->rtt = list;
}

void mk_link(struct mk *m, const char *a, const char *b, double ms)
{
    m->link_a[m->nlinks] = str(m, a).ptr;
    m->link_b[m->nlinks] = str(m, b).ptr;
    m->links[m->nlinks++] = (struct link){.has_rtt = true, .rtt_ms = ms};
}

struct bucket *mk_bucket(struct mk *m, const char *name, int64_t size)
{
    struct bucket *b = &m->buckets[m->nbuckets++];
    b->name = str(m, name);
    b->size_bytes = size;
    return b;
}

#define BY_NAME(type)                                                                      \
    static int cmp_##type(const void *a, const void *b)                                    \
    {                                                                                      \
        return sk_str_cmp(((const struct type *)a)->name, ((const struct type *)b)->name); \
    }
BY_NAME(site)
BY_NAME(service)
BY_NAME(users)
BY_NAME(bucket)

static int cmp_node_ptr(const void *a, const void *b, void *ctx)
{
    const struct node *nodes = ctx;
    return sk_str_cmp(nodes[*(const size_t *)a].name, nodes[*(const size_t *)b].name);
}

static int cmp_link(const void *a, const void *b)
{
    const struct link *x = a;
    const struct link *y = b;
    return x->a != y->a ? (x->a < y->a ? -1 : 1) : x->b < y->b ? -1 : x->b > y->b;
}

static void sort_nodes(struct mk *m)
{
    size_t *order = sk_xcalloc(m->nnodes + 1, sizeof(*order));
    for (size_t i = 0; i < m->nnodes; i++) {
        order[i] = i;
    }
    qsort_r(order, m->nnodes, sizeof(*order), cmp_node_ptr, m->nodes);
    struct node *nodes = SK_ARENA_ARRAY(m->arena, struct node, MAX);
    const char **sites = SK_ARENA_ARRAY(m->arena, const char *, MAX);
    for (size_t i = 0; i < m->nnodes; i++) {
        nodes[i] = m->nodes[order[i]];
        sites[i] = m->node_site[order[i]];
        int64_t site = inventory_site(&m->inv, sk_str(sites[i]));
        assert_true(site >= 0);
        nodes[i].site = (uint32_t)site;
    }
    m->nodes = nodes;
    m->node_site = sites;
    free(order);
}

struct plan_input *mk_input(struct mk *m)
{
    /* copies are sorted, so that the pointers the test holds stay those of its own calls */
    struct site *sites = SK_ARENA_ARRAY(m->arena, struct site, m->nsites + 1);
    struct service *svcs = SK_ARENA_ARRAY(m->arena, struct service, m->nsvcs + 1);
    struct link *links = SK_ARENA_ARRAY(m->arena, struct link, m->nlinks + 1);
    memcpy(sites, m->sites, m->nsites * sizeof(*sites));
    memcpy(svcs, m->svcs, m->nsvcs * sizeof(*svcs));
    qsort(sites, m->nsites, sizeof(*sites), cmp_site);
    qsort(svcs, m->nsvcs, sizeof(*svcs), cmp_service);
    qsort(m->users, m->nusers, sizeof(*m->users), cmp_users);
    qsort(m->buckets, m->nbuckets, sizeof(*m->buckets), cmp_bucket);
    m->inv = (struct inventory){.arena = m->arena, .currency = SK_STR("EUR"), .sites = sites};
    m->inv.nsites = m->nsites;
    sort_nodes(m);
    m->inv.nodes = m->nodes;
    m->inv.nnodes = m->nnodes;
    for (size_t i = 0; i < m->nlinks; i++) {
        uint32_t a = (uint32_t)inventory_site(&m->inv, sk_str(m->link_a[i]));
        uint32_t b = (uint32_t)inventory_site(&m->inv, sk_str(m->link_b[i]));
        links[i] = m->links[i];
        links[i].a = a < b ? a : b;
        links[i].b = a < b ? b : a;
    }
    qsort(links, m->nlinks, sizeof(*links), cmp_link);
    m->inv.links = links;
    m->inv.nlinks = m->nlinks;
    m->project = (struct project){.arena = m->arena, .name = SK_STR("p")};
    m->project.services = svcs;
    m->project.nservices = m->nsvcs;
    m->project.users = m->users;
    m->project.nusers = m->nusers;
    m->project.buckets = m->buckets;
    m->project.nbuckets = m->nbuckets;
    m->projects[0] = &m->project;
    m->in.inv = &m->inv;
    m->in.projects = m->projects;
    m->in.nprojects = 1;
    return &m->in;
}

static int64_t service_of(const struct mk *m, struct sk_str name)
{
    for (size_t i = 0; i < m->project.nservices; i++) {
        if (sk_str_eq(m->project.services[i].name, name)) {
            return (int64_t)i;
        }
    }
    return -1;
}

static bool is_code(struct sk_str code)
{
    static const char *const codes[] = {
#define X(name, text) name,
        PL_PROBLEM_TABLE(X) PL_WARNING_TABLE(X)
#undef X
    };
    for (size_t i = 0; i < SK_ARRAY_LEN(codes); i++) {
        if (sk_str_is(code, codes[i])) {
            return true;
        }
    }
    return false;
}

/* What holds of every plan: nothing on a node that is not there, nothing overcommitted, each
 * replica once, codes that are documented, and lost = replaced + short in every row. */
static void check_plan(const struct mk *m, const struct plan *plan)
{
    int64_t *left = sk_xcalloc(2 * m->inv.nnodes + 1, sizeof(*left));
    for (size_t i = 0; i < m->inv.nnodes; i++) {
        left[2 * i] = m->inv.nodes[i].cpus_nano;
        left[2 * i + 1] = m->inv.nodes[i].memory_bytes;
    }
    int64_t wanted = 0;
    for (size_t i = 0; i < m->project.nservices; i++) {
        wanted += m->project.services[i].replicas;
    }
    for (size_t i = 0; i < plan->nplacements; i++) {
        const struct plan_placement *p = &plan->placements[i];
        int64_t n = inventory_node(&m->inv, p->node);
        int64_t s = service_of(m, p->service);
        assert_true(n >= 0 && s >= 0);
        left[2 * n] -= m->project.services[s].cpus_nano;
        left[2 * n + 1] -= m->project.services[s].memory_bytes;
        assert_true(left[2 * n] >= 0 && left[2 * n + 1] >= 0);
        assert_true(sk_str_eq(m->inv.sites[m->inv.nodes[n].site].name, p->site));
    }
    if (plan->verdict == PLAN_OK) {
        assert_int_equal(plan->nplacements, wanted);
        assert_int_equal(plan->nproblems, 0);
    } else {
        assert_true(plan->nproblems > 0);
    }
    for (size_t i = 0; i < plan->nproblems; i++) {
        assert_true(is_code(plan->problems[i].code) && plan->problems[i].fix.len > 0);
    }
    for (size_t i = 0; i < plan->nwarnings; i++) {
        assert_true(is_code(plan->warnings[i].code));
    }
    for (size_t i = 0; i < plan->nlosses; i++) {
        const struct plan_loss *l = &plan->losses[i];
        int64_t lost = 0;
        int64_t found = (int64_t)l->nreplaced;
        for (size_t k = 0; k < plan->nplacements; k++) {
            for (size_t j = 0; j < l->nlost; j++) {
                lost += sk_str_eq(plan->placements[k].site, l->lost[j]);
            }
        }
        for (size_t k = 0; k < l->nshorts; k++) {
            found += l->shorts[k].replicas;
        }
        assert_int_equal(lost, found);
    }
    free(left);
}

struct plan *mk_plan(struct mk *m, const struct plan *current)
{
    struct sk_err err = {0};
    struct plan *plan = NULL;
    struct plan_input *in = mk_input(m);
    in->current = current;
    assert_int_equal(plan_make(in, &plan, &err), 0);
    check_plan(m, plan);
    return plan;
}

int64_t plan_count(const struct plan *plan, const char *service, const char *place, bool node)
{
    int64_t n = 0;
    for (size_t i = 0; i < plan->nplacements; i++) {
        const struct plan_placement *p = &plan->placements[i];
        n += sk_str_is(p->service, service) && sk_str_is(node ? p->node : p->site, place);
    }
    return n;
}

const struct plan_loss *plan_row(const struct plan *plan, const char *site)
{
    for (size_t i = 0; i < plan->nlosses; i++) {
        if (plan->losses[i].nlost == 1 && sk_str_is(plan->losses[i].lost[0], site)) {
            return &plan->losses[i];
        }
    }
    fail_msg("no row for site '%s'", site);
    return NULL;
}

const struct plan_problem *plan_problem_of(const struct plan *plan, const char *code)
{
    for (size_t i = 0; i < plan->nproblems; i++) {
        if (sk_str_is(plan->problems[i].code, code)) {
            return &plan->problems[i];
        }
    }
    return NULL;
}

bool plan_warns(const struct plan *plan, const char *code, const char *service)
{
    for (size_t i = 0; i < plan->nwarnings; i++) {
        if (sk_str_is(plan->warnings[i].code, code) &&
            sk_str_is(plan->warnings[i].service, service)) {
            return true;
        }
    }
    return false;
}
