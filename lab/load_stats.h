/* SPDX-License-Identifier: Apache-2.0 */
#ifndef LAB_LOAD_STATS_H
#define LAB_LOAD_STATS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/json.h"
#include "lab/hist.h"
#include "lab/load_http.h"

/*
 * What users saw, from finished requests. All times are CLOCK_MONOTONIC nanoseconds. No clock here.
 *
 * A request is good if it was answered with a status below 500 within the time-out, counted from
 * the moment at which it was due. Traffic off = from the cut to the last request *issued* that was
 * not good (0 if there was none after the cut). Longest gap = the longest time without a good
 * answer, from the first request on. Percentiles are of all finished requests.
 */
#define STATS_WHO_MAX 1024
#define STATS_SITES_MAX 64
#define STATS_WINDOWS 4 /* live figures cover this many ticks */

enum load_outcome { LOAD_OK, LOAD_ERROR, LOAD_STATUS, LOAD_TIMEOUT, LOAD_OUTCOME_COUNT };

struct load_record {
    uint64_t number;
    uint64_t issued_ns; /* when it was due */
    uint64_t done_ns;
    enum load_outcome outcome;
    int status;        /* 0 = no answer */
    unsigned attempts; /* ingresses tried */
    const char *population;
    const char *ingress;  /* site of the ingress that answered, or was tried last */
    const char *instance; /* as the answer says; "" = it does not */
    const char *node;
    const char *site;
};

/* Who answered: one row per instance. */
struct load_who {
    char instance[LOAD_NAME_MAX], node[LOAD_NAME_MAX], site[LOAD_NAME_MAX];
    uint64_t first_ns, last_ns, count;
};

struct load_window {
    uint64_t issued, good, failed;
    uint64_t by_site[STATS_SITES_MAX];
    struct hist hist;
};

struct load_stats {
    uint64_t start_ns, cut_ns; /* 0 = not yet */
    uint64_t issued, good, failed, failed_after_cut, generator_errors;
    uint64_t by_outcome[LOAD_OUTCOME_COUNT];
    uint64_t last_bad_issued_ns;
    uint64_t last_good_ns, longest_gap_ns, longest_gap_at_ns;
    struct hist hist;
    struct load_who who[STATS_WHO_MAX];
    size_t nwho;
    char sites[STATS_SITES_MAX][LOAD_NAME_MAX];
    size_t nsites;
    struct load_window window[STATS_WINDOWS];
    size_t window_at;
};

void load_stats_start(struct load_stats *s, uint64_t now_ns);
void load_stats_issue(struct load_stats *s);
/* True when this instance answered for the first time: it is s->who[s->nwho - 1]. */
bool load_stats_done(struct load_stats *s, const struct load_record *r);
void load_stats_cut(struct load_stats *s, uint64_t at_ns);
/* Ends the present window and begins the next. */
void load_stats_turn(struct load_stats *s);
/* The gap that is still open at the end counts as well. */
void load_stats_end(struct load_stats *s, uint64_t now_ns);
double load_stats_off_ms(const struct load_stats *s); /* traffic off */

/* Members of a JSON object that the caller has opened. */
void load_stats_live(const struct load_stats *s, double tick_s, struct sk_jw *w);
void load_stats_summary(const struct load_stats *s, struct sk_jw *w);

#endif
