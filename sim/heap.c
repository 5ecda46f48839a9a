/* SPDX-License-Identifier: Apache-2.0 */
#include "sim/sim.h"

#include "base/mem.h"

static bool before(const struct sim_event *x, const struct sim_event *y)
{
    return x->at_us != y->at_us ? x->at_us < y->at_us : x->seq < y->seq;
}

void sim_heap_push(struct sim_heap *heap, const struct sim_event *event)
{
    size_t at;

    SK_GROW(heap->items, heap->count, heap->cap);
    at = heap->count++;
    while (at > 0 && before(event, &heap->items[(at - 1) / 2])) {
        heap->items[at] = heap->items[(at - 1) / 2];
        at = (at - 1) / 2;
    }
    heap->items[at] = *event;
}

struct sim_event sim_heap_pop(struct sim_heap *heap)
{
    struct sim_event top = heap->items[0];
    struct sim_event last = heap->items[--heap->count];
    size_t at = 0;

    for (;;) {
        size_t child = 2 * at + 1;
        if (child >= heap->count) {
            break;
        }
        if (child + 1 < heap->count && before(&heap->items[child + 1], &heap->items[child])) {
            child++;
        }
        if (!before(&heap->items[child], &last)) {
            break;
        }
        heap->items[at] = heap->items[child];
        at = child;
    }
    heap->items[at] = last;
    return top;
}
