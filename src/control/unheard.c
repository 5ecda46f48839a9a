/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "control/internal.h"

/*
 * Pairs of sites whose nodes beat while probes between them do not come back: a firewall that lets
 * TCP 7400 through and not UDP 7401, as a rule. Nothing is lost by that today, but no witness could
 * say so when something is: a verdict needs witnesses that heard the target once (verdict.c). So it
 * is told, by one event and in the status, and taken back once probes pass.
 *
 * A way (witness, target) counts while both beat and the witness has been asked to listen. It is
 * silent after CTL_UNHEARD_MS in which control itself saw it silent, whatever age the witness
 * gives. A pair leaves the status as soon as none of its ways is silent, but stays told until that
 * has lasted for CALM_MS, so that a bad link does not make an event a minute. Time in which control
 * did not look counts for nothing.
 */
#define LOOK_MS 1000
#define LATE_MS (3 * LOOK_MS)
#define HEARS_MS (2 * LOOK_MS) /* so that no look misses an echo */
#define CALM_MS 30000
#define NAMED_MAX 4

struct ways {
    const struct ctl_node *witness, *target; /* of a silent way */
    size_t silent, count;
};

static bool beats(const struct control *c, const struct ctl_node *n)
{
    return n->life == CTL_ALIVE && c->now_ms - n->last_beat_ms <= CONTROL_SUSPECT_MS;
}

static bool hears(const struct control *c, const struct ctl_node *w, const struct ctl_node *target)
{
    for (size_t k = 0; k < w->nheard; k++) {
        const struct ctl_heard *h = &w->heard[k];
        if (h->target == target) {
            return h->age_ms >= 0 && h->age_ms + c->now_ms - w->heard_ms < HEARS_MS;
        }
    }
    return false;
}

/* True once the way was silent for long enough. */
static bool way_look(const struct control *c, const struct ctl_node *w, struct ctl_probe *p,
                     bool late)
{
    if (hears(c, w, p->target)) {
        p->silent_ms = -1;
        return false;
    }
    if (p->silent_ms < 0 || late) {
        p->silent_ms = c->now_ms;
    }
    return c->now_ms - p->silent_ms >= CTL_UNHEARD_MS;
}

static void node_look(struct control *c, struct ctl_node *w, bool late, struct ways *pairs)
{
    bool here = beats(c, w);

    for (size_t k = 0; k < w->nprobes; k++) {
        struct ctl_probe *p = &w->probes[k];
        if (!here || p->since_ms < 0 || !beats(c, p->target)) {
            p->silent_ms = -1;
            continue;
        }
        size_t a = w->site->at;
        size_t b = p->target->site->at;
        struct ways *pair = a < b ? &pairs[a * c->nsites + b] : &pairs[b * c->nsites + a];
        pair->count++;
        if (way_look(c, w, p, late)) {
            pair->silent++;
            pair->witness = w;
            pair->target = p->target;
        }
    }
}

static struct ctl_unheard *row_of(struct control *c, const char *a, const char *b)
{
    for (size_t i = 0; i < c->nunheard; i++) {
        if (strcmp(c->unheard[i].a, a) == 0 && strcmp(c->unheard[i].b, b) == 0) {
            return &c->unheard[i];
        }
    }
    return NULL;
}

static void row_free(struct ctl_unheard *row)
{
    free(row->a);
    free(row->b);
    free(row->witness);
    free(row->target);
}

void ctl_unheard_free(struct control *c)
{
    for (size_t i = 0; i < c->nunheard; i++) {
        row_free(&c->unheard[i]);
    }
    free(c->unheard);
    c->unheard = NULL;
    c->nunheard = c->capunheard = 0;
}

static void row_take(struct control *c, size_t a, size_t b, const struct ways *pair)
{
    struct ctl_unheard *row = row_of(c, c->sites[a]->name, c->sites[b]->name);

    if (row == NULL) {
        SK_GROW(c->unheard, c->nunheard, c->capunheard);
        row = &c->unheard[c->nunheard++];
        *row = (struct ctl_unheard){.a = sk_xstrdup(c->sites[a]->name),
                                    .b = sk_xstrdup(c->sites[b]->name)};
    }
    if (row->silent == 0) {
        row->since_ms = c->now_ms - CTL_UNHEARD_MS;
    }
    ctl_set(&row->witness, sk_str(pair->witness->name));
    ctl_set(&row->target, sk_str(pair->target->name));
    row->silent = pair->silent;
    row->ways = pair->count;
    row->silent_ms = c->now_ms;
}

/* "fra and ams", "within fra" */
static void add_pair(const struct ctl_unheard *row, struct sk_buf *out)
{
    if (strcmp(row->a, row->b) == 0) {
        sk_buf_printf(out, "within %s", row->a);
    } else {
        sk_buf_printf(out, "between %s and %s", row->a, row->b);
    }
}

/* All pairs that are new to one state, in one event. */
static void tell(struct control *c, bool silent)
{
    struct sk_buf text = SK_BUF_INIT;
    const struct ctl_unheard *first = NULL;
    size_t count = 0;

    for (size_t i = 0; i < c->nunheard; i++) {
        struct ctl_unheard *row = &c->unheard[i];
        if (silent ? row->told : !row->over) {
            continue;
        }
        row->told = true;
        first = first ? first : row;
        if (count++ < NAMED_MAX) {
            sk_buf_adds(&text, count > 1 ? ", " : "");
            add_pair(row, &text);
        }
    }
    if (count > NAMED_MAX) {
        sk_buf_printf(&text, " and %zu more pairs of sites", count - NAMED_MAX);
    }
    if (first != NULL && silent) {
        ctl_note(c, "probes_unheard", SK_STR(""), sk_str(first->a),
                 "no probes pass %s, though the nodes beat (%s does not hear %s, %zu of %zu ways): "
                 "no loss there could be judged; open UDP 7401 both ways",
                 text.ptr, first->witness, first->target, first->silent, first->ways);
    } else if (first != NULL) {
        ctl_note(c, "probes_heard", SK_STR(""), sk_str(first->a), "probes pass again %s", text.ptr);
    }
    sk_buf_release(&text);
}

/* Where nobody can tell any more (a site left, or is lost) the row goes without a word. */
static void rows_expire(struct control *c, const struct ways *pairs)
{
    size_t kept = 0;

    for (size_t i = 0; i < c->nunheard; i++) {
        struct ctl_unheard *row = &c->unheard[i];
        const struct ctl_site *a = ctl_site(c, sk_str(row->a));
        const struct ctl_site *b = ctl_site(c, sk_str(row->b));
        row->gone = c->now_ms - row->silent_ms >= CALM_MS;
        row->over = row->gone && a && b && pairs[a->at * c->nsites + b->at].count > 0;
        if (row->silent_ms != c->now_ms) {
            row->silent = 0;
        }
    }
    tell(c, false);
    for (size_t i = 0; i < c->nunheard; i++) {
        if (c->unheard[i].gone) {
            row_free(&c->unheard[i]);
        } else {
            c->unheard[kept++] = c->unheard[i];
        }
    }
    c->nunheard = kept;
}

void ctl_unheard_step(struct control *c)
{
    if (c->now_ms < c->next_unheard_ms) {
        return;
    }
    bool late = c->now_ms - c->next_unheard_ms > LATE_MS - LOOK_MS;
    c->next_unheard_ms = c->now_ms + LOOK_MS;
    struct ways *pairs = sk_xcalloc(c->nsites * c->nsites + 1, sizeof(*pairs));
    for (size_t i = 0; i < c->nsites; i++) {
        c->sites[i]->at = i;
    }
    for (size_t i = 0; i < c->nnodes; i++) {
        node_look(c, c->nodes[i], late, pairs);
    }
    for (size_t a = 0; a < c->nsites; a++) {
        for (size_t b = a; b < c->nsites; b++) {
            if (pairs[a * c->nsites + b].silent > 0) {
                row_take(c, a, b, &pairs[a * c->nsites + b]);
            }
        }
    }
    tell(c, true);
    rows_expire(c, pairs);
    free(pairs);
}

/* ---- what the API shows ---- */

void ctl_unheard_json(const struct control *c, struct sk_jw *w)
{
    sk_jw_key(w, "probes_unheard");
    sk_jw_arr(w);
    for (size_t i = 0; i < c->nunheard; i++) {
        const struct ctl_unheard *row = &c->unheard[i];
        struct sk_buf fix = SK_BUF_INIT;
        if (row->silent == 0) {
            continue;
        }
        sk_jw_obj(w);
        sk_jw_key(w, "sites");
        sk_jw_arr(w);
        sk_jw_cstr(w, row->a);
        sk_jw_cstr(w, row->b);
        sk_jw_arr_end(w);
        sk_jw_key(w, "nodes");
        sk_jw_arr(w);
        sk_jw_cstr(w, row->witness);
        sk_jw_cstr(w, row->target);
        sk_jw_arr_end(w);
        sk_jw_kint(w, "silent", (int64_t)row->silent);
        sk_jw_kint(w, "ways", (int64_t)row->ways);
        sk_jw_kint(w, "silent_ms", c->now_ms - row->since_ms);
        sk_buf_adds(&fix, "open UDP 7401 ");
        add_pair(row, &fix);
        sk_buf_adds(&fix, ", both ways: without probes no loss there can be judged");
        sk_jw_kcstr(w, "fix", fix.ptr);
        sk_buf_release(&fix);
        sk_jw_obj_end(w);
    }
    sk_jw_arr_end(w);
}

void ctl_unheard_site_json(const struct control *c, const struct ctl_site *s, struct sk_jw *w)
{
    sk_jw_key(w, "probes_unheard");
    sk_jw_arr(w);
    for (size_t i = 0; i < c->nunheard; i++) {
        const struct ctl_unheard *row = &c->unheard[i];
        if (row->silent == 0) {
            continue;
        }
        if (strcmp(row->a, s->name) == 0) {
            sk_jw_cstr(w, row->b);
        } else if (strcmp(row->b, s->name) == 0) {
            sk_jw_cstr(w, row->a);
        }
    }
    sk_jw_arr_end(w);
}
