/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SK_MODEL_PLAN_H
#define SK_MODEL_PLAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/json.h"
#include "base/str.h"
#include "base/tree.h"

/*
 * A plan, as data: the C form of `skerry.plan/1`. It names things by name, not by index, so that it
 * stands by itself: it can be read back, shown, verified, and compared with another world than the
 * one it was made for.
 *
 * In JSON, "" of a name that does not apply (based_on_store offline, the project or service of a
 * problem that is not of one, `from` of a new replica) is null, and so is a plan_maybe that is not
 * known; timing_ms.print is written only when it is set. docs/schema/plan.json is the schema.
 *
 * Everything lives in the plan's arena. Arrays are in canonical order: placements by (project,
 * service, replica), losses by (number of sites, names), rows within a loss by (project, service,
 * replica).
 */
enum plan_verdict { PLAN_OK, PLAN_IMPOSSIBLE, PLAN_NOT_FOUND };

struct plan_placement {
    struct sk_str project, service;
    int64_t replica;
    struct sk_str site, node;
};

struct plan_shard_count {
    struct sk_str site;
    int64_t count;
};

struct plan_bucket {
    struct sk_str project, bucket;
    int64_t data, parity;
    struct plan_shard_count *shards; /* by site name; only sites with at least one */
    size_t nshards;
};

struct plan_maybe { /* a number that may be null */
    bool known;
    double value;
};

struct plan_cost {
    struct sk_str currency;
    struct plan_maybe hour, month, lower_bound_hour, gap;
    struct plan_maybe servers_hour;
    struct sk_str *idle; /* node names, sorted */
    size_t nidle;
};

struct plan_latency {
    struct sk_str project, service;
    struct plan_maybe ms;         /* null if unserved */
    struct plan_maybe ms_at_once; /* loss rows only: kept replicas only */
    double share;
};

struct plan_kept {
    struct sk_str project, service;
    int64_t count;
};

struct plan_short {
    struct sk_str project, service;
    int64_t replicas;
    struct sk_str resource; /* cpus, memory, disk, rps, node */
    bool asked;
};

struct plan_loss {
    struct sk_str *lost; /* site names (node names in node_losses), sorted */
    size_t nlost;
    bool ok;
    bool control_kept;
    struct plan_kept *kept;
    size_t nkept;
    struct plan_placement *replaced;
    size_t nreplaced;
    struct plan_short *shorts;
    size_t nshorts;
    struct plan_latency *latency;
    size_t nlatency;
    struct plan_maybe added_cost_hour;
};

struct plan_move {
    struct sk_str project, service;
    int64_t replica;
    struct sk_str from,
        to; /* nodes; from "" = new, to "" = removed is not a move and is not listed */
    struct sk_str why;
};

struct plan_problem {
    struct sk_str code; /* capacity_short, no_allowed_node, latency_unmet, cost_above_ceiling,
                           survive_sites_unmet ... */
    struct sk_str project, service; /* "" when not of one */
    struct sk_str bucket;           /* "" when not of one */
    struct sk_str zone;             /* residency zone or site set it is about; "" if none */
    struct sk_str *lost;            /* the failure in which it shows; empty: without a loss */
    size_t nlost;
    struct sk_str resource; /* cpus, memory, disk, rps, node, ms, cost; "" if none */
    struct plan_maybe
        missing; /* "short" in JSON: cpus in cpus, memory and disk in bytes, ms, currency */
    bool proven;
    struct sk_str text; /* one sentence for people */
    struct sk_str fix;
};

struct plan_warning {
    struct sk_str code; /* goal_unmet, price_unknown, region_unknown ... */
    struct sk_str project, service;
    struct sk_str text;
};

struct plan {
    struct sk_arena *arena; /* owned */
    char id[72];            /* "sha256:..." */
    enum plan_verdict verdict;
    struct sk_str based_on_store; /* "" offline */
    int64_t based_on_revision;
    struct plan_placement *placements;
    size_t nplacements;
    struct plan_bucket *buckets;
    size_t nbuckets;
    struct plan_cost cost;
    struct plan_latency *latency;
    size_t nlatency;
    struct plan_loss *losses;
    size_t nlosses;
    struct {
        int64_t checked;
        bool ok;
        struct plan_loss *worst; /* only lost, kept, ok */
        size_t nworst;
    } node_losses;
    struct plan_move *moves;
    size_t nmoves;
    struct plan_problem *problems;
    size_t nproblems;
    struct plan_warning *warnings;
    size_t nwarnings;
    struct {
        double read, plan, losses, total,
            print; /* disjoint parts but total; read and print are the caller's */
    } timing_ms;
};

struct plan *plan_new(void); /* empty, with its arena */
void plan_free(struct plan *plan);

/* Computes plan->id: SHA-256 of the RFC 8785 form without id and timing_ms. */
void plan_seal(struct plan *plan);
void plan_write_json(const struct plan *plan, struct sk_jw *w);
/* Strict: unknown keys, wrong types, wrong format are SK_ERR_INPUT with name:line:col. Does not
 * recompute the id: plan_id_matches() tells. The tree is not kept. */
int plan_from_tree(const char *name, const struct sk_node *root, struct plan **ret_plan,
                   struct sk_err *err);
/* The same of a plan that perhaps another version wrote (the store's, an answer of the API): keys
 * that are not known are passed over. */
int plan_from_record(const char *name, const struct sk_node *root, struct plan **ret_plan,
                     struct sk_err *err);
bool plan_id_matches(const struct plan *plan);
const char *plan_verdict_name(enum plan_verdict verdict);

#endif
