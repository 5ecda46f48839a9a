/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SK_CLI_PLAN_TEXT_H
#define SK_CLI_PLAN_TEXT_H

#include "base/buf.h"
#include "cli/cli.h"
#include "model/inventory.h"
#include "model/plan.h"

#define PLAN_ID_SHOWN 19 /* bytes of an id that people are shown: "sha256:" and 12 digits */

/*
 * A plan for people: what changes, where everything sits, what each loss does, what it costs; the
 * verdict last, where the eye ends. Fits 100 columns; long lists are cut with a line that says how
 * to see them (--all). `current` NULL: a first plan. `total_replicas` by service come from the plan
 * itself.
 */
void plan_text(const struct cli *cli, const struct plan *plan, const struct plan *current, bool all,
               struct sk_buf *out);
/* Writes a plan to standard output: as one line of JSON where that is asked for, else as text. */
void plan_show(const struct cli *cli, const struct plan *plan, const struct plan *current);
/* Its warnings and problems, each with its fix: a part of plan_text(). A problem names its service,
 * the lost sites, what is short and by how much. */
void plan_text_problems(const struct plan *plan, struct sk_buf *out);

#endif
