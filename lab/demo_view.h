/* SPDX-License-Identifier: Apache-2.0 */
#ifndef LAB_DEMO_VIEW_H
#define LAB_DEMO_VIEW_H

#include <stdbool.h>
#include <stdio.h>

#include "lab/demo_outcome.h"
#include "lab/demo_watch.h"

/* What a person sees of the demo (private to demo*.c): redrawn in place on a terminal, else one
 * line a second; the closing table. */
struct demo_view {
    FILE *out; /* NULL = nothing is shown */
    bool terminal;
    bool color;
    int lines;     /* drawn last time, to go back over */
    size_t noted;  /* notes already printed, without a terminal */
    unsigned tick; /* counts, without a terminal */
};

void view_say(void *view, const char *text); /* a demo_say_fn */
void view_tick(struct demo_view *v, const struct demo_watch *w, const char *state);
/* Ends redrawing: what was drawn last stays. */
void view_hold(struct demo_view *v);
void view_table(struct demo_view *v, const struct demo_watch *w, const char *how,
                const struct demo_outcome *predicted, const struct demo_outcome *observed,
                const struct sk_buf *differences);

#endif
