/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SIM_AGENT_H
#define SIM_AGENT_H

#include "agent/assign.h"
#include "agent/step.h"
#include "sim/sim.h"

/* One node's agent: the binary's step machine and what its host keeps beside it. */
struct sim_agent {
    struct agent_state state;
    struct assign_set *assigned;
    uint64_t observed, told; /* stamps: seen here, told to skerryd */
    int64_t obs_rev, armed_us;
    bool telling;
    struct sk_buf asks; /* of the running step */
    int64_t ask_seq;
    char ask_from[33]; /* names its life */
};

void sim_agent_step(struct sim *s, struct sim_node *n, struct agent_event *event);
void sim_agent_ask(struct sim *s, struct sim_node *n, const struct agent_command *c);

/* Something that the agent waited for; nothing where no agent runs. */
void sim_agent_tell(struct sim *s, struct sim_node *n, const struct agent_event *event);

#endif
