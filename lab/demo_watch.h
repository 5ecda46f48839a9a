/* SPDX-License-Identifier: Apache-2.0 */
#ifndef LAB_DEMO_WATCH_H
#define LAB_DEMO_WATCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/buf.h"
#include "base/err.h"
#include "lab/demo_cluster.h"
#include "lab/demo_outcome.h"
#include "lab/demo_proc.h"
#include "lab/load_http.h"

/*
 * The observer of the demo (private to demo*.c). It believes two things only: HTTP answers that
 * name their instance (the load generator's, and its own of services without a route), and /proc.
 * It asks no part of skerry what happened. All times are CLOCK_MONOTONIC nanoseconds.
 */
#define WATCH_NOTES_MAX 24

struct watch_seen { /* an instance, by whichever way it was seen first */
    struct demo_instance in;
    bool before;  /* it was there when the site was cut off */
    bool present; /* its process was there at the last look */
    uint64_t first_answer_ns, last_answer_ns;
};

struct watch_live { /* of the last tick */
    double t_ms, per_second, failed_per_second, p50_ms, p95_ms;
    int64_t issued, failed, in_flight;
    struct {
        char site[DEMO_NAME_MAX];
        double per_second;
    } sites[DEMO_SITES_MAX];
    size_t nsites;
};

struct watch_note {
    uint64_t at_ns;
    char text[120];
};

struct watch_sum { /* the generator's summary */
    bool known;
    int64_t requests, failed, failed_after_cut, generator_errors;
    double traffic_off_ms, longest_gap_ms, p50_ms, p95_ms, p99_ms;
};

struct demo_watch {
    const struct demo_cluster *cluster;
    const char *site; /* that will be lost */
    pid_t users;
    int fd; /* what the users say; -1 once they ended */
    struct sk_buf text;
    uint64_t start_ns, cut_ns, detected_ns, replaced_ns;
    struct watch_seen seen[DEMO_INSTANCES_MAX];
    size_t nseen;
    struct demo_scan *scan; /* owned */
    struct watch_live live;
    struct watch_note notes[WATCH_NOTES_MAX];
    size_t nnotes;
    struct watch_sum sum;
};

uint64_t watch_now_ns(void);
/* Starts the users. The rate is per second. */
int watch_start(const struct demo_cluster *cluster, const char *site, double rate, uint64_t seed,
                struct demo_watch *ret, struct sk_err *err);
void watch_release(struct demo_watch *w);
/* Reads what the users said; true if there was a new tick. */
bool watch_read(struct demo_watch *w);
/* Looks at /proc, and asks new instances of services without a route. */
void watch_look(struct demo_watch *w);
/* The site is being cut off, from now on. Tells the users. */
void watch_cut(struct demo_watch *w, uint64_t at_ns);
/* Ends the users and waits for their summary. */
void watch_end(struct demo_watch *w);
void watch_note(struct demo_watch *w, uint64_t at_ns, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* What became of the loss. After watch_end(). */
void watch_outcome(const struct demo_watch *w, struct demo_outcome *ret);
/* How many instances of a service were, or are, at a site ("" = anywhere). */
unsigned watch_count(const struct demo_watch *w, const char *service, const char *site);

#endif
