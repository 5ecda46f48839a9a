/* SPDX-License-Identifier: Apache-2.0 */
#include "plan/order.h"

#include <stdbool.h>
#include <string.h>

#include "base/mem.h"

void pl_sort_desc(uint32_t *order, size_t n, const double *key)
{
    sk_autofree uint32_t *tmp = sk_xcalloc(n + 1, sizeof(*tmp));
    for (size_t width = 1; width < n; width *= 2) {
        for (size_t lo = 0; lo < n; lo += 2 * width) {
            size_t mid = lo + width < n ? lo + width : n;
            size_t hi = lo + 2 * width < n ? lo + 2 * width : n;
            size_t i = lo;
            size_t j = mid;
            for (size_t k = lo; k < hi; k++) {
                bool left = j >= hi || (i < mid && key[order[i]] >= key[order[j]]);
                tmp[k] = left ? order[i++] : order[j++];
            }
        }
        memcpy(order, tmp, n * sizeof(*order));
    }
}

uint32_t *pl_order_by(const double *key, size_t n)
{
    uint32_t *order = sk_xcalloc(n + 1, sizeof(*order));
    for (size_t i = 0; i < n; i++) {
        order[i] = (uint32_t)i;
    }
    pl_sort_desc(order, n, key);
    return order;
}
