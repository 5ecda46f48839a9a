/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TEST_CONTROL_FAKE_INTERNAL_H
#define TEST_CONTROL_FAKE_INTERNAL_H

#include "fake.h"

void fake_step(struct fake *f, struct control_event *ev);
void fake_assign(struct fake *f, struct sk_str node, int64_t rev, struct sk_str body);
int64_t fake_agents_next(const struct fake *f);
void fake_agents_step(struct fake *f);
void fake_leased(struct fake *f, struct sk_str node, struct sk_str body);
void fake_check(struct fake *f);
/* False: there is no answer. */
bool fake_drill_take(struct fake *f, struct sk_str node, struct sk_str body,
                     struct control_event *ret);
void fake_drill_step(struct fake *f);

#endif
