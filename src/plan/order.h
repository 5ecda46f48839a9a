/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SK_PLAN_ORDER_H
#define SK_PLAN_ORDER_H

#include <stddef.h>
#include <stdint.h>

/*
 * Sorting that never depends on the C library: stable merge sort of indexes by a key.
 */
/* Largest key first. */
void pl_sort_desc(uint32_t *order, size_t n, const double *key);
/* 0..n-1, largest key first, ties by index; the caller frees it. */
uint32_t *pl_order_by(const double *key, size_t n);

#endif
