/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SIM_PLANT_H
#define SIM_PLANT_H

#include "sim/sim.h"

/*
 * Planted bugs, one for each invariant: the checker must find every one of them. They live in the
 * simulator's adapters and only in the program skerry-sim-plant (SIM_PLANT): what is linked of the
 * binary is the same in both. In the ordinary program every hook is nothing.
 */
#ifdef SIM_PLANT
void plant_choose(struct sim *s);
bool plant_known(const char *name);
/* Every name and the rule that must find it; NULL after the last. */
const char *plant_name(size_t i, const char **ret_rule);
bool plant_compare(const struct sim *s); /* true: the store compares nothing */
bool plant_obey(const struct sim *s);    /* true: a node hears a deposed leader */
bool plant_takeover(const struct sim *s, const char *own, struct sk_str key);
bool plant_exclusive(const struct sim *s, bool exclusive);
void plant_receipt(const struct sim *s, const struct sim_node *n, struct agent_state *state);
int plant_ask(int ask);
bool plant_adopt(const struct sim *s);
bool plant_deadline(const struct sim *s);
bool plant_door(const struct sim *s);
/* True: the store says that it took the transaction, and did not. */
bool plant_promise(const struct sim *s, struct sk_str key);
int64_t plant_moves(const struct sim *s);
void plant_plan(struct sim *s, const struct control_plan_job *job, struct plan *plan,
                bool *verified);
bool plant_take(struct sim *s, struct control_event *ev, struct sk_arena *arena);
void plant_keep(struct sim *s, struct sk_str key);
void plant_list(struct sim *s, struct sim_store_answer *a);
void plant_answer(struct sim *s, struct sim_store_answer *a);
void plant_crash(struct sim *s, const struct sim_node *n);
bool plant_mislay(struct sim *s, struct sim_node *n, int64_t rev);
int64_t plant_run(const struct sim *s, int64_t run);
int64_t plant_cpus(const struct sim *s, int64_t cpus);
bool plant_misplace(const struct sim *s);
char *plant_assign(struct sim *s, const struct sim_node *n, const char *body);
void plant_replay(struct sim *s, struct sim_event *e);
#else
#define plant_choose(s) ((void)(s))
#define plant_known(name) ((void)(name), false)
#define plant_compare(s) (false)
#define plant_obey(s) ((void)(s), false)
#define plant_takeover(s, own, key) (false)
#define plant_exclusive(s, exclusive) ((void)(s), (exclusive))
#define plant_receipt(s, n, state) ((void)0)
#define plant_ask(ask) (ask)
#define plant_adopt(s) (false)
#define plant_deadline(s) (false)
#define plant_door(s) (false)
#define plant_promise(s, key) (false)
#define plant_moves(s) ((s)->return_moves)
#define plant_plan(s, job, plan, verified) ((void)0)
#define plant_take(s, ev, arena) (true)
#define plant_keep(s, key) ((void)0)
#define plant_list(s, a) ((void)0)
#define plant_answer(s, a) ((void)0)
#define plant_crash(s, n) ((void)0)
#define plant_mislay(s, n, rev) (false)
#define plant_run(s, run) (run)
#define plant_cpus(s, cpus) (cpus)
#define plant_misplace(s) (false)
#define plant_assign(s, n, body) (NULL)
#define plant_replay(s, e) ((void)0)
#endif

#endif
