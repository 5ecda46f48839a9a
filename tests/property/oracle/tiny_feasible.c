/* SPDX-License-Identifier: Apache-2.0 */
#include "tiny.h"

#include "base/mem.h"

/*
 * The oracle: is there any placement that obeys every hard rule?
 *
 * A service's possible counts per node are listed and those that break a rule of its own are
 * dropped (tiny_alone). Services are then combined, the one with the fewest choices first, by
 * depth-first search. Capacity and room after a loss only get worse as services are added, so both
 * are checked after each one and cut the search; room after a loss is itself searched exhaustively.
 * Nothing is guessed: the answer is exact unless the number of steps runs out, and then it says so.
 */
struct choice {
    int count[NODES_MAX];
};

struct search {
    const struct tiny *t;
    long steps;
    struct choice *choices[SERVICES_MAX];
    int nchoices[SERVICES_MAX], cap[SERVICES_MAX];
    int order[SERVICES_MAX];
    int free_cpus[NODES_MAX], free_memory[NODES_MAX], free_disk[NODES_MAX];
    struct tiny_answer *answer;
};

static void list_choices(struct search *q, int service, int node, int left, struct choice *c)
{
    const struct tiny *t = q->t;
    const struct tiny_service *s = &t->services[service];

    if (node == t->nnodes) {
        if (left == 0 && tiny_alone(t, service, c->count)) {
            SK_GROW(q->choices[service], q->nchoices[service], q->cap[service]);
            q->choices[service][q->nchoices[service]++] = *c;
        }
        return;
    }
    for (int take = 0; take <= left; take++) {
        const struct tiny_node *n = &t->nodes[node];

        if (take > 0 && (!tiny_allowed(t, service, node) || take * s->cpus > n->cpus ||
                         take * s->memory > n->memory || take * s->disk > n->disk)) {
            break;
        }
        c->count[node] = take;
        list_choices(q, service, node + 1, left - take, c);
    }
    c->count[node] = 0;
}

static void take(struct search *q, int service, int node, int replicas)
{
    const struct tiny_service *s = &q->t->services[service];

    q->free_cpus[node] -= replicas * s->cpus;
    q->free_memory[node] -= replicas * s->memory;
    q->free_disk[node] -= replicas * s->disk;
}

static bool fits(const struct search *q, int service, int node, int replicas)
{
    const struct tiny_service *s = &q->t->services[service];

    return replicas * s->cpus <= q->free_cpus[node] &&
           replicas * s->memory <= q->free_memory[node] && replicas * s->disk <= q->free_disk[node];
}

static bool refit_from(struct search *q, unsigned lost, int at, int placed);

/* Distributes `left` replicas of the service that is `at` in the order over nodes >= `node`. */
static bool refit_service(struct search *q, unsigned lost, int at, int placed, int node, int left)
{
    const struct tiny *t = q->t;
    int i = q->order[at];
    const struct tiny_service *s = &t->services[i];

    if (--q->steps < 0) {
        return false;
    }
    if (left == 0) {
        unsigned holding = tiny_holding(t, q->answer->count[i]) & ~lost;

        for (int n = node; n < t->nnodes; n++) {
            q->answer->back[lost][i][n] = 0;
        }
        if (s->latency && s->after >= 0 && holding == 0 && s->replicas > 0) {
            holding = tiny_holding(t, q->answer->back[lost][i]);
            if (tiny_share(t, holding, s->after) < s->share - 1e-9) {
                return false;
            }
        }
        return refit_from(q, lost, at + 1, placed);
    }
    if (node == t->nnodes) {
        return false;
    }
    for (int n = 0; n <= left; n++) {
        bool found;

        if (n > 0 && ((lost >> t->nodes[node].site & 1) || !tiny_allowed(t, i, node) ||
                      !fits(q, i, node, n))) {
            return false;
        }
        q->answer->back[lost][i][node] = n;
        take(q, i, node, n);
        found = refit_service(q, lost, at, placed, node + 1, left - n);
        take(q, i, node, -n);
        if (found) {
            return true;
        }
    }
    return false;
}

static bool refit_from(struct search *q, unsigned lost, int at, int placed)
{
    const struct tiny *t = q->t;
    int gone = 0;

    if (at == placed) {
        return true;
    }
    memset(q->answer->back[lost][q->order[at]], 0, sizeof(q->answer->back[lost][q->order[at]]));
    for (int n = 0; n < t->nnodes; n++) {
        if (lost >> t->nodes[n].site & 1) {
            gone += q->answer->count[q->order[at]][n];
        }
    }
    if (!tiny_asked(t, q->order[at], lost)) {
        return refit_from(q, lost, at + 1, placed);
    }
    return refit_service(q, lost, at, placed, 0, gone);
}

static bool survives(struct search *q, int placed)
{
    for (unsigned lost = 1; lost < 1u << q->t->nsites; lost++) {
        if (!refit_from(q, lost, 0, placed)) {
            return false;
        }
    }
    return true;
}

static bool place_from(struct search *q, int at)
{
    const struct tiny *t = q->t;
    int i;

    if (at == t->nservices) {
        return true;
    }
    i = q->order[at];
    for (int c = 0; c < q->nchoices[i] && q->steps >= 0; c++) {
        const struct choice *choice = &q->choices[i][c];
        bool room = true, found = false;

        q->steps--;
        for (int n = 0; n < t->nnodes; n++) {
            room = room && fits(q, i, n, choice->count[n]);
        }
        if (!room) {
            continue;
        }
        for (int n = 0; n < t->nnodes; n++) {
            take(q, i, n, choice->count[n]);
            q->answer->count[i][n] = choice->count[n];
        }
        found = survives(q, at + 1) && place_from(q, at + 1);
        if (found) {
            return true;
        }
        for (int n = 0; n < t->nnodes; n++) {
            take(q, i, n, -choice->count[n]);
            q->answer->count[i][n] = 0;
        }
    }
    return false;
}

static void fewest_first(struct search *q)
{
    for (int i = 0; i < q->t->nservices; i++) {
        int at = i;

        while (at > 0 && q->nchoices[q->order[at - 1]] > q->nchoices[i]) {
            q->order[at] = q->order[at - 1];
            at--;
        }
        q->order[at] = i;
    }
}

void tiny_solve(const struct tiny *t, long steps_max, struct tiny_answer *ret)
{
    struct search q = {.t = t, .steps = steps_max, .answer = ret};
    bool possible = true;

    memset(ret, 0, sizeof(*ret));
    for (int n = 0; n < t->nnodes; n++) {
        q.free_cpus[n] = t->nodes[n].cpus;
        q.free_memory[n] = t->nodes[n].memory;
        q.free_disk[n] = t->nodes[n].disk;
    }
    for (int i = 0; i < t->nservices; i++) {
        struct choice c = {{0}};

        list_choices(&q, i, 0, t->services[i].replicas, &c);
        possible = possible && q.nchoices[i] > 0;
    }
    possible = possible && (!t->bucket.present || tiny_bucket_possible(t));
    fewest_first(&q);
    ret->feasible = possible && place_from(&q, 0);
    ret->decided = ret->feasible || q.steps >= 0;
    for (int i = 0; i < t->nservices; i++) {
        free(q.choices[i]);
    }
}
