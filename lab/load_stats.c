/* SPDX-License-Identifier: Apache-2.0 */
#include "lab/load_stats.h"

#include <stdio.h>
#include <string.h>

static double ms(uint64_t ns)
{
    /* microseconds are enough, and print short */
    return (double)(ns / 1000) / 1000.0;
}

void load_stats_start(struct load_stats *s, uint64_t now_ns)
{
    s->start_ns = now_ns;
    s->last_good_ns = now_ns;
}

void load_stats_issue(struct load_stats *s)
{
    s->issued++;
    s->window[s->window_at].issued++;
}

static void close_gap(struct load_stats *s, uint64_t now_ns)
{
    uint64_t gap = now_ns > s->last_good_ns ? now_ns - s->last_good_ns : 0;
    if (gap > s->longest_gap_ns) {
        s->longest_gap_ns = gap;
        s->longest_gap_at_ns = s->last_good_ns;
    }
}

static size_t site_index(struct load_stats *s, const char *site)
{
    size_t i = 0;
    while (i < s->nsites && strcmp(s->sites[i], site) != 0) {
        i++;
    }
    if (i == s->nsites && i < STATS_SITES_MAX) {
        (void)snprintf(s->sites[i], sizeof(s->sites[i]), "%s", site);
        s->nsites++;
    }
    return i;
}

static bool note_who(struct load_stats *s, const struct load_record *r)
{
    size_t i = 0;
    while (i < s->nwho && strcmp(s->who[i].instance, r->instance) != 0) {
        i++;
    }
    if (i == STATS_WHO_MAX) {
        return false;
    }
    struct load_who *who = &s->who[i];
    bool fresh = i == s->nwho;
    if (fresh) {
        s->nwho++;
        who->first_ns = r->done_ns;
        (void)snprintf(who->instance, sizeof(who->instance), "%s", r->instance);
        (void)snprintf(who->node, sizeof(who->node), "%s", r->node);
        (void)snprintf(who->site, sizeof(who->site), "%s", r->site);
    }
    who->last_ns = r->done_ns;
    who->count++;
    return fresh;
}

bool load_stats_done(struct load_stats *s, const struct load_record *r)
{
    struct load_window *window = &s->window[s->window_at];
    uint64_t us = r->done_ns > r->issued_ns ? (r->done_ns - r->issued_ns) / 1000 : 0;
    hist_add(&s->hist, us);
    hist_add(&window->hist, us);
    s->by_outcome[r->outcome]++;
    if (r->outcome != LOAD_OK) {
        s->failed++;
        window->failed++;
        if (s->cut_ns != 0 && r->done_ns >= s->cut_ns) {
            s->failed_after_cut++;
        }
        if (r->issued_ns > s->last_bad_issued_ns) {
            s->last_bad_issued_ns = r->issued_ns;
        }
        return false;
    }
    s->good++;
    window->good++;
    close_gap(s, r->done_ns);
    s->last_good_ns = r->done_ns > s->last_good_ns ? r->done_ns : s->last_good_ns;
    if (r->site[0] != '\0') {
        size_t site = site_index(s, r->site);
        if (site < STATS_SITES_MAX) {
            window->by_site[site]++;
        }
    }
    return r->instance[0] != '\0' && note_who(s, r);
}

void load_stats_cut(struct load_stats *s, uint64_t at_ns)
{
    s->cut_ns = at_ns;
}

void load_stats_turn(struct load_stats *s)
{
    s->window_at = (s->window_at + 1) % STATS_WINDOWS;
    memset(&s->window[s->window_at], 0, sizeof(s->window[0]));
}

void load_stats_end(struct load_stats *s, uint64_t now_ns)
{
    close_gap(s, now_ns);
}

double load_stats_off_ms(const struct load_stats *s)
{
    bool off = s->cut_ns != 0 && s->last_bad_issued_ns > s->cut_ns;
    return off ? ms(s->last_bad_issued_ns - s->cut_ns) : 0;
}

void load_stats_live(const struct load_stats *s, double tick_s, struct sk_jw *w)
{
    static struct hist hist; /* 7 KiB: too large for every stack; one thread prints */
    memset(&hist, 0, sizeof(hist));
    uint64_t good = 0;
    uint64_t failed = 0;
    uint64_t by_site[STATS_SITES_MAX] = {0};
    for (size_t i = 0; i < STATS_WINDOWS; i++) {
        good += s->window[i].good;
        failed += s->window[i].failed;
        hist_merge(&hist, &s->window[i].hist);
        for (size_t j = 0; j < s->nsites; j++) {
            by_site[j] += s->window[i].by_site[j];
        }
    }
    double span = tick_s * STATS_WINDOWS;
    sk_jw_kint(w, "issued", (int64_t)s->issued);
    sk_jw_kint(w, "good", (int64_t)s->good);
    sk_jw_kint(w, "failed", (int64_t)s->failed);
    sk_jw_knum(w, "per_second", (double)good / span);
    sk_jw_knum(w, "failed_per_second", (double)failed / span);
    sk_jw_knum(w, "p50_ms", (double)hist_at(&hist, 0.5) / 1000);
    sk_jw_knum(w, "p95_ms", (double)hist_at(&hist, 0.95) / 1000);
    sk_jw_key(w, "sites");
    sk_jw_obj(w);
    for (size_t j = 0; j < s->nsites; j++) {
        sk_jw_knum(w, s->sites[j], (double)by_site[j] / span);
    }
    sk_jw_obj_end(w);
}

void load_stats_summary(const struct load_stats *s, struct sk_jw *w)
{
    sk_jw_kint(w, "requests", (int64_t)s->issued);
    sk_jw_kint(w, "good", (int64_t)s->good);
    sk_jw_kint(w, "failed", (int64_t)s->failed);
    sk_jw_kint(w, "failed_error", (int64_t)s->by_outcome[LOAD_ERROR]);
    sk_jw_kint(w, "failed_status", (int64_t)s->by_outcome[LOAD_STATUS]);
    sk_jw_kint(w, "failed_timeout", (int64_t)s->by_outcome[LOAD_TIMEOUT]);
    sk_jw_kint(w, "generator_errors", (int64_t)s->generator_errors);
    if (s->cut_ns != 0) {
        sk_jw_kint(w, "cut_ns", (int64_t)s->cut_ns);
        sk_jw_knum(w, "traffic_off_ms", load_stats_off_ms(s));
        sk_jw_kint(w, "failed_after_cut", (int64_t)s->failed_after_cut);
    } else {
        sk_jw_knull(w, "cut_ns");
        sk_jw_knull(w, "traffic_off_ms");
        sk_jw_knull(w, "failed_after_cut");
    }
    sk_jw_knum(w, "longest_gap_ms", ms(s->longest_gap_ns));
    sk_jw_kint(w, "longest_gap_at_ns", (int64_t)s->longest_gap_at_ns);
    sk_jw_knum(w, "p50_ms", (double)hist_at(&s->hist, 0.50) / 1000);
    sk_jw_knum(w, "p95_ms", (double)hist_at(&s->hist, 0.95) / 1000);
    sk_jw_knum(w, "p99_ms", (double)hist_at(&s->hist, 0.99) / 1000);
    sk_jw_key(w, "instances");
    sk_jw_arr(w);
    for (size_t i = 0; i < s->nwho; i++) {
        const struct load_who *who = &s->who[i];
        sk_jw_obj(w);
        sk_jw_kcstr(w, "instance", who->instance);
        sk_jw_kcstr(w, "node", who->node);
        sk_jw_kcstr(w, "site", who->site);
        sk_jw_kint(w, "first_ns", (int64_t)who->first_ns);
        sk_jw_kint(w, "last_ns", (int64_t)who->last_ns);
        sk_jw_kint(w, "answers", (int64_t)who->count);
        sk_jw_obj_end(w);
    }
    sk_jw_arr_end(w);
}
