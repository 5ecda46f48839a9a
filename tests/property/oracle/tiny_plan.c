/* SPDX-License-Identifier: Apache-2.0 */
#include "tiny_plan.h"

#include <math.h>

/*
 * A whole plan around a placement: what follows from where the replicas are, by brute force. The
 * check (tiny_check.c) makes the same plan again from the placements and re-placements that it
 * finds in a plan, and compares.
 */
int tiny_rows(const struct tiny *t, bool pairs, unsigned *ret_masks)
{
    int deepest = 1, count = 0;

    for (int i = 0; i < t->nservices; i++) {
        bool written;
        int f = tiny_survive_sites(t, i, &written);

        deepest = written && f > deepest ? f : deepest;
    }
    if (pairs && deepest < 2) {
        deepest = 2;
    }
    /* by size, then by name: bit 0 is the first name, so the set with the lowest differing site
     * comes first */
    for (int size = 1; size <= deepest && size <= t->nsites; size++) {
        for (unsigned code = 1u << t->nsites; code-- > 0;) {
            unsigned mask = 0;

            for (int s = 0; s < t->nsites; s++) {
                mask |= (code >> (t->nsites - 1 - s) & 1) << s;
            }
            if (tiny_bits(mask) == size) {
                ret_masks[count++] = mask;
            }
        }
    }
    return count;
}

static bool lost_node(const struct tiny *t, unsigned lost, int node)
{
    return node >= 0 && (lost >> t->nodes[node].site & 1);
}

static struct sk_str service_name(struct plan *plan, int i)
{
    char name[16];

    tiny_service_name(i, name);
    return sk_arena_str(plan->arena, sk_str(name));
}

static struct sk_str site_name(struct plan *plan, int s)
{
    char name[16];

    tiny_site_name(s, name);
    return sk_arena_str(plan->arena, sk_str(name));
}

static struct sk_str node_name(struct plan *plan, int n)
{
    char name[16];

    tiny_node_name(n, name);
    return sk_arena_str(plan->arena, sk_str(name));
}

static struct plan_placement placement(const struct tiny *t, struct plan *plan, int i, int r, int n)
{
    return (struct plan_placement){SK_STR("p"), service_name(plan, i), r,
                                   site_name(plan, t->nodes[n].site), node_name(plan, n)};
}

static void counts(const struct tiny *t, const int *at, int replicas, int *ret_count)
{
    memset(ret_count, 0, NODES_MAX * sizeof(*ret_count));
    for (int r = 0; r < replicas; r++) {
        if (at[r] >= 0) {
            ret_count[at[r]]++;
        }
    }
}

static struct plan_maybe maybe(double value)
{
    return (struct plan_maybe){value >= 0, value >= 0 ? value : 0};
}

static void fill_cost(const struct tiny *t, const struct tiny_state *st, struct plan *plan)
{
    struct plan_cost *cost = &plan->cost;
    double hour = 0, servers = 0;
    bool used[NODES_MAX] = {false};

    for (int i = 0; i < t->nservices; i++) {
        int count[NODES_MAX];
        double c;

        counts(t, st->home[i], t->services[i].replicas, count);
        c = tiny_cost(t, i, count);
        hour = c < 0 || hour < 0 ? -1 : hour + c;
        for (int n = 0; n < t->nnodes; n++) {
            used[n] = used[n] || count[n] > 0;
        }
    }
    cost->currency = SK_STR("EUR");
    cost->hour = maybe(hour);
    cost->month = maybe(hour < 0 ? -1 : hour * 730);
    cost->idle = SK_ARENA_ARRAY(plan->arena, struct sk_str, NODES_MAX);
    for (int n = 0; n < t->nnodes; n++) {
        const struct tiny_node *node = &t->nodes[n];

        if (used[n]) {
            servers = node->price < 0 || servers < 0 ? -1 : servers + node->price;
        } else if (!node->drained && !t->sites[node->site].drained &&
                   t->sites[node->site].trust == SITE_FULL) {
            cost->idle[cost->nidle++] = node_name(plan, n);
        }
    }
    cost->servers_hour = maybe(servers);
    cost->lower_bound_hour = maybe(hour < 0 ? -1 : hour * 0.75);
    cost->gap = maybe(hour < 0 ? -1 : hour > 0 ? 0.25 : 0);
}

static double within(const struct tiny *t, unsigned holding, double bound)
{
    return holding == 0 ? 0 : tiny_share(t, holding, bound);
}

static void fill_latency(const struct tiny *t, const struct tiny_state *st, struct plan *plan)
{
    plan->latency = SK_ARENA_ARRAY(plan->arena, struct plan_latency, SERVICES_MAX);
    for (int i = 0; i < t->nservices; i++) {
        const struct tiny_service *s = &t->services[i];
        int count[NODES_MAX];
        unsigned holding;

        if (!s->latency) {
            continue;
        }
        counts(t, st->home[i], s->replicas, count);
        holding = tiny_holding(t, count);
        plan->latency[plan->nlatency++] = (struct plan_latency){
            .project = SK_STR("p"),
            .service = service_name(plan, i),
            .ms = maybe(tiny_percentile(t, holding, s->share)),
            .share = within(t, holding, s->ms < 0 ? INFINITY : s->ms),
        };
    }
}

void tiny_room(const struct tiny *t, const struct tiny_state *st, int row, bool all, int free[][3])
{
    for (int n = 0; n < t->nnodes; n++) {
        free[n][0] = t->nodes[n].cpus;
        free[n][1] = t->nodes[n].memory;
        free[n][2] = t->nodes[n].disk;
    }
    for (int i = 0; i < t->nservices; i++) {
        for (int r = 0; r < t->services[i].replicas; r++) {
            int n = st->home[i][r];

            if (lost_node(t, st->masks[row], n)) {
                n = all || tiny_asked(t, i, st->masks[row]) ? st->back[row][i][r] : -1;
            }
            if (n >= 0) {
                free[n][0] -= t->services[i].cpus;
                free[n][1] -= t->services[i].memory;
                free[n][2] -= t->services[i].disk;
            }
        }
    }
}

/* Whether the resource (0 cpus, 1 memory, 2 disk) is what a node lacks for one more. */
bool tiny_lacks(const struct tiny *t, int service, const int *free, int resource)
{
    const struct tiny_service *s = &t->services[service];
    int need[3] = {s->cpus, s->memory, s->disk};

    return need[resource] > free[resource];
}

/* Replicas of others, as far as room is left: first fit, again and again. */
void tiny_greedy(const struct tiny *t, struct tiny_state *st, int row)
{
    for (int i = 0; i < t->nservices; i++) {
        for (int r = 0; r < t->services[i].replicas; r++) {
            int free[NODES_MAX][3];

            if (tiny_asked(t, i, st->masks[row]) || !lost_node(t, st->masks[row], st->home[i][r])) {
                continue;
            }
            tiny_room(t, st, row, true, free);
            for (int n = 0; n < t->nnodes && st->back[row][i][r] < 0; n++) {
                if (!lost_node(t, st->masks[row], n) && tiny_allowed(t, i, n) &&
                    !tiny_lacks(t, i, free[n], 0) && !tiny_lacks(t, i, free[n], 1) &&
                    !tiny_lacks(t, i, free[n], 2)) {
                    st->back[row][i][r] = n;
                }
            }
        }
    }
}

static const char *short_of(const struct tiny *t, const struct tiny_state *st, int row, int i)
{
    static const char *const names[] = {"cpus", "memory", "disk"};
    int free[NODES_MAX][3];

    tiny_room(t, st, row, !tiny_asked(t, i, st->masks[row]), free);
    for (int n = 0; n < t->nnodes; n++) {
        for (int k = 0; k < 3; k++) {
            if (tiny_allowed(t, i, n) && !lost_node(t, st->masks[row], n) &&
                tiny_lacks(t, i, free[n], k)) {
                return names[k];
            }
        }
    }
    return "node";
}

static void fill_row_latency(const struct tiny *t, const struct tiny_state *st, int row, int i,
                             const int *kept, const int *after, struct plan *plan,
                             struct plan_loss *loss)
{
    const struct tiny_service *s = &t->services[i];
    unsigned at_once = tiny_holding(t, kept), later = tiny_holding(t, after);
    double bound = s->after >= 0 && tiny_asked(t, i, st->masks[row]) ? s->after
                   : s->ms < 0                                       ? INFINITY
                                                                     : s->ms;
    double share = within(t, at_once ? at_once : later, bound);

    if (!s->latency) {
        return;
    }
    loss->latency[loss->nlatency++] = (struct plan_latency){
        .project = SK_STR("p"),
        .service = service_name(plan, i),
        .ms_at_once = maybe(tiny_percentile(t, at_once, s->share)),
        .ms = maybe(tiny_percentile(t, later, s->share)),
        .share = share,
    };
    if (tiny_asked(t, i, st->masks[row]) && s->after >= 0 && s->replicas > 0 &&
        share < s->share - 1e-9) {
        loss->ok = false;
    }
}

/* One service in one row. Returns what it costs more, NAN if unknown. */
static double fill_row_service(const struct tiny *t, const struct tiny_state *st, int row, int i,
                               struct plan *plan, struct plan_loss *loss)
{
    const struct tiny_service *s = &t->services[i];
    int home[NODES_MAX], kept[NODES_MAX] = {0}, after[NODES_MAX] = {0};
    int nlost = 0, nback = 0;
    double a, b;

    counts(t, st->home[i], s->replicas, home);
    for (int r = 0; r < s->replicas; r++) {
        int n = st->home[i][r], to = st->back[row][i][r];

        if (!lost_node(t, st->masks[row], n)) {
            kept[n]++;
            after[n]++;
            continue;
        }
        nlost++;
        if (to >= 0) {
            loss->replaced[loss->nreplaced++] = placement(t, plan, i, r, to);
            after[to]++;
            nback++;
        }
    }
    fill_row_latency(t, st, row, i, kept, after, plan, loss);
    if (nlost == 0) {
        return 0;
    }
    loss->kept[loss->nkept++] =
        (struct plan_kept){SK_PROJECT, service_name(plan, i), s->replicas - nlost};
    if (nback < nlost) {
        loss->shorts[loss->nshorts++] =
            (struct plan_short){SK_PROJECT, service_name(plan, i), nlost - nback,
                                sk_str(short_of(t, st, row, i)), tiny_asked(t, i, st->masks[row])};
    }
    a = tiny_cost(t, i, home);
    b = tiny_cost(t, i, after);
    return a < 0 || b < 0 ? NAN : b - a;
}

static void fill_row(const struct tiny *t, const struct tiny_state *st, int row, struct plan *plan)
{
    struct plan_loss *loss = &plan->losses[row];
    double added = 0;

    loss->lost = SK_ARENA_ARRAY(plan->arena, struct sk_str, SITES_MAX);
    loss->kept = SK_ARENA_ARRAY(plan->arena, struct plan_kept, SERVICES_MAX);
    loss->replaced =
        SK_ARENA_ARRAY(plan->arena, struct plan_placement, SERVICES_MAX * REPLICAS_MAX + 1);
    loss->shorts = SK_ARENA_ARRAY(plan->arena, struct plan_short, SERVICES_MAX);
    loss->latency = SK_ARENA_ARRAY(plan->arena, struct plan_latency, SERVICES_MAX);
    loss->ok = loss->control_kept = true;
    for (int s = 0; s < t->nsites; s++) {
        if (st->masks[row] >> s & 1) {
            loss->lost[loss->nlost++] = site_name(plan, s);
        }
    }
    for (int i = 0; i < t->nservices; i++) {
        added += fill_row_service(t, st, row, i, plan, loss);
    }
    for (size_t k = 0; k < loss->nshorts; k++) {
        loss->ok = loss->ok && !loss->shorts[k].asked;
    }
    for (size_t k = 0; k < loss->nkept; k++) {
        int i = loss->kept[k].service.ptr[1] - '0';

        if (tiny_asked(t, i, st->masks[row]) && tiny_keep_hard_sites(t, i) &&
            loss->kept[k].count < t->services[i].keep) {
            loss->ok = false;
        }
    }
    for (int i = 0; i < t->nservices; i++) { /* keep above what there is, nothing lost */
        if (tiny_asked(t, i, st->masks[row]) && tiny_keep_hard_sites(t, i) &&
            t->services[i].keep > t->services[i].replicas) {
            loss->ok = false;
        }
    }
    loss->added_cost_hour = (struct plan_maybe){!isnan(added), isnan(added) ? 0 : added};
}

static bool usable(const struct tiny *t, int n)
{
    return !t->nodes[n].drained && !t->sites[t->nodes[n].site].drained;
}

static int kept_without(const struct tiny *t, const struct tiny_state *st, int i, unsigned nodes)
{
    int kept = 0;

    for (int r = 0; r < t->services[i].replicas; r++) {
        kept += !(nodes >> st->home[i][r] & 1);
    }
    return kept;
}

static void node_row(const struct tiny *t, const struct tiny_state *st, unsigned nodes,
                     struct plan *plan)
{
    struct plan_loss *row = &plan->node_losses.worst[plan->node_losses.nworst++];

    row->lost = SK_ARENA_ARRAY(plan->arena, struct sk_str, NODES_MAX);
    row->kept = SK_ARENA_ARRAY(plan->arena, struct plan_kept, SERVICES_MAX);
    row->ok = true;
    for (int n = 0; n < t->nnodes; n++) {
        if (nodes >> n & 1) {
            row->lost[row->nlost++] = node_name(plan, n);
        }
    }
    for (int i = 0; i < t->nservices; i++) {
        int kept = kept_without(t, st, i, nodes);

        if (kept < t->services[i].replicas) {
            row->kept[row->nkept++] = (struct plan_kept){SK_PROJECT, service_name(plan, i), kept};
        }
        if (tiny_keep_hard_nodes(t, i) && t->services[i].nodes >= tiny_bits(nodes) &&
            kept < t->services[i].keep) {
            row->ok = false;
        }
    }
}

static void fill_node_losses(const struct tiny *t, const struct tiny_state *st, struct plan *plan)
{
    plan->node_losses.ok = true;
    plan->node_losses.worst = SK_ARENA_ARRAY(plan->arena, struct plan_loss, 10);
    for (unsigned nodes = 1; nodes < 1u << t->nnodes; nodes++) {
        bool examined = false, within_use = true, fails = false;

        for (int n = 0; n < t->nnodes; n++) {
            within_use = within_use && (!(nodes >> n & 1) || usable(t, n));
        }
        for (int i = 0; i < t->nservices && within_use; i++) {
            if (tiny_survive_nodes(t, i) != tiny_bits(nodes)) {
                continue;
            }
            examined = true;
            fails = fails || (tiny_keep_hard_nodes(t, i) &&
                              kept_without(t, st, i, nodes) < t->services[i].keep);
        }
        plan->node_losses.checked += examined;
        plan->node_losses.ok = plan->node_losses.ok && !fails;
        if (examined && plan->node_losses.nworst < 3) {
            node_row(t, st, nodes, plan);
        }
    }
}

bool tiny_goal_unmet(const struct tiny *t, const struct tiny_state *st, int i)
{
    bool written;
    int f = tiny_survive_sites(t, i, &written), g = tiny_survive_nodes(t, i);
    const struct tiny_service *s = &t->services[i];

    for (unsigned lost = 1; lost < 1u << t->nsites; lost++) {
        int kept = 0;

        for (int r = 0; r < s->replicas; r++) {
            kept += !lost_node(t, lost, st->home[i][r]);
        }
        if (tiny_bits(lost) == (f < t->nsites ? f : t->nsites) && !tiny_keep_hard_sites(t, i) &&
            kept < tiny_keep(t, i)) {
            return true;
        }
    }
    for (int row = 0; row < st->nrows; row++) {
        for (int r = 0; r < s->replicas; r++) {
            if (!written && tiny_bits(st->masks[row]) <= f &&
                lost_node(t, st->masks[row], st->home[i][r]) && st->back[row][i][r] < 0) {
                return true;
            }
        }
    }
    for (unsigned nodes = 1; nodes < 1u << t->nnodes; nodes++) {
        if (tiny_bits(nodes) == g && !tiny_keep_hard_nodes(t, i) &&
            kept_without(t, st, i, nodes) < tiny_keep(t, i)) {
            return true;
        }
    }
    return false;
}

/* The least (k+m)/k, the larger k of equals; every k and m tried. */
static bool auto_code(const struct tiny *t, int f, int *ret_k, int *ret_m, int *ret_shards)
{
    bool found = false;

    for (int k = 8; k >= 1; k--) {
        for (int m = 0; m <= NODES_MAX; m++) {
            int shards[SITES_MAX];

            if (tiny_layout(t, k, m, f, shards) && (!found || m * *ret_k < *ret_m * k)) {
                *ret_k = k;
                *ret_m = m;
                memcpy(ret_shards, shards, sizeof(shards));
                found = true;
            }
        }
    }
    return found;
}

static void fill_bucket(const struct tiny *t, struct plan *plan)
{
    struct plan_bucket *b = SK_ARENA_NEW(plan->arena, struct plan_bucket);
    int k = t->bucket.data, m = t->bucket.parity, shards[SITES_MAX] = {0};
    bool written;
    int f = tiny_bucket_f(t, &written);

    if (t->bucket.data > 0) {
        if (!tiny_layout(t, k, m, f, shards)) {
            (void)tiny_layout(t, k, m, 0, shards); /* the goal cannot be met */
        }
    } else {
        (void)auto_code(t, f, &k, &m, shards);
    }
    *b = (struct plan_bucket){.project = SK_PROJECT, .bucket = SK_STR("b"), .data = k, .parity = m};
    b->shards = SK_ARENA_ARRAY(plan->arena, struct plan_shard_count, SITES_MAX);
    for (int s = 0; s < t->nsites; s++) {
        if (shards[s] > 0) {
            b->shards[b->nshards++] = (struct plan_shard_count){site_name(plan, s), shards[s]};
        }
    }
    plan->buckets = b;
    plan->nbuckets = 1;
}

/* Whether the bucket's default goal is missed by the shards of the plan. */
bool tiny_bucket_goal_unmet(const struct tiny *t, const struct plan_bucket *b)
{
    bool written;
    int f = tiny_bucket_f(t, &written);

    for (size_t i = 0; i < b->nshards && f == 1 && !written; i++) {
        if (b->shards[i].count > b->parity) {
            return true;
        }
    }
    return false;
}

static void fill_warnings(const struct tiny *t, const struct tiny_state *st, struct plan *plan)
{
    plan->warnings = SK_ARENA_ARRAY(plan->arena, struct plan_warning, SERVICES_MAX + 1);
    for (int i = 0; i < t->nservices; i++) {
        if (tiny_goal_unmet(t, st, i)) {
            plan->warnings[plan->nwarnings++] = (struct plan_warning){
                SK_STR("goal_unmet"), SK_PROJECT, service_name(plan, i), SK_STR("too few kept")};
        }
    }
    if (plan->nbuckets > 0 && tiny_bucket_goal_unmet(t, &plan->buckets[0])) {
        plan->warnings[plan->nwarnings++] = (struct plan_warning){
            SK_STR("goal_unmet"), SK_PROJECT, SK_STR("b"), SK_STR("a site holds too many shards")};
    }
}

struct plan *tiny_fill(const struct tiny *t, const struct tiny_state *st)
{
    struct plan *plan = plan_new();

    plan->verdict = PLAN_OK;
    plan->placements =
        SK_ARENA_ARRAY(plan->arena, struct plan_placement, SERVICES_MAX * REPLICAS_MAX + 1);
    for (int i = 0; i < t->nservices; i++) {
        for (int r = 0; r < t->services[i].replicas; r++) {
            plan->placements[plan->nplacements++] = placement(t, plan, i, r, st->home[i][r]);
        }
    }
    fill_cost(t, st, plan);
    fill_latency(t, st, plan);
    plan->losses = SK_ARENA_ARRAY(plan->arena, struct plan_loss, ROWS_MAX);
    for (int row = 0; row < st->nrows; row++) {
        fill_row(t, st, row, plan);
    }
    plan->nlosses = (size_t)st->nrows;
    fill_node_losses(t, st, plan);
    if (t->bucket.present) {
        fill_bucket(t, plan);
    }
    fill_warnings(t, st, plan);
    return plan;
}

/* Gives each lost replica of those that asked one of the places that the oracle found. */
static void hand_back(const struct tiny *t, const struct tiny_answer *a, struct tiny_state *st,
                      int row)
{
    for (int i = 0; i < t->nservices; i++) {
        int node = 0, used = 0;

        for (int r = 0; r < t->services[i].replicas; r++) {
            st->back[row][i][r] = -1;
            if (!lost_node(t, st->masks[row], st->home[i][r]) ||
                !tiny_asked(t, i, st->masks[row])) {
                continue;
            }
            while (used == a->back[st->masks[row]][i][node]) {
                node++;
                used = 0;
            }
            st->back[row][i][r] = node;
            used++;
        }
    }
}

struct plan *tiny_plan(const struct tiny *t, const struct tiny_answer *answer)
{
    struct tiny_state st;
    struct plan *plan;

    memset(&st, 0xff, sizeof(st));
    st.nrows = tiny_rows(t, false, st.masks);
    for (int i = 0; i < t->nservices; i++) {
        int r = 0;

        for (int n = 0; n < t->nnodes; n++) {
            for (int k = 0; k < answer->count[i][n]; k++) {
                st.home[i][r++] = n;
            }
        }
    }
    for (int row = 0; row < st.nrows; row++) {
        hand_back(t, answer, &st, row);
        tiny_greedy(t, &st, row);
    }
    plan = tiny_fill(t, &st);
    plan_seal(plan);
    return plan;
}
