/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SK_MODEL_EXACT_H
#define SK_MODEL_EXACT_H

#include <stdint.h>

#include "base/str.h"

/* Quantities as text that reads back as the very same quantity. Internal to model. */
#define EXACT_CPUS_MAX 32
#define EXACT_BYTES_MAX 32

struct sk_str exact_cpus(int64_t nano, char out[EXACT_CPUS_MAX]);    /* "8", "0.25" */
struct sk_str exact_bytes(int64_t bytes, char out[EXACT_BYTES_MAX]); /* "32G", "1500" */

#endif
