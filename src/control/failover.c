/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "control/internal.h"

/*
 * Failover: replicas whose node is lost (or gone, or drained by force) get another place. The plan
 * in force stays what it is; the other places are an overlay on it, on record.
 *
 * In this order, for each displaced replica:
 *  1. where it runs already (a copy made by an earlier failover), there it stays;
 *  2. if the loss is one that the plan has a row for, the row is followed to the letter: what was
 *     promised is what happens, and no planning stands between the verdict and the new copies;
 *  3. else the planner is asked, with the policies that bind in a loss and every node that does not
 *     answer excluded; of its answer only the displaced replicas are taken, the others stay.
 *
 * Level-triggered: `stamp` changes with everything that could change the outcome, and a pass that
 * found nothing to do is not repeated until then. Nothing here stops or deletes anything.
 * What goes back when nothing is lost any more: return.c.
 */

bool ctl_fits(const struct ctl_node *n, int64_t cpus, int64_t memory, int64_t disk)
{
    return n->used_cpus + cpus <= n->cpus_nano && n->used_memory + memory <= n->memory_bytes &&
           n->used_disk + disk <= n->disk_bytes;
}

void ctl_count_used(struct control *c)
{
    for (size_t i = 0; i < c->nnodes; i++) {
        struct ctl_node *n = c->nodes[i];
        n->used_cpus = n->used_memory = n->used_disk = 0;
        for (size_t k = 0; k < n->ninsts; k++) {
            n->used_cpus += n->insts[k]->cpus_nano;
            n->used_memory += n->insts[k]->memory_bytes;
            n->used_disk += n->insts[k]->disk_bytes;
        }
    }
}

static void use(struct ctl_node *n, const struct service *decl)
{
    n->used_cpus += decl->cpus_nano;
    n->used_memory += decl->memory_bytes;
    n->used_disk += decl->disk_bytes;
}

static bool displaced(const struct ctl_node *n)
{
    return n == NULL || n->life == CTL_LOST || n->drained || n->site->drained || n->site->away;
}

static bool may_take(const struct ctl_node *n)
{
    return n != NULL && ctl_node_up(n) && !n->drained && !n->site->drained && !n->site->away &&
           n->site->trust == SITE_FULL;
}

/* One pass: the places that replicas have, and get. */
struct pass {
    struct ctl_node ***places; /* by service, by replica: the new place, or NULL */
    size_t found, left;        /* displaced replicas with and without a new place */
    struct sk_buf text;        /* for the event: the first few */
};

static void pass_init(struct control *c, struct pass *p)
{
    memset(p, 0, sizeof(*p));
    p->places = sk_xcalloc(c->nsvcs + 1, sizeof(*p->places));
    for (size_t i = 0; i < c->nsvcs; i++) {
        p->places[i] = sk_xcalloc(c->svcs[i]->nplace + 1, sizeof(struct ctl_node *));
    }
    /* what is meant to be where, so that new places do not overfill a node */
    for (size_t i = 0; i < c->nnodes; i++) {
        c->nodes[i]->used_cpus = c->nodes[i]->used_memory = c->nodes[i]->used_disk = 0;
    }
    for (size_t i = 0; i < c->nsvcs; i++) {
        struct ctl_svc *s = c->svcs[i];
        for (size_t r = 0; r < s->nplace; r++) {
            if (s->place[r].node != NULL) {
                use(s->place[r].node, s->decl);
            }
        }
    }
}

static void pass_release(struct control *c, struct pass *p)
{
    for (size_t i = 0; i < c->nsvcs; i++) {
        free(p->places[i]);
    }
    free(p->places);
    sk_buf_release(&p->text);
}

static void pass_give(struct control *c, struct pass *p, size_t svc, size_t replica,
                      struct ctl_node *n)
{
    const struct ctl_svc *s = c->svcs[svc];
    use(n, s->decl);
    p->places[svc][replica] = n;
    if (p->found++ < 12) {
        sk_buf_printf(&p->text, "%s%s/%s.%zu -> %s", p->text.len ? ", " : "", s->project, s->name,
                      replica, n->name);
    }
}

/* A copy that runs on a node that may have it. */
static struct ctl_node *running_at(const struct ctl_svc *s, size_t replica)
{
    for (size_t k = 0; k < s->ninsts; k++) {
        const struct ctl_inst *i = s->insts[k];
        if (i->replica == (int64_t)replica && i->role != CTL_STOPPING && ctl_inst_healthy(i) &&
            may_take(i->node)) {
            return i->node;
        }
    }
    return NULL;
}

/* The row for exactly what is lost now, if everything else is as the plan says. */
static const struct plan_loss *row_now(const struct control *c)
{
    if (c->noverlay > 0 || c->plan == NULL) {
        return NULL;
    }
    for (size_t k = 0; k < c->plan->plan->nlosses; k++) {
        const struct plan_loss *row = &c->plan->plan->losses[k];
        bool match = true;
        for (size_t i = 0; i < c->nnodes && match; i++) {
            const struct ctl_node *n = c->nodes[i];
            bool in_row = false;
            for (size_t l = 0; l < row->nlost; l++) {
                in_row = in_row || sk_str_is(row->lost[l], n->site->name);
            }
            match = in_row == (n->life == CTL_LOST || n->site->away);
        }
        if (match) {
            return row;
        }
    }
    return NULL;
}

static int placement_order(const struct plan_placement *p, const struct ctl_svc *s, size_t replica)
{
    int order = sk_str_cmp(p->project, sk_str(s->project));
    if (order == 0) {
        order = sk_str_cmp(p->service, sk_str(s->name));
    }
    if (order == 0) {
        order = p->replica < (int64_t)replica ? -1 : p->replica > (int64_t)replica;
    }
    return order;
}

static struct ctl_node *row_place(const struct control *c, const struct plan_placement *rows,
                                  size_t count, const struct ctl_svc *s, size_t replica)
{
    size_t low = 0;
    while (low < count) {
        size_t mid = low + (count - low) / 2;
        int order = placement_order(&rows[mid], s, replica);
        if (order == 0) {
            return ctl_node(c, rows[mid].node);
        }
        if (order < 0) {
            low = mid + 1;
        } else {
            count = mid;
        }
    }
    return NULL;
}

static bool fits(const struct ctl_node *n, const struct service *d)
{
    return ctl_fits(n, d->cpus_nano, d->memory_bytes, d->disk_bytes);
}

/* Fills p with what is known without planning, or from `rows`, the answer of the planner. */
static void pass_fill(struct control *c, struct pass *p, const struct plan_placement *rows,
                      size_t nrows)
{
    for (size_t i = 0; i < c->nsvcs; i++) {
        const struct ctl_svc *s = c->svcs[i];
        for (size_t r = 0; r < s->nplace; r++) {
            if (!displaced(s->place[r].node)) {
                continue;
            }
            struct ctl_node *n = running_at(s, r);
            if (n == NULL) {
                n = row_place(c, rows, nrows, s, r);
                n = n != NULL && may_take(n) && fits(n, s->decl) ? n : NULL;
            }
            if (n != NULL && n != s->place[r].node) {
                pass_give(c, p, i, r, n);
            } else {
                p->left++;
            }
        }
    }
}

static void pass_commit(struct control *c, const struct pass *p)
{
    struct ctl_txn *t = ctl_txn_new(NULL);
    struct sk_buf json = SK_BUF_INIT;
    struct sk_jw w;

    ctl_notes_flush(c, t); /* the verdict comes before what follows from it */
    sk_jw_init(&w, &json);
    sk_jw_arr(&w);
    for (size_t i = 0; i < c->nsvcs; i++) {
        const struct ctl_svc *s = c->svcs[i];
        for (size_t r = 0; r < s->nplace; r++) {
            if (p->places[i][r] != NULL) {
                ctl_overlay_row(c, &w, sk_str(s->project), sk_str(s->name), (int64_t)r,
                                sk_str(p->places[i][r]->name));
            } else if (s->place[r].overlay && s->place[r].node != NULL) {
                ctl_overlay_row(c, &w, sk_str(s->project), sk_str(s->name), (int64_t)r,
                                sk_str(s->place[r].node->name));
            }
        }
    }
    sk_jw_arr_end(&w);
    ctl_txn_doc(c, t, "overlay", sk_buf_str(&json), SK_STR("control"));
    sk_buf_release(&json);
    ctl_return_end(c, t, false);
    struct sk_str text =
        sk_arena_printf(t->arena, "%zu replicas get another place: %.*s%s", p->found,
                        SK_PRI(sk_buf_str(&p->text)), p->found > 12 ? " ..." : "");
    ctl_txn_event(c, t,
                  &(struct ctl_evtext){.what = "failover",
                                       .plan = c->plan ? sk_str(c->plan->plan->id) : SK_STR(""),
                                       .text = text.ptr});
    ctl_txn_send(c, t);
}

static void ask_planner(struct control *c)
{
    struct ctl_mods mods = {.lost_drained = true};
    struct ctl_job *job = ctl_job_new(c, CTL_JOB_FAILOVER, &mods, c->projects, c->nprojects, true);
    job->pub.why = "failover";
    job->pub.input.move_price_hours = CTL_KEEP_PRICE_HOURS;
    ctl_job_send(c, job, CTL_SLOT_OWN);
}

static bool lost_or_gone(const struct control *c)
{
    for (size_t i = 0; i < c->nsvcs; i++) {
        const struct ctl_svc *s = c->svcs[i];
        for (size_t r = 0; r < s->nplace; r++) {
            if (displaced(s->place[r].node)) {
                return true;
            }
        }
    }
    return false;
}

void ctl_failover_step(struct control *c)
{
    struct pass p;

    if (c->pending != NULL || c->frozen || c->failover_done == c->stamp || c->plan == NULL ||
        c->now_ms < c->next_retry_ms) {
        return;
    }
    if (!lost_or_gone(c)) {
        c->failover_done = c->stamp;
        return;
    }
    const struct plan_loss *row = row_now(c);
    pass_init(c, &p);
    pass_fill(c, &p, row ? row->replaced : NULL, row ? row->nreplaced : 0);
    if (p.found > 0) {
        pass_commit(c, &p);
    } else if (c->jobs[CTL_SLOT_OWN] == NULL) {
        ask_planner(c);
        c->failover_done = c->stamp;
    }
    pass_release(c, &p);
}

static void note_short(struct control *c, size_t left)
{
    if (left == c->short_told) {
        return;
    }
    c->short_told = left;
    if (left > 0) {
        ctl_note(c, "short", SK_STR(""), SK_STR(""),
                 "%zu replicas of what is lost have no place on what is left", left);
    }
}

void ctl_failover_done(struct control *c, struct ctl_job *job)
{
    struct pass p;

    if (job->result == NULL || c->plan == NULL) {
        c->next_retry_ms = c->now_ms + CTL_RETRY_MS;
        c->stamp++;
        return;
    }
    if (c->frozen || job->basis != c->basis) {
        c->stamp++; /* asked in another world: ask again */
        return;
    }
    pass_init(c, &p);
    pass_fill(c, &p, job->result->placements, job->result->nplacements);
    note_short(c, p.left);
    if (p.found > 0) {
        pass_commit(c, &p);
    }
    pass_release(c, &p);
}
