/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SK_TESTS_PLAN_MAKE_WORLD_H
#define SK_TESTS_PLAN_MAKE_WORLD_H

#include "plan/planner.h"

/*
 * Inventories and projects by hand, without files: one project "p". Order of calls is free; names
 * are sorted when the plan is made. Pointers from mk_*() stay valid until mk_free().
 */
struct mk;

struct mk *mk_new(void);
void mk_free(struct mk *m);
struct site *mk_site(struct mk *m, const char *name); /* full trust, region "eu", egress 0 */
/* cpus in cpus, memory in MiB, price an hour (below 0: unknown) */
struct node *mk_node(struct mk *m, const char *name, const char *site, double cpus, double mib,
                     double price);
/* needs like those of a node; latency share 0.95 */
struct service *mk_svc(struct mk *m, const char *name, int64_t replicas, double cpus, double mib);
void mk_survive(struct service *s, int64_t sites, int64_t nodes, int64_t keep); /* below 0: not */
void mk_latency(struct service *s, double ms, double after_loss_ms);            /* below 0: not */
void mk_residency(struct mk *m, struct service *s, const char *entry);
void mk_near(struct mk *m, struct service *s, const char *other);
struct users *mk_users(struct mk *m, const char *name, double share);
void mk_rtt(struct mk *m, struct users *u, const char *site, double ms);
void mk_link(struct mk *m, const char *a, const char *b, double ms);
struct bucket *mk_bucket(struct mk *m, const char *name, int64_t size);

/* What plan_make() gets; valid until the next call or mk_free(). */
struct plan_input *mk_input(struct mk *m);
/* Plans and checks what must hold of every plan: see check_plan() in make_world.c. plan_free(). */
struct plan *mk_plan(struct mk *m, const struct plan *current);

/* Replicas of a service on a site (or on a node if `node`). */
int64_t plan_count(const struct plan *plan, const char *service, const char *place, bool node);
const struct plan_loss *plan_row(const struct plan *plan, const char *site);
const struct plan_problem *plan_problem_of(const struct plan *plan, const char *code);
bool plan_warns(const struct plan *plan, const char *code, const char *service);

#endif
