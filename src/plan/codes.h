/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SK_PLAN_CODES_H
#define SK_PLAN_CODES_H

/*
 * The codes of a plan's problems and warnings: stable names, listed in docs/plan-codes.md (a test
 * compares). Name, one line.
 */
#define PL_PROBLEM_TABLE(X)                                                                       \
    X("no_allowed_node",                                                                          \
      "no node may run the service: trust, drain, residency, constraints, size")                  \
    X("rps_short", "replicas x rps_per_replica is less than rps")                                 \
    X("latency_unmet", "no allowed sites bring the asked share of demand within the bound")       \
    X("after_loss_unmet", "after a loss too little demand is within after_loss_ms")               \
    X("survive_sites_unmet", "the allowed sites cannot hold what must survive the loss of sites") \
    X("survive_nodes_unmet", "the allowed nodes cannot hold what must survive the loss of nodes") \
    X("capacity_short", "too little room, without a loss or in the loss that is named")           \
    X("cost_above_ceiling", "the cheapest placement costs more than the written ceiling")         \
    X("cost_unknown", "a ceiling is written, but prices that it needs are not known")             \
    X("no_placement", "the rules hold one by one, but no placement keeps all of them together")   \
    X("bucket_no_site", "no allowed site has a node with disk")                                   \
    X("bucket_code_unmet", "the sites and nodes do not allow the code to survive the loss")       \
    X("bucket_disk_short", "the shards do not fit on the disks")

#define PL_WARNING_TABLE(X)                                                            \
    X("goal_unmet", "a default of survive (nobody wrote it) does not hold")            \
    X("price_unknown", "a node or site in use has no price, so the cost is not known") \
    X("region_unknown", "a site without a region or country is left out by residency") \
    X("rtt_unknown", "distances that a latency policy needs are not known")

#endif
