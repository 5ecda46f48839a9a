/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SK_CONTROL_DRILL_H
#define SK_CONTROL_DRILL_H

#include "control/internal.h"

/*
 * A drill (docs/drill.md): drill.c is its machine, drill_check.c what is asked before and what is
 * predicted, drill_record.c what is kept and shown. Private to these three.
 *
 * Like all decisions, its phase is what the store committed: a change is written first, as the
 * whole record, and taken over from that record (ctl_drill_apply). What is measured between two
 * phases is in memory alone and goes into the next record. Times at_ms[] are of this control's
 * clock, made from the record's wall clock where another life of control wrote it.
 */
#define DRILL_LINES_MAX 500 /* replicas that are followed one by one */
#define DRILL_REPORTS_KEPT 50
#define DRILL_PAST_MAX 5     /* reports that a prediction looks into */
#define DRILL_LOOK_MS 50     /* between two looks at the cluster */
#define DRILL_SERVED_MS 2000 /* for the ingresses of the others to take a view */
#define DRILL_OFF_MS 6000    /* for the whole of `traffic` */
#define DRILL_DRAIN_MS 500   /* for what is under way when the last view is served */
#define DRILL_CHECK_MS 2000  /* for the nodes' answers */
#define DRILL_RESEND_MS 500  /* of frames to nodes */
#define DRILL_UNCUT_MS 5000  /* a hard cut that is no loss by then did not work */
#define DRILL_KEEP_MS 1000   /* fewer than promised for so long: abort */
#define DRILL_RETURN_MS 300000
#define DRILL_WINDOW_MS 5000 /* of the errors that abort */
#define DRILL_SAMPLE_MS 250
#define DRILL_SAMPLES 24
#define DRILL_REQUESTS_MIN 20
#define DRILL_NEAR_MS 300   /* predicted and observed agree within this, or a fifth */
#define DRILL_START_MS 2000 /* of a service that was never seen to start */
#define DRILL_DECIDE_MS 100 /* from the decision to the first word of the node */
#define DRILL_TRAFFIC_MS 700
#define DRILL_BOUND_DEFAULT 1.0 /* % */

struct drill_kept {
    char *project, *service;
    int64_t predicted, least; /* least < 0: not seen yet */
    int64_t promise;          /* of a service that asked; < 0: it did not */
};

struct drill_line { /* one replica that is to get another place */
    char *project, *service;
    int64_t replica;
    char *node, *site;
    int64_t predicted_ms;
    char *seen_node, *seen_site; /* NULL: not healthy anywhere else yet */
    int64_t ms;
};

struct drill_short {
    char *project, *service;
    int64_t predicted, seen; /* seen < 0: not yet */
    bool asked;
};

struct drill_latency {
    char *project, *service;
    struct plan_maybe before, at_once, after;
};

struct drill_time {
    int64_t predicted_ms, ms; /* < 0: none */
};

struct drill_sample {
    int64_t ms, requests, errors;
};

struct ctl_drill {
    int64_t number;
    char *site, *who, *plan;
    char *aborted; /* why; "" while it is not */
    bool hard;
    enum ctl_drill_phase phase;
    int64_t for_ms;
    double bound;                           /* % of errors at which it is ended; < 0: never */
    int64_t wall_ms[CTL_DRILL_PHASE_COUNT]; /* when each phase began; 0: it did not */
    struct drill_kept *kept;
    size_t nkept;
    struct drill_line *lines;
    size_t nlines;
    int64_t more; /* replicas beyond those in lines */
    struct drill_short *shorts;
    size_t nshorts;
    struct drill_latency *latency;
    size_t nlatency;
    struct drill_time off, verdict, replaced;
    int64_t requests, errors; /* before `base` */
    int64_t restarts;
    char *life; /* of the control that wrote the record */
    char *raw;  /* the record; NULL: there is none yet */
    int64_t mod_rev;
    /* live */
    int64_t at_ms[CTL_DRILL_PHASE_COUNT];
    int64_t base_requests, base_errors; /* of control's own counters */
    int64_t next_look_ms, next_send_ms, next_sample_ms;
    int64_t served_ms, less_ms; /* since when; < 0: not so */
    bool views_made;            /* since the phase began */
    struct drill_sample samples[DRILL_SAMPLES];
    size_t nsamples;
};

/* drill.c */
const char *drill_phase_name(enum ctl_drill_phase phase);
int drill_phase_from_name(struct sk_str name);                             /* -1 if it is none */
bool drill_ready(const struct control *c, const struct ctl_svc **ret_not); /* all as planned */
/* A transaction that brings the drill to `phase`, or ends it (CTL_DRILL_PHASE_COUNT). */
struct ctl_txn *drill_txn(struct control *c, const struct ctl_drill *d, struct ctl_req *req,
                          enum ctl_drill_phase phase, const char *aborted, const char *text);

/* drill_check.c */
/* 0, or SK_ERR_POLICY, SK_ERR_INPUT: why not, and the remedy. */
int drill_check(const struct control *c, const struct control_request *r, struct sk_err *err);
struct ctl_drill *drill_new(const struct control *c, const struct control_request *r);

/* drill_record.c */
struct ctl_drill *drill_read(const struct sk_node *rec);      /* NULL: of no phase that is known */
struct ctl_drill *drill_read_rows(const struct sk_node *rec); /* of a report, which has none */
void drill_free(struct ctl_drill *d);
/* The whole form skerry.drill/1 as of `phase`, with what another version put into the record.
 * `ended`: with the judgement. */
void drill_write(const struct control *c, const struct ctl_drill *d, enum ctl_drill_phase phase,
                 const char *aborted, const char *ended, struct sk_buf *out);
bool drill_near(const struct drill_time *t);
int64_t drill_requests(const struct control *c, const struct ctl_drill *d);
int64_t drill_errors(const struct control *c, const struct ctl_drill *d);
bool drill_agrees(const struct control *c, const struct ctl_drill *d);

#endif
