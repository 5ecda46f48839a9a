/* SPDX-License-Identifier: Apache-2.0 */
#include "model/exact.h"

#include <stdio.h>

#include "base/units.h"

struct sk_str exact_cpus(int64_t nano, char out[EXACT_CPUS_MAX])
{
    int len = snprintf(out, EXACT_CPUS_MAX, "%lld.%09lld", (long long)(nano / SK_NANO),
                       (long long)(nano % SK_NANO));

    while (len > 0 && out[len - 1] == '0') {
        len--;
    }
    if (len > 0 && out[len - 1] == '.') {
        len--;
    }
    out[len] = '\0';
    return (struct sk_str){out, (size_t)len};
}

struct sk_str exact_bytes(int64_t bytes, char out[EXACT_BYTES_MAX])
{
    static const char units[] = "\0KMGT";
    int unit = 0;
    int len;

    while (unit < 4 && bytes > 0 && bytes % 1024 == 0) {
        bytes /= 1024;
        unit++;
    }
    len = snprintf(out, EXACT_BYTES_MAX, "%lld%.1s", (long long)bytes, &units[unit]);
    return (struct sk_str){out, (size_t)len};
}
