/* SPDX-License-Identifier: Apache-2.0 */
#include "tiny_plan.h"

#include <math.h>

/* The index in a name like "n3" of one of `count` things, or -1. */
static int numbered(struct sk_str name, char letter, int count)
{
    int i;

    if (name.len != 2 || name.ptr[0] != letter) {
        return -1;
    }
    i = name.ptr[1] - '0';
    return i >= 0 && i < count ? i : -1;
}

/* A service of the project, or -1. */
static int service_of(const struct tiny *t, struct sk_str project, struct sk_str service)
{
    return sk_str_is(project, "p") ? numbered(service, 'v', t->nservices) : -1;
}

static const char *place(const struct tiny *t, const struct plan_placement *p,
                         int at[][REPLICAS_MAX], int *last)
{
    int i = service_of(t, p->project, p->service);
    int n = numbered(p->node, 'n', t->nnodes);
    int s = numbered(p->site, 's', t->nsites);

    if (i < 0 || n < 0 || s < 0 || p->replica < 0 || p->replica >= t->services[i].replicas) {
        return "a placement names what is not there";
    }
    if (t->nodes[n].site != s || !tiny_allowed(t, i, n)) {
        return "a placement is not allowed";
    }
    if (i * REPLICAS_MAX + (int)p->replica <= *last) {
        return "placements are out of order or twice";
    }
    *last = i * REPLICAS_MAX + (int)p->replica;
    at[i][p->replica] = n;
    return NULL;
}

static bool lost_site(const struct tiny *t, unsigned lost, int node)
{
    return node >= 0 && (lost >> t->nodes[node].site & 1);
}

static const char *read_homes(const struct tiny *t, const struct plan *plan, struct tiny_state *st)
{
    int last = -1, free[NODES_MAX][3];

    for (size_t k = 0; k < plan->nplacements; k++) {
        const char *wrong = place(t, &plan->placements[k], st->home, &last);

        if (wrong) {
            return wrong;
        }
    }
    for (int i = 0; i < t->nservices; i++) {
        int count[NODES_MAX] = {0};

        for (int r = 0; r < t->services[i].replicas; r++) {
            if (st->home[i][r] < 0) {
                return "a replica is missing";
            }
            count[st->home[i][r]]++;
        }
        if (!tiny_alone(t, i, count)) {
            return "a service breaks a rule of its own";
        }
    }
    st->masks[0] = 0; /* a row in which nothing is lost */
    tiny_room(t, st, 0, true, free);
    for (int n = 0; n < t->nnodes; n++) {
        if (free[n][0] < 0 || free[n][1] < 0 || free[n][2] < 0) {
            return "a node is too full";
        }
    }
    return NULL;
}

static const char *read_rows(const struct tiny *t, const struct plan *plan, struct tiny_state *st)
{
    bool pairs = false;

    for (size_t k = 0; k < plan->nlosses; k++) {
        pairs = pairs || plan->losses[k].nlost == 2;
    }
    st->nrows = tiny_rows(t, pairs && t->nsites > 1, st->masks);
    if ((size_t)st->nrows != plan->nlosses) {
        return "rows are missing or too many";
    }
    for (int row = 0; row < st->nrows; row++) {
        const struct plan_loss *loss = &plan->losses[row];
        unsigned mask = 0;
        int last = -1;

        for (size_t k = 0; k < loss->nlost; k++) {
            int s = numbered(loss->lost[k], 's', t->nsites);

            if (s <= last) {
                return "a row names sites wrongly";
            }
            last = s;
            mask |= 1u << s;
        }
        if (mask != st->masks[row]) {
            return "a row is missing";
        }
        last = -1;
        for (size_t k = 0; k < loss->nreplaced; k++) {
            const struct plan_placement *p = &loss->replaced[k];
            const char *wrong = place(t, p, st->back[row], &last);

            if (wrong) {
                return wrong;
            }
            if (!lost_site(t, mask, st->home[last / REPLICAS_MAX][p->replica]) ||
                lost_site(t, mask, st->back[row][last / REPLICAS_MAX][p->replica])) {
                return "re-placed what was not lost, or onto what is";
            }
        }
    }
    return NULL;
}

static const char *check_short(const struct tiny *t, const struct tiny_state *st, int row,
                               const struct plan_short *sh, int i)
{
    static const char *const names[] = {"cpus", "memory", "disk"};
    int free[NODES_MAX][3], whole[NODES_MAX][3];
    bool left = false, reason = false;

    if (i < 0 || sh->replicas < 1 || sh->asked != tiny_asked(t, i, st->masks[row])) {
        return "a short row is wrong";
    }
    tiny_room(t, st, row, true, whole);
    tiny_room(t, st, row, !sh->asked, free);
    for (int n = 0; n < t->nnodes; n++) {
        bool room = true;

        if (lost_site(t, st->masks[row], n) || !tiny_allowed(t, i, n)) {
            continue;
        }
        left = true;
        for (int k = 0; k < 3; k++) {
            room = room && !tiny_lacks(t, i, free[n], k);
            reason = reason || (sk_str_is(sh->resource, names[k]) &&
                                (tiny_lacks(t, i, free[n], k) || tiny_lacks(t, i, whole[n], k)));
        }
        if (room) {
            return "short where there is room";
        }
    }
    reason = reason || (!left && sk_str_is(sh->resource, "node")) ||
             (sk_str_is(sh->resource, "rps") && t->services[i].rps > 0);
    return reason ? NULL : "short of the wrong thing";
}

static const char *check_room(const struct tiny *t, const struct tiny_state *st, int row,
                              const struct plan_loss *loss)
{
    int free[NODES_MAX][3], shorts[SERVICES_MAX] = {0}, last = -1;

    tiny_room(t, st, row, true, free);
    for (int n = 0; n < t->nnodes; n++) {
        if (!(st->masks[row] >> t->nodes[n].site & 1) &&
            (free[n][0] < 0 || free[n][1] < 0 || free[n][2] < 0)) {
            return "a node is too full after a loss";
        }
    }
    for (size_t k = 0; k < loss->nshorts; k++) {
        int i = service_of(t, loss->shorts[k].project, loss->shorts[k].service);
        const char *wrong = check_short(t, st, row, &loss->shorts[k], i);

        if (wrong || i < last) {
            return wrong ? wrong : "short rows are out of order";
        }
        last = i;
        shorts[i] += (int)loss->shorts[k].replicas;
    }
    for (int i = 0; i < t->nservices; i++) {
        for (int r = 0; r < t->services[i].replicas; r++) {
            shorts[i] -= lost_site(t, st->masks[row], st->home[i][r]) && st->back[row][i][r] < 0;
        }
        if (shorts[i] != 0) {
            return "lost is not replaced + short";
        }
    }
    return NULL;
}

static bool near_to(struct plan_maybe a, struct plan_maybe b)
{
    return a.known == b.known &&
           (!a.known || fabs(a.value - b.value) <= 1e-9 * fmax(fabs(a.value), 1e-3));
}

static const char *compare_cost(const struct plan_cost *a, const struct plan_cost *b)
{
    if (!sk_str_eq(a->currency, b->currency) || !near_to(a->hour, b->hour) ||
        !near_to(a->month, b->month) || !near_to(a->servers_hour, b->servers_hour)) {
        return "cost is wrong";
    }
    if (a->nidle != b->nidle) {
        return "idle is wrong";
    }
    for (size_t i = 0; i < a->nidle; i++) {
        if (!sk_str_eq(a->idle[i], b->idle[i])) {
            return "idle is wrong";
        }
    }
    if (a->hour.known && (!b->lower_bound_hour.known || !b->gap.known)) {
        return "no bound";
    }
    if (!a->hour.known) {
        return b->lower_bound_hour.known != b->gap.known ? "a bound or a gap alone" : NULL;
    }
    if (b->lower_bound_hour.value < 0 ||
        b->lower_bound_hour.value > a->hour.value * (1 + 1e-9) + 1e-12) {
        return "the bound is above the cost";
    }
    if (a->hour.value > 0 &&
        fabs((a->hour.value - b->lower_bound_hour.value) / a->hour.value - b->gap.value) > 1e-9) {
        return "the gap is wrong";
    }
    return a->hour.value > 0 || fabs(b->gap.value) < 1e-9 ? NULL : "the gap is wrong";
}

static const char *compare_latency(const struct plan_latency *a, size_t na,
                                   const struct plan_latency *b, size_t nb)
{
    if (na != nb) {
        return "latency rows are missing or too many";
    }
    for (size_t i = 0; i < na; i++) {
        if (!sk_str_eq(a[i].project, b[i].project) || !sk_str_eq(a[i].service, b[i].service) ||
            !near_to(a[i].ms, b[i].ms) || !near_to(a[i].ms_at_once, b[i].ms_at_once) ||
            fabs(a[i].share - b[i].share) > 1e-9) {
            return "a latency row is wrong";
        }
    }
    return NULL;
}

static const char *compare_kept(const struct plan_loss *a, const struct plan_loss *b)
{
    if (a->nkept != b->nkept) {
        return "kept rows are missing or too many";
    }
    for (size_t i = 0; i < a->nkept; i++) {
        if (!sk_str_eq(a->kept[i].project, b->kept[i].project) ||
            !sk_str_eq(a->kept[i].service, b->kept[i].service) ||
            a->kept[i].count != b->kept[i].count) {
            return "a kept row is wrong";
        }
    }
    return NULL;
}

static const char *compare_losses(const struct tiny *t, const struct tiny_state *st,
                                  const struct plan *want, const struct plan *plan)
{
    for (int row = 0; row < st->nrows; row++) {
        const struct plan_loss *a = &want->losses[row], *b = &plan->losses[row];
        const char *wrong = check_room(t, st, row, b);

        wrong = wrong ? wrong : compare_kept(a, b);
        wrong = wrong ? wrong : compare_latency(a->latency, a->nlatency, b->latency, b->nlatency);
        if (wrong) {
            return wrong;
        }
        if (a->ok != b->ok || !b->control_kept) {
            return "ok or control is wrong";
        }
        if (!a->ok) {
            return "a service does not survive what it asked to";
        }
        if (!b->added_cost_hour.known && !want->cost.hour.known) {
            continue; /* of an unknown cost, what a loss adds may be unknown too */
        }
        if (a->added_cost_hour.known != b->added_cost_hour.known ||
            (a->added_cost_hour.known &&
             fabs(a->added_cost_hour.value - b->added_cost_hour.value) > 1e-9)) {
            return "added cost is wrong";
        }
    }
    return NULL;
}

static const char *compare_node_row(const struct tiny *t, const struct tiny_state *st,
                                    const struct plan_loss *row)
{
    unsigned mask = 0;
    int last = -1;
    size_t at = 0;
    bool asked = false, ok = true;

    for (size_t k = 0; k < row->nlost; k++) {
        int n = numbered(row->lost[k], 'n', t->nnodes);

        if (n <= last || t->nodes[n].drained || t->sites[t->nodes[n].site].drained) {
            return "a node row names nodes wrongly";
        }
        last = n;
        mask |= 1u << n;
    }
    for (int i = 0; i < t->nservices; i++) {
        int kept = 0;

        asked = asked || (row->nlost > 0 && tiny_survive_nodes(t, i) == tiny_bits(mask));
        for (int r = 0; r < t->services[i].replicas; r++) {
            kept += !(mask >> st->home[i][r] & 1);
        }
        ok = ok && !(tiny_keep_hard_nodes(t, i) && t->services[i].nodes >= tiny_bits(mask) &&
                     kept < t->services[i].keep);
        for (size_t k = 0; k < row->nkept; k++) {
            if (service_of(t, row->kept[k].project, row->kept[k].service) == i) {
                if (kept == t->services[i].replicas || row->kept[k].count != kept) {
                    return "a node row keeps wrongly";
                }
                at++;
                kept = t->services[i].replicas; /* once */
            }
        }
        if (kept < t->services[i].replicas) {
            return "a node row does not list one that lost";
        }
    }
    return at == row->nkept && asked && ok == row->ok ? NULL : "a node row is wrong";
}

static const char *compare_node_losses(const struct tiny *t, const struct tiny_state *st,
                                       const struct plan *want, const struct plan *plan)
{
    if (want->node_losses.checked != plan->node_losses.checked ||
        want->node_losses.ok != plan->node_losses.ok || plan->node_losses.nworst > 10) {
        return "node losses are wrong";
    }
    for (size_t k = 0; k < plan->node_losses.nworst; k++) {
        const char *wrong = compare_node_row(t, st, &plan->node_losses.worst[k]);

        if (wrong) {
            return wrong;
        }
    }
    return NULL;
}

static const char *compare_bucket(const struct tiny *t, const struct plan *want,
                                  const struct plan *plan)
{
    const struct plan_bucket *a = want->buckets, *b = plan->buckets;
    int sum = 0, worst = 0, last = -1;
    bool written;

    if (want->nbuckets != plan->nbuckets) {
        return "buckets are missing or too many";
    }
    if (plan->nbuckets == 0) {
        return NULL;
    }
    if (!sk_str_eq(a->project, b->project) || !sk_str_eq(a->bucket, b->bucket) ||
        a->data != b->data || a->parity != b->parity) {
        return "a bucket's code is wrong";
    }
    for (size_t k = 0; k < b->nshards; k++) {
        int s = numbered(b->shards[k].site, 's', t->nsites), disks = 0;

        if (s <= last || !tiny_bucket_site(t, s) || b->shards[k].count < 1) {
            return "a shard is where it may not be";
        }
        last = s;
        for (int n = 0; n < t->nnodes; n++) {
            disks += t->nodes[n].site == s && t->nodes[n].disk > 0 && !t->nodes[n].drained;
        }
        if (b->shards[k].count > disks) {
            return "more shards than nodes";
        }
        sum += (int)b->shards[k].count;
    }
    for (unsigned m = 0; m < 1u << b->nshards; m++) {
        int gone = 0;

        for (size_t k = 0; k < b->nshards; k++) {
            gone += m >> k & 1 ? (int)b->shards[k].count : 0;
        }
        worst = tiny_bits(m) <= tiny_bucket_f(t, &written) && gone > worst ? gone : worst;
    }
    (void)tiny_bucket_f(t, &written);
    return sum != b->data + b->parity          ? "shards do not add up"
           : worst > (int)b->parity && written ? "a bucket does not survive"
                                               : NULL;
}

static bool warned(const struct plan *plan, const char *name)
{
    for (size_t k = 0; k < plan->nwarnings; k++) {
        if (sk_str_is(plan->warnings[k].code, "goal_unmet") &&
            sk_str_is(plan->warnings[k].project, "p") &&
            sk_str_is(plan->warnings[k].service, name)) {
            return true;
        }
    }
    return false;
}

static const char *check_warnings(const struct tiny *t, const struct tiny_state *st,
                                  const struct plan *plan)
{
    bool bucket = plan->nbuckets > 0 && tiny_bucket_goal_unmet(t, &plan->buckets[0]);
    size_t right = 0, all = 0;

    for (int i = 0; i < t->nservices; i++) {
        char name[16];

        tiny_service_name(i, name);
        if (tiny_goal_unmet(t, st, i) != warned(plan, name)) {
            return "a goal's warning is missing or false";
        }
    }
    if (bucket && !warned(plan, "b") && !warned(plan, "")) {
        return "a bucket's warning is missing";
    }
    for (size_t k = 0; k < plan->nwarnings; k++) {
        const struct plan_warning *w = &plan->warnings[k];

        if (w->code.len == 0 || w->text.len == 0) {
            return "a warning says nothing";
        }
        if (sk_str_is(w->code, "goal_unmet")) {
            all++;
            right += service_of(t, w->project, w->service) >= 0 ||
                     (bucket && sk_str_is(w->project, "p") &&
                      (sk_str_is(w->service, "b") || w->service.len == 0));
        }
    }
    return right == all ? NULL : "a warning names what has no unmet goal";
}

static const char *check_moves(const struct tiny *t, const struct tiny_state *st,
                               const struct plan *plan)
{
    for (size_t k = 0; k < plan->nmoves; k++) {
        const struct plan_move *m = &plan->moves[k];
        int i = service_of(t, m->project, m->service);

        if (i < 0 || m->replica < 0 || m->replica >= t->services[i].replicas ||
            numbered(m->to, 'n', t->nnodes) != st->home[i][m->replica] ||
            sk_str_eq(m->from, m->to)) {
            return "a move is wrong";
        }
        for (size_t j = 0; j < k; j++) {
            if (sk_str_eq(plan->moves[j].service, m->service) &&
                plan->moves[j].replica == m->replica) {
                return "a replica moves twice";
            }
        }
    }
    return NULL;
}

const char *tiny_check(const struct tiny *t, const struct plan *plan)
{
    struct tiny_state st;
    struct plan *want;
    const char *wrong;

    memset(&st, 0xff, sizeof(st));
    if (!plan_id_matches(plan)) {
        return "the id is wrong";
    }
    if (plan->verdict != PLAN_OK || plan->nproblems > 0) {
        return "not ok";
    }
    wrong = read_homes(t, plan, &st);
    wrong = wrong ? wrong : read_rows(t, plan, &st);
    if (wrong) {
        return wrong;
    }
    want = tiny_fill(t, &st);
    wrong = compare_cost(&want->cost, &plan->cost);
    wrong = wrong ? wrong
                  : compare_latency(want->latency, want->nlatency, plan->latency, plan->nlatency);
    wrong = wrong ? wrong : compare_losses(t, &st, want, plan);
    wrong = wrong ? wrong : compare_node_losses(t, &st, want, plan);
    wrong = wrong ? wrong : compare_bucket(t, want, plan);
    wrong = wrong ? wrong : check_warnings(t, &st, plan);
    wrong = wrong ? wrong : check_moves(t, &st, plan);
    plan_free(want);
    return wrong;
}
