/* SPDX-License-Identifier: Apache-2.0 */
#include "control/drill.h"

#include <string.h>

/*
 * skerry.drill/1: what is kept of a drill and what is shown of it are one form (docs/drill.md,
 * docs/schema/drill.json). Written at each change of phase and read back from there; what is not
 * observed yet is null.
 */

/* What the ingress inside a hard cut counted is told when it is back. */
static bool counted(const struct ctl_drill *d)
{
    return d->phase == CTL_DRILL_RETURN && !d->hard;
}

int64_t drill_requests(const struct control *c, const struct ctl_drill *d)
{
    return d->requests + (counted(d) ? 0 : c->front_requests - d->base_requests);
}

int64_t drill_errors(const struct control *c, const struct ctl_drill *d)
{
    return d->errors + (counted(d) ? 0 : c->front_errors - d->base_errors);
}

static bool near_ms(int64_t predicted, int64_t observed)
{
    int64_t off = observed > predicted ? observed - predicted : predicted - observed;
    return observed >= 0 && off <= ctl_i64_max(DRILL_NEAR_MS, predicted / 5);
}

bool drill_near(const struct drill_time *t)
{
    return t->predicted_ms < 0 || near_ms(t->predicted_ms, t->ms);
}

static bool line_agrees(const struct drill_line *l)
{
    return l->seen_node != NULL && strcmp(l->seen_node, l->node) == 0 &&
           near_ms(l->predicted_ms, l->ms);
}

static bool errors_agree(const struct control *c, const struct ctl_drill *d)
{
    double bound = d->bound < 0 ? DRILL_BOUND_DEFAULT : d->bound;
    return (double)drill_errors(c, d) * 100.0 <= bound * (double)drill_requests(c, d);
}

bool drill_agrees(const struct control *c, const struct ctl_drill *d)
{
    bool all = errors_agree(c, d) && drill_near(&d->off) && drill_near(&d->verdict);

    for (size_t i = 0; i < d->nkept; i++) {
        all = all && d->kept[i].least == d->kept[i].predicted;
    }
    for (size_t i = 0; i < d->nlines; i++) {
        all = all && line_agrees(&d->lines[i]);
    }
    for (size_t i = 0; i < d->nshorts; i++) {
        all = all && d->shorts[i].seen == d->shorts[i].predicted;
    }
    return all && drill_near(&d->replaced);
}

/* ---- writing ---- */

static void write_ms(struct sk_jw *w, const char *key, int64_t ms)
{
    if (ms < 0) {
        sk_jw_knull(w, key);
    } else {
        sk_jw_kint(w, key, ms);
    }
}

static void write_agrees(struct sk_jw *w, bool known, bool agrees)
{
    if (known) {
        sk_jw_kbool(w, "agrees", agrees);
    } else {
        sk_jw_knull(w, "agrees");
    }
}

static void write_time(struct sk_jw *w, const char *key, const struct drill_time *t)
{
    sk_jw_key(w, key);
    if (t->predicted_ms < 0) {
        sk_jw_null(w);
        return;
    }
    sk_jw_obj(w);
    sk_jw_kint(w, "predicted_ms", t->predicted_ms);
    write_ms(w, "observed_ms", t->ms);
    write_agrees(w, t->ms >= 0, drill_near(t));
    sk_jw_obj_end(w);
}

static void write_kept(struct sk_jw *w, const struct ctl_drill *d)
{
    sk_jw_key(w, "kept");
    sk_jw_arr(w);
    for (size_t i = 0; i < d->nkept; i++) {
        const struct drill_kept *k = &d->kept[i];
        sk_jw_obj(w);
        sk_jw_kcstr(w, "project", k->project);
        sk_jw_kcstr(w, "service", k->service);
        sk_jw_kint(w, "predicted", k->predicted);
        write_ms(w, "observed", k->least);
        write_ms(w, "promised", k->promise);
        write_agrees(w, k->least >= 0, k->least == k->predicted);
        sk_jw_obj_end(w);
    }
    sk_jw_arr_end(w);
}

static void write_place(struct sk_jw *w, const char *key, const char *site, const char *node,
                        int64_t ms)
{
    sk_jw_key(w, key);
    sk_jw_obj(w);
    sk_jw_kcstr(w, "site", site);
    sk_jw_kcstr(w, "node", node);
    sk_jw_kint(w, "ms", ms);
    sk_jw_obj_end(w);
}

static void write_lines(struct sk_jw *w, const struct ctl_drill *d)
{
    sk_jw_key(w, "replaced");
    sk_jw_arr(w);
    for (size_t i = 0; i < d->nlines; i++) {
        const struct drill_line *l = &d->lines[i];
        sk_jw_obj(w);
        sk_jw_kcstr(w, "project", l->project);
        sk_jw_kcstr(w, "service", l->service);
        sk_jw_kint(w, "replica", l->replica);
        write_place(w, "predicted", l->site, l->node, l->predicted_ms);
        if (l->seen_node != NULL) {
            write_place(w, "observed", l->seen_site, l->seen_node, l->ms);
        } else {
            sk_jw_knull(w, "observed");
        }
        write_agrees(w, l->seen_node != NULL, line_agrees(l));
        sk_jw_obj_end(w);
    }
    sk_jw_arr_end(w);
    sk_jw_kint(w, "replaced_more", d->more);
}

static void write_shorts(struct sk_jw *w, const struct ctl_drill *d)
{
    sk_jw_key(w, "short");
    sk_jw_arr(w);
    for (size_t i = 0; i < d->nshorts; i++) {
        const struct drill_short *s = &d->shorts[i];
        sk_jw_obj(w);
        sk_jw_kcstr(w, "project", s->project);
        sk_jw_kcstr(w, "service", s->service);
        sk_jw_kbool(w, "asked", s->asked);
        sk_jw_kint(w, "predicted", s->predicted);
        write_ms(w, "observed", s->seen);
        write_agrees(w, s->seen >= 0, s->seen == s->predicted);
        sk_jw_obj_end(w);
    }
    sk_jw_arr_end(w);
}

static void write_maybe(struct sk_jw *w, const char *key, struct plan_maybe m)
{
    if (m.known) {
        sk_jw_knum(w, key, m.value);
    } else {
        sk_jw_knull(w, key);
    }
}

static void write_latency(struct sk_jw *w, const struct ctl_drill *d)
{
    sk_jw_key(w, "latency");
    sk_jw_arr(w);
    for (size_t i = 0; i < d->nlatency; i++) {
        const struct drill_latency *l = &d->latency[i];
        sk_jw_obj(w);
        sk_jw_kcstr(w, "project", l->project);
        sk_jw_kcstr(w, "service", l->service);
        write_maybe(w, "before_ms", l->before);
        write_maybe(w, "at_once_ms", l->at_once);
        write_maybe(w, "after_ms", l->after);
        sk_jw_obj_end(w);
    }
    sk_jw_arr_end(w);
}

static void write_phases(struct sk_jw *w, const struct control *c, const struct ctl_drill *d,
                         enum ctl_drill_phase phase)
{
    sk_jw_key(w, "phases");
    sk_jw_arr(w);
    for (int i = 0; i < CTL_DRILL_PHASE_COUNT; i++) {
        bool fresh = (int)phase == i && (d->phase != phase || d->wall_ms[i] == 0);
        int64_t wall_ms = fresh ? c->wall_ms : d->wall_ms[i];
        if (wall_ms != 0) {
            sk_jw_obj(w);
            sk_jw_kcstr(w, "phase", drill_phase_name((enum ctl_drill_phase)i));
            sk_jw_kint(w, "wall_ms", wall_ms);
            sk_jw_obj_end(w);
        }
    }
    sk_jw_arr_end(w);
}

static void write_errors(struct sk_jw *w, const struct control *c, const struct ctl_drill *d)
{
    int64_t requests = drill_requests(c, d);

    sk_jw_key(w, "errors");
    sk_jw_obj(w);
    sk_jw_kint(w, "requests", requests);
    sk_jw_kint(w, "errors", drill_errors(c, d));
    sk_jw_knum(w, "bound_percent", d->bound < 0 ? DRILL_BOUND_DEFAULT : d->bound);
    sk_jw_kbool(w, "agrees", errors_agree(c, d));
    sk_jw_obj_end(w);
}

static void write_own(const struct control *c, const struct ctl_drill *d,
                      enum ctl_drill_phase phase, const char *aborted, const char *ended,
                      struct sk_buf *out)
{
    struct sk_jw w;
    bool agrees = drill_agrees(c, d);

    sk_jw_init(&w, out);
    sk_jw_obj(&w);
    sk_jw_kint(&w, "v", 1);
    sk_jw_kcstr(&w, "format", "skerry.drill/1");
    sk_jw_kint(&w, "number", d->number);
    sk_jw_kcstr(&w, "site", d->site);
    sk_jw_kcstr(&w, "mode", d->hard ? "hard" : "soft");
    sk_jw_kcstr(&w, "phase", drill_phase_name(phase));
    sk_jw_kcstr(&w, "who", d->who);
    sk_jw_kcstr(&w, "plan", d->plan);
    sk_jw_kint(&w, "for_ms", d->for_ms);
    if (d->bound < 0) {
        sk_jw_knull(&w, "abort_errors_percent");
    } else {
        sk_jw_knum(&w, "abort_errors_percent", d->bound);
    }
    sk_jw_kcstr(&w, "aborted", aborted);
    write_phases(&w, c, d, phase);
    write_kept(&w, d);
    write_lines(&w, d);
    write_shorts(&w, d);
    write_time(&w, "traffic_off", &d->off);
    write_time(&w, "verdict", &d->verdict);
    write_time(&w, "all_replaced", &d->replaced);
    write_errors(&w, c, d);
    write_latency(&w, d);
    sk_jw_kint(&w, "restarts", d->restarts);
    sk_jw_kcstr(&w, "life", c->leader.own);
    if (ended != NULL) {
        sk_jw_kint(&w, "ended_ms", c->wall_ms);
        sk_jw_kcstr(&w, "returned", ended);
        sk_jw_kcstr(&w, "result", aborted[0] ? "aborted" : agrees ? "survived" : "differs");
    }
    sk_jw_obj_end(&w);
}

/* Rows of a list are the same by what they are about, wherever they stand. */
static bool same_row(const struct sk_node *a, const struct sk_node *b)
{
    static const char *const names[] = {"project", "service", "replica", "phase"};

    for (size_t i = 0; i < SK_ARRAY_LEN(names); i++) {
        const struct sk_node *va = sk_map_get(a, sk_str(names[i]));
        const struct sk_node *vb = sk_map_get(b, sk_str(names[i]));
        if (va == NULL || vb == NULL) {
            if (va != vb) {
                return false;
            }
        } else if (va->kind != vb->kind || va->kind == SK_MAP || va->kind == SK_SEQ ||
                   !sk_str_eq(va->u.text, vb->u.text)) {
            return false;
        }
    }
    return true;
}

static const struct sk_node *row_like(const struct sk_node *list, const struct sk_node *row)
{
    for (uint32_t i = 0; row->kind == SK_MAP && i < list->count; i++) {
        if (list->u.items[i].kind == SK_MAP && same_row(&list->u.items[i], row)) {
            return &list->u.items[i];
        }
    }
    return NULL;
}

/* `fresh`, and at each level what `old` has beside it: that is of another version. */
static void write_over(struct sk_jw *w, const struct sk_node *old, const struct sk_node *fresh)
{
    if (old == NULL || old->kind != fresh->kind ||
        (fresh->kind != SK_MAP && fresh->kind != SK_SEQ)) {
        sk_jw_node(w, fresh);
    } else if (fresh->kind == SK_SEQ) {
        sk_jw_arr(w);
        for (uint32_t i = 0; i < fresh->count; i++) {
            write_over(w, row_like(old, &fresh->u.items[i]), &fresh->u.items[i]);
        }
        sk_jw_arr_end(w);
    } else {
        sk_jw_obj(w);
        for (uint32_t i = 0; i < fresh->count; i++) {
            const struct sk_member *m = &fresh->u.members[i];
            sk_jw_keystr(w, m->key);
            write_over(w, sk_map_get(old, m->key), &m->value);
        }
        for (uint32_t i = 0; i < old->count; i++) {
            const struct sk_member *m = &old->u.members[i];
            if (sk_map_get(fresh, m->key) == NULL) {
                sk_jw_keystr(w, m->key);
                sk_jw_node(w, &m->value);
            }
        }
        sk_jw_obj_end(w);
    }
}

void drill_write(const struct control *c, const struct ctl_drill *d, enum ctl_drill_phase phase,
                 const char *aborted, const char *ended, struct sk_buf *out)
{
    struct sk_arena *arena;
    struct sk_buf own = SK_BUF_INIT;
    const struct sk_node *old = NULL;
    const struct sk_node *fresh = NULL;
    struct sk_jw w;

    if (d->raw == NULL) {
        write_own(c, d, phase, aborted, ended, out);
        return;
    }
    arena = sk_arena_new();
    write_own(c, d, phase, aborted, ended, &own);
    (void)sk_json_read(arena, "drill", sk_str(d->raw), NULL, &old, NULL); /* it was read before */
    int rc = sk_json_read(arena, "drill", sk_buf_str(&own), NULL, &fresh, NULL);
    SK_ASSERT(rc == 0);
    sk_jw_init(&w, out);
    write_over(&w, old, fresh);
    sk_buf_release(&own);
    sk_arena_free(arena);
}

/* ---- reading ---- */

static char *text_of(const struct sk_node *map, const char *key)
{
    return ctl_dup(sk_map_str(map, key, SK_STR("")));
}

/* A list of at most `max` maps; anything else in it is passed over by sk_map_*(). */
static uint32_t rows_of(const struct sk_node *rec, const char *key, uint32_t max,
                        const struct sk_node **ret)
{
    *ret = sk_map_seq(rec, key);
    uint32_t count = 0;
    while (*ret != NULL && count < (*ret)->count && count < max &&
           (*ret)->u.items[count].kind == SK_MAP) {
        count++;
    }
    return count;
}

static void read_time(const struct sk_node *rec, const char *key, struct drill_time *t)
{
    const struct sk_node *node = sk_map_get(rec, sk_str(key));

    *t = (struct drill_time){-1, -1};
    if (node != NULL && node->kind == SK_MAP) {
        t->predicted_ms = sk_map_int(node, "predicted_ms", -1);
        t->ms = sk_map_int(node, "observed_ms", -1);
    }
}

static void read_lines(const struct sk_node *rec, struct ctl_drill *d)
{
    const struct sk_node *list;
    uint32_t count = rows_of(rec, "replaced", DRILL_LINES_MAX, &list);

    d->lines = sk_xcalloc(count + 1, sizeof(*d->lines));
    for (uint32_t i = 0; i < count; i++) {
        const struct sk_node *row = &list->u.items[i];
        const struct sk_node *to = sk_map_get(row, SK_STR("predicted"));
        const struct sk_node *at = sk_map_get(row, SK_STR("observed"));
        struct drill_line *l = &d->lines[d->nlines++];
        l->project = text_of(row, "project");
        l->service = text_of(row, "service");
        l->replica = sk_map_int(row, "replica", 0);
        bool known = to != NULL && to->kind == SK_MAP;
        l->node = known ? text_of(to, "node") : ctl_dup(SK_STR(""));
        l->site = known ? text_of(to, "site") : ctl_dup(SK_STR(""));
        l->predicted_ms = known ? sk_map_int(to, "ms", 0) : 0;
        l->ms = -1;
        if (at != NULL && at->kind == SK_MAP) {
            l->seen_node = text_of(at, "node");
            l->seen_site = text_of(at, "site");
            l->ms = sk_map_int(at, "ms", 0);
        }
    }
    d->more = sk_map_int(rec, "replaced_more", 0);
}

static void read_rows(const struct sk_node *rec, struct ctl_drill *d)
{
    const struct sk_node *list;
    uint32_t count = rows_of(rec, "kept", UINT32_MAX, &list);

    d->kept = sk_xcalloc(count + 1, sizeof(*d->kept));
    for (uint32_t i = 0; i < count; i++) {
        const struct sk_node *row = &list->u.items[i];
        d->kept[d->nkept++] = (struct drill_kept){
            text_of(row, "project"), text_of(row, "service"), sk_map_int(row, "predicted", 0),
            sk_map_int(row, "observed", -1), sk_map_int(row, "promised", -1)};
    }
    count = rows_of(rec, "short", UINT32_MAX, &list);
    d->shorts = sk_xcalloc(count + 1, sizeof(*d->shorts));
    for (uint32_t i = 0; i < count; i++) {
        const struct sk_node *row = &list->u.items[i];
        d->shorts[d->nshorts++] = (struct drill_short){
            text_of(row, "project"), text_of(row, "service"), sk_map_int(row, "predicted", 0),
            sk_map_int(row, "observed", -1), sk_map_bool(row, "asked", false)};
    }
    count = rows_of(rec, "latency", UINT32_MAX, &list);
    d->latency = sk_xcalloc(count + 1, sizeof(*d->latency));
    for (uint32_t i = 0; i < count; i++) {
        const struct sk_node *row = &list->u.items[i];
        double before = sk_map_num(row, "before_ms", -1);
        double at_once = sk_map_num(row, "at_once_ms", -1);
        double after = sk_map_num(row, "after_ms", -1);
        d->latency[d->nlatency++] = (struct drill_latency){text_of(row, "project"),
                                                           text_of(row, "service"),
                                                           {before >= 0, before},
                                                           {at_once >= 0, at_once},
                                                           {after >= 0, after}};
    }
}

struct ctl_drill *drill_read_rows(const struct sk_node *rec)
{
    struct ctl_drill *d = sk_xcalloc(1, sizeof(*d));

    d->number = sk_map_int(rec, "number", 0);
    d->hard = sk_str_is(sk_map_str(rec, "mode", SK_STR("")), "hard");
    d->phase = CTL_DRILL_PHASE_COUNT;
    read_rows(rec, d);
    read_lines(rec, d);
    read_time(rec, "traffic_off", &d->off);
    read_time(rec, "verdict", &d->verdict);
    read_time(rec, "all_replaced", &d->replaced);
    return d;
}

struct ctl_drill *drill_read(const struct sk_node *rec)
{
    int phase = drill_phase_from_name(sk_map_str(rec, "phase", SK_STR("")));
    const struct sk_node *list;
    const struct sk_node *errors = sk_map_get(rec, SK_STR("errors"));

    if (phase < 0) {
        return NULL;
    }
    struct ctl_drill *d = drill_read_rows(rec);
    d->phase = (enum ctl_drill_phase)phase;
    d->site = text_of(rec, "site");
    d->who = text_of(rec, "who");
    d->plan = text_of(rec, "plan");
    d->aborted = text_of(rec, "aborted");
    d->life = text_of(rec, "life");
    d->for_ms = ctl_i64_min(CONTROL_DRILL_MAX_MS, sk_map_int(rec, "for_ms", 0));
    d->bound = sk_map_num(rec, "abort_errors_percent", -1);
    d->restarts = sk_map_int(rec, "restarts", 0);
    uint32_t count = rows_of(rec, "phases", CTL_DRILL_PHASE_COUNT, &list);
    for (uint32_t i = 0; i < count; i++) {
        int at = drill_phase_from_name(sk_map_str(&list->u.items[i], "phase", SK_STR("")));
        if (at >= 0) {
            d->wall_ms[at] = sk_map_int(&list->u.items[i], "wall_ms", 0);
        }
    }
    if (errors != NULL && errors->kind == SK_MAP) {
        d->requests = sk_map_int(errors, "requests", 0);
        d->errors = sk_map_int(errors, "errors", 0);
    }
    return d;
}

void drill_free(struct ctl_drill *d)
{
    if (d == NULL) {
        return;
    }
    for (size_t i = 0; i < d->nkept; i++) {
        free(d->kept[i].project);
        free(d->kept[i].service);
    }
    for (size_t i = 0; i < d->nlines; i++) {
        free(d->lines[i].project);
        free(d->lines[i].service);
        free(d->lines[i].node);
        free(d->lines[i].site);
        free(d->lines[i].seen_node);
        free(d->lines[i].seen_site);
    }
    for (size_t i = 0; i < d->nshorts; i++) {
        free(d->shorts[i].project);
        free(d->shorts[i].service);
    }
    for (size_t i = 0; i < d->nlatency; i++) {
        free(d->latency[i].project);
        free(d->latency[i].service);
    }
    free(d->kept);
    free(d->lines);
    free(d->shorts);
    free(d->latency);
    free(d->site);
    free(d->who);
    free(d->plan);
    free(d->aborted);
    free(d->life);
    free(d->raw);
    free(d);
}

/* ---- queries ---- */

int control_drill_json(const struct control *c, struct sk_buf *out, struct sk_err *err)
{
    if (c->drill == NULL) {
        return sk_err_set(err, SK_ERR_NOT_FOUND, "no drill runs");
    }
    drill_write(c, c->drill, c->drill->phase, c->drill->aborted, NULL, out);
    return 0;
}

int control_drill_report_json(const struct control *c, int64_t number, struct sk_buf *out,
                              struct sk_err *err)
{
    if (c->drill != NULL && c->drill->number == number) {
        return control_drill_json(c, out, err);
    }
    for (size_t i = 0; i < c->nreports; i++) {
        int64_t n;
        if (ctl_digits(sk_str(c->reports[i]->key), &n) && n == number) {
            sk_buf_adds(out, c->reports[i]->json);
            return 0;
        }
    }
    (void)sk_err_set(err, SK_ERR_NOT_FOUND, "there is no report of a drill %lld",
                     (long long)number);
    return sk_err_fix(err, "the last %d are kept: skerry drill --list", DRILL_REPORTS_KEPT);
}

void control_drills_json(const struct control *c, struct sk_buf *out)
{
    static const char *const texts[] = {"site", "mode", "who", "result", "aborted"};
    struct sk_arena *a = sk_arena_new();
    struct sk_jw w;

    sk_jw_init(&w, out);
    sk_jw_obj(&w);
    sk_jw_kcstr(&w, "format", "skerry.drills/1");
    sk_jw_key(&w, "drills");
    sk_jw_arr(&w);
    for (size_t i = 0; i < c->nreports; i++) {
        const struct sk_node *rec;
        const struct sk_node *phases;
        if (sk_json_read(a, "report", sk_str(c->reports[i]->json), NULL, &rec, NULL) < 0) {
            continue;
        }
        sk_jw_obj(&w);
        sk_jw_kint(&w, "number", sk_map_int(rec, "number", 0));
        for (size_t k = 0; k < SK_ARRAY_LEN(texts); k++) {
            sk_jw_kstr(&w, texts[k], sk_map_str(rec, texts[k], SK_STR("")));
        }
        bool begun = rows_of(rec, "phases", CTL_DRILL_PHASE_COUNT, &phases) > 0;
        sk_jw_kint(&w, "started_ms", begun ? sk_map_int(&phases->u.items[0], "wall_ms", 0) : 0);
        sk_jw_kint(&w, "ended_ms", sk_map_int(rec, "ended_ms", 0));
        sk_jw_obj_end(&w);
    }
    sk_jw_arr_end(&w);
    sk_jw_obj_end(&w);
    sk_arena_free(a);
}

void ctl_drill_status(const struct control *c, struct sk_jw *w)
{
    const struct ctl_drill *d = c->drill;

    sk_jw_key(w, "drill");
    if (d == NULL) {
        sk_jw_null(w);
        return;
    }
    int64_t began = d->at_ms[d->hard ? CTL_DRILL_CUT : CTL_DRILL_TRAFFIC];
    int64_t left = d->phase == CTL_DRILL_RETURN ? 0 : began + d->for_ms - c->now_ms;
    sk_jw_obj(w);
    sk_jw_kint(w, "number", d->number);
    sk_jw_kcstr(w, "site", d->site);
    sk_jw_kcstr(w, "mode", d->hard ? "hard" : "soft");
    sk_jw_kcstr(w, "phase", drill_phase_name(d->phase));
    sk_jw_kint(w, "left_ms", ctl_i64_max(0, left));
    sk_jw_kcstr(w, "aborted", d->aborted);
    sk_jw_obj_end(w);
}
