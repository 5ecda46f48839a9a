/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "control/internal.h"

/*
 * Who is there. Two clocks (the third, destroying old copies, belongs to the nodes themselves):
 *
 * - suspicion, 1.0 s of silence: nothing but traffic hangs on it;
 * - verdict, 2.0 s: NODE, SITE or LINK, from what control hears itself and from what the nodes of
 *   other sites (witnesses) say in their beats that they hear.
 *
 * A site is judged as a whole and only by a majority of the other sites, each with one voice,
 * whatever number of nodes it has; lost sites keep their seat, so that a shrinking minority never
 * becomes a majority by judging the others away. A voice is "does not hear" only if it is current
 * (of the last 500 ms: control itself may be dark), if the witness was asked to listen for at least
 * as long as the verdict takes, and if it did hear the target once since its own start: silence
 * where there never was a sound (probes blocked on the way, no probe key yet, a witness that has
 * just started) says nothing about the target. Else it has no opinion. That does not last for ever,
 * or work would stay on a node that died before it was first heard, or while its witnesses
 * restarted: after 20 s in which nobody heard the target, control neither, the silence of a witness
 * that hears other sites counts too. Where control hears from a minority of sites it judges nobody:
 * it may be the one that is cut off. Time in which control itself did not run is nobody's silence.
 * No timer depends on the number of nodes.
 */

bool ctl_node_up(const struct ctl_node *n)
{
    return n->life == CTL_ALIVE || n->life == CTL_UNKNOWN;
}

bool ctl_any_lost(const struct control *c)
{
    return c->nlost > 0;
}

bool ctl_any_away(const struct control *c)
{
    for (size_t i = 0; i < c->nsites; i++) {
        if (c->sites[i]->off) {
            return true;
        }
    }
    return false;
}

static void set_life(struct control *c, struct ctl_node *n, enum ctl_life life)
{
    bool was_lost = n->life == CTL_LOST;
    bool was_up = ctl_node_up(n);
    bool changed = was_lost != (life == CTL_LOST);

    if (n->life == life) {
        return;
    }
    n->life = life;
    c->nlost = c->nlost - was_lost + (life == CTL_LOST);
    for (size_t i = 0; i < n->ninsts; i++) {
        struct ctl_inst *inst = n->insts[i];
        bool healthy = ctl_inst_healthy(inst);
        changed = changed || healthy != (inst->healthy_ms >= 0);
        inst->healthy_ms = !healthy ? -1 : inst->healthy_ms < 0 ? c->now_ms : inst->healthy_ms;
        if (life == CTL_LOST) {
            inst->presumed = false;
        }
    }
    if (was_lost != (life == CTL_LOST)) {
        c->dirty_probes = true;
    }
    /* A node that is heard for the first time was taken for one that is there: nothing hangs on it,
     * and where all come at once each would be a look at everything. */
    if (changed || was_up != ctl_node_up(n)) {
        c->dirty_views = c->dirty_reconcile = true;
        c->stamp++;
    }
}

void ctl_sign_of_life(struct control *c, struct ctl_node *n)
{
    int64_t gap = c->now_ms - n->last_beat_ms;

    if (n->up_since_ms < 0 || gap > CONTROL_SUSPECT_MS) {
        n->up_since_ms = c->now_ms;
    }
    n->last_beat_ms = c->now_ms;
    c->next_life_ms = ctl_i64_min(c->next_life_ms, c->now_ms + CONTROL_SUSPECT_MS);
    if (n->link) {
        n->link = false;
        ctl_note(c, "link_back", sk_str(n->name), sk_str(n->site->name),
                 "control hears the node again");
    }
    if (n->life == CTL_LOST) {
        if (c->now_ms - n->up_since_ms < CTL_RETURN_MS) {
            return;
        }
        if (n->site->lost) {
            n->site->lost = false;
            n->site->back_ms = c->now_ms;
            ctl_note(c, "site_returned", SK_STR(""), sk_str(n->site->name),
                     "the site is back; what runs elsewhere stays there for now");
        } else {
            ctl_note(c, "node_returned", sk_str(n->name), sk_str(n->site->name),
                     "the node is back; what runs elsewhere stays there for now");
        }
    }
    set_life(c, n, CTL_ALIVE);
}

/* ---- the matrix: one pass over what all current witnesses say ---- */

enum { VOTE_HEARS = 1, VOTE_SILENT = 2 };

struct matrix {
    uint8_t *votes; /* [witness site * nsites + target site] */
};

static bool witness(const struct control *c, const struct ctl_node *w)
{
    return w->life != CTL_LOST && w->life != CTL_UNKNOWN &&
           c->now_ms - w->heard_ms <= CONTROL_SUSPECT_MS;
}

static bool ever_heard(const struct ctl_node *w, const struct ctl_node *target)
{
    for (size_t k = 0; k < w->nheard; k++) {
        if (w->heard[k].target == target) {
            return w->heard[k].age_ms >= 0;
        }
    }
    return false;
}

static bool hears_other_sites(const struct ctl_node *w)
{
    for (size_t k = 0; k < w->nheard; k++) {
        if (w->heard[k].target->site != w->site && w->heard[k].age_ms >= 0 &&
            w->heard[k].age_ms < CTL_HEARS_MS) {
            return true;
        }
    }
    return false;
}

/* What `w` does not hear of the target of its probe `p` says something about that target. */
static bool silence_tells(const struct control *c, const struct ctl_node *w,
                          const struct ctl_probe *p)
{
    int64_t asked = p->since_ms >= 0 ? c->now_ms - p->since_ms : 0;

    if (ever_heard(w, p->target)) {
        return asked >= CONTROL_VERDICT_MS;
    }
    return asked >= CTL_NEVER_HEARD_MS &&
           c->now_ms - p->target->last_beat_ms >= CTL_NEVER_HEARD_MS && hears_other_sites(w);
}

static void matrix_add(struct control *c, struct matrix *m, const struct ctl_node *w)
{
    for (size_t k = 0; k < w->nheard; k++) {
        const struct ctl_heard *h = &w->heard[k];
        if (h->age_ms < 0) {
            continue;
        }
        int64_t age = h->age_ms + (c->now_ms - w->heard_ms);
        struct ctl_node *t = h->target;
        t->mark_age = ctl_i64_min(t->mark_age, age);
        if (t->site == w->site) {
            t->mark_own_age = ctl_i64_min(t->mark_own_age, age);
        }
        if (age < CTL_HEARS_MS) {
            m->votes[w->site->at * c->nsites + t->site->at] |= VOTE_HEARS;
        }
    }
    for (size_t k = 0; k < w->nprobes && c->now_ms - w->heard_ms <= CTL_VOICE_MS; k++) {
        const struct ctl_probe *p = &w->probes[k];
        if (silence_tells(c, w, p)) {
            m->votes[w->site->at * c->nsites + p->target->site->at] |= VOTE_SILENT;
            p->target->mark_own_asked |= p->target->site == w->site;
        }
    }
}

void ctl_life_late(struct control *c, int64_t since_ms)
{
    int64_t late = c->now_ms - c->next_life_ms;

    if (late <= CTL_LATE_MS) {
        return;
    }
    for (size_t i = 0; i < c->nnodes; i++) {
        c->nodes[i]->last_beat_ms += c->now_ms - since_ms;
        c->nodes[i]->heard_ms += c->now_ms - since_ms;
    }
}

static int64_t silence(const struct control *c, const struct ctl_node *n)
{
    return c->now_ms - n->last_beat_ms;
}

static bool in_grace(const struct control *c, const struct ctl_node *n)
{
    return n->life == CTL_UNKNOWN && c->now_ms < c->loaded_ms + c->grace_ms;
}

/* What a look asks of a site's nodes, of all sites in one pass: with many sites and many nodes a
 * pass for each would be what a look costs. None of it changes while the look judges, but for those
 * whom it judges. */
static void tally(const struct control *c, const struct ctl_node *n)
{
    struct ctl_site *s = n->site;

    s->tally++;
    s->tally_lost += n->life == CTL_LOST;
    s->tally_witnesses += witness(c, n);
    s->tally_heard =
        s->tally_heard || in_grace(c, n) || silence(c, n) <= CONTROL_SUSPECT_MS + CONTROL_BEAT_MS;
    s->tally_silent = s->tally_silent && !in_grace(c, n) && silence(c, n) >= CONTROL_VERDICT_MS;
}

static void matrix_make(struct control *c, struct matrix *m)
{
    m->votes = sk_xcalloc(c->nsites * c->nsites + 1, 1);
    for (size_t i = 0; i < c->nsites; i++) {
        struct ctl_site *s = c->sites[i];
        s->at = i;
        s->tally = s->tally_lost = s->tally_witnesses = 0;
        s->tally_heard = false;
        s->tally_silent = true;
    }
    for (size_t i = 0; i < c->nnodes; i++) {
        c->nodes[i]->mark_age = c->nodes[i]->mark_own_age = INT64_MAX;
        c->nodes[i]->mark_own_asked = false;
        tally(c, c->nodes[i]);
    }
    for (size_t i = 0; i < c->nnodes; i++) {
        if (witness(c, c->nodes[i])) {
            matrix_add(c, m, c->nodes[i]);
        }
    }
}

static const struct ctl_site *own_site(const struct control *c)
{
    const struct ctl_node *own = ctl_node(c, sk_str(c->own_node));
    return own ? own->site : NULL;
}

/* ---- freezing ---- */

static void freeze_check(struct control *c)
{
    size_t total = 0;
    size_t heard = 0;
    const struct ctl_site *own = own_site(c);

    for (size_t s = 0; s < c->nsites; s++) {
        const struct ctl_site *site = c->sites[s];
        total += site->tally > 0;
        heard += site->tally > 0 && (site == own || site->tally_heard);
    }
    bool frozen = heard * 2 < total;
    if (frozen == c->frozen) {
        return;
    }
    c->frozen = frozen;
    c->stamp++;
    c->dirty_reconcile = true;
    if (frozen) {
        ctl_note(c, "frozen", SK_STR(""), SK_STR(""),
                 "control hears %zu of %zu sites: it may be the one cut off, nothing is re-placed",
                 heard, total);
    } else {
        c->judge_after_ms = c->now_ms + CONTROL_VERDICT_MS;
        ctl_note(c, "unfrozen", SK_STR(""), SK_STR(""), "control hears %zu of %zu sites again",
                 heard, total);
    }
}

/* ---- verdicts ---- */

static void site_judge(struct control *c, const struct matrix *m, struct ctl_site *s)
{
    size_t others = 0;
    size_t silent = 0;
    const struct ctl_site *own = own_site(c);

    if (!s->tally_silent || s->tally == s->tally_lost) {
        return; /* it is heard, nobody is there, or it is judged already */
    }
    for (size_t o = 0; o < c->nsites; o++) {
        if (c->sites[o]->tally == 0 || c->sites[o] == s) {
            continue;
        }
        uint8_t vote = m->votes[o * c->nsites + s->at];
        others++;
        /* control's own silence is its site's opinion, unless a node there says otherwise */
        silent += !(vote & VOTE_HEARS) && ((vote & VOTE_SILENT) || c->sites[o] == own);
    }
    if (silent * 2 <= others) {
        return;
    }
    s->lost = true;
    s->link = false;
    for (size_t i = 0; i < c->nnodes; i++) {
        struct ctl_node *n = c->nodes[i];
        if (n->site == s) {
            n->up_since_ms = -1;
            n->link = false;
            set_life(c, n, CTL_LOST);
        }
    }
    ctl_note(c, "site_lost", SK_STR(""), sk_str(s->name),
             "no beat from any of its %zu nodes, and %zu of %zu other sites do not hear it",
             s->tally, silent, others);
}

static void node_judge(struct control *c, struct ctl_node *n)
{
    /* a node of its site that is heard (it is none): else the whole site is in question */
    if (n->site->tally_witnesses == 0 || !n->mark_own_asked || n->mark_own_age < CTL_HEARS_MS ||
        n->mark_age < CTL_HEARS_MS) {
        return;
    }
    n->up_since_ms = -1;
    n->link = false;
    set_life(c, n, CTL_LOST);
    ctl_note(c, "node_lost", sk_str(n->name), sk_str(n->site->name),
             "no beat for %lld ms, and its own site does not hear it", (long long)silence(c, n));
}

static void suspect_check(struct control *c, struct ctl_node *n)
{
    bool heard = n->mark_age < CTL_HEARS_SUSPECT_MS;

    if (n->life == CTL_LOST || in_grace(c, n)) {
        return;
    }
    if (silence(c, n) >= CONTROL_SUSPECT_MS && !heard) {
        set_life(c, n, CTL_SUSPECT);
    } else if (n->life == CTL_SUSPECT && heard) {
        set_life(c, n, CTL_ALIVE); /* others hear it: control's own way to it is cut */
    }
    if (!n->link && !c->frozen && c->now_ms >= c->judge_after_ms &&
        silence(c, n) >= CONTROL_VERDICT_MS + CONTROL_BEAT_MS && n->mark_age < CTL_HEARS_MS) {
        n->link = true;
        ctl_note(c, "link_lost", sk_str(n->name), sk_str(n->site->name),
                 "control does not hear the node, others do: nothing moves");
    }
}

/* When the next look is due: the first node that would fall silent, soon while one is in doubt. */
static void next_look(struct control *c)
{
    int64_t next = c->now_ms + 60000;

    for (size_t i = 0; i < c->nnodes; i++) {
        const struct ctl_node *n = c->nodes[i];
        if (n->life == CTL_LOST) {
            continue;
        }
        if (in_grace(c, n)) {
            next = ctl_i64_min(next, c->loaded_ms + c->grace_ms);
        } else if (silence(c, n) >= CONTROL_SUSPECT_MS) {
            next = ctl_i64_min(next, c->now_ms + (n->link ? CONTROL_BEAT_MS : 50));
        } else {
            next = ctl_i64_min(next, n->last_beat_ms + CONTROL_SUSPECT_MS);
        }
    }
    c->next_life_ms = ctl_i64_max(next, c->now_ms + 1);
}

void ctl_life_step(struct control *c)
{
    struct matrix m;

    if (c->now_ms < c->next_life_ms) {
        return;
    }
    if (!c->grace_over && c->now_ms >= c->loaded_ms + c->grace_ms) {
        c->grace_over = true;
        c->dirty_views = true; /* presumptions end */
    }
    matrix_make(c, &m);
    freeze_check(c);
    for (size_t i = 0; i < c->nnodes; i++) {
        suspect_check(c, c->nodes[i]);
    }
    if (!c->frozen && c->now_ms >= c->judge_after_ms) {
        for (size_t s = 0; s < c->nsites; s++) {
            site_judge(c, &m, c->sites[s]);
        }
        for (size_t i = 0; i < c->nnodes; i++) {
            struct ctl_node *n = c->nodes[i];
            if (n->life == CTL_SUSPECT && silence(c, n) >= CONTROL_VERDICT_MS) {
                node_judge(c, n);
            }
        }
    }
    free(m.votes);
    next_look(c);
    if (c->frozen) {
        c->next_life_ms = ctl_i64_min(c->next_life_ms, c->now_ms + CONTROL_BEAT_MS);
    }
}

/* A node that is no longer in the cluster is no longer in anybody's reports. */
void ctl_forget_node(struct control *c, const struct ctl_node *gone)
{
    c->nlost -= gone->life == CTL_LOST;
    for (size_t i = 0; i < c->nnodes; i++) {
        struct ctl_node *n = c->nodes[i];
        size_t kept = 0;
        for (size_t k = 0; k < n->nheard; k++) {
            if (n->heard[k].target != gone) {
                n->heard[kept++] = n->heard[k];
            }
        }
        n->nheard = kept;
        kept = 0;
        for (size_t k = 0; k < n->nprobes; k++) {
            if (n->probes[k].target != gone) {
                n->probes[kept++] = n->probes[k];
            }
        }
        n->nprobes = kept;
    }
    for (size_t i = 0; i < c->nsvcs; i++) {
        for (size_t r = 0; r < c->svcs[i]->nplace; r++) {
            if (c->svcs[i]->place[r].node == gone) {
                c->svcs[i]->place[r].node = NULL;
            }
        }
    }
}
