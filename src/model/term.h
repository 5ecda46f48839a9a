/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MODEL_TERM_H
#define MODEL_TERM_H

#include <stdbool.h>
#include <stdint.h>

/*
 * Terms of leaders (docs/control-nodes.md): each takeover has a higher one, and what nodes are told
 * carries it. A node takes nothing from a lower term than the highest it took from: a leader that
 * does not know yet that it is deposed moves nothing.
 *
 * Without a term (< 0): from a version that had none; it is taken, and changes nothing here.
 */
static inline bool term_take(int64_t *highest, int64_t term)
{
    if (term >= 0 && term < *highest) {
        return false;
    }
    *highest = term > *highest ? term : *highest;
    return true;
}

#endif
