/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SK_CONTROL_FRONT_H
#define SK_CONTROL_FRONT_H

#include "control/internal.h"

/* Which node of a site holds its ingress, and what that says of the views that it serves; front.c
 * tells why. Times are control's own, in ms. */

bool ctl_leads_somewhere(const struct ctl_svc *s); /* it has a route or a published port */

/* Puts site->ingress; one that serves stays as long as it can. May set next_pick_ms. */
void ctl_ingress_pick(struct control *c, struct ctl_site *s);

/* It begins to lead: what another leader made of it meanwhile is not known. */
void ctl_ingress_forget(struct control *c);

/* What a beat says of the ingress on its node. */
void ctl_front_heard(struct control *c, struct ctl_node *n, bool has_front, int64_t view);

/* Users of a site that is cut off, or came back, may still be led to this copy, which has another
 * elsewhere: it goes on until then at most. */
bool ctl_front_keeps(const struct control *c, const struct ctl_inst *i, int64_t *ret_until_ms);

/* Users are led somewhere by its view, and its ingress does not say that it serves the newest. */
bool ctl_ingress_behind(const struct control *c, const struct ctl_site *s);

#endif
